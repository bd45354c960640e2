//! The log of events, as the committer appends to it.
//!
//! Events lie in pieces. The last piece is open: a group that appends to it writes it anew, under
//! the cursor of its new last event, so that a slow time does not leave a key for each event. The
//! oldest pieces go as new ones are begun, beyond the number of events that are kept.

use std::collections::VecDeque;

use super::super::EmbeddedShared;
use super::super::commit::NewEvent;
use super::super::engine::Class;
use super::super::keys;
use super::super::tables::events;
use super::super::tables::events::EventRange;
use super::{CommitGroup, Now};
use crate::StoreError;
use crate::codec::{self, RecordKind};
use dormouse_domain::event::Cursor;
use dormouse_domain::id::SessionId;
use dormouse_domain::time::Timestamp;

/// The most pieces that go at once.
const GOING: usize = 64;

/// Where the log ends, and where it begins.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct LogEnds {
    /// The last event.
    pub(in super::super) cursor: Cursor,
    /// The events of the open piece.
    piece: Vec<u8>,
    /// The last event of the open piece as this group leaves it.
    kept: Option<Cursor>,
    /// The same as the group before has left it: the key may go, and the events stay.
    open: Option<Cursor>,
    /// The first pieces, as far as they are known, by their last events.
    oldest: VecDeque<Cursor>,
    /// The last event that has gone, as far as it is known.
    gone: Cursor,
}

impl LogEnds {
    /// A log that ends here. The first event that is appended begins a piece.
    pub(in super::super) fn at(cursor: Cursor) -> LogEnds {
        LogEnds { cursor, ..LogEnds::default() }
    }

    /// The same for the next group.
    pub(super) fn next(self) -> LogEnds {
        LogEnds { open: self.kept, ..self }
    }

    /// The first piece that is not open.
    fn first(&mut self, shared: &EmbeddedShared) -> Result<Option<Cursor>, StoreError> {
        if self.oldest.is_empty() {
            for entry in shared.disk.first_fronts(&[keys::EVENTS], 4 * GOING) {
                let (key, _) = entry?;
                let last = keys::number(&key).map(Cursor);
                self.oldest.extend(last.filter(|_| last != self.open));
            }
        }
        Ok(self.oldest.front().copied())
    }
}

impl CommitGroup<'_> {
    /// Append events to the log, and say where those of sessions are.
    pub(super) fn log(&mut self, events: &[NewEvent]) {
        for some in events.chunk_by(|(one, _), (next, _)| one == next) {
            for (_, event) in some {
                self.log.cursor.0 += 1;
                events::append_event(&mut self.log.piece, event);
                if self.log.piece.len() > events::PIECE {
                    self.keep_piece();
                    self.log.piece.clear();
                    self.log.kept = None;
                    self.forget_events();
                }
            }
            if let Some((Some(id), _)) = some.first()
                && self.live(*id).is_ok()
                && let Some(Now::Live(live)) = self.sessions.get_mut(id)
            {
                let count = u32::try_from(some.len()).unwrap_or(u32::MAX);
                live.cell.places.push(EventRange { last: self.log.cursor.0, count });
                live.changed = true;
                if live.cell.places.are_enough() {
                    let places = std::mem::take(&mut live.cell.places);
                    let key = keys::place(*id, self.log.cursor);
                    self.rows.seal(Class::Rows, key, places.as_bytes());
                    self.retain_places(*id);
                }
            }
        }
    }

    /// Remove the first rows of places of a session, where the events have gone.
    fn retain_places(&mut self, id: SessionId) {
        for entry in self.shared.disk.first_fronts(&keys::places(id), 2) {
            let Ok((key, _)) = entry else { return };
            if keys::number(&key).is_none_or(|last| last > self.log.gone.0) {
                return;
            }
            self.rows.remove(key);
        }
    }

    /// Write the open piece, where it has changed.
    pub(super) fn keep_piece(&mut self) {
        let (cursor, kept) = (self.log.cursor, self.log.kept);
        if self.log.piece.is_empty() || kept == Some(cursor) {
            return;
        }
        if let Some(kept) = kept {
            self.rows.remove(keys::events(kept));
        }
        let key = keys::events(cursor);
        self.rows.put_new(Class::Rows, key, codec::seal(&key, &[&self.log.piece]));
        self.log.kept = Some(cursor);
    }

    /// Remove the first pieces, where there are more events than are to be kept.
    fn forget_events(&mut self) {
        let Some(end) = self.log.cursor.0.checked_sub(self.shared.keep.events) else { return };
        self.forget_pieces(|last, _| last.0 <= end);
    }

    /// Remove the first pieces, where their last events are from before this time.
    pub(super) fn forget_events_before(&mut self, time: Timestamp) {
        self.forget_pieces(|last, shared| {
            let key = keys::events(last);
            let newest = shared.disk.get(&key).ok().flatten().and_then(|sealed| {
                let piece = codec::unseal(RecordKind::Events, &key, &sealed).ok()?;
                let events = events::read_events(&piece).ok()?;
                codec::decode_event(events.last()?).ok()
            });
            // What cannot be read is as old as what comes before it.
            newest.is_none_or(|event| event.occurred_at < time)
        });
    }

    fn forget_pieces(&mut self, is_old: impl Fn(Cursor, &EmbeddedShared) -> bool) {
        for _ in 0..GOING {
            let first = match self.log.first(self.shared) {
                Ok(first) => first,
                Err(error) => {
                    tracing::error!(%error, "old events are not removed");
                    return;
                }
            };
            match first {
                Some(last) if is_old(last, self.shared) => {
                    self.log.oldest.pop_front();
                    self.log.gone = self.log.gone.max(last);
                    self.rows.remove(keys::events(last));
                }
                _ => return,
            }
        }
    }
}
