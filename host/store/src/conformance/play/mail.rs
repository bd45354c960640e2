//! Mail: it comes to the sessions that are there, in order, and is taken once.

use std::collections::BTreeMap;

use super::super::model::Model;
use super::super::steps::MailStep;
use crate::read::StoredMail;
use crate::{Store, StoreError, Transaction};
use dormouse_domain::id::SessionId;
use dormouse_domain::mail::{Mail, MailboxSize};

/// Take one step with the mailbox of a session.
pub(super) async fn take(
    store: &dyn Store,
    model: &mut Model,
    id: SessionId,
    step: MailStep,
) -> Result<(), StoreError> {
    match step {
        MailStep::Send(mails, other) => {
            let other = model.pick(other);
            let to = |at: usize| if at.is_multiple_of(2) { id } else { other };
            let mails: Vec<_> =
                mails.into_iter().enumerate().map(|(at, it)| (to(at), it)).collect();
            store.commit(Transaction::mail(mails.clone())).await?;
            for (to, mail) in mails {
                put(model, to, mail);
            }
            compare(store, model, other).await?;
        }
        MailStep::Take { missing, beside } => {
            let first = first(model, id).map_or(0, |(number, _)| number);
            let number = if missing { first + 1_000 } else { first };
            let taking = store.commit(Transaction::take_mail(id, number));
            let sent = beside.iter().map(|mail| (id, mail.clone())).collect();
            let sending = store.commit(Transaction::mail(sent));
            let (taken, sent) = tokio::join!(taking, sending);
            sent?;
            // The one that is taken was there before, whichever comes first; unless there was none.
            let is_there = model.mailboxes.get(&id).is_some_and(|it| it.contains_key(&number));
            match taken {
                Ok(()) if is_there => {}
                Err(StoreError::Conflict(told)) if !is_there => assert_eq!(told, id),
                other => panic!("{other:?}, where it is there: {is_there}"),
            }
            settle(store, model, id, (is_there.then_some(number), beside)).await?;
        }
        MailStep::Drop => {
            store.commit(Transaction::drop_mail(id, Vec::new())).await?;
            model.mailboxes.remove(&id);
        }
    }
    compare(store, model, id).await
}

/// A mail was taken while another came: the first of a mailbox that was empty in between has its first number.
async fn settle(
    store: &dyn Store,
    model: &mut Model,
    id: SessionId,
    (taken, sent): (Option<u64>, Option<Mail>),
) -> Result<(), StoreError> {
    let mut emptied = model.clone();
    if let Some(number) = taken {
        emptied.mailboxes.entry(id).or_default().remove(&number);
        if let Some(sent) = sent.clone() {
            put(&mut emptied, id, sent);
        }
        let mut behind = model.clone();
        if let Some(sent) = sent {
            put(&mut behind, id, sent);
        }
        behind.mailboxes.entry(id).or_default().remove(&number);
        let found = store.first_mail(id).await?.map(|found| found.number);
        let is_behind = first(&behind, id).map(|(number, _)| number) == found;
        *model = if is_behind { behind } else { emptied };
    } else if let Some(sent) = sent {
        put(model, id, sent);
    }
    Ok(())
}

fn put(model: &mut Model, to: SessionId, mail: Mail) {
    if model.sessions.contains_key(&to) {
        let mailbox = model.mailboxes.entry(to).or_default();
        let last = mailbox.last_key_value().map_or(0, |(number, _)| *number);
        mailbox.insert(last + 1, mail);
    }
}

fn first(model: &Model, id: SessionId) -> Option<(u64, Mail)> {
    let first = model.mailboxes.get(&id).and_then(BTreeMap::first_key_value);
    first.map(|(number, mail)| (*number, mail.clone()))
}

/// What the store has of the mailbox of a session is what the model has.
async fn compare(store: &dyn Store, model: &Model, id: SessionId) -> Result<(), StoreError> {
    let known = first(model, id).map(|(number, mail)| StoredMail {
        number,
        weight: mail.weight(),
        mail: Some(mail),
    });
    assert_eq!(store.first_mail(id).await?, known);
    Ok(())
}

/// The same of all mailboxes.
pub(in super::super) async fn compare_all(
    store: &dyn Store,
    model: &Model,
) -> Result<(), StoreError> {
    let size = |mailbox: &BTreeMap<u64, Mail>| {
        mailbox.values().fold(MailboxSize::default(), |size, mail| size.with(mail.weight()))
    };
    let full = model.mailboxes.iter().filter(|(_, mailbox)| !mailbox.is_empty());
    let sizes: BTreeMap<_, _> = full.map(|(id, mailbox)| (*id, size(mailbox))).collect();
    let found: BTreeMap<_, _> = store.mailboxes().await?.into_iter().collect();
    assert_eq!(found, sizes);
    for id in &model.ever {
        compare(store, model, *id).await?;
    }
    Ok(())
}
