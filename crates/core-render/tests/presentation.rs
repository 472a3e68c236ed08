//! Presentation states through the public door: each stage of R4.30, and how R2.11 brings the displayed
//! area into a viewport, with states and images made in code.

mod support;

use core_render::{Limits, Presentation, PresentationState, RenderError};
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicomweb_types::{FrameNumber, Uid};
use support::dicom::*;
use support::draw::{Drawing, Pixels, assert_close, draw};

const GRAYSCALE: &str = uids::GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE;
const COLOR: &str = uids::COLOR_SOFTCOPY_PRESENTATION_STATE_STORAGE;
const PSEUDO_COLOR: &str = uids::PSEUDO_COLOR_SOFTCOPY_PRESENTATION_STATE_STORAGE;

/// The instance of `dicom::image`.
const IMAGE: &str = "2.25.1";

fn uid(text: &str) -> Uid {
    text.parse().expect("a UID")
}

fn number(frame: u32) -> FrameNumber {
    FrameNumber::new(frame).expect("counted from 1")
}

/// An item of a Referenced Image Sequence.
fn image_reference(instance: &str, frames: &str) -> DataSet {
    let item = DataSet::new().text(tags::REFERENCED_SOP_CLASS_UID, "UI", SECONDARY_CAPTURE).text(
        tags::REFERENCED_SOP_INSTANCE_UID,
        "UI",
        instance,
    );
    if frames.is_empty() { item } else { item.is(tags::REFERENCED_FRAME_NUMBER, frames) }
}

fn series_reference(series: &str, images: Vec<DataSet>) -> DataSet {
    DataSet::new()
        .text(tags::SERIES_INSTANCE_UID, "UI", series)
        .sequence(tags::REFERENCED_IMAGE_SEQUENCE, images)
}

/// A state of one image and no stage.
fn state(class: &str) -> DataSet {
    DataSet::new()
        .text(tags::SOP_CLASS_UID, "UI", class)
        .text(tags::SOP_INSTANCE_UID, "UI", "2.25.9")
        .cs(tags::MODALITY, "PR")
        .sequence(
            tags::REFERENCED_SERIES_SEQUENCE,
            [series_reference("2.25.5", vec![image_reference(IMAGE, "")])],
        )
}

fn grayscale() -> DataSet {
    state(GRAYSCALE)
}

fn read(state: &DataSet) -> Result<Option<PresentationState>, RenderError> {
    PresentationState::of_file(&file(EXPLICIT_LE, state).into(), &Limits::default())
}

fn presentation(state: &DataSet) -> Presentation {
    let state = read(state).expect("a readable state").expect("a state");
    state.for_image(&uid(IMAGE), FrameNumber::FIRST).expect("it refers to the image")
}

/// The image as the state wants it, overlays and texts too.
fn presented(image: &DataSet, state: &DataSet) -> Drawing {
    draw(file(EXPLICIT_LE, image)).overlays().presentation(presentation(state))
}

fn window(centre: &str, width: &str) -> DataSet {
    DataSet::new().ds(tags::WINDOW_CENTER, centre).ds(tags::WINDOW_WIDTH, width)
}

fn rescaled(dataset: DataSet, slope: &str, intercept: &str) -> DataSet {
    dataset.ds(tags::RESCALE_SLOPE, slope).ds(tags::RESCALE_INTERCEPT, intercept)
}

// ---- what a state is, and what it refers to ----

#[test]
fn other_objects_are_no_states_and_other_states_are_named() {
    assert_eq!(read(&grey16(&[1])), Ok(None));
    assert!(matches!(read(&grayscale()), Ok(Some(_))));
    for (class, name) in [
        (uids::BLENDING_SOFTCOPY_PRESENTATION_STATE_STORAGE, "Blending"),
        (uids::ADVANCED_BLENDING_PRESENTATION_STATE_STORAGE, "Advanced Blending"),
        (uids::VARIABLE_MODALITY_LUT_SOFTCOPY_PRESENTATION_STATE_STORAGE, "Variable Modality LUT"),
        (uids::GRAYSCALE_PLANAR_MPR_VOLUMETRIC_PRESENTATION_STATE_STORAGE, "Planar MPR"),
        (uids::VOLUME_RENDERING_VOLUMETRIC_PRESENTATION_STATE_STORAGE, "Volume Rendering"),
    ] {
        match read(&state(class)) {
            Err(RenderError::Unsupported { what }) => assert!(what.contains(name), "{what}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn every_image_is_referred_to_once_in_the_order_of_the_state() {
    let series = [
        series_reference(
            "2.25.5",
            vec![image_reference("2.25.7", "3\\1"), image_reference(IMAGE, "")],
        ),
        series_reference(
            "2.25.6",
            vec![image_reference("2.25.7", "1\\2"), image_reference("bad", "")],
        ),
    ];
    let state = grayscale().sequence(tags::REFERENCED_SERIES_SEQUENCE, series);
    let state = read(&state).unwrap().unwrap();
    let references = state.references();
    let found: Vec<_> = references
        .iter()
        .map(|r| (r.instance.as_str(), r.frames.iter().map(|f| f.get()).collect::<Vec<_>>()))
        .collect();
    assert_eq!(found, [("2.25.7", vec![3, 1, 2]), (IMAGE, vec![])]);
    assert_eq!(references[0].series, uid("2.25.5"));
    assert!(state.for_image(&uid("2.25.7"), number(2)).is_some());
    assert!(state.for_image(&uid("2.25.7"), number(4)).is_none());
    assert!(state.for_image(&uid(IMAGE), number(4)).is_some());
    assert!(state.for_image(&uid("2.25.8"), number(1)).is_none());
}

// ---- R4.30, grey: modality, VOI, presentation LUT ----

/// Stored values as display values.
const AS_STORED: [u8; 4] = [0, 50, 128, 255];

fn image() -> DataSet {
    grey8(1, 4, &AS_STORED)
}

#[test]
fn r4_30_what_a_state_lacks_is_identity_and_the_images_own_is_not_used() {
    let own = rescaled(image(), "-3", "7")
        .ds(tags::WINDOW_CENTER, "9")
        .ds(tags::WINDOW_WIDTH, "2")
        .cs(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1")
        .cs(tags::PRESENTATION_LUT_SHAPE, "INVERSE")
        .cs(tags::SHUTTER_SHAPE, "RECTANGULAR")
        .is(tags::SHUTTER_LEFT_VERTICAL_EDGE, "2")
        .is(tags::SHUTTER_RIGHT_VERTICAL_EDGE, "3")
        .is(tags::SHUTTER_UPPER_HORIZONTAL_EDGE, "0")
        .is(tags::SHUTTER_LOWER_HORIZONTAL_EDGE, "9");
    assert_ne!(draw(file(EXPLICIT_LE, &own)).grey(), AS_STORED);
    assert_eq!(presented(&own, &grayscale()).grey(), AS_STORED);
    // R2.11: no window of a request either.
    assert_eq!(presented(&own, &grayscale()).window("9,2,linear").grey(), AS_STORED);
}

#[test]
fn r4_30_voi_identity_spans_what_the_modality_stage_can_put_out() {
    let cells = [0_u16, 1024, 4095];
    let image = grey16(&cells).us(tags::BITS_STORED, [12]).us(tags::HIGH_BIT, [11]);
    assert_eq!(presented(&image, &grayscale()).grey(), [0, 64, 255]);
    // −1024 … 3071, and turned around by a negative slope.
    assert_eq!(presented(&image, &rescaled(grayscale(), "1", "-1024")).grey(), [0, 64, 255]);
    assert_eq!(presented(&image, &rescaled(grayscale(), "-2", "5")).grey(), [255, 191, 0]);
    let signed = image.us(tags::PIXEL_REPRESENTATION, [1]);
    assert_eq!(presented(&signed, &grayscale()).grey(), [128, 191, 127]);
    let lut =
        grayscale().sequence(tags::MODALITY_LUT_SEQUENCE, [lut_item(0, 12, &[0, 2047, 4095])]);
    assert_eq!(presented(&grey8(1, 4, &[0, 1, 2, 9]), &lut).grey(), [0, 127, 255, 255]);
}

#[test]
fn r4_30_the_window_is_in_units_of_the_states_modality_stage() {
    let image = grey16(&[1024 - 128, 1024, 1024 + 127]);
    let state = rescaled(grayscale(), "1", "-1024")
        .sequence(tags::SOFTCOPY_VOILUT_SEQUENCE, [window("0", "256")]);
    assert_eq!(presented(&image, &state).grey(), [0, 128, 255]);
    let exact = window("0", "256").cs(tags::VOILUT_FUNCTION, "LINEAR_EXACT");
    let state =
        rescaled(grayscale(), "1", "-1024").sequence(tags::SOFTCOPY_VOILUT_SEQUENCE, [exact]);
    assert_eq!(presented(&image, &state).grey(), [0, 128, 254]);
    let sigmoid = window("0", "256").cs(tags::VOILUT_FUNCTION, "SIGMOID");
    let state =
        rescaled(grayscale(), "1", "-1024").sequence(tags::SOFTCOPY_VOILUT_SEQUENCE, [sigmoid]);
    assert_eq!(presented(&image, &state).grey(), [30, 128, 224]);
}

#[test]
fn r4_30_tables_take_signed_inputs_where_the_image_has_them() {
    let image = grey16(&[0xFFFE, 0xFFFF, 0, 1]).us(tags::PIXEL_REPRESENTATION, [1]);
    let values = [0, 10, 200, 255];
    let voi = DataSet::new().sequence(tags::VOILUT_SEQUENCE, [lut_item(-2, 8, &values)]);
    let state = grayscale().sequence(tags::SOFTCOPY_VOILUT_SEQUENCE, [voi]);
    assert_eq!(presented(&image, &state).grey(), [0, 10, 200, 255]);
    let state = grayscale().sequence(tags::MODALITY_LUT_SEQUENCE, [lut_item(-2, 8, &values)]);
    assert_eq!(presented(&image, &state).grey(), [0, 10, 200, 255]);
    // 65 534 of an image without a sign is no −2.
    let unsigned = grey16(&[0xFFFE, 0xFFFF, 0, 1]);
    let voi = DataSet::new().sequence(tags::VOILUT_SEQUENCE, [lut_item(0xFFFE, 8, &[40, 80])]);
    let state = grayscale().sequence(tags::SOFTCOPY_VOILUT_SEQUENCE, [voi]);
    assert_eq!(presented(&unsigned, &state).grey(), [40, 80, 40, 40]);
}

#[test]
fn r4_30_the_presentation_lut_comes_last_whatever_the_photometric_interpretation() {
    let inverse = grayscale().cs(tags::PRESENTATION_LUT_SHAPE, "INVERSE");
    let turned = [255, 205, 127, 0];
    assert_eq!(presented(&image(), &inverse).grey(), turned);
    let monochrome1 = image().cs(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1");
    assert_eq!(presented(&monochrome1, &inverse).grey(), turned);
    // The whole output of the VOI is scaled to five inputs: 0, 1, 2, 4 of them are met.
    let table = lut_item(0, 10, &[1023, 0, 511, 0, 100]);
    let state = grayscale().sequence(tags::PRESENTATION_LUT_SEQUENCE, [table]);
    assert_eq!(presented(&image(), &state).grey(), [255, 0, 127, 25]);
}

#[test]
fn r4_17_padding_is_black_in_both_polarities() {
    let padded = image().us(tags::PIXEL_PADDING_VALUE, [128]);
    let inverse = grayscale().cs(tags::PRESENTATION_LUT_SHAPE, "INVERSE");
    assert_eq!(presented(&padded, &inverse).grey(), [255, 205, 0, 0]);
}

#[test]
fn r4_30_items_apply_to_the_images_and_frames_they_name() {
    let two = grey8(2, 2, &[0, 50, 0, 50]).us(tags::ROWS, [1]).is(tags::NUMBER_OF_FRAMES, "2");
    let limited = |frames: &str, item: DataSet| {
        item.sequence(tags::REFERENCED_IMAGE_SEQUENCE, [image_reference(IMAGE, frames)])
    };
    let elsewhere =
        window("5", "2").sequence(tags::REFERENCED_IMAGE_SEQUENCE, [image_reference("2.25.7", "")]);
    let line = DataSet::new()
        .cs(tags::GRAPHIC_LAYER, "L")
        .sequence(tags::GRAPHIC_OBJECT_SEQUENCE, [graphic("POLYLINE", &[0.0, 0.5, 1.0, 0.5])]);
    let state = grayscale()
        .sequence(tags::SOFTCOPY_VOILUT_SEQUENCE, [elsewhere, limited("2", window("50", "100"))])
        .sequence(tags::GRAPHIC_ANNOTATION_SEQUENCE, [limited("2", line)]);
    let state = read(&state).unwrap().unwrap();
    let frame = |frame| {
        let presentation = state.for_image(&uid(IMAGE), number(frame)).unwrap();
        draw(file(EXPLICIT_LE, &two)).frame(frame).presentation(presentation).grey()
    };
    assert_eq!(frame(1), [0, 50]);
    let second = frame(2);
    assert!(second[0] > 200 && second[1] > 129, "{second:?}");
}

// ---- R4.30, colour ----

#[test]
fn r4_30_colour_states_have_no_grey_stages() {
    let colours = [[10, 20, 30], [200, 100, 0]];
    let image = colour8("RGB", &colours);
    let state = rescaled(state(COLOR), "2", "9")
        .sequence(tags::SOFTCOPY_VOILUT_SEQUENCE, [window("5", "2")])
        .us(tags::IMAGE_ROTATION, [180])
        .cs(tags::IMAGE_HORIZONTAL_FLIP, "N");
    assert_eq!(presented(&image, &state).rgb(), [colours[1], colours[0]]);
}

#[test]
fn r4_24_the_profile_of_the_state_describes_the_pixels() {
    let wide = moxcms::ColorProfile::new_adobe_rgb().encode().unwrap();
    let image = colour8("RGB", &[[60, 180, 60], [128, 128, 128]]);
    let with = presented(&image, &state(COLOR).bytes(tags::ICC_PROFILE, "OB", even(&wide))).rgb();
    assert!(with[0][0] < 30, "{with:?}");
    // The image's own is not used.
    let own = image.bytes(tags::ICC_PROFILE, "OB", even(&wide));
    assert_eq!(presented(&own, &state(COLOR)).rgb()[0], [60, 180, 60]);
}

fn palette(dataset: DataSet, tables: [&[u16]; 3]) -> DataSet {
    let colour = |dataset: DataSet, descriptor: Tag, data: Tag, table: &[u16]| {
        dataset.us(descriptor, [table.len() as u16, 0, 16]).ow(data, table)
    };
    let [red, green, blue] = tables;
    let dataset = colour(
        dataset,
        tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        red,
    );
    let dataset = colour(
        dataset,
        tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        green,
    );
    colour(
        dataset,
        tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        blue,
    )
}

#[test]
fn r4_30_pseudo_colour_maps_the_output_of_the_voi_through_the_palette() {
    let state = palette(
        state(PSEUDO_COLOR).sequence(tags::SOFTCOPY_VOILUT_SEQUENCE, [window("100", "101")]),
        [&[0, 65_535, 0], &[0, 0, 32_768], &[65_535, 0, 0]],
    );
    let colours = presented(&grey8(1, 4, &[0, 50, 100, 255]), &state).rgb();
    assert_eq!(colours, [[0, 0, 255], [0, 0, 255], [255, 0, 0], [0, 128, 0]]);
}

#[test]
fn states_of_another_kind_of_image_draw_what_can_be_drawn_and_say_so() {
    let colour = colour8("RGB", &[[10, 20, 30], [200, 100, 0]]);
    let picture = presented(&colour, &grayscale()).pixels();
    assert_eq!((picture.rgb[0], picture.warnings.len()), ([10, 20, 30], 1));
    let picture = presented(&image(), &state(COLOR)).pixels();
    assert_eq!((picture.grey(), picture.warnings.len()), (AS_STORED.to_vec(), 1));
}

// ---- R4.30: shutters and overlays ----

/// Mid grey.
fn plain(rows: u16, columns: u16) -> DataSet {
    grey8(rows, columns, &vec![100; usize::from(rows) * usize::from(columns)])
}

fn plane(dataset: DataSet, group: u16, rows: u16, columns: u16, bits: &[u8]) -> DataSet {
    dataset
        .us(Tag(group, 0x0010), [rows])
        .us(Tag(group, 0x0011), [columns])
        .cs(Tag(group, 0x0040), "G")
        .ss(Tag(group, 0x0050), [1, 1])
        .us(Tag(group, 0x0100), [1])
        .us(Tag(group, 0x0102), [0])
        .bytes(Tag(group, 0x3000), "OW", even(bits))
}

/// A layer with a grey.
fn layer(name: &str, order: &str, grey: u16) -> DataSet {
    DataSet::new()
        .cs(tags::GRAPHIC_LAYER, name)
        .is(tags::GRAPHIC_LAYER_ORDER, order)
        .us(tags::GRAPHIC_LAYER_RECOMMENDED_DISPLAY_GRAYSCALE_VALUE, [grey])
}

#[test]
fn r4_27_the_shutter_of_the_state_hides_with_its_value_or_colour() {
    let shut = grayscale()
        .cs(tags::SHUTTER_SHAPE, "RECTANGULAR")
        .is(tags::SHUTTER_LEFT_VERTICAL_EDGE, "2")
        .is(tags::SHUTTER_RIGHT_VERTICAL_EDGE, "3")
        .is(tags::SHUTTER_UPPER_HORIZONTAL_EDGE, "0")
        .is(tags::SHUTTER_LOWER_HORIZONTAL_EDGE, "9")
        .us(tags::SHUTTER_PRESENTATION_VALUE, [0x4000]);
    assert_eq!(presented(&plain(1, 4), &shut).grey(), [64, 100, 100, 64]);
    let coloured =
        shut.us(tags::SHUTTER_PRESENTATION_COLOR_CIE_LAB_VALUE, [35_580, 53_664, 50_857]);
    let picture = presented(&plain(1, 4), &coloured).rgb();
    assert_close(&picture[..2], &[[255, 0, 0], [100; 3]], 12);
}

#[test]
fn r4_27_a_bitmap_shutter_hides_where_its_bits_are_set() {
    let shut = plane(grayscale(), 0x6002, 1, 4, &[0b1001])
        .cs(tags::SHUTTER_SHAPE, "BITMAP")
        .us(tags::SHUTTER_OVERLAY_GROUP, [0x6002])
        .us(tags::SHUTTER_PRESENTATION_VALUE, [0]);
    let picture = presented(&plain(1, 4), &shut).pixels();
    assert_eq!(picture.grey(), [0, 100, 100, 0]);
    assert!(picture.warnings.is_empty(), "{:?}", picture.warnings);
    // It is no overlay: where overlays are omitted it hides as before.
    let without = draw(file(EXPLICIT_LE, &plain(1, 4))).presentation(presentation(&shut));
    assert_eq!(without.grey(), [0, 100, 100, 0]);
}

#[test]
fn r4_30_overlays_are_drawn_if_they_are_activated_in_the_grey_of_their_layer() {
    let image = plane(plane(plain(1, 4), 0x6000, 1, 4, &[0b0001]), 0x6002, 1, 4, &[0b1111]);
    let layers = [layer("HIGH", "2", 0xFF00), layer("LOW", "1", 0x2000)];
    let state = plane(grayscale(), 0x6004, 1, 4, &[0b0110])
        .sequence(tags::GRAPHIC_LAYER_SEQUENCE, layers)
        .cs(Tag(0x6000, 0x1001), "LOW")
        .cs(Tag(0x6004, 0x1001), "HIGH");
    assert_eq!(presented(&image, &state).grey(), [32, 255, 255, 100]);
    // The state's own group hides the image's of the same number.
    let own = plane(state, 0x6000, 1, 4, &[0b1000]);
    assert_eq!(presented(&image, &own).grey(), [100, 255, 255, 32]);
    let omitted = draw(file(EXPLICIT_LE, &image)).presentation(presentation(&own));
    assert_eq!(omitted.grey(), [100; 4]);
}

#[test]
fn r4_30_annotations_lie_over_the_shutter_and_layers_in_their_order() {
    let bits = [0b1111];
    let state = plane(plane(grayscale(), 0x6000, 1, 4, &bits), 0x6002, 1, 4, &[0b0011])
        .cs(Tag(0x6000, 0x1001), "LOW")
        .cs(Tag(0x6002, 0x1001), "HIGH")
        .sequence(
            tags::GRAPHIC_LAYER_SEQUENCE,
            [layer("HIGH", "2", 0xFF00), layer("MIDDLE", "1", 0x8000), layer("LOW", "0", 0x2000)],
        )
        .sequence(
            tags::GRAPHIC_ANNOTATION_SEQUENCE,
            [annotation(
                "MIDDLE",
                vec![
                    filled(graphic(
                        "POLYLINE",
                        &[1.0, -9.0, 3.0, -9.0, 3.0, 9.0, 1.0, 9.0, 1.0, -9.0],
                    ))
                    .sequence(
                        tags::LINE_STYLE_SEQUENCE,
                        [DataSet::new().fl(tags::PATTERN_ON_OPACITY, 0.0)],
                    ),
                ],
            )],
        )
        .cs(tags::SHUTTER_SHAPE, "CIRCULAR")
        .is(tags::CENTER_OF_CIRCULAR_SHUTTER, "50\\50")
        .is(tags::RADIUS_OF_CIRCULAR_SHUTTER, "1");
    assert_eq!(presented(&plain(1, 4), &state).grey(), [255, 255, 128, 32]);
}

// ---- R4.30: graphics ----

fn graphic(kind: &str, data: &[f32]) -> DataSet {
    DataSet::new()
        .cs(tags::GRAPHIC_ANNOTATION_UNITS, "PIXEL")
        .us(tags::GRAPHIC_DIMENSIONS, [2])
        .us(tags::NUMBER_OF_GRAPHIC_POINTS, [(data.len() / 2) as u16])
        .fls(tags::GRAPHIC_DATA, data)
        .cs(tags::GRAPHIC_TYPE, kind)
        .cs(tags::GRAPHIC_FILLED, "N")
}

fn filled(graphic: DataSet) -> DataSet {
    graphic.cs(tags::GRAPHIC_FILLED, "Y")
}

fn annotation(layer: &str, graphics: Vec<DataSet>) -> DataSet {
    DataSet::new().cs(tags::GRAPHIC_LAYER, layer).sequence(tags::GRAPHIC_OBJECT_SEQUENCE, graphics)
}

fn annotated(graphics: Vec<DataSet>) -> DataSet {
    grayscale().sequence(tags::GRAPHIC_ANNOTATION_SEQUENCE, [annotation("NONE", graphics)])
}

/// Rows and columns that a graphic lit.
fn lit(picture: &Pixels) -> Vec<(u32, u32)> {
    let places = (0..picture.height).flat_map(|y| (0..picture.width).map(move |x| (y, x)));
    places.filter(|&(y, x)| picture.at(y, x)[0] > 200).collect()
}

fn black(side: u16) -> DataSet {
    grey8(side, side, &vec![0; usize::from(side).pow(2)])
}

#[test]
fn r4_30_points_of_graphics_are_pixels_from_the_corner_of_the_image() {
    // Through the middle of row 5 (from 0), from the middle of column 2 to that of column 6.
    let line = annotated(vec![graphic("POLYLINE", &[2.5, 5.55, 6.5, 5.55])]);
    let picture = presented(&black(20), &line).pixels();
    let on_line: Vec<_> = (2..=6).map(|x| (5, x)).collect();
    assert_eq!(lit(&picture), on_line);
    // At ten times the size the line is thin: it is drawn into the picture, not scaled with the image.
    let large = presented(&black(20), &line).viewport("200,200").pixels();
    let rows: Vec<u32> = lit(&large).iter().map(|(row, _)| *row).collect();
    assert!(rows.iter().all(|row| (53..=57).contains(row)), "{rows:?}");
    assert!(large.at(55, 26)[0] > 200 && large.at(55, 64)[0] > 200 && large.at(55, 70)[0] < 50);
}

#[test]
fn r4_30_every_type_is_drawn_where_its_points_say() {
    let white_at = |kind: &str, data: &[f32], on: [(u32, u32); 2], off: (u32, u32)| {
        let picture = presented(&black(40), &annotated(vec![graphic(kind, data)])).pixels();
        for (y, x) in on {
            assert!(picture.at(y, x)[0] > 120, "{kind} at {y}, {x}");
        }
        assert_eq!(picture.at(off.0, off.1)[0], 0, "{kind}");
    };
    white_at("POINT", &[10.5, 20.5], [(20, 10), (20, 11)], (20, 14));
    white_at("CIRCLE", &[20.5, 20.5, 30.5, 20.5], [(20, 30), (10, 20)], (20, 20));
    let ellipse = [5.5, 20.5, 35.5, 20.5, 20.5, 15.5, 20.5, 25.5];
    white_at("ELLIPSE", &ellipse, [(20, 5), (15, 20)], (20, 20));
    let smooth = [5.5, 5.5, 20.5, 30.5, 35.5, 5.5];
    white_at("INTERPOLATED", &smooth, [(5, 5), (30, 20)], (5, 20));
    let picture = presented(
        &black(40),
        &annotated(vec![filled(graphic("CIRCLE", &[20.5, 20.5, 30.5, 20.5]))]),
    );
    assert_eq!(picture.pixels().at(20, 20)[0], 255);
}

#[test]
fn r4_30_displayed_units_are_measured_on_the_displayed_area_after_the_turn() {
    let line =
        graphic("POLYLINE", &[0.5, 0.0, 0.5, 0.25]).cs(tags::GRAPHIC_ANNOTATION_UNITS, "DISPLAY");
    for rotation in [0, 90, 180, 270] {
        let state = annotated(vec![line.clone()])
            .us(tags::IMAGE_ROTATION, [rotation])
            .cs(tags::IMAGE_HORIZONTAL_FLIP, "Y");
        let picture = presented(&grey8(20, 40, &[0; 800]), &state).pixels();
        let middle = picture.width / 2;
        assert!(picture.at(0, middle)[0] > 120, "{rotation}");
        assert_eq!(picture.at(picture.height / 2, middle)[0], 0, "{rotation}");
    }
}

#[test]
fn r4_30_pixels_and_graphics_are_turned_and_flipped_alike() {
    for (rotation, flip) in [0, 90, 180, 270].into_iter().flat_map(|r| [(r, "N"), (r, "Y")]) {
        let mut cells = [0; 600];
        cells[3 * 30 + 4] = 255;
        let marked = grey8(20, 30, &cells);
        let turn = |state: DataSet| {
            state.us(tags::IMAGE_ROTATION, [rotation]).cs(tags::IMAGE_HORIZONTAL_FLIP, flip)
        };
        let pixel = lit(&presented(&marked, &turn(grayscale())).pixels());
        let dot = turn(annotated(vec![graphic("POINT", &[4.5, 3.5])]));
        let dot = presented(&grey8(20, 30, &[0; 600]), &dot).pixels();
        assert_eq!(pixel.len(), 1);
        assert!(lit(&dot).contains(&pixel[0]), "{rotation} {flip}: {pixel:?} {:?}", lit(&dot));
        // By hand: the pixel in row 3 and column 4 of 20 × 30.
        let (row, column) = match rotation {
            0 => (3, 4),
            90 => (4, 19 - 3),
            180 => (19 - 3, 29 - 4),
            _ => (29 - 4, 3),
        };
        let width = if rotation % 180 == 0 { 30 } else { 20 };
        let column = if flip == "Y" { width - 1 - column } else { column };
        assert_eq!(pixel[0], (row, column), "{rotation} {flip}");
    }
}

#[test]
fn r4_30_colours_of_layers_make_a_picture_of_colour() {
    let red = layer("RED", "1", 0xFFFF)
        .us(tags::GRAPHIC_LAYER_RECOMMENDED_DISPLAY_CIE_LAB_VALUE, [35_580, 53_664, 50_857]);
    let square = filled(graphic("POLYLINE", &[2.0, 2.0, 8.0, 2.0, 8.0, 8.0, 2.0, 8.0, 2.0, 2.0]));
    let state = grayscale()
        .sequence(tags::GRAPHIC_LAYER_SEQUENCE, [red])
        .sequence(tags::GRAPHIC_ANNOTATION_SEQUENCE, [annotation("RED", vec![square])]);
    let picture = presented(&plain(10, 10), &state).pixels();
    assert_close(&[picture.at(5, 5), picture.at(0, 0)], &[[255, 0, 0], [100; 3]], 12);
}

#[test]
fn r4_30_texts_are_drawn_and_left_out_with_the_overlays() {
    let text = DataSet::new()
        .cs(tags::BOUNDING_BOX_ANNOTATION_UNITS, "PIXEL")
        .text(tags::UNFORMATTED_TEXT_VALUE, "ST", "Hyde")
        .fls(tags::BOUNDING_BOX_TOP_LEFT_HAND_CORNER, [10.0, 10.0])
        .fls(tags::BOUNDING_BOX_BOTTOM_RIGHT_HAND_CORNER, [90.0, 40.0])
        .cs(tags::BOUNDING_BOX_TEXT_HORIZONTAL_JUSTIFICATION, "LEFT");
    let state = grayscale().sequence(
        tags::GRAPHIC_ANNOTATION_SEQUENCE,
        [DataSet::new().cs(tags::GRAPHIC_LAYER, "L").sequence(tags::TEXT_OBJECT_SEQUENCE, [text])],
    );
    let places = lit(&presented(&black(100), &state).pixels());
    assert!(places.len() > 30, "{}", places.len());
    assert!(places.iter().all(|(y, x)| (8..45).contains(y) && (8..95).contains(x)), "{places:?}");
    let without = draw(file(EXPLICIT_LE, &black(100))).presentation(presentation(&state));
    assert!(lit(&without.pixels()).is_empty());
}

// ---- R2.11: the displayed area ----

fn area(state: DataSet, one: [i32; 2], other: [i32; 2], mode: &str) -> DataSet {
    let item = DataSet::new()
        .sl(tags::DISPLAYED_AREA_TOP_LEFT_HAND_CORNER, one)
        .sl(tags::DISPLAYED_AREA_BOTTOM_RIGHT_HAND_CORNER, other)
        .cs(tags::PRESENTATION_SIZE_MODE, mode)
        .is(tags::PRESENTATION_PIXEL_ASPECT_RATIO, "1\\1")
        .fl(tags::PRESENTATION_PIXEL_MAGNIFICATION_RATIO, 4.0);
    state.sequence(tags::DISPLAYED_AREA_SELECTION_SEQUENCE, [item])
}

/// 4 × 3 pixels: 10, 20, 30 … 120.
fn numbered() -> DataSet {
    grey8(3, 4, &(1..=12).map(|n| n * 10).collect::<Vec<u8>>())
}

#[test]
fn r2_11_without_a_viewport_the_displayed_area_is_the_picture() {
    let cut = area(grayscale(), [2, 1], [3, 2], "SCALE TO FIT");
    let picture = presented(&numbered(), &cut).pixels();
    assert_eq!((picture.width, picture.height, picture.grey()), (2, 2, vec![20, 30, 60, 70]));
    // It may reach over the image, and its corners are those of the turned image.
    let wide = area(grayscale(), [0, 0], [5, 1], "SCALE TO FIT");
    assert_eq!(
        presented(&numbered(), &wide).grey(),
        [[0; 6], [0, 10, 20, 30, 40, 0]].as_flattened()
    );
    let turned = area(grayscale(), [2, 2], [3, 1], "SCALE TO FIT")
        .us(tags::IMAGE_ROTATION, [90])
        .cs(tags::IMAGE_HORIZONTAL_FLIP, "N");
    assert_eq!(presented(&numbered(), &turned).grey(), [60, 20, 70, 30]);
}

#[test]
fn r2_11_displayed_areas_are_fitted_into_the_viewport() {
    for mode in ["SCALE TO FIT", "TRUE SIZE"] {
        let cut = area(grayscale(), [1, 1], [2, 1], mode);
        let picture = presented(&numbered(), &cut).viewport("100,100").pixels();
        assert_eq!((picture.width, picture.height), (100, 50), "{mode}");
        assert!(picture.at(25, 10)[0].abs_diff(10) < 4 && picture.at(25, 90)[0].abs_diff(20) < 4);
    }
    let high = DataSet::new()
        .sl(tags::DISPLAYED_AREA_TOP_LEFT_HAND_CORNER, [1, 1])
        .sl(tags::DISPLAYED_AREA_BOTTOM_RIGHT_HAND_CORNER, [4, 2])
        .cs(tags::PRESENTATION_SIZE_MODE, "TRUE SIZE")
        .ds(tags::PRESENTATION_PIXEL_SPACING, "0.4\\0.2");
    let state = grayscale().sequence(tags::DISPLAYED_AREA_SELECTION_SEQUENCE, [high]);
    let picture = presented(&numbered(), &state).viewport("64,200").pixels();
    assert_eq!((picture.width, picture.height), (64, 64));
}

#[test]
fn r2_11_magnified_areas_are_cut_to_the_viewport() {
    let state = area(grayscale(), [1, 1], [4, 3], "MAGNIFY");
    let whole = presented(&numbered(), &state).viewport("100,100").pixels();
    assert_eq!((whole.width, whole.height), (16, 12));
    let cut = presented(&numbered(), &state).viewport("8,100").pixels();
    assert_eq!((cut.width, cut.height), (8, 12));
    assert_eq!((cut.at(1, 1)[0], cut.at(1, 6)[0]), (whole.at(1, 5)[0], whole.at(1, 10)[0]));
}

#[test]
fn r2_11_thumbnails_are_never_enlarged_and_regions_refused() {
    let state = area(grayscale(), [1, 1], [4, 3], "MAGNIFY");
    let small = presented(&numbered(), &state).fit_within(256).pixels();
    assert_eq!((small.width, small.height), (4, 3));
    let region = presented(&numbered(), &state).viewport("10,10,1,1,2,2");
    assert!(matches!(region.error(), RenderError::Unsupported { .. }));
}

#[test]
fn r2_11_a_displayed_area_of_any_size_is_drawn_or_refused() {
    let huge = area(grayscale(), [i32::MIN, i32::MIN], [i32::MAX, i32::MAX], "SCALE TO FIT");
    assert!(matches!(presented(&numbered(), &huge).error(), RenderError::TooLarge { .. }));
    let picture = presented(&numbered(), &huge).viewport("50,50").pixels();
    assert_eq!((picture.width, picture.height, lit(&picture).len()), (50, 50, 0));
}

// ---- data from another process ----

#[test]
fn presentations_survive_the_way_to_another_process() {
    let state = area(
        plane(annotated(vec![graphic("CIRCLE", &[2.5, 2.5, 3.5, 2.5])]), 0x6000, 1, 4, &[0b0110])
            .cs(Tag(0x6000, 0x1001), "NONE"),
        [1, 1],
        [4, 3],
        "SCALE TO FIT",
    )
    .sequence(tags::PRESENTATION_LUT_SEQUENCE, [lut_item(0, 8, &[0, 200, 100])]);
    let sent = presentation(&state);
    let received = serde_json::from_str(&serde_json::to_string(&sent).unwrap()).unwrap();
    assert_eq!(sent, received);
    let picture =
        |presentation| draw(file(EXPLICIT_LE, &numbered())).presentation(presentation).rgb();
    assert_eq!(picture(sent), picture(received));
}

#[test]
fn presentations_that_no_state_makes_are_refused() {
    let state = area(
        annotated(vec![graphic("CIRCLE", &[2.5, 2.5, 3.5, 2.5])]),
        [1, 1],
        [4, 3],
        "SCALE TO FIT",
    )
    .sequence(tags::PRESENTATION_LUT_SEQUENCE, [lut_item(0, 8, &[0, 200, 100])]);
    let json = serde_json::to_value(presentation(&state)).unwrap();
    let spoilt = |pointer: &str, value: serde_json::Value| {
        let mut json = json.clone();
        *json.pointer_mut(pointer).expect(pointer) = value;
        let presentation = serde_json::from_value(json).unwrap();
        draw(file(EXPLICIT_LE, &numbered())).presentation(presentation).result()
    };
    for (pointer, value) in [
        ("/grey/presentation/Table/entries", serde_json::json!([])),
        ("/grey/presentation/Table/bits", 0.into()),
        ("/area/rect/width", serde_json::json!(-1.0)),
        ("/area/rect/left", serde_json::json!(1e300)),
        ("/area/aspect", serde_json::json!(0.0)),
        ("/graphics/0/points", serde_json::json!([])),
        ("/graphics/0/points", serde_json::json!(vec![[1.0, 1.0]; 20_000])),
        ("/graphics/0/line/thickness", serde_json::json!(1e9)),
        ("/graphics/0/line/opacity", serde_json::json!(7.0)),
    ] {
        let result = spoilt(pointer, value);
        assert!(matches!(result, Err(RenderError::Attribute { .. })), "{pointer}: {result:?}");
    }
}

// ---- hostile states ----

/// A state that has something of everything.
fn rich() -> DataSet {
    let text = DataSet::new()
        .cs(tags::BOUNDING_BOX_ANNOTATION_UNITS, "PIXEL")
        .cs(tags::ANCHOR_POINT_ANNOTATION_UNITS, "DISPLAY")
        .text(tags::UNFORMATTED_TEXT_VALUE, "ST", "HOSTILE^SECRET\r\nof two lines")
        .fls(tags::BOUNDING_BOX_TOP_LEFT_HAND_CORNER, [1.0, 1.0])
        .fls(tags::BOUNDING_BOX_BOTTOM_RIGHT_HAND_CORNER, [30.0, 10.0])
        .fls(tags::ANCHOR_POINT, [0.5, 0.5])
        .cs(tags::ANCHOR_POINT_VISIBILITY, "Y");
    let style = DataSet::new()
        .fl(tags::LINE_THICKNESS, 3.0)
        .fl(tags::PATTERN_ON_OPACITY, 0.5)
        .us(tags::PATTERN_ON_COLOR_CIE_LAB_VALUE, [35_580, 53_664, 50_857]);
    let compound = DataSet::new()
        .fls(tags::GRAPHIC_DATA, [2.0, 2.0, 9.0, 9.0])
        .cs(tags::COMPOUND_GRAPHIC_TYPE, "RECTANGLE")
        .cs(tags::COMPOUND_GRAPHIC_UNITS, "PIXEL")
        .fl(tags::ROTATION_ANGLE, 30.0);
    let annotation = annotation(
        "L",
        vec![
            filled(graphic("POLYLINE", &[1.0, 1.0, 30.0, 5.0, 9.0, 20.0, 1.0, 1.0]))
                .sequence(tags::LINE_STYLE_SEQUENCE, [style.clone()])
                .sequence(tags::FILL_STYLE_SEQUENCE, [style]),
            graphic("INTERPOLATED", &[1.0, 1.0, 30.0, 5.0, 9.0, 20.0]),
            graphic("CIRCLE", &[10.0, 10.0, 12.0, 12.0]),
            graphic("ELLIPSE", &[1.0, 5.0, 9.0, 5.0, 5.0, 1.0, 5.0, 9.0]),
            graphic("POINT", &[0.5, 0.5]).cs(tags::GRAPHIC_ANNOTATION_UNITS, "DISPLAY"),
        ],
    )
    .sequence(tags::TEXT_OBJECT_SEQUENCE, [text])
    .sequence(tags::COMPOUND_GRAPHIC_SEQUENCE, [compound])
    .sequence(tags::REFERENCED_IMAGE_SEQUENCE, [image_reference(IMAGE, "1")]);
    let voi = DataSet::new().sequence(tags::VOILUT_SEQUENCE, [lut_item(-2, 8, &[0, 90, 200, 255])]);
    let state = plane(plane(grayscale(), 0x6000, 8, 8, &[0x5A; 8]), 0x6002, 8, 8, &[0x81; 8])
        .cs(Tag(0x6000, 0x1001), "L")
        .cs(Tag(0x6004, 0x1001), "L")
        .cs(tags::SHUTTER_SHAPE, "POLYGONAL\\BITMAP")
        .is(tags::VERTICES_OF_THE_POLYGONAL_SHUTTER, "1\\1\\20\\30\\25\\2")
        .us(tags::SHUTTER_OVERLAY_GROUP, [0x6002])
        .us(tags::SHUTTER_PRESENTATION_VALUE, [0x4000])
        .us(tags::IMAGE_ROTATION, [90])
        .cs(tags::IMAGE_HORIZONTAL_FLIP, "Y")
        .sequence(tags::MODALITY_LUT_SEQUENCE, [lut_item(0, 12, &[0, 2047, 4095])])
        .sequence(tags::SOFTCOPY_VOILUT_SEQUENCE, [voi])
        .sequence(tags::PRESENTATION_LUT_SEQUENCE, [lut_item(0, 10, &[1023, 0, 511])])
        .sequence(tags::GRAPHIC_LAYER_SEQUENCE, [layer("L", "1", 0xFFFF)])
        .sequence(tags::GRAPHIC_ANNOTATION_SEQUENCE, [annotation]);
    let tables: [&[u16]; 3] = [&[0, 65_535, 0], &[0, 0, 32_768], &[65_535, 0, 0]];
    palette(area(state, [-3, 2], [40, 30], "MAGNIFY"), tables)
}

/// xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % limit as u64) as usize
    }
}

fn mutated(seed: &[u8], random: &mut Random) -> Vec<u8> {
    const FLOATS: [f32; 8] = [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN, 1e30, -1e9, 0.0, 1e-30];
    const WORDS: [u16; 8] = [0, 1, 2, 0x7FFF, 0x8000, 0xFFFF, 0x6002, 255];
    let mut file = seed.to_vec();
    for _ in 0..=random.below(6) {
        // After the preamble, the magic and the meta group's own header.
        let at = 150 + random.below(file.len() - 160);
        match random.below(5) {
            0 => file[at] = random.below(256) as u8,
            1 => file[at] ^= 1 << random.below(8),
            2 | 3 => {
                let word = WORDS[random.below(WORDS.len())].to_le_bytes();
                file[at & !1..][..2].copy_from_slice(&word);
            }
            _ => {
                let float = FLOATS[random.below(FLOATS.len())].to_le_bytes();
                file[at & !1..][..4].copy_from_slice(&float);
            }
        }
    }
    file
}

#[test]
fn mutated_states_are_drawn_or_refused() {
    const ROUNDS: u64 = 1500;
    let limits = Limits { source_pixels: 1_000_000, output_pixels: 500_000, ..Limits::default() };
    let classes = [GRAYSCALE, COLOR, PSEUDO_COLOR];
    let seeds =
        classes.map(|class| file(EXPLICIT_LE, &rich().text(tags::SOP_CLASS_UID, "UI", class)));
    let image = file(EXPLICIT_LE, &plain(32, 48));
    let mut drawn = 0;
    for round in 0..ROUNDS {
        let mut random = Random((round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let state = mutated(&seeds[random.below(seeds.len())], &mut random);
        let begun = std::time::Instant::now();
        let Ok(Some(state)) = PresentationState::of_file(&state.into(), &limits) else { continue };
        let Some(presentation) = state.for_image(&uid(IMAGE), FrameNumber::FIRST) else { continue };
        assert!(!format!("{presentation:?}").contains("SECRET"), "round {round}");
        let drawing = draw(image.clone()).overlays().limits(limits).presentation(presentation);
        let drawing = match random.below(3) {
            0 => drawing,
            1 => drawing.viewport("200,100"),
            _ => drawing.fit_within(64),
        };
        match drawing.result() {
            Ok(picture) => {
                drawn += 1;
                assert!(u64::from(picture.width) * u64::from(picture.height) <= 500_000);
                assert!(!picture.warnings.concat().contains("SECRET"), "round {round}");
            }
            Err(error) => assert!(!error.to_string().contains("SECRET"), "round {round}"),
        }
        assert!(begun.elapsed().as_secs() < 20, "round {round} took {:?}", begun.elapsed());
    }
    assert!(drawn > ROUNDS / 10, "{drawn}: the mutations go too far to test anything");
    println!("{drawn} of {ROUNDS} drawn");
}
