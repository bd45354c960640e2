//! Open turns with their journals: what is staged, what goes with a session, and what a repair makes of what is
//! damaged.

use std::sync::Arc;

use super::audit::{Census, audit, settle};
use super::*;
use crate::embedded::disk::Disk;
use crate::embedded::engine::{Batch, Class, PackKind};
use crate::embedded::{keys, tables, upkeep};
use crate::read::ReadJournal;
use crate::{Bound, Expect, Store, StoreError, Write};
use dormouse_domain::effect::{EffectAnswer, EffectClass, EffectKind};
use dormouse_domain::id::TurnId;
use dormouse_domain::journal::{JournalEntry, OpenTurn, Readings, TurnAttempts};
use dormouse_domain::model::{ModelAnswer, ModelContent, StopReason};
use dormouse_domain::turn::{Part, Sender};

const LARGE: usize = 1 << 20;
const ONCE: TurnAttempts = TurnAttempts { all: 1, since_answer: 1, answered: 0 };

/// The next turn of a session, with an input of so many bytes.
fn open_turn(session: &Session, bytes: usize) -> OpenTurn {
    OpenTurn {
        session: session.id,
        turn: TurnId(uuid(session.usage.next_turn())),
        number: session.usage.next_turn(),
        revision: session.revision,
        agent: session.profile.agent.digest,
        sender: Sender::User,
        input: vec![Part::Text("x".repeat(bytes))],
        key: None,
        started_at: Timestamp(1),
        deadline: Timestamp(2),
        fuel: 3,
        monotonic_ns: 4,
        mail: None,
    }
}

/// An entry with an answer of so many bytes, or without one.
fn entry(seq: u32, answer: Option<usize>) -> JournalEntry {
    let answered = |bytes: usize| {
        EffectAnswer::Model(Ok(ModelAnswer {
            content: vec![ModelContent::Text("x".repeat(bytes))],
            stop: StopReason::End,
            usage: None,
            model: "m".to_owned(),
        }))
    };
    JournalEntry {
        seq,
        kind: EffectKind::Model,
        request: Digest::of(&seq.to_le_bytes()),
        class: EffectClass::Paid,
        readings: Readings::default(),
        salt: None,
        posted: Vec::new(),
        fuel: 1,
        calls: Vec::new(),
        answer: answer.map(answered),
    }
}

pub(super) async fn commit(store: &Embedded, transaction: Transaction) {
    store.commit(transaction).await.expect("it is committed");
}

/// Sessions of these numbers, each with an open turn and two entries.
async fn with_open_turns(store: &Embedded, numbers: &[u64]) {
    for number in numbers {
        let session = session(*number);
        commit(store, Transaction::create(new(session.clone()), Vec::new())).await;
        let opened = Transaction::open_turn(open_turn(&session, 10))
            .and(Transaction::turn_attempts(session.id, ONCE))
            .and(Transaction::journal(session.id, entry(1, None)));
        commit(store, opened).await;
        commit(store, Transaction::journal(session.id, entry(1, Some(10)))).await;
        commit(store, Transaction::journal(session.id, entry(2, None))).await;
    }
}

fn seqs(entries: &[JournalEntry]) -> Vec<u32> {
    entries.iter().map(|entry| entry.seq).collect()
}

/// How many keys there are of these prefixes.
pub(super) fn rows(store: &Embedded, prefix: &[u8]) -> usize {
    inside(store).disk.fronts(prefix).count()
}

fn large_packs(store: &Embedded) -> u64 {
    let stat = inside(store).disk.stat();
    stat.kinds.get(&PackKind::Large).map_or(0, |kind| kind.packs)
}

pub(super) fn tamper(root: &Path, change: impl FnOnce(&Disk, &mut Batch)) {
    let disk = Disk::open(root, &small(), Arc::new(|_| {})).expect("it opens");
    let mut batch = Batch::default();
    change(&disk, &mut batch);
    disk.write(batch).expect("it is written");
}

/// What a check tells, but for the agents, which few tests keep.
pub(super) fn told(root: &Path) -> Vec<String> {
    let report = upkeep::check(root, small()).expect("it reads");
    let all = report.findings.into_iter().map(|finding| finding.what);
    all.filter(|what| !what.contains("its agent")).collect()
}

#[tokio::test]
async fn large_inputs_and_answers_are_staged_and_go_with_their_turn() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let first = session(1);
    commit(&store, Transaction::create(new(first.clone()), Vec::new())).await;
    let opened = open_turn(&first, LARGE);
    commit(&store, Transaction::open_turn(opened.clone())).await;
    let entries = [entry(1, Some(LARGE)), entry(2, Some(10)), entry(3, Some(LARGE))];
    for entry in &entries {
        commit(
            &store,
            Transaction::journal(first.id, JournalEntry { answer: None, ..entry.clone() }),
        )
        .await;
        commit(&store, Transaction::journal(first.id, entry.clone())).await;
        let overlay = inside(&store).disk.stat().overlay_bytes;
        assert!(overlay < LARGE / 2, "what is not applied yet has {overlay} bytes");
    }
    assert_eq!(large_packs(&store), 3, "each is staged");
    store.close().await.expect("it closes");

    let store = open(root.path());
    let found = store.open_turn(first.id).await.expect("it reads");
    assert_eq!(found, Some((opened, TurnAttempts::default())));
    let page = store.journal(first.id, 0, most(9)).await.expect("it reads");
    assert_eq!((page.entries.as_slice(), page.next), (entries.as_slice(), None));
    let bound = Bound { entries: 9, bytes: LARGE / 2 };
    let page = store.journal(first.id, 0, bound).await.expect("it reads");
    assert_eq!((seqs(&page.entries), page.next), (vec![1], Some(1)), "a page ends with its bytes");
    // What is large takes the place of what was, in the same group and in the same transaction too.
    let twice = Transaction::journal(first.id, entry(3, Some(10)))
        .and(Transaction::journal(first.id, entry(4, None)))
        .and(Transaction::journal(first.id, entry(4, Some(LARGE))));
    commit(&store, twice).await;
    let page = store.journal(first.id, 2, most(9)).await.expect("it reads");
    assert_eq!(page.entries, [entry(3, Some(10)), entry(4, Some(LARGE))]);

    let ended = Transaction::turn(turn(&first, 10, 10)).and(Transaction::close_turn(first.id));
    commit(&store, ended).await;
    assert_eq!(rows(&store, b"j"), 0);
    assert_eq!(store.open_turns().await.expect("it reads"), []);
    store.close().await.expect("it closes");
    let store = open(root.path());
    assert_eq!((large_packs(&store), store.open_turns().await.expect("it reads")), (0, vec![]));
    assert_eq!(store.open_turn(first.id).await.expect("it reads"), None);
}

#[tokio::test]
async fn an_open_turn_is_known_after_a_start_and_goes_with_its_session() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    with_open_turns(&store, &[2, 1, 3]).await;
    store.close().await.expect("it closes");
    let store = open(root.path());
    let all = [1, 2, 3].map(session_id).to_vec();
    assert_eq!(store.open_turns().await.expect("it reads"), all);
    let found = store.open_turn(session_id(2)).await.expect("it reads");
    assert_eq!(found, Some((open_turn(&session(2), 10), ONCE)));
    let again = store.commit(Transaction::open_turn(open_turn(&session(2), 10))).await;
    assert!(matches!(again, Err(StoreError::Conflict(id)) if id == session_id(2)));

    // An entry that comes in the same group as the removal leaves nothing either.
    let last = store.commit(Transaction::journal(session_id(2), entry(3, None)));
    let removal = store.commit(Transaction::remove_session(session_id(2), Vec::new()));
    let (last, removed) = tokio::join!(last, removal);
    last.and(removed).expect("both are committed");
    assert_eq!(store.open_turn(session_id(2)).await.expect("it reads"), None);
    assert_eq!(store.journal(session_id(2), 0, most(9)).await.expect("it reads").entries, []);
    settle(&store).await;
    audit(&store);
    for number in [1, 3] {
        commit(&store, Transaction::remove_session(session_id(number), Vec::new())).await;
    }
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}

#[tokio::test]
async fn a_turn_without_effects_writes_no_more_than_its_record() {
    let store = temporary();
    let first = session(1);
    commit(&store, Transaction::create(new(first.clone()), Vec::new())).await;
    let before = rows(&store, &[]);
    let mut quiet = turn(&first, 10, 0);
    quiet.snapshot = None;
    Arc::make_mut(&mut quiet.session).head = None;
    quiet.events.clear();
    // Nobody has opened it: closing it writes nothing.
    commit(&store, Transaction::turn(quiet).and(Transaction::close_turn(first.id))).await;
    assert_eq!(rows(&store, &[]), before, "the turn goes along with the record");
}

#[tokio::test]
async fn a_turn_that_is_closed_and_one_that_is_opened_in_one_group_do_not_mix() {
    let store = temporary();
    with_open_turns(&store, &[1]).await;
    let id = session_id(1);
    let other = OpenTurn { number: 2, ..open_turn(&session(1), 20) };
    let (closed, opened, noted) = tokio::join!(
        store.commit(Transaction::close_turn(id)),
        store.commit(Transaction::open_turn(other.clone())),
        store.commit(Transaction::journal(id, entry(1, None))),
    );
    closed.and(opened).and(noted).expect("all are committed");
    let found = store.open_turn(id).await.expect("it reads");
    assert_eq!(found, Some((other, TurnAttempts::default())));
    let entries = store.journal(id, 0, most(9)).await.expect("it reads").entries;
    assert_eq!(entries, [entry(1, None)]);
    commit(&store, Transaction::close_turn(id)).await;
    assert_eq!(rows(&store, b"j"), 0);
}

#[tokio::test]
async fn of_a_journal_with_a_damaged_row_nothing_is_read_and_its_turn_can_be_closed() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    with_open_turns(&store, &[1, 2, 3]).await;
    store.close().await.expect("it closes");
    let first_entry = |number: u64| {
        let prefix = tables::journal::rows(session_id(number));
        [&prefix[..], b"e", &1_u32.to_be_bytes()].concat()
    };
    tamper(root.path(), |_, batch| {
        batch.put(Class::Head, first_entry(1), b"nothing".to_vec());
        batch.delete(first_entry(2));
    });
    let store = open(root.path());
    let read = store.journal(session_id(1), 0, most(9)).await;
    let name = |number: u64| format!("session/{}/journal/1", session_id(number));
    assert!(matches!(read, Err(StoreError::Damaged(key)) if key == name(1)));
    let read = store.journal(session_id(2), 0, most(9)).await;
    assert!(matches!(read, Err(StoreError::Damaged(key)) if key == name(2)), "none is passed over");
    store.close().await.expect("it closes");

    let open_turn_of = |number: u64| format!("session/{}/open-turn", session_id(number));
    let expected = [
        format!("{}: its checksum does not fit", name(1)),
        format!("{}: an entry of its journal is not there", open_turn_of(2)),
    ];
    assert_eq!(told(root.path()), expected);
    let repaired = upkeep::repair(root.path(), small()).expect("it is repaired");
    let left: Vec<_> = repaired.left.iter().filter(|what| !what.contains("its agent")).collect();
    assert_eq!(left, Vec::<&String>::new());
    assert_eq!(told(root.path()), [""; 0]);

    let store = open(root.path());
    for number in [1, 2] {
        let id = session_id(number);
        let (open, entries) = (store.open_turn(id).await, store.journal(id, 1, most(9)).await);
        let aside = format!("aside/{}", name(number));
        assert!(matches!(open, Err(StoreError::Damaged(key)) if key == aside));
        assert!(matches!(entries, Err(StoreError::Damaged(key)) if key == aside));
    }
    let all = [1, 2, 3].map(session_id).to_vec();
    assert_eq!(store.open_turns().await.expect("it reads"), all);
    let good = store.journal(session_id(3), 0, most(9)).await.expect("it reads");
    assert_eq!(seqs(&good.entries), [1, 2]);
    for number in [1, 2] {
        commit(&store, Transaction::close_turn(session_id(number))).await;
        assert_eq!(store.open_turn(session_id(number)).await.expect("it reads"), None);
    }
    store.close().await.expect("it closes");
    assert_eq!(open(root.path()).stats().quarantined, 0);
}

#[tokio::test]
async fn an_open_turn_that_is_damaged_is_set_aside_and_told_first() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    with_open_turns(&store, &[1, 2]).await;
    store.close().await.expect("it closes");
    tamper(root.path(), |_, batch| {
        batch.put(
            Class::Inline,
            tables::journal::open(session_id(2)).to_vec(),
            b"nothing".to_vec(),
        );
    });
    let store = open(root.path());
    assert_eq!(store.stats().quarantined, 1);
    let all = [2, 1].map(session_id).to_vec();
    assert_eq!(store.open_turns().await.expect("it reads"), all);
    assert!(matches!(store.open_turn(session_id(2)).await, Err(StoreError::Damaged(_))));
    let again = store.commit(Transaction::open_turn(open_turn(&session(2), 1))).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "it is open still");
    commit(&store, Transaction::close_turn(session_id(2))).await;
    commit(&store, Transaction::open_turn(open_turn(&session(2), 1))).await;
    let entries = store.journal(session_id(2), 0, most(9)).await.expect("it reads").entries;
    assert_eq!(entries, []);
}

#[tokio::test]
async fn a_journal_of_a_turn_that_is_over_and_one_without_a_session_are_told_and_removed() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    with_open_turns(&store, &[1, 2, 3]).await;
    commit(&store, Transaction::turn(turn(&session(1), 10, 10))).await;
    store.close().await.expect("it closes");
    tamper(root.path(), |_, batch| batch.delete(keys::session(session_id(2)).to_vec()));
    let open_turn_of = |number: u64| format!("session/{}/open-turn", session_id(number));
    let expected = [
        format!("{}: the turn is over", open_turn_of(1)),
        format!("{}: there is no such session", open_turn_of(2)),
    ];
    assert_eq!(told(root.path()), expected);
    upkeep::repair(root.path(), small()).expect("it is repaired");
    assert_eq!(told(root.path()), [""; 0]);
    let store = open(root.path());
    assert_eq!(store.open_turns().await.expect("it reads"), [session_id(3)]);
    assert_eq!(store.open_turn(session_id(1)).await.expect("it reads"), None);
}

#[tokio::test]
async fn a_journal_is_not_written_blindly() {
    let store = temporary();
    with_open_turns(&store, &[1]).await;
    let id = session_id(1);
    let open = Write::OpenTurn(Box::new(open_turn(&session(1), 1)));
    let blind = Transaction { writes: vec![open], ..Transaction::default() };
    for expect in [Vec::new(), vec![Expect::Session(id)], vec![Expect::NoOpenTurn(id)]] {
        let refused = store.commit(Transaction { expect, ..blind.clone() }).await;
        assert!(matches!(refused, Err(StoreError::Conflict(told)) if told == id));
    }
    commit(&store, Transaction::close_turn(id)).await;
    for late in [Transaction::journal(id, entry(3, None)), Transaction::turn_attempts(id, ONCE)] {
        let refused = store.commit(late).await;
        assert!(matches!(refused, Err(StoreError::Conflict(told)) if told == id), "it is over");
    }
    assert_eq!(rows(&store, b"j"), 0);
}
