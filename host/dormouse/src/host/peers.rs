//! Whether the sessions that an agent is to write to are there, and belong to the owner of its session.

use std::collections::BTreeMap;

use super::Host;
use super::sessions::CreateError;
use crate::session::request::CommandError;
use dormouse_domain::creation::InvalidField;
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::mail::MAX_PEERS;
use dormouse_store::StoreError;

/// Why a session does not get these peers.
pub(super) enum PeersError {
    /// One of them is not there.
    Invalid(InvalidField),
    /// The store does not say.
    Store(StoreError),
}

impl Host {
    /// Check that each of these sessions belongs to this principal. To a principal the session of another is not there.
    pub(super) fn check_peers(
        &self,
        owner: &Principal,
        peers: &BTreeMap<String, SessionId>,
    ) -> Result<(), PeersError> {
        // What is more than that, the record refuses.
        for (name, id) in peers.iter().take(MAX_PEERS) {
            if !self.inner.store.is_owner(*id, owner)? {
                let problem = format!("names '{name}', and there is no session {id}");
                return Err(PeersError::Invalid(InvalidField::new("peers", problem)));
            }
        }
        Ok(())
    }
}

impl From<StoreError> for PeersError {
    fn from(error: StoreError) -> PeersError {
        PeersError::Store(error)
    }
}

impl From<PeersError> for CreateError {
    fn from(error: PeersError) -> CreateError {
        match error {
            PeersError::Invalid(error) => error.into(),
            PeersError::Store(error) => error.into(),
        }
    }
}

impl From<PeersError> for CommandError {
    fn from(error: PeersError) -> CommandError {
        match error {
            PeersError::Invalid(error) => error.into(),
            PeersError::Store(error) => error.into(),
        }
    }
}
