//! The operator with many releases, against an API server and etcd alone: how soon they serve, how much it needs, how
//! quiet it is when nothing happens, and what judging all of them costs.

mod page;
mod process;
mod prometheus;
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serin_testkit::ApiServer;
use tokio::time::{sleep, timeout};

use self::page::{Page, Part};
use self::process::Operator;
use self::prometheus::Prometheus;
use self::world::World;
use crate::machine::Machine;

/// How long any of the waits may take.
const DEADLINE: Duration = Duration::from_mins(10);
/// What is measured when nothing, or only judging, happens.
const MINUTE: Duration = Duration::from_mins(1);
/// After the last release is ready, what it led to still has to arrive.
const SETTLE: Duration = Duration::from_secs(15);

/// Runs everything, writes `operator.md` and `operator.json` into `out`.
pub(crate) fn run(out: &Path, releases: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let measured = runtime.block_on(measure(releases))?;
    let files = [
        ("operator.md", measured.markdown()?),
        ("operator.json", crate::page::json(&measured)?),
    ];
    crate::page::write(out, &files)
}

async fn measure(releases: usize) -> Result<Page> {
    let began = Instant::now();
    let say = |what: &str| eprintln!("{:>6.1} s  {what}", began.elapsed().as_secs_f64());
    let Some(server) = ApiServer::start().await? else {
        bail!("SERIN_KUBE and SERIN_ETCD name no programs: run it by `cargo xtask bench operator`");
    };
    let prometheus = Prometheus::start().await?;
    let world = World::start(server.client(), prometheus.url()).await?;
    let operator = Operator::start(&server.kubeconfig()?)?;
    say("API server, operator and their world are up");

    let before = operator.usage()?;
    let created = Instant::now();
    world.create(releases).await?;
    let last_create = Instant::now();
    within("every release serves", world.all_serve(releases)).await?;
    let healthy = Part {
        seconds: last_create.elapsed().as_secs_f64(),
        creating_seconds: last_create.duration_since(created).as_secs_f64(),
        ..part(&operator, &before)?
    };
    say(&format!("{releases} releases serve"));

    sleep(SETTLE).await;
    let (before, calls) = (operator.usage()?, world.calls().await?);
    sleep(MINUTE).await;
    let idle = Part {
        seconds: MINUTE.as_secs_f64(),
        calls: world.calls().await?.since(&calls),
        ..part(&operator, &before)?
    };
    say("an idle minute is over");

    world.improve(releases).await?;
    within("every canary is judged", world.all_judged(releases)).await?;
    sleep(SETTLE).await;
    let (before, calls, queries) = (operator.usage()?, world.calls().await?, prometheus.queries());
    sleep(MINUTE).await;
    let judging = Part {
        seconds: MINUTE.as_secs_f64(),
        calls: world.calls().await?.since(&calls),
        queries: prometheus.queries().saturating_sub(queries),
        ..part(&operator, &before)?
    };
    say("a minute of judging is over");
    Ok(Page {
        machine: Machine::here(),
        releases,
        healthy,
        idle,
        judging,
        most_queries_at_once: prometheus.most_at_once(),
    })
}

/// What the operator needed since `before`.
fn part(operator: &Operator, before: &process::Usage) -> Result<Part> {
    let now = operator.usage()?;
    Ok(Part {
        cpu_seconds: now.cpu_seconds - before.cpu_seconds,
        rss_mib: now.rss_mib,
        peak_rss_mib: now.peak_rss_mib,
        ..Part::default()
    })
}

async fn within(what: &str, wait: impl Future<Output = Result<()>>) -> Result<()> {
    timeout(DEADLINE, wait)
        .await
        .with_context(|| format!("waited {} s until {what}", DEADLINE.as_secs()))?
}
