//! Lines that are no events, kept with their class, place and bytes.

use serde::Serialize;
use serin_core::movielog::{MAX_LINE_BYTES, Malformed};

use crate::dataset::Span;

/// A rejected line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Offset in the partition.
    pub offset: i64,
    /// Why it is no event.
    pub class: Malformed,
    /// The bytes; of an overlong line the first 8 KiB, which bounds the quarantine by the stream.
    pub raw: Vec<u8>,
}

impl Rejected {
    /// Keeps what is to be kept of `line`.
    pub fn new(offset: i64, class: Malformed, line: &[u8]) -> Self {
        Self {
            offset,
            class,
            raw: line.iter().take(MAX_LINE_BYTES).copied().collect(),
        }
    }
}

/// One line of a quarantine file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    class: &'static str,
    /// The line; with replacement characters where it is not UTF-8.
    text: &'a str,
    /// The exact bytes, where the text is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

/// The quarantine file of a span: one JSON object a line.
pub fn to_json_lines(span: &Span, rejected: &[Rejected]) -> Vec<u8> {
    let mut lines = Vec::new();
    for one in rejected {
        let text = String::from_utf8_lossy(&one.raw);
        let exact = std::str::from_utf8(&one.raw).is_ok();
        let hex = (!exact).then(|| one.raw.iter().map(|byte| format!("{byte:02x}")).collect());
        let line = Line {
            topic: &span.topic,
            partition: span.partition,
            offset: one.offset,
            class: one.class.reason(),
            text: &text,
            hex,
        };
        lines.extend(serde_json::json!(line).to_string().into_bytes());
        lines.push(b'\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_can_be_recovered() {
        let span = Span {
            topic: "t".to_owned(),
            partition: 1,
            start: 0,
            end: 9,
        };
        let rejected = [
            Rejected::new(7, Malformed::Empty, b""),
            Rejected::new(8, Malformed::NotUtf8, b"a\xff\n"),
        ];
        let text = String::from_utf8(to_json_lines(&span, &rejected)).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["class"], "empty");
        assert_eq!(
            (lines[1]["offset"].as_i64(), lines[1]["hex"].as_str()),
            (Some(8), Some("61ff0a"))
        );
    }

    #[test]
    fn an_overlong_line_is_cut() {
        assert_eq!(
            Rejected::new(0, Malformed::TooLong, &vec![b'x'; 1 << 20])
                .raw
                .len(),
            MAX_LINE_BYTES
        );
    }
}
