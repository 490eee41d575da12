//! The operator with many releases beside Argo Rollouts, against an API server and etcd alone: how soon they serve, how
//! much it needs, how quiet it is when nothing happens; and what judging all of them costs, which Argo Rollouts leaves
//! to others.

mod argo;
mod calls;
pub(crate) mod churn;
mod crowd;
mod page;
mod plans;
mod process;
mod prometheus;
mod serin;
mod world;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serin_testkit::ApiServer;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use self::argo::Rollouts;
use self::calls::Calls;
use self::page::{Contender, Judging, Page, Part};
use self::process::{Process, Usage};
use self::prometheus::Prometheus;
use self::serin::Releases;
use self::world::World;
use crate::machine::Machine;

/// How long any of the waits may take, for each thousand releases.
const DEADLINE: Duration = Duration::from_mins(10);
/// What is measured when nothing, or only judging, happens.
const MINUTE: Duration = Duration::from_mins(1);
/// After the last release is ready, what it led to still has to arrive.
const SETTLE: Duration = Duration::from_secs(15);

/// What is measured, and beside whom.
#[derive(Args)]
pub(crate) struct Settings {
    /// Folder for the table and the raw figures.
    #[arg(long, default_value = "docs/benchmarks")]
    out: PathBuf,
    /// Number of releases.
    #[arg(long, default_value_t = 1000)]
    releases: usize,
    /// Folder of Argo Rollouts: its program, and its definitions in `crds`. It is left out where absent.
    #[arg(long, env = "SERIN_ARGO_ROLLOUTS")]
    argo_rollouts: Option<PathBuf>,
}

/// Runs everything, writes `operator.md` and `operator.json`.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let measured = runtime()?.block_on(measure(settings))?;
    let files = [
        ("operator.md", measured.markdown()?),
        ("operator.json", crate::page::json(&measured)?),
    ];
    crate::page::write(&settings.out, &files)
}

/// As many threads as the machines that figures are compared on have cores.
fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    builder.build().context("cannot start a runtime")
}

/// One after the other, each on a fresh API server.
async fn measure(settings: &Settings) -> Result<Page> {
    let (serin, judging) = measure_serin(settings.releases).await?;
    let mut contenders = vec![serin];
    if let Some(folder) = &settings.argo_rollouts {
        contenders.push(measure_argo(folder, settings.releases).await?);
    }
    Ok(Page {
        machine: Machine::here(),
        releases: settings.releases,
        contenders,
        judging,
        plan_microseconds: plans::cost(|version| serin::release("release", version, "http://prometheus"))?,
    })
}

async fn measure_serin(releases: usize) -> Result<(Contender, Judging)> {
    let bed = Bed::start("serin", releases).await?;
    let prometheus = Prometheus::start().await?;
    let crowd = Releases::new(&bed.server.client(), &["default"], releases, prometheus.url());
    let operator = serin::start(&bed.server.kubeconfig()?)?;
    let contender = bed.follow(&operator, crowd.create(), crowd.all_serve()).await?;

    crowd.improve().await?;
    bed.within("every canary is judged", crowd.all_judged()).await?;
    sleep(SETTLE).await;
    let queries = prometheus.queries();
    let minute = bed.minute(&operator).await?;
    bed.say("a minute of judging is over");
    let judging = Judging {
        minute,
        queries: prometheus.queries().saturating_sub(queries),
        most_queries_at_once: prometheus.most_at_once(),
    };
    Ok((contender, judging))
}

async fn measure_argo(folder: &Path, releases: usize) -> Result<Contender> {
    let bed = Bed::start("Argo Rollouts 1.9.1", releases).await?;
    argo::install(folder, &bed.server.client()).await?;
    let crowd = Rollouts::new(bed.server.client(), releases);
    let controller = argo::start(folder, &bed.server.kubeconfig()?)?;
    bed.follow(&controller, crowd.create(), crowd.all_serve()).await
}

/// What one contender is measured on.
struct Bed {
    name: &'static str,
    began: Instant,
    /// How long any of the waits may take.
    deadline: Duration,
    // Dropped in this order: nobody talks to a server that is gone.
    _world: World,
    server: ApiServer,
}

impl Bed {
    async fn start(name: &'static str, releases: usize) -> Result<Self> {
        let began = Instant::now();
        let Some(server) = ApiServer::start().await? else {
            bail!("SERIN_KUBE and SERIN_ETCD name no programs: run it by `cargo xtask bench`");
        };
        let bed = Self {
            name,
            began,
            deadline: DEADLINE.saturating_mul(u32::try_from(releases.div_ceil(1000)).unwrap_or(u32::MAX)),
            _world: World::start(server.client()).await?,
            server,
        };
        bed.say("API server and stand-ins are up");
        Ok(bed)
    }

    fn say(&self, what: &str) {
        eprintln!(
            "{:>6.1} s  {}: {what}",
            self.began.elapsed().as_secs_f64(),
            self.name
        );
    }

    async fn within<T>(&self, what: &str, wait: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(self.deadline, wait)
            .await
            .with_context(|| format!("waited {} s until {what}", self.deadline.as_secs()))?
    }

    /// Releases from their creation until they serve, and an idle minute after it.
    async fn follow(
        &self,
        controller: &Process,
        create: impl Future<Output = Result<()>>,
        all_serve: impl Future<Output = Result<()>>,
    ) -> Result<Contender> {
        // It leads, and its watches are open.
        sleep(SETTLE).await;
        let before = self.moment(controller).await?;
        let created = Instant::now();
        create.await?;
        let last_create = Instant::now();
        self.within("every release serves", all_serve).await?;
        let healthy = Part {
            seconds: last_create.elapsed().as_secs_f64(),
            creating_seconds: last_create.duration_since(created).as_secs_f64(),
            ..self.since(&before, controller).await?
        };
        self.say(&format!("every release serves: {}", healthy.words()));

        sleep(SETTLE).await;
        let idle = self.minute(controller).await?;
        self.say("an idle minute is over");
        Ok(Contender {
            name: self.name,
            empty_rss_mib: before.controller.rss_mib,
            healthy,
            idle,
        })
    }

    async fn minute(&self, controller: &Process) -> Result<Part> {
        let before = self.moment(controller).await?;
        sleep(MINUTE).await;
        self.since(&before, controller).await
    }

    async fn moment(&self, controller: &Process) -> Result<Moment> {
        let [api_server, store] = self.server.processes();
        Ok(Moment {
            at: Instant::now(),
            controller: controller.usage()?,
            api_server: Usage::of(api_server)?,
            store: Usage::of(store)?,
            bench: Usage::of(std::process::id())?,
            calls: Calls::answered(&self.server.client()).await?,
        })
    }

    async fn since(&self, before: &Moment, controller: &Process) -> Result<Part> {
        let now = self.moment(controller).await?;
        let used = |now: Usage, before: Usage| now.cpu_seconds - before.cpu_seconds;
        Ok(Part {
            seconds: now.at.duration_since(before.at).as_secs_f64(),
            creating_seconds: 0.0,
            cpu_seconds: used(now.controller, before.controller),
            api_server_cpu_seconds: used(now.api_server, before.api_server),
            store_cpu_seconds: used(now.store, before.store),
            bench_cpu_seconds: used(now.bench, before.bench),
            rss_mib: now.controller.rss_mib,
            peak_rss_mib: now.controller.peak_rss_mib,
            calls: now.calls.since(&before.calls),
        })
    }
}

/// What had been used and asked for at one time.
struct Moment {
    at: Instant,
    controller: Usage,
    api_server: Usage,
    store: Usage,
    bench: Usage,
    calls: Calls,
}
