//! Who waits to compile. One compiles at a time, and the principals take turns.
//!
//! Invariants: the principal that has just compiled comes after all others that wait, so however many
//! components one principal uploads, another waits for one of them at most. What a principal may have
//! waiting is bounded, and a principal that has nothing waiting is always let in: the memory that
//! waiting takes is bounded by the number of principals, and no principal can lock others out.
//!
//! Nobody waits here by time. To give up is to drop the future.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::session::id::Principal;

/// Components of one principal that wait. One more is refused.
pub(super) const MAX_WAITING_EACH: usize = 16;
/// Components of all principals that wait. A principal that has none waiting may add one all the same.
const MAX_WAITING: usize = 64;

/// Whose component it is. `None`: the host's own, which comes with it.
pub(in crate::sandbox) type Owner = Option<Principal>;

/// The queue. Cheap to clone: all clones are the same queue.
#[derive(Clone, Default)]
pub(super) struct FairQueue(Arc<Mutex<State>>);

/// Why there is no place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// This principal has too many waiting.
    Principal,
    /// All principals together have too many waiting.
    Everybody,
}

#[derive(Default)]
struct State {
    /// Whose component is compiled, or was compiled last.
    last: Owner,
    running: bool,
    /// The principals that wait, in the order of their turns. Each stands here once.
    turns: VecDeque<Owner>,
    waiting: HashMap<Owner, VecDeque<Waiter>>,
    count: usize,
    next: u64,
}

struct Waiter {
    number: u64,
    told: oneshot::Sender<Leave>,
}

/// Leave to compile. The next one gets it when this is dropped.
pub(super) struct Leave(Option<FairQueue>);

impl FairQueue {
    /// Wait until it is the turn of one of this owner's components.
    ///
    /// # Errors
    /// [`Full`], at once.
    pub(super) async fn leave(&self, owner: Owner) -> Result<Leave, Full> {
        let (standing, leave) = {
            let mut state = self.lock();
            if !state.running {
                state.running = true;
                state.last = owner;
                return Ok(Leave(Some(self.clone())));
            }
            let own = state.waiting.get(&owner).map_or(0, VecDeque::len);
            if own >= MAX_WAITING_EACH {
                return Err(Full::Principal);
            }
            if own > 0 && state.count >= MAX_WAITING {
                return Err(Full::Everybody);
            }
            let (told, leave) = oneshot::channel();
            let number = state.enter(owner.clone(), told);
            (Standing { queue: self, owner, number }, leave)
        };
        let leave = leave.await;
        drop(standing);
        // The sender lives in the queue, which this future holds, until it has sent.
        leave.map_err(|_| Full::Everybody)
    }

    /// Let the next one compile.
    fn pass_on(&self) {
        let told = {
            let mut state = self.lock();
            let told = state.take_next();
            state.running = told.is_some();
            told
        };
        if let Some(told) = told {
            // Whoever has given up meanwhile drops it, and with that passes it on.
            drop(told.send(Leave(Some(self.clone()))));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.lock().count
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.pass_on();
        }
    }
}

impl State {
    fn enter(&mut self, owner: Owner, told: oneshot::Sender<Leave>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.count += 1;
        let own = self.waiting.entry(owner.clone()).or_default();
        if own.is_empty() {
            self.turns.push_back(owner);
        }
        own.push_back(Waiter { number, told });
        number
    }

    /// Take out who comes next: of the principal whose turn it is, the component that came first.
    fn take_next(&mut self) -> Option<oneshot::Sender<Leave>> {
        // Whoever has just compiled comes after all others that wait.
        if let Some(place) = self.turns.iter().position(|owner| *owner == self.last) {
            self.turns.remove(place);
            self.turns.push_back(self.last.clone());
        }
        let owner = self.turns.pop_front()?;
        let own = self.waiting.get_mut(&owner)?;
        let waiter = own.pop_front()?;
        self.count -= 1;
        if own.is_empty() {
            self.waiting.remove(&owner);
        } else {
            self.turns.push_back(owner.clone());
        }
        self.last = owner;
        Some(waiter.told)
    }

    fn give_up(&mut self, owner: &Owner, number: u64) {
        let Some(own) = self.waiting.get_mut(owner) else { return };
        let before = own.len();
        own.retain(|waiter| waiter.number != number);
        self.count -= before - own.len();
        if own.is_empty() {
            self.waiting.remove(owner);
            self.turns.retain(|other| other != owner);
        }
    }
}

/// While it lives, its owner stands in the queue, or has just been told.
struct Standing<'q> {
    queue: &'q FairQueue,
    owner: Owner,
    number: u64,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.queue.lock().give_up(&self.owner, self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;

    type Wait = Pin<Box<dyn Future<Output = Result<Leave, Full>>>>;

    fn owner(name: &str) -> Owner {
        Some(Principal(name.to_owned()))
    }

    /// Come to the queue, and stand in it.
    fn come(queue: &FairQueue, name: &str) -> Wait {
        let (queue, owner) = (queue.clone(), owner(name));
        let mut wait: Wait = Box::pin(async move { queue.leave(owner).await });
        assert!(got(&mut wait).is_none(), "{name} was let in at once");
        wait
    }

    fn got(wait: &mut Wait) -> Option<Result<Leave, Full>> {
        match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(got) => Some(got),
            Poll::Pending => None,
        }
    }

    /// In which order these are let in, once the first has done.
    async fn order(
        queue: &FairQueue,
        first: Leave,
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
        assert_eq!(queue.waiting(), 0);
        order
    }

    #[tokio::test]
    async fn principals_take_turns_however_many_components_one_of_them_has() {
        let queue = FairQueue::default();
        let first = queue.leave(owner("a")).await.expect("nobody is there");
        let names = ["a", "a", "a", "a", "b", "c", "c", "b"];
        let waits = names.map(|name| (name, come(&queue, name))).into();
        assert_eq!(order(&queue, first, waits).await, "bcabcaaa");
    }

    #[tokio::test]
    async fn a_principal_has_a_bounded_number_waiting_and_locks_nobody_out() {
        let queue = FairQueue::default();
        let _running = queue.leave(owner("a")).await.expect("nobody is there");
        let mut waits = Vec::new();
        for name in ["a", "b", "c", "d"] {
            waits.extend((0..MAX_WAITING_EACH).map(|_| come(&queue, name)));
        }
        assert_eq!(queue.leave(owner("a")).await.err(), Some(Full::Principal));
        assert_eq!(queue.waiting(), MAX_WAITING);
        let e = come(&queue, "e");
        assert_eq!(queue.leave(owner("e")).await.err(), Some(Full::Everybody));
        drop(e);
        drop(waits.remove(0));
        let _again = come(&queue, "a");
        assert_eq!(queue.waiting(), MAX_WAITING);
    }

    #[tokio::test]
    async fn whoever_gives_up_is_passed_over_even_after_it_was_told() {
        let queue = FairQueue::default();
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
                let queue = FairQueue::default();
                let first = queue.leave(owner("a")).await.expect("nobody is there");
                let mut waits = Vec::new();
                for name in &names {
                    if waits.iter().filter(|(other, _)| other == name).count() < MAX_WAITING_EACH {
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
