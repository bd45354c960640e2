//! The host that is attacked, and what is there before anybody attacks it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dormouse::Principal;
use dormouse_http::ApiKey;
use dormouse_test_guests as guests;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncRead;
use tokio::net::{TcpSocket, TcpStream};

use crate::load::connection::Connection;
use crate::{Client, Server};

/// The memory budget of the host, in bytes.
pub const BUDGET: u64 = 256 << 20;

/// The keys: of the neighbours, and of all who attack.
pub(super) const ANN: &str = "ann";
pub(super) const MALLORY: &str = "mallory";

/// How many neighbours there are.
pub(super) const NEIGHBOURS: usize = 4;
/// How often those who attack ask for something that they are to be answered with.
const TRIES: u32 = 200;
/// How many sessions attackers have that do as they are told.
const CROWD: usize = 8;
/// The most that an agent may reply with, in bytes.
pub(super) const REPLY: usize = 4 << 20;
/// Turns of such replies in one session.
const LARGE_TURNS: usize = 3;

/// What the binary is started with: little memory, and fewer places than there are attackers.
#[must_use]
pub fn arguments() -> Vec<String> {
    let key = |name: &str| ApiKey::new(Principal(name.to_owned()), name).to_string();
    let keys = [ANN, MALLORY].map(key).join(",");
    let budget = BUDGET.to_string();
    ["--api-keys", &keys, "--memory-budget", &budget, "--max-connections", "400"]
        .into_iter()
        .chain(["--max-requests", "256"])
        .map(str::to_owned)
        .collect()
}

/// Where the host listens, and the sessions that it has.
#[derive(Clone)]
pub struct Stage {
    /// The process of the host.
    pub pid: u32,
    pub(super) address: SocketAddr,
    /// A client with the key of all who attack.
    pub(super) mallory: Client,
    /// A session with turns whose replies are as large as replies may be.
    pub(super) large: String,
    /// Sessions that do as they are told.
    pub(super) crowd: Vec<String>,
    /// A session that is busy with a turn when it is told to.
    pub(super) busy: String,
    /// The sessions of the neighbours.
    pub(super) neighbours: Vec<String>,
}

impl Stage {
    /// Make all sessions on a host that has none.
    pub async fn prepare(server: &Server) -> Result<Stage> {
        let mallory = server.client().with_key(MALLORY);
        for guest in [guests::REPLIES_WITH, guests::SLEEPS_IN_TURN] {
            let (status, answer) = mallory.upload(guest.name, "1", guest.bytes).await?;
            ensure!(status == 201, "{status}: {answer}");
        }
        let large = mallory.create(&session("replies_with")).await?;
        for _ in 0..LARGE_TURNS {
            mallory.ask(&large, &format!("bytes {REPLY}")).await?;
        }
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            crowd.push(mallory.create(&session("replies_with")).await?);
        }
        let busy = mallory.create(&session("sleeps_in_turn")).await?;
        let ann = server.client().with_key(ANN);
        let mut neighbours = Vec::new();
        for agent in ["counter", "echo"].into_iter().cycle().take(NEIGHBOURS) {
            neighbours.push(ann.create(&session(agent)).await?);
        }
        let (pid, address) = (server.pid(), address(server)?);
        Ok(Stage { pid, address, mallory, large, crowd, busy, neighbours })
    }

    /// The same sessions, on a host that was started anew.
    pub fn on(&self, server: &Server) -> Result<Stage> {
        let (pid, address) = (server.pid(), address(server)?);
        let mallory = server.client().with_key(MALLORY);
        Ok(Stage { pid, address, mallory, ..self.clone() })
    }

    /// What those who attack have been billed, in nano-USD.
    pub async fn bill(&self) -> Result<f64> {
        let mut sum = 0.0;
        for id in self.crowd.iter().chain([&self.busy, &self.large]) {
            sum += self.cost(id).await?;
        }
        Ok(sum)
    }

    /// What turns of a session have cost, in nano-USD.
    async fn cost(&self, id: &str) -> Result<f64> {
        let path = format!("/api/sessions/{id}");
        let mut tries = 1;
        let session = loop {
            match self.mallory.get(&path).await {
                Ok((StatusCode::OK, session)) => break session,
                // What they have held until now is about to be given back.
                Ok(_) | Err(_) if tries < TRIES => tries += 1,
                refused => bail!("{refused:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        Ok(session["totalCost"].as_f64().context("a session has a cost")? * 1e9)
    }

    /// A connection whose client takes few bytes that it does not read.
    pub(super) async fn connect(&self) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(16 << 10)?;
        Ok(socket.connect(self.address).await?)
    }

    /// A connection of somebody who reads answers.
    pub(super) async fn client(&self) -> Result<Connection> {
        Connection::open_with_key(self.address, MALLORY).await
    }

    /// One of the sessions that do as they are told.
    pub(super) fn one(&self, number: usize) -> &str {
        &self.crowd[number % CROWD]
    }

    /// The bytes of a request.
    pub(super) fn get(&self, path: &str) -> Vec<u8> {
        let address = self.address;
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {MALLORY}\r\n\r\n")
            .into()
    }

    /// The head of a request with a body of so many bytes.
    pub(super) fn head(&self, path: &str, kind: &str, length: usize) -> Vec<u8> {
        let address = self.address;
        format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {MALLORY}\r\n\
             content-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        )
        .into()
    }

    /// A request with a JSON document.
    pub(super) fn post(&self, path: &str, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        [self.head(path, "application/json", body.len()), body.into_bytes()].concat()
    }
}

/// How long a client keeps what it has, before it begins again.
pub(super) async fn hold() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

/// Read to the end of a connection, and keep nothing.
pub(super) async fn forget(mut read: impl AsyncRead + Unpin) -> Result<()> {
    tokio::io::copy(&mut read, &mut tokio::io::sink()).await?;
    Ok(())
}

fn session(agent: &str) -> Value {
    // How long a commit takes is a matter of the disk.
    json!({ "agent": agent, "pattern": "long-running", "durability": "sleep" })
}

fn address(server: &Server) -> Result<SocketAddr> {
    Ok(server.base().strip_prefix("http://").context("an address")?.parse()?)
}
