//! Stories of releases, told by their events, in a world that obeys.
#![expect(clippy::expect_used, clippy::panic, reason = "a world of tests")]

mod argocd;
#[path = "stories/configuration.rs"]
mod configuration;
mod kstatus;
#[path = "stories/scaling.rs"]
mod scaling;
#[path = "stories/shown.rs"]
mod shown;
#[path = "stories/waiting.rs"]
mod waiting;
mod world;

use serin_core::crd::{Approval, OnNewVersion};
use serin_core::judge::{Figure, Run, Settings, Tuning};
use serin_core::plan::{Because, Judgement, Phase, Reason, Request, RouteSeen, Split, Stage, Verb};
use serin_core::record::{Entry, Record};
use world::{Behaviour, Front, HEALTHY, STUCK, World};

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
    assert_eq!(world.run(10).phase(), Phase::Promoted);
    assert_eq!(world.news, ["Started", "Promoted"]);
    assert_eq!(world.carried().weight(&world.wanted().revision), 100);
}

#[test]
fn a_healthy_version_passes_every_step_and_its_pods_become_the_stable_ones() {
    let mut world = with_stable(&[(10, 30), (50, 30)]);
    world.want("v2", HEALTHY);
    assert_eq!(world.run(40).phase(), Phase::Promoted);
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
    let failing = Behaviour {
        failing: true,
        ..HEALTHY
    };
    for (name, behaviour, reason) in [
        ("a", slow, Reason::TooSlow),
        ("b", failing, Reason::TooManyErrors),
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
    let failing = Behaviour {
        failing: true,
        ..HEALTHY
    };
    let mut world = with_stable(&[(20, 60)]);
    let stable = world.wanted().revision;
    for (name, behaviour) in [("a", failing), ("b", STUCK), ("c", failing), ("d", STUCK)] {
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
    let failing = Behaviour {
        failing: true,
        ..HEALTHY
    };
    world.want("v2", failing);
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
        (
            Behaviour {
                failing: true,
                ..HEALTHY
            },
            8,
        ),
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
        (
            Behaviour {
                failing: true,
                ..HEALTHY
            },
            Reason::TooManyErrors,
        ),
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
    while world
        .state
        .canary
        .as_ref()
        .is_none_or(|canary| canary.run.is_none())
    {
        world.live(1);
    }
    let run = |world: &World| world.state.canary.as_ref().and_then(|canary| canary.run.clone());
    let found = run(&world).expect("a run");
    let settings = Settings {
        tuning: Tuning::Wide,
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
    world.want(
        "v2",
        Behaviour {
            failing: true,
            ..HEALTHY
        },
    );
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
            let planned = serin_core::plan::plan(&world.policy(), &world.state, &world.look(), world.now);
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
fn an_abort_is_followed_in_every_stage() {
    for stage in [
        Stage::Preparing,
        Stage::Shifting,
        Stage::Soaking,
        Stage::Growing,
        Stage::Promoting,
    ] {
        let mut world = with_stable(&[(20, 30)]);
        let stable = world.carried();
        world.want("v2", HEALTHY);
        until(&mut world, is_at(stage));
        world.ask(Verb::Abort);
        let next = world.turn(usize::MAX).0;
        assert_eq!(next.phase(), Phase::RollingBack, "{stage:?}");
        assert_eq!(world.run(10).phase(), Phase::RolledBack, "{stage:?}");
        assert!(world.carried().sends_as(&stable), "{stage:?}");
        assert_eq!(world.state.history[0].outcome.reason, Reason::Aborted);
    }
}

#[test]
fn a_canary_that_has_passed_waits_for_a_yes_and_is_watched_meanwhile() {
    let mut world = with_stable(&[(20, 60)]);
    world.spec.rollout.approval = Approval::Manual;
    world.want("v2", HEALTHY);
    let last = world.run(30);
    assert!(
        matches!(last.because, Because::AwaitingApproval(_)),
        "{}",
        last.because
    );
    assert_eq!(last.phase(), Phase::Held);
    let told = |world: &World| {
        world
            .news
            .iter()
            .filter(|news| *news == "AwaitingApproval")
            .count()
    };
    world.live(20);
    assert_eq!(told(&world), 1, "one event, however long it waits");

    world.ask(Verb::Approve);
    assert_eq!(world.run(10).phase(), Phase::Promoted);

    world.want("v3", HEALTHY);
    world.live(30);
    let failing = Behaviour {
        failing: true,
        ..HEALTHY
    };
    world
        .behaviour
        .insert(world.wanted().revision.to_string(), failing);
    assert_eq!(
        world.run(30).phase(),
        Phase::RolledBack,
        "nobody has said yes, and it got worse"
    );
    assert_eq!(world.state.history[0].outcome.reason, Reason::TooManyErrors);
}

#[test]
fn a_yes_given_early_counts_when_the_canary_has_passed() {
    let mut world = with_stable(&[(20, 60)]);
    world.spec.rollout.approval = Approval::Manual;
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    world.ask(Verb::Approve);
    assert_eq!(world.run(30).phase(), Phase::Promoted);
    assert!(
        !world.news.contains(&"AwaitingApproval".to_owned()),
        "{:?}",
        world.news
    );
}

#[test]
fn a_canary_on_hold_because_nothing_could_be_shown_is_withdrawn_when_it_gets_worse() {
    let mut world = with_stable(&[(20, 60)]);
    world.spec.analysis.min_requests = 1_000_000;
    world.spec.analysis.deadline = Some("90s".parse().expect("a period"));
    world.want("v2", HEALTHY);
    let last = world.run(40);
    assert!(
        matches!(last.because, Because::Inconclusive(_)),
        "{}",
        last.because
    );
    world.behaviour.insert(
        world.wanted().revision.to_string(),
        Behaviour {
            failing: true,
            ..HEALTHY
        },
    );
    assert_eq!(world.run(40).phase(), Phase::RolledBack);
}

#[test]
fn a_version_asked_for_too_early_is_turned_down_until_somebody_asks_again() {
    let mut world = with_stable(&[(20, 60)]);
    world.spec.rollout.on_new_version = OnNewVersion::Reject;
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    world.want("v3", HEALTHY);
    let last = world.run(40);
    assert_eq!(
        world.state.stable.as_ref().map(|stable| stable.name.as_str()),
        Some("v2")
    );
    assert_eq!(last.phase(), Phase::RolledBack, "{}", last.because);
    let reasons: Vec<_> = world
        .state
        .history
        .iter()
        .map(|past| past.outcome.reason)
        .collect();
    assert_eq!(reasons[..2], [Reason::Promoted, Reason::Refused]);
    assert_eq!(world.news.iter().filter(|news| *news == "Refused").count(), 1);

    world.ask_to_retry();
    assert_eq!(world.run(40).phase(), Phase::Promoted);
    assert_eq!(
        world.state.stable.as_ref().map(|stable| stable.name.as_str()),
        Some("v3")
    );
}

#[test]
fn a_person_promotes_at_once_or_step_by_step() {
    let mut world = with_stable(&[(20, 600), (50, 600)]);
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    world.ask(Verb::Skip);
    until(&mut world, |world| {
        world.state.canary.as_ref().is_some_and(|canary| canary.step == 1)
    });
    let stale = world.request.clone();
    until(&mut world, is_at(Stage::Soaking));
    world.live(3);
    assert_eq!(
        world.state.canary.as_ref().map(|canary| canary.step),
        Some(1),
        "one request, one step"
    );
    world.ask(Verb::Promote);
    assert_eq!(world.run(10).phase(), Phase::Promoted);
    let message = &world.state.history[0].outcome.message;
    assert!(
        message.ends_with("in place of v1, as a person asked"),
        "{message}"
    );

    world.request = stale;
    world.news.clear();
    world.live(5);
    assert_eq!(world.news, ["RequestIgnored"], "told once");
    assert!(!world.state.answered.as_ref().expect("an answer").is_followed);
}

#[test]
fn a_request_that_nobody_understands_is_told_with_its_remedy_and_changes_nothing() {
    let mut world = with_stable(&[(20, 60)]);
    let before = world.state.clone();
    world.request = Some("please stop".into());
    world.live(3);
    assert_eq!(world.news, ["RequestIgnored"]);
    let answer = world.state.answered.take().expect("an answer");
    assert!(
        answer
            .words
            .contains("\"please stop\" is no request: write a verb"),
        "{}",
        answer.words
    );
    assert_eq!(world.state, before);
}

#[test]
fn an_undo_returns_to_the_version_before_without_a_soak_and_stays_there() {
    let mut world = with_stable(&[(20, 30)]);
    world.want("v2", HEALTHY);
    assert_eq!(world.run(40).phase(), Phase::Promoted);
    let undone = world.wanted().revision;
    world.news.clear();

    world.request = Some(Request::new(Verb::Undo, &undone).to_string());
    let last = world.run(40);
    assert_eq!(
        world.state.stable.as_ref().map(|stable| stable.name.as_str()),
        Some("v1")
    );
    assert_eq!(world.news, ["Started", "Promoted"]);
    assert_eq!(
        last.phase(),
        Phase::RolledBack,
        "spec still names v2: {}",
        last.because
    );
    assert_eq!(world.carried().weight(&undone), 0);

    world.ask_to_retry();
    until(&mut world, is_at(Stage::Soaking));
    assert_eq!(
        world.run(40).phase(),
        Phase::Promoted,
        "asked again, it is judged again"
    );
}

#[test]
fn a_paused_release_hears_an_abort_and_lets_everything_else_wait() {
    let mut world = with_stable(&[(20, 600)]);
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    world.spec.paused = true;
    world.ask(Verb::Promote);
    world.live(5);
    assert!(is_at(Stage::Soaking)(&world) && world.state.answered.is_none());
    world.spec.paused = false;
    assert_eq!(world.run(10).phase(), Phase::Promoted);
}

#[test]
fn weights_that_somebody_edits_and_a_route_that_is_deleted_are_put_back_and_told() {
    let mut world = with_stable(&[(20, 600)]);
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    world.news.clear();
    let wished = world.carried();
    let edited: Vec<_> = wished
        .weights()
        .map(|(revision, _)| (revision.clone(), 50))
        .collect();
    world.route = RouteSeen::Carried(Split::of(edited));
    world.live(3);
    assert!(world.carried().sends_as(&wished), "{:?}", world.route);
    assert_eq!(world.news, ["RouteRestored"], "told once");

    world.route = RouteSeen::Missing;
    world.live(3);
    assert!(world.carried().sends_as(&wished), "{:?}", world.route);
    assert_eq!(world.news, ["RouteRestored", "RouteRestored"]);
    assert!(is_at(Stage::Soaking)(&world), "{:?}", world.state);
}

#[test]
fn testers_reach_the_canary_while_it_is_on_trial_and_nothing_that_is_withdrawn() {
    let mut world = World::new(&[(20, 60), (50, 60)]).with_testers();
    world.want("v1", HEALTHY);
    world.live(10);
    assert_eq!(world.carried().testers(), None, "nothing is on trial");

    world.want("v2", HEALTHY);
    let second = world.wanted().revision;
    until(&mut world, is_at(Stage::Soaking));
    let wished = world.carried();
    assert_eq!(wished.testers(), Some(&second));
    // A door that somebody shuts is opened again, and told.
    world.news.clear();
    world.route = RouteSeen::Carried(wished.clone().with_testers(None));
    world.live(3);
    assert_eq!(world.carried(), wished);
    assert_eq!(world.news, ["RouteRestored"]);

    world.ask(Verb::Abort);
    drop(world.turn(usize::MAX));
    assert_eq!(world.carried().testers(), None, "shut with the first write");
    world.live(10);

    world.want("v3", HEALTHY);
    assert_eq!(world.run(80).phase(), Phase::Promoted);
    world.live(2);
    let all = Split::of([(world.wanted().revision, 100)]);
    assert!(world.carried().sends_as(&all), "what is promoted needs no door");
}

/// The pods of each revision that are asked for, those of the wanted one last.
fn pods(world: &World) -> (i32, i32) {
    let wanted = world.wanted().revision;
    let asked = |is_wanted: bool| {
        let those = world
            .workloads
            .iter()
            .filter(|(revision, _)| (**revision == wanted) == is_wanted);
        those.map(|(_, pods)| pods.replicas).sum()
    };
    (asked(false), asked(true))
}

/// A release without a gateway that serves its first version, and the second one asked for.
fn without_a_gateway(steps: &[(i32, u32)], behaviour: Behaviour) -> World {
    let mut world = World::of_pods(steps);
    world.spec.serving.replicas = 4;
    world.want("v1", HEALTHY);
    world.live(10);
    world.news.clear();
    world.want("v2", behaviour);
    world
}

#[test]
fn without_a_gateway_pods_carry_the_nearest_weight_and_never_more_than_half() {
    // Weight asked for, pods of the canary beside four of stable, weight carried.
    for (asked, canary, carried) in [(5, 1, 20), (20, 1, 20), (35, 2, 33), (50, 4, 50), (90, 4, 50)] {
        let mut world = without_a_gateway(&[(asked, 600)], HEALTHY);
        while world.news.last().map(String::as_str) != Some("Soaking") {
            assert!(world.news.len() < 2, "{asked}%: {:?}", world.news);
            world.live(1);
        }
        let wanted = world.wanted().revision;
        assert_eq!(pods(&world), (4, canary), "{asked}%");
        assert_eq!(world.carried().weight(&wanted), carried, "{asked}%");
    }
}

#[test]
fn without_a_gateway_a_canary_gets_nothing_before_it_is_ready_and_nothing_when_its_rollback_begins() {
    let failing = Behaviour {
        failing: true,
        ..HEALTHY
    };
    let mut world = without_a_gateway(&[(20, 60)], failing);
    let wanted = world.wanted().revision;
    let mut stages = Vec::new();
    for _ in 0..40 {
        drop(world.turn(usize::MAX));
        let stage = world.state.canary.as_ref().map(|canary| canary.stage);
        if matches!(stage, None | Some(Stage::Preparing | Stage::RollingBack)) {
            assert_eq!(world.carried().weight(&wanted), 0, "{stage:?}");
        }
        stages.extend(stage.filter(|stage| stages.last() != Some(stage)));
        world.settle();
        world.pass(5);
    }
    let all = [
        Stage::Preparing,
        Stage::Shifting,
        Stage::Soaking,
        Stage::RollingBack,
    ];
    assert_eq!(stages, all);
    assert_eq!(pods(&world), (4, 0));
}

#[test]
fn without_a_gateway_a_canary_that_passes_gets_everything_at_once() {
    let mut world = without_a_gateway(&[(20, 30), (50, 30)], HEALTHY);
    assert_eq!(world.run(60).phase(), Phase::Promoted);
    let steps = [
        "Started",
        "Soaking",
        "StepPassed",
        "Soaking",
        "Promoting",
        "Promoted",
    ];
    assert_eq!(world.news, steps);
    assert_eq!(world.front, Front::One(world.wanted().revision));
    assert_eq!(pods(&world), (0, 4));
}

#[test]
fn pods_that_somebody_else_has_added_are_taken_away_again() {
    let mut world = without_a_gateway(&[(20, 600)], HEALTHY);
    world.live(6);
    let wanted = world.wanted().revision;
    world.workloads.get_mut(&wanted).expect("its pods").replicas = 5;
    world.live(3);
    assert_eq!(pods(&world), (4, 1));
}

#[test]
fn a_branch_that_is_left_keeps_the_old_pods_and_is_asked_to_go() {
    let mut world = with_stable(&[(20, 60)]);
    let seen = serin_core::plan::Observed {
        has_branch: true,
        ..world.look()
    };
    let made = serin_core::plan::plan(&world.policy(), &world.state, &seen, world.now);
    let stable = world.wanted().revision;
    let all = Split::of([(stable.clone(), 100)]);
    assert_eq!(made.actions, [serin_core::plan::Action::Route(all)]);
    // With a canary beside stable it is needed.
    world.want("v2", HEALTHY);
    world.live(4);
    let seen = serin_core::plan::Observed {
        has_branch: true,
        ..world.look()
    };
    let made = serin_core::plan::plan(&world.policy(), &world.state, &seen, world.now);
    assert_eq!(made.actions, []);
}
