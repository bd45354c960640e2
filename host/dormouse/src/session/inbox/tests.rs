//! The inbox against a model of it, and its rules one by one.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use dormouse_domain::agent::{AgentOwner, AgentRef, Digest};
use dormouse_domain::event::SleepCause;
use dormouse_domain::id::SnapshotId;
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

#[derive(Clone, Debug)]
enum Step {
    Message,
    /// One of [`COMMANDS`].
    Command(usize),
    Next,
    /// The turn that was begun calls its agent.
    Runs,
    Over,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Message),
        4 => (0..COMMANDS.len()).prop_map(Step::Command),
        4 => Just(Step::Next),
        2 => Just(Step::Runs),
        2 => Just(Step::Over),
        1 => Just(Step::Kill),
    ]
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 0..most)
}

/// A driver that works on an inbox, and what it may expect of it.
struct Model {
    inbox: Inbox<usize, usize>,
    bound: usize,
    messages: VecDeque<usize>,
    /// Each with its place in [`COMMANDS`].
    commands: VecDeque<(usize, usize)>,
    in_turn: bool,
    running: Option<u64>,
}

impl Model {
    fn new(bound: usize) -> Model {
        let (messages, commands) = (VecDeque::new(), VecDeque::new());
        Model { inbox: Inbox::new(bound), bound, messages, commands, in_turn: false, running: None }
    }

    fn send(&mut self, name: usize) -> Result<(), TestCaseError> {
        let accepted = Accepted { turn_in_progress: self.in_turn };
        let expected = if self.messages.len() < self.bound {
            self.messages.push_back(name);
            Ok(accepted)
        } else {
            Err(QueueFull { waiting: self.bound })
        };
        let before = self.inbox.interrupt();
        prop_assert_eq!(self.inbox.try_send(name), expected);
        prop_assert_eq!(self.inbox.interrupt(), before, "a message interrupts nothing");
        Ok(())
    }

    fn command(&mut self, name: usize, which: usize) -> Result<(), TestCaseError> {
        let (make, interrupt, may_wait) = COMMANDS[which];
        let before = self.inbox.interrupt();
        let answer = self.inbox.try_command(make(), name);
        if self.in_turn && !may_wait {
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
        (self.in_turn, self.running) = (false, None);
        if let Some((name, which)) = self.commands.pop_front() {
            let (make, interrupt, _) = COMMANDS[which];
            prop_assert_eq!(next, Some(NextWork::Command(make(), name)));
            prop_assert!(self.inbox.interrupt() >= interrupt, "it is still asked for");
            if interrupt == Interrupt::None && self.commands.is_empty() {
                prop_assert_eq!(self.inbox.interrupt(), Interrupt::None, "an old stop is over");
            }
        } else if let Some(name) = self.messages.pop_front() {
            prop_assert_eq!(next, Some(NextWork::Message(name)));
            prop_assert_eq!(
                self.inbox.interrupt(),
                Interrupt::None,
                "an old stop ends no new turn"
            );
            self.in_turn = true;
        } else {
            prop_assert_eq!(next, None);
            prop_assert_eq!(self.inbox.interrupt(), before);
        }
        Ok(())
    }

    fn step(&mut self, number: usize, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Message => self.send(number)?,
            Step::Command(which) => self.command(number, which)?,
            Step::Next => self.next()?,
            Step::Runs if self.in_turn => {
                self.running = Some(number as u64);
                self.inbox.turn_runs(number as u64);
            }
            Step::Runs => {}
            Step::Over => {
                (self.in_turn, self.running) = (false, None);
                self.inbox.turn_over();
            }
            Step::Kill => self.inbox.kill(),
        }
        // Whatever waits to end the session has interrupted what is in progress.
        let asked = self.commands.iter().map(|(_, which)| COMMANDS[*which].1).max();
        prop_assert!(self.inbox.interrupt() >= asked.unwrap_or(Interrupt::None));
        prop_assert_eq!(self.inbox.running_turn(), self.running);
        prop_assert_eq!(self.inbox.messages(), self.messages.len());
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
        let mut inbox = Inbox::new(1);
        inbox.try_send(()).expect("there is room");
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
    let mut inbox: Inbox<(), usize> = Inbox::new(1);
    for n in 0..MAX_COMMANDS {
        assert!(inbox.try_command(Command::Save, n).is_ok());
    }
    let full = CommandDenied::QueueFull(QueueFull { waiting: MAX_COMMANDS });
    assert_eq!(inbox.try_command(Command::Delete, MAX_COMMANDS), Err(full));
    assert_eq!(inbox.interrupt(), Interrupt::None);
}

#[test]
fn a_kill_reaches_the_command_before_it() {
    let mut inbox: Inbox<(), ()> = Inbox::new(1);
    inbox.try_command(Command::Wake, ()).expect("there is room");
    inbox.try_command(Command::Delete, ()).expect("there is room");
    assert_eq!(inbox.next(), Some(NextWork::Command(Command::Wake, ())));
    assert_eq!(inbox.interrupt(), Interrupt::Kill);
}
