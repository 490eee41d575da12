//! What a `ModelRelease` says of itself.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use super::install::{NAMESPACE, RELEASE};
use crate::kubectl::Kubectl;

/// One look at the release.
#[derive(Clone, Debug)]
pub(crate) struct Release(pub(crate) Value);

impl Release {
    /// Looks now.
    pub(crate) fn look(kubectl: &Kubectl) -> Result<Self> {
        kubectl
            .get_json(&["--namespace", NAMESPACE, &format!("mrel/{RELEASE}")])
            .map(Self)
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.0
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub(crate) fn wanted(&self) -> &str {
        self.text("/spec/model/version")
    }

    pub(crate) fn stable(&self) -> &str {
        self.text("/status/stable/version")
    }

    pub(crate) fn canary(&self) -> &str {
        self.text("/status/canary/version")
    }

    /// Whether a canary with its share of traffic is being observed.
    pub(crate) fn is_soaking(&self) -> bool {
        self.text("/status/canary/stage") == "Soaking"
            && self.0.pointer("/status/canary/observedWeight").is_some()
    }

    /// Whether `version` is on trial and some of its soak has been observed.
    pub(crate) fn is_observed(&self, version: &str) -> bool {
        self.canary() == version && self.is_soaking() && !self.text("/status/display/soak").starts_with("0s")
    }

    /// Why `version` was withdrawn, if its trial ended so.
    pub(crate) fn withdrawal(&self, version: &str) -> Option<String> {
        let rejected = self.text("/status/rejected/version") == version && self.canary().is_empty();
        rejected.then(|| {
            format!(
                "{}: {}",
                self.text("/status/rejected/outcome/reason"),
                self.text("/status/rejected/outcome/message")
            )
        })
    }

    /// What changes from look to look, for a live line whose step already names the version.
    pub(crate) fn short(&self) -> String {
        format!(
            "{} │ weight {} │ soak {} │ {}",
            or_dash(self.text("/status/phase")),
            or_dash(self.text("/status/display/weight")),
            or_dash(self.text("/status/display/soak")),
            or_dash(self.text("/status/display/reason")),
        )
    }

    /// What the trainer measured, in the order of interest.
    pub(crate) fn evidence(&self) -> String {
        let known = [
            ("rmse", "RMSE", 3),
            ("skill", "skill", 3),
            ("ndcgAt20", "nDCG@20", 3),
            ("trainRatings", "ratings to train on", 0),
            ("testRatings", "to test", 0),
        ];
        let parts = known.iter().filter_map(|(name, label, digits)| {
            let value = self
                .0
                .pointer(&format!("/spec/model/evidence/{name}"))?
                .as_f64()?;
            Some(format!("{label} {value:.digits$}"))
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    /// One line, as `kubectl get` would show it.
    pub(crate) fn line(&self) -> String {
        format!(
            "{} │ stable {} │ canary {} │ weight {} │ soak {} │ {}",
            or_dash(self.text("/status/phase")),
            or_dash(self.stable()),
            or_dash(self.canary()),
            or_dash(self.text("/status/display/weight")),
            or_dash(self.text("/status/display/soak")),
            or_dash(self.text("/status/display/reason")),
        )
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

/// UIDs of the pods of a revision.
pub(crate) fn pod_uids(kubectl: &Kubectl, revision: &str) -> Result<BTreeSet<String>> {
    let selector = format!("serin.dev/release={RELEASE},serin.dev/revision={revision}");
    let list = kubectl.get_json(&["--namespace", NAMESPACE, "pods", "--selector", &selector])?;
    let pods = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(pods
        .iter()
        .filter_map(|pod| pod.pointer("/metadata/uid")?.as_str())
        .map(str::to_owned)
        .collect())
}
