//! What somebody has removed, changed or left behind.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use serde_json::json;
use serin_core::crd::ModelRelease;

use super::{canary, selects, server, serving, stable};
use crate::faults::world::{Deed, GATEWAY, INGRESS, NAME, PODS, World};

impl World {
    /// How often the pods of each revision were asked for anew.
    async fn generations(&self) -> Vec<Option<i64>> {
        let all = self
            .all::<Deployment>()
            .list(&ListParams::default())
            .await
            .unwrap();
        all.into_iter().map(|pods| pods.metadata.generation).collect()
    }
}

#[tokio::test]
async fn services_that_somebody_removed_or_turned_elsewhere_are_put_right_during_a_trial() {
    let Some(server) = server().await else { return };
    let mut world = serving(&server, "services", GATEWAY).await;
    world.does(Deed::Want("healthy-2")).await;
    let status = world.until_soaking(0).await;
    let services = world.all::<Service>();
    let selector = async |name: &str| services.get(name).await.unwrap().spec.unwrap().selector;
    let both = [stable(&status), canary(&status)];
    let before = world.generations().await;
    let [of_stable, of_canary] = both.clone().map(|revision| format!("{NAME}-{revision}"));
    services
        .delete(&of_stable, &DeleteParams::default())
        .await
        .unwrap();
    let elsewhere = Patch::Merge(json!({"spec": {"selector": {"app": "blue"}}}));
    services
        .patch(&of_canary, &PatchParams::default(), &elsewhere)
        .await
        .unwrap();
    world.turn().await;
    assert_eq!(world.generations().await, before, "no pod is touched");
    for (revision, name) in both.iter().zip([of_stable, of_canary]) {
        assert_eq!(json!(selector(&name).await), selects(revision));
    }
    world.until_serving("healthy-2").await;
}

#[tokio::test]
async fn a_release_that_nobody_can_read_takes_its_traffic_along() {
    let Some(server) = server().await else { return };
    for (namespace, route) in [
        ("unread-gateway", GATEWAY),
        ("unread-ingress", INGRESS),
        ("unread-pods", PODS),
    ] {
        let world = serving(&server, namespace, route).await;
        world.does(Deed::Delete).await;
        let unread = InvalidObject {
            error: "of another time".into(),
            metadata: world.api().get(NAME).await.unwrap().metadata,
        };
        world.look_at(&DeserializeGuard(Err(unread))).await;
        assert_eq!(world.api().get_opt(NAME).await.unwrap(), None);
        let left = world.seen().await;
        let is_there = |kind: &str| !left[kind][NAME].is_null();
        assert!(!is_there("routes") && !is_there("ingresses"), "{left:#}");
        // Where there is nothing else, it is the route.
        assert_eq!(is_there("services"), route != PODS, "{left:#}");
    }
}

#[tokio::test]
async fn what_a_release_of_the_name_left_behind_serves_on_and_belongs_to_the_new_one() {
    let Some(server) = server().await else { return };
    let mut world = serving(&server, "orphans", GATEWAY).await;
    let name = format!("{NAME}-{}", stable(&world.status().await));
    let deployments = world.all::<Deployment>();
    let before = deployments.get(&name).await.unwrap();
    let old = world.api().get(NAME).await.unwrap();
    // Nobody collects garbage here: as after a deletion that orphans.
    world.does(Deed::Delete).await;
    world.turn().await;
    assert_eq!(world.api().get_opt(NAME).await.unwrap(), None);
    let new = ModelRelease::new(NAME, old.spec);
    let new = world.api().create(&PostParams::default(), &new).await.unwrap();
    world.until_serving("healthy-1").await;
    let after = deployments.get(&name).await.unwrap();
    assert_eq!(
        (after.uid(), after.metadata.generation),
        (before.uid(), before.metadata.generation)
    );
    let service = world.all::<Service>().get(&name).await.unwrap();
    for owners in [after.owner_references(), service.owner_references()] {
        assert_eq!(
            owners
                .iter()
                .map(|owner| Some(owner.uid.clone()))
                .collect::<Vec<_>>(),
            [new.uid()]
        );
    }
}
