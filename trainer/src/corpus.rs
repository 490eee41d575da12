//! From rows of the data set to ratings: who rated what last, and what is popular.

use std::collections::{BTreeMap, BTreeSet};

use crate::columns::{Kind, Row};
use crate::ratings::{Rating, Ratings};

/// Longest list for unknown users.
pub const POPULAR: usize = 200;

/// Events seen so far; feed it the data set in a fixed order, then [`Collector::finish`] it.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    /// Indices by id, in order of appearance.
    movies: BTreeMap<String, u32>,
    /// Watch and rating events by index.
    events: Vec<u64>,
    /// The newest rating by (user, movie index): time and stars.
    ratings: BTreeMap<(u32, u32), (i64, f32)>,
}

/// What a model is fitted to. Users and movies ascend by id, and row indices point into them.
#[derive(Clone, Debug, PartialEq)]
pub struct Corpus {
    /// Users with a rating.
    pub users: Vec<u32>,
    /// Movies with enough events.
    pub movies: Vec<String>,
    /// The last rating per user and movie, by user, then movie.
    pub ratings: Ratings,
    /// Indices into `movies` by descending number of watch and rating events, at most [`POPULAR`]; ties by id.
    pub popular: Vec<u32>,
}

impl Collector {
    /// Adds one row. A second rating of a film by the same user replaces the first unless it is older.
    pub fn add(&mut self, row: &Row) {
        let Some(id) = row.movie.as_deref() else { return };
        let movie = self.index(id);
        if let Some(events) = self.events.get_mut(movie as usize) {
            *events += 1;
        }
        if row.kind == Kind::Rate {
            let stars = u8::try_from(row.value).map_or(f32::from(u8::MAX), f32::from);
            let newest = self
                .ratings
                .entry((row.user, movie))
                .or_insert((row.time_us, stars));
            if newest.0 <= row.time_us {
                *newest = (row.time_us, stars);
            }
        }
    }

    fn index(&mut self, id: &str) -> u32 {
        if let Some(index) = self.movies.get(id) {
            return *index;
        }
        let index = u32::try_from(self.events.len()).unwrap_or(u32::MAX);
        self.movies.insert(id.to_owned(), index);
        self.events.push(0);
        index
    }

    /// The corpus of movies with at least `min_movie_events` events.
    ///
    /// An inserted character can turn an id into another that the grammar allows. Without a catalogue only its
    /// rarity gives it away, so a film must have been seen more than once to be believed.
    pub fn finish(self, min_movie_events: u64) -> Corpus {
        let mut movies = Vec::new();
        let mut events = Vec::new();
        let mut new_index = vec![None; self.events.len()];
        for (id, old) in &self.movies {
            let count = self.events.get(*old as usize).copied().unwrap_or(0);
            if count >= min_movie_events
                && let Some(slot) = new_index.get_mut(*old as usize)
                && let Ok(index) = u32::try_from(movies.len())
            {
                *slot = Some(index);
                movies.push(id.clone());
                events.push((index, count));
            }
        }
        let kept: Vec<(u32, u32, i64, f32)> = self
            .ratings
            .iter()
            .filter_map(|((user, old), (time, stars))| {
                let movie = new_index.get(*old as usize).copied().flatten()?;
                Some((*user, movie, *time, *stars))
            })
            .collect();
        let users: Vec<u32> = kept
            .iter()
            .map(|(user, ..)| *user)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut rows: Vec<Rating> = kept
            .into_iter()
            .filter_map(|(user, movie, time, stars)| {
                let user = u32::try_from(users.binary_search(&user).ok()?).ok()?;
                Some(Rating {
                    user,
                    movie,
                    stars,
                    time,
                })
            })
            .collect();
        rows.sort_by_key(|row| (row.user, row.movie));
        events.sort_by_key(|(index, count)| (std::cmp::Reverse(*count), *index));
        let popular = events.into_iter().take(POPULAR).map(|(index, _)| index).collect();
        Corpus {
            ratings: Ratings::new(users.len(), movies.len(), rows),
            users,
            movies,
            popular,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: Kind, user: u32, movie: &str, value: u64, time_us: i64) -> Row {
        Row {
            offset: 0,
            time_us,
            user,
            kind,
            movie: Some(movie.to_owned()),
            value,
        }
    }

    fn corpus(rows: &[Row], min_movie_events: u64) -> Corpus {
        let mut collector = Collector::default();
        rows.iter().for_each(|row| collector.add(row));
        collector.finish(min_movie_events)
    }

    #[test]
    fn the_last_rating_by_event_time_counts() {
        let rows = [
            row(Kind::Rate, 9, "b+1", 2, 20),
            row(Kind::Rate, 9, "b+1", 5, 10),
            row(Kind::Rate, 3, "a+1", 1, 10),
            row(Kind::Rate, 3, "a+1", 4, 10),
        ];
        let corpus = corpus(&rows, 1);
        assert_eq!(
            (corpus.users, corpus.movies),
            (vec![3, 9], vec!["a+1".to_owned(), "b+1".to_owned()])
        );
        let found: Vec<_> = corpus
            .ratings
            .rows()
            .iter()
            .map(|r| (r.user, r.movie, r.stars))
            .collect();
        assert_eq!(found, [(0, 0, 4.0), (1, 1, 2.0)], "of equal times the later row");
    }

    #[test]
    fn popular_counts_watching_and_rating_and_breaks_ties_by_id() {
        let rows = [
            row(Kind::Watch, 1, "c+1", 0, 0),
            row(Kind::Watch, 1, "c+1", 1, 60),
            row(Kind::Rate, 2, "b+1", 5, 0),
            row(Kind::Watch, 2, "a+1", 0, 0),
        ];
        assert_eq!(corpus(&rows, 1).popular, [2, 0, 1]);
    }

    #[test]
    fn a_film_seen_once_is_not_believed() {
        let rows = [
            row(Kind::Rate, 1, "jazz+2001", 4, 0),
            row(Kind::Watch, 2, "jazz+2001", 0, 0),
            row(Kind::Rate, 7, "jazz+2p001", 4, 0),
        ];
        let corpus = corpus(&rows, 2);
        assert_eq!(
            (corpus.users, corpus.movies),
            (vec![1], vec!["jazz+2001".to_owned()])
        );
    }
}
