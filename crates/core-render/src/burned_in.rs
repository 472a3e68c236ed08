//! Texts in the pixels themselves, which may name the patient: what a data set says of them, and how they
//! are made illegible where they must not be read (R1.10, R1.11).
//!
//! What is hidden is drawn as cells of one colour, at most [`CELLS`] along the longer side of the frame. Of
//! an ultrasound image the scanner says where it shows what it measured; its texts stand around that.

use std::ops::Range;

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde::{Deserialize, Serialize};

use crate::attributes::ImageAttributes;
use crate::dataset::{integer, items, text};
use crate::pixel::raster::Raster;
use crate::slide::total_matrix;
use crate::spec::{BurnedIn, RenderSpec};

/// Cells along the longer side of a frame whose texts are hidden.
///
/// A letter takes five cells in height to be read, and four in width with the space beside it. Those that
/// are burned in are rarely higher than a twentieth of the frame, which is less than one cell: it shows the
/// mean of a letter, of its neighbours and of the ground. However large a text is, there is no room for more
/// than three lines of four letters, each a third of the frame high; nobody writes names so.
///
/// The cells are those of the frame, whatever part of it is shown, in whatever size and window: pictures of
/// several sizes tell no more than one.
const CELLS: u32 = 16;

/// More than any scanner draws. What lies in others is hidden.
const MOST_REGIONS: usize = 64;

/// What is said of texts in the pixels of an image.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BurnedInText {
    /// Burned In Annotation (0028,0301) is YES.
    is_declared: bool,
    /// The regions of an ultrasound image (0018,6011), around which there may be texts though nothing is
    /// declared; none where it is declared that there is no text.
    clear: Vec<Region>,
    /// The longer side of what the frame is a part of, in pixels: of a tile, that of its slide.
    extent: u32,
}

/// A rectangle of pixels.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Region {
    columns: Range<u32>,
    rows: Range<u32>,
}

impl BurnedInText {
    /// Of an image of so many columns and rows.
    pub(crate) fn read(dataset: &InMemDicomObject, columns: u32, rows: u32) -> Self {
        let said = declared(dataset);
        if said == Some(false) {
            return Self::default();
        }
        let (is_declared, clear) = (said == Some(true), regions(dataset, columns, rows));
        if !is_declared && clear.is_empty() {
            return Self::default();
        }
        let extent = total_matrix(dataset).map_or(0, longer).max(longer((columns, rows)));
        Self { is_declared, clear, extent }
    }

    /// Whether it is as [`Self::read`] makes it.
    pub(crate) fn is_legal(&self, columns: u32, rows: u32) -> bool {
        let is_within = |range: &Range<u32>, end| range.start < range.end && range.end <= end;
        let is_legal =
            |region: &Region| is_within(&region.columns, columns) && is_within(&region.rows, rows);
        self.clear.len() <= MOST_REGIONS && self.clear.iter().all(is_legal)
    }

    /// Whether the picture gives way to an icon.
    pub(crate) fn wants_icon(&self, spec: &RenderSpec) -> bool {
        self.is_declared && spec.burned_in == BurnedIn::Icon
    }

    /// Whether a part of the picture is to be hidden.
    fn is_to_be_hidden(&self, spec: &RenderSpec) -> bool {
        spec.burned_in != BurnedIn::Render && (self.is_declared || !self.clear.is_empty())
    }
}

fn longer((columns, rows): (u32, u32)) -> u32 {
    columns.max(rows)
}

/// Whether the data set says that texts are burned in.
pub(crate) fn is_declared(dataset: &InMemDicomObject) -> bool {
    declared(dataset) == Some(true)
}

/// Burned In Annotation, as it was meant; what is neither YES nor NO says nothing.
fn declared(dataset: &InMemDicomObject) -> Option<bool> {
    let said = text(dataset, tags::BURNED_IN_ANNOTATION)?;
    let is = |word: &str| said.trim().eq_ignore_ascii_case(word);
    if is("YES") { Some(true) } else { is("NO").then_some(false) }
}

/// The usable regions; none where they leave nothing out, which tells nothing of where texts are.
fn regions(dataset: &InMemDicomObject, columns: u32, rows: u32) -> Vec<Region> {
    let all = items(dataset, tags::SEQUENCE_OF_ULTRASOUND_REGIONS).iter().take(MOST_REGIONS);
    let regions: Vec<_> = all.filter_map(|item| region(item, columns, rows)).collect();
    if leave_nothing(&regions, columns, rows) { Vec::new() } else { regions }
}

/// C.8.5.5.1.1 to C.8.5.5.1.4: both corners are pixels of the region. It is cut at the edges of the image.
fn region(item: &InMemDicomObject, columns: u32, rows: u32) -> Option<Region> {
    let side = |first, last, end: u32| {
        let cut = |place: i64| place.clamp(0, end.into()) as u32;
        let range = cut(integer(item, first)?)..cut(integer(item, last)?.saturating_add(1));
        (range.start < range.end).then_some(range)
    };
    Some(Region {
        columns: side(tags::REGION_LOCATION_MIN_X0, tags::REGION_LOCATION_MAX_X1, columns)?,
        rows: side(tags::REGION_LOCATION_MIN_Y0, tags::REGION_LOCATION_MAX_Y1, rows)?,
    })
}

fn leave_nothing(regions: &[Region], columns: u32, rows: u32) -> bool {
    // What is left out of a row changes only where a region begins or ends.
    let edges = regions.iter().flat_map(|region| [region.rows.start, region.rows.end]);
    let mut looked_at = edges.chain([0]).filter(|&row| row < rows);
    looked_at.all(|row| outside(regions, row, columns).is_empty())
}

/// What a row of so many pixels has outside of all regions, from left to right.
fn outside(regions: &[Region], row: u32, width: u32) -> Vec<Range<u32>> {
    let crossed = regions.iter().filter(|region| region.rows.contains(&row));
    let mut inside: Vec<_> = crossed.map(|region| &region.columns).collect();
    inside.sort_unstable_by_key(|columns| columns.start);
    let (mut free, mut from) = (Vec::new(), 0);
    for columns in inside {
        if from < columns.start {
            free.push(from..columns.start);
        }
        from = from.max(columns.end);
    }
    if from < width {
        free.push(from..width);
    }
    free
}

/// Hides what may be read on a raster of a frame of `full` columns × rows.
pub(crate) fn hide(
    raster: &mut Raster,
    full: (u32, u32),
    attributes: &ImageAttributes,
    spec: &RenderSpec,
) {
    let said = &attributes.burned_in;
    if !said.is_to_be_hidden(spec) {
        return;
    }
    // Where the codestream has another size, nobody knows where the regions lie on it.
    let clear = if full == (attributes.columns, attributes.rows) { &said.clear[..] } else { &[] };
    let clear: Vec<_> = clear.iter().filter_map(|region| region.scaled(raster, full)).collect();
    let (columns, rows) = (f64::from(full.0), f64::from(full.1));
    let extent = said.extent.max(longer(full));
    let grid = Grid::new(raster, extent, (0.0, 0.0, columns, rows));
    coarsen(raster, &grid, &clear);
}

/// The same of tiles, which show what is `covered` of a matrix: left, top, width, height in its pixels.
/// Regions are not of slides: all of it is hidden.
pub(crate) fn hide_tiles(
    raster: &mut Raster,
    matrix: (u32, u32),
    covered: (f64, f64, f64, f64),
    attributes: &ImageAttributes,
    spec: &RenderSpec,
) {
    if attributes.burned_in.is_to_be_hidden(spec) {
        let grid = Grid::new(raster, longer(matrix), covered);
        coarsen(raster, &grid, &[]);
    }
}

impl Region {
    /// On a raster that shows the frame reduced: what lies whole within it, and nothing of what is beside
    /// it.
    fn scaled(&self, raster: &Raster, full: (u32, u32)) -> Option<Self> {
        let columns = scaled(&self.columns, full.0, raster.width)?;
        let rows = scaled(&self.rows, full.1, raster.height)?;
        Some(Self { columns, rows })
    }
}

/// A pixel of a reduced raster is a part of the whole or, by its decoder, a power of two of pixels, the last
/// one reaching over the edge. The two are less than a pixel apart: towards the end, one is given up.
fn scaled(range: &Range<u32>, full: u32, size: u32) -> Option<Range<u32>> {
    if size == full {
        return Some(range.clone());
    }
    let (start, end) = (u64::from(range.start), u64::from(range.end));
    let (from, to) = (u64::from(full), u64::from(size));
    let first = (start * to).div_ceil(from) as u32;
    let last = if range.end == full { size } else { (end * to / from).saturating_sub(1) as u32 };
    (first < last).then_some(first..last)
}

/// The cells of a frame, in the pixels of a raster.
struct Grid {
    across: Vec<Range<u32>>,
    down: Vec<Range<u32>>,
}

impl Grid {
    /// For a raster that shows what is `covered` of what is so long at its longer side.
    fn new(raster: &Raster, extent: u32, covered: (f64, f64, f64, f64)) -> Self {
        let side = f64::from(extent) / f64::from(CELLS);
        let (left, top, width, height) = covered;
        Self {
            across: cells(raster.width, left, width, side),
            down: cells(raster.height, top, height, side),
        }
    }
}

/// The pixels of each cell along one side. A pixel is of the cell that its middle lies in.
fn cells(pixels: u32, start: f64, length: f64, side: f64) -> Vec<Range<u32>> {
    let cell = |pixel: u32| {
        let middle = start + (f64::from(pixel) + 0.5) * length / f64::from(pixels);
        (middle / side).floor()
    };
    let mut cells = Vec::new();
    let mut first = 0;
    for pixel in 1..=pixels {
        if pixel == pixels || cell(pixel) != cell(first) {
            cells.push(first..pixel);
            first = pixel;
        }
    }
    cells
}

/// Draws every cell, outside of the regions, as the mean of what it shows there.
fn coarsen(raster: &mut Raster, grid: &Grid, clear: &[Region]) {
    let channels = raster.channels.count();
    let stride = raster.width as usize * channels;
    for rows in &grid.down {
        let free: Vec<_> =
            rows.clone().map(|row| (row, outside(clear, row, raster.width))).collect();
        for columns in &grid.across {
            let spans: Vec<Range<usize>> = free
                .iter()
                .flat_map(|(row, spans)| spans.iter().map(move |span| (*row, span)))
                .filter_map(|(row, span)| {
                    let from = span.start.max(columns.start) as usize;
                    let to = span.end.min(columns.end) as usize;
                    let begin = row as usize * stride;
                    (from < to).then(|| begin + from * channels..begin + to * channels)
                })
                .collect();
            for channel in 0..channels {
                flatten(&mut raster.data, &spans, channel, channels);
            }
        }
    }
}

/// Gives every sample of a channel in these spans their mean.
fn flatten(data: &mut [u8], spans: &[Range<usize>], channel: usize, channels: usize) {
    let (mut sum, mut count) = (0_u64, 0_u64);
    for span in spans {
        let samples = data[span.clone()].iter().skip(channel).step_by(channels);
        sum += samples.map(|&sample| u64::from(sample)).sum::<u64>();
        count += (span.len() / channels) as u64;
    }
    let Some(mean) = (sum + count / 2).checked_div(count) else { return };
    for span in spans {
        for sample in data[span.clone()].iter_mut().skip(channel).step_by(channels) {
            *sample = mean as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue, VR};
    use proptest::prelude::*;

    use super::*;
    use crate::attributes::tests::{image, put};
    use crate::pixel::raster::Channels;
    use crate::spec::{Framing, Output};

    /// A data set with this value of Burned In Annotation and these corners of regions.
    fn dataset(said: Option<&str>, corners: &[[i64; 4]]) -> InMemDicomObject {
        let mut dataset = InMemDicomObject::new_empty();
        if let Some(said) = said {
            put(&mut dataset, tags::BURNED_IN_ANNOTATION, VR::CS, said.into());
        }
        let tags = [
            tags::REGION_LOCATION_MIN_X0,
            tags::REGION_LOCATION_MIN_Y0,
            tags::REGION_LOCATION_MAX_X1,
            tags::REGION_LOCATION_MAX_Y1,
        ];
        let item = |corners: &[i64; 4]| {
            let mut item = InMemDicomObject::new_empty();
            for (tag, &corner) in tags.into_iter().zip(corners) {
                // As text, so that illegal numbers can be written too.
                put(&mut item, tag, VR::IS, PrimitiveValue::from(corner.to_string()));
            }
            item
        };
        let items: Vec<_> = corners.iter().map(item).collect();
        let sequence = DataSetSequence::from(items);
        dataset.put(DataElement::new(tags::SEQUENCE_OF_ULTRASOUND_REGIONS, VR::SQ, sequence));
        dataset
    }

    fn read(said: Option<&str>, corners: &[[i64; 4]]) -> BurnedInText {
        let read = BurnedInText::read(&dataset(said, corners), 100, 50);
        assert!(read.is_legal(100, 50), "{read:?}");
        read
    }

    fn region(columns: Range<u32>, rows: Range<u32>) -> Region {
        Region { columns, rows }
    }

    fn said_of(is_declared: bool, clear: Vec<Region>) -> BurnedInText {
        BurnedInText { is_declared, clear, extent: 0 }
    }

    const MIDDLE: [i64; 4] = [10, 5, 79, 39];

    #[test]
    fn yes_and_no_are_told_however_they_are_written() {
        for (said, expected) in [
            (Some("YES"), Some(true)),
            (Some("yes "), Some(true)),
            (Some(" Yes\0"), Some(true)),
            (Some("NO"), Some(false)),
            (Some("no "), Some(false)),
            (Some("UNKNOWN"), None),
            (Some(""), None),
            (None, None),
        ] {
            assert_eq!(declared(&dataset(said, &[])), expected, "{said:?}");
            assert_eq!(read(said, &[]).is_declared, expected == Some(true), "{said:?}");
        }
    }

    #[test]
    fn regions_count_unless_it_is_said_that_there_is_no_text() {
        for said in [Some("YES"), Some("?"), None] {
            assert_eq!(read(said, &[MIDDLE]).clear, [region(10..80, 5..40)], "{said:?}");
        }
        assert_eq!(read(Some("NO"), &[MIDDLE]), BurnedInText::default());
    }

    #[test]
    fn regions_are_cut_at_the_edges_and_damaged_ones_left_out() {
        let clear = |corners: [i64; 4]| read(None, &[corners]).clear;
        assert_eq!(clear([-5, 0, 4_294_967_295, 9]), [region(0..100, 0..10)]);
        assert_eq!(clear([99, 49, 99, 49]), [region(99..100, 49..50)]);
        for damaged in [[80, 5, 10, 39], [10, 39, 79, 5], [100, 0, 200, 20], [-9, -9, -1, -1]] {
            assert_eq!(clear(damaged), [], "{damaged:?}");
        }
        let mut broken = dataset(None, &[MIDDLE]);
        let mut item = InMemDicomObject::new_empty();
        put(&mut item, tags::REGION_LOCATION_MIN_X0, VR::UL, 3_u32.into());
        let sequence = DataSetSequence::from(vec![item]);
        broken.put(DataElement::new(tags::SEQUENCE_OF_ULTRASOUND_REGIONS, VR::SQ, sequence));
        assert_eq!(BurnedInText::read(&broken, 100, 50).clear, []);
    }

    #[test]
    fn regions_that_leave_nothing_out_tell_nothing() {
        let clear = |corners: &[[i64; 4]]| read(Some("YES"), corners).clear.len();
        assert_eq!(clear(&[[0, 0, 99, 49]]), 0);
        assert_eq!(clear(&[[0, 0, 100, 50], MIDDLE]), 0);
        assert_eq!(clear(&[[0, 0, 49, 49], [50, 0, 99, 20], [50, 21, 99, 49]]), 0);
        assert_eq!(clear(&[[0, 0, 49, 49], [50, 0, 99, 20], [50, 22, 99, 49]]), 3);
        assert_eq!(clear(&[[0, 1, 99, 49]]), 1);
    }

    #[test]
    fn only_so_many_regions_are_kept() {
        let many: Vec<_> = (0..90).map(|at| [at, at / 2, at, at / 2]).collect();
        assert_eq!(read(None, &many).clear.len(), MOST_REGIONS);
    }

    #[test]
    fn what_no_data_set_says_is_refused() {
        for (columns, rows) in [(0..101, 0..1), (0..1, 0..51), (5..5, 0..1), (0..1, 9..9)] {
            let said = said_of(true, vec![region(columns, rows)]);
            assert!(!said.is_legal(100, 50), "{said:?}");
            let attributes = ImageAttributes { burned_in: said, ..image(50, 100, 8) };
            assert!(attributes.check().is_err());
        }
    }

    #[test]
    fn a_reduced_region_never_grows() {
        assert_eq!(scaled(&(10..80), 100, 100), Some(10..80));
        assert_eq!(scaled(&(10..80), 100, 50), Some(5..39));
        assert_eq!(scaled(&(9..100), 100, 13), Some(2..13));
        assert_eq!(scaled(&(10..11), 100, 50), None);
        assert_eq!(scaled(&(0..100), 100, 13), Some(0..13));
    }

    fn raster(width: u32, height: u32, channels: Channels, data: Vec<u8>) -> Raster {
        Raster { width, height, channels, data }
    }

    fn spec(burned_in: BurnedIn) -> RenderSpec {
        RenderSpec { burned_in, ..RenderSpec::new(Framing::Native, Output::Png) }
    }

    fn stripes(width: u32, height: u32) -> Raster {
        let data =
            (0..width * height).map(|at| if (at % width).is_multiple_of(2) { 40 } else { 200 });
        raster(width, height, Channels::Grey, data.collect())
    }

    fn hidden(said: BurnedInText, burned_in: BurnedIn) -> Raster {
        let mut raster = stripes(64, 32);
        let attributes = ImageAttributes { burned_in: said, ..image(32, 64, 8) };
        hide(&mut raster, (64, 32), &attributes, &spec(burned_in));
        raster
    }

    #[test]
    fn what_is_declared_is_hidden_everywhere() {
        let said = || said_of(true, Vec::new());
        assert_eq!(hidden(said(), BurnedIn::Render), stripes(64, 32));
        assert_eq!(hidden(said(), BurnedIn::Pixelate).data, [120; 64 * 32]);
        assert_eq!(hidden(BurnedInText::default(), BurnedIn::Pixelate), stripes(64, 32));
    }

    #[test]
    fn regions_keep_their_pixels_and_what_is_around_them_does_not() {
        for (is_declared, burned_in) in
            [(true, BurnedIn::Pixelate), (false, BurnedIn::Pixelate), (false, BurnedIn::Icon)]
        {
            let clear = vec![region(10..30, 3..20), region(26..64, 10..31)];
            let hidden = hidden(said_of(is_declared, clear.clone()), burned_in);
            let plain = stripes(64, 32);
            for (at, (&got, &was)) in hidden.data.iter().zip(&plain.data).enumerate() {
                let (x, y) = (at as u32 % 64, at as u32 / 64);
                let is_clear = clear.iter().any(|r| r.columns.contains(&x) && r.rows.contains(&y));
                assert_eq!(got, if is_clear { was } else { 120 }, "{x}, {y}");
            }
        }
    }

    #[test]
    fn regions_of_another_size_are_not_believed() {
        let mut raster = stripes(32, 32);
        let said = said_of(false, vec![region(0..60, 0..30)]);
        let attributes = ImageAttributes { burned_in: said, ..image(32, 64, 8) };
        hide(&mut raster, (32, 32), &attributes, &spec(BurnedIn::Pixelate));
        assert_eq!(raster.data, [120; 32 * 32]);
    }

    #[test]
    fn channels_keep_their_own_means() {
        let pixels = [[0, 10, 20], [100, 30, 220]].as_flattened().repeat(32 * 16);
        let mut colours = raster(64, 16, Channels::Rgb, pixels);
        let said = said_of(true, Vec::new());
        let attributes = ImageAttributes { burned_in: said, ..image(16, 64, 8) };
        hide(&mut colours, (64, 16), &attributes, &spec(BurnedIn::Pixelate));
        assert_eq!(colours.data, [50, 20, 120].repeat(64 * 16));
    }

    #[test]
    fn a_part_of_a_slide_has_the_cells_of_the_whole() {
        // A tenth of a slide, in its own pixels: not sixteen cells, but two.
        let mut part = stripes(100, 100);
        let said = said_of(true, Vec::new());
        let attributes = ImageAttributes { burned_in: said, ..image(100, 100, 8) };
        let grid = Grid::new(&part, 1000, (450.0, 450.0, 100.0, 100.0));
        assert_eq!(grid.across, [0..50, 50..100]);
        let pixelate = spec(BurnedIn::Pixelate);
        let covered = (450.0, 450.0, 100.0, 100.0);
        hide_tiles(&mut part, (1000, 1000), covered, &attributes, &pixelate);
        assert_eq!(part.data, [120; 10_000]);
    }

    #[test]
    fn a_tile_has_the_cells_of_its_slide() {
        let mut tile = dataset(Some("YES"), &[]);
        put(&mut tile, tags::TOTAL_PIXEL_MATRIX_COLUMNS, VR::UL, 6400_u32.into());
        put(&mut tile, tags::TOTAL_PIXEL_MATRIX_ROWS, VR::UL, 100_u32.into());
        let burned_in = BurnedInText::read(&tile, 64, 32);
        let attributes = ImageAttributes { burned_in, ..image(32, 64, 8) };
        let mut marked = stripes(64, 32);
        marked.data[..1024].fill(0);
        hide(&mut marked, (64, 32), &attributes, &spec(BurnedIn::Pixelate));
        assert_eq!(marked.data, [60; 64 * 32]);
    }

    proptest! {
        /// No picture has more cells than are allowed, and none shows anything within a cell.
        #[test]
        fn there_are_never_more_cells(
            columns in 1..90_u32, rows in 1..90_u32, halvings in 0..4_u32, seed: u64,
        ) {
            let (width, height) = (columns.div_ceil(1 << halvings), rows.div_ceil(1 << halvings));
            let noise = (0..u64::from(width * height))
                .map(|at| (seed.wrapping_add(at).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8);
            let mut raster = raster(width, height, Channels::Grey, noise.collect());
            let grid = Grid::new(
                &raster, longer((columns, rows)), (0.0, 0.0, f64::from(columns), f64::from(rows)),
            );
            prop_assert!(grid.across.len().max(grid.down.len()) <= CELLS as usize);
            coarsen(&mut raster, &grid, &[]);
            for (rows, columns) in
                grid.down.iter().flat_map(|rows| grid.across.iter().map(move |columns| (rows, columns)))
            {
                let first = raster.data[(rows.start * width + columns.start) as usize];
                for row in rows.clone() {
                    let from = (row * width) as usize;
                    let cells = &raster.data[from + columns.start as usize..from + columns.end as usize];
                    prop_assert!(cells.iter().all(|&cell| cell == first));
                }
            }
        }

        /// A pixel of a reduced raster that is kept shows nothing from outside of the region, whether a
        /// pixel is a share of the whole or a power of two of pixels.
        #[test]
        fn a_kept_pixel_lies_within_its_region(
            full in 1..3000_u32, halvings in 0..4_u32, a in 0..3000_u32, b in 0..3000_u32,
        ) {
            let (start, end) = (a.min(b).min(full - 1), a.max(b).min(full - 1) + 1);
            let size = full.div_ceil(1 << halvings);
            if let Some(kept) = scaled(&(start..end), full, size) {
                let step = 1_u32 << halvings;
                prop_assert!(kept.start * step >= start && (kept.end * step).min(full) <= end);
                let share = f64::from(full) / f64::from(size);
                prop_assert!(f64::from(kept.start) * share >= f64::from(start) - 1e-6);
                prop_assert!(f64::from(kept.end) * share <= f64::from(end) + 1e-6);
            }
        }
    }
}
