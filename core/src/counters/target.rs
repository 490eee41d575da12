//! One scrape target: from what its counters show to what happened between two scrapes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// How far an increment may be from a whole number before it cannot be a count.
const WHOLE: f64 = 1e-6;

/// The counters of one scrape target, as last scraped.
#[derive(Clone, Debug)]
pub struct Target<K> {
    max_gap: SignedDuration,
    last: Option<Scrape<K>>,
}

#[derive(Clone, Debug)]
struct Scrape<K> {
    at: Timestamp,
    start: Option<f64>,
    values: BTreeMap<K, f64>,
}

/// What a scrape adds.
#[derive(Clone, Debug, PartialEq)]
pub enum Scraped<K> {
    /// A time that was counted already: nothing, however often it is repeated.
    Seen,
    /// A value that no counter can have: the scrape is dropped, what was known stays.
    Bad,
    /// The first scrape: nothing to compare it with.
    Baseline,
    /// What happened since the scrape before.
    Grown {
        /// Growth of each series that was exported.
        increments: BTreeMap<K, f64>,
        /// Time of the scrape before.
        since: Timestamp,
        /// Whether the two are further apart than counts as observed: good for totals, not for evidence.
        gap: bool,
    },
}

impl<K: Ord + Clone> Target<K> {
    /// A target never scraped; two scrapes more than `max_gap` apart leave time unobserved.
    pub fn new(max_gap: SignedDuration) -> Self {
        Self { max_gap, last: None }
    }

    /// Takes every sample of one successful scrape, in the order of time.
    ///
    /// `start` is the target's `process_start_time_seconds`, where it exports it: the only way to see a restart whose
    /// counters have already passed their old values. `is_count` tells counts, which grow by whole numbers, from sums.
    /// Guarantees: each observation is counted once, whatever is repeated; a value below its predecessor is a reset
    /// and counts from 0; a series that appears on a known target counts from 0, one that vanishes forgets its value.
    pub fn scrape(
        &mut self,
        at: Timestamp,
        start: Option<f64>,
        values: BTreeMap<K, f64>,
        is_count: impl Fn(&K) -> bool,
    ) -> Scraped<K> {
        self.scrape_if(at, start, values, is_count, |_| true)
    }

    /// As [`Target::scrape`], and drops a scrape whose increments `are_whole` denies: what was known stays.
    pub fn scrape_if(
        &mut self,
        at: Timestamp,
        start: Option<f64>,
        values: BTreeMap<K, f64>,
        is_count: impl Fn(&K) -> bool,
        are_whole: impl FnOnce(&BTreeMap<K, f64>) -> bool,
    ) -> Scraped<K> {
        if self.last.as_ref().is_some_and(|last| at <= last.at) {
            return Scraped::Seen;
        }
        if values.values().any(|value| !value.is_finite() || *value < 0.0) {
            return Scraped::Bad;
        }
        let Some(last) = &self.last else {
            self.last = Some(Scrape { at, start, values });
            return Scraped::Baseline;
        };
        let restarted = start
            .zip(last.start)
            .is_some_and(|(start, before)| start != before);
        let mut increments = BTreeMap::new();
        for (key, value) in &values {
            let before = last
                .values
                .get(key)
                .copied()
                .filter(|_| !restarted)
                .unwrap_or(0.0);
            let grown = if *value >= before { value - before } else { *value };
            if !is_count(key) {
                increments.insert(key.clone(), grown);
            } else if (grown - grown.round()).abs() <= WHOLE {
                increments.insert(key.clone(), grown.round());
            } else {
                return Scraped::Bad;
            }
        }
        if !are_whole(&increments) {
            return Scraped::Bad;
        }
        let since = last.at;
        let start = start.or(last.start);
        self.last = Some(Scrape { at, start, values });
        Scraped::Grown {
            increments,
            since,
            gap: at.duration_since(since) > self.max_gap,
        }
    }
}

/// The number of the block that holds `at`: block b covers (t₀ + b·B, t₀ + (b+1)·B]. An increment belongs to the block
/// of its later sample.
pub fn block_of(at: Timestamp, t0: Timestamp, block: SignedDuration) -> i128 {
    let (since, length) = (at.duration_since(t0).as_nanos(), block.as_nanos().max(1));
    // The ceiling of the quotient, less one: an end belongs to the block it ends.
    let ceiling = since.div_euclid(length) + i128::from(since.rem_euclid(length) > 0);
    ceiling - 1
}
