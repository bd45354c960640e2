//! What a turn sends to other sessions: each mail has its place in the mailbox of its recipient, and goes with the
//! commit of the turn.
//!
//! What an agent is told of a mail may depend on others. So that is noted with the next effect, and a turn that is run
//! again is told the same.

use std::sync::Arc;

use crate::mailboxes::{MailPlace, Mailboxes};
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::mail::{MAX_SENDS, MAX_SENT_BYTES, Posted, weight};
use dormouse_domain::turn::Part;
use dormouse_sandbox::NotSent;

/// How often a turn tries to send a mail, where there is no room: each time is noted.
const MAX_ATTEMPTS: u32 = 1_024;

/// The mails of a turn that runs.
pub(crate) struct Post {
    mailboxes: Arc<Mailboxes>,
    owner: Principal,
    outbox: Vec<OutgoingMail>,
    /// What they hold, in bytes.
    bytes: u64,
    /// How often the agent has tried to send one.
    attempts: u32,
    /// What became of those that were sent since the effect before.
    posted: Vec<Posted>,
}

/// A mail that goes with the commit of its turn.
pub(crate) struct OutgoingMail {
    pub(crate) to: SessionId,
    pub(crate) content: Vec<Part>,
    pub(crate) place: MailPlace,
}

impl Post {
    /// Of a turn of a session of this owner.
    pub(crate) fn new(mailboxes: Arc<Mailboxes>, owner: Principal) -> Post {
        Post { mailboxes, owner, outbox: Vec::new(), bytes: 0, attempts: 0, posted: Vec::new() }
    }

    /// Whether the turn may try to send one more.
    pub(super) fn may_try(&self) -> bool {
        self.outbox.len() < MAX_SENDS as usize && self.attempts < MAX_ATTEMPTS
    }

    /// Send a mail. `before`: what became of those that the turn had sent up to its next effect, where it was run before.
    ///
    /// # Errors
    /// It is not sent.
    pub(super) fn send(
        &mut self,
        to: SessionId,
        content: Vec<Part>,
        before: Option<&[Posted]>,
    ) -> Result<(), NotSent> {
        let weight = weight(&content);
        if !self.may_try() {
            return Err(NotSent::TooMany);
        }
        if self.bytes.saturating_add(weight) > MAX_SENT_BYTES {
            return Err(NotSent::TooLarge);
        }
        self.attempts += 1;
        let before = before.and_then(|before| before.get(self.posted.len())).copied();
        let place = match before {
            Some(Posted::Taken) => Ok(self.mailboxes.place_again(to, weight)),
            Some(refused) => Err(refused),
            None => {
                let place = self.mailboxes.place(&self.owner, to, weight);
                // A store that is closed ends with its host, and the turn with it.
                place.unwrap_or(Err(Posted::Gone))
            }
        };
        let posted = place.as_ref().err().copied().unwrap_or(Posted::Taken);
        self.posted.push(posted);
        match place {
            Ok(place) => {
                self.bytes += weight;
                self.outbox.push(OutgoingMail { to, content, place });
                Ok(())
            }
            Err(Posted::MailboxFull) => Err(NotSent::MailboxFull),
            Err(Posted::Ended) => Err(NotSent::Ended),
            Err(Posted::Gone | Posted::Taken) => Err(NotSent::UnknownPeer),
        }
    }

    /// What became of the mails since the effect before.
    pub(super) fn take_posted(&mut self) -> Vec<Posted> {
        std::mem::take(&mut self.posted)
    }

    /// The mails, in order.
    pub(crate) fn into_outbox(self) -> Vec<OutgoingMail> {
        self.outbox
    }
}
