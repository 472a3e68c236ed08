//! The marker segments of a JPEG stream (T.81 annex B), and the repairs that need them.

use std::borrow::Cow;
use std::ops::Range;

const SOF0_BASELINE: u8 = 0xC0;
const SOF1_EXTENDED: u8 = 0xC1;
const SOF3_LOSSLESS: u8 = 0xC3;
const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const APP0: u8 = 0xE0;
const APP14: u8 = 0xEE;
const APP15: u8 = 0xEF;

/// "Adobe", version 100, no flags, transform 0: the components are what they are.
const ADOBE_NO_TRANSFORM: [u8; 16] =
    [0xFF, APP14, 0, 14, b'A', b'd', b'o', b'b', b'e', 0, 100, 0, 0, 0, 0, 0];

/// Rewrites scan headers whose Ss, Se, Ah, Al contradict the process named by the frame header.
///
/// These bytes have one legal value in sequential and (but for Ss and Al) in lossless JPEG, so what was
/// meant is certain. Real DICOM encoders write Se = 0 into sequential scans.
pub(super) fn with_legal_scan_headers(codestream: &[u8]) -> Cow<'_, [u8]> {
    let mut process = None;
    let mut repairs = Vec::new();
    for segment in segments(codestream) {
        match segment.marker {
            SOF0_BASELINE | SOF1_EXTENDED | SOF3_LOSSLESS => process = Some(segment.marker),
            SOS => {
                let Some(process) = process else { break };
                let Some(repair) = scan_repair(process, codestream, &segment) else { break };
                repairs.push(repair);
            }
            _ => {}
        }
    }
    if repairs.is_empty() {
        return Cow::Borrowed(codestream);
    }
    let mut repaired = codestream.to_vec();
    for (at, bytes) in repairs {
        repaired[at..at + 3].copy_from_slice(&bytes);
    }
    Cow::Owned(repaired)
}

/// A copy that libjpeg takes for RGB (or CMYK), that is: whose components it does not convert.
///
/// JFIF and Adobe segments, which decide (in this order), become ones that nobody reads, and an
/// Adobe segment without transform goes first.
pub(super) fn without_colour_transform(codestream: &[u8]) -> Vec<u8> {
    let mut head = codestream.to_vec();
    for segment in segments(codestream).take_while(|segment| segment.marker != SOS) {
        let payload = &codestream[segment.payload.clone()];
        let decides = match segment.marker {
            APP0 => payload.starts_with(b"JFIF\0"),
            APP14 => payload.starts_with(b"Adobe"),
            _ => false,
        };
        if decides {
            head[segment.at] = APP15;
        }
    }
    let after_soi = codestream.len().min(2);
    head.splice(after_soi..after_soi, ADOBE_NO_TRANSFORM);
    head
}

/// One marker segment.
struct Segment {
    marker: u8,
    /// Where the marker's second byte is.
    at: usize,
    /// What follows the length.
    payload: Range<usize>,
}

/// All segments with a length, the scans' entropy-coded data skipped; ends where they make no sense.
fn segments(codestream: &[u8]) -> impl Iterator<Item = Segment> {
    let mut position = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = codestream.get(position..)?;
            position += rest.iter().position(|&byte| byte == 0xFF)? + 1;
            let marker = *codestream.get(position)?;
            match marker {
                EOI => return None,
                0xFF => continue,
                // stuffed zero, TEM, RSTn and SOI have no length
                0x00 | 0x01 | 0xD0..=SOI => position += 1,
                _ => {
                    let at = position;
                    let length = codestream.get(at + 1..at + 3)?;
                    let end = at + 1 + usize::from(u16::from_be_bytes([length[0], length[1]]));
                    let payload = at + 3..end;
                    codestream.get(payload.clone())?;
                    position = end;
                    return Some(Segment { marker, at, payload });
                }
            }
        }
    })
}

/// Where the three last bytes of this scan header are and what they must be, if they are not.
fn scan_repair(process: u8, codestream: &[u8], scan: &Segment) -> Option<(usize, [u8; 3])> {
    let at = scan.payload.end.checked_sub(3).filter(|&at| at >= scan.payload.start)?;
    let said = [codestream[at], codestream[at + 1], codestream[at + 2]];
    let legal = match process {
        // H.1.2.1: Ss is the predictor, Al the point transform
        SOF3_LOSSLESS => [said[0], 0, said[2] & 0x0F],
        _ => [0, 63, 0],
    };
    (said != legal).then_some((at, legal))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCAN: [u8; 10] = [0xFF, SOS, 0, 8, 1, 1, 0, 0, 0, 0];

    fn stream(sof: u8, scans: &[&[u8]]) -> Vec<u8> {
        let mut stream = vec![0xFF, SOI, 0xFF, sof, 0, 4, 8, 8];
        for scan in scans {
            stream.extend_from_slice(scan);
            stream.extend_from_slice(&[1, 2, 0xFF, 0, 3, 0xFF, 0xD0, 4]);
        }
        stream
    }

    #[test]
    fn every_scan_of_a_sequential_frame_spans_all_64_coefficients() {
        let broken = stream(SOF1_EXTENDED, &[&SCAN, &SCAN]);
        let mut legal = SCAN;
        legal[8] = 63;
        assert_eq!(*with_legal_scan_headers(&broken), stream(SOF1_EXTENDED, &[&legal, &legal]));
    }

    #[test]
    fn legal_scan_headers_are_not_copied() {
        let mut scan = SCAN;
        scan[7] = 1;
        let lossless = stream(SOF3_LOSSLESS, &[&scan]);
        assert!(matches!(with_legal_scan_headers(&lossless), Cow::Borrowed(_)));
    }

    #[test]
    fn segments_that_run_past_the_end_are_none() {
        for stream in
            [&[0xFF, SOI, 0xFF, SOS, 0xFF, 0xFF, 1][..], &[0xFF, SOI, 0xFF, SOS, 0, 1], &[]]
        {
            assert_eq!(segments(stream).count(), 0);
        }
    }
}
