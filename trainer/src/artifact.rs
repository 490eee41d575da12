//! From a fit to the files of an artifact. Pure: equal inputs give equal bytes.

use std::collections::BTreeMap;

use serde::Serialize;
use serin_core::artifact::{
    ArtifactError, Data, File, MANIFEST_FILE, MODEL_FILE, Manifest, Model, REPORT_FILE,
};
use serin_core::digest::Digest;

use crate::als::{Fit, Settings};
use crate::corpus::Corpus;
use crate::evaluate::Evaluation;
use crate::gate::Gate;

/// The version of the manifest's schema that is written here.
const SCHEMA: u32 = 1;

/// The files of an artifact in the order in which they must be written: the manifest last, for it vouches for all.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// Digest of the manifest, which is the identity of the whole.
    pub digest: Digest,
    /// What was measured, by name, as the release will show it.
    pub evidence: BTreeMap<String, f64>,
    /// Names and bytes.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

/// `report.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    split: &'static str,
    settings: &'a Settings,
    gate: &'a Gate,
    evaluation: &'a Evaluation,
    data: Counts,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    ratings: u64,
    users: u64,
    movies: u64,
}

/// Builds the artifact of a fit that passed its gate.
///
/// # Errors
/// The model breaks a rule that the server would refuse it for, such as a factor that is not finite.
pub fn artifact(
    fit: &Fit,
    corpus: &Corpus,
    settings: &Settings,
    gate: &Gate,
    evaluation: &Evaluation,
    read: DataRead,
) -> Result<Artifact, ArtifactError> {
    let model = model(fit, corpus, settings.factors);
    model.check()?;
    let counts = Counts {
        ratings: corpus.ratings.rows().len() as u64,
        users: corpus.users.len() as u64,
        movies: corpus.movies.len() as u64,
    };
    let data = Data {
        ratings: counts.ratings,
        users: counts.users,
        movies: counts.movies,
        files: read.files,
        offsets: read.offsets,
    };
    let report = Report {
        split: "user-time",
        settings,
        gate,
        evaluation,
        data: counts,
    };
    let mut files = vec![
        (MODEL_FILE, model.to_safetensors()),
        (REPORT_FILE, pretty(&report)),
    ];
    let manifest = Manifest {
        schema: SCHEMA,
        files: files
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), described(bytes)))
            .collect(),
        algorithm: "biased-als".to_owned(),
        hyperparameters: hyperparameters(settings),
        evidence: evidence(evaluation),
        parent: None,
        data,
        code: format!("serin-trainer {}", env!("CARGO_PKG_VERSION")),
    };
    let bytes = manifest.to_canonical_json();
    let digest = Digest::of(&bytes);
    files.push((MANIFEST_FILE, bytes));
    Ok(Artifact {
        digest,
        evidence: manifest.evidence,
        files,
    })
}

/// What was read of the data set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataRead {
    /// Digests of its files by name.
    pub files: BTreeMap<String, Digest>,
    /// Offsets `[start, end)` by `topic/partition`.
    pub offsets: BTreeMap<String, (i64, i64)>,
}

/// The model that is served: every number rounded to f32.
pub fn model(fit: &Fit, corpus: &Corpus, rank: usize) -> Model {
    let user = |index| fit.user(index).unwrap_or((0.0, &[]));
    let movie = |index| fit.movie(index).unwrap_or((0.0, &[]));
    let users = || (0_u32..).zip(&corpus.users).map(|(index, _)| user(index));
    let movies = || (0_u32..).zip(&corpus.movies).map(|(index, _)| movie(index));
    let mut seen: Vec<Vec<u32>> = corpus
        .ratings
        .by_user()
        .into_iter()
        .map(|rated| rated.into_iter().map(|(movie, _)| movie).collect())
        .collect();
    for movies in &mut seen {
        movies.sort_unstable();
    }
    Model {
        rank,
        mean: rounded(fit.mean),
        users: corpus.users.clone(),
        user_biases: users().map(|(bias, _)| rounded(bias)).collect(),
        user_factors: users()
            .flat_map(|(_, factors)| factors)
            .copied()
            .map(rounded)
            .collect(),
        movies: corpus.movies.clone(),
        movie_biases: movies().map(|(bias, _)| rounded(bias)).collect(),
        movie_factors: movies()
            .flat_map(|(_, factors)| factors)
            .copied()
            .map(rounded)
            .collect(),
        popular: corpus.popular.clone(),
        seen,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the artifact holds f32; the error is below 1e-6 stars"
)]
fn rounded(value: f64) -> f32 {
    value as f32
}

fn hyperparameters(settings: &Settings) -> BTreeMap<String, f64> {
    let Settings {
        factors,
        iterations,
        ridge,
        seed,
    } = *settings;
    named([
        ("factors", factors as f64),
        ("iterations", iterations as f64),
        ("ridge", ridge),
        ("seed", seed as f64),
    ])
}

fn evidence(evaluation: &Evaluation) -> BTreeMap<String, f64> {
    named([
        ("rmse", evaluation.rmse),
        ("mae", evaluation.mae),
        ("biasOnlyRmse", evaluation.bias_only_rmse),
        ("skill", evaluation.skill),
        ("ndcgAt20", evaluation.ndcg_at_20),
        ("popularityNdcgAt20", evaluation.popularity_ndcg_at_20),
        ("trainRatings", evaluation.train_ratings as f64),
        ("testRatings", evaluation.test_ratings as f64),
    ])
}

fn named<const N: usize>(values: [(&str, f64); N]) -> BTreeMap<String, f64> {
    values
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn described(bytes: &[u8]) -> File {
    File {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    }
}

fn pretty(report: &Report<'_>) -> Vec<u8> {
    let mut text = format!("{:#}", serde_json::json!(report)).into_bytes();
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::als;
    use crate::ratings::{Rating, Ratings};

    fn built(seed: u64) -> Artifact {
        let rows = (0..24_u32).map(|n| Rating {
            user: n % 4,
            movie: n / 4,
            stars: f32::from(u8::try_from(1 + (n * 7) % 5).unwrap()),
            time: i64::from(n),
        });
        let corpus = Corpus {
            users: vec![3, 5, 8, 1_000_000],
            movies: (0..6).map(|n| format!("film+{n}")).collect(),
            ratings: Ratings::new(4, 6, rows.collect()),
            popular: vec![5, 0],
        };
        let settings = Settings {
            factors: 3,
            seed,
            ..Settings::default()
        };
        let fit = als::fit(&corpus.ratings, &settings).unwrap();
        let gate = Gate {
            max_rmse: 1.0,
            min_test_ratings: 1,
        };
        artifact(
            &fit,
            &corpus,
            &settings,
            &gate,
            &Evaluation::default(),
            DataRead::default(),
        )
        .unwrap()
    }

    #[test]
    fn equal_data_and_seed_give_equal_bytes_and_another_seed_does_not() {
        assert_eq!(built(1), built(1));
        assert_ne!(built(1).digest, built(2).digest);
    }

    #[test]
    fn the_manifest_comes_last_and_vouches_for_every_other_file() {
        let artifact = built(1);
        let (name, bytes) = artifact.files.last().unwrap();
        assert_eq!(*name, MANIFEST_FILE);
        let manifest = Manifest::parse(bytes, &artifact.digest).unwrap();
        for (name, bytes) in &artifact.files[..artifact.files.len() - 1] {
            manifest.check_file(name, bytes).unwrap();
        }
        assert_eq!(manifest.files.len(), artifact.files.len() - 1);
    }

    #[test]
    fn the_model_is_read_back_with_what_users_have_rated() {
        let artifact = built(1);
        let model = Model::from_safetensors(&artifact.files[0].1).unwrap();
        assert_eq!(model.seen[0], [0, 1, 2, 3, 4, 5]);
        assert_eq!((model.users.len(), model.movies.len(), model.rank), (4, 6, 3));
    }
}
