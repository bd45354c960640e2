//! Keys that a group adds, replaces and removes.

use std::collections::HashMap;

use bytes::Bytes;

use super::super::disk::Disk;
use super::super::engine::{Batch, Class};
use crate::StoreError;
use crate::codec;

/// The keys that the group has read or changed.
pub(super) struct GroupRows<'a> {
    disk: &'a Disk,
    rows: HashMap<Vec<u8>, Row>,
}

struct Row {
    now: Option<Bytes>,
    class: Class,
    changed: bool,
    /// Whether it was not there before.
    is_new: bool,
}

impl<'a> GroupRows<'a> {
    /// Nothing has been changed yet.
    pub(super) fn new(disk: &'a Disk) -> GroupRows<'a> {
        GroupRows { disk, rows: HashMap::new() }
    }

    /// What the group has made of a key so far.
    pub(super) fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if let Some(row) = self.rows.get(key) {
            return Ok(row.now.clone());
        }
        let now = self.disk.get(key)?;
        let row = Row { now: now.clone(), class: Class::Inline, changed: false, is_new: false };
        self.rows.insert(key.to_vec(), row);
        Ok(now)
    }

    /// Give a key a value, which is in its envelope.
    pub(super) fn put(&mut self, class: Class, key: impl AsRef<[u8]>, value: impl Into<Bytes>) {
        let row = Row { now: Some(value.into()), class, changed: true, is_new: false };
        self.rows.insert(key.as_ref().to_vec(), row);
    }

    /// Give a key its first value, which is in its envelope.
    pub(super) fn put_new(&mut self, class: Class, key: impl AsRef<[u8]>, value: impl Into<Bytes>) {
        let row = Row { now: Some(value.into()), class, changed: true, is_new: true };
        self.rows.insert(key.as_ref().to_vec(), row);
    }

    /// Give a key a value, which is in its envelope. Where the key is not there, it is its first.
    pub(super) fn place(&mut self, class: Class, key: &[u8], value: Vec<u8>) {
        let is_new = match self.rows.get(key) {
            Some(row) => row.is_new || (!row.changed && row.now.is_none()),
            None => matches!(self.disk.get(key), Ok(None)),
        };
        let row = Row { now: Some(value.into()), class, changed: true, is_new };
        self.rows.insert(key.to_vec(), row);
    }

    /// Know nothing of a key any more: it gets a value by other means.
    pub(super) fn let_go(&mut self, key: &[u8]) {
        self.rows.remove(key);
    }

    /// Give a key a value.
    pub(super) fn seal(&mut self, class: Class, key: impl AsRef<[u8]>, value: &[u8]) {
        let sealed = codec::seal(key.as_ref(), &[value]);
        self.put(class, key, sealed);
    }

    /// Remove a key.
    pub(super) fn remove(&mut self, key: impl AsRef<[u8]>) {
        let key = key.as_ref();
        if self.rows.get(key).is_some_and(|row| row.is_new) {
            self.rows.remove(key);
            return;
        }
        let row = Row { now: None, class: Class::Inline, changed: true, is_new: false };
        self.rows.insert(key.to_vec(), row);
    }

    /// Put the changes into the batch.
    pub(super) fn finish(self, batch: &mut Batch) {
        for (key, row) in self.rows.into_iter().filter(|(_, row)| row.changed) {
            match row.now {
                Some(value) if row.is_new => batch.put_new(row.class, key, value),
                Some(value) => batch.put(row.class, key, value),
                None => batch.delete(key),
            }
        }
    }
}
