//! What we remember of a running cluster, so that any later process can find, judge and remove it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Provider;
use super::process::{self, Process};

/// Name of the file in the state directory.
const FILE: &str = "cluster.json";

/// The record of one cluster. Written before anything it names is created, and again as processes start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What runs the cluster.
    pub(crate) provider: Provider,
    /// The boot in which it was started.
    pub(crate) boot_id: String,
    /// The multi-call binary it runs on; kubectl is part of it.
    pub(crate) kube: PathBuf,
    /// Every process in the order of its start.
    pub(crate) processes: Vec<Process>,
    /// Directories outside the state directory that did not exist before; removed with the cluster.
    pub(crate) created: Vec<PathBuf>,
    /// Kernel settings as they were before, by path below `/proc/sys`.
    pub(crate) sysctls: BTreeMap<String, String>,
}

impl Record {
    /// A record without processes.
    pub(crate) fn new(provider: Provider, kube: PathBuf) -> Result<Self> {
        Ok(Self {
            provider,
            boot_id: process::boot_id()?,
            kube,
            processes: Vec::new(),
            created: Vec::new(),
            sysctls: BTreeMap::new(),
        })
    }

    /// The record in a state directory; `None` where there is none.
    pub(crate) fn read(state: &Path) -> Result<Option<Self>> {
        let path = state.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        serde_json::from_slice(&bytes).map(Some).with_context(|| {
            format!(
                "{} is damaged: remove it, then run `cargo xtask cluster down`",
                path.display()
            )
        })
    }

    /// Writes the record; a reader sees the old one or the new one, never half of it.
    pub(crate) fn write(&self, state: &Path) -> Result<()> {
        let (path, unfinished) = (state.join(FILE), state.join(format!(".{FILE}")));
        let text = serde_json::to_vec_pretty(self).context("cannot write the record of the cluster")?;
        fs::write(&unfinished, text)
            .and_then(|()| fs::rename(&unfinished, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether every process of this boot still runs.
    pub(crate) fn is_whole(&self) -> Result<bool> {
        let all_alive = !self.processes.is_empty() && self.processes.iter().all(Process::is_alive);
        Ok(self.is_of_this_boot()? && all_alive)
    }

    /// Whether the machine was not restarted since.
    pub(crate) fn is_of_this_boot(&self) -> Result<bool> {
        Ok(self.boot_id == process::boot_id()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(folder.path()).unwrap(), None);
        let record = Record::new(Provider::Local, "/cache/kube".into()).unwrap();
        record.write(folder.path()).unwrap();
        assert_eq!(Record::read(folder.path()).unwrap(), Some(record));
    }

    #[test]
    fn a_damaged_record_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{").unwrap();
        let error = Record::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("cluster down"), "{error}");
    }

    #[test]
    fn an_earlier_boot_is_not_whole() {
        let record = Record {
            boot_id: "another".into(),
            ..Record::new(Provider::Local, "/k".into()).unwrap()
        };
        assert!(!record.is_whole().unwrap());
    }
}
