//! What is rendered that is no picture.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a report, an encapsulated document or a video is sent as (PS3.18 Table 8.7.4-1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum DocumentType {
    /// `text/html`.
    Html,
    /// `text/plain`.
    PlainText,
    /// `text/xml`.
    Xml,
    /// `application/pdf`.
    Pdf,
    /// `model/stl`.
    Stl,
    /// `model/obj`.
    Obj,
    /// `model/mtl`.
    Mtl,
    /// `video/mp4`.
    Mp4,
    /// `video/mpeg`.
    Mpeg,
}

impl DocumentType {
    /// Every type; of text the default first.
    pub const ALL: [Self; 9] = [
        Self::Html,
        Self::PlainText,
        Self::Xml,
        Self::Pdf,
        Self::Stl,
        Self::Obj,
        Self::Mtl,
        Self::Mp4,
        Self::Mpeg,
    ];

    /// The name without parameters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Html => "text/html",
            Self::PlainText => "text/plain",
            Self::Xml => "text/xml",
            Self::Pdf => "application/pdf",
            Self::Stl => "model/stl",
            Self::Obj => "model/obj",
            Self::Mtl => "model/mtl",
            Self::Mp4 => "video/mp4",
            Self::Mpeg => "video/mpeg",
        }
    }

    /// The value of a `Content-Type` header: text is in UTF-8 and says so (PS3.18 §8.8.5). That holds for
    /// what is made here; a stored document may be in another character set.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::PlainText => "text/plain; charset=utf-8",
            Self::Xml => "text/xml; charset=utf-8",
            other => other.as_str(),
        }
    }

    /// The type of a name as it stands in MIME Type of Encapsulated Document (0042,0012) or in a header,
    /// in any case, without parameters; `application/xml` and `application/sla` are other names of two.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "application/xml" => Some(Self::Xml),
            "application/sla" => Some(Self::Stl),
            name => Self::ALL.into_iter().find(|document_type| document_type.as_str() == name),
        }
    }

    /// The type a file ending stands for, in any case.
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "html" | "htm" => Some(Self::Html),
            "txt" => Some(Self::PlainText),
            "xml" => Some(Self::Xml),
            "pdf" => Some(Self::Pdf),
            "stl" => Some(Self::Stl),
            "obj" => Some(Self::Obj),
            "mtl" => Some(Self::Mtl),
            "mp4" => Some(Self::Mp4),
            "mpg" | "mpeg" => Some(Self::Mpeg),
            _ => None,
        }
    }
}

impl fmt::Display for DocumentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_endings_are_of_one_type_each() {
        for document_type in DocumentType::ALL {
            assert_eq!(DocumentType::from_name(document_type.as_str()), Some(document_type));
            assert!(document_type.content_type().starts_with(document_type.as_str()));
        }
        assert_eq!(DocumentType::from_name("Application/XML"), Some(DocumentType::Xml));
        assert_eq!(DocumentType::from_name("application/octet-stream"), None);
        assert_eq!(DocumentType::from_extension("HTM"), Some(DocumentType::Html));
        assert_eq!(DocumentType::from_extension("png"), None);
    }

    #[test]
    fn text_names_its_character_set_and_nothing_else_does() {
        for document_type in DocumentType::ALL {
            let is_text = document_type.as_str().starts_with("text/");
            assert_eq!(document_type.content_type().ends_with("; charset=utf-8"), is_text);
        }
    }
}
