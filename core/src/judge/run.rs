//! The whole rule: one verdict per block.
//!
//! Order is the specification: an abort comes before a promotion, evidence before the end of the soak, and a missing
//! thing never promotes. Blocks of missing data change the clock of the deadline and nothing else.

use std::collections::VecDeque;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::arm::{Arm, Block, Late, Trials};
use super::cross_check::{Beside, CrossCheck};
use super::evidence::{self, Evidence};
use super::figures::{Figures, Held, Standing};
use super::logs::merge;
use super::settings::{Method, OnInconclusive, OnUnavailable, Settings, SettingsError, Weights};
use super::totals::{Arms, Blocks};
use super::verdict::{
    AbortReason, Condition, Consequence, InconclusiveReason, Kind, Look, PromoteReason, Question, Support,
    Verdict,
};

/// How the canary's pods do, as far as the cluster knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Nothing is known against them.
    #[default]
    Fine,
    /// They did not become ready in time, or crash again and again.
    NotReady,
}

/// One canary on trial, judged block by block.
#[derive(Clone, Debug)]
pub struct Run {
    settings: Settings,
    evidence: Evidence,
    memory: Memory,
}

/// Everything of a run but its settings: what an operator writes down to go on after a restart with equal bits.
///
/// Bounded: a few kilobytes of numbers, however long the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    evidence: evidence::State,
    memory: Memory,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    block: u64,
    blocks: Blocks,
    totals: Arms,
    best_abort: Vec<f64>,
    best_promote: Vec<f64>,
    /// Blocks in a row without data.
    gaps: i32,
    /// Blocks in a row in which only stable was asked.
    without_canary: i32,
    /// Blocks in a row in which only the canary was asked.
    without_stable: i32,
    /// The last blocks with canary traffic: canary and stable.
    failing: VecDeque<(Trials, Trials)>,
    /// The last blocks with traffic in both arms: stable's requests, successes, seconds.
    baseline: VecDeque<(Trials, u64, f64)>,
    #[serde(default)]
    cross_check: CrossCheck,
    #[serde(default, skip_serializing_if = "Figures::is_empty")]
    figures: Figures,
    latest: Option<Look>,
}

impl Run {
    /// A run that has seen nothing. Errors when the settings cannot be judged by.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let evidence = Evidence::new(&settings);
        Ok(Self {
            memory: Memory {
                best_abort: vec![0.0; evidence.for_abort().len()],
                best_promote: vec![0.0; evidence.for_promote().len()],
                ..Memory::default()
            },
            evidence,
            settings,
        })
    }

    /// What to write down.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            evidence: self.evidence.state(),
            memory: self.memory.clone(),
        }
    }

    /// The run at `checkpoint`. Errors when the settings are not those under which it was taken.
    pub fn resume(settings: Settings, checkpoint: Checkpoint) -> Result<Self, SettingsError> {
        settings.check()?;
        let evidence =
            Evidence::resume(&settings, checkpoint.evidence).map_err(|_| SettingsError::Checkpoint)?;
        Ok(Self {
            settings,
            evidence,
            memory: checkpoint.memory,
        })
    }

    /// Takes a block of stable from the hours before the release, oldest first: it shapes the bets, it is no evidence.
    pub fn expect(&mut self, stable: &Arm) {
        self.evidence.expect(stable);
    }

    /// Takes the next block and answers the verdict. After a final verdict nothing changes any more.
    pub fn look(&mut self, block: &Block, late: &Late, beside: &Beside, health: Health) -> Look {
        match &self.memory.latest {
            Some(ended) if ended.verdict.is_final() => ended.clone(),
            _ => self.next(block, late, beside, health, None),
        }
    }

    /// As [`Run::look`], and on after a verdict that leaves the canary its traffic, which waits for a person: what is
    /// shown to be worse meanwhile is withdrawn. The evidence holds at whatever time it is looked at; the verdict
    /// changes in no other way.
    pub fn follow(&mut self, block: &Block, late: &Late, beside: &Beside, health: Health) -> Look {
        match &self.memory.latest {
            Some(ended) if ended.verdict.consequence() == Consequence::RollBack => ended.clone(),
            Some(said) if said.verdict.is_final() => {
                let said = said.verdict;
                self.next(block, late, beside, health, Some(said))
            }
            _ => self.next(block, late, beside, health, None),
        }
    }

    /// Takes the next block. What was said already stands, unless the canary is to be withdrawn.
    fn next(
        &mut self,
        block: &Block,
        late: &Late,
        beside: &Beside,
        health: Health,
        said: Option<Verdict>,
    ) -> Look {
        let kind = self.take(block, late, beside);
        let abort = supports(self.evidence.for_abort(), &mut self.memory.best_abort);
        let promote = supports(self.evidence.for_promote(), &mut self.memory.best_promote);
        let log_e_abort = self.merged(&abort);
        let conditions = self.conditions();
        let verdict = self
            .withdrawal(health, log_e_abort, &abort)
            .or(said)
            .unwrap_or_else(|| self.verdict(kind, &promote, &conditions));
        let look = Look {
            block: self.memory.block,
            kind,
            verdict,
            log_e_abort,
            abort,
            promote,
            conditions,
            figures: self.held(),
            coverage: self.memory.blocks.coverage(),
            soak: self.soak(),
            totals: self.memory.totals,
            blocks: self.memory.blocks,
        };
        self.memory.latest = Some(look.clone());
        look
    }

    /// The latest look; none before the first.
    pub fn latest(&self) -> Option<&Look> {
        self.memory.latest.as_ref()
    }

    /// Whether a step that is not the last may end now, its soak being done: the verdict that the end of the whole
    /// soak would bring on what has been seen so far. `Collecting` where too little was.
    pub fn end_of_step(&self) -> Verdict {
        let conditions = self.conditions();
        if let Some(condition) = conditions.first() {
            return Verdict::Hold(*condition);
        }
        if self.memory.totals.canary.requests.all < self.settings.min_requests {
            return Verdict::Collecting;
        }
        self.end_of_soak(&conditions)
    }

    /// What it is judged by.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn take(&mut self, block: &Block, late: &Late, beside: &Beside) -> Kind {
        let first_slow = self.evidence.first_slow();
        let memory = &mut self.memory;
        memory.block = memory.block.saturating_add(1);
        if let Some(canary) = &late.canary {
            memory.totals.canary.add(canary, first_slow);
        }
        if let Some(stable) = &late.stable {
            memory.totals.stable.add(stable, first_slow);
        }
        let kind = match block {
            Block::Warmup { stable } => {
                if let Some(stable) = stable.as_ref().filter(|stable| stable.requests.all > 0) {
                    self.evidence.expect(stable);
                }
                Kind::Warmup
            }
            Block::Gap => {
                memory.gaps = memory.gaps.saturating_add(1);
                Kind::Gap
            }
            Block::Seen { canary, stable } => {
                memory.gaps = 0;
                memory.notice_traffic(&self.settings, canary, stable);
                memory.cross_check.take(beside, canary, stable);
                self.evidence.update(&self.settings, canary, stable);
                memory.totals.canary.add(canary, first_slow);
                memory.totals.stable.add(stable, first_slow);
                memory.figures.take(&self.settings.figures, &beside.figures);
                if canary.requests.all > 0 {
                    Kind::Evaluated
                } else {
                    Kind::Idle
                }
            }
        };
        self.memory.blocks.add(kind);
        kind
    }

    fn held(&self) -> Vec<Held> {
        let settings = &self.settings;
        self.memory.figures.held(&settings.figures, settings.min_coverage)
    }

    fn any_figure_is(&self, standing: Standing) -> bool {
        self.held().iter().any(|held| held.standing == standing)
    }

    fn soak(&self) -> SignedDuration {
        times(self.settings.block, self.memory.blocks.evaluated)
    }

    /// Evidence for an abort over all questions: their average by weight.
    fn merged(&self, abort: &[Support]) -> f64 {
        let weights = self.weights(abort);
        let parts: Vec<(f64, f64)> = abort.iter().map(|part| part.log_e).zip(weights).collect();
        merge(&parts)
    }

    fn weights(&self, abort: &[Support]) -> Vec<f64> {
        let raw = |part: &Support| self.settings.weights.of(part.question);
        let sum: f64 = abort.iter().map(raw).sum();
        abort.iter().map(|part| raw(part) / sum).collect()
    }

    /// What withdraws a canary at whatever time it shows.
    fn withdrawal(&self, health: Health, log_e_abort: f64, abort: &[Support]) -> Option<Verdict> {
        let settings = &self.settings;
        let is_shown = settings.method == Method::Sequential && log_e_abort >= -settings.alpha_abort.ln();
        let reason = if health == Health::NotReady {
            AbortReason::CanaryNotReady
        } else if self.all_requests_fail() {
            AbortReason::AllRequestsFail
        } else if is_shown {
            AbortReason::Evidence(self.culprit(abort))
        } else {
            return None;
        };
        Some(Verdict::Abort(reason))
    }

    fn verdict(&self, kind: Kind, promote: &[Support], conditions: &[Condition]) -> Verdict {
        let settings = &self.settings;
        let sequential = settings.method == Method::Sequential;
        let enough = self.memory.totals.canary.requests.all >= settings.min_requests;
        let shown = promote
            .iter()
            .all(|part| part.best >= -settings.alpha_promote.ln());
        let long_enough = self.soak() >= settings.min_soak;
        let kept = !self.any_figure_is(Standing::Outside);
        let good = conditions.is_empty() && enough && shown && kept;
        if sequential && kind == Kind::Evaluated && long_enough && good {
            return Verdict::Promote(PromoteReason::Evidence);
        }
        let thin = [Condition::LowCoverage, Condition::MetricsStale];
        let sufficient = enough && !conditions.iter().any(|condition| thin.contains(condition));
        if self.soak() >= settings.soak && sufficient {
            return self.end_of_soak(conditions);
        }
        if times(settings.block, self.memory.block) >= settings.deadline {
            return self.without_data(InconclusiveReason::InsufficientData);
        }
        let unavailable = conditions.contains(&Condition::MetricsUnavailable);
        if unavailable && settings.on_unavailable == OnUnavailable::RollBack {
            let reason = InconclusiveReason::MetricsUnavailable;
            return Verdict::Inconclusive(reason, Consequence::RollBack);
        }
        conditions
            .first()
            .map_or(Verdict::Collecting, |condition| Verdict::Hold(*condition))
    }

    /// The question that contributes most to the evidence for an abort; the first of equals.
    fn culprit(&self, abort: &[Support]) -> Question {
        let mut worst = (Question::Errors, f64::NEG_INFINITY);
        for (part, weight) in abort.iter().zip(self.weights(abort)) {
            let share = part.log_e + weight.ln();
            if share > worst.1 {
                worst = (part.question, share);
            }
        }
        worst.0
    }

    /// Whether every canary request of the last blocks failed while stable's did not: of some blocks, or of as few as
    /// hold enough requests.
    fn all_requests_fail(&self) -> bool {
        let settings = &self.settings;
        let (mut canary, mut stable) = (Trials::default(), Trials::default());
        let newest_first = self.memory.failing.iter().rev();
        for (blocks, (of_canary, of_stable)) in (1..).zip(newest_first) {
            (canary, stable) = (canary.plus(*of_canary), stable.plus(*of_stable));
            if canary.bad < canary.all {
                return false;
            }
            let long =
                blocks == settings.total_failure_blocks && canary.all >= settings.total_failure_requests;
            let at_once = settings.total_failure_at_once;
            if (long || at_once.is_some_and(|enough| canary.all >= enough))
                && stable.bad.saturating_mul(2) <= stable.all
            {
                return true;
            }
        }
        false
    }

    fn conditions(&self) -> Vec<Condition> {
        let (settings, memory) = (&self.settings, &self.memory);
        let lasted = |blocks: i32| settings.block.saturating_mul(blocks);
        let states = [
            (
                Condition::MetricsUnavailable,
                lasted(memory.gaps) >= settings.unavailable_after,
            ),
            (
                Condition::MetricsStale,
                lasted(memory.gaps) > settings.stale_after,
            ),
            (
                Condition::LowCoverage,
                memory.blocks.coverage() < settings.min_coverage,
            ),
            (
                Condition::NoCanaryTraffic,
                lasted(memory.without_canary) >= settings.no_traffic_after,
            ),
            (
                Condition::NoStableTraffic,
                lasted(memory.without_stable) >= settings.no_traffic_after,
            ),
            (Condition::BaselineUnhealthy, self.baseline_is_unhealthy()),
            (Condition::TrafficSplitOff, memory.cross_check.is_split_off()),
            (Condition::WitnessesDisagree, memory.cross_check.is_contradicted()),
            (
                Condition::FigureMissing,
                memory.blocks.evaluated > 0 && self.any_figure_is(Standing::Unknown),
            ),
        ];
        states
            .into_iter()
            .filter_map(|(condition, holds)| holds.then_some(condition))
            .collect()
    }

    fn baseline_is_unhealthy(&self) -> bool {
        let baseline = &self.memory.baseline;
        if baseline.len() < self.settings.baseline_blocks {
            return false;
        }
        let bad: u64 = baseline.iter().map(|(requests, ..)| requests.bad).sum();
        let all: u64 = baseline.iter().map(|(requests, ..)| requests.all).sum();
        let successes: u64 = baseline.iter().map(|(_, successes, _)| successes).sum();
        let seconds: f64 = baseline.iter().map(|(.., seconds)| seconds).sum();
        let failing = Trials::new(bad, all)
            .share()
            .is_some_and(|share| share > self.settings.baseline_error_limit);
        failing || (successes > 0 && seconds / successes as f64 >= self.settings.latency.limit_seconds)
    }

    /// Nothing could be said for want of data that can be believed, which can never promote.
    fn without_data(&self, reason: InconclusiveReason) -> Verdict {
        let consequence = match self.settings.on_inconclusive {
            OnInconclusive::RollBack => Consequence::RollBack,
            OnInconclusive::Hold | OnInconclusive::Promote => Consequence::Hold,
        };
        Verdict::Inconclusive(reason, consequence)
    }

    /// The soak is complete and the data suffice: the classic rule, then the margins.
    fn end_of_soak(&self, conditions: &[Condition]) -> Verdict {
        let settings = &self.settings;
        let Arms { canary, stable } = &self.memory.totals;
        let Some(mean) = canary
            .mean_seconds()
            .filter(|mean| *mean < settings.latency.limit_seconds)
        else {
            return Verdict::Abort(AbortReason::ClassicLimit);
        };
        if self.any_figure_is(Standing::Outside) {
            return Verdict::Abort(AbortReason::FigureOutside);
        }
        for (condition, reason) in [
            (Condition::TrafficSplitOff, InconclusiveReason::TrafficSplitOff),
            (
                Condition::WitnessesDisagree,
                InconclusiveReason::WitnessesDisagree,
            ),
            (Condition::FigureMissing, InconclusiveReason::FigureMissing),
        ] {
            if conditions.contains(&condition) {
                return self.without_data(reason);
            }
        }
        let errors_within = below(
            canary.requests.share(),
            stable.requests.share(),
            settings.errors.margin,
        );
        if settings.method == Method::WholeSoak {
            // Without stable beside it there is no share to be within a margin of.
            return if settings.errors.classic && stable.requests.all > 0 && !errors_within {
                Verdict::Abort(AbortReason::ClassicErrors)
            } else {
                Verdict::Promote(PromoteReason::ClassicPass)
            };
        }
        let negligible = settings.latency.negligible_seconds;
        let mean_within = negligible.is_some_and(|negligible| mean < negligible)
            || stable
                .mean_seconds()
                .is_some_and(|stable| mean < settings.latency.ratio * stable);
        let tail_within = settings
            .distribution
            .as_ref()
            .is_none_or(|judged| below(canary.slow_share(), stable.slow_share(), judged.margin));
        let quality_within = settings
            .quality
            .as_ref()
            .is_none_or(|judged| below(canary.quality.share(), stable.quality.share(), judged.margin));
        let compared = !conditions.contains(&Condition::NoStableTraffic);
        if compared && errors_within && mean_within && tail_within && quality_within {
            return Verdict::Promote(PromoteReason::ClassicPass);
        }
        let consequence = match settings.on_inconclusive {
            OnInconclusive::Hold => Consequence::Hold,
            OnInconclusive::RollBack => Consequence::RollBack,
            OnInconclusive::Promote => Consequence::Promote,
        };
        Verdict::Inconclusive(InconclusiveReason::MarginNotShown, consequence)
    }
}

impl Memory {
    fn notice_traffic(&mut self, settings: &Settings, canary: &Arm, stable: &Arm) {
        let (asked, stable_asked) = (canary.requests.all > 0, stable.requests.all > 0);
        if stable_asked {
            self.without_canary = if asked {
                0
            } else {
                self.without_canary.saturating_add(1)
            };
        }
        if asked {
            self.without_stable = if stable_asked {
                0
            } else {
                self.without_stable.saturating_add(1)
            };
            let both = (canary.requests, stable.requests);
            remember(&mut self.failing, both, settings.total_failure_blocks);
        }
        if asked && stable_asked {
            let served = (
                stable.requests,
                stable.latencies.count(),
                stable.latencies.seconds(),
            );
            remember(&mut self.baseline, served, settings.baseline_blocks);
        }
    }
}

impl Weights {
    fn of(&self, question: Question) -> f64 {
        match question {
            Question::Distribution => self.distribution,
            Question::Errors => self.errors,
            Question::Latency => self.latency,
            Question::Mean => self.mean,
            Question::Quality => self.quality,
        }
    }
}

fn remember<T>(last: &mut VecDeque<T>, newest: T, length: usize) {
    last.push_back(newest);
    while last.len() > length {
        last.pop_front();
    }
}

fn supports(parts: Vec<(Question, f64)>, best: &mut [f64]) -> Vec<Support> {
    parts
        .into_iter()
        .zip(best)
        .map(|((question, log_e), best)| {
            *best = best.max(log_e);
            Support {
                question,
                log_e,
                best: *best,
            }
        })
        .collect()
}

/// Whether the canary's share is less than `margin` above stable's; not when either is unknown.
fn below(canary: Option<f64>, stable: Option<f64>, margin: f64) -> bool {
    canary
        .zip(stable)
        .is_some_and(|(canary, stable)| canary - stable < margin)
}

fn times(block: SignedDuration, count: u64) -> SignedDuration {
    block.saturating_mul(i32::try_from(count).unwrap_or(i32::MAX))
}
