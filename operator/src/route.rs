//! What an `HTTPRoute` asks for, and what its controllers answer: the fields that are read, none else.

use kube::api::DynamicObject;
use serde_json::Value;
use serin_core::crd::{ExistingRule, ModelReleaseSpec};
use serin_core::plan::{RouteSeen, Split};
use serin_core::revision::Revision;

/// An `HTTPRoute`, as far as it matters.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    generation: Option<i64>,
    /// The Gateways that it names itself.
    gateways: Vec<String>,
    rules: Vec<Rule>,
    parents: Vec<Parent>,
}

/// A rule's name and backends.
#[derive(Clone, Debug)]
struct Rule {
    name: String,
    backends: Vec<(String, i32)>,
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

/// Name of the route that carries a release's traffic.
pub(crate) fn name<'a>(release: &'a str, spec: &'a ModelReleaseSpec) -> &'a str {
    spec.route
        .gateway
        .existing
        .as_ref()
        .map_or(release, |existing| &existing.name)
}

/// Why a rule is not touched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untouchable {
    #[error("the HTTPRoute \"{0}\" of spec.route.gateway.existing does not exist")]
    Missing(String),
    #[error(
        "the HTTPRoute \"{route}\" has no rule \"{rule}\": write the name of one, or its position from 0"
    )]
    NoRule { route: String, rule: String },
    #[error(
        "the rule \"{rule}\" of the HTTPRoute \"{route}\" has a backend that is not of this release, {backend}: give the release a rule of its own"
    )]
    Foreign {
        route: String,
        rule: String,
        backend: String,
    },
}

impl Route {
    /// The fields that are read.
    pub(crate) fn of(route: &DynamicObject) -> Self {
        let name = |value: &Value| text(value, "/name").to_owned();
        Self {
            generation: route.metadata.generation,
            gateways: list(&route.data, "/spec/parentRefs").map(name).collect(),
            rules: list(&route.data, "/spec/rules").map(Rule::of).collect(),
            parents: list(&route.data, "/status/parents").map(Parent::of).collect(),
        }
    }

    /// What the route asks for, and whether every Gateway of it has accepted this generation.
    pub(crate) fn seen(&self, release: &str, spec: &ModelReleaseSpec) -> RouteSeen {
        let gateways = &spec.route.gateway.parent_refs;
        let (split, gateways): (Split, Vec<&String>) = match &spec.route.gateway.existing {
            None => (
                self.rules
                    .first()
                    .map(|rule| rule.split(release))
                    .unwrap_or_default(),
                gateways.iter().map(|gateway| &gateway.name).collect(),
            ),
            Some(existing) => match self.rule(release, existing) {
                Ok(number) => (
                    self.rules
                        .get(number)
                        .map(|rule| rule.split(release))
                        .unwrap_or_default(),
                    self.gateways.iter().collect(),
                ),
                Err(why) => return RouteSeen::Unsupported(why.to_string()),
            },
        };
        match gateways.into_iter().find_map(|gateway| self.refusal(gateway)) {
            None => RouteSeen::Carried(split),
            Some(why) => RouteSeen::Asked { split, why },
        }
    }

    /// Position of a rule that somebody else owns and this release may write to.
    pub(crate) fn rule(&self, release: &str, existing: &ExistingRule) -> Result<usize, Untouchable> {
        let ExistingRule { name: route, rule } = existing.clone();
        let named = self.rules.iter().position(|known| known.name == rule);
        let number = named.or_else(|| rule.parse().ok());
        let Some((number, known)) = number.and_then(|number| Some((number, self.rules.get(number)?))) else {
            return Err(Untouchable::NoRule { route, rule });
        };
        let is_foreign = |backend: &&String| *backend != release && revision(backend, release).is_none();
        match known.backends.iter().map(|(backend, _)| backend).find(is_foreign) {
            Some(backend) => Err(Untouchable::Foreign {
                route,
                rule,
                backend: backend.clone(),
            }),
            None => Ok(number),
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

impl Rule {
    fn of(rule: &Value) -> Self {
        let backends = list(rule, "/backendRefs").filter_map(|backend| {
            let weight = backend.get("weight").and_then(Value::as_i64).unwrap_or(1);
            Some((text(backend, "/name").to_owned(), i32::try_from(weight).ok()?))
        });
        Self {
            name: text(rule, "/name").to_owned(),
            backends: backends.collect(),
        }
    }

    fn split(&self, release: &str) -> Split {
        let ours = self
            .backends
            .iter()
            .filter_map(|(backend, weight)| Some((revision(backend, release)?, *weight)));
        Split::of(ours)
    }
}

/// The revision of a release that a Service is of.
fn revision(service: &str, release: &str) -> Option<Revision> {
    Revision::parse(service.strip_prefix(release)?.strip_prefix('-')?)
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

/// A route that is not there: one of the operator's can be made, one of somebody else is waited for.
pub(crate) fn none(spec: &ModelReleaseSpec) -> RouteSeen {
    match &spec.route.gateway.existing {
        None => RouteSeen::Missing,
        Some(existing) => RouteSeen::Unsupported(Untouchable::Missing(existing.name.clone()).to_string()),
    }
}

/// A missing object and a missing kind are both "not found"; only the words differ.
pub(crate) fn missing(error: &kube::Error, spec: &ModelReleaseSpec) -> RouteSeen {
    let kube::Error::Api(status) = error else {
        return none(spec);
    };
    if status.message.contains("could not find the requested resource")
        || status.message.contains("page not found")
    {
        return RouteSeen::Unsupported(
            "the cluster has no Gateway API: install its custom resource definitions and a gateway".into(),
        );
    }
    none(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn route(rules: &Value) -> Route {
        let spec = json!({"parentRefs": [{"name": "public"}], "rules": rules});
        let condition = |type_: &str| json!({"type": type_, "status": "True", "observedGeneration": 3});
        let status = json!({"parents": [
            {"parentRef": {"name": "public"}, "conditions": [condition("Accepted"), condition("ResolvedRefs")]},
        ]});
        let object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "shop", "generation": 3}, "spec": spec, "status": status,
        });
        Route::of(&serde_json::from_value(object).unwrap())
    }

    fn spec(rule: &str) -> ModelReleaseSpec {
        serde_json::from_value(json!({
            "serving": {"template": {"spec": {"containers": [{}]}}},
            "route": {"gateway": {"existing": {"name": "shop", "rule": rule}}},
            "analysis": {"prometheus": {"url": "http://prometheus"}},
        }))
        .unwrap()
    }

    fn backends(of: &[(&str, i32)]) -> Value {
        of.iter()
            .map(|(name, weight)| json!({"name": name, "weight": weight}))
            .collect()
    }

    #[test]
    fn the_weights_of_a_rule_are_found_by_its_name_or_its_position() {
        let ours = backends(&[("recommender-1a2b3c4d", 80), ("recommender-5e6f7a8b", 20)]);
        let route = route(
            &json!([{"backendRefs": backends(&[("cart", 1)])}, {"name": "films", "backendRefs": ours}]),
        );
        let split = Split::of([
            (Revision::recorded("1a2b3c4d"), 80),
            (Revision::recorded("5e6f7a8b"), 20),
        ]);
        for rule in ["films", "1"] {
            assert_eq!(
                route.seen("recommender", &spec(rule)),
                RouteSeen::Carried(split.clone()),
                "{rule}"
            );
        }
    }

    #[test]
    fn a_rule_that_sends_to_others_too_is_not_touched_and_says_so() {
        let route = route(
            &json!([{"backendRefs": backends(&[("cart", 1)])}, {"backendRefs": backends(&[("recommender", 1)])}]),
        );
        for (rule, words) in [
            ("0", "a backend that is not of this release, cart"),
            ("2", "has no rule \"2\""),
        ] {
            let RouteSeen::Unsupported(why) = route.seen("recommender", &spec(rule)) else {
                panic!("{rule} is accepted");
            };
            assert!(why.contains(words), "{why}");
        }
        // The stable-named Service stands where nothing has been released yet.
        assert_eq!(
            route.seen("recommender", &spec("1")),
            RouteSeen::Carried(Split::default())
        );
    }
}
