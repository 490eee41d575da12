//! How the Prometheus of a release is reached: in whose name, and whom it must prove to be.
//!
//! Credentials are read anew for each look, so that a rotated one counts at once. They go into a header that no log
//! shows; what goes wrong is told by the names of Secret and key.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, ClientBuilder, redirect};
use serin_core::crd::{Prometheus, SecretKey};

/// How long an answer may take; a look gives up sooner.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client for this server: `usual` where nothing is asked for.
///
/// Errors: a Secret or key that is not there or must not be read, or holds what it should not, with the remedy.
pub fn client<'a>(
    prometheus: &'a Prometheus,
    namespace: &'a str,
    api: &'a Client,
    usual: &'a reqwest::Client,
) -> BoxFuture<'a, Result<reqwest::Client, String>> {
    Box::pin(async move {
        let mut secrets = Secrets {
            api: Api::namespaced(api.clone(), namespace),
            read: BTreeMap::new(),
        };
        let authorization = authorization(prometheus, &mut secrets).await?;
        if authorization.is_none() && prometheus.ca.is_none() {
            return Ok(usual.clone());
        }
        // A redirect could carry the credentials elsewhere.
        let mut builder = builder().redirect(redirect::Policy::none()).default_headers(
            authorization
                .into_iter()
                .map(|value| (AUTHORIZATION, value))
                .collect::<HeaderMap>(),
        );
        if let Some(ca) = &prometheus.ca {
            let pem = secrets.value(ca).await?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or_else(|| format!("{} is no certificate in PEM", named(ca)))?;
            builder = builder.tls_certs_only(certificates);
        }
        builder
            .build()
            .map_err(|error| format!("cannot set up HTTP: {error}"))
    })
}

/// What all clients of metrics have in common.
pub(crate) fn builder() -> ClientBuilder {
    reqwest::Client::builder().timeout(TIMEOUT)
}

/// The header that says who asks; none where nobody in particular does.
async fn authorization(
    prometheus: &Prometheus,
    secrets: &mut Secrets,
) -> Result<Option<HeaderValue>, String> {
    let (text, from) = if let Some(token) = &prometheus.bearer_token {
        (format!("Bearer {}", secrets.word(token).await?), token)
    } else if let Some(basic) = &prometheus.basic_auth {
        let user = secrets.word(&basic.username).await?;
        let password = secrets.word(&basic.password).await?;
        let pair = STANDARD.encode(format!("{user}:{password}"));
        (format!("Basic {pair}"), &basic.password)
    } else {
        return Ok(None);
    };
    let mut header = HeaderValue::from_str(&text)
        .map_err(|_| format!("{} holds characters that no header can", named(from)))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

/// The Secrets of one look, each read once.
struct Secrets {
    api: Api<Secret>,
    read: BTreeMap<String, Secret>,
}

impl Secrets {
    /// A value that is text; the line end that editors leave is none of it.
    async fn word(&mut self, key: &SecretKey) -> Result<String, String> {
        let bytes = self.value(key).await?;
        String::from_utf8(bytes)
            .map(|text| text.trim().to_owned())
            .map_err(|_| format!("{} is no text", named(key)))
    }

    async fn value(&mut self, key: &SecretKey) -> Result<Vec<u8>, String> {
        if !self.read.contains_key(&key.name) {
            let secret = self.secret(&key.name).await?;
            self.read.insert(key.name.clone(), secret);
        }
        let data = self.read.get(&key.name).and_then(|secret| secret.data.as_ref());
        data.and_then(|data| data.get(&key.key))
            .map(|bytes| bytes.0.clone())
            .ok_or_else(|| format!("{} is not there: add it", named(key)))
    }

    async fn secret(&self, name: &str) -> Result<Secret, String> {
        match self.api.get_opt(name).await {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) => Err(format!("there is no Secret {name} beside the release: create it")),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(format!(
                "the operator may not read the Secret {name}: allow it by readSecrets=true in the operator's chart"
            )),
            Err(error) => Err(format!("cannot read the Secret {name}: {error}")),
        }
    }
}

fn named(key: &SecretKey) -> String {
    format!("the key {} of the Secret {}", key.key, key.name)
}
