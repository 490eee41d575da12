//! What the simulator writes, read by the product's own parser: two implementations of one grammar check each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serin_core::movielog::{Grammar, Malformed};
use serin_simulator::history::backlog::{Backlog, Recipe};
use serin_simulator::line::{Body, Line, Precision, Recommendation};
use serin_simulator::platform::viewers::{Behaviour, Viewers};
use serin_simulator::population::Population;

const NOW: Timestamp = Timestamp::constant(1_763_899_200, 0);

fn grammar() -> Grammar {
    Grammar {
        plausible_within: Some(SignedDuration::from_hours(24)),
        ..Grammar::default()
    }
}

fn backlog(noise: f64) -> Option<Backlog> {
    let (population, ratings) = Population::load(None, 1).ok()?;
    let recipe = Recipe {
        portion: "0..100".parse().ok()?,
        watch_lines: 2,
        noise,
        seed: 1,
    };
    Some(recipe.make(&population, &ratings, NOW))
}

#[test]
fn a_backlog_without_noise_is_clean_and_reads_back_to_the_letter() {
    let backlog = backlog(0.0).unwrap();
    assert!(backlog.records.len() > 250_000);
    let mut without_seconds = 0;
    for record in &backlog.records {
        let recorded = Timestamp::from_millisecond(record.timestamp_ms).unwrap();
        let event = grammar()
            .strict(record.text.as_bytes(), Some(recorded))
            .expect(&record.text);
        assert_eq!(event.to_string(), record.text);
        without_seconds += usize::from(record.text.find(',') == Some("2026-11-23T12:00".len()));
    }
    let share = without_seconds as f64 / backlog.records.len() as f64;
    assert!((share - 1.0 / 60.0).abs() < 0.002, "{share}");
}

#[test]
fn noise_is_found_where_it_can_be_found() {
    let backlog = backlog(10.0).unwrap();
    let mut kinds: BTreeMap<Malformed, u64> = BTreeMap::new();
    let (mut rejected, mut repaired) = (0_u64, 0_u64);
    for record in &backlog.records {
        let recorded = Timestamp::from_millisecond(record.timestamp_ms).unwrap();
        match grammar().parse(record.text.as_bytes(), Some(recorded)) {
            Ok(parsed) => repaired += u64::from(parsed.repaired.is_some()),
            Err(kind) => {
                rejected += 1;
                *kinds.entry(kind).or_default() += 1;
            }
        }
    }
    let injected = |class: &str| backlog.injected[class];
    // Every class but inserted characters (some still make a valid line) and duplicates is certain to be found.
    let certain = injected("movie_replaced")
        + injected("field_missing")
        + injected("rating_out_of_range")
        + injected("wrong_year");
    let inserted = injected("character_inserted");
    assert!(rejected >= certain, "{rejected} of {certain}: {kinds:?}");
    assert!(rejected + repaired <= certain + inserted);
    assert!(
        rejected + repaired > certain + inserted / 2,
        "{rejected} + {repaired}: {kinds:?}"
    );
    assert!(repaired > 0);
}

#[test]
fn live_lines_and_recommendations_read_back_to_the_letter() {
    let (population, _) = Population::load(None, 1).unwrap();
    let ids: Vec<String> = population.movies.iter().map(|movie| movie.id.clone()).collect();
    let behaviour = Behaviour {
        scale: 0.02,
        users: 1..=1_000_000,
        acts_after: Duration::from_secs(600),
        seed: 1,
    };
    let mut viewers = Viewers::new(Arc::new(population), behaviour, NOW);
    let mut lines = viewers.advance(Duration::from_secs(600));
    for (number, list) in (0_u32..).zip(ids.chunks(20)) {
        let at = NOW
            .checked_add(SignedDuration::from_millis(i64::from(number) * 137))
            .unwrap();
        for precision in [
            Precision::Milliseconds,
            Precision::Microseconds,
            Precision::Nanoseconds,
        ] {
            let timeout =
                "java.util.concurrent.TimeoutException: Request timeout to h/10.0.0.1:8082 after 800 ms";
            for result in [Ok(list.to_vec()), Err(timeout.to_owned())] {
                let call = Recommendation {
                    host: "team:8082".into(),
                    result,
                    elapsed_ms: 58,
                    precision,
                };
                lines.push(Line {
                    at,
                    user: 17,
                    body: Body::Recommendation(Box::new(call)),
                });
            }
        }
    }
    assert!(lines.len() > 5000);
    for line in lines {
        let text = line.to_string();
        let event = grammar().strict(text.as_bytes(), Some(line.at)).expect(&text);
        assert!(same_but_for_zeros(&event.to_string(), &text), "{event}\n{text}");
    }
}

/// The platform cuts a fraction to a fixed number of digits; the product keeps the instant and may write fewer.
fn same_but_for_zeros(one: &str, other: &str) -> bool {
    let normal = |text: &str| {
        let (time, rest) = text.split_once(',').unwrap_or_default();
        let time = if time.contains('.') {
            time.trim_end_matches('0').trim_end_matches('.')
        } else {
            time
        };
        format!("{time},{rest}")
    };
    normal(one) == normal(other)
}
