//! 8-bit baseline JPEG, by libjpeg-turbo.

use dicomweb_types::MediaType;
use native_codecs::jpeg::{self, Subsampling};

use super::failed;
use crate::error::Result;
use crate::pixel::raster::{Channels, Raster};
use crate::spec::Quality;

/// What a segment holds of a profile (ICC.1 Annex B.4): 65535 less its length, name and numbers.
const PROFILE_CHUNK: usize = 65_519;

pub(super) fn encode(raster: &Raster, profile: Option<&[u8]>, quality: Quality) -> Result<Vec<u8>> {
    let channels = match raster.channels {
        Channels::Grey => jpeg::Channels::Grey,
        Channels::Rgb => jpeg::Channels::Rgb,
    };
    // Design §3: full chroma above quality 90.
    let subsampling = if quality.get() > 90 { Subsampling::S444 } else { Subsampling::S420 };
    let mut bytes = jpeg::encode(
        &raster.data,
        raster.width,
        raster.height,
        channels,
        quality.get(),
        subsampling,
    )
    .map_err(|error| failed(MediaType::Jpeg, error))?;
    if let Some(profile) = profile {
        let at = after_jfif(&bytes);
        bytes.splice(at..at, segments(profile)?);
    }
    Ok(bytes)
}

/// Where segments of applications go: after the start, and after JFIF's, which must be the first.
fn after_jfif(jpeg: &[u8]) -> usize {
    match jpeg {
        [_, _, 0xFF, 0xE0, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => 2,
    }
}

/// A profile in APP2 segments, numbered from 1 of as many as there are.
fn segments(profile: &[u8]) -> Result<Vec<u8>> {
    let chunks = profile.chunks(PROFILE_CHUNK);
    let count = u8::try_from(chunks.len())
        .map_err(|_| failed(MediaType::Jpeg, "the ICC profile is too large"))?;
    let segment = |(number, chunk): (u8, &[u8])| {
        let length = (2 + 14 + chunk.len()) as u16;
        let head = [b"\xFF\xE2", &length.to_be_bytes()[..], b"ICC_PROFILE\0", &[number, count]];
        [&head.concat(), chunk].concat()
    };
    Ok((1..=count).zip(chunks).flat_map(segment).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_stays_one_component_and_colour_three() {
        for (channels, components) in [(Channels::Grey, 1), (Channels::Rgb, 3)] {
            let data = vec![100; 16 * 8 * channels.count()];
            let raster = Raster { width: 16, height: 8, channels, data };
            let header = jpeg::header(&encode(&raster, None, Quality::RENDERED).unwrap()).unwrap();
            assert_eq!((header.width, header.height, header.components), (16, 8, components));
        }
    }

    #[test]
    fn a_profile_lies_after_jfif_in_numbered_segments() {
        let raster = Raster { width: 8, height: 8, channels: Channels::Rgb, data: vec![9; 192] };
        let plain = encode(&raster, None, Quality::RENDERED).unwrap();
        let profile: Vec<u8> = (0..PROFILE_CHUNK + 5).map(|i| (i % 251) as u8).collect();
        let with = encode(&raster, Some(&profile), Quality::RENDERED).unwrap();
        assert_eq!(with[..20], plain[..20]);
        let (first, rest) = with[20..].split_at(4 + 14 + PROFILE_CHUNK);
        assert_eq!(first[..4], [0xFF, 0xE2, 0xFF, 0xFF]);
        assert_eq!(&first[4..18], b"ICC_PROFILE\0\x01\x02");
        assert_eq!(rest[..4], [0xFF, 0xE2, 0, 2 + 14 + 5]);
        assert_eq!(&rest[4..18], b"ICC_PROFILE\0\x02\x02");
        assert_eq!([&first[18..], &rest[18..23]].concat(), profile);
        assert_eq!(rest[23..], plain[20..]);
    }
}
