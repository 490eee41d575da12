//! The file format from the outside: round trips, alignment, and every kind of damage.

use proptest::prelude::*;

use super::*;
use crate::artifact::fixtures::{model, models};

/// The file of [`model`] with a part of its JSON header replaced by one of the same length.
fn with_header(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let bytes = model().to_safetensors();
    let start = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes())
        .expect(from);
    let mut changed = bytes;
    changed[start..start + to.len()].copy_from_slice(to.as_bytes());
    changed
}

#[test]
fn every_tensor_starts_on_a_64_byte_boundary() {
    let bytes = model().to_safetensors();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for (name, view) in file.tensors() {
        let offset = view.data().as_ptr().addr() - bytes.as_ptr().addr();
        assert!(
            name.starts_with("pad.") || offset.is_multiple_of(64),
            "{name} at {offset}"
        );
    }
}

#[test]
fn a_header_that_lies_is_refused_with_the_reason() {
    let cases = [
        (
            r#""popular""#,
            r#""popuLar""#,
            "has a tensor popuLar that is not known here",
        ),
        (r#""users""#, r#""pad.x""#, "has no tensor users"),
        (
            r#"U32","shape":[2]"#,
            r#"F32","shape":[2]"#,
            "tensor users is F32 [2], expected U32 [any]",
        ),
        (
            r#""shape":[3, 2]"#,
            r#""shape":[2, 3]"#,
            "tensor movie_factors is F32 [2, 3], expected F32 [3, 3]",
        ),
        (r#""shape":[3, 2]"#, r#""shape":[0006]"#, "cannot be read"),
        (
            r#""dtype":"U64","shape":[3]"#,
            r#""dtype":"I64","shape":[3]"#,
            "expected U64 [3]",
        ),
    ];
    for (from, to, message) in cases {
        let error = Model::from_safetensors(&with_header(from, to))
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn rows_that_do_not_cover_the_seen_movies_are_refused() {
    let good = model().to_safetensors();
    let rows: Vec<u8> = [0_u64, 1, 1].into_iter().flat_map(u64::to_le_bytes).collect();
    let start = good
        .windows(rows.len())
        .position(|window| window == rows)
        .unwrap();
    for (row, value, message) in [
        (0, 1, "seen.rows holds 1 at element 0, the limit is 1"),
        (1, 9, "seen.rows holds 9 at element 1"),
        (2, 0, "seen.rows holds 0 at element 2"),
    ] {
        let mut bytes = good.clone();
        bytes[start + 8 * row] = value;
        let error = Model::from_safetensors(&bytes).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

proptest! {
    #[test]
    fn a_model_survives_the_way_through_bytes(model in models()) {
        let bytes = model.to_safetensors();
        prop_assert_eq!(&model.to_safetensors(), &bytes);
        prop_assert_eq!(Model::from_safetensors(&bytes).unwrap(), model);
    }

    #[test]
    fn a_file_that_is_cut_or_grown_is_refused(model in models(), cut in any::<prop::sample::Index>()) {
        let mut bytes = model.to_safetensors();
        prop_assert!(Model::from_safetensors(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert!(Model::from_safetensors(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(
        model in models(), position in any::<prop::sample::Index>(), mask in 1_u8..,
    ) {
        let mut bytes = model.to_safetensors();
        let position = position.index(bytes.len());
        bytes[position] ^= mask;
        if let Ok(model) = Model::from_safetensors(&bytes) {
            prop_assert!(model.check().is_ok());
        }
    }
}
