//! From raw counters to blocks, and the classic rule.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use serin_core::counters::{Scraped, Target, block_of};
use serin_core::judge::{Arm, ArmTotals, Beside, Block, Health, Late, Layout, Method, Run, Settings, Trials};

use crate::cases::{close, get, layout, section};

fn time(seconds: f64) -> Timestamp {
    Timestamp::UNIX_EPOCH
        .checked_add(SignedDuration::from_secs_f64(seconds))
        .unwrap()
}

/// A sample as Prometheus writes it: a number, or a word for what is none.
fn sample(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

#[test]
fn increments_of_a_target() {
    for case in section("counters") {
        let mut target = Target::new(SignedDuration::from_secs_f64(get(case, "max_gap")));
        for scrape in case["scrapes"].as_array().unwrap() {
            let values: BTreeMap<String, f64> = scrape["values"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), sample(value)))
                .collect();
            let at = time(get(scrape, "ts"));
            let scraped = target.scrape(at, scrape["start"].as_f64(), values, |name| {
                !name.ends_with("_sum")
            });
            let (status, increments) = match scraped {
                Scraped::Seen => ("seen", BTreeMap::new()),
                Scraped::Bad => ("bad", BTreeMap::new()),
                Scraped::Baseline => ("baseline", BTreeMap::new()),
                Scraped::Grown { increments, gap, .. } => (if gap { "gap" } else { "ok" }, increments),
            };
            assert_eq!(scrape["status"], status, "{} of {}", scrape["ts"], case["name"]);
            let wanted: BTreeMap<String, f64> = get(scrape, "increments");
            assert!(
                increments.keys().eq(wanted.keys()),
                "{} of {}",
                scrape["ts"],
                case["name"]
            );
            for (name, want) in wanted {
                close(case, &name, increments[&name], want);
            }
        }
    }
}

#[test]
fn blocks_of_times() {
    for case in section("block_of") {
        let block = SignedDuration::from_secs_f64(get(case, "block_s"));
        let number = block_of(time(get(case, "ts")), time(get(case, "t0")), block);
        assert_eq!(number, i128::from(get::<i64>(case, "block")), "{case}");
    }
}

#[test]
fn histograms_from_cumulative_buckets() {
    for case in section("histogram_from_cumulative") {
        let layout = layout(case, "edges");
        // Buckets that fall cannot be counts of anything; as signed numbers they may even be negative.
        let cumulative: Vec<i64> = get(case, "cumulative");
        let count: i64 = get(case, "count");
        let histogram = cumulative
            .iter()
            .map(|count| u64::try_from(*count).ok())
            .collect::<Option<Vec<u64>>>()
            .zip(u64::try_from(count).ok())
            .and_then(|(cumulative, count)| layout.from_cumulative(&cumulative, count, 0.0).ok());
        let want: Option<Vec<u64>> = get(case, "counts");
        assert_eq!(
            histogram.map(|histogram| histogram.counts().to_vec()),
            want,
            "{case}"
        );
    }
}

#[test]
fn sums_that_the_counts_allow() {
    for case in section("sum_consistency") {
        let layout = layout(case, "edges");
        let possible = layout
            .histogram(get(case, "counts"), get(case, "sum"))
            .is_ok_and(|histogram| layout.is_consistent(&histogram));
        assert_eq!(possible, get::<bool>(case, "ok"), "{case}");
    }
}

/// The verdict of a soak of one block that held everything.
#[test]
fn the_classic_rule() {
    for case in section("classic") {
        let (seconds, count): (f64, u64) = (get(case, "sum"), get(case, "count"));
        let totals = ArmTotals {
            successes: count,
            seconds,
            ..ArmTotals::default()
        };
        let mean: Option<f64> = get(case, "mean");
        assert_eq!(totals.mean_seconds().is_some(), mean.is_some(), "{case}");
        if let Some((got, want)) = totals.mean_seconds().zip(mean) {
            close(case, "mean", got, want);
        }
        let limit: f64 = get(case, "limit");
        let mut settings = Settings {
            method: Method::WholeSoak,
            layout: Layout::new(vec![limit]).unwrap(),
            soak: SignedDuration::from_mins(1),
            min_requests: 0,
            ..Settings::default()
        };
        settings.latency.limit_seconds = limit;
        settings.cap_seconds = limit * 100.0;
        let arm = Arm {
            // A failure besides, so that the block is judged even without a success.
            requests: Trials::new(1, count + 1),
            latencies: settings.layout.histogram(vec![count, 0], seconds).unwrap(),
            quality: None,
        };
        let block = Block::Seen {
            canary: arm.clone(),
            stable: arm,
        };
        let look =
            Run::new(settings)
                .unwrap()
                .look(&block, &Late::default(), &Beside::default(), Health::Fine);
        let passed = look.verdict.to_string() == "ClassicPass";
        assert_eq!(passed, get::<bool>(case, "pass"), "{case}: {look:?}");
    }
}
