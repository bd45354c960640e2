//! Idle instances, kept in memory while it lasts.
//!
//! A session is here only while it has an instance and no driver. The longest idle goes first when
//! memory or places run short; those whose state no snapshot holds stay until they are ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::line::Line;
use crate::sandbox::Instance;

use super::id::{Principal, SessionId};
use super::record::{Durability, Session};

/// An instance with the record that it belongs to, so that the next turn needs no read.
pub(crate) struct Resident {
    /// The record as it was last committed.
    pub(crate) session: Session,
    /// The guest, between two turns.
    pub(crate) guest: Guest,
    /// When it was last of use: the end of its last turn, or its wake.
    pub(crate) used_at: Timestamp,
    /// Its state could not be saved when that was last tried.
    pub(crate) stuck: bool,
}

/// Idle instances that make room.
#[derive(Default)]
pub(crate) struct Going {
    /// Dropping this one loses nothing.
    pub(crate) gone: Option<Box<Resident>>,
    /// The driver of this one has to save it first. It is told once.
    pub(crate) unsaved: Option<SessionId>,
}

/// An instance, with the place that it takes.
pub(crate) struct Guest {
    /// The instance.
    pub(crate) instance: Instance,
    /// Its place. Free again once the instance is dropped.
    pub(crate) _seat: Seat,
}

/// A number of things to be had: places for instances, or leaves to make one.
struct Seats {
    taken: AtomicUsize,
    max: usize,
    line: Line,
}

/// One of them. Free again when it is dropped.
pub(crate) struct Seat(Arc<Seats>);

impl Seats {
    fn new(max: usize, line: &Line) -> Arc<Seats> {
        Arc::new(Seats { taken: AtomicUsize::new(0), max, line: line.clone() })
    }

    fn take(self: &Arc<Seats>) -> Option<Seat> {
        let free = |taken: usize| (taken < self.max).then_some(taken + 1);
        // In one order with the line: see `Line::given_back`.
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free).ok()?;
        Some(Seat(self.clone()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::SeqCst);
        self.0.line.given_back();
    }
}

impl Resident {
    /// Whether its state lies in the store, so that dropping the instance loses nothing.
    pub(crate) fn is_saved(&self) -> bool {
        self.session.unsaved_turns == 0
    }

    /// Whether it can be put to sleep, if need be once it is saved.
    fn may_go(&self) -> bool {
        let on_sleep = self.session.profile.durability == Durability::Sleep;
        self.is_saved() || (on_sleep && !self.stuck)
    }
}

/// All idle instances of a host.
pub(crate) struct Residents {
    idle: Mutex<Idle>,
    /// Places for instances: for those here, and for those that drivers hold.
    places: Arc<Seats>,
    /// Leaves to read the state of a session and to make an instance of it.
    making: Arc<Seats>,
    /// Where those wait who were denied one of either, or memory.
    line: Line,
}

#[derive(Default)]
struct Idle {
    parked: HashMap<SessionId, Parked>,
    /// Those that may go, the longest idle first.
    order: BTreeMap<u64, SessionId>,
    /// Those that go by themselves, by time.
    bedtimes: BTreeSet<(Timestamp, SessionId)>,
    next: u64,
}

struct Parked {
    resident: Box<Resident>,
    place: u64,
    bedtime: Option<Timestamp>,
}

impl Idle {
    fn take(&mut self, id: SessionId) -> Option<Box<Resident>> {
        let parked = self.parked.remove(&id)?;
        self.order.remove(&parked.place);
        if let Some(bedtime) = parked.bedtime {
            self.bedtimes.remove(&(bedtime, id));
        }
        Some(parked.resident)
    }
}

impl Residents {
    /// Room for this many instances, of which so many are made at the same time. What comes free is
    /// told to the line.
    pub(crate) fn new(max: usize, max_making: usize, line: &Line) -> Residents {
        Residents {
            idle: Mutex::default(),
            places: Seats::new(max, line),
            making: Seats::new(max_making, line),
            line: line.clone(),
        }
    }

    /// Keep an instance that has nothing to do, until `bedtime` at most.
    pub(crate) fn park(&self, resident: Box<Resident>, bedtime: Option<Timestamp>) {
        let id = resident.session.id;
        let may_go = resident.may_go();
        let bedtime = bedtime.filter(|_| may_go);
        let mut idle = self.lock();
        let place = idle.next;
        idle.next += 1;
        if may_go {
            idle.order.insert(place, id);
        }
        if let Some(bedtime) = bedtime {
            idle.bedtimes.insert((bedtime, id));
        }
        idle.parked.insert(id, Parked { resident, place, bedtime });
        drop(idle);
        // It can be evicted now, for the first in line.
        self.line.given_back();
    }

    /// Take the instance of a session, for its driver.
    pub(crate) fn take(&self, id: SessionId) -> Option<Box<Resident>> {
        self.lock().take(id)
    }

    /// Whether a session whose instance is here belongs to this principal. `None`: it is not here.
    pub(crate) fn is_owner(&self, id: SessionId, principal: &Principal) -> Option<bool> {
        let idle = self.lock();
        idle.parked.get(&id).map(|parked| parked.resident.session.owner == *principal)
    }

    /// Whether the instance of this session is here.
    pub(crate) fn contains(&self, id: SessionId) -> bool {
        self.lock().parked.contains_key(&id)
    }

    /// The sessions that have been idle the longest: one that is saved, out of the list, and one that
    /// is not and has been idle for longer.
    pub(crate) fn longest_idle(&self) -> Going {
        let mut idle = self.lock();
        let mut unsaved = None;
        let mut saved = None;
        for (place, id) in &idle.order {
            match idle.parked.get(id) {
                Some(parked) if parked.resident.is_saved() => {
                    saved = Some(*id);
                    break;
                }
                Some(_) => unsaved = unsaved.or(Some((*place, *id))),
                None => {}
            }
        }
        if let Some((place, _)) = unsaved {
            idle.order.remove(&place);
        }
        let gone = saved.and_then(|id| idle.take(id));
        Going { gone, unsaved: unsaved.map(|(_, id)| id) }
    }

    /// A session whose bedtime has come.
    pub(crate) fn due(&self, now: Timestamp) -> Option<Going> {
        let mut idle = self.lock();
        let (bedtime, id) = *idle.bedtimes.first()?;
        if bedtime > now {
            return None;
        }
        idle.bedtimes.pop_first();
        let saved = idle.parked.get(&id).is_some_and(|parked| parked.resident.is_saved());
        Some(if saved {
            Going { gone: idle.take(id), unsaved: None }
        } else {
            Going { gone: None, unsaved: Some(id) }
        })
    }

    /// When the next bedtime is.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.lock().bedtimes.first().map(|(bedtime, _)| *bedtime)
    }

    /// All of them, out of the list.
    pub(crate) fn take_all(&self) -> Vec<Resident> {
        let mut idle = std::mem::take(&mut *self.lock());
        idle.parked.drain().map(|(_, parked)| *parked.resident).collect()
    }

    /// A place for one more instance, if one is free.
    pub(crate) fn place(&self) -> Option<Seat> {
        self.places.take()
    }

    /// Leave to hold the state of one more session in memory, and to make an instance of it.
    pub(crate) fn leave_to_make(&self) -> Option<Seat> {
        self.making.take()
    }

    /// How many instances exist, idle and at work.
    pub(crate) fn instances(&self) -> usize {
        self.places.taken.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
