//! The rules a model obeys, in one place: the trainer asks before it publishes, the server before it is ready.

use super::{ArtifactError, Model, POPULAR_MAX};

impl Model {
    /// Says whether the fields agree with each other and can be served.
    ///
    /// # Errors
    /// The first rule that is broken: lengths, finite numbers, ascending ids, indices in range, somebody to answer.
    pub fn check(&self) -> Result<(), ArtifactError> {
        self.check_lengths()?;
        finite("mean", &[self.mean])?;
        finite("movie_biases", &self.movie_biases)?;
        finite("movie_factors", &self.movie_factors)?;
        finite("user_biases", &self.user_biases)?;
        finite("user_factors", &self.user_factors)?;
        ascending("users", &self.users)?;
        self.check_movies()?;
        self.check_popular()?;
        for row in &self.seen {
            ascending("seen.movies", row)?;
            in_range("seen.movies", row, self.movies.len())?;
        }
        Ok(())
    }

    fn check_lengths(&self) -> Result<(), ArtifactError> {
        let (users, movies) = (self.users.len(), self.movies.len());
        let lengths = [
            ("movie_biases", movies, self.movie_biases.len()),
            (
                "movie_factors",
                movies.saturating_mul(self.rank),
                self.movie_factors.len(),
            ),
            ("user_biases", users, self.user_biases.len()),
            (
                "user_factors",
                users.saturating_mul(self.rank),
                self.user_factors.len(),
            ),
            ("seen.rows", users, self.seen.len()),
        ];
        for (tensor, expected, found) in lengths {
            if expected != found {
                let [expected, found] = [expected, found].map(|n| format!("{n} elements long"));
                return Err(ArtifactError::Shape {
                    tensor,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }

    fn check_movies(&self) -> Result<(), ArtifactError> {
        if self.movies.is_empty() {
            return Err(ArtifactError::Empty { tensor: "movies" });
        }
        for (element, id) in self.movies.iter().enumerate() {
            if !is_movie_id(id) {
                return Err(ArtifactError::MovieId {
                    element,
                    id: id.chars().take(80).collect(),
                });
            }
        }
        ascending("movies", &self.movies)
    }

    fn check_popular(&self) -> Result<(), ArtifactError> {
        if self.popular.is_empty() {
            return Err(ArtifactError::Empty { tensor: "popular" });
        }
        if self.popular.len() > POPULAR_MAX {
            return Err(ArtifactError::Shape {
                tensor: "popular",
                expected: format!("at most {POPULAR_MAX} elements long"),
                found: format!("{} elements long", self.popular.len()),
            });
        }
        in_range("popular", &self.popular, self.movies.len())?;
        let mut sorted = self.popular.clone();
        sorted.sort_unstable();
        match sorted.array_windows().find(|[left, right]| left == right) {
            Some([movie, _]) => Err(ArtifactError::Repeated {
                tensor: "popular",
                movie: *movie,
            }),
            None => Ok(()),
        }
    }
}

/// The platform's alphabet; the longest id of its catalogue has 109 characters.
fn is_movie_id(id: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+_.*-".contains(&b);
    (1..=256).contains(&id.len()) && id.bytes().all(legal)
}

fn finite(tensor: &'static str, values: &[f32]) -> Result<(), ArtifactError> {
    match values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        Some((element, value)) => Err(ArtifactError::NotFinite {
            tensor,
            element,
            value: *value,
        }),
        None => Ok(()),
    }
}

fn ascending<T: PartialOrd>(tensor: &'static str, values: &[T]) -> Result<(), ArtifactError> {
    match values.array_windows().position(|[left, right]| left >= right) {
        Some(position) => Err(ArtifactError::NotAscending {
            tensor,
            element: position + 1,
        }),
        None => Ok(()),
    }
}

fn in_range(tensor: &'static str, indices: &[u32], movies: usize) -> Result<(), ArtifactError> {
    match indices
        .iter()
        .enumerate()
        .find(|(_, index)| **index as usize >= movies)
    {
        Some((element, index)) => Err(ArtifactError::OutOfRange {
            tensor,
            element,
            value: u64::from(*index),
            limit: (movies as u64).saturating_sub(1),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::fixtures::model;

    /// One way to spoil a model.
    type Damage = fn(&mut Model);

    #[test]
    fn every_broken_rule_is_named() {
        let cases: [(Damage, &str); 17] = [
            (|m| m.mean = f32::NAN, "tensor mean holds NaN at element 0"),
            (
                |m| m.movie_factors[3] = f32::INFINITY,
                "tensor movie_factors holds inf at element 3",
            ),
            (
                |m| m.movie_biases[1] = f32::NEG_INFINITY,
                "tensor movie_biases holds -inf",
            ),
            (|m| m.user_biases[1] = f32::NAN, "tensor user_biases holds NaN"),
            (|m| m.user_factors[0] = f32::NAN, "the fit has diverged"),
            (
                |m| m.rank = 3,
                "movie_factors is 6 elements long, expected 9 elements long",
            ),
            (
                |m| m.user_biases.truncate(m.user_biases.len() - 1),
                "user_biases is 1 elements long, expected 2",
            ),
            (|m| drop(m.seen.pop()), "seen.rows is 1 elements long, expected 2"),
            (|m| m.users.swap(0, 1), "users does not rise at element 1"),
            (|m| m.movies.swap(1, 2), "movies does not rise at element 2"),
            (|m| m.movies[0] = "a,b".to_owned(), "the id \"a,b\""),
            (|m| m.movies[0] = String::new(), "the id \"\""),
            (|m| m.popular.clear(), "popular is empty"),
            (
                |m| m.popular = vec![1, 3],
                "popular holds 3 at element 1, the limit is 2",
            ),
            (|m| m.popular = vec![2, 0, 2], "popular names movie 2 twice"),
            (
                |m| m.seen[0] = vec![2, 2],
                "seen.movies does not rise at element 1",
            ),
            (
                |m| m.seen[1] = vec![7],
                "seen.movies holds 7 at element 0, the limit is 2",
            ),
        ];
        for (damage, message) in cases {
            let mut model = model();
            damage(&mut model);
            let error = model.check().unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(model().check().is_ok());
    }
}
