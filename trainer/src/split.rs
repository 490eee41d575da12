//! Ways to part ratings into training and test. The name of the split is part of every number.

use crate::random::splitmix64;
use crate::ratings::{Rating, Ratings};

/// Training and test ratings over the same users and movies.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// What a model may see.
    pub train: Ratings,
    /// What it is judged by.
    pub test: Ratings,
}

/// The number of folds of [`random5`].
pub const FOLDS: u64 = 5;

/// `random5`: row number n belongs to fold splitmix64(n) mod 5. Compares with the literature; leaks the future.
pub fn random5(ratings: &Ratings) -> Vec<Split> {
    (0..FOLDS)
        .map(|fold| {
            let mut rows = 0_u64..;
            part(ratings, |_| {
                rows.next().is_none_or(|row| splitmix64(row) % FOLDS != fold)
            })
        })
        .collect()
}

/// `user-time`: of each user's n ratings in order of time the first ⌈4n/5⌉ train. Ties keep row order. Decides gates.
pub fn user_time(ratings: &Ratings) -> Split {
    let mut by_user: Vec<Vec<Rating>> = vec![Vec::new(); ratings.users()];
    for row in ratings.rows() {
        if let Some(rows) = by_user.get_mut(row.user as usize) {
            rows.push(*row);
        }
    }
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for mut rows in by_user {
        rows.sort_by_key(|row| row.time);
        let kept = (4 * rows.len()).div_ceil(5);
        test.extend(rows.drain(kept..));
        train.append(&mut rows);
    }
    Split {
        train: ratings.with_rows(train),
        test: ratings.with_rows(test),
    }
}

/// `global-time`: the first `train_rows` ratings in order of time train. Ties keep row order. The cold-start report.
pub fn global_time(ratings: &Ratings, train_rows: usize) -> Split {
    let mut rows = ratings.rows().to_vec();
    rows.sort_by_key(|row| row.time);
    let test = rows.split_off(train_rows.min(rows.len()));
    Split {
        train: ratings.with_rows(rows),
        test: ratings.with_rows(test),
    }
}

fn part(ratings: &Ratings, mut trains: impl FnMut(&Rating) -> bool) -> Split {
    let (train, test) = ratings.rows().iter().partition(|row| trains(row));
    Split {
        train: ratings.with_rows(train),
        test: ratings.with_rows(test),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratings(rows: &[(u32, i64)]) -> Ratings {
        let rows = rows
            .iter()
            .map(|&(user, time)| Rating {
                user,
                movie: 0,
                stars: 3.0,
                time,
            })
            .collect();
        Ratings::new(2, 1, rows)
    }

    #[test]
    fn folds_part_the_rows_as_published() {
        let rows: Vec<_> = (0..10).map(|row| (0, row)).collect();
        let folds = random5(&ratings(&rows));
        let fold_of = |row: i64| {
            folds
                .iter()
                .position(|split| split.test.rows().iter().any(|r| r.time == row))
        };
        let found: Vec<_> = (0..10).map_while(fold_of).collect();
        assert_eq!(found, [0, 0, 0, 3, 3, 3, 2, 2, 2, 3]);
    }

    #[test]
    fn a_users_newest_fifth_is_the_test_and_four_ratings_have_none() {
        let split = user_time(&ratings(&[
            (0, 9),
            (0, 1),
            (0, 5),
            (0, 3),
            (0, 7),
            (1, 4),
            (1, 3),
            (1, 2),
            (1, 1),
        ]));
        assert_eq!(split.test, ratings(&[(0, 9)]));
        assert_eq!(split.train.rows().len(), 8);
    }

    #[test]
    fn nothing_in_the_test_of_global_time_is_older_than_the_training() {
        let split = global_time(&ratings(&[(0, 9), (1, 1), (0, 5), (1, 3)]), 3);
        assert_eq!(split.test, ratings(&[(0, 9)]));
        assert_eq!(
            global_time(&ratings(&[(0, 9)]), 3).test.rows().len(),
            0,
            "more asked for than there is"
        );
    }
}
