//! Finds or starts the driver of a session, and knows what is in memory of any session.
//!
//! A session that has no work is not here: it is among the residents, or known to the store alone.
//! Adding work finds the driver or starts one, and a driver that finds no more work leaves; both
//! are one critical section on the entry, so that no session ever has two drivers.

mod ending;
mod own_work;
mod waiting;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{oneshot, watch};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Span;

use super::answering::AnsweringModel;
use super::driver;
use super::idempotency::KeysInUse;
use super::inbox::{
    Accepted, CommandDenied, Inbox, Interrupt, MessageDenied, MessageKey, NextWork, Sent, Terms,
};
use super::left_open::HeldOpen;
use super::request::{
    AnswerSource, Command, CommandError, CommandReply, CommandResult, FollowedKey, FollowedTurn,
    MAX_WEIGHT, NewMessage, QueuedMessage, SendError, SessionInfo, Unavailable,
};
use super::residents::{Eviction, InstancePermit, Resident, User};
use super::services::Services;
use crate::gate::time::EffectTime;
use crate::turn::output::{OutputGuard, TurnOutput};
use dormouse_base::memory::pool::{ChargeRefused, Pool};
use dormouse_base::shares::Callers;
use dormouse_domain::access::Access;
use dormouse_domain::agent::Digest;
use dormouse_domain::event::SleepCause;
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::session::{Residency, Session};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::IdempotencyKey;
use dormouse_store::StoreError;

const SHARDS: usize = 32;

type SessionInbox = Inbox<QueuedMessage, FollowedTurn, CommandReply>;

/// A session that has work.
struct Entry {
    /// The owner of the session, where it is known without asking the store.
    owner: Option<Principal>,
    inbox: SessionInbox,
    /// Tells the driver of the interrupt that the inbox has decided.
    interrupt: watch::Sender<Interrupt>,
    residency: Residency,
    /// The stream of the turn that runs.
    output: Option<TurnOutput>,
    /// Whether that turn waits for the outside world.
    effects: Option<EffectTime>,
    /// The time that its driver waits for, by the clock, if nothing else ends the wait. `None`: the
    /// driver is at work.
    waits_until: Option<Timestamp>,
}

impl Entry {
    fn tell_interrupt(&self) {
        let decided = self.inbox.interrupt();
        self.interrupt.send_if_modified(|told| std::mem::replace(told, decided) != decided);
    }

    fn running(&self) -> Option<(u64, TurnOutput)> {
        self.inbox.running_turn().zip(self.output.clone())
    }
}

/// Tells of the session after a command.
pub(crate) type Done = oneshot::Receiver<CommandResult>;

/// A driver was told to do what is due.
pub(crate) enum PostedDue {
    /// It has started for that.
    Started(Done),
    /// It is at work, and does it when it is done with that. Where it was told before, its answer is dropped.
    Waits(Done),
}

/// Whether something was queued for a driver that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DriverWas {
    AtWork,
    Started,
}

/// All sessions that have work.
pub(crate) struct Registry {
    services: Arc<Services>,
    /// Memory for messages until they are answered.
    messages: Pool,
    /// The idempotency keys of messages until they are answered.
    keys: Arc<KeysInUse>,
    /// Sessions of which it is going to be looked again what is due.
    due_again: Mutex<HashSet<SessionId>>,
    shards: Vec<Mutex<HashMap<SessionId, Entry>>>,
    hasher: RandomState,
}

impl Registry {
    /// A registry whose drivers use these services, and which makes room where memory runs short.
    pub(crate) fn new(services: Arc<Services>) -> Arc<Registry> {
        // Other principals may come: one principal alone leaves room for another, too.
        let messages = Pool::new(&services.memory, MAX_WEIGHT, Callers::several());
        let registry = Arc::new(Registry {
            services,
            messages,
            keys: Arc::default(),
            due_again: Mutex::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        });
        let weak = Arc::downgrade(&registry);
        registry.services.memory.set_reclaimer(Box::new(move || {
            weak.upgrade().is_some_and(|registry| registry.make_room(SleepCause::Memory))
        }));
        registry
    }

    /// The services that the drivers use.
    pub(crate) fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Send a message. A receiver of the answer that goes away does not stop the turn. Until then its caller, who
    /// may see the session or is refused, has a share
    /// of the memory that there is for messages.
    pub(crate) fn send(
        self: &Arc<Self>,
        id: SessionId,
        caller: &Access,
        message: NewMessage,
    ) -> Result<AnswerSource, SendError> {
        let NewMessage { sender, content, key, on_busy, if_revision, rated } = message;
        let mut charge = self.messages.of(&caller.principal);
        charge.grow(QueuedMessage::weight(&content)).map_err(|uncharged| match uncharged {
            ChargeRefused::Share => SendError::ShareSpent,
            ChargeRefused::Budget => Unavailable::OutOfMemory.into(),
        })?;
        let key_use = key.as_ref().map(|(key, _)| self.keys.take(key, id)).transpose();
        let key_use = key_use.map_err(SendError::IdempotencyKeyReused)?;
        let (answer, receiver) = oneshot::channel();
        let key = key.map(|(key, request)| self.message_key(key, request));
        let output = match &key {
            Some(key) => key.turn.output.clone(),
            None => TurnOutput::charged(self.services.memory.account()),
        };
        let terms = Terms { key: key.clone(), on_busy };
        let mut message = QueuedMessage {
            sender,
            content,
            key,
            if_revision,
            output: OutputGuard(output.clone()),
            answer,
            is_taken: false,
            request: Span::current(),
            _key_use: key_use,
            _charge: charge,
        };
        let sent = self.add(id, caller.only(), |inbox| {
            // A message that ends a turn is not refused after that.
            if let Some(session) = rated.filter(|_| inbox.would_interrupt(&terms)) {
                self.services.take_message(&session).map_err(MessageDenied::RateLimited)?;
                message.is_taken = true;
            }
            inbox.try_send(message, terms)
        });
        match sent {
            Ok((Sent::Queued, _)) => Ok(AnswerSource::Driver(receiver, output)),
            Ok((Sent::Attached(key), _)) => Ok(AnswerSource::Followed(key)),
            Err(Refused::Unavailable(error)) => Err(error.into()),
            Err(Refused::Denied(denied)) => Err(SendError::of(denied, id)),
        }
    }

    /// Give a command, and wait until it is carried out. Returns the session after it.
    pub(crate) async fn command(
        self: &Arc<Self>,
        id: SessionId,
        caller: Option<Principal>,
        command: Command,
    ) -> CommandResult {
        let (_, done) = self.post(id, caller, command)?;
        done.await.unwrap_or_else(|_| Err(Unavailable::ShuttingDown.into()))
    }

    /// Give a command without waiting for it.
    pub(crate) fn post(
        self: &Arc<Self>,
        id: SessionId,
        caller: Option<Principal>,
        command: Command,
    ) -> Result<(Accepted, Done), CommandError> {
        let (accepted, _, done) = self.add_command(id, caller, command)?;
        Ok((accepted, done))
    }

    fn message_key(&self, key: IdempotencyKey, request: Digest) -> Arc<FollowedKey> {
        let output = TurnOutput::charged(self.services.memory.account());
        Arc::new(MessageKey {
            key,
            request,
            turn: FollowedTurn { output, refusal: OnceLock::new() },
        })
    }

    fn add_command(
        self: &Arc<Self>,
        id: SessionId,
        caller: Option<Principal>,
        command: Command,
    ) -> Result<(Accepted, DriverWas, Done), CommandError> {
        let (answer, done) = oneshot::channel();
        let reply = CommandReply { answer, request: Span::current() };
        let added = self.add(id, caller.as_ref(), |inbox| inbox.try_command(command, reply));
        let (accepted, driver) = added.map_err(|refused| match refused {
            Refused::Denied(CommandDenied::QueueFull(_)) => CommandError::QueueFull,
            Refused::Denied(CommandDenied::TurnInProgress) => CommandError::TurnInProgress,
            Refused::Unavailable(error) => error.into(),
        })?;
        Ok((accepted, driver, done))
    }

    /// A session as it is seen from outside.
    pub(crate) async fn get(&self, id: SessionId) -> Result<Option<SessionInfo>, StoreError> {
        Ok(self.services.store.session(id).await?.map(|session| self.info(session)))
    }

    /// A session as it is seen from outside, where its record was read already.
    pub(crate) fn info(&self, session: impl Into<Arc<Session>>) -> SessionInfo {
        let session = session.into();
        let id = session.id;
        let shard = self.shard(id);
        let parked = self.services.residents.residence(id);
        let (residency, running_turn, interrupt) = match (shard.get(&id), parked) {
            (Some(entry), _) => {
                (entry.residency, entry.inbox.running_turn(), entry.inbox.interrupt())
            }
            (None, Some(_)) => (Residency::Resident, None, Interrupt::None),
            (None, None) => (Residency::Asleep, None, Interrupt::None),
        };
        drop(shard);
        let model = AnsweringModel::of(&session, &self.services.models);
        let over = session.state.status().is_final();
        let noted = parked.or_else(|| self.services.slept.residence(id));
        let (now, has_instance) = (self.services.clock.now(), residency == Residency::Resident);
        let noted = noted.unwrap_or(session.residence);
        let residence = noted.told(has_instance, session.last_activity_at, now);
        let info = SessionInfo::at_rest(session, residency, model);
        let is_told = |least| !over && interrupt >= least;
        SessionInfo {
            running_turn,
            residence,
            abort_requested: info.abort_requested || is_told(Interrupt::Finish),
            force_kill_requested: info.force_kill_requested || is_told(Interrupt::Kill),
            ..info
        }
    }

    /// The stream of the turn that runs, with its number.
    pub(crate) fn running(&self, id: SessionId) -> Option<(u64, TurnOutput)> {
        self.shard(id).get(&id).and_then(Entry::running)
    }

    /// How many messages wait, over all sessions.
    pub(crate) fn queued(&self) -> usize {
        let waiting = |shard: &Mutex<HashMap<SessionId, Entry>>| {
            lock(shard).values().map(|entry| entry.inbox.messages()).sum::<usize>()
        };
        self.shards.iter().map(waiting).sum()
    }

    /// The next thing to do, for the driver of this session. `None`: there is nothing, the resident
    /// is parked, and the driver has left.
    pub(crate) fn next(
        self: &Arc<Self>,
        id: SessionId,
        park: impl FnOnce() -> Option<Box<Resident>>,
    ) -> Option<NextWork<QueuedMessage, CommandReply>> {
        let mut shard = self.shard(id);
        let entry = shard.get_mut(&id)?;
        if let Some(work) = entry.inbox.next() {
            entry.tell_interrupt();
            return Some(work);
        }
        let mut wanted = None;
        if let Some(resident) = park() {
            let limits = &resident.session.profile.limits;
            let sleep_at = limits.sleep_after.map(|after| resident.used_at.after(after));
            wanted = self.services.residents.park(resident, sleep_at);
            if let Some(sleep_at) = sleep_at {
                self.services.wake_timekeeper_for(sleep_at);
            }
        }
        shard.remove(&id);
        drop(shard);
        if let Some(user) = wanted {
            self.make_room_of(&user);
        }
        self.services.settling.note_change();
        None
    }

    /// Make room: drop the idle instance that goes first. Answers whether there was one. One that
    /// would go before it and is not saved is told to sleep, and makes room later.
    fn make_room(self: &Arc<Self>, cause: SleepCause) -> bool {
        let eviction = self.services.residents.evict();
        self.evict(eviction, cause)
    }

    /// Make room among the sessions of this user: the one that has been idle the longest goes.
    pub(crate) fn make_room_of(self: &Arc<Self>, user: &User) {
        if let Some(eviction) = self.services.residents.evict_of(user) {
            self.evict(eviction, SleepCause::Places);
        }
    }

    /// Put these to sleep. Answers whether one sleeps already.
    pub(crate) fn evict(self: &Arc<Self>, eviction: Eviction, cause: SleepCause) -> bool {
        let Eviction { gone, unsaved } = eviction;
        if let Some(id) = unsaved
            && let Err(error) = self.post(id, None, Command::Sleep(cause))
        {
            tracing::debug!(session = %id, %error, "a session could not be told to sleep");
        }
        if let Some(resident) = &gone {
            let Resident { session, residence, used_at, .. } = &**resident;
            self.services.note_slept(session, *residence, cause, *used_at);
        }
        gone.is_some()
    }

    /// A permit for one more instance of this principal, made free where none is. `None`: all are held
    /// by sessions that cannot go now.
    pub(crate) fn instance_permit(self: &Arc<Self>, owner: &Principal) -> Option<InstancePermit> {
        loop {
            if let Some(permit) = self.services.residents.instance_permit(owner) {
                return Some(permit);
            }
            if !self.make_room(SleepCause::Places) {
                return None;
            }
        }
    }

    /// Queue work for a session. To a caller who is not its owner there is no such session: what that
    /// caller sends takes no place in the inbox, and starts nothing. `None`: an admin, or the host itself.
    fn add<T, D>(
        self: &Arc<Self>,
        id: SessionId,
        caller: Option<&Principal>,
        add: impl FnOnce(&mut SessionInbox) -> Result<T, D>,
    ) -> Result<(T, DriverWas), Refused<D>> {
        let mut shard = self.shard(id);
        // Inside the lock: `shut_down`, which counts the drivers after closing, counts this one.
        if self.services.liveness.is_closed() {
            return Err(Unavailable::ShuttingDown.into());
        }
        let mut entry = shard.get_mut(&id);
        if let Some(caller) = caller {
            let known = match &entry {
                Some(entry) => entry.owner.as_ref().map(|owner| owner == caller),
                None => self.services.residents.is_owner(id, caller),
            };
            let is_owner = match known {
                Some(is_owner) => is_owner,
                None => self.services.store.is_owner(id, caller).map_err(Unavailable::Store)?,
            };
            if !is_owner {
                return Err(Unavailable::NotFound(id).into());
            }
        }
        if let Some(entry) = &mut entry {
            let accepted = add(&mut entry.inbox).map_err(Refused::Denied)?;
            entry.tell_interrupt();
            return Ok((accepted, DriverWas::AtWork));
        }
        let mut inbox = Inbox::new(self.services.options.max_queued_messages);
        let accepted = add(&mut inbox).map_err(Refused::Denied)?;
        let resident = self.services.residents.take(id);
        let (interrupt, interrupted) = watch::channel(inbox.interrupt());
        let entry = Entry {
            owner: caller.cloned(),
            inbox,
            interrupt,
            residency: if resident.is_some() { Residency::Resident } else { Residency::Asleep },
            output: None,
            effects: None,
            waits_until: None,
        };
        shard.insert(id, entry);
        let at_work = self.services.liveness.driver_started();
        drop(shard);
        self.services.settling.note_change();
        let leaving = Leaving { _at_work: at_work, registry: self.clone(), id };
        self.services.sandbox.runtime().spawn(async move {
            driver::drive(&leaving.registry, id, resident, interrupted).await;
            drop(leaving);
        });
        Ok((accepted, DriverWas::Started))
    }

    fn shard(&self, id: SessionId) -> MutexGuard<'_, HashMap<SessionId, Entry>> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let hash = self.hasher.hash_one(id) as usize;
        lock(&self.shards[hash % SHARDS])
    }
}

/// Why something does not wait for a session.
enum Refused<D> {
    /// Its inbox does not take it.
    Denied(D),
    /// There is no such session, it is somebody else's, or the host takes no more work.
    Unavailable(Unavailable),
}

impl<D> From<Unavailable> for Refused<D> {
    fn from(error: Unavailable) -> Refused<D> {
        Refused::Unavailable(error)
    }
}

/// Held by a driver's task. If the driver panics, its entry goes, so that the session lives on from
/// what is committed, and the defect is remembered.
struct Leaving {
    /// Counts the driver among those at work.
    _at_work: TaskTrackerToken,
    registry: Arc<Registry>,
    id: SessionId,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(session = %self.id, "the driver of a session has panicked");
            metrics::counter!("dormouse_driver_panics_total").increment(1);
            self.registry.services.liveness.note_panic();
            // What waits is answered by the drop of its channels.
            let entry = self.registry.shard(self.id).remove(&self.id);
            drop(entry);
            self.registry.services.settling.note_change();
            // Its turn may have asked the outside world for something.
            self.registry.services.left_open.keep(self.id, HeldOpen::default());
            self.registry.reopen_turn(self.id, None);
        }
    }
}

fn lock(shard: &Mutex<HashMap<SessionId, Entry>>) -> MutexGuard<'_, HashMap<SessionId, Entry>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
