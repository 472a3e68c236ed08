//! `lightbox`: the commands. Exit codes: 0 done, 1 some work failed, 2 usage or configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use proxy_server::{Config, Listeners, LogFormat, Mistakes, ServeError, Sources};

/// A rendering proxy for DICOMweb: pictures of every study, in front of any archive.
#[derive(Parser)]
#[command(name = "lightbox", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve pictures in front of an archive; everything else passes through to it.
    Serve(Serve),
    /// Print the configuration in effect, or check a file.
    Config(ConfigArgs),
}

#[derive(Args)]
struct Serve {
    /// Configuration file (TOML); every key also as environment variable LIGHTBOX_….
    #[arg(long, env = "LIGHTBOX_CONFIG")]
    config: Option<PathBuf>,
    /// The archive's DICOMweb base URL, such as http://127.0.0.1:8042/dicom-web.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where clients are served [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

#[derive(Args)]
struct ConfigArgs {
    /// Configuration file (TOML) whose effect is printed.
    #[arg(long, env = "LIGHTBOX_CONFIG")]
    config: Option<PathBuf>,
    /// Report every mistake in this file instead, without the environment.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    check: Option<PathBuf>,
}

/// Why a command ends early, and with which exit code.
enum Failure {
    /// 1: the work, or some of it, failed.
    Work(String),
    /// 2: what was asked for cannot be meant.
    Usage(String),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve(&args),
        Command::Config(args) => config(&args),
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

fn serve(args: &Serve) -> Result<(), Failure> {
    let flags = [("upstream", &args.upstream), ("listen", &args.listen)];
    let flags: Vec<_> =
        flags.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
    let config = load(args.config.as_deref(), &flags)?;
    log(&config);
    runtime()?.block_on(async {
        let listeners = Listeners::bind(&config).await?;
        eprintln!("lightbox: serving on http://{}{}/", config.listen, config.base_path.as_str());
        proxy_server::serve(config, listeners, proxy_server::shutdown_requested()).await
    })?;
    Ok(())
}

fn config(args: &ConfigArgs) -> Result<(), Failure> {
    if let Some(file) = &args.check {
        Config::load(&Sources { file: Some(file), ..Sources::default() })?;
        println!("{}: no mistakes", file.display());
    } else {
        print!("{}", load(args.config.as_deref(), &[])?.to_toml());
    }
    Ok(())
}

fn load(file: Option<&Path>, flags: &[(&'static str, String)]) -> Result<Config, Failure> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name != "LIGHTBOX_CONFIG")
        .collect();
    Ok(Config::load(&Sources { file, environment: &environment, flags })?)
}

fn log(config: &Config) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(config.log.as_str()))
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Runtime::new().map_err(|e| Failure::Work(format!("no runtime: {e}")))
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Self {
        Self::Usage(mistakes.to_string())
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::NoUpstream | ServeError::Listen { .. } => Self::Usage(error.to_string()),
            ServeError::Client(_) => Self::Work(error.to_string()),
        }
    }
}
