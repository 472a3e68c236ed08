//! Lossless JPEG of one component (T.81 Annex H), the form in which DICOM keeps grey: our own decoder,
//! which takes half of libjpeg's time.
//!
//! It reads streams that keep to the book and nothing else: whatever is odd about one, `None` leaves it
//! to libjpeg, which makes the best of it.

use memchr::memchr;

use crate::limits::Limits;

/// Samples, row-major, within `precision` bits.
#[derive(Debug, PartialEq)]
pub(super) struct Grey {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) precision: u8,
    pub(super) samples: Vec<u16>,
}

/// Decodes a whole stream; `None` where it is not one of these, or not whole.
pub(super) fn decode(stream: &[u8], limits: &Limits) -> Option<Grey> {
    let Headers { frame, codes, scan, restart_interval, data } = Headers::read(stream)?;
    let Frame { width, height, precision, .. } = frame;
    limits.check_source(height, width).ok()?;
    let (width, height) = (width as usize, height as usize);
    // T.81 H.1.1: an interval is whole rows.
    let rows_at_once = match restart_interval {
        0 => height,
        interval if interval % width == 0 => interval / width,
        _ => return None,
    };
    // A sample takes a bit at least: no stream makes more of them than it can hold.
    if width.checked_mul(height)? > data.len().checked_mul(8)? {
        return None;
    }
    let mut samples = vec![0_u16; width * height];
    let mut segments = Segments { data, next_restart: 0 };
    let start = 1_u16 << (precision - scan.point_transform - 1);
    for rows in samples.chunks_mut(rows_at_once * width) {
        let segment = segments.next()?;
        let mut bits = Bits::new(&segment);
        decode_rows(rows, width, start, scan.predictor, &codes, &mut bits)?;
        bits.are_within().then_some(())?;
    }
    let used = samples.iter().fold(0, |all, sample| all | sample);
    if u32::from(used) >> (precision - scan.point_transform) != 0 {
        return None;
    }
    if scan.point_transform > 0 {
        samples.iter_mut().for_each(|sample| *sample <<= scan.point_transform);
    }
    Some(Grey { width: width as u32, height: height as u32, precision, samples })
}

/// T.81 Table H.1; `a` is to the left, `b` above, `c` above that to the left.
fn decode_rows(
    rows: &mut [u16],
    width: usize,
    start: u16,
    predictor: u8,
    codes: &Codes,
    bits: &mut Bits<'_>,
) -> Option<()> {
    // In more bits than the samples have.
    let half_difference = |p: u16, q: u16| ((i32::from(p) - i32::from(q)) >> 1) as u16;
    match predictor {
        1 => predicted(rows, width, start, codes, bits, |a, _, _| a),
        2 => predicted(rows, width, start, codes, bits, |_, b, _| b),
        3 => predicted(rows, width, start, codes, bits, |_, _, c| c),
        4 => {
            predicted(rows, width, start, codes, bits, |a, b, c| a.wrapping_add(b).wrapping_sub(c))
        }
        5 => predicted(rows, width, start, codes, bits, |a, b, c| {
            a.wrapping_add(half_difference(b, c))
        }),
        6 => predicted(rows, width, start, codes, bits, |a, b, c| {
            b.wrapping_add(half_difference(a, c))
        }),
        7 => predicted(rows, width, start, codes, bits, |a, b, _| {
            ((u32::from(a) + u32::from(b)) >> 1) as u16
        }),
        _ => None,
    }
}

/// The first row from the left, the first column from above (H.1.2.1), the rest by `predict`.
fn predicted(
    rows: &mut [u16],
    width: usize,
    start: u16,
    codes: &Codes,
    bits: &mut Bits<'_>,
    predict: impl Fn(u16, u16, u16) -> u16,
) -> Option<()> {
    let (first, rest) = rows.split_at_mut(width);
    let mut left = start;
    for sample in &mut *first {
        left = left.wrapping_add(codes.difference(bits)?);
        *sample = left;
    }
    let mut above: &[u16] = first;
    for row in rest.chunks_exact_mut(width) {
        let mut left = above[0].wrapping_add(codes.difference(bits)?);
        row[0] = left;
        for (sample, pair) in row[1..].iter_mut().zip(above.windows(2)) {
            left = predict(left, pair[1], pair[0]).wrapping_add(codes.difference(bits)?);
            *sample = left;
        }
        above = row;
    }
    Some(())
}

// Headers ----------------------------------------------------------------------------------------

struct Headers<'a> {
    frame: Frame,
    codes: Codes,
    scan: Scan,
    /// In samples; 0 for none.
    restart_interval: usize,
    /// What follows the scan's header.
    data: &'a [u8],
}

#[derive(Clone, Copy)]
struct Frame {
    width: u32,
    height: u32,
    precision: u8,
    component: u8,
}

struct Scan {
    predictor: u8,
    point_transform: u8,
}

impl<'a> Headers<'a> {
    fn read(stream: &'a [u8]) -> Option<Self> {
        let mut rest = stream.strip_prefix(&[0xFF, 0xD8])?;
        let (mut frame, mut tables, mut restart_interval) = (None, [None, None, None, None], 0);
        loop {
            while let [0xFF, 0xFF, ..] = rest {
                rest = &rest[1..]; // fill bytes
            }
            let &[0xFF, marker, high, low, ..] = rest else { return None };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let segment = rest.get(4..2 + length)?;
            rest = &rest[2 + length..];
            match marker {
                0xC3 if frame.is_none() => frame = Some(Frame::read(segment)?),
                0xC4 => read_tables(segment, &mut tables)?,
                0xDD => {
                    let &[high, low] = segment else { return None };
                    restart_interval = usize::from(u16::from_be_bytes([high, low]));
                }
                0xDA => {
                    let frame = frame?;
                    let (scan, table) = Scan::read(segment, frame)?;
                    let codes = tables.get_mut(table)?.take()?;
                    return Some(Self { frame, codes, scan, restart_interval, data: rest });
                }
                // Application data and comments.
                0xE0..=0xEF | 0xFE => {}
                _ => return None,
            }
        }
    }
}

impl Frame {
    fn read(segment: &[u8]) -> Option<Self> {
        let &[precision, y1, y0, x1, x0, 1, component, 0x11, _] = segment else { return None };
        let height = u32::from(u16::from_be_bytes([y1, y0]));
        let width = u32::from(u16::from_be_bytes([x1, x0]));
        // A height of 0 is told after the scan.
        let legal = (2..=16).contains(&precision) && width > 0 && height > 0;
        legal.then_some(Self { width, height, precision, component })
    }
}

impl Scan {
    /// The scan, and which table it uses.
    fn read(segment: &[u8], frame: Frame) -> Option<(Self, usize)> {
        let &[1, component, tables, predictor, 0, approximation] = segment else { return None };
        let point_transform = approximation & 0x0F;
        let legal = component == frame.component
            && (1..=7).contains(&predictor)
            && approximation >> 4 == 0
            && point_transform < frame.precision;
        legal.then_some((Self { predictor, point_transform }, usize::from(tables >> 4)))
    }
}

fn read_tables(mut segment: &[u8], tables: &mut [Option<Codes>; 4]) -> Option<()> {
    while let [id, rest @ ..] = segment {
        let lengths: &[u8; 16] = rest.first_chunk()?;
        let count: usize = lengths.iter().map(|&n| usize::from(n)).sum();
        let values = rest.get(16..16 + count)?;
        // Class 0: lossless uses the tables of DC coefficients.
        if id >> 4 == 0 {
            *tables.get_mut(usize::from(id & 0x0F))? = Some(Codes::new(lengths, values)?);
        }
        segment = &rest[16 + count..];
    }
    Some(())
}

// Codes --------------------------------------------------------------------------------------------

/// Bits that the fast table looks at.
const FAST_BITS: u32 = 12;

/// A Huffman table (T.81 Annex C), and with it how a difference is coded (Table H.2): its number of bits,
/// then these.
struct Codes {
    /// By the next twelve bits: the difference in the upper half, in the lower one how many of the bits
    /// are its code and its own bits; 0 where that is more than twelve.
    fast: Vec<u32>,
    /// For each length from 1: the first code that is longer, aligned to 16 bits, and what to add to a code
    /// of this length for its place among the values.
    longer: [(u32, i32); 16],
    values: Vec<u8>,
}

impl Codes {
    fn new(lengths: &[u8; 16], values: &[u8]) -> Option<Self> {
        if values.iter().any(|&bits| bits > 16) {
            return None;
        }
        let (mut code, mut place) = (0_u32, 0_i32);
        let mut longer = [(0, 0); 16];
        for (index, &count) in lengths.iter().enumerate() {
            let length = index as u32 + 1;
            let offset = place - code as i32;
            code += u32::from(count);
            place += i32::from(count);
            if code > 1 << length {
                return None;
            }
            longer[index] = (code << (16 - length), offset);
            code <<= 1;
        }
        let mut codes = Self { fast: Vec::new(), longer, values: values.to_vec() };
        codes.fast = (0..1_u32 << FAST_BITS).map(|next| codes.fast_entry(next)).collect();
        Some(codes)
    }

    fn fast_entry(&self, next: u32) -> u32 {
        let Some((bits, length)) = self.code(next << (16 - FAST_BITS)) else { return 0 };
        let used = length + u32::from(bits % 16);
        if used > FAST_BITS {
            return 0;
        }
        let own = (next >> (FAST_BITS - used)) & ((1 << (bits % 16)) - 1);
        u32::from(difference(bits, own)) << 16 | used
    }

    /// The number of bits that the code at the top of sixteen stands for, and the code's length.
    fn code(&self, next: u32) -> Option<(u8, u32)> {
        let index = self.longer.iter().position(|&(longer, _)| next < longer)?;
        let length = index as u32 + 1;
        let place = (next >> (16 - length)) as i32 + self.longer[index].1;
        Some((*self.values.get(usize::try_from(place).ok()?)?, length))
    }

    /// The next difference; `None` where there is no such code.
    #[inline]
    fn difference(&self, bits: &mut Bits<'_>) -> Option<u16> {
        bits.fill();
        let entry = self.fast[(bits.next >> (64 - FAST_BITS)) as usize];
        if entry & 0xFFFF != 0 {
            bits.skip(entry & 0xFFFF);
            return Some((entry >> 16) as u16);
        }
        let (count, length) = self.code((bits.next >> 48) as u32)?;
        bits.skip(length);
        // Sixteen has no bits of its own: it is 32768.
        let own_bits = u32::from(count % 16);
        let own = if own_bits == 0 { 0 } else { (bits.next >> (64 - own_bits)) as u32 };
        bits.skip(own_bits);
        Some(difference(count, own))
    }
}

/// T.81 F.1.2.1.1 and Table H.2, modulo 2^16.
fn difference(bits: u8, own: u32) -> u16 {
    match bits {
        0 => 0,
        16 => 0x8000,
        bits if own >> (bits - 1) == 1 => own as u16,
        bits => (own as u16).wrapping_sub(((1_u32 << bits) - 1) as u16),
    }
}

// Bits ---------------------------------------------------------------------------------------------

/// The segments of a scan between restart markers, their stuffed zeros taken out.
struct Segments<'a> {
    data: &'a [u8],
    next_restart: u8,
}

impl Segments<'_> {
    /// The next segment; `None` where the marker before it is not the one that is due.
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut segment = Vec::with_capacity(self.data.len() + PADDING);
        loop {
            let at = memchr(0xFF, self.data)?;
            segment.extend_from_slice(&self.data[..at]);
            match *self.data.get(at + 1)? {
                0 => {
                    segment.push(0xFF);
                    self.data = &self.data[at + 2..];
                }
                0xD9 => {
                    self.data = &self.data[at..];
                    break;
                }
                marker if marker == 0xD0 | self.next_restart => {
                    self.next_restart = (self.next_restart + 1) % 8;
                    self.data = &self.data[at + 2..];
                    break;
                }
                _ => return None,
            }
        }
        segment.resize(segment.len() + PADDING, 0);
        Some(segment)
    }
}

/// Zeros after a segment, so that eight bytes can be read at its end.
const PADDING: usize = 16;

/// A reader of bits, the first on top.
struct Bits<'a> {
    segment: &'a [u8],
    at: usize,
    next: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(segment: &'a [u8]) -> Self {
        Self { segment, at: 0, next: 0, count: 0 }
    }

    /// Makes sure that there are 32 bits, zeros after the end.
    #[inline]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }
        let Some(bytes) = self.segment.get(self.at..).and_then(|rest| rest.first_chunk::<4>())
        else {
            // Far behind the end, which `are_within` tells.
            self.at += 4;
            self.count += 32;
            return;
        };
        self.next |= u64::from(u32::from_be_bytes(*bytes)) << (32 - self.count);
        self.at += 4;
        self.count += 32;
    }

    #[inline]
    fn skip(&mut self, bits: u32) {
        self.next <<= bits;
        self.count -= bits;
    }

    /// Whether no more was read than there is.
    fn are_within(&self) -> bool {
        let read = self.at as u64 * 8 - u64::from(self.count);
        read <= (self.segment.len() - PADDING) as u64 * 8
    }
}

#[cfg(test)]
mod tests {
    use native_codecs::jpeg;
    use proptest::prelude::*;

    use super::*;

    /// An encoder by the book whose seventeen codes have five bits each.
    fn encode(
        samples: &[u16],
        width: usize,
        precision: u8,
        (predictor, point_transform): (u8, u8),
        rows_at_once: usize,
    ) -> Vec<u8> {
        let height = samples.len() / width;
        let mut out = vec![0xFF, 0xD8, 0xFF, 0xC3, 0, 11, precision];
        out.extend((height as u16).to_be_bytes());
        out.extend((width as u16).to_be_bytes());
        out.extend([1, 1, 0x11, 0, 0xFF, 0xC4, 0, 36, 0, 0, 0, 0, 0, 17]);
        out.extend([0; 11]);
        out.extend(0..=16);
        if rows_at_once < height {
            out.extend([0xFF, 0xDD, 0, 4]);
            out.extend(((rows_at_once * width) as u16).to_be_bytes());
        }
        out.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, predictor, 0, point_transform]);
        for (index, rows) in samples.chunks(rows_at_once * width).enumerate() {
            if index > 0 {
                out.extend([0xFF, 0xD0 + ((index - 1) % 8) as u8]);
            }
            let shifted: Vec<u16> = rows.iter().map(|sample| sample >> point_transform).collect();
            let start = 1 << (precision - point_transform - 1);
            let (mut word, mut count) = (0_u64, 0);
            let mut put = |value: u32, bits: u32, out: &mut Vec<u8>| {
                word = word << bits | u64::from(value);
                count += bits;
                while count >= 8 {
                    let byte = (word >> (count - 8)) as u8;
                    out.push(byte);
                    if byte == 0xFF {
                        out.push(0);
                    }
                    count -= 8;
                }
            };
            for i in 0..shifted.len() {
                let difference =
                    shifted[i].wrapping_sub(prediction(&shifted, i, width, start, predictor));
                let signed = i32::from(difference as i16);
                let bits = 32 - signed.unsigned_abs().leading_zeros();
                put(bits, 5, &mut out);
                if bits < 16 {
                    let own =
                        if signed < 0 { signed - 1 } else { signed } as u32 & ((1 << bits) - 1);
                    put(own, bits, &mut out);
                }
            }
            put(0x7F, 7, &mut out);
        }
        out.extend([0xFF, 0xD9]);
        out
    }

    /// Table H.1 and H.1.2.1, as plainly as it can be said.
    fn prediction(samples: &[u16], i: usize, width: usize, start: u16, predictor: u8) -> u16 {
        let at = |back: usize| i64::from(samples[i - back]);
        let predicted = match (i / width, i % width) {
            (0, 0) => return start,
            (0, _) => at(1),
            (_, 0) => at(width),
            _ => {
                let (a, b, c) = (at(1), at(width), at(width + 1));
                match predictor {
                    1 => a,
                    2 => b,
                    3 => c,
                    4 => a + b - c,
                    5 => a + ((b - c) >> 1),
                    6 => b + ((a - c) >> 1),
                    _ => (a + b) >> 1,
                }
            }
        };
        predicted as u16
    }

    fn decoded(stream: &[u8]) -> Option<Grey> {
        decode(stream, &Limits::default())
    }

    fn noise(count: usize, precision: u8, seed: u32) -> Vec<u16> {
        let mask = ((1_u32 << precision) - 1) as u16;
        let wild = |i: u32| (i.wrapping_mul(2_654_435_761) >> 11) as u16;
        // Runs of like values, and leaps.
        (0..count as u32)
            .map(|i| if i % 5 < 3 { wild(seed) } else { wild(i + seed) } & mask)
            .collect()
    }

    #[test]
    fn every_predictor_precision_and_transform_comes_back_as_libjpeg_has_it() {
        for precision in [2, 8, 10, 12, 15, 16] {
            for predictor in 1..=7 {
                for (point_transform, rows_at_once) in [(0, 9), (1, 9), (0, 2), (0, 1)] {
                    let samples = noise(13 * 9, precision, u32::from(predictor));
                    let form = (predictor, point_transform);
                    let stream = encode(&samples, 13, precision, form, rows_at_once);
                    let grey = decoded(&stream).unwrap();
                    let kept: Vec<u16> =
                        samples.iter().map(|s| s >> point_transform << point_transform).collect();
                    assert_eq!((grey.width, grey.height, grey.precision), (13, 9, precision));
                    assert_eq!(grey.samples, kept, "{precision} {form:?} {rows_at_once}");
                    let theirs = jpeg::decode_as_coded(&stream, jpeg::Reduction::Full).unwrap();
                    let theirs: Vec<u16> = match theirs.samples {
                        native_codecs::Samples::U8(samples) => {
                            samples.iter().map(|&s| s.into()).collect()
                        }
                        native_codecs::Samples::U16(samples) => samples.to_vec(),
                    };
                    assert_eq!(theirs, kept, "libjpeg: {precision} {form:?} {rows_at_once}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_keep_to_the_book_is_left_to_others() {
        let stream = encode(&noise(64 * 64, 12, 3), 64, 12, (1, 0), 64);
        assert!(decoded(&stream).is_some());
        assert!(decoded(&stream[..stream.len() / 2]).is_none(), "cut off");
        assert!(decoded(&stream[..stream.len() - 2]).is_none(), "without its end");
        for (at, byte) in [(3, 0xC1), (6, 17), (11, 3), (2, 0)] {
            let mut odd = stream.clone();
            odd[at] = byte;
            assert!(decoded(&odd).is_none(), "{at}");
        }
        let few = Limits { source_pixels: 4095, ..Limits::default() };
        assert!(decode(&stream, &few).is_none());
        let mut huge = stream[..80].to_vec();
        huge[7..11].copy_from_slice(&[0xFF; 4]);
        huge.extend([0xFF, 0xD9]);
        assert!(decoded(&huge).is_none(), "more samples than bits");
    }

    proptest! {
        #[test]
        fn any_samples_come_back(
            samples in prop::collection::vec(any::<u16>(), 24..120),
            predictor in 1_u8..=7,
            rows in 1_usize..5,
        ) {
            let samples = &samples[..samples.len() / 6 * 6];
            let stream = encode(samples, 6, 16, (predictor, 0), rows);
            prop_assert_eq!(&decoded(&stream).unwrap().samples[..], samples);
        }

        #[test]
        fn mutants_never_panic(at in 0_usize..2000, byte in any::<u8>(), length in 0_usize..2000) {
            let mut stream = encode(&noise(30 * 20, 12, 5), 30, 12, (1, 0), 4);
            let at = at % stream.len();
            stream[at] = byte;
            stream.truncate(stream.len().min(length + 20));
            if let Some(grey) = decoded(&stream) {
                prop_assert_eq!(grey.samples.len(), (grey.width * grey.height) as usize);
            }
        }
    }
}
