//! Blobs: what snapshots have that does not fit into their rows, kept once for all that have it.
//!
//! | key | value |
//! | --- | --- |
//! | `b` kind digest | how many snapshots and templates refer to a blob |
//! | `c` kind digest | the bytes of a blob |
//!
//! A blob is named by its contents. Its bytes are written once. The count changes in the same commit as
//! what refers to it; the bytes go with the commit that lets go of the blob last.

use std::collections::HashMap;

use bytes::Bytes;

use super::super::disk::Disk;
use super::super::engine::{self, Batch, Class, Staged};
use super::super::keys;
use super::super::upkeep::audit::{self, Audit};
use super::super::upkeep::repair::{self, Repairer};
use super::snapshots::{Content, SnapshotCell};
use super::{Table, malformed};
use crate::StoreError;
use crate::codec::{self, CodecError, RecordKind};
use crate::upkeep::{Problem, UpkeepError};
use dormouse_domain::agent::Digest;

/// The prefix of the counts of blobs.
pub(in super::super) const BLOB: u8 = b'b';
/// The prefix of the bytes of blobs.
pub(in super::super) const CONTENT: u8 = b'c';

/// How often each blob is used.
pub(super) struct UseTable;

/// The bytes of blobs.
pub(super) struct BlobTable;

/// The blob whose count or bytes this key has.
pub(in super::super) fn blob_of(key: &[u8]) -> Option<BlobId> {
    let [BLOB | CONTENT, kind, digest @ ..] = key else { return None };
    let digest = Digest(digest.try_into().ok()?);
    [BlobId::Data(digest), BlobId::List(digest), BlobId::Chunk(digest)]
        .into_iter()
        .find(|id| id.kind() == *kind)
}

/// The count of a blob.
pub(in super::super) fn blob(id: &BlobId) -> [u8; 34] {
    of_blob(BLOB, id)
}

/// The bytes of a blob.
pub(in super::super) fn content(id: &BlobId) -> [u8; 34] {
    of_blob(CONTENT, id)
}

fn of_blob(prefix: u8, id: &BlobId) -> [u8; 34] {
    let mut key = [prefix; 34];
    key[1] = id.kind();
    key[2..].copy_from_slice(&id.digest().0);
    key
}

/// The name of a blob. Names of different kinds never meet: the digest of a chunk is not that of
/// the bytes which are kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) enum BlobId {
    /// The data of a state, by its digest.
    Data(Digest),
    /// The list of the chunks of a state, by its digest.
    List(Digest),
    /// A chunk, by the digest of what it was before it was compressed.
    Chunk(Digest),
}

impl BlobId {
    /// The byte that stands for its kind.
    pub(in super::super) fn kind(&self) -> u8 {
        match self {
            BlobId::Data(_) => b'd',
            BlobId::List(_) => b'l',
            BlobId::Chunk(_) => b'c',
        }
    }

    /// The digest.
    pub(in super::super) fn digest(&self) -> Digest {
        match self {
            BlobId::Data(digest) | BlobId::List(digest) | BlobId::Chunk(digest) => *digest,
        }
    }
}

/// All blobs that a snapshot refers to, each once. `list` reads the list of its chunks where that is a
/// blob itself; without it, what it names is left out.
pub(in super::super) fn named_by<E: From<CodecError>>(
    snapshot: &SnapshotCell<'_>,
    list: impl FnOnce(&BlobId) -> Result<Option<Bytes>, E>,
) -> Result<Vec<BlobId>, E> {
    let mut blobs = Vec::new();
    if let Content::Blob(digest) = snapshot.data {
        blobs.push(BlobId::Data(digest));
    }
    let chunks = match snapshot.chunks {
        Content::Inline(list) => codec::decode_chunks(list)?,
        Content::Blob(digest) => {
            let id = BlobId::List(digest);
            blobs.push(id);
            let list = list(&id)?;
            list.map_or(Ok(Vec::new()), |list| codec::decode_chunks(&list))?
        }
    };
    blobs.extend(chunks.iter().map(|chunk| BlobId::Chunk(chunk.digest)));
    blobs.sort_unstable();
    blobs.dedup();
    Ok(blobs)
}

/// The bytes of the blobs that a commit brings.
#[derive(Debug, Default)]
pub(in super::super) enum Contents {
    /// None.
    #[default]
    None,
    /// These, to be written with the commit.
    Here(Vec<(BlobId, Bytes)>),
    /// These, which are durable already.
    Staged {
        /// Which they are.
        ids: Vec<BlobId>,
        /// The bytes of those that are lists.
        lists: Vec<(BlobId, Bytes)>,
        /// What gives them their keys.
        staged: Staged,
    },
}

impl Contents {
    /// These blobs.
    pub(in super::super) fn of(blobs: Vec<(BlobId, Bytes)>) -> Contents {
        if blobs.is_empty() { Contents::None } else { Contents::Here(blobs) }
    }

    /// How many bytes have to be written with the commit.
    pub(in super::super) fn size(&self) -> usize {
        match self {
            Contents::None | Contents::Staged { .. } => 0,
            Contents::Here(blobs) => blobs.iter().map(|(_, bytes)| 64 + bytes.len()).sum(),
        }
    }

    /// Whether they are so large that they are better written before the commit.
    pub(in super::super) fn are_large(&self) -> bool {
        self.size() >= engine::STAGE
    }

    /// Write them before the commit.
    pub(in super::super) fn stage(self, disk: &Disk) -> Result<Contents, StoreError> {
        match self {
            Contents::Here(blobs) => {
                let key = |id: &BlobId| Bytes::copy_from_slice(&content(id));
                let values: Vec<_> =
                    blobs.iter().map(|(id, bytes)| (key(id), bytes.clone())).collect();
                let staged = disk.stage(&values)?;
                let ids = blobs.iter().map(|(id, _)| *id).collect();
                let is_list = |(id, _): &(BlobId, Bytes)| matches!(id, BlobId::List(_));
                Ok(Contents::Staged {
                    ids,
                    lists: blobs.into_iter().filter(is_list).collect(),
                    staged,
                })
            }
            other => Ok(other),
        }
    }

    /// The blobs.
    pub(in super::super) fn ids(&self) -> Vec<BlobId> {
        match self {
            Contents::None => Vec::new(),
            Contents::Here(blobs) => blobs.iter().map(|(id, _)| *id).collect(),
            Contents::Staged { ids, .. } => ids.clone(),
        }
    }

    /// The bytes of a list, where it is one of them.
    pub(in super::super) fn list(&self, id: &BlobId) -> Option<Bytes> {
        let here = match self {
            Contents::None => return None,
            Contents::Here(blobs) => blobs,
            Contents::Staged { lists, .. } => lists,
        };
        here.iter().find(|(of, _)| of == id).map(|(_, bytes)| bytes.clone())
    }

    /// Give those their keys that are wanted.
    pub(in super::super) fn put(self, batch: &mut Batch, wanted: impl Fn(&BlobId) -> bool) {
        match self {
            Contents::None => {}
            Contents::Here(blobs) => {
                for (id, bytes) in blobs.into_iter().filter(|(id, _)| wanted(id)) {
                    batch.put(Class::Rows, content(&id).to_vec(), bytes);
                }
            }
            Contents::Staged { ids, staged, .. } => {
                let wanted: std::collections::HashSet<_> =
                    ids.iter().filter(|id| wanted(id)).map(content).collect();
                batch.put_staged(staged, |key| wanted.contains(key));
            }
        }
    }
}

/// How many snapshots and templates refer to a blob, as it is kept.
pub(in super::super) fn write_uses(uses: u64) -> [u8; 8] {
    uses.to_le_bytes()
}

/// How many snapshots and templates refer to a blob.
pub(in super::super) fn read_uses(value: &[u8]) -> Result<u64, CodecError> {
    let malformed = |_| CodecError::Malformed("a count has another length".to_owned());
    value.try_into().map(u64::from_le_bytes).map_err(malformed)
}

impl Table for UseTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&BLOB)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        describe(BLOB, key).map(|name| format!("{name}/uses"))
    }

    fn is_part(&self) -> bool {
        true
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let uses = read_uses(&codec::unseal(RecordKind::Note, key, value)?)?;
        seen(audit, key)?.counted = uses;
        Ok(())
    }
}

impl Table for BlobTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&CONTENT)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        describe(CONTENT, key)
    }

    fn is_part(&self) -> bool {
        true
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let id = blob_of(key).ok_or_else(|| malformed("it is no blob"))?;
        match id {
            // Its name is that of what has been compressed; the checksum of the engine has to do.
            BlobId::Chunk(_) => {}
            BlobId::Data(digest) | BlobId::List(digest) if Digest::of(value) != digest => {
                return Err(malformed("it is another blob"));
            }
            BlobId::Data(_) => {}
            BlobId::List(digest) => {
                let chunks = codec::decode_chunks(value)?;
                let chunks = chunks.into_iter().map(|chunk| BlobId::Chunk(chunk.digest));
                audit.seen::<Seen>().lists.insert(digest, chunks.collect());
            }
        }
        audit.report().read.blobs += 1;
        seen(audit, key)?.bytes = BlobBytes::Good;
        Ok(())
    }

    fn lose(&self, audit: &mut Audit, key: &[u8]) {
        if let Ok(blob) = seen(audit, key) {
            blob.bytes = BlobBytes::Damaged;
        }
    }

    /// Each use is counted, and each blob is used.
    fn compare(&self, audit: &mut Audit) {
        let blobs = std::mem::take(&mut audit.seen::<Seen>().blobs);
        for (id, Blob { counted, used, bytes }) in &blobs {
            let name = keys::describe(&content(id));
            if counted != used {
                let what = format!("{name}: {counted} uses are counted, and there are {used}");
                audit.add(Problem::Miscounted, None, what);
            } else if *used == 0 && *bytes == BlobBytes::Good {
                audit.add(Problem::Stray, None, format!("nothing uses {name}"));
            }
        }
        audit.seen::<Seen>().blobs = blobs;
    }

    /// Count the uses of all blobs again.
    fn recount(&self, disk: &Disk) -> Result<(), UpkeepError> {
        let mut batch = Batch::default();
        let audited = audit::of(disk)?;
        let blobs = audited.found::<Seen>().into_iter().flat_map(|seen| &seen.blobs);
        for (id, Blob { counted, used, bytes }) in blobs {
            let key = blob(id);
            if *used == 0 {
                batch.delete(key.to_vec());
                batch.delete(content(id).to_vec());
            } else if counted != used && *bytes == BlobBytes::Good {
                let value = codec::seal(&key, &[&write_uses(*used)]);
                batch.put(Class::Inline, key.to_vec(), value);
            }
            if batch.size() > repair::BATCH {
                repair::write(disk, std::mem::take(&mut batch))?;
            }
        }
        repair::write(disk, batch)
    }
}

/// A blob: how often it is used, as it is counted and as it is, and its bytes.
#[derive(Debug, Default)]
struct Blob {
    counted: u64,
    used: u64,
    bytes: BlobBytes,
}

/// What is known of the bytes of a blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum BlobBytes {
    #[default]
    Missing,
    Damaged,
    Good,
}

/// What an audit has seen of blobs.
#[derive(Default)]
struct Seen {
    blobs: HashMap<BlobId, Blob>,
    /// The chunks of the lists that are blobs themselves.
    lists: HashMap<Digest, Vec<BlobId>>,
}

fn seen<'a>(audit: &'a mut Audit, key: &[u8]) -> Result<&'a mut Blob, CodecError> {
    let id = blob_of(key).ok_or_else(|| malformed("it is no blob"))?;
    Ok(audit.seen::<Seen>().blobs.entry(id).or_default())
}

fn describe(prefix: u8, key: &[u8]) -> Option<String> {
    match key.strip_prefix(&[prefix])? {
        [kind, digest @ ..] if digest.len() == 32 => {
            Some(format!("blob/{}/{}", char::from(*kind), keys::hex(digest)))
        }
        _ => None,
    }
}

/// Count one use of each blob of the snapshot that the value of this key is or has. Returns whether some
/// of them are not good, which has been told then.
pub(super) fn refer(
    audit: &mut Audit,
    key: &[u8],
    cell: &SnapshotCell<'_>,
) -> Result<bool, CodecError> {
    let is_exact = audit.is_exact();
    let seen = audit.seen::<Seen>();
    let mut all = Vec::new();
    if let Content::Blob(digest) = cell.data {
        all.push(BlobId::Data(digest));
    }
    match cell.chunks {
        Content::Inline(list) => {
            let chunks = codec::decode_chunks(list)?;
            all.extend(chunks.into_iter().map(|chunk| BlobId::Chunk(chunk.digest)));
        }
        Content::Blob(digest) => {
            all.push(BlobId::List(digest));
            all.extend(seen.lists.get(&digest).into_iter().flatten());
        }
    }
    all.sort_unstable();
    all.dedup();
    let mut lacks = Vec::new();
    for id in all {
        let blob = seen.blobs.entry(id).or_default();
        blob.used += 1;
        let is_told = match blob.bytes {
            BlobBytes::Good => false,
            BlobBytes::Damaged => true,
            // The log may still have it.
            BlobBytes::Missing => is_exact,
        };
        if is_told {
            lacks.push(id);
        }
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
pub(super) fn are_there(repairer: &Repairer<'_>, cell: &SnapshotCell<'_>) -> bool {
    let Some(seen) = repairer.found::<Seen>() else { return false };
    let has = |id: BlobId| seen.blobs.get(&id).is_some_and(|blob| blob.bytes == BlobBytes::Good);
    let data = match cell.data {
        Content::Inline(_) => true,
        Content::Blob(digest) => has(BlobId::Data(digest)),
    };
    let list = match cell.chunks {
        Content::Inline(list) => Some(Bytes::copy_from_slice(list)),
        Content::Blob(digest) => repairer.disk.get(&content(&BlobId::List(digest))).ok().flatten(),
    };
    let chunks = list.and_then(|list| codec::decode_chunks(&list).ok());
    data && chunks.is_some_and(|chunks| chunks.iter().all(|chunk| has(BlobId::Chunk(chunk.digest))))
}
