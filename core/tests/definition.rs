//! The generated definition in `crds/` equals what the types say.

use std::fs;
use std::path::Path;

use serin_core::crd::definition;

#[test]
fn the_committed_definition_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/modelreleases.serin.dev.yaml");
    let generated = serde_norway::to_string(&definition()).unwrap();
    if option_env!("UPDATE").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "crds/modelreleases.serin.dev.yaml is stale: run `UPDATE=1 cargo test --release --package serin-core --test definition`"
    );
}
