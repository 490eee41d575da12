//! Whoever scales the release owns its size, over promotions, and nobody fights over it.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use serin_core::crd::ModelRelease;
use serin_core::plan::{Phase, Stage};

use crate::faults::world::{Deed, GATEWAY, NAME, World, server};

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

/// The percentage of a revision in the route.
async fn weight_of(world: &World, revision: &str) -> i64 {
    let shares = world.shares().await;
    assert!(!shares.is_empty(), "there is no route");
    shares.get(revision).copied().unwrap_or(0)
}

/// Whoever scales has written the number, and the operator nothing of `spec`.
pub(super) async fn assert_no_spec_is_ours(world: &World) {
    let release = world.shown().await.0.unwrap();
    for entry in release.metadata.managed_fields.unwrap() {
        let is_ours = entry.manager.as_deref() == Some("serin-operator");
        let fields = serde_json::to_string(&entry.fields_v1).unwrap();
        assert!(!is_ours || !fields.contains("f:spec"), "{fields}");
    }
}

#[tokio::test]
async fn a_release_is_scaled_during_a_trial_and_what_is_promoted_has_that_size() {
    let Some(server) = server().await else { return };
    let mut world = World::undisturbed(&server, "scaled", GATEWAY).await;
    world.does(Deed::Want("healthy-1")).await;
    let before = world.turns(6).await.stable.unwrap().revision;
    let selector = format!("serin.dev/release={NAME}");
    assert_eq!(scaled(&world).await, (2, 2, selector.clone()));

    scale(&world, 5).await;
    let status = world.turns(3).await;
    assert_eq!(pods_of(&world, &before).await, Some(5));
    assert_eq!(scaled(&world).await, (5, 5, selector.clone()));
    assert_eq!((status.phase, status.canary), (Phase::Promoted, None));

    world.does(Deed::Want("healthy-2")).await;
    let mut status = world.turns(1).await;
    while status.canary.as_ref().unwrap().stage != Stage::Soaking || status.analysis.is_none() {
        status = world.turns(1).await;
    }
    let after = status.canary.unwrap().arm.revision;
    let (record, observed) = (status.analysis.unwrap().record, status.soak.unwrap().observed);
    scale(&world, 3).await;
    let status = world.turns(1).await;
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
    world.turns(1).await;
    // The canary keeps its own number, and is none of the size.
    assert_eq!(
        (pods_of(&world, &before).await, pods_of(&world, &after).await),
        (Some(3), Some(1))
    );
    assert_eq!(scaled(&world).await, (3, 3, selector.clone()));

    for _ in 0..20 {
        let status = world.turns(1).await;
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
    let status = world.turns(3).await;
    assert_eq!(status.stable.unwrap().revision, after);
    assert_eq!(
        (pods_of(&world, &before).await, pods_of(&world, &after).await),
        (Some(0), Some(3))
    );
    assert_eq!(scaled(&world).await, (3, 3, selector));
    assert_no_spec_is_ours(&world).await;
}

#[tokio::test]
async fn a_release_sleeps_at_zero_and_tries_nothing_until_it_is_back() {
    let Some(server) = server().await else { return };
    let mut world = World::undisturbed(&server, "asleep", GATEWAY).await;
    world.does(Deed::Want("healthy-1")).await;
    let stable = world.turns(6).await.stable.unwrap().revision;
    world.does(Deed::Want("healthy-2")).await;
    let canary = world.turns(5).await.canary.unwrap().arm.revision;

    scale(&world, 0).await;
    let status = world.turns(5).await;
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
    let status = world.turns(5).await;
    assert_eq!(pods_of(&world, &stable).await, Some(2));
    assert_eq!(status.canary.unwrap().arm.revision, canary, "it is tried anew");
}

#[tokio::test]
async fn a_manifest_without_a_number_leaves_it_to_the_autoscaler() {
    let Some(server) = server().await else { return };
    let world = World::undisturbed(&server, "applied", GATEWAY).await;
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
