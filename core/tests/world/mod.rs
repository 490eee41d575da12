//! A world that obeys actions: pods become ready, gateways accept routes and counters grow, each when told to.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use serin_core::configuration::{Configuration, Content};
use serin_core::counters::{Counter, Edge, Series};
use serin_core::crd::{ModelReleaseSpec, Reference, ReferenceKind};
use serin_core::judge::Figure;
use serin_core::plan::{
    Action, MetricsSeen, Observed, Plan, RouteSeen, Split, State, Verb, Workload, plan, time_before,
};
use serin_core::policy::{Carrier, Policy};
use serin_core::record::Entry;
use serin_core::revision::{Asked, Revision, Version};

/// How a version behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Behaviour {
    pub(crate) ready: bool,
    pub(crate) mean_ms: f64,
    pub(crate) failing: bool,
    /// One answer of so many is empty; none where 0.
    pub(crate) empty_every: u64,
}

pub(crate) const HEALTHY: Behaviour = Behaviour {
    ready: true,
    mean_ms: 20.0,
    failing: false,
    empty_every: 0,
};

/// Its pods never become ready.
pub(crate) const STUCK: Behaviour = Behaviour {
    ready: false,
    ..HEALTHY
};

/// The Service in front of the pods of a release.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Front {
    Missing,
    /// It selects the pods of this revision.
    One(Revision),
    /// It selects those of all.
    All,
}

/// The world of one release.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) spec: ModelReleaseSpec,
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) workloads: BTreeMap<Revision, Workload>,
    pub(crate) route: RouteSeen,
    pub(crate) service: Option<Revision>,
    /// What the template's references lead to.
    pub(crate) configuration: Configuration,
    /// Without a gateway: whom the Service in front of the pods selects.
    pub(crate) front: Front,
    pub(crate) behaviour: BTreeMap<String, Behaviour>,
    pub(crate) metrics: bool,
    pub(crate) traffic: bool,
    pub(crate) gateway: bool,
    /// The annotation by which a person asks for something.
    pub(crate) request: Option<String>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) news: Vec<String>,
    /// The record of the decisions, as it was written: by revision and number.
    pub(crate) record: BTreeMap<(String, u64), Entry>,
    /// Requests that each revision has answered.
    served: BTreeMap<Revision, u64>,
    /// What Prometheus has stored of that.
    scrapes: BTreeMap<Revision, Vec<(Timestamp, u64)>>,
}

/// Time between two scrapes, in seconds.
const SCRAPE: i64 = 5;
/// Bucket edges of the servers, in seconds.
const EDGES: [f64; 7] = [0.01, 0.025, 0.05, 0.1, 0.5, 1.0, f64::INFINITY];

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
        "analysis": { "prometheus": { "url": "http://prometheus:9090" }, "interval": "5s", "minRequests": 100, "warmUp": "0s", "minCoverage": "50%" },
    }))
    .expect("the spec of the world is one")
}

/// A ConfigMap that holds one value.
pub(crate) fn limits(value: &str) -> Configuration {
    let reference = Reference {
        kind: ReferenceKind::ConfigMap,
        name: "limits".into(),
    };
    let content = Content::of([("top".to_owned(), value.as_bytes().to_vec())]);
    Configuration::Known([(reference, content.digest(b""))].into())
}

/// A ConfigMap that is not there.
pub(crate) fn missing() -> Configuration {
    Configuration::Incomplete(vec![
        "there is no ConfigMap limits beside the release: create it".into(),
    ])
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
            configuration: Configuration::default(),
            front: Front::Missing,
            behaviour: BTreeMap::new(),
            metrics: true,
            traffic: true,
            gateway: true,
            request: None,
            figures: Vec::new(),
            news: Vec::new(),
            record: BTreeMap::new(),
            served: BTreeMap::new(),
            scrapes: BTreeMap::new(),
        }
    }

    /// The same, with a door for testers.
    pub(crate) fn with_testers(mut self) -> Self {
        let route = json!({
            "gateway": { "parentRefs": [{ "name": "public" }], "testers": { "header": "x-canary", "value": "always" } },
        });
        self.spec.route = serde_json::from_value(route).expect("a route");
        self
    }

    /// A world without a gateway.
    pub(crate) fn of_pods(steps: &[(i32, u32)]) -> Self {
        let mut world = Self::new(steps);
        world.spec.route = serde_json::from_value(json!({ "none": {} })).expect("a route");
        world
    }

    /// The route as it would be seen.
    pub(crate) fn route_seen(&self) -> RouteSeen {
        if self.policy().carrier != Carrier::Pods {
            return self.route.clone();
        }
        let pods = || self.workloads.iter();
        match &self.front {
            Front::Missing => RouteSeen::Missing,
            Front::One(revision) => RouteSeen::Carried(Split::of([(revision.clone(), 100)])),
            Front::All => {
                let split = Split::by_pods(pods().map(|(revision, pods)| (revision.clone(), pods.replicas)));
                if pods().all(|(_, pods)| pods.ready == pods.replicas) {
                    RouteSeen::Carried(split)
                } else {
                    let why = "pods are not ready".into();
                    RouteSeen::Asked { split, why }
                }
            }
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
        if let Configuration::Known(_) = self.configuration {
            let revision = self.wanted().revision;
            self.behaviour.insert(revision.to_string(), behaviour);
        }
    }

    pub(crate) fn wanted(&self) -> Version {
        let asked = Asked::of(&self.spec).expect("a model is named");
        let known = match &self.configuration {
            Configuration::Known(known) => Some(known),
            Configuration::Incomplete(_) => None,
        };
        asked.version(known.expect("its configuration is known"))
    }

    /// Asks for something of the canary under way.
    pub(crate) fn ask(&mut self, verb: Verb) {
        let canary = self.state.canary.as_ref().expect("a canary is under way");
        self.request = Some(canary.request(verb).to_string());
    }

    /// Asks to try again what was rolled back last.
    pub(crate) fn ask_to_retry(&mut self) {
        let retry = self.state.retry().expect("something was rolled back");
        self.request = Some(retry.to_string());
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::new("recommender", &self.spec).expect("the world's spec is right")
    }

    fn behaviour(&self, revision: &Revision) -> Behaviour {
        self.behaviour.get(revision.as_str()).copied().unwrap_or(HEALTHY)
    }

    /// What is seen now.
    pub(crate) fn look(&self) -> Observed {
        Observed {
            workloads: self.workloads.clone(),
            route: self.route_seen(),
            has_branch: false,
            stable_service: self.service.clone(),
            configuration: self.configuration.clone(),
            has_new_spec: false,
            metrics: self.metrics_seen(),
            request: self.request.as_ref().map(|text| text.parse()),
        }
    }

    fn metrics_seen(&self) -> MetricsSeen {
        let canary = self.state.canary.as_ref();
        let Some((canary, soak)) = canary.and_then(|canary| Some((canary, canary.soak?))) else {
            return MetricsSeen::NotAsked;
        };
        if !self.metrics {
            return MetricsSeen::Unavailable("Prometheus is away".into());
        }
        let reach = if canary.run.is_none() {
            time_before(self.policy().interval)
        } else {
            SignedDuration::from_mins(2)
        };
        let from = soak.counted_until.saturating_sub(reach).expect("a time");
        let of = |revision: &Revision| self.series(revision, from);
        MetricsSeen::Seen {
            canary: of(&canary.version.revision),
            stable: self
                .state
                .stable
                .as_ref()
                .map(|stable| of(&stable.revision))
                .unwrap_or_default(),
            figures: self.figures.clone(),
        }
    }

    /// What Prometheus stored of a revision since `from`, as if one pod served all of it.
    fn series(&self, revision: &Revision, from: Timestamp) -> Vec<Series> {
        let behaviour = self.behaviour(revision);
        let scrapes = self.scrapes.get(revision).map(Vec::as_slice).unwrap_or_default();
        let scrapes = scrapes
            .get(scrapes.partition_point(|(at, _)| *at < from)..)
            .unwrap_or_default();
        let one = |status, counter, value: &dyn Fn(u64) -> f64| Series {
            pod: revision.to_string(),
            labels: String::new(),
            status,
            counter,
            samples: scrapes.iter().map(|(at, served)| (*at, value(*served))).collect(),
        };
        let failures = |served: u64| if behaviour.failing { served / 20 } else { 0 };
        let successes = |served: u64| (served - failures(served)) as f64;
        let seconds = behaviour.mean_ms / 1000.0;
        let mut series = vec![
            one(0, Counter::Scrape, &|_| 1.0),
            one(200, Counter::Requests, &successes),
            one(500, Counter::Requests, &|served| failures(served) as f64),
            one(0, Counter::Outcomes, &|served| served as f64),
            one(0, Counter::BadOutcomes, &|served| {
                served.checked_div(behaviour.empty_every).unwrap_or(0) as f64
            }),
            one(200, Counter::LatencySum, &|served| successes(served) * seconds),
        ];
        series.extend(EDGES.map(|edge| {
            let below = |served| if seconds <= edge { successes(served) } else { 0.0 };
            one(200, Counter::Bucket(Edge::new(edge).expect("an edge")), &below)
        }));
        series
    }

    /// Traffic as it is split now, and scrapes of the pods that are there.
    fn serve(&mut self, seconds: i64) {
        if let (RouteSeen::Carried(split) | RouteSeen::Asked { split, .. }, true) =
            (self.route_seen(), self.traffic)
        {
            for (revision, weight) in split.weights() {
                let requests = seconds.unsigned_abs() * u64::from(weight.unsigned_abs());
                *self.served.entry(revision.clone()).or_default() += requests;
            }
        }
        if !self.metrics {
            return;
        }
        for (revision, workload) in self.workloads.iter().filter(|(_, workload)| workload.ready > 0) {
            let served = self.served.get(revision).copied().unwrap_or(0);
            let scrapes = self.scrapes.entry(revision.clone()).or_default();
            if workload.ready > 0 && scrapes.last().is_none_or(|(at, _)| *at < self.now) {
                scrapes.push((self.now, served));
            }
        }
    }

    /// What comes next, of which nothing is done.
    pub(crate) fn plan(&self) -> Plan {
        self.plan_of(&self.look())
    }

    /// The same, of a world that looks so.
    pub(crate) fn plan_of(&self, seen: &Observed) -> Plan {
        plan(&self.policy(), &self.state, seen, self.now)
    }

    /// Plans and makes the first `budget` calls: the actions, the entries of the record, the status. The state is
    /// recorded only if all of them were made. Answers the plan and whether it was recorded.
    pub(crate) fn turn(&mut self, budget: usize) -> (Plan, bool) {
        let plan = self.plan();
        for action in plan.actions.iter().take(budget) {
            self.obey(action);
        }
        let left = budget.saturating_sub(plan.actions.len());
        for entry in plan.entries.iter().take(left) {
            let canary = plan.state.canary.as_ref().expect("a canary is judged");
            let key = (canary.version.revision.to_string(), entry.number());
            self.record.insert(key, entry.clone());
        }
        let recorded = left > plan.entries.len();
        if recorded {
            self.state = plan.state.clone();
            self.news
                .extend(plan.news.iter().map(|news| news.reason.as_str().to_owned()));
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
            Action::Serve(revision) => {
                if let Some(workload) = self.workloads.get_mut(revision) {
                    workload.is_unreachable = false;
                }
            }
            Action::Scale { revision, replicas } => {
                if let Some(workload) = self.workloads.get_mut(revision) {
                    workload.replicas = *replicas;
                }
            }
            Action::Route(split) if self.policy().carrier == Carrier::Pods => {
                let mut served = split.served();
                self.front = match (served.next(), served.next()) {
                    (None, _) => Front::Missing,
                    (Some(revision), None) => Front::One(revision.clone()),
                    (Some(_), Some(_)) => Front::All,
                };
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
        if let (RouteSeen::Asked { split, .. } | RouteSeen::Carried(split), true) =
            (self.route.clone(), self.gateway)
        {
            let is_gone = |(revision, _): &(&Revision, i32)| {
                let workload = self.workloads.get(*revision);
                workload.is_none_or(|workload| workload.is_unreachable)
            };
            let gone = split
                .weights()
                .find(is_gone)
                .map(|(revision, _)| revision.clone());
            self.route = match gone {
                // As gateways do, whatever the weight.
                Some(revision) => RouteSeen::Asked {
                    why: format!("service {revision} not found"),
                    split,
                },
                None => RouteSeen::Carried(split),
            };
        }
    }

    /// Time goes on, and with it the traffic; backwards only the clock does.
    pub(crate) fn pass(&mut self, seconds: i64) {
        let mut left = seconds;
        while left != 0 {
            let step = left.min(SCRAPE);
            let by = SignedDuration::from_secs(step);
            self.now = self.now.saturating_add(by).expect("a time");
            if step > 0 {
                self.serve(step);
            }
            left -= step;
        }
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
        match self.route_seen() {
            RouteSeen::Carried(split) | RouteSeen::Asked { split, .. } => split,
            RouteSeen::Missing | RouteSeen::Outdated | RouteSeen::Unsupported { .. } => Split::default(),
        }
    }
}
