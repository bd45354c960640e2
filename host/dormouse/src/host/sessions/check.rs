//! Whether a session can be created as it is asked for.

use super::{CreateError, Sessions, StartingPoint};
use dormouse_domain::agent::{Agent, ComponentKind, Statefulness};
use dormouse_domain::creation::{self, NewSession, StartFrom};
use dormouse_domain::group::{self, Group};
use dormouse_domain::id::SessionId;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::template::Template;
use dormouse_sandbox::environment;
use uuid::Uuid;

impl Sessions {
    /// Whether the caller could create this session now. A snapshot that it is to resume from is not looked for, and
    /// where that decides on the agent, nor is the agent.
    pub(in super::super) async fn check(&self, new: &NewSession) -> Result<(), CreateError> {
        let inner = &self.0.inner;
        let from = match &new.start {
            StartFrom::Template(name) => {
                let Template { snapshot, agent, .. } = self.0.templates().get(name).await?;
                Some(StartingPoint { snapshot, agent })
            }
            StartFrom::Fresh | StartFrom::Resume(_) => None,
        };
        let agent = match (&new.start, &new.agent) {
            (StartFrom::Resume(_), None) => {
                inner.catalog.find(inner.options.default_agent.clone(), self.0.caller()).await?
            }
            _ => {
                let agent = self.agent(new, from.as_ref()).await?;
                fits(new, &agent)?;
                agent
            }
        };
        self.check_members(new).await?;
        let (id, owner) = (SessionId(inner.clock.new_id()), self.0.caller().clone());
        let (limits, now) = (&inner.options.limits, inner.clock.now());
        creation::fresh(new.clone(), id, owner, agent.reference, None, limits, now)?;
        Ok(())
    }
}

impl Sessions {
    /// Whether the members of a new group can have the agents that it names for them.
    pub(super) async fn check_members(&self, new: &NewSession) -> Result<(), CreateError> {
        if new.pattern != Pattern::SingleContainer {
            return Ok(());
        }
        let (id, catalog) = (SessionId(Uuid::nil()), &self.0.inner.catalog);
        let Some(group) = Group::of_config(id, &new.config)? else { return Ok(()) };
        for name in group.members.keys() {
            if let Some(agent) = group::agent_of(&new.config, name) {
                let selected = creation::selected(agent)?;
                let speaker = self.0.speaker(&selected).clone();
                fits(new, &catalog.find(selected, &speaker).await?)?;
            }
        }
        Ok(())
    }
}

/// Whether the agent serves such a session.
pub(super) fn fits(new: &NewSession, agent: &Agent) -> Result<(), CreateError> {
    if let Statefulness::Unsaved(why) = &agent.component.statefulness
        && new.require_durable
    {
        return Err(CreateError::NotDurable(why.clone()));
    }
    match agent.component.exports.kind() {
        Some(ComponentKind::Agent) | None => Ok(()),
        Some(ComponentKind::Command) if new.pattern != Pattern::Ephemeral => {
            let (agent, pattern) = (agent.reference.clone(), new.pattern);
            Err(CreateError::PatternUnsupported { agent, pattern })
        }
        Some(ComponentKind::Command) => Ok(environment::check(&new.config)?),
        Some(ComponentKind::Population) => Err(CreateError::Population(agent.reference.clone())),
    }
}
