//! What a request with an idempotency key has led to, and which keys wait for a turn.
//!
//! The row of a key is written in the commit of its turn, or of the session that it creates: so there is one if
//! and only if there is the other. A key is its caller's, and names one request: the digest tells it from others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::request::SendError;
use dormouse_domain::agent::Digest;
use dormouse_domain::id::SessionId;
use dormouse_domain::message::IDEMPOTENCY_KEY_LIFETIME;
use dormouse_domain::schedule::is_run_key;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{IdempotencyKey, IdempotencyRecord};
use dormouse_store::Store;

/// How long the key of the run of a schedule is known, where nobody forgets it: a year. The run itself does, with the
/// commit that says what has come of it (`host/schedules/runs`); until then a host that is started again has to find it,
/// however long there was none.
const RUN_KEY_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// The keys of messages that wait or are being answered, each with the session that they were sent to.
#[derive(Default)]
pub(crate) struct KeysInUse(Mutex<HashMap<IdempotencyKey, InUse>>);

struct InUse {
    session: SessionId,
    messages: usize,
}

/// A message with a key waits or is being answered. Dropped once the row of the key is durable, or will never be.
pub(crate) struct KeyUse {
    keys: Arc<KeysInUse>,
    key: IdempotencyKey,
}

impl KeysInUse {
    /// Use a key for one more message to this session.
    ///
    /// # Errors
    /// A message with the key waits for another session, or is being answered there. Says which.
    pub(crate) fn take(
        self: &Arc<Self>,
        key: &IdempotencyKey,
        session: SessionId,
    ) -> Result<KeyUse, SessionId> {
        let mut keys = self.lock();
        let used = keys.entry(key.clone()).or_insert(InUse { session, messages: 0 });
        if used.session != session {
            return Err(used.session);
        }
        used.messages += 1;
        Ok(KeyUse { keys: Arc::clone(self), key: key.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IdempotencyKey, InUse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeyUse {
    fn drop(&mut self) {
        let mut keys = self.keys.lock();
        if let Some(used) = keys.get_mut(&self.key) {
            used.messages -= 1;
            if used.messages == 0 {
                keys.remove(&self.key);
            }
        }
    }
}

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
    let lifetime = if is_run_key(key) { RUN_KEY_LIFETIME } else { IDEMPOTENCY_KEY_LIFETIME };
    let expires_at = ended_at.after(lifetime);
    IdempotencyRecord { key: key.clone(), request, session, turn, expires_at }
}
