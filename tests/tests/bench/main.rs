//! Benchmarks beside something real, which `./run bench` runs, and what can be tested of them without a clock.

#![allow(clippy::unwrap_used)] // in the helpers of tests too

mod bulk;
mod cold;
mod hit;
mod scaling;
mod stampede;
mod stream;
