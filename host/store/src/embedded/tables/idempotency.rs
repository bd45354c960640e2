//! Idempotency keys: `i` length owner key, the value what the message has led to that came with it.
//!
//! A key outlives its session, so that a message which is sent again is not taken for a new one. Where what
//! lay under a key is lost, no message is taken under it any more.

use async_trait::async_trait;
use bytes::Bytes;
use minicbor::{CborLen, Decode, Encode};
use uuid::Uuid;

use super::super::commit::EncodedWrite;
use super::super::commit_group::CommitGroup;
use super::super::keys::{self, length_of, split_owner, text};
use super::super::upkeep::audit::Audit;
use super::super::{Embedded, EmbeddedShared};
use super::{Table, malformed};
use crate::StoreError;
use crate::codec::{self, CodecError, RecordKind};
use crate::read::ReadIdempotency;
use dormouse_domain::agent::Digest;
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{IdempotencyKey, IdempotencyRecord};

/// The prefix of all idempotency keys.
const IDEMPOTENCY: u8 = b'i';
/// The most bytes that the owner and the key take: they are in the key of the row.
const KEY: usize = 512;

/// What is kept beside the key.
#[derive(Encode, Decode, CborLen)]
struct Row {
    #[cbor(n(0), with = "minicbor::bytes")]
    request: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    session: [u8; 16],
    #[n(2)]
    turn: u64,
    #[n(3)]
    expires_at: i64,
}

/// The idempotency keys.
pub(super) struct IdempotencyTable;

/// Whether a key is as short as it has to be.
pub(super) fn check(key: &IdempotencyKey) -> Result<(), StoreError> {
    if key.owner.0.len() + key.key.len() > KEY {
        let what = "the owner and the idempotency key in bytes";
        return Err(StoreError::TooLarge { what, limit: KEY });
    }
    Ok(())
}

fn key_of(key: &IdempotencyKey) -> Result<Vec<u8>, StoreError> {
    check(key)?;
    let IdempotencyKey { owner, key } = key;
    Ok([&[IDEMPOTENCY], &length_of(owner)[..], owner.0.as_bytes(), key.as_bytes()].concat())
}

/// What a message has led to, encoded.
pub(super) fn encode(record: &IdempotencyRecord) -> Result<EncodedWrite, StoreError> {
    let key = key_of(&record.key)?;
    let row = Row {
        request: record.request.0,
        session: *record.session.0.as_bytes(),
        turn: record.turn,
        expires_at: record.expires_at.0,
    };
    let value = codec::seal(&key, &[&codec::to_cbor(&row)]);
    Ok(EncodedWrite::Row(key, Some(value)))
}

/// The removal of a key.
pub(super) fn remove(key: &IdempotencyKey) -> Result<EncodedWrite, StoreError> {
    Ok(EncodedWrite::Row(key_of(key)?, None))
}

/// Whether no message has come with this key.
pub(super) fn expect_new(
    group: &mut CommitGroup<'_>,
    key: &IdempotencyKey,
) -> Result<(), StoreError> {
    let row = key_of(key)?;
    let aside = keys::aside(&row);
    if group.row(&aside)?.is_some() {
        return Err(StoreError::Damaged(keys::describe(&aside)));
    }
    let Some(value) = group.row(&row)? else { return Ok(()) };
    match decode(&row, &value) {
        Ok(known) => Err(StoreError::IdempotencyKeyUsed(known.session)),
        Err(_) => Err(StoreError::Damaged(keys::describe(&row))),
    }
}

fn decode(key: &[u8], value: &[u8]) -> Result<IdempotencyRecord, CodecError> {
    let value = codec::unseal(RecordKind::Row, key, value)?;
    let row: Row = codec::from_cbor(&value)?;
    let name = key.strip_prefix(&[IDEMPOTENCY]).and_then(split_owner);
    let (owner, name) = name.ok_or_else(|| malformed("it has no owner"))?;
    let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
    let (Ok(owner), Ok(key)) = (string(owner), string(name)) else {
        return Err(malformed("its key is no text"));
    };
    Ok(IdempotencyRecord {
        key: IdempotencyKey { owner: Principal(owner), key },
        request: Digest(row.request),
        session: SessionId(Uuid::from_bytes(row.session)),
        turn: row.turn,
        expires_at: Timestamp(row.expires_at),
    })
}

/// Whether a key may be forgotten at this time. One whose value does not decode may not.
pub(in super::super) fn has_expired(key: &[u8], value: &[u8], now: Timestamp) -> bool {
    decode(key, value).is_ok_and(|record| record.expires_at <= now)
}

impl EmbeddedShared {
    /// The first keys behind this one that may be forgotten at this time, at most `limit`.
    pub(in super::super) fn expired_keys(
        &self,
        after: Option<&[u8]>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let first = after.map_or(vec![IDEMPOTENCY], |after| [after, &[0]].concat());
        let mut expired = Vec::new();
        for entry in self.disk.from(&first, &[IDEMPOTENCY]) {
            if self.is_closing() {
                return Err(StoreError::Closed);
            }
            match entry {
                Ok((key, value)) if has_expired(&key, &value, now) => expired.push(key.to_vec()),
                // What is damaged stays, so that no message is taken under it.
                Ok(_) | Err(StoreError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
            if expired.len() == limit {
                break;
            }
        }
        Ok(expired)
    }
}

impl Table for IdempotencyTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&IDEMPOTENCY)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        let (owner, name) = split_owner(key.strip_prefix(&[IDEMPOTENCY])?)?;
        Some(format!("idempotency/{}/{}", text(owner), text(name)))
    }

    fn is_missed(&self) -> bool {
        true
    }

    fn check(&self, _: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        decode(key, value).map(drop)
    }
}

#[async_trait]
impl ReadIdempotency for Embedded {
    async fn idempotency(
        &self,
        key: IdempotencyKey,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        let key = key_of(&key)?;
        self.read(move |shared| {
            let Some(value) = shared.disk.get(&key)? else {
                // A key that a repair has set aside was used, by a message that nobody knows any more.
                let aside = keys::aside(&key);
                return match shared.disk.get(&aside)? {
                    Some(_) => Err(StoreError::Damaged(keys::describe(&aside))),
                    None => Ok(None),
                };
            };
            decode(&key, &value).map(Some).map_err(|error| shared.damaged(&key, &error))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::commit::Draft;
    use super::super::super::engine::{Batch, Class};
    use super::super::super::tests::{open, small};
    use super::super::super::{held, upkeep};
    use super::super::LAYOUT;
    use super::*;
    use crate::conformance::examples::session_id;
    use crate::memory::MemoryStore;
    use crate::read::ReadSessions;
    use crate::upkeep::Upkeep;
    use crate::{Expect, Store, Transaction, Write};

    fn record(owner: &str, key: &str, turn: u64) -> IdempotencyRecord {
        IdempotencyRecord {
            key: IdempotencyKey { owner: Principal(owner.to_owned()), key: key.to_owned() },
            request: Digest::of(b"hello"),
            session: session_id(turn),
            turn,
            expires_at: Timestamp(7),
        }
    }

    fn put(record: &IdempotencyRecord) -> Transaction {
        Transaction {
            expect: vec![Expect::NewIdempotencyKey(record.key.clone())],
            writes: vec![Write::Idempotency(Box::new(record.clone()))],
            events: Vec::new(),
        }
    }

    /// Change what is durable, as damage or an earlier version would.
    fn change(store: &Embedded, key: &[u8], value: Vec<u8>) {
        let mut batch = Batch::default();
        batch.put(Class::Rows, key.to_vec(), value);
        let shared = held(&store.shared).clone().expect("it is open");
        shared.disk.write(batch).expect("it is written");
    }

    async fn is_kept_once(store: &dyn Store) {
        let (one, other) = (record("ann", "bob/1", 1), record("ann/bob", "1", 2));
        for one in [&one, &other] {
            assert_eq!(store.idempotency(one.key.clone()).await.expect("it reads"), None);
            store.commit(put(one)).await.expect("it is new");
            assert_eq!(
                store.idempotency(one.key.clone()).await.expect("it reads").as_ref(),
                Some(one)
            );
        }
        let again = store.commit(put(&IdempotencyRecord { turn: 9, ..one.clone() })).await;
        assert!(matches!(again, Err(StoreError::IdempotencyKeyUsed(id)) if id == one.session));
        let blind = Transaction { expect: Vec::new(), ..put(&record("ann", "new", 3)) };
        assert!(matches!(store.commit(blind).await, Err(StoreError::Conflict(_))));
        let writes = vec![Write::RemoveIdempotency(one.key.clone())];
        store
            .commit(Transaction { writes, ..Transaction::default() })
            .await
            .expect("it is removed");
        assert_eq!(store.idempotency(one.key.clone()).await.expect("it reads"), None);
        store.commit(put(&one)).await.expect("it is new again");
        assert_eq!(store.idempotency(other.key.clone()).await.expect("it reads"), Some(other));
    }

    #[tokio::test]
    async fn a_key_is_kept_once_and_is_its_owners() {
        is_kept_once(&MemoryStore::default()).await;
        let root = tempfile::tempdir().expect("there is room");
        let store = open(root.path());
        is_kept_once(&store).await;
        store.close().await.expect("it closes");
        let found = open(root.path()).idempotency(record("ann", "bob/1", 1).key).await;
        assert_eq!(found.expect("it reads"), Some(record("ann", "bob/1", 1)));
    }

    #[tokio::test]
    async fn keys_are_forgotten_once_they_may_be_also_where_they_are_many() {
        let store = Embedded::temporary(small()).expect("it opens");
        let until = |number: i64| IdempotencyRecord {
            expires_at: Timestamp(number),
            ..record("ann", &number.to_string(), 1)
        };
        for some in (0..600).collect::<Vec<i64>>().chunks(100) {
            let all = some.iter().map(|number| put(&until(*number)));
            let all = all.fold(Transaction::default(), Transaction::and);
            store.commit(all).await.expect("they are new");
        }
        let damaged = key_of(&until(1).key).expect("it is short");
        change(&store, &damaged, b"nothing".to_vec());
        let stale = vec![damaged.clone(), key_of(&until(599).key).expect("it is short")];
        let forget = Draft::of(EncodedWrite::ForgetKeys(Timestamp(598), stale));
        store.queue(forget).await.expect("neither may be forgotten");

        store.expire(Timestamp(598)).await.expect("it is done");
        let shared = held(&store.shared).clone().expect("it is open");
        let left: Vec<_> = shared.disk.fronts(&[IDEMPOTENCY]).flatten().map(|it| it.0).collect();
        assert_eq!(left, [damaged, key_of(&until(599).key).expect("it is short")]);
        store.expire(Timestamp(599)).await.expect("it is done");
        assert_eq!(store.idempotency(until(599).key).await.expect("it reads"), None);
        store.commit(put(&until(599))).await.expect("it is new again");
    }

    #[tokio::test]
    async fn a_damaged_key_is_found_and_set_aside_and_no_message_is_taken_under_it() {
        let root = tempfile::tempdir().expect("there is room");
        let store = open(root.path());
        let (good, bad) = (record("ann", "good", 1), record("ann", "bad", 2));
        store.commit(put(&good)).await.expect("it is new");
        store.commit(put(&bad)).await.expect("it is new");
        change(&store, &key_of(&bad.key).expect("it is short"), b"nothing".to_vec());
        let read = store.idempotency(bad.key.clone()).await;
        assert!(matches!(read, Err(StoreError::Damaged(key)) if key == "idempotency/ann/bad"));
        assert!(matches!(store.commit(put(&bad)).await, Err(StoreError::Damaged(_))));
        store.close().await.expect("it closes");

        let found = upkeep::check(root.path(), small()).expect("it reads");
        let told: Vec<_> = found.findings.iter().map(|finding| &*finding.what).collect();
        assert_eq!(told, ["idempotency/ann/bad: its checksum does not fit"]);
        let repaired = upkeep::repair(root.path(), small()).expect("it is repaired");
        assert_eq!(repaired.left, [""; 0]);
        assert!(upkeep::check(root.path(), small()).expect("it reads").is_well());

        let store = open(root.path());
        assert_eq!(store.idempotency(good.key.clone()).await.expect("it reads"), Some(good));
        let read = store.idempotency(bad.key.clone()).await;
        assert!(
            matches!(read, Err(StoreError::Damaged(_))),
            "it was used, as far as anybody knows"
        );
        assert!(matches!(store.commit(put(&bad)).await, Err(StoreError::Damaged(_))));
    }

    #[tokio::test]
    async fn a_directory_from_before_there_were_keys_gets_the_layout_that_has_them() {
        let root = tempfile::tempdir().expect("there is room");
        let store = open(root.path());
        change(&store, keys::FORMAT, codec::seal(keys::FORMAT, &[&[4]]));
        store.close().await.expect("it closes");
        let store = open(root.path());
        let shared = held(&store.shared).clone().expect("it is open");
        let layout = shared.disk.get(keys::FORMAT).expect("it reads").expect("it is there");
        assert_eq!(layout, codec::seal(keys::FORMAT, &[&[LAYOUT]]));
        assert_eq!(store.session(session_id(1)).await.expect("it reads"), None);
        store.commit(put(&record("ann", "one", 1))).await.expect("it is new");
    }
}
