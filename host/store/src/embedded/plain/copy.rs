//! From the old form of everything to the present one.

mod history;

use std::collections::HashSet;

use super::super::blob::{self, BlobId};
use super::super::cell as new;
use super::super::disk::Disk;
use super::super::engine::Class;
use super::super::{OpenError, keys};
use super::cell::{blob_of, read_agent, read_events};
use super::fill::Fill;
use super::old::{Old, Unreadable, found};
use crate::codec::{self, CodecError, Kind};
use dormouse_domain::agent::Digest;
use dormouse_domain::event::Cursor;

/// How much has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sessions: u64,
    pub(super) snapshots: u64,
    pub(super) turns: u64,
    pub(super) events: u64,
    pub(super) agents: u64,
    pub(super) templates: u64,
    pub(super) blobs: u64,
    /// What was damaged, or had lost a part.
    pub(super) damaged: u64,
    /// Files of large values that nothing has pointed to.
    pub(super) strays: u64,
}

/// Write everything that is in the old store to the new one. All of it is durable then.
pub(super) fn copy(old: &Old, disk: &Disk) -> Result<Counts, OpenError> {
    let mut copy =
        Copy { old, new: Fill::new(disk), lost: HashSet::new(), counts: Counts::default() };
    // Whether what snapshots refer to is there has to be known before they come.
    copy.blobs()?;
    copy.agents()?;
    copy.events()?;
    copy.sessions()?;
    copy.set_aside()?;
    copy.being_removed()?;
    copy.templates()?;
    copy.new.flush()?;
    copy.counts.strays = old.strays()?;
    if copy.counts.strays > 0 {
        let files = copy.counts.strays;
        tracing::warn!(
            files,
            "nothing points to some files: they are of commits that were cut off, or sled has lost \
             what it had of them"
        );
    }
    Ok(copy.counts)
}

struct Copy<'a> {
    old: &'a Old,
    new: Fill<'a>,
    /// Blobs that cannot be read.
    lost: HashSet<BlobId>,
    counts: Counts,
}

impl Copy<'_> {
    fn blobs(&mut self) -> Result<(), OpenError> {
        self.old.each(&[keys::BLOB], |key, value| {
            let Some(id) = blob_of(key) else {
                return self.move_aside(key, value, &CodecError::Checksum);
            };
            match found(self.old.blob(&id, value))? {
                Ok((uses, bytes)) => {
                    self.counts.blobs += 1;
                    self.new.stage(&keys::content(&id), bytes)?;
                    self.new.seal(Class::Inline, key, &blob::write_uses(uses))
                }
                Err(error) => {
                    self.damaged(key, &error, "a blob cannot be read: what needs it is damaged");
                    self.lost.insert(id);
                    Ok(())
                }
            }
        })?;
        self.new.flush()
    }

    fn agents(&mut self) -> Result<(), OpenError> {
        let mut digests = HashSet::new();
        // Of one that is set aside, now or before, nobody knows the component.
        let mut are_known = true;
        self.old.each(&[keys::ASIDE, keys::AGENT], |_, _| {
            are_known = false;
            Ok(())
        })?;
        self.old.each(&[keys::AGENT], |key, value| {
            let read = codec::unseal(Kind::Agent, key, value).map_err(Unreadable::from);
            let read = read.and_then(|value| {
                let (sequence, part) = read_agent(&value)?;
                let agent = self.old.part(Kind::AgentApart, part)?;
                let digest = codec::decode_agent(&agent)?.reference.digest;
                Ok((new::write_agent(sequence, &agent), digest))
            });
            match found(read)? {
                Ok((agent, digest)) => {
                    self.counts.agents += 1;
                    digests.insert(digest);
                    self.new.seal(Class::Rows, key, &agent)
                }
                Err(error) => {
                    are_known = false;
                    self.move_aside(key, value, &error)
                }
            }
        })?;
        self.components(digests, are_known)
    }

    /// Those of these digests, and where not all that are needed are known, the others too.
    fn components(
        &mut self,
        mut missing: HashSet<Digest>,
        are_known: bool,
    ) -> Result<(), OpenError> {
        for digest in self.old.components()? {
            if !missing.contains(&digest) && are_known {
                continue;
            }
            if let Ok(component) = found(self.old.component(digest))? {
                self.new.stage(&keys::component(digest), component)?;
                missing.remove(&digest);
            }
        }
        for digest in missing {
            let error = CodecError::Malformed("its file is damaged or not there".to_owned());
            let what = "a component is lost: its agents do not start any more";
            self.damaged(&keys::component(digest), &error, what);
        }
        Ok(())
    }

    /// Events keep their cursors. Pieces are put together as they would be now.
    fn events(&mut self) -> Result<(), OpenError> {
        let mut piece = Piece::default();
        self.old.each(&[keys::EVENTS], |key, value| {
            let last = keys::number(key).unwrap_or(0);
            let read = codec::unseal(Kind::Events, key, value).map_err(Unreadable::from);
            let events = read.and_then(|value| {
                let parts = read_events(&value)?;
                Ok(parts.into_iter().map(|part| self.old.part(Kind::EventApart, part)).collect())
            });
            let events: Vec<_> = match found(events)? {
                Ok(events) => events,
                Err(error) => {
                    self.end_piece(&mut piece)?;
                    self.damaged(key, &error, "events are damaged, and are passed over");
                    // The cursors of the next events come after it.
                    return self.new.put(Class::Rows, key, value.to_vec());
                }
            };
            let first = (last + 1).saturating_sub(events.len() as u64);
            if piece.last + 1 != first {
                self.end_piece(&mut piece)?;
            }
            for (cursor, event) in (first..).zip(events) {
                let event = match found(event)? {
                    Ok(event) => event,
                    Err(error) => {
                        self.damaged(key, &error, "an event is lost, and is passed over");
                        Vec::new()
                    }
                };
                self.counts.events += 1;
                new::append_event(&mut piece.events, &event);
                piece.last = cursor;
                if piece.events.len() > new::PIECE {
                    self.end_piece(&mut piece)?;
                }
            }
            Ok(())
        })?;
        self.end_piece(&mut piece)
    }

    fn end_piece(&mut self, piece: &mut Piece) -> Result<(), OpenError> {
        let events = std::mem::take(&mut piece.events);
        if events.is_empty() {
            return Ok(());
        }
        self.new.seal(Class::Rows, &keys::events(Cursor(piece.last)), &events)
    }

    /// Keep a value that cannot be read where nothing looks for it.
    fn move_aside(
        &mut self,
        key: &[u8],
        value: &[u8],
        error: &CodecError,
    ) -> Result<(), OpenError> {
        self.damaged(key, error, "a record is damaged and has been set aside");
        self.new.put(Class::Rows, &keys::aside(key), value.to_vec())
    }

    fn damaged(&mut self, key: &[u8], error: &CodecError, what: &str) {
        self.counts.damaged += 1;
        tracing::error!(key = keys::describe(key), %error, "{what}");
    }
}

/// Events on their way into a piece of the log.
#[derive(Default)]
struct Piece {
    events: Vec<u8>,
    /// The cursor of the last of them.
    last: u64,
}
