//! Drawing by formula: every picture is a function of a place in millimetres. Deterministic, on
//! every machine the same: only `+ − × ÷` and `sqrt` and functions built from them here.

/// Evaluates `value(x, y)` for every pixel, row by row, on all cores.
pub(super) fn draw<T: Send + Default + Clone>(
    width: usize,
    height: usize,
    value: impl Fn(usize, usize) -> T + Sync,
) -> Vec<T> {
    let mut pixels = vec![T::default(); width * height];
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
    let rows_each = height.div_ceil(workers).max(1);
    std::thread::scope(|scope| {
        for (band, rows) in pixels.chunks_mut(rows_each * width).enumerate() {
            let value = &value;
            scope.spawn(move || {
                for (i, pixel) in rows.iter_mut().enumerate() {
                    *pixel = value(i % width, band * rows_each + i / width);
                }
            });
        }
    });
    pixels
}

pub(super) fn mix(a: f32, b: f32, part: f32) -> f32 {
    a + (b - a) * part
}

/// 0 at `from` and before, 1 at `to` and beyond, smooth between; `to` may be the smaller.
pub(super) fn smoothstep(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A bell of height 1 and half-width about `width`, exactly 0 from three widths on.
pub(super) fn bell(x: f32, width: f32) -> f32 {
    let t = 1.0 - (x / (3.0 * width)).powi(2).min(1.0);
    t.powi(6)
}

/// How far outside an ellipse a point is along the ray from its centre; negative inside.
pub(super) fn ellipse(x: f32, y: f32, centre: (f32, f32), radii: (f32, f32)) -> f32 {
    let (dx, dy) = (x - centre.0, y - centre.1);
    let relative = ((dx / radii.0).powi(2) + (dy / radii.1).powi(2)).sqrt();
    if relative < 1e-3 {
        return -radii.0.min(radii.1);
    }
    (dx * dx + dy * dy).sqrt() * (1.0 - 1.0 / relative)
}

/// An ellipse whose axes are turned: `turn` is the tangent of the angle.
pub(super) fn turned_ellipse(
    x: f32,
    y: f32,
    centre: (f32, f32),
    radii: (f32, f32),
    turn: f32,
) -> f32 {
    let cosine = 1.0 / (1.0 + turn * turn).sqrt();
    let sine = turn * cosine;
    let (dx, dy) = (x - centre.0, y - centre.1);
    ellipse(dx * cosine + dy * sine, dy * cosine - dx * sine, (0.0, 0.0), radii)
}

/// How much of a pixel lies inside, from its distance to the border.
pub(super) fn cover(distance: f32, pixel: f32) -> f32 {
    (0.5 - distance / pixel).clamp(0.0, 1.0)
}

/// Smooth noise in −1 … 1 over a lattice of step 1.
pub(super) fn noise(x: f32, y: f32, z: f32) -> f32 {
    let (xf, yf, zf) = (x.floor(), y.floor(), z.floor());
    let (xi, yi, zi) = (xf as i32, yf as i32, zf as i32);
    let (u, v, w) = (fade(x - xf), fade(y - yf), fade(z - zf));
    let at = |dx: i32, dy: i32, dz: i32| white(xi + dx, yi + dy, zi + dz);
    let plane = |dz| mix(mix(at(0, 0, dz), at(1, 0, dz), u), mix(at(0, 1, dz), at(1, 1, dz), u), v);
    mix(plane(0), plane(1), w)
}

/// Noise of several scales, −1 … 1, each half as large and half as strong as the one before.
pub(super) fn fractal(x: f32, y: f32, z: f32, octaves: u32) -> f32 {
    let (mut sum, mut strength, mut scale, mut total) = (0.0, 1.0, 1.0, 0.0);
    for octave in 0..octaves {
        sum += strength * noise(x * scale, y * scale, z * scale + octave as f32 * 17.3);
        total += strength;
        strength *= 0.5;
        scale *= 2.03;
    }
    sum / total
}

/// Grain of standard deviation 1, roughly normal, another for every pixel.
pub(super) fn grain(x: usize, y: usize, layer: i32) -> f32 {
    let (x, y) = (x as i32, y as i32);
    let sum: f32 = (0..3).map(|i| white(x, y, layer * 3 + i)).sum();
    sum // three uniform values of variance 1/3
}

/// White noise in −1 … 1 at a lattice point.
pub(super) fn white(x: i32, y: i32, z: i32) -> f32 {
    let mut h = (x as u32).wrapping_mul(0x8DA6_B343)
        ^ (y as u32).wrapping_mul(0xD816_3841)
        ^ (z as u32).wrapping_mul(0xCB1A_B31F);
    h ^= h >> 16;
    h = h.wrapping_mul(0x7FEB_352D);
    h ^= h >> 15;
    h = h.wrapping_mul(0x846C_A68B);
    h ^= h >> 16;
    (h >> 8) as f32 / 8_388_607.5 - 1.0
}

fn fade(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

/// Sine of `turns` full turns, by a polynomial: `f32::sin` may differ between machines.
pub(super) fn wave(turns: f32) -> f32 {
    let t = turns - turns.floor() - 0.5;
    // −sin(2πt) for t in −½ … ½, from Bhaskara's parabola, refined once.
    let parabola = 8.0 * t - 16.0 * t * t.abs();
    -(0.225 * (parabola * parabola.abs() - parabola) + parabola)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wave_is_a_sine() {
        for i in 0..100 {
            let turns = i as f32 / 37.0;
            assert!((wave(turns) - (turns * std::f32::consts::TAU).sin()).abs() < 0.002, "{turns}");
        }
    }

    #[test]
    fn an_ellipse_is_0_on_its_border_and_negative_inside() {
        assert!(ellipse(3.0, 0.0, (0.0, 0.0), (3.0, 5.0)).abs() < 1e-5);
        assert!(ellipse(0.0, 7.0, (0.0, 0.0), (3.0, 5.0)) > 1.9);
        assert!(ellipse(0.0, 0.0, (0.0, 0.0), (3.0, 5.0)) < 0.0);
    }

    #[test]
    fn noise_stays_in_range_and_is_not_flat() {
        let values: Vec<f32> =
            (0..2000).map(|i| noise(i as f32 * 0.37, i as f32 * 0.11, 0.5)).collect();
        assert!(values.iter().all(|v| (-1.0..=1.0).contains(v)));
        assert!(values.iter().any(|v| *v > 0.4) && values.iter().any(|v| *v < -0.4));
    }
}
