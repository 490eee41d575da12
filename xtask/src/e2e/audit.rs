//! Counts what the operator writes, in the API server's own log.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

const USER: &str = "system:serviceaccount:serin-system:serin-operator";

/// Writes of the operator: renewals of its Lease, and everything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Writes {
    pub(crate) leases: usize,
    pub(crate) others: usize,
}

/// All writes of the operator in the log so far.
pub(crate) fn writes(log: &Path) -> Result<Writes> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(count(&text))
}

/// Which of these pods changed anything but the Lease, a name for each time that the writer changed. What was refused
/// changed nothing: a write that was sent in time may arrive late.
pub(crate) fn terms(log: &Path, pods: &[&str]) -> Result<Vec<String>> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(in_turn(&text, pods))
}

fn in_turn(log: &str, pods: &[&str]) -> Vec<String> {
    let entries = log.lines().filter(|line| line.contains(USER));
    let writers = entries.filter_map(|line| {
        let entry = serde_json::from_str::<Value>(line).ok()?;
        let resource = entry.pointer("/objectRef/resource").and_then(Value::as_str);
        let pod = entry
            .pointer("/user/extra/authentication.kubernetes.io~1pod-name/0")
            .and_then(Value::as_str)?;
        let code = entry.pointer("/responseStatus/code").and_then(Value::as_u64)?;
        let is_change = resource != Some("leases") && code < 400;
        (is_change && pods.contains(&pod)).then(|| pod.to_owned())
    });
    let mut writers: Vec<String> = writers.collect();
    writers.dedup();
    writers
}

fn count(log: &str) -> Writes {
    let mut writes = Writes::default();
    for line in log.lines().filter(|line| line.contains(USER)) {
        // The last line may be half written; it will be whole at the next look.
        let Ok(entry) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if entry.pointer("/user/username").and_then(Value::as_str) != Some(USER) {
            continue;
        }
        if entry.pointer("/objectRef/resource").and_then(Value::as_str) == Some("leases") {
            writes.leases = writes.leases.saturating_add(1);
        } else {
            writes.others = writes.others.saturating_add(1);
        }
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn two_writers_in_turns_are_told() {
        let line = |pod: &str, resource: &str, code: u16| {
            let user = json!({"username": USER, "extra": {"authentication.kubernetes.io/pod-name": [pod]}});
            let status = json!({"code": code});
            format!(
                "{}\n",
                json!({"user": user, "objectRef": {"resource": resource}, "responseStatus": status})
            )
        };
        let log = line("a", "events", 201) + &line("b", "leases", 200) + &line("b", "events", 201);
        assert_eq!(in_turn(&log, &["a", "b"]), ["a", "b"]);
        let log = log + &line("a", "modelreleases", 409);
        assert_eq!(in_turn(&log, &["a", "b"]), ["a", "b"], "what was refused");
        let log = log + &line("c", "events", 201) + &line("a", "events", 201);
        assert_eq!(in_turn(&log, &["a", "b"]), ["a", "b", "a"]);
    }

    #[test]
    fn only_the_operators_writes_count_and_its_lease_apart() {
        let line = |user: &str, resource: &str| {
            format!(
                "{{\"user\":{{\"username\":\"{user}\"}},\"objectRef\":{{\"resource\":\"{resource}\"}}}}\n"
            )
        };
        let log = line(USER, "leases") + &line(USER, "modelreleases") + &line("admin", "pods") + "{\"user\":";
        assert_eq!(count(&log), Writes { leases: 1, others: 1 });
    }
}
