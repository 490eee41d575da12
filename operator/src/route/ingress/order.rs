//! In which order the objects are written, so that there is never a moment in which requests go nowhere.
//!
//! - The first release: the Service points at the revision, then the main Ingress appears.
//! - A weight: the canary Ingress alone. It comes after the main one and goes before it.
//! - A promotion: the canary Ingress at 100, and carried; then the planner points the Service at the new revision; the
//!   canary Ingress goes when the main one has been seen to send to the new pods, and no sooner.
//! - A rollback: the canary Ingress at 0, and carried; it goes when the trial is over.
//! - A new canary before that is done: the canary Ingress is not turned to it while stable's requests depend on it.
//! - A deletion: the canary Ingress, then the main one; see [`Standing::taken_away`].
//!
//! What would give a canary more is not written while something stands in the way; what takes from it always is.

use jiff::Timestamp;
use serin_core::plan::{Obstacle, Split};
use serin_core::revision::Revision;

use super::{Branch, Form, Standing, wanted};
use crate::release::Identity;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// Let the stable-named Service select this revision.
    Point(Revision),
    /// Let the main Ingress be as asked.
    Main,
    /// Let the canary Ingress be as asked and send so.
    Canary(Branch),
    /// Let there be no canary Ingress.
    DropCanary,
}

/// What the canary Ingress is to be.
enum Aim {
    /// As it sends here.
    Send(Branch),
    /// No more.
    Gone,
    /// As it is, until the planner has moved the Service.
    Stay,
}

impl Standing {
    /// The writes that are safe now on the way to a split, in their order; none where it is come to, or waited for.
    pub(super) fn writes(&self, id: &Identity, split: &Split, now: Timestamp) -> Vec<Write> {
        let obstacle = self.obstacle(id, now).map(|(obstacle, _)| obstacle);
        let may_have_main = matches!(obstacle, None | Some(Obstacle::StableServiceEmpty));
        let point = self.point(split, obstacle, now);
        let main = (may_have_main && !self.is_main_as_asked(id, now)).then_some(Write::Main);
        let canary = if point.is_some() {
            // The Service is on its way: the canary Ingress is judged by where it is then.
            None
        } else {
            self.canary_write(id, split, obstacle, now)
        };
        point.into_iter().chain(main).chain(canary).collect()
    }

    /// The Ingresses to remove where nothing is to be sent any more, in this order.
    pub(super) fn taken_away<'a>(&'a self, id: &Identity) -> impl Iterator<Item = &'a str> {
        let both = self.canary(id).into_iter().chain(self.main(id));
        both.map(|ingress| ingress.name.as_str())
    }

    /// Where the Service is to point without the planner's asking: at the first release there is nothing that it could
    /// ask for, and behind an empty Service a canary Ingress is of no use.
    fn point(&self, split: &Split, obstacle: Option<Obstacle>, now: Timestamp) -> Option<Write> {
        let all = split
            .weights()
            .find(|(_, weight)| *weight == 100)
            .map(|(revision, _)| revision);
        let to = |revision: &Revision| Some(Write::Point(revision.clone()));
        match (self.stable_service(), all) {
            (None, Some(revision)) => to(revision),
            (Some(stable), Some(revision))
                if stable != revision && obstacle == Some(Obstacle::StableServiceEmpty) =>
            {
                to(revision)
            }
            // Its time is that of a clock that was set back: it is taken anew.
            (Some(stable), _) if self.service_asked_at().is_some_and(|asked_at| asked_at > now) => to(stable),
            (None, None) | (Some(_), _) => None,
        }
    }

    fn is_main_as_asked(&self, id: &Identity, now: Timestamp) -> bool {
        let wanted = wanted::main(id, &self.route, now);
        self.main(id)
            .is_some_and(|main| main.form(&wanted, now) == Form::AsAsked)
    }

    fn canary_write(
        &self,
        id: &Identity,
        split: &Split,
        obstacle: Option<Obstacle>,
        now: Timestamp,
    ) -> Option<Write> {
        let standing = self.canary(id);
        let branch = standing.and_then(|canary| canary.branch(id));
        let wanted = match self.aim(split) {
            Aim::Stay => return None,
            Aim::Gone => {
                let is_needed = branch.is_some_and(|branch| self.is_needed(&branch));
                let may_go = !is_needed || self.is_stable_service_settled(id, now);
                return standing.filter(|_| may_go).map(|_| Write::DropCanary);
            }
            // Without a weight it is only there to have had one.
            Aim::Send(none) if none.weight == 0 && standing.is_none() => return None,
            Aim::Send(branch) => branch,
        };
        let is_as_asked = standing.is_some_and(|canary| {
            let form = canary.form(&wanted::canary(id, &self.route, &wanted, now), now);
            form == Form::AsAsked
        });
        if is_as_asked {
            return None;
        }
        // Stable's requests come over it until the Service is known to be followed.
        if let Some(branch) = &branch
            && self.is_needed(branch)
            && *branch != wanted
            && !self.is_stable_service_settled(id, now)
        {
            return None;
        }
        let had = branch
            .as_ref()
            .filter(|branch| branch.revision == wanted.revision);
        let is_more = wanted.weight > had.map_or(0, |branch| branch.weight);
        (obstacle.is_none() || !is_more).then_some(Write::Canary(wanted))
    }

    fn aim(&self, split: &Split) -> Aim {
        let send = |(revision, weight): (&Revision, i32)| {
            Aim::Send(Branch {
                revision: revision.clone(),
                weight,
            })
        };
        let stable = self.stable_service();
        if split.only().is_some_and(|only| Some(only) == stable) {
            return Aim::Gone;
        }
        // Of a split of one revision: it carries everything until the Service does.
        let mut others = split.weights().filter(|(revision, _)| Some(*revision) != stable);
        match (others.next(), others.next()) {
            (Some(other), None) => send(other),
            // Neither is behind the Service: it has to be moved first.
            (_, _) => Aim::Stay,
        }
    }

    /// Whether a canary Ingress sends to what the Service selects: it was promoted over it a moment ago.
    fn is_needed(&self, branch: &Branch) -> bool {
        branch.weight > 0 && Some(&branch.revision) == self.stable_service()
    }
}
