//! The graph of blobs as an audit has seen it: whether each edge is counted, and what hangs below what cannot
//! be read; and how a repair counts again.

use std::collections::{HashMap, HashSet};

use super::super::super::disk::Disk;
use super::super::super::engine::{Batch, Class};
use super::super::super::keys;
use super::super::super::upkeep::audit::{self, Audit};
use super::super::super::upkeep::repair::{self, Repairer};
use super::{BlobId, blob, content, named_by, unused, write_uses};
use crate::codec::{self, CodecError};
use crate::embedded::tables::snapshots::SnapshotCell;
use crate::upkeep::{Problem, UpkeepError};
use dormouse_domain::agent::Digest;

/// What an audit has seen of blobs.
#[derive(Default)]
pub(super) struct Graph {
    blobs: HashMap<BlobId, Blob>,
    /// What each node names.
    nodes: HashMap<BlobId, Vec<BlobId>>,
    /// The chunks of the lists that are blobs themselves.
    lists: HashMap<Digest, Vec<BlobId>>,
    /// Of what has been followed to the end: what cannot be read there, if anything.
    followed: HashMap<BlobId, Option<BlobId>>,
}

/// A blob: how often it is named, as it is counted and as it is, and its bytes.
#[derive(Debug, Default)]
struct Blob {
    count: Count,
    is_listed: bool,
    /// How many rows name it.
    rows: u64,
    bytes: BlobBytes,
}

/// What is known of the count of a blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Count {
    #[default]
    Missing,
    Damaged,
    Good(u64),
}

/// What is known of the bytes of a blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum BlobBytes {
    #[default]
    Missing,
    Damaged,
    Good,
}

impl Graph {
    fn blob(&mut self, id: BlobId) -> &mut Blob {
        self.blobs.entry(id).or_default()
    }

    /// A blob is counted so often.
    pub(super) fn count(&mut self, id: BlobId, uses: u64) {
        self.blob(id).count = Count::Good(uses);
    }

    /// The count of a blob cannot be read.
    pub(super) fn lose_count(&mut self, id: BlobId) {
        self.blob(id).count = Count::Damaged;
    }

    /// A blob is to be released.
    pub(super) fn list_unused(&mut self, id: BlobId) {
        self.blob(id).is_listed = true;
    }

    /// The bytes of a blob are good.
    pub(super) fn find(&mut self, id: BlobId) {
        self.blob(id).bytes = BlobBytes::Good;
    }

    /// The bytes of a blob cannot be read.
    pub(super) fn lose(&mut self, id: BlobId) {
        self.blob(id).bytes = BlobBytes::Damaged;
    }

    /// A node names these, each once.
    pub(super) fn node(&mut self, id: BlobId, children: Vec<BlobId>) {
        self.nodes.insert(id, children);
    }

    /// A list names these chunks.
    pub(super) fn list(&mut self, digest: Digest, chunks: Vec<BlobId>) {
        self.lists.insert(digest, chunks);
    }

    /// The blobs that a row names, each once.
    fn named_by(&self, cell: &SnapshotCell<'_>) -> Result<Vec<BlobId>, CodecError> {
        let mut of_list = Vec::new();
        let mut named = named_by(cell, |list| {
            of_list = self.lists.get(&list.digest()).cloned().unwrap_or_default();
            Ok::<_, CodecError>(None)
        })?;
        named.append(&mut of_list);
        named.sort_unstable();
        named.dedup();
        Ok(named)
    }

    /// The first blob that cannot be read, of this one and all below it. Where not all keys are of one
    /// moment, what is missing may be in the log.
    fn lacks(&mut self, id: BlobId, is_exact: bool) -> Option<BlobId> {
        let (mut open, mut seen) = (vec![id], HashSet::new());
        let mut lacks = None;
        while let Some(id) = open.pop() {
            if let Some(known) = self.followed.get(&id) {
                lacks = *known;
            } else if seen.insert(id) {
                let is_bad = match self.blobs.get(&id).map_or(BlobBytes::Missing, |blob| blob.bytes)
                {
                    BlobBytes::Good => false,
                    BlobBytes::Damaged => true,
                    BlobBytes::Missing => is_exact,
                };
                lacks = is_bad.then_some(id);
                open.extend(self.nodes.get(&id).into_iter().flatten());
            }
            if lacks.is_some() {
                break;
            }
        }
        match lacks {
            Some(_) => drop(self.followed.insert(id, lacks)),
            None => self.followed.extend(seen.into_iter().map(|id| (id, None))),
        }
        lacks
    }

    /// How many rows, and nodes out of these, name each blob.
    fn uses<'a>(&'a self, nodes: impl Iterator<Item = &'a BlobId>) -> HashMap<BlobId, u64> {
        let rows = self.blobs.iter().filter(|(_, blob)| blob.rows > 0);
        let mut uses: HashMap<BlobId, u64> = rows.map(|(id, blob)| (*id, blob.rows)).collect();
        for child in nodes.filter_map(|id| self.nodes.get(id)).flatten() {
            *uses.entry(*child).or_default() += 1;
        }
        uses
    }

    /// All that hangs below rows.
    fn reachable(&self) -> HashSet<BlobId> {
        let rows = self.blobs.iter().filter(|(_, blob)| blob.rows > 0);
        let mut open: Vec<BlobId> = rows.map(|(id, _)| *id).collect();
        let mut reachable = HashSet::new();
        while let Some(id) = open.pop() {
            if reachable.insert(id) {
                open.extend(self.nodes.get(&id).into_iter().flatten());
            }
        }
        reachable
    }
}

/// Count one use of each blob that the row of this key names. Returns whether some of them, or of what hangs
/// below them, are not good, which has been told then.
pub(in crate::embedded::tables) fn refer(
    audit: &mut Audit,
    key: &[u8],
    cell: &SnapshotCell<'_>,
) -> Result<bool, CodecError> {
    let is_exact = audit.is_exact();
    let graph = audit.seen::<Graph>();
    let named = graph.named_by(cell)?;
    let mut lacks = Vec::new();
    for id in named {
        graph.blob(id).rows += 1;
        lacks.extend(graph.lacks(id, is_exact));
    }
    let Some(first) = lacks.first() else { return Ok(false) };
    let what = format!(
        "{}: {} of its blobs cannot be read, {} first",
        keys::describe(key),
        lacks.len(),
        keys::describe(&content(first))
    );
    audit.add(Problem::Missing, keys::concerned(key), what);
    Ok(true)
}

/// Whether all blobs of a snapshot are there, as an audit has seen them.
pub(in crate::embedded::tables) fn are_there(
    repairer: &Repairer<'_>,
    cell: &SnapshotCell<'_>,
) -> bool {
    let Some(graph) = repairer.found::<Graph>() else { return false };
    let Ok(named) = graph.named_by(cell) else { return false };
    // A list that is not there names nothing, and is bad itself. All rows have been followed.
    named.iter().all(|id| graph.followed.get(id) == Some(&None))
}

/// Tell where a count is wrong, and what is neither named nor listed.
pub(super) fn compare(audit: &mut Audit) {
    let graph = std::mem::take(audit.seen::<Graph>());
    let uses = graph.uses(graph.nodes.keys());
    for (id, Blob { count, is_listed, bytes, .. }) in &graph.blobs {
        let name = keys::describe(&content(id));
        let used = uses.get(id).copied().unwrap_or(0);
        match *count {
            // It has been told.
            Count::Damaged => {}
            Count::Good(counted) if counted != used || *is_listed => {
                let what = format!("{name}: {counted} uses are counted, and there are {used}");
                audit.add(Problem::Miscounted, None, what);
            }
            Count::Good(_) => {}
            Count::Missing if used > 0 => {
                let what = format!("{name}: no uses are counted, and there are {used}");
                audit.add(Problem::Miscounted, None, what);
            }
            Count::Missing if !*is_listed && *bytes == BlobBytes::Good => {
                audit.add(Problem::Stray, None, format!("nothing uses {name}"));
            }
            Count::Missing if *is_listed && *bytes == BlobBytes::Missing => {
                let what = format!("{name} is to be released, and is not there");
                audit.add(Problem::Stray, None, what);
            }
            Count::Missing => {}
        }
    }
    *audit.seen::<Graph>() = graph;
}

/// Count again all that hangs below rows, and remove what does not: then nothing is left to be released.
pub(super) fn recount(disk: &Disk) -> Result<(), UpkeepError> {
    let mut batch = Batch::default();
    let audited = audit::of(disk)?;
    let Some(graph) = audited.found::<Graph>() else { return Ok(()) };
    let reachable = graph.reachable();
    let uses = graph.uses(reachable.iter());
    for (id, Blob { count, is_listed, .. }) in &graph.blobs {
        let key = blob(id);
        match uses.get(id) {
            Some(used) if *count != Count::Good(*used) => {
                let value = codec::seal(&key, &[&write_uses(*used)]);
                batch.put(Class::Inline, key.to_vec(), value);
            }
            Some(_) => {}
            None => {
                batch.delete(key.to_vec());
                batch.delete(content(id).to_vec());
            }
        }
        if *is_listed {
            batch.delete(unused(id).to_vec());
        }
        if batch.size() > repair::BATCH {
            repair::write(disk, std::mem::take(&mut batch))?;
        }
    }
    repair::write(disk, batch)
}
