//! Raw counters to increments: what the pods of one arm counted between two looks.
//!
//! Prometheus' `rate` and `increase` extrapolate to their window and return fractions of requests; a judgement
//! needs counts. So the operator reads raw samples and differences them here, per pod and series, resets included.

mod target;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

pub use self::target::{Scraped, Target, block_of};

/// What one series counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Requests answered with a status of this class (`2` for 2xx), over all routes.
    Requests,
    /// Sum of their latencies, in seconds.
    LatencySum,
    /// When the process started, in seconds since 1970 (`process_start_time_seconds`).
    Start,
    /// Whether the scrape succeeded (`up`). Its samples are the times at which absent series count as 0.
    Scrape,
}

/// The raw samples of one series of one pod, oldest first, as scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Pod that exported it.
    pub pod: String,
    /// Everything else that tells it from the pod's other series.
    pub labels: String,
    /// HTTP status that it counts.
    pub status: u16,
    /// What it counts.
    pub counter: Counter,
    /// Time and value of each scrape.
    pub samples: Vec<(Timestamp, f64)>,
}

/// Requests of one arm over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Finished requests.
    pub requests: u64,
    /// Requests answered with 5xx.
    pub failures: u64,
    /// Requests answered with 2xx.
    pub successes: u64,
    /// Sum of the latencies of the successful requests, in seconds.
    pub latency_seconds_sum: f64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            failures: self.failures.saturating_add(other.failures),
            successes: self.successes.saturating_add(other.successes),
            latency_seconds_sum: self.latency_seconds_sum + other.latency_seconds_sum,
        }
    }

    /// Mean latency of the successful requests, in seconds; none without a success.
    pub fn mean_seconds(&self) -> Option<f64> {
        (self.successes > 0).then(|| self.latency_seconds_sum / self.successes as f64)
    }

    /// Share of failed requests, 0 to 1; none without a request.
    pub fn failure_share(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.failures as f64 / self.requests as f64)
    }
}

/// What happened between the mark and the newest sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Increment {
    /// What was counted.
    pub counts: Counts,
    /// Time of the newest sample; the mark for the next look.
    pub until: Timestamp,
    /// Time that scrapes covered, gaps left out: the longest of any one pod.
    pub covered: SignedDuration,
    /// Scrapes dropped because a value was no finite count.
    pub dropped: u32,
}

/// Differences both arms over the same time: from `mark` to the canary's newest sample.
///
/// Samples of stable that are newer stay for the next look. Answers `None` when the canary was not seen.
pub fn increments(
    canary: &[Series],
    stable: &[Series],
    mark: Timestamp,
    max_gap: SignedDuration,
) -> Option<(Increment, Counts)> {
    let canary = increment(canary, mark, max_gap)?;
    let mut stable = stable.to_vec();
    for series in &mut stable {
        series.samples.retain(|(time, _)| *time <= canary.until);
    }
    let stable = increment(&stable, mark, max_gap)
        .map(|seen| seen.counts)
        .unwrap_or_default();
    Some((canary, stable))
}

/// The scrapes of one pod: time → series → value.
type Scrapes<'a> = BTreeMap<Timestamp, BTreeMap<(&'a str, u16, Counter), f64>>;

/// Differences `series` of one arm over the samples later than `mark`.
///
/// Guarantees: a sample is counted once, however looks overlap, as long as each look begins at the `until` of the
/// one before. A value below its predecessor is a reset and counts from 0. A series that appears on a pod already
/// known counts from 0 (the first error of a pod is the birth of a series). The first scrape of a pod is only a
/// baseline. A scrape with a value that no counter can have (negative, not finite, a fraction of a request) is dropped
/// whole; a restart that the process's start time betrays counts from 0 even where the new value is higher. Two scrapes more than `max_gap`
/// apart still add their counts, but no time.
///
/// Answers `None` when no sample is later than `mark`: nothing was seen, which is not the same as zero.
pub fn increment(series: &[Series], mark: Timestamp, max_gap: SignedDuration) -> Option<Increment> {
    let mut pods: BTreeMap<&str, Scrapes<'_>> = BTreeMap::new();
    for one in series {
        let scrapes = pods.entry(&one.pod).or_default();
        for (time, value) in &one.samples {
            scrapes
                .entry(*time)
                .or_default()
                .insert((&one.labels, one.status, one.counter), *value);
        }
    }
    let until = pods
        .values()
        .filter_map(|scrapes| scrapes.keys().next_back())
        .max()
        .copied()?;
    if until <= mark {
        return None;
    }
    let mut all = Increment {
        counts: Counts::default(),
        until,
        covered: SignedDuration::ZERO,
        dropped: 0,
    };
    for scrapes in pods.values() {
        let one = of_pod(scrapes, mark, max_gap);
        all.counts = all.counts.plus(one.counts);
        all.covered = all.covered.max(one.covered);
        all.dropped = all.dropped.saturating_add(one.dropped);
    }
    Some(all)
}

fn of_pod(scrapes: &Scrapes<'_>, mark: Timestamp, max_gap: SignedDuration) -> Increment {
    let mut sum = Increment {
        counts: Counts::default(),
        until: mark,
        covered: SignedDuration::ZERO,
        dropped: 0,
    };
    let mut target = Target::new(max_gap);
    for (time, values) in scrapes {
        let of = |counter| {
            values
                .iter()
                .find(|(key, _)| key.2 == counter)
                .map(|(_, value)| *value)
        };
        if of(Counter::Scrape).is_some_and(|up| up < 1.0) {
            continue;
        }
        let counters = values
            .iter()
            .filter(|(key, _)| matches!(key.2, Counter::Requests | Counter::LatencySum))
            .map(|(key, value)| (*key, *value))
            .collect();
        match target.scrape(*time, of(Counter::Start), counters, |key| {
            key.2 == Counter::Requests
        }) {
            Scraped::Bad => sum.dropped = sum.dropped.saturating_add(u32::from(*time > mark)),
            Scraped::Grown {
                increments,
                since,
                gap,
            } if *time > mark => {
                for ((_, status, counter), grown) in increments {
                    add(&mut sum.counts, status, counter, grown);
                }
                if !gap {
                    let newly = time.duration_since(since.max(mark));
                    sum.covered = sum.covered.saturating_add(newly);
                }
            }
            Scraped::Seen | Scraped::Baseline | Scraped::Grown { .. } => {}
        }
    }
    sum
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "finite and not negative: checked by the target"
)]
fn add(counts: &mut Counts, status: u16, counter: Counter, grown: f64) {
    match (counter, status / 100) {
        (Counter::Requests, class) => {
            let grown = grown as u64;
            counts.requests = counts.requests.saturating_add(grown);
            counts.successes = counts
                .successes
                .saturating_add(if class == 2 { grown } else { 0 });
            counts.failures = counts.failures.saturating_add(if class == 5 { grown } else { 0 });
        }
        (Counter::LatencySum, 2) => counts.latency_seconds_sum += grown,
        (Counter::LatencySum | Counter::Start | Counter::Scrape, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn series(pod: &str, status: u16, counter: Counter, samples: &[(i64, f64)]) -> Series {
        let samples = samples
            .iter()
            .map(|(second, value)| (at(*second), *value))
            .collect();
        Series {
            pod: pod.into(),
            labels: String::new(),
            status,
            counter,
            samples,
        }
    }

    fn ok(samples: &[(i64, f64)]) -> Series {
        series("a", 200, Counter::Requests, samples)
    }

    fn minute() -> SignedDuration {
        SignedDuration::from_secs(60)
    }

    #[test]
    fn the_first_scrape_of_a_pod_is_only_a_baseline() {
        let seen = increment(&[ok(&[(5, 70.0), (10, 80.0)])], at(0), minute()).unwrap();
        assert_eq!(
            (seen.counts.requests, seen.covered),
            (10, SignedDuration::from_secs(5))
        );
    }

    #[test]
    fn a_reset_counts_from_zero() {
        let seen = increment(&[ok(&[(0, 100.0), (5, 110.0), (10, 3.0)])], at(0), minute()).unwrap();
        assert_eq!(seen.counts.requests, 13);
    }

    #[test]
    fn the_first_error_of_a_known_pod_is_counted() {
        let failing = series("a", 503, Counter::Requests, &[(10, 2.0)]);
        let seen = increment(
            &[ok(&[(0, 10.0), (5, 10.0), (10, 10.0)]), failing],
            at(0),
            minute(),
        )
        .unwrap();
        assert_eq!((seen.counts.requests, seen.counts.failures), (2, 2));
    }

    #[test]
    fn a_gap_adds_counts_but_no_time() {
        let seen = increment(&[ok(&[(0, 0.0), (5, 5.0), (500, 50.0)])], at(0), minute()).unwrap();
        assert_eq!(
            (seen.counts.requests, seen.covered),
            (50, SignedDuration::from_secs(5))
        );
    }

    #[test]
    fn nonsense_drops_the_scrape_and_keeps_the_state() {
        for nonsense in [f64::NAN, f64::INFINITY, -1.0] {
            let seen = increment(&[ok(&[(0, 10.0), (5, nonsense), (10, 12.0)])], at(0), minute()).unwrap();
            assert_eq!((seen.counts.requests, seen.dropped), (2, 1), "{nonsense}");
        }
    }

    #[test]
    fn a_restart_is_seen_even_when_the_counters_have_overtaken() {
        let start = series("a", 0, Counter::Start, &[(0, 100.0), (5, 104.0)]);
        let seen = increment(&[ok(&[(0, 10.0), (5, 30.0)]), start], at(0), minute()).unwrap();
        assert_eq!(seen.counts.requests, 30);
    }

    #[test]
    fn only_successes_have_a_latency() {
        let all = [
            ok(&[(0, 0.0), (5, 4.0)]),
            series("a", 200, Counter::LatencySum, &[(0, 0.0), (5, 2.0)]),
            series("a", 500, Counter::Requests, &[(0, 0.0), (5, 1.0)]),
            series("a", 500, Counter::LatencySum, &[(0, 0.0), (5, 90.0)]),
        ];
        let counts = increment(&all, at(0), minute()).unwrap().counts;
        assert_eq!(counts.mean_seconds(), Some(0.5));
        assert_eq!(counts.failure_share(), Some(0.2));
    }

    #[test]
    fn a_scrape_without_series_is_a_zero_and_a_failed_one_is_nothing() {
        let up = |samples: &[(i64, f64)]| series("a", 0, Counter::Scrape, samples);
        let seen = increment(&[up(&[(0, 1.0), (5, 1.0)]), ok(&[(5, 3.0)])], at(0), minute()).unwrap();
        assert_eq!(
            (seen.counts.requests, seen.covered),
            (3, SignedDuration::from_secs(5))
        );
        let seen = increment(&[up(&[(0, 1.0), (5, 0.0)])], at(0), minute()).unwrap();
        assert_eq!(seen.covered, SignedDuration::ZERO);
    }

    #[test]
    fn nothing_new_is_not_zero() {
        assert_eq!(increment(&[ok(&[(0, 5.0)])], at(0), minute()), None);
        assert_eq!(increment(&[], at(0), minute()), None);
    }

    proptest! {
        /// However looks cut the time, and however often the operator restarts: every request is counted once.
        #[test]
        fn looks_partition_the_counts(
            steps in prop::collection::vec((1i64..20, 0u32..50, prop::bool::weighted(0.1)), 2..60),
            cuts in prop::collection::btree_set(1usize..59, 0..10),
        ) {
            let (mut time, mut value, mut samples, mut truth) = (0, 0.0, vec![(0, 0.0)], 0.0);
            for (wait, requests, restarted) in steps {
                time += wait;
                value = if restarted { 0.0 } else { value } + f64::from(requests);
                let previous = samples.last().unwrap().1;
                truth += if value >= previous { value - previous } else { value };
                samples.push((time, value));
            }
            let (mut mark, mut counted) = (at(0), 0.0);
            let ends = cuts.into_iter().filter(|cut| *cut < samples.len()).chain([samples.len()]);
            for end in ends {
                if let Some(seen) = increment(&[ok(&samples[..end])], mark, minute()) {
                    counted += seen.counts.requests as f64;
                    mark = seen.until;
                }
            }
            prop_assert_eq!(counted, truth);
        }
    }
}
