//! Cards: what is shown of an object that holds no image (R5.6).

use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use zeno::{Cap, Command, Fill, Join, PathData, Stroke, Transform};

use crate::dataset::{integer, text};
use crate::error::Result;
use crate::labels::{is_code_string, modality};
use crate::limits::Limits;
use crate::paint::{Area, paint};
use crate::pixel::raster::{Channels, Raster};
use crate::source::{Card, CardKind};
use crate::spec::Framing;
use crate::text::{Ink, Line};

const GROUND: [u8; 3] = [30, 34, 40];
const PICTOGRAM: [u8; 3] = [143, 188, 222];
const NAME: Ink = Ink { colour: [236, 239, 243], outline: None };
const SERIES: Ink = Ink { colour: [158, 167, 178], outline: None };

/// Sides of a card that nobody asked a size of.
const NATIVE: u32 = 256;
/// The shorter side below which a card has no text.
const LEGIBLE: f32 = 96.0;

impl Card {
    /// The card of an object: its kind, and what tells it from others of its study.
    pub fn of(dataset: &InMemDicomObject) -> Self {
        let modality = modality(dataset);
        let sop_class = text(dataset, tags::SOP_CLASS_UID).unwrap_or_default();
        Self {
            kind: CardKind::of_sop_class(&sop_class, modality.as_deref()),
            series_number: integer(dataset, tags::SERIES_NUMBER)
                .and_then(|number| i32::try_from(number).ok()),
            modality,
        }
    }
}

/// Draws a card in the size that `framing` asks for. A card fills a viewport: it has no aspect of its
/// own, and no region that could be shown of it.
///
/// # Errors
/// [`RenderError::TooLarge`](crate::RenderError::TooLarge).
pub(crate) fn draw(card: &Card, framing: Framing, limits: &Limits) -> Result<Raster> {
    draw_named(card.kind, series(card), framing, limits)
}

/// The same with the words that tell an object from others of its study.
pub(crate) fn draw_named(
    kind: CardKind,
    series: Option<String>,
    framing: Framing,
    limits: &Limits,
) -> Result<Raster> {
    let (width, height) = match framing {
        Framing::Native => (NATIVE, NATIVE),
        Framing::FitWithin(longest) => (longest.get(), longest.get()),
        Framing::Viewport(viewport) => (viewport.width.get(), viewport.height.get()),
    };
    limits.check_output(height, width)?;
    let data = GROUND.repeat(width as usize * height as usize);
    let mut raster = Raster { width, height, channels: Channels::Rgb, data };
    let layout = Layout::new(kind, series, width as f32, height as f32);
    draw_pictogram(&mut raster, kind, layout.pictogram);
    for (line, baseline, ink) in &layout.lines {
        line.draw(&mut raster, (width as f32 - line.width()) / 2.0, *baseline, *ink);
    }
    Ok(raster)
}

/// The pictogram in the middle, what it is called below.
struct Layout {
    /// Left, top and side of the pictogram.
    pictogram: (f32, f32, f32),
    /// With the baseline of each.
    lines: Vec<(Line, f32, Ink)>,
}

impl Layout {
    fn new(kind: CardKind, series: Option<String>, width: f32, height: f32) -> Self {
        let shorter = width.min(height);
        let size = (shorter * 0.085).max(10.0);
        let texts = [(Some(kind.name().to_owned()), NAME), (series, SERIES)];
        let lines: Vec<(Line, Ink)> = texts
            .into_iter()
            .filter(|_| shorter >= LEGIBLE)
            .filter_map(|(text, ink)| Some((Line::fitted(&text?, size, width * 0.92)?, ink)))
            .collect();
        if lines.is_empty() {
            let side = shorter * 0.72;
            let pictogram = ((width - side) / 2.0, (height - side) / 2.0, side);
            return Self { pictogram, lines: Vec::new() };
        }
        let (side, gap, step) = (shorter * 0.5, size * 0.9, size * 1.4);
        let block = side + gap + (lines.len() as f32 - 1.0) * step + size * Line::CAPITALS;
        let top = (height - block) / 2.0;
        let first = top + side + gap + size * Line::CAPITALS;
        let placed = |(row, (line, ink))| (line, first + row as f32 * step, ink);
        Self {
            pictogram: ((width - side) / 2.0, top, side),
            lines: lines.into_iter().enumerate().map(placed).collect(),
        }
    }
}

/// Modality and series number. What came from another process is looked at once more.
fn series(card: &Card) -> Option<String> {
    let modality = card.modality.as_deref().filter(|text| is_code_string(text));
    let number = card.series_number.map(|number| number.to_string());
    let words: Vec<&str> = [modality, number.as_deref()].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Side of the square that pictograms are drawn in, and the width of their lines.
const GRID: f32 = 24.0;
const LINE: f32 = 1.5;

fn draw_pictogram(raster: &mut Raster, kind: CardKind, (left, top, side): (f32, f32, f32)) {
    let scale = side / GRID;
    let place = Transform::new(scale, 0.0, 0.0, scale, left, top);
    let in_pixels = |svg: &str| -> Vec<Command> {
        svg.commands().map(|command| command.transform(&place)).collect()
    };
    let area = Area::spanning(left, top, left + side, top + side);
    let mut stroke = Stroke::new((LINE * scale).max(1.0));
    stroke.join(Join::Round).cap(Cap::Round);
    let Pictogram { lines, filled } = kind.pictogram();
    paint(raster, area, &in_pixels(lines), stroke, PICTOGRAM);
    paint(raster, area, &in_pixels(filled), Fill::NonZero, PICTOGRAM);
}

/// Paths in the form of SVG, on a square of 24.
struct Pictogram {
    lines: &'static str,
    filled: &'static str,
}

impl CardKind {
    fn name(self) -> &'static str {
        match self {
            Self::Report => "Report",
            Self::Document => "Document",
            Self::Waveform => "Waveform",
            Self::Audio => "Audio",
            Self::Video => "Video",
            Self::StructureSet => "Structure set",
            Self::Plan => "Plan",
            Self::Registration => "Registration",
            Self::PresentationState => "Presentation state",
            Self::KeyObjects => "Key objects",
            Self::Surface => "Surface",
            Self::Measurements => "Measurements",
            Self::RawData => "Raw data",
            Self::Image => "Image",
            Self::Other => "Other object",
        }
    }

    fn pictogram(self) -> Pictogram {
        let (lines, filled) = match self {
            Self::Report => {
                ("M5 2.5H19V21.5H5Z M8.5 7H15.5 M8.5 10.5H15.5 M8.5 14H15.5 M8.5 17.5H12.5", "")
            }
            Self::Document => (
                "M14.5 2.5H3V21.5H21V9Z M14.5 2.5V9H21 \
                 M5.9 17.8V12.6H7C9 12.6 9 15.4 7 15.4H5.9 \
                 M10.6 17.8V12.6H11.3C14.2 12.6 14.2 17.8 11.3 17.8Z \
                 M15.9 17.8V12.6H18.2 M15.9 15.3H17.7",
                "",
            ),
            Self::Waveform => (
                "M1.5 13H6L7.5 10L9 13H10L11 15.5L12.6 4L14.6 20L15.7 13H17C18 9.5 19.5 9.5 20.3 13H22.5",
                "",
            ),
            Self::Audio => (
                "M16 9C17.6 10.6 17.6 13.4 16 15 M18.6 6.4C21.8 9.6 21.8 14.4 18.6 17.6",
                "M3 9H7.5L13 4.5V19.5L7.5 15H3Z",
            ),
            Self::Video => (
                "M2 4.5H22V19.5H2Z M6 4.5V19.5 M18 4.5V19.5 M2 9.5H6 M2 14.5H6 M18 9.5H22 M18 14.5H22",
                "M10 8.5L15 12L10 15.5Z",
            ),
            Self::StructureSet => (
                "M12 3.5C18.5 3.5 22.5 7.2 22.5 12.2C22.5 17.2 18.5 20.5 12 20.5 \
                 C5.5 20.5 1.5 17.2 1.5 12.2C1.5 7.2 5.5 3.5 12 3.5Z \
                 M9.8 7.6C7.4 7.8 5 9 5 12.8C5 16.4 8 16.7 9.2 15.4C10.2 14.2 9.8 7.6 9.8 7.6Z \
                 M14.2 7.6C16.6 7.8 19 9 19 12.8C19 16.4 16 16.7 14.8 15.4C13.8 14.2 14.2 7.6 14.2 7.6Z",
                "M12 16.2C12.7 16.2 13.2 16.7 13.2 17.4C13.2 18.1 12.7 18.6 12 18.6 \
                 C11.3 18.6 10.8 18.1 10.8 17.4C10.8 16.7 11.3 16.2 12 16.2Z",
            ),
            Self::Plan => (
                "M12 5C16.1 5 19.5 8.4 19.5 12.5C19.5 16.6 16.1 20 12 20C7.9 20 4.5 16.6 4.5 12.5C4.5 8.4 7.9 5 12 5Z \
                 M12 1.5V8.5 M12 16.5V23 M1.5 12.5H8 M16 12.5H22.5",
                "M12 10.5C13.1 10.5 14 11.4 14 12.5C14 13.6 13.1 14.5 12 14.5C10.9 14.5 10 13.6 10 12.5C10 11.4 10.9 10.5 12 10.5Z",
            ),
            Self::Registration => {
                ("M2.5 2.5H15.5V15.5H2.5Z M8.5 8.5H21.5V21.5H8.5Z M12 10V14 M10 12H14", "")
            }
            Self::PresentationState => (
                "M2 4H22V20H2Z M12 7.5C14.5 7.5 16.5 9.5 16.5 12C16.5 14.5 14.5 16.5 12 16.5C9.5 16.5 7.5 14.5 7.5 12C7.5 9.5 9.5 7.5 12 7.5Z",
                "M12 7.5C14.5 7.5 16.5 9.5 16.5 12C16.5 14.5 14.5 16.5 12 16.5Z",
            ),
            Self::KeyObjects => (
                "M12 2.5L14.5 9L21.5 9.4L16.1 13.8L17.9 20.6L12 16.8L6.1 20.6L7.9 13.8L2.5 9.4L9.5 9Z",
                "M12 2.5L14.5 9L21.5 9.4L16.1 13.8L17.9 20.6L12 16.8L6.1 20.6L7.9 13.8L2.5 9.4L9.5 9Z",
            ),
            Self::Surface => (
                "M12 2L20.7 7V17L12 22L3.3 17V7Z M7.3 9.2H16.7L12 17.3Z \
                 M12 2L7.3 9.2 M12 2L16.7 9.2 M3.3 7L7.3 9.2 M20.7 7L16.7 9.2 \
                 M3.3 17L7.3 9.2 M3.3 17L12 17.3 M20.7 17L16.7 9.2 M20.7 17L12 17.3 M12 22V17.3",
                "",
            ),
            Self::Measurements => (
                "M1.5 7.5H22.5V16.5H1.5Z M5 7.5V11 M8.5 7.5V12.5 M12 7.5V11 M15.5 7.5V12.5 M19 7.5V11",
                "",
            ),
            Self::RawData => (
                "M4 5.5C4 1.5 20 1.5 20 5.5V18.5C20 22.5 4 22.5 4 18.5Z \
                 M4 5.5C4 9.5 20 9.5 20 5.5 M4 12C4 16 20 16 20 12",
                "",
            ),
            Self::Image => (
                "M2 4H22V20H2Z M2 17.5L8.5 11L13 15.5L16 12.5L22 18.5",
                "M16 7C17 7 17.8 7.8 17.8 8.8C17.8 9.8 17 10.6 16 10.6C15 10.6 14.2 9.8 14.2 8.8C14.2 7.8 15 7 16 7Z",
            ),
            Self::Other => (
                "M12 2L20.7 6.8V17.2L12 22L3.3 17.2V6.8Z M3.3 6.8L12 11.7L20.7 6.8 M12 11.7V22",
                "",
            ),
        };
        Pictogram { lines, filled }
    }

    /// The kind of the objects of a SOP class (PS3.4 B.5); where it is unknown or absent, of a
    /// modality. Classes of images are [`CardKind::Image`], for those that cannot be shown.
    pub fn of_sop_class(uid: &str, modality: Option<&str>) -> Self {
        let uid = uid.trim_matches([' ', '\0']);
        Self::of_known_class(uid)
            .or_else(|| uids_name(uid).and_then(Self::of_class_name))
            .or_else(|| Self::of_modality(modality?))
            .unwrap_or(Self::Other)
    }

    #[rustfmt::skip] // a table
    fn of_known_class(uid: &str) -> Option<Self> {
        use uids::*;
        Some(match uid {
            BASIC_TEXT_SR_STORAGE | ENHANCED_SR_STORAGE | COMPREHENSIVE_SR_STORAGE
            | COMPREHENSIVE3_DSR_STORAGE | EXTENSIBLE_SR_STORAGE | PROCEDURE_LOG_STORAGE
            | MAMMOGRAPHY_CADSR_STORAGE | CHEST_CADSR_STORAGE | COLON_CADSR_STORAGE
            | X_RAY_RADIATION_DOSE_SR_STORAGE | ENHANCED_X_RAY_RADIATION_DOSE_SR_STORAGE
            | RADIOPHARMACEUTICAL_RADIATION_DOSE_SR_STORAGE | PATIENT_RADIATION_DOSE_SR_STORAGE
            | IMPLANTATION_PLAN_SR_STORAGE | ACQUISITION_CONTEXT_SR_STORAGE
            | SIMPLIFIED_ADULT_ECHO_SR_STORAGE | PLANNED_IMAGING_AGENT_ADMINISTRATION_SR_STORAGE
            | PERFORMED_IMAGING_AGENT_ADMINISTRATION_SR_STORAGE | WAVEFORM_ANNOTATION_SR_STORAGE
            | SPECTACLE_PRESCRIPTION_REPORT_STORAGE
            | MACULAR_GRID_THICKNESS_AND_VOLUME_REPORT_STORAGE | CONTENT_ASSESSMENT_RESULTS_STORAGE
            | ENCAPSULATED_CDA_STORAGE => Self::Report,
            ENCAPSULATED_PDF_STORAGE => Self::Document,
            ENCAPSULATED_STL_STORAGE | ENCAPSULATED_OBJ_STORAGE | ENCAPSULATED_MTL_STORAGE
            | SURFACE_SEGMENTATION_STORAGE | SURFACE_SCAN_MESH_STORAGE
            | SURFACE_SCAN_POINT_CLOUD_STORAGE => Self::Surface,
            BASIC_VOICE_AUDIO_WAVEFORM_STORAGE | GENERAL_AUDIO_WAVEFORM_STORAGE => Self::Audio,
            VIDEO_ENDOSCOPIC_IMAGE_STORAGE | VIDEO_MICROSCOPIC_IMAGE_STORAGE
            | VIDEO_PHOTOGRAPHIC_IMAGE_STORAGE => Self::Video,
            RT_STRUCTURE_SET_STORAGE | RT_SEGMENT_ANNOTATION_STORAGE => Self::StructureSet,
            RT_PLAN_STORAGE | RT_ION_PLAN_STORAGE | RT_BEAMS_TREATMENT_RECORD_STORAGE
            | RT_ION_BEAMS_TREATMENT_RECORD_STORAGE | RT_BRACHY_TREATMENT_RECORD_STORAGE
            | RT_TREATMENT_SUMMARY_RECORD_STORAGE | RT_PHYSICIAN_INTENT_STORAGE
            | RT_RADIATION_SET_STORAGE | C_ARM_PHOTON_ELECTRON_RADIATION_STORAGE
            | TOMOTHERAPEUTIC_RADIATION_STORAGE | ROBOTIC_ARM_RADIATION_STORAGE
            | RT_RADIATION_RECORD_SET_STORAGE | RT_RADIATION_SALVAGE_RECORD_STORAGE
            | TOMOTHERAPEUTIC_RADIATION_RECORD_STORAGE | ROBOTIC_RADIATION_RECORD_STORAGE
            | C_ARM_PHOTON_ELECTRON_RADIATION_RECORD_STORAGE | RT_TREATMENT_PREPARATION_STORAGE
            | RT_RADIATION_SET_DELIVERY_INSTRUCTION_STORAGE | RT_BEAMS_DELIVERY_INSTRUCTION_STORAGE
            | RT_BRACHY_APPLICATION_SETUP_DELIVERY_INSTRUCTION_STORAGE
            | RT_PATIENT_POSITION_ACQUISITION_INSTRUCTION_STORAGE => Self::Plan,
            SPATIAL_REGISTRATION_STORAGE | DEFORMABLE_SPATIAL_REGISTRATION_STORAGE
            | SPATIAL_FIDUCIALS_STORAGE => Self::Registration,
            GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE
            | COLOR_SOFTCOPY_PRESENTATION_STATE_STORAGE
            | PSEUDO_COLOR_SOFTCOPY_PRESENTATION_STATE_STORAGE
            | BLENDING_SOFTCOPY_PRESENTATION_STATE_STORAGE
            | XAXRF_GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE
            | VARIABLE_MODALITY_LUT_SOFTCOPY_PRESENTATION_STATE_STORAGE
            | GRAYSCALE_PLANAR_MPR_VOLUMETRIC_PRESENTATION_STATE_STORAGE
            | COMPOSITING_PLANAR_MPR_VOLUMETRIC_PRESENTATION_STATE_STORAGE
            | ADVANCED_BLENDING_PRESENTATION_STATE_STORAGE
            | VOLUME_RENDERING_VOLUMETRIC_PRESENTATION_STATE_STORAGE
            | SEGMENTED_VOLUME_RENDERING_VOLUMETRIC_PRESENTATION_STATE_STORAGE
            | MULTIPLE_VOLUME_RENDERING_VOLUMETRIC_PRESENTATION_STATE_STORAGE
            | WAVEFORM_PRESENTATION_STATE_STORAGE | WAVEFORM_ACQUISITION_PRESENTATION_STATE_STORAGE
            | BASIC_STRUCTURED_DISPLAY_STORAGE => Self::PresentationState,
            KEY_OBJECT_SELECTION_DOCUMENT_STORAGE => Self::KeyObjects,
            REAL_WORLD_VALUE_MAPPING_STORAGE | STEREOMETRIC_RELATIONSHIP_STORAGE
            | LENSOMETRY_MEASUREMENTS_STORAGE | AUTOREFRACTION_MEASUREMENTS_STORAGE
            | KERATOMETRY_MEASUREMENTS_STORAGE | SUBJECTIVE_REFRACTION_MEASUREMENTS_STORAGE
            | VISUAL_ACUITY_MEASUREMENTS_STORAGE | OPHTHALMIC_AXIAL_MEASUREMENTS_STORAGE
            | INTRAOCULAR_LENS_CALCULATIONS_STORAGE
            | OPHTHALMIC_VISUAL_FIELD_STATIC_PERIMETRY_MEASUREMENTS_STORAGE
            | OPHTHALMIC_OPTICAL_COHERENCE_TOMOGRAPHY_BSCAN_VOLUME_ANALYSIS_STORAGE
            | MICROSCOPY_BULK_SIMPLE_ANNOTATIONS_STORAGE => Self::Measurements,
            RAW_DATA_STORAGE | MR_SPECTROSCOPY_STORAGE | TRACTOGRAPHY_RESULTS_STORAGE
            => Self::RawData,
            RT_DOSE_STORAGE | SEGMENTATION_STORAGE | LABEL_MAP_SEGMENTATION_STORAGE
            | HEIGHT_MAP_SEGMENTATION_STORAGE | PARAMETRIC_MAP_STORAGE | ENHANCED_US_VOLUME_STORAGE
            | OPHTHALMIC_THICKNESS_MAP_STORAGE | CORNEAL_TOPOGRAPHY_MAP_STORAGE => Self::Image,
            _ => return None,
        })
    }

    /// By the words that the standard names its classes with.
    fn of_class_name(name: &str) -> Option<Self> {
        let words = [
            ("Image Storage", Self::Image),
            ("Waveform", Self::Waveform),
            // The trials that were retired.
            ("SR Storage", Self::Report),
            ("Beams Delivery Instruction", Self::Plan),
        ];
        words.into_iter().find(|(word, _)| name.contains(word)).map(|(_, kind)| kind)
    }

    fn of_modality(modality: &str) -> Option<Self> {
        Some(match modality {
            "SR" => Self::Report,
            "DOC" => Self::Document,
            "ECG" | "EPS" | "HD" | "RESP" | "EEG" | "EMG" | "EOG" | "POS" => Self::Waveform,
            "AU" => Self::Audio,
            "RTSTRUCT" => Self::StructureSet,
            "RTPLAN" | "RTRECORD" => Self::Plan,
            "REG" | "FID" => Self::Registration,
            "PR" => Self::PresentationState,
            "KO" => Self::KeyObjects,
            "M3D" => Self::Surface,
            "RWV" | "SMR" => Self::Measurements,
            _ => return None,
        })
    }
}

/// What the standard calls a class (PS3.6 Table A-1).
fn uids_name(uid: &str) -> Option<&'static str> {
    use dicom_core::dictionary::{UidDictionary, UidDictionaryEntry};
    dicom_dictionary_std::StandardSopClassDictionary.by_uid(uid).map(|entry| entry.name())
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, PrimitiveValue, VR};

    use super::*;
    use crate::spec::Viewport;

    const KINDS: [CardKind; 15] = [
        CardKind::Report,
        CardKind::Document,
        CardKind::Waveform,
        CardKind::Audio,
        CardKind::Video,
        CardKind::StructureSet,
        CardKind::Plan,
        CardKind::Registration,
        CardKind::PresentationState,
        CardKind::KeyObjects,
        CardKind::Surface,
        CardKind::Measurements,
        CardKind::RawData,
        CardKind::Image,
        CardKind::Other,
    ];

    fn card(kind: CardKind) -> Card {
        Card { kind, modality: Some("SR".to_owned()), series_number: Some(3) }
    }

    fn drawn(card: &Card, width: u32, height: u32) -> Raster {
        let viewport: Viewport = format!("{width},{height}").parse().unwrap();
        draw(card, Framing::Viewport(viewport), &Limits::default()).unwrap()
    }

    /// Pixels that are not the ground.
    fn inked(raster: &Raster) -> usize {
        raster.data.chunks(3).filter(|pixel| *pixel != GROUND).count()
    }

    #[test]
    fn every_kind_has_a_picture_of_its_own_in_every_size() {
        for (width, height) in [(32, 32), (64, 64), (256, 256), (1000, 200), (200, 1000)] {
            let pictures = KINDS.map(|kind| {
                let raster = drawn(&card(kind), width, height);
                assert_eq!((raster.width, raster.height), (width, height));
                assert_eq!(raster.data.len(), (width * height * 3) as usize);
                let side = width.min(height) as usize;
                assert!(inked(&raster) > side * side / 20, "{kind:?} at {width} × {height}");
                raster.data
            });
            for (index, picture) in pictures.iter().enumerate() {
                assert!(!pictures[index + 1..].contains(picture), "{:?}", KINDS[index]);
            }
        }
    }

    #[test]
    fn tiny_and_huge_cards_are_drawn_and_their_edges_are_ground() {
        for (width, height) in [(1, 1), (1, 500), (500, 1), (7, 3), (2048, 2048)] {
            let raster = drawn(&card(CardKind::KeyObjects), width, height);
            assert!(raster.data.len() == (width * height * 3) as usize);
            if width.min(height) > 6 {
                assert_eq!(raster.data[..3], GROUND);
            }
        }
    }

    #[test]
    fn a_card_takes_the_size_it_is_asked_for() {
        let size = |framing| {
            let raster = draw(&card(CardKind::Plan), framing, &Limits::default()).unwrap();
            (raster.width, raster.height)
        };
        assert_eq!(size(Framing::Native), (256, 256));
        assert_eq!(size(Framing::FitWithin(100.try_into().unwrap())), (100, 100));
        assert_eq!(size(Framing::Viewport("300,100".parse().unwrap())), (300, 100));
    }

    #[test]
    fn cards_are_bounded() {
        let viewport = Framing::Viewport("60000,60000".parse().unwrap());
        assert!(draw(&card(CardKind::Plan), viewport, &Limits::default()).is_err());
    }

    #[test]
    fn only_code_strings_are_shown_as_modality() {
        let with = |modality: &str| {
            let modality = Some(modality.to_owned());
            drawn(&Card { modality, ..card(CardKind::Report) }, 256, 256).data
        };
        let none = drawn(&Card { modality: None, ..card(CardKind::Report) }, 256, 256).data;
        assert!(with("SR") != none);
        for text in ["Doe^Jane", "sr", "", "ABCDEFGHIJKLMNOPQ", "SR\n", "Ä"] {
            assert!(with(text) == none, "{text:?}");
        }
    }

    #[test]
    fn kinds_follow_the_sop_class_and_then_the_modality() {
        for (uid, kind) in [
            (uids::BASIC_TEXT_SR_STORAGE, CardKind::Report),
            (uids::X_RAY_RADIATION_DOSE_SR_STORAGE, CardKind::Report),
            ("1.2.840.10008.5.1.4.1.1.88.1", CardKind::Report),
            (uids::ENCAPSULATED_CDA_STORAGE, CardKind::Report),
            (uids::ENCAPSULATED_PDF_STORAGE, CardKind::Document),
            (uids::ENCAPSULATED_STL_STORAGE, CardKind::Surface),
            (uids::TWELVE_LEAD_ECG_WAVEFORM_STORAGE, CardKind::Waveform),
            (uids::SLEEP_ELECTROENCEPHALOGRAM_WAVEFORM_STORAGE, CardKind::Waveform),
            (uids::GENERAL_AUDIO_WAVEFORM_STORAGE, CardKind::Audio),
            (uids::WAVEFORM_ANNOTATION_SR_STORAGE, CardKind::Report),
            (uids::VIDEO_ENDOSCOPIC_IMAGE_STORAGE, CardKind::Video),
            (uids::RT_STRUCTURE_SET_STORAGE, CardKind::StructureSet),
            (uids::RT_ION_PLAN_STORAGE, CardKind::Plan),
            (uids::RT_BEAMS_TREATMENT_RECORD_STORAGE, CardKind::Plan),
            (uids::DEFORMABLE_SPATIAL_REGISTRATION_STORAGE, CardKind::Registration),
            (uids::BLENDING_SOFTCOPY_PRESENTATION_STATE_STORAGE, CardKind::PresentationState),
            (uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE, CardKind::KeyObjects),
            (uids::SURFACE_SEGMENTATION_STORAGE, CardKind::Surface),
            (uids::REAL_WORLD_VALUE_MAPPING_STORAGE, CardKind::Measurements),
            (uids::RAW_DATA_STORAGE, CardKind::RawData),
            (uids::TRACTOGRAPHY_RESULTS_STORAGE, CardKind::RawData),
            (uids::CT_IMAGE_STORAGE, CardKind::Image),
            (uids::VL_WHOLE_SLIDE_MICROSCOPY_IMAGE_STORAGE, CardKind::Image),
            (uids::SEGMENTATION_STORAGE, CardKind::Image),
            (uids::VERIFICATION, CardKind::Other),
            ("", CardKind::Other),
            ("1.2.3", CardKind::Other),
        ] {
            assert_eq!(CardKind::of_sop_class(uid, None), kind, "{uid}");
        }
        assert_eq!(
            CardKind::of_sop_class("1.2.840.10008.5.1.4.1.1.104.1\0", None),
            CardKind::Document
        );
        assert_eq!(CardKind::of_sop_class("1.2.3", Some("SR")), CardKind::Report);
        assert_eq!(CardKind::of_sop_class(uids::RAW_DATA_STORAGE, Some("SR")), CardKind::RawData);
    }

    #[test]
    fn a_card_of_a_data_set_holds_nothing_of_the_patient() {
        let text = |tag, vr, text: &str| DataElement::new(tag, vr, PrimitiveValue::from(text));
        let dataset = |modality: &str| {
            InMemDicomObject::from_element_iter([
                text(tags::SOP_CLASS_UID, VR::UI, uids::ENHANCED_SR_STORAGE),
                text(tags::MODALITY, VR::CS, modality),
                text(tags::SERIES_NUMBER, VR::IS, "12"),
                text(tags::PATIENT_NAME, VR::PN, "Doe^Jane"),
            ])
        };
        let expected = Card {
            kind: CardKind::Report,
            modality: Some("SR".to_owned()),
            series_number: Some(12),
        };
        assert_eq!(Card::of(&dataset("SR ")), expected);
        assert_eq!(Card::of(&dataset("Doe^Jane")).modality, None);
        let empty = Card::of(&InMemDicomObject::new_empty());
        assert_eq!(empty, Card { kind: CardKind::Other, modality: None, series_number: None });
    }
}
