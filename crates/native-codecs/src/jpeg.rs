//! JPEG (T.81): baseline, extended, progressive and lossless, by libjpeg-turbo 3.

mod markers;

use std::ffi::{CStr, c_int};

use turbojpeg_sys as tj;

use crate::buffer::{Sample, check_plausible, sample_count, zeroed};
use crate::error::{CodecError, Result};
use crate::{Image, Samples};

/// More scans than any encoder writes; each costs a pass over the whole image.
const MAX_SCANS: c_int = 100;

/// No Huffman-coded image is this much larger than its stream: 64 samples take 2 bits or more.
/// The rest is room for streams cut off in a flat part.
const MAX_SAMPLES_PER_BYTE: u64 = 2048;

/// Below this nobody minds.
const SMALL_IMAGE_SAMPLES: u64 = 1 << 22;

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
    let coded = sample_count(header.width, header.height, header.components.into())? as u64;
    check_plausible(coded, codestream.len(), MAX_SAMPLES_PER_BYTE, SMALL_IMAGE_SAMPLES)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;

    /// Smooth, with some texture; every component different.
    fn picture(width: u32, height: u32, components: u32) -> Vec<u8> {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let samples = pixels.flat_map(|(x, y)| (0..components).map(move |c| (x, y, c)));
        samples
            .map(|(x, y, c)| ((x * (c + 1) + y * 2 + (x / 8 + y / 8) % 2 * 9) / 2) as u8)
            .collect()
    }

    fn bytes(image: &Image) -> &[u8] {
        match &image.samples {
            Samples::U8(samples) => samples,
            Samples::U16(_) => panic!("8 bits expected"),
        }
    }

    fn psnr(a: &[u8], b: &[u8]) -> f64 {
        assert_eq!(a.len(), b.len());
        let squares = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
        10.0 * (255.0_f64.powi(2) * a.len() as f64 / squares.sum::<f64>().max(1e-9)).log10()
    }

    fn rgb(width: u32, height: u32) -> Vec<u8> {
        let pixels = picture(width, height, 3);
        encode(&pixels, width, height, Channels::Rgb, 95, Subsampling::S444).expect("encodes")
    }

    /// What libjpeg encodes besides baseline.
    struct Lossless {
        precision: u8,
        predictor: i32,
        point_transform: i32,
        restart_rows: i32,
    }

    /// Three components as RGB, one as grey, with `samples` of at most `precision` bits.
    fn encode_high(
        samples: &[u16],
        size: (i32, i32),
        components: usize,
        precision: u8,
        lossless: Option<Lossless>,
    ) -> Vec<u8> {
        let handle = Handle::new(tj::TJINIT_TJINIT_COMPRESS).expect("handle");
        let set = |parameter, value| handle.set(parameter, value).expect("parameter");
        set(tj::TJPARAM_TJPARAM_PRECISION, precision.into());
        set(tj::TJPARAM_TJPARAM_QUALITY, 98);
        set(tj::TJPARAM_TJPARAM_SUBSAMP, if components == 1 { 3 } else { 0 });
        if let Some(lossless) = lossless {
            set(tj::TJPARAM_TJPARAM_LOSSLESS, 1);
            set(tj::TJPARAM_TJPARAM_LOSSLESSPSV, lossless.predictor);
            set(tj::TJPARAM_TJPARAM_LOSSLESSPT, lossless.point_transform);
            set(tj::TJPARAM_TJPARAM_RESTARTROWS, lossless.restart_rows);
        }
        assert_eq!(samples.len(), (size.0 * size.1) as usize * components);
        let format = if components == 1 { tj::TJPF_TJPF_GRAY } else { tj::TJPF_TJPF_RGB } as c_int;
        let (mut start, mut length) = (std::ptr::null_mut(), 0);
        let narrow: Vec<u8> = samples.iter().map(|&sample| sample as u8).collect();
        // SAFETY: the samples fill the image; libjpeg allocates the stream.
        let status = unsafe {
            match precision {
                ..=8 => tj::tj3Compress8(
                    handle.0,
                    narrow.as_ptr(),
                    size.0,
                    0,
                    size.1,
                    format,
                    &mut start,
                    &mut length,
                ),
                9..=12 => tj::tj3Compress12(
                    handle.0,
                    samples.as_ptr().cast(),
                    size.0,
                    0,
                    size.1,
                    format,
                    &mut start,
                    &mut length,
                ),
                13.. => tj::tj3Compress16(
                    handle.0,
                    samples.as_ptr(),
                    size.0,
                    0,
                    size.1,
                    format,
                    &mut start,
                    &mut length,
                ),
            }
        };
        handle.check(status).expect("encodes");
        // SAFETY: libjpeg allocated and filled `length` bytes, freed once.
        unsafe {
            let stream = std::slice::from_raw_parts(start, length as usize).to_vec();
            tj::tj3Free(start.cast());
            stream
        }
    }

    fn noise(count: usize, precision: u8) -> Vec<u16> {
        let mask = u16::MAX >> (16 - precision);
        (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u16 & mask).collect()
    }

    fn values(image: &Image) -> Vec<u16> {
        match &image.samples {
            Samples::U8(samples) => samples.iter().map(|&sample| sample.into()).collect(),
            Samples::U16(samples) => samples.clone(),
        }
    }

    #[test]
    fn encoded_pixels_come_back_close() {
        let grey = picture(101, 67, 1);
        let stream =
            encode(&grey, 101, 67, Channels::Grey, 95, Subsampling::S420).expect("encodes");
        let image = decode(&stream, Reduction::Full).expect("decodes");
        assert_eq!((image.width, image.height, image.components), (101, 67, 1));
        assert!(image.warning.is_none());
        assert!(psnr(bytes(&image), &grey) > 38.0);

        let colour = picture(101, 67, 3);
        for (subsampling, least) in [(Subsampling::S444, 36.0), (Subsampling::S420, 26.0)] {
            let stream = encode(&colour, 101, 67, Channels::Rgb, 95, subsampling).expect("encodes");
            let image = decode(&stream, Reduction::Full).expect("decodes");
            let got = psnr(bytes(&image), &colour);
            assert!(got > least, "{subsampling:?}: {got} dB");
        }
    }

    #[test]
    fn the_encoder_writes_baseline() {
        let header = header(&rgb(16, 16)).expect("reads");
        let expected = Header {
            width: 16,
            height: 16,
            components: 3,
            precision: 8,
            lossless: false,
            colour: Colour::YCbCr,
        };
        assert_eq!(header, expected);
        assert!(rgb(16, 16).windows(2).any(|marker| marker == [0xFF, 0xC0]));
    }

    #[test]
    fn reduced_sizes_are_rounded_up() {
        let stream = rgb(101, 67);
        let sizes = [
            (Reduction::Full, (101, 67)),
            (Reduction::Half, (51, 34)),
            (Reduction::Quarter, (26, 17)),
            (Reduction::Eighth, (13, 9)),
        ];
        for (reduction, size) in sizes {
            let image = decode(&stream, reduction).expect("decodes");
            assert_eq!((image.width, image.height), size);
            assert_eq!(bytes(&image).len() as u32, size.0 * size.1 * 3);
        }
    }

    #[test]
    fn twelve_bits_are_decoded_as_such() {
        let samples: Vec<u16> = (0..64 * 48).map(|i| (i % 64 * 40 + i / 64 * 20) as u16).collect();
        let stream = encode_high(&samples, (64, 48), 1, 12, None);
        let header = header(&stream).expect("reads");
        assert_eq!((header.precision, header.lossless), (12, false));
        let image = decode(&stream, Reduction::Full).expect("decodes");
        let worst = values(&image).iter().zip(&samples).map(|(&a, &b)| a.abs_diff(b)).max();
        assert!(worst < Some(32), "{worst:?}");
        assert_eq!(decode(&stream, Reduction::Eighth).map(|i| (i.width, i.height)), Ok((8, 6)));
    }

    #[test]
    fn lossless_samples_come_back_at_every_depth_predictor_and_restart_interval() {
        for precision in 2..=16 {
            for predictor in 1..=7 {
                let lossless = Lossless {
                    precision,
                    predictor,
                    point_transform: 0,
                    restart_rows: predictor % 3,
                };
                let samples = noise(37 * 23, lossless.precision);
                let stream = encode_high(&samples, (37, 23), 1, precision, Some(lossless));
                let image = decode(&stream, Reduction::Full).expect("decodes");
                assert_eq!(values(&image), samples, "{precision} bits, predictor {predictor}");
                assert_eq!(matches!(image.samples, Samples::U8(_)), precision <= 8);
                assert!(decode(&stream, Reduction::Half).is_err());
            }
        }
    }

    #[test]
    fn a_point_transform_drops_the_low_bits_only() {
        let lossless =
            Lossless { precision: 12, predictor: 1, point_transform: 2, restart_rows: 0 };
        let samples = noise(37 * 23, 12);
        let stream = encode_high(&samples, (37, 23), 1, 12, Some(lossless));
        let expected: Vec<u16> = samples.iter().map(|sample| sample & !3).collect();
        assert_eq!(decode(&stream, Reduction::Full).map(|image| values(&image)), Ok(expected));
    }

    #[test]
    fn lossless_colour_comes_as_coded_whatever_the_markers_say() {
        const JFIF: &[u8] = b"\xFF\xE0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
        const ADOBE_YCC: &[u8] = b"\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0\x01";
        for precision in [8, 12, 16] {
            let lossless =
                Lossless { precision, predictor: 1, point_transform: 0, restart_rows: 0 };
            let samples = noise(20 * 10 * 3, precision);
            let stream = encode_high(&samples, (20, 10), 3, precision, Some(lossless));
            for segment in [&[], JFIF, ADOBE_YCC] {
                let mut marked = stream.clone();
                // after SOI and the encoder's own Adobe segment, so that this one counts
                let at = if segment == ADOBE_YCC { 2 + 16 } else { 2 };
                marked.splice(at..at, segment.iter().copied());
                let expected = if segment.is_empty() { Colour::Rgb } else { Colour::YCbCr };
                assert_eq!(header(&marked).map(|header| header.colour), Ok(expected));
                let decoded = decode(&marked, Reduction::Full).expect("decodes");
                assert_eq!(values(&decoded), samples);
            }
        }
    }

    #[test]
    fn components_can_be_had_as_coded() {
        let grey = vec![200; 16 * 16 * 3];
        let stream = encode(&grey, 16, 16, Channels::Rgb, 95, Subsampling::S444).expect("encodes");
        let coded = decode_as_coded(&stream, Reduction::Full).expect("decodes");
        assert_eq!(bytes(&coded)[..3], [200, 128, 128]);
        let converted = decode(&stream, Reduction::Full).expect("decodes");
        assert_eq!(bytes(&converted)[..3], [200, 200, 200]);
    }

    #[test]
    fn a_sequential_scan_that_claims_to_end_at_coefficient_0_is_decoded() {
        let stream = encode(&picture(40, 30, 1), 40, 30, Channels::Grey, 90, Subsampling::S444)
            .expect("encodes");
        let scan = stream.windows(2).position(|marker| marker == [0xFF, 0xDA]).expect("a scan");
        let mut wrong = stream.clone();
        // marker, length, one component of two bytes, then Ss, Se
        assert_eq!(wrong[scan + 8], 63);
        wrong[scan + 8] = 0;
        assert_eq!(decode(&wrong, Reduction::Full), decode(&stream, Reduction::Full));
    }

    #[test]
    fn truncated_streams_give_a_whole_image_with_a_warning_or_an_error() {
        let stream = rgb(64, 64);
        let most = decode(&stream[..stream.len() * 3 / 4], Reduction::Full).expect("decodes");
        assert_eq!(bytes(&most).len(), 64 * 64 * 3);
        assert!(most.warning.is_some());
        for length in 0..stream.len() - 2 {
            if let Ok(image) = decode(&stream[..length], Reduction::Full) {
                assert!(image.warning.is_some(), "{length} of {} bytes", stream.len());
            }
        }
    }

    #[test]
    fn errors_after_the_last_row_are_warnings_and_before_it_errors() {
        let stream = rgb(32, 32);
        // a second scan instead of the end
        let mut trailing = stream[..stream.len() - 2].to_vec();
        trailing.extend_from_slice(b"\xFF\xDA\0\x0C\x03\x01\0\x02\x11\x03\x11\0\x3F\0");
        let image = decode(&trailing, Reduction::Full).expect("decodes");
        assert!(image.warning.is_some());
        assert_eq!(bytes(&image), bytes(&decode(&stream, Reduction::Full).expect("decodes")));

        // an unknown Adobe transform is a warning, a missing quantisation table an error
        let mut broken = stream.clone();
        broken.splice(20..20, *b"\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0\x07");
        for table in 0..broken.len() - 1 {
            if broken[table..].starts_with(&[0xFF, 0xDB]) {
                broken[table + 1] = 0xEF;
            }
        }
        assert!(decode(&broken, Reduction::Full).is_err());
    }

    #[test]
    fn large_images_in_small_streams_are_refused() {
        let mut stream = rgb(16, 16);
        let frame = stream.windows(2).position(|marker| marker == [0xFF, 0xC0]).expect("a frame");
        stream[frame + 5..frame + 9].copy_from_slice(&[0x4E, 0x20, 0x4E, 0x20]);
        assert_eq!(header(&stream).map(|header| header.width), Ok(20_000));
        assert!(decode(&stream, Reduction::Full).is_err());
        assert!(decode(&stream, Reduction::Eighth).is_err());
    }

    #[test]
    fn pixels_that_do_not_fill_the_image_are_refused() {
        let encode = |bytes: usize, width, height, quality| {
            encode(&vec![0; bytes], width, height, Channels::Rgb, quality, Subsampling::S444)
        };
        assert!(encode(4 * 4 * 3, 4, 4, 90).is_ok());
        assert!(encode(4 * 4 * 3 - 1, 4, 4, 90).is_err());
        assert!(encode(0, 0, 4, 90).is_err());
        assert!(encode(4 * 4 * 3, 4, 4, 0).is_err());
        assert!(encode(4 * 4 * 3, 4, 4, 101).is_err());
        assert!(encode(70_000 * 3, 70_000, 1, 90).is_err());
    }

    #[test]
    fn garbage_is_an_error() {
        for garbage in [&b""[..], b"\xFF", b"\xFF\xD8", b"\xFF\xD8\xFF\xD9", b"not a JPEG stream"] {
            assert!(header(garbage).is_err());
            assert!(decode(garbage, Reduction::Full).is_err());
            assert!(decode_as_coded(garbage, Reduction::Full).is_err());
        }
    }

    #[test]
    fn mutated_streams_neither_crash_nor_lie_about_their_size() {
        let lossless = |precision| {
            let lossless =
                Lossless { precision, predictor: 4, point_transform: 0, restart_rows: 2 };
            encode_high(&noise(33 * 21 * 3, precision), (33, 21), 3, precision, Some(lossless))
        };
        let twelve = encode_high(&noise(33 * 21, 12), (33, 21), 1, 12, None);
        for stream in [rgb(33, 21), twelve, lossless(8), lossless(16)] {
            for mutant in fuzz::mutants(&stream, 300) {
                // as a caller would bound it
                let Ok(header) = header(&mutant) else { continue };
                if u64::from(header.width) * u64::from(header.height) > 1 << 20 {
                    continue;
                }
                for reduction in [Reduction::Full, Reduction::Quarter] {
                    let decoders = [decode, decode_as_coded];
                    for image in
                        decoders.into_iter().filter_map(|decode| decode(&mutant, reduction).ok())
                    {
                        let expected = image.width * image.height * u32::from(image.components);
                        assert_eq!(values(&image).len() as u32, expected);
                    }
                }
            }
        }
    }
}
