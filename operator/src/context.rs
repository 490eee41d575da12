//! What every look shares.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use serin_core::crd::ModelRelease;
use serin_core::plan::Workload;
use serin_core::revision::Revision;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::archive::Archive;
use crate::configuration::Known;
use crate::metrics::{Counted, Metrics};
use crate::owned::Index;
use crate::route::Selected;
use crate::route::endpoints::Slice;
use crate::route::gateway::Route;
use crate::route::ingress::Ingress;

/// Looks that work at once. Each may hold a megabyte, for the first one of a canary reads an hour of samples; and more
/// of them only keep each other waiting at the API server, until calls are given up.
const TURNS: usize = 16;

/// Tells the time. Only `main` hands out one that reads the system's.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What every look shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Queries of metrics.
    pub http: reqwest::Client,
    /// The time.
    pub clock: Clock,
    /// What the operator counts about itself.
    pub metrics: Arc<Metrics>,
    /// Where the records of decisions are kept, if anywhere.
    pub archive: Option<Arc<Archive>>,
    /// What a watch has shown of the releases.
    pub(crate) releases: Store<DeserializeGuard<ModelRelease>>,
    /// So many looks work at once. One that waits for Prometheus has no turn: a server that hangs holds up nobody else.
    pub(crate) turns: Turns,
    /// What watches have shown.
    pub(crate) owned: Owned,
    /// What the templates of releases refer to, as it was read last.
    pub(crate) known: Known,
    /// Failed looks in a row by release, for the pauses between them.
    pub(crate) failures: Mutex<HashMap<String, u32>>,
    /// The version of each release that the last status written made, and when.
    pub(crate) written: Mutex<HashMap<String, (u64, Instant)>>,
}

/// What watches have shown of the objects that releases own or read.
#[derive(Debug, Default)]
pub(crate) struct Owned {
    /// Revisions and their pods.
    pub(crate) workloads: Index<(Revision, Workload)>,
    /// Routes.
    pub(crate) routes: Index<Route>,
    /// Ingresses, those of nobody's too.
    pub(crate) ingresses: Index<Ingress>,
    /// What a Service selects.
    pub(crate) services: Index<Selected>,
    /// Who answers behind a Service.
    pub(crate) slices: Index<Slice>,
    /// Versions of ConfigMaps.
    pub(crate) config_maps: Index<String>,
    /// Versions of Secrets.
    pub(crate) secrets: Index<String>,
}

/// Turns of looks, and how many wait for one or have one.
pub(crate) struct Turns {
    free: Semaphore,
    waiting: Gauge,
    working: Gauge,
}

impl Turns {
    /// So many turns.
    pub(crate) fn new(count: usize, metrics: &Metrics) -> Self {
        Self {
            free: Semaphore::new(count),
            waiting: metrics.waiting.clone(),
            working: metrics.working.clone(),
        }
    }
}

/// The turn of one look, taken from the beginning.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    taken: Option<(SemaphorePermit<'a>, Counted)>,
}

impl<'a> Turn<'a> {
    /// Waits until others leave room.
    pub(crate) async fn taken(turns: &'a Turns) -> Self {
        let mut turn = Self { turns, taken: None };
        turn.take_again().await;
        turn
    }

    /// Lets others work while this look only waits.
    pub(crate) fn give_back(&mut self) {
        self.taken = None;
    }

    /// Takes it again.
    pub(crate) async fn take_again(&mut self) {
        if self.taken.is_none() {
            let waiting = Counted::in_gauge(&self.turns.waiting);
            // Nobody closes it.
            let taken = self.turns.free.acquire().await.ok();
            drop(waiting);
            self.taken = taken.map(|permit| (permit, Counted::in_gauge(&self.turns.working)));
        }
    }
}

impl Context {
    /// A context over these parts.
    pub fn new(
        client: Client,
        http: reqwest::Client,
        clock: Clock,
        metrics: Arc<Metrics>,
        archive: Option<Arc<Archive>>,
        releases: Store<DeserializeGuard<ModelRelease>>,
    ) -> Self {
        Self {
            client,
            http,
            clock,
            turns: Turns::new(TURNS, &metrics),
            metrics,
            archive,
            releases,
            owned: Owned::default(),
            known: Known::default(),
            failures: Mutex::default(),
            written: Mutex::default(),
        }
    }

    /// Notes a failed look; answers how many there have been in a row.
    pub(crate) fn failed(&self, release: &str) -> u32 {
        let mut failures = self.failures.lock();
        let count = failures.entry(release.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// Notes a look that was finished.
    pub(crate) fn succeeded(&self, release: &str) {
        self.failures.lock().remove(release);
    }

    /// Notes the version of a release that a status made.
    pub(crate) fn wrote(&self, release: &str, version: Option<String>) {
        let Some(version) = version.and_then(|version| version.parse().ok()) else {
            return;
        };
        let mut written = self.written.lock();
        written.insert(release.to_owned(), (version, Instant::now()));
    }

    /// How long ago a status was written that is newer than this version of a release; none where none is. Versions of
    /// one kind of object are numbers that grow; any that is none is taken for new.
    pub(crate) fn behind(&self, release: &str, version: Option<String>) -> Option<Duration> {
        let shown = version.and_then(|version| version.parse::<u64>().ok())?;
        let written = self.written.lock();
        let (newest, at) = written.get(release)?;
        (shown < *newest).then(|| at.elapsed())
    }

    /// Notes the version of a release that is read now: the newest one, even where its number is smaller, for a store
    /// that was put back to an older state begins its numbers again.
    pub(crate) fn has_read(&self, release: &str, version: Option<String>) {
        let version = version.and_then(|version| version.parse().ok());
        let mut written = self.written.lock();
        if let (Some(version), Some((newest, _))) = (version, written.get_mut(release)) {
            *newest = version;
        }
    }

    /// Forgets a release that takes its leave; but not what was written, for what a watch that is behind still shows of
    /// it must not be acted on.
    pub(crate) fn forget(&self, namespace: &str, name: &str) {
        self.succeeded(&format!("{namespace}/{name}"));
        self.known.forget(namespace, name);
        self.metrics.releases().forget(namespace, name);
    }

    /// Forgets a release that a watch has shown to be gone.
    pub(crate) fn has_gone(&self, namespace: &str, name: &str) {
        self.forget(namespace, name);
        self.written.lock().remove(&format!("{namespace}/{name}"));
    }
}
