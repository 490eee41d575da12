//! The laws of what a release tells to those who watch it: conditions and events.

use proptest::prelude::*;
use serde_json::json;
use serin_core::crd::{Condition, ModelReleaseStatus};
use serin_core::plan::{Phase, Plan, Transition, plan};
use serin_core::policy::Fault;
use serin_core::revision::Version;
use serin_core::status;
use serin_core::status::conditions::{ConditionType, reasons, reasons_of_paused, reasons_of_promoted};

use crate::kstatus::kstatus;
use crate::world::World;

/// What `written` says of itself to those who watch it, by the rules of kstatus and in the words of the page.
pub(crate) fn watched(world: &World, made: &Plan, written: &ModelReleaseStatus) -> Result<(), TestCaseError> {
    let types: Vec<_> = written
        .conditions
        .iter()
        .map(|said| said.type_.as_str())
        .collect();
    let all: Vec<_> = ConditionType::ALL.iter().map(|type_| type_.as_str()).collect();
    prop_assert_eq!(&types, &all);
    prop_assert!(
        written
            .conditions
            .iter()
            .all(|said| said.observed_generation == 1)
    );

    let read = |status: &ModelReleaseStatus| {
        let [ready, reconciling, stalled, ..] = status.conditions.as_slice() else {
            return Err(TestCaseError::fail("not all conditions are there"));
        };
        let of_reason = |said: &Condition| (said.reason.clone(), said.message.clone());
        prop_assert_eq!(of_reason(ready), of_reason(reconciling));
        prop_assert_eq!(of_reason(ready), of_reason(stalled));
        let truths = [&ready.status, &reconciling.status, &stalled.status];
        let row = reasons().into_iter().find(|(progress, reason, _)| {
            *reason == ready.reason && progress.truths().map(|(_, truth)| truth) == truths.map(String::as_str)
        });
        prop_assert!(row.is_some(), "{} {truths:?} is not on the page", ready.reason);
        let object = json!({ "metadata": { "generation": status.observed_generation }, "status": status });
        let kstatus = kstatus(&object);
        prop_assert_eq!(row.map(|(progress, ..)| progress.kstatus()), Some(kstatus));
        Ok(kstatus)
    };
    let of_others = |nth: usize, rows: &[(&str, &str, &str)]| {
        let said = written.conditions.get(nth).expect("all conditions are there");
        let is_on_page = rows
            .iter()
            .any(|(status, reason, _)| *status == said.status && *reason == said.reason);
        prop_assert!(is_on_page, "{} {} is not on the page", said.status, said.reason);
        Ok(())
    };
    of_others(3, &reasons_of_promoted())?;
    of_others(4, &reasons_of_paused())?;

    match read(written)? {
        "Current" => {
            let is_wanted = |stable: &Version| made.wanted.as_ref() == Some(&stable.revision);
            prop_assert!(made.state.canary.is_none() && made.state.stable.as_ref().is_some_and(is_wanted));
            prop_assert!(world.look().route.carries(&made.wished_split(&world.policy())));
        }
        // Whoever gives up at it is right to: nothing comes of waiting.
        "Failed" => {
            let mut later = world.clone();
            later.live(3);
            let seen = later.look();
            let made = plan(&later.policy(), &later.state, &seen, later.now);
            let status = status::status(written, &made, &later.policy(), &seen, Some(1), later.now);
            prop_assert_eq!(
                read(&status)?,
                "Failed",
                "{} passed by itself",
                written.display.reason
            );
        }
        _ => {}
    }
    let wrong = status::stalled(written, Fault::InvalidGate, "no gate".into(), Some(2), world.now);
    prop_assert_eq!(read(&wrong)?, "Failed");
    prop_assert_eq!(wrong.phase, Phase::Held);
    prop_assert_eq!(
        status::state(&wrong),
        status::state(written),
        "a wrong spec changes nothing else"
    );
    Ok(())
}

/// Whether anything of the same trial comes after it.
fn is_followed(transition: Transition) -> bool {
    let mut others = Transition::ALL.iter().filter_map(|other| other.follows());
    others.any(|follows| follows.contains(&transition))
}

/// What is told of a trial: in the order of the page, and how it ended when it did.
pub(crate) fn told(world: &World, made: &Plan) -> Result<(), TestCaseError> {
    let of_name = |name: &String| {
        Transition::ALL
            .iter()
            .find(|transition| transition.as_str() == name)
    };
    let before = world.news.iter().filter_map(of_name).copied();
    let now = made.news.iter().map(|news| news.reason);
    let mut last: Option<Transition> = None;
    for transition in before.chain(now) {
        let Some(follows) = transition.follows() else {
            continue;
        };
        let is_begun = last.is_some_and(is_followed);
        let fits = last.is_some_and(|last| follows.contains(&last)) || follows.is_empty() && !is_begun;
        prop_assert!(fits, "{transition:?} after {last:?}");
        last = Some(transition);
    }
    let canary = world
        .state
        .canary
        .as_ref()
        .filter(|_| made.state.canary.is_none());
    let past = canary.zip(made.state.history.first());
    prop_assert_eq!(
        made.ended(&world.state).map(|(reason, _)| reason),
        past.map(|(_, past)| past.outcome.reason)
    );
    prop_assert!(past.is_none_or(|(canary, past)| canary.version == past.version));
    Ok(())
}
