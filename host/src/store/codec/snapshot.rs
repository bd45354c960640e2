//! A snapshot. Its data is not copied when it is read: it stays a part of the bytes that were read.

use bytes::Bytes;
use minicbor::{CborLen, Decode, Encode};

use super::{CodecError, DigestRow, IdRow, from_cbor, to_cbor};
use crate::agent::Digest;
use crate::clock::Timestamp;
use crate::session::id::SnapshotId;
use crate::session::snapshot::{Chunk, GuestState, Snapshot};

/// The row of this snapshot.
pub(crate) fn encode_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    to_cbor(&SnapshotRow {
        id: snapshot.id.0.into(),
        parent: snapshot.parent.map(|parent| parent.0.into()),
        turn: snapshot.turn,
        agent: DigestRow(snapshot.agent.0),
        taken_at: snapshot.taken_at.0,
        monotonic_ns: snapshot.monotonic_ns,
        random_position: snapshot.random_position,
        state: match &snapshot.state {
            GuestState::Portable { version, data } => {
                GuestStateRow::Portable { version: *version, data }
            }
            GuestState::Image { data, chunks } => GuestStateRow::Image {
                data,
                chunks: Some(chunks.iter().map(ChunkRow::from).collect::<Vec<_>>())
                    .filter(|chunks| !chunks.is_empty()),
            },
        },
    })
}

/// The snapshot of this row.
pub(crate) fn decode_snapshot(bytes: &Bytes) -> Result<Snapshot, CodecError> {
    let row: SnapshotRow<'_> = from_cbor(bytes)?;
    Ok(Snapshot {
        id: SnapshotId(row.id.into()),
        parent: row.parent.map(|parent| SnapshotId(parent.into())),
        turn: row.turn,
        agent: Digest(row.agent.0),
        taken_at: Timestamp(row.taken_at),
        monotonic_ns: row.monotonic_ns,
        random_position: row.random_position,
        state: match row.state {
            GuestStateRow::Portable { version, data } => {
                GuestState::Portable { version, data: bytes.slice_ref(data) }
            }
            GuestStateRow::Image { data, chunks } => {
                let chunks = chunks.unwrap_or_default().into_iter().map(|row| Chunk {
                    digest: Digest(row.digest.0),
                    size: row.size,
                    data: row.data.map(|data| bytes.slice_ref(data)),
                });
                GuestState::Image { data: bytes.slice_ref(data), chunks: chunks.collect() }
            }
        },
    })
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
    #[n(6)]
    random_position: u64,
    #[b(7)]
    state: GuestStateRow<'a>,
}

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
        #[b(1)]
        chunks: Option<Vec<ChunkRow<'a>>>,
    },
}

#[derive(Encode, Decode, CborLen)]
struct ChunkRow<'a> {
    #[n(0)]
    digest: DigestRow,
    #[n(1)]
    size: u32,
    #[cbor(b(2), with = "minicbor::bytes")]
    data: Option<&'a [u8]>,
}

impl<'a> From<&'a Chunk> for ChunkRow<'a> {
    fn from(chunk: &'a Chunk) -> ChunkRow<'a> {
        ChunkRow {
            digest: DigestRow(chunk.digest.0),
            size: chunk.size,
            data: chunk.data.as_deref(),
        }
    }
}
