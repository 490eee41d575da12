//! What a release waits for, for how long, and when it is looked at again.

use jiff::SignedDuration;
use serde_json::json;
use serin_core::crd::{Approval, OnNewVersion, Otherwise};
use serin_core::plan::{Action, Because, Phase, Reason, RouteSeen, Stage, Transition, Verb};
use serin_core::record::Entry;

use crate::world::{Behaviour, HEALTHY, STUCK, World};
use crate::{FAILING, blocks, is_at, shares, times_told, until, with_stable};

/// The stage of the canary under way.
fn stage(world: &World) -> Option<Stage> {
    world.state.canary.as_ref().map(|canary| canary.stage)
}

#[test]
fn a_soak_is_looked_at_when_its_block_can_be_known_and_never_without_end() {
    let mut world = with_stable(&[(20, 600)]);
    world.want("v2", HEALTHY);
    for _ in 0..40 {
        let plan = world.run(1);
        let soak = plan.state.canary.as_ref().and_then(|canary| canary.soak);
        let (Some(soak), Some(Stage::Soaking)) = (soak, stage(&world)) else {
            continue;
        };
        // The end of the block under way, a second until its scrape is visible, and what the last one took beyond it.
        let interval = world.policy().interval;
        let known = soak.block_from + interval + soak.known_after + SignedDuration::from_secs(1);
        let left = known.duration_since(world.now);
        let expected = if left.is_positive() {
            left
        } else {
            SignedDuration::from_secs(1)
        };
        assert_eq!(plan.look_again, expected, "at {}", world.now);
    }

    // A clock that was set back by an hour makes nobody wait for an hour.
    world.now = world
        .now
        .saturating_sub(SignedDuration::from_hours(1))
        .expect("a time");
    let plan = world.run(0);
    assert_eq!(
        plan.look_again,
        world.policy().interval + SignedDuration::from_secs(15)
    );
}

#[test]
fn a_release_at_rest_is_left_alone_and_one_that_moves_is_not() {
    let mut world = with_stable(&[(20, 60)]);
    let (plan, before) = (world.run(3), world.state.clone());
    assert_eq!(plan.look_again, SignedDuration::from_mins(5));
    assert!(!plan.moves(&before), "what watches show is enough to look at it");
    // Watches tell of a gateway; that the time has come in which an Ingress is carried is told by none.
    let stable = world.carried();
    world.route = RouteSeen::Asked {
        split: stable,
        why: "not yet".into(),
    };
    world.gateway = false;
    let looks = |world: &mut World| world.run(1).look_again;
    assert_eq!(looks(&mut world), SignedDuration::from_mins(5));
    let gateway = world.spec.route.clone();
    let ingress = json!({ "ingress": { "className": "nginx", "host": "shop.example" } });
    world.spec.route = serde_json::from_value(ingress).expect("a route");
    assert_eq!(looks(&mut world), SignedDuration::from_secs(5));
    world.spec.route = gateway;
    // What is to be done is looked after.
    world.service = None;
    let (busy, _) = world.turn(usize::MAX);
    assert!(!busy.actions.is_empty());
    assert_eq!(busy.look_again, SignedDuration::from_secs(5));
    world.gateway = true;
    world.live(1);
    world.want("v2", HEALTHY);
    let plan = world.run(0);
    assert!(
        plan.state.canary.is_some() && plan.look_again <= SignedDuration::from_secs(10),
        "{}",
        plan.look_again
    );
}

/// Entries that say why nothing was seen.
fn unanswered(world: &World) -> usize {
    let entries = world.record.values();
    let is_unanswered = |entry: &&Entry| match entry {
        Entry::Looked(looked) => looked.missing.as_deref() == Some("Prometheus did not answer"),
        Entry::Began(_) => false,
    };
    entries.filter(is_unanswered).count()
}

#[test]
fn metrics_that_stay_away_leave_a_canary_to_a_person_or_take_it_back() {
    for (otherwise, phase) in [
        (Otherwise::Hold, Phase::Held),
        (Otherwise::RollBack, Phase::RolledBack),
    ] {
        let mut world = with_stable(&[(20, 7200)]);
        world.spec.analysis.on_unavailable = otherwise;
        world.want("v2", HEALTHY);
        world.live(8);
        world.metrics = false;

        // What is younger than five minutes may still be answered from what was stored.
        world.live(59);
        assert_eq!(unanswered(&world), 0, "{otherwise:?}");
        world.live(12);
        let given_up = unanswered(&world);
        assert!(
            (1..=13).contains(&given_up),
            "{otherwise:?}: {given_up} of the first minute"
        );

        // Half an hour of gaps, and the five minutes until the last of them is one.
        world.live((35 * 60) / 5);
        let plan = world.run(1);
        assert_eq!(plan.phase(), phase, "{otherwise:?}: {}", plan.because);
        if otherwise == Otherwise::RollBack {
            let outcome = &world.state.history[0].outcome;
            assert_eq!(outcome.reason, Reason::Inconclusive);
            assert!(
                outcome
                    .message
                    .starts_with("the metrics stayed away; errors 0.00 %"),
                "{}",
                outcome.message
            );
        }
    }
}

#[test]
fn a_canary_that_a_person_trusts_before_it_has_pods_gets_everything_when_it_has() {
    let mut world = with_stable(&[(20, 3600)]);
    world.want("v2", STUCK);
    world.live(2);
    let canary = world.state.canary.as_ref().expect("it is under way");
    assert_eq!(canary.stage, Stage::Preparing);
    let revision = canary.version.revision.clone();
    world.route = RouteSeen::Missing;
    world.live(1);
    assert!(
        world.carried().weight(&revision) == 0 && !world.carried().names(&revision),
        "a route that is put back names no Service that may not be there yet"
    );
    world.ask(Verb::Promote);
    world.live(2);
    assert_eq!(world.carried().weight(&revision), 0, "not before it is ready");

    world.behaviour.insert(revision.to_string(), HEALTHY);
    assert_eq!(world.run(10).phase(), Phase::Promoted);
    assert!(
        !world.news.iter().any(|news| news == "Soaking"),
        "{:?}",
        world.news
    );
    let message = &world.state.history[0].outcome.message;
    assert!(message.ends_with("as a person asked"), "{message}");
}

#[test]
fn a_pause_that_outlasts_the_deadline_leaves_a_canary_what_it_had_left() {
    // Its pods may take a minute.
    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", STUCK);
    world.live(6);
    assert_eq!(stage(&world), Some(Stage::Preparing));
    world.spec.paused = true;
    world.live(60);
    world.spec.paused = false;
    world.live(2);
    assert_eq!(
        stage(&world),
        Some(Stage::Preparing),
        "five minutes of pause are none of its minute"
    );
    world.live(12);
    assert_eq!(world.state.history[0].outcome.reason, Reason::NotReady);
}

#[test]
fn a_canary_that_was_unready_before_a_pause_has_its_whole_deadline_after_it() {
    let mut world = with_stable(&[(20, 600)]);
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    let revision = world.wanted().revision.to_string();
    world.behaviour.insert(revision, STUCK);
    assert_eq!(world.run(9).because.reason(), "CanaryUnready");
    world.spec.paused = true;
    world.live(60);
    world.spec.paused = false;
    assert_eq!(world.run(9).because.reason(), "CanaryUnready");
    world.live(12);
    assert_eq!(world.state.history[0].outcome.reason, Reason::NotReady);
}

#[test]
fn a_stage_begins_when_it_is_entered() {
    let mut world = with_stable(&[(20, 600)]);
    let since = |world: &World| world.state.canary.as_ref().map(|canary| canary.since);
    world.gateway = false;
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Shifting));
    let shifting = since(&world).expect("it is on trial");
    world.live(12);
    assert_eq!(
        (stage(&world), since(&world)),
        (Some(Stage::Shifting), Some(shifting))
    );
    world.gateway = true;
    until(&mut world, is_at(Stage::Soaking));
    assert_eq!(since(&world), Some(world.now));
}

#[test]
fn nothing_that_happened_during_a_pause_is_counted() {
    let mut world = with_stable(&[(20, 600)]);
    world.want("v2", HEALTHY);
    world.live(10);
    let requests = |world: &World| {
        let run = world
            .state
            .canary
            .as_ref()
            .and_then(|canary| canary.run.as_ref()?.run());
        run.and_then(|run| run.latest().map(|look| look.totals.canary.requests.all))
    };
    let before = requests(&world).expect("it is judged");
    world.spec.paused = true;
    world.live(24);
    world.spec.paused = false;
    world.live(4);
    let counted = requests(&world).expect("it is judged") - before;
    // 20 requests a second: two minutes of them were not looked at.
    assert!(
        (200..=500).contains(&counted),
        "{counted} requests after the pause"
    );
}

#[test]
fn who_is_judged_is_not_interrupted_and_who_cannot_start_gives_way() {
    let mut world = with_stable(&[(20, 150)]);
    world.spec.rollout.on_new_version = OnNewVersion::Queue;
    world.want("v2", HEALTHY);
    world.live(8);
    assert_eq!(stage(&world), Some(Stage::Soaking));
    world.want("v3", STUCK);
    world.live(5);
    let canary = world.state.canary.clone().expect("it is judged first");
    assert_eq!((&*canary.version.name, canary.stage), ("v2", Stage::Soaking));

    until(&mut world, is_at(Stage::Preparing));
    let stable = world.state.stable.as_ref();
    assert_eq!(
        stable.map(|stable| &*stable.name),
        Some("v2"),
        "then v3 comes next"
    );
    world.want("v4", HEALTHY);
    world.live(4);
    assert_eq!(
        world.state.history[0].outcome.reason,
        Reason::Superseded,
        "v3 had no pods to judge"
    );
    let canary = world.state.canary.as_ref().expect("v4 comes next");
    assert_eq!(canary.version.name, "v4");
}

#[test]
fn a_rollback_is_over_when_the_last_pod_is_gone_and_not_when_none_is_asked_for() {
    let mut world = with_stable(&[(20, 300)]);
    world.want("v2", HEALTHY);
    world.live(8);
    let revision = world.wanted().revision;
    world.ask(Verb::Abort);
    for _ in 0..10 {
        let _ = world.turn(usize::MAX);
        let pods = world.workloads.get(&revision).cloned().unwrap_or_default();
        world.settle();
        // It answers what it has begun with, and takes its time.
        if let Some(workload) = world.workloads.get_mut(&revision) {
            workload.existing = pods.existing.max(1);
        }
        world.pass(5);
    }
    let asked = world.workloads.get(&revision).map(|workload| workload.replicas);
    assert_eq!((asked, stage(&world)), (Some(0), Some(Stage::RollingBack)));
    assert_eq!(world.run(2).phase(), Phase::RolledBack);
}

#[test]
fn one_look_makes_up_for_all_blocks_that_could_not_be_seen() {
    let mut world = with_stable(&[(20, 600)]);
    world.want("v2", HEALTHY);
    world.live(30);
    world.metrics = false;
    world.live(24);
    let before = blocks(&world);
    world.metrics = true;
    world.pass(5);
    let _ = world.turn(usize::MAX);
    let made_up = blocks(&world) - before;
    assert!((23..=26).contains(&made_up), "{made_up} blocks of two minutes");
}

#[test]
fn a_step_of_which_too_little_was_seen_is_neither_passed_nor_taken_back() {
    let mut world = with_stable(&[(20, 60), (50, 60)]);
    world.want("v2", HEALTHY);
    world.live(6);
    world.metrics = false;
    world.live(120);
    world.metrics = true;
    for _ in 0..25 {
        let plan = world.run(1);
        let canary = plan.state.canary.as_ref().expect("it is on trial");
        assert_eq!(
            (canary.stage, canary.step),
            (Stage::Soaking, 0),
            "{}",
            plan.because
        );
    }
    let soak = world
        .state
        .canary
        .as_ref()
        .and_then(|canary| canary.soak)
        .expect("it soaks");
    assert_eq!(
        soak.observed, soak.required,
        "it has been observed for as long as it had to be"
    );
}

/// The gateway takes back its word, and goes on to send what it sent.
fn take_back(world: &mut World) {
    world.gateway = false;
    world.route = RouteSeen::Asked {
        split: world.carried(),
        why: "a listener is gone".into(),
    };
}

/// A canary that has passed while its gateway took back its word.
fn passed_without_a_route(approval: Approval) -> World {
    let mut world = with_stable(&[(20, 60)]);
    world.spec.rollout.approval = approval;
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    let split = world.carried();
    take_back(&mut world);
    let waiting = world.run(40);
    assert_eq!(waiting.because.reason(), "RoutePending", "{}", waiting.because);
    assert_eq!(stage(&world), Some(Stage::Soaking));
    assert!(world.carried().sends_as(&split));
    world
}

/// At the last step, of half a minute, after a first one that had to wait for requests a quarter of a minute longer.
fn late(approval: Approval) -> World {
    let mut world = with_stable(&[(20, 60), (50, 30)]);
    world.spec.rollout.approval = approval;
    world.spec.analysis.min_requests = 1500;
    world.want("v2", HEALTHY);
    until(&mut world, |world| times_told(world, "StepPassed") > 0);
    assert_eq!(blocks(&world), 15);
    until(&mut world, is_at(Stage::Soaking));
    world
}

#[test]
fn what_a_step_took_too_long_is_not_taken_off_the_next() {
    let mut world = late(Approval::Automatic);
    let before = blocks(&world);
    assert_eq!(world.run(10).phase(), Phase::Promoted);
    assert_eq!(shares(&world)[before..], [0.5; 6], "half a minute");

    let mut world = late(Approval::Manual);
    let last = world.run(5);
    assert_eq!(last.because.reason(), "Observing", "{}", last.because);
    assert_eq!(
        times_told(&world, "AwaitingApproval"),
        0,
        "nobody is asked so early"
    );
    let last = world.run(2);
    assert_eq!(last.because.reason(), "AwaitingApproval", "{}", last.because);
    assert_eq!(times_told(&world, "AwaitingApproval"), 1);
    world.live(5);
    assert_eq!(times_told(&world, "AwaitingApproval"), 1);
}

#[test]
fn a_person_is_asked_when_the_verdict_falls_whatever_the_route_does() {
    let asked = |world: &World| times_told(world, "AwaitingApproval");
    let mut judged = with_stable(&[(20, 600)]);
    judged.spec.rollout.approval = Approval::Manual;
    judged.want("v2", HEALTHY);
    judged.live(20);
    assert!(blocks(&judged) > 1, "it is judged");
    assert_eq!(asked(&judged), 0, "nobody is asked before the verdict");

    let mut world = passed_without_a_route(Approval::Manual);
    assert_eq!(asked(&world), 1, "{:?}", world.news);

    world.gateway = true;
    let last = world.run(10);
    assert_eq!(last.because.reason(), "AwaitingApproval", "{}", last.because);
    assert_eq!(asked(&world), 1, "nobody is asked twice");
    world.ask(Verb::Approve);
    assert_eq!(world.run(10).phase(), Phase::Promoted);
}

#[test]
fn a_canary_that_has_passed_waits_for_its_route_and_is_watched_meanwhile() {
    let mut world = passed_without_a_route(Approval::Automatic);
    assert_eq!(times_told(&world, "AwaitingApproval"), 0, "{:?}", world.news);
    world.gateway = true;
    assert_eq!(world.run(10).phase(), Phase::Promoted);

    let mut world = passed_without_a_route(Approval::Automatic);
    world
        .behaviour
        .insert(world.wanted().revision.to_string(), FAILING);
    world.live(60);
    let canary = world.state.canary.as_ref().expect("it is on trial");
    assert_eq!(canary.stage, Stage::RollingBack, "with the route as it is");
    world.gateway = true;
    assert_eq!(world.run(10).phase(), Phase::RolledBack);
    assert_eq!(world.state.history[0].outcome.reason, Reason::TooManyErrors);
}

#[test]
fn a_step_waits_for_its_route_as_well() {
    let mut world = with_stable(&[(20, 60), (50, 60)]);
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    take_back(&mut world);
    world.live(40);
    let canary = world.state.canary.as_ref().expect("it is on trial");
    assert_eq!((canary.stage, canary.step), (Stage::Soaking, 0));
}

#[test]
fn an_operator_that_dies_between_the_route_and_its_word_of_it_has_moved() {
    let mut world = with_stable(&[(20, 60), (50, 600)]);
    world.want("v2", HEALTHY);
    let revision = world.wanted().revision;
    // The weights of the second step are asked for, and nothing is written down of it.
    until(&mut world, |world| {
        world.state.canary.as_ref().is_some_and(|canary| {
            canary.stage == Stage::Soaking
                && canary
                    .soak
                    .is_some_and(|soak| soak.observed == soak.required - SignedDuration::from_secs(5))
        })
    });
    world.settle();
    world.pass(5);
    let (planned, recorded) = world.turn(1);
    assert!(
        !recorded && matches!(planned.actions[..], [Action::Route(_)]),
        "{planned:?}"
    );
    assert_eq!(world.carried().weight(&revision), 50);

    world.pass(5);
    let (next, _) = world.turn(usize::MAX);
    assert!(
        next.actions.is_empty(),
        "the route does not go back: {:?}",
        next.actions
    );
    let canary = next.state.canary.as_ref().expect("it is on trial");
    assert_eq!((canary.stage, canary.step), (Stage::Shifting, 1));
    assert!(times_told(&world, "RouteRestored") == 0, "{:?}", world.news);
}

#[test]
fn what_one_look_makes_up_for_ends_with_the_step() {
    let mut world = with_stable(&[(20, 60), (50, 60)]);
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    world.settle();
    world.live(3);
    assert_eq!(stage(&world), Some(Stage::Soaking));
    // Nobody looks for five minutes; Prometheus does.
    world.pass(300);
    let _ = world.turn(usize::MAX);
    let canary = world.state.canary.as_ref().expect("it is on trial");
    assert_eq!((canary.stage, canary.step), (Stage::Shifting, 1));
    assert_eq!(blocks(&world), 12, "what came later belongs to nobody's step");
}

#[test]
fn what_one_look_makes_up_for_ends_with_the_verdict() {
    let soaking = || {
        let mut world = with_stable(&[(20, 3600)]);
        world.want("v2", FAILING);
        until(&mut world, is_at(Stage::Soaking));
        world
    };
    let (mut watched, mut alone) = (soaking(), soaking());
    until(&mut watched, is_at(Stage::RollingBack));
    alone.pass(300);
    let _ = alone.turn(usize::MAX);
    assert_eq!(stage(&alone), Some(Stage::RollingBack));
    assert_eq!(alone.record, watched.record);
}

#[test]
fn a_canary_that_becomes_ready_again_has_its_whole_deadline_the_next_time() {
    // Whatever else it waits for.
    for is_carried in [true, false] {
        // A minute, of which it is away for three quarters, twice.
        let mut world = with_stable(&[(20, 600)]);
        world.want("v2", HEALTHY);
        until(&mut world, is_at(Stage::Soaking));
        if !is_carried {
            take_back(&mut world);
        }
        let revision = world.wanted().revision.to_string();
        for _ in 0..2 {
            world.behaviour.insert(revision.clone(), STUCK);
            assert_eq!(world.run(9).because.reason(), "CanaryUnready");
            world.behaviour.insert(revision.clone(), HEALTHY);
            world.live(2);
            assert_eq!(stage(&world), Some(Stage::Soaking));
        }
        world.behaviour.insert(revision, STUCK);
        world.live(20);
        world.gateway = true;
        world.live(5);
        assert_eq!(world.state.history[0].outcome.reason, Reason::NotReady);
    }
}

#[test]
fn a_canary_that_a_person_promotes_while_it_is_unready_has_a_deadline_of_its_own_in_each_stage() {
    let mut world = with_stable(&[(20, 600)]);
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    let revision = world.wanted().revision.to_string();
    world.behaviour.insert(revision.clone(), STUCK);
    assert_eq!(world.run(9).because.reason(), "CanaryUnready");
    world.ask(Verb::Promote);
    world.live(1);
    assert_eq!(stage(&world), Some(Stage::Growing));
    world.behaviour.insert(revision.clone(), HEALTHY);
    world.gateway = false;
    until(&mut world, is_at(Stage::Promoting));
    world.behaviour.insert(revision, STUCK);
    world.settle();
    assert_eq!(world.run(9).because.reason(), "CanaryUnready");
    assert_eq!(stage(&world), Some(Stage::Promoting));
}

#[test]
fn a_canary_that_loses_its_pods_when_all_traffic_comes_is_not_promoted_until_they_are_back() {
    for recovers in [true, false] {
        let mut world = with_stable(&[(20, 30)]);
        let stable = world.wanted().revision;
        world.want("v2", HEALTHY);
        until(&mut world, is_at(Stage::Soaking));
        world.ask(Verb::Promote);
        until(&mut world, is_at(Stage::Promoting));
        let revision = world.wanted().revision.to_string();
        world.behaviour.insert(revision.clone(), STUCK);
        world.settle();
        let waiting = world.run(9);
        assert_eq!(waiting.because.reason(), "CanaryUnready", "{}", waiting.because);
        assert_eq!(
            stage(&world),
            Some(Stage::Promoting),
            "though the gateway carries it"
        );
        assert_eq!(world.workloads[&stable].replicas, 2, "the way back is open");

        if recovers {
            world.behaviour.insert(revision, HEALTHY);
        }
        world.live(20);
        let expected = if recovers {
            Reason::Promoted
        } else {
            Reason::NotReady
        };
        assert_eq!(world.state.history[0].outcome.reason, expected);
    }
}

#[test]
fn a_promotion_that_was_not_written_down_leaves_an_abort_the_pods_to_go_back_to() {
    let mut world = with_stable(&[(20, 30)]);
    let stable = world.wanted().revision;
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Promoting));
    world.settle();
    // All but the status: somebody has changed the release meanwhile.
    let promoted = world.plan();
    assert_eq!(promoted.phase(), Phase::Promoted);
    let (_, is_recorded) = world.turn(promoted.actions.len());
    assert!(!is_recorded);
    world.settle();

    world.ask(Verb::Abort);
    world
        .turn(usize::MAX)
        .0
        .news
        .iter()
        .for_each(|news| assert_eq!(news.reason, Transition::RollingBack));
    assert_eq!(world.carried().weight(&stable), 100);
    assert_eq!(world.workloads[&stable].ready, 2, "who answers at once");
    assert_eq!(world.run(10).phase(), Phase::RolledBack);
}

#[test]
fn a_rollback_takes_the_traffic_is_written_down_and_gives_pods_away_before_it_asks_for_any() {
    let mut world = with_stable(&[(20, 600)]);
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    world.spec.serving.replicas = 20;
    world.ask(Verb::Abort);
    let mut actions = || world.turn(usize::MAX).0.actions;
    assert!(matches!(&actions()[..], [Action::Route(_)]));
    // The gateway has not said so yet.
    assert!(matches!(&actions()[..], [.., Action::Scale { replicas: 20, .. }]));
    world.settle();
    world.spec.serving.replicas = 30;
    let last = world.turn(usize::MAX).0.actions;
    assert!(
        matches!(
            &last[..],
            [
                Action::Scale { replicas: 0, .. },
                Action::Scale { replicas: 30, .. }
            ]
        ),
        "{last:?}"
    );
}

#[test]
fn a_version_that_cannot_be_deployed_leaves_nothing_of_the_one_that_was_replaced() {
    let mut world = with_stable(&[(20, 30)]);
    let first = world.wanted().revision;
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Promoting));
    world.want("v3", HEALTHY);
    world.settle();
    drop(world.turn(usize::MAX));
    assert_eq!(world.state.history[0].outcome.reason, Reason::Promoted);
    assert_eq!(world.workloads[&first].replicas, 2);
    // More pods, which may be refused, are asked for last.
    let made = world.plan();
    assert!(
        matches!(
            &made.actions[..],
            [.., Action::Scale { replicas: 0, .. }, Action::Deploy { .. }]
        ),
        "{:?}",
        made.actions
    );
}

#[test]
fn a_promotion_waits_for_no_pods_that_an_autoscaler_asks_for_meanwhile() {
    let mut world = with_stable(&[(20, 30)]);
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Promoting));
    world.behaviour.insert(world.wanted().revision.to_string(), STUCK);
    world.spec.serving.replicas = 8;
    world.settle();
    let ready = world.workloads[&world.wanted().revision].ready;
    assert!(ready < 2, "{ready} of 8, and stable has 2");
    let canary = world.wanted().revision;
    for (ready, is_promoted) in [(1, false), (2, true)] {
        world.workloads.get_mut(&canary).expect("its pods").ready = ready;
        let made = world.plan();
        let told = made.news.iter().any(|news| news.reason == Transition::Promoted);
        assert_eq!(told, is_promoted, "{ready} ready");
    }
}

#[test]
fn what_is_slow_while_it_warms_up_is_not_held_against_a_canary() {
    let cold = Behaviour {
        mean_ms: 4000.0,
        ..HEALTHY
    };
    for (warm_up, phase) in [("30s", Phase::Promoted), ("0s", Phase::RolledBack)] {
        let mut world = with_stable(&[(20, 120)]);
        world.spec.analysis.warm_up = warm_up.parse().expect("a period");
        world.want("v2", cold);
        until(&mut world, is_at(Stage::Soaking));
        world.settle();
        let plan = world.run(5);
        if phase == Phase::Promoted {
            assert_eq!(plan.because, Because::WarmingUp);
        }
        let revision = world.wanted().revision.to_string();
        world.behaviour.insert(revision, HEALTHY);
        assert_eq!(world.run(40).phase(), phase, "{warm_up}");
    }
}

#[test]
fn the_record_says_which_share_of_the_requests_was_to_reach_the_canary() {
    let mut world = with_stable(&[(10, 30), (50, 30)]);
    world.want("v2", HEALTHY);
    assert_eq!(world.run(40).phase(), Phase::Promoted);
    assert_eq!(shares(&world), [[0.1; 6], [0.5; 6]].concat());
}

#[test]
fn blocks_that_nobody_can_be_asked_about_any_more_are_given_up_and_no_others() {
    let mut world = with_stable(&[(20, 7200)]);
    world.want("v2", HEALTHY);
    world.live(8);
    let soak = |world: &World| world.state.canary.as_ref().and_then(|canary| canary.soak);
    let from = soak(&world).expect("it soaks").block_from;
    world.metrics = false;
    world.pass(600);
    let _ = world.turn(usize::MAX);
    let until = soak(&world).expect("it soaks").block_from;
    // The next one ended five minutes ago, which is not more than five minutes.
    let next = until + world.policy().interval;
    assert_eq!(world.now.duration_since(next), SignedDuration::from_mins(5));
    assert_eq!(
        i64::try_from(unanswered(&world)),
        Ok(until.duration_since(from).as_secs() / 5)
    );
}

#[test]
fn metrics_that_were_never_there_begin_no_judgement_and_are_asked_for_in_a_while() {
    let mut world = with_stable(&[(20, 600)]);
    world.spec.analysis.interval = "40s".parse().expect("a period");
    world.want("v2", HEALTHY);
    world.metrics = false;
    let plan = world.run(200);
    assert_eq!(plan.because.reason(), "MetricsUnavailable");
    assert_eq!((stage(&world), blocks(&world)), (Some(Stage::Soaking), 0));
    // A quarter of a block: Prometheus is in trouble.
    assert_eq!(plan.look_again, SignedDuration::from_secs(10));
}

#[test]
fn a_canary_that_is_ready_again_before_its_route_is_has_its_whole_deadline_the_next_time() {
    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", HEALTHY);
    world.gateway = false;
    until(&mut world, is_at(Stage::Shifting));
    let canary = world.wanted().revision;
    for (ready, is_counted) in [(1, false), (0, true), (1, false)] {
        world.workloads.get_mut(&canary).expect("its pods").ready = ready;
        drop(world.turn(usize::MAX));
        let unready_since = world
            .state
            .canary
            .as_ref()
            .and_then(|canary| canary.unready_since);
        assert_eq!(unready_since.is_some(), is_counted, "{ready} ready");
    }
}
