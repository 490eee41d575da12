//! Gates: conditions on the evidence of a model version, checked before it gets any traffic.

use std::collections::BTreeMap;
use std::fmt;

use cel::{Context, Program, Value};

/// A gate whose expression compiles.
pub struct Gate {
    name: String,
    require: String,
    program: Program,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.require)
    }
}

impl Gate {
    /// Compiles `require`, a CEL expression over `evidence`.
    ///
    /// Errors: the compiler's own words, when `require` is no expression.
    pub fn new(name: &str, require: &str) -> Result<Self, String> {
        let program = Program::compile(require).map_err(|error| error.to_string().replace('\n', " "))?;
        Ok(Self {
            name: name.to_owned(),
            require: require.to_owned(),
            program,
        })
    }

    /// Whether the gate opens for `evidence`. An error names the missing name, or the comparison that failed with the
    /// values that it compared.
    pub fn check(&self, evidence: &BTreeMap<String, f64>) -> Result<(), String> {
        let mut context = Context::default();
        let values: std::collections::HashMap<String, f64> = evidence.clone().into_iter().collect();
        let failed = |why: &str| format!("gate \"{}\": {} {why}", self.name, self.require);
        context
            .add_variable("evidence", values)
            .map_err(|error| failed(&format!("cannot be evaluated: {error}")))?;
        match self.program.execute(&context) {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(Value::Bool(false)) => Err(failed(&format!("is false{}", self.used(evidence)))),
            Ok(other) => Err(failed(&format!("is {other:?}, write a comparison"))),
            Err(error) => Err(failed(&format!(
                "cannot be evaluated: {error}{}",
                self.used(evidence)
            ))),
        }
    }

    /// The evidence that the expression mentions, or all names there are when it mentions none of them.
    fn used(&self, evidence: &BTreeMap<String, f64>) -> String {
        let mentioned: Vec<String> = evidence
            .iter()
            .filter(|(name, _)| self.require.contains(name.as_str()))
            .map(|(name, value)| format!("evidence.{name} is {value}"))
            .collect();
        if mentioned.is_empty() {
            let names: Vec<&str> = evidence.keys().map(String::as_str).collect();
            return format!(
                "; the evidence holds: {}",
                if names.is_empty() {
                    "nothing".into()
                } else {
                    names.join(", ")
                }
            );
        }
        format!("; {}", mentioned.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(require: &str) -> Result<(), String> {
        let evidence = BTreeMap::from([("rmse".to_owned(), 0.891), ("fairnessAlarms".to_owned(), 0.0)]);
        Gate::new("g", require).unwrap().check(&evidence)
    }

    #[test]
    fn a_gate_opens_when_its_condition_holds() {
        assert_eq!(
            check("evidence.rmse < 1.0 && evidence.fairnessAlarms == 0.0"),
            Ok(())
        );
    }

    #[test]
    fn a_closed_gate_shows_the_values_it_compared() {
        let refusal = check("evidence.rmse < 0.8").unwrap_err();
        assert!(
            refusal.contains("evidence.rmse < 0.8 is false; evidence.rmse is 0.891"),
            "{refusal}"
        );
    }

    #[test]
    fn a_missing_name_is_named() {
        let refusal = check("evidence.skill > 0.04").unwrap_err();
        assert!(
            refusal.contains("skill") && refusal.contains("fairnessAlarms, rmse"),
            "{refusal}"
        );
    }

    #[test]
    fn what_is_no_condition_opens_nothing() {
        assert!(check("evidence.rmse").unwrap_err().contains("write a comparison"));
        assert!(Gate::new("g", "evidence.rmse <").is_err());
    }
}
