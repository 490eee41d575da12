//! The judgement against its specification: recorded inputs and outputs of an independent implementation.
//!
//! `SERIN_GOLDEN` names another file of the same schema. A number agrees within 1e-9 · max(1, |expected|) or the
//! item's own tolerance; texts, counts and verdicts are equal.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests"
)]
#![expect(
    clippy::many_single_char_names,
    reason = "formulas keep the names of their sources"
)]

#[path = "golden/cases.rs"]
mod cases;
#[path = "golden/counters.rs"]
mod counters;
#[path = "golden/engines.rs"]
mod engines;
#[path = "golden/formulas.rs"]
mod formulas;
#[path = "golden/verdicts.rs"]
mod verdicts;
