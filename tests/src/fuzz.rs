//! Chances that can be repeated, for tests of what strangers send.
//!
//! Every case follows from a seed, which is printed. `DORMOUSE_FUZZ_SEED` repeats a run, and
//! `DORMOUSE_FUZZ_CASES` makes it longer: it is the number of cases of each test.

use std::hash::{BuildHasher, RandomState};

/// How many cases a test has, and the source of all its chances.
#[must_use]
pub fn cases(test: &str, usual: usize) -> (usize, Random) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let cases = number("DORMOUSE_FUZZ_CASES")
        .map_or(usual, |cases| usize::try_from(cases).unwrap_or(usize::MAX));
    let seed = number("DORMOUSE_FUZZ_SEED").unwrap_or_else(|| Random::fresh().number());
    println!("{test}: {cases} cases; DORMOUSE_FUZZ_SEED={seed} repeats them");
    (cases, Random::new(seed))
}

/// A generator of numbers that follow from a seed: SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// All numbers follow from this one.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// One that nobody can foresee.
    #[must_use]
    pub fn fresh() -> Random {
        Random(RandomState::new().hash_one(0))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound as u64).unwrap_or(0)
    }

    /// Whether a chance of one in `n` came true.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these, of which there is one at least.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    /// Bring these into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            items.swap(n, self.below(n + 1));
        }
    }
}
