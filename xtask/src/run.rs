//! Runs other programs: output is followed line by line, and a failure shows its tail.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context as _, Result, bail};

use crate::progress::Step;

/// Lines of output kept for the error message.
const TAIL_LINES: usize = 30;

/// A program to be run, with arguments and environment.
pub(crate) struct Run {
    command: Command,
    input: Option<Vec<u8>>,
}

impl Run {
    /// The program `name`, found in `PATH` unless it is a path.
    pub(crate) fn new(name: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(name);
        command.stdin(Stdio::null());
        Self { command, input: None }
    }

    /// cargo, in the environment of a person's shell.
    ///
    /// Build scripts watch what `cargo run` tells the program it runs: handed on, a build from a task and one from a
    /// shell would undo each other.
    pub(crate) fn cargo() -> Self {
        let mut run = Self::new("cargo");
        for (name, _) in std::env::vars_os() {
            let is_of_package = name
                .to_str()
                .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
            if is_of_package {
                run.command.env_remove(name);
            }
        }
        run
    }

    /// Runs to the end on this terminal.
    ///
    /// Errors: the program cannot be started, or ends with another status than 0.
    pub(crate) fn show(mut self) -> Result<()> {
        let status = self.command.stdin(Stdio::null()).status();
        let status = status.with_context(|| format!("cannot start {}", self.program()))?;
        self.judge(status, "")
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs in `directory`.
    pub(crate) fn within(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Gives `bytes` to the program's standard input.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self.command.stdin(Stdio::piped());
        self
    }

    /// Runs to the end, shows each line on `step`.
    ///
    /// Errors: the program cannot be started, or ends with another status than 0; then with the end of its output.
    pub(crate) fn follow(mut self, step: &Step) -> Result<()> {
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program()))?;
        let (sender, lines) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            forward(out, sender.clone());
        }
        if let Some(err) = child.stderr.take() {
            forward(err, sender.clone());
        }
        drop(sender);
        let mut tail = VecDeque::with_capacity(TAIL_LINES);
        for line in lines {
            step.detail(&line);
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(line);
        }
        let status = child
            .wait()
            .with_context(|| format!("cannot wait for {}", self.program()))?;
        self.judge(status, &Vec::from(tail).join("\n"))
    }

    /// Runs to the end and returns standard output.
    ///
    /// Errors: as [`Run::follow`], with the end of standard error.
    pub(crate) fn output(mut self) -> Result<Vec<u8>> {
        let (status, out, err) = self.capture()?;
        self.judge(status, &String::from_utf8_lossy(&err))?;
        Ok(out)
    }

    /// Standard output as text without the final newline.
    pub(crate) fn text(self) -> Result<String> {
        let mut text = String::from_utf8_lossy(&self.output()?).into_owned();
        text.truncate(text.trim_end().len());
        Ok(text)
    }

    /// Whether the program could be run and ended with status 0. Its output is dropped.
    pub(crate) fn succeeds(mut self) -> bool {
        self.capture().is_ok_and(|(status, _, _)| status.success())
    }

    fn capture(&mut self) -> Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program()))?;
        let writer = match (self.input.take(), child.stdin.take()) {
            // A program that stops reading ends with a status that says more than a broken pipe would.
            (Some(bytes), Some(mut stdin)) => Some(thread::spawn(move || drop(stdin.write_all(&bytes)))),
            _ => None,
        };
        let output = child
            .wait_with_output()
            .with_context(|| format!("cannot wait for {}", self.program()))?;
        if let Some(writer) = writer {
            drop(writer.join());
        }
        Ok((output.status, output.stdout, output.stderr))
    }

    fn judge(&self, status: ExitStatus, tail: &str) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        let args: Vec<_> = self
            .command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        bail!(
            "`{} {}` ended with {status}:\n{}",
            self.program(),
            args.join(" "),
            last_lines(tail)
        )
    }

    fn program(&self) -> String {
        self.command.get_program().to_string_lossy().into_owned()
    }
}

fn forward(pipe: impl Read + Send + 'static, sender: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
}

/// The last lines of a text, as many as a person reads.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines
        .get(lines.len().saturating_sub(TAIL_LINES)..)
        .unwrap_or_default()
        .join("\n")
}

/// Commit and machine of a figure, for people.
pub(crate) fn measured_on() -> Result<String> {
    let commit = Run::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=10"])
        .text()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(format!("commit {}, {cores} cores", commit.trim()))
}

/// Whether `name` is a program in `PATH`, as `sh` sees it.
pub(crate) fn is_installed(name: &str) -> bool {
    Run::new("sh")
        .args(["-c", "command -v -- \"$1\"", "sh", name])
        .succeeds()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_command_and_the_end_of_its_output() {
        let error = Run::new("sh")
            .args(["-c", "echo one >&2; exit 3"])
            .output()
            .unwrap_err()
            .to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("one"), "{error}");
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(Run::new("cat").input("hello\n").text().unwrap(), "hello");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Run::new("no-such-program").output().unwrap_err().to_string();
        assert!(error.contains("no-such-program"), "{error}");
        assert!(!is_installed("no-such-program"));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let long: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        let kept = last_lines(&long.join("\n"));
        assert!(kept.starts_with("70\n") && kept.ends_with("99"), "{kept}");
    }
}
