//! The randomness of a guest: a stream that its seed determines, and that can go on anywhere.
//!
//! The stream is BLAKE3 in its keyed, extensible form: as unpredictable as the seed, and any byte of
//! it can be computed from its position alone. So a session that sleeps keeps one number, and a turn
//! that is run again draws the same bytes.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_core::TryRng;

/// Bytes that are computed at once.
const BLOCK: usize = 64;

/// The random bytes of one instance. Clones draw from the same stream.
#[derive(Clone)]
pub(in crate::sandbox) struct RandomStream(Arc<Mutex<Draw>>);

struct Draw {
    seed: [u8; 32],
    position: u64,
    /// The block that the position lies in, once something was drawn.
    block: Option<(u64, [u8; BLOCK])>,
}

impl RandomStream {
    /// The stream of this seed, from this position on.
    pub(in crate::sandbox) fn new(seed: &[u8; 32], position: u64) -> RandomStream {
        RandomStream(Arc::new(Mutex::new(Draw { seed: *seed, position, block: None })))
    }

    /// How many bytes have been drawn from the beginning of the stream.
    pub(in crate::sandbox) fn position(&self) -> u64 {
        self.lock().position
    }

    fn draw<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.lock().fill(&mut bytes);
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, Draw> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number that a guest may seed its hash tables with. It stays the same for a session.
pub(super) fn insecure_seed(seed: &[u8; 32]) -> u128 {
    let hash = blake3::keyed_hash(seed, b"dormouse guest: insecure seed");
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

impl Draw {
    fn fill(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let number = self.position / BLOCK as u64;
            let block = match &self.block {
                Some((at, block)) if *at == number => *block,
                Some(_) | None => {
                    let block = compute(&self.seed, number);
                    self.block = Some((number, block));
                    block
                }
            };
            let within = usize::try_from(self.position % BLOCK as u64).unwrap_or(0);
            let take = bytes.len().min(BLOCK - within);
            let (now, later) = bytes.split_at_mut(take);
            now.copy_from_slice(&block[within..within + take]);
            // A stream of 2^64 bytes has no end that anybody sees; it starts again.
            self.position = self.position.wrapping_add(take as u64);
            bytes = later;
        }
    }
}

fn compute(seed: &[u8; 32], number: u64) -> [u8; BLOCK] {
    let mut hasher = blake3::Hasher::new_keyed(seed);
    hasher.update(b"dormouse guest: random stream");
    let mut reader = hasher.finalize_xof();
    reader.set_position(number * BLOCK as u64);
    let mut block = [0; BLOCK];
    reader.fill(&mut block);
    block
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
        self.lock().fill(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::Rng;

    #[test]
    fn a_stream_goes_on_where_it_was_left_however_it_is_drawn() {
        let seed = [7; 32];
        let mut whole = vec![0; 1_000];
        RandomStream::new(&seed, 0).fill_bytes(&mut whole);

        let mut first = RandomStream::new(&seed, 0);
        let mut pieces = first.next_u32().to_le_bytes().to_vec();
        pieces.extend(first.next_u64().to_le_bytes());
        let mut other = first.clone();
        let mut more = vec![0; 301];
        other.fill_bytes(&mut more);
        pieces.extend(more);
        assert_eq!(first.position(), 313);

        let mut rest = vec![0; 1_000 - 313];
        RandomStream::new(&seed, 313).fill_bytes(&mut rest);
        pieces.extend(rest);
        assert_eq!(pieces, whole);
    }

    #[test]
    fn different_seeds_give_different_streams() {
        let draw = |seed| RandomStream::new(&[seed; 32], 0).next_u64();
        assert_ne!(draw(1), draw(2));
        assert_ne!(insecure_seed(&[1; 32]), insecure_seed(&[2; 32]));
    }
}
