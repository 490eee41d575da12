//! How often a healthy canary is withdrawn, and how soon a bad one: serin beside its rivals, on equal minutes.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use serin_core::judge::{Block, Distribution, Health, Late, Layout, Run, Settings};

use crate::chart;
use crate::machine::Machine;
use crate::rivals::{Decision, MannWhitney, Method, RepeatedZ, Serin, Thresholds};
use crate::traffic::{HEALTHY, PURE_ERRORS, Scenario, Soak};

/// Looks of a soak of 12 hours.
const LOOKS: u32 = 720;
/// The scenario in which serin is asked to judge the distribution too.
const TAIL: &str = "tail only: 5 % of requests + 1 s (serin: distribution judged)";
/// Minutes of stable from before the release, as an operator knows them.
pub(crate) const WARM_START: u32 = 60;
/// z of a one-sided test at 1 % over two questions: half a percent each.
const Z_NOMINAL: f64 = 2.575_829_303_548_901;

/// One method's answer to one soak: decision and minute.
type Answer = Option<(Decision, u32, u64)>;

/// A method by name, fresh for each soak.
#[derive(Clone)]
struct Contender {
    name: String,
    make: Arc<dyn Fn() -> Result<Box<dyn Method>> + Send + Sync>,
}

pub(crate) fn settings(cap: f64) -> Settings {
    Settings {
        cap_seconds: cap,
        ..Settings::default()
    }
}

fn contender<M: Method + 'static>(
    name: impl Into<String>,
    make: impl Fn() -> Result<M> + Send + Sync + 'static,
) -> Contender {
    Contender {
        name: name.into(),
        make: Arc::new(move || Ok(Box::new(make()?))),
    }
}

/// Plays `runs` soaks of a scenario to each contender; answers by contender, then by soak.
fn play(
    scenario: Scenario,
    layout: &Layout,
    contenders: &[Contender],
    seed: u64,
    runs: u32,
) -> Result<Vec<Vec<Answer>>> {
    let threads = u32::try_from(std::thread::available_parallelism().map_or(1, usize::from))?;
    let parts: Vec<Result<Vec<(u32, Vec<Answer>)>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                scope.spawn(move || {
                    (first..runs)
                        .step_by(threads as usize)
                        .map(|run| Ok((run, soak(scenario, layout, contenders, seed, run)?)))
                        .collect()
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| anyhow::bail!("a simulation panicked"))
            })
            .collect()
    });
    let mut soaks: Vec<(u32, Vec<Answer>)> = Vec::new();
    for part in parts {
        soaks.extend(part?);
    }
    soaks.sort_by_key(|(run, _)| *run);
    let of = |index: usize| {
        soaks
            .iter()
            .map(|(_, answers)| answers.get(index).copied().flatten())
            .collect()
    };
    Ok((0..contenders.len()).map(of).collect())
}

fn soak(
    scenario: Scenario,
    layout: &Layout,
    contenders: &[Contender],
    seed: u64,
    run: u32,
) -> Result<Vec<Answer>> {
    let mut soak = Soak::new(scenario, layout.clone(), seed, run);
    let mut methods: Vec<Box<dyn Method>> =
        contenders.iter().map(|one| (one.make)()).collect::<Result<_>>()?;
    for _ in 0..WARM_START {
        let (_, stable) = soak.next();
        methods.iter_mut().for_each(|method| method.expect(&stable));
    }
    let mut answers: Vec<Answer> = vec![None; methods.len()];
    let mut requests = 0;
    for minute in 1..=LOOKS {
        let (canary, stable) = soak.next();
        requests += canary.arm.requests.all;
        for (method, answer) in methods.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                *answer = method
                    .look(&canary, &stable)
                    .map(|decision| (decision, minute, requests));
            }
        }
        if answers.iter().all(Option::is_some) {
            break;
        }
    }
    Ok(answers)
}

fn serin(settings: Settings) -> Contender {
    contender("serin", move || Serin::new(settings.clone()))
}

/// Share with its 95 % interval (Wilson).
fn share(hits: usize, runs: usize) -> (f64, f64, f64) {
    let (k, n, z) = (hits as f64, runs as f64, 1.96);
    let centre = (k + z * z / 2.0) / (n + z * z);
    let half = z / (n + z * z) * (k * (n - k) / n + z * z / 4.0).sqrt();
    (k / n, (centre - half).max(0.0), centre + half)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index below the length"
)]
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((q * last as f64).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// The answers with one of these decisions: how many, and medians and 95 % quantiles of minutes and requests.
fn summary(answers: &[Answer], decisions: &[Decision]) -> Value {
    let hits: Vec<(u32, u64)> = answers
        .iter()
        .flatten()
        .filter(|(decision, ..)| decisions.contains(decision))
        .map(|(_, minute, requests)| (*minute, *requests))
        .collect();
    let mut minutes: Vec<f64> = hits.iter().map(|hit| f64::from(hit.0)).collect();
    let mut requests: Vec<f64> = hits.iter().map(|hit| hit.1 as f64).collect();
    minutes.sort_by(f64::total_cmp);
    requests.sort_by(f64::total_cmp);
    let (at, low, high) = share(hits.len(), answers.len());
    let of = |sorted: &[f64]| json!({"median": quantile(sorted, 0.5), "p95": quantile(sorted, 0.95)});
    json!({
        "runs": answers.len(), "count": hits.len(), "share": at, "interval": [low, high],
        "minutes": of(&minutes), "requests": of(&requests),
    })
}

fn percent(summary: &Value) -> String {
    let of = |value: &Value| value.as_f64().unwrap_or(f64::NAN) * 100.0;
    format!(
        "{:.1} % ({:.1}–{:.1})",
        of(&summary["share"]),
        of(&summary["interval"][0]),
        of(&summary["interval"][1])
    )
}

fn when(summary: &Value) -> String {
    if summary["count"] == 0 {
        return "never".into();
    }
    let of = |name: &str, q: &str| summary[name][q].as_f64().unwrap_or(f64::NAN);
    let share = summary["share"].as_f64().unwrap_or(0.0) * 100.0;
    let times = format!(
        "{:.0} / {:.0} min, {:.0} / {:.0} req",
        of("minutes", "median"),
        of("minutes", "p95"),
        of("requests", "median"),
        of("requests", "p95")
    );
    if share > 99.9 {
        times
    } else {
        format!("{share:.0} %: {times}")
    }
}

/// Limits at which each rival withdraws 1 % of healthy canaries over the whole soak, found on other soaks.
struct Calibrated {
    z: f64,
    error_share: f64,
    mean_seconds: f64,
}

fn calibrate(layout: &Layout, seed: u64, runs: u32) -> Calibrated {
    let mut largest: Vec<(f64, f64, f64)> = Vec::new();
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|first| {
            scope.spawn(move || {
                (first..runs)
                    .step_by(2)
                    .map(|run| {
                        let mut soak = Soak::new(HEALTHY, layout.clone(), seed ^ 2, run);
                        let mut z = RepeatedZ::new(f64::INFINITY);
                        let mut limits = Thresholds::new(1.0, f64::INFINITY, 0);
                        for _ in 0..WARM_START {
                            let _ = soak.next();
                        }
                        for _ in 0..LOOKS {
                            let (canary, stable) = soak.next();
                            let _ = z.look(&canary, &stable);
                            let _ = limits.look(&canary, &stable);
                        }
                        (z.largest, limits.largest.0, limits.largest.1)
                    })
                    .collect::<Vec<_>>()
            })
        });
        for half in halves {
            largest.extend(half.join().unwrap_or_default());
        }
    });
    let quantile_of = |of: fn(&(f64, f64, f64)) -> f64, q: f64| {
        let mut sorted: Vec<f64> = largest.iter().map(of).collect();
        sorted.sort_by(f64::total_cmp);
        quantile(&sorted, q)
    };
    Calibrated {
        z: quantile_of(|run| run.0, 0.99),
        error_share: quantile_of(|run| run.1, 0.995),
        mean_seconds: quantile_of(|run| run.2, 0.995),
    }
}

/// CPU time of one look, in microseconds: the median of many soaks' means.
fn cost(layout: &Layout, seed: u64) -> Result<f64> {
    let mut soak = Soak::new(HEALTHY, layout.clone(), seed ^ 3, 0);
    let blocks: Vec<Block> = (0..LOOKS)
        .map(|_| soak.next())
        .map(|(canary, stable)| Block::Seen {
            canary: canary.arm,
            stable: stable.arm,
        })
        .collect();
    let mut each: Vec<f64> = Vec::new();
    for _ in 0..50 {
        let mut run = Run::new(Settings {
            min_soak: jiff::SignedDuration::from_hours(12),
            ..settings(HEALTHY.cap)
        })?;
        let began = Instant::now();
        for block in &blocks {
            std::hint::black_box(run.look(block, &Late::default(), Health::Fine));
        }
        each.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(LOOKS));
    }
    each.sort_by(f64::total_cmp);
    Ok(quantile(&each, 0.5))
}

/// Runs everything, writes `judge.md` and `judge.json` into `out`.
pub(crate) fn run(out: &Path, runs: u32, seed: u64) -> Result<()> {
    let began = Instant::now();
    let machine = Machine::here();
    let layout = Settings::default().layout;
    let some = (runs / 3).max(1);
    let say = |what: &str, took: Duration| eprintln!("{:>6.1} s  {what}", took.as_secs_f64());

    let calibrated = calibrate(&layout, seed, runs);
    say("rivals calibrated on other healthy soaks", began.elapsed());

    // Evidence for an abort alone, over all 720 looks: nothing is promoted before.
    let patient = Settings {
        min_soak: jiff::SignedDuration::from_hours(12),
        ..settings(HEALTHY.cap)
    };
    let contenders = vec![
        serin(patient),
        contender("z-test every minute, 1 %", || Ok(RepeatedZ::new(Z_NOMINAL))),
        contender("Mann-Whitney every hour (Kayenta's manner)", || {
            Ok(MannWhitney::default())
        }),
        contender(
            "last minute: errors ≤ 5 %, mean < 500 ms, no failure allowed (Argo Rollouts' manner)",
            || Ok(Thresholds::new(0.05, 0.5, 0)),
        ),
        contender(
            "last minute: errors ≤ 1 %, mean < 500 ms, 5th failure (Flagger's manner)",
            || Ok(Thresholds::new(0.01, 0.5, 4)),
        ),
        {
            let z = calibrated.z;
            contender(format!("z-test, calibrated: z ≥ {z:.2}"), move || {
                Ok(RepeatedZ::new(z))
            })
        },
        {
            let (errors, mean) = (calibrated.error_share, calibrated.mean_seconds);
            contender(
                format!(
                    "last minute, calibrated: errors ≤ {:.1} %, mean < {:.0} ms",
                    errors * 100.0,
                    mean * 1000.0
                ),
                move || Ok(Thresholds::new(errors, mean + 1e-12, 0)),
            )
        },
    ];

    let healthy = play(HEALTHY, &layout, &contenders, seed, runs)?;
    say("healthy canaries, 12 h", began.elapsed());
    let false_aborts: Vec<Value> = healthy
        .iter()
        .map(|answers| summary(answers, &[Decision::Withdraw]))
        .collect();

    let bad = [
        (
            "errors 1 → 2 %",
            Scenario {
                errors_times: 2.0,
                ..PURE_ERRORS
            },
        ),
        (
            "errors 1 → 5 %",
            Scenario {
                errors_times: 5.0,
                ..PURE_ERRORS
            },
        ),
        (
            "errors 1 → 5 %, steady traffic",
            Scenario {
                errors_times: 5.0,
                day: 0.0,
                ..PURE_ERRORS
            },
        ),
        (
            "errors × 5, time limit 0.8 s",
            Scenario {
                errors_times: 5.0,
                ..HEALTHY
            },
        ),
        (
            "every request fails",
            Scenario {
                errors_plus: 1.0,
                ..HEALTHY
            },
        ),
        (
            "mean + 10 %",
            Scenario {
                slower: 1.1,
                ..HEALTHY
            },
        ),
        (
            "mean × 1.2",
            Scenario {
                slower: 1.2,
                ..HEALTHY
            },
        ),
        (
            "mean × 1.5",
            Scenario {
                slower: 1.5,
                ..HEALTHY
            },
        ),
        (
            "mean × 2",
            Scenario {
                slower: 2.0,
                ..HEALTHY
            },
        ),
        (
            "mean 400 ms past 500 ms",
            Scenario {
                mean: 0.4,
                slower: 1.4,
                cap: 30.0,
                ..HEALTHY
            },
        ),
        (
            TAIL,
            Scenario {
                tail: (0.05, 1.0),
                ..PURE_ERRORS
            },
        ),
    ];
    let mut withdrawals: Vec<(&str, Vec<Value>)> = Vec::new();
    for (name, scenario) in bad {
        // Each service is judged with its own time limit.
        let distribution = (name == TAIL).then(|| Distribution {
            edges: vec![0.1, 0.25, 0.5, 0.8, 1.0, 2.5],
            tolerance: 0.02,
            objective_seconds: 0.5,
            margin: 0.05,
        });
        let own = Settings {
            distribution,
            min_soak: jiff::SignedDuration::from_hours(12),
            ..settings(scenario.cap)
        };
        let mut all = vec![serin(own)];
        all.extend(contenders.iter().skip(1).cloned());
        let answers = play(scenario, &layout, &all, seed, some)?;
        withdrawals.push((
            name,
            answers
                .iter()
                .map(|answers| summary(answers, &[Decision::Withdraw]))
                .collect(),
        ));
        say(name, began.elapsed());
    }

    let promoted = [
        ("healthy, time limit 0.8 s", HEALTHY),
        (
            "healthy, time limit 0.8 s, steady traffic",
            Scenario { day: 0.0, ..HEALTHY },
        ),
        (
            "healthy, time limit 30 s, steady traffic",
            Scenario {
                cap: 30.0,
                day: 0.0,
                ..HEALTHY
            },
        ),
        ("healthy, time limit 30 s", Scenario { cap: 30.0, ..HEALTHY }),
        (
            "errors at the edge: + 1 percentage point",
            Scenario {
                errors_plus: 0.01,
                ..HEALTHY
            },
        ),
        (
            "mean at the edge: × 1.1",
            Scenario {
                slower: 1.1,
                cap: 30.0,
                ..HEALTHY
            },
        ),
    ];
    let mut promotions: Vec<(&str, Value, Value, Value, Value)> = Vec::new();
    for (name, scenario) in promoted {
        let all = [serin(settings(scenario.cap))];
        let answers = play(scenario, &layout, &all, seed, some)?;
        let of = |decisions: &[Decision]| {
            answers
                .first()
                .map_or(Value::Null, |answers| summary(answers, decisions))
        };
        promotions.push((
            name,
            of(&[Decision::Promote]),
            of(&[Decision::PromoteAtEnd]),
            of(&[Decision::Withdraw]),
            of(&[Decision::Undecided]),
        ));
        say(name, began.elapsed());
    }
    let micros = cost(&layout, seed)?;

    let names: Vec<&str> = contenders.iter().map(|one| one.name.as_str()).collect();
    let mut text = String::new();
    writeln!(
        text,
        "# Judgement\n\nGenerated by `cargo xtask bench judge`. {} Seed {seed}.\n",
        machine.line()
    )?;
    writeln!(
        text,
        "Simulated: {} requests/s ± 40 % over the day, {:.0} % of them to the canary, errors {:.1} % ± 80 % and those of the time limit, log-normal \
         latencies of mean {:.0} ms under a drifting load (standard deviation {}), time limit {} s, a look every minute, stable known for an hour. Where the table says 1 % of errors the time limit is out of reach.\n",
        HEALTHY.rate,
        HEALTHY.share * 100.0,
        HEALTHY.errors * 100.0,
        HEALTHY.mean * 1000.0,
        HEALTHY.drift,
        HEALTHY.cap
    )?;
    writeln!(
        text,
        "One look of the whole rule costs **{micros:.1} µs** of CPU time.\n"
    )?;
    writeln!(
        text,
        "## Healthy canaries withdrawn within 12 hours ({runs} soaks, 720 looks)\n\n| method | withdrawn (95 % interval) |\n|---|---|"
    )?;
    for (name, summary) in names.iter().zip(&false_aborts) {
        writeln!(text, "| {name} | {} |", percent(summary))?;
    }
    writeln!(
        text,
        "\nThe last two are rivals whose limits were set, on {runs} other healthy soaks, so that they withdraw about 1 % \
         over the whole soak: nobody has those soaks beforehand.\n\n## Bad canaries: until withdrawn ({some} soaks each)\n\n\
         Median / 95 % quantile of minutes and of requests that the canary answered; a share where not all were withdrawn.\n"
    )?;
    writeln!(
        text,
        "| canary | {} |\n|---|{}",
        names.join(" | "),
        "---|".repeat(names.len())
    )?;
    for (name, summaries) in &withdrawals {
        let cells: Vec<String> = summaries.iter().map(when).collect();
        writeln!(text, "| {name} | {} |", cells.join(" | "))?;
    }
    writeln!(
        text,
        "\n## Promotions by serin ({some} soaks each)\n\n| canary | by evidence | when | at the end of the soak | withdrawn | a person decides |\n|---|---|---|---|---|---|"
    )?;
    for (name, evidence, end, withdrawn, person) in &promotions {
        writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} |",
            percent(evidence),
            when(evidence),
            percent(end),
            percent(withdrawn),
            percent(person)
        )?;
    }
    writeln!(
        text,
        "\nPromotion by evidence is what the error probability of 5 % speaks of. At the end of a soak that decided nothing, \
         the classic rule and the observed margins decide, without an error probability.\n"
    )?;
    let raw = json!({
        "machine": machine, "seed": seed, "microsecondsPerLook": micros, "methods": names,
        "calibrated": {"z": calibrated.z, "errorShare": calibrated.error_share, "meanSeconds": calibrated.mean_seconds},
        "falseAborts": false_aborts,
        "withdrawals": withdrawals.iter().map(|(name, all)| json!({"canary": name, "methods": all})).collect::<Vec<_>>(),
        "promotions": promotions.iter().map(|(name, evidence, end, withdrawn, person)| json!({
            "canary": name, "evidence": evidence, "end": end, "withdrawn": withdrawn, "person": person,
        })).collect::<Vec<_>>(),
    });
    std::fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    std::fs::write(out.join("judge.md"), text).context("write judge.md")?;
    std::fs::write(out.join("judge.json"), serde_json::to_string_pretty(&raw)? + "\n")
        .context("write judge.json")?;
    std::fs::write(out.join("judge.svg"), chart::evidence(&layout, seed)?).context("write judge.svg")?;
    say(&format!("written to {}", out.display()), began.elapsed());
    Ok(())
}
