//! The journals of open turns: what a group adds to them, and how it removes them.

use std::collections::HashMap;

use super::super::commit::{EncodedWrite, NewOpenTurn, RowValue};
use super::super::disk::ReadExtent;
use super::super::keys;
use super::super::session_index::Begun;
use super::super::tables::journal;
use super::CommitGroup;
use crate::StoreError;
use dormouse_domain::id::SessionId;

/// What the removal of a row takes, in bytes, about.
const KEY: usize = 64;

/// What a group makes of journals.
#[derive(Default)]
pub(super) struct Journals {
    /// The sessions whose turns it opens or closes, with what is true after it.
    turns: HashMap<SessionId, Option<Begun>>,
    /// The rows that it has written.
    written: HashMap<SessionId, Vec<Vec<u8>>>,
}

impl Journals {
    /// What the index is to know.
    pub(super) fn finish(self) -> HashMap<SessionId, Option<Begun>> {
        self.turns
    }
}

impl CommitGroup<'_> {
    /// Whether a session has no open turn.
    pub(in super::super) fn expect_no_open_turn(&self, id: SessionId) -> Result<(), StoreError> {
        if self.has_open_turn(id) { Err(StoreError::Conflict(id)) } else { Ok(()) }
    }

    /// Whether a session has an open turn, or gets one by these changes.
    pub(super) fn expect_open_turn(
        &self,
        id: SessionId,
        changes: &[EncodedWrite],
    ) -> Result<(), StoreError> {
        let opens =
            |change: &EncodedWrite| matches!(change, EncodedWrite::OpenTurn(turn) if turn.id == id);
        let is_open = self.has_open_turn(id) || changes.iter().any(opens);
        if is_open { Ok(()) } else { Err(StoreError::Conflict(id)) }
    }

    fn has_open_turn(&self, id: SessionId) -> bool {
        match self.journals.turns.get(&id) {
            Some(begun) => begun.is_some(),
            None => self.shared.index().open_turns.has(id),
        }
    }

    /// Open a turn.
    pub(super) fn open_turn(&mut self, turn: NewOpenTurn) {
        let NewOpenTurn { id, begun, row, input } = turn;
        self.journals.turns.insert(id, Some(begun));
        self.put_journal(id, journal::open(id).to_vec(), RowValue::Here(row));
        self.put_journal(id, journal::input(id).to_vec(), input);
    }

    /// Give a row of a journal its value. What is staged is in the batch already.
    pub(super) fn put_journal(&mut self, id: SessionId, key: Vec<u8>, value: RowValue) {
        match value {
            RowValue::Here(value) => self.rows.place(journal::class(&key), &key, value),
            RowValue::Staged(_) => self.rows.let_go(&key),
        }
        self.journals.written.entry(id).or_default().push(key);
    }

    /// A session is removed: what it had in its journal is purged with what else it leaves behind.
    pub(super) fn forget_turn(&mut self, id: SessionId) {
        self.journals.turns.insert(id, None);
    }

    /// Remove the open turn of a session, with its journal. What cannot be listed now stays until the session
    /// goes, and nobody reads it.
    pub(super) fn close_turn(&mut self, id: SessionId) {
        for key in self.journals.written.remove(&id).unwrap_or_default() {
            self.rows.remove(key);
        }
        if self.shared.index().open_turns.has(id) {
            let prefix = journal::rows(id);
            for prefix in [prefix.to_vec(), keys::aside(&prefix)] {
                for entry in self.shared.disk.walk(&prefix, ReadExtent::Front) {
                    match entry {
                        Ok((key, _)) => {
                            self.loaded += KEY;
                            self.rows.remove(key);
                        }
                        Err(error) => {
                            tracing::error!(session = %id, %error, "a journal is not removed");
                            break;
                        }
                    }
                }
            }
        }
        self.journals.turns.insert(id, None);
    }
}
