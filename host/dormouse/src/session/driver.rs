//! The driver of a session: the one task that changes it.
//!
//! It takes what waits, one after the other: a command changes the record, a message becomes a turn.
//! Each change is committed before memory follows and before anybody is told. When a commit does not
//! succeed, everything in memory is dropped, and the next work starts from what the store has.

mod commands;
mod cuts;
mod history;
mod turns;
mod upgrade;
mod waking;

use std::sync::Arc;

use tokio::sync::watch;

use crate::catalog::CodeError;
use crate::turn::execution::Cut;
use dormouse_base::line::Ticket;
use dormouse_domain::event::Event;
use dormouse_domain::time::Timestamp;
use dormouse_sandbox::{Fault, Refusal};
use dormouse_store::StoreError;

use super::inbox::{Interrupt, Next};
use super::registry::Registry;
use super::request::Unavailable;
use super::residents::{Guest, Resident, Seat};
use super::services::Services;
use dormouse_domain::id::SessionId;
use dormouse_domain::session::{Residency, Session};
use dormouse_domain::snapshot::Snapshot;

/// Work for this session until there is none.
pub(super) async fn drive(
    registry: &Arc<Registry>,
    id: SessionId,
    resident: Option<Box<Resident>>,
    interrupt: watch::Receiver<Interrupt>,
) {
    let mut driver = Driver::new(registry, id, resident, interrupt);
    while let Some(work) = registry.next(id, || driver.leave()) {
        match work {
            Next::Command(command, reply) => {
                let done = driver.command(command).await;
                driver.let_go();
                // The sender of the command may have gone; the command is carried out all the same.
                let _ = reply.send(done);
            }
            Next::Message(message) => {
                driver.message(message).await;
                driver.let_go();
            }
        }
    }
}

/// Save an idle instance whose state no snapshot holds, and drop it: the host is shutting down.
/// Answers whether it was saved.
pub(super) async fn save_and_leave(registry: Arc<Registry>, resident: Resident) -> bool {
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
    /// The record as it was last committed. `None`: not read yet, or not to be trusted.
    session: Option<Arc<Session>>,
    /// The head, where it was read with the record and not yet put into an instance.
    head: Option<Snapshot>,
    /// Why the head could not be read.
    damage: Option<Arc<str>>,
    /// Leave to hold a head, and to make an instance of it.
    making: Option<Seat>,
    guest: Option<Guest>,
    /// Whether somebody ends what it does.
    interrupt: watch::Receiver<Interrupt>,
    /// Its place in the line for memory or a place: the instances that an upgrade makes one after the other
    /// have the same. A wake gives it up.
    ticket: Option<Ticket>,
    /// Bytes that the instance of the next wake holds from its start, because the one before it found no
    /// memory for as many.
    reserve: Reserve,
    /// When the instance was last of use.
    used_at: Timestamp,
    /// The instance was made since the last commit, and no event tells of it yet.
    woken: bool,
    /// The state could not be saved out of turn, and no turn has come since.
    stuck: bool,
    /// How often the next turn has been begun without a record of it.
    attempts: u32,
}

/// Memory that the next instance holds from its start, in bytes.
#[derive(Clone, Copy, Default)]
struct Reserve {
    /// What it should hold.
    wanted: u64,
    /// What will do where there is no other instance that could give anything back. At most as much.
    least: u64,
}

/// Why a session could not be loaded or woken.
enum WakeError {
    NotFound,
    /// There was no memory or no place in all the time that one may wait, or that the turn has.
    OutOfMemory,
    ShuttingDown,
    /// The turn has to end, or the session was stopped, killed or deleted while it stood in line.
    Cut(Cut),
    /// The saved state could not be put back: a fault of the guest.
    Guest(Fault),
    /// The head is damaged. Says how.
    Damaged(String),
    /// This host does not read the head. Says why.
    Unusable(String),
    Host(String),
    Store(StoreError),
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
        let mut driver = Driver {
            services,
            registry,
            id,
            session: None,
            head: None,
            damage: None,
            making: None,
            guest: None,
            interrupt,
            ticket: None,
            reserve: Reserve::default(),
            used_at: services.clock.now(),
            woken: false,
            stuck: false,
            attempts: 0,
        };
        if let Some(resident) = resident {
            let Resident { session, guest, used_at, woken, stuck } = *resident;
            (driver.session, driver.guest) = (Some(session), Some(guest));
            (driver.used_at, driver.woken, driver.stuck) = (used_at, woken, stuck);
        }
        driver
    }
}

impl Driver<'_> {
    /// What is left in memory when there is no more work.
    fn leave(&mut self) -> Option<Box<Resident>> {
        let mut guest = self.guest.take()?;
        let session = self.session.take()?;
        guest.instance.rest();
        let Driver { used_at, woken, stuck, .. } = *self;
        Some(Box::new(Resident { session, guest, used_at, woken, stuck }))
    }

    /// Forget everything: the store knows better.
    fn forget(&mut self) {
        self.session = None;
        self.let_go();
        self.drop_guest();
    }

    /// Hold no state that is not in an instance, and nothing that the next instance would be made with.
    fn let_go(&mut self) {
        (self.head, self.damage) = (None, None);
        self.making = None;
        (self.ticket, self.reserve) = (None, Reserve::default());
    }

    /// Drop the instance that could not be woken; but not one that goes on resting, because there was
    /// no memory to call it.
    fn give_up_guest(&mut self, error: &WakeError) {
        match error {
            WakeError::OutOfMemory | WakeError::ShuttingDown => {}
            WakeError::NotFound
            | WakeError::Cut(_)
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
            WakeError::Cut(_) => Err(NotWoken::Ended),
            WakeError::Guest(fault) => Err(NotWoken::Failed(fault.to_string())),
            WakeError::Damaged(why) => Err(NotWoken::Failed(why)),
        }
    }

    fn drop_guest(&mut self) {
        if self.guest.take().is_some() {
            self.registry.note_residency(self.id, Residency::Asleep);
        }
    }

    /// Events that wait for the next commit.
    async fn pending_events(&mut self) -> Vec<Event> {
        match &self.session {
            Some(session) if std::mem::take(&mut self.woken) => {
                self.services.slept.woken_events(session, self.services.clock.now()).await
            }
            Some(_) | None => Vec::new(),
        }
    }
}
