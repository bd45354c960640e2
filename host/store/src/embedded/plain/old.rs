//! Reading a data directory of the layouts before the engine.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::blob::BlobId;
use super::super::engine::{self, Index, Tree};
use super::super::{OpenError, keys};
use super::cell::{BlobCell, Part};
use super::{COMPONENTS, SLED, VALUES};
use crate::codec::{self, CodecError, Kind};
use dormouse_domain::agent::Digest;

/// What can be read: in layout 1 the value of a session had its only snapshot.
pub(super) const LAYOUTS: [u8; 2] = [1, 2];

/// The unit in which sled wrote, in bytes.
const SEGMENT: usize = 4 << 20;
/// How many keys are read at once.
const PAGE: usize = 64;

/// The prefix of the keys of files.
const FILE: u8 = b'v';

/// The directory.
pub(super) struct Old {
    tree: Tree,
    values: PathBuf,
    components: PathBuf,
}

/// Why something could not be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// It is damaged, or not there.
    Damaged(CodecError),
    /// Nothing can be read, or a newer version has written it.
    Failed(OpenError),
}

impl From<CodecError> for Unreadable {
    fn from(error: CodecError) -> Unreadable {
        match error {
            CodecError::Newer(_) => Unreadable::Failed(OpenError::NewerFormat(error.to_string())),
            CodecError::Checksum | CodecError::Malformed(_) => Unreadable::Damaged(error),
        }
    }
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Unreadable {
        match error.kind() {
            ErrorKind::NotFound => {
                let lost = "a file that it names is not there".to_owned();
                Unreadable::Damaged(CodecError::Malformed(lost))
            }
            _ => Unreadable::Failed(error.into()),
        }
    }
}

/// What has been read, or how it is damaged.
pub(super) type Found<T> = Result<Result<T, CodecError>, OpenError>;

/// Tell damage from what ends it all.
pub(super) fn found<T>(read: Result<T, Unreadable>) -> Found<T> {
    match read {
        Ok(found) => Ok(Ok(found)),
        Err(Unreadable::Damaged(error)) => Ok(Err(error)),
        Err(Unreadable::Failed(error)) => Err(error),
    }
}

impl Old {
    /// Open what is at `root`, with a cache of at most so many bytes.
    pub(super) fn open(root: &Path, cache: u64) -> Result<Old, OpenError> {
        let tree = Tree::with_segment(root, cache, SEGMENT).map_err(|error| match error {
            engine::OpenError::IndexDamaged(reason) => OpenError::Damaged(reason),
            other => other.into(),
        })?;
        Ok(Old { tree, values: root.join(VALUES), components: root.join(COMPONENTS) })
    }

    /// Whether there is no key at all.
    pub(super) fn is_empty(&self) -> Result<bool, OpenError> {
        Ok(self.tree.scan(&[], &[], 1).map_err(unread)?.is_empty())
    }

    /// Whether this key is there.
    pub(super) fn has(&self, key: &[u8]) -> Result<bool, OpenError> {
        Ok(self.tree.get(key).map_err(unread)?.is_some())
    }

    /// A few bytes about the store itself.
    pub(super) fn note(&self, key: &[u8]) -> Result<Option<Vec<u8>>, OpenError> {
        let Some(sealed) = self.tree.get(key).map_err(unread)? else { return Ok(None) };
        let note = codec::unseal(Kind::Note, key, &sealed).map_err(Unreadable::from);
        match found(note)? {
            Ok(note) => Ok(Some(note.into_owned())),
            Err(error) => Err(OpenError::Damaged(format!("{}: {error}", keys::describe(key)))),
        }
    }

    /// Calls `each` with every key that begins with `prefix`, in order, and its value.
    pub(super) fn each(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        let mut from = prefix.to_vec();
        loop {
            let page = self.tree.scan(&from, prefix, PAGE).map_err(unread)?;
            for (key, value) in &page {
                each(key, value)?;
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => from = [last, &[0][..]].concat(),
                _ => return Ok(()),
            }
        }
    }

    /// The bytes of a part.
    pub(super) fn part(&self, kind: Kind, part: Part<'_>) -> Result<Vec<u8>, Unreadable> {
        match part {
            Part::Inline(bytes) => Ok(bytes.to_vec()),
            Part::File(name) => {
                let sealed = std::fs::read(self.values.join(name))?;
                Ok(codec::unseal(kind, name.as_bytes(), &sealed)?.into_owned())
            }
        }
    }

    /// How many refer to a blob, and its bytes, from the value of its key.
    pub(super) fn blob(&self, id: &BlobId, sealed: &[u8]) -> Result<(u64, Vec<u8>), Unreadable> {
        let key = keys::blob(id);
        let value = codec::unseal(Kind::Note, &key, sealed)?;
        let cell = BlobCell::read(&value)?;
        let file = File::open(self.values.join(cell.file))?;
        // Checked before there is memory for it.
        let end = cell.offset.checked_add(cell.length);
        let is_there = end.is_some_and(|end| file.metadata().is_ok_and(|file| end <= file.len()));
        let length = usize::try_from(cell.length).ok().filter(|_| is_there);
        let cut_short = || CodecError::Malformed("its file is cut short".to_owned());
        let mut bytes = vec![0; length.ok_or_else(cut_short)?];
        file.read_exact_at(&mut bytes, cell.offset)?;
        Ok((cell.uses, codec::unseal(Kind::Blob, &key, &bytes)?.into_owned()))
    }

    /// How many files no key knows: commits that were cut off have left them; or sled has lost what
    /// it had of them.
    pub(super) fn strays(&self) -> Result<u64, OpenError> {
        let entries = match std::fs::read_dir(&self.values) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        };
        let mut strays = 0;
        for entry in entries {
            let name = entry?.file_name();
            let is_known = self.has(&[&[FILE], name.as_encoded_bytes()].concat())?;
            strays += u64::from(!is_known);
        }
        Ok(strays)
    }

    /// The components that there are.
    pub(super) fn components(&self) -> Result<Vec<Digest>, OpenError> {
        let entries = match std::fs::read_dir(&self.components) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut components = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let digest = name.to_str().and_then(|name| name.strip_suffix(".wasm"));
            components.extend(digest.and_then(|digest| digest.parse::<Digest>().ok()));
        }
        Ok(components)
    }

    /// The bytes of a component.
    pub(super) fn component(&self, digest: Digest) -> Result<Vec<u8>, Unreadable> {
        let bytes = std::fs::read(self.components.join(format!("{digest}.wasm")))?;
        if Digest::of(&bytes) == digest {
            Ok(bytes)
        } else {
            let other = "it is not what its digest says".to_owned();
            Err(CodecError::Malformed(other).into())
        }
    }
}

/// sled finds its own files damaged, or the disk does.
fn unread(error: io::Error) -> OpenError {
    OpenError::Damaged(format!(
        "its folder `{SLED}` cannot be read ({error}); restore a copy of it"
    ))
}
