//! The task that takes an experiment through its runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;

use super::record::{PIECE, RunResult, encode_results, piece_of};
use super::{ExperimentRecord, KnownExperiment, Plan};
use crate::worlds::{
    Ending, KnownWorld, NewWorld, OrderError, Progress, SimulationRecord, Worlds, held,
};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::simulation::{PauseCause, SimulationStatus};
use dormouse_simulation::spec::Budget;
use dormouse_store::{StoreError, WorldRow};

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
}

impl End {
    fn paused(cause: PauseCause, why: impl Into<String>) -> End {
        End::Status(SimulationStatus::Paused(cause), Some(why.into()))
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> End {
        End::paused(PauseCause::Host, error.to_string())
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
        let End::Status(status, reason) = end else { return };
        for (world, _) in self.active.values() {
            self.worlds.pause(world).await;
        }
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
        let plan = self.worlds.plan(&self.record).await?;
        self.read_results().await?;
        for (number, world) in self.worlds.worlds_of(self.known.id) {
            if self.done.get(number).is_none_or(|done| *done) {
                // A host has ended before it was removed.
                self.remove(&world).await;
            } else {
                self.waiting.insert(number);
            }
        }
        let mut going_on: FuturesUnordered<BoxFuture<'static, AtRest>> = FuturesUnordered::new();
        loop {
            while self.active.len() < self.at_once
                && let Some(number) = self.next_run()
            {
                match self.begin(&plan, number).await? {
                    Begun::GoesOn(world) => going_on.push(Box::pin(at_rest(number, world))),
                    Begun::Waits => break,
                    Begun::Over => {}
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
        for piece in 0..self.record.planned.div_ceil(PIECE) {
            let results = self.worlds.results(self.known.id, piece).await?;
            for result in &results {
                if let Some(done) = self.done.get_mut(result.number as usize) {
                    *done = true;
                }
            }
            self.note_piece(piece, results);
        }
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
                self.note(failed, Progress::default()).await?;
                return Ok(Begun::Over);
            }
        };
        let before = there.as_ref().map(|world| world.record().budget);
        let budget = match self.granted(spec.budget, before) {
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
        match self.worlds.start(&world, Some(budget), None).await {
            // It goes on already, or is over.
            Ok(()) | Err(OrderError::Status(_)) => {}
            Err(error) => return self.not_begun(number, error).await,
        }
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
            error @ OrderError::TooMany => Err(End::paused(PauseCause::Host, error.to_string())),
            error => {
                let failed = RunResult { error: Some(error.to_string()), ..nothing(number) };
                self.note(failed, Progress::default()).await?;
                Ok(Begun::Over)
            }
        }
    }

    /// What the world of a run may use of what is left: at most what its specification says, or what somebody has given it
    /// meanwhile.
    ///
    /// # Errors
    /// What there is nothing left of.
    fn granted(&self, spec: Budget, before: Option<Budget>) -> Result<Budget, PauseCause> {
        let (all, done) = (self.record.budget, self.record.progress);
        let active = || self.active.values().map(|(_, budget)| *budget);
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
            active().filter_map(|own| of(&own)).fold(0, u64::saturating_add)
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
                let why = format!("run {number}, simulation {}, is paused: {reason}", record.id);
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
        let progress = record.progress;
        let result = RunResult {
            error,
            ticks: progress.ticks,
            steps: progress.steps,
            aggregates,
            fingerprint: record.fingerprint,
            calls: progress.calls.made,
            nano_usd: progress.calls.nano_usd,
            ..nothing(number)
        };
        self.note(result, progress).await?;
        self.remove(&world).await;
        Ok(())
    }

    /// A run is over, and has come to this.
    async fn note(&mut self, result: RunResult, of_run: Progress) -> Result<(), End> {
        let number = result.number as usize;
        let piece = number / PIECE;
        let mut results = self.open.get(&piece).cloned().unwrap_or_default();
        let mut record = self.record.clone();
        let totals = &mut record.progress;
        totals.done += 1;
        totals.failed += usize::from(result.error.is_some());
        totals.steps = totals.steps.saturating_add(of_run.steps);
        totals.fuel = totals.fuel.saturating_add(of_run.fuel);
        totals.wall_ms = totals.wall_ms.saturating_add(of_run.wall_ms);
        totals.calls.add(&of_run.calls);
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

    /// Remove the world of a run that is over. Where that fails it is done when the experiment goes on the next time.
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
        calls: 0,
        nano_usd: 0,
    }
}

fn nano(usd: Option<f64>) -> Option<u64> {
    u64::try_from(NanoUsd::from_usd(usd?)?.0).ok()
}
