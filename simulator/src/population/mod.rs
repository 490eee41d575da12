//! Who watches what: films, users and their tastes, from ML-100k or made up.

pub mod ml100k;
pub mod synthetic;
pub mod taste;

use std::collections::HashMap;
use std::path::Path;

use crate::error::Result;
use crate::random::Random;
use taste::Factors;

/// Where a population came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The ML-100k files.
    #[serde(rename = "ml-100k")]
    Ml100k,
    /// Made up from a seed.
    Synthetic,
}

/// One film.
#[derive(Debug, Clone, PartialEq)]
pub struct Movie {
    /// The platform's id.
    pub id: String,
    /// Title, in its own letters.
    pub title: String,
    /// Year of release.
    pub year: Option<u16>,
    /// Names of its genres.
    pub genres: Vec<String>,
    /// Run time; viewings end one minute later.
    pub runtime_minutes: u32,
    /// Weight in choices; any positive scale.
    pub popularity: f64,
    /// How good everybody finds it, in standard deviations.
    pub quality: f64,
    /// Whom it pleases.
    pub factors: Factors,
}

/// What the user API tells about a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Years.
    pub age: u32,
    /// `F` or `M`.
    pub gender: char,
    /// One of the platform's 21 occupations.
    pub occupation: &'static str,
}

/// One rating of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rating {
    /// Who.
    pub user: u64,
    /// Index of the film.
    pub movie: usize,
    /// 1 to 5.
    pub stars: u8,
    /// Unix seconds, or seconds from any fixed moment.
    pub at_seconds: i64,
}

/// Films and users.
#[derive(Debug, Clone)]
pub struct Population {
    /// Where it came from.
    pub source: Source,
    /// All films.
    pub movies: Vec<Movie>,
    people: HashMap<u64, Person>,
    by_id: HashMap<String, usize>,
    cumulative: Vec<f64>,
    seed: u64,
}

impl Population {
    /// The population of the files in `directory`, or a made-up one, with its ratings.
    ///
    /// # Errors
    /// `Read` and `Row`, when a directory is given and its files are absent or damaged.
    pub fn load(directory: Option<&Path>, seed: u64) -> Result<(Self, Vec<Rating>)> {
        match directory {
            Some(directory) => ml100k::load(directory, seed),
            None => Ok(synthetic::make(seed)),
        }
    }

    /// A population of these films and the people known by record.
    pub fn new(source: Source, movies: Vec<Movie>, people: HashMap<u64, Person>, seed: u64) -> Self {
        let by_id = movies
            .iter()
            .enumerate()
            .map(|(index, movie)| (movie.id.clone(), index))
            .collect();
        let mut sum = 0.0;
        let cumulative = movies
            .iter()
            .map(|movie| {
                sum += movie.popularity;
                sum
            })
            .collect();
        Self {
            source,
            movies,
            people,
            by_id,
            cumulative,
            seed,
        }
    }

    /// The film with this id.
    pub fn find(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// A film by popularity alone.
    pub fn popular(&self, random: &mut Random) -> usize {
        let total = self.cumulative.last().copied().unwrap_or_default();
        let at = random.unit() * total;
        self.cumulative
            .partition_point(|sum| *sum <= at)
            .min(self.movies.len().saturating_sub(1))
    }

    /// A film of the user's own choice: the most pleasing of a few popular ones.
    pub fn choose(&self, user: u64, random: &mut Random) -> usize {
        let factors = self.tastes(user);
        let candidates = (0..taste::CANDIDATES).map(|_| self.popular(random));
        let pleasing = |index: usize| {
            self.movies
                .get(index)
                .map_or(f64::MIN, |movie| taste::affinity(&factors, movie))
        };
        candidates
            .max_by(|a, b| pleasing(*a).total_cmp(&pleasing(*b)))
            .unwrap_or(0)
    }

    /// How many stars the user gives this film; it depends on the film, so that better lists earn better ratings.
    pub fn stars(&self, user: u64, movie: usize, random: &mut Random) -> u8 {
        let factors = self.tastes(user);
        self.movies
            .get(movie)
            .map_or(3, |movie| taste::stars(&factors, movie, random))
    }

    /// The tastes of a user: drawn from the seed, never stored.
    pub fn tastes(&self, user: u64) -> Factors {
        Factors::drawn(&mut Random::keyed(self.seed, "tastes", user))
    }

    /// What the user API tells.
    pub fn person(&self, user: u64) -> Person {
        self.people
            .get(&user)
            .cloned()
            .unwrap_or_else(|| synthetic::person(user, self.seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popular_films_are_chosen_by_weight() {
        let (population, _) = synthetic::make(1);
        let mut random = Random::new(1, "choice");
        let mut counts = vec![0_u32; population.movies.len()];
        (0..50_000).for_each(|_| counts[population.popular(&mut random)] += 1);
        let total: f64 = population.movies.iter().map(|movie| movie.popularity).sum();
        let (best, movie) = population
            .movies
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.popularity.total_cmp(&b.1.popularity))
            .unwrap();
        let expected = movie.popularity / total * 50_000.0;
        assert!(
            (f64::from(counts[best]) - expected).abs() < 5.0 * expected.sqrt(),
            "{} for {expected}",
            counts[best]
        );
    }

    #[test]
    fn a_fitting_list_earns_better_ratings_than_a_foreign_one() {
        let (population, _) = synthetic::make(1);
        let mut random = Random::new(1, "lists");
        let mean = |pick: &dyn Fn(u64, &mut Random) -> usize, random: &mut Random| {
            let stars = (1..=2000).map(|user| {
                let movie = pick(user, random);
                f64::from(population.stars(user, movie, random))
            });
            stars.sum::<f64>() / 2000.0
        };
        let own = mean(&|user, random| population.choose(user, random), &mut random);
        let foreign = mean(
            &|user, random| population.choose(user + 5000, random),
            &mut random,
        );
        assert!(own > foreign + 0.2, "{own} against {foreign}");
    }
}
