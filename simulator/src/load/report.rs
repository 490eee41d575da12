//! The report of a run, final or so far: one shape for `--report json`, `GET /stats` and the last progress line.
//!
//! ```json
//! {
//!   "schema": 1, "url": "http://127.0.0.1:8082/", "seed": 1, "arrivals": "poisson",
//!   "startedAt": "2026-11-23T12:00:00Z", "elapsedSeconds": 60.0, "finished": true,
//!   "totals": {
//!     "sent": 12000, "inFlight": 0, "ok": 11990, "failed": 0, "spoiled": 10, "lost": 0,
//!     "byStatus": {"200": 11990, "503": 10}, "failedBy": {}, "lostBy": {},
//!     "latencyMs": {"count": 11990, "mean": 12.3, "p50": 11.0, "p95": 20.1, "p99": 31.5, "max": 80.2},
//!     "byRevision": {
//!       "1a2b3c4d": {"digest": "sha256:…", "version": "2026-11-23.1", "requests": 9600, "share": 0.8, "lastSeconds": 59.9,
//!                    "ok": 9600, "failed": 0, "spoiled": 0, "lost": 0, "byStatus": {}, "failedBy": {}, "lostBy": {},
//!                    "latencyMs": {}}
//!     }
//!   },
//!   "marks": [{"name": "canary", "startSeconds": 10.0, "endSeconds": null, "totals": {}}],
//!   "losses": [{"offsetSeconds": 31.2, "user": 17, "kind": "reset", "detail": "…", "mark": "canary"}],
//!   "unlistedLosses": 0,
//!   "sendLagMs": {"count": 12000, "mean": 0.6, "p50": 0.6, "p95": 1.1, "p99": 1.3, "max": 4.0}
//! }
//! ```
//! `latencyMs` covers 2xx answers and counts from the scheduled time of sending, so the driver's own lateness, shown
//! as `sendLagMs`, is part of it. `share` is of the answers that named a revision. Times are seconds or milliseconds
//! as the names say.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::tally::{Counts, Latency, Loss, Revision, Tally, Totals, Window};

/// What is fixed about a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Version of this shape.
    pub schema: u32,
    /// The target.
    pub url: String,
    /// Seed of users and gaps.
    pub seed: u64,
    /// How gaps are drawn.
    pub arrivals: &'static str,
    /// Wall-clock time of the start, RFC 3339.
    pub started_at: String,
}

/// A run so far or at its end.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What is fixed about the run.
    #[serde(flatten)]
    pub run: Run,
    /// Since the start.
    pub elapsed_seconds: f64,
    /// Whether the run is over and nothing is in flight.
    pub finished: bool,
    /// The whole run.
    pub totals: TotalsReport,
    /// Its named parts.
    pub marks: Vec<MarkReport>,
    /// The first 100 lost requests.
    pub losses: Vec<LossReport>,
    /// Lost requests beyond those.
    pub unlisted_losses: u64,
    /// How late the driver sent.
    pub send_lag_ms: LatencyReport,
}

/// One window.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MarkReport {
    /// The mark's name.
    pub name: String,
    /// When it was set.
    pub start_seconds: f64,
    /// When the next one was set; null for the current one.
    pub end_seconds: Option<f64>,
    /// Requests sent in it.
    pub totals: TotalsReport,
}

/// Requests of the run or of one window.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TotalsReport {
    /// Requests sent.
    pub sent: u64,
    /// Of them, not ended yet.
    pub in_flight: u64,
    /// By outcome.
    #[serde(flatten)]
    pub counts: CountsReport,
    /// Answers by revision; `none` without the header.
    pub by_revision: BTreeMap<String, RevisionReport>,
}

/// One revision's answers.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionReport {
    /// The last model digest it named.
    pub digest: String,
    /// The last model version it named.
    pub version: String,
    /// Its answers.
    pub requests: u64,
    /// Its part of all answers of named revisions, 0 to 1.
    pub share: f64,
    /// When the last of them came, from the start of the run.
    pub last_seconds: f64,
    /// By outcome.
    #[serde(flatten)]
    pub counts: CountsReport,
}

/// Requests by outcome.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CountsReport {
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
    /// Latency of 2xx answers.
    pub latency_ms: LatencyReport,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LatencyReport {
    /// How many.
    pub count: u64,
    /// Exact mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95 % are shorter.
    pub p95: f64,
    /// 99 % are shorter.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// One lost request.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LossReport {
    /// When it was to be sent.
    pub offset_seconds: f64,
    /// For whom it asked.
    pub user: u64,
    /// `connect`, `reset`, `truncated`, `timeout` or `status_<code>`.
    pub kind: String,
    /// What was said about it.
    pub detail: String,
    /// The last mark before it was sent.
    pub mark: Option<String>,
}

impl Report {
    /// The report of `tally` at `elapsed`.
    pub fn new(run: Run, tally: &Tally, elapsed: Duration, finished: bool) -> Self {
        Self {
            run,
            elapsed_seconds: elapsed.as_secs_f64(),
            finished,
            totals: (&tally.totals).into(),
            marks: tally.windows.iter().map(Into::into).collect(),
            losses: tally.losses.iter().map(Into::into).collect(),
            unlisted_losses: tally.unlisted_losses,
            send_lag_ms: (&tally.lag).into(),
        }
    }
}

impl From<&Totals> for TotalsReport {
    fn from(totals: &Totals) -> Self {
        let named: u64 = totals
            .by_revision
            .values()
            .map(|revision| revision.counts.finished())
            .sum();
        let by_revision =
            |(name, revision): (&String, &Revision)| (name.clone(), revision_report(revision, named));
        Self {
            sent: totals.sent,
            in_flight: totals.sent.saturating_sub(totals.counts.finished()),
            counts: (&totals.counts).into(),
            by_revision: totals.by_revision.iter().map(by_revision).collect(),
        }
    }
}

fn revision_report(revision: &Revision, named: u64) -> RevisionReport {
    let requests = revision.counts.finished();
    RevisionReport {
        digest: revision.digest.clone(),
        version: revision.version.clone(),
        requests,
        share: requests as f64 / named.max(1) as f64,
        last_seconds: revision.last.as_secs_f64(),
        counts: (&revision.counts).into(),
    }
}

impl From<&Counts> for CountsReport {
    fn from(counts: &Counts) -> Self {
        Self {
            ok: counts.ok,
            failed: counts.failed,
            spoiled: counts.spoiled,
            lost: counts.lost,
            by_status: counts.by_status.clone(),
            failed_by: counts.failed_by.clone(),
            lost_by: counts.lost_by.clone(),
            latency_ms: (&counts.latency).into(),
        }
    }
}

impl From<&Latency> for LatencyReport {
    fn from(latency: &Latency) -> Self {
        Self {
            count: latency.count(),
            mean: latency.mean_ms(),
            p50: latency.quantile_ms(0.5),
            p95: latency.quantile_ms(0.95),
            p99: latency.quantile_ms(0.99),
            max: latency.max_ms(),
        }
    }
}

impl From<&Window> for MarkReport {
    fn from(window: &Window) -> Self {
        Self {
            name: window.name.clone(),
            start_seconds: window.start.as_secs_f64(),
            end_seconds: window.end.map(|end| end.as_secs_f64()),
            totals: (&window.totals).into(),
        }
    }
}

impl From<&Loss> for LossReport {
    fn from(loss: &Loss) -> Self {
        Self {
            offset_seconds: loss.offset.as_secs_f64(),
            user: loss.user,
            kind: loss.kind.clone(),
            detail: loss.detail.clone(),
            mark: loss.mark.clone(),
        }
    }
}

/// Lost requests that people are shown.
const SHOWN_LOSSES: usize = 10;

/// For people: a dozen lines.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} for {:.1} s", self.run.url, self.elapsed_seconds)?;
        write_totals(f, &self.totals)?;
        for mark in &self.marks {
            writeln!(f, "\nfrom mark {} at {:.1} s", mark.name, mark.start_seconds)?;
            write_totals(f, &mark.totals)?;
        }
        for loss in self.losses.iter().take(SHOWN_LOSSES) {
            let mark = loss.mark.as_deref().unwrap_or("the start");
            writeln!(
                f,
                "lost at {:.3} s after {mark}: {} ({})",
                loss.offset_seconds, loss.kind, loss.detail
            )?;
        }
        let more = self.totals.counts.lost.saturating_sub(SHOWN_LOSSES as u64);
        if more > 0 {
            writeln!(f, "and {more} more lost; --report json lists 100")?;
        }
        writeln!(
            f,
            "sent late by {:.1} ms (p99), {:.1} ms (most)",
            self.send_lag_ms.p99, self.send_lag_ms.max
        )
    }
}

fn write_totals(f: &mut fmt::Formatter<'_>, totals: &TotalsReport) -> fmt::Result {
    let CountsReport {
        ok,
        failed,
        spoiled,
        lost,
        ..
    } = totals.counts;
    writeln!(
        f,
        "  sent {}  ok {ok}  failed {failed}  spoiled {spoiled}  lost {lost}",
        totals.sent
    )?;
    write_latency(f, "all", totals.counts.latency_ms)?;
    for (name, revision) in &totals.by_revision {
        let (version, share) = (&revision.version, revision.share * 100.0);
        let CountsReport { ok, spoiled, .. } = revision.counts;
        writeln!(
            f,
            "  {name} {version}: {} answers ({share:.1} %), ok {ok}, spoiled {spoiled}",
            revision.requests
        )?;
        write_latency(f, name, revision.counts.latency_ms)?;
    }
    Ok(())
}

fn write_latency(f: &mut fmt::Formatter<'_>, name: &str, latency: LatencyReport) -> fmt::Result {
    if latency.count == 0 {
        return Ok(());
    }
    let LatencyReport {
        mean,
        p50,
        p95,
        p99,
        max,
        ..
    } = latency;
    writeln!(
        f,
        "  {name} ms: mean {mean:.1}  p50 {p50:.1}  p95 {p95:.1}  p99 {p99:.1}  max {max:.1}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::verdict::{Answer, Outcome};

    fn run() -> Run {
        let (url, started_at) = ("http://h/".to_owned(), "2026-11-23T12:00:00Z".to_owned());
        Run {
            schema: 1,
            url,
            seed: 1,
            arrivals: "constant",
            started_at,
        }
    }

    #[test]
    fn the_json_has_the_documented_names() {
        let mut tally = Tally::default();
        tally.mark("canary", Duration::from_secs(1));
        for revision in ["a", "a", "a", "b"] {
            let ticket = tally.send(Duration::from_secs(2), 1, Duration::ZERO);
            let answer = Answer {
                status: 200,
                revision: revision.into(),
                ..Answer::default()
            };
            tally.finish(ticket, &Outcome::Ok(answer), Duration::from_millis(40));
        }
        tally.send(Duration::from_secs(3), 1, Duration::ZERO);
        let json = serde_json::to_value(Report::new(run(), &tally, Duration::from_secs(4), false)).unwrap();
        assert_eq!(json["totals"]["sent"], 5);
        assert_eq!(json["totals"]["inFlight"], 1);
        assert_eq!(json["totals"]["byStatus"]["200"], 4);
        assert_eq!(json["totals"]["byRevision"]["a"]["share"], 0.75);
        assert_eq!(json["totals"]["byRevision"]["a"]["latencyMs"]["mean"], 40.0);
        assert_eq!(json["marks"][0]["totals"]["ok"], 4);
        assert_eq!(json["marks"][0]["endSeconds"], serde_json::Value::Null);
        assert_eq!(json["startedAt"], "2026-11-23T12:00:00Z");
        assert_eq!(json["sendLagMs"]["count"], 5);
    }
}
