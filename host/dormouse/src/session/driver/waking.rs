//! A session comes into memory: its record, its head, its instance, and what they take.
//!
//! Who finds no memory or no place stands in line, and holds neither the head nor anything else that
//! others could use; so however many wake at once, only so many states are in memory as instances are
//! made at the same time. Whoever is denied again, because its state needs more than was free, keeps
//! its turn. What waiting takes is no fuel.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::cuts::Cuts;
use super::{Driver, Reserve, WakeError};
use crate::session::registry::Registry;
use crate::session::residents::{Guest, Place, Seat};
use dormouse_base::line::Ticket;
use dormouse_base::memory::Account;
use dormouse_domain::event::SleepCause;
use dormouse_domain::id::Principal;
use dormouse_domain::session::{Residency, Session};
use dormouse_domain::snapshot::{GuestState, Snapshot};
use dormouse_domain::time::Timestamp;
use dormouse_sandbox::{Code, Fault, Grant, Instance};

/// How long to stand in line at most. A turn whose time is up before leaves earlier.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait where the engine has no room although there is a place: an upload is tried out.
const ENGINE_BUSY: Duration = Duration::from_millis(10);

/// Fuel for putting a saved state back. Not billed: it is the host that dropped the instance.
const RESTORE_FUEL: u64 = 10_000_000_000;

/// What an instance is made with. Whoever stands in line keeps what it has got already, so that an
/// attempt that brings nothing gives nothing back.
struct Means {
    making: Option<Seat>,
    place: Option<Place>,
    /// Bytes that are needed at once. Zero: not known yet.
    needed: Reserve,
}

impl Driver<'_> {
    /// The record alone, read where it is not in memory yet.
    pub(super) async fn load_record(&mut self) -> Result<&Arc<Session>, WakeError> {
        if self.session.is_none() {
            self.session = self.services.store.session(self.id).await?.map(Arc::new);
        }
        self.session.as_ref().ok_or(WakeError::NotFound)
    }

    /// The record, for a wake: with the head in one read, where that may be held now.
    pub(super) async fn load(&mut self) -> Result<&Arc<Session>, WakeError> {
        if self.session.is_none() && self.services.memory.line().is_empty() {
            self.making = self.services.residents.leave_to_make();
            if self.making.is_some() {
                let dormant = self.services.store.dormant(self.id).await?;
                let dormant = dormant.ok_or(WakeError::NotFound)?;
                (self.head, self.damage) = (dormant.head, dormant.damage);
                self.session = Some(Arc::new(dormant.session));
            }
        }
        self.load_record().await
    }

    /// The head of this record, read where it is not in memory.
    async fn load_head(&mut self, session: &Session) -> Result<(), WakeError> {
        let here = self.head.as_ref().map(|head| head.id);
        if here != session.head {
            let dormant = self.services.store.dormant(self.id).await?.ok_or(WakeError::NotFound)?;
            (self.head, self.damage) = (dormant.head, dormant.damage);
        }
        match &self.damage {
            Some(damage) => Err(WakeError::Damaged(damage.to_string())),
            None => Ok(()),
        }
    }

    /// Make the instance where there is none, in the state of the head, and pay for all that it has.
    pub(super) async fn wake(&mut self, cuts: &mut Cuts<'_>) -> Result<(), WakeError> {
        if self.guest.is_some() && self.rouse(cuts).await? {
            return Ok(());
        }
        let session = Arc::clone(cuts.bound(self.load()).await??);
        self.registry.note_residency(self.id, Residency::Waking);
        let begun = self.services.clock.monotonic();
        let made = self.make(&session, None, cuts).await;
        self.let_go();
        let residency = if made.is_ok() { Residency::Resident } else { Residency::Asleep };
        self.registry.note_residency(self.id, residency);
        let guest = made?;
        if session.head.is_some() {
            self.woken = true;
            metrics::counter!("dormouse_wakes_total").increment(1);
            metrics::histogram!("dormouse_wake_seconds")
                .record(self.services.clock.monotonic().saturating_sub(begun).as_secs_f64());
        }
        self.guest = Some(guest);
        self.used_at = self.services.clock.now();
        Ok(())
    }

    /// Let the idle instance pay for all that it has. Answers whether there still is one: where memory
    /// is short, one whose state is saved gives up what it has, and stands in line like any other.
    async fn rouse(&mut self, cuts: &mut Cuts<'_>) -> Result<bool, WakeError> {
        let Some(guest) = &mut self.guest else { return Ok(false) };
        let line = self.services.memory.line();
        if guest.instance.is_awake() || (!line.lacks_memory() && guest.instance.wake().is_ok()) {
            return Ok(true);
        }
        let Some(session) = self.session.as_ref().filter(|session| session.unsaved_turns > 0)
        else {
            self.drop_guest();
            if let Some(session) = &self.session {
                self.services.note_slept(session, SleepCause::Memory, self.used_at);
            }
            return Ok(false);
        };
        let mut ticket = line.ticket(&session.owner);
        let first = ticket.first(|| {
            let roused = guest.instance.wake();
            roused.map_err(|_| line.note_lack_of_memory()).ok()
        });
        let clock = &self.services.clock;
        let until = clock.now().after(PATIENCE);
        let mut patience = std::pin::pin!(clock.sleep_until(until));
        let before = self.registry.note_waiting(self.id, until);
        let stood = stand(cuts, first, patience.as_mut()).await;
        self.registry.note_waited(self.id, before);
        stood?;
        Ok(true)
    }

    /// Make an instance of the session's agent: in the state of its head, or in one that is given and
    /// is to follow that head. Its clock goes on from the head.
    pub(super) async fn make(
        &mut self,
        session: &Session,
        given: Option<(&Snapshot, &GuestState)>,
        cuts: &mut Cuts<'_>,
    ) -> Result<Guest, WakeError> {
        let services = self.services;
        let digest = session.profile.agent.digest;
        let code = cuts.bound(services.catalog.code(digest, &session.owner)).await??;
        let ticket = self.ticket.take();
        let mut ticket = ticket.unwrap_or_else(|| services.memory.line().ticket(&session.owner));
        let made = self.make_of(&code, session, given, &mut ticket, cuts).await;
        // The next instance of the same upgrade does not stand behind those that have come since.
        self.ticket = Some(ticket);
        made
    }

    async fn make_of(
        &mut self,
        code: &Code,
        session: &Session,
        given: Option<(&Snapshot, &GuestState)>,
        ticket: &mut Ticket,
        cuts: &mut Cuts<'_>,
    ) -> Result<Guest, WakeError> {
        let (services, registry) = (self.services, self.registry);
        let until = services.clock.now().after(PATIENCE);
        let mut patience = std::pin::pin!(services.clock.sleep_until(until));
        let needed = self.reserve;
        let mut means = Means { making: self.making.take(), place: None, needed };
        let mut gathered = ticket.at_once(|| means.gather(registry, &session.owner));
        if gathered.is_none() {
            // Whoever waits holds nothing, until it is the first.
            means = Means { making: None, place: None, needed };
        }
        loop {
            let account = match gathered.take() {
                Some(account) => account,
                None => {
                    self.head = None;
                    let first = ticket.first(|| means.gather(registry, &session.owner));
                    let before = registry.note_waiting(self.id, until);
                    let stood = stand(cuts, first, patience.as_mut()).await;
                    registry.note_waited(self.id, before);
                    stood?
                }
            };
            let (head, state) = match given {
                Some((head, state)) => (Some(head), Some(state)),
                None => {
                    cuts.bound(self.load_head(session)).await??;
                    (self.head.as_ref(), self.head.as_ref().map(|head| &head.state))
                }
            };
            let now = services.clock.now();
            let grant = Grant {
                max_memory_bytes: session.profile.limits.max_memory_bytes,
                seed: services.seed(session.id),
                turn: session.usage.next_turn(),
                attempt: self.attempts,
                now,
                monotonic_ns: monotonic_ns(session, head, now),
            };
            match cuts.bound(revive(code, grant, account, state)).await? {
                Ok(instance) => {
                    let place = means.place.take().ok_or(WakeError::OutOfMemory)?;
                    return Ok(Guest { instance, place });
                }
                Err(Fault::HostOutOfMemory { needed }) => {
                    let most = services.memory_of_instances();
                    if needed > most {
                        // To wait for it would be to wait in vain.
                        tracing::warn!(session = %self.id, needed, most, "the memory budget is too small");
                        return Err(WakeError::OutOfMemory);
                    }
                    means.needed = Reserve { wanted: needed, least: needed };
                }
                Err(Fault::Busy) => tokio::select! {
                    () = services.clock.back_off(ENGINE_BUSY) => {}
                    () = patience.as_mut() => return Err(WakeError::OutOfMemory),
                    cut = cuts.next() => return Err(WakeError::Cut(cut)),
                },
                Err(Fault::SnapshotDamaged(why)) => return Err(WakeError::Damaged(why)),
                Err(Fault::SnapshotUnusable(why)) => return Err(WakeError::Unusable(why)),
                Err(fault) => return Err(WakeError::Guest(fault)),
            }
        }
    }
}

/// Stand in line until it brings something, or there is no more patience, or the wait has to end.
async fn stand<T>(
    cuts: &mut Cuts<'_>,
    first: impl Future<Output = Option<T>>,
    patience: Pin<&mut impl Future<Output = ()>>,
) -> Result<T, WakeError> {
    tokio::select! {
        biased;
        got = first => got.ok_or(WakeError::ShuttingDown),
        end = cuts.end_of_waiting() => Err(end),
        () = patience => Err(WakeError::OutOfMemory),
    }
}

impl Means {
    /// Get what is still missing. Answers with an account that holds the bytes that are needed.
    fn gather(&mut self, registry: &Arc<Registry>, owner: &Principal) -> Option<Account> {
        let services = registry.services();
        if self.making.is_none() {
            self.making = services.residents.leave_to_make();
        }
        if self.place.is_none() && self.making.is_some() {
            self.place = registry.place(owner);
        }
        self.place.as_ref()?;
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
        memory.line().note_lack_of_memory();
        None
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
