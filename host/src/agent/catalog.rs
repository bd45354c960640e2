//! Agents as sessions need them: compiled, linked, and kept loaded while they are in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard};

use dormouse_agents::BundledAgent;

use super::{Agent, AgentName, AgentRef, AgentSelector, Digest, InvalidName, Version};
use crate::clock::Clock;
use crate::event::{Event, EventKind, Subject};
use crate::sandbox::{Code, Refusal, Sandbox};
use crate::session::id::Principal;
use crate::store::{Store, StoreError};

/// Compiled agents that are kept loaded at most. One more lets go of one that no session holds.
const MAX_LOADED: usize = 256;

/// Why an agent could not be uploaded, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// What was uploaded is no agent.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The name or the version is none.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// There is no such agent.
    #[error("there is no agent '{0}'; GET /api/agents lists those there are")]
    NotFound(AgentSelector),
    /// Another principal uploaded it.
    #[error("the agent was uploaded by somebody else")]
    NotOwner,
    /// The agent comes with the host.
    #[error("the agent comes with the host and cannot be removed or replaced")]
    Bundled,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An upload that was taken.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The agent.
    pub agent: Agent,
    /// Whether it was not there before.
    pub created: bool,
}

/// All agents of a host.
pub(crate) struct Catalog {
    sandbox: Sandbox,
    store: Arc<dyn Store>,
    clock: Clock,
    loaded: Mutex<HashMap<Digest, Arc<OnceCell<Arc<Code>>>>>,
    /// Held shared while a session is created and alone while an agent is removed: no session refers
    /// to an agent that is gone.
    referring: RwLock<()>,
    /// Which of the agents that come with the host are in the store, in their order.
    bundled: Vec<OnceCell<()>>,
}

impl Catalog {
    pub(crate) fn new(sandbox: Sandbox, store: Arc<dyn Store>, clock: Clock) -> Catalog {
        let bundled = dormouse_agents::ALL.iter().map(|_| OnceCell::new()).collect();
        Catalog {
            sandbox,
            store,
            clock,
            loaded: Mutex::default(),
            referring: RwLock::default(),
            bundled,
        }
    }

    /// Check, compile and keep a component under a name and a version.
    pub(crate) async fn upload(
        &self,
        name: AgentName,
        version: Version,
        component: Bytes,
        owner: Principal,
    ) -> Result<Upload, AgentError> {
        self.install_bundled(Some(&name)).await?;
        self.install(name, version, component, Some(owner)).await
    }

    async fn install(
        &self,
        name: AgentName,
        version: Version,
        component: Bytes,
        owner: Option<Principal>,
    ) -> Result<Upload, AgentError> {
        let selector = AgentSelector::Exact(name.clone(), version.clone());
        let known = self.store.agent(selector).await?;
        let digest = digest_of(&component).await;
        if let Some(agent) = known {
            return if agent.reference.digest == digest {
                Ok(Upload { agent, created: false })
            } else {
                Err(StoreError::AgentExists(agent.reference).into())
            };
        }
        let prepared = self.sandbox.prepare(component.clone(), owner.clone()).await?;
        let reference = AgentRef { name, version, digest: prepared.digest };
        let agent = Agent {
            owner,
            size: component.len() as u64,
            kind: prepared.kind,
            imports: prepared.imports,
            capabilities: prepared.capabilities,
            statefulness: prepared.statefulness,
            compile_ms: u64::try_from(prepared.compile_time.as_millis()).unwrap_or(u64::MAX),
            uploaded_at: self.clock.now(),
            reference,
        };
        let event = self.event(EventKind::AgentUploaded, &agent.reference);
        self.store.put_agent(agent.clone(), component, vec![event]).await?;
        // A race of two uploads of the same bytes: both compiled, one set of code is kept.
        let cell = self.cell(agent.reference.digest);
        cell.get_or_init(|| async { prepared.code }).await;
        Ok(Upload { agent, created: true })
    }

    /// The agent that this text means.
    pub(crate) async fn find(&self, selector: AgentSelector) -> Result<Agent, AgentError> {
        match &selector {
            AgentSelector::Latest(name) | AgentSelector::Exact(name, _) => {
                self.install_bundled(Some(name)).await?;
            }
            AgentSelector::Digest(_) => self.install_bundled(None).await?,
        }
        let found = self.store.agent(selector.clone()).await?;
        found.ok_or(AgentError::NotFound(selector))
    }

    /// Keep all agents where they are, until what refers to one is committed.
    pub(crate) async fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.referring.read().await
    }

    /// All agents, those that come with the host included.
    pub(crate) async fn list(&self) -> Result<Vec<Agent>, AgentError> {
        self.install_bundled(None).await?;
        Ok(self.store.agents().await?)
    }

    /// Keep the agents that come with the host, each when it is first asked for: all, or that of this
    /// name.
    async fn install_bundled(&self, name: Option<&AgentName>) -> Result<(), AgentError> {
        for (agent, installed) in dormouse_agents::ALL.iter().zip(&self.bundled) {
            if name.is_none_or(|name| name.as_str() == agent.name) {
                installed.get_or_try_init(|| self.install_one(agent)).await?;
            }
        }
        Ok(())
    }

    async fn install_one(&self, agent: &BundledAgent) -> Result<(), AgentError> {
        let component = Bytes::from_static(agent.bytes);
        let name: AgentName = agent.name.parse()?;
        let version: Version = agent.version.parse()?;
        match self.install(name.clone(), version, component.clone(), None).await {
            Err(AgentError::Store(StoreError::AgentExists(_))) => {
                // Another build of the host left another component under this version, and sessions
                // may refer to it: this build's gets a version of its own, and is the latest.
                let digest = digest_of(&component).await.to_string();
                let version = format!("{}-{}", agent.version, &digest[..8]).parse()?;
                self.install(name, version, component, None).await?;
            }
            installed => {
                installed?;
            }
        }
        Ok(())
    }

    /// Remove an agent that no session refers to.
    pub(crate) async fn remove(
        &self,
        selector: AgentSelector,
        by: &Principal,
    ) -> Result<Agent, AgentError> {
        let agent = self.find(selector.clone()).await?;
        match &agent.owner {
            None => return Err(AgentError::Bundled),
            Some(owner) if owner != by => return Err(AgentError::NotOwner),
            Some(_) => {}
        }
        let event = self.event(EventKind::AgentDeleted, &agent.reference);
        let _alone = self.referring.write().await;
        if !self.store.delete_agent(agent.reference.clone(), vec![event]).await? {
            return Err(AgentError::NotFound(selector));
        }
        self.lock().remove(&agent.reference.digest);
        Ok(agent)
    }

    /// The compiled form of an agent, loaded where it is not yet. Callers of one agent that come at
    /// the same time load it once. Where it has to be compiled again, that is this principal's turn.
    pub(crate) async fn code(
        &self,
        digest: Digest,
        caller: &Principal,
    ) -> Result<Arc<Code>, CodeError> {
        let cell = self.cell(digest);
        let load = || async {
            let bytes = self.store.component(digest).await?.ok_or(CodeError::Missing(digest))?;
            Ok::<_, CodeError>(self.sandbox.prepare(bytes, Some(caller.clone())).await?.code)
        };
        Ok(cell.get_or_try_init(load).await?.clone())
    }

    fn cell(&self, digest: Digest) -> Arc<OnceCell<Arc<Code>>> {
        let mut loaded = self.lock();
        if loaded.len() >= MAX_LOADED && !loaded.contains_key(&digest) {
            // Only what no instance and no loader holds: the others would be loaded twice.
            let idle = loaded.iter().find(|(_, cell)| {
                Arc::strong_count(cell) == 1
                    && cell.get().is_none_or(|code| Arc::strong_count(code) == 1)
            });
            if let Some(digest) = idle.map(|(digest, _)| *digest) {
                loaded.remove(&digest);
            }
        }
        loaded.entry(digest).or_default().clone()
    }

    fn event(&self, kind: EventKind, agent: &AgentRef) -> Event {
        Event {
            kind,
            subject: Subject::Agent(format!("{}@{}", agent.name, agent.version)),
            occurred_at: self.clock.now(),
            payload: serde_json::Map::new(),
        }
        .with("digest", agent.digest.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<OnceCell<Arc<Code>>>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the code of an agent could not be loaded. It was checked when it was uploaded, so this is
/// the host's fault, or the agent has been removed meanwhile.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodeError {
    #[error("the component {0} is not there any more")]
    Missing(Digest),
    #[error("the component could not be prepared again: {0}")]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Hash off the async threads: a component may have a hundred megabytes.
async fn digest_of(component: &Bytes) -> Digest {
    let bytes = component.clone();
    let hashed = tokio::task::spawn_blocking(move || Digest::of(&bytes)).await;
    // The task does not panic, and blocking tasks that run are not cancelled; hash here if it was.
    hashed.unwrap_or_else(|_| Digest::of(component))
}
