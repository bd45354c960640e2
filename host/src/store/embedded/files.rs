//! Values that are too large for sled, and the components of agents: files of their own. Blobs that
//! are written with one commit share a file: see `blob`.
//!
//! A file is written under a temporary name, synced, renamed, and its directory synced, before the
//! commit that points to it. It is never changed. It is unlinked after the commit that lets go of
//! it is durable. Each file of `values/` that something points to has a key in sled, written and
//! removed in those same commits: what a crash leaves behind has none, and goes at the next start.

use std::collections::HashSet;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, FileExt, OpenOptions};

use super::blob::{BlobFile, Place};
use crate::agent::Digest;
use crate::session::id::SessionId;
use crate::store::StoreError;
use crate::store::codec::{self, CodecError, Kind};

/// The name of a file in `values/`: whose it is, and a number that is never used again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileName(Arc<str>);

/// Whose a file is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// It goes with the session.
    Session(SessionId),
    /// It stays as long as the log.
    Log,
    /// It belongs to an agent.
    Agents,
    /// It holds blobs, which belong to nobody alone.
    Blobs,
}

impl Owner {
    /// What the names of all its files begin with.
    pub(super) fn prefix(self) -> String {
        match self {
            Owner::Session(id) => format!("{}-", id.0.simple()),
            Owner::Log => "log-".to_owned(),
            Owner::Agents => "agents-".to_owned(),
            Owner::Blobs => "blobs-".to_owned(),
        }
    }
}

impl FileName {
    /// The name as the directory has it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in a value. Only what [`Names::name`] makes is one: nothing else is ever opened.
    pub(super) fn read(bytes: &[u8]) -> Result<FileName, CodecError> {
        let name = std::str::from_utf8(bytes).ok();
        name.filter(|name| number_of(name).is_some())
            .map(|name| FileName(name.into()))
            .ok_or_else(|| CodecError::Malformed("it names no file of the store".to_owned()))
    }
}

fn number_of(name: &str) -> Option<u64> {
    let (owner, number) = name.split_once('-')?;
    let good = owner.bytes().all(|byte| byte.is_ascii_alphanumeric()) && number.len() == 16;
    good.then(|| u64::from_str_radix(number, 16).ok())?
}

/// Gives files their names.
#[derive(Clone, Debug)]
pub(super) struct Names(Arc<AtomicU64>);

impl Names {
    /// A name that no other file has had.
    pub(super) fn name(&self, owner: Owner) -> FileName {
        FileName(format!("{}{:016x}", owner.prefix(), self.number()).into())
    }

    fn number(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The two directories of files.
#[derive(Debug)]
pub(super) struct Files {
    values: Dir,
    components: Dir,
    names: Names,
    bytes: AtomicU64,
}

/// A component that has been written, but has not got its name yet.
#[derive(Debug)]
pub(super) struct StagedComponent {
    temporary: String,
    digest: Digest,
}

const TEMPORARY: &str = ".new";

impl Files {
    /// Open the directories below `root`, making those that are not there.
    pub(super) fn open(root: &Path) -> io::Result<Files> {
        let open = |name: &str| {
            let path = root.join(name);
            std::fs::create_dir_all(&path)?;
            Dir::open_ambient_dir(path, ambient_authority())
        };
        Ok(Files {
            values: open("values")?,
            components: open("components")?,
            names: Names(Arc::new(AtomicU64::new(1))),
            bytes: AtomicU64::new(0),
        })
    }

    /// What gives new files their names.
    pub(super) fn names(&self) -> Names {
        self.names.clone()
    }

    /// Bytes in all files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Write files, and return when they and their names are durable.
    pub(super) fn write(&self, files: &[(FileName, Vec<u8>)]) -> Result<(), StoreError> {
        let written = files.iter().try_for_each(|(name, payload)| {
            let sealed = codec::seal(name.as_str().as_bytes(), &[payload]);
            let temporary = format!("{}{TEMPORARY}", name.as_str());
            self.write_new(&self.values, &temporary, &sealed)?;
            self.values.rename(&temporary, &self.values, name.as_str())
        });
        let written = written.and_then(|()| sync(&self.values));
        written.map_err(|error| {
            self.remove(files.iter().map(|(name, _)| name));
            write_error(&error)
        })
    }

    /// Write a file of blobs, and return when it and its name are durable.
    pub(super) fn write_blobs(&self, blobs: &BlobFile) -> Result<(), StoreError> {
        let name = blobs.name.as_str();
        let temporary = format!("{name}{TEMPORARY}");
        let written = self.write_with(&self.values, &temporary, |file| {
            let mut file = BufWriter::new(file);
            blobs.pieces().try_for_each(|(envelope, bytes)| {
                file.write_all(&envelope)?;
                file.write_all(bytes)
            })?;
            file.flush()
        });
        let written = written
            .and_then(|()| self.values.rename(&temporary, &self.values, name))
            .and_then(|()| sync(&self.values));
        written.map_err(|error| {
            self.unlink(&self.values, &temporary);
            self.unlink(&self.values, name);
            write_error(&error)
        })
    }

    /// A file of `values/`, to read blobs from; `None` where it is not there.
    pub(super) fn open_values(&self, name: &FileName) -> Result<Option<File>, StoreError> {
        match self.values.open(name.as_str()) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::Io(error.to_string().into())),
        }
    }

    /// The payload of a file; `None` where it is not there.
    pub(super) fn read(&self, kind: Kind, name: &FileName) -> Result<Option<Bytes>, StoreError> {
        let sealed = match self.values.read(name.as_str()) {
            Ok(sealed) => Bytes::from(sealed),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Io(error.to_string().into())),
        };
        let damaged = |error: CodecError| {
            tracing::error!(file = name.as_str(), %error, "a file of the store is damaged");
            StoreError::Damaged(format!("value/{}", name.as_str()))
        };
        let payload = codec::unseal(kind, name.as_str().as_bytes(), &sealed).map_err(damaged)?;
        Ok(Some(match payload {
            std::borrow::Cow::Borrowed(payload) => sealed.slice_ref(payload),
            std::borrow::Cow::Owned(payload) => Bytes::from(payload),
        }))
    }

    /// Unlink files that nothing points to. What fails is tried again at the next start.
    pub(super) fn remove<'a>(&self, names: impl IntoIterator<Item = &'a FileName>) {
        for name in names {
            self.unlink(&self.values, name.as_str());
        }
    }

    /// Write the bytes of a component, without giving them their name yet.
    pub(super) fn stage_component(
        &self,
        digest: Digest,
        component: &[u8],
    ) -> Result<StagedComponent, StoreError> {
        let temporary = format!("{digest}-{:016x}{TEMPORARY}", self.names.number());
        match self.write_new(&self.components, &temporary, component) {
            Ok(()) => Ok(StagedComponent { temporary, digest }),
            Err(error) => {
                self.unlink(&self.components, &temporary);
                Err(write_error(&error))
            }
        }
    }

    /// Give a component its name, durably. Only the committer does this and
    /// [`Files::remove_component`], so that the two never cross.
    pub(super) fn keep_component(&self, staged: &StagedComponent) -> Result<(), StoreError> {
        let name = component_name(staged.digest);
        // The same bytes may be there already, for another name and version. They are replaced in
        // one step, so that whoever reads them finds them.
        let replaced = self.components.metadata(&name).map_or(0, |metadata| metadata.len());
        self.components
            .rename(&staged.temporary, &self.components, &name)
            .and_then(|()| sync(&self.components))
            .map_err(|error| write_error(&error))?;
        self.count_less(replaced);
        Ok(())
    }

    /// Forget a component that was not given a name.
    pub(super) fn drop_component(&self, staged: &StagedComponent) {
        self.unlink(&self.components, &staged.temporary);
    }

    /// Unlink a component that no agent refers to.
    pub(super) fn remove_component(&self, digest: Digest) {
        self.unlink(&self.components, &component_name(digest));
    }

    /// The bytes of a component; `None` where it is not there.
    pub(super) fn component(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        let bytes = match self.components.read(component_name(digest)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Io(error.to_string().into())),
        };
        if Digest::of(&bytes) == digest {
            Ok(Some(Bytes::from(bytes)))
        } else {
            tracing::error!(%digest, "a component is damaged");
            Err(StoreError::Damaged(format!("component/{digest}")))
        }
    }

    /// At the start: remove what nothing points to, count the rest, and go on after its numbers.
    /// `values` are the names that sled knows; where it is not known which components are in use,
    /// all of them stay.
    pub(super) fn sweep(
        &self,
        values: &HashSet<String>,
        components: Option<&HashSet<Digest>>,
    ) -> io::Result<()> {
        let highest = values.iter().filter_map(|name| number_of(name)).max().unwrap_or(0);
        self.names.0.store(highest + 1, Ordering::Relaxed);
        self.sweep_one(&self.values, |name| values.contains(name))?;
        let digest = |name: &str| name.strip_suffix(".wasm")?.parse::<Digest>().ok();
        self.sweep_one(&self.components, |name| match (digest(name), components) {
            (Some(digest), Some(kept)) => kept.contains(&digest),
            (Some(_), None) => true,
            (None, _) => false,
        })
    }

    fn sweep_one(&self, dir: &Dir, known: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in dir.entries()? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let size = entry.metadata()?.len();
            self.bytes.fetch_add(size, Ordering::Relaxed);
            if known(&name) {
                continue;
            }
            // Only names that the store makes are removed: it may not be alone here.
            let ours = name.ends_with(TEMPORARY) || number_of(&name).is_some();
            if ours || name.strip_suffix(".wasm").is_some_and(|d| d.parse::<Digest>().is_ok()) {
                tracing::info!(file = name, "removing a file that nothing points to");
                self.unlink(dir, &name);
            }
        }
        sync(dir)
    }

    fn write_new(&self, dir: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write_with(dir, name, |mut file| file.write_all(bytes))
    }

    fn write_with(
        &self,
        dir: &Dir,
        name: &str,
        write: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        // A file of that name can only be left from a commit that was never made.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let file = dir.open_with(name, &options)?;
        write(&file)?;
        file.sync_all()?;
        self.bytes.fetch_add(file.metadata()?.len(), Ordering::Relaxed);
        Ok(())
    }

    fn unlink(&self, dir: &Dir, name: &str) {
        let size = dir.metadata(name).map_or(0, |metadata| metadata.len());
        match dir.remove_file(name) {
            Ok(()) => self.count_less(size),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(file = name, %error, "a file could not be removed"),
        }
    }

    /// Never below zero: a file that could not be written whole was not counted.
    fn count_less(&self, bytes: u64) {
        let less = |all: u64| Some(all.saturating_sub(bytes));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// The bytes of a place in its file; `None` where the file is too short for it.
pub(super) fn read_place(file: &File, place: &Place) -> Result<Option<Vec<u8>>, StoreError> {
    let failed = |error: io::Error| StoreError::Io(error.to_string().into());
    // Checked before there is memory for it.
    let end = place.offset.checked_add(place.length);
    let length = file.metadata().map_err(failed)?.len();
    let Some(size) =
        usize::try_from(place.length).ok().filter(|_| end.is_some_and(|e| e <= length))
    else {
        return Ok(None);
    };
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, place.offset).map_err(failed)?;
    Ok(Some(bytes))
}

fn component_name(digest: Digest) -> String {
    format!("{digest}.wasm")
}

fn sync(dir: &Dir) -> io::Result<()> {
    // The handle that `Dir` has only names the directory: it cannot be synced.
    dir.open(".")?.sync_all()
}

/// Nothing points to what was being written, so an error leaves nothing unknown.
fn write_error(error: &io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Io(error.to_string().into()),
    }
}
