//! Mailboxes: order under load, what an opening finds, and damage.

use std::sync::Arc;

use super::super::engine::{Batch, Class};
use super::super::tables::mail::MailKey;
use super::super::{Embedded, held, upkeep};
use super::{open, small};
use crate::conformance::examples::{new, session, session_id, turn};
use crate::read::{ReadMail, ReadSessions, StoredMail};
use crate::upkeep::{CheckReport, Upkeep};
use crate::{Store, StoreError, Transaction};
use dormouse_domain::id::SessionId;
use dormouse_domain::mail::{Mail, MailboxSize};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{Part, text_of};

fn mail(from: u64, text: &str) -> Mail {
    let content = vec![Part::Text(text.to_owned())];
    Mail { from: session_id(from), sent_at: Timestamp(1), content }
}

async fn commit(store: &Embedded, transaction: Transaction) {
    store.commit(transaction).await.expect("it is committed");
}

async fn first(store: &Embedded, id: SessionId) -> Option<StoredMail> {
    store.first_mail(id).await.expect("it reads")
}

/// Take all mail of a session, one after the other. Answers with who has sent what.
async fn take_all(store: &Embedded, id: SessionId) -> Vec<(SessionId, String)> {
    let mut taken = Vec::new();
    while let Some(StoredMail { number, mail, .. }) = first(store, id).await {
        let mail = mail.expect("it is well");
        taken.push((mail.from, text_of(&mail.content)));
        commit(store, Transaction::take_mail(id, number)).await;
        let twice = store.commit(Transaction::take_mail(id, number)).await;
        assert!(matches!(twice, Err(StoreError::Conflict(told)) if told == id));
    }
    taken
}

/// What is wrong with mail.
fn of_mail(found: &CheckReport) -> Vec<&str> {
    let all = found.findings.iter().map(|finding| &*finding.what);
    all.filter(|what| what.contains("/mail/")).collect()
}

/// A store with sessions 1 and 2.
async fn two_sessions(root: &std::path::Path) -> Embedded {
    let store = open(root);
    let both = [session(1), session(2)].into_iter().flat_map(new).collect();
    commit(&store, Transaction::create(both, Vec::new())).await;
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_that_come_at_once_are_each_kept_and_those_of_one_sender_in_order() {
    let root = tempfile::tempdir().expect("there is room");
    let store = Arc::new(two_sessions(root.path()).await);
    let to = session_id(1);
    let senders = (10..20_u64).map(|from| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0..10_u64 {
                let mail = mail(from, &number.to_string());
                commit(&store, Transaction::mail(vec![(to, mail)])).await;
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("it sends");
    }
    let taken = take_all(&store, to).await;
    assert_eq!(taken.len(), 100);
    for from in 10..20_u64 {
        let of_sender: Vec<_> = taken.iter().filter(|(it, _)| *it == session_id(from)).collect();
        let texts: Vec<_> = of_sender.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    }
    store.close().await.expect("it closes");
}

#[tokio::test]
async fn mail_is_sent_and_taken_with_turns_and_is_there_after_the_next_start() {
    let root = tempfile::tempdir().expect("there is room");
    let store = two_sessions(root.path()).await;
    let (to, gone) = (session_id(1), session_id(404));
    let first_turn = Transaction::turn(turn(&session(2), 1, 1));
    let mails = vec![(to, mail(2, "one")), (gone, mail(2, "nowhere")), (to, mail(2, "two"))];
    commit(&store, first_turn.and(Transaction::mail(mails))).await;
    store.close().await.expect("it closes");

    let store = open(root.path());
    let weight = mail(2, "one").weight();
    let size = MailboxSize { mails: 2, bytes: 2 * weight };
    assert_eq!(store.mailboxes().await.expect("it reads"), [(to, size)]);
    let taking = Transaction::turn(turn(&session(1), 1, 1)).and(Transaction::take_mail(to, 1));
    commit(&store, taking.clone()).await;
    let again = store.commit(taking).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "it is taken once");
    assert_eq!(take_all(&store, to).await, [(session_id(2), "two".to_owned())]);
    assert_eq!(store.mailboxes().await.expect("it reads"), []);
    commit(&store, Transaction::mail(vec![(to, mail(2, "three"))])).await;
    commit(&store, Transaction::remove_session(to, Vec::new())).await;
    assert_eq!(first(&store, to).await, None);
    assert_eq!(store.mailboxes().await.expect("it reads"), []);
    store.close().await.expect("it closes");
    let found = upkeep::check(root.path(), small()).expect("it reads");
    assert_eq!(of_mail(&found), [""; 0]);
}

#[tokio::test]
async fn a_mail_that_is_damaged_is_told_from_those_behind_it_and_a_repair_takes_it_out() {
    let root = tempfile::tempdir().expect("there is room");
    let store = two_sessions(root.path()).await;
    let to = session_id(1);
    let mails = ["one", "two"].map(|text| (to, mail(2, text)));
    commit(&store, Transaction::mail(mails.to_vec())).await;
    let key = MailKey { to, number: 1, weight: mail(2, "one").weight() }.row();
    let mut batch = Batch::default();
    batch.put(Class::Rows, key.to_vec(), b"nothing".to_vec());
    held(&store.shared).clone().expect("it is open").disk.write(batch).expect("it is written");
    let damaged = first(&store, to).await.expect("there is one");
    assert_eq!((damaged.number, damaged.mail), (1, None));
    store.close().await.expect("it closes");

    let found = upkeep::check(root.path(), small()).expect("it reads");
    assert_eq!(of_mail(&found), [format!("session/{to}/mail/1: its checksum does not fit")]);
    upkeep::repair(root.path(), small()).expect("it is repaired");
    let store = open(root.path());
    assert!(store.session(to).await.expect("it reads").is_some());
    assert_eq!(take_all(&store, to).await, [(session_id(2), "two".to_owned())]);
    store.expire(Timestamp(1)).await.expect("nothing is in the way");
}
