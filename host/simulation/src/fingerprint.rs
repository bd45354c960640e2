//! The fingerprint of a world: one hash over everything that has come of it.
//!
//! Each tick is hashed together with the hash of the tick before. In it is what members can notice: what arrives with them, who
//! begins and who ends, and what others read of them. Not in it is what only people can notice: names, how rows are split,
//! what is recorded.

use blake3::Hasher;
use serde::Serialize;

use crate::router::Inbox;
use dormouse_domain::simulation::{ColumnSlice, Member, Named, Tick};

/// The hash of a world up to a tick.
pub type Fingerprint = [u8; 32];

/// Hashes one tick after another.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    last: Fingerprint,
}

/// One tick that is being hashed.
pub(crate) struct Link(Hasher);

impl Chain {
    /// Begin with what a world is made of.
    pub(crate) fn begin(parts: impl FnOnce(&mut Link)) -> Chain {
        let mut link =
            Link(Hasher::new_derive_key("dormouse simulation 2026: what a world is made of"));
        parts(&mut link);
        Chain { last: link.finish() }
    }

    /// Go on behind these ticks.
    pub(crate) fn go_on(last: Fingerprint) -> Chain {
        Chain { last }
    }

    /// The hash of all ticks so far.
    pub(crate) fn last(&self) -> Fingerprint {
        self.last
    }

    /// Go on with what came of a tick.
    pub(crate) fn extend(&mut self, at: Tick, parts: impl FnOnce(&mut Link)) {
        let mut link = self.link("dormouse simulation 2026: a tick", at);
        parts(&mut link);
        self.last = link.finish();
    }

    /// Begin the fingerprint of the world after so many ticks: what is not hashed in each follows.
    pub(crate) fn fingerprint(&self, ticks: Tick) -> Link {
        self.link("dormouse simulation 2026: a fingerprint", ticks)
    }

    fn link(&self, context: &str, at: Tick) -> Link {
        let mut hash = Hasher::new_derive_key(context);
        hash.update(&self.last).update(&at.to_le_bytes());
        Link(hash)
    }
}

impl Link {
    /// Hash something of its own.
    pub(crate) fn of(context: &str) -> Link {
        Link(Hasher::new_derive_key(context))
    }

    pub(crate) fn finish(self) -> Fingerprint {
        *self.0.finalize().as_bytes()
    }

    /// What stands under this name: so that no two different things have the same bytes.
    pub(crate) fn section(&mut self, name: &str, number: u64) {
        self.text(name);
        self.0.update(&number.to_le_bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }

    /// A value, as the JSON that it is written as: field by field, maps by name.
    pub(crate) fn document(&mut self, value: &impl Serialize) {
        // What has no form in JSON is not in a specification that was checked.
        self.bytes(&serde_json::to_vec(value).unwrap_or_default());
    }

    pub(crate) fn members(&mut self, members: &[Member]) {
        self.bytes(bytemuck::cast_slice(members));
    }

    pub(crate) fn column(&mut self, column: ColumnSlice<'_>) {
        match column {
            ColumnSlice::Integers(values) => {
                self.0.update(&[0]);
                self.bytes(bytemuck::cast_slice(values));
            }
            ColumnSlice::Numbers(values) => {
                self.0.update(&[1]);
                self.bytes(bytemuck::cast_slice(values));
            }
            ColumnSlice::Bytes(values) => {
                self.0.update(&[2]);
                self.bytes(values);
            }
        }
    }

    pub(crate) fn named(&mut self, columns: &[Named]) {
        for column in columns {
            self.text(&column.name);
            self.column(column.values.as_slice());
        }
    }

    pub(crate) fn inbox(&mut self, inbox: &Inbox) {
        self.section("inbox", u64::from(inbox.by) << 32 | u64::from(inbox.kind));
        self.members(&inbox.to);
        self.members(&inbox.from);
        self.column(inbox.values.as_slice());
    }
}

// Columns are hashed as they lie in memory.
#[cfg(target_endian = "big")]
compile_error!("fingerprints are the same everywhere only where the smallest byte comes first");
