//! Where the traffic of a release comes from, and what carries its weights.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Where the traffic comes from: exactly one of `gateway`, `ingress` and `none`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::one_kind_of_route()))]
pub struct Route {
    /// A Gateway API route: one that the operator owns, or a rule of yours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayRoute>,
    /// Ingresses for a controller that honours the canary annotations of ingress-nginx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressRoute>,
    /// No gateway: one Service in front of all pods. Whole pods carry the weights, each as many requests as any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<NoRoute>,
}

/// The kind of a route, with what it asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RouteKind<'a> {
    /// An `HTTPRoute`.
    Gateway(&'a GatewayRoute),
    /// A main and a canary Ingress.
    Ingress(&'a IngressRoute),
    /// The pods behind one Service.
    Pods,
}

impl Route {
    /// The kind. Of a route that names none or several, which no [`crate::policy::Policy`] lets through, the first.
    pub fn kind(&self) -> RouteKind<'_> {
        match (&self.gateway, &self.ingress) {
            (Some(gateway), _) => RouteKind::Gateway(gateway),
            (None, Some(ingress)) => RouteKind::Ingress(ingress),
            (None, None) => RouteKind::Pods,
        }
    }

    /// How many kinds are named.
    pub(crate) fn kinds(&self) -> usize {
        let named = [
            self.gateway.is_some(),
            self.ingress.is_some(),
            self.none.is_some(),
        ];
        named.into_iter().filter(|is_named| *is_named).count()
    }

    /// The rule of somebody else's `HTTPRoute`, if that is what carries the traffic.
    pub fn existing_rule(&self) -> Option<&ExistingRule> {
        self.gateway.as_ref()?.existing.as_ref()
    }

    /// The door to the canary for those who test it, if there is to be one.
    pub fn testers(&self) -> Option<&Testers> {
        self.gateway.as_ref()?.testers.as_ref()
    }
}

/// A main Ingress and, while there is a canary, a canary Ingress on the same rule. The operator owns both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressRoute {
    /// The `IngressClass` of the controller.
    #[schemars(length(min = 1, max = 253))]
    pub class_name: String,
    /// Host name that the rule answers to.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = schema::host()))]
    pub host: String,
    /// Path that the rule answers to.
    #[serde(default = "root_path")]
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-validations" = schema::path()))]
    pub path: String,
    /// How the path is compared.
    #[serde(default)]
    pub path_type: PathType,
    /// Secret with the certificate of the host; plain HTTP where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tls_secret_name: Option<String>,
    /// Annotations of both Ingresses, such as time limits. Those of canaries are the operator's. At most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "x-kubernetes-validations" = schema::ingress_annotations()))]
    pub annotations: BTreeMap<String, String>,
}

/// How the path of an Ingress is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathType {
    /// By its elements, from the first.
    #[default]
    Prefix,
    /// As a whole.
    Exact,
    /// As the controller likes.
    ImplementationSpecific,
}

impl PathType {
    /// The name in an Ingress.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prefix => "Prefix",
            Self::Exact => "Exact",
            Self::ImplementationSpecific => "ImplementationSpecific",
        }
    }
}

/// Nothing is to be said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoRoute {}

/// An `HTTPRoute` that the operator creates and owns, or the weights in a rule of one that somebody else owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::one_route()))]
pub struct GatewayRoute {
    /// A rule of a route of yours. The operator writes its backends and their weights, and leaves everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<ExistingRule>,
    /// The Gateways that carry the traffic; not together with `existing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    pub parent_refs: Vec<ParentRef>,
    /// Host names the route answers to; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub hostnames: Vec<String>,
    /// Path prefix the route answers to.
    #[serde(default = "root_path")]
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-validations" = schema::path()))]
    pub path: String,
    /// A door to the canary for those who test it; not together with `existing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub testers: Option<Testers>,
}

/// Requests with this header are answered by the canary while there is one, whatever its weight, and by everybody
/// otherwise. They reach it with the header `serin-tester: true`, and are kept out of the judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Testers {
    /// Name of the header.
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-validations" = schema::header_name()))]
    pub header: String,
    /// What it has to say, exactly.
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-validations" = schema::header_value()))]
    pub value: String,
}

/// A rule of an `HTTPRoute` that somebody else owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExistingRule {
    /// Name of the route, in the namespace of the release.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Name of the rule, or its position from 0. It has no backends but those of this release.
    #[serde(default = "first_rule")]
    #[schemars(length(min = 1, max = 253))]
    pub rule: String,
}

/// A Gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Gateway; that of the release where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the listener; all of them where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

fn first_rule() -> String {
    "0".into()
}

fn root_path() -> String {
    "/".into()
}
