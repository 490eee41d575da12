//! The mean of the canary against a multiple of stable's mean, from bucket counts and sums.
//!
//! Every canary request is bet on around a pivot, every stable request against it around the pivot's image, in such
//! proportion that on the edge of the null the derivative of the expected log factor is 0 at the pivot. Being concave,
//! it is at most 0 everywhere: any pivot that depends on the past alone is valid, and a load that slows both arms
//! moves the common mean and not the evidence.

use serde::{Deserialize, Serialize};

use super::Claim;
use super::layout::{Histogram, Layout};
use super::logs::{bet_shares, decay, lean_bet_shares, log_mean_exp};
use super::worst::Worst;

/// What is believed of stable's mean before any block, and how fast it is forgotten.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanPrior {
    /// Mean latency, in seconds.
    pub seconds: f64,
    /// Requests that this belief is worth.
    pub requests: f64,
    /// Half-life of what is remembered, in blocks.
    pub halflife_blocks: f64,
}

impl Default for MeanPrior {
    fn default() -> Self {
        Self {
            seconds: 0.25,
            requests: 2.0,
            halflife_blocks: 10.0,
        }
    }
}

/// Evidence about the canary's mean against `ratio` times stable's.
///
/// The arm whose slowness would count against the claim is bounded by the cap, which should be the enforced time
/// limit: stable for "worse", the canary for "not worse".
#[derive(Clone, Debug)]
pub struct MeanRatio {
    ratio: f64,
    claim: Claim,
    cap: f64,
    clip: f64,
    fade: f64,
    shares: Vec<f64>,
    state: State,
}

/// What a [`MeanRatio`] test remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    logs: Vec<f64>,
    seconds: f64,
    requests: f64,
}

/// Both arms of a block, arranged for bets that rise and that fall with the latency.
pub(super) struct Arranged {
    pub(super) canary_rising: Worst,
    pub(super) canary_falling: Worst,
    stable_rising: Worst,
    stable_falling: Worst,
    canary: f64,
    stable: f64,
    stable_seconds: f64,
}

impl Arranged {
    pub(super) fn new(layout: &Layout, cap: f64, canary: &Histogram, stable: &Histogram) -> Self {
        Self {
            canary_rising: Worst::for_rising(layout, canary),
            canary_falling: Worst::for_falling(layout, cap, canary),
            stable_rising: Worst::for_rising(layout, stable),
            stable_falling: Worst::for_falling(layout, cap, stable),
            canary: canary.count() as f64,
            stable: stable.count() as f64,
            stable_seconds: stable.seconds(),
        }
    }
}

impl MeanRatio {
    /// A test against `ratio`, with latencies of at most `cap` seconds; one block adds at most `clip` to a bet.
    pub fn new(ratio: f64, claim: Claim, cap: f64, clip: f64, prior: MeanPrior) -> Self {
        let shares = bet_shares();
        let state = State {
            logs: vec![0.0; shares.len()],
            seconds: prior.seconds * prior.requests,
            requests: prior.requests,
        };
        let fade = decay(prior.halflife_blocks);
        Self {
            ratio,
            claim,
            cap,
            clip,
            fade,
            shares,
            state,
        }
    }

    /// The same with half as many bets, which a test that has seen nothing can still be given.
    pub(super) fn lean(self) -> Self {
        let shares = lean_bet_shares();
        Self {
            state: State {
                logs: vec![0.0; shares.len()],
                ..self.state
            },
            shares,
            ..self
        }
    }

    /// Log evidence so far.
    pub fn log_e(&self) -> f64 {
        log_mean_exp(&self.state.logs)
    }

    /// Log wealth of each bet.
    pub fn logs(&self) -> &[f64] {
        &self.state.logs
    }

    /// What is remembered of stable, faded: seconds and requests.
    pub fn expected(&self) -> (f64, f64) {
        (self.state.seconds, self.state.requests)
    }

    /// Takes one block of both arms and answers the log evidence. A block with an empty arm is no evidence.
    pub fn update(&mut self, layout: &Layout, canary: &Histogram, stable: &Histogram) -> f64 {
        self.update_arranged(&Arranged::new(layout, self.cap, canary, stable))
    }

    /// As [`Self::update`], with the arrangement of the block that several tests share.
    pub(super) fn update_arranged(&mut self, block: &Arranged) -> f64 {
        if block.canary > 0.0 && block.stable > 0.0 {
            let (ratio, cap) = (self.ratio, self.cap);
            let pivot = (ratio * self.state.seconds / self.state.requests).clamp(1e-4 * cap, 0.9 * cap);
            let image = pivot / ratio;
            let odds = ratio * block.canary / block.stable;
            let largest = match self.claim {
                Claim::Worse => (1.0 / pivot).min(1.0 / (odds * (cap - image))),
                Claim::NotWorse => (1.0 / (cap - pivot)).min(ratio / (odds * pivot)),
            };
            for (log, share) in self.state.logs.iter_mut().zip(&self.shares) {
                let bet = share * largest;
                let factor = match self.claim {
                    Claim::Worse => {
                        block.canary_rising.log_wealth(bet, pivot)
                            + block.stable_falling.log_wealth(-bet * odds, image)
                    }
                    Claim::NotWorse => {
                        block.canary_falling.log_wealth(-bet, pivot)
                            + block.stable_rising.log_wealth(bet * odds, image)
                    }
                };
                *log += factor.min(self.clip);
            }
        }
        self.remember(block.stable, block.stable_seconds);
        self.log_e()
    }

    /// Takes a block of stable alone: it shapes the pivot only.
    pub fn expect(&mut self, stable: &Histogram) {
        self.remember(stable.count() as f64, stable.seconds());
    }

    fn remember(&mut self, requests: f64, seconds: f64) {
        if requests > 0.0 {
            self.state.seconds = self.state.seconds * self.fade + seconds;
            self.state.requests = self.state.requests * self.fade + requests;
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn resume(self, state: State) -> Option<Self> {
        (state.logs.len() == self.state.logs.len()).then_some(Self { state, ..self })
    }
}
