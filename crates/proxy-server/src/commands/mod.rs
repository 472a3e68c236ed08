//! What the commands do; `main` has their arguments.

pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod doctor;
mod progress;
pub(crate) mod render;
pub(crate) mod serve;
pub(crate) mod sign;
pub(crate) mod thumbnails;
pub(crate) mod warm;
pub(crate) mod worker;

use std::io::IsTerminal;
use std::path::Path;

use proxy_server::{Config, ConfigError, LogFormat, ServeError, Sources};

/// Why a command ends early, and with which exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 1: the work, or some of it, failed.
    Work(String),
    /// 2: what was asked for cannot be meant.
    Usage(String),
}

pub(crate) type Outcome = Result<(), Failure>;

/// The configuration of a file, the environment and the command line.
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
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Runs a server to its end. A picture still being drawn after that is not waited for.
fn run_to_end(server: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::Work(format!("no runtime: {error}")))?;
    let outcome = runtime.block_on(server);
    runtime.shutdown_background();
    outcome
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        Self::Usage(error.to_string())
    }
}
