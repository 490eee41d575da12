//! Trains the recommender from the movie platform's stream and proposes it as a release.
//!
//! Pure and seeded: [`ratings`], [`split`], [`als`], [`baseline`], [`evaluate`], [`corpus`], [`gate`], [`artifact`].
//! With effects: [`consume`] reads Kafka, [`store`] and [`dataset`] keep what was read, [`release`] edits
//! `spec.model` of one `ModelRelease`, and [`run`] is the order in which all of it happens.

pub mod als;
pub mod args;
pub mod artifact;
pub mod baseline;
pub mod check;
pub mod cholesky;
pub mod columns;
pub mod consume;
pub mod corpus;
pub mod dataset;
pub mod evaluate;
pub mod gate;
pub mod partition;
pub mod quarantine;
pub mod random;
pub mod ratings;
pub mod recent;
pub mod release;
pub mod run;
pub mod split;
pub mod store;
pub mod summary;
pub mod tally;
pub(crate) mod topic;
