//! Whoever scales the release owns its size, over promotions, and nobody fights over it.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use serin_core::crd::{ModelRelease, ModelReleaseStatus};
use serin_core::plan::{Phase, Stage};
use serin_testkit::ApiServer;

use crate::faults::calls::Calls;
use crate::faults::world::{Deed, GATEWAY, NAME, World};

async fn world(server: &ApiServer, namespace: &str) -> World {
    serin_testkit::install(server.client(), serin_testkit::routes())
        .await
        .unwrap();
    World::new(server, namespace.into(), GATEWAY, Calls::new(None)).await
}

async fn turns(world: &mut World, number: usize) -> ModelReleaseStatus {
    for _ in 0..number {
        world.turn().await;
    }
    assert!(world.failures.is_empty(), "{:?}", world.failures);
    world.shown().await.0.unwrap().status.unwrap_or_default()
}

/// What `kubectl scale` does, and the controller of autoscalers.
async fn scale(world: &World, replicas: i32) -> Scale {
    let wish = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    let api = world.all::<ModelRelease>();
    api.patch_scale(NAME, &PatchParams::default(), &wish)
        .await
        .unwrap()
}

/// Asked for, seen, and by which pods it is measured.
async fn scaled(world: &World) -> (i32, i32, String) {
    let scale = world.all::<ModelRelease>().get_scale(NAME).await.unwrap();
    let status = scale.status.unwrap_or_default();
    let asked = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
    (asked, status.replicas, status.selector.unwrap_or_default())
}

async fn pods_of(world: &World, revision: &str) -> Option<i32> {
    let api: Api<Deployment> = world.all();
    let found = api.get_opt(&format!("{NAME}-{revision}")).await.unwrap()?;
    found.spec?.replicas
}

/// The weight of a revision in the route.
async fn weight_of(world: &World, revision: &str) -> i64 {
    let kind = serin_testkit::http_route();
    let routes: Api<DynamicObject> = world.all_of(&kind);
    let route = routes.get(NAME).await.unwrap();
    let backends = route.data["spec"]["rules"][0]["backendRefs"].as_array().cloned();
    let name = Value::from(format!("{NAME}-{revision}"));
    let backends = backends.unwrap_or_default();
    let backend = backends.iter().find(|backend| backend["name"] == name);
    backend.map_or(0, |backend| backend["weight"].as_i64().unwrap())
}

#[tokio::test]
async fn a_release_is_scaled_during_a_trial_and_what_is_promoted_has_that_size() {
    let Some(server) = ApiServer::start().await.unwrap() else {
        return;
    };
    let mut world = world(&server, "scaled").await;
    world.does(Deed::Want("healthy-1")).await;
    let before = turns(&mut world, 6).await.stable.unwrap().revision;
    let selector = format!("serin.dev/release={NAME}");
    assert_eq!(scaled(&world).await, (2, 2, selector.clone()));

    scale(&world, 5).await;
    let status = turns(&mut world, 3).await;
    assert_eq!(pods_of(&world, &before).await, Some(5));
    assert_eq!(scaled(&world).await, (5, 5, selector.clone()));
    assert_eq!((status.phase, status.canary), (Phase::Promoted, None));

    world.does(Deed::Want("healthy-2")).await;
    let mut status = turns(&mut world, 1).await;
    while status.canary.as_ref().unwrap().stage != Stage::Soaking || status.analysis.is_none() {
        status = turns(&mut world, 1).await;
    }
    let after = status.canary.unwrap().arm.revision;
    let (record, observed) = (status.analysis.unwrap().record, status.soak.unwrap().observed);
    scale(&world, 3).await;
    let status = turns(&mut world, 1).await;
    let canary = status.canary.unwrap();
    assert_eq!(
        (canary.arm.revision.as_str(), canary.stage),
        (after.as_str(), Stage::Soaking)
    );
    assert_eq!(
        status.analysis.unwrap().record,
        record,
        "the same judgement goes on"
    );
    assert!(status.soak.unwrap().observed >= observed, "and so does the clock");
    turns(&mut world, 1).await;
    // The canary keeps its own number, and is none of the size.
    assert_eq!(
        (pods_of(&world, &before).await, pods_of(&world, &after).await),
        (Some(3), Some(1))
    );
    assert_eq!(scaled(&world).await, (3, 3, selector.clone()));

    for _ in 0..20 {
        let status = turns(&mut world, 1).await;
        if weight_of(&world, &after).await == 100 {
            assert!(
                pods_of(&world, &after).await >= Some(3),
                "the pods come before the weight"
            );
        }
        if status.canary.is_none() {
            break;
        }
    }
    let status = turns(&mut world, 3).await;
    assert_eq!(status.stable.unwrap().revision, after);
    assert_eq!(
        (pods_of(&world, &before).await, pods_of(&world, &after).await),
        (Some(0), Some(3))
    );
    assert_eq!(scaled(&world).await, (3, 3, selector));
    // Nobody but whoever scales has written the number.
    let release = world.shown().await;
    let managers = release.0.unwrap().metadata.managed_fields.unwrap();
    for entry in managers
        .iter()
        .filter(|entry| entry.manager.as_deref() == Some("serin-operator"))
    {
        let fields = serde_json::to_string(&entry.fields_v1).unwrap();
        assert!(!fields.contains("f:spec"), "{fields}");
    }
}

#[tokio::test]
async fn a_release_sleeps_at_zero_and_tries_nothing_until_it_is_back() {
    let Some(server) = ApiServer::start().await.unwrap() else {
        return;
    };
    let mut world = world(&server, "asleep").await;
    world.does(Deed::Want("healthy-1")).await;
    let stable = turns(&mut world, 6).await.stable.unwrap().revision;
    world.does(Deed::Want("healthy-2")).await;
    let canary = turns(&mut world, 5).await.canary.unwrap().arm.revision;

    scale(&world, 0).await;
    let status = turns(&mut world, 5).await;
    // Of the canary nothing is left: it is none that a return needs no soak for.
    assert_eq!(
        (pods_of(&world, &stable).await, pods_of(&world, &canary).await),
        (Some(0), None)
    );
    assert_eq!(scaled(&world).await.0, 0);
    assert_eq!((status.canary, status.phase), (None, Phase::Held));
    assert_eq!(status.history[0].outcome.reason.as_str(), "Asleep");
    assert_eq!(weight_of(&world, &stable).await, 100);

    scale(&world, 2).await;
    let status = turns(&mut world, 5).await;
    assert_eq!(pods_of(&world, &stable).await, Some(2));
    assert_eq!(status.canary.unwrap().arm.revision, canary, "it is tried anew");
}

#[tokio::test]
async fn a_manifest_without_a_number_leaves_it_to_the_autoscaler() {
    let Some(server) = ApiServer::start().await.unwrap() else {
        return;
    };
    let world = world(&server, "applied").await;
    let release = world.shown().await.0.unwrap();
    let mut manifest = json!({
        "apiVersion": "serin.dev/v1alpha1", "kind": "ModelRelease", "metadata": {"name": "other"},
        "spec": release.spec,
    });
    manifest["spec"]["serving"]
        .as_object_mut()
        .unwrap()
        .remove("replicas");
    let api = world.all::<ModelRelease>();
    let params = PatchParams::apply("gitops");
    let applied = api
        .patch("other", &params, &Patch::Apply(&manifest))
        .await
        .unwrap();
    assert_eq!(applied.spec.serving.replicas, 2);
    let wish = Patch::Merge(json!({"spec": {"replicas": 7}}));
    let scaler = PatchParams {
        field_manager: Some("horizontal-pod-autoscaler".into()),
        ..PatchParams::default()
    };
    api.patch_scale("other", &scaler, &wish).await.unwrap();
    manifest["spec"]["paused"] = json!(true);
    let again = api
        .patch("other", &params, &Patch::Apply(&manifest))
        .await
        .unwrap();
    assert_eq!((again.spec.serving.replicas, again.spec.paused), (7, true));
}
