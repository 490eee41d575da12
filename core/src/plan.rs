//! The planner: from policy, state and what is seen to the next state and the actions that lead there.
//!
//! Pure and total: the clock is an argument, no input fails, the old state is never edited. A plan has two halves.
//! [`stages`] decides whether the release moves on; [`wish`] then compares what the new state wants of the world with
//! what is seen and emits the difference as actions. An action is a wish: carrying it out twice equals once, so a
//! crash between any two of them repeats work and never skips or doubles a step.

mod because;
mod heeding;
mod judging;
mod outcome;
mod request;
mod route;
mod stages;
mod telling;
mod wanting;
mod wish;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::because::{Because, Cause, Why, whole_seconds};
pub use self::judging::{Judgement, time_before};
pub use self::outcome::{News, Outcome, Reason, Transition};
pub use self::request::{Answer, Request, RequestError, Verb};
pub use self::route::{Obstacle, RouteSeen, Split};
pub use self::telling::{describe, evidence};
pub use self::wanting::Adopted;
use crate::closed::closed_set;
use crate::configuration::Configuration;
use crate::counters::Series;
use crate::judge::Figure;
use crate::policy::{Percent, Policy};
use crate::record::Entry;
use crate::revision::{Revision, Version};

/// Entries of history that are kept.
const HISTORY_LENGTH: usize = 10;

closed_set! {
    /// Where a release is, as shown to people.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    pub enum Phase {
        /// No model has been named yet.
        Waiting,
        /// The pods of a version are starting.
        Preparing,
        /// The weight of a step is asked for and not yet seen to be carried.
        Shifting,
        /// The canary is observed under traffic.
        Soaking,
        /// The soak is done and the judgement waits for more requests.
        Judging,
        /// The canary becomes the stable version.
        Promoting,
        /// The canary loses its traffic and its pods.
        RollingBack,
        /// Nothing moves until what the reason names has changed.
        Held,
        /// The wanted version is stable.
        Promoted,
        /// The wanted version was rolled back; the stable one serves.
        RolledBack,
    }
}

#[expect(
    clippy::derivable_impls,
    reason = "the variants of a closed set have a sentence and no other attribute"
)]
impl Default for Phase {
    fn default() -> Self {
        Self::Waiting
    }
}

/// How far the trial of a canary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Stage {
    /// Its pods are starting; it has no traffic.
    Preparing,
    /// The weight of the current step has been asked for.
    Shifting,
    /// The weight is carried and the canary observed.
    Soaking,
    /// It has passed and grows to the full number of pods.
    Growing,
    /// All traffic has been asked for.
    Promoting,
    /// It is losing its traffic, then its pods.
    RollingBack,
}

/// What the operator knows about a release from one look to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The last promoted version.
    pub stable: Option<Version>,
    /// The version on trial.
    pub canary: Option<Canary>,
    /// The version rolled back last, which is not tried again unchanged.
    pub rejected: Option<(Version, Outcome)>,
    /// Ended trials, newest first.
    pub history: Vec<Past>,
    /// The last request that was answered, which is not answered again.
    pub answered: Option<Answer>,
    /// The revision that stands for another, if one was there before its configuration was part of it.
    pub adopted: Option<Adopted>,
}

/// An ended trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// The version.
    pub version: Version,
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended.
    pub at: Timestamp,
}

/// A version on trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    /// The version.
    pub version: Version,
    /// How far it is.
    pub stage: Stage,
    /// Index into the policy's steps.
    pub step: usize,
    /// When the trial began.
    pub began: Timestamp,
    /// When the stage began.
    pub since: Timestamp,
    /// Since when it has fewer ready pods than asked for.
    pub unready_since: Option<Timestamp>,
    /// Since when the release is paused.
    pub paused_since: Option<Timestamp>,
    /// Whether it was promoted before, so that readiness is enough.
    pub trusted: bool,
    /// Whether a person has said yes to its promotion.
    pub is_approved: bool,
    /// Why it is rolled back.
    pub failure: Option<Outcome>,
    /// The clock of the current step.
    pub soak: Option<Soak>,
    /// The evidence so far, all steps together.
    pub run: Option<Judgement>,
}

/// The clock of a step: observed time only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soak {
    /// Time observed with traffic and metrics.
    pub observed: SignedDuration,
    /// Time required.
    pub required: SignedDuration,
    /// Samples up to here are counted.
    pub counted_until: Timestamp,
    /// Start of the next block; later than `counted_until` when the last blocks were gaps.
    pub block_from: Timestamp,
    /// How long after its end the last block was known in full. Scrapes come in their rhythm, so the next look is
    /// timed by it: one query a block.
    pub known_after: SignedDuration,
}

/// The pods of one revision, as seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Pods asked for.
    pub replicas: i32,
    /// Pods ready.
    pub ready: i32,
    /// Pods that exist, those shutting down included as long as they are counted.
    pub existing: i32,
    /// Why pods are not ready, in the pods' own words.
    pub trouble: Option<String>,
    /// Whether the Service is gone by which a route reaches them.
    pub is_unreachable: bool,
}

/// What the metrics showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum MetricsSeen {
    /// Nobody asked: no soak is under way, or no block can be complete yet.
    #[default]
    NotAsked,
    /// No answer that could be believed, and why.
    Unavailable(String),
    /// The raw samples of both arms since before the mark.
    Seen {
        /// The canary.
        canary: Vec<Series>,
        /// The stable version.
        stable: Vec<Series>,
        /// What the queries of `spec.analysis.metrics` answered, in their order.
        figures: Vec<Figure>,
    },
}

/// Everything that was seen of the world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Workloads by revision.
    pub workloads: BTreeMap<Revision, Workload>,
    /// The route.
    pub route: RouteSeen,
    /// Whether the route has a branch for a canary, a second object that a split of one revision does not need.
    pub has_branch: bool,
    /// The revision that the stable-named Service selects.
    pub stable_service: Option<Revision>,
    /// What the references of the template lead to.
    pub configuration: Configuration,
    /// Whether `spec` is another than at the look before: what differs may be what it asks for now.
    pub has_new_spec: bool,
    /// The metrics.
    pub metrics: MetricsSeen,
    /// What a person asks, if it can be understood.
    pub request: Option<Result<Request, RequestError>>,
}

/// A wish. Carrying it out twice equals once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let the pods and the Service of the wanted version exist.
    Deploy {
        /// The wanted version's revision.
        revision: Revision,
        /// Number of pods to begin with.
        replicas: i32,
    },
    /// Let the Service of a revision exist whose pods do.
    Serve(Revision),
    /// Let a revision have this many pods.
    Scale {
        /// Which.
        revision: Revision,
        /// How many.
        replicas: i32,
    },
    /// Let the route send traffic so; an empty split removes it.
    Route(Split),
    /// Let the stable-named Service select this revision.
    PointService(Revision),
    /// Let nothing remain of a revision.
    Delete(Revision),
}

/// What to do next, and why no more than that.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The revision that `spec` asks for, where that is known.
    pub wanted: Option<Revision>,
    /// The state to record once the actions are done.
    pub state: State,
    /// In this order.
    pub actions: Vec<Action>,
    /// When to look again at the latest.
    pub look_again: SignedDuration,
    /// Why the release does not move further now.
    pub because: Because,
    /// What people should hear of.
    pub news: Vec<News>,
    /// What the record of the decision gains, in order.
    pub entries: Vec<Entry>,
}

impl Plan {
    /// The phase to show.
    pub fn phase(&self) -> Phase {
        self.because
            .phase(self.state.canary.as_ref().map(|canary| canary.stage))
    }

    /// Whether more changes than the clock and the evidence: something is done, told, or begins another stage.
    pub fn moves(&self, before: &State) -> bool {
        !self.actions.is_empty() || !self.news.is_empty() || self.state.place() != before.place()
    }

    /// How the trial under way in `before` ends by this plan, if it does, and how long it took.
    pub fn ended(&self, before: &State) -> Option<(Reason, SignedDuration)> {
        let canary = before.canary.as_ref().filter(|_| self.state.canary.is_none())?;
        let past = self.state.history.first()?;
        // By a clock that was set back meanwhile it took no time, never less.
        let took = past.at.duration_since(canary.began).max(SignedDuration::ZERO);
        Some((past.outcome.reason, took))
    }

    /// The split that this plan wants the data plane to carry.
    pub fn wished_split(&self, policy: &Policy) -> Split {
        wish::split(policy, &self.state)
    }
}

/// Plans the next move of a release.
///
/// Guarantees: carrying out the actions and planning again with the world so changed comes to rest; a canary gets
/// more traffic only after the step before was observed, judged and passed; scaling down follows the traffic, never
/// precedes it; a clock that goes back advances nothing.
pub fn plan(policy: &Policy, state: &State, seen: &Observed, now: Timestamp) -> Plan {
    let before = state;
    let (wanted, state) = wanting::wanted(policy, state, seen);
    let stages::Move {
        state,
        because,
        news,
        entries,
    } = stages::next(policy, &wanted, &state, seen, now);
    let actions = wish::actions(policy, wanted.version(), before, &state, seen);
    let mut news = news;
    news.extend(wish::restored(policy, before, &state, seen));
    let look_again = wish::look_again(policy, before, &state, seen, &actions, now);
    Plan {
        wanted: wanted.version().map(|version| version.revision.clone()),
        state,
        actions,
        look_again,
        because,
        news,
        entries,
    }
}

impl Canary {
    /// What asks for something of this trial and no other; a skip, of this step.
    pub fn request(&self, verb: Verb) -> Request {
        let occasion = match verb {
            Verb::Skip => format!("{}@{}", self.step, self.began),
            Verb::Abort | Verb::Approve | Verb::Promote | Verb::Retry | Verb::Undo => self.began.to_string(),
        };
        Request::on(verb, &self.version.revision, occasion)
    }

    /// The weight that its step asks for, and the one that is carried for it: another where whole pods carry it.
    pub(crate) fn weights(&self, policy: &Policy) -> (Percent, Percent) {
        (
            State::asked_weight(policy, self),
            State::step_weight(policy, self),
        )
    }
}

impl State {
    /// Whether `revision` is stable or on trial.
    fn is_in_use(&self, revision: &Revision) -> bool {
        let canary = self.canary.as_ref().map(|canary| &canary.version);
        let versions = self.stable.as_ref().into_iter().chain(canary);
        versions.into_iter().any(|version| version.revision == *revision)
    }

    /// Where the release stands: everything but the clock and the evidence, which change with every look.
    fn place(&self) -> Self {
        let canary = self.canary.as_ref().map(|canary| Canary {
            unready_since: None,
            soak: None,
            run: None,
            ..canary.clone()
        });
        Self {
            canary,
            ..self.clone()
        }
    }

    /// What asks to try the version again that is not tried by itself: it names its last rollback by the time.
    pub fn retry(&self) -> Option<Request> {
        let (version, _) = self.rejected.as_ref()?;
        let of_it = |past: &&Past| past.version.revision == version.revision;
        let past = self.history.iter().find(of_it)?;
        Some(Request::on(Verb::Retry, &version.revision, past.at))
    }

    /// What asks to return from the stable version to the one before: it names its promotion by the time.
    pub fn undo(&self) -> Option<Request> {
        let stable = &self.stable.as_ref()?.revision;
        let promoted =
            |past: &&Past| past.version.revision == *stable && past.outcome.reason == Reason::Promoted;
        let past = self.history.iter().find(promoted)?;
        Some(Request::on(Verb::Undo, stable, past.at))
    }

    /// Whether a plan can do nothing but take the canary back, because that is under way or asked for: a policy [to go
    /// back by](Policy::to_go_back) is enough for it.
    pub fn goes_back(&self, asked: Option<&Result<Request, RequestError>>) -> bool {
        let Some(canary) = &self.canary else { return false };
        let is_abort = |request: &Request| {
            request.verb == Verb::Abort && request.is_of(canary) && !self.has_answered(&request.to_string())
        };
        canary.stage == Stage::RollingBack || matches!(asked, Some(Ok(request)) if is_abort(request))
    }

    /// Whether the last request that was answered is this one.
    fn has_answered(&self, request: &str) -> bool {
        let answered = self.answered.as_ref();
        answered.is_some_and(|answer| answer.request == request)
    }

    /// The weight that the current step asks for.
    fn asked_weight(policy: &Policy, canary: &Canary) -> Percent {
        policy
            .steps
            .get(canary.step)
            .or(policy.steps.last())
            .map_or(Percent::NONE, |step| step.weight)
    }

    /// The weight that the current step gives the canary: what is asked for, or the nearest that pods can carry.
    fn step_weight(policy: &Policy, canary: &Canary) -> Percent {
        let asked = Self::asked_weight(policy, canary);
        policy.share(asked, policy.canary_pods(asked))
    }

    /// Whether `version` was promoted within the rollback window, and nothing has been held against it since.
    fn promoted_before(&self, policy: &Policy, version: &Version) -> bool {
        let of_it = |past: &&Past| past.version.revision == version.revision;
        let is_good = self
            .history
            .iter()
            .find(of_it)
            .is_some_and(|past| past.outcome.reason == Reason::Promoted);
        is_good && self.window(policy).any(|past| past.revision == version.revision)
    }

    /// The earlier promoted versions that are kept.
    fn window(&self, policy: &Policy) -> impl Iterator<Item = &Version> {
        let stable = self.stable.as_ref().map(|stable| stable.revision.clone());
        let promoted = self
            .history
            .iter()
            .filter(|past| past.outcome.reason == Reason::Promoted);
        promoted
            .map(|past| &past.version)
            .filter(move |version| Some(&version.revision) != stable.as_ref())
            .take(policy.rollback_window)
    }
}
