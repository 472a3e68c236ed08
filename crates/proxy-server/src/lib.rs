//! The proxy: HTTP in, pictures or the archive's own answers out.
//!
//! A request for a picture is a short story, told in `render_service`: path ([`route`]), query
//! (`params`), media type (`negotiate`) and defaults (`plan`) say what is meant; `source` fetches it,
//! `workers` draw it, `respond` says it. Whatever is not ours takes `passthrough`.
//!
//! [`serve`] runs it on given listeners until told to stop, as the binary `lightbox` and tests do.
#![deny(missing_docs)]

mod app;
mod config;
mod connections;
mod cors;
mod error;
mod passthrough;
mod respond;
mod route;
mod shutdown;
mod units;

pub use app::{Listeners, ServeError, serve};
pub use config::{BasePath, Config, LogFilter, LogFormat, Mistakes, Sources};
pub use cors::Origins;
pub use shutdown::requested as shutdown_requested;
