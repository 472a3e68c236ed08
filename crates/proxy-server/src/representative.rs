//! Which image stands for a study or a series (PS3.18 §10.4.3.3.4 leaves it to the server; R5.3, R5.4).
//!
//! - A series: the middle image by Instance Number, as OHIF shows it, or the first, by choice; localizers
//!   only where there is nothing else, then what refers to images; the label of a slide never.
//! - A study: an image that a Key Object flags as worth seeing; else the best series: images before
//!   what is derived from them, the most of them, the lowest number.
//! - An image that cannot be drawn gives way to its neighbour, then to the next series.

use std::collections::HashSet;

use core_render::Card;
use dicomweb_types::{FrameNumber, InstancePath, SeriesPath, Uid};
use futures_util::{StreamExt, stream};
use report_render::KeyObjects;
use wadors_client::{Caller, UpstreamError};

use crate::cache::Digest;
use crate::config::Representative;
use crate::listing::{self, Content, ListedInstance, ListedSeries};
use crate::upstream::Upstream;

/// Images of one series that are tried.
const TRIED_OF_A_SERIES: usize = 4;

/// Series of a study that are looked into.
const TRIED_SERIES: usize = 4;

/// Key objects of a study that are read.
const MOST_KEY_OBJECTS: usize = 16;

/// Images tried at once for the richest.
const COMPARED: usize = 5;

/// An image that may stand for the whole.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Candidate {
    pub(crate) path: InstancePath,
    /// The frame, where one was named; its own representative one else.
    pub(crate) frame: Option<FrameNumber>,
    /// Why it is one.
    pub(crate) rule: Rule,
}

/// Why an image stands for the whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    KeyObject,
    First,
    Middle,
    Richest,
    /// Beside the one that should have been.
    Neighbour,
}

impl Rule {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::KeyObject => "key-object",
            Self::First => "first",
            Self::Middle => "middle",
            Self::Richest => "richest",
            Self::Neighbour => "neighbour",
        }
    }
}

/// What may stand for a study or a series.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Candidates {
    /// To be tried in this order.
    pub(crate) images: Vec<Candidate>,
    /// How many of the first are to be compared, and the richest of them taken.
    pub(crate) compared: usize,
    /// What stands for it where there is no image.
    pub(crate) card: Option<Card>,
    /// The only instance there is, if it is the only one.
    pub(crate) only: Option<InstancePath>,
    /// What there is, as a hash: another one where something was added or removed.
    pub(crate) listing: Digest,
}

/// Looks a study or a series up.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a> {
    pub(crate) upstream: &'a Upstream,
    pub(crate) caller: &'a Caller,
    pub(crate) choice: Representative,
}

impl Lookup<'_> {
    /// What may stand for a series.
    ///
    /// # Errors
    /// The archive's; `Empty` where the series has no instance.
    pub(crate) async fn series(&self, series: &SeriesPath) -> Result<Candidates, UpstreamError> {
        let instances = listing::instances_of(self.upstream, series, self.caller).await?;
        if instances.is_empty() {
            return Err(UpstreamError::Empty);
        }
        let only = match &instances[..] {
            [only] => Some(series.instance(only.uid.clone())),
            _ => None,
        };
        let card = instances.first().map(|instance| instance.card.clone());
        let images = candidates(series, &instances, &HashSet::new(), self.choice);
        let uids: Vec<&Uid> = instances.iter().map(|instance| &instance.uid).collect();
        let listing = self.upstream.realm.work(&("series", uids));
        Ok(Candidates { images, compared: self.compared(), card, only, listing })
    }

    /// What may stand for a study.
    ///
    /// # Errors
    /// The archive's; `Empty` where the study has no series.
    pub(crate) async fn study(&self, study: &Uid) -> Result<Candidates, UpstreamError> {
        let series = listing::series_of(self.upstream, study, self.caller).await?;
        let Some(lowest) = series.first().cloned() else { return Err(UpstreamError::Empty) };
        let flagged = self.flagged(&series).await?;
        let mut images: Vec<Candidate> = flagged.shown;
        let (mut card_of_best, mut only) = (None, None);
        let one_series = series.len() == 1;
        let all: Vec<_> = series.iter().map(|s| (&s.path.series, s.instances)).collect();
        let all = self.upstream.realm.work(&("study", all));
        let mut looked_into = Vec::new();
        for listed in by_preference(series).into_iter().take(TRIED_SERIES) {
            let instances =
                match listing::instances_of(self.upstream, &listed.path, self.caller).await {
                    Ok(instances) => instances,
                    Err(error) if error.is_denied() || error.is_transient() => return Err(error),
                    Err(_) => continue,
                };
            looked_into.extend(instances.iter().map(|instance| instance.uid.clone()));
            if let (true, [instance]) = (one_series, &instances[..]) {
                only = Some(listed.path.instance(instance.uid.clone()));
            }
            if let (None, Some(first)) = (&card_of_best, instances.first()) {
                // The series says its modality and number, where its instances may not.
                card_of_best = Some(Card { kind: first.card.kind, ..listed.card() });
            }
            images.extend(candidates(&listed.path, &instances, &flagged.rejected, self.choice));
            // One good series is enough to find an image in; the next is for when all of it fails.
            if images.len() >= 2 * TRIED_OF_A_SERIES {
                break;
            }
        }
        let card = card_of_best.or_else(|| Some(lowest.card()));
        let compared = if images.first().is_some_and(|c| c.rule == Rule::KeyObject) {
            1
        } else {
            self.compared()
        };
        let listing = self.upstream.realm.work(&(all, looked_into));
        Ok(Candidates { images, compared, card, only, listing })
    }

    fn compared(&self) -> usize {
        if self.choice == Representative::Richest { COMPARED } else { 1 }
    }

    /// What the key objects of a study say (R5.4). What cannot be read of them says nothing.
    async fn flagged(&self, series: &[ListedSeries]) -> Result<Flagged, UpstreamError> {
        let mut flagged = Flagged::default();
        let key_objects = series.iter().filter(|s| s.modality.as_deref() == Some("KO"));
        for listed in key_objects {
            let instances = listing::instances_of(self.upstream, &listed.path, self.caller).await?;
            let paths: Vec<InstancePath> = instances
                .into_iter()
                .take(MOST_KEY_OBJECTS)
                .map(|instance| listed.path.instance(instance.uid))
                .collect();
            let read = paths.iter().map(|path| self.upstream.client.metadata(path, self.caller));
            let mut read = stream::iter(read.collect::<Vec<_>>()).buffered(4);
            while let Some(metadata) = read.next().await {
                match metadata {
                    Ok(metadata) => flagged.add(&listed.path.study, &metadata.dataset),
                    Err(error) if error.is_denied() || error.is_transient() => return Err(error),
                    Err(error) => tracing::debug!(kind = error.kind(), "no key object"),
                }
            }
        }
        Ok(flagged)
    }
}

#[derive(Default)]
struct Flagged {
    shown: Vec<Candidate>,
    rejected: HashSet<Uid>,
}

impl Flagged {
    fn add(&mut self, study: &Uid, dataset: &dicom_object::InMemDicomObject) {
        let Some(key_objects) = KeyObjects::read(dataset) else { return };
        if key_objects.is_rejection() {
            self.rejected.extend(key_objects.references.into_iter().map(|r| r.instance));
        } else if key_objects.is_of_interest() {
            let images = key_objects.references.into_iter().map(|reference| Candidate {
                path: InstancePath {
                    study: study.clone(),
                    series: reference.series,
                    instance: reference.instance,
                },
                frame: reference.frames.first().copied(),
                rule: Rule::KeyObject,
            });
            self.shown.extend(images.take(TRIED_OF_A_SERIES));
        }
    }
}

/// Series of images, those of what is derived from images, the rest; within each the most instances,
/// then the lowest number.
fn by_preference(mut series: Vec<ListedSeries>) -> Vec<ListedSeries> {
    // The order of the listing, by number, stays among equals.
    series.sort_by_key(|listed| {
        (rank(listed.modality.as_deref()), std::cmp::Reverse(listed.instances.unwrap_or(0)))
    });
    series
}

fn rank(modality: Option<&str>) -> u8 {
    match modality.unwrap_or_default() {
        "SEG" | "RTDOSE" | "PMAP" => 1,
        "SR" | "KO" | "PR" | "REG" | "DOC" | "RTSTRUCT" | "RTPLAN" | "RTRECORD" | "PLAN"
        | "ECG" | "EPS" | "HD" | "RESP" | "EEG" | "EMG" | "EOG" | "AU" | "RWV" | "FID" | "SMR"
        | "ASMT" | "M3D" | "STAIN" | "TEXTUREMAP" | "LEN" | "KER" | "SRF" | "AR" | "VA" | "OPV"
        | "IOL" => 2,
        _ => 0,
    }
}

/// The images of a series that may stand for it: the one that should, then its neighbours.
fn candidates(
    series: &SeriesPath,
    instances: &[ListedInstance],
    rejected: &HashSet<Uid>,
    choice: Representative,
) -> Vec<Candidate> {
    let pool = |content: Content| -> Vec<&ListedInstance> {
        let eligible = |i: &&ListedInstance| i.content == content && !rejected.contains(&i.uid);
        instances.iter().filter(eligible).collect()
    };
    // The label of a slide never stands for anything: it names the patient.
    let by_reference = [Content::PresentationState, Content::KeyObjects];
    let mut pools = [Content::Image, Content::Localizer].into_iter().chain(by_reference).map(pool);
    let Some(pool) = pools.find(|pool| !pool.is_empty()) else { return Vec::new() };
    let candidate = |(place, index): (usize, usize)| Candidate {
        path: series.instance(pool[index].uid.clone()),
        frame: None,
        rule: match (place, choice) {
            (_, Representative::Richest) => Rule::Richest,
            (0, Representative::First) => Rule::First,
            (0, Representative::Middle) => Rule::Middle,
            _ => Rule::Neighbour,
        },
    };
    order(pool.len(), choice).into_iter().enumerate().map(candidate).collect()
}

/// The places, of `count`, that are tried.
fn order(count: usize, choice: Representative) -> Vec<usize> {
    let from = |start: usize| {
        // The start, then outwards: after it, before it, two after …
        let offsets =
            (1..count).flat_map(move |step| [start.checked_add(step), start.checked_sub(step)]);
        std::iter::once(Some(start)).chain(offsets).flatten().filter(move |&place| place < count)
    };
    match choice {
        Representative::First => (0..count).take(TRIED_OF_A_SERIES).collect(),
        Representative::Middle => from(count / 2).take(TRIED_OF_A_SERIES).collect(),
        // Spread over the series, the ends left out: they show the least.
        Representative::Richest => {
            let compared = COMPARED.min(count);
            let mut places: Vec<usize> =
                (0..compared).map(|k| (2 * k + 1) * count / (2 * compared)).collect();
            places.dedup();
            places
        }
    }
}

#[cfg(test)]
mod tests {
    use core_render::CardKind;

    use super::*;

    fn path() -> SeriesPath {
        SeriesPath { study: "1".parse().unwrap(), series: "1.2".parse().unwrap() }
    }

    fn instances(contents: &[Content]) -> Vec<ListedInstance> {
        let instance = |(n, content): (usize, &Content)| ListedInstance {
            uid: format!("1.2.{}", n + 1).parse().unwrap(),
            number: Some(n as i64 + 1),
            content: *content,
            card: Card { kind: CardKind::Other, modality: None, series_number: None },
        };
        contents.iter().enumerate().map(instance).collect()
    }

    fn tried(contents: &[Content], choice: Representative) -> Vec<String> {
        candidates(&path(), &instances(contents), &HashSet::new(), choice)
            .into_iter()
            .map(|candidate| candidate.path.instance.to_string())
            .collect()
    }

    #[test]
    fn the_middle_is_what_ohif_shows_and_neighbours_follow() {
        assert_eq!(
            tried(&[Content::Image; 7], Representative::Middle),
            ["1.2.4", "1.2.5", "1.2.3", "1.2.6"]
        );
        assert_eq!(tried(&[Content::Image; 2], Representative::Middle), ["1.2.2", "1.2.1"]);
        assert_eq!(tried(&[Content::Image], Representative::Middle), ["1.2.1"]);
        assert_eq!(tried(&[Content::Image; 3], Representative::First), ["1.2.1", "1.2.2", "1.2.3"]);
    }

    #[test]
    fn the_richest_is_looked_for_all_over_the_series() {
        assert_eq!(order(100, Representative::Richest), [10, 30, 50, 70, 90]);
        assert_eq!(order(3, Representative::Richest), [0, 1, 2]);
        assert_eq!(order(1, Representative::Richest), [0]);
    }

    #[test]
    fn localizers_and_states_stand_in_only_where_there_is_no_image() {
        use Content::{Image, KeyObjects, Label, Localizer, Nothing, PresentationState, Text};
        assert_eq!(tried(&[Localizer, Localizer, Image, Text], Representative::Middle), ["1.2.3"]);
        assert_eq!(tried(&[Localizer, Text], Representative::Middle), ["1.2.1"]);
        assert_eq!(tried(&[Text, PresentationState], Representative::Middle), ["1.2.2"]);
        assert_eq!(tried(&[Text, KeyObjects], Representative::Middle), ["1.2.2"]);
        assert!(tried(&[Label, Text, Nothing], Representative::Middle).is_empty());
    }

    #[test]
    fn rejected_images_are_passed_over() {
        let rejected = HashSet::from(["1.2.2".parse().unwrap()]);
        let listed = instances(&[Content::Image; 3]);
        let images = candidates(&path(), &listed, &rejected, Representative::Middle);
        let uids: Vec<&str> = images.iter().map(|c| c.path.instance.as_str()).collect();
        assert_eq!(uids, ["1.2.3", "1.2.1"]);
    }

    #[test]
    fn images_come_before_what_is_derived_and_the_most_before_the_fewer() {
        let series = |number: i64, modality: &str, instances: Option<i64>| ListedSeries {
            path: path(),
            modality: Some(modality.to_owned()),
            number: Some(number),
            instances,
        };
        let ordered = by_preference(vec![
            series(1, "SR", Some(9)),
            series(2, "SEG", Some(900)),
            series(3, "CT", Some(2)),
            series(4, "CT", Some(80)),
            series(5, "MR", Some(80)),
            series(6, "XX", None),
        ]);
        let numbers: Vec<_> = ordered.iter().filter_map(|s| s.number).collect();
        assert_eq!(numbers, [4, 5, 3, 6, 2, 1]);
    }
}
