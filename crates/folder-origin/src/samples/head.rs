//! A head in three dimensions, one model for CT and MR: x to the left, y to the back, z up, in
//! millimetres; z = 0 lies at the foramina of Monro.

use super::canvas::{bell, cover, ellipse, fractal, mix, noise, smoothstep, turned_ellipse};

/// What a place in the head consists of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tissue {
    Air,
    Fat,
    Muscle,
    Bone,
    Marrow,
    Csf,
    Grey,
    White,
    Blood,
    Edema,
    Calcification,
}

/// The signal at a place, mixed from that of its tissues as a pixel of `pixel` mm would.
pub(super) fn signal(at: [f32; 3], pixel: f32, of: impl Fn(Tissue) -> f32) -> f32 {
    let [x, y, z] = at;
    let shape = Shape::at(z);
    let mut outside = ellipse(x, y, shape.centre, shape.radii);
    if z < -30.0 {
        outside = outside.min(face(x, y, z));
    }
    if outside > pixel {
        return of(Tissue::Air);
    }
    let mut paint = Paint { value: of(Tissue::Air), pixel, of };
    paint.over(Tissue::Fat, outside);
    paint.over(Tissue::Muscle, outside + 2.5 + 1.2 * noise(x / 9.0, y / 9.0, z / 9.0));
    if z < -62.0 {
        neck(&mut paint, x, y, z);
        return paint.value;
    }
    let skull = outside + 6.5;
    let thickness = 6.5 + 1.5 * noise(x / 25.0, y / 25.0, z / 25.0);
    let inner = skull + thickness;
    paint.over(Tissue::Bone, skull);
    paint.over(Tissue::Marrow, (skull + 2.2).max(-(inner - 2.2)));
    paint.over(Tissue::Csf, inner);
    if inner < pixel {
        brain(&mut paint, at, inner + 1.6);
    }
    if z < -14.0 {
        skull_base(&mut paint, x, y, z);
    }
    paint.value
}

struct Shape {
    centre: (f32, f32),
    radii: (f32, f32),
}

impl Shape {
    /// The outline of the head at this height: a dome above, a neck below.
    fn at(z: f32) -> Self {
        let dome = (1.0 - (z.max(0.0) / 98.0).powi(2)).max(0.0004).sqrt();
        let neck = smoothstep(-45.0, -95.0, z);
        Self {
            centre: (0.0, mix(0.0, 22.0, neck)),
            radii: (mix(75.0, 54.0, neck) * dome, mix(95.0, 58.0, neck) * dome),
        }
    }
}

struct Paint<F> {
    value: f32,
    pixel: f32,
    of: F,
}

impl<F: Fn(Tissue) -> f32> Paint<F> {
    /// Lays a tissue over what is there, where `distance` is negative.
    fn over(&mut self, tissue: Tissue, distance: f32) {
        self.part(tissue, cover(distance, self.pixel));
    }

    fn part(&mut self, tissue: Tissue, part: f32) {
        if part > 0.0 {
            self.value = mix(self.value, (self.of)(tissue), part.min(1.0));
        }
    }
}

fn brain(paint: &mut Paint<impl Fn(Tissue) -> f32>, [x, y, z]: [f32; 3], surface: f32) {
    paint.over(Tissue::White, surface);
    let depth = -surface;
    if depth < -paint.pixel {
        return;
    }
    cortex(paint, [x, y, z], depth);
    let side = x.abs();
    if (-14.0..26.0).contains(&z) {
        deep_nuclei(paint, side, y, z);
    }
    fissures(paint, [x, y, z], depth);
    ventricles(paint, [x, y, z]);
    bleeding(paint, [x, y, z]);
}

/// Sulci are where smooth noise crosses zero; grey matter lines them and the surface.
fn cortex(paint: &mut Paint<impl Fn(Tissue) -> f32>, [x, y, z]: [f32; 3], depth: f32) {
    let reach = 1.0 - smoothstep(15.0, 29.0, depth + 5.0 * noise(x / 18.0, y / 18.0, z / 18.0));
    if reach <= 0.0 {
        return;
    }
    // The surface bends the lattice, so that sulci mostly run inwards.
    let warp = 4.0 * noise(x / 21.0 + 7.0, y / 21.0, z / 21.0);
    let fold = fractal((x + warp) / 15.0, (y - warp) / 15.0, z / 17.0, 2).abs() * 15.0;
    let lining = smoothstep(3.6, 2.4, fold) * reach;
    let rim = smoothstep(4.2, 2.8, depth);
    paint.part(Tissue::Grey, lining.max(rim));
    let width = 0.62 * reach * smoothstep(27.0, 6.0, depth);
    paint.part(Tissue::Csf, smoothstep(width + 0.35, width - 0.25, fold) * reach);
}

fn deep_nuclei(paint: &mut Paint<impl Fn(Tissue) -> f32>, side: f32, y: f32, z: f32) {
    let swell = 1.0 - ((z - 5.0) / 22.0).powi(2).min(0.9);
    let grow = swell.max(0.05).sqrt();
    let sizes = |a: f32, b: f32| (a * grow, b * grow);
    paint.over(Tissue::Grey, turned_ellipse(side, y, (17.5, -19.0), sizes(4.6, 10.0), -0.35));
    paint.over(Tissue::Grey, turned_ellipse(side, y, (27.0, -3.0), sizes(6.0, 15.0), -0.25));
    paint.over(Tissue::Grey, turned_ellipse(side, y, (11.5, 16.0), sizes(7.5, 12.5), -0.35));
    paint.over(Tissue::Grey, turned_ellipse(side, y, (38.0, -3.0), sizes(1.2, 16.0), -0.12));
}

fn fissures(paint: &mut Paint<impl Fn(Tissue) -> f32>, [x, y, z]: [f32; 3], depth: f32) {
    let side = x.abs();
    if (-18.0..16.0).contains(&z) {
        // Sylvian fissure
        let bend = 3.0 * noise(y / 11.0, z / 11.0, 3.0);
        paint.over(Tissue::Csf, turned_ellipse(side, y + bend, (49.0, -12.0), (13.0, 1.7), -0.45));
    }
    if z > -12.0 {
        let between = z > 34.0 || !(-34.0..=44.0).contains(&y);
        let wander = side + 0.8 * noise(y / 12.0, z / 12.0, 9.0);
        if between {
            paint.part(Tissue::Grey, smoothstep(4.6, 3.2, wander));
            paint.part(Tissue::Csf, smoothstep(1.9, 1.1, wander));
            // The falx, a little denser than brain.
            paint.part(Tissue::Muscle, smoothstep(0.9, 0.3, side) * smoothstep(-1.0, 2.0, depth));
        }
    }
}

fn ventricles(paint: &mut Paint<impl Fn(Tissue) -> f32>, [x, y, z]: [f32; 3]) {
    let side = x.abs();
    let swell = |from: f32, to: f32| {
        let middle = (from + to) / 2.0;
        let half = (to - from) / 2.0;
        (1.0 - ((z - middle) / half).powi(2)).max(0.0).sqrt()
    };
    let horns = swell(-10.0, 26.0);
    if horns > 0.1 {
        let radii = (4.8 * horns, 15.0 * horns);
        paint.over(Tissue::Csf, turned_ellipse(side, y, (9.5, -22.0), radii, -0.28));
    }
    let bodies = swell(12.0, 38.0);
    if bodies > 0.1 {
        let radii = (6.0 * bodies, 31.0 * bodies);
        paint.over(Tissue::Csf, turned_ellipse(side, y, (12.5, 4.0), radii, 0.2));
    }
    let trigones = swell(-8.0, 24.0);
    if trigones > 0.1 {
        let radii = (5.0 * trigones, 15.0 * trigones);
        paint.over(Tissue::Csf, turned_ellipse(side, y, (24.0, 35.0), radii, 0.25));
        let choroid = ellipse(side, y, (23.5, 30.0), (2.6, 3.8)) + 6.0 * (1.0 - swell(0.0, 14.0));
        paint.over(Tissue::Calcification, choroid);
    }
    let third = swell(-20.0, 9.0);
    if third > 0.1 {
        paint.over(Tissue::Csf, ellipse(x, y, (0.0, 6.0), (2.4 * third, 14.0 * third)));
    }
    let pineal = ellipse(x, y, (0.0, 25.0), (2.6, 2.2)) + 4.0 * (1.0 - swell(-6.0, 6.0));
    paint.over(Tissue::Calcification, pineal);
    let fourth = swell(-48.0, -20.0);
    if fourth > 0.1 {
        let radii = (8.0 * fourth, 4.5 * fourth);
        paint.over(Tissue::Csf, ellipse(x, y, (0.0, 41.0), radii));
    }
}

/// A bleeding in the left basal ganglia with a border of edema: something to find.
fn bleeding(paint: &mut Paint<impl Fn(Tissue) -> f32>, [x, y, z]: [f32; 3]) {
    let height = ((z - 12.0) / 17.0).powi(2);
    if height >= 1.0 {
        return;
    }
    let size = (1.0 - height).sqrt();
    let ragged = 3.2 * fractal(x / 9.0, y / 9.0, z / 9.0, 2);
    let distance = turned_ellipse(x, y, (33.0, 2.0), (11.0 * size, 18.0 * size), -0.2) + ragged;
    paint.part(Tissue::Edema, 0.85 * smoothstep(6.5, 3.0, distance));
    paint.over(Tissue::Blood, distance);
}

/// Petrous bones, mastoid cells, orbits and sinuses; cerebellum and brain stem show between them.
fn skull_base(paint: &mut Paint<impl Fn(Tissue) -> f32>, x: f32, y: f32, z: f32) {
    let side = x.abs();
    let low = smoothstep(-14.0, -34.0, z);
    // Cisterns around the brain stem.
    let stem = ellipse(x, y, (0.0, 22.0), (15.0, 13.0));
    paint.part(Tissue::Csf, 0.8 * low * smoothstep(4.5, 2.5, stem.abs()));
    let ragged = 2.0 * noise(x / 6.0, y / 6.0, z / 6.0);
    let petrous = turned_ellipse(side, y, (44.0, 17.0), (27.0 * low, 6.5 * low + 0.01), 0.45);
    paint.over(Tissue::Bone, petrous + ragged);
    let mastoid = ellipse(side, y, (57.0, 30.0), (11.0 * low + 0.01, 13.0 * low + 0.01));
    paint.over(Tissue::Bone, mastoid + ragged);
    let cells = noise(x / 2.6, y / 2.6, z / 4.0);
    paint.part(Tissue::Air, cover(mastoid + 2.5, 1.5) * smoothstep(-0.1, 0.15, cells));
    if z < -22.0 {
        orbits(paint, side, y, z);
    }
}

fn orbits(paint: &mut Paint<impl Fn(Tissue) -> f32>, side: f32, y: f32, z: f32) {
    let open = (1.0 - ((z + 40.0) / 18.0).powi(2)).max(0.0).sqrt();
    if open < 0.15 {
        return;
    }
    let cone = turned_ellipse(side, y, (29.0, -66.0), (17.0 * open, 25.0 * open), -0.3);
    paint.over(Tissue::Bone, cone - 2.0);
    paint.over(Tissue::Fat, cone);
    let nerve = turned_ellipse(side, y, (26.0, -58.0), (1.8, 17.0), -0.32);
    paint.over(Tissue::Muscle, nerve.max(cone));
    let globe = ellipse(side, y, (31.0, -76.0), (12.0 * open, 12.0 * open));
    paint.over(Tissue::Muscle, globe);
    paint.over(Tissue::Csf, globe + 1.5);
    paint.over(Tissue::Muscle, ellipse(side, y, (31.5, -84.5), (4.5 * open, 2.2 * open)));
    let sinus = ellipse(side, y, (0.0, -66.0), (11.5, 22.0));
    paint.over(Tissue::Bone, sinus - 1.5);
    let septa = noise(side / 5.0, y / 6.0, z / 6.0).abs();
    paint.part(
        Tissue::Air,
        cover(sinus, 1.0) * smoothstep(0.08, 0.16, septa) * smoothstep(0.5, 1.2, side),
    );
}

/// Outline of the face below the orbits, down to the chin.
fn face(x: f32, y: f32, z: f32) -> f32 {
    let taper =
        smoothstep(-112.0, -92.0, z).max(0.02).sqrt() * smoothstep(-28.0, -44.0, z).max(0.02);
    let nose = 9.0 * bell(z + 58.0, 6.0) * bell(x, 6.0);
    ellipse(x, y, (0.0, -42.0), (52.0 * taper, 53.0 * taper)) - nose
}

/// Jaws, vertebra, cord and airway, for the localizer.
fn neck(paint: &mut Paint<impl Fn(Tissue) -> f32>, x: f32, y: f32, z: f32) {
    let bend = 20.0;
    let disc = (z / 19.0 - (z / 19.0).floor() - 0.5).abs();
    if disc < 0.4 {
        paint.over(Tissue::Bone, ellipse(x, y, (0.0, bend + 8.0), (13.0, 10.0)));
        paint.over(Tissue::Bone, ellipse(x, y, (0.0, bend + 36.0), (6.0, 12.0)));
    }
    let face = face(x, y, z);
    let jaw = if z > -84.0 { 3.5 } else { 2.2 };
    if y < -18.0 && z < -66.0 {
        paint.over(Tissue::Bone, (face + 9.0).abs() - jaw);
    }
    let teeth = (x / 7.0 - (x / 7.0).floor() - 0.5).abs();
    if y < -52.0 && (-88.0..-70.0).contains(&z) && teeth < 0.42 && (z + 79.0).abs() > 1.0 {
        paint.over(Tissue::Bone, (face + 9.0).abs() - 5.0);
    }
    paint.over(Tissue::Csf, ellipse(x, y, (0.0, bend + 24.0), (9.0, 5.0)));
    paint.over(Tissue::Air, ellipse(x, y, (0.0, bend - 16.0), (9.0, 6.0)));
}
