//! What is kept, shared, made ahead and forgotten.

#![allow(clippy::unwrap_used)] // in the helpers of tests too

mod faults;
mod front;
mod kept;
mod nodes;
mod unseen;
mod warm;
