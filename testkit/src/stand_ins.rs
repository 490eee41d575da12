//! What an API server alone lacks: somebody who runs pods, and a gateway that accepts routes.
//!
//! Both only write the status that the real ones would, so that a test or a bench says when that happens.

use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

/// The kind `HTTPRoute`.
pub fn http_route() -> ApiResource {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
    ApiResource::from_gvk_with_plural(&kind, "httproutes")
}

/// The definition of `HTTPRoute`, with whatever fields.
pub fn routes() -> CustomResourceDefinition {
    definition("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")
}

/// What a metrics server knows of a pod: kept as an object, for whoever asks is answered the same.
pub fn pod_metrics() -> CustomResourceDefinition {
    definition("metrics.k8s.io", "v1beta1", "PodMetrics", "pods")
}

/// A kind with whatever fields.
fn definition(group: &str, version: &str, kind: &str, plural: &str) -> CustomResourceDefinition {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{group}"),
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/enhancements/pull/1111"},
        },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {
                "kind": kind, "listKind": format!("{kind}List"),
                "plural": plural, "singular": kind.to_lowercase(),
            },
            "versions": [{
                "name": version, "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    // A literal of this file.
    serde_json::from_value(definition).unwrap_or_default()
}

/// Lets a Deployment have as many pods as it asks for, all of them ready or none. Writes nothing that is written.
///
/// Errors: those of the API server.
pub fn run_pods<'a>(
    client: &'a Client,
    deployment: &'a Deployment,
    are_ready: bool,
) -> BoxFuture<'a, kube::Result<()>> {
    Box::pin(async move {
        let replicas = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1);
        let ready = if are_ready { replicas } else { 0 };
        let generation = deployment.metadata.generation;
        let said = deployment.status.clone().unwrap_or_default();
        let is_said = said.observed_generation == generation && said.ready_replicas.unwrap_or(0) == ready;
        if is_said && said.replicas.unwrap_or(0) == replicas {
            return Ok(());
        }
        let status = json!({"status": {
            "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
            "readyReplicas": ready, "availableReplicas": ready,
        }});
        let api: Api<Deployment> =
            Api::namespaced(client.clone(), &deployment.namespace().unwrap_or_default());
        let name = deployment.name_any();
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
            .await?;
        Ok(())
    })
}

/// Lets the ready pods of these Deployments stand behind a Service that selects them. Writes nothing that is written.
///
/// Errors: those of the API server.
pub fn front<'a>(
    client: &'a Client,
    service: &'a Service,
    deployments: &'a [Deployment],
) -> BoxFuture<'a, kube::Result<()>> {
    Box::pin(async move {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone());
        let selector = selector.unwrap_or_default();
        let is_selected = |deployment: &&Deployment| {
            let spec = deployment.spec.as_ref();
            let labels = spec.and_then(|spec| spec.template.metadata.as_ref()?.labels.clone());
            let labels = labels.unwrap_or_default();
            selector
                .iter()
                .all(|(name, value)| labels.get(name) == Some(value))
        };
        let ready = deployments.iter().filter(is_selected).map(|deployment| {
            let status = deployment.status.as_ref();
            status.and_then(|status| status.ready_replicas).unwrap_or(0)
        });
        let endpoints = (1..=ready.sum::<i32>())
            .map(|number| json!({"addresses": [format!("10.0.0.{number}")], "conditions": {"ready": true}}));
        let mut labels = service.labels().clone();
        labels.insert("kubernetes.io/service-name".into(), service.name_any());
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": service.name_any(), "labels": labels},
            "endpoints": endpoints.collect::<Vec<_>>(),
            "ports": [{"name": "http", "port": 8082, "protocol": "TCP"}],
        });
        let namespace = service.namespace().unwrap_or_default();
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), &namespace);
        let params = PatchParams::apply("serin-testkit").force();
        api.patch(&service.name_any(), &params, &Patch::Apply(slice))
            .await
            .map(drop)
    })
}

/// Lets a `ReplicaSet` have as many pods as it asks for, all of them ready. Writes nothing that is written.
///
/// Errors: those of the API server.
pub fn run_replicas<'a>(client: &'a Client, set: &'a ReplicaSet) -> BoxFuture<'a, kube::Result<()>> {
    Box::pin(async move {
        let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let generation = set.metadata.generation;
        let said = set.status.clone().unwrap_or_default();
        if said.observed_generation == generation && said.replicas == replicas {
            return Ok(());
        }
        let status = json!({"status": {
            "observedGeneration": generation, "replicas": replicas, "fullyLabeledReplicas": replicas,
            "readyReplicas": replicas, "availableReplicas": replicas,
        }});
        let api: Api<ReplicaSet> = Api::namespaced(client.clone(), &set.namespace().unwrap_or_default());
        api.patch_status(&set.name_any(), &PatchParams::default(), &Patch::Merge(status))
            .await?;
        Ok(())
    })
}

/// Lets the Gateway `public` accept a route. Writes nothing that is written.
///
/// Errors: those of the API server.
pub fn accept<'a>(client: &'a Client, route: &'a DynamicObject) -> BoxFuture<'a, kube::Result<()>> {
    Box::pin(async move {
        let generation = route.metadata.generation;
        let seen = route
            .data
            .pointer("/status/parents/0/conditions/0/observedGeneration")
            .and_then(Value::as_i64);
        if seen == generation {
            return Ok(());
        }
        let condition = |type_: &str| {
            json!({
                "type": type_, "status": "True", "reason": type_, "message": "",
                "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        let status = json!({"status": {"parents": [{
            "parentRef": {"name": "public"}, "controllerName": "serin.dev/testkit",
            "conditions": [condition("Accepted"), condition("ResolvedRefs")],
        }]}});
        let namespace = route.namespace().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &http_route());
        let name = route.name_any();
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
            .await?;
        Ok(())
    })
}
