//! The keys of the API, as a library: for admins.

use std::sync::Arc;

use super::to_its_end;
use crate::keys::{KeyError, KeyRing};
use dormouse_base::clock::Clock;
use dormouse_domain::access::{Access, AccessKey, Action, KeyId, NewKey, Secret};
use dormouse_store::{Store, StoreError};

/// The keys of the API, as one caller sees them. Only an admin manages them: of a host that acts for one
/// ([`Host::operating`](crate::Host::operating), [`Host::acting_for`](crate::Host::acting_for)). To find
/// out who calls needs no role.
#[derive(Clone)]
pub struct Keys {
    pub(super) ring: Arc<KeyRing>,
    pub(super) access: Access,
}

/// A key that was created.
#[derive(Clone, Debug)]
pub struct CreatedKey {
    /// The key.
    pub key: AccessKey,
    /// What a caller sends. It is kept nowhere, and cannot be told again.
    pub secret: Secret,
}

impl Keys {
    /// The keys of a store that no host has, for whoever operates it.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn of_store(store: Arc<dyn Store>) -> Result<Keys, StoreError> {
        let ring = Arc::new(KeyRing::load(store, Clock::real()).await?);
        Ok(Keys { ring, access: Access::operator() })
    }

    /// Create a key. From the first one on, each caller of the API needs a key.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use dormouse::{Host, NewKey, Role};
    ///
    /// let host = Host::builder().in_memory().build().await?;
    /// let keys = host.operating().keys();
    /// keys.create(NewKey::of("root").role(Role::Admin)).await?;
    /// let created = keys.create(NewKey::of("ann")).await?;
    /// let ann = keys.authenticate(created.secret.as_str()).expect("it was just created");
    /// assert_eq!(host.acting_for(ann).caller().to_string(), "ann");
    /// keys.revoke(created.key.id).await?;
    /// assert_eq!(keys.authenticate(created.secret.as_str()), None);
    /// # host.shut_down().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`KeyError`]. [`KeyError::FirstMustBeAdmin`] where the caller could not manage keys after it.
    pub async fn create(&self, new: NewKey) -> Result<CreatedKey, KeyError> {
        self.access.may(Action::ManageKeys)?;
        let (ring, admin) = (Arc::clone(&self.ring), self.access.principal.clone());
        let (key, secret) = to_its_end(async move { ring.create(new, &admin).await }).await?;
        Ok(CreatedKey { key, secret })
    }

    /// All keys, the oldest first.
    ///
    /// # Errors
    /// [`KeyError::Forbidden`]
    pub fn list(&self) -> Result<Vec<AccessKey>, KeyError> {
        self.access.may(Action::ManageKeys)?;
        Ok(self.ring.list())
    }

    /// Revoke a key: from now on it admits nobody. What its principal has stays, and so do its other keys.
    ///
    /// # Errors
    /// [`KeyError::NotFound`]; [`KeyError::LastAdmin`] where nobody could manage the other keys then.
    pub async fn revoke(&self, id: KeyId) -> Result<AccessKey, KeyError> {
        self.access.may(Action::ManageKeys)?;
        let (ring, admin) = (Arc::clone(&self.ring), self.access.principal.clone());
        to_its_end(async move { ring.revoke(id, &admin).await }).await
    }

    /// Who calls with this secret: for [`Host::acting_for`](crate::Host::acting_for). `None` where it is wrong, or its key was
    /// revoked or has expired.
    #[must_use]
    pub fn authenticate(&self, secret: &str) -> Option<Access> {
        self.ring.authenticate(secret)
    }

    /// Whether there is a key: then each caller of the API needs one.
    #[must_use]
    pub fn are_needed(&self) -> bool {
        self.ring.are_needed()
    }
}
