//! What ends the work of a driver before it is done: the deadline of a turn, a command that stops or kills the
//! session, and a message that interrupts.

use std::pin::Pin;

use tokio::sync::watch;

use super::{Driver, WakeError};
use crate::session::inbox::Interrupt;
use crate::session::registry::Registry;
use crate::turn::execution::Cancellation;
use dormouse_domain::id::SessionId;
use dormouse_domain::time::Timestamp;

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The signals that may end one piece of work.
pub(super) struct CancelSignals<'a> {
    interrupt: watch::Receiver<Interrupt>,
    /// The signals that end a turn. `None`: the work is a command, which is carried out once it has its instance.
    turn: Option<TurnSignals<'a>>,
}

struct TurnSignals<'a> {
    registry: &'a Registry,
    id: SessionId,
    time_up: Timer,
    /// The turn may finish until then.
    grace: Option<Timer>,
}

impl<'a> Driver<'a> {
    /// The signals that may end a turn that has this deadline.
    pub(super) fn turn_signals(&self, deadline: Timestamp) -> CancelSignals<'a> {
        let time_up: Timer = Box::pin(self.services.clock.sleep_until(deadline));
        let turn = TurnSignals { registry: self.registry, id: self.id, time_up, grace: None };
        CancelSignals { interrupt: self.interrupt.clone(), turn: Some(turn) }
    }

    /// The signals that may end the wait of a command for its instance.
    pub(super) fn command_signals(&self) -> CancelSignals<'a> {
        CancelSignals { interrupt: self.interrupt.clone(), turn: None }
    }
}

impl CancelSignals<'_> {
    /// Whether the work is a turn.
    pub(super) fn is_of_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// Wait until the turn has to end: its time is up, or somebody ends it, at once or with a grace period
    /// that is over. A command never has to.
    pub(super) async fn next(&mut self) -> Cancellation {
        let CancelSignals { interrupt, turn: Some(turn) } = self else {
            return std::future::pending().await;
        };
        loop {
            let TurnSignals { registry, id, time_up, grace } = &mut *turn;
            let stopped = async {
                match grace {
                    Some(timer) => timer.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Ok(()) = interrupt.changed() => match *interrupt.borrow_and_update() {
                    Interrupt::None => {}
                    Interrupt::Replace => return Cancellation::Interrupted,
                    Interrupt::Finish => {
                        let services = registry.services();
                        let until = services.clock.now().after(services.options.stop_grace);
                        // Until the turn is over.
                        let _ = registry.note_waiting(*id, until);
                        turn.grace = Some(Box::pin(services.clock.sleep_until(until)));
                    }
                    Interrupt::Kill => return Cancellation::Killed,
                },
                () = time_up => return Cancellation::TimedOut,
                () = stopped => return Cancellation::Killed,
            }
        }
    }

    /// Wait until a driver that waits for memory or a permit has to give up. A stop ends that wait at
    /// once, because nothing has begun that could finish. Answers with what the wait comes to.
    pub(super) async fn end_of_waiting(&mut self) -> WakeError {
        // A message ends the wait of another message alone.
        let (time_up, least) = match &mut self.turn {
            Some(turn) => (Some(&mut turn.time_up), Interrupt::Replace),
            None => (None, Interrupt::Finish),
        };
        let time_up = async {
            match time_up {
                Some(time_up) => time_up.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            decided = self.interrupt.wait_for(|now| *now >= least) => {
                let is_replaced = decided.is_ok_and(|decided| *decided == Interrupt::Replace);
                WakeError::Cancelled(match is_replaced {
                    true => Cancellation::Interrupted,
                    false => Cancellation::Killed,
                })
            }
            () = time_up => WakeError::OutOfMemory,
        }
    }

    /// Do this work, unless the turn has to end before it is done.
    pub(super) async fn bound<T>(&mut self, work: impl Future<Output = T>) -> Result<T, WakeError> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            cut = self.next() => Err(WakeError::Cancelled(cut)),
        }
    }
}
