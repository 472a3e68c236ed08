//! Whole-slide images (PS3.3 A.32.8, C.8.12.4): which frames show which part of a slide.
//!
//! A [`Slide`] is read from a data set and knows its tiles. A [`View`] is what a picture shows of it,
//! and how densely; it says which of the pyramid's levels serves best, and [`View::cut`] which tiles
//! of that level are needed. The tiles themselves are fetched by the caller.

use std::ops::Range;

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicomweb_types::{FrameNumber, TransferSyntax};

use crate::attributes::{FunctionalGroups, ImageAttributes, number_of_frames, pixel_aspect};
use crate::dataset::{integer, integers, items, number, primitive, text};
use crate::error::{RenderError, Result};
use crate::frame::FileFrames;
use crate::geometry::Plan;
use crate::limits::Limits;
use crate::part10::{self, DicomFile};
use crate::segmentation::srgb_of_cielab;
use crate::source::{Canvas, Mosaic, Source, Tile};
use crate::spec::Framing;

/// Tiles of one picture. Small tiles would else make thousands of calls of a picture; of the usual
/// 256 × 256 pixels so many make 16 000 × 16 000.
const MOST_TILES: u64 = 4096;

/// What an image of a slide shows: Image Type (0008,0008), value 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// The specimen, at one level of the pyramid.
    Volume,
    /// The label of the slide, which names the patient.
    Label,
    /// The slide as a camera sees it.
    Overview,
    /// The specimen, small.
    Thumbnail,
}

/// An image of a slide.
#[derive(Clone, PartialEq, Debug)]
pub struct Slide {
    flavour: Flavour,
    /// Columns and rows of the Total Pixel Matrix.
    matrix: (u32, u32),
    /// Columns and rows of a tile.
    tile: (u32, u32),
    /// Which frames are there: of a concatenation those of the parts that are known.
    frames: Vec<Range<u32>>,
    layout: Layout,
    label_in_image: bool,
    part: Option<Part>,
    subject: Subject,
    pixel_aspect: f64,
    background: [u8; 3],
}

/// How the tiles lie (Dimension Organization Type, C.7.6.17.3).
#[derive(Clone, PartialEq, Debug)]
enum Layout {
    /// One beside the other, columns fastest, then rows, focal planes, optical paths.
    Full,
    /// Each where it says. Of several at one place (focal planes) the first.
    Sparse(Vec<Place>),
}

/// An instance's place in a concatenation (C.7.6.16.2.2.4).
#[derive(Clone, PartialEq, Debug)]
struct Part {
    /// Concatenation UID (0020,9161).
    concatenation: String,
    /// In-concatenation Number (0020,9162).
    number: u32,
    /// Concatenation Frame Offset Number (0020,9228): how many frames come before its own. Without it,
    /// which tiles they are would be a guess, but for the first part's.
    offset: Option<u32>,
    /// In-concatenation Total Number (0020,9163), where it is said.
    of: Option<u32>,
    /// How many of those are joined here.
    joined: u32,
}

/// What has to agree between the levels of one pyramid.
#[derive(Clone, PartialEq, Debug)]
struct Subject {
    frame_of_reference: Option<String>,
    optical_path: Option<String>,
    samples_per_pixel: Option<i64>,
    /// Height of the focal plane in µm.
    z: Option<f64>,
}

/// Where a frame lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The frame, counted through all parts of a concatenation.
    pub frame: FrameNumber,
    /// Its left edge, in pixels.
    pub x: i64,
    /// Its top edge.
    pub y: i64,
}

/// The flavour of an image, where its Image Type has one.
pub fn flavour(dataset: &InMemDicomObject) -> Option<Flavour> {
    let values = primitive(dataset, tags::IMAGE_TYPE)?.to_multi_str();
    // Split once more: some writers put a whole list into one value.
    let third = values.iter().flat_map(|text| text.split('\\')).nth(2)?;
    match third.trim_matches([' ', '\0']).to_ascii_uppercase().as_str() {
        "VOLUME" => Some(Flavour::Volume),
        "LABEL" => Some(Flavour::Label),
        "OVERVIEW" => Some(Flavour::Overview),
        "THUMBNAIL" => Some(Flavour::Thumbnail),
        _ => None,
    }
}

/// Total Pixel Matrix Columns and Rows (0048,0006 and 0007), where both are there.
pub fn total_matrix(dataset: &InMemDicomObject) -> Option<(u32, u32)> {
    let columns = length(dataset, tags::TOTAL_PIXEL_MATRIX_COLUMNS)?;
    Some((columns, length(dataset, tags::TOTAL_PIXEL_MATRIX_ROWS)?))
}

/// Concatenation UID (0020,9161): the instances that have the same one are parts of one image.
pub fn concatenation(dataset: &InMemDicomObject) -> Option<String> {
    text(dataset, tags::CONCATENATION_UID).filter(|uid| !uid.is_empty())
}

fn length(dataset: &InMemDicomObject, tag: Tag) -> Option<u32> {
    integer(dataset, tag).and_then(|value| u32::try_from(value).ok()).filter(|&value| value > 0)
}

impl Slide {
    /// What a search should return of an image for [`flavour`], [`total_matrix`] and [`concatenation`]
    /// to be known.
    pub const FIELDS: [Tag; 4] = [
        tags::IMAGE_TYPE,
        tags::CONCATENATION_UID,
        tags::TOTAL_PIXEL_MATRIX_COLUMNS,
        tags::TOTAL_PIXEL_MATRIX_ROWS,
    ];

    /// The slide that a data set is an image of; `None` for other objects, and for one without a size,
    /// which cannot be drawn at all.
    pub fn of(dataset: &InMemDicomObject) -> Option<Self> {
        if text(dataset, tags::SOP_CLASS_UID)? != uids::VL_WHOLE_SLIDE_MICROSCOPY_IMAGE_STORAGE {
            return None;
        }
        let tile = (length(dataset, tags::COLUMNS)?, length(dataset, tags::ROWS)?);
        let groups = FunctionalGroups::of(dataset, FrameNumber::FIRST);
        let flavour = flavour(dataset).unwrap_or(Flavour::Volume);
        let label_in_image = text(dataset, tags::SPECIMEN_LABEL_IN_IMAGE);
        let part = Part::of(dataset);
        let offset = part.as_ref().and_then(|part| part.offset).unwrap_or(0);
        let frames = offset..offset.saturating_add(number_of_frames(dataset));
        Some(Self {
            flavour,
            matrix: total_matrix(dataset).unwrap_or(tile),
            tile,
            layout: layout(dataset, offset),
            frames: vec![frames],
            label_in_image: label_in_image.as_deref() == Some("YES"),
            part,
            subject: Subject::of(dataset, &groups),
            pixel_aspect: pixel_aspect(dataset, &groups),
            background: background(dataset),
        })
    }

    /// What it shows.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Columns and rows of the Total Pixel Matrix, each above 0.
    pub fn matrix(&self) -> (u32, u32) {
        self.matrix
    }

    /// The size of one tile, in pixels.
    pub fn tile_pixels(&self) -> u64 {
        u64::from(self.tile.0) * u64::from(self.tile.1)
    }

    /// Whether a frame is only a part of the image.
    pub fn is_tiled(&self) -> bool {
        self.matrix.0 > self.tile.0 || self.matrix.1 > self.tile.1
    }

    /// Whether the label of the slide is in the picture (R1.11, R4.34): a LABEL image, or an overview
    /// that says so (Specimen Label in Image, 0048,0010).
    pub fn shows_label(&self) -> bool {
        match self.flavour {
            Flavour::Label => true,
            Flavour::Overview | Flavour::Thumbnail => self.label_in_image,
            Flavour::Volume => false,
        }
    }

    /// Whether `other` is a level of the same pyramid: the same specimen through the same optical path
    /// in the same plane, as far as both say; and of the same shape.
    pub fn is_level_with(&self, other: &Self) -> bool {
        let shape = |slide: &Self| f64::from(slide.matrix.0) / f64::from(slide.matrix.1);
        // Each level rounds its size to whole pixels.
        let coarsest = self.matrix.0.min(self.matrix.1).min(other.matrix.0).min(other.matrix.1);
        let tolerance = 0.01 + 2.0 / f64::from(coarsest);
        self.flavour == other.flavour
            && self.subject.agrees(&other.subject)
            && (shape(self) / shape(other)).ln().abs() <= tolerance
    }

    /// The concatenation that it is a part of.
    pub fn concatenation(&self) -> Option<&str> {
        self.part.as_ref().map(|part| part.concatenation.as_str())
    }

    /// How many parts of its concatenation are still to be joined, where it says how many there are.
    pub fn missing_parts(&self) -> Option<u32> {
        let part = self.part.as_ref()?;
        part.of.map(|all| all.saturating_sub(part.joined))
    }

    /// The image that the parts of a concatenation make up, as far as they are given: its frames are
    /// counted through all of them. What does not fit the first of them is left out.
    pub fn joined(mut parts: Vec<Self>) -> Option<Self> {
        parts.sort_by_key(|slide| slide.part.as_ref().map(|part| part.number));
        parts.dedup_by_key(|slide| slide.part.as_ref().map(|part| part.number));
        let mut parts = parts.into_iter();
        let first = parts.next()?;
        Some(parts.fold(first, |whole, part| match whole.is_continued_by(&part) {
            true => whole.with(part),
            false => whole,
        }))
    }

    fn is_continued_by(&self, other: &Self) -> bool {
        let same_layout = matches!(
            (&self.layout, &other.layout),
            (Layout::Full, Layout::Full) | (Layout::Sparse(_), Layout::Sparse(_))
        );
        self.concatenation() == other.concatenation()
            && other.part.as_ref().is_none_or(|part| part.offset.is_some())
            && (self.matrix, self.tile) == (other.matrix, other.tile)
            && same_layout
    }

    fn with(mut self, other: Self) -> Self {
        self.frames.extend(other.frames);
        if let (Layout::Sparse(places), Layout::Sparse(more)) = (&mut self.layout, other.layout) {
            places.extend(more);
            places.retain(first_of_each_place());
        }
        if let Some(part) = &mut self.part {
            part.joined += 1;
        }
        self
    }

    /// The number that a frame of the concatenation has in this instance, if it is one of its own.
    pub fn own_frame(&self, frame: FrameNumber) -> Option<FrameNumber> {
        let own = self.frames.first().filter(|own| own.contains(&(frame.get() - 1)))?;
        FrameNumber::new(frame.get() - own.start)
    }

    fn holds(&self, frame: u32) -> bool {
        self.frames.iter().any(|frames| frames.contains(&(frame - 1)))
    }

    /// The tiles that cover the pixels from `left` up to `right` and from `top` up to `bottom`.
    fn tiles(&self, [left, top, right, bottom]: [u32; 4], limits: &Limits) -> Result<Vec<Place>> {
        if self.part.as_ref().is_some_and(|part| part.offset.is_none()) {
            return Err(RenderError::attribute("Concatenation Frame Offset Number", "is absent"));
        }
        let (width, height) = self.tile;
        match &self.layout {
            Layout::Full => {
                let columns = left / width..right.div_ceil(width);
                let rows = top / height..bottom.div_ceil(height);
                self.check_tiles(
                    u64::from(columns.end - columns.start) * u64::from(rows.end - rows.start),
                    limits,
                )?;
                let across = u64::from(self.matrix.0.div_ceil(width));
                let place = |row: u32, column: u32| {
                    let index = u64::from(row) * across + u64::from(column);
                    let frame = u32::try_from(index + 1).ok().filter(|&n| self.holds(n))?;
                    let (x, y) =
                        (i64::from(column) * i64::from(width), i64::from(row) * i64::from(height));
                    Some(Place { frame: FrameNumber::new(frame)?, x, y })
                };
                Ok(rows
                    .flat_map(|row| columns.clone().filter_map(move |column| place(row, column)))
                    .collect())
            }
            // Without positions, where a tile lies would be a guess.
            Layout::Sparse(places) if places.is_empty() => {
                Err(RenderError::attribute("Plane Position (Slide) Sequence", "is absent"))
            }
            Layout::Sparse(places) => {
                let meets = |start: i64, length: u32, from: u32, to: u32| {
                    start < i64::from(to)
                        && start.saturating_add(i64::from(length)) > i64::from(from)
                };
                let needed: Vec<Place> = places
                    .iter()
                    .filter(|place| {
                        meets(place.x, width, left, right) && meets(place.y, height, top, bottom)
                    })
                    .copied()
                    .collect();
                self.check_tiles(needed.len() as u64, limits)?;
                Ok(needed)
            }
        }
    }

    fn check_tiles(&self, count: u64, limits: &Limits) -> Result<()> {
        let pixels = count.saturating_mul(self.tile_pixels());
        let above = |what: &str, value, limit| RenderError::TooLarge {
            what: format!("the tiles of this part of the slide {what}"),
            value,
            limit,
        };
        if pixels > limits.source_pixels {
            return Err(above("in pixels", pixels, limits.source_pixels));
        }
        if count > MOST_TILES {
            return Err(above("in number", count, MOST_TILES));
        }
        Ok(())
    }
}

impl Part {
    fn of(dataset: &InMemDicomObject) -> Option<Self> {
        let value = |tag| integer(dataset, tag).and_then(|value| u32::try_from(value).ok());
        let number = value(tags::IN_CONCATENATION_NUMBER).unwrap_or(1);
        Some(Self {
            concatenation: concatenation(dataset)?,
            number,
            offset: value(tags::CONCATENATION_FRAME_OFFSET_NUMBER).or((number == 1).then_some(0)),
            of: value(tags::IN_CONCATENATION_TOTAL_NUMBER),
            joined: 1,
        })
    }
}

impl Subject {
    fn of(dataset: &InMemDicomObject, groups: &FunctionalGroups<'_>) -> Self {
        let named = groups
            .group(tags::OPTICAL_PATH_IDENTIFICATION_SEQUENCE)
            .or_else(|| items(dataset, tags::OPTICAL_PATH_SEQUENCE).first());
        let plane = groups
            .group(tags::PLANE_POSITION_SLIDE_SEQUENCE)
            .or_else(|| items(dataset, tags::TOTAL_PIXEL_MATRIX_ORIGIN_SEQUENCE).first());
        Self {
            frame_of_reference: text(dataset, tags::FRAME_OF_REFERENCE_UID),
            optical_path: named.and_then(|path| text(path, tags::OPTICAL_PATH_IDENTIFIER)),
            samples_per_pixel: integer(dataset, tags::SAMPLES_PER_PIXEL),
            z: plane.and_then(|plane| number(plane, tags::Z_OFFSET_IN_SLIDE_COORDINATE_SYSTEM)),
        }
    }

    fn agrees(&self, other: &Self) -> bool {
        fn same<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        // Scanners write heights with three decimals at most.
        let level = match (self.z, other.z) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-3,
            _ => true,
        };
        same(&self.frame_of_reference, &other.frame_of_reference)
            && same(&self.optical_path, &other.optical_path)
            && same(&self.samples_per_pixel, &other.samples_per_pixel)
            && level
    }
}

/// Frames are counted from `offset` on.
fn layout(dataset: &InMemDicomObject, offset: u32) -> Layout {
    let organization = text(dataset, tags::DIMENSION_ORGANIZATION_TYPE);
    match organization.as_deref() {
        Some("TILED_FULL") => Layout::Full,
        Some("TILED_SPARSE") => Layout::Sparse(places(dataset, offset)),
        _ => match places(dataset, offset) {
            none if none.is_empty() => Layout::Full,
            places => Layout::Sparse(places),
        },
    }
}

/// Plane Position (Slide) of each frame, of the first optical path; counted from 1 there, from 0 here.
fn places(dataset: &InMemDicomObject, offset: u32) -> Vec<Place> {
    let frames = items(dataset, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).len() as u32;
    let first_path = optical_path(&FunctionalGroups::of(dataset, FrameNumber::FIRST));
    let place = |own: u32| {
        let groups = FunctionalGroups::of(dataset, FrameNumber::new(own)?);
        let position = groups.group(tags::PLANE_POSITION_SLIDE_SEQUENCE)?;
        let x = integer(position, tags::COLUMN_POSITION_IN_TOTAL_IMAGE_PIXEL_MATRIX)?;
        let y = integer(position, tags::ROW_POSITION_IN_TOTAL_IMAGE_PIXEL_MATRIX)?;
        let frame = FrameNumber::new(offset.checked_add(own)?)?;
        let place = Place { frame, x: x.saturating_sub(1), y: y.saturating_sub(1) };
        (optical_path(&groups) == first_path).then_some(place)
    };
    let mut places: Vec<Place> = (1..=frames).filter_map(place).collect();
    places.retain(first_of_each_place());
    places
}

/// Of several tiles at one place, which are of several focal planes, the first.
fn first_of_each_place() -> impl FnMut(&Place) -> bool {
    let mut taken = std::collections::HashSet::new();
    move |place| taken.insert((place.x, place.y))
}

fn optical_path(groups: &FunctionalGroups<'_>) -> Option<String> {
    let path = groups.group(tags::OPTICAL_PATH_IDENTIFICATION_SEQUENCE)?;
    text(path, tags::OPTICAL_PATH_IDENTIFIER)
}

/// Recommended Absent Pixel CIELab Value (0048,0015), else white.
fn background(dataset: &InMemDicomObject) -> [u8; 3] {
    match integers(dataset, tags::RECOMMENDED_ABSENT_PIXEL_CIE_LAB_VALUE)[..] {
        [l, a, b] => srgb_of_cielab(l, a, b),
        _ => [255; 3],
    }
}

/// What a picture shows of a slide.
#[derive(Clone, Debug)]
pub struct View {
    matrix: (u32, u32),
    pixel_aspect: f64,
    plan: Plan,
}

/// The part of a level that a view needs.
#[derive(Clone, PartialEq, Debug)]
pub struct Cut {
    canvas: Canvas,
    /// The tiles that are needed, in pixels of the canvas, row by row.
    pub places: Vec<Place>,
}

impl View {
    /// What `framing` shows of `slide`, whose matrix the regions are given in.
    ///
    /// # Errors
    /// [`RenderError::EmptyRegion`]; [`RenderError::TooLarge`], as for a whole slide without viewport.
    pub fn new(framing: Framing, slide: &Slide, limits: &Limits) -> Result<Self> {
        let (matrix @ (columns, rows), pixel_aspect) = (slide.matrix, slide.pixel_aspect);
        let plan = Plan::new(framing, columns, rows, pixel_aspect, limits);
        let plan = plan.map_err(|error| match error {
            RenderError::TooLarge { value, limit, .. } if framing == Framing::Native => {
                let what =
                    "the whole slide in pixels (viewport=width,height asks for less)".to_owned();
                RenderError::TooLarge { what, value, limit }
            }
            other => other,
        })?;
        Ok(Self { matrix, pixel_aspect, plan })
    }

    /// How many pixels of a level with this matrix there are for one of the picture.
    pub fn density(&self, matrix: (u32, u32)) -> f64 {
        let across = f64::from(matrix.0) / f64::from(self.matrix.0);
        let down = f64::from(matrix.1) / f64::from(self.matrix.1);
        self.plan.density() * across.min(down)
    }

    /// Whether a level with this matrix is as dense as the picture.
    pub fn is_served_by(&self, matrix: (u32, u32)) -> bool {
        // Levels round their size to whole pixels.
        self.density(matrix) >= 0.99
    }

    /// Sorts levels: the smallest that is dense enough first, then denser and denser ones, then those
    /// that are too coarse, the densest of them first.
    pub fn sort_levels<T>(&self, levels: &mut [T], matrix: impl Fn(&T) -> (u32, u32)) {
        levels.sort_by(|a, b| {
            let (a, b) = (matrix(a), matrix(b));
            let order = self.density(a).total_cmp(&self.density(b));
            match (self.is_served_by(a), self.is_served_by(b)) {
                (true, true) => order,
                (false, false) => order.reverse(),
                (served, _) => {
                    if served {
                        std::cmp::Ordering::Less
                    } else {
                        std::cmp::Ordering::Greater
                    }
                }
            }
        });
    }

    /// What is needed of `level`.
    ///
    /// # Errors
    /// [`RenderError::TooLarge`]: more tiles than allowed; [`RenderError::Attribute`]: their places are
    /// not said.
    pub fn cut(&self, level: &Slide, limits: &Limits) -> Result<Cut> {
        let across = f64::from(level.matrix.0) / f64::from(self.matrix.0);
        let down = f64::from(level.matrix.1) / f64::from(self.matrix.1);
        let (x, y, width, height) = self.plan.region();
        let (left, right) = whole_pixels(x * across, (x + width) * across, level.matrix.0);
        let (top, bottom) = whole_pixels(y * down, (y + height) * down, level.matrix.1);
        let (columns, rows) = (right - left, bottom - top);
        limits.check_source(rows, columns)?;
        let mut places = level.tiles([left, top, right, bottom], limits)?;
        for place in &mut places {
            place.x = place.x.saturating_sub(i64::from(left));
            place.y = place.y.saturating_sub(i64::from(top));
        }
        let covered = (
            f64::from(left) / across,
            f64::from(top) / down,
            f64::from(columns) / across,
            f64::from(rows) / down,
        );
        let canvas = Canvas {
            columns,
            rows,
            matrix: self.matrix,
            covered,
            pixel_aspect: self.pixel_aspect,
            background: level.background,
        };
        Ok(Cut { canvas, places })
    }
}

/// The pixels that a stretch from `start` to `end` touches, within `size`: at least one.
fn whole_pixels(start: f64, end: f64, size: u32) -> (u32, u32) {
    // What is off by a rounding error touches no further pixel.
    const SLACK: f64 = 1e-6;
    let first = ((start + SLACK).floor() as u32).min(size - 1);
    let last = ((end - SLACK).ceil() as u32).clamp(first + 1, size);
    (first, last)
}

impl Cut {
    /// The source of the picture: `tiles` are the bytes of [`Cut::places`], in their order.
    pub fn source(
        self,
        attributes: ImageAttributes,
        tiles: impl IntoIterator<Item = (TransferSyntax, Bytes)>,
    ) -> Source {
        let tile = |(place, (transfer_syntax, bytes)): (&Place, _)| Tile {
            x: place.x,
            y: place.y,
            transfer_syntax,
            bytes,
        };
        let tiles = self.places.iter().zip(tiles).map(tile).collect();
        Source::Tiles(Box::new(Mosaic { attributes, canvas: self.canvas, tiles }))
    }

    /// A frame whose attributes are those of all tiles.
    pub fn attributes_frame(&self) -> FrameNumber {
        self.places.first().map_or(FrameNumber::FIRST, |place| place.frame)
    }
}

/// A file of a slide, whose tiles are taken from it.
#[derive(Debug)]
pub struct SlideFile {
    slide: Slide,
    frames: FileFrames,
}

impl SlideFile {
    /// The slide in a file; `None` for other objects, of which only the beginning is read.
    ///
    /// # Errors
    /// A slide that is damaged or above the limits.
    pub fn open(file: &Bytes, limits: &Limits) -> Result<Option<Self>> {
        let class = part10::sop_class(file);
        if class.as_deref() != Some(uids::VL_WHOLE_SLIDE_MICROSCOPY_IMAGE_STORAGE) {
            return Ok(None);
        }
        let file = part10::read(file, limits)?;
        let Some(slide) = Slide::of(&file.dataset) else { return Ok(None) };
        Self::of(slide, file, limits).map(Some)
    }

    /// The same of a file that was taken apart.
    pub(crate) fn of(slide: Slide, file: DicomFile, limits: &Limits) -> Result<Self> {
        Ok(Self { slide, frames: FileFrames::open(file, limits)? })
    }

    /// The slide.
    pub fn slide(&self) -> &Slide {
        &self.slide
    }

    /// The attributes of one of its tiles, which are those of all of them.
    ///
    /// # Errors
    /// They are illegal.
    pub fn attributes(&self, frame: FrameNumber) -> Result<ImageAttributes> {
        let mut attributes = ImageAttributes::of_frame(&self.frames.dataset, frame)?;
        attributes.warnings.extend(self.frames.warnings.iter().cloned());
        Ok(attributes)
    }

    /// The bytes of a tile.
    ///
    /// # Errors
    /// The file has fewer frames than it says.
    pub fn tile(
        &self,
        frame: FrameNumber,
        attributes: &ImageAttributes,
    ) -> Result<(TransferSyntax, Bytes)> {
        let bytes = self.frames.bytes(frame, attributes)?;
        Ok((self.frames.transfer_syntax.clone(), bytes))
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::smallvec::smallvec;
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue, VR, dicom_value};
    use proptest::prelude::*;

    use super::*;

    /// A level of `columns` × `rows` in tiles of 100 × 100.
    fn level(columns: u32, rows: u32) -> InMemDicomObject {
        let frames = columns.div_ceil(100) * rows.div_ceil(100);
        InMemDicomObject::from_element_iter([
            DataElement::new(
                tags::SOP_CLASS_UID,
                VR::UI,
                PrimitiveValue::from(uids::VL_WHOLE_SLIDE_MICROSCOPY_IMAGE_STORAGE),
            ),
            DataElement::new(
                tags::IMAGE_TYPE,
                VR::CS,
                dicom_value!(Strs, ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]),
            ),
            DataElement::new(
                tags::DIMENSION_ORGANIZATION_TYPE,
                VR::CS,
                PrimitiveValue::from("TILED_FULL"),
            ),
            DataElement::new(
                tags::NUMBER_OF_FRAMES,
                VR::IS,
                PrimitiveValue::from(frames.to_string()),
            ),
            DataElement::new(tags::ROWS, VR::US, PrimitiveValue::from(100_u16)),
            DataElement::new(tags::COLUMNS, VR::US, PrimitiveValue::from(100_u16)),
            DataElement::new(
                tags::TOTAL_PIXEL_MATRIX_COLUMNS,
                VR::UL,
                PrimitiveValue::from(columns),
            ),
            DataElement::new(tags::TOTAL_PIXEL_MATRIX_ROWS, VR::UL, PrimitiveValue::from(rows)),
        ])
    }

    fn slide(columns: u32, rows: u32) -> Slide {
        Slide::of(&level(columns, rows)).unwrap()
    }

    fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
        DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
    }

    /// The same matrix with tiles at these places, counted from 1, each of an optical path.
    fn sparse(columns: u32, rows: u32, places: &[(i32, i32, &str)]) -> Slide {
        Slide::of(&sparse_level(columns, rows, places)).unwrap()
    }

    fn sparse_level(columns: u32, rows: u32, places: &[(i32, i32, &str)]) -> InMemDicomObject {
        let groups = |&(x, y, path): &(i32, i32, &str)| {
            let position = InMemDicomObject::from_element_iter([
                DataElement::new(
                    tags::COLUMN_POSITION_IN_TOTAL_IMAGE_PIXEL_MATRIX,
                    VR::SL,
                    PrimitiveValue::from(x),
                ),
                DataElement::new(
                    tags::ROW_POSITION_IN_TOTAL_IMAGE_PIXEL_MATRIX,
                    VR::SL,
                    PrimitiveValue::from(y),
                ),
            ]);
            let path = InMemDicomObject::from_element_iter([DataElement::new(
                tags::OPTICAL_PATH_IDENTIFIER,
                VR::SH,
                PrimitiveValue::from(path),
            )]);
            InMemDicomObject::from_element_iter([
                sequence(tags::PLANE_POSITION_SLIDE_SEQUENCE, vec![position]),
                sequence(tags::OPTICAL_PATH_IDENTIFICATION_SEQUENCE, vec![path]),
            ])
        };
        let mut dataset = level(columns, rows);
        dataset.put(DataElement::new(
            tags::DIMENSION_ORGANIZATION_TYPE,
            VR::CS,
            PrimitiveValue::from("TILED_SPARSE"),
        ));
        dataset.put(sequence(
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
            places.iter().map(groups).collect(),
        ));
        dataset
    }

    fn view(viewport: &str, slide: &Slide) -> View {
        View::new(Framing::Viewport(viewport.parse().unwrap()), slide, &Limits::default()).unwrap()
    }

    fn frames(cut: &Cut) -> Vec<u32> {
        cut.places.iter().map(|place| place.frame.get()).collect()
    }

    fn cut(viewport: &str, slide: &Slide) -> Cut {
        view(viewport, slide).cut(slide, &Limits::default()).unwrap()
    }

    #[test]
    fn regions_need_only_their_tiles() {
        let slide = slide(450, 250);
        for (viewport, expected) in [
            ("64,64,0,0,100,100", vec![1]),
            ("64,64,99,0,2,2", vec![1, 2]),
            ("64,64,99.5,99.5,1,1", vec![1, 2, 6, 7]),
            ("64,64,400,200,50,50", vec![15]),
            ("64,64,-400,200,-50,-50", vec![15]),
            ("64,64,120,0,20,250", vec![2, 7, 12]),
            ("64,64", (1..=15).collect()),
        ] {
            assert_eq!(frames(&cut(viewport, &slide)), expected, "{viewport}");
        }
    }

    #[test]
    fn only_the_first_plane_of_the_first_path_is_taken() {
        let mut dataset = level(250, 100);
        dataset.put(DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, PrimitiveValue::from("12")));
        assert_eq!(frames(&cut("64,64", &Slide::of(&dataset).unwrap())), [1, 2, 3]);
    }

    #[test]
    fn frames_that_are_not_there_are_holes() {
        let mut dataset = level(450, 250);
        dataset.put(DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, PrimitiveValue::from("7")));
        let slide = Slide::of(&dataset).unwrap();
        assert_eq!(frames(&cut("64,64", &slide)), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn tiles_lie_on_the_canvas_of_their_region() {
        let slide = slide(450, 250);
        let Cut { canvas, places } = cut("64,64,150,110.5,30,20", &slide);
        assert_eq!((canvas.columns, canvas.rows), (30, 21));
        assert_eq!(canvas.covered, (150.0, 110.0, 30.0, 21.0));
        let frame = FrameNumber::new(7).unwrap();
        assert_eq!(places, [Place { frame, x: -50, y: -10 }]);
    }

    #[test]
    fn sparse_tiles_lie_where_they_say() {
        let places = [(201, 1, "a"), (1, 1, "a"), (1, 1, "a"), (101, 1, "b"), (31, 120, "a")];
        let slide = sparse(300, 250, &places);
        assert_eq!(frames(&cut("64,64", &slide)), [1, 2, 5]);
        let Cut { places, .. } = cut("64,64,0,110,120,140", &slide);
        assert_eq!(places, [Place { frame: FrameNumber::new(5).unwrap(), x: 30, y: 9 }]);
        assert_eq!(frames(&cut("64,64,140,110,10,10", &slide)), [0; 0]);
    }

    #[test]
    fn sparse_tiles_without_places_are_not_guessed() {
        let slide = sparse(300, 250, &[]);
        let result = view("64,64", &slide).cut(&slide, &Limits::default());
        assert!(matches!(result, Err(RenderError::Attribute { .. })), "{result:?}");
    }

    #[test]
    fn the_smallest_level_that_is_dense_enough_is_taken() {
        let levels = [(40_000, 20_000), (10_000, 5_000), (2_500, 1_250), (625, 313)];
        let asked = slide(10_000, 5_000);
        let best = |viewport: &str| {
            let mut sorted = levels;
            view(viewport, &asked).sort_levels(&mut sorted, |&matrix| matrix);
            sorted[0].0
        };
        for (viewport, columns) in [
            ("512,512", 625),
            ("625,625", 625),
            ("800,800", 2_500),
            ("2500,2500", 2_500),
            ("256,256,0,0,256,256", 10_000),
            ("512,512,0,0,1024,1024", 10_000),
            ("256,256,0,0,1024,1024", 2_500),
            ("256,256,0,0,64,64", 40_000),
            ("256,256,0,0,6,6", 40_000),
        ] {
            assert_eq!(best(viewport), columns, "{viewport}");
        }
    }

    #[test]
    fn a_region_is_found_again_on_another_level() {
        let (asked, coarse) = (slide(10_000, 5_000), slide(2_500, 1_250));
        let Cut { canvas, places } =
            view("64,64,4000,2000,400,400", &asked).cut(&coarse, &Limits::default()).unwrap();
        assert_eq!((canvas.columns, canvas.rows), (100, 100));
        assert_eq!(
            (canvas.matrix, canvas.covered),
            ((10_000, 5_000), (4000.0, 2000.0, 400.0, 400.0))
        );
        assert_eq!((places.len(), places[0].frame.get()), (1, 5 * 25 + 11));
    }

    #[test]
    fn levels_are_of_one_subject_and_shape() {
        let asked = slide(10_000, 5_000);
        assert!(asked.is_level_with(&slide(625, 313)));
        assert!(!asked.is_level_with(&slide(625, 400)));
        let with = |tag, value: &str| {
            let mut dataset = level(2_500, 1_250);
            dataset.put(DataElement::new(tag, VR::UI, PrimitiveValue::from(value)));
            Slide::of(&dataset).unwrap()
        };
        let one = with(tags::FRAME_OF_REFERENCE_UID, "1.2");
        assert!(asked.is_level_with(&one));
        assert!(!one.is_level_with(&with(tags::FRAME_OF_REFERENCE_UID, "1.3")));
        assert!(asked.is_level_with(&with(tags::CONCATENATION_UID, "1.3")));
        assert!(!asked.is_level_with(&with(tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\OVERVIEW\\NONE")));
    }

    /// Part `number` of a concatenation of three, with the frames from `offset` on.
    fn part(mut dataset: InMemDicomObject, number: u16, offset: Option<u32>, frames: u32) -> Slide {
        let text = |tag, vr, value: String| DataElement::new(tag, vr, PrimitiveValue::from(value));
        dataset.put(text(tags::CONCATENATION_UID, VR::UI, "1.2.9".to_owned()));
        dataset.put(text(tags::NUMBER_OF_FRAMES, VR::IS, frames.to_string()));
        let number = PrimitiveValue::from(number);
        dataset.put(DataElement::new(tags::IN_CONCATENATION_NUMBER, VR::US, number));
        let of = PrimitiveValue::from(3_u16);
        dataset.put(DataElement::new(tags::IN_CONCATENATION_TOTAL_NUMBER, VR::US, of));
        if let Some(offset) = offset {
            let offset = PrimitiveValue::from(offset);
            dataset.put(DataElement::new(tags::CONCATENATION_FRAME_OFFSET_NUMBER, VR::UL, offset));
        }
        Slide::of(&dataset).unwrap()
    }

    #[test]
    fn the_parts_of_a_concatenation_make_up_one_image() {
        let of = |number, offset, frames| part(level(450, 250), number, Some(offset), frames);
        let (a, b, c) = (of(1, 0, 4), of(2, 4, 6), of(3, 10, 5));
        let numbered = |n| FrameNumber::new(n).unwrap();
        assert_eq!(b.own_frame(numbered(5)), Some(FrameNumber::FIRST));
        assert_eq!(
            [4, 10, 11].map(|n| b.own_frame(numbered(n)).map(FrameNumber::get)),
            [None, Some(6), None]
        );
        let whole = Slide::joined(vec![c.clone(), a.clone(), b]).unwrap();
        assert_eq!(whole.missing_parts(), Some(0));
        assert_eq!(frames(&cut("64,64", &whole)), (1..=15).collect::<Vec<_>>());
        assert_eq!(frames(&cut("64,64,0,100,100,150", &whole)), [6, 11]);
        // What a missing part holds is a hole.
        let torn = Slide::joined(vec![a, c.clone()]).unwrap();
        assert_eq!(torn.missing_parts(), Some(1));
        assert_eq!(frames(&cut("64,64", &torn)), [1, 2, 3, 4, 11, 12, 13, 14, 15]);
        // Alone, a part shows its own tiles where they belong.
        assert_eq!(
            cut("64,64,400,200,50,50", &c).places,
            [Place { frame: numbered(15), x: 0, y: 0 }]
        );
    }

    #[test]
    fn parts_of_other_images_and_of_unknown_place_are_not_joined() {
        let of = |dataset, number, offset, frames| part(dataset, number, offset, frames);
        let first = of(level(450, 250), 1, None, 4);
        for other in [
            of(level(450, 350), 2, Some(4), 4),
            of(level(450, 250), 2, None, 4),
            of(level(450, 250), 1, Some(4), 4),
        ] {
            let joined = Slide::joined(vec![first.clone(), other]).unwrap();
            assert_eq!(joined.missing_parts(), Some(2));
            assert_eq!(frames(&cut("64,64", &joined)), [1, 2, 3, 4]);
        }
        let lost = of(level(450, 250), 2, None, 4);
        let result = view("64,64", &lost).cut(&lost, &Limits::default());
        assert!(matches!(result, Err(RenderError::Attribute { .. })), "{result:?}");
        let far = of(level(450, 250), 2, Some(u32::MAX), u32::MAX);
        assert_eq!(frames(&cut("64,64", &far)), [0; 0]);
        assert!(Slide::joined(Vec::new()).is_none());
    }

    #[test]
    fn sparse_parts_count_their_frames_on() {
        let sparse_part = |number, offset, places: &[(i32, i32, &str)]| {
            let dataset = sparse_level(300, 250, places);
            part(dataset, number, Some(offset), places.len() as u32)
        };
        let parts = vec![
            sparse_part(1, 0, &[(1, 1, "a"), (101, 1, "a")]),
            sparse_part(2, 2, &[(1, 101, "a"), (1, 1, "a")]),
        ];
        let whole = Slide::joined(parts).unwrap();
        assert_eq!(frames(&cut("64,64", &whole)), [1, 2, 3], "at each place the first");
    }

    #[test]
    fn labels_are_recognised_also_within_overviews() {
        let with = |kind: &str, label: &str| {
            let mut dataset = level(100, 100);
            let kind: PrimitiveValue =
                PrimitiveValue::Strs(smallvec!["ORIGINAL".into(), "PRIMARY".into(), kind.into()]);
            dataset.put(DataElement::new(tags::IMAGE_TYPE, VR::CS, kind));
            let label = PrimitiveValue::from(label);
            dataset.put(DataElement::new(tags::SPECIMEN_LABEL_IN_IMAGE, VR::CS, label));
            Slide::of(&dataset).unwrap().shows_label()
        };
        assert!(with("LABEL", "NO") && with("OVERVIEW", "YES") && with("label", ""));
        assert!(!with("OVERVIEW", "NO") && !with("THUMBNAIL", "") && !with("VOLUME", "YES"));
    }

    #[test]
    fn tiles_are_bounded_in_pixels_and_number() {
        let slide = slide(100_000, 100_000);
        let cut = |viewport, limits: &Limits| view(viewport, &slide).cut(&slide, limits);
        let all = cut("64,64", &Limits::default());
        assert!(matches!(all, Err(RenderError::TooLarge { .. })), "{all:?}");
        let many = Limits { source_pixels: u64::MAX, ..Limits::default() };
        assert!(matches!(
            cut("64,64", &many),
            Err(RenderError::TooLarge { limit: MOST_TILES, .. })
        ));
        let few = Limits { source_pixels: 19_999, ..Limits::default() };
        assert!(cut("64,64,90,90,9,9", &few).is_ok());
        assert!(cut("64,64,90,90,20,9", &few).is_err());
    }

    #[test]
    fn a_whole_slide_that_is_too_large_names_the_viewport() {
        let whole = View::new(Framing::Native, &slide(100_000, 100_000), &Limits::default());
        assert!(whole.unwrap_err().to_string().contains("viewport=width,height asks for less"));
    }

    #[test]
    fn the_absent_pixel_value_is_a_colour() {
        let mut dataset = level(300, 300);
        let lab = dicom_value!(U16, [0, 0x8080, 0x8080]);
        dataset.put(DataElement::new(tags::RECOMMENDED_ABSENT_PIXEL_CIE_LAB_VALUE, VR::US, lab));
        assert_eq!(Slide::of(&dataset).unwrap().background, [0; 3]);
        assert_eq!(slide(300, 300).background, [255; 3]);
    }

    #[test]
    fn other_objects_are_no_slides() {
        let mut dataset = level(300, 300);
        dataset.put(DataElement::new(tags::SOP_CLASS_UID, VR::UI, PrimitiveValue::from("1.2")));
        assert!(Slide::of(&dataset).is_none());
        let limits = Limits::default();
        for bytes in [&b""[..], b"DICM", &[0; 200], b"\x08\0\x16\0UI\x02\x001.", b"\x08\0\x16\0UI"]
        {
            assert!(SlideFile::open(&Bytes::copy_from_slice(bytes), &limits).unwrap().is_none());
        }
    }

    proptest! {
        #[test]
        fn any_view_of_any_slide_is_cut_or_refused(
            columns in 1..u32::MAX, rows in 1..u32::MAX, level_columns in 1..u32::MAX,
            level_rows in 1..u32::MAX, x in 0.0..5e9_f64, y in 0.0..5e9_f64, w in 0.001..5e9_f64,
            h in 0.001..5e9_f64,
        ) {
            let (mut asked, mut level) = (slide(1, 1), slide(1, 1));
            (asked.matrix, level.matrix) = ((columns, rows), (level_columns, level_rows));
            let text = format!("64,64,{x:.2},{y:.2},{w:.3},{h:.3}");
            let Ok(viewport) = text.parse() else { return Ok(()) };
            let limits = Limits { source_pixels: 1_000_000, ..Limits::default() };
            let Ok(view) = View::new(Framing::Viewport(viewport), &asked, &limits) else { return Ok(()) };
            if let Ok(cut) = view.cut(&level, &limits) {
                prop_assert!(cut.canvas.columns >= 1 && cut.canvas.rows >= 1);
                prop_assert!(u64::from(cut.canvas.columns) * u64::from(cut.canvas.rows) <= 1_000_000);
                prop_assert!(cut.places.len() <= 100);
            }
        }
    }
}
