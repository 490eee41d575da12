//! Published and measured anchors on ML-100k. `SERIN_ML100K` names the folder with `ml-100k.inter`; its licence
//! forbids keeping a copy here, so the tests are skipped, saying so, where it is absent.
#![expect(clippy::expect_used, reason = "helpers of tests")]

use std::collections::BTreeSet;

use serin_trainer::als::{self, Settings};
use serin_trainer::baseline::Baseline;
use serin_trainer::evaluate::{Errors, Scale, evaluate, ndcg};
use serin_trainer::ratings::{Rating, Ratings};
use serin_trainer::split::{self, Split};

/// Anchors are published to four decimals.
const ROUNDING: f64 = 0.000_05;
/// Spread of a seeded fit over seeds and implementations.
const SEEDED: f64 = 0.001;

#[expect(
    clippy::disallowed_methods,
    reason = "the folder of the data is a setting of the test run"
)]
fn ml100k() -> Option<Ratings> {
    let Ok(folder) = std::env::var("SERIN_ML100K") else {
        eprintln!("skipped: SERIN_ML100K names no folder with ml-100k.inter");
        return None;
    };
    let text = std::fs::read_to_string(format!("{folder}/ml-100k.inter")).expect("ml-100k.inter is readable");
    let rows = text.lines().skip(1).map(|line| {
        let mut fields = line
            .split('\t')
            .map(|field| field.parse::<u32>().expect("a number"));
        let mut next = || fields.next().expect("four fields");
        let (user, movie, stars, time) = (next() - 1, next() - 1, next(), next());
        Rating {
            user,
            movie,
            stars: stars as f32,
            time: i64::from(time),
        }
    });
    Some(Ratings::new(943, 1682, rows.collect()))
}

fn near(what: &str, value: f64, anchor: f64, tolerance: f64) {
    eprintln!("{what}: {value:.4} (anchor {anchor})");
    assert!(
        (value - anchor).abs() <= tolerance,
        "{what} is {value:.5}, not {anchor} ± {tolerance}"
    );
}

fn users(ratings: &Ratings) -> BTreeSet<u32> {
    ratings.rows().iter().map(|row| row.user).collect()
}

#[test]
fn the_splits_have_their_published_sizes() {
    let Some(ratings) = ml100k() else { return };
    let sizes: Vec<_> = split::random5(&ratings)
        .iter()
        .map(|fold| fold.test.rows().len())
        .collect();
    assert_eq!(sizes, [20_036, 20_102, 20_136, 19_964, 19_762]);

    let split = split::user_time(&ratings);
    assert_eq!(
        (split.train.rows().len(), split.test.rows().len()),
        (80_367, 19_633)
    );
    let positive: Vec<_> = split.test.rows().iter().filter(|row| row.stars >= 4.0).collect();
    let users_with_a_positive: BTreeSet<_> = positive.iter().map(|row| row.user).collect();
    assert_eq!((users_with_a_positive.len(), positive.len()), (906, 9_378));

    let split = split::global_time(&ratings, 80_000);
    let (known, tested) = (users(&split.train), users(&split.test));
    let of_new = split
        .test
        .rows()
        .iter()
        .filter(|row| !known.contains(&row.user))
        .count();
    assert_eq!(
        (
            known.len(),
            tested.len(),
            tested.difference(&known).count(),
            of_new
        ),
        (751, 301, 192, 17_048)
    );
}

#[test]
fn biases_alone_have_their_published_errors() {
    let Some(ratings) = ml100k() else { return };
    let score = |splits: &[Split], keep: &dyn Fn(&Split, &Rating) -> bool| {
        splits.iter().fold(Errors::default(), |sum, split| {
            let fit = Baseline::fit(&split.train);
            let rows = split
                .test
                .rows()
                .iter()
                .filter(|row| keep(split, row))
                .copied()
                .collect();
            sum.and(Errors::of(&split.test.with_rows(rows), Scale::to(5), |u, m| {
                fit.predict(u, m)
            }))
        })
    };
    let all = |_: &Split, _: &Rating| true;
    let anchors = [
        ("random5", split::random5(&ratings), 0.9443, 0.7486),
        ("user-time", vec![split::user_time(&ratings)], 0.9985, 0.7948),
        (
            "global-time",
            vec![split::global_time(&ratings, 80_000)],
            1.0300,
            0.8214,
        ),
    ];
    for (name, splits, rmse, mae) in &anchors {
        let errors = score(splits, &all);
        near(&format!("bias-only RMSE {name}"), errors.rmse(), *rmse, ROUNDING);
        near(&format!("bias-only MAE {name}"), errors.mae(), *mae, ROUNDING);
    }
    let global = [split::global_time(&ratings, 80_000)];
    let known = users(&global[0].train);
    near(
        "new users",
        score(&global, &|_, row| !known.contains(&row.user)).rmse(),
        1.0350,
        ROUNDING,
    );
    near(
        "known users",
        score(&global, &|_, row| known.contains(&row.user)).rmse(),
        1.0006,
        ROUNDING,
    );
}

/// One fit's error varies with its seed by about ±.0005, so the figure is the mean over a few seeds.
#[test]
fn als_has_its_published_error_in_both_settings() {
    let Some(ratings) = ml100k() else { return };
    let folds = split::random5(&ratings);
    for (factors, iterations, ridge, seeds, anchor) in [(16, 8, 0.12, 4, 0.9158), (40, 15, 0.1, 1, 0.9148)] {
        let started = std::time::Instant::now();
        let errors = (1..=seeds).map(|seed| {
            let settings = Settings {
                factors,
                iterations,
                ridge,
                seed,
            };
            let errors = folds.iter().fold(Errors::default(), |sum, fold| {
                let fit = als::fit(&fold.train, &settings).expect("a penalty above 0");
                sum.and(Errors::of(&fold.test, Scale::to(5), |u, m| fit.predict(u, m)))
            });
            eprintln!("k = {factors}, seed {seed}: {:.5}", errors.rmse());
            errors.rmse()
        });
        let mean = errors.sum::<f64>() / seeds as f64;
        eprintln!(
            "five fits, k = {factors}: {:.2} s",
            started.elapsed().as_secs_f64() / seeds as f64
        );
        near(&format!("ALS k={factors} random5"), mean, anchor, SEEDED);
    }
}

#[test]
fn the_gate_split_has_its_published_figures() {
    let Some(ratings) = ml100k() else { return };
    let split = split::user_time(&ratings);
    let judged = evaluate(&split, &Settings::default(), Scale::to(5)).expect("a penalty above 0");
    eprintln!("{judged:#?}");
    near(
        "popularity NDCG@20",
        judged.popularity_ndcg_at_20,
        0.1112,
        ROUNDING,
    );
    near("bias-only", judged.bias_only_rmse, 0.9985, ROUNDING);
    near("user-time RMSE", judged.rmse, 0.970, 0.002);
    assert!(
        judged.rmse < 1.0 && judged.skill > 0.04,
        "the default passes the classic gate and the skill gate"
    );
    assert!(
        judged.ndcg_at_20 < judged.popularity_ndcg_at_20,
        "ranking by predicted rating loses to popularity"
    );
    let oracle = ndcg(&split, |user, movie| {
        let hit = split
            .test
            .rows()
            .iter()
            .any(|r| r.user == user && r.movie == movie && r.stars >= 4.0);
        f64::from(u8::from(hit))
    });
    near("oracle NDCG@20", oracle, 1.0, 1e-12);
}
