//! A presentation state as it is stored: what it refers to, and what applies to which image.

use std::collections::HashMap;

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicomweb_types::{FrameNumber, ImageReference, Uid};

use super::area::{DisplayedArea, Orientation};
use super::graphics::{self, Allowance, Graphic};
use super::grey::{Grey, softcopy_voi};
use super::layers::{Ink, Layers};
use super::text::{self as texts, Text};
use super::{ActiveOverlay, ClosedShutter, Kind, MOST_OVERLAYS, OverlaySource, Presentation};
use crate::attributes::{Voi, representative_frame};
use crate::colour::palette::Palette;
use crate::dataset::{integer, integers, items, primitive, text};
use crate::error::{RenderError, Result};
use crate::limits::Limits;
use crate::overlay::OverlayPlane;
use crate::part10;
use crate::shutter::Shutter;
use crate::source::FrameChoice;

/// A softcopy presentation state: grayscale (XA/XRF too), color or pseudo-color.
#[derive(Clone, PartialEq, Debug)]
pub struct PresentationState {
    references: Vec<ImageReference>,
    /// What applies to every image.
    common: Presentation,
    vois: Vec<(Scope, Voi)>,
    areas: Vec<(Scope, DisplayedArea)>,
    annotations: Vec<(Scope, Vec<Graphic>, Vec<Text>)>,
}

/// Which images an item applies to.
#[derive(Clone, PartialEq, Debug)]
enum Scope {
    /// All that the state refers to.
    Everything,
    /// These frames of these instances; all frames where none is named.
    Only(Vec<(Uid, Vec<FrameNumber>)>),
}

/// Instances, and frames, that a state and all its items name together. A state of a large study names a
/// few thousand.
const MOST_REFERENCES: usize = 100_000;

/// Items of the sequences that are limited to images, each.
const MOST_ITEMS: usize = 10_000;

impl PresentationState {
    /// The presentation state that a data set is; `None` if it is none.
    ///
    /// # Errors
    /// [`RenderError::Unsupported`] for the classes that are no such state of one image; an attribute
    /// without which there is no state.
    pub fn read(dataset: &InMemDicomObject) -> Result<Option<Self>> {
        let class = text(dataset, tags::SOP_CLASS_UID).unwrap_or_default();
        let mut warnings = Vec::new();
        let Some(kind) = kind(&class, dataset)? else { return Ok(None) };
        let mut budget = MOST_REFERENCES;
        let references = references(dataset, &mut budget, &mut warnings);
        let layers = Layers::read(dataset, &mut warnings);
        let planes = OverlayPlane::read_all(dataset, &mut warnings);
        let vois = scoped(dataset, tags::SOFTCOPY_VOILUT_SEQUENCE, &mut budget, &mut warnings)
            .into_iter()
            .map(|(scope, item)| (scope, softcopy_voi(item, &mut warnings)))
            .collect();
        let areas =
            scoped(dataset, tags::DISPLAYED_AREA_SELECTION_SEQUENCE, &mut budget, &mut warnings)
                .into_iter()
                .filter_map(|(scope, item)| {
                    Some((scope, DisplayedArea::read(item, &mut warnings)?))
                })
                .collect();
        let mut allowance = Allowance::WHOLE;
        let mut letters = texts::Allowance::WHOLE;
        let annotations =
            scoped(dataset, tags::GRAPHIC_ANNOTATION_SEQUENCE, &mut budget, &mut warnings)
                .into_iter()
                .map(|(scope, item)| {
                    let graphics = graphics::read(item, &layers, &mut allowance, &mut warnings);
                    let texts = texts::read(item, &layers, &mut letters, &mut warnings);
                    (scope, graphics, texts)
                })
                .collect();
        for (tag, what) in [
            (tags::MASK_SUBTRACTION_SEQUENCE, "mask subtraction is not applied"),
            (tags::FRAME_DISPLAY_SHUTTER_SEQUENCE, "shutters of single frames are not applied"),
        ] {
            if !items(dataset, tag).is_empty() {
                warnings.push(what.to_owned());
            }
        }
        let grey = match kind {
            Kind::Colour => Grey::IDENTITY,
            Kind::Grey | Kind::PseudoColour(_) => Grey::read(dataset, &mut warnings),
        };
        let common = Presentation {
            kind,
            grey,
            icc_profile: primitive(dataset, tags::ICC_PROFILE)
                .map(|profile| Bytes::from(profile.to_bytes().into_owned())),
            shutter: shutter(dataset, &planes, &mut warnings),
            orientation: Orientation::read(dataset, &mut warnings),
            area: None,
            overlays: overlays(dataset, planes, &layers),
            graphics: Vec::new(),
            texts: Vec::new(),
            warnings,
        };
        Ok(Some(Self { references, common, vois, areas, annotations }))
    }

    /// The presentation state in a DICOM file; `None` if it holds something else.
    ///
    /// # Errors
    /// As [`Self::read`], and where the bytes are no DICOM file.
    pub fn of_file(bytes: &Bytes, limits: &Limits) -> Result<Option<Self>> {
        Self::read(&part10::read(bytes, limits)?.dataset)
    }

    /// All images that the state refers to, in its order, each once.
    pub fn references(&self) -> Vec<ImageReference> {
        self.references.clone()
    }

    /// How this frame is to look; `None` if the state does not refer to it.
    pub fn for_image(&self, instance: &Uid, frame: FrameNumber) -> Option<Presentation> {
        self.references.iter().find(|reference| {
            reference.instance == *instance
                && (reference.frames.is_empty() || reference.frames.contains(&frame))
        })?;
        let applies = |scope: &Scope| scope.holds(instance, frame);
        let mut presentation = self.common.clone();
        if let Some((_, voi)) = self.vois.iter().find(|(scope, _)| applies(scope)) {
            presentation.grey.voi = voi.clone();
        }
        presentation.area =
            self.areas.iter().find(|(scope, _)| applies(scope)).map(|(_, area)| *area);
        for (_, graphics, texts) in self.annotations.iter().filter(|(scope, ..)| applies(scope)) {
            presentation.graphics.extend_from_slice(graphics);
            presentation.texts.extend_from_slice(texts);
        }
        Some(presentation)
    }

    /// How a frame of a file is to look, and which frame that is: of an unnamed one the representative
    /// frame, or the first that the state refers to. `None` if the state does not refer to the file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn for_file(
        &self,
        image: &Bytes,
        frame: FrameChoice,
        limits: &Limits,
    ) -> Result<Option<(FrameNumber, Presentation)>> {
        let dataset = part10::read(image, limits)?.dataset;
        let Some(instance) = uid(&dataset, tags::SOP_INSTANCE_UID) else { return Ok(None) };
        let named = self
            .references
            .iter()
            .find(|reference| reference.instance == instance)
            .and_then(|reference| reference.frames.first().copied());
        let candidates = match frame {
            FrameChoice::Number(number) => vec![number],
            FrameChoice::Representative => {
                [representative_frame(&dataset)].into_iter().chain(named).collect()
            }
        };
        Ok(candidates
            .into_iter()
            .find_map(|frame| Some((frame, self.for_image(&instance, frame)?))))
    }
}

impl Scope {
    fn holds(&self, instance: &Uid, frame: FrameNumber) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(images) => images.iter().any(|(image, frames)| {
                image == instance && (frames.is_empty() || frames.contains(&frame))
            }),
        }
    }
}

/// What a state of this class does; `None` for what is no presentation state.
fn kind(class: &str, dataset: &InMemDicomObject) -> Result<Option<Kind>> {
    use uids::*;
    let unsupported = |what: &str| Err(RenderError::unsupported(what));
    match class {
        GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE
        | XAXRF_GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE => Ok(Some(Kind::Grey)),
        COLOR_SOFTCOPY_PRESENTATION_STATE_STORAGE => Ok(Some(Kind::Colour)),
        PSEUDO_COLOR_SOFTCOPY_PRESENTATION_STATE_STORAGE => {
            Ok(Some(Kind::PseudoColour(Palette::read(dataset, false)?)))
        }
        BLENDING_SOFTCOPY_PRESENTATION_STATE_STORAGE => {
            unsupported("a Blending Softcopy Presentation State")
        }
        ADVANCED_BLENDING_PRESENTATION_STATE_STORAGE => {
            unsupported("an Advanced Blending Presentation State")
        }
        VARIABLE_MODALITY_LUT_SOFTCOPY_PRESENTATION_STATE_STORAGE => {
            unsupported("a Variable Modality LUT Softcopy Presentation State")
        }
        GRAYSCALE_PLANAR_MPR_VOLUMETRIC_PRESENTATION_STATE_STORAGE => {
            unsupported("a Grayscale Planar MPR Volumetric Presentation State")
        }
        COMPOSITING_PLANAR_MPR_VOLUMETRIC_PRESENTATION_STATE_STORAGE => {
            unsupported("a Compositing Planar MPR Volumetric Presentation State")
        }
        VOLUME_RENDERING_VOLUMETRIC_PRESENTATION_STATE_STORAGE => {
            unsupported("a Volume Rendering Volumetric Presentation State")
        }
        SEGMENTED_VOLUME_RENDERING_VOLUMETRIC_PRESENTATION_STATE_STORAGE => {
            unsupported("a Segmented Volume Rendering Volumetric Presentation State")
        }
        MULTIPLE_VOLUME_RENDERING_VOLUMETRIC_PRESENTATION_STATE_STORAGE => {
            unsupported("a Multiple Volume Rendering Volumetric Presentation State")
        }
        WAVEFORM_PRESENTATION_STATE_STORAGE | WAVEFORM_ACQUISITION_PRESENTATION_STATE_STORAGE => {
            unsupported("a Waveform Presentation State")
        }
        _ => Ok(None),
    }
}

/// The images of the Presentation State Relationship Module (C.11.11).
fn references(
    dataset: &InMemDicomObject,
    budget: &mut usize,
    warnings: &mut Vec<String>,
) -> Vec<ImageReference> {
    let mut references: Vec<ImageReference> = Vec::new();
    let mut places: HashMap<Uid, usize> = HashMap::new();
    for item in items(dataset, tags::REFERENCED_SERIES_SEQUENCE) {
        let Some(series) = uid(item, tags::SERIES_INSTANCE_UID) else { continue };
        for image in items(item, tags::REFERENCED_IMAGE_SEQUENCE) {
            let Some((instance, frames)) = referenced(image) else { continue };
            if !spend(budget, 1 + frames.len(), warnings) {
                return references;
            }
            if let Some(&place) = places.get(&instance) {
                join(&mut references[place].frames, frames);
            } else {
                places.insert(instance.clone(), references.len());
                references.push(ImageReference { series: series.clone(), instance, frames });
            }
        }
    }
    references
}

/// Frames named twice are meant once; none named are all.
fn join(frames: &mut Vec<FrameNumber>, more: Vec<FrameNumber>) {
    if frames.is_empty() || more.is_empty() {
        frames.clear();
        return;
    }
    frames.extend(more);
    unique(frames);
}

fn unique(frames: &mut Vec<FrameNumber>) {
    let mut seen = std::collections::HashSet::new();
    frames.retain(|frame| seen.insert(*frame));
}

fn referenced(image: &InMemDicomObject) -> Option<(Uid, Vec<FrameNumber>)> {
    let instance = uid(image, tags::REFERENCED_SOP_INSTANCE_UID)?;
    let mut frames: Vec<_> = integers(image, tags::REFERENCED_FRAME_NUMBER)
        .into_iter()
        .filter_map(|number| FrameNumber::new(u32::try_from(number).ok()?))
        .collect();
    unique(&mut frames);
    Some((instance, frames))
}

fn uid(dataset: &InMemDicomObject, tag: Tag) -> Option<Uid> {
    text(dataset, tag)?.parse().ok()
}

fn spend(budget: &mut usize, references: usize, warnings: &mut Vec<String>) -> bool {
    let enough = *budget >= references;
    if !enough && *budget > 0 {
        warnings.push(format!("references beyond {MOST_REFERENCES} are left out"));
    }
    *budget = if enough { *budget - references } else { 0 };
    enough
}

/// The items of a sequence that may be limited to some images (Referenced Image Sequence).
fn scoped<'a>(
    dataset: &'a InMemDicomObject,
    sequence: Tag,
    budget: &mut usize,
    warnings: &mut Vec<String>,
) -> Vec<(Scope, &'a InMemDicomObject)> {
    let items = items(dataset, sequence);
    if items.len() > MOST_ITEMS {
        warnings.push(format!("items beyond {MOST_ITEMS} of a sequence are left out"));
    }
    let scoped = items.iter().take(MOST_ITEMS).filter_map(|item| {
        let scope = scope(item, budget, warnings)?;
        Some((scope, item))
    });
    scoped.collect()
}

/// `None` where the images that an item is limited to are too many to be kept: it must not be drawn on
/// others.
fn scope(item: &InMemDicomObject, budget: &mut usize, warnings: &mut Vec<String>) -> Option<Scope> {
    if item.get(tags::REFERENCED_IMAGE_SEQUENCE).is_none() {
        return Some(Scope::Everything);
    }
    let mut images = Vec::new();
    for image in items(item, tags::REFERENCED_IMAGE_SEQUENCE) {
        let Some((instance, frames)) = referenced(image) else { continue };
        if !spend(budget, 1 + frames.len(), warnings) {
            return None;
        }
        images.push((instance, frames));
    }
    // An empty sequence limits nothing.
    Some(if images.is_empty() { Scope::Everything } else { Scope::Only(images) })
}

fn shutter(
    dataset: &InMemDicomObject,
    planes: &[OverlayPlane],
    warnings: &mut Vec<String>,
) -> Option<ClosedShutter> {
    let shapes = Shutter::read(dataset, warnings);
    let group = integer(dataset, tags::SHUTTER_OVERLAY_GROUP);
    let bitmap = group
        .and_then(|group| planes.iter().find(|plane| i64::from(plane.group()) == group).cloned());
    if group.is_some() && bitmap.is_none() {
        warnings.push("a bitmap shutter has no overlay".to_owned());
    }
    let ink = Ink::read(
        dataset,
        tags::SHUTTER_PRESENTATION_COLOR_CIE_LAB_VALUE,
        tags::SHUTTER_PRESENTATION_VALUE,
    );
    let ink = ink.unwrap_or(Ink::BLACK);
    (shapes.is_some() || bitmap.is_some()).then_some(ClosedShutter { shapes, bitmap, ink })
}

/// The overlays that have a layer. A group that the state has itself is the state's (C.11.7).
fn overlays(
    dataset: &InMemDicomObject,
    planes: Vec<OverlayPlane>,
    layers: &Layers,
) -> Vec<ActiveOverlay> {
    let group = |group: u16| {
        let layer = layers.place(Some(&text(dataset, Tag(group, 0x1001))?));
        let own = planes.iter().find(|plane| plane.group() == group);
        let is_own = primitive(dataset, Tag(group, 0x0010)).is_some();
        let source = match own {
            Some(plane) => OverlaySource::State(plane.clone()),
            // The state's own, but not usable.
            None if is_own => return None,
            None => OverlaySource::Image(group),
        };
        Some(ActiveOverlay { source, layer, ink: layers.ink(layer).unwrap_or(Ink::WHITE) })
    };
    (0x6000..=0x60FE).step_by(2).filter_map(group).take(MOST_OVERLAYS).collect()
}
