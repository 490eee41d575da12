//! The recommender's server: loads one verified artifact and answers `GET /recommend/{userid}` from it.
//!
//! A process serves exactly one model in its life. It listens at once, tells on `/readyz` why it is not ready yet, and
//! becomes ready only when the manifest has the digest the release names and every file has the digest the manifest
//! names. What can heal (a store that is away, an artifact not yet published) is asked for again and again; what
//! cannot (other bytes than named) ends the process with the reason in the container's termination message.
//!
//! Absent on purpose: swapping models at run time (a new version is a new pod), and switches for faults.

pub mod admit;
pub mod args;
pub mod error;
pub mod fetch;
pub mod identity;
pub mod load;
pub mod metrics;
pub mod refusal;
pub mod request_id;
pub mod router;
pub mod serve;
pub mod service;

#[cfg(test)]
mod tests;
