//! What is accepted, against what can be made → what is sent (PS3.18 §8.7.5 to §8.7.8, R3.3 to R3.5).
//!
//! What can be made depends on the object (its category, Table 8.7.4-1), so the wishes are read before
//! anything is fetched, and met once it is known what there is.

use dicomweb_types::{MediaRange, MediaType, split_list};
use http::header::{self, HeaderMap};
use serde::Serialize;

/// Something that could be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Offer<T> {
    /// Alone, or as parts of a `multipart/related` body.
    pub(crate) container: Container,
    /// What it would be.
    pub(crate) form: T,
}

/// How a payload is wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Container {
    /// One payload.
    Single,
    /// `multipart/related`, of one part or many (R1.7).
    Parts,
}

/// What a payload can be made as.
pub(crate) trait Form: Copy {
    /// Its media type, without parameters.
    fn essence(self) -> &'static str;

    /// Whether a browser's `<img>`, and a viewer that takes anything, is served with it.
    fn is_picture(self) -> bool;
}

impl Form for MediaType {
    fn essence(self) -> &'static str {
        self.as_str()
    }

    fn is_picture(self) -> bool {
        true
    }
}

/// Nothing that can be sent is accepted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NegotiationError {
    #[error("none of the accepted media types is available")]
    NotAcceptable {
        /// What is; empty where that is not known.
        available: Vec<&'static str>,
    },
    #[error("the Accept header names both DICOM and rendered media types; ask for one of them")]
    Mixed,
    #[error("the Accept header is missing, which strict mode demands (PS3.18 §8.7.5)")]
    Missing,
}

/// What a client accepts, in the query and in its header.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub(crate) struct Wishes {
    parameter: Vec<MediaRange>,
    header: Vec<MediaRange>,
    /// Whether the leniencies of ours are off.
    strict: bool,
}

impl Wishes {
    /// Reads them. What cannot be read in the header is ignored (R3.5).
    ///
    /// # Errors
    /// The header asks for two kinds of things at once: 400 (§8.7.5). In strict mode, one that is
    /// missing: 406 (R3.3).
    pub(crate) fn read(
        parameter: Option<Vec<MediaRange>>,
        headers: &HeaderMap,
        strict: bool,
    ) -> Result<Self, NegotiationError> {
        if strict && !headers.contains_key(header::ACCEPT) {
            return Err(NegotiationError::Missing);
        }
        let header = accepted(headers);
        let parameter = parameter.unwrap_or_default();
        if parameter.is_empty() && mixes_dicom_and_rendered(&header) {
            return Err(NegotiationError::Mixed);
        }
        Ok(Self { parameter, header, strict })
    }

    /// The offer that suits best; of equals the one named more exactly, then the first. The parameter
    /// wins over the header (R3.4), except where nothing that it names is offered.
    ///
    /// # Errors
    /// No offer fits: 406.
    pub(crate) fn choose<T: Form>(
        &self,
        offers: &[Offer<T>],
    ) -> Result<Offer<T>, NegotiationError> {
        best(&self.parameter, offers)
            .or_else(|| self.lenient(offers))
            .or_else(|| best(&self.header, offers))
            .ok_or_else(|| NegotiationError::not_acceptable(offers))
    }

    /// Whether the header accepts pictures, and nothing else.
    pub(crate) fn takes_only_pictures(&self) -> bool {
        !self.header.is_empty() && self.header.iter().all(|range| range.main == "image")
    }

    /// What is sent to who does not mean his `Accept` by the letter.
    fn lenient<T: Form>(&self, offers: &[Offer<T>]) -> Option<Offer<T>> {
        if self.header.is_empty() {
            return offers.first().copied();
        }
        // R3.5: a browser lists all that it can show: not a wish for the first of it that we have.
        let alone = |offer: &&Offer<T>| offer.container == Container::Single;
        if is_browser_navigation(&self.header) {
            return offers.iter().find(alone).copied();
        }
        let anything = is_browser_image(&self.header)
            || (!self.strict && self.header.iter().all(is_multipart_octet_stream));
        let picture = |offer: &&Offer<T>| alone(offer) && offer.form.is_picture();
        anything.then(|| offers.iter().find(picture).copied()).flatten()
    }
}

impl NegotiationError {
    pub(crate) fn not_acceptable<T: Form>(offers: &[Offer<T>]) -> Self {
        let mut available: Vec<&'static str> = Vec::new();
        for essence in offers.iter().map(|offer| offer.form.essence()) {
            if !available.contains(&essence) {
                available.push(essence);
            }
        }
        if offers.iter().any(|offer| offer.container == Container::Parts) {
            available.push("multipart/related");
        }
        Self::NotAcceptable { available }
    }
}

/// What the header accepts.
fn accepted(headers: &HeaderMap) -> Vec<MediaRange> {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(split_list)
        .filter_map(MediaRange::parse)
        .collect()
}

/// The offer of the highest weight above 0; of equals the one named more exactly, then the first.
fn best<T: Form>(ranges: &[MediaRange], offers: &[Offer<T>]) -> Option<Offer<T>> {
    let mut best: Option<(f32, u8, Offer<T>)> = None;
    for &offer in offers {
        let Some((weight, specificity)) = preference(ranges, offer) else { continue };
        if best.is_none_or(|(w, s, _)| (weight, specificity) > (w, s)) {
            best = Some((weight, specificity, offer));
        }
    }
    best.map(|(_, _, offer)| offer)
}

/// The weight that the most specific range gives to an offer; `None` if it excludes it.
fn preference<T: Form>(ranges: &[MediaRange], offer: Offer<T>) -> Option<(f32, u8)> {
    let alone = ranges.len() == 1;
    ranges
        .iter()
        .filter_map(|range| Some((range.weight(), matches(range, offer, alone)?)))
        // Named twice, it has the higher weight.
        .max_by(|a, b| a.1.cmp(&b.1).then(a.0.total_cmp(&b.0)))
        .filter(|&(weight, _)| weight > 0.0)
}

/// How exactly a range names an offer, if it covers it. `*/*` covers parts only where it is all that
/// was said (design §3): browsers append it to what they really want.
fn matches<T: Form>(range: &MediaRange, offer: Offer<T>, alone: bool) -> Option<u8> {
    let essence = offer.form.essence();
    match offer.container {
        Container::Single => range.accepts(essence).then(|| range.specificity()),
        Container::Parts if range.main == "multipart" => {
            let Some(part) = range.parameter("type") else { return Some(0) };
            let part = MediaRange::parse(part)?;
            part.accepts(essence).then(|| part.specificity())
        }
        Container::Parts => (alone && range.specificity() == 0).then_some(0),
    }
}

/// Whether this is the `Accept` of a browser's `<img>`: all that it can show, and then anything.
fn is_browser_image(ranges: &[MediaRange]) -> bool {
    let names = |essence| ranges.iter().any(|r| r.is(essence) && r.weight() > 0.0);
    let anything = names("image/*") || names("*/*");
    (names("image/svg+xml") && anything) || (names("image/*") && names("*/*"))
}

/// Whether this is the `Accept` of a browser's address bar or frame: pages, pictures among them, and
/// then anything.
fn is_browser_navigation(ranges: &[MediaRange]) -> bool {
    let names = |essence| ranges.iter().any(|range| range.is(essence));
    names("text/html") && names("application/xhtml+xml") && names("*/*")
}

fn is_multipart_octet_stream(range: &MediaRange) -> bool {
    range.is("multipart/related")
        && range
            .parameter("type")
            .is_some_and(|t| t.eq_ignore_ascii_case("application/octet-stream"))
        && range.weight() > 0.0
}

/// Whether DICOM objects and pictures are both asked for by name (R2.4, R3.5).
pub(crate) fn mixes_dicom_and_rendered(ranges: &[MediaRange]) -> bool {
    let named = |range: &MediaRange| {
        range.parameter("type").map_or_else(|| range.essence(), str::to_ascii_lowercase)
    };
    let dicom = |range: &MediaRange| named(range).starts_with("application/dicom");
    let rendered = |range: &MediaRange| {
        let named = named(range);
        let main = named.split('/').next().unwrap_or_default();
        matches!(main, "image" | "video" | "text") && !named.ends_with("/*")
    };
    ranges.iter().any(dicom) && ranges.iter().any(rendered)
}

#[cfg(test)]
mod tests {
    use Container::{Parts, Single};
    use MediaType::{Gif, Jp2, Jpeg, Png, WebP};
    use NegotiationError::{Missing, Mixed, NotAcceptable};
    use proptest::prelude::*;

    use super::*;

    fn offers(container: Container) -> Vec<Offer<MediaType>> {
        MediaType::ALL.map(|form| Offer { container, form }).to_vec()
    }

    /// Those of a resource of one item, and of one of many.
    fn one() -> Vec<Offer<MediaType>> {
        [offers(Single), offers(Parts)].concat()
    }

    fn many() -> Vec<Offer<MediaType>> {
        [offers(Parts), offers(Single)].concat()
    }

    fn wishes(parameter: &str, accept: &str, strict: bool) -> Result<Wishes, NegotiationError> {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        let types: Vec<_> = split_list(parameter).filter_map(MediaRange::parse).collect();
        Wishes::read(Some(types).filter(|t| !t.is_empty()), &headers, strict)
    }

    fn chosen(
        parameter: &str,
        accept: &str,
        offers: &[Offer<MediaType>],
    ) -> Result<(Container, MediaType), NegotiationError> {
        let offer = wishes(parameter, accept, false)?.choose(offers)?;
        Ok((offer.container, offer.form))
    }

    fn header(accept: &str) -> Result<MediaType, NegotiationError> {
        both("", accept)
    }

    fn both(parameter: &str, accept: &str) -> Result<MediaType, NegotiationError> {
        Ok(chosen(parameter, accept, &offers(Single))?.1)
    }

    fn none() -> NegotiationError {
        NegotiationError::not_acceptable(&offers(Single))
    }

    #[test]
    fn what_real_clients_send_gets_a_picture() {
        for (accept, expected) in [
            ("", Jpeg),
            ("*/*", Jpeg),
            ("image/*", Jpeg),
            ("image/jpeg", Jpeg),
            ("IMAGE/PNG", Png),
            ("image/gif", Gif),
            ("image/webp", WebP),
            ("image/jp2", Jp2),
            // Chromium's <img>, its address bar, curl, Python's requests
            ("image/jxl,image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", Jpeg),
            ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", Jpeg),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", Jpeg),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", Jpeg),
            // Safari's <img>
            ("image/webp,image/avif,image/jxl,image/heic,video/*;q=0.8,image/*,*/*;q=0.5", Jpeg),
            // Firefox's names PNG, as one of all that it can show.
            ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", Jpeg),
            // OHIF 3.13 in bulk mode
            (r#"multipart/related; type="application/octet-stream""#, Jpeg),
            ("multipart/related; type=application/octet-stream", Jpeg),
            // dicomweb-client (JS) with two types: equals, so the default
            ("image/png, image/jpeg", Jpeg),
        ] {
            assert_eq!(header(accept), Ok(expected), "{accept}");
        }
    }

    #[test]
    fn weights_decide_and_the_most_specific_range_gives_them() {
        for (accept, expected) in [
            ("image/jpeg;q=0.5, image/png", Ok(Png)),
            ("image/*;q=0.9, image/jpeg;q=0.1", Ok(Png)),
            ("image/jpeg;q=0, */*", Ok(Png)),
            ("image/png, */*", Ok(Png)),
            ("image/*;q=0, */*", Err(none())),
            ("image/jpeg;q=0", Err(none())),
            ("image/png;q=2", Ok(Png)),
            ("image/png, image/gif;q=0.5, IMAGE/PNG;q=0.1", Ok(Png)),
        ] {
            assert_eq!(header(accept), expected, "{accept}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_not_acceptable_and_what_can_is_listed() {
        for accept in [
            "image/tiff",
            "text/html",
            "application/dicom",
            "application/octet-stream",
            r#"multipart/related; type="image/jpeg""#,
            r#"multipart/related; type="application/octet-stream", text/html"#,
            r#"multipart/related; type="application/octet-stream"; q=0"#,
        ] {
            assert_eq!(header(accept), Err(none()), "{accept}");
        }
        let types = [
            "image/jpeg",
            "image/png",
            "image/gif",
            "image/webp",
            "image/jp2",
            "multipart/related",
        ];
        assert_eq!(
            NegotiationError::not_acceptable(&one()),
            NotAcceptable { available: types.to_vec() }
        );
    }

    #[test]
    fn the_parameter_wins_over_the_header() {
        assert_eq!(both("image/png", "image/jpeg"), Ok(Png));
        assert_eq!(both("image/jpeg", "text/html"), Ok(Jpeg));
        assert_eq!(
            both("image/jpeg", r#"multipart/related; type="application/octet-stream""#),
            Ok(Jpeg)
        );
        assert_eq!(both("image/png;q=0.1,image/jpeg;q=0.2", "*/*"), Ok(Jpeg));
        // Of types that are not available it decides nothing.
        assert_eq!(both("image/tiff", "image/png"), Ok(Png));
        assert_eq!(both("image/tiff", "text/html"), Err(none()));
    }

    #[test]
    fn many_items_are_parts_where_that_is_named_or_nothing_is() {
        for (accept, expected) in [
            ("", (Parts, Jpeg)),
            ("*/*", (Parts, Jpeg)),
            (r#"multipart/related; type="image/png""#, (Parts, Png)),
            ("multipart/related; type=image/png", (Parts, Png)),
            (r#"multipart/related; type="image/*""#, (Parts, Jpeg)),
            ("multipart/related", (Parts, Jpeg)),
            (r#"multipart/related; type="image/jpeg", image/png;q=0.5"#, (Parts, Jpeg)),
            (r#"multipart/related; type="image/jpeg";q=0.2, image/png;q=0.5"#, (Single, Png)),
            // One picture for who can only show one (design §3).
            ("image/jpeg", (Single, Jpeg)),
            ("image/*", (Single, Jpeg)),
            ("image/png, */*;q=0.8", (Single, Png)),
            ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", (Single, Jpeg)),
            (r#"multipart/related; type="application/octet-stream""#, (Single, Jpeg)),
        ] {
            assert_eq!(chosen("", accept, &many()), Ok(expected), "{accept}");
        }
        assert_eq!(chosen("image/png", "*/*", &many()), Ok((Single, Png)));
        assert_eq!(
            chosen(r#"multipart/related;type="image/png""#, "image/jpeg", &many()),
            Ok((Parts, Png))
        );
    }

    #[test]
    fn one_item_is_a_part_only_where_that_is_named() {
        assert_eq!(chosen("", "*/*", &one()), Ok((Single, Jpeg)));
        assert_eq!(chosen("", r#"multipart/related; type="image/png""#, &one()), Ok((Parts, Png)));
    }

    #[test]
    fn dicom_and_rendered_types_do_not_mix_but_wildcards_may() {
        assert_eq!(header("application/dicom, image/jpeg"), Err(Mixed));
        assert_eq!(header(r#"multipart/related; type="application/dicom", image/png"#), Err(Mixed));
        assert_eq!(header("application/dicom+json, */*;q=0.1"), Ok(Jpeg));
    }

    #[test]
    fn strict_mode_forgives_nothing() {
        assert_eq!(wishes("image/png", "", true), Err(Missing));
        let octets = r#"multipart/related; type="application/octet-stream""#;
        assert_eq!(wishes("", octets, true).unwrap().choose(&offers(Single)), Err(none()));
        assert!(wishes("", "*/*", true).unwrap().choose(&offers(Single)).is_ok());
    }

    #[test]
    fn what_cannot_be_read_is_ignored() {
        assert_eq!(header("jpeg"), Ok(Jpeg));
        assert_eq!(header("jpeg, image/png"), Ok(Png));
    }

    proptest! {
        #[test]
        fn any_header_is_negotiated_or_refused(accept in "[ -~]{0,80}") {
            let _ = header(&accept);
            let _ = chosen("", &accept, &many());
        }
    }
}
