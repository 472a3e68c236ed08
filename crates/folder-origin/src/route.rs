//! Path to resource (PS3.18 §10.1, §10.4, §10.6).

use dicomweb_types::{FrameNumber, InstancePath, Uid};

use crate::error::Problem;
use crate::file::BulkPath;

/// What a path names.
#[derive(Debug, PartialEq)]
pub(crate) enum Resource {
    Search(Level, Scope),
    Instances(Scope),
    Metadata(Scope),
    Frames(InstancePath, Vec<FrameNumber>),
    Bulkdata(InstancePath, BulkPath),
}

/// What a search lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Study,
    Series,
    Instance,
}

/// A study, a series or an instance; with no study, everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Scope {
    pub(crate) study: Option<Uid>,
    pub(crate) series: Option<Uid>,
    pub(crate) instance: Option<Uid>,
}

impl Scope {
    pub(crate) fn holds(&self, path: &InstancePath) -> bool {
        self.study.as_ref().is_none_or(|uid| *uid == path.study)
            && self.series.as_ref().is_none_or(|uid| *uid == path.series)
            && self.instance.as_ref().is_none_or(|uid| *uid == path.instance)
    }
}

const NOT_HERE: Problem = Problem::NotFound("no such resource on this origin");

/// Reads a path, already percent-decoded segment by segment.
pub(crate) fn parse(segments: &[&str]) -> Result<Resource, Problem> {
    match segments {
        ["studies"] => Ok(Resource::Search(Level::Study, Scope::default())),
        ["series"] => Ok(Resource::Search(Level::Series, Scope::default())),
        ["instances"] => Ok(Resource::Search(Level::Instance, Scope::default())),
        ["studies", study, rest @ ..] => in_study(uid(study)?, rest),
        _ => Err(NOT_HERE),
    }
}

fn in_study(study: Uid, rest: &[&str]) -> Result<Resource, Problem> {
    let scope = Scope { study: Some(study.clone()), ..Scope::default() };
    match rest {
        [] => Ok(Resource::Instances(scope)),
        ["metadata"] => Ok(Resource::Metadata(scope)),
        ["series"] => Ok(Resource::Search(Level::Series, scope)),
        ["instances"] => Ok(Resource::Search(Level::Instance, scope)),
        ["series", series, rest @ ..] => in_series(study, uid(series)?, rest),
        _ => Err(NOT_HERE),
    }
}

fn in_series(study: Uid, series: Uid, rest: &[&str]) -> Result<Resource, Problem> {
    let scope = Scope { study: Some(study.clone()), series: Some(series.clone()), instance: None };
    match rest {
        [] => Ok(Resource::Instances(scope)),
        ["metadata"] => Ok(Resource::Metadata(scope)),
        ["instances"] => Ok(Resource::Search(Level::Instance, scope)),
        ["instances", instance, rest @ ..] => {
            in_instance(InstancePath { study, series, instance: uid(instance)? }, rest)
        }
        _ => Err(NOT_HERE),
    }
}

fn in_instance(path: InstancePath, rest: &[&str]) -> Result<Resource, Problem> {
    match rest {
        [] => Ok(Resource::Instances(path.into())),
        ["metadata"] => Ok(Resource::Metadata(path.into())),
        ["frames", list] => Ok(Resource::Frames(path, frames(list)?)),
        ["bulkdata", place @ ..] => BulkPath::parse(place)
            .map(|place| Resource::Bulkdata(path, place))
            .ok_or(Problem::NotFound("no such bulk data")),
        _ => Err(NOT_HERE),
    }
}

impl From<InstancePath> for Scope {
    fn from(path: InstancePath) -> Self {
        Self { study: Some(path.study), series: Some(path.series), instance: Some(path.instance) }
    }
}

fn uid(segment: &str) -> Result<Uid, Problem> {
    segment.parse().map_err(|error| Problem::BadRequest(format!("{error}")))
}

fn frames(list: &str) -> Result<Vec<FrameNumber>, Problem> {
    let numbers = list.split(',').map(str::parse);
    numbers.collect::<Result<_, _>>().map_err(|error| Problem::BadRequest(format!("{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Result<Resource, Problem> {
        parse(&path.split('/').collect::<Vec<_>>())
    }

    #[test]
    fn every_level_has_its_resources() {
        let scope = |study: &str| Scope { study: Some(study.parse().unwrap()), ..Scope::default() };
        assert_eq!(read("studies").unwrap(), Resource::Search(Level::Study, Scope::default()));
        assert_eq!(read("studies/1.2").unwrap(), Resource::Instances(scope("1.2")));
        assert_eq!(
            read("studies/1.2/series").unwrap(),
            Resource::Search(Level::Series, scope("1.2"))
        );
        assert!(matches!(
            read("studies/1/series/2/instances/3/frames/1,4").unwrap(),
            Resource::Frames(_, frames) if frames.iter().map(|f| f.get()).eq([1, 4])
        ));
    }

    #[test]
    fn what_is_malformed_is_400_and_what_is_unknown_404() {
        for path in ["studies/x", "studies/1/series/..", "studies/1/series/2/instances/3/frames/0"]
        {
            assert!(matches!(read(path), Err(Problem::BadRequest(_))), "{path}");
        }
        for path in ["", "study", "studies/1/rendered", "studies/1/series/2/instances/3/thumbnail"]
        {
            assert!(matches!(read(path), Err(Problem::NotFound(_))), "{path}");
        }
    }
}
