//! Media types as they stand in HTTP headers, and the ones pictures are sent as.
//!
//! Archives and viewers write `Content-Type` and `Accept` loosely: unquoted `type=application/dicom`,
//! parameters inside the quotes, stray semicolons. [`MediaRange::parse`] reads what they mean.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a picture is sent as.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum MediaType {
    /// `image/jpeg`: 8-bit baseline sequential Huffman (PS3.18 §8.7.3.3.2).
    Jpeg,
    /// `image/png`.
    Png,
    /// `image/gif`, of one frame or of several.
    Gif,
    /// `image/webp`, of one frame or of several.
    WebP,
    /// `image/jp2`.
    Jp2,
}

impl MediaType {
    /// Every type, the default of a single frame first (PS3.18 Table 8.7.4-1).
    pub const ALL: [Self; 5] = [Self::Jpeg, Self::Png, Self::Gif, Self::WebP, Self::Jp2];

    /// The name as it stands in a header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
            Self::Jp2 => "image/jp2",
        }
    }

    /// The type a file ending stands for, in any case: `jpg`, `jpeg`, `png`, `gif`, `webp` or `jp2`.
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "png" => Some(Self::Png),
            "gif" => Some(Self::Gif),
            "webp" => Some(Self::WebP),
            "jp2" => Some(Self::Jp2),
            _ => None,
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One media type or range with its parameters, from an `Accept` or `Content-Type` header.
///
/// Type, subtype and parameter names are lower case; values are as written, without quotes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MediaRange {
    /// `image` of `image/jpeg`; `*` in a wildcard.
    pub main: String,
    /// `jpeg` of `image/jpeg`; `*` in a wildcard.
    pub sub: String,
    /// Name and value of each parameter, in order.
    pub parameters: Vec<(String, String)>,
}

impl MediaRange {
    /// Reads one media range, tolerantly. `None` where there is no `type/subtype` at all.
    ///
    /// Parameters hidden inside a quoted `type`, as Orthanc writes them
    /// (`type="image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90"`), come out as parameters of their
    /// own after it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut pieces = split_outside_quotes(text, ';');
        let (main, sub) = pieces.next()?.trim().split_once('/')?;
        let (main, sub) = (main.trim().to_ascii_lowercase(), sub.trim().to_ascii_lowercase());
        if main.is_empty() || sub.is_empty() || !is_token(&main) || !is_token(&sub) {
            return None;
        }
        let mut parameters = Vec::new();
        for piece in pieces {
            if let Some((name, value)) = parameter(piece) {
                push_with_hidden(&mut parameters, name, value);
            }
        }
        Some(Self { main, sub, parameters })
    }

    /// The first parameter of this name (lower case).
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// `type/subtype` without parameters.
    pub fn essence(&self) -> String {
        format!("{}/{}", self.main, self.sub)
    }

    /// Whether this is exactly `main/sub`.
    pub fn is(&self, essence: &str) -> bool {
        essence.split_once('/').is_some_and(|(main, sub)| self.main == main && self.sub == sub)
    }

    /// Whether a payload of type `essence` falls into this range; `*` matches anything.
    pub fn accepts(&self, essence: &str) -> bool {
        essence.split_once('/').is_some_and(|(main, sub)| {
            (self.main == "*" || self.main == main) && (self.sub == "*" || self.sub == sub)
        })
    }

    /// How exactly the range names `essence`: 0 for `*/*`, 1 for `image/*`, 2 for the type itself.
    pub fn specificity(&self) -> u8 {
        match (self.main.as_str(), self.sub.as_str()) {
            ("*", _) => 0,
            (_, "*") => 1,
            _ => 2,
        }
    }

    /// The weight `q`, 0 to 1; 1 where it is absent or unreadable (RFC 9110 §12.4.2).
    pub fn weight(&self) -> f32 {
        self.parameter("q")
            .and_then(|q| q.parse::<f32>().ok())
            .filter(|q| (0.0..=1.0).contains(q))
            .unwrap_or(1.0)
    }
}

/// Splits a header that holds a list at its commas, not at those inside quotes.
pub fn split_list(header: &str) -> impl Iterator<Item = &str> {
    split_outside_quotes(header, ',').map(str::trim).filter(|item| !item.is_empty())
}

fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |c: char| {
        let here = c == separator && !quoted;
        if escaped {
            escaped = false;
        } else if c == '\\' && quoted {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        }
        here
    })
}

fn is_token(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn parameter(piece: &str) -> Option<(String, String)> {
    let (name, value) = piece.split_once('=')?;
    Some((name.trim().to_ascii_lowercase(), unquote(value.trim())))
}

/// Strips double quotes with their escapes, or the single quotes that some servers write.
fn unquote(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')) {
        return inner.to_owned();
    }
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

fn push_with_hidden(parameters: &mut Vec<(String, String)>, name: String, value: String) {
    if name == "type"
        && let Some((outer, hidden)) = value.split_once(';')
    {
        parameters.push((name, outer.trim().to_owned()));
        parameters.extend(hidden.split(';').filter_map(parameter));
        return;
    }
    parameters.push((name, value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> MediaRange {
        MediaRange::parse(text).unwrap_or_else(|| panic!("{text:?} is a media range"))
    }

    #[test]
    fn parameters_are_read_quoted_and_not() {
        for text in [
            r#"multipart/related; type="application/dicom"; transfer-syntax=*"#,
            r#"Multipart/Related;Type=application/dicom;transfer-syntax="*";"#,
            r#"multipart/related; type='application/dicom'; transfer-syntax = *"#,
        ] {
            let read = range(text);
            assert!(read.is("multipart/related"), "{text}");
            assert_eq!(read.parameter("type"), Some("application/dicom"), "{text}");
            assert_eq!(read.parameter("transfer-syntax"), Some("*"), "{text}");
        }
    }

    #[test]
    fn a_syntax_inside_the_quoted_type_comes_out() {
        let read = range(
            r#"multipart/related; type="image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90"; boundary=a=b"#,
        );
        assert_eq!(read.parameter("type"), Some("image/jp2"));
        assert_eq!(read.parameter("transfer-syntax"), Some("1.2.840.10008.1.2.4.90"));
        assert_eq!(read.parameter("boundary"), Some("a=b"));
    }

    #[test]
    fn separators_inside_quotes_do_not_split() {
        let items: Vec<_> = split_list(r#"a/b;x="1,2;\"3", c/d , ,"#).collect();
        assert_eq!(items, [r#"a/b;x="1,2;\"3""#, "c/d"]);
        assert_eq!(range(items[0]).parameter("x"), Some(r#"1,2;"3"#));
    }

    #[test]
    fn wildcards_accept_by_specificity() {
        assert!(range("*/*").accepts("image/png"));
        assert!(range("image/*").accepts("image/png"));
        assert!(!range("image/*").accepts("text/html"));
        assert_eq!(["*/*", "image/*", "image/png"].map(|t| range(t).specificity()), [0, 1, 2]);
    }

    #[test]
    fn weights_outside_the_grammar_count_as_one() {
        for (text, weight) in [("a/b", 1.0), ("a/b;q=0.5", 0.5), ("a/b;q=7", 1.0), ("a/b;q=x", 1.0)]
        {
            assert_eq!(range(text).weight(), weight, "{text}");
        }
    }

    #[test]
    fn what_has_no_type_is_no_media_range() {
        for text in ["", "jpeg", "/jpeg", "image/", "ima ge/jpeg", ";q=1"] {
            assert_eq!(MediaRange::parse(text), None, "{text:?}");
        }
    }
}
