//! Settings of the process. Nothing else reads the environment; releases are configured by their objects.

use std::net::SocketAddr;
use std::time::Duration;

/// Watches `ModelReleases` and carries them out.
#[derive(Debug, Clone, clap::Parser)]
#[command(version, about)]
pub struct Args {
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    #[arg(long, env = "SERIN_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Namespace to watch; all where absent.
    #[arg(long, env = "SERIN_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,
    /// Namespace of the Lease by which replicas elect a leader.
    #[arg(long, env = "SERIN_NAMESPACE", default_value = "serin-system")]
    pub namespace: String,
    /// Name of this replica in the Lease.
    #[arg(long, env = "SERIN_IDENTITY", default_value = "serin-operator")]
    pub identity: String,
    /// How long a leader that has gone silent is waited for, in seconds.
    #[arg(long, env = "SERIN_LEASE_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(4..))]
    pub lease_seconds: u32,
    /// Directory of an object store for the records of decisions, for example `s3://bucket/records/` or
    /// `file:///records/`; none are kept where absent. Credentials of S3 come from the usual variables.
    #[arg(long, env = "SERIN_RECORDS")]
    pub records: Option<String>,
    /// Whether Secrets may be read, watched and copied. Where not, a release whose pods read Secrets waits until they are
    /// listed as unversioned.
    #[arg(long, env = "SERIN_READ_SECRETS", action = clap::ArgAction::Set, default_value_t = true)]
    pub read_secrets: bool,
    /// Form of the log.
    #[arg(long, env = "SERIN_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged, for example `info` or `serin_operator=debug`.
    #[arg(long, env = "SERIN_LOG", default_value = "info")]
    pub log: String,
}

impl Args {
    /// Duration of the Lease.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(u64::from(self.lease_seconds))
    }
}

/// Form of the log.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}
