//! `lightbox serve`: the proxy in front of an archive.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use proxy_server::{BasePath, Config, Listeners, ServeError};

use super::Outcome;

#[derive(Args)]
pub(crate) struct Serve {
    /// Configuration file (TOML); every key is also an environment variable, LIGHTBOX_…
    #[arg(long, value_name = "FILE", env = "LIGHTBOX_CONFIG")]
    config: Option<PathBuf>,
    /// The archive's DICOMweb base URL, such as http://127.0.0.1:8042/dicom-web
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where clients are served [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

pub(crate) fn run(args: &Serve) -> Outcome {
    let flags = [("upstream", &args.upstream), ("listen", &args.listen)];
    let flags: Vec<_> =
        flags.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
    let config = super::load(args.config.as_deref(), &flags)?;
    super::log(&config);
    if config.archives().next().is_none() {
        return Err(ServeError::NoUpstream.into());
    }
    super::run_to_end(async {
        // Who finds the port open may ask to leave at once.
        let shutdown = proxy_server::shutdown_requested();
        let listeners = Listeners::bind(&config).await?;
        announce(&config, &listeners);
        proxy_server::serve(config, listeners, shutdown).await?;
        Ok(())
    })
}

/// Says where clients and operators reach the proxy: the ports may be the system's choice.
pub(super) fn announce(config: &Config, listeners: &Listeners) {
    if let Ok(address) = listeners.public.local_addr() {
        for archive in config.archives() {
            let url = url(config, address, &archive.base_path);
            match &*archive.name {
                "" => println!("listening on {url}"),
                name => println!("listening on {url} ({name})"),
            }
        }
    }
    if let Some(Ok(address)) = listeners.admin.as_ref().map(tokio::net::TcpListener::local_addr) {
        println!("admin: listening on http://{address}/ (/healthz, /readyz, /metrics)");
    }
}

/// The URL of the page, or of DICOMweb where that has a path of its own.
pub(super) fn url(config: &Config, address: SocketAddr, base_path: &BasePath) -> String {
    let scheme = if config.tls_cert.is_some() { "https" } else { "http" };
    format!("{scheme}://{address}{}/", base_path.as_str())
}
