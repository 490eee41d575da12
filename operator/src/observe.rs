//! Looks at the world: pods, route, metrics. Reads only.

use std::collections::BTreeMap;

use futures::future::try_join3;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serin_core::configuration::Configuration;
use serin_core::crd::{ModelRelease, ModelReleaseSpec, REQUEST_ANNOTATION};
use serin_core::plan::{MetricsSeen, Observed, Request, RequestError, Stage, State, Workload, time_before};
use serin_core::policy::Policy;
use serin_core::revision::Revision;

use crate::access;
use crate::configuration::{self, Contents};
use crate::context::{Context, Turn};
use crate::error::Error;
use crate::prometheus;
use crate::release::{Identity, REVISION_LABEL};
use crate::route::{self, Seen};

/// What stands in the cluster for a release.
pub(crate) struct Objects {
    workloads: BTreeMap<Revision, Workload>,
    route: Seen,
    configuration: Configuration,
}

impl Objects {
    /// These, with what the metrics showed and what a person asked for.
    pub(crate) fn beside(self, release: &ModelRelease, metrics: MetricsSeen) -> Observed {
        let at_last = release
            .status
            .as_ref()
            .and_then(|status| status.observed_generation);
        Observed {
            workloads: self.workloads,
            route: self.route.route,
            has_branch: self.route.has_branch,
            stable_service: self.route.stable_service,
            configuration: self.configuration,
            has_new_spec: at_last != release.metadata.generation,
            metrics,
            request: request(release),
        }
    }
}

/// What a person asks for by annotation.
pub(crate) fn request(release: &ModelRelease) -> Option<Result<Request, RequestError>> {
    let asked = release.annotations().get(REQUEST_ANNOTATION);
    asked.map(|text| text.parse())
}

/// What watches have shown; none where one of them does not know.
///
/// Enough to find out that there is nothing to do: see [`crate::owned`].
pub(crate) async fn glance(
    id: &Identity,
    spec: &ModelReleaseSpec,
    ctx: &Context,
    now: Timestamp,
) -> Result<Option<Objects>, Error> {
    let Some((workloads, route, configuration)) = shown(id, spec, ctx) else {
        return Ok(None);
    };
    objects(id, ctx, workloads, route, configuration, now)
        .await
        .map(Some)
}

fn shown(
    id: &Identity,
    spec: &ModelReleaseSpec,
    ctx: &Context,
) -> Option<(BTreeMap<Revision, Workload>, route::Standing, Configuration)> {
    let workloads = ctx.owned.workloads.of(&id.namespace, &id.name)?;
    Some((
        workloads.into_values().collect(),
        route::glance(id, spec, ctx)?,
        configuration::glance(id, spec, ctx)?,
    ))
}

/// Reads what a plan acts on, and what a revision that it deploys gets copies of.
pub(crate) async fn read(
    id: &Identity,
    spec: &ModelReleaseSpec,
    ctx: &Context,
    now: Timestamp,
) -> Result<(Objects, Contents), Error> {
    let (workloads, route, (configuration, contents)) = try_join3(
        workloads(id, ctx),
        route::read(id, spec, ctx),
        // Few releases read anything: the others need no room for it.
        Box::pin(configuration::read(id, spec, ctx)),
    )
    .await?;
    let objects = objects(id, ctx, workloads, route, configuration, now).await?;
    Ok((objects, contents))
}

async fn objects(
    id: &Identity,
    ctx: &Context,
    mut workloads: BTreeMap<Revision, Workload>,
    route: route::Standing,
    configuration: Configuration,
    now: Timestamp,
) -> Result<Objects, Error> {
    add_trouble(id, ctx, &mut workloads).await?;
    let route = route.seen(id, &workloads, now);
    for (revision, workload) in &mut workloads {
        workload.is_unreachable = !route.services.lead_to(revision);
    }
    Ok(Objects {
        workloads,
        route,
        configuration,
    })
}

async fn workloads(id: &Identity, ctx: &Context) -> Result<BTreeMap<Revision, Workload>, Error> {
    let api: Api<Deployment> = Api::namespaced(ctx.client.clone(), &id.namespace);
    let listed = api
        .list(&ListParams::default().labels(&id.selector()))
        .await
        .map_err(Error::api("list the Deployments"))?;
    Ok(listed.iter().filter_map(workload).collect())
}

/// The revision of a Deployment and its pods; none of one that is labelled as nobody's.
pub(crate) fn workload(deployment: &Deployment) -> Option<(Revision, Workload)> {
    let revision = deployment.labels().get(REVISION_LABEL)?;
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    let status = deployment.status.as_ref();
    let existing = status.and_then(|status| status.replicas).unwrap_or(0);
    let answered = status.and_then(|status| status.observed_generation);
    let workload = Workload {
        replicas: replicas.unwrap_or(1),
        ready: status.and_then(|status| status.ready_replicas).unwrap_or(0),
        // A status that has not caught up with the spec cannot say that nothing is left.
        existing: if answered >= deployment.metadata.generation {
            existing
        } else {
            existing.max(1)
        },
        trouble: None,
        // The Services say it.
        is_unreachable: false,
    };
    Some((Revision::recorded(revision), workload))
}

/// Asks the pods for their own words, only when some are not ready.
async fn add_trouble(
    id: &Identity,
    ctx: &Context,
    workloads: &mut BTreeMap<Revision, Workload>,
) -> Result<(), Error> {
    if !workloads
        .values()
        .any(|workload| workload.ready < workload.replicas)
    {
        return Ok(());
    }
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

/// Asks Prometheus, when there can be something to learn.
pub(crate) async fn metrics(
    release: &ModelRelease,
    id: &Identity,
    policy: &Policy,
    state: &State,
    ctx: &Context,
    now: Timestamp,
    turn: &mut Turn<'_>,
) -> MetricsSeen {
    let (Some(canary), false) = (&state.canary, policy.paused) else {
        return MetricsSeen::NotAsked;
    };
    let (Stage::Soaking, Some(soak)) = (canary.stage, canary.soak) else {
        return MetricsSeen::NotAsked;
    };
    // Whatever it says changes nothing, and it may take long.
    if state.goes_back(request(release).as_ref()) {
        return MetricsSeen::NotAsked;
    }
    // Before the end of the block under way there is nothing to learn.
    if now.duration_since(soak.block_from) < policy.interval {
        return MetricsSeen::NotAsked;
    }
    let stable = state.stable.as_ref().map(|stable| &stable.revision);
    let question = prometheus::Question {
        namespace: &id.namespace,
        release: &id.name,
        route: route::name(&id.name, &release.spec),
        has_testers: policy.testers,
        is_own_route: release.spec.route.existing_rule().is_none(),
        canary: &canary.version.revision,
        stable,
        mark: soak.counted_until,
        before: if canary.run.is_none() {
            time_before(policy.interval)
        } else {
            SignedDuration::ZERO
        },
        quality: release
            .spec
            .analysis
            .quality
            .as_ref()
            .and_then(prometheus::Outcomes::of),
        metrics: &policy.judge.figures,
    };
    let server = &release.spec.analysis.prometheus;
    match access::client(server, &id.namespace, &ctx.client, &ctx.http).await {
        Ok(http) => prometheus::ask(&http, &server.url, &question, now, turn).await,
        Err(why) => MetricsSeen::Unavailable(why),
    }
}
