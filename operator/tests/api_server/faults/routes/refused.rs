//! What is refused, by the API server or because it is somebody else's, and all that goes on beside it.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use serin_core::crd::{ModelReleaseStatus, REQUEST_ANNOTATION};
use serin_core::plan::{Phase, Reason};
use tokio::time::{sleep, timeout};

use super::{condition, selects, server, serving, stable};
use crate::faults::world::{Deed, GATEWAY, NAME, PODS, World};

impl World {
    /// The port of the pods that the stable-named Service sends to.
    async fn port(&self) -> Value {
        let service = self.all::<Service>().get(NAME).await.unwrap();
        json!(service.spec.unwrap().ports.unwrap()[0].target_port)
    }

    async fn until_refused(&mut self, words: &str) {
        self.until(words, |status| {
            condition(status, "Stalled")
                .is_some_and(|stalled| stalled.reason == "ObjectRefused" && stalled.message.contains(words))
        })
        .await;
    }
}

#[tokio::test]
async fn a_service_of_the_same_name_is_neither_taken_nor_removed() {
    let Some(server) = server().await else { return };
    for (namespace, route) in [("theirs-gateway", GATEWAY), ("theirs-pods", PODS)] {
        let mut world = World::undisturbed(&server, namespace, route).await;
        let theirs = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
            "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]},
        });
        let theirs: Service = serde_json::from_value(theirs).unwrap();
        world
            .all::<Service>()
            .create(&PostParams::default(), &theirs)
            .await
            .unwrap();
        world.does(Deed::Want("healthy-1")).await;
        world
            .until_refused("the Service \"recommender\" has the name that this release needs")
            .await;

        world.does(Deed::Delete).await;
        world.turn().await;
        assert_eq!(world.api().get_opt(NAME).await.unwrap(), None);
        assert_eq!(world.selector().await, Some(json!({"app": "theirs"})));
    }
}

#[tokio::test]
async fn the_stable_service_sends_to_the_port_of_those_whom_it_selects() {
    let Some(server) = server().await else { return };
    let renamed = json!({"spec": {"serving": {"port": "web", "template": {"spec": {"containers": [
        {"name": "server", "image": "server:1", "ports": [{"name": "web", "containerPort": 8082}]},
    ]}}}}});

    let mut world = serving(&server, "ports-gateway", GATEWAY).await;
    assert_eq!(world.port().await, "http");
    world.edit(renamed.clone()).await;
    world.does(Deed::Want("healthy-2")).await;
    world.until_serving("healthy-2").await;
    assert_eq!(world.port().await, "web");
    let undo = serin_core::status::state(&world.status().await).undo();
    let undo = undo.expect("it was promoted").to_string();
    world
        .edit(json!({"metadata": {"annotations": {REQUEST_ANNOTATION: undo}}}))
        .await;
    world
        .until("healthy-1 serves again", |status| {
            status.canary.is_none()
                && status
                    .stable
                    .as_ref()
                    .is_some_and(|stable| stable.version == "healthy-1")
        })
        .await;
    world.turn().await;
    assert_eq!(world.port().await, "http", "spec says another");

    // One Service cannot send to both.
    let mut world = serving(&server, "ports-pods", PODS).await;
    let first = stable(&world.status().await);
    world.edit(renamed).await;
    world.does(Deed::Want("healthy-2")).await;
    world.until_refused("pods whose ports are called").await;
    assert_eq!(world.selector().await, Some(selects(&first)));
    world.does(Deed::Abort).await;
    world
        .until("it is rolled back", |status| status.phase == Phase::RolledBack)
        .await;
    assert_eq!(
        (world.selector().await, world.port().await),
        (Some(selects(&first)), json!("http"))
    );
}

/// Lets nobody have more than five pods, and waits until that holds.
async fn cap(world: &World, revision: &str) {
    let name = "capped";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"],
            }]},
            "validations": [{"expression": "object.spec.replicas <= 5", "message": "five pods are enough"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(world.client.clone());
    let policy = serde_json::from_value(policy).unwrap();
    policies.create(&PostParams::default(), &policy).await.unwrap();
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.client.clone());
    let binding = serde_json::from_value(binding).unwrap();
    bindings.create(&PostParams::default(), &binding).await.unwrap();

    let deployments = world.all::<Deployment>();
    let deployment = format!("{NAME}-{revision}");
    let try_six = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let six = Patch::Merge(json!({"spec": {"replicas": 6}}));
    timeout(Duration::from_secs(30), async {
        while deployments.patch(&deployment, &try_six, &six).await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("the policy holds within 30 s");
}

#[tokio::test]
async fn a_policy_that_refuses_more_pods_keeps_nothing_else_from_happening() {
    let Some(server) = server().await else { return };
    let mut world = serving(&server, "capped", GATEWAY).await;
    let first = stable(&world.status().await);
    cap(&world, &first).await;

    world.does(Deed::Want("healthy-2")).await;
    world.until_soaking(0).await;
    world.edit(json!({"spec": {"serving": {"replicas": 20}}})).await;
    world.until_refused("five pods are enough").await;
    // What was shown counts, and the next weight is asked for.
    world.until_soaking(1).await;
    world.does(Deed::Abort).await;
    let ended = world
        .until("it is rolled back", |status| status.canary.is_none())
        .await;
    assert_eq!(ended.history[0].outcome.reason, Reason::Aborted);
    world.until_refused("five pods are enough").await;
    world.edit(json!({"spec": {"serving": {"replicas": 4}}})).await;
    world.turn().await;
    assert_eq!(world.replicas(&first).await, 4);
}

/// The gate that every version has to pass.
fn gate(require: &str) -> Value {
    json!({"spec": {"gates": [{"name": "rmse", "require": require}]}})
}

#[tokio::test]
async fn a_spec_that_is_wrong_keeps_nobody_from_an_abort() {
    let Some(server) = server().await else { return };
    for (namespace, route) in [("wrong-gateway", GATEWAY), ("wrong-pods", PODS)] {
        let mut world = serving(&server, namespace, route).await;
        let first = stable(&world.status().await);
        world.does(Deed::Want("healthy-2")).await;
        world.until_soaking(0).await;
        world.edit(gate("evidence.rmse <")).await;
        let is_wrong = |status: &ModelReleaseStatus| {
            condition(status, "Stalled").is_some_and(|stalled| stalled.reason == "InvalidGate")
        };
        let held = world.until("spec is refused", is_wrong).await;
        assert_eq!(held.phase, Phase::Held);
        let shares = world.shares().await;
        assert_eq!(world.turns(3).await, held, "nothing else is done");
        assert_eq!(world.shares().await, shares);

        world.does(Deed::Abort).await;
        let ended = world
            .until("it is rolled back", |status| status.canary.is_none())
            .await;
        assert_eq!(ended.history[0].outcome.reason, Reason::Aborted);
        assert!(is_wrong(&ended), "and what to mend is still said");
        assert_eq!(world.shares().await.get(&first), Some(&100));

        world.edit(gate("evidence.rmse < 2.0")).await;
        world
            .until("spec is right again", |status| status.phase == Phase::RolledBack)
            .await;
    }
}
