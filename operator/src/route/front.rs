//! The Services of a release: the stable-named one, in front of the pods of one revision or of all of them, and one for
//! each revision.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use serin_core::crd::ModelReleaseSpec;
use serin_core::revision::Revision;

use super::apply;
use crate::build;
use crate::context::Context;
use crate::error::{Error, gone};
use crate::release::{ASKED_AT, Identity, RELEASE_LABEL, REVISION_LABEL};

/// What a Service selects.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    /// None where it selects the pods of all revisions.
    pub(crate) revision: Option<Revision>,
    /// Whether it selects so, and by nothing else: somebody may have changed it.
    is_exact: bool,
    /// The port of theirs that it sends to.
    port: Option<IntOrString>,
    /// Since when, if that is written down.
    pub(crate) asked_at: Option<Timestamp>,
}

impl Selected {
    /// What a Service that is labelled as a release's selects.
    pub(crate) fn of(service: &Service) -> Self {
        let spec = service.spec.as_ref();
        let selector = spec.and_then(|spec| spec.selector.clone()).unwrap_or_default();
        let revision = selector.get(REVISION_LABEL);
        let release = selector.get(RELEASE_LABEL);
        let keys = 1 + usize::from(revision.is_some());
        let mut ports = spec.and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
        Self {
            revision: revision.map(|text| Revision::recorded(text)),
            is_exact: release.is_some()
                && release == service.labels().get(RELEASE_LABEL)
                && selector.len() == keys,
            port: ports.find_map(|port| port.target_port.clone()),
            asked_at: asked_at(service.annotations()),
        }
    }

    /// The name of the port of the pods that it sends to; numbers are somebody else's.
    fn port(&self) -> Option<&str> {
        match self.port.as_ref()? {
            IntOrString::String(name) => Some(name),
            IntOrString::Int(_) => None,
        }
    }
}

/// Since when an object is to be as it is, if that is written down in it.
pub(super) fn asked_at(annotations: &BTreeMap<String, String>) -> Option<Timestamp> {
    annotations.get(ASKED_AT)?.parse().ok()
}

/// The Services of a release.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    /// The stable-named one; none where it is not as the operator makes it.
    pub(crate) front: Option<Selected>,
    /// Those of the revisions.
    own: BTreeMap<Revision, Selected>,
    /// The names of all.
    pub(super) names: Vec<String>,
}

impl Services {
    /// A stable-named one that selects this revision since then, and no others.
    #[cfg(test)]
    pub(super) fn of_test(selected: Option<(Revision, Timestamp)>) -> Self {
        let front = selected.map(|(revision, asked_at)| Selected {
            revision: Some(revision),
            is_exact: true,
            port: None,
            asked_at: Some(asked_at),
        });
        Self {
            front,
            ..Self::default()
        }
    }

    /// Those that are labelled as the release's, by name.
    fn of(id: &Identity, all: impl IntoIterator<Item = (String, Selected)>) -> Self {
        let mut services = Self::default();
        for (name, selected) in all {
            match id.revision_of(&name) {
                Some(revision) => drop(services.own.insert(revision, selected)),
                None if name == id.name && selected.is_exact => services.front = Some(selected),
                None => {}
            }
            services.names.push(name);
        }
        services
    }

    /// Whether a revision has a Service of its own that leads to its pods.
    pub(crate) fn lead_to(&self, revision: &Revision) -> bool {
        let own = self.own.get(revision);
        own.is_some_and(|own| own.is_exact && own.revision.as_ref() == Some(revision))
    }

    /// The revision that the stable-named one selects; none where it selects several, or there is none.
    pub(crate) fn stable(&self) -> Option<&Revision> {
        self.front.as_ref()?.revision.as_ref()
    }

    /// The name of the port on which the pods of a revision listen, as far as Services tell: what its own one sends to was
    /// made from the `spec` of its time, which may say another by now.
    fn port(&self, revision: &Revision) -> Option<&str> {
        let front = self.front.as_ref();
        let front = || front.filter(|front| front.revision.as_ref() == Some(revision));
        self.own.get(revision).or_else(front)?.port()
    }
}

/// What there is. A Service of the release's name that is somebody else's is not among them.
pub(super) async fn read(id: &Identity, ctx: &Context) -> Result<Services, Error> {
    list(id, ctx).await.map_err(Error::api("list the Services"))
}

/// The same, for those who say themselves what they were at.
pub(super) async fn list(id: &Identity, ctx: &Context) -> kube::Result<Services> {
    let listed = services(id, ctx)
        .list(&ListParams::default().labels(&id.selector()))
        .await?;
    let selected = |service: &Service| (service.name_any(), Selected::of(service));
    Ok(Services::of(id, listed.iter().map(selected)))
}

/// As [`read`], from the watch; none where it does not know.
pub(super) fn glance(id: &Identity, ctx: &Context) -> Option<Services> {
    let shown = ctx.owned.services.of(&id.namespace, &id.name)?;
    Some(Services::of(id, shown))
}

/// Lets the Service of a revision exist whose pods do. Its port is what Services tell, or `spec`, where the pods have it.
///
/// What the pods read of configuration is owned by the Service that was there, and may go with it: it is not known any more.
pub(crate) async fn serve(
    id: &Identity,
    spec: &ModelReleaseSpec,
    revision: &Revision,
    ctx: &Context,
) -> Result<(), Error> {
    let name = id.revision_name(revision);
    let deployments: Api<Deployment> = Api::namespaced(ctx.client.clone(), &id.namespace);
    let pods = deployments.get_opt(&name).await;
    let Some(pods) = pods.map_err(Error::api(format!("read the Deployment {name}")))? else {
        return Ok(());
    };
    let known = read(id, ctx).await?;
    let ports = port_names(&pods);
    let mut told = known.port(revision).into_iter().chain([&*spec.serving.port]);
    let port = told.find(|told| ports.contains(told));
    let port = port.or(ports.first().copied()).unwrap_or(&spec.serving.port);
    serve_at(port, id, revision, ctx).await.map(drop)
}

/// The same, at this port of the pods.
pub(crate) async fn serve_at(
    port: &str,
    id: &Identity,
    revision: &Revision,
    ctx: &Context,
) -> Result<Service, Error> {
    let service = build::revision_service(id, port, revision);
    let name = id.revision_name(revision);
    apply(&services(id, ctx), &name, &service, "the revision's Service").await
}

/// The names of the ports of the pods of a Deployment.
fn port_names(deployment: &Deployment) -> Vec<&str> {
    let pod = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let containers = pod.into_iter().flat_map(|pod| &pod.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(|port| port.name.as_deref()).collect()
}

/// Lets the stable-named one select the pods of the one revision that is served, or all pods where there are several.
/// One that does so already is left as it is, unless the time is to be written down.
///
/// Errors: a Service of the name is somebody else's, or the pods to be served listen on ports of other names.
pub(super) async fn select(
    id: &Identity,
    spec: &ModelReleaseSpec,
    served: &[&Revision],
    asked_at: Option<Timestamp>,
    ctx: &Context,
) -> Result<(), Error> {
    let only = match served {
        [only] => Some(*only),
        _ => None,
    };
    let known = read(id, ctx).await?;
    let does_so = |front: &Selected| front.revision.as_ref() == only;
    if asked_at.is_none() && known.front.as_ref().is_some_and(does_so) {
        return Ok(());
    }
    if known.front.is_none() && find(id, ctx).await?.is_some_and(|found| !is_ours(&found, id)) {
        return Err(Error::NameTaken(id.name.clone()));
    }
    let port = |revision: &&Revision| known.port(revision).unwrap_or(&spec.serving.port);
    let mut ports: Vec<_> = served.iter().map(port).collect();
    ports.sort_unstable();
    ports.dedup();
    let [port] = &ports[..] else {
        return Err(Error::UnlikePorts(ports.join(" and ")));
    };
    let service = build::front_service(id, port, only, asked_at);
    apply(&services(id, ctx), &id.name, &service, "the stable Service")
        .await
        .map(drop)
}

/// Removes it; one that is somebody else's stays.
pub(super) async fn remove(id: &Identity, ctx: &Context) -> Result<(), Error> {
    let Some(found) = find(id, ctx).await?.filter(|found| is_ours(found, id)) else {
        return Ok(());
    };
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: found.metadata.uid,
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let done = services(id, ctx).delete(&id.name, &params).await;
    gone(done.map(drop), "the stable Service")
}

async fn find(id: &Identity, ctx: &Context) -> Result<Option<Service>, Error> {
    let found = services(id, ctx).get_opt(&id.name).await;
    found.map_err(Error::api("read the stable Service"))
}

fn is_ours(service: &Service, id: &Identity) -> bool {
    service.labels().get(RELEASE_LABEL) == Some(&id.name)
}

fn services(id: &Identity, ctx: &Context) -> Api<Service> {
    Api::namespaced(ctx.client.clone(), &id.namespace)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const A: &str = "1a2b3c4d";
    const B: &str = "5e6f7a8b";

    fn service(name: &str, selector: &Value, port: &Value) -> (String, Selected) {
        let service = json!({
            "metadata": {"labels": {RELEASE_LABEL: "recommender"}},
            "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": port}]},
        });
        let service: Service = serde_json::from_value(service).unwrap();
        (name.to_owned(), Selected::of(&service))
    }

    #[test]
    fn a_service_leads_to_pods_that_it_selects_by_what_the_operator_wrote() {
        let of = |revision: &str| json!({RELEASE_LABEL: "recommender", REVISION_LABEL: revision});
        let more = json!({RELEASE_LABEL: "recommender", REVISION_LABEL: A, "app": "blue"});
        let another = json!({RELEASE_LABEL: "shop", REVISION_LABEL: A});
        let (own, front) = (format!("recommender-{A}"), "recommender");
        for (selector, leads) in [
            (of(A), true),
            (of(B), false),
            (more, false),
            (another, false),
            (json!({}), false),
        ] {
            let all = [(&*own, &selector), (front, &selector)];
            let all = all.map(|(name, selector)| service(name, selector, &json!("http")));
            let services = Services::of(&Identity::of_test(), all);
            assert_eq!(services.lead_to(&Revision::recorded(A)), leads, "{selector}");
            assert_eq!(
                services.stable() == Some(&Revision::recorded(A)),
                leads,
                "{selector}"
            );
            assert_eq!(services.names, [&*own, front]);
        }
        assert!(!Services::default().lead_to(&Revision::recorded(A)));
    }

    #[test]
    fn the_port_of_a_revision_is_that_of_its_own_service_or_of_the_stable_one() {
        let of = |revision: &str| json!({RELEASE_LABEL: "recommender", REVISION_LABEL: revision});
        let front = service("recommender", &of(A), &json!("http"));
        let own = |port: Value| service(&format!("recommender-{A}"), &of(B), &port);
        let port = |all: Vec<(String, Selected)>, revision: &str| {
            let services = Services::of(&Identity::of_test(), all);
            services.port(&Revision::recorded(revision)).map(str::to_owned)
        };
        assert_eq!(port(vec![front.clone()], A), Some("http".into()));
        assert_eq!(port(vec![front.clone()], B), None);
        assert_eq!(
            port(vec![front.clone(), own(json!("web"))], A),
            Some("web".into()),
            "whomever it selects"
        );
        assert_eq!(
            port(vec![front, own(json!(8082))], A),
            None,
            "a number is somebody else's"
        );
    }
}
