//! What `EndpointSlices` say of a Service: who answers behind it.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serin_core::revision::Revision;

use crate::context::Context;
use crate::error::Error;
use crate::release::{Identity, REVISION_LABEL};

/// Label that names the Service of a slice.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The ready endpoints of a slice.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    service: String,
    /// What the Service selected when the slice was written: slices bear the labels of their Service.
    revision: Option<Revision>,
    family: String,
    ready: usize,
}

impl Slice {
    /// The fields that are read; none of a slice of no Service.
    pub(crate) fn of(slice: &EndpointSlice) -> Option<Self> {
        let labels = slice.labels();
        // As everywhere, a condition that is not known counts as true.
        let is_ready = |ready: Option<bool>| ready.unwrap_or(true);
        // A pod without the port that the Service sends to stands in a slice without ports: nothing reaches it there.
        let has_port = slice.ports.as_ref().is_some_and(|ports| !ports.is_empty());
        let conditions = slice
            .endpoints
            .iter()
            .filter(|_| has_port)
            .map(|endpoint| endpoint.conditions.as_ref());
        Some(Self {
            service: labels.get(SERVICE_LABEL)?.clone(),
            revision: labels.get(REVISION_LABEL).map(|text| Revision::recorded(text)),
            family: slice.address_type.clone(),
            ready: conditions
                .filter(|conditions| is_ready(conditions.and_then(|conditions| conditions.ready)))
                .count(),
        })
    }
}

/// Who answers behind a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Endpoints of what the Service selected before.
    Others,
    /// So many ready endpoints of what it selects.
    Ready(usize),
}

/// Who answers behind a Service that selects this revision, or all where none is given.
pub(crate) fn behind(slices: &[Slice], service: &str, revision: Option<&Revision>) -> Behind {
    let slices = || slices.iter().filter(|slice| slice.service == service);
    if slices().any(|slice| slice.revision.as_ref() != revision && slice.ready > 0) {
        return Behind::Others;
    }
    // A pod with addresses of two families stands in a slice of each.
    let mut ready: BTreeMap<&str, usize> = BTreeMap::new();
    for slice in slices() {
        *ready.entry(&slice.family).or_default() += slice.ready;
    }
    Behind::Ready(ready.into_values().max().unwrap_or(0))
}

/// All slices of a release.
pub(crate) async fn read(id: &Identity, ctx: &Context) -> Result<Vec<Slice>, Error> {
    let api: Api<EndpointSlice> = Api::namespaced(ctx.client.clone(), &id.namespace);
    let listed = api.list(&ListParams::default().labels(&id.selector())).await;
    let listed = listed.map_err(Error::api("list the EndpointSlices"))?;
    Ok(listed.iter().filter_map(Slice::of).collect())
}

/// As [`read`], from the watch.
pub(crate) fn glance(id: &Identity, ctx: &Context) -> Option<Vec<Slice>> {
    let shown = ctx.owned.slices.of(&id.namespace, &id.name)?;
    Some(shown.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn slice(revision: &str, family: &str, ready: &[Value]) -> Slice {
        slice_with(&json!([{"name": "http", "port": 8082}]), revision, family, ready)
    }

    fn slice_with(ports: &Value, revision: &str, family: &str, ready: &[Value]) -> Slice {
        let endpoints = ready
            .iter()
            .map(|ready| json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}));
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
            "metadata": {"name": "a", "labels": {SERVICE_LABEL: "films", REVISION_LABEL: revision}},
            "endpoints": endpoints.collect::<Vec<_>>(), "ports": ports,
        });
        Slice::of(&serde_json::from_value(slice).unwrap()).unwrap()
    }

    #[test]
    fn ready_endpoints_count_once_a_pod_and_only_when_they_follow_the_service() {
        let revision = Revision::recorded("1a2b3c4d");
        let (ready, unready) = (json!(true), json!(false));
        let both = [
            slice("1a2b3c4d", "IPv4", &[ready.clone(), unready.clone(), Value::Null]),
            slice("1a2b3c4d", "IPv6", &[ready.clone(), unready.clone(), Value::Null]),
        ];
        assert_eq!(behind(&both, "films", Some(&revision)), Behind::Ready(2));
        assert_eq!(behind(&both, "other", Some(&revision)), Behind::Ready(0));
        let older = [slice("5e6f7a8b", "IPv4", &[ready])];
        assert_eq!(behind(&older, "films", Some(&revision)), Behind::Others);
        let portless = [slice_with(&json!([]), "1a2b3c4d", "IPv4", &[json!(true)])];
        assert_eq!(behind(&portless, "films", Some(&revision)), Behind::Ready(0));
        let gone = [slice("5e6f7a8b", "IPv4", &[unready])];
        assert_eq!(behind(&gone, "films", Some(&revision)), Behind::Ready(0));
    }
}
