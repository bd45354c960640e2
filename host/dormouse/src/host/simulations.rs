//! Simulations: worlds whose members are rows of populations.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::Host;
use crate::catalog::AgentError;
use dormouse_domain::access::{Action, Forbidden};
use dormouse_domain::agent::{AgentRef, AgentSelector, ComponentKind, Digest};
use dormouse_domain::simulation::Column;
use dormouse_sandbox::Refusal;
use dormouse_simulation::{
    Bundle, Fingerprint, MadeOf, Places, Record, SpecError, TickSummary, World, WorldError,
    WorldSpec,
};

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
    /// One of its populations is none.
    #[error(
        "members[{place}].agent: '{agent}' is no population: it does not export `dormouse:agent/population@0.1.0`"
    )]
    NoPopulation {
        /// The place of its members in the specification.
        place: usize,
        /// What it is instead.
        agent: AgentRef,
    },
    /// The world does not go on.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The caller is a reader.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// Anything else.
    #[error("{0}")]
    Host(String),
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
        let mut made_of = Vec::with_capacity(spec.members.len());
        for (place, members) in spec.members.iter().enumerate() {
            made_of.push(self.population(place, &members.agent).await?);
        }
        self.make_of(spec, made_of).await
    }

    /// Run the world of a bundle again, from its specification and its populations alone. What is different from what the
    /// bundle says; `None`: nothing, and the bundle is true.
    ///
    /// # Errors
    /// The world cannot be run.
    pub async fn verify(&self, bundle: &Bundle) -> Result<Option<String>, SimulationError> {
        self.host.may(Action::Change)?;
        let sandbox = &self.host.inner.services.sandbox;
        let mut made_of = Vec::with_capacity(bundle.made_of.len());
        for (place, digest) in bundle.made_of.iter().enumerate() {
            let component = bundle.populations.get(digest).cloned().unwrap_or_default();
            let owner = Some(self.host.caller().clone());
            let prepared = sandbox.prepare(component.into(), owner).await;
            let error = |refusal: Refusal| SimulationError::Agent { place, error: refusal.into() };
            let code = prepared.map_err(error)?.code;
            made_of.push(MadeOf { code, digest: *digest });
        }
        let mut world = self.make_of(bundle.spec.clone(), made_of).await?;
        let mut again = Record::default();
        for summary in world.run(bundle.record.hashes.len() as u64).await? {
            again.note(&summary);
        }
        again.fingerprint = world.fingerprint().await?;
        Ok(bundle.record.difference(&again))
    }

    /// Make a world of these populations.
    async fn make_of(
        &self,
        spec: WorldSpec,
        made_of: Vec<MadeOf>,
    ) -> Result<Simulation, SimulationError> {
        let digests = made_of.iter().map(|made_of| made_of.digest).collect();
        let (options, services) = (&self.host.inner.options, &self.host.inner.services);
        let places = Places {
            instances: self.host.inner.world_places.clone(),
            all: options.max_world_instances,
            max_memory_bytes: options.limits.max_memory_bytes,
            memory: self.host.inner.memory.clone(),
            threads: options.guest_threads,
        };
        let runtime = services.sandbox.runtime().clone();
        let making = World::make(Arc::new(spec), made_of, places, runtime.clone());
        let world = on(&runtime, making).await??;
        Ok(Simulation { host: self.host.clone(), made_of: digests, world: Some(world), runtime })
    }

    /// The population that the caller calls so.
    async fn population(&self, place: usize, agent: &str) -> Result<MadeOf, SimulationError> {
        let refused = |error| SimulationError::Agent { place, error };
        let selector: AgentSelector =
            agent.parse().map_err(|error| refused(AgentError::Name(error)))?;
        let catalog = &self.host.inner.catalog;
        let caller = self.host.caller();
        let found = catalog.find(selector, caller).await.map_err(refused)?;
        if found.component.exports.kind() != Some(ComponentKind::Population) {
            return Err(SimulationError::NoPopulation { place, agent: found.reference });
        }
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
            let component = self.host.inner.store.component(*digest).await;
            let component = component.map_err(|error| SimulationError::Host(error.to_string()))?;
            let missing = || SimulationError::Host(format!("the population {digest} was removed"));
            populations.insert(*digest, component.ok_or_else(missing)?.to_vec());
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

    /// How many instances share its members.
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
async fn on<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, SimulationError> {
    let task = AbortOnDropHandle::new(runtime.spawn(work));
    task.await.map_err(|error| SimulationError::Host(error.to_string()))
}
