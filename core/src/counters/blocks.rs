//! Samples to blocks: what both arms served between two looks, or why that is not known.
//!
//! A block is a function of the samples alone, so that a restart, a repeated answer and overlapping windows change
//! nothing. An increment belongs to the block of its later sample. What lies across a gap enters the totals, late, and
//! is never evidence.
//!
//! Two witnesses count requests: the pods, and the gateway in front of them. The gateway also sees those that never
//! reached a pod, or that a pod never answered; where it speaks of both arms, its word counts. Latencies are the pods'.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::target::{Scraped, Target};
use super::{Counter, Series};
use crate::judge::{Arm, Block, Histogram, Late, Layout, Trials, whole};

/// Assumed time between scrapes where the samples do not tell it.
const USUAL_INTERVAL: SignedDuration = SignedDuration::from_secs(15);
/// How much later than scraped a sample may become visible.
const VISIBLE_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// Where to cut the samples.
#[derive(Clone, Copy, Debug)]
pub struct Cut<'a> {
    /// Bucket edges of both arms.
    pub layout: &'a Layout,
    /// Length of a block.
    pub length: SignedDuration,
    /// Start of the next block.
    pub from: Timestamp,
    /// Samples up to here are counted already; earlier than `from` when the last blocks were gaps.
    pub mark: Timestamp,
    /// Two scrapes of a target further apart leave time unobserved.
    pub max_gap: SignedDuration,
}

/// Who counted the requests of a block. The same for both arms, or they could not be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Witness {
    /// The pods themselves.
    #[default]
    Pods,
    /// The gateway in front of them.
    Gateway,
}

/// A block of which everything is known that ever will be.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// What it holds.
    pub block: Block,
    /// What became known in it of the time before.
    pub late: Late,
    /// Samples up to here are counted now.
    pub mark: Timestamp,
    /// Why it is a gap, in words.
    pub missing: Option<String>,
    /// Who counted its requests.
    pub witness: Witness,
    /// Requests of canary and stable as the pods counted them, where the gateway is the witness.
    pub pods: Option<[Trials; 2]>,
    /// How long after its end the last of its targets was scraped, in whole seconds, rounded up.
    pub known_after: SignedDuration,
}

/// What happened between two scrapes of a target.
struct Growth {
    since: Timestamp,
    at: Timestamp,
    arm: Arm,
}

/// One scrape target over the window of a query.
struct Seen {
    first: Timestamp,
    newest: Timestamp,
    /// Times of usable scrapes.
    usable: BTreeSet<Timestamp>,
    growths: Vec<Growth>,
}

/// The arm's targets by pod.
type Targets<'a> = BTreeMap<&'a str, Seen>;

/// The bucket edges that both arms export; none before anybody was served.
pub fn common_layout(canary: &[Series], stable: &[Series]) -> Option<Layout> {
    let edges = |arm: &[Series]| -> BTreeSet<_> {
        arm.iter()
            .filter_map(|series| match series.counter {
                Counter::Bucket(edge) if edge.seconds().is_finite() => Some(edge),
                Counter::Bucket(_)
                | Counter::Requests
                | Counter::LatencySum
                | Counter::Outcomes
                | Counter::BadOutcomes
                | Counter::GatewaySuccesses
                | Counter::GatewayFailures
                | Counter::Start
                | Counter::Scrape => None,
            })
            .collect()
    };
    let (canary, stable) = (edges(canary), edges(stable));
    // An arm that has served nothing yet exports no edges: those of the other are as good.
    let common: Vec<f64> = match (canary.is_empty(), stable.is_empty()) {
        (_, true) => canary.into_iter().map(super::Edge::seconds).collect(),
        (true, false) => stable.into_iter().map(super::Edge::seconds).collect(),
        (false, false) => canary.intersection(&stable).map(|edge| edge.seconds()).collect(),
    };
    Layout::new(common).ok()
}

/// The blocks that are complete at `now`, oldest first.
///
/// A block is complete when every target that was there, of pods and gateway, has been scraped past its end, or two
/// scrapes and ten seconds later at the latest. Guarantees: each observation is in one block, or late, exactly once, as
/// long as each call goes on from the `end` and the `mark` of the last block of the call before; a block in which a
/// target of either arm was not scraped is a gap; pods that come and go make no gap.
pub fn closed(canary: &[Series], stable: &[Series], cut: &Cut<'_>, now: Timestamp) -> Vec<Closed> {
    let arms = [canary, stable].map(|arm| targets(arm, cut.layout));
    let gateway = [canary, stable].map(|arm| behind_gateway(arm, cut.layout));
    let grace = grace(arms.iter().chain(&gateway));
    let mut blocks = Vec::new();
    let (mut start, mut mark) = (cut.from, cut.mark);
    while let Some(end) = start.checked_add(cut.length).ok().filter(|end| *end <= now) {
        let overdue = now.duration_since(end) >= grace;
        let is_complete = arms.iter().all(|arm| is_past(arm, end, cut.max_gap).unwrap_or(false))
            // A gateway that says nothing is not waited for.
            && gateway.iter().all(|arm| is_past(arm, end, cut.max_gap).unwrap_or(true));
        if !is_complete && !overdue {
            break;
        }
        let [canary, stable] = &arms;
        let missing = absent(canary, start, end)
            .map(|why| format!("the canary: {why}"))
            .or_else(|| absent(stable, start, end).map(|why| format!("stable: {why}")));
        let (mut witness, mut pods) = (Witness::Pods, None);
        let (block, late) = if missing.is_some() {
            (Block::Gap, Late::default())
        } else {
            let within = (mark, start, end);
            let [mut canary, mut stable] = [canary, stable].map(|arm| served(arm, cut, within));
            if gateway.iter().all(|arm| absent(arm, start, end).is_none()) {
                witness = Witness::Gateway;
                pods = Some([&canary, &stable].map(|[arm, _]| arm.requests));
                for (arm, seen) in [&mut canary, &mut stable].into_iter().zip(&gateway) {
                    for (arm, seen) in arm.iter_mut().zip(served(seen, cut, within)) {
                        arm.requests = seen.requests;
                    }
                }
            }
            let ([canary, late_canary], [stable, late_stable]) = (canary, stable);
            mark = end;
            let something = |arm: Arm| Some(arm).filter(|arm| arm.requests.all > 0);
            (
                Block::Seen { canary, stable },
                Late {
                    canary: something(late_canary),
                    stable: something(late_stable),
                },
            )
        };
        blocks.push(Closed {
            start,
            end,
            block,
            late,
            mark,
            missing,
            witness,
            pods,
            known_after: known_after(arms.iter().chain(&gateway), end),
        });
        start = end;
    }
    blocks
}

/// What an arm served in the blocks before `cut.from`, oldest first: what is known of stable before a trial.
pub fn earlier(arm: &[Series], cut: &Cut<'_>, blocks: i32) -> Vec<Arm> {
    let targets = targets(arm, cut.layout);
    let bound = |number: i32| {
        cut.from
            .saturating_sub(cut.length.saturating_mul(number))
            .unwrap_or(Timestamp::MIN)
    };
    (1..=blocks)
        .rev()
        .map(|number| (bound(number), bound(number - 1)))
        .filter(|(start, end)| absent(&targets, *start, *end).is_none())
        .map(|(start, end)| {
            let [arm, _] = served(&targets, cut, (start, start, end));
            arm
        })
        .filter(|arm| arm.requests.all > 0)
        .collect()
}

/// Two scrapes and the time until a sample is visible.
fn grace<'a>(arms: impl Iterator<Item = &'a Targets<'a>>) -> SignedDuration {
    let interval = arms
        .flat_map(BTreeMap::values)
        .filter_map(|target| {
            let later = target.usable.iter().skip(1);
            let pairs = target.usable.iter().zip(later);
            pairs.map(|(one, next)| next.duration_since(*one)).min()
        })
        .max();
    interval
        .unwrap_or(USUAL_INTERVAL)
        .saturating_mul(2)
        .saturating_add(VISIBLE_AFTER)
}

/// Whether every target that was there around `end` has been scraped past it; none when there was no target.
fn is_past(arm: &Targets<'_>, end: Timestamp, max_gap: SignedDuration) -> Option<bool> {
    let mut around = arm
        .values()
        .filter(|target| end.duration_since(target.newest) <= max_gap)
        .peekable();
    around.peek()?;
    Some(around.all(|target| target.newest >= end))
}

/// How long after `end` the last target was scraped for the first time.
fn known_after<'a>(arms: impl Iterator<Item = &'a Targets<'a>>, end: Timestamp) -> SignedDuration {
    let first = |target: &Seen| target.usable.range(end..).next().copied();
    let last = arms.flat_map(BTreeMap::values).filter_map(first).max();
    let after = last.map_or(SignedDuration::ZERO, |last| last.duration_since(end));
    let begun = i64::from(after.subsec_nanos() > 0);
    SignedDuration::from_secs(after.as_secs().saturating_add(begun))
}

/// Why an arm is not known in a block; none when it is.
fn absent(arm: &Targets<'_>, start: Timestamp, end: Timestamp) -> Option<String> {
    let scraped = |target: &Seen| target.usable.range(start..=end).any(|at| *at > start);
    // A pod that came or went within the block makes no gap; one that was there all the time does.
    let expected = |target: &Seen| target.first <= start && target.newest >= end;
    if let Some((pod, _)) = arm
        .iter()
        .find(|(_, target)| expected(target) && !scraped(target))
    {
        return Some(format!("pod {pod} could not be scraped"));
    }
    if arm.values().any(scraped) {
        None
    } else {
        Some("no pod was scraped".into())
    }
}

/// What an arm served: in the block, and late. Samples up to the mark are counted already.
fn served(
    arm: &Targets<'_>,
    cut: &Cut<'_>,
    (mark, start, end): (Timestamp, Timestamp, Timestamp),
) -> [Arm; 2] {
    let empty = || Arm {
        requests: Trials::default(),
        latencies: cut.layout.empty(),
        quality: None,
    };
    let [mut block, mut late] = [empty(), empty()];
    let growths = arm.values().flat_map(|target| &target.growths);
    for growth in growths.filter(|growth| growth.at > mark && growth.at <= end) {
        let is_gap = growth.at.duration_since(growth.since) > cut.max_gap;
        let into = if is_gap || growth.at <= start {
            &mut late
        } else {
            &mut block
        };
        into.requests = into.requests.plus(growth.arm.requests);
        into.latencies = into.latencies.plus(&growth.arm.latencies);
        if let Some(outcomes) = growth.arm.quality {
            into.quality = Some(into.quality.unwrap_or_default().plus(outcomes));
        }
    }
    [block, late]
}

/// One series of a target, and the place of its bucket in the layout where it counts one.
struct Counted<'a> {
    series: &'a Series,
    bucket: Option<usize>,
}

/// One scrape of a target: values by the series' number.
#[derive(Default)]
struct Scrape {
    up: Option<f64>,
    start: Option<f64>,
    values: BTreeMap<usize, f64>,
}

/// What the pods of an arm counted themselves.
fn targets<'a>(series: &'a [Series], layout: &Layout) -> Targets<'a> {
    differenced(series, layout, is_of_pod, arm)
}

/// What the gateway counted of the requests to an arm.
fn behind_gateway<'a>(series: &'a [Series], layout: &Layout) -> Targets<'a> {
    differenced(
        series,
        layout,
        |counter| !is_of_pod(counter),
        |target, increments, layout| {
            let [mut bad, mut all] = [0.0; 2];
            for (counted, grown) in grown(target, increments) {
                all += grown;
                if counted.series.counter == Counter::GatewayFailures {
                    bad += grown;
                }
            }
            Some(Arm {
                requests: Trials::new(whole(bad), whole(all)),
                latencies: layout.empty(),
                quality: None,
            })
        },
    )
}

fn is_of_pod(counter: Counter) -> bool {
    match counter {
        Counter::GatewaySuccesses | Counter::GatewayFailures => false,
        Counter::Requests
        | Counter::LatencySum
        | Counter::Bucket(_)
        | Counter::Outcomes
        | Counter::BadOutcomes
        | Counter::Start
        | Counter::Scrape => true,
    }
}

/// Differences the scrapes of every target that has such counters.
fn differenced<'a>(
    series: &'a [Series],
    layout: &Layout,
    is_wanted: impl Fn(Counter) -> bool,
    arm: impl Fn(&[Counted<'a>], &BTreeMap<usize, f64>, &Layout) -> Option<Arm>,
) -> Targets<'a> {
    let mut pods: BTreeMap<&str, Vec<Counted<'a>>> = BTreeMap::new();
    for series in series.iter().filter(|one| is_wanted(one.counter)) {
        let bucket = place(series.counter, layout);
        pods.entry(&series.pod)
            .or_default()
            .push(Counted { series, bucket });
    }
    pods.into_iter()
        .filter_map(|(pod, counted)| {
            let seen = target(&counted, |increments| arm(&counted, increments, layout))?;
            Some((pod, seen))
        })
        .collect()
}

fn place(counter: Counter, layout: &Layout) -> Option<usize> {
    let Counter::Bucket(edge) = counter else {
        return None;
    };
    let edges = layout.edges();
    if edge.seconds().is_infinite() {
        return Some(edges.len());
    }
    edges.iter().position(|own| *own == edge.seconds())
}

/// Differences the scrapes of one target, oldest first.
fn target(counted: &[Counted<'_>], arm: impl Fn(&BTreeMap<usize, f64>) -> Option<Arm>) -> Option<Seen> {
    let mut scrapes: BTreeMap<Timestamp, Scrape> = BTreeMap::new();
    for (number, Counted { series, .. }) in counted.iter().enumerate() {
        for (time, value) in &series.samples {
            let scrape = scrapes.entry(*time).or_default();
            match series.counter {
                Counter::Scrape => scrape.up = Some(*value),
                Counter::Start => scrape.start = Some(*value),
                Counter::Requests
                | Counter::LatencySum
                | Counter::Bucket(_)
                | Counter::Outcomes
                | Counter::BadOutcomes
                | Counter::GatewaySuccesses
                | Counter::GatewayFailures => {
                    scrape.values.insert(number, *value);
                }
            }
        }
    }
    let (first, newest) = (*scrapes.keys().next()?, *scrapes.keys().next_back()?);
    let mut seen = Seen {
        first,
        newest,
        usable: BTreeSet::new(),
        growths: Vec::new(),
    };
    let is_count = |number: &usize| {
        let counted = counted.get(*number);
        counted.is_some_and(|counted| counted.series.counter != Counter::LatencySum)
    };
    // Gaps are told by the block, which knows where it is cut.
    let mut target = Target::new(SignedDuration::MAX);
    for (at, Scrape { up, start, values }) in scrapes {
        if up.is_some_and(|up| up < 1.0) {
            continue;
        }
        let mut grown = None;
        let scraped = target.scrape_if(at, start, values, is_count, |increments| {
            grown = arm(increments);
            grown.is_some()
        });
        match scraped {
            Scraped::Seen | Scraped::Bad => {}
            Scraped::Baseline => {
                seen.usable.insert(at);
            }
            Scraped::Grown { since, .. } => {
                seen.usable.insert(at);
                seen.growths.extend(grown.map(|arm| Growth { since, at, arm }));
            }
        }
    }
    Some(seen)
}

/// By how much each series has grown.
fn grown<'a, 'b>(
    target: &'b [Counted<'a>],
    increments: &'b BTreeMap<usize, f64>,
) -> impl Iterator<Item = (&'b Counted<'a>, f64)> {
    increments
        .iter()
        .filter_map(|(number, grown)| Some((target.get(*number)?, *grown)))
}

/// One scrape's increments as an arm; none when the scrape caught the histogram between two writes.
fn arm(target: &[Counted<'_>], increments: &BTreeMap<usize, f64>, layout: &Layout) -> Option<Arm> {
    let [mut all, mut bad, mut successes, mut seconds] = [0.0; 4];
    let mut outcomes: Option<[f64; 2]> = None;
    let mut cumulative = vec![0; layout.edges().len().saturating_add(1)];
    for (Counted { series, bucket }, grown) in grown(target, increments) {
        let class = series.status / 100;
        match series.counter {
            Counter::Requests => {
                all += grown;
                match class {
                    2 => successes += grown,
                    5 => bad += grown,
                    _ => {}
                }
            }
            Counter::Outcomes => outcomes.get_or_insert_default()[1] += grown,
            Counter::BadOutcomes => outcomes.get_or_insert_default()[0] += grown,
            Counter::LatencySum if class == 2 => seconds += grown,
            Counter::Bucket(_) if class == 2 => {
                if let Some(below) = bucket.and_then(|bucket| cumulative.get_mut(bucket)) {
                    *below += whole(grown);
                }
            }
            Counter::LatencySum | Counter::Bucket(_) | Counter::Start | Counter::Scrape => {}
            Counter::GatewaySuccesses | Counter::GatewayFailures => {}
        }
    }
    let latencies: Histogram = layout
        .from_cumulative(&cumulative, whole(successes), seconds)
        .ok()?;
    layout.is_consistent(&latencies).then(|| Arm {
        requests: Trials::new(whole(bad), whole(all)),
        latencies,
        // A scrape between two writes may see the bad one first.
        quality: outcomes.map(|[bad, all]| Trials::new(whole(bad.min(all)), whole(all))),
    })
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
