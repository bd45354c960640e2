//! A snapshot: the guest state after a turn. Immutable; the newest is the head of its session.
//!
//! How the state is taken and put back is for `sandbox/snapshot/`; this is what is kept of it.

use bytes::Bytes;

use super::id::SnapshotId;
use crate::agent::Digest;
use crate::clock::Timestamp;

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
    /// How many bytes the guest had drawn from its stream of random bytes: it goes on from there.
    pub random_position: u64,
    /// The state itself.
    pub state: GuestState,
}

/// The state of a guest, in one of the forms that outlive an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestState {
    /// What the agent's own `save` returned.
    Portable {
        /// The version of the agent's encoding.
        version: u32,
        /// The bytes.
        data: Bytes,
    },
    /// The memories and globals of the instance, as `sandbox/snapshot/image/` writes them.
    Image {
        /// All of a small image. Of a large one, what puts its chunks together.
        data: Bytes,
        /// The chunks of a large image, in order. Empty for a small one.
        chunks: Vec<Chunk>,
    },
}

/// A piece of a large image, named by its contents: snapshots with the same bytes share it.
#[derive(Clone, Debug, PartialEq, Eq)]
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
            GuestState::Portable { data, .. } => data.len(),
            GuestState::Image { data, chunks } => {
                let size = |chunk: &Chunk| usize::try_from(chunk.size).unwrap_or(usize::MAX);
                chunks.iter().map(size).fold(data.len(), usize::saturating_add)
            }
        }
    }
}
