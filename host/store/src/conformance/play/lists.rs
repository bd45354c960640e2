//! Lists, what sessions come to, and how many there may be.

use super::super::examples::{creation_of, new, session, session_id_at};
use super::super::model::{Model, matches};
use super::super::steps::Picks;
use crate::{
    Expect, SessionCursor, SessionOrder, SessionQuery, StatisticsQuery, Store, StoreError,
    Transaction,
};
use dormouse_domain::id::Principal;
use dormouse_domain::session::Session;

/// A new session, with a quota where one is given.
pub(super) async fn create(
    store: &dyn Store,
    model: &mut Model,
    mut session: Session,
    quota: Option<u64>,
    of_user: bool,
) -> Result<(), StoreError> {
    // Ids are ordered by creation, but need not come in that order.
    session.id = session_id_at(session.created_at, model.ever.len() as u64);
    session.revision = 1;
    session.head = None;
    session.before_upgrade = None;
    session.account = None;
    (session.usage.turns, session.usage.uncounted) = (0, 0);
    if let Some(agent) = model.agents.first() {
        session.profile.agent = agent.reference.clone();
    }
    let (owner, user) = (session.owner.clone(), session.profile.user_id.clone());
    let user = user.filter(|_| of_user);
    let there_are = model.session_count(&owner, user.as_deref());
    assert_eq!(store.session_count(&owner, user.as_deref())?, there_are);
    let events = vec![creation_of(&session)];
    let mut creation = Transaction::create(new(session.clone()), events.clone());
    if let Some(limit) = quota {
        creation.expect.push(Expect::SessionQuota { owner, user, limit });
        if there_are >= limit {
            let refused = store.commit(creation).await;
            assert!(
                matches!(refused, Err(StoreError::QuotaReached { limit: told }) if told == limit)
            );
            return Ok(());
        }
    }
    store.commit(creation).await?;
    model.ever.push(session.id);
    model.log.extend(events);
    model.sessions.insert(session.id, (session, Vec::new()));
    Ok(())
}

/// A list: one page of it, and then all of it, page by page.
pub(super) async fn list(
    store: &dyn Store,
    model: &Model,
    picks: Picks,
    offset: usize,
    limit: usize,
) -> Result<(), StoreError> {
    let conversation = picks.labels.conversation_id.map(|id| match id.as_str() {
        Some(text) => text.to_owned(),
        None => id.to_string(),
    });
    let query = SessionQuery {
        owner: picks.owner.map(Principal),
        pattern: picks.pattern,
        status: picks.status.map(|state| state.status()),
        without_user: picks.without_user,
        user_id: picks.labels.user_id,
        tags: picks.tags,
        agent: picks.agent,
        conversation_id: conversation,
        thread_key: picks.labels.thread_key,
        project_id: picks.labels.project_id,
        created: picks.created,
        active: picks.active,
        order: picks.order,
        after: None,
        offset,
        limit,
    };
    let mut all: Vec<_> = model.sessions.values().map(|(session, _)| session.clone()).collect();
    all.retain(|session| matches(&query, session));
    match query.order {
        SessionOrder::Newest | SessionOrder::Oldest => all.sort_by_key(|it| it.id),
        SessionOrder::MostRecentlyActive | SessionOrder::LeastRecentlyActive => {
            all.sort_by_key(|it| (it.last_activity_at, it.id));
        }
    }
    if matches!(query.order, SessionOrder::Newest | SessionOrder::MostRecentlyActive) {
        all.reverse();
    }
    let page = store.sessions(query.clone()).await?;
    assert_eq!(page.total, all.len());
    let expected: Vec<_> = all.iter().skip(offset).take(limit).cloned().collect();
    assert_eq!(page.sessions, expected);
    let goes_on = all.len() > offset + expected.len() && limit > 0;
    let last = expected.last().map(|last| SessionCursor::of(query.order, last));
    assert_eq!(page.next, last.filter(|_| goes_on));
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let query = SessionQuery { after, offset: 0, limit: limit.max(1), ..query.clone() };
        let page = store.sessions(query).await?;
        assert_eq!(page.total, all.len(), "of all pages");
        listed.extend(page.sessions);
        assert!(listed.len() <= all.len(), "a session is listed twice");
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, all, "page by page");
    let other = SessionCursor::of(query.order, &session(1));
    for order in SessionOrder::ALL.into_iter().filter(|order| *order != query.order) {
        let query = SessionQuery { after: Some(other), order, limit, ..SessionQuery::default() };
        let refused = store.sessions(query).await;
        assert!(matches!(refused, Err(StoreError::CursorOfAnotherOrder)));
    }
    Ok(())
}

/// What the sessions that are asked for come to.
pub(super) async fn statistics(
    store: &dyn Store,
    model: &Model,
    picks: Picks,
) -> Result<(), StoreError> {
    let query = StatisticsQuery {
        owner: Principal(picks.owner.unwrap_or_else(|| "p".to_owned())),
        user_id: picks.labels.user_id,
        tags: picks.tags,
        pattern: picks.pattern,
    };
    assert_eq!(store.statistics(query.clone()).await?, model.statistics(&query));
    Ok(())
}

/// What the sessions of each owner come to.
pub(in super::super) async fn compare_statistics(
    store: &dyn Store,
    model: &Model,
) -> Result<(), StoreError> {
    for owner in ["p", "q", "r", "local"] {
        let query = StatisticsQuery::of(Principal(owner.to_owned()));
        assert_eq!(
            store.session_count(&query.owner, None)?,
            model.session_count(&query.owner, None)
        );
        assert_eq!(store.statistics(query.clone()).await?, model.statistics(&query));
    }
    Ok(())
}
