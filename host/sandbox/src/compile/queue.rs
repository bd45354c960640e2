//! Components that wait to be compiled. One is compiled at a time, and the principals take turns.
//!
//! Invariants: the component that stands first in the [`RoundRobin`] is compiled, and stays there until
//! that is over; so however many components one principal uploads, another waits for one of them at most.
//! What a principal may have in the queue is bounded, and a principal that has nothing in it is always let
//! in: the memory that waiting takes is bounded by the number of principals, and no principal can lock
//! others out.
//!
//! Nobody waits here by time. To give up is to drop the future.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use dormouse_base::round_robin::RoundRobin;
use dormouse_domain::id::Principal;

/// Components of one principal that wait, the one that is compiled included. One more is refused.
pub(super) const MAX_WAITING_EACH: usize = 16;
/// The same of all principals. A principal that has none in the queue may add one all the same.
const MAX_WAITING: usize = 64;

/// The principal that uploaded the component. `None`: it comes with the host.
pub(crate) type Owner = Option<Principal>;

/// The queue. Cheap to clone: all clones are the same queue.
#[derive(Clone, Default)]
pub(super) struct CompileQueue(Arc<Mutex<RoundRobin<Owner, Arc<Notify>>>>);

/// Why there is no place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompileQueueFull {
    /// This principal has too many waiting.
    Principal,
    /// All principals together have too many waiting.
    Everybody,
}

/// A position in the queue. The first position is the permit to compile; when it is dropped, the next is first.
pub(super) struct CompilePermit {
    queue: CompileQueue,
    owner: Owner,
    number: u64,
}

impl CompileQueue {
    /// Wait until it is the turn of one of this owner's components.
    ///
    /// # Errors
    /// [`CompileQueueFull`], at once.
    pub(super) async fn leave(&self, owner: Owner) -> Result<CompilePermit, CompileQueueFull> {
        let told = Arc::new(Notify::new());
        let leave = {
            let mut queue = self.lock();
            let own = queue.count(&owner);
            if own >= MAX_WAITING_EACH {
                return Err(CompileQueueFull::Principal);
            }
            if own > 0 && queue.len() >= MAX_WAITING {
                return Err(CompileQueueFull::Everybody);
            }
            let number = queue.number();
            if queue.is_empty() {
                told.notify_one();
            }
            queue.enter(&owner, number, told.clone());
            CompilePermit { queue: self.clone(), owner, number }
        };
        told.notified().await;
        Ok(leave)
    }

    /// Components that are compiled or wait for it.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, RoundRobin<Owner, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CompilePermit {
    fn drop(&mut self) {
        let mut queue = self.queue.lock();
        let was_first = queue.first().is_some_and(|(first, _)| first == self.number);
        queue.leave(&self.owner, self.number);
        if let Some((_, told)) = queue.first().filter(|_| was_first) {
            told.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;

    type Wait = Pin<Box<dyn Future<Output = Result<CompilePermit, CompileQueueFull>>>>;

    fn owner(name: &str) -> Owner {
        Some(Principal(name.to_owned()))
    }

    /// Come to the queue, and stand in it.
    fn come(queue: &CompileQueue, name: &str) -> Wait {
        let (queue, owner) = (queue.clone(), owner(name));
        let mut wait: Wait = Box::pin(async move { queue.leave(owner).await });
        assert!(got(&mut wait).is_none(), "{name} was let in at once");
        wait
    }

    fn got(wait: &mut Wait) -> Option<Result<CompilePermit, CompileQueueFull>> {
        match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(got) => Some(got),
            Poll::Pending => None,
        }
    }

    /// In which order these are let in, once the first has done.
    async fn order(
        queue: &CompileQueue,
        first: CompilePermit,
        mut waits: Vec<(&'static str, Wait)>,
    ) -> String {
        let mut order = String::new();
        let mut running = Some(first);
        while running.take().is_some() {
            let next = waits.iter_mut().position(|(_, wait)| match got(wait) {
                Some(Ok(leave)) => {
                    running = Some(leave);
                    true
                }
                Some(Err(full)) => panic!("{full:?}"),
                None => false,
            });
            if let Some(next) = next {
                order.push_str(waits.remove(next).0);
            }
        }
        assert_eq!(queue.len(), 0);
        order
    }

    #[tokio::test]
    async fn principals_take_turns_however_many_components_one_of_them_has() {
        let queue = CompileQueue::default();
        let first = queue.leave(owner("a")).await.expect("nobody is there");
        let names = ["a", "a", "a", "a", "b", "c", "c", "b"];
        let waits = names.map(|name| (name, come(&queue, name))).into();
        assert_eq!(order(&queue, first, waits).await, "bcabcaaa");
    }

    #[tokio::test]
    async fn a_principal_has_a_bounded_number_waiting_and_locks_nobody_out() {
        let queue = CompileQueue::default();
        let _running = queue.leave(owner("a")).await.expect("nobody is there");
        let mut waits = Vec::new();
        for (name, most) in [("a", MAX_WAITING_EACH - 1), ("b", 16), ("c", 16), ("d", 16)] {
            waits.extend((0..most).map(|_| come(&queue, name)));
        }
        assert_eq!(queue.leave(owner("a")).await.err(), Some(CompileQueueFull::Principal));
        assert_eq!(queue.len(), MAX_WAITING);
        let e = come(&queue, "e");
        assert_eq!(queue.leave(owner("e")).await.err(), Some(CompileQueueFull::Everybody));
        drop(e);
        drop(waits.remove(0));
        let _again = come(&queue, "a");
        assert_eq!(queue.len(), MAX_WAITING);
    }

    #[tokio::test]
    async fn whoever_gives_up_is_passed_over_even_after_it_was_told() {
        let queue = CompileQueue::default();
        let first = queue.leave(owner("a")).await.expect("nobody is there");
        let (early, told, last) = (come(&queue, "b"), come(&queue, "c"), come(&queue, "d"));
        drop(early);
        drop(first);
        // It has been told, and goes without having looked.
        drop(told);
        let mut last = last;
        assert!(matches!(got(&mut last), Some(Ok(_))));
        drop(last);
        assert!(queue.leave(owner("a")).await.is_ok());
    }

    proptest! {
        #[test]
        fn between_two_turns_of_a_principal_nobody_who_waits_is_left_out(
            names in proptest::collection::vec(0_usize..4, 1..60),
        ) {
            let names: Vec<&'static str> =
                names.into_iter().map(|name| ["a", "b", "c", "d"][name]).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let order = runtime.block_on(async {
                let queue = CompileQueue::default();
                let first = queue.leave(owner("a")).await.expect("nobody is there");
                let mut waits = Vec::new();
                for name in &names {
                    let own = waits.iter().filter(|(other, _)| other == name).count();
                    if own < MAX_WAITING_EACH - 1 {
                        waits.push((*name, come(&queue, name)));
                    }
                }
                order(&queue, first, waits).await
            });
            let served: Vec<char> = std::iter::once('a').chain(order.chars()).collect();
            for (at, who) in served.iter().enumerate() {
                let again = served.iter().skip(at + 1).position(|other| other == who);
                let Some(again) = again else { continue };
                let between = &served[at + 1..at + 1 + again];
                for late in &served[at + 1 + again..] {
                    prop_assert!(late == who || between.contains(late), "{late} in {order}");
                }
            }
        }
    }
}
