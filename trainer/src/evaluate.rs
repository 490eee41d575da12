//! How good a model is: error of its predictions, and of its top lists.

use serde::Serialize;

use crate::als::{self, Settings};
use crate::baseline::Baseline;
use crate::cholesky::NotPositiveDefinite;
use crate::ratings::Ratings;
use crate::split::Split;

/// Length of the judged lists.
pub const TOP: usize = 20;
/// A test rating of at least so many stars makes a movie relevant to its user, on a scale to 5.
const RELEVANT_STARS: f32 = 4.0;
/// Lists are judged for at most so many users, evenly spread: 5,000 give NDCG a standard error below .003.
const MAX_LIST_USERS: usize = 5_000;

/// The rating scale, in stars. Predictions are clipped to it before they are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Lowest rating.
    pub lowest: f64,
    /// Highest rating.
    pub highest: f64,
}

impl Scale {
    /// From one star to `highest`.
    pub fn to(highest: u8) -> Self {
        Self {
            lowest: 1.0,
            highest: f64::from(highest),
        }
    }

    fn clip(self, stars: f64) -> f64 {
        stars.clamp(self.lowest, self.highest)
    }
}

/// Sums of errors over test ratings; sums of several folds add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Errors {
    squares: f64,
    absolutes: f64,
    count: u64,
}

impl Errors {
    /// Errors of `predict(user, movie)` on the test ratings, clipped to the scale.
    pub fn of(test: &Ratings, scale: Scale, predict: impl Fn(u32, u32) -> f64) -> Self {
        test.rows().iter().fold(Self::default(), |mut sums, row| {
            let error = scale.clip(predict(row.user, row.movie)) - f64::from(row.stars);
            sums.squares += error * error;
            sums.absolutes += error.abs();
            sums.count += 1;
            sums
        })
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            squares: self.squares + other.squares,
            absolutes: self.absolutes + other.absolutes,
            count: self.count + other.count,
        }
    }

    /// Root of the mean squared error, in stars; NaN without test ratings.
    pub fn rmse(&self) -> f64 {
        (self.squares / self.count as f64).sqrt()
    }

    /// Mean absolute error, in stars; NaN without test ratings.
    pub fn mae(&self) -> f64 {
        self.absolutes / self.count as f64
    }

    /// Number of test ratings.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// 1 − MSE / MSE of `baseline` on the same rows: the share of the baseline's squared error that is gone.
    pub fn skill(&self, baseline: &Self) -> f64 {
        1.0 - self.squares / baseline.squares
    }
}

/// What the gate judges and the report shows. Units: stars where none is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// Training ratings.
    pub train_ratings: u64,
    /// Test ratings.
    pub test_ratings: u64,
    /// Root of the mean squared error.
    pub rmse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// RMSE of biases alone.
    pub bias_only_rmse: f64,
    /// Share of the bias-only model's squared error that is gone.
    pub skill: f64,
    /// NDCG@20 of lists by predicted rating, 0 to 1.
    pub ndcg_at_20: f64,
    /// NDCG@20 of lists by number of training ratings, 0 to 1.
    pub popularity_ndcg_at_20: f64,
}

/// Fits on the training part and judges on the test part. Without test ratings the errors are NaN.
///
/// # Errors
/// As [`als::fit`].
pub fn evaluate(split: &Split, settings: &Settings, scale: Scale) -> Result<Evaluation, NotPositiveDefinite> {
    let fit = als::fit(&split.train, settings)?;
    let baseline = Baseline::fit(&split.train);
    let errors = Errors::of(&split.test, scale, |user, movie| fit.predict(user, movie));
    let bias_only = Errors::of(&split.test, scale, |user, movie| baseline.predict(user, movie));
    let counts: Vec<f64> = split
        .train
        .by_movie()
        .iter()
        .map(|ratings| ratings.len() as f64)
        .collect();
    Ok(Evaluation {
        train_ratings: split.train.rows().len() as u64,
        test_ratings: errors.count(),
        rmse: errors.rmse(),
        mae: errors.mae(),
        bias_only_rmse: bias_only.rmse(),
        skill: errors.skill(&bias_only),
        ndcg_at_20: ndcg(split, |user, movie| fit.predict(user, movie)),
        popularity_ndcg_at_20: ndcg(split, |_, movie| {
            counts.get(movie as usize).copied().unwrap_or(0.0)
        }),
    })
}

/// Mean NDCG@20 of lists by descending `score(user, movie)` over users with a relevant test movie; 0 without any.
///
/// Candidates are all movies outside the user's training ratings; ties go to the lower index. Gain 1, discount
/// 1 / log2(1 + rank), ideal over min(relevant, 20).
pub fn ndcg(split: &Split, score: impl Fn(u32, u32) -> f64) -> f64 {
    let known = split.train.by_user();
    let relevant: Vec<(u32, Vec<u32>)> = (0_u32..)
        .zip(split.test.by_user())
        .map(|(user, test)| {
            (
                user,
                test.iter()
                    .filter(|(_, stars)| *stars >= RELEVANT_STARS)
                    .map(|(movie, _)| *movie)
                    .collect(),
            )
        })
        .filter(|(_, movies): &(u32, Vec<u32>)| !movies.is_empty())
        .collect();
    let step = relevant.len().div_ceil(MAX_LIST_USERS).max(1);
    let mut judged = 0_u32;
    let mut sum = 0.0;
    let mut candidate = Vec::new();
    for (user, relevant) in relevant.iter().step_by(step) {
        candidate.clear();
        candidate.resize(split.train.movies(), true);
        for (movie, _) in known.get(*user as usize).into_iter().flatten() {
            if let Some(candidate) = candidate.get_mut(*movie as usize) {
                *candidate = false;
            }
        }
        let movies = (0_u32..)
            .zip(&candidate)
            .filter(|(_, is)| **is)
            .map(|(movie, _)| (movie, score(*user, movie)));
        sum += list_ndcg(&top(movies), relevant);
        judged += 1;
    }
    sum / f64::from(judged.max(1))
}

/// The 20 best, best first; the earlier of equals first.
fn top(scores: impl Iterator<Item = (u32, f64)>) -> Vec<u32> {
    let mut best: Vec<(u32, f64)> = Vec::with_capacity(TOP + 1);
    for (movie, score) in scores {
        let full = best.len() == TOP;
        if full && best.last().is_some_and(|(_, worst)| score <= *worst) {
            continue;
        }
        let rank = best.partition_point(|(_, better)| *better >= score);
        best.insert(rank, (movie, score));
        best.truncate(TOP);
    }
    best.into_iter().map(|(movie, _)| movie).collect()
}

fn list_ndcg(list: &[u32], relevant: &[u32]) -> f64 {
    let discount = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
    let gained: f64 = list
        .iter()
        .enumerate()
        .filter(|(_, movie)| relevant.contains(movie))
        .map(|(rank, _)| discount(rank))
        .sum();
    let ideal: f64 = (0..relevant.len().min(TOP)).map(discount).sum();
    gained / ideal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratings::Rating;

    const EXACT: f64 = 1e-12;

    fn ratings(users: usize, movies: usize, rows: &[(u32, u32, f32)]) -> Ratings {
        let rows = rows
            .iter()
            .map(|&(user, movie, stars)| Rating {
                user,
                movie,
                stars,
                time: 0,
            })
            .collect();
        Ratings::new(users, movies, rows)
    }

    #[test]
    fn errors_are_clipped_and_add_up() {
        let test = ratings(1, 2, &[(0, 0, 5.0), (0, 1, 2.0)]);
        let predict = |_, movie| if movie == 0 { 9.0 } else { 4.0 };
        let errors = Errors::of(&test, Scale::to(5), predict);
        assert!((errors.rmse() - 2.0_f64.sqrt()).abs() < EXACT && (errors.mae() - 1.0).abs() < EXACT);
        assert_eq!(errors.and(errors).count(), 4);
        assert!((errors.and(errors).rmse() - errors.rmse()).abs() < EXACT);
        assert!(errors.skill(&errors).abs() < EXACT);
        assert!(Errors::default().rmse().is_nan());
    }

    #[test]
    fn ndcg_has_its_closed_form() {
        let train = ratings(2, 30, &[(0, 29, 5.0)]);
        let split = Split {
            test: ratings(2, 30, &[(0, 27, 4.0), (0, 3, 5.0), (0, 28, 3.0)]),
            train,
        };
        // By index, movie 28 leads, 27 is second, 3 is 26th: only 27 is in the list and relevant.
        let by_index = ndcg(&split, |_, movie| f64::from(movie));
        let ideal = 1.0 + 1.0 / 3.0_f64.log2();
        assert!(
            (by_index - (1.0 / 3.0_f64.log2()) / ideal).abs() < EXACT,
            "{by_index}"
        );
        // All equal: the lower index first, so movie 3 has rank 4.
        let tied = ndcg(&split, |_, _| 0.0);
        assert!((tied - (1.0 / 5.0_f64.log2()) / ideal).abs() < EXACT, "{tied}");
        assert!(
            (ndcg(&split, |_, movie| f64::from(u8::from(movie == 3 || movie == 27))) - 1.0).abs() < EXACT
        );
    }

    #[test]
    fn users_without_a_relevant_movie_are_left_out() {
        let split = Split {
            train: ratings(1, 2, &[]),
            test: ratings(1, 2, &[(0, 0, 3.0)]),
        };
        assert_eq!(ndcg(&split, |_, _| 0.0), 0.0);
    }
}
