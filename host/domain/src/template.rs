//! A template: a snapshot under a name, from which sessions start warm.

use super::id::{Principal, SnapshotId};
use super::snapshot::Snapshot;
use crate::agent::AgentRef;
use crate::time::Timestamp;

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

/// What is known of a template without its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateSummary {
    /// Its name, unique for the owner.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The agent whose state it holds.
    pub agent: AgentRef,
    /// The snapshot that it was made from.
    pub from: Option<SnapshotId>,
    /// How many bytes its state takes, shared ones included.
    pub size: usize,
    /// When it was made.
    pub created_at: Timestamp,
}

impl From<Template> for TemplateSummary {
    fn from(template: Template) -> TemplateSummary {
        TemplateSummary {
            name: template.name,
            description: template.description,
            agent: template.agent,
            from: template.snapshot.parent,
            size: template.snapshot.state.size(),
            created_at: template.created_at,
        }
    }
}
