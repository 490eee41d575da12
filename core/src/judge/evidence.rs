//! The tests of a run, each fed the same blocks.

use serde::{Deserialize, Serialize};

use super::Claim;
use super::arm::{Arm, Trials};
use super::exceedance::{self, Exceedance, slower};
use super::floor_bet::{self, FloorBet};
use super::logs::{geometric, log_mean_exp};
use super::mean_bet::{self, MeanBet};
use super::mean_ratio::{self, Arranged, MeanPrior, MeanRatio};
use super::settings::{Distribution, Quality, Settings, Tuning};
use super::two_arm::{Design, Null, Reference, TwoArm, TwoArmState};
use super::verdict::Question;

/// Every test that the settings ask for.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    errors: Pair<TwoArm>,
    floor: Option<FloorBet>,
    latency: Pair<MeanRatio>,
    /// Whether the canary is slower than stable at all: the guard of the absolute limit.
    guard: MeanRatio,
    guarded: bool,
    mean: Pair<MeanBet>,
    /// Whether the mean is above what is negligible: below, no comparison with stable matters.
    negligible: Option<Pair<MeanBet>>,
    distribution: Option<Tail>,
    quality: Option<Pair<TwoArm>>,
}

/// One question, asked from both sides.
#[derive(Clone, Debug)]
struct Pair<T> {
    worse: T,
    not_worse: T,
}

#[derive(Clone, Debug)]
struct Tail {
    worse: Exceedance,
    not_worse: TwoArm,
    first_slow: usize,
}

/// What every test remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    errors: [TwoArmState; 2],
    floor: Option<floor_bet::State>,
    latency: [mean_ratio::State; 2],
    guard: mean_ratio::State,
    mean: [mean_bet::State; 2],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    negligible: Option<[mean_bet::State; 2]>,
    distribution: Option<(exceedance::State, TwoArmState)>,
    quality: Option<[TwoArmState; 2]>,
}

/// Log effects of the lean ratio test: × 1.35 to × 15, each 1.7 times as strong as the one before.
fn lean_effects() -> Vec<f64> {
    geometric(0.3, 2.7, 5)
}

/// Effects of a lean test for "not worse": a quarter of what the margin allows, and nothing of it. Both earn nearly the
/// same of a canary that is like stable, so that the mixture costs little.
fn within(margin: f64) -> Vec<f64> {
    vec![margin * 0.75, margin]
}

fn error_designs(settings: &Settings) -> [Design; 2] {
    let errors = &settings.errors;
    let worse = Design::new(Null::Ratio(errors.ratio), Claim::Worse);
    let not_worse = Design::new(Null::Difference(errors.margin), Claim::NotWorse);
    tuned(
        settings,
        match settings.tuning {
            Tuning::Wide => [worse, not_worse],
            Tuning::Lean => [
                worse.betting_on(lean_effects()),
                not_worse.betting_on(within(errors.margin)),
            ],
        },
    )
}

fn tuned(settings: &Settings, designs: [Design; 2]) -> [Design; 2] {
    designs.map(|design| {
        let design = design.clipped(settings.clip);
        match settings.tuning {
            Tuning::Wide => design.tempered(Reference::Remembered),
            Tuning::Lean => design.tempered(Reference::Neighbours).carrying(),
        }
    })
}

fn quality_designs(quality: &Quality, settings: &Settings) -> [Design; 2] {
    let designs = [
        Design::new(Null::Difference(quality.tolerance), Claim::Worse),
        Design::new(Null::Difference(quality.margin), Claim::NotWorse),
    ];
    tuned(settings, designs.map(|design| design.expecting(0.5, 2.0)))
}

fn objective_design(judged: &Distribution, clip: f64) -> Design {
    // Effects as parts of the margin: "no worse at all" is the largest that a share near 0 allows.
    let effects = [0.2, 0.4, 0.8, 1.0].map(|part| part * judged.margin);
    Design::new(Null::Difference(judged.margin), Claim::NotWorse)
        .betting_on(effects.to_vec())
        .expecting(0.1, 20.0)
        .clipped(clip)
}

impl Evidence {
    /// Tests that have seen nothing.
    pub(super) fn new(settings: &Settings) -> Self {
        let (clip, cap) = (settings.clip, settings.cap_seconds);
        let [errors_worse, errors_not_worse] = error_designs(settings).map(TwoArm::new);
        let ratio = |ratio, claim| {
            let wide = MeanRatio::new(ratio, claim, cap, clip, MeanPrior::default());
            match settings.tuning {
                Tuning::Wide => wide,
                Tuning::Lean => wide.lean(),
            }
        };
        let mean_at = |limit, claim| match settings.tuning {
            Tuning::Wide => MeanBet::new(limit, claim, cap),
            Tuning::Lean => MeanBet::lean(limit, claim, cap),
        };
        let mean = |claim| mean_at(settings.latency.limit_seconds, claim);
        Self {
            errors: Pair {
                worse: errors_worse,
                not_worse: errors_not_worse,
            },
            floor: settings.errors.floor.map(|floor| FloorBet::new(floor, clip)),
            latency: Pair {
                worse: ratio(settings.latency.ratio, Claim::Worse),
                not_worse: ratio(settings.latency.ratio, Claim::NotWorse),
            },
            guard: ratio(1.0, Claim::Worse),
            guarded: settings.latency.guarded,
            mean: Pair {
                worse: mean(Claim::Worse),
                not_worse: mean(Claim::NotWorse),
            },
            negligible: settings.latency.negligible_seconds.map(|limit| Pair {
                worse: mean_at(limit, Claim::Worse),
                not_worse: mean_at(limit, Claim::NotWorse),
            }),
            distribution: settings.distribution.as_ref().and_then(|judged| {
                let (edges, tolerance) = (&judged.edges, judged.tolerance);
                Some(Tail {
                    worse: Exceedance::new(&settings.layout, edges, tolerance, Claim::Worse, clip),
                    not_worse: TwoArm::new(objective_design(judged, clip)),
                    first_slow: settings.layout.bucket_above(judged.objective_seconds)?,
                })
            }),
            quality: settings.quality.as_ref().map(|judged| {
                let [worse, not_worse] = quality_designs(judged, settings).map(TwoArm::new);
                Pair { worse, not_worse }
            }),
        }
    }

    /// First bucket above the objective, where one is judged.
    pub(super) fn first_slow(&self) -> Option<usize> {
        self.distribution.as_ref().map(|tail| tail.first_slow)
    }

    /// Takes a block of stable alone, from before the release or during the canary's warm-up.
    pub(super) fn expect(&mut self, stable: &Arm) {
        self.errors.worse.expect(stable.requests);
        self.errors.not_worse.expect(stable.requests);
        for test in [
            &mut self.latency.worse,
            &mut self.latency.not_worse,
            &mut self.guard,
        ] {
            test.expect(&stable.latencies);
        }
        if let Some(tail) = &mut self.distribution {
            let arm = (&stable.latencies, stable.requests.bad);
            tail.worse.expect(arm);
            tail.not_worse.expect(against_objective(stable, tail.first_slow));
        }
        if let (Some(pair), Some(outcomes)) = (&mut self.quality, stable.quality) {
            pair.worse.expect(outcomes);
            pair.not_worse.expect(outcomes);
        }
    }

    /// Takes a block of both arms.
    pub(super) fn update(&mut self, settings: &Settings, canary: &Arm, stable: &Arm) {
        self.errors.worse.update(canary.requests, stable.requests);
        self.errors.not_worse.update(canary.requests, stable.requests);
        if let Some(floor) = &mut self.floor {
            floor.update(canary.requests);
        }
        let arranged = Arranged::new(
            &settings.layout,
            settings.cap_seconds,
            &canary.latencies,
            &stable.latencies,
        );
        for test in [
            &mut self.latency.worse,
            &mut self.latency.not_worse,
            &mut self.guard,
        ] {
            test.update_arranged(&arranged);
        }
        for pair in std::iter::once(&mut self.mean).chain(&mut self.negligible) {
            pair.worse.update_arranged(&arranged.canary_rising);
            pair.not_worse.update_arranged(&arranged.canary_falling);
        }
        if let Some(tail) = &mut self.distribution {
            tail.worse.update(
                (&canary.latencies, canary.requests.bad),
                (&stable.latencies, stable.requests.bad),
            );
            tail.not_worse.update(
                against_objective(canary, tail.first_slow),
                against_objective(stable, tail.first_slow),
            );
        }
        if let Some(pair) = &mut self.quality {
            let outcomes = |arm: &Arm| arm.quality.unwrap_or_default();
            pair.worse.update(outcomes(canary), outcomes(stable));
            pair.not_worse.update(outcomes(canary), outcomes(stable));
        }
    }

    /// Log evidence that the canary is worse, by question, in their order.
    pub(super) fn for_abort(&self) -> Vec<(Question, f64)> {
        let errors = self.errors.worse.log_e();
        let floor = self.floor.as_ref().map_or(f64::INFINITY, FloorBet::log_e);
        let mean = self.mean.worse.log_e();
        let guard = if self.guarded {
            self.guard.log_e()
        } else {
            f64::INFINITY
        };
        let tail = self.distribution.as_ref().map(|tail| tail.worse.log_e());
        let quality = self.quality.as_ref().map(|pair| pair.worse.log_e());
        // Slower than stable, and by that more than negligible: evidence against a union of nulls is the smaller one.
        let matters = self
            .negligible
            .as_ref()
            .map_or(f64::INFINITY, |pair| pair.worse.log_e());
        let latency = self.latency.worse.log_e().min(matters);
        in_order(tail, [errors.min(floor), latency, mean.min(guard)], quality)
    }

    /// Log evidence that it is not, by question, in their order.
    pub(super) fn for_promote(&self) -> Vec<(Question, f64)> {
        let tail = self.distribution.as_ref().map(|tail| tail.not_worse.log_e());
        let quality = self.quality.as_ref().map(|pair| pair.not_worse.log_e());
        // Either will do, so the null is that neither holds: any average of evidence against one of them is evidence.
        let compared = self.latency.not_worse.log_e();
        let latency = self
            .negligible
            .as_ref()
            .map_or(compared, |pair| log_mean_exp(&[compared, pair.not_worse.log_e()]));
        let always = [
            self.errors.not_worse.log_e(),
            latency,
            self.mean.not_worse.log_e(),
        ];
        in_order(tail, always, quality)
    }

    pub(super) fn state(&self) -> State {
        State {
            errors: [
                self.errors.worse.state().clone(),
                self.errors.not_worse.state().clone(),
            ],
            floor: self.floor.as_ref().map(|floor| floor.state().clone()),
            latency: [
                self.latency.worse.state().clone(),
                self.latency.not_worse.state().clone(),
            ],
            guard: self.guard.state().clone(),
            mean: [
                self.mean.worse.state().clone(),
                self.mean.not_worse.state().clone(),
            ],
            negligible: self
                .negligible
                .as_ref()
                .map(|pair| [pair.worse.state().clone(), pair.not_worse.state().clone()]),
            distribution: self
                .distribution
                .as_ref()
                .map(|tail| (tail.worse.state(), tail.not_worse.state().clone())),
            quality: self
                .quality
                .as_ref()
                .map(|pair| [pair.worse.state().clone(), pair.not_worse.state().clone()]),
        }
    }

    /// The tests at `state`. Errors when it was taken under other settings.
    pub(super) fn resume(settings: &Settings, state: State) -> Result<Self, OtherSettings> {
        let fresh = Self::new(settings);
        let clip = settings.clip;
        let [latency_worse, latency_not_worse] = state.latency;
        let [mean_worse, mean_not_worse] = state.mean;
        Ok(Self {
            errors: resume_pair(error_designs(settings), state.errors).ok_or(OtherSettings)?,
            floor: both(fresh.floor, state.floor, FloorBet::resume)?,
            latency: Pair {
                worse: fresh.latency.worse.resume(latency_worse).ok_or(OtherSettings)?,
                not_worse: fresh
                    .latency
                    .not_worse
                    .resume(latency_not_worse)
                    .ok_or(OtherSettings)?,
            },
            guard: fresh.guard.resume(state.guard).ok_or(OtherSettings)?,
            guarded: fresh.guarded,
            mean: Pair {
                worse: fresh.mean.worse.resume(mean_worse).ok_or(OtherSettings)?,
                not_worse: fresh.mean.not_worse.resume(mean_not_worse).ok_or(OtherSettings)?,
            },
            negligible: both(fresh.negligible, state.negligible, |pair, [worse, not_worse]| {
                Some(Pair {
                    worse: pair.worse.resume(worse)?,
                    not_worse: pair.not_worse.resume(not_worse)?,
                })
            })?,
            distribution: both(
                fresh.distribution.zip(settings.distribution.as_ref()),
                state.distribution,
                |(tail, judged), (worse, not_worse)| {
                    Some(Tail {
                        worse: tail.worse.resume(worse, judged.tolerance, Claim::Worse, clip)?,
                        not_worse: TwoArm::resume(objective_design(judged, clip), not_worse)?,
                        first_slow: tail.first_slow,
                    })
                },
            )?,
            quality: both(settings.quality.as_ref(), state.quality, |judged, states| {
                resume_pair(quality_designs(judged, settings), states)
            })?,
        })
    }
}

/// A state that was taken under other settings.
#[derive(Debug)]
pub(super) struct OtherSettings;

fn resume_pair(
    [for_worse, for_not_worse]: [Design; 2],
    [worse, not_worse]: [TwoArmState; 2],
) -> Option<Pair<TwoArm>> {
    Some(Pair {
        worse: TwoArm::resume(for_worse, worse)?,
        not_worse: TwoArm::resume(for_not_worse, not_worse)?,
    })
}

/// Resumes what is both asked for and remembered. Errors when only one of the two is there.
fn both<T, S, R>(
    fresh: Option<T>,
    state: Option<S>,
    resume: impl FnOnce(T, S) -> Option<R>,
) -> Result<Option<R>, OtherSettings> {
    match (fresh, state) {
        (Some(fresh), Some(state)) => resume(fresh, state).map(Some).ok_or(OtherSettings),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => Err(OtherSettings),
    }
}

fn in_order(
    tail: Option<f64>,
    [errors, latency, mean]: [f64; 3],
    quality: Option<f64>,
) -> Vec<(Question, f64)> {
    tail.map(|log_e| (Question::Distribution, log_e))
        .into_iter()
        .chain([
            (Question::Errors, errors),
            (Question::Latency, latency),
            (Question::Mean, mean),
        ])
        .chain(quality.map(|log_e| (Question::Quality, log_e)))
        .collect()
}

fn against_objective(arm: &Arm, first_slow: usize) -> Trials {
    let slow = slower((&arm.latencies, arm.requests.bad), first_slow);
    Trials::new(slow.bad, arm.requests.all)
}
