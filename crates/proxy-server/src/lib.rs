//! The proxy: HTTP in, pictures or the archive's own answers out.
//!
//! A request for a rendering is a short story, told in `render_service`: path (`route`), query
//! (`params`), accepted types (`negotiate`, `forms`) and defaults (`plan`) say what is meant; `listing`
//! and `representative` find out of what, `source` fetches it, `workers` draw it, `respond` says it.
//! Whatever is not ours takes `passthrough`.
//!
//! [`serve`] runs it on given listeners until told to stop, as the binary `lightbox` and tests do.
#![deny(missing_docs)]

mod access;
mod admin;
mod app;
mod asked;
mod assemble;
mod audit;
mod body;
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
mod doors;
mod error;
mod fingerprint;
mod flight;
mod forms;
mod forwarded;
mod head;
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
mod stall;
mod state;
mod streams;
mod task;
mod thumbnail;
mod tls;
mod together;
mod transport;
mod units;
mod upload;
mod upstream;
mod warm_up;
mod workers;

pub use access::sign_url;
pub use app::{Listeners, ServeError, serve};
pub use config::{
    AccessKind, AuditStudies, AuditTarget, BasePath, Config, ConfigError, CredentialsKind, Headers,
    HttpCaching, IsolationKind, LogFilter, LogFormat, Representative, SecretText, SigningKey,
    Sources, UpstreamConfig,
};
pub use cors::Origins;
pub use forwarded::TrustedProxies;
pub use shutdown::requested as shutdown_requested;
pub use units::duration;
pub use upstream::UpstreamSetupError;
pub use workers::isolation;
