//! What ingress-nginx makes of Ingresses that meet, where that is not what anybody meant.
//!
//! It keeps one upstream for each Service and port, whoever names it, and hangs a canary onto the upstream of the main
//! Ingress with the same host, path and `pathType`: one canary for each, and none onto an upstream of its own name or
//! onto one that has no endpoints. It says so in its log alone.

use jiff::Timestamp;
use serin_core::plan::Obstacle;

use super::{Behind, Ingress, Standing, behind, canary_name, has_settled};
use crate::release::Identity;

impl Standing {
    /// The first quirk that keeps the weights from being what they say: in words, with the object and the remedy.
    pub(super) fn obstacle(&self, id: &Identity, now: Timestamp) -> Option<(Obstacle, String)> {
        let others = || self.ingresses.iter().filter(|other| !other.is_of(id));
        let met = others().find_map(|other| self.meets(other, id));
        met.or_else(|| self.empty_service(id, now))
    }

    /// What is the matter with an Ingress that is not of this release.
    fn meets(&self, other: &Ingress, id: &Identity) -> Option<(Obstacle, String)> {
        let called = other.called();
        let is_beside = other.namespace == id.namespace;
        if is_beside && (other.name == id.name || other.name == canary_name(id)) {
            let why = format!(
                "{called} has a name that this release needs and is not its own: rename it, or the release"
            );
            return Some((Obstacle::NameTaken, why));
        }
        if other.class.as_ref() != Some(&self.route.class_name) {
            return None;
        }
        let is_ours = |service: &&str| *service == id.name || id.revision_of(service).is_some();
        if let Some(service) = other.services().find(is_ours).filter(|_| is_beside) {
            let why = format!(
                "{called} sends to the Service {service} of this release, too: ingress-nginx has one upstream for each \
                 Service, so the canary would be dropped, or have its weight there as well; give that Ingress a Service \
                 of its own"
            );
            return Some((Obstacle::SameServiceTwice, why));
        }
        let (host, path) = (&self.route.host, &self.route.path);
        let same = other
            .rules()
            .find(|rule| rule.host == host && rule.path == path)?;
        let ours = self.route.path_type.as_str();
        if same.path_type != ours {
            let why = format!(
                "{called} has {host}{path} as pathType {}, this release as {ours}: ingress-nginx sends each a part of \
                 the requests, and merges no canary across; give one of them another path",
                same.path_type
            );
            return Some((Obstacle::PathMismatch, why));
        }
        Some(if other.is_canary() {
            let why = format!(
                "{called} is a canary on {host}{path}, too: ingress-nginx heeds one canary of a rule; delete it, or \
                 give it another path"
            );
            (Obstacle::SecondCanary, why)
        } else {
            let why = format!(
                "{called} has {host}{path}, too: ingress-nginx sends all requests to the older of both; delete it, or \
                 give it another path"
            );
            (Obstacle::SecondMain, why)
        })
    }

    /// Nobody to answer behind the main Ingress, for longer than it takes to begin.
    fn empty_service(&self, id: &Identity, now: Timestamp) -> Option<(Obstacle, String)> {
        let main = self.main(id)?;
        let stable = self.stable_service()?;
        let asked = [main.asked_at(), self.service_asked_at()];
        let has_settled = asked
            .into_iter()
            .flatten()
            .all(|asked_at| has_settled(asked_at, now));
        let is_empty = behind(&self.slices, &id.name, Some(stable)) == Behind::Ready(0);
        (has_settled && is_empty).then(|| {
            let why = format!(
                "the stable Service {} has no ready endpoint: ingress-nginx then ignores the canary, too, and answers \
                 503; mend the pods of {stable}, or promote a version that is ready",
                id.name
            );
            (Obstacle::StableServiceEmpty, why)
        })
    }
}
