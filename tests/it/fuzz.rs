//! What strangers send: components and documents that are broken in ways nobody thought of.
//!
//! Every case follows from a seed, which is printed. `DORMOUSE_FUZZ_SEED` repeats a run, and
//! `DORMOUSE_FUZZ_CASES` makes it longer: it is the number of cases of each test.

mod components;
mod documents;
mod random;
mod wasm;

use random::Random;

/// How many cases a test has, and the source of all its chances.
pub(super) fn cases(test: &str, usual: usize) -> (usize, Random) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let cases =
        number("DORMOUSE_FUZZ_CASES").map_or(usual, |cases| usize::try_from(cases).unwrap());
    let seed = number("DORMOUSE_FUZZ_SEED").unwrap_or_else(|| Random::fresh().next());
    println!("{test}: {cases} cases; DORMOUSE_FUZZ_SEED={seed} repeats them");
    (cases, Random::new(seed))
}
