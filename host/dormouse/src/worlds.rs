//! The simulated worlds that outlive whoever made them: each has a record, a log of its ticks, and keyframes. [`experiments`] has
//! those that are runs of one world with many parameters.
//!
//! ```text
//!   create ─▶ record, specification, populations             kept with the commit that makes the world
//!   start  ─▶ running: tick, tick, …                         the task of the world, until something ends it
//!                 └─ each second: log + record [+ keyframe]  one commit, which no tick waits for
//!   start again, also of another process ─▶ the nearest keyframe, and the ticks behind it anew, compared with the log
//! ```
//!
//! Invariants:
//! - Of one world at most one task runs, and whoever does anything else to it than to let that stand still holds
//!   [`KnownWorld::commands`] and has waited for the end of the task. So one at a time writes to its rows.
//! - The log has no tick that the record does not count, because both are in one commit. What a crash has cut off is run
//!   again, and comes to the same.
//! - What is large is a *part*, which several worlds may have; it goes with the last record that names it
//!   ([`Book::uses`]). Whoever changes which parts records name holds [`Worlds::parts`] until that is committed.
//! - What was not written is not told: where a write fails, the world is where its log ends.

mod calls;
mod experiments;
mod keeping;
mod models;
mod record;
mod running;
mod spending;

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use experiments::{
    ExperimentProgress, ExperimentRecord, MAX_EXPERIMENT_RUNS, MAX_EXPERIMENTS, RunResult,
};
pub(crate) use experiments::{KnownExperiment, NewExperiment, Plan};
pub(crate) use keeping::{Branch, MembersRead, Surveyed};
pub(crate) use models::WorldModels;
pub use record::{CallProgress, LoggedTick, Progress, SimulationRecord};

use crate::accounts::Accounts;
use crate::catalog::Catalog;
use crate::gate::Outside;
use dormouse_base::clock::Clock;
use dormouse_base::shares::{Callers, FairSemaphore, Shares};
use dormouse_domain::agent::Digest;
use dormouse_domain::id::{ExperimentId, Principal, SimulationId, WorldPartId};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::simulation::{Column, PauseCause, SimulationStatus, Tick};
use dormouse_domain::time::Timestamp;
use dormouse_sandbox::Sandbox;
use dormouse_simulation::spec::Budget;
use dormouse_simulation::{Places, SpecError, WorldError, WorldSpec};
use dormouse_store::{Store, StoreError, Transaction, WorldRow};
use running::Task;

/// The most worlds that an owner has.
pub const MAX_SIMULATIONS: usize = 1_000;
/// Worlds that are made again at a time, for those who read their members or verify them.
const REBUILDS: usize = 4;

/// The simulated worlds of a host.
pub(crate) struct Worlds {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sandbox: Sandbox,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) clock: Clock,
    /// Who answers what members ask of the outside world, and what owners may spend.
    outside: Arc<Outside>,
    accounts: Arc<Accounts>,
    /// Where instances live, of all worlds together.
    places: Places,
    shares: Shares,
    book: Mutex<Book>,
    parts: tokio::sync::Mutex<()>,
    pub(crate) rebuilds: FairSemaphore,
}

/// Which worlds there are.
#[derive(Default)]
struct Book {
    worlds: BTreeMap<SimulationId, Arc<KnownWorld>>,
    experiments: BTreeMap<ExperimentId, Arc<KnownExperiment>>,
    /// How many records name each part.
    uses: HashMap<WorldPartId, u32>,
    is_closing: bool,
}

/// A world that there is.
pub(crate) struct KnownWorld {
    pub(crate) id: SimulationId,
    pub(crate) owner: Principal,
    /// What the store has of it.
    record: watch::Sender<Arc<SimulationRecord>>,
    /// Held by whoever starts or removes it, or reads what it would come to.
    commands: tokio::sync::Mutex<()>,
    running: Mutex<Option<Running>>,
    /// What its calls of language models have cost in all, those of a tick that was not run to its end included.
    spent: AtomicI64,
}

/// The task that takes a world through its ticks.
struct Running {
    ending: watch::Sender<Ending>,
    task: JoinHandle<()>,
}

impl Running {
    fn end(&self, how: Ending) {
        self.ending.send_if_modified(|ending| {
            let is_stronger = how > *ending;
            *ending = how.max(*ending);
            is_stronger
        });
    }
}

/// Whether a world is to stand still. A later variant is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    /// It goes on.
    None,
    /// Until somebody starts it.
    Pause,
    /// Until the next start of its host.
    Suspend,
    /// It is removed.
    Remove,
}

/// What members of a role publish, by name.
pub(crate) type Columns = Vec<(String, Column)>;

/// A world to make.
pub(crate) struct NewWorld {
    pub(crate) owner: Principal,
    pub(crate) spec: WorldSpec,
    /// Its populations, a role each.
    pub(crate) made_of: Vec<Digest>,
    /// Each of them once that no other world has.
    pub(crate) components: BTreeMap<Digest, Bytes>,
    /// The experiment of which it is a run, and the number of that.
    pub(crate) run_of: Option<(ExperimentId, u32)>,
}

/// Why a world does not do what it is told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// There are too many.
    #[error("an owner has {MAX_SIMULATIONS} simulations at most; delete one first")]
    TooMany,
    /// There are too many.
    #[error("an owner has {MAX_EXPERIMENTS} experiments at most; delete one first")]
    TooManyExperiments,
    /// It is in another state.
    #[error("the simulation is {}", .0.as_str())]
    Status(SimulationStatus),
    /// It has not come there, or is over there.
    #[error("the simulation has {ticks} ticks behind it, and cannot be forked before tick {at}")]
    NotThere {
        /// Before which tick.
        at: Tick,
        /// How many it has behind it.
        ticks: Tick,
    },
    /// It comes to something else than it came to before.
    #[error(
        "in tick {0} the simulation comes to something else than its log says: the log is damaged, or was changed"
    )]
    Diverged(Tick),
    /// Its log is too long.
    #[error(
        "the forks would copy more than 50 million ticks; fork at an earlier tick, or into fewer branches"
    )]
    TooLong,
    /// It was removed meanwhile.
    #[error("the simulation was deleted meanwhile")]
    Gone,
    /// The host ends.
    #[error("the host is shutting down")]
    Closing,
    /// What it is told makes no sense.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The world cannot do it.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl KnownWorld {
    fn new(record: SimulationRecord) -> KnownWorld {
        KnownWorld {
            id: record.id,
            owner: record.owner.clone(),
            record: watch::Sender::new(Arc::new(record)),
            commands: tokio::sync::Mutex::new(()),
            running: Mutex::new(None),
            spent: AtomicI64::new(0),
        }
    }

    /// Its calls of language models have cost so much in all.
    fn note_spent(&self, spent: NanoUsd) {
        self.spent.fetch_max(spent.0, Ordering::Relaxed);
    }

    /// What its calls of language models have cost in all.
    fn spent(&self) -> NanoUsd {
        let noted = self.record.borrow().progress.calls.cost();
        noted.max(NanoUsd(self.spent.load(Ordering::Relaxed)))
    }

    /// What the store has of it.
    pub(crate) fn record(&self) -> Arc<SimulationRecord> {
        self.record.borrow().clone()
    }

    /// The same, and each time that it changes.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<SimulationRecord>> {
        self.record.subscribe()
    }

    /// Let its task stand still, where there is one, and do not wait for that.
    fn end(&self, how: Ending) {
        if let Some(running) = held(&self.running).as_ref() {
            running.end(how);
        }
    }

    /// Wait until its task has ended, where there is one. Who calls this holds its commands.
    async fn at_rest(&self, now: impl Fn() -> Timestamp) {
        let running = held(&self.running).take();
        if let Some(Running { ending, task }) = running {
            let _ = task.await;
            drop(ending);
        }
        if self.record().status == SimulationStatus::Running {
            // It has panicked, or its host ends.
            self.stand_still("what takes it through its ticks has ended".to_owned(), now());
        }
    }

    /// It stands where its log ends, for this reason. The store knows nothing of that.
    fn stand_still(&self, reason: String, now: Timestamp) {
        let mut record = self.record().as_ref().clone();
        record.status = SimulationStatus::Paused(PauseCause::Host);
        (record.reason, record.changed_at) = (Some(reason), now);
        self.record.send_replace(Arc::new(record));
    }
}

impl Worlds {
    pub(crate) fn new(
        (store, clock): (Arc<dyn Store>, Clock),
        (sandbox, catalog): (Sandbox, Arc<Catalog>),
        (outside, accounts): (Arc<Outside>, Arc<Accounts>),
        places: Places,
    ) -> Worlds {
        let (book, parts) = (Mutex::default(), tokio::sync::Mutex::default());
        let rebuilds = FairSemaphore::new(REBUILDS, Callers::several());
        let shares = Shares::new(u64::from(places.all), Callers::several());
        Worlds {
            shares,
            store,
            sandbox,
            catalog,
            clock,
            outside,
            accounts,
            places,
            book,
            parts,
            rebuilds,
        }
    }

    /// Read which worlds there are, when the host starts.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn load(&self) -> Result<(), StoreError> {
        for (id, kept) in self.store.worlds().await? {
            if kept.is_empty() {
                self.purge(id).await?;
            } else if let Some(record) = SimulationRecord::decode(id, &kept) {
                let known = held(&self.book).add(record);
                self.note_open_calls(&known).await?;
            } else {
                tracing::error!(simulation = %id, "the record of a simulation does not decode");
            }
        }
        self.load_experiments().await
    }

    /// Let those go on that ran when the host before has ended.
    pub(crate) fn go_on(self: &Arc<Self>) {
        let all: Vec<_> = held(&self.book).worlds.values().cloned().collect();
        for world in all {
            let record = world.record();
            let goes_on = |of| {
                let experiment = self.experiment(of).map(|experiment| experiment.record());
                experiment.is_some_and(|own| own.status == SimulationStatus::Running)
            };
            match record.run_of {
                _ if record.status != SimulationStatus::Running => {}
                Some((of, _)) if !goes_on(of) => {
                    let why = "the experiment that it is a run of is paused";
                    world.stand_still(why.to_owned(), self.clock.now());
                }
                Some(_) | None => self.spawn(&world),
            }
        }
        self.go_on_with_experiments();
    }

    /// The world of this id.
    pub(crate) fn get(&self, id: SimulationId) -> Option<Arc<KnownWorld>> {
        held(&self.book).worlds.get(&id).cloned()
    }

    /// The worlds of this owner, or all, behind this one, and how many there are over all.
    pub(crate) fn list(
        &self,
        owner: Option<&Principal>,
        after: Option<SimulationId>,
        limit: usize,
    ) -> (Vec<Arc<SimulationRecord>>, usize) {
        let book = held(&self.book);
        let own = || book.worlds.values().filter(|own| owner.is_none_or(|it| *it == own.owner));
        let behind = own().filter(|own| Some(own.id) > after).take(limit);
        (behind.map(|own| own.record()).collect(), own().count())
    }

    /// Where instances of worlds of this owner live: where there are several owners, none has all of it.
    pub(crate) fn places_of(&self, owner: &Principal) -> Places {
        let shares = (*owner != Principal::local()).then(|| (self.shares.clone(), owner.clone()));
        Places { shares, ..self.places.clone() }
    }

    /// Who answers what members of a world of this owner ask language models, with this budget.
    pub(crate) fn models_of(&self, owner: &Principal, budget: Budget) -> WorldModels {
        WorldModels::new((self.outside.clone(), self.accounts.clone()), owner.clone(), budget)
    }

    /// How many bytes the worlds of this owner have in the store: their logs and keyframes.
    fn bytes_of(&self, owner: &Principal) -> u64 {
        let book = held(&self.book);
        let own = book.worlds.values().filter(|own| own.owner == *owner);
        own.map(|own| own.record.borrow().bytes()).fold(0, u64::saturating_add)
    }

    /// Make a world.
    ///
    /// # Errors
    /// [`OrderError::TooMany`], or the store's.
    pub(crate) async fn create(&self, new: NewWorld) -> Result<Arc<KnownWorld>, OrderError> {
        let NewWorld { owner, spec, made_of, components, run_of } = new;
        let now = self.clock.now();
        let mut parts: Vec<_> = components
            .into_iter()
            .map(|(digest, component)| (content_part(digest), component))
            .collect();
        let spec_part = WorldPartId(self.clock.new_id());
        parts.push((spec_part, encode_spec(&spec)));
        let record = SimulationRecord {
            id: SimulationId(self.clock.new_id()),
            owner,
            name: spec.name,
            status: SimulationStatus::Created,
            reason: None,
            planned: spec.ticks,
            progress: Progress::default(),
            budget: spec.budget,
            aggregates: spec.aggregates.into_iter().map(|own| own.name).collect(),
            forked_from: None,
            run_of,
            fingerprint: None,
            created_at: now,
            changed_at: now,
            spec: spec_part,
            made_of,
            keyframes: Vec::new(),
            until: None,
            passed: None,
            log_bytes: 0,
            inherited: None,
            inherited_bytes: 0,
        };
        let _parts = self.parts.lock().await;
        self.add(record, parts).await
    }

    /// Keep a new world, with what it has that no other has yet. Who calls this holds [`Worlds::parts`].
    async fn add(
        &self,
        record: SimulationRecord,
        parts: Vec<(WorldPartId, Bytes)>,
    ) -> Result<Arc<KnownWorld>, OrderError> {
        let mut rows = vec![(WorldRow::Record(record.id), Some(record.encode()))];
        {
            let book = held(&self.book);
            if book.is_closing {
                return Err(OrderError::Closing);
            }
            let own = book.worlds.values().filter(|own| own.owner == record.owner).count();
            if own >= MAX_SIMULATIONS {
                return Err(OrderError::TooMany);
            }
            rows.extend(book.new_parts(parts));
        }
        self.store.commit(Transaction::worlds(rows)).await?;
        Ok(held(&self.book).add(record))
    }

    /// Start a world, or let it go on: until this tick, where one is named, with this budget, where one is given.
    ///
    /// # Errors
    /// [`OrderError::Status`]: it runs, or is over.
    pub(crate) async fn start(
        self: &Arc<Self>,
        world: &Arc<KnownWorld>,
        budget: Option<Budget>,
        ticks: Option<Tick>,
    ) -> Result<(), OrderError> {
        let _commands = world.commands.lock().await;
        let mut record = world.record().as_ref().clone();
        if !record.status.can_go_on() {
            return Err(OrderError::Status(record.status));
        }
        if budget.and_then(|budget| budget.usd).is_some_and(|usd| NanoUsd::from_usd(usd).is_none())
        {
            let problem = "an amount of US dollars is 0 or more".to_owned();
            return Err(SpecError::Invalid { field: "budget.usd".to_owned(), problem }.into());
        }
        self.still_there(world)?;
        world.at_rest(|| self.clock.now()).await;
        record.status = SimulationStatus::Running;
        (record.reason, record.changed_at) = (None, self.clock.now());
        record.budget = budget.unwrap_or(record.budget);
        record.until = ticks.map(|ticks| record.progress.ticks.saturating_add(ticks));
        self.keep(world, record, Vec::new()).await?;
        self.spawn(world);
        Ok(())
    }

    /// Whether the world was not removed before its commands were free.
    fn still_there(&self, world: &KnownWorld) -> Result<(), OrderError> {
        let book = held(&self.book);
        if book.is_closing {
            return Err(OrderError::Closing);
        }
        if book.worlds.contains_key(&world.id) { Ok(()) } else { Err(OrderError::Gone) }
    }

    fn spawn(self: &Arc<Self>, world: &Arc<KnownWorld>) {
        let book = held(&self.book);
        if book.is_closing {
            // It goes on after the next start.
            return;
        }
        let (ending, ended) = watch::channel(Ending::None);
        let task = Task::new(self.clone(), world.clone(), ended);
        let (known, clock) = (world.clone(), self.clock.clone());
        let task = self.sandbox.runtime().spawn(async move {
            if AssertUnwindSafe(task.run()).catch_unwind().await.is_err() {
                known.stand_still("the host could not go on with it".to_owned(), clock.now());
            }
        });
        *held(&world.running) = Some(Running { ending, task });
        drop(book);
    }

    /// Let a world stand still between two ticks. Nothing where it does not run.
    pub(crate) async fn pause(&self, world: &KnownWorld) {
        world.end(Ending::Pause);
        let _commands = world.commands.lock().await;
        // It may have been started meanwhile.
        world.end(Ending::Pause);
        world.at_rest(|| self.clock.now()).await;
    }

    /// End a world. Nothing of it is removed.
    ///
    /// # Errors
    /// [`OrderError::Status`]: it is over.
    pub(crate) async fn stop(&self, world: &KnownWorld) -> Result<(), OrderError> {
        world.end(Ending::Pause);
        let _commands = world.commands.lock().await;
        self.still_there(world)?;
        world.end(Ending::Pause);
        world.at_rest(|| self.clock.now()).await;
        let mut record = world.record().as_ref().clone();
        match record.status {
            SimulationStatus::Stopped => return Ok(()),
            status if !status.can_go_on() => return Err(OrderError::Status(status)),
            _ => {}
        }
        (record.status, record.reason) = (SimulationStatus::Stopped, None);
        record.changed_at = self.clock.now();
        Ok(self.keep(world, record, Vec::new()).await?)
    }

    /// Remove a world, whatever it does.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn remove(&self, world: &KnownWorld) -> Result<(), OrderError> {
        world.end(Ending::Remove);
        let _commands = world.commands.lock().await;
        world.end(Ending::Remove);
        world.at_rest(|| self.clock.now()).await;
        {
            let _parts = self.parts.lock().await;
            let parts: Vec<_> = world.record().parts().collect();
            let unused = {
                let book = held(&self.book);
                if !book.worlds.contains_key(&world.id) {
                    return Ok(());
                }
                book.unused_without(&parts)
            };
            // An empty record says that it is gone, until its log is.
            let gone = (WorldRow::Record(world.id), Some(Bytes::new()));
            let unused = unused.into_iter().map(|part| (WorldRow::Part(part), None));
            let spent = self.spent_with(&world.owner, world.spent()).await?;
            self.store.commit(Transaction::worlds(unused.chain([gone]).chain(spent))).await?;
            let mut book = held(&self.book);
            book.worlds.remove(&world.id);
            parts.into_iter().for_each(|part| book.release(part));
        }
        Ok(self.purge(world.id).await?)
    }

    /// The host ends: all worlds stand still, and go on after its next start.
    pub(crate) async fn shut_down(&self) {
        let all: Vec<_> = {
            let mut book = held(&self.book);
            book.is_closing = true;
            book.worlds.values().cloned().collect()
        };
        all.iter().for_each(|world| world.end(Ending::Suspend));
        self.suspend_experiments().await;
        for world in all {
            let _commands = world.commands.lock().await;
            if held(&world.running).is_some() {
                world.at_rest(|| self.clock.now()).await;
            }
        }
    }

    /// Nobody holds the host any more.
    pub(crate) fn abandon(&self) {
        let mut book = held(&self.book);
        book.is_closing = true;
        let of_worlds = book.worlds.values().map(|world| &world.running);
        let of_experiments = book.experiments.values().map(|experiment| &experiment.running);
        for running in of_worlds.chain(of_experiments) {
            held(running).take().inspect(|running| running.task.abort());
        }
    }
}

impl Book {
    fn add(&mut self, record: SimulationRecord) -> Arc<KnownWorld> {
        for part in record.parts() {
            self.hold(part);
        }
        let world = Arc::new(KnownWorld::new(record));
        self.worlds.insert(world.id, world.clone());
        world
    }

    /// Those of these parts that no record names yet, as they are written.
    fn new_parts(
        &self,
        parts: Vec<(WorldPartId, Bytes)>,
    ) -> impl Iterator<Item = (WorldRow, Option<Bytes>)> {
        let new = parts.into_iter().filter(|(part, _)| !self.uses.contains_key(part));
        new.map(|(part, bytes)| (WorldRow::Part(part), Some(bytes)))
    }

    fn hold(&mut self, part: WorldPartId) {
        *self.uses.entry(part).or_default() += 1;
    }

    /// A record names this part no more.
    fn release(&mut self, part: WorldPartId) {
        if let Some(uses) = self.uses.get_mut(&part) {
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(&part);
            }
        }
    }

    /// Which of these parts nobody needs once one record, which names each once, names them no more.
    fn unused_without(&self, parts: &[WorldPartId]) -> Vec<WorldPartId> {
        let is_unused = |part: &&WorldPartId| self.uses.get(part).is_some_and(|uses| *uses == 1);
        parts.iter().filter(is_unused).copied().collect()
    }
}

/// Where something lies that is named by its contents, such as a population, whichever worlds have it.
fn content_part(digest: Digest) -> WorldPartId {
    let [first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest.0;
    WorldPartId(Uuid::new_v8(first))
}

/// A specification, as it is kept.
fn encode_spec(spec: &WorldSpec) -> Bytes {
    // It has nothing that JSON cannot say: it was checked.
    serde_json::to_vec(spec).unwrap_or_default().into()
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
