//! Agents: what a group adds and removes.

use super::super::cell;
use super::super::commit::{NewAgent, NewEvent};
use super::super::engine::Class;
use super::super::index::Uploaded;
use super::super::keys;
use super::{AgentChange, Group};
use crate::StoreError;
use dormouse_domain::agent::{Agent, AgentRef};

impl Group<'_> {
    /// Whether this agent is new, and then its place in the order of upload.
    fn admit(&self, agent: &Agent) -> Result<Option<u64>, StoreError> {
        let index = self.shared.index();
        let reference = &agent.reference;
        match index.agents.exact(&reference.owner, &reference.name, &reference.version) {
            None => Ok(Some(index.agents.next_sequence())),
            Some(known) if known.agent.reference.digest == reference.digest => Ok(None),
            Some(known) => Err(StoreError::AgentExists(known.agent.reference.clone())),
        }
    }

    /// Keep an agent and its component. Returns whether it is new.
    pub(super) fn put_agent(
        &mut self,
        new: NewAgent,
        events: &[NewEvent],
    ) -> Result<bool, StoreError> {
        let NewAgent { agent, value, component } = new;
        let Some(sequence) = self.admit(&agent)? else { return Ok(false) };
        let key = keys::agent(&agent.reference);
        self.rows.seal(Class::Rows, key, &cell::write_agent(sequence, &value));
        // Where another agent has the same, it is given the same bytes again.
        self.batch.put_staged(component, |_| true);
        self.agents.push(AgentChange::Put(Uploaded { sequence, agent }));
        self.log(events);
        Ok(true)
    }

    /// Replace what is known of an agent that is there. Returns whether it is.
    pub(super) fn update_agent(
        &mut self,
        agent: Agent,
        value: &[u8],
        events: &[NewEvent],
    ) -> Result<bool, StoreError> {
        let known = {
            let index = self.shared.index();
            index.agents.uploaded(&agent.reference).map(|known| known.sequence)
        };
        let Some(sequence) = known else { return Ok(false) };
        let key = keys::agent(&agent.reference);
        self.rows.seal(Class::Rows, key, &cell::write_agent(sequence, value));
        self.agents.push(AgentChange::Put(Uploaded { sequence, agent }));
        self.log(events);
        Ok(true)
    }

    /// Remove an agent that nothing refers to, and its component with the last agent that has it.
    /// Returns whether it was there.
    pub(super) fn delete_agent(
        &mut self,
        agent: AgentRef,
        events: &[NewEvent],
    ) -> Result<bool, StoreError> {
        let is_shared = {
            let index = self.shared.index();
            if index.agents.uploaded(&agent).is_none() {
                return Ok(false);
            }
            match index.serves(&agent) {
                0 => {}
                count => return Err(StoreError::AgentInUse(count)),
            }
            index.agents.count_with(agent.digest) > 1
        };
        if !is_shared && self.shared.all_agents_are_known() {
            self.rows.remove(keys::component(agent.digest));
        }
        self.rows.remove(keys::agent(&agent));
        self.agents.push(AgentChange::Removed(agent));
        self.log(events);
        Ok(true)
    }
}
