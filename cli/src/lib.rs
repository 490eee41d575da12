//! `kubectl serin`: what a person asks of a release, beside editing its spec.

pub mod args;
mod release;
pub mod run;
mod table;
