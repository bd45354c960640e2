//! Finds or starts the driver of a session, and knows what is in memory of any session.
//!
//! A session that has no work is not here: it is among the residents, or known to the store alone.
//! Adding work finds the driver or starts one, and a driver that finds no more work leaves; both
//! are one critical section on the entry, so that no session ever has two drivers.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

use crate::catalog::Catalog;
use crate::turn::output::Output;
use crate::turn::settlement::Rules;
use dormouse_base::clock::Clock;
use dormouse_base::memory::MemoryBudget;
use dormouse_base::memory::pool::{Pool, Refused as Uncharged};
use dormouse_base::shares::Callers;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{Part, Sender};
use dormouse_sandbox::Sandbox;
use dormouse_store::{Store, StoreError};

use super::driver;
use super::liveness::Liveness;
use super::queue::{Next, Queue, QueueFull};
use super::request::{
    Commission, Ended, Letter, MAX_WEIGHT, Order, OrderError, OrderResult, Running, SendError,
    Sight, Work,
};
use super::residents::{Going, Place, Resident, Residents};
use super::settling::Settling;
use super::slept::{Sleep, Slept};
use dormouse_domain::deadline;
use dormouse_domain::event::SleepCause;
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::session::{Residency, Session};

const SHARDS: usize = 32;

/// How long after a start removals wait that came due while the host was down.
const REMOVAL_HOLD: Duration = Duration::from_secs(3600);

/// What the manager and its drivers are told by the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ManagerOptions {
    /// Instances in memory at most.
    pub(crate) max_residents: usize,
    /// Instances that are made at the same time, each with the state of its session in memory.
    pub(crate) max_making: usize,
    /// Messages that wait for one session at most.
    pub(crate) max_queued_messages: usize,
    /// How long a running turn may go on when its session is stopped.
    pub(crate) stop_grace: Duration,
    /// Prices and bounds of the settlement.
    pub(crate) rules: Rules,
}

struct Entry {
    /// Whose the session is, where that is known without asking the store.
    owner: Option<Principal>,
    queue: Queue<Letter, Commission>,
    /// What is to happen to the running turn.
    interrupt: watch::Sender<Running>,
    residency: Residency,
    running: Option<(u64, Output)>,
    /// A message is being answered.
    in_turn: bool,
    /// The time that its driver waits for, by the clock, if nothing else ends the wait. `None`: the
    /// driver is at work.
    waits_until: Option<Timestamp>,
}

/// All sessions that have work.
pub(crate) struct Manager {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sandbox: Sandbox,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) clock: Clock,
    pub(crate) memory: MemoryBudget,
    pub(crate) options: ManagerOptions,
    pub(crate) residents: Residents,
    /// Memory for messages until they are answered.
    messages: Pool,
    pub(crate) slept: Slept,
    /// Told when a deadline may have come nearer.
    pub(crate) deadlines: Notify,
    /// When the timekeeper looks again by itself: milliseconds, as in [`Timestamp`].
    pub(crate) next_look: AtomicI64,
    started_at: Timestamp,
    shards: Vec<Mutex<HashMap<SessionId, Entry>>>,
    hasher: RandomState,
    pub(crate) liveness: Liveness,
    pub(crate) settling: Settling,
}

impl Manager {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        sandbox: Sandbox,
        catalog: Arc<Catalog>,
        clock: Clock,
        memory: MemoryBudget,
        options: ManagerOptions,
    ) -> Arc<Manager> {
        let started_at = clock.now();
        let line = memory.line().clone();
        // Nobody knows who will come: one principal alone leaves room for another, too.
        let messages = Pool::new(&memory, MAX_WEIGHT, Callers::Several);
        let manager = Arc::new(Manager {
            store,
            sandbox,
            catalog,
            clock,
            memory,
            options,
            residents: Residents::new(options.max_residents, options.max_making, &line),
            messages,
            slept: Slept::default(),
            deadlines: Notify::new(),
            next_look: AtomicI64::new(Timestamp::NEVER.0),
            started_at,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            liveness: Liveness::default(),
            settling: Settling::default(),
        });
        let weak = Arc::downgrade(&manager);
        manager.memory.set_reclaimer(Box::new(move || {
            weak.upgrade().is_some_and(|manager| manager.evict(SleepCause::Memory))
        }));
        manager
    }

    /// Send a message. The answer comes through the channel; a receiver that goes away does not
    /// stop the turn. Until then its caller, who is the owner of the session or is refused, has a share
    /// of the memory that there is for messages.
    pub(crate) fn send(
        self: &Arc<Self>,
        id: SessionId,
        caller: Principal,
        content: Vec<Part>,
    ) -> Result<(oneshot::Receiver<Result<Ended, SendError>>, Output), SendError> {
        let mut charge = self.messages.of(&caller);
        charge.grow(Letter::weight(&content)).map_err(|uncharged| match uncharged {
            Uncharged::Share => SendError::ShareSpent,
            Uncharged::Budget => SendError::OutOfMemory,
        })?;
        let (answer, receiver) = oneshot::channel();
        let output = Output::charged(self.memory.account());
        let letter = Letter {
            sender: Sender::User,
            content,
            output: output.clone(),
            answer,
            _charge: charge,
        };
        self.add(id, Some(&caller), |entry| {
            entry.queue.push_message(letter).map_err(|(_, full)| Refused::Full(full))
        })
        .map_err(|refused| match refused {
            Refused::Full(full) => SendError::QueueFull(full.waiting),
            Refused::NotFound => SendError::NotFound(id),
            Refused::Store(error) => SendError::Store(error),
            Refused::Closed | Refused::InTurn => SendError::ShuttingDown,
        })?;
        Ok((receiver, output))
    }

    /// Give an order, and wait until it is carried out. Returns the session after it.
    pub(crate) async fn order(
        self: &Arc<Self>,
        id: SessionId,
        caller: Option<Principal>,
        order: Order,
    ) -> OrderResult {
        let receiver = self.post(id, caller, order)?;
        receiver.await.unwrap_or(Err(OrderError::ShuttingDown))
    }

    /// Give an order without waiting for it.
    pub(crate) fn post(
        self: &Arc<Self>,
        id: SessionId,
        caller: Option<Principal>,
        order: Order,
    ) -> Result<oneshot::Receiver<OrderResult>, OrderError> {
        let running = match &order {
            Order::Move(_, running) => *running,
            Order::Delete => Running::Dies,
            Order::Sleep(_)
            | Order::Wake
            | Order::Save
            | Order::Rewind(_)
            | Order::Resume(_)
            | Order::Upgrade(_)
            | Order::Due => Running::Continues,
        };
        let between_turns =
            matches!(order, Order::Rewind(_) | Order::Resume(_) | Order::Upgrade(_));
        let (answer, receiver) = oneshot::channel();
        self.add(id, caller.as_ref(), |entry| {
            if between_turns && entry.in_turn {
                return Err(Refused::InTurn);
            }
            entry
                .queue
                .push_order(Commission { order, answer })
                .map_err(|(_, full)| Refused::Full(full))?;
            entry.interrupt.send_if_modified(|now| {
                let stronger = running > *now;
                *now = (*now).max(running);
                stronger
            });
            Ok(())
        })
        .map_err(|refused| match refused {
            Refused::Full(_) => OrderError::QueueFull,
            Refused::NotFound => OrderError::NotFound(id),
            Refused::Store(error) => OrderError::Store(error),
            Refused::InTurn => OrderError::TurnInProgress,
            Refused::Closed => OrderError::ShuttingDown,
        })?;
        Ok(receiver)
    }

    /// A session as it is seen from outside.
    pub(crate) async fn look(&self, id: SessionId) -> Result<Option<Sight>, StoreError> {
        Ok(self.store.session(id).await?.map(|session| self.sight(session)))
    }

    /// What memory knows of this session besides its record.
    pub(crate) fn sight(&self, session: impl Into<Arc<Session>>) -> Sight {
        let session = session.into();
        let id = session.id;
        let shard = self.shard(id);
        let (residency, running_turn, interrupt) = match shard.get(&id) {
            Some(entry) => (
                entry.residency,
                entry.running.as_ref().map(|(number, _)| *number),
                *entry.interrupt.borrow(),
            ),
            None if self.residents.contains(id) => (Residency::Resident, None, Running::Continues),
            None => (Residency::Asleep, None, Running::Continues),
        };
        let over = session.state.status().is_final();
        Sight {
            session,
            residency,
            running_turn,
            abort_requested: !over && interrupt >= Running::Finishes,
            force_kill_requested: !over && interrupt >= Running::Dies,
        }
    }

    /// The stream of the turn that runs, with its number.
    pub(crate) fn running(&self, id: SessionId) -> Option<(u64, Output)> {
        self.shard(id).get(&id).and_then(|entry| entry.running.clone())
    }

    /// How many messages wait, over all sessions.
    pub(crate) fn queued(&self) -> usize {
        let waiting = |shard: &Mutex<HashMap<SessionId, Entry>>| {
            lock(shard).values().map(|entry| entry.queue.messages()).sum::<usize>()
        };
        self.shards.iter().map(waiting).sum()
    }

    /// Let running turns finish, answer what waits with [`SendError::ShuttingDown`], and put
    /// everything to sleep. Turns that are still running after `grace` are killed.
    pub(crate) async fn shut_down(self: &Arc<Self>, grace: Duration) {
        self.liveness.close();
        // Who waits for a place has no turn yet that could finish.
        self.memory.line().close();
        let done = self.liveness.all_left();
        tokio::pin!(done);
        let patience = self.clock.sleep_until(self.clock.now().after(grace));
        tokio::select! {
            () = &mut done => {}
            () = patience => {
                self.kill_all();
                done.await;
            }
        }
        // What has slept until now is told before the store closes.
        self.slept.hurry().await;
        let mut saving = JoinSet::new();
        for resident in self.residents.take_all() {
            if !resident.is_saved() {
                let id = resident.session.id;
                let save = driver::save_and_leave(self.clone(), resident);
                saving.spawn_on(async move { (id, save.await) }, self.sandbox.runtime());
            }
        }
        for (session, saved) in saving.join_all().await {
            if !saved {
                tracing::warn!(%session, "the state of a session could not be saved, and is lost");
            }
        }
    }

    /// Kill everything that runs: nobody holds the host any more.
    pub(crate) fn abandon(&self) {
        self.liveness.close();
        self.memory.line().close();
        self.kill_all();
        drop(self.residents.take_all());
    }

    fn kill_all(&self) {
        for shard in &self.shards {
            for entry in lock(shard).values() {
                entry.interrupt.send_replace(Running::Dies);
            }
        }
    }

    /// The next thing to do, for the driver of this session. `None`: there is nothing, the resident
    /// is parked, and the driver has left.
    pub(crate) fn next(
        &self,
        id: SessionId,
        leave: impl FnOnce() -> Option<Box<Resident>>,
    ) -> Option<Work> {
        let mut shard = self.shard(id);
        let entry = shard.get_mut(&id)?;
        if let Some(work) = entry.queue.next() {
            entry.in_turn = matches!(work, Next::Message(_));
            let ends = match &work {
                Next::Message(_) => false,
                Next::Order(given) => matches!(given.order, Order::Move(..) | Order::Delete),
            };
            if !ends && entry.queue.orders() == 0 {
                // No order is left, so nothing is asked of this work yet. What comes from here on is.
                entry.interrupt.send_replace(Running::Continues);
            }
            return Some(work);
        }
        if let Some(resident) = leave() {
            let limits = &resident.session.profile.limits;
            let bedtime = limits.sleep_after.map(|after| resident.used_at.after(after));
            self.residents.park(resident, bedtime);
            if let Some(bedtime) = bedtime {
                self.wake_timekeeper_for(bedtime);
            }
        }
        shard.remove(&id);
        drop(shard);
        self.settling.note_change();
        None
    }

    /// Note where the guest state of a session with a driver is.
    pub(crate) fn note_residency(&self, id: SessionId, residency: Residency) {
        if let Some(entry) = self.shard(id).get_mut(&id) {
            entry.residency = residency;
        }
    }

    /// Note that the turn is over, before anybody is told of its end.
    pub(crate) fn note_turn_over(&self, id: SessionId) {
        if let Some(entry) = self.shard(id).get_mut(&id) {
            entry.running = None;
            entry.in_turn = false;
            entry.waits_until = None;
        }
        self.settling.note_change();
    }

    /// Note that a turn runs, and when it must be over.
    pub(crate) fn note_running(
        &self,
        id: SessionId,
        number: u64,
        output: &Output,
        deadline: Timestamp,
    ) {
        if let Some(entry) = self.shard(id).get_mut(&id) {
            entry.running = Some((number, output.clone()));
            entry.waits_until = Some(deadline);
        }
        self.settling.note_change();
    }

    /// Note that the driver of a session waits until this time at most. Answers with what it waited for
    /// before, for [`Manager::note_waited`].
    pub(crate) fn note_waiting(&self, id: SessionId, until: Timestamp) -> Option<Timestamp> {
        let mut shard = self.shard(id);
        let before = shard.get_mut(&id).and_then(|entry| {
            let sooner = entry.waits_until.map_or(until, |time| time.min(until));
            entry.waits_until.replace(sooner)
        });
        drop(shard);
        self.settling.note_change();
        before
    }

    /// Note that the driver waits no longer for what it waited for last.
    pub(crate) fn note_waited(&self, id: SessionId, before: Option<Timestamp>) {
        if let Some(entry) = self.shard(id).get_mut(&id) {
            entry.waits_until = before;
        }
        self.settling.note_change();
    }

    /// Whether no driver is at work, or waits for a time that has come.
    fn nobody_is_due(&self) -> bool {
        let now = self.clock.now();
        self.shards.iter().all(|shard| {
            lock(shard).values().all(|entry| entry.waits_until.is_some_and(|time| time > now))
        })
    }

    /// Returns when nothing is left to be done before the clock goes on: what is due has been done, and
    /// no driver is at work but those whose turn runs and has time left.
    pub(crate) async fn settle(&self) {
        let _settling = self.settling.begin();
        loop {
            let seen = self.settling.seen();
            if !self.nobody_is_due() {
                self.settling.changed_since(seen).await;
                continue;
            }
            let Some(next) = self.settling.whole_round(&self.deadlines).await else { return };
            self.slept.hurry().await;
            let nothing_is_due = next > self.clock.now() && self.nobody_is_due();
            if nothing_is_due && self.settling.seen() == seen {
                return;
            }
        }
    }

    /// Note that a session has gone to sleep, which was last of use at this time. Its instance is dropped
    /// by the caller.
    pub(crate) fn note_slept(&self, session: &Session, cause: SleepCause, used_at: Timestamp) {
        metrics::counter!("dormouse_sleeps_total", "cause" => cause.as_str()).increment(1);
        let at = self.clock.now();
        let owner = session.owner.clone();
        self.slept.note(session.id, Sleep { owner, at, cause, idle: at.since(used_at) });
    }

    /// Note what the record says of the next deadline, so that the timekeeper wakes in time.
    pub(crate) fn note_deadline(&self, session: &Session) {
        if let Some((at, _)) = deadline::next(session) {
            self.wake_timekeeper_for(at);
        }
    }

    fn wake_timekeeper_for(&self, at: Timestamp) {
        if at.0 < self.next_look.load(Ordering::SeqCst) {
            self.deadlines.notify_one();
        }
    }

    /// Whether a removal that was due at this time may happen now. After a start, removals that came
    /// due while the host was down wait: the clock of the machine may be wrong.
    pub(crate) fn may_remove(&self, due: Timestamp) -> bool {
        due >= self.started_at || self.removals_held_until().is_none()
    }

    /// Until when removals wait that came due while the host was down. `None`: no longer.
    pub(crate) fn removals_held_until(&self) -> Option<Timestamp> {
        let until = self.started_at.after(REMOVAL_HOLD);
        (self.clock.now() < until).then_some(until)
    }

    /// The seed of a session's random stream: known to this store alone, the same in each life of
    /// the host.
    pub(crate) fn seed(&self, id: SessionId) -> [u8; 32] {
        let mut material = self.store.secret().to_vec();
        material.extend_from_slice(id.0.as_bytes());
        blake3::derive_key("dormouse 0.1 session random stream", &material)
    }

    /// Make room: drop the idle instance that goes first. Answers whether there was one. One that
    /// would go before it and is not saved is told to sleep, and makes room later.
    fn evict(self: &Arc<Self>, cause: SleepCause) -> bool {
        let going = self.residents.evict();
        self.let_go(going, cause)
    }

    /// Put these to sleep. Answers whether one sleeps already.
    pub(crate) fn let_go(self: &Arc<Self>, going: Going, cause: SleepCause) -> bool {
        let Going { gone, unsaved } = going;
        if let Some(id) = unsaved
            && let Err(error) = self.post(id, None, Order::Sleep(cause))
        {
            tracing::debug!(session = %id, %error, "a session could not be told to sleep");
        }
        if let Some(resident) = &gone {
            self.note_slept(&resident.session, cause, resident.used_at);
        }
        gone.is_some()
    }

    /// Bytes that instances can have together at most: what the index of all sessions takes, it never
    /// gives back to them.
    pub(crate) fn memory_of_instances(&self) -> u64 {
        self.memory.limit().saturating_sub(self.store.stats().index_bytes)
    }

    /// A place for one more instance of this principal, made free where none is. `None`: all are taken
    /// by sessions that cannot go now.
    pub(crate) fn place(self: &Arc<Self>, owner: &Principal) -> Option<Place> {
        loop {
            if let Some(place) = self.residents.place(owner) {
                return Some(place);
            }
            if !self.evict(SleepCause::Places) {
                return None;
            }
        }
    }

    /// Queue work for a session. To a caller who is not its owner there is no such session: what that
    /// caller sends takes no place in the queue, and starts nothing. `None`: the host itself.
    fn add(
        self: &Arc<Self>,
        id: SessionId,
        caller: Option<&Principal>,
        push: impl FnOnce(&mut Entry) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let mut shard = self.shard(id);
        // Inside the lock: who has counted the drivers after closing counts this one.
        if self.liveness.is_closed() {
            return Err(Refused::Closed);
        }
        let mut entry = shard.get_mut(&id);
        if let Some(caller) = caller {
            let known = match &entry {
                Some(entry) => entry.owner.as_ref().map(|owner| owner == caller),
                None => self.residents.is_owner(id, caller),
            };
            let is_owner = match known {
                Some(is_owner) => is_owner,
                None => self.store.is_owner(id, caller).map_err(Refused::Store)?,
            };
            if !is_owner {
                return Err(Refused::NotFound);
            }
        }
        if let Some(entry) = &mut entry {
            return push(entry);
        }
        let resident = self.residents.take(id);
        let (interrupt, interrupted) = watch::channel(Running::Continues);
        let mut entry = Entry {
            owner: caller.cloned(),
            queue: Queue::new(self.options.max_queued_messages),
            interrupt,
            residency: if resident.is_some() { Residency::Resident } else { Residency::Asleep },
            running: None,
            in_turn: false,
            waits_until: None,
        };
        if let Err(refused) = push(&mut entry) {
            // Only where the bound is zero: nobody gets in at all.
            if let Some(resident) = resident {
                self.residents.park(resident, None);
            }
            return Err(refused);
        }
        shard.insert(id, entry);
        self.liveness.driver_started();
        drop(shard);
        self.settling.note_change();
        let leaving = Leaving { manager: self.clone(), id };
        self.sandbox.runtime().spawn(async move {
            driver::drive(&leaving.manager, id, resident, interrupted).await;
            drop(leaving);
        });
        Ok(())
    }

    fn shard(&self, id: SessionId) -> MutexGuard<'_, HashMap<SessionId, Entry>> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let hash = self.hasher.hash_one(id) as usize;
        lock(&self.shards[hash % SHARDS])
    }
}

enum Refused {
    Full(QueueFull),
    /// It has to wait for the end of a turn, and does not.
    InTurn,
    /// There is no such session, or it is somebody else's.
    NotFound,
    Store(StoreError),
    Closed,
}

/// Held by a driver's task. If the driver panics, its entry goes, so that the session lives on from
/// what is committed, and the defect is remembered.
struct Leaving {
    manager: Arc<Manager>,
    id: SessionId,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(session = %self.id, "the driver of a session has panicked");
            metrics::counter!("dormouse_driver_panics_total").increment(1);
            self.manager.liveness.note_panic();
            // What waits is answered by the drop of its channels.
            let entry = self.manager.shard(self.id).remove(&self.id);
            drop(entry);
            self.manager.settling.note_change();
        }
        self.manager.liveness.driver_left();
    }
}

fn lock(shard: &Mutex<HashMap<SessionId, Entry>>) -> MutexGuard<'_, HashMap<SessionId, Entry>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
