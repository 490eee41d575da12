//! The lines of the past: ratings with the last minutes watched before them, shifted to end just before now.

use std::collections::BTreeMap;
use std::ops::Range;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use crate::line::{Body, Line};
use crate::noise::{Injected, Injector, Noise};
use crate::population::{Population, Rating};
use crate::random::Random;

/// Viewers who rate after the last minute, out of all who rate.
const RATED_AFTER_THE_END: f64 = 102.0 / 115.0;
/// The last rating lies this long before now, so that no clock takes it for the future.
const BEFORE_NOW: SignedDuration = SignedDuration::from_secs(60);

/// A part of a seeded shuffle of all ratings, in percent; the end is not included.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Portion(Range<usize>);

impl FromStr for Portion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is not a portion: write from..to in percent, such as 0..60, then 60..100");
        let (from, to) = text.split_once("..").ok_or_else(wrong)?;
        let from: usize = from.parse().map_err(|_| wrong())?;
        let to: usize = to.parse().map_err(|_| wrong())?;
        if from < to && to <= 100 {
            Ok(Self(from..to))
        } else {
            Err(wrong())
        }
    }
}

impl Portion {
    /// The ratings of this portion, in order of time. Portions that share no percent share no rating, and each spans
    /// all users, for the shuffle knows neither users nor times.
    pub fn take(&self, ratings: &[Rating], seed: u64) -> Vec<Rating> {
        let mut shuffled = ratings.to_vec();
        Random::new(seed, "portions").shuffle(&mut shuffled);
        let position = |percent: usize| (percent * ratings.len()).div_ceil(100);
        let range = position(self.0.start)..position(self.0.end);
        let mut taken = shuffled.get(range).unwrap_or_default().to_vec();
        taken.sort_by_key(|rating| (rating.at_seconds, rating.user, rating.movie));
        taken
    }
}

/// One record of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its value.
    pub text: String,
    /// Its timestamp, Unix milliseconds: the time of the event.
    pub timestamp_ms: i64,
}

/// The records of a backlog and what is in them.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    /// In order of event time.
    pub records: Vec<Record>,
    /// Records by kind; a duplicate counts once more, as `duplicate`.
    pub written: BTreeMap<&'static str, u64>,
    /// Damage by class.
    pub injected: Injected,
    /// Time of the first event.
    pub first: Option<Timestamp>,
    /// Time of the last event.
    pub last: Option<Timestamp>,
}

/// How a backlog is made.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Which ratings.
    pub portion: Portion,
    /// Watch lines before each rating, a minute apart.
    pub watch_lines: u32,
    /// Multiple of the real rates of noise.
    pub noise: f64,
    /// Seed of shuffle, viewings and noise.
    pub seed: u64,
}

impl Recipe {
    /// The backlog at `now`. The last rating of *all* ratings, of whatever portion, comes a minute before now.
    pub fn make(&self, population: &Population, ratings: &[Rating], now: Timestamp) -> Backlog {
        let latest = ratings
            .iter()
            .map(|rating| rating.at_seconds)
            .max()
            .unwrap_or_default();
        let shift = (now - BEFORE_NOW).as_second() - latest;
        let mut random = Random::new(self.seed, "viewings");
        let mut lines = Vec::new();
        for rating in self.portion.take(ratings, self.seed) {
            self.lines_of(rating, shift, population, &mut random, &mut lines);
        }
        lines.sort_by_key(|line| line.at);

        let mut backlog = Backlog {
            first: lines.first().map(|line| line.at),
            last: lines.last().map(|line| line.at),
            ..Backlog::default()
        };
        let mut injector = Injector::new(self.noise, self.seed);
        for line in &lines {
            backlog.push(line, &mut injector);
        }
        backlog
    }

    fn lines_of(
        &self,
        rating: Rating,
        shift: i64,
        population: &Population,
        random: &mut Random,
        lines: &mut Vec<Line>,
    ) {
        let Rating {
            user,
            movie,
            stars,
            at_seconds,
        } = rating;
        let (Some(movie), Ok(mut at)) = (
            population.movies.get(movie),
            Timestamp::from_second(at_seconds + shift),
        ) else {
            return;
        };
        lines.push(Line {
            at,
            user,
            body: Body::Rate {
                movie: movie.id.clone(),
                stars,
            },
        });
        let end = movie.runtime_minutes + 1;
        let left = u32::try_from(random.between(1, end.into())).unwrap_or(end);
        let last = if random.chance(RATED_AFTER_THE_END) {
            end
        } else {
            left
        };
        at -= SignedDuration::from_secs(i64::try_from(random.between(2, 50)).unwrap_or(2));
        for back in 0..self.watch_lines.min(last) {
            let body = Body::Watch {
                movie: movie.id.clone(),
                minute: last - back,
            };
            lines.push(Line { at, user, body });
            at -= SignedDuration::from_secs(i64::try_from(random.between(54, 66)).unwrap_or(60));
        }
    }
}

impl Backlog {
    fn push(&mut self, line: &Line, injector: &mut Injector) {
        let (text, noise) = injector.pass(line);
        let record = Record {
            text,
            timestamp_ms: line.record_timestamp_ms(),
        };
        *self.written.entry(line.kind()).or_default() += 1;
        if let Some(noise) = noise {
            *self.injected.entry(noise.name()).or_default() += 1;
        }
        if noise == Some(Noise::Duplicate) {
            *self.written.entry(Noise::Duplicate.name()).or_default() += 1;
            self.records.push(record.clone());
        }
        self.records.push(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::synthetic;
    use std::collections::HashSet;

    fn recipe(portion: &str) -> Recipe {
        Recipe {
            portion: portion.parse().unwrap(),
            watch_lines: 2,
            noise: 1.0,
            seed: 3,
        }
    }

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn portions_share_nothing_and_span_all_users() {
        let (_, ratings) = synthetic::make(3);
        let taken = |text: &str| text.parse::<Portion>().unwrap().take(&ratings, 3);
        let (first, second) = (taken("0..60"), taken("60..100"));
        assert_eq!(first.len() + second.len(), ratings.len());
        let pairs: HashSet<(u64, usize)> = first
            .iter()
            .chain(&second)
            .map(|rating| (rating.user, rating.movie))
            .collect();
        assert_eq!(pairs.len(), ratings.len());
        let users = |ratings: &[Rating]| {
            ratings
                .iter()
                .map(|rating| rating.user)
                .collect::<HashSet<_>>()
                .len()
        };
        assert_eq!((users(&first), users(&second)), (943, 943));
        assert!(first.is_sorted_by_key(|rating| rating.at_seconds));
    }

    #[test]
    fn the_past_ends_a_minute_before_now_and_keeps_its_order() {
        let (population, ratings) = synthetic::make(3);
        let backlog = recipe("0..100").make(&population, &ratings, now());
        assert_eq!(backlog.last, Some("2026-11-23T11:59:00Z".parse().unwrap()));
        assert!(backlog.records.is_sorted_by_key(|record| record.timestamp_ms));
        let span = backlog.last.unwrap().duration_since(backlog.first.unwrap());
        assert!(span < SignedDuration::from_hours(216 * 24), "{span:?}");
    }

    #[test]
    fn the_summary_counts_every_record_and_one_seed_gives_one_backlog() {
        let (population, ratings) = synthetic::make(3);
        let backlog = recipe("0..10").make(&population, &ratings, now());
        assert_eq!(
            backlog.written.values().sum::<u64>(),
            backlog.records.len() as u64
        );
        let rates = backlog.written["rate"];
        assert_eq!(rates, (ratings.len() as u64 * 10).div_ceil(100));
        assert!(backlog.written["watch"] > rates * 19 / 10);
        assert!(backlog.injected.values().sum::<u64>() > 0);
        assert_eq!(
            backlog.records,
            recipe("0..10").make(&population, &ratings, now()).records
        );
    }

    #[test]
    fn other_texts_are_no_portion() {
        for text in ["", "0", "60..0", "0..101", "5..5", "-1..5"] {
            assert!(
                text.parse::<Portion>().unwrap_err().contains("in percent"),
                "{text}"
            );
        }
    }
}
