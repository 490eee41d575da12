//! Every test of the judgement, block by block.

use serde_json::Value;
use serin_core::judge::{
    Claim, Design, Exceedance, Excess, FloorBet, Layout, MeanBet, MeanDifference, MeanPrior, MeanRatio, Null,
    Rates, Reference, Temper, TwoArm, Watch, merge, ratio_interval,
};

use crate::cases::{all_close, close, get, histogram, layout, section, trials};

fn claim(case: &Value) -> Claim {
    if get(case, "worse") {
        Claim::Worse
    } else {
        Claim::NotWorse
    }
}

fn clip(case: &Value) -> f64 {
    case["clip"].as_f64().unwrap_or(f64::INFINITY)
}

fn null(case: &Value) -> Null {
    match case["mode"].as_str() {
        Some("ratio") => Null::Ratio(get(case, "null")),
        Some("diff") => Null::Difference(get(case, "null")),
        mode => panic!("unknown mode {mode:?}"),
    }
}

fn design(params: &Value) -> Design {
    Design {
        null: null(params),
        claim: claim(params),
        grid: get(params, "grid"),
        halflife_blocks: get(params, "halflife"),
        prior_rate: get(params, "prior_rate"),
        prior_requests: get(params, "prior_n"),
        temper: get::<bool>(params, "temper").then(|| Temper {
            halflife_blocks: get(params, "phi_halflife"),
            against: Reference::Remembered,
        }),
        clip: clip(params),
        excess: Excess::Dropped,
    }
}

#[test]
fn projections_on_the_null() {
    for case in section("projections") {
        let alternative = Rates {
            canary: get(case, "tc"),
            stable: get(case, "ts"),
        };
        let nearest = null(case).project(alternative, get(case, "nc"), get(case, "ns"));
        close(case, "pc0", nearest.canary, get(case, "pc0"));
        close(case, "ps0", nearest.stable, get(case, "ps0"));
    }
}

#[test]
fn two_arms() {
    for case in section("two_arm") {
        let mut test = TwoArm::new(design(&case["params"]));
        for block in case["warm_start"].as_array().unwrap() {
            test.expect(trials(&block[0], &block[1]));
        }
        let mut dispersions = Vec::new();
        let mut evidence = Vec::new();
        for block in case["blocks"].as_array().unwrap() {
            dispersions.push(test.dispersion());
            evidence.push(test.update(trials(&block[0], &block[1]), trials(&block[2], &block[3])));
        }
        all_close(case, "phi", &dispersions, &get::<Vec<f64>>(case, "phi"));
        all_close(case, "log_e", &evidence, &get::<Vec<f64>>(case, "log_e"));
        let memory = test.state();
        let state = &case["final_state"];
        all_close(case, "L", &memory.logs, &get::<Vec<f64>>(state, "L"));
        close(case, "y", memory.bad, get(state, "y"));
        close(case, "n", memory.all, get(state, "n"));
        close(case, "phi_num", memory.surprise, get(state, "phi_num"));
        close(case, "phi_den", memory.weight, get(state, "phi_den"));
        assert_eq!(memory.blocks, get::<u64>(state, "b"));
    }
}

#[test]
fn rates_against_a_floor() {
    for case in section("floor_bet") {
        let mut test = FloorBet::new(get(case, "floor"), clip(case));
        let blocks = case["blocks"].as_array().unwrap();
        let evidence: Vec<f64> = blocks
            .iter()
            .map(|block| test.update(trials(&block[0], &block[1])))
            .collect();
        all_close(case, "log_e", &evidence, &get::<Vec<f64>>(case, "log_e"));
    }
}

fn mean_bet(case: &Value) -> (Layout, MeanBet) {
    // Evidence for "worse" needs no cap.
    let cap = case["cap"].as_f64().unwrap_or(f64::INFINITY);
    (
        layout(case, "edges"),
        MeanBet::new(get(case, "m"), claim(case), cap),
    )
}

#[test]
fn means_against_a_limit() {
    for case in section("histogram_mean") {
        let (layout, mut test) = mean_bet(case);
        let blocks = case["blocks"].as_array().unwrap();
        let evidence: Vec<f64> = blocks
            .iter()
            .map(|block| test.update(&layout, &histogram(&layout, &block[0], &block[1])))
            .collect();
        all_close(case, "log_e", &evidence, &get::<Vec<f64>>(case, "log_e"));
        all_close(case, "final_L", test.logs(), &get::<Vec<f64>>(case, "final_L"));
    }
}

#[test]
fn means_against_the_other_arm() {
    for case in section("mean_ratio") {
        let layout = layout(case, "edges");
        let prior = MeanPrior {
            seconds: get(case, "prior_mean"),
            requests: get(case, "prior_n"),
            halflife_blocks: get(case, "halflife"),
        };
        let mut test = MeanRatio::new(get(case, "r"), claim(case), get(case, "cap"), clip(case), prior);
        for block in case["warm_start"].as_array().unwrap() {
            test.expect(&histogram(&layout, &block[0], &block[1]));
        }
        let evidence: Vec<f64> = case["blocks_hc_sc_hs_ss"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| {
                let canary = histogram(&layout, &block[0], &block[1]);
                test.update(&layout, &canary, &histogram(&layout, &block[2], &block[3]))
            })
            .collect();
        all_close(case, "log_e", &evidence, &get::<Vec<f64>>(case, "log_e"));
        all_close(case, "final_L", test.logs(), &get::<Vec<f64>>(case, "final_L"));
        let (seconds, requests) = test.expected();
        close(case, "final_S", seconds, get(case, "final_S"));
        close(case, "final_N", requests, get(case, "final_N"));
    }
}

#[test]
fn differences_of_block_means() {
    for case in section("mean_diff") {
        let mut test = MeanDifference::new(get(case, "d"), claim(case));
        let evidence: Vec<f64> = get::<Vec<Option<f64>>>(case, "x")
            .into_iter()
            .map(|difference| test.update(difference))
            .collect();
        all_close(case, "log_e", &evidence, &get::<Vec<f64>>(case, "log_e"));
    }
}

#[test]
fn shares_slower_than_the_edges() {
    for case in section("exceedance") {
        let layout = layout(case, "layout");
        let edges: Vec<f64> = get(case, "edges");
        let mut test = Exceedance::new(&layout, &edges, get(case, "d"), claim(case), clip(case));
        // The sums play no part here.
        let arm = |counts: &Value| histogram(&layout, counts, &Value::from(0.0));
        let evidence: Vec<f64> = case["blocks_hc_fc_hs_fs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| {
                let (canary, stable) = (arm(&block[0]), arm(&block[2]));
                let failed = |index: usize| block[index].as_u64().unwrap();
                test.update((&canary, failed(1)), (&stable, failed(3)))
            })
            .collect();
        all_close(case, "log_e", &evidence, &get::<Vec<f64>>(case, "log_e"));
        all_close(
            case,
            "per_edge",
            &test.per_edge(),
            &get::<Vec<f64>>(case, "per_edge_last"),
        );
    }
}

#[test]
fn merging() {
    for case in section("merge") {
        let logs: Vec<f64> = get(case, "logs");
        let weights: Vec<f64> = get(case, "weights");
        let parts: Vec<(f64, f64)> = logs.into_iter().zip(weights).collect();
        close(case, "log_e", merge(&parts), get(case, "log_e"));
    }
}

#[test]
fn the_watch_after_a_promotion() {
    for case in section("detector") {
        let (layout, test) = mean_bet(case);
        let mut watch = Watch::new(test.logs().len());
        let logs: Vec<f64> = case["blocks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| watch.update(&test.factors(&layout, &histogram(&layout, &block[0], &block[1]))))
            .collect();
        all_close(case, "log_m", &logs, &get::<Vec<f64>>(case, "log_m"));
    }
}

#[test]
fn the_interval_of_the_ratio() {
    for case in section("ratio_cs") {
        let blocks: Vec<_> = case["blocks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| (trials(&block[0], &block[1]), trials(&block[2], &block[3])))
            .collect();
        let interval = ratio_interval(&blocks, get(case, "alpha"), |null, claim| {
            let design = Design::new(null, claim);
            let or = |name: &str, default: f64| case["params"][name].as_f64().unwrap_or(default);
            let prior = (
                or("prior_rate", design.prior_rate),
                or("prior_n", design.prior_requests),
            );
            design.expecting(prior.0, prior.1)
        });
        for (what, got) in [("lower", interval.lower), ("upper", interval.upper)] {
            let want: Option<f64> = get(case, what);
            assert_eq!(got.is_some(), want.is_some(), "{what}: {got:?}, want {want:?}");
            if let Some((got, want)) = got.zip(want) {
                close(case, what, got, want);
            }
        }
    }
}
