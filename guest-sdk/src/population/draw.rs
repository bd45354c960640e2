//! Random numbers that belong to a member, a tick, and their place among those that the member draws in it.
//!
//! The n-th number of member m is the lane m mod 4 of Philox4x32-10 over the counter (m div 4, n), keyed with the key of the
//! tick: see J. Salmon et al., *Parallel Random Numbers: As Easy as 1, 2, 3* (2011). So nothing of a generator is kept, and no
//! number depends on who drew before. Four members share a block, and four blocks are computed at once, which takes hardly longer
//! than one: rows that act one after another compute them once for sixteen.

/// The key of the random numbers of one tick, for all members of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u64, pub u64);

/// Places whose numbers are kept: those of the first that each member draws.
const KEPT: usize = 4;
/// Blocks that are computed at once, and the members whose numbers they have.
const BLOCKS: usize = 4;
const MEMBERS: usize = 4 * BLOCKS;

#[derive(Clone, Copy)]
struct Group {
    /// The members that it belongs to, by sixteens, and the place of the number.
    of: (u32, u32),
    numbers: [u32; MEMBERS],
}

/// The blocks that were computed last.
pub(super) struct Blocks {
    pub(super) key: Key,
    kept: [Group; KEPT],
}

impl Blocks {
    pub(super) fn new(key: Key) -> Blocks {
        // No number has that place: a member draws fewer.
        let none = Group { of: (u32::MAX, u32::MAX), numbers: [0; MEMBERS] };
        Blocks { key, kept: [none; KEPT] }
    }

    #[inline]
    fn number(&mut self, member: u32, place: u32) -> u32 {
        let of = (member / MEMBERS as u32, place);
        let group = &mut self.kept[place as usize % KEPT];
        if group.of != of {
            *group = Group { of, numbers: philox(self.key, of) };
        }
        group.numbers[member as usize % MEMBERS]
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

const MULTIPLIERS: (u32, u32) = (0xD251_1F53, 0xCD9E_8D57);
const WEYL: (u32, u32) = (0x9E37_79B9, 0xBB67_AE85);
const ROUNDS: u32 = 10;

/// Four blocks of Philox4x32-10, whose counters follow one another.
#[cfg(target_arch = "wasm32")]
fn philox(key: Key, of: (u32, u32)) -> [u32; MEMBERS] {
    // No component with vector instructions is loaded where there are none.
    vectors::philox(key, of)
}

/// Four blocks of Philox4x32-10, whose counters follow one another.
#[cfg(not(target_arch = "wasm32"))]
fn philox(key: Key, (group, place): (u32, u32)) -> [u32; MEMBERS] {
    let first = group.wrapping_mul(BLOCKS as u32);
    let mut numbers = [0; MEMBERS];
    for (block, numbers) in (0..).zip(numbers.as_chunks_mut::<4>().0) {
        let (mut k0, mut k1) = (key.0 as u32, (key.0 >> 32) as u32);
        *numbers = [first.wrapping_add(block), place, key.1 as u32, (key.1 >> 32) as u32];
        for _ in 0..ROUNDS {
            let a = u64::from(MULTIPLIERS.0) * u64::from(numbers[0]);
            let b = u64::from(MULTIPLIERS.1) * u64::from(numbers[2]);
            *numbers = [
                (b >> 32) as u32 ^ numbers[1] ^ k0,
                b as u32,
                (a >> 32) as u32 ^ numbers[3] ^ k1,
                a as u32,
            ];
            (k0, k1) = (k0.wrapping_add(WEYL.0), k1.wrapping_add(WEYL.1));
        }
    }
    numbers
}

/// The same with a vector for each word of a counter, which has that word of all four blocks.
#[cfg(target_arch = "wasm32")]
mod vectors {
    use std::arch::wasm32::{
        u32x4, u32x4_extract_lane, u32x4_shuffle, u32x4_splat, u64x2_extmul_high_u32x4,
        u64x2_extmul_low_u32x4, v128, v128_xor,
    };
    use std::hint::black_box;

    use super::{BLOCKS, Key, MEMBERS, MULTIPLIERS, ROUNDS, WEYL};

    /// The low and the high words of the products.
    #[inline]
    #[target_feature(enable = "simd128")]
    fn product(words: v128, multiplier: v128) -> (v128, v128) {
        let first = u64x2_extmul_low_u32x4(words, multiplier);
        let second = u64x2_extmul_high_u32x4(words, multiplier);
        let low = u32x4_shuffle::<0, 2, 4, 6>(first, second);
        (low, u32x4_shuffle::<1, 3, 5, 7>(first, second))
    }

    #[target_feature(enable = "simd128")]
    pub(super) fn philox(key: Key, (group, place): (u32, u32)) -> [u32; MEMBERS] {
        let (mut k0, mut k1) = (key.0 as u32, (key.0 >> 32) as u32);
        let first = group.wrapping_mul(BLOCKS as u32);
        let mut words = [
            u32x4(first, first.wrapping_add(1), first.wrapping_add(2), first.wrapping_add(3)),
            u32x4_splat(place),
            u32x4_splat(key.1 as u32),
            u32x4_splat((key.1 >> 32) as u32),
        ];
        // The compiler does not know them here, or it makes slower products of 64 bits of them.
        let multipliers = black_box((u32x4_splat(MULTIPLIERS.0), u32x4_splat(MULTIPLIERS.1)));
        for _ in 0..ROUNDS {
            let (a_low, a_high) = product(words[0], multipliers.0);
            let (b_low, b_high) = product(words[2], multipliers.1);
            words = [
                v128_xor(v128_xor(b_high, words[1]), u32x4_splat(k0)),
                b_low,
                v128_xor(v128_xor(a_high, words[3]), u32x4_splat(k1)),
                a_low,
            ];
            (k0, k1) = (k0.wrapping_add(WEYL.0), k1.wrapping_add(WEYL.1));
        }
        let of_block = |lane: fn(v128) -> u32| words.map(lane);
        let blocks = [
            of_block(|word| u32x4_extract_lane::<0>(word)),
            of_block(|word| u32x4_extract_lane::<1>(word)),
            of_block(|word| u32x4_extract_lane::<2>(word)),
            of_block(|word| u32x4_extract_lane::<3>(word)),
        ];
        let mut numbers = [0; MEMBERS];
        numbers.copy_from_slice(blocks.as_flattened());
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of Random123, which the authors of Philox publish.
    #[test]
    fn blocks_are_those_of_the_authors() {
        let of_block = |key, block: u32, place| -> [u32; 4] {
            let numbers = philox(key, (block / 4, place));
            let first = 4 * (block as usize % 4);
            numbers[first..first + 4].try_into().expect("four")
        };
        let zeros = of_block(Key(0, 0), 0, 0);
        assert_eq!(zeros, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = of_block(Key(u64::MAX, u64::MAX), u32::MAX, u32::MAX);
        assert_eq!(ones, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let key = Key(0x299f_31d0_a409_3822, 0x0370_7344_1319_8a2e);
        let pi = of_block(key, 0x243f_6a88, 0x85a3_08d3);
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
