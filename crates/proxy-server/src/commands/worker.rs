//! `lightbox render-worker`: a worker process, started by a server and by nobody else.

use clap::Args;

use super::{Failure, Outcome};

#[derive(Args)]
pub(crate) struct RenderWorker {
    /// Bytes that it may ever hold
    #[arg(long)]
    memory: u64,
}

#[cfg(target_os = "linux")]
pub(crate) fn run(args: &RenderWorker) -> Outcome {
    render_pool::worker::serve(args.memory, &|_| ())
        .map_err(|error| Failure::Work(format!("worker: {error}")))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_: &RenderWorker) -> Outcome {
    Err(Failure::Usage("worker processes need Linux".to_owned()))
}
