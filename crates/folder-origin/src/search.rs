//! QIDO-RS (PS3.18 §10.6): which studies, series or instances match, and what is said of each.

use std::collections::HashSet;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use serde_json::Value;

use crate::error::Problem;
use crate::file::{DicomFile, dictionary_vr};
use crate::index::{Attributes, Index, Instance, STUDY_TAGS, Series, Study, values};
use crate::index::{INSTANCE_TAGS, SERIES_TAGS};
use crate::json;
use crate::route::{Level, Scope};

/// A search, parsed.
#[derive(Debug, Default)]
pub(crate) struct Search {
    keys: Vec<(Tag, Matcher)>,
    limit: Option<usize>,
    offset: usize,
    include: Vec<Tag>,
    include_all: bool,
    /// The client asked for fuzzy matching, which is not done and must be said so (§8.3.4.2).
    pub(crate) fuzzy_refused: bool,
}

/// The matching of PS3.4 §C.2.2.2 that a key asks for.
#[derive(Debug, PartialEq)]
enum Matcher {
    Universal,
    /// Any of these.
    AnyOf(Vec<String>),
    /// `*` and `?`; letters in either case.
    Wildcard(Vec<char>),
    /// From, to; both included; either may be open.
    Range(Option<String>, Option<String>),
}

impl Search {
    /// Reads decoded query parameters. Names that are no attribute are ignored (§8.3.5).
    pub(crate) fn parse(query: &[(String, String)]) -> Result<Self, Problem> {
        let mut search = Self::default();
        for (name, value) in query {
            match name.as_str() {
                "limit" => search.limit = Some(count(name, value)?),
                "offset" => search.offset = count(name, value)?,
                "fuzzymatching" => search.fuzzy_refused = value.eq_ignore_ascii_case("true"),
                "includefield" => search.include(value)?,
                _ => search.key(name, value)?,
            }
        }
        Ok(search)
    }

    fn include(&mut self, value: &str) -> Result<(), Problem> {
        for field in value.split(',').map(str::trim).filter(|field| !field.is_empty()) {
            match field {
                "all" => self.include_all = true,
                field => self.include.push(tag_of(field).ok_or_else(|| {
                    Problem::BadRequest("includefield names no attribute: use keywords, tags of eight hexadecimal digits, or all".into())
                })?),
            }
        }
        Ok(())
    }

    fn key(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        let Some(tag) = tag_of(name) else { return Ok(()) };
        if !is_key(tag) {
            let keyword =
                StandardDataDictionary.by_tag(tag).map_or("this attribute", |e| e.alias());
            return Err(Problem::BadRequest(format!(
                "{keyword} is not a matching key of this origin"
            )));
        }
        self.keys.push((tag, Matcher::parse(dictionary_vr(tag), value)));
        Ok(())
    }

    /// The matching entries of one page, as DICOM JSON; `base` is the URL that paths go below.
    pub(crate) fn run(&self, index: &Index, level: Level, scope: &Scope, base: &str) -> Vec<Value> {
        let mut seen = HashSet::new();
        let matching = index.rows().filter(|row| scope.holds(&row.2.summary.path));
        let matching = matching.filter(|(study, series, instance)| {
            self.keys.iter().all(|(tag, matcher)| match *tag {
                tags::MODALITIES_IN_STUDY => matcher.matches(&modalities(study)),
                tag => {
                    let levels = [&study.attributes, &series.attributes, &instance.attributes];
                    let holder = levels.into_iter().find(|a| a.contains_key(&json::key(tag)));
                    matcher.matches(&holder.map(|a| values(a, tag)).unwrap_or_default())
                }
            })
        });
        let entries = matching.filter(|(study, series, instance)| match level {
            Level::Study => seen.insert(study.uid.as_str()),
            Level::Series => seen.insert(series.uid.as_str()),
            Level::Instance => seen.insert(instance.summary.path.instance.as_str()),
        });
        let page = entries.skip(self.offset).take(self.limit.unwrap_or(usize::MAX));
        page.map(|row| Value::Object(self.entry(row, level, scope, base))).collect()
    }

    fn entry(
        &self,
        (study, series, instance): (&Study, &Series, &Instance),
        level: Level,
        scope: &Scope,
        base: &str,
    ) -> Attributes {
        let path = &instance.summary.path;
        let mut entry = Attributes::new();
        // Attributes of the levels above, unless the path has named them (§10.6.3.3).
        if level == Level::Study || scope.study.is_none() {
            entry.extend(study_entry(study));
        }
        if level == Level::Series || (level == Level::Instance && scope.series.is_none()) {
            entry.extend(series_entry(series));
        }
        let url = match level {
            Level::Study => format!("{base}/studies/{}", study.uid),
            Level::Series => format!("{base}/studies/{}/series/{}", study.uid, series.uid),
            Level::Instance => {
                entry.extend(instance.attributes.clone());
                format!("{base}/{path}")
            }
        };
        let uids =
            [(tags::STUDY_INSTANCE_UID, &path.study), (tags::SERIES_INSTANCE_UID, &path.series)];
        for (tag, uid) in uids.iter().take(if level == Level::Study { 1 } else { 2 }) {
            entry.insert(json::key(*tag), json::attribute(VR::UI, uid.as_str()));
        }
        entry.insert(json::key(tags::RETRIEVE_URL), json::attribute(VR::UR, url));
        entry.insert(json::key(tags::INSTANCE_AVAILABILITY), json::attribute(VR::CS, "ONLINE"));
        self.add_included(&mut entry, instance, level);
        entry
    }

    /// What the index does not hold is read from the file; at the levels above from that of the
    /// first matching instance.
    fn add_included(&self, entry: &mut Attributes, instance: &Instance, level: Level) {
        let all = self.include_all && level == Level::Instance;
        let wanted = |tag: &Tag| all || self.include.contains(tag);
        if !all && self.include.iter().all(|tag| entry.contains_key(&json::key(*tag))) {
            return;
        }
        let Ok(file) = DicomFile::open(&instance.file) else { return };
        let bulk =
            |tag: Tag| file.bulk.iter().any(|v| v.path.items.is_empty() && v.path.tag == tag);
        for element in
            file.dataset.iter().filter(|e| wanted(&e.header().tag) && !bulk(e.header().tag))
        {
            if let Some(value) = json::element(element) {
                entry.entry(json::key(element.header().tag)).or_insert(value);
            }
        }
    }
}

fn study_entry(study: &Study) -> Attributes {
    let mut entry = study.attributes.clone();
    let instances: usize = study.series.iter().map(|series| series.instances.len()).sum();
    let modalities = serde_json::json!({ "vr": "CS", "Value": modalities(study) });
    entry.insert(json::key(tags::MODALITIES_IN_STUDY), modalities);
    let counts = [
        (tags::NUMBER_OF_STUDY_RELATED_SERIES, study.series.len()),
        (tags::NUMBER_OF_STUDY_RELATED_INSTANCES, instances),
    ];
    entry.extend(counts.map(|(tag, n)| (json::key(tag), json::attribute(VR::IS, n))));
    entry
}

fn series_entry(series: &Series) -> Attributes {
    let mut entry = series.attributes.clone();
    let count = json::attribute(VR::IS, series.instances.len());
    entry.insert(json::key(tags::NUMBER_OF_SERIES_RELATED_INSTANCES), count);
    entry
}

fn modalities(study: &Study) -> Vec<String> {
    let mut modalities: Vec<String> =
        study.series.iter().flat_map(|s| values(&s.attributes, tags::MODALITY)).collect();
    modalities.sort();
    modalities.dedup();
    modalities
}

impl Matcher {
    fn parse(vr: VR, value: &str) -> Self {
        match vr {
            _ if value.is_empty() || value == "*" => Self::Universal,
            // PS3.18 §8.3.4.1: a list of UIDs has commas, PS3.4 has backslashes.
            VR::UI => {
                Self::AnyOf(value.split([',', '\\']).map(|uid| uid.trim().to_owned()).collect())
            }
            VR::DA | VR::TM | VR::DT if value.contains('-') => range(value),
            VR::DA | VR::TM | VR::DT => Self::AnyOf(vec![value.to_owned()]),
            VR::IS | VR::DS | VR::US | VR::UL => Self::AnyOf(vec![canonical_number(value)]),
            _ => Self::Wildcard(value.to_lowercase().chars().collect()),
        }
    }

    fn matches(&self, values: &[String]) -> bool {
        match self {
            Self::Universal => true,
            Self::AnyOf(wanted) => values.iter().any(|value| wanted.contains(value)),
            Self::Wildcard(pattern) => values
                .iter()
                .any(|value| wildcard(pattern, &value.to_lowercase().chars().collect::<Vec<_>>())),
            Self::Range(from, to) => values.iter().any(|value| {
                from.as_deref().is_none_or(|from| value.as_str() >= from)
                    // 10:30 lies within "up to 10": compare as far as the bound goes.
                    && to.as_deref().is_none_or(|to| value.get(..to.len()).unwrap_or(value) <= to)
            }),
        }
    }
}

fn range(value: &str) -> Matcher {
    let (from, to) = value.split_once('-').unwrap_or((value, value));
    let bound = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    Matcher::Range(bound(from), bound(to))
}

fn canonical_number(value: &str) -> String {
    value.trim().parse::<i64>().map_or_else(|_| value.to_owned(), |number| number.to_string())
}

/// Greedy, with one point of return: linear but for the last `*`.
fn wildcard(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((after_star, start)) = retry else { return false };
                (p, t) = (after_star, start + 1);
                retry = Some((after_star, start + 1));
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn is_key(tag: Tag) -> bool {
    tag == tags::MODALITIES_IN_STUDY
        || [STUDY_TAGS, SERIES_TAGS, INSTANCE_TAGS].iter().any(|known| known.contains(&tag))
}

/// The tag that a keyword or eight hexadecimal digits name.
fn tag_of(name: &str) -> Option<Tag> {
    json::hex_tag(name).or_else(|| StandardDataDictionary.by_name(name).map(|entry| entry.tag()))
}

fn count(name: &str, value: &str) -> Result<usize, Problem> {
    value.parse().map_err(|_| Problem::BadRequest(format!("{name} must be a whole number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(vr: VR, key: &str, value: &str) -> bool {
        Matcher::parse(vr, key).matches(&[value.to_owned()])
    }

    #[test]
    fn names_match_by_wildcard_in_either_case() {
        assert!(matches(VR::PN, "phan*", "Phantom^Head"));
        assert!(matches(VR::PN, "*^h?ad", "Phantom^Head"));
        assert!(matches(VR::PN, "*a*d", "Phantom^Head"));
        assert!(!matches(VR::PN, "Phantom", "Phantom^Head"));
        assert!(!matches(VR::PN, "P?^Head", "Phantom^Head"));
        assert!(matches(VR::PN, "*", ""));
    }

    #[test]
    fn dates_match_in_closed_and_open_ranges() {
        for (key, expected) in [
            ("20260101-20261231", true),
            ("20260301-", true),
            ("-20260301", true),
            ("20260302-", false),
            ("-20260228", false),
            ("20260301", true),
        ] {
            assert_eq!(matches(VR::DA, key, "20260301"), expected, "{key}");
        }
        assert!(matches(VR::TM, "0900-10", "103000"));
    }

    #[test]
    fn uids_match_any_of_a_list_and_never_by_wildcard() {
        assert!(matches(VR::UI, "1.2,1.3", "1.3"));
        assert!(matches(VR::UI, "1.2\\1.3", "1.3"));
        assert!(!matches(VR::UI, "1.*", "1.3"));
    }

    #[test]
    fn numbers_match_by_value() {
        assert!(matches(VR::IS, "01", "1"));
        assert!(!matches(VR::IS, "1", "11"));
    }

    #[test]
    fn attributes_go_by_keyword_or_tag() {
        assert_eq!(tag_of("PatientID"), Some(tags::PATIENT_ID));
        assert_eq!(tag_of("00100020"), Some(tags::PATIENT_ID));
        assert_eq!(tag_of("0020000d"), Some(tags::STUDY_INSTANCE_UID));
        assert_eq!(tag_of("patient"), None);
    }
}
