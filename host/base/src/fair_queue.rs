//! The queue of the tasks that were denied memory or a permit: principals are served in turns, and the
//! tasks of one principal in the order in which they came.
//!
//! A task that wants memory or a permit makes a [`Waiter`] and waits with it. Only the first waiter may try
//! to get what it wants, and tries again whenever something was released; so no waiter is woken in vain but
//! the first. However many waiters one principal has, another principal waits for one of them at most: see
//! [`RoundRobin`]. A task that was served keeps its waiter. Where it has to wait again, because what it got
//! was not enough, it comes before all waiters that were not served yet: it may hold what they lack.
//!
//! The queue has no timeout: a task gives up by dropping the future.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::round_robin::RoundRobin;
use dormouse_domain::id::Principal;

/// The queue. Cheap to clone: all clones are the same queue.
#[derive(Clone, Default)]
pub struct FairQueue(Arc<Inner>);

#[derive(Default)]
struct Inner {
    queue: Mutex<Queue>,
    /// How many waiters are in it. Read without the lock by every task that releases something.
    length: AtomicUsize,
    /// The first waiter was denied memory.
    lacks_memory: AtomicBool,
}

#[derive(Default)]
struct Queue {
    /// Waiters that were served and wait again, in the order in which they were served.
    again: BTreeMap<u64, Arc<Notify>>,
    /// Waiters that were not served yet. Both are numbered by this one.
    waiting: RoundRobin<Arc<Principal>, Arc<Notify>>,
    closed: bool,
}

impl Queue {
    fn first(&self) -> Option<(u64, &Notify)> {
        let again = self.again.first_key_value().map(|(number, told)| (*number, &**told));
        again.or_else(|| self.waiting.first().map(|(number, told)| (number, &**told)))
    }

    fn is_first(&self, number: u64) -> bool {
        self.first().is_some_and(|(first, _)| first == number)
    }

    fn tell_first(&self) {
        if let Some((_, first)) = self.first() {
            first.notify_one();
        }
    }

    fn len(&self) -> usize {
        self.again.len() + self.waiting.len()
    }
}

/// A position in the queue.
pub struct Waiter {
    queue: FairQueue,
    principal: Arc<Principal>,
    /// Among the waiters of its principal, or among those that were served.
    number: u64,
    served: bool,
    told: Arc<Notify>,
}

impl FairQueue {
    /// Make a waiter for this principal. It comes after all that the principal has made before.
    #[must_use]
    pub fn waiter(&self, principal: &Principal) -> Waiter {
        let number = self.lock().waiting.number();
        let principal = Arc::new(principal.clone());
        Waiter { queue: self.clone(), principal, number, served: false, told: Arc::default() }
    }

    /// Something was released: the first waiter tries again.
    pub fn notify_released(&self) {
        // A waiter counts itself before it tries, and a task releases before it looks here: in one total
        // order, either the first waiter finds what was released or it is told.
        if self.0.length.load(Ordering::SeqCst) > 0 {
            self.lock().tell_first();
        }
    }

    /// Whether no waiter is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many waiters are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.length.load(Ordering::SeqCst)
    }

    /// Note that the first waiter was denied memory, for [`FairQueue::lacks_memory`].
    pub fn note_lack_of_memory(&self) {
        self.0.lacks_memory.store(true, Ordering::SeqCst);
    }

    /// Whether the first waiter lacks memory: then no task takes more memory past the queue.
    #[must_use]
    pub fn lacks_memory(&self) -> bool {
        self.0.lacks_memory.load(Ordering::SeqCst)
    }

    /// Send all waiters away, now and from now on.
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.again.values().chain(queue.waiting.iter()).for_each(|told| told.notify_one());
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a waiter in the queue may do.
enum Permission {
    Try,
    Wait,
    Leave,
}

impl Waiter {
    /// Make this attempt if it is this waiter's turn, and do not wait.
    pub fn try_acquire<T>(&mut self, attempt: impl FnOnce() -> Option<T>) -> Option<T> {
        let mut enqueued = self.enqueue();
        match enqueued.permission() {
            Permission::Try => enqueued.attempt(attempt),
            Permission::Wait | Permission::Leave => None,
        }
    }

    /// Wait until `attempt`, which only the first waiter makes, succeeds. An attempt that fails must release
    /// nothing, or it would tell itself to try again. `None`: the queue is closed.
    pub async fn acquire<T>(&mut self, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        let mut enqueued = self.enqueue();
        loop {
            match enqueued.permission() {
                Permission::Leave => return None,
                Permission::Wait => {}
                Permission::Try => {
                    if let Some(got) = enqueued.attempt(&mut attempt) {
                        return Some(got);
                    }
                }
            }
            // What came since the look is remembered, and this returns at once.
            enqueued.waiter.told.notified().await;
        }
    }

    fn enqueue(&mut self) -> Enqueued<'_> {
        let mut queue = self.queue.lock();
        let told = self.told.clone();
        if self.served {
            queue.again.insert(self.number, told);
        } else {
            queue.waiting.enter(&self.principal, self.number, told);
        }
        self.queue.0.length.store(queue.len(), Ordering::SeqCst);
        drop(queue);
        Enqueued { waiter: self, is_served: false }
    }
}

/// While it lives, its waiter is in the queue.
struct Enqueued<'t> {
    waiter: &'t mut Waiter,
    is_served: bool,
}

impl Enqueued<'_> {
    fn permission(&self) -> Permission {
        let queue = self.waiter.queue.lock();
        match (queue.closed, queue.is_first(self.waiter.number)) {
            (true, _) => Permission::Leave,
            (false, true) => Permission::Try,
            (false, false) => Permission::Wait,
        }
    }

    fn attempt<T>(&mut self, attempt: impl FnOnce() -> Option<T>) -> Option<T> {
        let got = attempt();
        self.is_served = got.is_some();
        got
    }
}

impl Drop for Enqueued<'_> {
    fn drop(&mut self) {
        let waiter = &mut *self.waiter;
        let inner = &waiter.queue.0;
        let mut queue = waiter.queue.lock();
        let was_first = queue.is_first(waiter.number);
        if waiter.served {
            queue.again.remove(&waiter.number);
        } else {
            queue.waiting.leave(&waiter.principal, waiter.number);
        }
        if self.is_served && !waiter.served {
            waiter.served = true;
            waiter.number = queue.waiting.number();
        }
        inner.length.store(queue.len(), Ordering::SeqCst);
        if was_first {
            // The next finds out for itself what it lacks.
            inner.lacks_memory.store(false, Ordering::SeqCst);
            queue.tell_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::AtomicU64;
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;

    /// Things to be had, a number of them.
    #[derive(Clone, Default)]
    struct Things(Arc<AtomicU64>);

    impl Things {
        fn give(&self, queue: &FairQueue) {
            self.0.fetch_add(1, Ordering::SeqCst);
            queue.notify_released();
        }

        fn take(&self) -> Option<()> {
            let less = |have: u64| have.checked_sub(1);
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).ok().map(drop)
        }
    }

    type Customer = Pin<Box<dyn Future<Output = Option<()>>>>;

    fn named(name: &str) -> Principal {
        Principal(name.to_owned())
    }

    fn customer(queue: &FairQueue, things: &Things) -> Customer {
        customer_of("local", queue, things)
    }

    fn customer_of(principal: &str, queue: &FairQueue, things: &Things) -> Customer {
        let (mut waiter, things) = (queue.waiter(&named(principal)), things.clone());
        Box::pin(async move { waiter.acquire(|| things.take()).await })
    }

    fn is_served(customer: &mut Customer) -> bool {
        match customer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(got) => got.is_some(),
            Poll::Pending => false,
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Come,
        Leave(usize),
        Give,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Come),
            1 => (0usize..8).prop_map(Step::Leave),
            2 => Just(Step::Give),
        ]
    }

    proptest! {
        #[test]
        fn of_one_principal_who_came_first_is_served_first_whoever_leaves(
            steps in proptest::collection::vec(step(), 0..120),
        ) {
            let (queue, things) = (FairQueue::default(), Things::default());
            let mut waiting: Vec<Customer> = Vec::new();
            for step in steps {
                match step {
                    Step::Come => {
                        let mut new = customer(&queue, &things);
                        if is_served(&mut new) {
                            prop_assert!(waiting.is_empty(), "somebody was overtaken");
                        } else {
                            waiting.push(new);
                        }
                    }
                    Step::Leave(which) if which < waiting.len() => drop(waiting.remove(which)),
                    Step::Leave(_) => {}
                    Step::Give => {
                        things.give(&queue);
                        // The later look first, and still get nothing.
                        for late in waiting.iter_mut().skip(1).rev() {
                            prop_assert!(!is_served(late), "somebody was overtaken");
                        }
                        if let Some(first) = waiting.first_mut() {
                            prop_assert!(is_served(first));
                            drop(waiting.remove(0));
                        }
                    }
                }
                prop_assert_eq!(queue.len(), waiting.len());
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_is_forgotten_when_things_are_given_from_many_threads() {
        let (queue, things) = (FairQueue::default(), Things::default());
        things.give(&queue);
        let tasks: Vec<_> = (0..2_000)
            .map(|n| {
                let (queue, things) = (queue.clone(), things.clone());
                tokio::spawn(async move {
                    let got =
                        queue.waiter(&named(&(n % 7).to_string())).acquire(|| things.take()).await;
                    things.give(&queue);
                    got
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.expect("no panic"), Some(()));
        }
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn who_waits_again_comes_before_all_who_came_later() {
        let (queue, things) = (FairQueue::default(), Things::default());
        let mut early = queue.waiter(&Principal::local());
        let mut late = customer(&queue, &things);
        assert!(!is_served(&mut late));
        let again = things.clone();
        let mut early: Customer = Box::pin(async move { early.acquire(|| again.take()).await });
        assert!(!is_served(&mut early));
        things.give(&queue);
        assert!(!is_served(&mut late));
        assert!(is_served(&mut early));
    }

    #[test]
    fn one_principal_that_waits_many_times_is_passed_by_another() {
        let (queue, things) = (FairQueue::default(), Things::default());
        let mut many: Vec<Customer> =
            (0..100).map(|_| customer_of("ann", &queue, &things)).collect();
        assert!(many.iter_mut().all(|customer| !is_served(customer)));
        let mut other = customer_of("ben", &queue, &things);
        assert!(!is_served(&mut other));
        things.give(&queue);
        assert!(is_served(&mut many[0]));
        things.give(&queue);
        assert!(!is_served(&mut many[1]));
        assert!(is_served(&mut other));
        things.give(&queue);
        assert!(is_served(&mut many[1]));
    }

    #[test]
    fn who_was_served_and_needs_more_comes_before_all_who_were_not() {
        let (queue, things) = (FairQueue::default(), Things::default());
        things.give(&queue);
        let mut served = queue.waiter(&named("ann"));
        assert_eq!(served.try_acquire(|| things.take()), Some(()));
        let mut others = ["ann", "ben"].map(|name| customer_of(name, &queue, &things));
        assert!(others.iter_mut().all(|customer| !is_served(customer)));
        let more = things.clone();
        let mut again: Customer = Box::pin(async move { served.acquire(|| more.take()).await });
        assert!(!is_served(&mut again));
        things.give(&queue);
        assert!(others.iter_mut().all(|customer| !is_served(customer)));
        assert!(is_served(&mut again));
        for other in &mut others {
            things.give(&queue);
            assert!(is_served(other));
        }
    }

    #[test]
    fn a_queue_that_is_closed_sends_everybody_away() {
        let (queue, things) = (FairQueue::default(), Things::default());
        let mut waiting = customer(&queue, &things);
        assert!(!is_served(&mut waiting));
        queue.close();
        let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(None));
    }
}
