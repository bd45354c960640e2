//! The journal of an open turn: what the turn began with, what was sent to it, how often it was begun, and
//! its entries. Each is a row of its own, so that none is written anew because of another.

use minicbor::{CborLen, Decode, Encode};

use super::answer::AnswerRow;
use super::effect::{EffectRow, KindRow};
use super::turn::{PartRow, SenderRow};
use super::{CodecError, DigestRow, IdRow, from_cbor, to_cbor};
use dormouse_domain::agent::Digest;
use dormouse_domain::effect::EffectClass;
use dormouse_domain::id::{Principal, SessionId, TurnId};
use dormouse_domain::journal::{JournalEntry, OpenTurn, Readings, TurnAttempts};
use dormouse_domain::mail::Posted;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{IdempotencyKey, Part};

/// The row of this open turn, without its input.
pub(crate) fn encode_open_turn(turn: &OpenTurn) -> Vec<u8> {
    to_cbor(&OpenTurnRow {
        session: turn.session.0.into(),
        turn: turn.turn.0.into(),
        number: turn.number,
        revision: turn.revision,
        agent: DigestRow(turn.agent.0),
        sender: SenderRow::of(&turn.sender),
        sender_name: SenderRow::name(&turn.sender),
        sender_session: SenderRow::session(&turn.sender),
        mail: turn.mail,
        key: turn.key.as_ref().map(|(key, request)| KeyRow {
            owner: &key.owner.0,
            key: &key.key,
            request: DigestRow(request.0),
        }),
        started_at: turn.started_at.0,
        deadline: turn.deadline.0,
        fuel: turn.fuel,
        monotonic_ns: turn.monotonic_ns,
    })
}

/// The open turn of this row, without its input.
pub(crate) fn decode_open_turn(bytes: &[u8]) -> Result<OpenTurn, CodecError> {
    let row: OpenTurnRow<'_> = from_cbor(bytes)?;
    let key = |row: KeyRow<'_>| {
        let owner = Principal(row.owner.to_owned());
        (IdempotencyKey { owner, key: row.key.to_owned() }, Digest(row.request.0))
    };
    Ok(OpenTurn {
        session: SessionId(row.session.into()),
        turn: TurnId(row.turn.into()),
        number: row.number,
        revision: row.revision,
        agent: Digest(row.agent.0),
        sender: row.sender.sender(row.sender_name, row.sender_session)?,
        input: Vec::new(),
        key: row.key.map(key),
        started_at: Timestamp(row.started_at),
        deadline: Timestamp(row.deadline),
        fuel: row.fuel,
        monotonic_ns: row.monotonic_ns,
        mail: row.mail,
    })
}

/// The row of what was sent to a turn.
pub(crate) fn encode_input(input: &[Part]) -> Vec<u8> {
    to_cbor(&InputRow { parts: input.iter().map(PartRow::of).collect() })
}

/// What was sent, of this row.
pub(crate) fn decode_input(bytes: &[u8]) -> Result<Vec<Part>, CodecError> {
    let row: InputRow<'_> = from_cbor(bytes)?;
    Ok(row.parts.into_iter().map(PartRow::part).collect())
}

/// The row that counts how often a turn was begun.
pub(crate) fn encode_attempts(attempts: TurnAttempts) -> Vec<u8> {
    let TurnAttempts { all, since_answer, answered } = attempts;
    to_cbor(&AttemptsRow { all, since_answer, answered })
}

/// How often a turn was begun, by this row.
pub(crate) fn decode_attempts(bytes: &[u8]) -> Result<TurnAttempts, CodecError> {
    let AttemptsRow { all, since_answer, answered } = from_cbor(bytes)?;
    Ok(TurnAttempts { all, since_answer, answered })
}

/// The row of this entry.
pub(crate) fn encode_entry(entry: &JournalEntry) -> Vec<u8> {
    to_cbor(&EntryRow {
        seq: entry.seq,
        kind: KindRow::of(entry.kind),
        request: DigestRow(entry.request.0),
        class: match entry.class {
            EffectClass::Paid => ClassRow::Paid,
            EffectClass::Pure => ClassRow::Pure,
            EffectClass::Keyed => ClassRow::Keyed,
            EffectClass::Once => ClassRow::Once,
        },
        wall: entry.readings.wall.clone(),
        monotonic: entry.readings.monotonic.clone(),
        salt: entry.salt.map(SaltRow),
        fuel: entry.fuel,
        calls: entry.calls.iter().map(EffectRow::of).collect(),
        answer: entry.answer.as_ref().map(AnswerRow::of),
        posted: Some(&entry.posted)
            .filter(|posted| !posted.is_empty())
            .map(|posted| posted.iter().map(|posted| PostedRow::of(*posted)).collect()),
    })
}

/// The entry of this row.
pub(crate) fn decode_entry(bytes: &[u8]) -> Result<JournalEntry, CodecError> {
    let row: EntryRow<'_> = from_cbor(bytes)?;
    Ok(JournalEntry {
        seq: row.seq,
        kind: row.kind.kind(),
        request: Digest(row.request.0),
        class: match row.class {
            ClassRow::Paid => EffectClass::Paid,
            ClassRow::Pure => EffectClass::Pure,
            ClassRow::Keyed => EffectClass::Keyed,
            ClassRow::Once => EffectClass::Once,
        },
        readings: Readings { wall: row.wall, monotonic: row.monotonic },
        salt: row.salt.map(|SaltRow(salt)| salt),
        fuel: row.fuel,
        calls: row.calls.into_iter().map(EffectRow::effect).collect::<Result<_, _>>()?,
        answer: row.answer.map(AnswerRow::answer),
        posted: row.posted.unwrap_or_default().into_iter().map(PostedRow::posted).collect(),
    })
}

#[derive(Encode, Decode, CborLen)]
struct OpenTurnRow<'a> {
    #[n(0)]
    session: IdRow,
    #[n(1)]
    turn: IdRow,
    #[n(2)]
    number: u64,
    #[n(3)]
    revision: u64,
    #[n(4)]
    agent: DigestRow,
    #[n(5)]
    sender: SenderRow,
    #[b(6)]
    key: Option<KeyRow<'a>>,
    #[n(7)]
    started_at: i64,
    #[n(8)]
    deadline: i64,
    #[n(9)]
    fuel: u64,
    #[n(10)]
    monotonic_ns: u64,
    /// Absent: the sender has no name.
    #[b(11)]
    sender_name: Option<&'a str>,
    /// Absent: the sender is no session.
    #[n(12)]
    sender_session: Option<IdRow>,
    /// Absent: it answers no mail.
    #[n(13)]
    mail: Option<u64>,
}

/// What a message came with.
#[derive(Encode, Decode, CborLen)]
struct KeyRow<'a> {
    #[b(0)]
    owner: &'a str,
    #[b(1)]
    key: &'a str,
    #[n(2)]
    request: DigestRow,
}

#[derive(Encode, Decode, CborLen)]
struct InputRow<'a> {
    #[b(0)]
    parts: Vec<PartRow<'a>>,
}

#[derive(Encode, Decode, CborLen)]
struct AttemptsRow {
    #[n(0)]
    all: u32,
    #[n(1)]
    since_answer: u32,
    #[n(2)]
    answered: u32,
}

#[derive(Encode, Decode, CborLen)]
struct EntryRow<'a> {
    #[n(0)]
    seq: u32,
    #[n(1)]
    kind: KindRow,
    #[n(2)]
    request: DigestRow,
    #[n(3)]
    class: ClassRow,
    #[n(4)]
    wall: Vec<i64>,
    #[n(5)]
    monotonic: Vec<u64>,
    #[n(6)]
    salt: Option<SaltRow>,
    #[n(7)]
    fuel: u64,
    #[b(8)]
    calls: Vec<EffectRow<'a>>,
    /// Absent: none yet.
    #[b(9)]
    answer: Option<AnswerRow<'a>>,
    /// Absent: none was sent.
    #[n(10)]
    posted: Option<Vec<PostedRow>>,
}

/// What became of a mail that was sent.
#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
enum PostedRow {
    #[n(0)]
    Taken,
    #[n(1)]
    MailboxFull,
    #[n(2)]
    Ended,
    #[n(3)]
    Gone,
}

impl PostedRow {
    fn of(posted: Posted) -> PostedRow {
        match posted {
            Posted::Taken => PostedRow::Taken,
            Posted::MailboxFull => PostedRow::MailboxFull,
            Posted::Ended => PostedRow::Ended,
            Posted::Gone => PostedRow::Gone,
        }
    }

    fn posted(self) -> Posted {
        match self {
            PostedRow::Taken => Posted::Taken,
            PostedRow::MailboxFull => Posted::MailboxFull,
            PostedRow::Ended => Posted::Ended,
            PostedRow::Gone => Posted::Gone,
        }
    }
}

#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
enum ClassRow {
    #[n(0)]
    Paid,
    #[n(1)]
    Pure,
    #[n(2)]
    Keyed,
    #[n(3)]
    Once,
}

#[derive(Encode, Decode, CborLen)]
#[cbor(transparent)]
struct SaltRow(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]);
