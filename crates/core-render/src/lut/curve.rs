//! The whole way of one grey value: stored → modality (C.11.1) → VOI (C.11.2) → polarity (C.11.6).
//!
//! One function describes it; for cells of up to 16 bits it is sampled once into a table, so that
//! the cost per pixel does not depend on what the function does.

use std::ops::RangeInclusive;

use crate::attributes::{Modality, Padding, Voi};
use crate::lut::lookup::Lut;
use crate::pixel::cells::BitLayout;
use crate::spec::Window;

/// The VOI transform in force for one frame.
#[derive(Clone, Debug)]
pub(crate) enum ResolvedVoi<'a> {
    Window(Window),
    Lut(&'a Lut),
    /// Lowest to highest value of the frame (design: no window in the file).
    Range {
        low: f64,
        high: f64,
    },
}

/// From stored value to display value.
#[derive(Clone, Debug)]
pub(crate) struct Curve<'a> {
    pub modality: &'a Modality,
    pub voi: ResolvedVoi<'a>,
    pub inverse: bool,
    /// The Presentation LUT of a presentation state, after all else.
    pub presentation: Option<&'a Lut>,
    pub padding: Option<Padding>,
}

impl Curve<'_> {
    /// The display value, 0 to 255, of a stored value.
    pub(crate) fn display(&self, stored: f64) -> u8 {
        // R4.17: padding is background, black in both polarities.
        self.level(stored).map_or(0, |y| (y * 255.0 + 0.5).floor() as u8)
    }

    /// What is displayed of a stored value, 0 to 1; `None` of what is no image.
    pub(crate) fn level(&self, stored: f64) -> Option<f64> {
        if self.is_padding(stored) || !stored.is_finite() {
            return None;
        }
        let y = self.voi.apply(self.modality.apply(stored));
        let y = if self.inverse { 1.0 - y } else { y };
        Some(self.presentation.map_or(y, |lut| lut.of_level(y)))
    }

    /// Whether a stored value is padding.
    pub(crate) fn is_padding(&self, stored: f64) -> bool {
        self.padding.is_some_and(|padding| padding.contains(stored))
    }

    /// The display values of the stored values in `range`, in a table over every sample that `layout`
    /// can hold, indexed by its unsigned bits. The rest of it is 0.
    pub(crate) fn table(&self, layout: BitLayout, range: RangeInclusive<i64>) -> Vec<u8> {
        let mut table = vec![0; 1 << layout.bits];
        for value in range {
            table[layout.bits_of(value) as usize] = self.display(value as f64);
        }
        table
    }
}

impl ResolvedVoi<'_> {
    fn apply(&self, x: f64) -> f64 {
        match self {
            Self::Window(window) => window.apply(x),
            Self::Lut(lut) => (f64::from(lut.at_value(x)) / f64::from(lut.full_scale())).min(1.0),
            // A constant frame is black (white once inverted); no division by zero (R4.14).
            Self::Range { low, high } if high <= low => 0.0,
            Self::Range { low, high } => ((x - low) / (high - low)).clamp(0.0, 1.0),
        }
    }
}

impl<'a> ResolvedVoi<'a> {
    /// VOI precedence (design §3): the request's window, the frame's, its VOI LUT, else the range of
    /// the modality values that `range` finds.
    pub(crate) fn resolve(
        asked: Option<Window>,
        voi: &'a Voi,
        range: impl FnOnce() -> (f64, f64),
    ) -> Self {
        match (asked, voi) {
            (Some(window), _) => Self::Window(window),
            (None, Voi::Window(window)) => Self::Window(*window),
            (None, Voi::Lut(lut)) => Self::Lut(lut),
            (None, &Voi::Range { low, high }) => Self::Range { low, high },
            (None, Voi::None) => {
                let (low, high) = range();
                Self::Range { low, high }
            }
        }
    }
}

impl Modality {
    /// The modality value of a stored value.
    pub(crate) fn apply(&self, stored: f64) -> f64 {
        match self {
            Self::Identity => stored,
            Self::Rescale { slope, intercept } => stored * slope + intercept,
            Self::Lut(lut) => f64::from(lut.at_value(stored)),
        }
    }
}

impl Padding {
    /// Whether a stored value is padding.
    pub(crate) fn contains(&self, stored: f64) -> bool {
        (self.first..=self.last).contains(&stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::VoiFunction;

    fn curve(modality: &Modality, c: f64, w: f64) -> Curve<'_> {
        let voi = ResolvedVoi::Window(Window::new(c, w, VoiFunction::Linear).unwrap());
        Curve { modality, voi, inverse: false, presentation: None, padding: None }
    }

    #[test]
    fn the_window_is_in_modality_units() {
        let hounsfield = Modality::Rescale { slope: 1.0, intercept: -1024.0 };
        let curve = curve(&hounsfield, 0.0, 256.0);
        assert_eq!((curve.display(1024.0 - 128.0), curve.display(1024.0 + 127.0)), (0, 255));
    }

    #[test]
    fn polarity_is_turned_after_the_window() {
        let mut curve = curve(&Modality::Identity, 128.0, 256.0);
        curve.inverse = true;
        assert_eq!([0.0, 1.0, 255.0].map(|v| curve.display(v)), [255, 254, 0]);
    }

    #[test]
    fn padding_is_black_in_both_polarities() {
        let mut curve = curve(&Modality::Identity, 128.0, 256.0);
        curve.padding = Some(Padding { first: 200.0, last: 210.0 });
        assert_eq!((curve.display(205.0), curve.display(211.0)), (0, 211));
        curve.inverse = true;
        assert_eq!((curve.display(205.0), curve.display(0.0)), (0, 255));
    }

    #[test]
    fn a_constant_frame_is_not_divided_by_zero() {
        let voi = ResolvedVoi::Range { low: 7.0, high: 7.0 };
        let curve = Curve {
            modality: &Modality::Identity,
            voi,
            inverse: false,
            presentation: None,
            padding: None,
        };
        assert_eq!(curve.display(7.0), 0);
    }

    #[test]
    fn tables_hold_signed_samples_at_their_bits() {
        let layout = BitLayout { bits: 4, shift: 0, signed: true };
        let table = curve(&Modality::Identity, 0.0, 16.0).table(layout, -8..=7);
        // Bits 0b1000 are −8, the lowest value; 0b0111 is 7, the highest.
        assert_eq!((table.len(), table[0b1000], table[0b0111]), (16, 0, 255));
    }

    #[test]
    fn tables_are_filled_where_the_frame_has_values() {
        let layout = BitLayout { bits: 16, shift: 0, signed: true };
        let table = curve(&Modality::Identity, 0.0, 100.0).table(layout, -3..=60);
        assert_eq!((table.len(), table[60], table[61]), (65_536, 255, 0));
        assert!(table[usize::from(-3_i16 as u16)] > 0 && table[usize::from(-4_i16 as u16)] == 0);
    }
}
