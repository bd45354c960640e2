//! A conversation with an agent: one session, or a session for each message where the agent is a program
//! that keeps nothing.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::error::ClientError;
use super::server::{Query, Server};
use super::sessions::agent as agent_of;
use super::stream::Events;
use super::terminal::{in_one_line, plain, text};

/// The most bytes of one message: what servers take of a body unless told otherwise.
const MAX_MESSAGE: u64 = 10 << 20;

/// What the server answers where an agent serves sessions of some patterns only.
const PATTERN_UNSUPPORTED: &str = "pattern_unsupported";

/// Who a message goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Partner {
    /// The session of this id.
    Session(String),
    /// A new session of this agent for each message.
    Agent(String),
}

/// A conversation, over one server.
pub(super) struct Conversation {
    partner: Partner,
    /// The agent that answers, as one would name it.
    agent: String,
    /// Whether the session has ended with its last answer, and so takes no more messages.
    is_over: bool,
}

impl Conversation {
    /// A new session of this agent, or of the default agent of the server.
    pub(super) async fn start(
        server: &Server,
        agent: Option<&str>,
        pattern: &str,
    ) -> Result<Conversation, ClientError> {
        let mut body = json!({ "pattern": pattern });
        if let Some(agent) = agent {
            body["agent"] = agent.into();
        }
        let session = match (server.post("/api/sessions", &body).await, agent) {
            (Err(error), Some(agent)) if error.code() == Some(PATTERN_UNSUPPORTED) => {
                let (partner, agent) = (Partner::Agent(agent.to_owned()), agent.to_owned());
                return Ok(Conversation { partner, agent, is_over: false });
            }
            (session, _) => session?,
        };
        Ok(Conversation::of(&session))
    }

    /// A session that is there.
    pub(super) async fn go_on(server: &Server, id: &str) -> Result<Conversation, ClientError> {
        let session = server.get(&format!("/api/sessions/{id}"), &Query::default()).await?;
        Ok(Conversation::of(&session))
    }

    fn of(session: &Value) -> Conversation {
        let partner = Partner::Session(text(session, "id"));
        Conversation { partner, agent: agent_of(session), is_over: false }
    }

    /// The id of the session, where all messages go to one.
    pub(super) fn session(&self) -> Option<&str> {
        match &self.partner {
            Partner::Session(id) => Some(id),
            Partner::Agent(_) => None,
        }
    }

    /// Whether no message can follow.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// What this is, for people.
    pub(super) fn told(&self) -> String {
        let agent = in_one_line(&self.agent);
        match &self.partner {
            Partner::Session(id) => format!("session {} with {agent}", in_one_line(id)),
            Partner::Agent(_) => {
                format!(
                    "{agent} is a program that keeps nothing: each message is a session of its own"
                )
            }
        }
    }

    /// How to go on with it later.
    pub(super) fn how_to_go_on(&self, server: &Server) -> Option<String> {
        let id = self.session().filter(|_| !self.is_over)?;
        let named =
            if server.is_named() { format!(" --server {}", server.name()) } else { String::new() };
        Some(format!("go on with: dormouse talk --session {}{named}", in_one_line(id)))
    }

    /// Send a message, and write the answer to standard output as it comes.
    pub(super) async fn say(&mut self, server: &Server, message: &str) -> Result<(), ClientError> {
        let path = format!("/api/sessions/{}/message", self.recipient(server).await?);
        let events = server.post_stream(&path, &json!({ "prompt": message })).await?;
        let session = write_answer(server, events).await?;
        let status = text(&session, "status");
        self.is_over = self.session().is_some() && matches!(&*status, "completed" | "terminated");
        if self.is_over {
            eprintln!("the session is {status} and takes no more messages");
        }
        Ok(())
    }

    /// Send a message, and return the whole answer as the document of the server.
    pub(super) async fn ask(&self, server: &Server, message: &str) -> Result<Value, ClientError> {
        let path = format!("/api/sessions/{}/message", self.recipient(server).await?);
        server.post(&path, &json!({ "prompt": message, "streaming": false })).await
    }

    /// The id of the session that the next message goes to.
    async fn recipient(&self, server: &Server) -> Result<String, ClientError> {
        match &self.partner {
            Partner::Session(id) => Ok(id.clone()),
            Partner::Agent(agent) => {
                let new = json!({ "agent": agent, "pattern": "ephemeral" });
                Ok(text(&server.post("/api/sessions", &new).await?, "id"))
            }
        }
    }
}

/// Write the answer as it comes. Returns the session after the turn.
async fn write_answer(server: &Server, mut events: Events) -> Result<Value, ClientError> {
    let mut answer = Answer::default();
    while let Some(event) = events.next().await? {
        let mut out = io::stdout().lock();
        match answer.take(event.data) {
            Step::Write(text) => out.write_all(plain(&text).as_bytes())?,
            Step::Done(session) => {
                out.write_all(b"\n")?;
                out.flush()?;
                return Ok(session);
            }
            Step::Failed(error) => {
                if !answer.streamed.is_empty() {
                    out.write_all(b"\n")?;
                }
                out.flush()?;
                return Err(error);
            }
        }
        out.flush()?;
    }
    Err(server.lost("the answer ended early; the turn goes on, and its history will have it"))
}

/// What an event of a stream means to who reads the answer.
enum Step {
    Write(String),
    Done(Value),
    Failed(ClientError),
}

/// An answer as far as it has come.
#[derive(Default)]
struct Answer {
    streamed: String,
}

impl Answer {
    fn take(&mut self, event: Value) -> Step {
        match event["type"].as_str() {
            Some("stream_event") => {
                let text = event.pointer("/data/event/delta/text").and_then(Value::as_str);
                let text = text.unwrap_or_default();
                self.streamed.push_str(text);
                Step::Write(text.to_owned())
            }
            Some("message") => Step::Write(self.rest_of(&event["data"])),
            Some("done") => Step::Done(event["session"].clone()),
            Some("error") => {
                let (error, code) = (text(&event, "error"), text(&event, "code"));
                Step::Failed(ClientError::Refused { error, code, more: Value::Null })
            }
            // An event of the agent: for programs.
            Some(_) | None => Step::Write(String::new()),
        }
    }

    /// What the whole answer has besides what was streamed. An agent may stream something else.
    fn rest_of(&self, message: &Value) -> String {
        let whole = text(message, "content");
        let mut rest = match whole.strip_prefix(self.streamed.as_str()) {
            Some(rest) => rest.to_owned(),
            None => format!("\n{whole}"),
        };
        for part in message["parts"].as_array().into_iter().flatten() {
            if part["type"] != "text" {
                rest.push_str(&format!("\n[a part of type {}: see --json]", text(part, "type")));
            }
        }
        rest
    }
}

/// All of standard input, as one message without the line breaks at its end.
pub(super) fn whole_input() -> Result<String, ClientError> {
    let mut message = String::new();
    io::stdin().lock().take(MAX_MESSAGE + 1).read_to_string(&mut message)?;
    if message.len() as u64 > MAX_MESSAGE {
        return Err(ClientError::Usage(format!("a message may have {MAX_MESSAGE} bytes at most")));
    }
    message.truncate(message.trim_end_matches(['\n', '\r']).len());
    Ok(message)
}

/// The lines that the user types, read on a thread of their own: nothing can stop waiting for a line.
/// The channel ends with the input.
pub(super) fn lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        loop {
            let mut line = String::new();
            let read = io::stdin().lock().take(MAX_MESSAGE).read_line(&mut line);
            let line = match read {
                Ok(0) => return,
                Ok(_) => Ok(line.trim_end_matches(['\n', '\r']).to_owned()),
                Err(error) => Err(error),
            };
            let is_last = line.is_err();
            if sender.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// Ask the user for the next line.
pub(super) fn prompt() {
    if io::stdin().is_terminal() {
        eprint!("> ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(events: &[Value]) -> String {
        let mut answer = Answer::default();
        let mut told = String::new();
        for event in events {
            match answer.take(event.clone()) {
                Step::Write(text) => told.push_str(&text),
                Step::Done(_) => told.push_str("<done>"),
                Step::Failed(error) => told.push_str(&format!("<{error}>")),
            }
        }
        told
    }

    fn delta(text: &str) -> Value {
        json!({ "type": "stream_event", "data": { "event": { "delta": { "text": text } } } })
    }

    fn message(content: &str) -> Value {
        json!({ "type": "message", "data": { "content": content } })
    }

    #[test]
    fn an_answer_is_told_once_whether_it_was_streamed_or_not() {
        assert_eq!(told(&[delta("a "), delta("b"), message("a b")]), "a b");
        assert_eq!(told(&[message("a b")]), "a b");
        assert_eq!(told(&[delta("a "), message("a b")]), "a b");
        assert_eq!(told(&[delta("thinking"), message("a b")]), "thinking\na b");
        let failed = json!({ "type": "error", "error": "no", "code": "agent_failed" });
        assert_eq!(told(&[delta("a"), failed]), "a<no (agent_failed)>");
    }

    #[test]
    fn parts_that_are_no_text_are_named() {
        let parts = json!([{ "type": "text", "text": "a" }, { "type": "json", "json": 1 }]);
        let message = json!({ "type": "message", "data": { "content": "a", "parts": parts } });
        assert_eq!(told(&[message]), "a\n[a part of type json: see --json]");
    }
}
