//! A DICOMweb client: instances, metadata and single frames over WADO-RS (PS3.18 §10.4), and studies,
//! the series of a study and the instances of a series over QIDO-RS (§10.6).
//!
//! It knows HTTP and `multipart/related`, and reads both as archives really write them; it knows no
//! pixels. What it hands out is bytes, a transfer syntax, and a DICOM data set.
//!
//! - No redirect is followed, no proxy or cookie store is used; JSON may come compressed.
//! - The credentials of the [`Caller`], or those of [`Credentials`] in their place, go with every fetch,
//!   to the configured origin only.
//! - Every answer is bounded in bytes, every wait and every call in time, and calls at once and in a span
//!   of time in number ([`ClientConfig`]).
//! - What may pass is tried again, within a budget; an archive that does not answer is left alone for a
//!   moment, one that asks for a pause gets it.
//! - Each kind of call is made in the form of `Accept` that this archive was found to take ([`Call`]).
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
//!
//! An archive in a cloud, with tokens of our own, asked 50 times a second at most:
//!
//! ```
//! use wadors_client::{Client, ClientConfig, Credentials, Dialect, OAuth2, Secret};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ClientConfig {
//!     credentials: Credentials::OAuth2(OAuth2 {
//!         token_url: "https://login.example/token".parse()?,
//!         client_id: "viewer".to_owned(),
//!         client_secret: Secret::new("of the client"),
//!         scope: Some("dicomweb".to_owned()),
//!     }),
//!     rate: Some("50/s".parse()?),
//!     ..ClientConfig::new("https://ws.dicom.azurehealthcareapis.com/v2".parse()?)
//! };
//! let client = Client::new(config)?;
//! assert_eq!(client.dialect(), Some(Dialect::Azure));
//! # Ok(())
//! # }
//! ```
//!
//! The instances of a series, page by page to the end:
//!
//! ```
//! use dicom_dictionary_std::tags;
//! use wadors_client::{Caller, Client, Metadata, UpstreamError};
//!
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let series = dicomweb_types::SeriesPath { study: "1.2.3".parse()?, series: "1.2.3.4".parse()? };
//! let mut frames = 0;
//! let mut found = |_instance, said: Metadata| frames += said.integer(tags::NUMBER_OF_FRAMES).unwrap_or(1);
//! let fields = [tags::NUMBER_OF_FRAMES];
//! client.instances_of(&series, &fields, &Caller::anonymous(), &mut found).await?;
//! # Ok(())
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
mod revalidate;
mod tls;

pub use answer::explain;
pub use caller::Caller;
pub use client::{Client, ClientConfig, plain_client};
pub use credentials::{Credentials, OAuth2, Secret};
pub use dialect::{Call, Dialect};
pub use error::{ClientError, UpstreamError};
pub use frames::Frame;
pub use gate::{ProbePlace, Rate, Urgency};
pub use instance::{InstanceAnswer, SizeLimit};
pub use metadata::{BulkDataRef, Metadata};
pub use probe::{Seen, Tried};
pub use qido::Studies;
pub use revalidate::{Resource, Validator, Version};
pub use tls::{Tls, TlsIdentity};
