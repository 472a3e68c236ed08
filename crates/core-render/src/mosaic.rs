//! Tiles to one raster.
//!
//! Each tile is decoded and drawn by itself, so that memory is that of the canvas and of one tile.
//! Decoding is at full size: a level is chosen that is hardly denser than the picture.

use crate::attributes::{ImageAttributes, Voi};
use crate::codec::{self, Decoded, Encoded};
use crate::error::{RenderError, Result};
use crate::geometry::Plan;
use crate::limits::Limits;
use crate::pipeline::{Drawn, draw, is_lossless};
use crate::pixel::raster::{Channels, Raster};
use crate::source::{Canvas, Mosaic, RenderJob, Stage, Tile};
use crate::spec::RenderSpec;

/// Draws the tiles onto their canvas. A tile that cannot be decoded stays blank, with a warning.
///
/// # Errors
/// The limits; or why no tile at all could be decoded.
pub(crate) fn assemble(
    mosaic: &Mosaic,
    job: &RenderJob,
    observe: &mut dyn FnMut(Stage),
) -> Result<Drawn> {
    let Mosaic { attributes, canvas, tiles } = mosaic;
    let limits = &job.limits;
    check(mosaic, limits)?;
    let (columns, rows) = canvas.matrix;
    let plan = Plan::new(job.spec.framing, columns, rows, canvas.pixel_aspect, limits)?
        .of_part(canvas.covered);
    let mut attributes = attributes.clone();
    let mut warnings = std::mem::take(&mut attributes.warnings);
    if needs_extremes(&attributes, &job.spec) {
        attributes.voi = extremes(tiles, &attributes, limits);
    }
    let mut raster = blank(canvas, &attributes);
    let mut failures = Vec::new();
    for tile in tiles {
        observe(Stage::Decode);
        let decoded = decode(tile, &attributes, limits, &mut warnings);
        observe(Stage::Render);
        match decoded.and_then(|decoded| draw(decoded, &attributes, &job.spec, &mut warnings)) {
            Ok(drawn) => paste(&mut raster, drawn, tile, &attributes),
            Err(error) => failures.push(error),
        }
    }
    if !tiles.is_empty() && failures.len() == tiles.len() {
        return Err(failures.swap_remove(0));
    }
    if !failures.is_empty() {
        let (blank, all) = (failures.len(), tiles.len());
        warnings.push(format!("{blank} of {all} tiles could not be decoded and are blank"));
    }
    // Every tile breaks the same rules.
    let mut said = std::collections::HashSet::new();
    warnings.retain(|warning| said.insert(warning.clone()));
    Ok(Drawn { raster, plan, attributes, warnings })
}

fn check(mosaic: &Mosaic, limits: &Limits) -> Result<()> {
    let Mosaic { attributes, canvas, tiles } = mosaic;
    if canvas.columns == 0 || canvas.rows == 0 {
        return Err(RenderError::damaged("the slide has no pixels"));
    }
    limits.check_source(canvas.rows, canvas.columns)?;
    limits.check_source(attributes.rows, attributes.columns)?;
    limits.check_bytes(tiles.iter().map(|tile| tile.bytes.len() as u64).sum())
}

fn decode(
    tile: &Tile,
    attributes: &ImageAttributes,
    limits: &Limits,
    warnings: &mut Vec<String>,
) -> Result<Decoded> {
    let encoded = Encoded {
        attributes,
        bytes: &tile.bytes,
        lossless: is_lossless(&tile.transfer_syntax),
        limits,
        density: &|_, _| 1.0,
    };
    codec::decode(&tile.transfer_syntax, &encoded, warnings)
}

/// Grey without a window is shown from its lowest to its highest value: those of all tiles together,
/// or each tile would have a contrast of its own.
fn needs_extremes(attributes: &ImageAttributes, spec: &RenderSpec) -> bool {
    let plain = attributes.samples_per_pixel == 1 && attributes.palette.is_none();
    plain && spec.window.is_none() && attributes.voi == Voi::None
}

/// The tiles are decoded once more for it, rather than all of them kept.
fn extremes(tiles: &[Tile], attributes: &ImageAttributes, limits: &Limits) -> Voi {
    let ranges = tiles.iter().filter_map(|tile| {
        let decoded = decode(tile, attributes, limits, &mut Vec::new()).ok()?;
        let modality = |stored| attributes.modality.apply(stored);
        Some(decoded.cells.range(decoded.layout, attributes.padding, modality))
    });
    match ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) {
        Some((low, high)) => Voi::Range { low, high },
        None => Voi::None,
    }
}

fn blank(canvas: &Canvas, attributes: &ImageAttributes) -> Raster {
    let (width, height) = (canvas.columns, canvas.rows);
    let pixels = width as usize * height as usize;
    let [red, green, blue] = canvas.background;
    let grey = attributes.samples_per_pixel == 1 && attributes.palette.is_none();
    if grey && red == green && green == blue {
        return Raster { width, height, channels: Channels::Grey, data: vec![red; pixels] };
    }
    Raster { width, height, channels: Channels::Rgb, data: canvas.background.repeat(pixels) }
}

/// Puts a tile in its place. What reaches over the canvas, or over the size that tiles have, is cut
/// off: the edge tiles of a slide are padded.
fn paste(canvas: &mut Raster, tile: Raster, place: &Tile, attributes: &ImageAttributes) {
    let tile = same_channels(canvas, tile);
    let channels = canvas.channels.count();
    let across = overlap(place.x, tile.width.min(attributes.columns), canvas.width);
    let down = overlap(place.y, tile.height.min(attributes.rows), canvas.height);
    let (Some(across), Some(down)) = (across, down) else { return };
    let width = across.length * channels;
    for row in 0..down.length {
        let from = ((down.tile + row) * tile.width as usize + across.tile) * channels;
        let to = ((down.canvas + row) * canvas.width as usize + across.canvas) * channels;
        canvas.data[to..to + width].copy_from_slice(&tile.data[from..from + width]);
    }
}

/// Grey becomes colour where one of the two has colour.
fn same_channels(canvas: &mut Raster, tile: Raster) -> Raster {
    match (canvas.channels, tile.channels) {
        (Channels::Rgb, Channels::Grey) => coloured(tile),
        (Channels::Grey, Channels::Rgb) => {
            let data = std::mem::take(&mut canvas.data);
            *canvas = coloured(Raster { data, ..*canvas });
            tile
        }
        _ => tile,
    }
}

fn coloured(grey: Raster) -> Raster {
    let data = grey.data.iter().flat_map(|&value| [value; 3]).collect();
    Raster { channels: Channels::Rgb, data, ..grey }
}

/// Where a tile and the canvas share pixels, along one side.
struct Overlap {
    tile: usize,
    canvas: usize,
    length: usize,
}

fn overlap(start: i64, length: u32, canvas: u32) -> Option<Overlap> {
    let from = start.max(0);
    let to = start.saturating_add(i64::from(length)).min(i64::from(canvas));
    (from < to).then(|| Overlap {
        tile: (from - start) as usize,
        canvas: from as usize,
        length: (to - from) as usize,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dicomweb_types::TransferSyntax;

    use super::*;
    use crate::attributes::tests::image;
    use crate::source::Source;
    use crate::spec::{Framing, Output};

    /// Tiles of 2 × 2 grey pixels, each of one value, on a canvas of 5 × 3.
    fn mosaic(tiles: &[(i64, i64, u8)]) -> Mosaic {
        let tile = |&(x, y, value): &(i64, i64, u8)| {
            let bytes = Bytes::from(vec![value; 4]);
            Tile { x, y, transfer_syntax: TransferSyntax::ExplicitLittleEndian, bytes }
        };
        let mut attributes = image(2, 2, 8);
        attributes.voi = Voi::Range { low: 0.0, high: 255.0 };
        let canvas = Canvas {
            columns: 5,
            rows: 3,
            matrix: (5, 3),
            covered: (0.0, 0.0, 5.0, 3.0),
            pixel_aspect: 1.0,
            background: [255; 3],
        };
        Mosaic { attributes, canvas, tiles: tiles.iter().map(tile).collect() }
    }

    fn assembled(mosaic: Mosaic, limits: Limits) -> Result<Drawn> {
        let spec = RenderSpec::new(Framing::Native, Output::Png);
        let job = RenderJob::new(Source::Tiles(Box::new(mosaic.clone())), spec, limits);
        assemble(&mosaic, &job, &mut |_| {})
    }

    fn drawn(mosaic: Mosaic) -> Drawn {
        assembled(mosaic, Limits::default()).unwrap()
    }

    #[test]
    fn tiles_are_laid_out_holes_filled_and_edges_cut() {
        let picture = drawn(mosaic(&[(0, 0, 1), (2, 0, 2), (4, 0, 3), (0, 2, 4), (-1, -1, 5)]));
        let expected =
            [[5, 1, 2, 2, 3], [1, 1, 2, 2, 3], [4, 4, 255, 255, 255]].as_flattened().to_vec();
        assert_eq!((picture.raster.data, picture.warnings.len()), (expected, 0));
    }

    #[test]
    fn holes_have_the_colour_that_the_slide_recommends() {
        let mut coloured = mosaic(&[(0, 0, 1)]);
        coloured.canvas.background = [10, 20, 30];
        let raster = drawn(coloured).raster;
        assert_eq!(
            (raster.channels, &raster.data[..9]),
            (Channels::Rgb, &[1, 1, 1, 1, 1, 1, 10, 20, 30][..])
        );
    }

    #[test]
    fn all_tiles_have_the_same_contrast() {
        let mut flat = mosaic(&[(0, 0, 100), (2, 0, 150), (0, 2, 200)]);
        flat.attributes.voi = Voi::None;
        let data = drawn(flat).raster.data;
        assert_eq!([data[0], data[2], data[10]], [0, 128, 255]);
    }

    #[test]
    fn a_tile_that_cannot_be_decoded_is_blank_and_said() {
        let mut broken = mosaic(&[(0, 0, 1), (2, 0, 2)]);
        broken.tiles[1].transfer_syntax = TransferSyntax::JpegBaseline;
        broken.tiles[1].bytes =
            Bytes::from_static(b"neither a codestream nor as long as the cells");
        let picture = drawn(broken.clone());
        assert_eq!([picture.raster.data[0], picture.raster.data[2]], [1, 255]);
        assert_eq!(picture.warnings, ["1 of 2 tiles could not be decoded and are blank"]);
        broken.tiles.remove(0);
        assert!(assembled(broken, Limits::default()).is_err());
    }

    #[test]
    fn no_canvas_is_made_above_the_limits() {
        let mut huge = mosaic(&[]);
        (huge.canvas.columns, huge.canvas.rows) = (u32::MAX, u32::MAX);
        assert!(matches!(assembled(huge, Limits::default()), Err(RenderError::TooLarge { .. })));
        let few = Limits { source_bytes: 7, ..Limits::default() };
        let result = assembled(mosaic(&[(0, 0, 1), (2, 0, 2)]), few);
        assert!(matches!(result, Err(RenderError::TooLarge { .. })));
    }
}
