//! Agents: what a group adds and removes. It has the commit of one agent at most, and nothing else
//! then, so that the index says what there is.

use super::super::engine::Class;
use super::super::keys;
use super::super::session_index::IndexedAgent;
use super::super::tables::agents;
use super::{AgentChange, CommitGroup};
use crate::StoreError;
use dormouse_domain::agent::{Agent, AgentRef};

impl CommitGroup<'_> {
    /// Whether there is no agent of this owner, name and version.
    pub(in super::super) fn expect_new_agent(&self, agent: &AgentRef) -> Result<(), StoreError> {
        let index = self.shared.index();
        match index.agents.exact(&agent.owner, &agent.name, &agent.version) {
            None => Ok(()),
            Some(known) => Err(StoreError::AgentExists(known.agent.reference.clone())),
        }
    }

    /// Whether this agent is there, with the same component.
    pub(in super::super) fn expect_agent(&self, agent: &AgentRef) -> Result<(), StoreError> {
        match self.shared.index().agents.uploaded(agent) {
            Some(_) => Ok(()),
            None => Err(StoreError::AgentNotFound(agent.clone())),
        }
    }

    /// Whether this agent is there, and nothing refers to it.
    pub(super) fn expect_unused(&self, agent: &AgentRef) -> Result<(), StoreError> {
        self.expect_agent(agent)?;
        match self.shared.index().serves(agent) {
            0 => Ok(()),
            count => Err(StoreError::AgentInUse(count)),
        }
    }

    /// Keep what is known of an agent. One that is there keeps its place in the order of upload.
    pub(super) fn put_agent(&mut self, agent: Agent, value: &[u8]) {
        let sequence = {
            let index = self.shared.index();
            let known = index.agents.uploaded(&agent.reference).map(|known| known.sequence);
            known.unwrap_or_else(|| index.agents.next_sequence())
        };
        let key = keys::agent(&agent.reference);
        self.rows.seal(Class::Rows, key, &agents::write_agent(sequence, value));
        self.agents.push(AgentChange::Put(IndexedAgent { sequence, agent }));
    }

    /// Remove an agent, and its component with the last agent that has it.
    pub(super) fn remove_agent(&mut self, agent: AgentRef) {
        let is_shared = self.shared.index().agents.count_with(agent.digest) > 1;
        if !is_shared && self.shared.all_agents_are_known() {
            self.rows.remove(keys::component(agent.digest));
        }
        self.rows.remove(keys::agent(&agent));
        self.agents.push(AgentChange::Removed(agent));
    }
}
