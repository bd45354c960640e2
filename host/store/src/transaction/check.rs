//! Whether a transaction says of everything that it writes what it expects there.

use std::collections::{HashMap, HashSet};

use super::{Expect, MAX_SESSION_RECORDS, Transaction, Write};
use crate::StoreError;
use dormouse_domain::access::KeyId;
use dormouse_domain::account::AccountId;
use dormouse_domain::agent::AgentRef;
use dormouse_domain::id::{ScheduleId, SessionId};

impl Transaction {
    /// Whether it says of everything that it writes what it expects there. Every store asks this first,
    /// so that no caller writes blindly.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] names the session whose record, turn, open turn, journal, account or idempotency
    /// key comes without that, or twice, or with the head of another; [`StoreError::AgentNotFound`] the agent,
    /// [`StoreError::KeyNotFound`] the key of the API, and [`StoreError::ScheduleConflict`] the schedule.
    /// [`StoreError::TooLarge`] where the transaction writes more records or agents than one takes.
    pub fn check(&self) -> Result<(), StoreError> {
        let revision = |expect: &Expect| match expect {
            Expect::NewSession(id) => Some((*id, 0)),
            Expect::Revision(id, revision) => Some((*id, *revision)),
            Expect::Session(_)
            | Expect::NewAgent(_)
            | Expect::Agent(_)
            | Expect::NewIdempotencyKey(_)
            | Expect::NewKey(_)
            | Expect::Key(_)
            | Expect::NoOpenTurn(_)
            | Expect::NewSchedule(_)
            | Expect::Schedule(..)
            | Expect::NewAccount(_)
            | Expect::SessionQuota { .. } => None,
        };
        let expected: HashMap<SessionId, u64> = self.expect.iter().filter_map(revision).collect();
        // Whether each session that is written to gets a record.
        let mut written = HashMap::with_capacity(self.writes.len());
        let mut heads = HashSet::with_capacity(self.writes.len());
        let (mut keys, mut agents) = (HashSet::new(), 0);
        let (mut opened, mut accounts) = (HashSet::new(), HashSet::new());
        let mut schedules = HashSet::new();
        for write in &self.writes {
            let (id, is_sound) = match write {
                Write::Session { record, head } => {
                    let before = expected.get(&record.id);
                    let follows = before.and_then(|it| it.checked_add(1)) == Some(record.revision);
                    let is_new = head.as_ref().is_none_or(|head| heads.insert(head.id));
                    let is_once = written.insert(record.id, true).is_none();
                    (record.id, follows && is_new && is_once)
                }
                Write::RemoveState(record) => {
                    let before = expected.get(&record.id);
                    let follows = before.and_then(|it| it.checked_add(1)) == Some(record.revision);
                    let is_once = written.insert(record.id, true).is_none();
                    // A session that is new has no state.
                    let has_been = record.revision > 1 && record.head.is_none();
                    (record.id, follows && is_once && has_been)
                }
                Write::Slept(id, _) => {
                    let is_expected = self.expect.contains(&Expect::Session(*id));
                    (*id, is_expected && !written.contains_key(id))
                }
                Write::RemoveSession(id) => (*id, written.insert(*id, false).is_none()),
                Write::Turn(turn) => (turn.session, written.get(&turn.session) == Some(&true)),
                Write::OpenTurn(turn) => {
                    let id = turn.session;
                    let is_first =
                        self.expect.contains(&Expect::NoOpenTurn(id)) && opened.insert(id);
                    (id, is_first && self.expects_session(id) && written.get(&id) != Some(&false))
                }
                Write::TurnAttempts(id, _) | Write::JournalEntry(id, _) => {
                    (*id, self.expects_session(*id) && written.get(id) != Some(&false))
                }
                Write::NewAccount(account) => {
                    let AccountId(first) = account.id;
                    let is_new = self.expect.contains(&Expect::NewAccount(account.id));
                    (first, is_new && accounts.insert(account.id))
                }
                Write::Agent(agent, component) => {
                    agents += 1;
                    self.check_agent(&agent.reference, component.is_some())?;
                    continue;
                }
                Write::Idempotency(record) => {
                    let is_new = |expect: &Expect| matches!(expect, Expect::NewIdempotencyKey(key) if *key == record.key);
                    (record.session, self.expect.iter().any(is_new) && keys.insert(&record.key))
                }
                Write::RemoveAgent(_) => {
                    agents += 1;
                    continue;
                }
                Write::Key(key) => {
                    self.check_key(key.id)?;
                    continue;
                }
                Write::RemoveKey(id) => {
                    self.check_key(*id)?;
                    continue;
                }
                Write::Schedule(record) if schedules.insert(record.id) => {
                    self.check_schedule(record.id, Some(record.revision))?;
                    continue;
                }
                Write::RemoveSchedule(id) if schedules.insert(*id) => {
                    self.check_schedule(*id, None)?;
                    continue;
                }
                Write::ScheduledWork(id, _) if schedules.contains(id) => continue,
                Write::Schedule(record) => return Err(StoreError::ScheduleConflict(record.id)),
                Write::RemoveSchedule(id) | Write::ScheduledWork(id, _) => {
                    return Err(StoreError::ScheduleConflict(*id));
                }
                Write::ResumeTried(..)
                | Write::CloseTurn(_)
                | Write::Mail(..)
                | Write::TakeMail(..)
                | Write::DropMail(_)
                | Write::ChangeAccount(..)
                | Write::Template(_)
                | Write::RemoveTemplate(..)
                | Write::RemoveIdempotency(_)
                | Write::World(..) => {
                    continue;
                }
            };
            if !is_sound {
                return Err(StoreError::Conflict(id));
            }
        }
        if agents > 1 {
            // Two that share a component would be counted apart from each other.
            return Err(StoreError::TooLarge { what: "the agents of one commit", limit: 1 });
        }
        if written.len() > MAX_SESSION_RECORDS {
            let what = "the sessions of one commit";
            return Err(StoreError::TooLarge { what, limit: MAX_SESSION_RECORDS });
        }
        Ok(())
    }

    /// Whether it expects a session to be there that has been.
    fn expects_session(&self, id: SessionId) -> bool {
        self.expect.iter().any(|expect| match expect {
            Expect::Session(there) | Expect::Revision(there, _) => *there == id,
            Expect::NewSession(_)
            | Expect::NewAgent(_)
            | Expect::Agent(_)
            | Expect::NewIdempotencyKey(_)
            | Expect::NewKey(_)
            | Expect::Key(_)
            | Expect::NoOpenTurn(_)
            | Expect::NewSchedule(_)
            | Expect::Schedule(..)
            | Expect::NewAccount(_)
            | Expect::SessionQuota { .. } => false,
        })
    }

    fn check_agent(&self, agent: &AgentRef, has_component: bool) -> Result<(), StoreError> {
        let is_expected = self.expect.iter().any(|expect| match expect {
            Expect::NewAgent(new) => has_component && new == agent,
            Expect::Agent(there) => there == agent,
            Expect::NewSession(_)
            | Expect::Session(_)
            | Expect::Revision(..)
            | Expect::NewIdempotencyKey(_)
            | Expect::NewKey(_)
            | Expect::Key(_)
            | Expect::NoOpenTurn(_)
            | Expect::NewSchedule(_)
            | Expect::Schedule(..)
            | Expect::NewAccount(_)
            | Expect::SessionQuota { .. } => false,
        });
        if is_expected { Ok(()) } else { Err(StoreError::AgentNotFound(agent.clone())) }
    }

    fn check_key(&self, id: KeyId) -> Result<(), StoreError> {
        let (new, there) = (Expect::NewKey(id), Expect::Key(id));
        let is_expected = self.expect.contains(&new) || self.expect.contains(&there);
        if is_expected { Ok(()) } else { Err(StoreError::KeyNotFound(id)) }
    }

    /// Whether it expects of a schedule what its record of this revision follows, or where there is none, that the
    /// schedule is there.
    fn check_schedule(&self, id: ScheduleId, record: Option<u64>) -> Result<(), StoreError> {
        let is_expected = match record {
            Some(1) => self.expect.contains(&Expect::NewSchedule(id)),
            Some(revision) => {
                self.expect.contains(&Expect::Schedule(id, revision.saturating_sub(1)))
            }
            None => {
                let is_it =
                    |expect: &Expect| matches!(expect, Expect::Schedule(there, _) if *there == id);
                self.expect.iter().any(is_it)
            }
        };
        if is_expected { Ok(()) } else { Err(StoreError::ScheduleConflict(id)) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::conformance::examples::{agent, new, session, session_id, turn};
    use dormouse_domain::agent::{AgentOwner, Digest};
    use dormouse_domain::id::Principal;
    use dormouse_domain::time::Timestamp;
    use dormouse_domain::turn::{IdempotencyKey, IdempotencyRecord};

    /// The session or the agent that a transaction is refused because of.
    fn refused(transaction: &Transaction) -> StoreError {
        transaction.check().expect_err("it is refused")
    }

    #[test]
    fn nothing_is_written_without_saying_what_it_follows() {
        let first = session(1);
        let commit = Transaction::turn(turn(&first, 1, 1));
        assert!(commit.check().is_ok());
        let blind = Transaction { expect: Vec::new(), ..commit.clone() };
        assert!(matches!(refused(&blind), StoreError::Conflict(id) if id == first.id));
        let other = Transaction { expect: vec![Expect::Revision(first.id, 7)], ..commit.clone() };
        assert!(matches!(refused(&other), StoreError::Conflict(_)));
        let mut alone = commit.clone();
        alone.writes.remove(0);
        assert!(matches!(refused(&alone), StoreError::Conflict(_)), "a turn without its record");
        assert!(matches!(refused(&commit.clone().and(commit)), StoreError::Conflict(_)), "twice");

        let agent = agent(AgentOwner::Host, "echo", "1", 1);
        let upload = Transaction::agent(agent.clone(), Bytes::new(), Vec::new());
        assert!(upload.check().is_ok());
        let bare = Write::Agent(Box::new(agent.clone()), None);
        let bare = Transaction { writes: vec![bare], ..upload.clone() };
        assert!(matches!(refused(&bare), StoreError::AgentNotFound(_)), "it has no component");
        let both = upload.and(Transaction::remove_agent(agent.reference, Vec::new()));
        assert!(matches!(refused(&both), StoreError::TooLarge { limit: 1, .. }), "two agents");
        let mut gone = Transaction::turn(turn(&first, 1, 1));
        gone.writes[0] = Write::RemoveSession(first.id);
        assert!(matches!(refused(&gone), StoreError::Conflict(_)), "a turn of what is removed");
    }

    #[test]
    fn an_idempotency_key_is_written_once_and_only_as_a_new_one() {
        let record = |key: &str, turn| IdempotencyRecord {
            key: IdempotencyKey { owner: Principal::local(), key: key.to_owned() },
            request: Digest::of(b"hello"),
            session: session_id(1),
            turn,
            expires_at: Timestamp(1),
        };
        let put = |record: IdempotencyRecord| Transaction {
            expect: vec![Expect::NewIdempotencyKey(record.key.clone())],
            writes: vec![Write::Idempotency(Box::new(record))],
            events: Vec::new(),
        };
        let one = put(record("one", 1));
        assert!(one.clone().and(put(record("two", 1))).check().is_ok(), "two keys");
        let twice = one.clone().and(put(record("one", 2)));
        assert!(matches!(refused(&twice), StoreError::Conflict(id) if id == session_id(1)));
        let other = Transaction { expect: put(record("two", 1)).expect, ..one };
        assert!(matches!(refused(&other), StoreError::Conflict(id) if id == session_id(1)));
    }

    #[test]
    fn so_many_sessions_are_written_at_once_and_no_more() {
        let create = |count: u64| (0..count).flat_map(|number| new(session(number))).collect();
        let most = MAX_SESSION_RECORDS as u64;
        assert!(Transaction::create(create(most), Vec::new()).check().is_ok());
        let more = Transaction::create(create(most + 1), Vec::new());
        assert!(matches!(refused(&more), StoreError::TooLarge { limit: MAX_SESSION_RECORDS, .. }));
    }
}
