//! The proxy: HTTP in, pictures or the archive's own answers out.
//!
//! A request for a picture is a short story, told in `render_service`: path ([`route`]), query
//! (`params`), media type (`negotiate`) and defaults (`plan`) say what is meant; `source` fetches it,
//! `workers` draw it, `respond` says it. Whatever is not ours takes `passthrough`.
//!
//! [`serve`] runs it on given listeners until told to stop, as the binary `lightbox` and tests do.
#![deny(missing_docs)]

mod app;
mod conditional;
mod config;
mod connections;
mod cors;
mod error;
mod health;
mod negotiate;
mod page;
mod params;
mod passthrough;
mod plan;
mod render_service;
mod respond;
mod route;
mod shutdown;
mod slide;
mod source;
mod units;
mod workers;

pub use app::{Listeners, ServeError, serve};
pub use config::{BasePath, Config, ConfigError, LogFilter, LogFormat, Sources};
pub use cors::Origins;
pub use shutdown::requested as shutdown_requested;
