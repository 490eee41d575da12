//! A made-up population of the size of ML-100k: 943 users, 1,682 films, about 100,000 ratings of low rank plus noise.

use std::collections::{HashMap, HashSet};

use super::taste::Factors;
use super::{Movie, Person, Population, Rating, Source};
use crate::movie_id::movie_id;
use crate::random::Random;

/// Users with ratings.
pub const USERS: u64 = 943;
/// Films.
const MOVIES: usize = 1682;
/// Everybody has rated at least this often.
const FEWEST_RATINGS: usize = 20;
/// Mean number of ratings beyond those; the sum is about 100,000.
const MEAN_FURTHER_RATINGS: f64 = 92.0;
/// Nobody has rated more often.
const MOST_RATINGS: usize = 700;
/// The past covers 215 days.
const SPAN_SECONDS: u64 = 215 * 86_400;

const GENRES: [&str; 18] = [
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
];
const FIRST: [&str; 24] = [
    "The Last",
    "A Quiet",
    "Black",
    "Mr.",
    "Golden",
    "20,000",
    "Café",
    "Midnight",
    "Lost",
    "The Red",
    "À",
    "Spider-",
    "Wild",
    "Two",
    "Broken",
    "The Great",
    "M*",
    "Silent",
    "No",
    "Iron",
    "Blue",
    "Cold",
    "Paper",
    "Little",
];
const SECOND: [&str; 28] = [
    "Harbour",
    "Train",
    "Summer",
    "Garden",
    "Detective",
    "Bridge",
    "Dancer",
    "Letters",
    "Mountain",
    "Sheep",
    "Winter",
    "Leagues",
    "Orchestra",
    "Amour",
    "Kitchen",
    "Stranger",
    "Comet",
    "River",
    "Kingdom",
    "Mirror",
    "Lantern",
    "Voyage",
    "Machine",
    "Thief",
    "Island",
    "Promise",
    "Shadow",
    "Carnival",
];
const THIRD: [&str; 8] = [
    "",
    "",
    "",
    " Returns",
    ", Part 2",
    " & Co.",
    ": The Beginning",
    " of the North",
];

/// The platform's occupations.
pub const OCCUPATIONS: [&str; 21] = [
    "K-12 student",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "lawyer",
    "other or not specified",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
];

/// The population of a seed and its ratings, sorted by time.
pub fn make(seed: u64) -> (Population, Vec<Rating>) {
    let mut random = Random::new(seed, "films");
    let mut taken = HashSet::new();
    let mut ranks: Vec<usize> = (0..MOVIES).collect();
    random.shuffle(&mut ranks);
    let movies = ranks
        .into_iter()
        .map(|rank| movie(rank, &mut taken, &mut random, seed))
        .collect();
    let population = Population::new(Source::Synthetic, movies, HashMap::new(), seed);
    let mut ratings: Vec<Rating> = (1..=USERS)
        .flat_map(|user| ratings_of(user, &population, seed))
        .collect();
    ratings.sort_by_key(|rating| (rating.at_seconds, rating.user));
    (population, ratings)
}

fn movie(rank: usize, taken: &mut HashSet<String>, random: &mut Random, seed: u64) -> Movie {
    let (title, year, id) = loop {
        let part =
            |parts: &[&'static str], random: &mut Random| random.pick(parts).copied().unwrap_or_default();
        let title = format!(
            "{} {}{}",
            part(&FIRST, random),
            part(&SECOND, random),
            part(&THIRD, random)
        );
        // One film in a thousand has no date, as on the platform.
        let year = (!random.chance(0.001)).then(|| u16::try_from(random.between(1930, 2016)).unwrap_or(2000));
        let id = movie_id(&title, year);
        if taken.insert(id.clone()) {
            break (title, year, id);
        }
    };
    let count = random.between(1, 3);
    let genres: Vec<String> = (0..count)
        .filter_map(|_| random.pick(&GENRES))
        .map(|genre| (*genre).to_owned())
        .collect();
    Movie {
        factors: Factors::of_film(&genre_factors(&genres, seed), random),
        id,
        title,
        year,
        genres,
        runtime_minutes: runtime(random),
        popularity: 1.0 / (rank as f64 + 12.0).powf(0.95),
        quality: random.normal(),
    }
}

/// The directions of genres: the same name has the same direction in every population of a seed.
pub(super) fn genre_factors(genres: &[String], seed: u64) -> Vec<Factors> {
    genres
        .iter()
        .map(|genre| Factors::drawn(&mut Random::new(seed, genre)))
        .collect()
}

/// A run time in minutes.
pub(super) fn runtime(random: &mut Random) -> u32 {
    u32::try_from(random.between(82, 128)).unwrap_or(100)
}

fn ratings_of(user: u64, population: &Population, seed: u64) -> Vec<Rating> {
    let mut random = Random::keyed(seed, "ratings", user);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a draw is not negative and far below 2^32"
    )]
    let more = (random.exponential() * MEAN_FURTHER_RATINGS) as usize;
    let count = (FEWEST_RATINGS + more).min(MOST_RATINGS);
    let start = random.below(SPAN_SECONDS / 2);
    let mut chosen = HashSet::new();
    let mut at = i64::try_from(start).unwrap_or(0);
    // A user who has chosen nearly everything popular may end with a few ratings less.
    for _ in 0..count * 4 {
        if chosen.len() >= count {
            break;
        }
        let movie = population.choose(user, &mut random);
        chosen.insert(movie);
    }
    let mut movies: Vec<usize> = chosen.into_iter().collect();
    movies.sort_unstable();
    random.shuffle(&mut movies);
    let gap = SPAN_SECONDS / 2 / u64::try_from(movies.len().max(1)).unwrap_or(1);
    let rate = |movie| {
        at += i64::try_from(random.between(1, gap.max(2))).unwrap_or(1);
        Rating {
            user,
            movie,
            stars: population.stars(user, movie, &mut random),
            at_seconds: at,
        }
    };
    movies.into_iter().map(rate).collect()
}

/// A person like those of the platform: mostly men of 24 to 35, students the commonest.
pub fn person(user: u64, seed: u64) -> Person {
    let mut random = Random::keyed(seed, "person", user);
    let gender = if random.chance(0.83) { 'M' } else { 'F' };
    let age = if random.chance(0.6) {
        random.between(24, 35)
    } else {
        random.between(8, 75)
    };
    let occupation = if random.chance(0.2) {
        "college/grad student"
    } else {
        random
            .pick(&OCCUPATIONS)
            .copied()
            .unwrap_or("other or not specified")
    };
    Person {
        age: u32::try_from(age).unwrap_or(30),
        gender,
        occupation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::movie_id::is_movie_id;

    #[test]
    fn the_size_is_that_of_ml_100k_and_the_shares_those_of_the_platform() {
        let (population, ratings) = make(1);
        assert_eq!(population.movies.len(), MOVIES);
        assert!((85_000..115_000).contains(&ratings.len()), "{}", ratings.len());
        assert!(ratings.is_sorted_by_key(|rating| rating.at_seconds));
        let share = |stars: u8| {
            ratings.iter().filter(|rating| rating.stars == stars).count() as f64 / ratings.len() as f64
        };
        for (stars, expected) in [(5, 0.20), (4, 0.51), (3, 0.27), (2, 0.02)] {
            assert!(
                (share(stars) - expected).abs() < 0.08,
                "{stars}: {}",
                share(stars)
            );
        }
        let pairs: HashSet<(u64, usize)> = ratings.iter().map(|rating| (rating.user, rating.movie)).collect();
        assert_eq!(pairs.len(), ratings.len());
    }

    #[test]
    fn ids_are_unique_and_some_are_odd() {
        let (population, _) = make(1);
        let ids: HashSet<&str> = population.movies.iter().map(|movie| movie.id.as_str()).collect();
        assert_eq!(ids.len(), MOVIES);
        assert!(ids.iter().all(|id| is_movie_id(id)));
        for odd in ["_", ".", "*", "-", "++"] {
            assert!(ids.iter().any(|id| id.contains(odd)), "{odd}");
        }
        assert!(ids.iter().any(|id| id.starts_with('+')));
    }

    #[test]
    fn the_same_seed_gives_the_same_people_and_ratings() {
        let ((one, ratings), (two, again)) = (make(7), make(7));
        assert_eq!(one.movies, two.movies);
        assert_eq!(ratings, again);
        assert_ne!(make(8).1, ratings);
        assert_eq!(one.person(5), two.person(5));
    }
}
