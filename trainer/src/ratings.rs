//! Ratings as the numerics see them: dense indices instead of ids.

/// One rating.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rating {
    /// Index of the user.
    pub user: u32,
    /// Index of the movie.
    pub movie: u32,
    /// Stars.
    pub stars: f32,
    /// When, in any unit that orders.
    pub time: i64,
}

/// Ratings among `users` × `movies`. Every index of a row is below its count; [`Ratings::new`] sees to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratings {
    users: usize,
    movies: usize,
    rows: Vec<Rating>,
}

impl Ratings {
    /// Keeps the rows whose indices are in range.
    pub fn new(users: usize, movies: usize, mut rows: Vec<Rating>) -> Self {
        rows.retain(|row| (row.user as usize) < users && (row.movie as usize) < movies);
        Self { users, movies, rows }
    }

    /// Number of users, those without ratings included.
    pub fn users(&self) -> usize {
        self.users
    }

    /// Number of movies, those without ratings included.
    pub fn movies(&self) -> usize {
        self.movies
    }

    /// The ratings, in their given order.
    pub fn rows(&self) -> &[Rating] {
        &self.rows
    }

    /// Mean of the stars; 0 without ratings.
    pub fn mean(&self) -> f64 {
        let sum: f64 = self.rows.iter().map(|row| f64::from(row.stars)).sum();
        sum / self.rows.len().max(1) as f64
    }

    /// The same users and movies with other rows.
    #[must_use]
    pub fn with_rows(&self, rows: Vec<Rating>) -> Self {
        Self::new(self.users, self.movies, rows)
    }

    /// Each user's ratings: `(movie, stars)`, in row order.
    pub fn by_user(&self) -> Vec<Vec<(u32, f32)>> {
        group(
            self.users,
            self.rows.iter().map(|row| (row.user, row.movie, row.stars)),
        )
    }

    /// Each movie's ratings: `(user, stars)`, in row order.
    pub fn by_movie(&self) -> Vec<Vec<(u32, f32)>> {
        group(
            self.movies,
            self.rows.iter().map(|row| (row.movie, row.user, row.stars)),
        )
    }
}

fn group(count: usize, entries: impl Iterator<Item = (u32, u32, f32)>) -> Vec<Vec<(u32, f32)>> {
    let mut groups = vec![Vec::new(); count];
    for (of, other, stars) in entries {
        if let Some(group) = groups.get_mut(of as usize) {
            group.push((other, stars));
        }
    }
    groups
}
