//! What the thumbnail of a whole file is drawn from.

use bytes::Bytes;
use dicom_object::InMemDicomObject;
use dicomweb_types::FrameNumber;

use crate::burned_in;
use crate::category::Category;
use crate::error::{RenderError, Result};
use crate::frame::FileFrames;
use crate::limits::Limits;
use crate::part10;
use crate::slide::{Slide, SlideFile, View};
use crate::source::{Card, FrameChoice, Source};
use crate::spec::{BurnedIn, Framing, RenderSpec};

/// What the thumbnail of a file is drawn from.
#[derive(Debug)]
pub struct ThumbnailSource {
    /// The source.
    pub source: Source,
    /// A card to be drawn where the source turns out to be unsupported: of a video that nothing here plays.
    pub instead: Option<Card>,
}

impl ThumbnailSource {
    /// The source of the thumbnail of a file, beside which nothing else is known: its representative frame,
    /// the whole slide where its frames are tiles, a card where there is no image or none that a thumbnail
    /// may show (R1.10, R1.11). It holds the bytes that are drawn, not the file, where these are but a part
    /// of it.
    ///
    /// # Errors
    /// What is wrong with the file: [`RenderError`].
    pub fn of_file(file: &Bytes, spec: &RenderSpec, limits: &Limits) -> Result<Self> {
        let object = part10::read(file, limits)?;
        let category = Category::of(&object.dataset, Some(&object.transfer_syntax));
        let card = Card::of(&object.dataset);
        let hidden = spec.burned_in == BurnedIn::Icon && burned_in::is_declared(&object.dataset);
        if hidden || !is_drawn(category, &object.dataset) {
            return Ok(Self { source: Source::Card(card), instead: None });
        }
        let source = match Slide::of(&object.dataset).filter(Slide::is_tiled) {
            Some(slide) => tiles(&SlideFile::of(slide, object, limits)?, spec.framing, limits)?,
            None => one_frame(&FileFrames::open(object, limits)?, file.len())?,
        };
        Ok(Self { source, instead: (category == Category::Video).then_some(card) })
    }
}

fn is_drawn(category: Category, dataset: &InMemDicomObject) -> bool {
    match category {
        Category::SingleFrame | Category::MultiFrame(_) | Category::Video => {
            !Slide::of(dataset).is_some_and(|slide| slide.shows_label())
        }
        Category::Report | Category::Document | Category::PresentationState | Category::Other => {
            false
        }
    }
}

fn one_frame(frames: &FileFrames, file: usize) -> Result<Source> {
    let frame = frames.choose(FrameChoice::Representative)?;
    let (mut attributes, bytes) = frames.frame(frame)?;
    attributes.warnings.extend(frames.warnings.iter().cloned());
    // A part of bytes keeps all of them.
    let bytes = if bytes.len() < file / 2 { Bytes::copy_from_slice(&bytes) } else { bytes };
    let transfer_syntax = frames.transfer_syntax.clone();
    Ok(Source::Frame { attributes: Box::new(attributes), transfer_syntax, bytes })
}

fn tiles(file: &SlideFile, framing: Framing, limits: &Limits) -> Result<Source> {
    let cut = View::new(framing, file.slide(), limits)?.cut(file.slide(), limits)?;
    let attributes = file.attributes(cut.attributes_frame())?;
    let tile = |frame: FrameNumber| {
        let own = file.slide().own_frame(frame).ok_or(RenderError::NotAnImage)?;
        file.tile(own, &attributes)
    };
    let tiles: Vec<_> = cut.places.iter().map(|place| tile(place.frame)).collect::<Result<_>>()?;
    Ok(cut.source(attributes, tiles))
}
