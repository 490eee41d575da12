//! A stand-in for the movie platform that the recommender serves.
//!
//! Four processes in one binary: [`load`] asks for recommendations and counts what comes back, [`proxy`] spoils the
//! answers of a release on demand, [`history`] writes a backlog of ratings to the stream, [`platform`] lets viewers
//! watch, rate and ask. They meet the product over HTTP and Kafka only. Everything random comes from a seed; what
//! decides is pure, and what sends, listens or waits is kept apart from it.

pub mod distribution;
pub mod duration;
pub mod error;
pub mod history;
pub mod kafka;
pub mod line;
pub mod load;
pub mod movie_id;
pub mod noise;
pub mod platform;
pub mod population;
pub mod proxy;
pub mod random;
pub mod serve;
pub mod stop;

#[cfg(test)]
mod testing;
