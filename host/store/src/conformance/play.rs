//! Playing a history to a store, and comparing what it answers with what it must.

pub(super) mod journal;
pub(super) mod lists;
pub(super) mod mail;
pub(super) mod schedules;
pub(super) mod worlds;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Fixture;
use super::examples::{agent, event, most, new, next, session, session_id, turn, uuid};
use super::model::{Model, page_of};
use super::samples;
use super::sharing;
use super::steps::{Step, lean, state_of};
use crate::read::StoredKeys;
use crate::{
    AgentQuery, Expect, Page, SessionQuery, SnapshotDetail, Store, StoreError, Transaction,
    TurnCommit, Write,
};
use dormouse_domain::access::AccessKey;
use dormouse_domain::account::{Account, AccountId};
use dormouse_domain::agent::{AgentRef, Digest, Visibility};
use dormouse_domain::event::{Cursor, Event, EventBody, EventSubject};
use dormouse_domain::id::{Principal, SessionId, SnapshotId};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::residence::Residence;
use dormouse_domain::session::{BeforeUpgrade, Session};
use dormouse_domain::snapshot::Snapshot;
use dormouse_domain::state::State;
use dormouse_domain::template::{Template, TemplateSummary};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{IdempotencyKey, IdempotencyRecord};

/// Take one step.
pub(super) async fn take<F: Fixture>(
    fixture: &mut F,
    model: &mut Model,
    step: Step,
) -> Result<(), StoreError> {
    let store = fixture.store();
    match step {
        Step::Create { session, quota, of_user } => {
            lists::create(store, model, *session, quota, of_user).await?;
        }
        Step::Turn { at, answer, head, state } => {
            let id = model.pick(at);
            let Some((before, old_head)) = model.wake_state(id) else {
                let missing = store
                    .commit(Transaction::turn(turn(&Session { id, ..session(1) }, 1, 1)))
                    .await;
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
            let done = journal::closing(model, id, Transaction::turn(commit.clone()));
            store.commit(done).await?;
            model.turned(commit, whole);
        }
        Step::Update { at, state, context, active, drop_head, labels, cost } => {
            let id = model.pick(at);
            let Some((before, _)) = model.sessions.get(&id).cloned() else { return Ok(()) };
            let mut session = next(&before);
            session.state = state;
            session.context = context;
            session.last_activity_at = Timestamp(active);
            session.usage.cost += NanoUsd(cost);
            if let Some(labels) = labels {
                labels.put_on(&mut session.profile);
            }
            if drop_head {
                session.head = None;
            }
            store.commit(Transaction::update(session.clone(), None, Vec::new())).await?;
            model.change(session, None);
        }
        Step::Rewind { at, to, pin } => {
            let id = model.pick(at);
            let Some((before, snapshots)) = model.sessions.get(&id).cloned() else { return Ok(()) };
            if snapshots.is_empty() {
                return Ok(());
            }
            let to = to.get(&snapshots);
            let outline =
                store.snapshot(to.id, SnapshotDetail::Metadata).await?.expect("it is kept");
            assert_eq!(outline.snapshot.state, lean(to.state.clone(), Some(to)));
            let new = model.new_snapshot();
            let mut session = next(&before);
            session.head = Some(new);
            session.before_upgrade = (pin && before.head.is_some()).then(|| BeforeUpgrade {
                agent: before.profile.agent.clone(),
                head: before.head,
                head_parent: None,
                state_bytes: None,
            });
            let head = Snapshot { id: new, parent: Some(to.id), ..outline.snapshot };
            store
                .commit(Transaction::update(session.clone(), Some(head.clone()), Vec::new()))
                .await?;
            model.change(session, Some(Snapshot { state: to.state.clone(), ..head }));
        }
        Step::Fork { at, of, count } => {
            let id = model.pick(at);
            let Some((_, snapshots)) = model.sessions.get(&id).cloned() else { return Ok(()) };
            if snapshots.is_empty() {
                return Ok(());
            }
            let of = of.get(&snapshots);
            let outline =
                store.snapshot(of.id, SnapshotDetail::Metadata).await?.expect("it is kept");
            let forks = model.forks(&outline.snapshot, count);
            store.commit(Transaction::create(forks.clone(), Vec::new())).await?;
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
            store.commit(Transaction::create(forks.clone(), Vec::new())).await?;
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
            let outline =
                store.snapshot(of.id, SnapshotDetail::Metadata).await?.expect("it is kept");
            let template = Template {
                name: name.to_string(),
                owner: Principal::local(),
                description: None,
                agent: session.profile.agent,
                snapshot: outline.snapshot,
                created_at: Timestamp(1),
            };
            store.commit(Transaction::template(template.clone())).await?;
            let whole = Template { snapshot: of.clone(), ..template };
            model.templates.insert(name.to_string(), whole);
        }
        Step::DropTemplate(name) => {
            let name = name.to_string();
            let removal = Transaction::remove_template(Principal::local(), name.clone());
            let removed = store.commit(removal).await;
            if model.templates.remove(&name).is_some() {
                removed?;
            } else {
                assert!(matches!(removed, Err(StoreError::TemplateNotFound(_))));
            }
        }
        Step::Resume { at, of, trial } => {
            let id = model.pick(at);
            let kept = model.sessions.get(&id).map(|(_, kept)| kept.as_slice()).unwrap_or_default();
            // Of one that is not kept, nothing is noted.
            let gone = Transaction::resume_tried(id, SnapshotId(uuid(404)), trial, Timestamp(3));
            store.commit(gone).await?;
            if kept.is_empty() {
                return Ok(());
            }
            let snapshot = of.get(kept).id;
            store.commit(Transaction::resume_tried(id, snapshot, trial, Timestamp(3))).await?;
            let history = model.resumes.entry(snapshot).or_default();
            *history = history.after(trial, Timestamp(3));
        }
        Step::RemoveState { at, state } => {
            remove_state(store, model, model.pick(at), state).await?
        }
        Step::Slept { at, woken, slept } => {
            slept_between(store, model, model.pick(at), (woken, slept)).await?;
        }
        Step::Delete(at) => {
            let id = model.pick(at);
            let gone =
                Event::owned(&Principal::local(), id, Timestamp(9), EventBody::SessionDeleted);
            let mut removal = journal::removal(model, id);
            removal.events.push(gone.clone());
            let deleted = store.commit(removal).await;
            if model.remove(id) {
                deleted?;
                model.log.push(gone);
            } else {
                assert!(matches!(deleted, Err(StoreError::NotFound(_))));
            }
        }
        Step::DeleteBeside { at, of, beside } => {
            let id = model.pick(at);
            let Some((_, snapshots)) = model.sessions.get(&id) else { return Ok(()) };
            if snapshots.is_empty() {
                return Ok(());
            }
            let of = of.get(snapshots).clone();
            sharing::remove(fixture, model, id, &of, beside).await?;
        }
        Step::Stale(at) => {
            let Some((now, _)) = model.sessions.get(&model.pick(at)) else { return Ok(()) };
            let lost = vec![event(now, EventBody::SessionStarted)];
            let stale = store.commit(Transaction::update(now.clone(), None, lost.clone())).await;
            assert!(matches!(stale, Err(StoreError::Conflict(_))));
            let again = store
                .commit(Transaction::create(new(Session { revision: 1, ..now.clone() }), lost))
                .await;
            assert!(matches!(again, Err(StoreError::Conflict(_))));
        }
        Step::Query { query, offset, limit } => {
            lists::list(store, model, query, offset, limit).await?
        }
        Step::Statistics(picks) => lists::statistics(store, model, picks).await?,
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
            let own = events.filter(|l| alive && l.event.subject == EventSubject::Session(id));
            let own: Vec<_> = own.collect();
            let found = store.session_events(id, Cursor(after * 3), most(limit)).await?;
            assert_eq!(found, page_of(own, limit));
            let wake_state =
                store.wake_state(id).await?.map(|wake_state| (wake_state.session, wake_state.head));
            assert_eq!(wake_state, model.wake_state(id));
        }
        Step::Events { after, limit } => {
            assert_eq!(*store.end().borrow(), Cursor(model.log.len() as u64));
            let expected = page_of(model.logged(after).collect(), limit);
            assert_eq!(store.events_after(Cursor(after), most(limit)).await?, expected);
        }
        Step::Tick(at) => {
            let ids: std::collections::BTreeSet<_> = at.iter().map(|at| model.pick(*at)).collect();
            let commits: Vec<TurnCommit> = ids.iter().filter_map(|id| tick(model, *id)).collect();
            let mut all = Transaction::default();
            for commit in &commits {
                let id = commit.session.id;
                all = all.and(journal::closing(model, id, Transaction::turn(commit.clone())));
            }
            store.commit(all).await?;
            for commit in commits {
                model.turned(commit, None);
            }
        }
        Step::Half { at, last } => {
            let Some((now, _)) = model.sessions.get(&model.pick(at)) else { return Ok(()) };
            let other = Transaction::create(new(session(404)), Vec::new());
            let stale = Transaction::update(now.clone(), None, Vec::new());
            let both = if last { other.and(stale) } else { stale.and(other) };
            let refused = store.commit(both).await;
            assert!(matches!(refused, Err(StoreError::Conflict(_))));
            assert_eq!(store.session(session_id(404)).await?, None);
        }
        Step::Upload { owner, name, component } => {
            let agent = agent(owner, &format!("agent-{name}"), &component.to_string(), component);
            let reference = &agent.reference;
            let events = vec![uploaded(reference)];
            let bytes = vec![component; 100].into();
            let upload = Transaction::agent(agent.clone(), bytes, events.clone());
            let known = model.agents.iter().find(|known| known.reference == *reference);
            match (store.commit(upload).await, known) {
                (Ok(()), None) => {
                    model.agents.push(agent);
                    model.log.extend(events);
                }
                (Err(StoreError::AgentExists(there)), Some(known)) => {
                    assert_eq!(there, known.reference);
                }
                (other, known) => panic!("{other:?}, where there is {known:?}"),
            }
        }
        Step::Publish(at) => {
            let Some(mut agent) = model.agent(at).cloned() else { return Ok(()) };
            agent.visibility = Visibility::Public;
            store.commit(Transaction::update_agent(agent.clone(), Vec::new())).await?;
            model.agents.iter_mut().filter(|it| it.reference == agent.reference).for_each(|it| {
                it.visibility = Visibility::Public;
            });
            agent.reference.digest = Digest::of(b"unknown");
            let unknown = store.commit(Transaction::update_agent(agent, Vec::new())).await;
            assert!(matches!(unknown, Err(StoreError::AgentNotFound(_))));
        }
        Step::RemoveAgent(at) => {
            let Some(agent) = model.agent(at).cloned() else { return Ok(()) };
            let removal = Transaction::remove_agent(agent.reference.clone(), Vec::new());
            let uses = model.uses(&agent.reference);
            match store.commit(removal.clone()).await {
                Ok(()) => {
                    assert_eq!(uses, 0);
                    model.agents.retain(|it| it.reference != agent.reference);
                    let again = store.commit(removal).await;
                    assert!(matches!(again, Err(StoreError::AgentNotFound(_))));
                }
                Err(StoreError::AgentInUse(told)) => assert_eq!(told, uses),
                Err(error) => return Err(error),
            }
        }
        Step::Message { at, owner, key, forget } => {
            let owner = Principal(if owner { "ann" } else { "ben" }.to_owned());
            let key = IdempotencyKey { owner, key: key.to_string() };
            message(store, model, key, model.pick(at), forget).await?;
        }
        Step::Key { number, used, revoke } => {
            let used = Some(Timestamp(used));
            let key = AccessKey { last_used_at: used, ..samples::access_key(number) };
            access_key(store, model, key, revoke).await?;
        }
        Step::Schedule { number, record, work, remove } => {
            let change = (*record, work.map(|work| *work));
            schedules::take(store, model, number, change, remove).await?;
        }
        Step::World(rows) => worlds::take(store, model, rows).await?,
        Step::Journal { at, step } => journal::take(store, model, model.pick(at), step).await?,
        Step::Share { at, with, account } => {
            let account = Account { id: AccountId(model.pick(with)), ..account };
            journal::share(store, model, model.pick(at), account).await?;
        }
        Step::Mail { at, step } => mail::take(store, model, model.pick(at), step).await?,
        Step::Spend { at, change } => journal::spend(store, model, model.pick(at), change).await?,
        Step::Reopen { close } => fixture.reopen(close).await?,
    }
    Ok(())
}

/// The state of a session is removed, and its record stays.
async fn remove_state(
    store: &dyn Store,
    model: &mut Model,
    id: SessionId,
    state: State,
) -> Result<(), StoreError> {
    let Some((before, _)) = model.sessions.get(&id) else { return Ok(()) };
    let mut session = Session { state, ..next(before) };
    if session.head.is_some() {
        let named = Transaction::remove_state(session.clone().into(), Vec::new());
        assert!(matches!(store.commit(named).await, Err(StoreError::Conflict(told)) if told == id));
    }
    session.set_head(None);
    session.before_upgrade = None;
    session.state_removed_at = Some(Timestamp(9));
    let told = vec![event(&session, EventBody::SessionPaused)];
    let stale = Session { revision: session.revision + 1, ..session.clone() };
    let stale = store.commit(Transaction::remove_state(stale.into(), told.clone())).await;
    assert!(matches!(stale, Err(StoreError::Conflict(told)) if told == id));
    store.commit(Transaction::remove_state(session.clone().into(), told.clone())).await?;
    model.log.extend(told);
    model.without_state(session);
    assert_eq!(store.snapshots(id).await?, []);
    Ok(())
}

/// A session is noted to sleep, which had an instance between these times.
async fn slept_between(
    store: &dyn Store,
    model: &mut Model,
    id: SessionId,
    (woken, slept): (i64, i64),
) -> Result<(), StoreError> {
    let woken = Residence::default().woken(Timestamp(woken), Timestamp(0));
    let residence = woken.slept(Timestamp(slept));
    let told = vec![Event::owned(&Principal::local(), id, Timestamp(9), EventBody::SessionStarted)];
    let noted = Transaction::slept(id, residence, told.clone());
    let blind = store.commit(Transaction { expect: Vec::new(), ..noted.clone() }).await;
    assert!(matches!(blind, Err(StoreError::Conflict(told)) if told == id));
    let done = store.commit(noted).await;
    let Some((session, _)) = model.sessions.get_mut(&id) else {
        assert!(matches!(done, Err(StoreError::NotFound(told)) if told == id));
        return Ok(());
    };
    done?;
    session.residence = session.residence.noted(residence);
    model.log.extend(told);
    assert_eq!(store.session(id).await?.as_ref(), Some(&*session));
    Ok(())
}

/// A key of the API: made where it is not there, else changed or revoked.
async fn access_key(
    store: &dyn Store,
    model: &mut Model,
    key: AccessKey,
    revoke: bool,
) -> Result<(), StoreError> {
    let blind = store.commit(writing(Write::Key(Box::new(key.clone())))).await;
    assert!(matches!(blind, Err(StoreError::KeyNotFound(id)) if id == key.id));
    let change = match revoke {
        true => Transaction::remove_key(key.id, Vec::new()),
        false => Transaction::update_key(key.clone()),
    };
    let new = Transaction::new_key(key.clone(), Vec::new());
    if model.keys.contains_key(&key.id) {
        let twice = store.commit(new).await;
        assert!(matches!(twice, Err(StoreError::KeyExists(id)) if id == key.id));
        store.commit(change).await?;
    } else {
        let unknown = store.commit(change).await;
        assert!(matches!(unknown, Err(StoreError::KeyNotFound(id)) if id == key.id));
        if !revoke {
            store.commit(new).await?;
        }
    }
    match revoke {
        true => drop(model.keys.remove(&key.id)),
        false => drop(model.keys.insert(key.id, key)),
    }
    compare_keys(store, model).await
}

async fn compare_keys(store: &dyn Store, model: &Model) -> Result<(), StoreError> {
    let expected = StoredKeys { keys: model.keys.values().cloned().collect(), lost: 0 };
    assert_eq!(store.keys().await?, expected);
    Ok(())
}

/// A message to a session with this key, which is forgotten first where that is said.
async fn message(
    store: &dyn Store,
    model: &mut Model,
    key: IdempotencyKey,
    session: SessionId,
    forget: bool,
) -> Result<(), StoreError> {
    if forget {
        // Whether or not it is there.
        store.commit(writing(Write::RemoveIdempotency(key.clone()))).await?;
        model.messages.remove(&key);
        assert_eq!(store.idempotency(key.clone()).await?, None);
    }
    let record = IdempotencyRecord {
        key: key.clone(),
        request: Digest::of(b"hello"),
        session,
        turn: model.log.len() as u64,
        expires_at: Timestamp::NEVER,
    };
    let write = writing(Write::Idempotency(Box::new(record.clone())));
    let blind = store.commit(write.clone()).await;
    assert!(matches!(blind, Err(StoreError::Conflict(id)) if id == session));
    let expect = vec![Expect::NewIdempotencyKey(key.clone())];
    match (store.commit(Transaction { expect, ..write }).await, model.messages.get(&key)) {
        (Ok(()), None) => drop(model.messages.insert(key.clone(), record)),
        (Err(StoreError::IdempotencyKeyUsed(told)), Some(known)) => {
            assert_eq!(told, known.session);
        }
        (other, known) => panic!("{other:?}, where there is {known:?}"),
    }
    assert_eq!(store.idempotency(key.clone()).await?.as_ref(), model.messages.get(&key));
    Ok(())
}

fn writing(write: Write) -> Transaction {
    Transaction { writes: vec![write], ..Transaction::default() }
}

/// The next turn of a session, without a state.
fn tick(model: &Model, id: SessionId) -> Option<TurnCommit> {
    let (before, _) = model.sessions.get(&id)?;
    let mut commit = turn(before, 10, 0);
    Arc::make_mut(&mut commit.session).head = before.head;
    commit.snapshot = None;
    Some(commit)
}

fn uploaded(agent: &AgentRef) -> Event {
    Event {
        owner: Some(agent.owner.clone()),
        subject: EventSubject::Agent(agent.to_string()),
        occurred_at: Timestamp(1),
        body: EventBody::AgentUploaded { digest: agent.digest },
    }
}

/// That the store has what the model has, and nothing else.
pub(super) async fn audit<F: Fixture>(fixture: &mut F, model: &Model) {
    let kept = model.sessions.values().map(|(_, kept)| kept.len()).sum();
    fixture.audit(kept, model.templates.len()).await;
}

/// At the end, everything is compared.
pub(super) async fn compare(store: &dyn Store, model: &Model) -> Result<(), StoreError> {
    for id in &model.ever {
        let wake_state =
            store.wake_state(*id).await?.map(|wake_state| (wake_state.session, wake_state.head));
        let status = wake_state.as_ref().map(|(session, _)| session.state.status());
        assert_eq!(store.status(*id)?, status);
        assert_eq!(wake_state, model.wake_state(*id));
        let kept = model.sessions.get(id).map_or(Vec::new(), |(_, kept)| kept.clone());
        let summaries = store.snapshots(*id).await?;
        let names: Vec<_> = summaries.iter().rev().map(|summary| summary.id).collect();
        assert_eq!(names, kept.iter().map(|snapshot| snapshot.id).collect::<Vec<_>>());
        for summary in summaries {
            let resumes = model.resumes.get(&summary.id).copied().unwrap_or_default();
            assert_eq!(summary.resumes, resumes);
        }
        let turns = model.turns.range((*id, 0)..=(*id, u64::MAX));
        let turns: Vec<_> = turns.map(|(_, turn)| turn.clone()).collect();
        assert_eq!(store.turns(*id, 0, most(usize::MAX)).await?.entries, turns);
    }
    let kept = model.sessions.iter().flat_map(|(id, (_, kept))| kept.iter().map(|one| (*id, one)));
    let kept: BTreeMap<_, _> = kept.map(|(id, one)| (one.id, (id, one.clone()))).collect();
    for id in &model.snapshots {
        let found = store.snapshot(*id, SnapshotDetail::Full).await?;
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
    assert_eq!(*store.end().borrow(), Cursor(model.log.len() as u64));
    let log: Vec<_> = model.logged(0).collect();
    assert_eq!(store.events_after(Cursor(0), most(usize::MAX)).await?.entries, log);
    for (key, known) in &model.messages {
        assert_eq!(store.idempotency(key.clone()).await?.as_ref(), Some(known));
    }
    let due = model.due();
    assert_eq!(store.due(None, Timestamp::NEVER, usize::MAX).await?, due);
    let all = store.sessions(SessionQuery { limit: 1, ..SessionQuery::default() }).await?;
    assert_eq!(all.total, model.sessions.len());
    compare_keys(store, model).await?;
    journal::compare_all(store, model).await?;
    mail::compare_all(store, model).await?;
    schedules::compare(store, model).await?;
    worlds::compare(store, model).await?;
    lists::compare_statistics(store, model).await?;
    compare_agents(store, model).await
}

async fn compare_agents(store: &dyn Store, model: &Model) -> Result<(), StoreError> {
    for agent in &model.agents {
        let reference = agent.reference.clone();
        let exact = AgentQuery::Exact(reference.owner, reference.name, reference.version);
        assert_eq!(store.agent(exact).await?.as_ref(), Some(agent));
    }
    for component in 0..3_u8 {
        let bytes = vec![component; 100];
        let digest = Digest::of(&bytes);
        let is_there = model.agents.iter().any(|it| it.reference.digest == digest);
        assert_eq!(store.component(digest).await?, is_there.then(|| bytes.into()));
        let found = store.agent(AgentQuery::AnyComponent(digest)).await?;
        assert_eq!(found.map(|it| it.reference.digest), is_there.then_some(digest));
    }
    for user in [Some("ann"), Some("ben"), None] {
        let user = user.map(|user| Principal(user.to_owned()));
        let mut usable: Vec<_> =
            model.agents.iter().filter(|it| it.is_listed_for(user.as_ref())).cloned().collect();
        usable.sort_by_key(|it| it.reference.name.clone());
        assert_eq!(store.agents(user).await?, usable);
    }
    Ok(())
}
