//! The whole rule, block by block.

use jiff::SignedDuration;
use serde_json::Value;
use serin_core::judge::{
    Arm, Beside, Block, Consequence, Distribution, Health, Late, Layout, Look, Method, OnInconclusive,
    OnUnavailable, Quality, Question, Run, Settings, Support, Trials, Tuning, Verdict,
};

use crate::cases::{all_close, close, get, histogram, section, trials};

/// Sets what the case configures, leaves the rest at its default.
fn settings(config: &Value) -> Settings {
    let mut settings = Settings {
        layout: Layout::new(vec![
            0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
        ])
        .unwrap(),
        tuning: Tuning::Wide,
        total_failure_at_once: None,
        ..Settings::default()
    };
    let mut distribution = Distribution {
        edges: vec![0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5],
        tolerance: 0.02,
        objective_seconds: 0.5,
        margin: 0.05,
    };
    let mut quality = Quality {
        tolerance: 0.0,
        margin: 0.02,
    };
    for (name, value) in config.as_object().unwrap() {
        let number = || value.as_f64().unwrap_or_else(|| panic!("{name}: {value}"));
        let seconds = || SignedDuration::from_secs_f64(number());
        let count = || value.as_u64().unwrap_or_else(|| panic!("{name}: {value}"));
        match name.as_str() {
            "method" => {
                settings.method = if value == "WholeSoak" {
                    Method::WholeSoak
                } else {
                    Method::Sequential
                }
            }
            "block_s" => settings.block = seconds(),
            "alpha_abort" => settings.alpha_abort = number(),
            "alpha_promote" => settings.alpha_promote = number(),
            "edges" => settings.layout = Layout::new(get(config, name)).unwrap(),
            "cap_s" => settings.cap_seconds = number(),
            "error_ratio" => settings.errors.ratio = number(),
            "error_floor" => settings.errors.floor = value.as_f64(),
            "error_margin" => settings.errors.margin = number(),
            "limit_s" => settings.latency.limit_seconds = number(),
            "limit_guard" => settings.latency.guarded = value == true,
            "latency_ratio" => settings.latency.ratio = number(),
            "distribution" | "quality" => {}
            "dist_edges" => distribution.edges = get(config, name),
            "dist_tolerance" => distribution.tolerance = number(),
            "slo_edge" => distribution.objective_seconds = number(),
            "slo_margin" => distribution.margin = number(),
            "quality_tolerance" => quality.tolerance = number(),
            "quality_margin" => quality.margin = number(),
            "weights" => {
                let weight = |question: &str| value[question].as_f64().unwrap_or(0.0);
                settings.weights.errors = weight("errors");
                settings.weights.latency = weight("latency");
                settings.weights.mean = weight("mean");
                settings.weights.distribution = weight("distribution");
                settings.weights.quality = weight("quality");
            }
            "clip" => settings.clip = value.as_f64().unwrap_or(f64::INFINITY),
            "soak_s" => settings.soak = seconds(),
            "min_soak_s" => settings.min_soak = seconds(),
            "deadline_s" => settings.deadline = seconds(),
            "min_requests" => settings.min_requests = count(),
            "min_coverage" => settings.min_coverage = number(),
            "stale_s" => settings.stale_after = seconds(),
            "unavailable_s" => settings.unavailable_after = seconds(),
            "no_traffic_s" => settings.no_traffic_after = seconds(),
            "hard_fail_blocks" => settings.total_failure_blocks = usize::try_from(count()).unwrap(),
            "hard_fail_requests" => settings.total_failure_requests = count(),
            "baseline_blocks" => settings.baseline_blocks = usize::try_from(count()).unwrap(),
            "baseline_error_limit" => settings.baseline_error_limit = number(),
            "on_inconclusive" => {
                settings.on_inconclusive = match value.as_str() {
                    Some("promote") => OnInconclusive::Promote,
                    Some("rollback") => OnInconclusive::RollBack,
                    _ => OnInconclusive::Hold,
                }
            }
            "on_unavailable" => {
                settings.on_unavailable = if value == "rollback" {
                    OnUnavailable::RollBack
                } else {
                    OnUnavailable::Hold
                }
            }
            unknown => panic!("a setting that the product does not know: {unknown}"),
        }
    }
    settings.distribution = (config["distribution"] == true).then_some(distribution);
    settings.quality = (config["quality"] == true).then_some(quality);
    settings
}

fn arm(layout: &Layout, value: &Value) -> Option<Arm> {
    (!value.is_null()).then(|| Arm {
        requests: trials(&value[1], &value[0]),
        latencies: histogram(layout, &value[2], &value[3]),
        quality: value
            .get(4)
            .map(|outcomes| Trials::new(get_at(outcomes, 0), get_at(outcomes, 1))),
    })
}

fn get_at(value: &Value, index: usize) -> u64 {
    value[index].as_u64().unwrap()
}

fn block(layout: &Layout, value: &Value) -> (Block, Late, Health) {
    let (canary, stable) = (arm(layout, &value[0]), arm(layout, &value[1]));
    let more = value.get(2).cloned().unwrap_or_default();
    let flag = |name: &str| {
        let flags = more["flags"].as_array();
        flags.is_some_and(|flags| flags.iter().any(|flag| flag == name))
    };
    let late = Late {
        canary: arm(layout, &more["late"]["c"]),
        stable: arm(layout, &more["late"]["s"]),
    };
    let health = if flag("not_ready") || flag("crash_loop") {
        Health::NotReady
    } else {
        Health::Fine
    };
    let block = if flag("warmup") {
        Block::Warmup { stable }
    } else {
        match (canary, stable) {
            (Some(canary), Some(stable)) => Block::Seen { canary, stable },
            _ => Block::Gap,
        }
    };
    (block, late, health)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Collecting => "continue",
        Verdict::Hold(_) => "hold",
        Verdict::Abort(_) => "abort",
        Verdict::Promote(_) => "promote",
        Verdict::Inconclusive(..) => "inconclusive",
    }
}

fn action(verdict: Verdict) -> &'static str {
    match verdict.consequence() {
        Consequence::None => "none",
        Consequence::Hold => "hold",
        Consequence::Promote => "promote",
        Consequence::RollBack => "rollback",
    }
}

fn logs(supports: &[Support]) -> Vec<f64> {
    supports.iter().map(|support| support.log_e).collect()
}

/// The promote test of the distribution is called `slo` there, which comes last in the alphabet.
fn promote_logs(look: &Look) -> Vec<f64> {
    let (tail, others): (Vec<Support>, Vec<Support>) = look
        .promote
        .iter()
        .partition(|support| support.question == Question::Distribution);
    logs(&[others, tail].concat())
}

fn check(case: &Value, want: &Value, look: &Look) {
    let at = |field: &str| format!("{field} of block {}", look.block);
    assert_eq!(want["block"], look.block, "{}", at("block"));
    assert_eq!(
        want["kind"],
        format!("{:?}", look.kind).to_lowercase(),
        "{}",
        at("kind")
    );
    assert_eq!(
        want["verdict"],
        word(look.verdict),
        "{} of {}",
        at("verdict"),
        case["name"]
    );
    assert_eq!(
        want["reason"],
        look.verdict.to_string(),
        "{} of {}",
        at("reason"),
        case["name"]
    );
    assert_eq!(want["action"], action(look.verdict), "{}", at("action"));
    let conditions: Vec<String> = look
        .conditions
        .iter()
        .map(|condition| format!("{condition:?}"))
        .collect();
    assert_eq!(
        get::<Vec<String>>(want, "conditions"),
        conditions,
        "{}",
        at("conditions")
    );
    assert_eq!(
        want["soak_s"].as_f64(),
        Some(look.soak.as_secs_f64()),
        "{}",
        at("soak")
    );
    assert_eq!(want["n_c"], look.totals.canary.requests.all, "{}", at("n_c"));
    assert_eq!(want["n_s"], look.totals.stable.requests.all, "{}", at("n_s"));
    close(case, &at("coverage"), look.coverage, get(want, "coverage"));
    close(
        case,
        &at("log_e_abort"),
        look.log_e_abort,
        get(want, "log_e_abort"),
    );
    all_close(
        case,
        &at("abort"),
        &logs(&look.abort),
        &get::<Vec<f64>>(want, "abort"),
    );
    all_close(
        case,
        &at("promote"),
        &promote_logs(look),
        &get::<Vec<f64>>(want, "promote"),
    );
}

/// Plays a case; at every block the run may be written down and read back first.
fn play(case: &Value, resumed: impl Fn(Run, &Settings) -> Run) -> Vec<Look> {
    let settings = settings(&case["config"]);
    let mut run = Run::new(settings.clone()).unwrap();
    for stable in case["warm_start"].as_array().unwrap() {
        run.expect(&arm(&settings.layout, stable).unwrap());
    }
    let mut looks = Vec::new();
    for value in case["blocks"].as_array().unwrap() {
        run = resumed(run, &settings);
        let (block, late, health) = block(&settings.layout, value);
        looks.push(run.look(&block, &late, &Beside::default(), health));
    }
    looks
}

#[test]
fn the_whole_rule() {
    for case in section("verdicts") {
        let looks = play(case, |run, _| run);
        for (want, look) in case["steps"].as_array().unwrap().iter().zip(&looks) {
            check(case, want, look);
        }
        let last = looks.last().unwrap();
        let got = serde_json::json!([
            word(last.verdict),
            last.verdict.to_string(),
            action(last.verdict),
            last.block
        ]);
        assert_eq!(case["final"], got, "{}", case["name"]);
    }
}

#[test]
fn a_run_resumed_before_every_block_gives_equal_bits() {
    for case in section("verdicts") {
        let undisturbed = play(case, |run, _| run);
        let resumed = play(case, |run, settings| {
            let text = serde_json::to_string(&run.checkpoint()).unwrap();
            Run::resume(settings.clone(), serde_json::from_str(&text).unwrap()).unwrap()
        });
        assert_eq!(undisturbed, resumed, "{}", case["name"]);
    }
}

#[test]
fn a_checkpoint_of_other_settings_is_refused() {
    let checkpoint = Run::new(Settings::default()).unwrap().checkpoint();
    let other = Settings {
        quality: Some(Quality {
            tolerance: 0.0,
            margin: 0.02,
        }),
        ..Settings::default()
    };
    let refused = Run::resume(other, checkpoint).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the checkpoint is of a run with other settings: begin a new run"
    );
}
