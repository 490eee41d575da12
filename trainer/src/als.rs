//! The rating model: biased matrix factorisation by alternating least squares.
//!
//! A row vector is w = (bias, k factors); its regressors are z = (1, the other side's factors) and its responses
//! y = stars − mean − the other side's bias. Each half-sweep solves w = (Σ z zᵀ + λ n I)⁻¹ Σ z y for every row of
//! one side, movies first, so biases and factors come out of one Cholesky factorisation.
//!
//! Source: Zhou, Wilkinson, Schreiber, Pan (2008), weighted-λ regularisation, with biases.

use serde::Serialize;

use crate::cholesky::{self, NotPositiveDefinite, dot};
use crate::random::Normals;
use crate::ratings::Ratings;

/// Standard deviation of the factors before the first sweep.
///
/// It matters less than the seed: on ML-100k (`random5`, k = 16) four seeds spread over .0010 around .9153, and 0.001,
/// 0.01, 0.1 or 1 move the mean over them by at most .0002. It must not be 0, which is a fixed point of the sweeps.
pub const START_SCALE: f64 = 0.1;

/// Settings of a fit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Factors per user and movie, k.
    pub factors: usize,
    /// Sweeps over both sides.
    pub iterations: usize,
    /// Penalty per rating, λ; a row with n ratings pays λ n |w|².
    pub ridge: f64,
    /// Seed of the factors before the first sweep.
    pub seed: u64,
}

impl Default for Settings {
    /// Small and quick: a fifth of a second for ML-100k.
    fn default() -> Self {
        Self {
            factors: 16,
            iterations: 8,
            ridge: 0.12,
            seed: 1,
        }
    }
}

/// A fitted model. Rows are `1 + factors` wide: the bias, then the factors. Units: stars.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Mean of the ratings it was fitted to.
    pub mean: f64,
    /// Width of a row.
    width: usize,
    /// users × width.
    users: Vec<f64>,
    /// movies × width.
    movies: Vec<f64>,
}

impl Fit {
    /// The user's row, `(bias, factors)`.
    pub fn user(&self, user: u32) -> Option<(f64, &[f64])> {
        row(&self.users, self.width, user)
    }

    /// The movie's row, `(bias, factors)`.
    pub fn movie(&self, movie: u32) -> Option<(f64, &[f64])> {
        row(&self.movies, self.width, movie)
    }

    /// Stars that `user` would give `movie`, not clipped. A side without ratings adds nothing.
    pub fn predict(&self, user: u32, movie: u32) -> f64 {
        let (user_bias, user) = self.user(user).unwrap_or((0.0, &[]));
        let (movie_bias, movie) = self.movie(movie).unwrap_or((0.0, &[]));
        self.mean + user_bias + movie_bias + dot(user, movie)
    }
}

/// Fits the model.
///
/// Deterministic: equal ratings in equal order and equal settings give equal bits on one architecture. Rows without
/// ratings are zero.
///
/// # Errors
/// [`NotPositiveDefinite`] when `ridge` is 0 and a row has no more than k ratings, or stars are not finite.
pub fn fit(ratings: &Ratings, settings: &Settings) -> Result<Fit, NotPositiveDefinite> {
    fit_watched(ratings, settings, &mut |_| ())
}

/// As [`fit`], calling `after_sweep` with the number of sweeps done.
///
/// # Errors
/// As [`fit`].
pub fn fit_watched(
    ratings: &Ratings,
    settings: &Settings,
    after_sweep: &mut dyn FnMut(usize),
) -> Result<Fit, NotPositiveDefinite> {
    let width = settings.factors + 1;
    let mean = ratings.mean();
    let (by_user, by_movie) = (ratings.by_user(), ratings.by_movie());
    let mut users = start(&by_user, width, settings.seed);
    let mut movies = vec![0.0; by_movie.len() * width];
    let mut row = Row::new(width, mean, settings.ridge);
    for sweep in 1..=settings.iterations {
        row.solve_side(&mut movies, &by_movie, &users)?;
        row.solve_side(&mut users, &by_user, &movies)?;
        after_sweep(sweep);
    }
    Ok(Fit {
        mean,
        width,
        users,
        movies,
    })
}

fn start(by_user: &[Vec<(u32, f32)>], width: usize, seed: u64) -> Vec<f64> {
    let mut normals = Normals::new(seed);
    let mut users = Vec::with_capacity(by_user.len() * width);
    for ratings in by_user {
        for column in 0..width {
            let factor = if column == 0 {
                0.0
            } else {
                START_SCALE * normals.draw()
            };
            users.push(if ratings.is_empty() { 0.0 } else { factor });
        }
    }
    users
}

/// Workspace for one row: nothing is allocated per solve.
struct Row {
    width: usize,
    mean: f64,
    ridge: f64,
    /// Σ z zᵀ + λ n I, upper triangle.
    normal: Vec<f64>,
    /// (1, factors of the other side) of four ratings.
    z: Vec<f64>,
}

impl Row {
    fn new(width: usize, mean: f64, ridge: f64) -> Self {
        Self {
            width,
            mean,
            ridge,
            normal: vec![0.0; width * width],
            z: vec![0.0; 4 * width],
        }
    }

    fn solve_side(
        &mut self,
        side: &mut [f64],
        ratings: &[Vec<(u32, f32)>],
        others: &[f64],
    ) -> Result<(), NotPositiveDefinite> {
        for (w, ratings) in side.chunks_exact_mut(self.width).zip(ratings) {
            w.fill(0.0);
            if !ratings.is_empty() {
                self.solve(w, ratings, others)?;
            }
        }
        Ok(())
    }

    /// Solves one row; `w` is zero on entry and takes Σ z y, then the solution.
    fn solve(
        &mut self,
        w: &mut [f64],
        ratings: &[(u32, f32)],
        others: &[f64],
    ) -> Result<(), NotPositiveDefinite> {
        self.normal.fill(0.0);
        for ratings in ratings.chunks(4) {
            self.z.fill(0.0);
            for (z, (other, stars)) in self.z.chunks_exact_mut(self.width).zip(ratings) {
                let (other_bias, factors) = row(others, self.width, *other).unwrap_or((0.0, &[]));
                for (z, regressor) in z.iter_mut().zip(std::iter::once(&1.0).chain(factors)) {
                    *z = *regressor;
                }
                let y = f64::from(*stars) - self.mean - other_bias;
                for (sum, z) in w.iter_mut().zip(z) {
                    *sum += y * *z;
                }
            }
            cholesky::add_four_squares(&mut self.normal, &self.z, self.width);
        }
        let penalty = self.ridge * ratings.len() as f64;
        for diagonal in self.normal.iter_mut().step_by(self.width + 1) {
            *diagonal += penalty;
        }
        cholesky::solve(&mut self.normal, w)
    }
}

fn row(side: &[f64], width: usize, at: u32) -> Option<(f64, &[f64])> {
    let start = at as usize * width;
    let (bias, factors) = side.get(start..start + width)?.split_first()?;
    Some((*bias, factors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratings::Rating;

    fn ratings(rows: &[(u32, u32, f32)]) -> Ratings {
        let rows = rows
            .iter()
            .map(|&(user, movie, stars)| Rating {
                user,
                movie,
                stars,
                time: 0,
            })
            .collect();
        Ratings::new(3, 3, rows)
    }

    const ROWS: [(u32, u32, f32); 6] = [
        (0, 0, 5.0),
        (0, 1, 3.0),
        (1, 0, 4.0),
        (1, 1, 1.0),
        (2, 0, 2.0),
        (2, 1, 4.0),
    ];

    /// Without factors a row is a ridge mean: b = Σ(stars − mean − other bias) / (n (1 + λ)).
    #[test]
    fn without_factors_the_first_sweep_is_the_shrunken_mean() {
        const TOLERANCE: f64 = 1e-12;
        let settings = Settings {
            factors: 0,
            iterations: 1,
            ridge: 0.5,
            seed: 1,
        };
        let fit = fit(&ratings(&ROWS), &settings).unwrap();
        let mean = 19.0 / 6.0;
        let movie = |sum: f64| (sum - 3.0 * mean) / (3.0 * 1.5);
        let (first, second) = (movie(11.0), movie(8.0));
        let user = (8.0 - 2.0 * mean - first - second) / (2.0 * 1.5);
        assert!((fit.mean - mean).abs() < TOLERANCE);
        assert!((fit.movie(0).unwrap().0 - first).abs() < TOLERANCE);
        assert!((fit.movie(1).unwrap().0 - second).abs() < TOLERANCE);
        assert!((fit.user(0).unwrap().0 - user).abs() < TOLERANCE);
    }

    /// At the solution of a row its gradient is 0: Σ z (y − wᵀz) = λ n w.
    #[test]
    fn the_last_solved_side_satisfies_its_normal_equations() {
        const TOLERANCE: f64 = 1e-10;
        let settings = Settings {
            factors: 2,
            iterations: 3,
            ridge: 0.1,
            seed: 5,
        };
        let ratings = ratings(&ROWS);
        let fit = fit(&ratings, &settings).unwrap();
        for user in 0..3 {
            let (bias, factors) = fit.user(user).unwrap();
            let mut gradient = [-0.2 * bias, -0.2 * factors[0], -0.2 * factors[1]];
            for row in ratings.rows().iter().filter(|row| row.user == user) {
                let error = f64::from(row.stars) - fit.predict(user, row.movie);
                let (_, movie) = fit.movie(row.movie).unwrap();
                gradient[0] += error;
                gradient[1] += error * movie[0];
                gradient[2] += error * movie[1];
            }
            assert!(
                gradient.iter().all(|entry| entry.abs() < TOLERANCE),
                "{gradient:?}"
            );
        }
    }

    #[test]
    fn a_row_without_ratings_is_zero_and_predicts_the_rest() {
        let fit = fit(&ratings(&ROWS), &Settings::default()).unwrap();
        let (bias, factors) = fit.movie(2).unwrap();
        assert!(bias == 0.0 && factors.iter().all(|factor| *factor == 0.0));
        assert_eq!(fit.predict(0, 2), fit.mean + fit.user(0).unwrap().0);
        assert_eq!(fit.predict(99, 99), fit.mean);
    }

    #[test]
    fn equal_seeds_give_equal_bits() {
        let settings = Settings::default();
        assert_eq!(fit(&ratings(&ROWS), &settings), fit(&ratings(&ROWS), &settings));
        assert_ne!(
            fit(&ratings(&ROWS), &settings),
            fit(&ratings(&ROWS), &Settings { seed: 2, ..settings })
        );
    }

    #[test]
    fn no_penalty_and_too_few_ratings_is_an_error() {
        let settings = Settings {
            ridge: 0.0,
            factors: 4,
            ..Settings::default()
        };
        assert_eq!(
            fit(&ratings(&ROWS), &settings),
            Err(NotPositiveDefinite { unknowns: 5 })
        );
    }
}
