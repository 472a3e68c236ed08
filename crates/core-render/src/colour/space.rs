//! The RGB spaces that a picture can be asked in (PS3.18 §8.3.5.1.5, PS3.3 C.11.15.1.2).
//!
//! Each in two forms: for the colour management, and as the profile that goes into the picture. That
//! one is of version 2 with a matrix and curves, which every format and reader takes; JP2 takes
//! nothing else (T.800 I.5.3.3).

use moxcms::{ColorProfile, ToneReprCurve, Xyzd};

/// An RGB space of a standard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RgbSpace {
    /// IEC 61966-2-1.
    Srgb,
    /// Adobe RGB (1998) Color Image Encoding.
    AdobeRgb,
    /// ISO 22028-2.
    RommRgb,
}

/// The white of the profile connection space, D50 (ICC.1 §7.2.16).
const D50: [f64; 3] = [0.9642, 1.0, 0.8249];

/// The white of sRGB and Adobe RGB.
const D65: [f64; 3] = [0.9505, 1.0, 1.0891];

/// Entries of a curve that is no power. Straight lines between them stay far below a step of 8 bits.
const CURVE_ENTRIES: u16 = 1024;

/// The gamma of Adobe RGB, 2 + 51/256.
const ADOBE_GAMMA: f64 = 563.0 / 256.0;

impl RgbSpace {
    /// Red, green and blue in XYZ, adapted to D50 with the Bradford matrix.
    fn colorants(self) -> [[f64; 3]; 3] {
        match self {
            Self::Srgb => [
                [0.43607, 0.22249, 0.01392],
                [0.38515, 0.71687, 0.09708],
                [0.14307, 0.06061, 0.71410],
            ],
            Self::AdobeRgb => [
                [0.60974, 0.31111, 0.01947],
                [0.20528, 0.62567, 0.06087],
                [0.14919, 0.06322, 0.74457],
            ],
            Self::RommRgb => {
                [[0.79767, 0.28804, 0.0], [0.13519, 0.71188, 0.0], [0.03134, 0.00008, 0.82490]]
            }
        }
    }

    fn white(self) -> [f64; 3] {
        match self {
            Self::Srgb | Self::AdobeRgb => D65,
            Self::RommRgb => D50,
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Srgb => "sRGB IEC61966-2.1",
            Self::AdobeRgb => "Compatible with Adobe RGB (1998)",
            Self::RommRgb => "ROMM RGB (ISO 22028-2)",
        }
    }

    /// The light of a value, both 0 to 1.
    pub(crate) fn linear(self, value: f64) -> f64 {
        match self {
            Self::Srgb if value <= 0.040_45 => value / 12.92,
            Self::Srgb => ((value + 0.055) / 1.055).powf(2.4),
            Self::AdobeRgb => value.powf(ADOBE_GAMMA),
            Self::RommRgb if value < 1.0 / 32.0 => value / 16.0,
            Self::RommRgb => value.powf(1.8),
        }
    }

    /// The value of a light, both 0 to 1.
    pub(crate) fn encoded(self, light: f64) -> f64 {
        match self {
            Self::Srgb if light <= 0.003_130_8 => 12.92 * light,
            Self::Srgb => 1.055 * light.powf(1.0 / 2.4) - 0.055,
            Self::AdobeRgb => light.powf(1.0 / ADOBE_GAMMA),
            Self::RommRgb if light < 1.0 / 512.0 => 16.0 * light,
            Self::RommRgb => light.powf(1.0 / 1.8),
        }
    }

    /// The value of a light as one of 8 bits.
    pub(crate) fn level(self, light: f64) -> u8 {
        (self.encoded(light.clamp(0.0, 1.0)) * 255.0 + 0.5).floor() as u8
    }

    /// For the colour management.
    pub(crate) fn profile(self) -> ColorProfile {
        let mut profile = ColorProfile::new_srgb();
        let curve = match self {
            Self::Srgb => return profile,
            // Y = X^g
            Self::AdobeRgb => ToneReprCurve::Parametric(vec![ADOBE_GAMMA as f32]),
            // Y = (aX + b)^g from d on, else cX
            Self::RommRgb => ToneReprCurve::Parametric(vec![1.8, 1.0, 0.0, 1.0 / 16.0, 1.0 / 32.0]),
        };
        [profile.red_colorant, profile.green_colorant, profile.blue_colorant] =
            self.colorants().map(|[x, y, z]| Xyzd { x, y, z });
        profile.red_trc = Some(curve.clone());
        profile.green_trc = Some(curve.clone());
        profile.blue_trc = Some(curve);
        profile.cicp = None;
        profile
    }

    /// For the picture: an ICC profile of version 2.1 (ICC.1:1998-09).
    pub(crate) fn icc(self) -> Vec<u8> {
        let [red, green, blue] = self.colorants().map(xyz);
        let curve = self.curve();
        // The curve is the same for all: one copy, three tags.
        let data = [
            description(self.description()),
            text("No copyright, use freely"),
            xyz(self.white()),
            red,
            green,
            blue,
            curve,
        ];
        let tags: [(&[u8; 4], usize); 9] = [
            (b"desc", 0),
            (b"cprt", 1),
            (b"wtpt", 2),
            (b"rXYZ", 3),
            (b"gXYZ", 4),
            (b"bXYZ", 5),
            (b"rTRC", 6),
            (b"gTRC", 6),
            (b"bTRC", 6),
        ];
        let first = 128 + 4 + 12 * tags.len();
        let offset = |index: usize| {
            first + data[..index].iter().map(|d| d.len().next_multiple_of(4)).sum::<usize>()
        };
        let mut profile = header(offset(data.len()));
        profile.extend(word(tags.len()));
        for (name, index) in tags {
            profile.extend(name);
            profile.extend(word(offset(index)));
            profile.extend(word(data[index].len()));
        }
        for element in &data {
            profile.extend(element);
            profile.resize(profile.len().next_multiple_of(4), 0);
        }
        profile
    }

    /// `curveType`: a gamma alone, or a table.
    fn curve(self) -> Vec<u8> {
        let entries: Vec<u16> = match self {
            Self::AdobeRgb => vec![(ADOBE_GAMMA * 256.0) as u16],
            Self::Srgb | Self::RommRgb => (0..CURVE_ENTRIES)
                .map(|at| f64::from(at) / f64::from(CURVE_ENTRIES - 1))
                .map(|value| (self.linear(value) * 65_535.0).round() as u16)
                .collect(),
        };
        let mut curve = b"curv\0\0\0\0".to_vec();
        curve.extend(word(entries.len()));
        curve.extend(entries.iter().flat_map(|entry| entry.to_be_bytes()));
        curve
    }
}

/// The 128 bytes before the tags: a display profile of RGB to XYZ, relative colorimetric.
fn header(size: usize) -> Vec<u8> {
    let mut header = Vec::with_capacity(size);
    header.extend(word(size));
    header.extend(b"\0\0\0\0\x02\x10\0\0mntrRGB XYZ ");
    // A date is due; this one never changes, so that pictures do not.
    for part in [2025_u16, 1, 1, 0, 0, 0] {
        header.extend(part.to_be_bytes());
    }
    header.extend(b"acsp");
    header.resize(64, 0);
    header.extend(word(1));
    header.extend(D50.map(s15_fixed_16).as_flattened());
    header.resize(128, 0);
    header
}

/// `XYZType`.
fn xyz(values: [f64; 3]) -> Vec<u8> {
    [b"XYZ \0\0\0\0", values.map(s15_fixed_16).as_flattened()].concat()
}

/// `textType`.
fn text(text: &str) -> Vec<u8> {
    [b"text\0\0\0\0", text.as_bytes(), b"\0"].concat()
}

/// `textDescriptionType`, with neither Unicode nor Macintosh text.
fn description(text: &str) -> Vec<u8> {
    let mut description = b"desc\0\0\0\0".to_vec();
    description.extend(word(text.len() + 1));
    description.extend(text.as_bytes());
    description.resize(description.len() + 1 + 4 + 4 + 2 + 1 + 67, 0);
    description
}

fn s15_fixed_16(value: f64) -> [u8; 4] {
    ((value * 65_536.0).round() as i32).to_be_bytes()
}

/// Sizes within a profile of a few kB.
fn word(value: usize) -> [u8; 4] {
    (value as u32).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [RgbSpace; 3] = [RgbSpace::Srgb, RgbSpace::AdobeRgb, RgbSpace::RommRgb];

    type Matrix = [[f64; 3]; 3];

    fn times(a: Matrix, v: [f64; 3]) -> [f64; 3] {
        a.map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum())
    }

    fn inverse(m: Matrix) -> Matrix {
        let minor = |r: usize, c: usize| {
            let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
            m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
        };
        let determinant: f64 = (0..3).map(|c| m[0][c] * minor(0, c)).sum();
        std::array::from_fn(|r| std::array::from_fn(|c| minor(c, r) / determinant))
    }

    fn from_xy([x, y]: [f64; 2]) -> [f64; 3] {
        [x / y, 1.0, (1.0 - x - y) / y]
    }

    /// The colorants by the definition: primaries scaled to add up to white, adapted by Bradford.
    fn colorants(primaries: [[f64; 2]; 3], white: [f64; 2]) -> Matrix {
        const BRADFORD: Matrix =
            [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]];
        let (primaries, white) = (primaries.map(from_xy), from_xy(white));
        let columns: Matrix = std::array::from_fn(|r| primaries.map(|primary| primary[r]));
        let scale = times(inverse(columns), white);
        let (from, to) = (times(BRADFORD, white), times(BRADFORD, D50));
        std::array::from_fn(|index| {
            let cone = times(BRADFORD, primaries[index].map(|v| v * scale[index]));
            times(inverse(BRADFORD), std::array::from_fn(|i| cone[i] * to[i] / from[i]))
        })
    }

    fn close(a: [f64; 3], b: [f64; 3], what: &str) {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 5e-4, "{what}: {a} is not {b}");
        }
    }

    #[test]
    fn primaries_and_white_are_those_of_the_specifications() {
        let d65 = [0.3127, 0.3290];
        let specified = [
            // IEC 61966-2-1, Adobe RGB (1998) 4.3.1, ISO 22028-2
            ([[0.64, 0.33], [0.30, 0.60], [0.15, 0.06]], d65),
            ([[0.64, 0.33], [0.21, 0.71], [0.15, 0.06]], d65),
            ([[0.7347, 0.2653], [0.1596, 0.8404], [0.0366, 0.0001]], [0.3457, 0.3585]),
        ];
        for (space, (primaries, white)) in ALL.into_iter().zip(specified) {
            let profile = space.profile();
            let managed = [profile.red_colorant, profile.green_colorant, profile.blue_colorant];
            for ((stated, managed), due) in
                space.colorants().into_iter().zip(managed).zip(colorants(primaries, white))
            {
                close(stated, due, "stated");
                close([managed.x, managed.y, managed.z], due, "managed");
            }
            close(space.white(), from_xy(white), "white");
        }
    }

    #[test]
    fn curves_are_each_others_inverse_and_continuous() {
        for space in ALL {
            for step in 0..=1000 {
                let value = f64::from(step) / 1000.0;
                let back = space.encoded(space.linear(value));
                assert!((back - value).abs() < 1e-4, "{space:?}: {back} is not {value}");
            }
            assert_eq!((space.linear(0.0), space.linear(1.0)), (0.0, 1.0));
        }
        // ISO 22028-2: the straight part ends at 1/32, 16 of its light.
        let below = RgbSpace::RommRgb.linear(1.0 / 32.0 - 1e-9);
        assert!((below - RgbSpace::RommRgb.linear(1.0 / 32.0)).abs() < 1e-6);
    }

    #[test]
    fn the_embedded_profile_says_what_the_colour_management_does() {
        for space in ALL {
            let bytes = space.icc();
            assert_eq!(bytes.len(), u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize);
            let read = ColorProfile::new_from_slice(&bytes).unwrap();
            let layout = moxcms::Layout::Rgb;
            let options = moxcms::TransformOptions::default();
            let transform =
                read.create_transform_16bit(layout, &space.profile(), layout, options).unwrap();
            let pixels: Vec<u8> =
                (0..=255).flat_map(|v| [v, v, v, v, 0, 0, 0, v, 0, 0, 0, v, v, 255, 90]).collect();
            let wide: Vec<u16> = pixels.iter().map(|&v| u16::from(v) * 257).collect();
            let mut same = vec![0; pixels.len()];
            transform.transform(&wide, &mut same).unwrap();
            let same: Vec<u8> = same.iter().map(|&v| ((u32::from(v) + 128) / 257) as u8).collect();
            let worst = pixels.iter().zip(&same).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(1), "{space:?}: {worst:?}");
        }
    }
}
