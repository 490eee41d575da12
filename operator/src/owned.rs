//! What watches have shown of the objects that releases own: a few fields of each, by release.
//!
//! A watch can lag behind the API server. What it shows is therefore enough to say that there is nothing to do, and no
//! more: whatever moves a release is planned again on what was read for it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::runtime::watcher;
use parking_lot::RwLock;

use crate::release::RELEASE_LABEL;

/// How long after its last failure a watch is known to be well again, though its kind is a quiet one of which nothing
/// comes: one that is not fails anew before, after the 45 s that finding it dead takes and a pause of at most 60 s.
const MENDED: Duration = Duration::from_mins(3);

/// Views of the objects of one kind.
#[derive(Debug)]
pub(crate) struct Index<V> {
    inner: RwLock<Inner<V>>,
}

#[derive(Debug)]
struct Inner<V> {
    /// Whether the watch has shown everything.
    is_whole: bool,
    /// When it failed last, if nothing has come since.
    failed: Option<Instant>,
    shown: Shown<V>,
    /// What a watch that begins anew has shown so far.
    arriving: Shown<V>,
}

/// The watch has not shown everything yet, or has failed since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unknown;

/// By namespace and release, or by namespace and the object's own name where no release is labelled; then by the
/// object's name. A release owns few objects of a kind, and the smallest map has room for eleven.
type Shown<V> = HashMap<(String, String), Vec<(String, V)>>;

impl<V> Default for Index<V> {
    fn default() -> Self {
        Self {
            inner: RwLock::default(),
        }
    }
}

impl<V> Default for Inner<V> {
    fn default() -> Self {
        Self {
            is_whole: false,
            failed: None,
            shown: HashMap::new(),
            arriving: HashMap::new(),
        }
    }
}

impl<V: Clone> Index<V> {
    /// Everything that the release owns of this kind, by name; none where the watch does not know.
    pub(crate) fn of(&self, namespace: &str, release: &str) -> Option<BTreeMap<String, V>> {
        let inner = self.inner.read();
        let key = (namespace.to_owned(), release.to_owned());
        inner
            .is_current(Instant::now())
            .then(|| inner.shown.get(&key).into_iter().flatten().cloned().collect())
    }

    /// One object of a kind whose objects are found by their own names, if there is one.
    pub(crate) fn named(&self, namespace: &str, name: &str) -> Result<Option<V>, Unknown> {
        let inner = self.inner.read();
        if !inner.is_current(Instant::now()) {
            return Err(Unknown);
        }
        let key = (namespace.to_owned(), name.to_owned());
        let shown = inner.shown.get(&key).into_iter().flatten();
        let mut those = shown.filter(|(of, _)| of == name);
        Ok(those.next().map(|(_, view)| view.clone()))
    }

    /// What is picked among the objects of all namespaces; none where the watch does not know.
    pub(crate) fn picked(&self, is_picked: impl Fn(&V) -> bool) -> Option<Vec<V>> {
        let inner = self.inner.read();
        let all = inner.shown.values().flatten().map(|(_, view)| view);
        inner
            .is_current(Instant::now())
            .then(|| all.filter(|view| is_picked(view)).cloned().collect())
    }

    /// Takes in what a watch says; `view` picks the fields that are kept, none of an object that is none of ours.
    pub(crate) fn take<K: ResourceExt>(
        &self,
        said: &watcher::Result<watcher::Event<K>>,
        view: impl Fn(&K) -> Option<V>,
    ) {
        self.inner.write().take(said, labelled, view, Instant::now());
    }

    /// The same, of a kind whose objects are found by their own names, whoever they are labelled with.
    pub(crate) fn take_by_name<K: ResourceExt>(
        &self,
        said: &watcher::Result<watcher::Event<K>>,
        view: impl Fn(&K) -> Option<V>,
    ) {
        self.inner
            .write()
            .take(said, ResourceExt::name_any, view, Instant::now());
    }
}

impl<V> Inner<V> {
    /// Whether what is shown is what there is, as far as a watch can tell.
    fn is_current(&self, now: Instant) -> bool {
        let is_well = |failed: Instant| now.duration_since(failed) > MENDED;
        self.is_whole && self.failed.is_none_or(is_well)
    }

    fn take<K: ResourceExt>(
        &mut self,
        said: &watcher::Result<watcher::Event<K>>,
        whose: impl Fn(&K) -> String,
        view: impl Fn(&K) -> Option<V>,
        now: Instant,
    ) {
        let put = |shown: &mut Shown<V>, object: &K, view| put(shown, object, whose(object), view);
        self.failed = said.is_err().then_some(now);
        match said {
            // The watch goes on where it was, or begins anew.
            Err(_) => {}
            Ok(watcher::Event::Init) => {
                self.arriving.clear();
                self.is_whole = false;
            }
            Ok(watcher::Event::InitApply(object)) => put(&mut self.arriving, object, view(object)),
            Ok(watcher::Event::InitDone) => {
                self.shown = std::mem::take(&mut self.arriving);
                self.is_whole = true;
            }
            Ok(watcher::Event::Apply(object)) => put(&mut self.shown, object, view(object)),
            Ok(watcher::Event::Delete(object)) => put(&mut self.shown, object, None),
        }
    }
}

/// The release that an object is labelled with; the watches that are filed so bring no others.
fn labelled<K: ResourceExt>(object: &K) -> String {
    object.labels().get(RELEASE_LABEL).cloned().unwrap_or_default()
}

fn put<K: ResourceExt, V>(shown: &mut Shown<V>, object: &K, release: String, view: Option<V>) {
    let (key, name) = (
        (object.namespace().unwrap_or_default(), release),
        object.name_any(),
    );
    let Some(view) = view else {
        let Some(left) = shown.get_mut(&key) else { return };
        left.retain(|(of, _)| *of != name);
        if left.is_empty() {
            shown.remove(&key);
        }
        return;
    };
    let there = shown.entry(key).or_default();
    if let Some((_, old)) = there.iter_mut().find(|(of, _)| *of == name) {
        *old = view;
    } else {
        there.reserve_exact(1);
        there.push((name, view));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::runtime::watcher::{Error, Event};

    use super::*;

    /// The name of a Service `demo/stable`.
    fn said(
        inner: &mut Inner<String>,
        event: &watcher::Result<Event<Service>>,
        now: Instant,
    ) -> Option<Vec<String>> {
        inner.take(event, labelled, |service| service.metadata.name.clone(), now);
        let all = inner.shown.values().flatten().map(|(_, view)| view.clone());
        inner.is_current(now).then(|| all.collect())
    }

    fn service() -> Service {
        let mut service = Service::default();
        service.metadata.namespace = Some("demo".to_owned());
        service.metadata.name = Some("stable".to_owned());
        service
    }

    #[test]
    fn a_watch_that_fails_is_believed_again_when_something_comes_or_nothing_fails_for_long() {
        let (mut index, start) = (Inner::default(), Instant::now());
        let shown = || Some(vec!["stable".to_owned()]);
        let failure = || Err(Error::NoResourceVersion);

        assert_eq!(said(&mut index, &Ok(Event::Init), start), None);
        assert_eq!(said(&mut index, &Ok(Event::InitApply(service())), start), None);
        assert_eq!(said(&mut index, &Ok(Event::InitDone), start), shown());

        // A lively kind: the next change says that the watch is well.
        assert_eq!(said(&mut index, &failure(), start), None);
        assert_eq!(said(&mut index, &Ok(Event::Apply(service())), start), shown());

        // A quiet kind: each failure counts anew, and none for long says it too.
        assert_eq!(said(&mut index, &failure(), start), None);
        let again = start + MENDED;
        assert!(!index.is_current(again));
        assert_eq!(said(&mut index, &failure(), again), None);
        assert!(!index.is_current(again + MENDED));
        assert!(index.is_current(again + MENDED + Duration::from_secs(1)));
    }

    #[test]
    fn a_watch_that_begins_anew_is_believed_when_it_has_shown_everything() {
        let (mut index, start) = (Inner::default(), Instant::now());
        said(&mut index, &Ok(Event::InitApply(service())), start);
        said(&mut index, &Ok(Event::InitDone), start);

        let later = start + MENDED * 2;
        said(&mut index, &Err(Error::NoResourceVersion), start);
        assert_eq!(said(&mut index, &Ok(Event::Init), start), None);
        assert!(!index.is_current(later), "what it showed before may be long gone");
        assert_eq!(said(&mut index, &Ok(Event::InitDone), later), Some(Vec::new()));
    }
}
