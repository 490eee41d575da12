use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Carrier, Fault, Percent, Policy, SpecError};
use crate::judge::{self, Limit, OnInconclusive, OnUnavailable};

/// A spec with every part that can be wrong.
fn manifest() -> Value {
    json!({
        "model": {
            "version": "v1", "uri": "s3://models/1/", "digest": format!("sha256:{}", "0".repeat(64)),
            "evidence": { "rmse": 0.9 },
        },
        "serving": { "replicas": 4, "template": { "spec": { "containers": [
            { "name": "proxy", "image": "proxy:1" },
            {
                "name": "server", "image": "server:1",
                "ports": [{ "name": "metrics", "containerPort": 9090 }, { "name": "http", "containerPort": 8082 }],
                "envFrom": [{ "configMapRef": { "name": "limits" } }],
            },
        ] } }, "unversioned": [{ "kind": "ConfigMap", "name": "limits" }] },
        "rollout": { "canaryReplicas": 2, "steps": [{ "weight": 5, "soak": "90s" }, { "weight": 20, "soak": "1h" }] },
        "route": { "gateway": { "parentRefs": [{ "name": "public" }] } },
        "analysis": {
            "prometheus": { "url": "http://prometheus:9090" }, "interval": "1m",
            "latency": { "tail": { "slowerThan": "1s", "notWorseThanStable": "1%" } },
            "quality": { "bad": "bad_total", "all": "all_total", "notWorseThanStable": "1%" },
            "metrics": [{ "name": "clicks", "query": "sum(clicks)", "canaryAtLeast": 3.0 }],
        },
        "gates": [{ "name": "rmse", "require": "evidence.rmse < 1.0" }],
    })
}

/// The manifest with one value in place of another.
fn with(pointer: &str, value: Value) -> Value {
    let mut manifest = manifest();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = manifest.pointer_mut(parent).unwrap();
    match key.parse::<usize>() {
        Ok(index) => parent[index] = value,
        Err(_) => parent[key] = value,
    }
    manifest
}

fn policy(manifest: Value) -> Result<Policy, SpecError> {
    Policy::new("recommender", &serde_json::from_value(manifest).unwrap())
}

/// A row of `wrong.yaml`.
#[derive(Deserialize)]
struct Wrong {
    at: String,
    value: Value,
    told: String,
}

#[test]
fn what_is_wrong_is_told_with_its_field_its_value_and_its_remedy() {
    let rows: BTreeMap<String, Vec<Wrong>> = serde_norway::from_str(include_str!("wrong.yaml")).unwrap();
    for (fault, Wrong { at, value, told }) in rows
        .iter()
        .flat_map(|(fault, rows)| rows.iter().map(move |row| (fault, row)))
    {
        let wrong = policy(with(at, value.clone())).expect_err(at);
        assert!(wrong.to_string().contains(told), "{at} = {value}: {wrong}");
        assert_eq!(wrong.fault().as_str(), fault, "{at} = {value}: {wrong}");
    }
    let told: BTreeSet<_> = rows.keys().map(String::as_str).collect();
    let others = Fault::ALL
        .iter()
        .map(|fault| fault.as_str())
        .filter(|fault| !told.contains(fault));
    assert!(
        others.eq(["InvalidName", "ObjectRefused"]),
        "each fault of a spec has a row"
    );
}

#[test]
fn a_name_must_leave_room_for_those_of_its_objects() {
    let spec = serde_json::from_value(manifest()).unwrap();
    Policy::new(&"a".repeat(50), &spec).unwrap();
    let long = Policy::new(&"a".repeat(51), &spec).unwrap_err();
    assert_eq!(long.fault(), Fault::InvalidName);
    assert!(
        long.to_string()
            .ends_with("is too long: use at most 50 characters"),
        "{long}"
    );
}

#[test]
fn limits_are_inclusive_where_the_reference_says_so() {
    for (pointer, value) in [
        (
            "/rollout/steps",
            json!([{ "weight": 1, "soak": "1h" }, { "weight": 100, "soak": "1h" }]),
        ),
        ("/serving/replicas", json!(0)),
        ("/rollout/canaryReplicas", json!(1)),
        ("/analysis/minCoverage", json!("0%")),
        ("/analysis/latency/notWorseThanStable", json!("0%")),
        ("/analysis/latency/timeLimit", json!("501ms")),
        ("/analysis/warmUp", json!("0s")),
        ("/model/uri", json!("file:///models/1/")),
        ("/model/uri", json!("https://models/1/")),
        ("/analysis/prometheus/url", json!("https://prometheus/tenant")),
    ] {
        let checked = policy(with(pointer, value.clone()));
        assert!(checked.is_ok(), "{pointer} = {value}: {checked:?}");
    }
}

#[test]
fn a_canary_is_judged_by_what_the_spec_says() {
    let usual = policy(manifest()).unwrap();
    let mut manifest = manifest();
    manifest["analysis"] = json!({
        "prometheus": { "url": "http://prometheus:9090" }, "interval": "40s", "method": "WholeSoak",
        "warmUp": "7s", "minSoak": "3m", "deadline": "5h", "minCoverage": "75%", "minRequests": 17,
        "onInconclusive": "RollBack", "onUnavailable": "RollBack",
        "latency": {
            "meanBelow": "200ms", "notWorseThanStable": "25%", "negligibleBelow": "50ms", "timeLimit": "3s",
            "tail": { "slowerThan": "800ms", "notWorseThanStable": "2%" },
        },
        "errors": { "notWorseThanStable": "0.5%" },
        "quality": { "bad": "bad_total", "all": "all_total", "notWorseThanStable": "4%" },
        "metrics": [
            { "name": "most", "query": "a", "canaryAtMost": 4.0 },
            { "name": "least", "query": "b", "canaryAtLeast": 3.0 },
            { "name": "above", "query": "c", "notAboveStableBy": "10%" },
            { "name": "below", "query": "d", "notBelowStableBy": "20%" },
        ],
    });
    let policy = policy(manifest).unwrap();
    let judge = &policy.judge;

    assert_eq!(policy.warm_up, SignedDuration::from_secs(7));
    assert_eq!([policy.interval, judge.block], [SignedDuration::from_secs(40); 2]);
    assert_eq!(
        (usual.judge.method, judge.method),
        (judge::Method::Sequential, judge::Method::WholeSoak)
    );
    assert_eq!(judge.cap_seconds, 3.0);
    assert_eq!((judge.errors.margin, judge.errors.classic), (0.005, true));
    assert_eq!((judge.latency.limit_seconds, judge.latency.ratio), (0.2, 1.25));
    assert_eq!(judge.latency.negligible_seconds, Some(0.05));
    let tail = judge.distribution.as_ref().unwrap();
    assert_eq!((tail.objective_seconds, tail.margin), (0.8, 0.02));
    assert_eq!((judge.min_requests, judge.min_coverage), (17, 0.75));
    assert_eq!(
        (usual.judge.on_inconclusive, judge.on_inconclusive),
        (OnInconclusive::Hold, OnInconclusive::RollBack)
    );
    assert_eq!(
        (usual.judge.on_unavailable, judge.on_unavailable),
        (OnUnavailable::Hold, OnUnavailable::RollBack)
    );
    let quality = judge.quality.as_ref().unwrap();
    assert_eq!((quality.tolerance, quality.margin), (0.0, 0.04));
    let limits = [
        ("most", "a", Limit::AtMost(4.0)),
        ("least", "b", Limit::AtLeast(3.0)),
        ("above", "c", Limit::NotAboveStableBy(0.1)),
        ("below", "d", Limit::NotBelowStableBy(0.2)),
    ];
    let read: Vec<_> = judge
        .figures
        .iter()
        .map(|bound| (&*bound.name, &*bound.query, bound.limit))
        .collect();
    assert_eq!(read, limits);
}

#[test]
fn steps_are_observed_in_whole_blocks_and_only_the_last_one_can_end_early() {
    // 90 s are two blocks of a minute.
    let usual = policy(manifest()).unwrap().judge;
    assert_eq!(usual.soak, SignedDuration::from_secs(120 + 3600));
    assert_eq!(usual.deadline, usual.soak * 2, "twice the soak");
    assert_eq!(usual.min_soak, SignedDuration::from_mins(30));

    let whole = policy(with("/rollout/steps/0/soak", json!("2m"))).unwrap().judge;
    assert_eq!(whole.soak, usual.soak, "two blocks are two blocks");
    let late = policy(with("/rollout/steps/0/soak", json!("45m"))).unwrap().judge;
    assert_eq!(
        late.min_soak,
        SignedDuration::from_mins(45),
        "no step is left out"
    );

    let short = policy(with("/rollout/steps", json!([{ "weight": 20, "soak": "2m" }])))
        .unwrap()
        .judge;
    assert_eq!(short.deadline, SignedDuration::from_hours(1), "an hour at least");
    let own = policy(with("/analysis/deadline", json!("3h"))).unwrap().judge;
    assert_eq!(own.deadline, SignedDuration::from_hours(3));
}

#[test]
fn a_gate_is_closed_in_words_and_only_for_what_is_asked_for() {
    assert_eq!(policy(manifest()).unwrap().closed_gates, Vec::<String>::new());
    let closed = policy(with("/model/evidence/rmse", json!(1.5)))
        .unwrap()
        .closed_gates;
    assert!(closed.len() == 1 && closed[0].contains("rmse"), "{closed:?}");
    let nothing = policy(with("/model", Value::Null)).unwrap();
    assert_eq!((nothing.closed_gates.len(), nothing.asked.is_none()), (0, true));
}

#[test]
fn what_carries_the_weights_decides_how_many_pods_a_weight_needs() {
    let percent = |weight| Percent::new(weight).unwrap();
    let gateway = policy(manifest()).unwrap();
    assert_eq!(gateway.carrier, Carrier::Gateway);
    assert_eq!(
        [1, 20, 100].map(|weight| gateway.canary_pods(percent(weight))),
        [2, 2, 2]
    );
    assert_eq!(
        gateway.share(percent(20), 4),
        percent(20),
        "a gateway carries any weight"
    );

    let ingress = json!({ "ingress": { "host": "shop", "className": "nginx" } });
    assert_eq!(policy(with("/route", ingress)).unwrap().carrier, Carrier::Ingress);

    let pods = policy(with("/route", json!({ "none": {} }))).unwrap();
    assert_eq!(pods.carrier, Carrier::Pods);
    // Of 4 stable pods: at least one, as many as fit, at most as many as there are, and all of them for everything.
    let needed = [1, 20, 34, 50, 99, 100].map(|weight| pods.canary_pods(percent(weight)));
    assert_eq!(needed, [1, 1, 2, 4, 4, 4]);
    assert_eq!(pods.share(percent(20), 1), percent(20), "one of five");
    assert_eq!(pods.share(percent(34), 2), percent(33), "two of six");
    assert_eq!(
        [0, 100].map(|all| pods.share(percent(all), 1).get()),
        [0, 100],
        "nothing and everything are exact"
    );
    let who = [Carrier::Gateway, Carrier::Ingress, Carrier::Pods].map(Carrier::as_str);
    assert_eq!(who, ["the gateway", "the ingress controller", "the Service"]);
}

#[test]
fn a_share_of_pods_is_the_nearest_percent() {
    let of = |pods, others| Percent::of_pods(pods, others).get();
    assert_eq!(
        [
            of(1, 2),
            of(2, 1),
            of(1, 7),
            of(0, 3),
            of(3, 0),
            of(0, 0),
            of(-1, 2)
        ],
        [33, 67, 13, 0, 100, 0, 0]
    );
    assert_eq!((Percent::new(-1), Percent::new(101)), (None, None));
    assert_eq!(Percent::new(30).map(|percent| percent.rest().get()), Some(70));
}

#[test]
fn a_release_without_pods_is_asleep() {
    assert!(policy(with("/serving/replicas", json!(0))).unwrap().is_asleep());
    assert!(!policy(manifest()).unwrap().is_asleep());
}
