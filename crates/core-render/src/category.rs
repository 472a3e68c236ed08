//! What kind of object a data set is, as far as rendering goes (PS3.18 §8.7.2).

use bytes::Bytes;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicomweb_types::TransferSyntax;
use serde::{Deserialize, Serialize};

use crate::attributes::{describes_pixels, number_of_frames};
use crate::dataset::{primitive, text};
use crate::error::Result;
use crate::limits::Limits;
use crate::part10;
use crate::slide::Slide;
use crate::source::CardKind;

/// A category of PS3.18 §8.7.2, with presentation states and documents told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Category {
    /// One picture: a single frame, or a slide whose frames are tiles of it.
    SingleFrame,
    /// So many frames, above 1, each a picture.
    MultiFrame(u32),
    /// A video: one stream for all frames.
    Video,
    /// A structured report, key objects among them.
    Report,
    /// An encapsulated document: PDF, CDA, a model for a printer.
    Document,
    /// A presentation state: the images that it refers to.
    PresentationState,
    /// What has no rendered form: waveforms, plans, raw data …
    Other,
}

impl Category {
    /// The category of an object with these attributes; `transfer_syntax` where it is known.
    pub fn of(dataset: &InMemDicomObject, transfer_syntax: Option<&TransferSyntax>) -> Self {
        let sop_class = text(dataset, tags::SOP_CLASS_UID);
        if let Some(category) = sop_class.as_deref().and_then(Self::of_sop_class) {
            return category;
        }
        if primitive(dataset, tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT).is_some() {
            return Self::Document;
        }
        if !describes_pixels(dataset) {
            return Self::Other;
        }
        let stored = text(dataset, tags::AVAILABLE_TRANSFER_SYNTAX_UID);
        let stored = stored.map(|uid| TransferSyntax::from_uid(&uid));
        if transfer_syntax.or(stored.as_ref()).is_some_and(TransferSyntax::is_video) {
            return Self::Video;
        }
        // Of an object that is only described, the class tells where nobody names its syntax.
        let nobody_says = transfer_syntax.is_none() && stored.is_none();
        if nobody_says && sop_class.as_deref().is_some_and(|class| VIDEO.contains(&class)) {
            return Self::Video;
        }
        match number_of_frames(dataset) {
            1 => Self::SingleFrame,
            _ if Slide::of(dataset).is_some_and(|slide| slide.is_tiled()) => Self::SingleFrame,
            frames => Self::MultiFrame(frames),
        }
    }

    /// The category of every object of a SOP class (PS3.4 B.5) that holds no image; `None` of those
    /// that do, or may.
    pub fn of_sop_class(uid: &str) -> Option<Self> {
        let class = uid.strip_prefix("1.2.840.10008.5.1.4.1.1.")?;
        let root = class.split('.').next().unwrap_or_default();
        match (root, class) {
            ("11", _) => Some(Self::PresentationState),
            ("88", _) => Some(Self::Report),
            ("104", _) => Some(Self::Document),
            _ => match CardKind::of_sop_class(uid, None) {
                CardKind::Waveform
                | CardKind::Audio
                | CardKind::StructureSet
                | CardKind::Plan
                | CardKind::Registration
                | CardKind::Surface
                | CardKind::Measurements
                | CardKind::RawData => Some(Self::Other),
                _ => None,
            },
        }
    }
}

/// Storage classes of videos (PS3.3 A.32.5 to A.32.7).
const VIDEO: [&str; 3] = [
    uids::VIDEO_ENDOSCOPIC_IMAGE_STORAGE,
    uids::VIDEO_MICROSCOPIC_IMAGE_STORAGE,
    uids::VIDEO_PHOTOGRAPHIC_IMAGE_STORAGE,
];

/// A DICOM file's attributes, without its pixel data.
#[derive(Debug)]
pub struct FileAttributes {
    /// The data set.
    pub dataset: InMemDicomObject,
    /// What the pixel data are encoded in.
    pub transfer_syntax: TransferSyntax,
}

impl FileAttributes {
    /// Reads a whole DICOM file (PS3.10), also without preamble or meta group.
    ///
    /// # Errors
    /// What is wrong with the file: [`RenderError`](crate::RenderError).
    pub fn read(file: &Bytes, limits: &Limits) -> Result<Self> {
        let file = part10::read(file, limits)?;
        Ok(Self { dataset: file.dataset, transfer_syntax: file.transfer_syntax })
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::{Tag, VR};
    use dicom_dictionary_std::uids;

    use super::*;
    use crate::attributes::tests::{dataset, put};

    fn category(changes: &[(Tag, VR, &str)]) -> Category {
        let mut dataset = dataset();
        for &(tag, vr, value) in changes {
            put(&mut dataset, tag, vr, value.into());
        }
        Category::of(&dataset, None)
    }

    #[test]
    fn images_are_told_apart_by_their_frames() {
        let frames = |n| (tags::NUMBER_OF_FRAMES, VR::IS, n);
        assert_eq!(category(&[]), Category::SingleFrame);
        assert_eq!(category(&[frames("1")]), Category::SingleFrame);
        assert_eq!(category(&[frames("20")]), Category::MultiFrame(20));
    }

    #[test]
    fn videos_are_told_by_their_transfer_syntax() {
        let video = TransferSyntax::from_uid(uids::MPEG4HP41);
        assert_eq!(Category::of(&dataset(), Some(&video)), Category::Video);
        let stored = (tags::AVAILABLE_TRANSFER_SYNTAX_UID, VR::UI, uids::MPEG4HP41);
        assert_eq!(category(&[stored]), Category::Video);
    }

    #[test]
    fn what_holds_no_image_is_told_by_its_class() {
        for (class, expected) in [
            (uids::BASIC_TEXT_SR_STORAGE, Category::Report),
            (uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE, Category::Report),
            (uids::ENCAPSULATED_PDF_STORAGE, Category::Document),
            (uids::GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE, Category::PresentationState),
            (uids::TWELVE_LEAD_ECG_WAVEFORM_STORAGE, Category::Other),
            (uids::RT_STRUCTURE_SET_STORAGE, Category::Other),
            (uids::RAW_DATA_STORAGE, Category::Other),
        ] {
            assert_eq!(category(&[(tags::SOP_CLASS_UID, VR::UI, class)]), expected, "{class}");
        }
        let mut waveform = InMemDicomObject::new_empty();
        put(&mut waveform, tags::MODALITY, VR::CS, "ECG".into());
        assert_eq!(Category::of(&waveform, None), Category::Other);
        for image in [
            uids::CT_IMAGE_STORAGE,
            uids::SEGMENTATION_STORAGE,
            uids::RT_DOSE_STORAGE,
            uids::RT_IMAGE_STORAGE,
            uids::PARAMETRIC_MAP_STORAGE,
            uids::OPHTHALMIC_THICKNESS_MAP_STORAGE,
        ] {
            assert_eq!(Category::of_sop_class(image), None, "{image}");
        }
    }
}
