//! With the real parts: Orthanc, browsers, client libraries, and what the documents say.

#![allow(clippy::unwrap_used)] // in the helpers of tests too

mod browser;
mod clients;
mod documents;
mod orthanc;
mod orthanc_feed;
