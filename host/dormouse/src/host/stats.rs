//! Numbers of a running host.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};

use dormouse_store::upkeep::StoreStats;

/// Numbers of a running host, for metrics and health.
#[derive(Clone, Copy, Debug)]
pub struct HostStats {
    /// Instances in memory.
    pub residents: usize,
    /// Messages that wait, over all sessions.
    pub queued: usize,
    /// Sessions that wait for memory or for a place.
    pub waiting: usize,
    /// Components that are compiled or wait for it.
    pub compiling: usize,
    /// Bytes that are charged: for instances (all that those at work may touch, and what idle ones
    /// really hold, with a fixed overhead each), snapshots in flight, first images of loaded agents,
    /// messages in flight, and the index of all sessions.
    pub memory_used: u64,
    /// Bytes that these may take.
    pub memory_limit: u64,
    /// Bytes that free places for instances keep from the instances before, beyond what is charged.
    pub memory_kept: u64,
    /// How long what is due has been waiting for the timekeeper to look at it. Zero: it is in time.
    pub timekeeper_lag: Duration,
    /// How long sessions were in memory since the host has started, and how long open ones were not.
    pub time: SessionTime,
    /// Sizes of the store.
    pub store: StoreStats,
}

/// Time of sessions since the host has started, added up over all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionTime {
    /// Time with an instance.
    pub resident: Duration,
    /// Time without one, of sessions that are not over.
    pub asleep: Duration,
}

/// Adds up the time of sessions. It counts them whenever somebody asks for the numbers, and takes the mean of two
/// counts for the time between them: so no wake and no sleep has to say when it was.
pub(crate) struct SessionTimer(Mutex<Counted>);

/// The last count.
#[derive(Clone, Copy)]
struct Counted {
    at: Duration,
    residents: u64,
    asleep: u64,
    time: SessionTime,
}

impl SessionTimer {
    /// From this time of the monotonic clock on, when so many sessions are asleep.
    pub(crate) fn new(at: Duration, asleep: u64) -> SessionTimer {
        let (residents, time) = (0, SessionTime::default());
        SessionTimer(Mutex::new(Counted { at, residents, asleep, time }))
    }

    /// The time until now, by the monotonic clock, when there are so many sessions of both kinds.
    pub(super) fn count(&self, at: Duration, residents: u64, asleep: u64) -> SessionTime {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = at.saturating_sub(last.at);
        let Counted { mut time, .. } = *last;
        time.resident += of_all(elapsed, last.residents, residents);
        time.asleep += of_all(elapsed, last.asleep, asleep);
        *last = Counted { at: at.max(last.at), residents, asleep, time };
        time
    }
}

/// The time of all sessions together, of which there were so many before and after.
fn of_all(elapsed: Duration, before: u64, after: u64) -> Duration {
    let micros = elapsed.as_micros() * u128::from(before + after) / 2;
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

impl HostStats {
    /// Tell the metrics of the process those numbers that are read, not counted.
    pub fn record(&self) {
        let HostStats { residents, queued, waiting, compiling, .. } = *self;
        let HostStats { memory_used, memory_limit, memory_kept, store, .. } = *self;
        let HostStats { timekeeper_lag, time, .. } = *self;
        gauge!("dormouse_timekeeper_lag_seconds").set(timekeeper_lag.as_secs_f64());
        counter!("dormouse_resident_seconds_total").absolute(time.resident.as_secs());
        counter!("dormouse_asleep_seconds_total").absolute(time.asleep.as_secs());
        gauge!("dormouse_residents").set(residents as f64);
        gauge!("dormouse_queued_messages").set(queued as f64);
        gauge!("dormouse_waiting_sessions").set(waiting as f64);
        gauge!("dormouse_compiling_components").set(compiling as f64);
        gauge!("dormouse_memory_used_bytes").set(float(memory_used));
        gauge!("dormouse_memory_limit_bytes").set(float(memory_limit));
        gauge!("dormouse_memory_kept_bytes").set(float(memory_kept));
        gauge!("dormouse_store_sessions").set(float(store.sessions));
        gauge!("dormouse_store_open_sessions").set(float(store.open_sessions));
        gauge!("dormouse_store_disk_bytes").set(float(store.disk_bytes));
        gauge!("dormouse_store_value_bytes").set(float(store.value_bytes));
        gauge!("dormouse_store_live_bytes").set(float(store.live_bytes));
        gauge!("dormouse_store_index_bytes").set(float(store.index_bytes));
        gauge!("dormouse_store_overlay_bytes").set(float(store.overlay_bytes));
        gauge!("dormouse_store_waits_for_space").set(f64::from(u8::from(store.waits_for_space)));
        gauge!("dormouse_store_unused_blobs").set(float(store.unused));
        gauge!("dormouse_store_quarantined").set(float(store.quarantined));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_sessions_is_that_of_the_mean_of_two_counts() {
        let seconds = Duration::from_secs;
        let timer = SessionTimer::new(seconds(10), 100);
        assert_eq!(timer.count(seconds(10), 0, 100), SessionTime::default());
        assert_eq!(timer.count(seconds(20), 4, 96).resident, seconds(20));
        let after = timer.count(seconds(30), 4, 96);
        assert_eq!((after.resident, after.asleep), (seconds(60), seconds(980 + 960)));
        assert_eq!(timer.count(seconds(30), 9, 9), after, "no time has passed");
        assert_eq!(timer.count(seconds(5), 9, 9), after, "it never goes back");
    }
}
