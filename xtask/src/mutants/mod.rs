//! Mutation testing of the code that decides: every change of it that `cargo mutants` knows has to fail a test.
//!
//! `cargo mutants` compiles each of them by itself, which takes hours. Here it only says what they are: all are compiled
//! into one program, and a variable of the environment says which of them lives in a run of the tests.

mod page;
mod weave;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::progress::Progress;
use crate::run::{Run, is_installed, last_lines, measured_on};
use crate::settings::Settings;

/// The version whose changes are known.
const CARGO_MUTANTS: &str = "27.1.0";
/// The crate that is changed.
const PACKAGE: &str = "serin-core";
/// How often a run is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// What cannot be compiled together is left out, and what it hid is seen by the next compilation.
const COMPILATIONS: usize = 10;

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
            Self::Units | Self::Definition | Self::Stories => Duration::from_mins(1),
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
    /// In the order of the list, by name.
    fates: Vec<(String, Fate)>,
}

/// Makes every mutant, runs the tests on each, writes `docs/benchmarks/mutants.md`. With `survivors`, only those that
/// have survived the last run are tried: tests were added, and the code is the same.
///
/// Errors: a mutant survives for which `core/tests/survivors.json` has no reason, or has one and is dead.
pub(crate) fn run(settings: &Settings, progress: &Progress, survivors: bool) -> Result<()> {
    ensure!(
        is_installed("cargo-mutants"),
        "cargo-mutants is not installed: `cargo install cargo-mutants --version {CARGO_MUTANTS} --locked`"
    );
    let now = measured_on()?;
    let bench = Bench::new(settings)?;
    let mutants = bench.list()?;
    let last = if survivors {
        Some(bench.last(&mutants)?)
    } else {
        None
    };
    let is_tried = |number: usize| {
        let fates = last.as_ref().map(|last| &last.fates);
        fates.is_none_or(|fates| {
            fates
                .get(number - 1)
                .is_some_and(|(_, fate)| *fate == Fate::Survived)
        })
    };
    let mut fates: BTreeMap<usize, Fate> = BTreeMap::new();
    if let Some(last) = &last {
        fates.extend((1..).zip(last.fates.iter().map(|(_, fate)| *fate)));
    }

    let step = progress.step(format!("compile {} mutants", mutants.len()));
    let (programs, refused) = bench.together(&mutants)?;
    step.done();
    fates.extend(refused.iter().map(|number| (*number, Fate::Refused)));

    let step = progress.step("test them");
    let numbers = (1..=mutants.len()).filter(|number| !refused.contains(number) && is_tried(*number));
    let numbers: Vec<usize> = numbers.collect();
    let lives = bench.try_all(&programs, &numbers, |done, number, fate| {
        step.detail(&format!("{done} of {}", numbers.len()));
        if let (Fate::Survived, Some(mutant)) = (fate, mutants.get(number - 1)) {
            progress.say(format!("    survives: {}", mutant.name));
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

    let measured_on = match last {
        Some(last) => format!("{}; those that survived it, again at {now}", last.measured_on),
        None => now,
    };
    let fates: Vec<Fate> = fates.into_values().collect();
    bench.keep(&mutants, &fates, &measured_on)?;
    let page = page::Page::new(&mutants, &fates, &bench.checkout, measured_on)?;
    let path = bench.checkout.join("docs/benchmarks/mutants.md");
    fs::write(&path, page.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    progress.say(page.summary());
    page.judge()
}

/// A copy of the checkout that may be changed, and where it is compiled.
struct Bench {
    checkout: PathBuf,
    tree: PathBuf,
    target: PathBuf,
    last: PathBuf,
}

/// The program of all tests, in their order.
type Programs = Vec<(Tests, PathBuf)>;

/// The number of each mutant, and what became of it.
type Lives = Vec<(usize, Fate)>;

impl Bench {
    fn new(settings: &Settings) -> Result<Self> {
        let cache = settings.cache().join("mutants");
        let bench = Self {
            checkout: settings.checkout().to_owned(),
            tree: cache.join("tree"),
            target: cache.join("target"),
            last: cache.join("last.json"),
        };
        let files = Run::new("git")
            .args(["ls-files", "-z"])
            .within(&bench.checkout)
            .text()?;
        for file in files.split('\0').filter(|file| !file.is_empty()) {
            bench.restore(file)?;
        }
        Ok(bench)
    }

    /// Brings a file of the copy back to what it is in the checkout; one that is the same keeps its time.
    fn restore(&self, file: &str) -> Result<()> {
        let from = self.checkout.join(file);
        // Not committed yet that it is gone.
        if !from.exists() {
            return Ok(());
        }
        let bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        self.write(file, &bytes)
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let to = self.tree.join(file);
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))
    }

    fn original(&self, file: &str) -> Result<String> {
        let path = self.checkout.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn list(&self) -> Result<Vec<Mutant>> {
        let list = Run::new("cargo")
            .args(["mutants", "--list", "--json"])
            .within(&self.tree)
            .output()?;
        serde_json::from_slice(&list).context("cargo mutants answers with something else than a list")
    }

    /// What became of the mutants when they were made last.
    ///
    /// Errors: there was no such run, or it was of other mutants.
    fn last(&self, mutants: &[Mutant]) -> Result<Last> {
        let text = fs::read(&self.last).context("there was no run before: leave out --survivors")?;
        let last: Last = serde_json::from_slice(&text).context("the run before was another program's")?;
        let names = mutants.iter().map(|mutant| &mutant.name);
        ensure!(
            names.eq(last.fates.iter().map(|(name, _)| name)),
            "the code has changed since the last run: leave out --survivors"
        );
        Ok(last)
    }

    fn keep(&self, mutants: &[Mutant], fates: &[Fate], measured_on: &str) -> Result<()> {
        let names = mutants.iter().map(|mutant| mutant.name.clone());
        let last = Last {
            measured_on: measured_on.to_owned(),
            fates: names.zip(fates.iter().copied()).collect(),
        };
        fs::write(&self.last, serde_json::to_vec(&last)?)
            .with_context(|| format!("cannot write {}", self.last.display()))
    }

    /// Compiles all that can be, in one program; answers it and who is not in it.
    fn together(&self, mutants: &[Mutant]) -> Result<(Programs, BTreeSet<usize>)> {
        let library = "core/src/lib.rs";
        let switched = self.original(library)? + weave::SWITCH;
        self.write(library, switched.as_bytes())?;
        let numbered = (1..).zip(mutants);
        let mut refused: BTreeSet<usize> = numbered
            .filter(|(_, mutant)| mutant.must_be_alone())
            .map(|(number, _)| number)
            .collect();
        for _ in 0..COMPILATIONS {
            let owners = self.weave(mutants, &refused)?;
            match self.compile(&owners)? {
                Compiled::Programs(programs) => return Ok((programs, refused)),
                Compiled::Refuses(more) => refused.extend(more),
            }
        }
        bail!("after {COMPILATIONS} compilations there are still mutants that cannot be compiled")
    }

    /// Writes the sources of all but the `refused`; answers whose each line is.
    fn weave(&self, mutants: &[Mutant], refused: &BTreeSet<usize>) -> Result<BTreeMap<String, Vec<usize>>> {
        let mut files: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
        for (number, mutant) in (1..).zip(mutants) {
            let of_file = files.entry(&mutant.file).or_default();
            if !refused.contains(&number) {
                of_file.push((number, mutant));
            }
        }
        let mut owners = BTreeMap::new();
        for (file, mutants) in files {
            let woven = weave::weave(&self.original(file)?, &mutants).with_context(|| file.to_owned())?;
            self.write(file, woven.text.as_bytes())?;
            owners.insert(file.to_owned(), woven.owners);
        }
        Ok(owners)
    }

    /// Compiles the copy as it is.
    ///
    /// Errors: the compiler refuses a line that belongs to no mutant.
    fn compile(&self, owners: &BTreeMap<String, Vec<usize>>) -> Result<Compiled> {
        let output = Command::new("cargo")
            .args([
                "test",
                "--no-run",
                "--locked",
                "--profile",
                "mutants",
                "--message-format",
                "json",
            ])
            .args(["--package", PACKAGE])
            .args(Tests::ALL.into_iter().flat_map(Tests::arguments))
            .env("CARGO_TARGET_DIR", &self.target)
            .current_dir(&self.tree)
            .output()
            .context("cannot start cargo")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let messages: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        if output.status.success() {
            return Ok(Compiled::Programs(programs(&messages)?));
        }
        let refused: BTreeSet<usize> = messages
            .iter()
            .filter_map(|message| owner(message, owners))
            .collect();
        if refused.is_empty() {
            let told = String::from_utf8_lossy(&output.stderr);
            bail!(
                "the copy in {} does not compile:\n{}",
                self.tree.display(),
                last_lines(&told)
            );
        }
        Ok(Compiled::Refuses(refused))
    }

    /// Runs the tests on each of `numbers`, as many at once as there are cores; tells how many are done, and what became
    /// of the last.
    fn try_all(
        &self,
        programs: &Programs,
        numbers: &[usize],
        tell: impl Fn(usize, usize, Fate) + Sync,
    ) -> Result<Lives> {
        let original = self.fate(programs, 0)?;
        ensure!(
            original == Fate::Survived,
            "the tests fail on the original: {original:?}"
        );
        let next = AtomicUsize::new(0);
        let lives: Mutex<Lives> = Mutex::default();
        let work = || -> Result<()> {
            while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                let fate = self.fate(programs, *number)?;
                let mut lives = lives.lock();
                lives.push((*number, fate));
                tell(lives.len(), *number, fate);
            }
            Ok(())
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(ended) => ended,
                Err(_) => bail!("a worker has panicked"),
            })
        })?;
        Ok(lives.into_inner())
    }

    /// Compiles a mutant in place of the original, and runs the tests on it.
    fn alone(&self, mutant: &Mutant) -> Result<Fate> {
        for file in ["core/src/lib.rs", &mutant.file] {
            self.restore(file)?;
        }
        let changed = weave::alone(&self.original(&mutant.file)?, mutant)?;
        // All lines are its own: whatever is wrong is wrong with it.
        let owners = [(mutant.file.clone(), vec![1; changed.lines().count() + 1])].into();
        self.write(&mutant.file, changed.as_bytes())?;
        let fate = match self.compile(&owners)? {
            Compiled::Programs(programs) => self.fate(&programs, 0)?,
            Compiled::Refuses(_) => Fate::Refused,
        };
        self.restore(&mutant.file)?;
        Ok(fate)
    }

    /// Runs the tests on mutant `number` until one of them fails.
    fn fate(&self, programs: &Programs, number: usize) -> Result<Fate> {
        for (tests, program) in programs {
            match self.passes(program, tests.limit(), number)? {
                Some(true) => {}
                Some(false) => return Ok(Fate::Killed(*tests)),
                None => return Ok(Fate::Endless(*tests)),
            }
        }
        Ok(Fate::Survived)
    }

    /// Whether all tests of a program pass; none when they have not ended after `limit`.
    fn passes(&self, program: &Path, limit: Duration, number: usize) -> Result<Option<bool>> {
        let mut child = Command::new(program)
            .args(["--quiet", "--test-threads=1"])
            .env("MUTANT", number.to_string())
            .env("RUST_BACKTRACE", "0")
            .current_dir(self.tree.join("core"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let began = Instant::now();
        while began.elapsed() < limit {
            if let Some(status) = child.try_wait().context("cannot wait for a test")? {
                return Ok(Some(status.success()));
            }
            std::thread::sleep(LOOK);
        }
        child.kill().context("cannot end a test")?;
        child.wait().context("cannot wait for a test")?;
        Ok(None)
    }
}

/// What a compilation has come to.
enum Compiled {
    Programs(Programs),
    /// The mutants in whose lines something is wrong.
    Refuses(BTreeSet<usize>),
}

/// The test programs that cargo tells of.
fn programs(messages: &[Value]) -> Result<Programs> {
    let program = |tests: Tests| {
        let is_of_it = |message: &&Value| {
            let name = message.get("target").and_then(|target| target.get("name"));
            name == Some(&tests.name().into()) && message.get("executable").is_some_and(Value::is_string)
        };
        let program = messages.iter().find(is_of_it)?.get("executable")?.as_str()?;
        Some((tests, PathBuf::from(program)))
    };
    let known =
        |tests: Tests| program(tests).with_context(|| format!("cargo tells of no program {}", tests.name()));
    Tests::ALL.into_iter().map(known).collect()
}

/// The mutant that an error of the compiler is about; none if it is no error, or the original's.
fn owner(message: &Value, owners: &BTreeMap<String, Vec<usize>>) -> Option<usize> {
    let message = message
        .get("message")
        .filter(|message| message.get("level") == Some(&"error".into()))?;
    let spans = message.get("spans")?.as_array()?;
    let owner_of = |span: &Value| {
        let lines = owners.get(span.get("file_name")?.as_str()?)?;
        let line = usize::try_from(span.get("line_start")?.as_u64()?).ok()?;
        lines
            .get(line.checked_sub(1)?)
            .copied()
            .filter(|owner| *owner > 0)
    };
    // In a macro, the place that is meant is where it is used.
    let used = |span: &Value| owner_of(span).or_else(|| owner_of(span.get("expansion")?.get("span")?));
    let is_primary = |span: &&Value| span.get("is_primary") == Some(&true.into());
    let primary = spans.iter().filter(is_primary).find_map(used);
    primary.or_else(|| spans.iter().find_map(used))
}
