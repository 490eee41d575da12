//! The CEL rules of the custom resource definition. Each message names the remedy; the API server adds field and value.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::NAME_MAX_LENGTH;

/// A rule on a text. The message repeats the value, for the API server itself shows only its type.
fn rule(rule: &str, is_no: &str, remedy: &str) -> Value {
    json!([{
        "rule": rule,
        "message": format!("no {is_no}: {remedy}"),
        "messageExpression": format!("'\"' + self + '\" is no {is_no}: {remedy}'"),
    }])
}

pub(super) fn name() -> ValidationRule {
    let remedy =
        format!("use at most {NAME_MAX_LENGTH} characters, the names of pods and Services append a revision");
    ValidationRule {
        rule: format!("size(self.metadata.name) <= {NAME_MAX_LENGTH}"),
        message: Some(format!("metadata.name is too long: {remedy}")),
        message_expression: Some(format!(
            "'metadata.name \"' + self.metadata.name + '\" is too long: {remedy}'"
        )),
        ..ValidationRule::default()
    }
}

pub(super) fn version() -> Value {
    rule(
        "self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')",
        "version name",
        "use letters, digits, dots, dashes and underscores",
    )
}

pub(super) fn artifact_uri() -> Value {
    rule(
        "self.matches('^(file:///|s3://|https?://)[^\\\\s]+$')",
        "artifact URI",
        "write that of a directory, beginning with file:///, s3://, http:// or https://",
    )
}

pub(super) fn object_name() -> Value {
    rule(
        "self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')",
        "name of an object",
        "use small letters, digits, dots and dashes",
    )
}

pub(super) fn http_url() -> Value {
    rule(
        "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",
        "address",
        "write one such as http://prometheus.monitoring:9090",
    )
}

pub(super) fn one_credential() -> Value {
    json!([{
        "rule": "!(has(self.bearerToken) && has(self.basicAuth))",
        "message": "bearerToken and basicAuth are both given: keep the one that the server asks for",
    }])
}

pub(super) fn one_bound() -> Value {
    json!([{
        "rule": "[has(self.canaryAtMost), has(self.canaryAtLeast), has(self.notAboveStableBy), \
                 has(self.notBelowStableBy)].filter(given, given).size() == 1",
        "message": "a metric has one bound: write canaryAtMost, canaryAtLeast, notAboveStableBy or notBelowStableBy",
    }])
}

pub(super) fn one_kind_of_route() -> Value {
    json!([{
        "rule": "[has(self.gateway), has(self.ingress), has(self.none)].filter(named, named).size() == 1",
        "message": "a route is of one kind: write gateway, for a Gateway API route, ingress, for a controller that \
                    honours the canary annotations of ingress-nginx, or none, where there is neither",
    }])
}

pub(super) fn host() -> Value {
    rule(
        "self.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        "host name",
        "write one in lower case, such as films.example.com or *.example.com",
    )
}

pub(super) fn ingress_annotations() -> Value {
    json!([{
        "rule": "self.all(key, !key.startsWith('nginx.ingress.kubernetes.io/canary') && !key.startsWith('serin.dev/'))",
        "message": "canary annotations, and those of serin.dev, are written by the operator: leave them out",
    }])
}

pub(super) fn one_route() -> Value {
    json!([
        {
            "rule": "has(self.parentRefs) != has(self.existing)",
            "message": "name either the Gateways in parentRefs, for a route that the operator owns, or a rule of yours in existing",
        },
        {
            "rule": "!(has(self.testers) && has(self.existing))",
            "message": "only the weights of a rule of yours are written: leave out testers or existing",
        },
    ])
}

pub(super) fn header_name() -> Value {
    rule(
        "self.matches('^[A-Za-z0-9][A-Za-z0-9_-]*$')",
        "header name",
        "write letters, digits, - and _, such as x-canary",
    )
}

pub(super) fn header_value() -> Value {
    rule(
        "self.matches('^[!-~]([ -~]*[!-~])?$')",
        "header value",
        "write visible ASCII characters, such as always",
    )
}

pub(super) fn query() -> Value {
    json!([{
        "rule": "self.contains('$revision')",
        "message": "the query asks the same of both arms: select by revision=\"$revision\"",
    }])
}

pub(super) fn counter() -> Value {
    rule(
        "self.matches('^[a-zA-Z_:][a-zA-Z0-9_:]*([{][^{}]*[}])?$')",
        "counter",
        "write its name, with labels that must be equal, such as answers_total{outcome=\"empty\"}",
    )
}

pub(super) fn digest() -> Value {
    rule(
        "self.matches('^sha256:[0-9a-f]{64}$')",
        "digest",
        "write sha256: followed by 64 lower-case hexadecimal digits",
    )
}

pub(super) fn path() -> Value {
    rule("self.startsWith('/')", "path", "write one that begins with /")
}

pub(super) fn percentage() -> Value {
    rule(
        "self.matches('^[0-9]{1,2}(\\\\.[0-9]{1,4})?%$')",
        "share",
        "write percentage points from 0% up to below 100%, for example 1% or 0.5%",
    )
}

/// Without the value: joined weights exceed the budget that the API server grants a message.
pub(super) fn steps() -> Value {
    json!([{
        "rule": "self.map(s, s.weight).isSorted() && self.all(s, self.exists_one(t, t.weight == s.weight))",
        "message": "the weights do not rise: let them rise from step to step, for example 5, 20, 50",
    }])
}

pub(super) fn period() -> Value {
    rule(
        "self.matches('^([0-9]{1,7}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$') && self.matches('[1-9]')",
        "positive duration",
        "write one such as 500ms, 90s, 15m or 12h",
    )
}

/// A duration that may be nothing.
pub(super) fn duration() -> Value {
    rule(
        "self.matches('^([0-9]{1,7}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$') && self != ''",
        "duration",
        "write one such as 0s, 90s or 2m",
    )
}

/// A pod spec: its fields are checked by the API server when a Deployment is applied, so the definition stays small.
pub(super) fn pod_spec(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "Pod spec, as in `kubectl explain pod.spec`.",
        "required": ["containers"],
        "properties": { "containers": {
            "description": "The containers; the first one with a port named as `serving.port` answers requests.",
            "type": "array", "minItems": 1, "maxItems": 50,
            "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        } },
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

impl schemars::JsonSchema for crate::period::Period {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Period".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 32, "x-kubernetes-validations": period() })
    }
}
