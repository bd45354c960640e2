//! Random numbers.
//!
//! A session that is forked is copied with all of its memory, and so is a generator that the agent keeps
//! there: both sessions draw the same numbers from it from then on, and so does one that was rewound. The
//! generator of [`rng`] is seeded anew in each turn, with bytes of the host that no other turn gets.
//!
//! For keys and tokens ask the host for all of the bytes: [`bytes`].

use std::{cell::RefCell, convert::Infallible};

use rand::{
    SeedableRng, TryCryptoRng, TryRng,
    rngs::{StdRng, SysRng},
};

pub use rand;

thread_local! {
    /// The generator of this turn, once it was asked for something.
    static GENERATOR: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// The generator of this turn. It is seeded when it is first asked for something in a turn.
///
/// It has the traits of the crate [`rand`], which is exported here in the version that they are of.
///
/// ```
/// use dormouse_sdk::random::{self, rand::RngExt};
///
/// let side = random::rng().random_range(1..=6);
/// assert!((1..=6).contains(&side));
/// ```
pub fn rng() -> TurnRng {
    TurnRng(())
}

/// Random bytes of the host, all of them. No other turn of any session gets the same.
///
/// ```
/// let token: [u8; 16] = dormouse_sdk::random::bytes();
/// # assert_ne!(token, dormouse_sdk::random::bytes());
/// ```
pub fn bytes<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    SysRng.try_fill_bytes(&mut bytes).expect("the host always has random bytes");
    bytes
}

/// The generator of the turn that runs. From [`rng`].
#[derive(Clone, Debug)]
pub struct TurnRng(());

impl TurnRng {
    fn with<T>(&mut self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        GENERATOR.with_borrow_mut(|generator| {
            draw(generator.get_or_insert_with(|| StdRng::from_seed(bytes())))
        })
    }
}

impl TryRng for TurnRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.with(TryRng::try_next_u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.with(TryRng::try_next_u64)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.with(|generator| generator.try_fill_bytes(bytes))
    }
}

impl TryCryptoRng for TurnRng {}

/// A turn begins: what was drawn before is over.
pub(crate) fn begin_turn() {
    GENERATOR.set(None);
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn a_turn_has_one_generator_and_the_next_turn_another() {
        let is_seeded = || GENERATOR.with_borrow(Option::is_some);
        begin_turn();
        assert!(!is_seeded());
        let (first, second) = (rng().next_u64(), rng().next_u64());
        assert!(first != second && is_seeded());
        begin_turn();
        assert!(!is_seeded());
        assert!(![first, second].contains(&rng().next_u64()));
    }
}
