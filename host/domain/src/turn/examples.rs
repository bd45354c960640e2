//! Turns for tests.

use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::{Sender, StartupCost, TurnOutcome, TurnRecord};
use crate::id::{SessionId, TurnId};
use crate::journal::{Bill, EffectFailure, EffectOutcome, EffectRecord, EffectTarget, Provenance};
use crate::limits::NanoUsd;
use crate::model::TokenUsage;
use crate::time::Timestamp;

/// An attempt at a call of a model, or of a tool.
pub(crate) fn effects() -> impl Strategy<Value = EffectRecord> {
    let outcomes = [
        (EffectOutcome::Answered, Bill::Exact),
        (EffectOutcome::Answered, Bill::Estimated),
        (EffectOutcome::Unknown, Bill::Unknown),
        (EffectOutcome::Failed(EffectFailure::Overloaded), Bill::Free),
    ];
    let numbers = [0_u64..1_000_000, 0..1_000, 0..1_000, 0..1_000, 0..1_000];
    (1_u32..9, 1_u32..4, 0_i64..1_000_000_000, numbers, proptest::sample::select(outcomes.to_vec()))
        .prop_map(|(seq, attempt, cost, numbers, (outcome, bill))| {
            let [input, output, cache_read, cache_write, cache_write_long] = numbers;
            EffectRecord {
                seq,
                attempt,
                turn_attempt: 1,
                provenance: Provenance::Live,
                target: match attempt {
                    1 => EffectTarget::Tool {
                        name: "WebFetch".to_owned(),
                        server: "example.com".to_owned(),
                    },
                    _ => EffectTarget::Model {
                        provider: "anthropic".to_owned(),
                        model: "claude-sonnet-4-5".to_owned(),
                        tokens: TokenUsage {
                            input,
                            output,
                            cache_read,
                            cache_write,
                            cache_write_long,
                        },
                    },
                },
                begun_at: Timestamp(1_000 + i64::from(seq)),
                duration: Duration::from_millis(output),
                fuel: input,
                cost: if bill == Bill::Free { NanoUsd(0) } else { NanoUsd(cost) },
                bill,
                outcome,
                sent: input,
                received: output,
            }
        })
}

/// A turn with effects, which costs at least what they do.
pub(crate) fn turns() -> impl Strategy<Value = TurnRecord> {
    let start = proptest::option::of((0_u64..1_000_000, 0_i64..1_000));
    let effects = proptest::collection::vec(effects(), 0..6);
    let woken_in = proptest::option::of(0_u64..1_000);
    (1_u64..100, 0_u64..1_000_000, 0_i64..1_000_000, start, effects, woken_in).prop_map(
        |(number, fuel, cost, start, effects, woken_in)| TurnRecord {
            id: TurnId(Uuid::from_u128(1)),
            session: SessionId(Uuid::from_u128(2)),
            number,
            sender: Sender::User,
            input: Vec::new(),
            outcome: TurnOutcome::Answered { content: Vec::new(), snapshot: None, durable: true },
            fuel,
            cost: effects.iter().map(|it| it.cost).fold(NanoUsd(cost), |sum, cost| sum + cost),
            start: start.map(|(fuel, cost)| StartupCost { fuel, cost: NanoUsd(cost) }),
            effects,
            attempts: 1,
            woken_in: woken_in.map(Duration::from_millis),
            started_at: Timestamp(1_000),
            duration: Duration::from_millis(2_000),
            log: Vec::new(),
            log_dropped: 0,
            samples: Vec::new(),
        },
    )
}
