//! The chunks of snapshots, which may come without their data where the store has them.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::StoreError;
use dormouse_domain::agent::Digest;
use dormouse_domain::snapshot::{Chunk, GuestState, Snapshot};

/// The data of all chunks, with how many snapshots and templates have each.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    all: BTreeMap<Digest, (u64, Bytes)>,
    /// Whether the last chunk of each snapshot is not counted.
    #[cfg(test)]
    pub(super) forgets_an_edge: bool,
}

impl Chunks {
    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Give each of these snapshots the data that it came without: one of the others may bring it.
    ///
    /// # Errors
    /// [`StoreError::SnapshotGone`] where nothing has it.
    pub(super) fn fill(&self, snapshots: Vec<&mut Snapshot>) -> Result<(), StoreError> {
        let brought = snapshots.iter().flat_map(|snapshot| chunks_of(snapshot));
        let brought: BTreeMap<Digest, Bytes> =
            brought.filter_map(|chunk| Some((chunk.digest, chunk.data.clone()?))).collect();
        for snapshot in snapshots {
            let GuestState::Image { chunks, .. } = &mut snapshot.state else { continue };
            for chunk in chunks.iter_mut() {
                let known = self.all.get(&chunk.digest).map(|(_, data)| data);
                let data = known.or_else(|| brought.get(&chunk.digest));
                chunk.data = Some(data.ok_or(StoreError::SnapshotGone)?.clone());
            }
        }
        Ok(())
    }

    /// Count one use more of the chunks of this snapshot, which is whole.
    pub(super) fn take(&mut self, snapshot: &Snapshot) {
        let chunks = distinct(snapshot);
        #[cfg(test)]
        let chunks = self.counted(chunks);
        for (digest, data) in chunks {
            self.all.entry(digest).or_insert((0, data)).0 += 1;
        }
    }

    /// Count one use less. What is not used any more goes.
    pub(super) fn release(&mut self, snapshot: &Snapshot) {
        for digest in distinct(snapshot).into_keys() {
            let Some((uses, _)) = self.all.get_mut(&digest) else { continue };
            *uses -= 1;
            if *uses == 0 {
                self.all.remove(&digest);
            }
        }
    }

    #[cfg(test)]
    fn counted(&self, mut chunks: BTreeMap<Digest, Bytes>) -> BTreeMap<Digest, Bytes> {
        if self.forgets_an_edge {
            chunks.pop_last();
        }
        chunks
    }
}

/// A snapshot without the data of its chunks.
pub(super) fn outline(snapshot: &Snapshot) -> Snapshot {
    let mut snapshot = snapshot.clone();
    if let GuestState::Image { chunks, .. } = &mut snapshot.state {
        chunks.iter_mut().for_each(|chunk| chunk.data = None);
    }
    snapshot
}

fn distinct(snapshot: &Snapshot) -> BTreeMap<Digest, Bytes> {
    let chunks = chunks_of(snapshot).iter();
    chunks.filter_map(|chunk| Some((chunk.digest, chunk.data.clone()?))).collect()
}

fn chunks_of(snapshot: &Snapshot) -> &[Chunk] {
    match &snapshot.state {
        GuestState::Portable { .. } => &[],
        GuestState::Image { chunks, .. } => chunks,
    }
}
