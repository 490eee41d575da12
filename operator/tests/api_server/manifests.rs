//! Wrong manifests, on a real API server: who refuses each, and with what words.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use kube::core::DeserializeGuard;
use kube::runtime::reflector;
use serde_json::Value;
use serin_core::crd::ModelRelease;
use serin_operator::{Context, Metrics, reconcile};
use serin_testkit::ApiServer;

const GOOD: &str = "
apiVersion: serin.dev/v1alpha1
kind: ModelRelease
metadata: {name: recommender, namespace: default}
spec:
  model:
    version: '2026-11-24.1'
    uri: file:///models/1/
    digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    evidence: {rmse: 0.891}
  serving:
    replicas: 2
    template: {spec: {containers: [{name: server, image: inference, ports: [{name: http, containerPort: 8082}]}]}}
  rollout: {canaryReplicas: 1, steps: [{weight: 20, soak: 12h}, {weight: 50, soak: 30m}]}
  route: {gateway: {parentRefs: [{name: public}], path: /recommend}}
  analysis: {prometheus: {url: 'http://prometheus.monitoring:9090'}, interval: 1m, latency: {meanBelow: 500ms}}
  gates: [{name: rmse, require: evidence.rmse < 1.0}]
";

/// Where, what is written there, and the words in which the API server refuses it: field, value, remedy.
///
/// `-` stands for a field that is left out.
const REFUSED: &str = r#"
/spec/rollout/steps              | [{"weight": 0}]                  | spec.rollout.steps[0].weight: Invalid value: 0 | greater than or equal to 1
/spec/rollout/steps              | [{"weight": 101}]                | spec.rollout.steps[0].weight: Invalid value: 101 | less than or equal to 100
/spec/rollout/steps              | [{"weight": 50}, {"weight": 20}] | spec.rollout.steps: | the weights do not rise: let them rise from step to step
/spec/rollout/steps              | [{"weight": 20}, {"weight": 20}] | spec.rollout.steps: | the weights do not rise
/spec/rollout/steps              | []                               | spec.rollout.steps | should have at least 1 items
/spec/rollout/steps              | [{"weight":1},{"weight":2},{"weight":3},{"weight":4},{"weight":5},{"weight":6},{"weight":7},{"weight":8},{"weight":9},{"weight":10},{"weight":11}] | spec.rollout.steps: Too many: 11 | at most 10 items
/spec/rollout/steps              | [{"weight": 20, "soak": "0s"}]   | spec.rollout.steps[0].soak: | "0s" is no positive duration: write one such as 500ms, 90s, 15m or 12h
/spec/rollout/steps              | [{"weight": 20, "soak": "-12h"}] | spec.rollout.steps[0].soak: | "-12h" is no positive duration: write one such as
/spec/rollout/steps              | [{"weight": 20, "soak": "half a day"}] | spec.rollout.steps[0].soak: | "half a day" is no positive duration
/spec/rollout/progressDeadline   | "0m"        | spec.rollout.progressDeadline: | "0m" is no positive duration
/spec/rollout/canaryReplicas     | 0           | spec.rollout.canaryReplicas: Invalid value: 0 | greater than or equal to 1
/spec/rollout/onNewVersion       | "Ask"       | spec.rollout.onNewVersion: Unsupported value: "Ask" | "Queue", "Supersede"
/spec/rollout/rollbackWindow     | 11          | spec.rollout.rollbackWindow: Invalid value: 11 | less than or equal to 10
/spec/rollout/stepss             | []          | .spec.rollout.stepss: field not declared in schema
/spec/model/digest               | -           | spec.model.digest: Required value
/spec/model/digest               | "sha256:AB" | spec.model.digest: | "sha256:AB" is no digest: write sha256: followed by 64 lower-case hexadecimal digits
/spec/model/uri                  | "ftp://m/1" | spec.model.uri: | "ftp://m/1" is no artifact URI: write that of a directory, beginning with file:///
/spec/model/version              | "the best"  | spec.model.version: | "the best" is no version name: use letters, digits, dots, dashes and underscores
/spec/model/evidence             | {"rmse": "low"} | .spec.model.evidence.rmse: expected numeric (int or float), got string
/metadata/name                   | "a-name-of-fifty-one-characters-is-one-too-many-here" | is too long: use at most 50 characters | metadata.name "a-name-of-fifty-one-characters-is-one-too-many-here"
/spec/route/gateway/parentRefs   | []          | spec.route.gateway.parentRefs | should have at least 1 items
/spec/route/gateway/parentRefs   | -           | spec.route.gateway: | name either the Gateways in parentRefs, for a route that the operator owns, or a rule of yours in existing
/spec/route/gateway/existing     | {"name": "shop"} | spec.route.gateway: | name either the Gateways in parentRefs
/spec/route/gateway              | {"existing": {"name": "shop"}, "testers": {"header": "x-canary", "value": "1"}} | spec.route.gateway: | leave out testers or existing
/spec/route/gateway/testers      | {"header": "x canary", "value": "1"} | spec.route.gateway.testers.header: | "x canary" is no header name
/spec/route/gateway/testers      | {"header": "x-canary", "value": " 1"} | spec.route.gateway.testers.value: | " 1" is no header value
/spec/route/gateway/existing     | {"rule": "recommend"} | spec.route.gateway.existing.name: Required value
/spec/route/gateway/path         | "recommend" | spec.route.gateway.path: | "recommend" is no path: write one that begins with /
/spec/route                      | {}          | spec.route: | a route is of one kind: write gateway, for a Gateway API route, ingress, for a controller
/spec/route/none                 | {}          | spec.route: | or none, where there is neither
/spec/route                      | {"ingress": {"host": "films.example"}} | spec.route.ingress.className: Required value
/spec/route                      | {"ingress": {"className": "nginx"}} | spec.route.ingress.host: Required value
/spec/route                      | {"ingress": {"className": "nginx", "host": "Films_example"}} | spec.route.ingress.host: | "Films_example" is no host name: write one in lower case, such as films.example.com
/spec/route                      | {"ingress": {"className": "nginx", "host": "films.example", "path": "recommend"}} | spec.route.ingress.path: | "recommend" is no path
/spec/route                      | {"ingress": {"className": "nginx", "host": "films.example", "pathType": "Regex"}} | spec.route.ingress.pathType: Unsupported value: "Regex" | "Prefix", "Exact"
/spec/route                      | {"ingress": {"className": "nginx", "host": "films.example", "annotations": {"nginx.ingress.kubernetes.io/canary-weight": "5"}}} | spec.route.ingress.annotations: | canary annotations, and those of serin.dev, are written by the operator: leave them out
/spec/analysis/prometheus/url    | "prometheus:9090" | spec.analysis.prometheus.url: | "prometheus:9090" is no address: write one such as http://prometheus.monitoring:9090
/spec/analysis/prometheus        | {"url": "http://p", "bearerToken": {"name": "a", "key": "b"}, "basicAuth": {"username": {"name": "a", "key": "b"}, "password": {"name": "a", "key": "b"}}} | spec.analysis.prometheus: | bearerToken and basicAuth are both given: keep the one that the server asks for
/spec/analysis/prometheus        | {"url": "http://p", "bearerToken": {"name": "a"}} | spec.analysis.prometheus.bearerToken.key: Required value
/spec/analysis/interval          | "0s"        | spec.analysis.interval: | "0s" is no positive duration
/spec/analysis/latency/meanBelow | "0ms"       | spec.analysis.latency.meanBelow: | "0ms" is no positive duration
/spec/analysis/errors            | {"notWorseThanStable": "a bit"} | spec.analysis.errors.notWorseThanStable: | "a bit" is no share: write percentage points from 0%
/spec/analysis/quality           | {"bad": "empty total", "all": "answers_total"} | spec.analysis.quality.bad: | "empty total" is no counter: write its name, with labels that must be equal
/spec/analysis/metrics           | [{"name": "memory", "query": "memory", "canaryAtMost": 1}] | spec.analysis.metrics[0].query: | the query asks the same of both arms: select by revision="$revision"
/spec/analysis/metrics           | [{"name": "memory", "query": "memory{revision='$revision'}"}] | spec.analysis.metrics[0]: | a metric has one bound
/spec/analysis/metrics           | [{"name": "memory", "query": "memory{revision='$revision'}", "canaryAtMost": 1, "canaryAtLeast": 0}] | spec.analysis.metrics[0]: | a metric has one bound
/spec/analysis/metrics           | [{"name": "a", "query": "a{revision='$revision'}", "canaryAtMost": 1}, {"name": "a", "query": "b{revision='$revision'}", "canaryAtMost": 1}] | .spec.analysis.metrics: | duplicate entries for key [name="a"]
/spec/analysis/minRequests       | -1          | spec.analysis.minRequests: Invalid value: -1 | greater than or equal to 1
/spec/analysis/method            | "Guess"     | spec.analysis.method: Unsupported value: "Guess" | "Sequential", "WholeSoak"
/spec/analysis/warmUp            | "soon"      | spec.analysis.warmUp: | "soon" is no duration
/spec/analysis/minSoak           | "0s"        | spec.analysis.minSoak: | "0s" is no positive duration
/spec/analysis/minCoverage       | "most"      | spec.analysis.minCoverage: | "most" is no share
/spec/analysis/onInconclusive    | "Promote"   | spec.analysis.onInconclusive: Unsupported value: "Promote" | "Hold", "RollBack"
/spec/analysis/latency           | {"tail": {}} | spec.analysis.latency.tail.slowerThan: Required value
/spec/serving/replicas           | -1          | spec.serving.replicas: Invalid value: -1 | greater than or equal to 0
/spec/serving/unversioned        | [{"kind": "Pod", "name": "a"}] | spec.serving.unversioned[0].kind: Unsupported value: "Pod" | "ConfigMap", "Secret"
/spec/serving/unversioned        | [{"kind": "Secret", "name": "A_b"}] | spec.serving.unversioned[0].name: | "A_b" is no name of an object: use small letters, digits, dots and dashes
/spec/serving/unversioned        | [{"kind": "Secret", "name": "a"}, {"kind": "Secret", "name": "a"}] | .spec.serving.unversioned: | duplicate entries for key
/spec/serving/template/spec/containers | []    | spec.serving.template.spec.containers | should have at least 1 items
/spec/gates                      | [{"name": "rmse", "require": ""}] | spec.gates[0].require | should be at least 1 chars long
"#;

/// What only the operator can know: where, what is written there, the reason of `Stalled`, and words of its message.
const STALLED: &str = r#"
/spec/gates                 | [{"name": "rmse", "require": "evidence.rmse <"}] | InvalidGate | spec.gates[0].require does not compile | evidence.rmse <
/spec/serving/port          | "grpc" | InvalidTemplate | spec.serving.port "grpc" is not the name of a container port
/spec/serving/template/spec | {"containers": [{"name": "server", "ports": "8082"}]} | InvalidTemplate | spec.serving.template.spec is no pod spec
/spec/serving/unversioned   | [{"kind": "Secret", "name": "token"}] | InvalidTemplate | spec.serving.unversioned names Secret/token, to which spec.serving.template does not refer
/spec/analysis/latency      | {"meanBelow": "500ms", "timeLimit": "300ms"} | InvalidAnalysis | timeLimit 300ms is not above meanBelow 500ms
/spec/analysis/quality      | {"bad": "answers_total{outcome=empty}", "all": "answers_total"} | InvalidAnalysis | "answers_total{outcome=empty}" is no counter
/spec/analysis/errors       | {"notWorseThanStable": "0%"} | InvalidAnalysis | "0%" is no percentage above 0
"#;

/// The rows of a table: a manifest, where it is wrong, and the other cells.
fn rows(table: &'static str) -> impl Iterator<Item = (Value, &'static str, Vec<&'static str>)> {
    table.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut cells = line.split(" | ").map(str::trim);
        let (pointer, value) = (cells.next().unwrap(), cells.next().unwrap());
        let value = match value {
            "-" => Value::Null,
            value => serde_json::from_str(value).unwrap(),
        };
        (with(pointer, &value), line, cells.collect())
    })
}

#[tokio::test]
async fn a_wrong_manifest_is_refused_by_field_value_and_remedy() {
    let Some(server) = ApiServer::start().await.unwrap() else {
        return;
    };
    let api: Api<DynamicObject> = Api::default_namespaced_with(server.client(), &kind());

    apply(&api, &good()).await.expect("the good manifest is accepted");
    let mut wrong = String::new();
    for (manifest, row, words) in rows(REFUSED) {
        let message = apply(&api, &manifest).await.err().unwrap_or("accepted".into());
        for word in words.iter().filter(|word| !message.contains(*word)) {
            writeln!(wrong, "{row}\n    no <{word}> in: {message}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn what_the_api_server_cannot_know_stalls_the_release_and_starts_nothing() {
    let Some(server) = ApiServer::start().await.unwrap() else {
        return;
    };
    let api: Api<ModelRelease> = Api::default_namespaced(server.client());
    let guarded: Api<DeserializeGuard<ModelRelease>> = Api::default_namespaced(server.client());
    let context = Arc::new(Context::new(
        server.client(),
        reqwest::Client::new(),
        Arc::new(Timestamp::now),
        Arc::new(Metrics::new(Timestamp::now())),
        None,
        reflector::store().0,
    ));

    for (manifest, row, cells) in rows(STALLED) {
        let (reason, words) = cells.split_first().unwrap();
        let manifest: ModelRelease = serde_json::from_value(manifest).unwrap();
        api.create(&PostParams::default(), &manifest).await.unwrap();
        // The first look sets the finalizer, the second reads the spec.
        for _ in 0..2 {
            let release = guarded.get("recommender").await.unwrap();
            reconcile(Arc::new(release), context.clone()).await.unwrap();
        }
        let status = api.get("recommender").await.unwrap().status.unwrap();
        let condition = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Stalled")
            .unwrap_or_else(|| panic!("{row}: no condition Stalled"));
        assert_eq!(
            (condition.status.as_str(), condition.reason.as_str()),
            ("True", *reason)
        );
        for word in words {
            assert!(condition.message.contains(word), "{row}: {}", condition.message);
        }
        let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
            Api::default_namespaced(server.client());
        let started = deployments.list(&kube::api::ListParams::default()).await.unwrap();
        assert_eq!(started.items.len(), 0, "{row}");

        api.delete("recommender", &DeleteParams::default()).await.unwrap();
        let leaving = guarded.get("recommender").await.unwrap();
        reconcile(Arc::new(leaving), context.clone()).await.unwrap();
        let gone = kube::runtime::wait::await_condition(
            api.clone(),
            "recommender",
            |release: Option<&ModelRelease>| release.is_none(),
        );
        tokio::time::timeout(Duration::from_secs(20), gone)
            .await
            .expect("the release is gone within 20 s of its deletion")
            .unwrap();
    }
}

fn kind() -> kube::api::ApiResource {
    kube::api::ApiResource::erase::<ModelRelease>(&())
}

fn good() -> Value {
    serde_norway::from_str(GOOD).unwrap()
}

/// The good manifest with `value` at `pointer`; null removes what is there.
fn with(pointer: &str, value: &Value) -> Value {
    let mut manifest = good();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = manifest.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(name);
    } else {
        parent.insert(name.to_owned(), value.clone());
    }
    manifest
}

/// `kubectl apply --server-side --dry-run=server`: the refusal in the API server's words.
async fn apply(api: &Api<DynamicObject>, manifest: &Value) -> Result<(), String> {
    let params = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("test").dry_run()
    };
    let name = manifest
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap();
    match api.patch(name, &params, &Patch::Apply(manifest)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(refusal)) => Err(refusal.message.clone()),
        Err(error) => panic!("the API server does not answer: {error}"),
    }
}
