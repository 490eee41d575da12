//! The command line.

use clap::{Parser, Subcommand, ValueEnum};

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
}

/// How to show something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// The objects, for machines.
    Json,
}
