//! A template: a snapshot under a name, from which sessions start warm.

use super::id::Principal;
use super::snapshot::Snapshot;
use crate::agent::AgentRef;
use crate::clock::Timestamp;

/// A snapshot that is kept under a name, whatever becomes of the session that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its name, unique for the owner.
    pub name: String,
    /// Who made it. Nobody else sees it.
    pub owner: Principal,
    /// What it is for.
    pub description: Option<String>,
    /// The agent whose state it holds.
    pub agent: AgentRef,
    /// The state. Its parent is the snapshot that the template was made from.
    pub snapshot: Snapshot,
    /// When it was made.
    pub created_at: Timestamp,
}
