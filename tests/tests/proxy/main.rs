//! The proxy through its door, in front of scripted archives and of one that serves a folder.

#![allow(clippy::unwrap_used)] // in the helpers of tests too

mod archives;
mod burned_in;
mod collections;
mod door;
mod passthrough;
mod queries;
mod quirks;
mod resilience;
mod transport;
mod workers;
mod wsi;
