//! A Gateway API route: what an `HTTPRoute` asks for, what its controllers answer, and the writing of weights. Fields
//! that are read are named here, none else.

use futures::future::try_join;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use serin_core::crd::{ExistingRule, GatewayRoute, TESTER_HEADER, Testers};
use serin_core::plan::{Obstacle, RouteSeen, Split};
use serin_core::revision::Revision;

use super::front::{self, Services};
use super::{FROM, made_from};
use crate::build::SERVICE_PORT;
use crate::context::Context;
use crate::error::{Error, is_not_found};
use crate::release::{FIELD_MANAGER, Identity, RELEASE_LABEL, http_route, patch_params};

/// Position of the rule with the weights in a route of the operator's.
const MAIN: usize = 0;
/// Position of the testers' door.
const TESTERS: usize = 1;

/// What stands: the answer of the gateway is all that matters.
pub(crate) struct Standing {
    pub(super) route: RouteSeen,
    pub(super) services: Services,
}

/// Reads what stands.
pub(crate) async fn read(id: &Identity, route: &GatewayRoute, ctx: &Context) -> Result<Standing, Error> {
    let (route, services) = try_join(read_route(id, route, ctx), front::read(id, ctx)).await?;
    Ok(Standing { route, services })
}

async fn read_route(id: &Identity, route: &GatewayRoute, ctx: &Context) -> Result<RouteSeen, Error> {
    match routes(id, ctx).get(name(&id.name, route)).await {
        Ok(found) => Ok(Route::of(&found).seen(id, route)),
        Err(error) if is_not_found(&error) => Ok(missing(&error, route)),
        Err(error) => Err(Error::api("read the HTTPRoute")(error)),
    }
}

/// What watches have shown of it.
pub(crate) fn glance(id: &Identity, route: &GatewayRoute, ctx: &Context) -> Option<Standing> {
    let routes = &ctx.owned.routes;
    let shown = routes.named(&id.namespace, name(&id.name, route)).ok()?;
    Some(Standing {
        route: shown.map_or_else(|| none(route), |shown| shown.seen(id, route)),
        services: front::glance(id, ctx)?,
    })
}

/// Name of the `HTTPRoute` that carries a release's traffic.
pub(crate) fn name<'a>(release: &'a str, route: &'a GatewayRoute) -> &'a str {
    let existing = route.existing.as_ref();
    existing.map_or(release, |existing| &existing.name)
}

fn routes(id: &Identity, ctx: &Context) -> Api<DynamicObject> {
    Api::namespaced_with(ctx.client.clone(), &id.namespace, &http_route())
}

/// An `HTTPRoute`, as far as it matters. One is kept for each release: lists take no more room than they need.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    generation: Option<i64>,
    /// The Gateways that it names itself.
    gateways: Box<[Listener]>,
    /// Where it is one of the operator's: what it was made from, and what it says.
    own: Option<Own>,
    rules: Box<[Rule]>,
    parents: Box<[Parent]>,
}

/// Whether the operator may write a route: it is named and labelled after its release.
fn is_own(route: &DynamicObject) -> bool {
    route.labels().get(RELEASE_LABEL) == Some(&route.name_any())
}

/// A route of the operator's.
#[derive(Clone, Debug)]
struct Own {
    /// The `uid`s of its owners.
    owners: Box<[String]>,
    /// See [`FROM`].
    made_from: Option<String>,
    /// Its spec: as text, which is small, for it is read with a look only.
    spec: String,
}

/// A rule's name and backends.
#[derive(Clone, Debug)]
struct Rule {
    name: String,
    backends: Box<[(String, i32)]>,
}

/// What a route is attached to: a Gateway, or one listener of it.
#[derive(Clone, Debug)]
struct Listener {
    gateway: String,
    namespace: String,
    section: Option<String>,
}

/// What the controller of one Gateway says.
#[derive(Clone, Debug)]
struct Parent {
    listener: Listener,
    conditions: Box<[Condition]>,
}

#[derive(Clone, Debug)]
struct Condition {
    type_: String,
    is_true: bool,
    generation: Option<i64>,
    message: String,
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
        "the rule \"{rule}\" of the HTTPRoute \"{route}\" has no backends of this release, and its rule number {other} has: name that one, or take them out of it"
    )]
    Moved {
        route: String,
        rule: String,
        other: usize,
    },
    #[error(
        "the rule \"{rule}\" of the HTTPRoute \"{route}\" has a backend that is not of this release, {backend}: give the release a rule of its own"
    )]
    Foreign {
        route: String,
        rule: String,
        backend: String,
    },
}

impl Untouchable {
    fn seen(&self, may_send: bool) -> RouteSeen {
        RouteSeen::Unsupported {
            obstacle: Obstacle::GatewayMissing,
            why: self.to_string(),
            may_send,
        }
    }
}

impl Route {
    /// The fields that are read.
    pub(crate) fn of(route: &DynamicObject) -> Self {
        let namespace = route.metadata.namespace.as_deref().unwrap_or_default();
        let listener = |parent: &Value| Listener::of(parent, namespace);
        let answer = |parent: &Value| Parent::of(parent, namespace);
        Self {
            generation: route.metadata.generation,
            gateways: list(&route.data, "/spec/parentRefs").map(listener).collect(),
            own: is_own(route).then(|| Own {
                owners: route
                    .owner_references()
                    .iter()
                    .map(|owner| owner.uid.clone())
                    .collect(),
                made_from: route.annotations().get(FROM).cloned(),
                spec: route.data.get("spec").map(Value::to_string).unwrap_or_default(),
            }),
            rules: list(&route.data, "/spec/rules").map(Rule::of).collect(),
            parents: list(&route.data, "/status/parents").map(answer).collect(),
        }
    }

    /// What the route asks for, and whether every Gateway of it has accepted this generation.
    fn seen(&self, id: &Identity, route: &GatewayRoute) -> RouteSeen {
        let split = match (&route.existing, &self.own) {
            (None, None) => {
                return self.not_ours(
                    id,
                    "is not its own: rename it, or the release, or hand it over by the label",
                );
            }
            (None, Some(_)) if !self.is_made_for(id) => {
                return self.not_ours(id, "is its own once a version is ready, handed over by the label");
            }
            (None, Some(own)) => {
                if !own.is_owned_by(id) || own.made_from.as_ref() != Some(&made_from(route)) {
                    return RouteSeen::Outdated;
                }
                let split = self.split_of(MAIN, id).with_testers(self.tested(id));
                if !own.says(&build(id, route, &split)) {
                    return RouteSeen::Asked {
                        split: Split::default(),
                        why: "it says something else than spec.route".into(),
                    };
                }
                split
            }
            (Some(existing), _) => match self.rule(id, existing) {
                Ok(number) => self.split_of(number, id),
                Err(why) => return why.seen(self.names(id)),
            },
        };
        match self.gateways.iter().find_map(|gateway| self.refusal(gateway)) {
            None => RouteSeen::Carried(split),
            Some(why) => RouteSeen::Asked { split, why },
        }
    }

    /// A route of the release's name that is left alone.
    fn not_ours(&self, id: &Identity, how: &str) -> RouteSeen {
        let name = &id.name;
        RouteSeen::Unsupported {
            obstacle: Obstacle::NameTaken,
            why: format!(
                "the HTTPRoute \"{name}\" has the name that this release needs and {how} {RELEASE_LABEL}: {name}"
            ),
            may_send: self.names(id),
        }
    }

    /// Whether the operator has made the route, for this release or for one of its name before it. One that was handed
    /// over is somebody else's work until it is written.
    fn is_made_for(&self, id: &Identity) -> bool {
        let own = self.own.as_ref();
        own.is_some_and(|own| own.is_owned_by(id) || self.names(id))
    }

    /// Whether pods of the release have a place in it.
    fn names(&self, id: &Identity) -> bool {
        self.rules.iter().any(|rule| rule.names(id))
    }

    fn split_of(&self, rule: usize, id: &Identity) -> Split {
        self.rules
            .get(rule)
            .map(|rule| rule.split(id))
            .unwrap_or_default()
    }

    /// Who answers testers.
    fn tested(&self, id: &Identity) -> Option<Revision> {
        let (backend, _) = self.rules.get(TESTERS)?.backends.first()?;
        id.revision_of(backend)
    }

    /// Position of a rule that somebody else owns and this release may write to.
    fn rule(&self, id: &Identity, existing: &ExistingRule) -> Result<usize, Untouchable> {
        let ExistingRule { name: route, rule } = existing.clone();
        let named = self.rules.iter().position(|known| known.name == rule);
        let number = named.or_else(|| rule.parse().ok());
        let Some((number, known)) = number.and_then(|number| Some((number, self.rules.get(number)?))) else {
            return Err(Untouchable::NoRule { route, rule });
        };
        // A position is that of another rule as soon as somebody inserts one.
        let is_moved = named.is_none() && !known.names(id);
        let other = self.rules.iter().position(|other| other.names(id));
        if let Some(other) = other.filter(|_| is_moved) {
            return Err(Untouchable::Moved { route, rule, other });
        }
        let is_foreign = |backend: &&String| **backend != id.name && id.revision_of(backend).is_none();
        match known.backends.iter().map(|(backend, _)| backend).find(is_foreign) {
            Some(backend) => Err(Untouchable::Foreign {
                route,
                rule,
                backend: backend.clone(),
            }),
            None => Ok(number),
        }
    }

    fn refusal(&self, asked: &Listener) -> Option<String> {
        let gateway = &asked.gateway;
        let Some(parent) = self
            .parents
            .iter()
            .find(|parent| asked.is_meant_by(&parent.listener))
        else {
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

impl Own {
    fn is_owned_by(&self, id: &Identity) -> bool {
        self.owners.contains(&id.owner.uid)
    }

    /// Whether it says what the operator would write, beside what the API server completes.
    fn says(&self, wanted: &DynamicObject) -> bool {
        let stands: Option<Value> = serde_json::from_str(&self.spec).ok();
        let wanted = wanted.data.get("spec");
        stands
            .zip(wanted)
            .is_some_and(|(stands, wanted)| covers(&stands, wanted))
    }
}

/// Whether everything of `wanted` stands. A list is a whole: more in it is something else.
fn covers(stands: &Value, wanted: &Value) -> bool {
    match (stands, wanted) {
        (Value::Object(stands), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            let stands = stands.get(key);
            stands.map_or(wanted.as_array().is_some_and(Vec::is_empty), |stands| {
                covers(stands, wanted)
            })
        }),
        (Value::Array(stands), Value::Array(wanted)) => {
            stands.len() == wanted.len()
                && stands
                    .iter()
                    .zip(wanted)
                    .all(|(stands, wanted)| covers(stands, wanted))
        }
        (stands, wanted) => stands == wanted,
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

    /// Whether pods of the release have a place in it.
    fn names(&self, id: &Identity) -> bool {
        let mut backends = self.backends.iter();
        backends.any(|(backend, _)| id.revision_of(backend).is_some())
    }

    fn split(&self, id: &Identity) -> Split {
        let ours = self
            .backends
            .iter()
            .filter_map(|(backend, weight)| Some((id.revision_of(backend)?, *weight)));
        Split::of(ours)
    }
}

impl Listener {
    /// What a reference in a route of `namespace` names.
    fn of(parent: &Value, namespace: &str) -> Self {
        let other = Some(text(parent, "/namespace")).filter(|namespace| !namespace.is_empty());
        Self {
            gateway: text(parent, "/name").to_owned(),
            namespace: other.unwrap_or(namespace).to_owned(),
            section: parent
                .get("sectionName")
                .and_then(Value::as_str)
                .map(str::to_owned),
        }
    }

    /// Whether an answer is about it. Some controllers name a listener that nobody asked for, others leave out the port.
    fn is_meant_by(&self, answered: &Self) -> bool {
        (&self.gateway, &self.namespace) == (&answered.gateway, &answered.namespace)
            && (self.section.is_none() || self.section == answered.section)
    }
}

impl Parent {
    fn of(parent: &Value, namespace: &str) -> Self {
        let conditions = list(parent, "/conditions").map(|condition| Condition {
            type_: text(condition, "/type").to_owned(),
            is_true: text(condition, "/status") == "True",
            generation: condition.get("observedGeneration").and_then(Value::as_i64),
            message: text(condition, "/message").to_owned(),
        });
        Self {
            listener: Listener::of(&parent["parentRef"], namespace),
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
fn none(route: &GatewayRoute) -> RouteSeen {
    match &route.existing {
        None => RouteSeen::Missing,
        Some(existing) => Untouchable::Missing(existing.name.clone()).seen(false),
    }
}

/// A missing object and a missing kind are both "not found"; only the words differ.
fn missing(error: &kube::Error, route: &GatewayRoute) -> RouteSeen {
    let kube::Error::Api(status) = error else {
        return none(route);
    };
    if status.message.contains("could not find the requested resource")
        || status.message.contains("page not found")
    {
        return RouteSeen::Unsupported {
            obstacle: Obstacle::GatewayMissing,
            why: "the cluster has no Gateway API: install its custom resource definitions and a gateway"
                .into(),
            may_send: false,
        };
    }
    none(route)
}

/// Writes a split: into a rule of somebody else's, or into a route of our own, which an empty one removes.
pub(crate) async fn write(
    id: &Identity,
    route: &GatewayRoute,
    split: &Split,
    ctx: &Context,
) -> Result<(), Error> {
    let api = routes(id, ctx);
    let done = if let Some(existing) = &route.existing {
        existing_rule(&api, id, existing, split, ctx).await
    } else if split.is_empty() {
        remove(&api, id).await
    } else {
        apply(&api, id, build(id, route, split)).await
    };
    match done {
        // Nothing to delete, or no Gateway API to write to: the next look sees it and says so.
        Err(error) if is_not_found(&error) => Ok(()),
        done => done.map_err(Error::api("write the HTTPRoute")),
    }
}

/// Applies the route of the operator's, over whatever somebody has edited in it; one of the same name that is not its own
/// is left alone.
async fn apply(api: &Api<DynamicObject>, id: &Identity, mut route: DynamicObject) -> kube::Result<()> {
    let mut params = PatchParams::apply(FIELD_MANAGER);
    if let Some(found) = api.get_opt(&id.name).await? {
        if !is_own(&found) {
            return Ok(());
        }
        // The one that was looked at, as it was: what has changed since is looked at again.
        route.metadata.uid = found.metadata.uid;
        route.metadata.resource_version = found.metadata.resource_version;
        params = params.force();
    }
    api.patch(&id.name, &params, &Patch::Apply(route)).await.map(drop)
}

/// Removes the route that the operator has made; one of the same name that somebody else made stays.
async fn remove(api: &Api<DynamicObject>, id: &Identity) -> kube::Result<()> {
    let found = api.get(&id.name).await?;
    if !Route::of(&found).is_made_for(id) {
        return Ok(());
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: found.metadata.uid,
            resource_version: found.metadata.resource_version,
        }),
        ..DeleteParams::default()
    };
    api.delete(&id.name, &params).await.map(drop)
}

/// Writes the backends of a rule and nothing else of a route that somebody else owns. A merge cannot name one of the
/// rules: all go back as they were read, with the version that was read, so that a change made meanwhile is not lost:
/// the patch is refused, and the look repeated on what is there then.
async fn existing_rule(
    api: &Api<DynamicObject>,
    id: &Identity,
    existing: &ExistingRule,
    split: &Split,
    ctx: &Context,
) -> kube::Result<()> {
    let mut route = api.get(&existing.name).await?;
    let is_changed = match Route::of(&route).rule(id, existing) {
        Ok(number) => put_in(&mut route, number, backends(id, split)),
        // The rule is not as it must be, and the release takes its leave.
        Err(_) if split.is_empty() => take_out(&mut route, &front::list(id, ctx).await?.names),
        // It is not touched: the next look says so.
        Err(_) => false,
    };
    if !is_changed {
        return Ok(());
    }
    let change = json!({
        "metadata": { "resourceVersion": route.metadata.resource_version },
        "spec": { "rules": route.data.pointer("/spec/rules") },
    });
    api.patch(&existing.name, &patch_params(), &Patch::Merge(change))
        .await
        .map(drop)
}

/// Gives a rule these backends and no others; answers whether that is a change.
fn put_in(route: &mut DynamicObject, number: usize, backends: Vec<Value>) -> bool {
    let rule = route.data.pointer_mut(&format!("/spec/rules/{number}"));
    let Some(rule) = rule.and_then(Value::as_object_mut) else {
        return false;
    };
    let backends = Value::from(backends);
    let is_changed = rule.get("backendRefs") != Some(&backends);
    rule.insert("backendRefs".into(), backends);
    is_changed
}

/// Takes these Services out of all rules, and leaves what else is there; answers whether there were any.
fn take_out(route: &mut DynamicObject, services: &[String]) -> bool {
    let rules = route
        .data
        .pointer_mut("/spec/rules")
        .and_then(Value::as_array_mut);
    let mut is_changed = false;
    for rule in rules.into_iter().flatten() {
        if let Some(backends) = rule.get_mut("backendRefs").and_then(Value::as_array_mut) {
            let before = backends.len();
            backends.retain(|backend| services.iter().all(|service| service != text(backend, "/name")));
            is_changed |= backends.len() != before;
        }
    }
    is_changed
}

/// The backends of a rule. As the API server completes them, so that what is written is what is read.
fn backends(id: &Identity, split: &Split) -> Vec<Value> {
    let backends = split
        .weights()
        .map(|(revision, weight)| backend(id, revision, weight));
    backends.collect()
}

fn backend(id: &Identity, revision: &Revision, weight: i32) -> Value {
    json!({
        "group": "", "kind": "Service",
        "name": id.revision_name(revision), "port": SERVICE_PORT, "weight": weight,
    })
}

/// The filters of a rule that changes the headers of requests.
fn headers_modified(how: &Value) -> Value {
    json!([{ "type": "RequestHeaderModifier", "requestHeaderModifier": how }])
}

/// The route with these weights.
///
/// All backends stand in one rule without filters of their own: Envoy then keeps one cluster for the rule, and a
/// change of weights is one update that loses no request. A filter per backend would not. The testers' door is the rule
/// after it, so that the first stays the first; the header that it asks for gives it precedence.
fn build(id: &Identity, gateway: &GatewayRoute, split: &Split) -> DynamicObject {
    let path = json!({ "type": "PathPrefix", "value": gateway.path });
    let mut main = json!({
        "matches": [{ "path": path }],
        "backendRefs": backends(id, split),
    });
    if let (Some(_), Some(main)) = (&gateway.testers, main.as_object_mut()) {
        // Nobody else is to bear their mark.
        let unmarked = headers_modified(&json!({ "remove": [TESTER_HEADER] }));
        main.insert("filters".into(), unmarked);
    }
    let door = gateway.testers.as_ref().zip(split.testers());
    let door = door.map(|(Testers { header, value }, revision)| {
        json!({
            "matches": [{
                "path": path,
                "headers": [{ "type": "Exact", "name": header, "value": value }],
            }],
            "filters": headers_modified(&json!({ "set": [{ "name": TESTER_HEADER, "value": "true" }] })),
            "backendRefs": [backend(id, revision, 1)],
        })
    });
    let rules: Vec<Value> = std::iter::once(main).chain(door).collect();
    let mut route = DynamicObject::new(&id.name, &http_route())
        .within(&id.namespace)
        .data(json!({
            "spec": {
                "parentRefs": gateway.parent_refs,
                "hostnames": gateway.hostnames,
                "rules": rules,
            },
        }));
    route.metadata.labels = Some([(RELEASE_LABEL.to_owned(), id.name.clone())].into());
    route.metadata.annotations = Some([(FROM.to_owned(), made_from(gateway))].into());
    route.metadata.owner_references = Some(vec![id.owner.clone()]);
    route
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn route(rules: &Value) -> Route {
        let public = [json!({"name": "public"})];
        Route::of(&attached(&public, &public, rules))
    }

    /// A route of the namespace `films` with these parents, of which some have answered.
    fn attached(parents: &[Value], answered: &[Value], rules: &Value) -> DynamicObject {
        let condition = |type_: &str| json!({"type": type_, "status": "True", "observedGeneration": 3});
        let answer = |parent: &Value| json!({"parentRef": parent, "conditions": [condition("Accepted"), condition("ResolvedRefs")]});
        let object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "shop", "namespace": "films", "generation": 3},
            "spec": {"parentRefs": parents, "rules": rules},
            "status": {"parents": answered.iter().map(answer).collect::<Vec<_>>()},
        });
        serde_json::from_value(object).unwrap()
    }

    fn borrowed(rule: &str) -> GatewayRoute {
        serde_json::from_value(json!({"existing": {"name": "shop", "rule": rule}})).unwrap()
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
                route.seen(&Identity::of_test(), &borrowed(rule)),
                RouteSeen::Carried(split.clone()),
                "{rule}"
            );
        }
    }

    #[test]
    fn weights_are_carried_when_every_listener_that_was_asked_has_answered() {
        let (a, b) = (
            json!({"name": "public", "namespace": "a"}),
            json!({"name": "public", "namespace": "b"}),
        );
        let (own, same) = (
            json!({"name": "public"}),
            json!({"name": "public", "namespace": "films"}),
        );
        let (http, https) = (
            json!({"name": "public", "sectionName": "http"}),
            json!({"name": "public", "sectionName": "https"}),
        );
        for (asked, answered, is_carried) in [
            (vec![&a, &b], vec![&a], false),
            (vec![&a, &b], vec![&b, &a], true),
            (vec![&own], vec![&same], true),
            (vec![&own], vec![&a], false),
            (vec![&http, &https], vec![&http], false),
            (vec![&http, &https], vec![&http, &https], true),
            (vec![&own], vec![&http], true),
            (vec![&http], vec![&own], false),
        ] {
            let all = |parents: &[&Value]| parents.iter().map(|parent| (*parent).clone()).collect::<Vec<_>>();
            let rules = json!([{"backendRefs": backends(&[("recommender-1a2b3c4d", 1)])}]);
            let route = Route::of(&attached(&all(&asked), &all(&answered), &rules));
            let seen = route.seen(&Identity::of_test(), &borrowed("0"));
            assert_eq!(
                matches!(seen, RouteSeen::Carried(_)),
                is_carried,
                "{asked:?} {answered:?}"
            );
        }
    }

    #[test]
    fn a_rule_before_which_another_was_put_is_not_taken_for_that_one_and_is_left_clean() {
        let rules = json!([
            {"name": "new"},
            {"backendRefs": backends(&[("recommender-1a2b3c4d", 80), ("cart", 1), ("recommender", 1)])},
        ]);
        let public = [json!({"name": "public"})];
        let mut object = attached(&public, &public, &rules);
        let id = Identity::of_test();
        let seen = Route::of(&object).seen(&id, &borrowed("0"));
        let RouteSeen::Unsupported { why, may_send, .. } = seen else {
            panic!("{seen:?}");
        };
        assert!(may_send && why.contains("its rule number 1 has"), "{why}");

        let services = ["recommender".to_owned(), "recommender-1a2b3c4d".to_owned()];
        assert!(take_out(&mut object, &services));
        let left = object.data.pointer("/spec/rules/1/backendRefs");
        assert_eq!(left, Some(&backends(&[("cart", 1)])));
        assert!(!take_out(&mut object, &services), "there is nothing left");
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
            let RouteSeen::Unsupported { why, .. } = route.seen(&Identity::of_test(), &borrowed(rule)) else {
                panic!("{rule} is accepted");
            };
            assert!(why.contains(words), "{why}");
        }
        // The stable-named Service stands where nothing has been released yet.
        assert_eq!(
            route.seen(&Identity::of_test(), &borrowed("1")),
            RouteSeen::Carried(Split::default())
        );
    }
}
