//! What the index takes in memory is charged and bounded, whatever labels sessions have.

use super::{Embedded, new, next, open, session, session_id};
use crate::read::ReadSessions;
use crate::upkeep::Upkeep;
use crate::{SessionQuery, Store, StoreError, Transaction};
use dormouse_base::memory::MemoryBudget;
use dormouse_domain::creation::{MAX_TAG_BYTES, MAX_TAGS};
use dormouse_domain::id::Principal;
use dormouse_domain::session::Session;

const BUDGET: u64 = 1 << 20;

/// A session with as many labels as it may have, which no other has.
fn labelled(number: u64, owner: &str) -> Session {
    let mut session = session(number);
    session.owner = Principal(owner.to_owned());
    session.profile.user_id = Some(format!("{number:0200}"));
    let tag = |place| format!("{place:04}{number:0width$}", width = MAX_TAG_BYTES / MAX_TAGS - 4);
    session.profile.tags = (0..MAX_TAGS).map(tag).collect();
    session
}

/// Create sessions of this owner until one is refused. Returns how many were taken.
async fn fill(store: &Embedded, owner: &str, first: u64) -> u64 {
    for number in first.. {
        match store.commit(Transaction::create(new(labelled(number, owner)), Vec::new())).await {
            Ok(()) => {}
            Err(StoreError::TooManySessions) => return number - first,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("the numbers end later")
}

#[tokio::test]
async fn labels_are_charged_and_an_owner_gets_no_more_than_is_left_for_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let memory = MemoryBudget::new(BUDGET);
    let store = open(directory.path());
    store.charge_to(&memory);

    let first = fill(&store, "ann", 0).await;
    assert_eq!(memory.used(), store.stats().index_bytes);
    assert!((60..120).contains(&first), "{first} sessions of some 3,500 bytes");
    assert!(memory.used() <= BUDGET / 4, "{}", memory.used());
    let second = fill(&store, "bob", 10_000).await;
    assert!((first / 3..=first).contains(&second), "{second} after {first}");
    assert_eq!(memory.used(), store.stats().index_bytes);
    assert!(memory.used() <= BUDGET / 2);

    // They are found by their labels, and go on.
    let wanted = labelled(7, "ann");
    let query = SessionQuery {
        tags: vec![wanted.profile.tags[3].clone()],
        limit: 9,
        ..SessionQuery::default()
    };
    assert_eq!(
        store.sessions(query).await.expect("it lists").sessions,
        std::slice::from_ref(&wanted)
    );
    store.commit(Transaction::update(next(&wanted), None, Vec::new())).await.expect("it is there");
    assert_eq!(memory.used(), store.stats().index_bytes);

    // What is deleted gives back what it took, and so does a store that is closed.
    let full = memory.used();
    for number in 0..first / 2 {
        store
            .commit(Transaction::remove_session(session_id(number), Vec::new()))
            .await
            .expect("it is there");
    }
    assert_eq!(memory.used(), store.stats().index_bytes);
    assert!(memory.used() < full - 3_000 * (first / 2), "{} of {full}", memory.used());
    store
        .commit(Transaction::create(new(labelled(5_000, "ann")), Vec::new()))
        .await
        .expect("there is room");
    let charged = memory.used();
    store.close().await.expect("it closes");
    drop(store);
    assert_eq!(memory.used(), 0);

    // Those that there are are all known, however little memory there is; no more come.
    let little = MemoryBudget::new(1_000);
    let store = open(directory.path());
    store.charge_to(&little);
    assert_eq!(little.used(), charged);
    let refused = store.commit(Transaction::create(new(session(20_000)), Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::TooManySessions)), "{refused:?}");
    store.close().await.expect("it closes");
}

#[tokio::test]
async fn a_session_waits_for_memory_that_others_hold_now() {
    let memory = MemoryBudget::new(BUDGET);
    let store = super::temporary();
    store.charge_to(&memory);
    let mut guests = memory.account();
    guests.charge(BUDGET).expect("it fits");
    let refused = store.commit(Transaction::create(new(session(1)), Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::OutOfMemory)), "{refused:?}");
    drop(guests);
    store.commit(Transaction::create(new(session(1)), Vec::new())).await.expect("there is memory");
    store.close().await.expect("it closes");
}
