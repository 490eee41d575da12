//! The packet rules of the cluster: ours, kube-proxy's and the kubelet's.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::run::{Run, is_installed};

/// How the chains begin that a cluster of ours brings.
const PREFIXES: [&str; 2] = ["KUBE-", "SERIN-"];
/// Each family's list and restore programs.
const FAMILIES: [(&str, &str); 2] = [
    ("iptables-save", "iptables-restore"),
    ("ip6tables-save", "ip6tables-restore"),
];
/// Lets pods reach the world under the host's address.
const PODS_OUT: &str = "*nat
:SERIN-POSTROUTING - [0:0]
-A POSTROUTING -j SERIN-POSTROUTING
-A SERIN-POSTROUTING -s 10.244.0.0/24 ! -d 10.0.0.0/8 -j MASQUERADE
COMMIT
*filter
:SERIN-FORWARD - [0:0]
-I FORWARD -j SERIN-FORWARD
-A SERIN-FORWARD -s 10.244.0.0/24 -j ACCEPT
-A SERIN-FORWARD -d 10.244.0.0/24 -j ACCEPT
COMMIT
";

/// Lets pods reach the world, on hosts that forward nothing by default too.
pub(super) fn allow_pods_out() -> Result<()> {
    Run::new("iptables-restore")
        .arg("--noflush")
        .input(PODS_OUT)
        .output()
        .map(drop)
        .context("cannot add packet rules")
}

/// Removes our chains and the rules that lead to them, and no other.
pub(super) fn remove_ours() -> Result<()> {
    for (save, restore) in FAMILIES {
        let script = removal(&listed(save)?);
        if !script.is_empty() {
            Run::new(restore)
                .arg("--noflush")
                .input(script)
                .output()
                .context("cannot remove packet rules")?;
        }
    }
    Ok(())
}

/// Names of our chains that exist.
pub(super) fn ours() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for (save, _) in FAMILIES {
        found.extend(
            listed(save)?
                .lines()
                .filter_map(declared)
                .filter(|chain| is_ours(chain))
                .map(str::to_owned),
        );
    }
    Ok(found)
}

/// All rules of a family. A kernel without it has none, and a host without the program has none of ours.
fn listed(save: &str) -> Result<String> {
    if !is_installed(save) {
        return Ok(String::new());
    }
    match Run::new(save).text() {
        Ok(rules) => Ok(rules),
        Err(_) if save.starts_with("ip6") => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// A script for `iptables-restore` that deletes our jumps, then empties and deletes our chains.
///
/// Rules are deleted by their own text, quoting included, so that nothing needs to be parsed but the ends.
fn removal(rules: &str) -> String {
    let mut script = String::new();
    let mut table = Table::default();
    for line in rules.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = Table {
                name: name.to_owned(),
                ..Table::default()
            };
        } else if let Some(chain) = declared(line) {
            if is_ours(chain) {
                table.chains.push(chain.to_owned());
            }
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let mut words = rule.split(' ');
            let is_in_ours = words.next().is_some_and(is_ours);
            if !is_in_ours && words.any(is_ours) {
                table.jumps.push(format!("-D {rule}"));
            }
        } else if line == "COMMIT" {
            script.push_str(&table.removal());
        }
    }
    script
}

/// What must go from one table.
#[derive(Default)]
struct Table {
    name: String,
    jumps: Vec<String>,
    chains: Vec<String>,
}

impl Table {
    fn removal(&self) -> String {
        if self.chains.is_empty() && self.jumps.is_empty() {
            return String::new();
        }
        let mut lines = vec![format!("*{}", self.name)];
        lines.extend(self.jumps.iter().cloned());
        lines.extend(self.chains.iter().map(|chain| format!("-F {chain}")));
        lines.extend(self.chains.iter().map(|chain| format!("-X {chain}")));
        lines.push("COMMIT\n".into());
        lines.join("\n")
    }
}

/// The chain a line like `:KUBE-SERVICES - [0:0]` declares.
fn declared(line: &str) -> Option<&str> {
    line.strip_prefix(':')?.split(' ').next()
}

fn is_ours(chain: &str) -> bool {
    PREFIXES.iter().any(|prefix| chain.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_chains_and_the_way_into_them_are_removed() {
        let rules = "# Generated\n*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:DOCKER - [0:0]\n\
             -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A PREROUTING -j DOCKER\n-A KUBE-SERVICES -j KUBE-NODEPORTS\nCOMMIT\n\
             *filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n";
        let expected = "*nat\n-D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -F KUBE-SERVICES\n-X KUBE-SERVICES\nCOMMIT\n";
        assert_eq!(removal(rules), expected);
    }

    #[test]
    fn a_clean_host_needs_no_script() {
        assert_eq!(removal("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"), "");
    }
}
