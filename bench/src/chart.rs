//! The picture of the explanation: evidence against healthy and bad canaries, minute by minute.

use anyhow::Result;
use kubectl_serin::chart::{Chart, Curve};
use serin_core::judge::{Beside, Block, Health, Late, Layout, Run, Settings};

use crate::judge::{WARM_START, settings};
use crate::traffic::{PURE_ERRORS, Scenario, Soak};

/// Canaries of each kind.
const CANARIES: u32 = 20;
/// Minutes shown.
const MINUTES: u32 = 120;

/// Paths of ln E for an abort, as an SVG.
pub(crate) fn evidence(layout: &Layout, seed: u64) -> Result<String> {
    let failing = Scenario {
        errors_times: 5.0,
        ..PURE_ERRORS
    };
    let mut curves = Vec::new();
    for (colour, scenario) in [("#2a7", PURE_ERRORS), ("#c33", failing)] {
        for canary in 0..CANARIES {
            let logs = path(scenario, layout, seed ^ 4, canary)?;
            let decades = logs.iter().map(|log_e| log_e / std::f64::consts::LN_10);
            let points = decades
                .enumerate()
                .map(|(minute, decade)| (minute as f64, decade));
            curves.push(Curve {
                points: points.collect(),
                colour,
            });
        }
    }
    let chart = Chart {
        title: "Evidence against a canary, minute by minute".into(),
        across: "minutes since the canary got its traffic".into(),
        until: f64::from(MINUTES),
        curves,
        threshold: (
            2.0,
            "withdrawn at 100: at most 1 % of healthy canaries, ever".into(),
        ),
        words: vec![
            (12.0, 4.4, "#c33", "errors 1 → 5 %".into()),
            (90.0, 0.4, "#2a7", format!("{CANARIES} healthy canaries")),
        ],
    };
    Ok(chart.svg())
}

/// Log evidence after each minute, until the canary is withdrawn.
fn path(scenario: Scenario, layout: &Layout, seed: u64, number: u32) -> Result<Vec<f64>> {
    let mut run = Run::new(Settings {
        min_soak: jiff::SignedDuration::from_hours(12),
        ..settings(scenario.cap)
    })?;
    let mut soak = Soak::new(scenario, layout.clone(), seed, number);
    for _ in 0..WARM_START {
        run.expect(&soak.next().1.arm);
    }
    let mut logs = vec![0.0];
    for _ in 0..MINUTES {
        let (canary, stable) = soak.next();
        let block = Block::Seen {
            canary: canary.arm,
            stable: stable.arm,
        };
        let look = run.look(&block, &Late::default(), &Beside::default(), Health::Fine);
        logs.push(look.log_e_abort);
        if look.verdict.is_final() {
            break;
        }
    }
    Ok(logs)
}
