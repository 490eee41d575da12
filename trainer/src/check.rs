//! `serin-trainer check`: what a file of stream lines holds.

use std::io::{self, BufRead};

use serin_core::movielog::{Grammar, MAX_LINE_BYTES};

use crate::tally::Tally;

/// Counts the lines of `input`. A line ends at a line feed, or at the end; a carriage return before it is dropped.
///
/// No more than a few bytes above the longest legal line are held in memory.
///
/// # Errors
/// Only when `input` cannot be read.
pub fn check(mut input: impl BufRead, grammar: &Grammar) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut line = Vec::new();
    while read_line(&mut input, &mut line)? {
        tally.count(&grammar.parse(line.strip_suffix(b"\r").unwrap_or(&line), None));
    }
    Ok(tally)
}

/// Reads one line without its end; of an overlong one only so much that it is seen to be overlong.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    const KEPT: usize = MAX_LINE_BYTES + 2;
    line.clear();
    let mut any = false;
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let piece = end.and_then(|end| buffer.get(..end)).unwrap_or(buffer);
        line.extend(piece.iter().take(KEPT.saturating_sub(line.len())));
        let used = end.map_or(buffer.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn count(text: &[u8]) -> Tally {
        check(BufReader::with_capacity(7, text), &Grammar::default()).unwrap()
    }

    #[test]
    fn line_ends_of_both_kinds_and_a_missing_last_one_are_fine() {
        let tally = count(b"2022-11-14T12:24,1,GET /create_account\r\n2022-11-14T12:24,1,GET /rate/a+1=3");
        assert_eq!((tally.lines, tally.rejected), (2, 0));
        assert_eq!(count(b"").lines, 0);
        assert_eq!(count(b"\n\n").rejected_by_class["empty"], 2);
    }

    #[test]
    fn an_endless_line_is_one_rejection_in_bounded_memory() {
        let tally = count(&vec![b'x'; 1 << 20]);
        assert_eq!(tally.rejected_by_class["too_long"], 1);
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the folder of real samples is a setting of the test run"
    )]
    fn the_real_sample_gives_the_published_counts() {
        let Ok(folder) = std::env::var("SERIN_SAMPLES") else {
            eprintln!("skipped: SERIN_SAMPLES names no folder of samples");
            return;
        };
        let log = std::fs::read(format!("{folder}/movielog-2022-11-14.log")).unwrap();
        let tally = count(&log);
        assert_eq!((tally.lines, tally.rejected, tally.repaired), (8_000, 7, 2));
    }
}
