//! Asks Prometheus for the raw samples of both arms: one instant query of a range selector per look.

mod answer;
mod native;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{OptionFuture, join, join_all, join3};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Response, StatusCode};
use serin_core::counters::{Counter, Edge, Series};
use serin_core::crd::{Quality, TESTER_LABEL};
use serin_core::judge::{Bound, Figure};
use serin_core::plan::MetricsSeen;
use serin_core::revision::Revision;
use serin_core::selector::Selector;
use url::Url;

use self::answer::Vector;
use crate::context::Turn;

/// The contract's histogram.
const METRIC: &str = "http_server_request_duration_seconds";
/// Its counter of observations, where it is a classic one.
const REQUESTS: &str = "http_server_request_duration_seconds_count";
/// What Envoy counts of each endpoint behind it, as Prometheus' exposition names it.
const ENDPOINT: &str = "envoy_cluster_endpoint_rq";
/// Tells a restarted process from one that went on.
const START: &str = "process_start_time_seconds";
/// How far behind the mark a baseline may lie: several scrapes of any usual interval.
const BASELINE: SignedDuration = SignedDuration::from_mins(2);
/// How far back a look reaches after a long absence.
const REACH: SignedDuration = SignedDuration::from_hours(1);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long that to a query of the team's own may take: a slow one must not keep the counts from being judged.
const FIGURE_TIMEOUT: Duration = Duration::from_secs(3);

/// What to ask.
pub(crate) struct Question<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) release: &'a str,
    /// Name of the route that carries its traffic.
    pub(crate) route: &'a str,
    /// Whether the operator owns it, so that its first rule is the one with the weights.
    pub(crate) is_own_route: bool,
    /// Whether some of its requests are those of testers.
    pub(crate) has_testers: bool,
    pub(crate) canary: &'a Revision,
    pub(crate) stable: Option<&'a Revision>,
    /// Samples up to here are counted already.
    pub(crate) mark: Timestamp,
    /// How much is wanted of the time before the mark.
    pub(crate) before: SignedDuration,
    /// Counters of outcomes, where these are judged.
    pub(crate) quality: Option<Outcomes>,
    /// Queries of the team's own.
    pub(crate) metrics: &'a [Bound],
}

/// Counters of outcomes.
pub(crate) struct Outcomes {
    bad: Selector,
    all: Selector,
}

impl Outcomes {
    /// Those of a checked spec.
    pub(crate) fn of(quality: &Quality) -> Option<Self> {
        Some(Self {
            bad: quality.bad.parse().ok()?,
            all: quality.all.parse().ok()?,
        })
    }
}

/// Asks once. Whatever is no clean answer is `Unavailable` with the reason: never a pass, never a fail.
///
/// The turn is given back while the server has nothing to say: what it answers is held in a turn.
pub(crate) async fn ask(
    http: &reqwest::Client,
    url: &str,
    question: &Question<'_>,
    now: Timestamp,
    turn: &mut Turn<'_>,
) -> MetricsSeen {
    let unavailable = |why: String| MetricsSeen::Unavailable(format!("{url}: {why}"));
    let window = window(question, now);
    // Both at once: one round trip.
    let asked = join3(
        query(http, url, pods(question, window)),
        query(http, url, gateway(question, window)),
        figures(http, url, question),
    );
    turn.give_back();
    let answered = within(TIMEOUT, asked).await;
    turn.take_again().await;
    let (of_pods, of_gateway, figures) = match answered {
        Ok((Ok(of_pods), of_gateway, figures)) => (of_pods, of_gateway.ok(), figures),
        Ok((Err(why), ..)) | Err(why) => return unavailable(why),
    };
    let bodies = join(body(of_pods), OptionFuture::from(of_gateway.map(body)));
    let (of_pods, of_gateway) = match within(TIMEOUT, bodies).await {
        Ok((Ok(of_pods), of_gateway)) => (of_pods, of_gateway.and_then(Result::ok)),
        Ok((Err(why), _)) | Err(why) => return unavailable(why),
    };
    // The second witness is heard where there is one; without it the pods are believed.
    let of_gateway = of_gateway.as_ref();
    let of_gateway = of_gateway.and_then(|(status, body)| answer::matrix(*status, body).ok());
    match answer::matrix(of_pods.0, &of_pods.1) {
        Ok(of_pods) => read(&of_pods, &of_gateway.unwrap_or_default(), question, figures),
        Err(why) => unavailable(why),
    }
}

async fn within<T>(limit: Duration, answer: impl Future<Output = T>) -> Result<T, String> {
    let answered = tokio::time::timeout(limit, answer).await;
    answered.map_err(|_| format!("no answer within {} s", limit.as_secs()))
}

/// Sends an instant query; the answer has begun when this ends. Errors: in words.
async fn query(http: &reqwest::Client, url: &str, query: String) -> Result<Response, String> {
    let address = format!("{}/api/v1/query", url.trim_end_matches('/'));
    // Thanos answers with what it has where a store is away, unless it is told not to. Others do not know the parameter.
    let whole = ("partial_response", "false");
    let address = Url::parse_with_params(&address, [("query", query.as_str()), whole]);
    let address = address.map_err(|error| format!("it is no address: {error}"))?;
    let sent = http.get(address).send().await;
    // The query changes with every look; a reason that does, too, would be written every time.
    sent.map_err(|error| chain(&error.without_url()))
}

/// What the team's own queries answer now, in their order. A query that fails is a figure without a value.
async fn figures(http: &reqwest::Client, url: &str, question: &Question<'_>) -> Vec<Figure> {
    let value = async |metric: &Bound, revision: Option<&Revision>| -> Result<Option<f64>, String> {
        let Some(revision) = revision else { return Ok(None) };
        let words = [
            ("$revision", revision.as_str()),
            ("$namespace", question.namespace),
            ("$release", question.release),
        ];
        let asked = words
            .into_iter()
            .fold(metric.query.clone(), |query, (word, meant)| {
                query.replace(word, meant)
            });
        let (status, body) = body(query(http, url, asked).await?).await?;
        answer::value(status, &body).map(Some)
    };
    let figures = question.metrics.iter().map(async |metric| {
        let stable = question.stable.filter(|_| metric.limit.is_relative());
        let values = join(value(metric, Some(question.canary)), value(metric, stable));
        match within(FIGURE_TIMEOUT, values).await {
            Ok((Ok(canary), Ok(stable))) => Figure {
                canary,
                stable,
                missing: None,
            },
            Ok((Err(why), _) | (_, Err(why))) | Err(why) => Figure {
                missing: Some(why.chars().take(200).collect()),
                ..Figure::default()
            },
        }
    });
    join_all(figures).await
}

async fn body(answer: Response) -> Result<(StatusCode, Bytes), String> {
    let status = answer.status();
    let body = answer.bytes().await;
    let body = body.map_err(|error| chain(&error.without_url()))?;
    Ok((status, body))
}

/// How far back to ask, in seconds.
fn window(question: &Question<'_>, now: Timestamp) -> i64 {
    now.duration_since(question.mark)
        .clamp(SignedDuration::ZERO, REACH)
        .saturating_add(question.before)
        .saturating_add(BASELINE)
        .as_secs()
}

/// The gateway's clusters of the rules that carry the weights, by endpoint: testers have a rule of their own.
fn gateway(question: &Question<'_>, window: i64) -> String {
    let rule = if question.is_own_route { "0(/.*)?" } else { ".*" };
    format!(
        "{{__name__=~\"{ENDPOINT}_(success|error)\",envoy_cluster_name=~\"httproute/{}/{}/rule/{rule}\"}}[{window}s]",
        question.namespace, question.route
    )
}

/// `up` comes along: its samples are the times of the scrapes, which tell "no requests" from "no scrape". What testers
/// ask for does not; where there are none, nobody hides by their mark.
fn pods(question: &Question<'_>, window: i64) -> String {
    let outcomes = question.quality.as_ref();
    let outcomes = outcomes.map_or_else(String::new, |quality| {
        format!("|{}|{}", quality.bad.name(), quality.all.name())
    });
    let revisions: Vec<&str> = std::iter::once(question.canary)
        .chain(question.stable)
        .map(Revision::as_str)
        .collect();
    let no_testers = if question.has_testers {
        format!(",{TESTER_LABEL}!=\"true\"")
    } else {
        String::new()
    };
    format!(
        "{{__name__=~\"up|{START}|{METRIC}(_(count|sum|bucket))?{outcomes}\",namespace=\"{}\",revision=~\"{}\"{no_testers}}}[{window}s]",
        question.namespace,
        revisions.join("|")
    )
}

fn read(
    of_pods: &[Vector<'_>],
    of_gateway: &[Vector<'_>],
    question: &Question<'_>,
    figures: Vec<Figure>,
) -> MetricsSeen {
    let of = |revision: &Revision| -> Vec<Series> {
        let is_own = |vector: &&Vector<'_>| vector.label("revision") == Some(revision.as_str());
        let own: Vec<&Vector<'_>> = of_pods.iter().filter(is_own).collect();
        // An endpoint is told by the address at which its pod is scraped.
        let addresses: BTreeSet<&str> = own.iter().filter_map(|vector| vector.label("instance")).collect();
        // Who exports both kinds of histogram counts everything twice.
        let classic: BTreeSet<&str> = own
            .iter()
            .filter(|vector| vector.label("__name__").is_some_and(|name| name == REQUESTS))
            .filter_map(|vector| vector.label("pod"))
            .collect();
        let behind_gateway = of_gateway.iter().filter(|vector| {
            let endpoint = vector.label("envoy_endpoint_address");
            endpoint.is_some_and(|endpoint| addresses.contains(endpoint))
        });
        let native = own.iter().filter(|vector| {
            let pod = vector.label("pod");
            !vector.histograms.is_empty() && pod.is_some_and(|pod| !classic.contains(pod))
        });
        let numbers = own.iter().filter_map(|vector| series(vector));
        let outcomes = question.quality.iter();
        let outcomes =
            outcomes.flat_map(|quality| own.iter().flat_map(|vector| of_outcomes(vector, quality)));
        numbers
            .chain(outcomes)
            .chain(native.flat_map(|vector| of_native(vector)))
            .chain(behind_gateway.filter_map(endpoint))
            .collect()
    };
    let canary = of(question.canary);
    if canary.is_empty() {
        return MetricsSeen::Unavailable(
            "no series of the canary's pods: are they scraped, with the label revision?".into(),
        );
    }
    let stable = question.stable.map(of).unwrap_or_default();
    MetricsSeen::Seen {
        canary,
        stable,
        figures,
    }
}

/// What the gateway says of one endpoint.
fn endpoint(vector: &Vector<'_>) -> Option<Series> {
    let counter = match vector.label("__name__")?.strip_prefix(ENDPOINT)? {
        "_success" => Counter::GatewaySuccesses,
        "_error" => Counter::GatewayFailures,
        _ => return None,
    };
    let place = |name| vector.label(name).unwrap_or_default();
    Some(Series {
        pod: format!("{}/{}", place("instance"), place("envoy_endpoint_address")),
        labels: vector.labels(),
        status: 0,
        counter,
        samples: samples(vector),
    })
}

/// What a series counts of outcomes: it may count bad ones, all, or both.
fn of_outcomes(vector: &Vector<'_>, quality: &Outcomes) -> Vec<Series> {
    let (Some(name), Some(pod)) = (vector.label("__name__"), vector.label("pod")) else {
        return Vec::new();
    };
    let counted = [
        (&quality.bad, Counter::BadOutcomes),
        (&quality.all, Counter::Outcomes),
    ];
    let selected = counted
        .into_iter()
        .filter(|(selector, _)| selector.selects(name, |key| vector.label(key)));
    let series = selected.map(|(_, counter)| Series {
        pod: pod.to_owned(),
        labels: vector.labels(),
        status: 0,
        counter,
        samples: samples(vector),
    });
    series.collect()
}

fn series(vector: &Vector<'_>) -> Option<Series> {
    let name = vector.label("__name__")?;
    let counter = match name.strip_prefix(METRIC) {
        Some("_count") => Counter::Requests,
        Some("_sum") => Counter::LatencySum,
        Some("_bucket") => Counter::Bucket(Edge::new(vector.label("le")?.parse().ok()?)?),
        Some(_) => return None,
        None if name == START => Counter::Start,
        None if name == "up" => Counter::Scrape,
        None => return None,
    };
    Some(Series {
        pod: vector.label("pod")?.to_owned(),
        labels: vector.labels(),
        status: status(vector),
        counter,
        samples: samples(vector),
    })
}

/// A native histogram, read as the classic one that says the same.
fn of_native(vector: &Vector<'_>) -> Vec<Series> {
    let Some(pod) = vector.label("pod") else {
        return Vec::new();
    };
    let counters = native::as_classic(&vector.histograms).into_iter();
    let series = counters.map(|(counter, samples)| Series {
        pod: pod.to_owned(),
        labels: vector.labels(),
        status: status(vector),
        counter,
        samples,
    });
    series.collect()
}

fn status(vector: &Vector<'_>) -> u16 {
    let code = vector.label("http_response_status_code");
    code.and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn samples(vector: &Vector<'_>) -> Vec<(Timestamp, f64)> {
    let samples = vector.values.iter();
    samples
        .filter_map(|sample| Some((sample.time()?, sample.1.0)))
        .collect()
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

#[cfg(test)]
mod tests;
