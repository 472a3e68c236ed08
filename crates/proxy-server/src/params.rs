//! Query → what was said. What was left out stays absent; defaults are `plan`'s.
//!
//! Rendered resources take `accept`, `annotation`, `charset`, `iccprofile`, `quality`, `viewport` and
//! `window` (PS3.18 §8.3.5); thumbnails `accept`, `charset` and `viewport`, and by an extension of ours
//! that strict mode switches off `iccprofile`, `quality` and `window`. A known name with an illegal
//! value, or given twice, is an error. Every other name is ignored, as §8.3.1 demands. Names and values
//! are case-sensitive.

use std::str::FromStr;

use core_render::{
    AnnotationParameter, IccProfile, Quality, SpecError, Viewport, VoiFunction, Window,
};
use dicomweb_types::{MediaRange, split_list};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::negotiate::mixes_dicom_and_rendered;
use crate::route::Kind;

/// What the query of a rendering says.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub(crate) struct RenderParams {
    /// The media types of `accept`, none of them a wildcard.
    pub(crate) accept: Option<Vec<MediaRange>>,
    pub(crate) annotation: Option<AnnotationParameter>,
    pub(crate) icc_profile: Option<IccProfile>,
    pub(crate) quality: Option<Quality>,
    pub(crate) viewport: Option<Viewport>,
    pub(crate) window: Option<Window>,
}

/// A query parameter cannot be honoured. Names it, and does not repeat its value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("query parameter {name}: {problem}")]
pub(crate) struct ParamError {
    name: &'static str,
    problem: Problem,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum Problem {
    #[error("given more than once")]
    Repeated,
    #[error("not UTF-8 once percent-decoded")]
    NotText,
    #[error(transparent)]
    Value(#[from] SpecError),
    #[error("must be media types such as image/jpeg, without wildcards")]
    Accept,
    #[error("must not mix DICOM and rendered media types")]
    Mixed,
    #[error("a thumbnail's viewport is width,height and nothing more")]
    Region,
    #[error("a presentation state has its own")]
    OfState,
    #[error("of a presentation state is width,height and nothing more")]
    RegionOfState,
    #[error("image/gif cannot hold a profile: only no is possible")]
    CannotEmbed,
    #[error("must be character sets such as utf-8, without wildcards")]
    Charset,
}

impl ParamError {
    /// R2.11, R2.7 g: what a presentation state decides itself.
    pub(crate) const WINDOW_OF_STATE: Self = Self { name: "window", problem: Problem::OfState };
    pub(crate) const REGION_OF_STATE: Self =
        Self { name: "viewport", problem: Problem::RegionOfState };
    /// R2.9.
    pub(crate) const PROFILE_OF_GIF: Self =
        Self { name: "iccprofile", problem: Problem::CannotEmbed };
}

impl RenderParams {
    /// Reads the raw query of a rendering of this kind.
    ///
    /// # Errors
    /// A known parameter with an illegal value or given twice: 400 (R2.1).
    pub(crate) fn parse(query: &str, kind: Kind, strict: bool) -> Result<Self, ParamError> {
        let mut params = Self::default();
        let mut charset_seen = None;
        // R2.3: of thumbnails the standard has no others.
        let extended = kind == Kind::Rendered || !strict;
        for (name, raw) in pairs(query) {
            match &*percent_decode_str(name).decode_utf8_lossy() {
                "accept" => once(&mut params.accept, "accept", raw, accept)?,
                "viewport" => {
                    once(&mut params.viewport, "viewport", raw, |text| viewport(text, kind))?
                }
                // R2.10: UTF-8 is what is sent whatever is asked for; what is unsupported is ignored.
                "charset" => once(&mut charset_seen, "charset", raw, charset)?,
                "annotation" if kind == Kind::Rendered => {
                    once(&mut params.annotation, "annotation", raw, value)?
                }
                "window" if extended => {
                    once(&mut params.window, "window", raw, |text| window(text, strict))?
                }
                "quality" if extended => once(&mut params.quality, "quality", raw, value)?,
                "iccprofile" if extended => {
                    once(&mut params.icc_profile, "iccprofile", raw, value)?
                }
                _ => {}
            }
        }
        Ok(params)
    }
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn once<T>(
    slot: &mut Option<T>,
    name: &'static str,
    raw: &str,
    parse: impl FnOnce(&str) -> Result<T, Problem>,
) -> Result<(), ParamError> {
    let value = match slot {
        Some(_) => Err(Problem::Repeated),
        // Decoded before it is split, since libraries send commas as %2C. A raw + stays a plus: this
        // is a query of PS3.18, not an HTML form.
        None => percent_decode_str(raw)
            .decode_utf8()
            .map_err(|_| Problem::NotText)
            .and_then(|text| parse(&text)),
    };
    *slot = Some(value.map_err(|problem| ParamError { name, problem })?);
    Ok(())
}

fn value<T: FromStr<Err = SpecError>>(text: &str) -> Result<T, Problem> {
    Ok(text.parse()?)
}

/// A window, or one of ours by its name.
fn window(text: &str, strict: bool) -> Result<Window, Problem> {
    let named = WINDOWS.iter().find(|(name, ..)| *name == text && !strict);
    match named.and_then(|&(_, centre, width)| Window::new(centre, width, VoiFunction::Linear)) {
        Some(window) => Ok(window),
        None => value(text),
    }
}

/// Names for windows of CT, in Hounsfield units: centre and width. The first five are OHIF's.
const WINDOWS: [(&str, f64, f64); 7] = [
    ("soft-tissue", 40.0, 400.0),
    ("lung", -600.0, 1500.0),
    ("liver", 90.0, 150.0),
    ("bone", 480.0, 2500.0),
    ("brain", 40.0, 80.0),
    ("abdomen", 60.0, 400.0),
    ("mediastinum", 50.0, 350.0),
];

/// `1#(token [;q])`, without wildcards (R2.10).
fn charset(text: &str) -> Result<(), Problem> {
    let token = |token: &str| {
        let special = |b: u8| b"!#$%&'+-.^_`|~".contains(&b);
        !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || special(b))
    };
    let legal = |item: &str| {
        let (name, weight) = item.split_once(';').unwrap_or((item, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
        token(name.trim()) && weight.is_some_and(|q| (0.0..=1.0).contains(&q))
    };
    let mut items = split_list(text).peekable();
    let legal = items.peek().is_some() && items.all(legal);
    legal.then_some(()).ok_or(Problem::Charset)
}

fn viewport(text: &str, kind: Kind) -> Result<Viewport, Problem> {
    let viewport: Viewport = value(text)?;
    // R2.7 g: a thumbnail shows the whole image. Commas after the size say nothing (R2.7 c).
    let says_more = text.splitn(3, ',').nth(2).is_some_and(|rest| rest.contains(|c| c != ','));
    if kind == Kind::Thumbnail && says_more {
        return Err(Problem::Region);
    }
    Ok(viewport)
}

/// `1#(media-type [;q])`, without wildcards (R2.4).
fn accept(text: &str) -> Result<Vec<MediaRange>, Problem> {
    let types: Vec<MediaRange> = split_list(text)
        .map(|item| MediaRange::parse(item).filter(|range| range.specificity() == 2))
        .collect::<Option<_>>()
        .ok_or(Problem::Accept)?;
    if types.is_empty() {
        return Err(Problem::Accept);
    }
    if mixes_dicom_and_rendered(&types) {
        return Err(Problem::Mixed);
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use core_render::{Extent, VoiFunction};
    use proptest::prelude::*;

    use super::*;

    fn rendered(query: &str) -> Result<RenderParams, ParamError> {
        RenderParams::parse(query, Kind::Rendered, false)
    }

    fn thumbnail(query: &str) -> Result<RenderParams, ParamError> {
        RenderParams::parse(query, Kind::Thumbnail, false)
    }

    #[test]
    fn what_is_left_out_stays_absent() {
        for query in
            ["", "&&", "foo=bar", "Viewport=1,1", "Annotation=patient&iccProfile=x", "%FF=1"]
        {
            assert_eq!(rendered(query), Ok(RenderParams::default()), "{query}");
        }
    }

    #[test]
    fn commas_may_be_percent_encoded_and_plus_is_a_plus() {
        let window = Window::new(40.0, 400.0, VoiFunction::Linear);
        for query in [
            "window=40,400,linear",
            "window=40%2C400%2Clinear",
            "window=+40,4e+2,linear",
            "window=%2B40,400,linear",
        ] {
            assert_eq!(rendered(query).unwrap().window, window, "{query}");
        }
        assert!(rendered("window=40%20,400,linear").is_err());
    }

    #[test]
    fn illegal_values_are_refused_by_name() {
        for (query, name) in [
            ("viewport=", "viewport"),
            ("viewport", "viewport"),
            ("viewport=1", "viewport"),
            ("viewport=0,0", "viewport"),
            ("viewport=128,0", "viewport"),
            ("viewport=1,1,1,1,1,1,1", "viewport"),
            ("window=40,400", "window"),
            ("window=40,400,LINEAR", "window"),
            ("window=40,0,linear", "window"),
            ("window=NaN,400,linear", "window"),
            ("window=.5,400,linear", "window"),
            ("quality=0", "quality"),
            ("quality=101", "quality"),
            ("quality=%FF", "quality"),
            ("accept=", "accept"),
            ("accept=jpeg", "accept"),
            ("accept=image/*", "accept"),
            ("accept=*/*", "accept"),
            ("accept=image/jpeg,application/dicom", "accept"),
            ("annotation=", "annotation"),
            ("annotation=Patient", "annotation"),
            ("annotation=none", "annotation"),
            ("annotation=patient&annotation=technique", "annotation"),
            ("iccprofile=", "iccprofile"),
            ("iccprofile=SRGB", "iccprofile"),
            ("iccprofile=srgb,adobergb", "iccprofile"),
            ("charset=", "charset"),
            ("charset=*", "charset"),
            ("charset=utf-8;q=2", "charset"),
            ("window=Lung", "window"),
            ("quality=80&quality=80", "quality"),
            ("viewport=1,1&window=0,1,linear&viewport=1,1", "viewport"),
        ] {
            let error = rendered(query).unwrap_err();
            assert_eq!(error.name, name, "{query}");
            assert!(error.to_string().starts_with(&format!("query parameter {name}: ")));
        }
    }

    #[test]
    fn viewports_of_rendered_pictures_may_name_a_region() {
        let viewport = rendered("viewport=512,512,,,100,-200").unwrap().viewport.unwrap();
        assert_eq!(viewport.source.width, Extent::Pixels(100.0));
        assert!(viewport.source.mirror_vertical);
    }

    #[test]
    fn viewports_of_thumbnails_may_not() {
        assert!(thumbnail("viewport=256%2C256&window=1,2,sigmoid&quality=5").is_ok());
        assert!(thumbnail("viewport=256,256,,,,").is_ok(), "elided values say nothing");
        for query in ["viewport=256,256,0,0,1,1", "viewport=256,256,,,9"] {
            assert_eq!(thumbnail(query).unwrap_err().problem, Problem::Region, "{query}");
        }
    }

    #[test]
    fn thumbnails_have_no_annotation_and_in_strict_mode_only_what_the_standard_has() {
        assert_eq!(thumbnail("annotation=patient"), Ok(RenderParams::default()));
        assert_eq!(thumbnail("annotation=%FF"), Ok(RenderParams::default()));
        let query = "window=1,2,sigmoid&quality=5&iccprofile=yes";
        let lenient = thumbnail(query).unwrap();
        assert!(lenient.window.is_some() && lenient.icc_profile == Some(IccProfile::Yes));
        let strict = RenderParams::parse(query, Kind::Thumbnail, true);
        assert_eq!(strict, Ok(RenderParams::default()));
    }

    #[test]
    fn windows_have_names_unless_strict() {
        let lung = Window::new(-600.0, 1500.0, VoiFunction::Linear);
        assert_eq!(rendered("window=lung").unwrap().window, lung);
        assert!(RenderParams::parse("window=lung", Kind::Rendered, true).is_err());
        for (name, centre, width) in WINDOWS {
            assert!(Window::new(centre, width, VoiFunction::Linear).is_some(), "{name}");
        }
    }

    #[test]
    fn annotations_name_who_and_what() {
        let parameter = rendered("annotation=technique,patient,dose").unwrap().annotation.unwrap();
        assert!(parameter.annotation.patient && parameter.annotation.technique);
        assert_eq!(parameter.unknown, ["dose"]);
    }

    #[test]
    fn unsupported_character_sets_are_ignored() {
        for query in ["charset=utf-8", "charset=latin1;q=0.3,utf-8", "charset=ebcdic"] {
            assert_eq!(rendered(query), Ok(RenderParams::default()), "{query}");
        }
    }

    #[test]
    fn accept_is_a_list_with_weights() {
        let types = rendered("accept=image%2Fpng;q=0.5,image/jpeg").unwrap().accept.unwrap();
        assert_eq!(
            types.iter().map(MediaRange::essence).collect::<Vec<_>>(),
            ["image/png", "image/jpeg"]
        );
        assert_eq!(types[0].weight(), 0.5);
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in ".*") {
            let _ = rendered(&query);
        }

        #[test]
        fn any_value_is_read_or_refused(
            name in "accept|annotation|charset|iccprofile|viewport|window|quality",
            value in "[-+0-9.,eE%a-z/*;=]{0,40}",
        ) {
            for kind in [Kind::Rendered, Kind::Thumbnail] {
                for strict in [false, true] {
                    let _ = RenderParams::parse(&format!("{name}={value}"), kind, strict);
                }
            }
        }
    }
}
