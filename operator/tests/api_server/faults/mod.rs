//! Every story of a release, with a fault at each of its calls in turn: the operator killed there, the call lost, the
//! answer lost. Each time it ends as if nothing had happened, to the byte of the record of its decision.
//!
//! The API server is real. Pods, gateway and clock follow by turns, so that two runs can be compared at all.

mod autoscaler;
mod calls;
mod configuration;
mod routes;
mod scaling;
mod world;

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde_json::Value;
use serin_testkit::ApiServer;
use tokio::time::sleep;

use crate::faults::calls::{Calls, Fate};
use crate::faults::world::{Deed, GATEWAY, INGRESS, PODS, START, TURN, World, server};

/// Runs at once: more only wait for the API server.
const CONCURRENCY: usize = 12;

struct Story {
    name: &'static str,
    route: &'static str,
    /// In which turn somebody does what.
    deeds: &'static [(usize, Deed)],
    turns: usize,
    /// Why each trial ended, newest first.
    ends: &'static [&'static str],
}

/// The first of these make every kind of call: a promotion, a withdrawal, a deletion, copies of configuration, and the
/// first two by Ingresses.
const EVERY_KIND: usize = 4;

const STORIES: &[Story] = &[
    Story {
        name: "ingress",
        route: INGRESS,
        deeds: &[
            (0, Deed::Want("healthy-1")),
            (8, Deed::Want("healthy-2")),
            (34, Deed::Want("failing-3")),
        ],
        turns: 48,
        ends: &["TooManyErrors", "Promoted", "Promoted"],
    },
    Story {
        name: "promoted",
        route: GATEWAY,
        deeds: &[(0, Deed::Want("healthy-1")), (5, Deed::Want("healthy-2"))],
        turns: 22,
        ends: &["Promoted", "Promoted"],
    },
    Story {
        name: "failing",
        route: GATEWAY,
        deeds: &[(0, Deed::Want("healthy-1")), (5, Deed::Want("failing-2"))],
        turns: 16,
        ends: &["TooManyErrors", "Promoted"],
    },
    Story {
        name: "deleted",
        route: GATEWAY,
        deeds: &[
            (0, Deed::Want("healthy-1")),
            (5, Deed::Want("healthy-2")),
            (9, Deed::Delete),
        ],
        turns: 12,
        ends: &[],
    },
    Story {
        name: "configured",
        route: GATEWAY,
        deeds: &[
            (0, Deed::Configure("20")),
            (0, Deed::Want("healthy-1")),
            (5, Deed::Configure("30")),
            (9, Deed::Configure("20")),
        ],
        turns: 16,
        ends: &["Returned", "Promoted"],
    },
    Story {
        name: "broken",
        route: GATEWAY,
        deeds: &[(0, Deed::Want("healthy-1")), (5, Deed::Want("broken-2"))],
        turns: 14,
        ends: &["NotReady", "Promoted"],
    },
    Story {
        name: "aborted",
        route: GATEWAY,
        deeds: &[
            (0, Deed::Want("healthy-1")),
            (5, Deed::Want("healthy-2")),
            (9, Deed::Abort),
            (13, Deed::Retry),
        ],
        turns: 16,
        ends: &["Aborted", "Promoted"],
    },
    Story {
        name: "pods",
        route: PODS,
        deeds: &[
            (0, Deed::Want("healthy-1")),
            (5, Deed::Want("healthy-2")),
            (20, Deed::Want("failing-3")),
        ],
        turns: 32,
        ends: &["TooManyErrors", "Promoted", "Promoted"],
    },
    Story {
        name: "superseded",
        route: GATEWAY,
        deeds: &[
            (0, Deed::Want("healthy-1")),
            (5, Deed::Want("slow-2")),
            (9, Deed::Supersede("slow-3")),
        ],
        turns: 22,
        ends: &["TooSlow", "Superseded", "Promoted"],
    },
];

/// How a run ended, and the calls that it took.
struct Ended {
    seen: Value,
    calls: Vec<String>,
    failures: Vec<String>,
}

async fn tell(server: &ApiServer, story: &Story, fault: Option<(usize, Fate)>) -> Ended {
    let run = fault.map_or_else(String::new, |(at, fate)| format!("-{fate:?}-{at}").to_lowercase());
    let mut world = World::new(
        server,
        format!("{}{run}", story.name),
        story.route,
        Calls::new(fault),
    )
    .await;
    for turn in 0..story.turns {
        for (_, deed) in story.deeds.iter().filter(|(when, _)| *when == turn) {
            world.does(*deed).await;
        }
        world.turn().await;
    }
    Ended {
        seen: world.seen().await,
        calls: world.calls.names(),
        failures: world.failures.clone(),
    }
}

/// What was seen without its times and the records, which tell of the traffic of those times; and the last of the times.
fn timeless(seen: &Value) -> (Value, Option<Timestamp>) {
    let mut seen = seen.clone();
    seen["records"].take();
    let (mut text, mut latest) = (seen.to_string(), None);
    for turn in 0..100 {
        let time = Timestamp::from_second(START + turn * TURN).unwrap();
        // The name of a record ends in seconds.
        for form in [time.to_string(), time.as_second().to_string()] {
            if text.contains(&form) {
                text = text.replace(&form, "T");
                latest = Some(time);
            }
        }
    }
    (serde_json::from_str(&text).unwrap(), latest)
}

/// Where two trees differ, and how.
fn differences(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                differences(&format!("{path}/{key}"), &of(one), &of(other), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (number, (one, other)) in one.iter().zip(other).enumerate() {
                differences(&format!("{path}/{number}"), one, other, found);
            }
        }
        (one, other) if one != other => found.push(format!("{path}: {one} became {other}")),
        _ => {}
    }
}

/// Tells each story once undisturbed and once with each of the faults that are chosen by fate and call.
async fn changes_nothing(stories: &[Story], is_chosen: impl Fn(Fate, &str) -> bool) {
    let Some(server) = server().await else { return };
    let mut wrong = Vec::new();
    for story in stories {
        let undisturbed = tell(&server, story, None).await;
        assert!(
            undisturbed.failures.is_empty(),
            "{}: {:?}",
            story.name,
            undisturbed.failures
        );
        let history = undisturbed
            .seen
            .pointer("/release/status/history")
            .cloned()
            .unwrap_or_default();
        let ends: Vec<&str> = history
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|past| past["outcome"]["reason"].as_str())
            .collect();
        assert_eq!(ends, story.ends, "{}: {:#}", story.name, undisturbed.seen);

        let calls = &undisturbed.calls;
        let faults =
            (1..=calls.len()).flat_map(|at| [Fate::Kill, Fate::Break, Fate::Lie].map(|fate| (at, fate)));
        let chosen: Vec<_> = faults
            .filter(|(at, fate)| is_chosen(*fate, &calls[at - 1]))
            .collect();
        let (runs, mut later) = (chosen.len(), 0);
        let mut told = stream::iter(chosen)
            .map(|fault| {
                let server = &server;
                async move { (fault, tell(server, story, Some(fault)).await) }
            })
            .buffer_unordered(CONCURRENCY);
        while let Some(((at, fate), ended)) = told.next().await {
            if ended.seen == undisturbed.seen {
                continue;
            }
            // A gateway that was asked before the fault is waited for once more: slower, and never otherwise.
            let ((expected, on_time), (came, latest)) = (timeless(&undisturbed.seen), timeless(&ended.seen));
            if came == expected && latest > on_time {
                later += 1;
                continue;
            }
            let mut found = Vec::new();
            differences("", &undisturbed.seen, &ended.seen, &mut found);
            wrong.push(format!(
                "{} with {fate:?} at call {at}, {}: {found:#?}",
                story.name,
                calls[at - 1]
            ));
        }
        eprintln!(
            "{}: {} calls, {runs} runs with a fault each: {later} later, the others equal to the byte",
            story.name,
            calls.len()
        );
    }
    assert!(
        wrong.is_empty(),
        "{} runs ended otherwise:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Whether a call only looks.
fn is_read(call: &str) -> bool {
    call.starts_with("GET") || call.starts_with("QUERY")
}

/// Between two effects nothing changes but what the operator has in mind: this is every death that can be told apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_before_any_effect_changes_nothing() {
    let stories = &STORIES[..EVERY_KIND];
    changes_nothing(stories, |fate, call| fate == Fate::Kill && !is_read(call)).await;
}

/// Every call of each story, reads too: many minutes, so `cargo xtask bench faults` runs them and CI does not.
macro_rules! faults_at_any_call {
    ($($name:ident),*) => {
        mod a_fault_at_any_call_changes_nothing {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::at_any_call(stringify!($name)).await;
                }
            )*
        }

        #[test]
        fn every_story_is_told_with_faults() {
            let told = [$(stringify!($name)),*];
            assert!(STORIES.iter().map(|story| story.name).eq(told));
        }
    };
}

faults_at_any_call!(
    ingress, promoted, failing, deleted, configured, broken, aborted, pods, superseded
);

async fn at_any_call(name: &str) {
    let place = STORIES.iter().position(|story| story.name == name).unwrap();
    // A Prometheus that is away for one look is another story, for then a block is judged later; and nothing is learnt
    // from the lost answer to a read that a lost read does not show.
    changes_nothing(&STORIES[place..=place], |fate, call| match fate {
        Fate::Kill => true,
        Fate::Break => !call.starts_with("QUERY"),
        Fate::Lie => !is_read(call),
    })
    .await;
}

#[tokio::test]
async fn a_look_at_an_object_that_is_outdated_makes_no_call_and_reads_it_when_the_watch_does_not_come_up() {
    const COME_UP: Duration = Duration::from_secs(30);
    let Some(server) = server().await else { return };
    let mut world = World::undisturbed(&server, "outdated", GATEWAY).await;
    world.does(Deed::Want("healthy-1")).await;
    for _ in 0..4 {
        world.turn().await;
    }
    world.does(Deed::Want("healthy-2")).await;
    for _ in 0..3 {
        world.turn().await;
    }
    let soaking = world.shown().await;
    world.does(Deed::Abort).await;
    world.turn().await;
    let (calls, seen) = (world.calls.names().len(), world.seen().await);
    world.look_at(&soaking).await;
    assert_eq!(
        world.calls.names().len(),
        calls,
        "{:?}",
        world.calls.names().split_off(calls)
    );
    assert_eq!(world.seen().await, seen, "the canary gets no traffic back");

    let waited = Instant::now();
    while world.calls.names().len() == calls {
        assert!(waited.elapsed() < COME_UP, "nothing is read");
        sleep(Duration::from_millis(100)).await;
        world.look_at(&soaking).await;
    }
    let mut made = world.calls.names().split_off(calls);
    made.retain(|call| !is_read(call));
    assert!(
        !made.iter().any(|call| call.contains("httproutes")),
        "the canary gets no traffic back: {made:?}"
    );
}
