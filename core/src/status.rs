//! State to status and back: the domain on one side, what is written to the API server on the other.

pub mod conditions;

use jiff::{SignedDuration, Timestamp};

pub use self::conditions::stalled;
use crate::crd::{
    AdoptedStatus, AnalysisStatus, Arm, ArmFigures, CanaryStatus, Display, HistoryEntry, MetricStatus,
    ModelReleaseStatus, QuestionStatus, Rejected, RequestStatus, SoakStatus,
};
use crate::judge::{ArmTotals, Look, Settings};
use crate::period::Period;
use crate::plan::{Adopted, Answer, Canary, Judgement, Observed, Past, Plan, RouteSeen, Soak, Stage, State};
use crate::policy::{Carrier, Policy};
use crate::revision::{Revision, Version};

/// The state that a status records. Total: whatever an older operator wrote has a meaning.
pub fn state(status: &ModelReleaseStatus) -> State {
    let soak = status.soak.as_ref().map(soak_of);
    State {
        stable: status.stable.as_ref().map(version_of),
        canary: status.canary.as_ref().map(|canary| Canary {
            version: version_of(&canary.arm),
            stage: canary.stage,
            step: canary.step,
            // An operator that did not write it knew the stage alone.
            began: canary.began.unwrap_or(canary.since),
            since: canary.since,
            unready_since: canary.unready_since,
            paused_since: canary.paused_since,
            trusted: canary.trusted,
            is_approved: canary.approved,
            failure: canary.failure.clone(),
            soak,
            run: status.analysis.as_ref().and_then(judgement_of),
        }),
        rejected: status.rejected.as_ref().map(|rejected| {
            let version = Version {
                name: rejected.version.clone(),
                digest: String::new(),
                revision: Revision::recorded(&rejected.revision),
            };
            (version, rejected.outcome.clone())
        }),
        history: status.history.iter().map(past_of).collect(),
        answered: status.request.as_ref().map(|request| Answer {
            request: request.asked.clone(),
            is_followed: request.followed,
            words: request.answer.clone(),
        }),
        adopted: status.adopted.as_ref().map(|adopted| Adopted {
            revision: Revision::recorded(&adopted.revision),
            in_place_of: Revision::recorded(&adopted.in_place_of),
        }),
    }
}

/// The status to write for `plan`. Equal inputs give an equal status, so nothing changed means nothing written.
pub fn status(
    before: &ModelReleaseStatus,
    plan: &Plan,
    policy: &Policy,
    seen: &Observed,
    generation: Option<i64>,
    now: Timestamp,
) -> ModelReleaseStatus {
    let state = &plan.state;
    let ready = |revision: &Revision| seen.workloads.get(revision).map_or(0, |workload| workload.ready);
    let arm = |version: &Version| Arm {
        version: version.name.clone(),
        digest: version.digest.clone(),
        revision: version.revision.to_string(),
        ready_replicas: ready(&version.revision),
    };
    // At rest the last trial stays on display.
    let (soak, analysis) = match &state.canary {
        None => (before.soak.clone(), before.analysis.clone().map(at_rest)),
        Some(canary) => (
            canary.soak.as_ref().map(soak_status),
            canary.run.as_ref().and_then(|run| analysis(run, canary)),
        ),
    };
    let mut status = ModelReleaseStatus {
        observed_generation: generation,
        phase: plan.phase(),
        conditions: Vec::new(),
        replicas: size(state, seen),
        selector: policy.selector.clone(),
        stable: state.stable.as_ref().map(arm),
        canary: state.canary.as_ref().map(|canary| CanaryStatus {
            arm: arm(&canary.version),
            stage: canary.stage,
            step: canary.step,
            weight: plan.wished_split(policy).weight(&canary.version.revision),
            observed_weight: observed_weight(seen, &canary.version.revision),
            began: Some(canary.began),
            since: canary.since,
            unready_since: canary.unready_since,
            paused_since: canary.paused_since,
            trusted: canary.trusted,
            approved: canary.is_approved,
            failure: canary.failure.clone(),
        }),
        soak,
        analysis,
        rejected: state.rejected.as_ref().map(|(version, outcome)| Rejected {
            version: version.name.clone(),
            revision: version.revision.to_string(),
            outcome: outcome.clone(),
        }),
        history: state.history.iter().map(entry).collect(),
        request: state.answered.as_ref().map(|answer| RequestStatus {
            asked: answer.request.clone(),
            followed: answer.is_followed,
            answer: answer.words.clone(),
        }),
        adopted: state.adopted.as_ref().map(|adopted| AdoptedStatus {
            revision: adopted.revision.to_string(),
            in_place_of: adopted.in_place_of.to_string(),
        }),
        route: carried_by(policy, state),
        display: Display::default(),
    };
    status.display = display(&status, &plan.because.to_string());
    status.conditions = conditions::conditions(before, plan, policy, seen, generation, now);
    status
}

/// Pods of the version that carries the traffic, or is to carry it as the first one. Those of a canary beside it are
/// none: they come and go with the trial, and whoever scales the release would count them twice.
fn size(state: &State, seen: &Observed) -> i32 {
    let first = state.canary.as_ref().map(|canary| &canary.version);
    let serving = state.stable.as_ref().or(first);
    serving
        .and_then(|version| seen.workloads.get(&version.revision))
        .map_or(0, |workload| workload.existing)
}

/// How weights are carried where no gateway answers for them: what is known, and what is not.
fn carried_by(policy: &Policy, state: &State) -> Option<String> {
    match policy.carrier {
        Carrier::Gateway => None,
        Carrier::Ingress => Some(
            "an Ingress is accepted by nobody: a weight counts as observed when its Services have ready endpoints and \
             the time that ingress-nginx needs to follow has passed"
                .into(),
        ),
        Carrier::Pods => {
            let canary = state.canary.as_ref().map(|canary| {
                let (asked, carried) = canary.weights(policy);
                let (asked, carried) = (asked.get(), carried.get());
                format!("; {asked}% is asked for, the nearest that whole pods carry is {carried}%")
            });
            let canary = canary.unwrap_or_default();
            Some(format!("there is no gateway: each ready pod gets as many requests as any other{canary}"))
        }
    }
}

fn observed_weight(seen: &Observed, revision: &Revision) -> Option<i32> {
    match &seen.route {
        RouteSeen::Carried(split) => Some(split.weight(revision)),
        RouteSeen::Missing => Some(0),
        RouteSeen::Unsupported { .. } | RouteSeen::Outdated | RouteSeen::Asked { .. } => None,
    }
}

fn display(status: &ModelReleaseStatus, reason: &str) -> Display {
    let weight = status.canary.as_ref().map(|canary| {
        let seen = canary
            .observed_weight
            .map_or_else(|| "?".to_owned(), |weight| weight.to_string());
        format!("{}/{seen}", canary.weight)
    });
    let seconds = |period: Period| crate::plan::whole_seconds(period.get());
    let clock = status
        .soak
        .as_ref()
        .filter(|_| {
            status
                .canary
                .as_ref()
                .is_some_and(|canary| canary.stage != Stage::Preparing)
        })
        .map(|soak| format!("{}/{}", seconds(soak.observed), seconds(soak.required)));
    Display {
        weight: weight.unwrap_or_default(),
        soak: clock.unwrap_or_default(),
        reason: reason.to_owned(),
    }
}

fn version_of(arm: &Arm) -> Version {
    Version {
        name: arm.version.clone(),
        digest: arm.digest.clone(),
        revision: Revision::recorded(&arm.revision),
    }
}

fn soak_of(soak: &SoakStatus) -> Soak {
    Soak {
        observed: soak.observed.get(),
        required: soak.required.get(),
        counted_until: soak.counted_until,
        block_from: soak.block_from.unwrap_or(soak.counted_until),
        known_after: soak.known_after.map_or(SignedDuration::ZERO, Period::get),
    }
}

fn soak_status(soak: &Soak) -> SoakStatus {
    SoakStatus {
        observed: Period::clamped(soak.observed),
        required: Period::clamped(soak.required),
        counted_until: soak.counted_until,
        block_from: Some(soak.block_from),
        known_after: soak
            .known_after
            .is_positive()
            .then(|| Period::clamped(soak.known_after)),
    }
}

/// A run that another kind of operator wrote down is none: the trial is judged anew, from now on.
fn judgement_of(analysis: &AnalysisStatus) -> Option<Judgement> {
    serde_json::from_str(analysis.checkpoint.as_deref()?).ok()
}

fn at_rest(analysis: AnalysisStatus) -> AnalysisStatus {
    AnalysisStatus {
        checkpoint: None,
        ..analysis
    }
}

/// What a run has seen and says; only its checkpoint before the first block.
fn analysis(judgement: &Judgement, canary: &Canary) -> Option<AnalysisStatus> {
    let run = judgement.run()?;
    let of_look = run
        .latest()
        .map(|look| figures_of(look, run.settings()))
        .unwrap_or_default();
    Some(AnalysisStatus {
        outlook: judgement.outlook.clone(),
        record: Some(record_name(&canary.version.revision, judgement.began)),
        checkpoint: serde_json::to_string(judgement).ok(),
        ..of_look
    })
}

/// Name of the record of a run: a revision may be tried more than once.
pub fn record_name(revision: &Revision, began: Timestamp) -> String {
    format!("{revision}-{}", began.as_second())
}

fn figures_of(look: &Look, settings: &Settings) -> AnalysisStatus {
    let pairs = look.abort.iter().zip(&look.promote);
    AnalysisStatus {
        canary: figures(&look.totals.canary),
        stable: figures(&look.totals.stable),
        looks: look.block,
        coverage: (look.coverage * 1000.0).round() / 1000.0,
        verdict: look.verdict.to_string(),
        evidence: evidence(look.log_e_abort),
        abort_at: (1.0 / settings.alpha_abort).round(),
        promote_at: (1.0 / settings.alpha_promote).round(),
        questions: pairs
            .map(|(worse, not_worse)| QuestionStatus {
                question: worse.question.to_string(),
                worse: evidence(worse.log_e),
                not_worse: evidence(not_worse.best),
            })
            .collect(),
        metrics: settings
            .figures
            .iter()
            .zip(&look.figures)
            .map(|(bound, held)| MetricStatus {
                name: bound.name.clone(),
                seen: bound.tell(held),
                standing: format!("{:?}", held.standing),
            })
            .collect(),
        outlook: Vec::new(),
        record: None,
        checkpoint: None,
    }
}

/// Evidence with three digits; what is beyond all doubt needs no more.
fn evidence(log_e: f64) -> f64 {
    const DOUBTLESS: f64 = 1e9;
    let evidence = log_e.exp().min(DOUBTLESS);
    let digits = 10f64.powf(evidence.max(1e-9).log10().floor() - 2.0);
    let rounded = (evidence / digits).round() * digits;
    // Products of powers of ten are not exact: written as text they would show it.
    format!("{rounded:.6}").parse().unwrap_or(rounded)
}

fn figures(arm: &ArmTotals) -> ArmFigures {
    ArmFigures {
        requests: arm.requests.all,
        failures: arm.requests.bad,
        successes: arm.successes,
        latency_seconds_sum: arm.seconds,
        latency_ms_mean: arm.mean_seconds().map(|mean| (mean * 10_000.0).round() / 10.0),
    }
}

fn entry(past: &Past) -> HistoryEntry {
    HistoryEntry {
        version: past.version.name.clone(),
        digest: past.version.digest.clone(),
        revision: past.version.revision.to_string(),
        outcome: past.outcome.clone(),
        at: past.at,
    }
}

fn past_of(entry: &HistoryEntry) -> Past {
    Past {
        version: Version {
            name: entry.version.clone(),
            digest: entry.digest.clone(),
            revision: Revision::recorded(&entry.revision),
        },
        outcome: entry.outcome.clone(),
        at: entry.at,
    }
}

#[cfg(test)]
mod tests {
    use super::evidence;

    #[test]
    fn evidence_is_told_in_three_digits_and_never_beyond_all_doubt() {
        for (exact, told) in [
            (1.0, 1.0),
            (123_456.0, 123_000.0),
            (99.96, 100.0),
            (12.345, 12.3),
            (0.012_345, 0.0123),
            (0.000_012_345, 0.000_012),
            (1e12, 1e9),
            (0.0, 0.0),
        ] {
            assert_eq!(evidence(f64::ln(exact)), told, "{exact}");
        }
    }
}
