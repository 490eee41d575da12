//! What the operator counts about itself and says of its releases: the page of `docs/reference/metrics.md`.
//!
//! Labels are closed sets, but for the names of releases, which stand on gauges of the releases that exist and nowhere
//! else: what is counted over time is counted over all releases.

mod calls;
mod releases;

use std::sync::atomic::AtomicU64;

use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use serin_core::plan::{Plan, Reason, State, Transition};

pub use self::calls::Calls;
pub use self::releases::{Releases, Shown};
use crate::error::Error;

/// Upper edges of histograms of looks and of calls, in seconds.
const EDGES: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Upper edges of the histogram of trials, in seconds: a minute, in which a canary that fails is gone, to a week of soaks.
const TRIAL_EDGES: [f64; 12] = [
    60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 57_600.0, 115_200.0, 259_200.0,
    604_800.0,
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

/// The operator's own metrics.
pub struct Metrics {
    registry: Registry,
    reconciles: Histogram,
    errors: Family<ReasonLabel, Counter>,
    /// Looks that have begun and wait for their turn.
    pub(crate) waiting: Gauge,
    /// Looks whose turn it is.
    pub(crate) working: Gauge,
    news: Family<ReasonLabel, Counter>,
    trials: Family<OutcomeLabel, Histogram, fn() -> Histogram>,
    releases: Releases,
    calls: Calls,
    leader: Gauge,
}

impl Metrics {
    /// What each label means, for the page of reference.
    pub const LABELS: [(&'static str, &'static str); 9] = [
        (
            "code",
            "status code of the answer; `none` where there was no answer",
        ),
        (
            "outcome",
            "how the trial ended: a reason of [`Promoted`](conditions.md#promoted)",
        ),
        ("phase", "`status.phase`"),
        (
            "reason",
            "of releases: that of [`Ready`](conditions.md#ready-reconciling-and-stalled); of transitions: that of the \
             [event](events.md#events); of looks: `Malformed` (the object is no ModelRelease), `Api` (the API server \
             did not do what was asked), `Archive` (the decision could not be recorded), `Finalizer`",
        ),
        ("release", "name of the release"),
        (
            "release_namespace",
            "namespace of the release; that of the operator's pod is in `namespace`, where a scrape adds it",
        ),
        (
            "resource",
            "what was asked for, in the words of RBAC; `other` where it is none that the operator knows",
        ),
        ("verb", "what was done with it, in the words of RBAC"),
        ("version", "version of the operator"),
    ];

    /// Metrics of a process that started at `start`. Counters begin at 0 for every label of a closed set: what never
    /// happened can be told from what is not measured.
    pub fn new(start: Timestamp) -> Self {
        let of_trials: fn() -> Histogram = || Histogram::new(TRIAL_EDGES);
        let trials = Family::new_with_constructor(of_trials);
        for reason in Reason::ALL.iter().filter(|reason| reason.ends_trial()) {
            let outcome = reason.as_str();
            drop(trials.get_or_create(&OutcomeLabel { outcome }));
        }
        let mut metrics = Self {
            registry: Registry::default(),
            reconciles: Histogram::new(EDGES),
            errors: from_zero(Error::REASONS),
            waiting: Gauge::default(),
            working: Gauge::default(),
            news: from_zero(Transition::ALL.iter().map(|transition| transition.as_str())),
            trials,
            releases: Releases::default(),
            calls: Calls::default(),
            leader: Gauge::default(),
        };
        metrics.register_releases();
        metrics.register_work();
        metrics.calls.register(&mut metrics.registry);
        metrics.register_process(start);
        metrics
    }

    fn register_releases(&mut self) {
        self.registry.register_collector(Box::new(self.releases.clone()));
        self.registry.register(
            "serin_transitions",
            "Transitions of releases, by the reason of their event",
            self.news.clone(),
        );
        self.registry.register_with_unit(
            "serin_trial_duration",
            "Time from the start of a canary's pods to the end of its trial, pauses included",
            Unit::Seconds,
            self.trials.clone(),
        );
    }

    fn register_work(&mut self) {
        self.registry.register_with_unit(
            "serin_reconcile_duration",
            "Time of one look at one release, from its turn on; the wait for Prometheus included",
            Unit::Seconds,
            self.reconciles.clone(),
        );
        self.registry.register(
            "serin_reconcile_errors",
            "Looks that could not be finished and are repeated, by reason",
            self.errors.clone(),
        );
        self.registry.register(
            "serin_reconcile_waiting",
            "Looks that have begun, of which there are at most 256, and wait for their turn",
            self.waiting.clone(),
        );
        self.registry.register(
            "serin_reconcile_working",
            "Looks that are at work, at most 16; one that waits for Prometheus is none of them",
            self.working.clone(),
        );
    }

    fn register_process(&mut self, start: Timestamp) {
        let started = Gauge::<f64, AtomicU64>::default();
        started.set(start.as_second() as f64);
        let build = Info::new(VersionLabel {
            version: env!("CARGO_PKG_VERSION"),
        });
        self.registry
            .register("serin_leader", "1 while this replica leads", self.leader.clone());
        self.registry
            .register("serin_build", "What this operator was built from", build);
        self.registry.register_with_unit(
            "process_start_time",
            "When the process started, since 1970",
            Unit::Seconds,
            started,
        );
    }

    /// The text that Prometheus scrapes.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Releases as they are shown.
    pub fn releases(&self) -> &Releases {
        &self.releases
    }

    /// Calls of the API server.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    pub(crate) fn reconciled(&self, took: SignedDuration) {
        self.reconciles.observe(took.as_secs_f64().max(0.0));
    }

    pub(crate) fn failed(&self, reason: &'static str) {
        self.errors.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Counts what a plan told and ended, once it is carried out and written down.
    pub(crate) fn carried_out(&self, plan: &Plan, before: &State) {
        for news in &plan.news {
            let reason = news.reason.as_str();
            self.news.get_or_create(&ReasonLabel { reason }).inc();
        }
        if let Some((reason, took)) = plan.ended(before) {
            let outcome = reason.as_str();
            let trials = self.trials.get_or_create(&OutcomeLabel { outcome });
            trials.observe(took.as_secs_f64());
        }
    }
}

/// A counter for each of these reasons.
fn from_zero(reasons: impl IntoIterator<Item = &'static str>) -> Family<ReasonLabel, Counter> {
    let counters = Family::<ReasonLabel, Counter>::default();
    for reason in reasons {
        drop(counters.get_or_create(&ReasonLabel { reason }));
    }
    counters
}

/// One of something that a gauge counts, as long as it is there.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    /// One more.
    pub(crate) fn in_gauge(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_zero_and_not_missing() {
        let text = Metrics::new(Timestamp::UNIX_EPOCH).text();
        for line in [
            "serin_transitions_total{reason=\"RolledBack\"} 0",
            "serin_reconcile_errors_total{reason=\"Api\"} 0",
            "serin_trial_duration_seconds_count{outcome=\"TooSlow\"} 0",
            "serin_releases{phase=\"Held\"} 0",
            "serin_reconcile_waiting 0",
            "serin_leader 0",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
        }
    }

    #[test]
    fn what_is_counted_ends_with_what_it_counts() {
        let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
        let one = Counted::in_gauge(&metrics.working);
        let other = Counted::in_gauge(&metrics.working);
        assert_eq!(metrics.working.get(), 2);
        drop(one);
        assert_eq!(metrics.working.get(), 1);
        drop(other);
        assert_eq!(metrics.working.get(), 0);
    }
}
