//! What a picture is drawn from, fetched with as few round trips and bytes as it can be.
//!
//! - An instance is fetched whole where it is small, as most are: one round trip, and the file knows
//!   everything about itself. A large one (multi-frame, mostly) gives its metadata and one frame.
//! - A frame is asked for together with the metadata, at the same time.
//! - Lookup tables, palettes, profiles and overlays that the metadata name by URI are fetched too.
//! - A slide that is tiled takes its own way (`slide`): a preview, or tiles.
//! - Where an archive does not give frames, or not enough beside them, the whole object is fetched
//!   after all (R7.8), bounded by `max_source_bytes`.

use bytes::Bytes;
use core_render::{
    FrameChoice, Framing, ImageAttributes, Limits, RenderError, Slide, SlideFile, Source,
    frames_cannot_be_cut, number_of_frames, representative_frame,
};
use dicomweb_types::{FrameNumber, InstancePath};
use wadors_client::{
    BulkDataRef, Caller, Client, Frame, InstanceAnswer, Metadata, SizeLimit, UpstreamError,
};

use crate::plan::Plan;
use crate::route::Kind;
use crate::slide::{self, Image};

/// Up to here a whole instance is cheaper than two calls about it.
pub(crate) const SMALL: u64 = 32 << 20;

/// Lookup tables, profiles and overlay planes named by URI: more or larger ones are cheaper within the
/// object itself.
const MOST_TABLES: usize = 16;
const LARGEST_TABLE: u64 = 8 << 20;

/// Why there is nothing to draw from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The metadata already tell that there will be no picture.
    #[error(transparent)]
    Render(#[from] RenderError),
}

pub(crate) type Result<T> = std::result::Result<T, SourceError>;

/// Fetches what `plan` draws, on behalf of `caller`.
pub(crate) async fn fetch(
    client: &Client,
    plan: &Plan,
    limits: Limits,
    caller: &Caller,
) -> Result<Source> {
    let Plan { resource, spec } = plan;
    let (kind, framing, path) = (resource.kind, spec.framing, &resource.instance);
    let fetch = Fetch { client, path, caller, kind, framing, limits };
    match resource.frame {
        None => fetch.representative().await,
        Some(frame) => fetch.frame(frame).await,
    }
}

/// What is wanted of one instance.
#[derive(Clone, Copy)]
pub(crate) struct Fetch<'a> {
    pub(crate) client: &'a Client,
    pub(crate) path: &'a InstancePath,
    pub(crate) caller: &'a Caller,
    pub(crate) kind: Kind,
    pub(crate) framing: Framing,
    pub(crate) limits: Limits,
}

impl Fetch<'_> {
    async fn representative(&self) -> Result<Source> {
        let size = SizeLimit::Bytes(SMALL);
        if let InstanceAnswer::Whole(bytes) =
            self.client.instance(self.path, self.caller, size).await?
        {
            return self.of_file(bytes).await;
        }
        let Ok(metadata) = self.client.metadata(self.path, self.caller).await else {
            return self.of_file(self.whole().await?).await;
        };
        match Slide::of(&metadata.dataset) {
            Some(slide) => slide::source(self, Image::described(self.path, slide, metadata)).await,
            None => self.described(metadata).await,
        }
    }

    async fn of_file(&self, bytes: Bytes) -> Result<Source> {
        match SlideFile::open(&bytes, &self.limits)? {
            Some(file) => slide::source(self, Image::in_hand(self.path, file, bytes)).await,
            None => Ok(Source::File { bytes, frame: FrameChoice::Representative }),
        }
    }

    /// The representative frame of an instance whose metadata are known.
    pub(crate) async fn described(&self, metadata: Metadata) -> Result<Source> {
        let frame = representative_frame(&metadata.dataset);
        let pixels = self.client.frame(self.path, frame, self.caller).await;
        match assemble(Ok(self.complete(metadata).await), pixels, frame)? {
            Some(source) => Ok(source),
            None => {
                let bytes = self.whole().await?;
                Ok(Source::File { bytes, frame: FrameChoice::Representative })
            }
        }
    }

    async fn frame(&self, frame: FrameNumber) -> Result<Source> {
        let (metadata, pixels) = tokio::join!(
            self.client.metadata(self.path, self.caller),
            self.client.frame(self.path, frame, self.caller),
        );
        let metadata = match metadata {
            Ok(metadata) => {
                self.may_show(Slide::of(&metadata.dataset).as_ref())?;
                Ok(self.complete(metadata).await)
            }
            Err(error) => Err(error),
        };
        match assemble(metadata, pixels, frame)? {
            Some(source) => Ok(source),
            None => {
                let bytes = self.whole().await?;
                let slide = SlideFile::open(&bytes, &self.limits)?;
                self.may_show(slide.as_ref().map(SlideFile::slide))?;
                Ok(Source::File { bytes, frame: FrameChoice::Number(frame) })
            }
        }
    }

    /// R1.11: a thumbnail never shows the label of a slide.
    pub(crate) fn may_show(&self, slide: Option<&Slide>) -> Result<()> {
        if self.kind == Kind::Thumbnail && slide.is_some_and(Slide::shows_label) {
            return Err(RenderError::ShowsLabel.into());
        }
        Ok(())
    }

    /// Fetches what the metadata only point at, as far as it changes the picture. What cannot be had
    /// stays on their list.
    pub(crate) async fn complete(&self, mut metadata: Metadata) -> Metadata {
        let wanted: Vec<_> = metadata.bulk.iter().filter(|bulk| is_table(bulk)).cloned().collect();
        for reference in wanted.iter().take(MOST_TABLES) {
            let bulk = self.client.bulk_data(self.path, reference, self.caller, LARGEST_TABLE);
            match bulk.await {
                Ok(bytes) => metadata.fill(reference, bytes),
                Err(error) => tracing::debug!(kind = error.kind(), "no bulk data"),
            }
        }
        metadata
    }

    /// The whole object, whatever its size.
    pub(crate) async fn whole(&self) -> Result<Bytes> {
        match self.client.instance(self.path, self.caller, SizeLimit::None).await? {
            InstanceAnswer::Whole(bytes) => Ok(bytes),
            InstanceAnswer::LargerThan(limit) => Err(UpstreamError::TooLarge { limit }.into()),
        }
    }
}

/// Metadata and a frame → a source; `None` where they do not suffice and the whole object may.
fn assemble(
    metadata: std::result::Result<Metadata, UpstreamError>,
    pixels: std::result::Result<Frame, UpstreamError>,
    frame: FrameNumber,
) -> Result<Option<Source>> {
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(error) if error.is_absent() || is_final(&error) => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    let attributes = match ImageAttributes::of_frame(&metadata.dataset, frame) {
        Ok(attributes) => attributes,
        Err(RenderError::NotAnImage) => return Err(RenderError::NotAnImage.into()),
        // Some archives leave attributes out of their metadata; the file has them.
        Err(_) => return Ok(None),
    };
    let pixels = match pixels {
        Ok(pixels) => pixels,
        Err(error) if is_final(&error) => return Err(error.into()),
        // Archives answer a frame that does not exist with 400, 404 or 500 (Orthanc: 400).
        Err(_) => {
            let frames = number_of_frames(&metadata.dataset);
            if frame.get() > frames {
                return Err(RenderError::FrameOutOfRange { frame, frames }.into());
            }
            return Ok(None);
        }
    };
    let incomplete =
        metadata.bulk.iter().any(decides_pixels) || frames_cannot_be_cut(&metadata.dataset);
    let Some(transfer_syntax) = pixels.transfer_syntax.filter(|_| !incomplete) else {
        return Ok(None);
    };
    let attributes = Box::new(attributes);
    Ok(Some(Source::Frame { attributes, transfer_syntax, bytes: pixels.bytes }))
}

/// Whether asking for the whole object instead would end no better.
pub(crate) fn is_final(error: &UpstreamError) -> bool {
    error.is_denied() || error.is_transient() || matches!(error, UpstreamError::TooLarge { .. })
}

/// Whether a value that the metadata only point at changes the picture.
fn decides_pixels(bulk: &BulkDataRef) -> bool {
    // Pixel data in floating point: archives cut no frames of these.
    is_table(bulk) || matches!((bulk.tag.group(), bulk.tag.element()), (0x7FE0, 0x0008 | 0x0009))
}

/// Lookup tables, palettes, the ICC profile, overlay planes.
pub(crate) fn is_table(bulk: &BulkDataRef) -> bool {
    let element = bulk.tag.element();
    match bulk.tag.group() {
        0x0028 => matches!(element, 0x2000 | 0x3006 | 0x1201..=0x1203 | 0x1221..=0x1223),
        0x6000..=0x60FF => element == 0x3000,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use dicomweb_types::TransferSyntax;
    use serde_json::{Value, json};

    use super::*;

    fn metadata(extra: Value) -> std::result::Result<Metadata, UpstreamError> {
        let mut object = json!({
            "00280002": {"vr": "US", "Value": [1]},
            "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
            "00280008": {"vr": "IS", "Value": [3]},
            "00280010": {"vr": "US", "Value": [2]},
            "00280011": {"vr": "US", "Value": [2]},
            "00280100": {"vr": "US", "Value": [8]},
            "00280101": {"vr": "US", "Value": [8]},
            "00280102": {"vr": "US", "Value": [7]},
            "00280103": {"vr": "US", "Value": [0]},
        });
        if let (Value::Object(all), Value::Object(extra)) = (&mut object, extra) {
            all.extend(extra);
        }
        Metadata::from_json(&json!([object]))
    }

    fn pixels(
        transfer_syntax: Option<TransferSyntax>,
    ) -> std::result::Result<Frame, UpstreamError> {
        Ok(Frame { bytes: Bytes::from_static(&[0; 4]), transfer_syntax, media_type: None })
    }

    fn status(status: u16) -> UpstreamError {
        UpstreamError::Status { status, www_authenticate: Vec::new(), retry_after: None }
    }

    fn frame(number: u32) -> FrameNumber {
        FrameNumber::new(number).unwrap()
    }

    const NATIVE: Option<TransferSyntax> = Some(TransferSyntax::ExplicitLittleEndian);

    #[test]
    fn metadata_and_a_frame_make_a_source() {
        let source = assemble(metadata(json!({})), pixels(NATIVE), frame(3)).unwrap().unwrap();
        assert!(matches!(source, Source::Frame { attributes, .. } if attributes.frame == frame(3)));
    }

    #[test]
    fn archives_without_frames_are_asked_for_the_object() {
        for code in [400, 404, 406, 415, 500, 501] {
            let outcome = assemble(metadata(json!({})), Err(status(code)), frame(3));
            assert!(matches!(outcome, Ok(None)), "{code}");
        }
        for (metadata, pixels) in [
            (metadata(json!({})), pixels(None)),
            (Err(status(500)), pixels(NATIVE)),
            (Err(status(406)), Err(status(406))),
            (metadata(json!({"00280100": {"vr": "US", "Value": [1]}})), pixels(NATIVE)),
            (metadata(json!({"00281201": {"vr": "OW", "BulkDataURI": "x"}})), pixels(NATIVE)),
            (metadata(json!({"60003000": {"vr": "OW", "BulkDataURI": "x"}})), pixels(NATIVE)),
            (metadata(json!({"00280101": {"vr": "US"}, "00280100": {"vr": "US"}})), pixels(NATIVE)),
        ] {
            assert!(matches!(assemble(metadata, pixels, frame(1)), Ok(None)));
        }
    }

    #[test]
    fn a_frame_out_of_range_is_that_whatever_the_archive_says() {
        for code in [400, 404, 500] {
            let outcome = assemble(metadata(json!({})), Err(status(code)), frame(4));
            let Err(SourceError::Render(error)) = outcome else { panic!("{code}") };
            assert_eq!(error, RenderError::FrameOutOfRange { frame: frame(4), frames: 3 });
        }
    }

    #[test]
    fn refusals_absence_and_outages_are_final() {
        for code in [401, 403, 404, 410, 429, 503] {
            let outcome = assemble(Err(status(code)), Err(status(code)), frame(1));
            assert!(matches!(outcome, Err(SourceError::Upstream(e)) if e.status() == Some(code)));
        }
        let outcome = assemble(metadata(json!({})), Err(UpstreamError::Timeout), frame(1));
        assert!(matches!(outcome, Err(SourceError::Upstream(UpstreamError::Timeout))));
    }

    #[test]
    fn an_object_without_pixels_is_no_image() {
        let report = Metadata::from_json(&json!([{"00080060": {"vr": "CS", "Value": ["SR"]}}]));
        let outcome = assemble(report, Err(status(404)), frame(1));
        assert!(matches!(outcome, Err(SourceError::Render(RenderError::NotAnImage))));
    }
}
