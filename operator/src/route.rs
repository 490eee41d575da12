//! What an `HTTPRoute` asks for, and what its controllers answer: the fields that are read, none else.

use kube::api::DynamicObject;
use serde_json::Value;
use serin_core::crd::ModelReleaseSpec;
use serin_core::plan::{RouteSeen, Split};
use serin_core::revision::Revision;

use crate::release::RELEASE_LABEL;

/// An `HTTPRoute`, as far as it matters.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    generation: Option<i64>,
    split: Split,
    parents: Vec<Parent>,
}

/// What the controller of one Gateway says.
#[derive(Clone, Debug)]
struct Parent {
    gateway: String,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
struct Condition {
    type_: String,
    is_true: bool,
    generation: Option<i64>,
    message: String,
}

impl Route {
    /// The route of a release; none of a route that is labelled as nobody's.
    pub(crate) fn of(route: &DynamicObject) -> Option<Self> {
        let release = route.metadata.labels.as_ref()?.get(RELEASE_LABEL)?;
        let prefix = format!("{release}-");
        let backends = list(&route.data, "/spec/rules/0/backendRefs");
        let split = Split::of(backends.filter_map(|backend| {
            let revision = backend.get("name")?.as_str()?.strip_prefix(&prefix)?;
            let weight = backend.get("weight").and_then(Value::as_i64).unwrap_or(1);
            Some((Revision::recorded(revision), i32::try_from(weight).ok()?))
        }));
        Some(Self {
            generation: route.metadata.generation,
            split,
            parents: list(&route.data, "/status/parents").map(Parent::of).collect(),
        })
    }

    /// What the route asks for, and whether every Gateway of the release has accepted this generation.
    pub(crate) fn seen(&self, spec: &ModelReleaseSpec) -> RouteSeen {
        let gateways = &spec.route.gateway.parent_refs;
        let split = self.split.clone();
        match gateways.iter().find_map(|gateway| self.refusal(&gateway.name)) {
            None => RouteSeen::Carried(split),
            Some(why) => RouteSeen::Asked { split, why },
        }
    }

    fn refusal(&self, gateway: &str) -> Option<String> {
        let Some(parent) = self.parents.iter().find(|parent| parent.gateway == gateway) else {
            return Some(format!(
                "no controller has answered for the Gateway \"{gateway}\": is it installed, and is its name right?"
            ));
        };
        for type_ in ["Accepted", "ResolvedRefs"] {
            let Some(condition) = parent.conditions.iter().find(|c| c.type_ == type_) else {
                return Some(format!("the Gateway \"{gateway}\" has not said {type_}"));
            };
            if condition.generation < self.generation {
                return Some(format!(
                    "the Gateway \"{gateway}\" has not seen the newest weights"
                ));
            }
            if !condition.is_true {
                return Some(format!(
                    "the Gateway \"{gateway}\" says {type_} is not true: {}",
                    condition.message
                ));
            }
        }
        None
    }
}

impl Parent {
    fn of(parent: &Value) -> Self {
        let conditions = list(parent, "/conditions").map(|condition| Condition {
            type_: text(condition, "/type").to_owned(),
            is_true: text(condition, "/status") == "True",
            generation: condition.get("observedGeneration").and_then(Value::as_i64),
            message: text(condition, "/message").to_owned(),
        });
        Self {
            gateway: text(parent, "/parentRef/name").to_owned(),
            conditions: conditions.collect(),
        }
    }
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.into_iter().flatten()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A missing object and a missing kind are both "not found"; only the words differ.
pub(crate) fn missing(error: &kube::Error) -> RouteSeen {
    let kube::Error::Api(status) = error else {
        return RouteSeen::Missing;
    };
    if status.message.contains("could not find the requested resource")
        || status.message.contains("page not found")
    {
        return RouteSeen::Unsupported(
            "the cluster has no Gateway API: install its custom resource definitions and a gateway".into(),
        );
    }
    RouteSeen::Missing
}
