//! Stories of releases, told by their events, in a world that obeys.
#![expect(clippy::expect_used, clippy::panic, reason = "a world of tests")]

mod argocd;
#[path = "stories/configuration.rs"]
mod configuration;
mod kstatus;
#[path = "stories/requests.rs"]
mod requests;
#[path = "stories/routes.rs"]
mod routes;
#[path = "stories/scaling.rs"]
mod scaling;
#[path = "stories/shown.rs"]
mod shown;
#[path = "stories/waiting.rs"]
mod waiting;
mod world;

use serin_core::crd::OnNewVersion;
use serin_core::judge::{Figure, Run, Settings, Tuning};
use serin_core::plan::{Because, Judgement, Phase, Reason, Stage};
use serin_core::record::{Entry, Record};
use world::{Behaviour, HEALTHY, STUCK, World};

/// One of twenty requests fails.
const FAILING: Behaviour = Behaviour {
    failing: true,
    ..HEALTHY
};

fn with_stable(steps: &[(i32, u32)]) -> World {
    let mut world = World::new(steps);
    world.want("v1", HEALTHY);
    world.live(10);
    world.news.clear();
    world
}

#[test]
fn a_release_without_a_model_waits_for_one() {
    let mut world = World::new(&[(20, 60)]);
    assert_eq!(world.run(3).because, Because::NoModelYet);
}

#[test]
fn the_first_version_serves_as_soon_as_it_is_ready() {
    let mut world = World::new(&[(20, 60)]);
    world.want("v1", HEALTHY);
    until(&mut world, is_at(Stage::Promoting));
    let ready = world.run(1);
    assert_eq!(
        (ready.phase(), ready.because),
        (Phase::Promoted, Because::Settled),
        "at once"
    );
    world.live(5);
    assert_eq!(world.news, ["Started", "Promoted"]);
    assert_eq!(world.carried().weight(&world.wanted().revision), 100);
}

#[test]
fn a_healthy_version_passes_every_step_and_its_pods_become_the_stable_ones() {
    let mut world = with_stable(&[(10, 30), (50, 30)]);
    world.want("v2", HEALTHY);
    assert_eq!(world.run(40).phase(), Phase::Promoted);
    let message = &world.state.history[0].outcome.message;
    assert!(
        message.ends_with("in place of v1"),
        "nobody asked for it: {message}"
    );
    assert_eq!(
        world.news,
        [
            "Started",
            "Soaking",
            "StepPassed",
            "Soaking",
            "Promoting",
            "Promoted"
        ]
    );
    let revision = world.wanted().revision;
    assert_eq!(world.service.as_ref(), Some(&revision));
    let replicas: Vec<i32> = world
        .workloads
        .values()
        .map(|workload| workload.replicas)
        .collect();
    assert_eq!(
        replicas.iter().sum::<i32>(),
        2,
        "only the promoted version keeps pods: {replicas:?}"
    );
}

#[test]
fn a_worse_version_loses_all_traffic() {
    let slow = Behaviour {
        mean_ms: 650.0,
        ..HEALTHY
    };
    for (name, behaviour, reason) in [
        ("a", slow, Reason::TooSlow),
        ("b", FAILING, Reason::TooManyErrors),
        ("c", STUCK, Reason::NotReady),
    ] {
        let mut world = with_stable(&[(20, 60)]);
        world.want(name, behaviour);
        let last = world.run(40);
        assert_eq!(last.phase(), Phase::RolledBack, "{name}: {}", last.because);
        assert_eq!(world.state.history[0].outcome.reason, reason);
        assert_eq!(world.carried().weight(&world.wanted().revision), 0);
    }
}

#[test]
fn one_bad_version_after_the_other_leaves_no_trace_in_the_route() {
    let mut world = with_stable(&[(20, 60)]);
    let stable = world.wanted().revision;
    for (name, behaviour) in [("a", FAILING), ("b", STUCK), ("c", FAILING), ("d", STUCK)] {
        world.want(name, behaviour);
        world.live(40);
        assert_eq!(world.run(1).phase(), Phase::RolledBack, "{name}");
        assert_eq!(world.carried().weight(&stable), 100);
    }
    let kept = world.wanted().revision;
    let named: Vec<_> = world
        .carried()
        .weights()
        .map(|(revision, _)| revision.clone())
        .collect();
    assert!(
        named.iter().all(|revision| [&stable, &kept].contains(&revision)),
        "{named:?}"
    );
}

#[test]
fn a_version_that_was_rolled_back_is_tried_again_once_for_each_time_it_is_asked() {
    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", FAILING);
    assert_eq!(world.run(40).phase(), Phase::RolledBack);
    let trials = |world: &World| world.state.history.len();
    let before = trials(&world);
    world.live(40);
    assert_eq!(
        trials(&world),
        before,
        "unchanged, it is not tried again by itself"
    );

    world.ask_to_retry();
    world.live(40);
    assert_eq!(
        trials(&world),
        before + 1,
        "asked once, tried once, though the annotation stays"
    );
    assert_eq!(world.run(1).phase(), Phase::RolledBack);

    world
        .behaviour
        .insert(world.wanted().revision.to_string(), HEALTHY);
    world.live(40);
    assert_eq!(trials(&world), before + 1, "a stale request asks for nothing");
    world.ask_to_retry();
    assert_eq!(world.run(40).phase(), Phase::Promoted);
}

#[test]
fn a_version_that_was_rolled_back_is_tried_again_when_it_is_asked_for_after_another() {
    // After the stable one.
    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", FAILING);
    assert_eq!(world.run(40).phase(), Phase::RolledBack);
    world.want("v1", HEALTHY);
    assert_eq!(world.run(2).phase(), Phase::Promoted);
    world.want("v2", HEALTHY);
    assert_eq!(world.run(40).phase(), Phase::Promoted);

    // In place of a third that is on trial.
    let mut world = with_stable(&[(20, 60)]);
    world.spec.rollout.on_new_version = OnNewVersion::Supersede;
    world.want("v2", FAILING);
    assert_eq!(world.run(40).phase(), Phase::RolledBack);
    world.want("v3", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    world.want("v2", HEALTHY);
    assert_eq!(world.run(40).phase(), Phase::Promoted);
    let ends: Vec<_> = world
        .state
        .history
        .iter()
        .map(|past| (&*past.version.name, past.outcome.reason))
        .collect();
    assert_eq!(ends[..2], [("v2", Reason::Promoted), ("v3", Reason::Superseded)]);
}

#[test]
fn a_stable_version_that_loses_its_pods_is_shown_to_start_them() {
    let mut world = with_stable(&[(20, 60)]);
    let revision = world.wanted().revision.to_string();
    world.behaviour.insert(revision.clone(), STUCK);
    assert_eq!(world.run(2).because.reason(), "PodsStarting");
    world.behaviour.insert(revision, HEALTHY);
    assert_eq!(world.run(2).because, Because::Settled);
}

/// A release whose canary must keep its memory below 2 GB and its cache hits not more than a tenth below stable's.
fn with_metrics() -> World {
    let mut world = with_stable(&[(20, 120)]);
    world.spec.analysis.min_soak = "60s".parse().expect("a period");
    world.spec.analysis.metrics = serde_json::from_value(serde_json::json!([
        {"name": "memory", "query": "memory{revision=\"$revision\"}", "canaryAtMost": 2.0},
        {"name": "hits", "query": "hits{revision=\"$revision\"}", "notBelowStableBy": "10%"},
    ]))
    .expect("metrics");
    world
}

fn figure(canary: f64, stable: Option<f64>) -> Figure {
    Figure {
        canary: Some(canary),
        stable,
        missing: None,
    }
}

#[test]
fn figures_of_own_queries_are_kept_or_the_canary_goes_at_the_end_of_its_soak() {
    for (memory, hits, phase) in [
        (1.9, 0.82, Phase::Promoted),
        (2.1, 0.90, Phase::RolledBack),
        (1.9, 0.80, Phase::RolledBack),
    ] {
        let mut world = with_metrics();
        world.figures = vec![figure(memory, None), figure(hits, Some(0.9))];
        world.want("v2", HEALTHY);
        let last = world.run(60);
        assert_eq!(last.phase(), phase, "{memory} {hits}: {}", last.because);
        if phase == Phase::RolledBack {
            let outcome = &world.state.history[0].outcome;
            assert_eq!(outcome.reason, Reason::MetricOutside);
            assert!(
                outcome.message.contains(", to be at most "),
                "{}",
                outcome.message
            );
        }
    }
}

#[test]
fn a_figure_outside_its_bounds_ends_a_trial_with_its_first_step() {
    let mut world = with_metrics();
    world.spec.rollout.steps = world::spec(&[(20, 60), (50, 60)]).rollout.steps;
    world.figures = vec![figure(2.1, None), figure(0.9, Some(0.9))];
    world.want("v2", HEALTHY);
    assert_eq!(world.run(60).phase(), Phase::RolledBack);
    assert_eq!(world.state.history[0].outcome.reason, Reason::MetricOutside);
    assert!(times_told(&world, "StepPassed") == 0, "{:?}", world.news);
    assert_eq!(blocks(&world), 12, "the second step would change nothing");
}

#[test]
fn a_query_that_answers_nothing_promotes_nothing_and_is_named() {
    let mut world = with_metrics();
    let silent = Figure {
        missing: Some("the query answers nothing".into()),
        ..Figure::default()
    };
    world.figures = vec![silent, figure(0.9, Some(0.9))];
    world.want("v2", HEALTHY);
    let held = world.run(20);
    let words = held.because.to_string();
    assert!(
        words.contains("memory unknown") && words.contains("the query answers nothing"),
        "{words}"
    );
    world.live(60);
    assert_ne!(world.state.history[0].version.name, "v2", "a person decides");
    world.figures = vec![figure(1.0, None), figure(0.9, Some(0.9))];
    let mut mended = with_metrics();
    mended.figures = world.figures;
    mended.want("v2", HEALTHY);
    assert_eq!(mended.run(60).phase(), Phase::Promoted);
}

#[test]
fn a_version_whose_answers_are_empty_is_withdrawn_by_evidence() {
    for (empty_every, phase) in [(100, Phase::Promoted), (10, Phase::RolledBack)] {
        let usual = Behaviour {
            empty_every: 100,
            ..HEALTHY
        };
        let mut world = World::new(&[(20, 600)]);
        world.spec.analysis.min_soak = "60s".parse().expect("a period");
        world.spec.analysis.quality = serde_json::from_value(
            serde_json::json!({"bad": "answers_empty_total", "all": "answers_total", "notWorseThanStable": "2%"}),
        )
        .expect("quality");
        world.want("v1", usual);
        world.live(10);
        world.want("v2", Behaviour { empty_every, ..usual });
        let last = world.run(140);
        assert_eq!(last.phase(), phase, "1 of {empty_every}: {}", last.because);
        if phase == Phase::RolledBack {
            assert_eq!(world.state.history[0].outcome.reason, Reason::WorseQuality);
        }
    }
}

#[test]
fn without_metrics_or_traffic_the_clock_stands() {
    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", HEALTHY);
    world.live(4);
    world.metrics = false;
    assert_eq!(world.run(100).because.reason(), "MetricsUnavailable");
    world.metrics = true;
    world.traffic = false;
    assert_eq!(world.run(100).because, Because::NoTraffic);
    world.traffic = true;
    assert_eq!(world.run(30).phase(), Phase::Promoted);
}

#[test]
fn a_pause_stops_the_clock_and_writes_nothing() {
    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", HEALTHY);
    world.live(4);
    world.spec.paused = true;
    world.live(2);
    let before = world.state.clone();
    assert_eq!(world.run(50).phase(), Phase::Held);
    assert_eq!(world.state, before);
    world.spec.paused = false;
    assert_eq!(world.run(30).phase(), Phase::Promoted);
}

#[test]
fn a_missing_gateway_is_waited_for() {
    let mut world = with_stable(&[(20, 60)]);
    world.gateway = false;
    world.want("v2", HEALTHY);
    assert_eq!(world.run(50).because.reason(), "RoutePending");
    world.gateway = true;
    assert_eq!(world.run(30).phase(), Phase::Promoted);
}

#[test]
fn going_back_to_stable_withdraws_the_canary_at_once() {
    let mut world = with_stable(&[(20, 600)]);
    world.want("v2", HEALTHY);
    world.live(5);
    world.want("v1", HEALTHY);
    assert_eq!(world.run(6).phase(), Phase::Promoted);
    assert_eq!(world.news.last().map(String::as_str), Some("RolledBack"));
}

#[test]
fn a_version_promoted_before_needs_readiness_but_no_soak() {
    let mut world = with_stable(&[(20, 600)]);
    world.want("v2", HEALTHY);
    world.live(140);
    world.want("v1", HEALTHY);
    world.news.clear();
    assert_eq!(world.run(8).phase(), Phase::Promoted);
    assert_eq!(world.news, ["Started", "Promoted"]);
}

#[test]
fn a_closed_gate_lets_no_pod_start() {
    let mut world = with_stable(&[(20, 60)]);
    world.spec.gates =
        serde_json::from_value(serde_json::json!([{ "name": "rmse", "require": "evidence.rmse < 0.5" }]))
            .expect("gates");
    world.want("v2", HEALTHY);
    let last = world.run(5);
    assert!(
        last.because.to_string().contains("evidence.rmse is 0.9"),
        "{}",
        last.because
    );
    assert_eq!(world.workloads.len(), 1);
}

/// Blocks that the record of the wanted version holds.
fn blocks(world: &World) -> usize {
    let revision = world.wanted().revision.to_string();
    world
        .record
        .iter()
        .filter(|((of, number), _)| *of == revision && *number > 0)
        .count()
}

/// The shares of traffic that those blocks were judged beside.
fn shares(world: &World) -> Vec<f64> {
    let revision = world.wanted().revision.to_string();
    let of_it = world.record.iter().filter(|((of, _), _)| *of == revision);
    let share = |entry: &Entry| match entry {
        Entry::Looked(looked) => looked.beside.share,
        Entry::Began(_) => None,
    };
    of_it.filter_map(|(_, entry)| share(entry)).collect()
}

#[test]
fn a_bad_version_is_withdrawn_long_before_its_soak_is_over() {
    for (behaviour, most) in [
        (
            Behaviour {
                mean_ms: 650.0,
                ..HEALTHY
            },
            4,
        ),
        (FAILING, 8),
    ] {
        let mut world = with_stable(&[(20, 3600)]);
        world.want("v2", behaviour);
        world.live(6);
        let run = world.state.canary.as_ref().and_then(|canary| canary.run.as_ref());
        let outlook = run.map(|run| run.outlook.clone()).unwrap_or_default();
        assert!(
            outlook
                .iter()
                .any(|told| told.starts_with("errors + 5 percentage points: withdrawn after about ")),
            "stable's traffic before the trial tells how long it will take: {outlook:?}"
        );
        assert_eq!(world.run(40).phase(), Phase::RolledBack, "{behaviour:?}");
        assert!(
            blocks(&world) <= most,
            "{behaviour:?} took {} blocks",
            blocks(&world)
        );
    }
}

#[test]
fn a_good_version_is_promoted_as_soon_as_the_least_soak_allows() {
    let mut world = with_stable(&[(20, 3600)]);
    world.spec.analysis.min_soak = "60s".parse().expect("a duration");
    world.spec.analysis.latency.time_limit = "600ms".parse().expect("a duration");
    world.spec.analysis.latency.negligible_below = Some("100ms".parse().expect("a duration"));
    world.want("v2", HEALTHY);
    assert_eq!(world.run(40).phase(), Phase::Promoted);
    assert_eq!(blocks(&world), 12);
}

#[test]
fn what_was_shown_in_one_step_is_shown_again_in_the_next() {
    let mut world = with_stable(&[(20, 60), (50, 3600)]);
    world.spec.analysis.min_soak = "60s".parse().expect("a duration");
    world.spec.analysis.latency.time_limit = "600ms".parse().expect("a duration");
    world.spec.analysis.latency.negligible_below = Some("100ms".parse().expect("a duration"));
    world.want("v2", HEALTHY);
    until(&mut world, |world| times_told(world, "StepPassed") > 0);
    let run = world.state.canary.as_ref().and_then(|canary| canary.run.as_ref());
    assert_eq!(run, None, "what has promoted one weight says nothing of another");
    assert_eq!(world.run(40).phase(), Phase::Promoted);
    // A run of its own, whose blocks are numbered from 1.
    assert_eq!(shares(&world), [0.5; 12]);
}

#[test]
fn the_whole_soak_rule_waits_for_the_end_of_the_soak() {
    for (behaviour, reason) in [
        (HEALTHY, Reason::Promoted),
        (
            Behaviour {
                mean_ms: 499.9,
                ..HEALTHY
            },
            Reason::Promoted,
        ),
        (
            Behaviour {
                mean_ms: 500.1,
                ..HEALTHY
            },
            Reason::TooSlow,
        ),
        (FAILING, Reason::TooManyErrors),
    ] {
        let mut world = with_stable(&[(20, 300)]);
        world.spec.analysis.method = serin_core::crd::Method::WholeSoak;
        world.want("v2", behaviour);
        world.live(80);
        assert_eq!(world.state.history[0].outcome.reason, reason, "{behaviour:?}");
        assert_eq!(blocks(&world), 60, "{behaviour:?}");
    }
}

#[test]
fn a_change_of_what_it_is_judged_by_is_a_new_run() {
    let mut world = with_stable(&[(20, 100)]);
    world.want("v2", HEALTHY);
    world.live(16);
    let before = blocks(&world);
    world.spec.analysis.min_requests = 200;
    world.live(20);
    let canary = world.state.canary.as_ref().expect("it goes on");
    let run = canary.run.as_ref().and_then(Judgement::run).expect("a run");
    let seen = run.latest().map_or(0, |look| look.block);
    assert!(
        before > 10 && seen < 22,
        "{before} blocks before, {seen} of the new run"
    );
    assert_eq!(world.run(20).phase(), Phase::Promoted);
}

#[test]
fn an_operator_that_tunes_otherwise_goes_on_with_the_run_it_finds() {
    let mut world = with_stable(&[(20, 120)]);
    world.want("v2", HEALTHY);
    let run = |world: &World| world.state.canary.as_ref().and_then(|canary| canary.run.clone());
    until(&mut world, |world| run(world).is_some());
    let found = run(&world).expect("a run");
    let settings = Settings {
        tuning: Tuning::Wide,
        total_failure_at_once: None,
        ..found.settings.clone()
    };
    let checkpoint = Run::new(settings.clone()).expect("settings").checkpoint();
    let older = Judgement {
        settings,
        checkpoint,
        ..found
    };
    if let Some(canary) = &mut world.state.canary {
        canary.run = Some(older.clone());
    }
    world.live(3);
    let later = run(&world).expect("a run");
    assert_eq!((later.began, &later.settings), (older.began, &older.settings));
    assert!(
        later.run().is_some_and(|run| run.latest().is_some()),
        "and it has looked since"
    );
}

#[test]
fn missing_blocks_hold_and_what_was_counted_meanwhile_is_not_lost() {
    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", HEALTHY);
    world.live(6);
    world.metrics = false;
    world.live(12);
    world.metrics = true;
    assert_eq!(world.run(60).phase(), Phase::Promoted);
    let late: u64 = world
        .record
        .values()
        .filter_map(|entry| match entry {
            Entry::Looked(looked) => looked.late.canary.as_ref().map(|arm| arm.requests.all),
            Entry::Began(_) => None,
        })
        .sum();
    // A minute of 20 requests a second, and the scrape that ends it.
    assert_eq!(late, 65 * 20);
}

fn record_of(world: &World) -> Record {
    let revision = world.wanted().revision.to_string();
    let entries = world.record.iter().filter(|((of, _), _)| *of == revision);
    Record::of(entries.map(|(_, entry)| entry.clone())).expect("a whole record")
}

#[test]
fn a_record_is_judged_again_to_the_same_bits_and_tells_what_would_have_happened() {
    let mut world = with_stable(&[(20, 300)]);
    world.want("v2", FAILING);
    world.live(60);
    let record = record_of(&world);
    let looks: Vec<_> = record.looked.iter().map(|looked| looked.look.clone()).collect();
    assert_eq!(
        record
            .judge(record.began.settings.clone())
            .expect("its own settings"),
        looks
    );
    let patient = Settings {
        alpha_abort: 1e-30,
        ..record.began.settings.clone()
    };
    let last = record.judge(patient).expect("other settings");
    assert!(!last.last().expect("looks").verdict.is_final());
    let text: String = world
        .record
        .values()
        .map(|entry| serde_json::to_string(entry).expect("JSON") + "\n")
        .collect();
    let revision = world.wanted().revision.to_string();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(&revision) || line.contains("\"looked\""))
        .collect();
    assert_eq!(Record::parse(&lines.join("\n")).expect("a record"), record);
}

/// A judged trial whose operator dies at its n-th call and comes back at once; answers the calls made until then.
fn killed_at(nth: usize) -> (World, usize) {
    let mut world = with_stable(&[(20, 60), (50, 30)]);
    world.want("v2", HEALTHY);
    let mut calls = 0;
    for _ in 0..60 {
        let (plan, _) = {
            let planned = world.plan();
            let of_turn = planned.actions.len() + planned.entries.len() + 1;
            if (calls..calls + of_turn).contains(&nth) {
                world.turn(nth - calls)
            } else {
                (planned, true)
            }
        };
        calls += plan.actions.len() + plan.entries.len() + 1;
        let _ = world.turn(usize::MAX);
        world.settle();
        world.pass(5);
    }
    (world, calls)
}

#[test]
fn a_death_at_any_call_leaves_the_record_of_an_undisturbed_run() {
    let (undisturbed, calls) = killed_at(usize::MAX);
    assert_eq!(undisturbed.state.history[0].outcome.reason, Reason::Promoted);
    for nth in 0..calls {
        let (world, _) = killed_at(nth);
        assert_eq!(
            world.record, undisturbed.record,
            "killed at call {nth} of {calls}"
        );
        assert_eq!(world.news, undisturbed.news, "killed at call {nth} of {calls}");
        assert_eq!(world.state, undisturbed.state, "killed at call {nth} of {calls}");
    }
}

#[test]
fn between_two_blocks_the_reason_does_not_flap() {
    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", HEALTHY);
    world.live(6);
    world.traffic = false;
    world.live(6);
    let last = world.run(1);
    assert_eq!(last.because, Because::NoTraffic);
    // Looked at again at once, as a watch may ask for: nothing is known that was not known before.
    let (again, _) = world.turn(usize::MAX);
    assert_eq!(again.because, Because::NoTraffic);
    assert_eq!(again.state, last.state);
}

/// How often `transition` was told.
fn times_told(world: &World, transition: &str) -> usize {
    world.news.iter().filter(|news| *news == transition).count()
}

/// Lives on until `holds`, but not for long.
fn until(world: &mut World, holds: impl Fn(&World) -> bool) {
    for _ in 0..60 {
        let _ = world.turn(usize::MAX);
        if holds(world) {
            return;
        }
        world.settle();
        world.pass(5);
    }
    panic!("it never came to that: {:?}", world.state);
}

fn is_at(stage: Stage) -> impl Fn(&World) -> bool {
    move |world| {
        world
            .state
            .canary
            .as_ref()
            .is_some_and(|canary| canary.stage == stage)
    }
}

#[test]
fn a_canary_on_hold_because_nothing_could_be_shown_is_withdrawn_when_it_gets_worse() {
    let mut world = with_stable(&[(20, 60)]);
    world.spec.analysis.min_requests = 1_000_000;
    world.spec.analysis.deadline = Some("90s".parse().expect("a period"));
    world.want("v2", HEALTHY);
    let soak = |world: &World| world.state.canary.as_ref().and_then(|canary| canary.soak);
    until(&mut world, |world| {
        soak(world).is_some_and(|soak| soak.observed == soak.required)
    });
    let waiting = world.turn(usize::MAX).0;
    // A minute of 20 requests a second.
    assert_eq!(
        waiting.because,
        Because::TooFewRequests {
            missing: 1_000_000 - 1200
        }
    );
    let last = world.run(40);
    assert!(
        matches!(last.because, Because::Inconclusive(_)),
        "{}",
        last.because
    );
    world
        .behaviour
        .insert(world.wanted().revision.to_string(), FAILING);
    assert_eq!(world.run(40).phase(), Phase::RolledBack);
}
