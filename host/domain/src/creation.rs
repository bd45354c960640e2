//! What a new session is made from: what the caller asks for, checked and filled with defaults
//! ([`fresh`]), or a session that is there already ([`forked`], [`resumed`]).
//!
//! Every field has a bound, because a record is read at each wake. What is out of bounds is named.

#[cfg(test)]
pub(crate) mod examples;
mod limits;
mod origin;
mod thread;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

pub use limits::LimitOverrides;
pub use origin::{
    ForkLimits, NotForThisSession, Resumption, forked, is_stale, max_changed_files, resumed,
};
pub use thread::{NextOfThread, THREAD_KEPT, next_of_thread};

use crate::account::AccountId;
use crate::agent::{AgentRef, AgentSelector, InvalidName};
use crate::code;
use crate::egress::EgressPolicy;
use crate::event::{Event, EventBody};
use crate::group::{COORDINATOR, Group};
use crate::mail::Peers;
use crate::time::Timestamp;
use crate::timer::Timers;
use crate::tool::AllowedTools;

use super::id::{Principal, SessionId};
use super::limits::{NanoUsd, Usage};
use super::pattern::Pattern;
use super::residence::Residence;
use super::session::{
    Durability, IdleClock, JsonObject, Profile, ResumeFallback, Session, bytes_of,
};
use super::snapshot::Snapshot;
use super::state::State;

/// The most bytes that `context` and `metadata` take as JSON, each; `config` has a bound of its own.
pub const MAX_DOCUMENT: usize = 64 * 1024;
/// The most characters of a label: `userId`, `threadKey`, `projectId`, a tag.
pub const MAX_LABEL: usize = 200;
/// The most characters of a description.
pub const MAX_DESCRIPTION: usize = 4_000;
/// The most tags of a session.
pub const MAX_TAGS: usize = 32;
/// The most bytes that the tags of a session take together: the host keeps them in memory also while
/// the session sleeps.
pub const MAX_TAG_BYTES: usize = 1_024;
/// The most rules of what the agent of a session may reach over HTTP.
pub const MAX_SESSION_RULES: usize = 64;
/// The most bytes that these rules take together.
pub const MAX_SESSION_RULE_BYTES: usize = 8 * 1024;

/// How long a hybrid session with a thread may go without a message, unless its creator or the host says
/// otherwise.
pub const THREAD_IDLE: Duration = Duration::from_secs(45 * 60);

/// How long the state of a hybrid session is kept while nobody uses it, unless its creator or the host says
/// otherwise.
pub const HYBRID_STATE_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// A field of a request is out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct InvalidField {
    /// The name of the field, as in the API.
    pub field: &'static str,
    /// What is wrong with it, and what it may be.
    pub problem: String,
}

impl InvalidField {
    /// This field has this problem.
    pub fn new(field: &'static str, problem: impl Into<String>) -> InvalidField {
        InvalidField { field, problem: problem.into() }
    }

    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        code::INVALID_FIELD
    }
}

/// Where a new session starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// Its agent's first state.
    #[default]
    Fresh,
    /// The snapshot of this id, or the head of the session of this id. An id that nobody has starts
    /// fresh, and says so.
    Resume(String),
    /// The caller's template of this name.
    Template(String),
}

/// What a caller asks for. Everything has a default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewSession {
    /// Where it starts from.
    pub start: StartFrom,
    /// The agent: `name`, `name@version`, `owner/name`, `owner/name@version` or a digest. Default: that of
    /// what the session starts from, else the host's default agent.
    pub agent: Option<String>,
    /// How it is hosted. Default: ephemeral.
    pub pattern: Pattern,
    /// Kept as it is, and readable by the agent.
    pub config: JsonObject,
    /// The caller's id of the conversation, a string or a number.
    pub conversation_id: Option<Value>,
    /// When its state is saved.
    pub durability: Durability,
    /// What it does by itself when its head is damaged. Default: it goes into `error`.
    pub resume_fallback: Option<ResumeFallback>,
    /// What its agent may reach over HTTP, where the operator allows it too.
    pub egress: EgressPolicy,
    /// Labels for filtering.
    pub tags: Vec<String>,
    /// What it is for.
    pub description: Option<String>,
    /// A label for the user it serves.
    pub user_id: Option<String>,
    /// The conversation that it continues.
    pub thread_key: Option<String>,
    /// The project it belongs to.
    pub project_id: Option<String>,
    /// A document for the agent to read.
    pub context: JsonObject,
    /// Anything else to keep.
    pub metadata: JsonObject,
    /// The sessions that its agent may write to, by the names that it has for them: sessions of the same owner.
    pub peers: BTreeMap<String, SessionId>,
    /// Turns over the whole life.
    pub max_turns: Option<u64>,
    /// Money over the whole life.
    pub max_budget: Option<NanoUsd>,
    /// Fuel over the whole life.
    pub max_fuel: Option<u64>,
    /// Fuel of one turn.
    pub max_fuel_per_turn: Option<u64>,
    /// Memory of the agent, in bytes.
    pub max_memory_bytes: Option<u64>,
    /// How long one turn may take.
    pub turn_timeout: Option<Duration>,
    /// How long it may go without a message.
    pub max_idle: Option<Duration>,
    /// How long before that an event warns of it. Default: five minutes; at most half of `max_idle`.
    pub idle_grace: Option<Duration>,
    /// How long it may live.
    pub max_lifetime: Option<Duration>,
    /// How long after a turn the instance stays in memory.
    pub sleep_after: Option<Duration>,
    /// How long its state is kept while nobody uses it.
    pub state_kept: Option<Duration>,
    /// Refuse agents whose state would not outlive the process.
    pub require_durable: bool,
}

impl NewSession {
    /// A session with this agent: `counter`, `counter@1.0` or a digest. Text that names no agent is refused
    /// when the session is created.
    #[must_use]
    pub fn agent(name: &str) -> NewSession {
        NewSession { agent: Some(name.to_owned()), ..NewSession::default() }
    }

    /// A session with the agent that this selects.
    #[must_use]
    pub fn with_agent(agent: AgentSelector) -> NewSession {
        NewSession::agent(&agent.to_string())
    }

    /// The same, hosted in this way.
    #[must_use]
    pub fn pattern(mut self, pattern: Pattern) -> NewSession {
        self.pattern = pattern;
        self
    }
}

/// The limits of a session that asks for none, and the most it may ask for.
#[derive(Clone, Debug)]
pub struct DefaultLimits {
    /// Fuel of one turn.
    pub max_fuel_per_turn: u64,
    /// Memory of an agent, in bytes; more is refused.
    pub max_memory_bytes: u64,
    /// How long one turn may take.
    pub turn_timeout: Duration,
    /// How long after a turn the instance of a hybrid session stays in memory.
    pub hybrid_sleep_after: Duration,
    /// How long a hybrid session with a thread may go without a message before it is idle.
    pub thread_idle: Duration,
    /// How long the state of a hybrid session is kept while nobody uses it. `None`: as long as the session.
    pub hybrid_state_kept: Option<Duration>,
    /// The most bytes of the configuration of a session, as JSON. It is stored with each turn.
    pub max_config_bytes: usize,
    /// What is set instead for the sessions of a pattern, a project or a user.
    pub overrides: LimitOverrides,
}

impl Default for DefaultLimits {
    fn default() -> DefaultLimits {
        DefaultLimits {
            max_fuel_per_turn: 10_000_000_000,
            max_memory_bytes: 256 * 1024 * 1024,
            turn_timeout: Duration::from_secs(120),
            hybrid_sleep_after: Duration::from_secs(60),
            thread_idle: THREAD_IDLE,
            hybrid_state_kept: Some(HYBRID_STATE_KEPT),
            max_config_bytes: 256 * 1024,
            overrides: LimitOverrides::default(),
        }
    }
}

/// The agent that this text selects.
pub fn selected(agent: &str) -> Result<AgentSelector, InvalidField> {
    let invalid = |error| InvalidField::new("agent", format!("is '{agent}', and {error}"));
    agent.parse().map_err(|error: InvalidName| invalid(error))
}

/// The record of a new session as its caller asks for it, which starts from `head`.
///
/// # Errors
/// [`InvalidField`] names the field that is out of bounds.
pub fn fresh(
    new: NewSession,
    id: SessionId,
    owner: Principal,
    agent: AgentRef,
    head: Option<&Snapshot>,
    defaults: &DefaultLimits,
    now: Timestamp,
) -> Result<Session, InvalidField> {
    check(&new, defaults)?;
    let most = defaults.max_memory_bytes;
    if new.max_memory_bytes.is_some_and(|bytes| bytes > most) {
        return Err(InvalidField::new(
            "maxMemoryBytes",
            format!("must be at most {most} ({} MiB)", most >> 20),
        ));
    }
    let limits = limits::of(&new, defaults);
    let group = match new.pattern {
        Pattern::SingleContainer => Group::of_config(id, &new.config)?,
        Pattern::Ephemeral | Pattern::LongRunning | Pattern::Hybrid => None,
    };
    check_group_peers(group.as_ref(), &new.peers)?;
    let profile = Profile {
        agent,
        pattern: new.pattern,
        limits,
        config: new.config,
        conversation_id: new.conversation_id,
        durability: new.durability,
        resume_fallback: new.resume_fallback,
        egress: new.egress,
        tags: each_once(new.tags),
        description: new.description,
        user_id: new.user_id,
        thread_key: new.thread_key,
        project_id: new.project_id,
        metadata: new.metadata,
        peers: Peers::new(new.peers)?,
    };
    let mut session = begin(id, owner, profile, new.context, head, now);
    if group.is_some() {
        // From the first turn on: nobody can give it one while a turn asks a member.
        session.account = Some(AccountId(id));
    }
    session.group = group;
    Ok(session)
}

/// That no peer has the name of a session of the group.
pub(crate) fn check_group_peers(
    group: Option<&Group>,
    peers: &BTreeMap<String, SessionId>,
) -> Result<(), InvalidField> {
    let Some(group) = group else { return Ok(()) };
    match peers.keys().find(|name| *name == COORDINATOR || group.members.contains_key(*name)) {
        Some(name) => {
            let problem = format!("has the name `{name}`, which a session of the group has");
            Err(InvalidField::new("peers", problem))
        }
        None => Ok(()),
    }
}

/// What is told of a new session, which may be a fork of another.
pub fn event(session: &Session, fork_of: Option<SessionId>) -> Event {
    let body = EventBody::SessionCreated {
        pattern: session.profile.pattern,
        agent: session.profile.agent.name.clone(),
        parent: session.parent,
        fork_of,
    };
    Event::session(session, session.created_at, body)
}

/// The record of a session that has done nothing yet, and starts from `head`.
pub(crate) fn begin(
    id: SessionId,
    owner: Principal,
    profile: Profile,
    context: JsonObject,
    head: Option<&Snapshot>,
    now: Timestamp,
) -> Session {
    let mut session = Session {
        id,
        owner,
        revision: 1,
        state: State::Initializing,
        profile,
        usage: Usage::default(),
        account: None,
        // Lists find sessions by the time in their names.
        created_at: id.made_at().unwrap_or(now),
        started_at: None,
        last_activity_at: now,
        ended_at: None,
        head: None,
        head_parent: None,
        parent: None,
        before_upgrade: None,
        unsaved_turns: 0,
        consecutive_failures: 0,
        tools_used: Vec::new(),
        context,
        checkpoint: None,
        idle: IdleClock::default(),
        changed_at: None,
        last_failure: None,
        state_bytes: None,
        state_removed_at: None,
        timers: Timers::default(),
        residence: Residence::default(),
        group: None,
    };
    session.start_from(head);
    session
}

fn check(new: &NewSession, defaults: &DefaultLimits) -> Result<(), InvalidField> {
    check_tags(&new.tags)?;
    check_egress(&new.egress)?;
    let labels =
        [("userId", &new.user_id), ("threadKey", &new.thread_key), ("projectId", &new.project_id)];
    if let StartFrom::Resume(id) = &new.start {
        length("config.resumeSessionId", Some(id), 1, MAX_LABEL)?;
    }
    if new.require_durable && new.durability == Durability::Sleep {
        let problem = "cannot be `sleep` where requireDurable is set";
        return Err(InvalidField::new("durability", problem));
    }
    for (field, text) in labels {
        length(field, text.as_deref(), 1, MAX_LABEL)?;
    }
    length("description", new.description.as_deref(), 0, MAX_DESCRIPTION)?;
    let documents = [
        ("config", &new.config, defaults.max_config_bytes),
        ("context", &new.context, MAX_DOCUMENT),
        ("metadata", &new.metadata, MAX_DOCUMENT),
    ];
    for (field, document, most) in documents {
        if bytes_of(document) > most {
            return Err(InvalidField::new(field, format!("must take at most {most} bytes")));
        }
    }
    AllowedTools::check(&new.config)
        .map_err(|problem| InvalidField::new("config.allowedTools", problem))?;
    check_conversation(new.conversation_id.as_ref())?;
    check_positive(&[
        ("maxTurns", new.max_turns),
        ("maxFuel", new.max_fuel),
        ("maxFuelPerTurn", new.max_fuel_per_turn),
        ("maxMemoryBytes", new.max_memory_bytes),
        ("turnTimeoutMs", new.turn_timeout.map(millis)),
        ("maxIdleTimeMs", new.max_idle.map(millis)),
        ("maxLifetimeMs", new.max_lifetime.map(millis)),
        ("keepStateMs", new.state_kept.map(millis)),
    ])?;
    check_budget(new.max_budget)
}

pub(crate) fn check_egress(policy: &EgressPolicy) -> Result<(), InvalidField> {
    let (rules, bytes) = (policy.rules().len(), policy.to_string().len());
    if rules > MAX_SESSION_RULES {
        let problem = format!("must have at most {MAX_SESSION_RULES} rules");
        return Err(InvalidField::new("egress", problem));
    }
    if bytes > MAX_SESSION_RULE_BYTES {
        let problem = format!("must take at most {MAX_SESSION_RULE_BYTES} bytes");
        return Err(InvalidField::new("egress", problem));
    }
    Ok(())
}

/// That a session can have these tags.
pub(crate) fn check_tags(tags: &[String]) -> Result<(), InvalidField> {
    if tags.len() > MAX_TAGS {
        return Err(InvalidField::new("tags", format!("must have at most {MAX_TAGS} entries")));
    }
    for tag in tags {
        length("tags", Some(tag), 1, MAX_LABEL)?;
    }
    if tags.iter().map(String::len).sum::<usize>() > MAX_TAG_BYTES {
        let problem = format!("must take at most {MAX_TAG_BYTES} bytes together");
        return Err(InvalidField::new("tags", problem));
    }
    Ok(())
}

/// The same tags, each once.
pub(crate) fn each_once(tags: Vec<String>) -> Vec<String> {
    let mut once = Vec::with_capacity(tags.len());
    for tag in tags {
        if !once.contains(&tag) {
            once.push(tag);
        }
    }
    once
}

/// That this can be the caller's id of a conversation.
pub(crate) fn check_conversation(id: Option<&Value>) -> Result<(), InvalidField> {
    match id {
        None | Some(Value::Number(_)) => Ok(()),
        Some(Value::String(text)) => length("conversationId", Some(text), 1, MAX_LABEL),
        Some(_) => Err(InvalidField::new("conversationId", "must be a string or a number")),
    }
}

/// That none of these limits leaves nothing.
pub(crate) fn check_positive(limits: &[(&'static str, Option<u64>)]) -> Result<(), InvalidField> {
    match limits.iter().find(|(_, value)| *value == Some(0)) {
        Some((field, _)) => Err(InvalidField::new(field, "must be at least 1")),
        None => Ok(()),
    }
}

/// That this budget leaves something.
pub(crate) fn check_budget(budget: Option<NanoUsd>) -> Result<(), InvalidField> {
    if budget == Some(NanoUsd(0)) {
        return Err(InvalidField::new("maxBudgetUsd", "must be more than 0"));
    }
    Ok(())
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn length(
    field: &'static str,
    text: Option<&str>,
    least: usize,
    most: usize,
) -> Result<(), InvalidField> {
    match text.map(|text| text.chars().count()) {
        Some(count) if !(least..=most).contains(&count) => {
            Err(InvalidField::new(field, format!("must have {least} to {most} characters")))
        }
        Some(_) | None => Ok(()),
    }
}
