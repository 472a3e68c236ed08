//! Data set to the attributes of one frame. Functional groups are resolved here and nowhere else.

use std::ops::RangeInclusive;

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicomweb_types::FrameNumber;
use serde::{Deserialize, Serialize};

use crate::burned_in::BurnedInText;
use crate::colour::palette::Palette;
use crate::dataset::{integer, integers, items, number, numbers, primitive, text};
use crate::error::{RenderError, Result};
use crate::lut::lookup::{Descriptor, Lut};
use crate::overlay::OverlayPlane;
use crate::pixel::cells::sign_extend;
use crate::segmentation::Segmentation;
use crate::shutter::Shutter;
use crate::spec::{VoiFunction, Window};

/// Everything the pipeline needs to know of one frame (PS3.3 C.7.6.3, C.11, C.9).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageAttributes {
    /// Which frame these are the attributes of.
    pub frame: FrameNumber,
    /// Number of Frames (0028,0008); 1 where absent.
    pub number_of_frames: u32,
    /// Rows (0028,0010), above 0.
    pub rows: u32,
    /// Columns (0028,0011), above 0.
    pub columns: u32,
    /// Samples per Pixel (0028,0002): 1 or 3.
    pub samples_per_pixel: u16,
    /// Photometric Interpretation (0028,0004).
    pub photometric: Photometric,
    /// Bits Allocated (0028,0100): 1, 8, 16, 32 or 64.
    pub bits_allocated: u16,
    /// Bits Stored (0028,0101), 1 to Bits Allocated.
    pub bits_stored: u16,
    /// High Bit (0028,0102), Bits Stored − 1 to Bits Allocated − 1.
    pub high_bit: u16,
    /// Pixel Representation (0028,0103) is 1.
    pub signed: bool,
    /// What a native cell is.
    pub cell_kind: CellKind,
    /// Planar Configuration (0028,0006) of native pixel data.
    pub planar_configuration: PlanarConfiguration,
    /// Stored values to modality units.
    pub modality: Modality,
    /// The image's own VOI transform.
    pub voi: Voi,
    /// The smallest value is white: MONOCHROME1, or Presentation LUT Shape INVERSE (R4.16).
    pub inverse: bool,
    /// Pixel Padding Value and Range Limit, as stored values.
    pub padding: Option<Padding>,
    /// The tables of PALETTE COLOR, of a supplemental palette, or of a label map's segments.
    pub palette: Option<Palette>,
    /// Overlay planes (60xx).
    pub overlays: Vec<OverlayPlane>,
    /// Height of a pixel over its width; 1 where it is square or unknown (R4.28).
    pub pixel_aspect: f64,
    /// Whether the stored values are segments, which no window applies to (R4.33).
    pub segmentation: bool,
    /// What hides parts of the image (C.7.6.11).
    pub shutter: Option<Shutter>,
    /// The ICC profile of colour images, as stored.
    pub icc_profile: Option<Bytes>,
    /// Whether and where texts may be in the pixels (R1.11).
    pub burned_in: BurnedInText,
    /// Where the data set broke a rule; no patient data.
    pub warnings: Vec<String>,
}

/// Photometric Interpretation (PS3.3 C.7.6.3.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // the defined terms of the attribute
pub enum Photometric {
    Monochrome1,
    Monochrome2,
    PaletteColor,
    Rgb,
    YbrFull,
    YbrFull422,
    YbrPartial420,
    YbrPartial422,
    YbrIct,
    YbrRct,
}

impl Photometric {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_uppercase().as_str() {
            "MONOCHROME1" => Self::Monochrome1,
            "MONOCHROME2" => Self::Monochrome2,
            "PALETTE COLOR" => Self::PaletteColor,
            "RGB" => Self::Rgb,
            "YBR_FULL" => Self::YbrFull,
            "YBR_FULL_422" => Self::YbrFull422,
            "YBR_PARTIAL_420" => Self::YbrPartial420,
            "YBR_PARTIAL_422" => Self::YbrPartial422,
            "YBR_ICT" => Self::YbrIct,
            "YBR_RCT" => Self::YbrRct,
            _ => return None,
        })
    }

    fn samples_per_pixel(self) -> u16 {
        match self {
            Self::Monochrome1 | Self::Monochrome2 | Self::PaletteColor => 1,
            _ => 3,
        }
    }
}

/// What one native cell is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CellKind {
    /// An integer of so many bits: 1, 8, 16 or 32.
    Integer(u16),
    /// A 32-bit float (7FE0,0008).
    Float,
    /// A 64-bit float (7FE0,0009).
    Double,
}

/// Planar Configuration (PS3.3 C.7.6.3.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PlanarConfiguration {
    /// 0: the samples of a pixel side by side.
    Pixels,
    /// 1: one plane after the other.
    Planes,
}

/// Stored values to modality units (PS3.3 C.11.1).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Modality {
    /// The stored value itself.
    Identity,
    /// slope × stored value + intercept.
    Rescale {
        /// Rescale Slope (0028,1053), not 0.
        slope: f64,
        /// Rescale Intercept (0028,1052).
        intercept: f64,
    },
    /// Modality LUT Sequence (0028,3000).
    Lut(Lut),
}

/// Modality units to display values (PS3.3 C.11.2).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Voi {
    /// Lowest to highest value of the frame.
    None,
    /// The first usable window.
    Window(Window),
    /// From black to white between these values, in modality units.
    Range {
        /// Black, and below.
        low: f64,
        /// White, and above.
        high: f64,
    },
    /// VOI LUT Sequence (0028,3010).
    Lut(Lut),
}

/// Stored values that are no image (PS3.3 C.7.5.1.1.2), inclusive.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Padding {
    /// The lowest.
    pub first: f64,
    /// The highest.
    pub last: f64,
}

impl ImageAttributes {
    /// The attributes of frame `frame` of the instance that `dataset` describes.
    ///
    /// Whether `frame` exists is not asked here: Number of Frames is not to be relied on.
    ///
    /// # Errors
    /// [`RenderError::NotAnImage`] where nothing describes pixels; [`RenderError::Attribute`] where a
    /// required attribute is absent or illegal.
    pub fn of_frame(dataset: &InMemDicomObject, frame: FrameNumber) -> Result<Self> {
        if !describes_pixels(dataset) {
            return Err(RenderError::NotAnImage);
        }
        let mut warnings = Vec::new();
        let groups = FunctionalGroups::of(dataset, frame);
        let (photometric, samples_per_pixel) = photometric(dataset, &mut warnings)?;
        let bits = Bits::read(dataset, &mut warnings)?;
        let modality = modality(dataset, &groups, bits.signed, &mut warnings);
        let segmentation = Segmentation::read(dataset);
        let voi = match &segmentation {
            Some(segmentation) => segmentation.voi(),
            None => voi(dataset, &groups, bits.signed, &modality, &mut warnings),
        };
        let palette = match (photometric, &segmentation) {
            (Photometric::PaletteColor, _) => Some(Palette::read(dataset, bits.signed)?),
            (_, Some(segmentation)) => segmentation.palette(),
            (_, None) => supplemental_palette(dataset, bits.signed, &mut warnings),
        };
        let rows = size(dataset, tags::ROWS, "Rows")?;
        let columns = size(dataset, tags::COLUMNS, "Columns")?;
        Ok(Self {
            frame,
            number_of_frames: number_of_frames(dataset),
            rows,
            columns,
            samples_per_pixel,
            photometric,
            bits_allocated: bits.allocated,
            bits_stored: bits.stored,
            high_bit: bits.high,
            signed: bits.signed,
            cell_kind: bits.kind,
            planar_configuration: match integer(dataset, tags::PLANAR_CONFIGURATION) {
                Some(1) => PlanarConfiguration::Planes,
                _ => PlanarConfiguration::Pixels,
            },
            modality,
            voi,
            inverse: is_inverse(dataset, photometric),
            padding: padding(dataset, &bits, photometric),
            palette,
            overlays: OverlayPlane::read_all(dataset, &mut warnings),
            pixel_aspect: pixel_aspect(dataset, &groups),
            segmentation: segmentation.is_some(),
            shutter: Shutter::read(dataset, &mut warnings),
            icc_profile: icc_profile(dataset, &groups),
            burned_in: BurnedInText::read(dataset, columns, rows),
            warnings,
        })
    }

    /// Refuses what [`Self::of_frame`] never makes: attributes may have come from another process, and
    /// every later stage relies on them.
    pub(crate) fn check(&self) -> Result<()> {
        let must = |legal: bool, attribute, problem: &str| match legal {
            true => Ok(()),
            false => Err(RenderError::attribute(attribute, problem)),
        };
        let (allocated, stored, high) = (self.bits_allocated, self.bits_stored, self.high_bit);
        let cell = match self.cell_kind {
            CellKind::Integer(bits @ (1 | 8 | 16 | 32)) => Some(bits),
            CellKind::Integer(_) => None,
            CellKind::Float => Some(32),
            CellKind::Double => Some(64),
        };
        let samples = self.photometric.samples_per_pixel();
        let overlays = self.overlays.iter().all(OverlayPlane::is_legal);
        must(self.rows > 0, "Rows", "is 0")?;
        must(self.columns > 0, "Columns", "is 0")?;
        must(self.samples_per_pixel == samples, "Samples per Pixel", "is not the photometric's")?;
        must(cell == Some(allocated), "Bits Allocated", "is not that of the cells")?;
        must((1..=allocated).contains(&stored), "Bits Stored", "does not fit Bits Allocated")?;
        must((stored - 1..allocated).contains(&high), "High Bit", "does not fit the other bits")?;
        must(ASPECTS.contains(&self.pixel_aspect), "Pixel Aspect Ratio", "is beyond belief")?;
        must(self.luts().all(Lut::is_legal), "LUT Descriptor", "is illegal")?;
        must(overlays, "Overlay Bit Position", "is illegal")?;
        must(self.shutter.as_ref().is_none_or(Shutter::is_legal), "Shutter Shape", "is illegal")?;
        let burned_in = self.burned_in.is_legal(self.columns, self.rows);
        must(burned_in, "Sequence of Ultrasound Regions", "is illegal")
    }

    /// The lookup tables, those of the palette too.
    fn luts(&self) -> impl Iterator<Item = &Lut> {
        let modality = match &self.modality {
            Modality::Lut(lut) => Some(lut),
            Modality::Identity | Modality::Rescale { .. } => None,
        };
        let voi = match &self.voi {
            Voi::Lut(lut) => Some(lut),
            Voi::None | Voi::Window(_) | Voi::Range { .. } => None,
        };
        let palette = self.palette.iter().flat_map(Palette::tables);
        modality.into_iter().chain(voi).chain(palette)
    }

    /// Whether native pixel data hold chroma once for two pixels (R4.5).
    pub(crate) fn is_subsampled_native(&self) -> bool {
        matches!(self.photometric, Photometric::YbrFull422 | Photometric::YbrPartial422)
            && self.samples_per_pixel == 3
    }
}

/// The frame that stands for its instance: Representative Frame Number (0028,6010), else the middle
/// one, ⌊n/2⌋ + 1 (design §3, as OHIF shows).
pub fn representative_frame(dataset: &InMemDicomObject) -> FrameNumber {
    let frames = number_of_frames(dataset);
    let named = named_representative_frame(dataset).unwrap_or(frames / 2 + 1);
    FrameNumber::new(named).unwrap_or(FrameNumber::FIRST)
}

/// Whether Representative Frame Number names a frame that there is.
pub fn names_representative_frame(dataset: &InMemDicomObject) -> bool {
    named_representative_frame(dataset).is_some()
}

fn named_representative_frame(dataset: &InMemDicomObject) -> Option<u32> {
    let frames = number_of_frames(dataset);
    integer(dataset, tags::REPRESENTATIVE_FRAME_NUMBER)
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| (1..=frames).contains(n))
}

/// Number of Frames (0028,0008); 1 where it is absent or no number above 0.
pub fn number_of_frames(dataset: &InMemDicomObject) -> u32 {
    integer(dataset, tags::NUMBER_OF_FRAMES)
        .and_then(|n| u32::try_from(n).ok())
        .filter(|&n| n > 0)
        .unwrap_or(1)
}

pub(crate) fn describes_pixels(dataset: &InMemDicomObject) -> bool {
    [tags::ROWS, tags::COLUMNS, tags::BITS_ALLOCATED]
        .iter()
        .any(|&tag| primitive(dataset, tag).is_some())
}

fn size(dataset: &InMemDicomObject, tag: Tag, attribute: &'static str) -> Result<u32> {
    match integer(dataset, tag) {
        None => Err(RenderError::attribute(attribute, "is absent")),
        Some(value) => u32::try_from(value)
            .ok()
            .filter(|&v| v > 0)
            .ok_or_else(|| RenderError::attribute(attribute, format!("is {value}"))),
    }
}

fn photometric(
    dataset: &InMemDicomObject,
    warnings: &mut Vec<String>,
) -> Result<(Photometric, u16)> {
    let samples = integer(dataset, tags::SAMPLES_PER_PIXEL);
    let photometric = match text(dataset, tags::PHOTOMETRIC_INTERPRETATION) {
        Some(text) => Photometric::parse(&text).ok_or_else(|| {
            RenderError::unsupported("a Photometric Interpretation that is retired or unknown")
        })?,
        None => {
            warnings.push("Photometric Interpretation is absent".to_owned());
            if samples == Some(3) { Photometric::Rgb } else { Photometric::Monochrome2 }
        }
    };
    let expected = photometric.samples_per_pixel();
    match samples {
        None => warnings.push("Samples per Pixel is absent".to_owned()),
        Some(samples) if samples == i64::from(expected) => {}
        Some(samples) => {
            let problem = format!("is {samples}, its Photometric Interpretation has {expected}");
            return Err(RenderError::attribute("Samples per Pixel", problem));
        }
    }
    Ok((photometric, expected))
}

/// Bits Allocated, Bits Stored, High Bit and Pixel Representation, made to fit each other.
struct Bits {
    allocated: u16,
    stored: u16,
    high: u16,
    signed: bool,
    kind: CellKind,
}

impl Bits {
    fn read(dataset: &InMemDicomObject, warnings: &mut Vec<String>) -> Result<Self> {
        // R4.32: floats have neither Bits Stored nor Pixel Representation.
        if let Some((kind, allocated)) = float_kind(dataset) {
            return Ok(Self {
                allocated,
                stored: allocated,
                high: allocated - 1,
                signed: false,
                kind,
            });
        }
        let allocated = match integer(dataset, tags::BITS_ALLOCATED) {
            Some(bits @ (1 | 8 | 16 | 32)) => bits as u16,
            Some(bits) => {
                return Err(RenderError::attribute("Bits Allocated", format!("is {bits}")));
            }
            None => return Err(RenderError::attribute("Bits Allocated", "is absent")),
        };
        let stored = match integer(dataset, tags::BITS_STORED) {
            Some(bits) if (1..=i64::from(allocated)).contains(&bits) => bits as u16,
            _ => {
                warnings.push("Bits Stored is absent or above Bits Allocated".to_owned());
                allocated
            }
        };
        let high = match integer(dataset, tags::HIGH_BIT) {
            Some(bit) if (i64::from(stored) - 1..i64::from(allocated)).contains(&bit) => bit as u16,
            _ => {
                warnings.push("High Bit is absent or does not fit Bits Stored".to_owned());
                stored - 1
            }
        };
        let representation = integer(dataset, tags::PIXEL_REPRESENTATION);
        if representation.is_none() {
            warnings.push("Pixel Representation is absent".to_owned());
        }
        let signed = representation == Some(1);
        Ok(Self { allocated, stored, high, signed, kind: CellKind::Integer(allocated) })
    }
}

fn float_kind(dataset: &InMemDicomObject) -> Option<(CellKind, u16)> {
    if dataset.get(tags::FLOAT_PIXEL_DATA).is_some() {
        return Some((CellKind::Float, 32));
    }
    dataset.get(tags::DOUBLE_FLOAT_PIXEL_DATA).map(|_| (CellKind::Double, 64))
}

/// The functional groups in force for one frame (PS3.3 C.7.6.16).
pub(crate) struct FunctionalGroups<'a> {
    per_frame: Option<&'a InMemDicomObject>,
    shared: Option<&'a InMemDicomObject>,
}

impl<'a> FunctionalGroups<'a> {
    pub(crate) fn of(dataset: &'a InMemDicomObject, frame: FrameNumber) -> Self {
        Self {
            per_frame: items(dataset, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
                .get(frame.index()),
            shared: items(dataset, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first(),
        }
    }

    /// The item of a functional group macro: the frame's before the shared one (R4.31).
    pub(crate) fn group(&self, sequence: Tag) -> Option<&'a InMemDicomObject> {
        [self.per_frame, self.shared]
            .into_iter()
            .flatten()
            .find_map(|groups| items(groups, sequence).first())
    }
}

pub(crate) fn modality(
    dataset: &InMemDicomObject,
    groups: &FunctionalGroups<'_>,
    signed: bool,
    warnings: &mut Vec<String>,
) -> Modality {
    let group = groups.group(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE);
    if group.is_none()
        && let Some(item) = items(dataset, tags::MODALITY_LUT_SEQUENCE).first()
    {
        match lut(item, signed) {
            Ok(lut) => return Modality::Lut(lut),
            Err(_) => warnings.push("the Modality LUT has no usable table".to_owned()),
        }
    }
    let source = group.unwrap_or(dataset);
    // R4.6: a slope of 0, or none, is identity.
    let slope = number(source, tags::RESCALE_SLOPE).filter(|&slope| slope != 0.0);
    let intercept = number(source, tags::RESCALE_INTERCEPT).unwrap_or(0.0);
    match (slope.unwrap_or(1.0), intercept) {
        (1.0, 0.0) => Modality::Identity,
        (slope, intercept) => Modality::Rescale { slope, intercept },
    }
}

pub(crate) fn voi(
    dataset: &InMemDicomObject,
    groups: &FunctionalGroups<'_>,
    signed: bool,
    modality: &Modality,
    warnings: &mut Vec<String>,
) -> Voi {
    let has_voi = |item: &&InMemDicomObject| {
        primitive(item, tags::WINDOW_WIDTH).is_some()
            || !items(item, tags::VOILUT_SEQUENCE).is_empty()
    };
    let source = groups.group(tags::FRAME_VOILUT_SEQUENCE).filter(has_voi).unwrap_or(dataset);
    if let Some(window) = first_usable_window(source) {
        return Voi::Window(window);
    }
    let Some(item) = items(source, tags::VOILUT_SEQUENCE).first() else { return Voi::None };
    match lut(item, voi_input_is_signed(signed, modality)) {
        Ok(lut) => Voi::Lut(match lut.narrowed() {
            Some(narrowed) => {
                warnings.push("the VOI LUT claims more bits than its entries use".to_owned());
                narrowed
            }
            None => lut,
        }),
        Err(_) => {
            warnings.push("the VOI LUT has no usable table".to_owned());
            Voi::None
        }
    }
}

/// R4.11: the first input has the sign of what comes out of the modality stage.
pub(crate) fn voi_input_is_signed(signed: bool, modality: &Modality) -> bool {
    match modality {
        Modality::Identity => signed,
        Modality::Rescale { slope, intercept } => signed || *slope < 0.0 || *intercept < 0.0,
        Modality::Lut(_) => false,
    }
}

/// Several windows are alternatives: the first that is legal is taken (R4.12).
fn first_usable_window(source: &InMemDicomObject) -> Option<Window> {
    let function = text(source, tags::VOILUT_FUNCTION)
        .and_then(|function| VoiFunction::from_attribute(&function))
        .unwrap_or(VoiFunction::Linear);
    let centres = numbers(source, tags::WINDOW_CENTER);
    let widths = numbers(source, tags::WINDOW_WIDTH);
    centres.into_iter().zip(widths).find_map(|(centre, width)| window(centre?, width?, function))
}

fn window(centre: f64, width: f64, function: VoiFunction) -> Option<Window> {
    // R4.13: a width below 1 is none under LINEAR, but means what LINEAR_EXACT makes of it.
    let fractional = function == VoiFunction::Linear && width < 1.0;
    Window::new(centre, width, if fractional { VoiFunction::LinearExact } else { function })
}

/// The LUT Descriptor and LUT Data of one item of a Modality or VOI LUT Sequence.
pub(crate) fn lut(item: &InMemDicomObject, signed: bool) -> Result<Lut> {
    let values = integers(item, tags::LUT_DESCRIPTOR);
    let descriptor = Descriptor::new(&values, signed)
        .ok_or_else(|| RenderError::attribute("LUT Descriptor", "is absent or illegal"))?;
    let data = primitive(item, tags::LUT_DATA)
        .ok_or_else(|| RenderError::attribute("LUT Data", "is absent"))?;
    Lut::new(descriptor, data)
}

/// MONOCHROME1 and INVERSE together are one inversion, not two (R4.16).
fn is_inverse(dataset: &InMemDicomObject, photometric: Photometric) -> bool {
    photometric == Photometric::Monochrome1
        || photometric == Photometric::Monochrome2
            && text(dataset, tags::PRESENTATION_LUT_SHAPE).as_deref() == Some("INVERSE")
}

/// R4.17: of monochrome and palette images, whole numbers or floats (C.7.5.1.1.2).
fn padding(dataset: &InMemDicomObject, bits: &Bits, photometric: Photometric) -> Option<Padding> {
    if photometric.samples_per_pixel() != 1 {
        return None;
    }
    let (value, limit) = match bits.kind {
        CellKind::Integer(_) => {
            // Written with the wrong sign often enough; only the stored bits count.
            let stored = |tag| {
                integer(dataset, tag).map(|v| sign_extend(v, bits.stored as u8, bits.signed) as f64)
            };
            (stored(tags::PIXEL_PADDING_VALUE)?, stored(tags::PIXEL_PADDING_RANGE_LIMIT))
        }
        CellKind::Float => (
            number(dataset, tags::FLOAT_PIXEL_PADDING_VALUE)?,
            number(dataset, tags::FLOAT_PIXEL_PADDING_RANGE_LIMIT),
        ),
        CellKind::Double => (
            number(dataset, tags::DOUBLE_FLOAT_PIXEL_PADDING_VALUE)?,
            number(dataset, tags::DOUBLE_FLOAT_PIXEL_PADDING_RANGE_LIMIT),
        ),
    };
    let limit = limit.unwrap_or(value);
    Some(Padding { first: value.min(limit), last: value.max(limit) })
}

/// Beyond these it is a mistake in the file, and would make a line of the picture.
pub(crate) const ASPECTS: RangeInclusive<f64> = 0.05..=20.0;

/// Height over width of a pixel: Pixel Aspect Ratio, else one of the spacings (R4.28).
pub(crate) fn pixel_aspect(dataset: &InMemDicomObject, groups: &FunctionalGroups<'_>) -> f64 {
    let measures = groups.group(tags::PIXEL_MEASURES_SEQUENCE);
    let spacing = measures.and_then(|measures| ratio(measures, tags::PIXEL_SPACING));
    [
        tags::PIXEL_ASPECT_RATIO,
        tags::PIXEL_SPACING,
        tags::IMAGER_PIXEL_SPACING,
        tags::NOMINAL_SCANNED_PIXEL_SPACING,
    ]
    .into_iter()
    .find_map(|tag| ratio(dataset, tag))
    .or(spacing)
    .filter(|aspect| ASPECTS.contains(aspect))
    .unwrap_or(1.0)
}

/// R4.21: Pixel Presentation COLOR adds a palette to a monochrome image, for the values from the
/// first one on that its descriptor maps.
fn supplemental_palette(
    dataset: &InMemDicomObject,
    signed: bool,
    warnings: &mut Vec<String>,
) -> Option<Palette> {
    let presentation = text(dataset, tags::PIXEL_PRESENTATION);
    if !matches!(presentation.as_deref(), Some("COLOR" | "MIXED")) {
        return None;
    }
    // R4.22: blending of several tables is not done; what it starts from is.
    if !items(dataset, tags::DATA_FRAME_ASSIGNMENT_SEQUENCE).is_empty() {
        warnings.push("enhanced palette blending is not drawn".to_owned());
    }
    dataset.get(tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR)?;
    let palette = Palette::read(dataset, signed).ok();
    if palette.is_none() {
        warnings.push("the supplemental palette is not usable".to_owned());
    }
    palette.map(Palette::supplemental)
}

/// ICC Profile (0028,2000): the frame's optical path's, else the image's own (R2.9).
fn icc_profile(dataset: &InMemDicomObject, groups: &FunctionalGroups<'_>) -> Option<Bytes> {
    let paths = items(dataset, tags::OPTICAL_PATH_SEQUENCE);
    let named = groups
        .group(tags::OPTICAL_PATH_IDENTIFICATION_SEQUENCE)
        .and_then(|group| text(group, tags::OPTICAL_PATH_IDENTIFIER));
    let path = paths
        .iter()
        .find(|path| named.is_some() && text(path, tags::OPTICAL_PATH_IDENTIFIER) == named)
        .or(paths.first());
    let of_path = path.and_then(|path| primitive(path, tags::ICC_PROFILE));
    let profile = primitive(dataset, tags::ICC_PROFILE).or(of_path)?;
    Some(Bytes::from(profile.to_bytes().into_owned()))
}

pub(crate) fn ratio(dataset: &InMemDicomObject, tag: Tag) -> Option<f64> {
    match numbers(dataset, tag)[..] {
        [Some(vertical), Some(horizontal), ..] if vertical > 0.0 && horizontal > 0.0 => {
            Some(vertical / horizontal)
        }
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use dicom_core::smallvec::smallvec;
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue, VR, dicom_value};

    use super::*;

    /// Attributes of a plain unsigned MONOCHROME2 frame.
    pub(crate) fn image(rows: u32, columns: u32, bits: u16) -> ImageAttributes {
        ImageAttributes {
            frame: FrameNumber::FIRST,
            number_of_frames: 1,
            rows,
            columns,
            samples_per_pixel: 1,
            photometric: Photometric::Monochrome2,
            bits_allocated: bits,
            bits_stored: bits,
            high_bit: bits - 1,
            signed: false,
            cell_kind: CellKind::Integer(bits),
            planar_configuration: PlanarConfiguration::Pixels,
            modality: Modality::Identity,
            voi: Voi::None,
            inverse: false,
            padding: None,
            palette: None,
            overlays: Vec::new(),
            pixel_aspect: 1.0,
            segmentation: false,
            shutter: None,
            icc_profile: None,
            burned_in: BurnedInText::default(),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn put(dataset: &mut InMemDicomObject, tag: Tag, vr: VR, value: PrimitiveValue) {
        dataset.put(DataElement::new(tag, vr, value));
    }

    /// A data set of a 12-bit MONOCHROME2 image.
    pub(crate) fn dataset() -> InMemDicomObject {
        let mut dataset = InMemDicomObject::new_empty();
        for (tag, value) in [
            (tags::ROWS, 4_u16),
            (tags::COLUMNS, 6),
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::BITS_ALLOCATED, 16),
            (tags::BITS_STORED, 12),
            (tags::HIGH_BIT, 11),
            (tags::PIXEL_REPRESENTATION, 0),
        ] {
            put(&mut dataset, tag, VR::US, value.into());
        }
        put(&mut dataset, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2".into());
        dataset
    }

    fn read(dataset: &InMemDicomObject) -> ImageAttributes {
        ImageAttributes::of_frame(dataset, FrameNumber::FIRST).unwrap()
    }

    fn put_window(dataset: &mut InMemDicomObject, centre: &str, width: &str) {
        put(dataset, tags::WINDOW_CENTER, VR::DS, centre.into());
        put(dataset, tags::WINDOW_WIDTH, VR::DS, width.into());
    }

    fn sequence(tag: Tag, item: InMemDicomObject) -> dicom_object::mem::InMemElement {
        DataElement::new(tag, VR::SQ, DataSetSequence::from(vec![item]))
    }

    #[test]
    fn a_plain_image_is_read_without_warnings() {
        let attributes = read(&dataset());
        assert_eq!((attributes.rows, attributes.columns, attributes.bits_stored), (4, 6, 12));
        assert!(attributes.warnings.is_empty(), "{:?}", attributes.warnings);
    }

    #[test]
    fn attributes_that_do_not_fit_each_other_are_refused() {
        assert_eq!(read(&dataset()).check(), Ok(()));
        let spoilt: [fn(&mut ImageAttributes); 11] = [
            |a| a.rows = 0,
            |a| a.columns = 0,
            |a| a.samples_per_pixel = 3,
            |a| a.bits_allocated = 8,
            |a| a.cell_kind = CellKind::Integer(12),
            |a| a.bits_stored = 17,
            |a| a.bits_stored = 0,
            |a| a.high_bit = 10,
            |a| a.high_bit = 16,
            |a| a.pixel_aspect = f64::NAN,
            |a| a.modality = Modality::Lut(serde_json::from_str(NO_ENTRIES).unwrap()),
        ];
        for (case, spoil) in spoilt.iter().enumerate() {
            let mut attributes = read(&dataset());
            spoil(&mut attributes);
            let result = attributes.check();
            assert!(matches!(result, Err(RenderError::Attribute { .. })), "case {case}");
        }
    }

    const NO_ENTRIES: &str = r#"{"first": 0, "entries": [], "bits": 16}"#;

    #[test]
    fn objects_without_pixels_are_no_images() {
        let mut report = InMemDicomObject::new_empty();
        put(&mut report, tags::MODALITY, VR::CS, "SR".into());
        let result = ImageAttributes::of_frame(&report, FrameNumber::FIRST);
        assert_eq!(result, Err(RenderError::NotAnImage));
    }

    #[test]
    fn missing_or_illegal_geometry_is_named() {
        for (tag, attribute) in [
            (tags::ROWS, "Rows"),
            (tags::COLUMNS, "Columns"),
            (tags::BITS_ALLOCATED, "Bits Allocated"),
        ] {
            let mut broken = dataset();
            broken.remove_element(tag);
            let result = ImageAttributes::of_frame(&broken, FrameNumber::FIRST);
            assert!(
                matches!(result, Err(RenderError::Attribute { attribute: a, .. }) if a == attribute)
            );
        }
    }

    #[test]
    fn the_first_usable_window_is_taken() {
        let mut dataset = dataset();
        put_window(&mut dataset, "1\\40", "0\\400");
        assert_eq!(
            read(&dataset).voi,
            Voi::Window(Window::new(40.0, 400.0, VoiFunction::Linear).unwrap())
        );
    }

    #[test]
    fn a_fractional_linear_width_is_linear_exact() {
        let mut dataset = dataset();
        put_window(&mut dataset, "0.5", "0.25");
        let exact = Window::new(0.5, 0.25, VoiFunction::LinearExact).unwrap();
        assert_eq!(read(&dataset).voi, Voi::Window(exact));
    }

    #[test]
    fn unusable_windows_leave_none() {
        for (centre, width) in [("40", "-5"), ("40", ""), ("40", "NaN"), ("", "400")] {
            let mut dataset = dataset();
            put_window(&mut dataset, centre, width);
            assert_eq!(read(&dataset).voi, Voi::None, "{centre}/{width}");
        }
    }

    #[test]
    fn the_frames_group_wins_over_shared_and_top_level() {
        let mut dataset = dataset();
        put_window(&mut dataset, "1", "10");
        let group = |centre| {
            let mut macro_item = InMemDicomObject::new_empty();
            put_window(&mut macro_item, centre, "10");
            InMemDicomObject::from_element_iter([sequence(tags::FRAME_VOILUT_SEQUENCE, macro_item)])
        };
        let centre = |dataset: &InMemDicomObject| match read(dataset).voi {
            Voi::Window(window) => window.centre(),
            other => panic!("{other:?}"),
        };
        assert_eq!(centre(&dataset), 1.0);
        dataset.put(sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, group("2")));
        assert_eq!(centre(&dataset), 2.0);
        dataset.put(sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, group("3")));
        assert_eq!(centre(&dataset), 3.0);
    }

    #[test]
    fn padding_with_the_wrong_sign_is_the_same_stored_value() {
        let mut dataset = dataset();
        put(&mut dataset, tags::PIXEL_REPRESENTATION, VR::US, 1_u16.into());
        put(&mut dataset, tags::PIXEL_PADDING_VALUE, VR::US, 63_536_u16.into());
        assert_eq!(read(&dataset).padding, Some(Padding { first: -2000.0, last: -2000.0 }));
    }

    #[test]
    fn padding_ranges_are_read_in_either_order() {
        let mut dataset = dataset();
        put(&mut dataset, tags::PIXEL_PADDING_VALUE, VR::US, 10_u16.into());
        put(&mut dataset, tags::PIXEL_PADDING_RANGE_LIMIT, VR::US, 3_u16.into());
        assert_eq!(read(&dataset).padding, Some(Padding { first: 3.0, last: 10.0 }));
    }

    #[test]
    fn monochrome1_with_inverse_is_one_inversion() {
        let mut dataset = dataset();
        assert!(!read(&dataset).inverse);
        put(&mut dataset, tags::PRESENTATION_LUT_SHAPE, VR::CS, "INVERSE ".into());
        assert!(read(&dataset).inverse);
        put(&mut dataset, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME1".into());
        assert!(read(&dataset).inverse);
    }

    #[test]
    fn a_slope_of_zero_is_ignored() {
        let mut dataset = dataset();
        put(&mut dataset, tags::RESCALE_SLOPE, VR::DS, "0".into());
        put(&mut dataset, tags::RESCALE_INTERCEPT, VR::DS, "-10".into());
        assert_eq!(read(&dataset).modality, Modality::Rescale { slope: 1.0, intercept: -10.0 });
    }

    #[test]
    fn the_pixel_aspect_is_vertical_over_horizontal() {
        let mut dataset = dataset();
        put(&mut dataset, tags::PIXEL_ASPECT_RATIO, VR::IS, dicom_value!(Strs, ["2", "1"]));
        assert_eq!(read(&dataset).pixel_aspect, 2.0);
        put(&mut dataset, tags::PIXEL_ASPECT_RATIO, VR::IS, dicom_value!(Strs, ["0", "1"]));
        assert_eq!(read(&dataset).pixel_aspect, 1.0);
    }

    #[test]
    fn the_middle_frame_stands_for_an_instance_unless_one_is_named() {
        let mut dataset = dataset();
        assert_eq!(representative_frame(&dataset).get(), 1);
        put(&mut dataset, tags::NUMBER_OF_FRAMES, VR::IS, "10".into());
        assert_eq!(representative_frame(&dataset).get(), 6);
        put(
            &mut dataset,
            tags::REPRESENTATIVE_FRAME_NUMBER,
            VR::US,
            PrimitiveValue::U16(smallvec![3]),
        );
        assert_eq!(representative_frame(&dataset).get(), 3);
    }
}
