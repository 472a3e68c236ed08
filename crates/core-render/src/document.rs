//! Encapsulated documents (PS3.3 A.45, C.24.2): the stored bytes and what they are.

use bytes::Bytes;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicomweb_types::{DocumentType, MediaRange};

use crate::dataset::{integer, text};
use crate::error::{RenderError, Result};
use crate::limits::Limits;
use crate::part10::{self, DicomFile};

/// The mark of a PDF stands within so many bytes (ISO 32000-1, note in H.3.3.2 of its annex H).
const PDF_START: usize = 1024;

/// Where an XML declaration names its encoding, if it does.
const XML_START: usize = 256;

/// A document that is stored in a DICOM object.
///
/// It is as its author made it. A browser runs scripts of XML and PDF: whoever sends it sends
/// `Content-Security-Policy: sandbox` with it.
#[derive(Clone, Debug, PartialEq)]
pub struct EncapsulatedDocument {
    /// What it is, by its own word and its first bytes.
    pub media_type: DocumentType,
    /// The document without the padding of its element: a part of the file, not a copy.
    pub bytes: Bytes,
}

impl EncapsulatedDocument {
    /// The document in a file; `None` where Encapsulated Document (0042,0011) is absent or empty.
    ///
    /// # Errors
    /// [`RenderError::Unsupported`] where it is of a type that is not served: HTML, images, anything
    /// that is not a PDF, XML or a model. [`RenderError::Damaged`] where it is not what it says
    /// it is; and whatever is wrong with the file.
    pub fn open(file: &Bytes, limits: &Limits) -> Result<Option<Self>> {
        let DicomFile { dataset, document, .. } = part10::read(file, limits)?;
        let Some(value) = document.filter(|value| !value.is_empty()) else { return Ok(None) };
        let media_type = stored_type(&dataset)?;
        let bytes = without_padding(value, media_type, &dataset);
        check(media_type, &bytes)?;
        Ok(Some(Self { media_type, bytes }))
    }

    /// The value of a `Content-Type` header. An XML document names its character set itself, and it
    /// is what this says.
    pub fn content_type(&self) -> String {
        match self.media_type {
            DocumentType::Xml => format!("text/xml; charset={}", xml_encoding(&self.bytes)),
            other => other.content_type().to_owned(),
        }
    }
}

/// MIME Type of Encapsulated Document (0042,0012), else what the SOP class says.
fn stored_type(dataset: &InMemDicomObject) -> Result<DocumentType> {
    use DocumentType::*;
    let unsupported = || RenderError::unsupported("a document of this type");
    if let Some(named) = text(dataset, tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT) {
        let essence = MediaRange::parse(&named).ok_or_else(unsupported)?.essence();
        return match DocumentType::from_name(&essence) {
            Some(found @ (Pdf | Xml | Stl | Obj | Mtl)) => Ok(found),
            // Hypertext of a stranger would run with the rights of this host.
            Some(Html | PlainText | Mp4 | Mpeg) | None => Err(unsupported()),
        };
    }
    match text(dataset, tags::SOP_CLASS_UID).as_deref() {
        Some(uids::ENCAPSULATED_PDF_STORAGE) => Ok(Pdf),
        Some(uids::ENCAPSULATED_CDA_STORAGE) => Ok(Xml),
        Some(uids::ENCAPSULATED_STL_STORAGE) => Ok(Stl),
        Some(uids::ENCAPSULATED_OBJ_STORAGE) => Ok(Obj),
        Some(uids::ENCAPSULATED_MTL_STORAGE) => Ok(Mtl),
        _ => Err(unsupported()),
    }
}

/// Values have even length, so the last byte may not be the document's. Encapsulated Document Length
/// (0042,0015) says so, or the document's own end. A length that is off by more than padding is wrong.
fn without_padding(value: Bytes, media_type: DocumentType, dataset: &InMemDicomObject) -> Bytes {
    let declared = integer(dataset, tags::ENCAPSULATED_DOCUMENT_LENGTH);
    let padded = match declared.map(|length| value.len() as i64 - length) {
        Some(0) => false,
        Some(1) => true,
        _ => value.last() == Some(&0) && ends_before(&value[..value.len() - 1], media_type),
    };
    if padded { value.slice(..value.len() - 1) } else { value }
}

/// Whether a document that is followed by a NUL is complete without it.
fn ends_before(bytes: &[u8], media_type: DocumentType) -> bool {
    let trimmed = bytes.trim_ascii_end();
    match media_type {
        DocumentType::Pdf => trimmed.ends_with(b"%%EOF"),
        // In UTF-16 the last byte of `>` may be a NUL that belongs to it.
        DocumentType::Xml => trimmed.ends_with(b">") && !trimmed.ends_with(b"\0>"),
        DocumentType::Stl => is_binary_stl(bytes) || trimmed.starts_with(b"solid"),
        DocumentType::Obj | DocumentType::Mtl => true,
        DocumentType::Html | DocumentType::PlainText | DocumentType::Mp4 | DocumentType::Mpeg => {
            false
        }
    }
}

/// Whether the bytes can be what they are said to be.
fn check(media_type: DocumentType, bytes: &[u8]) -> Result<()> {
    let holds = match media_type {
        DocumentType::Pdf => {
            let start = &bytes[..bytes.len().min(PDF_START)];
            start.windows(5).any(|window| window == b"%PDF-")
        }
        DocumentType::Xml => is_xml(bytes),
        DocumentType::Stl => bytes.starts_with(b"solid") || bytes.len() >= 84,
        DocumentType::Obj | DocumentType::Mtl => !bytes.contains(&0),
        DocumentType::Html | DocumentType::PlainText | DocumentType::Mp4 | DocumentType::Mpeg => {
            false
        }
    };
    if holds {
        return Ok(());
    }
    Err(RenderError::damaged(format!("the encapsulated document is no {media_type}")))
}

/// 80 bytes of anything, the number of triangles, and 50 bytes for each.
fn is_binary_stl(bytes: &[u8]) -> bool {
    let triangles = bytes.get(80..84).and_then(|count| count.try_into().ok());
    triangles.map(u32::from_le_bytes).is_some_and(|n| bytes.len() as u64 == 84 + 50 * u64::from(n))
}

const UTF_8_MARK: &[u8] = &[0xEF, 0xBB, 0xBF];

fn is_xml(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(UTF_8_MARK).unwrap_or(bytes).trim_ascii_start();
    text.starts_with(b"<") || utf_16(bytes)
}

fn utf_16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xFF, 0xFE, b'<', 0, ..] | [0xFE, 0xFF, 0, b'<', ..])
}

/// The encoding of an XML document (XML 1.0 §4.3.3): its mark, its declaration, else UTF-8.
fn xml_encoding(bytes: &[u8]) -> String {
    if utf_16(bytes) {
        return "utf-16".to_owned();
    }
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(XML_START)]);
    let start = start.trim_start_matches(['\u{FEFF}', ' ', '\t', '\r', '\n']);
    declared_encoding(start).unwrap_or("utf-8").to_ascii_lowercase()
}

fn declared_encoding(start: &str) -> Option<&str> {
    let declaration = start.strip_prefix("<?xml")?.split_once("?>")?.0;
    let value = declaration.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let name = value[1..].split(quote).next()?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(legal)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part10::tests::{element, file};

    const PDF: &[u8] = b"%PDF-1.4\n1 0 obj\n%%EOF\n";

    fn stored(name: &str, document: &[u8], length: Option<u32>) -> Bytes {
        let mut name = name.as_bytes().to_vec();
        name.resize(name.len().next_multiple_of(2), b' ');
        let mut elements =
            vec![element(0x42, 0x11, b"OB", document), element(0x42, 0x12, b"LO", &name)];
        elements.extend(length.map(|n| element(0x42, 0x15, b"UL", &n.to_le_bytes())));
        file(&elements)
    }

    fn open(name: &str, document: &[u8]) -> Result<Option<EncapsulatedDocument>> {
        EncapsulatedDocument::open(&stored(name, document, None), &Limits::default())
    }

    #[test]
    fn a_pdf_is_a_part_of_the_file_without_its_padding() {
        let file = stored("application/pdf", &[PDF, b"\0"].concat(), None);
        let document = EncapsulatedDocument::open(&file, &Limits::default()).unwrap().unwrap();
        assert_eq!((document.media_type, document.bytes.as_ref()), (DocumentType::Pdf, PDF));
        assert!(file.as_ptr_range().contains(&document.bytes.as_ptr()), "no copy");
        assert_eq!(document.content_type(), "application/pdf");
    }

    #[test]
    fn the_length_says_what_is_padding_unless_it_is_wrong() {
        let ends_in_nul = b"%PDF-1.4 and then \0\0";
        let size = |length| {
            let file = stored("application/pdf", ends_in_nul, length);
            let document = EncapsulatedDocument::open(&file, &Limits::default()).unwrap().unwrap();
            document.bytes.len()
        };
        assert_eq!([size(Some(20)), size(Some(19)), size(None)], [20, 19, 20]);
        assert_eq!([size(Some(5)), size(Some(4_000_000_000))], [20, 20]);
    }

    #[test]
    fn what_is_not_what_it_says_is_damaged() {
        let wrong = [
            ("application/pdf", &b"<html><script>"[..]),
            ("text/xml", b"%PDF-1.4"),
            ("model/stl", b"triangles"),
            ("model/obj", b"v 0 0 0\0\x01"),
        ];
        for (name, document) in wrong {
            let result = open(name, document);
            assert!(matches!(result, Err(RenderError::Damaged { .. })), "{name} {result:?}");
        }
        let late = [&[b' '; 1000][..], PDF].concat();
        assert!(open("application/pdf", &late).is_ok(), "within the first 1024 bytes");
        assert!(open("application/pdf", &[&[b' '; 1024][..], PDF].concat()).is_err());
    }

    #[test]
    fn types_that_a_browser_would_run_are_not_served() {
        for name in
            ["text/html", "image/svg+xml", "application/octet-stream", "text/plain", "nonsense"]
        {
            let result = open(name, b"<script>");
            assert!(matches!(result, Err(RenderError::Unsupported { .. })), "{name} {result:?}");
        }
    }

    #[test]
    fn names_of_old_and_without_a_name_the_class_say_the_type() {
        let kind = |name, document: &[u8]| open(name, document).unwrap().unwrap().media_type;
        assert_eq!(kind("application/sla", b"solid x "), DocumentType::Stl);
        assert_eq!(kind("Application/XML; charset=x", b"<ClinicalDocument/>"), DocumentType::Xml);
        let unnamed = file(&[
            element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.104.1\0"),
            element(0x42, 0x11, b"OB", PDF),
        ]);
        let found = EncapsulatedDocument::open(&unnamed, &Limits::default()).unwrap().unwrap();
        assert_eq!(found.media_type, DocumentType::Pdf);
    }

    #[test]
    fn objects_without_a_document_have_none() {
        let image = file(&[element(0x28, 0x10, b"US", &[2, 0])]);
        assert_eq!(EncapsulatedDocument::open(&image, &Limits::default()).unwrap(), None);
    }

    #[test]
    fn binary_models_end_where_their_triangles_do() {
        let mut model = vec![7; 80];
        model.extend(1_u32.to_le_bytes());
        model.extend([0; 51]);
        let document = open("model/stl", &model[..134]).unwrap().unwrap();
        assert_eq!(document.bytes.len(), 134, "the last triangle may end in zeros");
        model.push(0);
        assert_eq!(
            open("model/stl", &model).unwrap().unwrap().bytes.len(),
            136,
            "more than padding"
        );
    }

    #[test]
    fn xml_keeps_its_own_character_set() {
        let charset = |document: &[u8]| open("text/xml", document).unwrap().unwrap().content_type();
        let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><a/>\n";
        assert_eq!(charset(latin), "text/xml; charset=iso-8859-1");
        assert_eq!(charset(b"<a/>"), "text/xml; charset=utf-8");
        let hostile = b"<?xml encoding=\"x\r\nSet-Cookie: y\"?><a/>";
        assert_eq!(charset(hostile), "text/xml; charset=utf-8");
        let wide: Vec<u8> = "\u{FEFF}<a/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(charset(&wide), "text/xml; charset=utf-16");
        assert_eq!(open("text/xml", &wide).unwrap().unwrap().bytes.len(), wide.len());
    }
}
