//! What Prometheus answers to a query, as its HTTP API documents it: a matrix of samples, or why there is none.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::{self, Visitor};
use serde_json::Value;

/// What is no ground for a verdict: the pods that are missing may be those that fail.
const PARTIAL: &str = "the answer is partial: a part of the metrics store is away";

/// A series: its labels and its samples, oldest first. A native histogram has `histograms` instead of `values`.
#[derive(Debug, Deserialize)]
pub(super) struct Vector<'a> {
    #[serde(borrow)]
    metric: BTreeMap<Text<'a>, Text<'a>>,
    /// Times and values of numbers.
    #[serde(default)]
    pub(super) values: Vec<Sample<Number>>,
    /// Times and values of native histograms.
    #[serde(default)]
    pub(super) histograms: Vec<Sample<Native>>,
}

/// A native histogram at one time.
#[derive(Debug, Deserialize)]
pub(super) struct Native {
    /// Observations.
    pub(super) count: Number,
    /// Their sum.
    pub(super) sum: Number,
    /// Which edges belong to the bucket, its edges, and the observations between them; empty buckets are left out.
    #[serde(default)]
    pub(super) buckets: Vec<(u8, Number, Number, Number)>,
}

/// A value and when it was scraped.
#[derive(Debug, Deserialize)]
pub(super) struct Sample<V>(Seconds, pub(super) V);

/// Seconds since 1970, with milliseconds behind the point.
#[derive(Debug, Deserialize)]
struct Seconds(f64);

/// A number that is written as a text, for JSON has neither `NaN` nor `+Inf`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number(pub(super) f64);

#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    /// Whether a part of the store did not answer, in the words of `VictoriaMetrics`.
    #[serde(default)]
    is_partial: bool,
    #[serde(borrow, default)]
    error: Option<Text<'a>>,
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    result_type: Text<'a>,
    #[serde(borrow)]
    result: Vec<Vector<'a>>,
}

/// The series of an answer. Errors: in words, whatever is no matrix.
pub(super) fn matrix(status: StatusCode, body: &[u8]) -> Result<Vec<Vector<'_>>, String> {
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|error| {
        if status.is_success() {
            format!("the answer is none of Prometheus' HTTP API ({error})")
        } else {
            format!("HTTP {status}")
        }
    })?;
    if let Some(Text(words)) = answer.error {
        return Err(words.into_owned());
    }
    if answer.is_partial {
        return Err(PARTIAL.into());
    }
    let data = answer.data.filter(|_| status.is_success());
    let data = data.ok_or_else(|| format!("HTTP {status}"))?;
    if data.result_type.0 == "matrix" {
        Ok(data.result)
    } else {
        Err("the answer is no matrix of samples".into())
    }
}

/// The one value of an answer. Errors: in words, whatever is none or more than one.
pub(super) fn value(status: StatusCode, body: &[u8]) -> Result<f64, String> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| format!("HTTP {status}"))?;
    if let Some(words) = answer.get("error").and_then(Value::as_str) {
        return Err(words.to_owned());
    }
    if answer.get("isPartial").and_then(Value::as_bool) == Some(true) {
        return Err(PARTIAL.into());
    }
    let result = answer.pointer("/data/result");
    let sample = match (answer.pointer("/data/resultType").and_then(Value::as_str), result) {
        (Some("scalar"), Some(sample)) => sample,
        (Some("vector"), Some(Value::Array(series))) => match series.as_slice() {
            [] => return Err("the query answers nothing".into()),
            [one] => one
                .get("value")
                .ok_or("the query answers a histogram: take a quantile of it")?,
            many => {
                return Err(format!(
                    "the query answers {} series: aggregate them to one",
                    many.len()
                ));
            }
        },
        (Some(kind), _) => return Err(format!("the query answers a {kind}, which is no value")),
        (None, _) => return Err(format!("HTTP {status}")),
    };
    let text = sample.get(1).and_then(Value::as_str).unwrap_or_default();
    let value: f64 = text
        .parse()
        .map_err(|_| format!("the query answers \"{text}\""))?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(format!("the query answers {text}"))
    }
}

impl Vector<'_> {
    /// The value of a label.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.metric.get(name).map(|text| &*text.0)
    }

    /// Everything that tells series of one pod apart, in one order; a bucket's edge is part of what it counts.
    pub(super) fn labels(&self) -> String {
        let mut text = String::new();
        let labels = self.metric.iter();
        for (Text(name), Text(value)) in labels.filter(|(name, _)| !["__name__", "le"].contains(&&*name.0)) {
            let comma = if text.is_empty() { "" } else { "," };
            text.extend([comma, name, "=", value]);
        }
        text
    }
}

impl Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<V> Sample<V> {
    /// When it was scraped; none of a time that there never was.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "milliseconds since 1970 stay far below 2^53"
    )]
    pub(super) fn time(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond((self.0.0 * 1000.0).round() as i64).ok()
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number as text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                let number = text.parse().map(Number);
                number.map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        from.deserialize_str(Words)
    }
}
