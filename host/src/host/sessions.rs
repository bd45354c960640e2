//! The sessions of a host: created, found, listed.

use super::{Host, SessionHandle};
use crate::agent::Statefulness;
use crate::agent::catalog::AgentError;
use crate::event::{Event, EventKind};
use crate::session::creation::{self, InvalidField, NewSession};
use crate::session::id::SessionId;
use crate::session::request::Sight;
use crate::store::{Creation, SessionQuery, StoreError};

/// Why a session was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A field is out of bounds.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    /// The agent is not there.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// `require_durable`, but the agent's state does not outlive the process.
    #[error("the agent does not save its state ({0}), and the session is required to be durable")]
    NotDurable(String),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The sessions of a host.
#[derive(Clone)]
pub struct Sessions(pub(super) Host);

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The sessions, newest first.
    pub sessions: Vec<Sight>,
    /// How many match, over all pages.
    pub total: usize,
}

impl Sessions {
    /// Create a session. No instance is made before its first message.
    ///
    /// # Errors
    /// [`CreateError`] names the field that is out of bounds.
    pub async fn create(&self, new: NewSession) -> Result<SessionHandle, CreateError> {
        Ok(self.get(self.create_seen(new).await?.session.id))
    }

    /// Create a session, and return it as it is then instead of a handle.
    ///
    /// # Errors
    /// As [`Sessions::create`].
    pub async fn create_seen(&self, new: NewSession) -> Result<Sight, CreateError> {
        let inner = &self.0.inner;
        let selector = match &new.agent {
            Some(selector) => selector.clone(),
            None => inner.options.default_agent.clone(),
        };
        let _held = inner.catalog.hold().await;
        let agent = inner.catalog.find(selector).await?;
        if let Statefulness::Unsaved(why) = &agent.statefulness
            && new.require_durable
        {
            return Err(CreateError::NotDurable(why.clone()));
        }
        let id = SessionId(inner.clock.new_id());
        let now = inner.clock.now();
        let owner = self.0.caller.clone();
        let defaults = &inner.options.limits;
        let session = creation::create(new, id, owner, agent.reference, defaults, now)?;
        let event = Event::session(EventKind::SessionCreated, id.0, now)
            .with("pattern", session.profile.pattern.as_str())
            .with("agent", session.profile.agent.name.as_str());
        let creation = Creation { session: session.clone(), head: None };
        inner.store.create_sessions(vec![creation], vec![event]).await?;
        inner.manager.note_deadline(&session);
        Ok(inner.manager.sight(session))
    }

    /// A handle on a session. Whether there is one shows at the first use.
    #[must_use]
    pub fn get(&self, id: SessionId) -> SessionHandle {
        SessionHandle::new(self.0.clone(), id)
    }

    /// The caller's sessions that match, newest first.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn list(&self, mut query: SessionQuery) -> Result<Listing, StoreError> {
        query.owner = Some(self.0.caller.clone());
        let page = self.0.inner.store.sessions(query).await?;
        let sight = |session| self.0.inner.manager.sight(session);
        Ok(Listing { sessions: page.sessions.into_iter().map(sight).collect(), total: page.total })
    }
}
