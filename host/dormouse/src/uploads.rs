//! Uploads: a component becomes an agent in a task of its own, whoever waits for it.
//!
//! ```text
//! upload ──▶ compiling ──▶ ready: the agent is in the store
//!                     └──▶ refused: remembered for ten minutes
//! ```
//!
//! A caller that goes away loses nothing: the same request again joins the work that is under way, or
//! finds the agent. What is under way and what was refused is in the [`UploadTable`]; what is ready, in the
//! store alone. The task holds the component until its work is over, and with that whatever is charged
//! for it.

mod table;

use std::sync::Arc;

use bytes::Bytes;
use tracing::Instrument;

pub(super) use table::UploadTable;

use crate::catalog::{AgentError, Catalog, Upload, digest_of, is_reserved};
use dormouse_domain::agent::{Agent, AgentName, AgentOwner, AgentRef, AgentSelector, Version};
use dormouse_domain::id::Principal;
use table::PendingUpload;

/// How far an upload has come.
#[derive(Clone, Debug)]
pub struct UploadStatus {
    /// The owner, name, version and digest of the agent that it is to be.
    pub reference: AgentRef,
    /// How far it has come.
    pub state: UploadState,
}

/// The states of an upload.
#[derive(Clone, Debug)]
pub enum UploadState {
    /// The component is compiled, or waits for its turn.
    Compiling,
    /// The agent is there.
    Ready(Box<Agent>),
    /// The component was not taken. The host remembers for ten minutes why.
    Refused(AgentError),
}

impl UploadState {
    /// The word for an agent that is there.
    pub const READY: &str = "ready";

    /// The stable word for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            UploadState::Compiling => "compiling",
            UploadState::Ready(_) => UploadState::READY,
            UploadState::Refused(_) => "refused",
        }
    }
}

impl UploadStatus {
    fn ready(agent: Agent) -> UploadStatus {
        let reference = agent.reference.clone();
        UploadStatus { reference, state: UploadState::Ready(Box::new(agent)) }
    }
}

/// How an upload has begun.
enum Begun {
    /// The agent was there.
    There(Box<Agent>),
    /// It is under way now, for this request or for one before.
    UnderWay(AgentRef, PendingUpload),
}

impl Catalog {
    /// Check, compile and keep a component under a name and a version of this owner.
    pub(crate) async fn upload(
        self: &Arc<Self>,
        name: AgentName,
        version: Version,
        component: Bytes,
        owner: Principal,
    ) -> Result<Upload, AgentError> {
        match self.begin_upload(name, version, component, owner).await? {
            Begun::There(agent) => Ok(Upload { agent: *agent, created: false }),
            Begun::UnderWay(_, pending) => pending.outcome().await,
        }
    }

    /// The same, without waiting until it is done.
    pub(crate) async fn upload_in_background(
        self: &Arc<Self>,
        name: AgentName,
        version: Version,
        component: Bytes,
        owner: Principal,
    ) -> Result<UploadStatus, AgentError> {
        Ok(match self.begin_upload(name, version, component, owner).await? {
            Begun::There(agent) => UploadStatus::ready(*agent),
            Begun::UnderWay(reference, pending) => match pending.outcome_now() {
                None => UploadStatus { reference, state: UploadState::Compiling },
                Some(Ok(upload)) => UploadStatus::ready(upload.agent),
                Some(Err(error)) => UploadStatus { reference, state: UploadState::Refused(error) },
            },
        })
    }

    /// The upload of the agent that this text means when this principal says it. An agent that is there
    /// goes before an upload that is not done.
    pub(crate) async fn upload_status(
        &self,
        selector: AgentSelector,
        caller: &Principal,
    ) -> Result<UploadStatus, AgentError> {
        // Looked at first: an upload that is done meanwhile is found in the store.
        let undone = self.uploads.find(&selector, caller, self.clock.now());
        match (self.find(selector, caller).await, undone) {
            (Ok(agent), _) => Ok(UploadStatus::ready(agent)),
            (Err(AgentError::NotFound(_)), Some(undone)) => Ok(undone),
            (Err(error), _) => Err(error),
        }
    }

    async fn begin_upload(
        self: &Arc<Self>,
        name: AgentName,
        version: Version,
        component: Bytes,
        owner: Principal,
    ) -> Result<Begun, AgentError> {
        if is_reserved(&name) {
            return Err(AgentError::Reserved(name));
        }
        let digest = digest_of(&component).await;
        let owner = AgentOwner::Principal(owner);
        let reference = AgentRef { owner, name, version, digest };
        if let Some(agent) = self.there(&reference).await? {
            return Ok(Begun::There(Box::new(agent)));
        }
        let (pending, work) = self.uploads.begin(&reference, self.clock.now())?;
        if let Some(work) = work {
            let (catalog, reference) = (self.clone(), reference.clone());
            let installing = async move {
                let outcome = catalog.install(reference.clone(), component).await;
                // Perhaps nobody asks what came of it.
                if let Err(error) = &outcome
                    && error.is_host_fault()
                {
                    tracing::error!(agent = %reference, %error, "the host has failed an upload");
                }
                work.end(outcome, catalog.clock.now());
            };
            self.sandbox.runtime().spawn(installing.in_current_span());
        }
        Ok(Begun::UnderWay(reference, pending))
    }
}
