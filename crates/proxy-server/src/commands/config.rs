//! `lightbox config`: what is in effect, or what is wrong.

use std::path::PathBuf;

use clap::Args;
use proxy_server::{Config, Sources};

use super::Outcome;

#[derive(Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file (TOML) whose effect is printed
    #[arg(long, value_name = "FILE", env = "LIGHTBOX_CONFIG")]
    config: Option<PathBuf>,
    /// Only report every mistake in this file, whatever the environment says
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

pub(crate) fn run(args: &ConfigArgs) -> Outcome {
    if let Some(file) = &args.check {
        Config::load(&Sources { file: Some(file), ..Sources::default() })?;
        println!("{}: no mistakes", file.display());
    } else {
        print!("{}", super::load(args.config.as_deref(), &[])?.to_toml());
    }
    Ok(())
}
