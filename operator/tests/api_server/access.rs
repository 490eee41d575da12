//! A Prometheus behind credentials and a certificate of its own, found by a release on a real API server.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::routing::any;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use serin_core::crd::Prometheus;
use serin_operator::access;
use serin_testkit::ApiServer;

/// A server that tells what it was asked with.
async fn listener() -> (String, Arc<Mutex<Vec<String>>>) {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = heard.clone();
    let answer = move |headers: HeaderMap| {
        let told = told.clone();
        async move {
            let authorization = headers
                .get(AUTHORIZATION)
                .map(|value| value.to_str().unwrap().to_owned());
            told.lock().push(authorization.unwrap_or_default());
        }
    };
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    tokio::spawn(axum::serve(socket, Router::new().fallback(any(answer))).into_future());
    (url, heard)
}

fn prometheus(url: &str, more: &Value) -> Prometheus {
    let mut value = json!({"url": url});
    for (name, field) in more.as_object().unwrap() {
        value[name] = field.clone();
    }
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn credentials_come_from_secrets_and_what_is_missing_is_named() {
    let Some(server) = ApiServer::start().await.unwrap() else {
        return;
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (api, usual) = (server.client(), reqwest::Client::new());
    let secrets: Api<Secret> = Api::default_namespaced(api.clone());
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "access"},
        "stringData": {"token": "t0ken\n", "user": "serin", "password": "s3cret", "lines": "a\nb", "ca": "no certificate"},
    }))
    .unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let (url, heard) = listener().await;
    let key = |key: &str| json!({"name": "access", "key": key});

    for (fields, header) in [
        (json!({}), ""),
        (json!({"bearerToken": key("token")}), "Bearer t0ken"),
        (
            json!({"basicAuth": {"username": key("user"), "password": key("password")}}),
            "Basic c2VyaW46czNjcmV0",
        ),
    ] {
        let client = access::client(&prometheus(&url, &fields), "default", &api, &usual)
            .await
            .unwrap();
        client.get(&url).send().await.unwrap();
        assert_eq!(heard.lock().pop().as_deref(), Some(header));
        let shown = format!("{client:?}");
        assert!(!shown.contains("t0ken") && !shown.contains("czNjcmV0"), "{shown}");
    }

    for (fields, words) in [
        (
            json!({"bearerToken": {"name": "nobody", "key": "token"}}),
            "there is no Secret nobody beside the release",
        ),
        (
            json!({"bearerToken": key("nothing")}),
            "the key nothing of the Secret access is not there",
        ),
        (
            json!({"bearerToken": key("lines")}),
            "the key lines of the Secret access holds characters",
        ),
        (
            json!({"ca": key("ca")}),
            "the key ca of the Secret access is no certificate",
        ),
    ] {
        let refused = access::client(&prometheus(&url, &fields), "default", &api, &usual).await;
        let message = refused.unwrap_err();
        assert!(message.starts_with(words), "{message}");
    }
}

#[tokio::test]
async fn a_server_must_show_the_certificate_that_was_agreed_on() {
    let Some(server) = ApiServer::start().await.unwrap() else {
        return;
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The API server itself is a server with a certificate that nobody else knows.
    let config: Value =
        serde_json::from_slice(&std::fs::read(server.kubeconfig().unwrap()).unwrap()).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let ca = std::fs::read_to_string(cluster["certificate-authority"].as_str().unwrap()).unwrap();
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "ca"}, "stringData": {"ca.crt": ca}})).unwrap();
    let secrets: Api<Secret> = Api::default_namespaced(server.client());
    secrets.create(&PostParams::default(), &secret).await.unwrap();

    let usual = reqwest::Client::new();
    let url = cluster["server"].as_str().unwrap();
    let fields = json!({"ca": {"name": "ca", "key": "ca.crt"}});
    let trusting = access::client(&prometheus(url, &fields), "default", &server.client(), &usual)
        .await
        .unwrap();
    assert_eq!(
        trusting
            .get(format!("{url}/readyz"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert!(
        usual
            .get(format!("{url}/readyz"))
            .send()
            .await
            .unwrap_err()
            .is_connect()
    );
}
