//! Templates: snapshots under a name, from which sessions start warm.

use super::Host;
use super::origin::{self, FoundOrigin, SnapshotOrigin};
use crate::catalog::AgentError;
use crate::session::request::CommandError;
use dormouse_domain::access::{Action, Forbidden};
use dormouse_domain::agent::InvalidName;
use dormouse_domain::creation::InvalidField;
use dormouse_domain::id::SnapshotId;
use dormouse_domain::template::{self, MAX_TEMPLATES, Template, TemplateSummary};
use dormouse_store::{StoreError, Transaction};

/// A template to make.
#[derive(Clone, Debug)]
pub struct NewTemplate {
    /// Its name: 1 to 64 characters, as those of agents.
    pub name: String,
    /// The snapshot of this id, or the head of the session of this id.
    pub from: String,
    /// The purpose of the template.
    pub description: Option<String>,
}

/// Why a template was not made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A field is out of bounds.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// There is no such template.
    #[error("there is no template '{0}'; GET /api/templates lists those there are")]
    NotFound(String),
    /// There is nothing to make it from.
    #[error("there is no snapshot and no session with a snapshot of the id '{0}'")]
    NoSnapshot(String),
    /// The session or snapshot that it should be made from belongs to somebody else.
    #[error("the snapshot belongs to another owner")]
    NotOwner,
    /// The caller is a reader.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// There are too many.
    #[error("an owner has {MAX_TEMPLATES} templates at most; delete one first")]
    TooMany,
    /// The agent of the snapshot has been removed.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The state of the session that no snapshot holds yet could not be saved.
    #[error(transparent)]
    Command(#[from] Box<CommandError>),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The templates of one caller.
#[derive(Clone)]
pub struct Templates(pub(super) Host);

impl Templates {
    /// Keep a snapshot under a name, whatever becomes of its session. One of the same name is
    /// replaced.
    ///
    /// # Errors
    /// [`TemplateError`]
    pub async fn create(&self, new: NewTemplate) -> Result<Template, TemplateError> {
        self.0.may(Action::Change)?;
        let NewTemplate { name, from, description } = new;
        let (name, description) = (template::named(&name)?, template::described(description)?);
        let inner = &self.0.inner;
        let SnapshotOrigin { snapshot, session } =
            match origin::find(&self.0, &from).await.map_err(Box::new)? {
                FoundOrigin::Here(origin) => *origin,
                FoundOrigin::Nothing => return Err(TemplateError::NoSnapshot(from)),
                FoundOrigin::Foreign => return Err(TemplateError::NotOwner),
            };
        let _held = inner.catalog.hold().await;
        let known = inner.store.templates(self.0.caller().clone()).await?;
        if !template::has_room(&known, &name) {
            return Err(TemplateError::TooMany);
        }
        let referred = &session.profile.agent;
        let agent = inner.catalog.of_snapshot(snapshot.agent, referred, self.0.caller()).await?;
        let now = inner.clock.now();
        let template = Template {
            name: name.to_string(),
            owner: self.0.caller().clone(),
            description,
            agent: agent.reference,
            snapshot: snapshot.again(SnapshotId(inner.clock.new_id()), now),
            created_at: now,
        };
        inner.store.commit(Transaction::template(template.clone())).await?;
        Ok(template)
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn list(&self) -> Result<Vec<TemplateSummary>, StoreError> {
        self.0.inner.store.templates(self.0.caller().clone()).await
    }

    /// The template of this name.
    ///
    /// # Errors
    /// [`TemplateError::NotFound`]
    pub async fn get(&self, name: &str) -> Result<Template, TemplateError> {
        let found = self.0.inner.store.template(self.0.caller().clone(), name.to_owned()).await?;
        found.ok_or_else(|| TemplateError::NotFound(name.to_owned()))
    }

    /// Remove a template. Sessions that started from it stay as they are.
    ///
    /// # Errors
    /// [`TemplateError::NotFound`]
    pub async fn delete(&self, name: &str) -> Result<(), TemplateError> {
        self.0.may(Action::Change)?;
        let owner = self.0.caller().clone();
        let removal = Transaction::remove_template(owner, name.to_owned());
        self.0.inner.store.commit(removal).await.map_err(|error| match error {
            StoreError::TemplateNotFound(name) => TemplateError::NotFound(name),
            error => error.into(),
        })
    }
}
