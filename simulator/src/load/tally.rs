//! Counts of a run: overall, per marked window, per revision.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::verdict::{Answer, Outcome};

/// Lost requests described one by one; the rest is only counted.
const LISTED_LOSSES: usize = 100;
/// Windows kept; each costs up to some hundred KiB.
pub const MOST_WINDOWS: usize = 256;
/// Revisions told apart in one window, so that hostile headers cannot fill the memory.
const MOST_REVISIONS: usize = 64;
/// Answers without the header, such as a gateway's own.
const NO_REVISION: &str = "none";
/// Answers of the revisions after the 64th.
const OTHER_REVISIONS: &str = "other";

/// Latencies, with an exact mean beside the histogram of three significant digits.
#[derive(Debug, Clone)]
pub struct Latency {
    histogram: Histogram<u64>,
    total_us: u64,
}

impl Default for Latency {
    fn default() -> Self {
        /// Above this a latency counts as this: ten minutes.
        const LONGEST_US: u64 = 600_000_000;
        #[expect(
            clippy::expect_used,
            reason = "the bounds are constants that the library accepts, as every test shows"
        )]
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 3).expect("constant bounds");
        Self {
            histogram,
            total_us: 0,
        }
    }
}

impl Latency {
    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(us);
        self.total_us = self.total_us.saturating_add(us);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Exact mean in milliseconds; 0 when there is none.
    pub fn mean_ms(&self) -> f64 {
        self.total_us as f64 / 1000.0 / self.count().max(1) as f64
    }

    /// The quantile in milliseconds, to three significant digits; 0 when there is none.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// The longest in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.histogram.max() as f64 / 1000.0
    }
}

/// Requests by outcome.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// 2xx with a well-formed list.
    pub ok: u64,
    /// Bad answers that nobody injected.
    pub failed: u64,
    /// Answers that a fault proxy spoiled.
    pub spoiled: u64,
    /// No answer, or a 5xx that nobody claims.
    pub lost: u64,
    /// Answers by HTTP status.
    pub by_status: BTreeMap<u16, u64>,
    /// Failed answers by flaw.
    pub failed_by: BTreeMap<&'static str, u64>,
    /// Lost requests by kind.
    pub lost_by: BTreeMap<String, u64>,
    /// Latency of 2xx answers, from the scheduled time of sending.
    pub latency: Latency,
}

impl Counts {
    /// Requests that came to an end.
    pub fn finished(&self) -> u64 {
        self.ok + self.failed + self.spoiled + self.lost
    }

    fn add(&mut self, outcome: &Outcome, latency: Duration) {
        match outcome {
            Outcome::Ok(_) => self.ok += 1,
            Outcome::Failed(_, flaw) => {
                self.failed += 1;
                *self.failed_by.entry(flaw.name()).or_default() += 1;
            }
            Outcome::Spoiled(_) => self.spoiled += 1,
            Outcome::LostToStatus(_) | Outcome::LostWithoutAnswer(_) => {
                self.lost += 1;
                *self.lost_by.entry(loss_kind(outcome)).or_default() += 1;
            }
        }
        if let Some(answer) = answer_of(outcome) {
            *self.by_status.entry(answer.status).or_default() += 1;
            if (200..300).contains(&answer.status) {
                self.latency.record(latency);
            }
        }
    }
}

/// What one revision answered.
#[derive(Debug, Clone, Default)]
pub struct Revision {
    /// The last model digest it named.
    pub digest: String,
    /// The last model version it named.
    pub version: String,
    /// Its answers.
    pub counts: Counts,
    /// When the last of them came, from the start of the run.
    pub last: Duration,
}

/// Requests of the run or of one window.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Requests sent.
    pub sent: u64,
    /// Requests by outcome.
    pub counts: Counts,
    /// Answers by the `serin-revision` header.
    pub by_revision: BTreeMap<String, Revision>,
}

impl Totals {
    fn add(&mut self, outcome: &Outcome, offset: Duration, latency: Duration) {
        self.counts.add(outcome, latency);
        let Some(answer) = answer_of(outcome) else { return };
        let named = if answer.revision.is_empty() {
            NO_REVISION
        } else {
            &answer.revision
        };
        let full = self.by_revision.len() >= MOST_REVISIONS && !self.by_revision.contains_key(named);
        let name = if full { OTHER_REVISIONS } else { named };
        let revision = self.by_revision.entry(name.to_owned()).or_default();
        revision.digest.clone_from(&answer.digest);
        revision.version.clone_from(&answer.version);
        revision.counts.add(outcome, latency);
        revision.last = revision.last.max(offset.saturating_add(latency));
    }
}

/// A named part of the run, from one mark to the next.
#[derive(Debug, Clone)]
pub struct Window {
    /// The mark's name.
    pub name: String,
    /// When it was set, from the start of the run.
    pub start: Duration,
    /// When the next one was set; `None` for the current one.
    pub end: Option<Duration>,
    /// Requests *sent* while it was the last mark, whenever they ended.
    pub totals: Totals,
}

/// One lost request.
#[derive(Debug, Clone)]
pub struct Loss {
    /// When it was to be sent, from the start of the run.
    pub offset: Duration,
    /// For whom it asked.
    pub user: u64,
    /// `connect`, `reset`, `truncated`, `timeout` or `status_<code>`.
    pub kind: String,
    /// What the client library or the answer's headers said.
    pub detail: String,
    /// The last mark before it was sent.
    pub mark: Option<String>,
}

/// Marks one request between its sending and its end.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    offset: Duration,
    user: u64,
    window: Option<usize>,
}

/// All counts of a run.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// The whole run.
    pub totals: Totals,
    /// Its named parts, in order.
    pub windows: Vec<Window>,
    /// The first lost requests.
    pub losses: Vec<Loss>,
    /// Lost requests beyond those listed.
    pub unlisted_losses: u64,
    /// How late the driver itself sent; part of every latency.
    pub lag: Latency,
}

impl Tally {
    /// Opens a window; the same name again opens another one. Returns false when there are too many.
    pub fn mark(&mut self, name: &str, at: Duration) -> bool {
        if self.windows.len() >= MOST_WINDOWS {
            return false;
        }
        if let Some(last) = self.windows.last_mut() {
            last.end = Some(at);
        }
        self.windows.push(Window {
            name: name.to_owned(),
            start: at,
            end: None,
            totals: Totals::default(),
        });
        true
    }

    /// The name of the current window.
    pub fn current_mark(&self) -> Option<&str> {
        self.windows.last().map(|window| window.name.as_str())
    }

    /// Notes that the request due at `offset` is being sent, `lag` late.
    pub fn send(&mut self, offset: Duration, user: u64, lag: Duration) -> Ticket {
        self.lag.record(lag);
        self.totals.sent += 1;
        let window = self.windows.len().checked_sub(1);
        if let Some(last) = self.windows.last_mut() {
            last.totals.sent += 1;
        }
        Ticket { offset, user, window }
    }

    /// Notes how a request ended, `latency` after it was due.
    pub fn finish(&mut self, ticket: Ticket, outcome: &Outcome, latency: Duration) {
        self.totals.add(outcome, ticket.offset, latency);
        let window = ticket.window.and_then(|index| self.windows.get_mut(index));
        let mark = window.map(|window| {
            window.totals.add(outcome, ticket.offset, latency);
            window.name.clone()
        });
        let detail = match outcome {
            Outcome::Ok(_) | Outcome::Failed(..) | Outcome::Spoiled(_) => return,
            Outcome::LostToStatus(answer) => format!("answered by revision \"{}\"", answer.revision),
            Outcome::LostWithoutAnswer(silence) => silence.detail.clone(),
        };
        if self.losses.len() >= LISTED_LOSSES {
            self.unlisted_losses += 1;
            return;
        }
        let kind = loss_kind(outcome);
        self.losses.push(Loss {
            offset: ticket.offset,
            user: ticket.user,
            kind,
            detail,
            mark,
        });
    }
}

fn answer_of(outcome: &Outcome) -> Option<&Answer> {
    match outcome {
        Outcome::Ok(answer)
        | Outcome::Failed(answer, _)
        | Outcome::Spoiled(answer)
        | Outcome::LostToStatus(answer) => Some(answer),
        Outcome::LostWithoutAnswer(_) => None,
    }
}

fn loss_kind(outcome: &Outcome) -> String {
    match outcome {
        Outcome::LostToStatus(answer) => format!("status_{}", answer.status),
        Outcome::LostWithoutAnswer(silence) => silence.kind.name().to_owned(),
        Outcome::Ok(_) | Outcome::Failed(..) | Outcome::Spoiled(_) => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::verdict::{Silence, SilenceKind};

    const MS: Duration = Duration::from_millis(1);

    fn ok(revision: &str) -> Outcome {
        Outcome::Ok(Answer {
            status: 200,
            revision: revision.into(),
            ..Answer::default()
        })
    }

    fn silence() -> Outcome {
        Outcome::LostWithoutAnswer(Silence {
            kind: SilenceKind::Reset,
            detail: "closed".into(),
        })
    }

    #[test]
    fn a_request_belongs_to_the_window_it_was_sent_in() {
        let mut tally = Tally::default();
        let before = tally.send(MS, 1, MS);
        assert!(tally.mark("canary", 2 * MS));
        let during = tally.send(3 * MS, 2, MS);
        assert!(tally.mark("promoted", 4 * MS));
        tally.finish(before, &ok("a"), 10 * MS);
        tally.finish(during, &silence(), 10 * MS);
        assert_eq!(
            (
                tally.totals.sent,
                tally.totals.counts.ok,
                tally.totals.counts.lost
            ),
            (2, 1, 1)
        );
        let canary = &tally.windows[0];
        assert_eq!(
            (canary.totals.sent, canary.totals.counts.lost, canary.end),
            (1, 1, Some(4 * MS))
        );
        assert_eq!(tally.windows[1].totals.sent, 0);
        assert_eq!(
            tally.totals.by_revision["a"].last,
            11 * MS,
            "due after 1 ms, answered 10 ms later"
        );
        assert_eq!(tally.losses[0].mark.as_deref(), Some("canary"));
        assert_eq!(tally.losses[0].kind, "reset");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut tally = Tally::default();
        for number in 0..1000 {
            let ticket = tally.send(MS, number, MS);
            tally.finish(ticket, &silence(), MS);
            let ticket = tally.send(MS, number, MS);
            tally.finish(ticket, &ok(&format!("{number:08x}")), MS);
        }
        assert_eq!(tally.losses.len(), LISTED_LOSSES);
        assert_eq!(tally.unlisted_losses, 900);
        assert_eq!(tally.totals.by_revision.len(), MOST_REVISIONS + 1);
        assert_eq!(
            tally.totals.by_revision[OTHER_REVISIONS].counts.ok,
            1000 - MOST_REVISIONS as u64
        );
        let opened = (0..1000).filter(|_| tally.mark("again", MS)).count();
        assert_eq!(opened, MOST_WINDOWS);
    }

    #[test]
    fn the_mean_is_exact_and_the_quantiles_are_close() {
        let mut latency = Latency::default();
        (1..=1000).for_each(|ms| latency.record(ms * MS));
        assert!((latency.mean_ms() - 500.5).abs() < 1e-9);
        assert!((latency.quantile_ms(0.5) - 500.0).abs() < 1.0);
        assert!((latency.quantile_ms(0.99) - 990.0).abs() < 1.0);
        assert!((latency.max_ms() - 1000.0).abs() < 1.0);
    }
}
