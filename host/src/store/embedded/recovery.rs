//! From what is on the disk to a store that can be used.
//!
//! One walk over the sessions rebuilds the index. A value that does not decode is set aside under
//! a key of its own and named in the log; everything else starts. Nothing is guessed: a value of a
//! newer format is not damaged, and the store does not open at all.

use std::collections::HashSet;

use bytes::Bytes;
use sled::{Batch, IVec};

use super::OpenError;
use super::cell::{AgentCell, SessionCell, TemplateCell};
use super::disk::Disk;
use super::files::Files;
use super::index::{AgentKey, Facts, Index, Uploaded, agent_key};
use super::query::read_agent;
use super::{disk, keys};
use crate::agent::Agent;
use crate::clock::Clock;
use crate::event::Cursor;
use crate::session::id::SessionId;
use crate::store::StoreError;
use crate::store::codec::{self, CodecError, Kind};

/// The layout of keys and files, as `keys`, `cell` and `files` describe it.
const LAYOUT: u8 = 2;
/// The layout that [`upgrade`](super::upgrade) leads from.
const FIRST: u8 = 1;

/// What was found.
pub(super) struct Recovered {
    /// The index.
    pub(super) index: Index,
    /// The secret of the store.
    pub(super) secret: [u8; 32],
    /// Deleted sessions that have left something behind.
    pub(super) gone: Vec<SessionId>,
    /// Where the store has its first layout, the sessions whose heads are to be moved.
    pub(super) old_heads: Option<Vec<SessionId>>,
}

/// Rebuild what memory knows, and remove what a crash has left behind.
pub(super) fn recover(disk: &Disk, files: &Files) -> Result<Recovered, OpenError> {
    let layout = note(disk, keys::FORMAT)?;
    let is_first = layout.as_deref() == Some(&[FIRST]);
    let secret = match layout {
        None => create(disk)?,
        Some(layout) if is_first || *layout == [LAYOUT] => {
            let secret = note(disk, keys::SECRET)?;
            let secret = secret.and_then(|secret| <[u8; 32]>::try_from(&*secret).ok());
            secret.ok_or_else(|| OpenError::Damaged("its secret is lost".to_owned()))?
        }
        Some(layout) => {
            return Err(OpenError::NewerFormat(format!("its layout is {layout:?}")));
        }
    };
    let mut walk = Walk::default();
    walk.sessions(disk)?;
    let agents_are_whole = walk.agents(disk, files)?;
    walk.templates(disk)?;
    let Walk { mut index, aside, set_aside, old_heads } = walk;
    if set_aside > 0 {
        disk.write(aside).map_err(|disk::WriteFailed(reason)| broken(&reason))?;
    }
    for entry in disk.prefix(&[keys::ASIDE]) {
        let (key, _) = entry?;
        index.quarantined += 1;
        if let Some(id) = keys::session_of(keys::SESSION, &key[1..]) {
            index.set_aside(id, keys::describe(&key));
        }
    }
    index.cursor = Cursor(match disk.prefix(&[keys::EVENTS]).next_back() {
        Some(entry) => keys::number(&entry?.0).unwrap_or(0),
        None => 0,
    });
    let mut gone = Vec::new();
    for entry in disk.prefix(&[keys::GONE]) {
        if let Some(id) = keys::session_of(keys::GONE, &entry?.0) {
            index.remove(id);
            gone.push(id);
        }
    }
    let mut values = HashSet::new();
    for entry in disk.prefix(&[keys::FILE]) {
        values.insert(String::from_utf8_lossy(&entry?.0[1..]).into_owned());
    }
    let components = agents_are_whole.then(|| index.digests());
    files.sweep(&values, components.as_ref())?;
    let old_heads = is_first.then_some(old_heads);
    Ok(Recovered { index, secret, gone, old_heads })
}

/// Say that the store has the current layout.
pub(super) fn set_layout(disk: &Disk) -> Result<(), OpenError> {
    let mut batch = Batch::default();
    batch.insert(keys::FORMAT, codec::seal(keys::FORMAT, &[&[LAYOUT]]));
    disk.write(batch).map_err(|disk::WriteFailed(reason)| broken(&reason))
}

/// A store that has just been made.
fn create(disk: &Disk) -> Result<[u8; 32], OpenError> {
    if disk.prefix(&[]).next().is_some() {
        return Err(OpenError::Damaged("it does not say which layout it has".to_owned()));
    }
    let clock = Clock::real();
    let random = [clock.random(), clock.random(), clock.random()].concat();
    let secret = *blake3::hash(&random).as_bytes();
    let mut batch = Batch::default();
    batch.insert(keys::FORMAT, codec::seal(keys::FORMAT, &[&[LAYOUT]]));
    batch.insert(keys::SECRET, codec::seal(keys::SECRET, &[&secret]));
    disk.write(batch).map_err(|disk::WriteFailed(reason)| broken(&reason))?;
    Ok(secret)
}

fn note(disk: &Disk, key: &[u8]) -> Result<Option<Vec<u8>>, OpenError> {
    let Some(sealed) = disk.get(key)? else { return Ok(None) };
    match codec::unseal(Kind::Note, key, &sealed) {
        Ok(note) => Ok(Some(note.into_owned())),
        Err(error @ CodecError::Newer(_)) => Err(OpenError::NewerFormat(error.to_string())),
        Err(error) => Err(OpenError::Damaged(format!("{}: {error}", keys::describe(key)))),
    }
}

fn broken(reason: &str) -> OpenError {
    OpenError::Io(std::io::Error::other(reason.to_owned()))
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> OpenError {
        broken(&error.to_string())
    }
}

#[derive(Default)]
struct Walk {
    index: Index,
    aside: Batch,
    set_aside: usize,
    old_heads: Vec<SessionId>,
}

impl Walk {
    fn sessions(&mut self, disk: &Disk) -> Result<(), OpenError> {
        for entry in disk.prefix(&[keys::SESSION]) {
            let (key, value) = entry?;
            match facts(&key, &value) {
                Ok(Found { id, facts, has_old_head }) => {
                    self.index.put(id, facts);
                    self.old_heads.extend(has_old_head.then_some(id));
                }
                Err(error) => self.move_aside(&key, value, &error)?,
            }
        }
        Ok(())
    }

    /// Returns whether all of them could be read.
    fn agents(&mut self, disk: &Disk, files: &Files) -> Result<bool, OpenError> {
        for entry in disk.prefix(&[keys::AGENT]) {
            let (key, value) = entry?;
            match agent(files, &key, &value) {
                Ok(uploaded) => self.index.put_agent(uploaded),
                Err(error) => self.move_aside(&key, value, &error)?,
            }
        }
        // Those that were set aside before count as well: their components stay, too.
        Ok(disk.prefix(&[keys::ASIDE, keys::AGENT]).next().is_none() && self.set_aside == 0)
    }

    fn templates(&mut self, disk: &Disk) -> Result<(), OpenError> {
        for entry in disk.prefix(&[keys::TEMPLATE]) {
            let (key, value) = entry?;
            match template(&key, &value) {
                Ok(agent) => self.index.put_template(key.to_vec(), agent),
                Err(error) => self.move_aside(&key, value, &error)?,
            }
        }
        Ok(())
    }

    fn move_aside(&mut self, key: &[u8], value: IVec, error: &CodecError) -> Result<(), OpenError> {
        let name = keys::describe(key);
        match error {
            CodecError::Newer(_) => Err(OpenError::NewerFormat(format!("{name}: {error}"))),
            CodecError::Checksum | CodecError::Malformed(_) => {
                tracing::error!(key = name, %error, "a record is damaged and has been set aside");
                self.aside.remove(key);
                self.aside.insert(keys::aside(key), value);
                self.set_aside += 1;
                Ok(())
            }
        }
    }
}

/// What a session says of itself.
struct Found {
    id: SessionId,
    facts: Facts,
    has_old_head: bool,
}

fn facts(key: &[u8], value: &[u8]) -> Result<Found, CodecError> {
    let value = codec::unseal(Kind::Session, key, value)?;
    let cell = SessionCell::read(&value)?;
    let session = codec::decode_front(cell.front)?;
    let id = session.id;
    if keys::session_of(keys::SESSION, key) == Some(id) {
        Ok(Found { id, facts: Facts::of(session), has_old_head: cell.old_head.is_some() })
    } else {
        Err(CodecError::Malformed("it is another session".to_owned()))
    }
}

fn template(key: &[u8], value: &[u8]) -> Result<AgentKey, CodecError> {
    let value = codec::unseal(Kind::Template, key, value)?;
    let cell = TemplateCell::read(&value)?;
    let outline = codec::decode_snapshot(&Bytes::copy_from_slice(cell.snapshot.outline))?;
    Ok(agent_key(codec::decode_template(cell.template, outline)?.agent))
}

fn agent(files: &Files, key: &[u8], value: &[u8]) -> Result<Uploaded, CodecError> {
    let value = codec::unseal(Kind::Agent, key, value)?;
    let cell = AgentCell::read(&value)?;
    let agent: Agent = read_agent(files, &cell.agent)?;
    Ok(Uploaded { sequence: cell.sequence, agent })
}
