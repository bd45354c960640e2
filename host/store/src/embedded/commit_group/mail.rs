//! Mailboxes: what a group puts into them and takes out.

use std::collections::HashMap;

use super::super::disk::ReadExtent;
use super::super::engine::Class;
use super::super::session_index::Mailbox;
use super::super::tables::mail::{self, MailKey};
use super::{CommitGroup, Now};
use crate::StoreError;
use crate::codec;
use dormouse_domain::id::SessionId;

/// What a group makes of mailboxes.
#[derive(Default)]
pub(super) struct Mailboxes {
    /// What is true of each after the group.
    now: HashMap<SessionId, Mailbox>,
    /// The mails that it has put into each, and has not taken out again.
    new: HashMap<SessionId, Vec<MailKey>>,
    /// The numbers of those that it has taken out of what was there before.
    taken: HashMap<SessionId, Vec<u64>>,
}

impl Mailboxes {
    /// What the index is to know.
    pub(super) fn finish(self) -> HashMap<SessionId, Mailbox> {
        self.now
    }
}

impl CommitGroup<'_> {
    /// Whether the mail of this number lies in the mailbox of a session.
    pub(super) fn expect_mail(&self, id: SessionId, number: u64) -> Result<(), StoreError> {
        match self.find_mail(id, number)? {
            Some(_) => Ok(()),
            None => Err(StoreError::Conflict(id)),
        }
    }

    /// Put a mail into the mailbox of a session. One to a session that is gone goes nowhere.
    pub(super) fn put_mail(&mut self, to: SessionId, weight: u64, value: &[u8]) {
        let is_there = match self.sessions.get(&to) {
            Some(Now::Live(_)) => true,
            Some(Now::Gone) => false,
            None => self.shared.index().known(to).is_some(),
        };
        if !is_there {
            return;
        }
        let Mailbox { size, last } = self.mailbox(to);
        let key = MailKey { to, number: last + 1, weight };
        let row = key.row();
        self.rows.place(Class::Head, &row, codec::seal(&row, &[value]));
        self.mailboxes.new.entry(to).or_default().push(key);
        self.mailboxes.now.insert(to, Mailbox { size: size.with(weight), last: key.number });
    }

    /// Take a mail, which has been looked for, out of the mailbox of a session.
    pub(super) fn take_mail(&mut self, id: SessionId, number: u64) {
        let Ok(Some(key)) = self.find_mail(id, number) else { return };
        self.rows.remove(key.row());
        let mailboxes = &mut self.mailboxes;
        let new = mailboxes.new.entry(id).or_default();
        let were = new.len();
        new.retain(|new| new.number != number);
        if new.len() == were {
            mailboxes.taken.entry(id).or_default().push(number);
        }
        let Mailbox { size, last } = self.mailbox(id);
        let size = size.without(key.weight);
        // An empty one is not known any more, and its numbers begin anew.
        let last = if size.mails == 0 { 0 } else { last };
        self.mailboxes.now.insert(id, Mailbox { size, last });
    }

    /// Remove all mail of a session. What cannot be listed now stays, and is dropped when the host finds it.
    pub(super) fn drop_mail(&mut self, id: SessionId) {
        for key in self.mailboxes.new.remove(&id).unwrap_or_default() {
            self.rows.remove(key.row());
        }
        let mut left = Mailbox::default();
        if !self.shared.index().mailboxes.is_empty(id) {
            for entry in self.shared.disk.walk(&mail::rows(id), ReadExtent::Front) {
                match entry {
                    Ok((key, _)) => {
                        self.loaded += key.len();
                        self.rows.remove(key);
                    }
                    Err(error) => {
                        tracing::error!(session = %id, %error, "mail is not removed");
                        left = self.shared.index().mailboxes.get(id);
                        break;
                    }
                }
            }
        }
        self.mailboxes.now.insert(id, left);
    }

    /// A session is removed: what lay in its mailbox is purged with what else it leaves behind.
    pub(super) fn forget_mail(&mut self, id: SessionId) {
        for key in self.mailboxes.new.remove(&id).unwrap_or_default() {
            self.rows.remove(key.row());
        }
        self.mailboxes.now.insert(id, Mailbox::default());
    }

    fn mailbox(&self, id: SessionId) -> Mailbox {
        let known = self.mailboxes.now.get(&id).copied();
        known.unwrap_or_else(|| self.shared.index().mailboxes.get(id))
    }

    /// The mail of this number, as the group has left the mailbox of a session.
    fn find_mail(&self, id: SessionId, number: u64) -> Result<Option<MailKey>, StoreError> {
        let Mailboxes { now, new, taken } = &self.mailboxes;
        if let Some(new) = new.get(&id).and_then(|new| new.iter().find(|it| it.number == number)) {
            return Ok(Some(*new));
        }
        let is_taken = taken.get(&id).is_some_and(|taken| taken.contains(&number));
        if is_taken || now.get(&id).is_some_and(|mailbox| mailbox.size.mails == 0) {
            return Ok(None);
        }
        let prefix = mail::numbered(id, number);
        let first = self.shared.disk.walk(&prefix, ReadExtent::Front).next().transpose()?;
        Ok(first.and_then(|(key, _)| MailKey::read(&key)))
    }
}
