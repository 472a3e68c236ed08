//! Codestreams made by hand: RLE, deflate, and JPEG whose markers say what a test wants.

use std::io::Write;

use native_codecs::jpeg::{Channels, Subsampling};

/// A raw RFC 1951 stream.
pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

/// An RLE frame of these byte planes, the most significant one first (PS3.5 annex G).
pub fn rle(planes: &[Vec<u8>]) -> Vec<u8> {
    let segments: Vec<Vec<u8>> = planes.iter().map(|plane| pack_bits(plane)).collect();
    let mut header = vec![segments.len() as u32];
    let mut offset = 64;
    for segment in &segments {
        header.push(offset);
        offset += segment.len() as u32;
    }
    header.resize(16, 0);
    header.iter().flat_map(|n| n.to_le_bytes()).chain(segments.concat()).collect()
}

/// Runs of two and more are replicated, the rest is literal; padded to even length.
fn pack_bits(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        let run = rest.iter().take(128).take_while(|&&byte| byte == first).count();
        if run >= 2 {
            out.extend([(1 - run as i32) as u8, first]);
        } else {
            out.extend([0, first]);
        }
        rest = &rest[run..];
    }
    out.resize(out.len().next_multiple_of(2), 0x80);
    out
}

/// Which markers tell what the components of a JPEG are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Says {
    Nothing,
    Jfif,
    Adobe(u8),
    JfifAndAdobe(u8),
}

/// A baseline JPEG of 16 × 16 pixels of one colour, its components Y, Cb and Cr of it, with no
/// chroma subsampling, and just these markers.
pub fn jpeg_of_colour(colour: [u8; 3], says: Says) -> Vec<u8> {
    let coded = native_codecs::jpeg::encode(
        &colour.repeat(256),
        16,
        16,
        Channels::Rgb,
        100,
        Subsampling::S444,
    );
    mark(&coded.expect("a JPEG"), says)
}

/// The same colour everywhere, chroma at half resolution.
pub fn subsampled_jpeg_of_colour(colour: [u8; 3], says: Says) -> Vec<u8> {
    let coded = native_codecs::jpeg::encode(
        &colour.repeat(256),
        16,
        16,
        Channels::Rgb,
        100,
        Subsampling::S420,
    );
    mark(&coded.expect("a JPEG"), says)
}

/// 16 × 16 pixels of one grey level.
pub fn jpeg_of_grey(level: u8) -> Vec<u8> {
    native_codecs::jpeg::encode(&[level; 256], 16, 16, Channels::Grey, 100, Subsampling::S444)
        .expect("a JPEG")
}

/// Takes JFIF and Adobe segments out and puts the wanted ones in.
fn mark(jpeg: &[u8], says: Says) -> Vec<u8> {
    const JFIF: &[u8] = b"\xFF\xE0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
    let adobe = |transform| {
        let mut segment = b"\xFF\xEE\x00\x0EAdobe\0\x64\0\0\0\0".to_vec();
        segment.push(transform);
        segment
    };
    let mut out = vec![0xFF, 0xD8];
    match says {
        Says::Nothing => {}
        Says::Jfif => out.extend(JFIF),
        Says::Adobe(transform) => out.extend(adobe(transform)),
        Says::JfifAndAdobe(transform) => {
            out.extend(JFIF);
            out.extend(adobe(transform));
        }
    }
    let mut rest = &jpeg[2..];
    // Segments up to the first scan have a length; what follows is copied as it is.
    while rest[1] != 0xDA {
        let length = 2 + usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        if !matches!(rest[1], 0xE0 | 0xEE) {
            out.extend(&rest[..length]);
        }
        rest = &rest[length..];
    }
    out.extend(rest);
    out
}

/// Changes the component identifiers of a JPEG in its frame and scan headers.
pub fn with_component_ids(mut jpeg: Vec<u8>, ids: [u8; 3]) -> Vec<u8> {
    let mut at = 2;
    loop {
        let marker = jpeg[at + 1];
        let (first, step) = match marker {
            0xC0 => (at + 10, 3),
            0xDA => (at + 5, 2),
            _ => (0, 0),
        };
        if step > 0 {
            for (index, id) in ids.into_iter().enumerate() {
                jpeg[first + index * step] = id;
            }
        }
        if marker == 0xDA {
            return jpeg;
        }
        at += 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
    }
}
