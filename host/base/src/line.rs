//! The line of those who were denied memory or a place: principals are served in turns, and what one
//! principal wants in the order in which it came.
//!
//! Who wants something takes a [`Ticket`] and stands in line with it. Only the first may try to get
//! what it wants, and tries again whenever something was given back; so nobody is woken in vain but
//! the first. However many tickets one principal has, another waits for one of them at most: see
//! [`RoundRobin`]. Who was served keeps the ticket, and whoever has to stand in line again, because
//! what it got did not do, stands before all who were not served yet: it may hold what they lack.
//!
//! Nobody waits here by time: to give up is to drop the future.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::round_robin::RoundRobin;
use dormouse_domain::id::Principal;

/// A line. Cheap to clone: all clones are the same line.
#[derive(Clone, Default)]
pub struct Line(Arc<Inner>);

#[derive(Default)]
struct Inner {
    queue: Mutex<Queue>,
    /// How many stand in it. Read without the lock by everybody who gives something back.
    length: AtomicUsize,
    /// The first was denied memory.
    lacks_memory: AtomicBool,
}

#[derive(Default)]
struct Queue {
    /// Who was served and stands in line again, in the order in which they were served.
    again: BTreeMap<u64, Arc<Notify>>,
    /// Who was not served yet. Both are numbered by this one.
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

/// A place in the line.
pub struct Ticket {
    line: Line,
    principal: Arc<Principal>,
    /// Among the tickets of its principal, or among those that were served.
    number: u64,
    served: bool,
    told: Arc<Notify>,
}

impl Line {
    /// Take a ticket for this principal. It comes after all that the principal has taken before.
    #[must_use]
    pub fn ticket(&self, principal: &Principal) -> Ticket {
        let number = self.lock().waiting.number();
        let principal = Arc::new(principal.clone());
        Ticket { line: self.clone(), principal, number, served: false, told: Arc::default() }
    }

    /// Something was given back: the first in line tries again.
    pub fn given_back(&self) {
        // Who stands in line counts itself before it tries, and who gives back gives before it looks
        // here: in one total order, either the first finds what was given or it is told.
        if self.0.length.load(Ordering::SeqCst) > 0 {
            self.lock().tell_first();
        }
    }

    /// Whether nobody stands in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many stand in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.length.load(Ordering::SeqCst)
    }

    /// Note that the first was denied memory, for [`Line::lacks_memory`].
    pub fn note_lack_of_memory(&self) {
        self.0.lacks_memory.store(true, Ordering::SeqCst);
    }

    /// Whether the first waits for memory: then nobody takes more memory past the line.
    #[must_use]
    pub fn lacks_memory(&self) -> bool {
        self.0.lacks_memory.load(Ordering::SeqCst)
    }

    /// Send all away, now and from now on.
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.again.values().chain(queue.waiting.iter()).for_each(|told| told.notify_one());
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What somebody who stands in line may do.
enum Turn {
    Try,
    Wait,
    Leave,
}

impl Ticket {
    /// Make this attempt if it is this ticket's turn, and do not wait.
    pub fn at_once<T>(&mut self, attempt: impl FnOnce() -> Option<T>) -> Option<T> {
        let mut standing = self.stand();
        match standing.turn() {
            Turn::Try => standing.attempt(attempt),
            Turn::Wait | Turn::Leave => None,
        }
    }

    /// Stand in line until `attempt`, which only the first makes, brings something. An attempt that
    /// brings nothing must give nothing back, or it would tell itself to try again. `None`: the line
    /// is closed.
    pub async fn first<T>(&mut self, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        let mut standing = self.stand();
        loop {
            match standing.turn() {
                Turn::Leave => return None,
                Turn::Wait => {}
                Turn::Try => {
                    if let Some(got) = standing.attempt(&mut attempt) {
                        return Some(got);
                    }
                }
            }
            // What came since the look is remembered, and this returns at once.
            standing.ticket.told.notified().await;
        }
    }

    fn stand(&mut self) -> Standing<'_> {
        let mut queue = self.line.lock();
        let told = self.told.clone();
        if self.served {
            queue.again.insert(self.number, told);
        } else {
            queue.waiting.enter(&self.principal, self.number, told);
        }
        self.line.0.length.store(queue.len(), Ordering::SeqCst);
        drop(queue);
        Standing { ticket: self, is_served: false }
    }
}

/// While it lives, its ticket stands in line.
struct Standing<'t> {
    ticket: &'t mut Ticket,
    is_served: bool,
}

impl Standing<'_> {
    fn turn(&self) -> Turn {
        let queue = self.ticket.line.lock();
        match (queue.closed, queue.is_first(self.ticket.number)) {
            (true, _) => Turn::Leave,
            (false, true) => Turn::Try,
            (false, false) => Turn::Wait,
        }
    }

    fn attempt<T>(&mut self, attempt: impl FnOnce() -> Option<T>) -> Option<T> {
        let got = attempt();
        self.is_served = got.is_some();
        got
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let ticket = &mut *self.ticket;
        let inner = &ticket.line.0;
        let mut queue = ticket.line.lock();
        let was_first = queue.is_first(ticket.number);
        if ticket.served {
            queue.again.remove(&ticket.number);
        } else {
            queue.waiting.leave(&ticket.principal, ticket.number);
        }
        if self.is_served && !ticket.served {
            ticket.served = true;
            ticket.number = queue.waiting.number();
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
        fn give(&self, line: &Line) {
            self.0.fetch_add(1, Ordering::SeqCst);
            line.given_back();
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

    fn customer(line: &Line, things: &Things) -> Customer {
        customer_of("local", line, things)
    }

    fn customer_of(principal: &str, line: &Line, things: &Things) -> Customer {
        let (mut ticket, things) = (line.ticket(&named(principal)), things.clone());
        Box::pin(async move { ticket.first(|| things.take()).await })
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
            let (line, things) = (Line::default(), Things::default());
            let mut waiting: Vec<Customer> = Vec::new();
            for step in steps {
                match step {
                    Step::Come => {
                        let mut new = customer(&line, &things);
                        if is_served(&mut new) {
                            prop_assert!(waiting.is_empty(), "somebody was overtaken");
                        } else {
                            waiting.push(new);
                        }
                    }
                    Step::Leave(which) if which < waiting.len() => drop(waiting.remove(which)),
                    Step::Leave(_) => {}
                    Step::Give => {
                        things.give(&line);
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
                prop_assert_eq!(line.len(), waiting.len());
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_is_forgotten_when_things_are_given_from_many_threads() {
        let (line, things) = (Line::default(), Things::default());
        things.give(&line);
        let tasks: Vec<_> = (0..2_000)
            .map(|n| {
                let (line, things) = (line.clone(), things.clone());
                tokio::spawn(async move {
                    let got =
                        line.ticket(&named(&(n % 7).to_string())).first(|| things.take()).await;
                    things.give(&line);
                    got
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.expect("no panic"), Some(()));
        }
        assert_eq!(line.len(), 0);
    }

    #[test]
    fn who_stands_in_line_again_comes_before_all_who_came_later() {
        let (line, things) = (Line::default(), Things::default());
        let mut early = line.ticket(&Principal::local());
        let mut late = customer(&line, &things);
        assert!(!is_served(&mut late));
        let again = things.clone();
        let mut early: Customer = Box::pin(async move { early.first(|| again.take()).await });
        assert!(!is_served(&mut early));
        things.give(&line);
        assert!(!is_served(&mut late));
        assert!(is_served(&mut early));
    }

    #[test]
    fn one_principal_that_stands_in_line_many_times_is_passed_by_another() {
        let (line, things) = (Line::default(), Things::default());
        let mut many: Vec<Customer> =
            (0..100).map(|_| customer_of("ann", &line, &things)).collect();
        assert!(many.iter_mut().all(|customer| !is_served(customer)));
        let mut other = customer_of("ben", &line, &things);
        assert!(!is_served(&mut other));
        things.give(&line);
        assert!(is_served(&mut many[0]));
        things.give(&line);
        assert!(!is_served(&mut many[1]));
        assert!(is_served(&mut other));
        things.give(&line);
        assert!(is_served(&mut many[1]));
    }

    #[test]
    fn who_was_served_and_needs_more_comes_before_all_who_were_not() {
        let (line, things) = (Line::default(), Things::default());
        things.give(&line);
        let mut served = line.ticket(&named("ann"));
        assert_eq!(served.at_once(|| things.take()), Some(()));
        let mut others = ["ann", "ben"].map(|name| customer_of(name, &line, &things));
        assert!(others.iter_mut().all(|customer| !is_served(customer)));
        let more = things.clone();
        let mut again: Customer = Box::pin(async move { served.first(|| more.take()).await });
        assert!(!is_served(&mut again));
        things.give(&line);
        assert!(others.iter_mut().all(|customer| !is_served(customer)));
        assert!(is_served(&mut again));
        for other in &mut others {
            things.give(&line);
            assert!(is_served(other));
        }
    }

    #[test]
    fn a_line_that_is_closed_sends_everybody_away() {
        let (line, things) = (Line::default(), Things::default());
        let mut waiting = customer(&line, &things);
        assert!(!is_served(&mut waiting));
        line.close();
        let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(None));
    }
}
