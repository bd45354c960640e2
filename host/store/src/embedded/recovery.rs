//! From what is durable to a store that can be used.
//!
//! The engine has recovered already, and has refused where something was lost. Here one walk over the
//! fronts of the sessions rebuilds the index in memory, and each other table tells the index what it has; no
//! pack is read for the sessions. What does not decode
//! is set aside under a key of its own and named in the log; everything else starts. Nothing is
//! guessed: a value of a newer format is not damaged, and the store does not open at all.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;

use super::disk::{self, Disk, ReadExtent, WriteError};
use super::engine::{Batch, Class};
use super::session_index::SessionIndex;
use super::tables::blobs::BlobId;
use super::tables::{LAYOUT, TABLES};
use super::{OpenError, fronts, keys, owners};
use crate::StoreError;
use crate::codec::{self, CodecError, RecordKind};
use dormouse_base::clock::Clock;
use dormouse_domain::id::SessionId;

/// The layout in which agents had no owners: what [`owners`] begins with.
pub(super) const WITHOUT_OWNERS: u8 = 3;
/// The layout after that.
const WITH_OWNERS: u8 = 4;
/// The first layout of which nothing has to be written anew: what came later are tables of their own.
const WITH_FRONTS: u8 = 6;

/// What was found.
pub(super) struct RecoveredStore {
    /// The index.
    pub(super) index: SessionIndex,
    /// The secret of the store.
    pub(super) secret: [u8; 32],
    /// What an earlier process has not cleaned up.
    pub(super) left: Leftovers,
}

/// What is to be removed that nobody asks for any more.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Deleted sessions that have left something behind.
    pub(super) gone: Vec<SessionId>,
    /// Blobs that are listed to be released.
    pub(super) unused: BTreeSet<BlobId>,
}

/// Rebuild what memory knows.
pub(super) fn recover(disk: &Disk, clock: &Clock) -> Result<RecoveredStore, OpenError> {
    let secret = if note(disk, keys::FORMAT)?.is_none() {
        create(disk, clock)?
    } else {
        bring_up(disk)?;
        let secret = note(disk, keys::SECRET)?;
        let secret = secret.and_then(|secret| <[u8; 32]>::try_from(&*secret).ok());
        secret.ok_or_else(|| OpenError::Damaged("its secret is lost".to_owned()))?
    };
    let mut recovery = Recovery::of(disk);
    for table in TABLES {
        table.recover(&mut recovery)?;
    }
    let Recovery { index, left, .. } = recovery;
    Ok(RecoveredStore { index, secret, left })
}

/// Bring what is there to the present layout, where it has an earlier one.
pub(super) fn bring_up(disk: &Disk) -> Result<(), OpenError> {
    refuse_later(disk)?;
    match note(disk, keys::FORMAT)?.as_deref() {
        None | Some([LAYOUT]) => Ok(()),
        Some([WITHOUT_OWNERS]) => {
            owners::give(disk, WITH_OWNERS)?;
            fronts::complete(disk)
        }
        Some([WITH_FRONTS..LAYOUT]) => stamp(disk),
        Some(_) => fronts::complete(disk),
    }
}

/// Give the directory the present layout, where nothing in it has to be written anew.
fn stamp(disk: &Disk) -> Result<(), OpenError> {
    let mut batch = Batch::default();
    batch.put(Class::Inline, keys::FORMAT, codec::seal(keys::FORMAT, &[&[LAYOUT]]));
    disk.write(batch)?;
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
        None | Some([WITHOUT_OWNERS..=LAYOUT]) => Ok(()),
        Some([layout]) => Err(OpenError::NewerFormat(format!(
            "its layout is {layout}; this one reads up to {LAYOUT}"
        ))),
        Some(other) => Err(OpenError::NewerFormat(format!("its layout is {other:?}"))),
    }
}

/// A store that has just been made.
fn create(disk: &Disk, clock: &Clock) -> Result<[u8; 32], OpenError> {
    if disk.fronts(&[]).next().is_some() {
        return Err(OpenError::Damaged("it does not say which layout it has".to_owned()));
    }
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
    match codec::unseal(RecordKind::Note, key, &sealed) {
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

/// What the tables make of what is durable.
pub(super) struct Recovery<'a> {
    /// What is durable.
    pub(super) disk: &'a Disk,
    /// What memory knows of it.
    pub(super) index: SessionIndex,
    /// What is to be removed.
    pub(super) left: Leftovers,
    aside: Batch,
}

impl Recovery<'_> {
    fn of(disk: &Disk) -> Recovery<'_> {
        let (index, left) = (SessionIndex::default(), Leftovers::default());
        Recovery { disk, index, left, aside: Batch::default() }
    }

    /// Tell the index of each value whose key begins with `prefix`. What does not decode is set aside.
    pub(super) fn each(
        &mut self,
        prefix: &[u8],
        read: ReadExtent,
        take: impl Fn(&mut SessionIndex, &[u8], &[u8]) -> Result<(), CodecError>,
    ) -> Result<(), OpenError> {
        for entry in self.disk.walk(prefix, read) {
            let (key, value) = entry?;
            let value = value.ok_or(CodecError::Checksum);
            if let Err(error) = value.and_then(|value| take(&mut self.index, &key, &value)) {
                self.move_aside(&key, &error)?;
            }
        }
        Ok(())
    }

    /// Make durable what has been set aside.
    pub(super) fn write_aside(&mut self) -> Result<(), OpenError> {
        let aside = std::mem::take(&mut self.aside);
        if aside.is_empty() { Ok(()) } else { write(self.disk, aside) }
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
