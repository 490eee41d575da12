//! The operator on a real API server. One program holds all of it, for most of the time until it runs is compiling.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests"
)]

mod access;
mod faults;
mod manifests;
mod watching;
