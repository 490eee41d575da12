//! Judging a canary while people watch: evidence that stays valid at every look.
//!
//! A canary is an experiment that somebody peeks at every minute. A fixed-sample test repeated 720 times withdraws
//! more than a third of all healthy canaries; an *e-process* may be looked at after every block, for ever. It starts
//! at 1, its expectation is at most 1 at any stopping time while the null hypothesis is true, so it ever reaches
//! 1/α with probability at most α (Ville). Everything here is stored as `ln E`, "log evidence".
//!
//! - *arm*: the canary or the stable version beside it; *block*: what both arms served between two looks.
//! - [`TwoArm`]: rates of bad outcomes, against each other. [`FloorBet`]: one rate against a constant.
//! - [`MeanBet`]: a mean against a constant. [`MeanRatio`]: a mean against the other arm's. [`MeanDifference`]: block
//!   means of a score. [`Exceedance`]: shares slower than bucket edges.
//! - [`merge`]: one piece of evidence from several. [`Run`]: the whole rule, one verdict per block.
//! - [`Watch`]: after a promotion. [`ratio_interval`]: what the error counts say about the ratio, for display.
//! - [`split_evidence`]: whether the traffic was split as asked.
//!
//! Pure: no clock, no entropy. Equal blocks give equal bits, resumed or not.

mod arm;
mod cross_check;
mod evidence;
mod exceedance;
mod figures;
mod floor_bet;
mod layout;
mod logs;
mod mean_bet;
mod mean_difference;
mod mean_ratio;
mod mixture;
mod outlook;
mod ratio_interval;
mod run;
mod settings;
mod split;
mod totals;
mod two_arm;
mod verdict;
mod watch;
mod worst;

pub(crate) use self::arm::whole;
pub use self::arm::{Arm, Block, Late, Trials};
pub use self::cross_check::Beside;
pub use self::exceedance::Exceedance;
pub use self::figures::{Bound, Figure, Held, Limit, Standing};
pub use self::floor_bet::FloorBet;
pub use self::layout::{Histogram, Layout, LayoutError};
pub use self::logs::{log_mean_exp, merge};
pub use self::mean_bet::MeanBet;
pub use self::mean_difference::MeanDifference;
pub use self::mean_ratio::{MeanPrior, MeanRatio};
pub use self::mixture::{half_normal_mixture, half_normal_tuning};
pub use self::outlook::{Change, Told, Traffic};
pub use self::ratio_interval::{RatioInterval, ratio_interval};
pub use self::run::{Checkpoint, Health, Run};
pub use self::settings::{
    Distribution, Errors, Latency, Method, OnInconclusive, OnUnavailable, Quality, Settings, SettingsError,
    Tuning, Weights,
};
pub use self::split::split_evidence;
pub use self::totals::{ArmTotals, Arms, Blocks};
pub use self::two_arm::{
    Compared, Design, Excess, Neighbours, Null, Rates, Reference, Temper, TwoArm, TwoArmState, effect_grid,
};
pub use self::verdict::{
    AbortReason, Condition, Consequence, InconclusiveReason, Kind, Look, PromoteReason, Question, Support,
    Verdict,
};
pub use self::watch::Watch;

/// What evidence speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The canary is worse; the null hypothesis says that it is not.
    Worse,
    /// The canary is not worse by the margin; the null hypothesis says that it is.
    NotWorse,
}

impl Claim {
    /// The sign of the alternatives: up for worse, down for not worse.
    fn sign(self) -> f64 {
        match self {
            Self::Worse => 1.0,
            Self::NotWorse => -1.0,
        }
    }
}
