//! The mailboxes that are not empty: what waits in each, and the number of its last mail.

use std::collections::HashMap;

use dormouse_domain::id::SessionId;
use dormouse_domain::mail::MailboxSize;

/// What a mailbox takes in memory, in bytes, about.
const MAILBOX: usize = 96;

/// A mailbox, as the index knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Mailbox {
    /// What waits in it.
    pub(in super::super) size: MailboxSize,
    /// The number of the mail that came last.
    pub(in super::super) last: u64,
}

/// The mailboxes that are not empty.
#[derive(Debug, Default)]
pub(in super::super) struct Mailboxes(HashMap<SessionId, Mailbox>);

impl Mailboxes {
    /// A mail lies in the mailbox of a session. It comes after those before it.
    pub(in super::super) fn add(&mut self, id: SessionId, number: u64, weight: u64) {
        let mailbox = self.0.entry(id).or_default();
        *mailbox = Mailbox { size: mailbox.size.with(weight), last: number };
    }

    /// What there is of the mailbox of a session.
    pub(in super::super) fn get(&self, id: SessionId) -> Mailbox {
        self.0.get(&id).copied().unwrap_or_default()
    }

    /// This is so of the mailbox of a session.
    pub(in super::super) fn put(&mut self, id: SessionId, mailbox: Mailbox) {
        match mailbox.size.mails {
            0 => self.0.remove(&id),
            _ => self.0.insert(id, mailbox),
        };
    }

    /// Whether the mailbox of a session is empty.
    pub(in super::super) fn is_empty(&self, id: SessionId) -> bool {
        !self.0.contains_key(&id)
    }

    /// What waits in each that is not empty.
    pub(in super::super) fn sizes(&self) -> Vec<(SessionId, MailboxSize)> {
        self.0.iter().map(|(id, mailbox)| (*id, mailbox.size)).collect()
    }

    /// Bytes of memory, estimated.
    pub(super) fn bytes(&self) -> usize {
        self.0.len() * MAILBOX
    }
}
