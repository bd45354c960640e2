//! The driver of a session: the one task that changes it.
//!
//! It takes what waits, one after the other: an order changes the record, a message becomes a turn.
//! Each change is committed before memory follows and before anybody is told. When a commit does not
//! succeed, everything in memory is dropped, and the next work starts from what the store has.

mod history;
mod orders;
mod turns;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::agent::catalog::CodeError;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::sandbox::{self, Fault};
use crate::store::StoreError;

use super::id::SessionId;
use super::manager::Manager;
use super::queue::Next;
use super::record::{Residency, Session};
use super::request::{Commission, Running};
use super::residents::{Guest, Resident};
use super::snapshot::{GuestState, Snapshot};

/// Waits between tries to wake a session when memory is short.
const WAKE_BACKOFF: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(40), Duration::from_millis(160)];

/// Fuel for putting a saved state back. Not billed: it is the host that dropped the instance.
const RESTORE_FUEL: u64 = 10_000_000_000;

/// Work for this session until there is none.
pub(super) async fn drive(
    manager: &Arc<Manager>,
    id: SessionId,
    resident: Option<Box<Resident>>,
    mut interrupt: watch::Receiver<Running>,
) {
    let mut driver = Driver {
        manager,
        id,
        session: None,
        head: None,
        damage: None,
        guest: None,
        used_at: manager.clock.now(),
        woken: false,
    };
    if let Some(resident) = resident {
        let Resident { session, guest, used_at } = *resident;
        (driver.session, driver.guest, driver.used_at) = (Some(session), Some(guest), used_at);
    }
    while let Some(work) = manager.next(id, || driver.leave()) {
        match work {
            Next::Order(Commission { caller, order, answer }) => {
                let done = driver.order(caller, order).await;
                // Who gave the order may have gone; it is carried out all the same.
                let _ = answer.send(done);
            }
            Next::Message(letter) => driver.message(letter, &mut interrupt).await,
        }
    }
}

struct Driver<'a> {
    manager: &'a Arc<Manager>,
    id: SessionId,
    /// The record as it was last committed. `None`: not read yet, or not to be trusted.
    session: Option<Session>,
    /// The head, where it was read with the record and not yet put into an instance.
    head: Option<Snapshot>,
    /// Why the head could not be read.
    damage: Option<Arc<str>>,
    guest: Option<Guest>,
    /// When the instance was last of use.
    used_at: Timestamp,
    /// The instance was made since the last commit, and no event tells of it yet.
    woken: bool,
}

/// Why a session could not be loaded or woken.
enum WakeError {
    NotFound,
    OutOfMemory,
    /// The saved state could not be put back: a fault of the guest.
    Guest(Fault),
    /// The head is damaged. Says how.
    Damaged(String),
    /// This host does not read the head. Says why.
    Unusable(String),
    Host(String),
    Store(StoreError),
}

impl From<StoreError> for WakeError {
    fn from(error: StoreError) -> WakeError {
        WakeError::Store(error)
    }
}

impl From<CodeError> for WakeError {
    fn from(error: CodeError) -> WakeError {
        match error {
            CodeError::Store(error) => WakeError::Store(error),
            CodeError::Missing(_) | CodeError::Refused(_) => WakeError::Host(error.to_string()),
        }
    }
}

impl Driver<'_> {
    /// What is left in memory when there is no more work.
    fn leave(&mut self) -> Option<Box<Resident>> {
        let guest = self.guest.take()?;
        let session = self.session.take()?;
        Some(Box::new(Resident { session, guest, used_at: self.used_at }))
    }

    /// Forget everything: the store knows better.
    fn forget(&mut self) {
        self.session = None;
        self.head = None;
        self.damage = None;
        self.drop_guest();
    }

    fn drop_guest(&mut self) {
        if self.guest.take().is_some() {
            self.manager.note_residency(self.id, Residency::Asleep);
        }
    }

    /// The record, read where it is not in memory yet.
    async fn load(&mut self) -> Result<&Session, WakeError> {
        if self.session.is_none() {
            let dormant = self.manager.store.dormant(self.id).await?;
            let dormant = dormant.ok_or(WakeError::NotFound)?;
            (self.head, self.damage) = (dormant.head, dormant.damage);
            self.session = Some(dormant.session);
        }
        self.session.as_ref().ok_or(WakeError::NotFound)
    }

    /// Make the instance where there is none, in the state of the head.
    async fn wake(&mut self) -> Result<(), WakeError> {
        if self.guest.is_some() {
            return Ok(());
        }
        let session = self.load().await?.clone();
        let here = self.head.as_ref().map(|head| head.id);
        if here != session.head {
            // The record came from a resident that is gone meanwhile, or has a new head.
            let dormant = self.manager.store.dormant(self.id).await?.ok_or(WakeError::NotFound)?;
            (self.head, self.damage) = (dormant.head, dormant.damage);
        }
        if let Some(damage) = &self.damage {
            return Err(WakeError::Damaged(damage.to_string()));
        }
        self.manager.note_residency(self.id, Residency::Waking);
        let begun = self.manager.clock.monotonic();
        let head = self.head.as_ref();
        let made = make(self.manager, &session, head, head.map(|head| &head.state)).await;
        let residency = if made.is_ok() { Residency::Resident } else { Residency::Asleep };
        self.manager.note_residency(self.id, residency);
        let guest = made?;
        if session.head.is_some() {
            self.woken = true;
            metrics::counter!("dormouse_wakes_total").increment(1);
            metrics::histogram!("dormouse_wake_seconds")
                .record(self.manager.clock.monotonic().saturating_sub(begun).as_secs_f64());
        }
        self.head = None;
        self.guest = Some(guest);
        self.used_at = self.manager.clock.now();
        Ok(())
    }

    /// Events that wait for the next commit.
    fn pending_events(&mut self) -> Vec<Event> {
        if std::mem::take(&mut self.woken) {
            self.manager.slept.woken_events(self.id, self.manager.clock.now())
        } else {
            Vec::new()
        }
    }
}

/// Make an instance of the session's agent in this state: that of the head, or one that is to follow
/// it. Its clock and its randomness go on from the head.
async fn make(
    manager: &Arc<Manager>,
    session: &Session,
    head: Option<&Snapshot>,
    state: Option<&GuestState>,
) -> Result<Guest, WakeError> {
    let code = manager.catalog.code(session.profile.agent.digest).await?;
    let grant = sandbox::Grant {
        max_memory_bytes: session.profile.limits.max_memory_bytes,
        seed: manager.seed(session.id),
        random_position: head.map_or(0, |head| head.random_position),
        monotonic_ns: monotonic_ns(session, head, manager.clock.now()),
    };
    let mut backoff = WAKE_BACKOFF.iter();
    loop {
        let seat = manager.residents.seat(|gone| manager.note_slept(gone, "places"));
        let fault = match seat {
            None => Fault::Busy,
            Some(seat) => match revive(&code, grant.clone(), state).await {
                Ok(instance) => return Ok(Guest { instance, _seat: seat }),
                Err(fault) => fault,
            },
        };
        match (fault, backoff.next()) {
            (Fault::Busy | Fault::HostOutOfMemory, Some(wait)) => {
                manager.clock.back_off(*wait).await;
            }
            (Fault::Busy | Fault::HostOutOfMemory, None) => return Err(WakeError::OutOfMemory),
            (Fault::SnapshotDamaged(why), _) => return Err(WakeError::Damaged(why)),
            (Fault::SnapshotUnusable(why), _) => return Err(WakeError::Unusable(why)),
            (fault, _) => return Err(WakeError::Guest(fault)),
        }
    }
}

/// What the guest's monotonic clock says now. It goes from the creation of the session on, also while it
/// sleeps, so that it does not depend on when an instance was made.
fn monotonic_ns(session: &Session, head: Option<&Snapshot>, now: Timestamp) -> u64 {
    let age = || u64::try_from(now.since(session.created_at).as_nanos()).unwrap_or(u64::MAX);
    head.map_or_else(age, |head| head.monotonic_at(now))
}

/// An instance in this state, or in its first.
async fn revive(
    code: &sandbox::Code,
    grant: sandbox::Grant,
    state: Option<&GuestState>,
) -> Result<sandbox::Instance, Fault> {
    let mut instance = code.instantiate(grant).await?;
    if let Some(state) = state {
        instance.restore(state, RESTORE_FUEL).await?;
    }
    Ok(instance)
}
