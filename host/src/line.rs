//! The line of those who were denied memory or a place: served in the order in which they came.
//!
//! Who wants something takes a [`Ticket`] and stands in line with it. Only the first may try to get
//! what it wants, and tries again whenever something was given back; so nobody who comes later
//! overtakes, and nobody is woken in vain but the first. Who leaves keeps the ticket, and whoever has
//! to stand in line again stands where the ticket says: before all who came later.
//!
//! Nobody waits here by time: to give up is to drop the future.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

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
    standing: BTreeMap<u64, Arc<Notify>>,
    next: u64,
    closed: bool,
}

impl Queue {
    fn tell_first(&self) {
        if let Some((_, first)) = self.standing.first_key_value() {
            first.notify_one();
        }
    }
}

/// A place in the order of arrival.
pub struct Ticket {
    line: Line,
    number: u64,
    told: Arc<Notify>,
}

impl Line {
    /// Take a ticket. It comes after all that were taken before.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        let mut queue = self.lock();
        let number = queue.next;
        queue.next += 1;
        Ticket { line: self.clone(), number, told: Arc::default() }
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
        queue.standing.values().for_each(|told| told.notify_one());
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
    /// Make this attempt if nobody would be overtaken, and do not wait.
    pub fn at_once<T>(&self, attempt: impl FnOnce() -> Option<T>) -> Option<T> {
        let standing = self.stand();
        match standing.turn() {
            Turn::Try => attempt(),
            Turn::Wait | Turn::Leave => None,
        }
    }

    /// Stand in line until `attempt`, which only the first makes, brings something. An attempt that
    /// brings nothing must give nothing back, or it would tell itself to try again. `None`: the line
    /// is closed.
    pub async fn first<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        let standing = self.stand();
        loop {
            match standing.turn() {
                Turn::Leave => return None,
                Turn::Wait => {}
                Turn::Try => {
                    if let Some(got) = attempt() {
                        return Some(got);
                    }
                }
            }
            // What came since the look is remembered, and this returns at once.
            self.told.notified().await;
        }
    }

    fn stand(&self) -> Standing<'_> {
        let mut queue = self.line.lock();
        queue.standing.insert(self.number, self.told.clone());
        self.line.0.length.store(queue.standing.len(), Ordering::SeqCst);
        Standing(self)
    }
}

/// While it lives, its ticket stands in line.
struct Standing<'t>(&'t Ticket);

impl Standing<'_> {
    fn turn(&self) -> Turn {
        let queue = self.0.line.lock();
        let first = queue.standing.first_key_value().map(|(number, _)| *number);
        match (queue.closed, first) {
            (true, _) => Turn::Leave,
            (false, first) if first == Some(self.0.number) => Turn::Try,
            (false, _) => Turn::Wait,
        }
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.line.lock();
        let first = queue.standing.first_key_value().map(|(number, _)| *number);
        queue.standing.remove(&self.0.number);
        let inner = &self.0.line.0;
        inner.length.store(queue.standing.len(), Ordering::SeqCst);
        if first == Some(self.0.number) {
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

    fn customer(line: &Line, things: &Things) -> Customer {
        let (ticket, things) = (line.ticket(), things.clone());
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
        fn who_came_first_is_served_first_whoever_leaves(
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
            .map(|_| {
                let (line, things) = (line.clone(), things.clone());
                tokio::spawn(async move {
                    let got = line.ticket().first(|| things.take()).await;
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
        let early = line.ticket();
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
    fn a_line_that_is_closed_sends_everybody_away() {
        let (line, things) = (Line::default(), Things::default());
        let mut waiting = customer(&line, &things);
        assert!(!is_served(&mut waiting));
        line.close();
        let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(None));
    }
}
