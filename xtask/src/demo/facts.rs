//! What the story showed, and what it must show.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use console::style;

/// Requests of which none may be lost.
const REQUESTS_MIN: u64 = 20_000;
/// Requests over which the split is measured.
const SPLIT_REQUESTS_MIN: u64 = 5_000;

/// What the story showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// One line per version: what became of it.
    pub(crate) versions: Vec<(String, String)>,
    /// Requests sent.
    pub(crate) sent: u64,
    /// Requests without an answer.
    pub(crate) lost: u64,
    /// Answers with an error that no fault proxy made.
    pub(crate) failed: u64,
    /// Answers that a fault proxy spoiled.
    pub(crate) spoiled: u64,
    /// Requests answered while the second version soaked, and those of the canary among them.
    pub(crate) split: (u64, u64),
    /// Pods of the canary, and those of them that still serve after the promotion.
    pub(crate) pods_kept: (usize, usize),
}

impl Facts {
    /// Each thing that must hold, with what was seen.
    pub(crate) fn checks(&self) -> Vec<(&'static str, bool, String)> {
        let (requests, canary) = self.split;
        let share = 100.0 * canary as f64 / requests.max(1) as f64;
        let (pods, kept) = self.pods_kept;
        vec![
            (
                "enough requests",
                self.sent >= REQUESTS_MIN,
                format!("{} sent", self.sent),
            ),
            ("no request lost", self.lost == 0, format!("{} lost", self.lost)),
            (
                "no answer bad that no fault proxy spoiled",
                self.failed == 0,
                format!("{} failed", self.failed),
            ),
            (
                "split 20 % ± 2 during the soak",
                requests >= SPLIT_REQUESTS_MIN && (share - 20.0).abs() <= 2.0,
                format!("{share:.1} % of {requests}"),
            ),
            (
                "promotion restarted no pod",
                pods > 0 && pods == kept,
                format!("{kept} of {pods} pods kept"),
            ),
            (
                "four versions were told of",
                self.versions.len() == 4,
                format!("{}", self.versions.len()),
            ),
        ]
    }

    /// The summary for people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("\n  {}\n", style("what became of them").bold());
        for (version, fate) in &self.versions {
            let _ = writeln!(text, "  {version:28} {fate}");
        }
        let _ = writeln!(
            text,
            "\n  {:28} {} sent, {} spoiled by the faulty versions themselves",
            "requests", self.sent, self.spoiled
        );
        for (what, holds, seen) in self.checks() {
            let mark = if holds {
                style("✓").green()
            } else {
                style("✗").red()
            };
            let _ = writeln!(text, "  {mark} {what:44} {seen}");
        }
        text
    }

    /// Errors: something that must hold does not; each is named.
    pub(crate) fn judge(&self) -> Result<()> {
        let wrong: Vec<_> = self
            .checks()
            .into_iter()
            .filter(|(_, holds, _)| !holds)
            .map(|(what, _, seen)| format!("{what}: {seen}"))
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        bail!("the story did not go as it must: {}", wrong.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            versions: vec![(String::new(), String::new()); 4],
            sent: 30_000,
            split: (6_000, 1_230),
            pods_kept: (1, 1),
            ..Facts::default()
        }
    }

    #[test]
    fn a_good_story_passes_and_each_flaw_is_named() {
        good().judge().unwrap();
        for (flaw, name) in [
            (Facts { lost: 1, ..good() }, "1 lost"),
            (Facts { failed: 2, ..good() }, "2 failed"),
            (Facts { sent: 10, ..good() }, "10 sent"),
            (
                Facts {
                    split: (6_000, 1_500),
                    ..good()
                },
                "25.0 % of 6000",
            ),
            (
                Facts {
                    split: (100, 20),
                    ..good()
                },
                "20.0 % of 100",
            ),
            (
                Facts {
                    pods_kept: (1, 0),
                    ..good()
                },
                "0 of 1 pods",
            ),
        ] {
            let error = flaw.judge().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
