//! Latent tastes: what makes a user like a film.
//!
//! A score is quality, fit of tastes and mood, each standard normal, weighted so that the sum is standard normal again;
//! stars are its quantiles. What a model can learn is quality and fit, about 70 % of the variance.

use super::Movie;
use crate::random::Random;

/// Dimensions of taste.
const DIMENSIONS: usize = 8;
/// Films a user looks at before choosing one.
pub const CANDIDATES: usize = 3;
/// How much better than the average film a chosen one is, so that the stars of chosen films have the platform's shares.
const CHOSEN: f64 = 0.7;
/// Weights of quality, fit and mood; the squares sum to 1.
const WEIGHTS: [f64; 3] = [0.45, 0.7, 0.554];
/// Scores below which a film gets 1, 2, 3 and 4 stars: normal quantiles of the platform's shares 0.2, 2, 27 and 51 %.
const STEPS: [f64; 4] = [-2.878, -2.014, -0.548, 0.842];

/// A direction of taste; of length 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors([f64; DIMENSIONS]);

impl Factors {
    /// A direction, uniform on the sphere.
    pub fn drawn(random: &mut Random) -> Self {
        Self::normalised(std::array::from_fn(|_| random.normal()))
    }

    /// The mean of the directions of a film's genres, turned a little by the film's own.
    pub fn of_film(genres: &[Self], own: &mut Random) -> Self {
        /// Weight of the film beside its genres.
        const OWN: f64 = 0.6;
        let Self(own) = Self::drawn(own);
        let mut sum = own.map(|value| value * OWN);
        for Self(genre) in genres {
            for (total, value) in sum.iter_mut().zip(genre) {
                *total += value / genres.len() as f64;
            }
        }
        Self::normalised(sum)
    }

    fn normalised(values: [f64; DIMENSIONS]) -> Self {
        let length = values
            .iter()
            .map(|value| value * value)
            .sum::<f64>()
            .sqrt()
            .max(f64::MIN_POSITIVE);
        Self(values.map(|value| value / length))
    }

    /// Cosine of two directions, scaled to variance 1.
    fn fit(&self, other: &Self) -> f64 {
        let cosine: f64 = self.0.iter().zip(other.0).map(|(a, b)| a * b).sum();
        cosine * (DIMENSIONS as f64).sqrt()
    }
}

/// How much a user likes a film, without mood.
pub fn affinity(user: &Factors, movie: &Movie) -> f64 {
    let [quality, fit, _] = WEIGHTS;
    quality * movie.quality + fit * user.fit(&movie.factors)
}

/// The stars that a user gives a film today.
pub fn stars(user: &Factors, movie: &Movie, random: &mut Random) -> u8 {
    let [.., mood] = WEIGHTS;
    let score = affinity(user, movie) - CHOSEN + mood * random.normal();
    STEPS
        .iter()
        .fold(1, |stars, step| if score > *step { stars + 1 } else { stars })
}
