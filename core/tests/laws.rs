//! Laws that every plan obeys, whatever happens: checked on random lives of a release.
#![expect(clippy::expect_used, reason = "a world of tests")]

mod kstatus;
mod watchers;
mod world;

use proptest::prelude::*;
use serin_core::configuration::Configuration;
use serin_core::crd::{Approval, ModelReleaseStatus, OnNewVersion};
use serin_core::plan::{
    Action, Because, Canary, MetricsSeen, Observed, Plan, Request, RouteSeen, Split, Stage, State, Verb, plan,
};
use serin_core::policy::{Carrier, Policy};
use serin_core::record::Entry;
use serin_core::revision::Revision;
use serin_core::status;
use watchers::{told, watched};
use world::{Behaviour, Front, HEALTHY, STUCK, World, limits, missing};

/// One thing that may happen.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Turn,
    Crash(usize),
    Settle,
    Pass(i64),
    Want(u8, Behaviour),
    Metrics(bool),
    Traffic(bool),
    Gateway(bool),
    Pause(bool),
    OnNewVersion(OnNewVersion),
    Approval(Approval),
    Ask(Verb),
    Meddle(i32),
    NoRoute,
    /// Somebody removes the Service of stable, or of the canary.
    NoService(bool),
    /// Nothing is referred to; or something, which holds this; or something that is not there.
    Nothing,
    Holds(u8),
    Missing,
    /// An autoscaler wants this many pods.
    Scale(i32),
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        3 => Just(HEALTHY),
        1 => Just(STUCK),
        1 => Just(Behaviour { mean_ms: 650.0, ..HEALTHY }),
        1 => Just(Behaviour { failing: true, ..HEALTHY }),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => Just(Happening::Turn),
        8 => Just(Happening::Settle),
        4 => (0usize..4).prop_map(Happening::Crash),
        8 => (1i64..40).prop_map(Happening::Pass),
        1 => (-4000i64..4000).prop_map(Happening::Pass),
        3 => (0u8..4, behaviour()).prop_map(|(version, behaviour)| Happening::Want(version, behaviour)),
        1 => any::<bool>().prop_map(Happening::Metrics),
        1 => any::<bool>().prop_map(Happening::Traffic),
        1 => any::<bool>().prop_map(Happening::Gateway),
        1 => any::<bool>().prop_map(Happening::Pause),
        1 => prop::sample::select(vec![OnNewVersion::Queue, OnNewVersion::Supersede, OnNewVersion::Reject])
            .prop_map(Happening::OnNewVersion),
        1 => prop::sample::select(vec![Approval::Automatic, Approval::Manual]).prop_map(Happening::Approval),
        2 => prop::sample::select(vec![Verb::Abort, Verb::Approve, Verb::Promote, Verb::Skip, Verb::Retry, Verb::Undo])
            .prop_map(Happening::Ask),
        1 => (0i32..=100).prop_map(Happening::Meddle),
        1 => Just(Happening::NoRoute),
        1 => any::<bool>().prop_map(Happening::NoService),
        1 => Just(Happening::Nothing),
        2 => (0u8..3).prop_map(Happening::Holds),
        1 => Just(Happening::Missing),
        2 => (0i32..5).prop_map(Happening::Scale),
    ]
}

/// Asks for something of whatever is there.
fn ask(world: &mut World, verb: Verb) {
    match verb {
        Verb::Retry => {
            if world.state.retry().is_some() {
                world.ask_to_retry();
            }
        }
        Verb::Undo => {
            let stable = world
                .state
                .stable
                .as_ref()
                .map(|stable| Request::new(verb, &stable.revision));
            world.request = stable.map(|request| request.to_string());
        }
        Verb::Abort | Verb::Approve | Verb::Promote | Verb::Skip => {
            if world.state.canary.is_some() {
                world.ask(verb);
            }
        }
    }
}

/// Lets it happen.
fn happen(world: &mut World, happening: Happening) {
    match happening {
        Happening::Turn => drop(world.turn(usize::MAX)),
        Happening::Crash(budget) => {
            let made = world.plan();
            drop(world.turn(budget.min(made.actions.len())));
        }
        Happening::Settle => world.settle(),
        Happening::Pass(seconds) => world.pass(seconds),
        Happening::Want(version, behaviour) => world.want(&format!("v{version}"), behaviour),
        Happening::Metrics(there) => world.metrics = there,
        Happening::Traffic(there) => world.traffic = there,
        Happening::Gateway(there) => world.gateway = there,
        Happening::Pause(paused) => world.spec.paused = paused,
        Happening::OnNewVersion(what) => world.spec.rollout.on_new_version = what,
        Happening::Approval(whose) => world.spec.rollout.approval = whose,
        Happening::Ask(verb) => ask(world, verb),
        Happening::Meddle(weight) => {
            let meddled = world
                .carried()
                .weights()
                .map(|(revision, _)| (revision.clone(), weight))
                .collect::<Vec<_>>();
            if !meddled.is_empty() {
                world.route = RouteSeen::Carried(Split::of(meddled));
                world.front = Front::All;
            }
        }
        Happening::NoRoute => {
            world.route = RouteSeen::Missing;
            world.front = Front::Missing;
        }
        Happening::NoService(of_stable) => {
            let stable = world.state.stable.as_ref();
            let canary = world.state.canary.as_ref().map(|canary| &canary.version);
            let whose = if of_stable { stable } else { canary };
            let workload = whose.and_then(|version| world.workloads.get_mut(&version.revision));
            if let Some(workload) = workload {
                workload.is_unreachable = true;
            }
        }
        Happening::Nothing => world.configuration = Configuration::default(),
        Happening::Holds(value) => world.configuration = limits(&value.to_string()),
        Happening::Missing => world.configuration = missing(),
        Happening::Scale(replicas) => world.spec.serving.replicas = replicas,
    }
}

/// What a person may ask for without evidence.
fn is_by_request(made: &Plan, before: &World) -> bool {
    let answered = |state: &serin_core::plan::State| state.answered.clone();
    answered(&made.state) != answered(&before.state)
}

/// Nobody knows what is wanted while its configuration is missing: nothing is begun.
fn check_unknown(world: &World, made: &Plan, seen: &Observed) -> Result<(), TestCaseError> {
    if let Configuration::Known(_) = seen.configuration {
        return Ok(());
    }
    let is_begun = world.state.canary.is_none() && made.state.canary.is_some();
    prop_assert!(
        !is_begun || is_by_request(made, world),
        "begun without its configuration"
    );
    let deploys = |action: &Action| matches!(action, Action::Deploy { .. });
    prop_assert!(
        !made.actions.iter().any(deploys),
        "deployed without its configuration"
    );
    Ok(())
}

/// Testers reach what is on trial, and nothing that is withdrawn.
fn check_testers(made: &Plan, split: &Split) -> Result<(), TestCaseError> {
    let canary = made.state.canary.as_ref();
    let on_trial = canary.filter(|canary| canary.stage != Stage::RollingBack);
    let on_trial = on_trial.map(|canary| &canary.version.revision);
    prop_assert!(split.testers().is_none() || split.testers() == on_trial);
    Ok(())
}

/// Abort is one plan away from every state; and a spec that is wrong where no way back leads takes a canary back as a right
/// one does.
fn check_going_back(
    world: &World,
    made: &Plan,
    policy: &Policy,
    seen: &Observed,
) -> Result<(), TestCaseError> {
    let way_back = Policy::to_go_back("recommender", &world.spec).expect("the world's spec is right");
    if world.state.goes_back(seen.request.as_ref()) {
        prop_assert_eq!(&plan(&way_back, &world.state, seen, world.now), made);
    }
    let Some(canary) = &world.state.canary else {
        return Ok(());
    };
    let asked = Observed {
        request: Some(Ok(canary.request(Verb::Abort))),
        ..seen.clone()
    };
    // Here trials begin within one tick of the clock, and a request that was answered is not answered again.
    let state = State {
        answered: None,
        ..world.state.clone()
    };
    let aborted = plan(policy, &state, &asked, world.now);
    let withdrawn = aborted.wished_split(policy);
    prop_assert_eq!(withdrawn.weight(&canary.version.revision), 0);
    prop_assert_eq!(withdrawn.testers(), None);
    prop_assert!(state.goes_back(asked.request.as_ref()));
    prop_assert_eq!(plan(&way_back, &state, &asked, world.now), aborted);
    Ok(())
}

/// What is promoted can carry everything, and what it takes the place of can still do so.
fn check_promotion(
    world: &World,
    made: &Plan,
    policy: &Policy,
    seen: &Observed,
) -> Result<(), TestCaseError> {
    // The plan may be made once more, of the same state, and come to something else: until it is recorded, who was stable
    // keeps its pods.
    let was_stable = world.state.stable.as_ref().map(|stable| &stable.revision);
    for action in &made.actions {
        if let Action::Scale {
            revision,
            replicas: 0,
        }
        | Action::Delete(revision) = action
        {
            prop_assert!(
                Some(revision) != was_stable || policy.is_asleep(),
                "{action:?} of stable"
            );
        }
    }
    let stable = made.state.stable.as_ref().map(|stable| &stable.revision);
    if let Some(promoted) = stable.filter(|stable| Some(*stable) != was_stable) {
        let ready = |revision: &Revision| seen.workloads.get(revision).map_or(0, |pods| pods.ready);
        let least = policy.replicas.min(was_stable.map_or(1, ready).max(1));
        prop_assert!(
            ready(promoted) >= least,
            "{} pods of {least} are ready",
            ready(promoted)
        );
    }
    Ok(())
}

/// The laws of one plan.
fn check(world: &World, made: &Plan) -> Result<(), TestCaseError> {
    let policy = world.policy();
    let seen = world.look();
    let split = made.wished_split(&policy);
    let total: i32 = split.weights().map(|(_, weight)| weight).sum();
    prop_assert!(total == 0 || total == 100, "weights add up to {total}");
    check_testers(made, &split)?;

    check_going_back(world, made, &policy, &seen)?;
    check_promotion(world, made, &policy, &seen)?;
    // Stable is never scaled to nothing while traffic may point at it, unless that is what is asked for. Behind one
    // Service pods are the weights: to take some away that have no part is to take away their traffic, and they answer
    // what they have begun.
    let are_weights = policy.carrier == Carrier::Pods && split.divides();
    for action in made.actions.iter().filter(|_| !are_weights) {
        if let Action::Scale {
            revision,
            replicas: 0,
        }
        | Action::Delete(revision) = action
            && !policy.is_asleep()
        {
            prop_assert_eq!(
                world.carried().weight(revision),
                0,
                "{:?} with traffic on it",
                action
            );
        }
    }
    check_unknown(world, made, &seen)?;
    // Nothing is deleted that a route names, be it without a weight: gateways refuse such a route.
    for action in &made.actions {
        if let Action::Delete(revision) = action {
            prop_assert!(!world.carried().names(revision), "{:?}", action);
        }
    }
    // Weights never skip a step, and no data is never a pass.
    let same = |(before, after): &(&Canary, &Canary)| before.version == after.version;
    if let Some((before, after)) = world
        .state
        .canary
        .as_ref()
        .zip(made.state.canary.as_ref())
        .filter(same)
    {
        prop_assert!(after.step <= before.step + 1);
        let passed = before.stage == Stage::Soaking && after.stage == Stage::Growing;
        if (passed || after.step > before.step) && !is_by_request(made, world) {
            let latest = before.run.as_ref().and_then(|run| run.run()?.latest().cloned());
            let is_decided = latest.is_some_and(|look| look.verdict.is_final());
            prop_assert!(
                is_decided || !matches!(seen.metrics, MetricsSeen::Unavailable(_)),
                "moved without metrics"
            );
            let soak = after.soak.or(before.soak).expect("a passed step has a clock");
            prop_assert!(soak.observed >= soak.required, "passed after {soak:?}");
            let looked = made.entries.iter().rev().find_map(|entry| match entry {
                Entry::Looked(looked) => Some(looked.look.clone()),
                Entry::Began(_) => None,
            });
            let before = || before.run.as_ref()?.run()?.latest().cloned();
            let seen = looked.or_else(before).map(|look| look.totals.canary.requests.all);
            prop_assert!(
                seen.is_some_and(|seen| seen >= policy.judge.min_requests),
                "passed by {seen:?} requests"
            );
        }
    }
    // What is written is read back: a restart of the operator changes nothing.
    let written = status::status(
        &ModelReleaseStatus::default(),
        made,
        &policy,
        &seen,
        Some(1),
        world.now,
    );
    let text = serde_json::to_string(&written).expect("a status is JSON");
    let read = status::state(&serde_json::from_str(&text).expect("and back"));
    prop_assert_eq!(
        read.canary
            .as_ref()
            .map(|c| (&c.version, c.stage, c.step, &c.run, c.soak)),
        made.state
            .canary
            .as_ref()
            .map(|c| (&c.version, c.stage, c.step, &c.run, c.soak))
    );
    prop_assert_eq!(read.stable, made.state.stable.clone());
    prop_assert_eq!(read.adopted, made.state.adopted.clone());
    watched(world, made, &written)?;
    told(world, made)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_life_obeys_the_laws(life in prop::collection::vec(happening(), 1..120)) {
        hold(World::new(&[(20, 60), (50, 30)]).with_testers(), life)?;
    }

    #[test]
    fn every_life_without_a_gateway_obeys_them_too(life in prop::collection::vec(happening(), 1..120)) {
        hold(World::of_pods(&[(20, 60), (50, 30)]), life)?;
    }
}

/// Holds a life to the laws, and to coming to rest when it is left alone.
fn hold(mut world: World, life: Vec<Happening>) -> Result<(), TestCaseError> {
    world.spec.analysis.deadline = Some("5m".parse().expect("a duration"));
    let mut latest = world.now;
    for happening in life {
        if let Happening::Turn | Happening::Crash(_) = happening {
            check(&world, &world.plan())?;
        }
        happen(&mut world, happening);
        latest = latest.max(world.now);
    }
    // Left alone in a good world, every life comes to rest: nothing more is done or told. A canary that waits for a
    // person is watched.
    world.metrics = true;
    world.traffic = true;
    world.gateway = true;
    world.configuration = limits("0");
    world.spec.serving.replicas = world.spec.serving.replicas.max(1);
    world.spec.paused = false;
    world.spec.rollout.approval = Approval::Automatic;
    // Without anything to compare with, a canary waits for its deadline.
    if let Some(stable) = &world.state.stable {
        world.behaviour.insert(stable.revision.to_string(), HEALTHY);
    }
    // A clock that was set back is right again: until then a deadline waits longer, and may.
    world.now = latest;
    world.live(120);
    let before = world.state.clone();
    let last = world.run(2);
    prop_assert!(
        !last.moves(&before),
        "still acting: {:?} {:?} because {}",
        last.actions,
        last.news,
        last.because
    );
    let waits = matches!(
        last.because,
        Because::Inconclusive(_) | Because::AwaitingApproval(_)
    );
    prop_assert!(
        waits || world.state == before,
        "still writing because {}",
        last.because
    );
    Ok(())
}

/// Everything that may happen in a small world, once each.
const SMALL: [Happening; 21] = [
    Happening::Turn,
    Happening::Crash(0),
    Happening::Crash(1),
    Happening::Settle,
    Happening::Pass(5),
    Happening::Pass(30),
    Happening::Want(1, HEALTHY),
    Happening::Want(2, HEALTHY),
    Happening::Want(3, STUCK),
    Happening::Want(
        4,
        Behaviour {
            failing: true,
            ..HEALTHY
        },
    ),
    Happening::Metrics(false),
    Happening::Gateway(false),
    Happening::NoService(true),
    Happening::Pause(true),
    Happening::Pause(false),
    Happening::Approval(Approval::Manual),
    Happening::Ask(Verb::Abort),
    Happening::Ask(Verb::Promote),
    Happening::Ask(Verb::Undo),
    Happening::Meddle(100),
    Happening::NoRoute,
];

/// What tells two moments apart, but for the time and the counts: those that are equal here are gone on from once.
fn moment(world: &World) -> String {
    let canary = world.state.canary.as_ref().map(|canary| {
        let verdict = canary
            .run
            .as_ref()
            .and_then(|run| run.run()?.latest().map(|look| look.verdict.to_string()));
        let waits = world.now.duration_since(canary.since).as_secs().min(30);
        let failure = canary.failure.as_ref().map(|failure| failure.reason);
        let clock = canary.soak.map(|soak| soak.observed.as_secs());
        let flags = (
            canary.trusted,
            canary.is_approved,
            canary.unready_since.is_some(),
            canary.paused_since.is_some(),
        );
        (
            canary.version.name.clone(),
            canary.stage,
            canary.step,
            verdict,
            waits,
            failure,
            clock,
            flags,
        )
    });
    let state = &world.state;
    let named = |version: &serin_core::revision::Version| version.name.clone();
    let past: Vec<_> = state
        .history
        .iter()
        .map(|past| (past.version.name.clone(), past.outcome.reason))
        .take(3)
        .collect();
    let rejected = state
        .rejected
        .as_ref()
        .map(|(version, outcome)| (named(version), outcome.reason));
    let told = (
        state.stable.as_ref().map(named),
        canary,
        rejected,
        past,
        state.answered.clone(),
    );
    let spec = (
        world.spec.model.as_ref().map(|model| &model.version),
        world.spec.paused,
        world.spec.rollout.approval,
    );
    let around = (
        &world.workloads,
        &world.route,
        &world.service,
        world.metrics,
        world.gateway,
        &world.request,
    );
    format!("{told:?} {spec:?} {around:?}")
}

/// Every order of happenings from four beginnings, to a depth: breadth first, each moment gone on from once.
#[test]
fn every_moment_within_reach_obeys_the_laws() {
    const DEPTH: usize = 4;
    let empty = World::new(&[(20, 10)]).with_testers();
    let lived = |world: &World, version: u8, turns: usize| {
        let mut world = world.clone();
        happen(&mut world, Happening::Want(version, HEALTHY));
        for _ in 0..turns {
            for happening in [Happening::Turn, Happening::Settle, Happening::Pass(5)] {
                happen(&mut world, happening);
            }
        }
        world
    };
    let stable = lived(&empty, 1, 8);
    let (shifting, soaking) = (lived(&stable, 2, 2), lived(&stable, 2, 4));
    let mut seen = std::collections::HashSet::new();
    let mut edge = vec![empty, stable, shifting, soaking];
    let mut transitions = 0_usize;
    for depth in 0..=DEPTH {
        let mut next = Vec::new();
        for world in &edge {
            let made = world.plan();
            if let Err(broken) = check(world, &made) {
                panic!("{broken}\n{}", moment(world));
            }
            // Those at the end are held to the laws and not gone on from.
            if depth == DEPTH {
                continue;
            }
            for happening in SMALL {
                let mut after = world.clone();
                happen(&mut after, happening);
                transitions += 1;
                if seen.insert(moment(&after)) {
                    next.push(after);
                }
            }
        }
        edge = next;
    }
    eprintln!(
        "{} moments, {transitions} transitions, depth {DEPTH}: every law held",
        seen.len()
    );
    assert!(
        seen.len() > 1000,
        "{} moments are too few to show anything",
        seen.len()
    );
}
