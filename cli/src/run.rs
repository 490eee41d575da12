//! Carries out one verb.

use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use futures::future::LocalBoxFuture;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt as _};
use serde_json::json;
use serin_core::crd::{Approval, ModelRelease, ModelReleaseStatus, REQUEST_ANNOTATION};
use serin_core::plan::{self as request, Past, Reason, Request};
use serin_core::record::Record;
use serin_core::revision::Version;
use serin_core::status::state;

use crate::args::{Args, Output, Source, Verb};
use crate::{explain, fetch, lint, release, simulate, table};

/// Owner of the fields that this program writes.
const FIELD_MANAGER: &str = "kubectl-serin";

/// Carries out the verb against the cluster of the kubeconfig and writes the answer to `out`.
///
/// Errors: there is no such cluster or release, or it cannot be asked that.
pub fn run<'a>(args: &'a Args, out: &'a mut dyn Write) -> LocalBoxFuture<'a, Result<()>> {
    Box::pin(async move {
        match local(&args.verb)? {
            Some(answer) => write(out, &answer),
            None => perform(&args.verb, connect(args).await?, out).await,
        }
    })
}

/// What needs no cluster: records and tables in files.
fn local(verb: &Verb) -> Result<Option<String>> {
    match verb {
        Verb::Explain { source, svg, output } => match &source.from {
            Some(path) => explained_by(&fetch::from_file(path)?, svg.as_deref(), *output).map(Some),
            None => Ok(None),
        },
        Verb::Simulate {
            source,
            csv,
            block,
            changes,
        } => {
            let record = match (csv, &source.from) {
                (Some(path), _) => {
                    let text = std::fs::read_to_string(path)
                        .with_context(|| format!("cannot read {}", path.display()))?;
                    simulate::table(&text, simulate::usual(block.get()))
                        .with_context(|| format!("cannot judge {}", path.display()))?
                }
                (None, Some(path)) => fetch::from_file(path)?,
                (None, None) => return Ok(None),
            };
            simulate::compare(&record, changes).map(Some)
        }
        Verb::Lint { file, expected } => lint::lint(file, expected).map(Some),
        Verb::Status { .. }
        | Verb::Pause { .. }
        | Verb::Resume { .. }
        | Verb::Abort { .. }
        | Verb::Approve { .. }
        | Verb::Promote { .. }
        | Verb::Skip { .. }
        | Verb::Retry { .. }
        | Verb::Undo { .. } => Ok(None),
    }
}

fn explained_by(record: &Record, svg: Option<&Path>, output: Output) -> Result<String> {
    if let Some(path) = svg {
        std::fs::write(path, explain::chart(record).svg())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    match output {
        Output::Text => Ok(explain::explain(record)),
        Output::Json => {
            let looks: Vec<_> = record.looked.iter().map(|looked| &looked.look).collect();
            Ok(format!("{:#}\n", json!({"began": record.began, "looks": looks})))
        }
    }
}

fn write(out: &mut dyn Write, answer: &str) -> Result<()> {
    out.write_all(answer.as_bytes())
        .context("cannot write the answer")
}

/// Carries out the verb over `client`, in its default namespace.
///
/// Errors: there is no such release, or it cannot be asked that.
pub fn perform<'a>(verb: &'a Verb, client: Client, out: &'a mut dyn Write) -> LocalBoxFuture<'a, Result<()>> {
    Box::pin(async move {
        let releases: Api<ModelRelease> = Api::default_namespaced(client.clone());
        let answer = match verb {
            Verb::Status {
                release: Some(name),
                output,
            } => {
                let found = get(&releases, name).await?;
                match output {
                    Output::Text => release::describe(&found),
                    Output::Json => format!("{:#}\n", json!(found)),
                }
            }
            Verb::Status {
                release: None,
                output,
            } => {
                let found = releases
                    .list(&ListParams::default())
                    .await
                    .map_err(|error| explained(error, "list the releases"))?
                    .items;
                match output {
                    Output::Text => table::of(&found),
                    Output::Json => format!("{:#}\n", json!(found)),
                }
            }
            Verb::Pause { release } => pause(&releases, release, true).await?,
            Verb::Resume { release } => pause(&releases, release, false).await?,
            Verb::Abort { release } => ask(&releases, release, request::Verb::Abort).await?,
            Verb::Approve { release } => ask(&releases, release, request::Verb::Approve).await?,
            Verb::Promote { release } => ask(&releases, release, request::Verb::Promote).await?,
            Verb::Skip { release } => ask(&releases, release, request::Verb::Skip).await?,
            Verb::Retry { release } => ask(&releases, release, request::Verb::Retry).await?,
            Verb::Undo { release } => ask(&releases, release, request::Verb::Undo).await?,
            Verb::Lint { file, expected } => lint::lint(file, expected)?,
            Verb::Explain { source, svg, output } => {
                let record = record(&client, &releases, source).await?;
                explained_by(&record, svg.as_deref(), *output)?
            }
            Verb::Simulate { source, changes, .. } => {
                simulate::compare(&record(&client, &releases, source).await?, changes)?
            }
        };
        write(out, &answer)
    })
}

async fn record(client: &Client, releases: &Api<ModelRelease>, source: &Source) -> Result<Record> {
    let name = source
        .release
        .as_deref()
        .context("name a release, or a file by --from")?;
    let release = get(releases, name).await?;
    fetch::from_operator(client, &release, &source.operator_namespace).await
}

async fn connect(args: &Args) -> Result<Client> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = if args.context.is_some() {
        let kubeconfig = Kubeconfig::read().context("there is no kubeconfig: set KUBECONFIG")?;
        Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .context("the kubeconfig has no such context: `kubectl config get-contexts` lists them")?
    } else {
        Config::infer()
            .await
            .context("there is no cluster to ask: set KUBECONFIG")?
    };
    if let Some(namespace) = &args.namespace {
        config.default_namespace.clone_from(namespace);
    }
    Client::try_from(config).context("the kubeconfig cannot be used")
}

async fn get(releases: &Api<ModelRelease>, name: &str) -> Result<ModelRelease> {
    let found = releases.get_opt(name).await;
    found
        .map_err(|error| explained(error, &format!("read {name}")))?
        .with_context(|| {
            format!(
                "there is no ModelRelease \"{name}\" in this namespace: `kubectl serin status` lists them"
            )
        })
}

async fn pause(releases: &Api<ModelRelease>, name: &str, paused: bool) -> Result<String> {
    let before = get(releases, name).await?;
    if before.spec.paused == paused {
        let state = if paused { "paused already" } else { "not paused" };
        return Ok(format!("{name} is {state}\n"));
    }
    patch(releases, name, &json!({"spec": {"paused": paused}})).await?;
    Ok(if paused {
        format!(
            "{name} is paused: weights and clock stay where they are until `kubectl serin resume {name}`\n"
        )
    } else {
        format!("{name} goes on\n")
    })
}

/// Asks the operator for something, once.
async fn ask(releases: &Api<ModelRelease>, name: &str, verb: request::Verb) -> Result<String> {
    let before = get(releases, name).await?;
    let (request, promise) = request(&before, name, verb)?;
    let annotations = json!({"metadata": {
        "annotations": {REQUEST_ANNOTATION: request.to_string()},
        // Refused if the release has moved on since it was read.
        "resourceVersion": before.resource_version(),
    }});
    patch(releases, name, &annotations).await?;
    Ok(format!(
        "{name}: {promise}; `kubectl serin status {name}` shows how far it is\n"
    ))
}

/// The request as it fits the release now, and what will come of it.
fn request(release: &ModelRelease, name: &str, verb: request::Verb) -> Result<(Request, String)> {
    let status = release.status.clone().unwrap_or_default();
    let state = state(&status);
    let canary = || {
        let canary = state.canary.as_ref();
        canary.with_context(|| format!("{name} has no canary under way: nothing to {}", verb.as_str()))
    };
    Ok(match verb {
        request::Verb::Abort => {
            let canary = canary()?;
            let Version { name, revision, .. } = &canary.version;
            (
                canary.request(verb),
                format!("version {name} (revision {revision}) is being withdrawn"),
            )
        }
        request::Verb::Approve => {
            let canary = canary()?;
            if release.spec.rollout.approval == Approval::Automatic {
                bail!("{name} asks nobody: spec.rollout.approval is Automatic");
            }
            (
                canary.request(verb),
                format!(
                    "version {} is promoted as soon as it has passed",
                    canary.version.name
                ),
            )
        }
        request::Verb::Promote => {
            let canary = canary()?;
            let promise = format!(
                "version {} is promoted without more evidence",
                canary.version.name
            );
            (canary.request(verb), promise)
        }
        request::Verb::Skip => {
            let canary = canary()?;
            let promise = format!(
                "step {} of version {} is taken as passed",
                canary.step, canary.version.name
            );
            (canary.request(verb), promise)
        }
        request::Verb::Retry => {
            at_rest(&status, name)?;
            let Some(((rejected, _), request)) = state.rejected.as_ref().zip(state.retry()) else {
                bail!("{name} has no version that was rolled back: nothing to retry");
            };
            (request, format!("version {} is tried once more", rejected.name))
        }
        request::Verb::Undo => {
            at_rest(&status, name)?;
            let stable = state.stable.as_ref();
            let was_stable = |past: &&Past| {
                past.outcome.reason == Reason::Promoted
                    && stable.is_some_and(|stable| stable.revision != past.version.revision)
            };
            let Some((stable, before)) = stable.zip(state.history.iter().find(was_stable)) else {
                bail!("{name} has had no stable version before this one: nothing to undo");
            };
            // One that has left the history was promoted long ago: there is but one occasion left.
            let request = state
                .undo()
                .unwrap_or_else(|| Request::new(verb, &stable.revision));
            (
                request,
                format!(
                    "version {} takes the place of {}",
                    before.version.name, stable.name
                ),
            )
        }
    })
}

/// Some requests fit only where no canary is on trial; one that was ignored is not answered when it is asked again.
fn at_rest(status: &ModelReleaseStatus, name: &str) -> Result<()> {
    match &status.canary {
        None => Ok(()),
        Some(canary) => bail!(
            "{name} has version {} on trial: `kubectl serin abort {name}` first, or wait for its end",
            canary.arm.version
        ),
    }
}

async fn patch(releases: &Api<ModelRelease>, name: &str, change: &serde_json::Value) -> Result<()> {
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PatchParams::default()
    };
    match releases.patch(name, &params, &Patch::Merge(change)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(refusal)) if refusal.code == 409 => {
            bail!("{name} has just changed: look at it, and ask again")
        }
        Err(error) => Err(explained(error, &format!("change {name}"))),
    }
}

/// The API server's own sentence, where it gave one.
#[expect(clippy::wildcard_enum_match_arm, reason = "the client's errors, not ours")]
fn explained(error: kube::Error, what: &str) -> anyhow::Error {
    match error {
        kube::Error::Api(refusal) if refusal.code == 404 => anyhow::anyhow!(
            "cannot {what}: the cluster does not know ModelReleases; install the definitions in crds/"
        ),
        kube::Error::Api(refusal) => {
            anyhow::anyhow!("cannot {what}: the API server says: {}", refusal.message)
        }
        other => anyhow::Error::new(other).context(format!("cannot {what}")),
    }
}
