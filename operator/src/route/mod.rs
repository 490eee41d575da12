//! What carries the weights of a release: one module per kind, each of which reads what stands, tells what that sends
//! to whom, and writes a split.

pub(crate) mod endpoints;
mod front;
pub(crate) mod gateway;
pub(crate) mod ingress;
mod pods;

use std::collections::BTreeMap;
use std::fmt::Debug;

use jiff::Timestamp;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serin_core::crd::{ModelReleaseSpec, Route, RouteKind};
use serin_core::digest::Digest;
use serin_core::plan::{RouteSeen, Split, Workload};
use serin_core::revision::Revision;
use serin_core::status::conditions::whole_second;

use self::front::Services;
pub(crate) use self::front::{Selected, serve, serve_at};
use crate::context::Context;
use crate::error::Error;
use crate::release::{FIELD_MANAGER, Identity};

/// Annotation with the digest of the part of `spec` that a route was made from: it tells an older route from one that
/// somebody has changed.
const FROM: &str = "serin.dev/route";

fn made_from(route: &impl Serialize) -> String {
    // A structure of texts: this cannot fail, and if it did, a route would be written once too often.
    let text = serde_json::to_string(route).unwrap_or_default();
    Digest::of(text.as_bytes()).short()
}

/// What stands, of one kind.
pub(crate) enum Standing {
    /// An `HTTPRoute`.
    Gateway(gateway::Standing),
    /// A main and a canary Ingress, and what their Services hold.
    Ingress(ingress::Standing),
    /// The Service in front of all pods.
    Pods(pods::Standing),
}

/// What that says to the planner.
pub(crate) struct Seen {
    pub(crate) route: RouteSeen,
    pub(crate) has_branch: bool,
    pub(crate) stable_service: Option<Revision>,
    /// The Services that lead there.
    pub(crate) services: Services,
}

/// Reads what stands.
pub(crate) async fn read(id: &Identity, spec: &ModelReleaseSpec, ctx: &Context) -> Result<Standing, Error> {
    Ok(match spec.route.kind() {
        RouteKind::Gateway(route) => Standing::Gateway(gateway::read(id, route, ctx).await?),
        RouteKind::Ingress(route) => Standing::Ingress(Box::pin(ingress::read(id, route, ctx)).await?),
        RouteKind::Pods => Standing::Pods(pods::read(id, ctx).await?),
    })
}

/// What watches have shown of it; none where one of them does not know.
pub(crate) fn glance(id: &Identity, spec: &ModelReleaseSpec, ctx: &Context) -> Option<Standing> {
    Some(match spec.route.kind() {
        RouteKind::Gateway(route) => Standing::Gateway(gateway::glance(id, route, ctx)?),
        RouteKind::Ingress(route) => Standing::Ingress(ingress::glance(id, route, ctx)?),
        RouteKind::Pods => Standing::Pods(pods::glance(id, ctx)?),
    })
}

impl Standing {
    /// What it sends to whom, now and beside these pods.
    pub(crate) fn seen(
        self,
        id: &Identity,
        workloads: &BTreeMap<Revision, Workload>,
        now: Timestamp,
    ) -> Seen {
        let (route, has_branch, services) = match self {
            Self::Gateway(standing) => (standing.route, false, standing.services),
            Self::Ingress(standing) => (standing.seen(id, now), standing.has_branch(id), standing.services),
            Self::Pods(standing) => (standing.seen(id, workloads), false, standing.services),
        };
        Seen {
            route,
            has_branch,
            stable_service: services.stable().cloned(),
            services,
        }
    }
}

/// Lets the route send traffic so; an empty split takes it away.
pub(crate) async fn write(
    id: &Identity,
    spec: &ModelReleaseSpec,
    split: &Split,
    ctx: &Context,
) -> Result<(), Error> {
    match spec.route.kind() {
        _ if split.is_empty() => take_away(id, &spec.route, ctx).await,
        RouteKind::Gateway(route) => gateway::write(id, route, split, ctx).await,
        RouteKind::Ingress(route) => Box::pin(ingress::write(id, spec, route, split, ctx)).await,
        RouteKind::Pods => pods::write(id, spec, split, ctx).await,
    }
}

/// Lets nothing be sent any more.
pub(crate) async fn take_away(id: &Identity, route: &Route, ctx: &Context) -> Result<(), Error> {
    match route.kind() {
        RouteKind::Gateway(route) => gateway::write(id, route, &Split::default(), ctx).await,
        RouteKind::Ingress(route) => ingress::take_away(id, route, ctx).await,
        RouteKind::Pods => front::remove(id, ctx).await,
    }
}

/// Lets the stable-named Service select this revision.
pub(crate) async fn point(
    id: &Identity,
    spec: &ModelReleaseSpec,
    revision: &Revision,
    ctx: &Context,
) -> Result<(), Error> {
    let asked_at = match spec.route.kind() {
        RouteKind::Gateway(_) | RouteKind::Pods => None,
        RouteKind::Ingress(_) => Some(whole_second((ctx.clock)())),
    };
    front::select(id, spec, &[revision], asked_at, ctx).await
}

/// Name of the route that carries a release's traffic.
pub(crate) fn name<'a>(release: &'a str, spec: &'a ModelReleaseSpec) -> &'a str {
    match spec.route.kind() {
        RouteKind::Gateway(route) => gateway::name(release, route),
        RouteKind::Ingress(_) | RouteKind::Pods => release,
    }
}

/// Applies an object of ours.
pub(crate) async fn apply<K>(
    api: &Api<K>,
    name: &str,
    object: &(impl Serialize + Debug),
    what: &str,
) -> Result<K, Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(name, &params, &Patch::Apply(object))
        .await
        .map_err(Error::api(format!("apply {what} {name}")))
}
