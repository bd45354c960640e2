//! Staging: large values are made durable before a batch says which keys have them.
//!
//! ```text
//!  stage(values) ──▶ packs, synced ──▶ put_staged(keep) ──▶ commit ──▶ pointers in the log
//!                        │                   │
//!                        └── dropped ────────┴── none of a pack is kept: the pack goes
//! ```
//! So large values are written once, beside the log, by as many threads as there are. A pack of
//! which some values are kept stays until the last of them goes, or until it is compacted.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::core::Core;
use super::frame::{FRAME, HEADER};
use super::io::{is_full, is_unchanged};
use super::packs::Packs;
use super::value::{PackKind, Pointer};
use super::writer::PackWriter;
use super::{EngineOptions, KEY, StageError};

/// How many times as long as other packs those of large values may be. Compacting one of them
/// keeps the applier from anything else.
const LONGER: u64 = 8;

/// The most bytes of a pack of large values, unless one value has more.
pub(super) fn pack_bytes(options: &EngineOptions) -> u64 {
    options.pack_bytes.saturating_mul(LONGER)
}

/// Large values that are durable, and that no key has yet. Those which are never committed are
/// removed.
#[derive(Debug)]
pub(crate) struct Staged {
    values: Vec<(Bytes, Pointer)>,
    /// The packs that they lie in.
    numbers: Vec<u64>,
    packs: Arc<Packs>,
}

impl Core {
    pub(super) fn stage(&self, values: &[(Bytes, Bytes)]) -> Result<Staged, StageError> {
        let largest = u32::MAX as usize - KEY - FRAME - HEADER;
        if let Some((_, value)) = values.iter().find(|(_, value)| value.len() > largest) {
            return Err(StageError::TooLarge(value.len()));
        }
        if values.iter().any(|(key, _)| super::core::is_bad(key)) {
            return Err(StageError::Key);
        }
        if let Some(reason) = self.failed() {
            return Err(StageError::Failed(reason));
        }
        let bytes: u64 = values.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        let staged = self.io.free().and_then(|free| {
            if free < bytes.saturating_add(self.options.floor_bytes) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            write(&self.packs, pack_bytes(&self.options), values)
        });
        staged.map_err(|error| {
            if is_full(&error) {
                StageError::Full
            } else if is_unchanged(&error) {
                StageError::Unopened(error.to_string().into())
            } else {
                // The folder is that of all packs: what else was not synced, nobody knows.
                StageError::Failed(self.fail(&format!("staging large values: {error}")))
            }
        })
    }
}

/// Write values to new packs of up to so many bytes, and sync them and their folder.
fn write(packs: &Arc<Packs>, most: u64, values: &[(Bytes, Bytes)]) -> io::Result<Staged> {
    let mut staged = Staged {
        values: Vec::with_capacity(values.len()),
        numbers: Vec::new(),
        packs: Arc::clone(packs),
    };
    let mut writer = PackWriter::staging(most);
    for (key, value) in values {
        let appended = writer.append(packs, key, value);
        if let Some(number) = writer.pack()
            && staged.numbers.last() != Some(&number)
        {
            staged.numbers.push(number);
        }
        staged.values.push((key.clone(), appended?));
    }
    writer.sync(packs)?;
    Ok(staged)
}

impl Staged {
    /// The keys that they are for, and where they lie.
    pub(super) fn values(&self) -> &[(Bytes, Pointer)] {
        &self.values
    }

    /// Let go of the values of other keys.
    pub(super) fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        self.values.retain(|(key, _)| keep(key));
        let used = |number: &u64| self.values.iter().any(|(_, at)| at.pack == *number);
        let (used, unused) = self.numbers.drain(..).partition(used);
        self.numbers = used;
        unused.into_iter().for_each(|number| self.packs.remove(PackKind::Large, number));
    }

    /// They may be in the log from now on.
    pub(super) fn keep(mut self) {
        self.numbers.clear();
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.numbers.drain(..).for_each(|number| self.packs.remove(PackKind::Large, number));
    }
}
