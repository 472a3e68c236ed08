//! What a document says of itself and of its patient (PS3.3 C.17.2, C.7.1.1, C.7.2.1).

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::attributes::{items, text};
use crate::code::Code;
use crate::content::{Fact, class_name};
use crate::format;

/// The head of a report.
#[derive(Debug)]
pub(crate) struct Header {
    /// The kind of object: the name of its SOP class.
    pub kind: String,
    /// Completion and verification, as the document words them.
    pub status: Vec<String>,
    /// Facts under headings, in the order they are shown.
    pub groups: Vec<(&'static str, Vec<Fact>)>,
}

type Form = fn(&str) -> String;

const PATIENT: [(&str, Tag, Form); 4] = [
    ("Name", tags::PATIENT_NAME, format::person_name),
    ("ID", tags::PATIENT_ID, str::to_owned),
    ("Birth date", tags::PATIENT_BIRTH_DATE, format::date),
    ("Sex", tags::PATIENT_SEX, str::to_owned),
];

const STUDY: [(&str, Tag, Form); 4] = [
    ("Description", tags::STUDY_DESCRIPTION, str::to_owned),
    ("Accession number", tags::ACCESSION_NUMBER, str::to_owned),
    ("Referring physician", tags::REFERRING_PHYSICIAN_NAME, format::person_name),
    ("Institution", tags::INSTITUTION_NAME, str::to_owned),
];

const DOCUMENT: [(&str, Tag, Form); 2] = [
    ("Series", tags::SERIES_DESCRIPTION, str::to_owned),
    ("Completion", tags::COMPLETION_FLAG_DESCRIPTION, str::to_owned),
];

impl Header {
    pub(crate) fn read(dataset: &InMemDicomObject) -> Self {
        let class = text(dataset, tags::SOP_CLASS_UID).unwrap_or_default();
        let flags = [tags::COMPLETION_FLAG, tags::VERIFICATION_FLAG, tags::PRELIMINARY_FLAG];
        let groups = [
            ("Patient", patient(dataset)),
            ("Study", study(dataset)),
            ("Document", document(dataset)),
        ];
        Self {
            kind: class_name(&class).unwrap_or("Structured report").to_owned(),
            status: flags.iter().filter_map(|flag| text(dataset, *flag)).collect(),
            groups: groups.into_iter().filter(|(_, facts)| !facts.is_empty()).collect(),
        }
    }
}

/// Name and ID are always there: that they are missing is worth knowing.
fn patient(dataset: &InMemDicomObject) -> Vec<Fact> {
    let mut facts = Vec::new();
    for (label, tag, form) in PATIENT {
        match text(dataset, tag) {
            Some(text) => facts.push((label.to_owned(), form(&text))),
            None if matches!(tag, tags::PATIENT_NAME | tags::PATIENT_ID) => {
                facts.push((label.to_owned(), "not given".to_owned()));
            }
            None => {}
        }
    }
    facts
}

fn study(dataset: &InMemDicomObject) -> Vec<Fact> {
    let mut facts = moment(dataset, tags::STUDY_DATE, tags::STUDY_TIME);
    facts.extend(there(dataset, &STUDY));
    facts
}

fn document(dataset: &InMemDicomObject) -> Vec<Fact> {
    let mut facts = moment(dataset, tags::CONTENT_DATE, tags::CONTENT_TIME);
    facts.extend(there(dataset, &DOCUMENT));
    for author in items(dataset, tags::AUTHOR_OBSERVER_SEQUENCE) {
        // A device has no person name.
        let name = text(author, tags::PERSON_NAME).map(|name| format::person_name(&name));
        let name = name.or_else(|| text(author, tags::STATION_NAME));
        facts.extend(name.map(|name| ("Author".to_owned(), name)));
    }
    for observer in items(dataset, tags::VERIFYING_OBSERVER_SEQUENCE) {
        facts.push(("Verified by".to_owned(), verification(observer)));
    }
    for study in items(dataset, tags::PREDECESSOR_DOCUMENTS_SEQUENCE) {
        let series = items(study, tags::REFERENCED_SERIES_SEQUENCE).iter();
        for document in series.flat_map(|series| items(series, tags::REFERENCED_SOP_SEQUENCE)) {
            let instance = text(document, tags::REFERENCED_SOP_INSTANCE_UID);
            facts.extend(instance.map(|uid| ("Replaces or amends".to_owned(), uid)));
        }
    }
    facts
}

/// Who verified, of what organisation, and when.
fn verification(observer: &InMemDicomObject) -> String {
    let code = Code::read(observer, tags::VERIFYING_OBSERVER_IDENTIFICATION_CODE_SEQUENCE);
    let parts = [
        text(observer, tags::VERIFYING_OBSERVER_NAME).map(|name| format::person_name(&name)),
        code.map(|code| code.line()),
        text(observer, tags::VERIFYING_ORGANIZATION),
        text(observer, tags::VERIFICATION_DATE_TIME).map(|text| format::date_time(&text)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "not given".to_owned() } else { parts.join(" · ") }
}

fn moment(dataset: &InMemDicomObject, date: Tag, time: Tag) -> Vec<Fact> {
    let date = text(dataset, date).map(|text| format::date(&text));
    let time = text(dataset, time).map(|text| {
        let seconds = text.split_once('.').map_or(text.as_str(), |(seconds, _)| seconds);
        format::time(seconds)
    });
    let parts: Vec<String> = [date, time].into_iter().flatten().collect();
    if parts.is_empty() { Vec::new() } else { vec![("Date".to_owned(), parts.join(" "))] }
}

fn there(dataset: &InMemDicomObject, wanted: &[(&str, Tag, Form)]) -> Vec<Fact> {
    let found = wanted
        .iter()
        .filter_map(|(label, tag, form)| Some(((*label).to_owned(), form(&text(dataset, *tag)?))));
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{document as sr, object, put_items};

    fn facts(header: &Header, group: &str) -> Vec<String> {
        let found = header.groups.iter().find(|(name, _)| *name == group);
        found.into_iter().flat_map(|(_, facts)| facts).map(|(l, t)| format!("{l}: {t}")).collect()
    }

    #[test]
    fn the_head_names_patient_study_and_document() {
        let mut dataset = sr(vec![]);
        let observer = object(&[
            (tags::VERIFYING_OBSERVER_NAME, "Reads^Robin^^Dr."),
            (tags::VERIFYING_ORGANIZATION, "Phantom Hospital"),
            (tags::VERIFICATION_DATE_TIME, "20260605113000"),
        ]);
        put_items(&mut dataset, tags::VERIFYING_OBSERVER_SEQUENCE, vec![observer]);
        let header = Header::read(&dataset);
        assert_eq!(header.kind, "Comprehensive SR");
        assert_eq!(header.status, ["COMPLETE", "VERIFIED"]);
        assert_eq!(
            facts(&header, "Patient"),
            ["Name: Phantom, Head", "ID: PHANTOM-1", "Birth date: 1966-06-05", "Sex: O",]
        );
        assert_eq!(
            facts(&header, "Study"),
            [
                "Date: 2026-06-05 10:00:00",
                "Accession number: DEMO0001",
                "Referring physician: Refers, Dana",
            ]
        );
        assert_eq!(
            facts(&header, "Document"),
            [
                "Date: 2026-06-05 10:05:00",
                "Verified by: Reads, Robin, Dr. · Phantom Hospital · 2026-06-05 11:30:00",
            ]
        );
    }

    #[test]
    fn a_patient_without_a_name_is_said_to_have_none() {
        let header = Header::read(&InMemDicomObject::new_empty());
        assert_eq!(facts(&header, "Patient"), ["Name: not given", "ID: not given"]);
        assert_eq!(header.groups.len(), 1);
    }
}
