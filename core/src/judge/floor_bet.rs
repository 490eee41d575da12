//! One rate against a constant: whether errors are frequent enough to matter at all.

use serde::{Deserialize, Serialize};

use super::arm::Trials;
use super::logs::{log_mean_exp, times_ln};
use super::two_arm::effect_grid;

/// Evidence that a rate of bad outcomes is above a floor. Null hypothesis: it is at most the floor.
#[derive(Clone, Debug)]
pub struct FloorBet {
    floor: f64,
    clip: f64,
    alternatives: Vec<f64>,
    state: State,
}

/// What a [`FloorBet`] remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    logs: Vec<f64>,
}

impl FloorBet {
    /// A bet against `floor` (0 to 1); one block adds at most `clip` to the logarithm of each alternative.
    pub fn new(floor: f64, clip: f64) -> Self {
        let alternatives: Vec<f64> = effect_grid()
            .iter()
            .map(|effect| (floor * effect.exp()).clamp(1e-6, 1.0 - 1e-6))
            .collect();
        let state = State {
            logs: vec![0.0; alternatives.len()],
        };
        Self {
            floor,
            clip,
            alternatives,
            state,
        }
    }

    /// Log evidence so far.
    pub fn log_e(&self) -> f64 {
        log_mean_exp(&self.state.logs)
    }

    /// Takes one block and answers the log evidence.
    pub fn update(&mut self, trials: Trials) -> f64 {
        for (log, factor) in self
            .state
            .logs
            .iter_mut()
            .zip(factors(self.floor, &self.alternatives, trials))
        {
            *log += factor.min(self.clip);
        }
        self.log_e()
    }

    /// The log factors that a block would bring to each alternative, unclipped.
    pub fn factors(&self, trials: Trials) -> Vec<f64> {
        factors(self.floor, &self.alternatives, trials).collect()
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn resume(self, state: State) -> Option<Self> {
        (state.logs.len() == self.state.logs.len()).then_some(Self { state, ..self })
    }
}

fn factors(floor: f64, alternatives: &[f64], trials: Trials) -> impl Iterator<Item = f64> {
    let (bad, good) = trials.split();
    alternatives.iter().map(move |rate| {
        if *rate > floor {
            times_ln(bad, rate / floor) + times_ln(good, (1.0 - rate) / (1.0 - floor))
        } else {
            0.0
        }
    })
}
