//! The events of `POST /api/agent/stream`, as the later generation of clients knows them.
//!
//! Tools are told of once agents have them: until then their lists are empty.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::ignored::Ignored;
use super::message::{Dialect, StreamEvent};
use super::session::millis;
use super::value::{Id, Time};
use dormouse::{FailureCode, JsonObject, SessionId, SessionInfo, SnapshotId, TurnRecord};

/// The directory of an agent that was not given one.
const WORKSPACE: &str = "/workspace";

/// What the agent of a session has to work with.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SystemInit {
    model: Option<String>,
    tools: Vec<String>,
    cwd: String,
    #[serde(rename = "permissionMode")]
    permission_mode: String,
    mcp_servers: Vec<Value>,
    agents: Vec<String>,
}

impl From<&JsonObject> for SystemInit {
    /// From the configuration of the session.
    fn from(config: &JsonObject) -> SystemInit {
        let text = |name: &str| config.get(name).and_then(Value::as_str).map(str::to_owned);
        let agents = config.get("customAgents").and_then(Value::as_object);
        SystemInit {
            model: text("model"),
            tools: Vec::new(),
            cwd: text("workingDirectory").unwrap_or_else(|| WORKSPACE.to_owned()),
            permission_mode: text("permissionMode").unwrap_or_else(|| "default".to_owned()),
            mcp_servers: Vec::new(),
            agents: agents.map(|agents| agents.keys().cloned().collect()).unwrap_or_default(),
        }
    }
}

/// A piece of text.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TextDelta<'a> {
    pub(super) delta: super::message::Text<'a>,
}

/// The end of a turn that was answered.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct DoneBody {
    #[schemars(with = "Id")]
    session_id: String,
    /// The head of the session: what `config.resumeSessionId` takes.
    sdk_session_id: String,
    #[schemars(with = "Id")]
    message_id: String,
    turn: u64,
    num_turns: u64,
    is_error: bool,
    tools_used: Vec<String>,
    permission_denials: Vec<Value>,
    #[schemars(with = "Time")]
    timestamp: String,
    /// In milliseconds.
    latency: u64,
    cost: f64,
    usage: StreamUsage,
    #[serde(skip_serializing_if = "Ignored::is_empty")]
    ignored: Ignored,
}

#[derive(Debug, Serialize, JsonSchema)]
struct StreamUsage {
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_tokens: u64,
    cache_read_tokens: u64,
    fuel: u64,
}

/// What comes before all else. The session is as it was before the turn.
pub(crate) fn opening(dialect: Dialect, session: &SessionInfo) -> Vec<StreamEvent<'static>> {
    let init = || StreamEvent::SystemInit { data: (&session.session.profile.config).into() };
    match dialect {
        Dialect::Session => Vec::new(),
        Dialect::Agent { created: false } => vec![init()],
        Dialect::Agent { created: true } => {
            let session_id = session.session.id.to_string();
            vec![StreamEvent::SessionCreated { session_id }, init()]
        }
    }
}

/// The end of a turn that was answered, with the session after it.
pub(crate) fn done(
    turn: &TurnRecord,
    after: &SessionInfo,
    latency: Duration,
    ignored: Ignored,
) -> StreamEvent<'static> {
    let session = &after.session;
    let head: Option<SnapshotId> = session.head;
    StreamEvent::AgentDone(Box::new(DoneBody {
        session_id: session.id.to_string(),
        sdk_session_id: head.map(|head| head.to_string()).unwrap_or_default(),
        message_id: turn.id.to_string(),
        turn: turn.number,
        num_turns: 1,
        is_error: false,
        tools_used: session.tools_used.clone(),
        permission_denials: Vec::new(),
        timestamp: turn.started_at.after(turn.duration).to_string(),
        latency: millis(latency),
        cost: turn.cost.as_usd(),
        usage: StreamUsage {
            input_tokens: 0,
            output_tokens: 0,
            cache_creation_tokens: 0,
            cache_read_tokens: 0,
            fuel: turn.fuel,
        },
        ignored,
    }))
}

/// The end of a turn that somebody has ended. `None`: it has ended otherwise, or the dialect knows no such end.
pub(crate) fn aborted(
    dialect: Dialect,
    session: SessionId,
    code: Option<FailureCode>,
) -> Option<StreamEvent<'static>> {
    let code = match (dialect, code?) {
        (
            Dialect::Agent { .. },
            code @ (FailureCode::TurnKilled | FailureCode::TurnInterrupted),
        ) => code,
        (Dialect::Session | Dialect::Agent { .. }, _) => return None,
    };
    let session_id = session.to_string();
    Some(StreamEvent::Aborted { session_id, code: code.as_str(), discarded: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_agent_is_told_of_by_the_configuration_of_its_session() {
        let config = json!({ "model": "m-1", "workingDirectory": "/app", "permissionMode": "plan",
                             "customAgents": { "one": {}, "two": {} } });
        let told = |config: &Value| {
            let init = SystemInit::from(config.as_object().unwrap());
            serde_json::to_value(StreamEvent::SystemInit { data: init }).unwrap()
        };
        let expected = json!({ "type": "system_init", "data": {
            "model": "m-1", "tools": [], "cwd": "/app", "permissionMode": "plan", "mcp_servers": [],
            "agents": ["one", "two"],
        } });
        assert_eq!(told(&config), expected);
        let bare = told(&json!({ "model": 7 }));
        assert_eq!(
            (&bare["data"]["model"], &bare["data"]["cwd"]),
            (&json!(null), &json!(WORKSPACE))
        );
    }

    #[test]
    fn a_piece_of_text_has_the_shape_that_the_later_clients_know() {
        let event = StreamEvent::text(Dialect::Agent { created: true }, "hi");
        let expected = json!({ "type": "content_block_delta",
                               "data": { "delta": { "type": "text_delta", "text": "hi" } } });
        assert_eq!(serde_json::to_value(event).unwrap(), expected);
    }
}
