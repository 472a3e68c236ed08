//! Sizes and durations with their units; a bare number says nothing and is refused.

use std::time::Duration;

type Units = &'static [(&'static str, u64)];

const BYTES: Units = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];
const PIXELS: Units = &[("GP", 1_000_000_000), ("MP", 1_000_000), ("kP", 1_000), ("P", 1)];
const MILLISECONDS: Units = &[("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Bytes, such as `512MB` or `2GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    quantity(text, BYTES)
        .ok_or_else(|| "must be a size above 0 with its unit, such as 512MB or 2GiB".into())
}

/// Pixels, such as `200MP`.
pub(crate) fn pixels(text: &str) -> Result<u64, String> {
    quantity(text, PIXELS)
        .ok_or_else(|| "must be a number of pixels with its unit, such as 200MP".into())
}

/// A duration above 0, such as `30s` or `500ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    // A century is far above any timeout and far below what clocks overflow at.
    quantity(text, MILLISECONDS)
        .filter(|&ms| ms <= 100 * 365 * 24 * 3_600_000)
        .map(Duration::from_millis)
        .ok_or_else(|| "must be a duration above 0 with its unit, such as 30s or 500ms".into())
}

pub(crate) fn show_bytes(value: u64) -> String {
    show(value, BYTES)
}

pub(crate) fn show_pixels(value: u64) -> String {
    show(value, PIXELS)
}

pub(crate) fn show_duration(value: Duration) -> String {
    show(u64::try_from(value.as_millis()).unwrap_or(u64::MAX), MILLISECONDS)
}

fn quantity(text: &str, units: Units) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor).filter(|&value| value > 0)
}

/// In the largest unit that gives a whole number.
fn show(value: u64, units: Units) -> String {
    units
        .iter()
        .find(|(_, factor)| value.is_multiple_of(*factor))
        .map_or_else(|| value.to_string(), |(name, factor)| format!("{}{name}", value / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_required_and_read() {
        assert_eq!(bytes("512MB"), Ok(512_000_000));
        assert_eq!(bytes("2 GiB"), Ok(2 << 30));
        assert_eq!(pixels("200MP"), Ok(200_000_000));
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in [
            "",
            "5",
            "MB",
            "5XB",
            "-5MB",
            "1.5GB",
            "0MB",
            "99999999999999999999GB",
            "18446744073709551615GB",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
        for text in ["30", "0s", "s", "5 minutes", "9999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for value in [1, 999, 1_000, 1_024, 123_456_789, 2 << 30, 5_000_000_000] {
            assert_eq!(bytes(&show_bytes(value)), Ok(value));
            assert_eq!(pixels(&show_pixels(value)), Ok(value));
        }
        for ms in [1, 1_000, 1_500, 60_000, 5_400_000] {
            let value = Duration::from_millis(ms);
            assert_eq!(duration(&show_duration(value)), Ok(value));
        }
    }
}
