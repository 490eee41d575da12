//! A length of time as manifests write it: `500ms`, `90s`, `15m`, `1h30m`, `12h`.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// A length of time, never negative, with the precision of a millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(SignedDuration);

/// Why a text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no duration: write a positive one such as 500ms, 90s, 15m or 12h")]
pub struct NotAPeriod(String);

impl Period {
    /// A period of whole seconds.
    pub const fn from_secs(seconds: u32) -> Self {
        Self(SignedDuration::from_secs(seconds as i64))
    }

    /// A period of whole milliseconds.
    pub const fn from_millis(milliseconds: u32) -> Self {
        Self(SignedDuration::from_millis(milliseconds as i64))
    }

    /// A duration cut to milliseconds; a negative one becomes zero.
    pub fn clamped(duration: SignedDuration) -> Self {
        let milliseconds = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(SignedDuration::from_millis(milliseconds.max(0)))
    }

    /// The same length for arithmetic.
    pub fn get(self) -> SignedDuration {
        self.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.as_millis();
        let parts = [
            (all / 3_600_000, "h"),
            (all / 60_000 % 60, "m"),
            (all / 1000 % 60, "s"),
            (all % 1000, "ms"),
        ];
        if all == 0 {
            return f.write_str("0s");
        }
        for (count, unit) in parts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{count}{unit}")?;
        }
        Ok(())
    }
}

impl FromStr for Period {
    type Err = NotAPeriod;

    fn from_str(text: &str) -> Result<Self, NotAPeriod> {
        let wrong = || NotAPeriod(text.chars().take(40).collect());
        if !text.starts_with(|c: char| c.is_ascii_digit()) || text.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
        Ok(Self::clamped(duration))
    }
}

impl TryFrom<String> for Period {
    type Error = NotAPeriod;

    fn try_from(text: String) -> Result<Self, NotAPeriod> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_of_manifests_are_understood() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("12h", 43_200),
            ("1h30m", 5400),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Period::from_secs(seconds)), "{text}");
        }
        assert_eq!("500ms".parse(), Ok(Period::from_millis(500)));
    }

    #[test]
    fn other_texts_are_refused_with_an_example() {
        for text in ["", "-5s", "5", "soon", "12 h", "s", "1y"] {
            let refused = text.parse::<Period>();
            assert!(
                refused.as_ref().is_err_and(|e| e.to_string().contains("90s")),
                "{text}: {refused:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(milliseconds in 0u32..) {
            let period = Period::from_millis(milliseconds);
            prop_assert_eq!(period.to_string().parse(), Ok(period));
        }
    }
}
