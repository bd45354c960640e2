//! Lists of sessions: what is asked and what is answered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::query::bounded;
use super::session::SessionBody;
use super::value::{Count, EndOfPage, Time, Word};
use crate::error::ApiError;
use dormouse::{
    AgentFilter, AgentOwner, AgentSelector, Between, Pattern, Residency, SessionInfo,
    SessionListing, SessionOrder, SessionQuery, Status,
};

/// `GET /api/sessions`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SessionsQuery {
    /// The number of the page, from 1 on. Default: 1.
    page: Option<Count>,
    /// The most sessions of the page: 1 to 200. Default: 50.
    page_size: Option<Count>,
    /// Another name of `pageSize`.
    limit: Option<Count>,
    /// What the page before calls `nextCursor`.
    cursor: Option<EndOfPage>,
    /// Another name of `cursor`.
    after: Option<EndOfPage>,
    /// What they are sorted by; with a `-`, the newest first. Default: `-createdAt`.
    sort: Option<Word<SessionOrder>>,
    pattern: Option<Word<Pattern>>,
    status: Option<Word<Status>>,
    /// Where the guest state is.
    residency: Option<Word<Residency>>,
    user_id: Option<String>,
    /// Tags with commas between them: sessions with any of them.
    tags: Vec<String>,
    /// Each one tag, which may have a comma in it.
    tag: Vec<String>,
    /// `name`, `name@version`, `owner/name`, `owner/name@version` or a digest.
    agent: Option<String>,
    conversation_id: Option<String>,
    thread_key: Option<String>,
    project_id: Option<String>,
    created_after: Option<Time>,
    created_before: Option<Time>,
    active_after: Option<Time>,
    active_before: Option<Time>,
}

/// The members of a group that are there, by their names: without the documents that clients have given, which each
/// member has from its coordinator.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MemberList {
    members: Vec<SessionBody>,
    count: usize,
}

impl From<Vec<SessionInfo>> for MemberList {
    fn from(members: Vec<SessionInfo>) -> MemberList {
        let count = members.len();
        let body = |member| SessionBody::from(member).without_documents();
        MemberList { members: members.into_iter().map(body).collect(), count }
    }
}

impl SessionsQuery {
    /// The number of the page. The first is 1.
    pub(crate) fn page(&self) -> usize {
        self.page.map_or(1, Count::size).max(1)
    }

    /// How many sessions the page may have.
    pub(crate) fn page_size(&self) -> usize {
        bounded(self.page_size.or(self.limit))
    }

    /// Where the guest state is.
    pub(crate) fn residency(&self) -> Option<Residency> {
        self.residency.map(|Word(residency)| residency)
    }

    /// All tags to look for.
    pub(crate) fn all_tags(&self) -> Vec<String> {
        all_tags(&self.tags, &self.tag)
    }
}

/// The tags in lists with commas between them, and those that are given one by one.
pub(super) fn all_tags(lists: &[String], single: &[String]) -> Vec<String> {
    let listed = lists.iter().flat_map(|list| list.split(',')).map(str::trim);
    let listed = listed.filter(|tag| !tag.is_empty()).map(str::to_owned);
    listed.chain(single.iter().cloned()).collect()
}

impl TryFrom<SessionsQuery> for SessionQuery {
    type Error = ApiError;

    /// # Errors
    /// The text for an agent can name none.
    fn try_from(query: SessionsQuery) -> Result<SessionQuery, ApiError> {
        let time = |time: Option<Time>| time.map(|Time(time)| time);
        Ok(SessionQuery {
            owner: None,
            tags: query.all_tags(),
            offset: (query.page() - 1).saturating_mul(query.page_size()),
            limit: query.page_size(),
            order: query.sort.map_or_else(SessionOrder::default, |Word(order)| order),
            after: query.cursor.or(query.after).map(|EndOfPage(cursor)| cursor),
            pattern: query.pattern.map(|Word(pattern)| pattern),
            status: query.status.map(|Word(status)| status),
            user_id: query.user_id,
            without_user: false,
            agent: query.agent.as_deref().map(agent_filter).transpose()?,
            conversation_id: query.conversation_id,
            thread_key: query.thread_key,
            project_id: query.project_id,
            created: Between {
                after: time(query.created_after),
                before: time(query.created_before),
            },
            active: Between { after: time(query.active_after), before: time(query.active_before) },
        })
    }
}

/// The agents that a text names: without an owner, those of this name whoever has them.
fn agent_filter(text: &str) -> Result<AgentFilter, ApiError> {
    let invalid = |error| ApiError::invalid_field("agent", format!("names no agent: {error}"));
    Ok(match text.parse::<AgentSelector>().map_err(invalid)? {
        AgentSelector::Name { owner, name, version } => {
            AgentFilter::Named { owner: owner.map(AgentOwner::Principal), name, version }
        }
        AgentSelector::Digest(digest) => AgentFilter::Component(digest),
    })
}

/// One page of a listing.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionList {
    sessions: Vec<SessionBody>,
    total: usize,
    page: usize,
    page_size: usize,
    count: usize,
    /// What to ask for as `cursor`, where the list goes on; `null` at its end.
    next_cursor: Option<String>,
    /// The same, by its first name.
    next: Option<String>,
}

impl SessionList {
    /// What was found, which was asked for as this page.
    pub(crate) fn new(found: SessionListing, page: usize, page_size: usize) -> SessionList {
        let next = found.next.map(|cursor| cursor.to_string());
        let sessions: Vec<_> = found.sessions.into_iter().map(SessionBody::from).collect();
        let (total, count) = (found.total, sessions.len());
        SessionList { sessions, total, page, page_size, count, next_cursor: next.clone(), next }
    }
}
