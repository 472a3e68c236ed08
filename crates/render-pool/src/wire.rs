//! What a pool and a worker process say to each other: one order and one answer, over a socket pair. What
//! is too large for a socket's buffer lies in memory that both share, where the worker also notes how far it is.
//!
//! ```text
//! pool -> worker   u32, that many bytes of Order (postcard), of Task without its large bytes, then these
//! worker -> pool   u64, that many bytes of Outcome (postcard)
//! shared           a byte for the stage that has begun; from SOURCE_AT on the large bytes
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

/// Where the stage stands in the shared memory, and where the large bytes begin.
pub(crate) const STAGE_AT: u64 = 0;
pub(crate) const SOURCE_AT: u64 = 4096;

/// How many of these there is always room for, from one task to the next.
pub(crate) const KEPT: u64 = 4 << 20;

/// How a stage is noted there; 0 is none.
pub(crate) fn note_of(stage: Option<Stage>) -> u8 {
    match stage {
        None => 0,
        Some(Stage::Decode) => 1,
        Some(Stage::Render) => 2,
        Some(Stage::Encode) => 3,
    }
}

/// The stage of a note. A worker that broke may have written anything.
pub(crate) fn stage_of(note: u8) -> Option<Stage> {
    let all = [Stage::Decode, Stage::Render, Stage::Encode];
    all.into_iter().find(|&stage| note_of(Some(stage)) == note)
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

/// In one piece: the pool would wake up for each.
pub(crate) fn write_answer(link: &mut impl Write, outcome: &[u8]) -> io::Result<()> {
    let length = (outcome.len() as u64).to_le_bytes();
    link.write_all(&[&length[..], outcome].concat())
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
