//! Reading. All of it may block, and is called where that is allowed.
//!
//! The engine shows what is durable and nothing else. What lies under several keys is read in an
//! order in which nothing is missed:
//! - The newest turns and places of events lie in the value of the session, and are moved from there
//!   to rows. So the session is read first, and what is found in both counts once.
//! - Snapshots, blobs and templates never change: they are there or not, and what goes while it is
//!   being read is not there.
//! - Events are read up to the end that the index in memory knows.

mod snapshots;

use std::ops::RangeInclusive;

use bytes::Bytes;

use super::EmbeddedShared;
use super::commit::is_about;
use super::commit_group::shared_bytes;
use super::keys;
use super::session_index::{AddingUp, ListingBuilder};
use super::tables::events::EventRange;
use super::tables::events::EventRanges;
use super::tables::sessions::SessionCell;
use super::tables::turns::Turns;
use super::tables::{events, sessions};
use crate::codec::{self, CodecError, RecordKind};
use crate::page::Filling;
use crate::{
    Bound, EventEntry, PAGE_BYTES, Page, SessionPage, SessionQuery, Statistics, StatisticsQuery,
    StoreError,
};
use dormouse_domain::agent::Digest;
use dormouse_domain::event::Cursor;
use dormouse_domain::id::SessionId;
use dormouse_domain::session::Session;
use dormouse_domain::state::{Cause, State};
use dormouse_domain::turn::TurnRecord;

/// How often a value is read again, because what it named has been replaced meanwhile.
const TRIES: usize = 16;

/// Why a value could not be read.
pub(super) enum UnreadableValue {
    /// Something that it names is not there: it may have been replaced since.
    Stale,
    /// It does not decode.
    Damaged(CodecError),
    /// Reading failed.
    Failed(StoreError),
}

impl From<CodecError> for UnreadableValue {
    fn from(error: CodecError) -> UnreadableValue {
        UnreadableValue::Damaged(error)
    }
}

impl From<StoreError> for UnreadableValue {
    fn from(error: StoreError) -> UnreadableValue {
        match error {
            StoreError::Damaged(_) => UnreadableValue::Damaged(CodecError::Checksum),
            other => UnreadableValue::Failed(other),
        }
    }
}

impl EmbeddedShared {
    /// The record of a session. One that is damaged is in `error`, and only what it is listed by is
    /// known of it.
    pub(super) fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        Ok(self.measured_session(id)?.map(|(session, _)| session))
    }

    /// The same with the bytes that it takes.
    fn measured_session(&self, id: SessionId) -> Result<Option<(Session, usize)>, StoreError> {
        let record = |cell: &SessionCell| {
            let bytes = cell.front.len() + cell.body.len();
            Ok((codec::decode_session(&cell.front, &cell.body)?, bytes))
        };
        let found = self.cell(id).and_then(|cell| {
            let decoded = cell.as_ref().map(record).transpose();
            decoded.map_err(|error| self.damaged(&keys::session(id), &error))
        });
        match found {
            Err(damaged @ StoreError::Damaged(_)) => match self.front(id) {
                Some(session) => Ok(Some((session, 0))),
                None => Err(damaged),
            },
            found => found,
        }
    }

    /// A page of sessions. A session that changes while the page is read may have changed so that
    /// it does not match any more: then it is left out.
    pub(super) fn page(&self, query: &SessionQuery) -> Result<SessionPage, StoreError> {
        let mut listing = ListingBuilder::new(query.start()?);
        while !listing.done {
            self.index().list(query, &mut listing);
        }
        let total = listing.total;
        let places = listing.page(query);
        let (last, goes_on) = (places.last().copied(), places.len() > query.limit);
        let mut sessions = Filling::new(Bound { entries: query.limit, bytes: PAGE_BYTES });
        for place in places {
            match self.measured_session(place.id) {
                Ok(Some((session, bytes))) if query.matches(&session) => {
                    if !sessions.take(place, bytes, session) {
                        break;
                    }
                }
                // It has been named in the log; the others can be listed all the same.
                Ok(_) | Err(StoreError::Damaged(_)) => sessions.pass_over(place),
                Err(error) => return Err(error),
            }
        }
        let Page { entries, next } = sessions.page();
        // Where some have changed meanwhile, the page is not full and the list may go on all the same.
        let next = next.or(last.filter(|_| goes_on && query.limit > 0));
        Ok(SessionPage { sessions: entries, total, next })
    }

    /// What the sessions that match come to.
    pub(super) fn statistics(&self, query: &StatisticsQuery) -> Statistics {
        let mut sums = AddingUp::default();
        while !sums.done {
            self.index().add_up(query, &mut sums);
        }
        sums.statistics
    }

    /// Turns of a session above `after`.
    pub(super) fn turns(
        &self,
        id: SessionId,
        after: u64,
        bound: Bound,
    ) -> Result<Page<TurnRecord, u64>, StoreError> {
        let mut turns = Filling::new(bound);
        let Some(first) = after.checked_add(1) else { return Ok(turns.page()) };
        let Some(tail) = self.tail(id, |cell| cell.turns)? else { return Ok(turns.page()) };
        // What the tail had when it was read may be in a row by now.
        let end = tail.first().unwrap_or(u64::MAX);
        for entry in self.disk.from(&keys::turn(id, first), &keys::turns(id)) {
            let (key, sealed) = entry?;
            let row = self.read_turns(&key, &sealed)?;
            self.take_turns(&key, &row, first..=end - 1, &mut turns)?;
            if turns.is_full() {
                return Ok(turns.page());
            }
        }
        self.take_turns(&keys::session(id), &tail, first..=u64::MAX, &mut turns)?;
        Ok(turns.page())
    }

    /// One turn of a session.
    pub(super) fn turn(
        &self,
        id: SessionId,
        number: u64,
    ) -> Result<Option<TurnRecord>, StoreError> {
        let Some(tail) = self.tail(id, |cell| cell.turns)? else { return Ok(None) };
        let mut turns = Filling::new(Bound::entries(1));
        if tail.first().is_some_and(|first| number >= first) {
            self.take_turns(&keys::session(id), &tail, number..=number, &mut turns)?;
        } else if let Some(entry) = self.disk.from(&keys::turn(id, number), &keys::turns(id)).next()
        {
            let (key, sealed) = entry?;
            let row = self.read_turns(&key, &sealed)?;
            self.take_turns(&key, &row, number..=number, &mut turns)?;
        }
        Ok(turns.page().entries.pop())
    }

    /// Events after `cursor`.
    pub(super) fn events_after(
        &self,
        cursor: Cursor,
        bound: Bound,
    ) -> Result<Page<EventEntry, Cursor>, StoreError> {
        let end = self.index().cursor;
        let mut events = Filling::new(bound);
        self.each_event(cursor.0.saturating_add(1)..=end.0, |event, bytes| {
            events.take(event.cursor, bytes, event)
        })?;
        Ok(events.page())
    }

    /// Events of one session after `cursor`.
    pub(super) fn session_events(
        &self,
        id: SessionId,
        cursor: Cursor,
        bound: Bound,
    ) -> Result<Page<EventEntry, Cursor>, StoreError> {
        let mut events = Filling::new(bound);
        let first = cursor.0.saturating_add(1);
        let Some(tail) = self.tail(id, |cell| cell.places)? else { return Ok(events.page()) };
        // After the tail, so that nothing in it lies beyond.
        let end = self.index().cursor;
        let mut done = first;
        let mut read = |places: &EventRanges| {
            for EventRange { last, count } in places.iter() {
                if last < done || last > end.0 || events.is_full() {
                    continue;
                }
                let from = (last + 1).saturating_sub(u64::from(count)).max(done);
                self.each_event(from..=last, |event, bytes| {
                    !is_about(&event.event, id) || events.take(event.cursor, bytes, event)
                })?;
                done = last + 1;
            }
            Ok::<bool, StoreError>(!events.is_full())
        };
        for entry in self.disk.from(&keys::place(id, Cursor(first)), &keys::places(id)) {
            let (key, sealed) = entry?;
            let damaged = |error| self.damaged(&key, &error);
            let row = codec::unseal(RecordKind::Places, &key, &sealed).map_err(damaged)?;
            if !read(&EventRanges::read(&row).map_err(damaged)?)? {
                break;
            }
        }
        read(&tail)?;
        Ok(events.page())
    }

    /// The bytes of a component, checked against the digest.
    pub(super) fn component(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        let key = keys::component(digest);
        let Some(bytes) = self.disk.get(&key)? else { return Ok(None) };
        if Digest::of(&bytes) == digest {
            Ok(Some(bytes))
        } else {
            let error = CodecError::Malformed("it is not what its digest says".to_owned());
            Err(self.damaged(&key, &error))
        }
    }

    /// Whether the component of every agent is known, so that others may be removed.
    pub(super) fn all_agents_are_known(&self) -> bool {
        self.disk.first_fronts(&[keys::ASIDE, keys::AGENT], 1).next().is_none()
    }

    /// The value of a session.
    fn cell(&self, id: SessionId) -> Result<Option<SessionCell>, StoreError> {
        if let Some(key) = self.index().aside(id) {
            return Err(StoreError::Damaged(key.to_owned()));
        }
        let key = keys::session(id);
        let Some(sealed) = self.disk.get(&key)? else { return Ok(None) };
        let value = codec::unseal(RecordKind::Session, &key, &sealed);
        let cell = value.and_then(|value| SessionCell::read(&shared_bytes(&sealed, value)));
        cell.map(Some).map_err(|error| self.damaged(&key, &error))
    }

    /// What the index has of the value of a session that is damaged.
    fn front(&self, id: SessionId) -> Option<Session> {
        let (_, front) = self.disk.first_fronts(&keys::session(id), 1).next()?.ok()?;
        let mut session = codec::decode_front(sessions::read_front(&front).ok()?).ok()?;
        session.state = State::Error(Cause::RecordDamaged.into());
        Some(session)
    }

    /// Something that goes along with the record of a session. Of a damaged record it is lost, and
    /// what lies in rows can still be read. `None` where there is no session.
    fn tail<T: Default>(
        &self,
        id: SessionId,
        tail: impl Fn(SessionCell) -> T,
    ) -> Result<Option<T>, StoreError> {
        match self.cell(id) {
            Ok(cell) => Ok(cell.map(tail)),
            Err(StoreError::Damaged(_)) => Ok(Some(T::default())),
            Err(error) => Err(error),
        }
    }

    fn read_turns(&self, key: &[u8], sealed: &[u8]) -> Result<Turns, StoreError> {
        let row = codec::unseal(RecordKind::Turn, key, sealed).and_then(|row| Turns::read(&row));
        row.map_err(|error| self.damaged(key, &error))
    }

    /// Append those of these turns that have such numbers.
    fn take_turns(
        &self,
        key: &[u8],
        from: &Turns,
        numbers: RangeInclusive<u64>,
        turns: &mut Filling<TurnRecord, u64>,
    ) -> Result<(), StoreError> {
        for turn in from.iter() {
            let (number, turn) = turn.map_err(|error| self.damaged(key, &error))?;
            if numbers.contains(&number) && turns.takes(turn.len()) {
                let decoded = codec::decode_turn(turn);
                let decoded = decoded.map_err(|error| self.damaged(key, &error))?;
                turns.take(number, turn.len(), decoded);
            }
        }
        Ok(())
    }

    /// Calls `each` for every event of the range and the bytes that it takes, in order, until it says
    /// that this is enough.
    /// Damaged ones are passed over: nobody who follows the log could ever get past them.
    fn each_event(
        &self,
        range: RangeInclusive<u64>,
        mut each: impl FnMut(EventEntry, usize) -> bool,
    ) -> Result<(), StoreError> {
        // The open piece may come twice, when it is written anew under a later key meanwhile.
        let mut next = *range.start();
        for entry in self.disk.from(&keys::events(Cursor(*range.start())), &[keys::EVENTS]) {
            let (key, sealed) = match entry {
                Ok(entry) => entry,
                // It has been named in the log.
                Err(StoreError::Damaged(_)) => continue,
                Err(error) => return Err(error),
            };
            let last = keys::number(&key).unwrap_or(u64::MAX);
            let piece = match codec::unseal(RecordKind::Events, &key, &sealed) {
                Ok(piece) => piece,
                Err(error) => {
                    self.damaged(&key, &error);
                    continue;
                }
            };
            let events = events::read_events(&piece).unwrap_or_else(|error| {
                self.damaged(&key, &error);
                Vec::new()
            });
            let first = (last + 1).saturating_sub(events.len() as u64);
            for (cursor, event) in (first..).zip(&events) {
                if cursor > *range.end() {
                    return Ok(());
                }
                if cursor < next {
                    continue;
                }
                next = cursor + 1;
                match codec::decode_event(event) {
                    Ok(decoded) => {
                        let logged = EventEntry { cursor: Cursor(cursor), event: decoded };
                        if !each(logged, event.len()) {
                            return Ok(());
                        }
                    }
                    Err(error) => {
                        self.damaged(&key, &error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Name a value in the log that is damaged.
    pub(super) fn damaged(&self, key: &[u8], error: &CodecError) -> StoreError {
        let key = keys::describe(key);
        tracing::error!(key, %error, "a value of the store is damaged");
        StoreError::Damaged(key)
    }
}

fn lost() -> CodecError {
    CodecError::Malformed("something that it names is not there".to_owned())
}
