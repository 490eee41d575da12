//! No gateway: one Service in front of the pods of all revisions, and whole pods as weights.
//!
//! The Service selects the one revision that gets everything, or all of the release where more than one gets traffic.
//! A canary whose pods are starting, or that is rolled back, is so without traffic whatever its pods say.

use std::collections::BTreeMap;

use futures::future::try_join;
use serin_core::crd::ModelReleaseSpec;
use serin_core::plan::{RouteSeen, Split, Workload};
use serin_core::revision::Revision;

use super::endpoints::{self, Behind, Slice, behind};
use super::front::{self, Services};
use crate::context::Context;
use crate::error::Error;
use crate::release::Identity;

/// The Service, and who answers behind it.
pub(crate) struct Standing {
    pub(super) services: Services,
    slices: Vec<Slice>,
}

/// Reads what stands.
pub(crate) async fn read(id: &Identity, ctx: &Context) -> Result<Standing, Error> {
    let (services, slices) = try_join(front::read(id, ctx), endpoints::read(id, ctx)).await?;
    Ok(Standing { services, slices })
}

/// What watches have shown of it.
pub(crate) fn glance(id: &Identity, ctx: &Context) -> Option<Standing> {
    Some(Standing {
        services: front::glance(id, ctx)?,
        slices: endpoints::glance(id, ctx)?,
    })
}

impl Standing {
    /// What the Service sends to whom: carried as soon as its endpoints are those of the pods that are asked for.
    pub(crate) fn seen(&self, id: &Identity, workloads: &BTreeMap<Revision, Workload>) -> RouteSeen {
        let Some(service) = &self.services.front else {
            return RouteSeen::Missing;
        };
        let behind = behind(&self.slices, &id.name, service.revision.as_ref());
        let (split, least) = if let Some(revision) = &service.revision {
            (Split::of([(revision.clone(), 100)]), 1)
        } else {
            let asked = || workloads.iter().map(|(revision, pods)| (revision, pods.replicas));
            let all: i32 = asked().map(|(_, pods)| pods).sum();
            let split = Split::by_pods(asked().map(|(revision, pods)| (revision.clone(), pods)));
            (split, usize::try_from(all).unwrap_or(0))
        };
        let name = &id.name;
        let why = match behind {
            Behind::Others => {
                format!("the endpoints of the Service {name} are not yet those that it selects")
            }
            Behind::Ready(ready) if ready < least => {
                format!("the Service {name} has {ready} ready endpoints of {least}")
            }
            // More endpoints than pods asked for: some are leaving.
            Behind::Ready(ready) if service.revision.is_none() && ready > least => {
                format!("the Service {name} has {ready} ready endpoints, {least} are to stay")
            }
            Behind::Ready(_) => return RouteSeen::Carried(split),
        };
        RouteSeen::Asked { split, why }
    }
}

/// Lets the Service select those who get traffic.
pub(crate) async fn write(
    id: &Identity,
    spec: &ModelReleaseSpec,
    split: &Split,
    ctx: &Context,
) -> Result<(), Error> {
    let served: Vec<_> = split.served().collect();
    front::select(id, spec, &served, None, ctx).await
}
