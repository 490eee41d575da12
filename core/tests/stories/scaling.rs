//! Somebody else owns the number of pods.

use serin_core::plan::{Because, Phase, Stage};
use serin_core::status::status;

use crate::world::{HEALTHY, STUCK, World};
use crate::{FAILING, is_at, times_told, until, with_stable};

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
    assert_eq!(times_told(&world, "Started"), 1);
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

#[test]
fn the_first_version_has_all_its_pods_before_any_traffic_and_a_canary_those_of_its_trial() {
    let mut world = World::new(&[(20, 60)]);
    world.want("v1", STUCK);
    world.live(2);
    let first = world.wanted().revision;
    assert_eq!(pods(&world, &first), 2);
    assert_eq!(world.carried().weight(&first), 0);

    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", STUCK);
    world.live(2);
    assert!(is_at(Stage::Preparing)(&world));
    assert_eq!(pods(&world, &world.wanted().revision), 1);
}

#[test]
fn a_canary_that_grows_keeps_its_traffic() {
    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Growing));
    let canary = world.wanted().revision;
    world.behaviour.insert(canary.to_string(), STUCK);
    world.live(2);
    assert!(is_at(Stage::Growing)(&world));
    assert_eq!((pods(&world, &canary), world.carried().weight(&canary)), (2, 20));
}

#[test]
fn a_release_that_is_asleep_makes_nothing_that_somebody_has_deleted() {
    let mut world = with_stable(&[(20, 60)]);
    world.spec.serving.replicas = 0;
    world.live(3);
    world.workloads.clear();
    world.live(3);
    assert!(world.workloads.is_empty(), "{:?}", world.workloads);
    world.spec.serving.replicas = 2;
    world.live(3);
    assert_eq!(pods(&world, &world.wanted().revision), 2);
}

#[test]
fn pods_of_a_version_that_spec_does_not_ask_for_are_not_made_anew() {
    let mut world = with_stable(&[(20, 60)]);
    let stable = world.wanted().revision;
    world.want("v2", FAILING);
    assert_eq!(world.run(40).phase(), Phase::RolledBack);
    world.workloads.remove(&stable);
    world.live(3);
    // Their template is not known any more: they would be pods of another version under its name.
    assert!(!world.workloads.contains_key(&stable), "{:?}", world.workloads);
}

#[test]
fn what_was_rolled_back_keeps_its_place_until_another_version_is_asked_for() {
    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", FAILING);
    let refused = world.wanted().revision;
    assert_eq!(world.run(40).phase(), Phase::RolledBack);
    assert!(world.workloads.contains_key(&refused), "it may be tried again");
    world.want("v3", HEALTHY);
    assert_eq!(world.run(40).phase(), Phase::Promoted);
    assert!(!world.workloads.contains_key(&refused), "{:?}", world.workloads);
}
