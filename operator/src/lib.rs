//! The operator: watches releases, observes the world, carries out plans, records what it did.
//!
//! One data path: observe → plan → effects first, status last. Everything that decides is in `serin-core`; everything
//! here is input and output.

pub mod access;
mod adopt;
mod archive;
pub mod args;
mod build;
mod configuration;
mod context;
mod election;
mod error;
mod metrics;
mod observe;
mod owned;
mod perform;
mod prometheus;
mod reconcile;
mod record;
mod release;
mod route;
pub mod run;
mod serve;
mod tenure;

pub use self::archive::{Archive, ArchiveError};
pub use self::context::{Clock, Context};
pub use self::error::Error;
pub use self::metrics::{Calls, Metrics, Releases, Shown};
pub use self::reconcile::reconcile;
