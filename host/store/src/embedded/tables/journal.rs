//! The journals of open turns.
//!
//! | key | value |
//! | --- | --- |
//! | `j` session `a` | how often the turn was begun |
//! | `j` session `e` number | an entry |
//! | `j` session `i` | what was sent to the turn |
//! | `j` session `o` | the open turn, without that |
//!
//! All of it goes with the commit that ends the turn. A large entry or input is staged: the log and the committer,
//! for which all sessions wait, do not have its bytes. A row that is damaged is set aside, and then nothing of that
//! journal is read any more: a turn that went on without an entry would pay for it twice.

pub(super) mod check;

use async_trait::async_trait;
use bytes::Bytes;

use super::super::commit::{BlobPlacer, EncodedWrite, NewOpenTurn, RowValue};
use super::super::disk::ReadExtent;
use super::super::engine::{self, Class};
use super::super::keys::{self, of_session};
use super::super::recovery::Recovery;
use super::super::session_index::Begun;
use super::super::upkeep::audit::Audit;
use super::super::upkeep::repair::Repairer;
use super::super::{Embedded, EmbeddedShared, OpenError};
use super::{Table, idempotency, malformed};
use crate::codec::{self, CodecError, RecordKind};
use crate::page::Filling;
use crate::read::ReadJournal;
use crate::upkeep::UpkeepError;
use crate::{Bound, Page, StoreError};
use dormouse_domain::id::SessionId;
use dormouse_domain::journal::{JournalEntry, OpenTurn, TurnAttempts};

/// The prefix of all journals.
const JOURNAL: u8 = b'j';
/// What follows the session.
const ATTEMPTS: u8 = b'a';
const ENTRY: u8 = b'e';
const INPUT: u8 = b'i';
const OPEN: u8 = b'o';

/// The journals.
pub(super) struct JournalTable;

/// What a row of a journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JournalRow {
    Attempts,
    Entry(u32),
    Input,
    Open,
}

/// The prefix of the journal of a session.
pub(in super::super) fn rows(id: SessionId) -> [u8; 17] {
    of_session(JOURNAL, id)
}

fn row(id: SessionId, kind: u8) -> [u8; 18] {
    let mut key = [kind; 18];
    key[..17].copy_from_slice(&rows(id));
    key
}

/// The open turn of a session.
pub(in super::super) fn open(id: SessionId) -> [u8; 18] {
    row(id, OPEN)
}

/// What was sent to it.
pub(in super::super) fn input(id: SessionId) -> [u8; 18] {
    row(id, INPUT)
}

fn attempts(id: SessionId) -> [u8; 18] {
    row(id, ATTEMPTS)
}

fn entry(id: SessionId, seq: u32) -> [u8; 22] {
    let mut key = [0; 22];
    key[..18].copy_from_slice(&row(id, ENTRY));
    key[18..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The session that this key is of, and what it is.
fn row_of(key: &[u8]) -> Option<(SessionId, JournalRow)> {
    let row = match key.get(17..)? {
        [ATTEMPTS] => JournalRow::Attempts,
        [ENTRY, seq @ ..] => JournalRow::Entry(u32::from_be_bytes(seq.try_into().ok()?)),
        [INPUT] => JournalRow::Input,
        [OPEN] => JournalRow::Open,
        _ => return None,
    };
    Some((keys::session_in(key)?, row))
}

/// The session whose journal this key is a row of, whatever row that is.
pub(super) fn session_of(key: &[u8]) -> Option<SessionId> {
    keys::session_in(key).filter(|_| key.first() == Some(&JOURNAL))
}

/// How the engine keeps a row: opening the store reads no pack for the open turns.
pub(in super::super) fn class(key: &[u8]) -> Class {
    match row_of(key) {
        Some((_, JournalRow::Open | JournalRow::Attempts)) => Class::Inline,
        Some((_, JournalRow::Entry(_) | JournalRow::Input)) | None => Class::Head,
    }
}

/// An open turn, encoded.
pub(super) fn encode_open(
    placer: &mut BlobPlacer<'_>,
    turn: &OpenTurn,
) -> Result<EncodedWrite, StoreError> {
    if let Some((key, _)) = &turn.key {
        idempotency::check(key)?;
    }
    let id = turn.session;
    let (open, input) = (open(id), input(id));
    Ok(EncodedWrite::OpenTurn(Box::new(NewOpenTurn {
        id,
        begun: begun(turn),
        row: codec::seal(&open, &[&codec::encode_open_turn(turn)]),
        input: place(placer, &input, &codec::encode_input(&turn.input)),
    })))
}

/// How often a turn was begun, encoded.
pub(super) fn encode_attempts(id: SessionId, count: TurnAttempts) -> EncodedWrite {
    let key = attempts(id);
    let value = codec::seal(&key, &[&codec::encode_attempts(count)]);
    EncodedWrite::Journal(id, key.to_vec(), RowValue::Here(value))
}

/// An entry, encoded.
pub(super) fn encode_entry(
    placer: &mut BlobPlacer<'_>,
    id: SessionId,
    written: &JournalEntry,
) -> EncodedWrite {
    let key = entry(id, written.seq);
    let value = place(placer, &key, &codec::encode_entry(written));
    EncodedWrite::Journal(id, key.to_vec(), value)
}

/// A value in its envelope. One that is large goes to the placer.
fn place(placer: &mut BlobPlacer<'_>, key: &[u8], value: &[u8]) -> RowValue {
    let sealed = codec::seal(key, &[value]);
    if sealed.len() < engine::STAGE {
        return RowValue::Here(sealed);
    }
    let bytes = sealed.len();
    placer.stage(key, sealed.into());
    RowValue::Staged(bytes)
}

fn begun(turn: &OpenTurn) -> Begun {
    Begun { at: turn.started_at, turn: turn.turn }
}

fn decode_open(key: &[u8], value: &[u8]) -> Result<OpenTurn, CodecError> {
    let value = codec::unseal(RecordKind::Row, key, value)?;
    let turn = codec::decode_open_turn(&value)?;
    if open(turn.session) == key { Ok(turn) } else { Err(malformed("it is of another session")) }
}

fn decode_entry(key: &[u8], value: &[u8]) -> Result<JournalEntry, CodecError> {
    let value = codec::unseal(RecordKind::Row, key, value)?;
    let read = codec::decode_entry(&value)?;
    match row_of(key) {
        Some((_, JournalRow::Entry(seq))) if seq == read.seq => Ok(read),
        _ => Err(malformed("it is another entry")),
    }
}

impl EmbeddedShared {
    /// The open turn of a session. Nothing of it changes but the attempts while it is open.
    fn open_turn(&self, id: SessionId) -> Result<Option<(OpenTurn, TurnAttempts)>, StoreError> {
        let key = open(id);
        let Some(row) = self.disk.get(&key)? else { return Ok(None) };
        let mut turn = decode_open(&key, &row).map_err(|error| self.damaged(&key, &error))?;
        let read = |key: &[u8]| {
            let Some(sealed) = self.disk.get(key)? else { return Ok(None) };
            let value = codec::unseal(RecordKind::Row, key, &sealed);
            Ok(Some(value.map_err(|error| self.damaged(key, &error))?.into_owned()))
        };
        let key = attempts(id);
        let count = match read(&key)? {
            Some(value) => {
                codec::decode_attempts(&value).map_err(|error| self.damaged(&key, &error))?
            }
            None => TurnAttempts::default(),
        };
        let key = input(id);
        match read(&key)? {
            Some(value) => {
                turn.input =
                    codec::decode_input(&value).map_err(|error| self.damaged(&key, &error))?;
                Ok(Some((turn, count)))
            }
            // It has been closed meanwhile, or what was sent to it is lost.
            None if self.disk.get(&open(id))?.is_none() => Ok(None),
            None => Err(self.damaged(&key, &malformed("it is not there"))),
        }
    }

    /// Entries of a journal above `after`.
    fn journal(
        &self,
        id: SessionId,
        after: u32,
        bound: Bound,
    ) -> Result<Page<JournalEntry, u32>, StoreError> {
        let mut page = Filling::new(bound);
        let Some(mut next) = after.checked_add(1) else { return Ok(page.page()) };
        for found in self.disk.from(&entry(id, next), &row(id, ENTRY)) {
            let (key, value) = found?;
            let missing = entry(id, next);
            if *key != missing {
                return Err(self.damaged(&missing, &malformed("it is not there")));
            }
            if !page.takes(value.len()) {
                break;
            }
            let read = decode_entry(&key, &value).map_err(|error| self.damaged(&key, &error))?;
            page.take(next, value.len(), read);
            next += 1;
        }
        Ok(page.page())
    }
}

impl Table for JournalTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&JOURNAL)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        let (id, row) = row_of(key)?;
        Some(match row {
            JournalRow::Attempts => format!("session/{id}/open-turn/attempts"),
            JournalRow::Entry(seq) => format!("session/{id}/journal/{seq}"),
            JournalRow::Input => format!("session/{id}/open-turn/input"),
            JournalRow::Open => format!("session/{id}/open-turn"),
        })
    }

    /// What is set aside makes the journal unreadable. The session itself is well: so a row belongs to none.
    fn is_missed(&self) -> bool {
        true
    }

    fn recover(&self, recovery: &mut Recovery<'_>) -> Result<(), OpenError> {
        recovery.each(&[JOURNAL], ReadExtent::Front, |index, key, value| {
            if let Some((id, JournalRow::Open)) = row_of(key) {
                index.open_turns.open(id, begun(&decode_open(key, value)?));
            }
            Ok(())
        })
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let (id, row) = row_of(key).ok_or_else(|| malformed("nobody has written this"))?;
        let unsealed = || codec::unseal(RecordKind::Row, key, value);
        let number = match row {
            JournalRow::Attempts => codec::decode_attempts(&unsealed()?).map(|_| None)?,
            JournalRow::Entry(_) => decode_entry(key, value).map(|_| None)?,
            JournalRow::Input => codec::decode_input(&unsealed()?).map(|_| None)?,
            JournalRow::Open => Some(decode_open(key, value)?.number),
        };
        check::see(audit, id, row, number);
        Ok(())
    }

    fn lose(&self, audit: &mut Audit, key: &[u8]) {
        check::lose(audit, key);
    }

    fn set_aside(&self, audit: &mut Audit, key: &[u8]) {
        check::lose(audit, key);
    }

    fn compare(&self, audit: &mut Audit) {
        check::compare(audit);
    }

    fn repair(&self, repairer: &mut Repairer<'_>) -> Result<(), UpkeepError> {
        check::repair(repairer)
    }
}

impl Embedded {
    /// Whether a session has an open turn.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where a row of its journal has been set aside.
    fn has_journal(&self, id: SessionId) -> Result<bool, StoreError> {
        self.ask(|index| match index.open_turns.damaged(id) {
            Some(key) => Err(StoreError::Damaged(key.to_owned())),
            None => Ok(index.open_turns.has(id)),
        })?
    }
}

#[async_trait]
impl ReadJournal for Embedded {
    async fn open_turns(&self) -> Result<Vec<SessionId>, StoreError> {
        self.ask(|index| index.open_turns.in_order())
    }

    async fn open_turn(
        &self,
        session: SessionId,
    ) -> Result<Option<(OpenTurn, TurnAttempts)>, StoreError> {
        if !self.has_journal(session)? {
            return Ok(None);
        }
        self.read(move |shared| shared.open_turn(session)).await
    }

    async fn journal(
        &self,
        session: SessionId,
        after: u32,
        bound: Bound,
    ) -> Result<Page<JournalEntry, u32>, StoreError> {
        if !self.has_journal(session)? {
            return Ok(Page { entries: Vec::new(), next: None });
        }
        self.read(move |shared| shared.journal(session, after, bound)).await
    }
}
