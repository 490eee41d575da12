//! Whole lives over the kinds of route that have no gateway to answer, seen object by object on a real API server.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use serin_core::crd::{Condition, ModelReleaseStatus};
use serin_core::plan::{Phase, Stage};
use serin_testkit::ApiServer;

use crate::faults::world::{Deed, INGRESS, NAME, PODS, TESTERS, World, server};

mod meddled;
mod refused;

const CANARY: &str = "recommender-canary";

impl World {
    async fn until_serving(&mut self, version: &str) {
        self.until(&format!("{version} serves"), |status| {
            let stable = status.stable.as_ref();
            stable.is_some_and(|stable| stable.version == version) && is_ready(status)
        })
        .await;
    }

    fn routes(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &serin_testkit::http_route())
    }

    fn ingresses(&self) -> Api<Ingress> {
        self.all()
    }

    /// An Ingress, but for what the API server makes up and the time.
    async fn ingress(&self, name: &str) -> Option<Value> {
        let ingress = self.ingresses().get_opt(name).await.unwrap()?;
        let mut annotations = json!(ingress.annotations());
        annotations.as_object_mut().unwrap().remove("serin.dev/asked-at");
        annotations.as_object_mut().unwrap().remove("serin.dev/route");
        Some(json!({
            "annotations": annotations, "labels": ingress.labels(), "spec": ingress.spec,
            "owner": ingress.owner_references()[0].name,
        }))
    }

    async fn selector(&self) -> Option<Value> {
        let services = self.all::<Service>();
        let service = services.get_opt(NAME).await.unwrap()?;
        Some(json!(service.spec.unwrap().selector))
    }

    async fn replicas(&self, revision: &str) -> i32 {
        let deployments = self.all::<Deployment>();
        let deployment = deployments.get(&format!("{NAME}-{revision}")).await.unwrap();
        deployment.spec.unwrap().replicas.unwrap()
    }

    /// What was told of a route that was put back.
    async fn restored(&self) -> Vec<String> {
        let events = self.all::<Event>();
        let all = events.list(&ListParams::default()).await.unwrap().into_iter();
        let restored = all.filter(|event| event.reason.as_deref() == Some("RouteRestored"));
        restored.filter_map(|event| event.message).collect()
    }
}

/// A world in which a first version serves.
async fn serving(server: &ApiServer, namespace: &str, route: &'static str) -> World {
    let mut world = World::undisturbed(server, namespace, route).await;
    world.does(Deed::Want("healthy-1")).await;
    world.until_serving("healthy-1").await;
    world
}

fn condition<'a>(status: &'a ModelReleaseStatus, type_: &str) -> Option<&'a Condition> {
    let mut conditions = status.conditions.iter();
    conditions.find(|condition| condition.type_ == type_)
}

fn is_ready(status: &ModelReleaseStatus) -> bool {
    condition(status, "Ready").is_some_and(|ready| ready.status == "True")
}

fn reason(status: &ModelReleaseStatus) -> (&str, &str) {
    condition(status, "Ready").map_or(("", ""), |ready| (&ready.reason, &ready.message))
}

fn stable(status: &ModelReleaseStatus) -> String {
    status.stable.as_ref().unwrap().revision.clone()
}

fn canary(status: &ModelReleaseStatus) -> String {
    status.canary.as_ref().unwrap().arm.revision.clone()
}

fn selects(revision: &str) -> Value {
    json!({"serin.dev/release": NAME, "serin.dev/revision": revision})
}

/// An Ingress of the release that sends to this Service.
fn ours(service: &str, annotations: &Value) -> Value {
    json!({
        "annotations": annotations, "owner": NAME,
        "labels": {"serin.dev/release": NAME, "app.kubernetes.io/managed-by": "serin-operator"},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": "films.example", "http": {"paths": [{
            "path": "/recommend", "pathType": "Prefix",
            "backend": {"service": {"name": service, "port": {"number": 80}}},
        }]}}]},
    })
}

fn weight(weight: &str) -> Value {
    json!({"nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": weight})
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a whole life, step by step")]
async fn a_life_behind_ingresses() {
    let Some(server) = server().await else { return };
    let mut world = serving(&server, "ingresses", INGRESS).await;
    let first = stable(&world.status().await);
    let main = Some(ours(NAME, &json!({})));
    assert_eq!(world.ingress(NAME).await, main);
    assert_eq!(world.ingress(CANARY).await, None);
    assert_eq!(world.selector().await, Some(selects(&first)));

    world.does(Deed::Want("healthy-2")).await;
    let status = world.until_soaking(0).await;
    let second = canary(&status);
    let service = format!("{NAME}-{second}");
    assert_eq!(status.canary.as_ref().unwrap().observed_weight, Some(20));
    let said = status.route.unwrap();
    assert!(said.contains("an Ingress is accepted by nobody"), "{said}");
    assert_eq!(world.ingress(CANARY).await, Some(ours(&service, &weight("20"))));
    assert_eq!(world.ingress(NAME).await, main, "the main Ingress stays as it is");

    // Weights edited by hand, a path that no longer fits, a main Ingress that is gone: put back, and told.
    let edits = [
        (
            CANARY,
            json!({"metadata": {"annotations": weight("70")}}),
            "it asked for",
        ),
        (
            CANARY,
            json!({"spec": {"rules": [{"host": "films.example", "http": {"paths": [{
                "path": "/recommend", "pathType": "Exact",
                "backend": {"service": {"name": service, "port": {"number": 80}}},
            }]}}]}}),
            "a canary of another path or pathType than the main Ingress is dropped",
        ),
    ];
    for (name, edit, words) in edits {
        let ingresses = world.ingresses();
        let edited = Patch::Merge(&edit);
        ingresses
            .patch(name, &PatchParams::default(), &edited)
            .await
            .unwrap();
        world.turn().await;
        assert_eq!(
            world.ingress(CANARY).await,
            Some(ours(&service, &weight("20"))),
            "{edit}"
        );
        let told = world.restored().await;
        assert!(told.iter().any(|message| message.contains(words)), "{told:#?}");
    }
    world
        .ingresses()
        .delete(NAME, &DeleteParams::default())
        .await
        .unwrap();
    world.turn().await;
    assert_eq!(world.ingress(NAME).await, main, "restored");
    let told = world.restored().await;
    assert!(
        told.iter().any(|message| message.ends_with("it was gone")),
        "{told:#?}"
    );

    world.until_soaking(1).await;
    assert_eq!(world.ingress(CANARY).await, Some(ours(&service, &weight("50"))));
    world
        .until("all traffic is asked for", |status| {
            status
                .canary
                .as_ref()
                .is_some_and(|canary| canary.stage == Stage::Promoting)
        })
        .await;
    assert_eq!(world.ingress(CANARY).await, Some(ours(&service, &weight("100"))));
    assert_eq!(
        world.selector().await,
        Some(selects(&first)),
        "not before it is carried"
    );
    while world.replicas(&first).await > 0 {
        assert_eq!(world.replicas(&first).await, 2);
        world.turn().await;
        // The old pods stay as long as a canary Ingress could be taken away from before them.
        let is_left = world.ingress(CANARY).await.is_some();
        assert!(
            !is_left || world.replicas(&first).await == 2,
            "the old pods went first"
        );
    }
    assert_eq!(world.selector().await, Some(selects(&second)));
    assert_eq!(
        (world.ingress(NAME).await, world.ingress(CANARY).await),
        (main.clone(), None)
    );
    world.until_serving("healthy-2").await;

    world.does(Deed::Want("failing-3")).await;
    let third = canary(&world.until_soaking(0).await);
    world
        .until("it is rolled back", |status| status.phase == Phase::RollingBack)
        .await;
    assert_eq!(
        world.ingress(CANARY).await,
        Some(ours(&format!("{NAME}-{third}"), &weight("0")))
    );
    world
        .until("nothing is left of it", |status| {
            status.phase == Phase::RolledBack
        })
        .await;
    world.turn().await;
    assert_eq!(
        (world.ingress(NAME).await, world.ingress(CANARY).await),
        (main, None)
    );
    assert_eq!(world.selector().await, Some(selects(&second)));

    world.does(Deed::Delete).await;
    world.turn().await;
    assert_eq!(world.ingress(NAME).await, None);
    assert_eq!(world.api().get_opt(NAME).await.unwrap(), None);
}

/// The rules of the release's `HTTPRoute`: paths, headers, filters, and weights by Service.
async fn rules(world: &World) -> Value {
    let route = world.routes().get(NAME).await.unwrap();
    let list = |of: &Value, key: &str| of[key].as_array().cloned().unwrap_or_default();
    let rules = list(&route.data["spec"], "rules").into_iter().map(|rule| {
        let backends = list(&rule, "backendRefs").into_iter();
        let backends = backends.map(|backend| (backend["name"].clone(), backend["weight"].clone()));
        json!({
            "path": rule["matches"][0]["path"]["value"], "headers": rule["matches"][0]["headers"],
            "filters": rule["filters"], "backends": backends.collect::<Vec<_>>(),
        })
    });
    rules.collect()
}

#[tokio::test]
async fn a_life_with_a_door_for_testers() {
    let Some(server) = server().await else { return };
    let mut world = World::undisturbed(&server, "testers", TESTERS).await;
    // A route of the release's name that somebody else made is left alone, also by a version that is withdrawn. Handed
    // over it goes on as it was until there is something to serve.
    let theirs = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": NAME},
        "spec": {"parentRefs": [{"name": "public"}], "rules": [{"backendRefs": [{"name": "old", "port": 80, "weight": 1}]}]},
    });
    let theirs = serde_json::from_value(theirs).unwrap();
    let created = world.routes().create(&PostParams::default(), &theirs).await;
    let uid = created.unwrap().metadata.uid;
    world.does(Deed::Want("broken-0")).await;
    let is_taken = |status: &ModelReleaseStatus| {
        let mut conditions = status.conditions.iter();
        conditions.any(|condition| condition.reason == "NameTaken")
    };
    world.until("its name is taken", is_taken).await;
    world.does(Deed::Abort).await;
    world
        .until("it is withdrawn", |status| {
            status.canary.is_none() && status.rejected.is_some()
        })
        .await;
    let params = PatchParams::default();
    let handed_over = Patch::Merge(json!({"metadata": {"labels": {"serin.dev/release": NAME}}}));
    world.routes().patch(NAME, &params, &handed_over).await.unwrap();
    world.turn().await;
    world.turn().await;
    assert_eq!(rules(&world).await[0]["backends"], json!([["old", 1]]));
    world.does(Deed::Want("healthy-1")).await;
    world.until_serving("healthy-1").await;
    assert_eq!(world.routes().get(NAME).await.unwrap().metadata.uid, uid);
    let first = format!("{NAME}-{}", stable(&world.status().await));
    let main = |backends: Value| {
        json!({
            "path": "/recommend", "headers": null, "backends": backends,
            "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["serin-tester"]}}],
        })
    };
    assert_eq!(rules(&world).await, json!([main(json!([[first, 100]]))]));

    world.does(Deed::Want("healthy-2")).await;
    let second = format!("{NAME}-{}", canary(&world.until_soaking(0).await));
    let door = json!({
        "path": "/recommend", "backends": [[second, 1]],
        "headers": [{"type": "Exact", "name": "x-canary", "value": "always"}],
        "filters": [{
            "type": "RequestHeaderModifier",
            "requestHeaderModifier": {"set": [{"name": "serin-tester", "value": "true"}]},
        }],
    });
    let mut weights = [(&first, 80), (&second, 20)];
    weights.sort();
    let open = json!([main(json!(weights)), door]);
    assert_eq!(rules(&world).await, open);

    // Shut by hand, it is opened again, and told.
    let shut = json!({"spec": {"rules": [world.routes().get(NAME).await.unwrap().data["spec"]["rules"][0]]}});
    world
        .routes()
        .patch(NAME, &params, &Patch::Merge(shut))
        .await
        .unwrap();
    world.turn().await;
    assert_eq!(rules(&world).await, open);
    assert_eq!(world.restored().await.len(), 1);

    // Another header and another host, as the release says from now on.
    let spec = json!({"spec": {"route": {"gateway": {
        "hostnames": ["films.example"], "testers": {"header": "x-canary", "value": "sometimes"},
    }}}});
    world
        .api()
        .patch(NAME, &params, &Patch::Merge(spec))
        .await
        .unwrap();
    world.turn().await;
    let route = world.routes().get(NAME).await.unwrap();
    assert_eq!(route.data["spec"]["hostnames"], json!(["films.example"]));
    assert_eq!(rules(&world).await[1]["headers"][0]["value"], "sometimes");

    world.until_serving("healthy-2").await;
    let of_route = async |world: &World| rules(world).await.as_array().unwrap().len();
    assert_eq!(of_route(&world).await, 1, "what everybody gets needs no door");

    world.does(Deed::Want("failing-3")).await;
    world.until_soaking(0).await;
    assert_eq!(of_route(&world).await, 2);
    world
        .until("it is rolled back", |status| status.phase == Phase::RollingBack)
        .await;
    assert_eq!(of_route(&world).await, 1, "shut at once");
}

#[tokio::test]
async fn a_life_without_a_gateway() {
    let Some(server) = server().await else { return };
    let mut world = serving(&server, "pods", PODS).await;
    let first = stable(&world.status().await);
    assert_eq!(world.selector().await, Some(selects(&first)));

    world.does(Deed::Want("healthy-2")).await;
    world
        .until("its pods are ready", |status| {
            status
                .canary
                .as_ref()
                .is_some_and(|canary| canary.arm.ready_replicas == 1)
        })
        .await;
    let status = world.until_soaking(0).await;
    let second = canary(&status);
    let everything = Some(json!({"serin.dev/release": NAME}));
    assert_eq!(world.selector().await, everything);
    assert_eq!(
        (world.replicas(&first).await, world.replicas(&second).await),
        (2, 1)
    );
    let seen = status.canary.unwrap();
    assert_eq!((seen.weight, seen.observed_weight), (33, Some(33)));
    let said = status.route.unwrap();
    let words = "20% is asked for, the nearest that whole pods carry is 33%";
    assert!(said.contains(words), "{said}");

    let revision = json!({"spec": {"selector": {"serin.dev/revision": second}}});
    let services = world.all::<Service>();
    let edited = Patch::Merge(revision);
    services
        .patch(NAME, &PatchParams::default(), &edited)
        .await
        .unwrap();
    world.turn().await;
    assert_eq!(world.selector().await, everything, "put back");
    let told = world.restored().await;
    assert!(
        told.iter()
            .any(|message| message.contains(&format!("100 to {second}"))),
        "{told:#?}"
    );

    let status = world.until_soaking(1).await;
    assert_eq!(
        (world.replicas(&first).await, world.replicas(&second).await),
        (2, 2)
    );
    assert_eq!(status.canary.unwrap().observed_weight, Some(50));
    world.until_serving("healthy-2").await;
    world.turn().await;
    assert_eq!(world.selector().await, Some(selects(&second)));
    assert_eq!(
        (world.replicas(&first).await, world.replicas(&second).await),
        (0, 2)
    );

    world.does(Deed::Want("failing-3")).await;
    let third = canary(&world.until_soaking(0).await);
    world
        .until("it is rolled back", |status| status.phase == Phase::RollingBack)
        .await;
    assert_eq!(
        world.selector().await,
        Some(selects(&second)),
        "no request from the first moment on"
    );
    assert_eq!(
        world.replicas(&third).await,
        1,
        "its pods may finish what they have begun"
    );
    world
        .until("nothing is left of it", |status| {
            status.phase == Phase::RolledBack
        })
        .await;
    assert_eq!(
        (world.replicas(&second).await, world.replicas(&third).await),
        (2, 0)
    );

    world.does(Deed::Delete).await;
    world.turn().await;
    assert_eq!(world.selector().await, None);
    assert_eq!(world.api().get_opt(NAME).await.unwrap(), None);
}

/// Somebody else's Ingress, the reason of the condition, and words of its message.
const QUIRKS: [(&str, &str, &str, &str); 5] = [
    (
        "/recommend Prefix shop",
        r#"{"nginx.ingress.kubernetes.io/canary": "true"}"#,
        "SecondCanary",
        "one canary of a rule",
    ),
    ("/recommend Prefix shop", "{}", "SecondMain", "the older of both"),
    (
        "/recommend Exact shop",
        "{}",
        "PathMismatch",
        "as pathType Exact, this release as Prefix",
    ),
    (
        "/inside Prefix recommender",
        "{}",
        "SameServiceTwice",
        "one upstream for each Service",
    ),
    (
        "/inside Prefix recommender",
        r#"{"nginx.ingress.kubernetes.io/canary": "true"}"#,
        "SameServiceTwice",
        "one upstream for each Service",
    ),
];

#[tokio::test]
async fn what_ingress_nginx_would_drop_is_refused_and_goes_on_when_it_is_mended() {
    let Some(server) = server().await else { return };
    for (number, (rule, annotations, quirk, words)) in QUIRKS.into_iter().enumerate() {
        let mut world = World::undisturbed(&server, &format!("quirk-{number}"), INGRESS).await;
        let [path, path_type, service] = rule.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{rule}");
        };
        let foreign: Ingress = serde_json::from_value(json!({
            "metadata": {"name": "shop", "annotations": serde_json::from_str::<Value>(annotations).unwrap()},
            "spec": {"ingressClassName": "nginx", "rules": [{"host": "films.example", "http": {"paths": [{
                "path": path, "pathType": path_type,
                "backend": {"service": {"name": service, "port": {"number": 80}}},
            }]}}]},
        }))
        .unwrap();
        world
            .ingresses()
            .create(&PostParams::default(), &foreign)
            .await
            .unwrap();
        world.does(Deed::Want("healthy-1")).await;
        let status = world.until(quirk, |status| reason(status).0 == quirk).await;
        let (_, message) = reason(&status);
        assert!(message.contains(words) && message.contains("/shop"), "{message}");
        world.turn().await;
        assert_eq!(
            world.ingress(NAME).await,
            None,
            "{quirk}: nothing of ours meets it"
        );
        assert_eq!(
            world.ingresses().get("shop").await.unwrap().spec,
            foreign.spec,
            "left alone"
        );

        world
            .ingresses()
            .delete("shop", &DeleteParams::default())
            .await
            .unwrap();
        world.until_serving("healthy-1").await;
    }
}

#[tokio::test]
async fn behind_an_empty_stable_service_no_canary_begins_and_a_promotion_is_possible() {
    let Some(server) = server().await else { return };
    let mut world = serving(&server, "empty", INGRESS).await;
    world.down = Some("healthy-1");
    world.does(Deed::Want("healthy-2")).await;
    let status = world
        .until("it is refused", |status| reason(status).0 == "StableServiceEmpty")
        .await;
    let (_, message) = reason(&status);
    assert!(
        message.contains("has no ready endpoint: ingress-nginx then ignores the canary"),
        "{message}"
    );
    world.turn().await;
    assert_eq!(world.ingress(CANARY).await, None);

    let asked = format!("promote/{}", canary(&status));
    let wish = json!({"metadata": {"annotations": {"serin.dev/request": asked}}});
    let params = PatchParams::default();
    world
        .api()
        .patch(NAME, &params, &Patch::Merge(wish))
        .await
        .unwrap();
    world.until_serving("healthy-2").await;
    assert_eq!(world.selector().await, Some(selects(&canary(&status))));
}
