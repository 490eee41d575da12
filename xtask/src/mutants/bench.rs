//! Where mutants are compiled and tested: a copy of the checkout.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::Mutex;
use serde_json::Value;

use super::{Fate, Last, Mutant, Tests, weave};
use crate::cache::{Key, remove};
use crate::run::{Run, last_lines};
use crate::settings::Settings;

/// The crate that is changed.
const PACKAGE: &str = "serin-core";
/// Its code.
const CODE: &str = "core/src";
/// Where the switch is added.
const LIBRARY: &str = "core/src/lib.rs";
/// How often a run is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// What cannot be compiled together is left out, and what it hid is seen by the next compilation.
const COMPILATIONS: usize = 10;

/// A copy of the checkout that may be changed, and where it is compiled.
pub(super) struct Bench {
    checkout: PathBuf,
    tree: PathBuf,
    target: PathBuf,
    last: PathBuf,
}

/// The program of all tests, in their order.
pub(super) type Programs = Vec<(Tests, PathBuf)>;

/// The number of each mutant, and what became of it.
pub(super) type Lives = Vec<(usize, Fate)>;

impl Bench {
    /// A fresh copy of the checkout as it is, committed or not.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let cache = settings.cache().join("mutants");
        let bench = Self {
            checkout: settings.checkout().to_owned(),
            tree: cache.join("tree"),
            target: cache.join("target"),
            last: cache.join("last.json"),
        };
        remove(&bench.tree)?;
        let files = Run::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .within(&bench.checkout)
            .text()?;
        for file in files.split('\0').filter(|file| !file.is_empty()) {
            let from = bench.checkout.join(file);
            // A file that is gone may be committed still.
            if from.exists() {
                let bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
                bench.write(file, &bytes)?;
            }
        }
        Ok(bench)
    }

    pub(super) fn checkout(&self) -> &Path {
        &self.checkout
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let to = self.tree.join(file);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))
    }

    fn original(&self, file: &str) -> Result<String> {
        let path = self.checkout.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn code(&self) -> Result<String> {
        Ok(Key::default().files(&self.checkout.join(CODE))?.short())
    }

    pub(super) fn list(&self) -> Result<Vec<Mutant>> {
        let list = Run::new("cargo")
            .args(["mutants", "--list", "--json"])
            .within(&self.tree)
            .output()?;
        serde_json::from_slice(&list).context("cargo mutants answers with something else than a list")
    }

    /// What became of the mutants when they were made last.
    ///
    /// Errors: there was no such run, or it was of other code.
    pub(super) fn last(&self) -> Result<Last> {
        let text = fs::read(&self.last).context("there was no run before: leave out --survivors")?;
        let last: Last = serde_json::from_slice(&text).context("the run before was another program's")?;
        ensure!(
            last.code == self.code()?,
            "{CODE} has changed since the last run: leave out --survivors"
        );
        Ok(last)
    }

    pub(super) fn keep(&self, fates: &[Fate], measured_on: &str) -> Result<()> {
        let last = Last {
            measured_on: measured_on.to_owned(),
            code: self.code()?,
            fates: fates.to_vec(),
        };
        fs::write(&self.last, serde_json::to_vec(&last)?)
            .with_context(|| format!("cannot write {}", self.last.display()))
    }

    /// Compiles all that can be, in one program; answers it and who is not in it.
    pub(super) fn together(&self, mutants: &[Mutant]) -> Result<(Programs, BTreeSet<usize>)> {
        let switched = self.original(LIBRARY)? + weave::SWITCH;
        self.write(LIBRARY, switched.as_bytes())?;
        let numbered = (1..).zip(mutants);
        let mut refused: BTreeSet<usize> = numbered
            .filter(|(_, mutant)| mutant.must_be_alone())
            .map(|(number, _)| number)
            .collect();
        for _ in 0..COMPILATIONS {
            let owners = self.weave(mutants, &refused)?;
            match self.compile(&owners)? {
                Compiled::Programs(programs) => return Ok((programs, refused)),
                Compiled::Refuses(more, told) if more.is_empty() => {
                    bail!("the copy in {} does not compile:\n{told}", self.tree.display())
                }
                Compiled::Refuses(more, _) => refused.extend(more),
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
        let refused = messages
            .iter()
            .filter_map(|message| owner(message, owners))
            .collect();
        let told = last_lines(&String::from_utf8_lossy(&output.stderr));
        Ok(Compiled::Refuses(refused, told))
    }

    /// Runs the tests on each of `numbers`, as many at once as there are cores; tells how many are done, and what became
    /// of the last.
    pub(super) fn try_all(
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

    /// Compiles a mutant in place of the original, and runs the tests on it. The other files are as [`Self::together`]
    /// has left them: without a choice they are the original.
    pub(super) fn alone(&self, mutant: &Mutant) -> Result<Fate> {
        let original = self.original(&mutant.file)?;
        let changed = weave::alone(&original, mutant)?;
        self.write(&mutant.file, changed.as_bytes())?;
        let fate = match self.compile(&BTreeMap::new())? {
            Compiled::Programs(programs) => self.fate(&programs, 0)?,
            Compiled::Refuses(..) => Fate::Refused,
        };
        self.write(&mutant.file, original.as_bytes())?;
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
            // What a law draws is the same in each run: luck kills nobody.
            .env("PROPTEST_RNG_SEED", "1")
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
    /// The mutants in whose lines something is wrong, and the end of what the compiler says.
    Refuses(BTreeSet<usize>, String),
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
