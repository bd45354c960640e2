//! Values that many sessions share, kept once and counted, with what they take in memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;

/// A shared value: its place in the table, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(NonZeroU32);

/// A table of shared values. `T` is cheap to clone.
#[derive(Debug)]
pub(super) struct Interner<T> {
    ids: HashMap<T, Id>,
    slots: Vec<Option<(T, u32)>>,
    free: Vec<Id>,
    /// What a value holds beyond itself, in bytes.
    size: fn(&T) -> usize,
    /// What all values hold beyond themselves, in bytes.
    held: usize,
}

impl<T> Interner<T> {
    /// An empty table of values that hold this many bytes beyond themselves.
    pub(super) fn new(size: fn(&T) -> usize) -> Interner<T> {
        let (ids, slots, free) = (HashMap::new(), Vec::new(), Vec::new());
        Interner { ids, slots, free, size, held: 0 }
    }

    /// How many values are in use.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Bytes of memory, estimated.
    pub(super) fn bytes(&self) -> usize {
        self.len() * Interner::<T>::ENTRY + self.held
    }

    /// What a value takes in the two tables, estimated.
    pub(super) const ENTRY: usize = 2 * size_of::<T>() + 24;
}

impl<T: Clone + Eq + Hash> Interner<T> {
    /// Count one more use of this value.
    pub(super) fn take(&mut self, value: T) -> Id {
        if let Some(id) = self.id(&value) {
            return self.take_again(id);
        }
        self.held += (self.size)(&value);
        let slot = Some((value.clone(), 1));
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id.index()] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                let place = u32::try_from(self.slots.len()).ok().and_then(NonZeroU32::new);
                Id(place.expect("memory ends before 2³² values"))
            }
        };
        self.ids.insert(value, id);
        id
    }

    /// Count one more use of the value at this place, which is in use.
    pub(super) fn take_again(&mut self, id: Id) -> Id {
        if let Some((_, uses)) = &mut self.slots[id.index()] {
            *uses += 1;
        }
        id
    }

    /// Count one use less. The value goes with its last use.
    pub(super) fn release(&mut self, id: Id) {
        let slot = &mut self.slots[id.index()];
        if let Some((_, uses)) = slot {
            *uses -= 1;
            if *uses > 0 {
                return;
            }
        }
        if let Some((value, _)) = slot.take() {
            self.held -= (self.size)(&value);
            self.ids.remove(&value);
            self.free.push(id);
        }
    }

    /// The place of this value, where it is in use.
    pub(super) fn id(&self, value: &T) -> Option<Id> {
        self.ids.get(value).copied()
    }

    /// How many uses this value has.
    pub(super) fn uses(&self, value: &T) -> u64 {
        self.id(value).map_or(0, |id| self.uses_of(id))
    }

    /// How many uses the value at this place has.
    pub(super) fn uses_of(&self, id: Id) -> u64 {
        self.slots[id.index()].as_ref().map_or(0, |(_, uses)| u64::from(*uses))
    }

    /// All values in use, with their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&T, Id)> {
        self.ids.iter().map(|(value, id)| (value, *id))
    }

    /// The value at this place.
    pub(super) fn value(&self, id: Id) -> Option<&T> {
        self.slots[id.index()].as_ref().map(|(value, _)| value)
    }
}

impl Id {
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_with_its_last_use_and_its_place_is_used_again() {
        let mut table = Interner::new(|text: &&str| text.len());
        let (a, b) = (table.take("a"), table.take("b"));
        assert_eq!(table.take("a"), a);
        assert_eq!(table.uses(&"a"), 2);
        table.release(a);
        assert_eq!(table.id(&"a"), Some(a));
        table.release(a);
        assert_eq!((table.id(&"a"), table.uses(&"a")), (None, 0));
        assert_eq!(table.take("c"), a);
        assert_eq!(table.id(&"b"), Some(b));
        assert_eq!(table.bytes(), 2 * (Interner::<&str>::ENTRY + 1));
    }
}
