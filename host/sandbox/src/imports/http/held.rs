//! What the host holds of the HTTP of one guest, in bytes: so that it is charged, and bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most that is held of one guest at a time: the largest request, the largest response, and headers.
const MOST: u64 = 40 << 20;

/// How much is held of one guest. Clones are the same.
#[derive(Clone, Default)]
pub(in crate::imports) struct Held(Arc<AtomicU64>);

/// A part of it, which is let go when this is dropped.
pub(super) struct HeldPart {
    held: Held,
    bytes: u64,
}

/// A guest has handed over more than the host holds for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

impl Held {
    /// In bytes.
    pub(in crate::imports) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A part that has nothing yet.
    pub(super) fn part(&self) -> HeldPart {
        HeldPart { held: self.clone(), bytes: 0 }
    }
}

impl HeldPart {
    /// So many bytes more are held.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), TooMuch> {
        let bytes = bytes as u64;
        // One guest uses it, in one call at a time.
        if self.held.bytes().saturating_add(bytes) > MOST {
            return Err(TooMuch);
        }
        self.held.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        Ok(())
    }

    /// So many bytes fewer are held.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let bytes = self.bytes.min(bytes as u64);
        self.held.0.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for HeldPart {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
