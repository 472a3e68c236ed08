//! A frame as its presentation state wants it.

use super::area;
use super::mapping::Mapping;
use super::pen::{Pen, cover};
use super::{ClosedShutter, Kind, OverlaySource, Presentation};
use crate::annotation;
use crate::attributes::{ImageAttributes, Photometric};
use crate::burned_in;
use crate::codec::{self, Decoded, Encoded, SampleSpace};
use crate::colour::icc::{self, Managed};
use crate::colour::rgb::to_rgb;
use crate::error::{RenderError, Result};
use crate::frame::Frame;
use crate::overlay::OverlayPlane;
use crate::pipeline::{self, Finished, index_palette, is_lossless, warn_of_size};
use crate::pixel::raster::{Channels, Raster};
use crate::source::{Labels, Observer, RenderJob, Source, Stage};
use crate::spec::{Overlays, RenderSpec};

/// The picture of a single frame.
///
/// # Errors
/// As without a presentation state; sources other than single frames.
pub(crate) fn draw(
    presentation: &Presentation,
    job: &RenderJob,
    observe: &mut Observer<'_>,
) -> Result<Finished> {
    presentation.check()?;
    observe(Stage::Decode)?;
    let Frame { attributes, transfer_syntax, bytes, mut warnings, dataset } = single_frame(job)?;
    if attributes.burned_in.wants_icon(&job.spec) {
        return pipeline::icon(dataset.as_ref(), &attributes, job, observe);
    }
    warnings.extend_from_slice(&presentation.warnings);
    job.limits.check_source(attributes.rows, attributes.columns)?;
    // Refuses an impossible size before the work.
    presentation.mapping((attributes.columns, attributes.rows), job)?;
    let encoded = Encoded {
        attributes: &attributes,
        bytes: &bytes,
        lossless: is_lossless(&transfer_syntax),
        limits: &job.limits,
        density: &|_, _| 1.0,
        tile: None,
    };
    let decoded = codec::decode(&transfer_syntax, &encoded, &mut warnings)?;
    warn_of_size(&decoded, &attributes, &mut warnings);

    observe(Stage::Render)?;
    let mapping = presentation.mapping(decoded.full, job)?;
    let mut values = presentation.values(&decoded, &attributes, &mut warnings)?;
    burned_in::hide(&mut values, decoded.full, &attributes, &job.spec);
    let attributes = presentation.in_force(attributes);
    let (own, asked) = (attributes.icc_profile.as_deref(), job.spec.icc_profile);
    let placed = mapping.apply(&values)?;
    drop(values);
    let Managed { mut raster, profile } =
        icc::manage(placed, own, asked, job.spec.output, &mut warnings);
    if presentation.draws_colour() {
        raster = raster.into_rgb();
    }
    let masks = Masks { decoded: &decoded, attributes: &attributes, mapping: &mapping };
    if let Some(shutter) = &presentation.shutter {
        cover(&mut raster, &masks.shutter(shutter)?, shutter.ink);
    }
    presentation.annotate(&mut raster, &masks, job.spec.overlays, &mut warnings)?;
    let annotated = dataset.filter(|_| annotation::is_asked_for(&job.spec));
    let labels = annotated.map(|dataset| Labels::of(&dataset, attributes.frame));
    let labels = labels.as_ref().or(job.labels.as_ref());
    // The state's window is in force, not that of the request.
    let spec = RenderSpec { window: None, ..job.spec.clone() };
    annotation::burn_in(&mut raster, &spec, labels, &attributes);
    Ok(Finished { raster, profile, frame: attributes.frame, warnings })
}

fn single_frame(job: &RenderJob) -> Result<Frame> {
    match &job.source {
        Source::File { bytes, frame } => Frame::in_file(bytes, *frame, &job.limits),
        Source::Frame { attributes, transfer_syntax, bytes } => {
            Frame::alone(attributes, transfer_syntax, bytes, &job.limits)
        }
        Source::Tiles(_) => Err(RenderError::unsupported("a presentation state on a slide")),
        Source::Cine(_) => Err(RenderError::unsupported("a presentation state on an animation")),
        Source::Card(_) => Err(RenderError::NotAnImage),
    }
}

impl Presentation {
    /// Where an image of so many columns and rows is brought.
    fn mapping(&self, size: (u32, u32), job: &RenderJob) -> Result<Mapping> {
        area::mapping(self.orientation, self.area.as_ref(), job.spec.framing, size, &job.limits)
    }

    /// The attributes of the image with what the state has in their place: its profile, and its window,
    /// so that an annotation writes the one that was applied.
    fn in_force(&self, attributes: ImageAttributes) -> ImageAttributes {
        let icc_profile = match self.kind {
            Kind::Colour | Kind::PseudoColour(_) => self.icc_profile.clone(),
            Kind::Grey => attributes.icc_profile,
        };
        ImageAttributes { voi: self.grey.voi.clone(), icc_profile, ..attributes }
    }

    /// The display values of the image, in its own pixels.
    fn values(
        &self,
        decoded: &Decoded,
        attributes: &ImageAttributes,
        warnings: &mut Vec<String>,
    ) -> Result<Raster> {
        let palette = attributes
            .palette
            .as_ref()
            .filter(|_| attributes.photometric == Photometric::PaletteColor);
        let is_colour = palette.is_some() || matches!(decoded.space, SampleSpace::Colour(_));
        match (&self.kind, is_colour) {
            (Kind::Grey | Kind::PseudoColour(_), true) => {
                warnings.push("the state is one of grey images, the image has colour".to_owned());
            }
            (Kind::Colour, false) => {
                warnings.push("the state is one of colour images, the image is grey".to_owned());
            }
            (Kind::Grey | Kind::PseudoColour(_), false) | (Kind::Colour, true) => {}
        }
        let layout = decoded.layout;
        let (channels, data) = match (decoded.space, palette, &self.kind) {
            (SampleSpace::Colour(space), ..) => {
                (Channels::Rgb, to_rgb(decoded.cells.clone(), layout, space))
            }
            (SampleSpace::Single, Some(palette), _) => {
                let colours = self.grey.with_curve(attributes, decoded, |curve| {
                    index_palette(decoded, || palette.table(layout, curve))
                });
                (Channels::Rgb, colours?)
            }
            (SampleSpace::Single, None, Kind::PseudoColour(palette)) => {
                let colours = self.grey.with_curve(attributes, decoded, |curve| {
                    index_palette(decoded, || palette.table_of_levels(layout, curve))
                });
                (Channels::Rgb, colours?)
            }
            (SampleSpace::Single, None, Kind::Grey | Kind::Colour) => {
                let levels = self.grey.with_curve(attributes, decoded, |curve| {
                    let table = |range| curve.table(layout, range);
                    decoded.cells.map(layout, table, |stored| curve.display(stored))
                });
                (Channels::Grey, levels)
            }
        };
        Ok(Raster { width: decoded.columns, height: decoded.rows, channels, data })
    }

    /// Overlays, graphics and texts, layer by layer. Overlays and texts may name the patient.
    fn annotate(
        &self,
        raster: &mut Raster,
        masks: &Masks<'_>,
        overlays: Overlays,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let mut pen = Pen::new(raster);
        for layer in self.layers() {
            if overlays == Overlays::Draw {
                for overlay in self.overlays.iter().filter(|overlay| overlay.layer == layer) {
                    match masks.overlay(&overlay.source)? {
                        Some(mask) => cover(pen.raster(), &mask, overlay.ink),
                        None => warnings.push("an activated overlay is not there".to_owned()),
                    }
                }
            }
            for graphic in self.graphics.iter().filter(|graphic| graphic.layer == layer) {
                graphic.draw(&mut pen, masks.mapping);
            }
            if overlays == Overlays::Draw {
                for text in self.texts.iter().filter(|text| text.layer == layer) {
                    text.draw(&mut pen, masks.mapping);
                }
            }
        }
        if pen.is_exhausted() {
            warnings.push("there are more graphics than are drawn".to_owned());
        }
        Ok(())
    }

    /// The layers that anything lies on, from below.
    fn layers(&self) -> Vec<usize> {
        let overlays = self.overlays.iter().map(|overlay| overlay.layer);
        let graphics = self.graphics.iter().map(|graphic| graphic.layer);
        let texts = self.texts.iter().map(|text| text.layer);
        let mut layers: Vec<_> = overlays.chain(graphics).chain(texts).collect();
        layers.sort_unstable();
        layers.dedup();
        layers
    }
}

/// What is given in the pixels of the image, brought into the picture: 0 where it lets the image through,
/// 255 where it covers it.
struct Masks<'a> {
    decoded: &'a Decoded,
    attributes: &'a ImageAttributes,
    mapping: &'a Mapping,
}

impl Masks<'_> {
    fn overlay(&self, source: &OverlaySource) -> Result<Option<Raster>> {
        let plane = match source {
            OverlaySource::State(plane) => Some(plane),
            OverlaySource::Image(group) => {
                self.attributes.overlays.iter().find(|plane| plane.group() == *group)
            }
        };
        plane.map(|plane| self.mapped(|mask| self.paint(plane, mask))).transpose()
    }

    fn shutter(&self, shutter: &ClosedShutter) -> Result<Raster> {
        self.mapped(|mask| {
            if let Some(shapes) = &shutter.shapes {
                shapes.with_value(u8::MAX).close(mask, self.decoded.full);
            }
            if let Some(bitmap) = &shutter.bitmap {
                self.paint(bitmap, mask);
            }
        })
    }

    fn paint(&self, plane: &OverlayPlane, mask: &mut Raster) {
        plane.draw(mask, self.attributes.frame.get(), &self.decoded.cells);
    }

    fn mapped(&self, draw: impl FnOnce(&mut Raster)) -> Result<Raster> {
        let Decoded { columns, rows, .. } = *self.decoded;
        let mut mask = Raster::black(columns, rows, Channels::Grey);
        draw(&mut mask);
        self.mapping.apply(&mask)
    }
}
