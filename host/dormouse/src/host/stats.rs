//! Numbers of a running host.

use metrics::gauge;

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
    /// Sizes of the store.
    pub store: StoreStats,
}

impl HostStats {
    /// Tell the metrics of the process those numbers that are read, not counted.
    pub fn record(&self) {
        let HostStats { residents, queued, waiting, compiling, .. } = *self;
        let HostStats { memory_used, memory_limit, memory_kept, store, .. } = *self;
        gauge!("dormouse_residents").set(residents as f64);
        gauge!("dormouse_queued_messages").set(queued as f64);
        gauge!("dormouse_waiting_sessions").set(waiting as f64);
        gauge!("dormouse_compiling_components").set(compiling as f64);
        gauge!("dormouse_memory_used_bytes").set(float(memory_used));
        gauge!("dormouse_memory_limit_bytes").set(float(memory_limit));
        gauge!("dormouse_memory_kept_bytes").set(float(memory_kept));
        gauge!("dormouse_store_sessions").set(float(store.sessions));
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
