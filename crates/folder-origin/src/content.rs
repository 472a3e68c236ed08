//! Bytes to send: from memory or from a file, read a chunk at a time, never whole.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{Stream, try_unfold};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// How much of a file is in memory per response.
const CHUNK: u64 = 256 * 1024;

/// Where stored bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    File(Arc<Path>),
    Memory(Bytes),
}

impl Source {
    /// Reads a few bytes at once. The caller bounds `length`.
    pub(crate) fn read(&self, start: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        match self {
            Self::File(path) => {
                let mut file = std::fs::File::open(path)?;
                file.seek(SeekFrom::Start(start))?;
                file.read_exact(&mut bytes)?;
            }
            Self::Memory(memory) => bytes.copy_from_slice(slice(memory, start, length)?),
        }
        Ok(bytes)
    }
}

/// A run of bits of a stored value, handed out as bytes that begin at the first of them.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    source: Source,
    /// Offset of the value in its source, and its bytes.
    start: u64,
    length: u64,
    /// Bytes per word to reverse: 1 for little endian.
    swap: u8,
    first_bit: u64,
    bits: u64,
}

impl Region {
    /// Bytes as they are stored.
    pub(crate) fn new(source: Source, start: u64, length: u64) -> Self {
        Self { source, start, length, swap: 1, first_bit: 0, bits: length.saturating_mul(8) }
    }

    /// Reverses each word of `unit` bytes.
    pub(crate) fn swapped(self, unit: u8) -> Self {
        Self { swap: unit.max(1), ..self }
    }

    /// Only these bits; `None` where the value does not hold them all. Counted from the least
    /// significant bit of the first byte (PS3.5 §8.1.1).
    pub(crate) fn bits(self, first_bit: u64, bits: u64) -> Option<Self> {
        let end = first_bit.checked_add(bits)?;
        (end <= self.length.checked_mul(8)?).then_some(Self { first_bit, bits, ..self })
    }

    /// Bytes that will be handed out.
    pub(crate) fn len(&self) -> u64 {
        self.bits.div_ceil(8)
    }

    /// What to read for the output bytes `at .. at + count`: offset in the value, and bytes.
    fn span(&self, at: u64, count: u64) -> (u64, u64) {
        let unit = u64::from(self.swap);
        let first = self.first_bit / 8 + at;
        let last = first + count + u64::from(!self.first_bit.is_multiple_of(8));
        let begin = first / unit * unit;
        (begin, last.next_multiple_of(unit).min(self.length).saturating_sub(begin))
    }

    /// Stored bytes, as `span` asked for them, to output bytes.
    fn convert(&self, at: u64, count: u64, mut stored: Vec<u8>) -> Vec<u8> {
        let unit = usize::from(self.swap);
        if unit > 1 {
            stored.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
        }
        let lead = ((self.first_bit / 8 + at) % u64::from(self.swap)) as usize;
        stored.drain(..lead.min(stored.len()));
        let shift = (self.first_bit % 8) as u32;
        if shift > 0 {
            for i in 0..stored.len() {
                let next = stored.get(i + 1).copied().unwrap_or(0);
                stored[i] = (stored[i] >> shift) | (next << (8 - shift));
            }
        }
        stored.truncate(count as usize);
        let surplus = (self.len() * 8).saturating_sub(self.bits) as u32;
        if at + count == self.len()
            && surplus > 0
            && let Some(last) = stored.last_mut()
        {
            *last &= 0xFF >> surplus;
        }
        stored
    }
}

/// One stretch of a body.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Bytes(Bytes),
    Stored(Region),
}

impl Piece {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stored(region) => region.len(),
        }
    }
}

/// The pieces as a stream of chunks; files are opened when their turn comes.
pub(crate) fn stream(pieces: Vec<Piece>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let reader = Reader { pieces: pieces.into(), at: 0, open: None };
    try_unfold(
        reader,
        |mut reader| async move { Ok(reader.next().await?.map(|chunk| (chunk, reader))) },
    )
}

struct Reader {
    pieces: VecDeque<Piece>,
    /// How much of the first piece has been sent.
    at: u64,
    open: Option<(Arc<Path>, tokio::fs::File)>,
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let Some(piece) = self.pieces.front() else { return Ok(None) };
            let region = match piece {
                Piece::Bytes(bytes) => {
                    let bytes = bytes.clone();
                    self.pieces.pop_front();
                    return Ok(Some(bytes));
                }
                Piece::Stored(region) if self.at >= region.len() => {
                    self.pieces.pop_front();
                    self.at = 0;
                    continue;
                }
                Piece::Stored(region) => region.clone(),
            };
            let count = CHUNK.min(region.len() - self.at);
            let (offset, length) = region.span(self.at, count);
            let stored = self.read(&region.source, region.start + offset, length as usize).await?;
            let chunk = region.convert(self.at, count, stored);
            self.at += count;
            return Ok(Some(chunk.into()));
        }
    }

    async fn read(&mut self, source: &Source, start: u64, length: usize) -> io::Result<Vec<u8>> {
        let path = match source {
            Source::Memory(memory) => return Ok(slice(memory, start, length)?.to_vec()),
            Source::File(path) => path,
        };
        if self.open.as_ref().is_none_or(|(open, _)| open != path) {
            self.open = Some((path.clone(), tokio::fs::File::open(path).await?));
        }
        let Some((_, file)) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        file.seek(SeekFrom::Start(start)).await?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes).await?;
        Ok(bytes)
    }
}

fn slice(memory: &Bytes, start: u64, length: usize) -> io::Result<&[u8]> {
    let start = usize::try_from(start).map_err(|_| io::ErrorKind::UnexpectedEof)?;
    let end = start.checked_add(length).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(memory.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?)
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    async fn read(region: Region) -> Vec<u8> {
        let chunks: Vec<Bytes> =
            stream(vec![Piece::Stored(region)]).try_collect().await.expect("memory is readable");
        chunks.concat()
    }

    fn memory(bytes: &[u8]) -> Region {
        Region::new(Source::Memory(Bytes::copy_from_slice(bytes)), 0, bytes.len() as u64)
    }

    #[tokio::test]
    async fn bits_that_begin_inside_a_byte_are_moved_to_bit_0() {
        // Frames of 3 bits: 101, 011, 110 from the least significant bit on.
        let stored = [0b1101_1101_u8, 0b1111_1110];
        let frame = |n: u64| memory(&stored).bits(n * 3, 3).expect("16 bits are there");
        assert_eq!(read(frame(0)).await, [0b101]);
        assert_eq!(read(frame(1)).await, [0b011]);
        assert_eq!(read(frame(2)).await, [0b011]);
        assert_eq!(read(memory(&stored).bits(3, 11).unwrap()).await, [0b1101_1011, 0b111]);
        assert!(memory(&stored).bits(10, 7).is_none());
    }

    #[tokio::test]
    async fn long_runs_are_shifted_alike_across_chunks() {
        let stored: Vec<u8> = (0..CHUNK * 2 + 9).map(|i| (i * 7 % 251) as u8).collect();
        let bits = (CHUNK * 2 + 8) * 8;
        let shifted = read(memory(&stored).bits(5, bits).unwrap()).await;
        let expected: Vec<u8> =
            stored.windows(2).map(|pair| (pair[0] >> 5) | (pair[1] << 3)).collect();
        assert_eq!(shifted, expected);
    }

    #[tokio::test]
    async fn words_are_reversed_also_from_an_odd_byte_on() {
        let region = memory(&[1, 0, 3, 2, 5, 4]).swapped(2);
        assert_eq!(read(region.clone()).await, [0, 1, 2, 3, 4, 5]);
        assert_eq!(read(region.bits(24, 16).unwrap()).await, [3, 4]);
    }
}
