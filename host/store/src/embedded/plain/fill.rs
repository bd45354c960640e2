//! Writing to the new store: a few megabytes at a time, the large values beside the log.

use std::collections::HashMap;

use bytes::Bytes;

use super::super::blob::{self, BlobId};
use super::super::disk::Disk;
use super::super::engine::{self, Batch, Class};
use super::super::{OpenError, keys, recovery};
use crate::codec::{self, Kind};

/// The most bytes of a batch, but for its last value.
const BATCH: usize = 1 << 20;
/// The most bytes that are staged at once, but for the last value.
const STAGED: usize = 16 << 20;
/// What a key takes, about.
const KEY: usize = 64;

/// What is on its way to the new store.
pub(super) struct Fill<'a> {
    disk: &'a Disk,
    batch: Batch,
    size: usize,
    large: Vec<(Bytes, Bytes)>,
    large_size: usize,
    /// The uses of blobs that are in the batch.
    uses: HashMap<BlobId, u64>,
}

impl<'a> Fill<'a> {
    /// Nothing has been written yet.
    pub(super) fn new(disk: &'a Disk) -> Fill<'a> {
        Fill {
            disk,
            batch: Batch::default(),
            size: 0,
            large: Vec::new(),
            large_size: 0,
            uses: HashMap::new(),
        }
    }

    /// Give a key a value, which is in its envelope.
    pub(super) fn put(
        &mut self,
        class: Class,
        key: &[u8],
        value: impl Into<Bytes>,
    ) -> Result<(), OpenError> {
        let value = value.into();
        // The front of a value comes into the index by way of the log.
        let is_fronted = matches!(class, Class::Fronted(_));
        if value.len() >= engine::STAGE && !is_fronted {
            return self.stage(key, value);
        }
        self.size += KEY + value.len();
        self.batch.put(class, key.to_vec(), value);
        if self.size >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Give a key a value.
    pub(super) fn seal(&mut self, class: Class, key: &[u8], value: &[u8]) -> Result<(), OpenError> {
        self.put(class, key, codec::seal(key, &[value]))
    }

    /// Give a key a value that is large, or may be.
    pub(super) fn stage(&mut self, key: &[u8], value: impl Into<Bytes>) -> Result<(), OpenError> {
        let value = value.into();
        self.large_size += KEY + value.len();
        self.large.push((key.to_vec().into(), value));
        if self.large_size >= STAGED { self.flush() } else { Ok(()) }
    }

    /// The value of a key, once all before it has been flushed.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, OpenError> {
        Ok(self.disk.get(key)?)
    }

    /// How many snapshots and templates refer to a blob.
    pub(super) fn uses(&self, id: &BlobId) -> Result<u64, OpenError> {
        if let Some(uses) = self.uses.get(id) {
            return Ok(*uses);
        }
        let key = keys::blob(id);
        let Some(sealed) = self.disk.get(&key)? else { return Ok(0) };
        let uses = codec::unseal(Kind::Note, &key, &sealed).and_then(|uses| blob::read_uses(&uses));
        uses.map_err(|error| OpenError::Damaged(format!("{}: {error}", keys::describe(&key))))
    }

    /// So many refer to a blob. With the last of them its bytes go.
    pub(super) fn set_uses(&mut self, id: &BlobId, uses: u64) -> Result<(), OpenError> {
        let key = keys::blob(id);
        if uses == 0 {
            // What is staged in the same batch would come after this.
            self.flush()?;
            self.batch.delete(key.to_vec());
            self.batch.delete(keys::content(id).to_vec());
            self.size += 2 * KEY;
            self.uses.insert(*id, 0);
            return Ok(());
        }
        self.uses.insert(*id, uses);
        self.seal(Class::Inline, &key, &blob::write_uses(uses))
    }

    /// Make all of it durable.
    pub(super) fn flush(&mut self) -> Result<(), OpenError> {
        let mut batch = std::mem::take(&mut self.batch);
        let large = std::mem::take(&mut self.large);
        (self.size, self.large_size) = (0, 0);
        self.uses.clear();
        if !large.is_empty() {
            batch.put_staged(self.disk.stage(&large)?, |_| true);
        }
        if batch.is_empty() { Ok(()) } else { recovery::write(self.disk, batch) }
    }
}
