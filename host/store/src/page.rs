//! A page that is being filled.

use super::{Bound, Page};

/// A page that takes entries until it is full. Whoever fills it stops once it has refused one, which
/// may be read and decoded by then: one more than the page has, and no more.
pub(crate) struct Filling<T, C> {
    bound: Bound,
    entries: Vec<T>,
    bytes: usize,
    /// The last entry that was taken or passed over.
    last: Option<C>,
    full: bool,
}

impl<T, C: Copy> Filling<T, C> {
    pub(crate) fn new(bound: Bound) -> Filling<T, C> {
        Filling { bound, entries: Vec::new(), bytes: 0, last: None, full: false }
    }

    /// Whether an entry of so many bytes is taken. Once one is not, none is.
    pub(crate) fn takes(&mut self, bytes: usize) -> bool {
        let sum = self.bytes.saturating_add(bytes);
        let fits = self.entries.is_empty() || sum <= self.bound.bytes;
        self.full |= self.entries.len() >= self.bound.entries || !fits;
        !self.full
    }

    /// Take an entry. Returns whether it was taken.
    pub(crate) fn take(&mut self, place: C, bytes: usize, entry: T) -> bool {
        let taken = self.takes(bytes);
        if taken {
            self.bytes = self.bytes.saturating_add(bytes);
            self.entries.push(entry);
            self.last = Some(place);
        }
        taken
    }

    /// Go on behind an entry that is not to be in the page.
    pub(crate) fn pass_over(&mut self, place: C) {
        if !self.full {
            self.last = Some(place);
        }
    }

    /// Whether an entry was refused: the list goes on behind the page.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn page(self) -> Page<T, C> {
        Page { next: self.last.filter(|_| self.full), entries: self.entries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bound: Bound, sizes: &[usize]) -> Page<usize, usize> {
        let mut filling = Filling::new(bound);
        for (place, bytes) in sizes.iter().enumerate() {
            if !filling.take(place, *bytes, *bytes) {
                break;
            }
        }
        filling.page()
    }

    #[test]
    fn a_page_ends_with_its_entries_or_with_its_bytes() {
        let bound = Bound { entries: 3, bytes: 100 };
        let page = |entries: &[usize], next| Page { entries: entries.to_vec(), next };
        assert_eq!(filled(bound, &[1, 2, 3, 4]), page(&[1, 2, 3], Some(2)));
        assert_eq!(filled(bound, &[50, 50, 1]), page(&[50, 50], Some(1)));
        assert_eq!(filled(bound, &[50, 51]), page(&[50], Some(0)));
        assert_eq!(filled(bound, &[1_000, 1]), page(&[1_000], Some(0)));
        assert_eq!(filled(bound, &[1, 2, 3]), page(&[1, 2, 3], None), "there is nothing behind it");
        assert_eq!(filled(bound, &[]), page(&[], None));
    }
}
