//! Forks and resumed sessions, for any limits, projects and ages.

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::account::AccountId;
use crate::agent::{AgentOwner, Digest};
use crate::creation::{DefaultLimits, fresh};
use crate::id::Principal;
use crate::limits::{Limits, NanoUsd, Usage};
use crate::snapshot::GuestState;
use crate::state::State;

fn agent(name: &str) -> AgentRef {
    AgentRef {
        owner: AgentOwner::Host,
        name: name.parse().expect("a name"),
        version: "1.0".parse().expect("a version"),
        digest: Digest::of(name.as_bytes()),
    }
}

fn session(new: NewSession) -> Session {
    let (id, owner) = (SessionId(Uuid::from_u128(1)), Principal::local());
    let defaults = DefaultLimits::default();
    fresh(new, id, owner, agent("counter"), None, &defaults, Timestamp(5)).expect("within bounds")
}

fn snapshot(taken_at: Timestamp) -> Snapshot {
    Snapshot {
        id: SnapshotId(Uuid::from_u128(2)),
        parent: Some(SnapshotId(Uuid::from_u128(3))),
        turn: 4,
        agent: agent("counter").digest,
        taken_at,
        monotonic_ns: 0,
        state: GuestState::Portable { version: 1, data: Bytes::new() },
        files: None,
    }
}

fn most() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(1u64..6)
}

fn project() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("[ab]")
}

proptest! {
    #[test]
    fn a_fork_shares_the_account_of_its_parent_or_has_limits_of_its_own_and_has_spent_nothing(
        (turns, fuel, money) in (most(), most(), most()),
        (own_turns, own_fuel, own_money) in (most(), most(), most()),
        used_turns in 0u64..6,
    ) {
        let mut parent = session(NewSession { thread_key: Some("t".into()), ..NewSession::default() });
        let nano = |money: u64| NanoUsd(money.cast_signed());
        let limits = &mut parent.profile.limits;
        (limits.max_turns, limits.max_fuel, limits.max_budget) = (turns, fuel, money.map(nano));
        parent.usage = Usage { turns: used_turns, ..Usage::default() };
        parent.account = Some(AccountId(parent.id));
        let head = snapshot(Timestamp(9));
        let id = SessionId(Uuid::from_u128(7));
        let asked = ForkLimits { max_budget: own_money.map(nano), max_fuel: own_fuel, max_turns: own_turns };
        let fork = forked(&parent, Some(&head), agent("notepad"), &asked, (id, Timestamp(10)));
        let spent = own_turns.is_none() && turns.is_some_and(|most| most <= used_turns);
        prop_assert_eq!(fork.is_err(), spent);
        let Ok(fork) = fork else { return Ok(()) };
        let Limits { max_turns, max_fuel, max_budget, .. } = fork.profile.limits;
        prop_assert_eq!(max_turns, own_turns.or_else(|| turns.map(|most| most - used_turns)));
        if asked.is_own() {
            prop_assert_eq!((max_fuel, max_budget, fork.account), (own_fuel, own_money.map(nano), None));
        } else {
            prop_assert_eq!((max_fuel, max_budget), (fuel, money.map(nano)));
            prop_assert_eq!(fork.account, parent.account);
        }
        prop_assert_eq!(fork.usage, Usage::default());
        prop_assert_eq!((fork.id, &fork.owner, &fork.state), (id, &parent.owner, &State::Initializing));
        prop_assert_eq!((fork.head, fork.parent), (Some(head.id), head.parent));
        // Of what was fixed at the creation of its parent, nothing else is another.
        let Session { profile, .. } = fork;
        let limits = parent.profile.limits.clone();
        let (agent, thread_key) = (agent("counter"), Some("t".into()));
        prop_assert_eq!(Profile { agent, thread_key, limits, ..profile }, parent.profile);
    }

    #[test]
    fn forks_with_limits_of_their_own_take_them_off_what_their_parent_may_spend(
        (fuel, money) in (most(), most()),
        (own_fuel, own_money) in (most(), most()),
        count in 1u32..4,
    ) {
        let nano = |money: u64| NanoUsd(money.cast_signed());
        let parent = AccountLimits { money: money.map(nano), fuel };
        let asked = ForkLimits { max_budget: own_money.map(nano), max_fuel: own_fuel, max_turns: None };
        let lacks = (money.is_some() && own_money.is_none()) || (fuel.is_some() && own_fuel.is_none());
        match asked.granted(count, parent) {
            Err(_) => prop_assert!(asked.is_own() && lacks),
            Ok(granted) => {
                prop_assert!(!asked.is_own() || !lacks);
                let all = |each: Option<u64>| each.unwrap_or(0) * u64::from(count);
                prop_assert_eq!(granted, Amounts { money: nano(all(own_money)), fuel: all(own_fuel) });
            }
        }
    }

    #[test]
    fn a_session_resumes_within_its_project_what_is_not_stale(
        (asked, of) in (project(), project()),
        thread: bool,
        age in 0i64..6,
        stale_after in 0u64..6,
    ) {
        let thread_key = thread.then(|| "t".to_owned());
        let of = session(NewSession { project_id: of, thread_key, ..NewSession::default() });
        let new = NewSession { project_id: asked.clone(), ..NewSession::default() };
        let (from, now) = (snapshot(Timestamp(100)), Timestamp(100 + age));
        let resumed = resumed(new, &from, &of, Duration::from_millis(stale_after), now);
        let theirs = &of.profile.project_id;
        if let (Some(asked), Some(theirs)) = (&asked, theirs) && asked != theirs {
            prop_assert_eq!(resumed.map(|_| ()), Err(NotForThisSession::OtherProject));
            return Ok(());
        }
        let (new, resumption) = resumed.expect("the project is the same");
        if !thread && age.unsigned_abs() > stale_after {
            prop_assert_eq!(resumption, Resumption::Stale { from: from.id });
            prop_assert_eq!(new.project_id, asked);
        } else {
            prop_assert_eq!(resumption, Resumption::Resumed { from: from.id });
            prop_assert_eq!(new.project_id, asked.or_else(|| theirs.clone()));
        }
    }
}
