//! Open turns with their journals, and accounts.

use std::collections::btree_map::Entry;

use super::super::examples::{most, next};
use super::super::model::{Journal, Model};
use super::super::steps::JournalStep;
use super::writing;
use crate::{Page, Store, StoreError, Transaction, Write};
use dormouse_domain::account::{Account, AccountChange, AccountId};
use dormouse_domain::id::SessionId;
use dormouse_domain::journal::{JournalEntry, OpenTurn, TurnAttempts};

/// Take one step with the journal of a session.
pub(super) async fn take(
    store: &dyn Store,
    model: &mut Model,
    id: SessionId,
    step: JournalStep,
) -> Result<(), StoreError> {
    match step {
        JournalStep::Open(turn, attempts) => open(store, model, id, *turn, attempts).await?,
        JournalStep::Attempts(attempts) => {
            let noted = store.commit(Transaction::turn_attempts(id, attempts)).await;
            if let Some(journal) = is_open(noted, model, id)? {
                journal.attempts = attempts;
            }
        }
        JournalStep::Entry(entry, again) => put(store, model, id, *entry, again).await?,
        JournalStep::Close => {
            store.commit(Transaction::close_turn(id)).await?;
            model.journals.remove(&id);
        }
    }
    compare(store, model, id).await
}

async fn open(
    store: &dyn Store,
    model: &mut Model,
    id: SessionId,
    mut turn: OpenTurn,
    attempts: TurnAttempts,
) -> Result<(), StoreError> {
    turn.session = id;
    let last = model.sessions.get(&id).map_or(0, |(session, _)| session.usage.last_turn());
    turn.number = last + 1;
    let blind = store.commit(writing(Write::OpenTurn(Box::new(turn.clone())))).await;
    assert!(matches!(blind, Err(StoreError::Conflict(told)) if told == id));
    let noted = Transaction::open_turn(turn.clone()).and(Transaction::turn_attempts(id, attempts));
    let opened = store.commit(noted).await;
    if !model.sessions.contains_key(&id) {
        assert!(matches!(opened, Err(StoreError::NotFound(told)) if told == id));
        return Ok(());
    }
    match model.journals.entry(id) {
        Entry::Occupied(_) => {
            assert!(matches!(opened, Err(StoreError::Conflict(told)) if told == id));
        }
        Entry::Vacant(place) => {
            opened?;
            place.insert(Journal { turn, attempts, entries: Vec::new() });
        }
    }
    Ok(())
}

/// The next entry of a journal, or the last one anew.
async fn put(
    store: &dyn Store,
    model: &mut Model,
    id: SessionId,
    mut entry: JournalEntry,
    again: bool,
) -> Result<(), StoreError> {
    let there_are = model.journals.get(&id).map_or(0, |journal| journal.entries.len());
    let place = if again { there_are.saturating_sub(1) } else { there_are };
    entry.seq = u32::try_from(place).expect("they are few") + 1;
    let blind = writing(Write::JournalEntry(id, Box::new(entry.clone())));
    let blind = store.commit(blind).await;
    assert!(matches!(blind, Err(StoreError::Conflict(told)) if told == id));
    let written = store.commit(Transaction::journal(id, entry.clone())).await;
    if let Some(journal) = is_open(written, model, id)? {
        journal.entries.truncate(place);
        journal.entries.push(entry);
    }
    Ok(())
}

/// The journal that was written to: it has to be refused where there is none.
fn is_open(
    written: Result<(), StoreError>,
    model: &mut Model,
    id: SessionId,
) -> Result<Option<&mut Journal>, StoreError> {
    if !model.sessions.contains_key(&id) {
        assert!(matches!(written, Err(StoreError::NotFound(told)) if told == id));
        return Ok(None);
    }
    let Some(journal) = model.journals.get_mut(&id) else {
        assert!(matches!(written, Err(StoreError::Conflict(told)) if told == id));
        return Ok(None);
    };
    written.map(|()| Some(journal))
}

/// What the store has of the journal of a session is what the model has.
async fn compare(store: &dyn Store, model: &Model, id: SessionId) -> Result<(), StoreError> {
    let known = model.journals.get(&id);
    let open = known.map(|journal| (journal.turn.clone(), journal.attempts));
    assert_eq!(store.open_turn(id).await?, open);
    let entries = known.map_or(&[][..], |journal| &journal.entries);
    for after in [0, 1] {
        let rest = entries.get(after..).unwrap_or_default();
        let first: Vec<_> = rest.iter().take(2).cloned().collect();
        let next = first.last().map(|last| last.seq).filter(|_| rest.len() > 2);
        let after = u32::try_from(after).expect("it is small");
        assert_eq!(store.journal(id, after, most(2)).await?, Page { entries: first, next });
        let rest = Page { entries: rest.to_vec(), next: None };
        assert_eq!(store.journal(id, after, most(usize::MAX)).await?, rest);
    }
    Ok(())
}

/// The same of all sessions that there ever were.
pub(in super::super) async fn compare_all(
    store: &dyn Store,
    model: &Model,
) -> Result<(), StoreError> {
    let turns = model.journals.values().map(|journal| &journal.turn);
    let mut open: Vec<_> = turns.map(|it| (it.started_at, it.turn, it.session)).collect();
    open.sort();
    let open: Vec<_> = open.into_iter().map(|(_, _, session)| session).collect();
    assert_eq!(store.open_turns().await?, open);
    for id in &model.ever {
        compare(store, model, *id).await?;
    }
    for id in &model.ever {
        let id = AccountId(*id);
        assert_eq!(store.account(id).await?.as_ref(), model.accounts.get(&id));
    }
    Ok(())
}

/// A session that spends on its own shares an account from now on, which is made where it is not there.
pub(super) async fn share(
    store: &dyn Store,
    model: &mut Model,
    id: SessionId,
    made: Account,
) -> Result<(), StoreError> {
    let Some((before, _)) = model.sessions.get(&id) else { return Ok(()) };
    if before.account.is_some() {
        return Ok(());
    }
    let mut session = next(before);
    session.account = Some(made.id);
    let record = Transaction::update(session.clone(), None, Vec::new());
    let made = Account { members: 1, ..made };
    let joins = AccountChange { members: 1, ..AccountChange::default() };
    let (creation, change) =
        (Transaction::new_account(made.clone()), Transaction::change_account(made.id, joins));
    let blind = store.commit(Transaction { expect: Vec::new(), ..creation.clone() }).await;
    assert!(matches!(blind, Err(StoreError::Conflict(told)) if told == made.id.0));
    if let Some(known) = model.accounts.get_mut(&made.id) {
        let twice = store.commit(record.clone().and(creation)).await;
        assert!(matches!(twice, Err(StoreError::Conflict(told)) if told == made.id.0));
        store.commit(record.and(change)).await?;
        known.apply(joins);
    } else {
        let missing = store.commit(record.clone().and(change)).await;
        assert!(matches!(missing, Err(StoreError::AccountNotFound(told)) if told == made.id));
        store.commit(record.and(creation)).await?;
        model.accounts.insert(made.id, made);
    }
    model.change(session, None);
    Ok(())
}

/// Several spend from the account of a session at once.
pub(super) async fn spend(
    store: &dyn Store,
    model: &mut Model,
    id: SessionId,
    change: AccountChange,
) -> Result<(), StoreError> {
    let account = model.sessions.get(&id).and_then(|(session, _)| session.account);
    let Some(known) = account.and_then(|account| model.accounts.get_mut(&account)) else {
        return Ok(());
    };
    let once = || store.commit(Transaction::change_account(known.id, change));
    let (one, two, three) = tokio::join!(once(), once(), once());
    one.and(two).and(three)?;
    for _ in 0..3 {
        known.apply(change);
    }
    assert_eq!(store.account(known.id).await?.as_ref(), Some(&*known));
    Ok(())
}

/// Remove a session, which leaves its account.
pub(in super::super) fn removal(model: &Model, id: SessionId) -> Transaction {
    let leaves = AccountChange { members: -1, ..AccountChange::default() };
    let account = model.sessions.get(&id).and_then(|(session, _)| session.account);
    let change = account.map(|account| Transaction::change_account(account, leaves));
    Transaction::remove_session(id, Vec::new()).and(change.unwrap_or_default())
}

/// End the open turn of a session with the commit of this turn.
pub(super) fn closing(model: &mut Model, id: SessionId, turn: Transaction) -> Transaction {
    match model.journals.remove(&id) {
        Some(_) => turn.and(Transaction::close_turn(id)),
        None => turn,
    }
}
