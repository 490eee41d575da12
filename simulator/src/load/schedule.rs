//! When requests are sent: fixed beforehand, so that a slow answer never slows the caller down.
//!
//! With Λ(t) the number of requests due by time t, the n-th request is sent at Λ⁻¹(n) for constant gaps, and at
//! Λ⁻¹(E₁ + … + Eₙ) for a Poisson process, E being exponential with mean 1.

use std::str::FromStr;
use std::time::Duration;

use crate::duration::{parse_duration, parse_positive};
use crate::random::Random;

/// How the gaps between requests are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// Equal gaps: a rate that is exact.
    Constant,
    /// Exponential gaps: users who do not know of each other.
    Poisson,
}

impl Arrivals {
    /// The name of the flag's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        }
    }
}

/// A rate that rises or falls in a straight line and then stays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    /// Requests a second at the start.
    pub from_per_second: f64,
    /// Requests a second from `over` on.
    pub to_per_second: f64,
    /// How long the change takes.
    pub over: Duration,
}

impl Ramp {
    /// A rate that never changes.
    pub fn steady(per_second: f64) -> Self {
        Self {
            from_per_second: per_second,
            to_per_second: per_second,
            over: Duration::ZERO,
        }
    }

    /// Λ⁻¹: the time in seconds at which `count` requests are due.
    fn due_seconds(&self, count: f64) -> f64 {
        let over = self.over.as_secs_f64();
        let (from, to) = (self.from_per_second, self.to_per_second);
        let during = over * f64::midpoint(from, to);
        if count >= during {
            return over + (count - during) / to;
        }
        // Λ(t) = from·t + slope·t²/2, solved in the form that stays exact for a slope near 0.
        let slope = (to - from) / over;
        2.0 * count / (from + (from * from + 2.0 * slope * count).max(0.0).sqrt())
    }
}

impl FromStr for Ramp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [from, to, over] = parts.as_slice() else {
            return Err(format!(
                "\"{text}\" is not a ramp: write from:to:duration, such as 10:200:30s"
            ));
        };
        Ok(Self {
            from_per_second: parse_positive(from)?,
            to_per_second: parse_positive(to)?,
            over: parse_duration(over)?,
        })
    }
}

/// The times, from the start of the run, at which requests are sent. Endless and non-decreasing.
#[derive(Debug, Clone)]
pub struct Schedule {
    ramp: Ramp,
    arrivals: Arrivals,
    random: Random,
    due: f64,
}

impl Schedule {
    /// The schedule of a run; the same seed gives the same times.
    pub fn new(ramp: Ramp, arrivals: Arrivals, seed: u64) -> Self {
        Self {
            ramp,
            arrivals,
            random: Random::new(seed, "arrivals"),
            due: 0.0,
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.due += match self.arrivals {
            Arrivals::Constant => 1.0,
            Arrivals::Poisson => self.random.exponential(),
        };
        Some(Duration::try_from_secs_f64(self.ramp.due_seconds(self.due)).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn within(schedule: Schedule, seconds: u64) -> usize {
        schedule
            .take_while(|at| *at <= Duration::from_secs(seconds))
            .count()
    }

    #[test]
    fn constant_gaps_give_the_exact_count() {
        let schedule = Schedule::new(Ramp::steady(200.0), Arrivals::Constant, 1);
        assert_eq!(within(schedule.clone(), 60), 12_000);
        assert_eq!(schedule.into_iter().next(), Some(Duration::from_millis(5)));
    }

    #[test]
    fn a_poisson_count_has_its_mean_and_its_spread() {
        let counts: Vec<f64> = (0..200)
            .map(|seed| within(Schedule::new(Ramp::steady(50.0), Arrivals::Poisson, seed), 20) as f64)
            .collect();
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / counts.len() as f64;
        // Mean and variance are 1000; four standard errors are 9 and 400.
        assert!((mean - 1000.0).abs() < 9.0, "{mean}");
        assert!((variance - 1000.0).abs() < 400.0, "{variance}");
    }

    #[test]
    fn a_ramp_sends_the_area_under_it() {
        let ramp: Ramp = "10:110:10s".parse().unwrap();
        let schedule = Schedule::new(ramp, Arrivals::Constant, 1);
        assert_eq!(within(schedule.clone(), 10), 600);
        assert_eq!(within(schedule, 20), 600 + 1100);
    }

    #[test]
    fn other_texts_are_no_ramp() {
        for text in ["", "1:2", "0:10:5s", "1:2:x", "1:2:3s:4"] {
            assert!(text.parse::<Ramp>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_never_go_back(from in 0.1_f64..500.0, to in 0.1_f64..500.0, over_ms in 0_u64..60_000, seed: u64, poisson: bool) {
            let ramp = Ramp { from_per_second: from, to_per_second: to, over: Duration::from_millis(over_ms) };
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Constant };
            let times: Vec<Duration> = Schedule::new(ramp, arrivals, seed).take(500).collect();
            prop_assert!(times.is_sorted());
        }

        #[test]
        fn the_inverse_undoes_the_area(from in 0.1_f64..500.0, to in 0.1_f64..500.0, over_ms in 1_u64..60_000, count in 0.0_f64..10_000.0) {
            let ramp = Ramp { from_per_second: from, to_per_second: to, over: Duration::from_millis(over_ms) };
            let (t, over) = (ramp.due_seconds(count), ramp.over.as_secs_f64());
            let inside = t.min(over);
            let area = from * inside + (to - from) / over * inside * inside / 2.0 + to * (t - over).max(0.0);
            prop_assert!((area - count).abs() < 1e-6 * count.max(1.0), "{area} for {count}");
        }
    }
}
