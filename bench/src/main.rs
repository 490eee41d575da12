//! Benchmarks of serin, each with its rivals measured in the same run. Called by `cargo xtask bench NAME`.

mod chart;
mod judge;
mod machine;
mod operator;
mod page;
mod rivals;
mod scenarios;
mod summary;
mod traffic;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Benchmarks of serin.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// How often and how soon each method of judgement decides, over simulated soaks.
    Judge {
        /// Folder for the table and the raw figures.
        #[arg(long, default_value = "docs/benchmarks")]
        out: PathBuf,
        /// Healthy soaks of 12 hours; the other scenarios take a third of it.
        #[arg(long, default_value_t = 1000)]
        runs: u32,
        /// Seed of all random numbers.
        #[arg(long, default_value_t = 20_261_124)]
        seed: u64,
    },
    /// How soon many releases serve, and what the operator needs for them, idle and judging.
    Operator(operator::Settings),
    /// What many more of them need, how soon a new leader decides, and whether memory stays flat while they change.
    Churn(operator::churn::Settings),
}

fn main() -> Result<()> {
    // A second installation is no harm.
    drop(rustls::crypto::ring::default_provider().install_default());
    match Arguments::parse().bench {
        Bench::Judge { out, runs, seed } => judge::run(&out, runs, seed),
        Bench::Operator(settings) => operator::run(&settings),
        Bench::Churn(settings) => operator::churn::run(&settings),
    }
}
