//! A backup: a folder that has what was committed at one moment, and from which a store starts.
//!
//! ```text
//!  index.backup    every key with its entry in the index, as frames, and their number at the end
//!  packs/…         the packs to which they point
//! ```
//! The keys are written out while nothing is applied; commits go on. The packs are copied after
//! that, while the applier works again: it only appends to them, and none is removed for as long.
//! Then the copies are read back. The file of keys gets its name last: without it there is no backup.
//!
//! A store that is opened where there is such a file and no index takes its keys in, and begins a new
//! log.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::applier::RoundError;
use super::core::{Core, held};
use super::frame::{self, FrameReader, HEADER};
use super::io::{Handle, Io, is_full};
use super::ordered_map::{self, APPLIED, Changes, IDENTITY, OrderedMap, is_own};
use super::packs::{self, FrameError, Packs, Pinned, pack_name};
use super::value::{PackKind, Stored};
use super::{CommitError, EngineOpenError, log};

const KEYS: &str = "index.backup";
const UNREADY: &str = "index.backup.new";
/// How much is copied at a time, in bytes.
const PIECE: usize = 1 << 20;
/// How many keys are taken in at a time.
const RUN: usize = 1024;
/// What the file of keys has where a pack has its number.
const NUMBER: u64 = u64::MAX;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineBackupError {
    /// There is something in the folder.
    #[error("the folder for the backup is not empty")]
    NotEmpty,
    /// The disk of the backup, or that of the store, is full.
    #[error("there is no space for the backup")]
    Full,
    /// Nobody waits for it any more.
    #[error("the store is closing")]
    Over,
    /// What is committed cannot be applied.
    #[error(transparent)]
    Store(CommitError),
    /// A value of the store, or its copy, is damaged.
    #[error("the value of key {} is damaged or was not copied well", .0.escape_ascii())]
    Damaged(Vec<u8>),
    /// The list of its keys is damaged, or something is missing.
    #[error("the list of keys is damaged, or something is missing")]
    Incomplete,
    /// Reading or writing failed.
    #[error("the backup could not be made: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for EngineBackupError {
    fn from(error: io::Error) -> EngineBackupError {
        if is_full(&error) { EngineBackupError::Full } else { EngineBackupError::Io(error) }
    }
}

impl Core {
    pub(super) fn backup(
        &self,
        target: &Arc<dyn Io>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<u64, EngineBackupError> {
        for folder in ["", log::FOLDER, packs::FOLDER] {
            if !folder.is_empty() {
                target.make_folder(folder)?;
            }
            if !target.list(folder)?.is_empty() {
                return Err(EngineBackupError::NotEmpty);
            }
        }
        let (keys, ends, _pinned) = {
            let mut applier = held(&self.applier);
            match self.apply_all(&mut applier) {
                Ok(_) => {}
                Err(RoundError::Full) => return Err(EngineBackupError::Full),
                Err(RoundError::Unopened(reason)) => {
                    return Err(EngineBackupError::Store(CommitError::Unopened(reason.into())));
                }
                Err(RoundError::Failed(reason)) => {
                    return Err(EngineBackupError::Store(CommitError::Failed(self.fail(&reason))));
                }
            }
            let pinned = Pinned::new(&self.packs);
            let (keys, ends) = export(&*self.index, &**target)?;
            (keys, ends, pinned)
        };
        for (&(kind, number), &end) in &ends {
            if is_over() {
                return Err(EngineBackupError::Over);
            }
            // It may be the disk of the store.
            if target.free()? < end.saturating_add(self.options.floor_bytes) {
                return Err(EngineBackupError::Full);
            }
            let name = pack_name(kind, number);
            copy(&*self.io.open(&name)?, &*target.create(&name)?, end)?;
        }
        target.sync_folder(packs::FOLDER)?;
        verify(target, &ends, keys)?;
        target.rename(UNREADY, KEYS)?;
        target.sync_folder("")?;
        Ok(keys)
    }
}

/// How far packs are pointed into.
type Ends = BTreeMap<(PackKind, u64), u64>;

/// Write out all keys. Returns how many, and how far the packs are needed.
fn export(index: &dyn OrderedMap, target: &dyn Io) -> Result<(u64, Ends), EngineBackupError> {
    let mut ends = Ends::new();
    let keys = write_out(index, target, UNREADY, |key, value| {
        let Some(stored) = Stored::read(key, value) else {
            return Err(EngineBackupError::Damaged(key.to_vec()));
        };
        if let Some(pointer) = stored.pointer() {
            let end = ends.entry((pointer.kind, pointer.pack)).or_default();
            *end = pointer.end().max(*end);
        }
        Ok(())
    })?;
    Ok((keys, ends))
}

/// Write all keys to a new file, and show those that are not the engine's own. Returns how many these
/// are.
pub(super) fn write_out<E: From<io::Error>>(
    index: &dyn OrderedMap,
    target: &dyn Io,
    name: &str,
    mut show: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let file = target.create(name)?;
    let mut buffer = frame::write_header(PackKind::Rows, NUMBER).to_vec();
    let (mut at, mut keys) = (0, 0_u64);
    ordered_map::each(index, &[], |key, value| {
        if key == IDENTITY || key == APPLIED {
            return Ok(());
        }
        if !is_own(&key) {
            keys += 1;
            show(&key, &value)?;
        }
        frame::write(&mut buffer, &key, &value);
        if buffer.len() >= PIECE {
            file.write_at(&buffer, at)?;
            at += buffer.len() as u64;
            buffer.clear();
        }
        Ok::<(), E>(())
    })?;
    // No key is empty: this is the end.
    frame::write(&mut buffer, &[], &keys.to_le_bytes());
    file.write_at(&buffer, at)?;
    file.sync()?;
    Ok(keys)
}

fn copy(from: &dyn Handle, to: &dyn Handle, end: u64) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < end {
        let length = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
        from.read_at(&mut piece[..length], at)?;
        to.write_at(&piece[..length], at)?;
        at += length as u64;
    }
    to.sync()
}

/// Read a backup that has just been made.
fn verify(target: &Arc<dyn Io>, ends: &Ends, keys: u64) -> Result<(), EngineBackupError> {
    let (read, found) = verify_values(target, UNREADY)?;
    if read == keys && found == *ends { Ok(()) } else { Err(EngineBackupError::Incomplete) }
}

/// Read a backup whole: also what lies in its packs and is not in use. Returns its files, the one last
/// that makes a backup of them.
pub(super) fn verify_whole(io: &Arc<dyn Io>) -> Result<Vec<String>, EngineOpenError> {
    if !io.list("")?.iter().any(|(name, _)| name == KEYS) {
        return Err(EngineOpenError::IndexMissing("no backup".to_owned()));
    }
    let (_, ends) = verify_values(io, KEYS).map_err(|error| match error {
        EngineBackupError::Io(error) => EngineOpenError::Io(error),
        EngineBackupError::Damaged(key) => EngineOpenError::BackupValueDamaged(key),
        error => EngineOpenError::BackupDamaged(error.to_string()),
    })?;
    let mut files = Vec::with_capacity(ends.len() + 1);
    for (&(kind, number), &end) in &ends {
        let name = pack_name(kind, number);
        let file = io.open(&name)?;
        let mut head = [0; HEADER];
        file.read_at(&mut head, 0)?;
        let mut frames = FrameReader::new(Arc::clone(&file))?;
        while frames.next()?.is_some() {}
        let whole = head == frame::write_header(kind, number) && frames.offset() == end;
        if !whole || file.size()? != end {
            return Err(EngineOpenError::BackupDamaged(name));
        }
        files.push(name);
    }
    files.push(KEYS.to_owned());
    Ok(files)
}

/// Read all values of a backup. Returns how many there are, and how far they lie in packs.
fn verify_values(io: &Arc<dyn Io>, name: &str) -> Result<(u64, Ends), EngineBackupError> {
    let packs = Packs::new(Arc::clone(io), BTreeMap::new(), 0);
    let (mut read, mut ends) = (0, Ends::new());
    let all = each(io.open(name)?, |key, value| {
        if is_own(key) {
            return Ok(());
        }
        read += 1;
        let damaged = || EngineBackupError::Damaged(key.to_vec());
        let stored = Stored::read(key, value).ok_or_else(damaged)?;
        let Some(pointer) = stored.pointer() else { return Ok(()) };
        let end = ends.entry((pointer.kind, pointer.pack)).or_default();
        *end = pointer.end().max(*end);
        match packs.read(key, &pointer) {
            Ok(_) => Ok(()),
            Err(FrameError::Io(error)) => Err(EngineBackupError::Io(error)),
            Err(FrameError::NoPack | FrameError::Damaged) => Err(damaged()),
        }
    })?;
    if all == Some(read) { Ok((read, ends)) } else { Err(EngineBackupError::Incomplete) }
}

/// All keys of a backup, with their entries. Returns how many there should be; `None` where the file
/// is damaged.
pub(super) fn each<E: From<io::Error>>(
    file: Arc<dyn Handle>,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<Option<u64>, E> {
    let mut head = [0; HEADER];
    if file.size()? < HEADER as u64 {
        return Ok(None);
    }
    file.read_at(&mut head, 0)?;
    if head != frame::write_header(PackKind::Rows, NUMBER) {
        return Ok(None);
    }
    let mut frames = FrameReader::new(file)?;
    loop {
        match frames.next()? {
            None => return Ok(None),
            Some(end) if end.key.is_empty() => {
                return Ok(end.value.try_into().ok().map(u64::from_le_bytes));
            }
            Some(frame) => take(frame.key, frame.value)?,
        }
    }
}

/// Fill an empty index from a backup. Returns whether there is one. It can be repeated.
pub(super) fn import(io: &Arc<dyn Io>, index: &dyn OrderedMap) -> Result<bool, EngineOpenError> {
    let file = match io.open(KEYS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let mut changes = Changes::with_capacity(RUN);
    let mut keys = 0;
    let all = each(file, |key, value| {
        keys += u64::from(!is_own(key));
        changes.push((key.to_vec(), Some(value.to_vec())));
        if changes.len() == RUN {
            index.apply(std::mem::take(&mut changes))?;
        }
        Ok::<(), EngineOpenError>(())
    })?;
    if all != Some(keys) {
        return Err(EngineOpenError::BackupDamaged(KEYS.to_owned()));
    }
    index.apply(changes)?;
    index.flush()?;
    Ok(true)
}

/// The keys have been taken in: they are not needed any more, and soon out of date.
pub(super) fn forget_import(io: &dyn Io) -> Result<(), EngineOpenError> {
    match io.remove(KEYS) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
