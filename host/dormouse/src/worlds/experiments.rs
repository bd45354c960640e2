//! Experiments: the runs of one world with many parameters. Each run is a world of its own while it goes on; what is left of it is a
//! line of results.
//!
//! ```text
//!   create ─▶ record, and a part with the specification and the design
//!   a run:    its world is created ─▶ started ─▶ at its end: result + record in one commit ─▶ its world is removed
//!   after a crash: worlds of runs go on as all worlds do, and the task of the experiment waits for them again; a run that has a
//!                  result and still a world was cut off between the two, and its world is removed
//! ```
//!
//! What models have answered is paid for once, because the world of a run keeps it as any world does.

mod record;
mod task;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use record::{ExperimentProgress, ExperimentRecord, RunResult};

use super::{Ending, KnownWorld, OrderError, Running, Worlds, content_part, held};
use dormouse_domain::agent::Digest;
use dormouse_domain::id::{ExperimentId, Principal, WorldPartId};
use dormouse_domain::simulation::{PauseCause, SimulationStatus};
use dormouse_domain::time::Timestamp;
use dormouse_simulation::spec::Budget;
use dormouse_simulation::{Experiment, Run, WorldSpec};
use dormouse_store::{StoreError, Transaction, WorldRow};
use record::{PIECE, decode_results, piece_of};
use task::Task;

/// The most experiments that an owner has.
pub const MAX_EXPERIMENTS: usize = 100;
/// The most runs of an experiment that a host keeps.
pub const MAX_EXPERIMENT_RUNS: usize = 100_000;
/// Pieces of results that are removed with one commit.
const REMOVED_AT_ONCE: usize = 256;

/// An experiment that there is.
pub(crate) struct KnownExperiment {
    pub(crate) id: ExperimentId,
    pub(crate) owner: Principal,
    /// What the store has of it.
    record: watch::Sender<Arc<ExperimentRecord>>,
    /// Held by whoever starts or removes it.
    commands: tokio::sync::Mutex<()>,
    pub(super) running: Mutex<Option<Running>>,
}

/// What is run: a world, and with which parameters. It never changes.
#[derive(Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) spec: WorldSpec,
    pub(crate) experiment: Experiment,
}

/// Of a plan what says which runs there are.
#[derive(Deserialize)]
struct Runs {
    experiment: Experiment,
}

/// An experiment to make.
pub(crate) struct NewExperiment {
    pub(crate) owner: Principal,
    pub(crate) name: String,
    pub(crate) plan: Plan,
    pub(crate) budget: Budget,
    /// What each name of an agent means in all runs.
    pub(crate) agents: BTreeMap<String, Digest>,
    /// Each of them once.
    pub(crate) components: BTreeMap<Digest, Bytes>,
}

impl KnownExperiment {
    fn new(record: ExperimentRecord) -> KnownExperiment {
        KnownExperiment {
            id: record.id,
            owner: record.owner.clone(),
            record: watch::Sender::new(Arc::new(record)),
            commands: tokio::sync::Mutex::new(()),
            running: Mutex::new(None),
        }
    }

    /// What the store has of it.
    pub(crate) fn record(&self) -> Arc<ExperimentRecord> {
        self.record.borrow().clone()
    }

    /// The same, and each time that it changes.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<ExperimentRecord>> {
        self.record.subscribe()
    }

    /// Let its task end, where there is one, and do not wait for that.
    fn end(&self, how: Ending) {
        if let Some(running) = held(&self.running).as_ref() {
            running.end(how);
        }
    }

    /// Let its task end, where there is one, and wait until it has. Who calls this holds its commands.
    async fn at_rest(&self, how: Ending, now: impl Fn() -> Timestamp) {
        self.end(how);
        let running = held(&self.running).take();
        if let Some(Running { ending, task }) = running {
            let _ = task.await;
            drop(ending);
        }
        if self.record().status == SimulationStatus::Running {
            // It has panicked, or its host ends.
            self.stand_still("what takes it through its runs has ended", now());
        }
    }

    /// It stands where its results end, for this reason. The store knows nothing of that.
    fn stand_still(&self, reason: &str, now: Timestamp) {
        let mut record = self.record().as_ref().clone();
        record.status = SimulationStatus::Paused(PauseCause::Host);
        (record.reason, record.changed_at) = (Some(reason.to_owned()), now);
        self.record.send_replace(Arc::new(record));
    }
}

impl Worlds {
    /// Read which experiments there are, when the host starts. Those that were being removed are, and so are the worlds of runs
    /// that nobody waits for any more.
    pub(super) async fn load_experiments(&self) -> Result<(), StoreError> {
        for (id, kept) in self.store.experiments().await? {
            let Some(record) = ExperimentRecord::decode(id, &kept) else {
                tracing::error!(experiment = %id, "the record of an experiment does not decode");
                continue;
            };
            let status = record.status;
            let known = self.know(record);
            let cleaned = match status {
                SimulationStatus::Stopped => self.remove_at_rest(&known).await,
                SimulationStatus::Completed => self.remove_worlds_of(id).await,
                _ => Ok(()),
            };
            if let Err(error) = cleaned {
                // The next start tries again.
                tracing::warn!(experiment = %id, %error, "what is left of an experiment is not removed");
            }
        }
        Ok(())
    }

    /// Let those go on that ran when the host before has ended.
    pub(super) fn go_on_with_experiments(self: &Arc<Self>) {
        let all: Vec<_> = held(&self.book).experiments.values().cloned().collect();
        for experiment in all {
            if experiment.record().status == SimulationStatus::Running {
                self.spawn_experiment(&experiment);
            }
        }
    }

    fn know(&self, record: ExperimentRecord) -> Arc<KnownExperiment> {
        let mut book = held(&self.book);
        record.parts().into_iter().for_each(|part| book.hold(part));
        let known = Arc::new(KnownExperiment::new(record));
        book.experiments.insert(known.id, known.clone());
        known
    }

    /// The experiment of this id.
    pub(crate) fn experiment(&self, id: ExperimentId) -> Option<Arc<KnownExperiment>> {
        held(&self.book).experiments.get(&id).cloned()
    }

    /// The experiments of this owner, or all, behind this one, and how many there are over all.
    pub(crate) fn list_experiments(
        &self,
        owner: Option<&Principal>,
        after: Option<ExperimentId>,
        limit: usize,
    ) -> (Vec<Arc<ExperimentRecord>>, usize) {
        let book = held(&self.book);
        let own =
            || book.experiments.values().filter(|own| owner.is_none_or(|it| *it == own.owner));
        let behind = own().filter(|own| Some(own.id) > after).take(limit);
        (behind.map(|own| own.record()).collect(), own().count())
    }

    /// Make an experiment, and start it.
    ///
    /// # Errors
    /// [`OrderError::TooManyExperiments`], or the store's.
    pub(crate) async fn create_experiment(
        self: &Arc<Self>,
        new: NewExperiment,
    ) -> Result<Arc<KnownExperiment>, OrderError> {
        let NewExperiment { owner, name, plan, budget, agents, components } = new;
        let (now, spec) = (self.clock.now(), WorldPartId(self.clock.new_id()));
        let record = ExperimentRecord {
            id: ExperimentId(self.clock.new_id()),
            owner,
            name,
            status: SimulationStatus::Running,
            reason: None,
            planned: plan.experiment.count()?,
            progress: ExperimentProgress::default(),
            budget,
            parameters: plan.experiment.parameters.keys().cloned().collect(),
            aggregates: plan.spec.aggregates.iter().map(|own| own.name.clone()).collect(),
            created_at: now,
            changed_at: now,
            plan: spec,
            agents,
        };
        let mut parts: Vec<_> = components
            .into_iter()
            .map(|(digest, component)| (content_part(digest), component))
            .collect();
        // It has nothing that JSON cannot say: it was checked.
        parts.push((spec, serde_json::to_vec(&plan).unwrap_or_default().into()));
        let _parts = self.parts.lock().await;
        let mut rows = vec![(WorldRow::Experiment(record.id), Some(record.encode()))];
        {
            let book = held(&self.book);
            if book.is_closing {
                return Err(OrderError::Closing);
            }
            let own = book.experiments.values().filter(|own| own.owner == record.owner).count();
            if own >= MAX_EXPERIMENTS {
                return Err(OrderError::TooManyExperiments);
            }
            rows.extend(book.new_parts(parts));
        }
        self.store.commit(Transaction::worlds(rows)).await?;
        let known = self.know(record);
        self.spawn_experiment(&known);
        Ok(known)
    }

    /// Let an experiment go on, with this budget from now on, where one is given. Nothing where it goes on already, or is over.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn resume_experiment(
        self: &Arc<Self>,
        experiment: &Arc<KnownExperiment>,
        budget: Option<Budget>,
    ) -> Result<(), OrderError> {
        let _commands = experiment.commands.lock().await;
        self.experiment_still_there(experiment)?;
        match experiment.record().status {
            SimulationStatus::Completed | SimulationStatus::Stopped => return Ok(()),
            SimulationStatus::Running if budget.is_none() => return Ok(()),
            _ => {}
        }
        experiment.at_rest(Ending::Pause, || self.clock.now()).await;
        let mut record = experiment.record().as_ref().clone();
        if record.status == SimulationStatus::Completed {
            return Ok(());
        }
        (record.status, record.reason) = (SimulationStatus::Running, None);
        (record.changed_at, record.budget) = (self.clock.now(), budget.unwrap_or(record.budget));
        self.keep_experiment(experiment, record, Vec::new()).await?;
        self.spawn_experiment(experiment);
        Ok(())
    }

    /// Let an experiment stand still, and the worlds of its runs. Nothing where it does not go on.
    pub(crate) async fn pause_experiment(&self, experiment: &KnownExperiment) {
        experiment.end(Ending::Pause);
        let _commands = experiment.commands.lock().await;
        experiment.at_rest(Ending::Pause, || self.clock.now()).await;
        // Also where its task has ended in another way.
        self.pause_worlds_of(experiment.id).await;
    }

    /// Let the worlds of all runs of an experiment stand still.
    async fn pause_worlds_of(&self, id: ExperimentId) {
        let worlds = self.worlds_of(id);
        worlds.values().for_each(|world| world.end(Ending::Pause));
        for world in worlds.into_values() {
            self.pause(&world).await;
        }
    }

    async fn remove_worlds_of(&self, id: ExperimentId) -> Result<(), OrderError> {
        let worlds = self.worlds_of(id);
        worlds.values().for_each(|world| world.end(Ending::Remove));
        for world in worlds.into_values() {
            self.remove(&world).await?;
        }
        Ok(())
    }

    /// Remove an experiment and the worlds of its runs, whatever they do.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn remove_experiment(
        &self,
        experiment: &KnownExperiment,
    ) -> Result<(), OrderError> {
        experiment.end(Ending::Remove);
        let _commands = experiment.commands.lock().await;
        if !held(&self.book).experiments.contains_key(&experiment.id) {
            return Ok(());
        }
        experiment.at_rest(Ending::Remove, || self.clock.now()).await;
        // From here on it never goes on, whatever cuts this off: the next start removes what is left.
        let mut record = experiment.record().as_ref().clone();
        record.status = SimulationStatus::Stopped;
        self.keep_experiment(experiment, record, Vec::new()).await?;
        self.remove_at_rest(experiment).await
    }

    /// Remove an experiment that never goes on.
    async fn remove_at_rest(&self, experiment: &KnownExperiment) -> Result<(), OrderError> {
        self.remove_worlds_of(experiment.id).await?;
        let record = experiment.record();
        let pieces: Vec<_> = (0..record.planned.div_ceil(PIECE)).collect();
        for some in pieces.chunks(REMOVED_AT_ONCE) {
            let rows = some.iter().map(|piece| (WorldRow::Part(piece_of(record.id, *piece)), None));
            self.store.commit(Transaction::worlds(rows)).await?;
        }
        let _parts = self.parts.lock().await;
        let parts = record.parts();
        let unused = held(&self.book).unused_without(&parts);
        let rows = unused.into_iter().map(|part| (WorldRow::Part(part), None));
        let gone = (WorldRow::Experiment(record.id), None);
        self.store.commit(Transaction::worlds(rows.chain([gone]))).await?;
        let mut book = held(&self.book);
        book.experiments.remove(&record.id);
        parts.into_iter().for_each(|part| book.release(part));
        Ok(())
    }

    /// What has come of runs, from this number on, `limit` of them at most: each run, and its result, where it has one.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn runs(
        &self,
        experiment: &KnownExperiment,
        from: usize,
        limit: usize,
    ) -> Result<Vec<(Run, Option<RunResult>)>, StoreError> {
        let record = experiment.record();
        let end = from.saturating_add(limit).min(record.planned);
        if from >= end {
            return Ok(Vec::new());
        }
        let kept = self.part(record.plan).await?;
        let damaged = |_| StoreError::Damaged(format!("simulation-part/{}", record.plan));
        let Runs { experiment } = serde_json::from_slice(&kept).map_err(damaged)?;
        let mut results = BTreeMap::new();
        for piece in from / PIECE..=(end - 1) / PIECE {
            let some = self.results(record.id, piece).await?;
            results.extend(some.into_iter().map(|result| (result.number as usize, result)));
        }
        Ok((from..end).map(|number| (experiment.run(number), results.remove(&number))).collect())
    }

    /// What is run, from what is kept of it.
    fn plan(record: &ExperimentRecord, kept: &[u8]) -> Result<Plan, StoreError> {
        let damaged = |_| StoreError::Damaged(format!("simulation-part/{}", record.plan));
        serde_json::from_slice(kept).map_err(damaged)
    }

    /// The results of a piece of the runs: those that have one.
    async fn results(&self, id: ExperimentId, piece: usize) -> Result<Vec<RunResult>, StoreError> {
        let part = piece_of(id, piece);
        let Some(kept) = self.store.world_part(part).await? else { return Ok(Vec::new()) };
        decode_results(&kept).ok_or_else(|| StoreError::Damaged(format!("simulation-part/{part}")))
    }

    /// The worlds of the runs of an experiment, by their number.
    fn worlds_of(&self, id: ExperimentId) -> BTreeMap<usize, Arc<KnownWorld>> {
        let book = held(&self.book);
        let of_it = |world: &Arc<KnownWorld>| {
            let (of, number) = world.record.borrow().run_of?;
            (of == id).then(|| (number as usize, world.clone()))
        };
        book.worlds.values().filter_map(of_it).collect()
    }

    /// Keep this of an experiment, and tell everybody.
    async fn keep_experiment(
        &self,
        experiment: &KnownExperiment,
        record: ExperimentRecord,
        mut rows: Vec<(WorldRow, Option<Bytes>)>,
    ) -> Result<(), StoreError> {
        rows.push((WorldRow::Experiment(record.id), Some(record.encode())));
        self.store.commit(Transaction::worlds(rows)).await?;
        experiment.record.send_replace(Arc::new(record));
        Ok(())
    }

    fn experiment_still_there(&self, experiment: &KnownExperiment) -> Result<(), OrderError> {
        let book = held(&self.book);
        if book.is_closing {
            return Err(OrderError::Closing);
        }
        let is_there = book.experiments.contains_key(&experiment.id);
        if is_there { Ok(()) } else { Err(OrderError::Gone) }
    }

    fn spawn_experiment(self: &Arc<Self>, experiment: &Arc<KnownExperiment>) {
        let book = held(&self.book);
        if book.is_closing {
            // It goes on after the next start.
            return;
        }
        let (ending, ended) = watch::channel(Ending::None);
        let task = Task::new(self.clone(), experiment.clone(), ended);
        let (known, clock) = (experiment.clone(), self.clock.clone());
        let task = self.sandbox.runtime().spawn(async move {
            if AssertUnwindSafe(task.run()).catch_unwind().await.is_err() {
                known.stand_still("the host could not go on with it", clock.now());
            }
        });
        *held(&experiment.running) = Some(Running { ending, task });
        drop(book);
    }

    /// The host ends: all experiments stand still, and go on after its next start.
    pub(super) async fn suspend_experiments(&self) {
        let all: Vec<_> = held(&self.book).experiments.values().cloned().collect();
        all.iter().for_each(|experiment| experiment.end(Ending::Suspend));
        for experiment in all {
            let _commands = experiment.commands.lock().await;
            if held(&experiment.running).is_some() {
                experiment.at_rest(Ending::Suspend, || self.clock.now()).await;
            }
        }
    }
}
