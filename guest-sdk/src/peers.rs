//! Writes to the agents of other sessions, and asks them.

use std::{fmt, time::Duration};

use crate::{
    Host,
    handler::{Part, Reply},
};

/// The peers of the session. From [`Host::peers`].
///
/// An agent may write to the peers that the creator of its session has named, and to whoever has sent what its turn
/// answers: the text of [`Sender::Agent`](crate::Sender::Agent) is then the address.
///
/// ```
/// # use dormouse_sdk::{prelude::*, testing::MockHost};
/// #[derive(Default)]
/// struct Clerk;
///
/// impl Agent for Clerk {
///     fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
///         match &turn.sender {
///             // A peer has written: that is answered with a mail.
///             Sender::Agent(from) => host.peers().send_text(from, "I have read it")?,
///             _ => host.peers().send_text("boss", &turn.text())?,
///         }
///         Ok(Reply::text("sent"))
///     }
/// }
/// # let mut mock = MockHost::new().with_peer("boss");
/// # mock.turn(&mut Clerk, "hello").unwrap();
/// # assert_eq!(mock.sent_mail()[0].to, "boss");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Peers<'a> {
    host: &'a Host,
}

/// A session that the agent may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Its name for this agent.
    pub name: String,
    /// Its id.
    pub id: String,
}

/// Why nothing was sent, or nothing was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// This agent knows nobody by that name, or the session is there no longer.
    UnknownPeer,
    /// A part is not what it says, or there is none. The text says what to change.
    Invalid(String),
    /// It has more bytes than this; or so many bytes are all that the mails of one turn may have.
    TooLarge(u64),
    /// The turn has sent so many mails already, the most that it may.
    TooMany(u32),
    /// So much mail waits for that session already that there is no room for more.
    MailboxFull,
    /// That session has ended: it takes no mail any more, and answers nobody.
    Ended,
    /// That session is paused, and answers nobody until it is resumed. Mail to it waits.
    Paused,
    /// That session has so much to answer that it takes nothing more for now.
    Busy,
    /// That session waits for an answer of this one, itself or through others.
    Cycle,
    /// There was no answer in time. What that session does goes on.
    TimedOut,
    /// The turn in which that session should have answered has failed.
    Failed {
        /// The stable word for why, such as `agent_failed`.
        code: String,
        /// What happened.
        message: String,
    },
    /// That session cannot answer now. The text says why.
    Unavailable(String),
}

impl<'a> Peers<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Peers { host }
    }

    /// The peers of the session, in the order of their names.
    pub fn list(&self) -> Vec<Peer> {
        self.host.backend().peers()
    }

    /// Send a mail to a peer, by its name, or to the sender of this turn, by its address. It goes with the end of this
    /// turn, and a turn that fails sends nothing. It arrives once, and behind those that were sent there before.
    ///
    /// # Errors
    ///
    /// [`Error`]: it is not sent.
    pub fn send(&self, to: &str, content: impl Into<Vec<Part>>) -> Result<(), Error> {
        self.host.backend().send_mail(to, content.into())
    }

    /// Ask a peer, or the sender of this turn, and wait for what its agent replies, a minute at most. The peer answers
    /// once, also where this turn is run again after a crash of the host.
    ///
    /// # Errors
    ///
    /// [`Error`]: there is no answer.
    pub fn ask(&self, to: &str, content: impl Into<Vec<Part>>) -> Result<Reply, Error> {
        self.ask_within(to, content, Duration::from_secs(60))
    }

    /// The same, waiting for so long, ten minutes at most.
    ///
    /// # Errors
    ///
    /// As [`Peers::ask`].
    pub fn ask_within(
        &self,
        to: &str,
        content: impl Into<Vec<Part>>,
        timeout: Duration,
    ) -> Result<Reply, Error> {
        self.host.backend().ask_peer(to, content.into(), timeout).map(Reply::new)
    }

    /// Send one text.
    ///
    /// # Errors
    ///
    /// As [`Peers::send`].
    pub fn send_text(&self, to: &str, text: &str) -> Result<(), Error> {
        self.send(to, [Part::text(text)])
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::UnknownPeer => f.write_str("unknown-peer: this agent knows nobody by that name"),
            Error::Invalid(why) => write!(f, "invalid: {why}"),
            Error::TooLarge(most) => write!(f, "too-large: it may have {most} bytes"),
            Error::TooMany(most) => write!(f, "too-many: a turn sends {most} mails at most"),
            Error::MailboxFull => f.write_str("mailbox-full: so much mail waits for it already"),
            Error::Ended => f.write_str("ended: the session takes no mail any more"),
            Error::Paused => f.write_str("paused: the session answers nobody until it is resumed"),
            Error::Busy => f.write_str("busy: the session takes nothing more for now"),
            Error::Cycle => f.write_str("cycle: the session waits for an answer of this one"),
            Error::TimedOut => f.write_str("timed-out: there was no answer in time"),
            Error::Failed { code, message } => write!(f, "failed: {code}: {message}"),
            Error::Unavailable(why) => write!(f, "unavailable: {why}"),
        }
    }
}

impl std::error::Error for Error {}
