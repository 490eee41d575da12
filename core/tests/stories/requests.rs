//! What people ask for, and what becomes of it.

use serde_json::json;
use serin_core::crd::{Approval, OnNewVersion};
use serin_core::plan::{Because, Phase, Reason, Request, Stage, Verb};

use crate::world::{HEALTHY, World};
use crate::{FAILING, is_at, times_told, until, with_stable};

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
    world
        .behaviour
        .insert(world.wanted().revision.to_string(), FAILING);
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
    assert!(times_told(&world, "AwaitingApproval") == 0, "{:?}", world.news);
    let message = &world.state.history[0].outcome.message;
    assert!(
        message.ends_with("in place of v1"),
        "evidence promoted it, the yes alone did not: {message}"
    );
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
    assert_eq!(times_told(&world, "Refused"), 1);

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
    let promoted = world.state.history[0].at;
    assert_eq!(
        world.state.undo(),
        Some(Request::on(Verb::Undo, &undone, promoted)),
        "of this promotion"
    );

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
fn who_skips_the_last_step_is_not_asked_for_a_yes_as_well() {
    let mut world = with_stable(&[(20, 600)]);
    world.spec.rollout.approval = Approval::Manual;
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    world.ask(Verb::Skip);
    assert_eq!(world.run(10).phase(), Phase::Promoted);
    assert!(times_told(&world, "AwaitingApproval") == 0, "{:?}", world.news);
}

#[test]
fn an_undo_waits_while_the_release_is_paused_or_asleep() {
    type Rest = fn(&mut World, bool);
    let pause: Rest = |world, rests| world.spec.paused = rests;
    let sleep: Rest = |world, rests| world.spec.serving.replicas = if rests { 0 } else { 2 };
    for (how, rest) in [("paused", pause), ("asleep", sleep)] {
        let mut world = with_stable(&[(20, 30)]);
        world.want("v2", HEALTHY);
        assert_eq!(world.run(40).phase(), Phase::Promoted);
        let stable = |world: &World| world.state.stable.as_ref().map(|stable| stable.name.clone());
        world.request = Some(Request::new(Verb::Undo, &world.wanted().revision).to_string());

        rest(&mut world, true);
        world.live(10);
        assert_eq!(stable(&world).as_deref(), Some("v2"), "{how}");
        assert!(
            world.state.canary.is_none() && world.state.answered.is_none(),
            "{how}"
        );

        rest(&mut world, false);
        world.live(10);
        assert_eq!(
            stable(&world).as_deref(),
            Some("v1"),
            "awake again after it was {how}"
        );
    }
}

/// The news since `world` was asked `request`, and the answer's words.
fn answer(world: &mut World, request: &Request) -> (Vec<String>, String) {
    world.news.clear();
    world.request = Some(request.to_string());
    world.live(3);
    let answer = world.state.answered.clone().expect("an answer");
    assert_eq!(answer.request, request.to_string());
    (world.news.clone(), answer.words)
}

#[test]
fn a_retry_names_the_last_rollback_and_waits_for_no_other_trial() {
    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", FAILING);
    world.live(40);
    let first = world.state.retry().expect("it was rolled back");
    world.ask_to_retry();
    world.live(40);
    let second = world.state.retry().expect("and once more");
    assert_ne!(first, second);
    let (news, words) = answer(
        &mut world,
        &Request::on(Verb::Retry, &first.revision, "yesterday"),
    );
    assert_eq!(news, ["RequestIgnored"]);
    assert!(words.contains("not the last rollback"), "{words}");

    // While something else is on trial.
    world.want("v3", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    let (news, _) = answer(&mut world, &second);
    assert_eq!(news, ["RequestIgnored"]);
    assert!(is_at(Stage::Soaking)(&world));
}

#[test]
fn an_undo_needs_the_pods_of_the_version_before() {
    let mut world = with_stable(&[(20, 30)]);
    let first = world.wanted().revision;
    world.want("v2", HEALTHY);
    world.live(40);
    assert!(
        world.workloads.remove(&first).is_some(),
        "it is kept, without pods"
    );
    let undo = Request::new(Verb::Undo, &world.wanted().revision);
    let (news, words) = answer(&mut world, &undo);
    assert_eq!(news, ["RequestIgnored"]);
    assert!(
        words.contains("no version that was stable before is kept"),
        "{words}"
    );
    assert!(world.state.canary.is_none());
}

#[test]
fn two_requests_that_are_ignored_are_two_events_and_one_that_stays_is_one() {
    let mut world = with_stable(&[(20, 60)]);
    let mut ordinal = |text: &str| {
        world.request = Some(text.to_owned());
        let told = world.turn(usize::MAX).0.news;
        assert_eq!(world.turn(usize::MAX).0.news, [], "told once");
        told.first().map(|news| news.ordinal).expect("it is told")
    };
    let (first, second, again) = (ordinal("stop"), ordinal("please stop"), ordinal("stop"));
    assert_ne!(first, second);
    assert_eq!(first, again, "an event of the same name, counted up");
}

#[test]
fn each_trial_of_a_version_hears_the_same_word_anew_and_none_that_was_meant_for_another() {
    let mut world = with_stable(&[(20, 600)]);
    let trial = |world: &mut World| {
        world.want("v2", HEALTHY);
        until(world, is_at(Stage::Soaking));
        let canary = world.state.canary.as_ref().expect("it is on trial");
        canary.request(Verb::Abort)
    };
    let first = trial(&mut world);
    world.ask(Verb::Abort);
    assert_eq!(world.run(10).phase(), Phase::RolledBack);
    // Asked for after another, it is tried again.
    world.want("v1", HEALTHY);
    world.live(3);

    let second = trial(&mut world);
    assert_eq!(first.revision, second.revision);
    world.request = Some(first.to_string());
    world.live(3);
    assert!(
        is_at(Stage::Soaking)(&world),
        "what was answered is not answered again"
    );
    let (news, words) = answer(
        &mut world,
        &Request::on(Verb::Skip, &first.revision, "0@yesterday"),
    );
    assert_eq!(news, ["RequestIgnored"]);
    assert!(words.contains("meant for another trial"), "{words}");
    assert!(is_at(Stage::Soaking)(&world));

    world.ask(Verb::Abort);
    assert_eq!(world.run(10).phase(), Phase::RolledBack);
}

#[test]
fn who_skips_an_early_step_has_not_said_yes_to_the_promotion() {
    let mut world = with_stable(&[(10, 600), (20, 60)]);
    world.spec.rollout.approval = Approval::Manual;
    world.want("v2", HEALTHY);
    until(&mut world, is_at(Stage::Soaking));
    world.ask(Verb::Skip);
    let last = world.run(200);
    assert!(
        matches!(last.because, Because::AwaitingApproval(_)),
        "{}",
        last.because
    );
    assert_eq!(times_told(&world, "AwaitingApproval"), 1, "{:?}", world.news);
}

#[test]
fn an_undo_stands_although_spec_asks_for_a_version_that_was_rolled_back() {
    for on_new_version in [OnNewVersion::Queue, OnNewVersion::Supersede, OnNewVersion::Reject] {
        let mut world = with_stable(&[(20, 30)]);
        world.spec.rollout.on_new_version = on_new_version;
        world.want("v2", HEALTHY);
        assert_eq!(world.run(40).phase(), Phase::Promoted);
        world.want("v3", FAILING);
        assert_eq!(world.run(40).phase(), Phase::RolledBack);

        world.request = world.state.undo().map(|undo| undo.to_string());
        world.news.clear();
        let last = world.run(40);
        let stable = world.state.stable.as_ref().map(|stable| stable.name.as_str());
        assert_eq!(stable, Some("v1"), "{:?}", world.news);
        assert_eq!(world.news, ["Started", "Promoted"], "{on_new_version:?}");
        assert_eq!(
            last.phase(),
            Phase::RolledBack,
            "what spec asks for is not tried again"
        );
        let rejected = world
            .state
            .rejected
            .as_ref()
            .map(|(version, _)| version.name.as_str());
        assert_eq!(rejected, Some("v3"));
    }
}

#[test]
fn an_undo_gives_way_to_a_version_that_is_still_to_be_tried() {
    let mut world = with_stable(&[(20, 30)]);
    world.want("v2", HEALTHY);
    assert_eq!(world.run(40).phase(), Phase::Promoted);
    let undo = world.state.undo().expect("v2 was promoted");
    let (news, words) = answer(&mut world, &Request::on(Verb::Undo, &undo.revision, "yesterday"));
    assert_eq!(news, ["RequestIgnored"]);
    assert!(words.contains("v2 was not promoted at that time"), "{words}");

    world.spec.gates = serde_json::from_value(json!([{ "name": "rmse", "require": "evidence.rmse < 0.5" }]))
        .expect("a gate");
    world.want("v3", HEALTHY);
    world.live(3);
    let (news, words) = answer(&mut world, &undo);
    assert_eq!(news, ["RequestIgnored"]);
    assert!(words.contains("let it ask for v1 instead"), "{words}");
    assert!(world.state.canary.is_none());
}
