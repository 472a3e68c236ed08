//! Tiles to one raster.
//!
//! Each tile is decoded and drawn by itself, so that memory is that of the canvas and of one tile. Where
//! a picture is much less dense than its tiles they are decoded at a reduced size, all at the same one,
//! as a single frame would be.

use crate::attributes::{ImageAttributes, Voi};
use crate::burned_in;
use crate::codec::{self, Decoded, Encoded, TileOf};
use crate::error::{RenderError, Result};
use crate::geometry::Plan;
use crate::limits::Limits;
use crate::pipeline::{Drawn, draw, is_lossless};
use crate::pixel::raster::{Channels, Raster};
use crate::source::{Canvas, Mosaic, Observer, RenderJob, Stage, Tile};
use crate::spec::RenderSpec;

/// Draws the tiles onto their canvas. A tile that cannot be decoded stays blank, with a warning. They
/// are decoded at a reduced size where `reducible` says that it does no harm.
///
/// # Errors
/// The limits; or why no tile at all could be decoded.
pub(crate) fn assemble(
    mosaic: &Mosaic,
    job: &RenderJob,
    reducible: impl FnOnce(&ImageAttributes, &RenderSpec) -> bool,
    observe: &mut Observer<'_>,
) -> Result<Drawn> {
    let Mosaic { attributes, canvas, .. } = mosaic;
    let limits = &job.limits;
    check(mosaic, limits)?;
    let (columns, rows) = canvas.matrix;
    let plan = Plan::new(job.spec.framing, columns, rows, canvas.pixel_aspect, limits)?;
    let reducible = reducible(attributes, &job.spec);
    let mut attributes = attributes.clone();
    let mut warnings = std::mem::take(&mut attributes.warnings);
    if needs_extremes(&attributes, &job.spec) {
        attributes.voi = extremes(mosaic, &attributes, limits);
    }
    let laid = match reducible.then(|| density(&plan, canvas)) {
        Some(density) => {
            lay(mosaic, &Decoding::at(density, mosaic, &attributes, limits), &job.spec, observe)?
        }
        None => None,
    };
    let whole = Decoding::at(1.0, mosaic, &attributes, limits);
    let laid = match laid {
        Some(laid) => laid,
        // At full size there is nothing to disagree about.
        None => lay(mosaic, &whole, &job.spec, observe)?
            .ok_or_else(|| RenderError::damaged("the tiles do not fit together"))?,
    };
    warnings.extend(laid.warnings);
    // Every tile breaks the same rules.
    let mut said = std::collections::HashSet::new();
    warnings.retain(|warning| said.insert(warning.clone()));
    let (mut raster, covered) = (laid.raster, laid.sheet.covered(canvas));
    burned_in::hide_tiles(&mut raster, canvas.matrix, covered, &attributes, &job.spec);
    let plan = plan.of_part(covered);
    Ok(Drawn { raster, plan, attributes, labels: None, warnings })
}

/// How many pixels of the canvas there are for one of the picture, along the denser side.
fn density(plan: &Plan, canvas: &Canvas) -> f64 {
    let (_, _, width, height) = canvas.covered;
    let (across, down) = (f64::from(canvas.columns) / width, f64::from(canvas.rows) / height);
    plan.density() * across.min(down)
}

/// The tiles on their sheet.
struct Laid {
    sheet: Sheet,
    raster: Raster,
    warnings: Vec<String>,
}

/// Decodes and draws all tiles; `None` where they were not all halved alike, as tiles of several
/// encoders may be.
fn lay(
    mosaic: &Mosaic,
    decoding: &Decoding<'_>,
    spec: &RenderSpec,
    observe: &mut Observer<'_>,
) -> Result<Option<Laid>> {
    let (Mosaic { canvas, tiles, .. }, attributes) = (mosaic, decoding.attributes);
    let (mut laid, mut warnings, mut failures) = (None, Vec::new(), Vec::new());
    for tile in tiles {
        observe(Stage::Decode)?;
        let decoded = decoding.decode(tile, &mut warnings);
        observe(Stage::Render)?;
        let drawn = decoded.and_then(|decoded| {
            // Undiminished, whatever sizes the codestream claims.
            let halvings = if decoding.density > 1.0 { decoded.halvings() } else { Some(0) };
            Ok((halvings, draw(decoded, attributes, spec, &mut warnings)?))
        });
        let (halvings, drawn) = match drawn {
            Ok((Some(halvings), drawn)) => (halvings, drawn),
            Ok((None, _)) => return Ok(None),
            Err(error) => {
                failures.push(error);
                continue;
            }
        };
        let (sheet, raster) = laid
            .get_or_insert_with(|| on_sheet(Sheet::of(canvas, tile, halvings), mosaic, attributes));
        if sheet.halvings != halvings {
            return Ok(None);
        }
        paste(raster, drawn, sheet, tile, attributes);
    }
    if !tiles.is_empty() && failures.len() == tiles.len() {
        return Err(failures.swap_remove(0));
    }
    if !failures.is_empty() {
        let (blank, all) = (failures.len(), tiles.len());
        warnings.push(format!("{blank} of {all} tiles could not be decoded and are blank"));
    }
    let (sheet, raster) =
        laid.unwrap_or_else(|| on_sheet(Sheet::whole(canvas), mosaic, attributes));
    Ok(Some(Laid { sheet, raster, warnings }))
}

/// The canvas as it is drawn: halved so often, and begun so that tiles lie on whole pixels of it.
#[derive(Debug, PartialEq)]
struct Sheet {
    halvings: u8,
    /// Its left edge in pixels of the canvas: 0, or less than one of its own pixels to the left.
    left: i64,
    /// Its top edge.
    top: i64,
    columns: u32,
    rows: u32,
}

impl Sheet {
    fn whole(canvas: &Canvas) -> Self {
        Self { halvings: 0, left: 0, top: 0, columns: canvas.columns, rows: canvas.rows }
    }

    fn of(canvas: &Canvas, tile: &Tile, halvings: u8) -> Self {
        let step = 1_i64 << halvings;
        let before = |place: i64| match place.rem_euclid(step) {
            0 => 0,
            within => within - step,
        };
        let (left, top) = (before(tile.x), before(tile.y));
        let pixels = |side: u32, start: i64| ((i64::from(side) - start + step - 1) / step) as u32;
        let (columns, rows) = (pixels(canvas.columns, left), pixels(canvas.rows, top));
        Self { halvings, left, top, columns, rows }
    }

    /// Where a tile lies on it, in its own pixels.
    fn place(&self, tile: &Tile) -> (i64, i64) {
        let step = 1_i64 << self.halvings;
        let from = |place: i64, start: i64| place.saturating_sub(start).div_euclid(step);
        (from(tile.x, self.left), from(tile.y, self.top))
    }

    /// What it shows of the canvas's matrix, which may be a little more than the canvas.
    fn covered(&self, canvas: &Canvas) -> (f64, f64, f64, f64) {
        let (left, top, width, height) = canvas.covered;
        let across = width / f64::from(canvas.columns);
        let down = height / f64::from(canvas.rows);
        let step = f64::from(1_u32 << self.halvings);
        (
            left + self.left as f64 * across,
            top + self.top as f64 * down,
            f64::from(self.columns) * step * across,
            f64::from(self.rows) * step * down,
        )
    }
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

/// How the tiles of a canvas are decoded.
struct Decoding<'a> {
    attributes: &'a ImageAttributes,
    limits: &'a Limits,
    /// How many pixels of the canvas there are for one of the picture.
    density: f64,
    tile: TileOf,
}

impl<'a> Decoding<'a> {
    /// For a picture of this density.
    fn at(
        density: f64,
        mosaic: &Mosaic,
        attributes: &'a ImageAttributes,
        limits: &'a Limits,
    ) -> Self {
        let whole = (mosaic.canvas.columns, mosaic.canvas.rows);
        let tile = TileOf { whole, halvings: common_halvings(&mosaic.tiles) };
        Self { attributes, limits, density, tile }
    }

    fn decode(&self, tile: &Tile, warnings: &mut Vec<String>) -> Result<Decoded> {
        let encoded = Encoded {
            attributes: self.attributes,
            bytes: &tile.bytes,
            lossless: is_lossless(&tile.transfer_syntax),
            limits: self.limits,
            density: &|_, _| self.density,
            tile: Some(self.tile),
        };
        codec::decode(&tile.transfer_syntax, &encoded, warnings)
    }
}

/// How often tiles can be halved and still begin on whole pixels, seen from each other.
fn common_halvings(tiles: &[Tile]) -> u8 {
    let Some(first) = tiles.first() else { return 0 };
    let apart = |tile: &Tile| tile.x.wrapping_sub(first.x) | tile.y.wrapping_sub(first.y);
    tiles.iter().fold(0, |bits, tile| bits | apart(tile)).trailing_zeros().min(8) as u8
}

/// Grey without a window is shown from its lowest to its highest value: those of all tiles together,
/// or each tile would have a contrast of its own.
pub(crate) fn needs_extremes(attributes: &ImageAttributes, spec: &RenderSpec) -> bool {
    let plain = attributes.samples_per_pixel == 1 && attributes.palette.is_none();
    plain && spec.window.is_none() && attributes.voi == Voi::None
}

/// The tiles are decoded once more for it, rather than all of them kept.
fn extremes(mosaic: &Mosaic, attributes: &ImageAttributes, limits: &Limits) -> Voi {
    let decoding = Decoding::at(1.0, mosaic, attributes, limits);
    let ranges = mosaic.tiles.iter().filter_map(|tile| {
        let decoded = decoding.decode(tile, &mut Vec::new()).ok()?;
        let modality = |stored| attributes.modality.apply(stored);
        Some(decoded.cells.range(decoded.layout, attributes.padding, modality))
    });
    match ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) {
        Some((low, high)) => Voi::Range { low, high },
        None => Voi::None,
    }
}

/// A sheet with nothing on it but the background.
fn on_sheet(sheet: Sheet, mosaic: &Mosaic, attributes: &ImageAttributes) -> (Sheet, Raster) {
    let (width, height) = (sheet.columns, sheet.rows);
    let pixels = width as usize * height as usize;
    let background = mosaic.canvas.background;
    let [red, green, blue] = background;
    let grey = attributes.samples_per_pixel == 1 && attributes.palette.is_none();
    let (channels, data) = match grey && red == green && green == blue {
        true => (Channels::Grey, vec![red; pixels]),
        false => (Channels::Rgb, background.repeat(pixels)),
    };
    (sheet, Raster { width, height, channels, data })
}

/// Puts a tile in its place. What reaches over the canvas, or over the size that tiles have, is cut
/// off: the edge tiles of a slide are padded.
fn paste(
    canvas: &mut Raster,
    tile: Raster,
    sheet: &Sheet,
    place: &Tile,
    attributes: &ImageAttributes,
) {
    let tile = same_channels(canvas, tile);
    let channels = canvas.channels.count();
    let step = 1_u32 << sheet.halvings;
    let (x, y) = sheet.place(place);
    let across = overlap(x, tile.width.min(attributes.columns.div_ceil(step)), canvas.width);
    let down = overlap(y, tile.height.min(attributes.rows.div_ceil(step)), canvas.height);
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
        (Channels::Rgb, Channels::Grey) => tile.into_rgb(),
        (Channels::Grey, Channels::Rgb) => {
            let data = std::mem::take(&mut canvas.data);
            *canvas = Raster { data, ..*canvas }.into_rgb();
            tile
        }
        _ => tile,
    }
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
        assemble(&mosaic, &job, |_, _| true, &mut |_| Ok(()))
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

    /// A row of tiles of 64 × 64 pixels of one picture, coded as JPEG 2000 where they are `halvable`, on
    /// a canvas that begins `left` pixels within the first.
    fn row(left: u32, halvable: &[bool]) -> Mosaic {
        use native_codecs::jpeg2000::{Compression, encode};
        let tile = |(index, &halvable): (usize, &bool)| {
            let start = index as i32 * 64;
            let sample = |n: i32| (start + n % 64) / 2 + n / 64 + 8 * ((start + n) / 3 % 2);
            let samples: Vec<i32> = (0..64 * 64).map(sample).collect();
            let coded = || encode(&[&samples], 64, 64, 8, false, Compression::Lossless).unwrap();
            let (transfer_syntax, bytes) = match halvable {
                true => (TransferSyntax::Jpeg2000Lossless, coded()),
                false => (
                    TransferSyntax::ExplicitLittleEndian,
                    samples.iter().map(|&sample| sample as u8).collect(),
                ),
            };
            let x = i64::from(start) - i64::from(left);
            Tile { x, y: 0, transfer_syntax, bytes: bytes.into() }
        };
        let mut attributes = image(64, 64, 8);
        let all = crate::spec::Window::new(128.0, 256.0, crate::spec::VoiFunction::Linear);
        attributes.voi = Voi::Window(all.unwrap());
        let columns = halvable.len() as u32 * 64 - left;
        let canvas = Canvas {
            columns,
            rows: 64,
            matrix: (columns, 64),
            covered: (0.0, 0.0, f64::from(columns), 64.0),
            pixel_aspect: 1.0,
            background: [255; 3],
        };
        Mosaic { attributes, canvas, tiles: halvable.iter().enumerate().map(tile).collect() }
    }

    /// The raster's own size, and the picture of a sixteenth of its width.
    fn small(mosaic: &Mosaic, reducible: bool) -> ((u32, u32), Raster) {
        let framing = Framing::FitWithin((mosaic.canvas.columns / 16).try_into().unwrap());
        let spec = RenderSpec::new(framing, Output::Png);
        let source = Source::Tiles(Box::new(mosaic.clone()));
        let job = RenderJob::new(source, spec, Limits::default());
        let Drawn { raster, plan, .. } =
            assemble(mosaic, &job, |_, _| reducible, &mut |_| Ok(())).unwrap();
        ((raster.width, raster.height), plan.apply(raster).unwrap())
    }

    #[test]
    fn halved_tiles_look_like_whole_ones() {
        for left in [0, 1, 2, 3, 37, 63] {
            let row = row(left, &[true; 4]);
            let (size, whole) = small(&row, false);
            assert_eq!(size, (256 - left, 64));
            let (size, halved) = small(&row, true);
            assert_eq!(size, ((256 - left).div_ceil(4), 16), "{left}");
            assert_eq!((halved.width, halved.height), (whole.width, whole.height));
            let apart = halved.data.iter().zip(&whole.data).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(apart <= Some(4), "{apart:?} levels apart, from {left} on");
        }
    }

    #[test]
    fn tiles_that_cannot_all_be_halved_are_drawn_whole() {
        for halvable in [[true, false, true], [false, true, true], [false; 3]] {
            let row = row(5, &halvable);
            assert_eq!(small(&row, true), small(&row, false), "{halvable:?}");
        }
        let mut scattered = row(0, &[true; 3]);
        scattered.tiles[1].x += 1;
        assert_eq!(small(&scattered, true), small(&scattered, false));
    }

    #[test]
    fn a_tile_that_is_blank_leaves_the_others_halved() {
        let mut row = row(0, &[true; 3]);
        row.tiles[0].bytes = Bytes::from_static(b"no codestream");
        assert_eq!(small(&row, true).0, (48, 16));
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
