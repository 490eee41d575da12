//! Delays drawn from a distribution that a flag names.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::duration::parse_duration;
use crate::random::Random;

/// No single delay is longer: a draw from a heavy tail must not hold a connection for days.
const LONGEST: Duration = Duration::from_hours(1);

/// A distribution of delays. Draws below zero count as zero, draws above an hour as an hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delay {
    /// Always the same: `constant:650ms`.
    Constant(Duration),
    /// `normal:650ms:20ms`, mean and standard deviation.
    Normal {
        /// Mean, before draws below zero are cut.
        mean: Duration,
        /// Standard deviation.
        deviation: Duration,
    },
    /// `exp:200ms`, by its mean.
    Exponential(Duration),
    /// `lognormal:200ms:0.5`, median and the standard deviation of the logarithm.
    LogNormal {
        /// Median.
        median: Duration,
        /// Standard deviation of the natural logarithm, without unit.
        sigma: f64,
    },
}

/// Why a text names no distribution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not a delay ({problem}): write constant:650ms, normal:650ms:20ms, exp:200ms or lognormal:200ms:0.5"
)]
pub struct NotADelay {
    text: String,
    problem: String,
}

impl Delay {
    /// One delay.
    pub fn sample(&self, random: &mut Random) -> Duration {
        let seconds = match *self {
            Self::Constant(delay) => delay.as_secs_f64(),
            Self::Normal { mean, deviation } => {
                mean.as_secs_f64() + deviation.as_secs_f64() * random.normal()
            }
            Self::Exponential(mean) => mean.as_secs_f64() * random.exponential(),
            Self::LogNormal { median, sigma } => median.as_secs_f64() * (sigma * random.normal()).exp(),
        };
        Duration::from_secs_f64(seconds.clamp(0.0, LONGEST.as_secs_f64()))
    }
}

impl FromStr for Delay {
    type Err = NotADelay;

    fn from_str(text: &str) -> Result<Self, NotADelay> {
        let wrong = |problem: String| NotADelay {
            text: text.to_owned(),
            problem,
        };
        let duration = |part: &str| parse_duration(part).map_err(wrong);
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            ["constant", delay] => Ok(Self::Constant(duration(delay)?)),
            ["normal", mean, deviation] => Ok(Self::Normal {
                mean: duration(mean)?,
                deviation: duration(deviation)?,
            }),
            ["exp", mean] => Ok(Self::Exponential(duration(mean)?)),
            ["lognormal", median, sigma] => {
                let sigma: f64 = sigma
                    .parse()
                    .map_err(|_| wrong(format!("{sigma} is not a number")))?;
                if !(0.0..=5.0).contains(&sigma) {
                    return Err(wrong("sigma must be between 0 and 5".to_owned()));
                }
                Ok(Self::LogNormal {
                    median: duration(median)?,
                    sigma,
                })
            }
            _ => Err(wrong("unknown name or number of parts".to_owned())),
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(delay) => write!(f, "constant:{}ms", delay.as_millis()),
            Self::Normal { mean, deviation } => {
                write!(f, "normal:{}ms:{}ms", mean.as_millis(), deviation.as_millis())
            }
            Self::Exponential(mean) => write!(f, "exp:{}ms", mean.as_millis()),
            Self::LogNormal { median, sigma } => write!(f, "lognormal:{}ms:{sigma}", median.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_those_of_the_names() {
        const DRAWS: u32 = 50_000;
        for (text, mean_ms) in [
            ("constant:650ms", 650.0),
            ("normal:650ms:20ms", 650.0),
            ("exp:200ms", 200.0),
            ("lognormal:200ms:0.5", 200.0 * (0.125_f64).exp()),
        ] {
            let delay: Delay = text.parse().unwrap();
            assert_eq!(delay.to_string(), text);
            let mut random = Random::new(3, "delay");
            let total: Duration = (0..DRAWS).map(|_| delay.sample(&mut random)).sum();
            let mean = total.as_secs_f64() * 1000.0 / f64::from(DRAWS);
            assert!((mean - mean_ms).abs() < 0.02 * mean_ms, "{text}: {mean} ms");
        }
    }

    #[test]
    fn a_wide_normal_never_goes_below_zero() {
        let delay: Delay = "normal:1ms:1s".parse().unwrap();
        let mut random = Random::new(3, "wide");
        let zeros = (0..1000).filter(|_| delay.sample(&mut random).is_zero()).count();
        assert!((400..600).contains(&zeros), "{zeros}");
    }

    #[test]
    fn other_texts_are_refused_with_the_remedy() {
        for text in [
            "",
            "normal",
            "normal:650ms",
            "gauss:1s:1s",
            "constant:abc",
            "constant:-1s",
            "lognormal:1s:x",
            "lognormal:1s:9",
        ] {
            let error = text.parse::<Delay>().unwrap_err().to_string();
            assert!(error.contains("write constant:650ms"), "{error}");
        }
    }
}
