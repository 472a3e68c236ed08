//! The program: its commands, the demo, how it is deployed.

#![allow(clippy::unwrap_used)] // in the helpers of tests too

mod cli;
mod deploy;
