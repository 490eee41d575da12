use super::*;
use proptest::prelude::*;

const EDGES: [f64; 2] = [0.1, 0.5];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn layout() -> Layout {
    Layout::new(EDGES.to_vec()).unwrap()
}

fn one(pod: &str, status: u16, counter: Counter, samples: &[(i64, f64)]) -> Series {
    let samples = samples
        .iter()
        .map(|(second, value)| (at(*second), *value))
        .collect();
    Series {
        pod: pod.into(),
        labels: String::new(),
        status,
        counter,
        samples,
    }
}

/// A pod whose successes all take 0.2 s, by cumulative number of requests.
fn pod(name: &str, requests: &[(i64, f64)]) -> Vec<Series> {
    let scaled = |factor: f64| {
        requests
            .iter()
            .map(|(at, n)| (*at, n * factor))
            .collect::<Vec<_>>()
    };
    let bucket = |edge: f64| Counter::Bucket(super::super::Edge::new(edge).unwrap());
    vec![
        one(
            name,
            0,
            Counter::Scrape,
            &scaled(0.0).iter().map(|(at, _)| (*at, 1.0)).collect::<Vec<_>>(),
        ),
        one(name, 200, Counter::Requests, requests),
        one(name, 200, Counter::LatencySum, &scaled(0.2)),
        one(name, 200, bucket(0.1), &scaled(0.0)),
        one(name, 200, bucket(0.5), requests),
        one(name, 200, bucket(f64::INFINITY), requests),
    ]
}

fn cut(layout: &Layout) -> Cut<'_> {
    Cut {
        layout,
        length: secs(10),
        from: at(0),
        mark: at(0),
        max_gap: secs(20),
    }
}

fn every_five(until: i64) -> Vec<(i64, f64)> {
    (-1..=until / 5).map(|n| (n * 5, (n + 1) as f64 * 5.0)).collect()
}

fn requests(closed: &Closed) -> Option<(u64, u64)> {
    match &closed.block {
        Block::Seen { canary, stable } => Some((canary.requests.all, stable.requests.all)),
        Block::Gap | Block::Warmup { .. } => None,
    }
}

fn late(closed: &Closed) -> u64 {
    closed.late.canary.as_ref().map_or(0, |arm| arm.requests.all)
}

#[test]
fn a_block_is_closed_by_the_first_scrape_past_its_end() {
    let layout = layout();
    let stable = pod("s", &every_five(15));
    for (until, now, count) in [(5, 11, 0), (10, 11, 1), (5, 29, 0), (5, 31, 1)] {
        let blocks = closed(&pod("c", &every_five(until)), &stable, &cut(&layout), at(now));
        assert_eq!(blocks.len(), count, "scraped until {until}, now {now}");
    }
}

#[test]
fn an_increment_belongs_to_the_block_of_its_later_sample() {
    let layout = layout();
    let canary = pod("c", &[(-3, 0.0), (4, 7.0), (8, 9.0), (12, 20.0), (21, 20.0)]);
    let stable = pod("s", &every_five(25));
    let blocks = closed(&canary, &stable, &cut(&layout), at(21));
    let counts: Vec<_> = blocks.iter().map(requests).collect();
    assert_eq!(counts, [Some((9, 10)), Some((11, 10))]);
}

#[test]
fn what_lies_across_a_gap_is_late_and_no_evidence() {
    let layout = layout();
    let stable = pod("s", &every_five(65));
    let canary = pod(
        "c",
        &[
            (-5, 0.0),
            (0, 0.0),
            (5, 5.0),
            (10, 10.0),
            (45, 100.0),
            (50, 103.0),
            (60, 110.0),
        ],
    );
    let blocks = closed(&canary, &stable, &cut(&layout), at(60));
    let counts: Vec<_> = blocks.iter().map(requests).collect();
    assert_eq!(
        counts,
        [Some((10, 10)), None, None, None, Some((3, 10)), Some((7, 10))]
    );
    assert_eq!(blocks.iter().map(late).collect::<Vec<_>>(), [0, 0, 0, 0, 90, 0]);
    assert_eq!(
        blocks[1].missing.as_deref(),
        Some("the canary: pod c could not be scraped")
    );
    assert_eq!(blocks[3].mark, at(10));
}

#[test]
fn a_torn_histogram_is_dropped_and_nothing_is_lost() {
    let layout = layout();
    let mut canary = pod("c", &every_five(20));
    let infinite = canary.last_mut().unwrap();
    infinite.samples[2].1 -= 1.0;
    let blocks = closed(&canary, &pod("s", &every_five(20)), &cut(&layout), at(20));
    let counts: Vec<_> = blocks.iter().map(requests).collect();
    assert_eq!(counts, [Some((10, 10)), Some((10, 10))]);
}

#[test]
fn pods_that_come_and_go_make_no_gap() {
    let layout = layout();
    let mut stable = pod("old", &every_five(5));
    stable.extend(pod("new", &[(7, 0.0), (12, 4.0), (17, 8.0), (22, 9.0)]));
    let blocks = closed(&pod("c", &every_five(20)), &stable, &cut(&layout), at(40));
    assert_eq!(requests(&blocks[0]), Some((10, 5)));
    assert_eq!(requests(&blocks[1]), Some((10, 8)));
}

#[test]
fn a_failed_scrape_of_a_pod_that_is_there_is_a_gap() {
    let layout = layout();
    let mut canary = pod("c", &every_five(5));
    canary.push(one(
        "c",
        0,
        Counter::Scrape,
        &[(10, 0.0), (15, 0.0), (20, 0.0), (25, 0.0)],
    ));
    let blocks = closed(&canary, &pod("s", &every_five(25)), &cut(&layout), at(25));
    assert_eq!(
        blocks.iter().map(requests).collect::<Vec<_>>(),
        [Some((5, 10)), None]
    );
}

/// What a gateway's pod says of an endpoint: successes and failures, cumulative.
fn gateway(endpoint: &str, counts: &[(i64, f64, f64)]) -> Vec<Series> {
    let of = |counter, value: &dyn Fn(&(i64, f64, f64)) -> f64| {
        let samples: Vec<_> = counts.iter().map(|count| (count.0, value(count))).collect();
        one(&format!("gateway/{endpoint}"), 0, counter, &samples)
    };
    vec![
        of(Counter::GatewaySuccesses, &|count| count.1),
        of(Counter::GatewayFailures, &|count| count.2),
    ]
}

#[test]
fn requests_that_no_pod_ever_answered_are_known_to_the_gateway() {
    let layout = layout();
    let mut canary = pod("c", &every_five(15));
    let mut stable = pod("s", &every_five(15));
    let without = closed(&canary, &stable, &cut(&layout), at(15));
    canary.extend(gateway(
        "c",
        &[(-2, 0.0, 0.0), (3, 4.0, 3.0), (8, 9.0, 7.0), (13, 20.0, 9.0)],
    ));
    let one_sided = closed(&canary, &stable, &cut(&layout), at(15));
    // The gateway is waited for all the same.
    assert_eq!(one_sided[0].known_after, secs(3));
    let but_for_waiting: Vec<Closed> = one_sided
        .into_iter()
        .map(|closed| Closed {
            known_after: without[0].known_after,
            ..closed
        })
        .collect();
    assert_eq!(
        but_for_waiting, without,
        "without a word on stable the pods are believed"
    );
    stable.extend(gateway(
        "s",
        &[(-2, 0.0, 0.0), (3, 5.0, 0.0), (8, 10.0, 0.0), (13, 15.0, 0.0)],
    ));
    let both = closed(&canary, &stable, &cut(&layout), at(15));
    assert_eq!(both[0].witness, Witness::Gateway);
    assert_eq!(both[0].pods, Some([Trials::new(0, 10), Trials::new(0, 10)]));
    let Block::Seen { canary, stable } = &both[0].block else {
        panic!("a block with data: {:?}", both[0]);
    };
    assert_eq!(
        (canary.requests, stable.requests),
        (Trials::new(7, 16), Trials::new(0, 10))
    );
    assert_eq!(canary.latencies.count(), 10, "latencies are those of the pods");
}

#[test]
fn a_block_waits_for_a_gateway_that_is_scraped_later_than_the_pods() {
    let layout = layout();
    let with_gateway = |name: &str, counts: &[(i64, f64, f64)]| {
        let mut series = pod(name, &every_five(15));
        series.extend(gateway(name, counts));
        series
    };
    let stable = with_gateway("s", &[(-2, 0.0, 0.0), (4, 4.0, 0.0), (10, 10.0, 0.0)]);
    let early = [(-2, 0.0, 0.0), (4, 4.0, 2.0)];
    let waiting = with_gateway("c", &early);
    assert_eq!(closed(&waiting, &stable, &cut(&layout), at(15)), []);

    let in_time = with_gateway("c", &[early[0], early[1], (9, 9.0, 5.0), (14, 9.0, 9.0)]);
    let blocks = closed(&in_time, &stable, &cut(&layout), at(15));
    assert_eq!(requests(&blocks[0]), Some((14, 10)));

    let silent = closed(&waiting, &stable, &cut(&layout), at(60));
    assert_eq!(
        silent[0].witness,
        Witness::Gateway,
        "what it said before it fell silent"
    );
}

#[test]
fn a_block_tells_how_long_its_last_scrape_let_wait() {
    let layout = layout();
    let stable = pod("s", &every_five(15));
    for (scrapes, known_after) in [([-5, 0, 5, 10], 0), ([-3, 2, 7, 12], 2), ([-1, 4, 9, 14], 4)] {
        let canary = pod("c", &scrapes.map(|at| (at, 0.0)));
        let blocks = closed(&canary, &stable, &cut(&layout), at(15));
        assert_eq!(blocks[0].known_after, secs(known_after), "{scrapes:?}");
    }
}

#[test]
fn edges_are_compared_as_numbers() {
    let bucket = |le: &str| {
        let edge = super::super::Edge::new(le.parse().unwrap()).unwrap();
        one("a", 200, Counter::Bucket(edge), &[(0, 1.0)])
    };
    let common = common_layout(
        &[bucket("0.5"), bucket("1.0"), bucket("+Inf")],
        &[bucket("1"), bucket("2.5"), bucket("0.50")],
    );
    assert_eq!(common, Layout::new(vec![0.5, 1.0]).ok());
    assert_eq!(common_layout(&[], &[]), None);
}

#[test]
fn stable_is_known_from_before() {
    let layout = layout();
    let stable = pod(
        "s",
        &[
            (-40, 0.0),
            (-35, 3.0),
            (-30, 3.0),
            (-25, 5.0),
            (-20, 5.0),
            (-15, 9.0),
            (-5, 9.0),
        ],
    );
    let arms = earlier(&stable, &cut(&layout), 4);
    let counts: Vec<u64> = arms.iter().map(|arm| arm.requests.all).collect();
    assert_eq!(counts, [3, 2, 4], "blocks without a request shape nothing");
}

proptest! {
    /// However looks cut the time, and however often the operator restarts: every request is counted once, in a block
    /// or late.
    #[test]
    fn looks_partition_the_counts(
        steps in prop::collection::vec((1i64..9, 0u32..50, prop::bool::weighted(0.1), prop::bool::weighted(0.1)), 4..80),
        looks in prop::collection::btree_set(1i64..400, 1..12),
    ) {
        let layout = layout();
        let (mut time, mut value, mut truth, mut before) = (0, 0.0, 0.0, 0.0);
        let mut samples = vec![(0, 0.0)];
        for (wait, requests, restarted, missed) in steps {
            time += wait;
            value = if restarted { 0.0 } else { value } + f64::from(requests);
            if missed {
                continue;
            }
            truth += if value >= before { value - before } else { value };
            before = value;
            samples.push((time, value));
        }
        let last = samples.last().unwrap().0;
        let all = pod("c", &samples);
        let stable = pod("s", &every_five(600));
        let (mut cut, mut counted) = (cut(&layout), 0);
        for now in looks.into_iter().chain([last + 10, last + 60]) {
            let visible = |all: &[Series]| -> Vec<Series> {
                let until_now = |series: &Series| series.samples.iter().filter(|(time, _)| *time <= at(now)).copied().collect();
                all.iter().map(|series| Series { samples: until_now(series), ..series.clone() }).collect()
            };
            for block in closed(&visible(&all), &visible(&stable), &cut, at(now)) {
                counted += requests(&block).map_or(0, |(canary, _)| canary) + late(&block);
                cut = Cut { from: block.end, mark: block.mark, ..cut };
            }
        }
        // Samples of the last block may wait for a scrape past its end.
        let waiting: f64 = {
            let (mut sum, mut before) = (0.0, 0.0);
            for (time, value) in &samples {
                let grown = if *value >= before { value - before } else { *value };
                if at(*time) > cut.mark {
                    sum += grown;
                }
                before = *value;
            }
            sum
        };
        prop_assert_eq!(counted as f64 + waiting, truth);
    }
}
