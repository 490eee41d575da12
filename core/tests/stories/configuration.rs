//! Configuration is part of a version.

use serde_json::json;
use serin_core::configuration::{Configuration, references};
use serin_core::crd::ModelReleaseStatus;
use serin_core::plan::{Adopted, Because, Phase, Stage, Verb};
use serin_core::status::{state, status};

use crate::times_told;
use crate::world::{HEALTHY, World, limits, missing};

/// A world whose pods read a ConfigMap, and where nothing has been asked for.
fn reading(configuration: Configuration) -> World {
    let mut world = World::new(&[(20, 60)]);
    world.spec.serving.template.spec = json!({"containers": [{
        "name": "server", "image": "server:1", "ports": [{"name": "http", "containerPort": 8082}],
        "envFrom": [{"configMapRef": {"name": "limits"}}],
    }]});
    assert_eq!(references(&world.spec.serving).len(), 1);
    world.configuration = configuration;
    world
}

/// One whose first version is stable.
fn serving() -> World {
    let mut world = reading(limits("20"));
    world.want("v1", HEALTHY);
    world.live(10);
    world.news.clear();
    world
}

#[test]
fn a_change_of_configuration_is_tried_like_a_new_model_and_a_change_back_is_not() {
    let mut world = serving();
    let before = world.wanted().revision;
    world.configuration = limits("30");
    world.live(3);
    let canary = world.state.canary.clone().expect("it is there");
    assert_eq!(canary.version.revision, world.wanted().revision);
    assert_ne!(canary.version.revision, before);
    assert_eq!(world.carried().weight(&before), 80, "{:?}", world.carried());

    world.configuration = limits("20");
    world.live(10);
    assert_eq!(world.state.canary, None);
    assert_eq!(world.state.stable.as_ref().expect("it is there").revision, before);
    assert_eq!(world.news.last().expect("it is there"), "RolledBack");
}

#[test]
fn what_is_missing_holds_what_comes_next_and_leaves_what_serves() {
    let mut world = serving();
    let (stable, before) = (world.wanted().revision, world.route.clone());
    world.configuration = missing();
    let plan = world.run(20);
    let Because::ConfigurationMissing(what) = &plan.because else {
        panic!("{:?}", plan.because);
    };
    assert!(what.contains("there is no ConfigMap limits"), "{what}");
    assert_eq!(plan.because.reason(), "ConfigurationMissing");
    assert_eq!(plan.phase(), Phase::Held);
    assert_eq!((plan.actions.as_slice(), &world.route), (&[][..], &before));

    world.configuration = limits("20");
    assert_eq!(world.run(3).because, Because::Settled);
    assert_eq!(world.state.stable.as_ref().expect("it is there").revision, stable);
    assert_eq!(world.news, [""; 0]);
}

#[test]
fn a_trial_goes_on_when_what_it_was_made_of_is_gone() {
    let mut world = serving();
    world.configuration = limits("30");
    world.live(5);
    let canary = world.state.canary.clone().expect("it is there");
    assert_eq!(canary.stage, Stage::Soaking);
    world.configuration = missing();
    world.live(60);
    assert_eq!(world.state.canary, None);
    assert_eq!(
        world.state.stable.as_ref().expect("it is there").revision,
        canary.version.revision
    );
}

#[test]
fn a_first_version_waits_for_its_configuration() {
    let mut world = reading(missing());
    world.spec.model = serving().spec.model;
    assert_eq!(world.run(3).because.reason(), "ConfigurationMissing");
    assert!(world.workloads.is_empty());
    world.configuration = limits("20");
    assert_eq!(world.run(10).phase(), Phase::Promoted);
}

/// A world as an operator left it that did not look at configuration.
fn from_before() -> World {
    let mut world = reading(Configuration::default());
    world.want("v1", HEALTHY);
    world.live(10);
    world.news.clear();
    world.configuration = limits("20");
    world
}

#[test]
fn an_operator_that_begins_to_look_at_configuration_starts_no_canary() {
    let mut world = from_before();
    let stable = world.state.stable.clone().expect("it is there");
    assert_eq!(world.run(20).because, Because::Settled);
    assert_eq!(world.state.stable, Some(stable.clone()));
    assert_eq!(world.news, [""; 0]);
    let adopted = Adopted {
        revision: stable.revision.clone(),
        in_place_of: world.wanted().revision,
    };
    assert_eq!(world.state.adopted, Some(adopted));

    // From then on a change is one, and a change back leads to where it was.
    world.configuration = limits("30");
    world.live(3);
    let canary = world.state.canary.clone().expect("it is there");
    assert_eq!(canary.version.revision, world.wanted().revision);
    world.configuration = limits("20");
    world.live(10);
    assert_eq!((&world.state.canary, &world.state.stable), (&None, &Some(stable)));
}

#[test]
fn a_trial_under_way_is_not_begun_anew_and_one_that_failed_is_not_repeated() {
    let mut world = reading(Configuration::default());
    world.want("v1", HEALTHY);
    world.live(10);
    world.want("v2", HEALTHY);
    world.live(5);
    let canary = world.state.canary.clone().expect("it is there");
    let mut aborted = world.clone();

    world.configuration = limits("20");
    world.live(60);
    assert_eq!(
        world.state.stable.as_ref().expect("it is there").revision,
        canary.version.revision
    );
    assert_eq!(times_told(&world, "Started"), 2);

    aborted.ask(Verb::Abort);
    aborted.live(10);
    aborted.configuration = limits("20");
    assert_eq!(aborted.run(10).because.reason(), "Aborted");
    assert_eq!(aborted.state.canary, None);
}

#[test]
fn what_was_adopted_survives_the_way_through_the_status() {
    let mut world = from_before();
    let plan = world.run(1);
    let written = status(
        &ModelReleaseStatus::default(),
        &plan,
        &world.policy(),
        &world.look(),
        Some(1),
        world.now,
    );
    assert!(world.state.adopted.is_some());
    assert_eq!(state(&written).adopted, world.state.adopted);
}
