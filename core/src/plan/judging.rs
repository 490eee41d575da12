//! Soaking: from samples to blocks, from blocks to a verdict, from the verdict to a move.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::stages::{Look, Move, news};
use super::telling::{inconclusive, observing, outcome, waiting};
use super::{Because, Canary, MetricsSeen, News, Soak, Stage, Transition, wish};
use crate::counters::{self, Closed, Cut, Series, Witness};
use crate::judge::{
    self, Arm, Beside, Block, Change, Checkpoint, Consequence, Figure, Health, Kind, Late, PromoteReason,
    Run, Settings, Traffic, Verdict,
};
use crate::policy::Policy;
use crate::record::{Began, Entry, Looked};

/// Blocks of stable from before a trial that shape its bets.
const EARLIER_BLOCKS: i32 = 60;
/// Longest time before a trial that is asked for.
const EARLIER: SignedDuration = SignedDuration::from_hours(1);
/// Two scrapes further apart leave time unobserved, at least.
const MAX_GAP: SignedDuration = SignedDuration::from_mins(1);

/// A run under way, as it is written down: with it another operator goes on to the same bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// When its first block began.
    pub began: Timestamp,
    /// What it is judged by, frozen.
    pub settings: Settings,
    /// What it has seen.
    pub checkpoint: Checkpoint,
    /// How long it was expected to take when it began, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outlook: Vec<String>,
}

impl Judgement {
    /// The run; none when an operator of another kind wrote it down.
    pub fn run(&self) -> Option<Run> {
        Run::resume(self.settings.clone(), self.checkpoint.clone()).ok()
    }
}

/// The time before `from` whose samples of stable shape the bets of a new run.
pub fn time_before(interval: SignedDuration) -> SignedDuration {
    interval.saturating_mul(EARLIER_BLOCKS).min(EARLIER)
}

/// What the blocks of one look led to.
struct Judged {
    soak: Soak,
    run: Option<Run>,
    began: Timestamp,
    outlook: Vec<String>,
    entries: Vec<Entry>,
    /// Why nothing new is known.
    blind: Option<Because>,
    /// Why the data plane does not carry what the state wants; none when it does.
    pending: Option<String>,
    /// Whether a promotion waits, for a person or for the route.
    waits: bool,
}

impl Judged {
    /// Whether the run has said its last word. It takes nothing in after that: nothing new is written down while its
    /// consequence is awaited.
    fn has_ended(&self) -> bool {
        let latest = self.run.as_ref().and_then(Run::latest);
        latest.is_some_and(|look| match look.verdict.consequence() {
            // A canary that keeps its traffic is watched as long as it has it.
            Consequence::None | Consequence::Hold => false,
            Consequence::Promote => !self.waits && lets_pass(look, &self.soak),
            Consequence::RollBack => true,
        })
    }
}

/// Whether the canary passes its step by this look. The end of the whole soak is none before the end of the step's own:
/// time that an earlier step took beyond what it had to is no time at this weight.
fn lets_pass(look: &judge::Look, soak: &Soak) -> bool {
    let by_time = look.verdict == Verdict::Promote(PromoteReason::ClassicPass);
    look.verdict.consequence() == Consequence::Promote && (!by_time || soak.observed >= soak.required)
}

/// Why the last block says nothing of the canary; none when it does.
fn unseen(kind: Kind) -> Option<Because> {
    match kind {
        Kind::Gap => Some(Because::MetricsUnavailable(
            "the pods of an arm were not scraped in the last block".into(),
        )),
        Kind::Idle => Some(Because::NoTraffic),
        Kind::Warmup => Some(Because::WarmingUp),
        Kind::Evaluated => None,
    }
}

impl Look<'_> {
    /// Judges what is new, then moves: an abort whatever else is the matter, anything else only with the canary ready
    /// and the weights carried.
    pub(super) fn soaking(&self, canary: &Canary) -> Move {
        let Some(soak) = canary.soak else {
            return self.back_to_shifting(canary);
        };
        let judged = self.judged(canary, soak);
        let canary = &Canary {
            soak: Some(judged.soak),
            run: judged.run.as_ref().map(|run| Judgement {
                began: judged.began,
                settings: run.settings().clone(),
                checkpoint: run.checkpoint(),
                outlook: judged.outlook.clone(),
            }),
            ..canary.clone()
        };
        let moved = self.follow(canary, &judged);
        let told = self.asks_a_person(canary, &judged, &moved);
        let moved = Move {
            entries: judged.entries,
            ..moved
        };
        match told {
            Some(told) => moved.tell(told),
            None => moved,
        }
    }

    /// Tells of the verdict that a person's yes has to follow, at the look at which it falls, whatever else the canary
    /// waits for.
    fn asks_a_person(&self, canary: &Canary, judged: &Judged, moved: &Move) -> Option<News> {
        let waits = moved.state.canary.as_ref()?.stage == Stage::Soaking;
        if !waits || !self.awaits_approval(canary) || !self.is_last_step(canary) {
            return None;
        }
        let run = judged.run.as_ref()?;
        let look = run.latest().filter(|look| lets_pass(look, &judged.soak))?;
        let before = self.state.canary.as_ref()?;
        let run_before = before.run.as_ref().and_then(Judgement::run);
        let asked = run_before.as_ref().and_then(Run::latest).zip(before.soak);
        if asked.is_some_and(|(look, soak)| lets_pass(look, &soak)) {
            return None;
        }
        let why = outcome(look, look.verdict, run.settings()).message;
        Some(news(
            &canary.version.revision,
            Transition::AwaitingApproval,
            true,
            why,
            canary.step,
        ))
    }

    fn follow(&self, canary: &Canary, judged: &Judged) -> Move {
        let looked = judged.run.as_ref().and_then(|run| Some((run, run.latest()?)));
        let of_last_block = || looked.and_then(|(_, look)| unseen(look.kind));
        let blind = judged.blind.clone().or_else(of_last_block);
        if let Some((run, look)) = looked
            && look.verdict.consequence() == Consequence::RollBack
        {
            return self.roll_back(canary, outcome(look, look.verdict, run.settings()));
        }
        if let Some(unready) = self.unready(canary) {
            return self.while_unready(canary, unready);
        }
        let canary = &Canary {
            unready_since: None,
            ..canary.clone()
        };
        if let Some(why) = judged.pending.clone() {
            // Weights that another operator had asked for before it died are those of the move it did not record.
            let moved = looked.map(|(run, look)| self.heed(canary, run, look, blind));
            return moved
                .filter(|moved| self.is_half_done(moved))
                .unwrap_or_else(|| Move::stay(self.with(canary.clone()), Because::RoutePending(why)));
        }
        match looked {
            None => {
                let because = blind.unwrap_or_else(|| observing(&judged.soak, String::new()));
                Move::stay(self.with(canary.clone()), because)
            }
            Some((run, look)) => self.heed(canary, run, look, blind),
        }
    }

    /// Whether the soak ends by this move with other weights, and the route asks for them already.
    fn is_half_done(&self, moved: &Move) -> bool {
        let now = wish::split(self.policy, self.state);
        let next = wish::split(self.policy, &moved.state);
        !next.sends_as(&now) && self.seen.route.asks(&next)
    }

    /// Does what the latest look says about a canary that is ready and has its weight.
    fn heed(&self, canary: &Canary, run: &Run, look: &judge::Look, blind: Option<Because>) -> Move {
        let stay = |because| Move::stay(self.with(canary.clone()), because);
        if canary.soak.is_some_and(|soak| lets_pass(look, &soak)) {
            return self.passed(canary, outcome(look, look.verdict, run.settings()));
        }
        if let Verdict::Inconclusive(reason, _) = look.verdict {
            return stay(Because::Inconclusive(inconclusive(reason)));
        }
        if let Some(blind) = blind {
            return stay(blind);
        }
        let Some(soak) = canary.soak.filter(|soak| soak.observed >= soak.required) else {
            return stay(waiting(look, look.verdict, canary.soak, run.settings()));
        };
        let seen = look.totals.canary.requests.all;
        let missing = run.settings().min_requests.saturating_sub(seen);
        if missing > 0 {
            return stay(Because::TooFewRequests { missing });
        }
        if self.is_last_step(canary) {
            return stay(waiting(look, look.verdict, Some(soak), run.settings()));
        }
        let verdict = run.end_of_step();
        match verdict {
            Verdict::Promote(_) => self.passed(canary, outcome(look, verdict, run.settings())),
            _ if verdict.consequence() == Consequence::RollBack => {
                self.roll_back(canary, outcome(look, verdict, run.settings()))
            }
            Verdict::Inconclusive(reason, _) => stay(Because::Inconclusive(inconclusive(reason))),
            Verdict::Collecting | Verdict::Hold(_) | Verdict::Abort(_) => {
                stay(waiting(look, verdict, Some(soak), run.settings()))
            }
        }
    }

    /// Takes every block that is complete.
    fn judged(&self, canary: &Canary, soak: Soak) -> Judged {
        let run = canary.run.as_ref().filter(|run| self.is_judged_by(&run.settings));
        let pending = self.pending_route();
        let mut judged = Judged {
            soak,
            began: run.map_or(soak.block_from, |run| run.began),
            outlook: run.map(|run| run.outlook.clone()).unwrap_or_default(),
            run: run.and_then(Judgement::run),
            entries: Vec::new(),
            blind: None,
            waits: self.awaits_approval(canary) || pending.is_some(),
            pending,
        };
        if judged.has_ended() {
            return judged;
        }
        let (of_canary, of_stable, figures): (&[Series], &[Series], &[Figure]) = match &self.seen.metrics {
            MetricsSeen::NotAsked => return judged,
            MetricsSeen::Unavailable(why) => {
                self.give_up_old(canary, &mut judged);
                judged.blind = Some(Because::MetricsUnavailable(why.clone()));
                return judged;
            }
            MetricsSeen::Seen {
                canary,
                stable,
                figures,
            } => (canary, stable, figures),
        };
        if judged.run.is_none() {
            judged.run = self.begin_run(canary, of_canary, of_stable, &mut judged);
        }
        let Some(layout) = judged.run.as_ref().map(|run| run.settings().layout.clone()) else {
            judged.blind = judged.blind.or(Some(Because::NoTraffic));
            return judged;
        };
        let blocks = counters::closed(of_canary, of_stable, &self.cut(&layout, &judged.soak), self.now);
        let newest = blocks.last().map(|block| block.end);
        for block in blocks {
            // The answers are of now: of the newest block, not of those that are made up for.
            let is_newest = Some(block.end) == newest;
            let figures = if is_newest { figures } else { &[] };
            self.take(canary, &mut judged, block, figures);
            if judged.has_ended() {
                break;
            }
            // What comes after the end of a step belongs to the next weight.
            let is_done = judged.soak.observed >= judged.soak.required && !self.is_last_step(canary);
            let passes = |run: &Run| matches!(run.end_of_step(), Verdict::Promote(_));
            if is_done && judged.run.as_ref().is_some_and(passes) {
                break;
            }
        }
        judged
    }

    fn cut<'a>(&self, layout: &'a judge::Layout, soak: &Soak) -> Cut<'a> {
        Cut {
            layout,
            length: self.policy.interval,
            from: soak.block_from,
            mark: soak.counted_until,
            max_gap: self.policy.interval.max(MAX_GAP),
        }
    }

    /// A change of what it is judged by is a new run, with new evidence. Another tuning is none: it comes with another
    /// operator, and an upgrade costs no soak.
    fn is_judged_by(&self, frozen: &Settings) -> bool {
        let asked = self.policy.judge.on(frozen.layout.clone());
        *frozen
            == Settings {
                tuning: frozen.tuning,
                total_failure_at_once: frozen.total_failure_at_once,
                ..asked
            }
    }

    /// A new run, once the servers have shown the edges of their buckets.
    fn begin_run(
        &self,
        canary: &Canary,
        of_canary: &[Series],
        of_stable: &[Series],
        judged: &mut Judged,
    ) -> Option<Run> {
        let layout = counters::common_layout(of_canary, of_stable)?;
        let settings = self.policy.judge.on(layout);
        let mut run = match Run::new(settings.clone()) {
            Ok(run) => run,
            Err(wrong) => {
                judged.blind = Some(Because::MetricsUnavailable(wrong.to_string()));
                return None;
            }
        };
        let cut = self.cut(&settings.layout, &judged.soak);
        let earlier = counters::earlier(of_stable, &cut, EARLIER_BLOCKS);
        for arm in &earlier {
            run.expect(arm);
        }
        judged.began = judged.soak.block_from;
        judged.outlook = self.outlook(canary, &settings, &earlier);
        judged.entries.push(Entry::Began(Box::new(Began {
            canary: canary.version.name.clone(),
            revision: canary.version.revision.to_string(),
            digest: canary.version.digest.clone(),
            stable: self
                .state
                .stable
                .as_ref()
                .map(|stable| stable.name.clone())
                .unwrap_or_default(),
            at: judged.began,
            settings,
            earlier,
        })));
        Some(run)
    }

    /// How long it will take, if stable's traffic goes on as it was.
    fn outlook(&self, canary: &Canary, settings: &Settings, earlier: &[Arm]) -> Vec<String> {
        let share = f64::from(super::State::step_weight(self.policy, canary).get()) / 100.0;
        let traffic = Traffic::like(earlier, &settings.layout, settings.block, share);
        let told = traffic.and_then(|traffic| traffic.outlook(settings, &Change::USUAL).ok());
        told.iter().flatten().map(ToString::to_string).collect()
    }

    fn take(&self, canary: &Canary, judged: &mut Judged, closed: Closed, figures: &[Figure]) {
        let Some(run) = &mut judged.run else { return };
        let warm = judged
            .began
            .saturating_add(self.policy.warm_up)
            .unwrap_or(Timestamp::MAX);
        let is_cold = closed.start < warm;
        let (block, late) = match closed.block {
            Block::Seen { stable, .. } if is_cold => {
                let stable = Some(stable);
                (Block::Warmup { stable }, Late::default())
            }
            known @ (Block::Seen { .. } | Block::Gap | Block::Warmup { .. }) => (known, closed.late),
        };
        let weight = super::State::step_weight(self.policy, canary);
        let beside = Beside {
            share: Some(f64::from(weight.get()) / 100.0),
            pods: closed.pods,
            figures: figures.to_vec(),
        };
        let look = run.follow(&block, &late, &beside, Health::Fine);
        judged.soak.block_from = closed.end;
        judged.soak.counted_until = closed.mark;
        judged.soak.known_after = closed.known_after;
        if look.kind == Kind::Evaluated {
            let observed = judged.soak.observed.saturating_add(self.policy.interval);
            judged.soak.observed = observed.min(judged.soak.required);
        }
        judged.entries.push(Entry::Looked(Box::new(Looked {
            start: closed.start,
            end: closed.end,
            block,
            late,
            missing: closed.missing,
            witness: closed.witness,
            beside,
            look,
        })));
    }

    /// Blocks that nobody can be asked about any more: gaps. Younger ones may still be answered from what was stored.
    fn give_up_old(&self, canary: &Canary, judged: &mut Judged) {
        let too_old = self.policy.judge.stale_after;
        let is_old = |end: &Timestamp| self.now.duration_since(*end) > too_old;
        while judged.run.is_some() && !judged.has_ended() {
            let end = judged.soak.block_from.checked_add(self.policy.interval);
            let Some(end) = end.ok().filter(is_old) else { break };
            let closed = Closed {
                start: judged.soak.block_from,
                end,
                block: Block::Gap,
                late: Late::default(),
                mark: judged.soak.counted_until,
                missing: Some("Prometheus did not answer".into()),
                witness: Witness::default(),
                pods: None,
                known_after: SignedDuration::ZERO,
            };
            self.take(canary, judged, closed, &[]);
        }
    }

    pub(super) fn is_last_step(&self, canary: &Canary) -> bool {
        canary.step.saturating_add(1) >= self.policy.steps.len()
    }
}

/// When the metrics are asked again: once the block under way can be known, which is as long after its end as the last
/// one was; and where it was not known then, in a while, so that a Prometheus in trouble is left alone.
pub(super) fn look_again(policy: &Policy, soak: Option<Soak>, now: Timestamp) -> SignedDuration {
    /// A sample is visible so long after its scrape.
    const VISIBLE: SignedDuration = SignedDuration::from_secs(1);
    const LONGEST: SignedDuration = SignedDuration::from_secs(15);
    let again = SignedDuration::from_secs(policy.interval.as_secs() / 4).clamp(VISIBLE, LONGEST);
    let known = soak.and_then(|soak| {
        let after = policy
            .interval
            .saturating_add(soak.known_after)
            .saturating_add(VISIBLE);
        soak.block_from.checked_add(after).ok()
    });
    let left = known
        .map(|known| now.duration_until(known))
        .filter(SignedDuration::is_positive);
    // A clock that was set back must not make it wait for long.
    left.map_or(again, |left| left.min(policy.interval.saturating_add(LONGEST)))
}
