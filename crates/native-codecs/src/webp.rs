//! Lossy WebP (RFC 9649), by libwebp. Encoding only: DICOM has no WebP to decode.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::slice;

use libwebp_sys as webp;
use webp::WebPEncodingError::{self, VP8_ENC_ERROR_PARTITION0_OVERFLOW};

use crate::buffer::sample_count;
use crate::error::{CodecError, Result};

/// What the format can hold of a side, in pixels.
pub const LONGEST_SIDE: u32 = 16_383;

/// libwebp's own default between fast (0) and small (6).
const METHOD: c_int = 4;

/// Encodes 8-bit RGB pixels, row-major and interleaved, on this thread: a RIFF file of one `VP8 ` chunk.
///
/// `quality` is libwebp's, 0 to 100. Neither side may exceed [`LONGEST_SIDE`].
pub fn encode(rgb: &[u8], width: u32, height: u32, quality: u8) -> Result<Vec<u8>> {
    if sample_count(width, height, 3)? != rgb.len() {
        return Err(CodecError::new(format!(
            "{} bytes are not {width} × {height} pixels with 3 components",
            rgb.len()
        )));
    }
    let picture = Picture::of_rgb(rgb, width, height)?;
    let mut config = config(quality)?;
    match picture.encode(&config) {
        // The modes of a large and noisy picture may outgrow the 512 kB of their partition.
        Err(VP8_ENC_ERROR_PARTITION0_OVERFLOW) => {
            config.partition_limit = 100;
            Picture::of_rgb(rgb, width, height)?.encode(&config)
        }
        done => done,
    }
    .map_err(failed)
}

fn failed(error: WebPEncodingError) -> CodecError {
    CodecError::new(format!("libwebp failed: {error:?}"))
}

fn config(quality: u8) -> Result<webp::WebPConfig> {
    let mut config = MaybeUninit::<webp::WebPConfig>::zeroed();
    // SAFETY: writable memory of the right type, whose enum has a variant zero.
    let (known, mut config) = unsafe {
        let known = webp::WebPConfigInitInternal(
            config.as_mut_ptr(),
            webp::WebPPreset::WEBP_PRESET_DEFAULT,
            f32::from(quality),
            webp::WEBP_ENCODER_ABI_VERSION as c_int,
        );
        (known, config.assume_init())
    };
    config.method = METHOD;
    // SAFETY: an initialised configuration, only read.
    if known == 0 || unsafe { webp::WebPValidateConfig(&config) } == 0 {
        return Err(CodecError::new(format!("{quality} is not a quality from 0 to 100")));
    }
    Ok(config)
}

/// A picture whose planes are libwebp's.
struct Picture(Box<webp::WebPPicture>);

impl Picture {
    fn of_rgb(rgb: &[u8], width: u32, height: u32) -> Result<Self> {
        if width.max(height) > LONGEST_SIDE {
            return Err(CodecError::new(format!(
                "{width} × {height} pixels are more than WebP holds"
            )));
        }
        let mut raw = Box::new(MaybeUninit::<webp::WebPPicture>::zeroed());
        // SAFETY: writable memory of the right type; zero is a value of all of its fields.
        let (known, raw) = unsafe {
            let known = webp::WebPPictureInitInternal(
                raw.as_mut_ptr(),
                webp::WEBP_ENCODER_ABI_VERSION as c_int,
            );
            (known, raw.assume_init())
        };
        let mut picture = Self(raw);
        // The sides are at most LONGEST_SIDE.
        (picture.0.width, picture.0.height) = (width as c_int, height as c_int);
        // SAFETY: an initialised picture; `rgb` has height rows of 3 × width bytes (checked by
        // `encode`), which are only read.
        let imported = known != 0
            && unsafe {
                webp::WebPPictureImportRGB(&mut *picture.0, rgb.as_ptr(), 3 * width as c_int) != 0
            };
        match imported {
            true => Ok(picture),
            false => Err(failed(picture.0.error_code)),
        }
    }

    fn encode(
        mut self,
        config: &webp::WebPConfig,
    ) -> std::result::Result<Vec<u8>, WebPEncodingError> {
        let mut written = Vec::<u8>::new();
        self.0.writer = Some(write);
        self.0.custom_ptr = std::ptr::from_mut(&mut written).cast::<c_void>();
        // SAFETY: configuration and picture are initialised; `written`, which the writer alone
        // uses meanwhile, outlives the call.
        let encoded = unsafe { webp::WebPEncode(config, &mut *self.0) };
        match encoded {
            0 => Err(self.0.error_code),
            _ => Ok(written),
        }
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        // SAFETY: an initialised picture, freed once.
        unsafe { webp::WebPPictureFree(&mut *self.0) }
    }
}

unsafe extern "C" fn write(
    data: *const u8,
    size: usize,
    picture: *const webp::WebPPicture,
) -> c_int {
    if size == 0 {
        return 1;
    }
    // SAFETY: libwebp passes `size` (not zero) readable bytes, and the picture, whose custom pointer
    // is the vector of `Picture::encode`.
    let (data, written) = unsafe {
        (slice::from_raw_parts(data, size), &mut *(*picture).custom_ptr.cast::<Vec<u8>>())
    };
    if written.try_reserve(size).is_err() {
        return 0;
    }
    written.extend_from_slice(data);
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: u32, height: u32) -> Vec<u8> {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        pixels.flat_map(|(x, y)| [(x * 2) as u8, (y * 2) as u8, 90]).collect()
    }

    #[test]
    fn pixels_become_a_riff_file_of_one_chunk() {
        let file = encode(&gradient(100, 60), 100, 60, 90).expect("encodes");
        assert_eq!((&file[..4], &file[8..16]), (&b"RIFF"[..], &b"WEBPVP8 "[..]));
        let declared = u32::from_le_bytes([file[4], file[5], file[6], file[7]]);
        assert_eq!(declared as usize + 8, file.len());
        // the key frame's start code, width and height (RFC 6386 §9.1)
        assert_eq!(file[23..30], [0x9D, 0x01, 0x2A, 100, 0, 60, 0]);
    }

    #[test]
    fn higher_quality_takes_more_bytes() {
        let pixels: Vec<u8> = (0..64 * 64 * 3_u32).map(|i| (i * i / 97) as u8).collect();
        let sizes = [1, 50, 80, 100].map(|q| encode(&pixels, 64, 64, q).expect("encodes").len());
        assert!(sizes.is_sorted() && sizes[0] * 2 < sizes[3], "{sizes:?}");
    }

    #[test]
    fn what_cannot_be_encoded_is_refused() {
        assert!(encode(&[0; 5], 1, 2, 90).is_err());
        assert!(encode(&[], 0, 1, 90).is_err());
        assert!(encode(&[0; 3], 1, 1, 101).is_err());
        let long = vec![0; 3 * (LONGEST_SIDE as usize + 1)];
        assert!(encode(&long, LONGEST_SIDE + 1, 1, 90).is_err());
        assert!(encode(&long[3..], 1, LONGEST_SIDE, 90).is_ok());
    }

    #[test]
    #[ignore = "a minute and 2 GB: run it when libwebp changes"]
    fn the_largest_noise_still_fits_its_partition() {
        let side = 9000_u32;
        let mut state = 1_u32;
        let noise = (0..side * side * 3).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let noise: Vec<u8> = noise.collect();
        assert!(encode(&noise, side, side, 100).expect("encodes").len() > 1 << 20);
    }
}
