//! JPEG-LS (T.87), by CharLS.

use std::ffi::{CStr, c_int};

use charls_sys as charls;

use crate::buffer::{
    FLAT_SAMPLES, FLAT_SAMPLES_PER_BYTE, Sample, check_plausible, sample_count, zeroed,
};
use crate::error::{CodecError, Result};
use crate::{Image, Samples};

const SUCCESS: c_int = 0;
const EOI: [u8; 2] = [0xFF, 0xD9];

// in the library, but missing in charls-sys
unsafe extern "C" {
    fn charls_jpegls_decoder_get_interleave_mode(
        decoder: *const charls::charls_jpegls_decoder,
        mode: *mut charls::charls_interleave_mode,
    ) -> charls::charls_jpegls_errc;
}

/// What the frame header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Coded components, 1 to 4.
    pub components: u8,
    /// Bits per sample, 2 to 16.
    pub precision: u8,
}

/// Reads the headers up to the first scan.
pub fn header(codestream: &[u8]) -> Result<Header> {
    Ok(Decoder::read_header(codestream)?.header)
}

/// Decodes; components are interleaved whatever the interleave mode of the stream.
///
/// If the decoder gives up after at least half of the samples, they are returned with a warning,
/// the rest zero.
pub fn decode(codestream: &[u8]) -> Result<Image> {
    if ends_in_eoi(codestream) {
        return decode_marked(codestream);
    }
    // CharLS 2.4.5 stops at a marker in the middle of a code, but where the buffer ends there it
    // goes on to read bits, some thousand million of them
    let mut image = decode_marked(&[codestream, &EOI].concat())?;
    image.warning.get_or_insert_with(|| "the stream lacks its end marker".to_owned());
    Ok(image)
}

/// Whether only padding (00, or FF as some encoders write) follows the end marker.
fn ends_in_eoi(codestream: &[u8]) -> bool {
    let padding = codestream.iter().rev().take_while(|&&byte| matches!(byte, 0 | 0xFF)).count();
    codestream[..codestream.len() - padding].ends_with(&EOI)
}

/// Decodes a stream that ends in a marker.
fn decode_marked(codestream: &[u8]) -> Result<Image> {
    let decoder = Decoder::read_header(codestream)?;
    let Header { width, height, components, precision } = decoder.header;
    let (samples, warning) = match precision {
        ..=8 => decode_samples(codestream, decoder).map(|(s, w)| (Samples::U8(s), w))?,
        9.. => decode_samples(codestream, decoder).map(|(s, w)| (Samples::U16(s), w))?,
    };
    Ok(Image { width, height, components, samples, warning })
}

fn decode_samples<T: Sample>(
    codestream: &[u8],
    decoder: Decoder<'_>,
) -> Result<(Vec<T>, Option<String>)> {
    let Header { width, height, components, .. } = decoder.header;
    let planar = decoder.planar;
    let count = sample_count(width, height, components.into())?;
    check_plausible(count as u64, codestream.len(), FLAT_SAMPLES_PER_BYTE, FLAT_SAMPLES)?;
    let mut samples = zeroed::<T>(count)?;
    let warning = match decoder.decode_into(&mut samples) {
        Ok(()) => None,
        Err(error) => Some(salvage(codestream, &samples, error)?),
    };
    if planar && components > 1 {
        samples = interleaved(&samples, components.into())?;
    }
    Ok((samples, warning))
}

/// The error as a warning, if at least half of the samples had been written before it.
///
/// What the decoder wrote is the same whatever was there before: decoding again, over ones instead
/// of zeros, shows it.
fn salvage<T: Sample>(codestream: &[u8], over_zeros: &[T], error: CodecError) -> Result<String> {
    let mut over_ones = zeroed::<T>(over_zeros.len())?;
    over_ones.fill(T::ONES);
    // fails as before, which is what is being looked at
    let _ = Decoder::read_header(codestream)?.decode_into(&mut over_ones);
    let written = over_zeros.iter().zip(&over_ones).filter(|(a, b)| a == b).count();
    if written < over_zeros.len().div_ceil(2) {
        return Err(error);
    }
    Ok(format!("{} ({written} of {} samples decoded)", error.into_message(), over_zeros.len()))
}

/// Planes to pixels.
fn interleaved<T: Sample>(planes: &[T], components: usize) -> Result<Vec<T>> {
    let mut pixels = zeroed::<T>(planes.len())?;
    for (component, plane) in planes.chunks_exact(planes.len() / components).enumerate() {
        for (pixel, &sample) in pixels.chunks_exact_mut(components).zip(plane) {
            pixel[component] = sample;
        }
    }
    Ok(pixels)
}

/// A CharLS decoder that has read the header of a codestream.
struct Decoder<'a> {
    handle: Handle,
    header: Header,
    /// Interleave mode none: the samples come plane by plane.
    planar: bool,
    /// The handle points into it.
    _codestream: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn read_header(codestream: &'a [u8]) -> Result<Self> {
        let handle = Handle::new()?;
        // SAFETY: the handle is live; the codestream is valid for its length, only read, and
        // outlives the handle by the lifetime of this struct.
        check(unsafe {
            charls::charls_jpegls_decoder_set_source_buffer(
                handle.0,
                codestream.as_ptr().cast(),
                codestream.len(),
            )
        })?;
        // SAFETY: the handle is live and has its source.
        check(unsafe { charls::charls_jpegls_decoder_read_header(handle.0) })?;
        let header = handle.frame_info()?;
        let planar = handle.is_planar()?;
        Ok(Self { handle, header, planar, _codestream: codestream })
    }

    /// Fills `samples`, which must be of the width that the precision calls for.
    fn decode_into<T: Sample>(self, samples: &mut [T]) -> Result<()> {
        let Header { width, height, components, precision } = self.header;
        let needed = sample_count(width, height, components.into())?;
        if samples.len() != needed || size_of::<T>() != usize::from(precision.div_ceil(8)) {
            return Err(CodecError::new("the buffer does not fit the image"));
        }
        // SAFETY: the handle is live and has read its header. The buffer is writable for the size
        // given, which CharLS checks against what it will write; stride 0 means no padding. It
        // writes native-endian integers of one byte up to 8 bits, else of two; T is of that size
        // and aligned, and any bits are a value of it.
        check(unsafe {
            charls::charls_jpegls_decoder_decode_to_buffer(
                self.handle.0,
                samples.as_mut_ptr().cast(),
                size_of_val(samples),
                0,
            )
        })
    }
}

struct Handle(*mut charls::charls_jpegls_decoder);

impl Handle {
    fn new() -> Result<Self> {
        // SAFETY: takes nothing; null where memory is short.
        let handle = unsafe { charls::charls_jpegls_decoder_create() };
        if handle.is_null() {
            return Err(CodecError::new("CharLS has no memory"));
        }
        Ok(Self(handle))
    }

    fn frame_info(&self) -> Result<Header> {
        let mut info = charls::charls_frame_info {
            width: 0,
            height: 0,
            bits_per_sample: 0,
            component_count: 0,
        };
        // SAFETY: the handle is live; `info` is writable.
        check(unsafe { charls::charls_jpegls_decoder_get_frame_info(self.0, &mut info) })?;
        let components = u8::try_from(info.component_count).ok().filter(|n| (1..=4).contains(n));
        let precision = u8::try_from(info.bits_per_sample).ok().filter(|n| (2..=16).contains(n));
        match (components, precision) {
            (Some(components), Some(precision)) => {
                Ok(Header { width: info.width, height: info.height, components, precision })
            }
            _ => Err(CodecError::new(format!(
                "{} components of {} bits are not supported",
                info.component_count, info.bits_per_sample
            ))),
        }
    }

    fn is_planar(&self) -> Result<bool> {
        let mut mode = charls::charls_interleave_mode_none;
        // SAFETY: the handle is live; `mode` is writable.
        check(unsafe { charls_jpegls_decoder_get_interleave_mode(self.0, &mut mode) })?;
        Ok(mode == charls::charls_interleave_mode_none)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by charls_jpegls_decoder_create, destroyed once.
        unsafe { charls::charls_jpegls_decoder_destroy(self.0) }
    }
}

fn check(code: charls::charls_jpegls_errc) -> Result<()> {
    if code == SUCCESS {
        return Ok(());
    }
    // SAFETY: gives a static string for every number.
    let message = unsafe { CStr::from_ptr(charls::charls_get_error_message(code)) };
    Err(CodecError::new(message.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;

    const MODES: [charls::charls_interleave_mode; 3] = [
        charls::charls_interleave_mode_none,
        charls::charls_interleave_mode_line,
        charls::charls_interleave_mode_sample,
    ];

    /// `samples` are planar for interleave mode none, else interleaved.
    fn encode<T: Sample>(
        samples: &[T],
        header: Header,
        mode: charls::charls_interleave_mode,
    ) -> Vec<u8> {
        let info = charls::charls_frame_info {
            width: header.width,
            height: header.height,
            bits_per_sample: header.precision.into(),
            component_count: header.components.into(),
        };
        let mut stream = vec![0; size_of_val(samples) * 2 + 1024];
        let mut length = 0;
        // SAFETY: all pointers are to live buffers of the sizes given.
        unsafe {
            let encoder = charls::charls_jpegls_encoder_create();
            let buffer = stream.as_mut_ptr().cast();
            let results = [
                charls::charls_jpegls_encoder_set_frame_info(encoder, &info),
                charls::charls_jpegls_encoder_set_interleave_mode(encoder, mode),
                charls::charls_jpegls_encoder_set_destination_buffer(encoder, buffer, stream.len()),
                charls::charls_jpegls_encoder_encode_from_buffer(
                    encoder,
                    samples.as_ptr().cast(),
                    size_of_val(samples),
                    0,
                ),
                charls::charls_jpegls_encoder_get_bytes_written(encoder, &mut length),
            ];
            charls::charls_jpegls_encoder_destroy(encoder);
            for result in results {
                check(result).expect("encodes");
            }
        }
        stream.truncate(length);
        stream
    }

    fn texture(count: u32, precision: u8) -> Vec<u16> {
        let mask = u16::MAX >> (16 - precision);
        (0..count).map(|i| (i * 7 + (i.wrapping_mul(2_654_435_761) >> 28)) as u16 & mask).collect()
    }

    #[test]
    fn every_depth_comes_back() {
        for precision in 2..=16 {
            let header = Header { width: 31, height: 17, components: 1, precision };
            let samples = texture(31 * 17, precision);
            let narrow: Vec<u8> = samples.iter().map(|&sample| sample as u8).collect();
            let (stream, expected) = match precision {
                ..=8 => (encode(&narrow, header, MODES[0]), Samples::U8(narrow)),
                9.. => (encode(&samples, header, MODES[0]), Samples::U16(samples)),
            };
            assert_eq!(super::header(&stream), Ok(header));
            let image = decode(&stream).expect("decodes");
            assert_eq!((image.samples, image.warning), (expected, None), "{precision} bits");
        }
    }

    #[test]
    fn components_are_interleaved_whatever_the_mode() {
        let header = Header { width: 20, height: 10, components: 3, precision: 8 };
        let pixels: Vec<u8> =
            texture(20 * 10 * 3, 8).into_iter().map(|sample| sample as u8).collect();
        let planes: Vec<u8> =
            (0..3).flat_map(|c| pixels.iter().skip(c).step_by(3)).copied().collect();
        for mode in MODES {
            let planar = mode == charls::charls_interleave_mode_none;
            let stream = encode(if planar { &planes } else { &pixels }, header, mode);
            let image = decode(&stream).expect("decodes");
            assert_eq!(image.samples, Samples::U8(pixels.clone()), "mode {mode}");
            assert_eq!((image.width, image.height, image.components), (20, 10, 3));
        }
    }

    #[test]
    fn truncated_streams_give_what_is_there_with_a_warning_or_an_error() {
        let header = Header { width: 64, height: 64, components: 1, precision: 12 };
        let samples = texture(64 * 64, 12);
        let stream = encode(&samples, header, MODES[0]);
        let image = decode(&stream[..stream.len() * 3 / 4]).expect("decodes");
        assert!(image.warning.is_some());
        let Samples::U16(decoded) = image.samples else { panic!("16 bits expected") };
        assert_eq!(decoded[..2048], samples[..2048]);
        assert_eq!(decoded.last(), Some(&0));

        assert!(decode(&stream[..stream.len() / 4]).is_err());
        for length in 0..stream.len() {
            if let Ok(image) = decode(&stream[..length]) {
                assert!(image.warning.is_some(), "{length} of {} bytes", stream.len());
            }
        }
    }

    #[test]
    fn padding_after_the_end_is_no_reason_for_a_warning() {
        let header = Header { width: 8, height: 8, components: 1, precision: 12 };
        let stream = encode(&texture(64, 12), header, MODES[0]);
        for padding in [&[0][..], &[0xFF], &[0, 0, 0]] {
            let padded = [&stream, padding].concat();
            assert_eq!(decode(&padded).map(|image| image.warning), Ok(None));
        }
    }

    #[test]
    fn garbage_is_an_error() {
        for garbage in [&b""[..], b"\xFF\xD8", b"\xFF\xD8\xFF\xD9", b"not a JPEG-LS stream"] {
            assert!(header(garbage).is_err());
            assert!(decode(garbage).is_err());
        }
    }

    #[test]
    fn mutated_streams_neither_crash_nor_lie_about_their_size() {
        let header = Header { width: 33, height: 21, components: 3, precision: 8 };
        let samples: Vec<u8> =
            texture(33 * 21 * 3, 8).into_iter().map(|sample| sample as u8).collect();
        for mode in MODES {
            for mutant in fuzz::mutants(&encode(&samples, header, mode), 300) {
                // as a caller would bound it
                let Ok(header) = super::header(&mutant) else { continue };
                if u64::from(header.width) * u64::from(header.height) > 1 << 20 {
                    continue;
                }
                if let Ok(image) = decode(&mutant) {
                    let length = match &image.samples {
                        Samples::U8(samples) => samples.len(),
                        Samples::U16(samples) => samples.len(),
                    };
                    assert_eq!(
                        length as u32,
                        image.width * image.height * u32::from(image.components)
                    );
                }
            }
        }
    }
}
