//! A worker process from its own side.
//!
//! It is started with a socket for its standard input and shared memory for its output; it draws what it
//! is sent, one picture at a time, until the socket is closed or its server has ended.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use core_render::{RenderJob, Stage};
use native_codecs::memory::Shared;
use rustix::process::{Resource, Rlimit, Signal};

use crate::perform::perform;
use crate::task::{Outcome, Task};
use crate::wire::{self, LARGE, Order};

/// Descriptors: the socket, the shared memory, and those of a decoder that is a program of its own.
const FILES: u64 = 64;

/// Addresses are not memory: libraries, and what allocators reserve. Also what ffmpeg is held to.
const ADDRESSES: u64 = 4 << 30;

/// Of what is sent to it: an order with all that comes in it.
const AT_ONCE: usize = LARGE as usize + (16 << 10);

/// A worker that holds more after a task makes way for a fresh one: allocators give little back.
const SWOLLEN: u64 = 96 << 20;

/// Draws what comes from standard input until that ends. `memory`: bytes that it may ever hold. `before`
/// sees each job first; it is there for tests, which have workers break.
///
/// # Errors
/// That it was not started by a pool; that it cannot be confined; that the pool is gone.
pub fn serve(memory: u64, before: &dyn Fn(&RenderJob)) -> io::Result<()> {
    native_codecs::descriptors::close_inherited()?;
    native_codecs::memory::keep_freed();
    confine(memory)?;
    let mut link = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    link.peer_addr().map_err(|_| io::Error::other("a worker is started by `lightbox serve`"))?;
    let mut orders = BufReader::with_capacity(AT_ONCE, link.try_clone()?);
    let board = Board::open()?;
    let mut held = pages()?;
    while let Some(order) = wire::read_order(&mut orders)? {
        admit(&order, &held, memory)?;
        let task = read_task(&mut orders, &board, &order)?;
        before(&task.job);
        let outcome = draw(&task, &board);
        drop(task);
        wire::write_answer(&mut link, &wire::packed(&outcome)?)?;
        held = pages()?;
        if held.resident > SWOLLEN {
            return Ok(());
        }
    }
    Ok(())
}

/// The memory that a worker shares with its pool.
struct Board {
    file: File,
    /// Its beginning, up to [`wire::KEPT`], where it lies: what most tasks are drawn from is copied no more.
    kept: Bytes,
}

impl Board {
    fn open() -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let kept = Shared::map(&file, wire::SOURCE_AT, wire::KEPT as usize)?;
        Ok(Self { file, kept: Bytes::from_owner(kept) })
    }

    /// The large bytes of a task, which stay as they are until it is answered.
    fn large(&self, lengths: &[u64]) -> io::Result<Vec<Bytes>> {
        let all = lengths.iter().try_fold(0_u64, |sum, &length| sum.checked_add(length));
        let all =
            all.and_then(|all| usize::try_from(all).ok()).ok_or(io::ErrorKind::InvalidData)?;
        let mut rest =
            if all <= self.kept.len() { self.kept.slice(..all) } else { self.copied(all)? };
        // Each is at most the sum, which is a length in memory.
        Ok(lengths.iter().map(|&length| rest.split_to(length as usize)).collect())
    }

    fn copied(&self, length: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, wire::SOURCE_AT)?;
        Ok(bytes.into())
    }

    /// Notes that a stage has begun, for the case of a loss.
    fn note(&self, stage: Stage) {
        // What cannot be noted is not said.
        let _ = self.file.write_all_at(&[wire::note_of(Some(stage))], wire::STAGE_AT);
    }
}

fn read_task(orders: &mut impl Read, board: &Board, order: &Order) -> io::Result<Task> {
    let mut task: Task = wire::unpacked(&wire::read_bytes(orders, order.task)?)?;
    let large = if order.is_shared {
        board.large(&order.large)?
    } else {
        let read = |&length| wire::read_bytes(orders, length).map(Bytes::from);
        order.large.iter().map(read).collect::<io::Result<_>>()?
    };
    let source = task.job.source.attach(large);
    task.job.source = source.ok_or_else(|| io::Error::other("bytes are missing"))?;
    Ok(task)
}

fn draw(task: &Task, board: &Board) -> Outcome {
    perform(task, &mut |stage| {
        board.note(stage);
        Ok(())
    })
}

/// Whatever comes in, this process can do nothing but draw.
fn confine(memory: u64) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, FILES)?;
    limit(Resource::Data, memory)?;
    limit(Resource::As, memory.saturating_add(ADDRESSES))?;
    limit(Resource::Fsize, memory)
}

/// Sets both limits, not above what is allowed already.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let allowed = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let most = Some(most.min(allowed));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?)
}

/// What the task at hand may take, beyond what was taken before it.
fn admit(order: &Order, held: &Pages, memory: u64) -> io::Result<()> {
    let data = held.data.saturating_add(order.memory).min(memory);
    soft(Resource::Data, data)?;
    let used = processor_seconds();
    soft(Resource::Cpu, used.saturating_add(order.seconds))
}

/// Processor time of this process, in seconds, rounded up.
fn processor_seconds() -> u64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u64::try_from(spent.tv_sec).unwrap_or(0) + 1
}

fn soft(resource: Resource, most: u64) -> io::Result<()> {
    let maximum = rustix::process::getrlimit(resource).maximum;
    let current = Some(most.min(maximum.unwrap_or(u64::MAX)));
    Ok(rustix::process::setrlimit(resource, Rlimit { current, maximum })?)
}

/// Bytes of memory that this process holds.
struct Pages {
    resident: u64,
    data: u64,
}

/// Of proc_pid_statm(5): in pages, the second is what is resident, the sixth data and stack.
fn pages() -> io::Result<Pages> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let mut fields = text.split_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
    let page = rustix::param::page_size() as u64;
    let resident = fields.nth(1).unwrap_or(0) * page;
    let data = fields.nth(3).unwrap_or(0) * page;
    Ok(Pages { resident, data })
}
