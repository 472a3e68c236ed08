//! A report as an HTML page.
//!
//! Every text of the data set goes through [`escape::html`]; what is written otherwise is ours.

use std::collections::HashSet;

use crate::content::{Fact, Item, LeftOut, Number, Value};
use crate::escape;
use crate::report::Report;
use crate::table::Table;

const STYLE: &str = include_str!("style.css");

/// Nothing is fetched and nothing runs, also where the page is opened from a disk.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'";

/// Characters of the name of an item that is referred to: it may be long, and referred to often.
const LONGEST_NAME: usize = 80;

pub(crate) fn page(report: &Report) -> String {
    let mut referred = HashSet::new();
    find_referred(&report.root, &mut referred);
    let mut page = Page { out: String::new(), root: &report.root, referred };
    page.head(report.title());
    page.header(report);
    match report.language() {
        Some(language) => page.open("main", &[("lang", language)]),
        None => page.open("main", &[]),
    }
    page.below(&report.root, &mut vec![1]);
    page.close("main");
    page.raw("</body>\n</html>\n");
    page.out
}

/// Where an item is that another refers to, and what it is called.
pub(crate) fn place(root: &Item, path: &[u32]) -> String {
    match root.find(path) {
        Some(item) => {
            let name: String = item.title().chars().take(LONGEST_NAME).collect();
            format!("item {} ({name})", number_of(path))
        }
        None => format!("item {}, which is not in this document", number_of(path)),
    }
}

fn number_of(path: &[u32]) -> String {
    path.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

/// The items that others refer to get a number and can be jumped to.
fn find_referred<'a>(item: &'a Item, referred: &mut HashSet<&'a [u32]>) {
    if let Value::Elsewhere(path) = &item.value {
        referred.insert(path);
    }
    item.children.iter().for_each(|child| find_referred(child, referred));
}

struct Page<'a> {
    out: String,
    root: &'a Item,
    referred: HashSet<&'a [u32]>,
}

impl Page<'_> {
    fn head(&mut self, title: &str) {
        self.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        self.raw(&format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n"));
        self.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        self.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
        // Titles end up in histories: what the document is, not whose.
        self.element("title", &[], title);
        self.raw(&format!("<style>\n{STYLE}</style>\n</head>\n<body>\n"));
    }

    fn header(&mut self, report: &Report) {
        self.open("header", &[]);
        self.element("h1", &[("dir", "auto")], report.title());
        self.open("p", &[("class", "kind")]);
        self.text(&report.header.kind);
        for flag in &report.header.status {
            self.raw(" ");
            self.element("span", &[("class", "flag")], flag);
        }
        self.close("p");
        self.open("div", &[("class", "groups")]);
        for (group, facts) in &report.header.groups {
            self.open("section", &[]);
            self.element("h2", &[], group);
            self.facts(facts);
            self.close("section");
        }
        self.close("div");
        self.close("header");
    }

    fn facts(&mut self, facts: &[Fact]) {
        self.open("dl", &[("class", "facts")]);
        for (label, text) in facts {
            self.open("div", &[]);
            self.element("dt", &[], label);
            self.element("dd", &[("dir", "auto")], text);
            self.close("div");
        }
        self.close("dl");
    }

    /// What lies below an item. `path` is that of the item, and the same again afterwards.
    fn below(&mut self, item: &Item, path: &mut Vec<u32>) {
        let mut at = 0;
        while let Some(first) = item.children.get(at) {
            let kind = Run::of(first);
            let run = item.children[at..].iter().take_while(|child| Run::of(child) == kind).count();
            // One measurement is no table.
            match kind {
                Run::Sections => self.sections(&item.children[at..at + run], at, path),
                Run::Numbers if run > 1 => self.numbers(&item.children[at..at + run], at, path),
                Run::Numbers | Run::Others => {
                    self.list(&item.children[at..at + run], at, path);
                }
            }
            at += run;
        }
        if let Some(left_out) = item.left_out {
            self.left_out(left_out);
        }
    }

    fn sections(&mut self, items: &[Item], first: usize, path: &mut Vec<u32>) {
        for (item, number) in items.iter().zip(first as u32 + 1..) {
            path.push(number);
            self.open("section", &[]);
            let heading = ["h2", "h3", "h4", "h5", "h6"][(path.len() - 2).min(4)];
            self.open_item(heading, path);
            self.name(item, path);
            self.close(heading);
            self.below(item, path);
            self.close("section");
            path.pop();
        }
    }

    fn list(&mut self, items: &[Item], first: usize, path: &mut Vec<u32>) {
        self.open("dl", &[("class", "items")]);
        for (item, number) in items.iter().zip(first as u32 + 1..) {
            path.push(number);
            self.open("div", &[]);
            self.open_item("dt", path);
            self.name(item, path);
            self.close("dt");
            self.open("dd", &[]);
            self.value(&item.value, item.name.is_some());
            self.below(item, path);
            self.close("dd");
            self.close("div");
            path.pop();
        }
        self.close("dl");
    }

    fn numbers(&mut self, items: &[Item], first: usize, path: &mut Vec<u32>) {
        self.open("table", &[]);
        self.raw("<thead><tr><th scope=\"col\">Measurement</th>");
        self.raw("<th scope=\"col\" class=\"number\">Value</th><th scope=\"col\">Unit</th>");
        self.raw("<th scope=\"col\">Details</th></tr></thead>\n");
        self.open("tbody", &[]);
        for (item, number) in items.iter().zip(first as u32 + 1..) {
            let Value::Number(measured) = &item.value else { continue };
            path.push(number);
            self.open("tr", &[]);
            self.open_item_with("th", path, &[("scope", "row")]);
            self.name(item, path);
            self.close("th");
            let value = measured.value.as_deref().unwrap_or("–");
            self.element("td", &[("class", "number")], value);
            let unit = measured.unit.as_ref().map_or("", |unit| unit.unit());
            self.element("td", &[("class", "unit"), ("dir", "auto")], unit);
            self.open("td", &[]);
            self.remarks(measured);
            self.below(item, path);
            self.close("td");
            self.close("tr");
            path.pop();
        }
        self.close("tbody");
        self.close("table");
    }

    /// The name of an item, with its code, what it is to the item above, and its number.
    fn name(&mut self, item: &Item, path: &[u32]) {
        if let Some(relation) = item.relation() {
            self.element("span", &[("class", "relation"), ("dir", "auto")], &relation);
            self.raw(" ");
        }
        self.element("bdi", &[], item.title());
        if let Some(identifier) = item.name.as_ref().and_then(|name| name.identifier()) {
            self.raw(" ");
            self.element("span", &[("class", "code"), ("dir", "auto")], &identifier);
        }
        if self.referred.contains(path) {
            self.raw(" ");
            self.element("span", &[("class", "code")], &format!("item {}", number_of(path)));
        }
        if let Some(observed) = &item.observed {
            self.raw(" ");
            let text = format!("observed {observed}");
            self.element("span", &[("class", "code"), ("dir", "auto")], &text);
        }
    }

    fn value(&mut self, value: &Value, named: bool) {
        match value {
            Value::Container => {}
            Value::Text(text) => self.element("p", &[("class", "text"), ("dir", "auto")], text),
            Value::Word(word) => self.element("p", &[("dir", "auto")], word),
            Value::Code(code) => {
                self.open("p", &[]);
                self.element("bdi", &[], code.name());
                if let Some(identifier) = code.identifier() {
                    self.raw(" ");
                    self.element("span", &[("class", "code"), ("dir", "auto")], &identifier);
                }
                self.close("p");
            }
            Value::Number(number) => {
                self.open("p", &[]);
                self.element("bdi", &[("class", "number")], number.value.as_deref().unwrap_or("–"));
                if let Some(unit) = &number.unit {
                    self.raw(" ");
                    self.element("bdi", &[], unit.unit());
                }
                self.close("p");
                self.remarks(number);
            }
            Value::Facts(kind, facts) => {
                // An item without a name is called by its kind already.
                if named {
                    self.element("p", &[("dir", "auto")], kind);
                }
                self.facts(facts);
            }
            Value::Table(table) => self.table(table),
            Value::Elsewhere(path) => {
                let place = place(self.root, path);
                self.open("p", &[("dir", "auto")]);
                self.raw("see ");
                if self.root.find(path).is_some() {
                    let target = format!("#item-{}", number_of(path));
                    self.element("a", &[("href", &target)], &place);
                } else {
                    self.text(&place);
                }
                self.close("p");
            }
            Value::Nothing => self.element("p", &[("class", "none")], "no value"),
        }
    }

    fn remarks(&mut self, number: &Number) {
        if let Some(exactly) = &number.exactly {
            self.element("p", &[], &format!("exactly {exactly}"));
        }
        if let Some(qualifier) = &number.qualifier {
            self.element("p", &[("dir", "auto")], &qualifier.line());
        }
        if number.value.is_none() && number.qualifier.is_none() {
            self.element("p", &[("class", "none")], "no value");
        }
    }

    fn table(&mut self, table: &Table) {
        let titled = |titles: &[String]| titles.iter().any(|title| !title.is_empty());
        let (columns, rows) = (titled(&table.columns), titled(&table.rows));
        self.open("table", &[]);
        if columns {
            self.open("thead", &[]);
            self.open("tr", &[]);
            if rows {
                self.element("td", &[], "");
            }
            for title in &table.columns {
                self.element("th", &[("scope", "col"), ("dir", "auto")], title);
            }
            self.close("tr");
            self.close("thead");
        }
        self.open("tbody", &[]);
        for (title, cells) in table.rows.iter().zip(&table.cells) {
            self.open("tr", &[]);
            if rows {
                self.element("th", &[("scope", "row"), ("dir", "auto")], title);
            }
            for cell in cells {
                self.element("td", &[("dir", "auto")], cell);
            }
            self.close("tr");
        }
        self.close("tbody");
        self.close("table");
        if let Some(note) = &table.note {
            self.element("p", &[("class", "note")], note);
        }
    }

    fn left_out(&mut self, left_out: LeftOut) {
        self.element("p", &[("class", "note")], &left_out.to_string());
    }

    fn open_item(&mut self, name: &str, path: &[u32]) {
        self.open_item_with(name, path, &[]);
    }

    fn open_item_with(&mut self, name: &str, path: &[u32], attributes: &[(&str, &str)]) {
        let id = format!("item-{}", number_of(path));
        let id: &[(&str, &str)] =
            if self.referred.contains(path) { &[("id", id.as_str())] } else { &[] };
        self.open(name, &[attributes, id].concat());
    }

    fn element(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.open(name, attributes);
        self.text(text);
        self.close(name);
    }

    fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.raw("<");
        self.raw(name);
        for (attribute, value) in attributes {
            self.raw(" ");
            self.raw(attribute);
            self.raw("=\"");
            self.text(value);
            self.raw("\"");
        }
        self.raw(">");
    }

    fn close(&mut self, name: &str) {
        self.raw("</");
        self.raw(name);
        self.raw(">");
        // Line ends only where white space says nothing.
        if !matches!(name, "span" | "bdi" | "a") {
            self.raw("\n");
        }
    }

    fn text(&mut self, text: &str) {
        escape::html(&mut self.out, text);
    }

    /// Markup of ours.
    fn raw(&mut self, markup: &str) {
        self.out.push_str(markup);
    }
}

/// How siblings that follow each other are laid out.
#[derive(Clone, Copy, PartialEq)]
enum Run {
    Sections,
    Numbers,
    Others,
}

impl Run {
    fn of(item: &Item) -> Self {
        match item.value {
            Value::Container => Self::Sections,
            Value::Number(_) => Self::Numbers,
            _ => Self::Others,
        }
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, VR, dicom_value};
    use dicom_dictionary_std::tags;
    use dicom_object::InMemDicomObject;
    use html5gum::{Token, Tokenizer};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{code, content, document, leaf, object, put_items, with_items};

    fn html(dataset: &InMemDicomObject) -> String {
        Report::read(dataset).unwrap().unwrap().to_html()
    }

    const VOID: [&str; 1] = ["meta"];
    const ELEMENTS: [&str; 31] = [
        "a", "bdi", "body", "dd", "div", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "head",
        "header", "html", "main", "meta", "p", "section", "span", "style", "table", "tbody", "td",
        "th", "thead", "title", "tr", "ul", "li",
    ];
    const ATTRIBUTES: [&str; 10] =
        ["charset", "class", "content", "dir", "href", "http-equiv", "id", "lang", "name", "scope"];

    /// Reads a page back. Only our elements and attributes are in it, each closed in its turn, no link
    /// but within the page; returns the texts of the elements of this class.
    fn read_back(page: &str, class: &str) -> Vec<String> {
        let (mut open, mut texts) = (Vec::<String>::new(), Vec::<String>::new());
        let mut inside = None;
        for token in Tokenizer::new(page) {
            let Ok(token) = token;
            match token {
                Token::StartTag(tag) => {
                    let name = String::from_utf8(tag.name.to_vec()).unwrap();
                    assert!(ELEMENTS.contains(&name.as_str()), "<{name}>");
                    for (attribute, value) in &tag.attributes {
                        let attribute = std::str::from_utf8(attribute).unwrap();
                        assert!(ATTRIBUTES.contains(&attribute), "{attribute} of <{name}>");
                        let target = std::str::from_utf8(value).unwrap();
                        assert!(attribute != "href" || target.starts_with("#item-1"), "{target}");
                        if attribute == "class" && target == class {
                            inside = Some(open.len());
                            texts.push(String::new());
                        }
                    }
                    if !VOID.contains(&name.as_str()) {
                        open.push(name);
                    }
                }
                Token::EndTag(tag) => {
                    let name = String::from_utf8(tag.name.to_vec()).unwrap();
                    assert_eq!(open.pop(), Some(name));
                    if inside == Some(open.len()) {
                        inside = None;
                    }
                }
                Token::String(text) => {
                    if let (Some(_), Some(last)) = (inside, texts.last_mut()) {
                        last.push_str(std::str::from_utf8(&text).unwrap());
                    }
                }
                Token::Doctype(doctype) => assert_eq!(&doctype.name[..], b"html"),
                Token::Comment(comment) => panic!("a comment: {comment:?}"),
                Token::Error(error) => panic!("{error:?} in {page}"),
            }
        }
        assert!(open.is_empty(), "{open:?} are still open");
        texts
    }

    fn number(name: &str, value: &str) -> InMemDicomObject {
        let mut measured = with_items(
            tags::MEASUREMENT_UNITS_CODE_SEQUENCE,
            vec![code("mm", "UCUM", "millimeter")],
        );
        measured.put(DataElement::new(tags::NUMERIC_VALUE, VR::DS, value));
        let mut item = leaf("NUM", name, (tags::RELATIONSHIP_TYPE, "CONTAINS"));
        put_items(&mut item, tags::MEASURED_VALUE_SEQUENCE, vec![measured]);
        item
    }

    #[test]
    fn sections_are_nested_headings() {
        let mut nested = content("CONTAINER", None, vec![]);
        for _ in 0..7 {
            nested = content("CONTAINER", None, vec![nested]);
        }
        let page = html(&document(vec![nested]));
        read_back(&page, "");
        for heading in ["<h1", "<h2", "<h3", "<h4", "<h5", "<h6"] {
            assert!(page.contains(heading), "{heading}");
        }
        assert_eq!(page.matches("<h6").count(), 4, "headings end at the sixth level");
    }

    #[test]
    fn measurements_in_a_row_are_a_table_and_one_alone_is_not() {
        let two = html(&document(vec![number("Width", "22"), number("Length", "36")]));
        assert_eq!(read_back(&two, "number"), ["Value", "22", "36"]);
        assert!(two.contains("<table>"));
        let one = html(&document(vec![number("Width", "22")]));
        assert_eq!(read_back(&one, "number"), ["22"]);
        assert!(!one.contains("<table>"));
    }

    #[test]
    fn items_referred_to_can_be_jumped_to() {
        let mut pointer = content("", Some("INFERRED FROM"), vec![]);
        pointer.take_element(tags::VALUE_TYPE).unwrap();
        let missing = pointer.clone();
        let point = |mut item: InMemDicomObject, path| {
            let tag = tags::REFERENCED_CONTENT_ITEM_IDENTIFIER;
            item.put(DataElement::new(tag, VR::UL, path));
            item
        };
        let children = vec![
            leaf("TEXT", "Finding", (tags::TEXT_VALUE, "dense")),
            point(pointer, dicom_value!(U32, [1, 1])),
            point(missing, dicom_value!(U32, [1, 9])),
        ];
        let page = html(&document(children));
        read_back(&page, "");
        assert!(page.contains("<dt id=\"item-1.1\">"));
        assert!(page.contains("see <a href=\"#item-1.1\">item 1.1 (Finding)</a>"));
        assert!(page.contains("see item 1.9, which is not in this document"));
    }

    #[test]
    fn a_long_name_that_is_referred_to_often_is_quoted_in_part() {
        let named = leaf("TEXT", &"n".repeat(100_000), (tags::TEXT_VALUE, "x"));
        let mut children = vec![named];
        for _ in 0..1000 {
            let mut pointer = content("", None, vec![]);
            pointer.take_element(tags::VALUE_TYPE).unwrap();
            let path = dicom_value!(U32, [1, 1]);
            pointer.put(DataElement::new(tags::REFERENCED_CONTENT_ITEM_IDENTIFIER, VR::UL, path));
            children.push(pointer);
        }
        let report = Report::read(&document(children)).unwrap().unwrap();
        assert!(report.to_html().len() < 600_000 && report.to_text().len() < 400_000);
    }

    #[test]
    fn what_was_left_out_is_said() {
        let mut deep = content("TEXT", None, vec![]);
        for _ in 0..crate::DEEPEST + 1 {
            deep = content("CONTAINER", None, vec![deep]);
        }
        let page = html(&document(vec![deep]));
        let notes = read_back(&page, "note");
        assert_eq!(notes, ["What is nested deeper than 32 levels is not shown."]);
    }

    #[test]
    fn the_title_of_the_page_does_not_name_the_patient() {
        let page = html(&document(vec![]));
        let title = page.split("<title>").nth(1).unwrap().split('<').next().unwrap();
        assert_eq!(title, "Diagnostic imaging report");
        assert!(page.contains("Phantom, Head"));
    }

    const HOSTILE: [&str; 12] = [
        "<script>alert(1)</script>",
        "\" onload=\"x",
        "' onclick='x",
        "</style><script>",
        "</title>",
        "]]>",
        "<!--",
        "-->",
        "&lt;b&gt;&#0;",
        "\0\u{1}\u{FFFE}",
        "\u{202E}\u{2066}txet",
        "\r\n\r\t  x",
    ];

    fn hostile_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            prop::sample::select(&HOSTILE[..]).prop_map(str::to_owned),
            any::<String>(),
            "[ -~\\n]{0,20}",
        ];
        prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat())
    }

    const TYPES: [&str; 14] = [
        "CONTAINER",
        "TEXT",
        "NUM",
        "CODE",
        "DATETIME",
        "DATE",
        "PNAME",
        "UIDREF",
        "IMAGE",
        "SCOORD",
        "TCOORD",
        "TABLE",
        "WAVEFORM",
        "<b>",
    ];

    /// An item of any type with hostile text wherever text can be.
    fn hostile_item() -> impl Strategy<Value = InMemDicomObject> {
        let leaf = (prop::sample::select(&TYPES[..]), hostile_text()).prop_map(|(kind, text)| {
            let text = text.as_str();
            let mut item = leaf(kind, text, (tags::RELATIONSHIP_TYPE, text));
            for element in object(&[
                (tags::TEXT_VALUE, text),
                (tags::DATE_TIME, text),
                (tags::DATE, text),
                (tags::PERSON_NAME, text),
                (tags::UID, text),
                (tags::GRAPHIC_TYPE, text),
                (tags::TEMPORAL_RANGE_TYPE, text),
                (tags::OBSERVATION_DATE_TIME, text),
                (tags::REFERENCED_TIME_OFFSETS, text),
                (tags::PIXEL_ORIGIN_INTERPRETATION, text),
            ]) {
                item.put(element);
            }
            let reference = object(&[
                (tags::REFERENCED_SOP_CLASS_UID, text),
                (tags::REFERENCED_SOP_INSTANCE_UID, text),
            ]);
            put_items(&mut item, tags::REFERENCED_SOP_SEQUENCE, vec![reference]);
            put_items(&mut item, tags::CONCEPT_CODE_SEQUENCE, vec![code(text, text, text)]);
            let mut measured = object(&[(tags::NUMERIC_VALUE, text)]);
            put_items(
                &mut measured,
                tags::MEASUREMENT_UNITS_CODE_SEQUENCE,
                vec![code(text, "UCUM", text)],
            );
            put_items(&mut item, tags::MEASURED_VALUE_SEQUENCE, vec![measured]);
            item
        });
        leaf.prop_recursive(4, 24, 5, |inner| {
            (inner.clone(), prop::collection::vec(inner, 0..5)).prop_map(|(mut item, children)| {
                put_items(&mut item, tags::CONTENT_SEQUENCE, children);
                item
            })
        })
    }

    fn normalised(text: &str) -> String {
        let text = text.trim_end_matches([' ', '\0']);
        crate::escape::plain(text)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn whatever_a_document_holds_its_page_is_ours(
            items in prop::collection::vec(hostile_item(), 1..5),
            header in hostile_text(),
        ) {
            let mut dataset = document(items);
            for element in object(&[
                (tags::PATIENT_NAME, header.as_str()), (tags::COMPLETION_FLAG, &header),
                (tags::STUDY_DESCRIPTION, &header), (tags::CONTENT_DATE, &header),
            ]) {
                dataset.put(element);
            }
            put_items(&mut dataset, tags::CONCEPT_NAME_CODE_SEQUENCE, vec![code(&header, "DCM", &header)]);
            read_back(&html(&dataset), "");
            let text = Report::read(&dataset).unwrap().unwrap().to_text();
            prop_assert!(text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
            roxmltree::Document::parse(&crate::native_xml(&dataset)).expect("well-formed");
        }

        #[test]
        fn text_comes_back_as_it_was(texts in prop::collection::vec(hostile_text(), 1..6)) {
            let texts: Vec<String> =
                texts.into_iter().filter(|text| !normalised(text).is_empty()).collect();
            let items = texts.iter().map(|text| leaf("TEXT", "Finding", (tags::TEXT_VALUE, text)));
            let page = html(&document(items.collect()));
            let expected: Vec<String> = texts.iter().map(|text| normalised(text)).collect();
            prop_assert_eq!(read_back(&page, "text"), expected);
        }
    }
}
