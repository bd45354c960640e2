//! The uploads that are not in the store: those under way, and those that were refused lately.
//!
//! Invariants: an owner, a name and a version have one entry at most, so nothing is compiled twice at a
//! time; an entry under way ends with its [`UploadWork`], whatever becomes of the task that has it. A principal
//! has a bounded number of entries of each kind. Where all principals have too many refused ones, the
//! principal that has the most loses its oldest; so nobody who has fewer loses one to somebody who has more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{UploadState, UploadStatus};
use crate::catalog::{AgentError, Upload};
use dormouse_domain::agent::{AgentName, AgentOwner, AgentRef, AgentSelector, Digest, Version};
use dormouse_domain::id::Principal;
use dormouse_domain::time::Timestamp;
use dormouse_sandbox::Refusal;
use dormouse_store::StoreError;

/// Uploads of one principal that are under way. One more is refused.
const MAX_UNDER_WAY: usize = 16;
/// Refused uploads of one principal that are remembered. One more lets go of the oldest.
const MAX_REFUSED_EACH: usize = 16;
/// Refused uploads of all principals that are remembered.
const MAX_REFUSED: usize = 1_024;
/// How long a refused upload is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);

type Outcome = Result<Upload, AgentError>;
type Key = (AgentName, Version);

/// The table. Cheap to clone: all clones are the same table.
#[derive(Clone, Default)]
pub(crate) struct UploadTable(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    /// By owner. No owner is without an entry.
    by: HashMap<AgentOwner, BTreeMap<Key, Entry>>,
    refused: usize,
    next: u64,
}

struct Entry {
    digest: Digest,
    state: State,
}

enum State {
    UnderWay(watch::Receiver<Option<Outcome>>),
    Refused {
        error: AgentError,
        at: Timestamp,
        /// After those that were refused before.
        number: u64,
    },
}

/// The outcome of an upload that is under way, once it is there.
pub(super) struct PendingUpload(watch::Receiver<Option<Outcome>>);

/// Its holder does the work of an upload, and says how the upload ends.
pub(super) struct UploadWork {
    table: UploadTable,
    reference: AgentRef,
    told: watch::Sender<Option<Outcome>>,
}

impl UploadTable {
    /// Begin an upload, or join the one of the same component that is under way. Work comes with one that
    /// has to be done.
    ///
    /// # Errors
    /// [`StoreError::AgentExists`] where another component is under way as this name and version,
    /// [`Refusal::QueueFull`] where the owner has too many under way.
    pub(super) fn begin(
        &self,
        reference: &AgentRef,
        now: Timestamp,
    ) -> Result<(PendingUpload, Option<UploadWork>), AgentError> {
        let mut entries = self.lock();
        entries.forget_old(now);
        let key = (reference.name.clone(), reference.version.clone());
        let own = entries.by.get(&reference.owner);
        if let Some(Entry { digest, state: State::UnderWay(pending) }) =
            own.and_then(|own| own.get(&key))
        {
            if *digest == reference.digest {
                return Ok((PendingUpload(pending.clone()), None));
            }
            let other = AgentRef { digest: *digest, ..reference.clone() };
            return Err(StoreError::AgentExists(other).into());
        }
        if own
            .is_some_and(|own| own.values().filter(|it| it.is_under_way()).count() >= MAX_UNDER_WAY)
        {
            return Err(Refusal::QueueFull { limit: MAX_UNDER_WAY }.into());
        }
        let (told, pending) = watch::channel(None);
        let state = State::UnderWay(pending.clone());
        entries.put(&reference.owner, key, Entry { digest: reference.digest, state });
        let work = UploadWork { table: self.clone(), reference: reference.clone(), told };
        Ok((PendingUpload(pending), Some(work)))
    }

    /// The caller's upload that is meant; of a name without a version, that of the latest version.
    pub(super) fn find(
        &self,
        selector: &AgentSelector,
        caller: &Principal,
        now: Timestamp,
    ) -> Option<UploadStatus> {
        let mut entries = self.lock();
        entries.forget_old(now);
        let owner = AgentOwner::Principal(caller.clone());
        let own = entries.by.get(&owner)?.iter();
        let meant = own.filter(|((name, version), entry)| match selector {
            AgentSelector::Digest(digest) => entry.digest == *digest,
            AgentSelector::Name { owner, name: wanted, version: exact } => {
                owner.as_ref().is_none_or(|owner| owner == caller)
                    && wanted == name
                    && exact.as_ref().is_none_or(|exact| exact == version)
            }
        });
        let ((name, version), entry) =
            meant.max_by(|(one, _), (other, _)| one.1.precedence(&other.1))?;
        let (name, version) = (name.clone(), version.clone());
        let state = match &entry.state {
            State::UnderWay(_) => UploadState::Compiling,
            State::Refused { error, .. } => UploadState::Refused(error.clone()),
        };
        let reference = AgentRef { owner, name, version, digest: entry.digest };
        Some(UploadStatus { reference, state })
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingUpload {
    /// Wait for it.
    pub(super) async fn outcome(mut self) -> Outcome {
        let lost = || Err(Refusal::Host("the upload was given up".to_owned()).into());
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(lost),
            Err(_) => lost(),
        }
    }

    /// The outcome of the upload, where it is there already.
    pub(super) fn outcome_now(&self) -> Option<Outcome> {
        self.0.borrow().clone()
    }
}

impl UploadWork {
    /// Say how it has ended.
    pub(super) fn end(self, outcome: Outcome, now: Timestamp) {
        let AgentRef { owner, name, version, digest } = &self.reference;
        {
            let mut entries = self.table.lock();
            entries.forget_old(now);
            let key = (name.clone(), version.clone());
            entries.remove(owner, &key);
            if let Err(error) = &outcome {
                entries.remember(owner, key, *digest, error.clone(), now);
            }
        }
        self.told.send_replace(Some(outcome));
    }
}

/// Work that is dropped has not ended, because its task is gone: its entry goes with it.
impl Drop for UploadWork {
    fn drop(&mut self) {
        if self.told.borrow().is_none() {
            let key = (self.reference.name.clone(), self.reference.version.clone());
            self.table.lock().remove(&self.reference.owner, &key);
        }
    }
}

impl Entry {
    fn is_under_way(&self) -> bool {
        matches!(self.state, State::UnderWay(_))
    }

    /// The number of a refused one.
    fn number(&self) -> Option<u64> {
        match self.state {
            State::UnderWay(_) => None,
            State::Refused { number, .. } => Some(number),
        }
    }
}

impl Entries {
    fn put(&mut self, owner: &AgentOwner, key: Key, entry: Entry) {
        self.remove(owner, &key);
        self.refused += usize::from(!entry.is_under_way());
        self.by.entry(owner.clone()).or_default().insert(key, entry);
    }

    fn remove(&mut self, owner: &AgentOwner, key: &Key) {
        let Some(own) = self.by.get_mut(owner) else { return };
        let removed = own.remove(key);
        self.refused -= usize::from(removed.is_some_and(|entry| !entry.is_under_way()));
        if own.is_empty() {
            self.by.remove(owner);
        }
    }

    fn remember(
        &mut self,
        owner: &AgentOwner,
        key: Key,
        digest: Digest,
        error: AgentError,
        at: Timestamp,
    ) {
        let number = self.next;
        self.next += 1;
        self.put(owner, key, Entry { digest, state: State::Refused { error, at, number } });
        if self.refused_of(owner) > MAX_REFUSED_EACH {
            self.forget_oldest(owner);
        }
        if self.refused > MAX_REFUSED {
            let most = self.by.keys().max_by_key(|it| (self.refused_of(it), *it == owner));
            if let Some(most) = most.cloned() {
                self.forget_oldest(&most);
            }
        }
    }

    fn refused_of(&self, owner: &AgentOwner) -> usize {
        let own = self.by.get(owner);
        own.map_or(0, |own| own.values().filter(|entry| !entry.is_under_way()).count())
    }

    fn forget_oldest(&mut self, owner: &AgentOwner) {
        let Some(own) = self.by.get(owner) else { return };
        let refused = own.iter().filter_map(|(key, entry)| Some((entry.number()?, key)));
        if let Some(key) = refused.min().map(|(_, key)| key.clone()) {
            self.remove(owner, &key);
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        let is_kept = |entry: &Entry| match entry.state {
            State::UnderWay(_) => true,
            State::Refused { at, .. } => now.since(at) < REMEMBERED,
        };
        let mut gone = 0;
        self.by.retain(|_, own| {
            let before = own.len();
            own.retain(|_, entry| is_kept(entry));
            gone += before - own.len();
            !own.is_empty()
        });
        self.refused -= gone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(owner: usize, version: usize, bytes: &[u8]) -> AgentRef {
        AgentRef {
            owner: AgentOwner::Principal(Principal(owner.to_string())),
            name: "mine".parse().expect("a name"),
            version: version.to_string().parse().expect("a version"),
            digest: Digest::of(bytes),
        }
    }

    fn refuse(table: &UploadTable, reference: &AgentRef, now: Timestamp) {
        let (_, work) = table.begin(reference, now).expect("it begins");
        work.expect("it is new").end(Err(Refusal::NotWasm.into()), now);
    }

    /// The versions that are refused of this owner, in the order of numbers.
    fn refused(table: &UploadTable, owner: usize) -> Vec<usize> {
        let entries = table.lock();
        let own = entries.by.get(&reference(owner, 0, b"").owner).into_iter().flatten();
        let refused = own.filter(|(_, entry)| !entry.is_under_way());
        let mut versions: Vec<usize> =
            refused.map(|((_, version), _)| version.as_str().parse().expect("a number")).collect();
        versions.sort_unstable();
        versions
    }

    #[test]
    fn the_same_component_is_joined_and_another_is_a_conflict_until_the_work_is_gone() {
        let table = UploadTable::default();
        let (one, other) = (reference(1, 1, b"one"), reference(1, 1, b"other"));
        let (_, work) = table.begin(&one, Timestamp(0)).expect("it begins");
        assert!(table.begin(&one, Timestamp(0)).expect("it is joined").1.is_none());
        let conflict = table.begin(&other, Timestamp(0)).err().expect("a conflict");
        assert!(matches!(conflict, AgentError::Store(StoreError::AgentExists(it)) if it == one));
        drop(work);
        assert!(table.begin(&other, Timestamp(0)).expect("it begins").1.is_some());
    }

    #[test]
    fn a_principal_has_a_bounded_number_under_way_and_locks_nobody_out() {
        let table = UploadTable::default();
        let begin = |owner, version| table.begin(&reference(owner, version, b""), Timestamp(0));
        let _works: Vec<_> = (0..MAX_UNDER_WAY).map(|n| begin(1, n).expect("it begins")).collect();
        let full = begin(1, MAX_UNDER_WAY).err().expect("it is full");
        assert!(matches!(full, AgentError::Refused(Refusal::QueueFull { limit: MAX_UNDER_WAY })));
        assert!(begin(2, 0).is_ok());
    }

    #[test]
    fn a_principal_pushes_out_its_own_refusals_alone() {
        let table = UploadTable::default();
        for owner in 1..=MAX_REFUSED {
            refuse(&table, &reference(owner, 0, b""), Timestamp(0));
        }
        for version in 1..50 {
            refuse(&table, &reference(1, version, b""), Timestamp(0));
        }
        assert_eq!(table.lock().refused, MAX_REFUSED);
        assert_eq!(refused(&table, 1), [49]);
        assert!((2..=MAX_REFUSED).all(|owner| refused(&table, owner) == [0]));

        let table = UploadTable::default();
        (0..50).for_each(|version| refuse(&table, &reference(1, version, b""), Timestamp(0)));
        assert_eq!(refused(&table, 1), (34..50).collect::<Vec<_>>());
        assert_eq!(table.lock().refused, MAX_REFUSED_EACH);
    }

    #[test]
    fn a_refusal_is_remembered_for_ten_minutes() {
        let table = UploadTable::default();
        refuse(&table, &reference(1, 1, b""), Timestamp(0));
        let digest = AgentSelector::Digest(Digest::of(b""));
        let found = |at| table.find(&digest, &Principal("1".to_owned()), Timestamp(at)).is_some();
        assert!(found(599_999));
        assert!(!found(600_000));
        assert!(table.lock().by.is_empty());
    }
}
