//! What a release of the same name has left behind, because it was deleted without it or only just now: it goes on
//! serving, and goes with the release that is there now.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ListParams, Patch};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::context::Context;
use crate::error::{Error, is_not_found};
use crate::release::{Identity, patch_params};

/// Lets a new release own the Deployments and Services that bear its label and a name that it gives, and that nobody else
/// controls.
pub(crate) async fn adopt(id: &Identity, ctx: &Context) -> Result<(), Error> {
    // Nearly always there is nothing, and the watch says so.
    let shown = ctx.owned.workloads.of(&id.namespace, &id.name);
    if shown.is_some_and(|shown| shown.is_empty()) {
        return Ok(());
    }
    adopt_all::<Deployment>(id, ctx, "Deployment").await?;
    adopt_all::<Service>(id, ctx, "Service").await
}

async fn adopt_all<K>(id: &Identity, ctx: &Context, kind: &str) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &id.namespace);
    let listed = api.list(&ListParams::default().labels(&id.selector())).await;
    let listed = listed.map_err(Error::api(format!("list what there is of kind {kind}")))?;
    let is_left = |object: &&K| {
        let name = object.name_any();
        let is_named = name == id.name || id.revision_of(&name).is_some();
        let is_of_this = |owner: &OwnerReference| owner.uid == id.owner.uid;
        let is_elses = |owner: &OwnerReference| owner.controller == Some(true) && owner.kind != id.owner.kind;
        let mut owners = object.owner_references().iter();
        is_named
            && object.meta().deletion_timestamp.is_none()
            && owners.all(|owner| !is_of_this(owner) && !is_elses(owner))
    };
    for left in listed.iter().filter(is_left) {
        let name = left.name_any();
        let others = left.owner_references().iter();
        let mut owners: Vec<_> = others.filter(|owner| owner.kind != id.owner.kind).collect();
        owners.push(&id.owner);
        // The one that was read, as it was: what has changed since is looked at again.
        let change = json!({"metadata": {
            "uid": left.uid(), "resourceVersion": left.resource_version(), "ownerReferences": owners,
        }});
        tracing::info!(
            release = id.key(),
            kind,
            name,
            "taken over from a release of the same name"
        );
        match api.patch(&name, &patch_params(), &Patch::Merge(change)).await {
            Err(error) if is_not_found(&error) => {}
            done => drop(done.map_err(Error::api(format!("take over the {kind} {name}")))?),
        }
    }
    Ok(())
}
