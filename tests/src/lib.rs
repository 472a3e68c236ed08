//! What the end-to-end tests are made with: the real binary behind its real door, an origin that
//! does as it is told, a real Orthanc, the corpus, and the comparison of pictures.
//!
//! ```no_run
//! # async fn example() {
//! use lightbox_tests::{Answer, Proxy, ScriptedOrigin};
//!
//! let origin = ScriptedOrigin::start().await;
//! origin.on("/studies", |_| Answer::json("[]"));
//! let proxy = Proxy::start(&origin.url()).await;
//! let answer = proxy.get("/studies").await;
//! assert_eq!(answer.status(), 200);
//! # }
//! ```
#![deny(missing_docs)]
// A harness stops a test where it cannot go on, with the reason.
#![allow(clippy::unwrap_used)]

mod archive;
mod between;
mod browser;
mod corpus;
pub mod decoded;
mod dicom;
pub mod door;
mod fault;
mod guard;
mod http_client;
pub mod issuer;
pub mod limits;
mod multipart;
mod nginx;
mod object;
mod orthanc;
pub mod pictures;
mod ports;
mod proxy;
mod scripted_origin;

pub use archive::{Archive, Keeper, ct, places};
pub use between::{Between, Gate};
pub use browser::{Browser, Loaded};
pub use corpus::{Corpus, Entry, Expected, Outcome, Reference};
pub use dicom::TestImage;
pub use fault::Fault;
pub use guard::Guard;
pub use http_client::{Reply, client, parts, patient_client, raw_exchange};
pub use multipart::{Part, PartReader, strict_parts};
pub use nginx::Nginx;
pub use object::{EXPLICIT_LITTLE_ENDIAN, Object, Place};
pub use orthanc::Orthanc;
pub use ports::closed_port;
pub use proxy::{Finished, Proxy, lightbox, lightbox_binary, peak_memory};
pub use scripted_origin::{Answer, Received, ScriptedOrigin};

/// Whether the slow part named so is to run now; says aloud where it is not.
pub fn slow_test(part: &str) -> bool {
    let wanted = std::env::var("LIGHTBOX_TEST").is_ok_and(|tests| tests == "all");
    if !wanted {
        eprintln!("SKIPPED {part}: it is slow, ./run test all runs it");
    }
    wanted
}

/// Waits until it is so; panics where it is not within 30 s.
pub async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !is_so().await {
        assert!(std::time::Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Says aloud that a part of the tests is left out, and why. In CI (`CI=true`) that is a failure.
pub fn skip(part: &str, why: &str) {
    assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "{part} cannot run in CI: {why}");
    eprintln!("SKIPPED {part}: {why}");
}
