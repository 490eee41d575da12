//! How long a judgement will take, before it begins: the rule itself, played on the traffic that is expected.
//!
//! Every block holds what it holds on average, rounded so that nothing is lost over the blocks. So what is told is
//! about the median; traffic that scatters is told sooner or later.

use std::fmt;

use jiff::SignedDuration;

use super::arm::{Arm, Block, Late, Trials, whole};
use super::cross_check::Beside;
use super::layout::Layout;
use super::run::{Health, Run};
use super::settings::{Settings, SettingsError};
use super::verdict::{Consequence, Verdict};

/// Blocks that are played at most: four hours of the usual ones. What takes longer is told as that.
const BLOCKS: u32 = 240;
/// Blocks of stable from before, as a run usually knows them.
const EARLIER: u32 = 60;
/// Points that stand for the latencies of one bucket.
const POINTS: u32 = 8;

/// What is expected of both arms together.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Requests per second.
    pub per_second: f64,
    /// Share of them that the canary gets, 0 to 1.
    pub canary_share: f64,
    /// Share of them that fail, 0 to 1.
    pub failing: f64,
    /// Latencies of the others, in seconds, each with its share.
    latencies: Vec<(f64, f64)>,
}

/// How a canary may differ from stable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// By which share of all requests more of them fail, 0 to 1: of a service that never fails, no multiple would say
    /// anything.
    pub failing_more: f64,
    /// How many times as slow.
    pub slower: f64,
}

impl Change {
    /// None at all.
    pub const NONE: Self = Self {
        failing_more: 0.0,
        slower: 1.0,
    };

    /// Those that people ask about first.
    pub const USUAL: [Self; 5] = [
        Self::NONE,
        Self::failing_more(0.02),
        Self::failing_more(0.05),
        Self::slower(1.2),
        Self::slower(1.5),
    ];

    const fn failing_more(failing_more: f64) -> Self {
        Self {
            failing_more,
            ..Self::NONE
        }
    }

    const fn slower(slower: f64) -> Self {
        Self { slower, ..Self::NONE }
    }
}

/// What will be said of a canary, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    /// Of which canary.
    pub change: Change,
    /// After how much time, and what; none where it takes longer than was played.
    pub verdict: Option<(SignedDuration, Verdict)>,
}

impl Traffic {
    /// Traffic like that of these blocks of stable, which got all but `canary_share` of it, or all of it before a trial.
    ///
    /// None where nothing was served.
    pub fn like(earlier: &[Arm], layout: &Layout, block: SignedDuration, canary_share: f64) -> Option<Self> {
        let sum = |of: &dyn Fn(&Arm) -> u64| earlier.iter().map(of).sum::<u64>() as f64;
        let all = sum(&|arm| arm.requests.all);
        let successes = sum(&|arm| arm.latencies.count());
        let seconds: f64 = earlier.iter().map(|arm| arm.latencies.seconds()).sum();
        if all == 0.0 || successes == 0.0 {
            return None;
        }
        let shares = (0..=layout.edges().len()).map(|bucket| {
            let inside = |arm: &Arm| arm.latencies.counts().get(bucket).copied().unwrap_or(0);
            sum(&inside) / successes
        });
        let points = points(layout, shares);
        let mean: f64 = points.iter().map(|(latency, share)| latency * share).sum();
        // Within a bucket nobody knows; their sum is known.
        let scale = seconds / successes / mean;
        Some(Self {
            per_second: all / (earlier.len() as f64 * block.as_secs_f64()),
            canary_share,
            failing: sum(&|arm| arm.requests.bad) / all,
            latencies: points
                .into_iter()
                .map(|(latency, share)| (latency * scale, share))
                .collect(),
        })
    }

    /// Traffic with log-normal latencies of this mean, in seconds, and a standard deviation of their logarithm of 0.6,
    /// as services often have.
    pub fn assumed(per_second: f64, canary_share: f64, failing: f64, mean: f64) -> Self {
        const SPREAD: f64 = 0.6;
        const STEPS: u32 = 64;
        let middle = mean.ln() - SPREAD * SPREAD / 2.0;
        let density = |z: f64| (-z * z / 2.0).exp();
        let zs = (0..STEPS).map(|step| (f64::from(step) + 0.5) / f64::from(STEPS) * 8.0 - 4.0);
        let weights: f64 = zs.clone().map(density).sum();
        let latencies = zs.map(|z| ((middle + SPREAD * z).exp(), density(z) / weights));
        Self {
            per_second,
            canary_share,
            failing,
            latencies: latencies.collect(),
        }
    }

    /// What will be said of canaries that differ so, if this traffic goes on. Of outcomes and of a team's own figures
    /// nothing is expected: they are left out.
    ///
    /// Errors: settings that nothing can be judged by.
    pub fn outlook(&self, settings: &Settings, changes: &[Change]) -> Result<Vec<Told>, SettingsError> {
        let settings = Settings {
            quality: None,
            figures: Vec::new(),
            ..settings.clone()
        };
        changes
            .iter()
            .map(|change| self.told(&settings, *change))
            .collect()
    }

    fn told(&self, settings: &Settings, change: Change) -> Result<Told, SettingsError> {
        let mut run = Run::new(settings.clone())?;
        let share = self.canary_share;
        let mut canary = Served::new(self, settings, share, change);
        let mut stable = Served::new(self, settings, 1.0 - share, Change::NONE);
        let mut before = Served::new(self, settings, 1.0, Change::NONE);
        for _ in 0..EARLIER {
            run.expect(&before.block());
        }
        let beside = Beside::default();
        for _ in 0..BLOCKS {
            let block = Block::Seen {
                canary: canary.block(),
                stable: stable.block(),
            };
            let look = run.look(&block, &Late::default(), &beside, Health::Fine);
            if look.verdict.is_final() {
                let after = settings
                    .block
                    .saturating_mul(i32::try_from(look.block).unwrap_or(i32::MAX));
                let verdict = Some((after, look.verdict));
                return Ok(Told { change, verdict });
            }
        }
        Ok(Told {
            change,
            verdict: None,
        })
    }
}

/// Points evenly within each bucket; in the open one above its edge.
fn points(layout: &Layout, shares: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    let edges = layout.edges();
    let lower = std::iter::once(0.0).chain(edges.iter().copied());
    let upper = edges.iter().copied().map(Some).chain([None]);
    let buckets = lower.zip(upper).zip(shares).filter(|(_, share)| *share > 0.0);
    buckets
        .flat_map(|((lower, upper), share)| {
            let width = upper.map_or(lower / 2.0, |upper| upper - lower);
            (0..POINTS).map(move |point| {
                let part = (f64::from(point) + 0.5) / f64::from(POINTS);
                (lower + width * part, share / f64::from(POINTS))
            })
        })
        .collect()
}

/// What an arm serves on average, in whole requests: what a block lacks of one, a later block has.
struct Served {
    layout: Layout,
    /// Per block, and not yet served: failures, then successes by bucket.
    rates: Vec<f64>,
    owed: Vec<f64>,
    /// Mean latency of each bucket.
    means: Vec<f64>,
}

impl Served {
    fn new(traffic: &Traffic, settings: &Settings, share: f64, change: Change) -> Self {
        let layout = settings.layout.clone();
        let buckets = layout.edges().len().saturating_add(1);
        let requests = traffic.per_second * settings.block.as_secs_f64() * share;
        let failing = (traffic.failing + change.failing_more).min(1.0);
        let mut rates = vec![requests * failing];
        rates.resize(buckets.saturating_add(1), 0.0);
        let mut sums = vec![0.0; buckets];
        for (latency, part) in &traffic.latencies {
            let latency = (latency * change.slower).min(settings.cap_seconds);
            let bucket = layout.edges().partition_point(|edge| *edge < latency);
            let rate = requests * (1.0 - failing) * part;
            if let (Some(sum), Some(of_bucket)) =
                (sums.get_mut(bucket), rates.get_mut(bucket.saturating_add(1)))
            {
                *of_bucket += rate;
                *sum += rate * latency;
            }
        }
        let means = sums.iter().zip(rates.iter().skip(1));
        Self {
            layout,
            owed: vec![0.0; rates.len()],
            means: means
                .map(|(sum, rate)| if *rate > 0.0 { sum / rate } else { 0.0 })
                .collect(),
            rates,
        }
    }

    fn block(&mut self) -> Arm {
        let pairs = self.owed.iter_mut().zip(&self.rates);
        let mut counts = pairs.map(|(owed, rate)| {
            *owed += rate;
            let whole = owed.floor();
            *owed -= whole;
            whole
        });
        let bad = counts.next().unwrap_or(0.0);
        let successes: Vec<f64> = counts.collect();
        let all = bad + successes.iter().sum::<f64>();
        let seconds = successes
            .iter()
            .zip(&self.means)
            .map(|(count, mean)| count * mean)
            .sum();
        let counts = successes.into_iter().map(whole).collect();
        let latencies = self.layout.histogram(counts, seconds);
        Arm {
            requests: Trials::new(whole(bad), whole(all)),
            latencies: latencies.unwrap_or_else(|_| self.layout.empty()),
            quality: None,
        }
    }
}

/// "errors + 5 percentage points", "mean × 1.2"; "like stable" where nothing differs.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.failing_more > 0.0 {
            parts.push(format!(
                "errors + {:.0} percentage points",
                self.failing_more * 100.0
            ));
        }
        if self.slower != 1.0 {
            parts.push(format!("mean × {}", self.slower));
        }
        if parts.is_empty() {
            parts.push("like stable".into());
        }
        f.write_str(&parts.join(", "))
    }
}

/// "like stable: promoted after about 30m".
impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.change)?;
        let Some((after, verdict)) = self.verdict else {
            return f.write_str("takes hours, or the end of the soak decides");
        };
        let end = match verdict.consequence() {
            Consequence::Promote => "promoted",
            Consequence::RollBack => "withdrawn",
            Consequence::None | Consequence::Hold => "left to a person",
        };
        write!(f, "{end} after about {}", crate::plan::whole_seconds(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(traffic: &Traffic, change: Change) -> Option<i64> {
        let settings = Settings {
            cap_seconds: 0.8,
            ..Settings::default()
        };
        let told = traffic.outlook(&settings, &[change]).unwrap();
        told[0].verdict.map(|(after, _)| after.as_secs() / 60)
    }

    #[test]
    fn what_is_expected_is_what_the_bench_measures_in_the_median() {
        let traffic = Traffic::assumed(20.0, 0.1, 0.01, 0.3);
        assert_eq!(minutes(&traffic, Change::NONE), Some(30), "the least soak");
        let failing = minutes(&traffic, Change::failing_more(0.04));
        assert!(matches!(failing, Some(3..=5)), "{failing:?}");
        let slower = minutes(&traffic, Change::slower(1.5));
        assert!(matches!(slower, Some(3..=4)), "{slower:?}");
    }

    #[test]
    fn more_traffic_tells_no_later_and_a_trickle_tells_nothing() {
        let at = |per_second| {
            minutes(
                &Traffic::assumed(per_second, 0.1, 0.01, 0.3),
                Change::failing_more(0.05),
            )
        };
        assert!(
            at(40.0) <= at(20.0) && at(20.0) <= at(5.0),
            "{:?} {:?} {:?}",
            at(40.0),
            at(20.0),
            at(5.0)
        );
        assert_eq!(at(0.02), None);
    }

    #[test]
    fn what_nothing_is_expected_of_keeps_nobody_from_being_promoted() {
        let settings = Settings {
            cap_seconds: 0.8,
            quality: Some(crate::judge::Quality {
                tolerance: 0.0,
                margin: 0.02,
            }),
            figures: vec![crate::judge::Bound {
                name: "memory".into(),
                query: "memory".into(),
                limit: crate::judge::Limit::AtMost(1.0),
            }],
            ..Settings::default()
        };
        let traffic = Traffic::assumed(20.0, 0.1, 0.01, 0.3);
        let told = traffic.outlook(&settings, &[Change::NONE]).unwrap();
        assert_eq!(told[0].to_string(), "like stable: promoted after about 30m");
    }

    #[test]
    fn traffic_is_known_from_what_stable_served() {
        let settings = Settings::default();
        let assumed = Traffic::assumed(20.0, 0.1, 0.01, 0.3);
        let mut served = Served::new(&assumed, &settings, 1.0, Change::NONE);
        let blocks: Vec<Arm> = (0..60).map(|_| served.block()).collect();
        let known = Traffic::like(&blocks, &settings.layout, settings.block, 0.1).unwrap();
        let mean: f64 = known
            .latencies
            .iter()
            .map(|(latency, share)| latency * share)
            .sum();
        assert!((known.per_second - 20.0).abs() < 0.1, "{}", known.per_second);
        assert!(
            (known.failing - 0.01).abs() < 1e-3 && (mean - 0.3).abs() < 0.01,
            "{} {mean}",
            known.failing
        );
        assert_eq!(Traffic::like(&[], &settings.layout, settings.block, 0.1), None);
    }
}
