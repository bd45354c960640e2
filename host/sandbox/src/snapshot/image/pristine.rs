//! The state of an agent's instances before their first turn: the same in each of them.
//!
//! It is read from the first instance that is made, and every snapshot is a difference to it. Its
//! fingerprint stands in each snapshot, so that none is ever put onto another state.

use std::any::TypeId;

use super::access::AccessorCounts;
use super::pages::MemoryImage;
use crate::files::Descriptor;
use dormouse_base::memory::Account;

/// What an instance is before its first turn.
pub(super) struct Pristine {
    /// Its memories, in the order of the accessors.
    pub(super) memories: Vec<MemoryImage>,
    /// The bits of its globals, those of pinned handles last.
    pub(super) globals: Vec<u64>,
    /// How many of them there are, and how many are pinned handles.
    pub(super) counts: AccessorCounts,
    /// What it holds of the host.
    pub(super) held: Vec<TypeId>,
    /// A hash of all but what it holds.
    pub(super) fingerprint: [u8; 16],
    /// The same as it was before instances began with directories.
    pub(super) before_directories: [u8; 16],
    /// What pays for its memory, as long as the agent is loaded.
    pub(super) _account: Account,
}

impl Pristine {
    /// An instance with these memories and globals, that holds this. The account pays for the copy.
    pub(super) fn new(
        memories: Vec<MemoryImage>,
        globals: Vec<u64>,
        counts: AccessorCounts,
        held: Vec<TypeId>,
        account: Account,
    ) -> Pristine {
        let mut of_memories = blake3::Hasher::new();
        of_memories.update(&(memories.len() as u64).to_le_bytes());
        memories.iter().for_each(|memory| memory.hash(&mut of_memories));
        let fingerprint = |pinned: usize, held: usize, globals: &mut dyn Iterator<Item = &u64>| {
            let mut hasher = of_memories.clone();
            for number in [pinned, held] {
                hasher.update(&(number as u64).to_le_bytes());
            }
            for bits in globals {
                hasher.update(&bits.to_le_bytes());
            }
            let mut fingerprint = [0; 16];
            fingerprint.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
            fingerprint
        };
        let (all, pinned) = counts.totals();
        let (ordinary, handles) = globals.split_at(all - pinned);
        let others = counts.without_directories(handles);
        let directories = held.iter().filter(|it| **it == TypeId::of::<Descriptor>()).count();
        let before_directories = fingerprint(
            others.len(),
            held.len() - directories.min(counts.directories()),
            &mut ordinary.iter().chain(others),
        );
        let fingerprint = fingerprint(pinned, held.len(), &mut globals.iter());
        let _account = account;
        Pristine { memories, globals, counts, held, fingerprint, before_directories, _account }
    }

    /// Its globals, but for pinned handles.
    pub(super) fn ordinary(&self) -> &[u64] {
        let (all, pinned) = self.counts.totals();
        self.globals.get(..all - pinned).unwrap_or_default()
    }

    /// Its pinned handles.
    pub(super) fn handles(&self) -> &[u64] {
        self.globals.get(self.ordinary().len()..).unwrap_or_default()
    }
}
