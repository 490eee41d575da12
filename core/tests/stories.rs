//! Stories of releases, told by their events, in a world that obeys.
#![expect(clippy::expect_used, reason = "a world of tests")]

mod world;

use serin_core::plan::{Because, Phase, Reason};
use world::{Behaviour, HEALTHY, World};

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
    let broken = Behaviour {
        ready: false,
        ..HEALTHY
    };
    for (name, behaviour, reason) in [
        ("a", slow, Reason::TooSlow),
        ("b", failing, Reason::TooManyErrors),
        ("c", broken, Reason::NotReady),
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
