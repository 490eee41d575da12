//! The APIs over HTTP.

use std::sync::Arc;

use serde_json::Value;

use super::{api, records};
use crate::population::synthetic;
use crate::serve::serve;
use crate::stop::Stop;
use crate::testing::{get, listener};

async fn served(per_second: f64) -> String {
    let (population, _) = synthetic::make(1);
    let (listener, address) = listener().await;
    tokio::spawn(serve(
        listener,
        api::router(Arc::new(population), 1, per_second),
        Stop::default(),
    ));
    format!("http://{address}")
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[tokio::test]
async fn one_id_gives_an_object_and_several_an_array_of_those_found() {
    let url = served(1000.0).await;
    let (population, _) = synthetic::make(1);
    let (holes, known): (Vec<_>, Vec<_>) = population
        .movies
        .iter()
        .partition(|film| records::movie(film, 1).is_none());
    let (hole, known) = (&holes[0].id, &known[0].id);

    let (status, _, body) = get(&format!("{url}/movie/{known}")).await;
    assert_eq!((status, json(&body)["id"].as_str()), (200, Some(known.as_str())));
    let (status, _, body) = get(&format!("{url}/movie/{hole}")).await;
    assert_eq!(
        (status, json(&body)["message"].as_str()),
        (404, Some("movie not found"))
    );
    let (status, _, body) = get(&format!("{url}/movie/{known},{hole}")).await;
    assert_eq!((status, json(&body).as_array().map(Vec::len)), (200, Some(1)));

    let (status, _, body) = get(&format!("{url}/user/17")).await;
    assert_eq!((status, json(&body)["user_id"].as_u64()), (200, Some(17)));
    for unknown in ["0", "1000001", "x", "-1"] {
        let (status, _, body) = get(&format!("{url}/user/{unknown}")).await;
        assert_eq!(
            (status, json(&body)["message"].as_str()),
            (404, Some("user not found"))
        );
    }
    let ids = |last: u32| (1..=last).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let (_, _, body) = get(&format!("{url}/user/{}", ids(200))).await;
    assert_eq!(json(&body).as_array().map(Vec::len), Some(200));
    assert_eq!(get(&format!("{url}/user/{}", ids(201))).await.0, 400);
}

#[tokio::test]
async fn too_many_requests_are_refused() {
    let url = served(1.0).await;
    let mut refused = 0;
    for _ in 0..20 {
        refused += u32::from(get(&format!("{url}/user/1")).await.0 == 429);
    }
    assert!(refused >= 10, "{refused}");
}
