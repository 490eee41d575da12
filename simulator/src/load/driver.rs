//! Sends requests by the schedule and counts what comes back.

use std::error::Error as StdError;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{HeaderMap, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use url::Url;

use super::schedule::Schedule;
use super::tally::Tally;
use super::verdict::{Answer, Outcome, Silence, SilenceKind, judge};
use crate::error::{Error, Result};
use crate::random::Random;
use crate::stop::Stop;

/// A longer body is cut off and counts as truncated: a list of 20 ids has at most 2 KiB.
const LONGEST_BODY: usize = 64 * 1024;
/// Connections kept for the next request; more than any sane rate needs at once.
const IDLE_CONNECTIONS: usize = 1024;
/// Shorter than the idle limits of servers and gateways, so that we close first and never write into a closing one.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// What is asked, of whom, and when.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where `/recommend/<user>` is.
    pub target: Target,
    /// When.
    pub schedule: Schedule,
    /// No request is due after this; `None` runs until stopped.
    pub duration: Option<Duration>,
    /// For whom, drawn uniformly.
    pub users: RangeInclusive<u64>,
    /// The caller's patience, from the moment of sending.
    pub patience: Duration,
    /// Seed of the users.
    pub seed: u64,
}

/// A service that recommends.
#[derive(Debug, Clone)]
pub struct Target {
    base: Url,
}

impl Target {
    /// The service at `url`, which may hold a path prefix.
    ///
    /// # Errors
    /// `Url`, unless it is a plain `http://host[:port][/path]`.
    pub fn new(url: &Url) -> Result<Self> {
        let wrong = |problem| Error::Url {
            url: url.to_string(),
            problem,
        };
        if url.scheme() != "http" {
            return Err(wrong("only http is spoken here"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("a query or fragment has no meaning"));
        }
        let mut base = url.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", url.path()));
        }
        Ok(Self { base })
    }

    /// Where recommendations for `user` are.
    pub fn recommend(&self, user: u64) -> Option<Uri> {
        format!("{}recommend/{user}", self.base).parse().ok()
    }

    /// Host and port, as the platform's log shows them.
    pub fn authority(&self) -> String {
        let port = self.base.port_or_known_default().unwrap_or(80);
        format!("{}:{port}", self.base.host_str().unwrap_or_default())
    }
}

/// The counts of a run, shared between driver, control and progress.
#[derive(Debug, Clone)]
pub struct Live {
    tally: Arc<Mutex<Tally>>,
    start: Instant,
}

impl Live {
    /// A run that starts now.
    pub fn start() -> Self {
        Self {
            tally: Arc::default(),
            start: Instant::now(),
        }
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Reads or changes the counts; keep it short, for the driver waits meanwhile.
    pub fn with<T>(&self, act: impl FnOnce(&mut Tally) -> T) -> T {
        // A panic elsewhere cannot leave counters half changed in a way that matters more than going on counting.
        act(&mut self.tally.lock())
    }
}

/// Runs `plan` until its duration is over or somebody wishes to stop, then waits for what is in flight.
///
/// Guarantees that every sent request is counted exactly once, whatever becomes of it.
pub async fn drive(plan: Plan, live: &Live, stop: &Stop) {
    let caller = Caller::new(plan.patience);
    let last = plan.duration.unwrap_or(Duration::MAX);
    let mut users = Random::new(plan.seed, "users");
    let mut in_flight = JoinSet::new();
    for offset in plan.schedule.take_while(|offset| *offset <= last) {
        let Some(due) = live.start.checked_add(offset) else {
            break;
        };
        tokio::select! {
            biased;
            () = stop.wished() => break,
            () = sleep_until(due) => {}
        }
        let user = users.between(*plan.users.start(), *plan.users.end());
        let Some(uri) = plan.target.recommend(user) else {
            break;
        };
        let ticket = live.with(|tally| tally.send(offset, user, due.elapsed()));
        let (caller, live) = (caller.clone(), live.clone());
        in_flight.spawn(async move {
            let (outcome, _) = caller.ask(uri).await;
            let latency = due.elapsed();
            live.with(|tally| tally.finish(ticket, &outcome, latency));
        });
        while in_flight.try_join_next().is_some() {}
    }
    while in_flight.join_next().await.is_some() {}
}

/// A client with a pool of connections that are kept alive.
#[derive(Debug, Clone)]
pub struct Caller {
    client: Client<HttpConnector, Empty<Bytes>>,
    patience: Duration,
}

impl Caller {
    /// A client that gives up after `patience`.
    pub fn new(patience: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { client, patience }
    }

    /// Asks once and judges the answer; the body is empty when no whole answer came.
    pub async fn ask(&self, uri: Uri) -> (Outcome, Bytes) {
        let silent = |silence| (Outcome::LostWithoutAnswer(silence), Bytes::new());
        match timeout(self.patience, self.exchange(uri)).await {
            Ok(Ok((answer, spoiled, body))) => (judge(answer, spoiled, &body), body),
            Ok(Err(silence)) => silent(silence),
            Err(_) => {
                let detail = format!("no answer within {} ms", self.patience.as_millis());
                silent(Silence {
                    kind: SilenceKind::Timeout,
                    detail,
                })
            }
        }
    }

    async fn exchange(&self, uri: Uri) -> Result<(Answer, bool, Bytes), Silence> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        let response = self.client.request(request).await.map_err(|error| {
            let kind = if error.is_connect() {
                SilenceKind::Connect
            } else {
                SilenceKind::Reset
            };
            Silence {
                kind,
                detail: chain(&error),
            }
        })?;
        let (head, body) = response.into_parts();
        let spoiled = head.headers.contains_key("serin-fault");
        let answer = Answer {
            status: head.status.as_u16(),
            digest: text(&head.headers, "serin-model-digest"),
            version: text(&head.headers, "serin-model-version"),
            revision: text(&head.headers, "serin-revision"),
        };
        match Limited::new(body, LONGEST_BODY).collect().await {
            Ok(body) => Ok((answer, spoiled, body.to_bytes())),
            Err(error) => Err(Silence {
                kind: SilenceKind::Truncated,
                detail: chain(error.as_ref()),
            }),
        }
    }
}

/// A header's value; whatever is no short text counts as absent.
fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.chars().take(128).collect()
}

/// An error and its causes in 200 characters.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_kept_and_other_schemes_are_refused() {
        let target = |url: &str| Target::new(&url.parse().unwrap());
        let uri = |url: &str| target(url).unwrap().recommend(7).unwrap().to_string();
        assert_eq!(uri("http://127.0.0.1:8082"), "http://127.0.0.1:8082/recommend/7");
        assert_eq!(uri("http://host/team/4"), "http://host/team/4/recommend/7");
        assert_eq!(target("http://host").unwrap().authority(), "host:80");
        assert!(
            target("https://host")
                .unwrap_err()
                .to_string()
                .contains("write for example")
        );
        assert!(target("http://host/?a=b").is_err());
    }
}
