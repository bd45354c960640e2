//! Files as a tar archive, in and out.

use std::collections::{HashMap, VecDeque};
use std::io::Cursor;

use bytes::Bytes;
use tar::{Builder, EntryType, Header};

use super::change::{FileError, FileOperation, MAX_FILE_OPERATIONS};
use super::view::WorkspaceView;
use dormouse_workspace::{Error, FileType, Ino, ListQuery, Listed, MAX_DEPTH, MAX_PATH};

/// How many bytes of a file are read at once.
const PIECE: usize = 256 << 10;
/// A tar archive is made of blocks of so many bytes.
const BLOCK: u64 = 512;
/// How many files are listed at once.
const LISTED: usize = 256;
/// The most bytes of what stands before an entry, such as a name that is too long for its header: two paths, and their
/// blocks.
const MAX_EXTENSION: u64 = 4 * MAX_PATH as u64;

/// Why an archive was not taken. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// It is no tar archive, or it ends too early.
    #[error("this is no tar archive: {0}")]
    Malformed(String),
    /// It has an entry that no workspace takes.
    #[error("{path}: a workspace has files, directories and links, and this is {what}")]
    Unsupported {
        /// The path in the archive.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// It has too many entries.
    #[error("an archive has {MAX_FILE_OPERATIONS} entries at most")]
    TooMany,
}

/// The operations that put what is in a tar archive below a directory, `.` for the root. The contents of files are parts
/// of `archive`. An archive that is compressed is none.
///
/// # Errors
/// [`ArchiveError`]
pub fn unpack(archive: &Bytes, directory: &str) -> Result<Vec<FileOperation>, ArchiveError> {
    let malformed = |error: std::io::Error| ArchiveError::Malformed(error.to_string());
    let mut operations = Vec::new();
    let mut reader = tar::Archive::new(Cursor::new(&archive[..]));
    for entry in reader.entries_with_seek().map_err(malformed)?.raw(false) {
        let entry = entry.map_err(malformed)?;
        if operations.len() == MAX_FILE_OPERATIONS {
            return Err(ArchiveError::TooMany);
        }
        let text = |bytes: &[u8]| {
            let not_utf8 = || ArchiveError::Malformed("a path in it is no UTF-8".to_owned());
            std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| not_utf8())
        };
        let name = text(&entry.path_bytes())?;
        let path = below(directory, &name);
        let target = || {
            let link = entry.link_name_bytes();
            link.as_deref().map_or_else(|| Ok(String::new()), text)
        };
        let what = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let from = usize::try_from(entry.raw_file_position()).unwrap_or(usize::MAX);
                let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
                let end = from.checked_add(size).filter(|end| *end <= archive.len());
                let end =
                    end.ok_or_else(|| ArchiveError::Malformed(format!("{name} is cut off")))?;
                operations.push(FileOperation::Write { path, content: archive.slice(from..end) });
                continue;
            }
            EntryType::Directory => {
                operations.push(FileOperation::MakeDirectory { path });
                continue;
            }
            EntryType::Symlink => {
                operations.push(FileOperation::Symlink { path, target: target()? });
                continue;
            }
            EntryType::Link => {
                let from = below(directory, &target()?);
                operations.push(FileOperation::Link { from, to: path });
                continue;
            }
            EntryType::XGlobalHeader => continue,
            EntryType::GNUSparse => "a file with holes",
            EntryType::Char | EntryType::Block => "a device",
            EntryType::Fifo => "a pipe",
            _ => "something else",
        };
        return Err(ArchiveError::Unsupported { path: name, what });
    }
    Ok(operations)
}

/// A path of an archive, below a directory.
fn below(directory: &str, path: &str) -> String {
    let mut path = path;
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.trim_start_matches('/');
    }
    match directory.trim_end_matches('/') {
        "" | "." => path.to_owned(),
        directory => format!("{directory}/{path}"),
    }
}

/// Files as a tar archive that is made while it is read. Nothing is held but a piece of it, and the numbers of files that
/// have several names.
pub struct Archive {
    view: WorkspaceView,
    directory: String,
    /// What the next page of the list begins behind. `None`: there is no page any more.
    after: Option<Option<String>>,
    listed: VecDeque<Listed>,
    /// The first path of each file that has several.
    linked: HashMap<Ino, String>,
    file: Option<OpenFile>,
    is_over: bool,
}

struct OpenFile {
    ino: Ino,
    at: u64,
    size: u64,
}

impl WorkspaceView {
    /// What is below a directory, `.` for the root, as a tar archive.
    ///
    /// # Errors
    /// [`FileError::Refused`] where there is no such directory.
    pub async fn archive(&self, directory: &str) -> Result<Archive, FileError> {
        let mut archive = Archive {
            view: self.clone(),
            directory: directory.to_owned(),
            after: Some(None),
            listed: VecDeque::new(),
            linked: HashMap::new(),
            file: None,
            is_over: false,
        };
        archive.list().await?;
        Ok(archive)
    }
}

impl Archive {
    /// The most bytes of a piece.
    pub const MAX_PIECE: u64 = PIECE as u64 + MAX_EXTENSION;

    /// The next piece of it. `None`: that was all.
    ///
    /// # Errors
    /// [`FileError::Unreadable`]: then it is not whole.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FileError> {
        loop {
            if let Some(file) = &mut self.file {
                let bytes = self.view.read_ino(file.ino, file.at, PIECE).await?;
                file.at += bytes.len() as u64;
                if file.at < file.size && !bytes.is_empty() {
                    return Ok(Some(bytes));
                }
                let padding = file.size.next_multiple_of(BLOCK) - file.size;
                self.file = None;
                let mut piece = bytes.to_vec();
                piece.resize(piece.len() + usize::try_from(padding).unwrap_or(0), 0);
                return Ok(Some(piece.into()));
            }
            if let Some(listed) = self.listed.pop_front() {
                return self.begin(listed).await.map(Some);
            }
            if self.after.is_some() {
                self.list().await?;
            } else if self.is_over {
                return Ok(None);
            } else {
                self.is_over = true;
                return Ok(Some(Bytes::from_static(&[0; 2 * BLOCK as usize])));
            }
        }
    }

    async fn list(&mut self) -> Result<(), FileError> {
        let Some(after) = self.after.take() else { return Ok(()) };
        let path = self.directory.clone();
        let depth = usize::from(MAX_DEPTH);
        let query = ListQuery { path, depth, glob: None, after, limit: LISTED };
        let page = self.view.list(query).await?;
        self.listed = page.files.into();
        self.after = page.next.map(Some);
        Ok(())
    }

    /// What stands before the contents of a file.
    async fn begin(&mut self, Listed { path, stat }: Listed) -> Result<Bytes, FileError> {
        let mut header = Header::new_gnu();
        header.set_mtime(stat.modified / 1_000_000_000);
        header.set_mode(0o644);
        header.set_size(0);
        let ino = stat.identity.ino;
        let head = match stat.file_type {
            FileType::Directory => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(0o755);
                head(&mut header, &format!("{path}/"), None)
            }
            FileType::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                let directory = self.directory.trim_end_matches('/');
                let whole = format!("{directory}/{path}");
                let target = self.view.file(&whole, false).await?.target;
                head(&mut header, &path, target.as_deref())
            }
            FileType::Regular => match self.linked.get(&ino) {
                Some(first) => {
                    header.set_entry_type(EntryType::Link);
                    head(&mut header, &path, Some(first))
                }
                None => {
                    header.set_size(stat.size);
                    let bytes = head(&mut header, &path, None);
                    if stat.links > 1 {
                        self.linked.insert(ino, path.clone());
                    }
                    if stat.size > 0 {
                        self.file = Some(OpenFile { ino, at: 0, size: stat.size });
                    }
                    bytes
                }
            },
        };
        // Paths are relative and short, which is all that an archive asks of them.
        head.map_err(|_| FileError::at(&path)(Error::Invalid))
    }
}

/// The blocks before the contents of an entry.
fn head(header: &mut Header, path: &str, target: Option<&str>) -> std::io::Result<Bytes> {
    let mut builder = Builder::new(Vec::new());
    match target {
        Some(target) => builder.append_link(header, path, target)?,
        None => builder.append_data(header, path, std::io::empty())?,
    }
    Ok(std::mem::take(builder.get_mut()).into())
}
