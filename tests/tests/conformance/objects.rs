//! The objects of the walk, made in code so that every pixel is known.

use std::path::Path;

use lightbox_tests::{EXPLICIT_LITTLE_ENDIAN, Object, Place};

pub(crate) const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const MR: &str = "1.2.840.10008.5.1.4.1.1.4";
const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";
const GREY_FRAMES: &str = "1.2.840.10008.5.1.4.1.1.7.2";
const BASIC_TEXT: &str = "1.2.840.10008.5.1.4.1.1.88.11";
const KEY_OBJECTS: &str = "1.2.840.10008.5.1.4.1.1.88.59";
const PDF_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.104.1";
const ECG_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.9.1.1";
const SOFTCOPY_STATE: &str = "1.2.840.10008.5.1.4.1.1.11.1";
const JPEG_BASELINE: &str = "1.2.840.10008.1.2.4.50";
const JPEG_2000_PART_2: &str = "1.2.840.10008.1.2.4.92";

/// 256 × 64, one grey level per column; the only object of its study.
pub(crate) const RAMP: Place = Place::new(5001, 1, 1);
/// 64 × 48, no two neighbours alike: [`chart_pixel`].
pub(crate) const CHART: Place = Place::new(5002, 1, 1);
/// 64 × 32 of pixels that are twice as high as wide.
pub(crate) const TALL_PIXELS: Place = Place::new(5003, 1, 1);
/// 256 × 4 signed words −128 … 127, slope 2, intercept −100.
pub(crate) const SLOPE: Place = Place::new(5004, 1, 1);
/// The ramp, MONOCHROME1.
pub(crate) const INVERSE: Place = Place::new(5005, 1, 1);
/// Every photometric interpretation, [`FLAT_COLOUR`] or [`FLAT_GREY`] all over: instances 1 to 6.
pub(crate) const COLOURS: Place = Place::new(5006, 1, 1);
/// Five frames of grey 10, 20 … 50, 100 ms each.
pub(crate) const FRAMES: Place = Place::new(5007, 1, 1);
/// The same with Representative Frame Number 2.
pub(crate) const POINTED: Place = Place::new(5008, 1, 1);
/// Six frames in three series whose order is none of their UIDs: greys [`IN_ORDER`].
pub(crate) const ORDER: Place = Place::new(5009, 1, 1);
/// An image; beside it [`REPORT`] and [`PDF`].
pub(crate) const REPORTED: Place = Place::new(5010, 1, 1);
/// A structured report.
pub(crate) const REPORT: Place = Place::new(5010, 2, 1);
/// An encapsulated document.
pub(crate) const PDF: Place = Place::new(5010, 3, 1);
/// An image; beside it [`ECG`], and a waveform in the image's own series too.
pub(crate) const WAVED: Place = Place::new(5011, 1, 1);
/// A waveform.
pub(crate) const ECG: Place = Place::new(5011, 2, 1);
/// A waveform, alone in its study.
pub(crate) const LONE_ECG: Place = Place::new(5012, 1, 1);
/// Localizers, and five slices whose numbers run against their UIDs: the middle is grey 160.
pub(crate) const SLICES: Place = Place::new(5013, 1, 1);
/// Four slices of grey 10 … 40: the middle is grey 30.
pub(crate) const EVEN_SLICES: Place = Place::new(5013, 2, 1);
/// Five slices, another series of one image of grey 99, and a key object that flags this.
pub(crate) const KEYED: Place = Place::new(5014, 1, 1);
/// The key object itself.
pub(crate) const KEY_OBJECT: Place = Place::new(5014, 3, 1);
/// Six reports, two slices, and twice three slices: grey 70 is the middle of the best series.
pub(crate) const SERIES: Place = Place::new(5015, 1, 1);
/// Three images, of which the first cannot be decoded.
pub(crate) const BROKEN_FIRST: Place = Place::new(5016, 1, 1);
/// Three images, of which the last cannot be decoded.
pub(crate) const BROKEN_LAST: Place = Place::new(5017, 1, 3);
/// Grey 10, undecodable, grey 30.
pub(crate) const BROKEN_MIDDLE: Place = Place::new(5018, 1, 1);
/// Two charts; [`STATE`] and [`MAGNIFIED`] show them.
pub(crate) const STATED: Place = Place::new(5019, 1, 1);
/// Transposes both, the second first and with a window of 100, 50.
pub(crate) const STATE: Place = Place::new(5019, 2, 1);
/// Magnifies the first twice.
pub(crate) const MAGNIFIED: Place = Place::new(5019, 2, 2);
/// 256 × 256, a checkerboard of four pixels a field, as texts burned in may be.
pub(crate) const BURNED_IN: Place = Place::new(5020, 1, 1);
/// The same, said to be without.
pub(crate) const NOT_BURNED_IN: Place = Place::new(5021, 1, 1);
/// The same, nothing said, with an ultrasound region of its lower three quarters.
pub(crate) const BURNED_IN_AROUND: Place = Place::new(5031, 1, 1);
/// 24 × 8: a field of red, of green, of blue.
pub(crate) const PRIMARIES: Place = Place::new(5022, 1, 1);
/// 512 × 512, black.
pub(crate) const BLACK: Place = Place::new(5023, 1, 1);
/// The same of another patient.
pub(crate) const BLACK_OF_ANOTHER: Place = Place::new(5024, 1, 1);
/// The report of another patient.
pub(crate) const REPORT_OF_ANOTHER: Place = Place::new(5025, 2, 1);
/// A multi-frame class with one frame.
pub(crate) const ONE_FRAME: Place = Place::new(5026, 1, 1);
/// JPEG 2000 Part 2: a transfer syntax that is not drawn.
pub(crate) const UNDRAWN: Place = Place::new(5027, 1, 1);
/// Noise, 64 × 64: what quality costs shows in its size.
pub(crate) const NOISE: Place = Place::new(5028, 1, 1);
/// 1024 × 512, a ramp: larger than a thumbnail.
pub(crate) const LARGE: Place = Place::new(5029, 1, 1);
/// Three images: flat, a ramp, flat.
pub(crate) const CONTRASTS: Place = Place::new(5030, 1, 1);

pub(crate) const FLAT_GREY: u8 = 200;
pub(crate) const FLAT_COLOUR: [u8; 3] = [200, 100, 50];
pub(crate) const IN_ORDER: [u8; 6] = [20, 30, 40, 50, 60, 100];
pub(crate) const CHART_SIZE: (usize, usize) = (64, 48);
/// What the report says, in three scripts and with what must be escaped.
pub(crate) const FINDING: &str = "Grüße, 肺 <script>alert(1)</script> & more";

pub(crate) fn chart_pixel(x: usize, y: usize) -> u8 {
    (x * 3 + y) as u8
}

/// A part of the chart, row by row.
pub(crate) fn chart(x: usize, y: usize, width: usize, height: usize) -> Vec<u8> {
    (y..y + height).flat_map(|y| (x..x + width).map(move |x| chart_pixel(x, y))).collect()
}

pub(crate) fn document() -> Vec<u8> {
    let mut document = b"%PDF-1.4\n".to_vec();
    document.extend((0..3000_u32).map(|n| b' ' + (n * 7 % 90) as u8));
    document.extend(b"\n%%EOF");
    document.extend(vec![b'\n'; document.len() % 2]);
    document
}

/// Whether a study is one of these: 2.25 and four digits.
pub(crate) fn is_made(study: &str) -> bool {
    study.len() == "2.25.5001".len()
}

/// Writes every object below a folder.
pub(crate) fn write(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let all = [images(), colours(), multi_frames(), ordered(), documents(), representatives()];
    let broken = broken();
    let objects = all.into_iter().flatten().chain(states());
    let plain = objects.map(|object| (object, EXPLICIT_LITTLE_ENDIAN));
    for (number, (object, syntax)) in plain.chain(broken).enumerate() {
        std::fs::write(folder.join(format!("{number}.dcm")), object.file(syntax)).unwrap();
    }
}

/// An 8-bit image of its own window, which is the identity.
fn grey(place: &Place, columns: u16, pixels: &[u8]) -> Object {
    let rows = (pixels.len() / usize::from(columns)) as u16;
    Object::new(place, CT, "CT")
        .matrix(columns, rows, "MONOCHROME2")
        .window("128", "256")
        .pixels(pixels)
}

fn flat(place: &Place, level: u8) -> Object {
    grey(place, 16, &[level; 256])
}

fn ramp(columns: u16, rows: usize) -> Vec<u8> {
    let row: Vec<u8> =
        (0..columns).map(|x| (u32::from(x) * 256 / u32::from(columns)) as u8).collect();
    row.repeat(rows)
}

fn checkerboard() -> Vec<u8> {
    let field = |x: usize, y: usize| if (x / 4 + y / 4).is_multiple_of(2) { 255 } else { 0 };
    (0..256 * 256).map(|at| field(at % 256, at / 256)).collect()
}

/// The same on every machine.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn images() -> Vec<Object> {
    let (columns, rows) = CHART_SIZE;
    let words: Vec<i16> = (-128..128).collect();
    let primaries: Vec<u8> =
        (0..24 * 8).flat_map(|at| [[255, 0, 0], [0, 255, 0], [0, 0, 255]][at % 24 / 8]).collect();
    let black = |place: &Place| grey(place, 512, &vec![0; 512 * 512]);
    let burned =
        |place: &Place, said| grey(place, 256, &checkerboard()).text(0x0028_0301, "CS", said);
    let corner = |item: Object, (tag, at): (u32, u32)| item.bytes(tag, "UL", &at.to_le_bytes());
    let region = [(0x0018_6018, 0), (0x0018_601A, 64), (0x0018_601C, 255), (0x0018_601E, 255)]
        .into_iter()
        .fold(Object::default(), corner);
    vec![
        grey(&RAMP, 256, &ramp(256, 64)),
        grey(&CHART, columns as u16, &chart(0, 0, columns, rows)),
        grey(&TALL_PIXELS, 64, &ramp(64, 32)).text(0x0028_0034, "IS", "2\\1"),
        Object::new(&SLOPE, CT, "CT")
            .matrix(256, 4, "MONOCHROME2")
            .signed_words(&words.repeat(4))
            .text(0x0028_1052, "DS", "-100")
            .text(0x0028_1053, "DS", "2"),
        grey(&INVERSE, 256, &ramp(256, 64)).text(0x0028_0004, "CS", "MONOCHROME1"),
        burned(&BURNED_IN, "YES"),
        burned(&NOT_BURNED_IN, "NO"),
        grey(&BURNED_IN_AROUND, 256, &checkerboard()).items(0x0018_6011, vec![region]),
        Object::new(&PRIMARIES, SECONDARY_CAPTURE, "OT").matrix(24, 8, "RGB").pixels(&primaries),
        black(&BLACK),
        black(&BLACK_OF_ANOTHER).text(0x0010_0010, "PN", "Quux^Wilhelmina").text(
            0x0010_0020,
            "LO",
            "998877",
        ),
        grey(&NOISE, 64, &noise(64 * 64)),
        grey(&LARGE, 1024, &ramp(1024, 512)),
    ]
}

fn colours() -> Vec<Object> {
    let image = |number: u32, photometric: &str, pixels: &[u8]| {
        let place = Place::new(5006, 1, number);
        Object::new(&place, SECONDARY_CAPTURE, "OT").matrix(8, 8, photometric).pixels(pixels)
    };
    // PS3.3 C.7.6.3.1.2, rounded.
    let [y, cb, cr] = [124, 86, 182];
    let entries = |level: u8| -> Vec<u8> {
        let levels = [0, 255, level, 0].map(|level: u8| u16::from(level) * 257);
        levels.iter().flat_map(|level| level.to_le_bytes()).collect()
    };
    let palette = [1_u32, 2, 3].iter().zip(FLAT_COLOUR).fold(
        image(4, "PALETTE COLOR", &[2; 64]),
        |object, (&number, level)| {
            object.us(0x0028_1100 + number, &[4, 0, 16]).bytes(
                0x0028_1200 + number,
                "OW",
                &entries(level),
            )
        },
    );
    vec![
        image(1, "RGB", &FLAT_COLOUR.repeat(64)),
        image(2, "YBR_FULL", &[y, cb, cr].repeat(64)),
        image(3, "YBR_FULL_422", &[y, y, cb, cr].repeat(32)),
        palette,
        image(5, "MONOCHROME1", &[255 - FLAT_GREY; 64]).window("128", "256"),
        image(6, "MONOCHROME2", &[FLAT_GREY; 64]).window("128", "256"),
    ]
}

fn frames(place: &Place, greys: &[u8]) -> Object {
    let pixels: Vec<u8> = greys.iter().flat_map(|&level| vec![level; 256]).collect();
    Object::new(place, GREY_FRAMES, "OT")
        .matrix(16, 16, "MONOCHROME2")
        .window("128", "256")
        .text(0x0028_0008, "IS", &greys.len().to_string())
        // Frame Increment Pointer: Frame Time.
        .bytes(0x0028_0009, "AT", &[0x18, 0, 0x63, 0x10])
        .text(0x0018_1063, "DS", "100")
        .pixels(&pixels)
}

fn multi_frames() -> Vec<Object> {
    let greys = [10, 20, 30, 40, 50];
    vec![
        frames(&FRAMES, &greys),
        frames(&POINTED, &greys).us(0x0028_6010, &[2]),
        frames(&ONE_FRAME, &[70]),
    ]
}

fn ordered() -> Vec<Object> {
    let place = |series, instance, numbers: (u32, u32)| {
        Place::new(5009, series, instance).numbered(numbers.0, numbers.1)
    };
    vec![
        flat(&place(1, 1, (10, 1)), 100),
        flat(&place(2, 1, (2, 10)), 60),
        frames(&place(2, 2, (2, 9)), &[40, 50]),
        flat(&place(2, 3, (2, 2)), 30),
        flat(&place(3, 1, (1, 1)), 20),
    ]
}

fn code(value: &str, scheme: &str, meaning: &str) -> Vec<Object> {
    vec![Object::default().text(0x0008_0100, "SH", value).text(0x0008_0102, "SH", scheme).text(
        0x0008_0104,
        "LO",
        meaning,
    )]
}

fn report(place: &Place) -> Object {
    let finding = Object::default()
        .text(0x0040_A010, "CS", "CONTAINS")
        .text(0x0040_A040, "CS", "TEXT")
        .items(0x0040_A043, code("121071", "DCM", "Finding"))
        .text(0x0040_A160, "UT", FINDING);
    Object::new(place, BASIC_TEXT, "SR")
        .text(0x0040_A040, "CS", "CONTAINER")
        .items(0x0040_A043, code("18748-4", "LN", "Diagnostic imaging report"))
        .text(0x0040_A050, "CS", "SEPARATE")
        .text(0x0040_A491, "CS", "COMPLETE")
        .text(0x0040_A493, "CS", "UNVERIFIED")
        .items(0x0040_A730, vec![finding])
}

fn ecg(place: &Place) -> Object {
    let channel =
        Object::default().items(0x003A_0208, code("2:1", "MDC", "Lead I")).us(0x003A_021A, &[16]);
    let group = Object::default()
        .text(0x003A_0004, "CS", "ORIGINAL")
        .us(0x003A_0005, &[1])
        .bytes(0x003A_0010, "UL", &4_u32.to_le_bytes())
        .text(0x003A_001A, "DS", "100")
        .items(0x003A_0200, vec![channel])
        .us(0x5400_1004, &[16])
        .text(0x5400_1006, "CS", "SS")
        .bytes(0x5400_1010, "OW", &[0, 0, 10, 0, 20, 0, 10, 0]);
    Object::new(place, ECG_STORAGE, "ECG").items(0x5400_0100, vec![group])
}

fn documents() -> Vec<Object> {
    let document = document();
    let pdf = Object::new(&PDF, PDF_STORAGE, "DOC")
        .text(0x0042_0010, "ST", "Leaflet")
        .bytes(0x0042_0011, "OB", &document)
        .text(0x0042_0012, "LO", "application/pdf")
        .bytes(0x0042_0015, "UL", &(document.len() as u32).to_le_bytes());
    vec![
        flat(&REPORTED, FLAT_GREY),
        report(&REPORT),
        report(&REPORT_OF_ANOTHER).text(0x0010_0010, "PN", "Quux^Wilhelmina").text(
            0x0010_0020,
            "LO",
            "998877",
        ),
        pdf,
        flat(&WAVED, FLAT_GREY),
        ecg(&Place::new(5011, 1, 2)),
        ecg(&ECG),
        ecg(&LONE_ECG),
    ]
}

/// A reference to an image: its class and its UID.
fn reference(place: &Place) -> Object {
    Object::default().text(0x0008_1150, "UI", CT).text(0x0008_1155, "UI", &place.instance_uid())
}

/// A key object titled Of Interest.
fn key_object(place: &Place, image: &Place) -> Object {
    let series = Object::default().items(0x0008_1199, vec![reference(image)]).text(
        0x0020_000E,
        "UI",
        &image.series_uid(),
    );
    let evidence = Object::default().items(0x0008_1115, vec![series]).text(
        0x0020_000D,
        "UI",
        &image.study_uid(),
    );
    let flagged = Object::default()
        .items(0x0008_1199, vec![reference(image)])
        .text(0x0040_A010, "CS", "CONTAINS")
        .text(0x0040_A040, "CS", "IMAGE");
    Object::new(place, KEY_OBJECTS, "KO")
        .text(0x0040_A040, "CS", "CONTAINER")
        .items(0x0040_A043, code("113000", "DCM", "Of Interest"))
        .text(0x0040_A050, "CS", "SEPARATE")
        .items(0x0040_A375, vec![evidence])
        .items(0x0040_A730, vec![flagged])
}

fn representatives() -> Vec<Object> {
    let localizer = |number: u32| {
        flat(&Place::new(5013, 1, number), number as u8).text(
            0x0008_0008,
            "CS",
            "ORIGINAL\\PRIMARY\\LOCALIZER",
        )
    };
    let slice = |uid: u32, number: u32, level: u8| {
        flat(&Place::new(5013, 1, uid).numbered(1, number), level).text(
            0x0008_0008,
            "CS",
            "ORIGINAL\\PRIMARY\\AXIAL",
        )
    };
    let series = |study: u32, series: u32, number: u32, greys: &[u8]| -> Vec<Object> {
        let place = |at| Place::new(study, series, at).numbered(number, at);
        greys.iter().zip(1..).map(|(&level, at)| flat(&place(at), level)).collect()
    };
    let mr = |object: Object| object.text(0x0008_0016, "UI", MR).text(0x0008_0060, "CS", "MR");
    let reports = (1..=6).map(|at| report(&Place::new(5015, 1, at)));
    let contrasts = [vec![50; 4096], ramp(64, 64), vec![60; 4096]];
    let contrasts =
        contrasts.iter().zip(1..).map(|(pixels, at)| grey(&Place::new(5030, 1, at), 64, pixels));
    let slices = [(9, 4, 140), (8, 5, 150), (7, 10, 160), (6, 11, 170), (5, 100, 180)];
    let mut all: Vec<Object> = (1..=3).map(localizer).collect();
    all.extend(slices.map(|(uid, number, level)| slice(uid, number, level)));
    all.extend(series(5013, 2, 2, &[10, 20, 30, 40]));
    all.extend(series(5014, 1, 1, &[10, 20, 30, 40, 50]));
    all.extend(series(5014, 2, 2, &[99]));
    all.push(key_object(&KEY_OBJECT, &Place::new(5014, 2, 1)));
    all.extend(reports);
    all.extend(series(5015, 2, 2, &[10, 20]));
    all.extend(series(5015, 3, 4, &[30, 40, 50]));
    all.extend(series(5015, 4, 3, &[60, 70, 80]).into_iter().map(mr));
    all.extend(contrasts);
    all
}

fn broken() -> Vec<(Object, &'static str)> {
    let garbage = |place: Place| {
        let object = Object::new(&place, CT, "CT").matrix(16, 16, "MONOCHROME2");
        (object.fragments(vec![b"no codestream at all, whatever".to_vec()]), JPEG_BASELINE)
    };
    let whole = |place: Place, level| (flat(&place, level), EXPLICIT_LITTLE_ENDIAN);
    let undrawn = Object::new(&UNDRAWN, CT, "CT").matrix(16, 16, "MONOCHROME2");
    vec![
        garbage(Place::new(5016, 1, 1)),
        whole(Place::new(5016, 1, 2), 20),
        whole(Place::new(5016, 1, 3), 30),
        whole(Place::new(5017, 1, 1), 10),
        whole(Place::new(5017, 1, 2), 20),
        garbage(Place::new(5017, 1, 3)),
        whole(Place::new(5018, 1, 1), 10),
        garbage(Place::new(5018, 1, 2)),
        whole(Place::new(5018, 1, 3), 30),
        (undrawn.fragments(vec![vec![0xFF, 0x4F, 0xFF, 0x51, 0, 0]]), JPEG_2000_PART_2),
    ]
}

/// PS3.3 A.33.1: a grayscale softcopy presentation state of images of one series.
fn state(place: &Place, images: &[Place], mode: Object) -> Object {
    let series = Object::default().items(0x0008_1140, images.iter().map(reference).collect()).text(
        0x0020_000E,
        "UI",
        &STATED.series_uid(),
    );
    let corner = |x: i32, y: i32| [x.to_le_bytes(), y.to_le_bytes()].concat();
    // The whole image; its corners stay where they are when it is transposed.
    let area = mode
        .bytes(0x0070_0052, "SL", &corner(1, 1))
        .bytes(0x0070_0053, "SL", &corner(CHART_SIZE.0 as i32, CHART_SIZE.1 as i32))
        .text(0x0070_0102, "IS", "1\\1");
    Object::new(place, SOFTCOPY_STATE, "PR")
        .items(0x0008_1115, vec![series])
        .items(0x0070_005A, vec![area])
        .text(0x0070_0080, "CS", "STATE")
        .text(0x0070_0082, "DA", "20260601")
        .text(0x0070_0083, "TM", "120000")
        .text(0x2050_0020, "CS", "IDENTITY")
}

fn states() -> Vec<Object> {
    let (columns, rows) = CHART_SIZE;
    let second = Place::new(5019, 1, 2);
    let image = |place| grey(place, columns as u16, &chart(0, 0, columns, rows));
    let voi = |place, centre, width| {
        Object::default().items(0x0008_1140, vec![reference(place)]).window(centre, width)
    };
    let fit = Object::default().text(0x0070_0100, "CS", "SCALE TO FIT");
    let magnify = Object::default().text(0x0070_0100, "CS", "MAGNIFY").bytes(
        0x0070_0103,
        "FL",
        &2_f32.to_le_bytes(),
    );
    let transposing = state(&STATE, &[second.clone(), STATED], fit)
        .items(0x0028_3110, vec![voi(&second, "100", "50"), voi(&STATED, "128", "256")])
        // A clockwise quarter turn, then mirrored left to right: rows become columns.
        .text(0x0070_0041, "CS", "Y")
        .us(0x0070_0042, &[90]);
    let magnifying = state(&MAGNIFIED, &[STATED], magnify)
        .items(0x0028_3110, vec![voi(&STATED, "128", "256")])
        .text(0x0070_0041, "CS", "N")
        .us(0x0070_0042, &[0]);
    vec![image(&STATED), image(&second), transposing, magnifying]
}
