//! Pictures, and how far two of them are apart.

use std::io::Cursor;

use image::ImageFormat;

/// An 8-bit picture, rows × columns × channels, row-major and interleaved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// The samples.
    pub samples: Vec<u8>,
}

/// How far two pictures are apart.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Difference {
    /// The largest difference of two samples, in levels of 255.
    pub max_abs: u8,
    /// Peak signal-to-noise ratio in dB; infinite where nothing differs.
    pub psnr: f64,
}

impl Picture {
    /// Decodes a PNG. Transparency is dropped; 16 bits per sample are refused.
    pub fn from_png(bytes: &[u8]) -> Result<Self, String> {
        let image = image::load(Cursor::new(bytes), ImageFormat::Png).map_err(|e| e.to_string())?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let (channels, samples) = match image {
            image::DynamicImage::ImageLuma8(grey) => (1, grey.into_raw()),
            image::DynamicImage::ImageRgb8(rgb) => (3, rgb.into_raw()),
            image::DynamicImage::ImageRgba8(_) | image::DynamicImage::ImageLumaA8(_) => {
                (3, image.into_rgb8().into_raw())
            }
            other => return Err(format!("{:?} is not 8 bits per sample", other.color())),
        };
        Ok(Self { width, height, channels, samples })
    }

    /// The sample at a place, from 0, in the first channel.
    pub fn at(&self, column: usize, row: usize) -> u8 {
        self.samples[(row * self.width + column) * self.channels]
    }

    /// The averages of `n` × `n` boxes, rounded half up; what does not fill a box is cut off.
    pub fn box_downscaled(&self, n: usize) -> Self {
        let (width, height) = (self.width / n, self.height / n);
        let mut samples = Vec::with_capacity(width * height * self.channels);
        for y in 0..height {
            for x in 0..width {
                for c in 0..self.channels {
                    let sum: usize = (0..n * n)
                        .map(|k| (y * n + k / n) * self.width + x * n + k % n)
                        .map(|pixel| usize::from(self.samples[pixel * self.channels + c]))
                        .sum();
                    samples.push(((2 * sum + n * n) / (2 * n * n)) as u8);
                }
            }
        }
        Self { width, height, channels: self.channels, samples }
    }

    /// Compares with another picture of the same size; grey against colour is compared as colour.
    pub fn difference(&self, other: &Self) -> Result<Difference, String> {
        if (self.width, self.height) != (other.width, other.height) {
            return Err(format!(
                "{}x{} is not {}x{}",
                other.width, other.height, self.width, self.height
            ));
        }
        let channels = self.channels.max(other.channels);
        let (a, b) = (self.spread(channels), other.spread(channels));
        let differences = || a.iter().zip(&b).map(|(a, b)| a.abs_diff(*b));
        let squares: u64 = differences().map(|d| u64::from(d) * u64::from(d)).sum();
        let mean_square = squares as f64 / a.len().max(1) as f64;
        let psnr =
            if squares == 0 { f64::INFINITY } else { 10.0 * (255.0 * 255.0 / mean_square).log10() };
        Ok(Difference { max_abs: differences().max().unwrap_or(0), psnr })
    }

    /// The middle of it with the proportions of `width` to `height`: what is left without the bars above
    /// and below, or beside, a picture that was fitted into another frame.
    pub fn middle(&self, width: usize, height: usize) -> Self {
        let fitted = |side: usize, by: usize, of: usize| (side * by + of / 2) / of;
        let w = self.width.min(fitted(self.height, width, height)).max(1);
        let h = self.height.min(fitted(self.width, height, width)).max(1);
        let (left, top) = ((self.width - w) / 2, (self.height - h) / 2);
        let row = |y: usize| {
            let from = ((top + y) * self.width + left) * self.channels;
            &self.samples[from..from + w * self.channels]
        };
        let samples = (0..h).flat_map(row).copied().collect();
        Self { width: w, height: h, channels: self.channels, samples }
    }

    /// Its grey values on a grid of `width` × `height` boxes of equal size, averaged.
    pub fn grey_grid(&self, width: usize, height: usize) -> Vec<f64> {
        let grey = |x: usize, y: usize| -> f64 {
            let from = (y * self.width + x) * self.channels;
            let samples = &self.samples[from..from + self.channels];
            let weights: &[f64] = if self.channels == 3 { &[0.299, 0.587, 0.114] } else { &[1.0] };
            samples.iter().zip(weights).map(|(&sample, weight)| f64::from(sample) * weight).sum()
        };
        let (columns, rows) = (shares(self.width, width), shares(self.height, height));
        let mut grid = Vec::with_capacity(width * height);
        for row in &rows {
            for column in &columns {
                let of_row = |&(y, part): &(usize, f64)| -> f64 {
                    part * column.iter().map(|&(x, part)| part * grey(x, y)).sum::<f64>()
                };
                grid.push(row.iter().map(of_row).sum());
            }
        }
        grid
    }

    fn spread(&self, channels: usize) -> Vec<u8> {
        if channels == self.channels {
            return self.samples.clone();
        }
        self.samples.iter().flat_map(|&sample| std::iter::repeat_n(sample, channels)).collect()
    }
}

/// For each of `boxes` boxes of equal size along a side: the pixels that it covers, and what part of it
/// each makes up.
fn shares(side: usize, boxes: usize) -> Vec<Vec<(usize, f64)>> {
    let size = side as f64 / boxes as f64;
    let share = |at: usize| {
        let (from, to) = (at as f64 * size, (at + 1) as f64 * size);
        let pixels = (from as usize..side).take_while(|&pixel| (pixel as f64) < to);
        pixels
            .map(|pixel| {
                let covered = to.min((pixel + 1) as f64) - from.max(pixel as f64);
                (pixel, covered / size)
            })
            .collect()
    };
    (0..boxes).map(share).collect()
}

/// Pearson's correlation of two series of the same length: 1 where one is the other but for brightness and
/// contrast, -1 where it is its negative, 0 where they have nothing to do with each other or one is flat.
pub fn correlation(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "series of one length");
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let [mut ab, mut aa, mut bb] = [0.0; 3];
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    if aa == 0.0 || bb == 0.0 { 0.0 } else { ab / (aa * bb).sqrt() }
}

/// Columns and rows of a JPEG, from its frame header (SOF0 or SOF1: sequential, Huffman).
///
/// `None` where the bytes are no such JPEG from SOI to EOI.
pub fn jpeg_size(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut rest = bytes.strip_prefix(&[0xFF, 0xD8])?;
    if !bytes.ends_with(&[0xFF, 0xD9]) {
        return None;
    }
    loop {
        let (marker, segment) = rest.split_at_checked(2)?;
        let length = usize::from(u16::from_be_bytes([*segment.first()?, *segment.get(1)?]));
        let content = segment.get(2..length)?;
        match marker {
            [0xFF, 0xC0 | 0xC1] => {
                let side = |at: usize| {
                    Some(usize::from(u16::from_be_bytes([
                        *content.get(at)?,
                        *content.get(at + 1)?,
                    ])))
                };
                return Some((side(3)?, side(1)?));
            }
            [0xFF, 0xDA] => return None,
            [0xFF, _] => rest = &segment[length..],
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: usize, samples: &[u8]) -> Picture {
        let height = samples.len() / width;
        Picture { width, height, channels: 1, samples: samples.to_vec() }
    }

    #[test]
    fn equal_pictures_do_not_differ() {
        let picture = grey(2, &[0, 1, 2, 3]);
        let none = Difference { max_abs: 0, psnr: f64::INFINITY };
        assert_eq!(picture.difference(&picture), Ok(none));
    }

    #[test]
    fn grey_is_compared_with_colour_as_colour() {
        let colour = Picture { width: 1, height: 1, channels: 3, samples: vec![7, 7, 17] };
        let found = grey(1, &[7]).difference(&colour).unwrap();
        assert_eq!(found.max_abs, 10);
        assert!((found.psnr - 10.0 * (65025.0_f64 * 3.0 / 100.0).log10()).abs() < 1e-9);
    }

    #[test]
    fn sizes_must_agree() {
        assert!(grey(2, &[0, 0]).difference(&grey(1, &[0, 0])).is_err());
    }

    #[test]
    fn boxes_are_averaged_half_up_and_edges_cut() {
        let picture = grey(3, &[0, 1, 9, 0, 1, 9, 9, 9, 9]);
        assert_eq!(picture.box_downscaled(2), grey(1, &[1]));
    }

    #[test]
    fn bars_around_a_fitted_picture_are_cut_off() {
        let square = grey(4, &[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0]);
        assert_eq!(square.middle(200, 100), grey(4, &[1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(square.middle(1, 2), grey(2, &[0, 0, 2, 3, 6, 7, 0, 0]));
        assert_eq!(square.middle(7, 7), square);
    }

    #[test]
    fn a_grid_is_of_averages() {
        let picture = grey(3, &[0, 30, 60]);
        assert_eq!(picture.grey_grid(1, 1), [30.0]);
        // One pixel and half of the next.
        assert_eq!(picture.grey_grid(2, 1), [10.0, 50.0]);
        let one = Picture { width: 1, height: 1, channels: 3, samples: vec![0, 255, 0] };
        assert!((one.grey_grid(1, 1)[0] - 0.587 * 255.0).abs() < 1e-9);
    }

    #[test]
    fn what_correlates() {
        let close = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-9, "{found}");
        close(correlation(&[1.0, 2.0, 4.0], &[10.0, 12.0, 16.0]), 1.0);
        close(correlation(&[1.0, 2.0, 4.0], &[-1.0, -2.0, -4.0]), -1.0);
        close(correlation(&[1.0, 2.0, 1.0], &[5.0, 5.0, 5.0]), 0.0);
    }

    #[test]
    fn what_is_no_jpeg_has_no_size() {
        assert_eq!(jpeg_size(b"\xFF\xD8\xFF\xD9"), None);
        let tiny = b"\xFF\xD8\xFF\xC0\x00\x0B\x08\x00\x02\x00\x03\x01\x01\x11\x00\xFF\xD9";
        assert_eq!(jpeg_size(tiny), Some((3, 2)));
    }
}
