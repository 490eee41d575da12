//! Those who test a canary reach it by a header, and count for nobody.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;

use super::Checks;
use crate::demo::install::{NAMESPACE, Scene};
use crate::http::ask;
use crate::progress::Progress;
use crate::stack::HOST_PORT;

/// Requests of each kind.
const REQUESTS: usize = 40;
/// What the bundled release lets testers in by.
const DOOR: (&str, &str) = ("x-canary", "always");
/// The mark of those who came by it.
const MARK: (&str, &str) = ("serin-tester", "true");

/// Knocks while the canary `revision` soaks: first by the header, then with a mark of one's own making.
pub(super) fn knock(scene: &Scene, revision: &str, progress: &Progress, checks: &mut Checks) -> Result<()> {
    let by_door = answered(revision, DOOR)?;
    checks.check(
        progress,
        "testers reach the canary and nobody else",
        by_door == REQUESTS,
        &format!("{by_door} of {REQUESTS} answers are the canary's"),
    );
    let forged = answered(revision, MARK)?;
    let counted = counted(scene, revision)?;
    checks.check(
        progress,
        "what testers ask for is counted apart, and nobody makes himself one",
        counted == REQUESTS && forged < REQUESTS,
        &format!("{counted} requests of testers, {forged} of {REQUESTS} forged ones with the canary"),
    );
    Ok(())
}

/// How many of the requests with this header the canary answers.
fn answered(revision: &str, header: (&str, &str)) -> Result<usize> {
    let gateway = SocketAddr::from((Ipv4Addr::LOCALHOST, HOST_PORT));
    let mut answered = 0;
    for user in 1..=REQUESTS {
        let answer = ask(gateway, "GET", &format!("/recommend/{user}"), &[header])?;
        answered += usize::from(answer.header("serin-revision") == Some(revision));
    }
    Ok(answered)
}

/// Requests of testers, as the pods of the revision count them.
fn counted(scene: &Scene, revision: &str) -> Result<usize> {
    let selector = format!("serin.dev/revision={revision}");
    let pods = scene
        .kubectl
        .get_json(&["--namespace", NAMESPACE, "pods", "--selector", &selector])?;
    let pods = pods["items"].as_array().into_iter().flatten();
    let names = pods.filter_map(|pod| pod["metadata"]["name"].as_str());
    let mut counted = 0;
    for name in names {
        // By the API server: on some clusters nobody else reaches a pod from here.
        let metrics = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:8082/proxy/metrics");
        let metrics = scene.kubectl.run(["get", "--raw", &metrics]).output()?;
        let metrics = String::from_utf8_lossy(&metrics);
        counted += metrics.lines().filter_map(of_testers).sum::<usize>();
    }
    Ok(counted)
}

fn of_testers(line: &str) -> Option<usize> {
    let is_count = line.starts_with("http_server_request_duration_seconds_count{");
    let (labels, count) = line.rsplit_once(' ')?;
    (is_count && labels.contains(r#"serin_tester="true""#)).then(|| count.parse().ok())?
}
