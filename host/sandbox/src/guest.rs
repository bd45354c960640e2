//! What the store of an instance holds besides the guest: all that the host knows while it runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::call::SessionView;
use super::fault::Fault;
use super::fuel::Pace;
use super::imports::log::TurnLog;
use super::imports::output::TurnOutput;
use super::imports::wasi::{self, GuestClock, Moment, Occasion, Program, RandomStream};
use super::instance::Grant;
use super::memory::Limiter;
use dormouse_base::clock::Clock;
use dormouse_base::memory::Account;

/// Resources that a guest may hold at a time. Rust programs need about ten.
pub(super) const MAX_RESOURCES: usize = 1_000;

/// The host's side of one instance.
pub(super) struct Guest {
    pub(super) memory: Limiter,
    pub(super) clock: GuestClock,
    pub(super) random: RandomStream,
    /// The random bytes that it starts with, where these are the same for all instances of its agent.
    start_random: Option<RandomStream>,
    pub(super) log: SharedLog,
    /// When it makes room for others.
    pub(super) pace: Pace,
    /// What belongs to the call that runs. `None` while the guest starts, restores or rests.
    pub(super) turn: Option<Turn>,
    wasi: WasiCtx,
    /// The world of the session, while the guest starts in that of its agent.
    later: Option<WasiCtx>,
    resources: ResourceTable,
}

/// In which world a guest starts. From its first call on it lives in that of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// In that of its session.
    Session,
    /// In one that is the same for all instances, so that they start alike.
    Alike,
}

/// The host's side of one call.
pub(super) struct Turn {
    pub(super) session: Arc<SessionView>,
    pub(super) output: TurnOutput,
}

/// The log, which the standard streams of a guest write to as well.
#[derive(Clone, Default)]
pub(super) struct SharedLog(Arc<Mutex<TurnLog>>);

impl SharedLog {
    pub(super) fn lock(&self) -> MutexGuard<'_, TurnLog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// For an instance with this grant, whose memory is paid with this account.
    pub(super) fn new(
        grant: &Grant,
        start: Start,
        limit: u64,
        account: Account,
        clock: &Clock,
    ) -> Guest {
        let random = RandomStream::of_session(
            grant.seed,
            clock.clone(),
            Occasion {
                turn: grant.turn,
                attempt: grant.attempt,
                moment: Moment::Start,
                segment: 0,
            },
        );
        let clock = GuestClock::new(clock.clone(), grant.monotonic_ns);
        let log = SharedLog::default();
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(MAX_RESOURCES);
        let session = wasi::context(&clock, &random, &log);
        let (wasi, later, start_random) = match start {
            Start::Session => (session, None, None),
            Start::Alike => {
                let same = RandomStream::same_for_all();
                (wasi::same_for_all(&same, &log), Some(session), Some(same))
            }
        };
        Guest {
            memory: Limiter::new(limit, account),
            wasi,
            later,
            clock,
            random,
            start_random,
            log,
            pace: Pace::default(),
            turn: None,
            resources,
        }
    }

    /// The guest has started: from now on it lives in the world of its session.
    pub(super) fn enter_session(&mut self) {
        if let Some(session) = self.later.take() {
            self.wasi = session;
        }
    }

    /// The guest is a command, and this is what it is started with.
    pub(super) fn enter(&mut self, program: Program) {
        self.wasi = wasi::context_of(program, &self.clock, &self.random, &self.log);
    }

    /// A turn of the guest begins.
    pub(super) fn begin_turn(&mut self, turn: u64, attempt: u32) {
        self.random.enter(Occasion { turn, attempt, moment: Moment::Turn, segment: 0 });
    }

    /// Whether it drew random bytes while it started that all instances of its agent draw.
    pub(super) fn has_drawn_alike(&self) -> bool {
        self.start_random.as_ref().is_some_and(RandomStream::is_drawn)
    }

    /// The number that it may seed its hash tables with.
    pub(super) fn hash_seed(&self) -> u128 {
        match &self.start_random {
            Some(same) if self.later.is_some() => same.insecure_seed(),
            Some(_) | None => self.random.insecure_seed(),
        }
    }

    /// What the guest holds open.
    pub(super) fn resources(&mut self) -> &mut ResourceTable {
        &mut self.resources
    }

    /// Pay for the memory in which the host keeps what the guest has logged, streamed and printed since
    /// its call began.
    ///
    /// # Errors
    /// A trap, where the host has no memory left.
    pub(super) fn pay_for_kept(&mut self) -> wasmtime::Result<()> {
        let streamed = self.turn.as_ref().map_or(0, |turn| turn.output.kept());
        let kept = self.log.lock().kept().saturating_add(streamed);
        self.memory.hold_for_call(kept).map_err(wasmtime::Error::new)
    }

    /// What an error that came out of the guest means.
    pub(super) fn fault(&mut self, error: &wasmtime::Error) -> Fault {
        let last_words = self.log.lock().last_words();
        Fault::of(error, &self.memory, last_words.as_deref())
    }

    /// The call that runs.
    ///
    /// # Errors
    /// A trap, where none does: a guest can ask for its session when it is called, not before.
    pub(super) fn turn(&mut self) -> wasmtime::Result<&mut Turn> {
        self.turn.as_mut().ok_or_else(|| {
            wasmtime::Error::msg(
                "the session and its output can be used in a turn only, not while the agent \
                 starts or restores its state",
            )
        })
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}
