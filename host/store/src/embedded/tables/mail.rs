//! The mail that waits: `l` session number weight, the value what was sent.
//!
//! The numbers of one mailbox rise; once it is empty, they begin anew. What a mail counts for stands in its key: so
//! opening the store reads no mail. A row goes with the commit of the turn that takes it.

use async_trait::async_trait;
use bytes::Bytes;

use super::super::commit::EncodedWrite;
use super::super::disk::ReadExtent;
use super::super::keys::{self, of_session};
use super::super::recovery::Recovery;
use super::super::upkeep::audit::Audit;
use super::super::{Embedded, EmbeddedShared, OpenError};
use super::{Table, malformed};
use crate::StoreError;
use crate::codec::{self, CodecError, RecordKind};
use crate::read::{ReadMail, StoredMail};
use dormouse_domain::id::SessionId;
use dormouse_domain::mail::{Mail, MailboxSize};

/// The prefix of all mail.
const MAIL: u8 = b'l';

/// The mail that waits.
pub(super) struct MailTable;

/// A mail, by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct MailKey {
    /// Whose mailbox it lies in.
    pub(in super::super) to: SessionId,
    /// Its number in that.
    pub(in super::super) number: u64,
    /// What it counts for.
    pub(in super::super) weight: u64,
}

impl MailKey {
    /// The key of its row.
    pub(in super::super) fn row(self) -> [u8; 33] {
        let mut key = [0; 33];
        key[..25].copy_from_slice(&numbered(self.to, self.number));
        key[25..].copy_from_slice(&self.weight.to_be_bytes());
        key
    }

    /// What the key of a row says.
    pub(in super::super) fn read(key: &[u8]) -> Option<MailKey> {
        let number = u64::from_be_bytes(*key.get(17..)?.first_chunk()?);
        let weight = u64::from_be_bytes(key.get(25..)?.try_into().ok()?);
        Some(MailKey { to: keys::session_in(key)?, number, weight })
    }
}

/// The prefix of the mailbox of a session.
pub(in super::super) fn rows(id: SessionId) -> [u8; 17] {
    of_session(MAIL, id)
}

/// The prefix of the one row of a mail.
pub(in super::super) fn numbered(id: SessionId, number: u64) -> [u8; 25] {
    let mut key = [0; 25];
    key[..17].copy_from_slice(&rows(id));
    key[17..].copy_from_slice(&number.to_be_bytes());
    key
}

/// A mail, encoded. The committer gives it its number.
pub(super) fn encode(to: SessionId, mail: &Mail) -> EncodedWrite {
    EncodedWrite::Mail { to, weight: mail.weight(), value: codec::encode_mail(mail) }
}

fn decode(key: &[u8], value: &[u8]) -> Result<Mail, CodecError> {
    codec::decode_mail(&codec::unseal(RecordKind::Row, key, value)?)
}

impl EmbeddedShared {
    fn first_mail(&self, id: SessionId) -> Result<Option<StoredMail>, StoreError> {
        let prefix = rows(id);
        let Some(first) = self.disk.walk(&prefix, ReadExtent::Front).next() else {
            return Ok(None);
        };
        let (key, _) = first?;
        let Some(MailKey { number, weight, .. }) = MailKey::read(&key) else {
            return Err(self.damaged(&key, &malformed("nobody has written this")));
        };
        let mail = match self.disk.get(&key) {
            // It was taken meanwhile.
            Ok(None) => return Ok(None),
            Ok(Some(value)) => decode(&key, &value),
            Err(StoreError::Damaged(_)) => Err(CodecError::Checksum),
            Err(error) => return Err(error),
        };
        let mail = mail.map_err(|error| self.damaged(&key, &error)).ok();
        Ok(Some(StoredMail { number, weight, mail }))
    }
}

impl Table for MailTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&MAIL)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        let MailKey { to, number, .. } = MailKey::read(key)?;
        Some(format!("session/{to}/mail/{number}"))
    }

    fn recover(&self, recovery: &mut Recovery<'_>) -> Result<(), OpenError> {
        recovery.each(&[MAIL], ReadExtent::Front, |index, key, _| {
            let mail = MailKey::read(key).ok_or_else(|| malformed("nobody has written this"))?;
            index.mailboxes.add(mail.to, mail.number, mail.weight);
            Ok(())
        })
    }

    fn check(&self, _: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let known = MailKey::read(key).ok_or_else(|| malformed("nobody has written this"))?;
        let mail = decode(key, value)?;
        if mail.weight() == known.weight { Ok(()) } else { Err(malformed("it has another weight")) }
    }
}

#[async_trait]
impl ReadMail for Embedded {
    async fn mailboxes(&self) -> Result<Vec<(SessionId, MailboxSize)>, StoreError> {
        self.ask(|index| index.mailboxes.sizes())
    }

    async fn first_mail(&self, session: SessionId) -> Result<Option<StoredMail>, StoreError> {
        if self.ask(|index| index.mailboxes.is_empty(session))? {
            return Ok(None);
        }
        self.read(move |shared| shared.first_mail(session)).await
    }
}
