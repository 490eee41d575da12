//! Ten times as many releases, of which some never come to rest: what they need, how soon a new leader decides, and
//! whether memory stays flat.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, PostParams};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::page::{Contender, Part};
use super::process::Process;
use super::prometheus::Prometheus;
use super::serin::{self, FIRST, Releases, SECOND};
use super::{Bed, MINUTE, SETTLE};
use crate::machine::Machine;
use crate::summary::{Slope, mean};

/// Namespaces that the releases are spread over: Kubernetes is made for at most 5,000 Services in each.
const TEAMS: usize = 100;
/// Releases that change, one after the other and over and over.
const RESTLESS: usize = 100;
/// From one change to the next: a release gets a new version, and after 25 s is asked for its first one again.
const BEAT: Duration = Duration::from_millis(250);
/// Histories of the restless releases are full after it, ten trials of 50 s: until then each change keeps more.
const FILL: Duration = Duration::from_mins(10);
/// How often memory is read.
const SAMPLE: Duration = Duration::from_secs(5);
/// Means that the slope is drawn through: neighbours are far enough from each other to be taken for independent.
const MEANS: usize = 12;

/// What is measured, and for how long.
#[derive(Args)]
pub(crate) struct Settings {
    /// Folder for the table and the raw figures.
    #[arg(long, default_value = "docs/benchmarks")]
    out: PathBuf,
    /// Number of releases.
    #[arg(long, default_value_t = 10_000)]
    releases: usize,
    /// Minutes of changes over which memory is followed.
    #[arg(long, default_value_t = 60)]
    minutes: u32,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    machine: Machine,
    releases: usize,
    serin: Contender,
    start: Start,
    churn: Churn,
}

/// What a new leader needs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    /// From the start of the process to the first move of a release that was changed while nobody led.
    first_decision_seconds: f64,
    after: Part,
}

/// What changes without end do to memory.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Churn {
    restless: usize,
    minutes: u32,
    changes: u64,
    during: Part,
    /// Means of resident memory.
    mib: Vec<f64>,
    mib_per_hour: Slope,
}

/// Runs it, writes `churn.md` and `churn.json`.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let measured = super::runtime()?.block_on(measure(settings))?;
    let files = [
        ("churn.md", measured.markdown()?),
        ("churn.json", crate::page::json(&measured)?),
    ];
    crate::page::write(&settings.out, &files)
}

async fn measure(settings: &Settings) -> Result<Page> {
    let bed = Bed::start("serin", settings.releases).await?;
    let prometheus = Prometheus::start().await?;
    let teams = teams(&bed.server.client()).await?;
    let teams: Vec<_> = teams.iter().map(String::as_str).collect();
    let crowd = Releases::new(&bed.server.client(), &teams, settings.releases, prometheus.url());
    crowd.make_services().await?;
    bed.say("namespaces and Services are made");
    let kubeconfig = bed.server.kubeconfig()?;
    let operator = serin::start(&kubeconfig)?;
    let serin = bed.follow(&operator, crowd.create(), crowd.all_serve()).await?;

    // One in the middle: those before and after it come to their turn as they do.
    let changed = settings.releases / 2;
    operator.end()?;
    crowd.ask(changed, SECOND).await?;
    let began = Instant::now();
    let operator = serin::start(&kubeconfig)?;
    bed.within("the new leader has begun a trial", crowd.tries(changed, SECOND))
        .await?;
    let first_decision_seconds = began.elapsed().as_secs_f64();
    bed.say(&format!(
        "a new leader decided after {first_decision_seconds:.1} s"
    ));
    crowd.ask(changed, FIRST).await?;
    sleep(SETTLE).await;
    let start = Start {
        first_decision_seconds,
        after: bed.minute(&operator).await?,
    };
    bed.say("an idle minute after it is over");
    let churn = change_without_end(&bed, &crowd, &operator, settings).await?;
    Ok(Page {
        machine: Machine::here(),
        releases: settings.releases,
        serin,
        start,
        churn,
    })
}

/// Makes the namespaces, and answers their names.
async fn teams(client: &Client) -> Result<Vec<String>> {
    let all: Api<Namespace> = Api::all(client.clone());
    let mut names = Vec::new();
    for number in 0..TEAMS {
        let name = format!("team-{number:02}");
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.clone());
        let created = all.create(&PostParams::default(), &namespace).await;
        created.context("cannot create a namespace")?;
        names.push(name);
    }
    Ok(names)
}

/// Changes some releases and reads the memory meanwhile. At the end all of them have to be at rest again.
async fn change_without_end(
    bed: &Bed,
    crowd: &Releases,
    operator: &Process,
    settings: &Settings,
) -> Result<Churn> {
    let (restless, minutes) = (RESTLESS.min(settings.releases), settings.minutes);
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut samples = Vec::new();
    let (mut changes, mut since) = (0_u64, None);
    let (began, length) = (Instant::now(), MINUTE.saturating_mul(minutes));
    while began.elapsed() < FILL + length {
        for release in 0..restless {
            beat.tick().await;
            // Every other round takes back what the round before it asked for.
            let version = match changes / restless as u64 % 2 {
                0 => format!("v{}", changes.saturating_add(2)),
                _ => FIRST.to_owned(),
            };
            crowd.ask(release, &version).await?;
            changes = changes.saturating_add(1);
            let due = SAMPLE.saturating_mul(u32::try_from(samples.len()).unwrap_or(u32::MAX));
            if began.elapsed() < FILL + due {
                continue;
            }
            samples.push(operator.usage()?.rss_mib);
            if since.is_none() {
                since = Some((bed.moment(operator).await?, changes));
            }
        }
    }
    let (from, before) = since.context("the changes ended before their histories were full")?;
    let during = bed.since(&from, operator).await?;
    bed.say(&format!("{changes} changes are over: {}", during.words()));
    for release in 0..restless {
        crowd.ask(release, FIRST).await?;
    }
    bed.within("every release is at rest again", crowd.none_tries())
        .await?;

    let mib: Vec<f64> = samples
        .chunks(samples.len().div_ceil(MEANS).max(1))
        .map(mean)
        .collect();
    let hours = during.seconds / 3600.0 / mib.len() as f64;
    Ok(Churn {
        restless,
        minutes,
        changes: changes - before,
        during,
        mib_per_hour: Slope::of(&mib, hours).context("too few samples of memory for a slope")?,
        mib,
    })
}

impl Page {
    fn markdown(&self) -> Result<String> {
        let mut text = String::new();
        let Self {
            serin, start, churn, ..
        } = self;
        writeln!(
            text,
            "# Many releases, and changes without end\n\nGenerated by `cargo xtask bench churn`. {} {} releases of one replica each \
             in {TEAMS} namespaces, on an API server and etcd alone, on the same cores; pods are made ready and routes \
             accepted at once by the bench. It makes the Services before the releases, and without addresses, for an \
             API server of Kubernetes 1.34 gives out one address after the other and counts all for each: 65 ms each \
             over the first 5,500.\n",
            self.machine.line(),
            self.releases
        )?;
        let rows = [
            (
                "from the last create until every release serves",
                format!("{:.1} s", serin.healthy.seconds),
            ),
            (
                "resident memory without a release",
                format!("{:.1} MiB", serin.empty_rss_mib),
            ),
            ("… then", format!("{:.1} MiB", serin.healthy.rss_mib)),
            (
                "… after an idle minute",
                format!("**{:.1} MiB**", serin.idle.rss_mib),
            ),
            (
                "… at its largest until then",
                format!("{:.1} MiB", serin.idle.peak_rss_mib),
            ),
            ("CPU in that minute", format!("{:.2} s", serin.idle.cpu_seconds)),
            ("calls of the API server in that minute", serin.idle.calls.words()),
            (
                "from the start of a new leader's process to its first decision",
                format!("**{:.1} s**", start.first_decision_seconds),
            ),
            (
                "its resident memory (largest)",
                format!("{:.1} MiB ({:.1})", start.after.rss_mib, start.after.peak_rss_mib),
            ),
        ];
        writeln!(text, "| | serin |\n|---|---|")?;
        for (what, figure) in rows {
            writeln!(text, "| {what} | {figure} |")?;
        }
        let Slope { rise, low, high } = churn.mib_per_hour;
        let means: Vec<_> = churn.mib.iter().map(|mib| format!("{mib:.1}")).collect();
        writeln!(
            text,
            "\nThe first decision is the trial of a version that was asked for while nobody led.\n\n\
             ## {} minutes of changes\n\n{} of the releases get a new version and are asked for their first one \
             again, over and over, {} changes in all; the minutes count once their histories are full. Means of resident \
             memory, in MiB: {}. Slope: **{rise:+.2} MiB an hour**, 95 % interval {low:+.2} to {high:+.2} (least squares \
             through the means, Student's t). {:.1} s of CPU, {:.1} calls of the API server for each change.",
            churn.minutes,
            churn.restless,
            churn.changes,
            means.join(", "),
            churn.during.cpu_seconds,
            churn.during.calls.count() as f64 / churn.changes.max(1) as f64
        )?;
        Ok(text)
    }
}
