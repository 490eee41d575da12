//! The stable-named Service, in front of the pods of one revision or of all of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use serin_core::crd::ModelReleaseSpec;
use serin_core::revision::Revision;

use super::apply;
use crate::build;
use crate::context::Context;
use crate::error::{Error, gone};
use crate::owned::Unknown;
use crate::release::{ASKED_AT, Identity, RELEASE_LABEL, REVISION_LABEL};

/// What the Service selects.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    /// None where it selects the pods of all revisions.
    pub(crate) revision: Option<Revision>,
    /// Since when, if that is written down.
    pub(crate) asked_at: Option<Timestamp>,
}

impl Selected {
    /// What a Service selects; none of one that selects no pods of a release.
    pub(crate) fn of(service: &Service) -> Option<Self> {
        let selector = service.spec.as_ref()?.selector.as_ref()?;
        let revision = selector.get(REVISION_LABEL);
        selector.get(RELEASE_LABEL)?;
        Some(Self {
            revision: revision.map(|text| Revision::recorded(text)),
            asked_at: asked_at(service.annotations()),
        })
    }
}

/// Since when an object is to be as it is, if that is written down in it.
pub(super) fn asked_at(annotations: &BTreeMap<String, String>) -> Option<Timestamp> {
    annotations.get(ASKED_AT)?.parse().ok()
}

/// What it selects; none where it is not there, or somebody else's.
pub(super) async fn read(id: &Identity, ctx: &Context) -> Result<Option<Selected>, Error> {
    let found = find(id, ctx).await?.filter(|found| is_ours(found, id));
    Ok(found.as_ref().and_then(Selected::of))
}

/// As [`read`], from the watch.
pub(super) fn glance(id: &Identity, ctx: &Context) -> Result<Option<Selected>, Unknown> {
    ctx.owned.services.get(&id.namespace, &id.name, &id.name)
}

/// Lets it select the pods of the one revision that is served, or all pods where there are several. One that does so
/// already is left as it is, unless the time is to be written down.
///
/// Errors: a Service of the name is somebody else's, or the pods to be served listen on ports of other names.
pub(super) async fn select(
    id: &Identity,
    spec: &ModelReleaseSpec,
    served: &[&Revision],
    asked_at: Option<Timestamp>,
    ctx: &Context,
) -> Result<(), Error> {
    let only = match served {
        [only] => Some(*only),
        _ => None,
    };
    if let Some(found) = find(id, ctx).await? {
        if !is_ours(&found, id) {
            return Err(Error::NameTaken(id.name.clone()));
        }
        let does_so = |selected: Selected| selected.revision.as_ref() == only;
        if asked_at.is_none() && Selected::of(&found).is_some_and(does_so) {
            return Ok(());
        }
    }
    let mut ports = Vec::new();
    for revision in served {
        let port = port(id, spec, revision, ctx).await?;
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    let [port] = &ports[..] else {
        return Err(Error::UnlikePorts(ports.join(" and ")));
    };
    let service = build::front_service(id, port, only, asked_at);
    apply(&services(id, ctx), &id.name, &service, "the stable Service")
        .await
        .map(drop)
}

/// Removes it; one that is somebody else's stays.
pub(super) async fn remove(id: &Identity, ctx: &Context) -> Result<(), Error> {
    let Some(found) = find(id, ctx).await?.filter(|found| is_ours(found, id)) else {
        return Ok(());
    };
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: found.metadata.uid,
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let done = services(id, ctx).delete(&id.name, &params).await;
    gone(done.map(drop), "the stable Service")
}

/// The names of all Services of the release.
pub(super) async fn all(id: &Identity, ctx: &Context) -> kube::Result<Vec<String>> {
    let listed = services(id, ctx)
        .list(&ListParams::default().labels(&id.selector()))
        .await?;
    Ok(listed.iter().map(ResourceExt::name_any).collect())
}

async fn find(id: &Identity, ctx: &Context) -> Result<Option<Service>, Error> {
    let found = services(id, ctx).get_opt(&id.name).await;
    found.map_err(Error::api("read the stable Service"))
}

fn is_ours(service: &Service, id: &Identity) -> bool {
    service.labels().get(RELEASE_LABEL) == Some(&id.name)
}

/// The name of the port on which the pods of a revision listen: what its own Service sends to, which was made from the
/// `spec` of its time. `spec` may say another by now.
async fn port(
    id: &Identity,
    spec: &ModelReleaseSpec,
    revision: &Revision,
    ctx: &Context,
) -> Result<String, Error> {
    let name = id.revision_name(revision);
    let own = services(id, ctx).get_opt(&name).await;
    let own = own.map_err(Error::api(format!("read the Service {name}")))?;
    let ports = own.and_then(|own| own.spec?.ports).unwrap_or_default();
    Ok(match ports.into_iter().find_map(|port| port.target_port) {
        Some(IntOrString::String(name)) => name,
        Some(IntOrString::Int(_)) | None => spec.serving.port.clone(),
    })
}

fn services(id: &Identity, ctx: &Context) -> Api<Service> {
    Api::namespaced(ctx.client.clone(), &id.namespace)
}
