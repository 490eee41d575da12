//! `spec` to policy: the last place where a manifest can be wrong.

mod fault;
#[cfg(test)]
mod tests;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::PodSpec;
use url::Url;

pub use self::fault::Fault;
use crate::configuration;
use crate::crd::{
    Approval, Method, ModelReleaseSpec, NAME_MAX_LENGTH, OnNewVersion, Otherwise, RELEASE_LABEL, Reference,
    RouteKind,
};
use crate::digest::Digest;
use crate::gate::Gate;
use crate::judge::{self, OnInconclusive, OnUnavailable, Run, Settings};
use crate::revision::Asked;
use crate::selector::{Selector, SelectorError};

/// A percentage of the traffic, 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(100);

    /// A percentage, if it is one.
    pub fn new(value: i64) -> Option<Self> {
        u8::try_from(value)
            .ok()
            .filter(|percent| *percent <= 100)
            .map(Self)
    }

    /// The share of `pods` among them and `others`, each as good as any other; nothing where there are none.
    pub fn of_pods(pods: i32, others: i32) -> Self {
        let (pods, all) = (
            i64::from(pods.max(0)),
            i64::from(pods.max(0)) + i64::from(others.max(0)),
        );
        let nearest = (200 * pods + all).checked_div(2 * all);
        nearest.and_then(Self::new).unwrap_or(Self::NONE)
    }

    /// What is left of everything.
    #[must_use]
    pub fn rest(self) -> Self {
        Self(100 - self.0)
    }

    /// The number.
    pub fn get(self) -> i32 {
        i32::from(self.0)
    }
}

/// One share of traffic and how long it is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Share of the canary.
    pub weight: Percent,
    /// Observed time required.
    pub soak: SignedDuration,
}

/// What carries the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A gateway, which says what it has accepted.
    Gateway,
    /// The controller of an Ingress, which says nothing.
    Ingress,
    /// Whole pods behind one Service.
    Pods,
}

impl Carrier {
    /// Who sends the requests, in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "the gateway",
            Self::Ingress => "the ingress controller",
            Self::Pods => "the Service",
        }
    }
}

/// A release's `spec`, checked. Nothing in it can be wrong any more, unless it is only [to go back
/// by](Policy::to_go_back).
#[derive(Debug)]
pub struct Policy {
    /// What is asked for, if anything.
    pub asked: Option<Asked>,
    /// Why the wanted version may not get traffic; empty when every gate is open.
    pub closed_gates: Vec<String>,
    /// Selects the pods of the release.
    pub selector: String,
    /// Pods that carry all traffic; with 0 the release is asleep.
    pub replicas: i32,
    /// Pods of a canary while it soaks, where they do not carry its weight: see [`Policy::canary_pods`].
    pub canary_replicas: i32,
    /// What carries the weights.
    pub carrier: Carrier,
    /// Whether testers have a door to the canary.
    pub testers: bool,
    /// At least one, unless it is only to go back by; weights rise.
    pub steps: Vec<Step>,
    /// What a newer version does to a canary.
    pub on_new_version: OnNewVersion,
    /// Who has the last word on a canary that has passed.
    pub approval: Approval,
    /// How long pods may take to become ready.
    pub progress_deadline: SignedDuration,
    /// Number of earlier promoted versions kept.
    pub rollback_window: usize,
    /// How often the canary is looked at: the length of a block.
    pub interval: SignedDuration,
    /// Time under traffic at first that counts for nothing.
    pub warm_up: SignedDuration,
    /// What the canary is judged by; the edges of its histogram are those that the servers export.
    pub judge: Settings,
    /// Whether the release is frozen.
    pub paused: bool,
}

/// Why a `spec` cannot be carried out. Only its author can help; each message names field, value and remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// See the message.
    #[error("metadata.name \"{0}\" is too long: use at most {NAME_MAX_LENGTH} characters")]
    Name(String),
    /// See the message.
    #[error("spec.model.digest: {0}")]
    Digest(String),
    /// See the message.
    #[error("spec.model.uri \"{0}\" is no artifact URI: begin with file:///, s3://, http:// or https://")]
    Uri(String),
    /// See the message.
    #[error("spec.rollout.steps[{step}].weight {weight} is out of range: write 1 to 100")]
    Weight {
        /// Index of the step.
        step: usize,
        /// What was written.
        weight: i32,
    },
    /// See the message.
    #[error(
        "spec.rollout.steps[{step}].weight {weight} does not rise: let it be above that of the step before"
    )]
    NotRising {
        /// Index of the step.
        step: usize,
        /// What was written.
        weight: i32,
    },
    /// See the message.
    #[error("{field} is 0s: write a positive duration such as 90s, 15m or 12h")]
    ZeroPeriod {
        /// Path of the field.
        field: String,
    },
    /// See the message.
    #[error("spec.rollout.steps is empty: write at least one step, such as weight 20 and soak 12h")]
    NoSteps,
    /// See the message.
    #[error("spec.route names none of gateway, ingress and none, or several: name one of them")]
    RouteKinds,
    /// See the message.
    #[error(
        "spec.route.gateway has neither parentRefs nor existing, or both: name the Gateways for a route that the operator owns, or a rule of yours"
    )]
    NoRoute,
    /// See the message.
    #[error(
        "spec.route.gateway.testers is given beside existing: only the weights of a rule of yours are written, so leave one of them out"
    )]
    TestersOfExisting,
    /// See the message.
    #[error(
        "spec.analysis.prometheus.url \"{0}\" is no address: write one such as http://prometheus.monitoring:9090"
    )]
    PrometheusUrl(String),
    /// See the message.
    #[error("{field} \"{value}\" is no percentage{above}: write one such as 1% or 0.5%")]
    Percentage {
        /// Path of the field.
        field: &'static str,
        /// What was written.
        value: String,
        /// What else it must be, in words.
        above: &'static str,
    },
    /// See the message.
    #[error(
        "spec.analysis.latency.timeLimit {limit} is not above meanBelow {mean}: write the time after which a request is given up, such as 30s"
    )]
    TimeLimit {
        /// What was written.
        limit: crate::period::Period,
        /// The limit of the mean.
        mean: crate::period::Period,
    },
    /// See the message.
    #[error(
        "spec.analysis.metrics \"{0}\" has not exactly one bound: write canaryAtMost, canaryAtLeast, notAboveStableBy or notBelowStableBy"
    )]
    Bounds(String),
    /// See the message.
    #[error("spec.analysis.quality: {0}")]
    Counter(SelectorError),
    /// See the message.
    #[error("spec.analysis cannot be judged by: {0}")]
    Judgement(String),
    /// See the message.
    #[error(
        "spec.serving.replicas must be at least 0 and spec.rollout.canaryReplicas at least 1, they are {0} and {1}"
    )]
    Replicas(i32, i32),
    /// See the message.
    #[error("spec.serving.template.spec is no pod spec: {0}")]
    PodSpec(String),
    /// See the message.
    #[error(
        "spec.serving.port \"{0}\" is not the name of a container port in spec.serving.template: name one of its ports so"
    )]
    Port(String),
    /// See the message.
    #[error(
        "spec.serving.unversioned names {0}, to which spec.serving.template does not refer: remove it, or correct its name"
    )]
    Unversioned(Reference),
    /// See the message.
    #[error("spec.gates[{gate}].require does not compile: {why}")]
    Gate {
        /// Index of the gate.
        gate: usize,
        /// The compiler's words.
        why: String,
    },
}

impl SpecError {
    /// One word for conditions and metrics.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Name(_) => Fault::InvalidName,
            Self::Digest(_) | Self::Uri(_) => Fault::InvalidModel,
            Self::ZeroPeriod { field } if field.starts_with("spec.analysis.") => Fault::InvalidAnalysis,
            Self::Weight { .. }
            | Self::NotRising { .. }
            | Self::ZeroPeriod { .. }
            | Self::NoSteps
            | Self::Replicas(..) => Fault::InvalidRollout,
            Self::RouteKinds | Self::NoRoute | Self::TestersOfExisting => Fault::InvalidRoute,
            Self::PrometheusUrl(_)
            | Self::Percentage { .. }
            | Self::TimeLimit { .. }
            | Self::Bounds(_)
            | Self::Counter(_)
            | Self::Judgement(_) => Fault::InvalidAnalysis,
            Self::PodSpec(_) | Self::Port(_) | Self::Unversioned(_) => Fault::InvalidTemplate,
            Self::Gate { .. } => Fault::InvalidGate,
        }
    }
}

impl Policy {
    /// Checks `spec` of the release `name`.
    ///
    /// The API server has refused most wrong manifests before; what it cannot know (a gate that does not compile, a
    /// port that no container has) and what an older definition let through is refused here.
    pub fn new(name: &str, spec: &ModelReleaseSpec) -> Result<Self, SpecError> {
        let right = Self::to_go_back(name, spec)?;
        check_model(spec)?;
        check_template(spec)?;
        check_prometheus(spec)?;
        let steps = steps(spec)?;
        Ok(Self {
            closed_gates: closed_gates(spec)?,
            judge: settings(spec, &steps)?,
            steps,
            progress_deadline: positive("spec.rollout.progressDeadline", right.progress_deadline)?,
            interval: positive("spec.analysis.interval", right.interval)?,
            ..right
        })
    }

    /// What is enough to take a canary back, of a `spec` that may be wrong elsewhere: whom traffic goes to then, and
    /// over what. It has no steps and no gates, and judges by nothing that `spec` says.
    ///
    /// Errors: not even that is known.
    pub fn to_go_back(name: &str, spec: &ModelReleaseSpec) -> Result<Self, SpecError> {
        if name.len() > NAME_MAX_LENGTH {
            return Err(SpecError::Name(name.to_owned()));
        }
        if spec.serving.replicas < 0 || spec.rollout.canary_replicas < 1 {
            return Err(SpecError::Replicas(
                spec.serving.replicas,
                spec.rollout.canary_replicas,
            ));
        }
        Ok(Self {
            asked: Asked::of(spec),
            closed_gates: Vec::new(),
            selector: format!("{RELEASE_LABEL}={name}"),
            replicas: spec.serving.replicas,
            canary_replicas: spec.rollout.canary_replicas,
            carrier: carrier(spec)?,
            testers: spec.route.testers().is_some(),
            steps: Vec::new(),
            on_new_version: spec.rollout.on_new_version,
            approval: spec.rollout.approval,
            progress_deadline: spec.rollout.progress_deadline.get(),
            rollback_window: spec.rollout.rollback_window,
            interval: spec.analysis.interval.get(),
            warm_up: spec.analysis.warm_up.get(),
            judge: Settings::default(),
            paused: spec.paused,
        })
    }
}

impl Policy {
    /// Whether nothing is to serve, as whoever scales the release wants it.
    pub fn is_asleep(&self) -> bool {
        self.replicas == 0
    }

    /// Pods of a canary at this weight. Where pods carry it they are as many as fit into it, but at least one, and at
    /// most as many as of the stable version, which loses none before it loses all.
    pub fn canary_pods(&self, weight: Percent) -> i32 {
        match self.carrier {
            Carrier::Gateway | Carrier::Ingress => self.canary_replicas,
            Carrier::Pods if weight == Percent::ALL => self.replicas,
            Carrier::Pods => {
                (self.replicas * weight.get() / weight.rest().get()).clamp(1, self.replicas.max(1))
            }
        }
    }

    /// The share of the requests that a canary at this weight, and with this many pods, gets.
    pub fn share(&self, weight: Percent, pods: i32) -> Percent {
        match self.carrier {
            Carrier::Pods if weight > Percent::NONE && weight < Percent::ALL => {
                Percent::of_pods(pods, self.replicas)
            }
            Carrier::Gateway | Carrier::Ingress | Carrier::Pods => weight,
        }
    }
}

fn carrier(spec: &ModelReleaseSpec) -> Result<Carrier, SpecError> {
    if spec.route.kinds() != 1 {
        return Err(SpecError::RouteKinds);
    }
    match spec.route.kind() {
        RouteKind::Gateway(gateway) if gateway.parent_refs.is_empty() == gateway.existing.is_none() => {
            Err(SpecError::NoRoute)
        }
        RouteKind::Gateway(gateway) if gateway.existing.is_some() && gateway.testers.is_some() => {
            Err(SpecError::TestersOfExisting)
        }
        RouteKind::Gateway(_) => Ok(Carrier::Gateway),
        RouteKind::Ingress(_) => Ok(Carrier::Ingress),
        RouteKind::Pods => Ok(Carrier::Pods),
    }
}

fn positive(field: &str, duration: SignedDuration) -> Result<SignedDuration, SpecError> {
    if duration.is_positive() {
        Ok(duration)
    } else {
        Err(SpecError::ZeroPeriod {
            field: field.to_owned(),
        })
    }
}

fn check_model(spec: &ModelReleaseSpec) -> Result<(), SpecError> {
    let Some(model) = &spec.model else { return Ok(()) };
    model
        .digest
        .parse::<Digest>()
        .map_err(|error| SpecError::Digest(error.to_string()))?;
    let uri = Url::parse(&model.uri).map_err(|_| SpecError::Uri(model.uri.clone()))?;
    if !["file", "s3", "http", "https"].contains(&uri.scheme()) {
        return Err(SpecError::Uri(model.uri.clone()));
    }
    Ok(())
}

fn check_template(spec: &ModelReleaseSpec) -> Result<(), SpecError> {
    let pod: PodSpec = serde_json::from_value(spec.serving.template.spec.clone())
        .map_err(|error| SpecError::PodSpec(error.to_string()))?;
    let names =
        |port: &k8s_openapi::api::core::v1::ContainerPort| port.name.as_deref() == Some(&*spec.serving.port);
    if !pod
        .containers
        .iter()
        .flat_map(|container| container.ports.iter().flatten())
        .any(names)
    {
        return Err(SpecError::Port(spec.serving.port.clone()));
    }
    let referred = configuration::all(&spec.serving.template.spec);
    let is_idle = |reference: &&Reference| !referred.contains_key(reference);
    match spec.serving.unversioned.iter().find(is_idle) {
        Some(idle) => Err(SpecError::Unversioned(idle.clone())),
        None => Ok(()),
    }
}

fn steps(spec: &ModelReleaseSpec) -> Result<Vec<Step>, SpecError> {
    let mut steps: Vec<Step> = Vec::new();
    for (index, step) in spec.rollout.steps.iter().enumerate() {
        let weight = Percent::new(step.weight.into())
            .filter(|weight| *weight > Percent::NONE)
            .ok_or(SpecError::Weight {
                step: index,
                weight: step.weight,
            })?;
        if steps.last().is_some_and(|before| before.weight >= weight) {
            return Err(SpecError::NotRising {
                step: index,
                weight: step.weight,
            });
        }
        let soak = positive(&format!("spec.rollout.steps[{index}].soak"), step.soak.get())?;
        steps.push(Step { weight, soak });
    }
    if steps.is_empty() {
        Err(SpecError::NoSteps)
    } else {
        Ok(steps)
    }
}

fn check_prometheus(spec: &ModelReleaseSpec) -> Result<(), SpecError> {
    let url = &spec.analysis.prometheus.url;
    let address = Url::parse(url).map_err(|_| SpecError::PrometheusUrl(url.clone()))?;
    if !["http", "https"].contains(&address.scheme()) || address.host_str().is_none_or(str::is_empty) {
        return Err(SpecError::PrometheusUrl(url.clone()));
    }
    Ok(())
}

/// A percentage as a share, 0 to below 1.
fn share(field: &'static str, text: &str) -> Result<f64, SpecError> {
    text.strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok())
        .filter(|percent| (0.0..100.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| SpecError::Percentage {
            field,
            value: text.to_owned(),
            above: "",
        })
}

/// A share that something can be shown to stay below, above 0 and below 1.
fn margin(field: &'static str, text: &str) -> Result<f64, SpecError> {
    let margin = share(field, text)?;
    if margin > 0.0 {
        return Ok(margin);
    }
    Err(SpecError::Percentage {
        field,
        value: text.to_owned(),
        above: " above 0",
    })
}

/// How slow requests are judged, at edges that many histograms have; those that the servers lack are left out.
fn distribution(tail: &crate::crd::Tail) -> Result<judge::Distribution, SpecError> {
    const FIELD: &str = "spec.analysis.latency.tail.notWorseThanStable";
    let margin = margin(FIELD, &tail.not_worse_than_stable)?;
    let objective_seconds =
        positive("spec.analysis.latency.tail.slowerThan", tail.slower_than.get())?.as_secs_f64();
    Ok(judge::Distribution {
        edges: vec![0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5],
        tolerance: 0.02,
        objective_seconds,
        margin,
    })
}

/// What the canary is judged by. The soak is that of all steps, in whole blocks; only the last step can end early.
fn settings(spec: &ModelReleaseSpec, steps: &[Step]) -> Result<Settings, SpecError> {
    let analysis = &spec.analysis;
    let block = positive("spec.analysis.interval", analysis.interval.get())?;
    let whole_blocks = |step: &Step| {
        let (soak, each) = (step.soak.as_nanos(), block.as_nanos().max(1));
        let blocks = (soak + each - 1) / each;
        block.saturating_mul(i32::try_from(blocks).unwrap_or(i32::MAX))
    };
    let sum = |steps: &[Step]| {
        let soaks = steps.iter().map(whole_blocks);
        soaks.fold(SignedDuration::ZERO, SignedDuration::saturating_add)
    };
    let soak = sum(steps);
    let before_last = sum(steps.split_last().map_or(&[], |(_, before)| before));
    let latency = &analysis.latency;
    let mean_below = positive("spec.analysis.latency.meanBelow", latency.mean_below.get())?;
    if latency.time_limit.get() <= mean_below {
        return Err(SpecError::TimeLimit {
            limit: latency.time_limit,
            mean: latency.mean_below,
        });
    }
    const MARGIN: &str = "spec.analysis.errors.notWorseThanStable";
    let margin = margin(MARGIN, &analysis.errors.not_worse_than_stable)?;
    let slower = share(
        "spec.analysis.latency.notWorseThanStable",
        &latency.not_worse_than_stable,
    )?;
    let usual = Settings::default();
    let settings = Settings {
        method: match analysis.method {
            Method::Sequential => judge::Method::Sequential,
            Method::WholeSoak => judge::Method::WholeSoak,
        },
        block,
        cap_seconds: latency.time_limit.get().as_secs_f64(),
        errors: judge::Errors {
            margin,
            classic: true,
            ..usual.errors.clone()
        },
        latency: judge::Latency {
            limit_seconds: mean_below.as_secs_f64(),
            ratio: 1.0 + slower,
            negligible_seconds: latency.negligible_below.map(|mean| mean.get().as_secs_f64()),
            ..usual.latency.clone()
        },
        distribution: latency.tail.as_ref().map(distribution).transpose()?,
        soak,
        min_soak: analysis.min_soak.get().max(before_last),
        deadline: match analysis.deadline {
            Some(deadline) => positive("spec.analysis.deadline", deadline.get())?,
            None => soak.saturating_mul(2).max(SignedDuration::from_hours(1)),
        },
        min_requests: analysis.min_requests,
        min_coverage: share("spec.analysis.minCoverage", &analysis.min_coverage)?,
        on_inconclusive: match analysis.on_inconclusive {
            Otherwise::Hold => OnInconclusive::Hold,
            Otherwise::RollBack => OnInconclusive::RollBack,
        },
        on_unavailable: match analysis.on_unavailable {
            Otherwise::Hold => OnUnavailable::Hold,
            Otherwise::RollBack => OnUnavailable::RollBack,
        },
        quality: analysis.quality.as_ref().map(quality).transpose()?,
        figures: analysis.metrics.iter().map(bound).collect::<Result<_, _>>()?,
        ..usual
    };
    // The edges of its histogram are not known yet.
    let checked = Settings {
        distribution: None,
        ..settings.clone()
    };
    Run::new(checked).map_err(|error| SpecError::Judgement(error.to_string()))?;
    Ok(settings)
}

/// How outcomes are judged: withdrawn when worse at all beyond chance, promoted when within the margin.
fn quality(asked: &crate::crd::Quality) -> Result<judge::Quality, SpecError> {
    for counter in [&asked.bad, &asked.all] {
        counter.parse::<Selector>().map_err(SpecError::Counter)?;
    }
    const FIELD: &str = "spec.analysis.quality.notWorseThanStable";
    let margin = margin(FIELD, &asked.not_worse_than_stable)?;
    Ok(judge::Quality {
        tolerance: 0.0,
        margin,
    })
}

fn bound(metric: &crate::crd::Metric) -> Result<judge::Bound, SpecError> {
    let above = |text: &String| {
        let share = share("spec.analysis.metrics[].notAboveStableBy", text);
        share.map(judge::Limit::NotAboveStableBy)
    };
    let below = |text: &String| {
        let share = share("spec.analysis.metrics[].notBelowStableBy", text);
        share.map(judge::Limit::NotBelowStableBy)
    };
    let limits = [
        metric.canary_at_most.map(|most| Ok(judge::Limit::AtMost(most))),
        metric
            .canary_at_least
            .map(|least| Ok(judge::Limit::AtLeast(least))),
        metric.not_above_stable_by.as_ref().map(above),
        metric.not_below_stable_by.as_ref().map(below),
    ];
    match limits
        .into_iter()
        .flatten()
        .collect::<Result<Vec<_>, _>>()?
        .as_slice()
    {
        [limit] => Ok(judge::Bound {
            name: metric.name.clone(),
            query: metric.query.clone(),
            limit: *limit,
        }),
        _ => Err(SpecError::Bounds(metric.name.clone())),
    }
}

fn closed_gates(spec: &ModelReleaseSpec) -> Result<Vec<String>, SpecError> {
    let mut closed = Vec::new();
    for (index, gate) in spec.gates.iter().enumerate() {
        let compiled =
            Gate::new(&gate.name, &gate.require).map_err(|why| SpecError::Gate { gate: index, why })?;
        if let Some(Err(why)) = spec.model.as_ref().map(|model| compiled.check(&model.evidence)) {
            closed.push(why);
        }
    }
    Ok(closed)
}
