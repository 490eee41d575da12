//! `platform`: the long-lived stand-in. Streams what viewers do, answers the user and movie APIs, and asks for
//! recommendations, on which its viewers act.

pub mod api;
pub mod calls;
pub mod records;
pub mod viewers;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use clap::Args;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, MissedTickBehavior, interval};
use url::Url;

use crate::duration::{parse_duration, parse_positive, parse_range};
use crate::error::Result;
use crate::kafka::{self, Stream};
use crate::line::{Line, Precision};
use crate::load::driver::Target;
use crate::noise::Injector;
use crate::population::Population;
use crate::serve::{Clock, Ready, bind, probes, registry, serve};
use crate::stop::Stop;
use viewers::{Behaviour, Viewers};

/// Recommendations that the whole platform asks for in a second.
const CALLS_PER_SECOND: f64 = 4.4;
/// How often viewers are looked at: lines are at most this late.
const LOOK: Duration = Duration::from_millis(100);

/// Settings of `platform`.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Address of the user and movie APIs, probes and metrics
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Where the lines go.
    #[command(flatten)]
    pub kafka: kafka::Settings,
    /// Size: 1 is the whole platform, 490 watch lines, 2.7 ratings and 4.4 recommendations a second
    #[arg(long, default_value = "0.1", value_parser = parse_positive)]
    pub scale: f64,
    /// Simulated seconds in a real one; event times run ahead of the clock when above 1
    #[arg(long, default_value = "1", value_parser = parse_positive)]
    pub speed: f64,
    /// Service to ask for recommendations; nobody asks when left out
    #[arg(long)]
    pub recommend_url: Option<Url>,
    /// Patience with that service
    #[arg(long, default_value = "800ms", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Mean simulated time from an answer to the viewing it leads to
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    pub acts_after: Duration,
    /// Users who watch and ask, both ends included
    #[arg(long, default_value = "1..1000000", value_parser = parse_range)]
    pub users: RangeInclusive<u64>,
    /// Directory of ml-100k.inter, ml-100k.user and ml-100k.item; a synthetic population when left out
    #[arg(long, env = "SERIN_ML_100K")]
    pub ml_100k: Option<PathBuf>,
    /// Requests a second that the APIs grant; twice that at once
    #[arg(long, default_value = "100", value_parser = parse_positive)]
    pub api_rate: f64,
    /// Multiple of the real rates of malformed, replaced and repeated lines; 0 for none
    #[arg(long, default_value_t = 1.0)]
    pub noise: f64,
    /// Digits of a recommendation line's seconds
    #[arg(long, value_enum, default_value = "milliseconds")]
    pub precision: Precision,
    /// Seed of all chance
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// The stream as the platform's parts write to it. A broker that is away loses lines and stops nobody.
#[derive(Clone)]
pub struct Tap {
    stream: Arc<Stream>,
    injector: Arc<Mutex<Injector>>,
    lines: Family<Kind, Counter>,
    dropped: Counter,
}

impl Tap {
    fn new(stream: Arc<Stream>, injector: Injector, registry: &mut Registry) -> Self {
        let (lines, dropped) = (Family::default(), Counter::<u64, AtomicU64>::default());
        registry.register(
            "platform_lines",
            "Lines written to the stream, by kind, repeats included",
            Family::clone(&lines),
        );
        registry.register(
            "platform_lines_dropped",
            "Lines lost because the broker takes no more",
            dropped.clone(),
        );
        Self {
            stream,
            injector: Arc::new(Mutex::new(injector)),
            lines,
            dropped,
        }
    }

    /// Writes a line, damaged or repeated as chance will have it.
    pub fn write(&self, line: &Line) {
        let (text, noise) = self.injector.lock().pass(line);
        let copies = if noise == Some(crate::noise::Noise::Duplicate) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            match self.stream.write(&text, line.record_timestamp_ms()) {
                Ok(()) => self.lines.get_or_create(&Kind { kind: line.kind() }).inc(),
                Err(kafka::Full) => self.dropped.inc(),
            };
        }
    }
}

/// The simulated world: its viewers, and how its time passes.
#[derive(Debug, Clone)]
pub struct World {
    viewers: Arc<Mutex<Viewers>>,
    start: Instant,
    speed: f64,
}

impl World {
    /// Simulated time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed().mul_f64(self.speed)
    }

    /// Looks at the viewers or tells them something; keep it short.
    pub fn with<T>(&self, act: impl FnOnce(&mut Viewers) -> T) -> T {
        act(&mut self.viewers.lock())
    }
}

/// Runs until asked to stop, then delivers what is written.
///
/// # Errors
/// Data files that cannot be read, a port that is taken, a wrong address; all at the start.
pub fn run(settings: &Settings, clock: Clock, stop: Stop) -> BoxFuture<'_, Result<()>> {
    Box::pin(async move {
        let target = settings.recommend_url.as_ref().map(Target::new).transpose()?;
        let listener = bind(settings.listen).await?;
        let (population, _) = Population::load(settings.ml_100k.as_deref(), settings.seed)?;
        if settings.ml_100k.is_none() {
            tracing::warn!("no --ml-100k directory: films and users are synthetic");
        }
        let population = Arc::new(population);
        let stream = Arc::new(Stream::new(&settings.kafka)?);
        let mut registry = registry(clock());
        let tap = Tap::new(
            stream.clone(),
            Injector::new(settings.noise, settings.seed),
            &mut registry,
        );
        let calls = target.map(|target| {
            let plan = calls::Plan {
                target,
                per_second: CALLS_PER_SECOND * settings.scale * settings.speed,
                users: settings.users.clone(),
                patience: settings.timeout,
                precision: settings.precision,
                seed: settings.seed,
            };
            (plan, calls::Metrics::new(&mut registry))
        });
        let ready = Ready::default();
        let router = api::router(population.clone(), settings.seed, settings.api_rate)
            .merge(probes(ready.clone(), Arc::new(registry)));
        let server = tokio::spawn(serve(listener, router, stop.clone()));

        if !wait_for_broker(&stream, &stop).await {
            return server.await.unwrap_or(Ok(()));
        }
        let behaviour = Behaviour {
            scale: settings.scale,
            users: settings.users.clone(),
            acts_after: settings.acts_after,
            seed: settings.seed,
        };
        let viewers = Arc::new(Mutex::new(Viewers::new(population, behaviour, clock())));
        let world = World {
            viewers,
            start: Instant::now(),
            speed: settings.speed,
        };
        ready.set(true);
        tracing::info!(
            scale = settings.scale,
            speed = settings.speed,
            "viewers are watching"
        );
        let calls = calls.map(|(plan, metrics)| {
            tokio::spawn(calls::ask(
                plan,
                metrics,
                world.clone(),
                tap.clone(),
                stop.clone(),
            ))
        });
        watch(&world, &tap, &stop).await;

        ready.set(false);
        if let Some(calls) = calls {
            // A panic there has been reported; what is written still goes out.
            let _ = calls.await;
        }
        let flushed = tokio::task::spawn_blocking(move || stream.finish(Duration::from_secs(10))).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "lines are left undelivered");
        }
        server.await.unwrap_or(Ok(()))
    })
}

/// Waits for the topic as long as it takes; false when asked to stop first.
async fn wait_for_broker(stream: &Arc<Stream>, stop: &Stop) -> bool {
    loop {
        let asking = stream.clone();
        let answer = tokio::task::spawn_blocking(move || asking.wait(Duration::from_secs(5))).await;
        match answer {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::warn!(%error, "waiting for Kafka"),
            Err(error) => tracing::error!(%error, "the question to Kafka broke"),
        }
        if stop.is_wished() {
            return false;
        }
    }
}

/// Writes what viewers do until asked to stop.
async fn watch(world: &World, tap: &Tap, stop: &Stop) {
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.wished() => return,
            _ = tick.tick() => {}
        }
        let elapsed = world.elapsed();
        let lines = world.with(|viewers| viewers.advance(elapsed));
        for line in &lines {
            tap.write(line);
        }
    }
}
