//! One look at one release.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action as Next;
use kube::runtime::finalizer::{Error as Failed, Event, finalizer};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource as _, ResourceExt as _};
use serde::Deserialize as _;
use serin_core::crd::{ModelRelease, ModelReleaseStatus, Route};
use serin_core::plan::{self, Action, State};
use serin_core::policy::{Fault, Policy, SpecError};
use serin_core::status;

use crate::adopt::adopt;
use crate::configuration::Contents;
use crate::context::{Context, Turn};
use crate::error::Error;
use crate::observe::{glance, metrics, read, request};
use crate::perform::perform;
use crate::record::{record, remember, tell};
use crate::release::{FINALIZER, Identity};
use crate::route;

/// How soon a watch is expected to show what was written.
const SHOWN_WITHIN: Duration = Duration::from_millis(200);
/// How long it is waited for. Then the release is read.
const SHOWN_AT_LAST: Duration = Duration::from_secs(5);
/// Longest pause after failed looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Brings one release one move closer to its spec.
///
/// Effects come before the status. A crash in between repeats the effects, which are idempotent: it can make a
/// release slower, never faster. A `spec` that cannot be carried out changes nothing but the conditions; a canary is taken
/// back all the same. Watches tell when there is nothing to do, without a call; whatever moves the release is planned on
/// what was read for it.
///
/// Errors: the look is repeated with growing pauses; traffic stays where it was.
async fn look(release: &ModelRelease, ctx: &Context, turn: &mut Turn<'_>) -> Result<Next, Error> {
    let id = identity(release)?;
    let now = (ctx.clock)();
    let before = release.status.clone().unwrap_or_default();
    let generation = release.metadata.generation;
    let stalled = |status: &_, wrong: &SpecError| {
        status::stalled(status, wrong.fault(), wrong.to_string(), generation, now)
    };
    let state = status::state(&before);
    let (policy, wrong) = match policy(&id, release, &state) {
        Ok(found) => found,
        Err(wrong) => {
            record(&stalled(&before, &wrong), release, &id, ctx).await?;
            return Ok(Next::await_change());
        }
    };
    let metrics = metrics(release, &id, &policy, &state, ctx, now, turn).await;

    let glanced = glance(&id, &release.spec, ctx, now).await?;
    let is_glance = glanced.is_some();
    let (objects, mut contents) = match glanced {
        Some(objects) => (objects, Contents::new()),
        None => read(&id, &release.spec, ctx, now).await?,
    };
    let mut seen = objects.beside(release, metrics);
    let mut plan = plan::plan(&policy, &state, &seen, now);
    if is_glance && plan.moves(&state) {
        let objects;
        (objects, contents) = read(&id, &release.spec, ctx, now).await?;
        seen = objects.beside(release, seen.metrics);
        plan = plan::plan(&policy, &state, &seen, now);
    }

    // What the API server refuses stops nothing else. More or fewer pods are asked for at every look, and the stages wait
    // for those that they need: without them the plan can be written down all the same.
    let (mut refused, mut is_done) = (None, true);
    for action in &plan.actions {
        match perform(action, &id, &release.spec, &contents, ctx).await {
            Ok(()) => {}
            Err(error) => {
                let Some(words) = error.refusal() else {
                    return Err(error);
                };
                is_done &= matches!(action, Action::Scale { .. });
                refused.get_or_insert((error, words));
            }
        }
    }
    let status = if is_done {
        remember(&plan, &id, ctx).await?;
        tell(&plan.news, release, &id, ctx, now).await?;
        status::status(&before, &plan, &policy, &seen, generation, now)
    } else {
        before
    };
    let status = match (&refused, &wrong) {
        (Some((_, words)), _) => {
            status::stalled(&status, Fault::ObjectRefused, words.clone(), generation, now)
        }
        // It says what to mend, and goes back all the same.
        (None, Some(wrong)) => ModelReleaseStatus {
            phase: status.phase,
            ..stalled(&status, wrong)
        },
        (None, None) => status,
    };
    record(&status, release, &id, ctx).await?;
    if is_done {
        ctx.metrics.carried_out(&plan, &state);
    }
    match refused {
        None => Ok(Next::requeue(
            Duration::try_from(plan.look_again).unwrap_or(LONGEST_PAUSE),
        )),
        Some((error, _)) if error.is_final() => Ok(Next::requeue(LONGEST_PAUSE)),
        Some((error, _)) => Err(error),
    }
}

/// What `spec` asks for. Where it is wrong and the release only goes back, as much of it as that needs, and what is wrong.
///
/// Errors: nothing can be done before it is mended.
fn policy(
    id: &Identity,
    release: &ModelRelease,
    state: &State,
) -> Result<(Policy, Option<SpecError>), SpecError> {
    match Policy::new(&id.name, &release.spec) {
        Err(wrong) if state.goes_back(request(release).as_ref()) => {
            Policy::to_go_back(&id.name, &release.spec).map(|policy| (policy, Some(wrong)))
        }
        found => found.map(|policy| (policy, None)),
    }
}

/// Looks at a release, or takes leave of one that is being deleted.
// Boxed, as the other entry points of libraries with much behind them: the code of a future is made where it first
// becomes an object, and that is once and here, instead of anew in every program and test.
pub fn reconcile(
    release: Arc<DeserializeGuard<ModelRelease>>,
    ctx: Arc<Context>,
) -> BoxFuture<'static, Result<Next, Error>> {
    Box::pin(async move {
        let turn = Turn::taken(&ctx.turns).await;
        // While it waited, a newer one may have been shown.
        let newest = ctx.releases.get(&ObjectRef::from_obj(release.as_ref()));
        // A look is large, and thousands may be waiting: it begins to exist when its turn has come.
        Box::pin(visit(newest.unwrap_or(release), &ctx, turn)).await
    })
}

async fn visit(
    release: Arc<DeserializeGuard<ModelRelease>>,
    ctx: &Context,
    mut turn: Turn<'_>,
) -> Result<Next, Error> {
    let started = (ctx.clock)();
    let release = match &release.0 {
        Ok(release) => release,
        Err(_) if release.meta().deletion_timestamp.is_some() => {
            return Box::pin(go_unread(&release, ctx)).await;
        }
        Err(invalid) => return Err(Error::Malformed(invalid.error.clone())),
    };
    let key = key(release);
    // What a state before the last one wants may be what the last one has ended: an abort is not undone for a moment.
    let read;
    let release = match ctx.behind(&key, release.resource_version()) {
        None => release,
        Some(behind) if behind < SHOWN_AT_LAST => return Ok(Next::requeue(SHOWN_WITHIN)),
        Some(_) => {
            let Some(found) = api(release, ctx)
                .get_opt(&release.name_any())
                .await
                .map_err(Error::api("read the release"))?
            else {
                return Ok(Next::await_change());
            };
            ctx.has_read(&key, found.resource_version());
            read = found;
            &read
        }
    };
    let done = if is_finalized(release) {
        look(release, ctx, &mut turn).await
    } else {
        Box::pin(come_or_go(release, ctx, &mut turn)).await
    };
    ctx.metrics.reconciled((ctx.clock)().duration_since(started));
    let next = done?;
    ctx.succeeded(&key);
    Ok(next)
}

/// Whether the finalizer stands, and nobody wants the release gone. What comes next copies no release then.
fn is_finalized(release: &ModelRelease) -> bool {
    let stands = release
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == FINALIZER);
    stands && release.metadata.deletion_timestamp.is_none()
}

/// Puts the finalizer before the first look, or takes leave of a release that is being deleted.
async fn come_or_go(release: &ModelRelease, ctx: &Context, turn: &mut Turn<'_>) -> Result<Next, Error> {
    if release.metadata.deletion_timestamp.is_none() {
        adopt(&identity(release)?, ctx).await?;
    }
    let api = api(release, ctx);
    let done = finalizer(&api, FINALIZER, Arc::new(release.clone()), |event| async {
        match event {
            Event::Apply(release) => Box::pin(look(&release, ctx, turn)).await,
            Event::Cleanup(release) => {
                take_leave(&identity(release.as_ref())?, &release.spec.route, ctx).await
            }
        }
    })
    .await;
    finalized(done)
}

/// Takes leave of a release that cannot be read, of which the route is enough. What it owns goes after it in any case: a
/// route that says nothing either does not keep it.
async fn go_unread(release: &DeserializeGuard<ModelRelease>, ctx: &Context) -> Result<Next, Error> {
    let id = identity(release)?;
    let kind = ApiResource::erase::<ModelRelease>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), &id.namespace, &kind);
    let found = api.get_opt(&id.name).await;
    let found = found.map_err(Error::api("read the release"))?;
    // Another of the name may have come meanwhile, and will be shown.
    let Some(found) = found.filter(|found| found.metadata.deletion_timestamp.is_some()) else {
        return Ok(Next::await_change());
    };
    let done = finalizer(&api, FINALIZER, Arc::new(found), |event| async {
        match event {
            // It is being deleted.
            Event::Apply(_) => Ok(Next::await_change()),
            Event::Cleanup(found) => {
                let route = found.data.pointer("/spec/route").map(Route::deserialize);
                match route.transpose() {
                    Ok(route) => take_leave(&id, &route.unwrap_or_default(), ctx).await,
                    Err(error) => {
                        tracing::warn!(release = id.key(), %error, "nobody can say where its traffic comes from");
                        Ok(Next::await_change())
                    }
                }
            }
        }
    })
    .await;
    finalized(done)
}

/// Takes the traffic away before the owner's deletion takes the pods.
async fn take_leave(id: &Identity, route: &Route, ctx: &Context) -> Result<Next, Error> {
    route::take_away(id, route, ctx).await?;
    ctx.forget(&id.namespace, &id.name);
    Ok(Next::await_change())
}

fn finalized(done: Result<Next, Failed<Error>>) -> Result<Next, Error> {
    match done {
        Err(Failed::ApplyFailed(error) | Failed::CleanupFailed(error)) => Err(error),
        done => done.map_err(|error| Error::Finalizer(Box::new(error))),
    }
}

/// Pauses after a failed look: longer each time, up to a cap.
pub(crate) fn pause(release: &Arc<DeserializeGuard<ModelRelease>>, error: &Error, ctx: &Context) -> Next {
    let key = match &release.0 {
        Ok(release) => key(release),
        Err(invalid) => invalid.metadata.name.clone().unwrap_or_default(),
    };
    let times = ctx.failed(&key);
    ctx.metrics.failed(error.reason());
    if error.is_conflict() {
        tracing::debug!(
            release = key,
            times,
            "the release has changed meanwhile, the look is repeated"
        );
    } else {
        tracing::warn!(release = key, times, error = %Chain(error), "the look is repeated");
    }
    let pause =
        Duration::from_millis(200).saturating_mul(2u32.saturating_pow(times.saturating_sub(1).min(16)));
    Next::requeue(pause.min(LONGEST_PAUSE))
}

/// The releases of its namespace.
fn api(release: &ModelRelease, ctx: &Context) -> Api<ModelRelease> {
    Api::namespaced(ctx.client.clone(), &release.namespace().unwrap_or_default())
}

fn key(release: &ModelRelease) -> String {
    format!(
        "{}/{}",
        release.namespace().unwrap_or_default(),
        release.name_any()
    )
}

fn identity(release: &impl kube::Resource<DynamicType = ()>) -> Result<Identity, Error> {
    Identity::of(release)
        .ok_or_else(|| Error::Malformed(format!("{} has no namespace or uid", ModelRelease::kind(&()))))
}

/// An error with its sources, on one line; of an answer of the API server its own sentence only.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            if let Some(kube::Error::Api(answer)) =
                source.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref)
            {
                return write!(f, ": {}", answer.message);
            }
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}
