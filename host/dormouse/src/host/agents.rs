//! The agents of a host, as a library.
//!
//! Names are those of the caller: a name alone means the agent of the host that has this name, else the
//! caller's own; those that others have made public go by `owner/name`. What the caller cannot name is
//! not there. An admin names the agents of all principals by `owner/name`.

use bytes::Bytes;

use super::Host;
use crate::catalog::{AgentError, Upload};
use crate::uploads::UploadStatus;
use dormouse_domain::access::{Action, Role};
use dormouse_domain::agent::{Agent, AgentSelector, Visibility};
use dormouse_domain::id::Principal;

/// The agents of a host, as one caller sees them.
#[derive(Clone)]
pub struct Agents(pub(super) Host);

impl Agents {
    /// Check, compile and keep a component as an agent of the caller's. The same name, version and bytes
    /// again change nothing. Once it has begun, the host goes on with the work if this future is dropped:
    /// the same call again waits for that work, or finds the agent.
    ///
    /// ```no_run
    /// # async fn example(host: dormouse::Host) -> Result<(), Box<dyn std::error::Error>> {
    /// use dormouse::NewSession;
    ///
    /// let component = std::fs::read("target/wasm32-wasip2/release/my_agent.wasm")?;
    /// let upload = host.agents().upload("mine", "1", component).await?;
    /// println!("{} was compiled in {} ms", upload.agent.reference, upload.agent.compile_ms);
    /// let session = host.sessions().create(NewSession::agent("mine")).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`AgentError`]; a refusal says what is wrong with the component. [`AgentError::Reserved`] where
    /// the name is that of an agent of the host, or could be taken for one. [`StoreError::AgentExists`]
    /// where the agent is there, or under way, with other bytes.
    ///
    /// [`StoreError::AgentExists`]: crate::StoreError::AgentExists
    pub async fn upload(
        &self,
        name: &str,
        version: &str,
        component: impl Into<Bytes>,
    ) -> Result<Upload, AgentError> {
        let (name, version) = (name.parse()?, version.parse()?);
        self.0.may(Action::Change)?;
        let owner = self.0.caller().clone();
        self.0.inner.catalog.upload(name, version, component.into(), owner).await
    }

    /// The same as [`Agents::upload`], without waiting until the component is compiled:
    /// [`Agents::upload_status`] tells how far it has come.
    ///
    /// # Errors
    /// [`AgentError`] of what is known before the component is checked: its name or version is none, is
    /// reserved or stands for other bytes, or the caller has 16 uploads under way
    /// ([`Refusal::QueueFull`]).
    ///
    /// [`Refusal::QueueFull`]: crate::Refusal::QueueFull
    pub async fn upload_in_background(
        &self,
        name: &str,
        version: &str,
        component: impl Into<Bytes>,
    ) -> Result<UploadStatus, AgentError> {
        let (name, version) = (name.parse()?, version.parse()?);
        self.0.may(Action::Change)?;
        let owner = self.0.caller().clone();
        self.0.inner.catalog.upload_in_background(name, version, component.into(), owner).await
    }

    /// How far an upload of the caller's has come, or that an agent is ready, whoever has uploaded it. Why
    /// an upload was refused is remembered for ten minutes, for each principal of its last 16.
    ///
    /// # Errors
    /// [`AgentError::NotFound`]
    pub async fn upload_status(&self, agent: AgentSelector) -> Result<UploadStatus, AgentError> {
        let speaker = self.0.speaker(&agent).clone();
        self.0.inner.catalog.upload_status(agent, &speaker).await
    }

    /// Those that come with the host, the caller's own, and those that others have made public, or for an
    /// admin all that there are: by name,
    /// and then in the order of upload. An upload is not among them until the agent is ready.
    ///
    /// # Errors
    /// [`AgentError::Store`] where the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Agent>, AgentError> {
        self.0.inner.catalog.list(self.0.access.only()).await
    }

    /// The agent of this name, name and version, or digest.
    ///
    /// # Errors
    /// [`AgentError::NotFound`]
    pub async fn get(&self, agent: AgentSelector) -> Result<Agent, AgentError> {
        let speaker = self.0.speaker(&agent).clone();
        self.0.inner.catalog.find(agent, &speaker).await
    }

    /// Say who can name an agent of the caller's. Sessions that it serves go on, whosever they are.
    ///
    /// # Errors
    /// [`AgentError`]: it is not there, or belongs to somebody else or to the host.
    pub async fn set_visibility(
        &self,
        agent: AgentSelector,
        visibility: Visibility,
    ) -> Result<Agent, AgentError> {
        self.0.may(Action::Change)?;
        let speaker = self.0.speaker(&agent).clone();
        self.0.inner.catalog.set_visibility(agent, visibility, &speaker).await
    }

    /// Remove an agent of the caller's that no session refers to, whosever the session is.
    ///
    /// # Errors
    /// [`AgentError`]: it is not there, belongs to somebody else or to the host, or is in use.
    pub async fn remove(&self, agent: AgentSelector) -> Result<Agent, AgentError> {
        self.0.may(Action::Change)?;
        let speaker = self.0.speaker(&agent).clone();
        self.0.inner.catalog.remove(agent, &speaker).await
    }
}

impl Host {
    /// The principal as whom the caller speaks of an agent: an admin names the agent of an owner as that
    /// owner does, everybody else as what they are.
    pub(super) fn speaker<'a>(&'a self, agent: &'a AgentSelector) -> &'a Principal {
        match (agent, self.access.role) {
            (AgentSelector::Name { owner: Some(owner), .. }, Role::Admin) => owner,
            (AgentSelector::Name { .. } | AgentSelector::Digest(_), _) => self.caller(),
        }
    }
}
