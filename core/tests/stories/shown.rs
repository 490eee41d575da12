//! What a person and a dashboard see of a release: its status.

use jiff::SignedDuration;
use serde_json::{Value, json};
use serin_core::crd::{Method, ModelReleaseStatus};
use serin_core::period::Period;
use serin_core::plan::{
    Action, Because, Canary, News, Observed, Obstacle, Phase, Plan, Reason, RouteSeen, Stage, State,
    Transition, evidence,
};
use serin_core::status::{state, status};

use crate::world::{Behaviour, HEALTHY, STUCK, World};
use crate::{FAILING, blocks, with_stable};

/// What is written down after `plan`.
fn written(world: &World, plan: &Plan) -> ModelReleaseStatus {
    let before = ModelReleaseStatus::default();
    status(&before, plan, &world.policy(), &world.look(), Some(1), world.now)
}

#[test]
fn a_soak_shows_what_was_counted_and_how_strong_the_evidence_is() {
    for (behaviour, canary_mean) in [
        (HEALTHY, 20.0),
        (
            Behaviour {
                mean_ms: 40.0,
                ..HEALTHY
            },
            40.0,
        ),
    ] {
        let mut world = with_stable(&[(20, 3600)]);
        world.want("v2", behaviour);
        let plan = world.run(12);
        assert_eq!(plan.phase(), Phase::Soaking, "{behaviour:?}");
        let status = written(&world, &plan);
        let shown = status.analysis.as_ref().expect("it is judged");

        // 100 requests a second, a fifth of them to the canary, in blocks of 5 s.
        let looks = shown.looks;
        assert!(looks >= 5, "{looks} blocks");
        assert_eq!(
            (shown.canary.requests, shown.stable.requests),
            (looks * 100, looks * 400)
        );
        assert_eq!(
            (shown.canary.failures, shown.canary.successes),
            (0, shown.canary.requests)
        );
        assert_eq!(shown.canary.latency_ms_mean, Some(canary_mean));
        assert_eq!(shown.stable.latency_ms_mean, Some(20.0));
        assert_eq!((shown.coverage, &*shown.verdict), (1.0, "Collecting"));
        let run = plan.state.canary.as_ref().and_then(|canary| canary.run.as_ref());
        let began = run.expect("a run").began.as_second();
        let revision = world.wanted().revision;
        assert_eq!(shown.record.as_deref(), Some(&*format!("{revision}-{began}")));
        assert_eq!((shown.abort_at, shown.promote_at), (100.0, 20.0));
        assert!(
            shown.evidence > 0.0 && shown.evidence < shown.abort_at,
            "{}",
            shown.evidence
        );
        let questions: Vec<_> = shown.questions.iter().map(|asked| &*asked.question).collect();
        assert!(
            questions.contains(&"errors") && questions.len() > 1,
            "{questions:?}"
        );
        assert!(
            shown
                .questions
                .iter()
                .all(|asked| asked.worse > 0.0 && asked.not_worse > 0.0)
        );
        assert!(!shown.outlook.is_empty() && shown.record.is_some() && shown.checkpoint.is_some());

        let soak = status.soak.as_ref().expect("it soaks");
        let seconds = soak.observed.get().as_secs();
        assert_eq!(status.display.soak, format!("{seconds}s/1h"));
        assert_eq!(status.display.weight, "20/20");
        assert_eq!(status.display.reason, plan.because.to_string());
    }
}

#[test]
fn what_a_canary_failed_by_stays_to_be_seen_and_its_checkpoint_does_not() {
    let mut world = with_stable(&[(20, 3600)]);
    world.want("v2", FAILING);
    let mut last = ModelReleaseStatus::default();
    for _ in 0..40 {
        let plan = world.run(1);
        last = status(&last, &plan, &world.policy(), &world.look(), Some(1), world.now);
        if plan.phase() == Phase::RolledBack {
            break;
        }
    }
    assert_eq!(world.state.history[0].outcome.reason, Reason::TooManyErrors);
    let shown = last.analysis.expect("it was judged");
    assert!(shown.checkpoint.is_none(), "nobody goes on from it");
    // One of twenty.
    assert_eq!(shown.canary.failures, shown.canary.requests / 20);
    assert_eq!(
        shown.canary.successes,
        shown.canary.requests - shown.canary.failures
    );
    assert_eq!(shown.stable.failures, 0);
    let errors = shown
        .questions
        .iter()
        .find(|asked| asked.question == "errors")
        .expect("it is asked");
    assert!(errors.worse > errors.not_worse, "{errors:?}");
}

#[test]
fn a_canary_that_waits_for_its_pods_shows_no_clock_and_no_weight() {
    let mut world = with_stable(&[(20, 3600)]);
    world.want("v2", STUCK);
    let plan = world.run(3);
    let status = written(&world, &plan);
    let canary = status.canary.as_ref().expect("it is under way");
    assert_eq!((canary.stage, canary.weight), (Stage::Preparing, 0));
    assert_eq!((&*status.display.weight, &*status.display.soak), ("0/0", ""));
    assert!(status.analysis.is_none() && status.route.is_none());
}

#[test]
fn what_nobody_answers_for_is_said_plainly() {
    let mut world = World::of_pods(&[(20, 3600)]);
    world.want("v1", HEALTHY);
    world.live(10);
    world.want("v2", HEALTHY);
    let plan = world.run(6);
    let told = written(&world, &plan).route.expect("there is no gateway");
    assert_eq!(
        told,
        "there is no gateway: each ready pod gets as many requests as any other; 20% is asked for, the nearest that \
         whole pods carry is 33%"
    );

    let route = json!({ "ingress": { "className": "nginx", "host": "shop.example" } });
    world.spec.route = serde_json::from_value(route).expect("a route");
    let told = written(&world, &plan)
        .route
        .expect("an Ingress is accepted by nobody");
    assert!(told.starts_with("an Ingress is accepted by nobody"), "{told}");
}

#[test]
fn what_is_shown_is_enough_to_go_on_with() {
    let mut world = with_stable(&[(20, 60), (50, 60)]);
    world.spec.analysis.min_soak = "60s".parse().expect("a duration");
    world.want("v2", HEALTHY);
    let mut stages = Vec::new();
    for _ in 0..80 {
        let plan = world.run(1);
        let status = written(&world, &plan);
        // As the API server would give it back.
        let text = serde_json::to_string(&status).expect("a status");
        let back: Value = serde_json::from_str(&text).expect("what was written");
        let back = state(&serde_json::from_value(back).expect("a status"));
        assert_eq!(back, plan.state, "at {:?}", plan.phase());
        stages.push(plan.phase());
    }
    stages.dedup();
    assert!(
        stages.contains(&Phase::Soaking) && stages.ends_with(&[Phase::Promoted]),
        "{stages:?}"
    );
}

#[test]
fn how_a_trial_ended_and_how_long_it_took_is_told_once() {
    for (behaviour, reason) in [(HEALTHY, Reason::Promoted), (FAILING, Reason::TooManyErrors)] {
        let mut world = with_stable(&[(20, 60)]);
        world.want("v2", behaviour);
        let (mut ended, mut began) = (Vec::new(), None);
        for _ in 0..80 {
            let before = world.state.clone();
            let plan = world.run(0);
            began = began.or(plan.state.canary.as_ref().map(|canary| canary.began));
            ended.extend(plan.ended(&before).map(|end| (end, world.now)));
            world.settle();
            world.pass(5);
        }
        let [((told, took), at)] = ended.as_slice() else {
            panic!("{reason:?} is told {} times", ended.len());
        };
        assert_eq!(*told, reason);
        assert_eq!(*took, at.duration_since(began.expect("a trial began")));
    }
}

#[test]
fn a_trial_ends_by_a_promotion_or_a_rollback_and_by_nothing_else() {
    let others: Vec<_> = Reason::ALL.iter().filter(|reason| !reason.ends_trial()).collect();
    assert_eq!(others, [&Reason::Refused, &Reason::Undone]);
    assert!(
        Reason::ALL
            .iter()
            .all(|reason| !reason.is_rollback() || reason.ends_trial())
    );
}

/// The longest time that is told to be left, if any is.
fn left(open: &str) -> Option<SignedDuration> {
    let told = open.split("(about ").skip(1);
    let told = told.map(|rest| rest.split(" more at this traffic").next().expect("a time"));
    told.map(|time| time.parse::<Period>().expect("a duration").get())
        .max()
}

#[test]
fn how_long_the_evidence_will_take_is_told_and_comes_true() {
    let mut world = with_stable(&[(20, 7200)]);
    world.spec.analysis.min_soak = "60s".parse().expect("a duration");
    world.want("v2", HEALTHY);
    let mut promises = Vec::new();
    let mut promoted = None;
    // For as long as the soak may take at most.
    for _ in 0..7200 / 5 {
        let plan = world.run(1);
        if let Because::Observing { open, .. } = &plan.because {
            promises.extend(left(open).map(|left| (world.now, left)));
        }
        if plan.phase() == Phase::Promoting {
            promoted = Some(world.now);
            break;
        }
    }
    let promoted = promoted.expect("it is promoted");
    assert!(promises.len() > 10, "{promises:?}");
    for (at, left) in promises.iter().skip(promises.len() / 2) {
        let took = promoted.duration_since(*at);
        assert!(
            *left <= took * 2 && took <= *left * 2 + SignedDuration::from_secs(30),
            "told {left}, took {took}"
        );
    }
}

#[test]
fn the_clock_and_the_evidence_go_on_without_a_move_and_nothing_else_does() {
    let mut world = with_stable(&[(20, 600)]);
    world.want("v2", HEALTHY);
    let _ = world.run(8);
    let before = world.state.clone();
    let still = Plan {
        state: before.clone(),
        actions: Vec::new(),
        news: Vec::new(),
        ..world.run(0)
    };
    assert!(!still.moves(&before));
    let canary = before.canary.as_ref().expect("it is on trial");
    let with = |canary: Canary| Plan {
        state: State {
            canary: Some(canary),
            ..before.clone()
        },
        ..still.clone()
    };
    for later in [
        Canary {
            soak: None,
            ..canary.clone()
        },
        Canary {
            run: None,
            ..canary.clone()
        },
        Canary {
            unready_since: Some(world.now),
            ..canary.clone()
        },
    ] {
        assert!(!with(later.clone()).moves(&before), "{later:?}");
    }
    for moved in [
        with(Canary {
            stage: Stage::Growing,
            ..canary.clone()
        }),
        with(Canary {
            step: 1,
            ..canary.clone()
        }),
        Plan {
            state: State {
                stable: None,
                ..before.clone()
            },
            ..still.clone()
        },
        Plan {
            actions: vec![Action::Delete(world.wanted().revision)],
            ..still.clone()
        },
        Plan {
            news: vec![News {
                revision: world.wanted().revision,
                reason: Transition::Soaking,
                warning: false,
                message: String::new(),
                ordinal: 0,
            }],
            ..still.clone()
        },
    ] {
        assert!(moved.moves(&before), "{moved:?}");
    }
}

#[test]
fn a_canary_that_has_shown_everything_tells_that_only_time_is_left() {
    let mut world = with_stable(&[(20, 3600)]);
    world.spec.analysis.min_soak = "120s".parse().expect("a duration");
    world.spec.analysis.latency.time_limit = "600ms".parse().expect("a duration");
    world.spec.analysis.latency.negligible_below = Some("100ms".parse().expect("a duration"));
    world.want("v2", HEALTHY);
    let told = world.run(20).because.to_string();
    assert!(
        told.contains("nothing speaks against it, 2m are the least"),
        "{told}"
    );
    assert_eq!(world.run(20).phase(), Phase::Promoted);
}

#[test]
fn nobody_is_told_a_time_that_cannot_be_known_yet_or_will_never_come() {
    let mean = |mean_ms| Behaviour { mean_ms, ..HEALTHY };
    // A tenth slower is the margin: a little less takes days, next to nothing months.
    for (behaviour, grows) in [
        (HEALTHY, true),
        (mean(21.9), true),
        (mean(21.999), false),
        (mean(23.0), false),
    ] {
        let mut world = with_stable(&[(20, 3600)]);
        world.want("v2", behaviour);
        let mut looks = 0;
        for _ in 0..24 {
            let plan = world.run(1);
            let blocks = blocks(&world);
            if let Because::Observing { open, .. } = &plan.because
                && open.contains("latency")
            {
                looks += 1;
                let is_told = open.contains("latency (about ");
                assert_eq!(
                    is_told,
                    grows && blocks >= 5,
                    "{behaviour:?}, {blocks} blocks: {open}"
                );
            }
        }
        assert!(looks >= 20, "{behaviour:?}: it was open at {looks} looks only");
    }
}

#[test]
fn how_a_trial_ended_is_told_in_the_figures_that_decided() {
    let slow = Behaviour {
        mean_ms: 650.0,
        ..HEALTHY
    };
    // Five minutes of 100 requests a second, a fifth of them to the canary; one of twenty fails.
    let good =
        "errors 0.00 % (0/6000) against 0.00 % (0/24000) of stable, mean latency 20.0 ms against 20.0 ms";
    let bad =
        "errors 5.00 % (300/6000) against 0.00 % (0/24000) of stable, mean latency 20.0 ms against 20.0 ms";
    let late =
        "errors 0.00 % (0/6000) against 0.00 % (0/24000) of stable, mean latency 650.0 ms against 20.0 ms";
    for (behaviour, told) in [
        (
            HEALTHY,
            format!("mean latency 20.0 ms over 5m is below 500 ms; {good}"),
        ),
        (
            slow,
            format!("mean latency 650.0 ms over 5m is not below 500 ms; {late}"),
        ),
        (
            FAILING,
            format!("errors are not within 1 percentage points of stable's: {bad}"),
        ),
    ] {
        let mut world = with_stable(&[(20, 300)]);
        world.spec.analysis.method = Method::WholeSoak;
        world.want("v2", behaviour);
        let news = (0..80).find_map(|_| {
            let news = world.run(1).news;
            let is_end = |news: &News| matches!(news.reason, Transition::Promoting | Transition::RollingBack);
            news.into_iter().find(is_end)
        });
        assert_eq!(news.map(|news| news.message), Some(told), "{behaviour:?}");
    }
}

#[test]
fn evidence_is_told_in_as_many_digits_as_matter() {
    for (times, told) in [
        (1.0, "1.00"),
        (9.99, "9.99"),
        (10.0, "10"),
        (123.4, "123"),
        (999_999.0, "999999"),
        (1e6, "10^6"),
        (1e20, "10^20"),
    ] {
        // A hair more than what its logarithm may lose.
        assert_eq!(evidence(f64::ln(times) + 1e-12), told);
    }
}

#[test]
fn a_route_that_cannot_carry_weights_is_the_reason_unless_no_pod_serves() {
    let mut world = with_stable(&[(20, 60)]);
    let told = |world: &World| {
        let seen = Observed {
            route: RouteSeen::Unsupported {
                obstacle: Obstacle::NameTaken,
                why: "an HTTPRoute of that name is somebody else's".into(),
                may_send: false,
            },
            ..world.look()
        };
        let made = world.plan_of(&seen);
        let before = ModelReleaseStatus::default();
        let status = status(&before, &made, &world.policy(), &seen, Some(1), world.now);
        status
            .conditions
            .into_iter()
            .map(|said| said.reason)
            .collect::<Vec<_>>()
    };
    let taken = Obstacle::NameTaken.as_str().to_owned();
    assert!(told(&world).contains(&taken), "{:?}", told(&world));

    let stable = world.wanted().revision;
    world.workloads.get_mut(&stable).expect("its pods").ready = 0;
    let reasons = told(&world);
    assert!(
        !reasons.contains(&taken) && reasons.contains(&"PodsStarting".to_owned()),
        "{reasons:?}"
    );
}

#[test]
fn a_condition_has_changed_when_its_status_has_and_at_no_other_time() {
    let mut world = with_stable(&[(20, 60)]);
    let mut before = ModelReleaseStatus::default();
    let (mut changed, mut kept) = (0, 0);
    world.want("v2", HEALTHY);
    for _ in 0..40 {
        let plan = world.run(1);
        let status = status(&before, &plan, &world.policy(), &world.look(), Some(1), world.now);
        for said in &status.conditions {
            let old = before.conditions.iter().find(|old| old.type_ == said.type_);
            let same = old.filter(|old| old.status == said.status);
            let expected = same.map_or(world.now, |old| old.last_transition_time);
            assert_eq!(said.last_transition_time, expected, "{}", said.type_);
            *(if same.is_some() { &mut kept } else { &mut changed }) += 1;
        }
        before = status;
    }
    // Each at first, then those that a promotion changes.
    let all = before.conditions.len();
    assert!(changed > all && kept > 10 * all, "{changed} changed, {kept} kept");
}
