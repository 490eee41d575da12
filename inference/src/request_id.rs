//! A name for every request, so that an answer, a log line and a complaint can be brought together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Header with the request's name; a sane one of the caller is kept.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("serin-request-id");

/// Makes names in the shape of a UUID from the start of the process and a counter: unique without entropy, as long
/// as no two pods start in the same nanosecond.
#[derive(Debug)]
pub struct RequestIds {
    start_ns: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// `started` is when the process began, by the wall clock.
    pub fn new(started: SystemTime) -> Self {
        let start_ns = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self {
            start_ns: u64::try_from(start_ns).unwrap_or(u64::MAX),
            next: AtomicU64::new(0),
        }
    }

    /// The caller's name for the request if it is sane (1 to 64 letters, digits or `-`), else a new one.
    pub fn name(&self, headers: &HeaderMap) -> HeaderValue {
        let sane = |value: &&HeaderValue| {
            (1..=64).contains(&value.len())
                && value
                    .as_bytes()
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        };
        match headers.get(REQUEST_ID).filter(sane) {
            Some(name) => name.clone(),
            None => self.fresh(),
        }
    }

    fn fresh(&self) -> HeaderValue {
        let (start, count) = (self.start_ns, self.next.fetch_add(1, Ordering::Relaxed));
        let name = format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            start >> 32,
            start >> 16 & 0xffff,
            start & 0xffff,
            count >> 48,
            count & 0xffff_ffff_ffff,
        );
        HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static("unnamed"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn fresh_names_are_distinct_and_look_like_uuids() {
        let ids = RequestIds::new(UNIX_EPOCH + std::time::Duration::from_nanos(0x1122_3344_5566_7788));
        let names: BTreeSet<_> = (0..1000)
            .map(|_| ids.fresh().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names.len(), 1000);
        assert_eq!(names.first().unwrap(), "11223344-5566-7788-0000-000000000000");
    }

    #[test]
    fn only_a_sane_name_is_kept() {
        let ids = RequestIds::new(UNIX_EPOCH);
        for (sent, kept) in [
            ("abc-123", true),
            ("", false),
            ("a b", false),
            (&"a".repeat(65), false),
            ("x\"y", false),
        ] {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(sent).unwrap())]);
            assert_eq!(ids.name(&headers) == sent, kept, "{sent}");
        }
    }
}
