//! What goes wrong with lines on their way: the injectors seen in real streams, at their rates, and a few more.

use std::collections::BTreeMap;

use crate::line::{Body, Line};
use crate::random::Random;

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const INSERTED: &[u8; 63] = b" ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// One way in which a line is damaged or repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Noise {
    /// One space, letter or digit inserted anywhere. The line may still be valid.
    CharacterInserted,
    /// The movie id replaced by 8 to 58 letters and digits.
    MovieReplaced,
    /// The user id left out.
    FieldMissing,
    /// A rating beyond the scale; only rate lines.
    RatingOutOfRange,
    /// A digit too many in the year.
    WrongYear,
    /// The whole line once more, as at-least-once delivery does.
    Duplicate,
}

/// Every class with its share of watch and rate lines. The first two are measured; the others are assumed, and rare.
pub const SHARES: [(Noise, f64); 6] = [
    (Noise::CharacterInserted, 0.0007),
    (Noise::MovieReplaced, 0.0004),
    (Noise::FieldMissing, 0.0001),
    (Noise::RatingOutOfRange, 0.0001),
    (Noise::WrongYear, 0.0001),
    (Noise::Duplicate, 0.0005),
];

/// Damage done so far, by the name of its class.
pub type Injected = BTreeMap<&'static str, u64>;

impl Noise {
    /// A stable name for summaries and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::CharacterInserted => "character_inserted",
            Self::MovieReplaced => "movie_replaced",
            Self::FieldMissing => "field_missing",
            Self::RatingOutOfRange => "rating_out_of_range",
            Self::WrongYear => "wrong_year",
            Self::Duplicate => "duplicate",
        }
    }
}

/// Damages a share of the lines that pass through it.
#[derive(Debug, Clone)]
pub struct Injector {
    factor: f64,
    random: Random,
}

impl Injector {
    /// An injector at `factor` times the rates of [`SHARES`]; 0 lets everything pass.
    pub fn new(factor: f64, seed: u64) -> Self {
        Self {
            factor,
            random: Random::new(seed, "noise"),
        }
    }

    /// The text of a line as it goes out, and what was done to it. Recommendation lines pass unharmed.
    pub fn pass(&mut self, line: &Line) -> (String, Option<Noise>) {
        let text = line.to_string();
        let movie = match &line.body {
            Body::Watch { movie, .. } | Body::Rate { movie, .. } => movie,
            Body::Recommendation(_) => return (text, None),
        };
        let Some(noise) = self.draw() else {
            return (text, None);
        };
        let damaged = match noise {
            Noise::CharacterInserted => self.insert(&text),
            Noise::MovieReplaced => text.replacen(movie.as_str(), &self.gibberish(), 1),
            Noise::FieldMissing => text.replacen(&format!(",{},", line.user), ",", 1),
            Noise::RatingOutOfRange => match &line.body {
                Body::Rate { .. } => format!("{text}5"),
                Body::Watch { .. } | Body::Recommendation(_) => return (text, None),
            },
            Noise::WrongYear => format!("2{text}"),
            Noise::Duplicate => text,
        };
        (damaged, Some(noise))
    }

    fn draw(&mut self) -> Option<Noise> {
        let mut left = self.random.unit();
        for (noise, share) in SHARES {
            left -= share * self.factor;
            if left < 0.0 {
                return Some(noise);
            }
        }
        None
    }

    fn insert(&mut self, text: &str) -> String {
        let at = self.random.index(text.len() + 1);
        let inserted = char::from(self.random.pick(INSERTED).copied().unwrap_or(b' '));
        // Watch and rate lines are ASCII, so every position is a boundary.
        let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
        format!("{before}{inserted}{after}")
    }

    fn gibberish(&mut self) -> String {
        let length = self.random.between(8, 58);
        (0..length)
            .map(|_| char::from(self.random.pick(ALPHANUMERIC).copied().unwrap_or(b'x')))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: u32 = 400_000;

    fn line() -> Line {
        let body = Body::Rate {
            movie: "alien+1979".into(),
            stars: 4,
        };
        Line {
            at: "2022-11-14T12:23:45Z".parse().unwrap(),
            user: 17,
            body,
        }
    }

    #[test]
    fn classes_come_at_their_rates() {
        let mut injector = Injector::new(1.0, 1);
        let mut injected = Injected::new();
        for _ in 0..LINES {
            if let (_, Some(noise)) = injector.pass(&line()) {
                *injected.entry(noise.name()).or_default() += 1;
            }
        }
        for (noise, share) in SHARES {
            let expected = share * f64::from(LINES);
            let count = injected[noise.name()] as f64;
            assert!(
                (count - expected).abs() < 4.0 * expected.sqrt(),
                "{}: {count} for {expected}",
                noise.name()
            );
        }
    }

    #[test]
    fn each_class_does_what_it_says() {
        let mut injector = Injector::new(500.0, 1);
        let clean = line().to_string();
        for _ in 0..1000 {
            let (text, noise) = injector.pass(&line());
            match noise {
                None | Some(Noise::Duplicate) => assert_eq!(text, clean),
                Some(Noise::CharacterInserted) => assert_eq!(text.len(), clean.len() + 1),
                Some(Noise::MovieReplaced) => assert!(!text.contains('+'), "{text}"),
                Some(Noise::FieldMissing) => assert_eq!(text, "2022-11-14T12:23:45,GET /rate/alien+1979=4"),
                Some(Noise::RatingOutOfRange) => assert!(text.ends_with("=45"), "{text}"),
                Some(Noise::WrongYear) => assert!(text.starts_with("22022-"), "{text}"),
            }
        }
    }

    #[test]
    fn a_factor_of_zero_lets_everything_pass() {
        let mut injector = Injector::new(0.0, 1);
        assert!((0..10_000).all(|_| injector.pass(&line()) == (line().to_string(), None)));
    }
}
