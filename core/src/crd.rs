//! `ModelRelease`, `serin.dev/v1alpha1`: the one object that users and trainers edit.
//!
//! `kubectl explain mrel.spec` prints these comments; every rule here is enforced by the API server.

mod route;
mod schema;
mod status;

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::route::{
    ExistingRule, GatewayRoute, IngressRoute, NoRoute, ParentRef, PathType, Route, RouteKind, Testers,
};
pub use self::status::{
    AdoptedStatus, AnalysisStatus, Arm, ArmFigures, CanaryStatus, Condition, Display, HistoryEntry,
    MetricStatus, ModelReleaseStatus, QuestionStatus, Rejected, RequestStatus, SoakStatus,
};
use crate::period::Period;

/// Group and version of the API.
pub const API_VERSION: &str = "serin.dev/v1alpha1";
/// Header that marks the requests of testers on their way to the canary: no request of anybody else has it.
pub const TESTER_HEADER: &str = "serin-tester";
/// Label of the series in which a server counts requests with that header, with the value `true`.
pub const TESTER_LABEL: &str = "serin_tester";
/// Label that names the release of an object.
pub const RELEASE_LABEL: &str = "serin.dev/release";
/// Annotation by which a person asks for something once: see [`crate::plan::Request`]. It names the revision it is
/// meant for, so that one that comes late cannot hit the next canary.
pub const REQUEST_ANNOTATION: &str = "serin.dev/request";
/// Longest name of a `ModelRelease`: names of owned objects append nine characters and must stay below 63.
pub const NAME_MAX_LENGTH: usize = 50;

/// Releases model versions: rolls a new one out beside the stable one, judges it under live traffic, and promotes
/// it or rolls it back.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "serin.dev",
    version = "v1alpha1",
    kind = "ModelRelease",
    plural = "modelreleases",
    shortname = "mrel",
    category = "serin",
    namespaced,
    status = "ModelReleaseStatus",
    scale(
        spec_replicas_path = ".spec.serving.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    derive = "PartialEq",
    doc = "Which model version to serve, and how a new one earns its traffic.",
    printcolumn(name = "Stable", type_ = "string", json_path = ".status.stable.version"),
    printcolumn(name = "Canary", type_ = "string", json_path = ".status.canary.version"),
    printcolumn(
        name = "Weight",
        type_ = "string",
        json_path = ".status.display.weight",
        description = "Percent of traffic to the canary: wished/seen"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Soak",
        type_ = "string",
        json_path = ".status.display.soak",
        description = "Soak observed so far/required"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.display.reason",
        priority = 1
    )
)]
pub struct ModelReleaseSpec {
    /// The model version to serve. A trainer owns this block; a release without it waits for its first version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSource>,
    /// The pods that serve a model.
    pub serving: Serving,
    /// How a new version earns its traffic.
    #[serde(default)]
    pub rollout: Rollout,
    /// Where the traffic comes from.
    pub route: Route,
    /// What a canary must show while it soaks.
    pub analysis: Analysis,
    /// Conditions on `model.evidence` that must hold before a version gets any traffic. At most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub gates: Vec<Gate>,
    /// Freezes the release: no step is taken, no clock runs, weights stay. A rollback under way is finished.
    #[serde(default)]
    pub paused: bool,
}

/// A model version and what is known about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelSource {
    /// Name of the version, for people. Two versions with other digests are two revisions even under one name.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = schema::version()))]
    pub version: String,
    /// Where the artifact lies: a `file`, `s3`, `http` or `https` URI of its directory.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = schema::artifact_uri()))]
    pub uri: String,
    /// SHA-256 of the artifact's manifest. Servers refuse to serve anything else.
    #[schemars(length(max = 71), extend("x-kubernetes-validations" = schema::digest()))]
    pub digest: String,
    /// What the trainer measured, by name; read by `spec.gates`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub evidence: BTreeMap<String, f64>,
}

/// The pods that serve a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Serving {
    /// Number of pods that carry all traffic: those of the stable version, and those to which a canary grows before it is
    /// promoted. Leave it out where an autoscaler owns it, by the scale of the release. With 0 nothing serves, a trial is
    /// taken back, and none begins.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Name of the container port that answers requests and `/metrics`.
    #[serde(default = "http")]
    #[schemars(length(min = 1, max = 15))]
    pub port: String,
    /// Pod template. Every container gets `SERIN_MODEL_URI`, `SERIN_MODEL_DIGEST`, `SERIN_MODEL_VERSION` and
    /// `SERIN_REVISION`. A change starts a new canary, and so does a change of a ConfigMap or Secret that they read:
    /// each version reads a copy of its own, which stays as it is.
    pub template: Template,
    /// ConfigMaps and Secrets of the template that are no part of a version: its pods read them as they are at the
    /// time, and a change starts no canary. At most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = serde_json::json!(["kind", "name"])))]
    pub unversioned: Vec<Reference>,
}

/// A ConfigMap or Secret in the namespace of the release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// What it is.
    pub kind: ReferenceKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = schema::object_name()))]
    pub name: String,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

/// The kinds that pods read configuration from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ReferenceKind {
    /// What everybody may know.
    ConfigMap,
    /// What is not shown.
    Secret,
}

impl ReferenceKind {
    /// Name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// A pod template, as in a Deployment. Checked by the API server when the first pods are asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Labels and annotations of the pods.
    #[serde(default, skip_serializing_if = "TemplateMetadata::is_empty")]
    pub metadata: TemplateMetadata,
    /// Pod spec, as in `kubectl explain pod.spec`.
    #[schemars(schema_with = "schema::pod_spec")]
    pub spec: Value,
}

/// Labels and annotations of pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Labels; keys under `serin.dev/` are set by the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl TemplateMetadata {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}

/// How a new version earns its traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Number of canary pods while it soaks.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub canary_replicas: i32,
    /// Shares of traffic and how long each is observed; weights rise. At most 10.
    #[serde(default = "default_steps")]
    #[schemars(length(min = 1, max = 10), extend("x-kubernetes-validations" = schema::steps()))]
    pub steps: Vec<Step>,
    /// What happens to a canary under way when `spec` asks for yet another version.
    #[serde(default)]
    pub on_new_version: OnNewVersion,
    /// Whether a canary that has passed waits for a person's yes. It keeps its traffic and is watched meanwhile.
    #[serde(default)]
    pub approval: Approval,
    /// How long the pods of a version may take to become ready before it is rolled back.
    #[serde(default = "ten_minutes")]
    pub progress_deadline: Period,
    /// Number of earlier promoted versions to which a return needs readiness but no soak; kept at zero pods.
    #[serde(default = "three")]
    #[schemars(range(min = 0, max = 10))]
    pub rollback_window: usize,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            canary_replicas: one(),
            steps: default_steps(),
            on_new_version: OnNewVersion::default(),
            approval: Approval::default(),
            progress_deadline: ten_minutes(),
            rollback_window: three(),
        }
    }
}

/// One share of traffic and how long it is observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Percent of the traffic that goes to the canary, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
    /// Observed time with traffic at this weight. Time without traffic or metrics does not count.
    #[serde(default = "twelve_hours")]
    pub soak: Period,
}

/// What happens to a canary under way when yet another version is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnNewVersion {
    /// The canary is judged first; the newest version asked for comes next.
    #[default]
    Queue,
    /// The canary is rolled back at once; the newest version comes next.
    Supersede,
    /// The canary is judged; the version asked for meanwhile is turned down, unless somebody asks to retry it.
    Reject,
}

/// Who has the last word on a canary that has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// Nobody: it is promoted.
    #[default]
    Automatic,
    /// A person, by `kubectl serin approve`.
    Manual,
}

/// What a canary must show while it soaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// The Prometheus that scrapes the pods.
    pub prometheus: Prometheus,
    /// The rule of judgement.
    #[serde(default)]
    pub method: Method,
    /// How often the canary is looked at: the length of a block of evidence. Let it hold at least four scrapes.
    #[serde(default = "one_minute")]
    pub interval: Period,
    /// Time under traffic at first, whose requests count for nothing: caches are cold. `0s` where they are not.
    #[serde(default = "two_minutes")]
    #[schemars(with = "String", length(max = 32), extend("x-kubernetes-validations" = schema::duration()))]
    pub warm_up: Period,
    /// Observed time before which nothing is promoted by evidence, however good it looks.
    #[serde(default = "half_an_hour")]
    pub min_soak: Period,
    /// Time from the first request, missing data included, after which nothing is waited for any longer. Twice the
    /// soak of all steps, and at least an hour, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Period>,
    /// Share of the time that must have metrics for a promotion.
    #[serde(default = "eighty_percent")]
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = schema::percentage()))]
    pub min_coverage: String,
    /// What happens to a canary of which nothing could be shown until the end.
    #[serde(default)]
    pub on_inconclusive: Otherwise,
    /// What happens to a canary when the metrics that were there stay away for half an hour. Until they are there for the
    /// first time, it waits.
    #[serde(default)]
    pub on_unavailable: Otherwise,
    /// What the latency must show.
    #[serde(default)]
    pub latency: Latency,
    /// What the errors must show.
    #[serde(default)]
    pub errors: Errors,
    /// Whether the answers themselves are worse, where the servers count that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// Further figures that a canary must keep, each by a query. At most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = serde_json::json!(["name"])))]
    pub metrics: Vec<Metric>,
    /// Requests the canary must have answered in a step; below it nothing is promoted.
    #[serde(default = "three_hundred")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_requests: u64,
}

/// A Prometheus-compatible server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::one_credential()))]
pub struct Prometheus {
    /// Base address, for example `http://prometheus.monitoring:9090`.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = schema::http_url()))]
    pub url: String,
    /// Token to ask with, as `Authorization: Bearer`. The operator's chart must allow it to read Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<SecretKey>,
    /// User and password to ask with; not together with `bearerToken`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Certificate authorities, in PEM, one of which must vouch for the server; those of the operator's image where
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretKey>,
}

/// User and password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// The user.
    pub username: SecretKey,
    /// The password.
    pub password: SecretKey,
}

/// One value of a Secret in the namespace of the release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the value.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// The rule of judgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Method {
    /// By evidence that is valid at every look: withdrawn as soon as it is shown to be worse, promoted as soon as it
    /// is shown to be not worse. What is undecided at the end of the soak, `WholeSoak` decides.
    #[default]
    Sequential,
    /// Once, at the end of the soak, by the mean latency and the errors of everything the soak observed. Evidence is
    /// shown and decides nothing.
    WholeSoak,
}

/// What happens when nothing can be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Otherwise {
    /// The canary keeps its share of the traffic and waits for a person.
    #[default]
    Hold,
    /// The canary is rolled back.
    RollBack,
}

/// What the latency must show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Strict upper limit of the mean latency of successful requests over the whole soak.
    #[serde(default = "half_a_second")]
    pub mean_below: Period,
    /// How much slower than stable's the mean may be, for example `10%`.
    #[serde(default = "ten_percent")]
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = schema::percentage()))]
    pub not_worse_than_stable: String,
    /// Mean below which it does not matter how it compares with stable's, for example `50ms`; every difference matters
    /// where absent. Let a fast service set it: no traffic can show that 1.0 ms is less than a tenth above 0.9 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negligible_below: Option<Period>,
    /// Judges slow requests besides the mean, where given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
    /// Time after which a request is given up, by the gateway or the server; longer than `meanBelow`. The shorter it
    /// is, the sooner a promotion: what could still hide in the tail is bounded by it.
    #[serde(default = "half_a_minute")]
    pub time_limit: Period,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            mean_below: half_a_second(),
            not_worse_than_stable: ten_percent(),
            negligible_below: None,
            tail: None,
            time_limit: half_a_minute(),
        }
    }
}

/// How slow requests are judged: a mean hides a few very slow ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tail {
    /// Requests slower than this, or failed, count as slow. An edge of the server's histogram, for example `500ms`.
    pub slower_than: Period,
    /// Percentage points by which the canary's share of slow requests must stay below stable's plus this, for
    /// example `5%`. It is withdrawn when at any edge its share is shown to be 2 points above stable's.
    #[serde(default = "five_percent")]
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = schema::percentage()))]
    pub not_worse_than_stable: String,
}

/// What the errors must show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Errors {
    /// Percentage points by which the canary's share of failed requests (5xx) must stay below stable's share plus
    /// this, for example `1%`.
    #[serde(default = "one_percent")]
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = schema::percentage()))]
    pub not_worse_than_stable: String,
}

impl Default for Errors {
    fn default() -> Self {
        Self {
            not_worse_than_stable: one_percent(),
        }
    }
}

/// Outcomes that the servers count beside their requests: empty answers, fallbacks, clicks that did not come. Judged
/// as errors are, by evidence that is valid at every look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quality {
    /// Counter of bad outcomes, exported by the pods, for example `answers_total{outcome="empty"}`; labels must be equal.
    #[schemars(length(min = 1, max = 512), extend("x-kubernetes-validations" = schema::counter()))]
    pub bad: String,
    /// Counter of all outcomes, exported by the pods, for example `answers_total`.
    #[schemars(length(min = 1, max = 512), extend("x-kubernetes-validations" = schema::counter()))]
    pub all: String,
    /// Percentage points by which the canary's share of bad outcomes must stay below stable's plus this.
    #[serde(default = "two_percent")]
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = schema::percentage()))]
    pub not_worse_than_stable: String,
}

/// A figure of a query, held to one bound. A fixed sample: its mean over the looks so far decides before a promotion
/// and at the end of each step, not at every look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::one_bound()))]
pub struct Metric {
    /// Name of the figure, for people.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A query that answers one value. `$revision` stands for the revision asked about; `$namespace` and `$release` for
    /// those of the release.
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = schema::query()))]
    pub query: String,
    /// The canary's mean is not above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_at_most: Option<f64>,
    /// The canary's mean is not below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_at_least: Option<f64>,
    /// The canary's mean is not above stable's by more than this share of it, for example `10%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = schema::percentage()))]
    pub not_above_stable_by: Option<String>,
    /// The canary's mean is not below stable's by more than this share of it, for example `10%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = schema::percentage()))]
    pub not_below_stable_by: Option<String>,
}

/// A condition on the evidence of a model version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Name of the gate, for people.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A CEL expression over `evidence` that must be true, for example `evidence.rmse < 1.0`.
    #[schemars(length(min = 1, max = 1024))]
    pub require: String,
}

/// The custom resource definition, with the rules that concern the whole object.
pub fn definition() -> CustomResourceDefinition {
    let mut definition = ModelRelease::crd();
    for version in &mut definition.spec.versions {
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            schema.x_kubernetes_validations = Some(vec![schema::name()]);
        }
    }
    definition
}

fn one() -> i32 {
    1
}
fn two() -> i32 {
    2
}
fn three() -> usize {
    3
}
fn three_hundred() -> u64 {
    300
}
fn http() -> String {
    "http".into()
}
fn one_percent() -> String {
    "1%".into()
}
fn two_percent() -> String {
    "2%".into()
}
fn five_percent() -> String {
    "5%".into()
}
fn ten_percent() -> String {
    "10%".into()
}
fn eighty_percent() -> String {
    "80%".into()
}
fn half_a_minute() -> Period {
    Period::from_secs(30)
}
fn two_minutes() -> Period {
    Period::from_secs(120)
}
fn half_an_hour() -> Period {
    Period::from_secs(1800)
}
fn half_a_second() -> Period {
    Period::from_millis(500)
}
fn one_minute() -> Period {
    Period::from_secs(60)
}
fn ten_minutes() -> Period {
    Period::from_secs(600)
}
fn twelve_hours() -> Period {
    Period::from_secs(12 * 3600)
}
fn default_steps() -> Vec<Step> {
    vec![Step {
        weight: 20,
        soak: twelve_hours(),
    }]
}
