//! What one plan costs: the planner alone, on values.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;
use serin_core::crd::ModelReleaseSpec;
use serin_core::plan::{Action, Observed, Phase, Plan, RouteSeen, State, Workload, plan};
use serin_core::policy::Policy;

/// Plans that are timed together.
const PLANS: u32 = 100_000;
/// Looks until a world that obeys at once has come to rest.
const LOOKS: usize = 10;

/// Microseconds of CPU time that a plan takes.
#[derive(Clone, Copy, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cost {
    /// Of a release at rest.
    pub(super) at_rest: f64,
    /// Of a canary that soaks, between two blocks.
    pub(super) soaking: f64,
}

/// Times the planner on a release that has promoted its first version, and on the trial of its second.
pub(super) fn cost(release: impl Fn(&str) -> Value) -> Result<Cost> {
    let policy = |version: &str| -> Result<Policy> {
        let manifest = release(version);
        let spec = manifest.get("spec").cloned().unwrap_or_default();
        let spec: ModelReleaseSpec = serde_json::from_value(spec).context("the release is malformed")?;
        Policy::new("release", &spec).context("the release is wrong")
    };
    let (mut state, mut seen) = (State::default(), Observed::default());
    let at_rest = settle(&policy("v1")?, &mut state, &mut seen, Phase::Promoted)?;
    let soaking = settle(&policy("v2")?, &mut state, &mut seen, Phase::Soaking)?;
    Ok(Cost { at_rest, soaking })
}

/// Lets a world obey until nothing moves, and times the plan that says so.
fn settle(policy: &Policy, state: &mut State, seen: &mut Observed, phase: Phase) -> Result<f64> {
    let now = Timestamp::UNIX_EPOCH;
    for _ in 0..LOOKS {
        let plan = plan(policy, state, seen, now);
        obey(&plan, seen);
        *state = plan.state;
    }
    let last = plan(policy, state, seen, now);
    ensure!(
        last.phase() == phase && !last.moves(state),
        "the release is {:?} and not at rest",
        last.phase()
    );
    let began = Instant::now();
    for _ in 0..PLANS {
        let _ = black_box(plan(
            black_box(policy),
            black_box(state),
            black_box(seen),
            black_box(now),
        ));
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(PLANS))
}

/// Everything that is asked for is there at once.
fn obey(plan: &Plan, seen: &mut Observed) {
    for action in &plan.actions {
        match action {
            Action::Deploy { revision, replicas } | Action::Scale { revision, replicas } => {
                let workload = Workload {
                    replicas: *replicas,
                    ready: *replicas,
                    existing: *replicas,
                    ..Workload::default()
                };
                seen.workloads.insert(revision.clone(), workload);
            }
            Action::Route(split) => seen.route = RouteSeen::Carried(split.clone()),
            // Nobody takes any away.
            Action::Serve(_) => {}
            Action::PointService(revision) => seen.stable_service = Some(revision.clone()),
            Action::Delete(revision) => drop(seen.workloads.remove(revision)),
        }
    }
}
