//! What an operator asks of the store: on the engine that is open (`EmbeddedShared`), and on directories
//! that no host has open (`offline`).

pub(super) mod audit;
mod offline;
mod refusal;
pub(super) mod repair;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use self::offline::{backup, check, compact, repair, restore, stat};
pub(super) use self::refusal::with_sessions;

use async_trait::async_trait;

use self::audit::{Audit, Audited};
use super::commit::{Draft, EncodedWrite};
use super::disk::Disk;
use super::engine::{self, CommitError, Folder, Io};
use super::{Embedded, EmbeddedShared, disk, held, keys};
use crate::StoreError;
use crate::upkeep::{
    BackupError, BackupSummary, CheckReport, LogUsage, OverlayUsage, PackUsage, Problem,
    StoreStats, StoreUsage, Upkeep,
};
use dormouse_domain::time::Timestamp;

/// How many sessions, or idempotency keys, are removed from together for what is too old.
const EXPIRED_AT_ONCE: usize = 256;

#[async_trait]
impl Upkeep for Embedded {
    fn stats(&self) -> StoreStats {
        held(&self.shared).as_ref().map_or_else(StoreStats::default, |shared| shared.stats())
    }

    fn index_bytes(&self) -> u64 {
        held(&self.shared).as_ref().map_or(0, |shared| shared.index().bytes())
    }

    async fn usage(&self) -> Result<StoreUsage, StoreError> {
        self.read(|shared| Ok(shared.usage())).await
    }

    async fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
        self.expire_history(now).await?;
        self.expire_keys(now).await
    }

    async fn check(&self) -> Result<CheckReport, StoreError> {
        self.work(EmbeddedShared::check).await
    }

    async fn compact(&self) -> Result<(), StoreError> {
        self.work(EmbeddedShared::compact).await
    }

    async fn backup(&self, directory: PathBuf) -> Result<BackupSummary, BackupError> {
        self.work(move |shared| Ok(shared.backup(&directory))).await?
    }
}

impl Embedded {
    /// Remove what is too old at `now` of the log, and of all sessions, a few at a time.
    async fn expire_history(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            if !self.opened()?.keep.by_age() {
                return Ok(());
            }
            let sessions = self.ask(|index| index.sessions_after(after, EXPIRED_AT_ONCE))?;
            let last = sessions.last().copied().filter(|_| sessions.len() == EXPIRED_AT_ONCE);
            self.queue(Draft::of(EncodedWrite::Expire(now, sessions))).await?;
            let Some(last) = last else { return Ok(()) };
            after = Some(last);
        }
    }

    /// Remove the idempotency keys that may be forgotten at `now`, a few at a time.
    async fn expire_keys(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let expired = self
                .read(move |shared| shared.expired_keys(after.as_deref(), now, EXPIRED_AT_ONCE));
            let expired = expired.await?;
            let Some(last) = expired.last().cloned() else { return Ok(()) };
            let is_last = expired.len() < EXPIRED_AT_ONCE;
            self.queue(Draft::of(EncodedWrite::ForgetKeys(now, expired))).await?;
            if is_last {
                return Ok(());
            }
            after = Some(last);
        }
    }
}

impl EmbeddedShared {
    fn stats(&self) -> StoreStats {
        let stat = self.disk.stat();
        let index = self.index();
        StoreStats {
            sessions: index.len() as u64,
            open_sessions: index.open() as u64,
            disk_bytes: stat.bytes(),
            value_bytes: stat.kinds.values().map(|kind| kind.bytes).sum(),
            live_bytes: stat.kinds.values().map(|kind| kind.live).sum(),
            overlay_bytes: stat.overlay_bytes as u64,
            waits_for_space: stat.waits_for_space,
            index_bytes: index.bytes(),
            quarantined: index.quarantined,
            commits: self.commits.load(Ordering::Relaxed),
            groups: self.groups.load(Ordering::Relaxed),
            counts: self.counts.load(Ordering::Relaxed),
            unused: self.unused.load(Ordering::Relaxed),
        }
    }

    /// What everything takes.
    pub(super) fn usage(&self) -> StoreUsage {
        let (sessions, set_aside) = {
            let index = self.index();
            (index.len() as u64, index.quarantined)
        };
        usage_of(&self.disk, sessions, set_aside)
    }

    /// Read everything that is durable.
    pub(super) fn check(&self) -> Result<CheckReport, StoreError> {
        Ok(audit::until(&self.disk, &|| self.is_closing())?.report)
    }

    /// Give back the space of what is not in use.
    pub(super) fn compact(&self) -> Result<(), StoreError> {
        compact_all(&self.disk)
    }

    /// Copy what is durable now to a directory.
    pub(super) fn backup(&self, directory: &Path) -> Result<BackupSummary, BackupError> {
        copy(&self.disk, directory, &|| self.is_closing())
    }
}

fn usage_of(disk: &Disk, sessions: u64, set_aside: u64) -> StoreUsage {
    let stat = disk.stat();
    let packs = |kind| {
        let kind = stat.kinds.get(&kind).copied().unwrap_or_default();
        PackUsage { packs: kind.packs, bytes: kind.bytes, live: kind.live }
    };
    StoreUsage {
        sessions,
        heads: packs(engine::PackKind::Head),
        rows: packs(engine::PackKind::Rows),
        large: packs(engine::PackKind::Large),
        index_bytes: stat.index_bytes,
        log: LogUsage {
            slots: stat.slots as u64,
            bytes: stat.log_bytes,
            last: stat.sequence,
            applied: stat.applied,
        },
        overlay: OverlayUsage { keys: stat.overlay_keys as u64, bytes: stat.overlay_bytes as u64 },
        waits_for_space: stat.waits_for_space,
        set_aside,
        free_bytes: disk.free().unwrap_or(0),
    }
}

fn compact_all(disk: &Disk) -> Result<(), StoreError> {
    disk.engine().compact().map_err(commit_error)
}

/// Bring together what the engine has found, and what is wrong with what it keeps.
fn finish(audit: Audit, engine: engine::Report) -> Audited {
    // These have been told by their keys.
    let unreadable = audit.unreadable();
    let mut audited = audit.finish();
    let report = &mut audited.report;
    report.read.keys = engine.keys;
    report.read.bytes = engine.live;
    let mut listed = 0;
    for finding in &engine.findings {
        let problem = match finding {
            engine::EngineFinding::Value { key, .. } if !engine::is_own(key) => continue,
            engine::EngineFinding::Value { .. } | engine::EngineFinding::Header(_) => {
                Problem::Damaged
            }
            engine::EngineFinding::Refused(_) => Problem::Refused,
            engine::EngineFinding::Count { .. } => Problem::Miscounted,
            engine::EngineFinding::Stray(_) => Problem::Stray,
        };
        listed += 1;
        report.add(problem, None, finding.to_string());
    }
    // The engine counts more than it lists.
    report.problems += engine.count.saturating_sub(unreadable + listed);
    audited
}

/// Copy what is durable to a directory, until `is_over` says that nobody waits for it any more.
fn copy(
    disk: &Disk,
    directory: &Path,
    is_over: &dyn Fn() -> bool,
) -> Result<BackupSummary, BackupError> {
    let failed =
        |error| BackupError::Io { directory: directory.to_owned(), error: Arc::new(error) };
    make_empty(directory)?;
    let folder = directory.join(disk::FOLDER);
    make_private(&folder).map_err(failed)?;
    let target: Arc<dyn Io> = Arc::new(Folder::open(&folder).map_err(failed)?);
    let keys = disk.engine().backup(&target, is_over).map_err(|error| match error {
        engine::EngineBackupError::NotEmpty => BackupError::NotEmpty(directory.to_owned()),
        engine::EngineBackupError::Full => BackupError::Full(directory.to_owned()),
        engine::EngineBackupError::Store(error) => BackupError::Store(commit_error(error)),
        engine::EngineBackupError::Damaged(key) => BackupError::Damaged(keys::describe(&key)),
        engine::EngineBackupError::Incomplete => {
            BackupError::Damaged("the list of keys".to_owned())
        }
        engine::EngineBackupError::Over => BackupError::Store(StoreError::Closed),
        engine::EngineBackupError::Io(error) => failed(error),
    })?;
    // The name of the folder, and that of the directory.
    let above = directory.parent().filter(|above| !above.as_os_str().is_empty());
    for folder in [directory, above.unwrap_or(Path::new("."))] {
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    let (files, bytes) = length_of(&folder).map_err(failed)?;
    Ok(BackupSummary { keys, files, bytes })
}

/// Make a directory, where there may be an empty one.
fn make_empty(directory: &Path) -> Result<(), BackupError> {
    let failed =
        |error| BackupError::Io { directory: directory.to_owned(), error: Arc::new(error) };
    match std::fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(BackupError::NotEmpty(directory.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_private(directory).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// What agents and their users say is nobody else's business.
fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(directory)
}

/// How many files there are below a directory, and how long they are together.
fn length_of(directory: &Path) -> io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            let (more, longer) = length_of(&entry.path())?;
            files += more;
            bytes += longer;
        } else {
            files += 1;
            bytes += metadata.len();
        }
    }
    Ok((files, bytes))
}

fn commit_error(error: CommitError) -> StoreError {
    match error {
        CommitError::Full => StoreError::Full,
        CommitError::Unknown(reason) | CommitError::Failed(reason) => StoreError::Unknown(reason),
        CommitError::Closed => StoreError::Closed,
        CommitError::Key
        | CommitError::Front { .. }
        | CommitError::TooLarge { .. }
        | CommitError::Unopened(_) => StoreError::Io(error.to_string().into()),
    }
}
