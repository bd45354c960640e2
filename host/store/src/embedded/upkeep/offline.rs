//! Work on a directory that no host has open. Each takes the lock of the directory, as a host does,
//! and blocks.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::disk::{self, Disk};
use super::super::engine::{self, Engine, Folder, Io, Tree};
use super::super::lock::Lock;
use super::super::{Embedded, OpenError, Options, keys, recovery};
use super::audit::Audit;
use super::{audit, compact_all, copy, finish, length_of, make_private, usage_of};
use crate::upkeep::{
    BackupSummary, CheckReport, RepairReport, RestoreSummary, StoreUsage, UpkeepError,
};

/// What may lie in a directory to which a backup is restored.
const HARMLESS: [&str; 3] = ["lock", "control", "lost+found"];

/// Read everything and say what is wrong with it, also of a store that does not open. Changes nothing
/// of what is stored.
///
/// # Errors
/// [`UpkeepError`] where there is no store, somebody else has it open, or reading failed. Damage is no
/// error: the report lists it.
pub fn check(data_dir: &Path, options: Options) -> Result<CheckReport, UpkeepError> {
    let _lock = take(data_dir)?;
    match Disk::open(data_dir, &options, quiet()) {
        Ok(disk) => {
            recovery::refuse_later(&disk)?;
            let audited = audit::of(&disk)?;
            match audited.newer {
                Some(newer) => Err(OpenError::NewerFormat(newer).into()),
                None => Ok(audited.report),
            }
        }
        Err(OpenError::Refused(refused)) => inspect(data_dir, &options, &refused),
        Err(error) => Err(error.of_directory(data_dir).into()),
    }
}

/// What everything takes.
///
/// # Errors
/// [`UpkeepError`] where the store does not open.
pub fn stat(data_dir: &Path, options: Options) -> Result<StoreUsage, UpkeepError> {
    with_disk(data_dir, &options, usage)
}

/// Give back the space of what is not in use. Returns what everything takes then.
///
/// # Errors
/// [`UpkeepError`] where the store does not open, or there is no space to copy what is in use.
pub fn compact(data_dir: &Path, options: Options) -> Result<StoreUsage, UpkeepError> {
    with_disk(data_dir, &options, |disk| {
        compact_all(disk)?;
        usage(disk)
    })
}

/// Copy everything to a directory that is empty or not there, and read the copy back.
///
/// # Errors
/// [`UpkeepError`] where the store does not open or cannot be copied.
pub fn backup(
    data_dir: &Path,
    directory: &Path,
    options: Options,
) -> Result<BackupSummary, UpkeepError> {
    with_disk(data_dir, &options, |disk| Ok(copy(disk, directory, &|| false)?))
}

/// Verify every checksum of a backup, copy it to a directory that is empty or not there, and open that
/// once.
///
/// # Errors
/// [`UpkeepError`]. Where the backup is damaged, or there is something in the directory, nothing has
/// been written.
pub fn restore(
    backup: &Path,
    data_dir: &Path,
    options: Options,
) -> Result<RestoreSummary, UpkeepError> {
    is_free(data_dir)?;
    let from = backup.join(disk::FOLDER);
    let folder = Folder::existing(&from).map_err(|_| UpkeepError::NoBackup(backup.to_owned()))?;
    let folder: Arc<dyn Io> = Arc::new(folder);
    let files = Engine::verify_backup(&folder).map_err(|error| match error {
        engine::EngineOpenError::BackupDamaged(what) => UpkeepError::BackupDamaged(what),
        engine::EngineOpenError::BackupValueDamaged(key) => {
            UpkeepError::BackupDamaged(format!("{} cannot be read", keys::describe(&key)))
        }
        engine::EngineOpenError::IndexMissing(_) => UpkeepError::NoBackup(backup.to_owned()),
        engine::EngineOpenError::Io(error) => UpkeepError::Io { path: from.clone(), error },
        other => UpkeepError::BackupDamaged(other.to_string()),
    })?;
    let to = data_dir.join(disk::FOLDER);
    {
        let _lock = Lock::take(data_dir).map_err(|error| error.of_directory(data_dir))?;
        copy_files(&from, &to, &files)?;
        let synced = File::open(data_dir).and_then(|folder| folder.sync_all());
        synced.map_err(|error| UpkeepError::Io { path: data_dir.to_owned(), error })?;
    }
    let (count, bytes) = length_of(&to).map_err(|error| UpkeepError::Io { path: to, error })?;
    let store = Embedded::open(data_dir, options)?;
    let sessions = crate::upkeep::Upkeep::stats(&store).sessions;
    Ok(RestoreSummary { sessions, files: count, bytes })
}

/// Take out what cannot be read, so that a host starts with the rest. Files that are damaged are moved
/// to the folder `store/quarantine`.
///
/// # Errors
/// [`UpkeepError::Hopeless`] where the index itself does not open. Whatever the error, it can be run
/// again.
pub fn repair(data_dir: &Path, options: Options) -> Result<RepairReport, UpkeepError> {
    let _lock = take(data_dir)?;
    let folder = data_dir.join(disk::FOLDER);
    let mut lost = super::repair::Lost::default();
    let repaired = {
        let (io, index) = parts(data_dir, &options)?;
        let index: Arc<dyn engine::OrderedMap> = Arc::new(index);
        let needed = is_needed(&io, &*index, &options).map_err(|error| io_error(&folder, error))?;
        if needed {
            let front = Arc::clone(&index);
            let tell = &mut |key: &[u8], what: &'static str| {
                // What cannot be read either is not there.
                lost.tell(key, what, Engine::front(&*front, key).ok().flatten());
            };
            Engine::repair(&io, &index, &options.engine(None), tell).map_err(hopeless)?
        } else {
            engine::Repaired::default()
        }
    };
    let disk = Disk::open(data_dir, &options, quiet());
    let disk = disk.map_err(|error| error.of_directory(data_dir))?;
    recovery::bring_up(&disk).map_err(|error| error.of_directory(data_dir))?;
    let mut report = super::repair::repair(&disk, lost, options.clock.now())?;
    tracing::info!(keys = repaired.lost, "what could not be read has been taken out of the store");
    report.quarantine = (!repaired.quarantined.is_empty()).then(|| folder.join(engine::QUARANTINE));
    if repaired.log_given_up {
        let what = "a part of the log of commits is lost; what it had changed is as it was before";
        report.done.insert(0, what.to_owned());
    }
    Ok(report)
}

/// Whether the engine has anything to repair.
fn is_needed(
    io: &Arc<dyn Io>,
    index: &dyn engine::OrderedMap,
    options: &Options,
) -> io::Result<bool> {
    let report = Engine::inspect(io, index, &options.engine(None), &mut |_, _| true)?;
    // What nothing points to goes by itself.
    Ok(report.findings.iter().any(|finding| !matches!(finding, engine::EngineFinding::Stray(_))))
}

/// Check a store that does not open.
fn inspect(data_dir: &Path, options: &Options, refused: &str) -> Result<CheckReport, UpkeepError> {
    let (io, index) = match parts(data_dir, options) {
        Ok(parts) => parts,
        // There is nothing to look at.
        Err(UpkeepError::Hopeless(what)) => {
            let mut report = CheckReport::default();
            report.add(crate::upkeep::Problem::Refused, None, what);
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    let mut audit = Audit::new(false);
    let see = &mut |key: &[u8], value| {
        audit.see(key, value);
        true
    };
    let folder = data_dir.join(disk::FOLDER);
    let found = Engine::inspect(&io, &index, &options.engine(None), see);
    let mut audited = finish(audit, found.map_err(|error| io_error(&folder, error))?);
    // What a lost part of the log has changed reads well, and is not what it was.
    let mut told = |key: &[u8], what: &'static str| {
        if let Some(session) = keys::concerned(key)
            && audited.sessions.insert(session)
        {
            let what = format!("{}: {what}", keys::describe(key));
            audited.report.add(crate::upkeep::Problem::Missing, Some(session), what);
        }
    };
    if let Err(error) = Engine::concerned(&io, &index, &mut told) {
        tracing::debug!(%error, refused, "it cannot be told what the log has changed");
    }
    Ok(audited.report)
}

fn usage(disk: &Disk) -> Result<StoreUsage, UpkeepError> {
    let count = |prefix: u8| disk.fronts(&[prefix]).count() as u64;
    Ok(usage_of(disk, count(keys::SESSION), count(keys::ASIDE)))
}

fn with_disk<T>(
    data_dir: &Path,
    options: &Options,
    work: impl FnOnce(&Disk) -> Result<T, UpkeepError>,
) -> Result<T, UpkeepError> {
    let _lock = take(data_dir)?;
    let disk = Disk::open(data_dir, options, quiet());
    let disk = disk.map_err(|error| error.of_directory(data_dir))?;
    recovery::refuse_later(&disk)?;
    work(&disk)
}

/// The lock of a directory with a store. None is made.
fn take(data_dir: &Path) -> Result<Lock, UpkeepError> {
    if !is_folder(&data_dir.join(disk::FOLDER))? {
        recovery::refuse_earlier(data_dir).map_err(|error| error.of_directory(data_dir))?;
        return Err(UpkeepError::NoStore(data_dir.to_owned()));
    }
    Lock::take(data_dir).map_err(|error| error.of_directory(data_dir).into())
}

/// Whether there is a folder, as far as this user may know.
fn is_folder(path: &Path) -> Result<bool, UpkeepError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(false)
        }
        Err(error) => Err(io_error(path, error)),
    }
}

pub(super) fn parts(
    data_dir: &Path,
    options: &Options,
) -> Result<(Arc<dyn Io>, Tree), UpkeepError> {
    let folder = data_dir.join(disk::FOLDER);
    let io = Folder::open(&folder).map_err(|error| io_error(&folder, error))?;
    let index = Tree::open(&folder, options.cache_bytes).map_err(hopeless)?;
    Ok((Arc::new(io), index))
}

fn hopeless(error: engine::EngineOpenError) -> UpkeepError {
    match error {
        engine::EngineOpenError::IndexDamaged(what) => UpkeepError::Hopeless(what),
        error @ engine::EngineOpenError::IndexMissing(_) => {
            UpkeepError::Hopeless(error.to_string())
        }
        other => UpkeepError::Open(other.into()),
    }
}

/// Whether a backup may be restored to this directory.
fn is_free(data_dir: &Path) -> Result<(), UpkeepError> {
    let entries = match fs::read_dir(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| io_error(data_dir, error))?,
    };
    for entry in entries {
        let name = entry.map_err(|error| io_error(data_dir, error))?.file_name();
        if !HARMLESS.iter().any(|harmless| name == *harmless) {
            // Who has it is more to the point than that something is there.
            drop(Lock::take(data_dir)?);
            return Err(UpkeepError::NotEmpty(data_dir.to_owned()));
        }
    }
    Ok(())
}

/// Copy files, the last of which makes a whole of them.
fn copy_files(from: &Path, to: &Path, files: &[String]) -> Result<(), UpkeepError> {
    let mut folders = vec![to.to_owned()];
    for file in files {
        let target = to.join(file);
        let copied = copy_file(&from.join(file), &target, &mut folders);
        copied.map_err(|error| io_error(&target, error))?;
    }
    for folder in folders {
        let synced = File::open(&folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| io_error(&folder, error))?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, folders: &mut Vec<PathBuf>) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        make_private(folder)?;
        if !folders.iter().any(|known| known == folder) {
            folders.push(folder.to_owned());
        }
    }
    let mut target = File::create_new(to)?;
    io::copy(&mut File::open(from)?, &mut target)?;
    target.sync_all()
}

fn io_error(path: &Path, error: io::Error) -> UpkeepError {
    UpkeepError::Io { path: path.to_owned(), error }
}

/// That writing has ended is told by the command that fails.
fn quiet() -> engine::OnFailure {
    Arc::new(|_| {})
}
