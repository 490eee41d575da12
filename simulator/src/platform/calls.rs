//! The platform's own questions to the recommendation service, and how its log tells of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Tap, World};
use crate::line::{Body, Line, Precision, Recommendation};
use crate::load::driver::{Caller, Target};
use crate::load::schedule::{Arrivals, Ramp, Schedule};
use crate::load::verdict::{Outcome, SilenceKind};
use crate::random::Random;
use crate::stop::Stop;

/// Whom is asked, how often, for whom.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The service.
    pub target: Target,
    /// Mean rate of a Poisson process, in real time.
    pub per_second: f64,
    /// For whom, drawn uniformly.
    pub users: RangeInclusive<u64>,
    /// How long an answer may take.
    pub patience: Duration,
    /// Digits of the line's seconds.
    pub precision: Precision,
    /// Seed of users and gaps.
    pub seed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Counts of answers.
#[derive(Debug, Clone)]
pub struct Metrics(Family<OutcomeLabel, Counter>);

impl Metrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let family = Family::default();
        registry.register(
            "platform_recommendations",
            "Recommendations asked for, by outcome",
            Family::clone(&family),
        );
        Self(family)
    }
}

/// Asks by a schedule fixed beforehand until asked to stop, writes a line for each answer, and tells the viewers.
pub async fn ask(plan: Plan, metrics: Metrics, world: World, tap: Tap, stop: Stop) {
    let caller = Caller::new(plan.patience);
    let start = Instant::now();
    let mut users = Random::new(plan.seed, "callers");
    let mut in_flight = JoinSet::new();
    for offset in Schedule::new(Ramp::steady(plan.per_second), Arrivals::Poisson, plan.seed) {
        let Some(due) = start.checked_add(offset) else {
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
        let host = plan.target.authority();
        let (caller, metrics, world, tap) = (caller.clone(), metrics.clone(), world.clone(), tap.clone());
        let (patience, precision) = (plan.patience, plan.precision);
        in_flight.spawn(async move {
            let (asked, sent) = (world.elapsed(), Instant::now());
            let (outcome, body) = caller.ask(uri).await;
            let elapsed_ms = u64::try_from(sent.elapsed().as_millis()).unwrap_or(u64::MAX);
            let result = tell(&outcome, &body, &host, patience);
            let label = OutcomeLabel {
                outcome: if result.is_ok() { "ok" } else { "failed" },
            };
            metrics.0.get_or_create(&label).inc();
            let answered = world.elapsed();
            let at = world.with(|viewers| {
                if let Ok(list) = &result {
                    viewers.recommend(user, list, answered);
                }
                viewers.time(asked)
            });
            let call = Recommendation {
                host,
                result,
                elapsed_ms,
                precision,
            };
            tap.write(&Line {
                at,
                user,
                body: Body::Recommendation(Box::new(call)),
            });
        });
        while in_flight.try_join_next().is_some() {}
    }
    while in_flight.join_next().await.is_some() {}
}

/// The list, or the text that the platform's log shows in its place. `authority` is `host:port`.
fn tell(outcome: &Outcome, body: &[u8], authority: &str, patience: Duration) -> Result<Vec<String>, String> {
    // The log names host and address; here one stands for both.
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let place = format!("{host}/{authority}");
    match outcome {
        Outcome::Ok(_) => Ok(String::from_utf8_lossy(body)
            .split(',')
            .map(str::to_owned)
            .collect()),
        Outcome::Failed(answer, flaw) => Err(format!(
            "java.lang.IllegalStateException: status {} with {} from {place}",
            answer.status,
            flaw.name()
        )),
        Outcome::Spoiled(answer) | Outcome::LostToStatus(answer) => Err(format!(
            "java.lang.IllegalStateException: status {} from {place}",
            answer.status
        )),
        Outcome::LostWithoutAnswer(silence) => Err(match silence.kind {
            SilenceKind::Timeout => {
                let ms = patience.as_millis();
                format!("java.util.concurrent.TimeoutException: Request timeout to {place} after {ms} ms")
            }
            SilenceKind::Connect => format!("Connection refused: {place}"),
            SilenceKind::Reset | SilenceKind::Truncated => {
                format!("java.io.IOException: Connection reset: {place}")
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::verdict::{Answer, Flaw, Silence};

    #[test]
    fn answers_and_failures_read_as_in_the_platforms_log() {
        let tell = |outcome: &Outcome| {
            tell(
                outcome,
                b"alien+1979,heat+1995",
                "team:8082",
                Duration::from_millis(800),
            )
        };
        let silent = |kind| {
            Outcome::LostWithoutAnswer(Silence {
                kind,
                detail: String::new(),
            })
        };
        let answer = Answer {
            status: 503,
            ..Answer::default()
        };
        let list = Ok(vec!["alien+1979".to_owned(), "heat+1995".to_owned()]);
        assert_eq!(tell(&Outcome::Ok(Answer::default())), list);
        for (outcome, text) in [
            (
                silent(SilenceKind::Timeout),
                "java.util.concurrent.TimeoutException: Request timeout to team/team:8082 after 800 ms",
            ),
            (silent(SilenceKind::Connect), "Connection refused: team/team:8082"),
            (
                silent(SilenceKind::Reset),
                "java.io.IOException: Connection reset: team/team:8082",
            ),
            (
                Outcome::LostToStatus(answer.clone()),
                "java.lang.IllegalStateException: status 503 from team/team:8082",
            ),
            (
                Outcome::Failed(answer, Flaw::JsonBody),
                "java.lang.IllegalStateException: status 503 with json_body from team/team:8082",
            ),
        ] {
            assert_eq!(tell(&outcome), Err(text.to_owned()));
        }
    }
}
