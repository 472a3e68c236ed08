//! `lightbox sign`: URLs that open what they name to whoever has them.

use std::path::PathBuf;
use std::time::Duration;

use proxy_server::{duration, sign_url};

use super::{Failure, Outcome, load};

/// `lightbox sign`.
#[derive(clap::Args)]
pub(crate) struct Sign {
    /// The configuration file, which has signing_keys
    #[arg(long, env = "LIGHTBOX_CONFIG")]
    config: Option<PathBuf>,
    /// How long the URLs are good
    #[arg(long, default_value = "1h", value_parser = duration)]
    expires: Duration,
    /// URLs, or paths with their queries, as the proxy will see them
    #[arg(required = true)]
    urls: Vec<String>,
}

pub(crate) fn run(args: &Sign) -> Outcome {
    let config = load(args.config.as_deref(), &[])?;
    for url in &args.urls {
        println!("{}", sign_url(&config, url, args.expires).map_err(Failure::Usage)?);
    }
    Ok(())
}
