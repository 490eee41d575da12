//! The `MovieLens` 100K data set: fetched and checked, never committed, for its licence forbids redistribution.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::cache::{Key, Shelf, remove, sha256};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::tools::download_wheel;

/// Folder of the data set inside the wheel.
const MEMBER: &str = "recbole/dataset_example/ml-100k";
/// Each file with the SHA-256 of its bytes.
const FILES: [(&str, &str); 3] = [
    (
        "ml-100k.inter",
        "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    ),
    (
        "ml-100k.user",
        "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
    ),
    (
        "ml-100k.item",
        "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    ),
];

/// The folder with the three files; `None`, with the reason said, where they cannot be had.
pub(crate) fn ml_100k(settings: &Settings, progress: &Progress) -> Option<PathBuf> {
    match fetch(settings, progress) {
        Ok(folder) => Some(folder),
        Err(error) => {
            progress.say(format!(
                "  MovieLens 100K cannot be had, a synthetic population takes its place: {error:#}"
            ));
            None
        }
    }
}

fn fetch(settings: &Settings, progress: &Progress) -> Result<PathBuf> {
    let pin = settings.checkout().join("tools/ml-100k");
    let key = Key::of_recipe("1").files(&pin)?;
    Shelf::new(settings, "data").entry("ml-100k", &key, progress, |out| {
        let step = progress.step("fetch MovieLens 100K");
        let unpacked = out.join("unpacked");
        download_wheel(&pin.join("requirements.txt"), &unpacked, &step)?;
        for (name, digest) in FILES {
            let file = unpacked.join(MEMBER).join(name);
            let actual = sha256(&file)?;
            if actual != digest {
                bail!(
                    "{name} has the digest {actual} instead of {digest}: another file than the one we know"
                );
            }
            fs::rename(file, out.join(name))?;
        }
        remove(&unpacked)?;
        step.done();
        Ok(())
    })
}
