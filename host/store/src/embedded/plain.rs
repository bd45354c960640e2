//! Data directories of the layouts before the engine. One is brought to the first layout with it (3) when
//! it is opened, and from there to the present one (`recovery`):
//!
//! ```text
//!  sled/           records, snapshots, turns, events, agents, templates
//!  values/         what was too large for sled: a file each, and blobs
//!  components/     the bytes of agents, named by their digest
//!      │
//!      ▼           read [old], and written anew [copy]
//!  store.new/      a store of layout 3; begun again where it was cut off
//!      │
//!      ▼           closed, synced, renamed
//!  store/          it opens; only then do the three folders go
//! ```
//! Until the rename the directory is what it was, after it the new store is whole. So a crash at any
//! moment costs time, and an error leaves everything as it was. It takes as much room again.
//!
//! What is damaged does not stop it. A record, a turn or a template that cannot be read is set aside.
//! A value of which a part is lost is kept without that part, and so is found damaged by whoever reads
//! it: its session is in `error` then. Each is named in the log. Only what reads as of a newer version
//! ends it, and what keeps sled from being read. Where anything was damaged, or nothing points to a
//! file that is there, the old folders are kept in `earlier/`, for whoever wants to look into them.

mod cell;
mod copy;
mod fill;
mod old;

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use self::copy::Counts;
use self::old::{LAYOUTS, Old};
use super::disk::{self, Disk};
use super::{OpenError, Options, keys, recovery};
use dormouse_base::clock::Clock;

/// The folders of the layouts before.
const FOLDERS: [&str; 3] = [SLED, VALUES, COMPONENTS];
const SLED: &str = "sled";
const VALUES: &str = "values";
const COMPONENTS: &str = "components";
/// Where they are kept if not all that is in them could be carried over.
const KEPT: &str = "earlier";
/// Where the new store is made.
const NEW: &str = "store.new";

/// Bring the directory at `root` to layout 3, where it has one before. Who calls this has
/// the directory to itself.
///
/// # Errors
/// [`OpenError::NewerFormat`] and [`OpenError::Damaged`] where it is not such that it could be read;
/// [`OpenError::Refused`] where writing failed. It is as it was then.
pub(super) fn convert(root: &Path, options: &Options) -> Result<(), OpenError> {
    convert_to(root, options, || Disk::open_in(root, NEW, options, Arc::new(|_| {})))
}

/// The same with a new store that `open` opens.
pub(super) fn convert_to(
    root: &Path,
    options: &Options,
    open: impl FnOnce() -> Result<Disk, OpenError>,
) -> Result<(), OpenError> {
    if root.join(disk::FOLDER).try_exists()? {
        return Ok(());
    }
    if !root.join(SLED).try_exists()? {
        return refuse_remains(root);
    }
    let clock = Clock::real();
    let since = clock.monotonic();
    let old = Old::open(root, options.cache_bytes)?;
    let Some(secret) = check(&old)? else {
        // It has only just been made.
        drop(old);
        return refuse_remains(root);
    };
    tracing::info!(
        directory = %root.display(),
        "the data directory is of an earlier Dormouse: its contents are written anew"
    );
    let made = remove_folder(&root.join(NEW)).map_err(OpenError::from).and_then(|()| {
        // The engine does not panic; should it, the directory is as it was.
        catch_unwind(AssertUnwindSafe(|| make(root, &old, secret, open)))
            .unwrap_or_else(|_| Err(io::Error::other("writing the new store panicked").into()))
    });
    drop(old);
    let Counts { sessions, snapshots, turns, events, agents, templates, blobs, damaged, strays } =
        made.map_err(|error| failed(root, error))?;
    let seconds = (clock.monotonic() - since).as_secs_f64();
    tracing::info!(
        sessions,
        snapshots,
        turns,
        events,
        agents,
        templates,
        blobs,
        damaged,
        strays,
        seconds,
        "the data directory has been written anew"
    );
    Ok(())
}

/// Remove what a conversion has left of the layouts before, once the store has opened, or move it to
/// where it is kept. What cannot be removed now is removed at a later start.
pub(super) fn remove(root: &Path) {
    let kept = root.join(KEPT);
    let is_kept = kept.exists();
    for name in FOLDERS.into_iter().filter(|name| root.join(name).exists()) {
        let old = root.join(name);
        let gone = if is_kept {
            tracing::warn!(
                folder = %kept.join(name).display(),
                "not all of an old folder could be carried over, and it is kept here"
            );
            fs::rename(&old, kept.join(name))
        } else {
            remove_folder(&old)
        };
        if let Err(error) = gone {
            tracing::warn!(folder = name, %error, "an old folder could not be removed");
        }
    }
    if let Err(error) = remove_folder(&root.join(NEW)) {
        tracing::warn!(folder = NEW, %error, "an unfinished folder could not be removed");
    }
}

/// The secret of the store, if it has ever been begun to be used.
fn check(old: &Old) -> Result<Option<[u8; 32]>, OpenError> {
    let Some(layout) = old.note(keys::FORMAT)? else {
        return if old.is_empty()? {
            Ok(None)
        } else {
            Err(OpenError::Damaged("it does not say which layout it has".to_owned()))
        };
    };
    if !matches!(*layout, [one] if LAYOUTS.contains(&one)) {
        return Err(OpenError::NewerFormat(format!("its layout is {layout:?}")));
    }
    let secret = old.note(keys::SECRET)?.and_then(|secret| <[u8; 32]>::try_from(&*secret).ok());
    secret.map(Some).ok_or_else(|| OpenError::Damaged("its secret is lost".to_owned()))
}

/// Make the new store, and give it its name.
fn make(
    root: &Path,
    old: &Old,
    secret: [u8; 32],
    open: impl FnOnce() -> Result<Disk, OpenError>,
) -> Result<Counts, OpenError> {
    let disk = open()?;
    // The next layouts are made when it is opened.
    recovery::create(&disk, recovery::WITHOUT_OWNERS, Some(secret))?;
    let counts = copy::copy(old, &disk)?;
    disk.close()?;
    let new = root.join(NEW);
    // The engine has synced what it has written. This is the only copy from now on.
    sync(&new)?;
    if counts.damaged + counts.strays > 0 {
        fs::create_dir_all(root.join(KEPT))?;
    }
    fs::rename(&new, root.join(disk::FOLDER))?;
    File::open(root)?.sync_all()?;
    Ok(counts)
}

fn failed(root: &Path, error: OpenError) -> OpenError {
    if let Err(error) = remove_folder(&root.join(NEW)) {
        tracing::warn!(folder = NEW, %error, "an unfinished folder could not be removed");
    }
    match error {
        OpenError::Io { error, .. } => OpenError::Refused(format!(
            "the data directory is of an earlier Dormouse, and its contents could not be written \
             anew ({error}); it is as it was. It needs about as much room again as it takes: see to \
             that, and start again"
        )),
        other => other,
    }
}

/// Without its index nobody knows what is in the other folders.
fn refuse_remains(root: &Path) -> Result<(), OpenError> {
    for name in [VALUES, COMPONENTS] {
        let is_used = match fs::read_dir(root.join(name)) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error.into()),
        };
        if is_used {
            return Err(OpenError::Refused(format!(
                "the folder `{SLED}` of the data directory is missing or empty though there is \
                 something in `{name}`; put it back, or move `{name}` away to begin with an empty \
                 store"
            )));
        }
    }
    Ok(())
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Sync a folder and all that is in it.
fn sync(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}
