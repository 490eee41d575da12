//! What a state wants of the world, and the difference to what is seen.

use jiff::{SignedDuration, Timestamp};

use super::request::ordinal;
use super::{Action, Canary, News, Observed, RouteSeen, Split, Stage, State, Transition, judging};
use crate::policy::{Carrier, Percent, Policy};
use crate::revision::{Revision, Version};

/// Looks while something is under way: a safety net under the watches, which usually wake the release earlier.
const ACTIVE_LOOK: SignedDuration = SignedDuration::from_secs(5);
/// Looks at rest, lest a lost watch event be lost for good.
const HEARTBEAT: SignedDuration = SignedDuration::from_mins(5);

/// The traffic that `state` wants.
pub(super) fn split(policy: &Policy, state: &State) -> Split {
    let stable = state.stable.as_ref().map(|stable| stable.revision.clone());
    let Some(canary) = &state.canary else {
        return Split::of(stable.map(|stable| (stable, Percent::ALL.get())));
    };
    let share = canary_share(policy, state, canary);
    let stable = stable.map(|stable| (stable, share.rest().get()));
    // A canary without traffic that never had any is no backend yet: its Service may not exist.
    let with_canary = canary.stage != Stage::Preparing && (share > Percent::NONE || stable.is_some());
    // Testers see what is on trial: neither what is withdrawn, nor what everybody gets anyway.
    let is_on_trial = matches!(canary.stage, Stage::Shifting | Stage::Soaking | Stage::Growing);
    let for_testers = policy.testers && is_on_trial && stable.is_some();
    let revision = &canary.version.revision;
    Split::of(
        stable
            .into_iter()
            .chain(with_canary.then(|| (revision.clone(), share.get()))),
    )
    .with_testers(for_testers.then(|| revision.clone()))
}

fn canary_share(policy: &Policy, state: &State, canary: &Canary) -> Percent {
    match canary.stage {
        Stage::Preparing | Stage::RollingBack => Percent::NONE,
        Stage::Shifting | Stage::Soaking => State::step_weight(policy, canary),
        Stage::Growing if is_untried(state, canary) => Percent::NONE,
        // Where pods carry the weights, more pods are more weight.
        Stage::Growing => policy.share(
            State::asked_weight(policy, canary),
            canary_replicas(policy, state, canary),
        ),
        Stage::Promoting => Percent::ALL,
    }
}

/// Whether readiness is enough: there is nothing to compare with, or it was promoted before.
pub(super) fn is_untried(state: &State, canary: &Canary) -> bool {
    canary.trusted || state.stable.is_none()
}

/// Pods that a canary needs for its stage to go on. With nothing beside it, or once it has passed, it must be able
/// to carry everything.
pub(super) fn canary_replicas(policy: &Policy, state: &State, canary: &Canary) -> i32 {
    let on_trial = policy.canary_pods(State::asked_weight(policy, canary));
    match canary.stage {
        Stage::Preparing | Stage::Growing | Stage::Promoting if is_untried(state, canary) => policy.replicas,
        Stage::Growing | Stage::Promoting => policy.replicas.max(on_trial),
        Stage::Preparing | Stage::Shifting | Stage::Soaking | Stage::RollingBack => on_trial,
    }
}

/// The difference between what `state` wants and what is seen, in the order in which it is safe to bring it about. A
/// call that fails keeps back what comes after it: more pods come last, for it is the stages that wait for them.
pub(super) fn actions(
    policy: &Policy,
    wanted: Option<&Version>,
    before: &State,
    state: &State,
    seen: &Observed,
) -> Vec<Action> {
    let split = split(policy, state);
    // A branch that is left could bring back what it was for: nothing goes before it.
    let has_spare_branch = seen.has_branch && split.only().is_some();
    let carried = seen.route.carries(&split) && !has_spare_branch;
    let by_pods = policy.carrier == Carrier::Pods;
    // Behind one Service the pods are the weights: fewer of them is how less is carried.
    let may_shrink = carried || (by_pods && split.divides());

    // Without its Service a revision gets nothing, and a route that names it may be refused as a whole.
    let (mut actions, mut growing, mut shrinking) = (Vec::new(), Vec::new(), Vec::new());
    for (revision, replicas) in wanted_replicas(policy, state) {
        let workload = seen.workloads.get(&revision);
        if workload.is_some_and(|workload| workload.is_unreachable) {
            actions.push(Action::Serve(revision.clone()));
        }
        match workload {
            // Neither a rollback nor a release that is asleep makes the pods that it would remove.
            None if replicas == 0 => {}
            None if wanted.is_some_and(|wanted| wanted.revision == revision) => {
                growing.push(Action::Deploy { revision, replicas });
            }
            // The template of a revision that is no longer wanted is not known any more; the status says so.
            None => {}
            Some(workload) if workload.replicas < replicas => {
                growing.push(Action::Scale { revision, replicas });
            }
            Some(workload) if workload.replicas > replicas => {
                shrinking.push(Action::Scale { revision, replicas });
            }
            Some(_) => {}
        }
    }
    let leftovers = leftovers(policy, before, state, seen);
    // A route that names a Service that is gone, be it without a weight, is refused by its gateway: whatever is to be
    // deleted leaves the route first.
    let named = seen.route.asked();
    let is_in_the_way = |revision: &Revision| {
        let is_there = seen.workloads.contains_key(revision);
        !split.names(revision) && (!is_there || leftovers.contains(&Action::Delete(revision.clone())))
    };
    let names_the_gone = named.is_some_and(|named| named.places().any(is_in_the_way));
    // One that is said to send nothing, and not to be carried, may be one that nobody can make out.
    let is_left = split.is_empty() && matches!(seen.route, RouteSeen::Asked { .. });
    let route = (names_the_gone || has_spare_branch || is_left || !seen.route.asks(&split))
        .then_some(Action::Route(split));
    if is_rolling_back(state) && !is_rolling_back(before) {
        // The traffic is taken away, and that is written down before anything else that may be refused.
        return Vec::from_iter(route);
    }
    actions.extend(route);
    // Where pods carry the weights, that Service is the route.
    if let Some(stable) = state.stable.as_ref().filter(|_| !by_pods) {
        let exists = seen.workloads.contains_key(&stable.revision);
        if exists && !is_pointed(state, seen, &stable.revision) {
            actions.push(Action::PointService(stable.revision.clone()));
        }
    }
    // Fewer pods only once the traffic is seen to be elsewhere.
    if may_shrink {
        let is_named = |revision: &Revision| named.is_some_and(|named| named.names(revision));
        let waits = |action: &Action| matches!(action, Action::Delete(revision) if is_named(revision));
        actions.extend(shrinking);
        actions.extend(leftovers.into_iter().filter(|action| !waits(action)));
    }
    actions.extend(growing);
    actions
}

fn is_rolling_back(state: &State) -> bool {
    let canary = state.canary.as_ref();
    canary.is_some_and(|canary| canary.stage == Stage::RollingBack)
}

/// Whether the stable-named Service selects what it should. A route may have pointed it at what is being promoted ahead
/// of time, because nothing of the stable version is left to answer.
fn is_pointed(state: &State, seen: &Observed, stable: &Revision) -> bool {
    let promoted = state
        .canary
        .as_ref()
        .filter(|canary| canary.stage == Stage::Promoting);
    seen.stable_service.as_ref().is_some_and(|selected| {
        selected == stable || promoted.is_some_and(|canary| canary.version.revision == *selected)
    })
}

/// The news that somebody else has changed the weights, which are put back. None while they are on their way.
pub(super) fn restored(policy: &Policy, before: &State, state: &State, seen: &Observed) -> Option<News> {
    let revision = match &state.canary {
        None => &state.stable.as_ref()?.revision,
        Some(canary) if canary.stage == Stage::Soaking => &canary.version.revision,
        Some(_) => return None,
    };
    let wished = split(policy, state);
    if seen.has_new_spec || seen.route.asks(&wished) {
        return None;
    }
    let found = match &seen.route {
        RouteSeen::Unsupported { .. } | RouteSeen::Outdated => return None,
        // Another number of pods is another share, and may be wished for.
        RouteSeen::Asked { split, .. } | RouteSeen::Carried(split)
            if policy.carrier == Carrier::Pods && split.sends_to_those_of(&wished) =>
        {
            return None;
        }
        RouteSeen::Missing => "it was gone".to_owned(),
        RouteSeen::Asked { split, why } if split.is_empty() => why.clone(),
        RouteSeen::Asked { split, .. } | RouteSeen::Carried(split) => {
            let each = split
                .weights()
                .map(|(revision, weight)| format!("{weight} to {revision}"));
            let testers = match (split.testers(), wished.testers()) {
                (found, wished) if found == wished => String::new(),
                (None, _) => ", and of nobody for testers".into(),
                (Some(found), _) => format!(", and of {found} for testers"),
            };
            format!("it asked for {}{testers}", each.collect::<Vec<_>>().join(", "))
        }
    };
    let is_confirmed = before.place() == state.place();
    is_confirmed.then(|| News {
        revision: revision.clone(),
        reason: Transition::RouteRestored,
        warning: true,
        ordinal: ordinal(&found),
        message: format!("somebody else changed the route, which is put back: {found}"),
    })
}

/// Replicas of the revisions that have a part to play. A canary that is rolled back loses its pods only after its
/// traffic, which [`actions`] sees to.
fn wanted_replicas(policy: &Policy, state: &State) -> Vec<(Revision, i32)> {
    let stable = state
        .stable
        .iter()
        .map(|stable| (stable.revision.clone(), policy.replicas));
    let canary = state.canary.iter().map(|canary| {
        let replicas = match canary.stage {
            Stage::RollingBack => 0,
            Stage::Preparing | Stage::Shifting | Stage::Soaking | Stage::Growing | Stage::Promoting => {
                canary_replicas(policy, state, canary)
            }
        };
        (canary.version.revision.clone(), replicas)
    });
    stable.chain(canary).collect()
}

/// Revisions without a part: scaled to zero, kept as long as a return to them needs no soak, then removed.
///
/// One that has lost its part by this very plan keeps its pods until that is recorded: a plan that is made once more, of
/// the state before it, may come to send them everything.
fn leftovers(policy: &Policy, before: &State, state: &State, seen: &Observed) -> Vec<Action> {
    let in_use = |revision: &Revision| [before, state].iter().any(|state| state.is_in_use(revision));
    let kept = |revision: &Revision| {
        state.window(policy).any(|version| version.revision == *revision)
            || state
                .rejected
                .as_ref()
                .is_some_and(|(version, _)| version.revision == *revision)
    };
    let mut actions = Vec::new();
    for (revision, workload) in seen.workloads.iter().filter(|(revision, _)| !in_use(revision)) {
        if workload.replicas > 0 {
            actions.push(Action::Scale {
                revision: revision.clone(),
                replicas: 0,
            });
        } else if !kept(revision) && workload.existing == 0 {
            actions.push(Action::Delete(revision.clone()));
        }
    }
    actions
}

/// When to look again at the latest.
pub(super) fn look_again(
    policy: &Policy,
    before: &State,
    state: &State,
    seen: &Observed,
    actions: &[Action],
    now: Timestamp,
) -> SignedDuration {
    // That time has passed is told by no watch.
    let is_timed = policy.carrier == Carrier::Ingress && matches!(seen.route, RouteSeen::Asked { .. });
    match state.canary.as_ref().map(|canary| canary.stage) {
        Some(Stage::Soaking) => {
            let soak = state.canary.as_ref().and_then(|canary| canary.soak);
            judging::look_again(policy, soak, now)
        }
        Some(Stage::Preparing | Stage::Shifting | Stage::Growing | Stage::Promoting | Stage::RollingBack) => {
            ACTIVE_LOOK
        }
        // Once the end of a trial is recorded, what it has left over goes.
        None if actions.is_empty() && !is_timed && before.canary.is_none() => HEARTBEAT,
        None => ACTIVE_LOOK,
    }
}
