//! Journals, accounts, and lines of the ledger.

use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::{duration, id, part, sender, time};
use dormouse_domain::account::{
    Account, AccountChange, AccountId, AccountLimits, Amounts, LimitsChange,
};
use dormouse_domain::agent::Digest;
use dormouse_domain::ask::AskError;
use dormouse_domain::effect::{EffectAnswer, EffectClass, EffectKind};
use dormouse_domain::http::{HttpError, HttpErrorKind, HttpNews, HttpResponse};
use dormouse_domain::id::{Principal, SessionId, TurnId};
use dormouse_domain::journal::{
    Bill, EffectFailure, EffectOutcome, EffectRecord, EffectTarget, JournalEntry, OpenTurn,
    Provenance, Readings, TurnAttempts,
};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::mail::Posted;
use dormouse_domain::model::{
    ModelAnswer, ModelContent, ModelError, ModelTool, StopReason, Thinking, TokenUsage, ToolCall,
    ToolResult,
};
use dormouse_domain::tool::{ServerTool, ToolAnswer, ToolError, ToolListing};
use dormouse_domain::turn::IdempotencyKey;

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn text() -> impl Strategy<Value = String> {
    ".{0,12}"
}

fn tokens() -> impl Strategy<Value = TokenUsage> {
    any::<[u32; 5]>().prop_map(|numbers| {
        let [input, output, cache_read, cache_write, cache_write_long] = numbers.map(u64::from);
        TokenUsage { input, output, cache_read, cache_write, cache_write_long }
    })
}

pub fn effect() -> impl Strategy<Value = EffectRecord> {
    let bill =
        proptest::sample::select(vec![Bill::Exact, Bill::Estimated, Bill::Unknown, Bill::Free]);
    let failure = proptest::sample::select(EffectFailure::ALL.as_slice());
    let outcome = prop_oneof![
        Just(EffectOutcome::Begun),
        Just(EffectOutcome::Answered),
        failure.prop_map(EffectOutcome::Failed),
        Just(EffectOutcome::Unknown),
    ];
    let provenance = prop_oneof![Just(Provenance::Live), Just(Provenance::Replayed)];
    let spent = (any::<i64>().prop_map(NanoUsd), bill, any::<[u64; 3]>());
    (any::<[u32; 3]>(), provenance, target(), (time(), duration()), spent, outcome).prop_map(
        |(numbers, provenance, target, times, spent, outcome)| EffectRecord {
            seq: numbers[0],
            attempt: numbers[1],
            turn_attempt: numbers[2],
            provenance,
            target,
            begun_at: times.0,
            duration: times.1,
            fuel: spent.2[0],
            cost: spent.0,
            bill: spent.1,
            outcome,
            sent: spent.2[1],
            received: spent.2[2],
        },
    )
}

fn target() -> impl Strategy<Value = EffectTarget> {
    prop_oneof![
        (text(), text(), of(tokens())).prop_map(|(provider, model, tokens)| {
            EffectTarget::Model { provider, model, tokens: tokens.unwrap_or_default() }
        }),
        (text(), text()).prop_map(|(name, server)| EffectTarget::Tool { name, server }),
        (text(), text()).prop_map(|(method, host)| EffectTarget::Http { method, host }),
        text().prop_map(|peer| EffectTarget::Ask { peer }),
    ]
}

fn content() -> impl Strategy<Value = ModelContent> {
    prop_oneof![
        text().prop_map(ModelContent::Text),
        ("[a-z]{1,5}", vec(any::<u8>(), 0..40))
            .prop_map(|(media_type, data)| ModelContent::Image { media_type, data }),
        (text(), text(), text()).prop_map(|(id, name, arguments)| ModelContent::ToolCall(
            ToolCall { id, name, arguments }
        )),
        (text(), text(), any::<bool>()).prop_map(|(call, content, is_error)| {
            ModelContent::ToolResult(ToolResult { call, content, is_error })
        }),
        (text(), text()).prop_map(|(text, block)| ModelContent::Thinking(Thinking { text, block })),
    ]
}

fn answer() -> impl Strategy<Value = EffectAnswer> {
    prop_oneof![
        model_answer(),
        tool_answer(),
        news().prop_map(EffectAnswer::Http),
        listing().prop_map(EffectAnswer::ToolList),
    ]
}

fn listing() -> impl Strategy<Value = ToolListing> {
    let tool = (text(), text(), text(), any::<bool>()).prop_map(
        |(name, description, schema, may_repeat)| ServerTool {
            tool: ModelTool { name, description, schema },
            may_repeat,
        },
    );
    (vec(tool, 0..3), vec(text(), 0..3))
        .prop_map(|(tools, unavailable)| ToolListing { tools, unavailable })
}

fn tool_answer() -> impl Strategy<Value = EffectAnswer> {
    let wait = of((0..100_000_u64).prop_map(Duration::from_millis));
    let failed = prop_oneof![
        text().prop_map(ToolError::NotAllowed),
        text().prop_map(ToolError::Unknown),
        text().prop_map(ToolError::Invalid),
        (text(), wait).prop_map(|(why, retry_after)| ToolError::Unavailable { why, retry_after }),
        text().prop_map(ToolError::TimedOut),
        text().prop_map(ToolError::TooLarge),
        text().prop_map(ToolError::BudgetExceeded),
        Just(ToolError::UnknownOutcome),
    ];
    let answered = (vec(part(), 0..3), any::<bool>())
        .prop_map(|(content, is_error)| ToolAnswer { content, is_error });
    prop_oneof![answered.prop_map(Ok), failed.prop_map(Err)].prop_map(EffectAnswer::Tool)
}

fn model_answer() -> impl Strategy<Value = EffectAnswer> {
    let stop = proptest::sample::select(vec![
        StopReason::End,
        StopReason::ToolUse,
        StopReason::MaxTokens,
        StopReason::StopSequence,
        StopReason::Pause,
        StopReason::Refusal,
    ]);
    let answered = (vec(content(), 0..4), stop, of(tokens()), text())
        .prop_map(|(content, stop, usage, model)| ModelAnswer { content, stop, usage, model });
    let wait = || of((0..100_000_u64).prop_map(Duration::from_millis));
    let failed = prop_oneof![
        wait().prop_map(|retry_after| ModelError::RateLimited { retry_after }),
        wait().prop_map(|retry_after| ModelError::Overloaded { retry_after }),
        text().prop_map(ModelError::Invalid),
        text().prop_map(ModelError::ContextTooLong),
        text().prop_map(ModelError::BudgetExceeded),
        text().prop_map(ModelError::NotAllowed),
        text().prop_map(ModelError::Unavailable),
        text().prop_map(|partial| ModelError::Interrupted { partial }),
        Just(ModelError::UnknownOutcome),
    ];
    let model = prop_oneof![3 => answered.prop_map(Ok), 1 => failed.prop_map(Err)];
    let refused = prop_oneof![
        Just(AskError::UnknownPeer),
        Just(AskError::TooLarge),
        Just(AskError::Ended),
        Just(AskError::Paused),
        Just(AskError::Busy),
        Just(AskError::Cycle),
        Just(AskError::TimedOut),
        (text(), text()).prop_map(|(code, message)| AskError::Failed { code, message }),
        text().prop_map(AskError::Unavailable),
    ];
    let peer = prop_oneof![vec(part(), 0..3).prop_map(Ok), refused.prop_map(Err)];
    prop_oneof![
        2 => model.prop_map(EffectAnswer::Model),
        1 => peer.prop_map(EffectAnswer::Ask),
    ]
}

fn news() -> impl Strategy<Value = HttpNews> {
    let bytes = || vec(any::<u8>(), 0..12).prop_map(Bytes::from);
    let response = (any::<u16>(), vec((text(), bytes()), 0..3), bytes())
        .prop_map(|(status, headers, body)| HttpResponse { status, headers, body });
    let kind = proptest::sample::select(HttpErrorKind::ALL.as_slice());
    let error = (kind, text()).prop_map(|(kind, text)| HttpError { kind, text });
    let answer = prop_oneof![response.prop_map(Ok), error.prop_map(Err)];
    (vec((any::<u32>(), answer), 0..3), vec(any::<u32>(), 0..3))
        .prop_map(|(ended, times)| HttpNews { ended, times })
}

fn kind() -> impl Strategy<Value = EffectKind> {
    proptest::sample::select(vec![
        EffectKind::Model,
        EffectKind::Tool,
        EffectKind::ToolList,
        EffectKind::Ask,
        EffectKind::Http,
        EffectKind::HttpWait,
    ])
}

fn class() -> impl Strategy<Value = EffectClass> {
    proptest::sample::select(vec![
        EffectClass::Paid,
        EffectClass::Pure,
        EffectClass::Keyed,
        EffectClass::Once,
    ])
}

pub fn entry() -> impl Strategy<Value = JournalEntry> {
    let readings = (vec(any::<i64>(), 0..4), vec(any::<u64>(), 0..4))
        .prop_map(|(wall, monotonic)| Readings { wall, monotonic });
    let numbers = (any::<u32>(), any::<u64>(), kind(), class());
    let posted = vec(
        proptest::sample::select(vec![
            Posted::Taken,
            Posted::MailboxFull,
            Posted::Ended,
            Posted::Gone,
        ]),
        0..4,
    );
    let seen = (readings, of(any::<[u8; 16]>()), posted);
    (numbers, digest(), seen, vec(effect(), 0..3), of(answer())).prop_map(
        |((seq, fuel, kind, class), request, (readings, salt, posted), calls, answer)| {
            JournalEntry { seq, kind, request, class, readings, salt, posted, fuel, calls, answer }
        },
    )
}

pub fn open_turn() -> impl Strategy<Value = OpenTurn> {
    let key = ("[p-r]", text()).prop_map(|(owner, key)| {
        let owner = Principal(owner);
        IdempotencyKey { owner, key }
    });
    let said = (vec(part(), 0..3), of((key, digest())), sender());
    ((id(), id()), digest(), said, (time(), time()), any::<[u64; 4]>()).prop_map(
        |((session, turn), agent, (input, key, sender), (started_at, deadline), numbers)| {
            OpenTurn {
                session: SessionId(session),
                turn: TurnId(turn),
                number: numbers[0],
                revision: numbers[1],
                agent,
                sender,
                input,
                key,
                started_at,
                deadline,
                fuel: numbers[2],
                monotonic_ns: numbers[3],
                mail: numbers[3].is_multiple_of(2).then_some(numbers[2]),
            }
        },
    )
}

pub fn attempts() -> impl Strategy<Value = TurnAttempts> {
    any::<[u32; 3]>().prop_map(|[all, since_answer, answered]| TurnAttempts {
        all,
        since_answer,
        answered,
    })
}

fn amounts() -> impl Strategy<Value = Amounts> {
    (0..1_000_000_i64, 0..1_000_000_u64)
        .prop_map(|(money, fuel)| Amounts { money: NanoUsd(money), fuel })
}

fn account_limits() -> impl Strategy<Value = AccountLimits> {
    (of(any::<i64>()), of(any::<u64>()))
        .prop_map(|(money, fuel)| AccountLimits { money: money.map(NanoUsd), fuel })
}

pub fn account() -> impl Strategy<Value = Account> {
    (id(), "[p-r]", account_limits(), amounts(), 1..5_u64).prop_map(
        |(id, owner, limits, spent, members)| Account {
            id: AccountId(SessionId(id)),
            owner: Principal(owner),
            limits,
            spent,
            members,
        },
    )
}

/// A change that leaves the members as they are.
pub fn spending() -> impl Strategy<Value = AccountChange> {
    (amounts(), amounts(), of(account_limits()), any::<[bool; 2]>()).prop_map(
        |(spent, granted, limits, [money, fuel])| {
            let limits = limits.map_or_else(LimitsChange::default, |limits| LimitsChange {
                money: money.then_some(limits.money),
                fuel: fuel.then_some(limits.fuel),
            });
            AccountChange { granted, spent, members: 0, limits }
        },
    )
}
