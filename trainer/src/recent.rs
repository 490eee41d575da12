//! Exact duplicates, which at-least-once delivery makes: recognised by content and time, in bounded memory.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::columns::Row;

/// Events per generation; two are kept, so a duplicate is noticed up to half a million to a million events later.
///
/// At 490 lines a second that is 17 to 34 minutes, far longer than a producer retries, for 16 MB.
const GENERATION: usize = 500_000;

/// The newest events' identities.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    newer: HashSet<u64>,
    older: HashSet<u64>,
}

impl Recent {
    /// Notes an event; `false` when the same event was noted recently.
    ///
    /// Two events are the same when time, user, kind, film and value are. Identities are 64-bit hashes: among a
    /// million remembered ones a new event is mistaken for a duplicate once in 10^13.
    pub fn is_new(&mut self, row: &Row) -> bool {
        let mut hasher = DefaultHasher::new();
        (row.time_us, row.user, row.kind.name(), &row.movie, row.value).hash(&mut hasher);
        let identity = hasher.finish();
        if self.older.contains(&identity) || !self.newer.insert(identity) {
            return false;
        }
        if self.newer.len() >= GENERATION {
            self.older = std::mem::take(&mut self.newer);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Kind;

    fn event(user: u32) -> Row {
        Row {
            offset: 0,
            time_us: 1,
            user,
            kind: Kind::Watch,
            movie: Some("a+1".to_owned()),
            value: 7,
        }
    }

    #[test]
    fn the_offset_is_no_part_of_an_event_and_everything_else_is() {
        let mut recent = Recent::default();
        assert!(recent.is_new(&event(1)));
        assert!(!recent.is_new(&Row {
            offset: 99,
            ..event(1)
        }));
        assert!(recent.is_new(&Row { value: 8, ..event(1) }));
        assert!(recent.is_new(&Row {
            kind: Kind::Rate,
            ..event(1)
        }));
        assert!(recent.is_new(&Row {
            time_us: 2,
            ..event(1)
        }));
        assert!(recent.is_new(&Row {
            movie: Some("b+1".to_owned()),
            ..event(1)
        }));
    }

    #[test]
    fn memory_is_bounded_and_a_generation_is_always_remembered() {
        let mut recent = Recent::default();
        let count = u32::try_from(3 * GENERATION).unwrap();
        for user in 0..count {
            assert!(recent.is_new(&event(user)));
            assert!(recent.newer.len() + recent.older.len() <= 2 * GENERATION);
        }
        assert!(!recent.is_new(&event(count - u32::try_from(GENERATION).unwrap())));
    }
}
