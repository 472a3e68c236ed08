//! A data set to the texts of an annotation.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicomweb_types::FrameNumber;

use crate::attributes::{FunctionalGroups, number_of_frames};
use crate::charset::decoded_text;
use crate::dataset::{integer, items, number, numbers};
use crate::source::Labels;

/// Characters of one value: those of LO, and of a component group of PN (PS3.5 §6.2).
const LONGEST: usize = 64;
/// Between the values of a line.
const BESIDE: &str = " · ";

impl Labels {
    /// The texts for one frame of the instance that `dataset` describes (PS3.18 §8.3.5.1.1). Of both
    /// lists the most important line comes first. What is absent or makes no sense is left out.
    pub fn of(dataset: &InMemDicomObject, frame: FrameNumber) -> Self {
        Self {
            patient: patient(dataset),
            technique: technique(dataset, frame),
            series: series(dataset),
        }
    }
}

fn patient(dataset: &InMemDicomObject) -> Vec<String> {
    let identifier = value(dataset, tags::PATIENT_ID).map(|id| format!("ID {id}"));
    let born = value(dataset, tags::PATIENT_BIRTH_DATE).map(|born| format!("* {}", date(&born)));
    let age = value(dataset, tags::PATIENT_AGE).map(|text| age(&text));
    let person = beside([born, value(dataset, tags::PATIENT_SEX), age]);
    [person_name(dataset), identifier, person].into_iter().flatten().collect()
}

fn technique(dataset: &InMemDicomObject, frame: FrameNumber) -> Vec<String> {
    let groups = FunctionalGroups::of(dataset, frame);
    [
        beside([value(dataset, tags::MODALITY), value(dataset, tags::STUDY_DESCRIPTION)]),
        value(dataset, tags::SERIES_DESCRIPTION),
        numbering(dataset, frame),
        study_time(dataset),
        anatomy(dataset, &groups),
        place(dataset, &groups),
        thickness(dataset, &groups),
        exposure(dataset, &groups),
        timing(dataset, &groups),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Modality and series number.
fn series(dataset: &InMemDicomObject) -> Option<String> {
    let number = integer(dataset, tags::SERIES_NUMBER).map(|number| number.to_string());
    let words: Vec<String> = [modality(dataset), number].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Modality (0008,0060), where it is a code string (PS3.5 §6.2): it cannot hold much else then.
pub(crate) fn modality(dataset: &InMemDicomObject) -> Option<String> {
    value(dataset, tags::MODALITY).filter(|text| is_code_string(text))
}

pub(crate) fn is_code_string(text: &str) -> bool {
    let legal = |c: u8| matches!(c, b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'_');
    (1..=16).contains(&text.len()) && text.bytes().all(legal)
}

/// "Family, Given", and the ideographic form beside an alphabetic one (PS3.5 §6.2.1.1).
fn person_name(dataset: &InMemDicomObject) -> Option<String> {
    let text = decoded_text(dataset, tags::PATIENT_NAME)?;
    let mut groups = text.split('=');
    let alphabetic = groups.next().and_then(alphabetic_name);
    let ideographic = groups.next().and_then(spaced_name);
    let phonetic = groups.next().and_then(spaced_name);
    match (alphabetic, ideographic) {
        (Some(alphabetic), Some(ideographic)) => Some(format!("{alphabetic} ({ideographic})")),
        (alphabetic, ideographic) => alphabetic.or(ideographic).or(phonetic),
    }
}

/// Family name, given name, middle name, prefix, suffix; as "Family, Prefix Given Middle, Suffix".
fn alphabetic_name(group: &str) -> Option<String> {
    let part = |index| bounded(group.split('^').nth(index).unwrap_or_default());
    let given: Vec<String> = [part(3), part(1), part(2)].into_iter().flatten().collect();
    let given = (!given.is_empty()).then(|| given.join(" "));
    let parts: Vec<String> = [part(0), given, part(4)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn spaced_name(group: &str) -> Option<String> {
    let parts: Vec<String> = group.split('^').take(5).filter_map(bounded).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn numbering(dataset: &InMemDicomObject, frame: FrameNumber) -> Option<String> {
    let numbered = |word: &str, tag| integer(dataset, tag).map(|number| format!("{word} {number}"));
    let frames = number_of_frames(dataset);
    beside([
        numbered("Series", tags::SERIES_NUMBER),
        numbered("Image", tags::INSTANCE_NUMBER),
        (frames > 1).then(|| format!("Frame {frame}/{frames}")),
    ])
}

fn study_time(dataset: &InMemDicomObject) -> Option<String> {
    let date = date(&value(dataset, tags::STUDY_DATE)?);
    match value(dataset, tags::STUDY_TIME).and_then(|text| time(&text)) {
        Some(time) => Some(format!("{date} {time}")),
        None => Some(date),
    }
}

/// Which part of the body, which side, and from where.
fn anatomy(dataset: &InMemDicomObject, groups: &FunctionalGroups<'_>) -> Option<String> {
    let frame = groups.group(tags::FRAME_ANATOMY_SEQUENCE);
    let of_frame = |tag| frame.and_then(|item| value(item, tag));
    let meaning = |item: &InMemDicomObject, sequence| {
        items(item, sequence).first().and_then(|code| value(code, tags::CODE_MEANING))
    };
    let part = value(dataset, tags::BODY_PART_EXAMINED)
        .or_else(|| frame.and_then(|item| meaning(item, tags::ANATOMIC_REGION_SEQUENCE)))
        .or_else(|| meaning(dataset, tags::ANATOMIC_REGION_SEQUENCE));
    let side = of_frame(tags::FRAME_LATERALITY)
        .or_else(|| value(dataset, tags::IMAGE_LATERALITY))
        .or_else(|| value(dataset, tags::LATERALITY));
    let view =
        value(dataset, tags::VIEW_POSITION).or_else(|| meaning(dataset, tags::VIEW_CODE_SEQUENCE));
    beside([part, side, view])
}

/// Slice Location, else Image Position (Patient).
fn place(dataset: &InMemDicomObject, groups: &FunctionalGroups<'_>) -> Option<String> {
    if let Some(location) = number(dataset, tags::SLICE_LOCATION).and_then(readable) {
        return Some(format!("Location {location} mm"));
    }
    let plane = groups.group(tags::PLANE_POSITION_SEQUENCE).unwrap_or(dataset);
    let position = numbers(plane, tags::IMAGE_POSITION_PATIENT);
    let [x, y, z] = position.try_into().ok()?;
    let axis = |value: Option<f64>| readable(value?);
    Some(format!("Position {}, {}, {} mm", axis(x)?, axis(y)?, axis(z)?))
}

fn thickness(dataset: &InMemDicomObject, groups: &FunctionalGroups<'_>) -> Option<String> {
    let measures = groups.group(tags::PIXEL_MEASURES_SEQUENCE);
    measured(dataset, tags::SLICE_THICKNESS, [measures.map(|item| (item, tags::SLICE_THICKNESS))])
        .map(|thickness| format!("Thickness {thickness} mm"))
}

/// Tube voltage, and tube current over time.
fn exposure(dataset: &InMemDicomObject, groups: &FunctionalGroups<'_>) -> Option<String> {
    let details = groups.group(tags::CTX_RAY_DETAILS_SEQUENCE);
    let exposure = groups.group(tags::CT_EXPOSURE_SEQUENCE);
    let voltage = measured(dataset, tags::KVP, [details.map(|item| (item, tags::KVP))]);
    let charge = measured(
        dataset,
        tags::EXPOSURE,
        [
            exposure.map(|item| (item, tags::EXPOSURE_INM_AS)),
            Some((dataset, tags::EXPOSURE_INM_AS)),
        ],
    );
    beside([voltage.map(|kv| format!("{kv} kV")), charge.map(|mas| format!("{mas} mAs"))])
}

/// Repetition and echo time of magnetic resonance.
fn timing(dataset: &InMemDicomObject, groups: &FunctionalGroups<'_>) -> Option<String> {
    let related = groups.group(tags::MR_TIMING_AND_RELATED_PARAMETERS_SEQUENCE);
    let echo = groups.group(tags::MR_ECHO_SEQUENCE);
    let repetition = measured(
        dataset,
        tags::REPETITION_TIME,
        [related.map(|item| (item, tags::REPETITION_TIME))],
    );
    let echo =
        measured(dataset, tags::ECHO_TIME, [echo.map(|item| (item, tags::EFFECTIVE_ECHO_TIME))]);
    beside([repetition.map(|ms| format!("TR {ms} ms")), echo.map(|ms| format!("TE {ms} ms"))])
}

/// A number of the image, else from the first of the other places that has it.
fn measured<const N: usize>(
    dataset: &InMemDicomObject,
    tag: Tag,
    elsewhere: [Option<(&InMemDicomObject, Tag)>; N],
) -> Option<String> {
    let places = [Some((dataset, tag))].into_iter().chain(elsewhere).flatten();
    places.into_iter().find_map(|(item, tag)| number(item, tag)).and_then(readable)
}

/// At most two decimals; `None` for what no scanner measures.
pub(crate) fn readable(number: f64) -> Option<String> {
    let rounded = (number * 100.0).round() / 100.0;
    // Adding 0 turns −0 into 0.
    (rounded.abs() < 1e7).then(|| (rounded + 0.0).to_string())
}

fn value(dataset: &InMemDicomObject, tag: Tag) -> Option<String> {
    bounded(&decoded_text(dataset, tag)?)
}

fn bounded(text: &str) -> Option<String> {
    let text: String = text.trim().chars().take(LONGEST).collect();
    (!text.is_empty()).then_some(text)
}

fn beside<const N: usize>(values: [Option<String>; N]) -> Option<String> {
    let values: Vec<String> = values.into_iter().flatten().collect();
    (!values.is_empty()).then(|| values.join(BESIDE))
}

/// YYYYMMDD, or YYYY.MM.DD of old, as YYYY-MM-DD; anything else as it stands.
fn date(text: &str) -> String {
    let digits: String = text.split('.').collect();
    let dotted = text.len() == 8 || (text.len() == 10 && text.split('.').count() == 3);
    match digits.len() == 8 && dotted && digits.bytes().all(|b| b.is_ascii_digit()) {
        true => format!("{}-{}-{}", &digits[..4], &digits[4..6], &digits[6..]),
        false => text.to_owned(),
    }
}

/// HHMM or HHMMSS with or without a fraction, also with colons, as HH:MM or HH:MM:SS.
fn time(text: &str) -> Option<String> {
    let whole: String = text.split('.').next()?.split(':').collect();
    if !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match whole.len() {
        4 => Some(format!("{}:{}", &whole[..2], &whole[2..])),
        6 => Some(format!("{}:{}:{}", &whole[..2], &whole[2..4], &whole[4..])),
        _ => None,
    }
}

/// "045Y" as "45 y"; anything else as it stands.
fn age(text: &str) -> String {
    let unit = match text.as_bytes() {
        [a, b, c, b'Y'] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => "y",
        [a, b, c, b'M'] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => "mo",
        [a, b, c, b'W'] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => "w",
        [a, b, c, b'D'] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => "d",
        _ => return text.to_owned(),
    };
    let number = text[..3].trim_start_matches('0');
    format!("{} {unit}", if number.is_empty() { "0" } else { number })
}

#[cfg(test)]
mod tests {
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue, VR};
    use proptest::prelude::*;

    use super::*;

    fn dataset<'a>(texts: impl IntoIterator<Item = (Tag, &'a str)>) -> InMemDicomObject {
        InMemDicomObject::from_element_iter(
            texts
                .into_iter()
                .map(|(tag, text)| DataElement::new(tag, VR::LO, PrimitiveValue::from(text))),
        )
    }

    fn first_frame<'a>(texts: impl IntoIterator<Item = (Tag, &'a str)>) -> Labels {
        Labels::of(&dataset(texts), FrameNumber::FIRST)
    }

    fn name(text: &str) -> Option<String> {
        first_frame([(tags::PATIENT_NAME, text)]).patient.into_iter().next()
    }

    #[test]
    fn names_are_family_comma_given() {
        let named = |text| name(text).unwrap();
        assert_eq!(named("Doe^Jane"), "Doe, Jane");
        assert_eq!(named("Doe"), "Doe");
        assert_eq!(named("^Jane"), "Jane");
        // PS3.5 §6.2.1.1, example 1.
        assert_eq!(
            named("Adams^John Robert Quincy^^Rev.^B.A. M.Div."),
            "Adams, Rev. John Robert Quincy, B.A. M.Div."
        );
        assert_eq!(named("Yamada^Tarou=山田^太郎=やまだ^たろう"), "Yamada, Tarou (山田 太郎)");
        assert_eq!(named("=山田^太郎=やまだ^たろう"), "山田 太郎");
        assert_eq!(named("==やまだ^たろう"), "やまだ たろう");
        assert_eq!(name("^^^^"), None);
        assert_eq!(name("=="), None);
    }

    #[test]
    fn a_patient_is_name_identifier_and_person() {
        let labels = first_frame([
            (tags::PATIENT_NAME, "Doe^Jane"),
            (tags::PATIENT_ID, " 4711 "),
            (tags::PATIENT_BIRTH_DATE, "19510102"),
            (tags::PATIENT_SEX, "F"),
            (tags::PATIENT_AGE, "075Y"),
            (tags::INSTITUTION_NAME, "Somewhere"),
        ]);
        assert_eq!(labels.patient, ["Doe, Jane", "ID 4711", "* 1951-01-02 · F · 75 y"]);
        assert_eq!((labels.technique, labels.series), (vec![], None));
    }

    #[test]
    fn a_technique_says_what_when_where_and_how() {
        let labels = first_frame([
            (tags::MODALITY, "CT"),
            (tags::STUDY_DESCRIPTION, "Thorax"),
            (tags::SERIES_DESCRIPTION, "Lung 5 mm"),
            (tags::SERIES_NUMBER, "3"),
            (tags::INSTANCE_NUMBER, "12"),
            (tags::STUDY_DATE, "20261126"),
            (tags::STUDY_TIME, "134510.123"),
            (tags::BODY_PART_EXAMINED, "CHEST"),
            (tags::LATERALITY, "L"),
            (tags::SLICE_LOCATION, "-12.5000"),
            (tags::SLICE_THICKNESS, "5"),
            (tags::KVP, "120"),
            (tags::EXPOSURE, "200"),
            (tags::INSTITUTION_NAME, "Somewhere"),
        ]);
        assert_eq!(
            labels.technique,
            [
                "CT · Thorax",
                "Lung 5 mm",
                "Series 3 · Image 12",
                "2026-11-26 13:45:10",
                "CHEST · L",
                "Location -12.5 mm",
                "Thickness 5 mm",
                "120 kV · 200 mAs",
            ]
        );
        assert_eq!(labels.series.as_deref(), Some("CT 3"));
        assert!(labels.patient.is_empty());
    }

    #[test]
    fn values_of_functional_groups_are_those_of_the_frame() {
        fn with(mut item: InMemDicomObject, tag: Tag, of: InMemDicomObject) -> InMemDicomObject {
            item.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(vec![of])));
            item
        }
        let plane = |z| {
            let plane = dataset([(tags::IMAGE_POSITION_PATIENT, z)]);
            with(dataset([]), tags::PLANE_POSITION_SEQUENCE, plane)
        };
        let echo = dataset([(tags::EFFECTIVE_ECHO_TIME, "15")]);
        let timing = dataset([(tags::REPETITION_TIME, "500.00")]);
        let shared = with(dataset([]), tags::MR_ECHO_SEQUENCE, echo);
        let shared = with(shared, tags::MR_TIMING_AND_RELATED_PARAMETERS_SEQUENCE, timing);
        let measures = dataset([(tags::SLICE_THICKNESS, "4.5")]);
        let shared = with(shared, tags::PIXEL_MEASURES_SEQUENCE, measures);
        let mut image = with(
            dataset([(tags::NUMBER_OF_FRAMES, "2")]),
            tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
            shared,
        );
        let frames = DataSetSequence::from(vec![plane("1\\2\\3"), plane("1\\2\\8.5")]);
        image.put(DataElement::new(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, VR::SQ, frames));
        let labels = Labels::of(&image, FrameNumber::new(2).unwrap());
        assert_eq!(
            labels.technique,
            ["Frame 2/2", "Position 1, 2, 8.5 mm", "Thickness 4.5 mm", "TR 500 ms · TE 15 ms"]
        );
    }

    #[test]
    fn dates_times_and_ages_are_readable() {
        assert_eq!(date("20261126"), "2026-11-26");
        assert_eq!(date("2026.11.26"), "2026-11-26");
        for text in ["2026", "yesterday", "2026-1-1", "1.2.3.4567890", "202611é"] {
            assert_eq!(date(text), text);
        }
        assert_eq!(time("1345").as_deref(), Some("13:45"));
        assert_eq!(time("13:45:10.5").as_deref(), Some("13:45:10"));
        assert_eq!((time("13"), time("noon é"), time("")), (None, None, None));
        let ages = ["045Y", "018M", "002W", "000D", "45", "éé"].map(age);
        assert_eq!(ages, ["45 y", "18 mo", "2 w", "0 d", "45", "éé"]);
    }

    #[test]
    fn numbers_are_short_and_nonsense_is_left_out() {
        let readable = |number| readable(number).unwrap_or_default();
        assert_eq!(readable(12.0), "12");
        assert_eq!(readable(-0.001), "0");
        assert_eq!(readable(1.23456), "1.23");
        assert_eq!(readable(1e300), "");
        assert_eq!(readable(f64::NAN), "");
    }

    #[test]
    fn a_label_names_only_modality_and_number() {
        let series = |modality, number| {
            first_frame([(tags::MODALITY, modality), (tags::SERIES_NUMBER, number)]).series
        };
        assert_eq!(series("MR", "").as_deref(), Some("MR"));
        assert_eq!(series("Doe^Jane", "7").as_deref(), Some("7"));
        assert_eq!(series("Doe^Jane", "Doe"), None);
    }

    #[test]
    fn values_are_bounded() {
        let long = "x".repeat(10_000);
        let all = [
            tags::PATIENT_NAME,
            tags::PATIENT_ID,
            tags::PATIENT_SEX,
            tags::STUDY_DESCRIPTION,
            tags::STUDY_DATE,
            tags::BODY_PART_EXAMINED,
        ];
        let labels = first_frame(all.map(|tag| (tag, long.as_str())));
        for line in labels.patient.iter().chain(&labels.technique) {
            assert!(line.chars().count() <= 3 * LONGEST + 20);
        }
    }

    proptest! {
        #[test]
        fn no_value_is_too_odd(texts in proptest::collection::vec(".{0,40}", 16)) {
            let all = [
                tags::PATIENT_NAME, tags::PATIENT_ID, tags::PATIENT_BIRTH_DATE, tags::PATIENT_SEX,
                tags::PATIENT_AGE, tags::MODALITY, tags::STUDY_DATE, tags::STUDY_TIME,
                tags::SERIES_NUMBER, tags::NUMBER_OF_FRAMES, tags::SLICE_LOCATION, tags::KVP,
                tags::IMAGE_POSITION_PATIENT, tags::SPECIFIC_CHARACTER_SET, tags::ECHO_TIME,
                tags::VIEW_POSITION,
            ];
            let labels = first_frame(all.into_iter().zip(texts.iter().map(String::as_str)));
            prop_assert!(labels.patient.iter().chain(&labels.technique).all(|line| !line.is_empty()));
        }
    }
}
