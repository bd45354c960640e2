//! Compiled forms on the disk, so that a component is compiled once.
//!
//! To load a compiled form is to run it, so only what this host has written is loaded: each file
//! carries a hash with a secret key over its name and content, and what is loaded are the very bytes
//! that were checked. Names carry the component's digest, a hash of all compile settings, version and
//! processor included, and the version of what is added to components before they are compiled. A file that does not check is deleted, and the component compiled again.
//!
//! The directory belongs to the host alone. Its size is bounded: beyond that, the files that were
//! written longest ago go first. Losing any of it costs time, nothing else.

use std::io::{Read, Write};
use std::path::PathBuf;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, OpenOptions};
use cap_std::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};

use super::SandboxError;
use super::snapshot::RECIPE;
use dormouse_domain::agent::Digest;

/// The most that all compiled forms may take, in bytes.
const MAX_BYTES: u64 = 4 << 30;
/// The length of the hash at the beginning of a file.
const HASH: usize = blake3::OUT_LEN;
/// What the names of our files end with.
const SUFFIX: &str = ".compiled";

/// Where compiled forms are kept, and the key that proves them ours.
#[derive(Clone)]
pub struct CacheOptions {
    /// A directory that nobody else writes to. It is made where it is not there.
    pub dir: PathBuf,
    /// A secret that outlives the process. Without it nothing in the directory is loaded.
    pub key: [u8; 32],
}

/// Shows no key.
impl std::fmt::Debug for CacheOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheOptions").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// The compiled forms of one host. All methods block.
pub(super) struct Cache {
    dir: Dir,
    key: [u8; 32],
    settings: blake3::Hash,
}

impl Cache {
    /// Open the directory, for compiled forms with these settings.
    pub(super) fn open(
        options: &CacheOptions,
        settings: blake3::Hash,
    ) -> Result<Cache, SandboxError> {
        let failed = |error| SandboxError::Cache { dir: options.dir.clone(), error };
        let parent = options.dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let name = options.dir.file_name();
        let dir = match (parent, name) {
            (Some(parent), Some(name)) => {
                std::fs::create_dir_all(parent).map_err(failed)?;
                let parent = Dir::open_ambient_dir(parent, ambient_authority()).map_err(failed)?;
                let mut private = DirBuilder::new();
                private.mode(0o700);
                match parent.create_dir_with(name, &private) {
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                        return Err(failed(error));
                    }
                    Ok(()) | Err(_) => {}
                }
                parent.open_dir(name).map_err(failed)?
            }
            _ => Dir::open_ambient_dir(&options.dir, ambient_authority()).map_err(failed)?,
        };
        let mode = dir.dir_metadata().map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            dir.set_permissions(".", cap_std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        Ok(Cache { dir, key: options.key, settings })
    }

    /// The compiled form of a component, where there is one that this host has written.
    pub(super) fn load(&self, digest: Digest) -> Option<Vec<u8>> {
        let name = self.name(digest);
        let mut content = Vec::new();
        self.dir.open(&name).ok()?.read_to_end(&mut content).ok()?;
        let given: Option<[u8; HASH]> = content.get(..HASH).and_then(|hash| hash.try_into().ok());
        // `blake3::Hash` compares in constant time.
        let proven = given.is_some_and(|hash| {
            blake3::Hash::from_bytes(hash) == self.hash(&name, &content[HASH..])
        });
        if !proven {
            tracing::warn!(file = name, "a compiled form in the cache is not ours; it is deleted");
            self.remove(&name);
            return None;
        }
        content.drain(..HASH);
        Some(content)
    }

    /// Keep a compiled form. Where that fails, the component is compiled again another time.
    pub(super) fn keep(&self, digest: Digest, compiled: &[u8]) {
        let name = self.name(digest);
        if let Err(error) = self.write(&name, compiled) {
            tracing::warn!(%error, "a compiled form could not be kept");
        }
        if let Err(error) = self.trim() {
            tracing::warn!(%error, "the cache of compiled forms could not be trimmed");
        }
    }

    /// Forget a compiled form that does not load.
    pub(super) fn forget(&self, digest: Digest) {
        self.remove(&self.name(digest));
    }

    fn write(&self, name: &str, compiled: &[u8]) -> std::io::Result<()> {
        // No two processes share a directory with any use: the name need not be unique beyond it.
        let temporary = format!("{name}.{}", std::process::id());
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = self.dir.open_with(&temporary, &options)?;
        let written = file
            .write_all(self.hash(name, compiled).as_bytes())
            .and_then(|()| file.write_all(compiled));
        // Not synced: a file that a crash has torn does not check.
        let kept = written.and_then(|()| self.dir.rename(&temporary, &self.dir, name));
        if kept.is_err() {
            self.remove(&temporary);
        }
        kept
    }

    /// Delete the oldest files beyond the bound, and what other settings have left behind.
    fn trim(&self) -> std::io::Result<()> {
        let mut files = Vec::new();
        for entry in self.dir.entries()? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                files.push((metadata.mtime(), metadata.len(), entry.file_name()));
            }
        }
        files.sort_by_key(|(modified, _, _)| std::cmp::Reverse(*modified));
        let mut kept = 0;
        for (_, size, name) in files {
            kept += size;
            if kept > MAX_BYTES {
                self.dir.remove_file(name)?;
            }
        }
        Ok(())
    }

    fn remove(&self, name: &str) {
        if let Err(error) = self.dir.remove_file(name) {
            tracing::debug!(%error, "a file of the cache could not be deleted");
        }
    }

    fn name(&self, digest: Digest) -> String {
        format!("{digest}-{}-{RECIPE}{SUFFIX}", &self.settings.to_hex()[..16])
    }

    fn hash(&self, name: &str, compiled: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.as_bytes()).update(self.settings.as_bytes()).update(compiled);
        hasher.finalize()
    }
}
