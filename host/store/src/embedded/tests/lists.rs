//! Lists under writes, quotas, and lists of a directory of an earlier layout.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::{Embedded, inside, new, next, open, session, small, temporary};
use crate::codec::{self, RecordKind};
use crate::conformance::examples::session_id_at;
use crate::embedded::disk::Disk;
use crate::embedded::engine::{Batch, Class};
use crate::embedded::keys;
use crate::embedded::session_index::ListingBuilder;
use crate::embedded::tables::LAYOUT;
use crate::embedded::tables::sessions::SessionCell;
use crate::read::{ReadSessions, ReadStatistics};
use crate::{Expect, SessionOrder, SessionQuery, StatisticsQuery, Store, StoreError, Transaction};
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::session::Session;
use dormouse_domain::state::{State, Status};
use dormouse_domain::time::Timestamp;

/// The session of this number, which was created and last active at these times.
fn at(number: u64, created: i64, active: i64) -> Session {
    let mut session = session(number);
    session.id = session_id_at(Timestamp(created), number);
    session.profile.tags = vec!["all".to_owned(), format!("{}", number % 3)];
    session.last_activity_at = Timestamp(active);
    session
}

async fn create(store: &Embedded, session: &Session) {
    let created = store.commit(Transaction::create(new(session.clone()), Vec::new())).await;
    created.expect("it is created");
}

/// What happens between two pages.
#[derive(Clone, Debug)]
enum Write {
    Create { created: i64, active: i64 },
    Remove(usize),
    Activate(usize, i64),
    Rest(usize),
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        (0..20_i64, 0..20_i64).prop_map(|(created, active)| Write::Create { created, active }),
        (0..12_usize).prop_map(Write::Remove),
        (0..12_usize, 0..20_i64).prop_map(|(which, active)| Write::Activate(which, active)),
        (0..12_usize).prop_map(Write::Rest),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_list_that_is_followed_under_writes_has_once_whatever_does_not_change(
        times in proptest::collection::vec((0..20_i64, 0..20_i64), 12),
        writes in proptest::collection::vec(proptest::collection::vec(write(), 0..3), 0..12),
        order in proptest::sample::select(SessionOrder::ALL.as_slice()),
        tags in prop_oneof![Just(vec![]), Just(vec!["all"]), Just(vec!["0", "1"])],
        limit in 1..4_usize,
    ) {
        let tags: Vec<_> = tags.into_iter().map(str::to_owned).collect();
        let query = SessionQuery {
            owner: Some(Principal::local()),
            tags,
            order,
            limit,
            ..SessionQuery::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it starts");
        runtime.block_on(follow(query, &times, writes));
    }
}

async fn follow(query: SessionQuery, times: &[(i64, i64)], writes: Vec<Vec<Write>>) {
    let store = temporary();
    let mut there: Vec<Option<Session>> = Vec::new();
    for (number, (created, active)) in (0..).zip(times) {
        let session = at(number, *created, *active);
        create(&store, &session).await;
        there.push(Some(session));
    }
    let is_listed = |session: &&Session| query.matches(session);
    let mut unchanged: BTreeMap<SessionId, usize> =
        there.iter().flatten().filter(is_listed).map(|session| (session.id, 0)).collect();
    let (mut writes, mut after, mut number) = (writes.into_iter(), None, 100);
    loop {
        let page = SessionQuery { after, ..query.clone() };
        let page = store.sessions(page).await.expect("it lists");
        for session in &page.sessions {
            if let Some(times) = unchanged.get_mut(&session.id) {
                *times += 1;
            }
        }
        for write in writes.next().into_iter().flatten() {
            let (which, change): (usize, fn(&mut Session)) = match write {
                Write::Create { created, active } => {
                    number += 1;
                    create(&store, &at(number, created, active)).await;
                    continue;
                }
                Write::Remove(which) => {
                    if let Some(session) = there[which].take() {
                        unchanged.remove(&session.id);
                        let removal = Transaction::remove_session(session.id, Vec::new());
                        store.commit(removal).await.expect("it is there");
                    }
                    continue;
                }
                Write::Activate(which, active) => {
                    if let Some(session) = &mut there[which] {
                        session.last_activity_at = Timestamp(active);
                    }
                    (which, |_| {})
                }
                Write::Rest(which) => (which, |session| session.state = State::Idle),
            };
            let Some(session) = &mut there[which] else { continue };
            change(session);
            *session = next(session);
            if matches!(write, Write::Activate(..)) && query.order.is_by_activity() {
                // It may move, and be listed again or not at all.
                unchanged.remove(&session.id);
            }
            let update = Transaction::update(session.clone(), None, Vec::new());
            store.commit(update).await.expect("it is there");
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(unchanged.values().all(|times| *times == 1), "{unchanged:?}");
    store.close().await.expect("it closes");
}

#[tokio::test]
async fn of_many_creations_at_once_no_more_pass_than_a_quota_allows() {
    let store = Arc::new(temporary());
    let ann = Principal("ann".to_owned());
    let quota = |user: Option<&str>, limit| Expect::SessionQuota {
        owner: ann.clone(),
        user: user.map(str::to_owned),
        limit,
    };
    let mut creations = tokio::task::JoinSet::new();
    for number in 0..60 {
        let mut session = session(number);
        session.owner = ann.clone();
        session.profile.user_id = Some(format!("user {}", number % 2));
        let mut creation = Transaction::create(new(session), Vec::new());
        creation.expect.extend([quota(None, 15), quota(Some("user 0"), 5)]);
        if number % 2 == 1 {
            creation.expect.pop();
        }
        let store = Arc::clone(&store);
        creations.spawn(async move { store.commit(creation).await });
    }
    let done = creations.join_all().await;
    let refused = done.iter().filter(|done| matches!(done, Err(StoreError::QuotaReached { .. })));
    assert_eq!((refused.count(), done.iter().filter(|done| done.is_ok()).count()), (45, 15));
    assert_eq!(store.session_count(&ann, None).expect("it is open"), 15);
    assert!(store.session_count(&ann, Some("user 0")).expect("it is open") <= 5);
    assert_eq!(store.session_count(&Principal::local(), None).expect("it is open"), 0);

    // One that goes makes room for one in the same commit, and so does one whose user changes.
    let query = SessionQuery { user_id: Some("user 1".to_owned()), limit: 2, ..Default::default() };
    let page = store.sessions(query).await.expect("it lists").sessions;
    let mut changed = next(&page[0]);
    changed.profile.user_id = None;
    let mut creation = session(100);
    creation.owner = ann.clone();
    let mut creation = Transaction::create(new(creation), Vec::new());
    creation.expect.push(quota(None, 15));
    let removal = Transaction::remove_session(page[1].id, Vec::new());
    let update = Transaction::update(changed, None, Vec::new());
    assert!(matches!(
        store.commit(creation.clone()).await,
        Err(StoreError::QuotaReached { limit: 15 })
    ));
    let (removed, updated, created) =
        tokio::join!(store.commit(removal), store.commit(update), store.commit(creation));
    removed.expect("it is there");
    updated.expect("it is there");
    created.expect("there is room");
    let users = ["user 0", "user 1"].map(|user| store.session_count(&ann, Some(user)));
    assert_eq!(users.map(|count| count.expect("it is open")).iter().sum::<u64>(), 13);
}

/// The front without what layout 5 did not have in it.
fn without_new_fields(front: &[u8]) -> Vec<u8> {
    let mut decoder = minicbor::Decoder::new(front);
    let fields = decoder.array().expect("a row is an array").expect("of known length");
    let start = decoder.position();
    let kept = fields.min(14);
    (0..kept).for_each(|_| decoder.skip().expect("a field"));
    let mut old = minicbor::Encoder::new(Vec::new());
    old.array(kept).expect("it can be written");
    old.writer_mut().extend_from_slice(&front[start..decoder.position()]);
    old.into_writer()
}

#[tokio::test]
async fn sessions_of_an_earlier_layout_are_found_by_all_labels_and_count_what_they_spent() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    for number in 0..9 {
        let mut session = session(number);
        session.profile.thread_key = Some(format!("thread {number}"));
        session.profile.conversation_id = Some(Value::from(number % 2));
        session.profile.project_id = Some("gate".to_owned());
        session.usage.cost = NanoUsd(7);
        create(&store, &session).await;
    }
    store.close().await.expect("it closes");
    let disk = Disk::open(root.path(), &small(), Arc::new(|_| {})).expect("it opens");
    let mut batch = Batch::default();
    for entry in disk.prefix(&[keys::SESSION]) {
        let (key, sealed) = entry.expect("it reads");
        let value = codec::unseal(RecordKind::Session, &key, &sealed).expect("it is whole");
        let mut cell = SessionCell::read(&value.into_owned().into()).expect("it decodes");
        cell.front = without_new_fields(&cell.front).into();
        batch.put(SessionCell::class(&cell.front), key.clone(), cell.seal(&key));
    }
    batch.put(Class::Inline, keys::FORMAT, codec::seal(keys::FORMAT, &[&[5]]));
    disk.write(batch).expect("it is written");
    drop(disk);

    for _ in 0..2 {
        let store = open(root.path());
        let total = async |query: SessionQuery| {
            let query = SessionQuery { owner: Some(Principal::local()), limit: 9, ..query };
            let page = store.sessions(query).await.expect("it lists");
            assert_eq!(page.sessions.len(), page.total);
            page.total
        };
        let text = |text: &str| Some(text.to_owned());
        let thread = SessionQuery { thread_key: text("thread 4"), ..SessionQuery::default() };
        assert_eq!(total(thread).await, 1);
        let query = SessionQuery { conversation_id: text("1"), ..SessionQuery::default() };
        assert_eq!(total(query).await, 4);
        let query = SessionQuery { project_id: text("gate"), ..SessionQuery::default() };
        assert_eq!(total(query).await, 9);
        let query = StatisticsQuery::of(Principal::local());
        let all = store.statistics(query).await.expect("it adds up").total();
        assert_eq!(
            (all.live.cost, all.live.sessions(), all.removed.sessions()),
            (NanoUsd(63), 9, 0)
        );
        store.close().await.expect("it closes");
    }
    let disk = Disk::open(root.path(), &small(), Arc::new(|_| {})).expect("it opens");
    let layout = disk.get(keys::FORMAT).expect("it reads").expect("it is there");
    assert_eq!(layout, codec::seal(keys::FORMAT, &[&[LAYOUT]]));
}

#[tokio::test]
async fn a_list_of_all_owners_has_nothing_of_an_owner_that_has_come_into_the_place_of_another() {
    let store = temporary();
    let of = |number: u64, owner: &str, state: State| {
        let mut session = at(number, i64::try_from(number).expect("it is small"), 0);
        session.profile.tags.clear();
        session.owner = Principal(owner.to_owned());
        session.state = state;
        session
    };
    let sessions: Vec<Session> = (1..=9)
        .map(|number| of(number, if number < 7 { "ann" } else { "ben" }, State::Initializing))
        .collect();
    for session in &sessions {
        create(&store, session).await;
    }
    let query = SessionQuery {
        status: Some(Status::Initializing),
        order: SessionOrder::Oldest,
        limit: 100,
        ..SessionQuery::default()
    };
    let shared = inside(&store);
    let mut listing = ListingBuilder::new(None);
    shared.index().list(&query, &mut listing);
    assert!(!listing.done, "more than one look is needed");
    for session in &sessions[6..] {
        let removal = Transaction::remove_session(session.id, Vec::new());
        store.commit(removal).await.expect("it is there");
    }
    // What it is known by lies where what ben's sessions were known by has lain.
    create(&store, &of(10, "cem", State::Completed)).await;
    while !listing.done {
        shared.index().list(&query, &mut listing);
    }
    let listed: Vec<SessionId> = listing.page(&query).iter().map(|place| place.id).collect();
    assert_eq!(listed, sessions[..6].iter().map(|session| session.id).collect::<Vec<_>>());
}
