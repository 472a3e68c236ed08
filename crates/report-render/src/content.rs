//! The content tree (PS3.3 C.17.3): items, what relates them to the one above, and their values.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, UidDictionary};
use dicom_core::{PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, StandardSopClassDictionary, tags};
use dicom_object::InMemDicomObject;

use crate::attributes::{integers, item, items, long_text, primitive, start, text, texts};
use crate::code::Code;
use crate::format;
use crate::table::Table;
use crate::{DEEPEST, MOST_ITEMS, MOST_TEXT};

/// Points of a graphic that are written out; the rest are counted.
const MOST_POINTS: usize = 200;

/// Cells of all tables of a document that are laid out.
const MOST_CELLS: usize = 200_000;

/// Values of an item of unknown type that are written out; the rest are counted.
const MOST_UNKNOWN: usize = 200;

/// A content item.
#[derive(Debug)]
pub(crate) struct Item {
    /// What it is to the item above; `None` for the root, or where the document does not say.
    pub relationship: Option<String>,
    pub name: Option<Code>,
    pub value: Value,
    /// Observation DateTime.
    pub observed: Option<String>,
    pub children: Vec<Item>,
    /// What was left out below it.
    pub left_out: Option<LeftOut>,
}

/// Why items are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// They lie deeper than [`DEEPEST`].
    TooDeep,
    /// So many at this place, not counting what is below them, after [`MOST_ITEMS`] or [`MOST_TEXT`] were
    /// read.
    TooMany(usize),
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooDeep => write!(f, "What is nested deeper than {DEEPEST} levels is not shown."),
            Self::TooMany(1) => write!(f, "1 item is not shown here: the document is too long."),
            Self::TooMany(count) => {
                write!(f, "{count} items are not shown here: the document is too long.")
            }
        }
    }
}

/// What an item says.
#[derive(Debug, PartialEq)]
pub(crate) enum Value {
    Container,
    /// Free text of any length.
    Text(String),
    /// A date, a time, a name, a UID.
    Word(String),
    Code(Code),
    Number(Number),
    /// An image, a waveform, coordinates: what it is, and facts about it.
    Facts(String, Vec<Fact>),
    Table(Table),
    /// An item elsewhere in the document, by its place below the root (C.17.3.2.5).
    Elsewhere(Vec<u32>),
    /// The document gives no value.
    Nothing,
}

/// A label and what it labels.
pub(crate) type Fact = (String, String);

/// A measured value (C.18.1).
#[derive(Debug, PartialEq, Default)]
pub(crate) struct Number {
    /// As written; `None` where nothing could be measured.
    pub value: Option<String>,
    /// The same more exactly, where it is not the same.
    pub exactly: Option<String>,
    pub unit: Option<Code>,
    /// Why there is no value, or what is special about it.
    pub qualifier: Option<Code>,
}

/// What may still be read of a document.
pub(crate) struct Budget {
    items: usize,
    /// Bytes of text.
    text: usize,
    /// Cells of tables, which may be declared without a value in them.
    pub cells: usize,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { items: MOST_ITEMS, text: MOST_TEXT, cells: MOST_CELLS }
    }

    fn take_item(&mut self) -> bool {
        let there = self.items > 0 && self.text > 0;
        self.items = self.items.saturating_sub(1);
        there
    }

    fn charge(&mut self, item: &Item) {
        let name = item.name.as_ref().map_or(0, Code::len);
        let relationship = item.relationship.as_ref().map_or(0, String::len);
        self.text = self.text.saturating_sub(name + relationship + item.value.len());
    }

    /// Text as far as there is room for it, and how much is missing.
    fn cut(&self, mut text: String) -> String {
        if text.len() > self.text {
            let more = text.len() - self.text;
            text.truncate(start(&text, self.text).len());
            text.push_str(&format!(" … ({more} more bytes are not shown)"));
        }
        text
    }
}

impl Item {
    /// The item in a data set, `depth` levels below the root, with all below it.
    pub(crate) fn read(dataset: &InMemDicomObject, depth: usize, budget: &mut Budget) -> Self {
        let mut read = Self {
            relationship: text(dataset, tags::RELATIONSHIP_TYPE),
            name: Code::read(dataset, tags::CONCEPT_NAME_CODE_SEQUENCE),
            value: Value::read(dataset, budget),
            observed: text(dataset, tags::OBSERVATION_DATE_TIME).map(|t| format::date_time(&t)),
            children: Vec::new(),
            left_out: None,
        };
        budget.charge(&read);
        let below = items(dataset, tags::CONTENT_SEQUENCE);
        if depth == DEEPEST && !below.is_empty() {
            read.left_out = Some(LeftOut::TooDeep);
            return read;
        }
        for (at, child) in below.iter().enumerate() {
            if !budget.take_item() {
                read.left_out = Some(LeftOut::TooMany(below.len() - at));
                break;
            }
            read.children.push(Self::read(child, depth + 1, budget));
        }
        read
    }

    /// What it is called: its concept, else the kind of its value.
    pub(crate) fn title(&self) -> &str {
        match (&self.name, &self.value) {
            (Some(name), _) => name.name(),
            (None, Value::Facts(kind, _)) => kind,
            (None, Value::Table(_)) => "Table",
            (None, Value::Elsewhere(_)) => "Reference",
            (None, Value::Container) => "Section",
            (None, _) => "Item",
        }
    }

    /// The relationship where it is worth a word: everything in a document is contained in it.
    pub(crate) fn relation(&self) -> Option<String> {
        Some(match self.relationship.as_deref()? {
            "CONTAINS" => return None,
            "HAS PROPERTIES" => "property".to_owned(),
            "HAS OBS CONTEXT" => "observation context".to_owned(),
            "HAS ACQ CONTEXT" => "acquisition context".to_owned(),
            "HAS CONCEPT MOD" => "modifier".to_owned(),
            other => other.to_lowercase(),
        })
    }

    /// The item that a path of the document names: 1 is the root, 1, 2 its second child.
    pub(crate) fn find(&self, path: &[u32]) -> Option<&Self> {
        let (&first, below) = path.split_first()?;
        let child = |item: &'_ Self, n: u32| -> Option<usize> {
            (n as usize).checked_sub(1).filter(|&at| at < item.children.len())
        };
        let mut found = (first == 1).then_some(self)?;
        for &number in below {
            found = &found.children[child(found, number)?];
        }
        Some(found)
    }
}

impl Value {
    fn read(dataset: &InMemDicomObject, budget: &mut Budget) -> Self {
        let word = |tag, form: fn(&str) -> String| {
            text(dataset, tag).map_or(Self::Nothing, |text| Self::Word(form(&text)))
        };
        let value_type = text(dataset, tags::VALUE_TYPE);
        match value_type.as_deref() {
            Some("CONTAINER") => Self::Container,
            Some("TEXT") => long_text(dataset, tags::TEXT_VALUE)
                .map_or(Self::Nothing, |text| Self::Text(budget.cut(text))),
            Some("NUM") => Self::Number(Number::read(dataset)),
            Some("CODE") => {
                Code::read(dataset, tags::CONCEPT_CODE_SEQUENCE).map_or(Self::Nothing, Self::Code)
            }
            Some("DATETIME") => word(tags::DATE_TIME, format::date_time),
            Some("DATE") => word(tags::DATE, format::date),
            Some("TIME") => word(tags::TIME, format::time),
            Some("PNAME") => word(tags::PERSON_NAME, format::person_name),
            Some("UIDREF") => word(tags::UID, str::to_owned),
            Some("COMPOSITE") => reference(dataset, "Object"),
            Some("IMAGE") => reference(dataset, "Image"),
            Some("WAVEFORM") => reference(dataset, "Waveform"),
            Some("SCOORD") => graphic(dataset, 2),
            Some("SCOORD3D") => graphic(dataset, 3),
            Some("TCOORD") => temporal(dataset),
            Some("TABLE") => {
                Table::read(dataset, &mut budget.cells).map_or(Self::Nothing, Self::Table)
            }
            Some(other) => Self::Facts(other.to_owned(), unknown(dataset)),
            None => match integers(dataset, tags::REFERENCED_CONTENT_ITEM_IDENTIFIER) {
                path if !path.is_empty() => Self::Elsewhere(path),
                _ => match unknown(dataset) {
                    facts if facts.is_empty() => Self::Nothing,
                    facts => Self::Facts("Item of no type".to_owned(), facts),
                },
            },
        }
    }

    /// Bytes of text in it.
    fn len(&self) -> usize {
        let code = |code: &Option<Code>| code.as_ref().map_or(0, Code::len);
        match self {
            Self::Container | Self::Nothing => 0,
            Self::Text(text) | Self::Word(text) => text.len(),
            Self::Code(code) => code.len(),
            Self::Number(number) => {
                let texts = [&number.value, &number.exactly];
                let texts: usize = texts.into_iter().flatten().map(String::len).sum();
                texts + code(&number.unit) + code(&number.qualifier)
            }
            Self::Facts(kind, facts) => {
                kind.len() + facts.iter().map(|(l, t)| l.len() + t.len()).sum::<usize>()
            }
            Self::Table(table) => table.len(),
            Self::Elsewhere(path) => path.len() * 4,
        }
    }
}

impl Number {
    fn read(dataset: &InMemDicomObject) -> Self {
        let measured = item(dataset, tags::MEASURED_VALUE_SEQUENCE);
        let value = |tag| measured.and_then(|measured| text(measured, tag));
        let written = value(tags::NUMERIC_VALUE);
        let float = value(tags::FLOATING_POINT_VALUE);
        let rational = value(tags::RATIONAL_NUMERATOR_VALUE)
            .zip(value(tags::RATIONAL_DENOMINATOR_VALUE))
            .map(|(numerator, denominator)| format!("{numerator}/{denominator}"));
        let exact = rational.or(float);
        Self {
            exactly: exact
                .clone()
                .filter(|exact| written.as_ref().is_some_and(|w| differ(w, exact))),
            value: written.or(exact),
            unit: measured.and_then(|m| Code::read(m, tags::MEASUREMENT_UNITS_CODE_SEQUENCE)),
            qualifier: Code::read(dataset, tags::NUMERIC_VALUE_QUALIFIER_CODE_SEQUENCE),
        }
    }
}

fn differ(written: &str, exact: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    number(written).is_none() || number(written) != number(exact)
}

/// An object referred to (C.18.3 to C.18.5).
fn reference(dataset: &InMemDicomObject, kind: &str) -> Value {
    let mut facts = Vec::new();
    let references = items(dataset, tags::REFERENCED_SOP_SEQUENCE);
    for reference in references {
        facts.extend(object(reference, "SOP instance"));
        let mut add = |label: &str, value: String| {
            if !value.is_empty() {
                facts.push((label.to_owned(), value));
            }
        };
        add("Frames", format::ranges(&integers(reference, tags::REFERENCED_FRAME_NUMBER)));
        add("Segments", format::ranges(&integers(reference, tags::REFERENCED_SEGMENT_NUMBER)));
        add("Channels", channels(&integers(reference, tags::REFERENCED_WAVEFORM_CHANNELS)));
        for state in items(reference, tags::REFERENCED_SOP_SEQUENCE) {
            facts.extend(object(state, "Shown with"));
        }
    }
    let class = references.first().and_then(|first| text(first, tags::REFERENCED_SOP_CLASS_UID));
    let kind = class.and_then(|uid| class_name(&uid)).unwrap_or(kind);
    if facts.is_empty() { Value::Nothing } else { Value::Facts(kind.to_owned(), facts) }
}

/// The instance, and its class where its name is not known or it is not the first of an item.
fn object(reference: &InMemDicomObject, label: &str) -> Vec<Fact> {
    let class = text(reference, tags::REFERENCED_SOP_CLASS_UID);
    let named = class.as_deref().and_then(class_name);
    let mut facts = Vec::new();
    if let (Some(class), None) = (&class, named) {
        facts.push(("SOP class".to_owned(), class.clone()));
    }
    if let Some(instance) = text(reference, tags::REFERENCED_SOP_INSTANCE_UID) {
        let class = named.filter(|_| label != "SOP instance").map(|name| format!("{name}, "));
        facts.push((label.to_owned(), class.unwrap_or_default() + &instance));
    }
    facts
}

/// The name of a SOP class of the standard.
pub(crate) fn class_name(uid: &str) -> Option<&'static str> {
    let name = StandardSopClassDictionary.by_uid(uid)?.name;
    Some(name.strip_suffix(" Storage").unwrap_or(name))
}

/// Pairs of multiplex group and channel (C.18.5.1.1); channel 0 is all of its group.
fn channels(numbers: &[u32]) -> String {
    let pairs = numbers.chunks(2).map(|pair| match pair {
        [group, 0] => format!("all of group {group}"),
        [group, channel] => format!("{group}/{channel}"),
        odd => format!("{odd:?}"),
    });
    pairs.collect::<Vec<_>>().join(", ")
}

/// Coordinates in space (C.18.6 and C.18.9), in two or three dimensions.
fn graphic(dataset: &InMemDicomObject, dimensions: usize) -> Value {
    let kind = text(dataset, tags::GRAPHIC_TYPE).unwrap_or_else(|| "Graphic".to_owned());
    let mut facts = Vec::new();
    let unit = if dimensions == 3 { "Points (mm)" } else { "Points" };
    let data = primitive(dataset, tags::GRAPHIC_DATA).map(|data| data.to_multi_float64());
    match data {
        Some(Ok(numbers)) => facts.push((unit.to_owned(), points(&numbers, dimensions))),
        None if dataset.get(tags::GRAPHIC_DATA).is_none() => {}
        Some(Err(_)) | None => facts.push((unit.to_owned(), "not shown".to_owned())),
    }
    let words = [
        (tags::PIXEL_ORIGIN_INTERPRETATION, "Pixel origin"),
        (tags::REFERENCED_FRAME_OF_REFERENCE_UID, "Frame of reference"),
        (tags::FIDUCIAL_UID, "Fiducial"),
    ];
    facts.extend(labelled(dataset, &words));
    if facts.is_empty() { Value::Nothing } else { Value::Facts(kind, facts) }
}

fn points(numbers: &[f64], dimensions: usize) -> String {
    let point = |point: &[f64]| {
        let parts = point.iter().map(|number| (*number as f32).to_string());
        format!("({})", parts.collect::<Vec<_>>().join(", "))
    };
    let all = numbers.chunks(dimensions);
    let more = all.len().saturating_sub(MOST_POINTS);
    let mut out = all.take(MOST_POINTS).map(point).collect::<Vec<_>>().join(" ");
    if more > 0 {
        out.push_str(&format!(" and {more} more"));
    }
    out
}

/// Coordinates in time (C.18.7).
fn temporal(dataset: &InMemDicomObject) -> Value {
    let kind = text(dataset, tags::TEMPORAL_RANGE_TYPE).unwrap_or_else(|| "Time".to_owned());
    let listed = |tag, label: &str, form: fn(&str) -> String| {
        let values: Vec<String> = texts(dataset, tag).iter().map(|text| form(text)).collect();
        (!values.is_empty()).then(|| (label.to_owned(), values.join(", ")))
    };
    let facts: Vec<Fact> = [
        listed(tags::REFERENCED_SAMPLE_POSITIONS, "Samples", str::to_owned),
        listed(tags::REFERENCED_TIME_OFFSETS, "Offsets (s)", str::to_owned),
        listed(tags::REFERENCED_DATE_TIME, "At", format::date_time),
    ]
    .into_iter()
    .flatten()
    .collect();
    if facts.is_empty() { Value::Nothing } else { Value::Facts(kind, facts) }
}

fn labelled(dataset: &InMemDicomObject, words: &[(Tag, &str)]) -> Vec<Fact> {
    let there = words.iter().filter_map(|(tag, label)| Some((label, text(dataset, *tag)?)));
    there.map(|(label, text)| ((*label).to_owned(), text)).collect()
}

/// Attributes that every item may have, and that are shown as what they are.
const COMMON: [Tag; 5] = [
    tags::RELATIONSHIP_TYPE,
    tags::VALUE_TYPE,
    tags::CONCEPT_NAME_CODE_SEQUENCE,
    tags::CONTENT_SEQUENCE,
    tags::OBSERVATION_DATE_TIME,
];

/// Whatever an item of an unknown type holds, by the names of the dictionary.
fn unknown(dataset: &InMemDicomObject) -> Vec<Fact> {
    let (mut facts, mut more) = (Vec::new(), 0);
    collect_unknown(dataset, "", 0, &mut facts, &mut more);
    if more > 0 {
        facts.push(("More".to_owned(), format!("{more} values are not shown")));
    }
    facts
}

fn collect_unknown(
    dataset: &InMemDicomObject,
    prefix: &str,
    depth: usize,
    facts: &mut Vec<Fact>,
    more: &mut usize,
) {
    for element in dataset.iter().filter(|e| depth > 0 || !COMMON.contains(&e.header().tag)) {
        let label = format!("{prefix}{}", keyword(element.header().tag));
        if facts.len() == MOST_UNKNOWN || depth == 4 {
            *more += 1;
        } else if let Some(items) = element.value().items() {
            for item in items {
                match Code::of_item(item) {
                    Some(code) if facts.len() < MOST_UNKNOWN => {
                        facts.push((label.clone(), code.line()));
                    }
                    _ => collect_unknown(item, &format!("{label}: "), depth + 1, facts, more),
                }
            }
        } else if let Some(value) = element.value().primitive() {
            facts.push((label, written(element.header().vr, value)));
        }
    }
}

fn keyword(tag: Tag) -> String {
    match StandardDataDictionary.by_tag(tag) {
        Some(entry) if tag.group().is_multiple_of(2) => entry.alias().to_owned(),
        _ => tag.to_string(),
    }
}

fn written(vr: VR, value: &PrimitiveValue) -> String {
    use VR::*;
    match vr {
        OB | OD | OF | OL | OV | OW | UN => format!("{} bytes", value.calculate_byte_len()),
        _ if value.multiplicity() > MOST_UNKNOWN as u32 => {
            format!("{} values", value.multiplicity())
        }
        _ => {
            let values = value.to_multi_str();
            values.iter().map(|v| v.trim_matches([' ', '\0'])).collect::<Vec<_>>().join(" \\ ")
        }
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, dicom_value};

    use super::*;
    use crate::testing::{code, content, leaf, object, with_items};

    fn value(dataset: &InMemDicomObject) -> Value {
        Item::read(dataset, 0, &mut Budget::new()).value
    }

    fn facts(value: Value) -> (String, Vec<Fact>) {
        match value {
            Value::Facts(kind, facts) => (kind, facts),
            other => panic!("{other:?} has no facts"),
        }
    }

    fn fact(label: &str, text: &str) -> Fact {
        (label.to_owned(), text.to_owned())
    }

    #[test]
    fn measured_values_have_unit_qualifier_and_precision() {
        let mut measured = with_items(
            tags::MEASUREMENT_UNITS_CODE_SEQUENCE,
            vec![code("mm", "UCUM", "millimeter")],
        );
        measured.put(DataElement::new(tags::NUMERIC_VALUE, VR::DS, "0.333"));
        measured.put(DataElement::new(
            tags::RATIONAL_NUMERATOR_VALUE,
            VR::SL,
            dicom_value!(I32, [1]),
        ));
        measured.put(DataElement::new(
            tags::RATIONAL_DENOMINATOR_VALUE,
            VR::UL,
            dicom_value!(U32, [3]),
        ));
        let mut num = with_items(tags::MEASURED_VALUE_SEQUENCE, vec![measured]);
        num.put(DataElement::new(tags::VALUE_TYPE, VR::CS, "NUM"));
        let Value::Number(number) = value(&num) else { panic!("a number") };
        assert_eq!(number.value.as_deref(), Some("0.333"));
        assert_eq!(number.exactly.as_deref(), Some("1/3"));
        assert_eq!(number.unit.unwrap().unit(), "mm");
    }

    #[test]
    fn a_number_without_a_value_says_why() {
        let mut num = with_items(
            tags::NUMERIC_VALUE_QUALIFIER_CODE_SEQUENCE,
            vec![code("114006", "DCM", "Measurement failure")],
        );
        num.put(DataElement::new(tags::VALUE_TYPE, VR::CS, "NUM"));
        let Value::Number(number) = value(&num) else { panic!("a number") };
        assert_eq!((number.value, number.exactly), (None, None));
        assert_eq!(number.qualifier.unwrap().line(), "Measurement failure (114006, DCM)");
    }

    #[test]
    fn equal_numbers_are_written_once() {
        assert!(!differ("1.70", "1.7") && differ("1.7", "1.7000000476837158"));
    }

    #[test]
    fn an_image_has_frames_segments_and_a_presentation_state() {
        let state = object(&[
            (tags::REFERENCED_SOP_CLASS_UID, "1.2.840.10008.5.1.4.1.1.11.1"),
            (tags::REFERENCED_SOP_INSTANCE_UID, "1.2.9"),
        ]);
        let mut image = with_items(tags::REFERENCED_SOP_SEQUENCE, vec![state]);
        image.put(DataElement::new(
            tags::REFERENCED_SOP_CLASS_UID,
            VR::UI,
            "1.2.840.10008.5.1.4.1.1.2",
        ));
        image.put(DataElement::new(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, "1.2.3"));
        let frames = dicom_value!(Strs, ["1", "2", "3", "7"]);
        image.put(DataElement::new(tags::REFERENCED_FRAME_NUMBER, VR::IS, frames));
        image.put(DataElement::new(
            tags::REFERENCED_SEGMENT_NUMBER,
            VR::US,
            dicom_value!(U16, [4]),
        ));
        let mut item = with_items(tags::REFERENCED_SOP_SEQUENCE, vec![image]);
        item.put(DataElement::new(tags::VALUE_TYPE, VR::CS, "IMAGE"));
        let (kind, facts) = facts(value(&item));
        assert_eq!(kind, "CT Image");
        assert_eq!(
            facts,
            [
                fact("SOP instance", "1.2.3"),
                fact("Frames", "1–3, 7"),
                fact("Segments", "4"),
                fact("Shown with", "Grayscale Softcopy Presentation State, 1.2.9"),
            ]
        );
    }

    #[test]
    fn waveform_channels_are_pairs() {
        assert_eq!(channels(&[1, 2, 3, 0]), "1/2, all of group 3");
        assert_eq!(channels(&[1]), "[1]");
    }

    #[test]
    fn coordinates_are_points_and_many_are_counted() {
        let mut item = content("SCOORD", None, vec![]);
        item.put(DataElement::new(tags::GRAPHIC_TYPE, VR::CS, "CIRCLE"));
        let data = dicom_value!(F32, [58.0, 52.5, 58.0, 41.0]);
        item.put(DataElement::new(tags::GRAPHIC_DATA, VR::FL, data));
        item.put(DataElement::new(tags::PIXEL_ORIGIN_INTERPRETATION, VR::CS, "VOLUME"));
        let expected = vec![fact("Points", "(58, 52.5) (58, 41)"), fact("Pixel origin", "VOLUME")];
        assert_eq!(facts(value(&item)), ("CIRCLE".to_owned(), expected));
        assert!(points(&[0.0; 900], 3).ends_with("(0, 0, 0) and 100 more"));
    }

    #[test]
    fn times_are_listed() {
        let mut item = content("TCOORD", None, vec![]);
        item.put(DataElement::new(tags::TEMPORAL_RANGE_TYPE, VR::CS, "SEGMENT"));
        let offsets = dicom_value!(Strs, ["0.5", "1.25"]);
        item.put(DataElement::new(tags::REFERENCED_TIME_OFFSETS, VR::DS, offsets));
        let expected = vec![fact("Offsets (s)", "0.5, 1.25")];
        assert_eq!(facts(value(&item)), ("SEGMENT".to_owned(), expected));
    }

    #[test]
    fn unknown_types_keep_name_and_values() {
        let mut item = content("HOLOGRAM", None, vec![]);
        item.put(DataElement::new(tags::TEXT_VALUE, VR::UT, "shimmering"));
        item.put(DataElement::new(Tag(0x0041, 0x1010), VR::OB, dicom_value!(U8, [1, 2, 3])));
        let codes = with_items(tags::CONCEPT_CODE_SEQUENCE, vec![code("X", "Y", "Z")]);
        item.put(codes.element(tags::CONCEPT_CODE_SEQUENCE).unwrap().clone());
        let (kind, facts) = facts(value(&item));
        assert_eq!(kind, "HOLOGRAM");
        assert_eq!(
            facts,
            [
                fact("TextValue", "shimmering"),
                fact("ConceptCodeSequence", "Z (X, Y)"),
                fact("(0041,1010)", "3 bytes"),
            ]
        );
    }

    #[test]
    fn references_within_the_document_are_found_and_need_not_be() {
        let mut pointer = content("", Some("INFERRED FROM"), vec![]);
        pointer.take_element(tags::VALUE_TYPE).unwrap();
        let path = dicom_value!(U32, [1, 2]);
        pointer.put(DataElement::new(tags::REFERENCED_CONTENT_ITEM_IDENTIFIER, VR::UL, path));
        let second = content("TEXT", None, vec![]);
        let root = content("CONTAINER", None, vec![pointer, second]);
        let root = Item::read(&root, 0, &mut Budget::new());
        assert_eq!(root.children[0].value, Value::Elsewhere(vec![1, 2]));
        assert!(std::ptr::eq(root.find(&[1, 2]).unwrap(), &raw const root.children[1]));
        for missing in [&[][..], &[2], &[1, 3], &[1, 0], &[1, 2, 1]] {
            assert!(root.find(missing).is_none(), "{missing:?}");
        }
    }

    #[test]
    fn depth_and_number_are_bounded_and_said() {
        let mut deep = content("CONTAINER", None, vec![]);
        for _ in 0..DEEPEST + 5 {
            deep = content("CONTAINER", None, vec![deep]);
        }
        let mut item = &Item::read(&deep, 0, &mut Budget::new());
        let mut levels = 0;
        while let Some(child) = item.children.first() {
            (item, levels) = (child, levels + 1);
        }
        assert_eq!((levels, item.left_out), (DEEPEST, Some(LeftOut::TooDeep)));
        let wide = content("CONTAINER", None, vec![content("TEXT", None, vec![]); 5]);
        let cut = Item::read(&wide, 0, &mut Budget { items: 3, text: 99, cells: 0 });
        assert_eq!((cut.children.len(), cut.left_out), (3, Some(LeftOut::TooMany(2))));
    }

    #[test]
    fn text_is_bounded_and_what_is_missing_is_said() {
        let text = || leaf("TEXT", "", (tags::TEXT_VALUE, "0123456789"));
        let document = content("CONTAINER", None, vec![text(), text(), text()]);
        // Each has a code of 9 and a relationship of 8 bytes.
        let mut budget = Budget { items: 9, text: 40, cells: 0 };
        let cut = Item::read(&document, 0, &mut budget);
        let texts: Vec<&Value> = cut.children.iter().map(|child| &child.value).collect();
        let second = "01234 … (5 more bytes are not shown)";
        assert_eq!(texts, [&Value::Text("0123456789".into()), &Value::Text(second.into())]);
        assert_eq!(cut.left_out, Some(LeftOut::TooMany(1)));
    }
}
