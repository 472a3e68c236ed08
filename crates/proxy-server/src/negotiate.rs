//! `accept=` and `Accept` → media type, or 406.
//!
//! A picture of an instance or a frame is a single image (PS3.18 Table 8.7.4-1, category Single
//! Frame): image/jpeg by default, image/png on request. The first of these that gives a type decides
//! (§8.7.8.1):
//!
//! 1. `accept=`, also where the header alone would be 406: viewers set it because they cannot set the
//!    header;
//! 2. the header by weight, the most specific range deciding for each type. Absent means `*/*`;
//! 3. the list of a browser's `<img>`, told by image/svg+xml and a wildcard, takes the default;
//! 4. `multipart/related; type="application/octet-stream"` alone, which OHIF builds send for
//!    thumbnails, takes image/jpeg as a single part: their library reads either by its Content-Type.
//!
//! A multipart of an image type alone (`multipart/related; type="image/jpeg"`) is 406: the standard
//! wants one part in a multipart there, a client that accepts nothing else could not be answered with
//! a bare image, and multipart answers come with the resources that have many items.

use dicomweb_types::{MediaRange, MediaType, split_list};
use http::header::{self, HeaderMap};

/// Nothing that can be sent is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NegotiationError {
    #[error("none of the accepted media types is available")]
    NotAcceptable,
    #[error("the Accept header names both DICOM and rendered media types; ask for one of them")]
    Mixed,
}

/// The media type to send.
///
/// # Errors
/// No type fits (406), or the header asks for two kinds of things at once (400, §8.7.5).
pub(crate) fn negotiate(
    parameter: Option<&[MediaRange]>,
    headers: &HeaderMap,
) -> Result<MediaType, NegotiationError> {
    if let Some(chosen) = parameter.and_then(best) {
        return Ok(chosen);
    }
    let accepted = accepted(headers);
    if mixes_dicom_and_rendered(&accepted) {
        return Err(NegotiationError::Mixed);
    }
    let anything_will_do = accepted.is_empty()
        || accepted.iter().all(is_multipart_octet_stream)
        || is_browser_image(&accepted);
    if anything_will_do {
        return Ok(MediaType::Jpeg);
    }
    best(&accepted).ok_or(NegotiationError::NotAcceptable)
}

/// What the header accepts; what cannot be read in it is ignored (R3.5).
fn accepted(headers: &HeaderMap) -> Vec<MediaRange> {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(split_list)
        .filter_map(MediaRange::parse)
        .collect()
}

/// The type of the highest weight above 0; of equals the one named more exactly, then the default.
fn best(ranges: &[MediaRange]) -> Option<MediaType> {
    let mut best: Option<(f32, u8, MediaType)> = None;
    for media_type in MediaType::ALL {
        let Some((weight, specificity)) = preference(ranges, media_type) else { continue };
        if best.is_none_or(|(w, s, _)| (weight, specificity) > (w, s)) {
            best = Some((weight, specificity, media_type));
        }
    }
    best.map(|(_, _, media_type)| media_type)
}

/// The weight that the most specific range gives to `media_type`; `None` if it excludes it.
fn preference(ranges: &[MediaRange], media_type: MediaType) -> Option<(f32, u8)> {
    ranges
        .iter()
        .filter(|range| range.accepts(media_type.as_str()))
        .map(|range| (range.weight(), range.specificity()))
        .max_by_key(|&(_, specificity)| specificity)
        .filter(|&(weight, _)| weight > 0.0)
}

/// Whether this is the `Accept` of a browser's `<img>`: a list of all that it can show, not a wish for
/// the first type in it that we have (R3.5).
fn is_browser_image(ranges: &[MediaRange]) -> bool {
    let names = |essence| ranges.iter().any(|range| range.is(essence));
    names("image/svg+xml") && (names("image/*") || names("*/*"))
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
    let dicom = |range: &MediaRange| {
        let named = range.parameter("type").map_or_else(|| range.essence(), str::to_owned);
        named.starts_with("application/dicom")
    };
    let rendered = |range: &MediaRange| {
        matches!(range.main.as_str(), "image" | "video" | "text") && range.specificity() == 2
    };
    ranges.iter().any(dicom) && ranges.iter().any(rendered)
}

#[cfg(test)]
mod tests {
    use MediaType::{Jpeg, Png};
    use NegotiationError::{Mixed, NotAcceptable};
    use proptest::prelude::*;

    use super::*;

    fn header(accept: &str) -> Result<MediaType, NegotiationError> {
        both("", accept)
    }

    fn both(parameter: &str, accept: &str) -> Result<MediaType, NegotiationError> {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        let types: Vec<_> = split_list(parameter).filter_map(MediaRange::parse).collect();
        negotiate(Some(&types[..]).filter(|t| !t.is_empty()), &headers)
    }

    #[test]
    fn what_real_clients_send_gets_a_picture() {
        for (accept, expected) in [
            ("", Jpeg),
            ("*/*", Jpeg),
            ("image/*", Jpeg),
            ("image/jpeg", Jpeg),
            ("IMAGE/PNG", Png),
            // Chromium's <img>, its address bar, curl, Python's requests
            ("image/jxl,image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", Jpeg),
            ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", Jpeg),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", Jpeg),
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
            ("image/*;q=0, */*", Err(NotAcceptable)),
            ("image/jpeg;q=0", Err(NotAcceptable)),
            ("image/png;q=2", Ok(Png)),
        ] {
            assert_eq!(header(accept), expected, "{accept}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_not_acceptable() {
        for accept in [
            "image/gif",
            "text/html",
            "application/dicom",
            "application/octet-stream",
            r#"multipart/related; type="image/jpeg""#,
            r#"multipart/related; type="application/octet-stream", text/html"#,
            r#"multipart/related; type="application/octet-stream"; q=0"#,
        ] {
            assert_eq!(header(accept), Err(NotAcceptable), "{accept}");
        }
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
        assert_eq!(both("image/gif", "image/png"), Ok(Png));
        assert_eq!(both("image/gif", "text/html"), Err(NotAcceptable));
    }

    #[test]
    fn dicom_and_rendered_types_do_not_mix_but_wildcards_may() {
        assert_eq!(header("application/dicom, image/jpeg"), Err(Mixed));
        assert_eq!(header(r#"multipart/related; type="application/dicom", image/png"#), Err(Mixed));
        assert_eq!(header("application/dicom+json, */*;q=0.1"), Ok(Jpeg));
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
        }
    }
}
