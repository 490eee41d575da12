//! People in front of their screens: who watches which minute of what, and who rates it afterwards. Pure: time is an
//! argument, chance a seed.
//!
//! A fixed number of viewings runs at any time, a line a minute each, which gives the platform's rate of watch lines.
//! When one ends another begins, by somebody who was recommended a film some time ago if there is one, otherwise by
//! anybody who feels like watching.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::line::{Body, Line};
use crate::population::Population;
use crate::random::Random;

/// Watch lines a second of the whole platform.
pub const WATCH_PER_SECOND: f64 = 490.0;
/// Viewers who leave before the end.
const LEAVES_EARLY: f64 = 13.0 / 115.0;
/// Viewings that are followed by a rating: 2.7 ratings for 4.85 viewings a second.
const RATES: f64 = 0.557;
/// Viewings during which the same viewer starts the same film once more.
const STARTS_TWICE: f64 = 0.005;
/// Answers that lead to a viewing: one team's lists made 38 % of all watching.
const ADOPTS: f64 = 0.38;
/// Watching by rank of the list, in percent of all watching, as measured; the ranks after the tenth are extrapolated.
const RANK_WEIGHTS: [f64; 20] = [
    12.5, 6.2, 5.3, 3.1, 1.9, 2.4, 1.1, 0.9, 1.0, 0.5, 0.45, 0.4, 0.37, 0.34, 0.31, 0.28, 0.26, 0.24, 0.22,
    0.2,
];
/// Wishes remembered; beyond that the earliest one is never granted and forgotten.
const MOST_WISHES: usize = 100_000;

/// How viewers behave.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// 1 is the whole platform: 490 watch lines a second.
    pub scale: f64,
    /// Who watches; drawn uniformly.
    pub users: RangeInclusive<u64>,
    /// Mean time from an answer to the viewing it leads to.
    pub acts_after: Duration,
    /// Seed of everything.
    pub seed: u64,
}

/// What is going to happen, at a simulated millisecond. The counter keeps the order of equal times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at_ms: u64,
    number: u64,
    event: Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Minute(Viewing),
    Rate { user: u64, movie: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Viewing {
    user: u64,
    movie: usize,
    minute: u32,
    last_minute: u32,
    /// Whether another one begins when it ends.
    succeeded: bool,
}

/// All viewers of the platform.
#[derive(Debug)]
pub struct Viewers {
    population: Arc<Population>,
    behaviour: Behaviour,
    start: Timestamp,
    random: Random,
    due: BinaryHeap<Reverse<Due>>,
    wishes: BinaryHeap<Reverse<(u64, u64, usize)>>,
    number: u64,
}

impl Viewers {
    /// Viewers in the middle of their films, at the simulated time `start`.
    pub fn new(population: Arc<Population>, behaviour: Behaviour, start: Timestamp) -> Self {
        let random = Random::new(behaviour.seed, "viewers");
        let (due, wishes) = (BinaryHeap::new(), BinaryHeap::new());
        let mut viewers = Self {
            population,
            behaviour,
            start,
            random,
            due,
            wishes,
            number: 0,
        };
        let concurrent = viewers.behaviour.scale * WATCH_PER_SECOND * 60.0;
        let mut begun = 0.0;
        while begun < concurrent {
            begun += 1.0;
            let at_ms = viewers.random.below(60_000);
            let mut viewing = viewers.spontaneous();
            viewing.minute =
                u32::try_from(viewers.random.below(u64::from(viewing.last_minute) + 1)).unwrap_or(0);
            viewers.schedule(at_ms, Event::Minute(viewing));
        }
        viewers
    }

    /// Everything that happens until `elapsed` after the start, in order.
    pub fn advance(&mut self, elapsed: Duration) -> Vec<Line> {
        let now_ms = millis(elapsed);
        let mut lines = Vec::new();
        while let Some(Reverse(due)) = self.due.peek().copied() {
            if due.at_ms > now_ms {
                break;
            }
            self.due.pop();
            let (user, movie) = match due.event {
                Event::Minute(viewing) => (viewing.user, viewing.movie),
                Event::Rate { user, movie } => (user, movie),
            };
            let Some(id) = self.population.movies.get(movie).map(|movie| movie.id.clone()) else {
                continue;
            };
            let body = match due.event {
                Event::Minute(viewing) => {
                    self.follow(viewing, due.at_ms);
                    Body::Watch {
                        movie: id,
                        minute: viewing.minute,
                    }
                }
                Event::Rate { .. } => {
                    let stars = self.population.stars(user, movie, &mut self.random);
                    Body::Rate { movie: id, stars }
                }
            };
            lines.push(Line {
                at: self.time_of(due.at_ms),
                user,
                body,
            });
        }
        lines
    }

    /// Tells a user's viewers about an answer that came at `elapsed`; some time later the user may watch one of it.
    pub fn recommend(&mut self, user: u64, list: &[String], elapsed: Duration) {
        if !self.random.chance(ADOPTS) {
            return;
        }
        let movies: Vec<usize> = list.iter().filter_map(|id| self.population.find(id)).collect();
        let Some(movie) = self.by_rank(&movies) else {
            return;
        };
        let delay = self
            .behaviour
            .acts_after
            .mul_f64(self.random.exponential().min(20.0));
        if self.wishes.len() >= MOST_WISHES {
            self.wishes.pop();
        }
        self.wishes.push(Reverse((millis(elapsed + delay), user, movie)));
    }

    /// The simulated time at `elapsed`.
    pub fn time(&self, elapsed: Duration) -> Timestamp {
        SignedDuration::try_from(elapsed).map_or(self.start, |elapsed| {
            self.start.saturating_add(elapsed).unwrap_or(self.start)
        })
    }

    /// What follows one minute of a viewing: the next one, or the end, a rating and somebody else.
    fn follow(&mut self, viewing: Viewing, now_ms: u64) {
        if viewing.minute < viewing.last_minute {
            let at_ms = now_ms + self.random.between(54_000, 66_000);
            self.schedule(
                at_ms,
                Event::Minute(Viewing {
                    minute: viewing.minute + 1,
                    ..viewing
                }),
            );
            return;
        }
        let Viewing { user, movie, .. } = viewing;
        if self.random.chance(RATES) {
            let at_ms = now_ms + self.random.between(2_000, 90_000);
            self.schedule(at_ms, Event::Rate { user, movie });
        }
        if viewing.succeeded {
            let next = self.next_viewing(now_ms);
            let at_ms = now_ms + self.random.between(54_000, 66_000);
            self.schedule(at_ms, Event::Minute(next));
            if self.random.chance(STARTS_TWICE) {
                let at_ms = at_ms + self.random.between(30_000, 1_200_000);
                self.schedule(
                    at_ms,
                    Event::Minute(Viewing {
                        succeeded: false,
                        ..next
                    }),
                );
            }
        }
    }

    fn next_viewing(&mut self, now_ms: u64) -> Viewing {
        match self.wishes.peek().copied() {
            Some(Reverse((at_ms, user, movie))) if at_ms <= now_ms => {
                self.wishes.pop();
                self.viewing(user, movie)
            }
            Some(_) | None => self.spontaneous(),
        }
    }

    fn spontaneous(&mut self) -> Viewing {
        let user = self
            .random
            .between(*self.behaviour.users.start(), *self.behaviour.users.end());
        let movie = self.population.choose(user, &mut self.random);
        self.viewing(user, movie)
    }

    fn viewing(&mut self, user: u64, movie: usize) -> Viewing {
        let end = self
            .population
            .movies
            .get(movie)
            .map_or(100, |movie| movie.runtime_minutes)
            + 1;
        let early = u32::try_from(self.random.below(end.into())).unwrap_or(end);
        let last_minute = if self.random.chance(LEAVES_EARLY) {
            early
        } else {
            end
        };
        Viewing {
            user,
            movie,
            minute: 0,
            last_minute,
            succeeded: true,
        }
    }

    fn by_rank(&mut self, movies: &[usize]) -> Option<usize> {
        let total: f64 = RANK_WEIGHTS.iter().take(movies.len()).sum();
        let mut left = self.random.unit() * total;
        for (movie, weight) in movies.iter().zip(RANK_WEIGHTS) {
            left -= weight;
            if left < 0.0 {
                return Some(*movie);
            }
        }
        movies.first().copied()
    }

    fn schedule(&mut self, at_ms: u64, event: Event) {
        self.number += 1;
        self.due.push(Reverse(Due {
            at_ms,
            number: self.number,
            event,
        }));
    }

    fn time_of(&self, at_ms: u64) -> Timestamp {
        self.time(Duration::from_millis(at_ms))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::synthetic;
    use std::collections::HashMap;

    const HOUR: Duration = Duration::from_secs(3600);

    fn viewers(scale: f64) -> Viewers {
        let (population, _) = synthetic::make(2);
        let behaviour = Behaviour {
            scale,
            users: 1..=50_000,
            acts_after: HOUR,
            seed: 2,
        };
        Viewers::new(
            Arc::new(population),
            behaviour,
            "2026-11-23T12:00:00Z".parse().unwrap(),
        )
    }

    #[test]
    fn lines_come_at_the_rates_of_the_platform() {
        let mut viewers = viewers(0.1);
        let lines = viewers.advance(HOUR);
        let rates = lines.iter().filter(|line| line.kind() == "rate").count() as f64 / 3600.0;
        let watches = lines.iter().filter(|line| line.kind() == "watch").count() as f64 / 3600.0;
        assert!((watches - 49.0).abs() < 1.5, "{watches}");
        assert!((rates - 0.27).abs() < 0.05, "{rates}");
        assert!(lines.is_sorted_by_key(|line| line.at));
    }

    #[test]
    fn minutes_follow_each_other_and_stop_one_after_the_run_time() {
        let mut viewers = viewers(0.002);
        let population = viewers.population.clone();
        let mut last: HashMap<(u64, String), Vec<(u32, Timestamp)>> = HashMap::new();
        for line in viewers.advance(HOUR) {
            let Body::Watch { movie, minute } = line.body else {
                continue;
            };
            let runtime = population.movies[population.find(&movie).unwrap()].runtime_minutes;
            assert!(minute <= runtime + 1, "{movie}: {minute}");
            last.entry((line.user, movie))
                .or_default()
                .push((minute, line.at));
        }
        let steps = last.values().flat_map(|minutes| minutes.windows(2));
        let (mut regular, mut all) = (0, 0);
        for pair in steps {
            let gap = pair[1].1.duration_since(pair[0].1).as_secs();
            all += 1;
            regular += i32::from(pair[1].0 == pair[0].0 + 1 && (54..=66).contains(&gap));
        }
        assert!(
            all > 1000 && f64::from(regular) > 0.97 * f64::from(all),
            "{regular} of {all}"
        );
    }

    #[test]
    fn recommended_films_are_watched_later_the_first_most_often() {
        let mut viewers = viewers(0.05);
        let list: Vec<String> = viewers
            .population
            .movies
            .iter()
            .take(20)
            .map(|movie| movie.id.clone())
            .collect();
        (0..3000).for_each(|number| viewers.recommend(1_000_000 + number, &list, Duration::ZERO));
        let mut by_rank = [0_u32; 20];
        for line in viewers.advance(4 * HOUR) {
            if let Body::Watch { movie, minute: 0 } = line.body
                && line.user >= 1_000_000
            {
                by_rank[list.iter().position(|id| *id == movie).unwrap()] += 1;
            }
        }
        assert!(by_rank.iter().sum::<u32>() > 500, "{by_rank:?}");
        assert!(
            by_rank[0] > by_rank[1] && by_rank[1] > by_rank[3] && by_rank[3] > by_rank[9],
            "{by_rank:?}"
        );
    }

    #[test]
    fn one_seed_gives_one_stream_however_often_one_looks() {
        let (mut one, mut two) = (viewers(0.01), viewers(0.01));
        let at_once = one.advance(HOUR);
        let in_steps: Vec<Line> = (1..=60)
            .flat_map(|minute| two.advance(Duration::from_secs(60 * minute)))
            .collect();
        assert_eq!(at_once, in_steps);
    }
}
