//! ETag and If-None-Match (RFC 9110 §8.8.3, §13.1.2).

use core_render::{
    Cine, EncodedFrame, ImageAttributes, Limits, Mosaic, RENDERER_VERSION, RenderJob, Source, Tile,
    content,
};
use dicomweb_types::TransferSyntax;
use http::header::{self, HeaderMap};
use sha2::{Digest, Sha256};

/// A strong entity tag, quotes included.
///
/// It is a hash over all that decides the bytes of a picture: renderer, attributes and bytes of the frame, and
/// specification. So it is known before anything is decoded, and is the same however the frame was
/// fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ETag(String);

impl ETag {
    pub(crate) fn of(job: &RenderJob) -> Self {
        // What it may cost changes no picture. A new field must be thought about here.
        let RenderJob { source, spec, limits, labels, presentation } = job;
        let mut hash = Hash::new();
        hash.value(spec);
        hash.value(labels);
        hash.value(presentation);
        hash.source(source, limits);
        hash.tag()
    }

    /// The tag of a document, by its bytes.
    pub(crate) fn of_document(media_type: &str, bytes: &[u8]) -> Self {
        let mut hash = Hash::new();
        hash.field(media_type.as_bytes());
        hash.field(bytes);
        hash.tag()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

struct Hash(Sha256);

impl Hash {
    fn new() -> Self {
        let mut hash = Self(Sha256::new());
        hash.field(RENDERER_VERSION.as_bytes());
        hash
    }

    fn tag(self) -> ETag {
        // Half of SHA-256 is more than enough to tell pictures apart.
        let digest = self.0.finalize();
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        ETag(format!("\"{hex}\""))
    }

    fn source(&mut self, source: &Source, limits: &Limits) {
        match source {
            Source::File { bytes, frame } => match EncodedFrame::of_file(bytes, *frame, limits) {
                Ok(frame) => self.frame(&frame.attributes, &frame.transfer_syntax, &frame.bytes),
                // There will be no picture of it.
                Err(_) => self.field(bytes),
            },
            Source::Frame { attributes, transfer_syntax, bytes } => {
                self.frame(attributes, transfer_syntax, bytes);
            }
            Source::Tiles(mosaic) => {
                let Mosaic { attributes, canvas, tiles } = &**mosaic;
                self.attributes(attributes);
                self.value(canvas);
                for Tile { x, y, transfer_syntax, bytes } in tiles {
                    self.value(&(x, y));
                    self.field(transfer_syntax.uid().as_bytes());
                    self.field(bytes);
                }
            }
            Source::Cine(cine) => match &**cine {
                Cine::File { bytes, frames } => {
                    self.value(frames);
                    self.field(bytes);
                }
                Cine::Frames { frames, delays } => {
                    self.value(delays);
                    for EncodedFrame { attributes, transfer_syntax, bytes } in frames {
                        self.frame(attributes, transfer_syntax, bytes);
                    }
                }
            },
            Source::Card(card) => self.value(card),
        }
    }

    fn frame(&mut self, attributes: &ImageAttributes, syntax: &TransferSyntax, bytes: &[u8]) {
        self.attributes(attributes);
        // What archives make of cells in their memory's order, without a word.
        let syntax = match syntax {
            TransferSyntax::ImplicitLittleEndian => &TransferSyntax::ExplicitLittleEndian,
            other => other,
        };
        self.field(syntax.uid().as_bytes());
        self.field(content(attributes, syntax, bytes));
    }

    /// All but the warnings: files and metadata break different rules, which changes no pixel.
    fn attributes(&mut self, attributes: &ImageAttributes) {
        self.value(&ImageAttributes { warnings: Vec::new(), ..attributes.clone() });
    }

    /// Length first, so that no two lists of fields run into the same bytes.
    fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn value(&mut self, value: &impl serde::Serialize) {
        // Plain data always serialises; were it not so, equal tags would hide a change.
        match serde_json::to_vec(value) {
            Ok(json) => self.field(&json),
            Err(error) => self.field(error.to_string().as_bytes()),
        }
    }
}

/// What a client already holds, by `If-None-Match`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Held {
    /// These; none if the header is absent.
    Tags(Vec<String>),
    /// `*`: anything there is.
    Anything,
}

impl Held {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let mut tags = Vec::new();
        for value in headers.get_all(header::IF_NONE_MATCH) {
            let Ok(value) = value.to_str() else { continue };
            if value.trim() == "*" {
                return Self::Anything;
            }
            // Tags of ours hold no comma, so splitting at commas inside a foreign one does no harm.
            tags.extend(value.split(',').map(|tag| opaque(tag).to_owned()));
        }
        Self::Tags(tags)
    }

    /// Whether a tag may show that nothing has to be made.
    pub(crate) fn may_spare_work(&self) -> bool {
        matches!(self, Self::Tags(tags) if !tags.is_empty())
    }

    /// Whether what has `tag` need not be sent.
    pub(crate) fn is_held(&self, tag: &ETag) -> bool {
        *self == Self::Anything || self.names(tag)
    }

    /// Whether `tag` is among those held: a weak comparison, as If-None-Match wants it.
    pub(crate) fn names(&self, tag: &ETag) -> bool {
        match self {
            Self::Tags(tags) => tags.iter().any(|held| held == tag.as_str()),
            Self::Anything => false,
        }
    }
}

fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use core_render::{FrameChoice, Framing, Output, Overlays, RenderSpec};
    use serde_json::json;
    use wadors_client::Metadata;

    use super::*;

    fn spec() -> RenderSpec {
        RenderSpec { overlays: Overlays::Omit, ..RenderSpec::new(Framing::Native, Output::Png) }
    }

    fn frame(cells: &'static [u8], window: u32) -> Source {
        let us = |value: u32| json!({"vr": "US", "Value": [value]});
        let metadata = json!([{
            "00280002": us(1), "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]}, "00280010": us(1),
            "00280011": us(3), "00280100": us(8), "00280101": us(8), "00280102": us(7), "00280103": us(0),
            "00281050": {"vr": "DS", "Value": [40]}, "00281051": {"vr": "DS", "Value": [window]},
        }]);
        let dataset = Metadata::from_json(&metadata).unwrap().dataset;
        let number = dicomweb_types::FrameNumber::FIRST;
        Source::Frame {
            attributes: Box::new(ImageAttributes::of_frame(&dataset, number).unwrap()),
            transfer_syntax: TransferSyntax::ExplicitLittleEndian,
            bytes: Bytes::from_static(cells),
        }
    }

    fn broken(bytes: &'static str) -> Source {
        Source::File {
            bytes: Bytes::from_static(bytes.as_bytes()),
            frame: FrameChoice::Representative,
        }
    }

    fn tag_of(spec: &RenderSpec, source: &Source) -> ETag {
        ETag::of(&RenderJob::new(source.clone(), spec.clone(), Limits::default()))
    }

    fn held(values: &[&str]) -> Held {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_NONE_MATCH, value.parse().unwrap());
        }
        Held::from_headers(&headers)
    }

    #[test]
    fn whatever_changes_the_picture_changes_the_tag() {
        let source = frame(b"abc", 400);
        let tag = tag_of(&spec(), &source);
        assert_eq!(tag, tag_of(&spec(), &source));
        for spec in [
            RenderSpec { output: Output::Jpeg("90".parse().unwrap()), ..spec() },
            RenderSpec { output: Output::Jpeg("91".parse().unwrap()), ..spec() },
            RenderSpec { window: Some("1,2,linear".parse().unwrap()), ..spec() },
            RenderSpec { framing: Framing::Viewport("2,2".parse().unwrap()), ..spec() },
            RenderSpec { overlays: Overlays::Draw, ..spec() },
        ] {
            assert_ne!(tag, tag_of(&spec, &source), "{spec:?}");
        }
        for source in [frame(b"abd", 400), frame(b"abc", 401), broken("a"), broken("b")] {
            assert_ne!(tag, tag_of(&spec(), &source));
        }
    }

    #[test]
    fn padding_of_a_frame_changes_no_tag() {
        assert_eq!(tag_of(&spec(), &frame(b"abc", 400)), tag_of(&spec(), &frame(b"abc\0", 400)));
        assert_ne!(tag_of(&spec(), &frame(b"ab\0", 400)), tag_of(&spec(), &frame(b"ab", 400)));
    }

    #[test]
    fn tags_are_compared_weakly_and_in_lists() {
        let tag = tag_of(&spec(), &frame(b"abc", 400));
        let text = tag.as_str();
        for values in
            [vec![text], vec!["\"x\"", text], vec![&format!("\"x\" , W/{text},\"y\"")[..]]]
        {
            assert!(held(&values).names(&tag), "{values:?}");
        }
        for values in [vec![], vec!["\"x\""], vec![""], vec![text.trim_matches('"')]] {
            assert!(!held(&values).names(&tag), "{values:?}");
        }
        assert_eq!(held(&["*"]), Held::Anything);
    }
}
