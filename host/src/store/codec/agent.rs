//! What is known of an agent. The bytes of its component are not part of it.

use minicbor::{CborLen, Decode, Encode};

use super::session::AgentRefRow;
use super::{CodecError, from_cbor, to_cbor};
use crate::agent::{Agent, AgentKind, Statefulness};
use crate::clock::Timestamp;
use crate::session::id::Principal;

/// The row of this agent.
pub(crate) fn encode_agent(agent: &Agent) -> Vec<u8> {
    to_cbor(&AgentRow {
        reference: AgentRefRow::of(&agent.reference),
        owner: agent.owner.as_ref().map(|owner| owner.0.as_str()),
        size: agent.size,
        kind: match agent.kind {
            AgentKind::Agent => KindRow::Agent,
            AgentKind::Command => KindRow::Command,
        },
        imports: agent.imports.iter().map(String::as_str).collect(),
        capabilities: agent.capabilities.iter().map(String::as_str).collect(),
        statefulness: match &agent.statefulness {
            Statefulness::Portable => StatefulnessRow::Portable,
            Statefulness::Image => StatefulnessRow::Image,
            Statefulness::Unsaved(reason) => StatefulnessRow::Unsaved(reason),
            Statefulness::Stateless => StatefulnessRow::Stateless,
        },
        compile_ms: agent.compile_ms,
        uploaded_at: agent.uploaded_at.0,
    })
}

/// The agent of this row.
pub(crate) fn decode_agent(bytes: &[u8]) -> Result<Agent, CodecError> {
    let row: AgentRow<'_> = from_cbor(bytes)?;
    Ok(Agent {
        reference: row.reference.reference()?,
        owner: row.owner.map(|owner| Principal(owner.to_owned())),
        size: row.size,
        kind: match row.kind {
            KindRow::Agent => AgentKind::Agent,
            KindRow::Command => AgentKind::Command,
        },
        imports: row.imports.into_iter().map(str::to_owned).collect(),
        capabilities: row.capabilities.into_iter().map(str::to_owned).collect(),
        statefulness: match row.statefulness {
            StatefulnessRow::Portable => Statefulness::Portable,
            StatefulnessRow::Image => Statefulness::Image,
            StatefulnessRow::Unsaved(reason) => Statefulness::Unsaved(reason.to_owned()),
            StatefulnessRow::Stateless => Statefulness::Stateless,
        },
        compile_ms: row.compile_ms,
        uploaded_at: Timestamp(row.uploaded_at),
    })
}

#[derive(Encode, Decode, CborLen)]
struct AgentRow<'a> {
    #[b(0)]
    reference: AgentRefRow<'a>,
    #[b(1)]
    owner: Option<&'a str>,
    #[n(2)]
    size: u64,
    #[n(3)]
    kind: KindRow,
    #[b(4)]
    imports: Vec<&'a str>,
    #[b(5)]
    capabilities: Vec<&'a str>,
    #[b(6)]
    statefulness: StatefulnessRow<'a>,
    #[n(7)]
    compile_ms: u64,
    #[n(8)]
    uploaded_at: i64,
}

#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
enum KindRow {
    #[n(0)]
    Agent,
    #[n(1)]
    Command,
}

#[derive(Encode, Decode, CborLen)]
enum StatefulnessRow<'a> {
    #[n(0)]
    Portable,
    #[n(1)]
    Unsaved(#[b(0)] &'a str),
    #[n(2)]
    Image,
    #[n(3)]
    Stateless,
}
