//! Base64 (RFC 4648), as archives write it: either alphabet, lines broken, padding or none.

/// The bytes, or `None` where a character is of neither alphabet or the end is cut off.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let mut pending = 0u32;
    let mut digits = 0u32;
    for character in text.bytes() {
        if character == b'=' {
            break;
        }
        if character.is_ascii_whitespace() {
            continue;
        }
        pending = (pending << 6) | sextet(character)?;
        digits = (digits + 1) % 4;
        if digits == 0 {
            bytes.extend_from_slice(&pending.to_be_bytes()[1..]);
            pending = 0;
        }
    }
    match digits {
        0 => {}
        2 => bytes.push((pending >> 4) as u8),
        3 => bytes.extend_from_slice(&((pending >> 2) as u16).to_be_bytes()),
        _ => return None,
    }
    Some(bytes)
}

fn sextet(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_decode() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text}");
            assert_eq!(decode(text.trim_end_matches('=')).as_deref(), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn line_breaks_and_the_url_alphabet_are_read() {
        assert_eq!(decode("-_\r\n/+ A\nA==").as_deref(), Some(&b"\xfb\xff\xfe\x00"[..]));
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in ["A", "AAAAA", "Zm9*", "Zm\u{e9}v"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
