//! Reading. All of it may block, and is called where that is allowed.
//!
//! Readers see what is durable, nothing else, although sled shows a change before it is synced:
//! - A session is read from sled first; then the index is asked whether it is in flight, and if so,
//!   what the index says is durable holds instead. [`Index::in_flight`](super::index::Index) says
//!   why this order is right.
//! - Turns are read in the same order; those of a group in flight are left out.
//! - Snapshots, blobs and templates are read in the same order. They never change: they are there or
//!   not, and what goes while it is being read is not there.
//! - Events are read up to the durable end of the log only.
//! - Listings, deadlines and agents come from the index, which changes when a group is durable.

mod snapshots;

use std::borrow::Cow;
use std::ops::RangeInclusive;

use bytes::Bytes;
use sled::IVec;

pub(super) use self::snapshots::BlobReader;
use super::Shared;
use super::cell::{self, PartRef, SessionCell};
use super::commit::is_about;
use super::keys;
use crate::event::Cursor;
use crate::session::id::SessionId;
use crate::session::record::Session;
use crate::store::codec::{self, CodecError, Kind};
use crate::store::{Logged, SessionPage, SessionQuery, StoreError};
use crate::turn::record::TurnRecord;

/// How often a value is read again, because a file that it named has been replaced meanwhile.
const TRIES: usize = 16;

/// Why a value could not be read.
pub(super) enum Unreadable {
    /// Something that it names is not there: it may have been replaced since.
    Stale,
    /// It does not decode.
    Damaged(CodecError),
    /// Reading failed.
    Failed(StoreError),
}

impl From<CodecError> for Unreadable {
    fn from(error: CodecError) -> Unreadable {
        Unreadable::Damaged(error)
    }
}

impl From<StoreError> for Unreadable {
    fn from(error: StoreError) -> Unreadable {
        Unreadable::Failed(error)
    }
}

impl Shared {
    /// The record of a session.
    pub(super) fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        self.read_session(id, |cell| self.record(cell))
    }

    /// A page of sessions. A session that changes while the page is read may have changed so that
    /// it does not match any more: then it is left out.
    pub(super) fn page(&self, query: &SessionQuery) -> Result<SessionPage, StoreError> {
        let (ids, total) = self.index().page(query);
        let mut sessions = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(session) = self.session(id)?
                && query.status.is_none_or(|status| session.state.status() == status)
            {
                sessions.push(session);
            }
        }
        Ok(SessionPage { sessions, total })
    }

    /// Turns of a session above `after`.
    pub(super) fn turns(
        &self,
        id: SessionId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<TurnRecord>, StoreError> {
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        let first = keys::turn(id, first);
        let rows = self.disk.from(&first, &first[..18]);
        let rows = rows.take(limit).collect::<Result<Vec<_>, _>>()?;
        let Some(end) = self.durable_turns(id) else { return Ok(Vec::new()) };
        let mut turns = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            if keys::number(&key).is_none_or(|number| number >= end) {
                break;
            }
            match self.read_turn(&key, &value) {
                Ok(turn) => turns.push(turn),
                Err(Unreadable::Stale) if self.durable_turns(id).is_none() => {
                    return Ok(Vec::new());
                }
                Err(error) => return Err(self.turn_error(&key, error)),
            }
        }
        Ok(turns)
    }

    /// One turn of a session.
    pub(super) fn turn(
        &self,
        id: SessionId,
        number: u64,
    ) -> Result<Option<TurnRecord>, StoreError> {
        let key = keys::turn(id, number);
        let value = self.disk.get(&key)?;
        let (Some(value), Some(end)) = (value, self.durable_turns(id)) else { return Ok(None) };
        if number >= end {
            return Ok(None);
        }
        match self.read_turn(&key, &value) {
            Ok(turn) => Ok(Some(turn)),
            Err(Unreadable::Stale) if self.durable_turns(id).is_none() => Ok(None),
            Err(error) => Err(self.turn_error(&key, error)),
        }
    }

    /// Events after `cursor`.
    pub(super) fn events_after(
        &self,
        cursor: Cursor,
        limit: usize,
    ) -> Result<Vec<Logged>, StoreError> {
        let end = self.index().cursor;
        let mut events = Vec::new();
        if limit > 0 {
            self.each_event(cursor.0.saturating_add(1)..=end.0, |event| {
                events.push(event);
                events.len() < limit
            })?;
        }
        Ok(events)
    }

    /// Events of one session after `cursor`.
    pub(super) fn session_events(
        &self,
        id: SessionId,
        cursor: Cursor,
        limit: usize,
    ) -> Result<Vec<Logged>, StoreError> {
        let end = self.index().cursor;
        let first = cursor.0.saturating_add(1);
        let mut events: Vec<Logged> = Vec::new();
        let place = keys::place(id, Cursor(first));
        for entry in self.disk.from(&place, &place[..18]) {
            let (key, value) = entry?;
            let last = keys::number(&key).unwrap_or(u64::MAX);
            if last > end.0 || events.len() >= limit {
                break;
            }
            let damaged = |error| self.damaged(&key, &error);
            let place = codec::unseal(Kind::Places, &key, &value).map_err(damaged)?;
            let count = cell::read_place(&place).map_err(damaged)?;
            let from = (last + 1).saturating_sub(count).max(first);
            self.each_event(from..=last, |event| {
                if is_about(&event.event, id) {
                    events.push(event);
                }
                events.len() < limit
            })?;
        }
        let index = self.index();
        let known = index.revision(id).is_some() || index.aside(id).is_some();
        Ok(if known { events } else { Vec::new() })
    }

    /// The durable value of the key of a session.
    fn session_value(&self, id: SessionId) -> Result<Option<IVec>, StoreError> {
        let found = self.disk.get(&keys::session(id))?;
        let index = self.index();
        if let Some(key) = index.aside(id) {
            return Err(StoreError::Damaged(key.to_owned()));
        }
        Ok(match index.in_flight(id) {
            Some(in_flight) => in_flight.durable.clone(),
            None => found,
        })
    }

    fn read_session<T>(
        &self,
        id: SessionId,
        read: impl Fn(&SessionCell<'_>) -> Result<T, Unreadable>,
    ) -> Result<Option<T>, StoreError> {
        let key = keys::session(id);
        for _ in 0..TRIES {
            let Some(value) = self.session_value(id)? else { return Ok(None) };
            let read = codec::unseal(Kind::Session, &key, &value)
                .map_err(Unreadable::from)
                .and_then(|value| read(&SessionCell::read(&value)?));
            match read {
                Ok(read) => return Ok(Some(read)),
                Err(Unreadable::Stale) => {}
                Err(Unreadable::Damaged(error)) => return Err(self.damaged(&key, &error)),
                Err(Unreadable::Failed(error)) => return Err(error),
            }
        }
        Err(self.damaged(&key, &lost()))
    }

    fn record(&self, cell: &SessionCell<'_>) -> Result<Session, Unreadable> {
        let body = self.part(Kind::Body, &cell.body)?;
        Ok(codec::decode_session(cell.front, body.as_slice())?)
    }

    /// Below which number the turns of a session are durable; `None` where there is no session.
    fn durable_turns(&self, id: SessionId) -> Option<u64> {
        let index = self.index();
        if index.revision(id).is_none() && index.aside(id).is_none() {
            return None;
        }
        Some(index.in_flight(id).map_or(u64::MAX, |in_flight| in_flight.turns_from))
    }

    fn read_turn(&self, key: &[u8], value: &[u8]) -> Result<TurnRecord, Unreadable> {
        let value = codec::unseal(Kind::Turn, key, value)?;
        let turn = self.part(Kind::TurnApart, &cell::read_turn(&value)?)?;
        Ok(codec::decode_turn(turn.as_slice())?)
    }

    fn turn_error(&self, key: &[u8], error: Unreadable) -> StoreError {
        match error {
            Unreadable::Stale => self.damaged(key, &lost()),
            Unreadable::Damaged(error) => self.damaged(key, &error),
            Unreadable::Failed(error) => error,
        }
    }

    /// Calls `each` for every event of the range, in order, until it says that this is enough.
    /// Damaged ones are passed over: nobody who follows the log could ever get past them.
    fn each_event(
        &self,
        range: RangeInclusive<u64>,
        mut each: impl FnMut(Logged) -> bool,
    ) -> Result<(), StoreError> {
        for entry in self.disk.from(&keys::events(Cursor(*range.start())), &[keys::EVENTS]) {
            let (key, value) = entry?;
            let last = keys::number(&key).unwrap_or(u64::MAX);
            let piece = match codec::unseal(Kind::Events, &key, &value) {
                Ok(piece) => piece,
                Err(error) => {
                    self.damaged(&key, &error);
                    continue;
                }
            };
            let events = cell::read_events(&piece).unwrap_or_else(|error| {
                self.damaged(&key, &error);
                Vec::new()
            });
            let first = (last + 1).saturating_sub(events.len() as u64);
            for (cursor, part) in (first..).zip(&events) {
                if cursor > *range.end() {
                    return Ok(());
                }
                if cursor < *range.start() {
                    continue;
                }
                let event = self
                    .part(Kind::EventApart, part)
                    .and_then(|event| Ok(codec::decode_event(event.as_slice())?));
                match event {
                    Ok(event) => {
                        if !each(Logged { cursor: Cursor(cursor), event }) {
                            return Ok(());
                        }
                    }
                    Err(error) => {
                        self.turn_error(&key, error);
                    }
                }
            }
        }
        Ok(())
    }

    /// The bytes of a part, read from its file if it has one.
    fn part<'a>(&self, kind: Kind, part: &PartRef<'a>) -> Result<Content<'a>, Unreadable> {
        match part {
            PartRef::Inline(bytes) => Ok(Content::Here(bytes)),
            PartRef::File(name) => match self.files.read(kind, name)? {
                Some(bytes) => Ok(Content::Apart(bytes)),
                None => Err(Unreadable::Stale),
            },
        }
    }

    fn damaged(&self, key: &[u8], error: &CodecError) -> StoreError {
        let key = keys::describe(key);
        tracing::error!(key, %error, "a value of the store is damaged");
        StoreError::Damaged(key)
    }
}

/// The bytes of a part.
enum Content<'a> {
    Here(&'a [u8]),
    Apart(Bytes),
}

impl Content<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Content::Here(bytes) => bytes,
            Content::Apart(bytes) => bytes,
        }
    }
}

fn lost() -> CodecError {
    CodecError::Malformed("a file that it names is not there".to_owned())
}

/// The agent of this value, read from its file if it has one.
pub(super) fn read_agent(
    files: &super::files::Files,
    part: &PartRef<'_>,
) -> Result<crate::agent::Agent, CodecError> {
    let bytes = match part {
        PartRef::Inline(bytes) => Cow::Borrowed(*bytes),
        PartRef::File(name) => match files.read(Kind::AgentApart, name) {
            Ok(Some(bytes)) => Cow::Owned(bytes.to_vec()),
            Ok(None) => return Err(lost()),
            Err(error) => return Err(CodecError::Malformed(error.to_string())),
        },
    };
    codec::decode_agent(&bytes)
}
