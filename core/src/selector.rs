//! A counter by its name and some of its labels, as queries write it: `answers_total{outcome="empty"}`.

use std::str::FromStr;

/// Which series are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    name: String,
    labels: Vec<(String, String)>,
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no counter: write its name, with labels that must be equal, such as answers_total{{outcome=\"empty\"}}"
)]
pub struct SelectorError(String);

impl Selector {
    /// Name of the metric.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a series of this name with these labels is meant.
    pub fn selects<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let equals = |(key, value): &(String, String)| label(key) == Some(value.as_str());
        self.name == name && self.labels.iter().all(equals)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let wrong = || SelectorError(text.to_owned());
        let (name, labels) = match text.split_once('{') {
            None => (text, ""),
            Some((name, rest)) => (name, rest.strip_suffix('}').ok_or_else(wrong)?),
        };
        let labels = labels.split(',').filter(|label| !label.trim().is_empty());
        let labels = labels.map(|label| {
            let (key, value) = label.split_once('=').ok_or_else(wrong)?;
            let value = value
                .trim()
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'));
            let value = value
                .filter(|value| !value.contains(['"', '\\']))
                .ok_or_else(wrong)?;
            is_word(key.trim(), false)
                .then(|| (key.trim().to_owned(), value.to_owned()))
                .ok_or_else(wrong)
        });
        Ok(Self {
            name: is_word(name, true).then(|| name.to_owned()).ok_or_else(wrong)?,
            labels: labels.collect::<Result<_, _>>()?,
        })
    }
}

fn is_word(word: &str, with_colon: bool) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (with_colon && c == ':');
    word.starts_with(|c: char| is_part(c) && !c.is_ascii_digit()) && word.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_selected_by_name_and_labels() {
        let labels = |key: &str| {
            [("outcome", "empty"), ("pod", "p")]
                .into_iter()
                .find(|(k, _)| *k == key)
                .map(|(_, v)| v)
        };
        for (text, selects) in [
            ("answers_total", true),
            ("answers_total{outcome=\"empty\"}", true),
            ("answers_total{outcome=\"empty\", pod=\"p\"}", true),
            ("answers_total{}", true),
            ("answers_total{outcome=\"full\"}", false),
            ("answers_total{city=\"Rome\"}", false),
            ("answers", false),
        ] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.selects("answers_total", labels), selects, "{text}");
        }
    }

    #[test]
    fn what_is_no_counter_is_named_with_an_example() {
        for text in [
            "",
            "1st",
            "a total",
            "a{",
            "a{b}",
            "a{b=c}",
            "a{b=\"c}",
            "a{1=\"c\"}",
            "sum(a)",
            "a{b=~\"c\"}",
        ] {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("\"{text}\" is no counter: write")),
                "{error}"
            );
        }
    }
}
