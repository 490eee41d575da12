//! What the operator counts about itself. Labels are closed sets; no object names on histograms.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serin_core::plan::{Phase, Plan};

/// Upper edges of the reconcile histogram, in seconds.
const EDGES: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

/// The operator's own metrics.
pub struct Metrics {
    registry: Registry,
    reconciles: Histogram,
    errors: Family<ReasonLabel, Counter>,
    news: Family<ReasonLabel, Counter>,
    releases: Family<PhaseLabel, Gauge>,
    leader: Gauge,
    phases: Mutex<HashMap<(String, String), Phase>>,
}

impl Metrics {
    /// Metrics of a process that started at `start`.
    pub fn new(start: Timestamp) -> Self {
        let mut registry = Registry::default();
        let reconciles = Histogram::new(EDGES);
        let errors = Family::<ReasonLabel, Counter>::default();
        let news = Family::<ReasonLabel, Counter>::default();
        let releases = Family::<PhaseLabel, Gauge>::default();
        let leader = Gauge::default();
        let started = Gauge::<f64, AtomicU64>::default();
        started.set(start.as_second() as f64);
        registry.register(
            "serin_reconcile_duration_seconds",
            "Time of one look at one release",
            reconciles.clone(),
        );
        registry.register(
            "serin_reconcile_errors",
            "Looks that could not be finished, by reason",
            errors.clone(),
        );
        registry.register(
            "serin_transitions",
            "Transitions of releases, by the reason of their event",
            news.clone(),
        );
        registry.register("serin_releases", "Releases by phase", releases.clone());
        registry.register("serin_leader", "1 while this replica leads", leader.clone());
        registry.register(
            "process_start_time_seconds",
            "When the process started, since 1970",
            started,
        );
        Self {
            registry,
            reconciles,
            errors,
            news,
            releases,
            leader,
            phases: Mutex::default(),
        }
    }

    /// The text that Prometheus scrapes.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
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

    pub(crate) fn looked(&self, namespace: &str, name: &str, plan: &Plan) {
        for news in &plan.news {
            self.news
                .get_or_create(&ReasonLabel {
                    reason: news.reason.as_str(),
                })
                .inc();
        }
        self.count(namespace, name, Some(plan.phase()));
    }

    /// A release that is gone is in no phase.
    pub(crate) fn forgotten(&self, namespace: &str, name: &str) {
        self.count(namespace, name, None);
    }

    fn count(&self, namespace: &str, name: &str, phase: Option<Phase>) {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), name.to_owned());
        let before = match phase {
            Some(phase) => phases.insert(key, phase),
            None => phases.remove(&key),
        };
        let gauge = |phase| {
            self.releases
                .get_or_create_owned(&PhaseLabel { phase: label(phase) })
        };
        if let Some(before) = before {
            gauge(before).dec();
        }
        if let Some(phase) = phase {
            gauge(phase).inc();
        }
    }
}

fn label(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "Waiting",
        Phase::Preparing => "Preparing",
        Phase::Shifting => "Shifting",
        Phase::Soaking => "Soaking",
        Phase::Judging => "Judging",
        Phase::Promoting => "Promoting",
        Phase::RollingBack => "RollingBack",
        Phase::Held => "Held",
        Phase::Promoted => "Promoted",
        Phase::RolledBack => "RolledBack",
    }
}
