//! A second release, beside the one of the story.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::demo::install::{NAMESPACE, Scene};
use crate::demo::release::Release;
use crate::kubectl::Kubectl;
use crate::wait::Look;

const DEADLINE: Duration = Duration::from_mins(3);

/// A release of the example's model and pods, under another name and behind another route.
pub(super) struct Guest<'a> {
    kubectl: &'a Kubectl,
    name: &'static str,
}

impl<'a> Guest<'a> {
    /// Creates the release with one pod. `spec` is merged into that of the example, entry by entry.
    ///
    /// Errors: the story has shown no healthy release, or this one is refused.
    pub(super) fn new(scene: &'a Scene, name: &'static str, version: &str, spec: Value) -> Result<Self> {
        let mut guest = scene.pattern()?.0["spec"].clone();
        guest["model"]["version"] = json!(version);
        guest["serving"]["replicas"] = json!(1);
        if let (Some(guest), Value::Object(spec)) = (guest.as_object_mut(), spec) {
            guest.extend(spec);
        }
        let release = json!({
            "apiVersion": "serin.dev/v1alpha1", "kind": "ModelRelease",
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": guest,
        });
        let kubectl = &scene.kubectl;
        kubectl.apply(&release.to_string())?;
        Ok(Self { kubectl, name })
    }

    /// Wants another version.
    pub(super) fn want(&self, version: &str) -> Result<()> {
        self.patch(&json!({"spec": {"model": {"version": version}}}))
    }

    /// Asks something of the operator.
    pub(super) fn request(&self, verb: &str, revision: &str) -> Result<()> {
        self.patch(&json!({"metadata": {"annotations": {"serin.dev/request": format!("{verb}/{revision}")}}}))
    }

    fn patch(&self, patch: &Value) -> Result<()> {
        self.kubectl
            .merge(NAMESPACE, &format!("mrel/{}", self.name), patch)
    }

    /// Waits for a state of the release.
    pub(super) fn until(&self, what: &str, holds: impl Fn(&Release) -> bool) -> Result<Release> {
        let path = ["--namespace", NAMESPACE, "mrel", self.name];
        self.kubectl.wait_for(what, &path, DEADLINE, |object| {
            let release = Release(object.clone());
            if holds(&release) {
                Look::Ready(release)
            } else {
                Look::NotYet(release.line())
            }
        })
    }

    /// Waits until this version serves, and nothing is on trial.
    pub(super) fn until_serving(&self, version: &str) -> Result<()> {
        self.until(&format!("{version} to serve"), |release| {
            release.stable() == version && release.canary().is_empty()
        })
        .map(drop)
    }

    /// How many events of this reason the release has.
    pub(super) fn events(&self, reason: &str) -> Result<usize> {
        let list = self.kubectl.get_json(&["--namespace", NAMESPACE, "events"])?;
        let events = list["items"].as_array().into_iter().flatten();
        let of_it =
            events.filter(|event| event["reason"] == reason && event["involvedObject"]["name"] == self.name);
        Ok(of_it.count())
    }

    /// Deletes the release, and waits until it is gone.
    pub(super) fn delete(self) -> Result<()> {
        let release = format!("mrel/{}", self.name);
        self.kubectl
            .delete(&["--namespace", NAMESPACE, &release, "--timeout=60s"])
    }
}
