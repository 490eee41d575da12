//! Seeded numbers: the same seed gives the same numbers on every machine.

use std::f64::consts::TAU;

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output of the splitmix64 generator whose state is `value`; as a hash it spreads consecutive numbers evenly.
///
/// Source: Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators".
pub fn splitmix64(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(GAMMA);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A generator of standard normal numbers. One per purpose, so that one use never shifts the numbers of another.
#[derive(Clone, Debug)]
pub struct Normals {
    state: u64,
}

impl Normals {
    /// A generator that depends on `seed` only.
    pub fn new(seed: u64) -> Self {
        Self {
            state: splitmix64(seed),
        }
    }

    /// The next number, by the cosine half of Box and Muller's method.
    pub fn draw(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// A number in `[0, 1)` with 53 random bits.
    fn uniform(&mut self) -> f64 {
        let bits = splitmix64(self.state) >> 11;
        self.state = self.state.wrapping_add(GAMMA);
        bits as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_its_published_first_number() {
        assert_eq!(splitmix64(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn draws_have_the_moments_of_the_standard_normal() {
        /// Four standard errors of the mean, variance and fourth moment of 100,000 draws.
        const TOLERANCES: [f64; 3] = [0.0127, 0.0179, 0.124];
        let mut normals = Normals::new(7);
        let draws: Vec<f64> = (0..100_000).map(|_| normals.draw()).collect();
        let moment = |power: i32| draws.iter().map(|x| x.powi(power)).sum::<f64>() / draws.len() as f64;
        for ((power, expected), tolerance) in [(1, 0.0), (2, 1.0), (4, 3.0)].into_iter().zip(TOLERANCES) {
            assert!(
                (moment(power) - expected).abs() < tolerance,
                "moment {power}: {}",
                moment(power)
            );
        }
    }

    #[test]
    fn equal_seeds_agree_and_different_ones_do_not() {
        let draws = |seed| {
            let mut normals = Normals::new(seed);
            [normals.draw(), normals.draw()]
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }
}
