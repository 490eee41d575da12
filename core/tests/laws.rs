//! Laws that every plan obeys, whatever happens: checked on random lives of a release.
#![expect(clippy::expect_used, reason = "a world of tests")]

mod world;

use proptest::prelude::*;
use serin_core::crd::{ModelReleaseStatus, OnNewVersion};
use serin_core::plan::{Action, Canary, MetricsSeen, Plan, Stage, plan};
use serin_core::record::Entry;
use serin_core::status;
use world::{Behaviour, HEALTHY, World};

/// One thing that may happen.
#[derive(Clone, Debug)]
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
    Supersede(bool),
    Abort,
    Meddle(i32),
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        3 => Just(HEALTHY),
        1 => Just(Behaviour { ready: false, ..HEALTHY }),
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
        1 => any::<bool>().prop_map(Happening::Supersede),
        1 => Just(Happening::Abort),
        1 => (0i32..=100).prop_map(Happening::Meddle),
    ]
}

/// The laws of one plan.
fn check(world: &World, made: &Plan) -> Result<(), TestCaseError> {
    let policy = world.policy();
    let seen = world.look();
    let split = made.wished_split(&policy);
    let total: i32 = split.weights().map(|(_, weight)| weight).sum();
    prop_assert!(total == 0 || total == 100, "weights add up to {total}");

    // Abort is one plan away from every state.
    if let Some(canary) = &world.state.canary {
        let asked = serin_core::plan::Observed {
            abort: Some(canary.version.revision.clone()),
            ..seen.clone()
        };
        let aborted = plan(&policy, &world.state, &asked, world.now);
        prop_assert_eq!(aborted.wished_split(&policy).weight(&canary.version.revision), 0);
    }
    // Stable is never scaled down while traffic may point at it.
    for action in &made.actions {
        if let Action::Scale {
            revision,
            replicas: 0,
        }
        | Action::Delete(revision) = action
        {
            prop_assert_eq!(
                world.carried().weight(revision),
                0,
                "{:?} with traffic on it",
                action
            );
        }
    }
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
        if passed || after.step > before.step {
            prop_assert!(
                !matches!(seen.metrics, MetricsSeen::Unavailable(_)),
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
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_life_obeys_the_laws(life in prop::collection::vec(happening(), 1..120)) {
        let mut world = World::new(&[(20, 60), (50, 30)]);
        world.spec.analysis.deadline = Some("5m".parse().expect("a duration"));
        let mut latest = world.now;
        for happening in life {
            match happening {
                Happening::Turn | Happening::Crash(_) => {
                    let made = plan(&world.policy(), &world.state, &world.look(), world.now);
                    check(&world, &made)?;
                    let budget = if let Happening::Crash(budget) = happening { budget.min(made.actions.len()) } else { usize::MAX };
                    let _ = world.turn(budget);
                }
                Happening::Settle => world.settle(),
                Happening::Pass(seconds) => {
                    world.pass(seconds);
                    latest = latest.max(world.now);
                }
                Happening::Want(version, behaviour) => world.want(&format!("v{version}"), behaviour),
                Happening::Metrics(there) => world.metrics = there,
                Happening::Traffic(there) => world.traffic = there,
                Happening::Gateway(there) => world.gateway = there,
                Happening::Pause(paused) => world.spec.paused = paused,
                Happening::Supersede(yes) => {
                    world.spec.rollout.on_new_version = if yes { OnNewVersion::Supersede } else { OnNewVersion::Queue };
                }
                Happening::Abort => world.abort = world.state.canary.as_ref().map(|canary| canary.version.revision.clone()),
                Happening::Meddle(weight) => {
                    let split = world.carried().weights().map(|(revision, _)| (revision.clone(), weight)).collect::<Vec<_>>();
                    if !split.is_empty() {
                        world.route = serin_core::plan::RouteSeen::Carried(serin_core::plan::Split::of(split));
                    }
                }
            }
        }
        // Left alone in a good world, every life comes to rest: nothing more is done or written.
        world.metrics = true;
        world.traffic = true;
        world.gateway = true;
        world.spec.paused = false;
        // Without anything to compare with, a canary waits for its deadline.
        if let Some(stable) = &world.state.stable {
            world.behaviour.insert(stable.revision.to_string(), HEALTHY);
        }
        // A clock that was set back is right again: until then a deadline waits longer, and may.
        world.now = latest;
        world.live(120);
        let before = world.state.clone();
        let last = world.run(2);
        prop_assert!(last.actions.is_empty(), "still acting: {:?} because {}", last.actions, last.because);
        prop_assert_eq!(world.state, before);
    }
}
