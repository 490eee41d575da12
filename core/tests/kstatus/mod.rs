//! The rules of kstatus for a resource that it has no rules of its own for, as Flux applies them: sigs.k8s.io/cli-utils,
//! `pkg/kstatus/status`.

use serde_json::Value;

/// `Current`, `InProgress` or `Failed`.
pub(crate) fn kstatus(object: &Value) -> &'static str {
    if object.pointer("/status/observedGeneration") != object.pointer("/metadata/generation") {
        return "InProgress";
    }
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let conditions = conditions.map(Vec::as_slice).unwrap_or_default();
    let status_of = |type_: &str| {
        let condition = conditions.iter().find(|condition| condition["type"] == type_);
        condition.and_then(|condition| condition["status"].as_str())
    };
    if status_of("Reconciling") == Some("True") {
        return "InProgress";
    }
    if status_of("Stalled") == Some("True") {
        return "Failed";
    }
    match status_of("Ready") {
        Some("True") | None => "Current",
        Some(_) => "InProgress",
    }
}
