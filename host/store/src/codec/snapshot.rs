//! A snapshot, apart from the bytes of its state; and the list of its chunks.

use bytes::Bytes;
use minicbor::{CborLen, Decode, Encode};

use super::{CodecError, DigestRow, IdRow, from_cbor, to_cbor};
use crate::SnapshotSummary;
use dormouse_domain::agent::Digest;
use dormouse_domain::id::SnapshotId;
use dormouse_domain::snapshot::{Chunk, Files, GuestState, ResumeHistory, ResumeTrial, Snapshot};
use dormouse_domain::time::Timestamp;

/// The digest and the size of a chunk.
const CHUNK: usize = 36;

/// The row of this snapshot, without the data of its state.
pub(crate) fn encode_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    to_cbor(&SnapshotRow {
        id: snapshot.id.0.into(),
        parent: snapshot.parent.map(|parent| parent.0.into()),
        turn: snapshot.turn,
        agent: DigestRow(snapshot.agent.0),
        taken_at: snapshot.taken_at.0,
        monotonic_ns: snapshot.monotonic_ns,
        state: match &snapshot.state {
            GuestState::Portable { version, .. } => {
                GuestStateRow::Portable { version: *version, data: &[] }
            }
            GuestState::Image { .. } => GuestStateRow::Image { data: &[] },
            GuestState::Nothing => GuestStateRow::Nothing,
        },
        size: Some(snapshot.state.size() as u64),
        resumes: None,
        files: snapshot.files.as_ref().map(|files| DigestRow(files.version.0)),
    })
}

/// The snapshot of this row, without the data of its state. Format 1 kept that here: then the data
/// is there, and not copied.
pub(crate) fn decode_snapshot(bytes: &Bytes) -> Result<Snapshot, CodecError> {
    let row: SnapshotRow<'_> = from_cbor(bytes)?;
    Ok(Snapshot {
        id: SnapshotId(row.id.into()),
        parent: row.parent.map(|parent| SnapshotId(parent.into())),
        turn: row.turn,
        agent: Digest(row.agent.0),
        taken_at: Timestamp(row.taken_at),
        monotonic_ns: row.monotonic_ns,
        state: match row.state {
            GuestStateRow::Portable { version, data } => {
                GuestState::Portable { version, data: bytes.slice_ref(data) }
            }
            GuestStateRow::Image { data } => {
                GuestState::Image { data: bytes.slice_ref(data), chunks: Vec::new() }
            }
            GuestStateRow::Nothing => GuestState::Nothing,
        },
        files: row.files.map(|version| Files { version: Digest(version.0), blobs: Vec::new() }),
    })
}

/// What this row says without the state.
pub(crate) fn decode_summary(bytes: &[u8]) -> Result<SnapshotSummary, CodecError> {
    let row: SnapshotRow<'_> = from_cbor(bytes)?;
    Ok(SnapshotSummary {
        id: SnapshotId(row.id.into()),
        parent: row.parent.map(|parent| SnapshotId(parent.into())),
        turn: row.turn,
        agent: Digest(row.agent.0),
        taken_at: Timestamp(row.taken_at),
        size: row.size.unwrap_or_default(),
        files: row.files.map(|version| Digest(version.0)),
        resumes: row.resumes.map_or_else(ResumeHistory::default, ResumesRow::history),
    })
}

/// The version of the files that this row names.
pub(crate) fn decode_files(bytes: &[u8]) -> Result<Option<Digest>, CodecError> {
    let row: SnapshotRow<'_> = from_cbor(bytes)?;
    Ok(row.files.map(|version| Digest(version.0)))
}

/// This row once one more session should have gone on from the snapshot.
pub(crate) fn note_resume(
    bytes: &[u8],
    trial: ResumeTrial,
    at: Timestamp,
) -> Result<Vec<u8>, CodecError> {
    let mut row: SnapshotRow<'_> = from_cbor(bytes)?;
    let history = row.resumes.map_or_else(ResumeHistory::default, ResumesRow::history);
    let ResumeHistory { last_at, failures, is_damaged } = history.after(trial, at);
    row.resumes = Some(ResumesRow { last_at: last_at.map(|at| at.0), failures, is_damaged });
    Ok(to_cbor(&row))
}

/// The list of these chunks, without their data.
pub(crate) fn encode_chunks(chunks: &[Chunk]) -> Vec<u8> {
    let mut list = Vec::with_capacity(chunks.len() * CHUNK);
    for chunk in chunks {
        list.extend_from_slice(&chunk.digest.0);
        list.extend_from_slice(&chunk.size.to_le_bytes());
    }
    list
}

/// The chunks of this list, without their data.
pub(crate) fn decode_chunks(list: &[u8]) -> Result<Vec<Chunk>, CodecError> {
    let (chunks, rest) = list.as_chunks::<CHUNK>();
    if !rest.is_empty() {
        return Err(CodecError::Malformed("a list of chunks is cut short".to_owned()));
    }
    let chunk = |[digest @ .., a, b, c, d]: &[u8; CHUNK]| Chunk {
        digest: Digest(*digest),
        size: u32::from_le_bytes([*a, *b, *c, *d]),
        data: None,
    };
    Ok(chunks.iter().map(chunk).collect())
}

#[derive(Encode, Decode, CborLen)]
struct SnapshotRow<'a> {
    #[n(0)]
    id: IdRow,
    #[n(1)]
    parent: Option<IdRow>,
    #[n(2)]
    turn: u64,
    #[n(3)]
    agent: DigestRow,
    #[n(4)]
    taken_at: i64,
    #[n(5)]
    monotonic_ns: u64,
    // 6 was the position in a stream of random bytes, which no snapshot knows any more.
    #[b(7)]
    state: GuestStateRow<'a>,
    #[n(8)]
    size: Option<u64>,
    /// Absent: nobody has gone on from it.
    #[n(9)]
    resumes: Option<ResumesRow>,
    /// Absent: the session has never had any files.
    #[n(10)]
    files: Option<DigestRow>,
}

#[derive(Encode, Decode, CborLen)]
struct ResumesRow {
    #[n(0)]
    last_at: Option<i64>,
    #[n(1)]
    failures: u32,
    #[n(2)]
    is_damaged: bool,
}

impl ResumesRow {
    fn history(self) -> ResumeHistory {
        let ResumesRow { last_at, failures, is_damaged } = self;
        ResumeHistory { last_at: last_at.map(Timestamp), failures, is_damaged }
    }
}

/// The form of a state. Its data is empty but in format 1.
#[derive(Encode, Decode, CborLen)]
enum GuestStateRow<'a> {
    #[n(0)]
    Portable {
        #[n(0)]
        version: u32,
        #[cbor(b(1), with = "minicbor::bytes")]
        data: &'a [u8],
    },
    #[n(1)]
    Image {
        #[cbor(b(0), with = "minicbor::bytes")]
        data: &'a [u8],
    },
    #[n(2)]
    Nothing,
}
