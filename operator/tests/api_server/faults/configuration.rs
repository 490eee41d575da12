//! Configuration is part of a version: what is written to a real API server when it changes.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use serin_core::crd::ModelReleaseSpec;
use serin_core::plan::Phase;
use serin_core::revision::Asked;
use serin_testkit::ApiServer;

use crate::faults::world::{Deed, GATEWAY, NAME, World, server};

/// A pod spec that reads the ConfigMaps `limits`, `free` and, where it is there, `flags`, and what `more` says.
fn pod(more: &Value) -> Value {
    json!({
        "containers": [{
            "name": "server", "image": "server:1", "ports": [{"name": "http", "containerPort": 8082}],
            "envFrom": [{"configMapRef": {"name": "limits"}}],
            "env": [
                {"name": "FREE", "valueFrom": {"configMapKeyRef": {"name": "free", "key": "top"}}},
                {"name": "FLAG", "valueFrom": {"configMapKeyRef": {"name": "flags", "key": "top", "optional": true}}},
            ],
        }],
        "volumes": more,
    })
}

async fn world(server: &ApiServer, namespace: &str, more: &Value) -> World {
    let world = World::undisturbed(server, namespace, GATEWAY).await;
    let serving = json!({
        "template": {"spec": pod(more)}, "unversioned": [{"kind": "ConfigMap", "name": "free"}],
    });
    world.edit(json!({"spec": {"serving": serving}})).await;
    world
}

/// What the pods of a revision read: the names in their template.
async fn read_by(world: &World, revision: &str) -> Vec<String> {
    let api: Api<Deployment> = world.all();
    let deployment = api.get(&format!("{NAME}-{revision}")).await.unwrap();
    let template = serde_json::to_value(deployment.spec.unwrap().template.spec).unwrap();
    let at = |pointer: &str| {
        template
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    [
        "/containers/0/envFrom/0/configMapRef/name",
        "/containers/0/env/0/valueFrom/configMapKeyRef/name",
        "/containers/0/env/1/valueFrom/configMapKeyRef/name",
        "/volumes/0/secret/secretName",
    ]
    .into_iter()
    .filter_map(at)
    .collect()
}

/// What a ConfigMap holds, if it is there.
async fn held(world: &World, name: &str) -> Option<String> {
    let found = world.all::<ConfigMap>().get_opt(name).await.unwrap()?;
    found.data?.remove("top")
}

fn revision_of(arm: Option<&serin_core::crd::Arm>) -> String {
    arm.expect("there is one").revision.clone()
}

/// The writes among the calls that follow the first so many.
fn writes(world: &World, from: usize) -> Vec<String> {
    let names = world.calls.names().split_off(from);
    let is_write = |name: &String| !name.starts_with("GET") && !name.starts_with("QUERY");
    names.into_iter().filter(is_write).collect()
}

#[tokio::test]
async fn a_change_of_what_pods_read_is_a_canary_and_what_serves_keeps_what_it_had() {
    let Some(server) = server().await else { return };
    let mut world = world(&server, "configured", &json!([])).await;
    world.holds("limits", "20").await;
    world.holds("free", "1").await;
    world.does(Deed::Want("healthy-1")).await;
    let status = world.turns(6).await;
    assert_eq!(status.phase, Phase::Promoted, "{status:?}");
    let before = revision_of(status.stable.as_ref());
    let copy = |revision: &str, of: &str| format!("{NAME}-{revision}-{of}");
    assert_eq!(
        read_by(&world, &before).await,
        [copy(&before, "limits"), "free".into(), copy(&before, "flags")]
    );
    let copied = world
        .all::<ConfigMap>()
        .get(&copy(&before, "limits"))
        .await
        .unwrap();
    assert_eq!(copied.immutable, Some(true));
    let service = world
        .all::<Service>()
        .get(&format!("{NAME}-{before}"))
        .await
        .unwrap();
    assert_eq!(copied.owner_references()[0].uid, service.uid().unwrap());

    // Nobody reads this one, that one is unversioned, and the third says what it said.
    let calls = world.calls.names().len();
    world.holds("other", "1").await;
    world.holds("free", "2").await;
    let relabelled = json!({"metadata": {"labels": {"team": "films"}}});
    world
        .all::<ConfigMap>()
        .patch("limits", &PatchParams::default(), &Patch::Merge(relabelled))
        .await
        .unwrap();
    world.turns(3).await;
    assert_eq!(writes(&world, calls), [""; 0]);

    world.holds("limits", "30").await;
    let status = world.turns(6).await;
    let after = revision_of(status.canary.as_ref().map(|canary| &canary.arm));
    assert_ne!(after, before);
    assert_eq!(revision_of(status.stable.as_ref()), before);
    assert_eq!(read_by(&world, &after).await[0], copy(&after, "limits"));
    assert_eq!(held(&world, &copy(&after, "limits")).await.as_deref(), Some("30"));
    // A pod of stable that is restarted now reads what it read before.
    assert_eq!(read_by(&world, &before).await[0], copy(&before, "limits"));
    assert_eq!(
        held(&world, &copy(&before, "limits")).await.as_deref(),
        Some("20")
    );

    world.holds("limits", "20").await;
    let status = world.turns(6).await;
    assert_eq!(status.canary, None);
    assert_eq!(revision_of(status.stable.as_ref()), before);
    let reasons: Vec<_> = status
        .history
        .iter()
        .map(|past| past.outcome.reason.as_str())
        .collect();
    assert_eq!(reasons, ["Returned", "Promoted"]);

    // One that was optional and missing is there now.
    world.holds("flags", "on").await;
    let status = world.turns(3).await;
    let flagged = revision_of(status.canary.as_ref().map(|canary| &canary.arm));
    assert_eq!(
        held(&world, &copy(&flagged, "flags")).await.as_deref(),
        Some("on")
    );
    assert_eq!(held(&world, &copy(&before, "flags")).await, None);
}

#[tokio::test]
async fn a_return_to_an_earlier_configuration_needs_no_soak_and_finds_its_content() {
    let Some(server) = server().await else { return };
    let mut world = world(&server, "returned", &json!([])).await;
    world.holds("limits", "20").await;
    world.does(Deed::Want("healthy-1")).await;
    let before = revision_of(world.turns(6).await.stable.as_ref());
    world.holds("limits", "30").await;
    let status = world.turns(22).await;
    let after = revision_of(status.stable.as_ref());
    assert_ne!(after, before, "{status:?}");
    world.holds("limits", "20").await;
    let status = world.turns(2).await;
    assert!(status.canary.as_ref().is_some_and(|canary| canary.trusted));
    let status = world.turns(5).await;
    assert_eq!(revision_of(status.stable.as_ref()), before);
    assert_eq!(
        held(&world, &format!("{NAME}-{before}-limits")).await.as_deref(),
        Some("20")
    );
}

#[tokio::test]
async fn a_secret_is_part_of_a_version_and_shown_nowhere() {
    let Some(server) = server().await else { return };
    let volume = json!([{"name": "token", "secret": {"secretName": "token"}}]);
    let mut world = world(&server, "secret", &volume).await;
    world.holds("limits", "20").await;
    let secret = |value: &str| -> Secret {
        let object = json!({"metadata": {"name": "token"}, "stringData": {"password": value}});
        serde_json::from_value(object).unwrap()
    };
    let secrets: Api<Secret> = world.all();
    secrets
        .create(&PostParams::default(), &secret("hunter2"))
        .await
        .unwrap();
    world.does(Deed::Want("healthy-1")).await;
    let status = world.turns(6).await;
    let before = revision_of(status.stable.as_ref());
    let copy = format!("{NAME}-{before}-token");
    assert_eq!(read_by(&world, &before).await[3], copy);
    let copied = secrets.get(&copy).await.unwrap();
    assert_eq!(copied.data.as_ref().unwrap()["password"].0, b"hunter2");
    assert_eq!(copied.immutable, Some(true));

    let changed = json!({"stringData": {"password": "hunter3"}});
    secrets
        .patch("token", &PatchParams::default(), &Patch::Merge(changed))
        .await
        .unwrap();
    let status = world.turns(3).await;
    let after = revision_of(status.canary.as_ref().map(|canary| &canary.arm));
    assert_ne!(after, before);
    // Nor can what is shown be made of it by somebody who tries passwords: the key is needed.
    let seen = world.seen().await.to_string();
    let spec: ModelReleaseSpec = world.shown().await.0.unwrap().spec;
    for shown in ["hunter", "aHVudGVy"] {
        assert!(!seen.contains(shown), "{seen}");
    }
    let tried = serin_core::configuration::Content::of([("password".into(), b"hunter2".to_vec())]);
    let limits = serin_core::configuration::Content::of([("top".into(), b"20".to_vec())]);
    let nothing = serin_core::configuration::Content::default();
    let digests = serin_core::configuration::references(&spec.serving)
        .into_keys()
        .map(|reference| {
            let content = match reference.name.as_str() {
                "token" => &tried,
                "limits" => &limits,
                _ => &nothing,
            };
            let digest = content.digest(b"");
            (reference, digest)
        });
    let guessed = Asked::of(&spec).unwrap().version(&digests.collect());
    assert_ne!(guessed.revision.as_str(), before);

    // What is gone is named; the trial goes on.
    secrets.delete("token", &DeleteParams::default()).await.unwrap();
    let status = world.turns(20).await;
    assert_eq!(revision_of(status.stable.as_ref()), after, "{status:?}");
    assert_eq!(status.phase, Phase::Held);
    assert_eq!(
        status.display.reason,
        "the pods' configuration is incomplete: there is no Secret token beside the release: create it"
    );
    let calls = world.calls.names().len();
    world.turns(3).await;
    assert_eq!(writes(&world, calls), [""; 0]);
}

#[tokio::test]
async fn an_operator_that_begins_to_look_at_configuration_adopts_what_is_there() {
    let Some(server) = server().await else { return };
    let mut world = world(&server, "adopted", &json!([])).await;
    world.does(Deed::Want("healthy-1")).await;
    let release = world.shown().await.0.unwrap();
    let bare = Asked::of(&release.spec).unwrap().version(&[].into());
    // As an operator left it for which configuration was no part of a version.
    let stable = json!({"version": bare.name, "digest": bare.digest, "revision": bare.revision});
    world.tell(json!({"status": {"stable": stable}})).await;
    world.holds("limits", "20").await;
    let status = world.turns(6).await;
    assert_eq!(revision_of(status.stable.as_ref()), bare.revision.as_str());
    assert_eq!((status.canary.as_ref(), status.history.len()), (None, 0));
    let adopted = status.adopted.expect("what was there is adopted");
    assert_eq!(adopted.revision, bare.revision.as_str());
    world.holds("limits", "30").await;
    let status = world.turns(3).await;
    let after = revision_of(status.canary.as_ref().map(|canary| &canary.arm));
    assert_eq!(
        held(&world, &format!("{NAME}-{after}-limits")).await.as_deref(),
        Some("30")
    );
}
