//! Files of the checkout that are written from code.

use std::fs;
use std::path::{Path, PathBuf};

/// Where a file of the checkout is.
fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

/// Compares a file of the checkout, or writes it where the build was told to.
pub(crate) fn is_committed(file: &str, generated: &str) {
    // Another test may read it at the same time.
    if option_env!("UPDATE").is_some() && text(file) != generated {
        fs::write(path(file), generated).unwrap();
    }
    assert!(
        text(file) == generated,
        "{file} is stale: run `UPDATE=1 cargo test --release --workspace --test definition`"
    );
}

/// What a file of the checkout says; nothing where it is not there.
pub(crate) fn text(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_default()
}
