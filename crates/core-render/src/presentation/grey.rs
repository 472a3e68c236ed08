//! From stored values to P-values (PS3.4 N.2.1): modality, VOI and presentation LUT of a state.

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicomweb_types::FrameNumber;
use serde::{Deserialize, Serialize};

use crate::attributes::{
    FunctionalGroups, ImageAttributes, Modality, Padding, Voi, lut, modality, voi,
    voi_input_is_signed,
};
use crate::codec::Decoded;
use crate::dataset::{items, text};
use crate::lut::curve::{Curve, ResolvedVoi};
use crate::lut::lookup::Lut;
use crate::pixel::cells::Cells;

/// The grey stages of a state. What is absent is identity (R4.30).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Grey {
    pub modality: Modality,
    pub voi: Voi,
    pub presentation: PresentationLut,
}

/// PS3.3 C.11.6.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) enum PresentationLut {
    Identity,
    Inverse,
    Table(Lut),
}

impl Grey {
    pub(super) const IDENTITY: Self = Self {
        modality: Modality::Identity,
        voi: Voi::None,
        presentation: PresentationLut::Identity,
    };

    /// The stages that are the same for every image. First inputs of tables are read as if they had no
    /// sign: that is the image's to say.
    pub(super) fn read(dataset: &InMemDicomObject, warnings: &mut Vec<String>) -> Self {
        Self {
            modality: modality(dataset, &no_groups(dataset), false, warnings),
            voi: Voi::None,
            presentation: PresentationLut::read(dataset, warnings),
        }
    }

    /// The same stages for an image whose stored values may have a sign.
    fn of_image(&self, attributes: &ImageAttributes) -> Self {
        let signed =
            |lut: &Lut, signed| if signed { lut.clone().with_signed_input() } else { lut.clone() };
        let modality = match &self.modality {
            Modality::Lut(lut) => Modality::Lut(signed(lut, attributes.signed)),
            other => other.clone(),
        };
        let voi = match &self.voi {
            Voi::Lut(lut) => {
                Voi::Lut(signed(lut, voi_input_is_signed(attributes.signed, &modality)))
            }
            other => other.clone(),
        };
        Self { modality, voi, presentation: self.presentation.clone() }
    }

    /// Hands the curve of a frame to `draw`.
    pub(super) fn with_curve<T>(
        &self,
        attributes: &ImageAttributes,
        decoded: &Decoded,
        draw: impl FnOnce(&Curve<'_>) -> T,
    ) -> T {
        let Self { modality, voi, presentation } = self.of_image(attributes);
        let padding = attributes.padding;
        let voi = ResolvedVoi::resolve(None, &voi, || full_range(decoded, &modality, padding));
        let (inverse, table) = match &presentation {
            PresentationLut::Identity => (false, None),
            PresentationLut::Inverse => (true, None),
            PresentationLut::Table(lut) => (false, Some(lut)),
        };
        draw(&Curve { modality: &modality, voi, inverse, presentation: table, padding })
    }

    pub(super) fn luts(&self) -> impl Iterator<Item = &Lut> {
        let modality = match &self.modality {
            Modality::Lut(lut) => Some(lut),
            Modality::Identity | Modality::Rescale { .. } => None,
        };
        let voi = match &self.voi {
            Voi::Lut(lut) => Some(lut),
            Voi::None | Voi::Window(_) | Voi::Range { .. } => None,
        };
        let presentation = match &self.presentation {
            PresentationLut::Table(lut) => Some(lut),
            PresentationLut::Identity | PresentationLut::Inverse => None,
        };
        [modality, voi, presentation].into_iter().flatten()
    }
}

/// An item of the Softcopy VOI LUT Sequence (C.11.8).
pub(super) fn softcopy_voi(item: &InMemDicomObject, warnings: &mut Vec<String>) -> Voi {
    voi(item, &no_groups(item), false, &Modality::Identity, warnings)
}

/// A state has no functional groups.
fn no_groups(dataset: &InMemDicomObject) -> FunctionalGroups<'_> {
    FunctionalGroups::of(dataset, FrameNumber::FIRST)
}

impl PresentationLut {
    fn read(dataset: &InMemDicomObject, warnings: &mut Vec<String>) -> Self {
        if let Some(item) = items(dataset, tags::PRESENTATION_LUT_SEQUENCE).first() {
            match lut(item, false) {
                Ok(lut) => return Self::Table(lut),
                Err(_) => warnings.push("the Presentation LUT has no usable table".to_owned()),
            }
        }
        match text(dataset, tags::PRESENTATION_LUT_SHAPE).as_deref() {
            None | Some("IDENTITY") => Self::Identity,
            Some("INVERSE") => Self::Inverse,
            Some(_) => {
                warnings.push("the Presentation LUT Shape is unknown".to_owned());
                Self::Identity
            }
        }
    }
}

/// VOI identity: from the least to the greatest that the modality stage can put out. Floats have no
/// such bounds; theirs are those of the frame.
fn full_range(decoded: &Decoded, modality: &Modality, padding: Option<Padding>) -> (f64, f64) {
    if let Modality::Lut(lut) = modality {
        return (0.0, f64::from(lut.full_scale()));
    }
    if matches!(decoded.cells, Cells::F32(_) | Cells::F64(_)) {
        return decoded.cells.range(decoded.layout, padding, |stored| modality.apply(stored));
    }
    let stored = decoded.layout.all();
    let ends = [*stored.start(), *stored.end()].map(|end| modality.apply(end as f64));
    (ends[0].min(ends[1]), ends[0].max(ends[1]))
}
