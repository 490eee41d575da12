//! Leaders that do not know that they lead no longer: frozen, or cut off from the API server, in the middle of a soak.
//! Another replica takes over, the release ends as if nothing had been, and the two never write in turns.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Checks, audit, operator, scenes};
use crate::cluster::Cluster;
use crate::demo::install::{OPERATOR_NAMESPACE, Scene};
use crate::demo::load::Load;
use crate::demo::story::until;
use crate::progress::Progress;
use crate::run::Run;
use crate::stack::HOST_PORT;
use crate::wait::{self, Look};

/// Longer than the Lease, so that the other replica leads for most of it.
const SOAK: Duration = Duration::from_secs(60);
/// The Lease's 15 s, and what an election may take.
const TAKEOVER_MAX: Duration = Duration::from_secs(40);

/// What a leader suffers; it ends when this is dropped.
enum Plight {
    /// Its process does not run.
    Frozen(u32),
    /// Its packets to the API server are dropped.
    CutOff(String),
}

impl Plight {
    fn freeze(scene: &Scene) -> Result<Self> {
        let pid = operator::pid(&scene.kubectl)?;
        Run::new("kill").args(["-STOP", &pid.to_string()]).output()?;
        Ok(Self::Frozen(pid))
    }

    fn cut_off(scene: &Scene) -> Result<Self> {
        let pod = format!("pod/{}", operator::leader(&scene.kubectl)?);
        let pod = scene
            .kubectl
            .get_json(&["--namespace", OPERATOR_NAMESPACE, &pod])?;
        let address = pod
            .pointer("/status/podIP")
            .and_then(Value::as_str)
            .context("the pod has no address")?;
        Run::new("iptables").args(dropping("-I", address)).output()?;
        Ok(Self::CutOff(address.to_owned()))
    }

    fn end(&self) -> Result<()> {
        match self {
            Self::Frozen(pid) => Run::new("kill")
                .args(["-CONT", &pid.to_string()])
                .output()
                .map(drop),
            Self::CutOff(address) => Run::new("iptables")
                .args(dropping("-D", address))
                .output()
                .map(drop),
        }
    }
}

impl Drop for Plight {
    fn drop(&mut self) {
        // Ended already is fine: a process that runs goes on, and a rule that is gone cannot be deleted.
        drop(self.end());
    }
}

fn dropping<'a>(how: &'a str, address: &'a str) -> [&'a str; 10] {
    [
        how,
        "INPUT",
        "--source",
        address,
        "--protocol",
        "tcp",
        "--dport",
        "6443",
        "--jump",
        "DROP",
    ]
}

/// Plays both, on a cluster that keeps an audit log.
pub(super) fn play(scene: &Scene, cluster: &Cluster, progress: &Progress, checks: &mut Checks) -> Result<()> {
    let Some(log) = cluster.audit_log() else {
        progress.say("  frozen leaders are not played: this cluster keeps no audit log");
        return Ok(());
    };
    let load = Load::start(&scene.simulator, &format!("http://127.0.0.1:{HOST_PORT}"))?;
    scenes::scale(scene, 2)?;
    for (version, how) in [("frozen-leader", "frozen"), ("cut-off-leader", "cut off")] {
        scenes::release(scene, version, SOAK, "60s", &json!({}))?;
        let soaking = until(
            scene,
            progress,
            &format!("a soak whose leader is {how}"),
            |release| release.is_observed(version),
        )?;
        let revision = soaking.text("/status/canary/revision").to_owned();
        let old = operator::leader(&scene.kubectl)?;
        let plight = if how == "frozen" {
            Plight::freeze(scene)?
        } else {
            Plight::cut_off(scene)?
        };
        let new = wait::until("another leader", TAKEOVER_MAX, Duration::from_millis(200), || {
            let leader = operator::leader(&scene.kubectl)?;
            Ok(if leader.is_empty() || leader == old {
                Look::NotYet(leader)
            } else {
                Look::Ready(leader)
            })
        })?;
        plight.end()?;
        until(scene, progress, &format!("{version} is promoted"), |release| {
            release.stable() == version && release.canary().is_empty()
        })?;
        let doubled = scenes::doubled(scene, &revision, version)?;
        checks.check(
            progress,
            &format!("a leader that is {how} doubles no event"),
            doubled.is_empty(),
            &format!("{doubled:?} told twice"),
        );
        let terms = audit::terms(&log, &[&old, &new])?;
        checks.check(
            progress,
            &format!("a leader that was {how} changes nothing once another has"),
            terms == [old.clone(), new.clone()],
            &format!("changes in this order: {}", terms.join(", ")),
        );
        // The next one begins with a replica that has not led yet.
        scene
            .kubectl
            .delete(&["--namespace", OPERATOR_NAMESPACE, "pod", &old])?;
        scenes::scale(scene, 2)?;
    }
    scenes::scale(scene, 1)?;
    let report = load.stop()?;
    checks.all_answered(
        progress,
        "no request lost under leaders that are frozen or cut off",
        &report,
    );
    Ok(())
}
