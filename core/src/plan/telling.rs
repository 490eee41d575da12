//! What a judgement says to people: reasons, figures, outcomes. The numbers shown are the numbers tested.

use jiff::SignedDuration;

use super::{Because, Outcome, Reason, Soak};
use crate::judge::{
    self, AbortReason, Condition, Consequence, InconclusiveReason, PromoteReason, Question, Settings,
    Standing, Verdict,
};

/// A soak that goes on.
pub(super) fn observing(soak: &Soak, open: String) -> Because {
    Because::Observing {
        observed: soak.observed,
        required: soak.required,
        open,
    }
}

/// Why a run goes on.
pub(super) fn waiting(
    look: &judge::Look,
    verdict: Verdict,
    soak: Option<Soak>,
    settings: &Settings,
) -> Because {
    match (verdict, soak) {
        (Verdict::Hold(Condition::MetricsUnavailable | Condition::MetricsStale), _) => {
            Because::MetricsUnavailable("the last blocks are missing".into())
        }
        (Verdict::Hold(Condition::NoCanaryTraffic), _) | (_, None) => Because::NoTraffic,
        (Verdict::Hold(Condition::FigureMissing), _) => {
            Because::MetricsUnavailable(figures(look, settings, Standing::Unknown))
        }
        (Verdict::Hold(condition), _) => Because::Unsure(condition, look.coverage),
        (_, Some(soak)) => observing(&soak, still_open(look, settings)),
    }
}

/// What a promotion by evidence still waits for.
fn still_open(look: &judge::Look, settings: &Settings) -> String {
    let outside = figures(look, settings, Standing::Outside);
    if !outside.is_empty() {
        return format!("not within its bound so far: {outside}");
    }
    if settings.method == judge::Method::WholeSoak {
        return String::new();
    }
    let needed = -settings.alpha_promote.ln();
    let open: Vec<String> = look
        .promote
        .iter()
        .filter(|part| part.best < needed)
        .map(|part| match time_left(part, needed, look, settings) {
            Some(left) => format!("{} (about {left} more at this traffic)", part.question),
            None => part.question.to_string(),
        })
        .collect();
    if !open.is_empty() {
        return format!("not shown yet: {}", open.join(", "));
    }
    if look.soak < settings.min_soak {
        let least = super::whole_seconds(settings.min_soak);
        return format!("nothing speaks against it, {least} are the least");
    }
    String::new()
}

/// The figures that stand so beside their bounds, in words.
fn figures(look: &judge::Look, settings: &Settings, standing: Standing) -> String {
    let pairs = settings.figures.iter().zip(&look.figures);
    let told = pairs.filter(|(_, held)| held.standing == standing);
    let told: Vec<String> = told.map(|(bound, held)| bound.tell(held)).collect();
    told.join("; ")
}

/// How long the evidence on a question still needs if it goes on growing as it did; none where it does not grow.
fn time_left(
    part: &judge::Support,
    needed: f64,
    look: &judge::Look,
    settings: &Settings,
) -> Option<crate::period::Period> {
    const BLOCKS_TO_TELL: u64 = 5;
    let evaluated = look.blocks.evaluated;
    let growth = part.log_e / evaluated.max(1) as f64;
    let left = (needed - part.log_e) / growth * settings.block.as_secs_f64();
    let known = evaluated >= BLOCKS_TO_TELL && growth > 0.0 && left < 30.0 * 86_400.0;
    let left = known.then(|| SignedDuration::try_from_secs_f64(left.max(1.0)).ok())??;
    Some(super::whole_seconds(left))
}

/// What keeps a person waiting.
pub(super) fn inconclusive(reason: InconclusiveReason) -> String {
    match reason {
        InconclusiveReason::InsufficientData => {
            "the deadline came before enough traffic and data: abort it, or change spec to try again".into()
        }
        InconclusiveReason::MetricsUnavailable => "the metrics stayed away".into(),
        InconclusiveReason::TrafficSplitOff => {
            "the canary got another share of the requests than it was given, so it is no fair sample: a person decides"
                .into()
        }
        InconclusiveReason::WitnessesDisagree => {
            "gateway and pods counted different numbers of answers: a person decides".into()
        }
        InconclusiveReason::FigureMissing => {
            "a query of spec.analysis.metrics had no value too often: mend it, or decide yourself".into()
        }
        InconclusiveReason::MarginNotShown => {
            "at the end of the soak the canary looks worse than its margins allow, without proof: a person decides"
                .into()
        }
    }
}

/// What both arms did, in the units of the people who read it. The numbers shown are the numbers tested.
pub fn describe(look: &judge::Look) -> String {
    let share = |arm: &judge::ArmTotals| {
        let share = arm.requests.share().unwrap_or(0.0) * 100.0;
        format!("{share:.2} % ({}/{})", arm.requests.bad, arm.requests.all)
    };
    let (canary, stable) = (&look.totals.canary, &look.totals.stable);
    format!(
        "errors {} against {} of stable, mean latency {} against {}",
        share(canary),
        share(stable),
        mean_of(canary),
        mean_of(stable)
    )
}

fn mean_of(arm: &judge::ArmTotals) -> String {
    let mean = arm.mean_seconds();
    mean.map_or_else(|| "none".to_owned(), |mean| format!("{:.1} ms", mean * 1000.0))
}

/// Evidence as people read it.
pub fn evidence(log_e: f64) -> String {
    let evidence = log_e.exp();
    match evidence {
        _ if evidence >= 1e6 => format!("10^{:.0}", log_e / std::f64::consts::LN_10),
        _ if evidence >= 10.0 => format!("{evidence:.0}"),
        _ => format!("{evidence:.2}"),
    }
}

/// How the trial ends.
pub(super) fn outcome(look: &judge::Look, verdict: Verdict, settings: &Settings) -> Outcome {
    let limit_ms = settings.latency.limit_seconds * 1000.0;
    let (seen, mean) = (describe(look), mean_of(&look.totals.canary));
    let soak = super::whole_seconds(look.soak);
    let message = match verdict {
        Verdict::Abort(AbortReason::Evidence(question)) => format!(
            "{seen}; evidence {} (needs {:.0}) after {soak}, mainly of {}",
            evidence(look.log_e_abort),
            1.0 / settings.alpha_abort,
            question.subject()
        ),
        Verdict::Abort(AbortReason::AllRequestsFail) => format!("every request fails: {seen}"),
        Verdict::Abort(AbortReason::ClassicLimit) => {
            format!("mean latency {mean} over {soak} is not below {limit_ms} ms; {seen}")
        }
        Verdict::Abort(AbortReason::ClassicErrors) => format!(
            "errors are not within {} percentage points of stable's: {seen}",
            settings.errors.margin * 100.0
        ),
        Verdict::Abort(AbortReason::FigureOutside) => {
            let outside = figures(look, settings, Standing::Outside);
            format!("{outside}; mean over {soak}; {seen}")
        }
        Verdict::Promote(PromoteReason::Evidence) => {
            format!("shown to be not worse within its margins after {soak}: {seen}")
        }
        Verdict::Promote(PromoteReason::ClassicPass) => {
            format!("mean latency {mean} over {soak} is below {limit_ms} ms; {seen}")
        }
        Verdict::Inconclusive(reason, _) => format!("{}; {seen}", inconclusive(reason)),
        Verdict::Abort(AbortReason::CanaryNotReady) | Verdict::Collecting | Verdict::Hold(_) => seen,
    };
    Outcome::new(reason(verdict), message)
}

fn reason(verdict: Verdict) -> Reason {
    match verdict {
        Verdict::Abort(
            AbortReason::Evidence(Question::Errors)
            | AbortReason::AllRequestsFail
            | AbortReason::ClassicErrors,
        ) => Reason::TooManyErrors,
        Verdict::Abort(
            AbortReason::Evidence(Question::Latency | Question::Mean | Question::Distribution)
            | AbortReason::ClassicLimit,
        ) => Reason::TooSlow,
        Verdict::Abort(AbortReason::Evidence(Question::Quality)) => Reason::WorseQuality,
        Verdict::Abort(AbortReason::FigureOutside) => Reason::MetricOutside,
        Verdict::Abort(AbortReason::CanaryNotReady) => Reason::NotReady,
        Verdict::Inconclusive(_, Consequence::RollBack) => Reason::Inconclusive,
        Verdict::Promote(_) | Verdict::Inconclusive(..) | Verdict::Collecting | Verdict::Hold(_) => {
            Reason::Promoted
        }
    }
}
