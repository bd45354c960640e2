//! Agents: what a group adds and removes.

use super::super::cell::{AgentCell, Part};
use super::super::commit::NewEvent;
use super::super::index::Uploaded;
use super::super::keys;
use super::{AgentChange, Group};
use crate::agent::{Agent, AgentRef};
use crate::store::StoreError;
use crate::store::codec::{self, Kind};

impl Group<'_> {
    /// Whether this agent is new, and then its place in the order of upload.
    pub(super) fn admit(&self, agent: &Agent) -> Result<Option<u64>, StoreError> {
        let index = self.shared.index();
        let reference = &agent.reference;
        match index.uploaded(&reference.name, &reference.version) {
            None => Ok(Some(index.next_sequence())),
            Some(known) if known.agent.reference.digest == reference.digest => Ok(None),
            Some(known) => Err(StoreError::AgentExists(known.agent.reference.clone())),
        }
    }

    /// Keep an agent at its place in the order of upload.
    pub(super) fn put_agent(
        &mut self,
        sequence: u64,
        agent: Agent,
        part: &Part,
        events: &[NewEvent],
    ) -> bool {
        let key = keys::agent(&agent.reference.name, &agent.reference.version);
        self.insert(key, &AgentCell::write(sequence, part));
        self.agents.push(AgentChange::Put(Uploaded { sequence, agent }));
        self.log(events);
        true
    }

    /// Remove an agent that nothing refers to. Returns whether it was there.
    pub(super) fn delete_agent(
        &mut self,
        agent: AgentRef,
        events: &[NewEvent],
    ) -> Result<bool, StoreError> {
        {
            let index = self.shared.index();
            let known = index.uploaded(&agent.name, &agent.version);
            if known.is_none_or(|known| known.agent.reference.digest != agent.digest) {
                return Ok(false);
            }
            match index.serves(&agent) {
                0 => {}
                count => return Err(StoreError::AgentInUse(count)),
            }
        }
        self.forget_agent_file(&agent)?;
        self.remove(keys::agent(&agent.name, &agent.version));
        self.agents.push(AgentChange::Removed(agent));
        self.log(events);
        Ok(true)
    }

    fn forget_agent_file(&mut self, agent: &AgentRef) -> Result<(), StoreError> {
        let key = keys::agent(&agent.name, &agent.version);
        let file = self.shared.disk.get(&key)?.and_then(|sealed| {
            let value = codec::unseal(Kind::Agent, &key, &sealed).ok()?;
            AgentCell::read(&value).ok()?.agent.to_file()
        });
        if let Some(file) = file {
            self.forget_file(file);
        }
        Ok(())
    }
}
