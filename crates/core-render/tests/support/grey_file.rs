//! Grey files of the shared corpus, read without the renderer's own code as far as possible: native
//! cells by hand, RLE and lossless JPEG by dicom-rs; for the rest the bare codec, since what is
//! asked here is what becomes of the stored values.

use std::path::{Path, PathBuf};

use core_render::{ImageAttributes, Source};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject};
use dicom_pixeldata::PixelDecoder;
use dicomweb_types::{FrameNumber, TransferSyntax};
use native_codecs::Samples;
use serde_json::Value;

use crate::support::formulas::{Grey, Layout, Lut, Modality, Voi};

/// Name, path and frame of every grey file of integers that has a reference; `None` without corpus.
pub(crate) fn grey_files() -> Option<Vec<(String, PathBuf, u32)>> {
    let folder = std::env::var_os("LIGHTBOX_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    let manifest = std::fs::read(folder.join("manifest.json")).ok()?;
    let manifest: Value = serde_json::from_slice(&manifest).expect("the manifest is JSON");
    let wanted = |entry: &&Value| {
        let text = |key: &str| entry[key].as_str().unwrap_or("");
        entry["expected"]["outcome"] == "render"
            && text("photometric").starts_with("MONOCHROME")
            && text("pixel_data") == "PixelData"
            && entry["bits_allocated"].as_u64() >= Some(8)
            && !text("path").starts_with("seg/")
            && !text("path").starts_with("broken/")
    };
    let place = |entry: &Value| {
        let name = entry["path"].as_str().expect("a path").to_owned();
        let frame = entry["reference"]["frame"].as_u64().unwrap_or(1) as u32;
        (name.clone(), folder.join(name), frame)
    };
    Some(manifest["files"].as_array()?.iter().filter(wanted).map(place).collect())
}

/// The middle rows of a frame.
pub(crate) struct GreyFile {
    pub(crate) stored: Vec<i64>,
    /// Without a window: that comes with the request.
    pub(crate) formulas: Grey,
    attributes: ImageAttributes,
    cells: Vec<u8>,
}

impl GreyFile {
    /// `None` where none of the decoders at hand can read it.
    pub(crate) fn read(path: &Path, frame: u32, pixels: u32) -> Option<Self> {
        let object = dicom_object::open_file(path).expect("a DICOM file");
        let integer = |tag| integer(&object, tag);
        let layout = Layout {
            allocated: integer(tags::BITS_ALLOCATED)? as u32,
            stored: integer(tags::BITS_STORED)? as u32,
            high_bit: integer(tags::HIGH_BIT)? as u32,
            signed: integer(tags::PIXEL_REPRESENTATION)? == 1,
        };
        let (rows, columns) = (integer(tags::ROWS)? as u32, integer(tags::COLUMNS)? as u32);
        let all = cells_of_frame(&object, frame, layout, (rows * columns) as usize)?;
        let shown_rows = (pixels / columns).clamp(1, rows);
        let from = ((rows - shown_rows) / 2 * columns) as usize;
        let shown = &all[from..from + (shown_rows * columns) as usize];

        let number = FrameNumber::new(frame).expect("counted from 1");
        let mut attributes = ImageAttributes::of_frame(&object, number).expect("an image");
        attributes.rows = shown_rows;
        attributes.number_of_frames = 1;
        attributes.frame = FrameNumber::FIRST;
        let bytes_of_cell = (layout.allocated / 8) as usize;
        Some(Self {
            stored: shown.iter().map(|&cell| layout.stored_value(cell)).collect(),
            formulas: Grey {
                modality: modality(&object, frame),
                voi: Voi::None,
                inverse: text(&object, tags::PHOTOMETRIC_INTERPRETATION) == "MONOCHROME1"
                    || text(&object, tags::PRESENTATION_LUT_SHAPE) == "INVERSE",
                padding: padding(&object, layout),
            },
            cells: shown
                .iter()
                .flat_map(|cell| cell.to_le_bytes().into_iter().take(bytes_of_cell))
                .collect(),
            attributes,
        })
    }

    pub(crate) fn source(&self) -> Source {
        Source::Frame {
            attributes: Box::new(self.attributes.clone()),
            transfer_syntax: TransferSyntax::ExplicitLittleEndian,
            bytes: self.cells.clone().into(),
        }
    }

    /// Centres and widths: the whole range, a narrow part of it, and more than there is.
    pub(crate) fn three_windows(&self) -> [(String, String); 3] {
        let values = || self.stored.iter().map(|&value| self.formulas.modality.apply(value));
        let least = values().fold(f64::INFINITY, f64::min);
        let range = values().fold(f64::NEG_INFINITY, f64::max) - least;
        let width = |part: f64| crate::as_ds((range * part).max(1e-3));
        let centre = |part: f64| crate::as_ds(least + range * part);
        [(centre(0.5), width(1.0)), (centre(0.3), width(0.17)), (centre(0.61), width(1.37))]
    }
}

fn integer(object: &InMemDicomObject, tag: Tag) -> Option<i64> {
    object.get(tag)?.to_int().ok()
}

fn float(object: &InMemDicomObject, tag: Tag) -> Option<f64> {
    object.get(tag)?.to_float64().ok()
}

fn text(object: &InMemDicomObject, tag: Tag) -> String {
    let value = object.get(tag).and_then(|element| element.to_str().ok());
    value.map(|value| value.trim().to_owned()).unwrap_or_default()
}

fn item(object: &InMemDicomObject, tag: Tag, index: usize) -> Option<&InMemDicomObject> {
    object.get(tag)?.items()?.get(index)
}

/// R4.6, R4.31.
fn modality(object: &InMemDicomObject, frame: u32) -> Modality {
    if let Some(lut) = item(object, tags::MODALITY_LUT_SEQUENCE, 0) {
        return Modality::Lut(lut_of(lut));
    }
    let own = item(object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frame as usize - 1);
    let shared = item(object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, 0);
    let from = [own, shared]
        .into_iter()
        .flatten()
        .find_map(|group| item(group, tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, 0))
        .unwrap_or(object);
    match float(from, tags::RESCALE_SLOPE) {
        None => Modality::Identity,
        Some(slope) => Modality::Rescale {
            slope,
            intercept: float(from, tags::RESCALE_INTERCEPT).unwrap_or(0.0),
        },
    }
}

fn lut_of(item: &InMemDicomObject) -> Lut {
    let descriptor = item.get(tags::LUT_DESCRIPTOR).expect("a descriptor");
    let descriptor = descriptor.to_multi_int::<i32>().expect("three numbers");
    let entries = if descriptor[0] == 0 { 65536 } else { descriptor[0] as u16 as usize };
    let data = item.get(tags::LUT_DATA).expect("LUT data").to_bytes().expect("bytes");
    let values = if data.len() >= 2 * entries {
        data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
    } else {
        data.iter().map(|&byte| u16::from(byte)).collect()
    };
    Lut { first: descriptor[1], bits: descriptor[2] as u32, values }
}

/// R4.17.
fn padding(object: &InMemDicomObject, layout: Layout) -> Option<(i64, i64)> {
    let value = layout.wrap(integer(object, tags::PIXEL_PADDING_VALUE)?);
    let limit = integer(object, tags::PIXEL_PADDING_RANGE_LIMIT).map(|limit| layout.wrap(limit));
    let limit = limit.unwrap_or(value);
    Some((value.min(limit), value.max(limit)))
}

/// The cells of one frame, whatever their transfer syntax.
fn cells_of_frame(
    object: &DefaultDicomObject,
    frame: u32,
    layout: Layout,
    pixels: usize,
) -> Option<Vec<u64>> {
    let syntax = TransferSyntax::from_uid(object.meta().transfer_syntax());
    let bytes_of_cell = (layout.allocated / 8) as usize;
    let index = frame as usize - 1;
    let element = object.get(tags::PIXEL_DATA)?;
    if !syntax.is_encapsulated() {
        // The parser has turned big endian words round already.
        let bytes = element.to_bytes().ok()?;
        let frame = bytes.get(index * pixels * bytes_of_cell..)?;
        return Some(cells(frame.get(..pixels * bytes_of_cell)?, bytes_of_cell));
    }
    let fragments = element.fragments()?;
    let frames = integer(object, tags::NUMBER_OF_FRAMES).unwrap_or(1);
    let one_each = fragments.len() == frames as usize;
    if matches!(syntax, TransferSyntax::JpegLossless | TransferSyntax::JpegLosslessSv1)
        || syntax == TransferSyntax::RleLossless && one_each
    {
        let decoded = object.decode_pixel_data_frame(index as u32).ok()?;
        let bytes_of_cell = usize::from(decoded.bits_allocated() / 8);
        return Some(cells(decoded.data().get(..pixels * bytes_of_cell)?, bytes_of_cell));
    }
    let codestream = match frames {
        1 => fragments.concat(),
        _ if one_each => fragments[index].clone(),
        _ => return None,
    };
    let samples: Vec<u64> = match syntax {
        TransferSyntax::JpegBaseline | TransferSyntax::JpegExtended => {
            wide(native_codecs::jpeg::decode(&codestream, Default::default()).ok()?.samples)
        }
        TransferSyntax::JpegLsLossless | TransferSyntax::JpegLsNearLossless => {
            wide(native_codecs::jpeg_ls::decode(&codestream).ok()?.samples)
        }
        _ => {
            let image = native_codecs::jpeg2000::decode(&codestream, 0, 1).ok()?;
            // R6.3: the codestream's sample, then masked and signed as R4.1 says.
            image.components[0].data.iter().map(|&sample| i64::from(sample) as u64).collect()
        }
    };
    (samples.len() == pixels).then_some(samples)
}

fn cells(bytes: &[u8], bytes_of_cell: usize) -> Vec<u64> {
    let cell = |bytes: &[u8]| bytes.iter().rev().fold(0, |cell, &byte| cell << 8 | u64::from(byte));
    bytes.chunks_exact(bytes_of_cell).map(cell).collect()
}

fn wide(samples: Samples) -> Vec<u64> {
    match samples {
        Samples::U8(samples) => samples.into_iter().map(u64::from).collect(),
        Samples::U16(samples) => samples.into_iter().map(u64::from).collect(),
    }
}
