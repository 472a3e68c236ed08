//! Region, mirror and size (PS3.18 §8.3.5.1.3, R2.7).

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::error::{RenderError, Result};
use crate::limits::Limits;
use crate::pixel::raster::{Channels, Raster};
use crate::spec::{Extent, Framing, SourceRect, Viewport};

/// What becomes of the source matrix.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Plan {
    /// The region shown, in source pixels: left, top, width, height.
    region: (f64, f64, f64, f64),
    /// Size of the picture.
    pub width: u32,
    pub height: u32,
    mirror_horizontal: bool,
    mirror_vertical: bool,
    /// What the rasters to come show of the source: left, top, width, height in its pixels.
    covered: (f64, f64, f64, f64),
}

impl Plan {
    /// The plan for a source of `columns` × `rows` whose pixels are `aspect` times as high as wide.
    ///
    /// # Errors
    /// [`RenderError::EmptyRegion`], [`RenderError::TooLarge`].
    pub(crate) fn new(
        framing: Framing,
        columns: u32,
        rows: u32,
        aspect: f64,
        limits: &Limits,
    ) -> Result<Self> {
        let plan = match framing {
            Framing::Native => {
                Self::of_region(SourceRect::WHOLE, columns, rows, |_, _| (columns, rows))?
            }
            Framing::Viewport(Viewport { width, height, source }) => {
                Self::of_region(source, columns, rows, |w, h| {
                    fit(w, h * aspect, f64::from(width.get()), f64::from(height.get()))
                })?
            }
            Framing::FitWithin(longest) => {
                Self::of_region(SourceRect::WHOLE, columns, rows, |w, h| {
                    // Square pixels are made by shrinking the denser side, so nothing is enlarged.
                    let (w, h) = if aspect > 1.0 { (w / aspect, h) } else { (w, h * aspect) };
                    let longest = f64::from(longest.get()).min(w.max(h));
                    fit(w, h, longest, longest)
                })?
            }
        };
        limits.check_output(plan.height, plan.width)?;
        Ok(plan)
    }

    fn of_region(
        rect: SourceRect,
        columns: u32,
        rows: u32,
        size: impl FnOnce(f64, f64) -> (u32, u32),
    ) -> Result<Self> {
        // R2.7 g: a region partly outside is clamped; nothing left is an error.
        let (left, width) = clamp(rect.x, rect.width, columns);
        let (top, height) = clamp(rect.y, rect.height, rows);
        if width <= 0.0 || height <= 0.0 {
            return Err(RenderError::EmptyRegion { columns, rows });
        }
        let (out_width, out_height) = size(width, height);
        Ok(Self {
            region: (left, top, width, height),
            width: out_width,
            height: out_height,
            mirror_horizontal: rect.mirror_horizontal,
            mirror_vertical: rect.mirror_vertical,
            covered: (0.0, 0.0, f64::from(columns), f64::from(rows)),
        })
    }

    /// The region shown, in source pixels: left, top, width, height.
    pub(crate) fn region(&self) -> (f64, f64, f64, f64) {
        self.region
    }

    /// The same plan for rasters of a part of the source, which holds the region: left, top, width,
    /// height in source pixels.
    pub(crate) fn of_part(self, covered: (f64, f64, f64, f64)) -> Self {
        Self { covered, ..self }
    }

    /// How many source pixels there are for one of the picture, along the denser side.
    pub(crate) fn density(&self) -> f64 {
        let (_, _, width, height) = self.region;
        (width / f64::from(self.width)).min(height / f64::from(self.height))
    }

    /// Frames a raster of what is covered, at any density.
    pub(crate) fn apply(&self, raster: Raster) -> Result<Raster> {
        let mut framed = if self.is_identity(&raster) { raster } else { self.resize(&raster)? };
        if self.mirror_horizontal {
            framed.mirror_horizontally();
        }
        if self.mirror_vertical {
            framed.mirror_vertically();
        }
        Ok(framed)
    }

    fn is_identity(&self, raster: &Raster) -> bool {
        let (left, top, width, height) = self.region_in(raster);
        (left, top) == (0.0, 0.0)
            && (width, height) == (f64::from(raster.width), f64::from(raster.height))
            && (self.width, self.height) == (raster.width, raster.height)
    }

    /// The region in the pixels of a raster.
    fn region_in(&self, raster: &Raster) -> (f64, f64, f64, f64) {
        let (covered_left, covered_top, covered_width, covered_height) = self.covered;
        let across = f64::from(raster.width) / covered_width;
        let down = f64::from(raster.height) / covered_height;
        let (left, top, width, height) = self.region;
        // Rounding must not carry the region over the edge.
        let (left, top) =
            (((left - covered_left) * across).max(0.0), ((top - covered_top) * down).max(0.0));
        let width = (width * across).min(f64::from(raster.width) - left);
        let height = (height * down).min(f64::from(raster.height) - top);
        (left, top, width, height)
    }

    fn resize(&self, raster: &Raster) -> Result<Raster> {
        resampled(raster, self.region_in(raster), (self.width, self.height))
    }
}

/// A region of a raster (left, top, width, height) at another size: Lanczos3 down, bilinear up
/// (design §3).
pub(crate) fn resampled(
    raster: &Raster,
    (left, top, width, height): (f64, f64, f64, f64),
    (to_width, to_height): (u32, u32),
) -> Result<Raster> {
    let shrinks = width * height > f64::from(to_width) * f64::from(to_height);
    let filter = if shrinks { FilterType::Lanczos3 } else { FilterType::Bilinear };
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(filter))
        .crop(left, top, width, height)
        .use_alpha(false);
    let pixel_type = match raster.channels {
        Channels::Grey => PixelType::U8,
        Channels::Rgb => PixelType::U8x3,
    };
    let failed = |error: &dyn std::fmt::Display| RenderError::decode("resize", error);
    let source = ImageRef::new(raster.width, raster.height, &raster.data, pixel_type)
        .map_err(|error| failed(&error))?;
    let mut target = Image::new(to_width, to_height, pixel_type);
    Resizer::new().resize(&source, &mut target, &options).map_err(|error| failed(&error))?;
    let channels = raster.channels;
    Ok(Raster { width: to_width, height: to_height, channels, data: target.into_vec() })
}

/// The part of a side that lies inside the image: start and length.
fn clamp(start: f64, extent: Extent, size: u32) -> (f64, f64) {
    // What is no number, or negative against its type's word, is the edge.
    let (start, size) = (start.max(0.0), f64::from(size));
    let end = match extent {
        Extent::ToEdge => size,
        Extent::Pixels(length) => (start + length).min(size),
    };
    (start, end - start)
}

/// The size that keeps the aspect and touches the box; each side at least 1 (R2.7 d).
pub(crate) fn fit(width: f64, height: f64, box_width: f64, box_height: f64) -> (u32, u32) {
    let scale = (box_width / width).min(box_height / height);
    let side = |length: f64, most: f64| (length * scale).round().clamp(1.0, most.max(1.0)) as u32;
    (side(width, box_width), side(height, box_height))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(viewport: &str, columns: u32, rows: u32, aspect: f64) -> Result<Plan> {
        let framing = Framing::Viewport(viewport.parse().unwrap());
        Plan::new(framing, columns, rows, aspect, &Limits::default())
    }

    fn size(viewport: &str, columns: u32, rows: u32) -> (u32, u32) {
        let plan = plan(viewport, columns, rows, 1.0).unwrap();
        (plan.width, plan.height)
    }

    #[test]
    fn viewports_keep_the_aspect_and_scale_up_too() {
        assert_eq!(size("256,256", 512, 256), (256, 128));
        assert_eq!(size("300,100", 64, 64), (100, 100));
        assert_eq!(size("1024,1024", 512, 512), (1024, 1024));
    }

    #[test]
    fn no_side_becomes_nothing() {
        assert_eq!(size("256,256", 3001, 1), (256, 1));
    }

    #[test]
    fn the_region_decides_the_aspect() {
        assert_eq!(size("100,100,0,0,50,100", 512, 512), (50, 100));
    }

    #[test]
    fn regions_are_clamped_and_empty_ones_refused() {
        assert_eq!(size("100,100,500,0,100,12", 512, 512), (100, 100));
        let outside = plan("100,100,512,0,10,10", 512, 512, 1.0);
        assert_eq!(outside, Err(RenderError::EmptyRegion { columns: 512, rows: 512 }));
    }

    #[test]
    fn high_pixels_make_a_higher_picture() {
        let plan = plan("200,200", 100, 50, 2.0).unwrap();
        assert_eq!((plan.width, plan.height), (200, 200));
    }

    #[test]
    fn thumbnails_are_never_enlarged() {
        let fit = |columns, rows, aspect| {
            let framing = Framing::FitWithin(256.try_into().unwrap());
            let plan = Plan::new(framing, columns, rows, aspect, &Limits::default()).unwrap();
            (plan.width, plan.height)
        };
        assert_eq!(fit(64, 32, 1.0), (64, 32));
        assert_eq!(fit(512, 256, 1.0), (256, 128));
        assert_eq!(fit(240, 120, 2.0), (120, 120));
    }

    #[test]
    fn the_output_is_bounded() {
        let result = plan("65535,65535", 512, 512, 1.0);
        assert!(matches!(result, Err(RenderError::TooLarge { .. })));
    }

    #[test]
    fn density_is_that_of_the_region() {
        let density = |viewport| plan(viewport, 4096, 2048, 1.0).unwrap().density();
        assert_eq!(density("256,256"), 16.0);
        assert_eq!(density("64,64,0,0,64,64"), 1.0);
        assert_eq!(density("128,128,0,0,64,64"), 0.5);
    }

    #[test]
    fn a_reduced_source_is_framed_like_the_whole_one() {
        // 7 × 5 halved is 4 × 3: the scale is not exactly one half.
        let plan = plan("2,2", 7, 5, 1.0).unwrap();
        let framed = plan.apply(raster(4, 3, vec![9; 12])).unwrap();
        assert_eq!(framed, raster(2, 1, vec![9; 2]));
    }

    #[test]
    fn a_raster_of_a_part_is_framed_like_the_whole() {
        let whole = raster(4, 2, vec![1, 2, 3, 4, 5, 6, 7, 8]);
        let part = raster(3, 1, vec![6, 7, 8]);
        let plan = plan("2,1,2,1,2,1", 4, 2, 1.0).unwrap();
        let framed = plan.apply(whole).unwrap();
        assert_eq!(framed, raster(2, 1, vec![7, 8]));
        assert_eq!(plan.of_part((1.0, 1.0, 3.0, 1.0)).apply(part).unwrap(), framed);
    }

    fn raster(width: u32, height: u32, data: Vec<u8>) -> Raster {
        Raster { width, height, channels: Channels::Grey, data }
    }

    #[test]
    fn a_region_is_cut_out_and_mirrored() {
        let source = raster(3, 2, vec![1, 2, 3, 4, 5, 6]);
        let cut = plan("2,2,1,0,-2,-2", 3, 2, 1.0).unwrap().apply(source).unwrap();
        assert_eq!(cut, raster(2, 2, vec![6, 5, 3, 2]));
    }

    #[test]
    fn native_framing_changes_nothing() {
        let source = raster(3, 2, vec![1, 2, 3, 4, 5, 6]);
        let native = Plan::new(Framing::Native, 3, 2, 2.0, &Limits::default()).unwrap();
        assert_eq!(native.apply(source.clone()).unwrap(), source);
    }

    proptest! {
        #[test]
        fn any_viewport_gives_a_picture_of_its_size_or_an_error(
            vw in 1..300_u32, vh in 1..300_u32, x in -50.0..50.0_f64, y in -50.0..50.0_f64,
            w in -60.0..60.0_f64, h in -60.0..60.0_f64, columns in 1..40_u32, rows in 1..40_u32,
        ) {
            let text = format!("{vw},{vh},{x:.3},{y:.3},{w:.3},{h:.3}");
            let Ok(viewport) = text.parse::<Viewport>() else { return Ok(()) };
            let plan = Plan::new(Framing::Viewport(viewport), columns, rows, 1.0, &Limits::default());
            if let Ok(plan) = plan {
                prop_assert!(plan.width <= vw && plan.height <= vh);
                let source = raster(columns, rows, vec![7; (columns * rows) as usize]);
                let framed = plan.apply(source).unwrap();
                prop_assert_eq!(framed.data, vec![7; (plan.width * plan.height) as usize]);
            }
        }
    }
}
