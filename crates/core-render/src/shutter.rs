//! Display shutters (PS3.3 C.7.6.11): what lies outside is hidden.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde::{Deserialize, Serialize};

use crate::dataset::{integer, integers, primitive};
use crate::pixel::raster::Raster;

/// A shutter: a pixel is shown if every shape shows it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Shutter {
    shapes: Vec<Shape>,
    /// The grey that hides, 0 to 255.
    value: u8,
}

/// A shape in image pixels, rows and columns from 1.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum Shape {
    /// Within these edges, which are shown themselves.
    Rectangle { left: f64, right: f64, top: f64, bottom: f64 },
    /// Within `radius` of a centre.
    Circle { row: f64, column: f64, radius: f64 },
    /// Within a closed polygon of (row, column).
    Polygon(Vec<(f64, f64)>),
}

/// One of each (C.7.6.11): more values would only say the same again.
const MOST_SHAPES: usize = 3;

/// More corners than any collimator has; each costs every row a comparison.
const MOST_CORNERS: usize = 1000;

impl Shutter {
    /// The shutter of a data set. A shape that is not usable is left out with a warning: hiding an
    /// image by mistake is worse.
    pub(crate) fn read(dataset: &InMemDicomObject, warnings: &mut Vec<String>) -> Option<Self> {
        let kinds = primitive(dataset, tags::SHUTTER_SHAPE)?.to_multi_str().into_owned();
        let mut shapes = Vec::new();
        for kind in kinds.iter().take(MOST_SHAPES) {
            let shape = match kind.trim() {
                "RECTANGULAR" => rectangle(dataset),
                "CIRCULAR" => circle(dataset),
                "POLYGONAL" => polygon(dataset),
                // An overlay of a presentation state (C.7.6.15), which reads it.
                "BITMAP" => continue,
                _ => None,
            };
            match shape {
                Some(shape) => shapes.push(shape),
                None => warnings.push("a display shutter is not usable".to_owned()),
            }
        }
        // A P-value of 16 bits (C.7.6.11.1).
        let value = integer(dataset, tags::SHUTTER_PRESENTATION_VALUE).unwrap_or(0);
        let value = (value.clamp(0, 65_535) >> 8) as u8;
        (!shapes.is_empty()).then_some(Self { shapes, value })
    }

    /// Whether it is as [`Self::read`] makes it.
    pub(crate) fn is_legal(&self) -> bool {
        let few_corners = |shape: &Shape| match shape {
            Shape::Polygon(vertices) => vertices.len() <= MOST_CORNERS,
            Shape::Rectangle { .. } | Shape::Circle { .. } => true,
        };
        self.shapes.len() <= MOST_SHAPES && self.shapes.iter().all(few_corners)
    }

    /// The same shutter, hiding with this grey.
    pub(crate) fn with_value(&self, value: u8) -> Self {
        Self { value, ..self.clone() }
    }

    /// Hides what is outside, in a raster of a source of `full` columns × rows.
    pub(crate) fn close(&self, raster: &mut Raster, full: (u32, u32)) {
        let channels = raster.channels.count();
        let across = f64::from(full.0) / f64::from(raster.width);
        let down = f64::from(full.1) / f64::from(raster.height);
        let stride = raster.width as usize * channels;
        for (y, row) in raster.data.chunks_exact_mut(stride).enumerate() {
            // The middle of the pixel, in source pixels counted from 1.
            let source_row = (y as f64 + 0.5) * down + 0.5;
            let shapes: Vec<_> = self.shapes.iter().map(|shape| shape.at(source_row)).collect();
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                let source_column = (x as f64 + 0.5) * across + 0.5;
                if !shapes.iter().all(|shape| shape.shows(source_column)) {
                    pixel.fill(self.value);
                }
            }
        }
    }
}

/// What a shape shows of one row.
enum RowOfShape {
    /// The columns from one to another, both included.
    Columns(f64, f64),
    /// Within `radius` of a column, on a row that is so far from the centre.
    Circle { distance: f64, column: f64, radius: f64 },
    /// Even-odd rule: where the polygon's edges cross the row, ascending.
    Crossings(Vec<f64>),
}

impl Shape {
    /// The cost of a polygon's corners is met once for a row, not for every pixel.
    fn at(&self, row: f64) -> RowOfShape {
        match self {
            Self::Rectangle { left, right, top, bottom } => match (*top..=*bottom).contains(&row) {
                true => RowOfShape::Columns(*left, *right),
                false => RowOfShape::Crossings(Vec::new()),
            },
            Self::Circle { row: centre, column, radius } => {
                RowOfShape::Circle { distance: row - centre, column: *column, radius: *radius }
            }
            Self::Polygon(vertices) => RowOfShape::Crossings(crossings(vertices, row)),
        }
    }
}

impl RowOfShape {
    fn shows(&self, column: f64) -> bool {
        match self {
            Self::Columns(left, right) => (*left..=*right).contains(&column),
            Self::Circle { distance, column: c, radius } => distance.hypot(column - c) <= *radius,
            Self::Crossings(crossings) => {
                let passed = crossings.partition_point(|crossing| *crossing <= column);
                (crossings.len() - passed) % 2 == 1
            }
        }
    }
}

fn crossings(vertices: &[(f64, f64)], row: f64) -> Vec<f64> {
    let next = vertices.iter().cycle().skip(1);
    let mut crossings: Vec<f64> = vertices
        .iter()
        .zip(next)
        .filter(|((r1, _), (r2, _))| (*r1 > row) != (*r2 > row))
        .map(|((r1, c1), (r2, c2))| (c2 - c1) * (row - r1) / (r2 - r1) + c1)
        .collect();
    crossings.sort_by(f64::total_cmp);
    crossings
}

fn rectangle(dataset: &InMemDicomObject) -> Option<Shape> {
    let edge = |tag: Tag| integer(dataset, tag).map(|v| v as f64);
    let left = edge(tags::SHUTTER_LEFT_VERTICAL_EDGE)?;
    let right = edge(tags::SHUTTER_RIGHT_VERTICAL_EDGE)?;
    let top = edge(tags::SHUTTER_UPPER_HORIZONTAL_EDGE)?;
    let bottom = edge(tags::SHUTTER_LOWER_HORIZONTAL_EDGE)?;
    (left < right && top < bottom).then_some(Shape::Rectangle { left, right, top, bottom })
}

fn circle(dataset: &InMemDicomObject) -> Option<Shape> {
    let radius = integer(dataset, tags::RADIUS_OF_CIRCULAR_SHUTTER).filter(|&r| r > 0)? as f64;
    match integers(dataset, tags::CENTER_OF_CIRCULAR_SHUTTER)[..] {
        [row, column] => Some(Shape::Circle { row: row as f64, column: column as f64, radius }),
        _ => None,
    }
}

fn polygon(dataset: &InMemDicomObject) -> Option<Shape> {
    let numbers = integers(dataset, tags::VERTICES_OF_THE_POLYGONAL_SHUTTER);
    let vertices: Vec<(f64, f64)> = numbers
        .as_chunks::<2>()
        .0
        .iter()
        .map(|&[row, column]| (row as f64, column as f64))
        .collect();
    (3..=MOST_CORNERS).contains(&vertices.len()).then_some(Shape::Polygon(vertices))
}

#[cfg(test)]
mod tests {
    use dicom_core::{PrimitiveValue, VR, dicom_value};

    use super::*;
    use crate::attributes::tests::put;
    use crate::pixel::raster::Channels;

    fn shown(dataset: &InMemDicomObject, size: u32) -> Vec<u8> {
        let mut raster = Raster {
            width: size,
            height: size,
            channels: Channels::Grey,
            data: vec![9; (size * size) as usize],
        };
        let shutter = Shutter::read(dataset, &mut Vec::new()).unwrap();
        shutter.close(&mut raster, (4, 4));
        raster.data
    }

    fn rectangle(edges: [&str; 4]) -> InMemDicomObject {
        let mut dataset = InMemDicomObject::new_empty();
        put(&mut dataset, tags::SHUTTER_SHAPE, VR::CS, "RECTANGULAR".into());
        for (tag, edge) in [
            (tags::SHUTTER_LEFT_VERTICAL_EDGE, edges[0]),
            (tags::SHUTTER_RIGHT_VERTICAL_EDGE, edges[1]),
            (tags::SHUTTER_UPPER_HORIZONTAL_EDGE, edges[2]),
            (tags::SHUTTER_LOWER_HORIZONTAL_EDGE, edges[3]),
        ] {
            put(&mut dataset, tag, VR::IS, edge.into());
        }
        dataset
    }

    #[test]
    fn a_rectangle_shows_its_edges_and_what_is_between() {
        let dataset = rectangle(["2", "3", "1", "2"]);
        assert_eq!(shown(&dataset, 4), [0, 9, 9, 0, 0, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_reduced_raster_is_hidden_alike() {
        assert_eq!(shown(&rectangle(["1", "2", "1", "4"]), 2), [9, 0, 9, 0]);
    }

    #[test]
    fn the_presentation_value_hides() {
        let mut dataset = rectangle(["1", "2", "1", "4"]);
        put(&mut dataset, tags::SHUTTER_PRESENTATION_VALUE, VR::US, 0x8000_u16.into());
        assert_eq!(shown(&dataset, 4)[3], 128);
    }

    #[test]
    fn circles_and_polygons_meet() {
        let mut dataset = InMemDicomObject::new_empty();
        put(
            &mut dataset,
            tags::SHUTTER_SHAPE,
            VR::CS,
            dicom_value!(Strs, ["CIRCULAR", "POLYGONAL"]),
        );
        put(&mut dataset, tags::CENTER_OF_CIRCULAR_SHUTTER, VR::IS, dicom_value!(Strs, ["1", "1"]));
        put(&mut dataset, tags::RADIUS_OF_CIRCULAR_SHUTTER, VR::IS, "2".into());
        let square = dicom_value!(Strs, ["0", "0", "0", "5", "2", "5", "2", "0"]);
        put(&mut dataset, tags::VERTICES_OF_THE_POLYGONAL_SHUTTER, VR::IS, square);
        assert_eq!(shown(&dataset, 4)[..4], [9, 9, 9, 0]);
        assert_eq!(shown(&dataset, 4)[8..], [0; 8]);
    }

    #[test]
    fn a_polygon_of_many_corners_costs_rows_not_pixels() {
        let mut dataset = InMemDicomObject::new_empty();
        put(&mut dataset, tags::SHUTTER_SHAPE, VR::CS, "POLYGONAL".into());
        let zigzag: Vec<_> =
            (0..1000).flat_map(|i| [i % 2 * 4000, i]).map(|n: i32| n.to_string()).collect();
        let vertices = PrimitiveValue::Strs(zigzag.into());
        put(&mut dataset, tags::VERTICES_OF_THE_POLYGONAL_SHUTTER, VR::IS, vertices);
        let begun = std::time::Instant::now();
        shown(&dataset, 4000);
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }

    #[test]
    fn unusable_shutters_hide_nothing() {
        let mut warnings = Vec::new();
        assert_eq!(Shutter::read(&rectangle(["3", "2", "1", "4"]), &mut warnings), None);
        assert_eq!(warnings.len(), 1);
    }
}
