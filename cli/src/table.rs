//! Several releases, one line each.

use console::{measure_text_width, pad_str};
use kube::ResourceExt as _;
use serin_core::crd::ModelRelease;

use crate::release::{or_dash, painted};

const HEADER: [&str; 7] = ["NAME", "STABLE", "CANARY", "WEIGHT", "PHASE", "SOAK", "REASON"];

/// A table with one line per release, ordered by name.
pub(crate) fn of(releases: &[ModelRelease]) -> String {
    if releases.is_empty() {
        return "no ModelRelease in this namespace: `--namespace` names another\n".into();
    }
    let mut sorted: Vec<_> = releases.iter().collect();
    sorted.sort_by_key(|release| release.name_any());
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(sorted.into_iter().map(row));
    let widths: [usize; HEADER.len()] = std::array::from_fn(|column| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| measure_text_width(cell))
            .max()
            .unwrap_or_default()
    });
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn row(release: &ModelRelease) -> [String; HEADER.len()] {
    let status = release.status.clone().unwrap_or_default();
    [
        release.name_any(),
        or_dash(status.stable.as_ref().map(|arm| arm.version.as_str())),
        or_dash(status.canary.as_ref().map(|canary| canary.arm.version.as_str())),
        or_dash(Some(&status.display.weight)),
        painted(status.phase),
        or_dash(Some(&status.display.soak)),
        or_dash(Some(&status.display.reason)),
    ]
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells: Vec<_> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| pad_str(cell, *width, console::Alignment::Left, None))
        .collect();
    format!("{}\n", cells.join("   ").trim_end())
}
