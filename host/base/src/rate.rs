//! How often something may be done: a bucket of tokens for each key, filled again as time goes by.
//!
//! A full bucket has the tokens of a minute: so a caller that was quiet may do so many things at once, and
//! goes on at the rate. What is kept of a bucket is the time at which it is full again (the generic cell
//! rate algorithm); a bucket that is full takes no memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What a bucket has tokens for.
const PERIOD: Duration = Duration::from_secs(60);
/// Full buckets are not looked for among fewer than this.
const FEW: usize = 1_024;

/// How often each of many may do something.
#[derive(Debug)]
pub struct RateLimit<K> {
    /// How long it takes until a bucket gets one token back.
    each: Duration,
    buckets: Mutex<Buckets<K>>,
}

#[derive(Debug)]
struct Buckets<K> {
    /// When each bucket is full again, by a clock that never goes back.
    full_at: HashMap<K, Duration>,
    /// How many there may be before those that are full are removed.
    most: usize,
}

impl<K: Hash + Eq> RateLimit<K> {
    /// So often in a minute.
    pub fn per_minute(count: NonZeroU32) -> RateLimit<K> {
        let buckets = Mutex::new(Buckets { full_at: HashMap::new(), most: FEW });
        RateLimit { each: PERIOD / count.get(), buckets }
    }

    /// Take a token out of a bucket, at this time of a clock that never goes back.
    ///
    /// # Errors
    /// The bucket is empty: how long it takes until it has a token. Nothing has changed.
    pub fn take(&self, key: K, now: Duration) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = buckets.full_at.get(&key).copied().unwrap_or(now).max(now);
        let next = full_at.saturating_add(self.each);
        if let Some(wait) = next.saturating_sub(now).checked_sub(PERIOD).filter(|it| !it.is_zero())
        {
            return Err(wait);
        }
        buckets.full_at.insert(key, next);
        if buckets.full_at.len() > buckets.most {
            buckets.full_at.retain(|_, full_at| *full_at > now);
            buckets.most = FEW.max(buckets.full_at.len().saturating_mul(2));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(count: u32) -> RateLimit<u32> {
        RateLimit::per_minute(NonZeroU32::new(count).expect("it is not 0"))
    }

    #[test]
    fn a_full_bucket_has_the_tokens_of_a_minute_and_gets_one_back_at_a_time() {
        let (limit, start) = (limit(6), Duration::from_secs(100));
        for _ in 0..6 {
            assert_eq!(limit.take(1, start), Ok(()));
        }
        assert_eq!(limit.take(1, start), Err(Duration::from_secs(10)));
        assert_eq!(limit.take(2, start), Ok(()), "another has a bucket of its own");
        let later = start + Duration::from_secs(9);
        assert_eq!(limit.take(1, later), Err(Duration::from_secs(1)));
        assert_eq!(limit.take(1, later + Duration::from_secs(1)), Ok(()));
        assert_eq!(limit.take(1, later + Duration::from_secs(1)), Err(Duration::from_secs(10)));
    }

    #[test]
    fn buckets_that_are_full_again_take_no_memory() {
        let limit = limit(60);
        for second in 0..20_000 {
            assert_eq!(limit.take(second, Duration::from_secs(second.into())), Ok(()));
        }
        let held = limit.buckets.lock().expect("nobody panics").full_at.len();
        assert!(held <= 2 * FEW, "{held}");
    }

    proptest! {
        #[test]
        fn in_no_stretch_of_time_is_more_done_than_the_rate_allows(
            count in 1..50_u32,
            pauses in proptest::collection::vec(0..5_000_u64, 1..200),
        ) {
            let limit = limit(count);
            let (mut now, mut taken) = (Duration::ZERO, Vec::new());
            for pause in pauses {
                now += Duration::from_millis(pause);
                match limit.take(1, now) {
                    Ok(()) => taken.push(now),
                    Err(wait) => {
                        prop_assert_eq!(limit.take(1, now + wait), Ok(()), "it says when");
                        now += wait;
                        taken.push(now);
                    }
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let done = (last - first + 1) as f64;
                    let refilled = (*to - *from).as_secs_f64() / 60.0 * f64::from(count);
                    prop_assert!(done <= f64::from(count) + refilled + 1e-6);
                }
            }
        }
    }
}
