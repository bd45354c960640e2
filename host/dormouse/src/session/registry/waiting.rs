//! What drivers are at and wait for, as others see it; and waiting until nothing is left to be done before the clock
//! goes on.

use super::{Registry, lock};
use crate::gate::time::EffectTime;
use crate::turn::output::TurnOutput;
use dormouse_domain::id::SessionId;
use dormouse_domain::session::Residency;
use dormouse_domain::time::Timestamp;

impl Registry {
    /// Note where the guest state of a session with a driver is.
    pub(crate) fn note_residency(&self, id: SessionId, residency: Residency) {
        if let Some(entry) = self.shard(id).get_mut(&id) {
            entry.residency = residency;
        }
    }

    /// Note that the turn is over, before anybody is told of its end.
    pub(crate) fn note_turn_over(&self, id: SessionId) {
        if let Some(entry) = self.shard(id).get_mut(&id) {
            entry.inbox.turn_over();
            entry.output = None;
            entry.effects = None;
            entry.waits_until = None;
        }
        self.services.settling.note_change();
    }

    /// Note that a turn runs, and when it must be over.
    pub(crate) fn note_running(
        &self,
        id: SessionId,
        number: u64,
        (output, effects): (&TurnOutput, &EffectTime),
        deadline: Timestamp,
    ) {
        if let Some(entry) = self.shard(id).get_mut(&id) {
            entry.inbox.turn_runs(number);
            entry.output = Some(output.clone());
            entry.effects = Some(effects.clone());
            entry.waits_until = Some(deadline);
        }
        self.services.settling.note_change();
    }

    /// Note that the driver of a session waits until this time at most. Answers with what it waited for
    /// before, for [`Registry::note_waited`].
    pub(crate) fn note_waiting(&self, id: SessionId, until: Timestamp) -> Option<Timestamp> {
        let mut shard = self.shard(id);
        let before = shard.get_mut(&id).and_then(|entry| {
            let sooner = entry.waits_until.map_or(until, |time| time.min(until));
            entry.waits_until.replace(sooner)
        });
        drop(shard);
        self.services.settling.note_change();
        before
    }

    /// Note that the turn of a session that waits for the outside world has until then.
    pub(crate) fn note_patient(&self, id: SessionId, until: Timestamp) {
        if let Some(entry) = self.shard(id).get_mut(&id) {
            entry.waits_until = Some(until);
        }
        self.services.settling.note_change();
    }

    /// Note that the driver waits no longer for what it waited for last.
    pub(crate) fn note_waited(&self, id: SessionId, before: Option<Timestamp>) {
        if let Some(entry) = self.shard(id).get_mut(&id) {
            entry.waits_until = before;
        }
        self.services.settling.note_change();
    }

    /// Whether no driver is at work, or waits for a time that has come.
    fn nobody_is_due(&self) -> bool {
        let now = self.services.clock.now();
        self.shards.iter().all(|shard| {
            lock(shard).values().all(|entry| entry.waits_until.is_some_and(|time| time > now))
        })
    }

    /// Returns when nothing is left to be done before the clock goes on: what is due has been done, and
    /// no driver is at work but those whose turn runs and has time left.
    pub(crate) async fn settle(&self) {
        let _settling = self.services.settling.begin();
        loop {
            let seen = self.services.settling.seen();
            if !self.nobody_is_due() || self.services.schedules.is_busy(self.services.clock.now()) {
                self.services.settling.changed_since(seen).await;
                continue;
            }
            let Some(next) = self.services.settling.whole_round(&self.services.deadlines).await
            else {
                return;
            };
            self.services.slept.hurry().await;
            let now = self.services.clock.now();
            let schedules_rest = !self.services.schedules.is_busy(now);
            let nothing_is_due = next > now && self.nobody_is_due() && schedules_rest;
            if nothing_is_due && self.services.settling.seen() == seen {
                return;
            }
        }
    }
}
