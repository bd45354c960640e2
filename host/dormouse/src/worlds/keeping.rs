//! What is kept of worlds, and what is made of it again: their logs, their forks, and worlds that go on.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::models::{SpentBefore, WorldModels};
use super::record::{
    LoggedTick, Progress, SimulationRecord, decode_ticks, encode_calls, encode_ticks,
};
use super::{Columns, Ending, KnownWorld, OrderError, Worlds, content_part, encode_spec, held};
use dormouse_domain::agent::Digest;
use dormouse_domain::id::{Principal, SimulationId, WorldPartId};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::simulation::{CallPlace, PauseCause, SimulationStatus, Tick};
use dormouse_domain::turn::Part;
use dormouse_sandbox::Code;
use dormouse_simulation::spec::{Budget, Deed, ProgramStep};
use dormouse_simulation::{Answers, MadeOf, RecordedCall, World, WorldError, WorldSpec};
use dormouse_store::{Bound, PAGE_BYTES, StoreError, Transaction, WorldRow};

/// Pieces of a log that are read or removed at a time.
const PIECES: usize = 256;
/// Ticks of one piece of the log of a fork.
const PIECE: usize = 4 << 10;

/// The most ticks of all forks that are made at once.
const MAX_FORKED_TICKS: u64 = 50_000_000;

/// Some members of a world, as it was made again.
pub(crate) struct MembersRead {
    /// How many ticks it has behind it.
    pub(crate) ticks: Tick,
    /// How many members of the role there are or were.
    pub(crate) size: u32,
    pub(crate) columns: Columns,
}

/// What members of a world have replied.
pub(crate) struct Surveyed {
    /// How many ticks the world has behind it.
    pub(crate) ticks: Tick,
    /// What each has replied, or why it has not.
    pub(crate) replies: Vec<Result<Vec<Part>, String>>,
    /// What it has cost.
    pub(crate) cost: NanoUsd,
}

/// A world that is to go on.
pub(super) struct ReadyToGoOn {
    pub(super) world: World,
    /// Who answers for language models from there.
    pub(super) models: Arc<WorldModels>,
    /// What calls have cost of the tick that comes next, which was begun before.
    pub(super) open: BTreeMap<CallPlace, NanoUsd>,
}

/// A way that a world goes on from the tick at which it was forked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Branch {
    /// What people call it. Otherwise as the world.
    pub(crate) name: Option<String>,
    /// What is done to it first.
    pub(crate) deeds: Vec<Deed>,
}

impl Worlds {
    /// Something large, which is there as long as a record names it.
    pub(super) async fn part(&self, id: WorldPartId) -> Result<Bytes, StoreError> {
        let missing = || StoreError::Damaged(format!("simulation-part/{id}"));
        self.store.world_part(id).await?.ok_or_else(missing)
    }

    /// The specification of a world, with all that was done to it, and the record that has it.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn spec(
        &self,
        world: &KnownWorld,
    ) -> Result<(Arc<SimulationRecord>, WorldSpec), StoreError> {
        let mut record = world.record();
        loop {
            let read = self.spec_of(&record).await;
            let now = world.record();
            // It may have been replaced meanwhile.
            if read.is_ok() || now.spec == record.spec {
                return Ok((record, read?));
            }
            record = now;
        }
    }

    async fn spec_of(&self, record: &SimulationRecord) -> Result<WorldSpec, StoreError> {
        let kept = self.part(record.spec).await?;
        let damaged = |_| StoreError::Damaged(format!("simulation-part/{}", record.spec));
        serde_json::from_slice(&kept).map_err(damaged)
    }

    /// The component of a population of a world.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn component(&self, digest: Digest) -> Result<Bytes, StoreError> {
        self.part(content_part(digest)).await
    }

    /// The code of a population of a world: that of its agent where the owner still has it.
    async fn code(&self, digest: Digest, owner: &Principal) -> Result<Arc<Code>, OrderError> {
        if let Ok(code) = self.catalog.code(digest, owner).await {
            return Ok(code);
        }
        let component = self.component(digest).await?;
        let prepared = self.sandbox.prepare(component, Some(owner.clone())).await;
        let refused = |refusal: dormouse_sandbox::Refusal| WorldError::Host(refusal.to_string());
        Ok(prepared.map_err(refused)?.code)
    }

    /// What the members of each role of a world are made of.
    async fn made_of(&self, record: &SimulationRecord) -> Result<Vec<MadeOf>, OrderError> {
        let mut made_of = Vec::with_capacity(record.made_of.len());
        for digest in &record.made_of {
            let code = self.code(*digest, &record.owner).await?;
            made_of.push(MadeOf { code, digest: *digest });
        }
        Ok(made_of)
    }

    /// What has come of the ticks of a world from this one on: at most so many of them, and none only behind the last.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn ticks(
        &self,
        record: &SimulationRecord,
        from: Tick,
        limit: usize,
    ) -> Result<Vec<LoggedTick>, StoreError> {
        let bound = Bound { entries: PIECES.min(limit), bytes: PAGE_BYTES };
        let (id, mut ticks) = (record.id, Vec::new());
        let limit = limit
            .min(usize::try_from(record.progress.ticks.saturating_sub(from)).unwrap_or(usize::MAX));
        if limit == 0 {
            return Ok(ticks);
        }
        let damaged = |last: Tick| StoreError::Damaged(format!("simulation/{id}/ticks/{last}"));
        for (last, kept) in self.store.world_ticks(id, from, bound).await?.entries {
            let piece = decode_ticks(&kept).ok_or_else(|| damaged(last))?;
            let next = from + ticks.len() as u64;
            let first = (last + 1).checked_sub(piece.len() as u64).ok_or_else(|| damaged(last))?;
            let known = next.checked_sub(first).ok_or_else(|| damaged(last))?;
            ticks.extend(piece.into_iter().skip(usize::try_from(known).unwrap_or(usize::MAX)));
            if ticks.len() >= limit {
                break;
            }
        }
        if ticks.is_empty() {
            return Err(damaged(from));
        }
        ticks.truncate(limit);
        Ok(ticks)
    }

    /// The world, so that it can go on.
    ///
    /// # Errors
    /// As [`Worlds::make`].
    pub(super) async fn make_to_go_on(
        &self,
        known: &Arc<KnownWorld>,
        record: &SimulationRecord,
    ) -> Result<ReadyToGoOn, OrderError> {
        let (answered, costs) = self.open_calls(record).await?;
        let calls = record.progress.calls;
        let tokens = answered.iter().map(RecordedCall::tokens);
        let tokens = tokens.fold(calls.tokens, u64::saturating_add);
        let before = SpentBefore { cost: calls.cost(), tokens, open: costs.clone() };
        let models = self.models_of(&record.owner, record.budget);
        let models = Arc::new(models.kept(self.store.clone(), known.clone(), before));
        let world = self.make_with(record, &answered, Some(&models)).await?;
        Ok(ReadyToGoOn { world, models, open: costs.into_iter().collect() })
    }

    /// The world as its record says: from the nearest keyframe, and what came behind it anew.
    ///
    /// # Errors
    /// The world cannot be made, or comes to something else than its log says.
    pub(super) async fn make(&self, record: &SimulationRecord) -> Result<World, OrderError> {
        self.make_with(record, &[], None).await
    }

    async fn make_with(
        &self,
        record: &SimulationRecord,
        open: &[RecordedCall],
        models: Option<&Arc<WorldModels>>,
    ) -> Result<World, OrderError> {
        let spec = Arc::new(self.spec_of(record).await?);
        let made_of = self.made_of(record).await?;
        let mut world = self.nearest(record, spec, made_of, (open, models)).await?;
        while world.ticks() < record.progress.ticks {
            for logged in self.ticks(record, world.ticks(), PIECE).await? {
                let (at, again) = (world.ticks(), world.tick().await?);
                if again.hash != logged.hash {
                    return Err(OrderError::Diverged(at));
                }
            }
        }
        Ok(world)
    }

    /// The world at its last keyframe that can be used, or before its first tick.
    async fn nearest(
        &self,
        record: &SimulationRecord,
        spec: Arc<WorldSpec>,
        made_of: Vec<MadeOf>,
        (open, models): (&[RecordedCall], Option<&Arc<WorldModels>>),
    ) -> Result<World, OrderError> {
        let (places, runtime) = (self.places_of(&record.owner), self.sandbox.runtime().clone());
        let usable = record.keyframes.iter().filter(|own| own.at <= record.progress.ticks);
        for keyframe in usable.rev() {
            let mut charge = places.memory.account();
            if charge.charge(keyframe.bytes).is_err() {
                return Err(WorldError::OutOfMemory { needed: keyframe.bytes }.into());
            }
            let restored = match self.part(keyframe.part).await {
                Ok(bytes) => {
                    let (spec, made_of) = (spec.clone(), made_of.clone());
                    let (places, runtime) = (places.clone(), runtime.clone());
                    let answers = self.answers(record, keyframe.at, open, models).await?;
                    World::restore(spec, made_of, answers, places, runtime, &bytes).await
                }
                Err(StoreError::Damaged(what)) => Err(WorldError::Keyframe(what)),
                Err(error) => return Err(error.into()),
            };
            match restored {
                Err(WorldError::Keyframe(why)) => {
                    tracing::warn!(simulation = %record.id, at = keyframe.at, why, "a keyframe is passed over");
                }
                restored => return Ok(restored?),
            }
        }
        let answers = self.answers(record, 0, open, models).await?;
        Ok(World::make(spec, made_of, answers, places, runtime).await?)
    }

    /// What some members of a role publish, as far as the world has come in its log: those from this number on, `limit` at most;
    /// and how many there are. The world is made again for it, a few at a time and owners in turns.
    ///
    /// # Errors
    /// There is no such role, or the world cannot be made.
    pub(crate) async fn columns(
        &self,
        world: &KnownWorld,
        role: &str,
        from: u32,
        limit: u32,
    ) -> Result<MembersRead, OrderError> {
        let (record, spec) = self.spec(world).await?;
        spec.place_of(role)?;
        let _turn = self.rebuilds.wait(&record.owner).await;
        // Meanwhile it may have been given another specification, and other keyframes.
        let mut made = self.make(&world.record()).await?;
        let columns = made.some_of(role, from..from.saturating_add(limit)).await?;
        Ok(MembersRead { ticks: made.ticks(), size: made.size_of(role)?, columns })
    }

    /// Ask members of a role something of which nothing is left, as far as the world has come in its log. The world is made again for
    /// it, a few at a time and owners in turns. What that costs is the owner's, and not of the world's budget.
    ///
    /// # Errors
    /// There is no such member, or the world cannot be made.
    pub(crate) async fn survey(
        &self,
        world: &KnownWorld,
        role: &str,
        members: &[u32],
        question: &[Part],
    ) -> Result<Surveyed, OrderError> {
        let (record, spec) = self.spec(world).await?;
        spec.place_of(role)?;
        let _turn = self.rebuilds.wait(&record.owner).await;
        let mut made = self.make(&world.record()).await?;
        let models = Arc::new(self.models_of(&record.owner, Budget::default()));
        let answers = Answers::new(Some(models.clone()));
        let asked = made.survey(role, members, question, answers).await;
        let cost = models.spent();
        self.note_spent(&record.owner, cost).await?;
        let replies = asked?.into_iter().map(|reply| match (reply, models.stopped()) {
            (Ok(content), _) => Ok(content),
            (Err(fault), Some((_, why))) if fault.is_of_host() => Err(why),
            (Err(fault), _) => Err(fault.to_string()),
        });
        Ok(Surveyed { ticks: made.ticks(), replies: replies.collect(), cost })
    }

    /// Do this to a world before its next tick. Which one that is. A world that runs stands still for it.
    ///
    /// # Errors
    /// It makes no sense, or the world is over.
    pub(crate) async fn intervene(
        self: &Arc<Self>,
        world: &Arc<KnownWorld>,
        deed: Deed,
    ) -> Result<Tick, OrderError> {
        let _commands = world.commands.lock().await;
        self.still_there(world)?;
        let runs = world.record().status == SimulationStatus::Running;
        world.end(Ending::Pause);
        world.at_rest(|| self.clock.now()).await;
        let done = self.intervene_at_rest(world, deed).await;
        let mut record = world.record().as_ref().clone();
        if runs && record.status == SimulationStatus::Paused(PauseCause::Requested) {
            (record.status, record.changed_at) = (SimulationStatus::Running, self.clock.now());
            self.keep(world, record, Vec::new()).await?;
            self.spawn(world);
        }
        done
    }

    async fn intervene_at_rest(&self, world: &KnownWorld, deed: Deed) -> Result<Tick, OrderError> {
        let (record, mut spec) = self.spec(world).await?;
        if !record.status.can_go_on() {
            return Err(OrderError::Status(record.status));
        }
        let at = record.progress.ticks;
        spec.intervene(ProgramStep { at, deed }, at)?;
        World::check(&spec, &self.made_of(&record).await?)?;
        let mut record = record.as_ref().clone();
        record.spec = WorldPartId(self.clock.new_id());
        let rows = vec![(WorldRow::Part(record.spec), Some(encode_spec(&spec)))];
        self.keep(world, record, rows).await?;
        Ok(at)
    }

    /// Write a record in place of the last one, with these rows. What it names no more goes, unless others name it. Whoever calls
    /// this is the only one who writes to the world.
    pub(super) async fn keep(
        &self,
        world: &KnownWorld,
        record: SimulationRecord,
        mut rows: Vec<(WorldRow, Option<Bytes>)>,
    ) -> Result<(), StoreError> {
        let (before, after): (Vec<_>, Vec<_>) =
            (world.record().parts().collect(), record.parts().collect());
        let old: Vec<_> = before.iter().copied().filter(|part| !after.contains(part)).collect();
        let new: Vec<_> = after.into_iter().filter(|part| !before.contains(part)).collect();
        let _parts = match old.is_empty() && new.is_empty() {
            true => None,
            false => Some(self.parts.lock().await),
        };
        let unused = held(&self.book).unused_without(&old);
        rows.extend(unused.into_iter().map(|part| (WorldRow::Part(part), None)));
        rows.push((WorldRow::Record(world.id), Some(record.encode())));
        self.store.commit(Transaction::worlds(rows)).await?;
        let mut book = held(&self.book);
        old.into_iter().for_each(|part| book.release(part));
        new.into_iter().for_each(|part| book.hold(part));
        drop(book);
        world.record.send_replace(Arc::new(record));
        Ok(())
    }

    /// Worlds that have come to where this one was before a tick, and go on as their branches say.
    ///
    /// # Errors
    /// The world has not come there yet, or what is to be done to a branch makes no sense: none is made then.
    pub(crate) async fn fork(
        &self,
        world: &KnownWorld,
        at: Option<Tick>,
        branches: Vec<Branch>,
    ) -> Result<Vec<Arc<KnownWorld>>, OrderError> {
        let (record, spec) = self.spec(world).await?;
        let at = at.unwrap_or(record.progress.ticks);
        if at > record.progress.ticks || at >= record.planned {
            return Err(OrderError::NotThere { at, ticks: record.progress.ticks });
        }
        if at.saturating_mul(branches.len() as u64) > MAX_FORKED_TICKS {
            return Err(OrderError::TooLong);
        }
        let mut specs = Vec::with_capacity(branches.len());
        for branch in branches {
            let mut spec = spec.clone();
            for deed in branch.deeds {
                spec.intervene(ProgramStep { at, deed }, at)?;
            }
            spec.name = branch.name.unwrap_or(spec.name);
            spec.check()?;
            specs.push(spec);
        }
        let made_of = self.made_of(&record).await?;
        specs.iter().try_for_each(|spec| World::check(spec, &made_of))?;
        let since = self.inheritance(&record, at).await?;
        let mut forks = Vec::with_capacity(specs.len());
        for spec in specs {
            match self.fork_one(world, &record, at, (spec, since.clone())).await {
                Ok(fork) => forks.push(fork),
                Err(error) => {
                    for fork in forks {
                        self.remove(&fork).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(forks)
    }

    async fn fork_one(
        &self,
        world: &KnownWorld,
        of: &SimulationRecord,
        at: Tick,
        (spec, since): (WorldSpec, Option<(WorldPartId, Bytes)>),
    ) -> Result<Arc<KnownWorld>, OrderError> {
        let id = SimulationId(self.clock.new_id());
        // As long as its record is empty, whoever starts after a crash removes what there is.
        let row = (WorldRow::Record(id), Some(Bytes::new()));
        self.store.commit(Transaction::worlds([row])).await?;
        let made = self.fork_into(world, (of, at), id, (spec, since)).await;
        if made.is_err() {
            self.purge(id).await?;
        }
        made
    }

    async fn fork_into(
        &self,
        world: &KnownWorld,
        (of, at): (&SimulationRecord, Tick),
        id: SimulationId,
        (spec, since): (WorldSpec, Option<(WorldPartId, Bytes)>),
    ) -> Result<Arc<KnownWorld>, OrderError> {
        let (progress, log_bytes) = self.fork_log(of, at, id).await?;
        let (now, part) = (self.clock.now(), WorldPartId(self.clock.new_id()));
        let text = encode_spec(&spec);
        let _parts = self.parts.lock().await;
        // Meanwhile the world may have given up keyframes, or be gone.
        let known = held(&self.book).worlds.get(&world.id).map(|world| world.record());
        let keyframes = known.ok_or(OrderError::Gone)?.keyframes.clone();
        let record = SimulationRecord {
            id,
            name: spec.name,
            status: SimulationStatus::Created,
            reason: None,
            progress,
            forked_from: Some((of.id, at)),
            run_of: None,
            fingerprint: None,
            created_at: now,
            changed_at: now,
            until: None,
            passed: None,
            log_bytes,
            inherited: since.as_ref().map(|(part, _)| *part),
            inherited_bytes: since.as_ref().map_or(0, |(_, calls)| calls.len() as u64),
            spec: part,
            keyframes: keyframes.into_iter().filter(|own| own.at <= at).collect(),
            ..of.clone()
        };
        let parts = [(part, text)].into_iter().chain(since);
        self.add(record, parts.collect()).await
    }

    /// Copy the log of a world up to this tick. What had come of the world by then, and how many bytes that is.
    async fn fork_log(
        &self,
        of: &SimulationRecord,
        at: Tick,
        id: SimulationId,
    ) -> Result<(Progress, u64), StoreError> {
        // The time that was spent on it was spent by the other.
        let (mut progress, mut bytes) = (Progress::default(), 0);
        while progress.ticks < at {
            let limit = usize::try_from(at - progress.ticks).unwrap_or(usize::MAX).min(PIECE);
            let ticks = self.ticks(of, progress.ticks, limit).await?;
            progress.ticks += ticks.len() as u64;
            for tick in &ticks {
                progress.steps += tick.steps;
                progress.fuel += tick.fuel;
                progress.hash = tick.hash;
            }
            let piece = encode_ticks(&ticks);
            bytes += piece.len() as u64;
            let last = progress.ticks - 1;
            let mut rows = vec![(WorldRow::Ticks(id, last), Some(piece))];
            let from = progress.ticks - ticks.len() as u64;
            let mut calls = self.calls(of.id, from, progress.ticks).await?;
            if !calls.is_empty() {
                // The other has made them.
                calls.iter_mut().for_each(|call| call.is_own = false);
                progress.calls.note(&calls);
                let piece = encode_calls(&calls);
                bytes += piece.len() as u64;
                rows.push((WorldRow::Calls(id, last), Some(piece)));
            }
            self.store.commit(Transaction::worlds(rows)).await?;
        }
        Ok((progress, bytes))
    }

    /// Remove what is left of a world that is gone.
    pub(super) async fn purge(&self, id: SimulationId) -> Result<(), StoreError> {
        let bound = Bound { entries: PIECES, bytes: PAGE_BYTES };
        loop {
            let page = self.store.world_open_calls(id, None, bound).await?;
            let calls = page.entries.iter().map(|(place, _)| (WorldRow::Call(id, *place), None));
            if !page.entries.is_empty() {
                self.store.commit(Transaction::worlds(calls)).await?;
            }
            if page.next.is_none() {
                break;
            }
        }
        loop {
            let page = self.store.world_calls(id, 0, bound).await?;
            let calls = page.entries.iter().map(|(last, _)| (WorldRow::Calls(id, *last), None));
            if !page.entries.is_empty() {
                self.store.commit(Transaction::worlds(calls)).await?;
            }
            if page.next.is_none() {
                break;
            }
        }
        loop {
            let page = self.store.world_ticks(id, 0, bound).await?;
            let ticks = page.entries.iter().map(|(last, _)| (WorldRow::Ticks(id, *last), None));
            if page.next.is_some() {
                self.store.commit(Transaction::worlds(ticks)).await?;
                continue;
            }
            let all = ticks.chain([(WorldRow::Record(id), None)]);
            return self.store.commit(Transaction::worlds(all)).await;
        }
    }
}
