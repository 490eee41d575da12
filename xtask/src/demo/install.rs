//! Installs the operator, the trainer and the release of the example.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::release::Release;
use crate::cluster::Cluster;
use crate::dataset;
use crate::images::{self, Image};
use crate::kubectl::Kubectl;
use crate::progress::Progress;
use crate::run::Run;
use crate::settings::Settings;
use crate::tools::{KUBE_VERSION, Tool, Tools};

/// Namespace of the operator.
pub(crate) const OPERATOR_NAMESPACE: &str = "serin-system";
/// Namespace of the example.
pub(crate) const NAMESPACE: &str = "demo";
/// Name of the example's release.
pub(crate) const RELEASE: &str = "recommender";
const DEADLINE: Duration = Duration::from_mins(3);

/// What the story needs to know of its stage.
pub(crate) struct Scene {
    /// An administrator's kubectl.
    pub(crate) kubectl: Kubectl,
    /// The simulator's image, for jobs and fault proxies.
    pub(crate) simulator_image: String,
    /// The simulator as a program of this host, for the load.
    pub(crate) simulator: PathBuf,
    /// Topic of this telling; a second telling must not meet the stream of the first.
    pub(crate) topic: String,
    /// The release as it was after the first promotion, the pattern of later versions.
    pub(crate) healthy: RefCell<Option<Value>>,
    /// Whether the shared volume holds `MovieLens` 100K.
    pub(crate) has_ratings: bool,
}

impl Scene {
    /// The release as it was after the first promotion.
    ///
    /// Errors: the story has not come so far.
    pub(crate) fn pattern(&self) -> Result<Release> {
        let healthy = self.healthy.borrow().clone();
        healthy
            .map(Release)
            .context("the story has shown no healthy release")
    }
}

/// Installs everything of ours, on a cluster that has the stack. A release left by an earlier telling is deleted.
pub(crate) fn install(settings: &Settings, progress: &Progress, cluster: &Cluster) -> Result<Scene> {
    let references = images::build_and_load(settings, progress, cluster, &Image::OWN)?;
    let [operator, inference, trainer, simulator] =
        <[String; 4]>::try_from(references).map_err(|_| anyhow::anyhow!("an image of ours was not built"))?;
    let helm = Tools::new(settings, progress).program(Tool::Helm)?;
    let kubectl = cluster.kubectl();
    let topic = format!("movielog{}", seconds_since_1970()?);
    let charts = settings.checkout().join("charts");
    let template = |chart: &str, namespace: &str, values: &[String]| {
        let mut command = Run::new(&helm)
            .args([
                "template",
                chart,
                "--kube-version",
                KUBE_VERSION,
                "--namespace",
                namespace,
            ])
            .arg(charts.join(chart));
        for value in values {
            command = command.arg("--set-json").arg(value);
        }
        command.text()
    };

    let step = progress.step("install serin");
    kubectl
        .run(["apply", "--server-side", "--force-conflicts", "--filename"])
        .arg(settings.checkout().join("crds"))
        .output()?;
    kubectl
        .run([
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd/modelreleases.serin.dev",
        ])
        .output()?;
    kubectl.delete(&[
        "--namespace",
        NAMESPACE,
        &format!("mrel/{RELEASE}"),
        "--timeout=120s",
    ])?;
    kubectl.apply(&template(
        "operator",
        OPERATOR_NAMESPACE,
        &[format!("image={operator:?}")],
    )?)?;
    step.detail("operator");
    kubectl.rolled_out(OPERATOR_NAMESPACE, "deployment/serin-operator", DEADLINE)?;
    let trainer = [
        format!("image={trainer:?}"),
        "suspend=true".into(),
        format!("topic={topic:?}"),
        format!("data=\"file:///data/{topic}/\""),
        "timeLimit=\"2m\"".into(),
    ];
    kubectl.apply(&template("trainer", NAMESPACE, &trainer)?)?;
    let release = [
        format!("image={inference:?}"),
        r#"steps=[{"weight":20,"soak":"40s"}]"#.into(),
        r#"progressDeadline="60s""#.into(),
        r#"analysis.interval="5s""#.into(),
        r#"analysis.warmUp="0s""#.into(),
        r#"analysis.minSoak="30s""#.into(),
        r#"analysis.minCoverage="50%""#.into(),
    ];
    kubectl.apply(&template("inference", NAMESPACE, &release)?)?;
    step.done();
    Ok(Scene {
        kubectl,
        simulator_image: simulator,
        simulator: settings.cargo_target().join("release/serin-simulator"),
        topic,
        healthy: RefCell::default(),
        has_ratings: dataset::ml_100k(settings, progress).is_some(),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "tells one telling from another; nothing is decided by it"
)]
fn seconds_since_1970() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(now.context("the clock is before 1970")?.as_secs())
}
