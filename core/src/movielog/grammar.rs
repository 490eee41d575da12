//! Strict reading of a line, and the one repair that is safe.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{Action, Answer, Event, MAX_LINE_BYTES, MAX_MOVIE_ID_BYTES, MAX_RECOMMENDED, MAX_USER, MovieId};

/// What may vary between courses and terms; everything else of the grammar is fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grammar {
    /// Highest rating, in stars: 5, or 10 in one term.
    pub max_rating: u8,
    /// How far event time may lie from the record's timestamp, either way; `None` accepts any date.
    ///
    /// Event time has no zone and is compared as if it were UTC, so leave room for 14 hours of zone.
    pub plausible_within: Option<SignedDuration>,
}

impl Default for Grammar {
    fn default() -> Self {
        Self {
            max_rating: 5,
            plausible_within: None,
        }
    }
}

/// An event, and whether it took a repair to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The event.
    pub event: Event,
    /// What strict reading objected to before one space too many was taken out; `None` for a clean line.
    pub repaired: Option<Malformed>,
}

/// Why a line is no event. The kinds are closed: they label metrics and quarantined lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Malformed {
    /// No byte at all.
    #[error("the line is empty")]
    Empty,
    /// More than 8 KiB.
    #[error("the line is longer than 8 KiB")]
    TooLong,
    /// Bytes that are not UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// A NUL, a line feed or another control character.
    #[error("the line holds a control character")]
    ControlCharacter,
    /// Fewer than three comma-separated fields.
    #[error("the line has fewer than the three fields time, user and request")]
    MissingField,
    /// The first field is no date and time.
    #[error("the first field is not a time such as 2022-11-14T12:23:45")]
    Time,
    /// A date too far from the record's timestamp.
    #[error("the time is too far from the record's timestamp")]
    ImplausibleTime,
    /// The second field is no number.
    #[error("the second field is not a user id")]
    User,
    /// A user id of 0 or above 1,000,000.
    #[error("the user id is outside 1..=1000000")]
    UserOutOfRange,
    /// Neither a watch, nor a rating, nor a recommendation, nor a new account.
    #[error("the third field is no request of the platform")]
    Request,
    /// A movie id with a character that ids never hold, an empty or an endless one.
    #[error(
        "the movie id is empty, longer than 256 bytes, or holds a character other than a-z 0-9 + _ . * -"
    )]
    Movie,
    /// A movie id replaced by random letters and digits: there is no `+` in it.
    #[error("the movie id has no +, so it ends with no year")]
    MovieReplaced,
    /// The minute of a watch line, or what follows it.
    #[error("the movie id is not followed by /MINUTE.mpg")]
    Minute,
    /// A rating that is no number.
    #[error("the movie id is not followed by =RATING")]
    Rating,
    /// A rating off the scale.
    #[error("the rating is off the scale")]
    RatingOutOfRange,
    /// A recommendation line whose parts are wrong.
    #[error("the recommendation line lacks a server, status, result or time, or lists no 1 to 20 movies")]
    Recommendation,
}

impl Malformed {
    /// Every kind, in the order in which they are looked for.
    pub const ALL: [Self; 16] = [
        Self::Empty,
        Self::TooLong,
        Self::NotUtf8,
        Self::ControlCharacter,
        Self::MissingField,
        Self::Time,
        Self::ImplausibleTime,
        Self::User,
        Self::UserOutOfRange,
        Self::Request,
        Self::Movie,
        Self::MovieReplaced,
        Self::Minute,
        Self::Rating,
        Self::RatingOutOfRange,
        Self::Recommendation,
    ];

    /// Stable name: metric label, quarantine class.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::NotUtf8 => "not_utf8",
            Self::ControlCharacter => "control_character",
            Self::MissingField => "missing_field",
            Self::Time => "time",
            Self::ImplausibleTime => "implausible_time",
            Self::User => "user",
            Self::UserOutOfRange => "user_out_of_range",
            Self::Request => "request",
            Self::Movie => "movie",
            Self::MovieReplaced => "movie_replaced",
            Self::Minute => "minute",
            Self::Rating => "rating",
            Self::RatingOutOfRange => "rating_out_of_range",
            Self::Recommendation => "recommendation",
        }
    }
}

impl Grammar {
    /// Reads one line, without its line end.
    ///
    /// `recorded` is the timestamp of the Kafka record where there is one; it serves the plausibility window only.
    /// A line other than a recommendation with exactly one space too many is repaired, if it is valid without it.
    ///
    /// # Errors
    /// The kind of the first thing that is wrong, read from left to right.
    pub fn parse(&self, line: &[u8], recorded: Option<Timestamp>) -> Result<Parsed, Malformed> {
        match self.strict(line, recorded) {
            Ok(event) => Ok(Parsed {
                event,
                repaired: None,
            }),
            Err(wrong) => match self.without_extra_space(line, recorded) {
                Some(event) => Ok(Parsed {
                    event,
                    repaired: Some(wrong),
                }),
                None => Err(wrong),
            },
        }
    }

    /// Reads one line and repairs nothing.
    ///
    /// # Errors
    /// As [`Grammar::parse`].
    pub fn strict(&self, line: &[u8], recorded: Option<Timestamp>) -> Result<Event, Malformed> {
        let line = text(line)?;
        let mut fields = line.splitn(3, ',');
        let (Some(time), Some(user), Some(body)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(Malformed::MissingField);
        };
        let time = date_time(time).ok_or(Malformed::Time)?;
        self.plausible(time, recorded)?;
        let user = number(user).ok_or(Malformed::User)?;
        let user = u32::try_from(user)
            .ok()
            .filter(|u| (1..=MAX_USER).contains(u))
            .ok_or(Malformed::UserOutOfRange)?;
        Ok(Event {
            time,
            user,
            action: self.action(body)?,
        })
    }

    fn plausible(&self, time: DateTime, recorded: Option<Timestamp>) -> Result<(), Malformed> {
        let (Some(window), Some(recorded)) = (self.plausible_within, recorded) else {
            return Ok(());
        };
        let as_utc = time
            .to_zoned(TimeZone::UTC)
            .map_err(|_| Malformed::ImplausibleTime)?
            .timestamp();
        if as_utc.duration_since(recorded).unsigned_abs() > window.unsigned_abs() {
            return Err(Malformed::ImplausibleTime);
        }
        Ok(())
    }

    fn action(&self, body: &str) -> Result<Action, Malformed> {
        if let Some(rest) = body.strip_prefix("GET /data/m/") {
            watch(rest)
        } else if let Some(rest) = body.strip_prefix("GET /rate/") {
            self.rate(rest)
        } else if let Some(rest) = body.strip_prefix("recommendation request ") {
            recommendation(rest).ok_or(Malformed::Recommendation)
        } else if body == "GET /create_account" {
            Ok(Action::CreateAccount)
        } else {
            Err(Malformed::Request)
        }
    }

    fn rate(&self, rest: &str) -> Result<Action, Malformed> {
        let (movie, rating) = rest.split_once('=').ok_or(Malformed::Rating)?;
        let movie = movie_id(movie)?;
        let rating = number(rating).ok_or(Malformed::Rating)?;
        let rating = u8::try_from(rating)
            .ok()
            .filter(|stars| (1..=self.max_rating).contains(stars))
            .ok_or(Malformed::RatingOutOfRange)?;
        Ok(Action::Rate { movie, rating })
    }

    /// The only repair: a watch or rating line has one space, after `GET`; one with two may have one too many.
    ///
    /// Both spaces are tried; at most one of the results passes, or both results are the same line.
    fn without_extra_space(&self, line: &[u8], recorded: Option<Timestamp>) -> Option<Event> {
        if line.len() > MAX_LINE_BYTES {
            return None;
        }
        let spaces: Vec<usize> = line
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b' ')
            .map(|(at, _)| at)
            .collect();
        let [first, second] = spaces[..] else { return None };
        [first, second].into_iter().find_map(|space| {
            let mut shorter = line.to_vec();
            shorter.remove(space);
            self.strict(&shorter, recorded).ok()
        })
    }
}

/// Whether the stream's grammar allows this id.
pub(super) fn is_movie_id(id: &str) -> bool {
    id.contains('+') && id.len() <= MAX_MOVIE_ID_BYTES && id.bytes().all(is_movie_byte)
}

fn is_movie_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+_.*-".contains(&byte)
}

fn text(line: &[u8]) -> Result<&str, Malformed> {
    if line.is_empty() {
        return Err(Malformed::Empty);
    }
    if line.len() > MAX_LINE_BYTES {
        return Err(Malformed::TooLong);
    }
    let line = std::str::from_utf8(line).map_err(|_| Malformed::NotUtf8)?;
    if line.chars().any(char::is_control) {
        return Err(Malformed::ControlCharacter);
    }
    Ok(line)
}

fn watch(rest: &str) -> Result<Action, Malformed> {
    let (movie, minute) = rest.split_once('/').ok_or(Malformed::Minute)?;
    let movie = movie_id(movie)?;
    let minute = minute
        .strip_suffix(".mpg")
        .and_then(number)
        .ok_or(Malformed::Minute)?;
    let minute = u32::try_from(minute).map_err(|_| Malformed::Minute)?;
    Ok(Action::Watch { movie, minute })
}

fn movie_id(id: &str) -> Result<MovieId, Malformed> {
    if let Some(id) = MovieId::new(id) {
        Ok(id)
    } else if !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        Err(Malformed::MovieReplaced)
    } else {
        Err(Malformed::Movie)
    }
}

/// Never by field count: lists are short at times, and error texts hold commas.
fn recommendation(rest: &str) -> Option<Action> {
    let (server, rest) = rest.split_once(", status ")?;
    let (host, port) = server.rsplit_once(':')?;
    let host_is_name = !host.is_empty() && !host.contains([' ', ',', '/']);
    if !host_is_name || !number(port).is_some_and(|port| (1..=65_535).contains(&port)) {
        return None;
    }
    let (status, rest) = rest.split_once(", result: ")?;
    let status = number(status).and_then(|status| u16::try_from(status).ok())?;
    let (result, millis) = rest.rsplit_once(", ")?;
    let millis = number(millis.strip_suffix(" ms")?)?;
    let answer = if status == 200 {
        let movies = result.split(", ").map(MovieId::new).collect::<Option<Vec<_>>>()?;
        if movies.len() > MAX_RECOMMENDED {
            return None;
        }
        Answer::Movies(movies)
    } else {
        Answer::Failure(result.to_owned())
    };
    Some(Action::Recommendation {
        server: server.to_owned(),
        status,
        answer,
        millis,
    })
}

/// A decimal number without sign or leading zero, below 10^18.
fn number(digits: &str) -> Option<u64> {
    let canonical = !digits.is_empty()
        && digits.len() <= 18
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

/// `YYYY-MM-DDThh:mm[:ss[.fff[fff[fff]]]]`, every part with its full width.
fn date_time(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_once('T')?;
    let [year, month, day] = parts(date, '-', [4, 2, 2])?;
    let (clock, nanos) = match time.split_once('.') {
        None => (time, 0),
        Some((clock, fraction)) if clock.len() == 8 => (clock, nanoseconds(fraction)?),
        Some(_) => return None,
    };
    let [hour, minute, second] = match clock.len() {
        5 => {
            let [hour, minute] = parts(clock, ':', [2, 2])?;
            [hour, minute, 0]
        }
        _ => parts(clock, ':', [2, 2, 2])?,
    };
    let small = |value: u32| i8::try_from(value).ok();
    DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        nanos,
    )
    .ok()
}

/// Splits at `separator` into exactly `N` numbers of the given widths.
fn parts<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[u32; N]> {
    let mut numbers = [0; N];
    let mut pieces = text.split(separator);
    for (number, width) in numbers.iter_mut().zip(widths) {
        let piece = pieces
            .next()
            .filter(|p| p.len() == width && p.bytes().all(|b| b.is_ascii_digit()))?;
        *number = piece.parse().ok()?;
    }
    if pieces.next().is_some() {
        None
    } else {
        Some(numbers)
    }
}

fn nanoseconds(fraction: &str) -> Option<i32> {
    if !matches!(fraction.len(), 3 | 6 | 9) || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: i32 = fraction.parse().ok()?;
    Some(match fraction.len() {
        3 => digits * 1_000_000,
        6 => digits * 1_000,
        _ => digits,
    })
}
