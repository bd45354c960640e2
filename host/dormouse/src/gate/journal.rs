//! The journal of the turn that runs: what is noted before an effect leaves and before its answer is told, and what
//! answers instead where the turn was run before.

mod exchanges;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::cost_of;
use crate::turn::settlement::StartedTurn;
use dormouse_domain::agent::Digest;
use dormouse_domain::effect::{Effect, EffectAnswer, EffectClass, EffectError, EffectKind};
use dormouse_domain::http::HttpRequest;
use dormouse_domain::id::SessionId;
use dormouse_domain::journal::{
    Bill, EffectOutcome, EffectRecord, JournalEntry, MAX_ENTRIES, MAX_JOURNAL_BYTES, OpenTurn,
    Provenance, Readings, Salt, TurnAttempts,
};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::mail::Posted;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::IdempotencyKey;
use dormouse_sandbox::SoFar;
use dormouse_store::{Bound, Store, StoreError, Transaction};

/// Entries that are read at a time.
const PAGE: Bound = Bound { entries: 64, bytes: 256 << 10 };

/// The journal of one turn.
pub(crate) struct TurnJournal {
    store: Arc<dyn Store>,
    session: SessionId,
    /// What is noted with the first effect. `None`: it is.
    opening: Option<Opening>,
    /// Whether anything may be noted.
    is_open: bool,
    /// Which attempt at the turn this is, from 1.
    turn_attempt: u32,
    /// The place of the last effect.
    seq: u32,
    /// What the answers hold together, in bytes.
    bytes: u64,
    /// Entries that were read and not come to.
    ahead: VecDeque<JournalEntry>,
    /// Up to which entry was read; `None`: to the end.
    read_to: Option<u32>,
    /// What was done for the effects that are over.
    lines: Vec<EffectRecord>,
    under_way: Option<UnderWay>,
    /// Exchanges of which the guest has not learned what came of them, by their places.
    exchanges: BTreeMap<u32, JournalEntry>,
    /// What is to be added to the fuel that the guest has used, so that it is what the journal says.
    fuel_correction: i128,
}

/// What the begin of a turn is noted from.
pub(crate) struct Opening {
    pub(crate) begun: Arc<StartedTurn>,
    pub(crate) number: u64,
    pub(crate) revision: u64,
    pub(crate) agent: Digest,
    /// The key that the message came with, and the digest of the request.
    pub(crate) key: Option<(IdempotencyKey, Digest)>,
    /// What the guest was told of its limits,
    pub(crate) deadline: Timestamp,
    pub(crate) fuel: u64,
    /// and what its monotonic clock said.
    pub(crate) monotonic_ns: u64,
}

/// An effect that has no answer yet.
struct UnderWay {
    entry: JournalEntry,
    /// Whether the last of its calls is noted, so that it may have left.
    is_noted: bool,
}

/// What the guest has learned from outside since the effect before, which is noted with the next one.
pub(super) struct Seen {
    /// What it has read of its clocks,
    pub(super) readings: Readings,
    /// and whether it has read as much as before.
    pub(super) reads_as_before: bool,
    /// What became of the mails that it has sent.
    pub(super) posted: Vec<Posted>,
}

impl Seen {
    /// Nothing: it belongs to an effect before, of the same moment.
    pub(super) fn nothing() -> Seen {
        Seen { readings: Readings::default(), reads_as_before: true, posted: Vec::new() }
    }
}

/// What an effect is known by when its turn is run again.
#[derive(Clone, Copy)]
pub(super) struct Identity {
    kind: EffectKind,
    request: Digest,
    class: EffectClass,
}

impl From<&Effect> for Identity {
    fn from(effect: &Effect) -> Identity {
        Identity { kind: effect.kind(), request: effect.digest(), class: effect.class() }
    }
}

impl Identity {
    /// The same, where this may be done if its outcome is unknown.
    pub(super) fn with_class(self, class: EffectClass) -> Identity {
        Identity { class, ..self }
    }
}

impl From<&HttpRequest> for Identity {
    fn from(request: &HttpRequest) -> Identity {
        let (request, class) = (request.digest(), request.class());
        Identity { kind: EffectKind::Http, request, class }
    }
}

/// The entry of an effect that its turn comes to.
enum Found {
    /// It was noted by an attempt before.
    Noted(JournalEntry),
    /// It is noted nowhere yet.
    New(JournalEntry),
}

/// Who answers an effect.
pub(super) enum Reply {
    /// The journal, and it has cost this.
    Replayed(EffectAnswer, NanoUsd),
    /// The outside world.
    Live,
}

impl TurnJournal {
    /// Of a turn that begins.
    pub(crate) fn begin(
        store: Arc<dyn Store>,
        session: SessionId,
        opening: Opening,
    ) -> TurnJournal {
        let nothing = TurnJournal::noted(store, session, 1);
        TurnJournal { opening: Some(opening), is_open: false, read_to: None, ..nothing }
    }

    /// Of a turn whose begin was noted, and which is run again: this is the attempt of this number.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) async fn again(
        store: Arc<dyn Store>,
        session: SessionId,
        turn_attempt: u32,
    ) -> Result<TurnJournal, StoreError> {
        let mut journal = TurnJournal::noted(store, session, turn_attempt);
        journal.read_ahead().await?;
        Ok(journal)
    }

    /// Of a turn that is not run again: all of it that can be read, for the bill. What is damaged the store has set
    /// aside.
    ///
    /// # Errors
    /// The journal cannot be read, and is not damaged.
    pub(crate) async fn remains(
        store: Arc<dyn Store>,
        session: SessionId,
        turn_attempt: u32,
    ) -> Result<TurnJournal, StoreError> {
        let mut journal = TurnJournal::noted(store, session, turn_attempt);
        match journal.read_all().await {
            Err(StoreError::Damaged(what)) => {
                tracing::error!(%session, what, "a journal is damaged: what it says of calls is not billed");
                journal.read_to = None;
            }
            read => read?,
        }
        Ok(journal)
    }

    fn noted(store: Arc<dyn Store>, session: SessionId, turn_attempt: u32) -> TurnJournal {
        TurnJournal {
            store,
            session,
            opening: None,
            is_open: true,
            turn_attempt,
            seq: 0,
            bytes: 0,
            ahead: VecDeque::new(),
            read_to: Some(0),
            lines: Vec::new(),
            under_way: None,
            exchanges: BTreeMap::new(),
            fuel_correction: 0,
        }
    }

    /// Whether anything is noted, or may be: a commit that nobody has waited for to its end may have been made.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Which attempt at the turn this is.
    pub(crate) fn turn_attempt(&self) -> u32 {
        self.turn_attempt
    }

    /// The fuel that is billed for a turn whose guest has used so much: up to the last effect that was noted by an
    /// attempt before, what was noted. Another version of the host may count the same work otherwise.
    pub(crate) fn billed(&self, fuel: u64) -> u64 {
        let billed = (i128::from(fuel) + self.fuel_correction).max(0);
        let noted = self.ahead.back().map_or(0, |entry| entry.fuel);
        u64::try_from(billed).unwrap_or(u64::MAX).max(noted)
    }

    /// What the guest reads of its clocks next, where it has read it before.
    pub(super) fn readings(&self) -> Option<&Readings> {
        self.ahead.front().map(|entry| &entry.readings)
    }

    /// What became of the mails that it sends next, where it has sent them before.
    pub(super) fn posted(&self) -> Option<&[Posted]> {
        self.ahead.front().map(|entry| &*entry.posted)
    }

    /// What it draws its next random bytes with, where it has drawn them before.
    pub(super) fn salt(&self) -> Option<Salt> {
        self.ahead.front().and_then(|entry| entry.salt)
    }

    /// Come to the next effect.
    ///
    /// # Errors
    /// It is not the one that is noted; or it is one too many.
    pub(super) async fn next(
        &mut self,
        identity: Identity,
        so_far: SoFar,
        seen: Seen,
    ) -> Result<Reply, EffectError> {
        match self.come_to(identity, so_far, seen).await? {
            Found::Noted(JournalEntry { answer: Some(answer), calls, .. }) => {
                let cost = cost_of(&calls);
                self.replay(calls);
                Ok(Reply::Replayed(answer, cost))
            }
            Found::Noted(mut entry) => {
                entry.calls.iter_mut().for_each(end_in_the_dark);
                self.under_way = Some(UnderWay { entry, is_noted: true });
                Ok(Reply::Live)
            }
            Found::New(entry) => {
                self.under_way = Some(UnderWay { entry, is_noted: false });
                Ok(Reply::Live)
            }
        }
    }

    async fn come_to(
        &mut self,
        identity: Identity,
        so_far: SoFar,
        seen: Seen,
    ) -> Result<Found, EffectError> {
        if self.seq >= MAX_ENTRIES {
            let error = format!("a turn has at most {MAX_ENTRIES} calls of models and tools");
            return Err(EffectError::TooMany(error));
        }
        self.seq += 1;
        if self.ahead.len() == 1 {
            // Before the entry is taken: it stays on the bill where what follows cannot be read.
            self.read_ahead().await.map_err(host)?;
        }
        let Some(noted) = self.ahead.pop_front() else {
            let entry = JournalEntry {
                seq: self.seq,
                kind: identity.kind,
                request: identity.request,
                class: identity.class,
                readings: seen.readings,
                salt: so_far.salt,
                posted: seen.posted,
                fuel: so_far.fuel,
                calls: Vec::new(),
                answer: None,
            };
            return Ok(Found::New(entry));
        };
        if let Err(diverged) = self.compare(&noted, identity, so_far, &seen) {
            // What it has cost is billed all the same.
            self.ahead.push_front(noted);
            return Err(diverged);
        }
        self.fuel_correction = i128::from(noted.fuel) - i128::from(so_far.fuel);
        Ok(Found::Noted(noted))
    }

    /// What was done for an effect that was answered before.
    fn replay(&mut self, calls: Vec<EffectRecord>) {
        self.bytes += calls.iter().map(|call| call.received).sum::<u64>();
        self.lines.extend(calls.into_iter().map(replayed));
    }

    fn compare(
        &self,
        noted: &JournalEntry,
        identity: Identity,
        so_far: SoFar,
        seen: &Seen,
    ) -> Result<(), EffectError> {
        let what = if noted.seq != self.seq || noted.kind != identity.kind {
            "another kind of effect"
        } else if noted.request != identity.request {
            "another request"
        } else if noted.salt != so_far.salt {
            "after drawing other random bytes"
        } else if !seen.reads_as_before {
            "after reading its clocks more or less often"
        } else if noted.posted != seen.posted {
            "after sending more or fewer mails"
        } else {
            return Ok(());
        };
        let (seq, kind) = (self.seq, noted.kind.as_str());
        let error = format!(
            "the turn was cut off and run again, and differs from the first time in its effect {seq} ({kind}): \
             {what}; before it was {}, now it is {}",
            noted.request, identity.request,
        );
        Err(EffectError::Diverged(error))
    }

    /// How often something was done for the effect that is under way.
    pub(super) fn calls(&self) -> &[EffectRecord] {
        self.under_way.as_ref().map_or(&[], |under_way| &under_way.entry.calls)
    }

    /// The place of the effect that is under way, and the fuel that the guest had used then.
    pub(super) fn place(&self) -> (u32, u64) {
        let fuel = self.under_way.as_ref().map_or(0, |under_way| under_way.entry.fuel);
        (self.seq, fuel)
    }

    /// Note that a call leaves: returns once that is durable.
    ///
    /// # Errors
    /// It cannot be noted.
    pub(super) async fn begin_call(&mut self, call: EffectRecord) -> Result<(), EffectError> {
        let Some(under_way) = &mut self.under_way else { return Err(no_effect()) };
        under_way.is_noted = false;
        under_way.entry.calls.push(call);
        let entry = under_way.entry.clone();
        self.note(vec![entry]).await?;
        if let Some(under_way) = &mut self.under_way {
            under_way.is_noted = true;
        }
        Ok(())
    }

    /// Note how the last call has ended, before a wait: a host that ends meanwhile does not bill it as one of which
    /// nobody knows what has become.
    ///
    /// # Errors
    /// It cannot be noted.
    pub(super) async fn note_ended(&mut self) -> Result<(), EffectError> {
        let Some(under_way) = &self.under_way else { return Err(no_effect()) };
        self.note(vec![under_way.entry.clone()]).await
    }

    /// A call is over. It is noted with what follows.
    pub(super) fn end_call(&mut self, ended: EffectRecord) {
        let calls = self.under_way.as_mut().map(|under_way| &mut under_way.entry.calls);
        if let Some(last) = calls.and_then(|calls| calls.last_mut()) {
            *last = ended;
        }
    }

    /// Nobody was asked, and this is why.
    pub(super) fn refuse_call(&mut self, refused: EffectRecord) {
        if let Some(under_way) = &mut self.under_way {
            under_way.entry.calls.push(refused);
            under_way.is_noted = true;
        }
    }

    /// Note the answer: returns once that is durable. The guest may be told then.
    ///
    /// # Errors
    /// It cannot be noted; or it is larger than one turn may have.
    pub(super) async fn answer(
        &mut self,
        answer: EffectAnswer,
    ) -> Result<EffectAnswer, EffectError> {
        self.answer_with(answer, Vec::new()).await
    }

    /// The same, with the entries of exchanges that are over.
    async fn answer_with(
        &mut self,
        answer: EffectAnswer,
        mut entries: Vec<JournalEntry>,
    ) -> Result<EffectAnswer, EffectError> {
        let Some(UnderWay { mut entry, .. }) = self.under_way.take() else {
            return Err(no_effect());
        };
        for over in entries.iter().chain([&entry]) {
            self.bytes += over.calls.last().map_or(0, |call| call.received);
            self.lines.extend(over.calls.iter().cloned());
        }
        if let EffectAnswer::ToolList(listing) = &answer {
            self.bytes += listing.size();
        }
        if self.bytes > MAX_JOURNAL_BYTES {
            let most = MAX_JOURNAL_BYTES >> 20;
            let error = format!("the answers of one turn hold at most {most} MiB together");
            return Err(EffectError::TooMany(error));
        }
        entry.answer = Some(answer.clone());
        entries.push(entry);
        self.note(entries).await?;
        Ok(answer)
    }

    /// What was done for all effects, also for one that was cut off.
    pub(crate) fn into_lines(mut self) -> Vec<EffectRecord> {
        if let Some(UnderWay { mut entry, is_noted }) = self.under_way.take() {
            if !is_noted {
                entry.calls.pop();
            }
            entry.calls.iter_mut().for_each(end_in_the_dark);
            self.lines.append(&mut entry.calls);
        }
        for (_, mut entry) in std::mem::take(&mut self.exchanges) {
            entry.calls.iter_mut().for_each(end_in_the_dark);
            self.lines.append(&mut entry.calls);
        }
        // What was paid for and not come to again, because the turn has failed before.
        let ahead = std::mem::take(&mut self.ahead).into_iter().flat_map(|entry| entry.calls);
        self.lines.extend(ahead.map(replayed));
        // Exchanges end in another order than they begin in.
        self.lines.sort_by_key(|line| (line.seq, line.attempt));
        self.lines
    }

    /// Write these entries, of which there is one at least, in one commit.
    async fn note(&mut self, entries: Vec<JournalEntry>) -> Result<(), EffectError> {
        let mut entries = entries.into_iter();
        let Some(first) = entries.next() else { return Ok(()) };
        let mut transaction = Transaction::journal(self.session, first);
        for entry in entries {
            transaction = transaction.and(Transaction::journal(self.session, entry));
        }
        if let Some(opening) = &self.opening {
            let opened = Transaction::open_turn(opening.turn(self.session));
            let first = TurnAttempts { all: 1, since_answer: 1, answered: 0 };
            let first = Transaction::turn_attempts(self.session, first);
            transaction = opened.and(first).and(transaction);
        }
        self.is_open = true;
        let committed = self.store.commit(transaction).await;
        match &committed {
            Ok(()) => self.opening = None,
            // It was the first, and nothing was written.
            Err(error) if self.opening.is_some() && !matches!(error, StoreError::Unknown(_)) => {
                self.is_open = false;
            }
            Err(_) => {}
        }
        committed.map_err(host)
    }

    async fn read_ahead(&mut self) -> Result<(), StoreError> {
        let Some(read_to) = self.read_to else { return Ok(()) };
        let page = self.store.journal(self.session, read_to, PAGE).await?;
        self.read_to = page.next;
        self.ahead.extend(page.entries);
        Ok(())
    }

    /// Read all that was not read, for the bill of a turn that is not run again.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) async fn read_all(&mut self) -> Result<(), StoreError> {
        while self.read_to.is_some() {
            self.read_ahead().await?;
        }
        Ok(())
    }
}

impl Opening {
    fn turn(&self, session: SessionId) -> OpenTurn {
        let StartedTurn { id, sender, input, started_at, mail } = &*self.begun;
        OpenTurn {
            session,
            turn: *id,
            number: self.number,
            revision: self.revision,
            agent: self.agent,
            sender: sender.clone(),
            input: input.clone(),
            key: self.key.clone(),
            started_at: *started_at,
            deadline: self.deadline,
            fuel: self.fuel,
            monotonic_ns: self.monotonic_ns,
            mail: mail.as_ref().map(|mail| mail.number),
        }
    }
}

/// A call that was under way when the host or the turn ended: nobody knows what has become of it.
fn end_in_the_dark(call: &mut EffectRecord) {
    if call.outcome == EffectOutcome::Begun {
        call.outcome = EffectOutcome::Unknown;
        call.bill = if call.cost.0 == 0 { Bill::Free } else { Bill::Unknown };
    }
}

fn replayed(mut call: EffectRecord) -> EffectRecord {
    end_in_the_dark(&mut call);
    call.provenance = Provenance::Replayed;
    call
}

fn host(error: StoreError) -> EffectError {
    EffectError::Host(error.to_string())
}

fn no_effect() -> EffectError {
    EffectError::Host("an effect is noted that was not begun".to_owned())
}
