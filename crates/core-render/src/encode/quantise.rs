//! RGB to at most 256 colours: exactly where there are no more, else the best that splitting the
//! colours finds, dithered so that gradients do not become steps.

use std::collections::HashMap;

/// A picture of palette indices.
#[derive(Debug, PartialEq)]
pub(super) struct Indexed {
    /// At most 256 colours.
    pub palette: Vec<[u8; 3]>,
    /// One for each pixel, within the palette.
    pub indices: Vec<u8>,
}

/// What a palette of GIF holds.
const COLOURS: usize = 256;

/// A palette is chosen by no more pixels than this, spread over the picture.
const SAMPLES: usize = 1 << 19;

/// Reduces the colours of row-major pixels.
pub(super) fn quantise(pixels: &[[u8; 3]], width: usize) -> Indexed {
    exact(pixels).unwrap_or_else(|| {
        let palette = palette(&distinct(pixels));
        let indices = dithered(pixels, width, &palette);
        Indexed { palette, indices }
    })
}

/// The colours as they are, if a palette holds them.
fn exact(pixels: &[[u8; 3]]) -> Option<Indexed> {
    let mut palette = Vec::new();
    let mut known = HashMap::with_capacity(COLOURS);
    let mut indices = Vec::with_capacity(pixels.len());
    // Most pixels are like the one before.
    let mut last = ([0; 3], None);
    for &pixel in pixels {
        let index = match last {
            (colour, Some(index)) if colour == pixel => index,
            _ => match known.get(&pixel) {
                Some(&index) => index,
                None => {
                    let index = u8::try_from(palette.len()).ok()?;
                    palette.push(pixel);
                    known.insert(pixel, index);
                    index
                }
            },
        };
        last = (pixel, Some(index));
        indices.push(index);
    }
    Some(Indexed { palette, indices })
}

/// A colour, and how many pixels have it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Colour {
    rgb: [u8; 3],
    count: u32,
}

/// The colours of a sample of the pixels, each once.
fn distinct(pixels: &[[u8; 3]]) -> Vec<Colour> {
    // Odd, or it would fall into step with the rows of most pictures.
    let step = pixels.len().div_ceil(SAMPLES) | 1;
    let mut sample: Vec<[u8; 3]> = pixels.iter().step_by(step).copied().collect();
    sample.sort_unstable();
    let runs = sample.chunk_by(|a, b| a == b);
    runs.map(|run| Colour { rgb: run[0], count: run.len() as u32 }).collect()
}

/// Sums over colours.
#[derive(Clone, Copy, Default, Debug)]
struct Sums {
    count: f64,
    rgb: [f64; 3],
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.rgb = std::array::from_fn(|channel| self.rgb[channel] + other.rgb[channel]);
    }

    fn without(self, part: Self) -> Self {
        let rgb = std::array::from_fn(|channel| self.rgb[channel] - part.rgb[channel]);
        Self { count: self.count - part.count, rgb }
    }

    fn of(colour: &Colour) -> Self {
        let count = f64::from(colour.count);
        Self { count, rgb: colour.rgb.map(|value| f64::from(value) * count) }
    }

    /// How much of the sum of squares the mean accounts for: the more, the less error is left.
    fn explained(self) -> f64 {
        match self.count > 0.0 {
            true => self.rgb.iter().map(|sum| sum * sum).sum::<f64>() / self.count,
            false => 0.0,
        }
    }

    fn mean(self) -> [u8; 3] {
        self.rgb.map(|sum| (sum / self.count.max(1.0)).round() as u8)
    }
}

/// Some of the colours, and the cut that lowers their squared error most.
struct Part {
    colours: std::ops::Range<usize>,
    sums: Sums,
    cut: Option<Cut>,
}

struct Cut {
    channel: usize,
    /// The highest value of the lower part.
    below: u8,
    gain: f64,
}

impl Part {
    fn new(all: &[Colour], colours: std::ops::Range<usize>) -> Self {
        let mut by_value = [[Sums::default(); 256]; 3];
        let mut sums = Sums::default();
        for colour in &all[colours.clone()] {
            let own = Sums::of(colour);
            sums.add(own);
            for (channel, by_value) in by_value.iter_mut().enumerate() {
                by_value[usize::from(colour.rgb[channel])].add(own);
            }
        }
        let mut cut: Option<Cut> = None;
        for (channel, by_value) in by_value.iter().enumerate() {
            let mut lower = Sums::default();
            for (below, own) in (0..255_u8).zip(by_value) {
                lower.add(*own);
                let upper = sums.without(lower);
                if own.count == 0.0 || upper.count < 0.5 {
                    continue;
                }
                let gain = lower.explained() + upper.explained() - sums.explained();
                if cut.as_ref().is_none_or(|best| gain > best.gain) {
                    cut = Some(Cut { channel, below, gain });
                }
            }
        }
        Self { colours, sums, cut }
    }
}

/// The means of parts into which the colours are split, always where it lowers the error most.
fn palette(colours: &[Colour]) -> Vec<[u8; 3]> {
    let mut colours = colours.to_vec();
    let mut parts = vec![Part::new(&colours, 0..colours.len())];
    while parts.len() < COLOURS {
        let gain = |at: usize| parts[at].cut.as_ref().map_or(0.0, |cut| cut.gain);
        let best = (0..parts.len()).max_by(|&a, &b| gain(a).total_cmp(&gain(b)));
        let Some(best) = best.filter(|&best| gain(best) > 0.0) else { break };
        let Part { colours: range, cut: Some(cut), .. } = parts.swap_remove(best) else { break };
        let middle = range.start + partition(&mut colours[range.clone()], &cut);
        parts.push(Part::new(&colours, range.start..middle));
        parts.push(Part::new(&colours, middle..range.end));
    }
    parts.iter().map(|part| part.sums.mean()).collect()
}

/// Brings the colours below the cut to the front; how many there are.
fn partition(colours: &mut [Colour], cut: &Cut) -> usize {
    let mut front = 0;
    for at in 0..colours.len() {
        if colours[at].rgb[cut.channel] <= cut.below {
            colours.swap(front, at);
            front += 1;
        }
    }
    front
}

/// The nearest colours of the palette, the error of each pixel handed on to its neighbours (Floyd and
/// Steinberg), in rows of alternating direction.
fn dithered(pixels: &[[u8; 3]], width: usize, palette: &[[u8; 3]]) -> Vec<u8> {
    let mut nearest = Nearest::new(palette);
    let mut indices = vec![0; pixels.len()];
    // In sixteenths; a margin on both sides instead of edges.
    let mut here = vec![[0_i32; 3]; width + 2];
    let mut below = here.clone();
    let rows = pixels.chunks_exact(width).zip(indices.chunks_exact_mut(width));
    for (row, (pixels, indices)) in rows.enumerate() {
        let rightwards = row % 2 == 0;
        for step in 0..width {
            let at = if rightwards { step } else { width - 1 - step };
            let (ahead, behind) = if rightwards { (at + 2, at) } else { (at, at + 2) };
            let wanted: [i32; 3] = std::array::from_fn(|channel| {
                (i32::from(pixels[at][channel]) + ((here[at + 1][channel] + 8) >> 4)).clamp(0, 255)
            });
            indices[at] = nearest.index(wanted.map(|value| value as u8));
            let got = palette[usize::from(indices[at])];
            for channel in 0..3 {
                let error = wanted[channel] - i32::from(got[channel]);
                here[ahead][channel] += error * 7;
                below[behind][channel] += error * 3;
                below[at + 1][channel] += error * 5;
                below[ahead][channel] += error;
            }
        }
        std::mem::swap(&mut here, &mut below);
        below.fill([0; 3]);
    }
    indices
}

/// Finds the nearest colour of a palette. Colour space is divided into cells of 8 levels a side; each,
/// once asked for, knows the few colours that can be nearest to any point in it.
struct Nearest<'a> {
    palette: &'a [[u8; 3]],
    cells: Vec<Vec<u8>>,
}

impl<'a> Nearest<'a> {
    fn new(palette: &'a [[u8; 3]]) -> Self {
        Self { palette, cells: vec![Vec::new(); 1 << 15] }
    }

    fn index(&mut self, rgb: [u8; 3]) -> u8 {
        let [r, g, b] = rgb.map(|value| usize::from(value >> 3));
        let cell = &mut self.cells[r << 10 | g << 5 | b];
        if cell.is_empty() {
            *cell = candidates(self.palette, rgb);
        }
        let distance = |&&index: &&u8| -> u32 {
            let colour = self.palette[usize::from(index)];
            (0..3).map(|channel| u32::from(colour[channel].abs_diff(rgb[channel])).pow(2)).sum()
        };
        cell.iter().min_by_key(distance).copied().unwrap_or(0)
    }
}

/// The colours that are nearest to some point of the cell that `rgb` lies in.
fn candidates(palette: &[[u8; 3]], rgb: [u8; 3]) -> Vec<u8> {
    let range = rgb.map(|value| (i32::from(value & !7), i32::from(value | 7)));
    let sum = |colour: &[u8; 3], far: bool| -> i32 {
        let along = |channel: usize| {
            let ((low, high), value) = (range[channel], i32::from(colour[channel]));
            let (a, b) = ((value - low).abs(), (value - high).abs());
            match (far, (low..=high).contains(&value)) {
                (true, _) => a.max(b),
                (false, true) => 0,
                (false, false) => a.min(b),
            }
        };
        (0..3).map(|channel| along(channel).pow(2)).sum()
    };
    // Whatever the point, some colour is at most so far away.
    let reach = palette.iter().map(|colour| sum(colour, true)).min().unwrap_or(0);
    let near = (0..=255).zip(palette).filter(|(_, colour)| sum(colour, false) <= reach);
    near.map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(indexed: &Indexed) -> Vec<[u8; 3]> {
        indexed.indices.iter().map(|&index| indexed.palette[usize::from(index)]).collect()
    }

    fn psnr(a: &[[u8; 3]], b: &[[u8; 3]]) -> f64 {
        let pairs = a.as_flattened().iter().zip(b.as_flattened());
        let squares: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
        10.0 * (65_025.0 * 3.0 * a.len() as f64 / squares).log10()
    }

    /// The mean over blocks of 4 × 4: what the eye sees of a dithered picture.
    fn softened(pixels: &[[u8; 3]], width: usize) -> Vec<[u8; 3]> {
        let rows = pixels.len() / width;
        let block = |top: usize, left: usize, channel: usize| {
            let at = (0..16).map(|i| pixels[(top + i / 4) * width + left + i % 4][channel]);
            (at.map(u32::from).sum::<u32>() / 16) as u8
        };
        let corners = (0..rows / 4).flat_map(|y| (0..width / 4).map(move |x| (y * 4, x * 4)));
        corners.map(|(top, left)| std::array::from_fn(|c| block(top, left, c))).collect()
    }

    fn gradient(side: usize) -> Vec<[u8; 3]> {
        let pixels = (0..side * side).map(|at| (at % side * 255 / side, at / side * 255 / side));
        pixels.map(|(x, y)| [x as u8, y as u8, ((x + y) / 2) as u8]).collect()
    }

    #[test]
    fn few_colours_are_kept_and_one_more_is_not() {
        let colours: Vec<[u8; 3]> = (0..=255).map(|v| [v, 255 - v, v / 2]).collect();
        let exact = quantise(&colours, 16);
        assert_eq!((exact.palette.len(), shown(&exact)), (256, colours.clone()));
        let more = [&colours[..], &[[0, 0, 0]; 16]].concat();
        let indexed = quantise(&more, 16);
        assert_eq!(indexed.palette.len(), 256);
        assert!(psnr(&more, &shown(&indexed)) > 45.0);
    }

    #[test]
    fn gradients_are_smooth_to_the_eye() {
        let picture = gradient(256);
        let got = shown(&quantise(&picture, 256));
        let (near, far) = (psnr(&picture, &got), softened(&got, 256));
        let smooth = psnr(&softened(&picture, 256), &far);
        assert!(near > 30.0 && smooth > 40.0, "{near:.1} dB, softened {smooth:.1} dB");
    }

    #[test]
    fn nearly_grey_pictures_keep_their_levels_and_black_stays_black() {
        // As JPEG leaves ultrasound: grey with a little colour, on black.
        let noise = |at: usize| (at * 7919 % 5) as u8;
        let picture: Vec<[u8; 3]> = (0..256 * 256)
            .map(|at| match at % 256 {
                0..64 => [0; 3],
                x => [x as u8 - 60, x as u8 - 60 + noise(at), x as u8 - 60 + noise(at / 3)],
            })
            .collect();
        let got = shown(&quantise(&picture, 256));
        assert!(psnr(&picture, &got) > 40.0, "{:.1}", psnr(&picture, &got));
        let dark = got.iter().enumerate().filter(|(at, _)| at % 256 < 60);
        assert!(dark.map(|(_, pixel)| pixel).all(|pixel| *pixel == [0; 3]));
    }

    #[test]
    fn a_cut_at_the_extremes_ends() {
        let pixels: Vec<[u8; 3]> = (0..300_usize).map(|at| [255, 255, (at % 256) as u8]).collect();
        assert_eq!(quantise(&pixels, 300).palette.len(), 256);
        assert_eq!(palette(&distinct(&[[9, 9, 9]; 4])), [[9, 9, 9]]);
        assert_eq!(quantise(&[], 1), Indexed { palette: vec![], indices: vec![] });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_nearest_colour_is_found(
            palette in prop::collection::vec(any::<[u8; 3]>(), 1..256),
            points in prop::collection::vec(any::<[u8; 3]>(), 1..50),
        ) {
            let distance = |a: [u8; 3], b: [u8; 3]| -> u32 {
                (0..3).map(|c| u32::from(a[c].abs_diff(b[c])).pow(2)).sum()
            };
            let mut nearest = Nearest::new(&palette);
            for point in points {
                let found = palette[usize::from(nearest.index(point))];
                let best = palette.iter().map(|&colour| distance(colour, point)).min();
                prop_assert_eq!(Some(distance(found, point)), best);
            }
        }

        #[test]
        fn every_pixel_has_a_colour(
            pixels in prop::collection::vec(any::<[u8; 3]>(), 1..2000), width in 1..50_usize,
        ) {
            let rows = pixels.len().div_ceil(width);
            let mut pixels = pixels;
            pixels.resize(rows * width, [0; 3]);
            let indexed = quantise(&pixels, width);
            prop_assert_eq!(indexed.indices.len(), pixels.len());
            prop_assert!(indexed.palette.len() <= 256);
            prop_assert!(indexed.indices.iter().all(|&i| usize::from(i) < indexed.palette.len()));
        }
    }
}
