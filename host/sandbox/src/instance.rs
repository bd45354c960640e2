//! An instance: one live guest, from its first state to its last call.
//!
//! Invariant: a call that does not end well poisons the instance. A trap leaves the guest in the
//! middle of something, and so does a future that is dropped; whoever holds the instance drops it, and
//! wakes another from the last snapshot. Dropping the future of [`Instance::run`] at any time is safe.

pub(super) mod population;

use std::sync::Arc;

use tracing::Instrument;
use wasmtime::Store;

use super::call::{AgentAnswer, Call, CallTrace, GuestResult};
use super::code::SandboxShared;
use super::command;
use super::entry::EntryPoint;
use super::fault::{Fault, bounded};
use super::files::FileGrant;
use super::fuel;
use super::guest::Guest;
use super::handle;
use super::snapshot::{Keeper, Saved};
use super::world::World;
use dormouse_domain::snapshot::GuestState;
use dormouse_domain::time::Timestamp;
use dormouse_workspace::Commit;

pub use population::{Moment, Population};

/// Bytes that a guest may hand to the host in one call of an import, or as a result. It bounds what
/// the host reads before it can look at it; what may be kept is less.
pub(super) const MAX_TRANSFER: usize = 32 << 20;

/// What an instance is given when it is made.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The most memory that it may hold, in bytes, tables included.
    pub max_memory_bytes: u64,
    /// What its randomness comes from. Fixed for a session.
    pub seed: [u8; 32],
    /// The number of the turn that comes next.
    pub turn: u64,
    /// How often that turn was begun before without a record of it.
    pub attempt: u32,
    /// What its wall clock says when it is made, and goes on from outside of calls.
    pub now: Timestamp,
    /// The same of its monotonic clock, in nanoseconds.
    pub monotonic_ns: u64,
    /// The files of its session. `None`: it can open none.
    pub files: Option<FileGrant>,
}

/// A live guest.
pub struct Instance {
    store: Store<Guest>,
    entry: EntryPoint,
    keeper: Keeper,
    shared: Arc<SandboxShared>,
    /// A call was begun, and has not ended well.
    poisoned: bool,
    /// The state that the agent itself has saved in its last call.
    own: Option<GuestState>,
    /// The fuel that it used to start.
    start_fuel: u64,
    /// Nobody has been billed for the start yet.
    start_is_due: bool,
    /// It can ask the world of a call for effects.
    has_effects: bool,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("poisoned", &self.poisoned).finish_non_exhaustive()
    }
}

impl Instance {
    pub(super) fn new(
        mut store: Store<Guest>,
        entry: EntryPoint,
        keeper: Keeper,
        shared: Arc<SandboxShared>,
        start_fuel: u64,
        has_effects: bool,
    ) -> Instance {
        // The start was no call.
        store.data_mut().given_fuel = 0;
        let (poisoned, own, start_is_due) = (false, None, true);
        Instance {
            store,
            entry,
            keeper,
            shared,
            poisoned,
            own,
            start_fuel,
            start_is_due,
            has_effects,
        }
    }

    /// Whether it can ask the world of a call for effects.
    #[must_use]
    pub fn has_effects(&self) -> bool {
        self.has_effects
    }

    /// The fuel that the guest used to start: before any call, and in none.
    #[must_use]
    pub fn start_fuel(&self) -> u64 {
        self.start_fuel
    }

    /// The fuel of the start, for the bill: once.
    pub fn take_start(&mut self) -> Option<u64> {
        std::mem::take(&mut self.start_is_due).then_some(self.start_fuel)
    }

    /// The fuel of the start, as long as nobody was billed for it.
    #[must_use]
    pub fn start_due(&self) -> u64 {
        if self.start_is_due { self.start_fuel } else { 0 }
    }

    /// Give a new instance a saved state. Returns the fuel that it used.
    ///
    /// # Errors
    /// [`Fault::RestoreFailed`] where the agent does not take the state, [`Fault::SnapshotDamaged`] and
    /// [`Fault::SnapshotUnusable`] where the host does not; then, and after any other fault, the
    /// instance must be dropped.
    pub async fn restore(&mut self, state: &GuestState, fuel: u64) -> Result<u64, Fault> {
        let span = tracing::debug_span!("restore", bytes = state.size());
        self.begin(fuel)?;
        let shared = self.shared.clone();
        let begun = shared.clock.monotonic();
        let restored = self.keeper.restore(&mut self.store, state);
        shared.ticker.watch(restored).instrument(span).await?;
        self.within_limit()?;
        self.store.data_mut().memory.keep(0);
        self.poisoned = false;
        metrics::histogram!("dormouse_restore_seconds")
            .record(shared.clock.monotonic().saturating_sub(begun).as_secs_f64());
        // What it wrote while it started, it has written before.
        let _ = self.store.data_mut().log.lock().take();
        Ok(fuel::used(&self.store))
    }

    /// Whether this instance, which has not been called yet, started as the first of its agent did.
    ///
    /// # Errors
    /// Its state could not be read.
    pub(super) async fn is_pristine(&mut self) -> Result<bool, Fault> {
        let shared = self.shared.clone();
        let pristine = shared.ticker.watch(self.keeper.is_pristine(&mut self.store)).await;
        pristine.map_err(|error| self.store.data_mut().fault(&error))
    }

    /// The state after a call that was answered. Takes no fuel of the call, and its time is the host's.
    ///
    /// The state may leave out what the state before it had: it is to be stored, and then
    /// [`stored`](Instance::stored) called, or the instance to be dropped. What it takes in memory
    /// is charged until then.
    ///
    /// # Errors
    /// After a fault the instance must be dropped.
    pub async fn save(&mut self) -> Result<Saved, Fault> {
        if self.is_stateless() {
            return Ok(Saved::Nothing);
        }
        if let Some(state) = self.own.take() {
            return Ok(Saved::State(state));
        }
        if std::mem::replace(&mut self.poisoned, true) {
            return Err(Fault::Host("the instance was saved after a fault".to_owned()));
        }
        self.store.data_mut().given_fuel = 0;
        let shared = self.shared.clone();
        let begun = shared.clock.monotonic();
        let span = tracing::debug_span!("save");
        let saved = shared.ticker.watch(self.save_in_any_case()).instrument(span).await?;
        self.poisoned = false;
        if matches!(saved, Saved::Held(_)) {
            self.measure().await?;
        }
        if let Saved::State(state) = &saved {
            metrics::histogram!("dormouse_save_seconds")
                .record(shared.clock.monotonic().saturating_sub(begun).as_secs_f64());
            #[expect(clippy::cast_precision_loss, reason = "a state is far smaller than 2^52")]
            metrics::histogram!("dormouse_snapshot_bytes").record(state.size() as f64);
        }
        Ok(saved)
    }

    /// All of the state, whatever was saved before. Otherwise as [`Instance::save`].
    ///
    /// # Errors
    /// As [`Instance::save`].
    pub async fn save_whole(&mut self) -> Result<Saved, Fault> {
        self.keeper.forget_saved();
        self.save().await
    }

    /// What the agent itself saves of its state, for another version of it. `None`: it does not export
    /// `state`. The instance may have changed by it.
    ///
    /// # Errors
    /// After a fault the instance must be dropped.
    pub async fn save_portable(&mut self, fuel: u64) -> Result<Option<GuestState>, Fault> {
        let span = tracing::debug_span!("save_portable");
        self.begin(fuel)?;
        let shared = self.shared.clone();
        let saving = self.keeper.save_portable(&mut self.store);
        let saved = shared.ticker.watch(saving).instrument(span).await?;
        self.within_limit()?;
        self.poisoned = false;
        Ok(saved)
    }

    /// What has changed of the files since the last commit that was stored. `None`: nothing has. Takes no fuel of a call.
    ///
    /// The commit is to be stored, and then [`stored`](Instance::stored) called, or the instance to be dropped.
    /// What it takes in memory is charged until then.
    ///
    /// # Errors
    /// After a fault the instance must be dropped.
    pub async fn commit_files(&mut self) -> Result<Option<Commit>, Fault> {
        let guest = self.store.data_mut();
        let Some(shared) = guest.files.changed() else { return Ok(None) };
        // Its blobs take as much again.
        let held = guest.files.held_bytes().saturating_mul(2);
        if guest.memory.hold_files(held).is_err() {
            // As for a state: one after the other, over the budget.
            let memory = self.shared.memory.clone();
            let _alone = memory.overdraft().await;
            let limiter = &mut self.store.data_mut().memory;
            limiter.forget_denials();
            limiter.set_overdraft(true);
            let held = limiter.hold_files(held);
            limiter.set_overdraft(false);
            held?;
        }
        let span = tracing::debug_span!("commit_files");
        let committing =
            tokio::task::spawn_blocking(move || span.in_scope(|| shared.lock().workspace.commit()));
        let unreadable = |error: &dyn std::fmt::Display| Fault::Host(bounded(error.to_string()));
        let committed = committing.await.map_err(|error| unreadable(&error))?;
        let commit = committed.map_err(|error| unreadable(&error))?;
        let guest = self.store.data_mut();
        guest.files.set_commit(commit.clone());
        Ok(Some(commit))
    }

    /// What was saved is stored: what it took in memory is let go.
    pub fn stored(&mut self) {
        let guest = self.store.data_mut();
        guest.memory.keep(0);
        guest.files.stored();
        // Less than before: it is not refused.
        let _ = guest.memory.hold_files(guest.files.held_bytes());
    }

    /// Save, and where the host has no memory for it, over the budget, but then one after the other:
    /// others may be at their end, too, and to wait for them would be to wait for each other.
    async fn save_in_any_case(&mut self) -> Result<Saved, Fault> {
        self.store.data_mut().memory.forget_denials();
        match self.keeper.save_after_turn(&mut self.store).await {
            Err(Fault::HostOutOfMemory { .. }) => {}
            saved => return saved,
        }
        self.store.data_mut().memory.keep(0);
        let shared = self.shared.clone();
        let _alone = shared.memory.overdraft().await;
        self.store.data_mut().memory.set_overdraft(true);
        let saved = self.keeper.save_after_turn(&mut self.store).await;
        self.store.data_mut().memory.set_overdraft(false);
        saved
    }

    /// Pay for all that the guest has, so that it can be called: see [`Instance::rest`].
    ///
    /// # Errors
    /// [`Fault::HostOutOfMemory`]; nothing has changed then.
    pub fn wake(&mut self) -> Result<(), Fault> {
        self.store.data_mut().memory.wake()
    }

    /// Let the guest of the next call grow over the budget, where the host has no memory and no other
    /// guest does: no snapshot holds its state, so that the call could not be made again.
    pub fn keep_at_any_price(&mut self) {
        self.store.data_mut().memory.keep_at_any_price();
    }

    /// Whether it pays for all that the guest has.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.store.data().memory.is_awake()
    }

    /// Pay only for what the guest really holds, from now on until the next call. That is known where
    /// its state was saved, or [`Instance::measure`] has found it out, since the last.
    pub fn rest(&mut self) {
        self.store.data_mut().memory.rest();
    }

    /// Find out what the guest really holds, where that is not known.
    ///
    /// # Errors
    /// After a fault the instance must be dropped.
    pub async fn measure(&mut self) -> Result<(), Fault> {
        if self.poisoned || self.store.data().memory.is_measured() {
            return Ok(());
        }
        let shared = self.shared.clone();
        self.poisoned = true;
        let present = shared.ticker.watch(self.keeper.present(&mut self.store)).await;
        match present {
            Ok(present) => {
                let memory = &mut self.store.data_mut().memory;
                present.into_iter().for_each(|bytes| memory.note_present(bytes));
                self.poisoned = false;
                Ok(())
            }
            Err(error) => Err(self.store.data_mut().fault(&error)),
        }
    }

    /// Answer one turn in this world: `handle`, and where the agent saves its own state, `save`, both
    /// within the call's fuel.
    ///
    /// The call has begun when this method returns, and the world lies in the instance from then on. So a
    /// future that is dropped, even one that was never polled, leaves the world for
    /// [`Instance::abandon`].
    ///
    /// After a fault, and after this future was dropped, the instance must not be called again.
    /// Another call is then answered with [`Fault::Host`].
    pub fn run(
        &mut self,
        call: Call,
        world: Box<dyn World>,
    ) -> impl Future<Output = GuestResult> + Send + use<'_> {
        let begun = self.begin(call.fuel);
        self.store.data_mut().begin_turn(call.number, call.attempt, world);
        async move {
            let span = tracing::debug_span!("call", turn = %call.id, number = call.number);
            let shared = self.shared.clone();
            let answer = match begun {
                Ok(()) => shared.ticker.watch(self.answer(call)).instrument(span).await,
                Err(fault) => Err(fault),
            };
            let answer = answer.and_then(|answer| self.within_limit().map(|()| answer));
            self.poisoned |= answer.is_err();
            let (trace, world) = self.end();
            GuestResult { answer, trace, world: world.expect("the call was begun in a world") }
        }
    }

    /// Give up a call whose future was dropped: what is known of it, and the world that it was made in,
    /// which has what the guest has streamed. No world: no call was begun, or its result has it.
    #[must_use]
    pub fn abandon(&mut self) -> (CallTrace, Option<Box<dyn World>>) {
        self.poisoned = true;
        self.end()
    }

    /// Whether it is a command, of which nothing is kept.
    #[must_use]
    pub fn is_stateless(&self) -> bool {
        matches!(self.entry, EntryPoint::Command(_))
    }

    /// Bytes of memories and tables that the guest has.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> u64 {
        self.store.data().memory.held()
    }

    /// What the guest's monotonic clock says, in nanoseconds.
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        self.store.data().clock.monotonic_ns()
    }

    /// Whether it drew random bytes while it started that are the same in all sessions.
    pub(super) fn has_drawn_alike(&self) -> bool {
        self.store.data().has_drawn_alike()
    }

    /// Begin a call. Until it has ended well the instance counts as poisoned.
    fn begin(&mut self, fuel: u64) -> Result<(), Fault> {
        self.store.data_mut().given_fuel = 0;
        if std::mem::replace(&mut self.poisoned, true) {
            return Err(Fault::Host("the instance was called again after a fault".to_owned()));
        }
        let memory = &mut self.store.data_mut().memory;
        memory.begin_call();
        memory.keep(0);
        memory.wake()?;
        fuel::fill(&mut self.store, fuel).map_err(|error| Fault::Host(format!("{error:#}")))?;
        Ok(())
    }

    /// Whether the call that has returned kept to its fuel.
    fn within_limit(&self) -> Result<(), Fault> {
        if fuel::is_overdrawn(&self.store) { Err(Fault::FuelExhausted) } else { Ok(()) }
    }

    async fn answer(&mut self, call: Call) -> Result<AgentAnswer, Fault> {
        let answer = match &self.entry {
            EntryPoint::Handler(handler) => handle::run(handler, &mut self.store, call).await?,
            // It has come to its end, and the instance stays as poisoned as it is.
            EntryPoint::Command(program) => {
                return command::run(program, &mut self.store, call).await;
            }
            EntryPoint::Population(_) => {
                return Err(Fault::Host("a population answers no turns".to_owned()));
            }
        };
        self.own = self.keeper.save_within_turn(&mut self.store).await?;
        self.poisoned = false;
        Ok(answer)
    }

    /// The call that was begun is over.
    fn end(&mut self) -> (CallTrace, Option<Box<dyn World>>) {
        let fuel = fuel::used(&self.store);
        // Whatever is asked of it later, this call is told of once.
        self.store.data_mut().given_fuel = 0;
        let guest = self.store.data_mut();
        let (log, log_dropped) = guest.log.lock().take();
        let samples = guest.take_samples();
        (CallTrace { fuel, log, log_dropped, samples }, guest.end_turn())
    }
}

/// Whether a guest handed over more than [`MAX_TRANSFER`] at once.
pub(super) fn is_too_much(error: &wasmtime::Error) -> bool {
    // The type of this error is private; its text is fixed with the version.
    error.chain().any(|cause| cause.to_string().contains("fuel allocated for hostcalls"))
}
