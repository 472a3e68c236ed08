//! The proxy: HTTP in, pictures or the archive's own answers out.
//!
//! A request for a rendering is a short story, told in `render_service`: path (`route`), query
//! (`params`), accepted types (`negotiate`, `forms`) and defaults (`plan`) say what is meant; `listing`
//! and `representative` find out of what, `source` fetches it, `workers` draw it, `respond` says it.
//! Whatever is not ours takes `passthrough`.
//!
//! [`serve`] runs it on given listeners until told to stop, as the binary `lightbox` and tests do.
#![deny(missing_docs)]

mod admin;
mod app;
mod asked;
mod assemble;
mod cache;
mod cache_status;
mod changes;
mod collection;
mod conditional;
mod config;
mod connections;
mod cors;
pub mod doctor;
mod document;
mod error;
mod fingerprint;
mod flight;
mod forms;
mod health;
mod holds;
mod known;
mod listing;
mod metrics;
mod multipart_body;
mod negotiate;
mod orthanc_feed;
mod overheard;
mod pace;
mod page;
mod params;
mod passthrough;
mod picture;
mod placeholder;
mod plan;
mod poison;
mod range;
mod recall;
mod remember;
mod render_service;
mod renew;
mod representative;
mod respond;
mod rewrite;
mod route;
mod shutdown;
mod slide;
mod source;
mod state;
mod task;
mod thumbnail;
mod together;
mod units;
mod upstream;
mod warm_up;
mod workers;

pub use app::{Listeners, ServeError, serve};
pub use config::{
    BasePath, Config, ConfigError, CredentialsKind, Headers, HttpCaching, IsolationKind, LogFilter,
    LogFormat, Representative, SecretText, Sources, UpstreamConfig,
};
pub use cors::Origins;
pub use shutdown::requested as shutdown_requested;
pub use upstream::UpstreamSetupError;
pub use workers::isolation;
