//! Seeded chance: the same seed and purpose give the same numbers on every machine.
//!
//! `SplitMix64` (Steele, Lea, Flood 2014) passes `BigCrush`, has one word of state and can be keyed by hashing, which
//! is what a simulation of a million users without a million states needs. It is no source of secrets.

use std::f64::consts::TAU;

/// A stream of pseudo-random numbers.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream for one `purpose` under `seed`. Streams of different purposes do not disturb each other, so that
    /// drawing one number more in one place changes nothing elsewhere.
    pub fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a: the purposes are short constants of this crate.
        let hash = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self {
            state: mix(seed ^ hash),
        }
    }

    /// The stream of one thing (a user, a film) under `seed`.
    pub fn keyed(seed: u64, purpose: &str, key: u64) -> Self {
        Self::new(seed ^ mix(key.wrapping_add(1)), purpose)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        let bits = mix(self.state);
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with probability `share`; never for 0, always for 1.
    pub fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// Uniform in `0..bound`; 0 for a bound of 0. The bias of the multiplication is below 2⁻³² for our bounds.
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// Uniform among the indices of `length` things.
    pub fn index(&mut self, length: usize) -> usize {
        let bound = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(bound)).unwrap_or(0)
    }

    /// Uniform in `low..=high`; `low` when the range is empty.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.index(choices.len()))
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.index(last + 1));
        }
    }
}

/// The output function of `SplitMix64`, applied to the state after one step.
pub fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_zero_gives_the_published_number() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn seeds_repeat_and_purposes_differ() {
        let draw = |seed, purpose| Random::new(seed, purpose).bits();
        assert_eq!(draw(7, "a"), draw(7, "a"));
        assert_ne!(draw(7, "a"), draw(7, "b"));
        assert_ne!(draw(7, "a"), draw(8, "a"));
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        const DRAWS: usize = 100_000;
        // Four standard errors of a mean of unit variance.
        const TOLERANCE: f64 = 0.0127;
        let mut random = Random::new(1, "moments");
        let mean = |draw: &mut dyn FnMut() -> f64| (0..DRAWS).map(|_| draw()).sum::<f64>() / DRAWS as f64;
        assert!((mean(&mut || random.unit()) - 0.5).abs() < TOLERANCE);
        assert!(mean(&mut || random.normal()).abs() < TOLERANCE);
        assert!((mean(&mut || random.normal().powi(2)) - 1.0).abs() < 2.0 * TOLERANCE);
        assert!((mean(&mut || random.exponential()) - 1.0).abs() < TOLERANCE);
    }

    #[test]
    fn bounds_hold_and_a_shuffle_loses_nothing() {
        let mut random = Random::new(1, "bounds");
        assert_eq!(random.below(0), 0);
        assert!((0..1000).all(|_| (3..=5).contains(&random.between(3, 5))));
        let mut cards: Vec<u32> = (0..100).collect();
        random.shuffle(&mut cards);
        assert_ne!(cards, (0..100).collect::<Vec<_>>());
        cards.sort_unstable();
        assert_eq!(cards, (0..100).collect::<Vec<_>>());
    }
}
