//! What a pool and a worker process say to each other: an order and its answer, over a socket pair. What
//! is too large for a socket's buffer lies in memory that both share.
//!
//! ```text
//! pool -> worker   u32, that many bytes of Order (postcard), of Task without its large bytes, then these
//! worker -> pool   a byte for each stage that begins; 0, u64, that many bytes of Outcome (postcard)
//! ```

use std::io::{self, Read, Write};

use core_render::Stage;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Above this, what a task is drawn from goes through shared memory.
pub(crate) const LARGE: u64 = 64 << 10;

/// No order is longer.
const LONGEST_ORDER: u32 = 1 << 20;

/// What precedes a task.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Order {
    /// Length of the task without its large bytes.
    pub(crate) task: u64,
    /// Lengths of these.
    pub(crate) large: Vec<u64>,
    /// Whether they lie in the shared memory, from its beginning on; else they follow.
    pub(crate) is_shared: bool,
    /// Bytes that the worker may come to hold beyond what it holds.
    pub(crate) memory: u64,
    /// Seconds of processor time.
    pub(crate) seconds: u64,
}

/// What a worker says first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Stage(Stage),
    Answer,
}

impl Mark {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Answer => 0,
            Self::Stage(Stage::Decode) => 1,
            Self::Stage(Stage::Render) => 2,
            Self::Stage(Stage::Encode) => 3,
        }
    }

    pub(crate) fn of(byte: u8) -> Option<Self> {
        let all = [Stage::Decode, Stage::Render, Stage::Encode].map(Self::Stage);
        all.into_iter().chain([Self::Answer]).find(|mark| mark.byte() == byte)
    }
}

pub(crate) fn packed(value: &impl Serialize) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(io::Error::other)
}

pub(crate) fn unpacked<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(io::Error::other)
}

pub(crate) fn order_message(order: &Order) -> io::Result<Vec<u8>> {
    let order = packed(order)?;
    let length = u32::try_from(order.len()).map_err(io::Error::other)?;
    Ok([&length.to_le_bytes()[..], &order].concat())
}

/// The next order; `None` at the end of the stream.
pub(crate) fn read_order(link: &mut impl Read) -> io::Result<Option<Order>> {
    let mut length = [0; 4];
    if link.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    link.read_exact(&mut length[1..])?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST_ORDER {
        return Err(io::Error::other("an order of impossible length"));
    }
    unpacked(&read_bytes(link, length.into())?).map(Some)
}

pub(crate) fn write_answer(link: &mut impl Write, outcome: &[u8]) -> io::Result<()> {
    let mut head = vec![Mark::Answer.byte()];
    head.extend((outcome.len() as u64).to_le_bytes());
    link.write_all(&head)?;
    link.write_all(outcome)
}

/// So many bytes: allocated as they come, not as they are announced.
pub(crate) fn read_bytes(link: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    const AT_ONCE: u64 = 1 << 20;
    let mut bytes = Vec::with_capacity(length.min(AT_ONCE) as usize);
    link.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}
