//! Writes down what was done: the record of the decision, events, then the status.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Resource as _, ResourceExt as _};
use serde::Deserialize;
use serde_json::json;
use serin_core::crd::{API_VERSION, ModelRelease, ModelReleaseStatus};
use serin_core::digest::Digest;
use serin_core::plan::{News, Plan};
use serin_core::status::record_name;

use crate::archive::Record;
use crate::context::Context;
use crate::error::{Error, is_conflict};
use crate::metrics::Shown;
use crate::release::{FIELD_MANAGER, Identity};

/// Adds to the record of the decision, where one is kept.
pub(crate) async fn remember(plan: &Plan, id: &Identity, ctx: &Context) -> Result<(), Error> {
    let Some(archive) = &ctx.archive else {
        return Ok(());
    };
    let canary = plan.state.canary.as_ref();
    let Some((canary, run)) = canary.and_then(|canary| Some((canary, canary.run.as_ref()?))) else {
        return Ok(());
    };
    let name = record_name(&canary.version.revision, run.began);
    let record = Record {
        namespace: &id.namespace,
        release: &id.name,
        name: &name,
    };
    for entry in &plan.entries {
        archive.write(record, entry).await.map_err(Error::Archive)?;
    }
    Ok(())
}

/// Publishes an event per piece of news.
///
/// The name of an event follows from the transition, so that a crash between the event and the status repeats the
/// call and not the event.
pub(crate) async fn tell(
    news: &[News],
    release: &ModelRelease,
    id: &Identity,
    ctx: &Context,
    now: Timestamp,
) -> Result<(), Error> {
    let api: Api<Event> = Api::namespaced(ctx.client.clone(), &id.namespace);
    for one in news {
        tracing::info!(revision = %one.revision, reason = one.reason.as_str(), "{}", one.message);
        match api
            .create(&PostParams::default(), &event(one, release, id, now))
            .await
        {
            Err(error) if is_conflict(&error) => {}
            done => done.map(|_| ()).map_err(Error::api("publish an event"))?,
        }
    }
    Ok(())
}

fn event(news: &News, release: &ModelRelease, id: &Identity, now: Timestamp) -> Event {
    let trial = release
        .status
        .as_ref()
        .and_then(|status| status.history.first())
        .map(|past| past.at.to_string());
    let transition = json!([
        release.uid(),
        trial,
        news.revision,
        news.reason.as_str(),
        news.ordinal
    ]);
    let name = format!(
        "{}.{}",
        id.name,
        Digest::of(transition.to_string().as_bytes()).short()
    );
    let mut regarding: ObjectReference = release.object_ref(&());
    regarding.api_version = Some(API_VERSION.into());
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(id.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: regarding,
        reason: Some(news.reason.as_str().into()),
        message: Some(news.message.clone()),
        type_: Some(if news.warning { "Warning" } else { "Normal" }.into()),
        action: Some(news.reason.as_str().into()),
        source: Some(EventSource {
            component: Some(FIELD_MANAGER.into()),
            host: None,
        }),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        reporting_component: Some(FIELD_MANAGER.into()),
        ..Event::default()
    }
}

/// What is read of the answer to a write: whoever writes often and reads all of it reads more than he writes.
#[derive(Deserialize)]
struct Written {
    metadata: WrittenMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMeta {
    resource_version: Option<String>,
}

/// Writes the status, unless it says what is written already, and shows the release so in the metrics.
pub(crate) async fn record(
    status: &ModelReleaseStatus,
    release: &ModelRelease,
    id: &Identity,
    ctx: &Context,
) -> Result<(), Error> {
    let releases = ctx.metrics.releases();
    if release.status.as_ref() == Some(status) {
        releases.shows(&id.namespace, &id.name, Shown::of(status));
        return Ok(());
    }
    // With the version that was read: a status built on an older look is refused, and the look repeated.
    let object = json!({
        "apiVersion": API_VERSION,
        "kind": "ModelRelease",
        "metadata": { "name": id.name, "resourceVersion": release.resource_version() },
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let request = kube::core::Request::new(ModelRelease::url_path(&(), Some(&id.namespace)));
    let request = request
        .patch_subresource("status", &id.name, &params, &Patch::Apply(object))
        .map_err(|error| Error::api("write the status")(kube::Error::BuildRequest(error)))?;
    let written: Written = ctx
        .client
        .request(request)
        .await
        .map_err(Error::api("write the status"))?;
    ctx.wrote(&id.key(), written.metadata.resource_version);
    releases.shows(&id.namespace, &id.name, Shown::of(status));
    Ok(())
}
