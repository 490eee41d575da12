//! Each verb on a real API server: what it changes, and what a person reads.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests; a JSON value makes the entry that is assigned"
)]

use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kubectl_serin::args::{Output, Verb};
use kubectl_serin::run::perform;
use serde_json::{Value, json};
use serin_core::crd::{ModelRelease, REQUEST_ANNOTATION};
use serin_testkit::ApiServer;

const RELEASE: &str = "
apiVersion: serin.dev/v1alpha1
kind: ModelRelease
metadata: {name: recommender, namespace: default}
spec:
  serving:
    template: {spec: {containers: [{name: server, image: inference, ports: [{name: http, containerPort: 8082}]}]}}
  route: {gateway: {parentRefs: [{name: public}]}}
  analysis: {prometheus: {url: 'http://prometheus.monitoring:9090'}}
";

/// A release in the middle of a soak, as the operator would write it.
fn soaking() -> Value {
    let arm = |version: &str, revision: &str| {
        json!({
            "version": version, "digest": format!("sha256:{}", "a".repeat(64)), "revision": revision, "readyReplicas": 1,
        })
    };
    let mut canary = arm("2", "bbbbbbbb");
    for (name, value) in [
        ("stage", json!("Soaking")),
        ("step", json!(0)),
        ("weight", json!(20)),
        ("observedWeight", json!(20)),
        ("since", json!("2026-11-24T08:00:00Z")),
    ] {
        canary[name] = value;
    }
    let figures = |requests: u64, seconds: f64, mean: f64| {
        json!({
            "requests": requests, "failures": 10, "successes": requests - 10, "latencySecondsSum": seconds, "latencyMsMean": mean,
        })
    };
    json!({"status": {
        "phase": "Soaking",
        "stable": arm("1", "aaaaaaaa"),
        "canary": canary,
        "soak": {"observed": "3h", "required": "12h", "countedUntil": "2026-11-24T11:00:00Z"},
        "analysis": {"canary": figures(1000, 99.0, 100.0), "stable": figures(4000, 399.0, 100.0)},
        "history": [{
            "version": "1", "digest": format!("sha256:{}", "a".repeat(64)), "revision": "aaaaaaaa",
            "outcome": {"reason": "Promoted", "message": "the first version"}, "at": "2026-11-23T08:00:00Z",
        }],
        "display": {"weight": "20/20", "soak": "3h/12h", "reason": "observing"},
    }})
}

#[tokio::test]
async fn a_person_looks_pauses_and_resumes() {
    let Some(server) = ApiServer::start().await.unwrap() else {
        return;
    };
    let api: Api<ModelRelease> = Api::default_namespaced(server.client());
    let ask = async |verb: Verb| say(&server, verb).await;
    let status = |release: Option<String>, output| Verb::Status { release, output };

    assert!(
        ask(status(None, Output::Text))
            .await
            .unwrap()
            .starts_with("no ModelRelease")
    );
    assert!(
        ask(status(Some(named()), Output::Text))
            .await
            .unwrap_err()
            .contains("there is no ModelRelease \"recommender\"")
    );

    soak(&api).await;
    assert_eq!(
        ask(status(None, Output::Text)).await.unwrap(),
        "NAME          STABLE   CANARY   WEIGHT   PHASE     SOAK     REASON\n\
         recommender   1        2        20/20    Soaking   3h/12h   observing\n"
    );
    let described = ask(status(Some(named()), Output::Text)).await.unwrap();
    for fact in [
        "default/recommender   Soaking",
        "step 1: 20 % of the traffic, 20 % seen",
        "█████░░░░░░░░░░░░░░░ 3h of 12h observed",
        "canary 1000 requests, 1.00 % failed, mean 100.0 ms",
        "2026-11-23 08:00:00Z   1   Promoted: the first version",
    ] {
        assert!(described.contains(fact), "no \"{fact}\" in:\n{described}");
    }
    let object: Value =
        serde_json::from_str(&ask(status(Some(named()), Output::Json)).await.unwrap()).unwrap();
    assert_eq!(object["status"]["phase"], "Soaking");

    for (verb, paused, says) in [
        (
            Verb::Pause { release: named() },
            true,
            "is paused: weights and clock stay",
        ),
        (Verb::Pause { release: named() }, true, "is paused already"),
        (Verb::Resume { release: named() }, false, "goes on"),
        (Verb::Resume { release: named() }, false, "is not paused"),
    ] {
        assert!(ask(verb).await.unwrap().contains(says), "{says}");
        assert_eq!(api.get("recommender").await.unwrap().spec.paused, paused);
    }
}

#[tokio::test]
async fn a_person_asks_for_what_fits_and_is_told_what_does_not() {
    let Some(server) = ApiServer::start().await.unwrap() else {
        return;
    };
    let api: Api<ModelRelease> = Api::default_namespaced(server.client());
    let ask = async |verb: Verb| say(&server, verb).await;

    soak(&api).await;
    let refused = ask(Verb::Approve { release: named() }).await.unwrap_err();
    assert!(
        refused.contains("spec.rollout.approval is Automatic"),
        "{refused}"
    );
    for (verb, says, asked) in [
        (
            Verb::Skip { release: named() },
            "step 0 of version 2 is taken as passed",
            "skip/bbbbbbbb@0@2026-11-24T08:00:00Z",
        ),
        (
            Verb::Promote { release: named() },
            "version 2 is promoted without more evidence",
            "promote/bbbbbbbb@2026-11-24T08:00:00Z",
        ),
        (
            Verb::Abort { release: named() },
            "version 2 (revision bbbbbbbb) is being withdrawn",
            "abort/bbbbbbbb@2026-11-24T08:00:00Z",
        ),
    ] {
        let answer = ask(verb).await.unwrap();
        assert!(answer.contains(says), "{answer}");
        assert_eq!(request(&api).await.as_deref(), Some(asked));
    }

    for verb in [Verb::Retry { release: named() }, Verb::Undo { release: named() }] {
        let refused = ask(verb).await.unwrap_err();
        assert!(refused.contains("has version 2 on trial"), "{refused}");
    }
    let outcome = json!({"reason": "Aborted", "message": "a person asked for it"});
    let rolled_back = json!({"status": {
        "canary": null,
        "rejected": {"version": "2", "revision": "bbbbbbbb", "outcome": outcome},
        "history": [{
            "version": "2", "digest": "", "revision": "bbbbbbbb", "outcome": outcome, "at": "2026-11-24T09:00:00Z",
        }, {
            "version": "0", "digest": "", "revision": "cccccccc", "at": "2026-11-23T09:00:00Z",
            "outcome": {"reason": "Promoted", "message": "it met the rule"},
        }],
    }});
    let params = PatchParams::default();
    api.patch_status("recommender", &params, &Patch::Merge(rolled_back))
        .await
        .unwrap();
    let answer = ask(Verb::Retry { release: named() }).await.unwrap();
    assert!(answer.contains("version 2 is tried once more"), "{answer}");
    assert_eq!(
        request(&api).await.as_deref(),
        Some("retry/bbbbbbbb@2026-11-24T09:00:00Z")
    );
    let answer = ask(Verb::Undo { release: named() }).await.unwrap();
    assert!(answer.contains("version 0 takes the place of 1"), "{answer}");
    assert_eq!(request(&api).await.as_deref(), Some("undo/aaaaaaaa"));
    let refused = ask(Verb::Abort { release: named() }).await.unwrap_err();
    assert!(
        refused.contains("no canary under way: nothing to abort"),
        "{refused}"
    );
}

fn named() -> String {
    "recommender".into()
}

/// What a verb answers, or why it does not.
async fn say(server: &ApiServer, verb: Verb) -> Result<String, String> {
    let mut out = Vec::new();
    let done = perform(&verb, server.client(), &mut out).await;
    done.map(|()| String::from_utf8(out).unwrap())
        .map_err(|error| format!("{error:#}"))
}

/// Creates the release, with a canary that soaks.
async fn soak(api: &Api<ModelRelease>) {
    let release: ModelRelease = serde_norway::from_str(RELEASE).unwrap();
    api.create(&PostParams::default(), &release).await.unwrap();
    let params = PatchParams::default();
    api.patch_status("recommender", &params, &Patch::Merge(soaking()))
        .await
        .unwrap();
}

async fn request(api: &Api<ModelRelease>) -> Option<String> {
    let release = api.get("recommender").await.unwrap();
    release.annotations().get(REQUEST_ANNOTATION).cloned()
}
