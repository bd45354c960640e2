//! What the store of an instance holds besides the guest: all that the host knows while it runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::fault::Fault;
use super::files::{FileError, FileGrant, Files};
use super::fuel::Pace;
use super::imports::http::HttpState;
use super::imports::log::TurnLog;
use super::imports::output::Streamed;
use super::imports::wasi::{
    self, GuestClock, Moment, Occasion, PrintedReply, Program, RandomStream, StandingClock,
};
use super::instance::Grant;
use super::memory::Limiter;
use super::view::View;
use super::world::{EffectFuture, NotSent, SessionView, SoFar, World};
use dormouse_base::clock::Clock;
use dormouse_base::memory::Account;
use dormouse_domain::effect::Effect;
use dormouse_domain::id::SessionId;
use dormouse_domain::journal::Salt;
use dormouse_domain::mail::{self, Peers};
use dormouse_domain::model::ModelTool;
use dormouse_domain::sample::{Sample, SampleError, Samples};
use dormouse_domain::session::JsonObject;
use dormouse_domain::simulation::Tick;
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::Timers;
use dormouse_domain::turn::{Delta, Part};

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
    /// The fuel that it may use in the call that runs, or could in the one that ran last.
    pub(super) given_fuel: u64,
    /// What belongs to the call that runs. `None` while the guest starts, restores or rests.
    turn: Option<CallContext>,
    /// When it is in its simulated world and what it sees of that, where it has members of one.
    simulated: Option<Simulated>,
    wasi: WasiCtx,
    /// What the session has of WASI, while the guest starts with what is the same for its agent.
    later: Option<WasiCtx>,
    resources: ResourceTable,
    /// What it has of HTTP.
    pub(super) http: HttpState,
    /// The files of its session. While it starts it has none, so that all instances start alike.
    pub(super) files: Files,
    /// What it is given of these.
    file_grant: Option<FileGrant>,
}

/// Which clocks and which randomness a guest starts with. Once it has started it has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartConditions {
    /// Its own.
    Session,
    /// Those that are the same for all instances, so that they start alike.
    Alike,
}

/// What a guest that has members of a simulated world knows of it.
struct Simulated {
    now: Timestamp,
    /// How long it has waited in the call that runs, by its clocks.
    waited_ns: u64,
    /// When its timers are due, by its monotonic clock.
    timers: HashMap<u32, u64>,
    /// The world at the end of the last tick. `None`: no tick runs.
    view: Option<Arc<dyn View>>,
}

/// The host's side of one call.
pub(super) struct CallContext {
    world: Box<dyn World>,
    /// How much the call has streamed and printed.
    pub(super) streamed: Streamed,
    /// What the call prints, where the guest is a command.
    printed: Option<PrintedReply>,
    /// What the mails hold that the call sends, in bytes.
    mailed: u64,
    /// The numbers that the call has noted.
    samples: Samples,
}

impl CallContext {
    /// What the agent may know of its session.
    pub(super) fn session(&self) -> SessionView<'_> {
        self.world.session()
    }

    /// The checkpoint of the session.
    pub(super) fn checkpoint(&self) -> Option<&JsonObject> {
        self.world.checkpoint()
    }

    /// Replace the checkpoint of the session.
    pub(super) fn set_checkpoint(&mut self, checkpoint: JsonObject) {
        self.world.set_checkpoint(checkpoint);
    }

    /// The timers of the session.
    pub(super) fn timers(&self) -> &Timers {
        self.world.timers()
    }

    /// The same, to be changed.
    pub(super) fn timers_mut(&mut self) -> &mut Timers {
        self.world.timers_mut()
    }

    /// The tools of the host that the guest may use.
    pub(super) fn tools(&self) -> Vec<ModelTool> {
        self.world.tools()
    }

    /// Whether the session names servers that may have more.
    pub(super) fn has_tool_servers(&self) -> bool {
        self.world.has_tool_servers()
    }

    /// Who the agent may write to.
    pub(super) fn peers(&self) -> &Peers {
        self.world.peers()
    }

    /// The session that the agent calls so.
    pub(super) fn addressed(&self, address: &str) -> Option<SessionId> {
        self.world.addressed(address)
    }

    /// Send a mail with the end of the call.
    pub(super) async fn send(&mut self, to: String, content: Vec<Part>) -> Result<(), NotSent> {
        let bytes = mail::weight(&content);
        self.world.send(to, content).await?;
        self.mailed = self.mailed.saturating_add(bytes);
        Ok(())
    }

    /// What the wall clock of the guest says.
    pub(super) fn now(&mut self) -> Timestamp {
        self.world.now()
    }

    /// Note a number at the time of the guest's wall clock.
    pub(super) fn sample(&mut self, name: String, value: f64) -> Result<(), SampleError> {
        let now = self.now();
        self.samples.add(name, value, now)
    }

    /// Ask the outside world for something.
    pub(super) fn effect(&mut self, effect: Effect, so_far: SoFar) -> EffectFuture<'_> {
        self.world.effect(effect, so_far)
    }

    /// Stream a piece that was counted.
    pub(super) fn emit(&mut self, delta: Delta) {
        self.streamed.note_piece();
        self.world.emit(delta);
    }
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
        start: StartConditions,
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
        let clock = GuestClock::new(clock.clone(), grant.now, grant.monotonic_ns);
        let log = SharedLog::default();
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(MAX_RESOURCES);
        let session = wasi::context(&random, &log);
        let (wasi, later, start_random) = match start {
            StartConditions::Session => (session, None, None),
            StartConditions::Alike => {
                let same = RandomStream::same_for_all();
                (wasi::context(&same, &log), Some(session), Some(same))
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
            given_fuel: 0,
            turn: None,
            simulated: None,
            resources,
            http: HttpState::default(),
            files: Files::default(),
            file_grant: grant.files.clone(),
        }
    }

    /// The guest has started: from now on it has the clocks, the randomness and the files of its session.
    pub(super) fn enter_session(&mut self) {
        if let Some(session) = self.later.take() {
            self.wasi = session;
        }
        self.files = Files::new(self.file_grant.take());
    }

    /// The guest is a command, and this is what it is started with.
    pub(super) fn enter(&mut self, program: Program) -> wasmtime::Result<()> {
        self.turn()?.printed = Some(PrintedReply::new(program.output.clone()));
        self.wasi = wasi::context_of(program, &self.random, &self.log);
        Ok(())
    }

    /// A turn of the guest begins, in this world.
    pub(super) fn begin_turn(&mut self, turn: u64, attempt: u32, mut world: Box<dyn World>) {
        let occasion = Occasion { turn, attempt, moment: Moment::Turn, segment: 0 };
        self.random.enter(occasion, world.salt());
        if let Some(simulated) = &mut self.simulated {
            simulated.waited_ns = 0;
        }
        self.http.begin_call();
        self.files.begin_call();
        self.turn = Some(CallContext {
            world,
            streamed: Streamed::default(),
            printed: None,
            mailed: 0,
            samples: Samples::default(),
        });
    }

    /// The guest has members of a simulated world: from now on its clocks stand where the world says, and its random
    /// bytes follow from its grant and the tick.
    pub(super) fn stand_still(&mut self, now: Timestamp, view: Option<Arc<dyn View>>, tick: Tick) {
        let moment = if view.is_some() { Moment::Turn } else { Moment::Start };
        let occasion = Occasion { turn: tick, attempt: 0, moment, segment: 0 };
        self.random.enter(occasion, Some(Salt::default()));
        let timers = self.simulated.take().map(|simulated| simulated.timers).unwrap_or_default();
        self.simulated = Some(Simulated { now, waited_ns: 0, timers, view });
    }

    /// The world that the guest has members of.
    ///
    /// # Errors
    /// A trap, where it is not called for a tick.
    pub(super) fn view(&self) -> wasmtime::Result<Arc<dyn View>> {
        let of_turn = self.turn.as_ref().and_then(|turn| turn.world.view());
        let of_tick = || self.simulated.as_ref().and_then(|simulated| simulated.view.clone());
        of_turn.or_else(of_tick).ok_or_else(|| {
            wasmtime::Error::msg(
                "a world can be seen while it steps only, and by its members alone",
            )
        })
    }

    /// An effect is answered: random bytes are of the next segment of the turn.
    ///
    /// # Errors
    /// A trap, where no turn runs.
    pub(super) fn enter_next_segment(&mut self) -> wasmtime::Result<()> {
        let salt = self.turn()?.world.salt();
        self.random.enter_next_segment(salt);
        Ok(())
    }

    /// The numbers that the turn of the guest has noted, which are its no more.
    pub(super) fn take_samples(&mut self) -> Vec<Sample> {
        let turn = self.turn.as_mut();
        turn.map(|turn| std::mem::take(&mut turn.samples).into_all()).unwrap_or_default()
    }

    /// The turn of the guest is over, or given up. Answers with its world, where a turn was begun.
    pub(super) fn end_turn(&mut self) -> Option<Box<dyn World>> {
        self.http.end_call();
        self.turn.take().map(|turn| turn.world)
    }

    /// What the wall clock of the guest says: that of the world in a call, and otherwise its own.
    pub(super) fn now(&mut self) -> Timestamp {
        let waited = self.simulated.as_ref().map_or(0, |simulated| simulated.waited_ns);
        let waited = Duration::from_nanos(waited);
        match (&mut self.turn, &self.simulated) {
            (Some(turn), _) => turn.world.now().after(waited),
            // Whatever it is started for, it starts like all others.
            (None, _) if self.later.is_some() => StandingClock::NOW,
            (None, Some(simulated)) => simulated.now.after(waited),
            (None, None) => self.clock.now(),
        }
    }

    /// What the monotonic clock of the guest says, in nanoseconds.
    pub(super) fn monotonic_ns(&mut self) -> u64 {
        match (&mut self.turn, &self.simulated) {
            (Some(turn), Some(simulated)) => {
                turn.world.monotonic_ns().saturating_add(simulated.waited_ns)
            }
            (Some(turn), None) => {
                let told = turn.world.monotonic_ns();
                self.clock.note_told(told);
                told
            }
            (None, _) if self.later.is_some() => StandingClock::MONOTONIC_NS,
            (None, Some(simulated)) => simulated.monotonic_ns(),
            (None, None) => self.clock.monotonic_ns(),
        }
    }

    /// A pollable of the guest is to be ready in so many nanoseconds: where it is a member of a simulated world, by the clock of that.
    pub(super) fn note_timer(&mut self, pollable: u32, nanos: u64) {
        let at = self.monotonic_ns().saturating_add(nanos);
        if let Some(simulated) = &mut self.simulated {
            simulated.timers.insert(pollable, at);
        }
    }

    /// A pollable is gone.
    pub(super) fn forget_timer(&mut self, pollable: u32) {
        if let Some(simulated) = &mut self.simulated {
            simulated.timers.remove(&pollable);
        }
    }

    /// Whether the guest has members of a simulated world.
    pub(super) fn is_in_world(&self) -> bool {
        self.simulated.is_some()
    }

    /// Which of these pollables are ready, where the guest is a member of a simulated world: there a wait takes no time, but moves
    /// its clocks on, unless it only looks. `None`: it is no member of one.
    pub(super) fn wait_in_world(&mut self, pollables: &[u32], is_look: bool) -> Option<Vec<u32>> {
        let now = self.monotonic_ns();
        let simulated = self.simulated.as_mut()?;
        // Whatever is no timer is ready.
        let due = |pollable: &u32| simulated.timers.get(pollable).copied().unwrap_or(0);
        let first = pollables.iter().map(due).min().unwrap_or(0);
        let until = if is_look { now } else { now.max(first) };
        let ready = (0..).zip(pollables).filter(|(_, pollable)| due(pollable) <= until);
        let ready = ready.map(|(place, _)| place).collect();
        simulated.waited_ns = simulated.waited_ns.saturating_add(until - now);
        Some(ready)
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

    /// Pay for the memory in which the host keeps what the guest has logged, streamed, printed, sent and sampled
    /// since its call began.
    ///
    /// # Errors
    /// A trap, where the host has no memory left.
    pub(super) fn pay_for_kept(&mut self) -> wasmtime::Result<()> {
        let of_turn = |turn: &CallContext| {
            turn.streamed.kept().saturating_add(turn.mailed).saturating_add(turn.samples.weight())
        };
        let of_turn = self.turn.as_ref().map_or(0, of_turn);
        let kept = self.log.lock().kept().saturating_add(of_turn).saturating_add(self.http.kept());
        self.memory.hold_for_call(kept).map_err(wasmtime::Error::new)?;
        self.pay_for_files()
    }

    /// The changes of files that follow have the time of the call.
    ///
    /// # Errors
    /// It has no files.
    pub(super) fn time_files(&mut self) -> Result<(), FileError> {
        self.files.open()?;
        if !self.files.is_timed() {
            let now = u64::try_from(self.now().0).unwrap_or(0).saturating_mul(1_000_000);
            self.files.set_time(now);
        }
        Ok(())
    }

    /// Pay for the memory in which the host keeps what has changed of the files.
    ///
    /// # Errors
    /// A trap, where the host has no memory left.
    pub(super) fn pay_for_files(&mut self) -> wasmtime::Result<()> {
        let held = self.files.held_bytes();
        self.memory.hold_files(held).map_err(wasmtime::Error::new)
    }

    /// Count what the guest has printed since the last time, where that is its reply, and stream it.
    ///
    /// # Errors
    /// A trap, where it has printed more than a turn may.
    pub(super) fn stream_printed(&mut self) -> wasmtime::Result<()> {
        let Some(turn) = &mut self.turn else { return Ok(()) };
        let Some(reply) = &mut turn.printed else { return Ok(()) };
        let bytes = reply.take_printed();
        if reply.is_too_much() || !turn.streamed.reserve(bytes.len()) {
            reply.note_too_much();
            // An error of the stream could be overlooked, and the reply be cut without a word.
            return Err(wasmtime::Error::msg("the command printed more than a turn may"));
        }
        turn.streamed.note_printed(bytes.len());
        if let Some(piece) = reply.add(&bytes) {
            turn.emit(Delta::Text(piece));
        }
        Ok(())
    }

    /// Whether the guest has printed more than a turn may.
    pub(super) fn has_printed_too_much(&self) -> bool {
        let reply = self.turn.as_ref().and_then(|turn| turn.printed.as_ref());
        reply.is_some_and(PrintedReply::is_too_much)
    }

    /// What the guest has printed, once that is the whole of its reply.
    pub(super) fn finish_printed(&mut self) -> Vec<Part> {
        let Some(turn) = &mut self.turn else { return Vec::new() };
        let Some(mut reply) = turn.printed.take() else { return Vec::new() };
        if let Some(piece) = reply.last_piece() {
            turn.emit(Delta::Text(piece));
        }
        vec![reply.into_part()]
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
    pub(super) fn turn(&mut self) -> wasmtime::Result<&mut CallContext> {
        self.turn.as_mut().ok_or_else(|| {
            wasmtime::Error::msg(
                "the session, its output and models can be used in a turn only, not while the \
                 agent starts or restores its state",
            )
        })
    }
}

impl Simulated {
    /// What the monotonic clock says: as the wall clock, since 1970.
    fn monotonic_ns(&self) -> u64 {
        let now = u64::try_from(self.now.0).unwrap_or(0).saturating_mul(1_000_000);
        now.saturating_add(self.waited_ns)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}
