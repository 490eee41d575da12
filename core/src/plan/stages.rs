//! Whether a release moves on: one function per stage.

use jiff::{SignedDuration, Timestamp};

use super::wanting::Wanted;
use super::wish;
use super::{
    Because, Canary, HISTORY_LENGTH, News, Observed, Outcome, Past, Reason, RouteSeen, Soak, Stage, State,
    Transition, Workload,
};
use crate::crd::{Approval, OnNewVersion};
use crate::policy::Policy;
use crate::record::Entry;
use crate::revision::{Revision, Version};

/// The new state and the reason for it.
pub(super) struct Move {
    pub(super) state: State,
    pub(super) because: Because,
    pub(super) news: Vec<News>,
    pub(super) entries: Vec<Entry>,
}

impl Move {
    pub(super) fn stay(state: State, because: Because) -> Self {
        Self {
            state,
            because,
            news: Vec::new(),
            entries: Vec::new(),
        }
    }

    pub(super) fn tell(mut self, news: News) -> Self {
        self.news.push(news);
        self
    }
}

/// Everything a stage may look at.
pub(super) struct Look<'a> {
    pub(super) policy: &'a Policy,
    pub(super) wanted: &'a Wanted,
    pub(super) state: &'a State,
    pub(super) seen: &'a Observed,
    pub(super) now: Timestamp,
}

pub(super) fn next(policy: &Policy, wanted: &Wanted, state: &State, seen: &Observed, now: Timestamp) -> Move {
    let look = Look {
        policy,
        wanted,
        state,
        seen,
        now,
    };
    look.heed_request().unwrap_or_else(|| go_on(&look))
}

/// What comes next, whatever a person asks.
pub(super) fn go_on(look: &Look<'_>) -> Move {
    let Some(canary) = &look.state.canary else {
        return look.rest();
    };
    if canary.stage == Stage::RollingBack {
        return look.rolling_back(canary);
    }
    if let Some(outcome) = look.interruption(canary) {
        return look.roll_back(canary, outcome);
    }
    if let Some(refused) = look.refused(canary) {
        return refused;
    }
    if look.policy.paused {
        return Move::stay(look.frozen(canary), Because::Paused);
    }
    let thawed = look.thawed(canary);
    let look = Look {
        state: &look.with(thawed.clone()),
        ..*look
    };
    let canary = &thawed;
    match canary.stage {
        Stage::Preparing => look.preparing(canary),
        Stage::Shifting => look.shifting(canary),
        Stage::Soaking => look.soaking(canary),
        Stage::Growing => look.growing(canary),
        Stage::Promoting => look.promoting(canary),
        Stage::RollingBack => look.rolling_back(canary),
    }
}

impl Look<'_> {
    /// No trial is under way: begin one, or say why not.
    fn rest(&self) -> Move {
        let stay = |because| Move::stay(self.state.clone(), because);
        let wanted = match self.wanted {
            Wanted::Nothing => return stay(Because::NoModelYet),
            Wanted::Unknown(missing) => return stay(Because::ConfigurationMissing(missing.clone())),
            Wanted::Version(wanted) => wanted,
        };
        if let Some(stable) = self
            .state
            .stable
            .as_ref()
            .filter(|stable| stable.revision == wanted.revision)
        {
            // An earlier rejection no longer matters: asked for again, it is tried again.
            let state = State {
                rejected: None,
                ..self.state.clone()
            };
            return Move::stay(state, self.settled(stable));
        }
        if let Some((_, outcome)) = self
            .state
            .rejected
            .as_ref()
            .filter(|(v, _)| v.revision == wanted.revision)
        {
            return stay(Because::Rejected(outcome.clone()));
        }
        if self.policy.paused {
            return stay(Because::Paused);
        }
        if self.policy.is_asleep() {
            return stay(Because::Asleep);
        }
        if !self.policy.closed_gates.is_empty() {
            return stay(Because::GateClosed(self.policy.closed_gates.join("; ")));
        }
        self.begin(wanted)
    }

    fn settled(&self, stable: &Version) -> Because {
        let wanted = self.policy.replicas;
        match self.seen.workloads.get(&stable.revision) {
            Some(workload) if workload.ready >= wanted => match self.pending_route() {
                Some(why) => Because::RoutePending(why),
                None => Because::Settled,
            },
            workload => starting(workload, wanted),
        }
    }

    pub(super) fn begin(&self, wanted: &Version) -> Move {
        let trusted = self.state.promoted_before(self.policy, wanted);
        let canary = Canary {
            version: wanted.clone(),
            stage: Stage::Preparing,
            step: 0,
            began: self.now,
            since: self.now,
            unready_since: None,
            paused_since: None,
            trusted,
            is_approved: false,
            failure: None,
            soak: None,
            run: None,
        };
        let how = match (&self.state.stable, trusted) {
            (None, _) => "the first version; it is promoted when its pods are ready".to_owned(),
            (Some(_), true) => "promoted before; it is promoted again when its pods are ready".to_owned(),
            (Some(stable), false) => format!("it is compared with {}", stable.name),
        };
        let wanted_replicas = wish::canary_replicas(self.policy, self.state, &canary);
        let state = State {
            canary: Some(canary),
            rejected: self.still_rejected(wanted),
            ..self.state.clone()
        };
        Move::stay(
            state,
            starting(self.seen.workloads.get(&wanted.revision), wanted_replicas),
        )
        .tell(news(
            &wanted.revision,
            Transition::Started,
            false,
            format!("version {}: {how}", wanted.name),
            0,
        ))
    }

    /// The version that spec asks for and that is not tried, as long as it is another than `version`.
    fn still_rejected(&self, version: &Version) -> Option<(Version, Outcome)> {
        let (rejected, _) = self.state.rejected.as_ref()?;
        let is_wanted = self.wanted.may_be(&rejected.revision);
        (is_wanted && rejected.revision != version.revision).then(|| self.state.rejected.clone())?
    }

    /// The version that spec asks for in place of the canary; none that was turned down before.
    fn newer(&self, canary: &Canary) -> Option<&Version> {
        let wanted = self.wanted.version()?;
        let is_new =
            wanted.revision != canary.version.revision && self.still_rejected(&canary.version).is_none();
        is_new.then_some(wanted)
    }

    /// What ends a trial from outside, in every stage.
    fn interruption(&self, canary: &Canary) -> Option<Outcome> {
        if self.policy.is_asleep() {
            let why = "spec.serving.replicas is 0; it is tried anew when it is more";
            return Some(Outcome::new(Reason::Asleep, why));
        }
        let wanted = self.newer(canary)?;
        if let Some(stable) = self
            .state
            .stable
            .as_ref()
            .filter(|stable| stable.revision == wanted.revision)
        {
            return Some(Outcome::new(
                Reason::Returned,
                format!("spec returned to the stable version {}", stable.name),
            ));
        }
        // Without pods to judge there is nothing to queue behind: a canary that cannot start gives way.
        let superseded = match self.policy.on_new_version {
            OnNewVersion::Supersede => true,
            OnNewVersion::Queue => canary.stage == Stage::Preparing,
            OnNewVersion::Reject => false,
        };
        superseded.then(|| Outcome::new(Reason::Superseded, format!("spec asks for {} now", wanted.name)))
    }

    /// A version that is asked for too early is turned down for good, where the release says so.
    fn refused(&self, canary: &Canary) -> Option<Move> {
        let wanted = self
            .newer(canary)
            .filter(|_| self.policy.on_new_version == OnNewVersion::Reject)?;
        let message = format!(
            "{} was on trial, and spec.rollout.onNewVersion is Reject",
            canary.version.name
        );
        let outcome = Outcome::new(Reason::Refused, message);
        let told = news(
            &wanted.revision,
            Transition::Refused,
            true,
            outcome.message.clone(),
            canary.step,
        );
        let state = State {
            rejected: Some((wanted.clone(), outcome.clone())),
            history: self.remember(wanted.clone(), outcome),
            ..self.state.clone()
        };
        Some(
            go_on(&Look {
                state: &state,
                ..*self
            })
            .tell(told),
        )
    }

    /// A frozen trial. Only the beginning of the pause is noted, so that a long one writes nothing.
    fn frozen(&self, canary: &Canary) -> State {
        self.with(Canary {
            paused_since: canary.paused_since.or(Some(self.now)),
            ..canary.clone()
        })
    }

    /// A trial after its pause: no deadline has run, and nothing that happened meanwhile is counted.
    fn thawed(&self, canary: &Canary) -> Canary {
        let Some(paused) = canary.paused_since else {
            return canary.clone();
        };
        let pause = self.now.duration_since(paused).max(SignedDuration::ZERO);
        let soak = canary.soak.map(|soak| Soak {
            counted_until: soak.counted_until.max(self.now),
            block_from: soak.block_from.max(self.now),
            ..soak
        });
        // A clock that was set back during the pause makes it look longer than it was; nothing begins in the future.
        let shifted = canary.since.saturating_add(pause).unwrap_or(self.now);
        let since = shifted.min(self.now);
        Canary {
            since,
            paused_since: None,
            unready_since: None,
            soak,
            ..canary.clone()
        }
    }

    fn preparing(&self, canary: &Canary) -> Move {
        let wanted = wish::canary_replicas(self.policy, self.state, canary);
        let workload = self.seen.workloads.get(&canary.version.revision);
        if workload.is_some_and(|workload| workload.ready >= wanted) {
            // Without a trial it has all the pods that it needs for all the traffic.
            let stage = if wish::is_untried(self.state, canary) {
                Stage::Promoting
            } else {
                Stage::Shifting
            };
            let state = self.enter(canary, stage);
            let because = Because::RoutePending("it is being asked".into());
            return Move::stay(state, because);
        }
        if self.overdue(canary.since) {
            return self.roll_back(canary, self.not_ready(workload, wanted));
        }
        Move::stay(self.state.clone(), starting(workload, wanted))
    }

    fn shifting(&self, canary: &Canary) -> Move {
        if let Some(why) = self.pending_route() {
            return self.or_unready(canary, Because::RoutePending(why));
        }
        let required = self
            .policy
            .steps
            .get(canary.step)
            .map_or(SignedDuration::ZERO, |step| step.soak);
        let soak = Soak {
            observed: SignedDuration::ZERO,
            required,
            counted_until: self.now,
            block_from: self.now,
            known_after: SignedDuration::ZERO,
        };
        let weight = State::step_weight(self.policy, canary).get();
        let canary = Canary {
            stage: Stage::Soaking,
            since: self.now,
            soak: Some(soak),
            ..canary.clone()
        };
        let message = format!(
            "{} sends {weight}% to {}; it is observed for {}",
            self.policy.carrier.as_str(),
            canary.version.name,
            super::because::whole_seconds(required)
        );
        let told = news(
            &canary.version.revision,
            Transition::Soaking,
            false,
            message,
            canary.step,
        );
        Move::stay(
            self.with(canary),
            Because::Observing {
                observed: SignedDuration::ZERO,
                required,
                open: String::new(),
            },
        )
        .tell(told)
    }

    /// A soak without a clock was written down by nobody: the weight is confirmed anew.
    pub(super) fn back_to_shifting(&self, canary: &Canary) -> Move {
        Move::stay(self.enter(canary, Stage::Shifting), Because::NoTraffic)
    }

    /// A step is passed: the next one, or promotion.
    pub(super) fn passed(&self, canary: &Canary, outcome: Outcome) -> Move {
        if canary.step.saturating_add(1) < self.policy.steps.len() {
            // The evidence goes along; a run that has ended cannot say anything about another step.
            let is_open = |run: &super::Judgement| {
                let run = run.run();
                run.is_some_and(|run| !run.latest().is_some_and(|look| look.verdict.is_final()))
            };
            let next = Canary {
                step: canary.step.saturating_add(1),
                run: canary.run.clone().filter(is_open),
                ..canary.clone()
            };
            let told = news(
                &canary.version.revision,
                Transition::StepPassed,
                false,
                outcome.message,
                canary.step,
            );
            return Move::stay(
                self.enter(&next, Stage::Shifting),
                Because::RoutePending("the next weight is being asked".into()),
            )
            .tell(told);
        }
        if self.awaits_approval(canary) {
            // It keeps its traffic, watched as before.
            return Move::stay(
                self.with(canary.clone()),
                Because::AwaitingApproval(outcome.message),
            );
        }
        self.grow(canary, outcome.message)
    }

    /// Whether a person has to say yes before the canary is promoted.
    pub(super) fn awaits_approval(&self, canary: &Canary) -> bool {
        self.policy.approval == Approval::Manual && !canary.is_approved
    }

    /// Nothing more is to be shown: the canary gets the pods for all traffic.
    pub(super) fn grow(&self, canary: &Canary, why: String) -> Move {
        let told = news(
            &canary.version.revision,
            Transition::Promoting,
            false,
            why,
            canary.step,
        );
        let workload = self.seen.workloads.get(&canary.version.revision);
        let state = self.enter(canary, Stage::Growing);
        let wanted = state.canary.as_ref().map_or(self.policy.replicas, |canary| {
            wish::canary_replicas(self.policy, self.state, canary)
        });
        Move::stay(state, starting(workload, wanted)).tell(told)
    }

    fn growing(&self, canary: &Canary) -> Move {
        let wanted = wish::canary_replicas(self.policy, self.state, canary);
        let workload = self.seen.workloads.get(&canary.version.revision);
        if workload.is_some_and(|workload| workload.ready >= wanted) {
            return Move::stay(
                self.enter(canary, Stage::Promoting),
                Because::RoutePending("all traffic is being asked".into()),
            );
        }
        if self.overdue(canary.since) {
            return self.roll_back(canary, self.not_ready(workload, wanted));
        }
        Move::stay(self.state.clone(), starting(workload, wanted))
    }

    fn promoting(&self, canary: &Canary) -> Move {
        // A gateway carries weights to whoever is there: stable's pods stay until as many of the canary's can answer.
        if let Some(why) = self.pending_route() {
            return self.or_unready(canary, Because::RoutePending(why));
        }
        if let Some(unready) = self.unready(canary) {
            return self.while_unready(canary, unready);
        }
        let version = canary.version.clone();
        let by_request = if self.is_asked_for(canary) {
            ", as a person asked"
        } else {
            ""
        };
        let message = match &self.state.stable {
            None => format!("{} is the first version and serves all traffic", version.name),
            Some(stable) => format!(
                "{} serves all traffic in place of {}{by_request}",
                version.name, stable.name
            ),
        };
        let told = news(
            &version.revision,
            Transition::Promoted,
            false,
            message.clone(),
            canary.step,
        );
        let rejected = self.still_rejected(&version);
        // Another version may be asked for by now.
        let because = match (self.wanted, &rejected) {
            (Wanted::Version(wanted), _) if wanted.revision == version.revision => Because::Settled,
            (Wanted::Unknown(missing), _) => Because::ConfigurationMissing(missing.clone()),
            (Wanted::Version(_) | Wanted::Nothing, Some((_, outcome))) => Because::Rejected(outcome.clone()),
            (Wanted::Version(_), None) => starting(None, self.policy.replicas),
            (Wanted::Nothing, None) => Because::NoModelYet,
        };
        let state = State {
            stable: Some(version.clone()),
            canary: None,
            rejected,
            history: self.remember(version, Outcome::new(Reason::Promoted, message)),
            answered: self.state.answered.clone(),
            adopted: self.state.adopted.clone(),
        };
        Move::stay(state, because).tell(told)
    }

    pub(super) fn roll_back(&self, canary: &Canary, outcome: Outcome) -> Move {
        let warning = outcome.reason.is_rejection();
        let told = news(
            &canary.version.revision,
            Transition::RollingBack,
            warning,
            outcome.message.clone(),
            canary.step,
        );
        let failed = Canary {
            failure: Some(outcome.clone()),
            ..canary.clone()
        };
        Move::stay(
            self.enter(&failed, Stage::RollingBack),
            Because::Draining(outcome),
        )
        .tell(told)
    }

    /// Traffic first, then pods. It is finished when neither is left.
    fn rolling_back(&self, canary: &Canary) -> Move {
        let outcome = canary
            .failure
            .clone()
            .unwrap_or_else(|| Outcome::new(Reason::Aborted, "no reason was recorded"));
        let gone = self
            .seen
            .workloads
            .get(&canary.version.revision)
            .is_none_or(|w| w.replicas == 0 && w.existing == 0);
        if !gone || self.pending_route().is_some() {
            return Move::stay(self.state.clone(), Because::Draining(outcome));
        }
        let told = news(
            &canary.version.revision,
            Transition::RolledBack,
            outcome.reason.is_rejection(),
            outcome.message.clone(),
            canary.step,
        );
        let state = State {
            canary: None,
            rejected: self.still_rejected(&canary.version).or_else(|| {
                let is_rejected = outcome.reason.is_rejection();
                is_rejected.then(|| (canary.version.clone(), outcome.clone()))
            }),
            history: self.remember(canary.version.clone(), outcome.clone()),
            ..self.state.clone()
        };
        Move::stay(state, Because::Rejected(outcome)).tell(told)
    }

    /// Why the data plane does not carry what the state wants; none when it does.
    pub(super) fn pending_route(&self) -> Option<String> {
        let wished = wish::split(self.policy, self.state);
        if self.seen.route.carries(&wished) {
            return None;
        }
        Some(match &self.seen.route {
            RouteSeen::Missing => "there is no route yet".into(),
            RouteSeen::Unsupported { why, .. } | RouteSeen::Asked { why, .. } => why.clone(),
            RouteSeen::Outdated => "spec.route has changed, and the route follows".into(),
            RouteSeen::Carried(_) => "its weights are not the wished ones, they are put back".into(),
        })
    }

    /// Pods that have to be ready for the stage to go on: what was asked for. Once all traffic has been, as many as are
    /// ready of stable, for it is no better off; an autoscaler that asks for more meanwhile is not waited for.
    fn needed(&self, canary: &Canary) -> i32 {
        let wanted = wish::canary_replicas(self.policy, self.state, canary);
        if canary.stage != Stage::Promoting {
            return wanted;
        }
        let stable = self.state.stable.as_ref();
        let stable = stable.and_then(|stable| self.seen.workloads.get(&stable.revision));
        wanted.min(stable.map_or(0, |workload| workload.ready).max(1))
    }

    /// Fewer canary pods ready than are needed, and which.
    pub(super) fn unready(&self, canary: &Canary) -> Option<Because> {
        let wanted = self.needed(canary);
        let workload = self.seen.workloads.get(&canary.version.revision);
        let ready = workload.map_or(0, |workload| workload.ready);
        let trouble = workload.and_then(|workload| workload.trouble.clone());
        (ready < wanted).then_some(Because::CanaryUnready {
            ready,
            wanted,
            trouble,
        })
    }

    /// Stays for `because`, unless the canary's pods are the trouble.
    fn or_unready(&self, canary: &Canary, because: Because) -> Move {
        if let Some(unready) = self.unready(canary) {
            return self.while_unready(canary, unready);
        }
        let ready = Canary {
            unready_since: None,
            ..canary.clone()
        };
        Move::stay(self.with(ready), because)
    }

    /// Stays for `unready`: the canary's pods have the progress deadline to recover.
    pub(super) fn while_unready(&self, canary: &Canary, unready: Because) -> Move {
        let since = canary.unready_since.unwrap_or(self.now);
        if self.overdue(since) {
            let workload = self.seen.workloads.get(&canary.version.revision);
            return self.roll_back(canary, self.not_ready(workload, self.needed(canary)));
        }
        Move::stay(
            self.with(Canary {
                unready_since: Some(since),
                ..canary.clone()
            }),
            unready,
        )
    }

    fn overdue(&self, since: Timestamp) -> bool {
        self.now.duration_since(since) >= self.policy.progress_deadline
    }

    fn not_ready(&self, workload: Option<&Workload>, wanted: i32) -> Outcome {
        let ready = workload.map_or(0, |workload| workload.ready);
        let within = super::because::whole_seconds(self.policy.progress_deadline);
        let trouble = workload
            .and_then(|w| w.trouble.as_deref())
            .map(|t| format!(": {t}"))
            .unwrap_or_default();
        Outcome::new(
            Reason::NotReady,
            format!("{ready} of {wanted} pods were ready within {within}{trouble}"),
        )
    }

    fn enter(&self, canary: &Canary, stage: Stage) -> State {
        self.with(Canary {
            stage,
            since: self.now,
            unready_since: None,
            ..canary.clone()
        })
    }

    pub(super) fn with(&self, canary: Canary) -> State {
        State {
            canary: Some(canary),
            ..self.state.clone()
        }
    }

    pub(super) fn remember(&self, version: Version, outcome: Outcome) -> Vec<Past> {
        let newest = Past {
            version,
            outcome,
            at: self.now,
        };
        std::iter::once(newest)
            .chain(self.state.history.iter().cloned())
            .take(HISTORY_LENGTH)
            .collect()
    }
}

fn starting(workload: Option<&Workload>, wanted: i32) -> Because {
    let ready = workload.map_or(0, |workload| workload.ready);
    let trouble = workload.and_then(|workload| workload.trouble.clone());
    Because::PodsStarting {
        ready,
        wanted,
        trouble,
    }
}

pub(super) fn news(
    revision: &Revision,
    reason: Transition,
    warning: bool,
    message: String,
    ordinal: usize,
) -> News {
    News {
        revision: revision.clone(),
        reason,
        warning,
        message,
        ordinal,
    }
}
