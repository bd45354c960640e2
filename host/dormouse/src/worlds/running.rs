//! The task that takes a world through its ticks.
//!
//! It writes about once a second what has come of the world since, and now and then a keyframe; neither does a tick wait for. What
//! a crash cuts off is run again. It takes one order: to stand still. Whoever wants anything else of a world lets it stand still,
//! and starts it again.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::keeping::ReadyToGoOn;
use super::record::{KeyframeRecord, LoggedTick, SimulationRecord, encode_calls, encode_ticks};
use super::{Ending, KnownWorld, OrderError, WorldModels, Worlds};
use dormouse_base::clock::Clock;
use dormouse_domain::id::WorldPartId;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::simulation::{CallPlace, PauseCause, SimulationStatus};
use dormouse_domain::time::Timestamp;
use dormouse_sandbox::Fault;
use dormouse_simulation::spec::{Deed, ProgramStep};
use dormouse_simulation::{Keyframe, RecordedCall, TickSummary, World, WorldError};
use dormouse_store::{StoreError, WorldRow};

/// How often the log of a world is written.
const INTERVAL: Duration = Duration::from_secs(1);
/// As many ticks are written at once at most.
const BATCH: usize = 4 << 10;
/// A keyframe is taken where the last one has taken less than this part of the time since.
const KEYFRAME_SHARE: u32 = 20;
/// The most that the keyframes of a world take, in bytes, the newest apart.
const KEYFRAME_BYTES: u64 = 1 << 30;
/// How much the worlds of an owner may have in the store, in bytes, so that another keyframe of one is kept,
const KEYFRAMES_BELOW: u64 = 8 << 30;
/// and so that one goes on.
const GOES_ON_BELOW: u64 = 16 << 30;
/// How long a tick may go on once its world is to stand still. Behind that it is given up, and run again another time.
const GRACE: Duration = Duration::from_secs(5);
/// The same, where a language model is asked: what it answers is paid for.
const CALL_GRACE: Duration = Duration::from_secs(120);
/// The same, where the host shuts down.
const SUSPEND_GRACE: Duration = Duration::from_secs(10);

/// Takes one world through its ticks.
pub(super) struct Task {
    worlds: Arc<Worlds>,
    known: Arc<KnownWorld>,
    /// The record, with what has come of the world since it was written.
    record: SimulationRecord,
    ending: watch::Receiver<Ending>,
    /// The ticks that the log does not have,
    batch: Vec<LoggedTick>,
    /// and what members have asked language models in these.
    calls: Vec<RecordedCall>,
    /// Who answers for language models, once the world is made.
    models: Option<Arc<WorldModels>>,
    /// What calls have cost that were made in a tick before it was run to its end, and of which nothing has come yet.
    open: BTreeMap<CallPlace, NanoUsd>,
    /// Those of which nothing will.
    stale: Vec<CallPlace>,
    /// By the monotonic clock: when it began, when its log was written last, and when the next keyframe is due.
    begun: Duration,
    written: Duration,
    keyframe_due: Duration,
    /// How long it had run before, in milliseconds.
    ran_ms: u64,
    writing: Option<AbortOnDropHandle<Result<(), StoreError>>>,
}

/// Why a world stands still.
enum End {
    /// It is in this state, for this reason.
    Status(SimulationStatus, Option<String>),
    /// Its host ends.
    Suspended,
    /// What has come of it cannot be kept: it is where its log ends.
    Unwritten(StoreError),
}

impl End {
    fn paused(cause: PauseCause, why: impl Into<String>) -> End {
        End::Status(SimulationStatus::Paused(cause), Some(why.into()))
    }

    fn asked_for(ending: Ending) -> Option<End> {
        match ending {
            Ending::None => None,
            Ending::Pause => {
                Some(End::Status(SimulationStatus::Paused(PauseCause::Requested), None))
            }
            Ending::Suspend => Some(End::Suspended),
            Ending::Remove => {
                Some(End::Status(SimulationStatus::Paused(PauseCause::Requested), None))
            }
        }
    }
}

impl Task {
    pub(super) fn new(
        worlds: Arc<Worlds>,
        known: Arc<KnownWorld>,
        ending: watch::Receiver<Ending>,
    ) -> Task {
        let (record, now) = (known.record().as_ref().clone(), worlds.clock.monotonic());
        Task {
            ending,
            batch: Vec::new(),
            calls: Vec::new(),
            models: None,
            open: BTreeMap::new(),
            stale: Vec::new(),
            begun: now,
            written: now,
            keyframe_due: now + INTERVAL,
            ran_ms: record.progress.wall_ms,
            writing: None,
            worlds,
            known,
            record,
        }
    }

    pub(super) async fn run(mut self) {
        let end = match self.make().await {
            Ok(mut world) => {
                world.limit_fuel(self.record.budget.fuel);
                match self.go_on(&mut world).await {
                    Ok(end) => self.take_leave(world, end).await,
                    // In the middle of a tick it is of no use any more.
                    Err(end) => end,
                }
            }
            Err(end) => end,
        };
        self.conclude(end).await;
    }

    /// Make the world, unless it is to stand still before it is there.
    async fn make(&mut self) -> Result<World, End> {
        let (worlds, known) = (self.worlds.clone(), self.known.clone());
        let record = self.record.clone();
        let made = async { Ok(worlds.make_to_go_on(&known, &record).await) };
        let made = self.within(made, Duration::ZERO, true).await?;
        let ReadyToGoOn { world, models, open } = made.map_err(|error| match error {
            OrderError::World(error) => self.failure(&error),
            OrderError::Store(error) => End::paused(PauseCause::Host, error.to_string()),
            error => End::Status(SimulationStatus::Failed, Some(error.to_string())),
        })?;
        (self.models, self.open) = (Some(models), open);
        Ok(world)
    }

    /// Go on until something ends it: between two ticks, or in the middle of one (`Err`).
    async fn go_on(&mut self, world: &mut World) -> Result<End, End> {
        loop {
            if let Some(end) = End::asked_for(*self.ending.borrow()) {
                return Ok(end);
            }
            if world.ticks() >= self.record.planned {
                return Ok(End::Status(SimulationStatus::Completed, None));
            }
            if let Some(end) = self.pause_due(world) {
                return Ok(end);
            }
            let summary = self.within(world.tick(), GRACE, true).await?;
            self.note(world, summary);
            self.write_what_is_due(world).await?;
            if self.writing.as_ref().is_some_and(AbortOnDropHandle::is_finished) {
                self.wait_until_written().await?;
            }
        }
    }

    fn pause_due(&self, world: &World) -> Option<End> {
        let (at, budget) = (world.ticks(), self.record.budget);
        if self.record.until.is_some_and(|until| at >= until) {
            return Some(End::Status(SimulationStatus::Paused(PauseCause::Stepped), None));
        }
        let pauses = |step: &ProgramStep| step.at == at && step.deed == Deed::Pause;
        if self.record.passed != Some(at) && world.spec().program.iter().any(pauses) {
            return Some(End::Status(SimulationStatus::Paused(PauseCause::Program), None));
        }
        if budget.fuel.is_some_and(|fuel| world.fuel() >= fuel) {
            return Some(self.out_of_fuel());
        }
        budget.wall_ms.filter(|wall| self.wall_ms() >= *wall).map(|_| self.out_of_time())
    }

    fn out_of_fuel(&self) -> End {
        let fuel = self.record.budget.fuel.unwrap_or_default();
        let why = format!(
            "it has used the {fuel} units of fuel of its budget; give it more, and resume it"
        );
        End::paused(PauseCause::Fuel, why)
    }

    fn out_of_time(&self) -> End {
        End::paused(PauseCause::WallTime, self.out_of_time_why())
    }

    fn out_of_time_why(&self) -> String {
        let wall = self.record.budget.wall_ms.unwrap_or_default();
        format!("it has run for the {wall} ms of its budget; give it more, and resume it")
    }

    /// What it means that the world does not go on.
    fn failure(&self, error: &WorldError) -> End {
        if let Some((cause, why)) = self.models.as_ref().and_then(|models| models.stopped())
            && error.is_of_host()
        {
            let asked = End::asked_for(*self.ending.borrow());
            return asked.unwrap_or_else(|| End::paused(cause, why));
        }
        match error {
            WorldError::Failed { fault: Fault::FuelExhausted, .. }
                if self.record.budget.fuel.is_some() =>
            {
                self.out_of_fuel()
            }
            error if error.is_of_host() => End::paused(PauseCause::Host, error.to_string()),
            error => End::Status(SimulationStatus::Failed, Some(error.to_string())),
        }
    }

    /// Do this, unless the world is to stand still and it takes longer than this from there on, or it takes longer than the
    /// budget has time where that `counts`.
    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, WorldError>>,
        grace: Duration,
        counts: bool,
    ) -> Result<T, End> {
        let clock = self.worlds.clock.clone();
        let wall = self.record.budget.wall_ms.filter(|_| counts);
        let left = wall.map(|wall| Duration::from_millis(wall.saturating_sub(self.wall_ms())));
        let mut ending = self.ending.clone();
        let ended = async {
            let mut now = Ending::None;
            loop {
                let rests = async {
                    match now {
                        Ending::None => std::future::pending().await,
                        Ending::Remove => {}
                        Ending::Pause | Ending::Suspend => {
                            self.let_calls_end(now, &clock).await;
                            wait(&clock, Some(grace)).await;
                        }
                    }
                };
                tokio::select! {
                    biased;
                    // The sender lives as long as the task.
                    asked = ending.wait_for(|ending| *ending > now) => {
                        now = asked.map_or(Ending::Suspend, |asked| *asked);
                    }
                    () = rests => return End::asked_for(now).unwrap_or(End::Suspended),
                }
            }
        };
        let out_of_time = async {
            wait(&clock, left).await;
            if let Some(models) = &self.models {
                models.stop(PauseCause::WallTime, self.out_of_time_why());
                self.let_calls_end(Ending::Pause, &clock).await;
            }
        };
        tokio::select! {
            biased;
            done = work => done.map_err(|error| self.failure(&error)),
            end = pin!(ended) => Err(end),
            () = pin!(out_of_time) => Err(self.out_of_time()),
        }
    }

    /// The world is to stand still: no call of a language model is made any more, and those under way have time to be answered,
    /// because they are paid for.
    async fn let_calls_end(&self, ending: Ending, clock: &Clock) {
        let Some(models) = &self.models else { return };
        models.stop(PauseCause::Requested, "the simulation is to stand still");
        let grace = if ending == Ending::Pause { CALL_GRACE } else { SUSPEND_GRACE };
        tokio::select! {
            biased;
            () = models.at_rest() => {}
            () = wait(clock, Some(grace)) => {}
        }
    }

    fn note(&mut self, world: &World, summary: TickSummary) {
        self.batch.push(LoggedTick::from(&summary));
        let progress = &mut self.record.progress;
        progress.calls.note(&summary.calls);
        for call in summary.calls.iter().filter(|call| call.is_own) {
            self.open.remove(&call.place);
        }
        // What else was begun in this tick before has come to nothing.
        let later = CallPlace { at: summary.at + 1, role: 0, member: 0, number: 0 };
        let later = self.open.split_off(&later);
        for (place, cost) in std::mem::replace(&mut self.open, later) {
            progress.calls.note_lost(cost);
            self.stale.push(place);
        }
        self.calls.extend(summary.calls);
        progress.ticks = world.ticks();
        progress.steps = world.steps();
        progress.fuel = world.fuel();
        progress.hash = summary.hash;
    }

    fn wall_ms(&self) -> u64 {
        let ran = self.worlds.clock.monotonic().saturating_sub(self.begun);
        self.ran_ms.saturating_add(u64::try_from(ran.as_millis()).unwrap_or(u64::MAX))
    }

    /// Write the log where it is time to, and with it a keyframe.
    async fn write_what_is_due(&mut self, world: &mut World) -> Result<(), End> {
        let now = self.worlds.clock.monotonic();
        if now < self.written + INTERVAL && self.batch.len() < BATCH {
            return Ok(());
        }
        let owned = self.worlds.bytes_of(&self.known.owner);
        if owned >= GOES_ON_BELOW {
            let why =
                format!("all simulations of its owner together have {owned} bytes; delete some");
            return Err(End::paused(PauseCause::Host, why));
        }
        let keyframe = if now >= self.keyframe_due && owned < KEYFRAMES_BELOW {
            self.keyframe(world, true).await?
        } else {
            None
        };
        self.write(keyframe).await
    }

    /// All that the world goes on from. `None`: the host has no memory for it, or its state cannot be saved now.
    async fn keyframe(&mut self, world: &mut World, counts: bool) -> Result<Option<Keyframe>, End> {
        let clock = self.worlds.clock.clone();
        let begun = clock.monotonic();
        let taken = async {
            match world.keyframe().await {
                Err(WorldError::OutOfMemory { needed }) => {
                    tracing::warn!(simulation = %self.known.id, needed, "no memory for a keyframe");
                    Ok(None)
                }
                taken => taken,
            }
        };
        let taken = self.within(taken, GRACE, counts).await?;
        let now = clock.monotonic();
        let share = now.saturating_sub(begun).saturating_mul(KEYFRAME_SHARE);
        self.keyframe_due = now + share.max(INTERVAL);
        Ok(taken)
    }

    /// Begin to write what has come of the world since the log was written last. What is written before is waited for.
    async fn write(&mut self, keyframe: Option<Keyframe>) -> Result<(), End> {
        self.wait_until_written().await?;
        self.record.progress.wall_ms = self.wall_ms();
        self.written = self.worlds.clock.monotonic();
        let ticks = std::mem::take(&mut self.batch);
        let mut rows = Vec::new();
        if !ticks.is_empty() {
            let (last, piece) = (self.record.progress.ticks - 1, encode_ticks(&ticks));
            self.record.log_bytes += piece.len() as u64;
            rows.push((WorldRow::Ticks(self.known.id, last), Some(piece)));
            let stale = std::mem::take(&mut self.stale);
            rows.extend(
                stale.into_iter().map(|place| (WorldRow::Call(self.known.id, place), None)),
            );
            let calls = std::mem::take(&mut self.calls);
            if !calls.is_empty() {
                let piece = encode_calls(&calls);
                self.record.log_bytes += piece.len() as u64;
                rows.push((WorldRow::Calls(self.known.id, last), Some(piece)));
                // What was noted of each is in the log now.
                let own = calls.iter().filter(|call| call.is_own);
                rows.extend(own.map(|call| (WorldRow::Call(self.known.id, call.place), None)));
            }
        }
        let mut charge = None;
        if let Some(Keyframe { bytes, charge: own }) = keyframe {
            let (at, part) = (self.record.progress.ticks, WorldPartId(self.worlds.clock.new_id()));
            let size = bytes.len() as u64;
            self.record.keyframes.push(KeyframeRecord { at, part, bytes: size });
            thin(&mut self.record.keyframes);
            rows.push((WorldRow::Part(part), Some(Bytes::from(bytes))));
            charge = Some(own);
        }
        let (worlds, known) = (self.worlds.clone(), self.known.clone());
        let record = self.record.clone();
        self.writing = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let _charge = charge;
            worlds.keep(&known, record, rows).await
        })));
        Ok(())
    }

    /// What is written is kept. Where it is not, nothing that came behind it may be.
    async fn wait_until_written(&mut self) -> Result<(), End> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let written = writing.await;
        let written = written.unwrap_or_else(|error| Err(StoreError::Io(error.to_string().into())));
        written.map_err(End::Unwritten)
    }

    /// What is kept of a world that stands between two ticks: a keyframe, and at its end its fingerprint.
    async fn take_leave(&mut self, mut world: World, end: End) -> End {
        if let End::Status(SimulationStatus::Completed, _) = end {
            match self.within(world.fingerprint(), GRACE, true).await {
                Ok(fingerprint) => self.record.fingerprint = Some(fingerprint),
                Err(end) => return end,
            }
        }
        let at = world.ticks();
        if at == 0 || self.record.keyframes.last().is_some_and(|last| last.at >= at) {
            return end;
        }
        let Ok(keyframe) = self.keyframe(&mut world, false).await else {
            // It goes on from an earlier one.
            return end;
        };
        // Others may have its places from here on.
        drop(world);
        // So that a keyframe that cannot be kept takes nothing else along.
        let without = self.record.keyframes.clone();
        if let Err(end) = self.write(None).await {
            return end;
        }
        if let Err(end) = self.write(keyframe).await {
            return end;
        }
        match self.wait_until_written().await {
            Err(End::Unwritten(error)) if !matches!(error, StoreError::Unknown(_)) => {
                tracing::warn!(simulation = %self.known.id, %error, "a keyframe is not kept");
                self.record.keyframes = without;
                end
            }
            Err(end) => end,
            Ok(()) => end,
        }
    }

    /// Write the end of it, and tell everybody.
    async fn conclude(mut self, end: End) {
        let written = self.wait_until_written().await;
        let end = match (written, end) {
            (Err(unwritten), _) => unwritten,
            (Ok(()), end) => end,
        };
        let now = self.worlds.clock.now();
        let end = match end {
            End::Status(status, reason) => {
                self.record.passed = match status {
                    SimulationStatus::Paused(PauseCause::Program) => {
                        Some(self.record.progress.ticks)
                    }
                    _ => self.record.passed,
                };
                (self.record.status, self.record.reason) = (status, reason);
                self.record.changed_at = now;
                self.write_all().await
            }
            End::Suspended => match self.write_all().await {
                // It goes on after the next start; until then nobody waits for it.
                Ok(()) => Err(End::paused(PauseCause::Host, "the host is shutting down")),
                unwritten => unwritten,
            },
            unwritten @ End::Unwritten(_) => Err(unwritten),
        };
        let reason = match end {
            Ok(()) => return,
            Err(End::Unwritten(error)) => {
                tracing::error!(simulation = %self.known.id, %error, "what came of a simulation is not kept");
                error.to_string()
            }
            Err(End::Status(_, reason)) => reason.unwrap_or_default(),
            Err(End::Suspended) => String::new(),
        };
        // What is there is what the store has.
        self.known.stand_still(reason, now);
    }

    async fn write_all(&mut self) -> Result<(), End> {
        self.write(None).await?;
        self.wait_until_written().await
    }
}

/// Wait for so long, or for ever.
async fn wait(clock: &Clock, time: Option<Duration>) {
    match time {
        Some(time) => {
            let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
            clock.sleep_until(Timestamp(clock.now().0.saturating_add(ms))).await;
        }
        None => std::future::pending().await,
    }
}

/// Keep the two newest, and of those before them such that the distances double: so whoever goes back far runs no more ticks again
/// than lie behind. All together take no more than they may.
fn thin(keyframes: &mut Vec<KeyframeRecord>) {
    let Some(newest) = keyframes.last().map(|last| last.at) else { return };
    for place in (1..keyframes.len().saturating_sub(2)).rev() {
        let (older, newer) = (keyframes[place - 1].at, keyframes[place + 1].at);
        if newer - older <= newest - newer {
            keyframes.remove(place);
        }
    }
    let mut bytes: u64 = keyframes.iter().map(|own| own.bytes).sum();
    while bytes > KEYFRAME_BYTES && keyframes.len() > 1 {
        bytes -= keyframes.remove(0).bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_domain::simulation::Tick;
    use uuid::Uuid;

    #[test]
    fn keyframes_are_thinned_so_that_none_is_far_from_any_tick() {
        let mut keyframes = Vec::new();
        for at in 1..=10_000 {
            let part = WorldPartId(Uuid::from_u128(at));
            let at = u64::try_from(at).expect("it is small");
            keyframes.push(KeyframeRecord { at, part, bytes: 1 << 20 });
            thin(&mut keyframes);
            for pair in keyframes.windows(2) {
                assert!(pair[1].at - pair[0].at <= (at - pair[0].at).max(1), "{pair:?} at {at}");
            }
        }
        let all: Vec<Tick> = keyframes.iter().map(|own| own.at).collect();
        assert!(all.len() < 40, "{all:?}");
        assert_eq!((all[0], all[all.len() - 2..].to_vec()), (1, vec![9_999, 10_000]));

        let part = WorldPartId(Uuid::from_u128(0));
        keyframes.push(KeyframeRecord { at: 10_001, part, bytes: KEYFRAME_BYTES });
        thin(&mut keyframes);
        assert_eq!(keyframes.iter().map(|own| own.at).collect::<Vec<_>>(), [10_001]);
    }
}
