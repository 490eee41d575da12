//! A decision, told as a person would tell it.

use std::fmt::Write as _;

use console::style;
use serin_core::counters::Witness;
use serin_core::judge::{Look, Settings, Support, Verdict};
use serin_core::period::Period;
use serin_core::plan::{describe, evidence};
use serin_core::record::{Looked, Record};

use crate::chart::{Chart, Curve};

/// What was compared, what was seen, what it proves, and how sure that is.
pub(crate) fn explain(record: &Record) -> String {
    let began = &record.began;
    let mut text = format!(
        "{} (revision {}) beside {}, since {}\n",
        style(&began.canary).bold(),
        began.revision,
        or_nothing(&began.stable),
        began.at
    );
    let Some(last) = record.looked.last() else {
        text.push_str("  no block has been looked at yet\n");
        return text;
    };
    let look = &last.look;
    let mut line = |name: &str, value: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    line("verdict", &painted(look, &began.settings));
    line("seen", &describe(look));
    line("data", &data(record, look));
    for (nth, (worse, not_worse)) in look.abort.iter().zip(&look.promote).enumerate() {
        line(
            if nth == 0 { "evidence" } else { "" },
            &question(worse, not_worse, &began.settings),
        );
    }
    for (bound, held) in began.settings.figures.iter().zip(&look.figures) {
        line("figure", &bound.tell(held));
    }
    line("how sure", &how_sure(look.verdict, &began.settings));
    let _ = writeln!(text, "\n  evidence that it is worse, against time");
    text.push_str(&chart(record).text());
    text
}

/// The evidence against the canary over the soak.
pub(crate) fn chart(record: &Record) -> Chart {
    let seconds = |looked: &Looked| looked.end.duration_since(record.began.at).as_secs_f64();
    let last = record.looked.last().map_or(1.0, seconds);
    // Short soaks are those of demonstrations.
    let (unit, across) = if last < 300.0 {
        (1.0, "seconds")
    } else {
        (60.0, "minutes")
    };
    let looks = record.looked.iter().map(|looked| {
        (
            seconds(looked) / unit,
            looked.look.log_e_abort / std::f64::consts::LN_10,
        )
    });
    let points: Vec<(f64, f64)> = std::iter::once((0.0, 0.0)).chain(looks).collect();
    let settings = &record.began.settings;
    Chart {
        title: format!("Evidence that {} is worse", record.began.canary),
        across: across.into(),
        until: last / unit,
        threshold: (
            -settings.alpha_abort.log10(),
            format!(
                "withdrawn at {:.0}: at most {} % of healthy canaries, ever",
                1.0 / settings.alpha_abort,
                settings.alpha_abort * 100.0
            ),
        ),
        curves: vec![Curve {
            points,
            colour: "#c33",
        }],
        words: Vec::new(),
    }
}

fn or_nothing(stable: &str) -> &str {
    if stable.is_empty() { "nothing" } else { stable }
}

fn painted(look: &Look, settings: &Settings) -> String {
    let words = format!(
        "{} after {} looks of {} ({} observed)",
        look.verdict,
        look.block,
        whole(settings.block),
        whole(look.soak)
    );
    match look.verdict {
        Verdict::Promote(_) => style(words).green(),
        Verdict::Abort(_) => style(words).red(),
        Verdict::Hold(_) | Verdict::Inconclusive(..) => style(words).yellow(),
        Verdict::Collecting => style(words).cyan(),
    }
    .to_string()
}

fn whole(duration: jiff::SignedDuration) -> Period {
    Period::clamped(jiff::SignedDuration::from_secs(duration.as_secs()))
}

fn data(record: &Record, look: &Look) -> String {
    let blocks = &look.blocks;
    let mut text = format!(
        "{:.0} % coverage: {} blocks with requests, {} without, {} missing, {} of warm-up",
        look.coverage * 100.0,
        blocks.evaluated,
        blocks.idle,
        blocks.gap,
        blocks.warmup
    );
    let is_by_gateway = |looked: &&Looked| looked.witness == Witness::Gateway;
    let by_gateway = record.looked.iter().filter(is_by_gateway).count();
    if by_gateway > 0 {
        let all = record.looked.len();
        let _ = write!(text, "; requests counted by the gateway in {by_gateway} of {all}");
    }
    let why = record
        .looked
        .iter()
        .rev()
        .find_map(|looked| looked.missing.as_ref());
    if let Some(why) = why {
        let _ = write!(text, " (last: {why})");
    }
    text
}

fn question(worse: &Support, not_worse: &Support, settings: &Settings) -> String {
    let claims = match worse.question {
        serin_core::judge::Question::Errors => {
            format!("more than {} times stable's errors", settings.errors.ratio)
        }
        serin_core::judge::Question::Latency => format!(
            "mean more than {:.0} % above stable's",
            (settings.latency.ratio - 1.0) * 100.0
        ),
        serin_core::judge::Question::Mean => {
            format!("mean above {:.0} ms", settings.latency.limit_seconds * 1000.0)
        }
        serin_core::judge::Question::Distribution => "more slow requests".into(),
        serin_core::judge::Question::Quality => "worse answers".into(),
    };
    let shown = if not_worse.best >= -settings.alpha_promote.ln() {
        style("shown").green()
    } else {
        style("not shown").yellow()
    };
    format!(
        "{:<12} {claims}: {}; that it is within its margin: {} of {:.0}, {shown}",
        worse.question.to_string(),
        evidence(worse.log_e),
        evidence(not_worse.best),
        1.0 / settings.alpha_promote
    )
}

fn how_sure(verdict: Verdict, settings: &Settings) -> String {
    use serin_core::judge::{AbortReason, PromoteReason};
    match verdict {
        Verdict::Abort(AbortReason::Evidence(_)) => format!(
            "at most {} % of healthy canaries are withdrawn by this rule, however often it looks",
            settings.alpha_abort * 100.0
        ),
        Verdict::Promote(PromoteReason::Evidence) => format!(
            "at most {} % of canaries beyond a margin are promoted by this rule; a request takes at most {} s",
            settings.alpha_promote * 100.0,
            settings.cap_seconds
        ),
        Verdict::Abort(
            AbortReason::ClassicLimit | AbortReason::ClassicErrors | AbortReason::FigureOutside,
        )
        | Verdict::Promote(PromoteReason::ClassicPass) => {
            "a threshold on an average: it has no error probability".into()
        }
        Verdict::Abort(AbortReason::AllRequestsFail) => {
            "every request of the last blocks failed while stable's did not".into()
        }
        Verdict::Abort(AbortReason::CanaryNotReady) => "its pods were not ready".into(),
        Verdict::Collecting | Verdict::Hold(_) | Verdict::Inconclusive(..) => "nothing is decided".into(),
    }
}
