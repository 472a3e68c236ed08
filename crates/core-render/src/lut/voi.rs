//! Windows (PS3.3 C.11.2.1.2 and C.11.2.1.3).

use crate::spec::{VoiFunction, Window};

impl Window {
    /// The display value of `x`, 0 to 1; `x` in modality units.
    pub(crate) fn apply(&self, x: f64) -> f64 {
        let (c, w) = (self.centre(), self.width());
        let y = match self.function() {
            // C.11.2.1.2.1: width 1 is a threshold.
            VoiFunction::Linear if w == 1.0 => return if x > c - 0.5 { 1.0 } else { 0.0 },
            VoiFunction::Linear => (x - (c - 0.5)) / (w - 1.0) + 0.5,
            VoiFunction::LinearExact => (x - c) / w + 0.5,
            VoiFunction::Sigmoid => 1.0 / (1.0 + (-4.0 * (x - c) / w).exp()),
        };
        y.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(c: f64, w: f64, function: VoiFunction) -> Window {
        Window::new(c, w, function).unwrap()
    }

    #[test]
    fn linear_is_the_example_of_the_standard() {
        // C.11.2.1.2.1 note: c=2048, w=4096 maps 0 to the minimum and 4095 to the maximum.
        let full = window(2048.0, 4096.0, VoiFunction::Linear);
        assert_eq!((full.apply(0.0), full.apply(4095.0)), (0.0, 1.0));
        // c=0, w=100: if x <= -50 then minimum, if x > 49 then maximum.
        let narrow = window(0.0, 100.0, VoiFunction::Linear);
        assert_eq!((narrow.apply(-50.0), narrow.apply(49.0)), (0.0, 1.0));
        assert!(narrow.apply(-49.0) > 0.0 && narrow.apply(48.0) < 1.0);
    }

    #[test]
    fn linear_width_one_is_a_threshold() {
        let threshold = window(40.0, 1.0, VoiFunction::Linear);
        assert_eq!(
            (threshold.apply(39.5), threshold.apply(39.6), threshold.apply(40.0)),
            (0.0, 1.0, 1.0)
        );
    }

    #[test]
    fn linear_exact_ends_at_half_its_width() {
        let exact = window(10.0, 4.0, VoiFunction::LinearExact);
        assert_eq!([8.0, 9.0, 10.0, 12.0].map(|x| exact.apply(x)), [0.0, 0.25, 0.5, 1.0]);
    }

    #[test]
    fn sigmoid_has_the_factor_four() {
        let sigmoid = window(0.0, 4.0, VoiFunction::Sigmoid);
        assert_eq!(sigmoid.apply(0.0), 0.5);
        assert!((sigmoid.apply(1.0) - 1.0 / (1.0 + (-1.0_f64).exp())).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn every_window_is_monotone_and_in_range(
            c in -1e6..1e6_f64, w in 1.0..1e6_f64, a in -1e7..1e7_f64, b in -1e7..1e7_f64, f in 0..3_usize,
        ) {
            let function = [VoiFunction::Linear, VoiFunction::LinearExact, VoiFunction::Sigmoid][f];
            let window = window(c, w, function);
            let (low, high) = (window.apply(a.min(b)), window.apply(a.max(b)));
            prop_assert!(low <= high && (0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
        }
    }
}
