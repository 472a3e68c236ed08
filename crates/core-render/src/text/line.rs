//! A line of text: which glyphs, where.

use rustybuzz::ttf_parser::{GlyphId, OutlineBuilder};
use rustybuzz::{Direction, UnicodeBuffer};
use unicode_bidi::BidiInfo;
use zeno::{Cap, Command, Join, PathBuilder, Point, Stroke};

use super::fonts::Font;
use crate::paint::{Area, paint};
use crate::pixel::raster::Raster;

/// Characters of a line, whatever its text has.
const LONGEST: usize = 128;
/// Characters that a shortened line must still show to be worth drawing.
const SHORTEST: usize = 3;
const ELLIPSIS: char = '…';

/// A line of text at one size, not yet anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// From left to right, as they are seen.
    glyphs: Vec<Glyph>,
    /// Pixels of the em square.
    size: f32,
    /// In pixels.
    width: f32,
}

/// What a line is drawn with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ink {
    pub colour: [u8; 3],
    /// A line around the letters, so that they are legible over any picture.
    pub outline: Option<[u8; 3]>,
}

#[derive(Clone, Copy, Debug)]
struct Glyph {
    shape: Shape,
    /// Right of the line's start, in pixels.
    x: f32,
    /// Above the baseline, in pixels.
    y: f32,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Outline(Font, GlyphId),
    /// No font has the character.
    Missing,
}

impl Line {
    /// How far a line reaches above its baseline, and below, in sizes. Marks beyond are cut off.
    const ABOVE: f32 = 1.1;
    const BELOW: f32 = 0.45;
    /// From one baseline to the next, in sizes.
    pub(crate) const STEP: f32 = 1.3;
    /// Capitals above the baseline, in sizes.
    pub(crate) const CAPITALS: f32 = 0.72;

    /// The whole text. Of very long ones the beginning; control characters are dropped.
    pub(crate) fn new(text: &str, size: f32) -> Self {
        Self::of_clean(&clean(text), size)
    }

    /// The text, shortened with an ellipsis where it is wider than `width` pixels. `None` where
    /// there is nothing to draw, or too little room to draw anything legible.
    pub(crate) fn fitted(text: &str, size: f32, width: f32) -> Option<Self> {
        let text = clean(text);
        let whole = Self::of_clean(&text, size);
        if whole.width <= width {
            return Some(whole).filter(|line| !line.glyphs.is_empty());
        }
        let characters: Vec<char> = text.chars().collect();
        let (mut fits, mut over, mut best) = (SHORTEST - 1, characters.len(), None);
        while over - fits.min(over) > 1 {
            let middle = fits.midpoint(over);
            let kept: String = characters[..middle].iter().collect();
            let shorter = Self::of_clean(&format!("{}{ELLIPSIS}", kept.trim_end()), size);
            if shorter.width <= width {
                (fits, best) = (middle, Some(shorter));
            } else {
                over = middle;
            }
        }
        best
    }

    fn of_clean(text: &str, size: f32) -> Self {
        let mut line = Self { glyphs: Vec::new(), size, width: 0.0 };
        let bidi = BidiInfo::new(text, None);
        for paragraph in &bidi.paragraphs {
            let (levels, runs) = bidi.visual_runs(paragraph, paragraph.range.clone());
            for run in runs {
                let backwards = levels[run.start].is_rtl();
                line.push_run(&text[run], backwards);
            }
        }
        line
    }

    /// Text of one direction.
    fn push_run(&mut self, text: &str, backwards: bool) {
        let mut pieces = by_font(text);
        if backwards {
            pieces.reverse();
        }
        for (font, piece) in pieces {
            match font {
                Some(font) => self.push_shaped(font, piece, backwards),
                None => piece.chars().for_each(|_| self.push_missing()),
            }
        }
    }

    fn push_shaped(&mut self, font: Font, text: &str, backwards: bool) {
        let mut buffer = UnicodeBuffer::new();
        buffer.push_str(text);
        let direction = if backwards { Direction::RightToLeft } else { Direction::LeftToRight };
        buffer.set_direction(direction);
        buffer.guess_segment_properties();
        let shaped = rustybuzz::shape(font.face(), &[], buffer);
        let scale = self.size / font.face().units_per_em() as f32;
        for (info, position) in shaped.glyph_infos().iter().zip(shaped.glyph_positions()) {
            let id = GlyphId(u16::try_from(info.glyph_id).unwrap_or(0));
            self.glyphs.push(Glyph {
                shape: Shape::Outline(font, id),
                x: self.width + position.x_offset as f32 * scale,
                y: position.y_offset as f32 * scale,
            });
            self.width += position.x_advance as f32 * scale;
        }
    }

    fn push_missing(&mut self) {
        self.glyphs.push(Glyph { shape: Shape::Missing, x: self.width, y: 0.0 });
        self.width += MISSING_WIDTH * self.size;
    }

    /// In pixels.
    pub(crate) fn width(&self) -> f32 {
        self.width
    }

    /// Width of the line around letters of `size`.
    pub(crate) fn outline_width(size: f32) -> f32 {
        (size * 0.11).max(1.2)
    }

    /// Draws the line from `left` on, above `baseline`; what lies outside of the picture is cut off.
    pub(crate) fn draw(&self, raster: &mut Raster, left: f32, baseline: f32, ink: Ink) {
        let mut pen = Pen { path: Vec::new(), x: 0.0, y: 0.0, scale: 1.0 };
        for glyph in &self.glyphs {
            pen.x = left + glyph.x;
            pen.y = baseline - glyph.y;
            match glyph.shape {
                Shape::Outline(font, id) => {
                    pen.scale = self.size / font.face().units_per_em() as f32;
                    font.face().outline_glyph(id, &mut pen);
                }
                Shape::Missing => pen.missing(self.size),
            }
        }
        let outline = Self::outline_width(self.size);
        let area = Area::spanning(
            left - self.size * 0.25 - outline,
            baseline - self.size * Self::ABOVE - outline,
            left + self.width + self.size * 0.25 + outline,
            baseline + self.size * Self::BELOW + outline,
        );
        if let Some(colour) = ink.outline {
            let mut stroke = Stroke::new(2.0 * outline);
            stroke.join(Join::Round).cap(Cap::Round);
            paint(raster, area, &pen.path, stroke, colour);
        }
        paint(raster, area, &pen.path, zeno::Fill::NonZero, ink.colour);
    }
}

/// What can be drawn of a text: bounded, without characters that have no form or that reorder others
/// (a name must not turn around what stands beside it).
fn clean(text: &str) -> String {
    let drawable = text.chars().take(8 * LONGEST).filter_map(|character| match character {
        character if character.is_whitespace() => Some(' '),
        character if character.is_control() || is_invisible(character) => None,
        character => Some(character),
    });
    drawable.take(LONGEST).collect::<String>().trim().to_owned()
}

fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{180B}'..='\u{180F}' | '\u{200B}' | '\u{200E}'
        | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Splits where the font changes, in the order of the text.
fn by_font(text: &str) -> Vec<(Option<Font>, &str)> {
    let mut pieces = Vec::new();
    let (mut start, mut current) = (0, None);
    for (at, character) in text.char_indices() {
        // Joiners have no glyph of their own.
        let joiner = matches!(character, '\u{200C}' | '\u{200D}');
        let beside = current.flatten();
        let font = if joiner { beside } else { Font::of(character, beside) };
        if current != Some(font) {
            if let Some(font) = current {
                pieces.push((font, &text[start..at]));
            }
            (start, current) = (at, Some(font));
        }
    }
    if let Some(font) = current {
        pieces.push((font, &text[start..]));
    }
    pieces
}

/// Advance of a character without a glyph, in sizes.
const MISSING_WIDTH: f32 = 0.62;

/// Collects outlines in pixels, y downwards.
struct Pen {
    path: Vec<Command>,
    x: f32,
    y: f32,
    scale: f32,
}

impl Pen {
    fn at(&self, x: f32, y: f32) -> Point {
        Point::new(self.x + x * self.scale, self.y - y * self.scale)
    }

    /// A box, in the place of a glyph that no font has.
    fn missing(&mut self, size: f32) {
        let (left, right, height) = (0.08 * size, (MISSING_WIDTH - 0.08) * size, 0.72 * size);
        let wall = (size * 0.07).max(1.0);
        self.scale = 1.0;
        // The inner rectangle turns the other way: a hole.
        for (left, bottom, right, top) in
            [(left, 0.0, right, height), (right - wall, wall, left + wall, height - wall)]
        {
            self.move_to(left, bottom);
            self.line_to(left, top);
            self.line_to(right, top);
            self.line_to(right, bottom);
            self.close();
        }
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let to = self.at(x, y);
        PathBuilder::move_to(&mut self.path, to);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let to = self.at(x, y);
        PathBuilder::line_to(&mut self.path, to);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let (control, to) = (self.at(x1, y1), self.at(x, y));
        PathBuilder::quad_to(&mut self.path, control, to);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let (first, second, to) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        PathBuilder::curve_to(&mut self.path, first, second, to);
    }

    fn close(&mut self) {
        PathBuilder::close(&mut self.path);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pixel::raster::Channels;

    const PLAIN: Ink = Ink { colour: [255; 3], outline: None };

    /// The glyphs from left to right; `None` for a box.
    fn glyphs(text: &str) -> Vec<Option<u16>> {
        let shape = |glyph: &Glyph| match glyph.shape {
            Shape::Outline(_, id) => Some(id.0),
            Shape::Missing => None,
        };
        Line::new(text, 20.0).glyphs.iter().map(shape).collect()
    }

    fn black(width: u32, height: u32) -> Raster {
        let data = vec![0; width as usize * height as usize];
        Raster { width, height, channels: Channels::Grey, data }
    }

    fn picture(text: &str) -> Raster {
        let mut raster = black(120, 40);
        Line::new(text, 20.0).draw(&mut raster, 5.0, 28.0, PLAIN);
        raster
    }

    #[test]
    fn hebrew_runs_from_right_to_left() {
        // In memory shin comes first; on paper it is the rightmost.
        let word = "\u{5E9}\u{5E8}\u{5D5}\u{5DF}";
        let one_by_one = word.chars().rev().flat_map(|letter| glyphs(&letter.to_string()));
        assert_eq!(glyphs(word), one_by_one.collect::<Vec<_>>());
    }

    #[test]
    fn latin_inside_hebrew_and_numbers_inside_arabic_keep_their_own_direction() {
        let (latin, number) = (glyphs("MRI"), glyphs("12"));
        let contains = |text: &str, part: &[Option<u16>]| {
            glyphs(text).windows(part.len()).any(|window| window == part)
        };
        assert!(contains("שרון MRI דבורה", &latin));
        assert!(contains("قباني 12 لنزار", &number));
        // The word that comes first stands on the right.
        assert_eq!(glyphs("שרון MRI").iter().take(3).copied().collect::<Vec<_>>(), latin);
    }

    #[test]
    fn arabic_letters_join() {
        // Lam at the beginning of a word, in its middle, at its end and alone: four forms, the first
        // of them on the right.
        let [alone] = glyphs("\u{644}")[..] else { panic!("one glyph") };
        let [last, middle, first] = glyphs("\u{644}\u{644}\u{644}")[..] else {
            panic!("three glyphs")
        };
        let forms = std::collections::HashSet::from([alone, last, middle, first]);
        assert_eq!(forms.len(), 4);
        // Behind dal, which joins to nothing that follows, a letter stands as if it were alone.
        assert_eq!(glyphs("\u{62F}\u{644}")[0], alone);
        // Lam and alef become one.
        assert_eq!(glyphs("\u{644}\u{627}").len(), 1);
    }

    #[test]
    fn marks_stand_on_their_letters() {
        // Composed and decomposed: the same place at the end.
        let (composed, decomposed) = (Line::new("é", 20.0), Line::new("e\u{301}", 20.0));
        assert!((composed.width() - decomposed.width()).abs() < 0.01);
        assert!(Line::new("ที่", 20.0).width() < Line::new("ทท", 20.0).width());
    }

    #[test]
    fn what_no_font_has_is_a_box() {
        assert_eq!(glyphs("😀"), [None]);
        assert_eq!(glyphs("a😀b").iter().filter(|glyph| glyph.is_none()).count(), 1);
        let emoji = picture("😀");
        let row = |y: usize| &emoji.data[y * 120..][..120];
        let inked = |y| row(y).iter().filter(|value| **value > 128).count();
        // Top and bottom are lines, between them are two walls and nothing.
        assert!(inked(14) >= 8 && inked(27) >= 8, "{} {}", inked(14), inked(27));
        assert!((1..=4).contains(&inked(20)), "{}", inked(20));
    }

    #[test]
    fn control_characters_and_overrides_are_dropped() {
        let plain = picture("Doe, Jane").data;
        for text in [
            "Do\0e, Jane\u{7}",
            "\u{202E}Doe, Jane",
            "Doe,\nJane",
            "\u{2066}Doe, \u{200F}Jane\u{2069}",
            "\u{FEFF}Doe, Ja\u{AD}ne\u{1b}",
        ] {
            assert_eq!(picture(text).data, plain, "{text:?}");
        }
        assert_eq!(clean(&"\0".repeat(1_000_000)), "");
        assert!(Line::fitted(" \n\0 ", 20.0, 100.0).is_none());
    }

    #[test]
    fn long_texts_are_cut_before_they_are_shaped() {
        let line = Line::new(&"W".repeat(1_000_000), 20.0);
        assert_eq!(line.glyphs.len(), LONGEST);
    }

    #[test]
    fn what_is_too_wide_ends_in_an_ellipsis() {
        let text = "Featherstonehaugh, Marmaduke";
        let ellipsis = glyphs("…")[0];
        let whole = Line::new(text, 20.0).width();
        let fitted = |width| Line::fitted(text, 20.0, width);
        assert_eq!(fitted(whole + 1.0).unwrap().width(), whole);
        let Shape::Outline(_, last) = fitted(whole / 2.0).unwrap().glyphs.last().unwrap().shape
        else {
            panic!("a box")
        };
        assert_eq!(Some(last.0), ellipsis);
        let half = fitted(whole / 2.0).unwrap().width();
        assert!(half <= whole / 2.0 && half > whole / 2.0 - 40.0);
        // Three letters or none.
        assert!(fitted(30.0).is_none());
        // In Hebrew the end is on the left.
        let hebrew = Line::fitted("שרון דבורה דבורה", 20.0, 90.0).unwrap();
        let Shape::Outline(_, first) = hebrew.glyphs[0].shape else { panic!("a box") };
        assert_eq!(Some(first.0), ellipsis);
    }

    #[test]
    fn marks_are_cut_off_at_the_line() {
        let mut raster = black(60, 200);
        let text = format!("a{}", "\u{301}\u{323}".repeat(60));
        Line::new(&text, 20.0).draw(&mut raster, 5.0, 100.0, PLAIN);
        let inked = |y: usize| raster.data[y * 60..][..60].iter().any(|value| *value > 0);
        assert!((0..74).chain(114..200).all(|y| !inked(y)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_text_is_drawn_within_its_area(
            text in ".{0,60}", size in 1.0..60.0_f32, left in -50.0..150.0_f32,
            baseline in -50.0..150.0_f32, width in 0.0..400.0_f32,
        ) {
            let mut raster = black(100, 80);
            let ink = Ink { colour: [255; 3], outline: Some([9; 3]) };
            if let Some(line) = Line::fitted(&text, size, width) {
                prop_assert!(line.width() <= width);
                line.draw(&mut raster, left, baseline, ink);
                let reach = size * Line::ABOVE + Line::outline_width(size) + 1.0;
                let rows = raster.data.chunks(100).enumerate();
                for (y, row) in rows.filter(|(y, _)| (*y as f32) < baseline - reach) {
                    prop_assert!(row.iter().all(|value| *value == 0), "row {}", y);
                }
            }
        }

        /// Scripts that are shaped in every way there is, mixed with what breaks texts.
        #[test]
        fn mixed_scripts_are_drawn(
            text in "[ -~\u{300}-\u{36f}\u{590}-\u{5f4}\u{600}-\u{6ff}\u{e01}-\u{e5b}\u{200b}-\u{206f}가-각一-丐ｦ-ﾟ😀]{0,160}",
            size in 8.0..42.0_f32,
        ) {
            let line = Line::new(&text, size);
            let mut raster = black(64, 64);
            line.draw(&mut raster, 0.0, 40.0, PLAIN);
            prop_assert!(line.width().is_finite() && line.glyphs.len() <= 3 * LONGEST);
        }
    }
}
