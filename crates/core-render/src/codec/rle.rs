//! RLE Lossless (PS3.5 Annex G): PackBits, a segment for each byte of each sample.

use crate::attributes::CellKind;
use crate::codec::{Decoded, Encoded, native_layout, native_space};
use crate::error::{RenderError, Result};
use crate::pixel::cells::Cells;

pub(super) fn decode(encoded: &Encoded<'_>, warnings: &mut Vec<String>) -> Result<Decoded> {
    let attributes = encoded.attributes;
    let pixels = attributes.rows as usize * attributes.columns as usize;
    let segments = segments(encoded.bytes)?;
    let cells = match attributes.cell_kind {
        CellKind::Integer(1) => {
            one_bit(segments.first().copied().unwrap_or(&[]), pixels, warnings)?
        }
        CellKind::Integer(bits @ (8 | 16 | 32)) => {
            let samples = usize::from(attributes.samples_per_pixel);
            let planes = samples * usize::from(bits) / 8;
            if segments.len() < planes {
                let reason = format!("{} segments, {planes} are needed", segments.len());
                return Err(RenderError::decode("RLE", reason));
            }
            let planes: Vec<Vec<u8>> = segments[..planes]
                .iter()
                .map(|segment| unpack(segment, pixels, warnings))
                .collect::<Result<_>>()?;
            assemble(&planes, samples, usize::from(bits) / 8, pixels)
        }
        _ => return Err(RenderError::decode("RLE", "cells of this kind cannot be RLE")),
    };
    let (layout, space) = (native_layout(attributes), native_space(attributes));
    Ok(Decoded::full_size(attributes, cells, layout, space))
}

/// The segments that the 64-byte header names (G.5). An offset outside ends the list.
fn segments(frame: &[u8]) -> Result<Vec<&[u8]>> {
    let header = frame
        .first_chunk::<64>()
        .ok_or_else(|| RenderError::decode("RLE", "the frame is shorter than its header"))?;
    let words = header.as_chunks::<4>().0;
    let count = u32::from_le_bytes(words[0]) as usize;
    if !(1..=15).contains(&count) {
        return Err(RenderError::decode("RLE", "the header has no legal number of segments"));
    }
    let offsets: Vec<usize> =
        words[1..=count].iter().map(|word| u32::from_le_bytes(*word) as usize).collect();
    let ends = offsets[1..].iter().copied().chain([frame.len()]);
    Ok(offsets.iter().zip(ends).map_while(|(&start, end)| frame.get(start..end)).collect())
}

/// Expands one segment to exactly `length` bytes: what runs over is dropped, what is short is 0.
///
/// # Errors
/// Less than half is there: memory must not follow what a few bytes declare.
fn unpack(segment: &[u8], length: usize, warnings: &mut Vec<String>) -> Result<Vec<u8>> {
    let mut out = expand(segment, length);
    if out.len() < length.div_ceil(2) {
        let reason = format!("a segment holds {} of {length} bytes", out.len());
        return Err(RenderError::decode("RLE", reason));
    }
    if out.len() < length {
        warnings.push("RLE: a segment is shorter than the frame".to_owned());
    }
    out.resize(length, 0);
    Ok(out)
}

/// What a segment holds, up to `most` bytes.
fn expand(segment: &[u8], most: usize) -> Vec<u8> {
    // Two bytes make 128 at most.
    let mut out = Vec::with_capacity(most.min(segment.len() * 64));
    let mut rest = segment;
    while out.len() < most {
        let Some((&control, after)) = rest.split_first() else { break };
        let control = control as i8;
        rest = match control {
            0.. => {
                let count = (control as usize + 1).min(after.len());
                out.extend_from_slice(&after[..count]);
                &after[count..]
            }
            -127..0 => {
                let Some((&value, after)) = after.split_first() else { break };
                out.resize(out.len() + 1 + usize::from(control.unsigned_abs()), value);
                after
            }
            -128 => after,
        };
    }
    out.truncate(most);
    out
}

/// 1-bit frames are packed before they are coded; some writers code a byte per pixel.
fn one_bit(segment: &[u8], pixels: usize, warnings: &mut Vec<String>) -> Result<Cells> {
    let packed = pixels.div_ceil(8);
    let bytes = expand(segment, pixels);
    if bytes.get(packed..).is_some_and(|rest| rest.iter().any(|&byte| byte != 0)) {
        return Ok(Cells::U8(unpack(segment, pixels, warnings)?.into()));
    }
    let bytes = unpack(segment, packed, warnings)?;
    let bits = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
    Ok(Cells::U8(bits.take(pixels).collect()))
}

/// Byte planes, most significant first for each sample, to interleaved cells.
fn assemble(planes: &[Vec<u8>], samples: usize, bytes: usize, pixels: usize) -> Cells {
    match bytes {
        1 if samples == 1 => Cells::U8(planes[0].clone().into()),
        1 => Cells::U8(interleaved::<u8>(planes, samples, pixels, |_, byte| byte).into()),
        2 => Cells::U16(interleaved(planes, samples, pixels, |cell: u16, byte| {
            cell << 8 | u16::from(byte)
        })),
        _ => Cells::U32(interleaved(planes, samples, pixels, |cell: u32, byte| {
            cell << 8 | u32::from(byte)
        })),
    }
}

/// Plane by plane, since a loop over one runs fastest.
fn interleaved<T: Copy + Default>(
    planes: &[Vec<u8>],
    samples: usize,
    pixels: usize,
    append: impl Fn(T, u8) -> T,
) -> Vec<T> {
    let mut cells = vec![T::default(); pixels * samples];
    let bytes = planes.len() / samples;
    for (index, plane) in planes.iter().enumerate() {
        let of_sample = cells[index / bytes..].iter_mut().step_by(samples);
        of_sample.zip(plane).for_each(|(cell, &byte)| *cell = append(*cell, byte));
    }
    cells
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::attributes::tests::image;
    use crate::limits::Limits;

    fn frame(segments: &[&[u8]]) -> Bytes {
        let mut out = (segments.len() as u32).to_le_bytes().to_vec();
        let mut offset = 64_u32;
        for index in 0..15 {
            let here = if index < segments.len() { offset } else { 0 };
            out.extend(here.to_le_bytes());
            offset += segments.get(index).map_or(0, |s| s.len() as u32);
        }
        out.extend(segments.concat());
        out.into()
    }

    fn decoded(bytes: &Bytes, bits: u16, samples: u16, columns: u32) -> Result<(Cells, usize)> {
        let mut attributes = image(1, columns, bits);
        attributes.samples_per_pixel = samples;
        let mut warnings = Vec::new();
        let limits = Limits::default();
        let encoded = Encoded {
            attributes: &attributes,
            bytes,
            lossless: true,
            limits: &limits,
            density: &|_, _| 1.0,
            tile: None,
        };
        decode(&encoded, &mut warnings).map(|decoded| (decoded.cells, warnings.len()))
    }

    #[test]
    fn runs_and_literals_are_expanded() {
        // PS3.5 G.3.2: -128 is a no-op, n < 0 repeats 1 − n times, n ≥ 0 copies n + 1 bytes.
        let bytes = frame(&[&[0xFE, 7, 0x80, 1, 8, 9, 0]]);
        let (cells, warnings) = decoded(&bytes, 8, 1, 5).unwrap();
        assert!(matches!(cells, Cells::U8(cells) if cells.as_ref() == [7, 7, 7, 8, 9]));
        assert_eq!(warnings, 0);
    }

    #[test]
    fn the_most_significant_plane_comes_first() {
        let bytes = frame(&[&[1, 0x12, 0xAB], &[1, 0x34, 0xCD]]);
        let (cells, _) = decoded(&bytes, 16, 1, 2).unwrap();
        assert!(matches!(cells, Cells::U16(cells) if cells == [0x1234, 0xABCD]));
    }

    #[test]
    fn colour_planes_are_interleaved() {
        let bytes = frame(&[&[1, 1, 2], &[1, 3, 4], &[1, 5, 6]]);
        let (cells, _) = decoded(&bytes, 8, 3, 2).unwrap();
        assert!(matches!(cells, Cells::U8(cells) if cells.as_ref() == [1, 3, 5, 2, 4, 6]));
    }

    #[test]
    fn a_short_segment_is_filled_with_a_warning_if_half_is_there() {
        let (cells, warnings) = decoded(&frame(&[&[1, 9, 8]]), 8, 1, 4).unwrap();
        assert!(matches!(cells, Cells::U8(cells) if cells.as_ref() == [9, 8, 0, 0]));
        assert_eq!(warnings, 1);
        let result = decoded(&frame(&[&[1, 9, 8]]), 8, 1, 5);
        assert!(matches!(result, Err(RenderError::Decode { .. })));
    }

    #[test]
    fn a_runaway_segment_stops_at_the_frame() {
        let runaway: Vec<u8> = std::iter::repeat_n([0x81, 5], 10_000).flatten().collect();
        let (cells, _) = decoded(&frame(&[&runaway]), 8, 1, 4).unwrap();
        assert_eq!(cells.len(), 4);
    }

    #[test]
    fn packed_one_bit_frames_are_unpacked() {
        let (cells, _) = decoded(&frame(&[&[1, 0b101, 0b10]]), 1, 1, 10).unwrap();
        assert!(
            matches!(cells, Cells::U8(cells) if cells.as_ref() == [1, 0, 1, 0, 0, 0, 0, 0, 0, 1])
        );
    }

    #[test]
    fn bad_headers_are_errors() {
        let mut outside = frame(&[&[0, 1]]).to_vec();
        outside[4..8].copy_from_slice(&9999_u32.to_le_bytes());
        let mut none = outside.clone();
        none[0] = 0;
        for bytes in [outside, none, vec![1; 10]] {
            assert!(matches!(decoded(&bytes.into(), 8, 1, 2), Err(RenderError::Decode { .. })));
        }
    }
}
