//! What is kept of worlds, and what is made of it again: their logs, their forks, and worlds that go on.

use std::sync::Arc;

use bytes::Bytes;

use super::record::{LoggedTick, Progress, SimulationRecord, decode_ticks, encode_ticks};
use super::{Columns, Ending, KnownWorld, OrderError, Worlds, component_part, encode_spec, held};
use dormouse_domain::agent::Digest;
use dormouse_domain::id::{Principal, SimulationId, WorldPartId};
use dormouse_domain::simulation::{PauseCause, SimulationStatus, Tick};
use dormouse_sandbox::Code;
use dormouse_simulation::spec::{Deed, ProgramStep};
use dormouse_simulation::{MadeOf, World, WorldError, WorldSpec};
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
    async fn part(&self, id: WorldPartId) -> Result<Bytes, StoreError> {
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
        self.part(component_part(digest)).await
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

    /// The world as its record says: from the nearest keyframe, and what came behind it anew.
    ///
    /// # Errors
    /// The world cannot be made, or comes to something else than its log says.
    pub(super) async fn make(&self, record: &SimulationRecord) -> Result<World, OrderError> {
        let spec = Arc::new(self.spec_of(record).await?);
        let mut made_of = Vec::with_capacity(record.made_of.len());
        for digest in &record.made_of {
            made_of
                .push(MadeOf { code: self.code(*digest, &record.owner).await?, digest: *digest });
        }
        let mut world = self.nearest(record, spec, made_of).await?;
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
                    World::restore(spec, made_of, places, runtime, &bytes).await
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
        Ok(World::make(spec, made_of, places, runtime).await?)
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
        let mut forks = Vec::with_capacity(specs.len());
        for spec in specs {
            match self.fork_one(world, &record, at, spec).await {
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
        spec: WorldSpec,
    ) -> Result<Arc<KnownWorld>, OrderError> {
        let id = SimulationId(self.clock.new_id());
        // As long as its record is empty, whoever starts after a crash removes what there is.
        let row = (WorldRow::Record(id), Some(Bytes::new()));
        self.store.commit(Transaction::worlds([row])).await?;
        let made = self.fork_into(world, (of, at), id, spec).await;
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
        spec: WorldSpec,
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
            fingerprint: None,
            created_at: now,
            changed_at: now,
            until: None,
            passed: None,
            log_bytes,
            spec: part,
            keyframes: keyframes.into_iter().filter(|own| own.at <= at).collect(),
            ..of.clone()
        };
        self.add(record, vec![(part, text)]).await
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
            let row = (WorldRow::Ticks(id, progress.ticks - 1), Some(piece));
            self.store.commit(Transaction::worlds([row])).await?;
        }
        Ok((progress, bytes))
    }

    /// Remove what is left of a world that is gone.
    pub(super) async fn purge(&self, id: SimulationId) -> Result<(), StoreError> {
        let bound = Bound { entries: PIECES, bytes: PAGE_BYTES };
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
