//! Asks Prometheus for the raw samples of both arms: one instant query of a range selector per look.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prometheus_http_query::Client;
use prometheus_http_query::response::{Data, RangeVector};
use serin_core::counters::{Counter, Edge, Series};
use serin_core::plan::MetricsSeen;
use serin_core::revision::Revision;

/// The contract's histogram.
const METRIC: &str = "http_server_request_duration_seconds";
/// Tells a restarted process from one that went on.
const START: &str = "process_start_time_seconds";
/// How far behind the mark a baseline may lie: several scrapes of any usual interval.
const BASELINE: SignedDuration = SignedDuration::from_mins(2);
/// How far back a look reaches after a long absence.
const REACH: SignedDuration = SignedDuration::from_hours(1);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What to ask.
pub(crate) struct Question<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) canary: &'a Revision,
    pub(crate) stable: Option<&'a Revision>,
    /// Samples up to here are counted already.
    pub(crate) mark: Timestamp,
    /// How much is wanted of the time before the mark.
    pub(crate) before: SignedDuration,
}

/// Asks once. Whatever is no clean answer is `Unavailable` with the reason: never a pass, never a fail.
pub(crate) async fn ask(
    http: &reqwest::Client,
    url: &str,
    question: &Question<'_>,
    now: Timestamp,
) -> MetricsSeen {
    let client = match Client::from(http.clone(), url) {
        Ok(client) => client,
        Err(error) => return MetricsSeen::Unavailable(format!("{url} is no address: {error}")),
    };
    let asked = client.query(query(question, now)).get();
    match tokio::time::timeout(TIMEOUT, asked).await {
        Ok(Ok(answer)) => read(answer.data(), question),
        Ok(Err(error)) => MetricsSeen::Unavailable(format!("{url}: {}", chain(&error))),
        Err(_) => MetricsSeen::Unavailable(format!("{url} did not answer within {} s", TIMEOUT.as_secs())),
    }
}

/// `up` comes along: its samples are the times of the scrapes, which tell "no requests" from "no scrape".
fn query(question: &Question<'_>, now: Timestamp) -> String {
    let reach = now
        .duration_since(question.mark)
        .clamp(SignedDuration::ZERO, REACH)
        .saturating_add(question.before)
        .saturating_add(BASELINE);
    let revisions: Vec<&str> = std::iter::once(question.canary)
        .chain(question.stable)
        .map(Revision::as_str)
        .collect();
    format!(
        "{{__name__=~\"up|{START}|{METRIC}_(count|sum|bucket)\",namespace=\"{}\",revision=~\"{}\"}}[{}s]",
        question.namespace,
        revisions.join("|"),
        reach.as_secs()
    )
}

fn read(data: &Data, question: &Question<'_>) -> MetricsSeen {
    let Data::Matrix(vectors) = data else {
        return MetricsSeen::Unavailable("the answer is no matrix of samples".into());
    };
    let of = |revision: &Revision| -> Vec<Series> {
        vectors
            .iter()
            .filter(|v| v.metric().get("revision").is_some_and(|r| r == revision.as_str()))
            .filter_map(series)
            .collect()
    };
    let canary = of(question.canary);
    if canary.is_empty() {
        return MetricsSeen::Unavailable(
            "no series of the canary's pods: are they scraped, with the label revision?".into(),
        );
    }
    let stable = question.stable.map(of).unwrap_or_default();
    MetricsSeen::Seen { canary, stable }
}

fn series(vector: &RangeVector) -> Option<Series> {
    let metric = vector.metric();
    let name = metric.get("__name__")?;
    let counter = match name.strip_prefix(METRIC) {
        Some("_count") => Counter::Requests,
        Some("_sum") => Counter::LatencySum,
        Some("_bucket") => Counter::Bucket(Edge::new(metric.get("le")?.parse().ok()?)?),
        Some(_) => return None,
        None if name == START => Counter::Start,
        None => Counter::Scrape,
    };
    let status = metric
        .get("http_response_status_code")
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let samples = vector
        .samples()
        .iter()
        .filter_map(|s| Some((time(s.timestamp())?, s.value())))
        .collect();
    Some(Series {
        pod: metric.get("pod")?.clone(),
        labels: labels(metric),
        status,
        counter,
        samples,
    })
}

/// Prometheus writes seconds with milliseconds behind the point.
#[expect(
    clippy::cast_possible_truncation,
    reason = "milliseconds since 1970 stay far below 2^53"
)]
fn time(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok()
}

/// Everything that tells series of one pod apart, in one order; a bucket's edge is part of what it counts.
fn labels(metric: &HashMap<String, String>) -> String {
    let mut labels: Vec<String> = metric
        .iter()
        .filter(|(name, _)| !["__name__", "le"].contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    labels.sort_unstable();
    labels.join(",")
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text.chars().take(300).collect()
}
