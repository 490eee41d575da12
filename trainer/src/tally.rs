//! Counts by kind of what was read.

use std::collections::BTreeMap;

use serde::Serialize;
use serin_core::movielog::{Action, Malformed, Parsed};

/// What became of the lines of a stream or file. Every line is counted once, in `events` or `rejected`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Lines read.
    pub lines: u64,
    /// Lines that are events, repaired and duplicate ones included, by kind.
    #[serde(flatten)]
    pub events: Events,
    /// Lines that are no events.
    pub rejected: u64,
    /// Those by class.
    pub rejected_by_class: BTreeMap<&'static str, u64>,
    /// Events read after taking out one space too many.
    pub repaired: u64,
    /// Those by what strict reading objected to.
    pub repaired_by_class: BTreeMap<&'static str, u64>,
    /// Events seen before, which were dropped.
    pub duplicates: u64,
}

/// Events by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// Minutes of film.
    pub watch: u64,
    /// Ratings.
    pub rate: u64,
    /// Recommendation requests.
    pub recommendation: u64,
    /// New users.
    pub create_account: u64,
}

impl Tally {
    /// Counts one line.
    pub fn count(&mut self, line: &Result<Parsed, Malformed>) {
        self.lines += 1;
        match line {
            Ok(parsed) => {
                let events = &mut self.events;
                let kind = match parsed.event.action {
                    Action::Watch { .. } => &mut events.watch,
                    Action::Rate { .. } => &mut events.rate,
                    Action::Recommendation { .. } => &mut events.recommendation,
                    Action::CreateAccount => &mut events.create_account,
                };
                *kind += 1;
                if let Some(class) = parsed.repaired {
                    self.repaired += 1;
                    *self.repaired_by_class.entry(class.reason()).or_default() += 1;
                }
            }
            Err(class) => {
                self.rejected += 1;
                *self.rejected_by_class.entry(class.reason()).or_default() += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_core::movielog::Grammar;

    #[test]
    fn every_line_is_counted_once() {
        let mut tally = Tally::default();
        let lines = [
            "2022-11-14T12:24,1,GET /data/m/a+1/0.mpg",
            "2022-11-14T12:24,1,GET /rate/a+1=3",
            "2022-11-14T12:24,1,GET /rate/a +1=3",
            "2022-11-14T12:24,1,GET /create_account",
            "x",
        ];
        for line in lines {
            tally.count(&Grammar::default().parse(line.as_bytes(), None));
        }
        assert_eq!(
            tally.events,
            Events {
                watch: 1,
                rate: 2,
                recommendation: 0,
                create_account: 1
            }
        );
        assert_eq!((tally.lines, tally.rejected, tally.repaired), (5, 1, 1));
        assert_eq!(tally.repaired_by_class, BTreeMap::from([("movie", 1)]));
        assert_eq!(tally.rejected_by_class, BTreeMap::from([("missing_field", 1)]));
    }
}
