//! Mutation testing of the code that decides: every change of it that `cargo mutants` knows has to fail a test.
//!
//! `cargo mutants` compiles each of them by itself, which takes hours. Here it only says what they are: all are compiled
//! into one program, and a variable of the environment says which of them lives in a run of the tests.

mod bench;
mod page;
mod weave;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use self::bench::Bench;
use crate::progress::Progress;
use crate::run::{Run, measured_on};
use crate::settings::Settings;

/// The version whose changes are known.
const CARGO_MUTANTS: &str = "27.1.0";

/// A change that `cargo mutants` knows.
#[derive(Debug, Deserialize)]
struct Mutant {
    name: String,
    file: String,
    genre: String,
    replacement: String,
    span: Span,
    function: Option<Function>,
}

#[derive(Debug, Deserialize)]
struct Function {
    return_type: String,
    span: Span,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Span {
    start: Place,
    end: Place,
}

/// Both from 1, columns in characters.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    fn offset(self, text: &str) -> Result<usize> {
        let lines = text.split_inclusive('\n').take(self.line.saturating_sub(1));
        let before: usize = lines.map(str::len).sum();
        let line = text.get(before..).unwrap_or_default();
        let ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
        let within = ends.into_iter().nth(self.column.saturating_sub(1));
        let is_there = text.lines().count() >= self.line;
        within
            .filter(|_| is_there)
            .map(|within| before + within)
            .with_context(|| format!("there is no line {} column {}", self.line, self.column))
    }
}

impl Span {
    fn range(self, text: &str) -> Result<Range<usize>> {
        Ok(self.start.offset(text)?..self.end.offset(text)?)
    }
}

impl Mutant {
    /// What is replaced. What goes as a whole, goes with its comma.
    fn place(&self, text: &str) -> Result<Range<usize>> {
        let place = self.span.range(text)?;
        let is_item = matches!(&*self.genre, "StructField" | "MatchArm");
        let rest = text.get(place.end..).unwrap_or_default();
        let comma = usize::from(is_item && rest.starts_with(','));
        Ok(place.start..place.end + comma)
    }

    /// What it is, wherever in the file.
    fn change(&self) -> &str {
        self.name
            .split_once(": ")
            .map_or(&*self.name, |(_, change)| change)
    }

    /// Bodies that differ in a type without a name fit into no function together.
    fn must_be_alone(&self) -> bool {
        let function = self.function.as_ref();
        function.is_none_or(|function| function.return_type.contains("impl "))
    }
}

/// The tests of a program of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Tests {
    Units,
    Definition,
    Stories,
    Laws,
}

impl Tests {
    /// The quickest first.
    const ALL: [Self; 4] = [Self::Units, Self::Definition, Self::Stories, Self::Laws];

    /// What cargo calls their program; the one of the units has the name of the library.
    fn name(self) -> &'static str {
        match self {
            Self::Units => "serin_core",
            Self::Definition => "definition",
            Self::Stories => "stories",
            Self::Laws => "laws",
        }
    }

    fn arguments(self) -> Vec<&'static str> {
        match self {
            Self::Units => vec!["--lib"],
            Self::Definition | Self::Stories | Self::Laws => vec!["--test", self.name()],
        }
    }

    /// How long they may take: many times what they do.
    fn limit(self) -> Duration {
        match self {
            Self::Units | Self::Definition | Self::Stories => Duration::from_secs(30),
            Self::Laws => Duration::from_mins(10),
        }
    }
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Fate {
    /// The compiler does not take it.
    Refused,
    /// One of these tests has failed.
    Killed(Tests),
    /// These tests did not end.
    Endless(Tests),
    /// All tests have passed.
    Survived,
}

/// What became of the mutants, for a run after it that tries the survivors again.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Last {
    measured_on: String,
    /// Of the code, without its tests.
    code: String,
    /// In the order of the list.
    fates: Vec<Fate>,
}

/// Makes every mutant, runs the tests on each, writes `docs/benchmarks/mutants.md`. With `survivors`, only those that
/// have survived the last run are tried: tests were added, and the code is the same.
///
/// Errors: a mutant survives for which `core/tests/survivors.json` has no reason, or has one and is dead.
pub(crate) fn run(settings: &Settings, progress: &Progress, survivors: bool) -> Result<()> {
    let version = Run::new("cargo").args(["mutants", "--version"]).text();
    ensure!(
        version.is_ok_and(|version| version.ends_with(CARGO_MUTANTS)),
        "cargo-mutants {CARGO_MUTANTS} is needed: `cargo install cargo-mutants --version {CARGO_MUTANTS} --locked`"
    );
    let now = measured_on()?;
    let bench = Bench::new(settings)?;
    let mutants = bench.list()?;
    let last = if survivors { Some(bench.last()?) } else { None };
    let last_fate = |number: usize| last.as_ref()?.fates.get(number - 1).copied();
    let is_tried = |number: usize| last_fate(number).is_none_or(|fate| fate == Fate::Survived);
    let mut fates: BTreeMap<usize, Fate> = BTreeMap::new();
    fates.extend((1..=mutants.len()).filter_map(|number| Some((number, last_fate(number)?))));

    let step = progress.step(format!("compile {} mutants", mutants.len()));
    let (programs, left_out) = bench.together(&mutants)?;
    step.done();
    let left_out = |number: &usize| left_out.contains(number);
    let tried = || (1..=mutants.len()).filter(|number| is_tried(*number));
    fates.extend(tried().filter(left_out).map(|number| (number, Fate::Refused)));

    let step = progress.step("test them");
    let numbers: Vec<usize> = tried().filter(|number| !left_out(number)).collect();
    let lives = bench.try_all(&programs, &numbers, |done, number, fate| {
        let told = format!("{done} of {}", numbers.len());
        step.detail(&told);
        if let (Fate::Survived, Some(mutant)) = (fate, mutants.get(number - 1)) {
            progress.say(format!("    {told}: {} survives", mutant.name));
        }
    })?;
    step.done();
    fates.extend(lives);

    let alone = (1..).zip(&mutants).filter(|(_, mutant)| mutant.must_be_alone());
    for (number, mutant) in alone.filter(|(number, _)| is_tried(*number)) {
        let step = progress.step(&mutant.name);
        fates.insert(number, bench.alone(mutant)?);
        step.done();
    }

    ensure!(
        fates.len() == mutants.len(),
        "it is not known what became of each mutant"
    );
    let fates: Vec<Fate> = fates.into_values().collect();
    let measured_on = match last {
        Some(last) => format!("{}; those that survived, again at {now}", last.measured_on),
        None => now,
    };
    bench.keep(&fates, &measured_on)?;
    let page = page::Page::new(&mutants, &fates, bench.checkout(), measured_on)?;
    let path = bench.checkout().join("docs/benchmarks/mutants.md");
    fs::write(&path, page.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    progress.say(page.summary());
    page.judge()
}
