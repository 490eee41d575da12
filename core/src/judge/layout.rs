//! Histograms: where the bucket edges are, and what one block put between them.

use serde::{Deserialize, Serialize};

/// The upper edges of a histogram's buckets, in seconds, rising; the last bucket is open.
///
/// `K` edges make `K + 1` buckets: `(0, e1], (e1, e2], …, (eK, +Inf)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct Layout(Vec<f64>);

/// Why a histogram cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LayoutError {
    /// See the message.
    #[error("a histogram needs at least one bucket edge besides +Inf")]
    NoEdges,
    /// See the message.
    #[error("the bucket edges must be positive, finite and rising, {0} is not")]
    Edge(f64),
    /// See the message.
    #[error("{found} buckets were counted where the layout has {expected}")]
    Length {
        /// Buckets of the layout, the open one included.
        expected: usize,
        /// Buckets given.
        found: usize,
    },
    /// See the message.
    #[error("the sum of latencies is {0} s: it must be finite and not negative")]
    Sum(f64),
    /// A scrape that caught the histogram half-written.
    #[error("the cumulative buckets do not fit together: {0}")]
    Torn(&'static str),
}

/// What one arm's successful requests of one block look like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    counts: Vec<u64>,
    seconds: f64,
}

impl Layout {
    /// A layout with these edges.
    pub fn new(edges: Vec<f64>) -> Result<Self, LayoutError> {
        let mut before = 0.0;
        for edge in &edges {
            if !edge.is_finite() || *edge <= before {
                return Err(LayoutError::Edge(*edge));
            }
            before = *edge;
        }
        if edges.is_empty() {
            return Err(LayoutError::NoEdges);
        }
        Ok(Self(edges))
    }

    /// A layout whose edges are known to rise.
    pub(super) fn known(edges: &[f64]) -> Self {
        debug_assert!(edges.is_sorted(), "edges rise");
        Self(edges.to_vec())
    }

    /// The edges, without the infinite one.
    pub fn edges(&self) -> &[f64] {
        &self.0
    }

    /// The number of the first bucket above `edge`; none when the layout has no such edge.
    pub fn bucket_above(&self, edge: f64) -> Option<usize> {
        self.0
            .iter()
            .position(|own| *own == edge)
            .map(|index| index.saturating_add(1))
    }

    /// A block's histogram, from counts per bucket (not cumulative) and the sum of the latencies in seconds.
    pub fn histogram(&self, counts: Vec<u64>, seconds: f64) -> Result<Histogram, LayoutError> {
        let expected = self.0.len().saturating_add(1);
        if counts.len() != expected {
            let found = counts.len();
            return Err(LayoutError::Length { expected, found });
        }
        if !seconds.is_finite() || seconds < 0.0 {
            return Err(LayoutError::Sum(seconds));
        }
        Ok(Histogram { counts, seconds })
    }

    /// A block's histogram from the growth of cumulative buckets, the infinite one last, and of the total count.
    ///
    /// Errors: `Torn` when a bucket would be negative or the infinite one is not the total: the scrape caught the
    /// histogram between two writes.
    pub fn from_cumulative(
        &self,
        cumulative: &[u64],
        count: u64,
        seconds: f64,
    ) -> Result<Histogram, LayoutError> {
        let mut below = 0;
        let mut counts = Vec::with_capacity(cumulative.len());
        for total in cumulative {
            let inside = total
                .checked_sub(below)
                .ok_or(LayoutError::Torn("a bucket holds less than the one below it"))?;
            counts.push(inside);
            below = *total;
        }
        if below != count {
            return Err(LayoutError::Torn("the +Inf bucket differs from _count"));
        }
        self.histogram(counts, seconds)
    }

    /// An empty histogram.
    pub fn empty(&self) -> Histogram {
        Histogram {
            counts: vec![0; self.0.len().saturating_add(1)],
            seconds: 0.0,
        }
    }

    /// Whether the sum can come from the counts: between all at the lower and all at the upper edges.
    pub fn is_consistent(&self, histogram: &Histogram) -> bool {
        let lower: f64 = self
            .0
            .iter()
            .zip(histogram.counts.iter().skip(1))
            .map(|(edge, count)| edge * *count as f64)
            .sum();
        let open = histogram.counts.get(self.0.len()).is_some_and(|count| *count > 0);
        let upper: f64 = self
            .0
            .iter()
            .zip(&histogram.counts)
            .map(|(edge, count)| edge * *count as f64)
            .sum();
        let upper = if open { f64::INFINITY } else { upper };
        // Sums are floats that grew over days; counts are exact.
        let tolerance = 1e-6 * histogram.seconds.max(1.0);
        lower - tolerance <= histogram.seconds && histogram.seconds <= upper + tolerance
    }
}

impl TryFrom<Vec<f64>> for Layout {
    type Error = LayoutError;

    fn try_from(edges: Vec<f64>) -> Result<Self, LayoutError> {
        Self::new(edges)
    }
}

impl From<Layout> for Vec<f64> {
    fn from(layout: Layout) -> Self {
        layout.0
    }
}

impl Histogram {
    /// Requests.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of their latencies, in seconds.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Requests per bucket, not cumulative.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Requests in bucket number `first` and above.
    pub fn count_from(&self, first: usize) -> u64 {
        self.counts.iter().skip(first).sum()
    }

    /// Both together. The shorter one is continued with zeros.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let length = self.counts.len().max(other.counts.len());
        let at = |counts: &[u64], index: usize| counts.get(index).copied().unwrap_or(0);
        Self {
            counts: (0..length)
                .map(|index| at(&self.counts, index).saturating_add(at(&other.counts, index)))
                .collect(),
            seconds: self.seconds + other.seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_that_do_not_rise_are_refused() {
        for (edges, why) in [
            (vec![], LayoutError::NoEdges),
            (vec![0.0], LayoutError::Edge(0.0)),
            (vec![0.1, 0.1], LayoutError::Edge(0.1)),
            (vec![0.1, f64::INFINITY], LayoutError::Edge(f64::INFINITY)),
        ] {
            assert_eq!(Layout::new(edges), Err(why));
        }
        assert!(matches!(Layout::new(vec![f64::NAN]), Err(LayoutError::Edge(_))));
    }

    #[test]
    fn a_histogram_of_another_layout_is_refused() {
        let layout = Layout::new(vec![0.1, 0.5]).unwrap();
        let refused = layout.histogram(vec![1, 2], 0.3).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "2 buckets were counted where the layout has 3"
        );
        assert!(layout.histogram(vec![1, 2, 0], f64::NAN).is_err());
    }
}
