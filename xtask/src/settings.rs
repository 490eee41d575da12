//! Where things live: the checkout, the cache outside it, the state of a running cluster.

use std::path::{Path, PathBuf};

use clap::Args;

/// Directories of the developer tasks. Everything else is derived from them.
#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    /// Directory of built tools, images and downloads, kept between runs [default: the user's cache directory].
    #[arg(long, env = "SERIN_CACHE", value_name = "DIR", global = true)]
    cache: Option<PathBuf>,

    /// Directory of the running cluster: processes, keys, logs, volumes. Removed by `cluster down`.
    #[arg(
        long,
        env = "SERIN_STATE",
        value_name = "DIR",
        default_value = "/var/lib/serin",
        global = true
    )]
    state: PathBuf,

    #[arg(long, env = "XDG_CACHE_HOME", hide = true, hide_env = true, global = true)]
    xdg_cache_home: Option<PathBuf>,

    #[arg(
        long,
        env = "HOME",
        hide = true,
        hide_env = true,
        default_value = "/var/lib",
        global = true
    )]
    home: PathBuf,

    #[arg(long, env = "CARGO_MANIFEST_DIR", hide = true, hide_env = true, global = true,
          default_value = env!("CARGO_MANIFEST_DIR"))]
    manifest_dir: PathBuf,
}

impl Settings {
    /// The root of the checkout: the parent of this crate's folder.
    pub(crate) fn checkout(&self) -> &Path {
        self.manifest_dir.parent().unwrap_or(&self.manifest_dir)
    }

    /// The cache: `$SERIN_CACHE`, or `serin` in the user's cache directory.
    pub(crate) fn cache(&self) -> PathBuf {
        match (&self.cache, &self.xdg_cache_home) {
            (Some(cache), _) => cache.clone(),
            (None, Some(xdg)) if xdg.is_absolute() => xdg.join("serin"),
            (None, _) => self.home.join(".cache/serin"),
        }
    }

    /// The state directory of the cluster.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// The target directory of child cargo builds: one for everything, so that nothing compiles twice.
    pub(crate) fn cargo_target(&self) -> PathBuf {
        self.cache().join("target")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(cache: Option<&str>, xdg: Option<&str>) -> Settings {
        Settings {
            cache: cache.map(Into::into),
            state: "/state".into(),
            xdg_cache_home: xdg.map(Into::into),
            home: "/home/ada".into(),
            manifest_dir: "/src/serin/xtask".into(),
        }
    }

    #[test]
    fn the_most_specific_cache_wins() {
        assert_eq!(settings(Some("/c"), Some("/x")).cache(), Path::new("/c"));
        assert_eq!(settings(None, Some("/x")).cache(), Path::new("/x/serin"));
        assert_eq!(
            settings(None, Some("relative")).cache(),
            Path::new("/home/ada/.cache/serin")
        );
        assert_eq!(settings(None, None).cache(), Path::new("/home/ada/.cache/serin"));
    }

    #[test]
    fn the_checkout_is_the_parent_of_the_crate() {
        assert_eq!(settings(None, None).checkout(), Path::new("/src/serin"));
    }
}
