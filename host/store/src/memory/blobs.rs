//! The chunks of snapshots, which may come without their data where the store has them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::StoreError;
use crate::read::FilesLease;
use dormouse_domain::agent::Digest;
use dormouse_domain::snapshot::{Chunk, FileBlob, GuestState, Snapshot};

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

/// The pieces of workspaces, each with those that it names.
#[derive(Debug, Default)]
pub(super) struct FileBlobs {
    all: BTreeMap<Digest, (Vec<Digest>, Bytes)>,
    /// Versions that readers spare, and how many of these.
    leased: Arc<Mutex<BTreeMap<Digest, usize>>>,
}

/// Spares a version.
struct VersionLease {
    leased: Arc<Mutex<BTreeMap<Digest, usize>>>,
    version: Digest,
}

impl Drop for VersionLease {
    fn drop(&mut self) {
        let mut leased = self.leased.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = leased.get_mut(&self.version) {
            *count -= 1;
        }
        leased.retain(|_, count| *count > 0);
    }
}

impl FileBlobs {
    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The bytes of one.
    pub(super) fn get(&self, digest: Digest) -> Option<Bytes> {
        self.all.get(&digest).map(|(_, bytes)| bytes.clone())
    }

    /// Spare a version.
    pub(super) fn lease(&self, version: Digest) -> FilesLease {
        let leased = Arc::clone(&self.leased);
        *leased.lock().unwrap_or_else(PoisonError::into_inner).entry(version).or_default() += 1;
        FilesLease::new(VersionLease { leased, version })
    }

    /// Take what these snapshots bring, and leave them with the names of their versions.
    ///
    /// # Errors
    /// [`StoreError::SnapshotGone`] where one names what nobody has. Nothing was taken then.
    pub(super) fn take(&mut self, snapshots: Vec<&mut Snapshot>) -> Result<(), StoreError> {
        let files = || snapshots.iter().filter_map(|snapshot| snapshot.files.as_ref());
        let brought: BTreeMap<Digest, &FileBlob> =
            files().flat_map(|files| &files.blobs).map(|blob| (blob.digest, blob)).collect();
        let mut open: Vec<Digest> = files().map(|files| files.version).collect();
        let mut new = BTreeMap::new();
        while let Some(digest) = open.pop() {
            if self.all.contains_key(&digest) || new.contains_key(&digest) {
                continue;
            }
            let blob = brought.get(&digest).ok_or(StoreError::SnapshotGone)?;
            open.extend(&blob.edges);
            new.insert(digest, (blob.edges.clone(), blob.bytes.clone()));
        }
        self.all.append(&mut new);
        for snapshot in snapshots {
            if let Some(files) = &mut snapshot.files {
                files.blobs.clear();
            }
        }
        Ok(())
    }

    /// Remove what none of these snapshots names, and no reader spares.
    pub(super) fn sweep<'a>(&mut self, kept: impl Iterator<Item = &'a Snapshot>) {
        let mut open: Vec<Digest> =
            kept.filter_map(|snapshot| Some(snapshot.files.as_ref()?.version)).collect();
        open.extend(self.leased.lock().unwrap_or_else(PoisonError::into_inner).keys());
        let mut reached = BTreeSet::new();
        while let Some(digest) = open.pop() {
            if reached.insert(digest)
                && let Some((edges, _)) = self.all.get(&digest)
            {
                open.extend(edges);
            }
        }
        self.all.retain(|digest, _| reached.contains(digest));
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
        GuestState::Portable { .. } | GuestState::Nothing => &[],
        GuestState::Image { chunks, .. } => chunks,
    }
}
