//! The model as a safetensors file: f32 row-major, little-endian, every tensor on a 64-byte boundary.
//!
//! | tensor | type | shape |
//! |---|---|---|
//! | `mean` | F32 | 1 |
//! | `movie_biases`, `movie_factors` | F32 | movies; movies × rank |
//! | `user_biases`, `user_factors` | F32 | users; users × rank |
//! | `popular` | U32 | at most 200 |
//! | `users` | U32 | users |
//! | `seen.movies`, `seen.rows` | U32, U64 | row i is `movies[rows[i]..rows[i + 1]]` |
//! | `movies` | U8 | the ids, joined by line feeds |
//!
//! The format allows no holes, so zeros between tensors are tensors too: `pad.0`, `pad.1`, …

use std::fmt::Write as _;

use safetensors::{Dtype, SafeTensors};

use super::{ArtifactError, Model};

/// One cache line, and what vector loads like.
const ALIGNMENT_BYTES: usize = 64;

impl Model {
    /// The bytes of `model.safetensors`. Equal models give equal bytes.
    ///
    /// The fields are written as they are; [`Model::check`] says whether a reader will accept them.
    pub fn to_safetensors(&self) -> Vec<u8> {
        let (users, movies) = (self.users.len(), self.movies.len());
        let mut rows = vec![0_u64];
        rows.extend(self.seen.iter().scan(0, |end, row| {
            *end += row.len() as u64;
            Some(*end)
        }));
        let seen: Vec<u32> = self.seen.concat();

        let mut file = Writer::default();
        file.tensor("mean", Dtype::F32, &[1], self.mean.to_le_bytes());
        file.tensor(
            "movie_biases",
            Dtype::F32,
            &[movies],
            le(&self.movie_biases, f32::to_le_bytes),
        );
        file.tensor(
            "movie_factors",
            Dtype::F32,
            &[movies, self.rank],
            le(&self.movie_factors, f32::to_le_bytes),
        );
        file.tensor(
            "user_biases",
            Dtype::F32,
            &[users],
            le(&self.user_biases, f32::to_le_bytes),
        );
        file.tensor(
            "user_factors",
            Dtype::F32,
            &[users, self.rank],
            le(&self.user_factors, f32::to_le_bytes),
        );
        file.tensor(
            "popular",
            Dtype::U32,
            &[self.popular.len()],
            le(&self.popular, u32::to_le_bytes),
        );
        file.tensor("users", Dtype::U32, &[users], le(&self.users, u32::to_le_bytes));
        file.tensor(
            "seen.movies",
            Dtype::U32,
            &[seen.len()],
            le(&seen, u32::to_le_bytes),
        );
        file.tensor(
            "seen.rows",
            Dtype::U64,
            &[rows.len()],
            le(&rows, u64::to_le_bytes),
        );
        let ids = self.movies.join("\n");
        file.tensor("movies", Dtype::U8, &[ids.len()], ids.bytes());
        file.finish()
    }

    /// Reads and checks the bytes of `model.safetensors`.
    ///
    /// # Errors
    /// The bytes are no safetensors file, a tensor is missing, unknown or of another shape, or [`Model::check`] fails.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let file =
            Reader(SafeTensors::deserialize(bytes).map_err(|source| ArtifactError::Container { source })?);
        file.check_names()?;
        let users = file.values("users", Dtype::U32, &[None], u32::from_le_bytes)?;
        let movies = file.movies()?;
        let rank = file.rank()?;
        let (n, m, k) = (Some(users.len()), Some(movies.len()), Some(rank));
        let model = Self {
            rank,
            mean: file
                .values("mean", Dtype::F32, &[Some(1)], f32::from_le_bytes)?
                .into_iter()
                .sum(),
            movie_biases: file.values("movie_biases", Dtype::F32, &[m], f32::from_le_bytes)?,
            movie_factors: file.values("movie_factors", Dtype::F32, &[m, k], f32::from_le_bytes)?,
            user_biases: file.values("user_biases", Dtype::F32, &[n], f32::from_le_bytes)?,
            user_factors: file.values("user_factors", Dtype::F32, &[n, k], f32::from_le_bytes)?,
            popular: file.values("popular", Dtype::U32, &[None], u32::from_le_bytes)?,
            seen: file.seen(users.len())?,
            users,
            movies,
        };
        model.check()?;
        Ok(model)
    }
}

fn le<T: Copy, const N: usize>(values: &[T], to_bytes: fn(T) -> [u8; N]) -> impl Iterator<Item = u8> {
    values.iter().flat_map(move |value| to_bytes(*value))
}

/// Collects tensors in the order they are given.
#[derive(Default)]
struct Writer {
    /// The JSON header without its braces.
    header: String,
    data: Vec<u8>,
    pads: usize,
}

impl Writer {
    fn tensor(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: impl IntoIterator<Item = u8>) {
        let gap = self.data.len().next_multiple_of(ALIGNMENT_BYTES) - self.data.len();
        if gap > 0 {
            let pad = format!("pad.{}", self.pads);
            self.pads += 1;
            self.append(&pad, Dtype::U8, &[gap], std::iter::repeat_n(0, gap));
        }
        self.append(name, dtype, shape, bytes);
    }

    fn append(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: impl IntoIterator<Item = u8>) {
        let start = self.data.len();
        self.data.extend(bytes);
        let end = self.data.len();
        let comma = if self.header.is_empty() { "" } else { "," };
        // Writing to a String cannot fail; names are our own and need no escape.
        let _infallible = write!(
            self.header,
            r#"{comma}"{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        );
    }

    /// Length of the header, the header padded with spaces, the data.
    fn finish(self) -> Vec<u8> {
        const PREFIX: usize = size_of::<u64>();
        let mut header = format!("{{{}}}", self.header).into_bytes();
        let end = (PREFIX + header.len()).next_multiple_of(ALIGNMENT_BYTES);
        header.resize(end - PREFIX, b' ');
        let mut file = Vec::with_capacity(end + self.data.len());
        file.extend((header.len() as u64).to_le_bytes());
        file.extend(header);
        file.extend(self.data);
        file
    }
}

struct Reader<'a>(SafeTensors<'a>);

impl Reader<'_> {
    const NAMES: [&'static str; 10] = [
        "mean",
        "movie_biases",
        "movie_factors",
        "movies",
        "popular",
        "seen.movies",
        "seen.rows",
        "user_biases",
        "user_factors",
        "users",
    ];

    fn check_names(&self) -> Result<(), ArtifactError> {
        let mut names = self.0.names();
        names.sort_unstable();
        match names
            .into_iter()
            .find(|name| !Self::NAMES.contains(name) && !name.starts_with("pad."))
        {
            Some(name) => Err(ArtifactError::TensorUnknown {
                tensor: name.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// The elements of a tensor whose extents are `shape`; `None` fits any extent.
    fn values<T, const N: usize>(
        &self,
        tensor: &'static str,
        dtype: Dtype,
        shape: &[Option<usize>],
        from_bytes: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, ArtifactError> {
        let view = self
            .0
            .tensor(tensor)
            .map_err(|_| ArtifactError::TensorMissing { tensor })?;
        let fits = view.dtype() == dtype
            && view.shape().len() == shape.len()
            && view
                .shape()
                .iter()
                .zip(shape)
                .all(|(found, wanted)| wanted.is_none_or(|n| n == *found));
        if !fits {
            let extents: Vec<_> = shape
                .iter()
                .map(|extent| extent.map_or("any".to_owned(), |n| n.to_string()))
                .collect();
            return Err(ArtifactError::Shape {
                tensor,
                expected: format!("{dtype} [{}]", extents.join(", ")),
                found: format!("{} {:?}", view.dtype(), view.shape()),
            });
        }
        let (elements, _) = view.data().as_chunks::<N>();
        Ok(elements.iter().map(|element| from_bytes(*element)).collect())
    }

    fn rank(&self) -> Result<usize, ArtifactError> {
        let tensor = "movie_factors";
        let view = self
            .0
            .tensor(tensor)
            .map_err(|_| ArtifactError::TensorMissing { tensor })?;
        match *view.shape() {
            [_, rank] => Ok(rank),
            ref other => Err(ArtifactError::Shape {
                tensor,
                expected: "F32 [movies, rank]".to_owned(),
                found: format!("{} {other:?}", view.dtype()),
            }),
        }
    }

    /// Bytes that are not UTF-8 become U+FFFD here, and [`Model::check`] refuses that letter with the id.
    fn movies(&self) -> Result<Vec<String>, ArtifactError> {
        let bytes = self.values("movies", Dtype::U8, &[None], u8::from_le_bytes)?;
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        Ok(bytes
            .split(|b| *b == b'\n')
            .map(|id| String::from_utf8_lossy(id).into_owned())
            .collect())
    }

    fn seen(&self, users: usize) -> Result<Vec<Vec<u32>>, ArtifactError> {
        let movies = self.values("seen.movies", Dtype::U32, &[None], u32::from_le_bytes)?;
        let rows = self.values("seen.rows", Dtype::U64, &[Some(users + 1)], u64::from_le_bytes)?;
        let limit = movies.len() as u64;
        let wrong = |element: usize, value: u64| ArtifactError::OutOfRange {
            tensor: "seen.rows",
            element,
            value,
            limit,
        };
        if let Some(first) = rows.first().filter(|first| **first != 0) {
            return Err(wrong(0, *first));
        }
        if let Some(last) = rows.last().filter(|last| **last != limit) {
            return Err(wrong(users, *last));
        }
        let row = |(element, [start, end]): (usize, &[u64; 2])| {
            let range = usize::try_from(*start).ok().zip(usize::try_from(*end).ok());
            let row = range.and_then(|(start, end)| movies.get(start..end));
            row.map(<[u32]>::to_vec).ok_or_else(|| wrong(element + 1, *end))
        };
        rows.array_windows().enumerate().map(row).collect()
    }
}

#[cfg(test)]
#[path = "encoding_tests.rs"]
mod tests;
