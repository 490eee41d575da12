//! Many releases of one contender, made and waited for alike.

use std::collections::BTreeSet;
use std::fmt::Debug;

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::world::CONCURRENCY;

/// Releases of one kind, told apart by number.
pub(super) struct Crowd<K> {
    api: Api<K>,
    count: usize,
}

impl<K> Crowd<K>
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + serde::Serialize + Send + 'static,
{
    /// So many of them, none made yet.
    pub(super) fn new(api: Api<K>, count: usize) -> Self {
        Self { api, count }
    }

    /// Creates all of them, as fast as the API server takes them.
    pub(super) async fn create(&self, manifest: impl Fn(&str) -> Value) -> Result<()> {
        let manifest = &manifest;
        stream::iter(0..self.count)
            .map(|number| async move {
                let object: K = serde_json::from_value(manifest(&name(number)))
                    .context("the release of the bench is malformed")?;
                let created = self.api.create(&PostParams::default(), &object).await;
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
            .api
            .patch(&name(number), &PatchParams::default(), &patch)
            .await;
        patched.map(drop).context("cannot change a release")
    }

    /// Waits until this holds for one.
    pub(super) async fn one(&self, number: usize, holds: impl Fn(&K) -> bool) -> Result<()> {
        let one = watcher::Config::default().fields(&format!("metadata.name={}", name(number)));
        let mut changes = std::pin::pin!(watcher(self.api.clone(), one).applied_objects());
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
            std::pin::pin!(watcher(self.api.clone(), watcher::Config::default()).applied_objects());
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
