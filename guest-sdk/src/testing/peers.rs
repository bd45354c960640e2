//! The peers of a session under test. What is sent to them is kept for the test, which sends their turns.

use std::time::Duration;

use super::MockHost;
use super::world::{Backend, World};
use crate::{
    handler::{Part, Reply, Sender},
    peers::{Error, Peer},
};

/// The most mails of a turn, as each host has it.
const MAX_SENDS: usize = 64;

/// A mail that an agent has sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Mail {
    /// Who to, as the agent has said it.
    pub to: String,
    /// What.
    pub content: Vec<Part>,
}

impl MockHost {
    /// Adds a peer that the agent may write to.
    #[must_use]
    pub fn with_peer(self, name: impl Into<String>) -> Self {
        self.world().peers.insert(name.into());
        self
    }

    /// The mails that the last turn has sent, if it did not fail.
    pub fn sent_mail(&self) -> Vec<Mail> {
        self.world().mail.clone()
    }
}

impl MockHost {
    /// Adds what a peer answers next: each question takes the first answer that is left, whoever is asked.
    #[must_use]
    pub fn with_peer_answer(self, answer: Reply) -> Self {
        self.world().peer_answers.push_back(Ok(answer.content));
        self
    }

    /// Adds an error that a question ends with.
    #[must_use]
    pub fn with_peer_error(self, error: Error) -> Self {
        self.world().peer_answers.push_back(Err(error));
        self
    }
}

impl Backend {
    pub(crate) fn ask_peer(
        &self,
        to: &str,
        content: Vec<Part>,
        _timeout: Duration,
    ) -> Result<Vec<Part>, Error> {
        let mut world = self.0.borrow_mut();
        if world.seen.moment.is_some() {
            let why = "a member of a world cannot ask";
            return Err(Error::Unavailable(why.to_owned()));
        }
        if !world.knows(to) {
            return Err(Error::UnknownPeer);
        }
        if content.is_empty() {
            return Err(Error::Invalid("a question has at least one part".to_owned()));
        }
        let none = "the test has given the mock no answer for this question";
        world.peer_answers.pop_front().unwrap_or(Err(Error::Unavailable(none.to_owned())))
    }

    pub(crate) fn peers(&self) -> Vec<Peer> {
        let world = self.0.borrow();
        let peer = |name: &String| Peer { name: name.clone(), id: format!("session-of-{name}") };
        world.peers.iter().map(peer).collect()
    }

    pub(crate) fn send_mail(&self, to: &str, content: Vec<Part>) -> Result<(), Error> {
        let mut world = self.0.borrow_mut();
        if !world.knows(to) {
            return Err(Error::UnknownPeer);
        }
        if content.is_empty() {
            return Err(Error::Invalid("a mail has at least one part".to_owned()));
        }
        if world.mail.len() >= MAX_SENDS {
            return Err(Error::TooMany(64));
        }
        world.mail.push(Mail { to: to.to_owned(), content });
        Ok(())
    }
}

impl World {
    /// Whether the agent may write to whoever has this address.
    fn knows(&self, to: &str) -> bool {
        if self.seen.moment.is_some() {
            return self.seen.has_role_of(to);
        }
        let is_sender = matches!(&self.sender, Sender::Agent(from) if from == to);
        is_sender || self.peers.contains(to)
    }
}
