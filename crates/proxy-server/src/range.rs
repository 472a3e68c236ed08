//! Parts of a payload by byte range (RFC 9110 §14): what players and PDF viewers ask for.

use std::ops::Range;

use http::header::{self, HeaderMap};

use crate::conditional::ETag;

/// What a request wants of a payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes.
    Part(Range<usize>),
    /// Bytes that are not there.
    Nothing,
}

/// What the headers of a request want of a payload of `length` bytes. A range that cannot be read, or
/// several, is ignored, as RFC 9110 allows; so is one of another version of it (`If-Range`).
pub(crate) fn wanted(headers: &HeaderMap, etag: &ETag, length: usize) -> Wanted {
    let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Wanted::Whole;
    };
    let of_this =
        headers.get(header::IF_RANGE).is_none_or(|v| v.as_bytes() == etag.as_str().as_bytes());
    if !of_this {
        return Wanted::Whole;
    }
    match parse(range, length) {
        Some(Some(range)) => Wanted::Part(range),
        Some(None) => Wanted::Nothing,
        None => Wanted::Whole,
    }
}

/// One `bytes` range; `None` where it is not one, `Some(None)` where nothing of it is there.
fn parse(text: &str, length: usize) -> Option<Option<Range<usize>>> {
    let (unit, range) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let number = |text: &str| -> Option<usize> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // Beyond all that can be there is beyond the end.
        digits.then(|| text.parse().unwrap_or(usize::MAX))
    };
    let range = match (first.trim(), last.trim()) {
        ("", suffix) => length.saturating_sub(number(suffix)?)..length,
        (first, "") => number(first)?..length,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(length)
        }
    };
    Some((range.start < range.end).then_some(range))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(range: &str, if_range: Option<&str>) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        if let Some(tag) = if_range {
            headers.insert(header::IF_RANGE, tag.parse().unwrap());
        }
        wanted(&headers, &ETag::of_digest(&[1; 16]), 100)
    }

    #[test]
    fn ranges_are_those_of_the_rfc() {
        for (range, expected) in [
            ("bytes=0-", Wanted::Part(0..100)),
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=10-19", Wanted::Part(10..20)),
            ("bytes=90-1000", Wanted::Part(90..100)),
            ("bytes=90-99999999999999999999999", Wanted::Part(90..100)),
            ("bytes=-30", Wanted::Part(70..100)),
            ("bytes=-1000", Wanted::Part(0..100)),
            ("Bytes = 5-5", Wanted::Part(5..6)),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=20-10", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("pages=1-2", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(of(range, None), expected, "{range}");
        }
    }

    #[test]
    fn a_range_of_another_version_is_ignored() {
        let tag = ETag::of_digest(&[1; 16]);
        assert_eq!(of("bytes=0-1", Some(tag.as_str())), Wanted::Part(0..2));
        assert_eq!(of("bytes=0-1", Some("\"other\"")), Wanted::Whole);
    }

    proptest! {
        #[test]
        fn any_range_stays_within_the_payload(range in "bytes=[0-9,-]{0,30}") {
            if let Wanted::Part(part) = of(&range, None) {
                prop_assert!(part.start < part.end && part.end <= 100);
            }
        }
    }
}
