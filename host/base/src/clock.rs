//! Time and randomness, real or turned by hand.
//!
//! This is the only module that reads the real clock or a source of randomness. Everything else is
//! handed a [`Clock`], so that a test turns the time itself and a simulation can own it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;
use uuid::Uuid;

use dormouse_domain::time::Timestamp;

/// This time of the machine, which may be set to one before 1970.
fn timestamp(time: SystemTime) -> Timestamp {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp(millis(since)),
        Err(before) => Timestamp(-millis(before.duration())),
    }
}

/// Counts the ids of one millisecond of the machine's clock.
static IDS: Mutex<uuid::ContextV7> = Mutex::new(uuid::ContextV7::new());

/// An id that was made at this time. Ids have no time before 1970: those are of its first moment.
fn id_at(counter: impl uuid::ClockSequence<Output = impl Into<u128>>, time: Timestamp) -> Uuid {
    let millis = u64::try_from(time.0).unwrap_or(0);
    let nanos = u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(counter, millis / 1000, nanos))
}

/// The clock of a host: the machine's, or one that is turned by hand.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    Real(Instant),
    Manual(ManualClock),
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Real(_) => f.write_str("Clock::real"),
            Source::Manual(_) => f.write_str("Clock::manual"),
        }
    }
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn real() -> Clock {
        Clock(Source::Real(Instant::now()))
    }

    /// A clock that stands still until `by` turns it.
    #[must_use]
    pub fn manual(by: &ManualClock) -> Clock {
        Clock(Source::Manual(by.clone()))
    }

    /// What time it is.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Real(_) => timestamp(SystemTime::now()),
            Source::Manual(clock) => clock.now(),
        }
    }

    /// A time that never goes back, from an arbitrary origin: for measuring how long things take.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::Real(origin) => origin.elapsed(),
            Source::Manual(clock) => {
                Duration::from_millis(u64::try_from(clock.now().0).unwrap_or(0))
            }
        }
    }

    /// Wait until `time` has come. Returns at once if it has.
    pub fn sleep_until(&self, time: Timestamp) -> impl Future<Output = ()> + Send + 'static {
        let clock = self.clone();
        async move {
            match &clock.0 {
                Source::Real(_) => loop {
                    // Asked again after each wait: the wall clock may have been set meanwhile.
                    let left = time.since(clock.now());
                    if left.is_zero() {
                        return;
                    }
                    tokio::time::sleep(left.min(Duration::from_secs(60))).await;
                },
                Source::Manual(manual) => {
                    if let Some(woken) = manual.wait(time) {
                        // The sender lives in the clock, which this future holds: it cannot be lost.
                        let _ = woken.await;
                    }
                }
            }
        }
    }

    /// Wait a little for other threads of this process. In real time, also where the clock is turned
    /// by hand: what is waited for does not depend on it.
    pub async fn back_off(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }

    /// A new id: unique, and ordered by the time of its making.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that makes ids")]
    pub fn new_id(&self) -> Uuid {
        match &self.0 {
            Source::Real(_) => id_at(&IDS, timestamp(SystemTime::now())),
            Source::Manual(clock) => id_at(clock.counter(), clock.now()),
        }
    }

    /// A salt: 16 bytes that never come again. From the operating system, or with a clock that is turned by
    /// hand, the first of those that `twin` makes: what must be the same for two hosts that do the same.
    #[must_use]
    pub fn salt(&self, twin: impl FnOnce() -> [u8; 32]) -> [u8; 16] {
        match &self.0 {
            Source::Real(_) => self.random(),
            Source::Manual(_) => {
                let [salt @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = twin();
                salt
            }
        }
    }

    /// Unpredictable bytes from the operating system, for keys and for guests that ask for them.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one source of randomness")]
    pub fn random(&self) -> [u8; 16] {
        *Uuid::new_v4().as_bytes()
    }
}

/// A moment in real time, whatever clock the host has. A guest that waits for a time waits in real time: the timers of
/// its engine know no other, and so it does where it waits for something else besides.
#[derive(Clone, Copy, Debug)]
pub struct RealMoment(tokio::time::Instant);

impl RealMoment {
    /// Longer than anybody waits.
    const FAR: Duration = Duration::from_secs(30 * 366 * 24 * 3600);

    /// This one.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    #[must_use]
    pub fn now() -> RealMoment {
        RealMoment(tokio::time::Instant::now())
    }

    /// So long after this one.
    #[must_use]
    pub fn after(self, duration: Duration) -> RealMoment {
        let RealMoment(moment) = self;
        RealMoment(moment.checked_add(duration).unwrap_or(moment + RealMoment::FAR))
    }

    /// How long it is until then. Zero where it is past.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(RealMoment::now().0)
    }

    /// How long ago it was.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Wait for it.
    pub async fn come(self) {
        tokio::time::sleep_until(self.0).await;
    }
}

/// A clock for tests: it stands still until it is turned.
///
/// ```
/// # use dormouse_base::clock::ManualClock;
/// # use std::time::Duration;
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().since(before), Duration::from_secs(60));
/// ```
#[derive(Clone, Default)]
pub struct ManualClock(Arc<Mutex<Manual>>);

#[derive(Default)]
struct Manual {
    now: Timestamp,
    waiting: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
    next: u64,
    context: uuid::ContextV7,
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManualClock({})", self.now())
    }
}

impl ManualClock {
    /// A clock that stands at 2030-01-01T00:00:00Z.
    #[must_use]
    pub fn new() -> ManualClock {
        let clock = ManualClock::default();
        clock.lock().now = Timestamp(1_893_456_000_000);
        clock
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.lock().now
    }

    /// Turn the clock forward, and wake all who waited for a time that has now come. What they do then
    /// follows on other threads: `Host::settle` of the library returns when they have done it.
    pub fn advance(&self, by: Duration) {
        let due = {
            let mut manual = self.lock();
            manual.now = manual.now.after(by);
            let not_yet = (Timestamp(manual.now.0.saturating_add(1)), 0);
            let later = manual.waiting.split_off(&not_yet);
            std::mem::replace(&mut manual.waiting, later)
        };
        for (_, waiter) in due {
            // A waiter that has gone away needs no waking.
            let _ = waiter.send(());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Manual> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, time: Timestamp) -> Option<oneshot::Receiver<()>> {
        let mut manual = self.lock();
        if time <= manual.now {
            return None;
        }
        let (woken, wait) = oneshot::channel();
        let next = manual.next;
        manual.next += 1;
        manual.waiting.insert((time, next), woken);
        Some(wait)
    }

    fn counter(&self) -> Counter {
        Counter(self.clone())
    }
}

/// Counts ids of one millisecond, so that they stay in the order of their making.
struct Counter(ManualClock);

impl uuid::ClockSequence for Counter {
    type Output = u64;

    fn generate_sequence(&self, seconds: u64, nanos: u32) -> u64 {
        self.0.lock().context.generate_sequence(seconds, nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp(1_893_456_000_042).to_string(), "2030-01-01T00:00:00.042Z");
    }

    #[test]
    fn a_machine_whose_clock_is_set_before_1970_has_times_and_ids() {
        let time = |before| timestamp(UNIX_EPOCH - Duration::from_millis(before));
        assert_eq!((time(0), time(1_500)), (Timestamp(0), Timestamp(-1_500)));
        assert_eq!(time(1).to_string(), "1969-12-31T23:59:59.999Z");
        let ids: Vec<_> = (0..1000).map(|before| id_at(&IDS, time(before))).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn ids_of_one_moment_of_a_manual_clock_are_ordered_and_distinct() {
        let clock = Clock::manual(&ManualClock::new());
        let ids: Vec<_> = (0..1000).map(|_| clock.new_id()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[tokio::test]
    async fn turning_a_manual_clock_wakes_those_whose_time_has_come() {
        let manual = ManualClock::new();
        let clock = Clock::manual(&manual);
        let soon = tokio::spawn(clock.sleep_until(clock.now().after(Duration::from_secs(1))));
        let later = tokio::spawn(clock.sleep_until(clock.now().after(Duration::from_secs(9))));
        tokio::task::yield_now().await;
        manual.advance(Duration::from_secs(1));
        soon.await.expect("it wakes");
        assert!(!later.is_finished());
        later.abort();
    }
}
