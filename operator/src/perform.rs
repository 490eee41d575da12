//! Carries out actions. Each is a wish that twice equals once.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::Resource;
use kube::api::{Api, DeleteParams, Patch};
use serde_json::json;
use serin_core::crd::ModelReleaseSpec;
use serin_core::plan::Action;
use serin_core::revision::Revision;

use crate::build;
use crate::configuration::{Contents, copy};
use crate::context::Context;
use crate::error::{Error, gone, is_not_found};
use crate::release::{Identity, patch_params};
use crate::route::{self, apply};

/// Carries out one action.
pub(crate) async fn perform(
    action: &Action,
    id: &Identity,
    spec: &ModelReleaseSpec,
    contents: &Contents,
    ctx: &Context,
) -> Result<(), Error> {
    tracing::info!(?action, "acting");
    match action {
        Action::Deploy { revision, replicas } => deploy(id, spec, revision, *replicas, contents, ctx).await,
        Action::Serve(revision) => route::serve(id, spec, revision, ctx).await,
        Action::Scale { revision, replicas } => scale(id, revision, *replicas, ctx).await,
        Action::Route(split) => route::write(id, spec, split, ctx).await,
        Action::PointService(revision) => route::point(id, spec, revision, ctx).await,
        Action::Delete(revision) => delete(id, revision, ctx).await,
    }
}

fn api<K>(id: &Identity, ctx: &Context) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    Api::namespaced(ctx.client.clone(), &id.namespace)
}

/// The Service first: the route may name it as soon as the pods are ready, and the copies of the configuration, which
/// come before the pods that read them, are its own.
async fn deploy(
    id: &Identity,
    spec: &ModelReleaseSpec,
    revision: &Revision,
    replicas: i32,
    contents: &Contents,
    ctx: &Context,
) -> Result<(), Error> {
    let Some(model) = &spec.model else { return Ok(()) };
    let name = id.revision_name(revision);
    let service = route::serve_at(&spec.serving.port, id, revision, ctx).await?;
    Box::pin(copy(id, revision, contents, &service, ctx)).await?;
    let deployment = build::deployment(id, spec, model, revision, replicas);
    apply(
        &api::<Deployment>(id, ctx),
        &name,
        &deployment,
        "the revision's Deployment",
    )
    .await
    .map(drop)
}

/// Touches the replica count alone: the template of an older revision is not known any more and must not change.
async fn scale(id: &Identity, revision: &Revision, replicas: i32, ctx: &Context) -> Result<(), Error> {
    let name = id.revision_name(revision);
    let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    match api::<Deployment>(id, ctx)
        .patch(&name, &patch_params(), &patch)
        .await
    {
        Err(error) if is_not_found(&error) && replicas == 0 => Ok(()),
        done => done
            .map(|_| ())
            .map_err(Error::api(format!("scale {name} to {replicas}"))),
    }
}

/// The Deployment last: it is what a look finds a revision by, so that a death in between leaves nothing behind.
async fn delete(id: &Identity, revision: &Revision, ctx: &Context) -> Result<(), Error> {
    let name = id.revision_name(revision);
    let background = DeleteParams::background();
    let service = api::<Service>(id, ctx).delete(&name, &background).await;
    gone(service.map(drop), &name)?;
    let deployment = api::<Deployment>(id, ctx).delete(&name, &background).await;
    gone(deployment.map(drop), &name)
}
