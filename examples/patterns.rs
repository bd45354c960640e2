//! The four patterns of sessions, over HTTP, against a running server.
//!
//! `cargo run -p dormouse-examples --example patterns`; `DORMOUSE_SERVER` names a server that is not at
//! <http://127.0.0.1:3333>, and `DORMOUSE_KEY` is a key, where it needs one.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<()> {
    let server = std::env::var("DORMOUSE_SERVER");
    let server = server.unwrap_or_else(|_| "http://127.0.0.1:3333".to_owned());
    play(&Api::new(&server, std::env::var("DORMOUSE_KEY").ok())).await
}

/// Play all four.
pub async fn play(api: &Api) -> Result<()> {
    ephemeral(api).await?;
    long_running(api).await?;
    hybrid(api).await?;
    single_container(api).await
}

/// One answer to one message. The session completes with it.
async fn ephemeral(api: &Api) -> Result<()> {
    let id = api.create(json!({ "pattern": "ephemeral", "agent": "counter" })).await?;
    println!("ephemeral: {}", api.ask(&id, "summarize this").await?);
    let session = api.call(Method::GET, &format!("/api/sessions/{id}"), None).await?;
    println!("  it is {}", session["status"]);
    Ok(())
}

/// A session that hears from its client all the time. Limits bound what it may use.
async fn long_running(api: &Api) -> Result<()> {
    let limits = json!({ "maxTurns": 3, "maxIdleTimeMs": 600_000 });
    let new = json!({ "pattern": "long-running", "agent": "counter", "config": limits });
    let id = api.create(new).await?;
    for move_of_the_game in ["e4", "d4", "c4"] {
        println!("long-running: {}", api.ask(&id, move_of_the_game).await?);
    }
    let refused = api.ask(&id, "b4").await.err().context("three turns are all that it has")?;
    println!("  and then: {refused}");
    Ok(())
}

/// A conversation that one leaves and comes back to: it sleeps meanwhile, and takes no memory.
async fn hybrid(api: &Api) -> Result<()> {
    let id = api.create(json!({ "pattern": "hybrid", "agent": "notepad" })).await?;
    println!("hybrid: {}", api.ask(&id, "add buy milk").await?);
    let slept = api.call(Method::POST, &format!("/api/sessions/{id}/sleep"), None).await?;
    println!("  it is {}", slept["session"]["residency"]);
    println!("  and goes on: {}", api.ask(&id, "list").await?);
    Ok(())
}

/// Several members that share one session: each sees what the others have done.
async fn single_container(api: &Api) -> Result<()> {
    let new = json!({ "pattern": "single-container", "agent": "notepad", "tags": ["team"] });
    let id = api.create(new).await?;
    for task in ["planner: draw the plan", "builder: build the house"] {
        println!("single-container: {}", api.ask(&id, &format!("add {task}")).await?);
    }
    println!("  together: {}", api.ask(&id, "list").await?.replace('\n', " | "));
    api.call(Method::POST, &format!("/api/sessions/{id}/terminate"), None).await?;
    Ok(())
}

/// A client of the HTTP API.
pub struct Api {
    http: reqwest::Client,
    server: String,
    key: Option<String>,
}

impl Api {
    /// A client of this server, with a key where it needs one.
    pub fn new(server: &str, key: Option<String>) -> Api {
        // Dormouse brings TLS for providers of models, of which it leaves the choice to each program.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Api { http: reqwest::Client::new(), server: server.to_owned(), key }
    }

    /// Create a session, and return its id.
    async fn create(&self, session: Value) -> Result<String> {
        let session = self.call(Method::POST, "/api/sessions", Some(session)).await?;
        Ok(session["id"].as_str().context("a session has an id")?.to_owned())
    }

    /// Send a message, and wait for the answer.
    async fn ask(&self, id: &str, prompt: &str) -> Result<String> {
        let message = json!({ "prompt": prompt, "streaming": false });
        let path = format!("/api/sessions/{id}/message");
        let answer = self.call(Method::POST, &path, Some(message)).await?;
        Ok(answer["response"]["content"].as_str().context("an answer has a text")?.to_owned())
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.server));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let is_well = response.status().is_success();
        let answer: Value = response.json().await?;
        ensure!(is_well, "{} ({})", answer["error"], answer["code"]);
        Ok(answer)
    }
}
