//! What a store must answer, as a few ordered maps say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use proptest::sample::Index;

use super::KEPT;
use super::examples::{session, session_id, uuid};
use crate::{
    Between, EventEntry, MAX_REMOVED_CELLS, NewSessionRecord, Page, SessionQuery, Statistics,
    StatisticsQuery, Sums, TurnCommit, WorldRow,
};
use dormouse_domain::access::{AccessKey, KeyId};
use dormouse_domain::account::{Account, AccountChange, AccountId};
use dormouse_domain::agent::{Agent, AgentRef};
use dormouse_domain::deadline;
use dormouse_domain::event::{Cursor, Event};
use dormouse_domain::id::{Principal, ScheduleId, SessionId, SnapshotId};
use dormouse_domain::journal::{JournalEntry, OpenTurn, TurnAttempts};
use dormouse_domain::mail::Mail;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::schedule::{ScheduledWork, SessionSchedule};
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::{GuestState, ResumeHistory, Snapshot};
use dormouse_domain::template::Template;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{IdempotencyKey, IdempotencyRecord, TurnRecord};

#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) ever: Vec<SessionId>,
    /// With their snapshots, the oldest first.
    pub(super) sessions: BTreeMap<SessionId, (Session, Vec<Snapshot>)>,
    pub(super) templates: BTreeMap<String, Template>,
    /// Every snapshot that there ever was.
    pub(super) snapshots: Vec<SnapshotId>,
    /// What has come of going on from them.
    pub(super) resumes: HashMap<SnapshotId, ResumeHistory>,
    pub(super) turns: BTreeMap<(SessionId, u64), TurnRecord>,
    pub(super) log: Vec<Event>,
    /// In the order of upload.
    pub(super) agents: Vec<Agent>,
    pub(super) messages: HashMap<IdempotencyKey, IdempotencyRecord>,
    pub(super) keys: BTreeMap<KeyId, AccessKey>,
    pub(super) journals: BTreeMap<SessionId, Journal>,
    pub(super) accounts: BTreeMap<AccountId, Account>,
    /// By the numbers of the mails.
    pub(super) mailboxes: BTreeMap<SessionId, BTreeMap<u64, Mail>>,
    pub(super) schedules: BTreeMap<ScheduleId, (SessionSchedule, Option<ScheduledWork>)>,
    pub(super) worlds: BTreeMap<WorldRow, Bytes>,
    /// What removed sessions came to.
    removed: BTreeMap<Principal, BTreeMap<Cell, Sums>>,
}

/// An open turn, how often it was begun, and its journal.
#[derive(Clone)]
pub(super) struct Journal {
    pub(super) turn: OpenTurn,
    pub(super) attempts: TurnAttempts,
    pub(super) entries: Vec<JournalEntry>,
}

/// A user, some tags, and a pattern.
type Cell = (Option<String>, BTreeSet<String>, Pattern);

impl Model {
    pub(super) fn pick(&self, at: Index) -> SessionId {
        if self.ever.is_empty() { session_id(404) } else { *at.get(&self.ever) }
    }

    pub(super) fn agent(&self, at: Index) -> Option<&Agent> {
        if self.agents.is_empty() { None } else { Some(at.get(&self.agents)) }
    }

    /// How many sessions and templates refer to an agent.
    pub(super) fn uses(&self, agent: &AgentRef) -> u64 {
        let sessions = self.sessions.values().flat_map(|(session, _)| {
            let before = session.before_upgrade.as_ref().map(|before| &before.agent);
            [Some(&session.profile.agent), before]
        });
        let templates = self.templates.values().map(|template| Some(&template.agent));
        sessions.chain(templates).filter(|used| *used == Some(agent)).count() as u64
    }

    /// Take in a turn. `head` is its snapshot, whole.
    pub(super) fn turned(&mut self, commit: TurnCommit, head: Option<Snapshot>) {
        let turn = Arc::unwrap_or_clone(commit.turn);
        self.turns.insert((turn.session, turn.number), turn);
        self.log.extend(commit.events);
        self.change(Arc::unwrap_or_clone(commit.session), head);
    }

    /// What `wake_state` must answer.
    pub(super) fn wake_state(&self, id: SessionId) -> Option<(Session, Option<Snapshot>)> {
        let (session, snapshots) = self.sessions.get(&id)?;
        let head = session.head.and_then(|head| snapshots.iter().find(|one| one.id == head));
        Some((session.clone(), head.cloned()))
    }

    /// Change a session, and its history with a new head.
    pub(super) fn change(&mut self, session: Session, head: Option<Snapshot>) {
        let (before, snapshots) = self.sessions.get_mut(&session.id).expect("it is there");
        *before = session;
        let Some(head) = head else { return };
        self.snapshots.push(head.id);
        snapshots.push(head);
        let pinned = [before.head, before.before_upgrade.as_ref().and_then(|before| before.head)];
        while snapshots.len() > KEPT {
            let oldest = snapshots.iter().position(|one| !pinned.contains(&Some(one.id)));
            let Some(oldest) = oldest else { break };
            snapshots.remove(oldest);
        }
    }

    /// Give a session a record, and take all its snapshots.
    pub(super) fn without_state(&mut self, session: Session) {
        let (before, snapshots) = self.sessions.get_mut(&session.id).expect("it is there");
        *before = session;
        snapshots.clear();
    }

    /// Remove a session. Returns whether it was there.
    pub(super) fn remove(&mut self, id: SessionId) -> bool {
        let Some((session, _)) = self.sessions.remove(&id) else { return false };
        self.turns.retain(|(session, _), _| *session != id);
        self.journals.remove(&id);
        self.mailboxes.remove(&id);
        self.leave(session.account);
        let profile = &session.profile;
        let tags = profile.tags.iter().cloned().collect();
        let own = (profile.user_id.clone(), tags, profile.pattern);
        let cells = self.removed.entry(session.owner.clone()).or_default();
        let is_full = cells.len() >= MAX_REMOVED_CELLS && !cells.contains_key(&own);
        let cell = if is_full { (None, BTreeSet::new(), profile.pattern) } else { own };
        *cells.entry(cell).or_default() += Sums::of(&session);
        true
    }

    fn leave(&mut self, id: Option<AccountId>) {
        let Some(account) = id.and_then(|id| self.accounts.get_mut(&id)) else { return };
        account.apply(AccountChange { members: -1, ..AccountChange::default() });
        let id = account.id;
        if account.members == 0 {
            self.accounts.remove(&id);
        }
    }

    /// What `statistics` must answer.
    pub(super) fn statistics(&self, query: &StatisticsQuery) -> Statistics {
        let mut all = Statistics::default();
        let has_tag = |tags: &BTreeSet<String>| {
            query.tags.is_empty() || query.tags.iter().any(|tag| tags.contains(tag))
        };
        let is_meant = |user: &Option<String>, tags: &BTreeSet<String>, pattern: Pattern| {
            (query.user_id.is_none() || query.user_id == *user)
                && has_tag(tags)
                && query.pattern.is_none_or(|wanted| wanted == pattern)
        };
        for (session, _) in self.sessions.values().filter(|(it, _)| it.owner == query.owner) {
            let profile = &session.profile;
            let tags = profile.tags.iter().cloned().collect();
            if is_meant(&profile.user_id, &tags, profile.pattern) {
                all.by_pattern.entry(profile.pattern).or_default().live += Sums::of(session);
            }
        }
        for ((user, tags, pattern), sums) in self.removed.get(&query.owner).into_iter().flatten() {
            if is_meant(user, tags, *pattern) {
                all.by_pattern.entry(*pattern).or_default().removed += *sums;
            }
        }
        all
    }

    /// How many sessions an owner has, or how many of them have this user.
    pub(super) fn session_count(&self, owner: &Principal, user: Option<&str>) -> u64 {
        let all = self.sessions.values().map(|(session, _)| session);
        let own = all.filter(|session| session.owner == *owner);
        let has_user = |it: &&Session| user.is_none() || it.profile.user_id.as_deref() == user;
        own.filter(has_user).count() as u64
    }

    pub(super) fn new_snapshot(&mut self) -> SnapshotId {
        SnapshotId(uuid(1 << 62 | self.snapshots.len() as u64))
    }

    /// New sessions with this state.
    pub(super) fn forks(&mut self, from: &Snapshot, count: u64) -> Vec<NewSessionRecord> {
        let fork = |number| {
            let mut session = session(1 << 50 | (self.ever.len() as u64 + number));
            let id = SnapshotId(uuid(1 << 61 | session.id.0.as_u64_pair().1));
            session.head = Some(id);
            session.parent = Some(from.id);
            NewSessionRecord {
                session: session.into(),
                head: Some(Snapshot { id, parent: Some(from.id), ..from.clone() }),
            }
        };
        (0..count).map(fork).collect()
    }

    pub(super) fn created(&mut self, all: Vec<NewSessionRecord>, whole: &GuestState) {
        for NewSessionRecord { session, head } in all {
            let head = head.map(|head| Snapshot { state: whole.clone(), ..head });
            self.ever.push(session.id);
            self.snapshots.extend(head.as_ref().map(|head| head.id));
            self.sessions
                .insert(session.id, (Session::clone(&session), head.into_iter().collect()));
        }
    }

    pub(super) fn logged(&self, after: u64) -> impl Iterator<Item = EventEntry> {
        let number = |(at, event): (usize, &Event)| EventEntry {
            cursor: Cursor(at as u64 + 1),
            event: event.clone(),
        };
        self.log.iter().enumerate().map(number).filter(move |logged| logged.cursor.0 > after)
    }

    pub(super) fn due(&self) -> Vec<(Timestamp, SessionId)> {
        let due = |(session, _): &(Session, Vec<Snapshot>)| {
            Some((deadline::next(session)?.0, session.id))
        };
        let mut all: Vec<_> = self.sessions.values().filter_map(due).collect();
        all.sort();
        all
    }
}

pub(super) fn matches(query: &SessionQuery, session: &Session) -> bool {
    let profile = &session.profile;
    let conversation = profile.conversation_id.as_ref().map(|id| match id.as_str() {
        Some(text) => text.to_owned(),
        None => id.to_string(),
    });
    let labels = [
        (&query.user_id, &profile.user_id),
        (&query.conversation_id, &conversation),
        (&query.thread_key, &profile.thread_key),
        (&query.project_id, &profile.project_id),
    ];
    labels.iter().all(|(wanted, label)| wanted.is_none() || wanted == label)
        && (!query.without_user || profile.user_id.is_none())
        && query.owner.as_ref().is_none_or(|owner| *owner == session.owner)
        && query.pattern.is_none_or(|pattern| pattern == profile.pattern)
        && query.status.is_none_or(|status| status == session.state.status())
        && query.agent.as_ref().is_none_or(|agent| agent.matches(&profile.agent))
        && (query.tags.is_empty() || query.tags.iter().any(|tag| profile.tags.contains(tag)))
        && is_between(query.created, session.id.made_at().expect("it tells the time"))
        && is_between(query.active, session.last_activity_at)
}

fn is_between(span: Between, time: Timestamp) -> bool {
    span.after.is_none_or(|after| after < time) && span.before.is_none_or(|before| time < before)
}

/// The first of these, as a page.
pub(super) fn page_of(all: Vec<EventEntry>, limit: usize) -> Page<EventEntry, Cursor> {
    let goes_on = all.len() > limit;
    let entries: Vec<_> = all.into_iter().take(limit).collect();
    let next = entries.last().map(|last| last.cursor).filter(|_| goes_on);
    Page { entries, next }
}
