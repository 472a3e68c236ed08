//! JPEG (T.81): baseline, extended, progressive and lossless, by libjpeg-turbo 3.

mod markers;

use std::ffi::{CStr, c_int};

use turbojpeg_sys as tj;

use crate::buffer::{Sample, sample_count, zeroed};
use crate::error::{CodecError, Result};
use crate::{Image, Samples};

/// More scans than any encoder writes; each costs a pass over the whole image.
const MAX_SCANS: c_int = 100;

/// No Huffman-coded image is this much larger than its stream: 64 samples take 2 bits or more.
/// The rest is room for streams cut off in a flat part.
const MAX_SAMPLES_PER_BYTE: usize = 2048;

/// Below this nobody minds.
const SMALL_IMAGE_SAMPLES: usize = 1 << 22;

/// What libjpeg takes the coded components for: by their number, the JFIF and Adobe segments, and
/// the component identifiers, in this order. DICOM's Photometric Interpretation may know better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// One component.
    Grey,
    /// Three, not to be converted.
    Rgb,
    /// Three, to be converted to RGB unless lossless.
    YCbCr,
    /// Four: CMYK or YCCK.
    Other,
}

/// What the headers before the first scan say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Coded components: 1, 3 or 4.
    pub components: u8,
    /// Bits per sample: 8 or 12, if lossless 2 to 16.
    pub precision: u8,
    /// Whether the process is lossless (SOF3).
    pub lossless: bool,
    /// What the components are taken for.
    pub colour: Colour,
}

/// At which size to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// As coded.
    #[default]
    Full,
    /// 1/2, rounded up.
    Half,
    /// 1/4, rounded up.
    Quarter,
    /// 1/8, rounded up.
    Eighth,
}

/// What the pixels to encode are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// One byte per pixel.
    Grey,
    /// Three bytes per pixel.
    Rgb,
}

/// Resolution of the encoded chroma; grey has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subsampling {
    /// Full.
    S444,
    /// Half in both directions.
    S420,
}

/// Reads the headers, no image data.
pub fn header(codestream: &[u8]) -> Result<Header> {
    Ok(Decompressor::new()?.header(codestream)?.0)
}

/// Decodes: one component as grey, YCbCr converted to RGB, RGB as it is, four components as CMYK.
///
/// Lossless components always come as coded, without any conversion. Up to 8 bits give
/// [`Samples::U8`], more [`Samples::U16`].
///
/// The result has the reduced size; only lossy streams can be reduced. A stream that breaks off is
/// completed by libjpeg (grey, or the last values) and gives a warning.
pub fn decode(codestream: &[u8], reduction: Reduction) -> Result<Image> {
    let codestream = markers::with_legal_scan_headers(codestream);
    let (header, warning) = Decompressor::new()?.header(&codestream)?;
    if header.lossless && converts_colour(header.colour) {
        let as_coded = markers::without_colour_transform(&codestream);
        return decode_as_said(&as_coded, reduction, None);
    }
    decode_as_said(&codestream, reduction, Some((header, warning)))
}

/// Like [`decode`], but three components come as coded even where the stream's markers call them
/// YCbCr: for callers who know from elsewhere that they are RGB, or who convert on their own.
pub fn decode_as_coded(codestream: &[u8], reduction: Reduction) -> Result<Image> {
    let codestream = markers::with_legal_scan_headers(codestream);
    let (header, warning) = Decompressor::new()?.header(&codestream)?;
    if converts_colour(header.colour) {
        let as_coded = markers::without_colour_transform(&codestream);
        return decode_as_said(&as_coded, reduction, None);
    }
    decode_as_said(&codestream, reduction, Some((header, warning)))
}

/// Encodes 8-bit pixels, row-major and interleaved, as baseline JPEG: grey, or YCbCr from RGB.
///
/// `quality` is libjpeg's, 1 to 100. Neither side may exceed 65500 pixels.
pub fn encode(
    pixels: &[u8],
    width: u32,
    height: u32,
    channels: Channels,
    quality: u8,
    subsampling: Subsampling,
) -> Result<Vec<u8>> {
    let (components, pixel_format, subsampling) = match (channels, subsampling) {
        (Channels::Grey, _) => (1, tj::TJPF_TJPF_GRAY, tj::TJSAMP_TJSAMP_GRAY),
        (Channels::Rgb, Subsampling::S444) => (3, tj::TJPF_TJPF_RGB, tj::TJSAMP_TJSAMP_444),
        (Channels::Rgb, Subsampling::S420) => (3, tj::TJPF_TJPF_RGB, tj::TJSAMP_TJSAMP_420),
    };
    if sample_count(width, height, components)? != pixels.len() {
        return Err(CodecError::new(format!(
            "{} bytes are not {width} × {height} pixels with {components} components",
            pixels.len()
        )));
    }
    Compressor::new(quality, subsampling as c_int)?.encode(
        pixels,
        (dimension(width)?, dimension(height)?),
        pixel_format as c_int,
        subsampling as c_int,
    )
}

fn converts_colour(colour: Colour) -> bool {
    match colour {
        Colour::YCbCr | Colour::Other => true,
        Colour::Grey | Colour::Rgb => false,
    }
}

/// Decodes with the colour conversion that the markers ask for.
fn decode_as_said(
    codestream: &[u8],
    reduction: Reduction,
    known: Option<(Header, Option<String>)>,
) -> Result<Image> {
    let (header, header_warning) = match known {
        Some(known) => known,
        None => Decompressor::new()?.header(codestream)?,
    };
    if header.lossless && reduction != Reduction::Full {
        return Err(CodecError::new("lossless JPEG cannot be decoded at reduced size"));
    }
    check_plausible(&header, codestream.len())?;
    let job = Job::new(codestream, header, reduction)?;
    let (samples, warning) = match header.precision {
        ..=8 => job.run(Decompressor::decompress_8).map(|(s, w)| (Samples::U8(s), w))?,
        9..=12 => job.run(Decompressor::decompress_12).map(|(s, w)| (Samples::U16(s), w))?,
        13.. => job.run(Decompressor::decompress_16).map(|(s, w)| (Samples::U16(s), w))?,
    };
    Ok(Image {
        width: job.width,
        height: job.height,
        components: header.components,
        samples,
        warning: header_warning.or(warning),
    })
}

/// Refuses large images that a stream of this length cannot hold.
fn check_plausible(header: &Header, bytes: usize) -> Result<()> {
    let samples = sample_count(header.width, header.height, header.components.into())?;
    if samples <= SMALL_IMAGE_SAMPLES || samples / MAX_SAMPLES_PER_BYTE <= bytes {
        return Ok(());
    }
    Err(CodecError::new(format!(
        "{bytes} bytes cannot hold the declared {} × {} pixels",
        header.width, header.height
    )))
}

fn dimension(pixels: u32) -> Result<c_int> {
    c_int::try_from(pixels).map_err(|_| CodecError::new(format!("{pixels} pixels are too many")))
}

/// One decoding, and the size of its result.
struct Job<'a> {
    codestream: &'a [u8],
    header: Header,
    reduction: Reduction,
    width: u32,
    height: u32,
    /// Samples of a row of the result.
    pitch: usize,
    samples: usize,
}

type Decompress<T> = fn(&Decompressor, &Job<'_>, &mut [T]) -> std::result::Result<(), CodecError>;

impl<'a> Job<'a> {
    fn new(codestream: &'a [u8], header: Header, reduction: Reduction) -> Result<Self> {
        let divisor = reduction.divisor().unsigned_abs();
        let (width, height) = (header.width.div_ceil(divisor), header.height.div_ceil(divisor));
        let pitch = sample_count(width, 1, header.components.into())?;
        let samples = sample_count(width, height, header.components.into())?;
        Ok(Self { codestream, header, reduction, width, height, pitch, samples })
    }

    /// The samples, with what libjpeg said if the last row was written nevertheless.
    ///
    /// libjpeg-turbo does not tell errors that follow a warning from warnings, and complains of what comes
    /// after the last row as an error. Rows are written in order, so the last one tells: it was
    /// written unless it is still zero where the buffer was zero, and one where it was one.
    fn run<T: Sample>(&self, decompress: Decompress<T>) -> Result<(Vec<T>, Option<String>)> {
        let mut samples = zeroed::<T>(self.samples)?;
        let Err(said) = self.decompress_into(&mut samples, decompress) else {
            return Ok((samples, None));
        };
        let last_row = self.samples - self.pitch;
        if samples[last_row..].iter().all(|&sample| sample == T::ZERO) {
            samples.fill(T::ONES);
            // fails as before, which is what is being looked at
            let _ = self.decompress_into(&mut samples, decompress);
            if samples[last_row..].iter().all(|&sample| sample == T::ONES) {
                return Err(said);
            }
        }
        Ok((samples, Some(said.into_message())))
    }

    fn decompress_into<T>(&self, samples: &mut [T], decompress: Decompress<T>) -> Result<()> {
        let decompressor = Decompressor::new()?;
        decompressor.limit(self)?;
        decompress(&decompressor, self, samples)
    }

    fn pixel_format(&self) -> c_int {
        match self.header.colour {
            Colour::Grey => tj::TJPF_TJPF_GRAY as c_int,
            Colour::Rgb | Colour::YCbCr => tj::TJPF_TJPF_RGB as c_int,
            Colour::Other => tj::TJPF_TJPF_CMYK as c_int,
        }
    }
}

impl Reduction {
    fn divisor(self) -> c_int {
        match self {
            Self::Full => 1,
            Self::Half => 2,
            Self::Quarter => 4,
            Self::Eighth => 8,
        }
    }
}

/// A TurboJPEG instance of either kind; making one costs a few microseconds.
struct Handle(tj::tjhandle);

impl Handle {
    fn new(kind: tj::TJINIT) -> Result<Self> {
        // SAFETY: takes no pointer; refuses unknown kinds.
        let handle = unsafe { tj::tj3Init(kind as c_int) };
        if handle.is_null() {
            return Err(CodecError::new("libjpeg-turbo has no memory"));
        }
        Ok(Self(handle))
    }

    fn set(&self, parameter: tj::TJPARAM, value: c_int) -> Result<()> {
        // SAFETY: the handle is live; parameter and value are checked by the callee.
        self.check(unsafe { tj::tj3Set(self.0, parameter as c_int, value) })
    }

    fn parameter(&self, parameter: tj::TJPARAM) -> c_int {
        // SAFETY: the handle is live; unknown parameters give -1.
        unsafe { tj::tj3Get(self.0, parameter as c_int) }
    }

    fn check(&self, status: c_int) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the handle is live; the string is static, of this thread, or the handle's, and
        // is copied before either can change.
        let message = unsafe { CStr::from_ptr(tj::tj3GetErrorStr(self.0)) };
        Err(CodecError::new(message.to_string_lossy()))
    }

    /// Whether the last call went on after what it complained of.
    fn only_warned(&self) -> bool {
        // SAFETY: the handle is live.
        unsafe { tj::tj3GetErrorCode(self.0) == tj::TJERR_TJERR_WARNING as c_int }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by tj3Init, destroyed once.
        unsafe { tj::tj3Destroy(self.0) }
    }
}

struct Decompressor(Handle);

impl Decompressor {
    fn new() -> Result<Self> {
        let handle = Handle::new(tj::TJINIT_TJINIT_DECOMPRESS)?;
        handle.set(tj::TJPARAM_TJPARAM_STOPONWARNING, 0)?;
        handle.set(tj::TJPARAM_TJPARAM_SCANLIMIT, MAX_SCANS)?;
        // ICC profiles and other segments are not wanted
        handle.set(tj::TJPARAM_TJPARAM_SAVEMARKERS, 0)?;
        Ok(Self(handle))
    }

    /// The header, and what was wrong with it though it could be read.
    fn header(&self, codestream: &[u8]) -> Result<(Header, Option<String>)> {
        // SAFETY: the handle is live; the slice is valid for its length and only read.
        let status = unsafe {
            tj::tj3DecompressHeader(self.0.0, codestream.as_ptr(), codestream.len() as tj::size_t)
        };
        let said = self.0.check(status).err();
        let warning = match said {
            Some(error) if !self.0.only_warned() => return Err(error),
            said => said.map(CodecError::into_message),
        };
        match self.header_parameters() {
            Some(header) => Ok((header, warning)),
            None => Err(CodecError::new(
                warning.unwrap_or_else(|| "no image in the JPEG stream".to_owned()),
            )),
        }
    }

    /// None where libjpeg did not get as far as a frame that it can decode.
    fn header_parameters(&self) -> Option<Header> {
        let positive =
            |parameter| u32::try_from(self.0.parameter(parameter)).ok().filter(|&v| v > 0);
        let colour_space =
            tj::TJCS::try_from(self.0.parameter(tj::TJPARAM_TJPARAM_COLORSPACE)).ok()?;
        let (colour, components) = match colour_space {
            tj::TJCS_TJCS_GRAY => (Colour::Grey, 1),
            tj::TJCS_TJCS_RGB => (Colour::Rgb, 3),
            tj::TJCS_TJCS_YCbCr => (Colour::YCbCr, 3),
            tj::TJCS_TJCS_CMYK | tj::TJCS_TJCS_YCCK => (Colour::Other, 4),
            _ => return None,
        };
        Some(Header {
            width: positive(tj::TJPARAM_TJPARAM_JPEGWIDTH)?,
            height: positive(tj::TJPARAM_TJPARAM_JPEGHEIGHT)?,
            components,
            precision: u8::try_from(positive(tj::TJPARAM_TJPARAM_PRECISION)?).ok()?,
            lossless: self.0.parameter(tj::TJPARAM_TJPARAM_LOSSLESS) == 1,
            colour,
        })
    }

    /// Bounds memory, and sets the scale.
    fn limit(&self, job: &Job<'_>) -> Result<()> {
        // multi-scan streams keep all coefficients: 2 bytes each, of blocks rounded up
        let full = sample_count(job.header.width, job.header.height, job.header.components.into())?;
        let megabytes = c_int::try_from(full >> 18).unwrap_or(c_int::MAX - 64);
        self.0.set(tj::TJPARAM_TJPARAM_MAXMEMORY, megabytes + 64)?;
        let pixels = full / usize::from(job.header.components);
        self.0.set(tj::TJPARAM_TJPARAM_MAXPIXELS, c_int::try_from(pixels).unwrap_or(c_int::MAX))?;
        let scale = tj::tjscalingfactor { num: 1, denom: job.reduction.divisor() };
        // SAFETY: the handle is live; factors it does not know are refused.
        self.0.check(unsafe { tj::tj3SetScalingFactor(self.0.0, scale) })
    }

    fn decompress_8(&self, job: &Job<'_>, samples: &mut [u8]) -> Result<()> {
        let pitch = job.pitch_for(samples)?;
        // SAFETY: the handle is live and the codestream valid for its length. libjpeg writes
        // `height` rows of `width` pixels (of the scaled size, computed as in Job::new from the
        // same header, which it reads again from the same bytes) with the components of the pixel
        // format, `pitch` samples apart; pitch_for checked that they fit.
        self.0.check(unsafe {
            tj::tj3Decompress8(
                self.0.0,
                job.codestream.as_ptr(),
                job.codestream.len() as tj::size_t,
                samples.as_mut_ptr(),
                pitch,
                job.pixel_format(),
            )
        })
    }

    fn decompress_12(&self, job: &Job<'_>, samples: &mut [u16]) -> Result<()> {
        let pitch = job.pitch_for(samples)?;
        // SAFETY: as in decompress_8; i16 and u16 have the same size and alignment, and any bits
        // are a value of either.
        self.0.check(unsafe {
            tj::tj3Decompress12(
                self.0.0,
                job.codestream.as_ptr(),
                job.codestream.len() as tj::size_t,
                samples.as_mut_ptr().cast::<i16>(),
                pitch,
                job.pixel_format(),
            )
        })
    }

    fn decompress_16(&self, job: &Job<'_>, samples: &mut [u16]) -> Result<()> {
        let pitch = job.pitch_for(samples)?;
        // SAFETY: as in decompress_8.
        self.0.check(unsafe {
            tj::tj3Decompress16(
                self.0.0,
                job.codestream.as_ptr(),
                job.codestream.len() as tj::size_t,
                samples.as_mut_ptr(),
                pitch,
                job.pixel_format(),
            )
        })
    }
}

impl Job<'_> {
    /// The pitch, if the buffer has room for all rows.
    fn pitch_for<T>(&self, samples: &[T]) -> Result<c_int> {
        let rows = usize::try_from(self.height).ok();
        match (rows.and_then(|rows| rows.checked_mul(self.pitch)), c_int::try_from(self.pitch)) {
            (Some(needed), Ok(pitch)) if needed <= samples.len() => Ok(pitch),
            _ => Err(CodecError::new("the buffer is too small for the image")),
        }
    }
}

struct Compressor(Handle);

impl Compressor {
    fn new(quality: u8, subsampling: c_int) -> Result<Self> {
        let handle = Handle::new(tj::TJINIT_TJINIT_COMPRESS)?;
        handle.set(tj::TJPARAM_TJPARAM_QUALITY, quality.into())?;
        handle.set(tj::TJPARAM_TJPARAM_SUBSAMP, subsampling)?;
        handle.set(tj::TJPARAM_TJPARAM_NOREALLOC, 1)?;
        Ok(Self(handle))
    }

    fn encode(
        &self,
        pixels: &[u8],
        (width, height): (c_int, c_int),
        pixel_format: c_int,
        subsampling: c_int,
    ) -> Result<Vec<u8>> {
        // SAFETY: takes no pointer; illegal arguments give 0.
        let capacity = unsafe { tj::tj3JPEGBufSize(width, height, subsampling) };
        let out_of_memory = |_| CodecError::new("no memory for the JPEG stream");
        let mut stream: Vec<u8> = Vec::new();
        let reserve = usize::try_from(capacity).unwrap_or(usize::MAX);
        stream.try_reserve_exact(reserve).map_err(out_of_memory)?;
        let mut start = stream.as_mut_ptr();
        let mut length = capacity;
        // SAFETY: the handle is live. `pixels` holds width × height × components bytes (checked by
        // `encode`), which is what pitch 0 means. With NOREALLOC at most `length` bytes are written
        // at `start`, the vector's spare capacity, and `start` is left alone.
        self.0.check(unsafe {
            tj::tj3Compress8(
                self.0.0,
                pixels.as_ptr(),
                width,
                0,
                height,
                pixel_format,
                &mut start,
                &mut length,
            )
        })?;
        if length > capacity {
            return Err(CodecError::new("the JPEG stream is larger than its buffer"));
        }
        // SAFETY: the first `length` bytes were written, and `length` is within the capacity.
        unsafe { stream.set_len(length as usize) };
        stream.shrink_to_fit();
        Ok(stream)
    }
}
