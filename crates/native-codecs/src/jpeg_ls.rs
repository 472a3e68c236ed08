//! JPEG-LS (T.87), by CharLS.

use std::ffi::{CStr, c_int};

use charls_sys as charls;

use crate::buffer::{Sample, sample_count, zeroed};
use crate::error::{CodecError, Result};
use crate::{Image, Samples};

const SUCCESS: c_int = 0;

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
    let mut samples = zeroed::<T>(sample_count(width, height, components.into())?)?;
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
