//! The mail that waits.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::MemoryStore;
use crate::StoreError;
use crate::read::{ReadMail, StoredMail};
use dormouse_domain::id::SessionId;
use dormouse_domain::mail::{Mail, MailboxSize};

/// The mailbox of each session to which mail has come, by the numbers of the mails.
#[derive(Debug, Default)]
pub(super) struct Mailboxes(BTreeMap<SessionId, BTreeMap<u64, Mail>>);

impl Mailboxes {
    /// Put a mail behind those that are there.
    pub(super) fn put(&mut self, to: SessionId, mail: Mail) {
        let mailbox = self.0.entry(to).or_default();
        let last = mailbox.last_key_value().map_or(0, |(number, _)| *number);
        mailbox.insert(last + 1, mail);
    }

    /// Whether there is a mail of this number.
    pub(super) fn has(&self, id: SessionId, number: u64) -> bool {
        self.0.get(&id).is_some_and(|mailbox| mailbox.contains_key(&number))
    }

    /// Take a mail out.
    pub(super) fn take(&mut self, id: SessionId, number: u64) {
        if let Some(mailbox) = self.0.get_mut(&id) {
            mailbox.remove(&number);
        }
    }

    /// Remove all mail of a session.
    pub(super) fn clear(&mut self, id: SessionId) {
        self.0.remove(&id);
    }
}

#[async_trait]
impl ReadMail for MemoryStore {
    async fn mailboxes(&self) -> Result<Vec<(SessionId, MailboxSize)>, StoreError> {
        let state = self.open()?;
        let size = |mailbox: &BTreeMap<u64, Mail>| {
            mailbox.values().fold(MailboxSize::default(), |size, mail| size.with(mail.weight()))
        };
        let full = state.mailboxes.0.iter().filter(|(_, mailbox)| !mailbox.is_empty());
        Ok(full.map(|(id, mailbox)| (*id, size(mailbox))).collect())
    }

    async fn first_mail(&self, session: SessionId) -> Result<Option<StoredMail>, StoreError> {
        let state = self.open()?;
        let first = state.mailboxes.0.get(&session).and_then(BTreeMap::first_key_value);
        Ok(first.map(|(number, mail)| StoredMail {
            number: *number,
            weight: mail.weight(),
            mail: Some(mail.clone()),
        }))
    }
}
