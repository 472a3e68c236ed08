//! The character sets of PS3.3 C.12.1.1.2 that dicom-rs does not decode.
//!
//! It decodes a text by the first value of Specific Character Set (0008,0005) alone. What code
//! extensions (PS3.5 §6.1.2.5, ISO 2022) add is left as it stood in the bytes: escape sequences, and
//! behind them bytes that were taken for ISO 8859-1 or ASCII. They are read once more here.

use std::iter::Peekable;
use std::str::Chars;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use encoding_rs::{
    EUC_JP, EUC_KR, Encoding, GBK, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6,
    ISO_8859_7, ISO_8859_8, ISO_8859_15, WINDOWS_874, WINDOWS_1254,
};

use crate::dataset::{primitive, text};

/// Characters of a value that are looked at; a person name has at most 3 × 64 (PS3.5 §6.2).
const LONGEST: usize = 512;
const ESCAPE: char = '\u{1B}';

/// The first value as text in Unicode, without padding, of bounded length; `None` where there is none.
pub(crate) fn decoded_text(dataset: &InMemDicomObject, tag: Tag) -> Option<String> {
    let values = primitive(dataset, tag)?.to_multi_str();
    // A byte of a double-byte character may look like the backslash between values.
    let text = match values.iter().any(|value| value.contains(ESCAPE)) {
        true => {
            let whole = values.iter().map(|value| bounded(value)).collect::<Vec<_>>().join("\\");
            decode_escapes(bounded(&whole)).split('\\').next().unwrap_or_default().to_owned()
        }
        false => bounded(values.first()?).to_owned(),
    };
    let text = text.trim_matches([' ', '\0']);
    let text = match unknown_single_byte(dataset) {
        Some(encoding) if text.chars().all(|c| c <= '\u{FF}') => {
            text.chars().map(|character| single(encoding, character)).collect()
        }
        _ => text.to_owned(),
    };
    (!text.is_empty()).then_some(text)
}

fn bounded(text: &str) -> &str {
    text.char_indices().nth(LONGEST).map_or(text, |(end, _)| &text[..end])
}

/// The sets that dicom-rs does not know and takes for ISO 8859-1.
fn unknown_single_byte(dataset: &InMemDicomObject) -> Option<&'static Encoding> {
    match text(dataset, tags::SPECIFIC_CHARACTER_SET)?.as_str() {
        "ISO_IR 148" | "ISO 2022 IR 148" => Some(WINDOWS_1254),
        "ISO_IR 203" | "ISO 2022 IR 203" => Some(ISO_8859_15),
        _ => None,
    }
}

/// What stands in the lower half of the code table (G0).
#[derive(Clone, Copy, PartialEq)]
enum Low {
    Ascii,
    /// JIS X 0208: two bytes for a character.
    Kanji,
    /// JIS X 0212.
    SupplementaryKanji,
}

/// What stands in the upper half (G1).
#[derive(Clone, Copy)]
enum High {
    /// The first value of Specific Character Set, which was decoded already.
    AsDecoded,
    Single(&'static Encoding),
    Double(&'static Encoding),
    /// JIS X 0201: Katakana of half width.
    Katakana,
}

fn decode_escapes(text: &str) -> String {
    let (mut low, mut high) = (Low::Ascii, High::AsDecoded);
    let mut decoded = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match (character, low) {
            (ESCAPE, _) => designate(&mut rest, &mut low, &mut high),
            ('!'..='~', Low::Kanji) => decoded.push(double(EUC_JP, &[], character, &mut rest)),
            ('!'..='~', Low::SupplementaryKanji) => {
                decoded.push(double(EUC_JP, &[0x8F], character, &mut rest));
            }
            ('\u{A0}'..='\u{FF}', _) => decoded.push(match high {
                High::AsDecoded => character,
                High::Single(encoding) => single(encoding, character),
                High::Double(encoding) => double(encoding, &[], character, &mut rest),
                High::Katakana => katakana(character),
            }),
            // PS3.5 §6.1.2.5.3: back to the first value. At "^" some writers do not begin anew.
            ('\\' | '=' | '\r' | '\n', _) => {
                high = High::AsDecoded;
                decoded.push(character);
            }
            (_, _) => decoded.push(character),
        }
    }
    decoded
}

/// Reads an escape sequence (PS3.3 Tables C.12-3 and C.12-4); one that is unknown changes nothing.
fn designate(rest: &mut Peekable<Chars<'_>>, low: &mut Low, high: &mut High) {
    let mut sequence = String::new();
    while let Some(character) = rest.next_if(|c| (' '..='~').contains(c)) {
        sequence.push(character);
        if character >= '0' || sequence.len() > 3 {
            break;
        }
    }
    match sequence.as_str() {
        "(B" | "(J" => *low = Low::Ascii,
        "$B" | "$@" => *low = Low::Kanji,
        "$(D" => *low = Low::SupplementaryKanji,
        ")I" => *high = High::Katakana,
        "$)C" => *high = High::Double(EUC_KR),
        "$)A" => *high = High::Double(GBK),
        "-A" => *high = High::AsDecoded,
        "-B" => *high = High::Single(ISO_8859_2),
        "-C" => *high = High::Single(ISO_8859_3),
        "-D" => *high = High::Single(ISO_8859_4),
        "-F" => *high = High::Single(ISO_8859_7),
        "-G" => *high = High::Single(ISO_8859_6),
        "-H" => *high = High::Single(ISO_8859_8),
        "-L" => *high = High::Single(ISO_8859_5),
        "-M" => *high = High::Single(WINDOWS_1254),
        "-T" => *high = High::Single(WINDOWS_874),
        "-b" => *high = High::Single(ISO_8859_15),
        _ => {}
    }
}

fn double(
    encoding: &'static Encoding,
    prefix: &[u8],
    first: char,
    rest: &mut Peekable<Chars<'_>>,
) -> char {
    let is_second = |c: &char| matches!(*c as u32 & 0x7F, 0x21..=0x7E) && *c <= '\u{FF}';
    let Some(second) = rest.next_if(is_second) else { return char::REPLACEMENT_CHARACTER };
    let upper = |character: char| character as u8 | 0x80;
    one(encoding, &[prefix, &[upper(first), upper(second)]].concat())
}

fn single(encoding: &'static Encoding, character: char) -> char {
    match character {
        '\0'..='\u{9F}' => character,
        _ => one(encoding, &[character as u8]),
    }
}

fn one(encoding: &'static Encoding, bytes: &[u8]) -> char {
    let (text, _) = encoding.decode_without_bom_handling(bytes);
    text.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn katakana(character: char) -> char {
    let offset = (character as u32).wrapping_sub(0xA1);
    match offset {
        0..=0x3E => char::from_u32(0xFF61 + offset).unwrap_or(char::REPLACEMENT_CHARACTER),
        _ => char::REPLACEMENT_CHARACTER,
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, PrimitiveValue, VR};
    use proptest::prelude::*;

    use super::*;
    use crate::limits::Limits;

    /// The patient's name of a file of these bytes, as the reader of files gives it.
    fn name_in_file(character_set: &str, name: &[u8]) -> String {
        let mut file = Vec::new();
        for (tag, vr, value) in
            [([8, 0, 5, 0], b"CS", character_set.as_bytes()), ([16, 0, 16, 0], b"PN", name)]
        {
            let padded = value.len().next_multiple_of(2);
            file.extend(tag);
            file.extend(vr);
            file.extend((padded as u16).to_le_bytes());
            file.extend(value);
            file.resize(file.len() + padded - value.len(), b' ');
        }
        let file = crate::part10::read(&file.into(), &Limits::default()).unwrap();
        decoded_text(&file.dataset, tags::PATIENT_NAME).unwrap()
    }

    #[test]
    fn single_byte_sets_are_decoded() {
        assert_eq!(name_in_file("ISO_IR 100", b"Buc^J\xE9r\xF4me"), "Buc^Jérôme");
        assert_eq!(name_in_file("ISO_IR 101", b"Wa\xB3\xEAsa"), "Wałęsa");
        assert_eq!(
            name_in_file("ISO_IR 144", b"\xBB\xEE\xDA\xE1\xD5\xDC\xD1\xE3\xE0\xD3"),
            "Люксембург"
        );
        assert_eq!(
            name_in_file("ISO_IR 126", b"\xC4\xE9\xEF\xED\xF5\xF3\xE9\xEF\xF2"),
            "Διονυσιος"
        );
        assert_eq!(
            name_in_file("ISO_IR 127", b"\xE2\xC8\xC7\xE6\xEA^\xE4\xE6\xD2\xC7\xD1"),
            "قباني^لنزار"
        );
        assert_eq!(
            name_in_file("ISO_IR 138", b"\xF9\xF8\xE5\xEF^\xE3\xE1\xE5\xF8\xE4"),
            "שרון^דבורה"
        );
        assert_eq!(name_in_file("ISO_IR 166", b"\xCA\xC1\xAA\xD2\xC2"), "สมชาย");
    }

    #[test]
    fn single_byte_sets_that_the_reader_does_not_know_are_decoded() {
        assert_eq!(name_in_file("ISO_IR 148", b"\xC7a\xF0lar^I\xFE\xFDk"), "Çağlar^Işık");
        assert_eq!(name_in_file("ISO_IR 203", b"\xBCuvre \xA4"), "Œuvre €");
    }

    #[test]
    fn unicode_and_gb18030_are_decoded() {
        assert_eq!(
            name_in_file("ISO_IR 192", "Wang^XiaoDong=王^小東".as_bytes()),
            "Wang^XiaoDong=王^小東"
        );
        let name = b"Wang^XiaoDong=\xCD\xF5^\xD0\xA1\xB6\xAB";
        assert_eq!(name_in_file("GB18030", name), "Wang^XiaoDong=王^小东");
        assert_eq!(name_in_file("GBK", name), "Wang^XiaoDong=王^小东");
    }

    /// PS3.5 H.3.1.
    #[test]
    fn kanji_by_code_extension_are_decoded() {
        let name =
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B";
        let read = "Yamada^Tarou=山田^太郎=やまだ^たろう";
        for set in ["\\ISO 2022 IR 87", "ISO 2022 IR 6\\ISO 2022 IR 87", "ISO 2022 IR 87"] {
            assert_eq!(name_in_file(set, name), read, "{set}");
        }
    }

    /// PS3.5 H.3.2.
    #[test]
    fn half_width_katakana_and_kanji_are_decoded() {
        let name = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J";
        let read = "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎";
        assert_eq!(name_in_file("ISO 2022 IR 13\\ISO 2022 IR 87", name), read);
    }

    /// PS3.5 I.2.
    #[test]
    fn hangul_by_code_extension_are_decoded() {
        let name = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf";
        let read = "Hong^Gildong=洪^吉洞=홍^길동";
        for set in ["\\ISO 2022 IR 149", "ISO 2022 IR 149", "ISO 2022 IR 6\\ISO 2022 IR 149"] {
            assert_eq!(name_in_file(set, name), read, "{set}");
        }
    }

    /// PS3.5 K.2.
    #[test]
    fn simplified_chinese_by_code_extension_is_decoded() {
        let name = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=";
        for set in ["\\ISO 2022 IR 58", "ISO 2022 IR 58"] {
            assert_eq!(name_in_file(set, name), "Zhang^XiaoDong=张^小东=", "{set}");
        }
    }

    #[test]
    fn a_second_single_byte_set_is_decoded() {
        let name = b"Smith=\x1b-F\xC4\xE9\xEF\xED";
        assert_eq!(name_in_file("\\ISO 2022 IR 126", name), "Smith=Διον");
    }

    #[test]
    fn double_byte_characters_may_hold_a_backslash() {
        // 0x3E 0x5C of JIS X 0208 is 詳, no end of a value.
        assert_eq!(name_in_file("\\ISO 2022 IR 87", b"\x1b$B>\\;3\x1b(B"), "詳山");
    }

    #[test]
    fn broken_code_extensions_lose_characters_and_nothing_else() {
        for name in ["\u{1b}", "\u{1b}$", "\u{1b}$B;", "\u{1b}$)Cû", "\u{1b}zzz", "\u{1b}$B山"] {
            assert!(decode_escapes(name).chars().count() <= name.chars().count());
        }
        assert_eq!(decode_escapes("A\u{1b}$B;3\u{1b}(BC"), "A山C");
    }

    proptest! {
        #[test]
        fn any_text_is_decoded_to_no_more_characters(text in ".{0,80}", set in "[ -~]{0,20}") {
            let escapes = text.replace('a', "\u{1b}").replace('b', "\u{1b}$B").replace('c', "\u{1b}$)C");
            let dataset = InMemDicomObject::from_element_iter([
                DataElement::new(tags::SPECIFIC_CHARACTER_SET, VR::CS, PrimitiveValue::from(set)),
                DataElement::new(tags::PATIENT_NAME, VR::PN, PrimitiveValue::from(escapes.as_str())),
            ]);
            let decoded = decoded_text(&dataset, tags::PATIENT_NAME).unwrap_or_default();
            prop_assert!(decoded.chars().count() <= escapes.chars().count());
        }
    }
}
