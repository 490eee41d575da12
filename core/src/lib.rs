//! The pure part of serin: types, plan, verdict, artifact, scoring. No input or output, no clock, no entropy.
//!
//! Glossary, used in code, API, metrics and charts alike:
//!
//! - *release*: a `ModelRelease` object; *version*: a model version it asks for; *revision*: the identity of the pods
//!   that serve a version; *configuration*: what the ConfigMaps and Secrets hold that they read.
//! - *stable*: the version promoted last; *canary*: the version on trial; *trial*: its life from first pod to the end.
//! - *step*: a share of the traffic; *weight*: that share in percent; *split*: the weights of all revisions.
//! - *soak*: observed time at the weight of a step; *mark*: the time up to which samples are counted.
//! - *look*: one observation; *plan*: what follows from it; *action*: a wish of a plan.
//! - *rule*, *verdict*: what a canary must show, and whether it did; *gate*: a condition on evidence before any traffic.
//! - *promote*, *roll back*, *hold*: the canary becomes stable; loses its traffic and pods; nothing moves.

pub mod artifact;
mod closed;
pub mod configuration;
pub mod counters;
pub mod crd;
pub mod digest;
pub mod gate;
pub mod judge;
pub mod movielog;
pub mod period;
pub mod plan;
pub mod policy;
pub mod record;
pub mod revision;
pub mod scoring;
pub mod selector;
pub mod status;
