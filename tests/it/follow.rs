//! The log of events is followed while it grows: nothing is left out and nothing comes twice.

use std::pin::pin;

use dormouse::{
    Cursor, EventBody, EventEntry, EventKind, EventSubject, Host, NewSession, Pattern, Principal,
    StoreError,
};
use dormouse_tests::TestHost;
use futures::{StreamExt, TryStreamExt};

/// Writers at the same time, and sessions that each of them creates and deletes: together more events
/// than a reader takes at a time.
const WRITERS: usize = 8;
const SESSIONS: usize = 60;

async fn write(host: &Host) {
    for _ in 0..SESSIONS {
        let new = NewSession::agent("counter").pattern(Pattern::Hybrid);
        let session = host.sessions().create(new).await.unwrap();
        session.delete().await.unwrap();
    }
}

/// All that the caller is told after a cursor, until the caller has seen so many sessions deleted.
async fn follow(host: Host, after: Cursor, deletions: usize) -> Vec<EventEntry> {
    let mut events = pin!(host.follow_events(after));
    let (mut found, mut deleted) = (Vec::new(), 0);
    while deleted < deletions {
        let logged = events.try_next().await.unwrap().expect("the log goes on");
        deleted += usize::from(logged.event.body == EventBody::SessionDeleted);
        found.push(logged);
    }
    found
}

/// The same by pages, once the log has ended.
async fn by_pages(host: &Host, after: Cursor) -> Vec<EventEntry> {
    let (mut found, mut next) = (Vec::new(), after);
    loop {
        let slice = host.events_after(next, 100).await.unwrap();
        found.extend(slice.events);
        next = slice.next;
        if !slice.more {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_a_log_that_many_write_get_each_event_once_and_in_order() {
    let test = TestHost::new().await;
    let acting_as = |name: &str| test.host.acting_as(Principal(name.to_owned()));
    let (operator, ann, ben) = (test.host.operating(), acting_as("ann"), acting_as("ben"));
    let half = WRITERS / 2 * SESSIONS;
    // They wait before there is anything to read.
    let all = tokio::spawn(follow(operator.clone(), Cursor(0), 2 * half));
    let anns = tokio::spawn(follow(ann.clone(), Cursor(0), half));
    let writers = (0..WRITERS).map(|number| {
        let host = if number % 2 == 0 { ann.clone() } else { ben.clone() };
        tokio::spawn(async move { write(&host).await })
    });
    let writers: Vec<_> = writers.collect();
    // Others begin while it is written.
    let first = pin!(ben.follow_events(Cursor(0))).try_next().await.unwrap().unwrap();
    let bens = tokio::spawn(follow(ben.clone(), first.cursor, half));
    for writer in writers {
        writer.await.unwrap();
    }

    let all = all.await.unwrap();
    let cursors: Vec<u64> = all.iter().map(|logged| logged.cursor.0).collect();
    assert_eq!(cursors, (1..=all.len() as u64).collect::<Vec<_>>());
    assert_eq!(all, by_pages(&operator, Cursor(0)).await);
    assert_eq!(anns.await.unwrap(), until_deleted(by_pages(&ann, Cursor(0)).await));
    assert_eq!(bens.await.unwrap(), until_deleted(by_pages(&ben, first.cursor).await));
    // From the middle of it, and from its end on.
    let middle = all[all.len() / 2].cursor;
    let found = operator.follow_events(middle).take(all.len() - all.len() / 2 - 1);
    assert_eq!(found.try_collect::<Vec<_>>().await.unwrap(), all[all.len() / 2 + 1..]);
    let rest = operator.follow_events(all.last().unwrap().cursor);
    test.shut_down().await;
    let rest: Vec<_> = rest.collect().await;
    assert!(matches!(rest[..], [Err(StoreError::Closed)]), "{rest:?}");
}

#[tokio::test]
async fn a_reader_of_one_session_gets_all_that_it_had_and_then_what_happens_to_it() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::Hybrid).await;
    let other = test.bundled("counter", Pattern::Hybrid).await;
    // More events than a reader takes at a time, of two sessions by turns.
    for _ in 0..150 {
        for session in [&session, &other] {
            session.pause().await.unwrap();
            session.resume(None).await.unwrap();
        }
    }
    let all = by_pages(&test.host.operating(), Cursor(0)).await;
    let is_own = |it: &&EventEntry| it.event.subject == EventSubject::Session(session.id());
    let own: Vec<_> = all.iter().filter(is_own).cloned().collect();
    let mut events = pin!(session.follow_events(Cursor(0)).await.unwrap());
    let found: Vec<_> = events.by_ref().take(own.len()).try_collect().await.unwrap();
    assert_eq!(found, own);
    other.delete().await.unwrap();
    session.delete().await.unwrap();
    let last = events.try_next().await.unwrap().expect("the log goes on");
    assert_eq!(
        (last.event.kind(), last.event.subject),
        (EventKind::SessionDeleted, EventSubject::Session(session.id()))
    );
    let stranger = test.acting_as("ann").host.sessions().get(session.id());
    assert!(stranger.follow_events(Cursor(0)).await.is_err());
    test.shut_down().await;
}

fn until_deleted(mut events: Vec<EventEntry>) -> Vec<EventEntry> {
    let last = events.iter().rposition(|it| it.event.kind() == EventKind::SessionDeleted);
    events.truncate(last.unwrap() + 1);
    events
}
