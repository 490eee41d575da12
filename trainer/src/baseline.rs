//! The model to beat: biases alone, p = mean + user bias + movie bias.

use crate::ratings::Ratings;

/// Ratings' worth of shrinkage towards 0 of a movie's bias, and of a user's.
const MOVIE_SHRINKAGE: f64 = 10.0;
const USER_SHRINKAGE: f64 = 15.0;
const ROUNDS: usize = 10;

/// Fitted biases, in stars.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    mean: f64,
    users: Vec<f64>,
    movies: Vec<f64>,
}

impl Baseline {
    /// Ten rounds of shrunken means, movies first. Deterministic.
    pub fn fit(ratings: &Ratings) -> Self {
        let mean = ratings.mean();
        let (by_user, by_movie) = (ratings.by_user(), ratings.by_movie());
        let mut users = vec![0.0; by_user.len()];
        let mut movies = vec![0.0; by_movie.len()];
        for _ in 0..ROUNDS {
            settle(&mut movies, &by_movie, &users, mean, MOVIE_SHRINKAGE);
            settle(&mut users, &by_user, &movies, mean, USER_SHRINKAGE);
        }
        Self { mean, users, movies }
    }

    /// Stars that `user` would give `movie`, not clipped; an unseen side adds 0.
    pub fn predict(&self, user: u32, movie: u32) -> f64 {
        self.mean + bias(&self.users, user) + bias(&self.movies, movie)
    }
}

fn settle(side: &mut [f64], ratings: &[Vec<(u32, f32)>], others: &[f64], mean: f64, shrinkage: f64) {
    for (own, ratings) in side.iter_mut().zip(ratings) {
        let rest: f64 = ratings
            .iter()
            .map(|(other, stars)| f64::from(*stars) - mean - bias(others, *other))
            .sum();
        *own = rest / (shrinkage + ratings.len() as f64);
    }
}

fn bias(side: &[f64], at: u32) -> f64 {
    side.get(at as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratings::Rating;

    #[test]
    fn one_rating_settles_at_its_closed_form() {
        // One rating of a mean that it alone makes: every residual is 0.
        let one = Ratings::new(
            1,
            1,
            vec![Rating {
                user: 0,
                movie: 0,
                stars: 4.0,
                time: 0,
            }],
        );
        let fitted = Baseline::fit(&one);
        assert_eq!(
            fitted,
            Baseline {
                mean: 4.0,
                users: vec![0.0],
                movies: vec![0.0]
            }
        );
    }

    /// Many users, one rating each, of two movies at ±1: with shrunken users near 0 the movie bias is near n/(10+n).
    #[test]
    fn a_movie_is_shrunk_by_ten_ratings_and_a_user_by_fifteen() {
        const TOLERANCE: f64 = 1e-4;
        let rows = (0..20_u32).map(|n| Rating {
            user: n,
            movie: n % 2,
            stars: if n % 2 == 0 { 4.0 } else { 2.0 },
            time: 0,
        });
        let fitted = Baseline::fit(&Ratings::new(20, 2, rows.collect()));
        // Fixed point of b = 10 (1 − u) / 20, u = (1 − b) / 16.
        let movie = (0.5 - 0.5 / 16.0) / (1.0 - 0.5 / 16.0);
        assert!(
            (fitted.movies[0] - movie).abs() < TOLERANCE,
            "{}",
            fitted.movies[0]
        );
        assert!((fitted.users[0] - (1.0 - movie) / 16.0).abs() < TOLERANCE);
    }
}
