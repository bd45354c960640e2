//! What ends the work of a driver before it is done: the deadline of a turn, a command that stops or kills the
//! session, and a message that interrupts.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;

use super::{Driver, WakeError};
use crate::gate::time::EffectTime;
use crate::session::inbox::Interrupt;
use crate::session::registry::Registry;
use crate::turn::execution::Cancellation;
use dormouse_domain::deadline;
use dormouse_domain::id::SessionId;
use dormouse_domain::session::Session;
use dormouse_domain::time::Timestamp;

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The signals that may end one piece of work.
pub(super) struct CancelSignals<'a> {
    interrupt: watch::Receiver<Interrupt>,
    /// The signals that end a turn. `None`: the work is a command, which is carried out once it has its instance.
    turn: Option<TurnSignals<'a>>,
}

struct TurnSignals<'a> {
    own: OwnTime<'a>,
    /// The end of the session's life, which nothing puts off, and how long that may last.
    end_of_life: Timer,
    lifetime: Duration,
    /// The turn may finish until then.
    grace: Option<Timer>,
}

/// The time that a turn may take: what it spends in calls is not its own.
struct OwnTime<'a> {
    registry: &'a Registry,
    id: SessionId,
    /// When the turn must be over, but for its calls.
    deadline: Timestamp,
    effects: EffectTime,
    timer: Timer,
    has_rung: bool,
}

impl<'a> Driver<'a> {
    /// The signals that may end a turn of this session that has this deadline, but for the time that it spends in
    /// calls.
    pub(super) fn turn_signals(
        &self,
        session: &Session,
        deadline: Timestamp,
        effects: EffectTime,
    ) -> CancelSignals<'a> {
        let clock = &self.services.clock;
        let timer: Timer = Box::pin(clock.sleep_until(deadline));
        let end = deadline::end_of_life(session);
        let (end, lifetime) = end.unwrap_or((Timestamp::NEVER, Duration::ZERO));
        let end_of_life: Timer = Box::pin(clock.sleep_until(end));
        let (registry, id, has_rung) = (&**self.registry, self.id, false);
        let own = OwnTime { registry, id, deadline, effects, timer, has_rung };
        let turn = TurnSignals { own, end_of_life, lifetime, grace: None };
        CancelSignals { interrupt: self.interrupt.clone(), turn: Some(turn) }
    }

    /// The signals that may end the wait of a command for its instance.
    pub(super) fn command_signals(&self) -> CancelSignals<'a> {
        CancelSignals { interrupt: self.interrupt.clone(), turn: None }
    }
}

impl OwnTime<'_> {
    /// Wait until it is up. Who stops waiting may wait again.
    async fn up(&mut self) {
        let clock = &self.registry.services().clock;
        loop {
            if !self.has_rung {
                self.timer.as_mut().await;
                self.has_rung = true;
            }
            if self.effects.is_in_call() {
                // Nothing that the clock says ends this wait.
                self.registry.note_patient(self.id, Timestamp::NEVER);
                self.effects.over().await;
            }
            let until = self.deadline.after(self.effects.total());
            if until <= clock.now() {
                return;
            }
            self.registry.note_patient(self.id, until);
            self.timer = Box::pin(clock.sleep_until(until));
            self.has_rung = false;
        }
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
            let TurnSignals { own, end_of_life, lifetime, grace } = &mut *turn;
            let (registry, id) = (own.registry, own.id);
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
                        let _ = registry.note_waiting(id, until);
                        *grace = Some(Box::pin(services.clock.sleep_until(until)));
                    }
                    Interrupt::Kill => return Cancellation::Killed,
                    Interrupt::Leave => return Cancellation::Left,
                },
                () = end_of_life => return Cancellation::Outlived(*lifetime),
                () = own.up() => return Cancellation::TimedOut,
                () = stopped => return Cancellation::Killed,
            }
        }
    }

    /// Wait until a driver that waits for memory or a permit has to give up. A stop ends that wait at
    /// once, because nothing has begun that could finish. Answers with what the wait comes to.
    pub(super) async fn end_of_waiting(&mut self) -> WakeError {
        // A message ends the wait of another message alone.
        let (time_up, least) = match &mut self.turn {
            Some(turn) => (Some(&mut turn.own), Interrupt::Replace),
            None => (None, Interrupt::Finish),
        };
        let time_up = async {
            match time_up {
                Some(time_up) => time_up.up().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            decided = self.interrupt.wait_for(|now| *now >= least) => {
                let decided = decided.map_or(Interrupt::Kill, |decided| *decided);
                WakeError::Cancelled(match decided {
                    Interrupt::Replace => Cancellation::Interrupted,
                    Interrupt::Leave => Cancellation::Left,
                    Interrupt::None | Interrupt::Finish | Interrupt::Kill => Cancellation::Killed,
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
