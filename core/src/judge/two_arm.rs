//! Rates of bad outcomes in two arms: an exact e-process over blocks of a 2 × 2 table.
//!
//! Source: Turner, Ly, Grünwald, arXiv 2106.02693: the e-variable of one block against equal rates. Extended to the
//! convex nulls "at most R times" and "at most d more" by projecting the alternative on the null in Kullback-Leibler
//! divergence; first-order optimality of the projection bounds the expected factor by 1 on the whole null.
//! `docs/explanation/judgement.md` has the argument.

use serde::{Deserialize, Serialize};

use super::Claim;
use super::arm::Trials;
use super::logs::{decay, geometric, log_mean_exp, times_ln};

/// Projections stay this far from 0 and 1.
const PROJECTION_MARGIN: f64 = 1e-9;
/// Alternatives stay this far from 0 and 1.
const ALTERNATIVE_MARGIN: f64 = 1e-6;
/// Blocks of stable that are seen before its dispersion is measured: the rate has to settle first.
const SETTLING_BLOCKS: u64 = 5;
/// Weight of measured blocks from which the dispersion is believed.
const DISPERSION_WEIGHT: f64 = 20.0;
/// Half-life of the neighbours of a block, in blocks: long enough to hold some errors, short beside a drift of load.
const NEIGHBOURS_HALFLIFE: f64 = 1.0;

/// What the rates are compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Null {
    /// The canary's rate and this many times stable's.
    Ratio(f64),
    /// The canary's rate and stable's plus this.
    Difference(f64),
}

/// Two rates, of the canary and of stable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// The canary's.
    pub canary: f64,
    /// Stable's.
    pub stable: f64,
}

/// How the dispersion of stable's blocks is measured, which tempers the evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temper {
    /// Half-life of what was measured, in blocks.
    pub halflife_blocks: f64,
    /// What each block is compared with.
    pub against: Reference,
}

/// What a block of stable is compared with, to tell bursts from chance. Any choice keeps the guarantee: it looks at
/// the past alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reference {
    /// The rate as the test remembers it. A load that drifts for longer than that passes for bursts, though both arms
    /// share it, and evidence is thrown away; so does the first error after hours without any.
    #[default]
    Remembered,
    /// The blocks just before, by the chi-squared of a table of two rows: only what jumps from block to block counts.
    /// A test for "not worse" goes over, once it knows enough blocks, to how wildly the canary's part in the bad
    /// outcomes of both arms jumps: that holds the canary's bursts too, and nothing that both arms share.
    Neighbours,
}

/// How a [`TwoArm`] test is built. Frozen for its life.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    /// The edge of the null hypothesis.
    pub null: Null,
    /// What the evidence speaks for.
    pub claim: Claim,
    /// Effects that share the bet equally, all positive: log ratios beyond the null, or differences beyond it.
    pub grid: Vec<f64>,
    /// Half-life of what is remembered of stable, in blocks.
    pub halflife_blocks: f64,
    /// Stable's rate as it is believed before any block.
    pub prior_rate: f64,
    /// Requests that this belief is worth.
    pub prior_requests: f64,
    /// How the evidence is tempered; none leaves it as it is.
    ///
    /// Bursts and retries inside a block make counts wilder than chance; the log factor is divided by how much.
    pub temper: Option<Temper>,
    /// Most that one block may add to one bet, as a logarithm; infinite leaves it as it is.
    pub clip: f64,
    /// What becomes of the rest.
    pub excess: Excess,
}

/// What becomes of evidence beyond the clip. Either way a bet is never worth more than it would be without a clip, so
/// the guarantee stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Excess {
    /// It is gone: a fault that is plain in one block and less so in the next is told later.
    #[default]
    Dropped,
    /// It tops up the next blocks, as long as each of them speaks for the claim by itself; at most one clip's worth. A
    /// burst between two clean blocks adds one clip and no more.
    Carried,
}

impl Design {
    /// A test with the usual settings: effects by the kind of null, half-life 10 blocks, a prior rate of 1 % worth 50
    /// requests, no tempering, no clip.
    pub fn new(null: Null, claim: Claim) -> Self {
        let grid = match null {
            Null::Ratio(_) => effect_grid(),
            Null::Difference(_) => vec![0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32],
        };
        Self {
            null,
            claim,
            grid,
            halflife_blocks: 10.0,
            prior_rate: 0.01,
            prior_requests: 50.0,
            temper: None,
            clip: f64::INFINITY,
            excess: Excess::Dropped,
        }
    }

    /// The same with tempering by a dispersion of half-life 60 blocks.
    #[must_use]
    pub fn tempered(self, against: Reference) -> Self {
        Self {
            temper: Some(Temper {
                halflife_blocks: 60.0,
                against,
            }),
            ..self
        }
    }

    /// The same with a clip.
    #[must_use]
    pub fn clipped(self, clip: f64) -> Self {
        Self { clip, ..self }
    }

    /// The same with what is beyond the clip carried on.
    #[must_use]
    pub fn carrying(self) -> Self {
        Self {
            excess: Excess::Carried,
            ..self
        }
    }

    /// The same with another belief about stable's rate.
    #[must_use]
    pub fn expecting(self, prior_rate: f64, prior_requests: f64) -> Self {
        Self {
            prior_rate,
            prior_requests,
            ..self
        }
    }

    /// The same with other effects.
    #[must_use]
    pub fn betting_on(self, grid: Vec<f64>) -> Self {
        Self { grid, ..self }
    }
}

/// Log effects of the ratio tests: 24 from 0.05 (× 1.05) to 3.9 (× 49).
pub fn effect_grid() -> Vec<f64> {
    geometric(0.05, 3.9, 24)
}

impl Null {
    /// The point of the null nearest to `alternative`, by the divergence of `canary` and `stable` outcomes.
    ///
    /// It lies on the edge of the null. Ratio: the smaller root of a quadratic, in the form that does not cancel.
    /// Difference: the root of the derivative, which falls; Newton steps inside a shrinking bracket.
    pub fn project(self, alternative: Rates, canary: f64, stable: f64) -> Rates {
        match self {
            Self::Ratio(ratio) => project_on_ratio(ratio, alternative, canary, stable),
            Self::Difference(difference) => project_on_difference(difference, alternative, canary, stable),
        }
    }

    /// The alternative at `effect` beyond the null, given stable's rate; none where clipping puts it on the null.
    fn alternative(self, claim: Claim, effect: f64, stable: f64) -> Option<Rates> {
        let step = claim.sign() * effect;
        let (edge, canary) = match self {
            Self::Ratio(ratio) => (ratio * stable, ratio * step.exp() * stable),
            Self::Difference(difference) => (stable + difference, stable + difference + step),
        };
        let canary = inside(canary, ALTERNATIVE_MARGIN);
        let beyond = match claim {
            Claim::Worse => canary > edge,
            Claim::NotWorse => canary < edge,
        };
        beyond.then_some(Rates { canary, stable })
    }
}

fn inside(rate: f64, margin: f64) -> f64 {
    rate.clamp(margin, 1.0 - margin)
}

fn project_on_ratio(ratio: f64, alternative: Rates, canary: f64, stable: f64) -> Rates {
    let bad = canary * alternative.canary + stable * alternative.stable;
    let good_canary = canary * (1.0 - alternative.canary);
    let good_stable = stable * (1.0 - alternative.stable);
    let a = ratio * (bad + good_canary + good_stable);
    let b = bad * (1.0 + ratio) + good_canary * ratio + good_stable;
    let root = 2.0 * bad / (b + (b * b - 4.0 * a * bad).max(0.0).sqrt());
    let highest = (1.0 / ratio).min(1.0);
    let rate = root.clamp(PROJECTION_MARGIN, highest * (1.0 - PROJECTION_MARGIN));
    Rates {
        canary: ratio * rate,
        stable: rate,
    }
}

fn project_on_difference(difference: f64, alternative: Rates, canary: f64, stable: f64) -> Rates {
    // Slope of the divergence along the edge, and the slope's own slope.
    let slope = |rate: f64| {
        let shifted = rate + difference;
        let (v, w) = (shifted * (1.0 - shifted), rate * (1.0 - rate));
        let (e, f) = (alternative.canary - shifted, alternative.stable - rate);
        let value = canary * e / v + stable * f / w;
        let derivative = -canary * (v + e * (1.0 - 2.0 * shifted)) / (v * v)
            - stable * (w + f * (1.0 - 2.0 * rate)) / (w * w);
        (value, derivative)
    };
    let mut low = (-difference).max(0.0) + PROJECTION_MARGIN;
    let mut high = (1.0 - difference).min(1.0) - PROJECTION_MARGIN;
    let mut rate = inside(alternative.stable, ALTERNATIVE_MARGIN).clamp(low, high);
    // Bisection alone would need 60 rounds; Newton reaches the last bit in a handful and falls back to bisection.
    for _ in 0..100 {
        let (value, derivative) = slope(rate);
        if value > 0.0 {
            low = rate;
        } else {
            high = rate;
        }
        let newton = rate - value / derivative;
        let next = if newton > low && newton < high {
            newton
        } else {
            f64::midpoint(low, high)
        };
        if next == rate || (next - rate).abs() <= f64::EPSILON * rate {
            rate = next;
            break;
        }
        rate = next;
    }
    Rates {
        canary: rate + difference,
        stable: rate,
    }
}

/// Evidence about the rates of bad outcomes in two arms.
///
/// One block's factor: a mixture over fixed effects of the likelihood ratio between an alternative, which depends on
/// earlier blocks of stable alone, and its projection on the null. Rates may differ between blocks.
#[derive(Clone, Debug)]
pub struct TwoArm {
    design: Design,
    state: TwoArmState,
}

/// What a [`TwoArm`] test remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TwoArmState {
    /// Log wealth of each effect.
    pub logs: Vec<f64>,
    /// What each effect's bet has beyond the clip.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carried: Vec<f64>,
    /// Stable's bad outcomes, faded.
    pub bad: f64,
    /// Stable's outcomes, faded.
    pub all: f64,
    /// Squared surprises of stable's blocks, faded.
    pub surprise: f64,
    /// Number of these blocks, faded.
    pub weight: f64,
    /// Blocks of stable seen.
    pub blocks: u64,
    /// Stable's last blocks, faded quickly.
    #[serde(default, skip_serializing_if = "Neighbours::is_empty")]
    pub neighbours: Neighbours,
    /// How the arms compared, block by block.
    #[serde(default, skip_serializing_if = "Compared::is_empty")]
    pub compared: Compared,
}

/// The canary's part in the bad outcomes of both arms, block by block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Bad outcomes and all outcomes of the canary, then of stable, faded.
    pub outcomes: [f64; 4],
    /// Squared surprises, faded.
    pub surprise: f64,
    /// Number of blocks with a bad outcome, faded.
    pub weight: f64,
}

impl Compared {
    fn is_empty(&self) -> bool {
        self.outcomes == [0.0; 4]
    }

    /// Takes a block: given how many failed in both arms together, those of the canary are binomial. So whatever
    /// moves both arms, a load or an outage behind them, drops out.
    fn take(&mut self, canary: Trials, stable: Trials, temper: Temper, halflife: f64) {
        let [bad, all, bad_stable, all_stable] = &mut self.outcomes;
        let both = (canary.bad + stable.bad) as f64;
        if both > 0.0 && *all > 0.0 && *all_stable > 0.0 {
            // Half an event more, so that no rate is 0.
            let expected = canary.all as f64 * (*bad + 0.5) / (*all + 1.0);
            let expected_stable = stable.all as f64 * (*bad_stable + 0.5) / (*all_stable + 1.0);
            let part = expected / (expected + expected_stable);
            let fade = decay(temper.halflife_blocks);
            self.surprise = self.surprise * fade
                + (canary.bad as f64 - both * part).powi(2) / (both * part * (1.0 - part));
            self.weight = self.weight * fade + 1.0;
        }
        let fade = decay(halflife);
        for (sum, count) in [bad, all, bad_stable, all_stable]
            .into_iter()
            .zip([canary.bad, canary.all, stable.bad, stable.all])
        {
            *sum = *sum * fade + count as f64;
        }
    }
}

/// The blocks just before the next one, weighted by their distance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Neighbours {
    /// Bad outcomes.
    pub bad: f64,
    /// Outcomes.
    pub all: f64,
    /// Outcomes by the square of their weight: what the variance of the rate grows with.
    pub squared: f64,
}

impl Neighbours {
    fn is_empty(&self) -> bool {
        self.all == 0.0
    }

    /// How surprising a block is beside them, squared: about 1 by chance. The variance is that of the pooled rate, so
    /// that a single error after none is no wonder.
    fn surprise(&self, bad: f64, all: f64) -> f64 {
        let rate = self.bad / self.all;
        let pooled = (self.bad + bad) / (self.all + all);
        let variance = pooled * (1.0 - pooled) * all * (1.0 + all * self.squared / (self.all * self.all));
        // Where nothing failed, or everything, the difference is 0 too.
        (bad - rate * all).powi(2) / variance.max(1e-9)
    }

    fn take(&mut self, bad: f64, all: f64) {
        let fade = decay(NEIGHBOURS_HALFLIFE);
        self.bad = self.bad * fade + bad;
        self.all = self.all * fade + all;
        self.squared = self.squared * fade * fade + all;
    }
}

impl TwoArm {
    /// A test that has seen nothing.
    pub fn new(design: Design) -> Self {
        let state = TwoArmState {
            logs: vec![0.0; design.grid.len()],
            carried: match design.excess {
                Excess::Dropped => Vec::new(),
                Excess::Carried => vec![0.0; design.grid.len()],
            },
            bad: design.prior_rate * design.prior_requests,
            all: design.prior_requests,
            surprise: 0.0,
            weight: 0.0,
            blocks: 0,
            neighbours: Neighbours::default(),
            compared: Compared::default(),
        };
        Self { design, state }
    }

    /// Log evidence so far.
    pub fn log_e(&self) -> f64 {
        log_mean_exp(&self.state.logs)
    }

    /// How much wilder than chance blocks are: what divides the next block's log factor, at least 1.
    pub fn dispersion(&self) -> f64 {
        let state = &self.state;
        let measured = [
            (state.compared.surprise, state.compared.weight),
            (state.surprise, state.weight),
        ];
        let believed = measured
            .into_iter()
            .find(|(_, weight)| *weight > DISPERSION_WEIGHT);
        let chance = |weight: f64| match self.design.temper.map(|temper| temper.against) {
            // A mean of so many squared surprises is off by this much where there are no bursts at all.
            Some(Reference::Neighbours) => (2.0 / weight).sqrt(),
            Some(Reference::Remembered) | None => 0.0,
        };
        believed.map_or(1.0, |(surprise, weight)| {
            (surprise / weight - chance(weight)).max(1.0)
        })
    }

    /// Takes one block of both arms and answers the log evidence. A block with an empty arm is no evidence.
    pub fn update(&mut self, canary: Trials, stable: Trials) -> f64 {
        if canary.all > 0 && stable.all > 0 {
            let dispersion = self.dispersion();
            let rate = inside(self.state.bad / self.state.all, ALTERNATIVE_MARGIN);
            let (design, state) = (&self.design, &mut self.state);
            for (bet, (log, effect)) in state.logs.iter_mut().zip(&design.grid).enumerate() {
                if let Some(alternative) = design.null.alternative(design.claim, *effect, rate) {
                    let factor = log_factor(design.null, alternative, canary, stable) / dispersion;
                    *log += match state.carried.get_mut(bet) {
                        None => factor.min(design.clip),
                        Some(carried) => topped_up(factor, carried, design.clip),
                    };
                }
            }
            // A canary that turns bad is no burst: evidence that it is worse must not be tempered by itself.
            if let Some(temper) = self.design.temper
                && temper.against == Reference::Neighbours
                && self.design.claim == Claim::NotWorse
            {
                let halflife = self.design.halflife_blocks;
                self.state.compared.take(canary, stable, temper, halflife);
            }
        }
        self.expect(stable);
        self.log_e()
    }

    /// Takes a block of stable alone, from before the release or its warm-up: it shapes the alternatives only.
    pub fn expect(&mut self, stable: Trials) {
        if stable.all == 0 {
            return;
        }
        let (bad, all) = (stable.bad as f64, stable.all as f64);
        let state = &mut self.state;
        if let Some(temper) = self.design.temper {
            if state.blocks > SETTLING_BLOCKS {
                let surprise = match temper.against {
                    Reference::Remembered => surprise_at(state.bad / state.all, state.all, bad, all),
                    Reference::Neighbours => state.neighbours.surprise(bad, all),
                };
                let fade = decay(temper.halflife_blocks);
                state.surprise = state.surprise * fade + surprise;
                state.weight = state.weight * fade + 1.0;
            }
            if temper.against == Reference::Neighbours {
                state.neighbours.take(bad, all);
            }
        }
        let fade = decay(self.design.halflife_blocks);
        state.bad = state.bad * fade + bad;
        state.all = state.all * fade + all;
        state.blocks = state.blocks.saturating_add(1);
    }

    /// What the test remembers.
    pub fn state(&self) -> &TwoArmState {
        &self.state
    }

    /// The test at `state`; none when `state` is of another design.
    pub(super) fn resume(design: Design, state: TwoArmState) -> Option<Self> {
        let is_of_it = state.logs.len() == design.grid.len()
            && state.carried.is_empty() == (design.excess == Excess::Dropped);
        is_of_it.then_some(Self { design, state })
    }
}

/// What a block adds to a bet that carries on what is beyond `clip`.
fn topped_up(factor: f64, carried: &mut f64, clip: f64) -> f64 {
    if factor <= 0.0 {
        *carried = 0.0;
        return factor;
    }
    let all = factor + *carried;
    let added = all.min(clip);
    *carried = (all - added).min(clip);
    added
}

/// How surprising a block is, squared, beside a rate that is known from `known` outcomes: about 1 by chance.
fn surprise_at(rate: f64, known: f64, bad: f64, all: f64) -> f64 {
    let variance = rate * (1.0 - rate) * all * (1.0 + all / known);
    (bad - rate * all).powi(2) / variance.max(1e-9)
}

/// Log likelihood ratio of one block between `alternative` and its projection on the null.
fn log_factor(null: Null, alternative: Rates, canary: Trials, stable: Trials) -> f64 {
    let nearest = null.project(alternative, canary.all as f64, stable.all as f64);
    let (bad, good) = canary.split();
    let (bad_stable, good_stable) = stable.split();
    times_ln(bad, alternative.canary / nearest.canary)
        + times_ln(good, (1.0 - alternative.canary) / (1.0 - nearest.canary))
        + times_ln(bad_stable, alternative.stable / nearest.stable)
        + times_ln(good_stable, (1.0 - alternative.stable) / (1.0 - nearest.stable))
}
