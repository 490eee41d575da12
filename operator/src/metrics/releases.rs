//! How releases stand: one table of those that exist, told at each scrape.
//!
//! Nothing is kept per series. A release that is deleted is gone from the next scrape on, with all of its phases; the
//! sums are those of the same table, so that they cannot drift from it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serin_core::crd::ModelReleaseStatus;
use serin_core::plan::Phase;

/// How a release stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    phase: Phase,
    reason: String,
}

impl Shown {
    /// What its status says.
    pub fn of(status: &ModelReleaseStatus) -> Self {
        let ready = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        Self {
            phase: status.phase,
            reason: ready
                .map(|condition| condition.reason.clone())
                .unwrap_or_default(),
        }
    }
}

/// By namespace and name.
type Table = BTreeMap<(String, String), Shown>;

/// The releases that this replica looks after.
#[derive(Clone, Debug, Default)]
pub struct Releases(Arc<Mutex<Table>>);

impl Releases {
    /// A release stands so.
    pub fn shows(&self, namespace: &str, name: &str, shown: Shown) {
        self.0
            .lock()
            .insert((namespace.to_owned(), name.to_owned()), shown);
    }

    /// A release is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.0.lock().remove(&(namespace.to_owned(), name.to_owned()));
    }
}

impl Collector for Releases {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let table = self.0.lock();
        let mut sums =
            encoder.encode_descriptor("serin_releases", "Releases by phase.", None, MetricType::Gauge)?;
        for phase in Phase::ALL.iter().copied() {
            let count = table.values().filter(|shown| shown.phase == phase).count();
            let labels = [("phase", phase.as_str())];
            let count = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            count.encode(sums.encode_family(&labels)?)?;
        }
        let mut phases = encoder.encode_descriptor(
            "serin_release_phase",
            "State set: 1 for the phase that a release is in, 0 for the others.",
            None,
            MetricType::Gauge,
        )?;
        for (key, shown) in table.iter() {
            for phase in Phase::ALL.iter().copied() {
                let labels = labels(key, "phase", phase.as_str());
                let is_in = ConstGauge::new(i64::from(shown.phase == phase));
                is_in.encode(phases.encode_family(&labels)?)?;
            }
        }
        let mut reasons = encoder.encode_descriptor(
            "serin_release_reason",
            "1 for the reason of a release's conditions; others are absent.",
            None,
            MetricType::Gauge,
        )?;
        for (key, shown) in table.iter() {
            let labels = labels(key, "reason", &shown.reason);
            ConstGauge::new(1_i64).encode(reasons.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The labels of a release and one more. Not `namespace`: scrapes put that of the operator's pod in its place.
fn labels<'a>(key: &'a (String, String), name: &'a str, value: &'a str) -> [(&'a str, &'a str); 3] {
    let (namespace, release) = key;
    [
        ("release_namespace", namespace),
        ("release", release),
        (name, value),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use jiff::Timestamp;

    fn shown(phase: Phase, reason: &str) -> Shown {
        Shown {
            phase,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn a_release_is_in_one_phase_and_in_none_once_it_is_deleted() {
        let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
        let releases = metrics.releases();
        releases.shows("demo", "recommender", shown(Phase::Soaking, "Observing"));
        releases.shows("demo", "search", shown(Phase::Promoted, "Settled"));
        releases.shows("demo", "recommender", shown(Phase::Held, "NoTraffic"));
        let text = metrics.text();
        let of = |release: &str, value: &str| {
            let is_of = |line: &&str| line.starts_with("serin_release_phase{") && line.contains(release);
            text.lines()
                .filter(is_of)
                .filter(|line| line.ends_with(value))
                .count()
        };
        assert_eq!(
            (of("recommender", " 1"), of("recommender", " 0")),
            (1, 9),
            "{text}"
        );
        assert!(text.contains(
            "serin_release_phase{release_namespace=\"demo\",release=\"recommender\",phase=\"Held\"} 1\n"
        ));
        assert!(text.contains("serin_release_reason{release_namespace=\"demo\",release=\"recommender\",reason=\"NoTraffic\"} 1\n"));
        assert!(
            !text.contains("Observing"),
            "only the reason that holds is told: {text}"
        );
        assert!(
            text.contains("serin_releases{phase=\"Held\"} 1\n")
                && text.contains("serin_releases{phase=\"Soaking\"} 0\n")
        );

        releases.forget("demo", "recommender");
        let text = metrics.text();
        assert!(!text.contains("recommender"), "{text}");
        assert!(
            text.contains("serin_releases{phase=\"Held\"} 0\n")
                && text.contains("serin_releases{phase=\"Promoted\"} 1\n")
        );
    }
}
