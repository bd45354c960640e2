//! The randomness of a guest: bytes that nobody can foresee and that never come twice.
//!
//! The bytes of a turn are BLAKE3, keyed with the seed of the session, over the number of the turn, a salt and
//! the segment. A number of a turn is never used twice, and the salt is drawn from the [`Clock`] when the
//! first byte is asked for: so neither a turn that is run again nor one after a rewind draws what another
//! has drawn, whatever came of that. No snapshot knows how far a stream has been read.
//!
//! A turn that is run again after the end of the host has to draw what it drew: then the salts are given, each
//! to the segment that was begun with it. An effect that is answered ends a segment.
//!
//! With a clock that is turned by hand the salt follows from the session, the turn and the attempt: two
//! hosts that do the same draw the same.
//!
//! What a guest draws outside of a turn, when it is made or its state is restored, belongs to the turn that
//! comes next, under another word. Where all instances of an agent start alike, what they draw while they
//! start is the same for all, and no secret: [`RandomStream::same_for_all`].

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_core::TryRng;

use dormouse_base::clock::Clock;
use dormouse_domain::journal::Salt;

/// Bytes that are computed at once.
const BLOCK: usize = 64;

/// What the randomness that is the same for all comes from. Snapshots depend on it: it never changes.
const SAME_SEED: [u8; 32] = *b"dormouse: all instances as one!!";

/// What bytes are drawn for. No two draws of a session have the same occasion and the same salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Occasion {
    /// The number of the turn, or of the one that comes next.
    pub(crate) turn: u64,
    /// How often that turn was begun before without a record of it.
    pub(crate) attempt: u32,
    /// Whether the turn has begun.
    pub(crate) moment: Moment,
    /// The part of the turn, from one durable entry of its journal to the next.
    pub(crate) segment: u32,
}

/// When bytes are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before the turn: the guest is made, or its state restored.
    Start,
    /// In the turn.
    Turn,
}

/// The random bytes of one instance. Clones draw from the same stream.
#[derive(Clone)]
pub(crate) struct RandomStream(Arc<Mutex<Draw>>);

struct Draw {
    source: Source,
    /// From the first draw of an occasion on.
    stream: Option<Stream>,
}

enum Source {
    SameForAll,
    Session { seed: [u8; 32], clock: Clock, occasion: Occasion, given: Option<Salt> },
}

struct Stream {
    /// What it is drawn with. `None`: the same for all.
    salt: Option<Salt>,
    key: blake3::Hasher,
    bytes: blake3::OutputReader,
    block: [u8; BLOCK],
    /// Bytes of the block that are used up.
    used: usize,
}

impl RandomStream {
    /// For a session with this seed.
    pub(crate) fn of_session(seed: [u8; 32], clock: Clock, occasion: Occasion) -> RandomStream {
        RandomStream::from(Source::Session { seed, clock, occasion, given: None })
    }

    /// The one that all instances of an agent start with, each from its beginning.
    pub(crate) fn same_for_all() -> RandomStream {
        RandomStream::from(Source::SameForAll)
    }

    fn from(source: Source) -> RandomStream {
        RandomStream(Arc::new(Mutex::new(Draw { source, stream: None })))
    }

    /// What is drawn from now on is for this, and drawn with this salt. `None`: with a new one.
    pub(crate) fn enter(&self, now: Occasion, salt: Option<Salt>) {
        let mut draw = self.lock();
        draw.stream = None;
        if let Source::Session { occasion, given, .. } = &mut draw.source {
            (*occasion, *given) = (now, salt);
        }
    }

    /// What is drawn from now on is for the next segment of the same turn.
    pub(crate) fn enter_next_segment(&self, salt: Option<Salt>) {
        let mut draw = self.lock();
        draw.stream = None;
        if let Source::Session { occasion, given, .. } = &mut draw.source {
            occasion.segment += 1;
            *given = salt;
        }
    }

    /// What the bytes of the present occasion are drawn with, if any were drawn.
    pub(crate) fn salt(&self) -> Option<Salt> {
        self.lock().stream.as_ref().and_then(|stream| stream.salt)
    }

    /// Whether anything was drawn for the present occasion.
    pub(crate) fn is_drawn(&self) -> bool {
        self.lock().stream.is_some()
    }

    /// The number that a guest may seed its hash tables with. It stays the same for an occasion.
    pub(crate) fn insecure_seed(&self) -> u128 {
        let mut draw = self.lock();
        let seed = match draw.source {
            Source::SameForAll => {
                draw.open();
                blake3::keyed_hash(&SAME_SEED, b"dormouse guest: insecure seed")
            }
            Source::Session { .. } => {
                let mut key = draw.open().key.clone();
                key.update(b"insecure seed").finalize()
            }
        };
        let [bytes @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *seed.as_bytes();
        u128::from_le_bytes(bytes)
    }

    fn draw<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.lock().open().fill(&mut bytes);
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, Draw> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draw {
    /// The stream of the present occasion. It begins with the first draw.
    fn open(&mut self) -> &mut Stream {
        let source = &self.source;
        self.stream.get_or_insert_with(|| source.stream())
    }
}

impl Source {
    fn stream(&self) -> Stream {
        match self {
            Source::SameForAll => {
                let mut key = blake3::Hasher::new_keyed(&SAME_SEED);
                key.update(b"dormouse guest: random stream");
                Stream::of(key, None)
            }
            Source::Session { seed, clock, occasion, given } => {
                let Occasion { turn, attempt, moment, segment } = occasion;
                let word: &[u8] = match moment {
                    Moment::Start => b"dormouse guest: random bytes, start",
                    Moment::Turn => b"dormouse guest: random bytes, turn",
                };
                let mut key = blake3::Hasher::new_keyed(seed);
                key.update(word).update(&turn.to_le_bytes()).update(&segment.to_le_bytes());
                let mut attempt_of_twins = key.clone();
                attempt_of_twins.update(b"salt").update(&attempt.to_le_bytes());
                let new = || clock.salt(|| *attempt_of_twins.finalize().as_bytes());
                let salt = given.unwrap_or_else(new);
                key.update(&salt);
                Stream::of(key, Some(salt))
            }
        }
    }
}

impl Stream {
    fn of(key: blake3::Hasher, salt: Option<Salt>) -> Stream {
        let bytes = key.finalize_xof();
        Stream { salt, key, bytes, block: [0; BLOCK], used: BLOCK }
    }

    fn fill(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.used == BLOCK {
                self.bytes.fill(&mut self.block);
                self.used = 0;
            }
            let take = bytes.len().min(BLOCK - self.used);
            let (now, later) = bytes.split_at_mut(take);
            now.copy_from_slice(&self.block[self.used..self.used + take]);
            self.used += take;
            bytes = later;
        }
    }
}

impl TryRng for RandomStream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.draw()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.draw()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.lock().open().fill(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand_core::Rng;

    use super::*;
    use dormouse_base::clock::ManualClock;

    const FIRST: Occasion = Occasion { turn: 1, attempt: 0, moment: Moment::Turn, segment: 0 };

    fn manual() -> Clock {
        Clock::manual(&ManualClock::new())
    }

    fn drawn(clock: Clock, occasion: Occasion) -> Vec<u8> {
        let mut bytes = vec![0; 100];
        RandomStream::of_session([7; 32], clock, occasion).fill_bytes(&mut bytes);
        bytes
    }

    #[test]
    fn bytes_are_the_same_however_they_are_drawn() {
        let stream = || RandomStream::of_session([7; 32], manual(), FIRST);
        let mut whole = vec![0; 313];
        stream().fill_bytes(&mut whole);

        let mut first = stream();
        let mut pieces = first.next_u32().to_le_bytes().to_vec();
        pieces.extend(first.next_u64().to_le_bytes());
        let mut other = first.clone();
        let mut more = vec![0; 301];
        other.fill_bytes(&mut more);
        pieces.extend(more);
        assert_eq!(pieces, whole);
    }

    #[test]
    fn no_two_occasions_have_the_same_bytes() {
        let others = [
            Occasion { turn: 2, ..FIRST },
            Occasion { attempt: 1, ..FIRST },
            Occasion { moment: Moment::Start, ..FIRST },
            Occasion { segment: 1, ..FIRST },
        ];
        let all: Vec<_> = [FIRST].iter().chain(&others).map(|one| drawn(manual(), *one)).collect();
        for (place, bytes) in all.iter().enumerate() {
            assert!(!all[place + 1..].contains(bytes), "{place}");
        }
        let seeds = [1, 2].map(|seed| RandomStream::of_session([seed; 32], manual(), FIRST));
        assert_ne!(seeds[0].insecure_seed(), seeds[1].insecure_seed());
        let [mut one, mut other] = seeds;
        assert_ne!(one.next_u64(), other.next_u64());
    }

    #[test]
    fn the_same_occasion_has_other_bytes_again_unless_the_clock_is_turned_by_hand() {
        assert_ne!(drawn(Clock::real(), FIRST), drawn(Clock::real(), FIRST));
        assert_eq!(drawn(manual(), FIRST), drawn(manual(), FIRST));
        let seed = || RandomStream::of_session([7; 32], Clock::real(), FIRST).insecure_seed();
        assert_ne!(seed(), seed());
    }

    #[test]
    fn a_new_occasion_begins_a_new_stream() {
        let mut stream = RandomStream::of_session([7; 32], manual(), FIRST);
        let first = (stream.next_u64(), stream.insecure_seed());
        assert!(stream.is_drawn());
        stream.enter(Occasion { turn: 2, ..FIRST }, None);
        assert!(!stream.is_drawn());
        let second = (stream.next_u64(), stream.insecure_seed());
        assert!(first.0 != second.0 && first.1 != second.1);
        assert_eq!(second.1, stream.insecure_seed());
        stream.enter(FIRST, None);
        assert_eq!(stream.next_u64(), first.0);
    }

    #[test]
    fn a_segment_that_is_given_its_salt_again_has_the_same_bytes_and_no_other_has_them() {
        let stream = || RandomStream::of_session([7; 32], Clock::real(), FIRST);
        let mut first = stream();
        assert_eq!(first.salt(), None, "nothing is drawn");
        let drawn = [first.next_u64(), {
            first.enter_next_segment(None);
            assert_eq!(first.salt(), None, "nothing is drawn in this segment");
            first.next_u64()
        }];
        let salt = first.salt().expect("it has drawn");

        let mut again = stream();
        again.enter(FIRST, None);
        assert_ne!(again.next_u64(), drawn[0], "it has a salt of its own");
        again.enter_next_segment(Some(salt));
        assert_eq!((again.next_u64(), again.salt()), (drawn[1], Some(salt)));
        again.enter_next_segment(Some(salt));
        assert!(!drawn.contains(&again.next_u64()), "the same salt in another segment");
        again.enter_next_segment(None);
        again.next_u64();
        assert_ne!(again.salt(), Some(salt), "a salt is given once");
    }

    #[test]
    fn what_all_start_with_is_what_it_was_when_their_snapshots_were_taken() {
        let of =
            |what: &[u8]| *blake3::keyed_hash(b"dormouse: all instances as one!!", what).as_bytes();
        let mut stream = RandomStream::same_for_all();
        let mut bytes = [0; 32];
        stream.fill_bytes(&mut bytes);
        assert_eq!(bytes, of(b"dormouse guest: random stream"));
        let seed = stream.insecure_seed().to_le_bytes();
        assert_eq!(seed, of(b"dormouse guest: insecure seed")[..16]);
    }
}
