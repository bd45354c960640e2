//! The four patterns of sessions, over HTTP, against a running server.
//!
//! `cargo run -p dormouse-examples --example patterns`; `DORMOUSE_SERVER` names a server that is not at
//! <http://127.0.0.1:3333>, and `DORMOUSE_KEY` is a key, where it needs one. They ask the model `offline`, which needs no key:
//! without `model` in its `config`, a session asks the default of the host.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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

/// What the bug is in.
const MEAN: &str = "/// The mean of these values.
pub fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / (of.len() - 1) as f64
}
";

/// The model `offline` knows nothing of bugs: it follows the script. Any other model needs none.
const BUG: &str = r#"Mend the function mean, and note it in CHANGES.md. The mean of 1, 2 and 3 is 2, and it says 3.
#script
call Grep {"pattern": "fn mean"}
---
call Read {"file_path": "src/mean.rs"}
---
call Edit {"file_path": "src/mean.rs", "old_string": "(of.len() - 1)", "new_string": "of.len()"}
---
call Write {"file_path": "CHANGES.md", "content": "- mean: divide by how many values there are\n"}
---
say A mean divides by how many values there are, not by one less. It is mended in src/mean.rs."#;

/// A bug fix: one job, with files, tools and a budget. The session completes with its answer, and is removed a minute later.
pub async fn ephemeral(api: &Api) -> Result<()> {
    let tools = ["Read", "Grep", "Edit", "Write"];
    let config = json!({
        "model": "offline", "allowedTools": tools, "maxTurns": 10, "maxBudgetUsd": 0.5,
    });
    let new = json!({ "pattern": "ephemeral", "agent": "assistant", "config": config });
    let id = api.create(new).await?;
    api.put_file(&id, "src/mean.rs", MEAN).await?;
    println!("ephemeral: {}", api.ask(&id, BUG).await?);
    for path in ["src/mean.rs", "CHANGES.md"] {
        println!("  {path}:\n{}", api.file(&id, path).await?);
    }
    let session = api.call(Method::GET, &format!("/api/sessions/{id}"), None).await?;
    let (status, used) = (&session["status"], &session["toolsUsed"]);
    println!("  it is {status}, used {used}, and cost ${}", session["totalCost"]);
    let refused = api.ask(&id, "And now the tests").await.err().context("one job is all")?;
    println!("  and then: {refused}");
    Ok(())
}

/// An email monitor: the session looks at an inbox each minute, by its timer, and tells what is new. The inbox is a page
/// that this program serves. That agents may read it, the host has to be told.
pub async fn long_running(api: &Api) -> Result<()> {
    let inbox = Inbox::open("From Bob: lunch?").await?;
    let new = json!({
        "pattern": "long-running", "agent": "monitor", "egress": ["GET 127.0.0.1:*"],
        "config": { "model": "offline", "allowedTools": ["WebFetch"], "maxBudgetUsd": 5 },
    });
    let id = api.create(new).await?;
    let watch = json!({ "name": "inbox", "url": inbox.url, "schedule": "* * * * *" });
    println!("long-running: {}", api.ask(&id, &format!("watch {watch}")).await?);
    let timers = api.call(Method::GET, &format!("/api/sessions/{id}/timers"), None).await?;
    match &timers["timers"][0]["dueAt"] {
        Value::Null => println!(
            "  agents of this host may not read the inbox; start it like this, and run this again:\n  \
             DORMOUSE_EGRESS='GET 127.0.0.1:*' DORMOUSE_EGRESS_PRIVATE=127.0.0.1 cargo run --release"
        ),
        due => {
            api.sleep(&id).await?;
            inbox.receive("From Ann: tea at four?");
            println!("  it sleeps, a mail has come, and its timer is due at {due}");
            for turn in 2.. {
                let (sender, said) = api.turn(&id, turn).await?;
                println!("  a turn of the {sender}: {said}");
                // Where the minute was over right before the mail came.
                if !said.ends_with("nothing new") {
                    break;
                }
            }
        }
    }
    api.call(Method::POST, &format!("/api/sessions/{id}/terminate"), None).await?;
    Ok(())
}

/// A project manager: a todo list over days. Between messages the session sleeps, and takes no memory.
pub async fn hybrid(api: &Api) -> Result<()> {
    let config = json!({ "model": "offline", "allowedTools": ["TodoWrite"] });
    let new = json!({ "pattern": "hybrid", "agent": "assistant", "config": config });
    let id = api.create(new).await?;
    let list = |text: &str, picture: &str| {
        json!({ "todos": [
            { "content": "Write the text", "status": text },
            { "content": "Draw the picture", "status": picture },
        ] })
    };
    println!("hybrid: {}", api.ask(&id, "remember that we launch on Friday").await?);
    for (said, list) in [
        ("Plan the launch", list("pending", "pending")),
        ("The text is there", list("completed", "in_progress")),
    ] {
        println!("  {}", api.ask(&id, &format!("{said}: TodoWrite {list}")).await?);
        // It does so by itself, `sleepAfterMs` after a turn. The next message wakes it where it was.
        api.sleep(&id).await?;
        // The list stands in the checkpoint: to read it wakes nobody.
        let session = api.call(Method::GET, &format!("/api/sessions/{id}"), None).await?;
        let todos = session["checkpoint"]["todos"].as_array().context("there is a list")?;
        let shown = todos.iter().map(|todo| format!("{} {}", todo["status"], todo["content"]));
        let shown = shown.collect::<Vec<_>>().join(", ");
        println!("  it is {}; its list: {shown}", session["residency"]);
    }
    let answer = api.ask(&id, "what do you remember").await?;
    println!("  {}", answer.replace('\n', " "));
    Ok(())
}

/// Two players and a referee: a group of agents with one budget. The referee hands each its move, and they talk to each
/// other by name.
pub async fn single_container(api: &Api) -> Result<()> {
    let players = json!({
        "ann": { "systemPrompt": "You play white.", "description": "plays white" },
        "bob": { "systemPrompt": "You play black.", "description": "plays black" },
    });
    let config = json!({ "model": "offline", "allowedTools": ["Task"], "customAgents": players });
    let new = json!({
        "pattern": "single-container", "agent": "assistant", "maxBudgetUsd": 2, "config": config,
    });
    let id = api.create(new).await?;
    println!("single-container: {}", api.ask(&id, &game()).await?);
    let members = api.call(Method::GET, &format!("/api/sessions/{id}/members"), None).await?;
    for member in members["members"].as_array().context("there are members")? {
        println!("  {} had {} turns", member["group"]["name"], member["numTurns"]);
    }
    let session = api.call(Method::GET, &format!("/api/sessions/{id}"), None).await?;
    println!("  the referee used {}", session["toolsUsed"]);
    api.call(Method::POST, &format!("/api/sessions/{id}/terminate"), None).await?;
    Ok(())
}

/// The model `offline` knows nothing of chess: it follows the script, and what it hands on has scripts, too. Any other
/// model needs none.
fn game() -> String {
    let task = |agent: &str, prompt: &str| {
        format!("call Task {}", json!({ "agent": agent, "prompt": prompt }))
    };
    let draw = task("ann", "Bob offers a draw.\n#script\nsay Agreed.");
    let white = task("ann", "Your move.\n#script\nsay e4");
    // Bob asks Ann himself.
    let move_of_bob = "say e5, and Ann agrees to a draw.";
    let black = format!("Ann has played e4. Your move.\n#script\n{draw}\n---\n{move_of_bob}");
    let black = task("bob", &black);
    format!(
        "Let Ann and Bob play.\n#script\n{white}\n---\n{black}\n---\nsay After e4 e5 it is a draw."
    )
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

    /// Put a text file into the workspace of a session.
    async fn put_file(&self, id: &str, path: &str, text: &str) -> Result<Value> {
        let write = json!({ "operations": [{ "op": "write", "path": path, "text": text }] });
        self.call(Method::POST, &format!("/api/sessions/{id}/workspace/ops"), Some(write)).await
    }

    /// A text file of the workspace of a session.
    async fn file(&self, id: &str, path: &str) -> Result<String> {
        let path = format!("/api/sessions/{id}/workspace/{path}");
        Ok(self.send(Method::GET, &path, None).await?.error_for_status()?.text().await?)
    }

    async fn sleep(&self, id: &str) -> Result<Value> {
        self.call(Method::POST, &format!("/api/sessions/{id}/sleep"), None).await
    }

    /// Wait for a turn of the session without asking it anything: who has sent it, and what was answered.
    async fn turn(&self, id: &str, number: usize) -> Result<(String, String)> {
        let path = format!("/api/sessions/{id}/events?follow=true");
        let mut events = self.send(Method::GET, &path, None).await?;
        let mut text = String::new();
        while text.matches(r#""event_type":"session.turn.completed""#).count() < number {
            let chunk = events.chunk().await?.context("the stream of events has ended")?;
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        let path = format!("/api/sessions/{id}/turns/{number}");
        let turn = self.call(Method::GET, &path, None).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok((text(&turn["sender"]), text(&turn["response"]["content"])))
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let response = self.send(method, path, body).await?;
        let is_well = response.status().is_success();
        let answer: Value = response.json().await?;
        ensure!(is_well, "{} ({})", answer["error"], answer["code"]);
        Ok(answer)
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Response> {
        let mut request = self.http.request(method, format!("{}{path}", self.server));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        Ok(request.send().await?)
    }
}

/// An inbox: a page with a line for each mail.
struct Inbox {
    url: String,
    mails: Arc<Mutex<String>>,
}

impl Inbox {
    async fn open(mail: &str) -> Result<Inbox> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let inbox = Inbox { url, mails: Arc::new(Mutex::new(mail.to_owned())) };
        let mails = Arc::clone(&inbox.mails);
        tokio::spawn(async move {
            while let Ok((reader, _)) = listener.accept().await {
                let page = mails.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // A reader that has gone wants no page.
                let _ = show(reader, &page).await;
            }
        });
        Ok(inbox)
    }

    fn receive(&self, mail: &str) {
        let mut mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        mails.push('\n');
        mails.push_str(mail);
    }
}

async fn show(mut reader: TcpStream, page: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && reader.read_buf(&mut request).await? > 0 {}
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{page}", page.len());
    reader.write_all(answer.as_bytes()).await?;
    reader.shutdown().await
}
