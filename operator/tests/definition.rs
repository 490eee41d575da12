//! The page of metrics equals what the operator exports, and whatever alerts are written on is there.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../core/tests/definition/committed.rs"]
mod committed;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use http::{Method, Uri};
use jiff::Timestamp;
use serin_core::crd::ModelReleaseStatus;
use serin_core::plan::{Phase, Reason, Transition};
use serin_core::status::conditions::reasons;
use serin_operator::{Error, Metrics, Shown};

use crate::committed::{is_committed, text};

const PAGE: &str = "docs/reference/metrics.md";
const HEAD: &str = "# Metrics of the operator

Generated from `operator/src/metrics.rs`; `/metrics` at port 8080 has them in the OpenMetrics format. The replica that leads has
the releases. A release that is deleted is gone from the next scrape on. What to do with them:
[alert on releases](../how-to/alert-on-releases.md).

| name | type | unit | labels | says |
|---|---|---|---|---|
";

/// A family of metrics, as it is exposed.
#[derive(Default)]
struct Family {
    kind: String,
    unit: String,
    help: String,
    labels: BTreeSet<String>,
}

impl Family {
    /// The name by which it is asked for.
    fn name(&self, name: &str) -> String {
        match self.kind.as_str() {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        }
    }
}

/// What an operator exports that has a release and has asked the API server for something.
fn exposition() -> String {
    let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
    let shown = Shown::of(&ModelReleaseStatus::default());
    metrics.releases().shows("demo", "recommender", shown);
    let pods = Uri::from_static("/api/v1/namespaces/demo/pods");
    metrics
        .calls()
        .count(&Method::GET, &pods, Some(200), Duration::from_millis(1));
    metrics.text()
}

/// The families in the order of the exposition, under names without the suffixes of their samples.
fn families(exposition: &str) -> Vec<(String, Family)> {
    let mut families: Vec<(String, Family)> = Vec::new();
    for line in exposition.lines() {
        if let Some(told) = line.strip_prefix("# ") {
            let mut words = told.splitn(3, ' ');
            let (what, name, value) = (words.next().unwrap(), words.next(), words.next());
            let value = value.unwrap_or_default().to_owned();
            match what {
                "HELP" => families.push((
                    name.unwrap().to_owned(),
                    Family {
                        help: value,
                        ..Family::default()
                    },
                )),
                "TYPE" => families.last_mut().unwrap().1.kind = value,
                "UNIT" => families.last_mut().unwrap().1.unit = value,
                _ => assert_eq!(what, "EOF", "{line}"),
            }
            continue;
        }
        let (name, family) = families.last_mut().unwrap();
        assert!(line.starts_with(name.as_str()), "{line} is no sample of {name}");
        let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
        let labels = labels.map(|(labels, _)| labels).unwrap_or_default();
        let names = labels.split(',').filter_map(|label| label.split_once('='));
        family
            .labels
            .extend(names.map(|(name, _)| name.to_owned()).filter(|name| name != "le"));
    }
    families
}

fn page() -> String {
    let mut page = String::from(HEAD);
    let mut used = BTreeSet::new();
    for (name, family) in families(&exposition()) {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, unit) = (family.name(&name), &family.kind, &family.unit);
        writeln!(
            page,
            "| `{name}` | {kind} | {unit} | {} | {} |",
            labels.join(", "),
            family.help
        )
        .unwrap();
        used.extend(family.labels);
    }
    page.push_str("\n## Labels\n\n| label | is |\n|---|---|\n");
    let known: BTreeMap<_, _> = Metrics::LABELS.into_iter().collect();
    for (label, meaning) in &known {
        writeln!(page, "| `{label}` | {meaning} |").unwrap();
    }
    let known: BTreeSet<_> = known.into_keys().map(str::to_owned).collect();
    assert_eq!(
        used, known,
        "Metrics::LABELS says what each label is, and no more"
    );
    page
}

/// Every name that a query may use.
fn sample_names() -> BTreeSet<String> {
    let exposition = exposition();
    let samples = exposition.lines().filter(|line| !line.starts_with('#'));
    let name = |line: &str| line.split(['{', ' ']).next().unwrap().to_owned();
    samples.map(name).collect()
}

#[test]
fn the_committed_page_of_metrics_is_the_generated_one() {
    is_committed(PAGE, &page());
}

#[test]
fn the_page_names_every_metric_that_is_printed() {
    let page = text(PAGE);
    for name in sample_names() {
        let family = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(&name);
        assert!(
            page.contains(&format!("| `{family}` |")),
            "{PAGE} does not name {name}"
        );
    }
}

#[test]
fn names_end_with_their_base_unit() {
    for (name, family) in families(&exposition()) {
        let is_well_named =
            name.ends_with(&family.unit) && !name.contains("milli") && !name.ends_with("_total");
        assert!(is_well_named, "{name} in {}", family.unit);
        assert!(
            family.kind != "histogram" || family.unit == "seconds",
            "{name} has no unit"
        );
    }
}

/// The quoted values of `label` in the queries of a page, `|` and all.
fn values<'a>(page: &'a str, label: &str) -> Vec<&'a str> {
    let after = |operator: &str| {
        let needle = format!("{label}{operator}\"");
        page.split(&needle)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect::<Vec<_>>()
    };
    ["=", "=~", "!=", "!~"]
        .into_iter()
        .flat_map(after)
        .flat_map(|all| all.split('|'))
        .collect()
}

#[test]
fn alerts_are_written_on_metrics_and_words_that_exist() {
    let page = text("docs/how-to/alert-on-releases.md");
    let names = sample_names();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let used: BTreeSet<_> = page
        .split(|c: char| !is_name(c))
        .filter(|word| word.starts_with("serin_"))
        .collect();
    assert!(used.len() > 5, "{used:?} are too few to show anything");
    for name in used {
        assert!(names.contains(name), "nobody exports {name}");
    }

    let phases: Vec<&str> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
    let outcomes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let mut words: Vec<&str> = reasons().into_iter().map(|(_, reason, _)| reason).collect();
    words.extend(Transition::ALL.iter().map(|transition| transition.as_str()));
    words.extend(Error::REASONS);
    for (label, known) in [("phase", phases), ("outcome", outcomes), ("reason", words)] {
        for value in values(&page, label) {
            let is_known = match value.strip_suffix(".*") {
                Some(prefix) => known.iter().any(|word| word.starts_with(prefix)),
                None => known.contains(&value),
            };
            assert!(is_known, "{label} is never {value}");
        }
    }
}
