//! Which sessions to list, in which order, and where a list goes on.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use uuid::Uuid;

use super::StoreError;
use dormouse_domain::agent::{AgentName, AgentOwner, AgentRef, Digest, Version};
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::pattern::Pattern;
use dormouse_domain::session::Session;
use dormouse_domain::state::Status;
use dormouse_domain::time::Timestamp;

/// Which sessions to list. A session is listed that passes all filters.
#[derive(Clone, Debug, Default)]
pub struct SessionQuery {
    /// Only those of this owner.
    pub owner: Option<Principal>,
    /// Only those of this pattern.
    pub pattern: Option<Pattern>,
    /// Only those of this status.
    pub status: Option<Status>,
    /// Only those with this label.
    pub user_id: Option<String>,
    /// Only those that serve no user.
    pub without_user: bool,
    /// Only those with one of these tags. Empty: all.
    pub tags: Vec<String>,
    /// Only those that this agent serves.
    pub agent: Option<AgentFilter>,
    /// Only those of this conversation. A conversation that is a number is named by its JSON text.
    pub conversation_id: Option<String>,
    /// Only those of this thread.
    pub thread_key: Option<String>,
    /// Only those of this project.
    pub project_id: Option<String>,
    /// Only those created between these times: the times in their ids count.
    pub created: Between,
    /// Only those last active between these times.
    pub active: Between,
    /// In which order.
    pub order: SessionOrder,
    /// Only those behind this place. A place of a list of another order is refused
    /// ([`StoreError::CursorOfAnotherOrder`]).
    pub after: Option<SessionCursor>,
    /// How many of these to pass over. The store looks at each of them, so a caller that follows a list
    /// says `after` instead.
    pub offset: usize,
    /// How many to return.
    pub limit: usize,
}

/// A span of time without its ends. Absent: without end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// Later than this.
    pub after: Option<Timestamp>,
    /// Earlier than this.
    pub before: Option<Timestamp>,
}

impl Between {
    /// Whether a time lies between the ends.
    #[must_use]
    pub fn contains(self, time: Timestamp) -> bool {
        self.after.is_none_or(|after| time > after) && self.before.is_none_or(|end| time < end)
    }

    /// Whether every time does.
    #[must_use]
    pub fn is_unbounded(self) -> bool {
        self == Between::default()
    }
}

/// Which agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentFilter {
    /// Those of this name; of this owner and of this version, where they are given.
    Named {
        /// Whose they are. `None`: anybody's.
        owner: Option<AgentOwner>,
        /// Their name.
        name: AgentName,
        /// Their version. `None`: any.
        version: Option<Version>,
    },
    /// Those with this component.
    Component(Digest),
}

impl AgentFilter {
    /// Whether an agent is one of them.
    #[must_use]
    pub fn matches(&self, agent: &AgentRef) -> bool {
        match self {
            AgentFilter::Named { owner, name, version } => {
                agent.name == *name
                    && owner.as_ref().is_none_or(|owner| agent.owner == *owner)
                    && version.as_ref().is_none_or(|version| agent.version == *version)
            }
            AgentFilter::Component(digest) => agent.digest == *digest,
        }
    }
}

/// In which order sessions are listed. Sessions of the same time are in the order of their ids, or
/// against it, as the times are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SessionOrder {
    /// Those that were created last come first. Ids are in the order of creation.
    #[default]
    Newest,
    /// Those that were created first come first.
    Oldest,
    /// Those that were active last come first.
    MostRecentlyActive,
    /// Those that were not active for the longest come first.
    LeastRecentlyActive,
}

impl SessionOrder {
    /// All of them.
    pub const ALL: [SessionOrder; 4] = [
        SessionOrder::Newest,
        SessionOrder::Oldest,
        SessionOrder::MostRecentlyActive,
        SessionOrder::LeastRecentlyActive,
    ];

    /// Whether sessions are in the order of their activity, and not of their creation.
    #[must_use]
    pub fn is_by_activity(self) -> bool {
        match self {
            SessionOrder::Newest | SessionOrder::Oldest => false,
            SessionOrder::MostRecentlyActive | SessionOrder::LeastRecentlyActive => true,
        }
    }

    /// Whether later times come first.
    #[must_use]
    pub fn is_descending(self) -> bool {
        match self {
            SessionOrder::Newest | SessionOrder::MostRecentlyActive => true,
            SessionOrder::Oldest | SessionOrder::LeastRecentlyActive => false,
        }
    }

    /// The letter of this order in a cursor.
    fn letter(self) -> char {
        match self {
            SessionOrder::Newest => 'n',
            SessionOrder::Oldest => 'o',
            SessionOrder::MostRecentlyActive => 'm',
            SessionOrder::LeastRecentlyActive => 'l',
        }
    }
}

/// A place in a list of sessions: that of one session, as it was when it was listed. The list goes on
/// behind it whatever has become of the session since.
///
/// Its text is opaque to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCursor {
    /// The order of the list.
    pub order: SessionOrder,
    /// When the session was last active, in an order of activity; zero in the others.
    pub active_at: Timestamp,
    /// The session.
    pub id: SessionId,
}

impl SessionCursor {
    /// The place of a session that was last active at this time.
    #[must_use]
    pub fn new(order: SessionOrder, active_at: Timestamp, id: SessionId) -> SessionCursor {
        let active_at = if order.is_by_activity() { active_at } else { Timestamp::default() };
        SessionCursor { order, active_at, id }
    }

    /// The place of a session in a list of this order.
    #[must_use]
    pub fn of(order: SessionOrder, session: &Session) -> SessionCursor {
        SessionCursor::new(order, session.last_activity_at, session.id)
    }

    /// Which of two places of one order comes first.
    #[must_use]
    pub fn compare(&self, other: &SessionCursor) -> Ordering {
        let rising = (self.active_at, self.id).cmp(&(other.active_at, other.id));
        if self.order.is_descending() { rising.reverse() } else { rising }
    }
}

impl fmt::Display for SessionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.order.letter(), self.id.0.simple())?;
        if self.order.is_by_activity() { write!(f, "{:x}", self.active_at.0) } else { Ok(()) }
    }
}

/// The text is no cursor of a list of sessions.
#[derive(Debug, thiserror::Error)]
#[error("this is no cursor: it is the `next` of an earlier page, as it was given")]
pub struct InvalidCursor;

impl FromStr for SessionCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<SessionCursor, InvalidCursor> {
        let (letter, rest) = text.split_at_checked(1).ok_or(InvalidCursor)?;
        let is_meant = |order: &SessionOrder| letter.starts_with(order.letter());
        let order = SessionOrder::ALL.into_iter().find(is_meant).ok_or(InvalidCursor)?;
        let (id, time) = rest.split_at_checked(32).ok_or(InvalidCursor)?;
        let id = Uuid::try_parse(id).map_err(|_| InvalidCursor)?;
        let time = match (order.is_by_activity(), time) {
            (false, "") => 0,
            (false, _) => return Err(InvalidCursor),
            (true, time) => u64::from_str_radix(time, 16).map_err(|_| InvalidCursor)?,
        };
        Ok(SessionCursor { order, active_at: Timestamp(time.cast_signed()), id: SessionId(id) })
    }
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct SessionPage {
    /// The sessions, in the order of the query.
    pub sessions: Vec<Session>,
    /// How many match, over all pages.
    pub total: usize,
    /// Where the list goes on; `None` at its end.
    pub next: Option<SessionCursor>,
}

impl SessionQuery {
    /// The place behind which the page begins.
    ///
    /// # Errors
    /// [`StoreError::CursorOfAnotherOrder`]
    pub fn start(&self) -> Result<Option<SessionCursor>, StoreError> {
        match self.after {
            Some(after) if after.order != self.order => Err(StoreError::CursorOfAnotherOrder),
            after => Ok(after),
        }
    }

    /// Whether a session passes all filters.
    #[must_use]
    pub fn matches(&self, session: &Session) -> bool {
        let profile = &session.profile;
        let is =
            |wanted: &Option<String>, label: &Option<String>| wanted.is_none() || wanted == label;
        self.owner.as_ref().is_none_or(|owner| *owner == session.owner)
            && self.pattern.is_none_or(|pattern| pattern == profile.pattern)
            && self.status.is_none_or(|status| status == session.state.status())
            && is(&self.user_id, &profile.user_id)
            && !(self.without_user && profile.user_id.is_some())
            && (self.tags.is_empty() || self.tags.iter().any(|tag| profile.tags.contains(tag)))
            && self.agent.as_ref().is_none_or(|agent| agent.matches(&profile.agent))
            && is(&self.conversation_id, &profile.conversation_id.as_ref().map(conversation))
            && is(&self.thread_key, &profile.thread_key)
            && is(&self.project_id, &profile.project_id)
            && self.created.contains(session.id.made_at().unwrap_or_default())
            && self.active.contains(session.last_activity_at)
    }
}

/// What a conversation is called in a query.
pub(crate) fn conversation(id: &Value) -> String {
    match id {
        Value::String(text) => text.clone(),
        number => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_back_from_its_text(
            order in proptest::sample::select(SessionOrder::ALL.as_slice()),
            time in any::<i64>(),
            id in any::<u128>(),
        ) {
            let id = SessionId(Uuid::from_u128(id));
            let cursor = SessionCursor::new(order, Timestamp(time), id);
            prop_assert_eq!(cursor.to_string().parse::<SessionCursor>().ok(), Some(cursor));
        }

        #[test]
        fn any_other_text_is_refused(text in ".{0,60}") {
            if let Ok(cursor) = text.parse::<SessionCursor>() {
                prop_assert_eq!(cursor.to_string(), text.to_lowercase());
            }
        }
    }
}
