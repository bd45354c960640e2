//! How many instances the sessions of one user have at a time.
//!
//! A user is the label `userId` of a principal's sessions; a session without one is not counted, nor is a member of a
//! group. A session that
//! wakes takes a place of its user and keeps it for as long as its instance lives. Where there is none, the session
//! of that user that has been idle the longest makes room, and where all are at work, a session waits for the
//! first that is not: in the order in which they came, and holding nothing that sessions of others could use.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::eviction::Sequence;
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::session::Session;

/// The users that have places, or wait for one.
pub(super) struct Users {
    /// The places of each. `None`: any number.
    places: Option<NonZeroU32>,
    users: Mutex<HashMap<(Principal, String), Weak<User>>>,
}

/// A user of a principal, for as long as it has places or waits for one.
pub(crate) struct User {
    places: Arc<Semaphore>,
    /// How many sessions wait for a place.
    waiting: AtomicUsize,
    /// Its idle sessions that may go, by when they became idle. Changed under the lock of all idle instances.
    idle: Mutex<BTreeMap<Sequence, SessionId>>,
}

/// A place of a user. Free again when it is dropped.
pub(crate) struct UserPlace {
    pub(super) user: Arc<User>,
    _permit: OwnedSemaphorePermit,
}

/// While it lives, a session waits for a place.
pub(crate) struct PlaceWaiter(Arc<User>);

impl Users {
    pub(super) fn new(places: Option<NonZeroU32>) -> Users {
        Users { places, users: Mutex::default() }
    }

    /// The user whose place this session needs. `None`: it needs none.
    pub(super) fn of(&self, session: &Session) -> Option<Arc<User>> {
        let is_member = session.group.as_ref().is_some_and(|group| !group.is_coordinator());
        let user = session.profile.user_id.as_ref().filter(|_| !is_member);
        let (places, user) = self.places.zip(user)?;
        let key = (session.owner.clone(), user.clone());
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = users.get(&key).and_then(Weak::upgrade) {
            return Some(user);
        }
        if users.len() == users.capacity() {
            // Before it grows, so that it stays in proportion to the users that have places.
            users.retain(|_, user| user.strong_count() > 0);
        }
        let places = usize::try_from(places.get()).unwrap_or(Semaphore::MAX_PERMITS);
        let user = Arc::new(User {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            idle: Mutex::default(),
        });
        users.insert(key, Arc::downgrade(&user));
        Some(user)
    }
}

impl User {
    /// A place, where one is free.
    pub(crate) fn take(self: &Arc<User>) -> Option<UserPlace> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(UserPlace { user: Arc::clone(self), _permit: permit })
    }

    /// Wait for a place. Whoever calls this looks for an idle session after it, and one that becomes idle looks
    /// for waiters after that: so one of the two sees the other.
    pub(crate) fn waiter(self: &Arc<User>) -> PlaceWaiter {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        PlaceWaiter(Arc::clone(self))
    }

    /// Whether a session waits for a place.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// A session of it is idle since then, and may go.
    pub(super) fn note_idle(&self, since: Sequence, id: SessionId) {
        self.idle().insert(since, id);
    }

    /// The session that became idle then is so no more, or has been told to go.
    pub(super) fn forget_idle(&self, since: Sequence) {
        self.idle().remove(&since);
    }

    /// The session that has been idle the longest of those that may go.
    pub(super) fn longest_idle(&self) -> Option<SessionId> {
        self.idle().values().next().copied()
    }

    fn idle(&self) -> MutexGuard<'_, BTreeMap<Sequence, SessionId>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlaceWaiter {
    /// The next place that comes free. `None`: never, because nobody closes the places of a user.
    pub(crate) async fn place(&self) -> Option<UserPlace> {
        let user = Arc::clone(&self.0);
        let permit = Arc::clone(&user.places).acquire_owned().await.ok()?;
        Some(UserPlace { user, _permit: permit })
    }
}

impl Drop for PlaceWaiter {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures::future::poll_immediate;

    use super::*;
    use dormouse_domain::agent::{AgentOwner, AgentRef, Digest};
    use dormouse_domain::creation::{self, DefaultLimits, NewSession};
    use dormouse_domain::time::Timestamp;

    fn session(owner: &str, user: Option<&str>) -> Session {
        let agent = AgentRef {
            owner: AgentOwner::Host,
            name: "counter".parse().expect("a name"),
            version: "1.0".parse().expect("a version"),
            digest: Digest::of(b"counter"),
        };
        let new = NewSession { user_id: user.map(str::to_owned), ..NewSession::default() };
        let (id, owner) = (SessionId(uuid::Uuid::nil()), Principal(owner.to_owned()));
        let defaults = DefaultLimits::default();
        creation::fresh(new, id, owner, agent, None, &defaults, Timestamp(0)).expect("in bounds")
    }

    #[test]
    fn places_are_counted_by_user_and_owner_and_forgotten_with_the_last() {
        let users = Users::new(NonZeroU32::new(2));
        let of = |owner: &str, user: &str| users.of(&session(owner, Some(user))).expect("counted");
        let held = [of("ann", "u").take(), of("ann", "u").take()];
        assert!(held.iter().all(Option::is_some) && of("ann", "u").take().is_none());
        assert!(of("ann", "v").take().is_some() && of("ben", "u").take().is_some());
        assert!(users.of(&session("ann", None)).is_none(), "it is nobody's");
        drop(held);
        assert!(of("ann", "u").take().is_some());
        for n in 0..1_000 {
            drop(of("ann", &n.to_string()));
        }
        let known = users.users.lock().expect("not poisoned").len();
        assert!(known < 30, "{known} are remembered");
        assert!(Users::new(None).of(&session("ann", Some("u"))).is_none(), "any number");
    }

    #[tokio::test]
    async fn those_who_wait_get_a_place_in_the_order_in_which_they_came() {
        let users = Users::new(NonZeroU32::new(1));
        let user = users.of(&session("ann", Some("u"))).expect("counted");
        let held = user.take().expect("it is free");
        let (first, second) = (user.waiter(), user.waiter());
        assert!(user.is_waited_for());
        let mut one = Box::pin(first.place());
        let mut other = Box::pin(second.place());
        assert!(poll_immediate(&mut one).await.is_none());
        assert!(poll_immediate(&mut other).await.is_none());
        drop(held);
        assert!(user.take().is_none(), "it is the first waiter's");
        let place = one.await.expect("it is open");
        assert!(poll_immediate(&mut other).await.is_none());
        drop(place);
        assert!(other.await.is_some());
        drop((first, second));
        assert!(!user.is_waited_for());
    }
}
