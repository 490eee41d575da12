//! Which user ids are let in: the cheapest possible look at a request that may be hostile.

/// The platform numbers its users from 1 to this.
pub const USER_MAX: u32 = 1_000_000;

/// Reads a user id from the raw path segment: one to seven ASCII digits, 1 to [`USER_MAX`].
///
/// The segment is taken as sent. A percent-encoded digit is no digit here, so there is one spelling of a path to
/// cache, count and log.
pub fn user_id(segment: &str) -> Option<u32> {
    if segment.len() > 7 || !segment.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    segment.parse().ok().filter(|id| (1..=USER_MAX).contains(id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_digits_between_1_and_a_million() {
        for (segment, wished) in [("1", Some(1)), ("1000000", Some(USER_MAX)), ("0000007", Some(7))] {
            assert_eq!(user_id(segment), wished, "{segment}");
        }
        let long = "1".repeat(10_000);
        for segment in [
            "", "0", "1000001", "9999999", "00000001", "-1", "+1", "1.0", " 1", "%31", "1%00", "١", &long,
        ] {
            assert_eq!(user_id(segment), None, "{segment}");
        }
    }

    proptest! {
        #[test]
        fn what_is_let_in_is_what_was_written(segment in ".{0,9}") {
            if let Some(id) = user_id(&segment) {
                prop_assert_eq!(segment.trim_start_matches('0'), id.to_string());
            }
        }
    }
}
