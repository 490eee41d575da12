//! Results that are expensive to make, kept outside the checkout under a key of everything they were made from.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::progress::Progress;
use crate::settings::Settings;

/// Length of a key in a folder name: 48 bits, plenty for a handful of entries.
const KEY_LEN: usize = 12;

/// Collects everything a result depends on.
#[derive(Clone, Default)]
pub(crate) struct Key(Sha256);

impl Key {
    /// A key that starts with the recipe's own version: raise it when the steps of a build change.
    pub(crate) fn of_recipe(version: &str) -> Self {
        Self::default().text(version)
    }

    /// Adds a text.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.0
            .update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        self.0.update(text);
        self
    }

    /// Adds the relative path and the bytes of every file below `path`, in the order of the paths.
    pub(crate) fn files(mut self, path: &Path) -> Result<Self> {
        let mut files = Vec::new();
        list(path, &mut files).with_context(|| format!("cannot list {}", path.display()))?;
        files.sort();
        for file in files {
            let name = file
                .strip_prefix(path)
                .unwrap_or(&file)
                .to_string_lossy()
                .into_owned();
            self = self.text(&name);
            let mut reader = File::open(&file).with_context(|| format!("cannot read {}", file.display()))?;
            io::copy(&mut reader, &mut self.0).with_context(|| format!("cannot read {}", file.display()))?;
        }
        Ok(self)
    }

    /// The key as the end of a folder name.
    pub(crate) fn short(&self) -> String {
        hex(&self.0.clone().finalize()).chars().take(KEY_LEN).collect()
    }
}

fn list(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        list(&entry?.path(), files)?;
    }
    Ok(())
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)])
        .collect()
}

/// The SHA-256 of a file's bytes as hexadecimal digits.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    io::copy(&mut file, &mut hash).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex(&hash.finalize()))
}

/// One shelf of the cache, for example `tools`.
pub(crate) struct Shelf {
    directory: PathBuf,
}

impl Shelf {
    /// The shelf `name` of the cache.
    pub(crate) fn new(settings: &Settings, name: &str) -> Self {
        Self {
            directory: settings.cache().join(name),
        }
    }

    /// Where the entry `name` with `key` is or would be.
    pub(crate) fn path(&self, name: &str, key: &Key) -> PathBuf {
        self.directory.join(format!("{name}-{}", key.short()))
    }

    /// The entry, made by `build` unless it is there.
    ///
    /// `build` fills a fresh folder that gets its final name only when all went well: an entry is whole or absent.
    /// A lock lets one process build while another waits for the result.
    pub(crate) fn entry(
        &self,
        name: &str,
        key: &Key,
        progress: &Progress,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let path = self.path(name, key);
        if path.is_dir() {
            return Ok(path);
        }
        let _lock = self.lock(name, progress)?;
        if path.is_dir() {
            return Ok(path);
        }
        let unfinished = self.directory.join(format!(".{name}-{}.unfinished", key.short()));
        remove(&unfinished)?;
        fs::create_dir_all(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
        build(&unfinished).with_context(|| format!("cannot build {name}"))?;
        fs::rename(&unfinished, &path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }

    /// Removes entries of `name` other than the `keep` newest: results of every edit would fill the disk.
    pub(crate) fn prune(&self, name: &str, keep: usize) -> Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.directory)
            .with_context(|| format!("cannot list {}", self.directory.display()))?
        {
            let entry = entry?;
            let file_name = entry.file_name().to_string_lossy().into_owned();
            let is_entry = file_name
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|key| key.len() == KEY_LEN && key.bytes().all(|byte| byte.is_ascii_hexdigit()));
            if is_entry {
                entries.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        entries.sort();
        entries.truncate(entries.len().saturating_sub(keep));
        entries.iter().try_for_each(|(_, path)| remove(path))
    }

    fn lock(&self, name: &str, progress: &Progress) -> Result<File> {
        fs::create_dir_all(&self.directory).with_context(|| {
            format!(
                "cannot create the cache {}: choose another with SERIN_CACHE",
                self.directory.display()
            )
        })?;
        let path = self.directory.join(format!(".{name}.lock"));
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        if file.try_lock().is_err() {
            progress.say(format!("  waiting for another process that builds {name}"));
            file.lock()
                .with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(file)
    }
}

/// Removes a file or folder with all it holds; nothing there is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(directory: &Path) -> Shelf {
        Shelf {
            directory: directory.to_owned(),
        }
    }

    #[test]
    fn a_key_depends_on_names_bytes_and_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let key = |recipe: &str| Key::of_recipe(recipe).files(folder.path()).unwrap().short();
        fs::write(folder.path().join("a"), "1").unwrap();
        let first = key("1");
        assert_eq!(first, key("1"));
        assert_ne!(first, key("2"));
        fs::write(folder.path().join("a"), "2").unwrap();
        assert_ne!(first, key("1"));
        fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b"), "1").unwrap();
        assert_ne!(first, key("1"));
    }

    #[test]
    fn texts_do_not_run_together() {
        assert_ne!(
            Key::default().text("ab").text("c").short(),
            Key::default().text("a").text("bc").short()
        );
    }

    #[test]
    fn an_entry_is_built_once() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, progress, key) = (shelf(folder.path()), Progress::new(), Key::default());
        let path = shelf
            .entry("x", &key, &progress, |dir| Ok(fs::write(dir.join("f"), "1")?))
            .unwrap();
        assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "1");
        let again = shelf
            .entry("x", &key, &progress, |_| anyhow::bail!("built twice"))
            .unwrap();
        assert_eq!(again, path);
    }

    #[test]
    fn a_failed_build_leaves_no_entry() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, progress, key) = (shelf(folder.path()), Progress::new(), Key::default());
        let failed = shelf.entry("x", &key, &progress, |dir| {
            fs::write(dir.join("half"), "")?;
            anyhow::bail!("no compiler")
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("cannot build x: no compiler"));
        assert!(!shelf.path("x", &key).exists());
        let path = shelf.entry("x", &key, &progress, |_| Ok(())).unwrap();
        assert!(!path.join("half").exists());
    }

    #[test]
    fn pruning_keeps_the_newest_and_other_names() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = shelf(folder.path());
        for version in ["1", "2", "3"] {
            shelf
                .entry("x", &Key::of_recipe(version), &Progress::new(), |_| Ok(()))
                .unwrap();
        }
        shelf
            .entry("x-y", &Key::default(), &Progress::new(), |_| Ok(()))
            .unwrap();
        shelf.prune("x", 1).unwrap();
        let left = ["1", "2", "3"]
            .iter()
            .filter(|v| shelf.path("x", &Key::of_recipe(v)).exists())
            .count();
        assert_eq!(left, 1);
        assert!(shelf.path("x-y", &Key::default()).exists());
    }
}
