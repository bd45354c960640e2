//! Simulations: worlds whose members are rows of populations, or sessions of agents.
//!
//! A [`Simulation`] belongs to the program that makes it, and is gone with it. What a host keeps is a world with a
//! [`SimulationHandle`]: it has an owner and a log, and goes on after a restart.

mod handle;

pub use handle::{
    NewBranch, SimulationDifference, SimulationHandle, SimulationMembers, SimulationSurvey,
};

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::{Host, to_its_end};
use crate::catalog::AgentError;
use crate::worlds::{MAX_EXPERIMENTS, MAX_SIMULATIONS, NewWorld, OrderError, SimulationRecord};
use dormouse_domain::access::{Action, Forbidden};
use dormouse_domain::agent::{AgentSelector, Digest};
use dormouse_domain::id::{ExperimentId, SimulationId};
use dormouse_domain::simulation::{Column, SimulationStatus, Tick};
use dormouse_domain::turn::Part;
use dormouse_sandbox::{Fault, Refusal};
use dormouse_simulation::spec::Budget;
use dormouse_simulation::{
    Answers, Bundle, CallTotals, Fingerprint, MadeOf, Record, RecordedCall, SpecError, TickSummary,
    World, WorldError, WorldSpec,
};
use dormouse_store::StoreError;

/// Why a world is not made, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// Its specification makes no sense.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// One of its populations is not there.
    #[error("members[{place}].agent: {error}")]
    Agent {
        /// The place of its members in the specification.
        place: usize,
        /// What is wrong.
        error: AgentError,
    },
    /// The world does not go on.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The caller is a reader.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// There is no such simulation.
    #[error("there is no simulation {0}; GET /api/simulations lists those there are")]
    NotFound(SimulationId),
    /// There is no such experiment.
    #[error("there is no experiment {0}; GET /api/experiments lists those there are")]
    ExperimentNotFound(ExperimentId),
    /// It is in a state in which it does not do that.
    #[error("the simulation is {}: {hint}", status.as_str())]
    Status {
        /// Where it is in its life.
        status: SimulationStatus,
        /// What to do instead.
        hint: &'static str,
    },
    /// It is a run of an experiment, which says what becomes of it.
    #[error(
        "the simulation is a run of the experiment {0}: make one of its own to change it, or delete the experiment"
    )]
    RunOf(ExperimentId),
    /// A field of what is asked for makes no sense.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field.
        field: String,
        /// What to change.
        problem: String,
    },
    /// It comes to something else than it came to before.
    #[error("{0}")]
    Diverged(String),
    /// It has not come to the tick that is asked for, or is too long there.
    #[error("{0}")]
    NotThere(String),
    /// The owner has as many as there may be.
    #[error("an owner has {MAX_SIMULATIONS} simulations at most; delete one first")]
    TooMany,
    /// The owner has as many as there may be.
    #[error("an owner has {MAX_EXPERIMENTS} experiments at most; delete one first")]
    TooManyExperiments,
    /// The host ends.
    #[error("the host is shutting down")]
    ShuttingDown,
    /// The store did not do it.
    #[error(transparent)]
    Store(StoreError),
    /// Anything else.
    #[error("{0}")]
    Host(String),
}

impl SimulationError {
    pub(super) fn of(error: OrderError, id: SimulationId) -> SimulationError {
        match error {
            OrderError::TooMany => SimulationError::TooMany,
            OrderError::TooManyExperiments => SimulationError::TooManyExperiments,
            OrderError::Status(status) => {
                let hint = match status {
                    SimulationStatus::Running => "pause it first",
                    SimulationStatus::Created | SimulationStatus::Paused(_) => "start it first",
                    SimulationStatus::Completed
                    | SimulationStatus::Stopped
                    | SimulationStatus::Failed => "fork it to go on from one of its ticks",
                };
                SimulationError::Status { status, hint }
            }
            OrderError::Closing => SimulationError::ShuttingDown,
            OrderError::NotThere { .. } | OrderError::TooLong => {
                SimulationError::NotThere(error.to_string())
            }
            OrderError::Diverged(_) => SimulationError::Diverged(error.to_string()),
            OrderError::Gone => SimulationError::NotFound(id),
            OrderError::Spec(error) => SimulationError::Spec(error),
            OrderError::World(error) => SimulationError::World(error),
            OrderError::Store(error) => SimulationError::Store(error),
        }
    }
}

/// One page of the simulations of a caller, in the order of their creation.
#[derive(Clone, Debug)]
pub struct SimulationListing {
    /// The simulations.
    pub simulations: Vec<Arc<SimulationRecord>>,
    /// How many there are, over all pages.
    pub total: usize,
    /// Where the list goes on; `None` at its end.
    pub next: Option<SimulationId>,
}

/// The simulations of a host. From [`Host::simulations`].
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use dormouse::{Host, WorldSpec};
///
/// let host = Host::builder().in_memory().build().await?;
/// let spec = WorldSpec::from_toml(
///     r#"
///     seed = 7
///     ticks = 10
///     members = [{ role = "traders", agent = "wealth", count = 1000 }]
///     aggregates = [{ name = "gini", of = "traders.wealth", is = "gini" }]
///     "#,
/// )?;
/// let mut world = host.simulations().make(spec).await?;
/// let ginis = world.run(10).await?;
/// assert_eq!((ginis.len(), world.steps()), (10, 10_000));
/// # host.shut_down().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Simulations {
    host: Host,
}

/// A world of a host. It goes on when it is told to, and is gone when it is dropped.
pub struct Simulation {
    host: Host,
    made_of: Vec<Digest>,
    /// Those that the store may not have.
    populations: BTreeMap<Digest, Vec<u8>>,
    /// Present between two calls. One that was dropped in the middle has taken it along.
    world: Option<World>,
    runtime: Handle,
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation").field("world", &self.world).finish_non_exhaustive()
    }
}

impl Simulations {
    pub(super) fn new(host: Host) -> Simulations {
        Simulations { host }
    }

    /// Make a world, before its first tick. The caller names the populations as they name agents.
    ///
    /// # Errors
    /// A [`SimulationError`] that names the field of the specification that is to be changed.
    pub async fn make(&self, spec: WorldSpec) -> Result<Simulation, SimulationError> {
        self.host.may(Action::Change)?;
        spec.check()?;
        let made_of = self.made_of(&spec).await?;
        let answers = self.live_answers(&spec);
        self.make_of(spec, made_of, answers).await
    }

    /// What the models of the host answer, within the budget of the world.
    fn live_answers(&self, spec: &WorldSpec) -> Answers {
        let models = self.host.inner.worlds.models_of(self.host.caller(), spec.budget);
        Answers::new(Some(Arc::new(models)))
    }

    /// Make a world that the host keeps, before its first tick. The caller names the populations as they name agents.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use dormouse::{Host, SimulationStatus, WorldSpec};
    ///
    /// let host = Host::builder().in_memory().build().await?;
    /// let spec = WorldSpec::from_toml(
    ///     r#"
    ///     ticks = 10
    ///     members = [{ role = "traders", agent = "wealth", count = 1000 }]
    ///     "#,
    /// )?;
    /// let world = host.simulations().create(spec).await?;
    /// world.step(4).await?;
    /// assert_eq!(world.wait().await.progress.ticks, 4);
    /// world.start(None).await?;
    /// assert_eq!(world.wait().await.status, SimulationStatus::Completed);
    /// # host.shut_down().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A [`SimulationError`] that names the field of the specification that is to be changed. What only its agents know to be
    /// wrong is told once the world has been started: it has failed then.
    pub async fn create(&self, spec: WorldSpec) -> Result<SimulationHandle, SimulationError> {
        self.host.may(Action::Change)?;
        spec.check()?;
        let made_of = self.made_of(&spec).await?;
        World::check(&spec, &made_of)?;
        let mut components = BTreeMap::new();
        for MadeOf { digest, .. } in &made_of {
            if let Entry::Vacant(free) = components.entry(*digest) {
                free.insert(self.component(*digest).await?);
            }
        }
        let made_of = made_of.into_iter().map(|made_of| made_of.digest).collect();
        let owner = self.host.caller().clone();
        let worlds = &self.host.inner.worlds;
        let new = NewWorld { owner, spec, made_of, components, run_of: None };
        let worlds = worlds.clone();
        let created = to_its_end(async move { worlds.create(new).await }).await;
        let nobody = SimulationId(uuid::Uuid::nil());
        let known = created.map_err(|error| SimulationError::of(error, nobody))?;
        Ok(SimulationHandle::new(self.host.clone(), known))
    }

    /// The caller's simulations behind this one, at most `limit`, in the order of their creation.
    #[must_use]
    pub fn list(&self, after: Option<SimulationId>, limit: usize) -> SimulationListing {
        let only = self.host.access().only();
        let worlds = &self.host.inner.worlds;
        let (mut simulations, total) = worlds.list(only, after, limit.saturating_add(1));
        let is_full = simulations.len() > limit;
        simulations.truncate(limit);
        let next = simulations.last().map(|last| last.id).filter(|_| is_full);
        SimulationListing { simulations, total, next }
    }

    /// The simulation of this id.
    ///
    /// # Errors
    /// [`SimulationError::NotFound`]
    pub fn get(&self, id: SimulationId) -> Result<SimulationHandle, SimulationError> {
        let known = self.host.inner.worlds.get(id);
        let seen = known.filter(|known| self.host.access().sees(&known.owner));
        let known = seen.ok_or(SimulationError::NotFound(id))?;
        Ok(SimulationHandle::new(self.host.clone(), known))
    }

    /// Run the world of a bundle again, from its specification and its populations alone. What is different from what the
    /// bundle says; `None`: nothing, and the bundle is true.
    ///
    /// # Errors
    /// The world cannot be run.
    pub async fn verify(&self, bundle: &Bundle) -> Result<Option<String>, SimulationError> {
        self.host.may(Action::Change)?;
        // It runs as long as it runs: a few at a time, callers in turns.
        let _turn = self.host.inner.worlds.rebuilds.wait(self.host.caller()).await;
        let spec = bundle.spec.clone();
        let calls = bundle.record.calls.iter().cloned();
        let answers = Answers::new(None).recorded(calls, spec.ticks);
        let mut world = self.make_of_bundle_with(bundle, spec, answers).await?;
        let mut again = Record::default();
        let run = match world.run(bundle.record.hashes.len() as u64).await {
            Err(SimulationError::World(error @ WorldError::Differs { .. })) => {
                return Ok(Some(error.to_string()));
            }
            run => run?,
        };
        for summary in run {
            again.note(&summary);
        }
        again.fingerprint = world.fingerprint().await?;
        Ok(bundle.record.difference(&again))
    }

    /// Make a world of the populations of a bundle, and of a specification that has the same roles: that of the bundle, or one with
    /// more in its program from tick `at` on. What members ask models before that tick has the recorded answers. From then on
    /// whoever asks what was asked then gets the same answer, and for anything else models are asked.
    ///
    /// # Errors
    /// As [`Simulations::make`].
    pub async fn make_of_bundle(
        &self,
        bundle: &Bundle,
        spec: WorldSpec,
        at: Tick,
    ) -> Result<Simulation, SimulationError> {
        let calls = bundle.record.calls.iter().cloned();
        let (before, since): (Vec<_>, Vec<_>) = calls.partition(|call| call.place.at < at);
        let before = before.into_iter().map(|call| RecordedCall { is_own: false, ..call });
        let answers = self.live_answers(&spec).recorded(before, at).inherited(since, []);
        self.make_of_bundle_with(bundle, spec, answers).await
    }

    async fn make_of_bundle_with(
        &self,
        bundle: &Bundle,
        spec: WorldSpec,
        answers: Answers,
    ) -> Result<Simulation, SimulationError> {
        self.host.may(Action::Change)?;
        spec.check()?;
        let sandbox = &self.host.inner.services.sandbox;
        let mut made_of = Vec::with_capacity(bundle.made_of.len());
        for (place, digest) in bundle.made_of.iter().enumerate().take(spec.members.len()) {
            // One that the host has need not be compiled again.
            let known = self.host.inner.catalog.code(*digest, self.host.caller()).await;
            if let Ok(code) = known {
                made_of.push(MadeOf { code, digest: *digest });
                continue;
            }
            let component = bundle.populations.get(digest).cloned().unwrap_or_default();
            let owner = Some(self.host.caller().clone());
            let prepared = sandbox.prepare(component.into(), owner).await;
            let error = |refusal: Refusal| SimulationError::Agent { place, error: refusal.into() };
            made_of.push(MadeOf { code: prepared.map_err(error)?.code, digest: *digest });
        }
        if made_of.len() != spec.members.len() {
            let problem = "the bundle has no population for each of these roles".to_owned();
            return Err(SimulationError::Invalid { field: "members".to_owned(), problem });
        }
        let mut world = self.make_of(spec, made_of, answers).await?;
        world.populations.clone_from(&bundle.populations);
        Ok(world)
    }

    /// Make a world of these populations.
    async fn make_of(
        &self,
        spec: WorldSpec,
        made_of: Vec<MadeOf>,
        answers: Answers,
    ) -> Result<Simulation, SimulationError> {
        let digests = made_of.iter().map(|made_of| made_of.digest).collect();
        let places = self.host.inner.worlds.places_of(self.host.caller());
        let runtime = self.host.inner.services.sandbox.runtime().clone();
        let making = World::make(Arc::new(spec), made_of, answers, places, runtime.clone());
        let world = on(&runtime, making).await??;
        Ok(Simulation {
            host: self.host.clone(),
            made_of: digests,
            populations: BTreeMap::new(),
            world: Some(world),
            runtime,
        })
    }

    /// The component of an agent.
    pub(super) async fn component(&self, digest: Digest) -> Result<Bytes, SimulationError> {
        let component = self.host.inner.store.component(digest).await;
        let missing = || SimulationError::Host(format!("the population {digest} was removed"));
        component.map_err(SimulationError::Store)?.ok_or_else(missing)
    }

    /// What the members of each role are made of.
    pub(super) async fn made_of(&self, spec: &WorldSpec) -> Result<Vec<MadeOf>, SimulationError> {
        let mut made_of = Vec::with_capacity(spec.members.len());
        for (place, members) in spec.members.iter().enumerate() {
            made_of.push(self.agent(place, &members.agent).await?);
        }
        Ok(made_of)
    }

    /// The agent that the caller calls so.
    pub(super) async fn agent(&self, place: usize, agent: &str) -> Result<MadeOf, SimulationError> {
        let refused = |error| SimulationError::Agent { place, error };
        let selector: AgentSelector =
            agent.parse().map_err(|error| refused(AgentError::Name(error)))?;
        let catalog = &self.host.inner.catalog;
        let caller = self.host.caller();
        let found = catalog.find(selector, caller).await.map_err(refused)?;
        let digest = found.reference.digest;
        let code = catalog.code(digest, caller).await;
        let code = code.map_err(|error| SimulationError::Host(error.to_string()))?;
        Ok(MadeOf { code, digest })
    }
}

impl Simulation {
    /// Go on by so many ticks, or until its last. What came of each, in their order.
    ///
    /// # Errors
    /// A member failed: the world is of no use then.
    pub async fn run(&mut self, ticks: u64) -> Result<Vec<TickSummary>, SimulationError> {
        self.with(move |mut world| async move {
            let last = world.spec().ticks.min(world.ticks().saturating_add(ticks));
            let mut summaries = Vec::new();
            while world.ticks() < last {
                match world.tick().await {
                    Ok(summary) => summaries.push(summary),
                    Err(error) => return (world, Err(error)),
                }
            }
            (world, Ok(summaries))
        })
        .await
    }

    /// What has come of it so far, as one hash: the same for the same specification, populations and seed, on any
    /// machine.
    ///
    /// # Errors
    /// A population fails.
    pub async fn fingerprint(&mut self) -> Result<Fingerprint, SimulationError> {
        self.with(|mut world| async move {
            let fingerprint = world.fingerprint().await;
            (world, fingerprint)
        })
        .await
    }

    /// What all members of a role publish under this name, by number.
    ///
    /// # Errors
    /// There is no such role or column.
    pub async fn column(&mut self, role: &str, column: &str) -> Result<Column, SimulationError> {
        let (role, column) = (role.to_owned(), column.to_owned());
        self.with(move |mut world| async move {
            let values = world.column_of(&role, &column).await;
            (world, values)
        })
        .await
    }

    /// All that members of a role publish, by name and in the order in which their population describes it.
    ///
    /// # Errors
    /// As [`Simulation::column`].
    pub async fn columns(&mut self, role: &str) -> Result<Vec<(String, Column)>, SimulationError> {
        let role = role.to_owned();
        self.with(move |mut world| async move {
            let columns = world.columns_of(&role).await;
            (world, columns)
        })
        .await
    }

    /// Ask members of a role that are sessions something, and answer with what each replies, or why it does not. Nothing of that is
    /// left in the world: it comes to the same as one of which nobody has asked.
    ///
    /// # Errors
    /// There is no such member, or it is a row.
    pub async fn survey(
        &mut self,
        role: &str,
        members: &[u32],
        question: Vec<Part>,
    ) -> Result<SimulationSurvey, SimulationError> {
        let models = self.host.inner.worlds.models_of(self.host.caller(), Budget::default());
        let models = Arc::new(models);
        let answers = Answers::new(Some(models.clone()));
        let (role, members) = (role.to_owned(), members.to_vec());
        let replies = self.with(move |mut world| async move {
            // Where nobody can be asked, the world is well all the same.
            let replies = world.survey(&role, &members, &question, answers).await;
            (world, Ok(replies))
        });
        let told = |reply: Result<Vec<Part>, Fault>| reply.map_err(|fault| fault.to_string());
        let replies = replies.await??.into_iter().map(told).collect();
        let spent = self.host.inner.worlds.note_spent(self.host.caller(), models.spent()).await;
        spent.map_err(SimulationError::Store)?;
        Ok(SimulationSurvey { ticks: self.ticks(), replies, cost: models.spent() })
    }

    /// The world as a file, with what was recorded of it: of all its ticks.
    ///
    /// # Errors
    /// It has not come to its last tick, or not each was recorded, or the store does not have its populations any more.
    pub async fn bundle(&self, record: Record) -> Result<Bundle, SimulationError> {
        let world = self.world.as_ref().ok_or_else(gone)?;
        let (recorded, ticks) = (record.hashes.len() as u64, world.spec().ticks);
        if recorded != ticks {
            let problem =
                format!("a bundle is of all {ticks} ticks of a world, and {recorded} are recorded");
            return Err(SimulationError::Host(problem));
        }
        let mut populations = BTreeMap::new();
        for digest in &self.made_of {
            let component = match self.populations.get(digest) {
                Some(component) => component.clone(),
                None => self.host.simulations().component(*digest).await?.to_vec(),
            };
            populations.insert(*digest, component);
        }
        let (spec, made_of) = (world.spec().clone(), self.made_of.clone());
        Ok(Bundle { spec, made_of, populations, record })
    }

    /// How many ticks it has behind it.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.world.as_ref().map_or(0, World::ticks)
    }

    /// What it is made of. `None`: it was given up.
    #[must_use]
    pub fn spec(&self) -> Option<&WorldSpec> {
        self.world.as_ref().map(World::spec)
    }

    /// How often a member has acted.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.world.as_ref().map_or(0, World::steps)
    }

    /// The fuel that its members have used.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        self.world.as_ref().map_or(0, World::fuel)
    }

    /// What its members have asked language models.
    #[must_use]
    pub fn calls(&self) -> CallTotals {
        self.world.as_ref().map(World::calls).unwrap_or_default()
    }

    /// How many instances its members have.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.world.as_ref().map_or(0, World::instances)
    }

    /// Do something with the world where guests run.
    async fn with<T, F>(
        &mut self,
        work: impl FnOnce(World) -> F + Send + 'static,
    ) -> Result<T, SimulationError>
    where
        T: Send + 'static,
        F: Future<Output = (World, Result<T, WorldError>)> + Send + 'static,
    {
        let gone =
            || SimulationError::Host("the world was given up in the middle of a tick".to_owned());
        let world = self.world.take().ok_or_else(gone)?;
        let (world, done) = on(&self.runtime, work(world)).await?;
        // One that has failed is of no use: its instances are gone.
        self.world = done.is_ok().then_some(world);
        Ok(done?)
    }
}

fn gone() -> SimulationError {
    SimulationError::Host(
        "the world was given up in the middle of a tick, or has failed".to_owned(),
    )
}

/// Await this where guests run. It ends where nobody waits for it any more.
pub(super) async fn on<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, SimulationError> {
    let task = AbortOnDropHandle::new(runtime.spawn(work));
    task.await.map_err(|error| SimulationError::Host(error.to_string()))
}
