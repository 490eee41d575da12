//! The picture of the explanation: evidence against healthy and bad canaries, minute by minute.

use std::fmt::Write as _;

use anyhow::Result;
use serin_core::judge::{Block, Health, Late, Layout, Run, Settings};

use crate::judge::{WARM_START, settings};
use crate::traffic::{PURE_ERRORS, Scenario, Soak};

/// Canaries of each kind.
const CANARIES: u32 = 20;
/// Minutes shown.
const MINUTES: u32 = 120;
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 50.0;
/// Decades of evidence shown, down and up.
const DECADES: (f64, f64) = (-3.0, 5.0);

/// Paths of ln E for an abort, as an SVG.
pub(crate) fn evidence(layout: &Layout, seed: u64) -> Result<String> {
    let x = |minute: f64| LEFT + (WIDTH - LEFT - 20.0) * minute / f64::from(MINUTES);
    let y = |decade: f64| {
        let share = (decade.clamp(DECADES.0, DECADES.1) - DECADES.0) / (DECADES.1 - DECADES.0);
        HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 30.0) * share
    };
    let mut svg = String::new();
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">
<title>Evidence against a canary, minute by minute</title>
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#
    )?;
    for (decade, label) in [(-2.0, "1/100"), (0.0, "1"), (2.0, "100"), (4.0, "10 000")] {
        writeln!(
            svg,
            r##"<line x1="{LEFT}" x2="{:.1}" y1="{2:.1}" y2="{2:.1}" stroke="#ddd"/><text x="{:.1}" y="{3:.1}" text-anchor="end">{label}</text>"##,
            x(f64::from(MINUTES)),
            LEFT - 8.0,
            y(decade),
            y(decade) + 4.0
        )?;
    }
    for minute in (0..=MINUTES).step_by(30) {
        let at = x(f64::from(minute));
        writeln!(
            svg,
            r#"<text x="{at:.1}" y="{:.1}" text-anchor="middle">{minute}</text>"#,
            HEIGHT - BOTTOM + 18.0
        )?;
    }
    let kinds = [
        ("#2a7", PURE_ERRORS),
        (
            "#c33",
            Scenario {
                errors_times: 5.0,
                ..PURE_ERRORS
            },
        ),
    ];
    for (colour, scenario) in kinds {
        for canary in 0..CANARIES {
            let points: Vec<String> = path(scenario, layout, seed ^ 4, canary)?
                .iter()
                .enumerate()
                .map(|(minute, log_e)| {
                    format!(
                        "{:.1},{:.1}",
                        x(minute as f64),
                        y(log_e / std::f64::consts::LN_10)
                    )
                })
                .collect();
            writeln!(
                svg,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-opacity="0.55" stroke-width="1.3"/>"#,
                points.join(" ")
            )?;
        }
    }
    let line = y(2.0);
    writeln!(
        svg,
        r#"<line x1="{LEFT}" x2="{:.1}" y1="{line:.1}" y2="{line:.1}" stroke="black" stroke-dasharray="6 4"/>
<text x="{:.1}" y="{:.1}" text-anchor="end">withdrawn at 100: at most 1 % of healthy canaries, ever</text>
<text x="{:.1}" y="{:.1}" fill="\#c33">errors 1 → 5 %</text>
<text x="{:.1}" y="{:.1}" text-anchor="end" fill="\#2a7">{CANARIES} healthy canaries</text>
<text x="{:.1}" y="{:.1}" text-anchor="middle">minutes since the canary got its traffic</text>
<text x="18" y="{:.1}" text-anchor="middle" transform="rotate(-90 18 {:.1})">evidence E</text>
</svg>"#,
        x(f64::from(MINUTES)),
        x(f64::from(MINUTES)),
        line - 7.0,
        x(12.0),
        y(4.4),
        x(f64::from(MINUTES)),
        y(0.4),
        f64::midpoint(LEFT, WIDTH),
        HEIGHT - 12.0,
        HEIGHT / 2.0,
        HEIGHT / 2.0
    )?;
    Ok(svg.replace("\\#", "#"))
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
        let look = run.look(&block, &Late::default(), Health::Fine);
        logs.push(look.log_e_abort);
        if look.verdict.is_final() {
            break;
        }
    }
    Ok(logs)
}
