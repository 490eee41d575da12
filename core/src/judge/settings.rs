//! What a run is judged by. Frozen when the run starts: a change is a new run with new evidence.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::figures::Bound;
use super::layout::Layout;

/// How a canary is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// By evidence, valid at every look, with the classic rule at the end of the soak.
    Sequential,
    /// By the classic rule alone; the evidence is shown and decides nothing.
    WholeSoak,
}

/// What happens to a canary of which nothing could be shown in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnInconclusive {
    /// It keeps its traffic and waits for a person.
    Hold,
    /// It is rolled back.
    RollBack,
    /// It is promoted, but never when data or traffic were missing.
    Promote,
}

/// What happens when the metrics stay away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnUnavailable {
    /// Everything stays as it is.
    Hold,
    /// The canary is rolled back.
    RollBack,
}

/// How the tests spread their bets and tell bursts from chance. Validity does not depend on it, speed does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tuning {
    /// As the independent implementation has it that the golden values come from: 24 effects of rates for an abort, 8
    /// for a promotion, whatever the margin, 16 bets on a mean; bursts beside the rate remembered.
    #[default]
    Wide,
    /// 5 effects for an abort, 2 for a promotion, chosen by the margin, 8 bets on a mean; bursts beside the neighbours.
    /// A stake that is spread over fewer bets grows sooner.
    Lean,
}

/// How errors are judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// Abort: the canary's rate is more than this many times stable's.
    pub ratio: f64,
    /// Promote: the canary's rate is below stable's plus this, 0 to 1.
    pub margin: f64,
    /// Rate below which errors never abort, if any.
    pub floor: Option<f64>,
    /// Whether the classic rule asks for the margin too; of old it asked for the mean latency alone.
    pub classic: bool,
}

/// How latency is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Limit of the mean of successful requests, in seconds.
    pub limit_seconds: f64,
    /// Whether a mean above the limit aborts only when the canary is also slower than stable: a load that slows both
    /// is no fault of the canary.
    pub guarded: bool,
    /// Limit of the mean as a multiple of stable's.
    pub ratio: f64,
    /// Mean below which it does not matter how it compares with stable's, in seconds, if any: a tenth of a
    /// millisecond more is nobody's concern, and no traffic could show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negligible_seconds: Option<f64>,
}

/// How the distribution of latencies is judged, beyond its mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Bucket edges at which the shares of slower requests are compared, in seconds.
    pub edges: Vec<f64>,
    /// Abort: at some edge the canary's share is larger by more than this.
    pub tolerance: f64,
    /// Edge of the service level objective, in seconds.
    pub objective_seconds: f64,
    /// Promote: the canary's share slower than the objective is larger by less than this.
    pub margin: f64,
}

/// How the quality of the model is judged, from matured outcomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Abort: the share of bad outcomes is larger by more than this.
    pub tolerance: f64,
    /// Promote: it is larger by less than this.
    pub margin: f64,
}

/// How much each question counts in the evidence for an abort. Those that are asked are scaled to a sum of 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// Errors.
    pub errors: f64,
    /// Mean latency against stable.
    pub latency: f64,
    /// Mean latency against the limit.
    pub mean: f64,
    /// Distribution of latencies.
    pub distribution: f64,
    /// Quality of the model.
    pub quality: f64,
}

/// What a run is judged by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Figures of the team's own queries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<Bound>,
    /// How.
    pub method: Method,
    /// Time between two looks; at least four scrapes.
    pub block: SignedDuration,
    /// Share of healthy canaries that may be aborted by evidence.
    pub alpha_abort: f64,
    /// Share of bad canaries that may be promoted by evidence, per question.
    pub alpha_promote: f64,
    /// Bucket edges of the latency histogram.
    pub layout: Layout,
    /// Enforced time limit of a request, in seconds: no latency is longer.
    pub cap_seconds: f64,
    /// Errors.
    pub errors: Errors,
    /// Latency.
    pub latency: Latency,
    /// The distribution of latencies, where it is judged.
    pub distribution: Option<Distribution>,
    /// The quality of the model, where it is judged.
    pub quality: Option<Quality>,
    /// Weights of the questions.
    pub weights: Weights,
    /// How the tests are tuned.
    #[serde(default)]
    pub tuning: Tuning,
    /// Most that one block may add to one bet, as a logarithm: one block never decides alone.
    pub clip: f64,
    /// Observed time after which the classic rule decides.
    pub soak: SignedDuration,
    /// Observed time before which nothing is promoted.
    pub min_soak: SignedDuration,
    /// Time, missing data included, after which a person has to decide.
    pub deadline: SignedDuration,
    /// Requests of the canary below which nothing is promoted.
    pub min_requests: u64,
    /// Share of blocks with data below which nothing is promoted.
    pub min_coverage: f64,
    /// Time without data after which it is stale.
    pub stale_after: SignedDuration,
    /// Time without data after which the metrics count as unavailable.
    pub unavailable_after: SignedDuration,
    /// Time without requests in one arm alone after which it counts as without traffic.
    pub no_traffic_after: SignedDuration,
    /// Blocks in a row in which every canary request fails before it is aborted at once.
    pub total_failure_blocks: usize,
    /// Requests that these blocks hold at least.
    pub total_failure_requests: u64,
    /// Requests that are enough in however few blocks, where every one of them fails; none always waits for the
    /// blocks above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_failure_at_once: Option<u64>,
    /// Blocks over which stable's own health is watched.
    pub baseline_blocks: usize,
    /// Error rate from which stable counts as unhealthy.
    pub baseline_error_limit: f64,
    /// What happens when nothing could be shown in time.
    pub on_inconclusive: OnInconclusive,
    /// What happens when the metrics stay away.
    pub on_unavailable: OnUnavailable,
}

/// Why settings cannot be judged by. Each message names setting, value and remedy.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// See the message.
    #[error("{setting} is {value}: {remedy}")]
    Value {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// What to set instead.
        remedy: &'static str,
    },
    /// See the message.
    #[error("the histogram has no bucket edge at {0} s: add it, or choose one that it has")]
    NoSuchEdge(f64),
    /// See the message.
    #[error("the checkpoint is of a run with other settings: begin a new run")]
    Checkpoint,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            errors: 0.5,
            latency: 0.25,
            mean: 0.25,
            distribution: 0.25,
            quality: 0.25,
        }
    }
}

/// The edges that servers should export: steps of 50 ms around the usual limit of half a second.
const EDGES: [f64; 22] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 1.0, 1.5,
    2.5, 5.0, 10.0,
];

impl Default for Settings {
    fn default() -> Self {
        Self {
            method: Method::Sequential,
            block: SignedDuration::from_mins(1),
            alpha_abort: 0.01,
            alpha_promote: 0.05,
            layout: Layout::known(&EDGES),
            cap_seconds: 30.0,
            errors: Errors {
                ratio: 1.2,
                margin: 0.01,
                classic: false,
                floor: None,
            },
            latency: Latency {
                limit_seconds: 0.5,
                guarded: true,
                ratio: 1.1,
                negligible_seconds: None,
            },
            figures: Vec::new(),
            distribution: None,
            quality: None,
            weights: Weights::default(),
            tuning: Tuning::Lean,
            clip: std::f64::consts::LN_10,
            soak: SignedDuration::from_hours(12),
            min_soak: SignedDuration::from_mins(30),
            deadline: SignedDuration::from_hours(24),
            min_requests: 300,
            min_coverage: 0.8,
            stale_after: SignedDuration::from_mins(5),
            unavailable_after: SignedDuration::from_mins(30),
            no_traffic_after: SignedDuration::from_mins(10),
            total_failure_blocks: 3,
            total_failure_requests: 10,
            total_failure_at_once: Some(15),
            baseline_blocks: 10,
            baseline_error_limit: 0.05,
            on_inconclusive: OnInconclusive::Hold,
            on_unavailable: OnUnavailable::Hold,
        }
    }
}

impl Settings {
    /// These settings for servers whose histograms have these edges; edges that are asked about and not there are
    /// left out, but for that of the objective.
    #[must_use]
    pub fn on(&self, layout: Layout) -> Self {
        let distribution = self.distribution.as_ref().map(|judged| Distribution {
            edges: judged
                .edges
                .iter()
                .copied()
                .filter(|edge| layout.bucket_above(*edge).is_some())
                .collect(),
            ..judged.clone()
        });
        Self {
            layout,
            distribution,
            ..self.clone()
        }
    }

    /// Checks what no type can: ranges, and that every edge asked about is one of the histogram's.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let positive = "it must be a positive number";
        let share = "it must be between 0 and 1";
        let checks = [
            (
                "block",
                self.block.as_secs_f64(),
                self.block.is_positive(),
                positive,
            ),
            ("alphaAbort", self.alpha_abort, in_unit(self.alpha_abort), share),
            (
                "alphaPromote",
                self.alpha_promote,
                in_unit(self.alpha_promote),
                share,
            ),
            (
                "latency.limitSeconds",
                self.latency.limit_seconds,
                is_positive(self.latency.limit_seconds),
                positive,
            ),
            (
                "latency.ratio",
                self.latency.ratio,
                is_positive(self.latency.ratio),
                positive,
            ),
            (
                "latency.negligibleSeconds",
                self.latency.negligible_seconds.unwrap_or(0.0),
                self.latency
                    .negligible_seconds
                    .is_none_or(|mean| is_positive(mean) && mean < self.cap_seconds),
                "it must be positive and below the time limit",
            ),
            (
                "capSeconds",
                self.cap_seconds,
                self.cap_seconds.is_finite() && self.cap_seconds > self.latency.limit_seconds,
                "no request may be longer: it must be above the limit of the mean",
            ),
            (
                "errors.ratio",
                self.errors.ratio,
                is_positive(self.errors.ratio),
                positive,
            ),
            (
                "errors.margin",
                self.errors.margin,
                in_unit(self.errors.margin),
                share,
            ),
            (
                "errors.floor",
                self.errors.floor.unwrap_or(0.0),
                self.errors.floor.is_none_or(in_unit),
                share,
            ),
            ("clip", self.clip, self.clip > 0.0, positive),
        ];
        for (setting, value, holds, remedy) in checks {
            if !holds {
                return Err(SettingsError::Value {
                    setting,
                    value,
                    remedy,
                });
            }
        }
        let asked = self.distribution.iter().flat_map(|judged| {
            let objective = std::iter::once(&judged.objective_seconds);
            judged.edges.iter().chain(objective)
        });
        for edge in asked {
            if self.layout.bucket_above(*edge).is_none() {
                return Err(SettingsError::NoSuchEdge(*edge));
            }
        }
        Ok(())
    }
}

fn is_positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

fn in_unit(value: f64) -> bool {
    value > 0.0 && value < 1.0
}
