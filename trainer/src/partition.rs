//! One partition during a run: how far it is read, and what is read and not stored yet.

use crate::dataset::{Record, Span};
use crate::quarantine::Rejected;

/// Progress through one partition. `stored <= next`, and both only grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    stored: i64,
    next: i64,
    high: i64,
    records: Vec<Record>,
    rejected: Vec<Rejected>,
}

/// What is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// The offsets it stands for.
    pub span: Span,
    /// Events.
    pub records: &'a [Record],
    /// Lines that are none.
    pub rejected: &'a [Rejected],
}

impl Partition {
    /// A partition to be read from `next` to `high`, exclusively.
    pub fn new(next: i64, high: i64) -> Self {
        Self {
            stored: next,
            next,
            high,
            records: Vec::new(),
            rejected: Vec::new(),
        }
    }

    /// The offset to read next.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// The offset up to which everything is stored.
    pub fn stored_until(&self) -> i64 {
        self.stored
    }

    /// Whether the end is reached that the partition had at the start of the run.
    pub fn is_done(&self) -> bool {
        self.next >= self.high
    }

    /// Records up to that end.
    pub fn behind(&self) -> u64 {
        u64::try_from(self.high - self.next).unwrap_or(0)
    }

    /// Lines held in memory.
    pub fn held(&self) -> usize {
        self.records.len() + self.rejected.len()
    }

    /// Passes `offset`; `false` when it was passed before or lies behind the end, so the record is not to be used.
    ///
    /// Offsets may have gaps: markers of transactions, compacted records.
    #[must_use]
    pub fn advance(&mut self, offset: i64) -> bool {
        let wanted = (self.next..self.high).contains(&offset);
        if wanted {
            self.next = offset + 1;
        } else if offset >= self.high {
            self.next = self.high.max(self.next);
        }
        wanted
    }

    /// The broker has nothing more: what is left up to the end are gaps.
    pub fn reached_end(&mut self) {
        self.next = self.next.max(self.high);
    }

    /// Holds an event.
    pub fn keep(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Holds a rejected line.
    pub fn reject(&mut self, rejected: Rejected) {
        self.rejected.push(rejected);
    }

    /// What is to be stored; `None` when nothing was passed since the last time.
    pub fn batch(&self, topic: &str, partition: i32) -> Option<Batch<'_>> {
        (self.stored < self.next).then(|| Batch {
            span: Span {
                topic: topic.to_owned(),
                partition,
                start: self.stored,
                end: self.next,
            },
            records: &self.records,
            rejected: &self.rejected,
        })
    }

    /// Notes that the batch is durable.
    pub fn stored(&mut self) {
        self.stored = self.next;
        self.records.clear();
        self.rejected.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_core::movielog::Malformed;

    #[test]
    fn an_offset_is_used_once_and_only_below_the_end() {
        let mut partition = Partition::new(5, 8);
        let used: Vec<_> = [4, 5, 5, 7, 6, 8].map(|offset| partition.advance(offset)).into();
        assert_eq!(used, [false, true, false, true, false, false]);
        assert!(partition.is_done());
        assert_eq!(partition.behind(), 0);
    }

    #[test]
    fn gaps_at_the_end_are_passed() {
        let mut partition = Partition::new(5, 8);
        assert!(partition.advance(5));
        assert_eq!(partition.behind(), 2);
        partition.reached_end();
        assert_eq!(
            partition.batch("t", 0).unwrap().span,
            Span {
                topic: "t".to_owned(),
                partition: 0,
                start: 5,
                end: 8
            }
        );
    }

    #[test]
    fn what_is_stored_is_dropped_and_the_next_span_follows_without_a_gap() {
        let mut partition = Partition::new(0, 10);
        assert_eq!(partition.batch("t", 0), None, "nothing passed, nothing to store");
        assert!(partition.advance(0));
        partition.reject(Rejected::new(0, Malformed::Empty, b""));
        assert_eq!(partition.held(), 1);
        partition.stored();
        assert_eq!((partition.held(), partition.stored_until()), (0, 1));
        assert!(partition.advance(3));
        let span = partition.batch("t", 0).unwrap().span;
        assert_eq!((span.start, span.end), (1, 4));
    }
}
