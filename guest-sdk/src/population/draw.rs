//! Random numbers that belong to a member, a tick, and their place among those that the member draws in it.
//!
//! The n-th number of member m is the lane m mod 4 of Philox4x32-10 over the counter (m div 4, n), keyed with the key of the
//! tick: see J. Salmon et al., *Parallel Random Numbers: As Easy as 1, 2, 3* (2011). So nothing of a generator is kept, and no
//! number depends on who drew before. Four members share a block: rows that act one after another compute one block for
//! four of them.

/// The key of the random numbers of one tick, for all members of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u64, pub u64);

/// Blocks that are kept: for the first numbers that each member draws.
const KEPT: usize = 4;

#[derive(Clone, Copy)]
struct Block {
    /// The members that it belongs to, by fours, and the place of the number.
    of: (u32, u32),
    lanes: [u32; 4],
}

/// The blocks that were computed last.
pub(super) struct Blocks {
    key: Key,
    kept: [Block; KEPT],
}

impl Blocks {
    pub(super) fn new(key: Key) -> Blocks {
        // No number has that place: a member draws fewer.
        let none = Block { of: (u32::MAX, u32::MAX), lanes: [0; 4] };
        Blocks { key, kept: [none; KEPT] }
    }

    #[inline]
    fn number(&mut self, member: u32, place: u32) -> u32 {
        let of = (member >> 2, place);
        let block = &mut self.kept[place as usize % KEPT];
        if block.of != of {
            *block = Block { of, lanes: philox(self.key, of) };
        }
        block.lanes[(member & 3) as usize]
    }
}

/// The numbers that one member draws in one tick.
pub struct Draws<'t> {
    pub(super) blocks: &'t mut Blocks,
    pub(super) member: u32,
    pub(super) place: &'t mut u32,
}

impl Draws<'_> {
    /// 32 random bits.
    #[inline]
    pub fn bits(&mut self) -> u32 {
        let place = *self.place;
        *self.place += 1;
        self.blocks.number(self.member, place)
    }

    /// A whole number from 0 up to, and without, `end`; 0 where that is 0. The bias is below `end` ÷ 2³².
    #[inline]
    pub fn below(&mut self, end: u32) -> u32 {
        ((u64::from(self.bits()) * u64::from(end)) >> 32) as u32
    }

    /// A number from 0 up to, and without, 1: one of 2⁵³.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        let bits = (u64::from(self.bits()) << 21) | u64::from(self.bits() >> 11);
        bits as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Whether something happens that has this probability, to within 2⁻³².
    #[inline]
    pub fn chance(&mut self, probability: f64) -> bool {
        f64::from(self.bits()) < probability * 4_294_967_296.0
    }
}

impl std::fmt::Debug for Draws<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draws").field("member", &self.member).finish_non_exhaustive()
    }
}

/// One block of Philox4x32-10.
#[inline]
fn philox(key: Key, of: (u32, u32)) -> [u32; 4] {
    const MULTIPLIERS: (u32, u32) = (0xD251_1F53, 0xCD9E_8D57);
    const WEYL: (u32, u32) = (0x9E37_79B9, 0xBB67_AE85);
    let (mut k0, mut k1) = (key.0 as u32, (key.0 >> 32) as u32);
    let mut counter = [of.0, of.1, key.1 as u32, (key.1 >> 32) as u32];
    for round in 0..10 {
        if round > 0 {
            k0 = k0.wrapping_add(WEYL.0);
            k1 = k1.wrapping_add(WEYL.1);
        }
        let a = u64::from(MULTIPLIERS.0) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS.1) * u64::from(counter[2]);
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ k0,
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ k1,
            a as u32,
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of Random123, which the authors of Philox publish.
    #[test]
    fn blocks_are_those_of_the_authors() {
        let zeros = philox(Key(0, 0), (0, 0));
        assert_eq!(zeros, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = philox(Key(u64::MAX, u64::MAX), (u32::MAX, u32::MAX));
        assert_eq!(ones, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let key = Key(0x299f_31d0_a409_3822, 0x0370_7344_1319_8a2e);
        let pi = philox(key, (0x243f_6a88, 0x85a3_08d3));
        assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn numbers_depend_on_nothing_that_was_drawn_before() {
        let key = Key(7, 11);
        let drawn = |member, places: &[u32]| -> Vec<u32> {
            let mut blocks = Blocks::new(key);
            places.iter().map(|place| blocks.number(member, *place)).collect()
        };
        let forward = drawn(5, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let mut backward = drawn(5, &[8, 7, 6, 5, 4, 3, 2, 1, 0]);
        backward.reverse();
        assert_eq!(forward, backward);
        assert_ne!(forward, drawn(6, &[0, 1, 2, 3, 4, 5, 6, 7, 8]));
    }
}
