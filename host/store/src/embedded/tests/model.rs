//! The store against a model of it: a few ordered maps that say what it must answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::Index;

use super::audit::{Census, audit, settle};
use super::*;
use crate::codec::samples;
use crate::{Depth, Logged, Page, SessionQuery, Store, StoreError};
use dormouse_domain::deadline;
use dormouse_domain::event::Cursor;
use dormouse_domain::session::BeforeUpgrade;
use dormouse_domain::snapshot::Chunk;
use dormouse_domain::template::TemplateSummary;

/// One step of a random history. Sessions are picked among those that were ever created.
#[derive(Clone, Debug)]
enum Step {
    Create(Box<Session>),
    Turn {
        at: Index,
        answer: usize,
        head: Option<Contents>,
        state: State,
    },
    Update {
        at: Index,
        state: State,
        context: Object,
        active: i64,
        drop_head: bool,
    },
    /// To go back to one of the snapshots of a session, and whether it may come back from there.
    Rewind {
        at: Index,
        to: Index,
        pin: bool,
    },
    /// Sessions that start from a snapshot of one, or from a template.
    Fork {
        at: Index,
        of: Index,
        count: u64,
    },
    Warm {
        name: u8,
        count: u64,
    },
    Template {
        at: Index,
        of: Index,
        name: u8,
    },
    DropTemplate(u8),
    Delete(Index),
    Stale(Index),
    Query {
        query: Picks,
        offset: usize,
        limit: usize,
    },
    Due {
        now: i64,
        limit: usize,
    },
    Rows {
        at: Index,
        after: u64,
        limit: usize,
    },
    Events {
        after: u64,
        limit: usize,
    },
    Reopen {
        close: bool,
    },
}

/// What a snapshot holds.
#[derive(Clone, Debug)]
struct Contents {
    data: usize,
    chunks: Vec<u8>,
    /// Whether what the head has already comes without its data.
    lean: bool,
}

/// Few different chunks, so that sessions share some.
fn contents() -> impl Strategy<Value = Contents> {
    (size(), proptest::collection::vec(0..12_u8, 0..5), any::<bool>())
        .prop_map(|(data, chunks, lean)| Contents { data, chunks, lean })
}

fn state_of(contents: &Contents) -> GuestState {
    let data = Bytes::from(vec![7; contents.data]);
    if contents.chunks.is_empty() {
        return GuestState::Portable { version: 1, data };
    }
    let chunk = |number: &u8| {
        let data = vec![*number; 1000 * usize::from(*number)];
        let size = u32::try_from(data.len()).expect("it is small");
        Chunk { digest: Digest::of(&[*number]), size, data: Some(data.into()) }
    };
    GuestState::Image { data, chunks: contents.chunks.iter().map(chunk).collect() }
}

/// The same without the data of those chunks that `known` has.
fn lean(mut state: GuestState, known: Option<&Snapshot>) -> GuestState {
    let Some(GuestState::Image { chunks: known, .. }) = known.map(|known| &known.state) else {
        return state;
    };
    if let GuestState::Image { chunks, .. } = &mut state {
        for chunk in chunks {
            if known.iter().any(|known| known.digest == chunk.digest) {
                chunk.data = None;
            }
        }
    }
    state
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
        8 => (at(), size(), weighted(0.8, contents()), state())
            .prop_map(|(at, answer, head, state)| Step::Turn { at, answer, head, state }),
        3 => (at(), state(), samples::object(), 0..10_000_000_i64, proptest::bool::weighted(0.1))
            .prop_map(|(at, state, context, active, drop_head)| {
                Step::Update { at, state, context, active, drop_head }
            }),
        2 => (at(), at(), any::<bool>()).prop_map(|(at, to, pin)| Step::Rewind { at, to, pin }),
        2 => (at(), at(), 0..4_u64).prop_map(|(at, of, count)| Step::Fork { at, of, count }),
        1 => (0..3_u8, 0..4_u64).prop_map(|(name, count)| Step::Warm { name, count }),
        2 => (at(), at(), 0..3_u8).prop_map(|(at, of, name)| Step::Template { at, of, name }),
        1 => (0..3_u8).prop_map(Step::DropTemplate),
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

/// How many snapshots of a session are kept.
const KEPT: usize = 3;

fn keeping(root: &Path) -> Embedded {
    Embedded::open(root, keeping_snapshots(KEPT)).expect("it opens")
}

#[derive(Default)]
struct Model {
    ever: Vec<SessionId>,
    /// With their snapshots, the oldest first.
    sessions: BTreeMap<SessionId, (Session, Vec<Snapshot>)>,
    templates: BTreeMap<String, Template>,
    /// Every snapshot that there ever was.
    snapshots: Vec<SnapshotId>,
    turns: BTreeMap<(SessionId, u64), TurnRecord>,
    log: Vec<Event>,
}

impl Model {
    fn pick(&self, at: Index) -> SessionId {
        if self.ever.is_empty() { session_id(404) } else { *at.get(&self.ever) }
    }

    /// What `dormant` must answer.
    fn dormant(&self, id: SessionId) -> Option<(Session, Option<Snapshot>)> {
        let (session, snapshots) = self.sessions.get(&id)?;
        let head = session.head.and_then(|head| snapshots.iter().find(|one| one.id == head));
        Some((session.clone(), head.cloned()))
    }

    /// Change a session, and its history with a new head.
    fn change(&mut self, session: Session, head: Option<Snapshot>) {
        let (before, snapshots) = self.sessions.get_mut(&session.id).expect("it is there");
        *before = session;
        let Some(head) = head else { return };
        self.snapshots.push(head.id);
        snapshots.push(head);
        let pinned = [before.head, before.before_upgrade.as_ref().and_then(|before| before.head)];
        while snapshots.len() > KEPT {
            let oldest = snapshots.iter().position(|one| !pinned.contains(&Some(one.id)));
            let Some(oldest) = oldest else { break };
            snapshots.remove(oldest);
        }
    }

    fn new_snapshot(&mut self) -> SnapshotId {
        SnapshotId(uuid(1 << 62 | self.snapshots.len() as u64))
    }

    /// New sessions with this state.
    fn forks(&mut self, from: &Snapshot, count: u64) -> Vec<Creation> {
        let fork = |number| {
            let mut session = session(1 << 50 | (self.ever.len() as u64 + number));
            let id = SnapshotId(uuid(1 << 61 | session.id.0.as_u64_pair().1));
            session.head = Some(id);
            session.parent = Some(from.id);
            Creation { session, head: Some(Snapshot { id, parent: Some(from.id), ..from.clone() }) }
        };
        (0..count).map(fork).collect()
    }

    fn created(&mut self, all: Vec<Creation>, whole: &GuestState) {
        for Creation { session, head } in all {
            let head = head.map(|head| Snapshot { state: whole.clone(), ..head });
            self.ever.push(session.id);
            self.snapshots.extend(head.as_ref().map(|head| head.id));
            self.sessions.insert(session.id, (session, head.into_iter().collect()));
        }
    }

    fn logged(&self, after: u64) -> impl Iterator<Item = Logged> {
        let number = |(at, event): (usize, &Event)| Logged {
            cursor: Cursor(at as u64 + 1),
            event: event.clone(),
        };
        self.log.iter().enumerate().map(number).filter(move |logged| logged.cursor.0 > after)
    }

    fn due(&self) -> Vec<(Timestamp, SessionId)> {
        let due = |(session, _): &(Session, Vec<Snapshot>)| {
            Some((deadline::next(session)?.0, session.id))
        };
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
            session.before_upgrade = None;
            (session.usage.turns, session.usage.uncounted) = (0, 0);
            let events = vec![creation_of(&session)];
            store.create_sessions(new(session.clone()), events.clone()).await?;
            model.ever.push(session.id);
            model.log.extend(events);
            model.sessions.insert(session.id, (session, Vec::new()));
        }
        Step::Turn { at, answer, head, state } => {
            let id = model.pick(at);
            let Some((before, old_head)) = model.dormant(id) else {
                let missing = store.commit_turn(turn(&Session { id, ..session(1) }, 1, 1)).await;
                assert!(matches!(missing, Err(StoreError::NotFound(_))));
                return Ok(());
            };
            let mut commit = turn(&before, answer, 0);
            Arc::make_mut(&mut commit.session).state = state;
            let mut whole = None;
            if let (Some(contents), Some(snapshot)) = (&head, &mut commit.snapshot) {
                snapshot.state = state_of(contents);
                whole = Some(snapshot.clone());
                if contents.lean {
                    snapshot.state = lean(snapshot.state.clone(), old_head.as_ref());
                }
            } else {
                Arc::make_mut(&mut commit.session).head = before.head;
                commit.snapshot = None;
            }
            store.commit_turn(commit.clone()).await?;
            model.turns.insert((id, commit.turn.number), Arc::unwrap_or_clone(commit.turn));
            model.log.extend(commit.events);
            model.change(Arc::unwrap_or_clone(commit.session), whole);
        }
        Step::Update { at, state, context, active, drop_head } => {
            let id = model.pick(at);
            let Some((before, _)) = model.sessions.get(&id).cloned() else { return Ok(()) };
            let mut session = next(&before);
            session.state = state;
            session.context = context;
            session.last_activity_at = Timestamp(active);
            if drop_head {
                session.head = None;
            }
            store.update_session(session.clone(), None, Vec::new()).await?;
            model.change(session, None);
        }
        Step::Rewind { at, to, pin } => {
            let id = model.pick(at);
            let Some((before, snapshots)) = model.sessions.get(&id).cloned() else { return Ok(()) };
            if snapshots.is_empty() {
                return Ok(());
            }
            let to = to.get(&snapshots);
            let outline = store.snapshot(to.id, Depth::Outline).await?.expect("it is kept");
            assert_eq!(outline.snapshot.state, lean(to.state.clone(), Some(to)));
            let new = model.new_snapshot();
            let mut session = next(&before);
            session.head = Some(new);
            session.before_upgrade = (pin && before.head.is_some()).then(|| BeforeUpgrade {
                agent: before.profile.agent.clone(),
                head: before.head,
                head_parent: None,
            });
            let head = Snapshot { id: new, parent: Some(to.id), ..outline.snapshot };
            store.update_session(session.clone(), Some(head.clone()), Vec::new()).await?;
            model.change(session, Some(Snapshot { state: to.state.clone(), ..head }));
        }
        Step::Fork { at, of, count } => {
            let id = model.pick(at);
            let Some((_, snapshots)) = model.sessions.get(&id).cloned() else { return Ok(()) };
            if snapshots.is_empty() {
                return Ok(());
            }
            let of = of.get(&snapshots);
            let outline = store.snapshot(of.id, Depth::Outline).await?.expect("it is kept");
            let forks = model.forks(&outline.snapshot, count);
            store.create_sessions(forks.clone(), Vec::new()).await?;
            model.created(forks, &of.state);
        }
        Step::Warm { name, count } => {
            let name = name.to_string();
            let template = store.template(Principal::local(), name.clone()).await?;
            let Some(known) = model.templates.get(&name).cloned() else {
                assert_eq!(template, None);
                return Ok(());
            };
            let template = template.expect("it is kept");
            let known_lean = lean(known.snapshot.state.clone(), Some(&known.snapshot));
            assert_eq!(template.snapshot.state, known_lean);
            let forks = model.forks(&template.snapshot, count);
            store.create_sessions(forks.clone(), Vec::new()).await?;
            model.created(forks, &known.snapshot.state);
        }
        Step::Template { at, of, name } => {
            let id = model.pick(at);
            let Some((session, snapshots)) = model.sessions.get(&id).cloned() else {
                return Ok(());
            };
            if snapshots.is_empty() {
                return Ok(());
            }
            let of = of.get(&snapshots);
            let outline = store.snapshot(of.id, Depth::Outline).await?.expect("it is kept");
            let template = Template {
                name: name.to_string(),
                owner: Principal::local(),
                description: None,
                agent: session.profile.agent,
                snapshot: outline.snapshot,
                created_at: Timestamp(1),
            };
            store.put_template(template.clone()).await?;
            let whole = Template { snapshot: of.clone(), ..template };
            model.templates.insert(name.to_string(), whole);
        }
        Step::DropTemplate(name) => {
            let name = name.to_string();
            let there = store.delete_template(Principal::local(), name.clone()).await?;
            assert_eq!(there, model.templates.remove(&name).is_some());
        }
        Step::Delete(at) => {
            let id = model.pick(at);
            let gone =
                Event::owned(&Principal::local(), id, Timestamp(9), EventBody::SessionDeleted);
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
            let lost = vec![event(now, EventBody::SessionStarted)];
            let stale = store.update_session(now.clone(), None, lost.clone()).await;
            assert!(matches!(stale, Err(StoreError::Conflict(_))));
            let again =
                store.create_sessions(new(Session { revision: 1, ..now.clone() }), lost).await;
            assert!(matches!(again, Err(StoreError::Conflict(_))));
        }
        Step::Query { query, offset, limit } => {
            let query = SessionQuery {
                owner: query.owner.map(Principal),
                pattern: query.pattern,
                status: query.status.map(|state| state.status()),
                user_id: query.user,
                tags: query.tags,
                after: None,
                offset,
                limit,
            };
            let page = store.sessions(query.clone()).await?;
            let all = model.sessions.values().rev().map(|(session, _)| session);
            let all: Vec<_> = all.filter(|session| matches(&query, session)).cloned().collect();
            assert_eq!(page.total, all.len());
            let expected: Vec<_> = all.iter().skip(offset).take(limit).cloned().collect();
            assert_eq!(page.sessions, expected);
            let behind: Vec<_> = all.into_iter().skip(offset + expected.len()).collect();
            let goes_on = !behind.is_empty() && limit > 0;
            assert_eq!(page.next, expected.last().map(|last| last.id).filter(|_| goes_on));
            if page.next.is_some() {
                let rest = SessionQuery { after: page.next, offset: 0, limit: 99, ..query };
                assert_eq!(store.sessions(rest).await?.sessions, behind);
            }
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
            let all = model.turns.range((id, after + 1)..=(id, u64::MAX));
            let turns: Vec<_> = all.clone().take(limit).map(|(_, turn)| turn.clone()).collect();
            let next = turns.last().map(|last| last.number).filter(|_| all.count() > limit);
            assert_eq!(store.turns(id, after, most(limit)).await?, Page { entries: turns, next });
            let one = model.turns.get(&(id, after)).cloned();
            assert_eq!(store.turn(id, after).await?, one);
            let alive = model.sessions.contains_key(&id);
            let events = model.logged(after * 3);
            let own = events.filter(|l| {
                alive && l.event.subject == dormouse_domain::event::Subject::Session(id)
            });
            let own: Vec<_> = own.collect();
            let found = store.session_events(id, Cursor(after * 3), most(limit)).await?;
            assert_eq!(found, page_of(own, limit));
            let dormant = store.dormant(id).await?.map(|dormant| (dormant.session, dormant.head));
            assert_eq!(dormant, model.dormant(id));
        }
        Step::Events { after, limit } => {
            let expected = page_of(model.logged(after).collect(), limit);
            assert_eq!(store.events_after(Cursor(after), most(limit)).await?, expected);
        }
        Step::Reopen { close } => {
            if close {
                store.close().await?;
            }
            let closed = std::mem::replace(store, temporary());
            drop(closed);
            *store = keeping(root);
        }
    }
    Ok(())
}

/// At the end, everything is compared.
async fn compare(store: &Embedded, model: &Model) -> Result<(), StoreError> {
    for id in &model.ever {
        let dormant = store.dormant(*id).await?.map(|dormant| (dormant.session, dormant.head));
        assert_eq!(dormant, model.dormant(*id));
        let kept = model.sessions.get(id).map_or(Vec::new(), |(_, kept)| kept.clone());
        let summaries = store.snapshots(*id).await?;
        let names: Vec<_> = summaries.iter().rev().map(|summary| summary.id).collect();
        assert_eq!(names, kept.iter().map(|snapshot| snapshot.id).collect::<Vec<_>>());
        let turns = model.turns.range((*id, 0)..=(*id, u64::MAX));
        let turns: Vec<_> = turns.map(|(_, turn)| turn.clone()).collect();
        assert_eq!(store.turns(*id, 0, most(usize::MAX)).await?.entries, turns);
    }
    let kept = model.sessions.iter().flat_map(|(id, (_, kept))| kept.iter().map(|one| (*id, one)));
    let kept: BTreeMap<_, _> = kept.map(|(id, one)| (one.id, (id, one.clone()))).collect();
    for id in &model.snapshots {
        let found = store.snapshot(*id, Depth::Whole).await?;
        let found = found.map(|found| (found.session, found.snapshot));
        assert_eq!(found, kept.get(id).cloned());
    }
    for (name, known) in &model.templates {
        let template = store.template(Principal::local(), name.clone()).await?;
        let mut template = template.expect("it is kept");
        assert_eq!(
            template.snapshot.state,
            lean(known.snapshot.state.clone(), Some(&known.snapshot))
        );
        template.snapshot = known.snapshot.clone();
        assert_eq!(&template, known);
    }
    let summaries: Vec<_> = model.templates.values().cloned().map(TemplateSummary::from).collect();
    assert_eq!(store.templates(Principal::local()).await?, summaries);
    let log: Vec<_> = model.logged(0).collect();
    assert_eq!(store.events_after(Cursor(0), most(usize::MAX)).await?.entries, log);
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
            let mut store = keeping(root.path());
            let mut model = Model::default();
            for step in steps {
                take(&mut store, root.path(), &mut model, step).await?;
            }
            compare(&store, &model).await?;
            store.close().await?;
            let store = keeping(root.path());
            compare(&store, &model).await?;
            // Nothing is lost and nothing is left: of what is there, and once all has gone.
            settle(&store).await;
            let census = audit(&store);
            let kept: usize = model.sessions.values().map(|(_, kept)| kept.len()).sum();
            assert_eq!((census.snapshots, census.templates), (kept, model.templates.len()));
            for id in model.sessions.keys() {
                store.delete_session(*id, Vec::new()).await?;
            }
            for name in model.templates.keys() {
                store.delete_template(Principal::local(), name.clone()).await?;
            }
            settle(&store).await;
            assert_eq!(audit(&store), Census::default());
            store.close().await
        });
        prop_assert!(done.is_ok(), "{:?}", done);
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

/// The first of these, as a page.
fn page_of(all: Vec<Logged>, limit: usize) -> Page<Logged, Cursor> {
    let goes_on = all.len() > limit;
    let entries: Vec<_> = all.into_iter().take(limit).collect();
    let next = entries.last().map(|last| last.cursor).filter(|_| goes_on);
    Page { entries, next }
}
