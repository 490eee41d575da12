//! What a bet on a mean is worth when only bucket counts and a sum are known.
//!
//! The wealth of a bet needs every latency. A log factor is concave in the latency, so inside a bucket it lies above
//! its chord; the smallest total compatible with the counts and the sum puts every request at its lower edge and
//! pours what the sum has left into the highest buckets first. That lower bound of a betting process is itself an
//! e-process, so nothing of the guarantee is lost, only some power.

use super::layout::{Histogram, Layout};

/// One occupied bucket in the arrangement that a bet likes least.
struct Cell {
    /// Lower edge, in seconds.
    low: f64,
    /// Upper edge; infinite for the open bucket of a rising bet.
    high: f64,
    /// Requests.
    count: f64,
    /// Seconds by which they lie above the lower edge, together, as a multiple of the bucket's width. 0 in the open
    /// bucket of a rising bet: what lies there earns nothing more.
    widths: f64,
}

/// The least favourable arrangement of a block's requests.
pub(super) struct Worst(Vec<Cell>);

impl Worst {
    /// For a bet that grows with the latency. The last bucket is open: what falls into it earns nothing more.
    pub(super) fn for_rising(layout: &Layout, histogram: &Histogram) -> Self {
        Self::pour(layout.edges(), f64::INFINITY, histogram)
    }

    /// For a bet that falls with the latency, which is at most `cap`: buckets above it are one, and end there.
    pub(super) fn for_falling(layout: &Layout, cap: f64, histogram: &Histogram) -> Self {
        let below = layout.edges().partition_point(|edge| *edge < cap);
        Self::pour(layout.edges().get(..below).unwrap_or_default(), cap, histogram)
    }

    fn pour(edges: &[f64], end: f64, histogram: &Histogram) -> Self {
        let lows = std::iter::once(0.0).chain(edges.iter().copied());
        let highs = edges.iter().copied().chain([end]);
        let mut cells: Vec<Cell> = lows
            .zip(highs)
            .enumerate()
            .map(|(bucket, (low, high))| {
                let own = if bucket == edges.len() {
                    histogram.count_from(bucket)
                } else {
                    histogram.counts().get(bucket).copied().unwrap_or(0)
                };
                Cell {
                    low,
                    high,
                    count: own as f64,
                    widths: 0.0,
                }
            })
            .filter(|cell| cell.count > 0.0)
            .collect();
        let lowest: f64 = cells.iter().map(|cell| cell.count * cell.low).sum();
        let mut excess = (histogram.seconds() - lowest).max(0.0);
        for cell in cells.iter_mut().rev() {
            let above = excess.min(cell.count * (cell.high - cell.low));
            excess -= above;
            cell.widths = above / (cell.high - cell.low);
        }
        Self(cells)
    }

    /// The log wealth that a bet of `bet` per second around `centre` earns at least; a negative bet bets on less.
    ///
    /// A plain logarithm of 1 + x is enough: |x| is at most of order 1, so each request is wrong by one rounding.
    pub(super) fn log_wealth(&self, bet: f64, centre: f64) -> f64 {
        let log = |latency: f64| (1.0 + bet * (latency - centre)).ln();
        // A bucket's upper edge is often the next one's lower edge: its logarithm is taken once.
        let (mut edge, mut at_edge) = (f64::NAN, 0.0);
        let mut wealth = 0.0;
        for cell in &self.0 {
            let low = if cell.low == edge { at_edge } else { log(cell.low) };
            wealth += cell.count * low;
            if cell.widths > 0.0 {
                (edge, at_edge) = (cell.high, log(cell.high));
                wealth += cell.widths * (at_edge - low);
            }
        }
        wealth
    }
}
