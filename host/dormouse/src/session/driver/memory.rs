//! What the driver of a session holds of it between two pieces of work, and while it wakes the session.

use std::sync::Arc;

use super::{GuestInstance, Resident};
use crate::session::residents::InstantiationPermit;
use dormouse_base::fair_queue::Waiter;
use dormouse_domain::id::SnapshotId;
use dormouse_domain::residence::Residence;
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::Snapshot;
use dormouse_domain::time::Timestamp;
use dormouse_store::WakeState;

/// What is in memory of a session.
pub(super) enum SessionMemory {
    /// Nothing: the record was not read yet, or is not to be trusted.
    Unknown,
    /// The record as it was last committed, and no instance.
    Asleep {
        session: Arc<Session>,
        /// An instance was made since the last commit and is gone, and no event tells of it yet.
        woken: bool,
        /// When the session had an instance. The next commit has it in the record.
        residence: Residence,
    },
    /// The record, with the instance that belongs to it.
    Resident(Box<Resident>),
}

impl SessionMemory {
    /// The record as it was last committed.
    pub(super) fn session(&self) -> Option<&Arc<Session>> {
        match self {
            SessionMemory::Unknown => None,
            SessionMemory::Asleep { session, .. } => Some(session),
            SessionMemory::Resident(resident) => Some(&resident.session),
        }
    }

    pub(super) fn resident_mut(&mut self) -> Option<&mut Resident> {
        match self {
            SessionMemory::Unknown | SessionMemory::Asleep { .. } => None,
            SessionMemory::Resident(resident) => Some(resident),
        }
    }

    pub(super) fn guest(&self) -> Option<&GuestInstance> {
        match self {
            SessionMemory::Unknown | SessionMemory::Asleep { .. } => None,
            SessionMemory::Resident(resident) => Some(&resident.guest),
        }
    }

    pub(super) fn guest_mut(&mut self) -> Option<&mut GuestInstance> {
        self.resident_mut().map(|resident| &mut resident.guest)
    }

    /// Take the record that was just read or committed. The instance stays.
    pub(super) fn set_session(&mut self, new: Arc<Session>) {
        match self {
            SessionMemory::Unknown => {
                let residence = new.residence;
                *self = SessionMemory::Asleep { session: new, woken: false, residence };
            }
            SessionMemory::Asleep { session, .. } => *session = new,
            SessionMemory::Resident(resident) => resident.session = new,
        }
    }

    /// When the session had an instance. The next commit has it in the record.
    pub(super) fn residence(&self) -> Option<Residence> {
        match self {
            SessionMemory::Unknown => None,
            SessionMemory::Asleep { residence, .. } => Some(*residence),
            SessionMemory::Resident(resident) => Some(resident.residence),
        }
    }

    /// Note when the session had an instance, which is gone.
    pub(super) fn note_slept(&mut self, slept: Residence) {
        if let SessionMemory::Asleep { residence, .. } = self {
            *residence = slept;
        }
    }

    /// Take the instance that was just made for this record. `woken`: an event is to tell of it.
    pub(super) fn set_guest(
        &mut self,
        session: Arc<Session>,
        guest: GuestInstance,
        used_at: Timestamp,
        woken: bool,
    ) {
        let woken = self.take_woken() || woken;
        let before = self.residence().unwrap_or(session.residence);
        let residence = before.woken(used_at, session.last_activity_at);
        *self = SessionMemory::Resident(Box::new(Resident {
            session,
            guest,
            used_at,
            residence,
            woken,
            stuck: false,
        }));
    }

    /// Take the instance out. The record stays.
    pub(super) fn take_resident(&mut self) -> Option<Box<Resident>> {
        match std::mem::replace(self, SessionMemory::Unknown) {
            SessionMemory::Resident(resident) => {
                let (session, woken) = (Arc::clone(&resident.session), resident.woken);
                let residence = resident.residence;
                *self = SessionMemory::Asleep { session, woken, residence };
                Some(resident)
            }
            other @ (SessionMemory::Unknown | SessionMemory::Asleep { .. }) => {
                *self = other;
                None
            }
        }
    }

    /// Whether an instance was made of which no event tells yet. The caller tells of it.
    pub(super) fn take_woken(&mut self) -> bool {
        match self {
            SessionMemory::Unknown => false,
            SessionMemory::Asleep { woken, .. } => std::mem::take(woken),
            SessionMemory::Resident(resident) => std::mem::take(&mut resident.woken),
        }
    }
}

/// What the next instance is made with. Released as soon as there is an instance, or no work for one.
#[derive(Default)]
pub(super) struct WakePreparation {
    pub(super) head: LoadedHead,
    /// Permit to hold a head, and to make an instance of it.
    pub(super) instantiation: Option<InstantiationPermit>,
    /// Its position in the fair queue for memory and permits: the instances that an upgrade makes one after
    /// the other have the same.
    pub(super) waiter: Option<Waiter>,
    /// Bytes that the instance holds from its start, because the one before it found no memory for as many.
    pub(super) reserve: Reserve,
}

/// The head that the record names.
#[derive(Default)]
pub(super) enum LoadedHead {
    /// It was not read, or there is none.
    #[default]
    Unread,
    /// It was read, and is not in an instance yet.
    Read(Snapshot),
    /// It could not be read. Says why.
    Damaged(Arc<str>),
}

impl LoadedHead {
    /// The head that was read together with the record, and the record.
    pub(super) fn of(wake_state: WakeState) -> (LoadedHead, Session) {
        let WakeState { session, head, damage } = wake_state;
        let head = match (damage, head) {
            (Some(damage), _) => LoadedHead::Damaged(damage),
            (None, Some(head)) => LoadedHead::Read(head),
            (None, None) => LoadedHead::Unread,
        };
        (head, session)
    }

    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            LoadedHead::Read(head) => Some(head),
            LoadedHead::Unread | LoadedHead::Damaged(_) => None,
        }
    }

    pub(super) fn id(&self) -> Option<SnapshotId> {
        self.snapshot().map(|head| head.id)
    }
}

/// Memory that the next instance holds from its start, in bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Reserve {
    /// What it should hold.
    pub(super) wanted: u64,
    /// What will do where there is no other instance that could give anything back. At most as much.
    pub(super) least: u64,
}
