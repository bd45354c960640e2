//! Idle instances, kept in memory while it lasts.
//!
//! A session is here only while it has an instance and no driver. When memory or places run short,
//! the longest idle of the principal that has the most places goes first ([`eviction`]); those whose
//! state no snapshot holds stay until they are ended.

mod eviction;
mod permits;
mod users;

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_base::fair_queue::FairQueue;
use dormouse_domain::time::Timestamp;
use dormouse_sandbox::Instance;

use crate::workspaces::HeldFiles;
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::residence::Residence;
use dormouse_domain::session::{Durability, Session};
use eviction::{Evictable, Sequence};
pub(crate) use permits::{InstancePermit, InstantiationPermit};
use permits::{InstancePermits, Permits};
use users::Users;
pub(crate) use users::{User, UserPlace};

/// An instance with the record that it belongs to, so that the next turn needs no read.
pub(crate) struct Resident {
    /// The record as it was last committed.
    pub(crate) session: Arc<Session>,
    /// The guest, between two turns.
    pub(crate) guest: GuestInstance,
    /// When it was last of use: the end of its last turn, or its wake.
    pub(crate) used_at: Timestamp,
    /// When the session had an instance, with this one: the record has it from the next commit on.
    pub(crate) residence: Residence,
    /// The instance was made since the last commit, and no event tells of it yet.
    pub(crate) woken: bool,
    /// Its state could not be saved when that was last tried.
    pub(crate) stuck: bool,
}

/// Idle instances that make room.
#[derive(Default)]
pub(crate) struct Eviction {
    /// Dropping this one loses nothing.
    pub(crate) gone: Option<Box<Resident>>,
    /// The driver of this one has to save it first. It is told once.
    pub(crate) unsaved: Option<SessionId>,
}

/// An instance, with the permit that it holds.
pub(crate) struct GuestInstance {
    /// The instance.
    pub(crate) instance: Instance,
    /// Its permit. Free again once the instance is dropped.
    pub(crate) permit: InstancePermit,
    /// The place of its user, where it has one: free again as well.
    pub(crate) user_place: Option<UserPlace>,
    /// The files that it goes on from.
    pub(crate) files: HeldFiles,
}

impl GuestInstance {
    /// What was saved of it is stored.
    pub(crate) fn stored(&mut self) {
        self.instance.stored();
        self.files.stored();
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
    /// Permits for instances: for those here, and for those that drivers hold.
    permits: InstancePermits,
    /// The users whose sessions they are.
    users: Users,
    /// Permits to read the state of a session and to make an instance of it.
    instantiations: Arc<Permits>,
    /// Where sessions wait that were denied a permit of either kind, or memory.
    queue: FairQueue,
}

#[derive(Default)]
struct Idle {
    parked: HashMap<SessionId, Parked>,
    /// The instances that may go at once.
    saved: Evictable,
    /// The instances that may go once they are saved, and whose drivers were not told yet.
    unsaved: Evictable,
    /// The instances that go by themselves, by time.
    sleep_times: BTreeSet<(Timestamp, SessionId)>,
    next: Sequence,
}

struct Parked {
    resident: Box<Resident>,
    since: Sequence,
    sleep_at: Option<Timestamp>,
}

impl Idle {
    fn take(&mut self, id: SessionId) -> Option<Box<Resident>> {
        let parked = self.parked.remove(&id)?;
        let tenant = parked.resident.guest.permit.tenant();
        if let Some(place) = &parked.resident.guest.user_place {
            place.user.forget_idle(parked.since);
        }
        if parked.resident.is_saved() {
            self.saved.remove(tenant, parked.since);
        } else {
            self.unsaved.remove(tenant, parked.since);
        }
        if let Some(sleep_at) = parked.sleep_at {
            self.sleep_times.remove(&(sleep_at, id));
        }
        Some(parked.resident)
    }
}

impl Residents {
    /// Room for this many instances, of which so many are made at the same time, and so many are of one user.
    /// The queue is told of each place that comes free.
    pub(crate) fn new(
        max: usize,
        max_instantiations: usize,
        max_per_user: Option<NonZeroU32>,
        queue: &FairQueue,
    ) -> Residents {
        Residents {
            idle: Mutex::default(),
            permits: InstancePermits::new(max, queue),
            users: Users::new(max_per_user),
            instantiations: Permits::new(max_instantiations, queue),
            queue: queue.clone(),
        }
    }

    /// Keep an instance that has nothing to do, until `sleep_at` at most. Answers with its user, where a session
    /// of that user waits for a place.
    pub(crate) fn park(
        &self,
        resident: Box<Resident>,
        sleep_at: Option<Timestamp>,
    ) -> Option<Arc<User>> {
        let id = resident.session.id;
        let tenant = resident.guest.permit.tenant();
        let may_go = resident.may_go();
        let sleep_at = sleep_at.filter(|_| may_go);
        let mut idle = self.lock();
        let since = idle.next;
        idle.next += 1;
        if resident.is_saved() {
            idle.saved.insert(tenant, since, id);
        } else if may_go {
            idle.unsaved.insert(tenant, since, id);
        }
        if let Some(sleep_at) = sleep_at {
            idle.sleep_times.insert((sleep_at, id));
        }
        let user = resident.guest.user_place.as_ref().map(|place| Arc::clone(&place.user));
        if let Some(user) = user.as_ref().filter(|_| may_go) {
            user.note_idle(since, id);
        }
        idle.parked.insert(id, Parked { resident, since, sleep_at });
        drop(idle);
        // It can be evicted now, for the first in line.
        self.queue.notify_released();
        user.filter(|user| user.is_waited_for())
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

    /// When a session had an instance, the one included that is here. `None`: none is.
    pub(crate) fn residence(&self, id: SessionId) -> Option<Residence> {
        self.lock().parked.get(&id).map(|parked| parked.resident.residence)
    }

    /// The sessions that go first: one that is saved, out of the list, and one that is not and goes
    /// before it.
    pub(crate) fn evict(&self) -> Eviction {
        let mut idle = self.lock();
        let places = |id: SessionId| {
            idle.parked.get(&id).map_or(0, |parked| parked.resident.guest.permit.of_tenant())
        };
        let saved = idle.saved.first(places);
        let unsaved = idle.unsaved.first(places);
        let unsaved = unsaved.filter(|one| saved.is_none_or(|saved| one.is_before(&saved)));
        if let Some(told) = unsaved {
            idle.unsaved.remove(told.tenant, told.since);
        }
        let gone = saved.and_then(|saved| idle.take(saved.id));
        Eviction { gone, unsaved: unsaved.map(|told| told.id) }
    }

    /// The user whose place this session needs for its instance. `None`: it needs none.
    pub(crate) fn user(&self, session: &Session) -> Option<Arc<User>> {
        self.users.of(session)
    }

    /// The session of this user that goes first, out of the list where it is saved. `None`: all are at work, or
    /// cannot go.
    pub(crate) fn evict_of(&self, user: &User) -> Option<Eviction> {
        let mut idle = self.lock();
        let id = user.longest_idle()?;
        let parked = idle.parked.get(&id)?;
        if parked.resident.is_saved() {
            return Some(Eviction { gone: idle.take(id), unsaved: None });
        }
        let (tenant, since) = (parked.resident.guest.permit.tenant(), parked.since);
        user.forget_idle(since);
        idle.unsaved.remove(tenant, since);
        Some(Eviction { gone: None, unsaved: Some(id) })
    }

    /// A session whose time to sleep has come.
    pub(crate) fn due(&self, now: Timestamp) -> Option<Eviction> {
        let mut idle = self.lock();
        let (sleep_at, id) = *idle.sleep_times.first()?;
        if sleep_at > now {
            return None;
        }
        idle.sleep_times.pop_first();
        let saved = idle.parked.get(&id).is_some_and(|parked| parked.resident.is_saved());
        Some(if saved {
            Eviction { gone: idle.take(id), unsaved: None }
        } else {
            Eviction { gone: None, unsaved: Some(id) }
        })
    }

    /// When the next idle instance goes to sleep by itself.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.lock().sleep_times.first().map(|(sleep_at, _)| *sleep_at)
    }

    /// All of them, out of the list.
    pub(crate) fn take_all(&self) -> Vec<Resident> {
        let mut idle = std::mem::take(&mut *self.lock());
        idle.parked.drain().map(|(_, parked)| *parked.resident).collect()
    }

    /// A permit for one more instance of this principal, if one is free.
    pub(crate) fn instance_permit(&self, owner: &Principal) -> Option<InstancePermit> {
        self.permits.take(owner)
    }

    /// A permit to hold the state of one more session in memory, and to make an instance of it.
    pub(crate) fn instantiation_permit(&self) -> Option<InstantiationPermit> {
        self.instantiations.take().map(InstantiationPermit)
    }

    /// How many instances exist, idle and at work.
    pub(crate) fn instances(&self) -> usize {
        self.permits.taken()
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
