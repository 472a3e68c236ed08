//! Softcopy presentation states (PS3.3 A.33, PS3.4 N.2): how an image is to look.
//!
//! A [`PresentationState`] is read from its object once; [`PresentationState::for_image`] takes out of it
//! what applies to one frame, as plain data that can move to another process. Drawing then goes this way,
//! and a stage that the state does not have is identity: the image's own is not used (R4.30).
//!
//! ```text
//! cells -> modality -> VOI -> presentation LUT or palette      grey.rs
//!          or colour
//!       -> burned in texts hidden                        as without a state: by the image's attributes
//!       -> turned, flipped, the displayed area scaled          area.rs says where, mapping.rs does it
//!       -> ICC profile to sRGB
//!       -> shutter                                             rasterised in image pixels, brought
//!       -> layer by layer: overlays,                           into the picture by the same mapping
//!                          graphics, texts                     graphics.rs, text.rs: at the picture's
//!                                                              own resolution, so that lines stay crisp
//! ```

mod area;
mod draw;
mod graphics;
mod grey;
mod layers;
mod mapping;
mod pen;
mod state;
mod text;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use draw::draw;
pub use state::PresentationState;

use crate::colour::palette::Palette;
use crate::error::{RenderError, Result};
use crate::lut::lookup::Lut;
use crate::overlay::OverlayPlane;
use crate::shutter::Shutter;
use area::{DisplayedArea, Orientation};
use graphics::Graphic;
use grey::Grey;
use layers::Ink;
use text::Text;

/// Everything of a presentation state that applies to one frame of one image.
///
/// Its texts may name a patient: they are not part of what `Debug` writes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Presentation {
    kind: Kind,
    grey: Grey,
    icc_profile: Option<Bytes>,
    shutter: Option<ClosedShutter>,
    orientation: Orientation,
    area: Option<DisplayedArea>,
    overlays: Vec<ActiveOverlay>,
    graphics: Vec<Graphic>,
    texts: Vec<Text>,
    /// Where the state broke a rule, or has what is not drawn; no patient data.
    warnings: Vec<String>,
}

/// What becomes of the values of the image.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum Kind {
    /// Grey stays grey.
    Grey,
    /// Colour stays colour.
    Colour,
    /// Grey becomes colour, after the VOI.
    PseudoColour(Palette),
}

/// What hides parts of the image (C.7.6.11, C.7.6.15).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct ClosedShutter {
    shapes: Option<Shutter>,
    /// Hides where its bits are 1.
    bitmap: Option<OverlayPlane>,
    ink: Ink,
}

/// An overlay that is shown (C.11.7).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct ActiveOverlay {
    source: OverlaySource,
    /// The layer's place from below.
    layer: usize,
    ink: Ink,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum OverlaySource {
    /// The state's own.
    State(OverlayPlane),
    /// The image's, of this group.
    Image(u16),
}

/// Groups 6000 to 601E (PS3.5 §7.6), and the few more that are tolerated.
const MOST_OVERLAYS: usize = 32;

impl Presentation {
    /// Refuses what [`PresentationState::for_image`] never makes: it may have come from another process,
    /// and drawing relies on it.
    pub(crate) fn check(&self) -> Result<()> {
        let must = |legal: bool, attribute, problem: &str| match legal {
            true => Ok(()),
            false => Err(RenderError::attribute(attribute, problem)),
        };
        let overlays = self.overlays.iter().filter_map(|overlay| match &overlay.source {
            OverlaySource::State(plane) => Some(plane),
            OverlaySource::Image(_) => None,
        });
        let bitmap = self.shutter.iter().filter_map(|shutter| shutter.bitmap.as_ref());
        let shapes = self.shutter.as_ref().and_then(|shutter| shutter.shapes.as_ref());
        let area = self.area.as_ref().is_none_or(DisplayedArea::is_legal);
        must(self.luts().all(Lut::is_legal), "LUT Descriptor", "is illegal")?;
        must(shapes.is_none_or(Shutter::is_legal), "Shutter Shape", "is illegal")?;
        must(
            self.overlays.len() <= MOST_OVERLAYS,
            "Overlay Activation Layer",
            "is too often there",
        )?;
        must(overlays.chain(bitmap).all(OverlayPlane::is_legal), "Overlay Data", "is illegal")?;
        must(area, "Displayed Area", "is illegal")?;
        must(Graphic::are_legal(&self.graphics), "Graphic Data", "is illegal")?;
        must(Text::are_legal(&self.texts), "Unformatted Text Value", "is illegal")
    }

    fn luts(&self) -> impl Iterator<Item = &Lut> {
        let palette = match &self.kind {
            Kind::PseudoColour(palette) => Some(palette),
            Kind::Grey | Kind::Colour => None,
        };
        self.grey.luts().chain(palette.into_iter().flat_map(Palette::tables))
    }

    /// Whether anything in colour lies over the image.
    fn draws_colour(&self) -> bool {
        let shutter = self.shutter.iter().map(|shutter| shutter.ink);
        let overlays = self.overlays.iter().map(|overlay| overlay.ink);
        let graphics = self.graphics.iter().flat_map(Graphic::inks);
        let texts = self.texts.iter().map(Text::ink);
        shutter.chain(overlays).chain(graphics).chain(texts).any(|ink| !ink.is_grey())
    }
}
