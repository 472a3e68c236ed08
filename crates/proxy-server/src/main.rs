//! `lightbox`: the commands. Exit codes: 0 done, 1 some work failed, 2 usage or configuration.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use commands::{Failure, config, demo, doctor, render, serve, sign, thumbnails, warm, worker};

/// A rendering proxy for DICOMweb: pictures of every study, in front of any archive.
#[derive(Parser)]
#[command(name = "lightbox", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve pictures in front of an archive; everything else passes through to it
    Serve(serve::Serve),
    /// Try it without an archive: sample studies, or a folder of DICOM files
    Demo(demo::Demo),
    /// Render one DICOM file to a picture
    Render(render::Render),
    /// Draw thumbnails of files and folders
    Thumbnails(thumbnails::Thumbnails),
    /// Have a running proxy make the thumbnails that viewers will ask for
    Warm(warm::Warm),
    /// Examine an archive: what it accepts, how fast it is, whether thumbnails of it can work
    Doctor(doctor::Doctor),
    /// Sign URLs, so that they open what they name to whoever has them
    Sign(sign::Sign),
    /// Print the configuration in effect, or check a file
    Config(config::ConfigArgs),
    /// A worker of a server, which starts it
    #[command(hide = true)]
    RenderWorker(worker::RenderWorker),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Thumbnails(args) => thumbnails::run(&args),
        Command::Warm(args) => warm::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Config(args) => config::run(&args),
        Command::RenderWorker(args) => worker::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Work(message)) => fail(1, &message),
        Err(Failure::Usage(message)) => fail(2, &message),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    for line in message.lines() {
        eprintln!("lightbox: {line}");
    }
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_may_begin_with_a_minus() {
        let parsed = Cli::try_parse_from([
            "lightbox",
            "render",
            "a.dcm",
            "a.png",
            "--window",
            "-600,1500,linear",
        ]);
        assert!(parsed.is_ok());
    }
}
