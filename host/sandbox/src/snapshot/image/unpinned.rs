//! Pins that are not called.
//!
//! A pin asks WASI for a handle when an instance is made. What answers need not be the host: a component
//! may have stubs of its own that trap, because its code never asks. Which pins trap is found out once,
//! when the component is uploaded, and the instances of it are made without them. A handle that such a
//! module asks for after all is held open like any other.

/// The pins of an agent that are left out. Of more than 64, those beyond are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpinned(u64);

impl Unpinned {
    /// Leave this one out, too.
    pub(crate) fn insert(&mut self, pin: u32) {
        self.0 |= 1_u64.checked_shl(pin).unwrap_or(0);
    }

    pub(super) fn contains(self, pin: u32) -> bool {
        self.0.checked_shr(pin).is_none_or(|pins| pins & 1 == 1)
    }

    /// As it is kept: a bit for each pin, the first the lowest.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// As it was kept.
    pub(crate) fn of_bits(bits: u64) -> Unpinned {
        Unpinned(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_and_so_is_what_has_no_bit() {
        let mut unpinned = Unpinned::default();
        [0, 3, 63, 64, 1_000].into_iter().for_each(|pin| unpinned.insert(pin));
        let out: Vec<u32> = (0..67).filter(|pin| unpinned.contains(*pin)).collect();
        assert_eq!(out, [0, 3, 63, 64, 65, 66]);
        assert_eq!(Unpinned::of_bits(unpinned.bits()), unpinned);
        assert!(!Unpinned::default().contains(0));
    }
}
