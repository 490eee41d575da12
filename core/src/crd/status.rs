//! What the operator reports. Bounded: nothing here grows with the age of a release.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::period::Period;
use crate::plan::{Outcome, Phase, Stage};

/// What the operator reports about a release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelReleaseStatus {
    /// Generation of `spec` that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the release is.
    #[serde(default)]
    pub phase: Phase,
    /// `Ready`, `Reconciling`, `Stalled`, `Promoted`, `Paused`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = json!(["type"])))]
    pub conditions: Vec<Condition>,
    /// Pods of the stable version, ready or not; those of the first version until it is promoted. What an autoscaler reads
    /// as the size of the release.
    #[serde(default)]
    pub replicas: i32,
    /// Selects the pods of all versions, by which an autoscaler measures: they share the traffic, whatever its split.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// The last promoted version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<Arm>,
    /// The version on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStatus>,
    /// The clock of the current step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<SoakStatus>,
    /// What the soak has observed so far; after its end, what it was judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisStatus>,
    /// The revision of `spec` that was rolled back and will not be tried again unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
    /// The last ten versions that ended their trial, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    /// What a person last asked for by annotation, and what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestStatus>,
    /// The revision that was there before its configuration was part of it, and goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<AdoptedStatus>,
    /// How the weights are carried, where no gateway answers for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Texts for the columns of `kubectl get`.
    #[serde(default)]
    pub display: Display,
}

/// A revision that stands for another: its pods read their configuration from where it was written, not from copies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdoptedStatus {
    /// The revision that goes on.
    pub revision: String,
    /// The revision that `spec` and its configuration make together.
    pub in_place_of: String,
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestStatus {
    /// The request, as the annotation said it.
    pub asked: String,
    /// Whether it was followed; one that did not fit was ignored.
    pub followed: bool,
    /// Why, or why not.
    pub answer: String,
}

/// One condition, as `kubectl wait` reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Name of the condition.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Generation of `spec` that this condition answers.
    #[serde(default)]
    pub observed_generation: i64,
    /// When `status` last changed.
    #[schemars(with = "String")]
    pub last_transition_time: Timestamp,
    /// One word for machines.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
}

/// A version that serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Arm {
    /// Name of the version.
    pub version: String,
    /// Digest of its artifact.
    pub digest: String,
    /// Hash of everything that shapes its pods.
    pub revision: String,
    /// Pods ready.
    #[serde(default)]
    pub ready_replicas: i32,
}

/// The version on trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStatus {
    /// The version.
    #[serde(flatten)]
    pub arm: Arm,
    /// How far its trial is.
    pub stage: Stage,
    /// Index of the current step, from 0.
    #[serde(default)]
    pub step: usize,
    /// Percent of the traffic it is meant to get.
    #[serde(default)]
    pub weight: i32,
    /// Percent of the traffic that it is seen to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_weight: Option<i32>,
    /// When its trial began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub began: Option<Timestamp>,
    /// When the current stage began.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Since when fewer of its pods are ready than asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub unready_since: Option<Timestamp>,
    /// Since when the release is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub paused_since: Option<Timestamp>,
    /// Whether it was promoted before, so that readiness is enough.
    #[serde(default)]
    pub trusted: bool,
    /// Whether a person has said yes to its promotion.
    #[serde(default)]
    pub approved: bool,
    /// Why it is being rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Outcome>,
}

/// The clock of the current step. It counts observed time only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SoakStatus {
    /// Time observed with traffic and metrics; 0 at first, which no duration in a spec may be.
    #[schemars(with = "String")]
    pub observed: Period,
    /// Time required.
    #[schemars(with = "String")]
    pub required: Period,
    /// Samples up to here are counted: the mark from which counting goes on after a restart.
    #[schemars(with = "String")]
    pub counted_until: Timestamp,
    /// Start of the next block to be judged; later than `countedUntil` when the last blocks had no data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub block_from: Option<Timestamp>,
    /// How long after its end the last block was known in full, by which the next look is timed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub known_after: Option<Period>,
}

/// What both arms served since the soak began, all steps together, and what it says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisStatus {
    /// The canary.
    pub canary: ArmFigures,
    /// The stable version over the same time.
    pub stable: ArmFigures,
    /// Blocks looked at.
    #[serde(default)]
    pub looks: u64,
    /// Share of the blocks that have data, 0 to 1.
    #[serde(default)]
    pub coverage: f64,
    /// The verdict of the last look: `Collecting`, the name of what holds it, or the reason of the end.
    #[serde(default)]
    pub verdict: String,
    /// Evidence over all questions that the canary is worse. It begins at 1; healthy canaries ever reach
    /// `abortAt` with a probability of at most 1/`abortAt`.
    #[serde(default)]
    pub evidence: f64,
    /// Evidence at which a canary is withdrawn.
    #[serde(default)]
    pub abort_at: f64,
    /// Evidence that a promotion needs in each question.
    #[serde(default)]
    pub promote_at: f64,
    /// Evidence by question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<QuestionStatus>,
    /// Figures of `spec.analysis.metrics`: fixed samples, each with its bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricStatus>,
    /// How long the judgement was expected to take when it began, if stable's traffic goes on as it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outlook: Vec<String>,
    /// Where the record of the decision is, below the operator's records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The state of the judgement, for the operator alone: with it, it goes on after a restart to the same bits. Gone
    /// when the trial has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// The evidence on one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuestionStatus {
    /// `errors`, `latency` (against stable), `mean` (against the limit), `distribution` or `quality`.
    pub question: String,
    /// Evidence now that the canary is worse.
    pub worse: f64,
    /// Largest evidence so far that it is not worse than its margin.
    pub not_worse: f64,
}

/// A figure of a query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// Its name.
    pub name: String,
    /// Mean over the looks so far, with what it must keep, in words.
    pub seen: String,
    /// `Within`, `Outside` or `Unknown`.
    pub standing: String,
}

/// Counts of one arm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArmFigures {
    /// Finished requests.
    pub requests: u64,
    /// Requests answered with 5xx.
    pub failures: u64,
    /// Requests answered with 2xx.
    pub successes: u64,
    /// Sum of the latencies of the successful requests, in seconds.
    pub latency_seconds_sum: f64,
    /// Mean latency of the successful requests, in milliseconds, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms_mean: Option<f64>,
}

/// A revision that was rolled back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// Its version.
    pub version: String,
    /// Its revision.
    pub revision: String,
    /// Why.
    pub outcome: Outcome,
}

/// A version whose trial has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Its version.
    pub version: String,
    /// Its digest.
    pub digest: String,
    /// Its revision.
    pub revision: String,
    /// How the trial ended.
    pub outcome: Outcome,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// Texts for the columns of `kubectl get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Display {
    /// Percent of traffic to the canary, wished/seen.
    #[serde(default)]
    pub weight: String,
    /// Soak observed/required.
    #[serde(default)]
    pub soak: String,
    /// What the release is doing or waiting for.
    #[serde(default)]
    pub reason: String,
}
