//! Metadata and a frame, as they came, to what a picture is drawn from; or that they do not suffice.

use core_render::{
    ImageAttributes, Photometric, RenderError, Source, frames_cannot_be_cut, is_length_of_cells,
    number_of_frames, syntax_of_bytes,
};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicomweb_types::{FrameNumber, TransferSyntax};
use wadors_client::{BulkDataRef, Frame, Metadata, UpstreamError};

use crate::source::Result;

/// Metadata and a frame → a source; `None` where they do not suffice and the whole object may.
pub(crate) fn assemble(
    metadata: &Metadata,
    pixels: std::result::Result<Frame, UpstreamError>,
    frame: FrameNumber,
) -> Result<Option<Source>> {
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
    let incomplete = metadata.bulk.iter().any(decides_pixels)
        || frames_cannot_be_cut(&metadata.dataset)
        || lacks_tables(metadata);
    let syntax = syntax_of(&pixels, metadata, &attributes).filter(|_| !incomplete);
    // A video is drawn from its file.
    let Some(transfer_syntax) = syntax.filter(|syntax| !syntax.is_video()) else {
        return Ok(None);
    };
    let attributes = Box::new(as_sent(attributes, &transfer_syntax, &pixels.bytes));
    Ok(Some(Source::Frame { attributes, transfer_syntax, bytes: pixels.bytes }))
}

/// What a frame is, in the order of trust: the archive's word on its transfer syntax, the bytes, the
/// media type, what the metadata say is stored, cells if it has their length. The bytes go before the media
/// type, which archives get wrong, since they cannot be mistaken; RLE and cells have no mark.
pub(crate) fn syntax_of(
    pixels: &Frame,
    metadata: &Metadata,
    attributes: &ImageAttributes,
) -> Option<TransferSyntax> {
    let length = pixels.bytes.len();
    let stored = || {
        let uid = metadata.text(tags::AVAILABLE_TRANSFER_SYNTAX_UID)?;
        let syntax = TransferSyntax::from_uid(&uid);
        let is_marked = syntax.is_encapsulated() && syntax != TransferSyntax::RleLossless;
        // A codestream would have shown itself.
        (!is_marked && (syntax.is_encapsulated() || is_length_of_cells(attributes, length)))
            .then_some(syntax)
    };
    let is_rle = |syntax: &TransferSyntax| *syntax == TransferSyntax::RleLossless;
    pixels
        .transfer_syntax
        .clone()
        .or_else(|| syntax_of_bytes(&pixels.bytes))
        .or_else(|| pixels.declared_syntax().filter(is_rle))
        .or_else(stored)
        .or_else(|| {
            is_length_of_cells(attributes, length).then_some(TransferSyntax::ExplicitLittleEndian)
        })
}

/// Attributes of a frame as it came: archives decompress without a word, and make RGB of colour
/// differences that are stored once for two pixels.
fn as_sent(attributes: ImageAttributes, syntax: &TransferSyntax, bytes: &[u8]) -> ImageAttributes {
    let pixels = u64::from(attributes.rows) * u64::from(attributes.columns);
    let is_whole = bytes.len() as u64 >= pixels * 3 && attributes.bits_allocated == 8;
    let halved =
        matches!(attributes.photometric, Photometric::YbrFull422 | Photometric::YbrPartial422);
    if syntax.is_encapsulated() || !halved || !is_whole {
        return attributes;
    }
    ImageAttributes { photometric: Photometric::Rgb, ..attributes }
}

/// Whether metadata speak of tables whose values they neither hold nor point at: some archives leave binary
/// values out (Azure: OB, OW and the like).
fn lacks_tables(metadata: &Metadata) -> bool {
    let dataset = &metadata.dataset;
    let is_there = |tag: Tag| {
        dataset.get(tag).is_some_and(|element| {
            element.value().primitive().is_some_and(|value| value.calculate_byte_len() > 0)
        })
    };
    let is_palette =
        metadata.text(tags::PHOTOMETRIC_INTERPRETATION).as_deref() == Some("PALETTE COLOR");
    let palette = is_palette
        && !is_there(tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA)
        && !is_there(tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA);
    let luts = [tags::MODALITY_LUT_SEQUENCE, tags::VOILUT_SEQUENCE].into_iter().any(|sequence| {
        let items = dataset.get(sequence).and_then(|element| element.value().items());
        items.unwrap_or_default().iter().any(|item| item.get(tags::LUT_DATA).is_none())
    });
    let overlays = (0x6000..=0x601E_u16).step_by(2).any(|group| {
        // Planes of old files lie in unused bits of the cells (Overlay Bits Allocated above 1).
        let in_cells = metadata.integer(Tag(group, 0x0100)).is_some_and(|bits| bits > 1);
        is_there(Tag(group, 0x0010)) && !in_cells && !is_there(Tag(group, 0x3000))
    });
    palette || luts || overlays
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
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::source::SourceError;

    fn metadata(extra: Value) -> Metadata {
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
        Metadata::from_json(&json!([object])).unwrap()
    }

    fn pixels(
        transfer_syntax: Option<TransferSyntax>,
    ) -> std::result::Result<Frame, UpstreamError> {
        let bytes = Bytes::from_static(&[0; 4]);
        Ok(Frame { bytes, transfer_syntax, media_type: None, validator: None })
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
        let source = assemble(&metadata(json!({})), pixels(NATIVE), frame(3)).unwrap().unwrap();
        assert!(matches!(source, Source::Frame { attributes, .. } if attributes.frame == frame(3)));
    }

    #[test]
    fn what_a_frame_is_is_told_by_who_is_to_be_trusted_most() {
        let said = |transfer_syntax, media_type: &str, bytes: &'static [u8], stored: &str| {
            let metadata = metadata(json!({"00083002": {"vr": "UI", "Value": [stored]}}));
            let attributes = ImageAttributes::of_frame(&metadata.dataset, frame(1)).unwrap();
            let media_type = Some(media_type.to_owned());
            let bytes = Bytes::from_static(bytes);
            let pixels = Frame { bytes, transfer_syntax, media_type, validator: None };
            syntax_of(&pixels, &metadata, &attributes)
        };
        let (j2k, cells) = (&[0xFF, 0x4F, 0xFF, 0x51, 0][..], &[0; 4][..]);
        let (octets, stored_jpeg) = ("application/octet-stream", "1.2.840.10008.1.2.4.50");
        let rle = Some(TransferSyntax::RleLossless);
        assert_eq!(said(NATIVE, octets, j2k, stored_jpeg), NATIVE);
        assert_eq!(said(None, "image/jpeg", j2k, ""), Some(TransferSyntax::Jpeg2000Lossless));
        assert_eq!(said(None, "image/dicom-rle", &[0; 70], ""), rle);
        assert_eq!(said(None, octets, &[0; 70], "1.2.840.10008.1.2.5"), rle);
        // Neither a codestream nor as long as the cells: only the whole object tells.
        assert_eq!(said(None, "image/jpeg", &[0; 70], stored_jpeg), None);
        assert_eq!(said(None, octets, cells, stored_jpeg), NATIVE);
        assert_eq!(
            said(None, octets, cells, "1.2.840.10008.1.2.2"),
            Some(TransferSyntax::ExplicitBigEndian)
        );
    }

    #[test]
    fn colour_that_was_decompressed_without_a_word_is_rgb() {
        let halved = metadata(json!({
            "00280002": {"vr": "US", "Value": [3]},
            "00280004": {"vr": "CS", "Value": ["YBR_FULL_422"]},
        }));
        let photometric = |length: usize, syntax| {
            let attributes = ImageAttributes::of_frame(&halved.dataset, frame(1)).unwrap();
            as_sent(attributes, &syntax, &vec![0; length]).photometric
        };
        assert_eq!(photometric(12, TransferSyntax::ExplicitLittleEndian), Photometric::Rgb);
        assert_eq!(photometric(8, TransferSyntax::ExplicitLittleEndian), Photometric::YbrFull422);
        assert_eq!(photometric(12, TransferSyntax::JpegBaseline), Photometric::YbrFull422);
    }

    #[test]
    fn archives_without_frames_are_asked_for_the_object() {
        for code in [400, 404, 406, 415, 500, 501] {
            let outcome = assemble(&metadata(json!({})), Err(status(code)), frame(3));
            assert!(matches!(outcome, Ok(None)), "{code}");
        }
        for (metadata, pixels) in [
            (metadata(json!({"00280010": {"vr": "US", "Value": [3]}})), pixels(None)),
            (
                metadata(json!({"00283010": {"vr": "SQ", "Value": [
                    {"00283002": {"vr": "US", "Value": [4, 0, 8]}},
                ]}})),
                pixels(NATIVE),
            ),
            (metadata(json!({"60000010": {"vr": "US", "Value": [2]}})), pixels(NATIVE)),
            (metadata(json!({"00280100": {"vr": "US", "Value": [1]}})), pixels(NATIVE)),
            (metadata(json!({"00281201": {"vr": "OW", "BulkDataURI": "x"}})), pixels(NATIVE)),
            (metadata(json!({"60003000": {"vr": "OW", "BulkDataURI": "x"}})), pixels(NATIVE)),
            (metadata(json!({"00280101": {"vr": "US"}, "00280100": {"vr": "US"}})), pixels(NATIVE)),
        ] {
            assert!(matches!(assemble(&metadata, pixels, frame(1)), Ok(None)));
        }
    }

    #[test]
    fn a_frame_out_of_range_is_that_whatever_the_archive_says() {
        for code in [400, 404, 500] {
            let outcome = assemble(&metadata(json!({})), Err(status(code)), frame(4));
            let Err(SourceError::Render(error)) = outcome else { panic!("{code}") };
            assert_eq!(error, RenderError::FrameOutOfRange { frame: frame(4), frames: 3 });
        }
    }

    #[test]
    fn refusals_and_outages_are_final() {
        for code in [401, 403, 429, 503] {
            let outcome = assemble(&metadata(json!({})), Err(status(code)), frame(1));
            assert!(matches!(outcome, Err(SourceError::Upstream(e)) if e.status() == Some(code)));
        }
        let outcome = assemble(&metadata(json!({})), Err(UpstreamError::Timeout), frame(1));
        assert!(matches!(outcome, Err(SourceError::Upstream(UpstreamError::Timeout))));
    }

    #[test]
    fn an_object_without_pixels_is_no_image() {
        let report = json!([{"00080060": {"vr": "CS", "Value": ["SR"]}}]);
        let report = Metadata::from_json(&report).unwrap();
        let outcome = assemble(&report, Err(status(404)), frame(1));
        assert!(matches!(outcome, Err(SourceError::Render(RenderError::NotAnImage))));
    }
}
