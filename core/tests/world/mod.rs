//! A world that obeys actions: pods become ready, gateways accept routes and counters grow, each when told to.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use serin_core::counters::{Counts, Increment};
use serin_core::crd::ModelReleaseSpec;
use serin_core::plan::{Action, MetricsSeen, Observed, Plan, RouteSeen, Split, State, Workload, plan};
use serin_core::policy::Policy;
use serin_core::revision::{Revision, Version};

/// How a version behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Behaviour {
    pub(crate) ready: bool,
    pub(crate) mean_ms: f64,
    pub(crate) failing: bool,
}

pub(crate) const HEALTHY: Behaviour = Behaviour {
    ready: true,
    mean_ms: 20.0,
    failing: false,
};

/// The world of one release.
pub(crate) struct World {
    pub(crate) spec: ModelReleaseSpec,
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) workloads: BTreeMap<Revision, Workload>,
    pub(crate) route: RouteSeen,
    pub(crate) service: Option<Revision>,
    pub(crate) behaviour: BTreeMap<String, Behaviour>,
    pub(crate) metrics: bool,
    pub(crate) traffic: bool,
    pub(crate) gateway: bool,
    pub(crate) abort: Option<Revision>,
    pub(crate) news: Vec<String>,
}

/// A spec with these steps (weight, soak in seconds) and no model yet.
pub(crate) fn spec(steps: &[(i32, u32)]) -> ModelReleaseSpec {
    let steps: Vec<_> = steps
        .iter()
        .map(|(weight, soak)| json!({ "weight": weight, "soak": format!("{soak}s") }))
        .collect();
    serde_json::from_value(json!({
        "serving": { "replicas": 2, "template": { "spec": { "containers": [
            { "name": "server", "image": "server:1", "ports": [{ "name": "http", "containerPort": 8082 }] },
        ] } } },
        "rollout": { "canaryReplicas": 1, "steps": steps, "progressDeadline": "60s" },
        "route": { "gateway": { "parentRefs": [{ "name": "public" }] } },
        "analysis": { "prometheus": { "url": "http://prometheus:9090" }, "interval": "5s", "minRequests": 100 },
    }))
    .expect("the spec of the world is one")
}

impl World {
    pub(crate) fn new(steps: &[(i32, u32)]) -> Self {
        Self {
            spec: spec(steps),
            state: State::default(),
            now: Timestamp::from_second(1_800_000_000).expect("a time"),
            workloads: BTreeMap::new(),
            route: RouteSeen::Missing,
            service: None,
            behaviour: BTreeMap::new(),
            metrics: true,
            traffic: true,
            gateway: true,
            abort: None,
            news: Vec::new(),
        }
    }

    /// Asks for a version that behaves so.
    pub(crate) fn want(&mut self, name: &str, behaviour: Behaviour) {
        let digest = format!(
            "sha256:{}",
            "0".repeat(64 - name.len()) + &name.replace(|c: char| !c.is_ascii_hexdigit(), "0")
        );
        self.spec.model = serde_json::from_value(json!({
            "version": name, "uri": format!("file:///models/{name}/"), "digest": digest, "evidence": { "rmse": 0.9 },
        }))
        .expect("a model");
        let revision = self.wanted().revision;
        self.behaviour.insert(revision.to_string(), behaviour);
    }

    pub(crate) fn wanted(&self) -> Version {
        Version::wanted(&self.spec).expect("a model is named")
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::new("recommender", &self.spec).expect("the world's spec is right")
    }

    fn behaviour(&self, revision: &Revision) -> Behaviour {
        self.behaviour.get(revision.as_str()).copied().unwrap_or(HEALTHY)
    }

    /// What is seen now: counters have grown since the mark as the traffic was split.
    pub(crate) fn look(&self) -> Observed {
        let mut seen = Observed {
            workloads: self.workloads.clone(),
            route: self.route.clone(),
            stable_service: self.service.clone(),
            metrics: MetricsSeen::NotAsked,
            abort: self.abort.clone(),
        };
        if let Some((canary, soak)) = self
            .state
            .canary
            .as_ref()
            .and_then(|canary| Some((canary, canary.soak?)))
        {
            let covered = self.now.duration_since(soak.counted_until);
            if !self.metrics {
                seen.metrics = MetricsSeen::Unavailable("Prometheus is away".into());
            } else if covered > SignedDuration::ZERO {
                let revision = &canary.version.revision;
                let requests =
                    |share: i32| covered.as_secs().unsigned_abs() * u64::from(share.unsigned_abs());
                let share = if let (RouteSeen::Carried(split), true) = (&self.route, self.traffic) {
                    split.weight(revision)
                } else {
                    0
                };
                let counts = counts(requests(share), self.behaviour(revision));
                let canary = Increment {
                    counts,
                    until: self.now,
                    covered,
                    dropped: 0,
                };
                seen.metrics = MetricsSeen::Seen {
                    canary,
                    stable: counts_of_stable(requests(100 - share)),
                };
            }
        }
        seen
    }

    /// Plans and carries out the first `budget` actions; the state is recorded only if all of them were. Answers the
    /// plan and whether it was recorded.
    pub(crate) fn turn(&mut self, budget: usize) -> (Plan, bool) {
        let plan = plan(&self.policy(), &self.state, &self.look(), self.now);
        for action in plan.actions.iter().take(budget) {
            self.obey(action);
        }
        let recorded = budget > plan.actions.len();
        if recorded {
            self.state = plan.state.clone();
            self.news
                .extend(plan.news.iter().map(|news| news.reason.to_owned()));
        }
        (plan, recorded)
    }

    fn obey(&mut self, action: &Action) {
        match action {
            Action::Deploy { revision, replicas } => {
                self.workloads.insert(
                    revision.clone(),
                    Workload {
                        replicas: *replicas,
                        ..Workload::default()
                    },
                );
            }
            Action::Scale { revision, replicas } => {
                if let Some(workload) = self.workloads.get_mut(revision) {
                    workload.replicas = *replicas;
                }
            }
            Action::Route(split) if split.is_empty() => self.route = RouteSeen::Missing,
            Action::Route(split) => {
                self.route = RouteSeen::Asked {
                    split: split.clone(),
                    why: "not yet".into(),
                }
            }
            Action::PointService(revision) => self.service = Some(revision.clone()),
            Action::Delete(revision) => {
                self.workloads.remove(revision);
            }
        }
    }

    /// Lets the world follow: pods start and stop, the gateway accepts.
    pub(crate) fn settle(&mut self) {
        let behaviour = self.behaviour.clone();
        for (revision, workload) in &mut self.workloads {
            workload.existing = workload.replicas;
            let ready = behaviour.get(revision.as_str()).copied().unwrap_or(HEALTHY).ready;
            workload.ready = if ready { workload.replicas } else { 0 };
        }
        if let (RouteSeen::Asked { split, .. }, true) = (&self.route, self.gateway) {
            self.route = RouteSeen::Carried(split.clone());
        }
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now = self
            .now
            .saturating_add(SignedDuration::from_secs(seconds))
            .expect("a time");
    }

    /// Turns and follows until nothing moves any more or `turns` are over; answers the last plan.
    pub(crate) fn run(&mut self, turns: usize) -> Plan {
        let mut last = self.turn(usize::MAX).0;
        for _ in 0..turns {
            self.settle();
            self.pass(5);
            last = self.turn(usize::MAX).0;
        }
        last
    }

    /// As [`World::run`], for those who do not ask how it ended.
    pub(crate) fn live(&mut self, turns: usize) {
        let _ = self.run(turns);
    }

    /// The split the data plane carries.
    pub(crate) fn carried(&self) -> Split {
        match &self.route {
            RouteSeen::Carried(split) | RouteSeen::Asked { split, .. } => split.clone(),
            RouteSeen::Missing | RouteSeen::Unsupported(_) => Split::default(),
        }
    }
}

fn counts(requests: u64, behaviour: Behaviour) -> Counts {
    let failures = if behaviour.failing { requests / 20 } else { 0 };
    let successes = requests - failures;
    Counts {
        requests,
        failures,
        successes,
        latency_seconds_sum: successes as f64 * behaviour.mean_ms / 1000.0,
    }
}

fn counts_of_stable(requests: u64) -> Counts {
    counts(requests, HEALTHY)
}
