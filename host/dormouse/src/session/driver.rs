//! The driver of a session: the one task that changes it.
//!
//! It takes what waits, one after the other: a command changes the record, a message becomes a turn.
//! Each change is committed before memory follows and before anybody is told. When a commit does not
//! succeed, everything in memory is dropped, and the next work starts from what the store has.

mod attempts;
mod cancel;
mod changes;
mod commands;
mod conclusion;
mod files;
mod group;
mod history;
mod mail;
mod memory;
mod open_turns;
mod spending;
mod turns;
mod upgrade;
mod waking;

use std::sync::Arc;

use tokio::sync::watch;
use tracing::Instrument;

use crate::catalog::CodeError;
use crate::turn::execution::Cancellation;
use dormouse_domain::event::Event;
use dormouse_sandbox::{Fault, Refusal};
use dormouse_store::StoreError;

use self::memory::{SessionMemory, WakePreparation};
use super::inbox::{Interrupt, NextWork};
use super::registry::Registry;
use super::request::{Command, CommandReply, Unavailable};
use super::residents::{GuestInstance, Resident};
use super::services::Services;
use dormouse_domain::id::SessionId;
use dormouse_domain::session::Residency;

/// Work for this session until there is none.
pub(super) async fn drive(
    registry: &Arc<Registry>,
    id: SessionId,
    resident: Option<Box<Resident>>,
    interrupt: watch::Receiver<Interrupt>,
) {
    let mut driver = Driver::new(registry, id, resident, interrupt);
    while let Some(work) = registry.next(id, || driver.park()) {
        match work {
            NextWork::Command(command, CommandReply { answer, request }) => {
                // Of this level, so that each line that is logged at all has its session and its request.
                let span = tracing::error_span!(parent: &request, "command", session = %id);
                let held = match &command {
                    Command::Hold(hold) => Some(hold.clone()),
                    _ => None,
                };
                let done = driver.command(command).instrument(span).await;
                driver.release_head();
                // The session may take its mail now, or never any more.
                registry.post_mail(id);
                driver.tell_members();
                // The sender of the command may have gone; the command is carried out all the same.
                let _ = answer.send(done);
                if let Some(hold) = held {
                    hold.released().await;
                }
            }
            NextWork::Message(message) => {
                driver.message(message).await;
                driver.release_head();
            }
            NextWork::Mail => {
                driver.mail().await;
                driver.release_head();
            }
            NextWork::OpenTurn => {
                // It is told, and tried again later.
                let _ = driver.open_turn(registry.running_key(id)).await;
                driver.release_head();
            }
        }
    }
}

/// Save an idle instance whose state no snapshot holds, and drop it: the host is shutting down.
/// Answers whether it was saved.
pub(super) async fn save_and_drop(registry: Arc<Registry>, resident: Resident) -> bool {
    let (_running, interrupt) = watch::channel(Interrupt::None);
    let id = resident.session.id;
    let mut driver = Driver::new(&registry, id, Some(Box::new(resident)), interrupt);
    driver.save_now().await.is_ok()
}

struct Driver<'a> {
    services: &'a Services,
    /// Where its session has its entry, which shows others what it does.
    registry: &'a Arc<Registry>,
    id: SessionId,
    memory: SessionMemory,
    preparation: WakePreparation,
    /// Whether somebody ends what it does.
    interrupt: watch::Receiver<Interrupt>,
    /// How often the next turn has been begun without a record of it.
    attempts: u32,
}

/// Why a session could not be loaded or woken.
enum WakeError {
    NotFound,
    /// There was no memory or no permit in all the time that a driver may wait, or that the turn has.
    OutOfMemory,
    ShuttingDown,
    /// The turn has to end, or the session was stopped, killed or deleted while its driver waited.
    Cancelled(Cancellation),
    /// The saved state could not be put back: a fault of the guest.
    Guest(Fault),
    /// The head is damaged. Says how.
    Damaged(String),
    /// This host does not read the head. Says why.
    Unusable(String),
    Host(String),
    Store(StoreError),
}

impl WakeError {
    /// The word for it in the metrics. `lacks_memory`: what the fair queue waits for, if it does, is memory.
    fn reason(&self, lacks_memory: bool) -> &'static str {
        match self {
            WakeError::NotFound => "not_found",
            WakeError::OutOfMemory if lacks_memory => "no_memory",
            WakeError::OutOfMemory => "no_place",
            WakeError::ShuttingDown => "shutting_down",
            WakeError::Cancelled(Cancellation::TimedOut) => "turn_timeout",
            WakeError::Cancelled(
                Cancellation::Killed | Cancellation::Outlived(_) | Cancellation::Left,
            ) => "killed",
            WakeError::Cancelled(Cancellation::Interrupted) => "interrupted",
            WakeError::Guest(_) => "agent_failed",
            WakeError::Damaged(_) => "snapshot_corrupt",
            WakeError::Unusable(_) => "snapshot_unusable",
            WakeError::Host(_) => "host",
            WakeError::Store(_) => "store",
        }
    }
}

/// Why there is no instance, where that is not the host's doing.
enum NotWoken {
    /// The session was ended meanwhile.
    Ended,
    /// Its state could not be put back. Says why.
    Failed(String),
}

impl From<StoreError> for WakeError {
    fn from(error: StoreError) -> WakeError {
        WakeError::Store(error)
    }
}

impl From<CodeError> for WakeError {
    fn from(error: CodeError) -> WakeError {
        match error {
            CodeError::Store(error) => WakeError::Store(error),
            CodeError::Refused(Refusal::Busy | Refusal::QueueFull { .. }) => WakeError::OutOfMemory,
            CodeError::Refused(Refusal::ShuttingDown) => WakeError::ShuttingDown,
            CodeError::Missing(_) | CodeError::Refused(_) => WakeError::Host(error.to_string()),
        }
    }
}

impl<'a> Driver<'a> {
    fn new(
        registry: &'a Arc<Registry>,
        id: SessionId,
        resident: Option<Box<Resident>>,
        interrupt: watch::Receiver<Interrupt>,
    ) -> Driver<'a> {
        let services = registry.services();
        let memory = resident.map_or(SessionMemory::Unknown, SessionMemory::Resident);
        let preparation = WakePreparation::default();
        Driver { services, registry, id, memory, preparation, interrupt, attempts: 0 }
    }
}

impl Driver<'_> {
    /// The instance to park when there is no more work.
    fn park(&mut self) -> Option<Box<Resident>> {
        let mut resident = self.memory.take_resident()?;
        resident.guest.instance.rest();
        Some(resident)
    }

    /// Forget everything: the store knows better.
    fn forget(&mut self) {
        self.release_head();
        self.drop_guest();
        self.memory = SessionMemory::Unknown;
    }

    /// Hold no state that is not in an instance, and nothing that the next instance would be made with.
    fn release_head(&mut self) {
        self.preparation = WakePreparation::default();
    }

    /// Drop the instance that could not be woken; but not one that goes on resting, because there was
    /// no memory to call it.
    fn give_up_guest(&mut self, error: &WakeError) {
        match error {
            WakeError::OutOfMemory | WakeError::ShuttingDown => {}
            WakeError::NotFound
            | WakeError::Cancelled(_)
            | WakeError::Guest(_)
            | WakeError::Damaged(_)
            | WakeError::Unusable(_)
            | WakeError::Host(_)
            | WakeError::Store(_) => self.drop_guest(),
        }
    }

    /// Give up the instance that could not be woken, and say what the sender of a message or of a command
    /// is told of it. An error: what each of the two is told in its own way.
    fn unavailable(&mut self, error: WakeError) -> Result<Unavailable, NotWoken> {
        self.give_up_guest(&error);
        match error {
            WakeError::NotFound => Ok(Unavailable::NotFound(self.id)),
            WakeError::OutOfMemory => Ok(Unavailable::OutOfMemory),
            WakeError::ShuttingDown => Ok(Unavailable::ShuttingDown),
            WakeError::Unusable(why) => Ok(Unavailable::Unusable(why)),
            WakeError::Host(error) => Ok(Unavailable::Host(error)),
            WakeError::Store(error) => Ok(Unavailable::Store(error)),
            WakeError::Cancelled(_) => Err(NotWoken::Ended),
            WakeError::Guest(fault) => Err(NotWoken::Failed(fault.to_string())),
            WakeError::Damaged(why) => Err(NotWoken::Failed(why)),
        }
    }

    fn drop_guest(&mut self) {
        if self.memory.take_resident().is_some() {
            self.registry.note_residency(self.id, Residency::Asleep);
        }
    }

    /// Events that wait for the next commit.
    async fn pending_events(&mut self) -> Vec<Event> {
        let woken = self.memory.take_woken();
        match self.memory.session() {
            Some(session) if woken => {
                self.services.slept.woken_events(session, self.services.clock.now()).await
            }
            Some(_) | None => Vec::new(),
        }
    }
}
