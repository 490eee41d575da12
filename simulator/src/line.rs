//! Lines of the platform's stream, written from the grammar and not from the product's parser, so that each checks
//! the other.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Digits of a recommendation line's fraction of a second, which differed from year to year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Precision {
    /// `.081`: `McGill` 2020–23.
    #[default]
    Milliseconds,
    /// `.081123`: CMU 2022–24.
    Microseconds,
    /// `.081123456`: CMU fall 2025.
    Nanoseconds,
}

/// One line of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it happened, shown as UTC without a zone.
    pub at: Timestamp,
    /// Who: 1 to 1,000,000.
    pub user: u64,
    /// What.
    pub body: Body,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// One minute of a film was requested.
    Watch {
        /// The film.
        movie: String,
        /// 0 to the film's run time plus 1.
        minute: u32,
    },
    /// A film was rated.
    Rate {
        /// The film.
        movie: String,
        /// 1 to 5 stars.
        stars: u8,
    },
    /// The platform asked for recommendations.
    Recommendation(Box<Recommendation>),
}

/// One call of the recommendation service, as the platform logs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recommendation {
    /// Host and port that were asked.
    pub host: String,
    /// The answer or the lack of one.
    pub result: Result<Vec<String>, String>,
    /// How long the platform waited.
    pub elapsed_ms: u64,
    /// Digits of the line's time.
    pub precision: Precision,
}

impl Line {
    /// The kind, as a metric label.
    pub fn kind(&self) -> &'static str {
        match self.body {
            Body::Watch { .. } => "watch",
            Body::Rate { .. } => "rate",
            Body::Recommendation(_) => "recommendation",
        }
    }

    /// The instant as a Kafka record timestamp.
    pub fn record_timestamp_ms(&self) -> i64 {
        self.at.as_millisecond()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.at.to_zoned(TimeZone::UTC).datetime();
        match &self.body {
            Body::Watch { movie, minute } => {
                write_seconds(f, local)?;
                write!(f, ",{},GET /data/m/{movie}/{minute}.mpg", self.user)
            }
            Body::Rate { movie, stars } => {
                write_seconds(f, local)?;
                write!(f, ",{},GET /rate/{movie}={stars}", self.user)
            }
            Body::Recommendation(call) => {
                write_fraction(f, local, call.precision)?;
                write!(f, ",{},recommendation request {}, ", self.user, call.host)?;
                match &call.result {
                    Ok(movies) => write!(f, "status 200, result: {}", movies.join(", "))?,
                    Err(text) => write!(f, "status 0, result: {text}")?,
                }
                write!(f, ", {} ms", call.elapsed_ms)
            }
        }
    }
}

/// Java's shortest form of a local time: the seconds are left out when they are 0.
fn write_seconds(f: &mut fmt::Formatter<'_>, local: DateTime) -> fmt::Result {
    write_minutes(f, local)?;
    match local.second() {
        0 => Ok(()),
        second => write!(f, ":{second:02}"),
    }
}

/// The same with a fraction, which is left out, together with the seconds, when all of it is 0.
fn write_fraction(f: &mut fmt::Formatter<'_>, local: DateTime, precision: Precision) -> fmt::Result {
    let nanoseconds = local.subsec_nanosecond();
    let (fraction, digits) = match precision {
        Precision::Milliseconds => (nanoseconds / 1_000_000, 3),
        Precision::Microseconds => (nanoseconds / 1000, 6),
        Precision::Nanoseconds => (nanoseconds, 9),
    };
    if fraction == 0 {
        return write_seconds(f, local);
    }
    write_minutes(f, local)?;
    write!(f, ":{:02}.{fraction:0digits$}", local.second())
}

fn write_minutes(f: &mut fmt::Formatter<'_>, local: DateTime) -> fmt::Result {
    let (year, month, day) = (local.year(), local.month(), local.day());
    write!(
        f,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}",
        local.hour(),
        local.minute()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: &str, body: Body) -> String {
        Line {
            at: at.parse().unwrap(),
            user: 187_179,
            body,
        }
        .to_string()
    }

    fn watch() -> Body {
        Body::Watch {
            movie: "fight+club+1999".into(),
            minute: 128,
        }
    }

    fn call(result: Result<Vec<String>, String>, precision: Precision) -> Body {
        Body::Recommendation(Box::new(Recommendation {
            host: "team:8082".into(),
            result,
            elapsed_ms: 58,
            precision,
        }))
    }

    #[test]
    fn lines_look_like_those_of_the_platform() {
        let rate = Body::Rate {
            movie: "the+fighter+2010".into(),
            stars: 4,
        };
        let answer = call(
            Ok(vec!["limitless+2011".into(), "alien+1979".into()]),
            Precision::Milliseconds,
        );
        let refused = call(
            Err("Connection refused: team/10.0.0.1:8082".into()),
            Precision::Milliseconds,
        );
        for (at, body, expected) in [
            (
                "2022-11-14T12:23:45Z",
                watch(),
                "2022-11-14T12:23:45,187179,GET /data/m/fight+club+1999/128.mpg",
            ),
            (
                "2022-11-14T12:24:00Z",
                watch(),
                "2022-11-14T12:24,187179,GET /data/m/fight+club+1999/128.mpg",
            ),
            (
                "2022-11-14T12:23:46.9Z",
                rate,
                "2022-11-14T12:23:46,187179,GET /rate/the+fighter+2010=4",
            ),
            (
                "2022-11-14T12:23:45.081Z",
                answer,
                "2022-11-14T12:23:45.081,187179,recommendation request team:8082, status 200, result: limitless+2011, alien+1979, 58 ms",
            ),
            (
                "2022-11-14T12:23:45.000Z",
                refused,
                "2022-11-14T12:23:45,187179,recommendation request team:8082, status 0, result: Connection refused: team/10.0.0.1:8082, 58 ms",
            ),
        ] {
            assert_eq!(line(at, body), expected);
        }
    }

    #[test]
    fn the_fraction_has_the_digits_of_its_year() {
        for (precision, time) in [
            (Precision::Milliseconds, "12:23:00.081"),
            (Precision::Microseconds, "12:23:00.081123"),
            (Precision::Nanoseconds, "12:23:00.081123456"),
        ] {
            let text = line(
                "2022-11-14T12:23:00.081123456Z",
                call(Ok(vec!["a+1".into()]), precision),
            );
            assert!(text.starts_with(&format!("2022-11-14T{time},")), "{text}");
        }
    }
}
