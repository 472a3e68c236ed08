//! The formulas of the standard, in f64, one value at a time: slow and obvious, so that reading them
//! beside PS3.3 is enough to believe them. Display values run from 0.0 to 255.0 and are not rounded.

/// Where the stored value sits in its cell (PS3.5 §8.1.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    pub allocated: u32,
    pub stored: u32,
    pub high_bit: u32,
    pub signed: bool,
}

impl Layout {
    /// R4.1: shift, mask, sign.
    pub fn stored_value(self, cell: u64) -> i64 {
        let raw = (cell >> (self.high_bit + 1 - self.stored)) as i64;
        self.wrap(raw)
    }

    /// The lowest Bits Stored bits of a number, with their sign.
    pub fn wrap(self, value: i64) -> i64 {
        let bits = value.rem_euclid(1 << self.stored);
        let negative = self.signed && bits >= 1 << (self.stored - 1);
        if negative { bits - (1 << self.stored) } else { bits }
    }

    pub fn least(self) -> i64 {
        if self.signed { -(1 << (self.stored - 1)) } else { 0 }
    }
}

/// LUT Descriptor and LUT Data (C.11.1.1.1, C.11.2.1.1).
#[derive(Clone, Debug)]
pub struct Lut {
    pub first: i32,
    pub bits: u32,
    pub values: Vec<u16>,
}

impl Lut {
    /// R4.7: below the first → first entry, beyond the last → last entry.
    pub fn lookup(&self, input: f64) -> f64 {
        let index = (input.round() - f64::from(self.first)).clamp(0.0, self.last());
        f64::from(self.values[index as usize])
    }

    fn last(&self) -> f64 {
        (self.values.len() - 1) as f64
    }
}

#[derive(Clone, Debug)]
pub enum Modality {
    Identity,
    Rescale { slope: f64, intercept: f64 },
    Lut(Lut),
}

impl Modality {
    /// R4.6; a slope of 0 is no slope, the intercept stands.
    pub fn apply(&self, stored: i64) -> f64 {
        match self {
            Self::Identity => stored as f64,
            Self::Rescale { slope: 0.0, intercept } => stored as f64 + intercept,
            Self::Rescale { slope, intercept } => slope * stored as f64 + intercept,
            Self::Lut(lut) => lut.lookup(stored as f64),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    Linear,
    LinearExact,
    Sigmoid,
}

#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub centre: f64,
    pub width: f64,
    pub function: Function,
}

impl Window {
    /// R4.8 to R4.10 and R4.13; `None` where the width is illegal.
    pub fn legal(centre: f64, width: f64, function: Function) -> Option<Self> {
        let function = match function {
            Function::Linear if width < 1.0 => Function::LinearExact,
            as_said => as_said,
        };
        (width > 0.0).then_some(Self { centre, width, function })
    }

    pub fn apply(self, x: f64) -> f64 {
        let (c, w) = (self.centre, self.width);
        let unit = match self.function {
            Function::Linear if x <= c - 0.5 - (w - 1.0) / 2.0 => 0.0,
            Function::Linear if x > c - 0.5 + (w - 1.0) / 2.0 => 1.0,
            Function::Linear => (x - (c - 0.5)) / (w - 1.0) + 0.5,
            Function::LinearExact if x <= c - w / 2.0 => 0.0,
            Function::LinearExact if x > c + w / 2.0 => 1.0,
            Function::LinearExact => (x - c) / w + 0.5,
            Function::Sigmoid => 1.0 / (1.0 + (-4.0 * (x - c) / w).exp()),
        };
        255.0 * unit
    }
}

#[derive(Clone, Debug)]
pub enum Voi {
    /// Lowest to highest value of the frame (design §3).
    None,
    Window(Window),
    Lut(Lut),
}

/// The grey pipeline of one frame.
#[derive(Clone, Debug)]
pub struct Grey {
    pub modality: Modality,
    pub voi: Voi,
    pub inverse: bool,
    /// Lowest and highest padding value, as stored values.
    pub padding: Option<(i64, i64)>,
}

/// What a pixel's level may be before it is rounded: more than a point where its value lies on a
/// step of the VOI, closer than floating point numbers can tell.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    low: f64,
    high: f64,
}

impl Level {
    /// Whether an 8-bit level is the nearest one.
    pub fn is_rounded_to(self, level: u8) -> bool {
        const HALF: f64 = 0.5 + 1e-6;
        (self.low - HALF..=self.high + HALF).contains(&f64::from(level))
    }
}

impl Grey {
    pub fn levels(&self, stored: &[i64]) -> Vec<Level> {
        let shown = stored.iter().copied().filter(|&value| !self.is_padding(value));
        let values: Vec<f64> = shown.map(|value| self.modality.apply(value)).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        stored.iter().map(|&value| self.level(value, least, most)).collect()
    }

    fn is_padding(&self, stored: i64) -> bool {
        self.padding.is_some_and(|(low, high)| (low..=high).contains(&stored))
    }

    fn level(&self, stored: i64, least: f64, most: f64) -> Level {
        // R4.17: black in both polarities.
        if self.is_padding(stored) {
            return Level { low: 0.0, high: 0.0 };
        }
        let value = self.modality.apply(stored);
        let nearby = value.abs() * 1e-12 + self.rounding_of_the_modality();
        let [a, b, c] = [value - nearby, value, value + nearby].map(|x| {
            let level = self.voi(x, least, most);
            if self.inverse { 255.0 - level } else { level }
        });
        Level { low: a.min(b).min(c), high: a.max(b).max(c) }
    }

    fn rounding_of_the_modality(&self) -> f64 {
        match self.modality {
            Modality::Rescale { intercept, .. } => intercept.abs() * 1e-12,
            _ => 0.0,
        }
    }

    fn voi(&self, value: f64, least: f64, most: f64) -> f64 {
        match &self.voi {
            // C.11.2.1.2.1 note 4; a constant frame is black.
            Voi::None if least == most => 0.0,
            Voi::None => (255.0 * (value - least) / (most - least)).clamp(0.0, 255.0),
            Voi::Window(window) => window.apply(value),
            Voi::Lut(lut) => 255.0 * lut.lookup(value) / f64::from((1_u32 << lut.bits) - 1),
        }
    }
}

/// R4.18: YBR_FULL samples of `bits` bits to red, green and blue, 0.0 to 255.0.
pub fn ybr_full([y, cb, cr]: [i64; 3], bits: u32) -> [f64; 3] {
    let half = f64::from(1_u32 << (bits - 1));
    let (y, cb, cr) = (y as f64, cb as f64 - half, cr as f64 - half);
    // C.7.6.3.1.2 gives the way there; this is its inverse.
    let rgb = [y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb];
    rgb.map(|v| full_scale(v, bits).clamp(0.0, 255.0))
}

/// R4.23: a sample of `bits` bits on the scale of 0 to 255.
pub fn full_scale(sample: f64, bits: u32) -> f64 {
    255.0 * sample / ((1_u64 << bits) - 1) as f64
}

/// The inverse of R4.18 for 8 bits, rounded: what a colour is coded as.
pub fn to_ybr_full([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (r, g, b) = (f64::from(r), f64::from(g), f64::from(b));
    let y = 0.2990 * r + 0.5870 * g + 0.1140 * b;
    let cb = -0.1687 * r - 0.3313 * g + 0.5000 * b + 128.0;
    let cr = 0.5000 * r - 0.4187 * g - 0.0813 * b + 128.0;
    [y, cb, cr].map(|v| v.round().clamp(0.0, 255.0) as u8)
}

/// Red, green and blue tables of a palette (C.7.6.3.1.5).
#[derive(Clone, Debug)]
pub struct Palette {
    pub first: i32,
    pub bits: u32,
    pub tables: [Vec<u16>; 3],
}

impl Palette {
    /// R4.19.
    pub fn colour(&self, stored: i64) -> [u8; 3] {
        // 8-bit values in 16-bit entries are not shifted.
        let eight_bits = self.bits == 8 || self.tables.iter().flatten().all(|&v| v <= 255);
        let last = self.tables[0].len() as i64 - 1;
        let index = (stored - i64::from(self.first)).clamp(0, last) as usize;
        [0, 1, 2].map(|channel: usize| {
            let value = self.tables[channel][index];
            if eight_bits { value as u8 } else { (value >> 8) as u8 }
        })
    }
}
