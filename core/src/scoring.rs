//! Scoring: which movies a user is answered with. The gate measures and the server answers by this one function.
//!
//! Ranking by predicted stars alone is worse than no personalisation at all: the best-predicted movies are little
//! known ones that nobody goes on to watch. So the stars are blended with a popularity prior, see [`recommend`].

use crate::artifact::Model;

/// Stars added to the most popular movie.
///
/// A movie's bias and the spread of the personal part are around half a star each, so two stars decide among the
/// well known and the unknown, and taste decides among movies that stand near each other in popularity.
const POPULARITY_STARS: f32 = 2.0;

/// Whether the model knows the user; a closed label for metrics and provenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// The user has factors: the answer is personal.
    Known,
    /// The user has none: the answer is the popular list.
    Unknown,
}

impl Audience {
    /// The label, stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Unknown => "unknown",
        }
    }
}

/// An answer to one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'model> {
    /// For whom the model took the user.
    pub audience: Audience,
    /// Movie ids, best first, distinct.
    pub movies: Vec<&'model str>,
}

/// The `k` best movies for `user` that the user has not rated yet; for an unknown user the popular list.
///
/// A movie's score is `movie bias + user factors · movie factors + prior`. The mean and the user's bias are the same
/// for every movie and are left out. The movie at rank r (from 0) of the n popular ones has the prior
/// `2 stars · (1 − ln(1 + r) / ln(1 + n))`, all others 0: audiences fall about as a power of the rank, so their
/// logarithm falls as the logarithm of the rank. Equal scores go by the lower id.
///
/// Guarantees: ids are distinct; the same arguments give the same answer on every machine, for sums have a fixed
/// order; no model makes it panic. A user who has rated everything gets the popular list, rated or not: an old film
/// is a better answer than none. Not guaranteed: `k` movies, when fewer are left.
///
/// Cost: one pass over the factors, and an insertion into `k` slots for each movie that beats the worst of them.
pub fn recommend(model: &Model, user: u32, k: usize) -> Answer<'_> {
    let Ok(row) = model.users.binary_search(&user) else {
        return Answer {
            audience: Audience::Unknown,
            movies: popular(model, k),
        };
    };
    let best = best(model, row, k);
    let movies = if best.is_empty() {
        popular(model, k)
    } else {
        best.into_iter()
            .filter_map(|movie| model.movies.get(movie))
            .map(String::as_str)
            .collect()
    };
    Answer {
        audience: Audience::Known,
        movies,
    }
}

fn popular(model: &Model, k: usize) -> Vec<&str> {
    let ids = model
        .popular
        .iter()
        .filter_map(|movie| model.movies.get(*movie as usize));
    ids.take(k).map(String::as_str).collect()
}

/// Indices of the `k` best unseen movies. Movies stand ascending, so the lists of exceptions are merged, not searched.
fn best(model: &Model, row: usize, k: usize) -> Vec<usize> {
    let start = row.saturating_mul(model.rank);
    let user = model
        .user_factors
        .get(start..start.saturating_add(model.rank))
        .unwrap_or_default();
    let mut seen = model
        .seen
        .get(row)
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .map(|movie| *movie as usize)
        .peekable();
    let mut priors = priors(&model.popular).into_iter().peekable();
    let mut factors = model.movie_factors.as_slice();
    let mut top = Top::new(k);
    for (movie, bias) in model.movie_biases.iter().enumerate() {
        let (these, rest) = factors.split_at_checked(model.rank).unwrap_or_default();
        factors = rest;
        let prior = priors
            .next_if(|(popular, _)| *popular == movie)
            .map_or(0.0, |(_, prior)| prior);
        if seen.next_if_eq(&movie).is_none() {
            top.offer(movie, bias + dot(user, these) + prior);
        }
    }
    top.slots.into_iter().map(|(_, movie)| movie).collect()
}

/// The prior of each popular movie, by ascending index.
fn priors(popular: &[u32]) -> Vec<(usize, f32)> {
    let ln = |rank: usize| f64::ln(1.0 + rank as f64);
    let prior = |rank| 1.0 - ln(rank) / ln(popular.len());
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a share between 0 and 1, wanted in f32"
    )]
    let mut priors: Vec<_> = popular
        .iter()
        .enumerate()
        .map(|(rank, movie)| (*movie as usize, POPULARITY_STARS * prior(rank) as f32))
        .collect();
    priors.sort_unstable_by_key(|(movie, _)| *movie);
    priors
}

/// Eight running sums, so that the compiler may use vector registers, added up in a fixed order.
fn dot(left: &[f32], right: &[f32]) -> f32 {
    let (left, left_rest) = left.as_chunks::<8>();
    let (right, right_rest) = right.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for (left, right) in left.iter().zip(right) {
        for ((sum, l), r) in sums.iter_mut().zip(left).zip(right) {
            *sum += l * r;
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(l, r)| l * r).sum();
    sums.iter().sum::<f32>() + rest
}

/// The best `k` so far, best first. Offers come by ascending movie, so an equal score never displaces an earlier one.
struct Top {
    slots: Vec<(f32, usize)>,
    k: usize,
    /// A score must be above this to enter.
    threshold: f32,
}

impl Top {
    fn new(k: usize) -> Self {
        let threshold = if k == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
        Self {
            slots: Vec::with_capacity(k.min(1_000)),
            k,
            threshold,
        }
    }

    /// NaN is above nothing, so it is left out.
    fn offer(&mut self, movie: usize, score: f32) {
        if score > self.threshold {
            let place = self.slots.partition_point(|(better, _)| *better >= score);
            self.slots.truncate(self.k.saturating_sub(1));
            self.slots.insert(place, (score, movie));
            if self.slots.len() == self.k {
                self.threshold = self.slots.last().map_or(f32::INFINITY, |(worst, _)| *worst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::artifact::fixtures::models;

    /// Five movies without factors: only biases and the prior decide.
    fn by_bias(movie_biases: [f32; 5], popular: Vec<u32>) -> Model {
        Model {
            rank: 0,
            mean: 3.5,
            users: vec![7],
            user_biases: vec![0.0],
            user_factors: vec![],
            movies: ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec(),
            movie_biases: movie_biases.to_vec(),
            movie_factors: vec![],
            popular,
            seen: vec![vec![]],
        }
    }

    #[test]
    fn an_unknown_user_gets_the_popular_list() {
        let model = by_bias([0.0; 5], vec![3, 1, 4]);
        assert_eq!(
            recommend(&model, 8, 2),
            Answer {
                audience: Audience::Unknown,
                movies: vec!["d", "b"]
            }
        );
    }

    #[test]
    fn equal_scores_go_by_the_lower_id() {
        let model = by_bias([0.0, 0.5, 0.0, 0.5, 0.0], vec![4]);
        assert_eq!(recommend(&model, 7, 5).movies, ["e", "b", "d", "a", "c"]);
    }

    #[test]
    fn the_prior_falls_from_two_stars_with_the_logarithm_of_the_rank() {
        let priors = priors(&[5, 0, 9]);
        let wished = [
            (0, 2.0 * (1.0 - 2_f32.ln() / 4_f32.ln())),
            (5, 2.0),
            (9, 2.0 * (1.0 - 3_f32.ln() / 4_f32.ln())),
        ];
        for (found, wished) in priors.iter().zip(wished) {
            assert_eq!(found.0, wished.0);
            assert!((found.1 - wished.1).abs() < 1e-6, "{found:?} {wished:?}");
        }
    }

    #[test]
    fn rated_movies_come_back_only_when_nothing_else_is_left() {
        let mut model = by_bias([0.5, 0.4, 0.3, 0.2, 0.1], vec![2]);
        model.seen = vec![vec![0, 2]];
        assert_eq!(recommend(&model, 7, 20).movies, ["b", "d", "e"]);
        model.seen = vec![vec![0, 1, 2, 3, 4]];
        assert_eq!(recommend(&model, 7, 20).movies, ["c"]);
    }

    /// The same order by the plain way: score everything in f64, sort everything.
    fn oracle(model: &Model, row: usize) -> Vec<(f64, &str)> {
        let factors = |table: &[f32], row: usize| table[row * model.rank..][..model.rank].to_vec();
        let user = factors(&model.user_factors, row);
        let mut scored = Vec::new();
        for (movie, id) in model.movies.iter().enumerate() {
            if model.seen[row].iter().any(|seen| *seen as usize == movie) {
                continue;
            }
            let product: f64 = user
                .iter()
                .zip(factors(&model.movie_factors, movie))
                .map(|(u, m)| f64::from(*u) * f64::from(m))
                .sum();
            let prior = model
                .popular
                .iter()
                .position(|popular| *popular as usize == movie)
                .map_or(0.0, |rank| {
                    2.0 * (1.0 - (1.0 + rank as f64).ln() / (1.0 + model.popular.len() as f64).ln())
                });
            scored.push((
                f64::from(model.movie_biases[movie]) + product + prior,
                id.as_str(),
            ));
        }
        scored.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(right.1)));
        scored
    }

    proptest! {
        #[test]
        fn the_answer_is_the_head_of_the_sorted_catalogue(model in models(), k in 1_usize..12) {
            for (row, user) in model.users.iter().enumerate() {
                let sorted = oracle(&model, row);
                let answer = recommend(&model, *user, k);
                prop_assert_eq!(answer.audience, Audience::Known);
                if sorted.is_empty() {
                    prop_assert_eq!(answer.movies, popular(&model, k));
                    continue;
                }
                prop_assert_eq!(answer.movies.len(), k.min(sorted.len()));
                for (id, wished) in answer.movies.iter().zip(&sorted) {
                    let found = sorted.iter().find(|(_, other)| other == id).unwrap();
                    // f32 sums of at most four products below 16 stars² are within 1e-4 of f64.
                    prop_assert!((found.0 - wished.0).abs() < 1e-4, "{id} {found:?} {wished:?}");
                }
                let distinct: std::collections::BTreeSet<_> = answer.movies.iter().collect();
                prop_assert_eq!(distinct.len(), answer.movies.len());
            }
        }
    }
}
