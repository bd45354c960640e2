//! What an operator asks of a store: whether it is whole, how large it is, to make it smaller, to
//! copy it, to repair it. All sizes are in bytes.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use super::embedded::upkeep::{backup, check, compact, repair, restore, stat};

use async_trait::async_trait;

use super::StoreError;
use super::embedded::OpenError;
use dormouse_domain::id::SessionId;
use dormouse_domain::time::Timestamp;

/// How a host looks after the store that comes with it.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Sizes, for metrics.
    fn stats(&self) -> StoreStats;

    /// [`StoreStats::index_bytes`] alone, which is asked for each time that an instance needs memory.
    fn index_bytes(&self) -> u64 {
        self.stats().index_bytes
    }

    /// What everything takes, on the disk and in memory.
    async fn usage(&self) -> Result<StoreUsage, StoreError>;

    /// Remove what is too old at `now` of the log of events, and of the snapshots and turns of all
    /// sessions, and the idempotency keys that may be forgotten by then. What a session needs to go on
    /// stays. Commits go on meanwhile.
    async fn expire(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Read everything that is durable and say what is wrong with it. Commits go on meanwhile.
    async fn check(&self) -> Result<CheckReport, StoreError>;

    /// Give back the space of what is not in use. Commits go on meanwhile.
    async fn compact(&self) -> Result<(), StoreError>;

    /// Copy what is durable at one moment to a directory that is empty or not there, and read the copy
    /// back. Commits go on meanwhile. A host can be started on the copy.
    async fn backup(&self, directory: PathBuf) -> Result<BackupSummary, BackupError>;
}

/// Sizes, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Sessions stored.
    pub sessions: u64,
    /// Those of them that are not over.
    pub open_sessions: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes of values on disk, deleted and replaced ones included.
    pub value_bytes: u64,
    /// Bytes of values that are in use. What lies between the two is given back bit by bit.
    pub live_bytes: u64,
    /// Bytes that the indexes hold in memory, estimated.
    pub index_bytes: u64,
    /// Bytes of memory that commits take which are durable and not applied yet, estimated.
    pub overlay_bytes: u64,
    /// Whether nothing is applied because the disk is full.
    pub waits_for_space: bool,
    /// Records set aside because they do not decode.
    pub quarantined: u64,
    /// Commits since the store was opened.
    pub commits: u64,
    /// Groups of commits, each with one sync, since the store was opened.
    pub groups: u64,
    /// Counts of parts of states that have changed since the store was opened: what a commit shares anew
    /// costs one each, and what is let go of another.
    pub counts: u64,
    /// Parts of states that nothing needs and that are still to be removed.
    pub unused: u64,
}

/// The most findings that a report lists. All of them are counted.
pub const MAX_FINDINGS: usize = 1000;

/// What a check has read, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// What has been read.
    pub read: Census,
    /// How many things are wrong.
    pub problems: u64,
    /// The first [`MAX_FINDINGS`] of them.
    pub findings: Vec<Finding>,
}

/// How much of everything there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Keys of all kinds.
    pub keys: u64,
    /// What the values of these keys take in packs.
    pub bytes: u64,
    /// Sessions.
    pub sessions: u64,
    /// Snapshots of sessions.
    pub snapshots: u64,
    /// Turns.
    pub turns: u64,
    /// Parts of snapshots that several may share.
    pub blobs: u64,
    /// Templates.
    pub templates: u64,
    /// Agents.
    pub agents: u64,
    /// Records that did not decode and were set aside, or were taken out by a repair: nothing is
    /// wrong with the rest.
    pub set_aside: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What sort of thing.
    pub problem: Problem,
    /// The session that it concerns, if it concerns one.
    pub session: Option<SessionId>,
    /// What is wrong, and where.
    pub what: String,
}

/// What sort of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The store does not open.
    Refused,
    /// Something is not what was written, or does not decode.
    Damaged,
    /// Something that is referred to is not there.
    Missing,
    /// Nothing refers to something that is there.
    Stray,
    /// A count does not agree with what it counts.
    Miscounted,
}

impl Problem {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Problem::Refused => "refused",
            Problem::Damaged => "damaged",
            Problem::Missing => "missing",
            Problem::Stray => "stray",
            Problem::Miscounted => "miscounted",
        }
    }
}

impl CheckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.problems == 0
    }

    /// The sessions that the listed findings concern.
    #[must_use]
    pub fn sessions(&self) -> BTreeSet<SessionId> {
        self.findings.iter().filter_map(|finding| finding.session).collect()
    }

    pub fn add(&mut self, problem: Problem, session: Option<SessionId>, what: String) {
        self.problems += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { problem, session, what });
        }
    }
}

/// What a store takes, on the disk and in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Sessions.
    pub sessions: u64,
    /// Values that are soon replaced: records and the newest turns of sessions.
    pub heads: PackUsage,
    /// Values that stay: turns, snapshots, events, agents.
    pub rows: PackUsage,
    /// Large values, each in a file of its own.
    pub large: PackUsage,
    /// The index on the disk.
    pub index_bytes: u64,
    /// The log of commits.
    pub log: LogUsage,
    /// What is committed and not in the index yet.
    pub overlay: OverlayUsage,
    /// Whether the store waits for space on the disk: commits are taken for as long as log and
    /// overlay have room, and then refused.
    pub waits_for_space: bool,
    /// Records that have been set aside.
    pub set_aside: u64,
    /// What is left of the disk.
    pub free_bytes: u64,
}

impl StoreUsage {
    /// What all of it takes on the disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let packs = self.heads.bytes + self.rows.bytes + self.large.bytes;
        packs + self.index_bytes + self.log.bytes
    }
}

/// What the packs of one kind take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackUsage {
    /// How many packs there are: files.
    pub packs: u64,
    /// What they take.
    pub bytes: u64,
    /// How much of that is in use. The rest is given back when it is compacted.
    pub live: u64,
}

/// What the log of commits takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogUsage {
    /// How many slots it has: files that are used again and again.
    pub slots: u64,
    /// What they take.
    pub bytes: u64,
    /// The number of the last group of commits.
    pub last: u64,
    /// The number of the last group that the index has.
    pub applied: u64,
}

/// What is committed and not in the index yet, in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OverlayUsage {
    /// How many keys.
    pub keys: u64,
    /// What they take in memory, about.
    pub bytes: u64,
}

/// What has been copied to a backup, and read back from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupSummary {
    /// Keys of all kinds.
    pub keys: u64,
    /// Files.
    pub files: u64,
    /// Their length together.
    pub bytes: u64,
}

/// Why there is no backup.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BackupError {
    /// There is something in the directory.
    #[error("{} is not empty; name a directory that is empty or not there", .0.display())]
    NotEmpty(PathBuf),
    /// The disk of the backup, or that of the store, is full.
    #[error("there is no space for the backup; free some, empty {} and try again", .0.display())]
    Full(PathBuf),
    /// A value of the store is damaged, or its copy is not what was read.
    #[error(
        "{0} is damaged or was not copied well: this is no backup; run `dormouse store check` to see \
         whether it is the store"
    )]
    Damaged(String),
    /// The directory cannot be written to.
    #[error("the backup could not be written to {}: {error}", .directory.display())]
    Io {
        /// The directory of the backup.
        directory: PathBuf,
        /// What the system said.
        error: Arc<io::Error>,
    },
    /// The store cannot be copied.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What has been restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreSummary {
    /// Sessions that are there now.
    pub sessions: u64,
    /// Files that were copied.
    pub files: u64,
    /// Their length together.
    pub bytes: u64,
}

/// What a repair has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// How many things were wrong.
    pub problems: u64,
    /// What has been done, the first [`MAX_FINDINGS`] of it.
    pub done: Vec<String>,
    /// What is still wrong: a repair cannot bring back an agent, say, whose component has to be
    /// uploaded again.
    pub left: Vec<String>,
    /// What became of the sessions that were concerned.
    pub sessions: Vec<RepairedSession>,
    /// Where what was taken out is kept. `None` where there was nothing that could be kept.
    pub quarantine: Option<PathBuf>,
}

/// A session that a repair has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairedSession {
    /// The session.
    pub session: SessionId,
    /// What became of it.
    pub outcome: RepairOutcome,
}

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RepairOutcome {
    /// It goes on. Some of its older turns, snapshots or events are gone.
    Shortened,
    /// It is in `error`: its state is gone (`snapshot_corrupt`: it can be resumed from an older
    /// snapshot), its last turns are (`state_lost`), or most of its record is (`record_damaged`: what
    /// it has spent, its configuration and its context).
    Error,
    /// Its record is gone: it is not listed any more. What is left of it is kept.
    Lost,
}

impl RepairOutcome {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RepairOutcome::Shortened => "shortened",
            RepairOutcome::Error => "error",
            RepairOutcome::Lost => "lost",
        }
    }
}

/// Why a directory could not be worked on.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// There is nothing there.
    #[error("{} is not a data directory: it holds no store; name the data directory with --data-dir", .0.display())]
    NoStore(PathBuf),
    /// There is no backup there.
    #[error("{} is not a backup; `dormouse backup` makes one", .0.display())]
    NoBackup(PathBuf),
    /// Something is where the store should go.
    #[error("{} is not empty: a backup is restored to a directory that is empty or not there", .0.display())]
    NotEmpty(PathBuf),
    /// The backup does not read back. Nothing was written.
    #[error("the backup is damaged ({0}); use another one. Nothing was written")]
    BackupDamaged(String),
    /// It cannot be repaired.
    #[error("this cannot be repaired ({0}); restore a backup with `dormouse restore`")]
    Hopeless(String),
    /// The store cannot be opened, or somebody else has it open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No backup could be made.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Reading or writing the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Reading or writing a file failed.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}
