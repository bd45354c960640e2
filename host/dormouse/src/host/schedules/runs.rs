//! One run of a schedule: a session is created or found, gets the message, and what comes of it is noted.
//!
//! ```text
//!            commit 1                          commit 2                      commit 3
//!  due ──▶ the session, the run with  ──▶  its turn, with the key  ──▶  what has come of the run;
//!          it, and the next due time       of the run                   the key is forgotten
//! ```
//!
//! Each time is run once, whenever the host is killed:
//!
//! - Commit 1 is one transaction, which expects the revision of the record that was due. Before it nothing has happened,
//!   and the schedule is due as before. After it the schedule is due later, and the record has a run that goes on: so no
//!   other task, and no host after this one, can begin a run for the same time. A session that was found by its thread
//!   is not written; the run is, in the same way.
//! - The message of the run goes to that session with a key that follows from the schedule and the number of the run
//!   ([`SessionSchedule::run_key`]), and is sent until there is a commit 3: by a host that is started again for each run
//!   that goes on, before anything else is done for the schedule. Of messages with one key, one begins a turn: the row of
//!   the key is in commit 2, which expects that there was none; the journal of an open turn has the key, and so have the
//!   inbox and the registry while it runs.
//! - Where commit 2 is durable, the message finds its turn by the row, and begins none. The row of such a key lives until
//!   commit 3 removes it, and not for a day as others do (`session/idempotency`): so a host may stand still for long
//!   between the two.
//! - Commit 3 counts the outcome once: it expects the revision, and does nothing where the run does not go on.

use std::sync::Arc;
use std::time::Duration;

use super::super::message::{AskedMessage, Posted};
use super::super::sessions::Alongside;
use super::super::{CreateError, Host};
use super::{ScheduleError, Schedules, TRIES};
use crate::session::idempotency;
use crate::session::request::{AnswerSource, FinishedTurn, SendError, Unavailable};
use crate::session::schedules::Claim;
use dormouse_domain::access::Access;
use dormouse_domain::agent::Digest;
use dormouse_domain::code;
use dormouse_domain::event::{Event, EventBody};
use dormouse_domain::id::SessionId;
use dormouse_domain::message::OnBusy;
use dormouse_domain::schedule::{
    RunOutcome, ScheduleRun, ScheduleStatus, ScheduledWork, SessionSchedule,
};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{Sender, TurnOutcome, TurnRecord};
use dormouse_store::{StoreError, Transaction};

/// How long after a run could not go on it is tried again,
const AGAIN: Duration = Duration::from_secs(30);
/// and how often. Where the store does not take a commit, it is tried for ever: nothing could be noted of that either.
const MOST_TRIES: u32 = 3;

/// The run of a schedule, before it has a session.
#[derive(Clone)]
pub(in super::super) struct RunStart {
    /// The record that is due.
    schedule: SessionSchedule,
    due: Timestamp,
}

impl RunStart {
    /// The run begins in this session.
    pub(in super::super) fn transaction(&self, session: SessionId, now: Timestamp) -> Transaction {
        let next = self.schedule.begun(self.due, session, now);
        let told = EventBody::ScheduleRun { run: next.last_run, session };
        let told = Event::schedule(&next, now, told);
        Transaction::schedule(next, None, vec![told])
    }
}

/// Why a run does not go on now. It is tried again.
enum Stuck {
    /// The store did not do it.
    Store(StoreError),
    /// The host or the session has no room for the message.
    Send(SendError),
}

impl From<StoreError> for Stuck {
    fn from(error: StoreError) -> Stuck {
        Stuck::Store(error)
    }
}

/// A run whose session has the message, or a turn that has answered it before.
struct Sent {
    schedule: SessionSchedule,
    run: ScheduleRun,
    posted: Posted,
}

/// Begin what is due of a schedule, or go on with its run, and note what comes of it.
pub(super) async fn run_due(host: Host, mut claim: Claim) {
    match begin(&host, &claim, None).await {
        Ok(Some(sent)) => follow(host, claim, sent).await,
        Ok(None) => {}
        Err(stuck) => try_again(&host, &mut claim, stuck).await,
    }
}

/// Begin a run that its owner has asked for. Answers with it once its session has the message, or it was refused.
pub(super) async fn run_now(host: Host, mut claim: Claim) -> Result<ScheduleRun, ScheduleError> {
    let id = claim.id;
    let (runtime, now) = (host.inner.services.sandbox.runtime().clone(), host.inner.clock.now());
    match begin(&host, &claim, Some(now)).await {
        Ok(Some(sent)) => {
            let run = sent.run.clone();
            runtime.spawn(follow(host, claim, sent));
            Ok(run)
        }
        Ok(None) => {
            let schedule = Schedules(owning(&host, &claim)).get(id).await?;
            schedule.runs.last().cloned().ok_or(ScheduleError::NotFound(id))
        }
        Err(Stuck::Store(error)) => Err(error.into()),
        Err(stuck @ Stuck::Send(_)) => {
            // The run has begun: it goes on when there is room.
            try_again(&host, &mut claim, stuck).await;
            let schedule = Schedules(owning(&host, &claim)).get(id).await?;
            schedule.runs.last().cloned().ok_or(ScheduleError::NotFound(id))
        }
    }
}

/// The host as the owner of the schedule calls it.
fn owning(host: &Host, claim: &Claim) -> Host {
    host.acting_for(Access::user(claim.owner.clone()))
}

/// Begin a run, or go on with the one that goes on, until its session has the message. `asked`: when its owner has
/// asked for it; else it begins where it is due. `None`: it has not begun, or was refused.
async fn begin(
    host: &Host,
    claim: &Claim,
    asked: Option<Timestamp>,
) -> Result<Option<Sent>, Stuck> {
    let (inner, id) = (&host.inner, claim.id);
    for _ in 0..TRIES {
        let Some(schedule) = inner.store.schedule(id).await? else {
            inner.services.schedules.remove(id);
            return Ok(None);
        };
        let now = inner.clock.now();
        if let Some(run) = schedule.running().cloned() {
            return send(host, claim, schedule, run).await;
        }
        let due = asked.or(schedule.status.due().filter(|due| *due <= now));
        let Some(due) = due else {
            inner.services.schedules.put(&schedule);
            return Ok(None);
        };
        match create(host, claim, &schedule, due).await {
            // Its owner has changed it meanwhile.
            Err(Stuck::Store(StoreError::ScheduleConflict(_))) => {}
            begun => {
                let begun = begun?;
                if let Some(schedule) = inner.store.schedule(id).await? {
                    inner.services.schedules.put(&schedule);
                }
                if !begun {
                    return Ok(None);
                }
            }
        }
    }
    Err(Stuck::Store(StoreError::ScheduleConflict(id)))
}

/// Create the session of a run, or find it by its thread: commit 1. Answers whether it was not refused.
async fn create(
    host: &Host,
    claim: &Claim,
    schedule: &SessionSchedule,
    due: Timestamp,
) -> Result<bool, Stuck> {
    let store = &host.inner.store;
    let refusal = match store.scheduled_work(claim.id).await {
        Ok(Some(ScheduledWork { session, .. })) => {
            let start = RunStart { schedule: schedule.clone(), due };
            let sessions = owning(host, claim).sessions();
            match sessions.create_with(session, Alongside::Run(Box::new(start))).await {
                Ok(_) => return Ok(true),
                Err(CreateError::Store(StoreError::QuotaReached { .. })) => code::QUOTA_EXCEEDED,
                Err(CreateError::Store(StoreError::SnapshotGone)) => {
                    StoreError::SnapshotGone.code()
                }
                Err(CreateError::Store(error)) => return Err(error.into()),
                Err(error) => error.code(),
            }
        }
        Ok(None) | Err(StoreError::Damaged(_)) => code::INTERNAL,
        Err(error) => return Err(error.into()),
    };
    let now = host.inner.clock.now();
    let next = schedule.refused(due, refusal, now);
    let told = stopped(schedule, &next, now);
    store.commit(Transaction::schedule(next, None, told)).await?;
    Ok(false)
}

/// Give the session of a run the message. It may have it already.
async fn send(
    host: &Host,
    claim: &Claim,
    schedule: SessionSchedule,
    run: ScheduleRun,
) -> Result<Option<Sent>, Stuck> {
    let RunOutcome::Running { session } = run.outcome else { return Ok(None) };
    let content = match host.inner.store.scheduled_work(claim.id).await {
        Ok(work) => work.map(|work| work.message),
        Err(StoreError::Damaged(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let Some(content) = content else {
        let lost = RunOutcome::Refused { session: Some(session), code: code::INTERNAL.to_owned() };
        conclude(host, claim, run.number, lost).await?;
        return Ok(None);
    };
    let asked = AskedMessage {
        sender: Sender::Schedule(schedule.terms.name.clone()),
        content,
        key: Some(schedule.run_key(run.number)),
        request: Some(request(&schedule, &run)),
        on_busy: OnBusy::Queue,
        if_revision: None,
    };
    match owning(host, claim).sessions().get(session).post(asked).await {
        Ok(posted) => Ok(Some(Sent { schedule, run, posted })),
        Err(error) => refused_or_stuck(host, claim, &run, session, error).await.map(|()| None),
    }
}

/// The session has not taken the message: that is what the run has come to, unless it is tried again.
async fn refused_or_stuck(
    host: &Host,
    claim: &Claim,
    run: &ScheduleRun,
    session: SessionId,
    error: SendError,
) -> Result<(), Stuck> {
    if passes(&error) {
        return Err(Stuck::Send(error));
    }
    let refused = RunOutcome::Refused { session: Some(session), code: error.code().to_owned() };
    conclude(host, claim, run.number, refused).await.map_err(Stuck::Store)
}

/// Wait for the turn of a run, and note what has come of it. Nobody holds the host meanwhile.
async fn follow(host: Host, mut claim: Claim, sent: Sent) {
    let Sent { schedule, run, posted } = sent;
    let Some(session) = run.outcome.session() else { return };
    let weak = Arc::downgrade(&host.inner);
    let answered = match posted {
        Posted::Recorded(turn) => read(&host, session, turn).await,
        Posted::Sent(AnswerSource::Driver(answer, output)) => {
            claim.going(output);
            drop(host);
            match answer.await {
                Ok(Ok(FinishedTurn { turn, .. })) => Ok(outcome(&turn)),
                Ok(Err(SendError::Failed(ended))) => Ok(outcome(&ended.turn)),
                Ok(Err(error)) => Err(error),
                // The host ends, or the driver has died: the message is sent again.
                Err(_) => Err(Unavailable::ShuttingDown.into()),
            }
        }
        Posted::Sent(AnswerSource::Followed(key)) => {
            claim.going(key.turn.output.clone());
            drop(host);
            key.turn.output.ended().await;
            let Some(inner) = weak.upgrade() else { return };
            let host = Host::of(inner);
            match key.turn.refusal.get() {
                Some(refusal) => Err(refusal.clone()),
                None => recorded(&host, &schedule, &run, session).await,
            }
        }
    };
    let Some(inner) = weak.upgrade() else { return };
    let host = Host::of(inner);
    let noted = match answered {
        Ok(outcome) => conclude(&host, &claim, run.number, outcome).await.map_err(Stuck::Store),
        Err(error) => refused_or_stuck(&host, &claim, &run, session, error).await,
    };
    if let Err(stuck) = noted {
        try_again(&host, &mut claim, stuck).await;
    }
}

/// What the turn says that an earlier message of this run has begun.
async fn recorded(
    host: &Host,
    schedule: &SessionSchedule,
    run: &ScheduleRun,
    session: SessionId,
) -> Result<RunOutcome, SendError> {
    let (store, key) = (&host.inner.store, schedule.run_key(run.number));
    match idempotency::recorded_turn(&**store, &key, request(schedule, run), session).await? {
        Some(turn) => read(host, session, turn).await,
        // It was dropped before a turn began.
        None => Err(Unavailable::ShuttingDown.into()),
    }
}

/// What stands for the message of a run: not its text, which the owner may have changed since it was sent.
fn request(schedule: &SessionSchedule, run: &ScheduleRun) -> Digest {
    Digest::of(schedule.run_key(run.number).key.as_bytes())
}

async fn read(host: &Host, session: SessionId, turn: u64) -> Result<RunOutcome, SendError> {
    match host.inner.store.turn(session, turn).await? {
        Some(turn) => Ok(outcome(&turn)),
        None => Err(SendError::TurnGone(turn)),
    }
}

fn outcome(turn: &TurnRecord) -> RunOutcome {
    let (session, number) = (turn.session, turn.number);
    match &turn.outcome {
        TurnOutcome::Answered { .. } => RunOutcome::Answered { session, turn: number },
        TurnOutcome::Failed(failure) => {
            RunOutcome::Failed { session, turn: number, code: failure.code }
        }
    }
}

/// Note what a run has come to: commit 3.
async fn conclude(
    host: &Host,
    claim: &Claim,
    number: u64,
    outcome: RunOutcome,
) -> Result<(), StoreError> {
    let inner = &host.inner;
    for _ in 0..TRIES {
        let Some(before) = inner.store.schedule(claim.id).await? else {
            // Removed meanwhile: only the key is left, under the name that it would have had.
            let key = SessionSchedule::key_of(claim.id, &claim.owner, number);
            return inner.store.commit(Transaction::forget_key(key)).await;
        };
        let now = inner.clock.now();
        let Some(next) = before.ended(number, outcome.clone(), now) else { return Ok(()) };
        let told = stopped(&before, &next, now);
        let key = Transaction::forget_key(before.run_key(number));
        let noted = Transaction::schedule(next.clone(), None, told).and(key);
        match inner.store.commit(noted).await {
            Err(StoreError::ScheduleConflict(_) | StoreError::ScheduleNotFound(_)) => {}
            committed => {
                committed?;
                metrics::counter!("dormouse_schedule_runs_total", "outcome" => outcome.as_str())
                    .increment(1);
                inner.services.schedules.put(&next);
                return Ok(());
            }
        }
    }
    Err(StoreError::ScheduleConflict(claim.id))
}

/// What is told where a schedule has stopped with this change.
fn stopped(before: &SessionSchedule, after: &SessionSchedule, now: Timestamp) -> Vec<Event> {
    match (before.status, after.status) {
        (ScheduleStatus::Active { .. }, ScheduleStatus::Stopped(cause)) => {
            vec![Event::schedule(after, now, EventBody::ScheduleStopped { cause })]
        }
        (_, _) => Vec::new(),
    }
}

/// Whether a message that was refused for this is sent again later.
fn passes(error: &SendError) -> bool {
    match error {
        SendError::Unavailable(
            Unavailable::OutOfMemory | Unavailable::ShuttingDown | Unavailable::Store(_),
        )
        | SendError::QueueFull(_)
        | SendError::ShareSpent
        | SendError::RateLimited(_) => true,
        SendError::Unavailable(
            Unavailable::NotFound(_)
            | Unavailable::Damaged(_)
            | Unavailable::Unusable(_)
            | Unavailable::Host(_),
        )
        | SendError::Denied(_)
        | SendError::Busy(_)
        | SendError::IdempotencyKeyReused(_)
        | SendError::TurnGone(_)
        | SendError::PreconditionFailed(_)
        | SendError::Failed(_)
        | SendError::TooLarge
        | SendError::Forbidden(_)
        | SendError::Invalid(_) => false,
    }
}

/// Have a run tried again after a while. A message that was not taken so often is refused for good.
async fn try_again(host: &Host, claim: &mut Claim, stuck: Stuck) {
    let at = host.inner.clock.now().after(AGAIN);
    let error = match stuck {
        Stuck::Store(error) => {
            tracing::warn!(schedule = %claim.id, %error, "a run is tried again");
            claim.again(at, u32::MAX);
            return;
        }
        Stuck::Send(error) => error,
    };
    tracing::warn!(schedule = %claim.id, %error, "the message of a schedule is sent again");
    let is_over = host.inner.services.liveness.is_closed();
    if is_over || claim.again(at, MOST_TRIES) {
        return;
    }
    let Ok(Some(schedule)) = host.inner.store.schedule(claim.id).await else { return };
    let Some(run) = schedule.running() else { return };
    let session = run.outcome.session();
    let refused = RunOutcome::Refused { session, code: error.code().to_owned() };
    if let Err(error) = conclude(host, claim, run.number, refused).await {
        tracing::warn!(schedule = %claim.id, %error, "a run is tried again");
        claim.again(at, u32::MAX);
    }
}
