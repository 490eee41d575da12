//! Conditions: what a release says of itself to `kubectl wait`, Argo CD and Flux, by the rules of kstatus.
//!
//! `Ready`, `Reconciling` and `Stalled` are one fact told three times: how far the release is, with one reason and one
//! message. Whatever a reason can be stands in a closed set, from which [`reasons`] makes the page of reference.

use jiff::Timestamp;

use crate::closed::closed_set;
use crate::crd::{Condition, ModelReleaseStatus};
use crate::plan::{Because, Cause, Observed, Obstacle, Phase, Plan, Reason, RouteSeen, Why};
use crate::policy::{Fault, Policy};

closed_set! {
    /// What a condition is about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum ConditionType {
        /// What `spec` asks for serves, with all its pods.
        Ready,
        /// The release is on its way to what `spec` asks for, be it that it waits.
        Reconciling,
        /// The release does not come to what `spec` asks for unless somebody changes something; what served before
        /// goes on serving.
        Stalled,
        /// The last version that was tried was promoted.
        Promoted,
        /// `spec.paused` is true.
        Paused,
    }
}

closed_set! {
    /// Reasons of conditions that are neither a [`Cause`] nor an [`Obstacle`], the end of a trial or a [`Fault`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Word {
        /// A version is on trial; which.
        OnTrial,
        /// No version has been tried.
        NoTrialYet,
        /// `spec.paused` is true: no step is taken, and weights stay.
        Paused,
        /// `spec.paused` is false.
        Running,
    }
}

/// How far a release is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// It is what `spec` asks for.
    Done,
    /// It is on its way.
    UnderWay,
    /// It stays as it is until somebody changes something.
    Stalled,
    /// Nothing is asked of it yet.
    Idle,
}

impl Progress {
    /// The status of `Ready`, `Reconciling` and `Stalled`: at most one of them is `True`.
    pub fn truths(self) -> [(ConditionType, &'static str); 3] {
        let is = |progress| truth(self == progress);
        [
            (ConditionType::Ready, is(Self::Done)),
            (ConditionType::Reconciling, is(Self::UnderWay)),
            (ConditionType::Stalled, is(Self::Stalled)),
        ]
    }

    /// What kstatus makes of it, and with it Flux.
    pub fn kstatus(self) -> &'static str {
        match self {
            Self::Done => "Current",
            Self::UnderWay | Self::Idle => "InProgress",
            Self::Stalled => "Failed",
        }
    }
}

/// Every reason of `Ready`, `Reconciling` and `Stalled`, what it means, and how far a release is that gives it.
pub fn reasons() -> Vec<(Progress, &'static str, String)> {
    let causes = Cause::ALL.iter();
    let causes = causes.map(|cause| (progress_of(*cause), cause.as_str(), cause.meaning().to_owned()));
    let obstacles = Obstacle::ALL.iter();
    let obstacles = obstacles.map(|one| (Progress::UnderWay, one.as_str(), one.meaning().to_owned()));
    let ends = |progress, prefix: &'static str| {
        move |reason: &Reason| {
            (
                progress,
                reason.as_str(),
                format!("{prefix}: {}", reason.meaning()),
            )
        }
    };
    let leaving = Reason::ALL.iter().filter(|reason| reason.is_rollback());
    let leaving = leaving.map(ends(Progress::UnderWay, "The canary is leaving"));
    let gone = Reason::ALL.iter().filter(|reason| reason.is_rejection());
    let gone = gone.map(ends(
        Progress::Stalled,
        "The version is not tried again unchanged",
    ));
    let wrong = Fault::ALL.iter();
    let wrong = wrong.map(|fault| (Progress::Stalled, fault.as_str(), fault.meaning().to_owned()));
    let all = causes.chain(obstacles).chain(leaving).chain(gone).chain(wrong);
    all.collect()
}

/// Every status and reason of `Promoted`, and what it means.
pub fn reasons_of_promoted() -> Vec<(&'static str, &'static str, &'static str)> {
    let unknown = [Word::OnTrial, Word::NoTrialYet].map(|word| ("Unknown", word.as_str(), word.meaning()));
    let ends = Reason::ALL.iter().filter(|reason| reason.ends_trial());
    let ends = ends.map(|reason| (of_last_trial(*reason), reason.as_str(), reason.meaning()));
    unknown.into_iter().chain(ends).collect()
}

/// Every status and reason of `Paused`, and what it means.
pub fn reasons_of_paused() -> [(&'static str, &'static str, &'static str); 2] {
    [true, false].map(|paused| {
        let word = of_pause(paused);
        (truth(paused), word.as_str(), word.meaning())
    })
}

/// The status for a `spec` that cannot be carried out: everything as it was, and what to mend.
pub fn stalled(
    before: &ModelReleaseStatus,
    fault: Fault,
    message: String,
    generation: Option<i64>,
    now: Timestamp,
) -> ModelReleaseStatus {
    let wrong = Facts {
        reason: fault.as_str(),
        message,
    };
    let told = Told {
        before,
        generation,
        now,
    };
    let mut status = ModelReleaseStatus {
        observed_generation: generation,
        phase: Phase::Held,
        ..before.clone()
    };
    let kept = before.conditions.iter().filter(|old| {
        [ConditionType::Promoted, ConditionType::Paused]
            .iter()
            .any(|kept| old.type_ == kept.as_str())
    });
    status.conditions = told.of_release(Progress::Stalled, &wrong);
    status.conditions.extend(kept.cloned());
    status.display.reason = wrong.message;
    status
}

/// The conditions of a release that `plan` was made for.
pub(super) fn conditions(
    before: &ModelReleaseStatus,
    plan: &Plan,
    policy: &Policy,
    seen: &Observed,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let told = Told {
        before,
        generation,
        now,
    };
    let progress = progress(plan);
    let mut conditions = told.of_release(progress, &of_release(plan, progress, seen));
    let (status, facts) = of_trial(plan);
    conditions.push(told.condition(ConditionType::Promoted, status, &facts));
    let paused = truth(policy.paused);
    let facts = Facts {
        reason: of_pause(policy.paused).as_str(),
        message: format!("spec.paused is {}", policy.paused),
    };
    conditions.push(told.condition(ConditionType::Paused, paused, &facts));
    conditions
}

/// How far a release is that waits for `cause`.
fn progress_of(cause: Cause) -> Progress {
    match cause {
        Cause::NoModelYet => Progress::Idle,
        Cause::Settled => Progress::Done,
        Cause::GateClosed => Progress::Stalled,
        Cause::Paused
        | Cause::Asleep
        | Cause::ConfigurationMissing
        | Cause::PodsStarting
        | Cause::CanaryUnready
        | Cause::RoutePending
        | Cause::Observing
        | Cause::WarmingUp
        | Cause::LowCoverage
        | Cause::NoStableTraffic
        | Cause::BaselineUnhealthy
        | Cause::TrafficSplitOff
        | Cause::WitnessesDisagree
        | Cause::Inconclusive
        | Cause::AwaitingApproval
        | Cause::MetricsUnavailable
        | Cause::NoTraffic
        | Cause::TooFewRequests => Progress::UnderWay,
    }
}

/// A rollback is the end of the way only where `spec` still asks for the version that it turned down: a watcher that gives
/// up at `Stalled` must not do so because a newer version took the place of another.
fn progress(plan: &Plan) -> Progress {
    let rejected = plan.state.rejected.as_ref().map(|(version, _)| &version.revision);
    let is_wanted = rejected.is_some() && rejected == plan.wanted.as_ref();
    let is_over = matches!(plan.because, Because::Rejected(_));
    match plan.because.why() {
        Why::Waits(cause) => progress_of(cause),
        Why::Ended(reason) if reason.is_rejection() && is_over && is_wanted => Progress::Stalled,
        Why::Ended(_) => Progress::UnderWay,
    }
}

#[derive(Clone)]
struct Facts {
    reason: &'static str,
    message: String,
}

fn of_release(plan: &Plan, progress: Progress, seen: &Observed) -> Facts {
    // Pods that do not serve say why better than the route that they are missing in.
    let is_starting = matches!(plan.because, Because::PodsStarting { .. });
    let is_routed = plan.state.canary.is_some() || (plan.state.stable.is_some() && !is_starting);
    match &seen.route {
        RouteSeen::Unsupported { obstacle, why, .. } if is_routed && progress == Progress::UnderWay => {
            Facts {
                reason: obstacle.as_str(),
                message: why.clone(),
            }
        }
        RouteSeen::Unsupported { .. }
        | RouteSeen::Missing
        | RouteSeen::Outdated
        | RouteSeen::Asked { .. }
        | RouteSeen::Carried(_) => Facts {
            reason: plan.because.reason(),
            message: plan.because.to_string(),
        },
    }
}

fn of_trial(plan: &Plan) -> (&'static str, Facts) {
    let unknown = |word: Word, message: String| {
        let reason = word.as_str();
        ("Unknown", Facts { reason, message })
    };
    match (&plan.state.canary, plan.state.history.first()) {
        (Some(canary), _) => unknown(Word::OnTrial, format!("{} is on trial", canary.version.name)),
        (None, None) => unknown(Word::NoTrialYet, "no version has been tried".into()),
        (None, Some(past)) => {
            let reason = past.outcome.reason.as_str();
            let message = past.outcome.message.clone();
            (of_last_trial(past.outcome.reason), Facts { reason, message })
        }
    }
}

fn of_last_trial(reason: Reason) -> &'static str {
    truth(reason == Reason::Promoted)
}

fn of_pause(paused: bool) -> Word {
    if paused { Word::Paused } else { Word::Running }
}

fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// What all conditions of one status share.
struct Told<'a> {
    before: &'a ModelReleaseStatus,
    generation: Option<i64>,
    now: Timestamp,
}

impl Told<'_> {
    fn of_release(&self, progress: Progress, facts: &Facts) -> Vec<Condition> {
        let truths = progress.truths();
        truths
            .map(|(type_, status)| self.condition(type_, status, facts))
            .into()
    }

    /// A condition whose transition time moves only with its status.
    fn condition(&self, type_: ConditionType, status: &'static str, facts: &Facts) -> Condition {
        let mut old = self.before.conditions.iter();
        let same = old.find(|old| old.type_ == type_.as_str() && old.status == status);
        Condition {
            type_: type_.as_str().to_owned(),
            status: status.to_owned(),
            observed_generation: self.generation.unwrap_or_default(),
            last_transition_time: same.map_or_else(|| whole_second(self.now), |old| old.last_transition_time),
            reason: facts.reason.to_owned(),
            message: facts.message.clone(),
        }
    }
}

/// As times in an object are written.
pub fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
