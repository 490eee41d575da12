//! Progress on stderr: live lines with elapsed time on a terminal, plain lines elsewhere.

use std::io::Write as _;
use std::time::{Duration, Instant};

use console::{Term, style};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How often a live line is redrawn, so that the elapsed time moves while a tool is silent.
const REDRAW: Duration = Duration::from_millis(120);
/// Steps shorter than this leave no line behind: a cached result is not news.
const SILENT_BELOW: Duration = Duration::from_millis(300);
/// Longest detail shown beside a step, in characters.
const DETAIL_MAX: usize = 80;

/// Shows what is going on. Cheap to clone; clones draw on the same screen area.
#[derive(Clone)]
pub(crate) struct Progress {
    sink: Sink,
}

#[derive(Clone)]
enum Sink {
    Terminal(MultiProgress),
    Lines,
}

impl Progress {
    /// Live lines where stderr is a terminal, plain lines where it is not.
    pub(crate) fn new() -> Self {
        let sink = if Term::stderr().is_term() {
            Sink::Terminal(MultiProgress::new())
        } else {
            Sink::Lines
        };
        Self { sink }
    }

    /// Begins a step. It counts as failed until [`Step::done`] is called.
    pub(crate) fn step(&self, what: impl Into<String>) -> Step {
        let what = what.into();
        let bar = match &self.sink {
            Sink::Terminal(screen) => {
                let bar = screen.add(ProgressBar::new_spinner());
                if let Ok(style) =
                    ProgressStyle::with_template("  {spinner:.cyan} {prefix} {elapsed:.dim} {wide_msg:.dim}")
                {
                    bar.set_style(style);
                }
                bar.set_prefix(what.clone());
                bar.enable_steady_tick(REDRAW);
                Some(bar)
            }
            Sink::Lines => None,
        };
        Step {
            progress: self.clone(),
            what,
            bar,
            began: Instant::now(),
            ended: false,
        }
    }

    /// Prints one line above the live lines.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        let line = line.as_ref();
        match &self.sink {
            Sink::Terminal(screen) => drop(screen.println(line)),
            // Nobody is left to tell when stderr is closed.
            Sink::Lines => drop(writeln!(std::io::stderr().lock(), "{line}")),
        }
    }
}

/// One thing being done.
pub(crate) struct Step {
    progress: Progress,
    what: String,
    bar: Option<ProgressBar>,
    began: Instant,
    ended: bool,
}

impl Step {
    /// Shows the latest detail, for example the last line a tool printed.
    pub(crate) fn detail(&self, line: &str) {
        if let Some(bar) = &self.bar {
            let plain = console::strip_ansi_codes(line);
            bar.set_message(plain.trim().chars().take(DETAIL_MAX).collect::<String>());
        }
    }

    /// Shows a change of state: `short` beside the step on a terminal, `line` on its own elsewhere.
    pub(crate) fn news(&self, short: &str, line: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(short.to_owned()),
            None => self.progress.say(format!("    {line}")),
        }
    }

    /// Ends the step well.
    pub(crate) fn done(mut self) {
        let took = self.began.elapsed();
        self.ended = true;
        self.clear();
        if took >= SILENT_BELOW {
            self.progress.say(format!(
                "  {} {} {}",
                style("✓").green(),
                self.what,
                style(seconds(took)).dim()
            ));
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.clear();
            let took = seconds(self.began.elapsed());
            self.progress.say(format!(
                "  {} {} {}",
                style("✗").red(),
                self.what,
                style(took).dim()
            ));
        }
    }
}

/// A duration as a person reads it: `0.4 s`, `42 s`, `5 min 07 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{whole} s"),
        _ => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_every_size() {
        for (millis, text) in [
            (420, "0.4 s"),
            (9_960, "10.0 s"),
            (42_400, "42 s"),
            (307_000, "5 min 07 s"),
        ] {
            assert_eq!(seconds(Duration::from_millis(millis)), text);
        }
    }
}
