//! A real autoscaler owns the size of a release: it measures the pods of both versions and writes the scale.
//!
//! The controller is that of Kubernetes. No kubelet runs, so pods, and what a metrics server would know of them, are
//! written here: what each version's share of the load is, over its pods.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{ApiResource, DeleteParams, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use serin_core::crd::ModelRelease;
use serin_testkit::Autoscaler;
use tokio::time::timeout;

use crate::faults::scaling::assert_no_spec_is_ours;
use crate::faults::world::{Deed, GATEWAY, NAME, SOON, World, server};

/// What a pod asks for, in thousandths of a core.
const REQUEST: i64 = 500;
/// How much of that the autoscaler wants used, in percent: 300 thousandths of a core.
const TARGET: i64 = 60;
/// How long the autoscaler may take to look, also while the machine compiles.
const DEADLINE: Duration = Duration::from_mins(1);

/// The pods of all versions under a load, and who measures them.
struct Crowd<'a> {
    world: &'a mut World,
    autoscaler: Autoscaler,
    /// Thousandths of a core that all requests need.
    load: i64,
}

fn metrics() -> ApiResource {
    let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
    ApiResource::from_gvk_with_plural(&kind, "pods")
}

fn autoscaler() -> HorizontalPodAutoscaler {
    serde_json::from_value(json!({
        "metadata": {"name": NAME},
        "spec": {
            "scaleTargetRef": {"apiVersion": "serin.dev/v1alpha1", "kind": "ModelRelease", "name": NAME},
            "minReplicas": 2, "maxReplicas": 20,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": TARGET},
            }}],
            // Its caution with less load would hide a number that a trial lowers.
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    }))
    .unwrap()
}

/// How much of what its pods ask for was used when the autoscaler looked last, in percent.
fn seen(autoscaler: &HorizontalPodAutoscaler) -> Option<i32> {
    let metrics = autoscaler.status.as_ref()?.current_metrics.as_ref()?;
    metrics.first()?.resource.as_ref()?.current.average_utilization
}

impl Crowd<'_> {
    /// Lets the pods of the Deployments run, each under its part of the load. Answers how much of what they ask for is
    /// used, in percent.
    async fn run(&self) -> i32 {
        let (pods, metrics) = (self.world.all::<Pod>(), self.world.all_of(&metrics()));
        let all = ListParams::default();
        let (mut superfluous, shares) = (pods.list(&all).await.unwrap().items, self.world.shares().await);
        let mut number = 0;
        for deployment in self.world.all::<Deployment>().list(&all).await.unwrap() {
            let spec = deployment.spec.as_ref().unwrap();
            let size = spec.replicas.unwrap();
            let share = shares
                .get(&deployment.labels()["serin.dev/revision"])
                .copied()
                .unwrap_or(0);
            for pod in 0..size {
                let name = format!("{}-{pod}", deployment.name_any());
                superfluous.retain(|pod| pod.name_any() != name);
                let labels = spec.template.metadata.as_ref().unwrap().labels.clone();
                let metadata = json!({"name": name, "labels": labels});
                self.begin(&name, &metadata).await;
                let used = self.load * share / 100 / i64::from(size);
                let measured = json!({
                    "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics", "metadata": metadata,
                    "timestamp": "2026-01-01T01:00:00Z", "window": "30s",
                    "containers": [{"name": "server", "usage": {"cpu": format!("{used}m"), "memory": "1Mi"}}],
                });
                let params = PatchParams::apply("test");
                metrics
                    .patch(&name, &params, &Patch::Apply(measured))
                    .await
                    .unwrap();
            }
            number += i64::from(size);
        }
        for pod in superfluous {
            let at_once = DeleteParams::default().grace_period(0);
            pods.delete(&pod.name_any(), &at_once).await.unwrap();
            metrics.delete(&pod.name_any(), &at_once).await.unwrap();
        }
        i32::try_from(100 * self.load / (REQUEST * number)).unwrap()
    }

    /// A pod that has been ready for an hour.
    async fn begin(&self, name: &str, metadata: &Value) {
        let pods = self.world.all::<Pod>();
        if pods.get_opt(name).await.unwrap().is_some() {
            return;
        }
        let requests = json!({"requests": {"cpu": format!("{REQUEST}m")}});
        let pod = json!({
            "metadata": metadata,
            "spec": {"containers": [{"name": "server", "image": "server:1", "resources": requests}]},
        });
        let pod = serde_json::from_value(pod).unwrap();
        pods.create(&PostParams::default(), &pod).await.unwrap();
        let since = "2026-01-01T00:00:00Z";
        let ready = json!({"status": {
            "phase": "Running", "startTime": since,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
        }});
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(ready))
            .await
            .unwrap();
    }

    /// Until the autoscaler has seen the pods as they are, and the release has this size.
    ///
    /// A metrics server is no snapshot either: while pods and loads are written here one by one, the autoscaler may ask
    /// for something else for a moment.
    async fn settles_at(&self, size: i32) {
        let used = self.run().await;
        let (autoscalers, releases) = (self.world.all(), self.world.api());
        let settled = async {
            let is_seen = |autoscaler: Option<&HorizontalPodAutoscaler>| {
                autoscaler.is_some_and(|autoscaler| seen(autoscaler) == Some(used))
            };
            await_condition(autoscalers.clone(), NAME, is_seen).await.unwrap();
            let has_size = |release: Option<&ModelRelease>| {
                release.is_some_and(|release| release.spec.serving.replicas == size)
            };
            await_condition(releases.clone(), NAME, has_size).await.unwrap();
        };
        if timeout(DEADLINE, settled).await.is_err() {
            let autoscaler = json!(autoscalers.get(NAME).await.unwrap().status);
            let release = json!(self.world.status().await);
            let tail = self.autoscaler.tail();
            panic!("not {size} pods at {used} % within {DEADLINE:?}: {autoscaler:#}\n{release:#}\n{tail}");
        }
    }

    /// Pods of each version.
    async fn pods(&self) -> Vec<i32> {
        let all = ListParams::default();
        let deployments = self.world.all::<Deployment>().list(&all).await.unwrap();
        let mut pods: Vec<_> = deployments
            .into_iter()
            .filter_map(|deployment| deployment.spec?.replicas)
            .collect();
        pods.sort_unstable();
        pods
    }

    /// Turns until the trial that has begun is over and the pods of before are gone, each followed by a look of the
    /// autoscaler.
    async fn trial(&mut self, size: i32) {
        for _ in 0..SOON {
            let status = self.world.turns(1).await;
            self.settles_at(size).await;
            if status.canary.is_none() && self.pods().await.iter().sum::<i32>() == size {
                return;
            }
        }
        panic!("the trial is not over: {:#?}", self.world.status().await);
    }
}

#[tokio::test]
async fn an_autoscaler_owns_the_size_and_no_trial_makes_it_drift() {
    let Some(server) = server().await else { return };
    serin_testkit::install(server.client(), serin_testkit::pod_metrics())
        .await
        .unwrap();
    let mut world = World::undisturbed(&server, "autoscaled", GATEWAY).await;
    world.does(Deed::Want("healthy-1")).await;
    world.turns(6).await;
    let api = world.all::<HorizontalPodAutoscaler>();
    api.create(&PostParams::default(), &autoscaler()).await.unwrap();
    let mut crowd = Crowd {
        world: &mut world,
        autoscaler: server.autoscale().unwrap(),
        load: 600,
    };
    crowd.settles_at(2).await;

    crowd.load = 1500;
    crowd.settles_at(5).await;
    crowd.world.turns(1).await;
    assert_eq!(crowd.pods().await, [5]);

    crowd.world.does(Deed::Want("healthy-2")).await;
    crowd.world.turns(1).await;
    Box::pin(crowd.trial(5)).await;
    assert_eq!(crowd.world.status().await.stable.unwrap().version, "healthy-2");

    // Less load in the middle of a trial.
    crowd.world.does(Deed::Want("healthy-3")).await;
    let begun = crowd.world.until_soaking(0).await.canary.unwrap().arm.revision;
    crowd.load = 600;
    crowd.settles_at(2).await;
    crowd.world.turns(1).await;
    assert_eq!(crowd.pods().await.last(), Some(&2), "stable shrinks at once");
    Box::pin(crowd.trial(2)).await;
    let status = crowd.world.status().await;
    assert_eq!(status.stable.unwrap().revision, begun, "it was one trial");
    assert_no_spec_is_ours(crowd.world).await;
}
