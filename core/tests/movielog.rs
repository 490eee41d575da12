//! The grammar of the movie stream: real lines, wrong lines, and laws over arbitrary ones.
#![expect(clippy::expect_used, reason = "a helper of tests")]

use jiff::civil::{DateTime, date};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serin_core::movielog::{Action, Answer, Event, Grammar, MAX_LINE_BYTES, Malformed, MovieId, Parsed};

fn parse(line: &str) -> Result<Parsed, Malformed> {
    Grammar::default().parse(line.as_bytes(), None)
}

fn movie(id: &str) -> MovieId {
    MovieId::new(id).expect("a test names a legal id")
}

#[test]
fn a_line_of_every_kind_is_read() {
    let time = date(2022, 11, 14).at(12, 23, 46, 0);
    let cases = [
        (
            "2022-11-14T12:23:46,276828,GET /rate/the+fighter+2010=4",
            Event {
                time,
                user: 276_828,
                action: Action::Rate {
                    movie: movie("the+fighter+2010"),
                    rating: 4,
                },
            },
        ),
        (
            "2022-11-14T12:23:46,1,GET /data/m/m*a*s*h+1970/0.mpg",
            Event {
                time,
                user: 1,
                action: Action::Watch {
                    movie: movie("m*a*s*h+1970"),
                    minute: 0,
                },
            },
        ),
        (
            "2022-11-14T12:23:46,1000000,GET /create_account",
            Event {
                time,
                user: 1_000_000,
                action: Action::CreateAccount,
            },
        ),
        (
            "2022-11-14T12:23:46,2,recommendation request h.ca:8082, status 200, result: a+1, b+2, 58 ms",
            Event {
                time,
                user: 2,
                action: Action::Recommendation {
                    server: "h.ca:8082".to_owned(),
                    status: 200,
                    answer: Answer::Movies(vec![movie("a+1"), movie("b+2")]),
                    millis: 58,
                },
            },
        ),
        (
            "2022-11-14T12:23:46,2,recommendation request h:8082, status 0, result: Connection refused: h/1.2.3.4:8082, or so, 818 ms",
            Event {
                time,
                user: 2,
                action: Action::Recommendation {
                    server: "h:8082".to_owned(),
                    status: 0,
                    answer: Answer::Failure("Connection refused: h/1.2.3.4:8082, or so".to_owned()),
                    millis: 818,
                },
            },
        ),
    ];
    for (line, event) in cases {
        assert_eq!(
            parse(line),
            Ok(Parsed {
                event: event.clone(),
                repaired: None
            }),
            "{line}"
        );
        assert_eq!(event.to_string(), line);
    }
}

#[test]
fn times_are_read_at_every_precision_of_the_platform() {
    let at = |text: &str| parse(&format!("{text},7,GET /create_account")).map(|parsed| parsed.event.time);
    let noon = date(2022, 11, 14);
    assert_eq!(
        at("2022-11-14T12:24"),
        Ok(noon.at(12, 24, 0, 0)),
        "seconds omitted mean :00"
    );
    assert_eq!(at("2022-11-14T12:24:07"), Ok(noon.at(12, 24, 7, 0)));
    assert_eq!(at("2022-11-14T12:24:07.081"), Ok(noon.at(12, 24, 7, 81_000_000)));
    assert_eq!(at("2022-11-14T12:24:07.000081"), Ok(noon.at(12, 24, 7, 81_000)));
    assert_eq!(at("2022-11-14T12:24:07.000000081"), Ok(noon.at(12, 24, 7, 81)));
    let wrong = [
        "",
        "2022-11-14",
        "2022-11-14 12:24",
        "2022-11-14T12",
        "2022-11-14T12:2",
        "2022-11-14T12:24:",
        "2022-11-14T12:24:60",
        "2022-11-14T24:00",
        "2022-13-14T12:24",
        "2022-02-30T12:24",
        "20222-11-14T12:24",
        "2022-11-14T12:24:07.",
        "2022-11-14T12:24:07.1",
        "2022-11-14T12:24.081",
        "2022-11-14T12:24:07Z",
        "+022-11-14T12:24",
        "2022-11-14T12:24:07.0810",
    ];
    for text in wrong {
        assert_eq!(at(text), Err(Malformed::Time), "{text}");
    }
}

#[test]
fn every_kind_of_malformed_line_has_its_name() {
    let cases = [
        ("", "empty"),
        ("2022-09-28T17:20:44,GET /rate/a+1=4", "missing_field"),
        (
            "2022-11-14T1O2:23:16,494528,GET /data/m/the+avengers+2012/97.mpg",
            "time",
        ),
        (
            "2022-11-14T12:24:19,N671040,GET /data/m/glory+1989/117.mpg",
            "user",
        ),
        ("2022-11-14T12:24:19,007,GET /data/m/glory+1989/117.mpg", "user"),
        (
            "2022-11-14T12:24:19,0,GET /data/m/glory+1989/117.mpg",
            "user_out_of_range",
        ),
        (
            "2022-11-14T12:24:19,1871794,GET /data/m/glory+1989/117.mpg",
            "user_out_of_range",
        ),
        (
            "2022-11-14T12:23:27,83607,GZET /data/m/gone+with+the+wind+1939/83.mpg",
            "request",
        ),
        ("2022-11-14T12:23:27,83607,GET /create_accounts", "request"),
        (
            "2022-11-14T12:23:27,83607,GET /data/m/sOtar+trek+2009/83.mpg",
            "movie",
        ),
        ("2022-11-14T12:23:27,83607,GET /data/m//83.mpg", "movie"),
        (
            "2022-11-14T12:23:20,46571,GET /data/m/VWDbrYWReQKNsvs0K/1.mpg",
            "movie_replaced",
        ),
        (
            "2022-11-14T12:24:21,262533,GET /data/m/a+handful+of+dust+1988/30.Hmpg",
            "minute",
        ),
        (
            "2022-11-14T12:24:21,262533,GET /data/m/a+handful+of+dust+1988/6x1.mpg",
            "minute",
        ),
        (
            "2022-11-14T12:24:21,262533,GET /data/m/a+handful+of+dust+1988/088.mpg",
            "minute",
        ),
        ("2022-11-14T12:24:21,262533,GET /data/m/a+1", "minute"),
        ("2022-11-14T12:24:21,262533,GET /rate/a+1", "rating"),
        ("2022-11-14T12:24:21,262533,GET /rate/a+1=", "rating"),
        (
            "2022-11-14T12:24:21,262533,GET /rate/a+1=15",
            "rating_out_of_range",
        ),
        (
            "2022-11-14T12:24:21,262533,GET /rate/a+1=0",
            "rating_out_of_range",
        ),
        (
            "2022-11-14T12:24:21,2,recommendation request h, status 200, result: a+1, 5 ms",
            "recommendation",
        ),
        (
            "2022-11-14T12:24:21,2,recommendation request h:80, status 200, result: {\"a\":1}, 5 ms",
            "recommendation",
        ),
        (
            "2022-11-14T12:24:21,2,recommendation request h:80, status 200, result: a+1",
            "recommendation",
        ),
        ("2022-11-14T12:24:21,2,GET /rate/a+1=4\0", "control_character"),
    ];
    for (line, reason) in cases {
        assert_eq!(parse(line).map_err(Malformed::reason), Err(reason), "{line}");
    }
    assert_eq!(
        Grammar::default().parse(b"\xff\xfe", None),
        Err(Malformed::NotUtf8)
    );
    assert_eq!(parse(&"a".repeat(MAX_LINE_BYTES + 1)), Err(Malformed::TooLong));
}

#[test]
fn reasons_are_distinct() {
    let names: std::collections::BTreeSet<_> = Malformed::ALL.iter().map(|kind| kind.reason()).collect();
    assert_eq!(names.len(), Malformed::ALL.len());
}

#[test]
fn odd_but_legal_ids_are_kept() {
    for id in [
        "+nos+amours+1983",
        "reflection+",
        "jails_+hospitals++hip-hop+",
        "61*+2001",
        "++++++1959",
        "mrs.+miniver+1942",
    ] {
        let line = format!("2022-11-14T12:24,98210,GET /data/m/{id}/26.mpg");
        assert_eq!(parse(&line).map(|parsed| parsed.event.to_string()), Ok(line));
    }
}

#[test]
fn one_space_too_many_is_repaired_and_nothing_else() {
    let clean = "2022-11-14T12:23:32,426479,GET /data/m/dark+city+1998/35.mpg";
    let cases = [
        (
            "2022-11-14T12 :23:32,426479,GET /data/m/dark+city+1998/35.mpg",
            Malformed::Time,
        ),
        (
            "2022-11-14T12:23:32,426479 ,GET /data/m/dark+city+1998/35.mpg",
            Malformed::User,
        ),
        (
            "2022-11-14T12:23:32,426479,G ET /data/m/dark+city+1998/35.mpg",
            Malformed::Request,
        ),
        (
            "2022-11-14T12:23:32,426479,GET  /data/m/dark+city+1998/35.mpg",
            Malformed::Request,
        ),
        (
            "2022-11-14T12:23:32,426479,GET /data/m/d ark+city+1998/35.mpg",
            Malformed::Movie,
        ),
        (
            "2022-11-14T12:23:32,426479,GET /data/m/dark+city+1998/35. mpg",
            Malformed::Minute,
        ),
    ];
    for (line, kind) in cases {
        let parsed = parse(line).unwrap();
        assert_eq!(
            (parsed.event.to_string().as_str(), parsed.repaired),
            (clean, Some(kind)),
            "{line}"
        );
        assert_eq!(Grammar::default().strict(line.as_bytes(), None), Err(kind));
    }
    assert_eq!(
        parse("2022-11-14T1 2:23:32,426479,GET /data/m/d ark+city+1998/35.mpg"),
        Err(Malformed::Time),
        "two spaces"
    );
    assert_eq!(
        parse("2022-11-14T12:23:32,426479,GET/data/m/dark+city+1998/35.mpg"),
        Err(Malformed::Request),
        "one missing"
    );
}

#[test]
fn a_date_far_from_the_record_is_implausible() {
    let day = SignedDuration::from_hours(24);
    let grammar = Grammar {
        plausible_within: Some(day),
        ..Grammar::default()
    };
    let recorded: Timestamp = "2022-11-14T17:23:32Z".parse().unwrap();
    let at = |date: &str| {
        grammar.parse(
            format!("{date}T12:23:32,7,GET /create_account").as_bytes(),
            Some(recorded),
        )
    };
    assert!(at("2022-11-14").is_ok());
    assert_eq!(at("2023-11-14"), Err(Malformed::ImplausibleTime));
    assert_eq!(at("2022-11-12"), Err(Malformed::ImplausibleTime));
    let line = b"9999-12-31T23:59:59,7,GET /create_account";
    assert_eq!(
        grammar.parse(line, Some(recorded)),
        Err(Malformed::ImplausibleTime)
    );
    assert!(
        grammar.parse(line, None).is_ok(),
        "without a record timestamp there is nothing to compare with"
    );
}

#[test]
fn the_scale_of_one_term_goes_to_ten() {
    let grammar = Grammar {
        max_rating: 10,
        ..Grammar::default()
    };
    assert!(
        grammar
            .parse(b"2022-11-14T12:24,7,GET /rate/a+1=10", None)
            .is_ok()
    );
    assert_eq!(
        grammar.parse(b"2022-11-14T12:24,7,GET /rate/a+1=11", None),
        Err(Malformed::RatingOutOfRange)
    );
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
    let log = std::fs::read_to_string(format!("{folder}/movielog-2022-11-14.log")).unwrap();
    let (mut watch, mut rate, mut recommendation, mut rejected, mut repairable) = (0, 0, 0, 0, 0);
    for line in log.lines() {
        if let Ok(event) = Grammar::default().strict(line.as_bytes(), None) {
            assert_eq!(event.to_string(), line, "a line is written back as it was");
            match event.action {
                Action::Watch { .. } => watch += 1,
                Action::Rate { .. } => rate += 1,
                Action::Recommendation { .. } => recommendation += 1,
                Action::CreateAccount => {}
            }
        } else {
            rejected += 1;
            repairable += usize::from(parse(line).is_ok());
        }
    }
    assert_eq!(
        (watch, rate, recommendation, rejected, repairable),
        (7_899, 32, 60, 9, 2)
    );

    let ids = std::fs::read_to_string(format!("{folder}/movie-ids.txt")).unwrap();
    let refused: Vec<_> = ids.lines().filter(|id| MovieId::new(id).is_none()).collect();
    assert_eq!(refused, Vec::<&str>::new(), "the whole catalogue is legal");
}

prop_compose! {
    fn time()(seconds in 0_i64..253_370_764_800, nanos in prop_oneof![Just(0), Just(81_000_000), 0..1_000_000_000_i32]) -> DateTime {
        date(1, 1, 1).at(0, 0, 0, nanos).saturating_add(SignedDuration::from_secs(seconds))
    }
}

fn id() -> impl Strategy<Value = MovieId> {
    ("[a-z0-9+_.*-]{0,12}", "[a-z0-9+_.*-]{0,6}").prop_map(|(title, year)| movie(&format!("{title}+{year}")))
}

fn action() -> impl Strategy<Value = Action> {
    let list = proptest::collection::vec(id(), 1..=20).prop_map(|movies| (200, Answer::Movies(movies)));
    let failure = (0_u16..200, "[ -~]{0,40}").prop_map(|(status, text)| (status, Answer::Failure(text)));
    prop_oneof![
        (id(), 0_u32..100_000).prop_map(|(movie, minute)| Action::Watch { movie, minute }),
        (id(), 1_u8..=5).prop_map(|(movie, rating)| Action::Rate { movie, rating }),
        (
            "[a-z.0-9-]{1,20}:[1-9][0-9]{0,3}",
            prop_oneof![list, failure],
            0_u64..10_000
        )
            .prop_map(|(server, (status, answer), millis)| Action::Recommendation {
                server,
                status,
                answer,
                millis
            }),
        Just(Action::CreateAccount),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(time in time(), user in 1_u32..=1_000_000, action in action()) {
        let event = Event { time, user, action };
        prop_assert_eq!(parse(&event.to_string()), Ok(Parsed { event, repaired: None }));
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Grammar::default().parse(&bytes, Some(Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn a_damaged_line_that_is_still_read_is_written_back_as_the_same_event(
        time in time(), action in action(), at in any::<prop::sample::Index>(), with in any::<char>()
    ) {
        let mut line = Event { time, user: 42, action }.to_string();
        let at = (0..=line.len()).rev().filter(|at| line.is_char_boundary(*at)).nth(at.index(line.len())).unwrap_or(0);
        line.insert(at, with);
        if let Ok(parsed) = parse(&line) {
            prop_assert!(parsed.event.user <= 1_000_000);
            prop_assert_eq!(parse(&parsed.event.to_string()).map(|again| again.event), Ok(parsed.event));
        }
    }

    #[test]
    fn an_inserted_space_is_always_repaired(time in time(), id in id(), minute in 0_u32..200, at in any::<prop::sample::Index>()) {
        let event = Event { time, user: 42, action: Action::Watch { movie: id, minute } };
        let mut line = event.to_string();
        line.insert(at.index(line.len() + 1), ' ');
        prop_assert_eq!(parse(&line).map(|parsed| parsed.event), Ok(event));
    }
}
