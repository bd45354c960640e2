//! What is kept of the calls of language models that members of worlds make, and whom it answers again.
//!
//! A call of a tick that is not in the log yet has a row of its own. With the tick it comes into the log, and its row goes.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::models::{CallNote, WorldModels};
use super::record::{SimulationRecord, encode_calls};
use super::{KnownWorld, OrderError, Worlds, content_part};
use dormouse_domain::agent::Digest;
use dormouse_domain::id::{SimulationId, WorldPartId};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::simulation::{CallPlace, Tick};
use dormouse_simulation::{Answers, Models, RecordedCall, read_calls};
use dormouse_store::{Bound, PAGE_BYTES, StoreError};

/// Pieces that are read at a time.
const PIECES: usize = 256;

impl Worlds {
    /// What members have asked language models in the ticks of the log from this one on, and before this other one.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn calls(
        &self,
        id: SimulationId,
        from: Tick,
        to: Tick,
    ) -> Result<Vec<RecordedCall>, StoreError> {
        let bound = Bound { entries: PIECES, bytes: PAGE_BYTES };
        let (mut calls, mut next) = (Vec::new(), from);
        while next < to {
            let page = self.store.world_calls(id, next, bound).await?;
            let Some((last, _)) = page.entries.last() else { break };
            next = last + 1;
            for (last, kept) in &page.entries {
                let damaged = |_| StoreError::Damaged(format!("simulation/{id}/recording/{last}"));
                let piece = read_calls(kept.as_ref()).map_err(damaged)?;
                calls.extend(piece.into_iter().filter(|call| (from..to).contains(&call.place.at)));
            }
            if page.next.is_none() {
                break;
            }
        }
        Ok(calls)
    }

    /// What is noted of calls of ticks that the log does not have: the answers, and what each call has cost, answered or not.
    pub(super) async fn open_calls(
        &self,
        record: &SimulationRecord,
    ) -> Result<(Vec<RecordedCall>, HashMap<CallPlace, NanoUsd>), StoreError> {
        let bound = Bound { entries: PIECES, bytes: PAGE_BYTES };
        let (mut answered, mut costs, mut after) = (Vec::new(), HashMap::new(), None);
        loop {
            let page = self.store.world_open_calls(record.id, after, bound).await?;
            for (place, kept) in page.entries {
                match CallNote::decode(&kept) {
                    _ if place.at < record.progress.ticks => {}
                    Some(CallNote::Answered(call)) => {
                        costs.insert(place, call.cost);
                        answered.push(*call);
                    }
                    Some(CallNote::Begun(cost)) => drop(costs.insert(place, cost)),
                    None => {
                        let CallPlace { at, member, .. } = place;
                        let what = format!("simulation/{}/calls/{at}/{member}", record.id);
                        return Err(StoreError::Damaged(what));
                    }
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok((answered, costs));
            }
        }
    }

    /// Find out what calls have cost that no log has yet.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn note_open_calls(&self, known: &KnownWorld) -> Result<(), StoreError> {
        let record = known.record();
        match self.open_calls(&record).await {
            Ok((_, costs)) => {
                let open = costs.values().copied().sum();
                known.note_spent(record.progress.calls.cost() + open);
                Ok(())
            }
            // It is told when the world is to go on.
            Err(StoreError::Damaged(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What answers the members of a world from this tick on: what is recorded, what it inherits, and then these models.
    pub(super) async fn answers(
        &self,
        record: &SimulationRecord,
        from: Tick,
        open: &[RecordedCall],
        models: Option<&Arc<WorldModels>>,
    ) -> Result<Answers, OrderError> {
        let live = models.map(|models| models.clone() as Arc<dyn Models>);
        let ticks = record.progress.ticks;
        let logged = self.calls(record.id, from, ticks).await?;
        let answers = Answers::new(live).recorded(logged, ticks).open(open.iter().cloned());
        let (Some(inherited), Some((_, forked_at))) = (record.inherited, record.forked_from) else {
            return Ok(answers);
        };
        let kept = self.part(inherited).await?;
        let damaged = |_| StoreError::Damaged(format!("simulation-part/{inherited}"));
        let calls = read_calls(kept.as_ref()).map_err(damaged)?;
        let own = self.calls(record.id, forked_at, from.max(forked_at)).await?;
        let own = own.iter().map(|call| (call.place, call.request));
        Ok(answers.inherited(calls, own.collect::<Vec<_>>()))
    }

    /// What a world that is forked from this one before a tick is answered with, where it asks the same: what this one has asked since,
    /// and what it would be answered with itself.
    pub(super) async fn inheritance(
        &self,
        of: &SimulationRecord,
        at: Tick,
    ) -> Result<Option<(WorldPartId, Bytes)>, StoreError> {
        let mut since = self.calls(of.id, at, of.progress.ticks).await?;
        let (open, _) = self.open_calls(of).await?;
        since.extend(open);
        if let (Some(inherited), Some((_, forked_at))) = (of.inherited, of.forked_from) {
            // Of what it has inherited, the first answers are taken: one for each time that it has asked.
            let mut asked: HashMap<_, usize> = HashMap::new();
            for call in self.calls(of.id, forked_at, of.progress.ticks).await? {
                let CallPlace { role, member, .. } = call.place;
                *asked.entry((role, member, call.request)).or_default() += 1;
            }
            let kept = self.part(inherited).await?;
            let damaged = |_| StoreError::Damaged(format!("simulation-part/{inherited}"));
            for call in read_calls(kept.as_ref()).map_err(damaged)? {
                let CallPlace { role, member, .. } = call.place;
                match asked.get_mut(&(role, member, call.request)) {
                    Some(taken) if *taken > 0 => *taken -= 1,
                    Some(_) | None => since.push(call),
                }
            }
        }
        if since.is_empty() {
            return Ok(None);
        }
        // Each in a place of its own, in this order.
        for (place, call) in (of.progress.ticks..).zip(since.iter_mut()) {
            call.place.at = place;
        }
        let calls = encode_calls(&since);
        Ok(Some((content_part(Digest::of(&calls)), calls)))
    }
}
