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
        if self
            .state
            .answered
            .as_ref()
            .is_some_and(|answer| answer.request == text)
        {
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
        match request.verb {
            Verb::Retry => return self.hear_retry(request),
            Verb::Undo => return self.hear_undo(request),
            Verb::Abort | Verb::Approve | Verb::Promote | Verb::Skip => {}
        }
        let Some(canary) = self
            .state
            .canary
            .as_ref()
            .filter(|canary| canary.version.revision == request.revision)
        else {
            return Heard::Ignored(format!("no canary of revision {} is on trial", request.revision));
        };
        if canary.stage == Stage::RollingBack {
            return Heard::Ignored("the canary is being rolled back already".into());
        }
        let name = &canary.version.name;
        match request.verb {
            Verb::Abort => {
                let outcome = Outcome::new(Reason::Aborted, "a person asked for it");
                let words = format!("{name} is rolled back out of {:?}", canary.stage);
                Heard::Moves(self.roll_back(canary, outcome), words)
            }
            Verb::Approve | Verb::Promote | Verb::Skip | Verb::Retry | Verb::Undo if self.policy.paused => {
                Heard::Waits
            }
            Verb::Approve => {
                let approved = Canary {
                    is_approved: true,
                    ..canary.clone()
                };
                Heard::Noted(
                    self.with(approved),
                    format!("{name} may be promoted when it has passed"),
                )
            }
            Verb::Promote => self.hear_promote(canary),
            Verb::Skip | Verb::Retry | Verb::Undo => self.hear_skip(canary, request),
        }
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
    pub(super) fn is_asked_for(&self, version: &Version) -> bool {
        let request = Request::new(Verb::Promote, &version.revision).to_string();
        let answered = self.state.answered.as_ref();
        answered.is_some_and(|answer| answer.is_followed && answer.request == request)
    }

    fn hear_skip(&self, canary: &Canary, request: &Request) -> Heard {
        let step = canary.step.to_string();
        if request.occasion.as_ref() != Some(&step) {
            return Heard::Ignored(format!("the canary is at step {step}"));
        }
        match canary.stage {
            Stage::Shifting | Stage::Soaking => {
                let outcome = Outcome::new(Reason::Promoted, "a person skipped the rest of the step");
                // Nobody is asked twice.
                let approved = Canary {
                    is_approved: true,
                    ..canary.clone()
                };
                Heard::Moves(
                    self.passed(&approved, outcome),
                    format!("step {step} is taken as passed"),
                )
            }
            Stage::Preparing => Heard::Ignored("the canary has no traffic yet: no step is under way".into()),
            Stage::Growing | Stage::Promoting | Stage::RollingBack => {
                Heard::Ignored("the canary has passed its steps".into())
            }
        }
    }

    fn hear_retry(&self, request: &Request) -> Heard {
        let asked = request
            .occasion
            .as_ref()
            .map(|at| format!("{}@{at}", request.revision));
        if asked.is_none() || asked != self.state.retry() || self.state.canary.is_some() {
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
        let is_kept = |version: &&Version| {
            self.seen.workloads.contains_key(&version.revision)
                && self.state.promoted_before(self.policy, version)
        };
        let before = self.state.window(self.policy).find(is_kept).cloned();
        let Some(before) = before else {
            return Heard::Ignored("no version that was stable before is kept".into());
        };
        if self.policy.paused {
            return Heard::Waits;
        }
        let outcome = Outcome::new(Reason::Undone, format!("a person returned to {}", before.name));
        let undone = State {
            rejected: Some((stable.clone(), outcome.clone())),
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
