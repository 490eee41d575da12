//! The wish to stop, from a signal, an HTTP call or a test.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Error, Result};

/// A wish that any holder can utter and any holder can await. Uttering it twice equals once.
#[derive(Debug, Clone)]
pub struct Stop {
    wished: watch::Sender<bool>,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            wished: watch::Sender::new(false),
        }
    }
}

impl Stop {
    /// A wish that SIGTERM or SIGINT utters.
    ///
    /// # Errors
    /// `Signal`, when the system refuses the handlers.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
        let wish = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("asked to stop by a signal");
            wish.wish();
        });
        Ok(stop)
    }

    /// Asks everybody to stop.
    pub fn wish(&self) {
        self.wished.send_replace(true);
    }

    /// Whether somebody asked.
    pub fn is_wished(&self) -> bool {
        *self.wished.borrow()
    }

    /// Returns once somebody asked, at once if that was earlier.
    pub async fn wished(&self) {
        let mut receiver = self.wished.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = receiver.wait_for(|wished| *wished).await;
    }
}
