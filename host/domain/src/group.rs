//! Groups: a *coordinator* and the *members* that its configuration names (`customAgents`), each a session of its own.
//!
//! A session of the pattern `single-container` whose configuration names members is the coordinator of a group. A member is
//! created when somebody first writes to it or asks it. Its id follows from that of the coordinator and from its name, so
//! nobody has to look it up, and two who create it at the same time create the same one.
//!
//! A group spends from one account, and ends, pauses, goes back and is forked as one: so its members do none of that
//! alone.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use crate::agent::{AgentRef, Digest};
use crate::creation::{self, InvalidField};
use crate::id::{SessionId, SnapshotId};
use crate::limits::Limits;
use crate::mail::{self, Peers};
use crate::session::{JsonObject, Profile, Session};
use crate::snapshot::Snapshot;
use crate::time::Timestamp;
use crate::tool::{ALLOWED_TOOLS, AllowedTools};

/// The key of the configuration of a session that names its members.
pub const CUSTOM_AGENTS: &str = "customAgents";
/// The most members of a group.
pub const MAX_MEMBERS: usize = 32;
/// The most times that a member remembers to have begun anew.
pub const MAX_ANEW: usize = 32;
/// The most bytes of what a member is for.
pub const MAX_MEMBER_DESCRIPTION: usize = 1_000;
/// What members call their coordinator.
pub const COORDINATOR: &str = "coordinator";

/// The field of a request that names members.
const FIELD: &str = "config.customAgents";
/// Keys of the configuration of a coordinator that its members do not have.
const NOT_INHERITED: [&str; 5] =
    [CUSTOM_AGENTS, "systemPrompt", "resumeSessionId", "maxTurns", "maxBudgetUsd"];

/// The group that a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The session that the others are members of.
    pub coordinator: SessionId,
    /// What this session is called. `None`: it is the coordinator.
    pub name: Option<String>,
    /// What the members are called, also those that are not there yet, and what each is for, where that was said.
    pub members: BTreeMap<String, Option<String>>,
    /// When the member of this record began anew, because its group has gone back to before it had done anything: the ids
    /// that snapshots had by then, [`MAX_ANEW`] at most.
    pub anew: Vec<SnapshotId>,
    /// Whether no member goes on any more: the coordinator has ended, and they with it. The coordinator alone knows.
    pub has_ended: bool,
}

impl Group {
    /// The group of a new coordinator with this configuration. `None`: it names no members.
    ///
    /// # Errors
    /// [`InvalidField`] says what is wrong with a member.
    pub fn of_config(
        coordinator: SessionId,
        config: &JsonObject,
    ) -> Result<Option<Group>, InvalidField> {
        let members = match config.get(CUSTOM_AGENTS) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(members)) => members,
            Some(_) => return Err(invalid("must be an object: for each name, a member")),
        };
        if members.is_empty() {
            return Ok(None);
        }
        if members.len() > MAX_MEMBERS {
            return Err(invalid(format!("must name at most {MAX_MEMBERS} members")));
        }
        for (name, definition) in members {
            check(name, definition)?;
        }
        let described = |name: &String| description_of(config, name).map(str::to_owned);
        let members = members.keys().map(|name| (name.clone(), described(name))).collect();
        Ok(Some(Group { coordinator, name: None, members, anew: Vec::new(), has_ended: false }))
    }

    /// Whether the session of this group is its coordinator.
    #[must_use]
    pub fn is_coordinator(&self) -> bool {
        self.name.is_none()
    }

    /// The members, by their names.
    pub fn ids(&self) -> impl Iterator<Item = (&str, SessionId)> {
        self.members.keys().map(|name| (name.as_str(), member_id(self.coordinator, name)))
    }

    /// The name of the member of this id.
    #[must_use]
    pub fn name_of(&self, id: SessionId) -> Option<&str> {
        self.ids().find(|(_, member)| *member == id).map(|(name, _)| name)
    }

    /// The other sessions of the group, as the session of this group calls them.
    #[must_use]
    pub fn others(&self) -> BTreeMap<String, SessionId> {
        let coordinator = self.name.as_ref().map(|_| (COORDINATOR.to_owned(), self.coordinator));
        let others = self.ids().filter(|(name, _)| self.name.as_deref() != Some(name));
        others.map(|(name, id)| (name.to_owned(), id)).chain(coordinator).collect()
    }

    /// The member of this record begins anew: ids of snapshots that are taken later come behind this.
    pub fn begin_anew(&mut self, at: SnapshotId) {
        if self.anew.len() == MAX_ANEW {
            self.anew.remove(0);
        }
        self.anew.push(at);
    }

    /// When the member of this record began anew last, before this snapshot of its coordinator was taken.
    #[must_use]
    pub fn begun_anew(&self, coordinator: SnapshotId) -> BegunAnew {
        match self.anew.iter().rev().find(|at| **at <= coordinator) {
            Some(at) => BegunAnew::At(*at),
            None if self.anew.len() == MAX_ANEW => BegunAnew::Forgotten,
            None => BegunAnew::Never,
        }
    }

    /// What the session of this group that is called so is for, where that was said.
    #[must_use]
    pub fn description_of(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_deref()
    }

    /// The same group of this coordinator, before anything has come of it.
    pub(crate) fn of_fork(&self, coordinator: SessionId) -> Group {
        Group { coordinator, anew: Vec::new(), has_ended: false, ..self.clone() }
    }
}

/// Whether a member had begun anew by some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BegunAnew {
    /// It had, here at last.
    At(SnapshotId),
    /// It had not.
    Never,
    /// Nobody knows any more.
    Forgotten,
}

/// The id of a member: a UUIDv7 of the time of its coordinator's.
#[must_use]
pub fn member_id(coordinator: SessionId, name: &str) -> SessionId {
    const DIGITS: u32 = 80;
    const RANDOM: u128 = (1 << DIGITS) - 1;
    // The version, 7, and the variant.
    const FIXED: u128 = 0xf << 76 | 0b11 << 62;
    const VERSION: u128 = 7 << 76 | 0b10 << 62;
    let seed = [b"dormouse 0.1 member ", &coordinator.0.as_bytes()[..], name.as_bytes()].concat();
    let Digest([digest @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]) = Digest::of(&seed);
    let random = u128::from_be_bytes(digest) & RANDOM;
    let time = coordinator.0.as_u128() & !RANDOM;
    SessionId(Uuid::from_u128(time | (random & !FIXED) | VERSION))
}

/// What the configuration of a coordinator says of a member.
fn definition<'a>(config: &'a JsonObject, name: &str) -> Option<&'a JsonObject> {
    config.get(CUSTOM_AGENTS)?.get(name)?.as_object()
}

/// The agent that a member is to have, where its definition names one.
#[must_use]
pub fn agent_of<'a>(config: &'a JsonObject, name: &str) -> Option<&'a str> {
    definition(config, name)?.get("agent")?.as_str()
}

/// What a member is for, where its definition says so.
fn description_of<'a>(config: &'a JsonObject, name: &str) -> Option<&'a str> {
    definition(config, name)?.get("description")?.as_str()
}

/// The record of a member of this coordinator that nobody has written to yet, which is served by this agent. `None`: the
/// coordinator has no such member.
#[must_use]
pub fn member(
    coordinator: &Session,
    name: &str,
    agent: AgentRef,
    now: Timestamp,
) -> Option<Session> {
    let group = coordinator.group.as_ref().filter(|group| group.is_coordinator())?;
    let definition = definition(&coordinator.profile.config, name)?;
    let inherited = coordinator.profile.config.iter();
    let inherited = inherited.filter(|(key, _)| !NOT_INHERITED.contains(&key.as_str()));
    let config = inherited.chain(definition).map(|(key, value)| (key.clone(), value.clone()));
    let profile = Profile {
        agent,
        limits: limits(&coordinator.profile.limits, definition),
        config: config.filter(|(key, _)| key != "agent").collect(),
        conversation_id: None,
        description: description_of(&coordinator.profile.config, name).map(str::to_owned),
        thread_key: None,
        metadata: JsonObject::new(),
        peers: Peers::default(),
        ..coordinator.profile.clone()
    };
    let id = member_id(coordinator.id, name);
    let context = coordinator.context.clone();
    let mut member = creation::begin(id, coordinator.owner.clone(), profile, context, None, now);
    member.account = coordinator.account;
    member.group = Some(Group { name: Some(name.to_owned()), ..group.of_fork(coordinator.id) });
    Some(member)
}

/// The record of a member of a fork of a group: it goes on from `head`, has what the member of the group has that is
/// forked, and has spent nothing.
#[must_use]
pub fn forked_member(
    member: &Session,
    fork: &Session,
    head: Option<&Snapshot>,
    agent: AgentRef,
    now: Timestamp,
) -> Option<Session> {
    let group = member.group.as_ref()?;
    let id = member_id(fork.id, group.name.as_ref()?);
    let profile = Profile { agent, ..member.profile.clone() };
    let context = member.context.clone();
    let mut forked = creation::begin(id, fork.owner.clone(), profile, context, head, now);
    forked.account = fork.account;
    forked.group = Some(group.of_fork(fork.id));
    Some(forked)
}

/// A member has the limits of its coordinator for each turn, and turns of its own. Money and fuel are the account's, and
/// it ends when its coordinator does: its state is kept for as long from then on.
fn limits(coordinator: &Limits, definition: &JsonObject) -> Limits {
    Limits {
        max_turns: definition.get("maxTurns").and_then(Value::as_u64),
        max_idle: None,
        idle_grace: None,
        max_lifetime: None,
        ..coordinator.clone()
    }
}

/// That a member can have this name and this definition.
fn check(name: &str, definition: &Value) -> Result<(), InvalidField> {
    mail::check_name(name).map_err(|error| invalid(error.problem))?;
    if name == COORDINATOR {
        return Err(invalid(format!(
            "has a member `{COORDINATOR}`, which is what members call the session itself"
        )));
    }
    let of = |problem: &str| invalid(format!("has the member `{name}`, {problem}"));
    let Value::Object(definition) = definition else {
        return Err(of("which must be an object"));
    };
    for key in ["systemPrompt", "model", "description", "agent"] {
        if !matches!(definition.get(key), None | Some(Value::Null | Value::String(_))) {
            return Err(of(&format!("whose `{key}` must be a text")));
        }
    }
    let description = definition.get("description").and_then(Value::as_str).map_or(0, str::len);
    if description > MAX_MEMBER_DESCRIPTION {
        return Err(of(&format!(
            "whose `description` has more than {MAX_MEMBER_DESCRIPTION} bytes"
        )));
    }
    if let Some(agent) = definition.get("agent").and_then(Value::as_str) {
        creation::selected(agent).map_err(|error| of(&format!("whose agent {}", error.problem)))?;
    }
    if matches!(definition.get("maxTurns"), Some(turns) if turns.as_u64().is_none_or(|it| it == 0))
    {
        return Err(of("whose `maxTurns` must be at least 1"));
    }
    if definition.contains_key(CUSTOM_AGENTS) {
        return Err(of("which cannot have members of its own"));
    }
    AllowedTools::check(definition)
        .map_err(|problem| of(&format!("whose `{ALLOWED_TOOLS}` {problem}")))
}

fn invalid(problem: impl Into<String>) -> InvalidField {
    InvalidField::new(FIELD, problem)
}

impl Session {
    /// The sessions that its agent may write to: those of its group, and those that its creator has named.
    #[must_use]
    pub fn peers(&self) -> Cow<'_, Peers> {
        match &self.group {
            None => Cow::Borrowed(&self.profile.peers),
            Some(group) => {
                let named = self.profile.peers.all().clone();
                Cow::Owned(Peers::kept(named.into_iter().chain(group.others()).collect()))
            }
        }
    }

    /// That this session may be ended, paused, taken back or forked by itself.
    ///
    /// # Errors
    /// [`MemberOfGroup`]: its group is, as one.
    pub fn check_alone(&self) -> Result<(), MemberOfGroup> {
        match &self.group {
            Some(Group { coordinator, name: Some(name), .. }) => {
                Err(MemberOfGroup { coordinator: *coordinator, name: name.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A member of a group does nothing alone that its group does as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the session is the member `{name}` of a group: ask the session {coordinator}, and all of the group follows"
)]
pub struct MemberOfGroup {
    /// The session to ask.
    pub coordinator: SessionId,
    /// What the member is called.
    pub name: String,
}
