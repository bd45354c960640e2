//! Whatever turns do, admission and settlement keep a session within its limits.

use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::turn::admission::{self, TurnDenied, is_open};
use dormouse_domain::agent::{AgentOwner, AgentRef, Digest};
use dormouse_domain::creation::{self, DefaultLimits, NewSession};
use dormouse_domain::id::{Principal, SessionId, SnapshotId};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::snapshot::GuestState;
use dormouse_domain::turn::FailureCode;

/// A turn: the fuel that its instance used to start, if one was started, and what it does then.
#[derive(Clone, Debug)]
struct Turn {
    start_fuel: Option<u64>,
    deed: Deed,
}

fn any_turn() -> impl Strategy<Value = Turn> {
    (prop::option::of(0..5_000_u64), any_deed())
        .prop_map(|(start_fuel, deed)| Turn { start_fuel, deed })
}

/// What a turn does with what it is granted.
#[derive(Clone, Debug)]
enum Deed {
    /// Answers, after using this share of its fuel, in percent.
    Answer { share: u64, complete: bool, saved: bool },
    /// Fails, after using this share of its fuel.
    Fail { share: u64 },
    /// Declines, after using this share of its fuel.
    Decline { share: u64 },
}

fn any_deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => (0..=100_u64, prop::bool::weighted(0.02), prop::bool::weighted(0.9))
            .prop_map(|(share, complete, saved)| Deed::Answer { share, complete, saved }),
        1 => (0..=100_u64).prop_map(|share| Deed::Fail { share }),
        1 => (0..=100_u64).prop_map(|share| Deed::Decline { share }),
    ]
}

fn rules(price: i64) -> Rules {
    Rules { price: FuelPrice(NanoUsd(price)), max_consecutive_failures: 3 }
}

fn session(new: NewSession) -> Session {
    let agent = AgentRef {
        owner: AgentOwner::Host,
        name: "counter".parse().expect("a name"),
        version: "1".parse().expect("a version"),
        digest: Digest::of(b"counter"),
    };
    let id = SessionId(Uuid::from_u128(7));
    let defaults = DefaultLimits::default();
    creation::fresh(new, id, Principal::local(), agent, None, &defaults, Timestamp(0))
        .expect("the limits are within bounds")
}

fn settled(session: &Session, deed: &Deed, fuel: u64, rules: Rules) -> TurnCommit {
    started(session, &Turn { start_fuel: None, deed: deed.clone() }, fuel, rules)
}

fn started(session: &Session, turn: &Turn, fuel: u64, rules: Rules) -> TurnCommit {
    let Turn { start_fuel, deed } = turn;
    let begun = begun(session);
    let (share, result) = match deed {
        Deed::Answer { share, complete, saved } => {
            let snapshot = saved.then(|| Snapshot {
                id: SnapshotId(Uuid::from_u128(u128::from(session.revision) << 64)),
                parent: session.head,
                turn: session.usage.next_turn(),
                agent: session.profile.agent.digest,
                taken_at: Timestamp(2),
                monotonic_ns: 0,
                state: GuestState::Portable { version: 1, data: bytes::Bytes::new() },
                files: None,
            });
            let (complete, durable) = (*complete, *saved);
            (
                share,
                Ok(TurnAnswer {
                    changes: None,
                    timers: session.timers.clone(),
                    content: Vec::new(),
                    complete,
                    snapshot,
                    durable,
                    checkpoint: None,
                }),
            )
        }
        Deed::Fail { share } => {
            let message = "it failed".to_owned();
            (share, Err(Failure { code: FailureCode::AgentTrapped, message }))
        }
        Deed::Decline { share } => {
            let message = "it declined".to_owned();
            (share, Err(Failure { code: FailureCode::AgentDeclined, message }))
        }
    };
    let fuel = u64::try_from(u128::from(fuel) * u128::from(*share) / 100).expect("a share");
    let ended = TurnEnd { start_fuel: *start_fuel, ..ended(result, fuel) };
    settle(session, Standing::own(session), begun, ended, rules)
}

fn begun(session: &Session) -> StartedTurn {
    StartedTurn {
        id: TurnId(Uuid::from_u128(u128::from(session.revision))),
        sender: Sender::User,
        input: vec![Part::Text("hello".to_owned())],
        started_at: Timestamp(1),
        mail: None,
    }
}

fn ended(result: Result<TurnAnswer, Failure>, fuel: u64) -> TurnEnd {
    TurnEnd {
        result,
        shortage: None,
        fuel,
        start_fuel: None,
        log: Vec::new(),
        log_dropped: 0,
        samples: Vec::new(),
        ended_at: Timestamp(2),
        duration: Duration::from_millis(1),
        effects: Vec::new(),
        tools_used: Vec::new(),
        attempts: 1,
        woken_in: None,
    }
}

/// After a turn that has failed for want of money.
fn short(session: &Session, shortage: Shortage) -> TurnCommit {
    let code = FailureCode::BudgetExceeded;
    let failure = Failure { code, message: "it is too dear".to_owned() };
    let ended = TurnEnd { shortage: Some(shortage), ..ended(Err(failure), 1) };
    settle(session, Standing::own(session), begun(session), ended, rules(1))
}

proptest! {
    #[test]
    fn no_session_ever_spends_more_than_its_limits(
        max_turns in prop::option::of(1..20_u64),
        max_fuel in prop::option::of(1..10_000_u64),
        max_budget in prop::option::of(1..10_000_i64),
        max_fuel_per_turn in 1..2_000_u64,
        price in 0..5_000_000_000_i64,
        turns in prop::collection::vec(any_turn(), 0..60),
    ) {
        let rules = rules(price);
        let mut session = session(NewSession {
            pattern: Pattern::LongRunning,
            max_turns,
            max_fuel,
            max_budget: max_budget.map(NanoUsd),
            max_fuel_per_turn: Some(max_fuel_per_turn),
            ..NewSession::default()
        });
        for turn in turns {
            let granted = match admission::admit(&session, Standing::own(&session), rules.price, Timestamp(1)) {
                Ok(granted) => granted,
                Err(TurnDenied::NotActive(inactive)) => {
                    prop_assert!(!is_open(inactive.status));
                    break;
                }
                // Nothing that a fresh session can afford, and the session has not ended by a turn.
                Err(TurnDenied::BudgetExceeded(_)) => {
                    prop_assert_eq!(session.usage.turns, 0);
                    break;
                }
                Err(other) => panic!("a session that has reached a limit has ended: {other}"),
            };
            prop_assert!(granted.fuel >= 1 && granted.fuel <= max_fuel_per_turn);
            let granted = granted.after_start(Standing::own(&session), rules.price, turn.start_fuel.unwrap_or(0));
            let before = session.clone();
            let commit = started(&session, &turn, granted.fuel, rules);
            session = Arc::unwrap_or_clone(commit.session);

            prop_assert_eq!(session.revision, before.revision + 1);
            let counted = u64::from(!matches!(turn.deed, Deed::Decline { .. }));
            prop_assert_eq!(session.usage.turns, before.usage.turns + counted);
            prop_assert_eq!(commit.turn.number, before.usage.last_turn() + 1);
            prop_assert_eq!(session.usage.last_turn(), commit.turn.number);
            prop_assert_eq!(session.usage.fuel, before.usage.fuel + commit.turn.fuel);
            let start = commit.turn.start.map_or(NanoUsd(0), |start| start.cost);
            prop_assert_eq!(session.usage.cost, before.usage.cost + commit.turn.cost + start);
            prop_assert_eq!(session.usage.start_cost, before.usage.start_cost + start);
            prop_assert!(max_turns.is_none_or(|max| session.usage.turns <= max));
            prop_assert!(max_fuel.is_none_or(|max| session.usage.fuel <= max));
            prop_assert!(max_budget.is_none_or(|max| session.usage.cost.0 <= max));
            prop_assert_eq!(session.state.status().is_final(), session.ended_at.is_some());
            if let Deed::Decline { .. } = turn.deed {
                prop_assert_eq!(session.consecutive_failures, before.consecutive_failures);
            }
            if matches!(turn.deed, Deed::Fail { .. } | Deed::Decline { .. }) {
                prop_assert_eq!(session.head, before.head);
                prop_assert!(commit.snapshot.is_none());
            }
            if session.unsaved_turns == 0 {
                prop_assert_eq!(commit.snapshot.is_some(), session.head != before.head);
            }
        }
    }
}

#[test]
fn completion_wins_over_a_limit_that_is_reached_in_the_same_turn() {
    let session = session(NewSession { max_turns: Some(1), ..NewSession::default() });
    let deed = Deed::Answer { share: 1, complete: true, saved: true };
    let commit = settled(&session, &deed, 1000, rules(1));
    assert_eq!(commit.session.state, State::Completed);
}

#[test]
fn a_failed_turn_of_a_session_with_unsaved_state_loses_it_and_says_so() {
    let first = session(NewSession { pattern: Pattern::Hybrid, ..NewSession::default() });
    let answered = Deed::Answer { share: 1, complete: false, saved: false };
    let second = settled(&first, &answered, 1000, rules(1)).session;
    assert_eq!(second.unsaved_turns, 1);
    let third = settled(&second, &Deed::Fail { share: 1 }, 1000, rules(1)).session;
    assert_eq!(third.state, State::Error(Cause::StateLost.into()));
}

#[test]
fn a_budget_is_mostly_spent_from_four_fifths_of_it_on_however_small_it_is() {
    for (budget, at) in [(10, 8), (99, 80), (100, 80), (101, 81), (i64::MAX, i64::MAX / 5 * 4 + 2)]
    {
        let is_spent = |cost| is_mostly_spent(NanoUsd(cost), NanoUsd(budget));
        assert!(is_spent(at) && !is_spent(at - 1), "{at} of {budget}");
    }
}

#[test]
fn only_the_want_of_its_own_money_ends_a_session() {
    let status_after = |shortage, times| {
        let mut after =
            session(NewSession { pattern: Pattern::LongRunning, ..NewSession::default() });
        for _ in 0..times {
            after = Session::clone(&short(&after, shortage).session);
        }
        after.state.status()
    };
    assert_eq!(status_after(Shortage::Session, 1), Status::Terminated);
    assert_eq!(status_after(Shortage::Operator, 5), Status::Initializing);
    assert_eq!(status_after(Shortage::Held, 5), Status::Initializing);
}
