//! Mail: what the agent of one session sends to that of another, and who may write to whom.
//!
//! A mail goes with the commit of the turn that has sent it, and lies in the mailbox of its recipient, behind those that
//! came before, until a turn of the recipient takes it: that turn's commit removes it, also where the turn fails. So
//! each mail arrives once, and those of one sender in their order.
//!
//! A session may write to its [`Peers`], which are named by its creator, and to whoever has sent what its turn answers.

use std::collections::BTreeMap;

use crate::creation::InvalidField;
use crate::id::SessionId;
use crate::time::Timestamp;
use crate::turn::{Part, Sender};

/// The most mails that wait in one mailbox.
pub const MAX_MAILS: u32 = 256;
/// The most bytes that the mails in one mailbox have together.
pub const MAX_MAILBOX_BYTES: u64 = 1 << 20;
/// The most bytes of one mail, all parts together.
pub const MAX_MAIL_BYTES: u64 = 64 << 10;
/// The most parts of one mail.
pub const MAX_MAIL_PARTS: usize = 100;
/// The most mails that one turn sends.
pub const MAX_SENDS: u32 = 64;
/// The most bytes that the mails of one turn have together.
pub const MAX_SENT_BYTES: u64 = 1 << 20;
/// The most peers of a session.
pub const MAX_PEERS: usize = 64;
/// The longest name of a peer, in bytes.
pub const MAX_PEER_NAME: usize = 128;
/// What a mail counts for besides its parts, in bytes: so the smallest one counts as well.
const MAIL: u64 = 64;

/// A mail, as it lies in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The session whose turn has sent it.
    pub from: SessionId,
    /// When that turn was over.
    pub sent_at: Timestamp,
    /// What was sent.
    pub content: Vec<Part>,
}

impl Mail {
    /// What it counts for in its mailbox, in bytes.
    #[must_use]
    pub fn weight(&self) -> u64 {
        weight(&self.content)
    }
}

/// What a mail with these parts counts for in its mailbox, in bytes.
#[must_use]
pub fn weight(content: &[Part]) -> u64 {
    content.iter().fold(MAIL, |sum, part| sum.saturating_add(part.len() as u64))
}

/// What waits in a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailboxSize {
    /// How many mails.
    pub mails: u32,
    /// What they count for, in bytes.
    pub bytes: u64,
}

impl MailboxSize {
    /// With one mail more, of this weight.
    #[must_use]
    pub fn with(self, weight: u64) -> MailboxSize {
        MailboxSize {
            mails: self.mails.saturating_add(1),
            bytes: self.bytes.saturating_add(weight),
        }
    }

    /// With one mail less, of this weight.
    #[must_use]
    pub fn without(self, weight: u64) -> MailboxSize {
        MailboxSize {
            mails: self.mails.saturating_sub(1),
            bytes: self.bytes.saturating_sub(weight),
        }
    }

    /// Whether it holds as much as a mailbox may.
    #[must_use]
    pub fn is_within_bounds(self) -> bool {
        self.mails <= MAX_MAILS && self.bytes <= MAX_MAILBOX_BYTES
    }
}

/// A session as another one knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Which it is.
    pub session: SessionId,
    /// What the other calls it. `None`: it has no name for it.
    pub name: Option<String>,
}

impl Peer {
    /// What an agent calls it: by its name, or by its id where it has none.
    #[must_use]
    pub fn address(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.session.to_string())
    }
}

/// The sessions that a session may write to, by the names that its creator has given them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers(BTreeMap<String, SessionId>);

impl Peers {
    /// These, whose names have been checked.
    ///
    /// # Errors
    /// [`InvalidField`]: they are too many, or a name is none.
    pub fn new(peers: BTreeMap<String, SessionId>) -> Result<Peers, InvalidField> {
        if peers.len() > MAX_PEERS {
            return Err(invalid(format!("has {} names; it has at most {MAX_PEERS}", peers.len())));
        }
        for name in peers.keys() {
            check_name(name)?;
        }
        Ok(Peers(peers))
    }

    /// Those that were kept.
    #[must_use]
    pub fn kept(peers: BTreeMap<String, SessionId>) -> Peers {
        Peers(peers)
    }

    /// All of them, in the order of their names.
    #[must_use]
    pub fn all(&self) -> &BTreeMap<String, SessionId> {
        &self.0
    }

    /// The session of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<SessionId> {
        self.0.get(name).copied()
    }

    /// This session, with the first of the names that it has here.
    #[must_use]
    pub fn peer(&self, session: SessionId) -> Peer {
        let name = self.0.iter().find(|(_, known)| **known == session).map(|(name, _)| name);
        Peer { session, name: name.cloned() }
    }

    /// The session that an agent calls so which answers this sender: one of these, or the sender.
    #[must_use]
    pub fn addressed(&self, address: &str, sender: &Sender) -> Option<SessionId> {
        self.named(address).or_else(|| match sender {
            Sender::Agent(peer) => Some(peer.session).filter(|_| peer.address() == address),
            Sender::User | Sender::Timer(_) | Sender::Schedule(_) => None,
        })
    }
}

/// A name has some bytes, no control characters, and is no id: whatever an agent says names one session at most.
pub(crate) fn check_name(name: &str) -> Result<(), InvalidField> {
    let is_sound = (1..=MAX_PEER_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
    if !is_sound {
        let problem = format!(
            "has a name that is none: a name has 1 to {MAX_PEER_NAME} bytes, and no control characters"
        );
        return Err(invalid(problem));
    }
    if uuid::Uuid::parse_str(name).is_ok() {
        return Err(invalid(format!(
            "has the name '{name}', which looks like the id of a session"
        )));
    }
    Ok(())
}

fn invalid(problem: String) -> InvalidField {
    InvalidField::new("peers", problem)
}

/// What became of a mail that an agent has sent, as far as that depends on others: a turn that is run again is told the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It goes with the commit of the turn.
    Taken,
    /// Its mailbox has no room for it.
    MailboxFull,
    /// The session takes no mail any more.
    Ended,
    /// There is no such session any more.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn id(number: u128) -> SessionId {
        SessionId(Uuid::from_u128(number))
    }

    fn peers(names: &[(&str, u128)]) -> Result<Peers, InvalidField> {
        Peers::new(names.iter().map(|(name, number)| ((*name).to_owned(), id(*number))).collect())
    }

    #[test]
    fn a_session_writes_to_its_peers_and_to_whoever_has_written_to_it() {
        let known = peers(&[("ann", 1), ("bea", 2)]).expect("they are names");
        let from = |number, name: Option<&str>| {
            Sender::Agent(Peer { session: id(number), name: name.map(str::to_owned) })
        };
        assert_eq!(known.addressed("ann", &Sender::User), Some(id(1)));
        let stranger = id(9).to_string();
        assert_eq!(known.addressed(&stranger, &Sender::User), None, "an id that it has learned");
        assert_eq!(known.addressed(&stranger, &from(9, None)), Some(id(9)));
        assert_eq!(known.addressed(&id(1).to_string(), &from(9, None)), None);
        assert_eq!(known.addressed(&id(1).to_string(), &from(1, Some("ann"))), None, "by its name");
        assert_eq!(known.peer(id(2)).address(), "bea");
        assert_eq!(known.peer(id(9)).address(), stranger);
    }

    #[test]
    fn names_are_bounded_and_look_like_no_id() {
        let id = id(7).to_string();
        for name in ["", "a\nb", &"x".repeat(129), &id, &id.to_uppercase(), &id.replace('-', "")] {
            assert!(peers(&[(name, 1)]).is_err(), "{name}");
        }
        assert!(peers(&[(&"ä".repeat(64), 1)]).is_ok());
        let many = |count: u128| {
            Peers::new((0..count).map(|it| (format!("p{it}"), super::tests::id(it))).collect())
        };
        assert!(many(64).is_ok());
        assert!(many(65).is_err());
    }

    #[test]
    fn the_smallest_mail_counts_and_a_mailbox_is_bounded_in_number_and_bytes() {
        let mut size = MailboxSize::default();
        for _ in 0..MAX_MAILS {
            size = size.with(weight(&[]));
            assert!(size.is_within_bounds());
        }
        assert!(!size.with(weight(&[])).is_within_bounds());
        let large = MailboxSize::default().with(MAX_MAILBOX_BYTES);
        assert!(large.is_within_bounds());
        assert!(!large.with(1).is_within_bounds());
        assert_eq!(large.without(MAX_MAILBOX_BYTES), MailboxSize::default());
    }
}
