//! TABLE content items (PS3.3 C.18.10).

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::attributes::{integer, item, items, texts};
use crate::code::Code;
use crate::format;

/// Characters of what a column or a row is called, which may be the same for all of them.
const LONGEST_TITLE: usize = 200;

/// A table of text. Every row of `cells` is as long as `columns`.
#[derive(Debug, PartialEq)]
pub(crate) struct Table {
    /// What each column holds, with its unit; empty where the document does not say.
    pub columns: Vec<String>,
    /// The same of each row.
    pub rows: Vec<String>,
    pub cells: Vec<Vec<String>>,
    /// What could not be laid out.
    pub note: Option<String>,
}

impl Table {
    /// Reads the table, unless it has more cells than may still be laid out.
    pub(crate) fn read(dataset: &InMemDicomObject, cells: &mut usize) -> Option<Self> {
        let table = item(dataset, tags::TABULATED_VALUES_SEQUENCE)?;
        let size = |tag| integer(table, tag).map(|n| n as usize);
        let (rows, columns) =
            (size(tags::NUMBER_OF_TABLE_ROWS)?, size(tags::NUMBER_OF_TABLE_COLUMNS)?);
        let size = rows.saturating_mul(columns);
        if size == 0 || size > *cells {
            let note = format!("The table of {rows} rows and {columns} columns is not shown.");
            return Some(Self { columns: vec![], rows: vec![], cells: vec![], note: Some(note) });
        }
        *cells -= size;
        let mut read = Self {
            columns: definitions(
                table,
                (tags::TABLE_COLUMN_DEFINITION_SEQUENCE, tags::TABLE_COLUMN_NUMBER),
                columns,
            ),
            rows: definitions(
                table,
                (tags::TABLE_ROW_DEFINITION_SEQUENCE, tags::TABLE_ROW_NUMBER),
                rows,
            ),
            cells: vec![vec![String::new(); columns]; rows],
            note: None,
        };
        let outside: usize =
            items(table, tags::CELL_VALUES_SEQUENCE).iter().map(|cell| read.fill(cell)).sum();
        if outside > 0 {
            read.note = Some(format!("{outside} values outside the table are not shown."));
        }
        Some(read)
    }

    /// Bytes of its texts.
    pub(crate) fn len(&self) -> usize {
        let titles = self.columns.iter().chain(&self.rows);
        titles.chain(self.cells.iter().flatten()).map(String::len).sum()
    }

    /// Fills in one cell, one row or one column; how many values were outside (C.18.10.1.2).
    fn fill(&mut self, item: &InMemDicomObject) -> usize {
        let values = values(item);
        let index = |tag| integer(item, tag).and_then(|n| (n as usize).checked_sub(1));
        let (row, column) = (index(tags::TABLE_ROW_NUMBER), index(tags::TABLE_COLUMN_NUMBER));
        let mut outside = 0;
        for (at, value) in values.into_iter().enumerate() {
            let (row, column) = match (row, column) {
                // A cell of several values.
                (Some(row), Some(column)) => (row, column),
                (Some(row), None) => (row, at),
                (None, Some(column)) => (at, column),
                (None, None) => (usize::MAX, 0),
            };
            match self.cells.get_mut(row).and_then(|row| row.get_mut(column)) {
                Some(cell) if cell.is_empty() => *cell = value,
                Some(cell) => {
                    cell.push_str(", ");
                    cell.push_str(&value);
                }
                None => outside += 1,
            }
        }
        outside
    }
}

/// Selector Attribute VR says which attribute of its group holds the values.
fn values(item: &InMemDicomObject) -> Vec<String> {
    let codes = items(item, tags::SELECTOR_CODE_SEQUENCE_VALUE);
    if !codes.is_empty() {
        return codes.iter().filter_map(Code::of_item).map(|code| code.line()).collect();
    }
    let is_value = |tag: Tag| tag.group() == 0x0072 && tag != tags::SELECTOR_ATTRIBUTE_VR;
    let mut held = item.iter().map(|element| element.header().tag).filter(|tag| is_value(*tag));
    let Some(tag) = held.next() else { return Vec::new() };
    let form: fn(&str) -> String = match tag {
        tags::SELECTOR_DA_VALUE => format::date,
        tags::SELECTOR_DT_VALUE => format::date_time,
        tags::SELECTOR_TM_VALUE => format::time,
        tags::SELECTOR_PN_VALUE => format::person_name,
        _ => str::to_owned,
    };
    texts(item, tag).iter().map(|text| form(text)).collect()
}

fn definitions(
    table: &InMemDicomObject,
    (sequence, number): (Tag, Tag),
    count: usize,
) -> Vec<String> {
    let mut out = vec![String::new(); count];
    for definition in items(table, sequence) {
        let Some(name) = Code::read(definition, tags::CONCEPT_NAME_CODE_SEQUENCE) else { continue };
        let unit = Code::read(definition, tags::MEASUREMENT_UNITS_CODE_SEQUENCE);
        let title = match unit {
            Some(unit) => format!("{} [{}]", name.name(), unit.unit()),
            None => name.name().to_owned(),
        };
        let title: String = title.chars().take(LONGEST_TITLE).collect();
        match integer(definition, number) {
            Some(number) => {
                if let Some(place) = (number as usize).checked_sub(1).and_then(|at| out.get_mut(at))
                {
                    *place = title;
                }
            }
            // A definition without a number is that of all.
            None => out.fill(title),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, PrimitiveValue, VR, dicom_value};

    use super::*;
    use crate::testing::{code, with_items};

    fn number(item: &mut InMemDicomObject, tag: Tag, number: u32) {
        item.put(DataElement::new(tag, VR::UL, PrimitiveValue::from(number)));
    }

    fn table(rows: u32, columns: u32, cells: Vec<InMemDicomObject>) -> Table {
        let mut time = with_items(
            tags::CONCEPT_NAME_CODE_SEQUENCE,
            vec![code("111526", "DCM", "DateTime Started")],
        );
        number(&mut time, tags::TABLE_COLUMN_NUMBER, 1);
        let mut table = with_items(tags::TABLE_COLUMN_DEFINITION_SEQUENCE, vec![time]);
        number(&mut table, tags::NUMBER_OF_TABLE_ROWS, rows);
        number(&mut table, tags::NUMBER_OF_TABLE_COLUMNS, columns);
        let cells = with_items(tags::CELL_VALUES_SEQUENCE, cells);
        table.put(cells.element(tags::CELL_VALUES_SEQUENCE).unwrap().clone());
        Table::read(&with_items(tags::TABULATED_VALUES_SEQUENCE, vec![table]), &mut 100).unwrap()
    }

    fn column(at: u32, tag: Tag, vr: VR, value: PrimitiveValue) -> InMemDicomObject {
        let mut item = InMemDicomObject::from_element_iter([DataElement::new(tag, vr, value)]);
        number(&mut item, tags::TABLE_COLUMN_NUMBER, at);
        item
    }

    #[test]
    fn columns_are_filled_as_in_the_first_example_of_the_standard() {
        let times = dicom_value!(Strs, ["20200401163901.01", "20200401163901.02"]);
        let read = table(
            2,
            2,
            vec![
                column(1, tags::SELECTOR_DT_VALUE, VR::DT, times),
                column(2, tags::SELECTOR_FL_VALUE, VR::FL, dicom_value!(F32, [100.5, 90.25])),
            ],
        );
        assert_eq!(read.columns, ["DateTime Started", ""]);
        let expected = [["2020-04-01 16:39:01.01", "100.5"], ["2020-04-01 16:39:01.02", "90.25"]];
        assert_eq!(read.cells, expected);
        assert_eq!(read.note, None);
    }

    #[test]
    fn values_outside_are_counted_and_huge_tables_not_laid_out() {
        let long = column(1, tags::SELECTOR_FL_VALUE, VR::FL, dicom_value!(F32, [1.0, 2.0, 3.0]));
        let read = table(2, 1, vec![long]);
        assert_eq!(read.note.as_deref(), Some("1 values outside the table are not shown."));
        let huge = table(u32::MAX, u32::MAX, vec![]);
        assert!(huge.cells.is_empty() && huge.note.unwrap().contains("4294967295 rows"));
    }

    #[test]
    fn single_cells_may_hold_codes() {
        let mut cell =
            with_items(tags::SELECTOR_CODE_SEQUENCE_VALUE, vec![code("A", "B", "Meaning")]);
        number(&mut cell, tags::TABLE_ROW_NUMBER, 1);
        number(&mut cell, tags::TABLE_COLUMN_NUMBER, 1);
        assert_eq!(table(1, 1, vec![cell]).cells, [["Meaning (A, B)"]]);
    }
}
