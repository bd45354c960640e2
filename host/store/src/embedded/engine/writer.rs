//! Appending to packs.

use std::io;
use std::sync::Arc;

use super::frame::{self, FRAME, HEADER};
use super::io::Handle;
use super::packs::{Pack, Packs};
use super::value::{PackKind, Pointer};

/// What is appended to a pack is written when it has become this much, in bytes.
const PIECE: usize = 1 << 20;

/// Appends to packs of one kind.
#[derive(Debug)]
pub(super) struct PackWriter {
    kind: PackKind,
    most: u64,
    /// Whether its packs stay though the index does not point to them.
    pending: bool,
    current: Option<Current>,
    /// Packs that have been filled and are not synced yet.
    filled: Vec<Arc<dyn Handle>>,
    /// Whether there is a pack of which the folder does not know durably.
    fresh: bool,
}

#[derive(Debug)]
struct Current {
    number: u64,
    file: Arc<dyn Handle>,
    written: u64,
    buffer: Vec<u8>,
    dirty: bool,
}

impl PackWriter {
    /// For packs of up to this many bytes, unless one frame has more.
    pub(super) fn new(kind: PackKind, most: u64) -> PackWriter {
        let most = most.min(u64::from(u32::MAX));
        PackWriter { kind, most, pending: false, current: None, filled: Vec::new(), fresh: false }
    }

    /// For large values to which nothing points yet.
    pub(super) fn staging(most: u64) -> PackWriter {
        PackWriter { pending: true, ..PackWriter::new(PackKind::Large, most) }
    }

    /// The pack that is appended to.
    pub(super) fn pack(&self) -> Option<u64> {
        self.current.as_ref().map(|current| current.number)
    }

    /// How many bytes a pack has, unless one frame has more.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// Append a value. It can be read, and pointed to, after [`PackWriter::sync`].
    pub(super) fn append(
        &mut self,
        packs: &Packs,
        key: &[u8],
        value: &[u8],
    ) -> io::Result<Pointer> {
        let length = FRAME + key.len() + value.len();
        let fits = |current: &Current| current.end() + length as u64 <= self.most;
        if !self.current.as_ref().is_some_and(fits) {
            self.roll(packs)?;
        }
        let current = self.current.as_mut().ok_or_else(|| io::Error::other("there is no pack"))?;
        let offset = u32::try_from(current.end()).map_err(io::Error::other)?;
        let crc = frame::write_head(&mut current.buffer, key, value);
        // One large value must not be in memory twice.
        for piece in value.chunks(PIECE) {
            current.buffer.extend_from_slice(piece);
            if current.buffer.len() >= PIECE {
                current.spill()?;
            }
        }
        let length = u32::try_from(length).map_err(io::Error::other)?;
        Ok(Pointer { kind: self.kind, pack: current.number, offset, length, crc })
    }

    /// Make durable all that has been appended.
    pub(super) fn sync(&mut self, packs: &Packs) -> io::Result<()> {
        if let Some(current) = &mut self.current {
            current.spill()?;
            if current.dirty {
                current.file.sync()?;
                current.dirty = false;
            }
            packs.set_total(current.number, current.written);
        }
        for file in self.filled.drain(..) {
            file.sync()?;
        }
        if self.fresh {
            packs.sync_folder()?;
            self.fresh = false;
        }
        Ok(())
    }

    /// Begin another pack with the next frame. Everything has been synced, or nothing of what has
    /// not will be pointed to.
    pub(super) fn end(&mut self) {
        *self = PackWriter { pending: self.pending, ..PackWriter::new(self.kind, self.most) };
    }

    fn roll(&mut self, packs: &Packs) -> io::Result<()> {
        if let Some(mut current) = self.current.take() {
            current.spill()?;
            packs.set_total(current.number, current.written);
            if current.dirty {
                self.filled.push(current.file);
            }
        }
        let (number, file) = packs.make(self.kind)?;
        self.fresh = true;
        let total = HEADER as u64;
        let pack = Pack { kind: self.kind, total, live: 0, pending: self.pending };
        packs.with(|table| table.insert(number, pack));
        let buffer = frame::write_header(self.kind, number).to_vec();
        self.current = Some(Current { number, file, written: 0, buffer, dirty: false });
        Ok(())
    }
}

impl Current {
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn spill(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.dirty = true;
            self.file.write_at(&self.buffer, self.written)?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}
