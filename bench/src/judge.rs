//! How often a healthy canary is withdrawn, and how soon a bad one: serin beside its rivals, on equal minutes.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde_json::Value;
use serin_core::judge::{Beside, Block, Distribution, Health, Late, Layout, Run, Settings};

use crate::chart;
use crate::machine::Machine;
use crate::page::{self, Page};
use crate::rivals::{Decision, MannWhitney, Method, RepeatedZ, Serin, Thresholds};
use crate::scenarios::{self, TAIL};
use crate::summary::{quantile, summary};
use crate::traffic::{HEALTHY, Scenario, Soak};

/// Minutes of a soak of 12 hours, and looks where there is one a minute.
const LOOKS: u32 = 720;
/// Minutes of stable from before the release, as an operator knows them.
pub(crate) const WARM_START: u32 = 60;
/// z of a one-sided test at 1 % over two questions: half a percent each.
const Z_NOMINAL: f64 = 2.575_829_303_548_901;

/// One method's answer to one soak: decision, minute, and the requests that the canary had answered by then.
pub(crate) type Answer = Option<(Decision, f64, u64)>;

/// A soak by number, with each method's answer.
type Played = (u32, Vec<Answer>);

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
    let parts: Vec<Result<Vec<Played>>> = std::thread::scope(|scope| {
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
    let mut soaks: Vec<Played> = Vec::new();
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
    let minutes = scenario.look / 60.0;
    for look in (1..).take_while(|look| f64::from(*look) * minutes <= f64::from(LOOKS)) {
        let minute = f64::from(look) * minutes;
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

/// Limits at which each rival withdraws 1 % of healthy canaries over the whole soak, found on other soaks.
#[derive(Clone, Copy)]
struct Calibrated {
    z: f64,
    error_share: f64,
    mean_seconds: f64,
}

impl Calibrated {
    /// Limits that hold for one kind of soak.
    fn on(scenario: Scenario, layout: &Layout, seed: u64, runs: u32) -> Self {
        let mut largest: Vec<(f64, f64, f64)> = Vec::new();
        std::thread::scope(|scope| {
            let halves = [0, 1].map(|first| {
                scope.spawn(move || {
                    (first..runs)
                        .step_by(2)
                        .map(|run| extremes(Soak::new(scenario, layout.clone(), seed ^ 2, run)))
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
        Self {
            z: quantile_of(|run| run.0, 0.99),
            error_share: quantile_of(|run| run.1, 0.995),
            mean_seconds: quantile_of(|run| run.2, 0.995),
        }
    }

    /// Limits that hold for both.
    fn or(self, other: Self) -> Self {
        Self {
            z: self.z.max(other.z),
            error_share: self.error_share.max(other.error_share),
            mean_seconds: self.mean_seconds.max(other.mean_seconds),
        }
    }

    fn rivals(self, how: &str) -> [Contender; 2] {
        let Self {
            z,
            error_share,
            mean_seconds,
        } = self;
        [
            contender(format!("z-test, calibrated {how}: z ≥ {z:.2}"), move || {
                Ok(RepeatedZ::new(z))
            }),
            contender(
                format!(
                    "last look, calibrated {how}: errors ≤ {:.1} %, mean < {:.0} ms",
                    error_share * 100.0,
                    mean_seconds * 1000.0
                ),
                move || Ok(Thresholds::new(error_share, mean_seconds + 1e-12, 0)),
            ),
        ]
    }
}

/// The largest statistic of the z-tests, error share and mean of any look of a soak.
fn extremes(mut soak: Soak) -> (f64, f64, f64) {
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
            std::hint::black_box(run.look(block, &Late::default(), &Beside::default(), Health::Fine));
        }
        each.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(LOOKS));
    }
    each.sort_by(f64::total_cmp);
    Ok(quantile(&each, 0.5))
}

/// serin, with nothing promoted before the end of the soak, so that every look counts.
fn patient(name: &str, scenario: Scenario) -> Settings {
    let distribution = (name == TAIL).then(|| Distribution {
        edges: vec![0.1, 0.25, 0.5, 0.8, 1.0, 2.5],
        tolerance: 0.02,
        objective_seconds: 0.5,
        margin: 0.05,
    });
    Settings {
        distribution,
        min_soak: jiff::SignedDuration::from_hours(12),
        block: jiff::SignedDuration::from_secs_f64(scenario.look),
        // The service's own time limit.
        ..settings(scenario.cap)
    }
}

fn rivals(layout: &Layout, seed: u64, runs: u32) -> Vec<Contender> {
    let plain = Calibrated::on(HEALTHY, layout, seed, runs);
    let every = scenarios::healthy()
        .into_iter()
        .map(|(_, scenario)| Calibrated::on(scenario, layout, seed, runs))
        .fold(plain, Calibrated::or);
    let mut rivals = vec![
        contender("z-test at every look, 1 %", || Ok(RepeatedZ::new(Z_NOMINAL))),
        contender("Mann-Whitney every hour (Kayenta's manner)", || {
            Ok(MannWhitney::default())
        }),
        contender(
            "last look: errors ≤ 5 %, mean < 500 ms, no failure allowed (Argo Rollouts' manner)",
            || Ok(Thresholds::new(0.05, 0.5, 0)),
        ),
        contender(
            "last look: errors ≤ 1 %, mean < 500 ms, 5th failure (Flagger's manner)",
            || Ok(Thresholds::new(0.01, 0.5, 4)),
        ),
    ];
    rivals.extend(plain.rivals("on the first row"));
    rivals.extend(every.rivals("on all four rows"));
    rivals
}

/// Runs everything, writes `judge.md`, `judge.json` and `judge.svg` into `out`.
pub(crate) fn run(out: &Path, runs: u32, seed: u64) -> Result<()> {
    let began = Instant::now();
    let say = |what: &str| eprintln!("{:>6.1} s  {what}", began.elapsed().as_secs_f64());
    let layout = Settings::default().layout;
    let some = (runs / 3).max(1);

    let rivals = rivals(&layout, seed, runs);
    say("rivals calibrated on other healthy soaks");
    let against = |name: &str, scenario: Scenario, runs: u32| -> Result<Vec<Value>> {
        let mut all = vec![serin(patient(name, scenario))];
        all.extend(rivals.iter().cloned());
        let answers = play(scenario, &layout, &all, seed, runs)?;
        say(name);
        Ok(answers
            .iter()
            .map(|answers| summary(answers, &[Decision::Withdraw]))
            .collect())
    };
    let mut false_aborts = Vec::new();
    for (name, scenario) in scenarios::healthy() {
        false_aborts.push((name, against(name, scenario, runs)?));
    }
    let mut withdrawals = Vec::new();
    for (name, scenario) in scenarios::bad() {
        withdrawals.push((name, against(name, scenario, some)?));
    }
    let mut promotions = Vec::new();
    for (name, scenario) in scenarios::promoted() {
        let answers = play(scenario, &layout, &[serin(settings(scenario.cap))], seed, some)?;
        let answers = answers.first().map(Vec::as_slice).unwrap_or_default();
        let ends = [
            Decision::Promote,
            Decision::PromoteAtEnd,
            Decision::Withdraw,
            Decision::Undecided,
        ];
        promotions.push((name, ends.map(|end| summary(answers, &[end]))));
        say(name);
    }
    let names = std::iter::once("serin").chain(rivals.iter().map(|one| one.name.as_str()));
    let page = Page {
        machine: Machine::here(),
        seed,
        runs,
        some,
        microseconds_per_look: cost(&layout, seed)?,
        methods: names.map(str::to_owned).collect(),
        false_aborts,
        withdrawals,
        promotions,
    };
    let files = [
        ("judge.md", page.markdown()?),
        ("judge.json", page::json(&page)?),
        ("judge.svg", chart::evidence(&layout, seed)?),
    ];
    page::write(out, &files)?;
    say(&format!("written to {}", out.display()));
    Ok(())
}
