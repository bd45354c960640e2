//! The agents of a host, as a library.

use bytes::Bytes;

use super::Host;
use crate::agent::catalog::{AgentError, Upload};
use crate::agent::{Agent, AgentSelector};

/// The agents of a host.
#[derive(Clone)]
pub struct Agents(pub(super) Host);

impl Agents {
    /// Check, compile and keep a component. The same name, version and bytes again change nothing.
    ///
    /// # Errors
    /// [`AgentError`]; a refusal says what is wrong with the component.
    pub async fn upload(
        &self,
        name: &str,
        version: &str,
        component: impl Into<Bytes>,
    ) -> Result<Upload, AgentError> {
        let (name, version) = (name.parse()?, version.parse()?);
        let owner = self.0.caller.clone();
        self.0.inner.catalog.upload(name, version, component.into(), owner).await
    }

    /// All agents, those that come with the host included.
    ///
    /// # Errors
    /// [`AgentError::Store`] where the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Agent>, AgentError> {
        self.0.inner.catalog.list().await
    }

    /// The agent of this name, name and version, or digest.
    ///
    /// # Errors
    /// [`AgentError::NotFound`]
    pub async fn get(&self, agent: AgentSelector) -> Result<Agent, AgentError> {
        self.0.inner.catalog.find(agent).await
    }

    /// Remove an agent that no session refers to.
    ///
    /// # Errors
    /// [`AgentError`]: it is not there, belongs to somebody else, or is in use.
    pub async fn remove(&self, agent: AgentSelector) -> Result<Agent, AgentError> {
        self.0.inner.catalog.remove(agent, &self.0.caller).await
    }
}
