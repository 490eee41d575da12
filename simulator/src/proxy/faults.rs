//! Which answers are delayed, replaced by an error or left hanging. Pure: chance comes from a seed.

use std::ops::Range;
use std::time::Duration;

use crate::distribution::Delay;
use crate::random::Random;

/// The faults of one proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// Delay of delayed answers; `None` delays nothing.
    pub delay: Option<Delay>,
    /// Share of requests that are delayed, 0 to 1.
    pub delay_share: f64,
    /// Share of requests answered with an injected error, 0 to 1.
    pub error_share: f64,
    /// Share of requests left hanging, 0 to 1; an answer that hangs is no error as well.
    pub hang_share: f64,
    /// Requests, counted from 0, that are spoiled at all: those before and after are left alone.
    pub among: Range<u64>,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// How long it waits first.
    pub delay: Duration,
    /// What then becomes of it.
    pub end: End,
}

/// How one request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The server answers.
    Forward,
    /// The proxy answers with an error.
    Error,
    /// Nobody answers for a long while.
    Hang,
}

impl Faults {
    /// The fate of the request `number`, which is the next one. Draws the same count of numbers for each, so that raising one share changes no
    /// other request's fate.
    pub fn fate(&self, number: u64, random: &mut Random) -> Fate {
        let mut own = Random::new(random.bits(), "fate");
        let (hang, error, delayed) = (own.unit(), own.unit(), own.unit());
        if !self.among.contains(&number) {
            return Fate {
                delay: Duration::ZERO,
                end: End::Forward,
            };
        }
        let delay = match &self.delay {
            Some(delay) if delayed < self.delay_share => delay.sample(&mut own),
            Some(_) | None => Duration::ZERO,
        };
        let end = if hang < self.hang_share {
            End::Hang
        } else if error < self.error_share {
            End::Error
        } else {
            End::Forward
        };
        Fate { delay, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: usize = 20_000;
    /// Four standard errors of a share of one half.
    const TOLERANCE: f64 = 0.0142;

    fn fates(faults: &Faults) -> Vec<Fate> {
        let mut random = Random::new(5, "faults");
        (0..REQUESTS)
            .map(|number| faults.fate(number as u64, &mut random))
            .collect()
    }

    fn faults() -> Faults {
        let delay = Some("constant:650ms".parse().unwrap());
        Faults {
            delay,
            delay_share: 0.5,
            error_share: 0.05,
            hang_share: 0.01,
            among: 0..u64::MAX,
        }
    }

    #[test]
    fn shares_are_kept() {
        let fates = fates(&faults());
        let share = |is: &dyn Fn(&Fate) -> bool| {
            fates.iter().filter(|fate| is(fate)).count() as f64 / REQUESTS as f64
        };
        assert!((share(&|fate| fate.delay == Duration::from_millis(650)) - 0.5).abs() < TOLERANCE);
        assert!((share(&|fate| fate.end == End::Error) - 0.0495).abs() < TOLERANCE / 2.0);
        assert!((share(&|fate| fate.end == End::Hang) - 0.01).abs() < TOLERANCE / 4.0);
    }

    #[test]
    fn no_faults_leave_every_request_alone() {
        let none = Faults {
            delay: None,
            delay_share: 1.0,
            error_share: 0.0,
            hang_share: 0.0,
            among: 0..u64::MAX,
        };
        assert!(fates(&none).iter().all(|fate| *fate
            == Fate {
                delay: Duration::ZERO,
                end: End::Forward
            }));
    }

    #[test]
    fn a_burst_begins_and_ends() {
        let burst = Faults {
            error_share: 1.0,
            delay: None,
            hang_share: 0.0,
            among: 400..420,
            ..faults()
        };
        let spoiled: Vec<usize> = (0..)
            .zip(fates(&burst))
            .filter(|(_, fate)| fate.end == End::Error)
            .map(|(number, _)| number)
            .collect();
        assert_eq!(spoiled, (400..420).collect::<Vec<_>>());
    }

    #[test]
    fn more_errors_change_no_other_fate() {
        let more = Faults {
            error_share: 0.2,
            ..faults()
        };
        for (before, after) in fates(&faults()).iter().zip(fates(&more)) {
            assert_eq!(before.delay, after.delay);
            assert!(before.end == after.end || (before.end, after.end) == (End::Forward, End::Error));
        }
    }
}
