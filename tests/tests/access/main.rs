//! Who is shown what, and what is told to who is not.

#![allow(clippy::unwrap_used)] // in the helpers of tests too

mod attacks;
mod callers;
mod matrix;
mod own_credentials;
mod security_docs;
mod tokens;
mod traces;
mod urls;
