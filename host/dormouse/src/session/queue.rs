//! What waits for a session: messages in the order of their arrival, and orders before messages.
//!
//! Pure: it decides what is taken, what is refused and what comes next, and knows nothing of tasks.

use std::collections::VecDeque;

/// The most orders that wait for one session. Orders are answered in microseconds once the running
/// turn is over; more than this is a client gone wild.
pub(crate) const MAX_ORDERS: usize = 64;

/// The queue has no room; nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} are waiting already")]
pub(crate) struct QueueFull {
    /// How many are waiting.
    pub(crate) waiting: usize,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<M, O> {
    /// Something to do with the session itself: sleep, end, …
    Order(O),
    /// A message to answer with a turn.
    Message(M),
}

/// Bounded queues of messages and of orders.
#[derive(Debug)]
pub(crate) struct Queue<M, O> {
    messages: VecDeque<M>,
    orders: VecDeque<O>,
    max_messages: usize,
}

impl<M, O> Queue<M, O> {
    /// An empty queue that takes this many messages.
    pub(crate) fn new(max_messages: usize) -> Queue<M, O> {
        Queue { messages: VecDeque::new(), orders: VecDeque::new(), max_messages }
    }

    /// Add a message behind all others. Gives it back where there is no room.
    pub(crate) fn push_message(&mut self, message: M) -> Result<(), (M, QueueFull)> {
        let waiting = self.messages.len();
        if waiting >= self.max_messages {
            return Err((message, QueueFull { waiting }));
        }
        self.messages.push_back(message);
        Ok(())
    }

    /// Add an order behind all other orders. Gives it back where there is no room.
    pub(crate) fn push_order(&mut self, order: O) -> Result<(), (O, QueueFull)> {
        let waiting = self.orders.len();
        if waiting >= MAX_ORDERS {
            return Err((order, QueueFull { waiting }));
        }
        self.orders.push_back(order);
        Ok(())
    }

    /// Take what comes next.
    pub(crate) fn next(&mut self) -> Option<Next<M, O>> {
        match self.orders.pop_front() {
            Some(order) => Some(Next::Order(order)),
            None => self.messages.pop_front().map(Next::Message),
        }
    }

    /// How many orders wait.
    pub(crate) fn orders(&self) -> usize {
        self.orders.len()
    }

    /// How many messages wait.
    pub(crate) fn messages(&self) -> usize {
        self.messages.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Message,
        Order,
        Next,
    }

    proptest! {
        #[test]
        fn what_is_taken_comes_out_once_in_order_and_orders_come_first(
            bound in 0usize..8,
            steps in proptest::collection::vec(
                prop_oneof![Just(Step::Message), Just(Step::Order), Just(Step::Next)], 0..400),
        ) {
            let mut queue = Queue::new(bound);
            let (mut messages, mut orders) = (VecDeque::new(), VecDeque::new());
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Message => match queue.push_message(n) {
                        Ok(()) => messages.push_back(n),
                        Err((back, full)) => {
                            prop_assert_eq!((back, full.waiting), (n, bound));
                            prop_assert_eq!(messages.len(), bound);
                        }
                    },
                    Step::Order => match queue.push_order(n) {
                        Ok(()) => orders.push_back(n),
                        Err((back, full)) => {
                            prop_assert_eq!((back, full.waiting), (n, MAX_ORDERS));
                        }
                    },
                    Step::Next => {
                        let expected = orders.pop_front().map(Next::Order)
                            .or_else(|| messages.pop_front().map(Next::Message));
                        prop_assert_eq!(queue.next(), expected);
                    }
                }
                prop_assert!(queue.messages() <= bound);
                prop_assert!(orders.len() <= MAX_ORDERS);
            }
        }
    }
}
