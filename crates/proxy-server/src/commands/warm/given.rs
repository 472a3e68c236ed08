//! What is given on the command line, read.

use std::str::FromStr;

use dicomweb_types::{MediaRange, split_list};

/// The first day of studies, as a search has it: `YYYYMMDD`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Since(String);

impl Since {
    /// The range of days from this one on (PS3.4 §C.2.2.2.5.1).
    pub(super) fn range(&self) -> String {
        format!("{}-", self.0)
    }
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "must be a day, such as 2026-01-31 or 20260131";
        let digits = match text.as_bytes() {
            [_, _, _, _, b'-', _, _, b'-', _, _] => text.replace('-', ""),
            _ => text.to_owned(),
        };
        if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(EXPECTED);
        }
        let number = |range: std::ops::Range<usize>| digits[range].parse::<u32>().unwrap_or(0);
        let (year, month, day) = (number(0..4), number(4..6), number(6..8));
        if !(1..=days_of(year, month)).contains(&day) {
            return Err("there is no such day");
        }
        Ok(Self(digits))
    }
}

/// 0 of a month that there is not.
fn days_of(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(is_leap),
        _ => 0,
    }
}

/// The query of a thumbnail, as it stands in a URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Query(pub(super) String);

impl FromStr for Query {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'?');
        if text.is_empty() || !text.bytes().all(is_plain) {
            return Err("must be what stands after the question mark, such as viewport=256,256");
        }
        Ok(Self(text.to_owned()))
    }
}

/// The media types of pictures that are accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Accept(pub(super) String);

impl FromStr for Accept {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_picture = |text| MediaRange::parse(text).is_some_and(|range| range.main == "image");
        let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !is_plain || split_list(text).next().is_none() || !split_list(text).all(is_picture) {
            return Err("must be a media type of pictures, such as image/jpeg");
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_with_hyphens_and_without() {
        for text in ["2026-01-31", "20260131"] {
            assert_eq!(text.parse::<Since>().unwrap().range(), "20260131-");
        }
        for day in ["2024-02-29", "2000-02-29", "2026-12-31", "19990630"] {
            assert!(day.parse::<Since>().is_ok(), "{day}");
        }
        for text in [
            "",
            "2026",
            "2026-1-31",
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-04-31",
            "20260100",
            "202601-31",
            "2026/01/31",
            "31.01.2026",
            "20260131-",
            "２０２６0131",
            "-2026013",
        ] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }

    #[test]
    fn queries_are_what_stands_after_the_question_mark() {
        assert!("viewport=256,256&window=40%2C400,linear".parse::<Query>().is_ok());
        for text in ["", "?viewport=1,1", "a b", "a#b", "ä", "a\n"] {
            assert!(text.parse::<Query>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_pictures_are_accepted() {
        for text in ["image/jpeg", "image/png, image/gif;q=0.5", "image/*"] {
            assert!(text.parse::<Accept>().is_ok(), "{text}");
        }
        for text in ["", "jpeg", "text/html", "image/png, application/dicom", "image/png\n", "*/*"]
        {
            assert!(text.parse::<Accept>().is_err(), "{text}");
        }
    }
}
