//! Requests of people: each is answered once, in words, and followed where it fits.

use super::request::{Answer, Request, Verb, ordinal};
use super::stages::{Look, Move, go_on, news};
use super::{Canary, Outcome, Reason, Stage, State, Transition};
use crate::revision::{Revision, Version};

/// What a request comes to.
enum Heard {
    /// It leads to another state by itself.
    Moves(Move, String),
    /// It is noted in the state, and the release goes on.
    Noted(State, String),
    /// It does not fit.
    Ignored(String),
    /// Nothing is done about it while the release is paused.
    Waits,
}

impl Look<'_> {
    /// Answers what is asked, if anything is, and goes on.
    pub(super) fn heed_request(&self) -> Option<Move> {
        let asked = self.seen.request.as_ref()?;
        let (text, revision) = match asked {
            Ok(request) => (request.to_string(), Some(&request.revision)),
            Err(wrong) => (wrong.0.clone(), None),
        };
        if self.state.has_answered(&text) {
            return None;
        }
        let heard = match asked {
            Ok(request) => self.hear(request),
            Err(wrong) => Heard::Ignored(wrong.to_string()),
        };
        let (moved, is_followed, words) = match heard {
            Heard::Waits => return None,
            Heard::Moves(moved, words) => (moved, true, words),
            Heard::Noted(state, words) => (
                go_on(&Look {
                    state: &state,
                    ..*self
                }),
                true,
                words,
            ),
            Heard::Ignored(words) => (go_on(self), false, words),
        };
        let answer = Answer {
            request: text.clone(),
            is_followed,
            words: words.clone(),
        };
        let moved = Move {
            state: State {
                answered: Some(answer),
                ..moved.state
            },
            ..moved
        };
        if is_followed {
            return Some(moved);
        }
        let nobody = Revision::recorded("");
        let revision = revision.unwrap_or(&nobody);
        let told = news(
            revision,
            Transition::RequestIgnored,
            true,
            format!("{text}: {words}"),
            ordinal(&text),
        );
        Some(moved.tell(told))
    }

    fn hear(&self, request: &Request) -> Heard {
        let hear: fn(&Self, &Canary) -> Heard = match request.verb {
            Verb::Retry => return self.hear_retry(request),
            Verb::Undo => return self.hear_undo(request),
            Verb::Abort => Self::hear_abort,
            Verb::Approve => Self::hear_approve,
            Verb::Promote => Self::hear_promote,
            Verb::Skip => Self::hear_skip,
        };
        let on_trial = self.state.canary.as_ref();
        let Some(canary) = on_trial.filter(|canary| canary.version.revision == request.revision) else {
            return Heard::Ignored(format!("no canary of revision {} is on trial", request.revision));
        };
        if !request.is_of(canary) {
            return Heard::Ignored(format!(
                "it is meant for another trial than the one that began at {}",
                canary.began
            ));
        }
        if canary.stage == Stage::RollingBack {
            return Heard::Ignored("the canary is being rolled back already".into());
        }
        if self.policy.paused && request.verb != Verb::Abort {
            return Heard::Waits;
        }
        if request.verb == Verb::Skip && request.step() != Some(canary.step.to_string().as_str()) {
            return Heard::Ignored(format!("the canary is at step {}", canary.step));
        }
        hear(self, canary)
    }

    fn hear_abort(&self, canary: &Canary) -> Heard {
        let outcome = Outcome::new(Reason::Aborted, "a person asked for it");
        let words = format!("{} is rolled back out of {:?}", canary.version.name, canary.stage);
        Heard::Moves(self.roll_back(canary, outcome), words)
    }

    fn hear_approve(&self, canary: &Canary) -> Heard {
        let approved = Canary {
            is_approved: true,
            ..canary.clone()
        };
        let words = format!("{} may be promoted when it has passed", canary.version.name);
        Heard::Noted(self.with(approved), words)
    }

    fn hear_promote(&self, canary: &Canary) -> Heard {
        let words = format!("{} is promoted without more evidence", canary.version.name);
        match canary.stage {
            Stage::Growing | Stage::Promoting | Stage::RollingBack => {
                Heard::Ignored("the canary is being promoted already".into())
            }
            // It has no traffic yet, and gets it all at once when all its pods are ready.
            Stage::Preparing => {
                let trusted = Canary {
                    trusted: true,
                    ..canary.clone()
                };
                Heard::Noted(self.with(trusted), words)
            }
            Stage::Shifting | Stage::Soaking => Heard::Moves(
                self.grow(canary, "a person asked for it, before the judgement".into()),
                words,
            ),
        }
    }

    /// Whether a person's word alone promotes it.
    pub(super) fn is_asked_for(&self, canary: &Canary) -> bool {
        let followed = self.state.answered.as_ref().filter(|answer| answer.is_followed);
        let request = followed.and_then(|answer| answer.request.parse::<Request>().ok());
        request.is_some_and(|request| request.verb == Verb::Promote && request.is_of(canary))
    }

    fn hear_skip(&self, canary: &Canary) -> Heard {
        match canary.stage {
            Stage::Shifting | Stage::Soaking => {
                let outcome = Outcome::new(Reason::Promoted, "a person skipped the rest of the step");
                // To skip what is left of the last step is a yes: nobody is asked twice.
                let approved = Canary {
                    is_approved: canary.is_approved || self.is_last_step(canary),
                    ..canary.clone()
                };
                Heard::Moves(
                    self.passed(&approved, outcome),
                    format!("step {} is taken as passed", canary.step),
                )
            }
            Stage::Preparing => Heard::Ignored("the canary has no traffic yet: no step is under way".into()),
            Stage::Growing | Stage::Promoting | Stage::RollingBack => {
                Heard::Ignored("the canary has passed its steps".into())
            }
        }
    }

    fn hear_retry(&self, request: &Request) -> Heard {
        if self.state.retry().as_ref() != Some(request) || self.state.canary.is_some() {
            return Heard::Ignored("that is not the last rollback of the wanted version".into());
        }
        if self.policy.paused {
            return Heard::Waits;
        }
        let state = State {
            rejected: None,
            ..self.state.clone()
        };
        Heard::Noted(state, "it is tried once more".into())
    }

    fn hear_undo(&self, request: &Request) -> Heard {
        if self.state.canary.is_some() {
            return Heard::Ignored("a canary is on trial: abort it first".into());
        }
        let Some(stable) = self
            .state
            .stable
            .as_ref()
            .filter(|stable| stable.revision == request.revision)
        else {
            return Heard::Ignored(format!("revision {} is not the stable one", request.revision));
        };
        if request.occasion.is_some() && self.state.undo().as_ref() != Some(request) {
            return Heard::Ignored(format!("{} was not promoted at that time", stable.name));
        }
        let is_kept = |version: &&Version| {
            self.seen.workloads.contains_key(&version.revision)
                && self.state.promoted_before(self.policy, version)
        };
        let before = self.state.window(self.policy).find(is_kept).cloned();
        let Some(before) = before else {
            return Heard::Ignored("no version that was stable before is kept".into());
        };
        if self.policy.paused || self.policy.is_asleep() {
            return Heard::Waits;
        }
        let outcome = Outcome::new(Reason::Undone, format!("a person returned to {}", before.name));
        // What spec asks for stays turned down: otherwise it would be tried in the place of the one returned to.
        let kept = self.state.rejected.clone();
        let kept = kept.filter(|(version, _)| self.wanted.may_be(&version.revision));
        let asked_for = self.wanted.version();
        let to_be_tried = asked_for
            .filter(|wanted| wanted.revision != stable.revision && wanted.revision != before.revision);
        let rejected = match (kept, to_be_tried) {
            (Some(kept), _) => kept,
            (None, None) => (stable.clone(), outcome.clone()),
            (None, Some(wanted)) => {
                return Heard::Ignored(format!(
                    "spec asks for {}, which is still to be tried: let it ask for {} instead",
                    wanted.name, before.name
                ));
            }
        };
        let undone = State {
            rejected: Some(rejected),
            history: self.remember(stable.clone(), outcome),
            ..self.state.clone()
        };
        let words = format!("{} takes the place of {}", before.name, stable.name);
        Heard::Moves(
            Look {
                state: &undone,
                ..*self
            }
            .begin(&before),
            words,
        )
    }
}
