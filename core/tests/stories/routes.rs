//! Weights that others change, the testers' door, and a release without a gateway.

use serin_core::plan::{Action, Observed, Phase, RouteSeen, Split, Stage, Verb};
use serin_core::revision::Revision;

use crate::world::{Behaviour, Front, HEALTHY, World};
use crate::{FAILING, is_at, times_told, until, with_stable};

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
        until(&mut world, is_at(Stage::Soaking));
        let wanted = world.wanted().revision;
        assert_eq!(pods(&world), (4, canary), "{asked}%");
        assert_eq!(world.carried().weight(&wanted), carried, "{asked}%");
    }
}

#[test]
fn without_a_gateway_a_canary_gets_nothing_before_it_is_ready_and_nothing_when_its_rollback_begins() {
    let mut world = without_a_gateway(&[(20, 60)], FAILING);
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
    assert!(
        times_told(&world, "RouteRestored") == 0,
        "pods are no route that was changed: {:?}",
        world.news
    );
}

#[test]
fn a_branch_that_is_left_keeps_the_old_pods_and_is_asked_to_go() {
    let mut world = with_stable(&[(20, 60)]);
    let seen = Observed {
        has_branch: true,
        ..world.look()
    };
    let made = world.plan_of(&seen);
    let stable = world.wanted().revision;
    let all = Split::of([(stable.clone(), 100)]);
    assert_eq!(made.actions, [Action::Route(all)]);
    // With a canary beside stable it is needed.
    world.want("v2", HEALTHY);
    world.live(4);
    let seen = Observed {
        has_branch: true,
        ..world.look()
    };
    let made = world.plan_of(&seen);
    assert_eq!(made.actions, []);
}

#[test]
fn the_stable_service_selects_what_is_stable_or_what_is_about_to_be() {
    let mut world = with_stable(&[(20, 60)]);
    let stable = world.wanted().revision;
    world.want("v2", HEALTHY);
    let canary = world.wanted().revision;
    until(&mut world, is_at(Stage::Soaking));
    world.service = Some(canary.clone());
    world.live(1);
    assert_eq!(world.service.as_ref(), Some(&stable), "on trial it is not");

    until(&mut world, is_at(Stage::Promoting));
    world.gateway = false;
    let other = Revision::recorded("0badcafe");
    for (selected, next) in [(&canary, &canary), (&stable, &stable), (&other, &stable)] {
        world.service = Some(selected.clone());
        world.live(1);
        assert!(is_at(Stage::Promoting)(&world));
        assert_eq!(world.service.as_ref(), Some(next), "{selected}");
    }
}

#[test]
fn weights_that_are_on_their_way_are_put_back_without_a_word() {
    let mut world = with_stable(&[(20, 60)]);
    let stable = world.wanted().revision;
    world.want("v2", HEALTHY);
    world.gateway = false;
    until(&mut world, is_at(Stage::Shifting));
    world.live(1);
    let wished = world.carried();
    world.route = RouteSeen::Asked {
        split: Split::of([(stable, 100)]),
        why: "not yet".into(),
    };
    world.live(1);
    assert!(world.carried().sends_as(&wished));
    assert!(times_told(&world, "RouteRestored") == 0, "{:?}", world.news);
}

#[test]
fn weights_that_spec_asks_for_now_are_no_deed_of_somebody_else() {
    let mut world = with_stable(&[(20, 600)]);
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    world.spec.rollout.steps[0].weight = 30;
    let told = |has_new_spec| {
        let seen = Observed {
            has_new_spec,
            ..world.look()
        };
        let made = world.plan_of(&seen);
        assert_eq!(
            made.wished_split(&world.policy())
                .weight(&world.wanted().revision),
            30
        );
        assert!(matches!(made.actions[..], [Action::Route(_)]));
        made.news.len()
    };
    assert_eq!((told(true), told(false)), (0, 1));
}

#[test]
fn what_was_found_in_a_route_that_is_put_back_is_told() {
    let mut world = with_stable(&[(20, 600)]).with_testers();
    let stable = world.wanted().revision;
    world.want("v2", HEALTHY);
    let canary = world.wanted().revision;
    until(&mut world, is_at(Stage::Soaking));
    world.live(2);
    let all = Split::of([(stable.clone(), 100)]);
    let why = "there is no rule of that name";
    for (split, found) in [
        (
            all.clone().with_testers(Some(canary)),
            format!("it asked for 100 to {stable}"),
        ),
        (
            all.clone().with_testers(Some(stable.clone())),
            format!("it asked for 100 to {stable}, and of {stable} for testers"),
        ),
        (
            all,
            format!("it asked for 100 to {stable}, and of nobody for testers"),
        ),
        (Split::default(), why.to_owned()),
    ] {
        world.route = RouteSeen::Asked {
            split,
            why: why.into(),
        };
        let (made, _) = world.turn(usize::MAX);
        let told = made.news.first().map(|news| news.message.clone());
        let message = format!("somebody else changed the route, which is put back: {found}");
        assert_eq!(told, Some(message));
        world.live(2);
    }
}

#[test]
fn a_service_that_somebody_removed_is_made_again_before_anything_else() {
    let mut world = with_stable(&[(20, 600)]);
    let stable = world.wanted().revision;
    world.want("v2", HEALTHY);
    let canary = world.wanted().revision;
    until(&mut world, is_at(Stage::Soaking));
    for revision in [&stable, &canary] {
        world
            .workloads
            .get_mut(revision)
            .expect("its pods")
            .is_unreachable = true;
        world.settle();
        let (made, _) = world.turn(usize::MAX);
        assert_eq!(
            made.actions,
            [Action::Serve(revision.clone())],
            "no pod is touched"
        );
        assert_eq!(made.because.reason(), "RoutePending");
        world.settle();
        world.live(1);
        assert_eq!(
            world.state.canary.as_ref().map(|canary| canary.stage),
            Some(Stage::Soaking)
        );
    }
    // Of what is rolled back, too: a route that names it is refused, and the rollback would not end.
    world.ask(Verb::Abort);
    drop(world.turn(usize::MAX));
    world.workloads.get_mut(&canary).expect("its pods").is_unreachable = true;
    assert_eq!(world.run(10).phase(), Phase::RolledBack);
    assert!(!world.workloads[&canary].is_unreachable);
}

#[test]
fn a_first_version_is_rolled_back_to_the_end_whatever_became_of_its_route() {
    let mut world = World::new(&[(20, 60)]);
    world.want("v1", HEALTHY);
    until(&mut world, is_at(Stage::Promoting));
    world.gateway = false;
    world.live(1);
    world.ask(Verb::Abort);
    world.route = RouteSeen::Asked {
        split: Split::default(),
        why: "it says something else than spec.route".into(),
    };
    assert_eq!(world.run(10).phase(), Phase::RolledBack);
    assert_eq!(world.route, RouteSeen::Missing);
}
