//! Developer tasks: `cargo xtask --help`.

mod bench;
mod broker;
mod cache;
mod ci;
mod cluster;
mod dataset;
#[expect(
    clippy::indexing_slicing,
    reason = "a JSON value answers null where it has no such entry"
)]
mod demo;
#[expect(
    clippy::indexing_slicing,
    reason = "a JSON value answers null where it has no such entry"
)]
mod e2e;
mod http;
mod images;
mod kubectl;
mod mutants;
mod ports;
mod preflight;
mod progress;
mod run;
mod settings;
mod stack;
mod tools;
mod wait;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};

use images::Image;
use progress::Progress;
use settings::Settings;
use tools::{Tool, Tools};

/// Developer tasks of serin.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 110)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The whole story on a real cluster: train, release, improve, withdraw.
    Demo {
        #[command(subcommand)]
        verb: Option<DemoVerb>,
    },
    /// Every check that public CI runs.
    Ci,
    /// The story as a test, with crashes and outages; removes its cluster afterwards.
    E2e {
        /// Judge canaries of every kind instead of the crashes and outages, and write what was seen to
        /// docs/tutorial/recording.md and docs/benchmarks/judged.md.
        #[arg(long)]
        record: bool,
        /// Release behind Ingresses instead of the crashes and outages, with Traefik as their controller.
        #[arg(long, conflicts_with = "record")]
        ingress: bool,
    },
    /// A real Kubernetes on this machine.
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// Programs that no package carries, built from pinned sources.
    #[command(subcommand)]
    Tools(BuildVerb),
    /// Images of everything that runs in the cluster.
    #[command(subcommand)]
    Images(BuildVerb),
    /// Gateway, metrics store and broker.
    #[command(subcommand)]
    Stack(StackVerb),
    /// A benchmark, against rivals in the same run.
    Bench {
        /// Which one: operator, churn, judge, shifts or faults.
        name: String,
    },
    /// Change the code that decides in every way that cargo-mutants knows; a test has to fail for each. Writes
    /// docs/benchmarks/mutants.md.
    Mutants {
        /// Try only those that survived the last run: tests were added, and the code is the same.
        #[arg(long)]
        survivors: bool,
    },
}

#[derive(Subcommand)]
enum DemoVerb {
    /// Remove everything the demo started.
    Down,
}

#[derive(Subcommand)]
enum ClusterVerb {
    /// Start it, or find it running; prints the kubeconfig's path.
    Up,
    /// Remove every trace of it.
    Down,
    /// Say whether it is up, and where its kubeconfig is.
    Status {
        /// How to say it.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

#[derive(Subcommand)]
enum BuildVerb {
    /// Build what is missing in the cache.
    Build,
}

#[derive(Subcommand)]
enum StackVerb {
    /// Install it into the running cluster, or bring it up to date.
    Install,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let progress = Progress::new();
    match perform(arguments.task, &arguments.settings, &progress) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress.say(format!("{} {error:#}", console::style("error:").red().bold()));
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task, settings: &Settings, progress: &Progress) -> Result<()> {
    match task {
        Task::Demo { verb: None } => demo::run(settings, progress),
        Task::Demo {
            verb: Some(DemoVerb::Down),
        }
        | Task::Cluster(ClusterVerb::Down) => cluster::down(settings, progress),
        Task::E2e { record, ingress } => {
            let what = match (record, ingress) {
                (true, _) => e2e::What::Judged,
                (false, true) => e2e::What::Ingress,
                (false, false) => e2e::What::Scenes,
            };
            e2e::run(settings, progress, what)
        }
        Task::Ci => ci::run(settings, progress),
        Task::Cluster(ClusterVerb::Up) => {
            let cluster = cluster::up(settings, progress)?;
            print(&format!("{}\n", cluster.kubeconfig().display()))
        }
        Task::Cluster(ClusterVerb::Status { output }) => status(settings, output),
        Task::Tools(BuildVerb::Build) => {
            preflight::check(settings, progress, None)?;
            let tools = Tools::new(settings, progress);
            Tool::ALL
                .iter()
                .try_for_each(|tool| tools.directory(*tool).map(drop))
        }
        Task::Images(BuildVerb::Build) => build_images(settings, progress),
        Task::Stack(StackVerb::Install) => {
            let cluster = cluster::running(settings)?
                .context("no cluster runs: start one with `cargo xtask cluster up`")?;
            stack::install(settings, progress, &cluster)
        }
        Task::Bench { name } => bench::run(&name, settings, progress),
        Task::Mutants { survivors } => mutants::run(settings, progress, survivors),
    }
}

fn build_images(settings: &Settings, progress: &Progress) -> Result<()> {
    preflight::check(settings, progress, None)?;
    let images = images::Images::new(settings, progress);
    images.compile()?;
    for image in Image::STACK.iter().chain(&Image::OWN) {
        print(&format!("{}\n", images.build(*image)?.reference))?;
    }
    Ok(())
}

fn status(settings: &Settings, output: Output) -> Result<()> {
    let status = cluster::status(settings)?;
    match output {
        Output::Json => print(&format!("{}\n", serde_json::to_string_pretty(&status)?)),
        Output::Text => print(&status.to_string()),
    }
}

fn print(text: &str) -> Result<()> {
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .context("cannot write to standard output")
}
