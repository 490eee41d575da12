//! What watches have shown of the objects that releases own: a few fields of each, by release.
//!
//! A watch can lag behind the API server. What it shows is therefore enough to say that there is nothing to do, and no
//! more: whatever moves a release is planned again on what was read for it.

use std::collections::{BTreeMap, HashMap};

use kube::ResourceExt;
use kube::runtime::watcher;
use parking_lot::RwLock;

use crate::release::RELEASE_LABEL;

/// Views of the objects of one kind.
#[derive(Debug)]
pub(crate) struct Index<V> {
    inner: RwLock<Inner<V>>,
}

#[derive(Debug)]
struct Inner<V> {
    /// Whether the watch has shown everything and has not failed since.
    is_current: bool,
    shown: Shown<V>,
    /// What a watch that begins anew has shown so far.
    arriving: Shown<V>,
}

/// The watch has not shown everything yet, or has failed since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unknown;

/// In place of a release: objects that are found by their own names, and those that are none of ours.
pub(crate) const NOBODY: &str = "";

/// By namespace and release, then by the object's name.
type Shown<V> = HashMap<(String, String), BTreeMap<String, V>>;

impl<V> Default for Index<V> {
    fn default() -> Self {
        Self {
            inner: RwLock::new(Inner {
                is_current: false,
                shown: HashMap::new(),
                arriving: HashMap::new(),
            }),
        }
    }
}

impl<V: Clone> Index<V> {
    /// Everything that the release owns of this kind, by name; none where the watch does not know.
    pub(crate) fn of(&self, namespace: &str, release: &str) -> Option<BTreeMap<String, V>> {
        let inner = self.inner.read();
        let key = (namespace.to_owned(), release.to_owned());
        inner
            .is_current
            .then(|| inner.shown.get(&key).cloned().unwrap_or_default())
    }

    /// One object of a release, or of [`NOBODY`], if there is one.
    pub(crate) fn get(&self, namespace: &str, release: &str, name: &str) -> Result<Option<V>, Unknown> {
        let inner = self.inner.read();
        if !inner.is_current {
            return Err(Unknown);
        }
        let key = (namespace.to_owned(), release.to_owned());
        Ok(inner.shown.get(&key).and_then(|shown| shown.get(name)).cloned())
    }

    /// What is picked among the objects of all namespaces; none where the watch does not know.
    pub(crate) fn picked(&self, is_picked: impl Fn(&V) -> bool) -> Option<Vec<V>> {
        let inner = self.inner.read();
        let all = inner.shown.values().flat_map(BTreeMap::values);
        inner
            .is_current
            .then(|| all.filter(|view| is_picked(view)).cloned().collect())
    }

    /// Takes in what a watch says; `view` picks the fields that are kept, none of an object that is none of ours.
    pub(crate) fn take<K: ResourceExt>(
        &self,
        said: &watcher::Result<watcher::Event<K>>,
        view: impl Fn(&K) -> Option<V>,
    ) {
        self.file(said, labelled, view);
    }

    /// The same, of a kind whose objects are found by their own names, whoever they are labelled with.
    pub(crate) fn take_by_name<K: ResourceExt>(
        &self,
        said: &watcher::Result<watcher::Event<K>>,
        view: impl Fn(&K) -> Option<V>,
    ) {
        self.file(said, |_| NOBODY, view);
    }

    fn file<K: ResourceExt>(
        &self,
        said: &watcher::Result<watcher::Event<K>>,
        whose: impl Fn(&K) -> &str,
        view: impl Fn(&K) -> Option<V>,
    ) {
        let put = |shown: &mut Shown<V>, object: &K, view| put(shown, object, whose(object), view);
        let mut inner = self.inner.write();
        match said {
            Err(_) => inner.is_current = false,
            Ok(watcher::Event::Init) => inner.arriving.clear(),
            Ok(watcher::Event::InitApply(object)) => put(&mut inner.arriving, object, view(object)),
            Ok(watcher::Event::InitDone) => {
                inner.shown = std::mem::take(&mut inner.arriving);
                inner.is_current = true;
            }
            // After a failure the watch goes on where it was, or begins anew.
            Ok(watcher::Event::Apply(object)) => {
                put(&mut inner.shown, object, view(object));
                inner.is_current = true;
            }
            Ok(watcher::Event::Delete(object)) => {
                put(&mut inner.shown, object, None);
                inner.is_current = true;
            }
        }
    }
}

/// The release that an object is labelled with.
fn labelled<K: ResourceExt>(object: &K) -> &str {
    object.labels().get(RELEASE_LABEL).map_or(NOBODY, String::as_str)
}

fn put<K: ResourceExt, V>(shown: &mut Shown<V>, object: &K, release: &str, view: Option<V>) {
    let key = (object.namespace().unwrap_or_default(), release.to_owned());
    if let Some(view) = view {
        shown.entry(key).or_default().insert(object.name_any(), view);
        return;
    }
    let Some(left) = shown.get_mut(&key) else { return };
    left.remove(&object.name_any());
    if left.is_empty() {
        shown.remove(&key);
    }
}
