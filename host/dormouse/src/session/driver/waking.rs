//! A session comes into memory: its record, its head, its instance, and what they take.
//!
//! A driver that finds no memory or no permit waits in the fair queue, and holds neither the head nor
//! anything else that others could use; so however many sessions wake at once, only so many states are in
//! memory as instances are made at the same time. A driver whose state turns out larger than the free
//! memory keeps its position in the queue. Waiting is not billed.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::cancel::CancelSignals;
use super::memory::{LoadedHead, Reserve, SessionMemory};
use super::{Driver, WakeError};
use crate::session::registry::Registry;
use crate::session::residents::{GuestInstance, InstancePermit, InstantiationPermit, UserPlace};
use dormouse_base::fair_queue::Waiter;
use dormouse_base::memory::Account;
use dormouse_domain::event::SleepCause;
use dormouse_domain::id::Principal;
use dormouse_domain::session::{Residency, Session};
use dormouse_domain::snapshot::{GuestState, Snapshot};
use dormouse_domain::time::Timestamp;
use dormouse_sandbox::{Code, Fault, FileGrant, Grant, Instance};

/// How long a driver waits in the fair queue at most. A turn whose time is up before gives up earlier.
const MAX_QUEUE_WAIT: Duration = Duration::from_secs(30);

/// How long to wait where the engine has no room although there is a permit: an upload is tried out.
const ENGINE_BUSY: Duration = Duration::from_millis(10);

/// Fuel for putting a saved state back. Not billed: it is the host that dropped the instance.
const RESTORE_FUEL: u64 = 10_000_000_000;

/// The resources that an instance is made with. A driver that waits keeps what it has got already, so that an attempt
/// that brings nothing gives nothing back.
struct Resources {
    instantiation: Option<InstantiationPermit>,
    instance: Option<InstancePermit>,
    /// Bytes that are needed at once. Zero: not known yet.
    needed: Reserve,
}

impl Driver<'_> {
    /// The record alone, read where it is not in memory yet.
    pub(super) async fn load_record(&mut self) -> Result<&Arc<Session>, WakeError> {
        if self.memory.session().is_none()
            && let Some(session) = self.services.store.session(self.id).await?
        {
            self.take_record(session);
        }
        self.memory.session().ok_or(WakeError::NotFound)
    }

    /// The record, for a wake: with the head in one read, where that may be held now.
    pub(super) async fn load(&mut self) -> Result<&Arc<Session>, WakeError> {
        if self.memory.session().is_none() && self.services.memory.queue().is_empty() {
            self.preparation.instantiation = self.services.residents.instantiation_permit();
            if self.preparation.instantiation.is_some() {
                let wake_state = self.services.store.wake_state(self.id).await?;
                let (head, session) = LoadedHead::of(wake_state.ok_or(WakeError::NotFound)?);
                self.preparation.head = head;
                self.take_record(session);
            }
        }
        self.load_record().await
    }

    /// Take a record that was just read, with the sleep that the store may not know yet.
    fn take_record(&mut self, mut session: Session) {
        if let Some(residence) = self.services.slept.residence(self.id) {
            session.residence = residence;
        }
        self.memory.set_session(Arc::new(session));
    }

    /// The head of this record, read where it is not in memory.
    async fn load_head(&mut self, session: &Session) -> Result<(), WakeError> {
        if self.preparation.head.id() != session.head {
            let wake_state = self.services.store.wake_state(self.id).await?;
            (self.preparation.head, _) = LoadedHead::of(wake_state.ok_or(WakeError::NotFound)?);
        }
        match &self.preparation.head {
            LoadedHead::Damaged(damage) => Err(WakeError::Damaged(damage.to_string())),
            LoadedHead::Unread | LoadedHead::Read(_) => Ok(()),
        }
    }

    /// Make the instance where there is none, in the state of the head, and pay for all that it has.
    pub(super) async fn wake(&mut self, cancel: &mut CancelSignals<'_>) -> Result<(), WakeError> {
        let woken = self.wake_or_rouse(cancel).await;
        if let Err(error) = &woken {
            let reason = error.reason(self.services.memory.queue().lacks_memory());
            metrics::counter!("dormouse_wake_failures_total", "reason" => reason).increment(1);
        }
        woken
    }

    async fn wake_or_rouse(&mut self, cancel: &mut CancelSignals<'_>) -> Result<(), WakeError> {
        if self.rouse(cancel).await? {
            return Ok(());
        }
        let session = Arc::clone(cancel.bound(self.load()).await??);
        let place = self.user_place(&session, cancel).await?;
        self.registry.note_residency(self.id, Residency::Waking);
        let begun = self.services.clock.monotonic();
        let made = self.make(&session, None, cancel).await;
        self.release_head();
        let residency = if made.is_ok() { Residency::Resident } else { Residency::Asleep };
        self.registry.note_residency(self.id, residency);
        let guest = GuestInstance { user_place: place, ..made? };
        let (woken, now) = (session.head.is_some(), self.services.clock.now());
        if woken {
            metrics::counter!("dormouse_wakes_total").increment(1);
            metrics::histogram!("dormouse_wake_seconds")
                .record(self.services.clock.monotonic().saturating_sub(begun).as_secs_f64());
            metrics::histogram!("dormouse_wake_idle_seconds")
                .record(now.since(session.last_activity_at).as_secs_f64());
        }
        self.memory.set_guest(session, guest, now, woken);
        Ok(())
    }

    /// A place for one more instance of the user of this session, made free where none is. Where all sessions of
    /// that user are at work, the driver waits until one is not, and holds nothing meanwhile: a turn for as long
    /// as it has time.
    async fn user_place(
        &mut self,
        session: &Session,
        cancel: &mut CancelSignals<'_>,
    ) -> Result<Option<UserPlace>, WakeError> {
        let (services, registry) = (self.services, self.registry);
        let Some(user) = services.residents.user(session) else { return Ok(None) };
        if let Some(place) = user.take() {
            return Ok(Some(place));
        }
        self.preparation.head = LoadedHead::Unread;
        self.preparation.instantiation = None;
        let waiter = user.waiter();
        registry.make_room_of(&user);
        let until = match cancel.is_of_turn() {
            true => Timestamp::NEVER,
            false => services.clock.now().after(MAX_QUEUE_WAIT),
        };
        let mut timeout = std::pin::pin!(services.clock.sleep_until(until));
        let before = registry.note_waiting(self.id, until);
        let waited = wait(cancel, waiter.place(), timeout.as_mut()).await;
        registry.note_waited(self.id, before);
        waited.map(Some)
    }

    /// Let the idle instance pay for all that it has. Answers whether there still is one: where memory is
    /// short, an instance whose state is saved is dropped, and its driver waits for memory like any other.
    async fn rouse(&mut self, cancel: &mut CancelSignals<'_>) -> Result<bool, WakeError> {
        let SessionMemory::Resident(resident) = &mut self.memory else { return Ok(false) };
        let guest = &mut resident.guest;
        let queue = self.services.memory.queue();
        if guest.instance.is_awake() || (!queue.lacks_memory() && guest.instance.wake().is_ok()) {
            return Ok(true);
        }
        if resident.session.unsaved_turns == 0 {
            let (session, used_at) = (Arc::clone(&resident.session), resident.used_at);
            let residence = resident.residence;
            self.drop_guest();
            self.note_slept(&session, residence, SleepCause::Memory, used_at);
            return Ok(false);
        }
        let mut waiter = queue.waiter(&resident.session.owner);
        let first = waiter.acquire(|| {
            let roused = guest.instance.wake();
            roused.map_err(|_| queue.note_lack_of_memory()).ok()
        });
        let clock = &self.services.clock;
        let until = clock.now().after(MAX_QUEUE_WAIT);
        let mut timeout = std::pin::pin!(clock.sleep_until(until));
        let before = self.registry.note_waiting(self.id, until);
        let waited = wait(cancel, first, timeout.as_mut()).await;
        self.registry.note_waited(self.id, before);
        waited?;
        Ok(true)
    }

    /// Make an instance of the session's agent: in the state of its head, or in one that is given and
    /// is to follow that head. Its clock goes on from the head.
    pub(super) async fn make(
        &mut self,
        session: &Session,
        given: Option<(&Snapshot, &GuestState)>,
        cancel: &mut CancelSignals<'_>,
    ) -> Result<GuestInstance, WakeError> {
        let services = self.services;
        let digest = session.profile.agent.digest;
        let code = cancel.bound(services.catalog.code(digest, &session.owner)).await??;
        let waiter = self.preparation.waiter.take();
        let mut waiter = waiter.unwrap_or_else(|| services.memory.queue().waiter(&session.owner));
        let made = self.make_of(&code, session, given, &mut waiter, cancel).await;
        // The next instance of the same upgrade does not wait behind the sessions that have come since.
        self.preparation.waiter = Some(waiter);
        made
    }

    async fn make_of(
        &mut self,
        code: &Code,
        session: &Session,
        given: Option<(&Snapshot, &GuestState)>,
        waiter: &mut Waiter,
        cancel: &mut CancelSignals<'_>,
    ) -> Result<GuestInstance, WakeError> {
        let (services, registry) = (self.services, self.registry);
        let until = services.clock.now().after(MAX_QUEUE_WAIT);
        let mut timeout = std::pin::pin!(services.clock.sleep_until(until));
        let needed = self.preparation.reserve;
        let instantiation = self.preparation.instantiation.take();
        let mut resources = Resources { instantiation, instance: None, needed };
        let mut acquired = waiter.try_acquire(|| resources.acquire(registry, &session.owner));
        if acquired.is_none() {
            // A driver that waits holds nothing, until it is the first in the queue.
            resources = Resources { instantiation: None, instance: None, needed };
        }
        loop {
            let account = match acquired.take() {
                Some(account) => account,
                None => {
                    self.preparation.head = LoadedHead::Unread;
                    let first = waiter.acquire(|| resources.acquire(registry, &session.owner));
                    let before = registry.note_waiting(self.id, until);
                    let waited = wait(cancel, first, timeout.as_mut()).await;
                    registry.note_waited(self.id, before);
                    waited?
                }
            };
            let (head, state) = match given {
                Some((head, state)) => (Some(head), Some(state)),
                None => {
                    cancel.bound(self.load_head(session)).await??;
                    let head = self.preparation.head.snapshot();
                    (head, head.map(|head| &head.state))
                }
            };
            let now = services.clock.now();
            let files = services.workspaces.hold(head.and_then(|head| head.files.as_ref()));
            let files = files.map_err(|error| WakeError::Damaged(error.to_string()))?;
            let grant = Grant {
                max_memory_bytes: session.profile.limits.max_memory_bytes,
                seed: services.seed(session.id),
                turn: session.usage.next_turn(),
                attempt: self.attempts,
                now,
                monotonic_ns: monotonic_ns(session, head, now),
                files: Some(FileGrant {
                    tree: services.workspaces.tree(&files, session.created_at),
                    quotas: services.workspaces.limits().quotas,
                }),
            };
            match cancel.bound(revive(code, grant, account, state)).await? {
                Ok(instance) => {
                    let permit = resources.instance.take().ok_or(WakeError::OutOfMemory)?;
                    return Ok(GuestInstance { instance, permit, user_place: None, files });
                }
                Err(Fault::HostOutOfMemory { needed }) => {
                    let most = services.memory_of_instances();
                    if needed > most {
                        // To wait for it would be to wait in vain.
                        tracing::warn!(session = %self.id, needed, most, "the memory budget is too small");
                        return Err(WakeError::OutOfMemory);
                    }
                    resources.needed = Reserve { wanted: needed, least: needed };
                }
                Err(Fault::Busy) => tokio::select! {
                    () = services.clock.back_off(ENGINE_BUSY) => {}
                    () = timeout.as_mut() => return Err(WakeError::OutOfMemory),
                    cut = cancel.next() => return Err(WakeError::Cancelled(cut)),
                },
                Err(Fault::SnapshotDamaged(why)) => return Err(WakeError::Damaged(why)),
                Err(Fault::SnapshotUnusable(why)) => return Err(WakeError::Unusable(why)),
                Err(fault) => return Err(WakeError::Guest(fault)),
            }
        }
    }
}

/// Wait in the fair queue until an attempt succeeds, the timeout is over, or the wait is cancelled.
async fn wait<T>(
    cancel: &mut CancelSignals<'_>,
    first: impl Future<Output = Option<T>>,
    timeout: Pin<&mut impl Future<Output = ()>>,
) -> Result<T, WakeError> {
    tokio::select! {
        biased;
        got = first => got.ok_or(WakeError::ShuttingDown),
        end = cancel.end_of_waiting() => Err(end),
        () = timeout => Err(WakeError::OutOfMemory),
    }
}

impl Resources {
    /// Get what is still missing. Answers with an account that holds the bytes that are needed.
    fn acquire(&mut self, registry: &Arc<Registry>, owner: &Principal) -> Option<Account> {
        let services = registry.services();
        if self.instantiation.is_none() {
            self.instantiation = services.residents.instantiation_permit();
        }
        if self.instance.is_none() && self.instantiation.is_some() {
            self.instance = registry.instance_permit(owner);
        }
        self.instance.as_ref()?;
        let memory = &services.memory;
        // The last: an attempt that fails here has taken nothing that it would have to give back.
        let mut account = memory.account();
        let Reserve { wanted, least } = self.needed;
        if account.charge(wanted).is_ok() {
            return Some(account);
        }
        // The one instance that there is would be its own: more than is left now it cannot have.
        let left = memory.limit().saturating_sub(memory.used());
        let alone = services.residents.instances() <= 1 && left >= least;
        if alone && account.charge(left).is_ok() {
            return Some(account);
        }
        memory.queue().note_lack_of_memory();
        None
    }
}

/// The time of the guest's monotonic clock. The clock goes from the creation of the session on, also while it
/// sleeps, so that it does not depend on when an instance was made.
fn monotonic_ns(session: &Session, head: Option<&Snapshot>, now: Timestamp) -> u64 {
    let age = || u64::try_from(now.since(session.created_at).as_nanos()).unwrap_or(u64::MAX);
    head.map_or_else(age, |head| head.monotonic_at(now))
}

/// An instance in this state, or in its first.
async fn revive(
    code: &Code,
    grant: Grant,
    account: Account,
    state: Option<&GuestState>,
) -> Result<Instance, Fault> {
    let mut instance = code.instantiate(grant, account).await?;
    if let Some(state) = state {
        instance.restore(state, RESTORE_FUEL).await?;
    }
    Ok(instance)
}
