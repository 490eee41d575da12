//! The manifest as bytes: one text for one meaning, so that its digest is an identity.

use serde_json::Value;

use super::{ArtifactError, Manifest, SCHEMA};
use crate::digest::Digest;

impl Manifest {
    /// The canonical bytes: JSON without spaces, every object's keys ascending, a line feed at the end.
    ///
    /// Equal manifests give equal bytes on every machine, whatever order a map or a struct happens to have. A number
    /// in it must be finite, for JSON knows no other: NaN is written as `null` and refused by [`Manifest::parse`].
    ///
    /// # Panics
    /// Never: a manifest is text keys and plain numbers, which always have a JSON value.
    pub fn to_canonical_json(&self) -> Vec<u8> {
        #[expect(
            clippy::expect_used,
            reason = "text keys and plain numbers always have a JSON value"
        )]
        let value = serde_json::to_value(self).expect("a manifest is a JSON value");
        let mut text = String::new();
        write_canonical(&value, &mut text);
        text.push('\n');
        text.into_bytes()
    }

    /// Reads a manifest whose digest the release names. Nothing is believed before the digest agrees.
    ///
    /// # Errors
    /// The digest differs, the text is no manifest, or its schema is not known.
    pub fn parse(bytes: &[u8], expected: &Digest) -> Result<Self, ArtifactError> {
        let found = Digest::of(bytes);
        if found != *expected {
            return Err(ArtifactError::ManifestDigest {
                expected: *expected,
                found,
            });
        }
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|source| ArtifactError::ManifestSyntax { source })?;
        if manifest.schema != SCHEMA {
            return Err(ArtifactError::Schema {
                found: manifest.schema,
                known: SCHEMA,
            });
        }
        Ok(manifest)
    }

    /// Checks that `bytes` are the file `name` that this manifest vouches for.
    ///
    /// # Errors
    /// The manifest does not list the file, or its size or digest differs.
    pub fn check_file(&self, name: &str, bytes: &[u8]) -> Result<(), ArtifactError> {
        let file = self.files.get(name).ok_or_else(|| ArtifactError::NotListed {
            name: name.to_owned(),
        })?;
        let size = bytes.len() as u64;
        if size != file.size {
            return Err(ArtifactError::FileSize {
                name: name.to_owned(),
                expected: file.size,
                found: size,
            });
        }
        let found = Digest::of(bytes);
        if found != file.digest {
            return Err(ArtifactError::FileDigest {
                name: name.to_owned(),
                expected: file.digest,
                found,
            });
        }
        Ok(())
    }
}

/// Sorts keys itself: the order of `serde_json`'s own map changes with a feature any crate may switch on.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string());
        }
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (position, (key, item)) in fields.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_canonical(item, text);
            }
            text.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::artifact::{Data, File, MODEL_FILE};

    fn manifest() -> Manifest {
        Manifest {
            schema: SCHEMA,
            files: BTreeMap::from([(
                MODEL_FILE.to_owned(),
                File {
                    digest: Digest::of(b"model"),
                    size: 5,
                },
            )]),
            algorithm: "biased-als".to_owned(),
            hyperparameters: BTreeMap::from([("ridge".to_owned(), 0.1), ("rank".to_owned(), 16.0)]),
            evidence: BTreeMap::from([("rmse".to_owned(), 0.891)]),
            parent: None,
            data: Data {
                offsets: BTreeMap::from([("movielog1/0".to_owned(), (0, 8_000))]),
                ..Data::default()
            },
            code: "0.1.0".to_owned(),
        }
    }

    #[test]
    fn the_canonical_text_is_the_published_one() {
        let text = String::from_utf8(manifest().to_canonical_json()).unwrap();
        let model = Digest::of(b"model");
        let wished = format!(
            r#"{{"algorithm":"biased-als","code":"0.1.0","data":{{"files":{{}},"movies":0,"offsets":{{"movielog1/0":[0,8000]}},"ratings":0,"users":0}},"evidence":{{"rmse":0.891}},"files":{{"model.safetensors":{{"digest":"{model}","size":5}}}},"hyperparameters":{{"rank":16.0,"ridge":0.1}},"parent":null,"schema":1}}"#
        );
        assert_eq!(text, wished + "\n");
    }

    #[test]
    fn a_manifest_survives_the_way_through_bytes() {
        let bytes = manifest().to_canonical_json();
        assert_eq!(Manifest::parse(&bytes, &Digest::of(&bytes)).unwrap(), manifest());
    }

    #[test]
    fn wrong_manifests_are_refused_with_the_remedy() {
        let rewritten = |from: &str, to: &str| {
            String::from_utf8(manifest().to_canonical_json())
                .unwrap()
                .replace(from, to)
                .into_bytes()
        };
        let cases = [
            (
                rewritten("\"schema\":1", "\"schema\":2"),
                "has schema 2, this program reads schema 1",
            ),
            (
                rewritten("\"schema\":1", "\"schema\":1,\"more\":1"),
                "cannot be read",
            ),
            (rewritten("0.891", "null"), "cannot be read"),
            (b"{}".to_vec(), "cannot be read"),
            (Vec::new(), "cannot be read"),
        ];
        for (bytes, message) in cases {
            let error = Manifest::parse(&bytes, &Digest::of(&bytes))
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{error}");
        }
        let (expected, found) = (
            Digest::of(b"another"),
            Digest::of(&manifest().to_canonical_json()),
        );
        let error = Manifest::parse(&manifest().to_canonical_json(), &expected)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!(
                "expected {expected}, found {found}; set spec.model.digest"
            )),
            "{error}"
        );
    }

    #[test]
    fn a_file_must_be_the_listed_one() {
        let manifest = manifest();
        assert!(manifest.check_file(MODEL_FILE, b"model").is_ok());
        for (name, bytes, message) in [
            (MODEL_FILE, b"mode".as_slice(), "expected 5 bytes, found 4"),
            (
                MODEL_FILE,
                b"mOdel".as_slice(),
                "is damaged or replaced: expected sha256:",
            ),
            ("other.bin", b"model".as_slice(), "does not list other.bin"),
        ] {
            let error = manifest.check_file(name, bytes).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_changed_byte_of_a_manifest_is_noticed(position in 0_usize..300, mask in 1_u8..) {
            let mut bytes = manifest().to_canonical_json();
            let expected = Digest::of(&bytes);
            bytes[position] ^= mask;
            prop_assert!(Manifest::parse(&bytes, &expected).is_err());
        }
    }
}
