//! The mailboxes of sessions, while turns run: what waits in each, and what turns that run are about to put there.
//!
//! A mail that an agent sends has a place from then on, so the commit of its turn puts it there, whatever others send
//! meanwhile; an agent whose mail finds no place is told so at once. What is durable the store has; this knows how much
//! that is, from the start of the host on.
//!
//! Invariant: what waits in a mailbox and what turns have places for is together within the bounds of a mailbox, but for
//! the mails of a turn that is run again: these had places before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::mail::{MailboxSize, Posted};
use dormouse_store::{Store, StoreError};

/// The mailboxes of a host.
pub(crate) struct Mailboxes {
    store: Arc<dyn Store>,
    /// Those that are not empty, or for which somebody has a place.
    known: Mutex<HashMap<SessionId, Mailbox>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Mailbox {
    /// What lies in it. For a moment it may be less than nothing: whoever takes a mail may be faster than whoever has
    /// sent it.
    waiting: Content,
    /// What turns have places for.
    reserved: Content,
}

/// So many mails, and what they count for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Content {
    mails: i64,
    bytes: i64,
}

impl Content {
    fn with(self, weight: u64) -> Content {
        let bytes = i64::try_from(weight).unwrap_or(i64::MAX);
        Content { mails: self.mails + 1, bytes: self.bytes.saturating_add(bytes) }
    }

    fn without(self, weight: u64) -> Content {
        let bytes = i64::try_from(weight).unwrap_or(i64::MAX);
        Content { mails: self.mails - 1, bytes: self.bytes.saturating_sub(bytes) }
    }

    fn mails(self) -> u32 {
        u32::try_from(self.mails.max(0)).unwrap_or(u32::MAX)
    }
}

/// A place for a mail in a mailbox. It is free again when it is dropped.
pub(crate) struct MailPlace {
    mailboxes: Arc<Mailboxes>,
    to: SessionId,
    weight: u64,
}

impl Mailboxes {
    /// Those of a store, of which nothing is known yet.
    pub(crate) fn new(store: Arc<dyn Store>) -> Mailboxes {
        Mailboxes { store, known: Mutex::default() }
    }

    /// Find out what waits. Answers with the sessions that mail waits for.
    ///
    /// # Errors
    /// The store does not say it.
    pub(crate) async fn load(&self) -> Result<Vec<SessionId>, StoreError> {
        let sizes = self.store.mailboxes().await?;
        let mut known = self.lock();
        for (id, waiting) in &sizes {
            known.entry(*id).or_default().waiting = Content {
                mails: waiting.mails.into(),
                bytes: i64::try_from(waiting.bytes).unwrap_or(i64::MAX),
            };
        }
        Ok(sizes.into_iter().map(|(id, _)| id).collect())
    }

    /// How many mails wait for a session.
    pub(crate) fn waiting(&self, id: SessionId) -> u32 {
        self.lock().get(&id).map_or(0, |mailbox| mailbox.waiting.mails())
    }

    /// A place for a mail of so much weight, from a session of this owner to another of the same owner.
    ///
    /// # Errors
    /// Why there is none: never [`Posted::Taken`]. The outer error: the store does not say.
    pub(crate) fn place(
        self: &Arc<Self>,
        owner: &Principal,
        to: SessionId,
        weight: u64,
    ) -> Result<Result<MailPlace, Posted>, StoreError> {
        if !self.store.is_owner(to, owner)? {
            return Ok(Err(Posted::Gone));
        }
        match self.store.status(to)? {
            None => return Ok(Err(Posted::Gone)),
            Some(status) if status.is_final() => return Ok(Err(Posted::Ended)),
            Some(_) => {}
        }
        let mut known = self.lock();
        let mailbox = known.get(&to).copied().unwrap_or_default();
        let bytes = mailbox.waiting.bytes.saturating_add(mailbox.reserved.bytes);
        let all = MailboxSize {
            mails: mailbox.waiting.mails().saturating_add(mailbox.reserved.mails()),
            bytes: u64::try_from(bytes).unwrap_or(0),
        };
        if !all.with(weight).is_within_bounds() {
            return Ok(Err(Posted::MailboxFull));
        }
        let reserved = mailbox.reserved.with(weight);
        known.insert(to, Mailbox { reserved, ..mailbox });
        drop(known);
        Ok(Ok(MailPlace { mailboxes: Arc::clone(self), to, weight }))
    }

    /// The same for a mail that had a place when its turn was run before, whatever there is.
    pub(crate) fn place_again(self: &Arc<Self>, to: SessionId, weight: u64) -> MailPlace {
        let mut known = self.lock();
        let mailbox = known.entry(to).or_default();
        mailbox.reserved = mailbox.reserved.with(weight);
        drop(known);
        MailPlace { mailboxes: Arc::clone(self), to, weight }
    }

    /// A mail of so much weight was taken out of the mailbox of a session.
    pub(crate) fn taken(&self, id: SessionId, weight: u64) {
        self.change(id, |mailbox| mailbox.waiting = mailbox.waiting.without(weight));
    }

    /// The mailbox of a session is empty: all that was in it was removed.
    pub(crate) fn dropped(&self, id: SessionId) {
        self.change(id, |mailbox| mailbox.waiting = Content::default());
    }

    fn change(&self, id: SessionId, change: impl FnOnce(&mut Mailbox)) {
        let mut known = self.lock();
        let mailbox = known.entry(id).or_default();
        change(mailbox);
        if *mailbox == Mailbox::default() {
            known.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Mailbox>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MailPlace {
    /// The session whose mailbox it is in.
    pub(crate) fn to(&self) -> SessionId {
        self.to
    }

    /// The mail lies in the mailbox.
    pub(crate) fn filled(self) {
        let weight = self.weight;
        self.mailboxes.change(self.to, |mailbox| mailbox.waiting = mailbox.waiting.with(weight));
    }
}

impl Drop for MailPlace {
    fn drop(&mut self) {
        let weight = self.weight;
        self.mailboxes
            .change(self.to, |mailbox| mailbox.reserved = mailbox.reserved.without(weight));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_domain::agent::{AgentOwner, AgentRef, Digest};
    use dormouse_domain::creation::{self, DefaultLimits, NewSession};
    use dormouse_domain::mail::{MAX_MAILBOX_BYTES, MAX_MAILS};
    use dormouse_domain::time::Timestamp;
    use dormouse_store::memory::MemoryStore;
    use dormouse_store::{NewSessionRecord, Transaction};
    use uuid::Uuid;

    /// The mailboxes of a store in which the principal `local` has one session.
    async fn mailboxes() -> (Arc<Mailboxes>, SessionId) {
        let id = SessionId(Uuid::from_u128(7));
        let agent = AgentRef {
            owner: AgentOwner::Host,
            name: "agent".parse().expect("a name"),
            version: "1".parse().expect("a version"),
            digest: Digest::of(b"agent"),
        };
        let (new, limits) = (NewSession::agent("agent"), DefaultLimits::default());
        let session =
            creation::fresh(new, id, Principal::local(), agent, None, &limits, Timestamp(0))
                .expect("the limits are within bounds");
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let new = NewSessionRecord { session: session.into(), head: None };
        store.commit(Transaction::create(vec![new], Vec::new())).await.expect("it is new");
        (Arc::new(Mailboxes::new(store)), id)
    }

    #[tokio::test]
    async fn a_mailbox_has_so_many_places_and_those_of_a_turn_that_fails_are_free_again() {
        let (mailboxes, to) = mailboxes().await;
        let place = || {
            let place = mailboxes.place(&Principal::local(), to, 64).expect("the store says");
            place.map_err(|why| assert_eq!(why, Posted::MailboxFull)).ok()
        };
        let mut places: Vec<_> = std::iter::from_fn(place).collect();
        assert_eq!(places.len(), MAX_MAILS as usize);
        places.pop();
        let again = place().expect("one is free");
        again.filled();
        assert_eq!(mailboxes.waiting(to), 1);
        assert!(place().is_none(), "a mail that lies there takes its place as well");
        drop(places);
        mailboxes.taken(to, 64);
        assert!(mailboxes.lock().is_empty(), "nothing is known of one that is empty");
    }

    #[tokio::test]
    async fn a_mailbox_is_bounded_in_bytes_but_for_what_had_a_place_before() {
        let (mailboxes, to) = mailboxes().await;
        let place = |weight| mailboxes.place(&Principal::local(), to, weight).expect("it says");
        let all = place(MAX_MAILBOX_BYTES).expect("it is empty");
        assert_eq!(place(1).err(), Some(Posted::MailboxFull));
        mailboxes.place_again(to, 64).filled();
        drop(all);
        assert_eq!(mailboxes.waiting(to), 1);
        mailboxes.dropped(to);
        assert!(mailboxes.lock().is_empty());
    }

    #[tokio::test]
    async fn a_mail_that_is_taken_before_its_sender_says_that_it_lies_there_leaves_nothing() {
        let (mailboxes, to) = mailboxes().await;
        let place = mailboxes.place(&Principal::local(), to, 64).expect("the store says");
        mailboxes.taken(to, 64);
        assert_eq!(mailboxes.waiting(to), 0);
        place.expect("it is empty").filled();
        assert!(mailboxes.lock().is_empty());
    }

    #[tokio::test]
    async fn nobody_has_a_place_with_another_owner_or_with_nobody() {
        let (mailboxes, to) = mailboxes().await;
        let other = Principal("other".to_owned());
        assert_eq!(mailboxes.place(&other, to, 1).expect("it says").err(), Some(Posted::Gone));
        let nobody = SessionId(Uuid::from_u128(404));
        let place = mailboxes.place(&Principal::local(), nobody, 1).expect("it says");
        assert_eq!(place.err(), Some(Posted::Gone));
    }
}
