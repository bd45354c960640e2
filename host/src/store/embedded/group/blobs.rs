//! The blobs that a group refers to and lets go of, counted; and the files that they lie in.

use std::collections::HashMap;

use sled::{Batch, IVec};

use super::super::Shared;
use super::super::blob::{BlobCell, BlobId};
use super::super::cell::{Content, SnapshotCell};
use super::super::commit::Shares;
use super::super::files::FileName;
use super::super::keys;
use super::super::query::{BlobReader, Unreadable};
use super::rows::Before;
use crate::store::StoreError;
use crate::store::codec::{self, Kind};

/// The blobs that the group has read or changed.
pub(super) struct Blobs<'a> {
    shared: &'a Shared,
    blobs: HashMap<BlobId, Staged>,
    files: HashMap<FileName, Uses>,
}

struct Staged {
    durable: Option<IVec>,
    was: Option<BlobCell>,
    now: Option<BlobCell>,
}

/// How many blobs of a file are in use.
struct Uses {
    was: u64,
    now: u64,
}

/// The uses of a file whose number is lost: it stays.
const UNKNOWN: u64 = u64::MAX;

impl<'a> Blobs<'a> {
    /// Nothing has been changed yet.
    pub(super) fn new(shared: &'a Shared) -> Blobs<'a> {
        Blobs { shared, blobs: HashMap::new(), files: HashMap::new() }
    }

    /// Make sure that each blob that a commit refers to is there, or comes with it.
    ///
    /// # Errors
    /// [`StoreError::SnapshotGone`] where one is not.
    pub(super) fn check(&mut self, shares: &Shares) -> Result<(), StoreError> {
        for id in shares.uses.keys() {
            if self.load(id)?.now.is_none() && !shares.places.contains_key(id) {
                return Err(StoreError::SnapshotGone);
            }
        }
        Ok(())
    }

    /// Take in what a commit refers to, which has been checked. The file that it brings goes again
    /// if nothing in it is used: all of it may have been there before.
    pub(super) fn take(&mut self, shares: &Shares) {
        if let Some(file) = &shares.file {
            self.files.insert(file.clone(), Uses { was: 0, now: 0 });
        }
        for (id, more) in &shares.uses {
            let Some(staged) = self.blobs.get_mut(id) else { continue };
            match (&mut staged.now, shares.places.get(id)) {
                (Some(cell), _) => cell.uses += more,
                (now @ None, Some(place)) => {
                    *now = Some(BlobCell { uses: *more, place: place.clone() });
                    if let Some(file) = self.files.get_mut(&place.file) {
                        file.now += 1;
                    }
                }
                (None, None) => {}
            }
        }
    }

    /// Count one use less of all blobs that this snapshot refers to. Returns how many those are.
    ///
    /// # Errors
    /// Why it is not known what to let go of. Nothing was let go of then.
    pub(super) fn release(&mut self, cell: &SnapshotCell<'_>) -> Result<usize, Unreadable> {
        let blobs = self.blobs_of(cell)?;
        for id in &blobs {
            let file = match &self.load(id)?.now {
                Some(cell) => cell.place.file.clone(),
                None => continue,
            };
            self.load_file(&file)?;
        }
        for id in &blobs {
            let Some(Staged { now, .. }) = self.blobs.get_mut(id) else { continue };
            let Some(cell) = now else {
                tracing::error!(blob = keys::describe(&keys::blob(id)), "a blob is missing");
                continue;
            };
            cell.uses = cell.uses.saturating_sub(1);
            if cell.uses == 0 {
                let file = self.files.get_mut(&cell.place.file);
                if let Some(file) = file.filter(|file| file.now != UNKNOWN) {
                    file.now = file.now.saturating_sub(1);
                }
                *now = None;
            }
        }
        Ok(blobs.len())
    }

    /// Put the changes into the batch, what is durable of their keys into `before`, and the files
    /// that go into `unlink`. Returns whether there are any changes.
    pub(super) fn seal(
        self,
        batch: &mut Batch,
        before: &mut Before,
        unlink: &mut Vec<FileName>,
    ) -> bool {
        let mut any = false;
        for (id, Staged { durable, was, now }) in self.blobs {
            if was == now {
                continue;
            }
            any = true;
            let key = keys::blob(&id);
            match now {
                Some(cell) => batch.insert(key.as_slice(), codec::seal(&key, &[&cell.write()])),
                None => batch.remove(key.as_slice()),
            }
            before.insert(key.to_vec(), durable);
        }
        for (name, Uses { was, now }) in self.files {
            let key = keys::file(name.as_str());
            if now == 0 {
                if was > 0 {
                    any = true;
                    batch.remove(key);
                }
                unlink.push(name);
            } else if now != was {
                any = true;
                batch.insert(key.as_slice(), codec::seal(&key, &[&now.to_le_bytes()]));
            }
        }
        any
    }

    /// All blobs that this snapshot refers to, each once.
    fn blobs_of(&mut self, cell: &SnapshotCell<'_>) -> Result<Vec<BlobId>, Unreadable> {
        let mut blobs = Vec::new();
        if let Content::Blob(digest) = cell.data {
            blobs.push(BlobId::Data(digest));
        }
        let chunks = match cell.chunks {
            Content::Inline(list) => codec::decode_chunks(list)?,
            Content::Blob(digest) => {
                let id = BlobId::List(digest);
                blobs.push(id);
                let place = self.load(&id)?.now.as_ref().map(|cell| cell.place.clone());
                let place = place.ok_or(Unreadable::Stale)?;
                let list = BlobReader::new(&self.shared.files).read(&id, &place)?;
                codec::decode_chunks(&list)?
            }
        };
        blobs.extend(chunks.iter().map(|chunk| BlobId::Chunk(chunk.digest)));
        blobs.sort_unstable();
        blobs.dedup();
        Ok(blobs)
    }

    fn load(&mut self, id: &BlobId) -> Result<&mut Staged, StoreError> {
        use std::collections::hash_map::Entry;
        match self.blobs.entry(*id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let key = keys::blob(id);
                let durable = self.shared.disk.get(&key)?;
                // A damaged one is as good as none: whoever has the contents brings them again.
                let was = durable.as_ref().and_then(|sealed| {
                    let value = codec::unseal(Kind::Note, &key, sealed).ok()?;
                    BlobCell::read(&value).ok()
                });
                Ok(unknown.insert(Staged { durable, now: was.clone(), was }))
            }
        }
    }

    fn load_file(&mut self, name: &FileName) -> Result<(), StoreError> {
        if !self.files.contains_key(name) {
            let key = keys::file(name.as_str());
            let uses = self.shared.disk.get(&key)?.and_then(|sealed| {
                let value = codec::unseal(Kind::Note, &key, &sealed).ok()?;
                Some(u64::from_le_bytes(value.as_ref().try_into().ok()?))
            });
            let was = uses.unwrap_or(UNKNOWN);
            self.files.insert(name.clone(), Uses { was, now: was });
        }
        Ok(())
    }
}
