//! The settings of the process. Nothing else reads the environment, except the credentials of a store.

use std::net::SocketAddr;
use std::path::PathBuf;

use serin_core::digest::Digest;
use serin_core::period::Period;

use crate::identity::Label;

/// Serves one recommendation model over HTTP.
#[derive(Debug, clap::Parser)]
#[command(name = "serin-inference", version, about)]
pub struct Args {
    /// Address and port for requests, probes and metrics alike.
    #[arg(long, env = "SERIN_LISTEN", default_value = "0.0.0.0:8082")]
    pub listen: SocketAddr,

    /// Address of the artifact's directory: file, http, https or s3.
    #[arg(long, env = "SERIN_MODEL_URI")]
    pub model_uri: String,

    /// Digest of the artifact's manifest.json, `sha256:<64 hex digits>`. Nothing else is served.
    #[arg(long, env = "SERIN_MODEL_DIGEST")]
    pub model_digest: Digest,

    /// Version of the model, as the release calls it.
    #[arg(long, env = "SERIN_MODEL_VERSION", default_value = "unknown")]
    pub model_version: Label,

    /// Revision of the release that this pod belongs to.
    #[arg(long, env = "SERIN_REVISION", default_value = "unknown")]
    pub revision: Label,

    /// The largest file of an artifact that is loaded, in MiB.
    #[arg(long, env = "SERIN_MAX_FILE_MIB", default_value_t = 512)]
    pub max_file_mib: u64,

    /// How long requests are still accepted after SIGTERM, while /readyz already fails and gateways turn away.
    #[arg(long, env = "SERIN_DRAIN", default_value = "5s")]
    pub drain: Period,

    /// Where the reason of a final failure goes, for `kubectl describe pod`.
    #[arg(long, env = "SERIN_TERMINATION_LOG", default_value = "/dev/termination-log")]
    pub termination_log: PathBuf,

    /// What is logged, for example `info` or `serin_inference=debug`.
    #[arg(long, env = "SERIN_LOG", default_value = "info")]
    pub log: String,

    /// How log lines look.
    #[arg(long, env = "SERIN_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn wrong_settings_are_refused_with_the_remedy() {
        let digest = format!("--model-digest={}", Digest::of(b""));
        for (wrong, message) in [
            ("--model-digest=abc", "write sha256: followed by 64"),
            ("--model-version=a b", "visible ASCII"),
            ("--drain=-5s", "no duration"),
            ("--listen=8082", "invalid socket address"),
        ] {
            let digest = Some(digest.as_str()).filter(|_| !wrong.starts_with("--model-digest"));
            let words = ["serin-inference", "--model-uri=file:///m", wrong]
                .into_iter()
                .chain(digest);
            let error = Args::try_parse_from(words).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
