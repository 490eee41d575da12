//! The operator as a process, on a real API server: what wakes it, and what it does not ask again.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::json;
use serin_core::crd::ModelRelease;
use serin_testkit::{ApiServer, Relay};

const NAME: &str = "recommender";
/// Long before the operator would look again by itself.
const SOON: Duration = Duration::from_mins(1);

/// A process that ends with the test, and is killed by the kernel when the test is killed.
struct Operator(Child);

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Operator {
    fn start(identity: &str, kubeconfig: &Path) -> Self {
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_serin-operator")])
            .args([
                "--listen",
                "127.0.0.1:0",
                "--namespace",
                "default",
                "--identity",
                identity,
                "--log",
                "warn",
            ])
            .env("KUBECONFIG", kubeconfig)
            .spawn();
        Self(process.unwrap())
    }
}

async fn until(api: &Api<ModelRelease>, what: &str, holds: impl Fn(&ModelRelease) -> bool) {
    within(SOON, api, what, holds).await;
}

async fn within(
    deadline: Duration,
    api: &Api<ModelRelease>,
    what: &str,
    holds: impl Fn(&ModelRelease) -> bool,
) {
    let waited = await_condition(api.clone(), NAME, |release: Option<&ModelRelease>| {
        release.is_some_and(&holds)
    });
    tokio::time::timeout(deadline, waited)
        .await
        .unwrap_or_else(|_| panic!("not within {deadline:?}: {what}"))
        .unwrap();
}

/// A release whose pods read the ConfigMap `limits`, on a server that knows routes.
async fn release(server: &ApiServer) -> Api<ModelRelease> {
    serin_testkit::install(server.client(), serin_testkit::routes())
        .await
        .unwrap();
    let api: Api<ModelRelease> = Api::default_namespaced(server.client());
    let release: ModelRelease = serde_json::from_value(json!({
        "apiVersion": "serin.dev/v1alpha1", "kind": "ModelRelease", "metadata": {"name": NAME},
        "spec": {
            "model": {"version": "1", "uri": "file:///models/1/", "digest": format!("sha256:{}", "0".repeat(64))},
            "serving": {"template": {"spec": {"containers": [{
                "name": "server", "image": "server:1", "ports": [{"name": "http", "containerPort": 8082}],
                "envFrom": [{"configMapRef": {"name": "limits"}}],
            }]}}},
            "route": {"gateway": {"parentRefs": [{"name": "public"}]}},
            "analysis": {"prometheus": {"url": "http://prometheus:9090"}},
        },
    }))
    .unwrap();
    api.create(&PostParams::default(), &release).await.unwrap();
    api
}

/// Creates the ConfigMap that the pods read.
async fn configure(server: &ApiServer) {
    let limits = json!({"metadata": {"name": "limits"}, "data": {"top": "20"}});
    let limits: ConfigMap = serde_json::from_value(limits).unwrap();
    let config_maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    config_maps.create(&PostParams::default(), &limits).await.unwrap();
}

fn reason(release: &ModelRelease) -> String {
    let status = release.status.as_ref();
    let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
    conditions
        .find(|condition| condition.type_ == "Ready")
        .map(|condition| condition.reason.clone())
        .unwrap_or_default()
}

/// How often the API server was asked for a single ConfigMap.
async fn asked(server: &ApiServer) -> f64 {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let metrics = server.client().request_text(request).await.unwrap();
    let counted = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && line.contains("resource=\"configmaps\"")
            && line.contains("verb=\"GET\"")
    };
    let values = metrics.lines().filter(counted);
    values
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[tokio::test]
async fn what_pods_read_wakes_the_operator_and_is_read_once() {
    let Some(server) = ApiServer::start().await.unwrap() else {
        return;
    };
    let api = release(&server).await;
    let _operator = Operator::start("only", &server.kubeconfig().unwrap());
    until(&api, "it waits for its configuration", |release| {
        reason(release) == "ConfigurationMissing"
    })
    .await;

    configure(&server).await;
    until(&api, "its pods start", |release| {
        reason(release) == "PodsStarting"
    })
    .await;

    // From now on it looks because of a spec that changes nothing; what it has read has not changed.
    let mut counted = Vec::new();
    for number in 4..8 {
        let change = json!({"spec": {"rollout": {"rollbackWindow": number}}});
        let changed = api
            .patch(NAME, &PatchParams::default(), &Patch::Merge(change))
            .await
            .unwrap();
        until(&api, "it looks at the change", |release| {
            let status = release.status.as_ref();
            status.is_some_and(|status| status.observed_generation == changed.metadata.generation)
        })
        .await;
        counted.push(asked(&server).await);
    }
    // The first look may still have been one that learnt from the watch what the operator had read itself.
    assert!(
        counted[1] > 0.0 && counted[1..].iter().all(|count| *count == counted[1]),
        "{counted:?}"
    );
}

#[tokio::test]
async fn connections_that_the_network_has_forgotten_are_given_up_and_cost_no_lead() {
    // Nobody ever ends such a connection: without limits of its own the operator would be awake again after five
    // minutes, or never.
    const FOUND_OUT: Duration = Duration::from_mins(3);
    let Some(server) = ApiServer::start().await.unwrap() else {
        return;
    };
    let api = release(&server).await;
    let network = Relay::to(server.port()).await.unwrap();
    let mut leader = Operator::start("leader", &server.kubeconfig_through(network.port()).unwrap());
    until(&api, "it waits for its configuration", |release| {
        reason(release) == "ConfigurationMissing"
    })
    .await;
    let _other = Operator::start("other", &server.kubeconfig().unwrap());

    network.forget();
    configure(&server).await;
    within(FOUND_OUT, &api, "its pods start", |release| {
        reason(release) == "PodsStarting"
    })
    .await;
    let ended = leader.0.try_wait().unwrap();
    assert!(ended.is_none(), "a leader that has lost the lead ends: {ended:?}");
    assert_eq!(leads(&server).await.as_deref(), Some("leader"));
}

#[tokio::test]
async fn a_leader_whose_lease_is_taken_ends_so_that_it_is_started_anew() {
    let Some(server) = ApiServer::start().await.unwrap() else {
        return;
    };
    let api = release(&server).await;
    let mut leader = Operator::start("leader", &server.kubeconfig().unwrap());
    until(&api, "it works", |release| {
        reason(release) == "ConfigurationMissing"
    })
    .await;
    let leases: Api<Lease> = Api::default_namespaced(server.client());
    let taken = json!({"spec": {"holderIdentity": "another"}});
    leases
        .patch("serin-operator", &PatchParams::default(), &Patch::Merge(taken))
        .await
        .unwrap();
    let waited = Instant::now();
    let ended = loop {
        if let Some(ended) = leader.0.try_wait().unwrap() {
            break ended;
        }
        assert!(waited.elapsed() < SOON, "it goes on without the lead");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(!ended.success(), "{ended}");
    assert_eq!(
        leads(&server).await.as_deref(),
        Some("another"),
        "it gives back what is its own alone"
    );
}

async fn leads(server: &ApiServer) -> Option<String> {
    let leases: Api<Lease> = Api::default_namespaced(server.client());
    let lease = leases.get("serin-operator").await.unwrap();
    lease.spec.unwrap_or_default().holder_identity
}
