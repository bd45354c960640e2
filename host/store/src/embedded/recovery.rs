//! From what is durable to a store that can be used.
//!
//! The engine has recovered already, and has refused where something was lost. Here one walk over the
//! fronts of the sessions rebuilds the index in memory; no pack is read for it. What does not decode
//! is set aside under a key of its own and named in the log; everything else starts. Nothing is
//! guessed: a value of a newer format is not damaged, and the store does not open at all.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::cell::{self, TemplateCell};
use super::disk::{self, Disk, Read, WriteError};
use super::engine::{Batch, Class};
use super::index::{AgentKey, Facts, Index, Uploaded};
use super::{OpenError, keys, owners};
use crate::StoreError;
use crate::codec::{self, CodecError, Kind};
use dormouse_base::clock::Clock;
use dormouse_domain::event::Cursor;
use dormouse_domain::id::SessionId;

/// The layout of keys and values, as `keys` and `cell` describe it.
///
/// | layout | what it has | how it is brought to the next |
/// | --- | --- | --- |
/// | 1, 2 | sled alone, and files | no release had them: refused |
/// | 3 | the engine | [`owners`] gives agents their owners |
/// | 4 | agents by owner | it is the present one |
const LAYOUT: u8 = 4;

/// The layout in which agents had no owners: what [`owners`] begins with.
pub(super) const WITHOUT_OWNERS: u8 = 3;

/// What was found.
pub(super) struct Recovered {
    /// The index.
    pub(super) index: Index,
    /// The secret of the store.
    pub(super) secret: [u8; 32],
    /// Deleted sessions that have left something behind.
    pub(super) gone: Vec<SessionId>,
}

/// Rebuild what memory knows.
pub(super) fn recover(disk: &Disk) -> Result<Recovered, OpenError> {
    let secret = if note(disk, keys::FORMAT)?.is_none() {
        create(disk)?
    } else {
        bring_up(disk)?;
        let secret = note(disk, keys::SECRET)?;
        let secret = secret.and_then(|secret| <[u8; 32]>::try_from(&*secret).ok());
        secret.ok_or_else(|| OpenError::Damaged("its secret is lost".to_owned()))?
    };
    let mut walk = Walk { disk, index: Index::default(), aside: Batch::default() };
    walk.sessions()?;
    walk.agents()?;
    walk.templates()?;
    let Walk { mut index, aside, .. } = walk;
    if !aside.is_empty() {
        write(disk, aside)?;
    }
    for entry in disk.fronts(&[keys::ASIDE]) {
        let (key, _) = entry?;
        index.quarantined += 1;
        if let Some(id) = keys::session_of(keys::SESSION, &key[1..]) {
            index.set_aside(id, keys::describe(&key));
        }
    }
    let last = disk.last(&[keys::EVENTS])?;
    index.cursor = Cursor(last.and_then(|key| keys::number(&key)).unwrap_or(0));
    let mut gone = Vec::new();
    for entry in disk.prefix(&[keys::GONE]) {
        if let Some(id) = keys::session_of(keys::GONE, &entry?.0) {
            index.remove(id);
            gone.push(id);
        }
    }
    Ok(Recovered { index, secret, gone })
}

/// Bring what is there to the present layout, where it has an earlier one.
pub(super) fn bring_up(disk: &Disk) -> Result<(), OpenError> {
    refuse_later(disk)?;
    if note(disk, keys::FORMAT)?.as_deref() == Some(&[WITHOUT_OWNERS]) {
        owners::give(disk, LAYOUT)?;
    }
    Ok(())
}

/// Refuse what a later version has written: to this one much of it would seem damaged.
///
/// # Errors
/// [`OpenError::NewerFormat`]
pub(super) fn refuse_later(disk: &Disk) -> Result<(), OpenError> {
    let layout = match note(disk, keys::FORMAT) {
        // What does not say which layout it has is for others to find.
        Err(OpenError::Damaged(_)) => return Ok(()),
        layout => layout?,
    };
    match layout.as_deref() {
        None | Some([WITHOUT_OWNERS | LAYOUT]) => Ok(()),
        Some([layout]) => Err(OpenError::NewerFormat(format!(
            "its layout is {layout}; this one reads up to {LAYOUT}"
        ))),
        Some(other) => Err(OpenError::NewerFormat(format!("its layout is {other:?}"))),
    }
}

/// A store that has just been made.
fn create(disk: &Disk) -> Result<[u8; 32], OpenError> {
    if disk.fronts(&[]).next().is_some() {
        return Err(OpenError::Damaged("it does not say which layout it has".to_owned()));
    }
    let clock = Clock::real();
    let random = [clock.random(), clock.random(), clock.random()].concat();
    let secret = *blake3::hash(&random).as_bytes();
    let mut batch = Batch::default();
    batch.put(Class::Inline, keys::FORMAT, codec::seal(keys::FORMAT, &[&[LAYOUT]]));
    batch.put(Class::Inline, keys::SECRET, codec::seal(keys::SECRET, &[&secret]));
    write(disk, batch)?;
    Ok(secret)
}

/// Make these changes durable.
pub(super) fn write(disk: &Disk, batch: Batch) -> Result<(), OpenError> {
    Ok(disk.write(batch)?)
}

fn note(disk: &Disk, key: &[u8]) -> Result<Option<Vec<u8>>, OpenError> {
    let Some(sealed) = disk.get(key)? else { return Ok(None) };
    match codec::unseal(Kind::Note, key, &sealed) {
        Ok(note) => Ok(Some(note.into_owned())),
        Err(error @ CodecError::Newer(_)) => Err(OpenError::NewerFormat(error.to_string())),
        Err(error) => Err(OpenError::Damaged(format!("{}: {error}", keys::describe(key)))),
    }
}

impl From<WriteError> for OpenError {
    fn from(error: WriteError) -> OpenError {
        match error {
            WriteError::Full => StoreError::Full.into(),
            WriteError::Refused(error) => error.into(),
            WriteError::Failed(reason) => std::io::Error::other(reason.to_string()).into(),
        }
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> OpenError {
        OpenError::from(std::io::Error::other(error.to_string()))
    }
}

/// Refuse a directory of the layouts before the engine: it would seem to be an empty one.
///
/// # Errors
/// [`OpenError::Earlier`]
pub(super) fn refuse_earlier(root: &Path) -> Result<(), OpenError> {
    let is_there = |folder: &str| root.join(folder).is_dir();
    if is_there("sled") && !is_there(disk::FOLDER) { Err(OpenError::Earlier) } else { Ok(()) }
}

struct Walk<'a> {
    disk: &'a Disk,
    index: Index,
    aside: Batch,
}

impl Walk<'_> {
    fn sessions(&mut self) -> Result<(), OpenError> {
        for entry in self.disk.walk(&[keys::SESSION], Read::Front) {
            let (key, front) = entry?;
            match front.ok_or(CodecError::Checksum).and_then(|front| facts(&key, &front)) {
                Ok((id, facts)) => self.index.put(id, facts),
                Err(error) => self.move_aside(&key, &error)?,
            }
        }
        Ok(())
    }

    fn agents(&mut self) -> Result<(), OpenError> {
        for entry in self.disk.walk(&[keys::AGENT], Read::Whole) {
            let (key, value) = entry?;
            match value.ok_or(CodecError::Checksum).and_then(|value| agent(&key, &value)) {
                Ok(uploaded) => self.index.agents.put(uploaded),
                Err(error) => self.move_aside(&key, &error)?,
            }
        }
        Ok(())
    }

    fn templates(&mut self) -> Result<(), OpenError> {
        for entry in self.disk.walk(&[keys::TEMPLATE], Read::Whole) {
            let (key, value) = entry?;
            match value.ok_or(CodecError::Checksum).and_then(|value| template(&key, &value)) {
                Ok(agent) => self.index.put_template(key.to_vec(), agent),
                Err(error) => self.move_aside(&key, &error)?,
            }
        }
        Ok(())
    }

    fn move_aside(&mut self, key: &Bytes, error: &CodecError) -> Result<(), OpenError> {
        let name = keys::describe(key);
        match error {
            CodecError::Newer(_) => Err(OpenError::NewerFormat(format!("{name}: {error}"))),
            CodecError::Checksum | CodecError::Malformed(_) => {
                tracing::error!(key = name, %error, "a record is damaged and has been set aside");
                // What of it can be read, for whoever wants to look into it.
                let value = match self.disk.get(key) {
                    Ok(value) => value.unwrap_or_default(),
                    Err(StoreError::Damaged(_)) => Bytes::new(),
                    Err(error) => return Err(error.into()),
                };
                self.aside.delete(key.clone());
                self.aside.put(Class::Rows, keys::aside(key), value);
                Ok(())
            }
        }
    }
}

/// What the front of a session says of it.
fn facts(key: &[u8], value: &[u8]) -> Result<(SessionId, Facts), CodecError> {
    let session = codec::decode_front(cell::read_front(value)?)?;
    let id = session.id;
    if keys::session_of(keys::SESSION, key) == Some(id) {
        Ok((id, Facts::of(&session)))
    } else {
        Err(CodecError::Malformed("it is another session".to_owned()))
    }
}

fn template(key: &[u8], value: &[u8]) -> Result<AgentKey, CodecError> {
    let value = codec::unseal(Kind::Template, key, value)?;
    let cell = TemplateCell::read(&value)?;
    let outline = codec::decode_snapshot(&Bytes::copy_from_slice(cell.snapshot.outline))?;
    Ok(Arc::new(codec::decode_template(cell.template, outline)?.agent))
}

fn agent(key: &[u8], value: &[u8]) -> Result<Uploaded, CodecError> {
    let value = codec::unseal(Kind::Agent, key, value)?;
    let (sequence, agent) = cell::read_agent(&value)?;
    let agent = codec::decode_agent(agent)?;
    if keys::agent(&agent.reference) == key {
        Ok(Uploaded { sequence, agent })
    } else {
        Err(CodecError::Malformed("it is another agent".to_owned()))
    }
}
