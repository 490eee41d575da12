//! What would have happened: a record, or counters of a table, judged by other settings.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use serin_core::counters::Witness;
use serin_core::judge::{Arm, Beside, Block, Health, Late, Layout, Look, Method, Run, Settings, Trials};
use serin_core::period::Period;
use serin_core::plan::describe;
use serin_core::record::{Began, Looked, Record};

use crate::args::Changes;

/// The settings with what a person wants changed.
///
/// Errors: a percentage that is none.
pub(crate) fn changed(settings: &Settings, changes: &Changes) -> Result<Settings> {
    let mut changed = settings.clone();
    if let Some(method) = changes.method {
        changed.method = match method {
            crate::args::Method::Sequential => Method::Sequential,
            crate::args::Method::WholeSoak => Method::WholeSoak,
        };
    }
    if let Some(margin) = &changes.errors_margin {
        changed.errors.margin = share("--errors-margin", margin)?;
    }
    if let Some(margin) = &changes.latency_margin {
        changed.latency.ratio = 1.0 + share("--latency-margin", margin)?;
    }
    let seconds = |period: Period| period.get().as_secs_f64();
    if let Some(limit) = changes.mean_below {
        changed.latency.limit_seconds = seconds(limit);
    }
    if let Some(limit) = changes.time_limit {
        changed.cap_seconds = seconds(limit);
    }
    if let Some(soak) = changes.soak {
        changed.soak = soak.get();
        changed.deadline = changed.deadline.max(soak.get().saturating_mul(2));
    }
    if let Some(soak) = changes.min_soak {
        changed.min_soak = soak.get();
    }
    if let Some(requests) = changes.min_requests {
        changed.min_requests = requests;
    }
    Ok(changed)
}

pub(crate) fn share(flag: &str, text: &str) -> Result<f64> {
    let percent = text
        .strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok());
    let percent = percent.filter(|percent| (0.0..100.0).contains(percent));
    percent
        .map(|percent| percent / 100.0)
        .with_context(|| format!("{flag} \"{text}\" is no percentage: write one such as 1% or 0.5%"))
}

/// Both judgements side by side.
///
/// Errors: settings that nothing can be judged by.
pub(crate) fn compare(record: &Record, changes: &Changes) -> Result<String> {
    let settings = &record.began.settings;
    let other = changed(settings, changes)?;
    let mut text = String::new();
    for (name, settings) in [("as it is", settings), ("with the changes", &other)] {
        let looks = record
            .judge(settings.clone())
            .with_context(|| format!("{name}: impossible"))?;
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:<18} {}", ended(&looks, settings));
    }
    Ok(text)
}

fn ended(looks: &[Look], settings: &Settings) -> String {
    let Some(last) = looks.last() else {
        return "no block has been looked at".into();
    };
    let minutes = settings.block.as_secs_f64() * last.block as f64 / 60.0;
    let how = if last.verdict.is_final() {
        ""
    } else {
        " at the end of what was recorded"
    };
    format!("{} after {minutes:.1} min{how}: {}", last.verdict, describe(last))
}

/// Reads a table of counters: a line per block, with a header.
///
/// Columns, per arm `canary_` and `stable_`: `requests`, `failures`, `seconds` (sum of the latencies of the
/// successes), and `le_0.1`, `le_0.5`, … (successes not slower than so many seconds, cumulative). All are growth within
/// the block. Errors: a column that is missing, a cell that is no count, counts that contradict each other, each with
/// line and column.
pub(crate) fn table(text: &str, settings: Settings) -> Result<Record> {
    let mut lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let (_, header) = lines
        .next()
        .context("the table is empty: its first line names the columns")?;
    let columns: BTreeMap<&str, usize> = header.split(',').map(str::trim).zip(0..).collect();
    let mut edges: Vec<(f64, String)> = columns
        .keys()
        .filter_map(|name| {
            let edge = name.strip_prefix("canary_le_")?;
            Some((edge.parse().ok()?, edge.to_owned()))
        })
        .collect();
    edges.sort_by(|one, other| one.0.total_cmp(&other.0));
    ensure!(
        !edges.is_empty(),
        "the table has no column such as canary_le_0.5: latencies are judged by buckets"
    );
    let layout = Layout::new(edges.iter().map(|(edge, _)| *edge).collect())
        .context("the columns canary_le_… name no bucket edges")?;
    let settings = Settings {
        layout: layout.clone(),
        ..settings
    };
    let mut run = Run::new(settings.clone()).context("the settings cannot be judged by")?;
    let mut looked = Vec::new();
    let mut start = Timestamp::UNIX_EPOCH;
    for (index, line) in lines {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let row = Row {
            number: index.saturating_add(1),
            columns: &columns,
            cells: &cells,
        };
        let block = Block::Seen {
            canary: row.arm("canary", &layout, &edges)?,
            stable: row.arm("stable", &layout, &edges)?,
        };
        let end = start.saturating_add(settings.block).unwrap_or(Timestamp::MAX);
        let look = run.look(&block, &Late::default(), &Beside::default(), Health::Fine);
        looked.push(Looked {
            start,
            end,
            block,
            late: Late::default(),
            missing: None,
            witness: Witness::default(),
            beside: Beside::default(),
            look,
        });
        start = end;
    }
    let began = Began {
        canary: "the canary".into(),
        revision: String::new(),
        digest: String::new(),
        stable: "stable".into(),
        at: Timestamp::UNIX_EPOCH,
        settings,
        earlier: Vec::new(),
    };
    Ok(Record { began, looked })
}

struct Row<'a> {
    number: usize,
    columns: &'a BTreeMap<&'a str, usize>,
    cells: &'a [&'a str],
}

impl Row<'_> {
    fn cell(&self, column: &str) -> Result<&str> {
        let Some(index) = self.columns.get(column) else {
            bail!("the table has no column {column}");
        };
        let cell = self.cells.get(*index).copied();
        cell.with_context(|| format!("line {}: there is no cell for {column}", self.number))
    }

    fn count(&self, column: &str) -> Result<u64> {
        let cell = self.cell(column)?;
        cell.parse()
            .with_context(|| format!("line {}: {column} \"{cell}\" is no count", self.number))
    }

    fn arm(&self, arm: &str, layout: &Layout, edges: &[(f64, String)]) -> Result<Arm> {
        let of = |name: &str| format!("{arm}_{name}");
        let requests = Trials::new(self.count(&of("failures"))?, self.count(&of("requests"))?);
        let successes = requests
            .all
            .checked_sub(requests.bad)
            .with_context(|| format!("line {}: {arm} has more failures than requests", self.number))?;
        let cell = self.cell(&of("seconds"))?;
        let seconds: f64 = cell
            .parse()
            .with_context(|| format!("line {}: {arm}_seconds \"{cell}\" is no number", self.number))?;
        let mut cumulative = Vec::with_capacity(edges.len().saturating_add(1));
        for (_, edge) in edges {
            cumulative.push(self.count(&of(&format!("le_{edge}")))?);
        }
        cumulative.push(successes);
        let latencies = layout
            .from_cumulative(&cumulative, successes, seconds)
            .with_context(|| format!("line {}: the buckets of {arm} contradict each other", self.number))?;
        Ok(Arm {
            requests,
            latencies,
            quality: None,
        })
    }
}

/// The usual settings, for a table that brings none.
pub(crate) fn usual(block: SignedDuration) -> Settings {
    Settings {
        block,
        ..Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "canary_requests,canary_failures,canary_seconds,canary_le_0.5,canary_le_1.0,\
                          stable_requests,stable_failures,stable_seconds,stable_le_0.5,stable_le_1.0\n";

    fn rows(line: &str, count: usize) -> String {
        HEADER.to_owned() + &format!("{line}\n").repeat(count)
    }

    fn settings() -> Settings {
        usual(SignedDuration::from_mins(1))
    }

    #[test]
    fn a_table_tells_what_a_shorter_soak_would_have_done() {
        let record = table(&rows("120,0,24,120,120,480,1,96,479,479", 180), settings()).unwrap();
        let changes = Changes {
            soak: Some("2h".parse().unwrap()),
            method: Some(crate::args::Method::WholeSoak),
            ..Changes::default()
        };
        let text = compare(&record, &changes).unwrap();
        assert!(
            text.contains("with the changes   ClassicPass after 120.0 min"),
            "{text}"
        );
    }

    #[test]
    fn a_table_that_is_wrong_says_where() {
        for (line, expected) in [
            (
                "1,0,a lot,1,1,1,0,0.2,1,1",
                "line 2: canary_seconds \"a lot\" is no number",
            ),
            (
                "1,2,0,0,0,1,0,0.2,1,1",
                "line 2: canary has more failures than requests",
            ),
            (
                "-1,0,0,0,0,1,0,0.2,1,1",
                "line 2: canary_requests \"-1\" is no count",
            ),
            (
                "2,0,0.4,2,1,1,0,0.2,1,1",
                "line 2: the buckets of canary contradict each other",
            ),
            ("1,0", "line 2: there is no cell for canary_seconds"),
        ] {
            let error = table(&rows(line, 1), settings()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(table("", settings()).unwrap_err().to_string().contains("empty"));
        assert!(
            table("requests\n", settings())
                .unwrap_err()
                .to_string()
                .contains("canary_le_0.5")
        );
    }
}
