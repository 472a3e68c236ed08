//! A DICOMweb client: instances, metadata and single frames over WADO-RS (PS3.18 §10.4), and the
//! series of a study and instances of a series over QIDO-RS (§10.6).
//!
//! It knows HTTP and `multipart/related`, and reads both as archives really write them; it knows no
//! pixels. What it hands out is bytes, a transfer syntax, and a DICOM data set.
//!
//! - No redirect is followed, nothing is decompressed, no proxy or cookie store is used.
//! - The credentials of the [`Caller`] go with every fetch, to the configured origin only.
//! - Every answer is bounded in bytes and every wait in time ([`ClientConfig`]).
//! - Errors and logs carry no URL, UID or header value.
//!
//! ```
//! use dicomweb_types::{FrameNumber, InstancePath};
//! use std::time::Duration;
//! use wadors_client::{Caller, Client, ClientConfig, UpstreamError};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! // Nobody listens there.
//! let config = ClientConfig::new("http://127.0.0.1:9/dicom-web".parse()?);
//! let client = Client::new(ClientConfig { timeout: Duration::from_secs(2), ..config })?;
//! let path = InstancePath {
//!     study: "1.2.3".parse()?,
//!     series: "1.2.3.4".parse()?,
//!     instance: "1.2.3.4.5".parse()?,
//! };
//! let answer = client.frame(&path, FrameNumber::FIRST, &Caller::anonymous()).await;
//! assert!(matches!(answer, Err(UpstreamError::Unreachable { .. })));
//! # Ok(())
//! # })
//! # }
//! ```
#![deny(missing_docs)]

mod answer;
mod body;
mod breaker;
mod bulk;
mod call;
mod caller;
mod client;
mod credentials;
mod dialect;
mod error;
mod frames;
mod gate;
mod instance;
mod metadata;
pub mod multipart;
mod probe;
mod qido;
mod retry;
mod tls;

pub use answer::explain;
pub use caller::Caller;
pub use client::{Client, ClientConfig};
pub use credentials::{Credentials, OAuth2, Secret};
pub use dialect::{Call, Dialect};
pub use error::{ClientError, UpstreamError};
pub use frames::Frame;
pub use gate::Rate;
pub use instance::{InstanceAnswer, SizeLimit};
pub use metadata::{BulkDataRef, Metadata};
pub use probe::{Seen, Tried};
pub use tls::{Tls, TlsIdentity};
