//! What the movie and user APIs answer, with all their oddities. Pure: a record follows from the film and the seed.

use serde_json::{Value, json};

use crate::population::{Movie, Person};
use crate::random::{Random, mix};

/// Films without a record: 2,190 of some 25,500 ids, the same for ever.
const HOLES: f64 = 0.086;
/// A missing value, as the API writes it.
const NULL: &str = "null";

/// The answer about a film, or nothing when it is one of the lasting holes.
///
/// Only `tmdb_id` and `runtime` are numbers; everything else that counts is a string, and a missing value is the
/// string `"null"`.
pub fn movie(movie: &Movie, seed: u64) -> Option<Value> {
    let mut random = Random::new(seed, &movie.id);
    if random.chance(HOLES) {
        return None;
    }
    let text_or_null = |missing: bool, text: String| if missing { NULL.to_owned() } else { text };
    let runtime = if random.chance(0.019) {
        0
    } else {
        movie.runtime_minutes
    };
    let imdb = text_or_null(
        random.chance(0.0004),
        format!("tt{:07}", random.below(10_000_000)),
    );
    let homepage = text_or_null(
        random.chance(0.83),
        format!("http://www.example.com/{}", random.below(100_000)),
    );
    let status = if random.chance(0.002) { NULL } else { "Released" };
    let budget = if random.chance(0.76) {
        0
    } else {
        random.below(200) * 1_000_000
    };
    let popularity = (movie.popularity * 1000.0).round() / 1000.0;
    let average = (6.0 + movie.quality).clamp(0.0, 10.0);
    let date = movie.year.map_or(NULL.to_owned(), |year| {
        format!(
            "{year:04}-{:02}-{:02}",
            random.between(1, 12),
            random.between(1, 28)
        )
    });
    let genres: Vec<Value> = movie
        .genres
        .iter()
        .map(|name| json!({"id": genre_number(name), "name": name}))
        .collect();
    Some(json!({
        "id": movie.id,
        "tmdb_id": random.between(1, 400_000),
        "imdb_id": imdb,
        "title": movie.title,
        "original_title": movie.title,
        "adult": "False",
        "belongs_to_collection": {},
        "budget": budget.to_string(),
        "genres": if random.chance(0.035) { vec![] } else { genres },
        "homepage": homepage,
        "original_language": "en",
        "overview": format!("{} and what came of it.", movie.title),
        "popularity": popularity.to_string(),
        "poster_path": format!("/{:016x}.jpg", random.bits()),
        "production_companies": [{"name": "Harbour Pictures", "id": random.between(1, 9999)}],
        "production_countries": [{"iso_3166_1": "US", "name": "United States of America"}],
        "release_date": date,
        "revenue": (budget * random.below(4)).to_string(),
        "runtime": runtime,
        "spoken_languages": [{"iso_639_1": "en", "name": "English"}],
        "status": status,
        "vote_average": format!("{average:.1}"),
        "vote_count": random.below(9000).to_string(),
    }))
}

/// The answer about a user.
pub fn user(id: u64, person: &Person) -> Value {
    json!({"user_id": id, "age": person.age, "occupation": person.occupation, "gender": person.gender})
}

fn genre_number(name: &str) -> u64 {
    name.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte))) % 20_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::synthetic;

    #[test]
    fn records_have_the_types_and_the_holes_of_the_platform() {
        let (population, _) = synthetic::make(1);
        let records: Vec<Option<Value>> = population.movies.iter().map(|film| movie(film, 1)).collect();
        let holes = records.iter().filter(|record| record.is_none()).count();
        assert!((90..200).contains(&holes), "{holes}");
        for record in records.iter().flatten() {
            let object = record.as_object().unwrap();
            assert_eq!(object.len(), 23);
            for name in [
                "adult",
                "budget",
                "revenue",
                "popularity",
                "vote_average",
                "vote_count",
                "homepage",
                "release_date",
            ] {
                assert!(object[name].is_string(), "{name}");
            }
            assert!(object["tmdb_id"].is_u64() && object["runtime"].is_u64());
        }
        let odd = |is: &dyn Fn(&Value) -> bool| records.iter().flatten().filter(|record| is(record)).count();
        assert!(odd(&|record| record["homepage"] == NULL) > 1000);
        assert!(odd(&|record| record["runtime"] == 0) > 5);
        assert!(odd(&|record| record["genres"] == json!([])) > 20);
    }

    #[test]
    fn a_hole_is_lasting() {
        let (population, _) = synthetic::make(1);
        assert!(
            population
                .movies
                .iter()
                .all(|film| movie(film, 1) == movie(film, 1))
        );
    }

    #[test]
    fn a_user_looks_like_the_documented_one() {
        let person = Person {
            age: 34,
            gender: 'M',
            occupation: "sales/marketing",
        };
        let expected = r#"{"age":34,"gender":"M","occupation":"sales/marketing","user_id":1}"#;
        assert_eq!(user(1, &person).to_string(), expected);
    }
}
