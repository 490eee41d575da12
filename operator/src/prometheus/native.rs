//! Native histograms as classic ones: the edges between which a native histogram counts are powers of 2, or of a root
//! of 2, so those at every half power are among them wherever its resolution is usual.

use jiff::Timestamp;
use serin_core::counters::{Counter, Edge};

use super::answer::{Native, Sample};

/// Half powers of 2 from 1 ms to 32 s. 500 ms, the usual limit, is one of them.
const HALF_POWERS: std::ops::RangeInclusive<i32> = -20..=10;
/// Edges are written with fewer digits than they have.
const ROUNDING: f64 = 1e-9;

/// The counters that a classic histogram would have exported, each with its samples.
///
/// An edge at which a bucket of any sample is cut in two, because the resolution is low, is left out.
pub(super) fn as_classic(samples: &[Sample<Native>]) -> Vec<(Counter, Vec<(Timestamp, f64)>)> {
    let of = |value: &dyn Fn(&Native) -> f64| -> Vec<(Timestamp, f64)> {
        let samples = samples.iter();
        samples
            .filter_map(|sample| Some((sample.time()?, value(&sample.1))))
            .collect()
    };
    let mut counters = vec![
        (Counter::Requests, of(&|native| native.count.0)),
        (Counter::LatencySum, of(&|native| native.sum.0)),
    ];
    for half_power in HALF_POWERS {
        let edge = (f64::from(half_power) / 2.0).exp2();
        let is_cut = |sample: &Sample<Native>| sample.1.buckets.iter().any(|bucket| cuts(edge, bucket));
        if let Some(own) = Edge::new(edge)
            && !samples.iter().any(is_cut)
        {
            counters.push((Counter::Bucket(own), of(&|native| below(edge, native))));
        }
    }
    counters.extend(Edge::new(f64::INFINITY).map(|all| (Counter::Bucket(all), of(&|native| native.count.0))));
    counters
}

type Bucket = (
    u8,
    super::answer::Number,
    super::answer::Number,
    super::answer::Number,
);

fn cuts(edge: f64, (_, left, right, _): &Bucket) -> bool {
    left.0 < edge * (1.0 - ROUNDING) && right.0 > edge * (1.0 + ROUNDING)
}

fn below(edge: f64, native: &Native) -> f64 {
    let within = native
        .buckets
        .iter()
        .filter(|(_, _, right, _)| right.0 <= edge * (1.0 + ROUNDING));
    within.map(|(.., count)| count.0).sum()
}
