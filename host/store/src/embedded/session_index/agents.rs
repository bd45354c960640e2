//! The agents, by owner, name and version, and by their components.

use std::collections::{BTreeMap, BTreeSet};

use crate::AgentQuery;
use dormouse_domain::agent::{Agent, AgentName, AgentOwner, AgentRef, Digest, Version};
use dormouse_domain::id::Principal;

/// An agent and its place in the order of upload.
#[derive(Clone, Debug)]
pub(in super::super) struct IndexedAgent {
    /// Counts from 1.
    pub(in super::super) sequence: u64,
    /// The agent.
    pub(in super::super) agent: Agent,
}

type Versions = BTreeMap<Version, IndexedAgent>;

/// All agents.
#[derive(Debug, Default)]
pub(in super::super) struct AgentIndex {
    named: BTreeMap<(AgentOwner, AgentName), Versions>,
    /// Those that have a component, without what is known of them.
    with_component: BTreeMap<Digest, BTreeSet<AgentRef>>,
}

impl AgentIndex {
    /// An agent.
    pub(in super::super) fn find(&self, query: &AgentQuery) -> Option<&Agent> {
        let found = match query {
            AgentQuery::Exact(owner, name, version) => self.exact(owner, name, version),
            AgentQuery::Latest(owner, name, user) => {
                let versions = self.named.get(&(owner.clone(), name.clone()))?.values();
                versions.filter(|it| it.agent.is_usable_by(user)).max_by(|one, other| {
                    let (one_is, other_is) = (&one.agent.reference, &other.agent.reference);
                    let precedence = one_is.version.precedence(&other_is.version);
                    precedence.then(one.sequence.cmp(&other.sequence))
                })
            }
            AgentQuery::Component(digest, user) => {
                let usable =
                    |it: &&IndexedAgent| it.agent.is_bundled() || it.agent.is_usable_by(user);
                self.with(*digest).filter(usable).min_by_key(|it| {
                    let agent = &it.agent;
                    (!agent.is_owned_by(user), agent.is_bundled(), it.sequence)
                })
            }
            AgentQuery::AnyComponent(digest) => self.with(*digest).next(),
        };
        found.map(|uploaded| &uploaded.agent)
    }

    /// The agent of this owner, name and version.
    pub(in super::super) fn exact(
        &self,
        owner: &AgentOwner,
        name: &AgentName,
        version: &Version,
    ) -> Option<&IndexedAgent> {
        self.named.get(&(owner.clone(), name.clone()))?.get(version)
    }

    /// The agent that this is, where it has the same component.
    pub(in super::super) fn uploaded(&self, agent: &AgentRef) -> Option<&IndexedAgent> {
        let found = self.exact(&agent.owner, &agent.name, &agent.version);
        found.filter(|found| found.agent.reference.digest == agent.digest)
    }

    /// Those that this principal has uploaded, and those that others have made public, or where no
    /// principal is named, those of all: by name and then in the order of upload.
    pub(in super::super) fn usable_by(&self, user: Option<&Principal>) -> Vec<Agent> {
        let all = self.named.values().flat_map(Versions::values);
        let mut usable: Vec<_> = all.filter(|it| it.agent.is_listed_for(user)).collect();
        usable.sort_by_key(|it| (&it.agent.reference.name, it.sequence));
        usable.into_iter().map(|it| it.agent.clone()).collect()
    }

    /// How many have this component.
    pub(in super::super) fn count_with(&self, digest: Digest) -> usize {
        self.with_component.get(&digest).map_or(0, BTreeSet::len)
    }

    /// The place in the order of upload that the next one gets.
    pub(in super::super) fn next_sequence(&self) -> u64 {
        let all = self.named.values().flat_map(Versions::values);
        all.map(|uploaded| uploaded.sequence).max().unwrap_or(0) + 1
    }

    /// Add or replace one.
    pub(in super::super) fn put(&mut self, uploaded: IndexedAgent) {
        let reference = uploaded.agent.reference.clone();
        self.with_component.entry(reference.digest).or_default().insert(reference.clone());
        let AgentRef { owner, name, version, .. } = reference;
        self.named.entry((owner, name)).or_default().insert(version, uploaded);
    }

    /// Forget one.
    pub(in super::super) fn remove(&mut self, agent: &AgentRef) {
        let name = (agent.owner.clone(), agent.name.clone());
        if let Some(versions) = self.named.get_mut(&name) {
            versions.remove(&agent.version);
            if versions.is_empty() {
                self.named.remove(&name);
            }
        }
        if let Some(all) = self.with_component.get_mut(&agent.digest) {
            all.remove(agent);
            if all.is_empty() {
                self.with_component.remove(&agent.digest);
            }
        }
    }

    fn with(&self, digest: Digest) -> impl Iterator<Item = &IndexedAgent> {
        let all = self.with_component.get(&digest).into_iter().flatten();
        all.filter_map(|agent| self.uploaded(agent))
    }
}
