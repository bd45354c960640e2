//! How much a workspace may hold, and how much it holds.

use crate::error::{Error, QuotaKind};
use crate::{MAX_FILE, MAX_NAMES};

/// How much a workspace may hold. Where it holds more already, because it was made under other quotas, it cannot grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// The bytes of all files and of the targets of symbolic links. A sparse file counts in full, a file with
    /// several names once, and one that is unlinked as long as it is open.
    pub bytes: u64,
    /// The names in all directories: files, directories and links. A file that is unlinked counts as long as it is open.
    /// At most [`MAX_NAMES`].
    pub names: u64,
    /// The bytes of one file; at most [`MAX_FILE`].
    pub file_bytes: u64,
}

/// 256 MiB, 50,000 files, 100 MiB a file.
impl Default for Quotas {
    fn default() -> Quotas {
        Quotas { bytes: 256 << 20, names: 50_000, file_bytes: 100 << 20 }
    }
}

/// How much a tree holds, in the terms of [`Quotas`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The bytes of all files and of the targets of symbolic links.
    pub bytes: u64,
    /// The names in all directories.
    pub names: u64,
}

impl Quotas {
    /// Whether a file of `old` bytes may have `new` bytes, and so many bytes are held then.
    pub(crate) fn resized(&self, usage: &Usage, old: u64, new: u64) -> Result<u64, Error> {
        if new > old && new > self.file_bytes.min(MAX_FILE) {
            return Err(Error::Quota(QuotaKind::FileBytes));
        }
        let bytes = usage.bytes.saturating_sub(old).saturating_add(new);
        if new > old && bytes > self.bytes {
            return Err(Error::Quota(QuotaKind::Bytes));
        }
        Ok(bytes)
    }

    /// Whether there is room for one more name.
    pub(crate) fn named(&self, usage: &Usage) -> Result<(), Error> {
        if usage.names >= self.names.min(MAX_NAMES) {
            Err(Error::Quota(QuotaKind::Names))
        } else {
            Ok(())
        }
    }
}
