//! `lightbox render-worker`: a worker process, started by a server and by nobody else.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, Outcome};

#[derive(Args)]
pub(crate) struct RenderWorker {
    /// Bytes that it may ever hold
    #[arg(long)]
    memory: u64,
    /// The program that frames of videos are decoded by
    #[arg(long)]
    ffmpeg: Option<PathBuf>,
}

#[cfg(target_os = "linux")]
pub(crate) fn run(args: &RenderWorker) -> Outcome {
    if let Some(program) = &args.ffmpeg {
        core_render::use_ffmpeg(program.clone());
    }
    render_pool::worker::serve(args.memory, &|_| ())
        .map_err(|error| Failure::Work(format!("worker: {error}")))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_: &RenderWorker) -> Outcome {
    Err(Failure::Usage("worker processes need Linux".to_owned()))
}
