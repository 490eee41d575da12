//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use serin_core::period::Period;

/// Looks at releases of model versions, and steps in.
#[derive(Clone, Debug, Parser)]
#[command(name = "kubectl serin", bin_name = "kubectl serin", version)]
pub struct Args {
    /// Namespace of the release; that of the kubeconfig's context where absent.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig; the current one where absent.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Show one release with its arms, conditions and history, or all of a namespace in a table.
    Status {
        /// Name of the release; all where absent.
        release: Option<String>,
        /// How to show it.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Freeze a release: no step, no clock, the weights stay.
    Pause {
        /// Name of the release.
        release: String,
    },
    /// Let a paused release go on.
    Resume {
        /// Name of the release.
        release: String,
    },
    /// Withdraw the canary under way: its traffic goes back to the stable version.
    Abort {
        /// Name of the release.
        release: String,
    },
    /// Say yes to a canary where `rollout.approval` is `Manual`, be it before it has passed.
    Approve {
        /// Name of the release.
        release: String,
    },
    /// Promote the canary without waiting for more evidence.
    Promote {
        /// Name of the release.
        release: String,
    },
    /// Take the step under way as passed.
    Skip {
        /// Name of the release.
        release: String,
    },
    /// Try the version once more that was rolled back last, unchanged.
    Retry {
        /// Name of the release.
        release: String,
    },
    /// Return to the version that was stable before: its pods are started, and get the traffic when they are ready.
    Undo {
        /// Name of the release.
        release: String,
    },
    /// Tell the last decision about a release: what was compared, what was seen, what it proves.
    Explain {
        /// Where the record comes from.
        #[command(flatten)]
        source: Source,
        /// Write the curve of the evidence to this file as an SVG.
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        /// How to show it.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Check a manifest without a cluster, and tell how long its canaries would be judged.
    Lint {
        /// The manifest, YAML or JSON; `-` is standard input.
        file: PathBuf,
        /// What traffic is expected.
        #[command(flatten)]
        expected: Expected,
    },
    /// Judge what was recorded by other settings: what would have happened?
    Simulate {
        /// Where the record comes from.
        #[command(flatten)]
        source: Source,
        /// Judge a table of counters instead, a line per block; see `docs/how-to/ask-what-would-have-happened.md`.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["release", "from"])]
        csv: Option<PathBuf>,
        /// Length of a block of such a table.
        #[arg(long, default_value = "1m", requires = "csv")]
        block: Period,
        /// What to change.
        #[command(flatten)]
        changes: Changes,
    },
}

/// What traffic is expected.
#[derive(Clone, Debug, clap::Args)]
pub struct Expected {
    /// Requests per second to both arms together.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub requests_per_second: Option<f64>,
    /// Share of them that fails, for example `0.5%`.
    #[arg(long, value_name = "PERCENT", default_value = "0.5%")]
    pub errors: String,
    /// Mean latency of the others.
    #[arg(long, value_name = "DURATION", default_value = "300ms", value_parser = mean)]
    pub mean: Period,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok();
    rate.filter(|rate| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| "write a number above 0, for example 20".into())
}

fn mean(text: &str) -> Result<Period, String> {
    let mean: Period = text.parse().map_err(|error| format!("{error}"))?;
    if mean.get().is_positive() {
        Ok(mean)
    } else {
        Err("write a duration above 0, for example 300ms".into())
    }
}

/// Where a decision record comes from: the cluster, or a file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Source {
    /// Name of the release.
    #[arg(required_unless_present_any = ["from", "csv"])]
    pub release: Option<String>,
    /// Read the record from this file of JSON Lines; `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "release")]
    pub from: Option<PathBuf>,
    /// Namespace of the operator, which keeps the records.
    #[arg(long, default_value = "serin-system")]
    pub operator_namespace: String,
}

/// Other settings; what is absent stays as it was.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Changes {
    /// How it is judged.
    #[arg(long, value_enum)]
    pub method: Option<Method>,
    /// `errors.notWorseThanStable`, for example `1%`.
    #[arg(long, value_name = "PERCENT")]
    pub errors_margin: Option<String>,
    /// `latency.notWorseThanStable`, for example `10%`.
    #[arg(long, value_name = "PERCENT")]
    pub latency_margin: Option<String>,
    /// `latency.meanBelow`, for example `500ms`.
    #[arg(long, value_name = "DURATION")]
    pub mean_below: Option<Period>,
    /// `latency.timeLimit`, for example `5s`.
    #[arg(long, value_name = "DURATION")]
    pub time_limit: Option<Period>,
    /// Soak of all steps together, for example `2h`.
    #[arg(long, value_name = "DURATION")]
    pub soak: Option<Period>,
    /// `minSoak`, for example `30m`.
    #[arg(long, value_name = "DURATION")]
    pub min_soak: Option<Period>,
    /// `minRequests`.
    #[arg(long, value_name = "COUNT")]
    pub min_requests: Option<u64>,
}

/// How a canary is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// By evidence that is valid at every look.
    Sequential,
    /// By the classic rule at the end of the soak.
    WholeSoak,
}

/// How to show something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// The objects, for machines.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_that_cannot_be_is_refused_with_a_remedy() {
        for (flag, value, words) in [
            ("--requests-per-second", "0", "write a number above 0"),
            ("--requests-per-second", "NaN", "write a number above 0"),
            ("--mean", "0s", "write a duration above 0"),
        ] {
            let flag = format!("{flag}={value}");
            let refused = Args::try_parse_from(["kubectl-serin", "lint", "release.yaml", &flag]).unwrap_err();
            assert!(refused.to_string().contains(words), "{refused}");
        }
    }
}
