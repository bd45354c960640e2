//! `/api/experiments`, as a researcher's program sees it.

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

async fn text(server: &TestServer, path: &str) -> (String, String) {
    let response = server.client.request(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, response.text().await.unwrap())
}

fn exchange() -> Value {
    json!({
        "name": "exchange",
        "spec": {
            "ticks": 20,
            "members": [{ "role": "traders", "agent": "wealth", "count": 100 }],
            "aggregates": [{ "name": "gini", "of": "traders.wealth", "is": "gini" }],
        },
        "parameters": { "traders.count": [100, 200], "ticks": { "from": 10, "to": 20, "count": 2 } },
        "replicates": 3,
        "seeds": { "base": 4, "paired": true },
    })
}

#[tokio::test]
async fn an_experiment_is_created_followed_read_and_deleted() {
    let server = TestServer::new().await;
    let (status, made) = ask(&server, Method::POST, "/api/experiments", exchange()).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!((&made["runs"], &made["name"]), (&json!(12), &json!("exchange")));
    assert_eq!(made["parameters"], json!(["ticks", "traders.count"]));
    let id = made["id"].as_str().unwrap();
    let path = format!("/api/experiments/{id}");
    // Its stream ends when it is over.
    let (kind, events) = text(&server, &format!("{path}/events")).await;
    assert!(kind.starts_with("text/event-stream"));
    let last = events.lines().rfind(|line| line.starts_with("data: ")).unwrap();
    let last: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&last["status"], &last["done"]), (&json!("completed"), &json!(12)));
    let shown = get(&server, &path).await;
    assert_eq!((&shown["failed"], &shown["memberSteps"]), (&json!(0), &json!(27_000)));

    let page = get(&server, &format!("{path}/runs?limit=5")).await;
    assert_eq!((&page["count"], &page["next"], &page["total"]), (&json!(5), &json!(5), &json!(12)));
    let page = get(&server, &format!("{path}/runs?cursor=10&limit=5")).await;
    assert_eq!((&page["count"], &page["next"]), (&json!(2), &Value::Null));
    let run = &page["runs"][0];
    assert_eq!(run["parameters"], json!({ "ticks": 20, "traders.count": 200 }));
    assert_eq!(
        (&run["run"], &run["replicate"], &run["status"]),
        (&json!(10), &json!(1), &json!("completed"))
    );

    // The run is a simulation that anybody can make of what the table says.
    let mut alone = exchange()["spec"].clone();
    alone["ticks"] = json!(20);
    alone["members"][0]["count"] = json!(200);
    alone["seed"] = run["seed"].clone();
    let body = json!({ "spec": alone, "start": true });
    let (_, alone) = ask(&server, Method::POST, "/api/simulations", body).await;
    let alone = format!("/api/simulations/{}", alone["id"].as_str().unwrap());
    eventually("it is over", async || get(&server, &alone).await["status"] == "completed").await;
    assert_eq!(get(&server, &alone).await["fingerprint"], run["fingerprint"]);

    let (kind, csv) = text(&server, &format!("{path}/results.csv")).await;
    assert_eq!(kind, "text/csv; charset=utf-8");
    let lines: Vec<&str> = csv.lines().collect();
    let head = "run,ticks,traders.count,seed,replicate,gini,fingerprint,calls,costUsd,error";
    assert_eq!((lines.len(), lines[0]), (13, head));
    let fields: Vec<&str> = lines[11].split(',').collect();
    assert_eq!((fields[0], fields[6]), ("10", run["fingerprint"].as_str().unwrap()));
    assert_eq!(fields[5].parse::<f64>().unwrap(), run["aggregates"]["gini"].as_f64().unwrap());
    let (kind, jsonl) = text(&server, &format!("{path}/results.jsonl")).await;
    assert_eq!(kind, "application/x-ndjson");
    let rows: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), &rows[10]), (12, run));

    let listed = get(&server, "/api/experiments").await;
    assert_eq!((&listed["total"], &listed["experiments"][0]["id"]), (&json!(1), &json!(id)));
    let (status, _) = ask(&server, Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, 200);
    let (status, told) = ask(&server, Method::GET, &path, Value::Null).await;
    assert_eq!((status, &told["code"]), (404, &json!("experiment_not_found")));
}

#[tokio::test]
async fn an_experiment_is_paused_and_resumed() {
    let server = TestServer::new().await;
    let mut long = exchange();
    long["replicates"] = json!(2_000);
    let (_, made) = ask(&server, Method::POST, "/api/experiments", long).await;
    let path = format!("/api/experiments/{}", made["id"].as_str().unwrap());
    eventually("a run is over", async || get(&server, &path).await["done"] != 0).await;
    let (_, paused) = ask(&server, Method::POST, &format!("{path}/pause"), Value::Null).await;
    assert_eq!((&paused["status"], &paused["pauseCause"]), (&json!("paused"), &json!("requested")));
    let simulations = get(&server, "/api/simulations").await;
    for own in simulations["simulations"].as_array().unwrap() {
        assert_eq!(own["experiment"]["id"], made["id"]);
        assert_ne!(own["status"], "running");
    }
    let body = json!({ "budget": { "fuel": 1 } });
    let (status, resumed) = ask(&server, Method::POST, &format!("{path}/resume"), body).await;
    assert_eq!((status, &resumed["fuelBudget"]), (200, &json!(1)), "{resumed}");
    eventually("it pauses", async || get(&server, &path).await["status"] == "paused").await;
    assert_eq!(get(&server, &path).await["pauseCause"], "budget_fuel");
    let (status, _) = ask(&server, Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(get(&server, "/api/simulations").await["total"], 0);
}

#[tokio::test]
async fn rubbish_is_refused_with_the_field_that_is_to_be_changed() {
    let server = TestServer::new().await;
    let with = |change: fn(&mut Value)| {
        let mut body = exchange();
        change(&mut body);
        body
    };
    let cases = [
        (json!({}), "spec"),
        (with(|body| body["parameters"]["ticks"] = json!(7)), "parameters.ticks"),
        (with(|body| body["parameters"]["ticks"] = json!([])), "parameters.ticks"),
        (with(|body| body["parameters"]["tiks"] = json!([7])), "parameters.tiks"),
        (with(|body| body["design"] = json!("half")), "design"),
        (with(|body| body["replicates"] = json!(0)), "replicates"),
        (with(|body| body["replicates"] = json!(1_000_000_000)), "parameters"),
        (with(|body| body["seeds"] = json!({ "base": -1 })), "seeds"),
        (with(|body| body["budget"] = json!({ "usd": -1 })), "budget.usd"),
        (with(|body| body["spec"]["ticks"] = json!("many")), "spec.ticks"),
        (
            with(|body| body["spec"]["members"][0]["agent"] = json!("nobody")),
            "spec.members[0].agent",
        ),
    ];
    for (body, field) in cases {
        let (status, told) = ask(&server, Method::POST, "/api/experiments", body).await;
        assert!((400..500).contains(&status), "{field}: {status} {told}");
        assert_eq!(told["field"], field, "{told}");
    }
    let (status, told) = ask(&server, Method::GET, "/api/experiments/nothing", Value::Null).await;
    assert_eq!((status, &told["code"]), (404, &json!("experiment_not_found")));
}
