//! Who has a place among the connections.
//!
//! A client that connects gets a place at once. Where all are taken, the clients that have left the
//! host waiting for the longest lose theirs: those that have sent no request, that have none under
//! way, or that do not read. So silent connections, however many, cost nobody an answer. Where every
//! client waits for the host, a few places more are reserved for whoever operates it, for one quick
//! request each: see [`Reserved`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::link::Connection;

/// Of how many connections one is dismissed when places are needed: more than one at a time, because
/// all have to be looked at to find it.
const AT_ONCE: usize = 64;

/// How long a connection that was dismissed has to leave, before others are asked.
const LEAVING: Duration = Duration::from_millis(100);

/// A number of places.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    most: usize,
    taken: Mutex<Taken>,
    given_back: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    links: HashMap<u64, Arc<Connection>>,
}

/// The place of a connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    places: Arc<ConnectionSlots>,
    name: u64,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.places.taken().links.remove(&self.name);
        self.places.given_back.notify_one();
    }
}

impl ConnectionSlots {
    pub(super) fn new(most: usize) -> Arc<ConnectionSlots> {
        Arc::new(ConnectionSlots { most, taken: Mutex::default(), given_back: Notify::new() })
    }

    /// A place for this connection. `None` where all are taken by clients that wait for the host.
    pub(super) async fn take(
        self: &Arc<ConnectionSlots>,
        link: &Arc<Connection>,
    ) -> Option<ConnectionSlot> {
        loop {
            if let Some(place) = self.try_take(link) {
                return Some(place);
            }
            if !self.dismiss() {
                return None;
            }
            // Whoever has become busy meanwhile does not leave.
            let _ = tokio::time::timeout(LEAVING, self.given_back.notified()).await;
        }
    }

    fn try_take(self: &Arc<ConnectionSlots>, link: &Arc<Connection>) -> Option<ConnectionSlot> {
        let mut taken = self.taken();
        if taken.links.len() >= self.most {
            return None;
        }
        let name = taken.next;
        taken.next += 1;
        taken.links.insert(name, Arc::clone(link));
        Some(ConnectionSlot { places: Arc::clone(self), name })
    }

    /// Dismiss those who have left the host waiting for the longest. Returns whether there are any.
    fn dismiss(&self) -> bool {
        let taken = self.taken();
        // Of those that came in one millisecond, the one that came first.
        let mut waiting = Vec::new();
        for (name, link) in &taken.links {
            waiting.extend(link.waits_since().map(|since| ((since, *name), link)));
        }
        let count = (taken.links.len() / AT_ONCE).max(1);
        if waiting.len() > count {
            waiting.select_nth_unstable_by_key(count - 1, |(age, _)| *age);
        }
        waiting.iter().take(count).for_each(|(_, link)| link.dismiss());
        !waiting.is_empty()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
