//! Waiting for a condition: polled, with a deadline, and an error that says what was waited for and seen last.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::progress::seconds;

/// What one look found.
pub(crate) enum Look<T> {
    /// The condition holds.
    Ready(T),
    /// It does not hold yet; the text says what is the case instead.
    NotYet(String),
}

/// Looks every `interval` until the condition holds.
///
/// Errors: `look` fails (at once), or `deadline` passes; then the message names `what` and the last thing seen.
pub(crate) fn until<T>(
    what: &str,
    deadline: Duration,
    interval: Duration,
    mut look: impl FnMut() -> Result<Look<T>>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        let seen = match look()? {
            Look::Ready(value) => return Ok(value),
            Look::NotYet(seen) => seen,
        };
        if began.elapsed() >= deadline {
            bail!(
                "waited {} for {what}; last seen: {}",
                seconds(deadline),
                seen.trim()
            );
        }
        thread::sleep(interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_deadline_says_what_was_seen() {
        let nothing = || Ok(Look::<()>::NotYet("0 of 1 ready".into()));
        let error = until("pod x", Duration::ZERO, Duration::ZERO, nothing)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("pod x") && error.contains("0 of 1 ready"),
            "{error}"
        );
    }

    #[test]
    fn looking_goes_on_until_the_condition_holds() {
        let mut looks = 0;
        let third = until("the third look", Duration::from_secs(5), Duration::ZERO, || {
            looks += 1;
            Ok(if looks == 3 {
                Look::Ready(looks)
            } else {
                Look::NotYet(String::new())
            })
        });
        assert_eq!(third.unwrap(), 3);
    }
}
