//! The lead among replicas: waited for, renewed, given back.

use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::args::Args;

/// Name of the Lease by which replicas elect a leader.
const LEASE: &str = "serin-operator";
/// How often the Lease cannot be reached in a row before a replica that starts gives up.
const STARTS: u32 = 8;

/// How long one attempt at the Lease may take. It is renewed when a third of its duration is over, so a second attempt
/// comes, and on another connection, before the term ends.
pub(crate) fn patience(lease: Duration) -> Duration {
    lease / 4
}

/// A replica that stands for the lead, and renews it once it has it.
pub(crate) struct Election {
    leads: watch::Receiver<bool>,
    standing: JoinHandle<LeaseManager>,
}

impl Election {
    /// Stands.
    ///
    /// Errors: the Lease cannot be read or created.
    pub(crate) async fn stand(args: &Args, client: &Client) -> anyhow::Result<Self> {
        let pause = Duration::from_secs(args.lease_seconds) / 20;
        let mut starts: u32 = 1;
        let manager = loop {
            match manager(args, client).await {
                Ok(manager) => break manager,
                Err(error) if starts < STARTS => tracing::warn!(%error, "the Lease is tried again"),
                Err(error) => return Err(error).context("cannot use the Lease"),
            }
            starts = starts.saturating_add(1);
            tokio::time::sleep(pause).await;
        };
        let (told, leads) = watch::channel(false);
        let standing = tokio::spawn(stand_on(manager, told, pause));
        Ok(Self { leads, standing })
    }

    /// Waits until this replica leads, or leads no longer.
    ///
    /// Errors: the election has ended, by a bug.
    pub(crate) async fn until(&mut self, leads: bool) -> anyhow::Result<()> {
        let waited = self.leads.wait_for(|now| *now == leads).await;
        waited.map(drop).context("the election ended")
    }

    /// Ends it, and gives back a lead that there is.
    ///
    /// Errors: the Lease cannot be given back; then others wait until it has expired.
    pub(crate) async fn resign(self) -> anyhow::Result<()> {
        drop(self.leads);
        let manager = self.standing.await.context("the election ended badly")?;
        manager.release().await.context("cannot give the lead back")
    }
}

async fn manager(args: &Args, client: &Client) -> Result<LeaseManager, LeaseManagerError> {
    LeaseManagerBuilder::new(client.clone(), LEASE)
        .with_namespace(&args.namespace)
        .with_identity(&args.identity)
        .with_duration(args.lease_seconds)
        .with_grace((args.lease_seconds.saturating_mul(2) / 3).max(1))
        .build()
        .await
}

/// Tells each change of the lead, until nobody wants to know. The manager's own way of doing so pauses longer after
/// each failure of its life, and in the end for longer than the Lease lasts.
async fn stand_on(manager: LeaseManager, told: watch::Sender<bool>, pause: Duration) -> LeaseManager {
    loop {
        let changed = tokio::select! {
            () = told.closed() => return manager,
            changed = manager.changed() => changed,
        };
        match changed {
            Ok(leads) => drop(told.send_replace(leads)),
            Err(error) => {
                tracing::warn!(%error, "the Lease is tried again");
                tokio::time::sleep(pause).await;
            }
        }
    }
}
