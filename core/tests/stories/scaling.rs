//! Somebody else owns the number of pods.

use serin_core::plan::{Because, Phase, Stage};
use serin_core::status::status;

use crate::with_stable;
use crate::world::{HEALTHY, World};

/// Pods that a revision is asked to have.
fn pods(world: &World, revision: &serin_core::revision::Revision) -> i32 {
    world
        .workloads
        .get(revision)
        .map_or(0, |workload| workload.replicas)
}

#[test]
fn another_size_goes_on_with_the_trial_and_the_canary_has_it_before_all_the_traffic() {
    let mut world = with_stable(&[(20, 60)]);
    let stable = world.wanted().revision;
    world.want("v2", HEALTHY);
    let canary = world.wanted().revision;
    world.live(5);
    let before = world.state.canary.clone().expect("it is on trial");
    assert_eq!(before.stage, Stage::Soaking);

    world.spec.serving.replicas = 6;
    world.live(1);
    let after = world.state.canary.clone().expect("it is still on trial");
    assert_eq!((after.stage, &after.version), (Stage::Soaking, &before.version));
    let observed = |canary: &serin_core::plan::Canary| canary.soak.map(|soak| soak.observed);
    assert!(observed(&after) >= observed(&before) && after.run.is_some());
    assert_eq!((pods(&world, &stable), pods(&world, &canary)), (6, 1));

    for _ in 0..60 {
        let plan = world.run(1);
        if world.carried().weight(&canary) == 100 {
            let ready = world.workloads.get(&canary).expect("it has pods").ready;
            assert!(ready >= 6, "{ready} pods for all the traffic");
        }
        if plan.phase() == Phase::Promoted {
            break;
        }
    }
    world.live(3);
    assert_eq!((pods(&world, &stable), pods(&world, &canary)), (0, 6));
    assert_eq!(world.news.iter().filter(|news| *news == "Started").count(), 1);
}

#[test]
fn the_size_is_that_of_what_carries_the_traffic() {
    let mut world = with_stable(&[(20, 60)]);
    world.spec.serving.replicas = 4;
    world.want("v2", HEALTHY);
    let plan = world.run(5);
    let written = status(
        &serin_core::crd::ModelReleaseStatus::default(),
        &plan,
        &world.policy(),
        &world.look(),
        Some(1),
        world.now,
    );
    assert!(written.canary.is_some());
    assert_eq!(
        (written.replicas, written.selector.as_str()),
        (4, "serin.dev/release=recommender")
    );
}

#[test]
fn a_release_at_zero_keeps_no_pods_and_begins_no_trial() {
    let mut world = with_stable(&[(20, 60)]);
    let stable = world.wanted().revision;
    world.want("v2", HEALTHY);
    let canary = world.wanted().revision;
    world.live(5);
    world.spec.serving.replicas = 0;
    let plan = world.run(6);
    assert_eq!(
        (plan.because, world.state.canary.as_ref()),
        (Because::Asleep, None)
    );
    assert_eq!((pods(&world, &stable), pods(&world, &canary)), (0, 0));
    assert_eq!(world.state.rejected, None, "it has done nothing wrong");

    world.spec.serving.replicas = 2;
    world.live(1);
    assert_eq!(pods(&world, &stable), 2);
    world.live(60);
    assert_eq!(world.state.stable.expect("one is stable").revision, canary);
}

#[test]
fn a_release_at_zero_whose_version_is_stable_is_as_it_should_be() {
    let mut world = with_stable(&[(20, 60)]);
    world.spec.serving.replicas = 0;
    assert_eq!(world.run(3).because, Because::Settled);
    assert_eq!(pods(&world, &world.wanted().revision), 0);
    world.spec.serving.replicas = 3;
    assert_eq!(world.run(3).because, Because::Settled);
    assert_eq!(pods(&world, &world.wanted().revision), 3);
}
