//! What became of the mutants, as a page.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::{CARGO_MUTANTS, Fate, Mutant, Tests};

/// Why no test can fail for a mutant.
const REASONS: &str = "core/tests/survivors.json";
/// Of those that compile, so many of a hundred are killed at least.
const LEAST_KILLED: f64 = 95.0;

/// Why no test can fail for a mutant: the change of that line makes no difference that anybody could see.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    file: String,
    change: String,
    /// The line that is changed, without its indent.
    line: String,
    why: String,
}

/// A mutant that no test has killed.
#[derive(Debug)]
struct Survivor {
    name: String,
    line: String,
    why: Option<String>,
}

#[derive(Default)]
struct Count {
    refused: usize,
    killed: BTreeMap<Tests, usize>,
    endless: usize,
    survived: usize,
}

impl Count {
    fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Refused => self.refused += 1,
            Fate::Survived => self.survived += 1,
            Fate::Killed(by) => *self.killed.entry(by).or_default() += 1,
            Fate::Endless(by) => {
                *self.killed.entry(by).or_default() += 1;
                self.endless += 1;
            }
        }
    }

    fn killed(&self) -> usize {
        self.killed.values().sum()
    }

    fn compiled(&self) -> usize {
        self.killed() + self.survived
    }

    fn percent(&self) -> f64 {
        100.0 * self.killed() as f64 / self.compiled().max(1) as f64
    }
}

/// What became of all mutants.
pub(super) struct Page {
    measured_on: String,
    files: BTreeMap<String, Count>,
    all: Count,
    survivors: Vec<Survivor>,
    /// Reasons for mutants that are dead, or are none.
    stale: Vec<Reason>,
}

impl Page {
    /// `fates` are those of `mutants`, in their order.
    pub(super) fn new(
        mutants: &[Mutant],
        fates: &[Fate],
        checkout: &Path,
        measured_on: String,
    ) -> Result<Self> {
        let path = checkout.join(REASONS);
        let reasons = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut reasons: Vec<Reason> =
            serde_json::from_slice(&reasons).with_context(|| format!("{} is malformed", path.display()))?;
        let mut page = Self {
            measured_on,
            files: BTreeMap::new(),
            all: Count::default(),
            survivors: Vec::new(),
            stale: Vec::new(),
        };
        for (mutant, fate) in mutants.iter().zip(fates) {
            page.all.add(*fate);
            page.files.entry(mutant.file.clone()).or_default().add(*fate);
            if *fate == Fate::Survived {
                let text = fs::read_to_string(checkout.join(&mutant.file))
                    .with_context(|| format!("cannot read {}", mutant.file))?;
                let line = text.lines().nth(mutant.span.start.line.saturating_sub(1));
                let line = line.unwrap_or_default().trim().to_owned();
                let is_of_it = |reason: &Reason| {
                    reason.file == mutant.file && reason.change == mutant.change() && reason.line == line
                };
                let reason = reasons.iter().position(is_of_it).map(|at| reasons.remove(at));
                page.survivors.push(Survivor {
                    name: mutant.name.clone(),
                    line,
                    why: reason.map(|reason| reason.why),
                });
            }
        }
        page.stale = reasons;
        Ok(page)
    }

    /// One line for the terminal.
    pub(super) fn summary(&self) -> String {
        let all = &self.all;
        format!(
            "mutants: {} made, {} do not compile, {} of {} killed ({:.1} %), {} survived",
            all.compiled() + all.refused,
            all.refused,
            all.killed(),
            all.compiled(),
            all.percent(),
            all.survived
        )
    }

    /// Errors: survivors without a reason, reasons without a survivor, or too many survivors.
    pub(super) fn judge(&self) -> Result<()> {
        let mut wrong: Vec<String> = Vec::new();
        for survivor in self.survivors.iter().filter(|survivor| survivor.why.is_none()) {
            wrong.push(format!("{} survives `{}`", survivor.name, survivor.line));
        }
        for reason in &self.stale {
            let Reason {
                file, change, line, ..
            } = reason;
            wrong.push(format!(
                "{file}: {change} of `{line}` does not survive: drop its reason"
            ));
        }
        if self.all.percent() < LEAST_KILLED {
            wrong.push(format!("less than {LEAST_KILLED} % are killed"));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        bail!(
            "write a test, or the reason why none can fail into {REASONS}:\n{}",
            wrong.join("\n")
        )
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = &self.all;
        writeln!(
            f,
            "# Mutants\n\nGenerated by `cargo xtask mutants`: {}. Every change that cargo-mutants {CARGO_MUTANTS} knows of is \
             made to the code that decides (planner, policy, status), and a test has to fail for it. Nearly all are \
             compiled into one program, in which each run of the tests lets one of them live; where a function returns \
             an `impl`, each is compiled alone. Tests run in the order of the \
             columns, until one fails; those that do not end count as failed.\n\n\
             **{} made, {} of them refused by the compiler; {} of {} killed, {:.1} %**, {} of these by tests that did \
             not end.\n",
            self.measured_on,
            all.compiled() + all.refused,
            all.refused,
            all.killed(),
            all.compiled(),
            all.percent(),
            all.endless
        )?;
        writeln!(
            f,
            "| file | compiled | killed by units | by definition | by stories | by laws | survived |\n\
             |---|--:|--:|--:|--:|--:|--:|"
        )?;
        let rows = self
            .files
            .iter()
            .map(|(file, count)| (format!("`{file}`"), count));
        for (name, count) in rows.chain([("all".to_owned(), all)]) {
            let killed = Tests::ALL.map(|tests| count.killed.get(&tests).copied().unwrap_or(0).to_string());
            let (compiled, survived) = (count.compiled(), count.survived);
            writeln!(f, "| {name} | {compiled} | {} | {survived} |", killed.join(" | "))?;
        }
        if self.survivors.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\n## Those that live, and why no test can fail for them\n\n| change | of the line | why |\n|---|---|---|"
        )?;
        for Survivor { name, line, why } in &self.survivors {
            let why = why.as_deref().unwrap_or("**not argued**");
            let line = line.replace('|', "\\|");
            writeln!(f, "| {} | `{line}` | {why} |", name.replace('|', "\\|"))?;
        }
        Ok(())
    }
}
