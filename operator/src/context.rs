//! What every look shares.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kube::Client;

use serin_core::plan::Workload;
use serin_core::revision::Revision;

use crate::archive::Archive;
use crate::metrics::Metrics;
use crate::owned::Index;
use crate::route::Route;

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
    /// What watches have shown.
    pub(crate) owned: Owned,
    /// Failed looks in a row by release, for the pauses between them.
    pub(crate) failures: Mutex<HashMap<String, u32>>,
}

/// What watches have shown of the objects that releases own.
#[derive(Debug, Default)]
pub(crate) struct Owned {
    /// Revisions and their pods.
    pub(crate) workloads: Index<(Revision, Workload)>,
    /// Routes.
    pub(crate) routes: Index<Route>,
    /// Which revision a Service selects.
    pub(crate) services: Index<Revision>,
}

impl Context {
    /// A context over these parts.
    pub fn new(
        client: Client,
        http: reqwest::Client,
        clock: Clock,
        metrics: Arc<Metrics>,
        archive: Option<Arc<Archive>>,
    ) -> Self {
        Self {
            client,
            http,
            clock,
            metrics,
            archive,
            owned: Owned::default(),
            failures: Mutex::default(),
        }
    }

    /// Notes a failed look; answers how many there have been in a row.
    pub(crate) fn failed(&self, release: &str) -> u32 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(release.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// Notes a look that was finished.
    pub(crate) fn succeeded(&self, release: &str) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(release);
    }

    /// Forgets a release that is gone.
    pub(crate) fn forget(&self, namespace: &str, name: &str) {
        self.succeeded(&format!("{namespace}/{name}"));
        self.metrics.forgotten(namespace, name);
    }
}
