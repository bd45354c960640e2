//! Sessions with their snapshots, turns and places of events; and templates.

use std::collections::HashMap;

use bytes::Bytes;

use super::super::super::blob::{self, BlobId, Contents};
use super::super::super::cell::{
    KeptSnapshot, Place, Places, SessionCell, SnapshotCell, TemplateCell, Turns,
};
use super::super::super::commit::{self, NewSnapshot};
use super::super::super::engine::Class;
use super::super::super::{OpenError, keys};
use super::super::cell::{self, Part, read_place};
use super::super::old::{Found, Unreadable, found};
use super::Copy;
use crate::codec::{self, CodecError, Kind};
use dormouse_domain::event::Cursor;
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::snapshot::Snapshot;

/// What there is of a session apart from its record.
#[derive(Default)]
struct Rows {
    /// The newest turns, and the number of the last.
    turns: (Turns, u64),
    /// The places of the newest events, and the cursor of the last.
    places: (Places, Cursor),
    /// Its snapshots, and whether each has something in blobs.
    snapshots: HashMap<SnapshotId, bool>,
}

impl Copy<'_> {
    pub(super) fn sessions(&mut self) -> Result<(), OpenError> {
        self.old.each(&[keys::SESSION], |key, value| {
            let Some(id) = keys::session_of(keys::SESSION, key) else {
                return self.move_aside(key, value, &CodecError::Checksum);
            };
            let rows = self.rows(id)?;
            let unsealed = codec::unseal(Kind::Session, key, value).map_err(Unreadable::from);
            let unsealed = found(unsealed)?;
            let cell = unsealed.as_ref().map_err(Clone::clone);
            match cell.and_then(|value| session(id, value)) {
                Ok(cell) => self.session(id, &cell, rows),
                Err(error) => {
                    self.move_aside(key, value, &error)?;
                    self.end(id, rows)
                }
            }
        })
    }

    /// What has been set aside before stays so, with what belongs to it.
    pub(super) fn set_aside(&mut self) -> Result<(), OpenError> {
        self.old.each(&[keys::ASIDE], |key, value| {
            self.new.put(Class::Rows, key, value.to_vec())?;
            match keys::session_of(keys::SESSION, &key[1..]) {
                Some(id) if !self.old.has(&key[1..])? => {
                    let rows = self.rows(id)?;
                    self.end(id, rows)
                }
                _ => Ok(()),
            }
        })
    }

    /// Of sessions that are being removed only what has blobs is needed, to let go of them.
    pub(super) fn being_removed(&mut self) -> Result<(), OpenError> {
        self.old.each(&[keys::GONE], |key, _| {
            let Some(id) = keys::session_of(keys::GONE, key) else { return Ok(()) };
            self.new.seal(Class::Inline, key, &[])?;
            self.old.each(&keys::rows(id), |key, value| match keys::snapshot_of(key) {
                Some(snapshot) => self.snapshot(id, snapshot, value).map(drop),
                None => Ok(()),
            })
        })
    }

    pub(super) fn templates(&mut self) -> Result<(), OpenError> {
        self.old.each(&[keys::TEMPLATE], |key, value| {
            let read = codec::unseal(Kind::Template, key, value).map_err(Unreadable::from);
            let blobs = read.and_then(|value| self.blobs_of(&TemplateCell::read(&value)?.snapshot));
            match found(blobs)? {
                Ok(blobs) if self.are_there(&blobs) => {
                    self.counts.templates += 1;
                    self.new.put(Class::Rows, key, value.to_vec())
                }
                Ok(blobs) => {
                    self.let_go(&blobs)?;
                    self.move_aside(key, value, &lost())
                }
                Err(error) => self.move_aside(key, value, &error),
            }
        })
    }

    /// A session whose record has been taken apart.
    fn session(
        &mut self,
        id: SessionId,
        old: &cell::SessionCell<'_>,
        mut rows: Rows,
    ) -> Result<(), OpenError> {
        self.counts.sessions += 1;
        let key = keys::session(id);
        if let Some(head) = &old.head {
            self.head(id, old, *head, &mut rows)?;
        }
        let class = SessionCell::class(old.front);
        let shares = |id| rows.snapshots.get(&id).copied().unwrap_or_default();
        let snapshots = old.snapshots.iter();
        let snapshots = snapshots.map(|id| KeptSnapshot { id: *id, shares: shares(*id) }).collect();
        match found(self.old.part(Kind::Body, old.body))? {
            Ok(body) => {
                let cell = SessionCell {
                    front: Bytes::copy_from_slice(old.front),
                    body: body.into(),
                    snapshots,
                    turns: rows.turns.0,
                    places: rows.places.0,
                };
                self.new.put(class, &key, cell.seal(&key))
            }
            Err(error) => {
                self.damaged(&key, &error, "of a record only the front can be read");
                self.new.put(class, &key, codec::seal(&key, &[&length(old.front), old.front]))?;
                self.end(id, rows)
            }
        }
    }

    /// The only snapshot of a session of layout 1.
    fn head(
        &mut self,
        id: SessionId,
        old: &cell::SessionCell<'_>,
        head: Part<'_>,
        rows: &mut Rows,
    ) -> Result<(), OpenError> {
        let decode = |bytes: Vec<u8>| -> Result<Snapshot, Unreadable> {
            let head = codec::decode_snapshot(&bytes.into())?;
            let is_it = old.snapshots.contains(&head.id);
            let other = || CodecError::Malformed("it is another snapshot".to_owned());
            is_it.then_some(head).ok_or_else(|| other().into())
        };
        match found(self.old.part(Kind::Head, head).and_then(decode))? {
            Ok(snapshot) => {
                let mut places = commit::Places::default();
                let NewSnapshot { id: name, value, shares } = places.snapshot(id, snapshot);
                self.share(places.finish()?)?;
                self.keep(id, name, value)?;
                rows.snapshots.insert(name, shares);
            }
            Err(error) => {
                for name in &old.snapshots {
                    let key = keys::snapshot(id, *name);
                    self.damaged(&key, &error, "the snapshot of a session is damaged");
                    self.keep(id, *name, codec::seal(&key, &[]))?;
                    rows.snapshots.insert(*name, true);
                }
            }
        }
        Ok(())
    }

    /// Bring blobs, and count what refers to them.
    fn share(&mut self, shares: commit::Shares) -> Result<(), OpenError> {
        let brought = match shares.contents {
            Contents::Here(blobs) => blobs,
            Contents::None | Contents::Staged { .. } => Vec::new(),
        };
        for (id, bytes) in brought {
            if self.new.uses(&id)? == 0 {
                self.counts.blobs += 1;
                self.new.stage(&keys::content(&id), bytes)?;
            }
        }
        for (id, more) in shares.uses {
            let uses = self.new.uses(&id)?;
            self.new.set_uses(&id, uses + more)?;
        }
        Ok(())
    }

    /// What a session has in rows. The snapshots are written, and so are turns and places, but for
    /// those that go along with the record.
    fn rows(&mut self, id: SessionId) -> Result<Rows, OpenError> {
        let mut rows = Rows::default();
        let (turns, places) = (keys::turns(id), keys::places(id));
        self.old.each(&keys::rows(id), |key, value| {
            if let Some(snapshot) = keys::snapshot_of(key) {
                let shares = self.snapshot(id, snapshot, value)?;
                rows.snapshots.insert(snapshot, shares);
                Ok(())
            } else if key.starts_with(&turns) {
                self.turn(id, key, value, &mut rows)
            } else if key.starts_with(&places) {
                self.place(id, key, value, &mut rows)
            } else {
                self.move_aside(key, value, &CodecError::Checksum)
            }
        })?;
        Ok(rows)
    }

    fn turn(
        &mut self,
        id: SessionId,
        key: &[u8],
        value: &[u8],
        rows: &mut Rows,
    ) -> Result<(), OpenError> {
        let number = keys::number(key).unwrap_or_default();
        let read = codec::unseal(Kind::Turn, key, value).map_err(Unreadable::from);
        let turn = read.and_then(|value| self.old.part(Kind::TurnApart, Part::read(&value)?));
        match found(turn)? {
            Ok(turn) => {
                self.counts.turns += 1;
                rows.turns.0.push(number, &turn);
                rows.turns.1 = number;
                if rows.turns.0.are_enough() { self.end_turns(id, rows) } else { Ok(()) }
            }
            Err(error) => self.move_aside(key, value, &error),
        }
    }

    fn place(
        &mut self,
        id: SessionId,
        key: &[u8],
        value: &[u8],
        rows: &mut Rows,
    ) -> Result<(), OpenError> {
        let last = keys::number(key).unwrap_or_default();
        let read = codec::unseal(Kind::Places, key, value).map_err(Unreadable::from);
        match found(read.and_then(|value| Ok(read_place(&value)?)))? {
            Ok(count) => {
                rows.places.0.push(Place { last, count });
                rows.places.1 = Cursor(last);
                if rows.places.0.are_enough() { self.end_places(id, rows) } else { Ok(()) }
            }
            Err(error) => self.move_aside(key, value, &error),
        }
    }

    /// Write what would go along with the record, where there is none that it could go along with.
    fn end(&mut self, id: SessionId, mut rows: Rows) -> Result<(), OpenError> {
        self.end_turns(id, &mut rows)?;
        self.end_places(id, &mut rows)
    }

    fn end_turns(&mut self, id: SessionId, rows: &mut Rows) -> Result<(), OpenError> {
        let (turns, last) = std::mem::take(&mut rows.turns);
        if turns.as_bytes().is_empty() {
            return Ok(());
        }
        self.new.seal(Class::Rows, &keys::turn(id, last), turns.as_bytes())
    }

    fn end_places(&mut self, id: SessionId, rows: &mut Rows) -> Result<(), OpenError> {
        let (places, last) = std::mem::take(&mut rows.places);
        if places.as_bytes().is_empty() {
            return Ok(());
        }
        self.new.seal(Class::Rows, &keys::place(id, last), places.as_bytes())
    }

    /// A snapshot in a row of its own. Returns whether it has, or may have, something in blobs.
    fn snapshot(
        &mut self,
        session: SessionId,
        id: SnapshotId,
        value: &[u8],
    ) -> Result<bool, OpenError> {
        let key = keys::snapshot(session, id);
        let (blobs, outline) = match self.outlined(&key, value)? {
            Ok(read) => read,
            Err(error) => {
                self.damaged(&key, &error, "a snapshot is damaged");
                self.keep(session, id, value.to_vec())?;
                return Ok(true);
            }
        };
        if self.are_there(&blobs) {
            self.keep(session, id, value.to_vec())?;
        } else {
            self.damaged(&key, &lost(), "a snapshot has lost a part, and is kept in outline only");
            self.let_go(&blobs)?;
            self.keep(session, id, codec::seal(&key, &[&length(&outline), &outline]))?;
        }
        Ok(!blobs.is_empty())
    }

    /// What a snapshot refers to, and its outline.
    fn outlined(&self, key: &[u8], value: &[u8]) -> Found<(Vec<BlobId>, Vec<u8>)> {
        let read = codec::unseal(Kind::Snapshot, key, value).map_err(Unreadable::from);
        found(read.and_then(|value| {
            let cell = SnapshotCell::read(&value)?;
            Ok((self.blobs_of(&cell)?, cell.outline.to_vec()))
        }))
    }

    fn keep(
        &mut self,
        session: SessionId,
        id: SnapshotId,
        value: Vec<u8>,
    ) -> Result<(), OpenError> {
        self.counts.snapshots += 1;
        self.new.seal(Class::Inline, &keys::holder(id), session.0.as_bytes())?;
        self.new.put(Class::Head, &keys::snapshot(session, id), value)
    }

    /// All blobs that a snapshot refers to, each once; where their list is lost, without those in it.
    fn blobs_of(&self, cell: &SnapshotCell<'_>) -> Result<Vec<BlobId>, Unreadable> {
        blob::named_by(cell, |list| {
            if self.lost.contains(list) {
                return Ok(None);
            }
            let found = self.new.get(&keys::content(list)).map_err(Unreadable::Failed)?;
            Ok(Some(found.ok_or_else(lost)?))
        })
    }

    fn are_there(&self, blobs: &[BlobId]) -> bool {
        !blobs.iter().any(|id| self.lost.contains(id))
    }

    /// Nothing refers to these blobs on behalf of something any more.
    fn let_go(&mut self, blobs: &[BlobId]) -> Result<(), OpenError> {
        for id in blobs {
            let uses = self.new.uses(id)?;
            if uses > 0 {
                self.new.set_uses(id, uses - 1)?;
            }
        }
        Ok(())
    }
}

/// The value of a session, whose front has to be that of this session.
fn session(id: SessionId, value: &[u8]) -> Result<cell::SessionCell<'_>, CodecError> {
    let cell = cell::SessionCell::read(value)?;
    if codec::decode_front(cell.front)?.id == id {
        Ok(cell)
    } else {
        Err(CodecError::Malformed("it is another session".to_owned()))
    }
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("it is a part of a value of sled").to_le_bytes()
}

fn lost() -> CodecError {
    CodecError::Malformed("something that it names is not there".to_owned())
}
