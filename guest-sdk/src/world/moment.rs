//! What a member of a world is told in a tick.

use std::borrow::Cow;

use super::{Member, wire};
use crate::handler::{Part, Sender, Turn, joined_text};

/// By what name an agent knows its world: as the sender of a turn, and as that of a mail.
pub const WORLD: &str = "world";

/// One tick of a world, as a member that acts in it is told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Moment {
    /// The number of the tick, from 0.
    pub tick: u64,
    /// The role of the member.
    pub role: String,
    /// The number of the member among those of its role.
    pub member: Member,
    /// The roles of the world.
    pub roles: Vec<String>,
    /// What others have sent to the member.
    pub mail: Vec<Mail>,
    /// How many mails are lost, because the member was sent more than it is told of in one tick: 1 MiB.
    pub dropped: u64,
    /// What rows have done to the member.
    pub effects: Vec<Effect>,
    /// The timers of the member that are due.
    pub timers: Vec<DueTimer>,
}

/// What somebody has sent to a member.
#[derive(Clone, Debug, PartialEq)]
pub struct Mail {
    /// The address of the agent that has sent it, such as `people/5`; or [`WORLD`], where the program of the world has.
    pub from: String,
    /// What was sent.
    pub content: Vec<Part>,
}

/// What a row has done to a member, or several rows where the host puts together what they do.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The name of the kind of effect.
    pub kind: String,
    /// The role of the rows.
    pub role: String,
    /// The number of the row. `None`: the host has put together what several did.
    pub from: Option<Member>,
    /// The value. `None`: effects of this kind have none.
    pub value: Option<f64>,
}

/// A timer of a member that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueTimer {
    /// Its name.
    pub name: String,
    /// The message that it was set with.
    pub message: String,
}

impl Moment {
    /// Reads a turn of a world. `None`: the turn is another one, such as a question of somebody outside of the world.
    pub fn of(turn: &Turn) -> Option<Moment> {
        match (&turn.sender, &turn.content[..]) {
            (Sender::Agent(from), [Part::Json(document)]) if from == WORLD => wire::read(document),
            _ => None,
        }
    }

    /// The first tick of a world with this one role, in which nothing has arrived: for tests, which change what they need.
    pub fn new(role: impl Into<String>, member: Member) -> Moment {
        let role = role.into();
        Moment {
            tick: 0,
            roles: vec![role.clone()],
            role,
            member,
            mail: Vec::new(),
            dropped: 0,
            effects: Vec::new(),
            timers: Vec::new(),
        }
    }

    /// The same with one mail more: for tests.
    #[must_use]
    pub fn with_mail(mut self, from: impl Into<String>, content: impl Into<Vec<Part>>) -> Moment {
        self.mail.push(Mail { from: from.into(), content: content.into() });
        self
    }

    /// The address of a member of the own role, for [`Peers::send`](crate::peers::Peers::send). That of a member of another role
    /// is its role and its number as well: `rules/0`.
    pub fn address(&self, member: Member) -> String {
        format!("{}/{member}", self.role)
    }
}

impl Mail {
    /// The parts of text, joined by line breaks. Empty if there is none.
    pub fn text(&self) -> Cow<'_, str> {
        joined_text(&self.content)
    }

    /// Whether the program of the world has sent it, and not an agent.
    pub fn is_of_world(&self) -> bool {
        self.from == WORLD
    }
}
