//! Durations and ranges as flags write them.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::SignedDuration;

/// Reads `800ms`, `60s`, `1h 30m`.
///
/// # Errors
/// A sentence for the person at the keyboard, when the text is no duration or is negative.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let signed: SignedDuration = text.parse().map_err(|_| {
        format!("\"{text}\" is not a duration: write a number with a unit, such as 800ms, 60s or 12h")
    })?;
    Duration::try_from(signed).map_err(|_| format!("\"{text}\" is negative: a duration starts at 0s"))
}

/// Reads `1..1000`, both ends included.
///
/// # Errors
/// A sentence for the person at the keyboard, when the text is no such range or ends before it starts.
pub fn parse_range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let wrong = || format!("\"{text}\" is not a range: write first..last, such as 1..1000, both included");
    let (first, last) = text.split_once("..").ok_or_else(wrong)?;
    let first: u64 = first.parse().map_err(|_| wrong())?;
    let last: u64 = last.parse().map_err(|_| wrong())?;
    if first > last {
        Err(wrong())
    } else {
        Ok(first..=last)
    }
}

/// Reads a share between 0 and 1.
///
/// # Errors
/// A sentence for the person at the keyboard, when the number lies outside.
pub fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!(
            "\"{text}\" is not a share: write a number from 0 to 1, such as 0.05 for 5%"
        )),
    }
}

/// Reads a number above 0.
///
/// # Errors
/// A sentence for the person at the keyboard, when it is 0, negative or no number.
pub fn parse_positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err(format!(
            "\"{text}\" is not a number above 0: write for example 200 or 0.5"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_or_refused_with_the_remedy() {
        assert_eq!(parse_duration("800ms"), Ok(Duration::from_millis(800)));
        assert_eq!(parse_duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("12h"), Ok(Duration::from_secs(43_200)));
        assert_eq!(parse_range("1..1000"), Ok(1..=1000));
        assert_eq!(parse_share("0.05"), Ok(0.05));
        assert_eq!(parse_positive("200"), Ok(200.0));
        assert!(parse_duration("60").unwrap_err().contains("with a unit"));
        assert!(parse_duration("-1s").unwrap_err().contains("negative"));
        assert!(parse_range("9..1").unwrap_err().contains("first..last"));
        assert!(parse_range("9").unwrap_err().contains("first..last"));
        assert!(parse_share("1.1").unwrap_err().contains("from 0 to 1"));
        assert!(parse_share("NaN").unwrap_err().contains("from 0 to 1"));
        assert!(parse_positive("0").unwrap_err().contains("above 0"));
        assert!(parse_positive("inf").unwrap_err().contains("above 0"));
    }
}
