//! What removed sessions came to: `u` length owner name, the value a [`SessionRow`]. The name is that of the labels
//! (`RemovedCell::name`), of which the disk has the keys alone.
//!
//! A session is added to it in the commit that removes it, so nothing that was spent is ever forgotten.
//! Cells that cannot be read are lost: nothing else knows what they had.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use minicbor::bytes::ByteArray;
use minicbor::{CborLen, Decode, Encode};

use super::super::OpenError;
use super::super::disk::ReadExtent;
use super::super::keys::{self, length_of, split_owner, text};
use super::super::recovery::Recovery;
use super::super::session_index::RemovedCell;
use super::super::upkeep::audit::Audit;
use super::super::{Embedded, held};
use super::{Table, malformed};
use crate::codec::{self, CodecError, RecordKind};
use crate::label::{CellLabels, LabelKey};
use crate::read::ReadStatistics;
use crate::statistics::Spent;
use crate::{Statistics, StatisticsQuery, StoreError, Sums};
use dormouse_domain::id::Principal;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::state::Status;

/// The prefix of all cells.
const STATISTICS: u8 = b'u';

/// What a cell has.
#[derive(Encode, Decode, CborLen)]
struct SessionRow {
    #[n(0)]
    pattern: u8,
    #[n(1)]
    user: Option<ByteArray<16>>,
    #[n(2)]
    tags: Vec<ByteArray<16>>,
    /// How many sessions of each status, in the order of their list.
    #[n(3)]
    by_status: Vec<u64>,
    #[n(4)]
    cost: i64,
    #[n(5)]
    tokens: u64,
    #[n(6)]
    duration_ms: u64,
}

/// The cells.
pub(super) struct StatisticsTable;

/// A cell of an owner.
fn key_of(owner: &str, cell: &RemovedCell) -> Vec<u8> {
    let length = length_of(&Principal(owner.to_owned()));
    [&[STATISTICS], &length[..], owner.as_bytes(), &cell.name().0].concat()
}

/// A cell of an owner, in its envelope, under its key.
pub(in super::super) fn encode(owner: &str, cell: &RemovedCell) -> (Vec<u8>, Vec<u8>) {
    let RemovedCell { labels, pattern, sums } = cell;
    let row = SessionRow {
        pattern: *pattern as u8,
        user: labels.user.map(|user| user.0.into()),
        tags: labels.tags.iter().map(|tag| tag.0.into()).collect(),
        by_status: sums.by_status().to_vec(),
        cost: sums.cost.0,
        tokens: sums.tokens,
        duration_ms: sums.duration_ms,
    };
    let key = key_of(owner, cell);
    let value = codec::seal(&key, &[&codec::to_cbor(&row)]);
    (key, value)
}

fn decode(key: &[u8], value: &[u8]) -> Result<(Arc<str>, RemovedCell), CodecError> {
    let value = codec::unseal(RecordKind::Row, key, value)?;
    let row: SessionRow = codec::from_cbor(&value)?;
    let owner = key.strip_prefix(&[STATISTICS]).and_then(split_owner);
    let owner = owner.and_then(|(owner, _)| std::str::from_utf8(owner).ok());
    let owner = owner.ok_or_else(|| malformed("it has no owner"))?;
    let pattern = Pattern::ALL.get(usize::from(row.pattern)).copied();
    let spent = Spent { cost: NanoUsd(row.cost), tokens: row.tokens, duration_ms: row.duration_ms };
    let mut by_status = [0; Status::ALL.len()];
    let counts = by_status.get_mut(..row.by_status.len());
    let counts = counts.ok_or_else(|| malformed("it counts statuses that there are not"))?;
    counts.copy_from_slice(&row.by_status);
    let label = |label: ByteArray<16>| LabelKey(label.into());
    let cell = RemovedCell {
        labels: CellLabels {
            user: row.user.map(label),
            tags: row.tags.into_iter().map(label).collect(),
        },
        pattern: pattern.ok_or_else(|| malformed("it is of no pattern"))?,
        sums: Sums::new(by_status, spent),
    };
    if key_of(owner, &cell) != key {
        return Err(malformed("it is another cell"));
    }
    Ok((owner.into(), cell))
}

impl Table for StatisticsTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&STATISTICS)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        let (owner, name) = split_owner(key.strip_prefix(&[STATISTICS])?)?;
        Some(format!("statistics/{}/{}", text(owner), keys::hex(name)))
    }

    fn recover(&self, recovery: &mut Recovery<'_>) -> Result<(), OpenError> {
        recovery.each(&[STATISTICS], ReadExtent::Front, |index, key, value| {
            let (owner, cell) = decode(key, value)?;
            index.put_removed_cell(owner, cell);
            Ok(())
        })
    }

    fn check(&self, _: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        decode(key, value).map(drop)
    }
}

#[async_trait]
impl ReadStatistics for Embedded {
    async fn statistics(&self, query: StatisticsQuery) -> Result<Statistics, StoreError> {
        self.read(move |shared| Ok(shared.statistics(&query))).await
    }

    fn session_count(&self, owner: &Principal, user: Option<&str>) -> Result<u64, StoreError> {
        let shared = held(&self.shared).clone().ok_or(StoreError::Closed)?;
        let index = shared.index();
        Ok(index.session_count(owner, user))
    }
}
