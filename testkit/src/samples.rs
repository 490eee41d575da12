//! What a Prometheus that scrapes every pod would answer to the operator's queries.

use std::fmt::Write as _;

use serin_core::judge::Settings;

/// What a revision has served up to a time, all its pods together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Served {
    /// Requests answered with 200.
    pub successes: f64,
    /// Requests answered with 500.
    pub failures: f64,
    /// Latency of each successful request, in seconds.
    pub latency_seconds: f64,
}

/// The body that answers `query`, a range selector over pods, at `now`.
///
/// Scrapes happen whenever the time is a multiple of `every` seconds; `served` tells what a revision had served then,
/// or that it was not scraped. A query of anything but pods finds nothing.
pub fn answer(query: &str, now: i64, every: i64, served: &dyn Fn(&str, i64) -> Option<Served>) -> String {
    let mut result = result(query, now, every, served).unwrap_or_default();
    result.pop();
    format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{result}]}}}}")
}

fn result(query: &str, now: i64, every: i64, served: &dyn Fn(&str, i64) -> Option<Served>) -> Option<String> {
    let between = |start: &str, end: &str| -> Option<&str> {
        query.split_once(start)?.1.split_once(end).map(|(text, _)| text)
    };
    let (namespace, revisions) = (between("namespace=\"", "\"")?, between("revision=~\"", "\"")?);
    let window: i64 = between("}[", "s]")?.parse().ok()?;
    let first = now.checked_sub(window)?.div_euclid(every).checked_add(1)?;
    let scrapes: Vec<i64> = (first..=now.div_euclid(every))
        .map(|number| number * every)
        .collect();
    let mut text = String::new();
    for revision in revisions.split('|') {
        let at: Vec<(i64, Served)> = scrapes
            .iter()
            .filter_map(|at| Some((*at, served(revision, *at)?)))
            .collect();
        if !at.is_empty() {
            pod(&mut text, namespace, revision, &at);
        }
    }
    Some(text)
}

/// The series of a revision, as those of one pod.
fn pod(text: &mut String, namespace: &str, revision: &str, scrapes: &[(i64, Served)]) {
    let name = "http_server_request_duration_seconds";
    let [ok, failed] = ["200", "500"].map(|status| format!("\"http_response_status_code\":\"{status}\","));
    let mut series = |metric: &str, labels: &str, value: &dyn Fn(&Served) -> f64| {
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "{{\"metric\":{{\"__name__\":\"{metric}\",{labels}\"namespace\":\"{namespace}\",\"pod\":\"{revision}-0\",\
             \"instance\":\"{revision}\",\"revision\":\"{revision}\"}},\"values\":["
        );
        for (number, (at, served)) in scrapes.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            let _ = write!(text, "{comma}[{at},\"{}\"]", value(served));
        }
        text.push_str("]},");
    };
    series("up", "", &|_| 1.0);
    series("process_start_time_seconds", "", &|_| 1.0);
    series(&format!("{name}_count"), &failed, &|served| served.failures);
    series(&format!("{name}_count"), &ok, &|served| served.successes);
    series(&format!("{name}_sum"), &ok, &|served| {
        served.successes * served.latency_seconds
    });
    for edge in Settings::default()
        .layout
        .edges()
        .iter()
        .copied()
        .chain([f64::INFINITY])
    {
        let le = if edge.is_finite() {
            edge.to_string()
        } else {
            "+Inf".into()
        };
        series(
            &format!("{name}_bucket"),
            &format!("{ok}\"le\":\"{le}\","),
            &|served| {
                if served.latency_seconds <= edge {
                    served.successes
                } else {
                    0.0
                }
            },
        );
    }
}
