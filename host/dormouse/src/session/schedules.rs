//! Which schedules there are, when each is due, and whose runs go on: what memory knows of the records of the store.
//!
//! Pure but for its lock: nobody waits here. Whoever works on a schedule holds its [`Claim`]; so a schedule has one run
//! at a time, and one task that commits what comes of it.
//!
//! Owners take turns: at most [`STARTING`] runs are being started at a time, the next is that of the owner whose turn it
//! is, and an owner has [`PLACES`] runs that go on, however many are due. So neither many schedules of one owner nor
//! long runs keep those of others waiting.

mod keeper;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub(crate) use keeper::{keep, load};

use super::services::Services;
use crate::turn::output::TurnOutput;
use dormouse_base::round_robin::RoundRobin;
use dormouse_domain::id::{Principal, ScheduleId};
use dormouse_domain::schedule::{MAX_SCHEDULES, SessionSchedule};
use dormouse_domain::time::Timestamp;

/// Runs that are being started at the same time.
pub(crate) const STARTING: usize = 32;
/// Runs of one owner that go on at the same time, but for those that the owner asks for.
pub(crate) const PLACES: usize = 64;

/// The schedules of a host.
#[derive(Default)]
pub(crate) struct ScheduleBook {
    book: Mutex<Book>,
    /// Told when something may be started, or be due sooner.
    pub(crate) changed: Notify,
}

#[derive(Default)]
struct Book {
    known: BTreeMap<ScheduleId, Known>,
    /// Those that rest and will be due.
    due: BTreeSet<(Timestamp, ScheduleId)>,
    owners: HashMap<Principal, Owned>,
    /// Those that are due and have a place.
    waiting: RoundRobin<Principal, (ScheduleId, Principal)>,
    starting: usize,
}

struct Known {
    owner: Principal,
    revision: u64,
    /// When somebody has to look at it. `None`: never.
    due: Option<Timestamp>,
    phase: Phase,
    /// How often its run could not go on since it was last due.
    tries: u32,
}

enum Phase {
    Resting,
    /// It is due, and has no place yet, or has not begun.
    Due,
    /// Somebody works on it.
    Claimed,
    /// Its session has the message, and this streams.
    Going(TurnOutput),
}

#[derive(Default)]
struct Owned {
    ids: BTreeSet<ScheduleId>,
    /// Schedules that are being created.
    coming: usize,
    places: usize,
    /// Those that are due and have no place.
    due: BTreeSet<(Timestamp, ScheduleId)>,
}

/// Why somebody who asks for a run of a schedule does not get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotClaimed {
    /// There is no such schedule.
    Unknown,
    /// A run goes on, or is about to begin.
    Busy,
}

impl ScheduleBook {
    /// Take in a record that is in the store.
    pub(crate) fn put(&self, schedule: &SessionSchedule) {
        self.lock().put(schedule);
        self.changed.notify_one();
    }

    /// A schedule is there no more.
    pub(crate) fn remove(&self, id: ScheduleId) {
        self.lock().remove(id);
        self.changed.notify_one();
    }

    /// The schedules of this owner, or of all, behind this one, with how many there are in all.
    pub(crate) fn list(
        &self,
        owner: Option<&Principal>,
        after: Option<ScheduleId>,
        limit: usize,
    ) -> (Vec<ScheduleId>, usize) {
        let book = self.lock();
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        match owner {
            Some(owner) => match book.owners.get(owner) {
                Some(Owned { ids, .. }) => {
                    (ids.range(behind).take(limit).copied().collect(), ids.len())
                }
                None => (Vec::new(), 0),
            },
            None => {
                let all = book.known.range(behind).take(limit);
                (all.map(|(id, _)| *id).collect(), book.known.len())
            }
        }
    }

    /// When something is due next that rests.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.lock().due.first().map(|(at, _)| *at)
    }

    /// Have what is due now wait for its turn.
    pub(crate) fn take_due(&self, now: Timestamp) {
        self.lock().take_due(now);
    }

    /// Whether something is to be done now that waits for no session: something is due and may begin, is being
    /// worked on, or has been answered.
    pub(crate) fn is_busy(&self, now: Timestamp) -> bool {
        let book = self.lock();
        let is_at_work = |known: &Known| match &known.phase {
            Phase::Resting | Phase::Due => false,
            Phase::Claimed => true,
            Phase::Going(output) => output.has_ended(),
        };
        book.due.first().is_some_and(|(at, _)| *at <= now)
            || !book.waiting.is_empty()
            || book.known.values().any(is_at_work)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn put(&mut self, schedule: &SessionSchedule) {
        let id = schedule.id;
        let known = self.known.entry(id).or_insert_with(|| Known {
            owner: schedule.owner.clone(),
            revision: 0,
            due: None,
            phase: Phase::Resting,
            tries: 0,
        });
        if known.revision > schedule.revision {
            return;
        }
        known.revision = schedule.revision;
        let owned = self.owners.entry(schedule.owner.clone()).or_default();
        owned.ids.insert(id);
        // A run that the end of a host has cut off goes on at once.
        let running = schedule.running().map(|run| run.due);
        self.look_at(id, running.or(schedule.status.due()));
    }

    /// Somebody has to look at a schedule at this time.
    fn look_at(&mut self, id: ScheduleId, due: Option<Timestamp>) {
        let Some(known) = self.known.get_mut(&id) else { return };
        let before = std::mem::replace(&mut known.due, due);
        if let Phase::Resting = known.phase {
            if let Some(before) = before {
                self.due.remove(&(before, id));
            }
            self.due.extend(due.map(|due| (due, id)));
        }
    }

    fn remove(&mut self, id: ScheduleId) {
        let Some(Known { owner, due, .. }) = self.known.remove(&id) else { return };
        if let Some(due) = due {
            self.due.remove(&(due, id));
        }
        if let Some(owned) = self.owners.get_mut(&owner) {
            owned.ids.remove(&id);
        }
        self.forget_empty(&owner);
    }

    fn take_due(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.pop_first();
            let Some(known) = self.known.get_mut(&id) else { continue };
            known.phase = Phase::Due;
            let owner = known.owner.clone();
            self.owners.entry(owner.clone()).or_default().due.insert((at, id));
            self.admit(&owner);
        }
    }

    /// Give what is due of an owner the places that the owner has.
    fn admit(&mut self, owner: &Principal) {
        let Some(owned) = self.owners.get_mut(owner) else { return };
        while owned.places < PLACES
            && let Some((_, id)) = owned.due.pop_first()
        {
            // Removed meanwhile.
            if owned.ids.contains(&id) {
                owned.places += 1;
                let number = self.waiting.number();
                self.waiting.enter(owner, number, (id, owner.clone()));
            }
        }
    }

    /// The next schedule to start, with its owner.
    fn next(&mut self) -> Option<(ScheduleId, Principal)> {
        while self.starting < STARTING
            && let Some((number, (id, owner))) = self.waiting.first()
        {
            let (id, owner) = (*id, owner.clone());
            self.waiting.leave(&owner, number);
            match self.known.get_mut(&id) {
                Some(known) => {
                    known.phase = Phase::Claimed;
                    self.starting += 1;
                    return Some((id, owner));
                }
                None => self.leave(&owner),
            }
        }
        None
    }

    /// A place of an owner is free again.
    fn leave(&mut self, owner: &Principal) {
        if let Some(owned) = self.owners.get_mut(owner) {
            owned.places = owned.places.saturating_sub(1);
        }
        self.admit(owner);
        self.forget_empty(owner);
    }

    fn forget_empty(&mut self, owner: &Principal) {
        let is_empty = |owned: &Owned| (owned.ids.len(), owned.coming, owned.places) == (0, 0, 0);
        if self.owners.get(owner).is_some_and(is_empty) {
            self.owners.remove(owner);
        }
    }
}

/// A schedule that somebody works on, and nobody else does. When it is dropped, the schedule rests until it is due.
pub(crate) struct Claim {
    services: Arc<Services>,
    pub(crate) id: ScheduleId,
    pub(crate) owner: Principal,
    is_starting: bool,
    /// When it is tried again, instead of when it is due.
    again: Option<Timestamp>,
}

impl Claim {
    /// The next schedule that is due and may begin.
    pub(crate) fn next(services: &Arc<Services>) -> Option<Claim> {
        let (id, owner) = services.schedules.lock().next()?;
        let services = Arc::clone(services);
        Some(Claim { services, id, owner, is_starting: true, again: None })
    }

    /// A schedule whose owner asks for a run, whether or not it is due.
    pub(crate) fn of(services: &Arc<Services>, id: ScheduleId) -> Result<Claim, NotClaimed> {
        let mut book = services.schedules.lock();
        let Book { known, due, owners, .. } = &mut *book;
        let known = known.get_mut(&id).ok_or(NotClaimed::Unknown)?;
        match known.phase {
            Phase::Resting => {}
            Phase::Due | Phase::Claimed | Phase::Going(_) => return Err(NotClaimed::Busy),
        }
        known.phase = Phase::Claimed;
        if let Some(at) = known.due {
            due.remove(&(at, id));
        }
        let owner = known.owner.clone();
        owners.entry(owner.clone()).or_default().places += 1;
        book.starting += 1;
        drop(book);
        let services = Arc::clone(services);
        Ok(Claim { services, id, owner, is_starting: true, again: None })
    }

    /// The run has begun: its session has the message.
    pub(crate) fn going(&mut self, output: TurnOutput) {
        let mut book = self.services.schedules.lock();
        self.is_starting = false;
        book.starting -= 1;
        if let Some(known) = book.known.get_mut(&self.id) {
            known.phase = Phase::Going(output);
        }
        drop(book);
        self.tell();
    }

    /// Try again at this time, where that was not done as often as this before. Answers whether it will be.
    pub(crate) fn again(&mut self, at: Timestamp, most: u32) -> bool {
        let mut book = self.services.schedules.lock();
        let Some(known) = book.known.get_mut(&self.id) else { return false };
        if known.tries >= most {
            return false;
        }
        known.tries = known.tries.saturating_add(1);
        self.again = Some(at);
        true
    }

    fn tell(&self) {
        self.services.schedules.changed.notify_one();
        self.services.settling.note_change();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut book = self.services.schedules.lock();
        if self.is_starting {
            book.starting -= 1;
        }
        if let Some(known) = book.known.get_mut(&self.id) {
            known.phase = Phase::Resting;
            let due = match self.again {
                Some(again) => Some(again),
                None => {
                    known.tries = 0;
                    known.due
                }
            };
            book.look_at(self.id, due);
        }
        book.leave(&self.owner);
        drop(book);
        self.tell();
    }
}

/// A place for a schedule that is being created: an owner has [`MAX_SCHEDULES`], also where many come at once.
pub(crate) struct ComingSchedule<'a> {
    book: &'a ScheduleBook,
    owner: Principal,
}

impl ScheduleBook {
    /// A place for one more schedule of this owner. `None`: the owner has as many as one may have.
    pub(crate) fn room(&self, owner: &Principal) -> Option<ComingSchedule<'_>> {
        let mut book = self.lock();
        let owned = book.owners.entry(owner.clone()).or_default();
        if owned.ids.len() + owned.coming >= MAX_SCHEDULES {
            return None;
        }
        owned.coming += 1;
        Some(ComingSchedule { book: self, owner: owner.clone() })
    }
}

impl Drop for ComingSchedule<'_> {
    fn drop(&mut self) {
        let mut book = self.book.lock();
        if let Some(owned) = book.owners.get_mut(&self.owner) {
            owned.coming -= 1;
        }
        book.forget_empty(&self.owner);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use dormouse_domain::schedule::ScheduleTerms;
    use dormouse_domain::timer::Schedule;

    const NOW: Timestamp = Timestamp(1_893_456_000_000);
    const DUE: Timestamp = Timestamp(NOW.0 + 60_000);

    fn schedule(owner: &str, number: u128) -> SessionSchedule {
        let cron = Schedule::kept("* * * * *".to_owned());
        let terms = ScheduleTerms { name: "each minute".to_owned(), cron, max_failures: 5 };
        let id = ScheduleId(Uuid::from_u128(number));
        SessionSchedule::new(id, Principal(owner.to_owned()), terms, NOW)
    }

    fn book(schedules: impl IntoIterator<Item = SessionSchedule>) -> Book {
        let mut book = Book::default();
        schedules.into_iter().for_each(|schedule| book.put(&schedule));
        book
    }

    #[test]
    fn owners_start_in_turns_and_so_many_at_a_time() {
        let many = (0..10_000).map(|number| schedule("ann", number));
        let mut book = book(many.chain([schedule("ben", 10_000)]));
        book.take_due(NOW);
        assert_eq!(book.next(), None, "nothing is due");
        book.take_due(DUE);
        let owners: Vec<String> =
            std::iter::from_fn(|| book.next()).map(|(_, owner)| owner.0).collect();
        assert_eq!(owners.len(), STARTING);
        assert_eq!(owners[..2], ["ann", "ben"], "after one of the other's");
    }

    #[test]
    fn long_runs_of_an_owner_keep_nobody_elses_waiting() {
        let mut book = book((0..10_000).map(|number| schedule("ann", number)));
        book.take_due(DUE);
        let ann = Principal("ann".to_owned());
        let mut going = 0;
        while book.next().is_some() {
            // It goes on.
            book.starting -= 1;
            going += 1;
        }
        assert_eq!((going, book.owners[&ann].places), (PLACES, PLACES));
        book.put(&schedule("ben", 10_000));
        book.take_due(DUE);
        assert_eq!(book.next().map(|(_, owner)| owner.0), Some("ben".to_owned()));
        book.leave(&ann);
        assert_eq!(book.next().map(|(_, owner)| owner), Some(ann), "when a run is over");
    }

    #[test]
    fn what_is_removed_is_neither_due_nor_keeps_a_place() {
        let mut book = book([schedule("ann", 1), schedule("ann", 2)]);
        book.remove(ScheduleId(Uuid::from_u128(1)));
        book.take_due(DUE);
        book.remove(ScheduleId(Uuid::from_u128(2)));
        assert_eq!(book.next(), None);
        assert!(book.owners.is_empty() && book.due.is_empty());
    }

    #[test]
    fn an_older_record_changes_nothing() {
        let mut book = Book::default();
        let new = schedule("ann", 1);
        let later = new.refused(DUE, "busy", DUE);
        book.put(&later);
        book.put(&new);
        assert_eq!(book.due.first().map(|(at, _)| *at), later.status.due());
    }
}
