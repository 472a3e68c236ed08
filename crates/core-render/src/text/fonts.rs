//! The fonts that are part of the program.

use std::sync::LazyLock;

use rustybuzz::Face;

/// In the order in which they are asked for a character. Where they come from: `assets/README.md`.
const FILES: [&[u8]; 6] = [
    include_bytes!("../../assets/fonts/NotoSans.ttf"),
    include_bytes!("../../assets/fonts/NotoSansHebrew.ttf"),
    include_bytes!("../../assets/fonts/NotoSansArabic.ttf"),
    include_bytes!("../../assets/fonts/NotoSansThai.ttf"),
    include_bytes!("../../assets/fonts/DroidSansFallback.ttf"),
    include_bytes!("../../assets/fonts/DejaVuSansSymbols.ttf"),
];

/// Read once: a constant that takes work to write down.
static FACES: LazyLock<Vec<Face<'static>>> =
    LazyLock::new(|| FILES.iter().filter_map(|file| Face::from_slice(file, 0)).collect());

/// One of the fonts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Font(usize);

impl Font {
    /// The font for `character`, which follows text in `previous`; `None` where none has it.
    ///
    /// Letters and digits look the same wherever they stand. What is between them – spaces, marks,
    /// punctuation – goes with what it stands beside, so that it is shaped together with it.
    pub(super) fn of(character: char, previous: Option<Self>) -> Option<Self> {
        let joins = !character.is_alphanumeric();
        let beside = previous.filter(|font| joins && font.has(character));
        beside.or_else(|| (0..FACES.len()).map(Self).find(|font| font.has(character)))
    }

    fn has(self, character: char) -> bool {
        self.face().glyph_index(character).is_some()
    }

    pub(super) fn face(self) -> &'static Face<'static> {
        // The index is of an existing face: `Font` is made in `of` alone.
        &FACES[self.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_font_of_the_program_can_be_read() {
        assert_eq!(FACES.len(), FILES.len());
    }

    #[test]
    fn every_script_of_dicom_character_sets_has_a_font() {
        let samples = [
            "Müller Ångström Łódź Çağ Ģertrūde",
            "Διονυσιος",
            "Люксембург Їжак",
            "שרון דבורה",
            "قباني لنزار",
            "สมชาย ใจดี",
            "山田 太郎 やまだ たろう ヤマダ ﾔﾏﾀﾞ ﾀﾛｳ",
            "김희중 홍길동 洪吉洞",
            "王小东 張三豐 龘",
            "µ°²±×÷ → ≤ √ Ⅱ ① − – — … · ©",
        ];
        for character in samples.iter().flat_map(|text| text.chars()) {
            assert!(Font::of(character, None).is_some(), "{character:?}");
        }
    }

    /// PS3.3 C.12.1.1.2: the single-byte sets, whole.
    #[test]
    fn every_character_of_the_single_byte_sets_has_a_glyph() {
        use encoding_rs::*;
        let sets = [
            WINDOWS_1252,
            ISO_8859_2,
            ISO_8859_3,
            ISO_8859_4,
            ISO_8859_5,
            ISO_8859_6,
            ISO_8859_7,
            ISO_8859_8,
            WINDOWS_1254,
            ISO_8859_15,
            WINDOWS_874,
        ];
        for set in sets {
            for byte in (0x20..0x7F).chain(0xA0..=0xFF_u8) {
                let bytes = [byte];
                let (text, _) = set.decode_without_bom_handling(&bytes);
                let character = text.chars().next().unwrap();
                // Not of the set; or not drawn at all.
                if matches!(character, '\u{FFFD}' | '\u{AD}' | '\u{200E}' | '\u{200F}')
                    || ('\u{E000}'..'\u{F900}').contains(&character)
                {
                    continue;
                }
                assert!(Font::of(character, None).is_some(), "{character:?} of {}", set.name());
            }
        }
    }

    #[test]
    fn what_no_font_has_is_none() {
        assert_eq!(Font::of('😀', None), None);
        assert_eq!(Font::of('\u{10FFFF}', None), None);
    }

    #[test]
    fn punctuation_goes_with_its_neighbour_and_letters_do_not() {
        let arabic = Font::of('ق', None);
        assert_eq!(Font::of('-', arabic), arabic);
        assert_eq!(Font::of('1', arabic), Font::of('1', None));
    }
}
