//! From the stream to the artifact, against a real broker.
//!
//! `SERIN_KAFKA` names it as host:port; the tests that need one are skipped, saying so, where it is absent.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use clap::Parser as _;
use indicatif::ProgressBar;
use jiff::civil::{Date, date};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serin_core::artifact::{MANIFEST_FILE, MODEL_FILE, Manifest, Model};
use serin_trainer::args::{Cli, Command, RunArgs};
use serin_trainer::random::Normals;
use serin_trainer::run::{Error, run};
use serin_trainer::summary::Summary;
use tempfile::TempDir;

const PARTITIONS: i32 = 3;
const TODAY: Date = date(2026, 11, 23);

#[expect(
    clippy::disallowed_methods,
    reason = "the broker is a setting of the test run"
)]
fn broker() -> Option<String> {
    let broker = std::env::var("SERIN_KAFKA").ok();
    if broker.is_none() {
        eprintln!("skipped: SERIN_KAFKA names no broker");
    }
    broker
}

/// A topic of its own and a directory for data and models.
struct World {
    brokers: String,
    topic: String,
    folder: TempDir,
    producer: FutureProducer,
}

impl World {
    async fn new(brokers: String) -> Self {
        let folder = TempDir::new().unwrap();
        let unique = folder
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .replace('.', "");
        let topic = format!("trainer-test-{unique}");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &brokers);
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
        for created in admin.create_topics([&new], &AdminOptions::new()).await.unwrap() {
            created.unwrap();
        }
        Self {
            brokers,
            topic,
            folder,
            producer: config.create().unwrap(),
        }
    }

    async fn produce(&self, lines: &[String]) {
        let sent = lines.iter().enumerate().map(|(at, line)| {
            let partition = i32::try_from(at).unwrap() % PARTITIONS;
            let record = FutureRecord::<(), _>::to(&self.topic)
                .partition(partition)
                .payload(line.as_str());
            self.producer.send(record, std::time::Duration::from_secs(30))
        });
        for delivered in futures::future::join_all(sent).await {
            delivered.unwrap();
        }
    }

    fn args(&self, more: &[&str]) -> RunArgs {
        let uri = |name: &str| format!("file://{}/{name}/", self.folder.path().display());
        let (data, models) = (uri("data"), uri("models"));
        let mut line = vec![
            "serin-trainer",
            "run",
            "--brokers",
            &self.brokers,
            "--topic",
            &self.topic,
        ];
        line.extend([
            "--data",
            &data,
            "--models",
            &models,
            "--time-limit",
            "60s",
            "--group",
            &self.topic,
        ]);
        line.extend(more);
        let Command::Run(args) = Cli::parse_from(line).command else {
            panic!("run is run")
        };
        *args
    }

    async fn run(&self, more: &[&str]) -> Result<Summary, Error> {
        run(&self.args(more), &[], TODAY, &ProgressBar::hidden()).await
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let Ok(folder) = std::fs::read_dir(self.folder.path().join(folder)) else {
            return Vec::new();
        };
        let mut names: Vec<_> = folder
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// Ratings of 200 users who like one of two kinds of film, and the film watched before each.
fn viewings(users: std::ops::Range<u32>) -> Vec<String> {
    let mut noise = Normals::new(u64::from(users.start));
    let mut lines = Vec::new();
    for user in users {
        for nth in 0..30_u32 {
            // Thirty films of a hundred, none twice: a film rated again would replace its rating.
            let film = (37 * user + 7 * nth) % 100;
            let liked = if (user + film).is_multiple_of(2) { 4.4 } else { 2.4 };
            let stars = (liked + 0.3 * noise.draw()).round().clamp(1.0, 5.0);
            let (minute, second) = (nth % 60, user % 60);
            let time = if second == 0 {
                format!("2022-11-14T12:{minute:02}")
            } else {
                format!("2022-11-14T12:{minute:02}:{second:02}")
            };
            lines.push(format!("{time},{},GET /data/m/film+{film}/{nth}.mpg", user + 1));
            lines.push(format!("{time},{},GET /rate/film+{film}={stars}", user + 1));
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_becomes_an_artifact_once() {
    let Some(broker) = broker() else { return };
    let world = World::new(broker).await;
    let good = viewings(0..200);
    world.produce(&good).await;
    let odd = [
        good[0].clone(),
        "2022-11-14T12:00:01,1,GET /rate/f ilm+1=5".to_owned(),
        "2022-11-14T12:00:01,1,GET /rate/film+1=15".to_owned(),
        "2022-11-14T12:00:01,1,GET /data/m/VWDbrYWReQKNsvs0K/1.mpg".to_owned(),
        String::new(),
    ];
    world.produce(&odd).await;

    let first = world.run(&["--batch-records", "1000"]).await.unwrap();
    assert_eq!(
        (first.outcome, first.exit_code(), first.behind),
        ("written", 0, 0),
        "{first}"
    );
    assert_eq!(first.stream.lines, good.len() as u64 + 5);
    assert_eq!(
        (
            first.stream.rejected,
            first.stream.repaired,
            first.stream.duplicates
        ),
        (3, 1, 1),
        "{first}"
    );
    assert!(
        first.evaluation.rmse < 0.75 && first.evaluation.skill > 0.2,
        "the two tastes are found: {first}"
    );
    assert_eq!(world.files("data/quarantine").len(), 3, "one of each partition");
    assert!(
        world.files("data/events").len() >= 12,
        "12,000 lines in files of 1,000"
    );

    let proposal = first.model.clone().unwrap();
    let id = proposal.digest.short();
    assert_eq!(proposal.version, format!("2026-11-23-{id}"));
    assert!(proposal.uri.ends_with(&format!("/models/{id}/")));
    let folder = world.folder.path().join("models").join(&id);
    let manifest = std::fs::read(folder.join(MANIFEST_FILE)).unwrap();
    let manifest = Manifest::parse(&manifest, &proposal.digest).unwrap();
    let model = std::fs::read(folder.join(MODEL_FILE)).unwrap();
    manifest.check_file(MODEL_FILE, &model).unwrap();
    let model = Model::from_safetensors(&model).unwrap();
    assert_eq!((model.users.len(), model.movies.len()), (200, 100));
    let read: i64 = manifest
        .data
        .offsets
        .values()
        .map(|(start, end)| end - start)
        .sum();
    assert_eq!(u64::try_from(read).unwrap(), first.stream.lines);

    let again = world.run(&[]).await.unwrap();
    assert_eq!(
        (again.stream.lines, again.model),
        (0, Some(proposal)),
        "nothing new, the same bytes"
    );

    world.produce(&viewings(200..210)).await;
    let more = world
        .run(&["--uri-prefix", "s3://models/recommender"])
        .await
        .unwrap();
    assert_eq!((more.stream.lines, more.users), (600, 210));
    assert!(more.model.unwrap().uri.starts_with("s3://models/recommender/"));
    assert_eq!(world.files("models").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_or_inconclusive_gate_publishes_nothing() {
    let Some(broker) = broker() else { return };
    let world = World::new(broker).await;
    world.produce(&viewings(0..100)).await;
    let failed = world
        .run(&["--max-rmse", "0.01", "--min-test-ratings", "10"])
        .await
        .unwrap();
    assert_eq!((failed.outcome, failed.exit_code()), ("failed", 3));
    assert!(failed.objection.unwrap().contains("is not below 0.01"));
    let inconclusive = world.run(&["--min-test-ratings", "1000000"]).await.unwrap();
    assert_eq!(
        (inconclusive.outcome, inconclusive.exit_code()),
        ("inconclusive", 4)
    );
    assert_eq!((failed.model, inconclusive.model), (None, None));
    assert_eq!(world.files("models"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_file_is_read_again_from_the_stream() {
    let Some(broker) = broker() else { return };
    let world = World::new(broker).await;
    world.produce(&viewings(0..100)).await;
    let first = world
        .run(&["--min-test-ratings", "10", "--batch-records", "500"])
        .await
        .unwrap();
    // A crash before the last write of a partition leaves its files without the newest one.
    let events = world.files("data/events");
    let newest = events.iter().rfind(|name| name.contains("-00001-")).unwrap();
    std::fs::remove_file(world.folder.path().join("data/events").join(newest)).unwrap();
    let second = world
        .run(&["--min-test-ratings", "10", "--batch-records", "500"])
        .await
        .unwrap();
    assert!(second.stream.lines > 0 && second.stream.lines <= 500, "{second}");
    assert_eq!(world.files("data/events"), events, "the same file again");
    assert_eq!(second.model, first.model, "and the same artifact");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_at_the_time_limit() {
    let Some(broker) = broker() else { return };
    let world = World::new(broker).await;
    let error = world
        .run(&["--topic", "no-such-topic", "--time-limit", "2s"])
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(
        chain(&error).contains("topic no-such-topic does not exist"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_never_answers_is_waited_for_and_named() {
    let folder = TempDir::new().unwrap();
    let uri = format!("file://{}/", folder.path().display());
    let line = [
        "serin-trainer",
        "run",
        "--brokers",
        "127.0.0.1:1",
        "--time-limit",
        "1s",
        "--data",
        &uri,
        "--models",
        &uri,
    ];
    let Command::Run(args) = Cli::parse_from(line).command else {
        panic!("run is run")
    };
    let error = run(&args, &[], TODAY, &ProgressBar::hidden()).await.unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(chain(&error).contains("\"127.0.0.1:1\""), "{}", chain(&error));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is stored"
    );
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
