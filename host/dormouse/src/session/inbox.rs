//! What waits for a session, and what each arrival does to the turn that is in progress.
//!
//! | what comes | while a turn is in progress |
//! | --- | --- |
//! | a message | waits behind the messages before it; or is denied, or ends the turn and is the next |
//! | a mail | waits behind the messages and mails before it |
//! | a message with the key of one that waits or is being answered | follows that one |
//! | stop | the turn may finish within the grace period |
//! | terminate, kill, delete, a patch that terminates | the turn ends now |
//! | rewind, resume, upgrade | is denied: the turn would end on another state |
//! | a change of files | waits for the end of the turn, or is denied |
//! | the group of the session is to go back or to be forked | is denied |
//! | the group of the session is to be removed | the turn ends now |
//! | pause, sleep, wake, save, any other patch, what is due | waits for the end of the turn |
//!
//! A message with an idempotency key is told from others by that key, and by the digest of its request: another
//! request with the same key is denied. What was answered before, the inbox does not know: the driver reads it
//! in the store before it begins a turn.
//!
//! What is due waits once: however often the timekeeper looks, it takes one place.
//!
//! Between two turns everything is accepted that there is room for. Commands are taken before messages.
//! The interrupt of a command lasts until the driver takes work that does not interrupt and no command is
//! left: so a stop ends no turn of a message that comes after the stop. That of the end of the host lasts.
//!
//! Pure: the inbox knows no task, no lock and no channel. What only the record of the session knows is for
//! the driver.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::request::Command;
use dormouse_domain::agent::Digest;
use dormouse_domain::message::OnBusy;
use dormouse_domain::patch::StatusChange;
use dormouse_domain::state::Move;
use dormouse_domain::turn::IdempotencyKey;

/// The most commands that wait for one session. Commands are carried out in microseconds once the running
/// turn is over; a client that has more than this waiting is out of control.
pub(crate) const MAX_COMMANDS: usize = 64;

/// The fate of the turn that is in progress. A later variant is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Interrupt {
    /// The turn goes on.
    None,
    /// The turn ends now, and the session goes on with a message that came later.
    Replace,
    /// The turn may finish within the grace period.
    Finish,
    /// The turn ends now.
    Kill,
    /// The host ends now. A turn that has a journal is left to it; any other ends.
    Leave,
}

/// A message or a command waits, and will be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Whether a turn is in progress: what was accepted waits for its end.
    pub(crate) turn_in_progress: bool,
}

/// The idempotency key of a message, and the turn `T` that those follow who send the message again.
#[derive(Debug)]
pub(crate) struct MessageKey<T> {
    pub(crate) key: IdempotencyKey,
    /// The digest of the request.
    pub(crate) request: Digest,
    pub(crate) turn: T,
}

/// What the inbox has to know of a message.
#[derive(Debug)]
pub(crate) struct Terms<T> {
    pub(crate) key: Option<Arc<MessageKey<T>>>,
    pub(crate) on_busy: OnBusy,
}

/// What becomes of a message.
#[derive(Debug)]
pub(crate) enum Sent<T> {
    /// It waits.
    Queued,
    /// A message with this key waits or is being answered: this one was not added, and its sender follows that.
    Attached(Arc<MessageKey<T>>),
}

/// Why a message does not wait; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageDenied {
    /// Too many messages wait.
    QueueFull(QueueFull),
    /// The session is busy, and the message is not to wait. Has the number of the turn that runs.
    Busy(Option<u64>),
    /// Another request came with the same key, and waits or is being answered.
    KeyReused,
    /// The message would end the turn in progress, and its user has sent as many as it may for so long.
    RateLimited(Duration),
}

/// There is no room for one more; nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueFull {
    /// How many are waiting.
    pub(crate) waiting: usize,
}

/// Why a command does not wait; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandDenied {
    /// Too many commands wait.
    QueueFull(QueueFull),
    /// A turn is in progress, and it would end on another state.
    TurnInProgress,
}

/// The next work of the driver.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NextWork<M, R> {
    /// Carry out this command, and answer it here.
    Command(Command, R),
    /// Answer this message with a turn.
    Message(M),
    /// Look for the mail that has waited the longest, and answer it where it may [begin](Inbox::begin_mail).
    Mail,
    /// Run the turn again that the end of a host has cut off.
    OpenTurn,
}

/// How far the driver is with what is a turn, or may become one.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// The driver looks whether there is a mail, and whether the session takes it now: no turn yet.
    Sought {
        /// How many messages have come meanwhile that go before it.
        overtaken_by: usize,
    },
    /// The driver has taken its message and has not begun to call the agent.
    Taken,
    /// The agent is being called, or waits for memory to be called.
    Running(u64),
}

/// A turn that is to be run again.
#[derive(Debug)]
struct OpenTurn<T> {
    /// The key of its message.
    key: Option<Arc<MessageKey<T>>>,
}

/// What is to become a turn.
#[derive(Debug)]
enum Waiting<M, T> {
    /// A message, with its key.
    Message(M, Option<Arc<MessageKey<T>>>),
    /// A mail, which lies in the store.
    Mail,
}

/// Messages, and commands with the channel `R` of their answer, that wait for one session.
#[derive(Debug)]
pub(crate) struct Inbox<M, T, R> {
    /// In the order in which they came.
    turns: VecDeque<Waiting<M, T>>,
    /// How many of them are mails.
    mails: usize,
    commands: VecDeque<(Command, R)>,
    max_messages: usize,
    running: Option<Turn>,
    /// A turn is to be run again, before anything else.
    open_turn: Option<OpenTurn<T>>,
    /// The key of the message whose turn is in progress.
    running_key: Option<Arc<MessageKey<T>>>,
    interrupt: Interrupt,
}

impl<M, T, R> Inbox<M, T, R> {
    /// An empty inbox that takes this many messages.
    pub(crate) fn new(max_messages: usize) -> Inbox<M, T, R> {
        Inbox {
            turns: VecDeque::new(),
            mails: 0,
            commands: VecDeque::new(),
            max_messages,
            running: None,
            open_turn: None,
            running_key: None,
            interrupt: Interrupt::None,
        }
    }

    /// A turn of the session is open that nobody runs: it is run again before anything else is done. A message with
    /// its key follows it.
    pub(crate) fn reopen_turn(&mut self, key: Option<Arc<MessageKey<T>>>) {
        self.open_turn = Some(OpenTurn { key });
    }

    /// Add a message: behind all others, or before them where it interrupts. One whose key is known follows
    /// the message that came with the key first.
    pub(crate) fn try_send(
        &mut self,
        message: M,
        terms: Terms<T>,
    ) -> Result<Sent<T>, MessageDenied> {
        let Terms { key, on_busy } = terms;
        if let Some(first) = key.as_ref().and_then(|key| self.same_key(&key.key)) {
            let is_same = key.is_some_and(|key| key.request == first.request);
            return if is_same { Ok(Sent::Attached(first)) } else { Err(MessageDenied::KeyReused) };
        }
        let waiting = self.messages();
        let is_busy = self.running.is_some() || !self.turns.is_empty();
        if is_busy && on_busy == OnBusy::Reject {
            return Err(MessageDenied::Busy(self.running_turn()));
        }
        if waiting >= self.max_messages {
            return Err(MessageDenied::QueueFull(QueueFull { waiting }));
        }
        match on_busy {
            OnBusy::Queue | OnBusy::Reject => self.turns.push_back(Waiting::Message(message, key)),
            OnBusy::Interrupt => {
                if self.in_turn() {
                    self.interrupt = self.interrupt.max(Interrupt::Replace);
                }
                self.push_front(Waiting::Message(message, key));
            }
        }
        Ok(Sent::Queued)
    }

    /// Add a message that the session sends itself, before all others. There is always room: the session sends one
    /// at a time.
    pub(crate) fn send_self(&mut self, message: M) {
        self.push_front(Waiting::Message(message, None));
    }

    fn push_front(&mut self, first: Waiting<M, T>) {
        if let Some(Turn::Sought { overtaken_by }) = &mut self.running {
            *overtaken_by += 1;
        }
        self.turns.push_front(first);
    }

    /// So many mails wait for the session in the store: those that are not known here wait behind all others. One that
    /// is being answered may be counted again; whoever takes it finds that it is gone.
    pub(crate) fn mail_waits(&mut self, mails: usize) {
        while self.mails < mails {
            self.turns.push_back(Waiting::Mail);
            self.mails += 1;
        }
    }

    /// Whether a message would end the turn in progress.
    pub(crate) fn would_interrupt(&self, terms: &Terms<T>) -> bool {
        let is_known = terms.key.as_ref().is_some_and(|key| self.same_key(&key.key).is_some());
        let has_room = self.messages() < self.max_messages;
        terms.on_busy == OnBusy::Interrupt && self.in_turn() && has_room && !is_known
    }

    /// The message with this key that waits or is being answered.
    fn same_key(&self, key: &IdempotencyKey) -> Option<Arc<MessageKey<T>>> {
        let waiting = self.turns.iter().filter_map(|waiting| match waiting {
            Waiting::Message(_, key) => key.as_ref(),
            Waiting::Mail => None,
        });
        let open = self.open_turn.iter().filter_map(|open| open.key.as_ref());
        let mut known = self.running_key.iter().chain(open).chain(waiting);
        known.find(|known| known.key == *key).cloned()
    }

    /// Add a command behind all others. One that ends the session interrupts the turn at once. Where the driver
    /// waits to do what is due already, it is not told again, and the reply is dropped.
    pub(crate) fn try_command(
        &mut self,
        command: Command,
        reply: R,
    ) -> Result<Accepted, CommandDenied> {
        if self.in_turn() && !may_wait_for_a_turn(&command) {
            return Err(CommandDenied::TurnInProgress);
        }
        if command == Command::Due && self.commands.iter().any(|(it, _)| *it == Command::Due) {
            return Ok(self.accepted());
        }
        let waiting = self.commands.len();
        if waiting >= MAX_COMMANDS {
            return Err(CommandDenied::QueueFull(QueueFull { waiting }));
        }
        self.interrupt = self.interrupt.max(interrupt_of(&command));
        self.commands.push_back((command, reply));
        Ok(self.accepted())
    }

    /// Take what comes next. A message begins a turn, until [`Inbox::turn_over`]; a mail does with
    /// [`Inbox::begin_mail`].
    pub(crate) fn next(&mut self) -> Option<NextWork<M, R>> {
        self.turn_over();
        if let Some(OpenTurn { key }) = self.open_turn.take() {
            self.running_key = key;
            self.running = Some(Turn::Taken);
            return Some(NextWork::OpenTurn);
        }
        let next = match self.commands.pop_front() {
            Some((command, reply)) => NextWork::Command(command, reply),
            None => match self.turns.pop_front()? {
                Waiting::Message(message, key) => {
                    self.running_key = key;
                    NextWork::Message(message)
                }
                Waiting::Mail => {
                    self.mails -= 1;
                    NextWork::Mail
                }
            },
        };
        let interrupts = match &next {
            NextWork::Command(command, _) => interrupt_of(command) > Interrupt::None,
            NextWork::Mail => {
                self.running = Some(Turn::Sought { overtaken_by: 0 });
                false
            }
            NextWork::Message(_) | NextWork::OpenTurn => {
                self.running = Some(Turn::Taken);
                false
            }
        };
        if !interrupts && self.commands.is_empty() && self.interrupt < Interrupt::Leave {
            // No command is left that interrupts this work: only those that come from here on do. The end of the host
            // stays, whatever the driver did when it came.
            self.interrupt = Interrupt::None;
        }
        Some(next)
    }

    /// The mail that was taken is there, and may be answered: whether its turn begins. Where a command or a message
    /// has come meanwhile that goes before it, it does not, and the mail waits again.
    pub(crate) fn begin_mail(&mut self) -> bool {
        let overtaken_by = match self.running {
            Some(Turn::Sought { overtaken_by }) => overtaken_by,
            Some(Turn::Taken | Turn::Running(_)) | None => 0,
        };
        let begins = overtaken_by == 0 && self.commands.is_empty();
        if begins {
            self.running = Some(Turn::Taken);
        } else {
            self.turns.insert(overtaken_by, Waiting::Mail);
            self.mails += 1;
        }
        begins
    }

    /// The turn that was begun has this number, and its agent is called now.
    pub(crate) fn turn_runs(&mut self, number: u64) {
        self.running = Some(Turn::Running(number));
    }

    /// The turn that was begun is over.
    pub(crate) fn turn_over(&mut self) {
        self.running = None;
        self.running_key = None;
    }

    /// The host ends, and with it what is in progress, and all turns that would begin.
    pub(crate) fn leave(&mut self) {
        self.interrupt = Interrupt::Leave;
    }

    /// What happens to the turn that is in progress, by what has come until now.
    pub(crate) fn interrupt(&self) -> Interrupt {
        self.interrupt
    }

    /// The key of the message whose turn is in progress.
    pub(crate) fn running_key(&self) -> Option<&Arc<MessageKey<T>>> {
        self.running_key.as_ref()
    }

    /// The number of the turn that runs.
    pub(crate) fn running_turn(&self) -> Option<u64> {
        match self.running? {
            Turn::Running(number) => Some(number),
            Turn::Sought { .. } | Turn::Taken => None,
        }
    }

    /// How many messages wait.
    pub(crate) fn messages(&self) -> usize {
        self.turns.len() - self.mails
    }

    fn accepted(&self) -> Accepted {
        Accepted { turn_in_progress: self.in_turn() }
    }

    fn in_turn(&self) -> bool {
        matches!(self.running, Some(Turn::Taken | Turn::Running(_)))
    }
}

/// What a command does to the turn that is in progress when the command comes.
fn interrupt_of(command: &Command) -> Interrupt {
    match command {
        Command::Move(Move::Stop(_)) => Interrupt::Finish,
        Command::Move(Move::Terminate(_)) | Command::Delete => Interrupt::Kill,
        Command::Hold(hold) if hold.ends_turn => Interrupt::Kill,
        Command::Change(patch) if patch.status == Some(StatusChange::Terminated) => Interrupt::Kill,
        Command::Move(
            Move::Turn | Move::Rest | Move::Pause | Move::Resume | Move::Complete | Move::Fail(_),
        )
        | Command::Sleep(_)
        | Command::SleepAlone
        | Command::Wake
        | Command::Save
        | Command::Rewind(_)
        | Command::Resume(_)
        | Command::Upgrade(_)
        | Command::Change(_)
        | Command::ChangeFiles(_)
        | Command::Extend(_)
        | Command::Due
        | Command::Share
        | Command::Hold(_)
        | Command::RemoveUnused(_) => Interrupt::None,
    }
}

/// Whether a command makes sense after a turn of which its sender does not know the end.
fn may_wait_for_a_turn(command: &Command) -> bool {
    match command {
        Command::Rewind(_) | Command::Resume(_) | Command::Upgrade(_) => false,
        Command::Hold(hold) => hold.ends_turn,
        Command::ChangeFiles(change) => change.waits_for_turn(),
        Command::Move(_)
        | Command::Sleep(_)
        | Command::SleepAlone
        | Command::Wake
        | Command::Save
        | Command::Change(_)
        | Command::Extend(_)
        | Command::Due
        | Command::Share
        | Command::RemoveUnused(_)
        | Command::Delete => true,
    }
}

#[cfg(test)]
mod tests;
