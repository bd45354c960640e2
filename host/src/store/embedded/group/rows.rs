//! Keys of sled that a group adds and removes, and what is durable of them until it is.

use std::collections::HashMap;

use sled::{Batch, IVec};

use super::super::disk::Disk;
use crate::store::StoreError;

/// What is durable of the keys that a group changes.
pub(in super::super) type Before = HashMap<Vec<u8>, Option<IVec>>;

/// The keys that the group has read or changed.
pub(super) struct Rows<'a> {
    disk: &'a Disk,
    rows: HashMap<Vec<u8>, Row>,
}

struct Row {
    durable: Option<IVec>,
    now: Option<IVec>,
    changed: bool,
}

impl<'a> Rows<'a> {
    /// Nothing has been changed yet.
    pub(super) fn new(disk: &'a Disk) -> Rows<'a> {
        Rows { disk, rows: HashMap::new() }
    }

    /// What the group has made of a key so far.
    pub(super) fn get(&mut self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        if let Some(row) = self.rows.get(key) {
            return Ok(row.now.clone());
        }
        // The group before this one is durable, so all that sled has is.
        let durable = self.disk.get(key)?;
        let row = Row { durable: durable.clone(), now: durable.clone(), changed: false };
        self.rows.insert(key.to_vec(), row);
        Ok(durable)
    }

    /// Give a key a value. One that has not been read was not there.
    pub(super) fn insert(&mut self, key: &[u8], value: impl Into<IVec>) {
        self.set(key, Some(value.into()));
    }

    /// Remove a key that has been read.
    pub(super) fn remove(&mut self, key: &[u8]) {
        self.set(key, None);
    }

    /// Put the changes into the batch, and what is durable of their keys into `before`. Returns
    /// whether there are any.
    pub(super) fn seal(self, batch: &mut Batch, before: &mut Before) -> bool {
        let mut any = false;
        for (key, row) in self.rows.into_iter().filter(|(_, row)| row.changed) {
            any = true;
            match row.now {
                Some(value) => batch.insert(key.as_slice(), value),
                None => batch.remove(key.as_slice()),
            }
            before.insert(key, row.durable);
        }
        any
    }

    fn set(&mut self, key: &[u8], value: Option<IVec>) {
        if let Some(row) = self.rows.get_mut(key) {
            row.now = value;
            row.changed = true;
        } else {
            self.rows.insert(key.to_vec(), Row { durable: None, now: value, changed: true });
        }
    }
}
