//! A file that holds some space, so that a store opens on a disk that others have filled: sled fills up
//! its last segment with zeros when it is opened after a crash.
//!
//! It is removed where there is less space than it takes, and made again when a store is opened and
//! there is enough. It holds space for several starts in a row.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::FallocateFlags;

/// The file.
const NAME: &str = "reserve";
/// How long it is, in bytes.
const SIZE: u64 = 8 << 20;

/// Give the space up where it is needed.
pub(super) fn release(root: &Path) -> io::Result<()> {
    if free(root)? >= SIZE {
        return Ok(());
    }
    match std::fs::remove_file(root.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Hold the space, where there is enough. A store without it is as good, until the disk is full.
pub(super) fn hold(root: &Path) {
    let held = || -> io::Result<()> {
        let path = root.join(NAME);
        if path.exists() || free(root)? < 4 * SIZE {
            return Ok(());
        }
        let file = File::create_new(path)?;
        Ok(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, SIZE)?)
    };
    if let Err(error) = held() {
        tracing::debug!(%error, "there is no reserve for a full disk");
    }
}

fn free(root: &Path) -> io::Result<u64> {
    let file_system = rustix::fs::statvfs(root)?;
    Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
}
