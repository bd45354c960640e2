//! A turn: what was sent, what came of it, and what the agent wrote meanwhile.

use std::time::Duration;

use minicbor::{CborLen, Decode, Encode};

use super::effect::EffectRow;
use super::{CodecError, IdRow, from_cbor, to_cbor};
use dormouse_domain::id::{SessionId, SnapshotId, TurnId};
use dormouse_domain::journal::EffectRecord;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::mail::Peer;
use dormouse_domain::sample::Sample;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{
    Failure, FailureCode, LogLevel, LogLine, LogSource, Part, Sender, StartupCost, TurnOutcome,
    TurnRecord,
};

/// The row of this turn.
pub(crate) fn encode_turn(turn: &TurnRecord) -> Vec<u8> {
    to_cbor(&TurnRow {
        id: turn.id.0.into(),
        session: turn.session.0.into(),
        number: turn.number,
        sender: SenderRow::of(&turn.sender),
        sender_name: SenderRow::name(&turn.sender),
        sender_session: SenderRow::session(&turn.sender),
        input: turn.input.iter().map(PartRow::of).collect(),
        outcome: OutcomeRow::of(&turn.outcome),
        fuel: turn.fuel,
        cost: turn.cost.0,
        started_at: turn.started_at.0,
        duration: turn.duration,
        log: turn.log.iter().map(LogRow::of).collect(),
        log_dropped: turn.log_dropped,
        start: turn.start.map(|StartupCost { fuel, cost }| StartRow { fuel, cost: cost.0 }),
        effects: some_of(&turn.effects),
        samples: some_samples(&turn.samples),
        attempts: (turn.attempts != 1).then_some(turn.attempts),
        woken_in: turn.woken_in,
    })
}

/// Most turns have no effects, and then there is nothing to keep.
fn some_of(effects: &[EffectRecord]) -> Option<Vec<EffectRow<'_>>> {
    (!effects.is_empty()).then(|| effects.iter().map(EffectRow::of).collect())
}

/// Most turns sample nothing.
fn some_samples(samples: &[Sample]) -> Option<Vec<SampleRow<'_>>> {
    (!samples.is_empty()).then(|| samples.iter().map(SampleRow::of).collect())
}

/// The turn of this row.
pub(crate) fn decode_turn(bytes: &[u8]) -> Result<TurnRecord, CodecError> {
    let row: TurnRow<'_> = from_cbor(bytes)?;
    Ok(TurnRecord {
        id: TurnId(row.id.into()),
        session: SessionId(row.session.into()),
        number: row.number,
        sender: row.sender.sender(row.sender_name, row.sender_session)?,
        input: row.input.into_iter().map(PartRow::part).collect(),
        outcome: row.outcome.outcome()?,
        fuel: row.fuel,
        cost: NanoUsd(row.cost),
        started_at: Timestamp(row.started_at),
        duration: row.duration,
        log: row.log.into_iter().map(LogRow::line).collect(),
        log_dropped: row.log_dropped,
        effects: row
            .effects
            .into_iter()
            .flatten()
            .map(EffectRow::effect)
            .collect::<Result<_, _>>()?,
        samples: row.samples.into_iter().flatten().map(SampleRow::sample).collect(),
        attempts: row.attempts.unwrap_or(1),
        woken_in: row.woken_in,
        start: row.start.map(|StartRow { fuel, cost }| StartupCost { fuel, cost: NanoUsd(cost) }),
    })
}

#[derive(Encode, Decode, CborLen)]
struct TurnRow<'a> {
    #[n(0)]
    id: IdRow,
    #[n(1)]
    session: IdRow,
    #[n(2)]
    number: u64,
    #[n(3)]
    sender: SenderRow,
    #[b(4)]
    input: Vec<PartRow<'a>>,
    #[b(5)]
    outcome: OutcomeRow<'a>,
    #[n(6)]
    fuel: u64,
    #[n(7)]
    cost: i64,
    #[n(8)]
    started_at: i64,
    #[n(9)]
    duration: Duration,
    #[b(10)]
    log: Vec<LogRow<'a>>,
    #[n(11)]
    log_dropped: u64,
    #[n(12)]
    start: Option<StartRow>,
    /// Absent: none.
    #[b(13)]
    effects: Option<Vec<EffectRow<'a>>>,
    /// Absent: once.
    #[n(14)]
    attempts: Option<u32>,
    #[n(15)]
    woken_in: Option<Duration>,
    /// Absent: the sender has no name.
    #[b(16)]
    sender_name: Option<&'a str>,
    /// Absent: the sender is no session.
    #[n(17)]
    sender_session: Option<IdRow>,
    /// Absent: none.
    #[b(18)]
    samples: Option<Vec<SampleRow<'a>>>,
}

#[derive(Encode, Decode, CborLen)]
struct StartRow {
    #[n(0)]
    fuel: u64,
    #[n(1)]
    cost: i64,
}

#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
pub(super) enum SenderRow {
    #[n(0)]
    User,
    #[n(1)]
    Timer,
    #[n(2)]
    Agent,
    #[n(3)]
    Schedule,
}

#[derive(Encode, Decode, CborLen)]
pub(super) enum PartRow<'a> {
    #[n(0)]
    Text(#[b(0)] &'a str),
    #[n(1)]
    Json(#[b(0)] &'a str),
    #[n(2)]
    Blob {
        #[b(0)]
        media_type: &'a str,
        #[cbor(b(1), with = "minicbor::bytes")]
        data: &'a [u8],
    },
}

#[derive(Encode, Decode, CborLen)]
enum OutcomeRow<'a> {
    #[n(0)]
    Answered {
        #[b(0)]
        content: Vec<PartRow<'a>>,
        #[n(1)]
        snapshot: Option<IdRow>,
        /// That there is nothing a snapshot would hold. Absent where there is one.
        #[n(2)]
        stateless: Option<bool>,
    },
    #[n(1)]
    Failed {
        #[b(0)]
        code: &'a str,
        #[b(1)]
        message: &'a str,
    },
}

#[derive(Encode, Decode, CborLen)]
struct LogRow<'a> {
    #[n(0)]
    source: SourceRow,
    #[b(1)]
    message: &'a str,
    #[b(2)]
    fields: Vec<(&'a str, &'a str)>,
}

#[derive(Encode, Decode, CborLen)]
struct SampleRow<'a> {
    #[b(0)]
    name: &'a str,
    #[n(1)]
    value: f64,
    #[n(2)]
    at: i64,
}

#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
enum SourceRow {
    #[n(0)]
    Trace,
    #[n(1)]
    Debug,
    #[n(2)]
    Info,
    #[n(3)]
    Warn,
    #[n(4)]
    Error,
    #[n(5)]
    Stdout,
    #[n(6)]
    Stderr,
}

impl SenderRow {
    pub(super) fn of(sender: &Sender) -> SenderRow {
        match sender {
            Sender::User => SenderRow::User,
            Sender::Timer(_) => SenderRow::Timer,
            Sender::Agent(_) => SenderRow::Agent,
            Sender::Schedule(_) => SenderRow::Schedule,
        }
    }

    /// The name that goes along with it.
    pub(super) fn name(sender: &Sender) -> Option<&str> {
        match sender {
            Sender::User => None,
            Sender::Timer(name) | Sender::Schedule(name) => Some(name),
            Sender::Agent(peer) => peer.name.as_deref(),
        }
    }

    /// The session that goes along with it.
    pub(super) fn session(sender: &Sender) -> Option<IdRow> {
        match sender {
            Sender::User | Sender::Timer(_) | Sender::Schedule(_) => None,
            Sender::Agent(peer) => Some(peer.session.0.into()),
        }
    }

    pub(super) fn sender(
        self,
        name: Option<&str>,
        session: Option<IdRow>,
    ) -> Result<Sender, CodecError> {
        Ok(match self {
            SenderRow::User => Sender::User,
            SenderRow::Timer => Sender::Timer(name.unwrap_or_default().to_owned()),
            SenderRow::Schedule => Sender::Schedule(name.unwrap_or_default().to_owned()),
            SenderRow::Agent => {
                let nobody = || CodecError::Malformed("an agent is no session".to_owned());
                let session = SessionId(session.ok_or_else(nobody)?.into());
                Sender::Agent(Peer { session, name: name.map(str::to_owned) })
            }
        })
    }
}

impl PartRow<'_> {
    pub(super) fn of(part: &Part) -> PartRow<'_> {
        match part {
            Part::Text(text) => PartRow::Text(text),
            Part::Json(text) => PartRow::Json(text),
            Part::Blob { media_type, data } => PartRow::Blob { media_type, data },
        }
    }

    pub(super) fn part(self) -> Part {
        match self {
            PartRow::Text(text) => Part::Text(text.to_owned()),
            PartRow::Json(text) => Part::Json(text.to_owned()),
            PartRow::Blob { media_type, data } => {
                Part::Blob { media_type: media_type.to_owned(), data: data.to_owned() }
            }
        }
    }
}

impl OutcomeRow<'_> {
    fn of(outcome: &TurnOutcome) -> OutcomeRow<'_> {
        match outcome {
            TurnOutcome::Answered { content, snapshot, durable } => OutcomeRow::Answered {
                content: content.iter().map(PartRow::of).collect(),
                snapshot: snapshot.map(|id| id.0.into()),
                stateless: (snapshot.is_none() && *durable).then_some(true),
            },
            TurnOutcome::Failed(Failure { code, message }) => {
                OutcomeRow::Failed { code: code.as_str(), message }
            }
        }
    }

    fn outcome(self) -> Result<TurnOutcome, CodecError> {
        match self {
            OutcomeRow::Answered { content, snapshot, stateless } => Ok(TurnOutcome::Answered {
                content: content.into_iter().map(PartRow::part).collect(),
                durable: snapshot.is_some() || stateless == Some(true),
                snapshot: snapshot.map(|id| SnapshotId(id.into())),
            }),
            OutcomeRow::Failed { code, message } => {
                let unknown = || CodecError::Malformed(format!("there is no failure '{code}'"));
                let known = FailureCode::ALL.into_iter().find(|known| known.as_str() == code);
                Ok(TurnOutcome::Failed(Failure {
                    code: known.ok_or_else(unknown)?,
                    message: message.to_owned(),
                }))
            }
        }
    }
}

impl LogRow<'_> {
    fn of(line: &LogLine) -> LogRow<'_> {
        LogRow {
            source: match line.source {
                LogSource::Log(LogLevel::Trace) => SourceRow::Trace,
                LogSource::Log(LogLevel::Debug) => SourceRow::Debug,
                LogSource::Log(LogLevel::Info) => SourceRow::Info,
                LogSource::Log(LogLevel::Warn) => SourceRow::Warn,
                LogSource::Log(LogLevel::Error) => SourceRow::Error,
                LogSource::Stdout => SourceRow::Stdout,
                LogSource::Stderr => SourceRow::Stderr,
            },
            message: &line.message,
            fields: line.fields.iter().map(|(name, value)| (&**name, &**value)).collect(),
        }
    }

    fn line(self) -> LogLine {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        LogLine {
            source: match self.source {
                SourceRow::Trace => LogSource::Log(LogLevel::Trace),
                SourceRow::Debug => LogSource::Log(LogLevel::Debug),
                SourceRow::Info => LogSource::Log(LogLevel::Info),
                SourceRow::Warn => LogSource::Log(LogLevel::Warn),
                SourceRow::Error => LogSource::Log(LogLevel::Error),
                SourceRow::Stdout => LogSource::Stdout,
                SourceRow::Stderr => LogSource::Stderr,
            },
            message: self.message.to_owned(),
            fields: self.fields.into_iter().map(owned).collect(),
        }
    }
}

impl SampleRow<'_> {
    fn of(sample: &Sample) -> SampleRow<'_> {
        SampleRow { name: &sample.name, value: sample.value, at: sample.at.0 }
    }

    fn sample(self) -> Sample {
        let SampleRow { name, value, at } = self;
        Sample { name: name.to_owned(), value, at: Timestamp(at) }
    }
}
