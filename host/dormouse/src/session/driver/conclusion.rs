//! The end of a turn: what it has come to is committed, and memory follows.

use std::sync::Arc;
use std::time::Duration;

use super::Driver;
use super::turns::{GuestBill, RunningTurn};
use crate::gate::cost_of;
use crate::gate::journal::TurnJournal;
use crate::gate::post::OutgoingMail;
use crate::gate::purse::Purse;
use crate::mailboxes::MailPlace;
use crate::session::idempotency;
use crate::session::left_open::HeldOpen;
use crate::session::provided::Provided;
use crate::session::request::{FinishedTurn, SendError};
use crate::turn::settlement::{self, TakenMail, TurnAnswer, TurnEnd};
use dormouse_domain::account::{AccountChange, Amounts};
use dormouse_domain::id::SessionId;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::mail::Mail;
use dormouse_domain::session::{Residency, Session};
use dormouse_domain::state::Status;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{Failure, TurnOutcome, TurnRecord};
use dormouse_store::{StoreError, Transaction};

impl Driver<'_> {
    /// Commit what a turn has come to. Memory follows.
    pub(super) async fn conclude(
        &mut self,
        mut turn: RunningTurn,
        result: Result<TurnAnswer, Failure>,
        bill: GuestBill,
        duration: Duration,
    ) -> Result<FinishedTurn, SendError> {
        let holds = turn.purse.take().map(Purse::into_holds).unwrap_or_default();
        let ended = self.ended(&mut turn, result, bill, duration).await?;
        let RunningTurn { session: before, begun, key, standing, has_journal, outbox, .. } = turn;
        let begun = Arc::unwrap_or_clone(begun);
        let (taken, sent_at) = (begun.mail, ended.ended_at);
        // A turn that has failed sends nothing.
        let outbox = if ended.result.is_ok() { outbox } else { Vec::new() };
        let rules = self.services.options.rules;
        let mut commit = settlement::settle(&before, standing, begun, ended, rules);
        let mut events = self.pending_events().await;
        events.append(&mut commit.events);
        commit.events = events;
        if let Some(residence) = self.memory.residence() {
            // Nobody else has it yet: nothing is copied.
            Arc::make_mut(&mut commit.session).residence = residence;
        }
        let (after, turn) = (Arc::clone(&commit.session), Arc::clone(&commit.turn));
        let mut transaction = Transaction::turn(commit);
        transaction = transaction.and(match has_journal {
            true => Transaction::close_turn(self.id),
            // One that is open has spent what no other turn says.
            false => Transaction::no_open_turn(self.id),
        });
        let change =
            AccountChange { spent: spent_between(&before, &after), ..AccountChange::default() };
        if let Some(account) = before.account {
            transaction = transaction.and(Transaction::change_account(account, change));
        }
        let (mails, places) = self.addressed(outbox, sent_at);
        transaction = transaction.and(Transaction::mail(mails));
        if let Some(TakenMail { number, .. }) = taken {
            transaction = transaction.and(Transaction::take_mail(self.id, number));
        }
        // What is paid is recorded, whatever has become of the key of its message.
        let without_key = (has_journal && key.is_some()).then(|| transaction.clone());
        if let Some((key, request)) = &key {
            let led_to = (self.id, turn.number);
            let row = idempotency::record(key, *request, led_to, after.last_activity_at);
            transaction = transaction.and(Transaction::idempotency(row));
        }
        let mut committed = self.services.store.commit(transaction).await;
        if let (Err(StoreError::IdempotencyKeyUsed(_)), Some(without_key)) =
            (&committed, without_key)
        {
            committed = self.services.store.commit(without_key).await;
        }
        if let Err(error) = committed {
            if has_journal {
                // What it has spent is nobody else's until its end is committed.
                let calls = cost_of(&turn.effects);
                let amounts = Amounts { money: calls, fuel: 0 };
                holds.iter().for_each(|hold| hold.keep(amounts));
                self.services.left_open.keep(self.id, HeldOpen { holds, calls });
            }
            self.forget();
            return Err(match error {
                // The same key went to another session at the same time, and that turn was first.
                StoreError::IdempotencyKeyUsed(first) => SendError::IdempotencyKeyReused(first),
                error => error.into(),
            });
        }
        for hold in &holds {
            hold.changed(change);
        }
        drop(holds);
        self.delivered(taken, places, after.state.status());
        if has_journal {
            self.services.left_open.over(self.id);
        }
        self.attempts = 0;
        if let Some(guest) = self.memory.guest_mut() {
            guest.stored();
        }
        let failed = matches!(turn.outcome, TurnOutcome::Failed(_));
        let status = after.state.status();
        if failed || status.is_final() || status == Status::Error {
            self.drop_guest();
        }
        count(&turn, duration);
        self.services.note_deadline(&after);
        self.memory.set_session(Arc::clone(&after));
        let residency = match self.memory.resident_mut() {
            Some(resident) => {
                resident.used_at = after.last_activity_at;
                Residency::Resident
            }
            None => Residency::Asleep,
        };
        // The store has let go of it: nothing is copied.
        let turn = Arc::unwrap_or_clone(turn);
        let provided = Provided::of(&after, &self.services.outside);
        told(FinishedTurn { turn, session: after, residency, provided, replayed: false })
    }

    /// The mails of a turn that is over, and the places that they have.
    fn addressed(
        &self,
        outbox: Vec<OutgoingMail>,
        sent_at: Timestamp,
    ) -> (Vec<(SessionId, Mail)>, Vec<MailPlace>) {
        let mail = |OutgoingMail { to, content, place }| {
            ((to, Mail { from: self.id, sent_at, content }), place)
        };
        outbox.into_iter().map(mail).unzip()
    }

    /// A turn that has taken this mail is committed, and with it what it has sent: the recipients are told.
    fn delivered(&self, taken: Option<TakenMail>, places: Vec<MailPlace>, status: Status) {
        if let Some(TakenMail { weight, .. }) = taken {
            self.services.mailboxes.taken(self.id, weight);
        }
        metrics::counter!("dormouse_mails_total").increment(places.len() as u64);
        let recipients: Vec<_> = places.iter().map(MailPlace::to).collect();
        places.into_iter().for_each(MailPlace::filled);
        recipients.into_iter().for_each(|to| self.registry.post_mail(to));
        if status.is_final() {
            // What waits is dropped.
            self.registry.post_mail(self.id);
        }
    }

    /// What a turn has come to, with all that it has asked of the outside world, also where no attempt has come to it
    /// again.
    async fn ended(
        &mut self,
        turn: &mut RunningTurn,
        result: Result<TurnAnswer, Failure>,
        bill: GuestBill,
        duration: Duration,
    ) -> Result<TurnEnd, StoreError> {
        let GuestBill { fuel, start_fuel, log, log_dropped, samples, shortage } = bill;
        let journal = match turn.journal.take() {
            Some(mut journal) => {
                journal.read_all().await?;
                Some(journal)
            }
            None if turn.has_journal => {
                let store = Arc::clone(&self.services.store);
                Some(TurnJournal::remains(store, self.id, turn.attempt).await?)
            }
            None => None,
        };
        let (fuel, effects) = match journal {
            Some(journal) => (journal.billed(fuel), journal.into_lines()),
            None => (fuel, Vec::new()),
        };
        Ok(TurnEnd {
            result,
            shortage,
            fuel,
            start_fuel,
            log,
            log_dropped,
            samples,
            ended_at: self.services.clock.now(),
            duration,
            effects,
            tools_used: std::mem::take(&mut turn.tools_used),
            attempts: turn.attempt,
            woken_in: turn.woken_in,
        })
    }
}

/// What a session has spent between two of its records.
fn spent_between(before: &Session, after: &Session) -> Amounts {
    Amounts {
        money: after.usage.cost - before.usage.cost,
        fuel: after.usage.fuel.saturating_sub(before.usage.fuel),
    }
}

/// A turn as its sender is told of it.
pub(super) fn told(ended: FinishedTurn) -> Result<FinishedTurn, SendError> {
    match &ended.turn.outcome {
        TurnOutcome::Answered { .. } => Ok(ended),
        TurnOutcome::Failed(_) => Err(SendError::Failed(Box::new(ended))),
    }
}

fn count(turn: &TurnRecord, duration: Duration) {
    let outcome = match &turn.outcome {
        TurnOutcome::Answered { .. } => "answered",
        TurnOutcome::Failed(failure) => failure.code.as_str(),
    };
    metrics::counter!("dormouse_turns_total", "outcome" => outcome).increment(1);
    metrics::counter!("dormouse_fuel_total").increment(turn.fuel);
    if let Some(start) = turn.start {
        metrics::counter!("dormouse_start_fuel_total").increment(start.fuel);
    }
    count_money(turn);
    metrics::histogram!("dormouse_turn_seconds").record(duration.as_secs_f64());
    tracing::debug!(number = turn.number, outcome, fuel = turn.fuel, "a turn is over");
}

/// Count what a turn has cost, as its session is billed for it.
fn count_money(turn: &TurnRecord) {
    let calls = cost_of(&turn.effects);
    let start = turn.start.map_or(NanoUsd(0), |start| start.cost);
    for (kind, cost) in [("fuel", turn.cost - calls), ("model", calls), ("start", start)] {
        let cost = u64::try_from(cost.0).unwrap_or(0);
        metrics::counter!("dormouse_spent_nano_usd_total", "kind" => kind).increment(cost);
    }
}
