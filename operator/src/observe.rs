//! Looks at the world: pods, route, Services, metrics. Reads only.

use std::collections::BTreeMap;

use futures::future::try_join3;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Service};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::Value;
use serin_core::crd::{ABORT_ANNOTATION, ModelRelease, ModelReleaseSpec};
use serin_core::plan::{MetricsSeen, Observed, RouteSeen, Split, Stage, State, Workload, time_before};
use serin_core::policy::Policy;
use serin_core::revision::Revision;

use crate::access;
use crate::build;
use crate::context::Context;
use crate::error::{Error, is_not_found};
use crate::prometheus;
use crate::release::{Identity, REVISION_LABEL, http_route};

/// Looks at everything that a plan needs.
pub(crate) async fn observe(
    release: &ModelRelease,
    id: &Identity,
    policy: &Policy,
    state: &State,
    ctx: &Context,
    now: Timestamp,
) -> Result<Observed, Error> {
    let (workloads, route, stable_service) = try_join3(
        workloads(id, ctx),
        route(id, &release.spec, ctx),
        stable_service(id, ctx),
    )
    .await?;
    let metrics = metrics(release, id, policy, state, ctx, now).await;
    let abort = release
        .annotations()
        .get(ABORT_ANNOTATION)
        .map(|revision| Revision::recorded(revision));
    Ok(Observed {
        workloads,
        route,
        stable_service,
        metrics,
        abort,
    })
}

async fn workloads(id: &Identity, ctx: &Context) -> Result<BTreeMap<Revision, Workload>, Error> {
    let api: Api<Deployment> = Api::namespaced(ctx.client.clone(), &id.namespace);
    let listed = api
        .list(&ListParams::default().labels(&id.selector()))
        .await
        .map_err(Error::api("list the Deployments"))?;
    let mut workloads = BTreeMap::new();
    for deployment in listed {
        let Some(revision) = deployment
            .labels()
            .get(REVISION_LABEL)
            .map(|text| Revision::recorded(text))
        else {
            continue;
        };
        let asked = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1);
        let status = deployment.status.unwrap_or_default();
        let seen = status.observed_generation >= deployment.metadata.generation;
        let workload = Workload {
            replicas: asked,
            ready: status.ready_replicas.unwrap_or(0),
            // A status that has not caught up with the spec cannot say that nothing is left.
            existing: if seen {
                status.replicas.unwrap_or(0)
            } else {
                status.replicas.unwrap_or(0).max(1)
            },
            trouble: None,
        };
        workloads.insert(revision, workload);
    }
    if workloads
        .values()
        .any(|workload| workload.ready < workload.replicas)
    {
        add_trouble(id, ctx, &mut workloads).await?;
    }
    Ok(workloads)
}

/// Asks the pods for their own words, only when some are not ready.
async fn add_trouble(
    id: &Identity,
    ctx: &Context,
    workloads: &mut BTreeMap<Revision, Workload>,
) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), &id.namespace);
    let pods = api
        .list(&ListParams::default().labels(&id.selector()))
        .await
        .map_err(Error::api("list the pods"))?;
    for pod in pods {
        let Some(revision) = pod
            .labels()
            .get(REVISION_LABEL)
            .map(|text| Revision::recorded(text))
        else {
            continue;
        };
        if let (Some(workload), Some(words)) = (workloads.get_mut(&revision), trouble_of(&pod)) {
            workload.trouble.get_or_insert(words);
        }
    }
    Ok(())
}

/// Why a pod is not ready: what a container said when it ended, what it waits for, or why it was not scheduled.
fn trouble_of(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    let container = containers
        .filter(|container| !container.ready)
        .find_map(trouble_of_container);
    container.or_else(|| {
        let unscheduled = status
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
        Some(
            unscheduled
                .message
                .clone()
                .unwrap_or_else(|| "the pod is not scheduled".into()),
        )
    })
}

fn trouble_of_container(container: &ContainerStatus) -> Option<String> {
    let ended = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        let ended = state.as_ref()?.terminated.as_ref()?;
        let words = ended
            .message
            .as_deref()
            .map(str::trim)
            .filter(|words| !words.is_empty());
        let reason = ended.reason.as_deref().unwrap_or("Error");
        Some(words.map_or_else(
            || format!("{reason}, exit code {}", ended.exit_code),
            str::to_owned,
        ))
    };
    let waiting = || {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting
            .reason
            .as_deref()
            .filter(|reason| *reason != "ContainerCreating")?;
        Some(match &waiting.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        })
    };
    let words = ended(&container.state)
        .or_else(|| ended(&container.last_state))
        .or_else(waiting)?;
    let short: String = words.chars().take(400).collect();
    Some(format!("container {}: {short}", container.name))
}

async fn stable_service(id: &Identity, ctx: &Context) -> Result<Option<Revision>, Error> {
    let api: Api<Service> = Api::namespaced(ctx.client.clone(), &id.namespace);
    let service = api
        .get_opt(&id.name)
        .await
        .map_err(Error::api("read the stable Service"))?;
    Ok(service.as_ref().and_then(build::selected_revision))
}

async fn route(id: &Identity, spec: &ModelReleaseSpec, ctx: &Context) -> Result<RouteSeen, Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), &id.namespace, &http_route());
    match api.get(&id.name).await {
        Ok(route) => Ok(route_seen(id, spec, &route)),
        Err(error) if is_not_found(&error) => Ok(route_missing(&error)),
        Err(error) => Err(Error::api("read the HTTPRoute")(error)),
    }
}

/// A missing object and a missing kind are both "not found"; only the words differ.
fn route_missing(error: &kube::Error) -> RouteSeen {
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

/// What the route asks for, and whether every Gateway it names has accepted this generation.
fn route_seen(id: &Identity, spec: &ModelReleaseSpec, route: &DynamicObject) -> RouteSeen {
    let backends = route
        .data
        .pointer("/spec/rules/0/backendRefs")
        .and_then(Value::as_array);
    let prefix = format!("{}-", id.name);
    let split = Split::of(backends.into_iter().flatten().filter_map(|backend| {
        let revision = backend.get("name")?.as_str()?.strip_prefix(&prefix)?;
        let weight = backend.get("weight").and_then(Value::as_i64).unwrap_or(1);
        Some((Revision::recorded(revision), i32::try_from(weight).ok()?))
    }));
    match refusal(spec, route) {
        None => RouteSeen::Carried(split),
        Some(why) => RouteSeen::Asked { split, why },
    }
}

fn refusal(spec: &ModelReleaseSpec, route: &DynamicObject) -> Option<String> {
    let parents = route.data.pointer("/status/parents").and_then(Value::as_array);
    for wanted in &spec.route.gateway.parent_refs {
        let name = &wanted.name;
        let of_gateway =
            |parent: &&Value| parent.pointer("/parentRef/name").and_then(Value::as_str) == Some(name);
        let Some(parent) = parents.and_then(|parents| parents.iter().find(of_gateway)) else {
            return Some(format!(
                "no controller has answered for the Gateway \"{name}\": is it installed, and is its name right?"
            ));
        };
        for type_ in ["Accepted", "ResolvedRefs"] {
            let conditions = parent.get("conditions").and_then(Value::as_array);
            let of_type = |c: &&Value| c.get("type").and_then(Value::as_str) == Some(type_);
            let Some(condition) = conditions.and_then(|conditions| conditions.iter().find(of_type)) else {
                return Some(format!("the Gateway \"{name}\" has not said {type_}"));
            };
            let generation = condition.get("observedGeneration").and_then(Value::as_i64);
            if generation < route.metadata.generation {
                return Some(format!("the Gateway \"{name}\" has not seen the newest weights"));
            }
            if condition.get("status").and_then(Value::as_str) != Some("True") {
                let message = condition
                    .get("message")
                    .and_then(Value::as_str)
                    .unwrap_or("without a message");
                return Some(format!(
                    "the Gateway \"{name}\" says {type_} is not true: {message}"
                ));
            }
        }
    }
    None
}

async fn metrics(
    release: &ModelRelease,
    id: &Identity,
    policy: &Policy,
    state: &State,
    ctx: &Context,
    now: Timestamp,
) -> MetricsSeen {
    let (Some(canary), false) = (&state.canary, policy.paused) else {
        return MetricsSeen::NotAsked;
    };
    let (Stage::Soaking, Some(soak)) = (canary.stage, canary.soak) else {
        return MetricsSeen::NotAsked;
    };
    // Before the end of the block under way there is nothing to learn.
    if now.duration_since(soak.block_from) < policy.interval {
        return MetricsSeen::NotAsked;
    }
    let stable = state.stable.as_ref().map(|stable| &stable.revision);
    let question = prometheus::Question {
        namespace: &id.namespace,
        release: &id.name,
        canary: &canary.version.revision,
        stable,
        mark: soak.counted_until,
        before: if canary.run.is_none() {
            time_before(policy.interval)
        } else {
            SignedDuration::ZERO
        },
    };
    let server = &release.spec.analysis.prometheus;
    match access::client(server, &id.namespace, &ctx.client, &ctx.http).await {
        Ok(http) => prometheus::ask(&http, &server.url, &question, now).await,
        Err(why) => MetricsSeen::Unavailable(why),
    }
}
