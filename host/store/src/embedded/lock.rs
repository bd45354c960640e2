//! The directory of a store: held by one process at a time, and removed after use if temporary.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::OpenError;
use dormouse_base::clock::Clock;

/// How long to wait for a store of this very process, which may have been dropped just now and be
/// about to let go: this many times [`PAUSE`].
pub(super) const TRIES: u32 = 100;
pub(super) const PAUSE: Duration = Duration::from_millis(20);

const LOCK: &str = "lock";

/// One of these makes a directory one of ours, whatever else is in it.
const OURS: [&str; 4] = [LOCK, super::disk::FOLDER, "sled", "components"];

/// What may lie in a directory that is to become one of ours: what a file system makes, what an operator
/// puts there before the first start, and the cache of compiled agents.
const HARMLESS: [&str; 3] = ["lost+found", "dormouse.toml", "compiled"];

/// The directory is ours for as long as this lives. The kernel lets go of it should we crash.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Take the directory at `root`, making it if it is not there.
    pub(super) fn take(root: &Path) -> Result<Lock, OpenError> {
        make_directory(root)?;
        let path = root.join(LOCK);
        if let Some(found) = foreign(root)? {
            return Err(OpenError::Foreign { path: root.to_owned(), found });
        }
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        for tries in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(error.into()),
                Err(TryLockError::WouldBlock) => {
                    let pid = holder(&mut file);
                    if pid != Some(std::process::id()) || tries == TRIES {
                        return Err(OpenError::Locked { path: root.to_owned(), pid });
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
        if let Err(error) = sign(&mut file) {
            // It is for people to read, and on a full disk there is no room for it.
            tracing::debug!(%error, "the lock does not say who has it");
        }
        Ok(Lock { _file: file })
    }
}

/// A directory that is removed, with all that is in it, when this is dropped.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

impl Temporary {
    /// Make one.
    pub(super) fn new(clock: &Clock) -> io::Result<Temporary> {
        let name = format!("dormouse-{}", clock.new_id());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Temporary(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a temporary store was not removed");
        }
    }
}

fn make_directory(root: &Path) -> Result<(), OpenError> {
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => return Err(OpenError::NotADirectory(root.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    // What agents and their users say is nobody else's business.
    fs::DirBuilder::new().mode(0o700).recursive(true).create(root)?;
    let above = root.parent().filter(|above| !above.as_os_str().is_empty());
    File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

/// Something that lies in a directory that is none of ours. Hidden files do not count.
fn foreign(root: &Path) -> io::Result<Option<String>> {
    if OURS.iter().any(|ours| root.join(ours).exists()) {
        return Ok(None);
    }
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !HARMLESS.contains(&name.as_str()) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn sign(file: &mut File) -> io::Result<()> {
    let pid = std::process::id().to_string();
    file.rewind()?;
    file.write_all(pid.as_bytes())?;
    file.set_len(pid.len() as u64)
}

fn holder(file: &mut File) -> Option<u32> {
    let mut pid = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut pid)).ok()?;
    pid.parse().ok()
}
