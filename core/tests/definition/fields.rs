//! The page of fields.

use std::fmt::Write as _;

use serde_json::Value;
use serin_core::crd::definition;

/// A table of all fields, in the order of `kubectl explain`.
pub(crate) fn page() -> String {
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
