//! What the process is and knows at this moment, shared by the loader, the handlers and the shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use serin_core::artifact::Model;
use tokio::sync::watch;

use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::request_id::RequestIds;

/// How far the one model of this process is. It only ever moves down this list.
#[derive(Clone, Debug)]
pub enum Phase {
    /// It is asked for; it may come.
    Loading {
        /// Why it is not there yet.
        because: String,
    },
    /// It will never come.
    Refused {
        /// Why.
        because: String,
    },
    /// It is verified and answers.
    Ready(Arc<Model>),
}

/// The state of the process.
#[derive(Debug)]
pub struct Service {
    /// What this pod is.
    pub identity: Identity,
    /// What Prometheus reads.
    pub metrics: Metrics,
    /// Names for requests.
    pub request_ids: RequestIds,
    phase: watch::Sender<Phase>,
    draining: AtomicBool,
}

impl Service {
    /// A service without a model. `started` is when the process began, by the wall clock.
    pub fn new(identity: Identity, started: SystemTime) -> Self {
        let because = "the model is being loaded".to_owned();
        Self {
            identity,
            metrics: Metrics::new(started),
            request_ids: RequestIds::new(started),
            phase: watch::Sender::new(Phase::Loading { because }),
            draining: AtomicBool::new(false),
        }
    }

    /// Serves `model` from now on. The caller has verified it.
    pub fn ready(&self, model: Model) {
        self.metrics.serving(&self.identity);
        self.phase.send_replace(Phase::Ready(Arc::new(model)));
    }

    /// Says why there is no model yet.
    pub fn wait(&self, because: String) {
        self.phase.send_replace(Phase::Loading { because });
    }

    /// Says why there will never be a model.
    pub fn refuse(&self, because: String) {
        self.phase.send_replace(Phase::Refused { because });
    }

    /// Turns new traffic away: `/readyz` fails, and every answer asks its client to close the connection.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// How far the model is.
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// How far the model is from now on, for whoever waits for it.
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
