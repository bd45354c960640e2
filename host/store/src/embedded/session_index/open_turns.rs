//! The turns that are open: which sessions have one, when it was begun, and whether its journal is damaged.

use std::collections::HashMap;

use dormouse_domain::id::{SessionId, TurnId};
use dormouse_domain::time::Timestamp;

/// What an open turn takes in memory, in bytes, about.
const TURN: usize = 160;

/// When a turn was begun, and its name: the order of turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Begun {
    /// When its guest was called.
    pub(in super::super) at: Timestamp,
    /// Its name.
    pub(in super::super) turn: TurnId,
}

/// The open turn of each session that has one.
#[derive(Debug, Default)]
pub(in super::super) struct OpenTurns(HashMap<SessionId, Journal>);

/// What is known of the journal of a session.
#[derive(Debug, Default)]
struct Journal {
    /// `None`: the open turn is damaged.
    begun: Option<Begun>,
    /// The first row of it that has been set aside, as people read it.
    damage: Option<String>,
}

impl OpenTurns {
    /// A session has this open turn.
    pub(in super::super) fn open(&mut self, id: SessionId, begun: Begun) {
        self.0.entry(id).or_default().begun = Some(begun);
    }

    /// A row of the journal of a session has been set aside.
    pub(in super::super) fn damage(&mut self, id: SessionId, key: String) {
        self.0.entry(id).or_default().damage.get_or_insert(key);
    }

    /// A session has no open turn, and nothing that has been set aside of one.
    pub(in super::super) fn close(&mut self, id: SessionId) {
        self.0.remove(&id);
    }

    /// Whether a session has an open turn, damaged or not.
    pub(in super::super) fn has(&self, id: SessionId) -> bool {
        self.0.contains_key(&id)
    }

    /// The row that makes the journal of a session unreadable.
    pub(in super::super) fn damaged(&self, id: SessionId) -> Option<&str> {
        self.0.get(&id)?.damage.as_deref()
    }

    /// The sessions that have one, in the order in which the turns were begun.
    pub(in super::super) fn in_order(&self) -> Vec<SessionId> {
        let mut all: Vec<_> = self.0.iter().map(|(id, journal)| (journal.begun, *id)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// Bytes of memory, estimated.
    pub(super) fn bytes(&self) -> usize {
        self.0.len() * TURN
    }
}
