//! `/api/simulations`, as a researcher's program sees it.

use dormouse::Bundle;
use dormouse_tests::TestServer;
use dormouse_tests::test_host::eventually;
use reqwest::Method;
use serde_json::{Value, json};

async fn ask(server: &TestServer, method: Method, path: &str, body: Value) -> (u16, Value) {
    let mut request = server.client.request(method, path);
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn get(server: &TestServer, path: &str) -> Value {
    let (status, body) = ask(server, Method::GET, path, Value::Null).await;
    assert_eq!(status, 200, "{body}");
    body
}

async fn post(server: &TestServer, path: &str, body: Value) -> Value {
    let (status, answer) = ask(server, Method::POST, path, body).await;
    assert!(status < 300, "{status} {answer}");
    answer
}

fn epidemic() -> Value {
    json!({
        "name": "epidemic",
        "seed": 5,
        "ticks": 12,
        "members": [{
            "role": "people",
            "agent": "epidemic",
            "count": 500,
            "parameters": { "transmission": 0.3 },
            "attributes": { "infected": { "exactly": 5 } },
            "topology": { "kind": "random", "p": 0.01 },
        }],
        "aggregates": [{ "name": "ill", "of": "people.state", "is": { "share": 1 } }],
    })
}

async fn created(server: &TestServer) -> String {
    let made = post(server, "/api/simulations", json!({ "spec": epidemic() })).await;
    assert_eq!(made["status"], "created");
    format!("/api/simulations/{}", made["id"].as_str().unwrap())
}

async fn at_rest(server: &TestServer, path: &str) -> Value {
    eventually("it stands still", async || get(server, path).await["status"] != "running").await;
    get(server, path).await
}

#[tokio::test]
async fn a_simulation_is_created_stepped_changed_forked_compared_and_verified() {
    let server = TestServer::new().await;
    let path = created(&server).await;
    post(&server, &format!("{path}/step"), json!({ "ticks": 4 })).await;
    let paused = at_rest(&server, &path).await;
    assert_eq!((&paused["status"], &paused["pauseCause"]), (&json!("paused"), &json!("stepped")));
    assert_eq!((&paused["ticks"], &paused["plannedTicks"]), (&json!(4), &json!(12)));
    assert_eq!((&paused["fingerprint"], &paused["forkedFrom"]), (&Value::Null, &Value::Null));

    let branches = json!([{}, { "name": "none", "set": [
        { "role": "people", "parameters": { "transmission": 0 } },
    ] }]);
    let forks = post(&server, &format!("{path}/fork"), json!({ "branches": branches })).await;
    let of_fork = |place: usize| {
        let id = forks["simulations"][place]["id"].as_str().unwrap();
        format!("/api/simulations/{id}")
    };
    assert_eq!(forks["simulations"][1]["name"], "none");
    assert_eq!(forks["simulations"][0]["forkedFrom"]["at"], 4);

    let set = json!({ "role": "people", "parameters": { "transmission": 0.9 } });
    assert_eq!(post(&server, &format!("{path}/set"), set).await["at"], 4);
    for path in [&path, &of_fork(0), &of_fork(1)] {
        post(&server, &format!("{path}/start"), json!({})).await;
    }
    let done = at_rest(&server, &path).await;
    assert_eq!(done["status"], "completed");
    assert_eq!(done["fingerprint"].as_str().unwrap().len(), 64);
    let untouched = at_rest(&server, &of_fork(0)).await;
    assert_ne!(untouched["fingerprint"], done["fingerprint"]);
    at_rest(&server, &of_fork(1)).await;
    let with = forks["simulations"][1]["id"].as_str().unwrap();
    let diff = get(&server, &format!("{path}/diff?with={with}")).await;
    assert_eq!((&diff["compared"], &diff["first"]), (&json!(12), &json!(4)));
    assert_eq!(diff["aggregates"]["ill"]["with"], 0.0);

    let page = get(&server, &format!("{path}/ticks?from=3&limit=2")).await;
    assert_eq!(
        (&page["count"], &page["next"], &page["more"]),
        (&json!(2), &json!(5), &json!(true))
    );
    assert_eq!(page["ticks"][0]["tick"], 3);
    assert!(page["ticks"][0]["aggregates"]["ill"].is_number());
    let members = get(&server, &format!("{path}/members?role=people&from=498")).await;
    assert_eq!((&members["size"], &members["count"]), (&json!(500), &json!(2)));
    assert_eq!(members["columns"]["state"].as_array().unwrap().len(), 2);
    let spec = get(&server, &format!("{path}/spec")).await;
    assert_eq!(spec["spec"]["program"][0]["at"], 4);

    let verified = post(&server, &format!("{path}/verify"), Value::Null).await;
    assert_eq!((&verified["verified"], &verified["difference"]), (&json!(true), &Value::Null));
    let bundle =
        server.client.request(Method::GET, &format!("{path}/bundle")).send().await.unwrap();
    assert_eq!(bundle.headers()["content-type"], "application/x-tar");
    let bundle = Bundle::read(&*bundle.bytes().await.unwrap()).unwrap();
    assert_eq!(bundle.spec.name, "epidemic");

    let list = get(&server, "/api/simulations?limit=1").await;
    assert_eq!((&list["count"], &list["total"]), (&json!(1), &json!(3)));
    let (status, deleted) = ask(&server, Method::DELETE, &path, Value::Null).await;
    assert_eq!((status, &deleted["success"]), (200, &json!(true)));
    let (status, gone) = ask(&server, Method::GET, &path, Value::Null).await;
    assert_eq!((status, &gone["code"]), (404, &json!("simulation_not_found")));
}

#[tokio::test]
async fn a_simulation_is_followed_until_it_stands_still() {
    let server = TestServer::new().await;
    let text = "ticks = 30\nmembers = [{ role = \"a\", agent = \"wealth\", count = 100 }]";
    let made = post(&server, "/api/simulations", json!({ "toml": text, "start": true })).await;
    let path = format!("/api/simulations/{}", made["id"].as_str().unwrap());
    let events =
        server.client.request(Method::GET, &format!("{path}/events")).send().await.unwrap();
    let events = events.text().await.unwrap();
    let last = events.trim_end().rsplit("data: ").next().unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!((&last["status"], &last["ticks"]), (&json!("completed"), &json!(30)));
    assert!(events.contains("id: 30\n"));
}

#[tokio::test]
async fn what_makes_no_sense_is_told_by_its_field() {
    let server = TestServer::new().await;
    let with = |change: fn(&mut Value)| {
        let mut spec = epidemic();
        change(&mut spec);
        json!({ "spec": spec })
    };
    let cases = [
        (json!({}), 400, "invalid_field", "spec"),
        (json!({ "toml": "ticks = " }), 400, "invalid_field", "toml"),
        (with(|spec| spec["ticks"] = json!(0)), 400, "invalid_field", "spec.ticks"),
        (with(|spec| spec["ticks"] = json!("many")), 400, "invalid_field", "spec.ticks"),
        (
            with(|spec| spec["members"][0]["count"] = json!(1_000_000_000)),
            400,
            "invalid_field",
            "spec.members[0].count",
        ),
        (
            with(|spec| spec["members"][0]["agent"] = json!("nobody")),
            404,
            "agent_not_found",
            "spec.members[0].agent",
        ),
        (
            with(|spec| spec["members"][0]["agent"] = json!("counter")),
            400,
            "invalid_field",
            "spec.members[0].parameters",
        ),
    ];
    for (body, status, code, field) in cases {
        let (got, told) = ask(&server, Method::POST, "/api/simulations", body).await;
        assert_eq!(
            (got, &told["code"], &told["field"]),
            (status, &json!(code), &json!(field)),
            "{told}"
        );
    }
    let path = created(&server).await;
    let cases = [
        ("step", json!({ "ticks": 1 }), 200, ""),
        ("fork", json!({ "at": 99 }), 409, "tick_not_reached"),
        ("set", json!({ "role": "nobody", "parameters": { "p": 1 } }), 400, "invalid_field"),
        ("set", json!({ "role": "people", "parameters": { "p": [1] } }), 400, "invalid_field"),
        ("verify", Value::Null, 409, "simulation_status"),
        ("stop", Value::Null, 200, ""),
        ("start", json!({}), 409, "simulation_status"),
    ];
    for (verb, body, status, code) in cases {
        at_rest(&server, &path).await;
        let (got, told) = ask(&server, Method::POST, &format!("{path}/{verb}"), body).await;
        assert_eq!(got, status, "{verb} {told}");
        assert!(code.is_empty() || told["code"] == code, "{verb} {told}");
    }
    let (status, told) =
        ask(&server, Method::GET, &format!("{path}/members?role=nobody"), Value::Null).await;
    assert_eq!((status, &told["code"]), (400, &json!("invalid_field")), "{told}");
    let (status, told) = ask(&server, Method::GET, "/api/simulations/nothing", Value::Null).await;
    assert_eq!((status, &told["code"]), (404, &json!("simulation_not_found")));
}
