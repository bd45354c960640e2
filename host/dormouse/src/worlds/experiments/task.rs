//! The task that takes an experiment through its runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;

use super::record::{PIECE, RunResult, encode_results, piece_of};
use super::{ExperimentProgress, ExperimentRecord, KnownExperiment, Plan};
use crate::worlds::{Ending, KnownWorld, NewWorld, OrderError, SimulationRecord, Worlds, held};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::simulation::{PauseCause, SimulationStatus};
use dormouse_simulation::spec::Budget;
use dormouse_store::{StoreError, WorldRow};

/// How many times as much as its kept form a plan takes in memory.
const PLAN_IN_MEMORY: u64 = 4;
/// The most characters of what is told of a run that has come to nothing.
const MAX_ERROR: usize = 1_000;

/// Takes one experiment through its runs.
pub(super) struct Task {
    worlds: Arc<Worlds>,
    known: Arc<KnownExperiment>,
    record: ExperimentRecord,
    ending: watch::Receiver<Ending>,
    /// Which runs are over.
    done: Vec<bool>,
    /// The results of pieces of which some runs are over, and some are not.
    open: BTreeMap<usize, Vec<RunResult>>,
    /// Behind all runs that were begun.
    next: usize,
    /// Runs that were begun, and do not go on.
    waiting: BTreeSet<usize>,
    /// Runs that go on, each with its world and what this may use.
    active: BTreeMap<usize, (Arc<KnownWorld>, Budget)>,
    /// How many go on at a time.
    at_once: usize,
}

/// Why an experiment stands still.
enum End {
    /// It is in this state, for this reason.
    Status(SimulationStatus, Option<String>),
    /// Its host ends, or it is removed: nothing is written.
    Suspended,
    /// Nobody knows what the store has.
    Unwritten(StoreError),
}

impl End {
    fn paused(cause: PauseCause, why: impl Into<String>) -> End {
        End::Status(SimulationStatus::Paused(cause), Some(why.into()))
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> End {
        match error {
            StoreError::Unknown(_) => End::Unwritten(error),
            error => End::paused(PauseCause::Host, error.to_string()),
        }
    }
}

/// The number of a run, and how its world stands still.
type AtRest = (usize, Arc<SimulationRecord>);

impl Task {
    pub(super) fn new(
        worlds: Arc<Worlds>,
        known: Arc<KnownExperiment>,
        ending: watch::Receiver<Ending>,
    ) -> Task {
        Task {
            record: known.record().as_ref().clone(),
            at_once: worlds.places.threads.max(1),
            worlds,
            known,
            ending,
            done: Vec::new(),
            open: BTreeMap::new(),
            next: 0,
            waiting: BTreeSet::new(),
            active: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let end = match self.go_on().await {
            Ok(()) => End::Status(SimulationStatus::Completed, None),
            Err(end) => end,
        };
        let (status, reason) = match end {
            End::Status(status, reason) => (status, reason),
            End::Suspended => return,
            End::Unwritten(error) => {
                // What is there is what the store has: nothing is written over it.
                tracing::error!(experiment = %self.known.id, %error, "what came of an experiment is not kept");
                self.worlds.pause_worlds_of(self.known.id).await;
                self.known.stand_still(&error.to_string(), self.worlds.clock.now());
                return;
            }
        };
        self.worlds.pause_worlds_of(self.known.id).await;
        (self.record.status, self.record.reason) = (status, reason);
        self.record.changed_at = self.worlds.clock.now();
        let kept = self.worlds.keep_experiment(&self.known, self.record.clone(), Vec::new()).await;
        if let Err(error) = kept {
            tracing::error!(experiment = %self.known.id, %error, "the end of an experiment is not kept");
            self.known.stand_still(&error.to_string(), self.worlds.clock.now());
        }
    }

    /// Take it through its runs, until all are over.
    async fn go_on(&mut self) -> Result<(), End> {
        let kept = self.worlds.part(self.record.plan).await?;
        // What is read takes a few times as much as what is kept of it.
        let mut account = self.worlds.places.memory.account();
        account
            .charge(PLAN_IN_MEMORY * kept.len() as u64)
            .map_err(|error| End::paused(PauseCause::Host, error.to_string()))?;
        let plan = Worlds::plan(&self.record, &kept)?;
        drop(kept);
        self.read_results().await?;
        let mut going_on: FuturesUnordered<BoxFuture<'static, AtRest>> = FuturesUnordered::new();
        for (number, world) in self.worlds.worlds_of(self.known.id) {
            let record = world.record();
            if self.done.get(number).is_none_or(|done| *done) {
                // A host has ended before it was removed.
                self.remove(&world).await;
            } else if record.status == SimulationStatus::Running {
                // It has gone on by itself since the host was started.
                self.active.insert(number, (world.clone(), record.budget));
                going_on.push(Box::pin(at_rest(number, world)));
            } else {
                self.waiting.insert(number);
            }
        }
        loop {
            while self.active.len() < self.at_once
                && *self.ending.borrow() == Ending::None
                && let Some(number) = self.next_run()
            {
                match self.begin(&plan, number).await? {
                    Begun::GoesOn(world) => going_on.push(Box::pin(at_rest(number, world))),
                    Begun::Waits => break,
                    // Others want the thread, too, however many come to nothing.
                    Begun::Over => tokio::task::yield_now().await,
                }
            }
            let mut ending = self.ending.clone();
            let ended = async {
                let asked = ending.wait_for(|ending| *ending > Ending::None).await;
                asked.map_or(Ending::Suspend, |asked| *asked)
            };
            let rests = tokio::select! {
                biased;
                asked = ended => Err(asked),
                rests = going_on.next() => Ok(rests),
            };
            match rests {
                Ok(Some((number, record))) => self.take(number, &record).await?,
                Ok(None) => return Ok(()),
                Err(Ending::Pause) => {
                    return Err(End::Status(SimulationStatus::Paused(PauseCause::Requested), None));
                }
                Err(Ending::None | Ending::Suspend | Ending::Remove) => return Err(End::Suspended),
            }
        }
    }

    /// What was written before.
    async fn read_results(&mut self) -> Result<(), End> {
        self.done = vec![false; self.record.planned];
        let mut progress = ExperimentProgress::default();
        for piece in 0..self.record.planned.div_ceil(PIECE) {
            let results = self.worlds.results(self.known.id, piece).await?;
            for result in &results {
                if let Some(done) = self.done.get_mut(result.number as usize) {
                    *done = true;
                    progress.note(result);
                }
            }
            self.note_piece(piece, results);
        }
        self.record.progress = progress;
        Ok(())
    }

    /// These are the results of a piece now. One of which all runs are over is not needed any more.
    fn note_piece(&mut self, piece: usize, results: Vec<RunResult>) {
        let runs = PIECE.min(self.record.planned - piece * PIECE);
        if !results.is_empty() && results.len() < runs {
            self.open.insert(piece, results);
        }
    }

    /// The next run that is not over and does not go on.
    fn next_run(&mut self) -> Option<usize> {
        if let Some(number) = self.waiting.pop_first() {
            return Some(number);
        }
        let is_free = |number: &usize| !self.done[*number] && !self.active.contains_key(number);
        let number = (self.next..self.done.len()).find(is_free)?;
        self.next = number + 1;
        Some(number)
    }

    /// Let the world of a run go on, which is made where there is none.
    async fn begin(&mut self, plan: &Plan, number: usize) -> Result<Begun, End> {
        let there = self.worlds.worlds_of(self.known.id).remove(&number);
        let run = plan.experiment.run(number);
        let spec = match plan.experiment.world(&plan.spec, &run) {
            Ok(spec) => spec,
            Err(error) => {
                let failed = RunResult { error: Some(error.to_string()), ..nothing(number) };
                self.note(failed).await?;
                return Ok(Begun::Over);
            }
        };
        let before = there.as_ref().map(|world| world.record().budget);
        let budget = match self.granted(number, spec.budget, before) {
            Ok(budget) => budget,
            Err(_) if !self.active.is_empty() => {
                // Those that go on may leave something.
                self.waiting.insert(number);
                return Ok(Begun::Waits);
            }
            Err(cause) => {
                let why = "its runs have used what its budget has; give it more, and resume it";
                return Err(End::paused(cause, why));
            }
        };
        let world = match there {
            Some(world) => world,
            None => match self.create(number, spec).await {
                Ok(world) => world,
                Err(error) => return self.not_begun(number, error).await,
            },
        };
        let budget = match self.worlds.start(&world, Some(budget), None).await {
            Ok(()) => budget,
            // It goes on already, or is over.
            Err(OrderError::Status(_)) => world.record().budget,
            Err(error) => return self.not_begun(number, error).await,
        };
        self.active.insert(number, (world.clone(), budget));
        Ok(Begun::GoesOn(world))
    }

    async fn create(
        &self,
        number: usize,
        mut spec: dormouse_simulation::WorldSpec,
    ) -> Result<Arc<KnownWorld>, OrderError> {
        let agents = &self.record.agents;
        let made_of = spec.members.iter().map(|own| agents.get(&own.agent).copied());
        // All names were looked up when the experiment was made.
        let made_of = made_of.collect::<Option<Vec<_>>>().ok_or(OrderError::Gone)?;
        let name = if self.record.name.is_empty() { &spec.name } else { &self.record.name };
        spec.name = format!("{name} #{number}");
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let new = NewWorld {
            owner: self.record.owner.clone(),
            spec,
            made_of,
            // The experiment keeps them.
            components: BTreeMap::new(),
            run_of: Some((self.known.id, number)),
        };
        self.worlds.create(new).await
    }

    /// The world of a run was not made, or does not go on.
    async fn not_begun(&mut self, number: usize, error: OrderError) -> Result<Begun, End> {
        match error {
            OrderError::Closing => Err(End::Suspended),
            OrderError::Store(error) => Err(error.into()),
            OrderError::TooMany if !self.active.is_empty() => {
                self.waiting.insert(number);
                Ok(Begun::Waits)
            }
            error @ OrderError::TooMany => Err(End::paused(PauseCause::Host, error.to_string())),
            error => {
                let failed = RunResult { error: Some(error.to_string()), ..nothing(number) };
                self.note(failed).await?;
                Ok(Begun::Over)
            }
        }
    }

    /// What the world of a run may use of what is left: at most what its specification says, or what somebody has given it
    /// meanwhile.
    ///
    /// # Errors
    /// What there is nothing left of.
    fn granted(
        &self,
        number: usize,
        spec: Budget,
        before: Option<Budget>,
    ) -> Result<Budget, PauseCause> {
        let (all, done) = (self.record.budget, self.record.progress);
        // What each other run holds: what it may use, where it goes on, and no less than it has used.
        let others = self.worlds.worlds_of(self.known.id);
        let others: Vec<(Budget, Budget)> = others
            .iter()
            .filter(|(other, _)| **other != number)
            .map(|(other, world)| {
                let granted = self.active.get(other).map(|(_, budget)| *budget);
                (granted.unwrap_or_default(), used_by(world))
            })
            .collect();
        let least = |wanted: Option<u64>, given: Option<u64>| match (wanted, given) {
            (Some(wanted), Some(given)) => Some(wanted.max(given)),
            (wanted, _) => wanted,
        };
        let of = |wanted: Option<u64>, all: Option<u64>, used: u64, taken: u64, cause| {
            let Some(all) = all else { return Ok(wanted) };
            let left = all.saturating_sub(used).saturating_sub(taken);
            if left == 0 {
                return Err(cause);
            }
            Ok(Some(wanted.map_or(left, |wanted| wanted.min(left))))
        };
        let sum = |of: fn(&Budget) -> Option<u64>| {
            let held = others.iter().map(|(granted, used)| of(granted).max(of(used)).unwrap_or(0));
            held.fold(0, u64::saturating_add)
        };
        let (before, calls) = (before.unwrap_or_default(), done.calls);
        let usd = of(
            least(nano(spec.usd), nano(before.usd)),
            nano(all.usd),
            u64::try_from(calls.nano_usd).unwrap_or(0),
            sum(|own| nano(own.usd)),
            PauseCause::Money,
        )?;
        Ok(Budget {
            usd: usd.map(|usd| NanoUsd(i64::try_from(usd).unwrap_or(i64::MAX)).as_usd()),
            tokens: of(
                least(spec.tokens, before.tokens),
                all.tokens,
                calls.tokens,
                sum(|own| own.tokens),
                PauseCause::Tokens,
            )?,
            fuel: of(
                least(spec.fuel, before.fuel),
                all.fuel,
                done.fuel,
                sum(|own| own.fuel),
                PauseCause::Fuel,
            )?,
            wall_ms: of(
                least(spec.wall_ms, before.wall_ms),
                all.wall_ms,
                done.wall_ms,
                sum(|own| own.wall_ms),
                PauseCause::WallTime,
            )?,
        })
    }

    /// The world of a run stands still.
    async fn take(&mut self, number: usize, record: &SimulationRecord) -> Result<(), End> {
        let Some((world, _)) = self.active.remove(&number) else { return Ok(()) };
        if held(&self.worlds.book).is_closing {
            return Err(End::Suspended);
        }
        let error = match record.status {
            SimulationStatus::Completed => None,
            SimulationStatus::Failed => {
                Some(record.reason.clone().unwrap_or_else(|| "it has failed".to_owned()))
            }
            SimulationStatus::Stopped => Some("it was stopped".to_owned()),
            SimulationStatus::Paused(PauseCause::Host) if !self.active.is_empty() => {
                // There may be room for it once one of the others is over.
                self.at_once = self.active.len();
                self.waiting.insert(number);
                return Ok(());
            }
            SimulationStatus::Paused(_) | SimulationStatus::Created | SimulationStatus::Running => {
                let cause = record.status.pause().unwrap_or(PauseCause::Requested);
                let reason = record.reason.as_deref().unwrap_or("somebody has paused it");
                let why = format!(
                    "run {number}, simulation {}, is paused: {reason}. Where it is the budget of that simulation, start it with more",
                    record.id
                );
                return Err(End::paused(cause, why));
            }
        };
        let last = match record.progress.ticks.checked_sub(1) {
            Some(last) => self.worlds.ticks(record, last, 1).await?,
            None => Vec::new(),
        };
        let mut aggregates = vec![None; self.record.aggregates.len()];
        for (place, value) in last.into_iter().flat_map(|tick| tick.aggregates) {
            if let Some(own) = aggregates.get_mut(place as usize) {
                *own = value;
            }
        }
        let (progress, spent) = (record.progress, world.spent());
        let result = RunResult {
            error,
            ticks: progress.ticks,
            steps: progress.steps,
            aggregates,
            fingerprint: record.fingerprint,
            fuel: progress.fuel,
            wall_ms: progress.wall_ms,
            calls: progress.calls.made,
            tokens: progress.calls.tokens,
            // With what was spent in a tick that has failed.
            nano_usd: progress.calls.nano_usd.max(spent.0),
            ..nothing(number)
        };
        self.note(result).await?;
        // There was room for it.
        self.at_once = (self.at_once + 1).min(self.worlds.places.threads.max(1));
        self.remove(&world).await;
        Ok(())
    }

    /// A run is over, and has come to this.
    async fn note(&mut self, mut result: RunResult) -> Result<(), End> {
        // An error may quote what is wrong.
        result.error = result.error.map(|error| error.chars().take(MAX_ERROR).collect());
        let number = result.number as usize;
        let piece = number / PIECE;
        let mut results = self.open.get(&piece).cloned().unwrap_or_default();
        let mut record = self.record.clone();
        record.progress.note(&result);
        results.push(result);
        results.sort_unstable_by_key(|result| result.number);
        let row = (WorldRow::Part(piece_of(self.known.id, piece)), Some(encode_results(&results)));
        self.worlds.keep_experiment(&self.known, record.clone(), vec![row]).await?;
        self.record = record;
        self.done[number] = true;
        self.open.remove(&piece);
        self.note_piece(piece, results);
        Ok(())
    }

    /// Remove the world of a run that is over. Where that fails, whoever starts the task or the host the next time does it.
    async fn remove(&self, world: &KnownWorld) {
        if let Err(error) = self.worlds.remove(world).await {
            tracing::warn!(simulation = %world.id, %error, "the world of a run is not removed");
        }
    }
}

/// What a run has come to that was to begin.
enum Begun {
    /// Its world goes on.
    GoesOn(Arc<KnownWorld>),
    /// It has nothing to go on with now.
    Waits,
    /// It is over.
    Over,
}

/// Wait until the world of a run stands still.
async fn at_rest(number: usize, world: Arc<KnownWorld>) -> AtRest {
    let mut records = world.follow();
    let rests = |record: &Arc<SimulationRecord>| record.status != SimulationStatus::Running;
    let record = match records.wait_for(rests).await {
        Ok(record) => record.clone(),
        Err(_) => world.record(),
    };
    (number, record)
}

/// The result of a run that was not begun.
fn nothing(number: usize) -> RunResult {
    RunResult {
        number: u32::try_from(number).unwrap_or(u32::MAX),
        error: None,
        ticks: 0,
        steps: 0,
        aggregates: Vec::new(),
        fingerprint: None,
        fuel: 0,
        wall_ms: 0,
        calls: 0,
        tokens: 0,
        nano_usd: 0,
    }
}

/// What a world has used, in all.
fn used_by(world: &KnownWorld) -> Budget {
    let progress = world.record().progress;
    Budget {
        usd: Some(world.spent().as_usd()),
        tokens: Some(progress.calls.tokens),
        fuel: Some(progress.fuel),
        wall_ms: Some(progress.wall_ms),
    }
}

fn nano(usd: Option<f64>) -> Option<u64> {
    u64::try_from(NanoUsd::from_usd(usd?)?.0).ok()
}
