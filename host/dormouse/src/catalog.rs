//! Agents as sessions need them: compiled, linked, and kept loaded while they are in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard};

use dormouse_agents::BundledAgent;

use crate::uploads::UploadTable;

use dormouse_base::clock::Clock;
use dormouse_domain::access::Forbidden;
use dormouse_domain::agent::{
    Agent, AgentName, AgentOwner, AgentRef, AgentSelector, Digest, InvalidName, Version, Visibility,
};
use dormouse_domain::event::{Event, EventBody, EventSubject};
use dormouse_domain::id::Principal;
use dormouse_sandbox::{Code, Prepared, Refusal, Sandbox};
use dormouse_store::{AgentQuery, Store, StoreError, Transaction};

/// Compiled agents that are kept loaded at most. One more lets go of one that no session holds.
const MAX_LOADED: usize = 256;

/// Why an agent could not be uploaded, found or removed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AgentError {
    /// The component that was uploaded is no agent.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The name or the version is none.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The name is kept for agents that come with the host.
    #[error(
        "the name '{0}' is reserved for agents that come with the host, or could be taken for one of \
         theirs; choose another name"
    )]
    Reserved(AgentName),
    /// There is no such agent, or none that the caller can name.
    #[error("there is no agent '{0}'; GET /api/agents lists those there are")]
    NotFound(AgentSelector),
    /// The caller can use it and has not uploaded it.
    #[error("the agent '{0}' was uploaded by somebody else, who alone can change or remove it")]
    NotOwner(AgentRef),
    /// The caller is a reader.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The agent comes with the host.
    #[error("the agent '{0}' comes with the host and cannot be changed or removed")]
    Bundled(AgentRef),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AgentError {
    /// Whether the host, and not what was asked of it, is the reason.
    pub(crate) fn is_host_fault(&self) -> bool {
        match self {
            AgentError::Refused(refusal) => matches!(refusal, Refusal::Host(_)),
            AgentError::Store(error) => {
                matches!(error, StoreError::Damaged(_) | StoreError::Unknown(_) | StoreError::Io(_))
            }
            AgentError::Name(_)
            | AgentError::Reserved(_)
            | AgentError::NotFound(_)
            | AgentError::NotOwner(_)
            | AgentError::Forbidden(_)
            | AgentError::Bundled(_) => false,
        }
    }
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
    pub(super) sandbox: Sandbox,
    store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) uploads: UploadTable,
    loaded: Mutex<HashMap<Digest, Arc<OnceCell<Arc<Code>>>>>,
    /// Held shared while a session is created and alone while an agent is removed: no session refers
    /// to an agent that is gone.
    referring: RwLock<()>,
    /// The agents that come with this build of the host, as they are in the store, once they are.
    bundled: Vec<Bundled>,
}

/// An agent that comes with this build.
struct Bundled {
    build: &'static BundledAgent,
    stored: OnceCell<Agent>,
}

impl Catalog {
    pub(crate) fn new(sandbox: Sandbox, store: Arc<dyn Store>, clock: Clock) -> Catalog {
        let bundled = |build| Bundled { build, stored: OnceCell::new() };
        Catalog {
            sandbox,
            store,
            clock,
            uploads: UploadTable::default(),
            loaded: Mutex::default(),
            referring: RwLock::default(),
            bundled: dormouse_agents::ALL.iter().map(bundled).collect(),
        }
    }

    /// The agent of this reference, where it is there. Another component under its name and version is
    /// an error.
    pub(super) async fn there(&self, reference: &AgentRef) -> Result<Option<Agent>, AgentError> {
        let AgentRef { owner, name, version, digest } = reference.clone();
        match self.store.agent(AgentQuery::Exact(owner, name, version)).await? {
            Some(agent) if agent.reference.digest != digest => {
                Err(StoreError::AgentExists(agent.reference).into())
            }
            found => Ok(found),
        }
    }

    /// Check, compile and keep the component of this reference.
    pub(super) async fn install(
        &self,
        reference: AgentRef,
        component: Bytes,
    ) -> Result<Upload, AgentError> {
        if let Some(agent) = self.there(&reference).await? {
            return Ok(Upload { agent, created: false });
        }
        let AgentRef { owner, digest, .. } = &reference;
        let prepared = self.prepare(*digest, component.clone(), owner).await?;
        let agent = Agent {
            visibility: Visibility::default(),
            size: component.len() as u64,
            component: prepared.component,
            compile_ms: u64::try_from(prepared.compile_time.as_millis()).unwrap_or(u64::MAX),
            uploaded_at: self.clock.now(),
            reference,
        };
        let uploaded = EventBody::AgentUploaded { digest: agent.reference.digest };
        let event = self.event(&agent.reference, uploaded);
        let keeping = Transaction::agent(agent.clone(), component, vec![event]);
        let created = match self.store.commit(keeping).await {
            // Another host on the same store has kept it meanwhile.
            Err(StoreError::AgentExists(known)) if known == agent.reference => false,
            stored => stored.map(|()| true)?,
        };
        // Two uploads of the same bytes under two names: both compiled, one set of code is kept.
        let cell = self.cell(agent.reference.digest);
        cell.get_or_init(|| async { prepared.code }).await;
        Ok(Upload { agent, created })
    }

    /// Compile a component for this owner. What somebody else has uploaded is compiled once more
    /// where the owner cannot know of it: neither an answer nor the time until it comes tells.
    async fn prepare(
        &self,
        digest: Digest,
        component: Bytes,
        owner: &AgentOwner,
    ) -> Result<Prepared, AgentError> {
        let is_secret = match owner {
            AgentOwner::Host => false,
            AgentOwner::Principal(principal) => {
                let usable = AgentQuery::Component(digest, principal.clone());
                self.store.agent(usable).await?.is_none()
                    && self.store.agent(AgentQuery::AnyComponent(digest)).await?.is_some()
            }
        };
        let owner = owner.principal().cloned();
        Ok(if is_secret {
            self.sandbox.prepare_anew(component, owner).await?
        } else {
            self.sandbox.prepare(component, owner).await?
        })
    }

    /// The agent that this text means when this principal says it.
    pub(crate) async fn find(
        &self,
        selector: AgentSelector,
        caller: &Principal,
    ) -> Result<Agent, AgentError> {
        let found = match &selector {
            AgentSelector::Name { owner: None, name, version } => {
                match self.bundled(name, version.as_ref()).await? {
                    Some(agent) => Some(agent),
                    None => self.named(caller, name, version.as_ref(), caller).await?,
                }
            }
            AgentSelector::Name { owner: Some(owner), name, version } => {
                self.named(owner, name, version.as_ref(), caller).await?
            }
            AgentSelector::Digest(digest) => {
                let bundled = self.all_bundled().await?;
                let bundled = bundled.into_iter().find(|it| it.reference.digest == *digest);
                let usable = AgentQuery::Component(*digest, caller.clone());
                match bundled {
                    Some(agent) => Some(agent.clone()),
                    // What an earlier build of the host has left cannot be named any more.
                    None => self.store.agent(usable).await?.filter(|agent| !agent.is_bundled()),
                }
            }
        };
        found.ok_or(AgentError::NotFound(selector))
    }

    /// The agent of this build that has this name, unless another version of it is asked for.
    async fn bundled(
        &self,
        name: &AgentName,
        version: Option<&Version>,
    ) -> Result<Option<Agent>, AgentError> {
        let Some(bundled) = self.bundled.iter().find(|it| it.build.name == name.as_str()) else {
            return Ok(None);
        };
        let agent = self.stored(bundled).await?;
        let is_meant = version.is_none_or(|version| {
            *version == agent.reference.version || version.as_str() == bundled.build.version
        });
        Ok(is_meant.then(|| agent.clone()))
    }

    /// An agent that was uploaded by `owner`, where `caller` may name it.
    async fn named(
        &self,
        owner: &Principal,
        name: &AgentName,
        version: Option<&Version>,
        caller: &Principal,
    ) -> Result<Option<Agent>, AgentError> {
        let owner = AgentOwner::Principal(owner.clone());
        let query = match version {
            Some(version) => AgentQuery::Exact(owner, name.clone(), version.clone()),
            None => AgentQuery::Latest(owner, name.clone(), caller.clone()),
        };
        let found = self.store.agent(query).await?;
        Ok(found.filter(|agent| agent.is_usable_by(caller)))
    }

    /// The agent that a session or a template refers to, whoever can name it by now.
    pub(crate) async fn referred(&self, agent: &AgentRef) -> Result<Agent, AgentError> {
        let AgentRef { owner, name, version, digest } = agent.clone();
        let found = self.store.agent(AgentQuery::Exact(owner, name, version)).await?;
        let found = found.filter(|found| found.reference.digest == digest);
        found.ok_or(AgentError::NotFound(AgentSelector::Digest(digest)))
    }

    /// The agent of a snapshot of this owner: the one that its session or template refers to, or where
    /// that has been upgraded meanwhile, one that the owner may use, or that came with the host.
    pub(crate) async fn of_snapshot(
        &self,
        digest: Digest,
        referred: &AgentRef,
        owner: &Principal,
    ) -> Result<Agent, AgentError> {
        if referred.digest == digest {
            return self.referred(referred).await;
        }
        let found = self.store.agent(AgentQuery::Component(digest, owner.clone())).await?;
        found.ok_or(AgentError::NotFound(AgentSelector::Digest(digest)))
    }

    /// Whether the agent of a snapshot of this owner is there: see [`Catalog::of_snapshot`].
    pub(crate) async fn has_agent(
        &self,
        digest: Digest,
        referred: &AgentRef,
        owner: &Principal,
    ) -> Result<bool, StoreError> {
        match self.of_snapshot(digest, referred, owner).await {
            Ok(_) => Ok(true),
            Err(AgentError::Store(error)) => Err(error),
            Err(
                AgentError::NotFound(_)
                | AgentError::Refused(_)
                | AgentError::Name(_)
                | AgentError::Reserved(_)
                | AgentError::NotOwner(_)
                | AgentError::Forbidden(_)
                | AgentError::Bundled(_),
            ) => Ok(false),
        }
    }

    /// Keep all agents where they are, until what refers to one is committed.
    pub(crate) async fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.referring.read().await
    }

    /// The agents that come with this build, those of the caller, and those that others have made
    /// public, or where no caller is named, those of all principals: by name, and then in the order of upload.
    pub(crate) async fn list(&self, caller: Option<&Principal>) -> Result<Vec<Agent>, AgentError> {
        let mut all: Vec<Agent> = self.all_bundled().await?.into_iter().cloned().collect();
        all.extend(self.store.agents(caller.cloned()).await?);
        // A stable sort: of one name, those of the host come first.
        all.sort_by(|one, other| one.reference.name.cmp(&other.reference.name));
        Ok(all)
    }

    async fn all_bundled(&self) -> Result<Vec<&Agent>, AgentError> {
        let mut all = Vec::with_capacity(self.bundled.len());
        for bundled in &self.bundled {
            all.push(self.stored(bundled).await?);
        }
        Ok(all)
    }

    /// An agent that comes with this build, which is kept when it is first asked for.
    async fn stored<'a>(&self, bundled: &'a Bundled) -> Result<&'a Agent, AgentError> {
        bundled.stored.get_or_try_init(|| self.keep(bundled.build)).await
    }

    async fn keep(&self, build: &BundledAgent) -> Result<Agent, AgentError> {
        let component = Bytes::from_static(build.bytes);
        let name: AgentName = build.name.parse()?;
        let version: Version = build.version.parse()?;
        let digest = digest_of(&component).await;
        let mut reference = AgentRef { owner: AgentOwner::Host, name, version, digest };
        match self.install(reference.clone(), component.clone()).await {
            Err(AgentError::Store(StoreError::AgentExists(_))) => {
                // Another build of the host left another component under this version, and sessions
                // may refer to it: this build's gets a version of its own.
                let digest = digest.to_string();
                reference.version = format!("{}-{}", build.version, &digest[..8]).parse()?;
                Ok(self.install(reference, component).await?.agent)
            }
            installed => Ok(installed?.agent),
        }
    }

    /// Say who can name an agent of the caller's.
    pub(crate) async fn set_visibility(
        &self,
        selector: AgentSelector,
        visibility: Visibility,
        caller: &Principal,
    ) -> Result<Agent, AgentError> {
        let mut agent = self.own(selector.clone(), caller).await?;
        if agent.visibility == visibility {
            return Ok(agent);
        }
        agent.visibility = visibility;
        let digest = agent.reference.digest;
        let event = self.event(&agent.reference, EventBody::AgentUpdated { digest, visibility });
        let update = Transaction::update_agent(agent.clone(), vec![event]);
        self.store.commit(update).await.map_err(|error| missing(error, selector))?;
        Ok(agent)
    }

    /// Remove an agent that no session refers to.
    pub(crate) async fn remove(
        &self,
        selector: AgentSelector,
        caller: &Principal,
    ) -> Result<Agent, AgentError> {
        let agent = self.own(selector.clone(), caller).await?;
        let digest = agent.reference.digest;
        let event = self.event(&agent.reference, EventBody::AgentDeleted { digest });
        let _alone = self.referring.write().await;
        let removal = Transaction::remove_agent(agent.reference.clone(), vec![event]);
        self.store.commit(removal).await.map_err(|error| missing(error, selector))?;
        if self.store.agent(AgentQuery::AnyComponent(digest)).await?.is_none() {
            self.lock().remove(&digest);
            self.sandbox.forget(digest).await;
        }
        Ok(agent)
    }

    /// An agent that the caller has uploaded.
    async fn own(&self, selector: AgentSelector, caller: &Principal) -> Result<Agent, AgentError> {
        let agent = self.find(selector, caller).await?;
        if agent.is_bundled() {
            return Err(AgentError::Bundled(agent.reference));
        }
        if !agent.is_owned_by(caller) {
            return Err(AgentError::NotOwner(agent.reference));
        }
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

    fn event(&self, agent: &AgentRef, body: EventBody) -> Event {
        Event {
            owner: Some(agent.owner.clone()),
            subject: EventSubject::Agent(agent.to_string()),
            occurred_at: self.clock.now(),
            body,
        }
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

/// What it means to the caller that the agent which it has named has gone meanwhile.
fn missing(error: StoreError, selector: AgentSelector) -> AgentError {
    match error {
        StoreError::AgentNotFound(_) => AgentError::NotFound(selector),
        error => error.into(),
    }
}

/// Hash off the async threads: a component may have a hundred megabytes.
pub(super) async fn digest_of(component: &Bytes) -> Digest {
    let bytes = component.clone();
    let hashed = tokio::task::spawn_blocking(move || Digest::of(&bytes)).await;
    // The task does not panic, and blocking tasks that run are not cancelled; hash here if it was.
    hashed.unwrap_or_else(|_| Digest::of(component))
}

/// The beginning of a reserved name, whatever follows.
const RESERVED: &str = "dormouse";

/// Whether nobody may upload an agent under this name: it is that of an agent of the host, or could be
/// taken for one, because it differs in case and in `.`, `_` and `-` alone; it begins with the name of
/// the host; or it reads as a digest, which would be found in its stead.
pub(crate) fn is_reserved(name: &AgentName) -> bool {
    let plain = |name: &str| name.replace(['.', '_', '-'], "").to_ascii_lowercase();
    let wanted = plain(name.as_str());
    wanted.starts_with(RESERVED)
        || name.as_str().parse::<Digest>().is_ok()
        || dormouse_agents::ALL.iter().any(|bundled| plain(bundled.name) == wanted)
}

/// The agent of sessions that name none, unless the host is configured otherwise.
pub(crate) fn default_agent() -> AgentSelector {
    let name = dormouse_agents::DEFAULT.name.parse().expect("the name of a bundled agent is one");
    AgentSelector::Name { owner: None, name, version: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_taken_for_those_of_the_host_are_reserved() {
        let digest = Digest::of(b"agent").to_string();
        for name in [
            "counter",
            "Counter",
            "assis-tant",
            "NOTE.PAD",
            "dormouse",
            "Dormouse-planner",
            &digest,
        ] {
            assert!(is_reserved(&name.parse().expect("it is a name")), "{name}");
        }
        for name in ["counter2", "my-counter", "mine", "mouse", &digest[1..]] {
            assert!(!is_reserved(&name.parse().expect("it is a name")), "{name}");
        }
    }
}
