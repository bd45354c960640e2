//! Turns that are open in the store and that no driver runs: those that the end of a host has cut off, until they are
//! taken up again, and those whose end could not be committed.
//!
//! Invariants: no turn of a session begins while one is left open. What an open turn has spent is in no commit yet;
//! so it is held of the accounts of its session, from before anybody else can spend it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::services::Services;
use crate::accounts::Hold;
use crate::gate::cost_of;
use dormouse_domain::account::Amounts;
use dormouse_domain::agent::Digest;
use dormouse_domain::id::SessionId;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::turn::IdempotencyKey;
use dormouse_store::{Bound, Store, StoreError};

/// How long one waits that could not be ended, until that is tried again: this, twice as long each time,
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// and never longer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Entries that are looked at together.
const PAGE: Bound = Bound { entries: 256, bytes: 1 << 20 };

/// All of a host.
#[derive(Default)]
pub(crate) struct LeftOpen(Mutex<HashMap<SessionId, Left>>);

#[derive(Default)]
struct Left {
    /// What is held of the accounts of its session, until the turn is run again.
    held: HeldOpen,
    /// How often it was tried to end it.
    tries: u32,
    /// Whether it is going to be tried again.
    is_scheduled: bool,
}

/// What is held for an open turn.
#[derive(Default)]
pub(crate) struct HeldOpen {
    pub(crate) holds: Vec<Hold>,
    /// What its calls have cost.
    pub(crate) calls: NanoUsd,
}

impl LeftOpen {
    /// Whether a turn of the session is left open.
    pub(crate) fn contains(&self, id: SessionId) -> bool {
        self.lock().contains_key(&id)
    }

    /// A turn of the session is open, and this is held for it.
    pub(crate) fn keep(&self, id: SessionId, held: HeldOpen) {
        self.lock().entry(id).or_default().held = held;
    }

    /// What is held for the turn that is run again now.
    pub(crate) fn take(&self, id: SessionId) -> HeldOpen {
        let mut all = self.lock();
        all.get_mut(&id).map(|left| std::mem::take(&mut left.held)).unwrap_or_default()
    }

    /// No turn of the session is open any more.
    pub(crate) fn over(&self, id: SessionId) {
        let left = self.lock().remove(&id);
        drop(left);
    }

    /// When it is to be tried again to end the open turn. `None`: somebody is going to.
    pub(crate) fn next_try(&self, id: SessionId) -> Option<Duration> {
        let mut all = self.lock();
        let left = all.entry(id).or_default();
        if std::mem::replace(&mut left.is_scheduled, true) {
            return None;
        }
        let wait = FIRST_WAIT.saturating_mul(1 << left.tries.min(16)).min(LONGEST_WAIT);
        left.tries += 1;
        Some(wait)
    }

    /// It is tried now.
    pub(crate) fn tried(&self, id: SessionId) {
        if let Some(left) = self.lock().get_mut(&id) {
            left.is_scheduled = false;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Left>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Take note of the turn of a session that is open in the store, and hold what it has spent. Answers with the key that its
/// message came with. What cannot be read of it is found, and told, by who takes the turn up.
pub(crate) async fn note(services: &Services, id: SessionId) -> Option<(IdempotencyKey, Digest)> {
    let key = match services.store.open_turn(id).await {
        Ok(Some((open, _))) => open.key,
        Ok(None) => {
            services.left_open.over(id);
            return None;
        }
        Err(_) => None,
    };
    if !services.left_open.contains(id) {
        let held = hold(services, id).await.unwrap_or_default();
        services.left_open.keep(id, held);
    }
    key
}

async fn hold(services: &Services, id: SessionId) -> Result<HeldOpen, StoreError> {
    let Some(session) = services.store.session(id).await? else { return Ok(HeldOpen::default()) };
    let holds = services.accounts.hold_for(&session).await?;
    if holds.is_empty() {
        return Ok(HeldOpen::default());
    }
    let (calls, fuel) = spent(&*services.store, id).await?;
    let money = services.options.rules.price.cost(fuel) + calls;
    holds.iter().for_each(|hold| hold.take(Amounts { money, fuel }));
    Ok(HeldOpen { holds, calls })
}

/// What the calls of the open turn of a session have cost, and the fuel that it had used at its last.
async fn spent(store: &dyn Store, id: SessionId) -> Result<(NanoUsd, u64), StoreError> {
    let (mut after, mut calls, mut fuel) = (Some(0), NanoUsd(0), 0);
    while let Some(from) = after {
        let page = store.journal(id, from, PAGE).await?;
        for entry in &page.entries {
            calls += cost_of(&entry.calls);
            fuel = entry.fuel;
        }
        after = page.next;
    }
    Ok((calls, fuel))
}
