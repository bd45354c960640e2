//! What a commit changes.

use bytes::Bytes;

use super::stage::Staged;
use super::value::Pointer;

/// How long a value stays, which decides where it lies once it has been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// Small, often read in order: in the index itself. What is larger than 4 KiB goes the way of
    /// `Head`.
    Inline,
    /// Soon replaced or removed: in packs whose remains are few.
    Head,
    /// Kept for long: in packs that are seldom rewritten.
    Rows,
    /// As `Head`; and so many of its first bytes lie in the index too, where
    /// [`fronts`](super::Engine::fronts) reads them without any pack.
    Fronted(u16),
}

/// Changes that are made together, in order: the last one of a key counts.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(super) changes: Vec<(Bytes, KeyChange)>,
    pub(super) staged: Vec<Staged>,
    /// The keys that were not there before.
    pub(super) fresh: Vec<Bytes>,
}

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyChange {
    /// It has this value.
    Put(Class, Bytes),
    /// It has the value that lies there already.
    Staged(Pointer),
    /// It is not there any more.
    Delete,
}

impl KeyChange {
    /// The part of the value that also lies in the index.
    pub(super) fn front(&self) -> &[u8] {
        match self {
            KeyChange::Put(Class::Fronted(front), value) => &value[..usize::from(*front)],
            KeyChange::Put(..) | KeyChange::Staged(_) | KeyChange::Delete => &[],
        }
    }
}

impl Batch {
    /// Give a key a value. Neither is copied: who cuts them out of something larger keeps that alive
    /// until it has been applied.
    pub(crate) fn put(&mut self, class: Class, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push((key.into(), KeyChange::Put(class, value.into())));
    }

    /// Give a key its first value: who calls this knows that it is not there. If it goes again before
    /// it has been applied, the index never hears of it.
    pub(crate) fn put_new(&mut self, class: Class, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let key = key.into();
        self.fresh.push(key.clone());
        self.put(class, key, value);
    }

    /// Give those keys that are to be kept the values that have been staged for them. The space of
    /// the others is given back as that of values which have been replaced.
    pub(crate) fn put_staged(&mut self, mut staged: Staged, keep: impl Fn(&[u8]) -> bool) {
        staged.retain(keep);
        let values = staged.values().iter();
        self.changes.extend(values.map(|(key, at)| (key.clone(), KeyChange::Staged(*at))));
        self.staged.push(staged);
    }

    /// Remove a key, whether or not it is there.
    pub(crate) fn delete(&mut self, key: impl Into<Bytes>) {
        self.changes.push((key.into(), KeyChange::Delete));
    }

    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many bytes it takes in the log, about.
    pub(crate) fn size(&self) -> usize {
        self.changes.iter().map(|(key, change)| super::log_record::size(key, change)).sum()
    }
}
