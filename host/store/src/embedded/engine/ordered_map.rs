//! What the engine asks of its index: an ordered map on the disk, changed by atomic batches.
//!
//! Only the applier changes it. After a crash it has what was flushed, and of the batches after
//! that any number, whole and in order.
//!
//! Keys that begin with a zero byte are the engine's own:
//!
//! | key | value |
//! | --- | --- |
//! | `0 s` | which store this is: [`Identity`] |
//! | `0 a` | up to where the log has been applied: [`Applied`] |
//! | `0 r` | a repair has not finished |
//! | `0 p` number | how many bytes of a pack are live; there is none where that would be 0 |

use std::fmt;
use std::io;

/// The changes of a batch: keys with their new values, or `None` to remove them.
pub(crate) type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// An ordered map on the disk.
pub(crate) trait OrderedMap: Send + Sync + fmt::Debug {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;
    /// The first `limit` keys from `from` on that begin with `prefix`, in order, with their values.
    fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> io::Result<IndexEntries>;
    /// The last key that begins with `prefix` and lies before `before`, with its value.
    fn last(&self, prefix: &[u8], before: Option<&[u8]>) -> io::Result<Option<IndexEntry>>;
    /// Make these changes, all or none. Readers see them at once.
    fn apply(&self, changes: Changes) -> io::Result<()>;
    /// Make durable what has been applied.
    fn flush(&self) -> io::Result<()>;
    /// The room that it takes on the disk, in bytes.
    fn bytes(&self) -> u64;
}

/// A key with its value.
pub(crate) type IndexEntry = (Vec<u8>, Vec<u8>);
/// Keys with their values, in order.
pub(crate) type IndexEntries = Vec<IndexEntry>;

/// Go through the keys that begin with `prefix`, in order, with their values. What is changed
/// meanwhile is seen or not.
pub(super) fn each<E: From<io::Error>>(
    index: &dyn OrderedMap,
    prefix: &[u8],
    mut take: impl FnMut(Vec<u8>, Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let mut from = prefix.to_vec();
    loop {
        let run = index.scan(&from, prefix, RUN)?;
        let Some((last, _)) = run.last() else { return Ok(()) };
        from = [last.as_slice(), &[0]].concat();
        for (key, value) in run {
            take(key, value)?;
        }
    }
}

/// How many keys are read at a time.
const RUN: usize = 1024;

/// What the engine's own keys begin with.
pub(super) const OWN: u8 = 0;
/// The key of [`Identity`].
pub(super) const IDENTITY: &[u8] = &[OWN, b's'];
/// The key of [`Applied`].
pub(super) const APPLIED: &[u8] = &[OWN, b'a'];
/// The key that is there while a repair has not finished: 1 where the log is given up.
pub(super) const REPAIR: &[u8] = &[OWN, b'r'];
/// What the keys of the counts of packs begin with.
pub(super) const PACKS: &[u8] = &[OWN, b'p'];

/// The version of the format of the directory.
pub(super) const FORMAT: u32 = 1;

/// Which store this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The version of its format.
    pub(super) format: u32,
    /// A random number that all checksums of its log begin with.
    pub(super) salt: [u8; 16],
    /// Whether it has a log. Where it had one and there is none, it was lost.
    pub(super) begun: bool,
}

impl Identity {
    /// As it is kept.
    pub(super) fn write(&self) -> Vec<u8> {
        let format = self.format.to_le_bytes();
        sealed(IDENTITY, &[&format, self.salt.as_slice(), &[u8::from(self.begun)]].concat())
    }

    /// What the checksums of its log begin with.
    pub(super) fn salt(&self) -> u32 {
        crc32c::crc32c(&self.salt)
    }

    /// From what is kept. `None` where it is damaged.
    pub(super) fn read(value: &[u8]) -> Option<Identity> {
        let [format @ .., begun] = unsealed(IDENTITY, value)? else { return None };
        let (format, salt) = format.split_first_chunk()?;
        Some(Identity {
            format: u32::from_le_bytes(*format),
            salt: salt.try_into().ok()?,
            begun: *begun == 1,
        })
    }
}

/// Up to where the log has been applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// The sequence number of the last group that the index has all of.
    pub(super) sequence: u64,
    /// All packs that the index has ever named have lower numbers.
    pub(super) next_pack: u64,
}

impl Applied {
    /// As it is kept.
    pub(super) fn write(&self) -> Vec<u8> {
        let (sequence, next_pack) = (self.sequence.to_le_bytes(), self.next_pack.to_le_bytes());
        sealed(APPLIED, &[sequence, next_pack].concat())
    }

    /// From what is kept. `None` where it is damaged.
    pub(super) fn read(value: &[u8]) -> Option<Applied> {
        let (sequence, next_pack) = unsealed(APPLIED, value)?.split_first_chunk()?;
        Some(Applied {
            sequence: u64::from_le_bytes(*sequence),
            next_pack: u64::from_le_bytes(next_pack.try_into().ok()?),
        })
    }
}

/// The key of the count of a pack.
pub(super) fn pack_key(number: u64) -> Vec<u8> {
    [PACKS, &number.to_be_bytes()].concat()
}

/// The count of live bytes of a pack, as it is kept.
pub(super) fn write_count(number: u64, live: u64) -> Vec<u8> {
    sealed(&pack_key(number), &live.to_le_bytes())
}

/// A pack and its count of live bytes. `None` where the count is damaged.
pub(super) fn read_count(key: &[u8], value: &[u8]) -> Option<(u64, u64)> {
    let number = u64::from_be_bytes(key.strip_prefix(PACKS)?.try_into().ok()?);
    let live = u64::from_le_bytes(unsealed(key, value)?.try_into().ok()?);
    Some((number, live))
}

/// Whether a key is one of the engine's own.
pub(crate) fn is_own(key: &[u8]) -> bool {
    key.first() == Some(&OWN)
}

fn sealed(key: &[u8], value: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), value);
    [&crc.to_le_bytes(), value].concat()
}

fn unsealed<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (crc, value) = value.split_first_chunk()?;
    let good = crc32c::crc32c_append(crc32c::crc32c(key), value) == u32::from_le_bytes(*crc);
    good.then_some(value)
}
