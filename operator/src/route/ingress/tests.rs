//! Writes are carried out one by one, and after each of them ingress-nginx, as its source has it, is asked who answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use serin_core::plan::Obstacle;

use super::*;

const A: &str = "1a2b3c4d";
const B: &str = "5e6f7a8b";
const C: &str = "9c0d1e2f";

fn revision(text: &str) -> Revision {
    Revision::recorded(text)
}

fn split(weights: &[(&str, i32)]) -> Split {
    Split::of(weights.iter().map(|(text, weight)| (revision(text), *weight)))
}

fn route() -> IngressRoute {
    serde_json::from_value(json!({
        "className": "nginx", "host": "films.example", "path": "/recommend",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "5"},
    }))
    .unwrap()
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// What stands in the cluster, and what the controller has taken in of it.
struct World {
    now: i64,
    /// In the order of their creation.
    ingresses: Vec<v1::Ingress>,
    selected: Option<(Revision, i64)>,
    /// What the stable-named Service selected before.
    before: Option<Revision>,
    /// Revisions with ready pods.
    ready: Vec<&'static str>,
}

impl World {
    fn new() -> Self {
        Self {
            now: 0,
            ingresses: Vec::new(),
            selected: None,
            before: None,
            ready: vec![A, B, C],
        }
    }

    fn is_ready(&self, revision: &Revision) -> bool {
        self.ready.iter().any(|ready| *ready == revision.as_str())
    }

    fn standing(&self) -> Standing {
        let id = Identity::of_test();
        let slice = |service: &str, of: &Revision| {
            let ready = json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": self.is_ready(of)}}]);
            let slice = json!({
                "addressType": "IPv4", "endpoints": ready, "ports": [{"name": "http", "port": 8082}],
                "metadata": {"labels": {"kubernetes.io/service-name": service, "serin.dev/revision": of}},
            });
            Slice::of(&serde_json::from_value(slice).unwrap()).unwrap()
        };
        let stable = self
            .selected
            .iter()
            .map(|(selected, _)| slice(&id.name, selected));
        let each = [A, B, C].map(|text| slice(&id.revision_name(&revision(text)), &revision(text)));
        Standing {
            route: route(),
            ingresses: self.ingresses.iter().map(Ingress::of).collect(),
            services: Services::of_test(self.selected.clone().map(|(selected, at)| (selected, second(at)))),
            slices: stable.chain(each).collect(),
        }
    }

    fn seen(&self) -> RouteSeen {
        self.standing().seen(&Identity::of_test(), second(self.now))
    }

    fn put(&mut self, ingress: v1::Ingress) {
        match self
            .ingresses
            .iter_mut()
            .find(|known| known.name_any() == ingress.name_any())
        {
            Some(known) => *known = ingress,
            None => self.ingresses.push(ingress),
        }
    }

    fn drop(&mut self, name: &str) {
        self.ingresses.retain(|ingress| ingress.name_any() != name);
    }

    fn point(&mut self, to: &str) {
        let selected = self.selected.replace((revision(to), self.now));
        self.before = selected.map(|(selected, _)| selected);
    }

    /// Carries out one write.
    fn obey(&mut self, write: Write) {
        let (id, route, now) = (Identity::of_test(), route(), second(self.now));
        match write {
            Write::Point(to) => self.point(to.as_str()),
            Write::Main => self.put(wanted::main(&id, &route, now)),
            Write::Canary(branch) => self.put(wanted::canary(&id, &route, &branch, now)),
            Write::DropCanary => self.drop(&canary_name(&id)),
        }
    }

    fn writes(&self, split: &Split) -> Vec<Write> {
        self.standing()
            .writes(&Identity::of_test(), split, second(self.now))
    }

    /// Writes towards a split; whoever asks meanwhile is answered.
    fn ask(&mut self, split: &Split) {
        for write in self.writes(split) {
            let told = format!("{write:?}");
            self.obey(write);
            self.everybody_is_answered(&told);
        }
    }

    /// Writes and waits until the split is carried.
    fn reach(&mut self, split: &Split) {
        for _ in 0..10 {
            self.ask(split);
            if self.seen().carries(split) {
                return;
            }
            self.pass(5);
        }
        panic!("{split:?} is not reached: {:?}", self.seen());
    }

    fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        let has_settled = |(_, at): &(Revision, i64)| self.now - at >= SETTLING.as_secs();
        if self.selected.as_ref().is_some_and(has_settled) {
            self.before = None;
        }
    }

    /// Whatever the controller has taken in of a Service that was moved, and in whatever order the two Ingresses were
    /// made.
    fn everybody_is_answered(&self, told: &str) {
        if !self.ingresses.iter().any(|ingress| !is_canary(ingress)) {
            return;
        }
        let selected = self.selected.iter().map(|(selected, _)| selected);
        for stable in selected.chain(&self.before) {
            for is_turned in [false, true] {
                let mut ingresses: Vec<_> = self.ingresses.iter().collect();
                if is_turned {
                    ingresses.reverse();
                }
                let answered = self.nginx(&ingresses, stable);
                assert!(
                    answered.is_ok(),
                    "after {told}, {stable} behind the Service: {answered:?}"
                );
            }
        }
    }

    /// Who answers: `mergeAlternativeBackends` and `getBackendServers` of ingress-nginx, and its balancer.
    fn nginx(
        &self,
        ingresses: &[&v1::Ingress],
        stable: &Revision,
    ) -> Result<BTreeMap<Revision, i32>, &'static str> {
        let id = Identity::of_test();
        let behind = |service: &str| {
            let of = if service == id.name {
                Some(stable.clone())
            } else {
                id.revision_of(service)
            };
            of.filter(|of| self.is_ready(of))
        };
        let rule = |ingress: &v1::Ingress| {
            let view = Ingress::of(ingress);
            let path = view.rules().next().unwrap();
            (
                (
                    path.host.to_owned(),
                    path.path.to_owned(),
                    path.path_type.to_owned(),
                ),
                path.service.unwrap().to_owned(),
            )
        };
        // The first that names a Service makes its upstream, and a canary makes one that serves no location.
        let first_with = |service: &str| ingresses.iter().find(|ingress| rule(ingress).1 == service);
        let serves = |service: &str| first_with(service).is_some_and(|first| !is_canary(first));
        let main = ingresses
            .iter()
            .find(|ingress| !is_canary(ingress) && serves(&rule(ingress).1));
        let Some((place, primary)) = main.map(|main| rule(main)) else {
            return Err("no location: 404");
        };
        let Some(to) = behind(&primary) else {
            return Err("no endpoint: 503");
        };
        let is_merged = |ingress: &&&v1::Ingress| {
            is_canary(ingress)
                && rule(ingress).0 == place
                && rule(ingress).1 != primary
                && !serves(&rule(ingress).1)
        };
        let canary = ingresses.iter().find(is_merged);
        let weight = canary.map_or(0, |canary| canary.annotations()[WEIGHT].parse().unwrap());
        let other = canary.and_then(|canary| behind(&rule(canary).1));
        let mut shares = BTreeMap::from([(to, 100)]);
        if let Some(other) = other {
            shares.values_mut().for_each(|share| *share -= weight);
            *shares.entry(other).or_default() += weight;
        }
        Ok(shares)
    }

    /// Who answers by now.
    fn answered(&self) -> BTreeMap<Revision, i32> {
        let (selected, _) = self.selected.as_ref().unwrap();
        let ingresses: Vec<_> = self.ingresses.iter().collect();
        let mut shares = self.nginx(&ingresses, selected).unwrap();
        shares.retain(|_, share| *share > 0);
        shares
    }

    fn foreign(&mut self, name: &str, spec: &Value, annotations: &Value) {
        let ingress = json!({
            "metadata": {"name": name, "namespace": "demo", "annotations": annotations}, "spec": spec,
        });
        self.put(serde_json::from_value(ingress).unwrap());
    }
}

fn is_canary(ingress: &v1::Ingress) -> bool {
    Ingress::of(ingress).is_canary()
}

/// Those who get something.
fn shares(weights: &[(&str, i32)]) -> BTreeMap<Revision, i32> {
    let served = weights.iter().filter(|(_, share)| *share > 0);
    served.map(|(text, share)| (revision(text), *share)).collect()
}

/// A first release that serves.
fn released() -> World {
    let mut world = World::new();
    world.reach(&split(&[(A, 100)]));
    world
}

#[test]
fn nobody_is_sent_nowhere_in_a_whole_life() {
    let mut world = released();
    assert_eq!(world.answered(), shares(&[(A, 100)]));
    for weight in [20, 50, 100] {
        world.reach(&split(&[(A, 100 - weight), (B, weight)]));
        assert_eq!(world.answered(), shares(&[(A, 100 - weight), (B, weight)]));
    }
    // Promoted: the planner points the Service. The old pods are there until the canary Ingress is gone.
    world.point(B);
    world.everybody_is_answered("the promotion");
    assert!(world.seen().carries(&split(&[(B, 100)])), "{:?}", world.seen());
    assert_eq!(
        world.writes(&split(&[(B, 100)])),
        [],
        "not before the Service is followed"
    );
    world.pass(SETTLING.as_secs());
    assert_eq!(world.writes(&split(&[(B, 100)])), [Write::DropCanary]);
    world.ask(&split(&[(B, 100)]));
    world.ready.retain(|ready| *ready != A);
    assert_eq!(world.answered(), shares(&[(B, 100)]));
    // The next one is rolled back.
    world.reach(&split(&[(B, 80), (C, 20)]));
    world.reach(&split(&[(B, 100), (C, 0)]));
    world.ready.retain(|ready| *ready != C);
    world.everybody_is_answered("the rollback");
    world.ask(&split(&[(B, 100)]));
    assert!(!world.standing().has_branch(&Identity::of_test()));
    // Deleted: nothing of it is left, the canary Ingress first.
    let left = world.standing();
    assert!(left.taken_away(&Identity::of_test()).eq(["recommender"]));
}

#[test]
fn a_canary_that_follows_at_once_waits_until_stable_no_longer_needs_the_canary_ingress() {
    let mut world = released();
    world.reach(&split(&[(A, 0), (B, 100)]));
    world.point(B);
    let next = split(&[(B, 80), (C, 20)]);
    assert_eq!(world.writes(&next), []);
    world.pass(SETTLING.as_secs());
    world.reach(&next);
    assert_eq!(world.answered(), shares(&[(B, 80), (C, 20)]));
}

#[test]
fn a_canary_whose_service_was_not_moved_yet_is_not_turned_to_another() {
    let mut world = released();
    world.reach(&split(&[(A, 0), (B, 100)]));
    // The operator died before it pointed the Service.
    assert_eq!(world.writes(&split(&[(B, 80), (C, 20)])), []);
}

type Deed = fn(&mut World);

#[test]
fn what_somebody_else_has_done_is_put_back() {
    let stable = split(&[(A, 80), (B, 20)]);
    let deeds: [(&str, Deed, &str); 6] = [
        ("the weight", |world| weigh(world, "70"), "asks for 30"),
        (
            "no canary any more",
            |world| annotate(world, CANARY, "false"),
            "its annotation nginx.ingress.kubernetes.io/canary is \"false\"",
        ),
        (
            "the path",
            |world| place(world, "/recommendations", "Prefix"),
            "a canary of another path or pathType",
        ),
        (
            "the pathType",
            |world| place(world, "/recommend", "Exact"),
            "a canary of another path or pathType",
        ),
        (
            "no canary",
            |world| world.drop("recommender-canary"),
            "asks for 100",
        ),
        ("no main", |world| world.drop("recommender"), "is missing"),
    ];
    for (what, meddle, words) in deeds {
        let mut world = released();
        world.reach(&stable);
        meddle(&mut world);
        let told = match world.seen() {
            RouteSeen::Missing => "is missing".into(),
            RouteSeen::Carried(split) => format!("asks for {}", split.weight(&revision(A))),
            RouteSeen::Asked { split, why } if split.is_empty() => why,
            other @ (RouteSeen::Asked { .. } | RouteSeen::Outdated | RouteSeen::Unsupported { .. }) => {
                panic!("{what}: {other:?}")
            }
        };
        assert!(told.contains(words), "{what}: {told}");
        world.reach(&stable);
        assert_eq!(world.answered(), shares(&[(A, 80), (B, 20)]), "{what}");
    }
}

fn canary_of(world: &mut World) -> &mut v1::Ingress {
    world
        .ingresses
        .iter_mut()
        .find(|ingress| is_canary(ingress))
        .unwrap()
}

fn annotate(world: &mut World, key: &str, value: &str) {
    let annotations = canary_of(world).metadata.annotations.as_mut().unwrap();
    annotations.insert(key.into(), value.into());
}

fn weigh(world: &mut World, weight: &str) {
    annotate(world, WEIGHT, weight);
}

fn place(world: &mut World, path: &str, path_type: &str) {
    let rules = canary_of(world).spec.as_mut().unwrap().rules.as_mut().unwrap();
    let known = &mut rules[0].http.as_mut().unwrap().paths[0];
    known.path = Some(path.into());
    known.path_type = path_type.into();
}

#[test]
fn a_changed_spec_is_followed_and_is_no_deed_of_somebody_else() {
    let mut world = released();
    for ingress in &mut world.ingresses {
        let annotations = ingress.metadata.annotations.as_mut().unwrap();
        annotations.insert("serin.dev/route".into(), "of an older spec".into());
    }
    assert_eq!(world.seen(), RouteSeen::Outdated);
    world.reach(&split(&[(A, 100)]));
}

#[test]
fn a_clock_that_is_set_back_is_not_waited_for() {
    let mut world = released();
    world.now -= 3600;
    assert_eq!(world.seen(), RouteSeen::Outdated);
    world.reach(&split(&[(A, 100)]));
}

#[test]
fn a_weight_counts_after_a_time_and_with_ready_endpoints() {
    let mut world = released();
    let wanted = split(&[(A, 80), (B, 20)]);
    world.ready = vec![A];
    world.ask(&wanted);
    world.pass(SETTLING.as_secs() - 1);
    let why = |world: &World| {
        let RouteSeen::Asked { why, .. } = world.seen() else {
            panic!("{:?}", world.seen());
        };
        why
    };
    assert!(
        why(&world).contains("the Service recommender-5e6f7a8b has no ready endpoint"),
        "{}",
        why(&world)
    );
    world.ready = vec![A, B];
    assert!(why(&world).contains("given 10s to follow"), "{}", why(&world));
    world.pass(1);
    assert!(world.seen().carries(&wanted));
}

fn rule(host: &str, path: &str, path_type: &str, service: &str) -> Value {
    json!({"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": [
        {"path": path, "pathType": path_type, "backend": {"service": {"name": service, "port": {"number": 80}}}},
    ]}}]})
}

#[test]
fn each_quirk_is_refused_by_its_name_with_the_object_and_the_remedy() {
    let canary = json!({"nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": "5"});
    let (host, path) = ("films.example", "/recommend");
    let table: [(&str, Value, Value, Obstacle, &str); 6] = [
        (
            "shop",
            rule(host, path, "Prefix", "shop"),
            canary.clone(),
            Obstacle::SecondCanary,
            "the Ingress demo/shop is a canary on films.example/recommend, too",
        ),
        (
            "shop",
            rule(host, path, "Prefix", "shop"),
            json!({}),
            Obstacle::SecondMain,
            "sends all requests to the older of both",
        ),
        (
            "shop",
            rule(host, path, "Exact", "shop"),
            json!({}),
            Obstacle::PathMismatch,
            "as pathType Exact, this release as Prefix",
        ),
        (
            "shop",
            rule("shop.example", "/", "Prefix", "recommender"),
            json!({}),
            Obstacle::SameServiceTwice,
            "sends to the Service recommender of this release, too",
        ),
        (
            "shop",
            rule("shop.example", "/", "Prefix", "recommender-5e6f7a8b"),
            json!({}),
            Obstacle::SameServiceTwice,
            "one upstream for each Service",
        ),
        (
            "recommender-canary",
            rule("shop.example", "/", "Prefix", "shop"),
            json!({}),
            Obstacle::NameTaken,
            "rename it, or the release",
        ),
    ];
    for (name, spec, annotations, obstacle, words) in table {
        let mut world = released();
        world.foreign(name, &spec, &annotations);
        let RouteSeen::Unsupported {
            obstacle: found, why, ..
        } = world.seen()
        else {
            panic!("{obstacle:?} is accepted");
        };
        assert_eq!(found, obstacle, "{why}");
        assert!(
            why.contains(words) && why.contains(&format!("demo/{name}")),
            "{why}"
        );
        assert_eq!(
            world.writes(&split(&[(A, 80), (B, 20)])),
            [],
            "{obstacle:?}: a canary begins"
        );
        let mut first = World::new();
        first.foreign(name, &spec, &annotations);
        assert!(
            !first.writes(&split(&[(A, 100)])).contains(&Write::Main),
            "{obstacle:?}: nothing meets it"
        );
    }
    let mut world = released();
    world.foreign("shop", &rule(host, "/cart", "Prefix", "shop"), &json!({}));
    let mut other_class = rule(host, path, "Prefix", "recommender");
    other_class["ingressClassName"] = json!("internal");
    world.foreign("internal", &other_class, &json!({}));
    assert!(world.seen().carries(&split(&[(A, 100)])), "{:?}", world.seen());
}

#[test]
fn a_rollback_is_written_whatever_stands_in_the_way() {
    let mut world = released();
    world.reach(&split(&[(A, 80), (B, 20)]));
    let canary = json!({"nginx.ingress.kubernetes.io/canary": "true"});
    world.foreign(
        "shop",
        &rule("films.example", "/recommend", "Prefix", "shop"),
        &canary,
    );
    let none = Branch {
        revision: revision(B),
        weight: 0,
    };
    assert_eq!(world.writes(&split(&[(A, 100), (B, 0)])), [Write::Canary(none)]);
    assert_eq!(world.writes(&split(&[(A, 100)])), [Write::DropCanary]);
}

#[test]
fn behind_an_empty_stable_service_a_canary_is_refused_and_a_promotion_moves_the_service() {
    let mut world = released();
    world.ready = vec![B];
    let RouteSeen::Unsupported { obstacle, why, .. } = world.seen() else {
        panic!("an empty Service is accepted");
    };
    assert_eq!(obstacle, Obstacle::StableServiceEmpty, "{why}");
    assert_eq!(world.writes(&split(&[(A, 80), (B, 20)])), []);
    let promoted = split(&[(A, 0), (B, 100)]);
    // Nobody is answered before, so nobody can be lost.
    assert_eq!(world.writes(&promoted), [Write::Point(revision(B))]);
    world.point(B);
    world.before = None;
    world.reach(&promoted);
    assert_eq!(world.answered(), shares(&[(B, 100)]));
    assert!(!world.standing().has_branch(&Identity::of_test()));
}
