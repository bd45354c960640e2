//! Experiments: one world with many parameters and seeds, run after run, into one table.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::{Host, SimulationError, to_its_end};
use crate::worlds::{
    ExperimentRecord, KnownExperiment, MAX_EXPERIMENT_RUNS, NewExperiment as Made, Plan, RunResult,
};
use dormouse_domain::access::Action;
use dormouse_domain::id::ExperimentId;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::simulation::SimulationStatus;
use dormouse_simulation::spec::Budget;
use dormouse_simulation::{Design, Experiment, MadeOf, Run, SpecError, Values, World, WorldSpec};

/// The most characters of a name.
const MAX_TITLE: usize = 200;
/// The most bytes of the values of one run, and of all values, as JSON.
const MAX_OF_RUN: usize = 64 << 10;
const MAX_VALUES: usize = 1 << 20;
/// The most agents that the runs of an experiment name in all.
const MAX_AGENTS: usize = 100;
/// The specifications that are tried before an experiment begins have so many bytes at most, but for the first.
const TRIED_BYTES: usize = 64 << 20;
/// And there are so many at most.
const TRIED: usize = 1_000;

/// The experiments of a host. From [`Host::experiments`].
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use dormouse::{Experiment, Host, NewExperiment, SimulationStatus, WorldSpec};
///
/// let host = Host::builder().in_memory().build().await?;
/// let spec = WorldSpec::from_toml(
///     r#"
///     ticks = 10
///     members = [{ role = "traders", agent = "wealth", count = 100 }]
///     aggregates = [{ name = "gini", of = "traders.wealth", is = "gini" }]
///     "#,
/// )?;
/// let experiment: Experiment = serde_json::from_value(serde_json::json!({
///     "parameters": { "traders.count": [100, 200] }, "replicates": 3,
/// }))?;
/// let experiment = host.experiments().create(NewExperiment::new(spec, experiment)).await?;
/// assert_eq!(experiment.wait().await.status, SimulationStatus::Completed);
/// let runs = experiment.runs(0, 100).await?;
/// assert_eq!((runs.len(), runs[5].0.values[0].as_u64()), (6, Some(200)));
/// assert!(runs.iter().all(|(_, result)| result.as_ref().is_some_and(|run| run.aggregates[0].is_some())));
/// # host.shut_down().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Experiments {
    host: Host,
}

/// An experiment to make.
#[derive(Clone, Debug, PartialEq)]
pub struct NewExperiment {
    /// What people call it. Where it is empty, what they call its world.
    pub name: String,
    /// The world.
    pub spec: WorldSpec,
    /// Its runs.
    pub experiment: Experiment,
    /// What all runs together may use. Each has at most what the specification of its world says, and what the others leave.
    pub budget: Budget,
}

impl NewExperiment {
    /// Without a name, and with as much budget as its runs like.
    #[must_use]
    pub fn new(spec: WorldSpec, experiment: Experiment) -> NewExperiment {
        NewExperiment { name: String::new(), spec, experiment, budget: Budget::default() }
    }
}

/// One page of the experiments of a caller, in the order of their creation.
#[derive(Clone, Debug)]
pub struct ExperimentListing {
    /// The experiments.
    pub experiments: Vec<Arc<ExperimentRecord>>,
    /// How many there are, over all pages.
    pub total: usize,
    /// Where the list goes on; `None` at its end.
    pub next: Option<ExperimentId>,
}

/// An experiment that the host keeps. Cheap to clone.
#[derive(Clone)]
pub struct ExperimentHandle {
    host: Host,
    known: Arc<KnownExperiment>,
}

impl std::fmt::Debug for ExperimentHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExperimentHandle").field("id", &self.known.id).finish_non_exhaustive()
    }
}

impl Experiments {
    pub(super) fn new(host: Host) -> Experiments {
        Experiments { host }
    }

    /// Make an experiment, and start it. What the names of agents mean is decided now, for all of its runs. It goes on by itself,
    /// also after a restart of the host.
    ///
    /// # Errors
    /// A [`SimulationError`] that names what is to be changed. The first run is checked, and each value of a parameter by itself,
    /// the first thousand of them. What makes no sense beyond that fails its run.
    pub async fn create(&self, new: NewExperiment) -> Result<ExperimentHandle, SimulationError> {
        self.host.may(Action::Change)?;
        let NewExperiment { name, spec, experiment, budget } = new;
        check_budget(budget)?;
        if name.chars().count() > MAX_TITLE || name.chars().any(char::is_control) {
            let problem =
                format!("it has {MAX_TITLE} characters at most, and no control characters");
            return Err(invalid("name", problem));
        }
        let planned = experiment.count().map_err(of_experiment)?;
        if planned > MAX_EXPERIMENT_RUNS {
            let problem = format!(
                "there would be {planned} runs, and a host keeps {MAX_EXPERIMENT_RUNS} at most; where a replicate is small, let \
                 it be a row"
            );
            return Err(invalid("parameters", problem));
        }
        check_values(&experiment)?;
        let plan = Plan { spec, experiment };
        let trying = tokio::task::spawn_blocking(move || {
            let first = tried(&plan);
            (plan, first)
        });
        let (plan, first) =
            trying.await.map_err(|error| SimulationError::Host(error.to_string()))?;
        let first = first.map_err(of_experiment)?;
        let (mut agents, mut components) = (BTreeMap::new(), BTreeMap::new());
        let simulations = self.host.simulations();
        for (place, agent) in agents_of(&plan) {
            if let Entry::Vacant(free) = agents.entry(agent) {
                let MadeOf { digest, .. } = simulations.agent(place, free.key()).await?;
                free.insert(digest);
                if let Entry::Vacant(free) = components.entry(digest) {
                    free.insert(simulations.component(digest).await?);
                }
            }
            if agents.len() > MAX_AGENTS {
                let problem = format!("all runs together have {MAX_AGENTS} agents at most");
                return Err(invalid("parameters", problem));
            }
        }
        let made_of = simulations.made_of(&first).await?;
        World::check(&first, &made_of)?;
        let owner = self.host.caller().clone();
        let new = Made { owner, name, plan, budget, agents, components };
        let worlds = self.host.inner.worlds.clone();
        let created = to_its_end(async move { worlds.create_experiment(new).await }).await;
        let nobody = dormouse_domain::id::SimulationId(uuid::Uuid::nil());
        let known = created.map_err(|error| SimulationError::of(error, nobody))?;
        Ok(ExperimentHandle { host: self.host.clone(), known })
    }

    /// The caller's experiments behind this one, at most `limit`, in the order of their creation.
    #[must_use]
    pub fn list(&self, after: Option<ExperimentId>, limit: usize) -> ExperimentListing {
        let only = self.host.access().only();
        let worlds = &self.host.inner.worlds;
        let (mut experiments, total) =
            worlds.list_experiments(only, after, limit.saturating_add(1));
        let is_full = experiments.len() > limit;
        experiments.truncate(limit);
        let next = experiments.last().map(|last| last.id).filter(|_| is_full);
        ExperimentListing { experiments, total, next }
    }

    /// The experiment of this id.
    ///
    /// # Errors
    /// [`SimulationError::ExperimentNotFound`]
    pub fn get(&self, id: ExperimentId) -> Result<ExperimentHandle, SimulationError> {
        let known = self.host.inner.worlds.experiment(id);
        let seen = known.filter(|known| self.host.access().sees(&known.owner));
        let known = seen.ok_or(SimulationError::ExperimentNotFound(id))?;
        Ok(ExperimentHandle { host: self.host.clone(), known })
    }
}

impl ExperimentHandle {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> ExperimentId {
        self.known.id
    }

    /// What the store has of it.
    #[must_use]
    pub fn record(&self) -> Arc<ExperimentRecord> {
        self.known.record()
    }

    /// Let it stand still, and the worlds of its runs, and wait until they do. Nothing where it does not go on.
    ///
    /// # Errors
    /// The caller is a reader.
    pub async fn pause(&self) -> Result<Arc<ExperimentRecord>, SimulationError> {
        self.host.may(Action::Change)?;
        let (worlds, known) = (self.host.inner.worlds.clone(), self.known.clone());
        to_its_end(async move { worlds.pause_experiment(&known).await }).await;
        Ok(self.record())
    }

    /// Let it go on, with this budget from now on, where one is given. Nothing where it is over.
    ///
    /// # Errors
    /// The store's.
    pub async fn resume(&self, budget: Option<Budget>) -> Result<(), SimulationError> {
        self.host.may(Action::Change)?;
        budget.map_or(Ok(()), check_budget)?;
        let (worlds, known) = (self.host.inner.worlds.clone(), self.known.clone());
        let resumed = async move { worlds.resume_experiment(&known, budget).await };
        self.done(to_its_end(resumed).await)
    }

    /// Remove it, and the worlds of its runs, whatever they do.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self) -> Result<(), SimulationError> {
        self.host.may(Action::Change)?;
        let (worlds, known) = (self.host.inner.worlds.clone(), self.known.clone());
        let removed = async move { worlds.remove_experiment(&known).await };
        self.done(to_its_end(removed).await)
    }

    fn done(&self, done: Result<(), crate::worlds::OrderError>) -> Result<(), SimulationError> {
        use crate::worlds::OrderError;
        done.map_err(|error| match error {
            OrderError::Gone => SimulationError::ExperimentNotFound(self.id()),
            error => {
                SimulationError::of(error, dormouse_domain::id::SimulationId(uuid::Uuid::nil()))
            }
        })
    }

    /// Wait until it stands still, for whichever reason.
    pub async fn wait(&self) -> Arc<ExperimentRecord> {
        let mut records = self.known.follow();
        let at_rest = records.wait_for(|record| record.status != SimulationStatus::Running).await;
        match at_rest {
            Ok(record) => record.clone(),
            Err(_) => self.record(),
        }
    }

    /// Wait until it is otherwise than this: more runs are over, or it is in another state.
    pub async fn changed(&self, since: &ExperimentRecord) -> Arc<ExperimentRecord> {
        let mut records = self.known.follow();
        let other = |record: &Arc<ExperimentRecord>| {
            record.progress.done != since.progress.done || record.status != since.status
        };
        match records.wait_for(other).await {
            Ok(record) => record.clone(),
            Err(_) => self.record(),
        }
    }

    /// Its runs from this number on, `limit` of them at most, each with what it has come to, where it is over.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn runs(
        &self,
        from: usize,
        limit: usize,
    ) -> Result<Vec<(Run, Option<RunResult>)>, SimulationError> {
        let runs = self.host.inner.worlds.runs(&self.known, from, limit).await;
        runs.map_err(SimulationError::Store)
    }
}

fn invalid(field: &str, problem: String) -> SimulationError {
    SimulationError::Invalid { field: field.to_owned(), problem }
}

/// What is wrong with a world, or with the experiment around it.
fn of_experiment(error: SpecError) -> SimulationError {
    match error {
        SpecError::Invalid { field, problem }
            if field == "replicates" || field.starts_with("parameters") =>
        {
            SimulationError::Invalid { field, problem }
        }
        error => error.into(),
    }
}

/// Whether the values of parameters are small enough to be told with each run.
fn check_values(experiment: &Experiment) -> Result<(), SimulationError> {
    let (mut all, mut of_run) = (0, 0);
    for values in experiment.parameters.values() {
        let Values::List(values) = values else { continue };
        let bytes = |value| serde_json::to_vec(value).map_or(0, |text| text.len());
        let bytes: Vec<usize> = values.iter().map(bytes).collect();
        all += bytes.iter().sum::<usize>();
        of_run += bytes.iter().max().copied().unwrap_or(0);
    }
    if of_run > MAX_OF_RUN || all > MAX_VALUES {
        let problem = format!(
            "the values of a run have {MAX_OF_RUN} bytes at most, and those of all parameters {MAX_VALUES}"
        );
        return Err(invalid("parameters", problem));
    }
    Ok(())
}

fn check_budget(budget: Budget) -> Result<(), SimulationError> {
    if budget.usd.is_some_and(|usd| NanoUsd::from_usd(usd).is_none()) {
        return Err(invalid("budget.usd", "an amount of US dollars is 0 or more".to_owned()));
    }
    Ok(())
}

/// The world of the first run. It makes sense, and so do as many others as are tried: where combinations are listed, these; else each
/// value of a parameter where the others have their first.
fn tried(plan: &Plan) -> Result<WorldSpec, SpecError> {
    let Plan { spec, experiment } = plan;
    let first = experiment.run(0);
    let world = experiment.world(spec, &first)?;
    let bytes = serde_json::to_vec(&world).map_or(0, |text| text.len()).max(1);
    let many = TRIED.min(TRIED_BYTES / bytes);
    match experiment.design {
        Design::List => {
            let replicates = experiment.replicates.max(1) as usize;
            for number in (0..experiment.count()?).step_by(replicates).skip(1).take(many) {
                experiment.world(spec, &experiment.run(number))?;
            }
        }
        Design::Full => {
            let others = experiment.parameters.values().enumerate().flat_map(|(place, values)| {
                (1..values.len()).map(move |number| (place, values.value(number)))
            });
            for (place, value) in others.take(many) {
                let mut run = first.clone();
                run.values[place] = value;
                experiment.world(spec, &run)?;
            }
        }
    }
    Ok(world)
}

/// The names of all agents that runs have, each with the place of its role.
fn agents_of(plan: &Plan) -> impl Iterator<Item = (usize, String)> {
    let Plan { spec, experiment } = plan;
    spec.members.iter().enumerate().flat_map(|(place, members)| {
        let varied = experiment.parameters.get(&format!("{}.agent", members.role));
        let values = varied.into_iter().flat_map(Values::iter);
        let values = values.filter_map(|value| value.as_str().map(str::to_owned));
        let own = varied.is_none().then(|| members.agent.clone());
        own.into_iter().chain(values).map(move |agent| (place, agent))
    })
}
