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
use serin_core::crd::{Metric, Quality};
use serin_core::judge::Figure;
use serin_core::plan::MetricsSeen;
use serin_core::revision::Revision;
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

/// What to ask.
pub(crate) struct Question<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) release: &'a str,
    pub(crate) canary: &'a Revision,
    pub(crate) stable: Option<&'a Revision>,
    /// Samples up to here are counted already.
    pub(crate) mark: Timestamp,
    /// How much is wanted of the time before the mark.
    pub(crate) before: SignedDuration,
    /// Counters of outcomes, where these are judged.
    pub(crate) quality: Option<&'a Quality>,
    /// Queries of the team's own.
    pub(crate) metrics: &'a [Metric],
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
    let answered = in_time(asked).await;
    turn.take_again().await;
    let (of_pods, of_gateway, figures) = match answered {
        Ok((Ok(of_pods), of_gateway, figures)) => (of_pods, of_gateway.ok(), figures),
        Ok((Err(why), ..)) | Err(why) => return unavailable(why),
    };
    let bodies = join(body(of_pods), OptionFuture::from(of_gateway.map(body)));
    let (of_pods, of_gateway) = match in_time(bodies).await {
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

async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, String> {
    let answered = tokio::time::timeout(TIMEOUT, answer).await;
    answered.map_err(|_| format!("no answer within {} s", TIMEOUT.as_secs()))
}

/// Sends an instant query; the answer has begun when this ends. Errors: in words.
async fn query(http: &reqwest::Client, url: &str, query: String) -> Result<Response, String> {
    let address = format!("{}/api/v1/query", url.trim_end_matches('/'));
    let address = Url::parse_with_params(&address, [("query", query)]);
    let address = address.map_err(|error| format!("it is no address: {error}"))?;
    http.get(address).send().await.map_err(|error| chain(&error))
}

/// What the team's own queries answer now, in their order. A query that fails is a figure without a value.
async fn figures(http: &reqwest::Client, url: &str, question: &Question<'_>) -> Vec<Figure> {
    let value = async |metric: &Metric, revision: Option<&Revision>| -> Result<Option<f64>, String> {
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
        let is_relative = metric.not_above_stable_by.is_some() || metric.not_below_stable_by.is_some();
        let stable = question.stable.filter(|_| is_relative);
        match join(value(metric, Some(question.canary)), value(metric, stable)).await {
            (Ok(canary), Ok(stable)) => Figure {
                canary,
                stable,
                missing: None,
            },
            (Err(why), _) | (_, Err(why)) => Figure {
                missing: Some(why.chars().take(200).collect()),
                ..Figure::default()
            },
        }
    });
    join_all(figures).await
}

async fn body(answer: Response) -> Result<(StatusCode, Bytes), String> {
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| chain(&error))?;
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

/// The gateway's clusters of the release's route, by endpoint.
fn gateway(question: &Question<'_>, window: i64) -> String {
    format!(
        "{{__name__=~\"{ENDPOINT}_(success|error)\",envoy_cluster_name=~\"httproute/{}/{}/rule/.*\"}}[{window}s]",
        question.namespace, question.release
    )
}

/// `up` comes along: its samples are the times of the scrapes, which tell "no requests" from "no scrape".
fn pods(question: &Question<'_>, window: i64) -> String {
    let outcomes = question
        .quality
        .map_or_else(String::new, |quality| format!("|{}|{}", quality.bad, quality.all));
    let revisions: Vec<&str> = std::iter::once(question.canary)
        .chain(question.stable)
        .map(Revision::as_str)
        .collect();
    format!(
        "{{__name__=~\"up|{START}|{METRIC}(_(count|sum|bucket))?{outcomes}\",namespace=\"{}\",revision=~\"{}\"}}[{window}s]",
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
        let numbers = own.iter().filter_map(|vector| series(vector, question.quality));
        numbers
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

fn series(vector: &Vector<'_>, quality: Option<&Quality>) -> Option<Series> {
    let name = vector.label("__name__")?;
    let counter = match name.strip_prefix(METRIC) {
        _ if quality.is_some_and(|quality| quality.bad == name) => Counter::BadOutcomes,
        _ if quality.is_some_and(|quality| quality.all == name) => Counter::Outcomes,
        Some("_count") => Counter::Requests,
        Some("_sum") => Counter::LatencySum,
        Some("_bucket") => Counter::Bucket(Edge::new(vector.label("le")?.parse().ok()?)?),
        Some(_) => return None,
        None if name == START => Counter::Start,
        None => Counter::Scrape,
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
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::header::CONTENT_TYPE;
    use axum::routing::any;
    use tokio::sync::Semaphore;

    /// What the operator makes of a server that answers so.
    async fn seen(status: StatusCode, body: &'static str) -> MetricsSeen {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let kind = if body.starts_with('{') {
            "application/json"
        } else {
            "text/html"
        };
        let router =
            Router::new().fallback(any(move || async move { (status, [(CONTENT_TYPE, kind)], body) }));
        let server = tokio::spawn(axum::serve(listener, router).into_future());
        let (canary, stable) = (Revision::recorded("c"), Revision::recorded("s"));
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let question = Question {
            namespace: "demo",
            release: "recommender",
            canary: &canary,
            stable: Some(&stable),
            mark: now,
            before: SignedDuration::ZERO,
            quality: None,
            metrics: &[],
        };
        // The process's main installs it; a second installation is no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let turns = Semaphore::new(1);
        let mut turn = Turn::taken(&turns).await;
        let seen = ask(&reqwest::Client::new(), &url, &question, now, &mut turn).await;
        server.abort();
        seen
    }

    #[tokio::test]
    async fn whatever_is_no_clean_answer_is_unavailable_and_says_why() {
        let empty = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        let refused = r#"{"status":"error","errorType":"execution","error":"query timed out"}"#;
        for (status, body, why) in [
            (
                StatusCode::OK,
                "<html>login</html>",
                "none of Prometheus' HTTP API",
            ),
            (StatusCode::OK, "", "none of Prometheus' HTTP API"),
            (StatusCode::OK, "{", "none of Prometheus' HTTP API"),
            (StatusCode::OK, "{}", "HTTP 200"),
            (StatusCode::OK, empty, "no series of the canary's pods"),
            (StatusCode::OK, vector, "no matrix"),
            (StatusCode::UNPROCESSABLE_ENTITY, refused, "query timed out"),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "no healthy upstream",
                "HTTP 503 Service Unavailable",
            ),
            (StatusCode::UNAUTHORIZED, "who are you?", "401 Unauthorized"),
            (StatusCode::INTERNAL_SERVER_ERROR, "", "HTTP 500"),
        ] {
            match seen(status, body).await {
                MetricsSeen::Unavailable(words) => assert!(words.contains(why), "{status} {body}: {words}"),
                MetricsSeen::NotAsked | MetricsSeen::Seen { .. } => panic!("{status} {body} was believed"),
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let canary = Revision::recorded("c");
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let question = Question {
            namespace: "demo",
            release: "recommender",
            canary: &canary,
            stable: None,
            mark: now,
            before: SignedDuration::ZERO,
            quality: None,
            metrics: &[],
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let turns = Semaphore::new(1);
        let mut turn = Turn::taken(&turns).await;
        // Another look that needs the only turn gets it while the server is silent.
        let other = async { turns.acquire().await.map(drop) };
        let http = reqwest::Client::new();
        let asked = ask(&http, &url, &question, now, &mut turn);
        let (seen, other) = join(asked, tokio::time::timeout(TIMEOUT / 2, other)).await;
        assert!(other.is_ok(), "a silent server holds up another look");
        match seen {
            MetricsSeen::Unavailable(words) => {
                assert!(words.contains("no answer within 5 s"), "{words}");
            }
            MetricsSeen::NotAsked | MetricsSeen::Seen { .. } => panic!("silence was believed"),
        }
        drop(listener);
    }

    #[tokio::test]
    async fn samples_are_read_with_their_times_and_words_that_are_no_numbers() {
        let body = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"http_server_request_duration_seconds_bucket","le":"+Inf","pod":"p","revision":"c",
              "http_response_status_code":"200","http_route":"/r"},
             "values":[[1700000000.123,"7"],[1700000005.123,"NaN"],[1700000010.123,"+Inf"]]},
            {"metric":{"__name__":"up","pod":"p","revision":"c"},"values":[[1700000000.123,"1"]]}]}}"#;
        let MetricsSeen::Seen { canary, stable, .. } = seen(StatusCode::OK, body).await else {
            panic!("a clean answer is believed");
        };
        assert!(stable.is_empty());
        let infinite = Edge::new(f64::INFINITY).unwrap();
        assert_eq!(canary[0].counter, Counter::Bucket(infinite));
        assert_eq!((canary[0].status, canary[1].counter), (200, Counter::Scrape));
        assert_eq!(
            canary[0].labels,
            "http_response_status_code=200,http_route=/r,pod=p,revision=c"
        );
        let [first, nonsense, infinity] = &canary[0].samples[..] else {
            panic!("three samples");
        };
        assert_eq!(first.0.as_millisecond(), 1_700_000_000_123);
        assert!(
            nonsense.1.is_nan() && infinity.1.is_infinite(),
            "the counters drop them, not the reader"
        );
    }

    #[tokio::test]
    async fn a_native_histogram_says_what_the_classic_one_would() {
        // Half powers of 2, as at schema 1; the second sample has grown by one request of 400 ms.
        let body = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"http_server_request_duration_seconds","pod":"p","revision":"c",
              "http_response_status_code":"200"},
             "histograms":[
               [1700000000,{"count":"3","sum":"0.9","buckets":[[0,"0.1767766952966369","0.25","1"],[0,"0.25","0.35355339059327373","2"]]}],
               [1700000005,{"count":"4","sum":"1.3","buckets":[[0,"0.1767766952966369","0.25","1"],[0,"0.25","0.35355339059327373","2"],[0,"0.35355339059327373","0.5","1"]]}]]}]}}"#;
        let MetricsSeen::Seen { canary, .. } = seen(StatusCode::OK, body).await else {
            panic!("a clean answer is believed");
        };
        let values = |counter| -> Vec<f64> {
            let series = canary.iter().find(|series| series.counter == counter).unwrap();
            series.samples.iter().map(|(_, value)| *value).collect()
        };
        let bucket = |edge| Counter::Bucket(Edge::new(edge).unwrap());
        assert_eq!(values(Counter::Requests), [3.0, 4.0]);
        assert_eq!(values(Counter::LatencySum), [0.9, 1.3]);
        assert_eq!(values(bucket(0.125)), [0.0, 0.0]);
        assert_eq!(values(bucket(0.25)), [1.0, 1.0]);
        assert_eq!(values(bucket(0.5)), [3.0, 4.0]);
        assert_eq!(values(bucket(f64::INFINITY)), [3.0, 4.0]);

        let coarse = body
            .replace("0.35355339059327373", "0.5")
            .replace("0.1767766952966369", "0.125");
        let MetricsSeen::Seen { canary, .. } = seen(StatusCode::OK, coarse.leak()).await else {
            panic!("a coarse histogram is believed, too");
        };
        let has = |edge: f64| canary.iter().any(|series| series.counter == bucket(edge));
        assert!(
            has(0.25) && has(0.5) && !has((-1.5f64).exp2()),
            "an edge inside a bucket is left out"
        );
    }

    #[tokio::test]
    async fn who_exports_both_kinds_of_histogram_is_counted_once() {
        let body = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"http_server_request_duration_seconds","pod":"p","revision":"c"},
             "histograms":[[1700000000,{"count":"3","sum":"0.9"}]]},
            {"metric":{"__name__":"http_server_request_duration_seconds_count","pod":"p","revision":"c"},
             "values":[[1700000000,"3"]]}]}}"#;
        let MetricsSeen::Seen { canary, .. } = seen(StatusCode::OK, body).await else {
            panic!("a clean answer is believed");
        };
        let requests = canary.iter().filter(|series| series.counter == Counter::Requests);
        assert_eq!(requests.count(), 1);
    }
}
