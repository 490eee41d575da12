//! `kubectl serin`: what a person asks of a release, beside editing its spec.

pub mod args;
pub mod chart;
mod explain;
mod fetch;
mod lint;
mod release;
pub mod run;
mod simulate;
mod table;
