//! What the error counts say about the ratio of the two rates, for people.

use super::Claim;
use super::arm::Trials;
use super::two_arm::{Design, Null, TwoArm};

/// A confidence sequence for the canary's rate over stable's: valid at every look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioInterval {
    /// Lower limit; none is open.
    pub lower: Option<f64>,
    /// Upper limit; none is open.
    pub upper: Option<f64>,
}

/// Ratios that are tried: eighth powers of 2 from 1/4 to 16.
fn grid() -> impl DoubleEndedIterator<Item = f64> {
    (-16..=32).map(|eighths| (f64::from(eighths) / 8.0).exp2())
}

/// The ratios that the blocks (canary, stable) do not reject at level `alpha`, half of it on each side.
///
/// Lower limit: the largest ratio R such that "the canary's rate is at most R times stable's" is rejected at R and below; upper limit mirrored.
/// `design` builds each test, usually [`Design::new`].
pub fn ratio_interval(
    blocks: &[(Trials, Trials)],
    alpha: f64,
    design: impl Fn(Null, Claim) -> Design,
) -> RatioInterval {
    let needed = (2.0 / alpha).ln();
    let rejected = |ratio: &f64, claim: Claim| {
        let mut test = TwoArm::new(design(Null::Ratio(*ratio), claim));
        blocks
            .iter()
            .any(|(canary, stable)| test.update(*canary, *stable) >= needed)
    };
    RatioInterval {
        lower: grid().take_while(|ratio| rejected(ratio, Claim::Worse)).last(),
        upper: grid()
            .rev()
            .take_while(|ratio| rejected(ratio, Claim::NotWorse))
            .last(),
    }
}
