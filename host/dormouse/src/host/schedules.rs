//! Schedules: sessions that the host gives a message by itself, each minute, day or year.

mod runs;

pub(super) use runs::RunStart;

use std::sync::Arc;

use tokio::task::AbortHandle;

use super::{CreateError, Host, Message, to_its_end};
use crate::session::request::SendError;
use crate::session::schedules::{self, Claim, NotClaimed};
use dormouse_domain::access::{Action, Forbidden};
use dormouse_domain::creation::{InvalidField, NewSession};
use dormouse_domain::event::{Event, EventBody};
use dormouse_domain::id::{Principal, ScheduleId};
use dormouse_domain::schedule::{
    DEFAULT_MAX_FAILURES, MAX_SCHEDULES, SchedulePatch, ScheduleRun, ScheduleTerms, ScheduledWork,
    SessionSchedule,
};
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::{Schedule, TimerError};
use dormouse_domain::turn::Part;
use dormouse_store::{StoreError, Transaction};

/// Start what is due, for ever. Nobody holds the host for it: a host that nobody holds any more ends, and its runs with
/// it.
pub(super) fn keep(host: &Host) -> AbortHandle {
    let (weak, services) = (Arc::downgrade(&host.inner), Arc::clone(&host.inner.services));
    let runtime = services.sandbox.runtime().clone();
    let start = {
        let runtime = runtime.clone();
        move |claim| match weak.upgrade() {
            Some(inner) => {
                runtime.spawn(runs::run_due(Host::of(inner), claim));
                true
            }
            None => false,
        }
    };
    runtime.spawn(schedules::keep(services, start)).abort_handle()
}

/// How often a change is tried again that another has come before.
pub(super) const TRIES: usize = 16;

/// A schedule to create.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use dormouse::{Host, NewSchedule, NewSession, Pattern};
///
/// let host = Host::builder().in_memory().build().await?;
/// let schedules = host.schedules();
/// let daily = schedules.cron("0 9 * * MON-FRI").await?;
/// let counter = NewSession::agent("counter").pattern(Pattern::Hybrid);
/// let report = NewSchedule::new("report", daily, counter, "the report, please");
/// let created = schedules.create(report).await?;
/// let run = schedules.run(created.id).await?;
/// assert!(run.outcome.session().is_some());
/// # host.shut_down().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct NewSchedule {
    /// Its name: 1 to 100 characters. Others may have the same.
    pub name: String,
    /// When it is due.
    pub cron: Schedule,
    /// The session that each run creates, or finds by its thread.
    pub session: NewSession,
    /// What the session is sent, within the bounds of a message.
    pub message: Vec<Part>,
    /// Failures in a row that stop it, 1 to 1,000.
    pub max_failures: u32,
}

impl NewSchedule {
    /// A schedule that gives such a session this message.
    #[must_use]
    pub fn new(
        name: &str,
        cron: Schedule,
        session: NewSession,
        message: impl Into<Message>,
    ) -> NewSchedule {
        NewSchedule {
            name: name.to_owned(),
            cron,
            session,
            message: message.into().content,
            max_failures: DEFAULT_MAX_FAILURES,
        }
    }
}

/// Why a schedule was not created, found, changed or run. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// A field is out of bounds.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    /// The session could not be created as it is asked for.
    #[error(transparent)]
    Session(#[from] Box<CreateError>),
    /// The message is out of bounds.
    #[error(transparent)]
    Message(#[from] Box<SendError>),
    /// There is no such schedule.
    #[error("there is no schedule {0}; GET /api/schedules lists those there are")]
    NotFound(ScheduleId),
    /// A run of it goes on, or is about to begin.
    #[error("a run of the schedule goes on; ask for another when it is over")]
    Running,
    /// There are too many.
    #[error("an owner has {MAX_SCHEDULES} schedules at most; delete one first")]
    TooMany,
    /// The caller is a reader.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The store did not do it.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for ScheduleError {
    fn from(error: StoreError) -> ScheduleError {
        match error {
            StoreError::ScheduleNotFound(id) => ScheduleError::NotFound(id),
            error => ScheduleError::Store(error),
        }
    }
}

/// One page of the schedules of a caller, in the order of their creation.
#[derive(Clone, Debug)]
pub struct ScheduleListing {
    /// The schedules.
    pub schedules: Vec<SessionSchedule>,
    /// How many there are, over all pages.
    pub total: usize,
    /// Where the list goes on; `None` at its end.
    pub next: Option<ScheduleId>,
}

/// The schedules of one caller; to an admin, those of all.
///
/// A schedule belongs to its owner, and so do the sessions that its runs create: a run may do what its owner may, and
/// nothing more, also where an admin has changed it. It does not depend on the key that it was created with, as
/// sessions do not: an owner all whose keys are revoked has schedules that run until an admin pauses or deletes them.
#[derive(Clone)]
pub struct Schedules(pub(super) Host);

impl Schedules {
    /// The times that this text says: five fields of cron, in UTC, or `@hourly`, `@daily`, `@weekly`, `@monthly`,
    /// `@yearly`.
    ///
    /// # Errors
    /// [`InvalidField`]: the text says none, or such that never come.
    pub async fn cron(&self, text: &str) -> Result<Schedule, InvalidField> {
        let (text, now) = (text.to_owned(), self.0.inner.clock.now());
        // To find that no day is like that takes some milliseconds.
        let parsed = tokio::task::spawn_blocking(move || Schedule::parse(&text, now)).await;
        match parsed {
            Ok(Ok(cron)) => Ok(cron),
            Ok(Err(TimerError::Invalid(problem))) => Err(InvalidField::new("cron", problem)),
            Ok(Err(TimerError::TooMany)) | Err(_) => {
                Err(InvalidField::new("cron", "could not be read"))
            }
        }
    }

    /// Create a schedule, which is due at the first of its times from now on.
    ///
    /// # Errors
    /// [`ScheduleError`]
    pub async fn create(&self, new: NewSchedule) -> Result<SessionSchedule, ScheduleError> {
        self.0.may(Action::Change)?;
        let NewSchedule { name, cron, session, message, max_failures } = new;
        let terms = ScheduleTerms { name, cron, max_failures };
        terms.check()?;
        let owner = self.0.caller().clone();
        let work = ScheduledWork { session, message };
        self.check(&owner, &work).await?;
        let this = self.clone();
        to_its_end(async move {
            let inner = &this.0.inner;
            let book = &inner.services.schedules;
            let _room = book.room(&owner).ok_or(ScheduleError::TooMany)?;
            let (id, now) = (ScheduleId(inner.clock.new_id()), inner.clock.now());
            let schedule = SessionSchedule::new(id, owner, terms, now);
            let name = schedule.terms.name.clone();
            let told = Event::schedule(&schedule, now, EventBody::ScheduleCreated { name });
            let new = Transaction::schedule(schedule.clone(), Some(work), vec![told]);
            inner.store.commit(new).await?;
            book.put(&schedule);
            Ok(schedule)
        })
        .await
    }

    /// The caller's schedules behind this one, at most `limit`, in the order of their creation.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn list(
        &self,
        after: Option<ScheduleId>,
        limit: usize,
    ) -> Result<ScheduleListing, StoreError> {
        let inner = &self.0.inner;
        let book = &inner.services.schedules;
        let (ids, total) = book.list(self.0.access().only(), after, limit.saturating_add(1));
        let next = ids.get(limit.saturating_sub(1)).copied().filter(|_| ids.len() > limit);
        let mut schedules = Vec::with_capacity(ids.len());
        for id in ids.into_iter().take(limit) {
            // Removed since.
            let Some(schedule) = inner.store.schedule(id).await? else { continue };
            schedules.push(schedule.seen_at(inner.clock.now()));
        }
        Ok(ScheduleListing { schedules, total, next })
    }

    /// The schedule of this id, with its newest runs.
    ///
    /// # Errors
    /// [`ScheduleError::NotFound`]
    pub async fn get(&self, id: ScheduleId) -> Result<SessionSchedule, ScheduleError> {
        let now = self.0.inner.clock.now();
        Ok(self.stored(id).await?.seen_at(now))
    }

    /// What a schedule does.
    ///
    /// # Errors
    /// [`ScheduleError::NotFound`]
    pub async fn work(&self, id: ScheduleId) -> Result<ScheduledWork, ScheduleError> {
        self.stored(id).await?;
        let work = self.0.inner.store.scheduled_work(id).await?;
        work.ok_or(ScheduleError::NotFound(id))
    }

    /// Change a schedule.
    ///
    /// # Errors
    /// [`ScheduleError`]
    pub async fn change(
        &self,
        id: ScheduleId,
        patch: SchedulePatch,
    ) -> Result<SessionSchedule, ScheduleError> {
        self.0.may(Action::Change)?;
        let owner = self.stored(id).await?.owner;
        let mut work = None;
        if patch.session.is_some() || patch.message.is_some() {
            let ScheduledWork { session, message } = self.work(id).await?;
            let next = ScheduledWork {
                session: patch.session.clone().unwrap_or(session),
                message: patch.message.clone().unwrap_or(message),
            };
            self.check(&owner, &next).await?;
            work = Some(next);
        }
        let this = self.clone();
        to_its_end(async move {
            this.commit(id, |before, now| {
                let next = before.patched(&patch, now)?;
                Ok((Transaction::schedule(next.clone(), work.clone(), Vec::new()), next))
            })
            .await
        })
        .await
    }

    /// Remove a schedule. The sessions that it has created stay as they are, and so does a turn that goes on.
    ///
    /// # Errors
    /// [`ScheduleError::NotFound`]
    pub async fn delete(&self, id: ScheduleId) -> Result<(), ScheduleError> {
        self.0.may(Action::Change)?;
        let this = self.clone();
        to_its_end(async move {
            this.commit(id, |before, now| {
                let told = Event::schedule(before, now, EventBody::ScheduleDeleted);
                let removal = Transaction::remove_schedule(id, before.revision, vec![told]);
                Ok((removal, before.clone()))
            })
            .await?;
            this.0.inner.services.schedules.remove(id);
            Ok(())
        })
        .await
    }

    /// Run a schedule now, whether it is active or not. Returns once its session has the message, or the run was
    /// refused: the run says which. When the schedule is due next stays as it is.
    ///
    /// # Errors
    /// [`ScheduleError::Running`], and others as for the rest.
    pub async fn run(&self, id: ScheduleId) -> Result<ScheduleRun, ScheduleError> {
        self.0.may(Action::Change)?;
        self.stored(id).await?;
        let claim =
            Claim::of(&self.0.inner.services, id).map_err(|not_claimed| match not_claimed {
                NotClaimed::Unknown => ScheduleError::NotFound(id),
                NotClaimed::Busy => ScheduleError::Running,
            })?;
        let host = self.0.clone();
        to_its_end(runs::run_now(host, claim)).await
    }

    /// The schedule of this id, where the caller may see it.
    async fn stored(&self, id: ScheduleId) -> Result<SessionSchedule, ScheduleError> {
        let found = self.0.inner.store.schedule(id).await?.ok_or(ScheduleError::NotFound(id))?;
        match self.0.access().only() {
            Some(caller) if found.owner != *caller => Err(ScheduleError::NotFound(id)),
            Some(_) | None => Ok(found),
        }
    }

    /// Whether this owner could do this now.
    async fn check(&self, owner: &Principal, work: &ScheduledWork) -> Result<(), ScheduleError> {
        Message::from(work.message.clone()).check().map_err(Box::new)?;
        let sessions = self.0.acting_as(owner.clone()).sessions();
        sessions.check(&work.session).await.map_err(|error| Box::new(error).into())
    }

    /// Commit what follows from the record as it is then, and have memory follow. Answers
    /// with the record after that.
    async fn commit(
        &self,
        id: ScheduleId,
        mut next: impl FnMut(
            &SessionSchedule,
            Timestamp,
        ) -> Result<(Transaction, SessionSchedule), ScheduleError>,
    ) -> Result<SessionSchedule, ScheduleError> {
        let inner = &self.0.inner;
        let mut tries = 0;
        loop {
            let before = self.stored(id).await?;
            let (transaction, after) = next(&before, inner.clock.now())?;
            match inner.store.commit(transaction).await {
                Err(StoreError::ScheduleConflict(_)) if tries < TRIES => tries += 1,
                committed => {
                    committed?;
                    inner.services.schedules.put(&after);
                    return Ok(after);
                }
            }
        }
    }
}
