//! Reading the golden file, and comparing with it.

use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serin_core::judge::{Histogram, Layout, Trials};

/// The tolerance of the specification.
const TOLERANCE: f64 = 1e-9;

fn golden() -> &'static Value {
    static GOLDEN: OnceLock<Value> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "the one setting of these tests")]
        let path = std::env::var("SERIN_GOLDEN")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/golden.json").to_owned());
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    })
}

/// All cases of a section, which has at least one.
pub(crate) fn section(name: &str) -> &'static [Value] {
    let cases = golden()[name].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(!cases.is_empty(), "the golden file has no section {name}");
    cases
}

/// A field, read as `T`.
pub(crate) fn get<T: DeserializeOwned>(case: &Value, field: &str) -> T {
    serde_json::from_value(case[field].clone()).unwrap_or_else(|error| panic!("{field} of {case}: {error}"))
}

/// Asserts that `got` is `want` within the tolerance of `case`.
pub(crate) fn close(case: &Value, what: &str, got: f64, want: f64) {
    let tolerance = case["tol"].as_f64().unwrap_or(TOLERANCE);
    let name = case["name"].as_str().or(case["fn"].as_str()).unwrap_or_default();
    assert!(
        (got - want).abs() <= tolerance * want.abs().max(1.0),
        "{name} {what}: got {got:e}, want {want:e}"
    );
}

/// The same for a whole list.
pub(crate) fn all_close(case: &Value, what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what} of {case}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        close(case, &format!("{what}[{index}]"), *got, *want);
    }
}

pub(crate) fn layout(case: &Value, field: &str) -> Layout {
    Layout::new(get(case, field)).unwrap()
}

pub(crate) fn histogram(layout: &Layout, counts: &Value, seconds: &Value) -> Histogram {
    let counts = serde_json::from_value(counts.clone()).unwrap();
    layout.histogram(counts, seconds.as_f64().unwrap()).unwrap()
}

pub(crate) fn trials(bad: &Value, all: &Value) -> Trials {
    Trials::new(bad.as_u64().unwrap(), all.as_u64().unwrap())
}
