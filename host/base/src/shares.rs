//! What principals share, so that none of them can take it from the others: places of requests, and
//! memory for bodies, answers and waiting messages (`memory/pool`).
//!
//! The rule: *a principal may hold as much as is free.* Who takes something must find at least as much
//! free, when it has it, as it then holds itself; so whatever one principal does, another finds half of
//! it all, a third a quarter, and where `n` principals want more than there is, each comes to have one
//! part of `n + 1` as what is held is given back. One part is always left for who comes next. Who
//! holds nothing takes what it needs if there is room at all. Where there is one principal only, there
//! is nobody to share with, and it may hold everything.
//!
//! [`Shares`] refuses who asks for too much; in a [`FairSemaphore`] one waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use dormouse_domain::id::Principal;

/// How many principals share. All clones are the same: with the first key that is created, one caller
/// becomes several.
#[derive(Clone, Debug)]
pub struct Callers(Arc<AtomicBool>);

impl Callers {
    /// One principal.
    pub fn one() -> Callers {
        Callers(Arc::new(AtomicBool::new(false)))
    }

    /// Several, each with a key of its own.
    pub fn several() -> Callers {
        Callers(Arc::new(AtomicBool::new(true)))
    }

    /// From now on they are several. What one of them holds by then it keeps.
    pub fn become_several(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether there is more than one.
    pub fn are_several(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of places or bytes.
#[derive(Clone, Debug)]
pub struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: u64,
    callers: Callers,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    sum: u64,
    by: HashMap<Principal, u64>,
}

impl Shares {
    /// Shares of this many places among the principals that there may be.
    pub fn new(all: u64, callers: Callers) -> Shares {
        Shares(Arc::new(Inner { all, callers, held: Mutex::default() }))
    }

    /// How many places there are.
    pub fn all(&self) -> u64 {
        self.0.all
    }

    /// Nothing yet, for this principal.
    pub fn of(&self, principal: &Principal) -> Share {
        Share { shares: self.clone(), principal: principal.clone(), held: 0 }
    }

    /// So much for this principal. `None` where that is more than its part.
    pub fn take(&self, principal: &Principal, amount: u64) -> Option<Share> {
        let mut share = self.of(principal);
        share.grow(amount).then_some(share)
    }

    /// Whether this principal would get anything.
    pub fn has_some(&self, principal: &Principal) -> bool {
        self.allows(&self.0.lock(), principal, 1)
    }

    fn allows(&self, held: &Held, principal: &Principal, amount: u64) -> bool {
        let own = held.by.get(principal).copied().unwrap_or(0);
        let Some(free) = held.sum.checked_add(amount).and_then(|sum| self.0.all.checked_sub(sum))
        else {
            return false;
        };
        !self.0.callers.are_several() || own == 0 || own.saturating_add(amount) <= free
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a principal holds. Given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Shares,
    principal: Principal,
    held: u64,
}

impl Share {
    /// Hold so much more. Returns whether that is within the principal's part.
    pub fn grow(&mut self, amount: u64) -> bool {
        let mut held = self.shares.0.lock();
        let allowed = self.shares.allows(&held, &self.principal, amount);
        if allowed {
            held.add(&self.principal, amount);
            self.held = self.held.saturating_add(amount);
        }
        allowed
    }

    /// Hold so much more, whatever the principal's part is: what is there already must be counted.
    pub fn force(&mut self, amount: u64) {
        self.shares.0.lock().add(&self.principal, amount);
        self.held = self.held.saturating_add(amount);
    }

    /// Hold so much less.
    pub fn shrink(&mut self, amount: u64) {
        let amount = amount.min(self.held);
        self.held -= amount;
        self.shares.0.lock().remove(&self.principal, amount);
    }

    /// The principal that holds it.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
}

impl Held {
    fn add(&mut self, principal: &Principal, amount: u64) {
        self.sum = self.sum.saturating_add(amount);
        match self.by.get_mut(principal) {
            Some(own) => *own = own.saturating_add(amount),
            None => drop(self.by.insert(principal.clone(), amount)),
        }
    }

    fn remove(&mut self, principal: &Principal, amount: u64) {
        self.sum = self.sum.saturating_sub(amount);
        if let Some(own) = self.by.get_mut(principal) {
            *own = own.saturating_sub(amount);
            if *own == 0 {
                self.by.remove(principal);
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.0.lock().remove(&self.principal, self.held);
    }
}

/// A semaphore of a few permits, for which tasks wait in the order of arrival. Of one principal no more
/// tasks wait among the others than it may have permits; the rest of them wait for each other.
#[derive(Debug)]
pub struct FairSemaphore {
    permits: usize,
    callers: Callers,
    all: Arc<Semaphore>,
    by: Mutex<HashMap<Principal, Weak<Semaphore>>>,
}

/// A permit of a [`FairSemaphore`]. Free again when it is dropped.
#[derive(Debug)]
pub struct FairPermit {
    _all: Option<OwnedSemaphorePermit>,
    _own: Option<OwnedSemaphorePermit>,
}

impl FairSemaphore {
    /// A semaphore of so many permits, of which each of several principals has half.
    pub fn new(permits: usize, callers: Callers) -> FairSemaphore {
        let all = Arc::new(Semaphore::new(permits));
        FairSemaphore { permits, callers, all, by: Mutex::default() }
    }

    /// Wait for a permit.
    pub async fn wait(&self, principal: &Principal) -> FairPermit {
        let own = self.own(principal);
        // They are never closed.
        let _own = own.acquire_owned().await.ok();
        let _all = self.all.clone().acquire_owned().await.ok();
        FairPermit { _all, _own }
    }

    fn own(&self, principal: &Principal) -> Arc<Semaphore> {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = by.get(principal).and_then(Weak::upgrade) {
            return own;
        }
        by.retain(|_, own| own.strong_count() > 0);
        let each =
            if self.callers.are_several() { (self.permits / 2).max(1) } else { self.permits };
        let own = Arc::new(Semaphore::new(each));
        by.insert(principal.clone(), Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;

    type Waiting<'q> = Pin<Box<dyn Future<Output = FairPermit> + 'q>>;

    fn named(name: &str) -> Principal {
        Principal(name.to_owned())
    }

    #[test]
    fn whoever_is_alone_may_have_everything() {
        let shares = Shares::new(10, Callers::one());
        let _all = shares.take(&Principal::local(), 10).expect("there is nobody else");
        assert!(!shares.has_some(&Principal::local()));
    }

    #[test]
    fn one_caller_becomes_several_and_gets_no_more_than_its_part() {
        let callers = Callers::one();
        let shares = Shares::new(10, callers.clone());
        let _most = shares.take(&named("ann"), 6).expect("there is nobody else");
        callers.become_several();
        assert!(!shares.has_some(&named("ann")));
        assert!(shares.take(&named("ben"), 2).is_some());
    }

    #[test]
    fn one_who_takes_all_it_can_leaves_half() {
        let shares = Shares::new(100, Callers::several());
        let (ann, ben) = (named("ann"), named("ben"));
        let mut taken: Vec<_> = std::iter::from_fn(|| shares.take(&ann, 1)).collect();
        assert_eq!(taken.len(), 50);
        let others: Vec<_> = std::iter::from_fn(|| shares.take(&ben, 1)).collect();
        assert_eq!(others.len(), 25);
        taken.truncate(10);
        assert!(shares.has_some(&ann), "what was given back can be had again");
    }

    #[test]
    fn what_is_there_already_is_counted_whatever_it_is() {
        let shares = Shares::new(10, Callers::several());
        let mut share = shares.of(&named("ann"));
        share.force(1_000);
        assert!(!shares.has_some(&named("ben")));
        drop(share);
        assert!(shares.take(&named("ben"), 10).is_some(), "who holds nothing may have all");
    }

    proptest! {
        #[test]
        fn nobody_holds_more_than_is_free_and_nothing_is_lost(
            steps in proptest::collection::vec((0..4_usize, 0..40_u64, any::<bool>()), 1..200),
        ) {
            let all = 100;
            let shares = Shares::new(all, Callers::several());
            let names = ["a", "b", "c", "d"].map(named);
            let mut held: [Vec<Share>; 4] = Default::default();
            for (who, amount, take) in steps {
                let sum = |held: &[Vec<Share>; 4]| {
                    held.iter().flatten().map(|share| share.held).sum::<u64>()
                };
                let had: u64 = held[who].iter().map(|share| share.held).sum();
                if take {
                    let free = all - sum(&held);
                    let got = shares.take(&names[who], amount);
                    let expected = amount <= free && (had == 0 || had + amount <= free - amount);
                    prop_assert_eq!(got.is_some(), expected);
                    held[who].extend(got);
                } else {
                    held[who].pop();
                }
                prop_assert_eq!(shares.0.lock().sum, sum(&held));
            }
        }
    }

    #[test]
    fn one_who_stands_in_line_many_times_is_passed_by_another() {
        let line = FairSemaphore::new(4, Callers::several());
        let (ann, ben) = (named("ann"), named("ben"));
        let poll = |waiting: &mut Waiting<'_>| match waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(admitted) => Some(admitted),
            Poll::Pending => None,
        };
        let wait = |who| -> Waiting<'_> { Box::pin(line.wait(who)) };
        let mut many: Vec<_> = (0..100).map(|_| wait(&ann)).collect();
        let served: Vec<_> = many.iter_mut().filter_map(poll).collect();
        assert_eq!(served.len(), 2);
        assert!(poll(&mut wait(&ben)).is_some());
        drop(served);
        let served: Vec<_> = many.iter_mut().skip(2).filter_map(poll).collect();
        assert_eq!(served.len(), 2, "the others are not lost");
    }
}
