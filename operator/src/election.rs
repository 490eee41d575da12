//! The lead among replicas: waited for, renewed, given back.
//!
//! As client-go does it: the Lease is written only at the version that was read, so that of replicas that find it free
//! one gets it; and another's is free when it has not changed for its duration by the clock of who waits, so that no two
//! clocks need agree.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::args::Args;
use crate::context::Clock;
use crate::error::{is_conflict, is_not_found};
use crate::tenure::Tenure;

/// Name of the Lease by which replicas elect a leader.
const LEASE: &str = "serin-operator";
/// A leader renews when this part of the duration is over: so early that a second attempt comes in time.
const RENEWALS: u32 = 3;
/// How often the others look in the course of it.
const LOOKS: u32 = 10;
/// Pause of a leader before another attempt, as a part of the duration.
const ATTEMPTS: u32 = 20;

/// How long one attempt at the Lease may take.
pub(crate) fn patience(lease: Duration) -> Duration {
    lease / 4
}

/// A replica that stands for the lead, and renews it once it has it.
pub(crate) struct Election {
    leads: watch::Receiver<bool>,
    standing: JoinHandle<Candidate>,
}

impl Election {
    /// Stands, through a client that nothing guards.
    pub(crate) fn stand(args: &Args, client: Client, tenure: Tenure, clock: Clock) -> Self {
        let candidate = Candidate {
            leases: Api::namespaced(client, &args.namespace),
            identity: args.identity.clone(),
            lease: args.lease(),
            tenure,
            clock,
            held: None,
            leads: false,
            has_asked: false,
            other: None,
        };
        let (told, leads) = watch::channel(false);
        let standing = tokio::spawn(stand_on(candidate, told));
        Self { leads, standing }
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
        let candidate = self.standing.await.context("the election ended badly")?;
        candidate.release().await.context("cannot give the lead back")
    }
}

/// Tells each change of the lead, until nobody wants to know or it is lost.
async fn stand_on(mut candidate: Candidate, told: watch::Sender<bool>) -> Candidate {
    let lease = candidate.lease;
    loop {
        // To its end, also when nobody wants to know any more: what is given back must not be claimed afterwards.
        let attempt = timeout(patience(lease), candidate.attempt()).await;
        let led = *told.borrow();
        let pause = match attempt.unwrap_or_else(|late| Err(kube::Error::Service(late.into()))) {
            Ok(true) => {
                told.send_replace(true);
                lease / RENEWALS
            }
            Ok(false) if led => {
                told.send_replace(false);
                return candidate;
            }
            Ok(false) => lease / LOOKS,
            Err(error) => {
                tracing::warn!(%error, led, "the Lease is tried again");
                lease / if led { ATTEMPTS } else { LOOKS }
            }
        };
        tokio::select! {
            () = told.closed() => return candidate,
            () = sleep(pause) => {}
        }
    }
}

/// What one replica knows of the Lease.
struct Candidate {
    leases: Api<Lease>,
    identity: String,
    lease: Duration,
    tenure: Tenure,
    clock: Clock,
    /// The Lease as this replica wrote it last: a renewal needs no look.
    held: Option<Lease>,
    /// Whether the Lease was ours at the last attempt that knew.
    leads: bool,
    /// Whether it was ever asked for: what was written may have arrived without an answer.
    has_asked: bool,
    /// The version of another's Lease, and since when it has not changed.
    other: Option<(Option<String>, Instant)>,
}

impl Candidate {
    /// Renews one's own Lease, takes a free one, looks at another's. Answers whether it is ours now. One that was ours and
    /// is not any more is not taken again: somebody else may have acted meanwhile.
    ///
    /// Errors: it is not known. What was written may have arrived: the next attempt looks.
    async fn attempt(&mut self) -> kube::Result<bool> {
        let leads = self.ask().await?;
        self.leads = leads;
        Ok(leads)
    }

    async fn ask(&mut self) -> kube::Result<bool> {
        // The term counts from before anything was sent.
        let at = self.tenure.now();
        if let Some(held) = self.held.take() {
            match self.write(held, at).await {
                Err(error) if is_conflict(&error) || is_not_found(&error) => {}
                done => return done.map(|()| true),
            }
        }
        let Some(found) = self.leases.get_opt(LEASE).await? else {
            if !self.may_make() {
                return Ok(false);
            }
            let mut lease = Lease::default();
            lease.metadata.name = Some(LEASE.into());
            self.claim(&mut lease);
            let created = self.leases.create(&PostParams::default(), &lease).await;
            return first(created.map(|created| self.hold(created, at)));
        };
        if self.is_ours(&found) {
            return self.write(found, at).await.map(|()| true);
        }
        if self.leads || !self.may_take(&found) {
            return Ok(false);
        }
        first(self.write(found, at).await)
    }

    async fn write(&mut self, mut lease: Lease, at: Instant) -> kube::Result<()> {
        self.claim(&mut lease);
        let written = self.leases.replace(LEASE, &PostParams::default(), &lease).await?;
        self.hold(written, at);
        Ok(())
    }

    fn hold(&mut self, lease: Lease, at: Instant) {
        self.tenure.renewed(at);
        self.held = Some(lease);
        self.other = None;
    }

    fn claim(&mut self, lease: &mut Lease) {
        self.has_asked = true;
        let now = MicroTime((self.clock)());
        let is_new = !self.is_ours(lease);
        let spec = lease.spec.get_or_insert_default();
        if is_new {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = Some(i32::try_from(self.lease.as_secs()).unwrap_or(i32::MAX));
        // Another one each time, by which the others see that something was written.
        spec.renew_time = Some(now);
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        holder(lease) == Some(&self.identity)
    }

    /// Whether a Lease of another, or of nobody, is free.
    fn may_take(&mut self, lease: &Lease) -> bool {
        if holder(lease).is_none() {
            return true;
        }
        let now = self.tenure.now();
        let version = lease.resource_version();
        let since = match &self.other {
            Some((seen, since)) if *seen == version => *since,
            _ => now,
        };
        self.other = Some((version, since));
        let spec = lease.spec.as_ref();
        let theirs = spec.and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok());
        now.duration_since(since) >= theirs.map_or(self.lease, Duration::from_secs)
    }

    /// Whether a Lease that is not there may be made: one that was deleted is its holder's until the term is over.
    fn may_make(&self) -> bool {
        if self.leads {
            return self.tenure.holds();
        }
        let other = self.other.as_ref();
        other.is_none_or(|(_, since)| self.tenure.now().duration_since(*since) >= self.lease)
    }

    async fn release(self) -> kube::Result<()> {
        if !self.has_asked {
            return Ok(());
        }
        loop {
            let Some(mut lease) = self.leases.get_opt(LEASE).await? else {
                return Ok(());
            };
            if !self.is_ours(&lease) {
                return Ok(());
            }
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = None;
            }
            match self.leases.replace(LEASE, &PostParams::default(), &lease).await {
                // A renewal whose answer was not waited for.
                Err(error) if is_conflict(&error) => {}
                released => return released.map(drop),
            }
        }
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    let holder = lease.spec.as_ref()?.holder_identity.as_ref();
    holder.filter(|holder| !holder.is_empty())
}

/// Whether a write was the first at its version.
fn first(written: kube::Result<()>) -> kube::Result<bool> {
    match written {
        Err(error) if is_conflict(&error) => Ok(false),
        written => written.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use futures::future::join_all;
    use jiff::Timestamp;
    use kube::api::{DeleteParams, Patch, PatchParams};
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use serin_testkit::ApiServer;

    use super::*;

    const DURATION: Duration = Duration::from_secs(10);

    /// Replicas that stand for the lead of one namespace, and the hand that moves their clock.
    struct Replicas {
        all: Vec<Candidate>,
        clock: Arc<Mutex<Instant>>,
        leases: Api<Lease>,
    }

    impl Replicas {
        fn new(count: usize, server: &ApiServer) -> Self {
            let clock = Arc::new(Mutex::new(Instant::now()));
            let leases: Api<Lease> = Api::default_namespaced(server.client());
            let all = (0..count).map(|number| {
                let clock = clock.clone();
                Candidate {
                    leases: leases.clone(),
                    identity: format!("replica-{number}"),
                    lease: DURATION,
                    tenure: Tenure::by(Arc::new(move || *clock.lock()), DURATION),
                    clock: Arc::new({
                        let ticks = AtomicI64::new(0);
                        move || Timestamp::from_microsecond(ticks.fetch_add(1, Ordering::Relaxed)).unwrap()
                    }),
                    held: None,
                    leads: false,
                    has_asked: false,
                    other: None,
                }
            });
            Self {
                all: all.collect(),
                clock: clock.clone(),
                leases,
            }
        }

        /// Who leads after an attempt of each of these at once.
        async fn attempt(&mut self, whose: impl Fn(usize) -> bool) -> Vec<usize> {
            let all = self
                .all
                .iter_mut()
                .enumerate()
                .filter(|(number, _)| whose(*number));
            let attempts = all.map(|(number, one)| async move { (number, one.attempt().await.unwrap()) });
            let led = join_all(attempts).await;
            led.into_iter()
                .filter_map(|(number, leads)| leads.then_some(number))
                .collect()
        }

        fn wait(&self, time: Duration) {
            *self.clock.lock() += time;
        }

        fn may_write(&self) -> Vec<usize> {
            let all = self.all.iter().enumerate();
            all.filter_map(|(number, one)| one.tenure.holds().then_some(number))
                .collect()
        }

        async fn change(&self, change: Value) {
            let params = PatchParams::default();
            self.leases
                .patch(LEASE, &params, &Patch::Merge(change))
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn of_replicas_that_find_the_lease_free_one_leads_and_writes() {
        let Some(server) = ApiServer::start().await.unwrap() else {
            return;
        };
        let mut replicas = Replicas::new(8, &server);
        let everybody = |_| true;
        let mut leaders = Vec::new();
        // There is no Lease yet; then it has expired, again and again.
        for _ in 0..20 {
            let led = replicas.attempt(everybody).await;
            assert_eq!(led.len(), 1, "{led:?}");
            let leader = led[0];
            assert_eq!(replicas.may_write(), [leader], "the others' terms are over");
            // It renews, and nobody else has it.
            replicas.wait(DURATION / RENEWALS);
            assert_eq!(replicas.attempt(everybody).await, [leader]);
            // Frozen from now on. Its term is over before anybody can have it.
            let others = |number| number != leader;
            assert!(replicas.attempt(others).await.is_empty());
            replicas.wait(DURATION / LOOKS * (LOOKS - 1));
            assert!(replicas.attempt(others).await.is_empty());
            assert!(replicas.may_write().is_empty());
            replicas.wait(DURATION / LOOKS);
            let next = replicas.attempt(others).await;
            assert_eq!(next.len(), 1, "{next:?}");
            assert_eq!(
                replicas.attempt(|number| number == leader).await,
                [0; 0],
                "it wakes up too late"
            );
            assert_eq!(replicas.may_write(), next);
            leaders.push(next[0]);
            replicas.change(json!({"spec": {"holderIdentity": null}})).await;
            replicas.wait(DURATION);
        }
        let transitions = replicas.leases.get(LEASE).await.unwrap().spec.unwrap();
        assert_eq!(transitions.lease_transitions, Some(40), "{leaders:?}");
    }

    #[tokio::test]
    async fn a_lead_survives_what_happens_to_the_lease_and_ends_when_it_is_taken_or_given_back() {
        let Some(server) = ApiServer::start().await.unwrap() else {
            return;
        };
        let mut replicas = Replicas::new(2, &server);
        assert_eq!(replicas.attempt(|number| number == 0).await, [0]);
        replicas
            .change(json!({"metadata": {"labels": {"seen": "by-somebody"}}}))
            .await;
        assert_eq!(replicas.attempt(|_| true).await, [0]);
        replicas
            .leases
            .delete(LEASE, &DeleteParams::default())
            .await
            .unwrap();
        assert_eq!(
            replicas.attempt(|number| number == 1).await,
            [0; 0],
            "the term goes on"
        );
        assert_eq!(
            replicas.attempt(|number| number == 0).await,
            [0],
            "it is made anew"
        );
        // An answer that comes when the term is over begins none: it counts from before the renewal was sent.
        let usual = replicas.all[0].clock.clone();
        let hand = replicas.clock.clone();
        replicas.all[0].clock = Arc::new({
            let usual = usual.clone();
            move || {
                *hand.lock() += DURATION;
                usual()
            }
        });
        assert_eq!(replicas.attempt(|number| number == 0).await, [0]);
        assert!(replicas.may_write().is_empty());
        replicas.all[0].clock = usual;

        replicas
            .change(json!({"spec": {"holderIdentity": "somebody"}}))
            .await;
        assert_eq!(replicas.attempt(|_| true).await, [0; 0], "it is taken");
        replicas.change(json!({"spec": {"holderIdentity": ""}})).await;
        assert_eq!(replicas.attempt(|number| number == 0).await, [0]);
        let leader = replicas.all.remove(0);
        leader.release().await.unwrap();
        assert_eq!(
            replicas.attempt(|_| true).await.len(),
            1,
            "what is given back is free at once"
        );
    }
}
