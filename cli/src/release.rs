//! One release, as a person wants to read it.

use std::fmt::Write as _;

use console::{Style, style};
use jiff::tz::TimeZone;
use kube::ResourceExt as _;
use serin_core::crd::{
    Arm, ArmFigures, CanaryStatus, Condition, HistoryEntry, ModelRelease, ModelReleaseStatus,
};
use serin_core::plan::{Phase, Reason};

/// The release with its arms, what they showed, what is not as it should be, and how earlier trials ended.
pub(crate) fn describe(release: &ModelRelease) -> String {
    let status = release.status.clone().unwrap_or_default();
    let mut text = format!(
        "{}/{}   {}\n",
        release.namespace().unwrap_or_default(),
        style(release.name_any()).bold(),
        painted(status.phase)
    );
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a String does not fail.
            let _ = writeln!(text, "  {name:<10} {value}");
        }
    };
    line("reason", &status.display.reason);
    if release.metadata.generation != status.observed_generation {
        line(
            "",
            "the operator has not answered the last change of the spec yet",
        );
    }
    line("stable", &status.stable.as_ref().map(arm).unwrap_or_default());
    line("canary", &status.canary.as_ref().map(canary).unwrap_or_default());
    line("route", status.route.as_deref().unwrap_or_default());
    line("soak", &soak(&status));
    if let Some(analysis) = &status.analysis {
        line("seen", &format!("canary {}", figures(&analysis.canary)));
        line("", &format!("stable {}", figures(&analysis.stable)));
    }
    for condition in status.conditions.iter().filter(|condition| is_notable(condition)) {
        line(&condition.type_.to_lowercase(), &condition.message);
    }
    for (nth, past) in status.history.iter().enumerate() {
        line(if nth == 0 { "history" } else { "" }, &ended(past));
    }
    text
}

/// What the columns do not say already.
fn is_notable(condition: &Condition) -> bool {
    matches!(condition.type_.as_str(), "Stalled" | "Paused") && condition.status == "True"
}

fn arm(arm: &Arm) -> String {
    let pods = match arm.ready_replicas {
        1 => "1 pod ready".to_owned(),
        count => format!("{count} pods ready"),
    };
    format!(
        "{}   revision {}   {pods}   {}",
        arm.version, arm.revision, arm.digest
    )
}

fn canary(canary: &CanaryStatus) -> String {
    let seen = canary.observed_weight.map_or_else(
        || "not seen to be carried yet".to_owned(),
        |weight| format!("{weight} % seen"),
    );
    format!(
        "{}   step {}: {} % of the traffic, {seen}",
        arm(&canary.arm),
        canary.step.saturating_add(1),
        canary.weight
    )
}

/// A bar of twenty cells beside the clock.
fn soak(status: &ModelReleaseStatus) -> String {
    const CELLS: i128 = 20;
    let (Some(soak), Some(_)) = (&status.soak, &status.canary) else {
        return String::new();
    };
    let (observed, required) = (
        soak.observed.get().as_millis(),
        soak.required.get().as_millis().max(1),
    );
    let full = usize::try_from((observed * CELLS / required).clamp(0, CELLS)).unwrap_or_default();
    let bar: String = (0..20).map(|cell| if cell < full { '█' } else { '░' }).collect();
    format!("{bar} {} of {} observed", soak.observed, soak.required)
}

fn figures(figures: &ArmFigures) -> String {
    let share = if figures.requests == 0 {
        0.0
    } else {
        100.0 * figures.failures as f64 / figures.requests as f64
    };
    let mean = figures.latency_ms_mean.map_or_else(
        || "no latency yet".to_owned(),
        |mean| format!("mean {mean:.1} ms"),
    );
    format!("{} requests, {share:.2} % failed, {mean}", figures.requests)
}

fn ended(past: &HistoryEntry) -> String {
    let at = past.at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%SZ");
    let how = if past.outcome.reason == Reason::Promoted {
        Style::new().green()
    } else {
        Style::new().red()
    };
    let reason = how.apply_to(past.outcome.reason.as_str());
    format!("{at}   {}   {reason}: {}", past.version, past.outcome.message)
}

/// The phase in the colour of its urgency; plain where nobody looks.
pub(crate) fn painted(phase: Phase) -> String {
    let style = match phase {
        Phase::Promoted => Style::new().green(),
        Phase::Waiting
        | Phase::Preparing
        | Phase::Shifting
        | Phase::Soaking
        | Phase::Judging
        | Phase::Promoting => Style::new().cyan(),
        Phase::Held => Style::new().yellow(),
        Phase::RollingBack | Phase::RolledBack => Style::new().red(),
    };
    style.apply_to(format!("{phase:?}")).to_string()
}

/// A dash for what is absent or empty.
pub(crate) fn or_dash(text: Option<&str>) -> String {
    match text {
        None | Some("") => "–".into(),
        Some(text) => text.to_owned(),
    }
}
