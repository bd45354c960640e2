//! Records for tests.

use uuid::Uuid;

use super::{DefaultLimits, NewSession, fresh};
use crate::agent::{AgentOwner, AgentRef, Digest};
use crate::id::{Principal, SessionId};
use crate::session::Session;
use crate::time::Timestamp;

/// A session that asks for nothing of its own.
pub(crate) fn session() -> Session {
    let agent = AgentRef {
        owner: AgentOwner::Host,
        name: "counter".parse().expect("a name"),
        version: "1.0".parse().expect("a version"),
        digest: Digest::of(b"counter"),
    };
    let (id, owner) = (SessionId(Uuid::from_u128(1)), Principal::local());
    let defaults = DefaultLimits::default();
    fresh(NewSession::default(), id, owner, agent, None, &defaults, Timestamp(5)).expect("bounded")
}
