//! What a picture is drawn from, as a hash: so that it is known before anything is decoded, is the same
//! however it was fetched, and is what a cache may go by.

use core_render::{
    Cine, EncodedFrame, ImageAttributes, Labels, Limits, Mosaic, Presentation, RENDERER_VERSION,
    RenderJob, RenderSpec, Source, Tile, content,
};
use dicomweb_types::TransferSyntax;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::conditional::ETag;

/// A hash over the attributes and bytes of a source, as far as they decide pixels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(crate) struct SourceHash([u8; 16]);

/// A hash over how a presentation state has an image.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(crate) struct StateHash([u8; 16]);

impl StateHash {
    pub(crate) fn of(presentation: &Presentation) -> Self {
        let mut hash = Hash::default();
        hash.value(presentation);
        Self(hash.half())
    }
}

/// All that decides the bytes of a picture.
#[derive(Clone, Copy)]
pub(crate) struct Fingerprint<'a> {
    pub(crate) source: SourceHash,
    pub(crate) spec: &'a RenderSpec,
    pub(crate) labels: Option<&'a Labels>,
    pub(crate) state: Option<StateHash>,
}

impl Fingerprint<'_> {
    pub(crate) fn tag(&self) -> ETag {
        let Self { source, spec, labels, state } = self;
        let mut hash = Hash::default();
        hash.field(RENDERER_VERSION.as_bytes());
        hash.value(spec);
        hash.value(labels);
        hash.value(state);
        hash.value(source);
        ETag::of_digest(&hash.half())
    }
}

/// What is told by the job of a picture.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) source: SourceHash,
    pub(crate) state: Option<StateHash>,
    pub(crate) tag: ETag,
    /// The one frame that it is drawn from, where it is one: of a file, all that is drawn of it.
    pub(crate) frame: Option<EncodedFrame>,
}

pub(crate) fn told(job: &RenderJob) -> Told {
    // What it may cost changes no picture. A new field must be thought about here.
    let RenderJob { source, spec, limits, labels, presentation } = job;
    let frame = one_frame(source, limits);
    let mut hash = Hash::default();
    match &frame {
        Some(frame) => hash.frame(&frame.attributes, &frame.transfer_syntax, &frame.bytes),
        None => hash.source(source),
    }
    let source = SourceHash(hash.half());
    let state = presentation.as_deref().map(StateHash::of);
    let tag = Fingerprint { source, spec, labels: labels.as_ref(), state }.tag();
    Told { source, state, tag, frame: frame.filter(|frame| !frame.transfer_syntax.is_video()) }
}

fn one_frame(source: &Source, limits: &Limits) -> Option<EncodedFrame> {
    match source {
        // Where it fails there will be no picture.
        Source::File { bytes, frame } => EncodedFrame::of_file(bytes, *frame, limits).ok(),
        Source::Frame { attributes, transfer_syntax, bytes } => Some(EncodedFrame {
            attributes: (**attributes).clone(),
            transfer_syntax: transfer_syntax.clone(),
            bytes: bytes.clone(),
        }),
        Source::Tiles(_) | Source::Cine(_) | Source::Card(_) => None,
    }
}

/// The tag of a document, by its bytes.
pub(crate) fn of_document(media_type: &str, bytes: &[u8]) -> ETag {
    let mut hash = Hash::default();
    hash.field(RENDERER_VERSION.as_bytes());
    hash.field(media_type.as_bytes());
    hash.field(bytes);
    ETag::of_digest(&hash.half())
}

#[derive(Default)]
struct Hash(Sha256);

impl Hash {
    /// Half of SHA-256 is more than enough to tell pictures apart.
    fn half(self) -> [u8; 16] {
        let digest = self.0.finalize();
        std::array::from_fn(|place| digest[place])
    }

    /// Of a source that is not one frame.
    fn source(&mut self, source: &Source) {
        match source {
            Source::File { bytes, .. } | Source::Frame { bytes, .. } => self.field(bytes),
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
        let content = content(attributes, syntax, bytes);
        // What archives make of cells, without a word: those of a file in their memory's order.
        match (syntax, attributes.bits_allocated) {
            (TransferSyntax::ExplicitBigEndian, bits @ (16 | 32 | 64)) => {
                let cells = content.chunks(usize::from(bits) / 8);
                let turned: Vec<u8> = cells.flat_map(|cell| cell.iter().rev().copied()).collect();
                self.field(TransferSyntax::ExplicitLittleEndian.uid().as_bytes());
                self.field(&turned);
            }
            (
                TransferSyntax::ImplicitLittleEndian | TransferSyntax::DeflatedExplicitLittleEndian,
                _,
            ) => {
                self.field(TransferSyntax::ExplicitLittleEndian.uid().as_bytes());
                self.field(content);
            }
            _ => {
                self.field(syntax.uid().as_bytes());
                self.field(content);
            }
        }
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

    fn value(&mut self, value: &impl Serialize) {
        // Plain data always serialises; were it not so, equal tags would hide a change.
        match postcard::to_allocvec(value) {
            Ok(bytes) => self.field(&bytes),
            Err(error) => self.field(error.to_string().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use core_render::{BurnedIn, FrameChoice, Framing, Output, Overlays, RenderSpec};
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
        told(&RenderJob::new(source.clone(), spec.clone(), Limits::default())).tag
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
            RenderSpec { burned_in: BurnedIn::Pixelate, ..spec() },
            RenderSpec { burned_in: BurnedIn::Icon, ..spec() },
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
}
