//! What removed sessions came to is never forgotten, and takes a bounded number of cells.

use dormouse_base::memory::MemoryBudget;

use super::{Embedded, new, next, open, session, small};
use crate::embedded::upkeep;
use crate::read::ReadStatistics;
use crate::upkeep::Upkeep;
use crate::{MAX_REMOVED_CELLS, StatisticsQuery, Store, Sums, Transaction};
use dormouse_domain::id::Principal;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::session::Session;
use dormouse_domain::state::{State, Status};

fn served(number: u64, owner: &str) -> Session {
    let mut session = session(number);
    session.owner = Principal(owner.to_owned());
    session.profile.user_id = Some(format!("user {number}"));
    session.profile.tags = vec!["all".to_owned()];
    session.usage.cost = NanoUsd(5);
    session.usage.output_tokens = 3;
    session
}

async fn create(store: &Embedded, session: &Session) {
    let created = store.commit(Transaction::create(new(session.clone()), Vec::new())).await;
    created.expect("it is created");
}

async fn remove(store: &Embedded, session: &Session) {
    let removed = store.commit(Transaction::remove_session(session.id, Vec::new())).await;
    removed.expect("it is there");
}

async fn removed(store: &Embedded, query: StatisticsQuery) -> Sums {
    store.statistics(query).await.expect("it adds up").total().removed
}

#[tokio::test]
async fn beyond_a_number_of_cells_removed_sessions_count_for_their_owner_alone() {
    let root = tempfile::tempdir().expect("there is room");
    let memory = MemoryBudget::new(1 << 30);
    let store = open(root.path());
    store.charge_to(&memory);
    let most = MAX_REMOVED_CELLS as u64;
    let all = most + 5;
    for number in 0..all {
        create(&store, &served(number, "ann")).await;
    }
    let full = memory.used();
    for number in 0..all {
        remove(&store, &served(number, "ann")).await;
    }
    assert_eq!(memory.used(), store.stats().index_bytes);
    assert!((1..full).contains(&memory.used()), "cells are charged");
    // Another owner has cells of its own.
    create(&store, &served(1_000, "ben")).await;
    remove(&store, &served(1_000, "ben")).await;
    store.close().await.expect("it closes");

    let store = open(root.path());
    let ann = StatisticsQuery::of(Principal("ann".to_owned()));
    let sums = removed(&store, ann.clone()).await;
    assert_eq!((sums.sessions(), sums.cost), (all, NanoUsd(5 * all.cast_signed())));
    let tagged = StatisticsQuery { tags: vec!["all".to_owned()], ..ann.clone() };
    assert_eq!(removed(&store, tagged).await.sessions(), most);
    for (user, count) in [(0, 1), (most - 1, 1), (most, 0), (1_000, 0)] {
        let query = StatisticsQuery { user_id: Some(format!("user {user}")), ..ann.clone() };
        assert_eq!(removed(&store, query).await.sessions(), count, "user {user}");
    }
    // A cell that is there goes on counting.
    create(&store, &served(0, "ann")).await;
    remove(&store, &served(0, "ann")).await;
    let query = StatisticsQuery { user_id: Some("user 0".to_owned()), ..ann };
    assert_eq!(removed(&store, query).await.sessions(), 2);
    let query = StatisticsQuery::of(Principal("ben".to_owned()));
    assert_eq!(removed(&store, query).await.tokens, 3);
    store.close().await.expect("it closes");
    assert!(upkeep::check(root.path(), small()).expect("it reads").is_well());
}

#[tokio::test]
async fn a_session_counts_once_whatever_happens_to_it_in_one_group_of_commits() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let mut sessions: Vec<_> = (0..20).map(|number| served(number, "ann")).collect();
    for session in &sessions {
        create(&store, session).await;
    }
    // They are committed together, as far as they wait together.
    let commits = sessions.iter_mut().map(|session| {
        *session = next(session);
        session.state = State::Completed;
        session.usage.cost = NanoUsd(11);
        session.profile.user_id = None;
        session.profile.pattern = Pattern::Hybrid;
        let update = Transaction::update(session.clone(), None, Vec::new());
        [update, Transaction::remove_session(session.id, Vec::new())]
    });
    let commits: Vec<_> = commits.flatten().map(|commit| store.commit(commit)).collect();
    for done in futures::future::join_all(commits).await {
        done.expect("it is there");
    }
    has_counted(&store).await;
    store.close().await.expect("it closes");
    has_counted(&open(root.path())).await;
}

async fn has_counted(store: &Embedded) {
    let query = StatisticsQuery::of(Principal("ann".to_owned()));
    let all = store.statistics(query).await.expect("it adds up");
    let hybrid = all.by_pattern[&Pattern::Hybrid];
    assert_eq!(all.by_pattern.len(), 1);
    assert!(hybrid.live.is_empty());
    assert_eq!(hybrid.removed.of_status(Status::Completed), 20);
    assert_eq!((hybrid.removed.cost, hybrid.removed.tokens), (NanoUsd(220), 60));
}

#[tokio::test]
async fn what_models_read_from_their_caches_counts_also_after_a_start_and_a_removal() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let mut first = served(1, "ann");
    first.usage.input_tokens = 20;
    first.usage.cached_tokens = 300;
    create(&store, &first).await;
    store.close().await.expect("it closes");
    let query = || StatisticsQuery::of(Principal("ann".to_owned()));
    let store = open(root.path());
    let live = store.statistics(query()).await.expect("it adds up").total().live;
    assert_eq!(live.tokens, 323);
    remove(&store, &first).await;
    store.close().await.expect("it closes");
    let store = open(root.path());
    assert_eq!(removed(&store, query()).await.tokens, 323);
}
