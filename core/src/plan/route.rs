//! Shares of traffic, and what is seen of what carries them.

use std::collections::BTreeMap;

use crate::closed::closed_set;
use crate::policy::Percent;
use crate::revision::Revision;

/// Shares of traffic by revision, and who answers testers. The same type for what is wished and what is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    weights: BTreeMap<Revision, i32>,
    testers: Option<Revision>,
}

impl Split {
    /// A split with these weights; those of 0 keep their place in the route without traffic.
    pub fn of(weights: impl IntoIterator<Item = (Revision, i32)>) -> Self {
        Self {
            weights: weights.into_iter().collect(),
            testers: None,
        }
    }

    /// The same, with the testers' door open to `revision`, whatever its weight; shut where that is none.
    #[must_use]
    pub fn with_testers(self, revision: Option<Revision>) -> Self {
        Self {
            testers: revision,
            ..self
        }
    }

    /// Who answers testers; none while their door is shut.
    pub fn testers(&self) -> Option<&Revision> {
        self.testers.as_ref()
    }

    /// The shares of pods behind one Service, of which each gets as many requests as any other. The revision with the
    /// most of them has what rounding leaves.
    pub fn by_pods(pods: impl IntoIterator<Item = (Revision, i32)>) -> Self {
        let pods: Vec<_> = pods.into_iter().filter(|(_, pods)| *pods > 0).collect();
        let all: i32 = pods.iter().map(|(_, pods)| pods).sum();
        let most = pods.iter().max_by_key(|(_, pods)| *pods).cloned();
        let share = |pods: i32| Percent::of_pods(pods, all.saturating_sub(pods)).get();
        let mut shares: BTreeMap<_, _> = pods
            .into_iter()
            .map(|(revision, pods)| (revision, share(pods)))
            .collect();
        let rest = Percent::ALL.get() - shares.values().sum::<i32>();
        if let Some(share) = most.and_then(|(revision, _)| shares.get_mut(&revision)) {
            *share += rest;
        }
        Self::of(shares)
    }

    /// All weights, zeros included, by revision.
    pub fn weights(&self) -> impl Iterator<Item = (&Revision, i32)> {
        self.weights.iter().map(|(revision, weight)| (revision, *weight))
    }

    /// The weight of `revision`; 0 where it has none.
    pub fn weight(&self, revision: &Revision) -> i32 {
        self.weights.get(revision).copied().unwrap_or(0)
    }

    /// Those who get traffic.
    pub fn served(&self) -> impl Iterator<Item = &Revision> {
        let served = self.weights.iter().filter(|(_, weight)| **weight > 0);
        served.map(|(revision, _)| revision)
    }

    /// Everybody who has a place, be it without a weight.
    pub fn places(&self) -> impl Iterator<Item = &Revision> {
        self.weights.keys().chain(&self.testers)
    }

    /// Whether `revision` has a place, be it without a weight.
    pub fn names(&self, revision: &Revision) -> bool {
        self.places().any(|named| named == revision)
    }

    /// Whether nobody gets traffic.
    pub fn is_empty(&self) -> bool {
        self.served().next().is_none()
    }

    /// The only revision that has a place; none where there are several, or none.
    pub fn only(&self) -> Option<&Revision> {
        self.weights.keys().next().filter(|_| self.weights.len() == 1)
    }

    /// Whether more than one revision gets traffic.
    pub fn divides(&self) -> bool {
        self.served().nth(1).is_some()
    }

    /// Whether both send the same traffic to the same revisions.
    pub fn sends_as(&self, other: &Self) -> bool {
        let is_alike = |revision: &Revision| self.weight(revision) == other.weight(revision);
        self.testers == other.testers && self.sends_to_those_of(other) && self.served().all(is_alike)
    }

    /// Whether both send traffic to the same revisions, whatever the weights.
    pub fn sends_to_those_of(&self, other: &Self) -> bool {
        self.served().eq(other.served())
    }
}

closed_set! {
    /// What keeps a route from carrying any weights until a person has mended it. A closed set: reasons of conditions.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Obstacle {
        /// There is no Gateway API, or the rule to write to is not there or not free; mended, it is picked up.
        GatewayMissing,
        /// An object of the name is somebody else's.
        NameTaken,
        /// Another Ingress has the rule: the older one gets the requests.
        SecondMain,
        /// Another canary Ingress is on the rule, which has but one.
        SecondCanary,
        /// Another Ingress is on the path with another `pathType`.
        PathMismatch,
        /// Another Ingress sends to a Service of the release: the canary is dropped, or its weight holds there, too.
        SameServiceTwice,
        /// The stable Service has no ready endpoint: the canary is ignored, and requests fail.
        StableServiceEmpty,
    }
}

/// The route, as seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RouteSeen {
    /// There is none.
    #[default]
    Missing,
    /// It cannot carry weights.
    Unsupported {
        /// What keeps it from that.
        obstacle: Obstacle,
        /// In words.
        why: String,
        /// Whether what stands may send requests to pods of the release all the same.
        may_send: bool,
    },
    /// It is as `spec` asked for it before it was changed.
    Outdated,
    /// It exists; it is not known to be carried.
    Asked {
        /// The weights in its spec.
        split: Split,
        /// What its controller says, or what is not seen yet.
        why: String,
    },
    /// It is carried: its controller has accepted this generation, or as good as that.
    Carried(Split),
}

impl RouteSeen {
    /// Whether the data plane is seen to send traffic as `wished`.
    pub fn carries(&self, wished: &Split) -> bool {
        match self {
            Self::Missing | Self::Unsupported { may_send: false, .. } => wished.is_empty(),
            Self::Unsupported { may_send: true, .. } | Self::Outdated | Self::Asked { .. } => false,
            Self::Carried(split) => split.sends_as(wished),
        }
    }

    /// The weights in the route's spec; none where there is no route.
    pub(super) fn asked(&self) -> Option<&Split> {
        match self {
            Self::Missing | Self::Unsupported { .. } | Self::Outdated => None,
            Self::Asked { split, .. } | Self::Carried(split) => Some(split),
        }
    }

    /// Whether the route's spec says `wished`, carried or not.
    pub(super) fn asks(&self, wished: &Split) -> bool {
        match self {
            Self::Missing | Self::Unsupported { .. } => wished.is_empty(),
            // It is there, and it is not what is asked for.
            Self::Outdated => false,
            Self::Asked { split, .. } | Self::Carried(split) => split.sends_as(wished),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_one_service_get_whole_shares_that_add_up() {
        let shares = |pods: &[i32]| {
            let named = pods.iter().enumerate();
            let named = named.map(|(number, pods)| (Revision::recorded(&number.to_string()), *pods));
            let split = Split::by_pods(named);
            let shares: Vec<i32> = split.weights().map(|(_, weight)| weight).collect();
            shares
        };
        assert_eq!(shares(&[2, 1]), [67, 33]);
        assert_eq!(
            shares(&[7, 1]),
            [87, 13],
            "a half is rounded up, and the rest is stable's"
        );
        assert_eq!(shares(&[2, 2]), [50, 50]);
        assert_eq!(shares(&[2, 0]), [100], "without pods, without a place");
        assert_eq!(shares(&[1, 1, 1]).iter().sum::<i32>(), 100);
        assert!(shares(&[]).is_empty());
    }

    fn split(weights: &[(&str, i32)]) -> Split {
        Split::of(
            weights
                .iter()
                .map(|(revision, weight)| (Revision::recorded(revision), *weight)),
        )
    }

    #[test]
    fn two_splits_are_the_same_by_what_they_send_and_not_by_the_places_they_keep() {
        let a = split(&[("v1", 80), ("v2", 20)]);
        for (b, as_much, to_the_same) in [
            (split(&[("v1", 80), ("v2", 20)]), true, true),
            (split(&[("v1", 80), ("v2", 20), ("v3", 0)]), true, true),
            (split(&[("v1", 60), ("v2", 40)]), false, true),
            (split(&[("v1", 100), ("v2", 0)]), false, false),
            (split(&[("v1", 100)]), false, false),
            (split(&[("v1", 80), ("v3", 20)]), false, false),
            (split(&[("v1", 80), ("v2", 20), ("v3", 1)]), false, false),
            (
                a.clone().with_testers(Some(Revision::recorded("v2"))),
                false,
                true,
            ),
            (Split::default(), false, false),
        ] {
            for (a, b) in [(&a, &b), (&b, &a)] {
                assert_eq!(
                    (a.sends_as(b), a.sends_to_those_of(b)),
                    (as_much, to_the_same),
                    "{a:?} {b:?}"
                );
            }
        }
        let served = |weights: [i32; 2]| {
            let split = split(&[("v1", weights[0]), ("v2", weights[1])]);
            split.served().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(served([67, 33]), ["v1", "v2"]);
        assert_eq!(
            (served([100, 0]), served([0, 100])),
            (vec!["v1".into()], vec!["v2".into()])
        );
        assert!(Split::default().is_empty() && split(&[("v1", 0)]).is_empty());
        assert!(!split(&[("v1", 0), ("v2", 1)]).is_empty());
        assert!(a.divides() && !split(&[("v1", 100), ("v2", 0)]).divides());
        assert_eq!(split(&[("v1", 0)]).only(), Some(&Revision::recorded("v1")));
        assert_eq!((a.only(), Split::default().only()), (None, None));
        let [v1, v3] = ["v1", "v3"].map(Revision::recorded);
        let kept = split(&[("v1", 0)]);
        assert!(kept.names(&v1) && !kept.names(&v3));
        assert!(kept.with_testers(Some(v3.clone())).names(&v3));
    }

    #[test]
    fn a_route_that_sends_nothing_is_right_for_nobody_else() {
        let wished = split(&[("v1", 100)]);
        let nothing = Split::default();
        let unsupported = |may_send| RouteSeen::Unsupported {
            obstacle: Obstacle::NameTaken,
            why: String::new(),
            may_send,
        };
        let asked = |split: &Split| RouteSeen::Asked {
            split: split.clone(),
            why: String::new(),
        };
        // Whether it carries and whether it asks for: what is wished, and nothing.
        for (seen, of_wished, of_nothing) in [
            (RouteSeen::Missing, (false, false), (true, true)),
            (unsupported(false), (false, false), (true, true)),
            (unsupported(true), (false, false), (false, true)),
            (RouteSeen::Outdated, (false, false), (false, false)),
            (asked(&wished), (false, true), (false, false)),
            (asked(&nothing), (false, false), (false, true)),
            (RouteSeen::Carried(wished.clone()), (true, true), (false, false)),
        ] {
            for (split, expected) in [(&wished, of_wished), (&nothing, of_nothing)] {
                assert_eq!(
                    (seen.carries(split), seen.asks(split)),
                    expected,
                    "{seen:?} {split:?}"
                );
            }
        }
    }
}
