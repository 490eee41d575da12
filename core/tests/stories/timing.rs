//! When a release is looked at again, and what happens when nothing can be seen for long.

use jiff::SignedDuration;
use serin_core::crd::Otherwise;
use serin_core::plan::{Phase, Reason, Stage};
use serin_core::record::Entry;

use crate::with_stable;
use crate::world::{HEALTHY, World};

#[test]
fn a_soak_is_looked_at_when_its_block_can_be_known_and_never_without_end() {
    let mut world = with_stable(&[(20, 600)]);
    world.want("v2", HEALTHY);
    for _ in 0..40 {
        let plan = world.run(1);
        let soak = plan.state.canary.as_ref().and_then(|canary| canary.soak);
        let is_soaking = plan
            .state
            .canary
            .as_ref()
            .is_some_and(|canary| canary.stage == Stage::Soaking);
        let (Some(soak), true) = (soak, is_soaking) else {
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
    assert_eq!(world.run(3).look_again, SignedDuration::from_mins(5));
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
            assert_eq!(world.state.history[0].outcome.reason, Reason::Inconclusive);
        }
    }
}

#[test]
fn a_canary_that_a_person_trusts_before_it_has_pods_gets_everything_when_it_has() {
    let mut world = with_stable(&[(20, 3600)]);
    let slow = crate::world::Behaviour {
        ready: false,
        ..HEALTHY
    };
    world.want("v2", slow);
    world.live(2);
    let canary = world.state.canary.as_ref().expect("it is under way");
    assert_eq!(canary.stage, Stage::Preparing);
    let revision = canary.version.revision.clone();
    world.ask(serin_core::plan::Verb::Promote);
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
