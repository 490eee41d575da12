//! A main and a canary Ingress, for controllers that honour the canary annotations of ingress-nginx.
//!
//! The main Ingress always sends to the stable-named Service, the canary Ingress to the Service of a revision. A
//! promotion moves the Service, not the main Ingress: the two never name the same Service, of which ingress-nginx would
//! drop one. [`order`] has the order of writes in which no request is ever sent nowhere, [`quirks`] what is refused.
//!
//! Nobody accepts an Ingress. A weight counts as carried when the objects are as asked, the Services that it sends to
//! hold ready endpoints, and [`SETTLING`] has passed since the operator asked; each object says since when it does, in
//! an annotation, so that a restart shortens nothing.

mod order;
mod quirks;
mod wanted;

use std::collections::BTreeMap;

use futures::future::try_join3;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::networking::v1;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};
use serin_core::crd::{IngressRoute, ModelReleaseSpec};
use serin_core::plan::{RouteSeen, Split};
use serin_core::revision::Revision;
use serin_core::status::conditions::whole_second;

use self::order::Write;
use self::wanted::{CANARY, WEIGHT};
use super::apply;
use super::endpoints::{self, Behind, Slice, behind};
use super::front::{self, Services, asked_at};
use crate::context::Context;
use crate::error::{Error, gone};
use crate::release::{Identity, RELEASE_LABEL};

/// Time that an ingress controller is given to follow. With its defaults ingress-nginx takes in a change within 3.3 s
/// (its queue works 0.3 times a second) and its workers look for another second later; this is twice both.
const SETTLING: SignedDuration = SignedDuration::from_secs(10);

/// An Ingress, as far as it matters.
#[derive(Clone, Debug)]
pub(crate) struct Ingress {
    namespace: String,
    name: String,
    /// The release that it is labelled with.
    release: Option<String>,
    class: Option<String>,
    spec: v1::IngressSpec,
    annotations: BTreeMap<String, String>,
}

/// What stands.
#[derive(Debug)]
pub(crate) struct Standing {
    route: IngressRoute,
    /// All of the namespace, and those elsewhere that share the host.
    ingresses: Vec<Ingress>,
    pub(super) services: Services,
    slices: Vec<Slice>,
}

/// What a canary Ingress sends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Branch {
    revision: Revision,
    weight: i32,
}

/// How an Ingress of ours is beside what is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    AsAsked,
    /// As an older `spec`, or a clock that was set back since, asked for it.
    Older,
    /// As somebody else has left it, and in what it differs.
    Changed(String),
}

impl Ingress {
    /// The fields that are read.
    pub(crate) fn of(ingress: &v1::Ingress) -> Self {
        const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";
        const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
        let spec = ingress.spec.clone().unwrap_or_default();
        let mut annotations = ingress.annotations().clone();
        annotations.remove(LAST_APPLIED);
        Self {
            namespace: ingress.namespace().unwrap_or_default(),
            name: ingress.name_any(),
            release: ingress.labels().get(RELEASE_LABEL).cloned(),
            class: spec
                .ingress_class_name
                .clone()
                .or_else(|| annotations.get(LEGACY_CLASS).cloned()),
            spec,
            annotations,
        }
    }

    /// Whether what becomes of it may matter to a release behind this host in this namespace.
    pub(crate) fn concerns(&self, namespace: &str, host: &str) -> bool {
        self.namespace == namespace || self.rules().any(|rule| rule.host == host)
    }

    fn is_canary(&self) -> bool {
        self.annotations.get(CANARY).is_some_and(|value| value == "true")
    }

    fn asked_at(&self) -> Option<Timestamp> {
        asked_at(&self.annotations)
    }

    /// All rules, path by path.
    fn rules(&self) -> impl Iterator<Item = Rule<'_>> {
        let rules = self.spec.rules.iter().flatten();
        rules.flat_map(|rule| {
            let host = rule.host.as_deref().unwrap_or_default();
            let paths = rule.http.iter().flat_map(|http| &http.paths);
            paths.map(move |path| Rule {
                host,
                path: path.path.as_deref().unwrap_or("/"),
                path_type: &path.path_type,
                service: path.backend.service.as_ref().map(|service| service.name.as_str()),
            })
        })
    }

    /// The Services that it sends to.
    fn services(&self) -> impl Iterator<Item = &str> {
        let default = self.spec.default_backend.as_ref();
        let default = default.and_then(|backend| backend.service.as_ref());
        let named = self.rules().filter_map(|rule| rule.service);
        named.chain(default.map(|service| service.name.as_str()))
    }

    /// The words of messages.
    fn called(&self) -> String {
        format!("the Ingress {}/{}", self.namespace, self.name)
    }
}

/// A rule for one path.
#[derive(Clone, Copy, Debug)]
struct Rule<'a> {
    host: &'a str,
    path: &'a str,
    path_type: &'a str,
    service: Option<&'a str>,
}

/// Reads what stands.
pub(crate) async fn read(id: &Identity, route: &IngressRoute, ctx: &Context) -> Result<Standing, Error> {
    let all = async {
        let listed = ingresses(id, ctx).list(&ListParams::default()).await;
        listed.map_err(Error::api("list the Ingresses"))
    };
    let (listed, services, slices) = try_join3(all, front::read(id, ctx), endpoints::read(id, ctx)).await?;
    // One that shares the host from another namespace is known by the watch, if at all.
    let is_elsewhere =
        |other: &Ingress| other.namespace != id.namespace && other.concerns(&id.namespace, &route.host);
    let elsewhere = ctx.owned.ingresses.picked(is_elsewhere).unwrap_or_default();
    Ok(Standing {
        route: route.clone(),
        ingresses: listed.iter().map(Ingress::of).chain(elsewhere).collect(),
        services,
        slices,
    })
}

/// What watches have shown of it.
pub(crate) fn glance(id: &Identity, route: &IngressRoute, ctx: &Context) -> Option<Standing> {
    let concerns = |ingress: &Ingress| ingress.concerns(&id.namespace, &route.host);
    Some(Standing {
        route: route.clone(),
        ingresses: ctx.owned.ingresses.picked(concerns)?,
        services: front::glance(id, ctx)?,
        slices: endpoints::glance(id, ctx)?,
    })
}

fn ingresses(id: &Identity, ctx: &Context) -> Api<v1::Ingress> {
    Api::namespaced(ctx.client.clone(), &id.namespace)
}

fn canary_name(id: &Identity) -> String {
    format!("{}-canary", id.name)
}

impl Standing {
    /// What the Ingresses send to whom.
    pub(crate) fn seen(&self, id: &Identity, now: Timestamp) -> RouteSeen {
        if let Some((obstacle, why)) = self.obstacle(id, now) {
            return RouteSeen::Unsupported {
                obstacle,
                why,
                may_send: true,
            };
        }
        let Some(main) = self.main(id) else {
            return RouteSeen::Missing;
        };
        // Nobody is known to get anything: it is put right, whatever it sends.
        let changed = |why| RouteSeen::Asked {
            split: Split::default(),
            why,
        };
        match main.form(&wanted::main(id, &self.route, now), now) {
            Form::AsAsked => {}
            Form::Older => return RouteSeen::Outdated,
            Form::Changed(what) => return changed(format!("{}: {what}", main.called())),
        }
        let Some(stable) = self.stable_service() else {
            return changed(format!("the Service {} leads to no revision", id.name));
        };
        if self.service_asked_at().is_some_and(|asked_at| asked_at > now) {
            return RouteSeen::Outdated;
        }
        let branch = match self.canary(id) {
            None => None,
            Some(canary) => {
                let Some(branch) = canary.branch(id) else {
                    let what = "its weight is none, or its Service is not one of this release";
                    return changed(format!("{}: {what}", canary.called()));
                };
                let wanted = wanted::canary(id, &self.route, &branch, now);
                match canary.form(&wanted, now) {
                    Form::AsAsked => Some((canary, branch)),
                    Form::Older => return RouteSeen::Outdated,
                    Form::Changed(what) => return changed(format!("{}: {what}", canary.called())),
                }
            }
        };
        let split = match &branch {
            Some((_, branch)) if branch.revision != *stable => Split::of([
                (stable.clone(), 100 - branch.weight),
                (branch.revision.clone(), branch.weight),
            ]),
            Some(_) | None => Split::of([(stable.clone(), 100)]),
        };
        match self.waits(id, main, stable, branch.as_ref(), now) {
            None => RouteSeen::Carried(split),
            Some(why) => RouteSeen::Asked { split, why },
        }
    }

    /// What keeps the weights from counting as carried.
    fn waits(
        &self,
        id: &Identity,
        main: &Ingress,
        stable: &Revision,
        branch: Option<&(&Ingress, Branch)>,
        now: Timestamp,
    ) -> Option<String> {
        let weight = branch.map_or(0, |(_, branch)| branch.weight);
        let mut asked = vec![main.asked_at()];
        if weight < 100 {
            asked.push(self.service_asked_at());
            if let Some(why) = self.unready(&id.name, stable) {
                return Some(why);
            }
        }
        if let Some((canary, branch)) = branch {
            asked.push(canary.asked_at());
            let service = id.revision_name(&branch.revision);
            if let Some(why) = self.unready(&service, &branch.revision).filter(|_| weight > 0) {
                return Some(why);
            }
        }
        let is_new = |asked_at: Timestamp| !has_settled(asked_at, now);
        asked.into_iter().flatten().any(is_new).then(|| {
            let seconds = SETTLING.as_secs();
            format!(
                "the ingress controller is given {seconds}s to follow, for it does not say what it carries"
            )
        })
    }

    /// Why nobody answers behind a Service, if so.
    fn unready(&self, service: &str, revision: &Revision) -> Option<String> {
        match behind(&self.slices, service, Some(revision)) {
            Behind::Others => Some(format!(
                "the endpoints of the Service {service} are not yet those of {revision}"
            )),
            Behind::Ready(0) => Some(format!("the Service {service} has no ready endpoint yet")),
            Behind::Ready(_) => None,
        }
    }

    /// Whether the main Ingress is known to send to the stable revision's pods.
    fn is_stable_service_settled(&self, id: &Identity, now: Timestamp) -> bool {
        let is_ready = |stable| self.unready(&id.name, stable).is_none();
        self.stable_service().is_some_and(is_ready)
            && self
                .service_asked_at()
                .is_none_or(|asked_at| has_settled(asked_at, now))
    }

    /// Whether there is a canary Ingress.
    pub(crate) fn has_branch(&self, id: &Identity) -> bool {
        self.canary(id).is_some()
    }

    /// What the stable-named Service selects.
    fn stable_service(&self) -> Option<&Revision> {
        self.services.stable()
    }

    fn service_asked_at(&self) -> Option<Timestamp> {
        self.services.front.as_ref()?.asked_at
    }

    fn main(&self, id: &Identity) -> Option<&Ingress> {
        self.ours(id).find(|ingress| ingress.name == id.name)
    }

    fn canary(&self, id: &Identity) -> Option<&Ingress> {
        let name = canary_name(id);
        self.ours(id).find(|ingress| ingress.name == name)
    }

    fn ours(&self, id: &Identity) -> impl Iterator<Item = &Ingress> {
        self.ingresses.iter().filter(|ingress| ingress.is_of(id))
    }
}

impl Ingress {
    /// Whether it is one of the two that a release owns.
    fn is_of(&self, id: &Identity) -> bool {
        let is_named = self.name == id.name || self.name == canary_name(id);
        is_named && self.namespace == id.namespace && self.release.as_ref() == Some(&id.name)
    }

    /// What a canary Ingress sends; none where that cannot be told.
    fn branch(&self, id: &Identity) -> Option<Branch> {
        let weight = self.annotations.get(WEIGHT)?.parse().ok()?;
        Some(Branch {
            revision: id.revision_of(self.services().next()?)?,
            weight: Some(weight).filter(|weight| (0..=100).contains(weight))?,
        })
    }
}

fn has_settled(asked_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(asked_at) >= SETTLING
}

/// Brings the Ingresses nearer to a split; what cannot be done safely yet is left to the next look.
pub(crate) async fn write(
    id: &Identity,
    spec: &ModelReleaseSpec,
    route: &IngressRoute,
    split: &Split,
    ctx: &Context,
) -> Result<(), Error> {
    let now = whole_second((ctx.clock)());
    let standing = read(id, route, ctx).await?;
    let api = ingresses(id, ctx);
    for write in standing.writes(id, split, now) {
        match write {
            Write::Point(revision) => super::point(id, spec, &revision, ctx).await?,
            Write::Main => {
                apply(&api, &id.name, &wanted::main(id, route, now), "the Ingress").await?;
            }
            Write::Canary(branch) => {
                let canary = wanted::canary(id, route, &branch, now);
                apply(&api, &canary_name(id), &canary, "the Ingress").await?;
            }
            Write::DropCanary => drop_ingress(&api, &canary_name(id)).await?,
        }
    }
    Ok(())
}

/// Removes both Ingresses, the canary one first.
pub(crate) async fn take_away(id: &Identity, route: &IngressRoute, ctx: &Context) -> Result<(), Error> {
    let api = ingresses(id, ctx);
    for name in read(id, route, ctx).await?.taken_away(id) {
        drop_ingress(&api, name).await?;
    }
    Ok(())
}

async fn drop_ingress(api: &Api<v1::Ingress>, name: &str) -> Result<(), Error> {
    let done = api.delete(name, &DeleteParams::default()).await;
    gone(done.map(drop), &format!("the Ingress {name}"))
}

#[cfg(test)]
mod tests;
