//! Whether a session can be created as it is asked for.

use super::{CreateError, Sessions, StartingPoint};
use dormouse_domain::agent::{Agent, Statefulness};
use dormouse_domain::creation::{self, NewSession, StartFrom};
use dormouse_domain::id::SessionId;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::template::Template;
use dormouse_sandbox::environment;

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
        let (id, owner) = (SessionId(inner.clock.new_id()), self.0.caller().clone());
        let (limits, now) = (&inner.options.limits, inner.clock.now());
        creation::fresh(new.clone(), id, owner, agent.reference, None, limits, now)?;
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
    if agent.component.exports.is_command() {
        if new.pattern != Pattern::Ephemeral {
            let (agent, pattern) = (agent.reference.clone(), new.pattern);
            return Err(CreateError::PatternUnsupported { agent, pattern });
        }
        environment::check(&new.config)?;
    }
    Ok(())
}
