//! Text as HTML and XML hold it.

/// What takes the place of a character that cannot be there.
const REPLACEMENT: char = '\u{FFFD}';

/// Appends text to HTML, as content or as a quoted attribute. Line ends become `\n`, as a parser would
/// make them.
pub(crate) fn html(out: &mut String, text: &str) {
    without_carriage_returns(text).for_each(|c| push(out, c));
}

/// Appends text to XML 1.0, as content or as a quoted attribute. A carriage return is written so that
/// it comes back as one.
pub(crate) fn xml(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\r' => out.push_str("&#13;"),
            c => push(out, c),
        }
    }
}

/// Plain text of one or of many lines without characters that a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    without_carriage_returns(text).map(|c| if is_legal(c) { c } else { REPLACEMENT }).collect()
}

fn push(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        c if is_legal(c) => out.push(c),
        _ => out.push(REPLACEMENT),
    }
}

fn without_carriage_returns(text: &str) -> impl Iterator<Item = char> {
    let mut chars = text.chars().peekable();
    std::iter::from_fn(move || {
        let c = chars.next()?;
        if c == '\r' {
            chars.next_if_eq(&'\n');
            return Some('\n');
        }
        Some(c)
    })
}

/// A character that both HTML and XML 1.0 allow: no control but tab and line feed, no non-character.
fn is_legal(c: char) -> bool {
    match c {
        '\t' | '\n' => true,
        '\u{FDD0}'..='\u{FDEF}' => false,
        _ => !c.is_control() && (c as u32 & 0xFFFE) != 0xFFFE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(with: fn(&mut String, &str), text: &str) -> String {
        let mut out = String::new();
        with(&mut out, text);
        out
    }

    #[test]
    fn markup_is_text() {
        let hostile = "<script>&amp;\"onload='x]]>";
        let expected = "&lt;script&gt;&amp;amp;&quot;onload=&#39;x]]&gt;";
        assert_eq!(escaped(html, hostile), expected);
        assert_eq!(escaped(xml, hostile), expected);
    }

    #[test]
    fn characters_that_cannot_be_there_are_replaced() {
        let illegal = "a\0\u{1B}\u{85}\u{FFFE}\u{FDD0}\u{1FFFF}b";
        for out in [escaped(html, illegal), escaped(xml, illegal), plain(illegal)] {
            assert_eq!(out, format!("a{}b", "\u{FFFD}".repeat(6)));
        }
        let bidi = "\u{202E}abc\u{2066}\u{200F}";
        assert_eq!(escaped(html, bidi), bidi, "bidirectional controls are text");
    }

    #[test]
    fn line_ends_survive() {
        assert_eq!(escaped(html, "a\r\nb\rc\nd\t"), "a\nb\nc\nd\t");
        assert_eq!(escaped(xml, "a\r\nb\t"), "a&#13;\nb\t");
        assert_eq!(plain("a\r\n\rb"), "a\n\nb");
    }
}
