//! A template: a snapshot under a name, from which sessions start warm.

use super::creation::{InvalidField, MAX_DESCRIPTION};
use super::id::{Principal, SnapshotId};
use super::snapshot::Snapshot;
use crate::agent::{AgentName, AgentRef, InvalidName};
use crate::time::Timestamp;

/// The most templates of one owner.
pub const MAX_TEMPLATES: usize = 256;

/// The name of a template, which is spelled as those of agents are.
///
/// # Errors
/// [`InvalidName`]
pub fn named(name: &str) -> Result<AgentName, InvalidName> {
    name.parse().map_err(|error| InvalidName { what: "a name of a template", ..error })
}

/// The description of a template.
///
/// # Errors
/// [`InvalidField`] where it is too long.
pub fn described(description: Option<String>) -> Result<Option<String>, InvalidField> {
    match &description {
        Some(text) if text.chars().count() > MAX_DESCRIPTION => {
            let problem = format!("may have {MAX_DESCRIPTION} characters at most");
            Err(InvalidField::new("description", problem))
        }
        Some(_) | None => Ok(description),
    }
}

/// Whether an owner of these templates may have one of this name: it replaces one, or there is room.
#[must_use]
pub fn has_room(known: &[TemplateSummary], name: &AgentName) -> bool {
    known.len() < MAX_TEMPLATES || known.iter().any(|known| known.name == name.as_str())
}

/// A snapshot that is kept under a name, whatever becomes of the session that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its name, unique for the owner.
    pub name: String,
    /// The principal that made it. Nobody else sees it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{AgentOwner, Digest};

    fn known(count: usize) -> Vec<TemplateSummary> {
        let agent = AgentRef {
            owner: AgentOwner::Host,
            name: "counter".parse().expect("a name"),
            version: "1.0".parse().expect("a version"),
            digest: Digest::of(b"counter"),
        };
        let summary = |n: usize| TemplateSummary {
            name: format!("t{n}"),
            description: None,
            agent: agent.clone(),
            from: None,
            size: 0,
            created_at: Timestamp(0),
        };
        (0..count).map(summary).collect()
    }

    #[test]
    fn an_owner_with_all_templates_can_replace_one_and_add_none() {
        let (old, new) = (named("t0").expect("a name"), named("new").expect("a name"));
        for (count, room) in [(0, true), (MAX_TEMPLATES - 1, true), (MAX_TEMPLATES, false)] {
            assert_eq!(has_room(&known(count), &new), room, "{count}");
            assert!(has_room(&known(count), &old));
        }
    }

    #[test]
    fn a_description_is_measured_in_characters() {
        let text = |count: usize| Some("ä".repeat(count));
        assert_eq!(described(text(MAX_DESCRIPTION)), Ok(text(MAX_DESCRIPTION)));
        assert!(described(text(MAX_DESCRIPTION + 1)).is_err());
        assert_eq!(described(None), Ok(None));
    }

    #[test]
    fn what_is_no_name_says_what_it_should_be() {
        assert_eq!(named("no name").expect_err("it has a space").what, "a name of a template");
    }
}
