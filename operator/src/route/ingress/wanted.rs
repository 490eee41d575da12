//! How the Ingresses of a release are to be, and how one that stands differs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serin_core::crd::IngressRoute;

use super::{Branch, Form, Ingress, canary_name};
use crate::build::SERVICE_PORT;
use crate::release::{ASKED_AT, Identity};
use crate::route::{FROM, made_from};

/// Makes an Ingress the canary of another on the same rule.
pub(super) const CANARY: &str = "nginx.ingress.kubernetes.io/canary";
/// Percent of the requests that a canary gets.
pub(super) const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";

/// The main Ingress: whatever is not the canary's goes to the stable-named Service.
pub(super) fn main(id: &Identity, route: &IngressRoute, asked_at: Timestamp) -> v1::Ingress {
    ingress(id, route, id.name.clone(), id.name.clone(), asked_at)
}

/// The canary Ingress. ingress-nginx takes most annotations from the main one; those of balancing must be the same.
pub(super) fn canary(
    id: &Identity,
    route: &IngressRoute,
    branch: &Branch,
    asked_at: Timestamp,
) -> v1::Ingress {
    let service = id.revision_name(&branch.revision);
    let mut canary = ingress(id, route, canary_name(id), service, asked_at);
    let annotations = canary.metadata.annotations.get_or_insert_default();
    annotations.insert(CANARY.into(), "true".into());
    annotations.insert(WEIGHT.into(), branch.weight.to_string());
    canary
}

fn ingress(
    id: &Identity,
    route: &IngressRoute,
    name: String,
    service: String,
    asked_at: Timestamp,
) -> v1::Ingress {
    let service = v1::IngressServiceBackend {
        name: service,
        port: Some(v1::ServiceBackendPort {
            number: Some(SERVICE_PORT),
            name: None,
        }),
    };
    let path = v1::HTTPIngressPath {
        path: Some(route.path.clone()),
        path_type: route.path_type.as_str().into(),
        backend: v1::IngressBackend {
            service: Some(service),
            resource: None,
        },
    };
    let rule = v1::IngressRule {
        host: Some(route.host.clone()),
        http: Some(v1::HTTPIngressRuleValue { paths: vec![path] }),
    };
    let tls = route.tls_secret_name.as_ref().map(|secret| {
        vec![v1::IngressTLS {
            hosts: Some(vec![route.host.clone()]),
            secret_name: Some(secret.clone()),
        }]
    });
    let mut annotations = route.annotations.clone();
    annotations.insert(FROM.into(), made_from(route));
    annotations.insert(ASKED_AT.into(), asked_at.to_string());
    v1::Ingress {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(id.namespace.clone()),
            labels: Some(id.common_labels()),
            annotations: Some(annotations),
            owner_references: Some(vec![id.owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(v1::IngressSpec {
            ingress_class_name: Some(route.class_name.clone()),
            rules: Some(vec![rule]),
            tls,
            default_backend: None,
        }),
        status: None,
    }
}

impl Ingress {
    /// How it is beside one that is wanted.
    pub(super) fn form(&self, wanted: &v1::Ingress, now: Timestamp) -> Form {
        let wanted = Self::of(wanted);
        let of = |annotations: &BTreeMap<String, String>| annotations.get(FROM).cloned();
        match (of(&self.annotations), self.asked_at()) {
            (Some(from), _) if Some(&from) != of(&wanted.annotations).as_ref() => return Form::Older,
            (Some(_), Some(asked_at)) if asked_at > now => return Form::Older,
            (Some(_), Some(_)) => {}
            (None, _) | (_, None) => {
                return Form::Changed(format!("the annotation {FROM} or {ASKED_AT} is gone"));
            }
        }
        if self.spec != wanted.spec {
            return Form::Changed(self.difference(&wanted));
        }
        let differs = |(key, value): &(&String, &String)| {
            key.as_str() != ASKED_AT && self.annotations.get(*key) != Some(value)
        };
        match wanted.annotations.iter().find(differs) {
            None => Form::AsAsked,
            Some((key, value)) => Form::Changed(format!(
                "its annotation {key} is {}, not \"{value}\"",
                self.annotations
                    .get(key)
                    .map_or("gone".into(), |found| format!("\"{found}\""))
            )),
        }
    }

    /// In what its spec is not the wanted one.
    fn difference(&self, wanted: &Self) -> String {
        let is = |ingress: &Self| {
            let each = ingress
                .rules()
                .map(|rule| format!("{}{} ({})", rule.host, rule.path, rule.path_type));
            each.collect::<Vec<_>>().join(", ")
        };
        let (found, asked) = (is(self), is(wanted));
        if found != asked {
            return format!(
                "its rule is {found}, not {asked}: a canary of another path or pathType than the main Ingress is dropped"
            );
        }
        let services: Vec<_> = self.services().collect();
        if services != wanted.services().collect::<Vec<_>>() {
            return format!("it sends to the Service {}", services.join(", "));
        }
        if self.class != wanted.class {
            return format!("its class is {}", self.class.as_deref().unwrap_or("none"));
        }
        "its TLS or its default backend is another".into()
    }
}
