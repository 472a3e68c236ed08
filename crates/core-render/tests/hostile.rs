//! Damaged and hostile files and frames: a picture of the promised size or an error of one line,
//! never a panic, never for long, never with memory for what is only declared.
//!
//! The same on every run. `LIGHTBOX_FUZZ_ROUNDS` asks for more rounds, `LIGHTBOX_FUZZ_FIRST` begins
//! at a later one, and `LIGHTBOX_FUZZ_TRACE` names each before it begins, for what aborts.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use core_render::{
    BurnedIn, Cine, EncodedFrame, Extent, FrameChoice, Framing, IccProfile, ImageAttributes,
    Limits, Output, Overlays, Picture, RenderError, RenderJob, RenderSpec, Source, SourceRect,
    Viewport, VoiFunction, Window,
};
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR, dicom_value};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicomweb_types::{FrameNumber, MediaType, TransferSyntax};
use serde_json::Value;

/// Few enough for every test run.
const ROUNDS: u64 = 1500;

const LIMITS: Limits = Limits {
    source_pixels: 4_000_000,
    source_bytes: 64 << 20,
    output_pixels: 1_000_000,
    animation_frames: 12,
    animation_bytes: 1 << 20,
    threads: 2,
};

/// A value of a patient in every mutated file: no message may hold a part of it.
const SECRET: &str = "HOSTILE^SECRET";

// ---- files

#[test]
fn mutated_files_are_drawn_or_refused() {
    let seeds = files();
    assert!(!seeds.is_empty());
    let mut drawn = 0;
    for round in rounds() {
        let mut random = Random::new(round);
        let (name, seed) = &seeds[random.below(seeds.len())];
        let bytes = mutated_file(seed, &mut random);
        let frame = match random.below(3) {
            0 => FrameChoice::Representative,
            1 => FrameChoice::Number(frame_number(1 + random.below(4) as u32)),
            _ => FrameChoice::Number(FrameNumber::FIRST),
        };
        let source = Source::File { bytes: bytes.into(), frame };
        drawn += u64::from(try_out(&format!("round {round} of {name}"), source, &mut random));
    }
    assert!(drawn > 0, "no file was drawn: the mutations go too far to test anything");
    println!("{drawn} drawn of {} files", rounds().count());
}

/// Files below 300 kB: the corpus where it is there, and the demo studies.
fn files() -> Vec<(String, Vec<u8>)> {
    let samples = tempfile::tempdir().expect("a folder for the samples");
    if !corpus().is_dir() {
        folder_origin::samples::write(samples.path()).expect("the samples are written");
    }
    let mut paths = Vec::new();
    list(&corpus(), &mut paths);
    list(samples.path(), &mut paths);
    paths.sort();
    let small = |path: &PathBuf| path.metadata().is_ok_and(|file| file.len() < 300_000);
    let read =
        |path: PathBuf| Some((path.to_string_lossy().into_owned(), std::fs::read(&path).ok()?));
    paths.into_iter().filter(small).filter_map(read).collect()
}

fn corpus() -> PathBuf {
    std::env::var_os("LIGHTBOX_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    )
}

fn list(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            list(&path, found);
        } else if !path.extension().is_some_and(|e| e == "png" || e == "json" || e == "md") {
            found.push(path);
        }
    }
}

fn mutated_file(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut file = seed.to_vec();
    if random.below(3) > 0 {
        insert_elements(&mut file, random);
    }
    let most = random.below(4);
    for _ in 0..=random.below(most + 1) {
        match random.below(10) {
            0..3 => change_number(&mut file, random),
            3 => change_text(&mut file, random),
            4 => change_length(&mut file, random),
            5 => change_item(&mut file, random),
            6..8 => change_codestream(&mut file, random),
            8 => change_transfer_syntax(&mut file, random),
            _ => change_bytes(&mut file, random),
        }
    }
    file
}

/// Attributes with a value of one or more 16-bit words, of which each is 8 bytes after its tag in
/// Implicit and in Explicit VR.
const NUMBERS: [Tag; 31] = [
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::SAMPLES_PER_PIXEL,
    tags::PLANAR_CONFIGURATION,
    tags::PIXEL_PADDING_VALUE,
    tags::PIXEL_PADDING_RANGE_LIMIT,
    tags::LUT_DESCRIPTOR,
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::REPRESENTATIVE_FRAME_NUMBER,
    tags::MAXIMUM_FRACTIONAL_VALUE,
    tags::SEGMENT_NUMBER,
    tags::SHUTTER_PRESENTATION_VALUE,
    tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE,
    Tag(0x6000, 0x0010),
    Tag(0x6000, 0x0011),
    Tag(0x6000, 0x0050),
    Tag(0x6000, 0x0051),
    Tag(0x6000, 0x0100),
    Tag(0x6000, 0x0102),
    Tag(0x6002, 0x0010),
    Tag(0x6002, 0x0011),
    Tag(0x6002, 0x0050),
    tags::PIXEL_ASPECT_RATIO,
    tags::ROWS,
    tags::COLUMNS,
];

const TEXTS: [Tag; 17] = [
    tags::NUMBER_OF_FRAMES,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::WINDOW_CENTER,
    tags::WINDOW_WIDTH,
    tags::VOILUT_FUNCTION,
    tags::RESCALE_SLOPE,
    tags::RESCALE_INTERCEPT,
    tags::PIXEL_ASPECT_RATIO,
    tags::PIXEL_SPACING,
    tags::SHUTTER_SHAPE,
    tags::CENTER_OF_CIRCULAR_SHUTTER,
    tags::RADIUS_OF_CIRCULAR_SHUTTER,
    tags::VERTICES_OF_THE_POLYGONAL_SHUTTER,
    tags::SEGMENTATION_TYPE,
    tags::PIXEL_PRESENTATION,
    tags::PRESENTATION_LUT_SHAPE,
    tags::SPECIFIC_CHARACTER_SET,
];

fn change_number(file: &mut [u8], random: &mut Random) {
    let tag = random.of(&NUMBERS);
    let Some(at) = find_tag(file, tag) else { return change_bytes_in_place(file, random) };
    let word = random.word();
    put(file, at + 8 + 2 * (random.below(8) / 6), &word.to_le_bytes());
}

fn change_text(file: &mut [u8], random: &mut Random) {
    let tag = random.of(&TEXTS);
    let Some(at) = find_tag(file, tag) else { return change_bytes_in_place(file, random) };
    let Some(header) = file.get(at..at + 8) else { return };
    let explicit = header[4].is_ascii_uppercase();
    let length = usize::from(if explicit { header[6] } else { header[4] });
    for _ in 0..=random.below(6) {
        let byte = random.of(b"0123456789-+.eE\\ \0NaAINVR");
        put(file, at + 8 + random.below(length), &[byte]);
    }
}

/// The length of some element: short form, long form, or implicit.
fn change_length(file: &mut [u8], random: &mut Random) {
    const OTHERS: [Tag; 12] = [
        tags::PIXEL_DATA,
        tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
        tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
        tags::VOILUT_SEQUENCE,
        tags::MODALITY_LUT_SEQUENCE,
        tags::LUT_DATA,
        tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        tags::EXTENDED_OFFSET_TABLE,
        tags::ICC_PROFILE,
        tags::TRANSFER_SYNTAX_UID,
        Tag(0x6000, 0x3000),
    ];
    let tag = match random.below(3) {
        0 => random.of(&NUMBERS),
        1 => random.of(&TEXTS),
        _ => random.of(&OTHERS),
    };
    let Some(at) = find_tag(file, tag) else { return change_bytes_in_place(file, random) };
    let length = random.length();
    match random.below(3) {
        0 => put(file, at + 4, &length.to_le_bytes()),
        1 => put(file, at + 6, &(length as u16).to_le_bytes()),
        _ => put(file, at + 8, &length.to_le_bytes()),
    }
}

/// An item or delimiter: its length or its kind; or the offset table, which is the first item.
fn change_item(file: &mut [u8], random: &mut Random) {
    let kind =
        random.of(&[[0xFE, 0xFF, 0x00, 0xE0], [0xFE, 0xFF, 0x0D, 0xE0], [0xFE, 0xFF, 0xDD, 0xE0]]);
    let Some(at) = find_any(file, &kind, random) else {
        return change_bytes_in_place(file, random);
    };
    let other = random.of(&[0x00, 0x0D, 0xDD]);
    match random.below(4) {
        0 => put(file, at + 2, &[other]),
        1 => put(file, at + 8, &random.length().to_le_bytes()),
        _ => put(file, at + 4, &random.length().to_le_bytes()),
    }
}

/// Fields of the headers of JPEG, JPEG-LS, JPEG 2000 and RLE frames.
fn change_codestream(file: &mut [u8], random: &mut Random) {
    let mark: &[u8] = match random.below(9) {
        0..2 => &[0xFF, 0x4F, 0xFF, 0x51],
        2 => &[0xFF, 0x52, 0x00],
        3 => &[0xFF, random.of(&[0xC0, 0xC1, 0xC3, 0xF7]), 0x00],
        4 => &[0xFF, random.of(&[0xC4, 0xDA, 0xDB, 0xDD, 0xEE, 0xE0]), 0x00],
        5 => &[0xFF, 0x90, 0x00, 0x0A],
        6 => &[0xFF, 0x93],
        7 => &[0xFF, 0x0A],
        _ => &[0xFE, 0xFF, 0x00, 0xE0],
    };
    let Some(at) = find_any(file, mark, random) else { return change_bytes_in_place(file, random) };
    for _ in 0..=random.below(3) {
        let at = at + mark.len() + random.below(48);
        match random.below(4) {
            0 => put(file, at, &(random.length()).to_be_bytes()),
            1 => put(file, at, &random.word().to_be_bytes()),
            2 => put(file, at, &[random.below(8) as u8]),
            _ => put(file, at, &[random.next() as u8]),
        }
    }
}

const SYNTAXES: [&str; 24] = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.98",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.8.1",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.4.110",
    "1.2.840.10008.1.2.4.111",
    "1.2.840.10008.1.2.4.112",
    "1.2.840.10008.1.2.4.100",
    "1.2.840.113619.5.2",
    "",
];

fn change_transfer_syntax(file: &mut Vec<u8>, random: &mut Random) {
    let Some(at) = find_tag(file, tags::TRANSFER_SYNTAX_UID) else { return };
    let Some(&[low, high]) = file.get(at + 6..at + 8) else { return };
    let (start, end) = (at + 8, at + 8 + usize::from(u16::from_le_bytes([low, high])));
    if end > file.len() {
        return;
    }
    let mut uid = random.of(&SYNTAXES).as_bytes().to_vec();
    uid.resize(uid.len().next_multiple_of(2), 0);
    put(file, at + 6, &(uid.len() as u16).to_le_bytes());
    file.splice(start..end, uid);
}

fn change_bytes(file: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(file.len());
    let length = random.below(64).min(file.len() - at);
    match random.below(6) {
        0 => file.truncate(at),
        1 => drop(file.drain(at..at + length)),
        2 => {
            let copy = file[at..at + length].to_vec();
            file.splice(at..at, copy);
        }
        _ => change_bytes_in_place(file, random),
    }
}

fn change_bytes_in_place(file: &mut [u8], random: &mut Random) {
    for _ in 0..=random.below(3) {
        // Some of them in the headers, where they do most harm.
        let reach = if random.below(3) == 0 { file.len().min(4096) } else { file.len() };
        let at = random.below(reach);
        let Some(byte) = file.get_mut(at) else { return };
        match random.below(2) {
            0 => *byte ^= 1 << random.below(8),
            _ => *byte = random.next() as u8,
        }
    }
}

/// Whatever the seed lacks, and the patient: overlays, shutters, tables, before the pixel data.
fn insert_elements(file: &mut Vec<u8>, random: &mut Random) {
    let pixel_data = [0xE0, 0x7F, 0x10, 0x00];
    let Some(at) = file.windows(4).position(|tag| tag == pixel_data) else { return };
    let explicit = file.get(at + 4).is_some_and(|&byte| byte == b'O');
    let mut elements = vec![(tags::PATIENT_NAME, *b"PN", SECRET.as_bytes().to_vec())];
    for _ in 0..random.below(3) {
        insert_group(&mut elements, random);
    }
    let encoded = elements.iter().flat_map(|(tag, vr, value)| encoded(*tag, vr, value, explicit));
    let encoded: Vec<u8> = encoded.collect();
    file.splice(at..at, encoded);
}

type Encoded = (Tag, [u8; 2], Vec<u8>);

fn insert_group(elements: &mut Vec<Encoded>, random: &mut Random) {
    let word = |random: &mut Random| random.word().to_le_bytes().to_vec();
    let words = |random: &mut Random| (0..3).flat_map(|_| random.word().to_le_bytes()).collect();
    let noise = |random: &mut Random| -> Vec<u8> {
        let length = 2 * random.below(400);
        (0..length).map(|_| random.next() as u8).collect()
    };
    let text = |text: &str| {
        let mut text = text.as_bytes().to_vec();
        text.resize(text.len().next_multiple_of(2), b' ');
        text
    };
    match random.below(6) {
        0 => {
            let group = 0x6000 + 2 * random.below(128) as u16;
            elements.push((Tag(group, 0x0010), *b"US", word(random)));
            elements.push((Tag(group, 0x0011), *b"US", word(random)));
            elements.push((Tag(group, 0x0040), *b"CS", text("G")));
            elements.push((Tag(group, 0x0050), *b"SS", words(random)));
            elements.push((Tag(group, 0x0102), *b"US", word(random)));
            if random.below(2) == 0 {
                elements.push((Tag(group, 0x3000), *b"OW", noise(random)));
            }
        }
        1 => {
            let shapes = "POLYGONAL\\CIRCULAR\\RECTANGULAR\\POLYGONAL";
            let vertices = (0..random.below(2000)).map(|_| random.word().to_string());
            let vertices = vertices.collect::<Vec<_>>().join("\\");
            elements.push((tags::SHUTTER_SHAPE, *b"CS", text(shapes)));
            elements.push((tags::VERTICES_OF_THE_POLYGONAL_SHUTTER, *b"IS", text(&vertices)));
            elements.push((tags::CENTER_OF_CIRCULAR_SHUTTER, *b"IS", text("5\\-999999999")));
            elements.push((tags::RADIUS_OF_CIRCULAR_SHUTTER, *b"IS", text("1e300")));
        }
        2 => {
            for (descriptor, data, segmented) in
                [(0x1101, 0x1201, 0x1221), (0x1102, 0x1202, 0x1222), (0x1103, 0x1203, 0x1223)]
            {
                let data = if random.below(2) == 0 { data } else { segmented };
                elements.push((Tag(0x28, descriptor), *b"US", words(random)));
                elements.push((Tag(0x28, data), *b"OW", noise(random)));
            }
            elements.push((tags::PIXEL_PRESENTATION, *b"CS", text("COLOR")));
        }
        3 => elements.push((tags::ICC_PROFILE, *b"OB", mutated_profile(random))),
        4 => {
            let kind = random.of(&["LABELMAP", "FRACTIONAL", "BINARY"]);
            elements.push((tags::SEGMENTATION_TYPE, *b"CS", text(kind)));
            elements.push((tags::MAXIMUM_FRACTIONAL_VALUE, *b"US", word(random)));
        }
        _ => {
            let number = random.number();
            elements.push((tags::RESCALE_SLOPE, *b"DS", text(&format!("{number:e}"))));
            elements.push((tags::PIXEL_PADDING_VALUE, *b"US", word(random)));
            elements.push((tags::PIXEL_PADDING_RANGE_LIMIT, *b"US", word(random)));
            elements.push((tags::WINDOW_WIDTH, *b"DS", text(&format!("{:e}", random.number()))));
            elements.push((tags::WINDOW_CENTER, *b"DS", text(&format!("{:e}", random.number()))));
        }
    }
}

fn mutated_profile(random: &mut Random) -> Vec<u8> {
    let srgb = moxcms::ColorProfile::new_srgb().encode().expect("sRGB is a profile");
    let mut profile = srgb;
    change_bytes(&mut profile, random);
    profile.resize(profile.len().next_multiple_of(2), 0);
    profile
}

fn encoded(tag: Tag, vr: &[u8; 2], value: &[u8], explicit: bool) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(tag.group().to_le_bytes());
    out.extend(tag.element().to_le_bytes());
    match (explicit, vr) {
        (true, b"OW" | b"OB") => {
            out.extend(vr);
            out.extend([0, 0]);
            out.extend((value.len() as u32).to_le_bytes());
        }
        (true, _) => {
            out.extend(vr);
            out.extend((value.len() as u16).to_le_bytes());
        }
        (false, _) => out.extend((value.len() as u32).to_le_bytes()),
    }
    out.extend(value);
    out
}

// ---- frames

#[test]
fn frames_with_attributes_that_do_not_fit_are_drawn_or_refused() {
    let seeds = [attributes(false), attributes(true)];
    let frames = frames();
    let mut drawn = 0;
    for round in rounds() {
        let mut random = Random::new(round.wrapping_mul(7919));
        let mut value = seeds[random.below(2)].clone();
        for _ in 0..random.below(3) {
            spoil(&mut value, &mut random);
        }
        let Ok(attributes) = serde_json::from_value::<ImageAttributes>(value) else { continue };
        let mut bytes = frames[random.below(frames.len())].clone();
        if random.below(2) == 0 {
            change_codestream(&mut bytes, &mut random);
        }
        if random.below(2) == 0 {
            change_bytes(&mut bytes, &mut random);
        }
        let source = Source::Frame {
            attributes: Box::new(attributes),
            transfer_syntax: TransferSyntax::from_uid(random.of(&SYNTAXES)),
            bytes: bytes.into(),
        };
        drawn += u64::from(try_out(&format!("frame {round}"), source, &mut random));
    }
    assert!(drawn > 0, "no frame was drawn");
    println!("{drawn} frames drawn");
}

// ---- animations

#[test]
fn cines_of_mutated_files_and_frames_are_drawn_or_refused() {
    let (files, attributes, frames) = (files(), attributes(false), frames());
    let mut drawn = 0;
    for round in rounds() {
        let mut random = Random::new(round.wrapping_mul(104_729));
        let cine = match random.below(2) {
            0 => {
                let (_, seed) = &files[random.below(files.len())];
                let bytes = mutated_file(seed, &mut random).into();
                let most = random.below(14);
                let number = |_| frame_number(random.below(6) as u32);
                Cine::File { bytes, frames: (0..most).map(number).collect() }
            }
            _ => {
                let length = random.below(14);
                let frames = (0..length).filter_map(|_| {
                    let mut value = attributes.clone();
                    if random.below(4) == 0 {
                        spoil(&mut value, &mut random);
                    }
                    let mut bytes = frames[random.below(frames.len())].clone();
                    if random.below(4) == 0 {
                        change_bytes(&mut bytes, &mut random);
                    }
                    let transfer_syntax = TransferSyntax::from_uid(random.of(&SYNTAXES));
                    let attributes = serde_json::from_value(value).ok()?;
                    Some(EncodedFrame { attributes, transfer_syntax, bytes: bytes.into() })
                });
                let frames: Vec<EncodedFrame> = frames.collect();
                let missing = random.below(8) / 7;
                let delays = (missing..frames.len()).map(|_| random.length()).collect();
                Cine::Frames { frames, delays }
            }
        };
        drawn +=
            u64::from(try_out(&format!("cine {round}"), Source::Cine(Box::new(cine)), &mut random));
    }
    assert!(drawn > 0, "no cine was drawn");
    println!("{drawn} cines drawn");
}

/// Attributes with all that may be in them, as JSON, so that private fields can be spoilt too.
fn attributes(palette: bool) -> Value {
    let mut dataset = InMemDicomObject::new_empty();
    let mut put = |tag, vr, value: PrimitiveValue| {
        dataset.put(DataElement::new(tag, vr, value));
    };
    for (tag, value) in [
        (tags::ROWS, 24_u16),
        (tags::COLUMNS, 32),
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::BITS_ALLOCATED, if palette { 8 } else { 16 }),
        (tags::BITS_STORED, if palette { 8 } else { 12 }),
        (tags::HIGH_BIT, if palette { 7 } else { 11 }),
        (tags::PIXEL_REPRESENTATION, 0),
        (tags::PIXEL_PADDING_VALUE, 3),
        (Tag(0x6000, 0x0010), 24),
        (Tag(0x6000, 0x0011), 32),
        (Tag(0x6002, 0x0010), 24),
        (Tag(0x6002, 0x0011), 32),
        (Tag(0x6002, 0x0102), 15),
    ] {
        put(tag, VR::US, value.into());
    }
    let words = |words: &[u16]| PrimitiveValue::U16(words.into());
    for (descriptor, data) in [(0x1101, 0x1201), (0x1102, 0x1202), (0x1103, 0x1203)] {
        put(Tag(0x28, descriptor), VR::US, words(&[4, 2, 16]));
        put(Tag(0x28, data), VR::OW, words(&[1, 2000, 30_000, 65_535]));
    }
    put(Tag(0x6000, 0x3000), VR::OW, words(&[0xA5A5; 48]));
    put(
        tags::PHOTOMETRIC_INTERPRETATION,
        VR::CS,
        if palette { "PALETTE COLOR" } else { "MONOCHROME2" }.into(),
    );
    put(tags::SHUTTER_SHAPE, VR::CS, dicom_value!(Strs, ["POLYGONAL", "CIRCULAR"]));
    put(tags::CENTER_OF_CIRCULAR_SHUTTER, VR::IS, dicom_value!(Strs, ["12", "16"]));
    put(tags::RADIUS_OF_CIRCULAR_SHUTTER, VR::IS, "12".into());
    let square = dicom_value!(Strs, ["0", "0", "0", "30", "20", "30", "20", "0"]);
    put(tags::VERTICES_OF_THE_POLYGONAL_SHUTTER, VR::IS, square);
    let lut = InMemDicomObject::from_element_iter([
        DataElement::new(tags::LUT_DESCRIPTOR, VR::US, words(&[3, 0, 12])),
        DataElement::new(tags::LUT_DATA, VR::OW, words(&[0, 2000, 4095])),
    ]);
    for sequence in [tags::MODALITY_LUT_SEQUENCE, tags::VOILUT_SEQUENCE] {
        dataset.put(DataElement::new(sequence, VR::SQ, DataSetSequence::from(vec![lut.clone()])));
    }
    let attributes = ImageAttributes::of_frame(&dataset, FrameNumber::FIRST);
    serde_json::to_value(attributes.expect("a legal data set")).expect("plain data")
}

/// Frames of 32 × 24 pixels, native and coded.
fn frames() -> Vec<Vec<u8>> {
    use native_codecs::jpeg::{self, Channels, Subsampling};
    use native_codecs::jpeg2000::{self, Compression};
    let (width, height) = (32_u32, 24_u32);
    let pixels = (width * height) as usize;
    let noise: Vec<u8> = (0..pixels * 12).map(|i| (i * i / 7) as u8).collect();
    let plane: Vec<i32> = noise[..pixels].iter().map(|&v| i32::from(v)).collect();
    let encode = |channels, bytes| {
        jpeg::encode(bytes, width, height, channels, 80, Subsampling::S420).expect("a JPEG")
    };
    let wavelets = |components: &[&[i32]], compression| {
        jpeg2000::encode(components, width, height, 12, false, compression).expect("a JPEG 2000")
    };
    let mut rle = vec![0; 64];
    rle[0] = 2;
    rle[4] = 64;
    rle[8..10].copy_from_slice(&100_u16.to_le_bytes());
    rle.extend([0x81, 7].repeat(18));
    rle.extend([0x81, 9].repeat(18));
    vec![
        noise[..pixels].to_vec(),
        noise[..pixels * 2].to_vec(),
        noise,
        rle,
        encode(Channels::Grey, &vec![90; pixels]),
        encode(Channels::Rgb, &vec![90; pixels * 3]),
        wavelets(&[&plane[..]], Compression::Lossless),
        wavelets(&[&plane[..]; 3], Compression::Ratio(4.0)),
    ]
}

/// Replaces one number, word or list somewhere in the tree.
fn spoil(value: &mut Value, random: &mut Random) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let at = random.below(fields.len());
            if let Some(field) = fields.values_mut().nth(at) {
                spoil(field, random);
            }
        }
        Value::Array(items) if !items.is_empty() && random.below(4) > 0 => {
            let at = random.below(items.len());
            spoil(&mut items[at], random);
        }
        Value::Array(items) => items.clear(),
        Value::Number(number) => {
            *value = match (number.is_f64(), random.below(4)) {
                (true, _) => random.number().into(),
                (_, 0) => random.below(70).into(),
                (_, 1) => random.length().into(),
                (_, 2) => (random.next() as i64).into(),
                _ => random.word().into(),
            };
        }
        Value::Bool(flag) => *flag = !*flag,
        Value::String(text) => {
            let others = [
                "Monochrome1",
                "PaletteColor",
                "Rgb",
                "YbrFull",
                "YbrFull422",
                "YbrIct",
                "Planes",
                "Pixels",
                "Float",
                "Double",
                "None",
                "Identity",
            ];
            *text = random.of(&others).to_owned();
        }
        Value::Null => *value = random.below(3).into(),
        Value::Object(_) => {}
    }
}

// ---- what is asked, and what must come

/// Draws with a random request; whether there was a picture.
fn try_out(case: &str, source: Source, random: &mut Random) -> bool {
    let job = RenderJob::new(source, spec(random), LIMITS);
    let witness = Witness(format!("{case}: {:?}", job.spec));
    if std::env::var_os("LIGHTBOX_FUZZ_TRACE").is_some() {
        eprintln!("{}", witness.0);
    }
    let begun = Instant::now();
    let result = core_render::render(&job, &mut |_| Ok(()));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    match &result {
        Ok(picture) => check_picture(picture, &job.spec),
        Err(error) => check_message(&error.to_string()),
    }
    result.is_ok()
}

/// Says which case it was, where a test fails.
struct Witness(String);

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed in {}", self.0);
        }
    }
}

fn check_picture(picture: &Picture, spec: &RenderSpec) {
    let (width, height) = (picture.width, picture.height);
    assert!(u64::from(width) * u64::from(height) <= LIMITS.output_pixels);
    match spec.framing {
        Framing::Native => {}
        Framing::FitWithin(longest) => assert!(width.max(height) <= longest.get()),
        Framing::Viewport(viewport) => {
            let (most_wide, most_high) = (viewport.width.get(), viewport.height.get());
            assert!(width <= most_wide && height <= most_high, "{width} × {height}");
            assert!(width == most_wide || height == most_high, "{width} × {height}");
        }
    }
    let decoded = match spec.output {
        Output::Png | Output::Gif | Output::WebP(_) => {
            let image = image::load_from_memory(&picture.bytes).expect("what we write is read");
            (image.width(), image.height())
        }
        Output::Jpeg(_) => {
            let full = native_codecs::jpeg::Reduction::Full;
            let image = native_codecs::jpeg::decode(&picture.bytes, full).expect("our JPEG is one");
            assert_eq!(image.warning, None);
            (image.width, image.height)
        }
        Output::Jp2(_) => {
            let image =
                native_codecs::jpeg2000::decode(&picture.bytes, 0, 1).expect("our JP2 is one");
            assert_eq!(image.warning, None);
            (image.width, image.height)
        }
    };
    check_frames(picture);
    assert_eq!(decoded, (width, height));
    picture.warnings.iter().for_each(|warning| check_message(warning));
}

/// Every frame of an animation is read back in its size.
fn check_frames(picture: &Picture) {
    use image::AnimationDecoder;
    use image::codecs::{gif::GifDecoder, webp::WebPDecoder};
    let bytes = std::io::Cursor::new(&picture.bytes);
    let frames = match picture.media_type {
        MediaType::Gif => GifDecoder::new(bytes).expect("a GIF").into_frames(),
        MediaType::WebP => WebPDecoder::new(bytes).expect("a WebP").into_frames(),
        _ => return,
    };
    let mut count = 0;
    for frame in frames {
        let frame = frame.expect("a whole frame");
        assert_eq!(frame.buffer().dimensions(), (picture.width, picture.height));
        count += 1;
    }
    assert!(count <= LIMITS.animation_frames);
}

/// One short line of words, nothing out of the file.
fn check_message(message: &str) {
    let plain = message.chars().all(|c| c == ' ' || c == '×' || c.is_ascii_graphic());
    assert!(plain && !message.is_empty() && message.len() < 250, "{message:?}");
    assert!(!message.contains("SECRET") && !message.contains("HOSTILE"), "{message:?}");
}

fn spec(random: &mut Random) -> RenderSpec {
    let function =
        random.of(&[VoiFunction::Linear, VoiFunction::LinearExact, VoiFunction::Sigmoid]);
    let window = match random.below(2) {
        0 => None,
        _ => Window::new(random.number(), random.number().abs(), function),
    };
    let quality = (1 + random.below(100)).to_string().parse().expect("1 to 100");
    let output = match random.below(8) {
        0..2 => Output::Png,
        2..4 => Output::Jpeg(quality),
        4..6 => Output::Gif,
        6 => Output::WebP(quality),
        _ => Output::Jp2(quality),
    };
    let overlays = if random.below(2) == 0 { Overlays::Draw } else { Overlays::Omit };
    let icc_profile = match random.below(10) {
        0 => Some(IccProfile::No),
        1 => Some(IccProfile::Yes),
        2 => Some(IccProfile::Srgb),
        3 => Some(IccProfile::AdobeRgb),
        4 => Some(IccProfile::RommRgb),
        _ => None,
    };
    let burned_in = random.of(&[BurnedIn::Render, BurnedIn::Pixelate, BurnedIn::Icon]);
    let plain = RenderSpec::new(framing(random), output);
    RenderSpec { window, overlays, icc_profile, burned_in, ..plain }
}

fn framing(random: &mut Random) -> Framing {
    let side = |random: &mut Random| match random.below(8) {
        0 if random.below(4) == 0 => NonZeroU32::MAX,
        1 => NonZeroU32::MIN,
        _ => NonZeroU32::new(1 + random.below(600) as u32).unwrap_or(NonZeroU32::MIN),
    };
    let edge = |random: &mut Random| match random.below(6) {
        0 if random.below(3) == 0 => random.number(),
        1 => random.below(300) as f64 / 7.0,
        _ => 0.0,
    };
    let extent = |random: &mut Random| match random.below(6) {
        0 if random.below(3) == 0 => Extent::Pixels(random.number()),
        1..3 => Extent::Pixels(random.below(2000) as f64 / 3.0),
        _ => Extent::ToEdge,
    };
    match random.below(4) {
        0 => Framing::Native,
        1 => Framing::FitWithin(side(random)),
        _ => {
            let source = SourceRect {
                x: edge(random),
                y: edge(random),
                width: extent(random),
                height: extent(random),
                mirror_horizontal: random.below(2) == 0,
                mirror_vertical: random.below(2) == 0,
            };
            Framing::Viewport(Viewport { width: side(random), height: side(random), source })
        }
    }
}

// ---- memory

/// The broken files declare gigabytes. Measured over the whole process, other tests included.
#[test]
#[cfg(target_os = "linux")]
fn memory_follows_what_is_there_not_what_is_declared() {
    let mut paths = Vec::new();
    list(&corpus().join("broken"), &mut paths);
    if paths.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "CI needs the shared corpus");
        eprintln!("SKIPPED: no broken files at ../shared/corpus");
    }
    for path in paths {
        let bytes: Bytes = std::fs::read(&path).expect("a corpus file is readable").into();
        let job = RenderJob::new(
            Source::File { bytes, frame: FrameChoice::Representative },
            RenderSpec::new(Framing::Native, Output::Png),
            Limits::default(),
        );
        let result: Result<Picture, RenderError> = core_render::render(&job, &mut |_| Ok(()));
        let peak = peak_memory_kb();
        println!("{:6} MiB after {} {}", peak >> 10, path.display(), result.is_ok());
        assert!(peak < 600 << 10, "{peak} kB after {}", path.display());
    }
}

#[cfg(target_os = "linux")]
fn peak_memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

// ---- chance

/// xorshift64
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        // The lowest bits of xorshift are its worst.
        ((self.next() >> 11) % limit.max(1) as u64) as usize
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn word(&mut self) -> u16 {
        const EDGES: [u16; 18] =
            [0, 1, 2, 3, 7, 8, 12, 15, 16, 31, 32, 33, 64, 255, 256, 0x7FFF, 0x8000, 0xFFFF];
        if self.below(3) > 0 { self.of(&EDGES) } else { self.next() as u16 }
    }

    fn length(&mut self) -> u32 {
        const EDGES: [u32; 10] =
            [0, 1, 2, 8, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFF0, 0xFFFF_FFFE, u32::MAX];
        match self.below(3) {
            0 => self.of(&EDGES),
            1 => self.below(3000) as u32,
            _ => self.next() as u32,
        }
    }

    fn number(&mut self) -> f64 {
        const EDGES: [f64; 14] = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            1e-300,
            1e300,
            -1e300,
            f64::MAX,
            f64::MIN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            f64::MIN_POSITIVE,
        ];
        match self.below(3) {
            0 => self.of(&EDGES),
            1 => self.below(100_000) as f64 / 16.0 - 2000.0,
            _ => f64::from_bits(self.next()),
        }
    }
}

fn rounds() -> impl Iterator<Item = u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("LIGHTBOX_FUZZ_FIRST").unwrap_or(0);
    first..first + number("LIGHTBOX_FUZZ_ROUNDS").unwrap_or(ROUNDS)
}

fn frame_number(number: u32) -> FrameNumber {
    FrameNumber::new(number).unwrap_or(FrameNumber::FIRST)
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(target) = file.get_mut(at..at + bytes.len()) {
        target.copy_from_slice(bytes);
    }
}

fn find_tag(file: &[u8], tag: Tag) -> Option<usize> {
    let ([a, b], [c, d]) = (tag.group().to_le_bytes(), tag.element().to_le_bytes());
    file.windows(4).position(|bytes| bytes == [a, b, c, d])
}

/// One of the places where `mark` stands.
fn find_any(file: &[u8], mark: &[u8], random: &mut Random) -> Option<usize> {
    let places = || file.windows(mark.len()).enumerate().filter(|(_, bytes)| *bytes == mark);
    let chosen = random.below(places().take(50).count());
    places().nth(chosen).map(|(at, _)| at)
}
