//! `proxy`: stands in a release's pod in front of the server and makes it slow or faulty.
//!
//! The server itself has no fault switches, so what is released is what is tested. Answers that the proxy spoils say so
//! in the header `serin-fault`; a delayed answer is a good answer and only carries `serin-delay-ms`.

pub mod faults;
pub mod forward;
pub mod metrics;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use clap::Args;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use url::Url;

use crate::distribution::Delay;
use crate::duration::{parse_duration, parse_share};
use crate::error::Result;
use crate::random::Random;
use crate::serve::{Clock, Ready, bind, serve};
use crate::stop::Stop;
use faults::Faults;
use forward::{Identity, Proxy};
use metrics::Metrics;
use parking_lot::Mutex;

/// Settings of `proxy`.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Address to serve on
    #[arg(long, default_value = "0.0.0.0:8082")]
    pub listen: SocketAddr,
    /// The server behind
    #[arg(long, default_value = "http://127.0.0.1:8083")]
    pub upstream: Url,
    /// Delay before an answer: constant:650ms, normal:650ms:20ms, exp:200ms or lognormal:200ms:0.5
    #[arg(long)]
    pub delay: Option<Delay>,
    /// Share of requests that are delayed
    #[arg(long, default_value = "1.0", value_parser = parse_share)]
    pub delay_share: f64,
    /// Share of requests answered with an injected error
    #[arg(long, default_value = "0", value_parser = parse_share)]
    pub error_rate: f64,
    /// Status of injected errors
    #[arg(long, default_value = "503", value_parser = parse_error_status)]
    pub error_status: StatusCode,
    /// Share of requests left hanging
    #[arg(long, default_value = "0", value_parser = parse_share)]
    pub hang_rate: f64,
    /// How long a hanging request hangs before it gets an injected error
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub hang: Duration,
    /// Requests that are left alone before the first fault
    #[arg(long, default_value_t = 0)]
    pub faults_after: u64,
    /// Requests among which faults happen from then on; those after are left alone again
    #[arg(long, default_value_t = u64::MAX)]
    pub faults_among: u64,
    /// Seed of all chance
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// After SIGTERM, how long requests are still taken while /readyz already fails
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    pub drain: Duration,
    /// After that, how long requests in flight may take to finish
    #[arg(long, default_value = "20s", value_parser = parse_duration)]
    pub finish: Duration,
    /// Digest of the model behind
    #[arg(long, env = "SERIN_MODEL_DIGEST", default_value = "")]
    pub model_digest: String,
    /// Version of the model behind
    #[arg(long, env = "SERIN_MODEL_VERSION", default_value = "")]
    pub model_version: String,
    /// Revision of the release
    #[arg(long, env = "SERIN_REVISION", default_value = "")]
    pub revision: String,
}

/// Reads the status of injected errors.
fn parse_error_status(text: &str) -> Result<StatusCode, String> {
    let wrong = || format!("\"{text}\" is not an error status: write 400 to 599");
    let status: StatusCode = text.parse().map_err(|_| wrong())?;
    if status.is_client_error() || status.is_server_error() {
        Ok(status)
    } else {
        Err(wrong())
    }
}

/// Serves until asked to stop, then drains.
///
/// # Errors
/// `Listen` and `Url` at the start; `Serve` when the listener breaks.
pub fn run(settings: &Settings, clock: Clock, stop: Stop) -> BoxFuture<'_, Result<()>> {
    Box::pin(async move { serve_on(bind(settings.listen).await?, settings, clock, stop).await })
}

/// The same on a port already taken.
///
/// # Errors
/// `Url` at the start; `Serve` when the listener breaks.
pub async fn serve_on(listener: TcpListener, settings: &Settings, clock: Clock, stop: Stop) -> Result<()> {
    let identity = Identity {
        digest: settings.model_digest.clone(),
        version: settings.model_version.clone(),
        revision: settings.revision.clone(),
    };
    let ready = Ready::default();
    ready.set(true);
    let proxy = Proxy {
        upstream: forward::Upstream::new(&settings.upstream)?,
        faults: Faults {
            delay: settings.delay,
            delay_share: settings.delay_share,
            error_share: settings.error_rate,
            hang_share: settings.hang_rate,
            among: settings.faults_after..settings.faults_after.saturating_add(settings.faults_among),
        },
        chance: Arc::new(Mutex::new((0, Random::new(settings.seed, "faults")))),
        error_status: settings.error_status,
        hang: settings.hang,
        metrics: Metrics::new(&identity, clock()),
        identity,
        ready: ready.clone(),
    };

    // Two steps: first nobody should send us anything new, then we take nothing new.
    let closed = Stop::default();
    let server = tokio::spawn(serve(listener, forward::router(proxy), closed.clone()));
    stop.wished().await;
    ready.set(false);
    tracing::info!(seconds = settings.drain.as_secs_f64(), "draining");
    sleep(settings.drain).await;
    closed.wish();
    match timeout(settings.finish, server).await {
        Ok(Ok(end)) => end,
        Ok(Err(panic)) => {
            tracing::error!(%panic, "the server ended badly");
            Ok(())
        }
        Err(_) => {
            tracing::warn!(
                seconds = settings.finish.as_secs_f64(),
                "requests still in flight are cut"
            );
            Ok(())
        }
    }
}
