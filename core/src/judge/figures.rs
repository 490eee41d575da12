//! Figures of a team's own queries, held to bounds.
//!
//! Nothing is known of how such a figure scatters, so no evidence can be made of it that would be valid at every look.
//! It is a fixed sample: its mean over the looks so far is held to the bound when everything else is decided, before a
//! promotion and at the end of a step or of the soak. One look more or less is no peeking at a bound.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A figure and what it is held to. Frozen with the run, its query included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    /// Name of the figure, for people.
    pub name: String,
    /// The query as the team wrote it.
    pub query: String,
    /// What its mean must keep.
    pub limit: Limit,
}

/// What the mean of a figure must keep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Limit {
    /// The canary's is not above this.
    AtMost(f64),
    /// The canary's is not below this.
    AtLeast(f64),
    /// The canary's is not above stable's by more than this share of it.
    NotAboveStableBy(f64),
    /// The canary's is not below stable's by more than this share of it.
    NotBelowStableBy(f64),
}

/// What a query answered in one look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// Of the canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<f64>,
    /// Of stable, where it is compared with stable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<f64>,
    /// Why there is no value, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// Where a figure stands after a look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// The means so far.
    pub mean: Figure,
    /// Beside its bound.
    pub standing: Standing,
}

/// A figure beside its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It keeps it.
    Within,
    /// It does not.
    Outside,
    /// Too few looks had a value.
    Unknown,
}

/// What is remembered of the figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures(Vec<Remembered>);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Remembered {
    /// Looks in which it was asked for.
    asked: u64,
    /// Looks in which everything that its bound needs was answered.
    known: u64,
    /// Sums over these looks, of canary and stable.
    sums: [f64; 2],
    /// Why the last look had no value.
    missing: Option<String>,
}

impl Figures {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the answers of a look, in the order of the bounds; none where nobody asked.
    pub(super) fn take(&mut self, bounds: &[Bound], figures: &[Figure]) {
        self.0.resize_with(bounds.len(), Remembered::default);
        for ((remembered, bound), figure) in self.0.iter_mut().zip(bounds).zip(figures) {
            remembered.asked = remembered.asked.saturating_add(1);
            remembered.missing.clone_from(&figure.missing);
            let stable = figure.stable.or((!bound.limit.is_relative()).then_some(0.0));
            if let (Some(canary), Some(stable)) = (figure.canary, stable) {
                remembered.known = remembered.known.saturating_add(1);
                for (sum, value) in remembered.sums.iter_mut().zip([canary, stable]) {
                    *sum += value;
                }
            }
        }
    }

    /// Where each figure stands; known where at least `coverage` of the looks had a value.
    pub(super) fn held(&self, bounds: &[Bound], coverage: f64) -> Vec<Held> {
        let unasked = Remembered::default();
        let remembered = self.0.iter().chain(std::iter::repeat(&unasked));
        bounds
            .iter()
            .zip(remembered)
            .map(|(bound, remembered)| remembered.held(bound, coverage))
            .collect()
    }
}

impl Remembered {
    fn held(&self, bound: &Bound, coverage: f64) -> Held {
        let mean = |sum: f64| (self.known > 0).then(|| sum / self.known as f64);
        let [canary, stable] = self.sums.map(mean);
        let is_known = self.known > 0 && self.known as f64 >= coverage * self.asked as f64;
        let standing = match (canary.filter(|_| is_known), stable) {
            (Some(canary), Some(stable)) if bound.limit.holds(canary, stable) => Standing::Within,
            (Some(_), Some(_)) => Standing::Outside,
            (None, _) | (_, None) => Standing::Unknown,
        };
        Held {
            mean: Figure {
                canary,
                stable: stable.filter(|_| bound.limit.is_relative()),
                missing: self.missing.clone(),
            },
            standing,
        }
    }
}

impl Limit {
    /// Whether it compares with stable.
    pub fn is_relative(self) -> bool {
        match self {
            Self::AtMost(_) | Self::AtLeast(_) => false,
            Self::NotAboveStableBy(_) | Self::NotBelowStableBy(_) => true,
        }
    }

    fn holds(self, canary: f64, stable: f64) -> bool {
        match self {
            Self::AtMost(most) => canary <= most,
            Self::AtLeast(least) => canary >= least,
            Self::NotAboveStableBy(share) => canary <= stable + share * stable.abs(),
            Self::NotBelowStableBy(share) => canary >= stable - share * stable.abs(),
        }
    }
}

/// Completes the sentence "the canary's is …".
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::NotAboveStableBy(share) => write!(f, "at most {:.4} % above stable's", share * 100.0),
            Self::NotBelowStableBy(share) => write!(f, "at most {:.4} % below stable's", share * 100.0),
        }
    }
}

impl Bound {
    /// What was seen, beside what was asked for, in words.
    pub fn tell(&self, held: &Held) -> String {
        let words =
            |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.4}"));
        let against = if self.limit.is_relative() {
            format!(" against {} of stable", words(held.mean.stable))
        } else {
            String::new()
        };
        let missing = held.mean.missing.as_ref();
        let why = missing.filter(|_| held.standing == Standing::Unknown);
        format!(
            "{} {}{against}, to be {}{}",
            self.name,
            words(held.mean.canary),
            self.limit,
            why.map(|why| format!(" ({why})")).unwrap_or_default()
        )
    }
}
