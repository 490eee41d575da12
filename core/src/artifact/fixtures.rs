//! Models for tests: one to read, and any that keeps the rules.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::Model;

/// Two users, three movies, rank 2: small enough to read.
pub(crate) fn model() -> Model {
    Model {
        rank: 2,
        mean: 3.5,
        users: vec![7, 19],
        user_biases: vec![0.25, -0.5],
        user_factors: vec![1.0, 0.0, 0.0, 1.0],
        movies: ["+nos+amours+1983", "61*+2001", "reflection+"]
            .map(str::to_owned)
            .to_vec(),
        movie_biases: vec![0.5, 0.0, -0.25],
        movie_factors: vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        popular: vec![2, 0, 1],
        seen: vec![vec![0], vec![]],
    }
}

/// Any model that keeps the rules.
pub(crate) fn models() -> impl Strategy<Value = Model> {
    let ids = (
        btree_set(1_u32..=1_000_000, 0..6),
        btree_set("[a-z0-9+_.*-]{1,12}", 1..9),
        0_usize..5,
    );
    ids.prop_flat_map(|(users, movies, rank)| {
        let (n, m) = (users.len(), movies.len());
        let stars = || -4.0_f32..4.0;
        let tables = (
            vec(stars(), n),
            vec(stars(), n * rank),
            vec(stars(), m),
            vec(stars(), m * rank),
        );
        let order = Just(
            (0..m)
                .filter_map(|movie| u32::try_from(movie).ok())
                .collect::<Vec<_>>(),
        )
        .prop_shuffle();
        let seen = vec(vec(any::<bool>(), m), n);
        (Just((users, movies, rank)), stars(), tables, order, 1..=m, seen).prop_map(
            |((users, movies, rank), mean, tables, mut popular, listed, seen)| {
                popular.truncate(listed);
                let row = |rated: std::vec::Vec<bool>| {
                    rated
                        .into_iter()
                        .zip(0..)
                        .filter_map(|(rated, movie)| rated.then_some(movie))
                        .collect()
                };
                Model {
                    rank,
                    mean,
                    users: users.into_iter().collect(),
                    user_biases: tables.0,
                    user_factors: tables.1,
                    movies: movies.into_iter().collect(),
                    movie_biases: tables.2,
                    movie_factors: tables.3,
                    popular,
                    seen: seen.into_iter().map(row).collect(),
                }
            },
        )
    })
}
