//! The definition in `crds/` and the pages of `docs/reference/` equal what the types say.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod committed;
mod conditions;
mod events;
mod fields;

use serde_json::Value;
use serin_core::crd::definition;
use serin_core::plan::{Cause, Phase, Reason, Verb};

use crate::committed::is_committed;

#[test]
fn the_committed_definition_is_the_generated_one() {
    let generated = serde_norway::to_string(&definition()).unwrap();
    is_committed("crds/modelreleases.serin.dev.yaml", &generated);
}

#[test]
fn words_in_metrics_are_those_of_the_definition() {
    let definition = serde_json::to_value(definition()).unwrap();
    let status = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/status/properties")
        .unwrap();
    let words = |pointer: &str| {
        let words = status.pointer(pointer).and_then(Value::as_array).unwrap();
        words.iter().filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let phases: Vec<_> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
    assert_eq!(words("/phase/enum"), phases);
    let reasons: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(
        words("/rejected/properties/outcome/properties/reason/enum"),
        reasons
    );
}

#[test]
fn the_committed_page_of_fields_is_the_generated_one() {
    is_committed("docs/reference/modelrelease.md", &fields::page());
}

#[test]
fn the_committed_page_of_conditions_is_the_generated_one() {
    is_committed("docs/reference/conditions.md", &conditions::page());
}

#[test]
fn the_committed_page_of_events_is_the_generated_one() {
    is_committed("docs/reference/events.md", &events::page());
}

#[test]
fn whoever_finds_nothing_happening_finds_the_reason_on_the_page() {
    let file = "docs/how-to/find-out-why-nothing-happens.md";
    let page = committed::text(file);
    for cause in Cause::ALL {
        assert!(
            page.contains(&format!("`{}`", cause.as_str())),
            "{file} says nothing of {}",
            cause.as_str()
        );
    }
}

#[test]
fn every_verb_has_its_section() {
    let file = "docs/how-to/step-in.md";
    let page = committed::text(file);
    for verb in Verb::ALL.map(Verb::as_str).into_iter().chain(["pause", "resume"]) {
        assert!(
            page.contains(&format!("\nkubectl serin {verb} recommender\n")),
            "{file} says nothing of {verb}"
        );
    }
}
