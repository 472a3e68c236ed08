//! Random headers and pixels, and the grey files of the shared corpus, against the formulas of the
//! standard written a second time (`support/formulas.rs`).
//!
//! A level must be the *nearest* to the formula's value, not merely within one of it.

#[path = "support/grey_file.rs"]
mod corpus;
mod support;

use dicom_dictionary_std::tags;
use proptest::collection::vec;
use proptest::prelude::*;
use support::dicom::{self, DataSet, EXPLICIT_LE, IMPLICIT_LE, even, file, image};
use support::draw::{draw, draw_source};
use support::formulas::{
    Function, Grey, Layout, Lut, Modality, Palette, Voi, Window, full_scale, ybr_full,
};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

// ---- what may be in a header ----

/// Any cell: allocated, stored, high bit, sign.
fn layout(allocated: impl Strategy<Value = u32>) -> impl Strategy<Value = Layout> {
    allocated
        .prop_flat_map(|allocated| (Just(allocated), 1..=allocated, any::<bool>()))
        .prop_flat_map(|(allocated, stored, signed)| {
            let signed = signed && stored > 1;
            (stored - 1..allocated).prop_map(move |high_bit| Layout {
                allocated,
                stored,
                high_bit,
                signed,
            })
        })
}

/// Rows, columns, frames, and which frame is drawn.
#[derive(Clone, Copy, Debug)]
struct Matrix {
    rows: u32,
    columns: u32,
    frames: u32,
    frame: u32,
}

impl Matrix {
    fn pixels(self) -> usize {
        (self.rows * self.columns) as usize
    }

    fn shown<T>(self, cells: &[T]) -> &[T] {
        let from = (self.frame - 1) as usize * self.pixels();
        &cells[from..from + self.pixels()]
    }
}

fn matrix() -> impl Strategy<Value = Matrix> {
    (1..6_u32, 1..9_u32, 1..4_u32).prop_flat_map(|(rows, columns, frames)| {
        (1..=frames).prop_map(move |frame| Matrix { rows, columns, frames, frame })
    })
}

/// Cells of all frames with whatever bits: half of them few values again and again, so that
/// padding and the edges of windows are hit.
fn cells(count: usize) -> impl Strategy<Value = Vec<u64>> {
    let few = vec(any::<u64>(), 1..4);
    (few, vec((any::<bool>(), any::<u64>()), count)).prop_map(|(few, cells)| {
        let cell = |(again, any): (bool, u64)| {
            if again { few[(any % few.len() as u64) as usize] } else { any }
        };
        cells.into_iter().map(cell).collect()
    })
}

/// A table as a file may hold it.
fn lut(first: impl Strategy<Value = i32>) -> impl Strategy<Value = Lut> {
    let bits = prop_oneof![Just(8_u32), Just(10), Just(12), Just(15), Just(16), Just(16)];
    let entries = prop_oneof![10 => 1..40_usize, 2 => Just(256_usize), 1 => Just(65536_usize)];
    (first, bits, entries, any::<u64>()).prop_map(|(first, bits, entries, seed)| {
        let mask = (1_u64 << bits) - 1;
        // A long table from a short seed, for the sake of a readable failure.
        let value = |index: u64| {
            (seed.wrapping_mul(index * 2 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) & mask
        };
        let mut values: Vec<u16> = (0..entries as u64).map(|i| value(i) as u16).collect();
        // A table that uses far less than it claims is corrected, with a warning.
        values[entries / 2] |= 1 << (bits - 1);
        Lut { first, bits, values }
    })
}

/// Slopes of every kind, from PET's tiny ones to none at all.
fn rescale() -> impl Strategy<Value = Modality> {
    let slope = prop_oneof![
        Just(1.0),
        Just(0.0),
        Just(-1.0),
        Just(0.5),
        Just(2.0),
        Just(0.000012),
        Just(-0.00037),
        Just(12.345),
        -5.0..5.0_f64,
    ];
    let intercept = prop_oneof![Just(0.0), Just(-1024.0), Just(0.5), -3000.0..3000.0_f64];
    (slope, intercept).prop_map(|(slope, intercept)| Modality::Rescale {
        slope: as_ds(slope).parse().expect("a number"),
        intercept: as_ds(intercept).parse().expect("a number"),
    })
}

/// A number as DS writes it: 16 characters at the most.
fn as_ds(value: f64) -> String {
    let plain = format!("{value}");
    if plain.len() <= 16 { plain } else { format!("{value:.8e}") }
}

/// A window by where it lies in the values of the frame: 0 is the least value, 1 the highest.
#[derive(Clone, Debug)]
enum WindowAt {
    Part { centre: f64, width: f64 },
    Text(&'static str, &'static str),
}

fn window_at() -> impl Strategy<Value = WindowAt> {
    prop_oneof![
        4 => (-0.3..1.3_f64, 0.001..2.0_f64)
            .prop_map(|(centre, width)| WindowAt::Part { centre, width }),
        1 => Just(WindowAt::Text("40", "400")),
        1 => Just(WindowAt::Text("127.5", "1")),
        1 => Just(WindowAt::Text("10.25", "0.5")),
        1 => Just(WindowAt::Text("100", "0")),
        1 => Just(WindowAt::Text("100", "-5")),
        1 => Just(WindowAt::Text("", "")),
    ]
}

// ---- grey ----

#[derive(Clone, Debug)]
struct GreyImage {
    implicit: bool,
    layout: Layout,
    matrix: Matrix,
    cells: Vec<u64>,
    modality: Modality,
    windows: Vec<WindowAt>,
    function: Option<&'static str>,
    voi_lut: Option<Lut>,
    /// Which of the frame's pixels give Pixel Padding Value and Range Limit.
    padding: Option<(prop::sample::Index, Option<prop::sample::Index>)>,
    /// Padding written as if it were unsigned, as many files do (R4.17).
    padding_mis_signed: bool,
    luts_packed: bool,
    photometric: &'static str,
    shape: Option<&'static str>,
}

fn grey_image() -> impl Strategy<Value = GreyImage> {
    let allocated = prop_oneof![
        1 => Just(1_u32),
        3 => Just(8_u32),
        5 => Just(16_u32),
        2 => Just(32_u32),
    ];
    let pixels = (layout(allocated), matrix()).prop_flat_map(|(layout, matrix)| {
        let first = if layout.signed { -300..300 } else { 0..600 };
        let modality = prop_oneof![
            2 => Just(Modality::Identity),
            3 => rescale(),
            1 => lut(first).prop_map(Modality::Lut),
        ];
        let cells = cells(matrix.pixels() * matrix.frames as usize);
        (Just(layout), Just(matrix), cells, modality)
    });
    let voi = (
        vec(window_at(), 0..3),
        prop::option::of(prop::sample::select(vec!["LINEAR", "LINEAR_EXACT", "SIGMOID"])),
        prop::option::weighted(0.3, lut(0..600)),
    );
    let padding = (
        prop::option::weighted(
            0.4,
            (any::<prop::sample::Index>(), prop::option::of(any::<prop::sample::Index>())),
        ),
        any::<bool>(),
    );
    let polarity = (
        prop::sample::select(vec!["MONOCHROME1", "MONOCHROME2"]),
        prop::option::of(prop::sample::select(vec!["IDENTITY", "INVERSE"])),
    );
    (any::<(bool, bool)>(), pixels, voi, padding, polarity).prop_map(
        |(
            (implicit, luts_packed),
            (layout, matrix, cells, modality),
            (windows, function, voi_lut),
            (padding, padding_mis_signed),
            (photometric, shape),
        )| GreyImage {
            implicit,
            layout,
            matrix,
            cells,
            modality,
            windows,
            function,
            voi_lut,
            padding,
            padding_mis_signed,
            luts_packed,
            photometric,
            shape,
        },
    )
}

impl GreyImage {
    /// The stored values of the frame that is drawn.
    fn stored(&self) -> Vec<i64> {
        let shown = self.matrix.shown(&self.cells);
        shown.iter().map(|&cell| self.layout.stored_value(cell)).collect()
    }

    /// Centre and width of each window, as written.
    fn windows_as_written(&self) -> Vec<(String, String)> {
        let values: Vec<f64> = self.stored().iter().map(|&v| self.modality.apply(v)).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let written = |window: &WindowAt| match window {
            WindowAt::Part { centre, width } => {
                (as_ds(least + centre * (most - least)), as_ds(width * (most - least)))
            }
            WindowAt::Text(centre, width) => ((*centre).to_owned(), (*width).to_owned()),
        };
        self.windows.iter().map(written).collect()
    }

    fn function(&self) -> Function {
        match self.function {
            Some("LINEAR_EXACT") => Function::LinearExact,
            Some("SIGMOID") => Function::Sigmoid,
            _ => Function::Linear,
        }
    }

    /// Design §3: the first usable window, else the VOI LUT, else none.
    fn voi(&self) -> Voi {
        let parsed = |(centre, width): (String, String)| {
            Window::legal(centre.parse().ok()?, width.parse().ok()?, self.function())
        };
        match (self.windows_as_written().into_iter().find_map(parsed), self.voi_lut()) {
            (Some(window), _) => Voi::Window(window),
            (None, Some(lut)) => Voi::Lut(lut),
            (None, None) => Voi::None,
        }
    }

    /// R4.11: negative first values exist only where the input may be negative.
    fn voi_lut(&self) -> Option<Lut> {
        let mut lut = self.voi_lut.clone()?;
        if self.voi_input_may_be_negative() {
            lut.first -= 300;
        }
        Some(lut)
    }

    fn voi_input_may_be_negative(&self) -> bool {
        match &self.modality {
            Modality::Lut(_) => false,
            modality => modality.apply(self.layout.least()) < 0.0,
        }
    }

    fn padding(&self) -> Option<(i64, i64)> {
        let (value, limit) = self.padding_as_written()?;
        Some((value.min(limit), value.max(limit)))
    }

    /// Padding is a 16-bit attribute: of wider values only those that fit.
    fn padding_as_written(&self) -> Option<(i64, i64)> {
        let (value, limit) = self.padding?;
        let stored = self.stored();
        let value = *value.get(&stored);
        let limit = limit.map_or(value, |index| *index.get(&stored));
        let fits = |v: i64| {
            let range = if self.layout.signed { -32768..32768 } else { 0..65536 };
            range.contains(&v)
        };
        (fits(value) && fits(limit)).then_some((value, limit))
    }

    fn formulas(&self) -> Grey {
        Grey {
            modality: self.modality.clone(),
            voi: self.voi(),
            // R4.16: INVERSE goes with MONOCHROME1, they are one inversion.
            inverse: self.photometric == "MONOCHROME1" || self.shape == Some("INVERSE"),
            padding: self.padding(),
        }
    }

    fn file(&self) -> Vec<u8> {
        let Layout { allocated, stored, high_bit, signed } = self.layout;
        let mut data = image(
            self.photometric,
            self.matrix.rows as u16,
            self.matrix.columns as u16,
            1,
            allocated as u16,
        )
        .us(tags::BITS_STORED, [stored as u16])
        .us(tags::HIGH_BIT, [high_bit as u16])
        .us(tags::PIXEL_REPRESENTATION, [u16::from(signed)])
        .is(tags::NUMBER_OF_FRAMES, &self.matrix.frames.to_string())
        .bytes(tags::PIXEL_DATA, "OW", native(&self.cells, allocated));
        match &self.modality {
            Modality::Identity => {}
            Modality::Rescale { slope, intercept } => {
                data = data
                    .ds(tags::RESCALE_SLOPE, &as_ds(*slope))
                    .ds(tags::RESCALE_INTERCEPT, &as_ds(*intercept));
            }
            Modality::Lut(lut) => {
                data = data.sequence(tags::MODALITY_LUT_SEQUENCE, [self.lut_item(lut, signed)]);
            }
        }
        if !self.windows.is_empty() {
            let (centres, widths): (Vec<_>, Vec<_>) = self.windows_as_written().into_iter().unzip();
            data = data
                .ds(tags::WINDOW_CENTER, &centres.join("\\"))
                .ds(tags::WINDOW_WIDTH, &widths.join("\\"));
        }
        if let Some(function) = self.function {
            data = data.cs(tags::VOILUT_FUNCTION, function);
        }
        if let Some(lut) = &self.voi_lut() {
            let item = self.lut_item(lut, self.voi_input_may_be_negative());
            data = data.sequence(tags::VOILUT_SEQUENCE, [item]);
        }
        if let Some((value, limit)) = self.padding_as_written() {
            let ranged = self.padding.is_some_and(|(_, limit)| limit.is_some());
            data = self.with_padding(data, tags::PIXEL_PADDING_VALUE, value);
            if ranged {
                data = self.with_padding(data, tags::PIXEL_PADDING_RANGE_LIMIT, limit);
            }
        }
        if let Some(shape) = self.shape {
            data = data.cs(tags::PRESENTATION_LUT_SHAPE, shape);
        }
        file(if self.implicit { IMPLICIT_LE } else { EXPLICIT_LE }, &data)
    }

    fn with_padding(&self, data: DataSet, tag: dicom_core::Tag, value: i64) -> DataSet {
        // Beyond 16 stored bits nothing tells 65535 from −1.
        let mis_signed = self.padding_mis_signed && self.layout.stored <= 16;
        if self.layout.signed && !mis_signed {
            data.ss(tag, [value as i16])
        } else {
            data.us(tag, [value as u16])
        }
    }

    fn lut_item(&self, lut: &Lut, signed: bool) -> DataSet {
        if lut.bits == 8 && self.luts_packed {
            let bytes: Vec<u8> = lut.values.iter().map(|&v| v as u8).collect();
            let item = DataSet::new().bytes(tags::LUT_DATA, "OW", even(&bytes));
            with_descriptor(item, lut, signed)
        } else {
            with_descriptor(DataSet::new().ow(tags::LUT_DATA, &lut.values), lut, signed)
        }
    }
}

fn with_descriptor(item: DataSet, lut: &Lut, signed: bool) -> DataSet {
    let [entries, first, bits] = [lut.values.len() as u16, lut.first as u16, lut.bits as u16];
    if signed {
        item.ss(tags::LUT_DESCRIPTOR, [entries, first, bits].map(|v| v as i16))
    } else {
        item.us(tags::LUT_DESCRIPTOR, [entries, first, bits])
    }
}

/// Native pixel data of these cells, padded to even length; single bits from the lowest one on.
fn native(cells: &[u64], allocated: u32) -> Vec<u8> {
    if allocated == 1 {
        let byte = |bits: &[u64]| {
            bits.iter().enumerate().fold(0, |byte, (n, bit)| byte | ((bit & 1) as u8) << n)
        };
        return even(&cells.chunks(8).map(byte).collect::<Vec<u8>>());
    }
    let bytes = (allocated / 8) as usize;
    let all: Vec<u8> =
        cells.iter().flat_map(|cell| cell.to_le_bytes().into_iter().take(bytes)).collect();
    even(&all)
}

proptest! {
    #![proptest_config(config(4000))]

    #[test]
    fn any_grey_header_follows_the_formulas(image in grey_image()) {
        let stored = image.stored();
        let expected = image.formulas().levels(&stored);
        let got = draw(image.file()).frame(image.matrix.frame).grey();
        prop_assert_eq!(got.len(), expected.len());
        for ((got, expected), stored) in got.iter().zip(expected).zip(stored) {
            prop_assert!(
                expected.is_rounded_to(*got),
                "stored value {stored}: level {got}, {expected:?} is due; {:?}",
                image.voi()
            );
        }
    }

    #[test]
    fn any_window_asked_for_replaces_the_images_own(
        image in grey_image(),
        centre in -3000.0..3000.0_f64,
        width in prop_oneof![Just(1.0), 1.0..4000.0_f64],
        function in 0..3_usize,
    ) {
        let (name, function) = [
            ("linear", Function::Linear),
            ("linear-exact", Function::LinearExact),
            ("sigmoid", Function::Sigmoid),
        ][function];
        let (centre, width) = (as_ds(centre), as_ds(width));
        let window = Window {
            centre: centre.parse().expect("a number"),
            width: width.parse().expect("a number"),
            function,
        };
        let formulas = Grey { voi: Voi::Window(window), ..image.formulas() };
        let stored = image.stored();
        let got = draw(image.file())
            .frame(image.matrix.frame)
            .window(&format!("{centre},{width},{name}"))
            .grey();
        for ((got, expected), stored) in got.iter().zip(formulas.levels(&stored)).zip(stored) {
            prop_assert!(
                expected.is_rounded_to(*got),
                "stored value {stored}: level {got}, {expected:?} is due"
            );
        }
    }
}

// ---- colour ----

#[derive(Clone, Debug)]
struct ColourImage {
    photometric: &'static str,
    planes: bool,
    layout: Layout,
    matrix: Matrix,
    /// Three cells per pixel, all frames.
    cells: Vec<u64>,
}

fn colour_image() -> impl Strategy<Value = ColourImage> {
    let photometric = prop::sample::select(vec!["RGB", "YBR_FULL", "YBR_FULL_422"]);
    (photometric, any::<bool>(), matrix()).prop_flat_map(|(photometric, planes, matrix)| {
        // C.7.6.3.1.2: with 422 columns are even and planes are not allowed.
        let halved = photometric == "YBR_FULL_422";
        let matrix = Matrix { columns: matrix.columns << u32::from(halved), ..matrix };
        let allocated =
            if halved { Just(8).boxed() } else { prop_oneof![Just(8), Just(16)].boxed() };
        let layout = layout(allocated).prop_map(move |layout| match photometric {
            "RGB" => Layout { signed: false, ..layout },
            // Chroma of few bits means nothing.
            _ => Layout {
                stored: layout.allocated,
                high_bit: layout.allocated - 1,
                allocated: layout.allocated,
                signed: false,
            },
        });
        let cells = vec(any::<u64>(), 3 * matrix.pixels() * matrix.frames as usize);
        (layout, cells).prop_map(move |(layout, cells)| ColourImage {
            photometric,
            planes: planes && !halved,
            layout,
            matrix,
            cells,
        })
    })
}

impl ColourImage {
    /// The samples of a pixel of the frame that is drawn.
    fn samples(&self, pixel: usize) -> [i64; 3] {
        let pixels = self.matrix.pixels();
        let size = if self.photometric == "YBR_FULL_422" { 2 * pixels } else { 3 * pixels };
        let frame = &self.cells[(self.matrix.frame - 1) as usize * size..][..size];
        let [first, second, third] = match (self.photometric, self.planes) {
            // R4.5: Y1 Y2 Cb Cr for each pair of pixels.
            ("YBR_FULL_422", _) => {
                let pair = pixel / 2 * 4;
                [pair + pixel % 2, pair + 2, pair + 3]
            }
            (_, false) => [3 * pixel, 3 * pixel + 1, 3 * pixel + 2],
            (_, true) => [pixel, pixels + pixel, 2 * pixels + pixel],
        };
        [first, second, third].map(|cell| self.layout.stored_value(frame[cell]))
    }

    fn colour(&self, pixel: usize) -> [f64; 3] {
        let samples = self.samples(pixel);
        match self.photometric {
            "RGB" => samples.map(|sample| full_scale(sample as f64, self.layout.stored)),
            _ => ybr_full(samples, self.layout.stored),
        }
    }

    fn tolerance(&self) -> f64 {
        // Fixed-point equations are as good as these.
        if self.photometric == "RGB" { 0.5 + 1e-6 } else { 0.6 }
    }

    fn file(&self) -> Vec<u8> {
        let Layout { allocated, stored, high_bit, .. } = self.layout;
        let per_pixel = if self.photometric == "YBR_FULL_422" { 2 } else { 3 };
        let count = per_pixel * self.matrix.pixels() * self.matrix.frames as usize;
        let data = image(
            self.photometric,
            self.matrix.rows as u16,
            self.matrix.columns as u16,
            3,
            allocated as u16,
        )
        .us(tags::BITS_STORED, [stored as u16])
        .us(tags::HIGH_BIT, [high_bit as u16])
        .us(tags::PLANAR_CONFIGURATION, [u16::from(self.planes)])
        .is(tags::NUMBER_OF_FRAMES, &self.matrix.frames.to_string())
        .bytes(tags::PIXEL_DATA, "OW", native(&self.cells[..count], allocated));
        file(EXPLICIT_LE, &data)
    }
}

#[derive(Clone, Debug)]
struct PaletteImage {
    implicit: bool,
    layout: Layout,
    matrix: Matrix,
    cells: Vec<u64>,
    palette: Palette,
    packed: bool,
    padding: bool,
}

fn palette_image() -> impl Strategy<Value = PaletteImage> {
    let allocated = prop_oneof![Just(8_u32), Just(16_u32)];
    (layout(allocated), matrix(), any::<[bool; 3]>()).prop_flat_map(
        |(layout, matrix, [implicit, packed, padding])| {
            let first = if layout.signed { -200..200 } else { 0..300 };
            let palette = (first, any::<bool>(), prop_oneof![5 => 1..300_usize, 1 => Just(65536)])
                .prop_flat_map(|(first, eight_bits, entries)| {
                    any::<[u64; 3]>().prop_map(move |seeds| {
                        let shift = if eight_bits { 56 } else { 48 };
                        let value =
                            |seed: u64, n: u64| (seed.wrapping_mul(2 * n + 1) >> shift) as u16;
                        Palette {
                            first,
                            bits: if eight_bits { 8 } else { 16 },
                            tables: seeds
                                .map(|seed| (0..entries as u64).map(|n| value(seed, n)).collect()),
                        }
                    })
                });
            let cells = cells(matrix.pixels() * matrix.frames as usize);
            (cells, palette).prop_map(move |(cells, palette)| PaletteImage {
                implicit,
                layout,
                matrix,
                cells,
                palette,
                packed,
                padding,
            })
        },
    )
}

impl PaletteImage {
    fn stored(&self) -> Vec<i64> {
        let shown = self.matrix.shown(&self.cells);
        shown.iter().map(|&cell| self.layout.stored_value(cell)).collect()
    }

    /// The first pixel's value, if any.
    fn padding(&self) -> Option<i64> {
        self.padding.then(|| self.stored()[0])
    }

    fn colours(&self) -> Vec<[u8; 3]> {
        let colour = |value| match self.padding() {
            Some(padding) if padding == value => [0; 3],
            _ => self.palette.colour(value),
        };
        self.stored().into_iter().map(colour).collect()
    }

    fn file(&self) -> Vec<u8> {
        let Layout { allocated, stored, high_bit, signed } = self.layout;
        let mut data = image(
            "PALETTE COLOR",
            self.matrix.rows as u16,
            self.matrix.columns as u16,
            1,
            allocated as u16,
        )
        .us(tags::BITS_STORED, [stored as u16])
        .us(tags::HIGH_BIT, [high_bit as u16])
        .us(tags::PIXEL_REPRESENTATION, [u16::from(signed)])
        .is(tags::NUMBER_OF_FRAMES, &self.matrix.frames.to_string())
        .bytes(tags::PIXEL_DATA, "OW", native(&self.cells, allocated));
        if let Some(padding) = self.padding() {
            data = if signed {
                data.ss(tags::PIXEL_PADDING_VALUE, [padding as i16])
            } else {
                data.us(tags::PIXEL_PADDING_VALUE, [padding as u16])
            };
        }
        let places = [
            (
                tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            ),
            (
                tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            ),
            (
                tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            ),
        ];
        for ((descriptor, values), table) in places.into_iter().zip(&self.palette.tables) {
            let three = [table.len() as u16, self.palette.first as u16, self.palette.bits as u16];
            data = if signed {
                data.ss(descriptor, three.map(|v| v as i16))
            } else {
                data.us(descriptor, three)
            };
            data = if self.palette.bits == 8 && self.packed {
                let bytes: Vec<u8> = table.iter().map(|&v| v as u8).collect();
                data.bytes(values, "OW", even(&bytes))
            } else {
                data.ow(values, table)
            };
        }
        file(if self.implicit { IMPLICIT_LE } else { EXPLICIT_LE }, &data)
    }
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn any_colour_header_follows_the_equations(image in colour_image()) {
        let got = draw(image.file()).frame(image.matrix.frame).rgb();
        prop_assert_eq!(got.len(), image.matrix.pixels());
        for (pixel, got) in got.into_iter().enumerate() {
            let expected = image.colour(pixel);
            for (got, expected) in got.into_iter().zip(expected) {
                let off = (f64::from(got) - expected).abs();
                prop_assert!(
                    off <= image.tolerance(),
                    "samples {:?}: {got}, {expected} is due",
                    image.samples(pixel)
                );
            }
        }
    }

    #[test]
    fn any_palette_is_looked_up_as_the_standard_says(image in palette_image()) {
        let got = draw(image.file()).frame(image.matrix.frame).rgb();
        for ((got, expected), stored) in got.iter().zip(image.colours()).zip(image.stored()) {
            let near = got.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1);
            prop_assert!(near, "stored value {stored}: {got:?}, {expected:?} is due");
        }
    }

    #[test]
    fn any_binary_segmentation_is_black_and_white(
        matrix in matrix(),
        bits in vec(any::<bool>(), 120),
    ) {
        let count = matrix.pixels() * matrix.frames as usize;
        let cells: Vec<u64> = bits.iter().cycle().take(count).map(|&bit| u64::from(bit)).collect();
        let data = image("MONOCHROME2", matrix.rows as u16, matrix.columns as u16, 1, 1)
            .text(tags::SOP_CLASS_UID, "UI", dicom::SEGMENTATION)
            .cs(tags::SEGMENTATION_TYPE, "BINARY")
            .is(tags::NUMBER_OF_FRAMES, &matrix.frames.to_string())
            .bytes(tags::PIXEL_DATA, "OB", native(&cells, 1));
        let got = draw(file(EXPLICIT_LE, &data)).frame(matrix.frame).grey();
        let expected: Vec<u8> = matrix.shown(&cells).iter().map(|&bit| 255 * bit as u8).collect();
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn any_fractional_segmentation_is_a_share_of_its_maximum(
        most in 1..=255_u16,
        cells in vec(any::<u8>(), 1..30),
    ) {
        let cells: Vec<u8> = cells.into_iter().map(|v| v.min(most as u8)).collect();
        let data = dicom::grey8(1, cells.len() as u16, &cells)
            .text(tags::SOP_CLASS_UID, "UI", dicom::SEGMENTATION)
            .cs(tags::SEGMENTATION_TYPE, "FRACTIONAL")
            .cs(tags::SEGMENTATION_FRACTIONAL_TYPE, "PROBABILITY")
            .us(tags::MAXIMUM_FRACTIONAL_VALUE, [most]);
        let got = draw(file(EXPLICIT_LE, &data)).grey();
        for (got, cell) in got.into_iter().zip(cells) {
            let expected = 255.0 * f64::from(cell) / f64::from(most);
            prop_assert!((f64::from(got) - expected).abs() <= 0.5, "{cell}/{most}: {got}");
        }
    }
}

// ---- the grey files of the shared corpus ----

/// Enough to meet every kind of value; the middle rows of a frame are no mere background.
const PIXELS_OF_A_FILE: u32 = 20_000;

#[test]
fn every_grey_file_follows_the_formulas_at_three_windows_and_three_functions() {
    let Some(files) = corpus::grey_files() else {
        assert!(std::env::var_os("CI").is_none(), "CI needs the shared corpus");
        eprintln!("SKIPPED: no corpus at ../shared/corpus");
        return;
    };
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (name, path, frame) in files {
        let Some(image) = corpus::GreyFile::read(&path, frame, PIXELS_OF_A_FILE) else {
            println!("not decoded: {name}");
            continue;
        };
        compared += 1;
        for window in image.three_windows() {
            for (name_of_function, function) in [
                ("linear", Function::Linear),
                ("linear-exact", Function::LinearExact),
                ("sigmoid", Function::Sigmoid),
            ] {
                let (centre, width) = &window;
                let number = |text: &str| text.parse().expect("a number");
                let (c, w): (f64, f64) = (number(centre), number(width));
                // Only LINEAR has a least width that may be asked for.
                let w = if function == Function::Linear { w.max(1.0) } else { w };
                let voi = Voi::Window(Window { centre: c, width: w, function });
                let expected = Grey { voi, ..image.formulas.clone() }.levels(&image.stored);
                let text = format!("{centre},{},{name_of_function}", as_ds(w));
                let got = draw_source(image.source()).window(&text).grey();
                let off = got.iter().zip(&expected).filter(|(g, e)| !e.is_rounded_to(**g)).count();
                if off > 0 {
                    wrong.push(format!("{name} {text}: {off} of {} pixels", got.len()));
                }
            }
        }
    }
    println!("{compared} files, {} departures", wrong.len());
    assert!(compared >= 60, "only {compared} files could be compared");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
