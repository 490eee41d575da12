//! What one request came to.

use crate::movie_id::is_movie_id;

/// Longest list that the platform accepts.
const LONGEST_LIST: usize = 20;

/// What one request came to. Every request ends in exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A 2xx answer with a well-formed list.
    Ok(Answer),
    /// An answer that the service itself is to blame for: a status below 500 other than 2xx, or a body that is no list.
    Failed(Answer, Flaw),
    /// An answer that the fault proxy of a release spoiled on purpose, and said so.
    Spoiled(Answer),
    /// A 5xx answer that nobody claims: a gateway without an endpoint, or a server that broke.
    LostToStatus(Answer),
    /// No answer at all. A request that a fault proxy hangs ends here too, for nobody can tell.
    LostWithoutAnswer(Silence),
}

/// Who answered, from the headers of the contract, and with what status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `serin-model-digest`, empty when absent.
    pub digest: String,
    /// `serin-model-version`, empty when absent.
    pub version: String,
    /// `serin-revision`, empty when absent.
    pub revision: String,
}

/// Why a whole answer is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A status that is neither 2xx nor 5xx.
    Status,
    /// Nothing in it.
    EmptyBody,
    /// JSON, which the platform does not read.
    JsonBody,
    /// More than 20 ids.
    TooManyIds,
    /// Something that is no movie id.
    BadId,
}

impl Flaw {
    /// A stable name for reports and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::EmptyBody => "empty_body",
            Self::JsonBody => "json_body",
            Self::TooManyIds => "too_many_ids",
            Self::BadId => "bad_id",
        }
    }
}

/// How an answer failed to come, with what the client library said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// The kind of failure.
    pub kind: SilenceKind,
    /// The error and its causes; at most 200 characters.
    pub detail: String,
}

/// The ways in which an answer fails to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceKind {
    /// No connection.
    Connect,
    /// The connection ended before the head of an answer.
    Reset,
    /// The connection ended within the body.
    Truncated,
    /// Nothing whole within the time limit.
    Timeout,
}

impl SilenceKind {
    /// A stable name for reports and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::Timeout => "timeout",
        }
    }
}

/// Judges a whole answer; `spoiled` says that it carried the header of a fault proxy.
pub fn judge(answer: Answer, spoiled: bool, body: &[u8]) -> Outcome {
    if spoiled {
        return Outcome::Spoiled(answer);
    }
    match answer.status {
        200..=299 => match flaw(body) {
            None => Outcome::Ok(answer),
            Some(flaw) => Outcome::Failed(answer, flaw),
        },
        500.. => Outcome::LostToStatus(answer),
        _ => Outcome::Failed(answer, Flaw::Status),
    }
}

/// What is wrong with the body of a 2xx answer, which should be 1 to 20 ids separated by commas and nothing else.
fn flaw(body: &[u8]) -> Option<Flaw> {
    let text = String::from_utf8_lossy(body);
    match text.trim_start().chars().next() {
        None => return Some(Flaw::EmptyBody),
        Some('[' | '{' | '"') => return Some(Flaw::JsonBody),
        Some(_) => {}
    }
    if !text.split(',').all(is_movie_id) {
        return Some(Flaw::BadId);
    }
    (text.split(',').count() > LONGEST_LIST).then_some(Flaw::TooManyIds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(status: u16, spoiled: bool, body: &str) -> &'static str {
        match judge(
            Answer {
                status,
                ..Answer::default()
            },
            spoiled,
            body.as_bytes(),
        ) {
            Outcome::Ok(_) => "ok",
            Outcome::Failed(_, flaw) => flaw.name(),
            Outcome::Spoiled(_) => "spoiled",
            Outcome::LostToStatus(_) => "lost",
            Outcome::LostWithoutAnswer(_) => "silence",
        }
    }

    #[test]
    fn every_answer_has_one_outcome() {
        let twenty = vec!["alien+1979"; 20].join(",");
        for (status, spoiled, body, expected) in [
            (200, false, "alien+1979", "ok"),
            (200, false, "alien+1979,+nos+amours+1983,reflection+", "ok"),
            (200, false, twenty.as_str(), "ok"),
            (200, false, &format!("{twenty},alien+1979"), "too_many_ids"),
            (200, false, "", "empty_body"),
            (200, false, " \n", "empty_body"),
            (200, false, "[\"alien+1979\"]", "json_body"),
            (200, false, "{\"ids\":[]}", "json_body"),
            (200, false, "alien+1979\n", "bad_id"),
            (200, false, "alien+1979, heat+1995", "bad_id"),
            (200, false, "alien+1979,", "bad_id"),
            (200, false, "Error: no model", "bad_id"),
            (404, false, "not found", "status"),
            (302, false, "", "status"),
            (429, false, "", "status"),
            (503, false, "no healthy upstream", "lost"),
            (503, true, "", "spoiled"),
            (200, true, "alien+1979", "spoiled"),
        ] {
            assert_eq!(name(status, spoiled, body), expected, "{status} {spoiled} {body}");
        }
    }
}
