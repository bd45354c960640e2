//! Threads: which session a conversation goes on in.
//!
//! A thread is a label of sessions. Its newest session is the one that counts, and it is looked up and
//! created by one caller after the other, so that a thread has one open session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::Sessions;
use crate::session::request::SessionInfo;
use dormouse_domain::id::Principal;
use dormouse_store::{SessionQuery, StoreError};

/// A thread: its owner, the user, and the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Thread {
    pub(super) owner: Principal,
    pub(super) user_id: Option<String>,
    pub(super) key: String,
}

/// The threads for which somebody looks up or creates a session now.
#[derive(Default)]
pub(crate) struct ThreadLocks(Mutex<HashMap<Thread, Arc<tokio::sync::Mutex<()>>>>);

/// Nobody else looks up or creates a session of the thread.
pub(super) struct ThreadLock<'a> {
    locks: &'a ThreadLocks,
    thread: Thread,
    held: Option<OwnedMutexGuard<()>>,
}

impl ThreadLocks {
    /// Wait until nobody else looks up or creates a session of this thread.
    pub(super) async fn lock(&self, thread: Thread) -> ThreadLock<'_> {
        let lock = Arc::clone(self.all().entry(thread.clone()).or_default());
        // Made before the wait, so that a caller who goes away leaves nothing behind.
        let mut waiting = ThreadLock { locks: self, thread, held: None };
        waiting.held = Some(lock.lock_owned().await);
        waiting
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Thread, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ThreadLock<'_> {
    fn drop(&mut self) {
        drop(self.held.take());
        let mut all = self.locks.all();
        // Others get it inside of the lock of the map: no one that is counted here is about to.
        if all.get(&self.thread).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            all.remove(&self.thread);
        }
    }
}

impl Sessions {
    /// The newest of the caller's sessions with this thread that serves this user, or no user where none is
    /// named.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn of_thread(
        &self,
        key: &str,
        user_id: Option<&str>,
    ) -> Result<Option<SessionInfo>, StoreError> {
        let query = SessionQuery {
            owner: Some(self.0.caller().clone()),
            thread_key: Some(key.to_owned()),
            user_id: user_id.map(str::to_owned),
            without_user: user_id.is_none(),
            limit: 1,
            ..SessionQuery::default()
        };
        Ok(self.list(query).await?.sessions.pop())
    }
}
