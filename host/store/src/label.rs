//! What lists find sessions by, in few bytes: the index keeps the labels of all sessions in memory.

use crate::query::conversation;
use dormouse_domain::agent::AgentRef;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::session::Session;
use dormouse_domain::state::Status;

/// A label of the sessions of one owner: the first 16 bytes of the BLAKE3 hash of the owner, of what
/// kind of label it is, and of its text. Two different labels have the same key as good as never, and
/// only an owner who made 2⁶⁴ labels could find two of his own that have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LabelKey(pub(crate) [u8; 16]);

/// What a label says. The numbers are a part of what is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LabelKind {
    /// The user that a session serves.
    User = 1,
    /// One of its tags.
    Tag = 2,
    /// The thread that it continues.
    Thread = 3,
    /// The caller's conversation.
    Conversation = 4,
    /// Its project.
    Project = 5,
    /// Its pattern and its status.
    State = 6,
    /// The agent that serves it.
    Agent = 7,
}

impl LabelKey {
    /// The label of this text.
    pub(crate) fn new(owner: &str, kind: LabelKind, text: &str) -> LabelKey {
        LabelKey::of(owner, kind, text.as_bytes())
    }

    /// The label that all sessions of an owner have that are of one pattern and in one status.
    pub(crate) fn state(owner: &str, pattern: Pattern, status: Status) -> LabelKey {
        LabelKey::of(owner, LabelKind::State, &[pattern as u8, status as u8])
    }

    /// The label that all sessions of an owner have that this agent serves.
    pub(crate) fn agent(owner: &str, agent: &AgentRef) -> LabelKey {
        let text = [&agent.digest.0, agent.to_string().as_bytes()].concat();
        LabelKey::of(owner, LabelKind::Agent, &text)
    }

    fn of(owner: &str, kind: LabelKind, text: &[u8]) -> LabelKey {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind as u8]);
        hasher.update(&(owner.len() as u64).to_le_bytes());
        hasher.update(owner.as_bytes());
        hasher.update(text);
        LabelKey::first_of(&hasher)
    }

    /// The key of a set of labels, which stand in order.
    pub(crate) fn of_set(labels: &[LabelKey]) -> LabelKey {
        let mut hasher = blake3::Hasher::new();
        for label in labels {
            hasher.update(&label.0);
        }
        LabelKey::first_of(&hasher)
    }

    fn first_of(hasher: &blake3::Hasher) -> LabelKey {
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        LabelKey(key)
    }
}

/// The labels that the body of a record has. The front has their keys, so that the index can be made of
/// fronts alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grouping {
    pub(crate) thread: Option<LabelKey>,
    pub(crate) conversation: Option<LabelKey>,
    pub(crate) project: Option<LabelKey>,
}

impl Grouping {
    /// Those of this record, which has a body.
    pub(crate) fn of(session: &Session) -> Grouping {
        let (owner, profile) = (&session.owner.0, &session.profile);
        let key = |kind, text: &str| LabelKey::new(owner, kind, text);
        let id = profile.conversation_id.as_ref().map(conversation);
        Grouping {
            thread: profile.thread_key.as_deref().map(|text| key(LabelKind::Thread, text)),
            conversation: id.map(|id| key(LabelKind::Conversation, &id)),
            project: profile.project_id.as_deref().map(|text| key(LabelKind::Project, text)),
        }
    }
}

/// The labels of a session that statistics are kept by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CellLabels {
    /// The user.
    pub(crate) user: Option<LabelKey>,
    /// The tags, each once, in order.
    pub(crate) tags: Box<[LabelKey]>,
}

impl CellLabels {
    /// Those of this record. Its front is enough for that.
    pub(crate) fn of(session: &Session) -> CellLabels {
        let (owner, profile) = (&session.owner.0, &session.profile);
        let tag = |tag: &String| LabelKey::new(owner, LabelKind::Tag, tag);
        let mut tags: Vec<_> = profile.tags.iter().map(tag).collect();
        tags.sort_unstable();
        tags.dedup();
        let user = profile.user_id.as_deref();
        CellLabels {
            user: user.map(|user| LabelKey::new(owner, LabelKind::User, user)),
            tags: tags.into(),
        }
    }

    /// None of all.
    pub(crate) fn none() -> CellLabels {
        CellLabels { user: None, tags: Box::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_of_its_owner_and_of_its_kind() {
        let keys = [
            LabelKey::new("ann", LabelKind::User, "bob"),
            LabelKey::new("ann", LabelKind::Tag, "bob"),
            LabelKey::new("annb", LabelKind::User, "ob"),
            LabelKey::new("ben", LabelKind::User, "bob"),
            LabelKey::state("ann", Pattern::Hybrid, Status::Idle),
            LabelKey::state("ann", Pattern::Hybrid, Status::Active),
        ];
        for (place, key) in keys.iter().enumerate() {
            assert!(!keys[..place].contains(key), "{place}");
        }
        assert_eq!(keys[0], LabelKey::new("ann", LabelKind::User, "bob"));
    }
}
