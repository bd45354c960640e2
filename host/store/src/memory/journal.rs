//! The open turns, with their journals.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::MemoryStore;
use crate::page::Filling;
use crate::read::ReadJournal;
use crate::{Bound, Page, StoreError, codec};
use dormouse_domain::id::SessionId;
use dormouse_domain::journal::{JournalEntry, OpenTurn, TurnAttempts};

/// The open turn of each session that has one.
#[derive(Debug, Default)]
pub(super) struct Journals(BTreeMap<SessionId, Journal>);

#[derive(Debug)]
struct Journal {
    turn: OpenTurn,
    attempts: TurnAttempts,
    entries: BTreeMap<u32, JournalEntry>,
}

impl Journals {
    /// Whether a session has an open turn.
    pub(super) fn has(&self, id: SessionId) -> bool {
        self.0.contains_key(&id)
    }

    /// Open a turn.
    pub(super) fn open(&mut self, turn: OpenTurn) {
        let (attempts, entries) = (TurnAttempts::default(), BTreeMap::new());
        self.0.insert(turn.session, Journal { turn, attempts, entries });
    }

    /// Note how often the open turn of a session was begun.
    pub(super) fn note_attempts(&mut self, id: SessionId, attempts: TurnAttempts) {
        if let Some(journal) = self.0.get_mut(&id) {
            journal.attempts = attempts;
        }
    }

    /// Keep an entry.
    pub(super) fn put(&mut self, id: SessionId, entry: JournalEntry) {
        if let Some(journal) = self.0.get_mut(&id) {
            journal.entries.insert(entry.seq, entry);
        }
    }

    /// Remove the open turn of a session, if there is one.
    pub(super) fn close(&mut self, id: SessionId) {
        self.0.remove(&id);
    }
}

#[async_trait]
impl ReadJournal for MemoryStore {
    async fn open_turns(&self) -> Result<Vec<SessionId>, StoreError> {
        let state = self.open()?;
        let turns = state.journals.0.values().map(|journal| &journal.turn);
        let mut all: Vec<_> = turns.map(|it| (it.started_at, it.turn, it.session)).collect();
        all.sort_unstable();
        Ok(all.into_iter().map(|(_, _, session)| session).collect())
    }

    async fn open_turn(
        &self,
        session: SessionId,
    ) -> Result<Option<(OpenTurn, TurnAttempts)>, StoreError> {
        let state = self.open()?;
        let found = state.journals.0.get(&session);
        Ok(found.map(|journal| (journal.turn.clone(), journal.attempts)))
    }

    async fn journal(
        &self,
        session: SessionId,
        after: u32,
        bound: Bound,
    ) -> Result<Page<JournalEntry, u32>, StoreError> {
        let state = self.open()?;
        let mut page = Filling::new(bound);
        let (Some(journal), Some(first)) = (state.journals.0.get(&session), after.checked_add(1))
        else {
            return Ok(page.page());
        };
        for (seq, entry) in journal.entries.range(first..) {
            if !page.take(*seq, codec::encode_entry(entry).len(), entry.clone()) {
                break;
            }
        }
        Ok(page.page())
    }
}
