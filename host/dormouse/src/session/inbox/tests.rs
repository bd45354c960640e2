//! The inbox against a model of it, and its rules one by one.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use dormouse_domain::agent::{AgentOwner, AgentRef, Digest};
use dormouse_domain::event::SleepCause;
use dormouse_domain::id::{Principal, SnapshotId};
use dormouse_domain::patch::SessionPatch;
use dormouse_domain::state::Cause;
use dormouse_domain::time::Timestamp;

/// A command, what it does to a turn in progress, and whether it waits for the end of one.
type Meaning = (fn() -> Command, Interrupt, bool);

/// What the commands mean, written down a second time.
const COMMANDS: &[Meaning] = &[
    (|| Command::Move(Move::Pause), Interrupt::None, true),
    (|| Command::Move(Move::Stop(Cause::Stopped.into())), Interrupt::Finish, true),
    (|| Command::Move(Move::Terminate(Cause::ForceKilled.into())), Interrupt::Kill, true),
    (|| Command::Delete, Interrupt::Kill, true),
    (|| Command::Sleep(SleepCause::Asked), Interrupt::None, true),
    (|| Command::SleepAlone, Interrupt::None, true),
    (|| Command::Wake, Interrupt::None, true),
    (|| Command::Save, Interrupt::None, true),
    (|| Command::Due, Interrupt::None, true),
    (|| Command::Change(Box::default()), Interrupt::None, true),
    (|| Command::Change(Box::new(terminating())), Interrupt::Kill, true),
    (|| Command::Extend(None), Interrupt::None, true),
    (|| Command::RemoveUnused(Timestamp(0)), Interrupt::None, true),
    (|| Command::Rewind(SnapshotId(Uuid::nil())), Interrupt::None, false),
    (|| Command::Resume(None), Interrupt::None, false),
    (|| Command::Upgrade(agent()), Interrupt::None, false),
];

fn terminating() -> SessionPatch {
    SessionPatch { status: Some(StatusChange::Terminated), ..SessionPatch::default() }
}

fn agent() -> AgentRef {
    AgentRef {
        owner: AgentOwner::Host,
        name: "counter".parse().expect("a name"),
        version: "1.0".parse().expect("a version"),
        digest: Digest::of(b"counter"),
    }
}

/// A message as its sender gives it: what becomes of it where the session is busy, and its key with the number
/// of its request.
type Given = (OnBusy, Option<(u8, u8)>);

fn terms((on_busy, key): Given, turn: usize) -> Terms<usize> {
    let key = key.map(|(key, request)| {
        let key = IdempotencyKey { owner: Principal::local(), key: key.to_string() };
        Arc::new(MessageKey { key, request: Digest::of(&[request]), turn })
    });
    Terms { key, on_busy }
}

/// A message without a key, which waits.
fn plain() -> Terms<()> {
    Terms { key: None, on_busy: OnBusy::Queue }
}

#[derive(Clone, Debug)]
enum Step {
    Message(Given),
    /// One of [`COMMANDS`].
    Command(usize),
    /// So many mails wait in the store.
    Mail(usize),
    Next,
    /// The mail that was taken is there.
    MailFound,
    /// The turn that was begun calls its agent.
    Runs,
    Over,
    Leave,
}

fn given() -> impl Strategy<Value = Given> {
    let on_busy = proptest::sample::select(OnBusy::ALL.as_slice());
    (on_busy, proptest::option::of((0..3_u8, 0..2_u8)))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => given().prop_map(Step::Message),
        4 => (0..COMMANDS.len()).prop_map(Step::Command),
        2 => (0..4_usize).prop_map(Step::Mail),
        5 => Just(Step::Next),
        2 => Just(Step::MailFound),
        2 => Just(Step::Runs),
        2 => Just(Step::Over),
        1 => Just(Step::Leave),
    ]
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 0..most)
}

/// A message, with its key.
type Named = (usize, Option<(u8, u8)>);

/// A driver that works on an inbox, and what it may expect of it.
struct Model {
    inbox: Inbox<usize, usize, usize>,
    bound: usize,
    /// Each with its key. `None`: a mail.
    turns: VecDeque<Option<Named>>,
    /// The message whose turn is in progress, with its key.
    answered: Option<Named>,
    /// Each with its place in [`COMMANDS`].
    commands: VecDeque<(usize, usize)>,
    in_turn: bool,
    /// A mail is looked for, and so many messages go before it.
    sought: Option<usize>,
    running: Option<u64>,
    has_left: bool,
}

impl Model {
    fn new(bound: usize) -> Model {
        let (turns, commands) = (VecDeque::new(), VecDeque::new());
        let inbox = Inbox::new(bound);
        let (answered, running, sought) = (None, None, None);
        let (in_turn, has_left) = (false, false);
        Model { inbox, bound, turns, answered, commands, in_turn, sought, running, has_left }
    }

    /// What is left of interrupts once work is taken that they are not about.
    fn lasting(&self) -> Interrupt {
        if self.has_left { Interrupt::Leave } else { Interrupt::None }
    }

    fn messages(&self) -> usize {
        self.turns.iter().flatten().count()
    }

    fn send(&mut self, name: usize, given: Given) -> Result<(), TestCaseError> {
        let (on_busy, key) = given;
        let before = self.inbox.interrupt();
        let sent = self.inbox.try_send(name, terms(given, name));
        let mut known = self.answered.iter().chain(self.turns.iter().flatten());
        let first = known.find_map(|(name, known)| {
            let (known, key) = ((*known)?, key?);
            (known.0 == key.0).then_some((*name, known == key))
        });
        match (first, sent) {
            (Some((first, true)), Ok(Sent::Attached(key))) => prop_assert_eq!(key.turn, first),
            (Some((_, false)), Err(MessageDenied::KeyReused)) => {}
            (None, Err(MessageDenied::Busy(turn))) => {
                prop_assert_eq!(on_busy, OnBusy::Reject);
                prop_assert!(self.in_turn || self.sought.is_some() || !self.turns.is_empty());
                prop_assert_eq!(turn, self.running);
            }
            (None, Err(MessageDenied::QueueFull(QueueFull { waiting }))) => {
                prop_assert_eq!((waiting, self.messages()), (self.bound, self.bound));
            }
            (None, Ok(Sent::Queued)) if on_busy == OnBusy::Interrupt => {
                self.turns.push_front(Some((name, key)));
                self.sought = self.sought.map(|before| before + 1);
                let least = if self.in_turn { Interrupt::Replace } else { Interrupt::None };
                prop_assert_eq!(self.inbox.interrupt(), before.max(least));
                return Ok(());
            }
            (None, Ok(Sent::Queued)) => self.turns.push_back(Some((name, key))),
            (first, sent) => prop_assert!(false, "{first:?}, {sent:?}"),
        }
        prop_assert_eq!(self.inbox.interrupt(), before, "it interrupts nothing");
        Ok(())
    }

    fn command(&mut self, name: usize, which: usize) -> Result<(), TestCaseError> {
        let (make, interrupt, may_wait) = COMMANDS[which];
        let before = self.inbox.interrupt();
        let answer = self.inbox.try_command(make(), name);
        let waits = self.commands.iter().any(|(_, which)| COMMANDS[*which].0() == Command::Due);
        if make() == Command::Due && waits {
            prop_assert_eq!(answer, Ok(Accepted { turn_in_progress: self.in_turn }));
        } else if self.in_turn && !may_wait {
            prop_assert_eq!(answer, Err(CommandDenied::TurnInProgress));
        } else if self.commands.len() >= MAX_COMMANDS {
            let full = QueueFull { waiting: MAX_COMMANDS };
            prop_assert_eq!(answer, Err(CommandDenied::QueueFull(full)));
        } else {
            prop_assert_eq!(answer, Ok(Accepted { turn_in_progress: self.in_turn }));
            self.commands.push_back((name, which));
            prop_assert_eq!(self.inbox.interrupt(), before.max(interrupt));
            return Ok(());
        }
        prop_assert_eq!(self.inbox.interrupt(), before, "what is denied interrupts nothing");
        Ok(())
    }

    fn next(&mut self) -> Result<(), TestCaseError> {
        let before = self.inbox.interrupt();
        let next = self.inbox.next();
        self.over();
        if let Some((name, which)) = self.commands.pop_front() {
            let (make, interrupt, _) = COMMANDS[which];
            prop_assert_eq!(next, Some(NextWork::Command(make(), name)));
            prop_assert!(self.inbox.interrupt() >= interrupt, "it is still asked for");
            if interrupt == Interrupt::None && self.commands.is_empty() {
                prop_assert_eq!(self.inbox.interrupt(), self.lasting(), "an old stop is over");
            }
        } else if let Some(turn) = self.turns.pop_front() {
            prop_assert_eq!(
                next,
                Some(turn.map_or(NextWork::Mail, |(name, _)| NextWork::Message(name)))
            );
            self.answered = turn;
            prop_assert_eq!(
                self.inbox.interrupt(),
                self.lasting(),
                "an old stop ends no new turn, and the end of the host each"
            );
            (self.in_turn, self.sought) = (turn.is_some(), turn.is_none().then_some(0));
        } else {
            prop_assert_eq!(next, None);
            prop_assert_eq!(self.inbox.interrupt(), before);
        }
        Ok(())
    }

    fn over(&mut self) {
        (self.in_turn, self.sought, self.running, self.answered) = (false, None, None, None);
    }

    fn step(&mut self, number: usize, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Message(given) => self.send(number, given)?,
            Step::Command(which) => self.command(number, which)?,
            Step::Mail(waiting) => {
                let known = self.turns.iter().filter(|turn| turn.is_none()).count();
                self.turns.extend((known..waiting).map(|_| None));
                self.inbox.mail_waits(waiting);
            }
            Step::Next => self.next()?,
            Step::MailFound => {
                let Some(before) = self.sought.take() else { return Ok(()) };
                self.in_turn = before == 0 && self.commands.is_empty();
                if !self.in_turn {
                    self.turns.insert(before, None);
                }
                prop_assert_eq!(self.inbox.begin_mail(), self.in_turn);
                if !self.in_turn {
                    self.inbox.turn_over();
                }
            }
            Step::Runs if self.in_turn => {
                self.running = Some(number as u64);
                self.inbox.turn_runs(number as u64);
            }
            Step::Runs => {}
            Step::Over => {
                self.over();
                self.inbox.turn_over();
            }
            Step::Leave => {
                self.has_left = true;
                self.inbox.leave();
            }
        }
        // Whatever waits to end the session has interrupted what is in progress.
        let asked = self.commands.iter().map(|(_, which)| COMMANDS[*which].1).max();
        prop_assert!(self.inbox.interrupt() >= asked.unwrap_or(Interrupt::None));
        prop_assert_eq!(self.inbox.running_turn(), self.running);
        prop_assert_eq!(self.inbox.messages(), self.messages());
        Ok(())
    }
}

proptest! {
    #[test]
    fn what_is_accepted_comes_out_once_in_order_and_commands_come_first(
        bound in 0usize..8,
        steps in steps(400),
    ) {
        let mut model = Model::new(bound);
        for (number, step) in steps.into_iter().enumerate() {
            model.step(number, step)?;
        }
    }

    #[test]
    fn an_interrupt_grows_and_never_weakens_until_work_is_taken(steps in steps(100)) {
        let mut model = Model::new(4);
        for (number, step) in steps.into_iter().enumerate() {
            let before = model.inbox.interrupt();
            let takes = matches!(step, Step::Next);
            model.step(number, step)?;
            prop_assert!(takes || model.inbox.interrupt() >= before);
        }
    }

    #[test]
    fn what_must_not_wait_for_a_turn_is_denied_during_one_and_accepted_after_it(
        which in 0..COMMANDS.len(),
        runs: bool,
    ) {
        let (make, _, may_wait) = COMMANDS[which];
        let mut inbox: Inbox<(), (), ()> = Inbox::new(1);
        inbox.try_send((), plain()).expect("there is room");
        inbox.next();
        if runs {
            inbox.turn_runs(7);
        }
        prop_assert_eq!(inbox.try_command(make(), ()).is_ok(), may_wait);
        inbox.turn_over();
        prop_assert_eq!(inbox.try_command(make(), ()), Ok(Accepted { turn_in_progress: false }));
    }
}

#[test]
fn commands_that_wait_are_bounded() {
    let mut inbox: Inbox<(), (), usize> = Inbox::new(1);
    for n in 0..MAX_COMMANDS {
        assert!(inbox.try_command(Command::Save, n).is_ok());
    }
    let full = CommandDenied::QueueFull(QueueFull { waiting: MAX_COMMANDS });
    assert_eq!(inbox.try_command(Command::Delete, MAX_COMMANDS), Err(full));
    assert_eq!(inbox.interrupt(), Interrupt::None);
}

#[test]
fn what_is_due_waits_once_however_often_the_timekeeper_looks() {
    let mut inbox: Inbox<(), (), usize> = Inbox::new(1);
    inbox.try_send((), plain()).expect("there is room");
    inbox.next();
    for n in 0..2 * MAX_COMMANDS {
        assert_eq!(inbox.try_command(Command::Due, n), Ok(Accepted { turn_in_progress: true }));
    }
    assert!(inbox.try_command(Command::Save, 7).is_ok(), "others find room");
    assert_eq!(inbox.next(), Some(NextWork::Command(Command::Due, 0)));
    assert_eq!(inbox.next(), Some(NextWork::Command(Command::Save, 7)));
}

#[test]
fn a_kill_reaches_the_command_before_it() {
    let mut inbox: Inbox<(), (), ()> = Inbox::new(1);
    inbox.try_command(Command::Wake, ()).expect("there is room");
    inbox.try_command(Command::Delete, ()).expect("there is room");
    assert_eq!(inbox.next(), Some(NextWork::Command(Command::Wake, ())));
    assert_eq!(inbox.interrupt(), Interrupt::Kill);
}

#[test]
fn a_message_ends_no_grace_that_a_stop_has_given() {
    let mut inbox: Inbox<u8, (), ()> = Inbox::new(2);
    inbox.try_send(1, plain()).expect("there is room");
    inbox.next();
    inbox.try_command(Command::Move(Move::Stop(Cause::Stopped.into())), ()).expect("there is room");
    let interrupting = Terms { key: None, on_busy: OnBusy::Interrupt };
    assert!(matches!(inbox.try_send(2, interrupting), Ok(Sent::Queued)));
    assert_eq!(inbox.interrupt(), Interrupt::Finish);
}

#[test]
fn what_interrupts_is_next_and_what_waits_keeps_its_order() {
    let mut inbox: Inbox<u8, (), ()> = Inbox::new(3);
    for message in [1, 2, 3] {
        inbox.try_send(message, plain()).expect("there is room");
        if message == 1 {
            inbox.next();
        }
    }
    let interrupting = Terms { key: None, on_busy: OnBusy::Interrupt };
    assert!(matches!(inbox.try_send(4, interrupting), Ok(Sent::Queued)));
    assert_eq!(inbox.interrupt(), Interrupt::Replace);
    for message in [4, 2, 3] {
        assert_eq!(inbox.next(), Some(NextWork::Message(message)));
        assert_eq!(inbox.interrupt(), Interrupt::None);
    }
}

#[test]
fn mail_waits_in_line_with_messages_and_takes_the_place_of_none() {
    let mut inbox: Inbox<u8, (), ()> = Inbox::new(2);
    inbox.try_send(1, plain()).expect("there is room");
    inbox.mail_waits(2);
    inbox.try_send(2, plain()).expect("mail takes no room of messages");
    inbox.mail_waits(2);
    let rejecting = Terms { key: None, on_busy: OnBusy::Reject };
    assert!(matches!(inbox.try_send(3, rejecting), Err(MessageDenied::Busy(None))));
    let order = std::iter::from_fn(|| inbox.next()).collect::<Vec<_>>();
    let [one, two] = [1, 2].map(NextWork::Message);
    assert_eq!(order, [one, NextWork::Mail, NextWork::Mail, two]);
}

#[test]
fn a_mail_that_is_looked_for_is_no_turn_and_lets_commands_and_interrupts_pass() {
    let mut inbox: Inbox<u8, (), ()> = Inbox::new(2);
    inbox.mail_waits(1);
    assert_eq!(inbox.next(), Some(NextWork::Mail));
    let resumed = inbox.try_command(Command::Move(Move::Resume), ());
    assert_eq!(resumed, Ok(Accepted { turn_in_progress: false }));
    let rewound = inbox.try_command(Command::Resume(None), ());
    assert_eq!(rewound, Ok(Accepted { turn_in_progress: false }));
    let interrupting = Terms { key: None, on_busy: OnBusy::Interrupt };
    assert!(matches!(inbox.try_send(1, interrupting), Ok(Sent::Queued)));
    assert_eq!(inbox.interrupt(), Interrupt::None, "there is no turn to end");
    assert!(!inbox.begin_mail());
    let order = std::iter::from_fn(|| inbox.next()).collect::<Vec<_>>();
    let [resume, resumed] = [Command::Move(Move::Resume), Command::Resume(None)]
        .map(|command| NextWork::Command(command, ()));
    assert_eq!(order, [resume, resumed, NextWork::Message(1), NextWork::Mail]);
    assert!(inbox.next().is_none());
}

#[test]
fn a_turn_that_was_cut_off_comes_before_all_commands_and_messages_and_they_may_end_it() {
    let mut inbox: Inbox<u8, (), ()> = Inbox::new(2);
    inbox.reopen_turn(None);
    inbox.try_send(1, plain()).expect("there is room");
    inbox.try_command(Command::Delete, ()).expect("there is room");
    assert_eq!(inbox.next(), Some(NextWork::OpenTurn));
    assert_eq!(inbox.interrupt(), Interrupt::Kill);
    assert_eq!(inbox.next(), Some(NextWork::Command(Command::Delete, ())));
    assert_eq!(inbox.next(), Some(NextWork::Message(1)));
}
