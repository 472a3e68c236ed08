//! R1.11 through the public door: texts burned into the pixels cannot be read where they are hidden, and
//! what is not hidden is as it was.

mod support;

use core_render::{
    BurnedIn, Card, CardKind, Cine, FrameChoice, Framing, ImageAttributes, Labels, Limits, Mosaic,
    Output, Picture, PresentationState, RenderError, RenderJob, RenderSpec, Source, Tile,
};
use dicom_dictionary_std::{tags, uids};
use dicomweb_types::{FrameNumber, TransferSyntax};
use native_codecs::jpeg::{Channels, Subsampling, encode};
use support::dicom::*;
use support::draw::{Pixels, draw};
use support::letters::{LETTERS, Line, Sheet};

const WIDTH: usize = 1024;
const HEIGHT: usize = 768;

/// The sheet as an image whose window changes nothing.
fn image_of(sheet: &Sheet) -> DataSet {
    grey8(sheet.height as u16, sheet.width as u16, &sheet.pixels)
        .ds(tags::WINDOW_CENTER, "128")
        .ds(tags::WINDOW_WIDTH, "256")
}

fn declared(dataset: DataSet, said: &str) -> DataSet {
    dataset.cs(tags::BURNED_IN_ANNOTATION, said)
}

/// Regions by their first and last columns and rows.
fn with_regions(dataset: DataSet, regions: &[[u32; 4]]) -> DataSet {
    let item = |&[left, top, right, bottom]: &[u32; 4]| {
        DataSet::new()
            .ul(tags::REGION_LOCATION_MIN_X0, [left])
            .ul(tags::REGION_LOCATION_MIN_Y0, [top])
            .ul(tags::REGION_LOCATION_MAX_X1, [right])
            .ul(tags::REGION_LOCATION_MAX_Y1, [bottom])
    };
    let items: Vec<_> = regions.iter().map(item).collect();
    dataset.sequence(tags::SEQUENCE_OF_ULTRASOUND_REGIONS, items)
}

/// An ultrasound image in the middle, texts of several sizes around it and in it.
fn scan() -> Sheet {
    let mut sheet = Sheet::new(WIDTH, HEIGHT);
    for y in 160..700_usize {
        for x in 200..900_usize {
            let depth = (x.abs_diff(550) as f64).hypot(y as f64 - 100.0);
            if depth < 560.0 && x.abs_diff(550) * 3 < (y - 100) * 4 {
                let echo = 90.0 + 60.0 * (depth / 23.0).sin() + 40.0 * (x as f64 / 17.0).cos();
                sheet.pixels[y * WIDTH + x] = echo.clamp(0.0, 255.0) as u8;
            }
        }
    }
    for line in TEXTS {
        sheet.write(line);
    }
    sheet
}

const TEXTS: [Line<'static>; 4] = [
    Line { text: "JOLIEDANTEX", left: 20, top: 20, dot: 6 },
    Line { text: "DANIELROSE", left: 20, top: 90, dot: 3 },
    Line { text: "LINDSTON", left: 700, top: 100, dot: 2 },
    Line { text: "NEXTDOOR", left: 12, top: 740, dot: 2 },
];

const REGION: [u32; 4] = [200, 160, 899, 699];

fn grey_sheet(pixels: &Pixels) -> Sheet {
    Sheet {
        width: pixels.width as usize,
        height: pixels.height as usize,
        pixels: pixels.rgb.iter().map(|pixel| pixel[0]).collect(),
    }
}

fn hidden(dataset: &DataSet, burned_in: BurnedIn) -> Pixels {
    draw(file(EXPLICIT_LE, dataset)).burned_in(burned_in).pixels()
}

/// For those who want to look at them.
fn keep(name: &str, pixels: &Pixels) {
    let Some(folder) = std::env::var_os("LIGHTBOX_KEEP_PICTURES") else { return };
    let path = std::path::Path::new(&folder).join(format!("burned_in_{name}.png"));
    let image = image::RgbImage::from_raw(pixels.width, pixels.height, pixels.rgb.concat());
    image.expect("as many pixels").save(path).expect("a PNG is written");
}

/// The same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit as u64) as usize
    }
}

/// How many of a hundred letters are read, before and after, of texts whose letters have dots of this size.
fn read_of_a_hundred(dot: usize) -> (f64, f64) {
    let mut random = Random(dot as u64);
    let (mut letters, mut before, mut after) = (0, 0, 0);
    while letters < 400 {
        let mut sheet = Sheet::new(WIDTH, HEIGHT);
        let longest = (WIDTH - 2) / Line::width(1, dot);
        let text: String =
            (0..longest.min(24)).map(|_| LETTERS[random.below(LETTERS.len())].0).collect();
        let line = Line {
            text: &text,
            left: random.below(WIDTH - Line::width(text.len(), dot)),
            top: random.below(HEIGHT - Line::height(dot)),
            dot,
        };
        sheet.write(line);
        letters += text.len();
        before += sheet.read(line);
        let dataset = declared(image_of(&sheet), "YES");
        after += grey_sheet(&hidden(&dataset, BurnedIn::Pixelate)).read(line);
    }
    let of_a_hundred = |count: usize| count as f64 * 100.0 / letters as f64;
    (of_a_hundred(before), of_a_hundred(after))
}

#[test]
fn texts_of_any_size_cannot_be_read() {
    // Of twelve letters, a guess is right eight times of a hundred. In shares of the frame's height:
    // 1/110, 1/55, 1/27, 1/18, 1/10, 1/7. Of the largest, this reader makes something of two cells; he
    // knows the letters and their places to the pixel.
    for (dot, at_most) in [(1, 15.0), (2, 15.0), (4, 15.0), (6, 15.0), (11, 30.0), (16, 45.0)] {
        let (before, after) = read_of_a_hundred(dot);
        println!("letters of {} pixels: {before:.0} read, hidden {after:.0}", Line::height(dot));
        assert!(before > 99.0, "{dot}: {before}");
        assert!(after <= at_most, "{dot}: {after}");
    }
}

#[test]
fn what_is_declared_is_hidden_whole_and_stays_on_rendered_pictures() {
    let plain = image_of(&scan());
    let clear = hidden(&plain, BurnedIn::Pixelate);
    assert_eq!(clear, hidden(&declared(plain.clone(), "NO"), BurnedIn::Pixelate));
    let dataset = declared(plain, "yes ");
    assert_eq!(clear, hidden(&dataset, BurnedIn::Render));
    let picture = hidden(&dataset, BurnedIn::Pixelate);
    keep("whole", &picture);
    // 16 × 12 cells of 64 pixels.
    let cell = |x: u32, y: u32| picture.at(y / 64 * 64, x / 64 * 64);
    for (x, y) in (0..picture.width).flat_map(|x| (0..picture.height).map(move |y| (x, y))) {
        assert_eq!(picture.at(y, x), cell(x, y), "{x}, {y}");
    }
}

#[test]
fn regions_are_kept_and_what_is_around_them_is_hidden() {
    let sheet = scan();
    let plain = hidden(&image_of(&sheet), BurnedIn::Pixelate);
    keep("plain", &plain);
    for (said, burned_in) in
        [(None, BurnedIn::Pixelate), (Some("YES"), BurnedIn::Pixelate), (None, BurnedIn::Icon)]
    {
        let mut dataset = with_regions(image_of(&sheet), &[REGION]);
        if let Some(said) = said {
            dataset = declared(dataset, said);
        }
        let picture = hidden(&dataset, burned_in);
        keep("around", &picture);
        let [left, top, right, bottom] = REGION;
        for (x, y) in (left..=right).flat_map(|x| (top..=bottom).map(move |y| (x, y))) {
            assert_eq!(picture.at(y, x), plain.at(y, x), "{x}, {y}");
        }
        assert_ne!(picture.at(top - 1, 500), plain.at(top - 1, 500));
        let (seen, clear) = (grey_sheet(&picture), grey_sheet(&plain));
        for line in TEXTS {
            assert_eq!(clear.read(line), line.text.len(), "{line:?}");
            assert!(seen.read(line) <= line.text.len() / 3, "{line:?}");
        }
        assert_eq!(hidden(&dataset, BurnedIn::Render), plain);
        assert_eq!(hidden(&declared(dataset, "NO"), burned_in), plain);
    }
}

#[test]
fn unusable_regions_hide_all_or_nothing() {
    let sheet = scan();
    let plain = hidden(&image_of(&sheet), BurnedIn::Pixelate);
    let whole = hidden(&declared(image_of(&sheet), "YES"), BurnedIn::Pixelate);
    let whole_frame = [0, 0, WIDTH as u32 - 1, HEIGHT as u32 - 1];
    for region in
        [[900, 160, 200, 699], [5000, 0, 6000, 100], whole_frame, [0, 0, u32::MAX, u32::MAX]]
    {
        let dataset = with_regions(image_of(&sheet), &[region]);
        assert_eq!(hidden(&dataset, BurnedIn::Pixelate), plain, "{region:?}");
        assert_eq!(hidden(&declared(dataset, "YES"), BurnedIn::Pixelate), whole, "{region:?}");
    }
}

/// Whether two pictures differ by no more than so many levels in an area, first and last pixels included.
fn is_within(picture: &Pixels, plain: &Pixels, area: [u32; 4], levels: u8) -> bool {
    let [left, top, right, bottom] = area;
    let mut places = (left..=right).flat_map(|x| (top..=bottom).map(move |y| (x, y)));
    places.all(|(x, y)| picture.at(y, x)[0].abs_diff(plain.at(y, x)[0]) <= levels)
}

#[test]
fn cuts_mirrors_and_sizes_show_parts_of_the_same_cells() {
    let sheet = scan();
    let dataset = with_regions(declared(image_of(&sheet), "YES"), &[REGION]);
    let (hidden, plain) = (dataset.clone(), image_of(&sheet));
    let drawn = |dataset: &DataSet, viewport: &str| {
        let drawing = draw(file(EXPLICIT_LE, dataset)).burned_in(BurnedIn::Pixelate);
        drawing.viewport(viewport).pixels()
    };
    // A name alone, enlarged: nothing but the six cells that it lies in.
    let name = drawn(&hidden, "700,100,20,20,350,50");
    keep("name", &name);
    for line in [10, 50, 90] {
        // Within a cell, all is one level; between two, the resize passes from one to the other.
        let steps = (1..700).filter(|&x| name.at(line, x) != name.at(line, x - 1)).count();
        assert!(steps <= 6 * 4, "{steps} steps in line {line}");
    }
    // Mirrored, and half the size: the region is where it belongs.
    for (viewport, area) in [
        ("1024,768,0,0,-1024,768", [124, 160, 823, 699]),
        ("512,384", [104, 84, 445, 345]),
        ("350,270,200,160,700,540", [4, 4, 345, 265]),
    ] {
        let (picture, clear) = (drawn(&hidden, viewport), drawn(&plain, viewport));
        assert!(is_within(&picture, &clear, area, 0), "{viewport}");
    }
}

#[test]
fn what_is_decoded_at_a_reduced_size_is_hidden_alike() {
    let sheet = scan();
    let colours: Vec<u8> = sheet.pixels.iter().flat_map(|&level| [level; 3]).collect();
    let (width, height) = (WIDTH as u32, HEIGHT as u32);
    let stream = encode(&colours, width, height, Channels::Rgb, 95, Subsampling::S444);
    let plain = image("YBR_FULL", HEIGHT as u16, WIDTH as u16, 3, 8)
        .fragments(&[], &[stream.expect("a JPEG")]);
    let dataset = with_regions(declared(plain.clone(), "YES"), &[REGION]);
    for side in [512, 256, 128, 64] {
        let drawn = |dataset: &DataSet| {
            let drawing = draw(file(JPEG_BASELINE, dataset)).burned_in(BurnedIn::Pixelate);
            drawing.fit_within(side).pixels()
        };
        let (picture, clear) = (drawn(&dataset), drawn(&plain));
        keep(&format!("reduced_{side}"), &picture);
        let by = 1024 / side;
        // Three pixels from the edge on, which the resize looks across.
        let [left, top, right, bottom] = REGION.map(|edge| edge / by);
        let inner = [left + 4, top + 4, right - 4, bottom - 4];
        assert!(is_within(&picture, &clear, inner, 0), "{side}");
        // In the first row of cells, all is coarse: the two brightest places are no letters.
        let row: Vec<u8> = (0..side).map(|x| picture.at(32 / by, x)[0]).collect();
        let steps = row.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(steps <= 15 * 7, "{side}: {steps}");
        let spread = row.iter().max().zip(row.iter().min()).map(|(most, least)| most - least);
        assert!(spread < Some(160), "{side}: {spread:?}");
    }
}

#[test]
fn presentation_states_turn_and_cut_what_is_hidden() {
    let mut sheet = scan();
    sheet.pixels[300 * WIDTH + 600] = 255;
    let state = |turn: u16, flip: &str, area: Option<[i32; 4]>| {
        let reference = DataSet::new()
            .text(tags::REFERENCED_SOP_CLASS_UID, "UI", SECONDARY_CAPTURE)
            .text(tags::REFERENCED_SOP_INSTANCE_UID, "UI", "2.25.1");
        let series = DataSet::new()
            .text(tags::SERIES_INSTANCE_UID, "UI", "2.25.5")
            .sequence(tags::REFERENCED_IMAGE_SEQUENCE, [reference]);
        let state = DataSet::new()
            .text(tags::SOP_CLASS_UID, "UI", uids::GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE)
            .text(tags::SOP_INSTANCE_UID, "UI", "2.25.9")
            .cs(tags::MODALITY, "PR")
            .sequence(tags::REFERENCED_SERIES_SEQUENCE, [series])
            .us(tags::IMAGE_ROTATION, [turn])
            .cs(tags::IMAGE_HORIZONTAL_FLIP, flip);
        let Some([left, top, right, bottom]) = area else { return state };
        let shown = DataSet::new()
            .sl(tags::DISPLAYED_AREA_TOP_LEFT_HAND_CORNER, [left, top])
            .sl(tags::DISPLAYED_AREA_BOTTOM_RIGHT_HAND_CORNER, [right, bottom])
            .cs(tags::PRESENTATION_SIZE_MODE, "SCALE TO FIT")
            .is(tags::PRESENTATION_PIXEL_ASPECT_RATIO, "1\\1");
        state.sequence(tags::DISPLAYED_AREA_SELECTION_SEQUENCE, [shown])
    };
    let drawn = |dataset: &DataSet, state: &DataSet, burned_in| {
        let limits = Limits::default();
        let state = PresentationState::of_file(&file(EXPLICIT_LE, state).into(), &limits);
        let state = state.expect("it is readable").expect("it is a state");
        let instance = "2.25.1".parse().expect("a UID");
        let presentation = state.for_image(&instance, FrameNumber::FIRST).expect("it applies");
        let drawing = draw(file(EXPLICIT_LE, dataset)).burned_in(burned_in);
        drawing.presentation(presentation).pixels()
    };
    let plain = image_of(&sheet);
    let dataset = with_regions(plain.clone(), &[REGION]);
    let [left, top, right, bottom] = REGION;
    let (last_column, last_row) = (WIDTH as u32 - 1, HEIGHT as u32 - 1);
    for (turn, flip, area) in [
        (0, "N", REGION),
        (0, "Y", [last_column - right, top, last_column - left, bottom]),
        (90, "N", [last_row - bottom, left, last_row - top, right]),
        (180, "N", [last_column - right, last_row - bottom, last_column - left, last_row - top]),
    ] {
        let state = state(turn, flip, None);
        let picture = drawn(&dataset, &state, BurnedIn::Pixelate);
        let clear = drawn(&plain, &state, BurnedIn::Pixelate);
        keep(&format!("state_{turn}_{flip}"), &picture);
        assert!(is_within(&picture, &clear, area, 0), "{turn} {flip}");
        let differ = picture.rgb.iter().zip(&clear.rgb).filter(|(a, b)| a != b).count();
        let around = WIDTH * HEIGHT - 700 * 540;
        // Where the ground is as bright as its mean, nothing changes.
        assert!(differ > around * 8 / 10 && differ <= around, "{differ} of {around}");
        assert_eq!(drawn(&dataset, &state, BurnedIn::Render), clear);
    }
    // An area that shows a name alone, in its own pixels.
    let state = state(0, "N", Some([21, 21, 370, 62]));
    let picture = grey_sheet(&drawn(&declared(plain.clone(), "YES"), &state, BurnedIn::Pixelate));
    let clear = grey_sheet(&drawn(&plain, &state, BurnedIn::Pixelate));
    let name = Line { text: "JOLIED", left: 0, top: 0, dot: 6 };
    assert_eq!(clear.read(name), 6);
    assert!(picture.read(name) <= 2);
}

#[test]
fn tiles_are_hidden_as_a_whole() {
    let sheet = scan();
    let attributes = attributes_of(&declared(image_of(&sheet), "YES"));
    let canvas = core_render::Canvas {
        columns: WIDTH as u32,
        rows: HEIGHT as u32,
        matrix: (WIDTH as u32 * 8, HEIGHT as u32 * 8),
        covered: (0.0, 0.0, WIDTH as f64, HEIGHT as f64),
        pixel_aspect: 1.0,
        background: [255; 3],
    };
    let transfer_syntax = TransferSyntax::ExplicitLittleEndian;
    let tile = Tile { x: 0, y: 0, transfer_syntax, bytes: sheet.pixels.clone().into() };
    let mosaic = Mosaic { attributes, canvas, tiles: vec![tile] };
    let viewport = format!("{WIDTH},{HEIGHT},0,0,{WIDTH},{HEIGHT}");
    let spec = RenderSpec {
        burned_in: BurnedIn::Pixelate,
        ..RenderSpec::new(Framing::Viewport(viewport.parse().expect("a viewport")), Output::Png)
    };
    let picture = rendered(Source::Tiles(Box::new(mosaic)), spec, None).expect("a picture");
    let image = image::load_from_memory(&picture.bytes).expect("a PNG").to_luma8();
    // An eighth of the matrix is two cells of 512 pixels.
    let levels: std::collections::BTreeSet<u8> = image.pixels().map(|pixel| pixel.0[0]).collect();
    assert!(levels.len() <= 4, "{levels:?}");
}

fn attributes_of(dataset: &DataSet) -> ImageAttributes {
    let bytes = file(EXPLICIT_LE, dataset).into();
    let read = core_render::FileAttributes::read(&bytes, &Limits::default()).expect("a file");
    ImageAttributes::of_frame(&read.dataset, FrameNumber::FIRST).expect("an image")
}

fn rendered(
    source: Source,
    spec: RenderSpec,
    labels: Option<Labels>,
) -> Result<Picture, RenderError> {
    let job = RenderJob { labels, ..RenderJob::new(source, spec, Limits::default()) };
    core_render::render(&job, &mut |_| Ok(()))
}

fn icon(output: Output) -> RenderSpec {
    let framing = Framing::FitWithin(256.try_into().expect("above 0"));
    RenderSpec { burned_in: BurnedIn::Icon, ..RenderSpec::new(framing, output) }
}

/// The card of an image of the third series.
fn card() -> Picture {
    let card =
        Card { kind: CardKind::Image, modality: Some("US".to_owned()), series_number: Some(3) };
    rendered(Source::Card(card), icon(Output::Png), None).expect("a card")
}

#[test]
fn an_icon_stands_for_what_is_declared_wherever_it_comes_from() {
    let plain = image_of(&scan()).cs(tags::MODALITY, "US").is(tags::SERIES_NUMBER, "3");
    let dataset = declared(plain.clone(), "YES");
    let bytes = bytes::Bytes::from(file(EXPLICIT_LE, &dataset));
    let whole = Source::File { bytes: bytes.clone(), frame: FrameChoice::Representative };
    let labels = Labels { series: Some("US 3".to_owned()), ..Labels::default() };
    let alone = |transfer_syntax| Source::Frame {
        attributes: Box::new(attributes_of(&dataset)),
        transfer_syntax,
        // Nothing that anybody could decode.
        bytes: bytes::Bytes::from_static(b"no pixels"),
    };
    let frames = vec![FrameNumber::FIRST; 3];
    let cine = Source::Cine(Box::new(Cine::File { bytes: bytes.clone(), frames }));
    let of_states = file(EXPLICIT_LE, &with_regions(dataset.clone(), &[REGION]));
    let regions =
        Source::File { bytes: of_states.into(), frame: FrameChoice::Number(FrameNumber::FIRST) };
    for source in [
        whole,
        regions,
        alone(TransferSyntax::JpegBaseline),
        alone(TransferSyntax::from_uid(uids::MPEG4HP41)),
    ] {
        let picture = rendered(source, icon(Output::Png), Some(labels.clone())).expect("an icon");
        assert_eq!(picture.bytes, card().bytes);
    }
    let moving = rendered(cine, icon(Output::Gif), Some(labels)).expect("an icon");
    assert_eq!((moving.width, moving.height), (256, 256));
    let bytes = bytes::Bytes::from(file(EXPLICIT_LE, &plain));
    let whole = Source::File { bytes, frame: FrameChoice::Representative };
    let picture = rendered(whole, icon(Output::Png), None).expect("a picture");
    assert_eq!((picture.width, picture.height), (256, 192));
}

#[test]
fn every_frame_of_an_animation_is_hidden() {
    use image::AnimationDecoder;
    let sheets: Vec<Sheet> = (0..3)
        .map(|at| {
            let mut sheet = Sheet::new(256, 192);
            sheet.write(Line { text: "LINDSTON", left: 10 + at * 9, top: 10 + at * 20, dot: 2 });
            sheet
        })
        .collect();
    let pixels: Vec<u8> = sheets.iter().flat_map(|sheet| sheet.pixels.clone()).collect();
    let dataset = declared(image("MONOCHROME2", 192, 256, 1, 8), "YES")
        .ds(tags::WINDOW_CENTER, "128")
        .ds(tags::WINDOW_WIDTH, "256")
        .is(tags::NUMBER_OF_FRAMES, "3")
        .bytes(tags::PIXEL_DATA, "OB", pixels);
    let bytes = file(EXPLICIT_LE, &dataset).into();
    let frames = (1..=3).filter_map(FrameNumber::new).collect();
    let spec = RenderSpec {
        burned_in: BurnedIn::Pixelate,
        ..RenderSpec::new(Framing::Native, Output::Gif)
    };
    let source = Source::Cine(Box::new(Cine::File { bytes, frames }));
    let picture = rendered(source, spec, None).expect("an animation");
    let decoder = image::codecs::gif::GifDecoder::new(std::io::Cursor::new(&picture.bytes));
    let frames: Vec<_> =
        decoder.expect("a GIF").into_frames().collect_frames().expect("whole frames");
    assert_eq!(frames.len(), 3);
    for frame in frames {
        for (x, y, pixel) in frame.buffer().enumerate_pixels() {
            assert_eq!(pixel, frame.buffer().get_pixel(x / 16 * 16, y / 16 * 16), "{x}, {y}");
        }
    }
}
