//! JPEG 2000 and HTJ2K (T.800, T.814), by OpenJPEG: bare codestreams, or inside a JP2 file.

mod codestream;

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::NonNull;
use std::slice;
use std::sync::{Mutex, MutexGuard, PoisonError};

use openjpeg_sys as opj;

use crate::buffer::sample_count;
use crate::error::{CodecError, Result};
use codestream::MainHeader;

/// OpenJPEG reads and writes through a buffer of its own; larger brings nothing.
const STREAM_BUFFER: usize = 1 << 20;

/// What the main header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct J2kHeader {
    /// Columns of the largest component.
    pub width: u32,
    /// Rows of the largest component.
    pub height: u32,
    /// Number of components, up to 16384.
    pub components: u16,
    /// Bits per sample of the deepest component, 1 to 128 as declared; OpenJPEG stops at 31.
    pub precision: u8,
    /// Whether the first component is signed.
    pub signed: bool,
    /// By how many powers of two the image can be reduced: the smallest number of decomposition
    /// levels of any component.
    pub levels: u8,
    /// Whether the first three components were transformed together (RCT, ICT); decoding undoes it.
    pub mct: bool,
}

/// One decoded component, not upsampled.
#[derive(Debug, PartialEq)]
pub struct Component {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bits per sample.
    pub precision: u8,
    /// Whether samples may be negative.
    pub signed: bool,
    /// Row-major samples, within the range of precision and sign.
    pub data: Plane,
}

/// Samples in the memory that OpenJPEG decoded them into: at four bytes each, a copy would be what a
/// decoding costs most of.
pub struct Plane {
    start: NonNull<i32>,
    length: usize,
}

/// A decoded image.
#[derive(Debug, PartialEq)]
pub struct J2kImage {
    /// Columns of the largest component.
    pub width: u32,
    /// Rows of the largest component.
    pub height: u32,
    /// The components, as the multiple component transform yields them.
    pub components: Vec<Component>,
    /// What OpenJPEG complained of though it went on, or that the codestream breaks off.
    pub warning: Option<String>,
}

/// How much to compress.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Compression {
    /// Reversible (5-3).
    Lossless,
    /// Irreversible (9-7), to about 1/n of the uncompressed size; n above 1.
    Ratio(f32),
    /// Irreversible (9-7), as small as this peak signal-to-noise ratio allows, in dB; above 0.
    Psnr(f32),
}

/// Reads the main header.
pub fn header(codestream: &[u8]) -> Result<J2kHeader> {
    let main = MainHeader::read(codestream::find(codestream)?)?;
    let (width, height) = main.size();
    Ok(J2kHeader {
        width,
        height,
        components: u16::try_from(main.components.len()).unwrap_or(u16::MAX),
        precision: main.components.iter().map(|component| component.precision).max().unwrap_or(0),
        signed: main.components.first().is_some_and(|component| component.signed),
        levels: main.levels,
        mct: main.component_transform(),
    })
}

/// Shorter codestreams are decoded before the threads are there.
const WORTH_SHARING: usize = 64 << 10;

/// Decodes at 1/2^`reduce` of the size; `reduce` above [`J2kHeader::levels`] is an error.
///
/// With `threads` above 1 so many of them share the work where the codestream is large enough for that
/// to pay; what is decoded is the same.
///
/// Colour spaces, palettes and channel definitions of a JP2 file are not applied. A truncated
/// codestream gives what is there, and a warning.
pub fn decode(codestream: &[u8], reduce: u8, threads: u32) -> Result<J2kImage> {
    let codestream = codestream::find(codestream)?;
    let main = MainHeader::read(codestream)?;
    if reduce > main.levels {
        return Err(CodecError::new(format!(
            "{reduce} resolution levels cannot be left out: there are {}",
            main.levels
        )));
    }
    main.check_cost(codestream.len(), reduce)?;

    let messages = Messages::default();
    let source = Source { data: codestream, position: Cell::new(0) };
    let threads = if codestream.len() < WORTH_SHARING { 1 } else { threads };
    let image = decompress(&source, reduce, threads, &messages)?;
    let components = image.take_components()?;
    let warning = messages
        .first()
        .or_else(|| codestream::is_cut_off(codestream).then(|| "the codestream is cut off".into()));
    Ok(J2kImage {
        width: components.iter().map(|component| component.width).max().unwrap_or(0),
        height: components.iter().map(|component| component.height).max().unwrap_or(0),
        components,
        warning,
    })
}

/// Encodes components of one size as a bare codestream; three are transformed together.
///
/// Each component has width × height samples within `precision` (1 to 16 bits) and sign.
pub fn encode(
    components: &[&[i32]],
    width: u32,
    height: u32,
    precision: u8,
    signed: bool,
    compression: Compression,
) -> Result<Vec<u8>> {
    check_components(components, width, height, precision, signed)?;
    let image = OwnedImage::blank(components.len(), (width, height), precision, signed)?;
    let image = image.filled(|component, target| target.copy_from_slice(components[component]));
    compressed(&image, components.len(), width.min(height), compression)
}

/// Encodes 8-bit pixels, row-major and interleaved, of 1 or 3 components, which are transformed
/// together: a bare codestream of one tile.
pub fn encode_pixels(
    pixels: &[u8],
    width: u32,
    height: u32,
    components: u8,
    compression: Compression,
) -> Result<Vec<u8>> {
    let count = usize::from(components);
    if sample_count(width, height, components.into())? != pixels.len() || !matches!(count, 1 | 3) {
        return Err(CodecError::new(format!(
            "{} bytes are not {width} × {height} pixels with 1 or 3 components",
            pixels.len()
        )));
    }
    let image = OwnedImage::blank(count, (width, height), 8, false)?.filled(|component, target| {
        for (sample, pixel) in target.iter_mut().zip(pixels.chunks_exact(count)) {
            *sample = pixel[component].into();
        }
    });
    compressed(&image, count, width.min(height), compression)
}

fn compressed(
    image: &OwnedImage,
    components: usize,
    shortest_side: u32,
    compression: Compression,
) -> Result<Vec<u8>> {
    let mut parameters = encoder_parameters(components, shortest_side, compression)?;
    let messages = Messages::default();
    let sink = Sink::default();
    compress(image, &mut parameters, &sink, &messages)?;
    sink.into_bytes()
}

fn check_components(
    components: &[&[i32]],
    width: u32,
    height: u32,
    precision: u8,
    signed: bool,
) -> Result<()> {
    let count = u32::try_from(components.len()).unwrap_or(u32::MAX);
    sample_count(width, height, count)?;
    let samples = sample_count(width, height, 1)?;
    if !(1..=16).contains(&precision) {
        return Err(CodecError::new(format!("{precision} bits per sample cannot be encoded")));
    }
    let range = if signed {
        -(1 << (precision - 1))..=(1 << (precision - 1)) - 1
    } else {
        0..=(1 << precision) - 1
    };
    for component in components {
        if component.len() != samples {
            return Err(CodecError::new(format!(
                "{} samples are not {width} × {height}",
                component.len()
            )));
        }
        if let Some(sample) = component.iter().find(|&&sample| !range.contains(&sample)) {
            return Err(CodecError::new(format!("a sample of {sample} exceeds {precision} bits")));
        }
    }
    Ok(())
}

fn encoder_parameters(
    components: usize,
    shortest_side: u32,
    compression: Compression,
) -> Result<Box<opj::opj_cparameters_t>> {
    let mut parameters = Box::new(MaybeUninit::<opj::opj_cparameters_t>::zeroed());
    // SAFETY: writable memory of the right type; the callee fills all of it. Its enums have a
    // variant zero, for those that stay so.
    let mut parameters = unsafe {
        opj::opj_set_default_encoder_parameters(parameters.as_mut_ptr());
        parameters.assume_init()
    };
    parameters.tcp_numlayers = 1;
    parameters.cp_disto_alloc = 1;
    parameters.tcp_mct = i8::from(components == 3) as c_char;
    // as many levels as halve the shortest side to one pixel, at most 5
    parameters.numresolution = shortest_side.ilog2().min(5) as i32 + 1;
    match compression {
        Compression::Lossless => parameters.tcp_rates[0] = 0.0,
        Compression::Ratio(ratio) if ratio.is_finite() && ratio > 1.0 => {
            parameters.irreversible = 1;
            parameters.tcp_rates[0] = ratio;
        }
        Compression::Ratio(ratio) => {
            return Err(CodecError::new(format!("{ratio} is not a compression ratio above 1")));
        }
        Compression::Psnr(decibels) if decibels.is_finite() && decibels > 0.0 => {
            parameters.irreversible = 1;
            (parameters.cp_disto_alloc, parameters.cp_fixed_quality) = (0, 1);
            parameters.tcp_distoratio[0] = decibels;
        }
        Compression::Psnr(decibels) => {
            return Err(CodecError::new(format!("{decibels} is not a ratio in dB above 0")));
        }
    }
    Ok(parameters)
}

fn decompress(
    source: &Source<'_>,
    reduce: u8,
    threads: u32,
    messages: &Messages,
) -> Result<OwnedImage> {
    // SAFETY: takes no pointer.
    let codec = Codec::new(unsafe { opj::opj_create_decompress(J2K) }, messages)?;
    let stream = Stream::reading(source)?;
    let mut parameters = Box::new(MaybeUninit::<opj::opj_dparameters_t>::zeroed());
    // SAFETY: writable memory of the right type, all of it numbers, for which zero is a value.
    let mut parameters = unsafe {
        opj::opj_set_default_decoder_parameters(parameters.as_mut_ptr());
        parameters.assume_init()
    };
    parameters.cp_reduce = reduce.into();
    // SAFETY: the codec is a live decompressor, `parameters` is initialised and only read.
    messages.check(unsafe { opj::opj_setup_decoder(codec.handle, &mut *parameters) })?;
    // SAFETY: the codec is a live decompressor that has been set up.
    messages.check(unsafe { opj::opj_decoder_set_strict_mode(codec.handle, 0) })?;
    if threads > 1 {
        let threads = c_int::try_from(threads).unwrap_or(c_int::MAX);
        // SAFETY: the codec is a live decompressor that has been set up, and its header is not read yet.
        messages.check(unsafe { opj::opj_codec_set_threads(codec.handle, threads) })?;
    }

    let mut image = std::ptr::null_mut();
    // SAFETY: codec and stream are live; `image` is writable. It stays null or becomes an image
    // that belongs to the caller.
    let read = unsafe { opj::opj_read_header(stream.handle, codec.handle, &mut image) };
    let image = OwnedImage(image);
    messages.check(read)?;
    if image.0.is_null() {
        return Err(CodecError::new("OpenJPEG gave no image"));
    }
    // SAFETY: codec, stream and image are live and belong together.
    messages.check(unsafe { opj::opj_decode(codec.handle, stream.handle, image.0) })?;
    Ok(image)
}

fn compress(
    image: &OwnedImage,
    parameters: &mut opj::opj_cparameters_t,
    sink: &Sink,
    messages: &Messages,
) -> Result<()> {
    // SAFETY: takes no pointer.
    let codec = Codec::new(unsafe { opj::opj_create_compress(J2K) }, messages)?;
    let stream = Stream::writing(sink)?;
    // SAFETY: codec, stream, image and parameters are live for each of the calls, which come in the
    // order that OpenJPEG asks for.
    unsafe {
        messages.check(opj::opj_setup_encoder(codec.handle, parameters, image.0))?;
        messages.check(opj::opj_start_compress(codec.handle, image.0, stream.handle))?;
        messages.check(opj::opj_encode(codec.handle, stream.handle))?;
        messages.check(opj::opj_end_compress(codec.handle, stream.handle))
    }
}

const J2K: opj::OPJ_CODEC_FORMAT = opj::OPJ_CODEC_FORMAT::OPJ_CODEC_J2K;

/// What OpenJPEG says on the way, from any of its threads.
#[derive(Default)]
struct Messages {
    first: Mutex<Option<String>>,
    last_error: Mutex<Option<String>>,
}

impl Messages {
    fn first(&self) -> Option<String> {
        lock(&self.first).clone()
    }

    fn check(&self, succeeded: opj::OPJ_BOOL) -> Result<()> {
        if succeeded != 0 {
            return Ok(());
        }
        let said = lock(&self.last_error).clone().or_else(|| self.first());
        Err(CodecError::new(said.unwrap_or_else(|| "OpenJPEG failed without a reason".into())))
    }

    fn warned(&self, message: String) {
        // an encoder's miscount of tile-parts, by which nothing is lost
        if message.contains("TPsot==TNsot") {
            return;
        }
        lock(&self.first).get_or_insert(message);
    }

    fn failed(&self, message: String) {
        *lock(&self.last_error) = Some(message.clone());
        self.warned(message);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" fn on_warning(message: *const c_char, messages: *mut c_void) {
    // SAFETY: OpenJPEG passes a terminated string, and the Messages that Codec::new gave it, which
    // outlive the codec.
    unsafe { (*messages.cast::<Messages>()).warned(text(message)) }
}

unsafe extern "C" fn on_error(message: *const c_char, messages: *mut c_void) {
    // SAFETY: as in on_warning.
    unsafe { (*messages.cast::<Messages>()).failed(text(message)) }
}

/// # Safety
/// `message` is a terminated string.
unsafe fn text(message: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().trim_end().to_owned()
}

/// A compressor or decompressor.
struct Codec<'a> {
    handle: *mut opj::opj_codec_t,
    /// The handle points to it.
    _messages: &'a Messages,
}

impl<'a> Codec<'a> {
    fn new(handle: *mut opj::opj_codec_t, messages: &'a Messages) -> Result<Self> {
        if handle.is_null() {
            return Err(CodecError::new("OpenJPEG has no memory"));
        }
        let user_data = std::ptr::from_ref(messages).cast_mut().cast::<c_void>();
        // SAFETY: the handle is live; the handlers only read through `user_data`, which outlives
        // the codec by the lifetime of this struct.
        unsafe {
            opj::opj_set_warning_handler(handle, Some(on_warning), user_data);
            opj::opj_set_error_handler(handle, Some(on_error), user_data);
        }
        Ok(Self { handle, _messages: messages })
    }
}

impl Drop for Codec<'_> {
    fn drop(&mut self) {
        // SAFETY: made by opj_create_…, destroyed once.
        unsafe { opj::opj_destroy_codec(self.handle) }
    }
}

/// A codestream to read.
struct Source<'a> {
    data: &'a [u8],
    position: Cell<usize>,
}

/// A codestream being written, with seeking: the encoder goes back to fill in lengths.
#[derive(Default)]
struct Sink {
    bytes: RefCell<Vec<u8>>,
    position: Cell<usize>,
    out_of_memory: Cell<bool>,
}

impl Sink {
    fn into_bytes(self) -> Result<Vec<u8>> {
        match self.out_of_memory.get() {
            true => Err(CodecError::new("no memory for the codestream")),
            false => Ok(self.bytes.into_inner()),
        }
    }

    fn write(&self, bytes: &[u8]) -> Option<()> {
        let mut written = self.bytes.try_borrow_mut().ok()?;
        let start = self.position.get();
        let end = start.checked_add(bytes.len())?;
        if end > written.len() {
            let missing = end - written.len();
            if written.try_reserve(missing).is_err() {
                self.out_of_memory.set(true);
                return None;
            }
            written.resize(end, 0);
        }
        written.get_mut(start..end)?.copy_from_slice(bytes);
        self.position.set(end);
        Some(())
    }
}

/// A stream over a [`Source`] or [`Sink`], to which the handle points.
struct Stream<'a> {
    handle: *mut opj::opj_stream_t,
    _end: PhantomData<&'a ()>,
}

impl<'a> Stream<'a> {
    fn reading(source: &'a Source<'_>) -> Result<Self> {
        let stream = Self::new(source.data.len(), 1, std::ptr::from_ref(source).cast())?;
        // SAFETY: the handle is live; the functions are for a Source, which its user data is.
        unsafe {
            opj::opj_stream_set_user_data_length(stream.handle, source.data.len() as u64);
            opj::opj_stream_set_read_function(stream.handle, Some(read));
            opj::opj_stream_set_skip_function(stream.handle, Some(skip_read));
            opj::opj_stream_set_seek_function(stream.handle, Some(seek_read));
        }
        Ok(stream)
    }

    fn writing(sink: &'a Sink) -> Result<Self> {
        let stream = Self::new(STREAM_BUFFER, 0, std::ptr::from_ref(sink).cast())?;
        // SAFETY: the handle is live; the functions are for a Sink, which its user data is.
        unsafe {
            opj::opj_stream_set_write_function(stream.handle, Some(write));
            opj::opj_stream_set_skip_function(stream.handle, Some(skip_write));
            opj::opj_stream_set_seek_function(stream.handle, Some(seek_write));
        }
        Ok(stream)
    }

    fn new(length: usize, is_input: opj::OPJ_BOOL, user_data: *const c_void) -> Result<Self> {
        let buffer = length.clamp(64, STREAM_BUFFER);
        // SAFETY: takes no pointer.
        let handle = unsafe { opj::opj_stream_create(buffer, is_input) };
        if handle.is_null() {
            return Err(CodecError::new("OpenJPEG has no memory"));
        }
        // SAFETY: the handle is live. The user data outlive it by the lifetime of this struct, are
        // only read through, and not to be freed by OpenJPEG.
        unsafe { opj::opj_stream_set_user_data(handle, user_data.cast_mut(), None) };
        Ok(Self { handle, _end: PhantomData })
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        // SAFETY: made by opj_stream_create, destroyed once.
        unsafe { opj::opj_stream_destroy(self.handle) }
    }
}

/// What a read or write function answers at the end, `(OPJ_SIZE_T)-1`.
const NOTHING: usize = usize::MAX;

unsafe extern "C" fn read(buffer: *mut c_void, wanted: usize, source: *mut c_void) -> usize {
    // SAFETY: the user data of a reading stream are a Source.
    let source = unsafe { &*source.cast::<Source<'_>>() };
    let rest = source.data.get(source.position.get()..).unwrap_or_default();
    let length = wanted.min(rest.len());
    if length == 0 {
        return NOTHING;
    }
    // SAFETY: OpenJPEG's buffer has room for `wanted` bytes and is not the codestream.
    unsafe { std::ptr::copy_nonoverlapping(rest.as_ptr(), buffer.cast::<u8>(), length) };
    source.position.set(source.position.get() + length);
    length
}

unsafe extern "C" fn skip_read(wanted: i64, source: *mut c_void) -> i64 {
    // SAFETY: the user data of a reading stream are a Source.
    let source = unsafe { &*source.cast::<Source<'_>>() };
    let left = source.data.len().saturating_sub(source.position.get());
    match usize::try_from(wanted) {
        // never 0 for more than 0: OpenJPEG would ask for ever
        Ok(wanted) if wanted == 0 || left > 0 => {
            let length = wanted.min(left);
            source.position.set(source.position.get() + length);
            length as i64
        }
        _ => -1,
    }
}

unsafe extern "C" fn seek_read(position: i64, source: *mut c_void) -> opj::OPJ_BOOL {
    // SAFETY: the user data of a reading stream are a Source.
    let source = unsafe { &*source.cast::<Source<'_>>() };
    match usize::try_from(position) {
        Ok(position) if position <= source.data.len() => {
            source.position.set(position);
            1
        }
        _ => 0,
    }
}

unsafe extern "C" fn write(bytes: *mut c_void, length: usize, sink: *mut c_void) -> usize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the user data of a writing stream are a Sink; OpenJPEG passes `length` (not zero)
    // readable bytes of its own buffer.
    let (sink, bytes) =
        unsafe { (&*sink.cast::<Sink>(), slice::from_raw_parts(bytes.cast::<u8>(), length)) };
    sink.write(bytes).map_or(NOTHING, |()| length)
}

unsafe extern "C" fn skip_write(wanted: i64, sink: *mut c_void) -> i64 {
    // SAFETY: the user data of a writing stream are a Sink.
    let sink = unsafe { &*sink.cast::<Sink>() };
    let target = usize::try_from(wanted).ok().and_then(|n| sink.position.get().checked_add(n));
    target.map_or(-1, |target| {
        sink.position.set(target);
        wanted
    })
}

unsafe extern "C" fn seek_write(position: i64, sink: *mut c_void) -> opj::OPJ_BOOL {
    // SAFETY: the user data of a writing stream are a Sink.
    let sink = unsafe { &*sink.cast::<Sink>() };
    usize::try_from(position).map_or(0, |position| {
        sink.position.set(position);
        1
    })
}

/// An image of OpenJPEG's, or null.
struct OwnedImage(*mut opj::opj_image_t);

impl OwnedImage {
    /// `components` of one size and kind, all zero.
    fn blank(
        components: usize,
        (width, height): (u32, u32),
        precision: u8,
        signed: bool,
    ) -> Result<Self> {
        let parameter = opj::opj_image_cmptparm_t {
            dx: 1,
            dy: 1,
            w: width,
            h: height,
            x0: 0,
            y0: 0,
            prec: precision.into(),
            bpp: precision.into(),
            sgnd: signed.into(),
        };
        let mut parameters = vec![parameter; components];
        // more would be a colour space of their own; OpenJPEG writes none into a bare codestream
        let colour_space = opj::OPJ_COLOR_SPACE::OPJ_CLRSPC_UNSPECIFIED;
        let count = u32::try_from(components).unwrap_or(0);
        // SAFETY: `parameters` holds `count` of them, which are only read.
        let image =
            Self(unsafe { opj::opj_image_create(count, parameters.as_mut_ptr(), colour_space) });
        // SAFETY: null or a live image that nobody else has.
        let Some(raw) = (unsafe { image.0.as_mut() }) else {
            return Err(CodecError::new("OpenJPEG has no memory"));
        };
        (raw.x0, raw.y0, raw.x1, raw.y1) = (0, 0, width, height);
        Ok(image)
    }

    /// A [`Self::blank`] image whose samples `fill` writes: the index of a component, and its
    /// row-major samples.
    fn filled(self, fill: impl Fn(usize, &mut [i32])) -> Self {
        // SAFETY: `blank` made an image that nobody else has, of `numcomps` components.
        let targets = unsafe {
            let raw = &mut *self.0;
            slice::from_raw_parts_mut(raw.comps, raw.numcomps as usize)
        };
        for (component, target) in targets.iter_mut().enumerate() {
            let samples = target.w as usize * target.h as usize;
            // SAFETY: opj_image_create gave each component w × h zeros, or failed.
            fill(component, unsafe { slice::from_raw_parts_mut(target.data, samples) });
        }
        self
    }

    /// Takes the components out, without copying.
    fn take_components(self) -> Result<Vec<Component>> {
        // SAFETY: null or a live image that nobody else has.
        let Some(raw) = (unsafe { self.0.as_mut() }) else {
            return Err(CodecError::new("OpenJPEG gave no image"));
        };
        if raw.comps.is_null() {
            return Err(CodecError::new("OpenJPEG gave no components"));
        }
        // SAFETY: an image has `numcomps` components.
        let sources = unsafe { slice::from_raw_parts_mut(raw.comps, raw.numcomps as usize) };
        sources.iter_mut().map(take_component).collect()
    }
}

impl Drop for OwnedImage {
    fn drop(&mut self) {
        // SAFETY: null, which is let through, or live and destroyed once.
        unsafe { opj::opj_image_destroy(self.0) }
    }
}

fn take_component(source: &mut opj::opj_image_comp_t) -> Result<Component> {
    let length = sample_count(source.w, source.h, 1)?;
    let Some(start) = NonNull::new(source.data) else {
        return Err(CodecError::new("the codestream holds no data of a component"));
    };
    // From here on the samples are the plane's, and null is what OpenJPEG leaves alone later.
    source.data = std::ptr::null_mut();
    Ok(Component {
        width: source.w,
        height: source.h,
        precision: u8::try_from(source.prec).unwrap_or(u8::MAX),
        signed: source.sgnd != 0,
        data: Plane { start, length },
    })
}

impl Deref for Plane {
    type Target = [i32];

    fn deref(&self) -> &[i32] {
        // SAFETY: a decoded component has w × h samples, which is `length`; nobody else has them.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // SAFETY: taken from an image of OpenJPEG's, which frees its data so, and freed once.
        unsafe { opj::opj_image_data_free(self.start.as_ptr().cast()) }
    }
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} samples", self.length)
    }
}

impl PartialEq for Plane {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;

    /// A slope with texture, within `precision` and sign.
    fn picture(width: u32, height: u32, precision: u8, signed: bool, seed: i32) -> Vec<i32> {
        let (range, lowest) =
            (1_i32 << precision, if signed { -(1 << (precision - 1)) } else { 0 });
        let pixels = (0..height as i32).flat_map(|y| (0..width as i32).map(move |x| (x, y)));
        pixels
            .map(|(x, y)| (x * 37 + y * 101 + (x * y + seed) % 7).rem_euclid(range) + lowest)
            .collect()
    }

    fn lossless(components: &[&[i32]], size: (u32, u32), precision: u8, signed: bool) -> Vec<u8> {
        encode(components, size.0, size.1, precision, signed, Compression::Lossless)
            .expect("encodes")
    }

    #[test]
    fn threads_change_nothing_but_the_time() {
        // Noise does not compress: large enough to be shared, whole and cut off.
        let samples: Vec<i32> =
            (0..400_u32 * 300).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as i32).collect();
        let stream = lossless(&[&samples], (400, 300), 12, false);
        assert!(stream.len() > WORTH_SHARING);
        let whole = decode(&stream, 0, 1).expect("decodes");
        assert_eq!(whole.components[0].data[..], samples[..]);
        assert_eq!(decode(&stream, 0, 4).expect("decodes"), whole);
        let cut = &stream[..stream.len() * 9 / 10];
        assert_eq!(decode(cut, 1, 3), decode(cut, 1, 1));
    }

    #[test]
    fn lossless_samples_come_back_at_every_depth_and_sign() {
        for (precision, signed) in
            [(1, false), (8, false), (8, true), (12, false), (16, false), (16, true)]
        {
            let samples = picture(67, 45, precision, signed, 1);
            let image = decode(&lossless(&[&samples], (67, 45), precision, signed), 0, 1);
            let J2kImage { width: 67, height: 45, components, warning: None } =
                image.expect("decodes")
            else {
                panic!("{precision} bits, signed: {signed}");
            };
            let [component] = &components[..] else { panic!("{components:?}") };
            assert_eq!((component.precision, component.signed), (precision, signed));
            assert_eq!(*component.data, samples[..], "{precision} bits, signed: {signed}");
        }
    }

    #[test]
    fn three_components_are_transformed_and_come_back_as_rgb() {
        let planes = [1, 2, 3].map(|seed| picture(40, 30, 8, false, seed * 50));
        let stream = lossless(&planes.each_ref().map(Vec::as_slice), (40, 30), 8, false);
        let expected = J2kHeader {
            width: 40,
            height: 30,
            components: 3,
            precision: 8,
            signed: false,
            levels: 4,
            mct: true,
        };
        assert_eq!(header(&stream), Ok(expected));
        let decoded = decode(&stream, 0, 1).expect("decodes");
        assert!(decoded.components.iter().map(|component| &*component.data).eq(&planes));
    }

    #[test]
    fn reduced_sizes_are_rounded_up_and_too_small_ones_refused() {
        let stream = lossless(&[&picture(101, 67, 12, false, 0)], (101, 67), 12, false);
        for (reduce, size) in [(0, (101, 67)), (1, (51, 34)), (2, (26, 17)), (5, (4, 3))] {
            let image = decode(&stream, reduce, 1).expect("decodes");
            assert_eq!((image.width, image.height), size);
            assert_eq!(image.components[0].data.len() as u32, size.0 * size.1);
        }
        assert!(decode(&stream, 6, 1).is_err());
    }

    #[test]
    fn a_ratio_shrinks_the_codestream_and_keeps_the_picture() {
        let samples: Vec<i32> = (0..256 * 256).map(|i| (i / 256 + i % 256) / 2).collect();
        let stream = encode(&[&samples], 256, 256, 8, false, Compression::Ratio(16.0));
        let stream = stream.expect("encodes");
        assert!(stream.len() <= 256 * 256 / 16, "{}", stream.len());
        let decoded = decode(&stream, 0, 1).expect("decodes");
        let worst =
            decoded.components[0].data.iter().zip(&samples).map(|(a, b)| (a - b).abs()).max();
        assert!(worst <= Some(4), "{worst:?}");
    }

    #[test]
    fn pixels_are_the_same_image_as_their_components() {
        let planes = [1, 2, 3].map(|seed| picture(40, 30, 8, false, seed * 50));
        let pixels: Vec<u8> =
            (0..40 * 30).flat_map(|at| planes.each_ref().map(|plane| plane[at] as u8)).collect();
        let stream = lossless(&planes.each_ref().map(Vec::as_slice), (40, 30), 8, false);
        assert_eq!(encode_pixels(&pixels, 40, 30, 3, Compression::Lossless), Ok(stream));
        let grey = lossless(&[&planes[0]], (40, 30), 8, false);
        let plane: Vec<u8> = planes[0].iter().map(|&v| v as u8).collect();
        assert_eq!(encode_pixels(&plane, 40, 30, 1, Compression::Lossless), Ok(grey));
        for (components, length) in [(2, 2400), (0, 0), (3, 3599), (1, 1201)] {
            let pixels = vec![0; length];
            assert!(encode_pixels(&pixels, 40, 30, components, Compression::Lossless).is_err());
        }
    }

    #[test]
    fn a_ratio_in_decibels_is_kept_and_costs_what_it_asks() {
        let pixels: Vec<u8> = picture(256, 256, 8, false, 3).iter().map(|&v| v as u8).collect();
        let mut last = 0;
        for decibels in [20.0, 30.0, 40.0, 50.0] {
            let stream = encode_pixels(&pixels, 256, 256, 1, Compression::Psnr(decibels));
            let stream = stream.expect("encodes");
            let decoded = decode(&stream, 0, 1).expect("decodes");
            let errors = decoded.components[0].data.iter().zip(&pixels);
            let squares: f64 =
                errors.map(|(a, &b)| f64::from(a - i32::from(b)).powi(2)).sum::<f64>();
            let got = 10.0 * (65_025.0 * 65_536.0 / squares).log10();
            assert!((got - f64::from(decibels)).abs() < 2.0, "{got:.1} dB for {decibels}");
            assert!(stream.len() > last);
            last = stream.len();
        }
    }

    #[test]
    fn a_codestream_in_a_jp2_file_is_found() {
        let samples = picture(20, 10, 8, false, 0);
        let stream = lossless(&[&samples], (20, 10), 8, false);
        let mut file =
            b"\0\0\0\x0CjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 \0\0\0\0jp2c".to_vec();
        file.extend_from_slice(&stream);
        assert_eq!(header(&file), header(&stream));
        assert_eq!(decode(&file, 0, 1), decode(&stream, 0, 1));
        assert!(decode(&file[..20], 0, 1).is_err());
    }

    #[test]
    fn truncated_codestreams_give_what_is_there_and_a_warning_or_an_error() {
        let samples = picture(128, 128, 12, false, 0);
        let stream = lossless(&[&samples], (128, 128), 12, false);
        let most = decode(&stream[..stream.len() * 9 / 10], 0, 1).expect("decodes");
        assert_eq!(most.components[0].data.len(), samples.len());
        assert!(most.warning.is_some());
        for length in (0..stream.len() - 1).step_by(29) {
            if let Ok(image) = decode(&stream[..length], 0, 1) {
                assert!(image.warning.is_some(), "{length} of {} bytes", stream.len());
            }
        }
    }

    #[test]
    fn what_cannot_be_encoded_is_refused() {
        let encode_8 = |samples: &[i32], width, height| {
            encode(&[samples], width, height, 8, false, Compression::Lossless)
        };
        assert!(encode_8(&[0; 5], 2, 3).is_err());
        assert!(encode_8(&[0, 256], 2, 1).is_err());
        assert!(encode_8(&[0, -1], 2, 1).is_err());
        assert!(encode_8(&[], 0, 1).is_err());
        assert!(encode(&[], 1, 1, 8, false, Compression::Lossless).is_err());
        assert!(encode(&[&[0]], 1, 1, 17, false, Compression::Lossless).is_err());
        for compression in [Compression::Ratio(f32::NAN), Compression::Psnr(f32::NAN)] {
            assert!(encode(&[&[0; 64]], 8, 8, 8, false, compression).is_err());
        }
    }

    #[test]
    fn headers_that_would_cost_gigabytes_are_refused() {
        let stream = lossless(&[&picture(64, 64, 8, false, 0)], (64, 64), 8, false);
        let mut many_tiles = stream.clone();
        // Xsiz, Ysiz of 60000 with tiles of 64
        many_tiles[8..16].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
        assert!(decode(&many_tiles, 0, 1).is_err());
        let mut huge = stream;
        huge[8..16].fill(0xFF);
        assert!(decode(&huge, 0, 1).is_err());
    }

    #[test]
    fn mutated_codestreams_neither_crash_nor_lie_about_their_size() {
        let planes = [1, 2, 3].map(|seed| picture(33, 21, 8, false, seed * 50));
        let stream = lossless(&planes.each_ref().map(Vec::as_slice), (33, 21), 8, false);
        for mutant in fuzz::mutants(&stream, 400) {
            // as a caller would bound it
            let Ok(header) = header(&mutant) else { continue };
            if u64::from(header.width) * u64::from(header.height) > 1 << 20 {
                continue;
            }
            if let Ok(image) = decode(&mutant, 0, 1) {
                for component in image.components {
                    assert_eq!(component.data.len() as u32, component.width * component.height);
                }
            }
        }
    }
}
