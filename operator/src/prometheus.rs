//! Asks Prometheus for the raw samples of both arms: one instant query of a range selector per look.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::future::join;
use jiff::{SignedDuration, Timestamp};
use prometheus_http_query::Client;
use prometheus_http_query::response::{Data, RangeVector};
use serin_core::counters::{Counter, Edge, Series};
use serin_core::plan::MetricsSeen;
use serin_core::revision::Revision;

/// The contract's histogram.
const METRIC: &str = "http_server_request_duration_seconds";
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
    let window = window(question, now);
    let of_pods = client.query(pods(question, window)).get();
    let of_gateway = client.query(gateway(question, window)).get();
    // Both at once: one round trip.
    match tokio::time::timeout(TIMEOUT, join(of_pods, of_gateway)).await {
        Ok((Ok(answer), of_gateway)) => {
            // The second witness is heard where there is one; without it the pods are believed.
            let of_gateway = of_gateway
                .ok()
                .and_then(|answer| answer.data().clone().into_matrix().ok());
            read(answer.data(), &of_gateway.unwrap_or_default(), question)
        }
        Ok((Err(error), _)) => MetricsSeen::Unavailable(format!("{url}: {}", chain(&error))),
        Err(_) => MetricsSeen::Unavailable(format!("{url} did not answer within {} s", TIMEOUT.as_secs())),
    }
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
    let revisions: Vec<&str> = std::iter::once(question.canary)
        .chain(question.stable)
        .map(Revision::as_str)
        .collect();
    format!(
        "{{__name__=~\"up|{START}|{METRIC}_(count|sum|bucket)\",namespace=\"{}\",revision=~\"{}\"}}[{window}s]",
        question.namespace,
        revisions.join("|")
    )
}

fn read(data: &Data, of_gateway: &[RangeVector], question: &Question<'_>) -> MetricsSeen {
    let Data::Matrix(vectors) = data else {
        return MetricsSeen::Unavailable("the answer is no matrix of samples".into());
    };
    let of = |revision: &Revision| -> Vec<Series> {
        let own = vectors
            .iter()
            .filter(|v| v.metric().get("revision").is_some_and(|r| r == revision.as_str()));
        // An endpoint is told by the address at which its pod is scraped.
        let addresses: BTreeSet<&String> = own.clone().filter_map(|v| v.metric().get("instance")).collect();
        let behind_gateway = of_gateway.iter().filter(|vector| {
            let endpoint = vector.metric().get("envoy_endpoint_address");
            endpoint.is_some_and(|endpoint| addresses.contains(endpoint))
        });
        let behind_gateway = behind_gateway.filter_map(endpoint);
        own.filter_map(series).chain(behind_gateway).collect()
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

/// What the gateway says of one endpoint.
fn endpoint(vector: &RangeVector) -> Option<Series> {
    let metric = vector.metric();
    let counter = match metric.get("__name__")?.strip_prefix(ENDPOINT)? {
        "_success" => Counter::GatewaySuccesses,
        "_error" => Counter::GatewayFailures,
        _ => return None,
    };
    let place = |name: &str| metric.get(name).map_or("", String::as_str);
    Some(Series {
        pod: format!("{}/{}", place("instance"), place("envoy_endpoint_address")),
        labels: labels(metric),
        status: 0,
        counter,
        samples: samples(vector),
    })
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
    Some(Series {
        pod: metric.get("pod")?.clone(),
        labels: labels(metric),
        status,
        counter,
        samples: samples(vector),
    })
}

fn samples(vector: &RangeVector) -> Vec<(Timestamp, f64)> {
    let samples = vector.samples().iter();
    samples
        .filter_map(|sample| Some((time(sample.timestamp())?, sample.value())))
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::http::header::CONTENT_TYPE;
    use axum::routing::any;

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
        };
        // The process's main installs it; a second installation is no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let seen = ask(&reqwest::Client::new(), &url, &question, now).await;
        server.abort();
        seen
    }

    #[tokio::test]
    async fn whatever_is_no_clean_answer_is_unavailable_and_says_why() {
        let empty = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        let refused = r#"{"status":"error","errorType":"execution","error":"query timed out"}"#;
        for (status, body, why) in [
            (StatusCode::OK, "<html>login</html>", "http"),
            (StatusCode::OK, "", "http"),
            (StatusCode::OK, "{", "http"),
            (StatusCode::OK, empty, "no series of the canary's pods"),
            (StatusCode::OK, vector, "no matrix"),
            (StatusCode::UNPROCESSABLE_ENTITY, refused, "query timed out"),
            (StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream", "http"),
            (StatusCode::UNAUTHORIZED, "who are you?", "401 Unauthorized"),
            (StatusCode::INTERNAL_SERVER_ERROR, "", "http"),
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
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        match ask(&reqwest::Client::new(), &url, &question, now).await {
            MetricsSeen::Unavailable(words) => {
                assert!(words.contains("did not answer within 5 s"), "{words}");
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
        let MetricsSeen::Seen { canary, stable } = seen(StatusCode::OK, body).await else {
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
}
