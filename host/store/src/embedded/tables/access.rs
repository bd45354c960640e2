//! Keys of the API: `k` id, the value whose key it is and what it allows. The secret of a key is not kept.
//!
//! A key whose value is damaged, or was set aside, admits nobody. It counts as a key all the same: a host
//! that has keys is not open to callers without one.

use async_trait::async_trait;
use bytes::Bytes;
use minicbor::{CborLen, Decode, Encode};

use super::super::Embedded;
use super::super::commit::EncodedWrite;
use super::super::commit_group::CommitGroup;
use super::super::keys;
use super::super::upkeep::audit::Audit;
use super::{Table, malformed};
use crate::StoreError;
use crate::codec::{self, CodecError, RecordKind};
use crate::read::{ReadKeys, StoredKeys};
use dormouse_domain::access::{AccessKey, KeyId, Role};
use dormouse_domain::id::Principal;
use dormouse_domain::time::Timestamp;

/// The prefix of all keys.
const KEY: u8 = b'k';
/// The most bytes that the principal of a key has.
const PRINCIPAL: usize = 256;

/// What is kept beside the id.
#[derive(Encode, Decode, CborLen)]
struct Row {
    #[n(0)]
    principal: String,
    #[n(1)]
    role: String,
    #[cbor(n(2), with = "minicbor::bytes")]
    hash: [u8; 32],
    #[n(3)]
    created_at: i64,
    #[n(4)]
    expires_at: Option<i64>,
    #[n(5)]
    last_used_at: Option<i64>,
}

/// The keys of the API.
pub(super) struct KeyTable;

fn key_of(id: KeyId) -> [u8; 9] {
    let mut key = [KEY; 9];
    key[1..].copy_from_slice(&id.0);
    key
}

fn id_of(key: &[u8]) -> Option<KeyId> {
    Some(KeyId(key.strip_prefix(&[KEY])?.try_into().ok()?))
}

/// A key of the API, encoded.
pub(super) fn encode(key: AccessKey) -> Result<EncodedWrite, StoreError> {
    if key.principal.0.len() > PRINCIPAL {
        return Err(StoreError::TooLarge {
            what: "the principal of a key in bytes",
            limit: PRINCIPAL,
        });
    }
    let row = Row {
        principal: key.principal.0,
        role: key.role.as_str().to_owned(),
        hash: key.hash,
        created_at: key.created_at.0,
        expires_at: key.expires_at.map(|at| at.0),
        last_used_at: key.last_used_at.map(|at| at.0),
    };
    let key = key_of(key.id);
    let value = codec::seal(&key, &[&codec::to_cbor(&row)]);
    Ok(EncodedWrite::Row(key.to_vec(), Some(value)))
}

/// The removal of a key.
pub(super) fn remove(id: KeyId) -> EncodedWrite {
    EncodedWrite::Row(key_of(id).to_vec(), None)
}

/// Whether there is no key of this id, and nothing is left of one.
pub(super) fn expect_new(group: &mut CommitGroup<'_>, id: KeyId) -> Result<(), StoreError> {
    let key = key_of(id);
    let is_free = group.row(&key)?.is_none() && group.row(&keys::aside(&key))?.is_none();
    if is_free { Ok(()) } else { Err(StoreError::KeyExists(id)) }
}

/// Whether there is a key of this id, damaged or not.
pub(super) fn expect_there(group: &mut CommitGroup<'_>, id: KeyId) -> Result<(), StoreError> {
    match group.row(&key_of(id)) {
        Ok(None) => Err(StoreError::KeyNotFound(id)),
        // What cannot be read can still be revoked.
        Ok(Some(_)) | Err(StoreError::Damaged(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn decode(key: &[u8], value: &[u8]) -> Result<AccessKey, CodecError> {
    let value = codec::unseal(RecordKind::Row, key, value)?;
    let row: Row = codec::from_cbor(&value)?;
    let id = id_of(key).ok_or_else(|| malformed("its key is no id"))?;
    let role = Role::from_word(&row.role).ok_or_else(|| malformed("there is no such role"))?;
    Ok(AccessKey {
        id,
        principal: Principal(row.principal),
        role,
        hash: row.hash,
        created_at: Timestamp(row.created_at),
        expires_at: row.expires_at.map(Timestamp),
        last_used_at: row.last_used_at.map(Timestamp),
    })
}

impl Table for KeyTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&KEY)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        Some(format!("key/{}", id_of(key)?))
    }

    fn is_missed(&self) -> bool {
        true
    }

    fn check(&self, _: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        decode(key, value).map(drop)
    }
}

#[async_trait]
impl ReadKeys for Embedded {
    async fn keys(&self) -> Result<StoredKeys, StoreError> {
        self.read(|shared| {
            let mut found = StoredKeys::default();
            for entry in shared.disk.from(&[KEY], &[KEY]) {
                match entry {
                    Ok((key, value)) => match decode(&key, &value) {
                        Ok(known) => found.keys.push(known),
                        Err(error) => {
                            shared.damaged(&key, &error);
                            found.lost += 1;
                        }
                    },
                    Err(StoreError::Damaged(_)) => found.lost += 1,
                    Err(error) => return Err(error),
                }
            }
            let aside = keys::aside(&[KEY]);
            for entry in shared.disk.fronts(&aside) {
                entry?;
                found.lost += 1;
            }
            Ok(found)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::engine::{Batch, Class};
    use super::super::super::tests::{open, small};
    use super::super::super::{held, upkeep};
    use super::*;
    use crate::conformance::samples;
    use crate::{Store, Transaction};

    #[tokio::test]
    async fn a_damaged_key_admits_nobody_and_still_counts_after_a_repair() {
        let root = tempfile::tempdir().expect("there is room");
        let store = open(root.path());
        let (good, bad) = (samples::access_key(1), samples::access_key(2));
        for key in [&good, &bad] {
            store.commit(Transaction::new_key(key.clone(), Vec::new())).await.expect("it is new");
        }
        let mut batch = Batch::default();
        batch.put(Class::Rows, key_of(bad.id).to_vec(), b"nothing".to_vec());
        let shared = held(&store.shared).clone().expect("it is open");
        shared.disk.write(batch).expect("it is written");
        drop(shared);
        let expected = StoredKeys { keys: vec![good], lost: 1 };
        assert_eq!(store.keys().await.expect("it reads"), expected);
        let again = store.commit(Transaction::new_key(bad.clone(), Vec::new())).await;
        assert!(matches!(again, Err(StoreError::KeyExists(id)) if id == bad.id));
        store.close().await.expect("it closes");

        let found = upkeep::check(root.path(), small()).expect("it reads");
        let told: Vec<_> = found.findings.iter().map(|finding| &*finding.what).collect();
        assert_eq!(told, ["key/0000000000000002: its checksum does not fit"]);
        let repaired = upkeep::repair(root.path(), small()).expect("it is repaired");
        assert_eq!(repaired.left, [""; 0]);
        let store = open(root.path());
        assert_eq!(store.keys().await.expect("it reads"), expected);
    }
}
