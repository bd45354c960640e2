//! What a request with an idempotency key has led to.
//!
//! The row of a key is written in the commit of its turn, or of the session that it creates: so there is one if
//! and only if there is the other. A key is its caller's, and names one request: the digest tells it from others.

use super::request::SendError;
use dormouse_domain::agent::Digest;
use dormouse_domain::id::SessionId;
use dormouse_domain::message::IDEMPOTENCY_KEY_LIFETIME;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{IdempotencyKey, IdempotencyRecord};
use dormouse_store::Store;

/// The number of the turn that this message to this session has led to, if it has come before.
///
/// # Errors
/// [`SendError::IdempotencyKeyReused`] where another message came with the key; or the store cannot be read.
pub(crate) async fn recorded_turn(
    store: &dyn Store,
    key: &IdempotencyKey,
    request: Digest,
    session: SessionId,
) -> Result<Option<u64>, SendError> {
    match store.idempotency(key.clone()).await? {
        None => Ok(None),
        Some(known) if known.session == session && known.request == request => Ok(Some(known.turn)),
        Some(known) => Err(SendError::IdempotencyKeyReused(known.session)),
    }
}

/// The row of a key whose request has led to this turn of this session, at this time. Turn 0: it has created
/// the session.
pub(crate) fn record(
    key: &IdempotencyKey,
    request: Digest,
    (session, turn): (SessionId, u64),
    ended_at: Timestamp,
) -> IdempotencyRecord {
    let expires_at = ended_at.after(IDEMPOTENCY_KEY_LIFETIME);
    IdempotencyRecord { key: key.clone(), request, session, turn, expires_at }
}
