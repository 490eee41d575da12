//! Artifacts that are whole, damaged, replaced, late or elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use proptest::prelude::*;
use serin_core::artifact::{MANIFEST_FILE, MODEL_FILE, Model, REPORT_FILE};
use serin_core::digest::Digest;
use tokio::net::TcpListener;

use super::fixtures::{Artifact, model, service};
use crate::error::chain;
use crate::fetch::Source;
use crate::load::{LoadError, load};
use crate::service::Phase;

const MAX_FILE_BYTES: u64 = 1 << 20;

async fn read(uri: &str, digest: Digest) -> Result<Model, LoadError> {
    Source::open(uri, &[], MAX_FILE_BYTES)?.model(digest).await
}

#[tokio::test]
async fn a_whole_artifact_is_served_with_and_without_a_slash_at_the_end() {
    let artifact = Artifact::publish();
    for uri in [artifact.uri(), artifact.uri().trim_end_matches('/').to_owned()] {
        assert_eq!(read(&uri, artifact.digest).await.unwrap(), model(), "{uri}");
    }
}

/// One way to spoil a directory.
type Damage = fn(&Artifact);

#[tokio::test]
async fn a_damaged_artifact_is_refused_with_the_reason() {
    let cases: [(Damage, bool, &str); 6] = [
        (|a| a.write(MANIFEST_FILE, b"{}"), true, "expected sha256:"),
        (
            |a| a.write(MODEL_FILE, &a.read(MODEL_FILE)[1..]),
            true,
            "model.safetensors has the wrong size: expected",
        ),
        (
            |a| a.write(MODEL_FILE, b""),
            true,
            "bytes, found 0; copy or publish the artifact again",
        ),
        (
            |a| a.write(REPORT_FILE, b"{\"rmse\":0.8}"),
            true,
            "report.json is damaged or replaced: expected sha256:",
        ),
        (
            |a| std::fs::remove_file(a.path(MODEL_FILE)).unwrap(),
            false,
            "there is no model.safetensors under file://",
        ),
        (
            |a| std::fs::remove_file(a.path(MANIFEST_FILE)).unwrap(),
            false,
            "or correct spec.model.uri",
        ),
    ];
    for (damage, is_final, message) in cases {
        let artifact = Artifact::publish();
        damage(&artifact);
        let error = read(&artifact.uri(), artifact.digest).await.unwrap_err();
        assert!(chain(&error).contains(message), "{}", chain(&error));
        assert_eq!(error.is_final(), is_final, "{}", chain(&error));
    }
}

#[tokio::test]
async fn an_artifact_that_was_published_wrong_is_refused_with_the_reason() {
    let mut diverged = model();
    diverged.movie_biases[3] = f32::NAN;
    let cases = [
        (REPORT_FILE, b"{}".to_vec(), "does not list model.safetensors"),
        (
            MODEL_FILE,
            b"no tensors".to_vec(),
            "model.safetensors cannot be read",
        ),
        (
            MODEL_FILE,
            diverged.to_safetensors(),
            "movie_biases holds NaN at element 3; train again",
        ),
        (
            MODEL_FILE,
            vec![0; 2 << 20],
            "has 2097152 bytes, at most 1048576 are loaded; raise --max-file-mib",
        ),
    ];
    for (name, bytes, message) in cases {
        let artifact = Artifact::publish_files(&BTreeMap::from([(name.to_owned(), bytes)]));
        let error = read(&artifact.uri(), artifact.digest).await.unwrap_err();
        assert!(
            error.is_final() && chain(&error).contains(message),
            "{}",
            chain(&error)
        );
    }
}

#[tokio::test]
async fn another_artifact_than_the_named_one_is_refused_with_both_digests() {
    let artifact = Artifact::publish();
    let named = Digest::of(b"another manifest");
    let error = chain(&read(&artifact.uri(), named).await.unwrap_err());
    assert!(
        error.contains(&format!("expected {named}, found {}", artifact.digest)),
        "{error}"
    );
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_final() {
    for uri in ["", "models/v1", "ftp://host/v1", "gs://bucket/v1"] {
        let error = read(uri, Digest::of(b"")).await.unwrap_err();
        assert!(
            error.is_final() && chain(&error).contains("write a file, http, https or s3 URL"),
            "{}",
            chain(&error)
        );
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_asked_again_and_one_that_is_up_is_read() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let artifact = Artifact::publish();
    let files: BTreeMap<_, _> = [MANIFEST_FILE, MODEL_FILE, REPORT_FILE]
        .map(|name| (format!("/models/v1/{name}"), artifact.read(name)))
        .into();
    let files = Arc::new(files);
    let store = Router::new().fallback(async move |uri: axum::http::Uri| match files.get(uri.path()) {
        Some(bytes) => Ok(bytes.clone()),
        None if uri.path().starts_with("/down") => Err(StatusCode::SERVICE_UNAVAILABLE),
        None => Err(StatusCode::NOT_FOUND),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, store).await });

    assert_eq!(
        read(&format!("{host}/models/v1/"), artifact.digest)
            .await
            .unwrap(),
        model()
    );
    for (path, message) in [
        ("down", "check that the store is up"),
        ("models/v2", "there is no manifest.json under http"),
    ] {
        let error = read(&format!("{host}/{path}"), artifact.digest)
            .await
            .unwrap_err();
        assert!(
            !error.is_final() && chain(&error).contains(message),
            "{}",
            chain(&error)
        );
    }
}

#[tokio::test]
async fn an_artifact_that_comes_late_is_served_then() {
    let artifact = Artifact::publish();
    let bytes = artifact.read(MODEL_FILE);
    std::fs::remove_file(artifact.path(MODEL_FILE)).unwrap();
    let service = service(artifact.digest);
    let mut phases = service.phases();
    let source = Source::open(&artifact.uri(), &[], MAX_FILE_BYTES).unwrap();
    let loading = tokio::spawn({
        let service = Arc::clone(&service);
        async move { load(&service, &source).await }
    });

    phases.changed().await.unwrap();
    let Phase::Loading { because } = service.phase() else {
        panic!("{:?}", service.phase())
    };
    assert!(because.contains("there is no model.safetensors"), "{because}");
    artifact.write(MODEL_FILE, &bytes);
    loading.await.unwrap().unwrap();
    assert!(matches!(service.phase(), Phase::Ready(_)));
}

#[tokio::test]
async fn a_refused_artifact_never_becomes_ready() {
    let artifact = Artifact::publish();
    artifact.write(MODEL_FILE, b"");
    let service = service(artifact.digest);
    let source = Source::open(&artifact.uri(), &[], MAX_FILE_BYTES).unwrap();
    assert!(load(&service, &source).await.is_err());
    let Phase::Refused { because } = service.phase() else {
        panic!("{:?}", service.phase())
    };
    assert!(because.contains("found 0"), "{because}");
    assert!(
        service
            .metrics
            .text()
            .unwrap()
            .contains("serin_model_load_failures_total{reason=\"FileSize\"} 1")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_changed_byte_of_any_file_is_noticed(
        name in prop::sample::select(&[MANIFEST_FILE, MODEL_FILE, REPORT_FILE][..]),
        position in any::<prop::sample::Index>(),
        mask in 1_u8..,
    ) {
        let artifact = Artifact::publish();
        let mut bytes = artifact.read(name);
        let position = position.index(bytes.len());
        bytes[position] ^= mask;
        artifact.write(name, &bytes);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(read(&artifact.uri(), artifact.digest)).unwrap_err();
        prop_assert!(error.is_final(), "{}", chain(&error));
    }
}
