//! Path → what is asked for.
//!
//! The rendered and thumbnail resources of studies, series, instances and frames are ours (PS3.18
//! §10.4.1.1.3 and 4). Everything else is the archive's and passes through. What is ours is parsed
//! here; no segment of it travels further as text.

use dicomweb_types::{FrameNumber, InstancePath, SeriesPath, Uid};
use percent_encoding::percent_decode_str;
use serde::Serialize;

/// What a path asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A rendering, made here.
    Rendering(Resource),
    /// A cookie by which a study opens.
    Session(Uid),
    /// Anything else below the base path, as the raw path below it: empty, or from its first slash on.
    PassThrough(String),
}

/// A rendered or thumbnail resource.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Resource {
    /// How it is drawn.
    pub(crate) kind: Kind,
    /// Of what.
    pub(crate) scope: Scope,
}

impl Resource {
    /// Its path below a base.
    pub(crate) fn path(&self) -> String {
        let kind = match self.kind {
            Kind::Rendered => "rendered",
            Kind::Thumbnail => "thumbnail",
        };
        match &self.scope {
            Scope::Study(study) => format!("/studies/{study}/{kind}"),
            Scope::Series(series) => format!("/{series}/{kind}"),
            Scope::Instance(instance) => format!("/{instance}/{kind}"),
            Scope::Frames(instance, FrameList(frames)) => {
                let frames: Vec<String> = frames.iter().map(FrameNumber::to_string).collect();
                format!("/{instance}/frames/{}/{kind}", frames.join(","))
            }
        }
    }
}

/// What is rendered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) enum Scope {
    Study(Uid),
    Series(SeriesPath),
    Instance(InstancePath),
    Frames(InstancePath, FrameList),
}

/// The frames of a path, ascending and each once (R1.3); at least one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct FrameList(Vec<FrameNumber>);

impl Scope {
    /// The study that it is, or lies in.
    pub(crate) fn study(&self) -> &Uid {
        match self {
            Self::Study(study) => study,
            Self::Series(series) => &series.study,
            Self::Instance(instance) | Self::Frames(instance, _) => &instance.study,
        }
    }
}

impl FrameList {
    pub(crate) fn as_slice(&self) -> &[FrameNumber] {
        &self.0
    }

    fn parse(segment: &str) -> Result<Self, RouteError> {
        let frames = segment.split(',').map(|item| item.parse().map_err(|_| RouteError::Frame));
        let mut frames: Vec<FrameNumber> = frames.collect::<Result<_, _>>()?;
        frames.sort_unstable();
        frames.dedup();
        Ok(Self(frames))
    }
}

/// The two forms of a rendering.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) enum Kind {
    /// `/rendered`.
    Rendered,
    /// `/thumbnail`.
    Thumbnail,
}

/// A path that nothing can be found at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum RouteError {
    /// A study, series or instance is not named by a UID.
    #[error(
        "the path holds something that is not a UID: 1 to 64 digits and single dots (PS3.5 §9.1)"
    )]
    Uid,
    /// A frame is not named by a number.
    #[error("the path holds something that is not a frame number: frames are counted 1, 2, 3 …")]
    Frame,
    /// It climbs: `..` would leave the archive's base path.
    #[error("the path holds a segment of dots, or a backslash")]
    Climbs,
}

/// What the raw path below an archive's base asks for.
///
/// # Errors
/// A path of ours whose UIDs or frame number are malformed (400, R1.14, R1.3), and any that climbs.
pub(crate) fn route(below: &str) -> Result<Target, RouteError> {
    if climbs(below) {
        return Err(RouteError::Climbs);
    }
    Ok(match (resource(below)?, session(below)) {
        (Some(resource), _) => Target::Rendering(resource),
        (None, Some(study)) => Target::Session(study),
        (None, None) => Target::PassThrough(below.to_owned()),
    })
}

/// The study of `/studies/UID/lightbox-session`, which no archive knows.
fn session(below: &str) -> Option<Uid> {
    below.strip_prefix("/studies/")?.strip_suffix("/lightbox-session")?.parse().ok()
}

/// Whether a segment of dots appears once the path is decoded, however its slashes are written:
/// servers differ in when they decode, and one that decodes first would leave its base.
fn climbs(path: &str) -> bool {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let dots = |segment: &[u8]| matches!(segment, b"." | b"..");
    path.contains('\\') || decoded.split(|b| matches!(b, b'/' | b'\\')).any(dots)
}

fn resource(below: &str) -> Result<Option<Resource>, RouteError> {
    // Other spellings of a path of ours (`/rendered/`, `//studies`, `/%73tudies`) are ours too: the
    // archive would draw them its own way, past our limits.
    let segments: Vec<String> =
        below.split('/').map(|s| decoded(s).unwrap_or_else(|| s.to_owned())).collect();
    let mut words: Vec<&str> = segments.iter().map(String::as_str).collect();
    while words.first() == Some(&"") {
        words.remove(0);
    }
    while words.last() == Some(&"") {
        words.pop();
    }
    let Some((kind, words)) = words.split_last() else { return Ok(None) };
    let kind = match *kind {
        "rendered" => Kind::Rendered,
        "thumbnail" => Kind::Thumbnail,
        _ => return Ok(None),
    };
    let scope = match *words {
        ["studies", study] => Scope::Study(uid(study)?),
        ["studies", study, "series", series] => Scope::Series(series_path(study, series)?),
        ["studies", study, "series", series, "instances", instance] => {
            Scope::Instance(series_path(study, series)?.instance(uid(instance)?))
        }
        ["studies", study, "series", series, "instances", instance, "frames", frames] => {
            let instance = series_path(study, series)?.instance(uid(instance)?);
            Scope::Frames(instance, FrameList::parse(frames)?)
        }
        _ => return Ok(None),
    };
    Ok(Some(Resource { kind, scope }))
}

fn series_path(study: &str, series: &str) -> Result<SeriesPath, RouteError> {
    Ok(SeriesPath { study: uid(study)?, series: uid(series)? })
}

fn uid(segment: &str) -> Result<Uid, RouteError> {
    segment.parse().map_err(|_| RouteError::Uid)
}

fn decoded(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INSTANCE: &str = "/studies/1.2/series/1.2.3/instances/1.2.3.4";

    fn routed(path: &str) -> Result<Target, RouteError> {
        route(path)
    }

    fn instance() -> InstancePath {
        InstancePath {
            study: "1.2".parse().unwrap(),
            series: "1.2.3".parse().unwrap(),
            instance: "1.2.3.4".parse().unwrap(),
        }
    }

    fn rendering(kind: Kind, scope: Scope) -> Target {
        Target::Rendering(Resource { kind, scope })
    }

    fn frames(numbers: &[u32]) -> Scope {
        let frames = numbers.iter().map(|n| FrameNumber::new(*n).unwrap()).collect();
        Scope::Frames(instance(), FrameList(frames))
    }

    #[test]
    fn renderings_of_every_level_are_ours() {
        for (path, scope) in [
            ("/studies/1.2", Scope::Study("1.2".parse().unwrap())),
            ("/studies/1.2/series/1.2.3", Scope::Series(instance().series_path())),
            (INSTANCE, Scope::Instance(instance())),
            (&format!("{INSTANCE}/frames/12"), frames(&[12])),
            (&format!("{INSTANCE}/frames/1,3"), frames(&[1, 3])),
        ] {
            for (word, kind) in [("rendered", Kind::Rendered), ("thumbnail", Kind::Thumbnail)] {
                let path = format!("{path}/{word}");
                assert_eq!(routed(&path), Ok(rendering(kind, scope.clone())), "{path}");
            }
        }
        for spelling in [
            "/studies/1%2E2/series/1.2.3/instances/1.2.3.4/frames/%31/rendered",
            "//studies/1.2/series/1.2.3/%69nstances/1.2.3.4/frames/1/rendered/",
            "/studies/1.2/series/1.2.3/instances/1.2.3.4/frames/1/%72endered",
        ] {
            let expected = rendering(Kind::Rendered, frames(&[1]));
            assert_eq!(routed(spelling), Ok(expected), "{spelling}");
        }
    }

    #[test]
    fn frame_lists_are_ascending_and_name_a_frame_once() {
        for list in ["1,3,7", "7,3,1", "1%2C3%2c7", "3,1,7,3"] {
            let routed = routed(&format!("{INSTANCE}/frames/{list}/rendered"));
            assert_eq!(routed, Ok(rendering(Kind::Rendered, frames(&[1, 3, 7]))), "{list}");
        }
    }

    #[test]
    fn everything_else_passes_through_as_it_is() {
        for path in [
            "/",
            "/studies",
            "/rendered",
            "/studies/rendered",
            "/studies/1.2/series/rendered",
            "/studies/1.2/series/rendered3d",
            "/studies/1.2/rendered3D",
            "/studies/1.2/series/1.2.3/renderedmpr",
            "/studies/x/series/y/instances/z/metadata",
            "/studies/1.2/Rendered",
            &format!("{INSTANCE}/frames/1"),
            &format!("{INSTANCE}/renderedmpr"),
            &format!("{INSTANCE}/rendered3d"),
            &format!("{INSTANCE}/rendered/1"),
            &format!("{INSTANCE}/bulkdata/rendered"),
            &format!("{INSTANCE}/bulkdata/a%2Fb"),
            "//studies",
        ] {
            assert_eq!(routed(path), Ok(Target::PassThrough(path.to_owned())), "{path}");
        }
    }

    #[test]
    fn malformed_names_of_ours_are_refused() {
        for tail in ["x", "1..2", "1.2%2F1", "%FF", "", &"1".repeat(65)] {
            let path = format!("/studies/1.2/series/1.2.3/instances/{tail}/rendered");
            assert_eq!(routed(&path), Err(RouteError::Uid), "{path}");
        }
        for frame in ["0", "-1", "+1", "1.0", "x", "", "1,", "0,1", "1,,2", "4294967296"] {
            let path = format!("{INSTANCE}/frames/{frame}/rendered");
            assert_eq!(routed(&path), Err(RouteError::Frame), "{path}");
        }
    }

    #[test]
    fn paths_that_climb_are_refused() {
        for path in [
            "/..",
            "/studies/../../admin",
            "/a/%2e%2E/b",
            "/./a",
            "/a\\..\\b",
            "/..%2fsystem",
            "/%2e%2e%2Fsystem",
            "/studies/..%2f..%2fsystem",
            "/..%5csystem",
            "/a%5C..",
        ] {
            assert_eq!(routed(path), Err(RouteError::Climbs), "{path}");
        }
        assert!(routed("/a/...").is_ok());
    }

    proptest! {
        #[test]
        fn any_path_is_routed_or_refused(path in ".*") {
            let _ = routed(&path);
        }

        #[test]
        fn any_segments_of_ours_are_routed_or_refused(uid in ".{0,70}", frame in ".{0,12}") {
            let path = format!("/studies/1/series/{uid}/instances/1/frames/{frame}/rendered");
            if let Ok(Target::Rendering(Resource { scope, .. })) = routed(&path) {
                let Scope::Frames(instance, frames) = scope else { panic!("{scope:?}") };
                prop_assert!(instance.series.as_str().len() <= 64);
                prop_assert!(frames.as_slice().is_sorted() && !frames.as_slice().is_empty());
            }
        }
    }
}
