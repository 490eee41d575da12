//! Laws of the judgement: what must hold for any counts, checked by enumeration and by property.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use jiff::SignedDuration;
use proptest::prelude::*;
use serin_core::judge::{
    AbortReason, Arm, Beside, Block, Claim, Condition, Design, FloorBet, Health, Histogram, Late, Layout,
    MeanBet, MeanPrior, MeanRatio, Method, Null, Reference, Run, Settings, Trials, TwoArm, Verdict,
};

fn binomial(n: u64, k: u64, p: f64) -> f64 {
    let choose = (0..k).fold(1.0, |c, i| c * (n - i) as f64 / (i + 1) as f64);
    choose * p.powf(k as f64) * (1.0 - p).powf((n - k) as f64)
}

/// Sizes and true rates of both arms in one block.
#[derive(Clone, Copy, Debug)]
struct Truth {
    canary: (u64, f64),
    stable: (u64, f64),
}

/// The exact expectation of E after `blocks`, over every possible outcome.
fn expected_evidence(test: &TwoArm, blocks: &[Truth]) -> f64 {
    let Some((block, rest)) = blocks.split_first() else {
        return test.log_e().exp();
    };
    let ((n, p), (m, q)) = (block.canary, block.stable);
    let mut sum = 0.0;
    for bad in 0..=n {
        for bad_stable in 0..=m {
            let mut next = test.clone();
            next.update(Trials::new(bad, n), Trials::new(bad_stable, m));
            sum += binomial(n, bad, p) * binomial(m, bad_stable, q) * expected_evidence(&next, rest);
        }
    }
    sum
}

/// A canary's rate inside the null, given stable's: at its edge for `inside` 0, deeper for more.
fn rate_in_null(null: Null, claim: Claim, stable: f64, inside: f64) -> f64 {
    let edge = match null {
        Null::Ratio(ratio) => ratio * stable,
        Null::Difference(difference) => stable + difference,
    };
    let edge = edge.clamp(0.0, 1.0);
    match claim {
        Claim::Worse => edge * (1.0 - inside),
        Claim::NotWorse => edge + (1.0 - edge) * inside,
    }
}

fn nulls() -> impl Strategy<Value = (Null, Claim)> {
    let null = prop_oneof![
        (0.8f64..2.0).prop_map(Null::Ratio),
        (0.0f64..0.2).prop_map(Null::Difference)
    ];
    let claim = prop_oneof![Just(Claim::Worse), Just(Claim::NotWorse)];
    (null, claim)
}

fn trials(most: u64) -> impl Strategy<Value = Trials> {
    (0..=most).prop_flat_map(|all| (0..=all).prop_map(move |bad| Trials::new(bad, all)))
}

fn layout() -> Layout {
    Layout::new(vec![0.1, 0.2, 0.4, 0.5, 0.8, 1.0]).unwrap()
}

/// What a list of latencies looks like in the histogram.
fn histogram(latencies: &[f64]) -> Histogram {
    let layout = layout();
    let mut counts = vec![0; layout.edges().len() + 1];
    for latency in latencies {
        counts[layout.edges().partition_point(|edge| edge < latency)] += 1;
    }
    layout.histogram(counts, latencies.iter().sum()).unwrap()
}

fn latencies() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(0.0f64..0.8, 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Under the null the evidence is worth at most its stake: rates drift, weights ramp, blocks are unequal, the
    /// bets adapt to what was seen; tempered and clipped or not, what is clipped carried on or not.
    #[test]
    fn evidence_on_rates_is_a_test_martingale_under_the_null(
        (null, claim) in nulls(),
        sizes in prop::collection::vec((0u64..4, 0u64..4, 0.01f64..0.6, 0.0f64..1.0), 1..4),
        history in prop::collection::vec(trials(20), 0..30),
        tuning in prop::sample::select(vec![None, Some(Reference::Remembered), Some(Reference::Neighbours)]),
    ) {
        let design = Design::new(null, claim);
        let mut test = TwoArm::new(match tuning {
            None => design,
            Some(Reference::Remembered) => design.tempered(Reference::Remembered).clipped(0.5),
            Some(Reference::Neighbours) => design.tempered(Reference::Neighbours).clipped(0.5).carrying(),
        });
        for stable in history {
            test.expect(stable);
        }
        let blocks: Vec<Truth> = sizes
            .into_iter()
            .map(|(n, m, q, inside)| Truth { canary: (n, rate_in_null(null, claim, q, inside)), stable: (m, q) })
            .collect();
        prop_assert!(expected_evidence(&test, &blocks) <= 1.0 + 1e-9);
    }

    #[test]
    fn evidence_against_a_floor_is_one_too(floor in 0.001f64..0.5, inside in 0.0f64..1.0, n in 0u64..12) {
        let p = floor * inside;
        let expected: f64 = (0..=n)
            .map(|bad| binomial(n, bad, p) * FloorBet::new(floor, f64::INFINITY).update(Trials::new(bad, n)).exp())
            .sum();
        prop_assert!(expected <= 1.0 + 1e-9);
    }

    /// Latencies of two values, all combinations: means on the edge of the null, whatever the common load.
    #[test]
    fn evidence_on_the_ratio_of_means_is_one_too(
        ratio in 0.8f64..1.5, claim in prop_oneof![Just(Claim::Worse), Just(Claim::NotWorse)],
        load in 0.05f64..0.9, slow in prop::sample::select(vec![0.2, 0.4, 0.5]), n in 1u64..6, m in 1u64..6,
        pivot in 0.01f64..0.7,
    ) {
        // Stable's mean is load · slow; the canary's is `ratio` times that, from latencies of 0 and 0.8.
        let stable_share = load;
        let canary_share = ratio * load * slow / 0.8;
        prop_assume!(canary_share <= 1.0);
        let prior = MeanPrior { seconds: pivot, ..MeanPrior::default() };
        let arm = |count: u64, of: u64, value: f64| {
            let mut all = vec![value; usize::try_from(count).unwrap()];
            all.resize(usize::try_from(of).unwrap(), 0.0);
            histogram(&all)
        };
        let mut expected = 0.0;
        for slow_canary in 0..=n {
            for slow_stable in 0..=m {
                let mut test = MeanRatio::new(ratio, claim, 0.8, f64::INFINITY, prior);
                let log_e = test.update(&layout(), &arm(slow_canary, n, 0.8), &arm(slow_stable, m, slow));
                let chance = binomial(n, slow_canary, canary_share) * binomial(m, slow_stable, stable_share);
                expected += chance * log_e.exp();
            }
        }
        prop_assert!(expected <= 1.0 + 1e-9, "{expected}");
    }

    #[test]
    fn one_more_error_never_speaks_for_the_canary(
        null in nulls().prop_map(|(null, _)| null), canary in trials(200), stable in trials(200),
    ) {
        prop_assume!(canary.bad < canary.all);
        let worse = Trials::new(canary.bad + 1, canary.all);
        let log_e = |canary| TwoArm::new(Design::new(null, Claim::Worse)).update(canary, stable);
        prop_assert!(log_e(worse) >= log_e(canary) - 1e-9);
    }

    #[test]
    fn a_block_without_the_canary_is_no_evidence((null, claim) in nulls(), blocks in prop::collection::vec((trials(50), trials(50)), 1..8), empty in trials(50)) {
        let mut test = TwoArm::new(Design::new(null, claim));
        for (canary, stable) in blocks {
            test.update(canary, stable);
        }
        let before = test.log_e();
        prop_assert_eq!(test.update(Trials::default(), empty), before);
    }

    /// A canary is never withdrawn for a mean above the limit while its mean is not above the limit.
    #[test]
    fn no_evidence_for_too_slow_while_the_mean_is_not(blocks in prop::collection::vec(latencies(), 1..20)) {
        let mut test = MeanBet::new(0.5, Claim::Worse, f64::INFINITY);
        let (mut sum, mut count) = (0.0, 0.0);
        for block in blocks {
            sum += block.iter().sum::<f64>();
            count += block.len() as f64;
            let log_e = test.update(&layout(), &histogram(&block));
            if sum <= 0.5 * count {
                prop_assert!(log_e <= 1e-9, "{log_e} at a mean of {}", sum / count);
            }
        }
    }

    /// What a histogram proves, the latencies themselves prove at least.
    #[test]
    fn a_histogram_proves_no_more_than_its_latencies(block in latencies(), worse in any::<bool>()) {
        let claim = if worse { Claim::Worse } else { Claim::NotWorse };
        let (limit, cap) = (0.5, 0.8);
        let bound = MeanBet::new(limit, claim, cap).factors(&layout(), &histogram(&block));
        let largest = if worse { 1.0 / limit } else { -1.0 / (cap - limit) };
        for (j, bound) in bound.into_iter().enumerate() {
            let share = 0.004 * (0.95f64 / 0.004).powf(j as f64 / 15.0);
            let exact: f64 = block.iter().map(|x| (1.0 + largest * share * (x - limit)).ln()).sum();
            prop_assert!(bound <= exact + 1e-9, "{bound} > {exact}");
        }
    }

    #[test]
    fn nothing_is_promoted_without_canary_traffic(
        blocks in prop::collection::vec((trials(500), 0u8..4), 1..120), whole_soak in any::<bool>(), soak in 1i64..60,
    ) {
        let settings = Settings {
            method: if whole_soak { Method::WholeSoak } else { Method::Sequential },
            soak: jiff::SignedDuration::from_mins(soak),
            min_soak: jiff::SignedDuration::ZERO,
            deadline: jiff::SignedDuration::from_mins(100),
            on_inconclusive: serin_core::judge::OnInconclusive::Promote,
            min_requests: 0,
            ..Settings::default()
        };
        let empty = Arm { requests: Trials::default(), latencies: settings.layout.empty(), quality: None };
        let mut run = Run::new(settings).unwrap();
        for (requests, kind) in blocks {
            let stable = Arm { requests, ..empty.clone() };
            let block = match kind {
                0 => Block::Gap,
                1 => Block::Warmup { stable: Some(stable) },
                _ => Block::Seen { canary: empty.clone(), stable },
            };
            let look = run.look(&block, &Late::default(), &Beside::default(), Health::Fine);
            prop_assert!(!matches!(look.verdict, Verdict::Promote(_)), "{look:?}");
            prop_assert_ne!(look.verdict.consequence(), serin_core::judge::Consequence::Promote);
        }
    }
}

/// One block of `requests` with a mean of `mean_ms`, all between the edges around it.
fn served(settings: &Settings, requests: u64, mean_ms: f64) -> Arm {
    let seconds = mean_ms / 1000.0;
    let edges = settings.layout.edges();
    let mut counts = vec![0; edges.len() + 1];
    counts[edges.partition_point(|edge| *edge < seconds)] = requests;
    Arm {
        requests: Trials::new(0, requests),
        latencies: settings
            .layout
            .histogram(counts, requests as f64 * seconds)
            .unwrap(),
        quality: None,
    }
}

fn half_a_day(means_ms: impl Iterator<Item = f64>) -> Verdict {
    let settings = Settings {
        method: Method::WholeSoak,
        ..Settings::default()
    };
    let mut run = Run::new(settings.clone()).unwrap();
    let looks = means_ms.map(|mean| {
        let block = Block::Seen {
            canary: served(&settings, 120, mean),
            stable: served(&settings, 480, 300.0),
        };
        run.look(&block, &Late::default(), &Beside::default(), Health::Fine)
            .verdict
    });
    looks.last().unwrap()
}

#[test]
fn the_classic_rule_is_exact_over_half_a_day() {
    let flat = |mean| half_a_day(std::iter::repeat_n(mean, 720)).to_string();
    assert_eq!(flat(499.9), "ClassicPass");
    assert_eq!(flat(500.1), "ClassicLimit");
    // An hour at 2 s inside eleven fast ones: the mean over all is 441.7 ms, and 500.8 ms when the rest is slower.
    let burst =
        |rest: f64| half_a_day((0..720).map(|block| if (300..360).contains(&block) { 2000.0 } else { rest }));
    assert_eq!(burst(300.0).to_string(), "ClassicPass");
    assert_eq!(burst(364.5).to_string(), "ClassicLimit");
}

#[test]
fn a_total_failure_is_seen_at_the_first_look_with_fifteen_requests() {
    let settings = Settings::default();
    let withdrawn_after = |requests: u64, stable: (u64, u64)| {
        let mut run = Run::new(settings.clone()).unwrap();
        let block = Block::Seen {
            canary: Arm {
                requests: Trials::new(requests, requests),
                latencies: settings.layout.empty(),
                quality: None,
            },
            stable: Arm {
                requests: Trials::new(stable.0, stable.1),
                ..served(&settings, stable.1, 300.0)
            },
        };
        (1..=10).find(|_| {
            let look = run.look(&block, &Late::default(), &Beside::default(), Health::Fine);
            look.verdict == Verdict::Abort(AbortReason::AllRequestsFail)
        })
    };
    for (requests, look) in [(120, 1), (15, 1), (14, 2), (8, 2), (5, 3), (4, 3)] {
        assert_eq!(
            withdrawn_after(requests, (0, 45)),
            Some(look),
            "{requests} requests a look"
        );
    }
    // What fails in both arms is not the canary's.
    assert_eq!(withdrawn_after(120, (45, 45)), None);
}

#[test]
fn an_outage_is_a_state_and_not_a_verdict() {
    let settings = Settings::default();
    let mut run = Run::new(settings).unwrap();
    let looks: Vec<Verdict> = (0..40)
        .map(|_| {
            run.look(&Block::Gap, &Late::default(), &Beside::default(), Health::Fine)
                .verdict
        })
        .collect();
    assert_eq!(looks[0], Verdict::Hold(Condition::LowCoverage));
    assert_eq!(looks[5], Verdict::Hold(Condition::MetricsStale));
    assert_eq!(looks[39], Verdict::Hold(Condition::MetricsUnavailable));
}

#[test]
fn a_canary_on_a_chosen_slice_is_never_promoted_and_says_why() {
    let settings = Settings {
        soak: SignedDuration::from_hours(1),
        ..Settings::default()
    };
    let verdicts = |share| {
        let mut run = Run::new(settings.clone()).unwrap();
        let beside = Beside {
            share,
            ..Beside::default()
        };
        let block = Block::Seen {
            canary: served(&settings, 240, 300.0),
            stable: served(&settings, 480, 300.0),
        };
        (0..60)
            .map(|_| {
                run.look(&block, &Late::default(), &beside, Health::Fine)
                    .verdict
                    .to_string()
            })
            .collect::<Vec<_>>()
    };
    let [fair, chosen] = [None, Some(0.2)].map(verdicts);
    assert_eq!(fair[40], "Evidence");
    assert_eq!(chosen[40], "TrafficSplitOff");
    assert!(!chosen.contains(&"Evidence".to_owned()));
    assert_eq!(
        chosen[59], "TrafficSplitOff",
        "undecided at the end, for the same reason"
    );
}

/// The dispersion that tempers a test for "not worse" after two hours of stable blocks of 1000 requests.
fn dispersion(against: Reference, bad: impl Fn(u64) -> u64) -> f64 {
    let mut test = TwoArm::new(Design::new(Null::Difference(0.01), Claim::NotWorse).tempered(against));
    for block in 0..120 {
        test.expect(Trials::new(bad(block), 1000));
    }
    test.dispersion()
}

#[test]
fn a_load_that_drifts_is_no_burst_and_neither_is_the_first_error_after_clean_hours() {
    // Errors that rise from 10 to 50 per block and fall again, within an hour each way.
    let tide = |block: u64| 10 + 40 * block.min(120 - block) / 60;
    let first_error = |block: u64| u64::from(block == 115);
    let bursts = |block: u64| if block.is_multiple_of(3) { 60 } else { 0 };
    for (what, bad, is_burst) in [
        ("a tide", &tide as &dyn Fn(u64) -> u64, false),
        ("one error", &first_error, false),
        ("bursts", &bursts, true),
    ] {
        let seen = dispersion(Reference::Neighbours, bad);
        assert_eq!(seen > 2.0, is_burst, "{what}: {seen}");
    }
    assert!(
        dispersion(Reference::Remembered, first_error) > 1000.0,
        "what the neighbours are for"
    );
}

#[test]
fn bursts_of_the_canary_alone_temper_what_speaks_for_it() {
    let design = Design::new(Null::Difference(0.01), Claim::NotWorse).tempered(Reference::Neighbours);
    let after = |canary: &dyn Fn(u64) -> u64| {
        let mut test = TwoArm::new(design.clone());
        for block in 0..60 {
            test.update(Trials::new(canary(block), 500), Trials::new(10, 1000));
        }
        test.dispersion()
    };
    let steady = after(&|block| 4 + block % 3);
    let bursting = after(&|block| if block.is_multiple_of(5) { 25 } else { 0 });
    assert!(steady < 1.1 && bursting > 5.0, "{steady}, {bursting}");
}

/// Requests of the canary after which a margin of errors is shown to be kept, when nobody sees an error: nothing is
/// promoted sooner.
fn requests_without_an_error(margin: f64) -> u64 {
    let bets = vec![margin / 2.0, margin];
    let design = Design::new(Null::Difference(margin), Claim::NotWorse).betting_on(bets);
    let mut test = TwoArm::new(design.clipped(std::f64::consts::LN_10));
    let block = || (Trials::new(0, 10), Trials::new(0, 90));
    let looks = (1..1000).find(|_| {
        let (canary, stable) = block();
        test.update(canary, stable) >= 20f64.ln()
    });
    looks.unwrap_or(1000) * 10
}

#[test]
fn a_margin_has_its_price_in_requests() {
    let prices = [0.005, 0.01, 0.02].map(requests_without_an_error);
    assert_eq!(prices, [740, 370, 190], "as docs/explanation/judgement.md says");
}

#[test]
fn what_is_beyond_the_clip_counts_only_while_blocks_speak_for_the_claim() {
    let clip = std::f64::consts::LN_10;
    let gained = |canary: &[u64]| {
        let design = Design::new(Null::Ratio(1.2), Claim::Worse).betting_on(vec![1.4]);
        let mut test = TwoArm::new(design.clipped(clip).carrying());
        (0..60).for_each(|_| test.expect(Trials::new(10, 1000)));
        let looks: Vec<f64> = std::iter::once(0.0)
            .chain(
                canary
                    .iter()
                    .map(|bad| test.update(Trials::new(*bad, 120), Trials::new(10, 1000))),
            )
            .collect();
        looks
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect::<Vec<f64>>()
    };
    // Ten failures of 120 are far beyond the clip, four are short of it, one speaks against.
    let [alone, after_burst] = [gained(&[4])[0], gained(&[10, 4])[1]];
    assert!(
        alone < clip && (after_burst - clip).abs() < 1e-12,
        "{alone} {after_burst}"
    );
    assert_eq!(
        gained(&[1, 4])[1],
        gained(&[10, 1, 4])[2],
        "a clean block ends it"
    );
    assert!(gained(&[60, 60, 60]).iter().all(|gain| *gain <= clip + 1e-12));
}
