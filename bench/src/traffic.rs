//! Simulated traffic: two arms under a load that swings with the day and drifts by the minute.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial, Distribution as _, Gamma, Normal, Poisson, StandardNormal};
use serin_core::judge::{Arm, Layout, Trials};

use crate::summary::whole;

/// Minutes of a day.
const DAY: f64 = 1440.0;
/// Persistence of the load's drift from one minute to the next.
const DRIFT: f64 = 0.95;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// Seconds from one look to the next.
    pub(crate) look: f64,
    /// How much the day swings, from 0 (steady) to 1 (requests ±40 %, errors ±80 %).
    pub(crate) day: f64,
    /// Requests per second, both arms together, before the day's swing.
    pub(crate) rate: f64,
    /// The canary's share of them.
    pub(crate) share: f64,
    /// Mean latency of stable before load, in seconds.
    pub(crate) mean: f64,
    /// Spread of the latency, as a standard deviation of its logarithm.
    pub(crate) spread: f64,
    /// Standard deviation of the load's drift, which slows both arms.
    pub(crate) drift: f64,
    /// Time limit: a slower request fails.
    pub(crate) cap: f64,
    /// Stable's error rate before the day's swing.
    pub(crate) errors: f64,
    /// The canary's error rate as a multiple of stable's.
    pub(crate) errors_times: f64,
    /// What is added to the canary's error rate.
    pub(crate) errors_plus: f64,
    /// The canary's latency as a multiple of stable's.
    pub(crate) slower: f64,
    /// Share of the canary's requests that take much longer, and by how many seconds.
    pub(crate) tail: (f64, f64),
    /// Bursts of errors: each arm's rate is multiplied, look by look, by a gamma factor of mean 1 and this shape, of
    /// canary and stable. A small arm bursts more: a shape of 1 is a standard deviation of 100 %.
    pub(crate) bursts: Option<(f64, f64)>,
}

/// A service at 20 requests a second, a tenth of them to the canary, with a time limit of 0.8 s that adds some errors
/// of its own when the load is high.
pub(crate) const HEALTHY: Scenario = Scenario {
    look: 60.0,
    day: 1.0,
    rate: 20.0,
    share: 0.1,
    mean: 0.3,
    spread: 0.4,
    drift: 0.15,
    cap: 0.8,
    errors: 0.005,
    errors_times: 1.0,
    errors_plus: 0.0,
    slower: 1.0,
    tail: (0.0, 0.0),
    bursts: None,
};

/// The same with a time limit that nobody reaches and 1 % of errors: all errors are drawn.
pub(crate) const PURE_ERRORS: Scenario = Scenario {
    cap: 30.0,
    errors: 0.01,
    ..HEALTHY
};

/// What one arm served between two looks, a minute unless the scenario says otherwise, with what rivals look at besides.
#[derive(Clone, Debug)]
pub(crate) struct Minute {
    pub(crate) arm: Arm,
    /// Sum of the squared latencies of the successes.
    pub(crate) squares: f64,
}

/// The minutes of one soak, one pair after the other.
pub(crate) struct Soak {
    scenario: Scenario,
    layout: Layout,
    random: ChaCha8Rng,
    phase: f64,
    load: f64,
    minute: f64,
}

impl Soak {
    /// The soak number `run` of a scenario. Equal numbers give equal minutes.
    pub(crate) fn new(scenario: Scenario, layout: Layout, seed: u64, run: u32) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(u64::from(run));
        let phase = random.random::<f64>() * std::f64::consts::TAU;
        Self {
            scenario,
            layout,
            random,
            phase,
            load: 0.0,
            minute: 0.0,
        }
    }

    /// What both arms serve until the next look: canary, stable.
    pub(crate) fn next(&mut self) -> (Minute, Minute) {
        let s = self.scenario;
        let swing = s.day * (self.phase + std::f64::consts::TAU * self.minute / DAY).sin();
        let minutes = s.look / 60.0;
        self.minute += minutes;
        let shock: f64 = StandardNormal.sample(&mut self.random);
        let kept = DRIFT.powf(minutes);
        self.load = kept * self.load + (1.0 - kept * kept).sqrt() * s.drift * shock;
        let requests = s.look * s.rate * (1.0 + 0.4 * swing);
        let rate = s.errors * (1.0 + 0.8 * swing);
        let [burst, stable_burst] = self.bursts();
        let canary_rate = ((rate * s.errors_times + s.errors_plus) * burst).min(1.0);
        let stable_rate = (rate * stable_burst).min(1.0);
        let canary = self.serve(requests * s.share, canary_rate, s.mean * s.slower, s.tail);
        let stable = self.serve(requests * (1.0 - s.share), stable_rate, s.mean, (0.0, 0.0));
        (canary, stable)
    }

    /// Factors of the error rates, of canary and stable.
    fn bursts(&mut self) -> [f64; 2] {
        let Some((canary, stable)) = self.scenario.bursts else {
            return [1.0; 2];
        };
        [canary, stable].map(|shape| {
            let factor = Gamma::new(shape, 1.0 / shape).ok();
            factor.map_or(1.0, |gamma| gamma.sample(&mut self.random))
        })
    }

    fn serve(&mut self, requests: f64, errors: f64, mean: f64, tail: (f64, f64)) -> Minute {
        let s = self.scenario;
        let random = &mut self.random;
        let all = whole(Poisson::new(requests).map_or(0.0, |poisson| poisson.sample(random)));
        let drawn = Binomial::new(all, errors).map_or(0, |binomial| binomial.sample(random));
        let mut bad = drawn;
        // The mean of a log-normal is exp(mu + spread²/2).
        let mu = mean.ln() - s.spread * s.spread / 2.0 + self.load;
        let mut counts = vec![0; self.layout.edges().len() + 1];
        let (mut seconds, mut squares) = (0.0, 0.0);
        let log_latency = Normal::new(mu, s.spread).ok();
        for _ in drawn..all {
            let mut latency = log_latency.map_or(mean, |normal| normal.sample(random)).exp();
            if tail.0 > 0.0 && random.random::<f64>() < tail.0 {
                latency += tail.1;
            }
            if latency > s.cap {
                bad += 1;
                continue;
            }
            if let Some(count) = counts.get_mut(self.layout.edges().partition_point(|edge| *edge < latency)) {
                *count += 1;
            }
            seconds += latency;
            squares += latency * latency;
        }
        let latencies = self
            .layout
            .histogram(counts, seconds)
            .unwrap_or_else(|_| self.layout.empty());
        Minute {
            arm: Arm {
                requests: Trials::new(bad, all),
                latencies,
                quality: None,
            },
            squares,
        }
    }
}
