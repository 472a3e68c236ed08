//! A report as plain text.

use std::fmt::Write;

use crate::content::{Item, Number, Value};
use crate::escape::plain;
use crate::html::place;
use crate::report::Report;
use crate::table::Table;

pub(crate) fn page(report: &Report) -> String {
    let mut out = Text { out: String::new(), root: &report.root };
    out.line(0, report.title());
    out.line(0, &report.header.kind);
    if !report.header.status.is_empty() {
        out.line(0, &report.header.status.join(", "));
    }
    for (group, facts) in &report.header.groups {
        out.out.push('\n');
        out.line(0, group);
        for (label, text) in facts {
            out.line(1, &format!("{label}: {text}"));
        }
    }
    out.out.push('\n');
    out.line(0, "Content");
    out.below(&report.root, 1);
    out.out
}

struct Text<'a> {
    out: String,
    root: &'a Item,
}

impl Text<'_> {
    fn item(&mut self, item: &Item, level: usize) {
        let mut line = String::new();
        if let Some(relation) = item.relation() {
            let _ = write!(line, "[{relation}] ");
        }
        let title = item.name.as_ref().map_or_else(|| item.title().to_owned(), |name| name.line());
        line.push_str(&title);
        if let Some(observed) = &item.observed {
            let _ = write!(line, " [observed {observed}]");
        }
        if !matches!(item.value, Value::Container) {
            let _ = write!(line, ": {}", self.value(item));
        }
        self.line(level, &line);
        if let Value::Table(table) = &item.value {
            self.table(table, level + 1);
        }
        self.below(item, level + 1);
    }

    fn below(&mut self, item: &Item, level: usize) {
        for child in &item.children {
            self.item(child, level);
        }
        if let Some(left_out) = item.left_out {
            self.line(level, &format!("({left_out})"));
        }
    }

    fn value(&self, item: &Item) -> String {
        match &item.value {
            Value::Container | Value::Table(_) => String::new(),
            Value::Text(text) | Value::Word(text) => text.clone(),
            Value::Code(code) => code.line(),
            Value::Number(number) => self::number(number),
            Value::Facts(kind, facts) => {
                let facts = facts.iter().map(|(label, text)| format!("{label} {text}"));
                let kind = item.name.is_some().then(|| kind.clone());
                kind.into_iter().chain(facts).collect::<Vec<_>>().join("; ")
            }
            Value::Elsewhere(path) => format!("see {}", place(self.root, path)),
            Value::Nothing => "(no value)".to_owned(),
        }
    }

    fn table(&mut self, table: &Table, level: usize) {
        let mut row = |title: &str, cells: &[String]| {
            let cells = std::iter::once(title).chain(cells.iter().map(String::as_str));
            // A tab or a line end within a cell would look like the end of it.
            let cells = cells.map(|cell| cell.replace(['\t', '\n', '\r'], " "));
            let line = cells.collect::<Vec<_>>().join("\t");
            self.line(level, &line);
        };
        if table.columns.iter().any(|title| !title.is_empty()) {
            row("", &table.columns);
        }
        for (title, cells) in table.rows.iter().zip(&table.cells) {
            row(title, cells);
        }
        if let Some(note) = &table.note {
            self.line(level, &format!("({note})"));
        }
    }

    fn line(&mut self, level: usize, text: &str) {
        for (at, line) in plain(text).split('\n').enumerate() {
            let indent = if at == 0 { level } else { level + 1 };
            let line = format!("{:1$}{line}", "", 2 * indent);
            self.out.push_str(line.trim_end());
            self.out.push('\n');
        }
    }
}

fn number(number: &Number) -> String {
    let mut out = number.value.clone().unwrap_or_else(|| "no value".to_owned());
    if let Some(unit) = &number.unit {
        let _ = write!(out, " {}", unit.unit());
    }
    if let Some(exactly) = &number.exactly {
        let _ = write!(out, " (exactly {exactly})");
    }
    if let Some(qualifier) = &number.qualifier {
        let _ = write!(out, " – {}", qualifier.line());
    }
    out
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, VR, dicom_value};
    use dicom_dictionary_std::tags;

    use super::*;
    use crate::testing::{content, document, leaf};

    #[test]
    fn items_are_lines_indented_by_level() {
        let finding = leaf("TEXT", "Finding", (tags::TEXT_VALUE, "One\r\ntwo\u{1B}[31m"));
        let mut pointer = content("", Some("INFERRED FROM"), vec![]);
        pointer.take_element(tags::VALUE_TYPE).unwrap();
        let path = dicom_value!(U32, [1, 1, 1]);
        pointer.put(DataElement::new(tags::REFERENCED_CONTENT_ITEM_IDENTIFIER, VR::UL, path));
        let section = content("CONTAINER", None, vec![finding, pointer]);
        let report = Report::read(&document(vec![section])).unwrap().unwrap();
        let text = report.to_text();
        assert!(
            text.starts_with("Diagnostic imaging report\nComprehensive SR\nCOMPLETE, VERIFIED\n")
        );
        let content = text.split("Content\n").nth(1).unwrap();
        assert_eq!(
            content,
            "  Section\n    Finding (121071, DCM): One\n      two\u{FFFD}[31m\n    \
             [inferred from] Reference: see item 1.1.1 (Finding)\n"
        );
    }

    #[test]
    fn numbers_have_their_unit_and_what_is_special_about_them() {
        let code = |value: &str, scheme: &str, meaning: &str| crate::Code {
            value: value.to_owned(),
            scheme: scheme.to_owned(),
            version: None,
            meaning: meaning.to_owned(),
        };
        let measured = Number {
            value: Some("0.333".to_owned()),
            exactly: Some("1/3".to_owned()),
            unit: Some(code("mm", "UCUM", "millimeter")),
            qualifier: None,
        };
        assert_eq!(number(&measured), "0.333 mm (exactly 1/3)");
        let failed = Number {
            qualifier: Some(code("114006", "DCM", "Measurement failure")),
            ..Number::default()
        };
        assert_eq!(number(&failed), "no value – Measurement failure (114006, DCM)");
    }
}
