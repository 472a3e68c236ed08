//! A worker process from its own side.
//!
//! It is started with a socket for its standard input and shared memory for its output; it draws what it
//! is sent, one picture at a time, until the socket is closed or its server has ended.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use core_render::RenderJob;
use rustix::process::{Resource, Rlimit, Signal};

use crate::perform::perform;
use crate::task::{Outcome, Task};
use crate::wire::{self, Mark, Order};

/// Descriptors: the socket, the shared memory, and those of a decoder that is a program of its own.
const FILES: u64 = 64;

/// Addresses are not memory: libraries, and what allocators reserve. Also what ffmpeg is held to.
const ADDRESSES: u64 = 4 << 30;

/// A worker that holds more after a task makes way for a fresh one: allocators give little back.
const SWOLLEN: u64 = 96 << 20;

/// Draws what comes from standard input until that ends. `memory`: bytes that it may ever hold. `before`
/// sees each job first; it is there for tests, which have workers break.
///
/// # Errors
/// That it was not started by a pool; that it cannot be confined; that the pool is gone.
pub fn serve(memory: u64, before: &dyn Fn(&RenderJob)) -> io::Result<()> {
    native_codecs::descriptors::close_inherited()?;
    confine(memory)?;
    let mut link = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let shared = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    link.peer_addr().map_err(|_| io::Error::other("a worker is started by `lightbox serve`"))?;
    while let Some(order) = wire::read_order(&mut link)? {
        let task = read_task(&mut link, &shared, &order)?;
        admit(&order, memory)?;
        before(&task.job);
        let outcome = draw(&task, &mut link);
        drop(task);
        wire::write_answer(&mut link, &wire::packed(&outcome)?)?;
        if held()? > SWOLLEN {
            return Ok(());
        }
    }
    Ok(())
}

fn read_task(link: &mut UnixStream, shared: &File, order: &Order) -> io::Result<Task> {
    let mut task: Task = wire::unpacked(&wire::read_bytes(link, order.task)?)?;
    let mut large = Vec::with_capacity(order.large.len());
    let mut at = 0;
    for &length in &order.large {
        let bytes = if order.is_shared {
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            shared.read_exact_at(&mut bytes, at)?;
            at += length;
            bytes
        } else {
            wire::read_bytes(link, length)?
        };
        large.push(Bytes::from(bytes));
    }
    let source = task.job.source.attach(large);
    task.job.source = source.ok_or_else(|| io::Error::other("bytes are missing"))?;
    Ok(task)
}

fn draw(task: &Task, link: &mut UnixStream) -> Outcome {
    perform(task, &mut |stage| {
        // A pool that is gone is noticed at the answer.
        let _ = link.write_all(&[Mark::Stage(stage).byte()]);
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
fn admit(order: &Order, memory: u64) -> io::Result<()> {
    let data = pages()?.data.saturating_add(order.memory).min(memory);
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
fn held() -> io::Result<u64> {
    Ok(pages()?.resident)
}

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
