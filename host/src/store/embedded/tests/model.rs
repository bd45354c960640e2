//! The store against a model of it: a few ordered maps that say what it must answer.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::event::Cursor;
use crate::session::deadline;
use crate::store::codec::samples;
use crate::store::{Logged, SessionQuery, Store, StoreError};

/// One step of a random history. Sessions are picked among those that were ever created.
#[derive(Clone, Debug)]
enum Step {
    Create(Box<Session>),
    Turn { at: Index, answer: usize, head: Option<usize>, state: State },
    Update { at: Index, state: State, context: Object, active: i64, drop_head: bool },
    Delete(Index),
    Stale(Index),
    Query { query: Picks, offset: usize, limit: usize },
    Due { now: i64, limit: usize },
    Rows { at: Index, after: u64, limit: usize },
    Events { after: u64, limit: usize },
    Reopen { close: bool },
}

#[derive(Clone, Debug)]
struct Picks {
    owner: Option<String>,
    pattern: Option<Pattern>,
    status: Option<State>,
    user: Option<String>,
    tags: Vec<String>,
}

/// Mostly small, and around every bound at which a value moves to a file.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0..500_usize,
        1 => 15_000..17_000_usize,
        1 => 23_000..26_000_usize,
        1 => Just(100_000_usize),
    ]
}

fn picks() -> impl Strategy<Value = Picks> {
    (
        weighted(0.3, "[p-r]"),
        weighted(0.3, samples::pattern()),
        weighted(0.3, samples::state()),
        weighted(0.3, "[u-w]"),
        proptest::collection::vec("[a-d]", 0..3),
    )
        .prop_map(|(owner, pattern, status, user, tags)| Picks {
            owner,
            pattern,
            status,
            user,
            tags,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<Index>;
    let state = samples::state;
    let limit = || 0..12_usize;
    prop_oneof![
        4 => samples::session().prop_map(|session| Step::Create(Box::new(session))),
        6 => (at(), size(), weighted(0.8, size()), state())
            .prop_map(|(at, answer, head, state)| Step::Turn { at, answer, head, state }),
        3 => (at(), state(), samples::object(), 0..10_000_000_i64, proptest::bool::weighted(0.1))
            .prop_map(|(at, state, context, active, drop_head)| {
                Step::Update { at, state, context, active, drop_head }
            }),
        1 => at().prop_map(Step::Delete),
        1 => at().prop_map(Step::Stale),
        3 => (picks(), 0..6_usize, limit())
            .prop_map(|(query, offset, limit)| Step::Query { query, offset, limit }),
        2 => (0..50_000_000_i64, limit()).prop_map(|(now, limit)| Step::Due { now, limit }),
        2 => (at(), 0..5_u64, limit())
            .prop_map(|(at, after, limit)| Step::Rows { at, after, limit }),
        2 => (0..40_u64, limit()).prop_map(|(after, limit)| Step::Events { after, limit }),
        1 => any::<bool>().prop_map(|close| Step::Reopen { close }),
    ]
}

#[derive(Default)]
struct Model {
    ever: Vec<SessionId>,
    sessions: BTreeMap<SessionId, (Session, Option<Snapshot>)>,
    turns: BTreeMap<(SessionId, u64), TurnRecord>,
    log: Vec<Event>,
}

impl Model {
    fn pick(&self, at: Index) -> SessionId {
        if self.ever.is_empty() { session_id(404) } else { *at.get(&self.ever) }
    }

    fn logged(&self, after: u64) -> impl Iterator<Item = Logged> {
        let number = |(at, event): (usize, &Event)| Logged {
            cursor: Cursor(at as u64 + 1),
            event: event.clone(),
        };
        self.log.iter().enumerate().map(number).filter(move |logged| logged.cursor.0 > after)
    }

    fn due(&self) -> Vec<(Timestamp, SessionId)> {
        let due = |(session, _): &(Session, _)| Some((deadline::next(session)?.0, session.id));
        let mut all: Vec<_> = self.sessions.values().filter_map(due).collect();
        all.sort();
        all
    }
}

fn matches(query: &SessionQuery, session: &Session) -> bool {
    query.owner.as_ref().is_none_or(|owner| *owner == session.owner)
        && query.pattern.is_none_or(|pattern| pattern == session.profile.pattern)
        && query.status.is_none_or(|status| status == session.state.status())
        && query.user_id.as_ref().is_none_or(|_| query.user_id == session.profile.user_id)
        && (query.tags.is_empty()
            || query.tags.iter().any(|tag| session.profile.tags.contains(tag)))
}

async fn take(
    store: &mut Embedded,
    root: &Path,
    model: &mut Model,
    step: Step,
) -> Result<(), StoreError> {
    match step {
        Step::Create(session) => {
            let mut session = *session;
            // Ids are ordered by creation, but need not come in that order.
            session.id = session_id((session.revision >> 40 << 16) + model.ever.len() as u64);
            session.revision = 1;
            session.head = None;
            session.usage.turns = 0;
            let events = vec![event(&session, EventKind::SessionCreated)];
            store.create_session(session.clone(), events.clone()).await?;
            model.ever.push(session.id);
            model.log.extend(events);
            model.sessions.insert(session.id, (session, None));
        }
        Step::Turn { at, answer, head, state } => {
            let id = model.pick(at);
            let Some((before, old_head)) = model.sessions.get(&id).cloned() else {
                let missing = store.commit_turn(turn(&Session { id, ..session(1) }, 1, 1)).await;
                assert!(matches!(missing, Err(StoreError::NotFound(_))));
                return Ok(());
            };
            let mut commit = turn(&before, answer, head.unwrap_or(0));
            commit.session.state = state;
            if head.is_none() {
                commit.session.head = before.head;
                commit.snapshot = None;
            }
            store.commit_turn(commit.clone()).await?;
            model.turns.insert((id, commit.turn.number), commit.turn);
            model.log.extend(commit.events);
            model.sessions.insert(id, (commit.session, commit.snapshot.or(old_head)));
        }
        Step::Update { at, state, context, active, drop_head } => {
            let id = model.pick(at);
            let Some((before, head)) = model.sessions.get(&id).cloned() else { return Ok(()) };
            let mut session = next(&before);
            session.state = state;
            session.context = context;
            session.last_activity_at = Timestamp(active);
            if drop_head {
                session.head = None;
            }
            store.update_session(session.clone(), Vec::new()).await?;
            let head = if drop_head { None } else { head };
            model.sessions.insert(id, (session, head));
        }
        Step::Delete(at) => {
            let id = model.pick(at);
            let gone = Event::session(EventKind::SessionDeleted, id.0, Timestamp(9));
            let deleted = store.delete_session(id, vec![gone.clone()]).await;
            if model.sessions.remove(&id).is_some() {
                deleted?;
                model.log.push(gone);
                model.turns.retain(|(session, _), _| *session != id);
            } else {
                assert!(matches!(deleted, Err(StoreError::NotFound(_))));
            }
        }
        Step::Stale(at) => {
            let Some((now, _)) = model.sessions.get(&model.pick(at)) else { return Ok(()) };
            let lost = vec![event(now, EventKind::SessionUpdated)];
            let stale = store.update_session(now.clone(), lost.clone()).await;
            assert!(matches!(stale, Err(StoreError::Conflict(_))));
            let again = store.create_session(Session { revision: 1, ..now.clone() }, lost).await;
            assert!(matches!(again, Err(StoreError::Conflict(_))));
        }
        Step::Query { query, offset, limit } => {
            let query = SessionQuery {
                owner: query.owner.map(Principal),
                pattern: query.pattern,
                status: query.status.map(|state| state.status()),
                user_id: query.user,
                tags: query.tags,
                offset,
                limit,
            };
            let page = store.sessions(query.clone()).await?;
            let all = model.sessions.values().rev().map(|(session, _)| session);
            let all: Vec<_> = all.filter(|session| matches(&query, session)).cloned().collect();
            assert_eq!(page.total, all.len());
            let expected: Vec<_> = all.into_iter().skip(offset).take(limit).collect();
            assert_eq!(page.sessions, expected);
        }
        Step::Due { now, limit } => {
            let now = Timestamp(now);
            let all = model.due();
            let (due, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|(at, _)| *at <= now);
            let first: Vec<_> = due.iter().take(limit).copied().collect();
            assert_eq!(store.due(None, now, limit).await?, first);
            if let Some(last) = first.last() {
                let rest: Vec<_> = due.iter().skip(first.len()).copied().collect();
                assert_eq!(store.due(Some(*last), now, usize::MAX).await?, rest);
            }
            assert_eq!(store.next_due(now).await?, later.first().map(|(at, _)| *at));
        }
        Step::Rows { at, after, limit } => {
            let id = model.pick(at);
            let turns = model.turns.range((id, after + 1)..=(id, u64::MAX)).take(limit);
            let turns: Vec<_> = turns.map(|(_, turn)| turn.clone()).collect();
            assert_eq!(store.turns(id, after, limit).await?, turns);
            let one = model.turns.get(&(id, after)).cloned();
            assert_eq!(store.turn(id, after).await?, one);
            let alive = model.sessions.contains_key(&id);
            let events = model.logged(after * 3);
            let own =
                events.filter(|l| alive && l.event.subject == crate::event::Subject::Session(id.0));
            let own: Vec<_> = own.take(limit).collect();
            assert_eq!(store.session_events(id, Cursor(after * 3), limit).await?, own);
            let dormant = store.dormant(id).await?.map(|dormant| (dormant.session, dormant.head));
            assert_eq!(dormant, model.sessions.get(&id).cloned());
        }
        Step::Events { after, limit } => {
            let expected: Vec<_> = model.logged(after).take(limit).collect();
            assert_eq!(store.events_after(Cursor(after), limit).await?, expected);
        }
        Step::Reopen { close } => {
            if close {
                store.close().await?;
            }
            let closed = std::mem::replace(store, temporary());
            drop(closed);
            *store = open(root);
        }
    }
    Ok(())
}

/// At the end, everything is compared.
async fn compare(store: &Embedded, model: &Model) -> Result<(), StoreError> {
    for id in &model.ever {
        let dormant = store.dormant(*id).await?.map(|dormant| (dormant.session, dormant.head));
        assert_eq!(dormant, model.sessions.get(id).cloned());
        let turns = model.turns.range((*id, 0)..=(*id, u64::MAX));
        let turns: Vec<_> = turns.map(|(_, turn)| turn.clone()).collect();
        assert_eq!(store.turns(*id, 0, usize::MAX).await?, turns);
    }
    let log: Vec<_> = model.logged(0).collect();
    assert_eq!(store.events_after(Cursor(0), usize::MAX).await?, log);
    let due = model.due();
    assert_eq!(store.due(None, Timestamp::NEVER, usize::MAX).await?, due);
    assert_eq!(store.stats().sessions, model.sessions.len() as u64);
    assert_eq!(store.stats().quarantined, 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_its_model_does(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it starts");
        let root = tempfile::tempdir().expect("there is room");
        let done = runtime.block_on(async {
            let mut store = open(root.path());
            let mut model = Model::default();
            for step in steps {
                take(&mut store, root.path(), &mut model, step).await?;
            }
            compare(&store, &model).await?;
            store.close().await?;
            let store = open(root.path());
            compare(&store, &model).await?;
            store.close().await
        });
        prop_assert!(done.is_ok(), "{:?}", done);
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
}
