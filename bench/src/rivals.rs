//! Other ways to judge a canary, as their users configure them, on the same minutes.

use serin_core::judge::{Beside, Block, Health, Late, Run, Settings, Trials, Verdict};

use crate::traffic::Minute;

/// What a method decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The canary is withdrawn.
    Withdraw,
    /// The canary is promoted before the end of the soak.
    Promote,
    /// The canary is promoted at the end of the soak.
    PromoteAtEnd,
    /// A person has to look.
    Undecided,
}

/// Judges minute by minute.
pub(crate) trait Method {
    /// Takes a minute of stable from before the release, where the method can use it.
    fn expect(&mut self, _stable: &Minute) {}

    /// Takes a minute of both arms; answers a decision once there is one.
    fn look(&mut self, canary: &Minute, stable: &Minute) -> Option<Decision>;
}

/// serin's sequential rule.
pub(crate) struct Serin(Run);

impl Serin {
    pub(crate) fn new(settings: Settings) -> anyhow::Result<Self> {
        Ok(Self(Run::new(settings)?))
    }
}

impl Method for Serin {
    fn expect(&mut self, stable: &Minute) {
        self.0.expect(&stable.arm);
    }

    fn look(&mut self, canary: &Minute, stable: &Minute) -> Option<Decision> {
        let block = Block::Seen {
            canary: canary.arm.clone(),
            stable: stable.arm.clone(),
        };
        match self
            .0
            .look(&block, &Late::default(), &Beside::default(), Health::Fine)
            .verdict
        {
            Verdict::Collecting | Verdict::Hold(_) => None,
            Verdict::Abort(_) => Some(Decision::Withdraw),
            Verdict::Promote(serin_core::judge::PromoteReason::Evidence) => Some(Decision::Promote),
            Verdict::Promote(serin_core::judge::PromoteReason::ClassicPass) => Some(Decision::PromoteAtEnd),
            Verdict::Inconclusive(..) => Some(Decision::Undecided),
        }
    }
}

/// Sums of one arm since the start.
#[derive(Clone, Copy, Default)]
struct Sums {
    requests: Trials,
    successes: f64,
    seconds: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, minute: &Minute) {
        self.requests = Trials::new(
            self.requests.bad + minute.arm.requests.bad,
            self.requests.all + minute.arm.requests.all,
        );
        self.successes += minute.arm.latencies.count() as f64;
        self.seconds += minute.arm.latencies.seconds();
        self.squares += minute.squares;
    }

    fn mean_and_variance(&self) -> Option<(f64, f64)> {
        let mean = self.seconds / self.successes;
        (self.successes > 1.0).then(|| {
            (
                mean,
                (self.squares / self.successes - mean * mean) / self.successes,
            )
        })
    }
}

/// Fixed-sample z-tests of error rate and mean, on everything so far, repeated every minute.
pub(crate) struct RepeatedZ {
    critical: f64,
    canary: Sums,
    stable: Sums,
    /// Largest statistic of any look.
    pub(crate) largest: f64,
}

impl RepeatedZ {
    pub(crate) fn new(critical: f64) -> Self {
        Self {
            critical,
            canary: Sums::default(),
            stable: Sums::default(),
            largest: 0.0,
        }
    }

    fn statistic(&self) -> f64 {
        let (c, s) = (self.canary.requests, self.stable.requests);
        let pooled = (c.bad + s.bad) as f64 / ((c.all + s.all) as f64).max(1.0);
        let variance = pooled * (1.0 - pooled) * (1.0 / (c.all as f64) + 1.0 / (s.all as f64));
        let errors = match (c.share(), s.share()) {
            (Some(canary), Some(stable)) if variance > 0.0 => (canary - stable) / variance.sqrt(),
            _ => 0.0,
        };
        let latency = match (self.canary.mean_and_variance(), self.stable.mean_and_variance()) {
            (Some((canary, v)), Some((stable, w))) if v + w > 0.0 => (canary - stable) / (v + w).sqrt(),
            _ => 0.0,
        };
        errors.max(latency)
    }
}

impl Method for RepeatedZ {
    fn look(&mut self, canary: &Minute, stable: &Minute) -> Option<Decision> {
        self.canary.add(canary);
        self.stable.add(stable);
        let statistic = self.statistic();
        self.largest = self.largest.max(statistic);
        (statistic >= self.critical).then_some(Decision::Withdraw)
    }
}

/// Limits on the last minute alone, withdrawn after a number of failed checks.
pub(crate) struct Thresholds {
    error_share: f64,
    mean_seconds: f64,
    failures_allowed: u32,
    failed: u32,
    /// Largest error share and mean of any minute.
    pub(crate) largest: (f64, f64),
}

impl Thresholds {
    pub(crate) fn new(error_share: f64, mean_seconds: f64, failures_allowed: u32) -> Self {
        Self {
            error_share,
            mean_seconds,
            failures_allowed,
            failed: 0,
            largest: (0.0, 0.0),
        }
    }
}

impl Method for Thresholds {
    fn look(&mut self, canary: &Minute, _stable: &Minute) -> Option<Decision> {
        let share = canary.arm.requests.share()?;
        let successes = canary.arm.latencies.count();
        let mean = if successes > 0 {
            canary.arm.latencies.seconds() / successes as f64
        } else {
            0.0
        };
        self.largest = (self.largest.0.max(share), self.largest.1.max(mean));
        if share > self.error_share || mean >= self.mean_seconds {
            self.failed += 1;
        }
        (self.failed > self.failures_allowed).then_some(Decision::Withdraw)
    }
}

/// Mann-Whitney on the minutes so far, metric by metric, every hour: 98 % interval of the shift, outside a quarter of
/// its estimate. Each minute counts as an independent point.
#[derive(Default)]
pub(crate) struct MannWhitney {
    /// Points of canary and stable: error share, then mean.
    points: [(Vec<f64>, Vec<f64>); 2],
}

/// Minutes between two runs of the test, and points that it wants.
const HOUR: usize = 60;
/// Quantile of the normal distribution for a 98 % interval.
const Z_98: f64 = 2.326_347_874_040_841;

impl Method for MannWhitney {
    fn look(&mut self, canary: &Minute, stable: &Minute) -> Option<Decision> {
        let of = |minute: &Minute| {
            let successes = minute.arm.latencies.count().max(1) as f64;
            [
                minute.arm.requests.share().unwrap_or(0.0),
                minute.arm.latencies.seconds() / successes,
            ]
        };
        for (points, (canary, stable)) in self.points.iter_mut().zip(of(canary).into_iter().zip(of(stable))) {
            points.0.push(canary);
            points.1.push(stable);
        }
        let [(minutes, _), _] = &self.points;
        let due = minutes.len().is_multiple_of(HOUR);
        (due && self.points.iter().any(|(canary, stable)| is_high(canary, stable)))
            .then_some(Decision::Withdraw)
    }
}

/// Whether the lower end of the interval of the shift lies above a quarter of the estimate.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the rank is between 0 and the number of differences"
)]
fn is_high(canary: &[f64], stable: &[f64]) -> bool {
    let mut differences: Vec<f64> = canary
        .iter()
        .flat_map(|c| stable.iter().map(move |s| c - s))
        .collect();
    let (n, m) = (canary.len() as f64, stable.len() as f64);
    let spread = Z_98 * (n * m * (n + m + 1.0) / 12.0).sqrt();
    let rank = (n * m / 2.0 - spread).max(0.0) as usize;
    let middle = differences.len() / 2;
    let (below, estimate, _) = differences.select_nth_unstable_by(middle, f64::total_cmp);
    let estimate = *estimate;
    if rank >= below.len() {
        return false;
    }
    let (_, lower, _) = below.select_nth_unstable_by(rank, f64::total_cmp);
    *lower > 0.25 * estimate.abs()
}
