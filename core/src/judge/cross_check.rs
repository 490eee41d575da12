//! Whether the counts can be believed at all: the traffic was split as asked, and both witnesses saw the same.
//!
//! Neither says anything of the canary, so neither ever withdraws it. But a canary that got a chosen slice of the
//! traffic, testers by a header for example, is no fair sample of it, and counts that contradict each other are none
//! to promote by.

use serde::{Deserialize, Serialize};

use super::arm::{Arm, Trials};
use super::figures::Figure;
use super::split::split_evidence;

/// Evidence from which the split counts as another one than asked: p < 0.001.
const SPLIT_LOG_E: f64 = 6.907_755_278_982_137;
/// Part of the asked share by which the observed one may differ: retries and ramps are no choice of requests, and with
/// millions of requests every trifle would be evident.
const SPLIT_TOLERANCE: f64 = 0.1;
/// Part by which the successes that the two witnesses counted may differ.
const WITNESS_TOLERANCE: f64 = 0.1;
/// Successes of an arm from which they are compared: of fewer, a scrape more or less is a tenth.
const WITNESS_SUCCESSES: u64 = 100;
/// Blocks before witnesses are compared: they are scraped at different times, up to one block apart.
const WITNESS_BLOCKS: u64 = 20;

/// What is known of a block beside its counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beside {
    /// Share of the requests that the canary was meant to get, 0 to 1, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Requests of canary and stable by the pods' own count, where it is the gateway's that is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<[Trials; 2]>,
    /// What the team's own queries answered, in the order of their bounds; none where nobody asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<Figure>,
}

/// What was compared so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct CrossCheck {
    share: Option<f64>,
    /// Requests of canary and stable since the share was asked for.
    split: [u64; 2],
    /// Blocks that both witnesses counted.
    compared: u64,
    /// Successes of canary and stable, by the gateway and by the pods.
    successes: [[u64; 2]; 2],
}

impl CrossCheck {
    pub(super) fn take(&mut self, beside: &Beside, canary: &Arm, stable: &Arm) {
        let judged = [canary.requests, stable.requests];
        if self.share == beside.share {
            for (sum, requests) in self.split.iter_mut().zip(judged) {
                *sum = sum.saturating_add(requests.all);
            }
        } else {
            // The scrapes of the first block may reach back to before the shift.
            self.share = beside.share;
            self.split = [0; 2];
        }
        if let Some(pods) = beside.pods {
            // As above.
            if self.compared > 0 {
                for (sums, counted) in self.successes.iter_mut().zip([judged, pods]) {
                    for (sum, requests) in sums.iter_mut().zip(counted) {
                        *sum = sum.saturating_add(requests.all.saturating_sub(requests.bad));
                    }
                }
            }
            self.compared = self.compared.saturating_add(1);
        }
    }

    /// Whether the canary evidently got another share than it was meant to.
    pub(super) fn is_split_off(&self) -> bool {
        let Some(asked) = self.share.filter(|share| *share > 0.0 && *share < 1.0) else {
            return false;
        };
        let [canary, stable] = self.split;
        let all = canary.saturating_add(stable);
        let differs = (canary as f64 - asked * all as f64).abs() > SPLIT_TOLERANCE * asked * all as f64;
        differs && split_evidence(&[(canary, asked), (stable, 1.0 - asked)]) > SPLIT_LOG_E
    }

    /// Whether gateway and pods contradict each other on what was answered well.
    pub(super) fn is_contradicted(&self) -> bool {
        let [gateway, pods] = self.successes;
        let differ = |(gateway, pods): (u64, u64)| {
            let most = gateway.max(pods);
            most >= WITNESS_SUCCESSES && gateway.abs_diff(pods) as f64 > WITNESS_TOLERANCE * most as f64
        };
        self.compared > WITNESS_BLOCKS && gateway.into_iter().zip(pods).any(differ)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Settings;

    fn arm(all: u64) -> Arm {
        Arm {
            requests: Trials::new(0, all),
            latencies: Settings::default().layout.empty(),
            quality: None,
        }
    }

    fn after(blocks: u64, beside: &Beside, canary: u64, stable: u64) -> CrossCheck {
        let mut check = CrossCheck::default();
        for _ in 0..blocks {
            check.take(beside, &arm(canary), &arm(stable));
        }
        check
    }

    fn asked(share: f64) -> Beside {
        Beside {
            share: Some(share),
            pods: None,
            ..Beside::default()
        }
    }

    #[test]
    fn a_canary_asked_by_testers_too_did_not_get_its_share() {
        for (canary, is_off) in [(20, false), (21, false), (30, true), (10, true)] {
            assert_eq!(
                after(100, &asked(0.2), canary, 80).is_split_off(),
                is_off,
                "{canary} to 80"
            );
        }
    }

    #[test]
    fn few_requests_show_no_wrong_split_and_many_no_trifle() {
        assert!(!after(3, &asked(0.2), 4, 8).is_split_off());
        assert!(!after(720, &asked(0.2), 2050, 8000).is_split_off());
    }

    #[test]
    fn each_weight_is_a_split_of_its_own() {
        let mut check = after(100, &asked(0.2), 20, 80);
        for _ in 0..100 {
            check.take(&asked(0.5), &arm(50), &arm(50));
        }
        assert!(!check.is_split_off());
        assert!(
            !after(100, &asked(1.0), 20, 80).is_split_off(),
            "nothing is split"
        );
    }

    #[test]
    fn a_few_answers_contradict_nobody() {
        let beside = Beside {
            share: None,
            pods: Some([Trials::new(0, 1), Trials::new(0, 80)]),
            ..Beside::default()
        };
        assert!(!after(40, &beside, 2, 80).is_contradicted());
    }

    #[test]
    fn witnesses_are_compared_once_their_scrapes_do_not_matter() {
        let heard = |canary| Beside {
            share: None,
            pods: Some([Trials::new(0, canary), Trials::new(0, 80)]),
            ..Beside::default()
        };
        for (blocks, pods, contradicts) in [(20, 20, false), (20, 15, false), (40, 15, true), (40, 25, true)]
        {
            assert_eq!(
                after(blocks, &heard(pods), 20, 80).is_contradicted(),
                contradicts,
                "{blocks} blocks, 20 by the gateway, {pods} by the pods"
            );
        }
    }
}
