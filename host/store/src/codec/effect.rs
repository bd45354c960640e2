//! A line of the ledger: one attempt at one effect. A turn has these, and so has each entry of a journal.

use std::time::Duration;

use minicbor::{CborLen, Decode, Encode};

use super::CodecError;
use dormouse_domain::effect::EffectKind;
use dormouse_domain::journal::{
    Bill, EffectFailure, EffectOutcome, EffectRecord, EffectTarget, Provenance,
};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::model::TokenUsage;
use dormouse_domain::time::Timestamp;

#[derive(Encode, Decode, CborLen)]
pub(super) struct EffectRow<'a> {
    #[n(0)]
    seq: u32,
    #[n(1)]
    attempt: u32,
    #[n(2)]
    turn_attempt: u32,
    #[n(3)]
    provenance: ProvenanceRow,
    #[n(4)]
    kind: KindRow,
    /// Of a model. Empty otherwise.
    #[b(5)]
    provider: &'a str,
    /// The same.
    #[b(6)]
    model: &'a str,
    #[n(7)]
    begun_at: i64,
    #[n(8)]
    duration: Duration,
    #[n(9)]
    fuel: u64,
    #[n(10)]
    cost: i64,
    #[n(11)]
    bill: BillRow,
    #[b(12)]
    outcome: OutcomeRow<'a>,
    #[n(13)]
    sent: u64,
    #[n(14)]
    received: u64,
    /// Absent: none.
    #[n(15)]
    tokens: Option<TokensRow>,
    /// Of a tool: its name.
    #[b(16)]
    tool: Option<&'a str>,
    /// The server that it was to ask. Absent: none is known.
    #[b(17)]
    server: Option<&'a str>,
    /// Of a request of the guest.
    #[b(18)]
    method: Option<&'a str>,
    /// Of a question: what its asker calls the session.
    #[b(19)]
    peer: Option<&'a str>,
}

#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
pub(super) enum KindRow {
    #[n(0)]
    Model,
    #[n(1)]
    Http,
    #[n(2)]
    HttpWait,
    #[n(3)]
    Tool,
    #[n(4)]
    ToolList,
    #[n(5)]
    Ask,
}

#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
enum ProvenanceRow {
    #[n(0)]
    Live,
    #[n(1)]
    Replayed,
}

#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
enum BillRow {
    #[n(0)]
    Exact,
    #[n(1)]
    Estimated,
    #[n(2)]
    Unknown,
    #[n(3)]
    Free,
    #[n(4)]
    Unpriced,
}

#[derive(Encode, Decode, CborLen)]
enum OutcomeRow<'a> {
    #[n(0)]
    Begun,
    #[n(1)]
    Answered,
    /// With the stable word.
    #[n(2)]
    Failed(#[b(0)] &'a str),
    #[n(3)]
    Unknown,
}

#[derive(Encode, Decode, CborLen)]
pub(super) struct TokensRow {
    #[n(0)]
    input: u64,
    #[n(1)]
    output: u64,
    #[n(2)]
    cache_read: u64,
    #[n(3)]
    cache_write: u64,
    #[n(4)]
    cache_write_long: u64,
}

impl EffectRow<'_> {
    pub(super) fn of(effect: &EffectRecord) -> EffectRow<'_> {
        let (provider, model) = match &effect.target {
            EffectTarget::Model { provider, model, tokens: _ } => {
                (provider.as_str(), model.as_str())
            }
            EffectTarget::Tool { .. } | EffectTarget::Http { .. } | EffectTarget::Ask { .. } => {
                ("", "")
            }
        };
        let (tool, server) = match &effect.target {
            EffectTarget::Model { .. } | EffectTarget::Ask { .. } => (None, None),
            EffectTarget::Tool { name, server } => {
                (Some(name.as_str()), (!server.is_empty()).then_some(server.as_str()))
            }
            EffectTarget::Http { host, .. } => (None, (!host.is_empty()).then_some(host.as_str())),
        };
        let method = match &effect.target {
            EffectTarget::Http { method, .. } => Some(method.as_str()),
            EffectTarget::Model { .. } | EffectTarget::Tool { .. } | EffectTarget::Ask { .. } => {
                None
            }
        };
        let peer = match &effect.target {
            EffectTarget::Ask { peer } => Some(peer.as_str()),
            EffectTarget::Model { .. } | EffectTarget::Tool { .. } | EffectTarget::Http { .. } => {
                None
            }
        };
        let tokens = effect.tokens();
        EffectRow {
            seq: effect.seq,
            attempt: effect.attempt,
            turn_attempt: effect.turn_attempt,
            provenance: match effect.provenance {
                Provenance::Live => ProvenanceRow::Live,
                Provenance::Replayed => ProvenanceRow::Replayed,
            },
            kind: KindRow::of(effect.kind()),
            provider,
            model,
            begun_at: effect.begun_at.0,
            duration: effect.duration,
            fuel: effect.fuel,
            cost: effect.cost.0,
            bill: BillRow::of(effect.bill),
            outcome: match effect.outcome {
                EffectOutcome::Begun => OutcomeRow::Begun,
                EffectOutcome::Answered => OutcomeRow::Answered,
                EffectOutcome::Failed(failure) => OutcomeRow::Failed(failure.as_str()),
                EffectOutcome::Unknown => OutcomeRow::Unknown,
            },
            sent: effect.sent,
            received: effect.received,
            tokens: (tokens != TokenUsage::default()).then(|| TokensRow::of(tokens)),
            tool,
            server,
            method,
            peer,
        }
    }

    pub(super) fn effect(self) -> Result<EffectRecord, CodecError> {
        Ok(EffectRecord {
            seq: self.seq,
            attempt: self.attempt,
            turn_attempt: self.turn_attempt,
            provenance: match self.provenance {
                ProvenanceRow::Live => Provenance::Live,
                ProvenanceRow::Replayed => Provenance::Replayed,
            },
            target: match self.kind {
                KindRow::Model => EffectTarget::Model {
                    provider: self.provider.to_owned(),
                    model: self.model.to_owned(),
                    tokens: self.tokens.map_or_else(TokenUsage::default, TokensRow::tokens),
                },
                KindRow::Tool => EffectTarget::Tool {
                    name: self.tool.unwrap_or_default().to_owned(),
                    server: self.server.unwrap_or_default().to_owned(),
                },
                KindRow::Http => EffectTarget::Http {
                    method: self.method.unwrap_or_default().to_owned(),
                    host: self.server.unwrap_or_default().to_owned(),
                },
                KindRow::Ask => {
                    EffectTarget::Ask { peer: self.peer.unwrap_or_default().to_owned() }
                }
                KindRow::HttpWait | KindRow::ToolList => {
                    return Err(CodecError::Malformed("nobody is asked by it".to_owned()));
                }
            },
            begun_at: Timestamp(self.begun_at),
            duration: self.duration,
            fuel: self.fuel,
            cost: NanoUsd(self.cost),
            bill: self.bill.bill(),
            outcome: self.outcome.outcome()?,
            sent: self.sent,
            received: self.received,
        })
    }
}

impl KindRow {
    pub(super) fn of(kind: EffectKind) -> KindRow {
        match kind {
            EffectKind::Model => KindRow::Model,
            EffectKind::Http => KindRow::Http,
            EffectKind::HttpWait => KindRow::HttpWait,
            EffectKind::Tool => KindRow::Tool,
            EffectKind::ToolList => KindRow::ToolList,
            EffectKind::Ask => KindRow::Ask,
        }
    }

    pub(super) fn kind(self) -> EffectKind {
        match self {
            KindRow::Model => EffectKind::Model,
            KindRow::Http => EffectKind::Http,
            KindRow::HttpWait => EffectKind::HttpWait,
            KindRow::Tool => EffectKind::Tool,
            KindRow::ToolList => EffectKind::ToolList,
            KindRow::Ask => EffectKind::Ask,
        }
    }
}

impl BillRow {
    fn of(bill: Bill) -> BillRow {
        match bill {
            Bill::Exact => BillRow::Exact,
            Bill::Estimated => BillRow::Estimated,
            Bill::Unknown => BillRow::Unknown,
            Bill::Free => BillRow::Free,
            Bill::Unpriced => BillRow::Unpriced,
        }
    }

    fn bill(self) -> Bill {
        match self {
            BillRow::Exact => Bill::Exact,
            BillRow::Estimated => Bill::Estimated,
            BillRow::Unknown => Bill::Unknown,
            BillRow::Free => Bill::Free,
            BillRow::Unpriced => Bill::Unpriced,
        }
    }
}

impl OutcomeRow<'_> {
    fn outcome(self) -> Result<EffectOutcome, CodecError> {
        Ok(match self {
            OutcomeRow::Begun => EffectOutcome::Begun,
            OutcomeRow::Answered => EffectOutcome::Answered,
            OutcomeRow::Failed(word) => {
                let known = EffectFailure::ALL.into_iter().find(|known| known.as_str() == word);
                let unknown = || CodecError::Malformed(format!("no call fails as '{word}'"));
                EffectOutcome::Failed(known.ok_or_else(unknown)?)
            }
            OutcomeRow::Unknown => EffectOutcome::Unknown,
        })
    }
}

impl TokensRow {
    pub(super) fn of(tokens: TokenUsage) -> TokensRow {
        let TokenUsage { input, output, cache_read, cache_write, cache_write_long } = tokens;
        TokensRow { input, output, cache_read, cache_write, cache_write_long }
    }

    pub(super) fn tokens(self) -> TokenUsage {
        let TokensRow { input, output, cache_read, cache_write, cache_write_long } = self;
        TokenUsage { input, output, cache_read, cache_write, cache_write_long }
    }
}
