//! The definition in `crds/` and the pages of fields, events and requests equal what the types say.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use serin_core::crd::definition;
use serin_core::plan::{Transition, Verb};

#[test]
fn the_committed_definition_is_the_generated_one() {
    let generated = serde_norway::to_string(&definition()).unwrap();
    is_committed("crds/modelreleases.serin.dev.yaml", &generated);
}

#[test]
fn the_committed_page_of_fields_is_the_generated_one() {
    is_committed("docs/reference/modelrelease.md", &page());
}

#[test]
fn the_committed_page_of_events_is_the_generated_one() {
    is_committed("docs/reference/events.md", &events());
}

/// Tables of what is told and of what can be asked.
fn events() -> String {
    let mut page = String::from(
        "# Events and requests\n\nGenerated from `core/src/plan/`.\n\n## Events\n\nOne per transition, in the order of a \
         trial; a crash in between repeats none. `serin_transitions_total` counts them by reason.\n\n\
         | reason | type | told when |\n|---|---|---|\n",
    );
    for transition in Transition::ALL {
        let (name, type_, meaning) = (transition.as_str(), transition.warns(), transition.meaning());
        writeln!(page, "| `{name}` | {type_} | {meaning} |").unwrap();
    }
    page.push_str(
        "\n## Requests\n\nThe annotation `serin.dev/request` holds `VERB/REVISION` or `VERB/REVISION@OCCASION`. Each is \
         answered once, in `status.request`; [`kubectl serin`](../how-to/step-in.md) writes them.\n\n\
         | verb | what it asks for |\n|---|---|\n",
    );
    for verb in Verb::ALL {
        writeln!(page, "| `{}` | {} |", verb.as_str(), verb.meaning()).unwrap();
    }
    page
}

/// Compares a file of the checkout, or writes it where the build was told to.
fn is_committed(file: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    if option_env!("UPDATE").is_some() {
        fs::write(&path, generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "{file} is stale: run `UPDATE=1 cargo test --release --workspace --test definition`"
    );
}

/// A table of all fields, in the order of `kubectl explain`.
fn page() -> String {
    let definition = serde_json::to_value(definition()).unwrap();
    let schema = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema")
        .unwrap();
    let mut page = String::from(
        "# ModelRelease, `serin.dev/v1alpha1`\n\n\
         Generated from `core/src/crd.rs`; `kubectl explain mrel.spec` says the same.\n",
    );
    for part in ["spec", "status"] {
        writeln!(
            page,
            "\n## {part}\n\n| field | type | default | meaning |\n|---|---|---|---|"
        )
        .unwrap();
        let part_schema = schema.pointer(&format!("/properties/{part}")).unwrap();
        fields(part, part_schema, &mut page);
    }
    page
}

fn fields(path: &str, schema: &Value, page: &mut String) {
    let Some(properties) = schema.pointer("/properties").and_then(Value::as_object) else {
        return;
    };
    let required: Vec<&str> = schema
        .pointer("/required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (name, field) in properties {
        let (path, inner) = match field.get("items") {
            Some(items) => (format!("{path}.{name}[]"), items),
            None => (format!("{path}.{name}"), field),
        };
        let default = match field.get("default") {
            Some(default) => format!("`{default}`"),
            None if required.contains(&name.as_str()) => "required".into(),
            None => String::new(),
        };
        let cell = |pointer: &str| {
            let text = field.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            text.replace('\n', " ").replace('|', "\\|")
        };
        let (kind, meaning) = (cell("/type"), cell("/description"));
        writeln!(page, "| `{path}` | {kind} | {default} | {meaning} |").unwrap();
        fields(&path, inner, page);
    }
}
