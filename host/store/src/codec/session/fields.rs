//! Fields of the front of a record.

use std::time::Duration;

use minicbor::{CborLen, Decode, Encode};

use crate::label::LabelKey;
use dormouse_domain::limits::{Limits, NanoUsd, Usage};
use dormouse_domain::pattern::Pattern;
use dormouse_domain::residence::Residence;
use dormouse_domain::state::{Reason, Resumable, State};
use dormouse_domain::time::Timestamp;

/// The key of a label that the body has.
#[derive(Encode, Decode, CborLen)]
#[cbor(transparent)]
pub(super) struct LabelRow(#[cbor(n(0), with = "minicbor::bytes")] pub(super) [u8; 16]);

/// What statistics need of what the body has as well.
#[derive(Encode, Decode, CborLen)]
pub(super) struct SpentRow {
    #[n(0)]
    cost: i64,
    #[n(1)]
    input_tokens: u64,
    #[n(2)]
    output_tokens: u64,
    /// Absent: none.
    #[n(3)]
    cached_tokens: Option<u64>,
}

#[derive(Encode, Decode, CborLen)]
pub(super) enum StateRow<'a> {
    #[n(0)]
    Initializing,
    #[n(1)]
    Active,
    #[n(2)]
    Idle,
    #[n(3)]
    Paused(#[n(0)] ResumableRow),
    #[n(4)]
    Stopping(#[b(0)] &'a str),
    #[n(5)]
    Error(#[b(0)] &'a str),
    #[n(6)]
    Completed,
    #[n(7)]
    Terminated(#[b(0)] &'a str),
}

#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
pub(super) enum ResumableRow {
    #[n(0)]
    Initializing,
    #[n(1)]
    Active,
    #[n(2)]
    Idle,
}

#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
pub(super) enum PatternRow {
    #[n(0)]
    Ephemeral,
    #[n(1)]
    LongRunning,
    #[n(2)]
    Hybrid,
    #[n(3)]
    SingleContainer,
}

#[derive(Encode, Decode, CborLen)]
pub(super) struct LimitsRow {
    #[n(0)]
    max_turns: Option<u64>,
    #[n(1)]
    max_budget: Option<i64>,
    #[n(2)]
    max_fuel: Option<u64>,
    #[n(3)]
    max_fuel_per_turn: u64,
    #[n(4)]
    max_memory_bytes: u64,
    #[n(5)]
    turn_timeout: Duration,
    #[n(6)]
    max_idle: Option<Duration>,
    #[n(7)]
    max_lifetime: Option<Duration>,
    #[n(8)]
    sleep_after: Option<Duration>,
    #[n(9)]
    idle_grace: Option<Duration>,
    /// Absent: as long as the session.
    #[n(10)]
    state_kept: Option<Duration>,
}

/// When a session had an instance.
#[derive(Encode, Decode, CborLen)]
pub(super) struct ResidenceRow {
    #[n(0)]
    woken_at: Option<i64>,
    #[n(1)]
    slept_at: Option<i64>,
    /// In milliseconds.
    #[n(2)]
    resident: u64,
    #[n(3)]
    is_open: bool,
}

impl LabelRow {
    pub(super) fn of(key: LabelKey) -> LabelRow {
        LabelRow(key.0)
    }
}

impl SpentRow {
    pub(super) fn of(usage: &Usage) -> Option<SpentRow> {
        let Usage { cost: NanoUsd(cost), input_tokens, output_tokens, cached_tokens, .. } = *usage;
        let has_spent = (cost, input_tokens, output_tokens, cached_tokens) != (0, 0, 0, 0);
        let cached_tokens = (cached_tokens > 0).then_some(cached_tokens);
        has_spent.then_some(SpentRow { cost, input_tokens, output_tokens, cached_tokens })
    }

    pub(super) fn usage(self) -> Usage {
        Usage {
            cost: NanoUsd(self.cost),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cached_tokens: self.cached_tokens.unwrap_or(0),
            ..Usage::default()
        }
    }
}

impl StateRow<'_> {
    pub(super) fn of(state: &State) -> StateRow<'_> {
        match state {
            State::Initializing => StateRow::Initializing,
            State::Active => StateRow::Active,
            State::Idle => StateRow::Idle,
            State::Paused(Resumable::Initializing) => StateRow::Paused(ResumableRow::Initializing),
            State::Paused(Resumable::Active) => StateRow::Paused(ResumableRow::Active),
            State::Paused(Resumable::Idle) => StateRow::Paused(ResumableRow::Idle),
            State::Stopping(reason) => StateRow::Stopping(&reason.0),
            State::Error(reason) => StateRow::Error(&reason.0),
            State::Completed => StateRow::Completed,
            State::Terminated(reason) => StateRow::Terminated(&reason.0),
        }
    }

    pub(super) fn state(self) -> State {
        match self {
            StateRow::Initializing => State::Initializing,
            StateRow::Active => State::Active,
            StateRow::Idle => State::Idle,
            StateRow::Paused(ResumableRow::Initializing) => State::Paused(Resumable::Initializing),
            StateRow::Paused(ResumableRow::Active) => State::Paused(Resumable::Active),
            StateRow::Paused(ResumableRow::Idle) => State::Paused(Resumable::Idle),
            StateRow::Stopping(reason) => State::Stopping(Reason::new(reason)),
            StateRow::Error(reason) => State::Error(Reason::new(reason)),
            StateRow::Completed => State::Completed,
            StateRow::Terminated(reason) => State::Terminated(Reason::new(reason)),
        }
    }
}

impl PatternRow {
    pub(super) fn of(pattern: Pattern) -> PatternRow {
        match pattern {
            Pattern::Ephemeral => PatternRow::Ephemeral,
            Pattern::LongRunning => PatternRow::LongRunning,
            Pattern::Hybrid => PatternRow::Hybrid,
            Pattern::SingleContainer => PatternRow::SingleContainer,
        }
    }

    pub(super) fn pattern(self) -> Pattern {
        match self {
            PatternRow::Ephemeral => Pattern::Ephemeral,
            PatternRow::LongRunning => Pattern::LongRunning,
            PatternRow::Hybrid => Pattern::Hybrid,
            PatternRow::SingleContainer => Pattern::SingleContainer,
        }
    }
}

impl LimitsRow {
    pub(super) fn of(limits: &Limits) -> LimitsRow {
        LimitsRow {
            max_turns: limits.max_turns,
            max_budget: limits.max_budget.map(|budget| budget.0),
            max_fuel: limits.max_fuel,
            max_fuel_per_turn: limits.max_fuel_per_turn,
            max_memory_bytes: limits.max_memory_bytes,
            turn_timeout: limits.turn_timeout,
            max_idle: limits.max_idle,
            max_lifetime: limits.max_lifetime,
            sleep_after: limits.sleep_after,
            idle_grace: limits.idle_grace,
            state_kept: limits.state_kept,
        }
    }

    pub(super) fn limits(self) -> Limits {
        Limits {
            max_turns: self.max_turns,
            max_budget: self.max_budget.map(NanoUsd),
            max_fuel: self.max_fuel,
            max_fuel_per_turn: self.max_fuel_per_turn,
            max_memory_bytes: self.max_memory_bytes,
            turn_timeout: self.turn_timeout,
            max_idle: self.max_idle,
            max_lifetime: self.max_lifetime,
            sleep_after: self.sleep_after,
            idle_grace: self.idle_grace,
            state_kept: self.state_kept,
        }
    }
}

impl ResidenceRow {
    pub(super) fn of(residence: Residence) -> Option<ResidenceRow> {
        let Residence { woken_at, slept_at, resident, is_open } = residence;
        (residence != Residence::default()).then(|| ResidenceRow {
            woken_at: woken_at.map(|at| at.0),
            slept_at: slept_at.map(|at| at.0),
            resident: u64::try_from(resident.as_millis()).unwrap_or(u64::MAX),
            is_open,
        })
    }

    pub(super) fn residence(self) -> Residence {
        Residence {
            woken_at: self.woken_at.map(Timestamp),
            slept_at: self.slept_at.map(Timestamp),
            resident: Duration::from_millis(self.resident),
            is_open: self.is_open,
        }
    }
}
