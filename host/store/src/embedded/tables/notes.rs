//! What is about the store itself, and what has been set aside.
//!
//! | key | value |
//! | --- | --- |
//! | `m` word | about the store: its layout, its secret |
//! | `q` key | nothing under this key could be read, and it has been set aside |

use bytes::Bytes;

use super::super::OpenError;
use super::super::keys;
use super::super::recovery::Recovery;
use super::super::upkeep::audit::Audit;
use super::{Table, journal};
use crate::codec::{self, CodecError, RecordKind};
use crate::upkeep::Problem;
use dormouse_domain::id::SessionId;

/// The prefix of what is about the store itself.
pub(in super::super) const NOTE: u8 = b'm';
/// The version of the format of the directory.
pub(in super::super) const FORMAT: &[u8] = b"mformat";
/// The secret of the store.
pub(in super::super) const SECRET: &[u8] = b"msecret";
/// The prefix of what has been set aside.
pub(in super::super) const ASIDE: u8 = b'q';

/// What is about the store itself.
pub(super) struct NoteTable;

/// What has been set aside.
pub(super) struct AsideTable;

/// Where the value of a key is set aside.
pub(in super::super) fn aside(key: &[u8]) -> Vec<u8> {
    [&[ASIDE], key].concat()
}

/// How many of the notes there are that a store must have.
#[derive(Default)]
struct Seen(u64);

impl Table for NoteTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&NOTE)
    }

    fn describe(&self, _: &[u8]) -> Option<String> {
        None
    }

    fn is_part(&self) -> bool {
        true
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        codec::unseal(RecordKind::Note, key, value)?;
        audit.seen::<Seen>().0 += u64::from(key == FORMAT || key == SECRET);
        Ok(())
    }

    /// Told once is enough.
    fn lose(&self, audit: &mut Audit, _: &[u8]) {
        audit.seen::<Seen>().0 += 1;
    }

    fn compare(&self, audit: &mut Audit) {
        if audit.seen::<Seen>().0 < 2 {
            let what = "the store does not say which layout it has, or its secret is lost";
            audit.add(Problem::Missing, None, what.to_owned());
        }
    }
}

impl Table for AsideTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&ASIDE)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        Some(format!("aside/{}", super::describe(key.strip_prefix(&[ASIDE])?)))
    }

    fn session(&self, key: &[u8]) -> Option<SessionId> {
        super::concerned(key.strip_prefix(&[ASIDE])?)
    }

    fn recover(&self, recovery: &mut Recovery<'_>) -> Result<(), OpenError> {
        recovery.write_aside()?;
        for entry in recovery.disk.fronts(&[ASIDE]) {
            let (key, _) = entry?;
            recovery.index.quarantined += 1;
            if let Some(id) = keys::session_of(keys::SESSION, &key[1..]) {
                recovery.index.set_aside(id, keys::describe(&key));
            }
            if let Some(id) = journal::session_of(&key[1..]) {
                recovery.index.open_turns.damage(id, keys::describe(&key));
            }
        }
        Ok(())
    }

    fn check(&self, audit: &mut Audit, key: &[u8], _: &Bytes) -> Result<(), CodecError> {
        audit.report().read.set_aside += 1;
        let key = key.get(1..).unwrap_or_default();
        if let Some(table) = super::of(key) {
            table.set_aside(audit, key);
        }
        Ok(())
    }
}
