//! Agents and their components.
//!
//! | key | value |
//! | --- | --- |
//! | `a` `0` name `0` version | an agent that comes with the host, with its place in the order of upload |
//! | `a` `1` length owner name `0` version | an agent that was uploaded |
//! | `o` digest | the bytes of a component |
//!
//! Each agent has its component, which others may share. Before agents had owners (layout 3) the key of one
//! was `a` name `0` version, and names begin with a letter or a digit.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::super::commit::{BlobPlacer, EncodedWrite};
use super::super::frame::numbered;
use super::super::keys::{self, length_of, split_owner, text};
use super::super::recovery::Recovery;
use super::super::session_index::IndexedAgent;
use super::super::upkeep::audit::Audit;
use super::super::upkeep::repair::Repairer;
use super::super::{OpenError, disk::ReadExtent};
use super::Table;
use super::malformed;
use crate::StoreError;
use crate::codec::{self, CodecError, RecordKind};
use crate::upkeep::{Problem, UpkeepError};
use dormouse_domain::agent::{Agent, AgentName, AgentOwner, AgentRef, Digest, Version};
use dormouse_domain::id::SessionId;

/// The prefix of all agents.
pub(in super::super) const AGENT: u8 = b'a';
/// The prefix of components.
pub(in super::super) const COMPONENT: u8 = b'o';
const OF_HOST: u8 = 0;
const OF_PRINCIPAL: u8 = 1;

/// The most bytes that the owner of an agent takes.
const AGENT_OWNER: usize = 256;

/// The agents.
pub(super) struct AgentTable;

/// The components.
pub(super) struct ComponentTable;

/// An agent.
pub(in super::super) fn agent(agent: &AgentRef) -> Vec<u8> {
    let AgentRef { owner, name, version, .. } = agent;
    let owner = match owner {
        AgentOwner::Host => vec![OF_HOST],
        AgentOwner::Principal(owner) => {
            [&[OF_PRINCIPAL], &length_of(owner)[..], owner.0.as_bytes()].concat()
        }
    };
    [&[AGENT], &*owner, name.as_str().as_bytes(), &[0], version.as_str().as_bytes()].concat()
}

/// An agent, as layout 3 had it.
pub(in super::super) fn agent_without_owner(name: &AgentName, version: &Version) -> Vec<u8> {
    [&[AGENT], name.as_str().as_bytes(), &[0], version.as_str().as_bytes()].concat()
}

/// The bytes of a component.
pub(in super::super) fn component(digest: Digest) -> [u8; 33] {
    let mut key = [COMPONENT; 33];
    key[1..].copy_from_slice(&digest.0);
    key
}

/// The value of an agent: its place in the order of upload, and the agent.
pub(in super::super) fn write_agent(sequence: u64, agent: &[u8]) -> Vec<u8> {
    [sequence.to_le_bytes().as_slice(), agent].concat()
}

/// The place of an agent in the order of upload, and the agent.
pub(in super::super) fn read_agent(bytes: &[u8]) -> Result<(u64, &[u8]), CodecError> {
    numbered(bytes)
}

/// An agent, encoded. Its component is staged.
pub(super) fn encode(
    placer: &mut BlobPlacer<'_>,
    agent: Box<Agent>,
    bytes: Option<Bytes>,
) -> Result<EncodedWrite, StoreError> {
    check_owner(&agent)?;
    if let Some(bytes) = bytes {
        placer.stage(&component(agent.reference.digest), bytes);
    }
    let value = codec::encode_agent(&agent);
    Ok(EncodedWrite::Agent(agent, value))
}

/// The owner of an agent is in its key, and in every session that it serves.
fn check_owner(agent: &Agent) -> Result<(), StoreError> {
    match &agent.reference.owner {
        AgentOwner::Principal(owner) if owner.0.len() > AGENT_OWNER => {
            let what = "the owner of an agent in bytes";
            Err(StoreError::TooLarge { what, limit: AGENT_OWNER })
        }
        AgentOwner::Principal(_) | AgentOwner::Host => Ok(()),
    }
}

impl Table for AgentTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&AGENT)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        match key {
            [AGENT, OF_PRINCIPAL, rest @ ..] if rest.len() >= 2 => {
                let (owner, name) = split_owner(rest)?;
                Some(format!("agent/{}/{}", text(owner), text(name)))
            }
            [AGENT, OF_HOST, rest @ ..] | [AGENT, rest @ ..] => {
                Some(format!("agent/{}", text(rest)))
            }
            _ => None,
        }
    }

    fn is_missed(&self) -> bool {
        true
    }

    fn recover(&self, recovery: &mut Recovery<'_>) -> Result<(), OpenError> {
        recovery.each(&[AGENT], ReadExtent::Whole, |index, key, value| {
            let (reference, uploaded) = decode(key, value)?;
            if self::agent(&reference) != key {
                return Err(malformed("it is another agent"));
            }
            index.agents.put(uploaded);
            Ok(())
        })
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let (agent, _) = decode(key, value)?;
        let seen = audit.seen::<Seen>();
        if agent_without_owner(&agent.name, &agent.version) == key {
            let name = (agent.name.clone(), agent.version.clone());
            seen.without_owner.insert(name, agent.digest);
        } else if self::agent(&agent) != key {
            return Err(malformed("it is another agent"));
        }
        seen.agents.insert(agent);
        audit.report().read.agents += 1;
        Ok(())
    }

    fn lose(&self, audit: &mut Audit, _: &[u8]) {
        audit.seen::<Seen>().some_are_unknown = true;
    }

    fn set_aside(&self, audit: &mut Audit, _: &[u8]) {
        audit.seen::<Seen>().some_are_unknown = true;
    }

    /// Each agent has its component, and each component its agent.
    fn compare(&self, audit: &mut Audit) {
        let seen = std::mem::take(audit.seen::<Seen>());
        for agent in &seen.agents {
            if !seen.components.contains(&agent.digest) {
                let what = format!("agent/{agent}: its component is not there");
                audit.add(Problem::Missing, None, what);
                audit.is_useless(self::agent(agent));
            }
        }
        if seen.some_are_unknown {
            return;
        }
        let mut used = seen.wanted;
        used.extend(seen.agents.iter().map(|agent| agent.digest));
        for digest in seen.components.difference(&used) {
            audit.add(Problem::Stray, None, format!("no agent has the component {digest}"));
            audit.seen::<Strays>().0.push(*digest);
        }
    }

    fn repair(&self, repairer: &mut Repairer<'_>) -> Result<(), UpkeepError> {
        for digest in repairer.found::<Strays>().map_or(&[][..], |strays| &strays.0) {
            repairer.remove(&component(*digest));
        }
        Ok(())
    }
}

impl Table for ComponentTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&COMPONENT)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        match key {
            [COMPONENT, rest @ ..] if rest.len() == 32 => {
                Some(format!("component/{}", keys::hex(rest)))
            }
            _ => None,
        }
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let digest = Digest::of(value);
        if component(digest) != key {
            return Err(malformed("it is another component"));
        }
        audit.seen::<Seen>().components.insert(digest);
        Ok(())
    }

    /// Told once is enough.
    fn lose(&self, audit: &mut Audit, key: &[u8]) {
        let digest = key.get(1..).and_then(|digest| <[u8; 32]>::try_from(digest).ok());
        audit.seen::<Seen>().components.extend(digest.map(Digest));
    }
}

fn decode(key: &[u8], value: &[u8]) -> Result<(AgentRef, IndexedAgent), CodecError> {
    let value = codec::unseal(RecordKind::Agent, key, value)?;
    let (sequence, agent) = read_agent(&value)?;
    let agent = codec::decode_agent(agent)?;
    Ok((agent.reference.clone(), IndexedAgent { sequence, agent }))
}

/// What an audit has seen of agents.
#[derive(Default)]
struct Seen {
    agents: HashSet<AgentRef>,
    /// Those of layout 3, which references without an owner mean.
    without_owner: HashMap<(AgentName, Version), Digest>,
    /// Whether these are not all agents.
    some_are_unknown: bool,
    components: HashSet<Digest>,
    /// The components that sessions and templates refer to.
    wanted: HashSet<Digest>,
}

/// Components that no agent has.
#[derive(Default)]
struct Strays(Vec<Digest>);

impl Seen {
    fn knows(&self, agent: &AgentRef) -> bool {
        let name = || (agent.name.clone(), agent.version.clone());
        self.agents.contains(agent)
            || (agent.owner == AgentOwner::Host
                && self.without_owner.get(&name()) == Some(&agent.digest))
    }
}

/// See that the value of a key refers to an agent.
pub(super) fn refer(audit: &mut Audit, session: Option<SessionId>, key: &[u8], agent: &AgentRef) {
    let is_exact = audit.is_exact();
    let seen = audit.seen::<Seen>();
    seen.wanted.insert(agent.digest);
    if !seen.knows(agent) && is_exact && !seen.some_are_unknown {
        let (key, digest) = (keys::describe(key), agent.digest);
        let what = format!("{key}: its agent {agent} ({digest}) is not there");
        audit.add(Problem::Missing, session, what);
    }
}
