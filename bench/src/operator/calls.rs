//! Calls of an API server, by its own count.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use kube::Client;

use crate::summary::whole;

/// What contenders work on. The others the API server asks itself for, or they are of an election.
const RESOURCES: [&str; 15] = [
    "modelreleases",
    "rollouts",
    "analysisruns",
    "analysistemplates",
    "clusteranalysistemplates",
    "experiments",
    "deployments",
    "replicasets",
    "httproutes",
    "ingresses",
    "services",
    "pods",
    "jobs",
    "secrets",
    "events",
];

/// Calls by verb and kind, watches left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Calls(BTreeMap<String, u64>);

impl Calls {
    /// Those that an API server has answered.
    pub(super) async fn answered(client: &Client) -> Result<Self> {
        let request = http::Request::get("/metrics")
            .body(Vec::new())
            .context("our request is malformed")?;
        let text = client
            .request_text(request)
            .await
            .context("the API server tells no metrics")?;
        Ok(Self::read(&text))
    }

    fn read(metrics: &str) -> Self {
        let mut calls = Self::default();
        let counters = metrics
            .lines()
            .filter_map(|line| line.strip_prefix("apiserver_request_total{"));
        for (labels, count) in counters.filter_map(|line| line.split_once("} ")) {
            let label = |name: &str| -> Option<&str> {
                let (_, rest) = labels.split_once(&format!("{name}=\""))?;
                rest.split_once('"').map(|(value, _)| value)
            };
            let (Some(verb), Some(resource)) = (label("verb"), label("resource")) else {
                continue;
            };
            if RESOURCES.contains(&resource) && verb != "WATCH" {
                let count: f64 = count.parse().unwrap_or(0.0);
                let sum = calls.0.entry(format!("{verb} {resource}")).or_default();
                *sum = sum.saturating_add(whole(count));
            }
        }
        calls
    }

    /// Those since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let grown = self.0.iter().filter_map(|(name, count)| {
            let grown = count - earlier.0.get(name).copied().unwrap_or(0);
            (grown > 0).then(|| (name.clone(), grown))
        });
        Self(grown.collect())
    }

    /// All of them.
    pub(super) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// In words: "none", or counts by kind of call.
    pub(super) fn words(&self) -> String {
        if self.0.is_empty() {
            return "none".into();
        }
        let each = self.0.iter().map(|(name, count)| format!("{count} {name}"));
        each.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
apiserver_request_total{code=\"200\",group=\"apps\",resource=\"deployments\",subresource=\"\",verb=\"APPLY\"} 3
apiserver_request_total{code=\"409\",group=\"apps\",resource=\"deployments\",subresource=\"status\",verb=\"APPLY\"} 2
apiserver_request_total{code=\"200\",group=\"apps\",resource=\"deployments\",subresource=\"\",verb=\"WATCH\"} 7
apiserver_request_total{code=\"200\",group=\"\",resource=\"nodes\",subresource=\"\",verb=\"LIST\"} 5
apiserver_request_total{code=\"201\",group=\"\",resource=\"services\",subresource=\"\",verb=\"POST\"} 1e+06
";

    #[test]
    fn calls_are_added_up_by_verb_and_kind_without_watches_and_strangers() {
        let calls = Calls::read(METRICS);
        assert_eq!(calls.words(), "5 APPLY deployments, 1000000 POST services");
        assert_eq!(calls.count(), 1_000_005);
    }

    #[test]
    fn only_what_has_grown_is_told() {
        let later = METRICS.replace("} 3", "} 4");
        let grown = Calls::read(&later).since(&Calls::read(METRICS));
        assert_eq!(grown.words(), "1 APPLY deployments");
        assert_eq!(Calls::read(METRICS).since(&Calls::read(METRICS)).words(), "none");
    }
}
