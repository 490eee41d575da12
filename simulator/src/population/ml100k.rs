//! The ML-100k files as a population. Their licence forbids redistribution: they are read, never copied.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::synthetic::{genre_factors, runtime};
use super::taste::Factors;
use super::{Movie, Person, Population, Rating, Source};
use crate::error::{Error, Result};
use crate::movie_id::movie_id;
use crate::random::Random;

/// Ratings of a film count as much as this many of the mean film.
const SHRINKAGE: f64 = 10.0;

/// Reads `ml-100k.item`, `ml-100k.user` and `ml-100k.inter`. Ratings come in the order of the file.
///
/// # Errors
/// `Read` and `Row`.
pub fn load(directory: &Path, seed: u64) -> Result<(Population, Vec<Rating>)> {
    let items = Table::read(directory.join("ml-100k.item"))?;
    let users = Table::read(directory.join("ml-100k.user"))?;
    let ratings = Table::read(directory.join("ml-100k.inter"))?;

    let mut movies = Vec::new();
    let mut index_of = HashMap::new();
    for row in items.rows() {
        let number: u64 = row.number(0)?;
        index_of.insert(number, movies.len());
        movies.push(movie(&row, number, seed)?);
    }
    let mut people = HashMap::new();
    for row in users.rows() {
        people.insert(row.number(0)?, person(&row)?);
    }
    let mut past = Vec::new();
    for row in ratings.rows() {
        let item: u64 = row.number(1)?;
        let movie = *index_of
            .get(&item)
            .ok_or_else(|| row.wrong(format!("item {item} is not in ml-100k.item")))?;
        past.push(Rating {
            user: row.number(0)?,
            movie,
            stars: row.number(2)?,
            at_seconds: row.number(3)?,
        });
    }
    weigh(&mut movies, &past);
    Ok((Population::new(Source::Ml100k, movies, people, seed), past))
}

fn movie(row: &Row<'_>, number: u64, seed: u64) -> Result<Movie> {
    let title = row.field(1)?;
    // Two rows have something else than a year here.
    let year = row.field(2)?.parse().ok();
    let genres: Vec<String> = row
        .field(3)?
        .split(' ')
        .filter(|genre| !genre.is_empty())
        .map(str::to_owned)
        .collect();
    let mut own = Random::keyed(seed, "film", number);
    Ok(Movie {
        id: movie_id(title, year),
        title: title.to_owned(),
        year,
        factors: Factors::of_film(&genre_factors(&genres, seed), &mut own),
        genres,
        runtime_minutes: runtime(&mut own),
        popularity: 0.0,
        quality: 0.0,
    })
}

/// Popularity is the number of ratings; quality their mean, shrunk and standardised.
fn weigh(movies: &mut [Movie], ratings: &[Rating]) {
    let mut sums = vec![(0.0, 0.0); movies.len()];
    for rating in ratings {
        if let Some((count, stars)) = sums.get_mut(rating.movie) {
            *count += 1.0;
            *stars += f64::from(rating.stars);
        }
    }
    let total: f64 = sums.iter().map(|(_, stars)| stars).sum();
    let mean = total / ratings.len().max(1) as f64;
    let quality = |count: f64, stars: f64| (stars - mean * count) / (count + SHRINKAGE);
    let variance = sums
        .iter()
        .map(|(count, stars)| quality(*count, *stars).powi(2))
        .sum::<f64>();
    let deviation = (variance / movies.len().max(1) as f64)
        .sqrt()
        .max(f64::MIN_POSITIVE);
    for (movie, (count, stars)) in movies.iter_mut().zip(sums) {
        movie.popularity = count.max(0.1);
        movie.quality = quality(count, stars) / deviation;
    }
}

fn person(row: &Row<'_>) -> Result<Person> {
    let gender = match row.field(2)? {
        "F" => 'F',
        "M" => 'M',
        other => return Err(row.wrong(format!("gender \"{other}\" is neither F nor M"))),
    };
    Ok(Person {
        age: row.number(1)?,
        gender,
        occupation: occupation(row.field(3)?),
    })
}

/// The platform's name for an occupation of ML-100k.
fn occupation(name: &str) -> &'static str {
    match name {
        "administrator" => "clerical/admin",
        "artist" | "entertainment" => "artist",
        "doctor" | "healthcare" => "doctor/health care",
        "educator" | "librarian" => "academic/educator",
        "engineer" | "technician" => "technician/engineer",
        "executive" => "executive/managerial",
        "homemaker" => "homemaker",
        "lawyer" => "lawyer",
        "marketing" | "salesman" => "sales/marketing",
        "none" => "unemployed",
        "programmer" => "programmer",
        "retired" => "retired",
        "scientist" => "scientist",
        "student" => "college/grad student",
        "writer" => "writer",
        _ => "other or not specified",
    }
}

/// A file of rows with fields between tabs, below a header.
struct Table {
    path: PathBuf,
    text: String,
}

/// One row and where it stands.
struct Row<'a> {
    path: &'a Path,
    line: usize,
    text: &'a str,
}

impl Table {
    fn read(path: PathBuf) -> Result<Self> {
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self { path, text }),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let lines = self
            .text
            .lines()
            .enumerate()
            .skip(1)
            .filter(|(_, text)| !text.is_empty());
        lines.map(|(index, text)| Row {
            path: &self.path,
            line: index + 1,
            text,
        })
    }
}

impl<'a> Row<'a> {
    fn field(&self, index: usize) -> Result<&'a str> {
        self.text
            .split('\t')
            .nth(index)
            .ok_or_else(|| self.wrong(format!("field {} is missing", index + 1)))
    }

    fn number<T: std::str::FromStr>(&self, index: usize) -> Result<T> {
        let text = self.field(index)?;
        text.parse()
            .map_err(|_| self.wrong(format!("\"{text}\" in field {} is no number in range", index + 1)))
    }

    fn wrong(&self, problem: String) -> Error {
        Error::Row {
            path: self.path.to_owned(),
            line: self.line,
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEMS: &str = "item_id\ttitle\tyear\tclass\n1\tToy Story\t1995\tAnimation Comedy\n\
        2\tMisérables, Les\t1995\tDrama\n267\tunknown\tunkonwn\tunknown\n";
    const USERS: &str = "user_id\tage\tgender\toccupation\tzip\n196\t49\tM\twriter\t55105\n";

    fn write(inter: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ml-100k.item"), ITEMS).unwrap();
        fs::write(directory.path().join("ml-100k.user"), USERS).unwrap();
        fs::write(directory.path().join("ml-100k.inter"), inter).unwrap();
        directory
    }

    #[test]
    fn files_of_the_right_shape_are_read() {
        let directory = write("user\titem\trating\ttimestamp\n196\t2\t3\t881250949\n196\t1\t5\t881250950\n");
        let (population, ratings) = load(directory.path(), 1).unwrap();
        let ids: Vec<&str> = population.movies.iter().map(|movie| movie.id.as_str()).collect();
        assert_eq!(ids, ["toy+story+1995", "misrables_+les+1995", "unknown+"]);
        assert_eq!(
            ratings[0],
            Rating {
                user: 196,
                movie: 1,
                stars: 3,
                at_seconds: 881_250_949
            }
        );
        assert_eq!(
            population.person(196),
            Person {
                age: 49,
                gender: 'M',
                occupation: "writer"
            }
        );
        assert!(population.movies[0].quality > population.movies[1].quality);
    }

    #[test]
    fn damage_is_named_with_file_and_line() {
        let directory = write("user\titem\trating\ttimestamp\n196\t2\t3\t881250949\n196\t9\t5\t881250950\n");
        let error = load(directory.path(), 1).unwrap_err().to_string();
        assert!(
            error.contains("ml-100k.inter line 3: item 9 is not in ml-100k.item"),
            "{error}"
        );
        let absent = load(Path::new("/nowhere"), 1).unwrap_err().to_string();
        assert!(absent.contains("leave --ml-100k out"), "{absent}");
    }
}
