//! A manifest before it is applied: whether it can be carried out, and how long its canaries would be judged.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize as _;
use serin_core::crd::ModelRelease;
use serin_core::judge::{Change, Traffic};
use serin_core::plan::whole_seconds;
use serin_core::policy::Policy;

use crate::args::Expected;
use crate::fetch::text;
use crate::simulate::share;

/// What can be said of every release in the manifest.
///
/// Errors: there is none, or one cannot be carried out; with the field, the value and the remedy.
pub(crate) fn lint(file: &Path, expected: &Expected) -> Result<String> {
    checked(&text(file)?, expected).with_context(|| format!("{}", file.display()))
}

fn checked(manifest: &str, expected: &Expected) -> Result<String> {
    let mut text = String::new();
    for document in serde_norway::Deserializer::from_str(manifest) {
        let value = serde_norway::Value::deserialize(document).context("this is no YAML")?;
        if value.get("kind").and_then(serde_norway::Value::as_str) == Some("ModelRelease") {
            let release: ModelRelease =
                serde_norway::from_value(value).context("a ModelRelease is malformed")?;
            text.push_str(&of(&release, expected)?);
        }
    }
    ensure!(!text.is_empty(), "there is no ModelRelease: nothing to check");
    Ok(text)
}

fn of(release: &ModelRelease, expected: &Expected) -> Result<String> {
    let name = release.metadata.name.as_deref().unwrap_or_default();
    let policy = Policy::new(name, &release.spec).with_context(|| format!("{name} cannot be carried out"))?;
    let mut text = format!("{name}: can be carried out\n");
    for closed in &policy.closed_gates {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  closed gate      {closed}");
    }
    let Some(rate) = expected.requests_per_second else {
        text.push_str("  how long its canaries would be judged: give --requests-per-second\n");
        return Ok(text);
    };
    let weight = policy.steps.first().map_or(0, |step| step.weight.get());
    let failing = share("--errors", &expected.errors)?;
    let mean = expected.mean.get();
    let _ = writeln!(
        text,
        "  at {rate} requests/s, {weight} % of them to the canary, {} errors, mean {} (log-normal):",
        expected.errors, expected.mean
    );
    let traffic = Traffic::assumed(rate, f64::from(weight) / 100.0, failing, mean.as_secs_f64());
    let told = traffic.outlook(&policy.judge, &Change::USUAL);
    for told in told.context("spec.analysis cannot be judged by")? {
        let _ = writeln!(text, "    {told}");
    }
    let soak = policy.judge.soak;
    let _ = writeln!(
        text,
        "  the soak takes {} of observed time at most",
        whole_seconds(soak)
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: demo}
---
apiVersion: serin.dev/v1alpha1
kind: ModelRelease
metadata: {name: recommender, namespace: demo}
spec:
  model: {version: '2', uri: 'file:///models/2/', digest: 'sha256:DIGEST', evidence: {rmse: 1.2}}
  serving:
    template: {spec: {containers: [{name: server, image: inference, ports: [{name: http, containerPort: 8082}]}]}}
  rollout: {steps: [{weight: 10, soak: 12h}]}
  route: {gateway: {parentRefs: [{name: public}]}}
  analysis: {prometheus: {url: 'http://prometheus:9090'}, latency: {timeLimit: 800ms}}
  gates: [{name: rmse, require: evidence.rmse < 1.0}]
";

    fn of_manifest(change: (&str, &str), requests_per_second: Option<f64>) -> Result<String> {
        let manifest = MANIFEST
            .replace("DIGEST", &"0".repeat(64))
            .replace(change.0, change.1);
        let expected = Expected {
            requests_per_second,
            errors: "1%".into(),
            mean: serin_core::period::Period::from_millis(300),
        };
        checked(&manifest, &expected)
    }

    #[test]
    fn a_right_manifest_is_told_its_gates_and_how_long_it_would_be_judged() {
        let text = of_manifest(("", ""), Some(20.0)).unwrap();
        for words in [
            "recommender: can be carried out",
            "closed gate      ",
            "at 20 requests/s, 10 % of them to the canary",
            "like stable: promoted after about 30m",
            "mean × 1.5: withdrawn after about ",
            "the soak takes 12h",
        ] {
            assert!(text.contains(words), "no <{words}> in {text}");
        }
        let untold = of_manifest(("", ""), None).unwrap();
        assert!(untold.contains("give --requests-per-second"), "{untold}");
    }

    #[test]
    fn a_wrong_manifest_is_refused_by_field_value_and_remedy() {
        for (change, words) in [
            (
                ("weight: 10", "weight: 101"),
                "weight 101 is out of range: write 1 to 100",
            ),
            (
                ("kind: ModelRelease", "kind: Release"),
                "there is no ModelRelease",
            ),
            (("timeLimit: 800ms", "timeLimit: soon"), "malformed"),
        ] {
            let error = of_manifest(change, None).unwrap_err();
            let text = format!("{error:#}");
            assert!(text.contains(words), "no <{words}> in {text}");
        }
    }
}
