//! A snapshot: the guest state after a turn. Immutable; the newest is the head of its session.
//!
//! How the state is taken and put back is for the sandbox (`snapshot/`); this is what is kept of it.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use super::id::SnapshotId;
use crate::agent::Digest;
use crate::state::Cause;
use crate::time::Timestamp;

/// The guest state of a session after one of its turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name: what the API calls `sessionId`.
    pub id: SnapshotId,
    /// The snapshot that the turn started from.
    pub parent: Option<SnapshotId>,
    /// The number of the turn that it was taken after.
    pub turn: u64,
    /// The agent whose state it is. Another agent cannot be woken from it.
    pub agent: Digest,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// What the guest's monotonic clock said, in nanoseconds. It goes on from there, with the time
    /// that has passed since: whether the session slept, the guest cannot tell.
    pub monotonic_ns: u64,
    /// The state itself.
    pub state: GuestState,
    /// The files of the session. `None`: it has never had any.
    pub files: Option<Files>,
}

/// The files of a session, as a version of its workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The blob of the version. It names its tree and the versions before it.
    pub version: Digest,
    /// Blobs that the store may not have yet, those that are named before those that name them. Where it is
    /// empty, the store has all that the version names.
    pub blobs: Vec<FileBlob>,
}

/// A piece of a workspace: what it means is for the workspace; the store keeps it as long as something names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileBlob {
    /// The digest of its bytes, which is its name.
    pub digest: Digest,
    /// The blobs that it names, each once.
    pub edges: Vec<Digest>,
    /// Its bytes.
    pub bytes: Bytes,
}

/// How many paths a change of files has added, changed and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileChanges {
    /// Where there was nothing.
    pub added: u64,
    /// Where there was something else.
    pub changed: u64,
    /// Where there is nothing now.
    pub removed: u64,
}

impl Files {
    /// The same, all of which the store has.
    #[must_use]
    pub fn kept(&self) -> Files {
        Files { version: self.version, blobs: Vec::new() }
    }

    /// How many bytes the blobs have that the store may not have yet.
    #[must_use]
    pub fn new_bytes(&self) -> usize {
        self.blobs.iter().map(|blob| blob.bytes.len()).sum()
    }
}

impl Snapshot {
    /// What the guest's monotonic clock says when it wakes at `now`: it has gone on meanwhile.
    #[must_use]
    pub fn monotonic_at(&self, now: Timestamp) -> u64 {
        let slept = now.since(self.taken_at).as_nanos();
        self.monotonic_ns.saturating_add(u64::try_from(slept).unwrap_or(u64::MAX))
    }

    /// The same state under a new name, as a fork, a rewind or a template keeps it. The data of its
    /// chunks and its files is left to the store, which has it.
    #[must_use]
    pub fn again(&self, id: SnapshotId, now: Timestamp) -> Snapshot {
        let mut state = self.state.clone();
        if let GuestState::Image { chunks, .. } = &mut state {
            chunks.iter_mut().for_each(|chunk| chunk.data = None);
        }
        Snapshot {
            id,
            parent: Some(self.id),
            turn: self.turn,
            agent: self.agent,
            taken_at: now,
            monotonic_ns: self.monotonic_at(now),
            state,
            files: self.files.as_ref().map(Files::kept),
        }
    }
}

/// The state of a guest, in one of the forms that outlive an instance.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum GuestState {
    /// What the agent's own `save` returned.
    Portable {
        /// The version of the agent's encoding.
        version: u32,
        /// The bytes.
        data: Bytes,
    },
    /// The memories and globals of the instance, as the sandbox (`snapshot/image/`) writes them.
    Image {
        /// All of a small image. Of a large one, what puts its chunks together.
        data: Bytes,
        /// The chunks of a large image, in order. Empty for a small one.
        chunks: Vec<Chunk>,
    },
    /// None: the agent begins each turn anew, and its files are all that it has.
    Nothing,
}

/// A piece of a large image, named by its contents: snapshots with the same bytes share it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Chunk {
    /// The digest of what it holds, before it is compressed.
    pub digest: Digest,
    /// How many bytes it takes, compressed.
    pub size: u32,
    /// These bytes. `None`: the store has them, from an earlier snapshot that still refers to them.
    pub data: Option<Bytes>,
}

impl GuestState {
    /// How many bytes it takes, those of its chunks included.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            GuestState::Nothing => 0,
            GuestState::Portable { data, .. } => data.len(),
            GuestState::Image { data, chunks } => {
                let size = |chunk: &Chunk| usize::try_from(chunk.size).unwrap_or(usize::MAX);
                chunks.iter().map(size).fold(data.len(), usize::saturating_add)
            }
        }
    }
}

/// What has come of going on from a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResumeHistory {
    /// When a session last went on from it.
    pub last_at: Option<Timestamp>,
    /// How often a session should have gone on from it and could not.
    pub failures: u32,
    /// Whether it was damaged when that was last tried.
    pub is_damaged: bool,
}

/// What comes of going on from a snapshot: by a new session, by a fork, or by its session when that goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeTrial {
    /// A session goes on from it.
    Resumed,
    /// It was refused: the snapshot is stale, of another agent, or of one that was removed.
    Refused,
    /// The snapshot does not pass its checksums.
    Damaged,
}

impl ResumeHistory {
    /// The same after one more trial, at this time.
    #[must_use]
    pub fn after(self, trial: ResumeTrial, at: Timestamp) -> ResumeHistory {
        let failed = ResumeHistory { failures: self.failures.saturating_add(1), ..self };
        match trial {
            ResumeTrial::Resumed => ResumeHistory { last_at: Some(at), is_damaged: false, ..self },
            ResumeTrial::Refused => failed,
            ResumeTrial::Damaged => ResumeHistory { is_damaged: true, ..failed },
        }
    }
}

/// Why no new session can start from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResumeObstacle {
    /// It was damaged when that was last tried.
    Damaged,
    /// The agent whose state it is was removed.
    AgentRemoved,
    /// It is older than the host resumes from.
    Stale,
}

impl ResumeObstacle {
    /// All of them.
    pub const ALL: [ResumeObstacle; 3] =
        [ResumeObstacle::Damaged, ResumeObstacle::AgentRemoved, ResumeObstacle::Stale];

    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ResumeObstacle::Damaged => "damaged",
            ResumeObstacle::AgentRemoved => "agent_removed",
            ResumeObstacle::Stale => "stale",
        }
    }
}

/// A snapshot does not pass its checksums. Nothing of it has reached a guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", describe_damage(.snapshot, .newest_good.as_ref()))]
pub struct DamagedSnapshot {
    /// Which one.
    pub snapshot: SnapshotId,
    /// The newest of those that the session can go on from.
    pub newest_good: Option<SnapshotId>,
}

impl DamagedSnapshot {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        Cause::SnapshotCorrupt.as_str()
    }
}

fn describe_damage(snapshot: &SnapshotId, newest_good: Option<&SnapshotId>) -> String {
    match newest_good {
        Some(good) => format!(
            "the snapshot {snapshot} is damaged; the newest good one is {good}: resume the session \
             with that snapshotId"
        ),
        None => format!("the snapshot {snapshot} is damaged, and the session has no good one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_add_up_and_a_snapshot_from_which_a_session_goes_on_is_not_damaged() {
        let tried = |history: ResumeHistory, trial, at| history.after(trial, Timestamp(at));
        let damaged = tried(ResumeHistory::default(), ResumeTrial::Damaged, 1);
        assert!(damaged.is_damaged);
        let refused = tried(damaged, ResumeTrial::Refused, 2);
        assert_eq!((refused.last_at, refused.failures, refused.is_damaged), (None, 2, true));
        let resumed = tried(refused, ResumeTrial::Resumed, 3);
        let expected = (Some(Timestamp(3)), 2, false);
        assert_eq!((resumed.last_at, resumed.failures, resumed.is_damaged), expected);
    }
}
