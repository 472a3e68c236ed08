//! A worker for tests: it draws as any other, but breaks over frames that tell it to.
//!
//! Bytes among the pixels say how: see [`Fault`].

use std::io;

use core_render::Source;
use lightbox_tests::Fault;
use render_pool::worker;

fn main() -> io::Result<()> {
    let memory = std::env::args().find_map(|word| word.strip_prefix("--memory=")?.parse().ok());
    let memory = memory.ok_or_else(|| io::Error::other("--memory is missing"))?;
    worker::serve(memory, &|job| {
        let (Source::Frame { bytes, .. } | Source::File { bytes, .. }) = &job.source else {
            return;
        };
        if let Some(fault) = Fault::of(bytes) {
            fault.happen();
        }
    })
}
