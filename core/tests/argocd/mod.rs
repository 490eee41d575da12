//! What Argo CD makes of a release, by the script that it is given: run, on what the operator writes in each moment.

use cel::{Context, Program};
use mlua::{Lua, LuaSerdeExt as _, Table};
use serde_json::{Value, json};
use serin_core::crd::{Approval, ModelReleaseStatus, OnNewVersion};
use serin_core::plan::{Obstacle, RouteSeen, Stage, plan};
use serin_core::policy::{Fault, Policy};
use serin_core::status;

use crate::kstatus::kstatus;
use crate::world::{Behaviour, HEALTHY, World};
use crate::{is_at, until, with_stable};

const SCRIPT: &str = include_str!("../../../charts/operator/files/argocd-health.lua");
const PAGE: &str = include_str!("../../../docs/how-to/watch-with-argo-cd-and-flux.md");

/// Runs the script as Argo CD does, in Lua 5.1 with the object as `obj`: the health and its words.
fn health(object: &Value) -> (String, String) {
    let lua = Lua::new();
    let object = lua.to_value(object).expect("an object is a value of Lua");
    lua.globals().set("obj", object).expect("a global");
    let health: Table = lua.load(SCRIPT).eval().expect("the script runs");
    let told = |key| health.get(key).expect("a text");
    (told("status"), told("message"))
}

/// The object as the operator leaves it in this moment.
fn written(world: &World) -> Value {
    let status = match Policy::new("recommender", &world.spec) {
        Ok(policy) => {
            let seen = world.look();
            let made = plan(&policy, &world.state, &seen, world.now);
            let before = ModelReleaseStatus::default();
            status::status(&before, &made, &policy, &seen, Some(1), world.now)
        }
        Err(wrong) => {
            let before = ModelReleaseStatus::default();
            status::stalled(&before, wrong.fault(), wrong.to_string(), Some(1), world.now)
        }
    };
    json!({ "metadata": { "generation": 1 }, "status": status })
}

/// A release whose canary has come to `stage`.
fn at(stage: Stage) -> World {
    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", HEALTHY);
    until(&mut world, is_at(stage));
    world
}

/// A release whose canary behaves so, after a while.
fn after(turns: usize, behaviour: Behaviour) -> World {
    let mut world = with_stable(&[(20, 60)]);
    world.want("v2", behaviour);
    world.live(turns);
    world
}

fn changed(mut world: World, change: impl FnOnce(&mut World)) -> World {
    change(&mut world);
    world
}

#[test]
#[expect(
    clippy::too_many_lines,
    clippy::large_stack_arrays,
    reason = "one table of moments"
)]
fn argo_cd_and_flux_are_told_what_a_person_would_say() {
    let failing = Behaviour {
        failing: true,
        ..HEALTHY
    };
    let awaiting = changed(with_stable(&[(20, 60)]), |world| {
        world.spec.rollout.approval = Approval::Manual;
        world.want("v2", HEALTHY);
        world.live(30);
    });
    let undecided = changed(with_stable(&[(20, 60)]), |world| {
        world.spec.analysis.min_requests = 1_000_000;
        world.spec.analysis.deadline = Some("90s".parse().expect("a period"));
        world.want("v2", HEALTHY);
        world.live(40);
    });
    let gates = json!([{ "name": "rmse", "require": "evidence.rmse < 0.5" }]);
    let barred = changed(with_stable(&[(20, 60)]), |world| {
        world.spec.gates = serde_json::from_value(gates).expect("gates");
        world.want("v2", HEALTHY);
    });
    let superseded = changed(at(Stage::Soaking), |world| {
        world.spec.rollout.on_new_version = OnNewVersion::Supersede;
        world.want("v3", HEALTHY);
    });
    let replaced = changed(superseded.clone(), |world| {
        until(world, is_at(Stage::RollingBack));
        world.settle();
        let _ = world.turn(usize::MAX);
        world.settle();
    });
    for (moment, world, argo_cd, flux) in [
        (
            "without a model",
            World::new(&[(20, 60)]),
            "Suspended",
            "InProgress",
        ),
        ("at rest", with_stable(&[(20, 60)]), "Healthy", "Current"),
        (
            "the canary's pods start",
            at(Stage::Preparing),
            "Progressing",
            "InProgress",
        ),
        (
            "the weight is asked for",
            at(Stage::Shifting),
            "Progressing",
            "InProgress",
        ),
        (
            "the canary soaks",
            at(Stage::Soaking),
            "Progressing",
            "InProgress",
        ),
        ("it grows", at(Stage::Growing), "Progressing", "InProgress"),
        ("it is promoted", after(30, HEALTHY), "Healthy", "Current"),
        (
            "it is rolling back",
            changed(after(40, HEALTHY), |world| {
                world.want("v3", failing);
                until(world, is_at(Stage::RollingBack));
            }),
            "Progressing",
            "InProgress",
        ),
        ("it is rolled back", after(40, failing), "Degraded", "Failed"),
        ("a gate is closed", barred, "Degraded", "Failed"),
        (
            "it is wrong",
            changed(after(30, HEALTHY), |world| world.spec.rollout.steps.clear()),
            "Degraded",
            "Failed",
        ),
        ("it waits for a yes", awaiting, "Suspended", "InProgress"),
        ("it is undecided", undecided, "Suspended", "InProgress"),
        (
            "paused in a soak",
            changed(at(Stage::Soaking), |world| world.spec.paused = true),
            "Suspended",
            "InProgress",
        ),
        (
            "paused at rest",
            changed(after(30, HEALTHY), |world| world.spec.paused = true),
            "Suspended",
            "Current",
        ),
        (
            "no metrics",
            changed(at(Stage::Soaking), |world| world.metrics = false),
            "Progressing",
            "InProgress",
        ),
        (
            "no gateway",
            changed(at(Stage::Shifting), |world| {
                world.route = RouteSeen::Unsupported {
                    obstacle: Obstacle::GatewayMissing,
                    why: "the Gateway API is not installed".into(),
                    may_send: false,
                };
            }),
            "Progressing",
            "InProgress",
        ),
        (
            "a newer version takes its place",
            superseded,
            "Progressing",
            "InProgress",
        ),
        ("the older one is gone", replaced, "Progressing", "InProgress"),
    ] {
        let object = written(&world);
        let (told, words) = health(&object);
        assert_eq!(
            (told.as_str(), kstatus(&object)),
            (argo_cd, flux),
            "{moment}: {words}"
        );
        assert!(!words.is_empty(), "{moment}");
    }
}

#[test]
fn what_the_operator_has_not_answered_yet_is_progressing_and_not_what_it_was() {
    let mut object = written(&with_stable(&[(20, 60)]));
    object["metadata"]["generation"] = json!(2);
    assert_eq!(
        (health(&object).0.as_str(), kstatus(&object)),
        ("Progressing", "InProgress")
    );
    assert_eq!(
        health(&json!({ "metadata": { "generation": 1 } })).0,
        "Progressing"
    );
}

#[test]
fn a_refused_object_is_degraded_in_the_words_of_the_api_server() {
    let world = with_stable(&[(20, 60)]);
    let before: ModelReleaseStatus =
        serde_json::from_value(written(&world)["status"].clone()).expect("a status");
    let refused = status::stalled(
        &before,
        Fault::ObjectRefused,
        "no such field".into(),
        Some(1),
        world.now,
    );
    let object = json!({ "metadata": { "generation": 1 }, "status": refused });
    assert_eq!(health(&object), ("Degraded".into(), "no such field".into()));
}

/// Whether the expression under `key` in the page's Kustomization holds of an object.
fn holds(key: &str, object: &Value) -> bool {
    let line = PAGE.lines().find_map(|line| line.trim().strip_prefix(key));
    let program = Program::compile(line.expect("an expression on the page")).expect("it compiles");
    let mut context = Context::default();
    context
        .add_variable("status", &object["status"])
        .expect("a variable");
    matches!(program.execute(&context), Ok(cel::Value::Bool(true)))
}

#[test]
fn a_kustomization_that_does_not_wait_for_soaks_fails_on_what_is_wrong() {
    let soaking = written(&at(Stage::Soaking));
    assert!(holds("current: ", &soaking) && !holds("failed: ", &soaking));
    let wrong = written(&changed(with_stable(&[(20, 60)]), |world| {
        world.spec.rollout.steps.clear();
    }));
    assert!(holds("failed: ", &wrong) && !holds("current: ", &wrong));
}

#[test]
fn the_page_has_the_script_that_is_tested() {
    let indented = |line: &str| {
        if line.is_empty() {
            String::new()
        } else {
            format!("    {line}")
        }
    };
    let script: Vec<String> = SCRIPT.lines().map(indented).collect();
    assert!(
        PAGE.contains(&script.join("\n")),
        "docs/how-to/watch-with-argo-cd-and-flux.md: paste charts/operator/files/argocd-health.lua, four spaces deep"
    );
}
