//! What is committed together with a session that is created, or found by its thread.

use super::super::schedules::RunStart;
use crate::session::idempotency;
use dormouse_domain::agent::Digest;
use dormouse_domain::id::SessionId;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::IdempotencyKey;
use dormouse_store::Transaction;

/// What is committed together with a session that is created, or found by its thread: both or neither.
#[derive(Clone)]
pub(in super::super) enum Alongside {
    Nothing,
    /// The key of the request that creates it, and the digest of that.
    Key(IdempotencyKey, Digest),
    /// The run of a schedule begins in it.
    Run(Box<RunStart>),
}

impl Alongside {
    /// What is written for this session.
    pub(super) fn transaction(&self, session: SessionId, now: Timestamp) -> Option<Transaction> {
        match self {
            Alongside::Nothing => None,
            Alongside::Key(key, request) => {
                let record = idempotency::record(key, *request, (session, 0), now);
                Some(Transaction::idempotency(record))
            }
            Alongside::Run(start) => Some(start.transaction(session, now)),
        }
    }
}
