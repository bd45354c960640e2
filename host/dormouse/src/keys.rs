//! The keys of the API that a host knows. All of them are in memory, as the store has them: so a request
//! with a key waits for no disk.
//!
//! A key is created and revoked in the store first, then in memory, one change at a time. When a key was
//! used last is known to memory at once, and to the store at most a minute later; a crash may lose it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Notify};

use dormouse_base::clock::Clock;
use dormouse_domain::access::{
    Access, AccessKey, Forbidden, KeyId, MAX_KEYS, NewKey, Secret, are_manageable,
};
use dormouse_domain::agent::AgentOwner;
use dormouse_domain::creation::InvalidField;
use dormouse_domain::event::{Event, EventBody, EventSubject};
use dormouse_domain::id::Principal;
use dormouse_domain::time::Timestamp;
use dormouse_store::read::StoredKeys;
use dormouse_store::{Store, StoreError, Transaction};

/// How often the store is told of each key when it was used last, at most.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// How many uses go into one commit.
const SAVED_TOGETHER: usize = 256;
/// The time of the last use of a key that was never used.
const NEVER: i64 = i64::MIN;

/// Why keys were not created, listed or revoked. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The caller is no admin.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// A field is out of bounds.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    /// There is no such key.
    #[error("there is no key '{0}'; GET /api/keys and `dormouse keys list` list those there are")]
    NotFound(KeyId),
    /// Nobody could manage keys with it alone.
    #[error("the first key must be that of an admin: with others alone, nobody could manage keys")]
    FirstMustBeAdmin,
    /// Nobody could manage the other keys without it.
    #[error("this is the last key of an admin, and there are others: create another admin first")]
    LastAdmin,
    /// There are too many.
    #[error("there are {MAX_KEYS} keys, and no more can be; revoke one first")]
    TooMany,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The keys of a host.
pub(crate) struct KeyRing {
    store: Arc<dyn Store>,
    clock: Clock,
    /// Held by whoever changes keys in the store.
    changing: Mutex<()>,
    known: RwLock<Known>,
    /// Told when a key was used whose last use the store knows.
    used: Notify,
}

struct Known {
    keys: HashMap<KeyId, Held>,
    /// How many the store has that cannot be read.
    lost: usize,
}

/// A key, as the store has it, and when it was used last.
struct Held {
    key: AccessKey,
    used_at: AtomicI64,
}

impl Held {
    fn new(key: AccessKey) -> Held {
        let used_at = AtomicI64::new(key.last_used_at.map_or(NEVER, |at| at.0));
        Held { key, used_at }
    }

    /// The key, with the time of its last use.
    fn now(&self) -> AccessKey {
        let at = Some(self.used_at.load(Ordering::Relaxed)).filter(|at| *at != NEVER);
        AccessKey { last_used_at: at.map(Timestamp), ..self.key.clone() }
    }
}

impl KeyRing {
    /// The keys that this store has.
    pub(crate) async fn load(store: Arc<dyn Store>, clock: Clock) -> Result<KeyRing, StoreError> {
        let StoredKeys { keys, lost } = store.keys().await?;
        if lost > 0 {
            tracing::warn!(lost, "there are damaged keys, which admit nobody");
        }
        let keys = keys.into_iter().map(|key| (key.id, Held::new(key))).collect();
        Ok(KeyRing {
            store,
            clock,
            changing: Mutex::default(),
            known: RwLock::new(Known { keys, lost }),
            used: Notify::new(),
        })
    }

    /// Whether a caller needs a key: there is one, whether or not it still admits anybody.
    pub(crate) fn are_needed(&self) -> bool {
        let known = self.read();
        known.lost > 0 || !known.keys.is_empty()
    }

    /// Who calls with this secret. A wrong one, and that of a key that was revoked or has expired, admits
    /// nobody.
    pub(crate) fn authenticate(&self, secret: &str) -> Option<Access> {
        let known = self.read();
        let held = known.keys.get(&KeyId::of_secret(secret)?)?;
        let now = self.clock.now();
        if !held.key.admits(secret, now) {
            return None;
        }
        let before = held.used_at.swap(now.0, Ordering::Relaxed);
        if before != now.0 {
            self.used.notify_one();
        }
        Some(held.key.access())
    }

    /// All keys, the oldest first.
    pub(crate) fn list(&self) -> Vec<AccessKey> {
        let mut all: Vec<AccessKey> = self.read().keys.values().map(Held::now).collect();
        all.sort_by_key(|key| (key.created_at, key.id));
        all
    }

    /// Create a key, for this admin.
    pub(crate) async fn create(
        &self,
        new: NewKey,
        admin: &Principal,
    ) -> Result<(AccessKey, Secret), KeyError> {
        let _alone = self.changing.lock().await;
        let now = self.clock.now();
        let [a, b, c, d, e, f, g, h, ..] = self.clock.random();
        let id = KeyId([a, b, c, d, e, f, g, h]);
        let secret = Secret::new(id, [self.clock.random(), self.clock.random()]);
        let key = new.made(id, &secret, now)?;
        {
            let known = self.read();
            if known.keys.len() >= MAX_KEYS {
                return Err(KeyError::TooMany);
            }
            let others = known.keys.values().map(|held| &held.key);
            if !are_manageable(others.chain([&key]), now) {
                return Err(KeyError::FirstMustBeAdmin);
            }
        }
        let (principal, role) = (key.principal.clone(), key.role);
        let event = event(id, admin, now, EventBody::KeyCreated { principal, role });
        self.store.commit(Transaction::new_key(key.clone(), vec![event])).await?;
        self.write().keys.insert(id, Held::new(key.clone()));
        Ok((key, secret))
    }

    /// Revoke a key, for this admin: from now on it admits nobody.
    pub(crate) async fn revoke(&self, id: KeyId, admin: &Principal) -> Result<AccessKey, KeyError> {
        let _alone = self.changing.lock().await;
        let now = self.clock.now();
        let key = {
            let known = self.read();
            let key = known.keys.get(&id).map(Held::now).ok_or(KeyError::NotFound(id))?;
            let all = known.keys.values().map(|held| &held.key);
            let others = all.clone().filter(|other| other.id != id);
            if are_manageable(all, now) && !are_manageable(others, now) {
                return Err(KeyError::LastAdmin);
            }
            key
        };
        let (principal, role) = (key.principal.clone(), key.role);
        let event = event(id, admin, now, EventBody::KeyRevoked { principal, role });
        self.store.commit(Transaction::remove_key(id, vec![event])).await?;
        self.write().keys.remove(&id);
        Ok(key)
    }

    /// Tell the store when keys were used last, where it does not know yet.
    pub(crate) async fn save_uses(&self) -> Result<(), StoreError> {
        let alone = self.changing.lock().await;
        let used: Vec<AccessKey> = {
            let known = self.read();
            let used = known.keys.values().map(|held| (held.key.last_used_at, held.now()));
            used.filter(|(saved, now)| *saved != now.last_used_at).map(|(_, now)| now).collect()
        };
        for some in used.chunks(SAVED_TOGETHER) {
            self.save(&alone, some).await?;
        }
        Ok(())
    }

    async fn save(
        &self,
        _alone: &MutexGuard<'_, ()>,
        used: &[AccessKey],
    ) -> Result<(), StoreError> {
        let updates = used.iter().cloned().map(Transaction::update_key);
        self.store.commit(updates.fold(Transaction::default(), Transaction::and)).await?;
        let mut known = self.write();
        for key in used {
            if let Some(held) = known.keys.get_mut(&key.id) {
                held.key.last_used_at = key.last_used_at;
            }
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tell the store of each key when it was used last, a minute after it was used. Never ends.
pub(crate) async fn keep(ring: Arc<KeyRing>) {
    loop {
        ring.used.notified().await;
        ring.clock.sleep_until(ring.clock.now().after(SAVE_EVERY)).await;
        if let Err(error) = ring.save_uses().await {
            tracing::warn!(%error, "the last use of keys was not written");
        }
    }
}

/// What has happened to a key: its owner is the admin who did it.
fn event(key: KeyId, admin: &Principal, occurred_at: Timestamp, body: EventBody) -> Event {
    let owner = Some(AgentOwner::Principal(admin.clone()));
    Event { owner, subject: EventSubject::Key(key), occurred_at, body }
}
