//! Values as people read them. What does not have the form of its VR stays as it is.

/// A DA: `20040119` as `2004-01-19`.
pub(crate) fn date(text: &str) -> String {
    match text.as_bytes() {
        bytes if bytes.len() == 8 && is_digits(text) => {
            format!("{}-{}-{}", &text[..4], &text[4..6], &text[6..])
        }
        _ => text.to_owned(),
    }
}

/// A TM: `173315.846` as `17:33:15.846`.
pub(crate) fn time(text: &str) -> String {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(w, f)| (w, Some(f)));
    let legal = matches!(whole.len(), 2 | 4 | 6) && is_digits(whole);
    if !legal || fraction.is_some_and(|f| whole.len() != 6 || !is_digits(f)) {
        return text.to_owned();
    }
    let pairs: Vec<&str> = (0..whole.len()).step_by(2).map(|at| &whole[at..at + 2]).collect();
    let mut out = pairs.join(":");
    if pairs.len() == 1 {
        out.push_str(":--");
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A DT: `20190317173315.5+0100` as `2019-03-17 17:33:15.5 +01:00`.
pub(crate) fn date_time(text: &str) -> String {
    let (local, offset) = match text.find(['+', '-']) {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    };
    let digits = local.split('.').next().unwrap_or("");
    let offset = match offset {
        Some(offset) if offset.len() == 5 && is_digits(&offset[1..]) => {
            format!(" {}:{}", &offset[..3], &offset[3..])
        }
        Some(_) => return text.to_owned(),
        None => String::new(),
    };
    if !is_digits(digits) || !local.is_ascii() {
        return text.to_owned();
    }
    match digits.len() {
        4 if local.len() == 4 => format!("{local}{offset}"),
        6 if local.len() == 6 => format!("{}-{}{offset}", &local[..4], &local[4..]),
        8 if local.len() == 8 => format!("{}{offset}", date(local)),
        10 | 12 | 14 => format!("{} {}{offset}", date(&local[..8]), time(&local[8..])),
        _ => text.to_owned(),
    }
}

/// A PN: `Family^Given^Middle^Prefix^Suffix`, ideographic and phonetic groups behind it (PS3.5 §6.2).
pub(crate) fn person_name(text: &str) -> String {
    let groups = text.splitn(3, '=').map(name_group).filter(|group| !group.is_empty());
    groups.collect::<Vec<_>>().join(" / ")
}

fn name_group(group: &str) -> String {
    let mut parts = group.splitn(5, '^').map(str::trim);
    let mut next = || parts.next().unwrap_or("");
    let (family, given, middle, prefix, suffix) = (next(), next(), next(), next(), next());
    let joined = |parts: &[&str], by: &str| {
        let there = parts.iter().copied().filter(|part| !part.is_empty());
        there.collect::<Vec<_>>().join(by)
    };
    let given = joined(&[given, middle], " ");
    joined(&[family, &given, prefix, suffix], ", ")
}

/// Ascending runs as ranges: 1, 2, 3, 7 as `1–3, 7`.
pub(crate) fn ranges(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let written = runs.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}–{last}"),
    });
    written.collect::<Vec<_>>().join(", ")
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_written_as_iso_8601_does() {
        assert_eq!(date("20040119"), "2004-01-19");
        assert_eq!(time("173315.846322"), "17:33:15.846322");
        assert_eq!([time("1733"), time("17")], ["17:33", "17:--"]);
        assert_eq!(date_time("20190317173315.5+0100"), "2019-03-17 17:33:15.5 +01:00");
        assert_eq!(date_time("201903171733"), "2019-03-17 17:33");
        assert_eq!(date_time("2019"), "2019");
    }

    #[test]
    fn what_is_not_of_the_form_stays() {
        for odd in ["", "2004.01.19", "2004011", "20040１19", "１２３４"] {
            assert_eq!([date(odd), date_time(odd)], [odd, odd]);
        }
        for odd in ["", "17:33:15", "1733.5", "173315.", "1", "ünü"] {
            assert_eq!(time(odd), odd);
        }
        for odd in ["20190317+1", "20190317173315-é100", "201903171", "20190317.5"] {
            assert_eq!(date_time(odd), odd);
        }
    }

    #[test]
    fn names_begin_with_the_family() {
        assert_eq!(
            person_name("Adams^John Robert Quincy^^Rev.^B.A. M.Div."),
            "Adams, John Robert Quincy, Rev., B.A. M.Div."
        );
        assert_eq!(
            person_name("Yamada^Tarou=山田^太郎=やまだ^たろう"),
            "Yamada, Tarou / 山田, 太郎 / やまだ, たろう"
        );
        assert_eq!(person_name("^^"), "");
    }

    #[test]
    fn runs_of_frames_are_ranges() {
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), "1–3, 7, 9, 10");
        assert_eq!(ranges(&[5, 4, u32::MAX]), "5, 4, 4294967295");
        assert_eq!(ranges(&[]), "");
    }
}
