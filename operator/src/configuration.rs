//! The configuration of a release: reads the ConfigMaps and Secrets that its template refers to, and gives each
//! revision a copy of its own.
//!
//! Nothing that a Secret holds leaves this file but into the copy: what is published is the revision, and the digests in
//! it are made with a key that lies in a Secret beside the release.

use std::collections::{BTreeMap, HashMap};

use futures::future::try_join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::{Api, PostParams};
use kube::{Resource, ResourceExt as _};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serin_core::configuration::{Configuration, Content, Need, references};
use serin_core::crd::{ModelReleaseSpec, Reference, ReferenceKind};
use serin_core::revision::Revision;

use crate::build;
use crate::context::Context;
use crate::error::{Error, is_conflict};
use crate::owned::Unknown;
use crate::release::Identity;

/// Length of the key of the digests.
const KEY_BYTES: usize = 32;
/// Where it stands in its Secret.
const KEY: &str = "key";

/// What a release refers to holds, for the copies of it.
pub(crate) type Contents = BTreeMap<Reference, Content>;

/// Versions of objects; none of one that is not there.
type Versions = BTreeMap<Reference, Option<String>>;

/// What is known of the releases that refer to anything, so that a look at rest reads nothing.
#[derive(Debug, Default)]
pub(crate) struct Known {
    by_release: Mutex<HashMap<(String, String), Entry>>,
}

#[derive(Debug)]
struct Entry {
    references: BTreeMap<Reference, Need>,
    /// What was read last, with the versions that were read; nothing before the first time.
    read: Option<(Versions, Configuration)>,
}

impl Known {
    /// Names of the releases in a namespace that refer to an object.
    pub(crate) fn referring(&self, namespace: &str, reference: &Reference) -> Vec<String> {
        let known = self.by_release.lock();
        let refers = |entry: &Entry| {
            let read = entry.read.as_ref();
            entry.references.contains_key(reference)
                || read.is_some_and(|(versions, _)| versions.contains_key(reference))
        };
        known
            .iter()
            .filter(|((of, _), entry)| of == namespace && refers(entry))
            .map(|((_, name), _)| name.clone())
            .collect()
    }

    /// Forgets a release that is gone, or refers to nothing any more.
    pub(crate) fn forget(&self, namespace: &str, name: &str) {
        let mut known = self.by_release.lock();
        known.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// What was read, if it is what watches show now.
    fn current(
        &self,
        id: &Identity,
        references: &BTreeMap<Reference, Need>,
        shown: impl Fn(&Reference) -> Result<Option<String>, Unknown>,
    ) -> Option<Configuration> {
        let known = self.by_release.lock();
        let entry = known.get(&(id.namespace.clone(), id.name.clone()))?;
        let (versions, configuration) = entry.read.as_ref()?;
        let is_shown =
            |(reference, read): (&Reference, &Option<String>)| shown(reference).is_ok_and(|now| now == *read);
        let is_current = entry.references == *references && versions.iter().all(is_shown);
        is_current.then(|| configuration.clone())
    }

    /// From here on a watch wakes the release: what changes while it is read is read once more.
    fn expect(&self, id: &Identity, references: &BTreeMap<Reference, Need>) {
        let mut known = self.by_release.lock();
        let entry = Entry {
            references: references.clone(),
            read: None,
        };
        known.insert((id.namespace.clone(), id.name.clone()), entry);
    }

    fn note(&self, id: &Identity, versions: Versions, configuration: Configuration) {
        let mut known = self.by_release.lock();
        if let Some(entry) = known.get_mut(&(id.namespace.clone(), id.name.clone())) {
            entry.read = Some((versions, configuration));
        }
    }
}

/// What has been read before, where watches show that it has not changed since.
pub(crate) fn glance(id: &Identity, spec: &ModelReleaseSpec, ctx: &Context) -> Option<Configuration> {
    let references = references(&spec.serving);
    if references.is_empty() {
        return Some(Configuration::default());
    }
    let shown = |reference: &Reference| {
        let index = match reference.kind {
            ReferenceKind::ConfigMap => &ctx.owned.config_maps,
            ReferenceKind::Secret => &ctx.owned.secrets,
        };
        index.named(&id.namespace, &reference.name)
    };
    ctx.known.current(id, &references, shown)
}

/// Reads what the template refers to.
pub(crate) async fn read(
    id: &Identity,
    spec: &ModelReleaseSpec,
    ctx: &Context,
) -> Result<(Configuration, Contents), Error> {
    let references = references(&spec.serving);
    if references.is_empty() {
        ctx.known.forget(&id.namespace, &id.name);
        return Ok((Configuration::default(), Contents::new()));
    }
    ctx.known.expect(id, &references);
    let Gathered {
        mut versions,
        contents,
        missing,
    } = gather(id, &references, ctx).await?;
    if !missing.is_empty() {
        let configuration = Configuration::Incomplete(missing);
        ctx.known.note(id, versions, configuration.clone());
        return Ok((configuration, Contents::new()));
    }
    let is_secret = |reference: &Reference| reference.kind == ReferenceKind::Secret;
    let key = if references.keys().any(is_secret) {
        let (of, version, key) = key(id, ctx).await?;
        versions.insert(of, version);
        key
    } else {
        Vec::new()
    };
    let nothing = Content::default();
    let digests = references.keys().map(|reference| {
        let key = if is_secret(reference) { key.as_slice() } else { &[] };
        let content = contents.get(reference).unwrap_or(&nothing);
        (reference.clone(), content.digest(key))
    });
    let configuration = Configuration::Known(digests.collect());
    ctx.known.note(id, versions, configuration.clone());
    Ok((configuration, contents))
}

/// What stands under the names of references.
#[derive(Default)]
struct Gathered {
    versions: Versions,
    contents: Contents,
    /// What should be there and is not, in words.
    missing: Vec<String>,
}

async fn gather(
    id: &Identity,
    references: &BTreeMap<Reference, Need>,
    ctx: &Context,
) -> Result<Gathered, Error> {
    let found = try_join_all(references.keys().map(|reference| find(id, reference, ctx))).await?;
    let mut gathered = Gathered::default();
    for ((reference, need), found) in references.iter().zip(found) {
        let version = match found {
            Found::Object { version, content } => {
                gathered.contents.insert(reference.clone(), content);
                version
            }
            Found::Nothing => {
                if *need == Need::Required {
                    let (kind, name) = (reference.kind.as_str(), &reference.name);
                    let words = format!("there is no {kind} {name} beside the release: create it");
                    gathered.missing.push(words);
                }
                None
            }
            Found::Forbidden => {
                gathered.missing.push(forbidden(reference));
                None
            }
        };
        gathered.versions.insert(reference.clone(), version);
    }
    Ok(gathered)
}

fn forbidden(reference: &Reference) -> String {
    let (kind, name) = (reference.kind.as_str(), &reference.name);
    let allow = match reference.kind {
        ReferenceKind::ConfigMap => "install the operator's chart anew",
        ReferenceKind::Secret => "allow it by readSecrets=true in the operator's chart",
    };
    format!("the operator may not read the {kind} {name}: {allow}, or list it in spec.serving.unversioned")
}

/// What stands under the name of a reference.
enum Found {
    Object {
        version: Option<String>,
        content: Content,
    },
    Nothing,
    Forbidden,
}

async fn find(id: &Identity, reference: &Reference, ctx: &Context) -> Result<Found, Error> {
    match reference.kind {
        ReferenceKind::ConfigMap => find_as(id, reference, ctx, of_config_map).await,
        ReferenceKind::Secret => find_as(id, reference, ctx, of_secret).await,
    }
}

async fn find_as<K>(
    id: &Identity,
    reference: &Reference,
    ctx: &Context,
    content: impl Fn(K) -> Content,
) -> Result<Found, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &id.namespace);
    match api.get_opt(&reference.name).await {
        Ok(Some(object)) => Ok(Found::Object {
            version: object.resource_version(),
            content: content(object),
        }),
        Ok(None) => Ok(Found::Nothing),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Found::Forbidden),
        Err(error) => Err(Error::api(format!("read the {reference}"))(error)),
    }
}

fn of_config_map(object: ConfigMap) -> Content {
    let text = object.data.into_iter().flatten();
    let bytes = object.binary_data.into_iter().flatten();
    Content::of(
        text.map(|(key, value)| (key, value.into_bytes()))
            .chain(bytes.map(|(key, value)| (key, value.0))),
    )
}

fn of_secret(object: Secret) -> Content {
    let values = object.data.into_iter().flatten();
    Content::of(values.map(|(key, value)| (key, value.0)))
}

/// The key of the digests of Secrets, with the Secret that it is in and its version. Made when it is needed first.
async fn key(id: &Identity, ctx: &Context) -> Result<(Reference, Option<String>, Vec<u8>), Error> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), &id.namespace);
    let of = Reference {
        kind: ReferenceKind::Secret,
        name: id.key_name(),
    };
    let found = api
        .get_opt(&of.name)
        .await
        .map_err(Error::api(format!("read the {of}")))?;
    let found = match found {
        Some(found) => found,
        None => match api
            .create(&PostParams::default(), &build::key(id, KEY, random()?))
            .await
        {
            // Another look was faster: its key counts.
            Err(error) if is_conflict(&error) => api.get(&of.name).await,
            made => made,
        }
        .map_err(Error::api(format!("create the {of}")))?,
    };
    let version = found.resource_version();
    let key = found.data.and_then(|mut data| data.remove(KEY));
    match key {
        Some(key) if key.0.len() >= KEY_BYTES => Ok((of, version, key.0)),
        Some(_) | None => Err(Error::Occupied(of.to_string())),
    }
}

fn random() -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; KEY_BYTES];
    let provider = rustls::crypto::ring::default_provider();
    match provider.secure_random.fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Error::NoEntropy),
    }
}

/// Lets a revision have copies of what was read for it. They go with its Service, which was made before them.
pub(crate) async fn copy(
    id: &Identity,
    revision: &Revision,
    contents: &Contents,
    service: &Service,
    ctx: &Context,
) -> Result<(), Error> {
    for (reference, content) in contents {
        match reference.kind {
            ReferenceKind::ConfigMap => {
                let copy = build::config_map(id, revision, reference, content, service);
                create(id, &copy, ctx, |found| of_config_map(found) == *content).await?;
            }
            ReferenceKind::Secret => {
                let copy = build::secret(id, revision, reference, content, service);
                create(id, &copy, ctx, |found| of_secret(found) == *content).await?;
            }
        }
    }
    Ok(())
}

/// Creates a copy that does not change any more. One that is there already is left alone, if it is the same.
async fn create<K>(id: &Identity, copy: &K, ctx: &Context, holds_it: impl Fn(K) -> bool) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &id.namespace);
    let name = format!("{}/{}", K::kind(&()), copy.name_any());
    match api.create(&PostParams::default(), copy).await {
        Err(error) if is_conflict(&error) => {}
        done => {
            return done
                .map(drop)
                .map_err(Error::api(format!("create the copy {name}")));
        }
    }
    let found = api
        .get(&copy.name_any())
        .await
        .map_err(Error::api(format!("read the copy {name}")))?;
    // One of an earlier release of this name is about to be collected.
    let is_ours =
        found.owner_references() == copy.owner_references() && found.meta().deletion_timestamp.is_none();
    if is_ours && holds_it(found) {
        Ok(())
    } else {
        Err(Error::Occupied(name))
    }
}
