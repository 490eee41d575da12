//! Many releases of one contender, made and waited for alike.

use std::collections::BTreeSet;
use std::fmt::Debug;

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::world::CONCURRENCY;

/// Releases of one kind, told apart by number.
pub(super) struct Crowd<K> {
    everywhere: Api<K>,
    /// The namespaces that they are spread over.
    within: Vec<Api<K>>,
    count: usize,
}

impl<K> Crowd<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    /// So many of them, spread over these namespaces; none made yet.
    pub(super) fn new(client: &Client, namespaces: &[&str], count: usize) -> Self {
        let within = namespaces
            .iter()
            .map(|namespace| Api::namespaced(client.clone(), namespace));
        Self::of(Api::all(client.clone()), within.collect(), count)
    }
}

impl<K> Crowd<K> {
    /// The same, of a kind that is known at run time only.
    pub(super) fn of(everywhere: Api<K>, within: Vec<Api<K>>, count: usize) -> Self {
        Self {
            everywhere,
            within,
            count,
        }
    }
}

impl<K> Crowd<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + serde::Serialize + Send + 'static,
{
    /// The namespace of one.
    fn home(&self, number: usize) -> Result<&Api<K>> {
        let turn = number.checked_rem(self.within.len());
        let home = turn.and_then(|turn| self.within.get(turn));
        home.context("no namespace to put a release into")
    }

    /// Creates all of them, as fast as the API server takes them.
    pub(super) async fn create(&self, manifest: impl Fn(&str) -> Value) -> Result<()> {
        let manifest = &manifest;
        stream::iter(0..self.count)
            .map(|number| async move {
                let object: K = serde_json::from_value(manifest(&name(number)))
                    .context("the release of the bench is malformed")?;
                let created = self.home(number)?.create(&PostParams::default(), &object).await;
                created.map(drop).context("cannot create a release")
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    /// Changes all of them alike.
    pub(super) async fn change(&self, patch: &Value) -> Result<()> {
        stream::iter(0..self.count)
            .map(|number| self.change_one(number, patch))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    /// Changes one.
    pub(super) async fn change_one(&self, number: usize, patch: &Value) -> Result<()> {
        let patch = Patch::Merge(patch);
        let patched = self
            .home(number)?
            .patch(&name(number), &PatchParams::default(), &patch)
            .await;
        patched.map(drop).context("cannot change a release")
    }

    /// Waits until this holds for one.
    pub(super) async fn one(&self, number: usize, holds: impl Fn(&K) -> bool) -> Result<()> {
        let one = watcher::Config::default().fields(&format!("metadata.name={}", name(number)));
        let mut changes = std::pin::pin!(watcher(self.home(number)?.clone(), one).applied_objects());
        while let Some(release) = changes.next().await {
            if holds(&release.context("cannot watch a release")?) {
                break;
            }
        }
        Ok(())
    }

    /// Waits until this has held for each of them.
    pub(super) async fn all(&self, holds: impl Fn(&K) -> bool) -> Result<()> {
        let mut found = BTreeSet::new();
        let mut changes =
            std::pin::pin!(watcher(self.everywhere.clone(), watcher::Config::default()).applied_objects());
        while let Some(release) = changes.next().await {
            let release = release.context("cannot watch the releases")?;
            if holds(&release) {
                found.insert(release.name_any());
            }
            if found.len() >= self.count {
                break;
            }
        }
        Ok(())
    }
}

fn name(number: usize) -> String {
    format!("release-{number:05}")
}
