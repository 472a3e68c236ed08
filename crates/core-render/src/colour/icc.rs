//! ICC profiles of colour images to sRGB (PS3.3 C.11.15, R4.24), by moxcms.

use moxcms::{ColorProfile, DataColorSpace, Layout, RenderingIntent, TransformOptions};

/// Profiles are tables of a few kB; a display calibration at its finest is below 2 MB.
const LARGEST: usize = 4 << 20;

/// Converts 8-bit RGB pixels in place.
///
/// # Errors
/// Why the profile cannot be used; the pixels are unchanged.
pub(crate) fn to_srgb(pixels: &mut [u8], profile: &[u8]) -> Result<(), String> {
    if profile.len() > LARGEST {
        return Err(format!("it has {} bytes, {LARGEST} are allowed", profile.len()));
    }
    let source = ColorProfile::new_from_slice(profile).map_err(|error| error.to_string())?;
    if source.color_space != DataColorSpace::Rgb {
        return Err("it is not a profile of RGB".to_owned());
    }
    // sRGB has no perceptual table: mixing the source's with it would dull every colour.
    let options = TransformOptions {
        rendering_intent: RenderingIntent::RelativeColorimetric,
        ..Default::default()
    };
    let transform = source
        .create_transform_8bit(Layout::Rgb, &ColorProfile::new_srgb(), Layout::Rgb, options)
        .map_err(|error| error.to_string())?;
    let convert = |from: &[u8], to: &mut [u8]| {
        transform.transform(from, to).map_err(|error| error.to_string())
    };
    let mut black = [0; 3];
    convert(&[0; 3], &mut black)?;
    let mut converted = vec![0; pixels.len()];
    convert(pixels, &mut converted)?;
    let tables = black.map(black_to_zero);
    for (pixel, rgb) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(converted.as_chunks::<3>().0) {
        *pixel = std::array::from_fn(|channel| tables[channel][usize::from(rgb[channel])]);
    }
    Ok(())
}

/// Black point compensation: the darkest that a profile knows becomes black, white stays white, in
/// linear light. Profiles of print-like black would turn a dark background grey.
fn black_to_zero(black: u8) -> [u8; 256] {
    let darkest = linear(black);
    std::array::from_fn(|value| encoded((linear(value as u8) - darkest) / (1.0 - darkest).max(0.1)))
}

/// The transfer function of sRGB (IEC 61966-2-1), and back.
fn linear(value: u8) -> f64 {
    let v = f64::from(value) / 255.0;
    if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
}

pub(crate) fn encoded(linear: f64) -> u8 {
    let linear = linear.clamp(0.0, 1.0);
    let v = match linear <= 0.003_130_8 {
        true => 12.92 * linear,
        false => 1.055 * linear.powf(1.0 / 2.4) - 0.055,
    };
    (v * 255.0 + 0.5).floor() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(pixels: &[u8], profile: &ColorProfile) -> Vec<u8> {
        let mut pixels = pixels.to_vec();
        to_srgb(&mut pixels, &profile.encode().unwrap()).unwrap();
        pixels
    }

    #[test]
    fn srgb_stays_as_it_is() {
        let pixels = [0, 0, 0, 255, 255, 255, 200, 30, 90, 12, 130, 250];
        let got = converted(&pixels, &ColorProfile::new_srgb());
        assert!(pixels.iter().zip(&got).all(|(a, b)| a.abs_diff(*b) <= 1), "{got:?}");
    }

    #[test]
    fn black_points_are_compensated_and_white_kept() {
        let table = black_to_zero(30);
        assert_eq!((table[0], table[30], table[255]), (0, 0, 255));
        assert!(table.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!((0..=255_u8).all(|v| black_to_zero(0)[usize::from(v)] == v));
    }

    #[test]
    fn a_wider_space_is_mapped_and_neutrals_stay_neutral() {
        let wide = ColorProfile::new_adobe_rgb();
        let green = converted(&[60, 180, 60], &wide);
        assert!(green[0] < 30 && green[1].abs_diff(182) < 4, "{green:?}");
        let grey = converted(&[128, 128, 128], &wide);
        assert!(grey.iter().all(|v| v.abs_diff(grey[0]) <= 1), "{grey:?}");
    }

    #[test]
    fn what_is_no_rgb_profile_changes_nothing() {
        let grey = ColorProfile::new_gray_with_gamma(2.2).encode().unwrap();
        for profile in [&b"not a profile"[..], &[0; 200], &grey, &vec![0; LARGEST + 1]] {
            let mut pixels = [1, 2, 3];
            assert!(to_srgb(&mut pixels, profile).is_err());
            assert_eq!(pixels, [1, 2, 3]);
        }
    }
}
