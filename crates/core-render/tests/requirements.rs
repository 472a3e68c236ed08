//! One test or more for each numbered requirement on pixels and transfer syntaxes, through the public
//! door with small files made in code. What is asked of which number:
//!
//! | number | what |
//! |---|---|
//! | R4.1–R4.5 | unpacking native pixel data (PS3.5 §8) |
//! | R4.6–R4.17 | modality, VOI, polarity, padding (PS3.3 C.11, C.7.5.1.1.2) |
//! | R4.18–R4.24 | colour (PS3.3 C.7.6.3) |
//! | R4.25–R4.29 | overlays, shutters, aspect (PS3.3 C.9, C.7.6.11, C.7.6.3.1.7) |
//! | R4.30 | presentation states: with their code |
//! | R4.31–R4.35 | functional groups, floats, segmentations, modalities |
//! | R6.0 | the transfer syntaxes one by one |
//! | R6.1–R6.8 | what codestreams and their wrapping get wrong |

mod support;

use core_render::{ImageAttributes, Limits, RenderError, Source};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicomweb_types::{FrameNumber, TransferSyntax};
use native_codecs::jpeg2000::{self, Compression};
use support::codestream::{
    Says, deflate, jpeg_of_colour, jpeg_of_grey, rle, subsampled_jpeg_of_colour, with_component_ids,
};
use support::dicom::*;
use support::draw::{Drawing, assert_close, draw, draw_source};
use support::formulas::{to_ybr_full, ybr_full};

/// Under this window an unsigned 8-bit value is its own level.
const IDENTITY_8: &str = "128,256,linear";

/// Draws a data set in Explicit VR Little Endian.
fn drawn(dataset: &DataSet) -> Drawing {
    draw(file(EXPLICIT_LE, dataset))
}

/// The levels of 16-bit values under the data set's own transforms.
fn levels(dataset: &DataSet) -> Vec<u8> {
    drawn(dataset).grey()
}

// ---- R4.1–R4.5: unpacking ----

#[test]
fn r4_01_the_stored_value_is_cut_out_between_high_bit_and_bits_stored() {
    // 10 bits from bit 12 down, garbage above and below: 0, 511, 1023.
    let cells = [0b1110_0000_0000_0111, 0b0100_1111_1111_1101, 0b1011_1111_1111_1000];
    let data = grey16(&cells).us(tags::BITS_STORED, [10]).us(tags::HIGH_BIT, [12]);
    assert_eq!(drawn(&data).window("512,1024,linear").grey(), [0, 127, 255]);
}

#[test]
fn r4_01_the_sign_is_the_highest_stored_bit() {
    // 12 bits: −2048, −1, 0, 2047, the unused bits clear.
    let data = grey16(&[0x0800, 0x0FFF, 0x0000, 0x07FF])
        .us(tags::BITS_STORED, [12])
        .us(tags::HIGH_BIT, [11])
        .us(tags::PIXEL_REPRESENTATION, [1]);
    assert_eq!(drawn(&data).window("0,4096,linear").grey(), [0, 127, 128, 255]);
}

#[test]
fn r4_02_frames_of_single_bits_do_not_begin_on_a_byte() {
    // Three frames of nine bits: 1 0 0 0 0 0 0 0 0 · 0 1 0 … · 1 1 1 1 1 1 1 1 0, lowest bit first.
    let data = image("MONOCHROME2", 3, 3, 1, 1).is(tags::NUMBER_OF_FRAMES, "3").bytes(
        tags::PIXEL_DATA,
        "OB",
        [0b0000_0001, 0b0000_0100, 0b1111_1100, 0b0000_0011],
    );
    let frame = |number| drawn(&data).frame(number).grey();
    assert_eq!(frame(1), [255, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(frame(2), [0, 255, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(frame(3), [255, 255, 255, 255, 255, 255, 255, 255, 0]);
}

#[test]
fn r4_02_a_frame_of_single_bits_fetched_alone_begins_at_bit_0() {
    let data = image("MONOCHROME2", 3, 3, 1, 1).is(tags::NUMBER_OF_FRAMES, "3");
    let object = dicom_object::from_reader(&file(EXPLICIT_LE, &data)[..]).expect("a file");
    let frame = FrameNumber::new(2).expect("counted from 1");
    let attributes = ImageAttributes::of_frame(&object, frame).expect("an image");
    let source = Source::Frame {
        attributes: Box::new(attributes),
        transfer_syntax: TransferSyntax::ExplicitLittleEndian,
        bytes: vec![0b0000_0010, 0b0000_0001].into(),
    };
    assert_eq!(draw_source(source).grey(), [0, 255, 0, 0, 0, 0, 0, 0, 255]);
}

#[test]
fn r4_02_cells_of_32_bits_are_read_whole() {
    let cells = [0_u32, 1 << 31, u32::MAX].map(u32::to_le_bytes).concat();
    let data = image("MONOCHROME2", 1, 3, 1, 32).bytes(tags::PIXEL_DATA, "OW", cells);
    assert_eq!(levels(&data), [0, 128, 255]);
}

#[test]
fn r4_03_a_pad_byte_is_no_pixel() {
    let data = grey8(1, 3, &[0, 100, 255]);
    let picture = drawn(&data).pixels();
    assert_eq!(picture.grey(), [0, 100, 255]);
    assert!(picture.warnings.is_empty(), "{:?}", picture.warnings);
}

#[test]
fn r4_03_short_data_are_drawn_as_far_as_they_go_with_a_warning() {
    let data = grey8(4, 4, &[200; 16]).bytes(tags::PIXEL_DATA, "OB", [200; 12]);
    let picture = drawn(&data).window(IDENTITY_8).pixels();
    assert_eq!(picture.grey()[..12], [200; 12]);
    assert!(!picture.warnings.is_empty());
}

#[test]
fn r4_04_planar_configuration_1_is_one_plane_after_the_other() {
    let data = colour8("RGB", &[[1, 2, 3], [4, 5, 6]]).us(tags::PLANAR_CONFIGURATION, [1]);
    assert_eq!(drawn(&data).rgb(), [[1, 3, 5], [2, 4, 6]]);
}

#[test]
fn r4_04_planar_configuration_says_nothing_of_a_codec() {
    for planar in [0, 1] {
        let data = jpeg_data("YBR_FULL", &[jpeg_of_colour(ORANGE, Says::Jfif)])
            .us(tags::PLANAR_CONFIGURATION, [planar]);
        assert_close(&draw(file(JPEG_BASELINE, &data)).rgb(), &[ORANGE; 256], 3);
        let planes = [vec![9, 8], vec![7, 6], vec![5, 4]];
        let data = image("RGB", 1, 2, 3, 8)
            .us(tags::PLANAR_CONFIGURATION, [planar])
            .fragments(&[], &[rle(&planes)]);
        assert_eq!(draw(file(RLE, &data)).rgb(), [[9, 7, 5], [8, 6, 4]]);
    }
}

#[test]
fn r4_05_native_422_holds_chroma_once_for_two_pixels() {
    let [[y1, cb, cr], y2] = [to_ybr_full(ORANGE), [40, 0, 0]];
    let data = image("YBR_FULL_422", 1, 2, 3, 8).bytes(tags::PIXEL_DATA, "OB", [y1, y2[0], cb, cr]);
    let second = ybr_full([y2[0], cb, cr].map(i64::from), 8).map(|v| v.round() as u8);
    assert_close(&drawn(&data).rgb(), &[ORANGE, second], 1);
}

// ---- R4.6, R4.7: modality ----

#[test]
fn r4_06_slope_and_intercept_come_before_the_window() {
    let data = grey16(&[0, 1024, 1224, 2048])
        .ds(tags::RESCALE_SLOPE, "1")
        .ds(tags::RESCALE_INTERCEPT, "-1024");
    // 0 to 200 HU of a window from −200 to 199.
    assert_eq!(drawn(&data).window("0,400,linear").grey(), [0, 128, 255, 255]);
}

#[test]
fn r4_06_a_slope_of_0_does_not_flatten_the_picture() {
    let data = grey16(&[0, 10, 20]).ds(tags::RESCALE_SLOPE, "0").ds(tags::RESCALE_INTERCEPT, "0");
    assert_eq!(levels(&data), [0, 128, 255]);
}

#[test]
fn r4_06_a_tiny_slope_is_neither_rounded_nor_slow() {
    let data = grey16(&[0, 32768, 65535])
        .ds(tags::RESCALE_SLOPE, "5.0E-06")
        .ds(tags::RESCALE_INTERCEPT, "0");
    assert_eq!(levels(&data), [0, 128, 255]);
    assert_eq!(drawn(&data).window("0.2,0.1,linear-exact").grey(), [0, 35, 255]);
}

#[test]
fn r4_06_a_modality_lut_is_preferred_to_a_slope() {
    let data = grey16(&[0, 1, 2])
        .ds(tags::RESCALE_SLOPE, "-1")
        .ds(tags::RESCALE_INTERCEPT, "0")
        .sequence(tags::MODALITY_LUT_SEQUENCE, [lut_item(0, 16, &[0, 100, 1000])]);
    assert_eq!(levels(&data), [0, 26, 255]);
}

#[test]
fn r4_07_a_lut_is_extended_at_both_ends() {
    let data = grey16(&[0, 10, 11, 12, 60000])
        .sequence(tags::MODALITY_LUT_SEQUENCE, [lut_item(10, 16, &[0, 51, 255])]);
    assert_eq!(levels(&data), [0, 0, 51, 255, 255]);
}

#[test]
fn r4_07_an_entry_count_of_0_means_65536() {
    let table: Vec<u16> = (0..=65535).map(|n| 65535 - n).collect();
    let data =
        grey16(&[0, 32768, 65535]).sequence(tags::MODALITY_LUT_SEQUENCE, [lut_item(0, 16, &table)]);
    assert_eq!(levels(&data), [255, 127, 0]);
}

#[test]
fn r4_07_a_negative_first_value_is_signed_even_where_it_surfaces_as_unsigned() {
    let table: Vec<u16> = (0..=10).map(|n| n * 25).collect();
    let item = DataSet::new()
        .us(tags::LUT_DESCRIPTOR, [11, 65536_u32.wrapping_sub(5) as u16, 16])
        .ow(tags::LUT_DATA, &table);
    let data = grey16(&[0xFFFB, 0, 5])
        .us(tags::PIXEL_REPRESENTATION, [1])
        .sequence(tags::MODALITY_LUT_SEQUENCE, [item]);
    for syntax in [EXPLICIT_LE, IMPLICIT_LE] {
        assert_eq!(draw(file(syntax, &data)).grey(), [0, 128, 255], "{syntax}");
    }
}

#[test]
fn r4_07_lut_data_of_8_bits_are_packed_or_one_to_a_word_and_of_any_vr() {
    let descriptor = || DataSet::new().us(tags::LUT_DESCRIPTOR, [4, 0, 8]);
    let table = [0_u16, 51, 102, 255];
    let packed = table.map(|v| v as u8);
    let words: Vec<u8> = table.iter().flat_map(|v| v.to_le_bytes()).collect();
    for (what, item) in [
        ("packed OW", descriptor().bytes(tags::LUT_DATA, "OW", packed)),
        ("words OW", descriptor().ow(tags::LUT_DATA, table)),
        ("words US", descriptor().us(tags::LUT_DATA, table)),
        ("words SS", descriptor().ss(tags::LUT_DATA, table.map(|v| v as i16))),
        ("packed UN", descriptor().bytes(tags::LUT_DATA, "UN", packed)),
        ("words UN", descriptor().bytes(tags::LUT_DATA, "UN", &words)),
    ] {
        let data = grey16(&[0, 1, 2, 3]).sequence(tags::MODALITY_LUT_SEQUENCE, [item]);
        assert_eq!(levels(&data), [0, 51, 102, 255], "{what}");
    }
}

// ---- R4.8–R4.15: VOI ----

fn with_window(cells: &[u16], centre: &str, width: &str, function: &str) -> Vec<u8> {
    let data = grey16(cells)
        .ds(tags::WINDOW_CENTER, centre)
        .ds(tags::WINDOW_WIDTH, width)
        .cs(tags::VOILUT_FUNCTION, function);
    levels(&data)
}

#[test]
fn r4_08_linear_ends_half_a_value_inside_its_width() {
    // C.11.2.1.2.1: c=2048, w=4096 runs from 0 to 4095.
    let got = with_window(&[0, 1, 1365, 2730, 4095, 4096], "2048", "4096", "LINEAR");
    assert_eq!(got, [0, 0, 85, 170, 255, 255]);
    // 1.5 levels per value: c=100, w=171 runs from 14.5 to 184.5.
    let got = with_window(&[14, 15, 99, 100, 184, 185], "100", "171", "LINEAR");
    assert_eq!(got, [0, 1, 127, 128, 254, 255]);
}

#[test]
fn r4_08_linear_is_the_default_function() {
    let data =
        grey16(&[0, 1365, 4095]).ds(tags::WINDOW_CENTER, "2048").ds(tags::WINDOW_WIDTH, "4096");
    assert_eq!(levels(&data), [0, 85, 255]);
}

#[test]
fn r4_08_a_linear_width_of_1_is_a_threshold() {
    // x ≤ 99.5 is black.
    assert_eq!(with_window(&[98, 99, 100, 101], "100", "1", "LINEAR"), [0, 0, 255, 255]);
    // x ≤ 99.0 is black: the value on the edge belongs below it.
    assert_eq!(with_window(&[98, 99, 100], "99.5", "1", "LINEAR"), [0, 0, 255]);
}

#[test]
fn r4_09_linear_exact_spans_its_whole_width() {
    // c=2048, w=4096 runs from 0 to 4096.
    let got = with_window(&[0, 1024, 2048, 4095, 4096], "2048", "4096", "LINEAR_EXACT");
    assert_eq!(got, [0, 64, 128, 255, 255]);
    // The difference to LINEAR shows in a narrow window: 8 to 12.
    let got = with_window(&[8, 9, 10, 11, 12], "10", "4", "LINEAR_EXACT");
    assert_eq!(got, [0, 64, 128, 191, 255]);
    let got = with_window(&[8, 9, 10, 11, 12], "10", "4", "LINEAR");
    assert_eq!(got, [0, 85, 170, 255, 255]);
}

#[test]
fn r4_10_sigmoid_has_the_factor_4() {
    // 255 / (1 + e^(−4(x−c)/w)) at −w/2, −w/4, 0, w/4, w/2.
    let got = with_window(&[900, 950, 1000, 1050, 1100], "1000", "200", "SIGMOID");
    assert_eq!(got, [30, 69, 128, 186, 225]);
}

#[test]
fn r4_11_a_voi_lut_is_looked_up_and_scaled_to_its_bits() {
    let data = grey16(&[0, 10, 11, 12, 100])
        .sequence(tags::VOILUT_SEQUENCE, [lut_item(10, 8, &[0, 128, 200])]);
    // Full range is 0 to 255, though the table stops at 200.
    assert_eq!(levels(&data), [0, 0, 128, 200, 200]);
    let data =
        grey16(&[0, 1, 2]).sequence(tags::VOILUT_SEQUENCE, [lut_item(0, 12, &[0, 2048, 4095])]);
    assert_eq!(levels(&data), [0, 128, 255]);
}

#[test]
fn r4_11_a_voi_lut_may_fall() {
    let data =
        grey16(&[0, 1, 2]).sequence(tags::VOILUT_SEQUENCE, [lut_item(0, 16, &[65535, 32768, 0])]);
    assert_eq!(levels(&data), [255, 128, 0]);
}

#[test]
fn r4_11_the_first_value_has_the_sign_of_the_rescaled_values() {
    // Unsigned cells, HU from −1024 on: the first value is −2, even where it surfaces as 65534.
    let table = [0, 64, 128, 192, 255];
    let unsigned = DataSet::new().us(tags::LUT_DESCRIPTOR, [5, 65534, 8]).ow(tags::LUT_DATA, table);
    for item in [lut_item(-2, 8, &table), unsigned] {
        let data = grey16(&[0, 1022, 1023, 1024, 1025, 1026, 2000])
            .cs(tags::MODALITY, "CT")
            .ds(tags::RESCALE_SLOPE, "1")
            .ds(tags::RESCALE_INTERCEPT, "-1024")
            .sequence(tags::VOILUT_SEQUENCE, [item]);
        assert_eq!(levels(&data), [0, 0, 64, 128, 192, 255, 255]);
    }
}

#[test]
fn r4_11_a_first_value_above_32767_is_one_where_nothing_is_negative() {
    let data = grey16(&[40000, 40001, 40002])
        .sequence(tags::VOILUT_SEQUENCE, [lut_item(40000, 8, &[0, 51, 255])]);
    assert_eq!(levels(&data), [0, 51, 255]);
}

#[test]
fn r4_12_of_several_windows_or_luts_the_first_is_taken() {
    let data = grey16(&[0, 85, 255, 1000])
        .ds(tags::WINDOW_CENTER, "128\\2000")
        .ds(tags::WINDOW_WIDTH, "256\\4096");
    assert_eq!(levels(&data), [0, 85, 255, 255]);
    let luts = [lut_item(0, 8, &[0, 255]), lut_item(0, 8, &[255, 0])];
    let data = grey16(&[0, 1]).sequence(tags::VOILUT_SEQUENCE, luts);
    assert_eq!(levels(&data), [0, 255]);
}

#[test]
fn r4_12_a_window_goes_before_a_voi_lut_and_the_one_asked_for_before_both() {
    let data = grey16(&[0, 85, 255])
        .ds(tags::WINDOW_CENTER, "128")
        .ds(tags::WINDOW_WIDTH, "256")
        .sequence(tags::VOILUT_SEQUENCE, [lut_item(0, 8, &[255, 0])]);
    assert_eq!(levels(&data), [0, 85, 255]);
    assert_eq!(drawn(&data).window("85,1,linear").grey(), [0, 255, 255]);
}

#[test]
fn r4_12_the_voi_lut_function_does_not_touch_a_voi_lut() {
    let data = grey16(&[0, 1, 2])
        .cs(tags::VOILUT_FUNCTION, "SIGMOID")
        .sequence(tags::VOILUT_SEQUENCE, [lut_item(0, 8, &[0, 51, 255])]);
    assert_eq!(levels(&data), [0, 51, 255]);
}

#[test]
fn r4_13_numbers_come_padded_and_windows_empty_or_in_halves() {
    let own = |centre: &str, width: &str| {
        levels(&grey16(&[0, 85, 255]).ds(tags::WINDOW_CENTER, centre).ds(tags::WINDOW_WIDTH, width))
    };
    assert_eq!(own(" 128 ", "256   "), [0, 85, 255]);
    assert_eq!(own("\\128", "\\256"), [0, 85, 255]);
    // No window: lowest to highest.
    for (centre, width) in [("", ""), ("500", ""), ("", "5"), ("a", "b"), ("500", "-7")] {
        assert_eq!(own(centre, width), [0, 85, 255], "{centre:?} {width:?}");
    }
}

#[test]
fn r4_13_a_linear_width_below_1_is_taken_as_linear_exact() {
    let scaled = |cells: &[u16]| {
        grey16(cells).ds(tags::RESCALE_SLOPE, "0.1").ds(tags::RESCALE_INTERCEPT, "0")
    };
    let data = scaled(&[7, 8, 9, 10, 11, 12, 13])
        .ds(tags::WINDOW_CENTER, "1")
        .ds(tags::WINDOW_WIDTH, "0.4");
    assert_eq!(levels(&data), [0, 0, 64, 128, 191, 255, 255]);
}

#[test]
fn r4_14_without_a_window_the_lowest_is_black_and_the_highest_white() {
    assert_eq!(levels(&grey16(&[1000, 1100, 1200])), [0, 128, 255]);
    assert_eq!(drawn(&grey8(1, 3, &[50, 60, 70])).grey(), [0, 128, 255]);
}

#[test]
fn r4_14_a_constant_frame_is_drawn_without_dividing_by_its_range() {
    let data = grey16(&[700; 4]);
    assert_eq!(levels(&data), [0; 4]);
    let data = data.cs(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1");
    assert_eq!(levels(&data), [255; 4]);
}

#[test]
fn r4_15_no_window_touches_colour() {
    let pixels = [[10, 100, 200], [250, 20, 30]];
    for photometric in ["RGB", "YBR_FULL"] {
        let data = colour8(photometric, &pixels);
        let windowed = data.clone().ds(tags::WINDOW_CENTER, "40").ds(tags::WINDOW_WIDTH, "10");
        let plain = drawn(&data).rgb();
        assert_eq!(drawn(&windowed).rgb(), plain);
        assert_eq!(drawn(&data).window("40,10,sigmoid").rgb(), plain);
    }
    let data = palette_data(&[0, 1, 2]).ds(tags::WINDOW_CENTER, "1").ds(tags::WINDOW_WIDTH, "1");
    assert_eq!(drawn(&data).window("1,1,linear").rgb(), PALETTE);
}

// ---- R4.16, R4.17: polarity, padding ----

#[test]
fn r4_16_monochrome1_is_inverted_after_the_window() {
    let data = grey16(&[0, 85, 255, 300])
        .cs(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1")
        .ds(tags::WINDOW_CENTER, "128")
        .ds(tags::WINDOW_WIDTH, "256");
    assert_eq!(levels(&data), [255, 170, 0, 0]);
    assert_eq!(drawn(&data).window("85,1,linear").grey(), [255, 0, 0, 0]);
}

#[test]
fn r4_16_monochrome1_and_shape_inverse_are_one_inversion() {
    for (photometric, shape, expected) in [
        ("MONOCHROME1", "INVERSE", [255, 0]),
        ("MONOCHROME1", "", [255, 0]),
        ("MONOCHROME2", "INVERSE", [255, 0]),
        ("MONOCHROME2", "IDENTITY", [0, 255]),
        ("MONOCHROME2", "", [0, 255]),
    ] {
        let data = grey16(&[0, 1])
            .cs(tags::PHOTOMETRIC_INTERPRETATION, photometric)
            .cs(tags::PRESENTATION_LUT_SHAPE, shape);
        assert_eq!(levels(&data), expected, "{photometric} {shape}");
    }
}

#[test]
fn r4_17_padding_is_black_in_both_polarities_and_out_of_the_statistics() {
    let data = grey16(&[63536, 1000, 1100, 1200]).us(tags::PIXEL_PADDING_VALUE, [63536]);
    assert_eq!(levels(&data), [0, 0, 128, 255]);
    let data = data.cs(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1");
    assert_eq!(levels(&data), [0, 255, 128, 0]);
}

#[test]
fn r4_17_padding_is_compared_before_the_modality_transform() {
    let data = grey16(&[0, 1000, 2000])
        .us(tags::PIXEL_PADDING_VALUE, [0])
        .ds(tags::RESCALE_SLOPE, "-1")
        .ds(tags::RESCALE_INTERCEPT, "0");
    assert_eq!(levels(&data), [0, 255, 0]);
}

#[test]
fn r4_17_a_padding_range_has_its_ends_in_either_order() {
    for (value, limit) in [(10, 20), (20, 10)] {
        let data = grey16(&[9, 10, 15, 20, 21])
            .cs(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1")
            .us(tags::PIXEL_PADDING_VALUE, [value])
            .us(tags::PIXEL_PADDING_RANGE_LIMIT, [limit]);
        assert_eq!(levels(&data), [255, 0, 0, 0, 0]);
    }
}

#[test]
fn r4_17_mis_signed_padding_is_found() {
    let cells = [-2000_i16, 0, 1000].map(|v| v as u16);
    let data =
        grey16(&cells).us(tags::PIXEL_REPRESENTATION, [1]).us(tags::PIXEL_PADDING_VALUE, [63536]);
    for syntax in [EXPLICIT_LE, IMPLICIT_LE] {
        assert_eq!(draw(file(syntax, &data)).grey(), [0, 0, 255]);
    }
    // 12 stored bits, padding written with 16: both are −2000 once masked.
    let data = grey16(&[0x0830, 0, 1000])
        .us(tags::PIXEL_REPRESENTATION, [1])
        .us(tags::BITS_STORED, [12])
        .us(tags::HIGH_BIT, [11])
        .us(tags::PIXEL_PADDING_VALUE, [63536]);
    assert_eq!(levels(&data), [0, 0, 255]);
}

#[test]
fn r4_17_a_frame_of_nothing_but_padding_is_black() {
    for photometric in ["MONOCHROME1", "MONOCHROME2"] {
        let data = grey16(&[5; 4])
            .cs(tags::PHOTOMETRIC_INTERPRETATION, photometric)
            .us(tags::PIXEL_PADDING_VALUE, [5]);
        assert_eq!(levels(&data), [0; 4]);
    }
}

#[test]
fn r4_17_padding_of_a_palette_image_is_black() {
    let data = palette_data(&[0, 1, 2]).us(tags::PIXEL_PADDING_VALUE, [1]);
    assert_eq!(drawn(&data).rgb(), [PALETTE[0], [0; 3], PALETTE[2]]);
}

// ---- R4.18–R4.24: colour ----

const ORANGE: [u8; 3] = [220, 120, 40];

#[test]
fn r4_18_ybr_full_is_converted_by_the_equations() {
    let data = colour8("YBR_FULL", &[[76, 85, 255], [150, 44, 21], [29, 255, 107], [128; 3]]);
    assert_close(&drawn(&data).rgb(), &[[254, 0, 0], [0, 255, 1], [0, 0, 254], [128; 3]], 1);
}

#[test]
fn r4_18_ybr_full_of_16_bits_is_converted_before_it_is_reduced_to_8() {
    let samples = [63027_u16, 16058, 11559];
    let data = image("YBR_FULL", 1, 1, 3, 16).ow(tags::PIXEL_DATA, samples);
    let expected = ybr_full(samples.map(i64::from), 16).map(|v| v.round() as u8);
    assert_close(&drawn(&data).rgb(), &[expected], 1);
}

#[test]
fn r4_18_ybr_partial_spans_16_to_235_and_its_chroma_16_to_240() {
    // The equations of the standard, forwards: the way back is what is tested.
    let partial = |[r, g, b]: [f64; 3]| {
        [
            0.2568 * r + 0.5041 * g + 0.0979 * b + 16.0,
            -0.1482 * r - 0.2910 * g + 0.4392 * b + 128.0,
            0.4392 * r - 0.3678 * g - 0.0714 * b + 128.0,
        ]
        .map(|v| v.round() as u8)
    };
    for colour in [ORANGE, [0; 3], [255; 3], [255, 0, 0], [0, 0, 255], [12, 200, 90]] {
        let [y, cb, cr] = partial(colour.map(f64::from));
        let data =
            image("YBR_PARTIAL_422", 1, 2, 3, 8).bytes(tags::PIXEL_DATA, "OB", [y, y, cb, cr]);
        assert_close(&drawn(&data).rgb(), &[colour; 2], 2);
    }
    // What is outside of the range is clamped, not wrapped.
    let data =
        image("YBR_PARTIAL_422", 1, 2, 3, 8).bytes(tags::PIXEL_DATA, "OB", [0, 255, 128, 128]);
    assert_eq!(drawn(&data).grey(), [0, 255]);
}

#[test]
fn r4_18_ybr_rct_and_ict_are_undone_by_the_decoder_alone() {
    for photometric in ["YBR_RCT", "YBR_ICT", "RGB"] {
        let data = image(photometric, 16, 16, 3, 8).fragments(&[], &[j2k_of_colour(ORANGE)]);
        assert_eq!(draw(file(J2K_LOSSLESS, &data)).rgb(), [ORANGE; 256], "{photometric}");
    }
}

const PALETTE: [[u8; 3]; 3] = [[200, 10, 20], [30, 210, 40], [50, 60, 220]];

const DESCRIPTORS: [Tag; 3] = [
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
];
const TABLES: [Tag; 3] = [
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
];
const SEGMENTED: [Tag; 3] = [
    tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::SEGMENTED_GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::SEGMENTED_BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
];

/// The three colours of [`PALETTE`] as 16-bit tables from `first` on: 257 × an 8-bit value is that
/// value in its high byte and on the full scale.
fn with_palette(mut data: DataSet, first: i16) -> DataSet {
    for channel in 0..3 {
        data = data
            .us(DESCRIPTORS[channel], [3, first as u16, 16])
            .ow(TABLES[channel], PALETTE.map(|colour| 257 * u16::from(colour[channel])));
    }
    data
}

fn palette_data(cells: &[u16]) -> DataSet {
    with_palette(grey16(cells).cs(tags::PHOTOMETRIC_INTERPRETATION, "PALETTE COLOR"), 0)
}

#[test]
fn r4_19_indices_outside_a_palette_take_its_ends() {
    let data = with_palette(palette_data(&[0, 100, 101, 102, 5000]), 100);
    let [first, middle, last] = PALETTE;
    assert_eq!(drawn(&data).rgb(), [first, first, middle, last, last]);
}

#[test]
fn r4_19_a_signed_index_has_a_signed_first_value() {
    let cells = [-3_i16, -1, 0, 1].map(|v| v as u16);
    let data = with_palette(palette_data(&cells), -1).us(tags::PIXEL_REPRESENTATION, [1]);
    assert_eq!(drawn(&data).rgb(), [PALETTE[0], PALETTE[0], PALETTE[1], PALETTE[2]]);
}

#[test]
fn r4_19_8_bit_values_in_16_bit_entries_are_not_shifted() {
    let mut data = palette_data(&[0, 1, 2]);
    for channel in 0..3 {
        data = data.ow(TABLES[channel], PALETTE.map(|colour| u16::from(colour[channel])));
    }
    assert_eq!(drawn(&data).rgb(), PALETTE);
}

#[test]
fn r4_19_entries_of_8_bits_are_packed_two_to_a_word() {
    let mut data = palette_data(&[0, 1, 2]);
    for channel in 0..3 {
        data = data.us(DESCRIPTORS[channel], [3, 0, 8]).bytes(
            TABLES[channel],
            "OW",
            even(&PALETTE.map(|colour| colour[channel])),
        );
    }
    assert_eq!(drawn(&data).rgb(), PALETTE);
}

#[test]
fn r4_19_an_entry_count_of_0_means_65536() {
    let table: Vec<u16> = (0..=65535).collect();
    let mut data = palette_data(&[0, 0x8000, 0xFFFF]);
    for channel in 0..3 {
        data = data.us(DESCRIPTORS[channel], [0, 0, 16]).ow(TABLES[channel], &table);
    }
    assert_eq!(drawn(&data).rgb(), [[0; 3], [128; 3], [255; 3]]);
}

fn with_segmented_palette(cells: &[u16], entries: u16, segments: &[u16]) -> DataSet {
    let mut data = palette_data(cells);
    for channel in 0..3 {
        data = data
            .without(TABLES[channel])
            .us(DESCRIPTORS[channel], [entries, 0, 16])
            .ow(SEGMENTED[channel], segments);
    }
    data
}

#[test]
fn r4_20_segments_are_discrete_or_linear() {
    // Three values, then five that lead on to the last one.
    let segments = [0, 3, 0x0000, 0x1000, 0x2000, 1, 5, 0x7000];
    let data = with_segmented_palette(&[0, 1, 2, 3, 4, 5, 6, 7], 8, &segments);
    let got = drawn(&data).grey();
    for (got, due) in got.iter().zip([0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70_u8]) {
        assert!(got.abs_diff(due) <= 1, "{got}, {due} is due");
    }
}

#[test]
fn r4_20_an_indirect_segment_repeats_earlier_ones() {
    // Discrete at byte 0, linear at byte 8; both again from byte 0.
    let segments = [0, 2, 0x0000, 0x8000, 1, 2, 0xA000, 2, 2, 0, 0];
    let data = with_segmented_palette(&[0, 1, 2, 3, 4, 5, 6, 7], 8, &segments);
    let got = drawn(&data).grey();
    for (got, due) in got.iter().zip([0x00, 0x80, 0x90, 0xA0, 0x00, 0x80, 0x90, 0xA0_u8]) {
        assert!(got.abs_diff(due) <= 1, "{got}, {due} is due");
    }
}

#[test]
fn r4_20_segments_of_8_bit_entries_are_bytes() {
    // Discrete 10, 20; linear, four steps to 100; both again by their byte offset.
    let segments = [0, 2, 10, 20, 1, 4, 100, 2, 2, 0, 0, 0, 0];
    let mut data = palette_data(&[0, 1, 2, 3, 4, 5, 6, 7, 11]);
    for channel in 0..3 {
        data = data.without(TABLES[channel]).us(DESCRIPTORS[channel], [12, 0, 8]).bytes(
            SEGMENTED[channel],
            "OW",
            even(&segments),
        );
    }
    assert_eq!(drawn(&data).grey(), [10, 20, 40, 60, 80, 100, 10, 20, 100]);
}

#[test]
fn r4_20_an_indirect_segment_may_lie_beyond_64_kilobytes() {
    // Discrete segments up to word 32 800 of zeros, then 0x8000 and 0xFFFF, and these once more.
    let filler = 32_796;
    let mut segments = vec![0, filler];
    segments.extend(std::iter::repeat_n(0, usize::from(filler)));
    let offset = 2 * segments.len() as u32;
    assert!(offset > 0xFFFF);
    segments.extend([0, 2, 0x8000, 0xFFFF, 2, 1, offset as u16, (offset >> 16) as u16]);
    let data = with_segmented_palette(
        &[0, filler, filler + 1, filler + 2, filler + 3],
        filler + 4,
        &segments,
    );
    assert_eq!(drawn(&data).grey(), [0, 128, 255, 128, 255]);
}

#[test]
fn r4_20_segments_that_never_end_are_bounded() {
    // An indirect segment that names itself.
    let segments = [0, 2, 0x0000, 0x8000, 2, 60000, 8, 0];
    let data = with_segmented_palette(&[0, 1], 65000, &segments);
    match drawn(&data).result() {
        Ok(picture) => assert_eq!(picture.rgb.len(), 2),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

#[test]
fn r4_21_a_supplemental_palette_colours_the_values_from_its_first_on() {
    let data = with_palette(grey16(&[0, 85, 255, 256, 257, 258]), 256)
        .cs(tags::PIXEL_PRESENTATION, "COLOR")
        .ds(tags::WINDOW_CENTER, "128")
        .ds(tags::WINDOW_WIDTH, "256");
    assert_eq!(drawn(&data).rgb(), [[0; 3], [85; 3], [255; 3], PALETTE[0], PALETTE[1], PALETTE[2]]);
}

#[test]
fn r4_22_an_enhanced_palette_is_left_out_with_a_warning() {
    let assignment = DataSet::new().cs(tags::DATA_TYPE, "ULTRASOUND");
    let data = grey16(&[0, 85, 255])
        .cs(tags::PIXEL_PRESENTATION, "MIXED")
        .sequence(tags::DATA_FRAME_ASSIGNMENT_SEQUENCE, [assignment])
        .sequence(tags::ENHANCED_PALETTE_COLOR_LOOKUP_TABLE_SEQUENCE, [DataSet::new()]);
    let picture = drawn(&data).pixels();
    assert_eq!(picture.grey(), [0, 85, 255]);
    assert!(!picture.warnings.is_empty());
}

#[test]
fn r4_23_colour_above_8_bits_spans_its_bits_stored() {
    let data = image("RGB", 1, 2, 3, 16)
        .us(tags::BITS_STORED, [12])
        .us(tags::HIGH_BIT, [11])
        .ow(tags::PIXEL_DATA, [0, 2048, 4095, 4095, 1365, 16]);
    assert_eq!(drawn(&data).rgb(), [[0, 128, 255], [255, 85, 1]]);
    let data = image("RGB", 1, 1, 3, 16).ow(tags::PIXEL_DATA, [0, 0x8080, 0xFFFF]);
    assert_eq!(drawn(&data).rgb(), [[0, 128, 255]]);
}

#[test]
fn r4_23_retired_colour_spaces_are_refused() {
    for photometric in ["HSV", "ARGB", "CMYK"] {
        let error = drawn(&colour8(photometric, &[[1, 2, 3]])).error();
        assert!(
            matches!(error, RenderError::Unsupported { .. } | RenderError::Attribute { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn r4_24_an_icc_profile_is_converted_to_srgb() {
    let profile = moxcms::ColorProfile::new_display_p3().encode().expect("a profile");
    let data =
        colour8("RGB", &[[200, 100, 50], [128; 3]]).bytes(tags::ICC_PROFILE, "OB", even(&profile));
    // Display P3 and sRGB share their curve; the matrix between their linear values is known.
    let linear = |v: u8| {
        let v = f64::from(v) / 255.0;
        if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    };
    let coded = |v: f64| {
        let v = v.clamp(0.0, 1.0);
        let v = if v <= 0.0031308 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
        (255.0 * v).round() as u8
    };
    let [r, g, b] = [200, 100, 50].map(linear);
    let expected = [
        1.22494 * r - 0.22494 * g,
        -0.04206 * r + 1.04206 * g,
        -0.01964 * r - 0.07864 * g + 1.09827 * b,
    ];
    assert_close(&drawn(&data).rgb(), &[expected.map(coded), [128; 3]], 2);
}

#[test]
fn r4_24_the_profile_of_the_optical_path_is_used_too() {
    let profile = even(&moxcms::ColorProfile::new_display_p3().encode().expect("a profile"));
    let data = colour8("RGB", &[[200, 100, 50], [128; 3]]);
    let top = data.clone().bytes(tags::ICC_PROFILE, "OB", &profile);
    let path = DataSet::new().bytes(tags::ICC_PROFILE, "OB", &profile);
    let optical = data.sequence(tags::OPTICAL_PATH_SEQUENCE, [path]);
    assert_eq!(drawn(&optical).rgb(), drawn(&top).rgb());
    assert_ne!(drawn(&optical).rgb()[0], [200, 100, 50]);
}

#[test]
fn r4_24_a_bad_icc_profile_is_skipped_with_a_warning() {
    let data = colour8("RGB", &[ORANGE; 2]).bytes(tags::ICC_PROFILE, "OB", [7; 200]);
    let picture = drawn(&data).pixels();
    assert_eq!(picture.rgb, [ORANGE; 2]);
    assert!(!picture.warnings.is_empty());
}

// ---- R4.25–R4.29: overlays, shutters, geometry ----

/// An overlay plane of group 6000 + `group`: bits row by row, lowest first.
fn with_overlay(
    data: DataSet,
    group: u16,
    kind: &str,
    [rows, columns]: [u16; 2],
    origin: [i16; 2],
    bits: &[u8],
) -> DataSet {
    let tag = |element| Tag(0x6000 + group, element);
    let byte = |bits: &[u8]| bits.iter().enumerate().fold(0, |byte, (n, bit)| byte | bit << n);
    data.us(tag(0x0010), [rows])
        .us(tag(0x0011), [columns])
        .cs(tag(0x0040), kind)
        .ss(tag(0x0050), origin)
        .us(tag(0x0100), [1])
        .us(tag(0x0102), [0])
        .ow(tag(0x3000), words(&even(&bits.chunks(8).map(byte).collect::<Vec<u8>>())))
}

fn words(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// A constant frame, which is black.
fn black(rows: u16, columns: u16) -> DataSet {
    grey8(rows, columns, &vec![9; usize::from(rows * columns)])
}

#[test]
fn r4_25_overlay_rows_follow_without_padding_from_a_1_based_origin() {
    let data = with_overlay(black(4, 4), 0, "G", [2, 3], [2, 2], &[1, 0, 1, 0, 1, 0]);
    let expected =
        [0, 0, 0, 0, /**/ 0, 255, 0, 255, /**/ 0, 0, 255, 0, /**/ 0, 0, 0, 0];
    assert_eq!(drawn(&data).overlays().grey(), expected);
    // Big endian swaps the words of OW.
    assert_eq!(draw(file(EXPLICIT_BE, &data)).overlays().grey(), expected);
}

#[test]
fn r4_25_an_overlay_may_begin_and_end_outside_the_image() {
    let data = with_overlay(black(2, 2), 2, "G", [3, 3], [0, 0], &[1, 1, 1, 1, 0, 1, 1, 1, 0]);
    assert_eq!(drawn(&data).overlays().grey(), [0, 255, 255, 0]);
    let data = with_overlay(black(2, 2), 2, "G", [1, 9], [2, 2], &[1; 9]);
    assert_eq!(drawn(&data).overlays().grey(), [0, 0, 0, 255]);
    let data = with_overlay(black(2, 2), 2, "G", [1, 1], [-30000, 30000], &[1]);
    assert_eq!(drawn(&data).overlays().grey(), [0; 4]);
}

#[test]
fn r4_25_all_groups_are_drawn() {
    let data = with_overlay(black(1, 3), 0, "G", [1, 3], [1, 1], &[1, 0, 0]);
    let data = with_overlay(data, 0x1E, "G", [1, 3], [1, 1], &[0, 0, 1]);
    assert_eq!(drawn(&data).overlays().grey(), [255, 0, 255]);
    // Beyond 601E there should be none, but there are.
    let data = with_overlay(data, 0xFE, "G", [1, 3], [1, 1], &[0, 1, 0]);
    assert_eq!(drawn(&data).overlays().grey(), [255; 3]);
}

#[test]
fn r4_25_an_overlay_may_be_embedded_in_unused_bits() {
    let cells = [0x1000, 0x0800, 0x1FFF, 0x0000];
    let data = image("MONOCHROME2", 2, 2, 1, 16)
        .us(tags::BITS_STORED, [12])
        .us(tags::HIGH_BIT, [11])
        .us(Tag(0x6000, 0x0010), [2])
        .us(Tag(0x6000, 0x0011), [2])
        .cs(Tag(0x6000, 0x0040), "G")
        .ss(Tag(0x6000, 0x0050), [1, 1])
        .us(Tag(0x6000, 0x0100), [16])
        .us(Tag(0x6000, 0x0102), [12])
        .ow(tags::PIXEL_DATA, cells);
    assert_eq!(drawn(&data).overlays().grey(), [255, 128, 255, 0]);
    assert_eq!(levels(&data), [0, 128, 255, 0]);
}

#[test]
fn r4_25_the_frames_of_an_overlay_follow_without_byte_alignment() {
    let frames = grey8(2, 9, &[9; 18]).us(tags::ROWS, [1]).is(tags::NUMBER_OF_FRAMES, "2");
    let bits = [[1, 0, 0, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0, 1]].concat();
    let data = with_overlay(frames, 0, "G", [1, 9], [1, 1], &bits)
        .is(Tag(0x6000, 0x0015), "2")
        .us(Tag(0x6000, 0x0051), [1]);
    assert_eq!(drawn(&data).overlays().frame(1).grey(), [255, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(drawn(&data).overlays().frame(2).grey(), [0, 255, 0, 0, 0, 0, 0, 0, 255]);
}

#[test]
fn r4_26_graphics_are_drawn_white_whatever_the_polarity_and_regions_not_at_all() {
    let data = grey8(1, 3, &[0, 100, 255]).cs(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1");
    let graphic = with_overlay(data.clone(), 0, "G", [1, 3], [1, 1], &[0, 0, 1]);
    assert_eq!(drawn(&graphic).overlays().grey(), [255, 155, 255]);
    assert_eq!(drawn(&graphic).grey(), [255, 155, 0], "not unless asked for");
    let region = with_overlay(data, 0, "R", [1, 3], [1, 1], &[0, 0, 1]);
    assert_eq!(drawn(&region).overlays().grey(), [255, 155, 0]);
    let colour = with_overlay(colour8("RGB", &[ORANGE; 2]), 0, "G", [1, 2], [1, 1], &[0, 1]);
    assert_eq!(drawn(&colour).overlays().rgb(), [ORANGE, [255; 3]]);
}

/// 11 × 11 pixels of one level, 100.
fn level_100(photometric: &str) -> DataSet {
    grey8(11, 11, &[if photometric == "MONOCHROME1" { 155 } else { 100 }; 121])
        .cs(tags::PHOTOMETRIC_INTERPRETATION, photometric)
        .ds(tags::WINDOW_CENTER, "128")
        .ds(tags::WINDOW_WIDTH, "256")
}

#[test]
fn r4_27_what_is_outside_a_shutter_is_drawn_in_its_presentation_value() {
    let rectangle = |data: DataSet| {
        data.cs(tags::SHUTTER_SHAPE, "RECTANGULAR")
            .is(tags::SHUTTER_LEFT_VERTICAL_EDGE, "2")
            .is(tags::SHUTTER_RIGHT_VERTICAL_EDGE, "8")
            .is(tags::SHUTTER_UPPER_HORIZONTAL_EDGE, "3")
            .is(tags::SHUTTER_LOWER_HORIZONTAL_EDGE, "9")
    };
    let circle = |data: DataSet| {
        data.cs(tags::SHUTTER_SHAPE, "CIRCULAR")
            .is(tags::CENTER_OF_CIRCULAR_SHUTTER, "6\\5")
            .is(tags::RADIUS_OF_CIRCULAR_SHUTTER, "3")
    };
    let polygon = |data: DataSet| {
        data.cs(tags::SHUTTER_SHAPE, "POLYGONAL")
            .is(tags::VERTICES_OF_THE_POLYGONAL_SHUTTER, "3\\2\\3\\8\\9\\8\\9\\2")
    };
    let shutters: [&dyn Fn(DataSet) -> DataSet; 3] = [&rectangle, &circle, &polygon];
    for photometric in ["MONOCHROME1", "MONOCHROME2"] {
        for shutter in shutters {
            for (value, level) in [(0, 0), (65535, 255)] {
                let data =
                    shutter(level_100(photometric)).us(tags::SHUTTER_PRESENTATION_VALUE, [value]);
                let picture = drawn(&data).pixels();
                assert_eq!(picture.at(5, 4), [100; 3], "inside");
                for (row, column) in [(0, 4), (10, 4), (5, 0), (5, 9), (5, 10), (0, 0), (10, 10)] {
                    assert_eq!(picture.at(row, column), [level; 3], "outside, {row} {column}");
                }
            }
        }
    }
}

#[test]
fn r4_28_pixels_are_made_square_with_a_viewport_and_left_alone_without() {
    let square = grey8(100, 100, &[0; 10000]);
    for (tag, vr, text, size) in [
        // Vertical to horizontal: twice as high as wide.
        (tags::PIXEL_ASPECT_RATIO, "IS", "2\\1", (30, 60)),
        (tags::PIXEL_ASPECT_RATIO, "IS", "1\\2", (60, 30)),
        // Row spacing, the distance downwards, comes first.
        (tags::PIXEL_SPACING, "DS", "2.0\\1.0", (30, 60)),
        (tags::PIXEL_SPACING, "DS", "0.5\\1.0", (60, 30)),
        (tags::PIXEL_SPACING, "DS", "0.7\\0.7", (60, 60)),
    ] {
        let data = square.clone().text(tag, vr, text);
        let size_of = |drawing: Drawing| {
            let picture = drawing.pixels();
            (picture.width, picture.height)
        };
        assert_eq!(size_of(drawn(&data).viewport("60,60")), size, "{text}");
        assert_eq!(size_of(drawn(&data).fit_within(60)), size, "{text}");
        assert_eq!(size_of(drawn(&data)), (100, 100), "{text}");
    }
}

#[test]
fn r4_29_the_matrix_is_not_turned_by_its_orientation() {
    let data = grey8(2, 2, &[0, 85, 170, 255])
        .ds(tags::IMAGE_ORIENTATION_PATIENT, "0\\1\\0\\-1\\0\\0")
        .cs(tags::PATIENT_ORIENTATION, "R\\H");
    assert_eq!(levels(&data), [0, 85, 170, 255]);
}

// ---- R4.31–R4.35: frames, floats, segments, modalities ----

fn frame_voi(centre: &str, width: &str) -> DataSet {
    DataSet::new().sequence(
        tags::FRAME_VOILUT_SEQUENCE,
        [DataSet::new().ds(tags::WINDOW_CENTER, centre).ds(tags::WINDOW_WIDTH, width)],
    )
}

fn pixel_value_transformation(slope: &str, intercept: &str) -> DataSet {
    DataSet::new().sequence(
        tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
        [DataSet::new().ds(tags::RESCALE_SLOPE, slope).ds(tags::RESCALE_INTERCEPT, intercept)],
    )
}

#[test]
fn r4_31_a_frames_own_group_goes_before_the_shared_one_and_that_before_the_top_level() {
    let data = image("MONOCHROME2", 1, 2, 1, 16)
        .is(tags::NUMBER_OF_FRAMES, "2")
        .ow(tags::PIXEL_DATA, [85, 255, 85, 255])
        // c=170, w=1: 85 is black, 255 white; c=50: both white; c=500: both black.
        .ds(tags::WINDOW_CENTER, "170")
        .ds(tags::WINDOW_WIDTH, "1");
    let both = |data: &DataSet| [1, 2].map(|frame| drawn(data).frame(frame).grey());
    assert_eq!(both(&data), [[0, 255], [0, 255]]);
    let data = data.sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, [frame_voi("50", "1")]);
    assert_eq!(both(&data), [[255, 255], [255, 255]]);
    let data = data.sequence(
        tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
        [DataSet::new(), frame_voi("500", "1")],
    );
    assert_eq!(both(&data), [[255, 255], [0, 0]]);
}

#[test]
fn r4_31_each_frame_has_its_own_slope() {
    let data = image("MONOCHROME2", 1, 2, 1, 16)
        .is(tags::NUMBER_OF_FRAMES, "2")
        .ow(tags::PIXEL_DATA, [0, 85, 0, 85])
        .ds(tags::RESCALE_SLOPE, "100")
        .ds(tags::RESCALE_INTERCEPT, "0")
        .sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, [pixel_value_transformation("1", "0")])
        .sequence(
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
            [DataSet::new(), pixel_value_transformation("2", "10")],
        );
    assert_eq!(drawn(&data).frame(1).window(IDENTITY_8).grey(), [0, 85]);
    assert_eq!(drawn(&data).frame(2).window(IDENTITY_8).grey(), [10, 180]);
}

#[test]
fn r4_31_a_real_world_value_map_is_no_part_of_the_display() {
    let map = DataSet::new().bytes(tags::REAL_WORLD_VALUE_SLOPE, "FD", (-5.0_f64).to_le_bytes());
    let data = grey16(&[0, 85, 255]).sequence(tags::REAL_WORLD_VALUE_MAPPING_SEQUENCE, [map]);
    assert_eq!(levels(&data), [0, 85, 255]);
}

/// A frame in one row whose cells are floats of so many bits, without pixel data.
fn float_image(columns: u16, bits: u16) -> DataSet {
    image("MONOCHROME2", 1, columns, 1, bits)
        .text(tags::SOP_CLASS_UID, "UI", PARAMETRIC_MAP)
        .without(tags::BITS_STORED)
        .without(tags::HIGH_BIT)
        .without(tags::PIXEL_REPRESENTATION)
}

#[test]
fn r4_32_floats_are_drawn_from_their_lowest_to_their_highest() {
    let values = [-1.5_f32, 0.0, 1.5];
    let data = float_image(3, 32).of(tags::FLOAT_PIXEL_DATA, values);
    assert_eq!(levels(&data), [0, 128, 255]);
    let data = float_image(3, 64).od(tags::DOUBLE_FLOAT_PIXEL_DATA, values.map(f64::from));
    assert_eq!(levels(&data), [0, 128, 255]);
    assert_eq!(drawn(&data).window("0,6,linear-exact").grey(), [64, 128, 191]);
}

#[test]
fn r4_32_nan_and_infinity_do_not_count() {
    let data = float_image(5, 32)
        .of(tags::FLOAT_PIXEL_DATA, [1.0, f32::NAN, 2.0, f32::INFINITY, f32::NEG_INFINITY]);
    let got = levels(&data);
    assert_eq!([got[0], got[2]], [0, 255]);
}

#[test]
fn r4_17_floats_have_padding_of_their_own() {
    let data = float_image(4, 32)
        .of(tags::FLOAT_PIXEL_DATA, [-1000.0, 1.0, 2.0, 3.0])
        .fl(tags::FLOAT_PIXEL_PADDING_VALUE, -1000.0);
    assert_eq!(levels(&data), [0, 0, 128, 255]);
    let data = data.cs(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1");
    assert_eq!(levels(&data), [0, 255, 128, 0]);
}

#[test]
fn r4_33_a_binary_segmentation_is_black_and_white_even_where_it_is_full() {
    let data = image("MONOCHROME2", 1, 8, 1, 1)
        .text(tags::SOP_CLASS_UID, "UI", SEGMENTATION)
        .cs(tags::SEGMENTATION_TYPE, "BINARY")
        .is(tags::NUMBER_OF_FRAMES, "3")
        .bytes(tags::PIXEL_DATA, "OB", [0x00, 0x55, 0xFF, 0x00]);
    let frame = |number| drawn(&data).frame(number).grey();
    assert_eq!(frame(1), [0; 8]);
    assert_eq!(frame(2), [255, 0, 255, 0, 255, 0, 255, 0]);
    assert_eq!(frame(3), [255; 8]);
}

#[test]
fn r4_33_a_fractional_segmentation_is_a_share_of_its_maximum() {
    let data = grey8(1, 3, &[0, 10, 50])
        .text(tags::SOP_CLASS_UID, "UI", SEGMENTATION)
        .cs(tags::SEGMENTATION_TYPE, "FRACTIONAL")
        .us(tags::MAXIMUM_FRACTIONAL_VALUE, [100]);
    assert_eq!(levels(&data), [0, 26, 128]);
}

fn segment(number: u16) -> DataSet {
    DataSet::new().us(tags::SEGMENT_NUMBER, [number])
}

/// Segments 1, 2 and 3 in these colours (CIELab as DICOM scales it, C.10.7.1.1).
fn label_map(cells: &[u8], colours: &[[f64; 3]]) -> DataSet {
    let item = |(index, [l, a, b]): (usize, &[f64; 3])| {
        let scaled = [l / 100.0, (a + 128.0) / 255.0, (b + 128.0) / 255.0];
        segment(index as u16 + 1).us(
            tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE,
            scaled.map(|v| (65535.0 * v).round() as u16),
        )
    };
    grey8(1, cells.len() as u16, cells)
        .text(tags::SOP_CLASS_UID, "UI", LABEL_MAP_SEGMENTATION)
        .cs(tags::SEGMENTATION_TYPE, "LABELMAP")
        .sequence(tags::SEGMENT_SEQUENCE, colours.iter().enumerate().map(item).collect::<Vec<_>>())
}

#[test]
fn r4_33_a_label_map_has_the_recommended_colours_and_no_window() {
    // The primaries of sRGB, as CIELab of the D50 white point of the profile connection space.
    let primaries = [[54.29, 80.81, 69.89], [87.82, -79.27, 80.99], [29.57, 68.30, -112.03]];
    let data = label_map(&[0, 1, 2, 3], &primaries);
    let expected = [[0; 3], [255, 0, 0], [0, 255, 0], [0, 0, 255]];
    assert_close(&drawn(&data).rgb(), &expected, 4);
    assert_close(&drawn(&data).window("1,1,linear").rgb(), &expected, 4);
}

#[test]
fn r4_33_segments_without_a_colour_are_told_apart() {
    let data =
        label_map(&[0, 1, 2, 3], &[]).sequence(tags::SEGMENT_SEQUENCE, [1, 2, 3].map(segment));
    let got = drawn(&data).rgb();
    assert_eq!(got[0], [0; 3]);
    for (index, colour) in got.iter().enumerate() {
        assert!(!got[..index].contains(colour), "{got:?}");
    }
}

#[test]
fn r4_33_a_label_map_with_a_palette_is_coloured_by_it() {
    let data = palette_data(&[0, 1, 2])
        .text(tags::SOP_CLASS_UID, "UI", LABEL_MAP_SEGMENTATION)
        .cs(tags::SEGMENTATION_TYPE, "LABELMAP");
    assert_eq!(drawn(&data).rgb(), PALETTE);
}

#[test]
fn r4_34_a_tile_is_a_frame() {
    let tiles: Vec<u8> = [ORANGE, [1, 2, 3]].iter().flat_map(|c| c.repeat(4)).collect();
    let data = image("RGB", 2, 2, 3, 8)
        .text(tags::SOP_CLASS_UID, "UI", "1.2.840.10008.5.1.4.1.1.77.1.6")
        .is(tags::NUMBER_OF_FRAMES, "2")
        .bytes(tags::PIXEL_DATA, "OB", tiles);
    assert_eq!(drawn(&data).rgb(), [ORANGE; 4]);
    assert_eq!(drawn(&data).frame(2).rgb(), [[1, 2, 3]; 4]);
    let error = drawn(&data).frame(3).error();
    assert!(matches!(error, RenderError::FrameOutOfRange { frames: 2, .. }), "{error:?}");
}

/// A slide of four tiles of 2 × 2 pixels in a matrix of 5 × 4, each of one colour; and the place of
/// each, counted from 1, where the slide says where they lie.
fn tiled(organization: &str, colours: &[[u8; 3]], places: &[(u32, u32)]) -> DataSet {
    let tiles: Vec<u8> = colours.iter().flat_map(|colour| colour.repeat(4)).collect();
    let group = |&(x, y): &(u32, u32)| {
        let position = DataSet::new()
            .ul(tags::COLUMN_POSITION_IN_TOTAL_IMAGE_PIXEL_MATRIX, [x])
            .ul(tags::ROW_POSITION_IN_TOTAL_IMAGE_PIXEL_MATRIX, [y]);
        DataSet::new().sequence(tags::PLANE_POSITION_SLIDE_SEQUENCE, [position])
    };
    let data = image("RGB", 2, 2, 3, 8)
        .text(tags::SOP_CLASS_UID, "UI", "1.2.840.10008.5.1.4.1.1.77.1.6")
        .is(tags::NUMBER_OF_FRAMES, &colours.len().to_string())
        .cs(tags::DIMENSION_ORGANIZATION_TYPE, organization)
        .ul(tags::TOTAL_PIXEL_MATRIX_COLUMNS, [5])
        .ul(tags::TOTAL_PIXEL_MATRIX_ROWS, [4])
        .bytes(tags::PIXEL_DATA, "OB", even(&tiles));
    match places {
        [] => data,
        places => data.sequence(
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
            places.iter().map(group).collect::<Vec<_>>(),
        ),
    }
}

/// The whole matrix of a slide.
fn matrix_of(data: &DataSet) -> Vec<[u8; 3]> {
    let (bytes, limits) = (file(EXPLICIT_LE, data).into(), Limits::default());
    let slide = core_render::SlideFile::open(&bytes, &limits).expect("legal").expect("a slide");
    let view = core_render::View::new(core_render::Framing::Native, slide.slide(), &limits);
    let cut = view.and_then(|view| view.cut(slide.slide(), &limits)).expect("small enough");
    let attributes = slide.attributes(cut.attributes_frame()).expect("an image");
    let tile = |place: &core_render::Place| slide.tile(place.frame, &attributes).expect("a tile");
    let tiles: Vec<_> = cut.places.iter().map(tile).collect();
    draw_source(cut.source(attributes, tiles)).rgb()
}

#[test]
fn r4_34_the_tiles_of_a_full_slide_follow_column_by_column_then_row_by_row() {
    let colours: Vec<[u8; 3]> = (1..=6).map(|n| [10 * n, 0, 0]).collect();
    let [a, b, c, d, e, f] = colours[..] else { unreachable!("six") };
    let rows = [[a, a, b, b, c], [a, a, b, b, c], [d, d, e, e, f], [d, d, e, e, f]];
    assert_eq!(matrix_of(&tiled("TILED_FULL", &colours, &[])), rows.as_flattened());
    // The frames of a second focal plane come after those of the first.
    let planes: Vec<_> = colours.iter().copied().chain([[0, 0, 99]; 6]).collect();
    assert_eq!(matrix_of(&tiled("TILED_FULL", &planes, &[])), rows.as_flattened());
}

#[test]
fn r4_34_the_tiles_of_a_sparse_slide_lie_where_they_say_and_holes_have_their_colour() {
    let (a, b, hole) = ([200, 10, 20], [30, 40, 250], [255; 3]);
    let sparse = tiled("TILED_SPARSE", &[a, b], &[(4, 1), (1, 3)]);
    let rows = |hole| {
        [
            [hole, hole, hole, a, a],
            [hole, hole, hole, a, a],
            [b, b, hole, hole, hole],
            [b, b, hole, hole, hole],
        ]
    };
    assert_eq!(matrix_of(&sparse), rows(hole).as_flattened());
    let black = sparse.us(tags::RECOMMENDED_ABSENT_PIXEL_CIE_LAB_VALUE, [0, 0x8080, 0x8080]);
    assert_eq!(matrix_of(&black), rows([0; 3]).as_flattened());
}

#[test]
fn r4_35_a_dose_of_32_bits_is_drawn_over_its_range_whatever_its_scaling() {
    let cells = [0_u32, 1_500_000_000, 3_000_000_000].map(u32::to_le_bytes).concat();
    let dose = image("MONOCHROME2", 1, 3, 1, 32)
        .text(tags::SOP_CLASS_UID, "UI", "1.2.840.10008.5.1.4.1.1.481.2")
        .cs(tags::MODALITY, "RTDOSE")
        .bytes(tags::PIXEL_DATA, "OW", cells);
    for scaling in ["1.3e-7", "1", "0"] {
        let scaled = dose.clone().ds(tags::DOSE_GRID_SCALING, scaling);
        assert_eq!(levels(&scaled), [0, 128, 255], "{scaling}");
    }
}

#[test]
fn r4_35_each_slice_of_a_pet_has_its_own_slope() {
    let slice = |slope: &str, window: bool| {
        let data = grey16(&[0, 16_000, 32_000])
            .text(tags::SOP_CLASS_UID, "UI", "1.2.840.10008.5.1.4.1.1.128")
            .cs(tags::MODALITY, "PT")
            .us(tags::PIXEL_REPRESENTATION, [1])
            .ds(tags::RESCALE_SLOPE, slope)
            .ds(tags::RESCALE_INTERCEPT, "0");
        match window {
            true => levels(&data.ds(tags::WINDOW_CENTER, "0.016").ds(tags::WINDOW_WIDTH, "0.032")),
            false => levels(&data),
        }
    };
    assert_eq!(slice("1e-6", false), [0, 128, 255]);
    assert_eq!(slice("1e-6", true), [0, 128, 255]);
    assert_eq!(slice("0.5e-6", true), [0, 64, 128]);
}

#[test]
fn r4_35_a_ct_with_padding_and_two_windows_looks_like_a_ct() {
    let data = grey16(&[-2000_i16, 0, 864, 1064, 1264, 3000].map(|v| v as u16))
        .text(tags::SOP_CLASS_UID, "UI", "1.2.840.10008.5.1.4.1.1.2")
        .cs(tags::MODALITY, "CT")
        .us(tags::PIXEL_REPRESENTATION, [1])
        .ss(tags::PIXEL_PADDING_VALUE, [-2000])
        .ds(tags::RESCALE_SLOPE, "1")
        .ds(tags::RESCALE_INTERCEPT, "-1024")
        .ds(tags::WINDOW_CENTER, "40\\-600")
        .ds(tags::WINDOW_WIDTH, "400\\1500");
    assert_eq!(levels(&data), [0, 0, 0, 128, 255, 255]);
    // Lung: −1024, −160, 40, 240 HU.
    assert_eq!(drawn(&data).window("-600,1500,linear").grey(), [0, 55, 202, 236, 255, 255]);
}

// ---- R6.0: transfer syntaxes ----

#[test]
fn r6_00_native_syntaxes_give_the_same_picture() {
    let data = grey16(&[0, 0x1234, 0xFFFF])
        .ds(tags::WINDOW_CENTER, "32768")
        .ds(tags::WINDOW_WIDTH, "65536");
    for syntax in [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED] {
        assert_eq!(draw(file(syntax, &data)).grey(), [0, 18, 255], "{syntax}");
    }
}

#[test]
fn r6_00_big_endian_swaps_the_words_of_8_bit_cells_in_ow_and_not_the_bytes_of_ob() {
    let data = image("MONOCHROME2", 1, 4, 1, 8);
    let ow = data.clone().ow(tags::PIXEL_DATA, [0x5500, 0xFFAA]);
    let ob = data.bytes(tags::PIXEL_DATA, "OB", [0x00, 0x55, 0xAA, 0xFF]);
    for data in [ow, ob] {
        assert_eq!(draw(file(EXPLICIT_BE, &data)).grey(), [0x00, 0x55, 0xAA, 0xFF]);
    }
}

#[test]
fn r6_00_big_endian_cells_of_32_bits_begin_with_the_highest_byte() {
    let cells = [0_u32, 0x0001_0000, 0x0002_0000].map(u32::to_be_bytes).concat();
    let data = image("MONOCHROME2", 1, 3, 1, 32).bytes(tags::PIXEL_DATA, "OW", cells);
    assert_eq!(draw(file(EXPLICIT_BE, &data)).grey(), [0, 128, 255]);
}

#[test]
fn r6_00_encapsulated_uncompressed_holds_native_frames() {
    let data = image("MONOCHROME2", 1, 3, 1, 8)
        .is(tags::NUMBER_OF_FRAMES, "2")
        .fragments(&[], &[vec![0, 85, 255], vec![255, 85, 0]]);
    let file = file(ENCAPSULATED_UNCOMPRESSED, &data);
    assert_eq!(draw(file.clone()).grey(), [0, 85, 255]);
    assert_eq!(draw(file).frame(2).grey(), [255, 85, 0]);
}

#[test]
fn r6_00_deflated_frames_are_streams_of_their_own() {
    let frames = [deflate(&[0, 85, 255]), deflate(&[255, 85, 0])];
    let data =
        image("MONOCHROME2", 1, 3, 1, 8).is(tags::NUMBER_OF_FRAMES, "2").fragments(&[], &frames);
    let file = file(DEFLATED_FRAME, &data);
    assert_eq!(draw(file.clone()).grey(), [0, 85, 255]);
    assert_eq!(draw(file).frame(2).grey(), [255, 85, 0]);
}

#[test]
fn r6_00_rle_planes_begin_with_the_highest_byte() {
    let data = image("MONOCHROME2", 1, 3, 1, 16)
        .fragments(&[], &[rle(&[vec![0x00, 0x12, 0xFF], vec![0x00, 0x34, 0xFF]])])
        .ds(tags::WINDOW_CENTER, "32768")
        .ds(tags::WINDOW_WIDTH, "65536");
    assert_eq!(draw(file(RLE, &data)).grey(), [0, 18, 255]);
    // RGB of 16 bits: the two planes of red, then of green, then of blue.
    let planes = [0x10_u8, 0xFF, 0x80, 0x00, 0xFF, 0xFF].map(|byte| vec![byte; 2]);
    let data = image("RGB", 1, 2, 3, 16).fragments(&[], &[rle(&planes)]);
    assert_eq!(draw(file(RLE, &data)).rgb(), [[17, 128, 255]; 2]);
}

#[test]
fn r6_00_an_rle_segment_that_stops_early_leaves_the_rest_drawn() {
    let mut stream = rle(&[vec![10, 20, 30, 40]]);
    stream.truncate(64 + 6);
    let data = image("MONOCHROME2", 1, 4, 1, 8).fragments(&[], &[stream]);
    let picture = draw(file(RLE, &data)).window(IDENTITY_8).pixels();
    assert_eq!(picture.grey()[..3], [10, 20, 30]);
    assert!(!picture.warnings.is_empty());
}

#[test]
fn r6_00_syntaxes_that_cannot_be_drawn_are_named_as_unsupported() {
    for syntax in [
        "1.2.840.10008.1.2.4.92",
        "1.2.840.10008.1.2.4.94",
        "1.2.840.10008.1.2.4.53",
        "1.2.840.113619.5.2.9",
    ] {
        let data = image("MONOCHROME2", 1, 4, 1, 8).fragments(&[], &[vec![1, 2, 3, 4]]);
        let error = draw(file(syntax, &data)).error();
        assert!(matches!(error, RenderError::Unsupported { .. }), "{syntax}: {error:?}");
    }
}

// ---- R6.1–R6.3: what the codestream really holds ----

/// 16 × 16 pixels of three samples, each fragment a frame.
fn jpeg_data(photometric: &str, frames: &[Vec<u8>]) -> DataSet {
    image(photometric, 16, 16, 3, 8)
        .is(tags::NUMBER_OF_FRAMES, &frames.len().to_string())
        .fragments(&[], frames)
}

/// What [`ORANGE`] looks like if its Y, Cb and Cr are taken for red, green and blue.
fn orange_unconverted() -> [u8; 3] {
    to_ybr_full(ORANGE)
}

fn assert_jpeg_colour(photometric: &str, jpeg: Vec<u8>, expected: [u8; 3], what: &str) {
    let data = jpeg_data(photometric, &[jpeg]);
    let got = draw(file(JPEG_BASELINE, &data)).rgb()[0];
    let near = got.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 3);
    assert!(near, "{what}, {photometric}: {got:?}, {expected:?} is due");
}

#[test]
fn r6_01_the_adobe_marker_decides_first() {
    for photometric in ["RGB", "YBR_FULL", "YBR_FULL_422"] {
        for (says, expected) in [
            (Says::Adobe(0), orange_unconverted()),
            (Says::Adobe(1), ORANGE),
            (Says::JfifAndAdobe(0), orange_unconverted()),
            (Says::JfifAndAdobe(1), ORANGE),
        ] {
            let jpeg = jpeg_of_colour(ORANGE, says);
            assert_jpeg_colour(photometric, jpeg, expected, &format!("{says:?}"));
        }
    }
}

#[test]
fn r6_01_jfif_means_ycbcr_whatever_the_data_set_says() {
    for photometric in ["RGB", "YBR_FULL", "YBR_FULL_422"] {
        let jpeg = jpeg_of_colour(ORANGE, Says::Jfif);
        assert_jpeg_colour(photometric, jpeg, ORANGE, "JFIF");
    }
}

#[test]
fn r6_01_without_a_marker_the_photometric_interpretation_decides() {
    let jpeg = || jpeg_of_colour(ORANGE, Says::Nothing);
    assert_jpeg_colour("RGB", jpeg(), orange_unconverted(), "no marker");
    assert_jpeg_colour("YBR_FULL", jpeg(), ORANGE, "no marker");
    assert_jpeg_colour("YBR_FULL_422", jpeg(), ORANGE, "no marker");
}

#[test]
fn r6_01_component_identifiers_do_not_outweigh_the_photometric_interpretation() {
    for ids in [*b"RGB", [0, 1, 2], [1, 2, 3], [7, 9, 5]] {
        let jpeg = || with_component_ids(jpeg_of_colour(ORANGE, Says::Nothing), ids);
        let what = format!("identifiers {ids:?}");
        assert_jpeg_colour("RGB", jpeg(), orange_unconverted(), &what);
        assert_jpeg_colour("YBR_FULL_422", jpeg(), ORANGE, &what);
    }
}

#[test]
fn r6_01_subsampled_chroma_means_ycbcr() {
    let jpeg = subsampled_jpeg_of_colour(ORANGE, Says::Nothing);
    assert_jpeg_colour("RGB", jpeg, ORANGE, "no marker, subsampled");
}

#[test]
fn r6_01_every_combination_of_marks_is_decided_by_the_first_that_speaks() {
    use Says::{Adobe, Jfif, JfifAndAdobe, Nothing};
    for subsampled in [false, true] {
        for says in [Nothing, Jfif, Adobe(0), Adobe(1), JfifAndAdobe(0), JfifAndAdobe(1)] {
            for ids in [[1, 2, 3], *b"RGB", [0, 1, 2]] {
                for photometric in ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420"] {
                    let jpeg = match subsampled {
                        true => subsampled_jpeg_of_colour(ORANGE, says),
                        false => jpeg_of_colour(ORANGE, says),
                    };
                    let rgb = match says {
                        Adobe(transform) | JfifAndAdobe(transform) => transform == 0,
                        Jfif => false,
                        Nothing => !subsampled && photometric == "RGB",
                    };
                    let due = if rgb { orange_unconverted() } else { ORANGE };
                    let what = format!("{says:?}, subsampled {subsampled}, identifiers {ids:?}");
                    assert_jpeg_colour(photometric, with_component_ids(jpeg, ids), due, &what);
                }
            }
        }
    }
}

#[test]
fn r6_02_rle_of_ybr_full_is_converted_as_the_data_set_says() {
    let planes = to_ybr_full(ORANGE).map(|sample| vec![sample; 2]);
    let data = image("YBR_FULL", 1, 2, 3, 8).fragments(&[], &[rle(&planes)]);
    assert_close(&draw(file(RLE, &data)).rgb(), &[ORANGE; 2], 1);
}

/// A lossless codestream of 16 × 16 pixels of one colour, with the reversible colour transform.
fn j2k_of_colour(colour: [u8; 3]) -> Vec<u8> {
    let planes = colour.map(|sample| vec![i32::from(sample); 256]);
    let planes = [&planes[0][..], &planes[1], &planes[2]];
    jpeg2000::encode(&planes, 16, 16, 8, false, Compression::Lossless).expect("a codestream")
}

/// The same with the transform switched off in its header: the decoder then gives out the
/// transformed components, chroma around 128.
fn j2k_without_transform(colour: [u8; 3]) -> (Vec<u8>, [u8; 3]) {
    let mut codestream = j2k_of_colour(colour);
    let cod = codestream.windows(2).position(|pair| pair == [0xFF, 0x52]).expect("COD");
    // Marker, length, Scod, progression, layers; then the multiple component transform.
    assert_eq!(codestream[cod + 8], 1);
    codestream[cod + 8] = 0;
    let [r, g, b] = colour.map(i32::from);
    let components = [(r + 2 * g + b) >> 2, b - g + 128, r - g + 128];
    (codestream, components.map(|v| v as u8))
}

#[test]
fn r6_02_jpeg_2000_of_ybr_full_without_its_own_transform_is_converted() {
    let (codestream, [y, cb, cr]) = j2k_without_transform([120, 100, 90]);
    let data = image("YBR_FULL", 16, 16, 3, 8).fragments(&[], &[codestream]);
    let expected = ybr_full([y, cb, cr].map(i64::from), 8).map(|v| v.round() as u8);
    assert_close(&draw(file(J2K_LOSSLESS, &data)).rgb(), &[expected; 256], 1);
}

#[test]
fn r6_03_whether_jpeg_2000_transformed_colour_is_for_the_codestream_to_say() {
    for photometric in ["RGB", "YBR_RCT", "YBR_ICT"] {
        let (codestream, as_coded) = j2k_without_transform([120, 100, 90]);
        let data = image(photometric, 16, 16, 3, 8).fragments(&[], &[codestream]);
        assert_eq!(draw(file(J2K_LOSSLESS, &data)).rgb(), [as_coded; 256], "{photometric}");
    }
    // With the transform, the decoder's output is RGB, whatever the label.
    let data = image("YBR_FULL", 16, 16, 3, 8).fragments(&[], &[j2k_of_colour(ORANGE)]);
    assert_eq!(draw(file(J2K_LOSSLESS, &data)).rgb(), [ORANGE; 256]);
}

/// A lossless grey codestream of 16 × 16 samples that repeat these.
fn j2k_of_samples(samples: &[i32], precision: u8, signed: bool) -> Vec<u8> {
    let samples: Vec<i32> = samples.iter().copied().cycle().take(256).collect();
    jpeg2000::encode(&[&samples], 16, 16, precision, signed, Compression::Lossless)
        .expect("a codestream")
}

#[test]
fn r6_03_the_sign_of_the_codestream_may_contradict_the_data_set() {
    // −5, 0, 5 under a window of −10 to 10.
    let due = [64, 128, 191];
    for (what, codestream, bits_stored) in [
        ("signed", j2k_of_samples(&[-5, 0, 5, 0], 16, true), 16),
        ("two's complement", j2k_of_samples(&[0xFFFB, 0, 5, 0], 16, false), 16),
        ("12 bits signed", j2k_of_samples(&[-5, 0, 5, 0], 12, true), 12),
        ("12 bits unsigned", j2k_of_samples(&[0xFFB, 0, 5, 0], 12, false), 12),
        ("12 bits signed for 16", j2k_of_samples(&[-5, 0, 5, 0], 12, true), 16),
        ("16 bits unsigned for 12", j2k_of_samples(&[0xFFB, 0, 5, 0], 16, false), 12),
        ("16 bits signed for 12", j2k_of_samples(&[-5, 0, 5, 0], 16, true), 12),
    ] {
        let data = image("MONOCHROME2", 16, 16, 1, 16)
            .us(tags::PIXEL_REPRESENTATION, [1])
            .us(tags::BITS_STORED, [bits_stored])
            .us(tags::HIGH_BIT, [bits_stored - 1])
            .fragments(&[], &[codestream]);
        let got = draw(file(J2K_LOSSLESS, &data)).window("0,20,linear-exact").grey();
        assert_eq!(got[..3], due, "{what}");
    }
}

#[test]
fn r6_03_signed_samples_of_an_unsigned_image_are_its_high_values() {
    let data = image("MONOCHROME2", 16, 16, 1, 16)
        .fragments(&[], &[j2k_of_samples(&[-1, 0, 0x4000, -0x8000], 16, true)]);
    let got = draw(file(J2K_LOSSLESS, &data)).window("32768,65536,linear").grey();
    assert_eq!(got[..4], [255, 0, 64, 128]);
}

// ---- R6.4–R6.7: encapsulation ----

/// Two grey frames, 60 and 180, each in two fragments of even length.
fn two_frames_in_four_fragments() -> Vec<Vec<u8>> {
    let halves = |level| {
        let jpeg = even(&jpeg_of_grey(level));
        let (head, tail) = jpeg.split_at(jpeg.len() / 4 * 2);
        [head.to_vec(), tail.to_vec()]
    };
    [halves(60), halves(180)].concat()
}

fn grey_jpeg_data(frames: u32) -> DataSet {
    image("MONOCHROME2", 16, 16, 1, 8).is(tags::NUMBER_OF_FRAMES, &frames.to_string())
}

/// The level of the middle of a first frame in this syntax.
fn level_under(syntax: &str, data: &DataSet) -> u8 {
    draw(file(syntax, data)).window(IDENTITY_8).pixels().at(8, 8)[0]
}

/// The first pixel of a frame of one level.
fn level_of_frame(data: &DataSet, frame: u32) -> u8 {
    draw(file(JPEG_BASELINE, data)).frame(frame).window(IDENTITY_8).grey()[0]
}

#[test]
fn r6_04_offset_tables_are_honoured_full_or_empty() {
    let fragments = two_frames_in_four_fragments();
    let offsets = item_offsets(&fragments);
    for table in [vec![], vec![offsets[0], offsets[2]]] {
        let data = grey_jpeg_data(2).fragments(&table, &fragments);
        assert_eq!([1, 2].map(|n| level_of_frame(&data, n)), [60, 180], "{table:?}");
    }
}

#[test]
fn r6_04_an_offset_table_decides_where_nothing_else_can() {
    // Native frames of two fragments each have no marker to begin with.
    let fragments = [vec![0, 50], vec![100, 255], vec![255, 200], vec![150, 0]];
    let offsets = item_offsets(&fragments);
    let data = image("MONOCHROME2", 1, 4, 1, 8)
        .is(tags::NUMBER_OF_FRAMES, "2")
        .fragments(&[offsets[0], offsets[2]], &fragments);
    let file = file(ENCAPSULATED_UNCOMPRESSED, &data);
    assert_eq!(draw(file.clone()).grey(), [0, 50, 100, 255]);
    assert_eq!(draw(file).frame(2).grey(), [255, 200, 150, 0]);
}

#[test]
fn r6_04_an_extended_offset_table_is_honoured() {
    let frames = [jpeg_of_grey(60), jpeg_of_grey(180)];
    let offsets: Vec<u64> = item_offsets(&frames).into_iter().map(u64::from).collect();
    let lengths: Vec<u64> = frames.iter().map(|frame| frame.len() as u64).collect();
    let data = grey_jpeg_data(2)
        .fragments(&[], &frames)
        .ov(tags::EXTENDED_OFFSET_TABLE, offsets)
        .ov(tags::EXTENDED_OFFSET_TABLE_LENGTHS, lengths);
    assert_eq!([1, 2].map(|n| level_of_frame(&data, n)), [60, 180]);
}

#[test]
fn r6_04_offset_tables_that_do_not_land_on_items_are_ignored() {
    let fragments = two_frames_in_four_fragments();
    let offsets = item_offsets(&fragments);
    for table in [vec![offsets[0] + 8, offsets[2] + 8], vec![0, 7], vec![0, 0xFFFF_FFF0]] {
        let data = grey_jpeg_data(2).fragments(&table, &fragments);
        assert_eq!([1, 2].map(|n| level_of_frame(&data, n)), [60, 180], "{table:?}");
    }
    let data = grey_jpeg_data(2)
        .fragments(&[], &fragments)
        .ov(tags::EXTENDED_OFFSET_TABLE, [3, u64::MAX])
        .ov(tags::EXTENDED_OFFSET_TABLE_LENGTHS, [1, u64::MAX]);
    assert_eq!([1, 2].map(|n| level_of_frame(&data, n)), [60, 180]);
}

#[test]
fn r6_04_an_offset_table_that_lacks_frames_does_not_hide_them() {
    let fragments = two_frames_in_four_fragments();
    let data = grey_jpeg_data(2).fragments(&[0], &fragments);
    assert_eq!([1, 2].map(|n| level_of_frame(&data, n)), [60, 180]);
}

#[test]
fn r6_05_the_fragments_of_a_single_frame_are_joined() {
    let jpeg = even(&jpeg_of_grey(77));
    let pieces: Vec<Vec<u8>> = jpeg.chunks(100).map(<[u8]>::to_vec).collect();
    assert!(pieces.len() > 2);
    assert_eq!(level_of_frame(&grey_jpeg_data(1).fragments(&[], &pieces), 1), 77);
}

#[test]
fn r6_05_more_frames_declared_than_there_are_costs_only_the_missing_ones() {
    let frames = [jpeg_of_grey(60), jpeg_of_grey(180)];
    let data = grey_jpeg_data(5).fragments(&[], &frames);
    assert_eq!([1, 2].map(|n| level_of_frame(&data, n)), [60, 180]);
    draw(file(JPEG_BASELINE, &data)).frame(5).error();
}

#[test]
fn r6_05_more_fragments_than_frames_declared_still_give_the_frames() {
    let frames = [60, 120, 180].map(jpeg_of_grey);
    let data = grey_jpeg_data(2).fragments(&[], &frames);
    assert_eq!([1, 2].map(|n| level_of_frame(&data, n)), [60, 120]);
}

#[test]
fn r6_05_rle_has_a_fragment_for_each_frame_with_or_without_a_table() {
    let frames = [[10, 20], [30, 40], [50, 60]].map(|plane| rle(&[plane.to_vec()]));
    let offsets = item_offsets(&frames);
    for table in [vec![], offsets.clone(), vec![offsets[0], 6, offsets[2]]] {
        let data = image("MONOCHROME2", 1, 2, 1, 8)
            .is(tags::NUMBER_OF_FRAMES, "3")
            .fragments(&table, &frames);
        let file = file(RLE, &data);
        let frame = |n| draw(file.clone()).frame(n).window(IDENTITY_8).grey();
        assert_eq!([frame(1), frame(2), frame(3)], [[10, 20], [30, 40], [50, 60]], "{table:?}");
    }
}

#[test]
fn r6_06_padding_before_and_after_the_end_marker_is_legal() {
    let jpeg = jpeg_of_grey(77);
    let (body, end) = jpeg.split_at(jpeg.len() - 2);
    for (what, jpeg) in [
        ("00 after", [body, end, &[0, 0]].concat()),
        ("FF before", [body, &[0xFF, 0xFF], end].concat()),
        ("no end marker", body.to_vec()),
    ] {
        let data = grey_jpeg_data(1).fragments(&[], &[jpeg]);
        assert_eq!(level_of_frame(&data, 1), 77, "{what}");
    }
}

#[test]
fn r6_06_odd_lengths_empty_items_and_missing_delimiters_are_survived() {
    let mut odd = jpeg_of_grey(77);
    odd.resize(odd.len() | 1, 0);
    let even = even(&odd);
    for (what, items, delimited) in [
        ("odd length", vec![odd], true),
        ("empty item before", vec![vec![], even.clone()], true),
        ("empty item after", vec![even.clone(), vec![]], true),
        ("no delimiter", vec![even], false),
    ] {
        let data = grey_jpeg_data(1).raw_fragments(&[], items, delimited);
        assert_eq!(level_of_frame(&data, 1), 77, "{what}");
    }
}

#[test]
fn r6_06_a_file_cut_off_in_its_last_frame_keeps_the_others() {
    let frames = [jpeg_of_grey(60), jpeg_of_grey(180)];
    let data = grey_jpeg_data(2).fragments(&[], &frames);
    let mut bytes = file(JPEG_BASELINE, &data);
    bytes.truncate(bytes.len() - 8 - 40);
    let level = draw(bytes).window(IDENTITY_8).grey()[0];
    assert_eq!(level, 60);
}

#[test]
fn r6_07_the_size_of_the_codestream_wins() {
    for (rows, columns) in [(8, 8), (32, 32), (8, 40)] {
        let data = grey_jpeg_data(1)
            .us(tags::ROWS, [rows])
            .us(tags::COLUMNS, [columns])
            .fragments(&[], &[jpeg_of_grey(77)]);
        let picture = draw(file(JPEG_BASELINE, &data)).window(IDENTITY_8).pixels();
        assert_eq!((picture.width, picture.height), (16, 16));
        assert_eq!(picture.grey(), [77; 256]);
        assert!(!picture.warnings.is_empty());
    }
}

#[test]
fn r6_07_fragments_under_a_native_syntax_are_known_by_their_first_bytes() {
    for codestream in [jpeg_of_grey(77), j2k_of_samples(&[77; 4], 8, false)] {
        let what = codestream[1];
        let data = grey_jpeg_data(1).fragments(&[], &[codestream]);
        assert_eq!(level_under(EXPLICIT_LE, &data), 77, "FF {what:02X}");
    }
}

#[test]
fn r6_07_a_codestream_under_the_name_of_another_is_known_by_its_first_bytes() {
    for (syntax, codestream) in [
        (J2K_LOSSLESS, jpeg_of_grey(77)),
        (RLE, jpeg_of_grey(77)),
        (JPEG_BASELINE, j2k_of_samples(&[77; 4], 8, false)),
    ] {
        let data = grey_jpeg_data(1).fragments(&[], &[codestream]);
        assert_eq!(level_under(syntax, &data), 77, "{syntax}");
    }
}

#[test]
fn r6_07_native_data_under_a_compressed_syntax_are_drawn() {
    let data = grey8(2, 2, &[0, 85, 170, 255]);
    assert_eq!(draw(file(JPEG_BASELINE, &data)).grey(), [0, 85, 170, 255]);
}

#[test]
fn r6_07_the_length_of_the_meta_group_may_be_wrong() {
    let good = file(EXPLICIT_LE, &grey8(2, 2, &[0, 85, 170, 255]));
    for length in [0_u32, 1, 9999] {
        let mut bytes = good.clone();
        // Preamble, "DICM", tag, VR and length of (0002,0000) come before its value.
        bytes[140..144].copy_from_slice(&length.to_le_bytes());
        assert_eq!(draw(bytes).grey(), [0, 85, 170, 255], "{length}");
    }
}

// ---- R6.8: limits ----

fn assert_too_large(drawing: Drawing) {
    let error = drawing.error();
    assert!(matches!(error, RenderError::TooLarge { .. }), "{error:?}");
}

#[test]
fn r6_08_pixels_are_bounded_from_the_header_and_from_the_codestream() {
    let limits = Limits { source_pixels: 100, ..Limits::default() };
    assert_too_large(drawn(&black(11, 11)).limits(limits));
    assert_eq!(drawn(&black(10, 10)).limits(limits).grey(), [0; 100]);
    // The header claims 8 × 8, the stream holds 16 × 16.
    let data = grey_jpeg_data(1)
        .us(tags::ROWS, [8])
        .us(tags::COLUMNS, [8])
        .fragments(&[], &[jpeg_of_grey(77)]);
    assert_too_large(draw(file(JPEG_BASELINE, &data)).limits(limits));
    // And the other way round.
    let data = grey_jpeg_data(1)
        .us(tags::ROWS, [60000])
        .us(tags::COLUMNS, [60000])
        .fragments(&[], &[jpeg_of_grey(77)]);
    assert_too_large(draw(file(JPEG_BASELINE, &data)));
}

#[test]
fn r6_08_the_picture_is_bounded_too() {
    let limits = Limits { output_pixels: 1000, ..Limits::default() };
    assert_too_large(drawn(&black(10, 10)).viewport("100,100").limits(limits));
    let picture = drawn(&black(10, 10)).viewport("30,30").limits(limits).pixels();
    assert_eq!((picture.width, picture.height), (30, 30));
}

#[test]
fn r6_08_what_inflates_is_bounded() {
    let limits = Limits { source_bytes: 100_000, ..Limits::default() };
    let zeros = vec![0_u8; 1_000_000];
    let bomb = black(2, 2).bytes(tags::ICON_IMAGE_SEQUENCE, "UN", &zeros);
    assert_too_large(draw(file(DEFLATED, &bomb)).limits(limits));
    // A frame of 2 × 2 that inflates to a million bytes: its four pixels, or an error.
    let data = image("MONOCHROME2", 2, 2, 1, 8).fragments(&[], &[deflate(&zeros)]);
    if let Ok(picture) = draw(file(DEFLATED_FRAME, &data)).limits(limits).result() {
        assert_eq!(picture.rgb.len(), 4);
    }
}

#[test]
fn r6_08_a_header_that_claims_the_world_gets_an_error() {
    let data = image("MONOCHROME2", 65535, 65535, 1, 16).ow(tags::PIXEL_DATA, [1, 2, 3]);
    drawn(&data).error();
    // Within the limit, but with hardly any data.
    let data = image("MONOCHROME2", 10000, 10000, 1, 8).ow(tags::PIXEL_DATA, [1]);
    drawn(&data).error();
    let data = grey8(2, 2, &[0, 1, 2, 3]).is(tags::NUMBER_OF_FRAMES, "2147483647");
    assert_eq!(drawn(&data).pixels().rgb.len(), 4);
    drawn(&data).frame(2_000_000_000).error();
}
