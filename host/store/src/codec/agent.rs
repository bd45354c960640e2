//! What is known of an agent. The bytes of its component are not part of it.

use minicbor::{CborLen, Decode, Encode};

use super::session::AgentRefRow;
use super::{CodecError, from_cbor, to_cbor};
use dormouse_domain::agent::{
    Agent, AgentOwner, ComponentInfo, ComponentKind, Export, Exports, StartRandomness,
    Statefulness, Visibility,
};
use dormouse_domain::id::Principal;
use dormouse_domain::time::Timestamp;

/// The row of this agent.
pub(crate) fn encode_agent(agent: &Agent) -> Vec<u8> {
    to_cbor(&AgentRow {
        reference: AgentRefRow::of(&agent.reference),
        uploader: None,
        size: agent.size,
        kind: match agent.component.exports.kind() {
            Some(ComponentKind::Agent) | None => KindRow::Agent,
            Some(ComponentKind::Command) => KindRow::Command,
            Some(ComponentKind::Population) => KindRow::Population,
        },
        imports: agent.component.imports.iter().map(String::as_str).collect(),
        capabilities: agent.component.capabilities.iter().map(String::as_str).collect(),
        statefulness: match &agent.component.statefulness {
            Statefulness::Portable => StatefulnessRow::Portable,
            Statefulness::Image => StatefulnessRow::Image,
            Statefulness::Unsaved(reason) => StatefulnessRow::Unsaved(reason),
            Statefulness::Stateless => StatefulnessRow::Stateless,
        },
        compile_ms: agent.compile_ms,
        uploaded_at: agent.uploaded_at.0,
        is_public: (agent.visibility == Visibility::Public).then_some(true),
        start_fuel: Some(agent.component.start_fuel).filter(|fuel| *fuel > 0),
        shares_start_randomness: (agent.component.start_randomness == StartRandomness::Shared)
            .then_some(true),
    })
}

/// The agent of this row.
pub(crate) fn decode_agent(bytes: &[u8]) -> Result<Agent, CodecError> {
    let row: AgentRow<'_> = from_cbor(bytes)?;
    let exports = exports(&row);
    let mut reference = row.reference.reference()?;
    if let Some(uploader) = row.uploader {
        reference.owner = AgentOwner::Principal(Principal(uploader.to_owned()));
    }
    Ok(Agent {
        reference,
        visibility: match row.is_public {
            Some(true) => Visibility::Public,
            Some(false) | None => Visibility::Private,
        },
        size: row.size,
        component: ComponentInfo {
            exports,
            imports: row.imports.into_iter().map(str::to_owned).collect(),
            capabilities: row.capabilities.into_iter().map(str::to_owned).collect(),
            statefulness: match row.statefulness {
                StatefulnessRow::Portable => Statefulness::Portable,
                StatefulnessRow::Image => Statefulness::Image,
                StatefulnessRow::Unsaved(reason) => Statefulness::Unsaved(reason.to_owned()),
                StatefulnessRow::Stateless => Statefulness::Stateless,
            },
            start_fuel: row.start_fuel.unwrap_or(0),
            start_randomness: match row.shares_start_randomness {
                Some(true) => StartRandomness::Shared,
                Some(false) | None => StartRandomness::None,
            },
        },
        compile_ms: row.compile_ms,
        uploaded_at: Timestamp(row.uploaded_at),
    })
}

/// What the row says of the exports: what answers a turn, and whether the agent saves its own state.
fn exports(row: &AgentRow<'_>) -> Exports {
    let answers = match row.kind {
        KindRow::Agent => Export::Handler,
        KindRow::Command => Export::Command,
        KindRow::Population => Export::Population,
    };
    let state = matches!(row.statefulness, StatefulnessRow::Portable).then_some(Export::State);
    state.into_iter().chain([answers]).collect()
}

#[derive(Encode, Decode, CborLen)]
struct AgentRow<'a> {
    #[b(0)]
    reference: AgentRefRow<'a>,
    /// The principal that uploaded the agent, as format 2 had it. Now the reference has it.
    #[b(1)]
    uploader: Option<&'a str>,
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
    /// Absent: it is private.
    #[n(9)]
    is_public: Option<bool>,
    /// Absent: none.
    #[n(10)]
    start_fuel: Option<u64>,
    /// Absent where its instances draw none.
    #[n(11)]
    shares_start_randomness: Option<bool>,
}

/// The owner of an agent, where it may not be known.
#[derive(Encode, Decode, CborLen)]
pub(super) enum OwnerRow<'a> {
    #[n(0)]
    Host,
    #[n(1)]
    Principal(#[b(0)] &'a str),
}

impl OwnerRow<'_> {
    pub(super) fn of(owner: &AgentOwner) -> OwnerRow<'_> {
        match owner {
            AgentOwner::Host => OwnerRow::Host,
            AgentOwner::Principal(owner) => OwnerRow::Principal(&owner.0),
        }
    }

    pub(super) fn owner(self) -> AgentOwner {
        match self {
            OwnerRow::Host => AgentOwner::Host,
            OwnerRow::Principal(owner) => AgentOwner::Principal(Principal(owner.to_owned())),
        }
    }
}

#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
enum KindRow {
    #[n(0)]
    Agent,
    #[n(1)]
    Command,
    #[n(2)]
    Population,
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
