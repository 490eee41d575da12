//! The movie platform's stream: one UTF-8 line per Kafka record, read strictly and written back exactly.
//!
//! ```text
//! line   = time "," user "," body
//! time   = YYYY-MM-DD "T" hh ":" mm [ ":" ss [ "." (3|6|9 digits) ] ]     no zone; seconds omitted mean :00
//! user   = 1 .. 1,000,000
//! body   = "GET /data/m/" movie "/" minute ".mpg"
//!        | "GET /rate/" movie "=" rating
//!        | "recommendation request " host ":" port ", status " code ", result: " result ", " millis " ms"
//!        | "GET /create_account"
//! result = movie *19( ", " movie )      with status 200
//!        | error text                   with any other status; may hold ":", "/", "," and spaces
//! ```
//!
//! Numbers are decimal without leading zeros, so an inserted `0` is noticed. A movie id is made of `a-z0-9+_.*-`
//! and holds at least one `+`; whether it exists is the catalogue's business, not the grammar's. [`Grammar::parse`]
//! is total: any bytes give an event or a [`Malformed`] kind, never a panic.

use std::fmt;

use jiff::civil::DateTime;

mod grammar;

pub use grammar::{Grammar, Malformed, Parsed};

/// Largest user id of the platform.
pub const MAX_USER: u32 = 1_000_000;
/// Longest line, in bytes, that is looked at.
pub const MAX_LINE_BYTES: usize = 8 * 1024;
/// Longest movie id, in bytes; the longest of the real catalogue has 109.
pub const MAX_MOVIE_ID_BYTES: usize = 256;
/// Most movies in one recommendation.
pub const MAX_RECOMMENDED: usize = 20;

/// One line of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Local time of the course server; the stream names no zone.
    pub time: DateTime,
    /// The viewer, `1..=1_000_000`.
    pub user: u32,
    /// What the viewer did, or was answered.
    pub action: Action,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// One minute of a film was streamed.
    Watch {
        /// The film.
        movie: MovieId,
        /// Minute of the film, from 0 to one past its runtime.
        minute: u32,
    },
    /// A film was rated.
    Rate {
        /// The film.
        movie: MovieId,
        /// Stars, from 1 to the grammar's highest rating.
        rating: u8,
    },
    /// The platform asked a team's service for recommendations.
    Recommendation {
        /// Host and port that were asked, as in `host:8082`.
        server: String,
        /// 200 with a list; 0 (or anything else) with an error text.
        status: u16,
        /// The list, or what went wrong.
        answer: Answer,
        /// How long the platform waited, in milliseconds.
        millis: u64,
    },
    /// A user was created.
    CreateAccount,
}

/// The result of a recommendation request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 1 to 20 movies, best first. Duplicates occur and are kept.
    Movies(Vec<MovieId>),
    /// The error text, verbatim.
    Failure(String),
}

/// A movie id that passes the grammar, for example `the+fighter+2010`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MovieId(String);

impl MovieId {
    /// Reads an id; `None` where the stream could not hold it.
    pub fn new(id: &str) -> Option<Self> {
        grammar::is_movie_id(id).then(|| Self(id.to_owned()))
    }

    /// The id as the stream writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MovieId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Event {
    /// Writes the line as the platform does: the shortest form of Java's `LocalDateTime`, so `:00` is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_time(f, self.time)?;
        write!(f, ",{},{}", self.user, self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watch { movie, minute } => write!(f, "GET /data/m/{movie}/{minute}.mpg"),
            Self::Rate { movie, rating } => write!(f, "GET /rate/{movie}={rating}"),
            Self::Recommendation {
                server,
                status,
                answer,
                millis,
            } => {
                write!(
                    f,
                    "recommendation request {server}, status {status}, result: {answer}, {millis} ms"
                )
            }
            Self::CreateAccount => f.write_str("GET /create_account"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Movies(movies) => {
                for (at, movie) in movies.iter().enumerate() {
                    write!(f, "{}{movie}", if at == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Failure(text) => f.write_str(text),
        }
    }
}

fn write_time(f: &mut fmt::Formatter<'_>, time: DateTime) -> fmt::Result {
    write!(
        f,
        "{:04}-{:02}-{:02}T{:02}:{:02}",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute()
    )?;
    let nanos = time.subsec_nanosecond();
    if time.second() != 0 || nanos != 0 {
        write!(f, ":{:02}", time.second())?;
    }
    match (nanos, nanos % 1_000_000, nanos % 1_000) {
        (0, _, _) => Ok(()),
        (_, 0, _) => write!(f, ".{:03}", nanos / 1_000_000),
        (_, _, 0) => write!(f, ".{:06}", nanos / 1_000),
        (_, _, _) => write!(f, ".{nanos:09}"),
    }
}
