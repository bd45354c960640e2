//! The log of events: what has happened to sessions, agents, keys and schedules, in the order of the commits.
//!
//! An event is written in the same commit as the change that it tells of, so that none is lost and
//! none invented. Readers follow the log by cursor.
//!
//! [`EventBody`] has a variant for each kind of event, with its particulars. The JSON object of these
//! particulars, which the wire and the disk have, is made and read in `payload` and nowhere else.

mod body;
mod kind;
mod payload;

pub use body::{
    EventBody, ResumeCause, ResumeOutcome, SessionField, SessionUpdate, SleepCause, UpgradeOutcome,
};
pub use kind::EventKind;
pub use payload::InvalidPayload;

use crate::access::KeyId;
use crate::agent::AgentOwner;
use crate::id::{Principal, ScheduleId, SessionId};
use crate::schedule::SessionSchedule;
use crate::session::Session;
use crate::time::Timestamp;

/// The place of an event in the log of all events: counted from 1, without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub u64);

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Whose the subject was when it happened: this principal sees the event for as long as the log
    /// has it, whatever has become of the subject. `None` in events from before they had owners.
    pub owner: Option<AgentOwner>,
    /// The session, the agent, the key or the schedule that it happened to.
    pub subject: EventSubject,
    /// When.
    pub occurred_at: Timestamp,
    /// What happened.
    pub body: EventBody,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventSubject {
    /// A session.
    Session(SessionId),
    /// An agent: `name@version` of one of the host's, `owner/name@version` of one that was uploaded.
    Agent(String),
    /// A key of the API.
    Key(KeyId),
    /// A schedule of sessions.
    Schedule(ScheduleId),
}

impl Event {
    /// An event of this session.
    #[must_use]
    pub fn session(session: &Session, occurred_at: Timestamp, body: EventBody) -> Event {
        Event::owned(&session.owner, session.id, occurred_at, body)
    }

    /// An event of a session of this owner, where the record is not at hand.
    #[must_use]
    pub fn owned(
        owner: &Principal,
        session: SessionId,
        occurred_at: Timestamp,
        body: EventBody,
    ) -> Event {
        let owner = Some(AgentOwner::Principal(owner.clone()));
        Event { owner, subject: EventSubject::Session(session), occurred_at, body }
    }

    /// An event of this schedule.
    #[must_use]
    pub fn schedule(schedule: &SessionSchedule, occurred_at: Timestamp, body: EventBody) -> Event {
        let owner = Some(AgentOwner::Principal(schedule.owner.clone()));
        Event { owner, subject: EventSubject::Schedule(schedule.id), occurred_at, body }
    }

    /// What kind of event it is.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.body.kind()
    }
}
