//! What drivers, and the tasks beside them, work with. One set of services for each host; no service
//! knows a driver.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::asks::Asks;
use super::left_open::LeftOpen;
use super::liveness::Liveness;
use super::residents::Residents;
use super::schedules::ScheduleBook;
use super::settling::Settling;
use super::slept::{PendingSleepEvents, Sleep};
use super::timekeeper::Lag;
use crate::accounts::Accounts;
use crate::catalog::Catalog;
use crate::gate::Outside;
use crate::mailboxes::Mailboxes;
use crate::quotas::Quotas;
use crate::turn::settlement::Rules;
use crate::workspaces::{WorkspaceLimits, Workspaces};
use dormouse_base::clock::Clock;
use dormouse_base::memory::MemoryBudget;
use dormouse_base::rate::RateLimit;
use dormouse_domain::creation::DefaultLimits;
use dormouse_domain::deadline;
use dormouse_domain::event::SleepCause;
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::residence::Residence;
use dormouse_domain::session::Session;
use dormouse_domain::time::Timestamp;
use dormouse_model as model;
use dormouse_sandbox::Sandbox;
use dormouse_store::Store;

/// How long after a start removals wait that came due while the host was down.
const REMOVAL_HOLD: Duration = Duration::from_secs(3600);

/// The configuration of drivers.
#[derive(Clone, Debug)]
pub(crate) struct SessionOptions {
    /// Instances in memory at most.
    pub(crate) max_residents: usize,
    /// Instances in memory of the sessions of one user of a principal.
    pub(crate) max_residents_per_user: Option<NonZeroU32>,
    /// Instances that are made at the same time, each with the state of its session in memory.
    pub(crate) max_instantiations: usize,
    /// Messages that wait for one session at most.
    pub(crate) max_queued_messages: usize,
    /// What one principal, and one user of a principal, may have and do.
    pub(crate) quotas: Quotas,
    /// How long a running turn may go on when its session is stopped.
    pub(crate) stop_grace: Duration,
    /// The limits of sessions that ask for none.
    pub(crate) limits: DefaultLimits,
    /// Prices and bounds of the settlement.
    pub(crate) rules: Rules,
    /// What workspaces may hold.
    pub(crate) workspaces: WorkspaceLimits,
}

/// The services that all drivers of a host share.
pub(crate) struct Services {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sandbox: Sandbox,
    pub(crate) catalog: Arc<Catalog>,
    /// Who answers for the language models that agents ask.
    pub(crate) models: Arc<model::Catalog>,
    pub(crate) clock: Clock,
    pub(crate) memory: MemoryBudget,
    /// The files of sessions.
    pub(crate) workspaces: Workspaces,
    pub(crate) options: SessionOptions,
    pub(crate) residents: Residents,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) mailboxes: Arc<Mailboxes>,
    /// The sessions that wait for the answers of others.
    pub(crate) asks: Arc<Asks>,
    pub(crate) left_open: LeftOpen,
    /// Who answers what turns ask of the outside world.
    pub(crate) outside: Arc<Outside>,
    pub(crate) slept: PendingSleepEvents,
    /// Told when a deadline may have come nearer.
    pub(crate) deadlines: Notify,
    /// When the timekeeper looks again by itself: milliseconds, as in [`Timestamp`].
    pub(crate) next_look: AtomicI64,
    /// How far the timekeeper is behind.
    pub(crate) lag: Lag,
    /// Something is due since before the host has started that was not due then.
    overdue: AtomicBool,
    pub(crate) liveness: Liveness,
    pub(crate) settling: Settling,
    /// When the schedules of all owners are due.
    pub(crate) schedules: ScheduleBook,
    /// How often each user of a principal may send a message.
    user_messages: Option<RateLimit<(Principal, String)>>,
    started_at: Timestamp,
}

impl Services {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        sandbox: Sandbox,
        catalog: Arc<Catalog>,
        outside: Outside,
        clock: Clock,
        memory: MemoryBudget,
        options: SessionOptions,
    ) -> Services {
        let started_at = clock.now();
        let user_messages = options.quotas.messages_per_minute_per_user.map(RateLimit::per_minute);
        let residents = Residents::new(
            options.max_residents,
            options.max_instantiations,
            options.max_residents_per_user,
            memory.queue(),
        );
        Services {
            workspaces: Workspaces::new(Arc::clone(&store), options.workspaces),
            accounts: Arc::new(Accounts::new(Arc::clone(&store), &options.quotas)),
            mailboxes: Arc::new(Mailboxes::new(Arc::clone(&store))),
            asks: Arc::default(),
            left_open: LeftOpen::default(),
            models: Arc::clone(&outside.models),
            outside: Arc::new(outside),
            store,
            sandbox,
            catalog,
            clock,
            memory,
            options,
            residents,
            slept: PendingSleepEvents::default(),
            deadlines: Notify::new(),
            next_look: AtomicI64::new(Timestamp::NEVER.0),
            lag: Lag::default(),
            overdue: AtomicBool::new(false),
            liveness: Liveness::default(),
            settling: Settling::default(),
            schedules: ScheduleBook::default(),
            user_messages,
            started_at,
        }
    }

    /// Note that a session has gone to sleep, which was last of use at this time. Its instance is dropped
    /// by the caller. Answers with when it had an instance, up to now.
    pub(crate) fn note_slept(
        &self,
        session: &Session,
        residence: Residence,
        cause: SleepCause,
        used_at: Timestamp,
    ) -> Residence {
        metrics::counter!("dormouse_sleeps_total", "cause" => cause.as_str()).increment(1);
        let at = self.clock.now();
        let (owner, residence) = (session.owner.clone(), residence.slept(at));
        let sleep = Sleep { owner, at, cause, idle: at.since(used_at), residence };
        self.slept.note(session.id, sleep);
        residence
    }

    /// Whether a user may send so many messages in a minute.
    pub(crate) fn counts_messages(&self) -> bool {
        self.user_messages.is_some()
    }

    /// Take a message to this session from what its user may send in a minute.
    ///
    /// # Errors
    /// There is none left: how long it takes until there is one.
    pub(crate) fn take_message(&self, session: &Session) -> Result<(), Duration> {
        let (Some(limit), Some(user)) = (&self.user_messages, &session.profile.user_id) else {
            return Ok(());
        };
        limit.take((session.owner.clone(), user.clone()), self.clock.monotonic())
    }

    /// Note what the record says of the next deadline, so that the timekeeper wakes in time.
    pub(crate) fn note_deadline(&self, session: &Session) {
        if let Some((at, _)) = deadline::next(session) {
            self.wake_timekeeper_for(at);
        }
    }

    /// Note that something is due at this time.
    pub(crate) fn wake_timekeeper_for(&self, at: Timestamp) {
        if at < self.started_at {
            self.overdue.store(true, Ordering::SeqCst);
        }
        if at.0 < self.next_look.load(Ordering::SeqCst) {
            self.deadlines.notify_one();
        }
    }

    /// Note that what was due for a session at this time is done.
    pub(crate) fn note_done(&self, due: Timestamp) {
        // Nobody could do it while the host was down.
        let late = self.clock.now().since(due.max(self.started_at));
        metrics::histogram!("dormouse_deadline_late_seconds").record(late.as_secs_f64());
    }

    /// From when on the timekeeper has to look for what is due. `None`: from the beginning. Of what was due before
    /// the host has started only removals that wait are left once it was looked at, and they may be many.
    pub(crate) fn due_since(&self, has_looked: bool) -> Option<Timestamp> {
        let is_overdue = self.overdue.swap(false, Ordering::SeqCst);
        let known = has_looked && !is_overdue && self.removals_held_until().is_some();
        known.then_some(self.started_at)
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

    /// Bytes that instances can have together at most: what the index of all sessions takes, it never
    /// gives back to them.
    pub(crate) fn memory_of_instances(&self) -> u64 {
        let index = self.store.upkeep().map_or(0, |upkeep| upkeep.index_bytes());
        self.memory.limit().saturating_sub(index)
    }
}
