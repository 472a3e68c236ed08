//! Colour management (PS3.3 C.11.15, R2.9, R4.24), by moxcms: what the colours of a picture are, and
//! which profile it carries.

use std::sync::Arc;

use moxcms::{
    CmsError, ColorProfile, DataColorSpace, Layout, ProfileClass, RenderingIntent,
    Transform8BitExecutor, Transform16BitExecutor, TransformOptions,
};

use crate::colour::space::RgbSpace;
use crate::pixel::raster::{Channels, Raster};
use crate::spec::{IccProfile, Output};

/// Profiles are tables of a few kB; a display calibration at its finest is below 2 MB.
const LARGEST: usize = 4 << 20;

/// Pixels that are converted at a time.
const CHUNK: usize = 1024;

/// A picture in the colours that were asked for.
#[derive(Debug)]
pub(crate) struct Managed {
    pub raster: Raster,
    /// The profile to embed.
    pub profile: Option<Vec<u8>>,
}

/// Brings a picture whose colours are those of the profile `own`, else sRGB, into the space asked for.
///
/// A profile that cannot be used counts as none, with a warning. A grey picture is sRGB, and becomes
/// RGB where it is to carry a profile: one of RGB beside a single channel is invalid in PNG and in ICC.1,
/// and a grey one is not what was asked for by name.
pub(crate) fn manage(
    raster: Raster,
    own: Option<&[u8]>,
    asked: Option<IccProfile>,
    output: Output,
    warnings: &mut Vec<String>,
) -> Managed {
    let (space, embed) = match asked {
        None | Some(IccProfile::No) => (RgbSpace::Srgb, false),
        Some(IccProfile::Yes | IccProfile::Srgb) => (RgbSpace::Srgb, true),
        Some(IccProfile::AdobeRgb) => (RgbSpace::AdobeRgb, true),
        Some(IccProfile::RommRgb) => (RgbSpace::RommRgb, true),
    };
    let own = own.filter(|_| raster.channels == Channels::Rgb);
    let own = own.map(|bytes| OwnProfile::read(bytes, space)).transpose();
    let own = own.unwrap_or_else(|reason| {
        // R4.24: it leaves the picture as it is.
        warnings.push(format!("the ICC profile was not applied: {reason}"));
        None
    });
    match own {
        Some(own) if asked == Some(IccProfile::Yes) && own.fits(output) => {
            return Managed { raster, profile: Some(own.bytes.to_vec()) };
        }
        Some(_) if asked == Some(IccProfile::Yes) => {
            warnings.push("JP2 cannot hold the ICC profile, the picture is sRGB".to_owned());
        }
        _ => {}
    }
    let mut raster = if embed { raster.into_rgb() } else { raster };
    let conversion = match own {
        Some(own) => Ok(Some(own.conversion)),
        None if space == RgbSpace::Srgb => Ok(None),
        None => Conversion::new(&RgbSpace::Srgb.profile(), space).map(Some),
    };
    let converted = conversion.and_then(|conversion| match conversion {
        Some(conversion) => conversion.apply(&mut raster.data),
        None => Ok(()),
    });
    let space = match converted {
        Ok(()) => space,
        Err(reason) => {
            warnings.push(format!("the ICC profile was not applied: {reason}"));
            RgbSpace::Srgb
        }
    };
    Managed { raster, profile: embed.then(|| space.icc()) }
}

/// The usable profile of an object.
struct OwnProfile<'a> {
    bytes: &'a [u8],
    profile: ColorProfile,
    conversion: Conversion,
}

impl<'a> OwnProfile<'a> {
    fn read(bytes: &'a [u8], to: RgbSpace) -> Result<Self, String> {
        if bytes.len() > LARGEST {
            return Err(format!("it has {} bytes, {LARGEST} are allowed", bytes.len()));
        }
        let profile = ColorProfile::new_from_slice(bytes).map_err(|error| error.to_string())?;
        if profile.color_space != DataColorSpace::Rgb {
            return Err("it is not a profile of RGB".to_owned());
        }
        let conversion = Conversion::new(&profile, to)?;
        // Without the padding to an even length.
        let declared = bytes.first_chunk().map_or(0, |size| u32::from_be_bytes(*size) as usize);
        Ok(Self { bytes: bytes.get(..declared).unwrap_or(bytes), profile, conversion })
    }

    /// Of JP2's two ways to name a space, the restricted profile may have a matrix with curves, but no
    /// tables (T.800 I.5.3.3). The other formats hold any profile.
    fn fits(&self, output: Output) -> bool {
        let Self { profile, .. } = self;
        let tables = [
            &profile.lut_a_to_b_perceptual,
            &profile.lut_a_to_b_colorimetric,
            &profile.lut_a_to_b_saturation,
        ];
        let class = profile.profile_class;
        let restricted = tables.iter().all(|table| table.is_none())
            && profile.pcs == DataColorSpace::Xyz
            && matches!(class, ProfileClass::InputDevice | ProfileClass::DisplayDevice);
        restricted || !matches!(output, Output::Jp2(_))
    }
}

/// From a profile to a space: relative colorimetric, with black point compensation.
struct Conversion {
    transform: Transform,
    /// The black point of the profile becomes black.
    black: [[u8; 256]; 3],
}

enum Transform {
    Narrow(Arc<Transform8BitExecutor>),
    Wide(Arc<Transform16BitExecutor>),
}

impl Conversion {
    fn new(from: &ColorProfile, to: RgbSpace) -> Result<Self, String> {
        let mut conversion = Self {
            transform: Transform::new(from, to).map_err(|error| error.to_string())?,
            black: [std::array::from_fn(|value| value as u8); 3],
        };
        let mut black = [0; 3];
        conversion.apply(&mut black)?;
        conversion.black = black.map(|black| black_to_zero(black, to));
        Ok(conversion)
    }

    /// Converts 8-bit RGB pixels in place.
    ///
    /// # Errors
    /// Why it cannot be done. A profile that [`Self::new`] accepts gives none.
    fn apply(&self, pixels: &mut [u8]) -> Result<(), String> {
        let mut converted = [0; 3 * CHUNK];
        for pixels in pixels.chunks_mut(3 * CHUNK) {
            let converted = &mut converted[..pixels.len()];
            self.transform.run(pixels, converted).map_err(|error| error.to_string())?;
            let pairs = pixels.as_chunks_mut::<3>().0.iter_mut().zip(converted.as_chunks::<3>().0);
            for (pixel, rgb) in pairs {
                *pixel =
                    std::array::from_fn(|channel| self.black[channel][usize::from(rgb[channel])]);
            }
        }
        Ok(())
    }
}

impl Transform {
    fn new(from: &ColorProfile, to: RgbSpace) -> Result<Self, CmsError> {
        // A space of matrix and curves has no perceptual table: mixing the source's with it would dull
        // every colour.
        let options = TransformOptions {
            rendering_intent: RenderingIntent::RelativeColorimetric,
            ..Default::default()
        };
        let (rgb, profile) = (Layout::Rgb, to.profile());
        match to {
            // Quick to make; its curve is straight where it is dark, so that no value is lost.
            RgbSpace::Srgb => {
                from.create_transform_8bit(rgb, &profile, rgb, options).map(Self::Narrow)
            }
            // The 8-bit one runs the darkest eight values of a gamma of 2.2 together.
            RgbSpace::AdobeRgb | RgbSpace::RommRgb => {
                from.create_transform_16bit(rgb, &profile, rgb, options).map(Self::Wide)
            }
        }
    }

    /// At most [`CHUNK`] pixels.
    fn run(&self, from: &[u8], to: &mut [u8]) -> Result<(), CmsError> {
        match self {
            Self::Narrow(transform) => transform.transform(from, to),
            Self::Wide(transform) => {
                let (mut wide, mut converted) = ([0; 3 * CHUNK], [0; 3 * CHUNK]);
                let (wide, converted) = (&mut wide[..from.len()], &mut converted[..from.len()]);
                for (wide, &value) in wide.iter_mut().zip(from) {
                    *wide = u16::from(value) * 257;
                }
                transform.transform(wide, converted)?;
                for (value, &wide) in to.iter_mut().zip(&*converted) {
                    *value = ((u32::from(wide) + 128) / 257) as u8;
                }
                Ok(())
            }
        }
    }
}

/// Black point compensation: the darkest that a profile knows becomes black, white stays white, in
/// linear light. Profiles of print-like black would turn a dark background grey.
fn black_to_zero(black: u8, space: RgbSpace) -> [u8; 256] {
    let linear = |value: u8| space.linear(f64::from(value) / 255.0);
    let darkest = linear(black);
    std::array::from_fn(|value| {
        space.level((linear(value as u8) - darkest) / (1.0 - darkest).max(0.1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: Output = Output::Png;

    fn rgb(pixels: &[u8]) -> Raster {
        let width = pixels.len() as u32 / 3;
        Raster { width, height: 1, channels: Channels::Rgb, data: pixels.to_vec() }
    }

    fn managed(pixels: &[u8], own: &[u8], asked: Option<IccProfile>, output: Output) -> Managed {
        let mut warnings = Vec::new();
        let managed = manage(rgb(pixels), Some(own), asked, output, &mut warnings);
        assert_eq!(warnings, [""; 0]);
        managed
    }

    fn to_srgb(pixels: &[u8], profile: &ColorProfile) -> Vec<u8> {
        managed(pixels, &profile.encode().unwrap(), None, PNG).raster.data
    }

    /// A profile with a table: sRGB through a cube of two steps.
    fn with_table() -> Vec<u8> {
        let mut profile = ColorProfile::new_srgb();
        let corners = (0..8).flat_map(|at| [at >> 2 & 1, at >> 1 & 1, at & 1]);
        let clut: Vec<u16> = corners.map(|bit: u16| bit * 0x8000).collect();
        let line: Vec<u16> = vec![0, u16::MAX];
        profile.lut_a_to_b_colorimetric = Some(moxcms::LutWarehouse::Lut(moxcms::LutDataType {
            num_input_channels: 3,
            num_output_channels: 3,
            num_clut_grid_points: 2,
            matrix: moxcms::Matrix3d::IDENTITY,
            num_input_table_entries: 2,
            num_output_table_entries: 2,
            input_table: moxcms::LutStore::Store16(line.repeat(3)),
            clut_table: moxcms::LutStore::Store16(clut),
            output_table: moxcms::LutStore::Store16(line.repeat(3)),
            lut_type: moxcms::LutType::Lut16,
        }));
        profile.encode().unwrap()
    }

    #[test]
    fn srgb_stays_as_it_is() {
        let pixels = [0, 0, 0, 255, 255, 255, 200, 30, 90, 12, 130, 250];
        let got = to_srgb(&pixels, &ColorProfile::new_srgb());
        assert!(pixels.iter().zip(&got).all(|(a, b)| a.abs_diff(*b) <= 1), "{got:?}");
    }

    #[test]
    fn black_points_are_compensated_and_white_kept() {
        for space in [RgbSpace::Srgb, RgbSpace::AdobeRgb, RgbSpace::RommRgb] {
            let table = black_to_zero(30, space);
            assert_eq!((table[0], table[30], table[255]), (0, 0, 255));
            assert!(table.windows(2).all(|pair| pair[0] <= pair[1]));
            assert!((0..=255_u8).all(|v| black_to_zero(0, space)[usize::from(v)] == v));
        }
    }

    #[test]
    fn a_wider_space_is_mapped_and_neutrals_stay_neutral() {
        let wide = ColorProfile::new_adobe_rgb();
        let green = to_srgb(&[60, 180, 60], &wide);
        assert!(green[0] < 30 && green[1].abs_diff(182) < 4, "{green:?}");
        let grey = to_srgb(&[128, 128, 128], &wide);
        assert!(grey.iter().all(|v| v.abs_diff(grey[0]) <= 1), "{grey:?}");
    }

    #[test]
    fn what_is_no_rgb_profile_changes_nothing_and_is_not_embedded() {
        let grey = ColorProfile::new_gray_with_gamma(2.2).encode().unwrap();
        for profile in [&b"not a profile"[..], &[0; 200], &grey, &vec![0; LARGEST + 1]] {
            for asked in [None, Some(IccProfile::No), Some(IccProfile::Yes)] {
                let mut warnings = Vec::new();
                let managed = manage(rgb(&[1, 2, 3]), Some(profile), asked, PNG, &mut warnings);
                assert_eq!(managed.raster, rgb(&[1, 2, 3]));
                let embedded = (asked == Some(IccProfile::Yes)).then(|| RgbSpace::Srgb.icc());
                assert_eq!((managed.profile, warnings.len()), (embedded, 1));
            }
        }
    }

    #[test]
    fn yes_embeds_the_profile_of_the_object_as_it_is_and_keeps_the_pixels() {
        let own = ColorProfile::new_adobe_rgb().encode().unwrap();
        let padded = [&own[..], &[0]].concat();
        for output in [PNG, Output::Jp2(crate::Quality::RENDERED)] {
            let got = managed(&[60, 180, 60], &padded, Some(IccProfile::Yes), output);
            assert_eq!((got.raster, got.profile), (rgb(&[60, 180, 60]), Some(own.clone())));
        }
    }

    #[test]
    fn a_profile_of_tables_goes_into_a_png_and_not_into_a_jp2() {
        let own = with_table();
        let in_png = managed(&[9, 9, 9], &own, Some(IccProfile::Yes), PNG);
        assert_eq!(in_png.profile.as_ref(), Some(&own));
        let mut warnings = Vec::new();
        let jp2 = Output::Jp2(crate::Quality::RENDERED);
        let in_jp2 = manage(rgb(&[9, 9, 9]), Some(&own), Some(IccProfile::Yes), jp2, &mut warnings);
        assert_eq!(in_jp2.profile, Some(RgbSpace::Srgb.icc()));
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn named_spaces_are_converted_to_and_embedded() {
        let srgb = RgbSpace::Srgb.icc();
        let green = |asked| {
            let got = managed(&[60, 180, 60, 255, 255, 255], &srgb, Some(asked), PNG);
            assert!(got.raster.data[3..].iter().all(|v| *v >= 254), "white stays white");
            (<[u8; 3]>::try_from(&got.raster.data[..3]).unwrap(), got.profile)
        };
        // The same colour, from the definitions of the spaces.
        for (asked, space, due) in [
            (IccProfile::Srgb, RgbSpace::Srgb, [60, 180, 60]),
            (IccProfile::AdobeRgb, RgbSpace::AdobeRgb, [112, 178, 72]),
            (IccProfile::RommRgb, RgbSpace::RommRgb, [99, 154, 68]),
        ] {
            let (got, profile) = green(asked);
            let near = got.iter().zip(due).all(|(a, b)| a.abs_diff(b) <= 1);
            assert!(near, "{asked:?}: {got:?}, {due:?} is due");
            assert_eq!(profile, Some(space.icc()));
        }
    }

    #[test]
    fn grey_becomes_rgb_where_it_carries_a_profile() {
        let grey = Raster { width: 3, height: 1, channels: Channels::Grey, data: vec![0, 80, 255] };
        let own = ColorProfile::new_adobe_rgb().encode().unwrap();
        let manage = |asked| manage(grey.clone(), Some(&own), asked, PNG, &mut Vec::new());
        for plain in [None, Some(IccProfile::No)] {
            assert_eq!(manage(plain).raster, grey);
        }
        let srgb = manage(Some(IccProfile::Yes));
        assert_eq!(srgb.raster.data, [0, 0, 0, 80, 80, 80, 255, 255, 255]);
        assert_eq!(srgb.profile, Some(RgbSpace::Srgb.icc()));
        let adobe = manage(Some(IccProfile::AdobeRgb));
        // 80/255 of sRGB of sRGB is 0.0802 of light, of which the root of 2.2 is 81/255.
        assert!(adobe.raster.data[3..6].iter().all(|v| v.abs_diff(81) <= 1), "{:?}", adobe.raster);
    }
}
