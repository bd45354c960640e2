//! Exchanges of HTTP in the journal: each has an entry of its own, which stays open until a wait tells of it.

use super::{Found, Identity, Seen, TurnJournal, end_in_the_dark, no_effect};
use dormouse_domain::effect::{EffectAnswer, EffectError};
use dormouse_domain::journal::{EffectRecord, Provenance};
use dormouse_sandbox::SoFar;

impl TurnJournal {
    /// Come to the next exchange. Answers with its place, and whether it may have left before.
    ///
    /// # Errors
    /// As [`TurnJournal::next`]
    pub(in crate::gate) async fn next_exchange(
        &mut self,
        identity: Identity,
        so_far: SoFar,
        seen: Seen,
    ) -> Result<(u32, bool), EffectError> {
        let found = self.come_to(identity, so_far, seen).await?;
        let (entry, may_have_left) = match found {
            Found::Noted(entry) => (entry, true),
            Found::New(entry) => (entry, false),
        };
        self.exchanges.insert(self.seq, entry);
        Ok((self.seq, may_have_left))
    }

    /// How often a request was sent for the exchange at this place, or may have been.
    pub(in crate::gate) fn calls_of(&self, seq: u32) -> usize {
        self.exchanges.get(&seq).map_or(0, |entry| entry.calls.len())
    }

    /// Note that these requests leave, each for the exchange at its place: returns once that is durable.
    ///
    /// # Errors
    /// It cannot be noted.
    pub(in crate::gate) async fn begin_exchanges(
        &mut self,
        calls: Vec<EffectRecord>,
    ) -> Result<(), EffectError> {
        let mut entries = Vec::with_capacity(calls.len());
        for call in calls {
            let entry = self.exchanges.get_mut(&call.seq).ok_or_else(no_effect)?;
            entry.calls.iter_mut().for_each(end_in_the_dark);
            entry.calls.push(call);
            entries.push(entry.clone());
        }
        self.note(entries).await
    }

    /// Note the answer to a wait, and how the exchanges at these places have ended that it tells of: returns once that is
    /// durable. Without a record nobody knows.
    ///
    /// # Errors
    /// As [`TurnJournal::answer`]
    pub(in crate::gate) async fn answer_wait(
        &mut self,
        answer: EffectAnswer,
        ended: Vec<(u32, Option<EffectRecord>)>,
    ) -> Result<EffectAnswer, EffectError> {
        let mut entries = Vec::with_capacity(ended.len());
        for (seq, record) in ended {
            let mut entry = self.exchanges.remove(&seq).ok_or_else(no_effect)?;
            if let (Some(record), Some(last)) = (record, entry.calls.last_mut()) {
                *last = record;
            }
            entry.calls.iter_mut().for_each(end_in_the_dark);
            entries.push(entry);
        }
        self.answer_with(answer, entries).await
    }

    /// The guest learns again, or never, what came of the exchange at this place.
    pub(in crate::gate) fn close_exchange(&mut self, seq: u32, provenance: Provenance) {
        let Some(mut entry) = self.exchanges.remove(&seq) else { return };
        match provenance {
            Provenance::Replayed => self.replay(entry.calls),
            Provenance::Live => {
                entry.calls.iter_mut().for_each(end_in_the_dark);
                self.lines.append(&mut entry.calls);
            }
        }
    }
}
