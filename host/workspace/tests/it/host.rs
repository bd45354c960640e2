//! The same operations here and on a directory of the host: the same results, the same errors, the same files.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use crate::support::{Shelf, cases, commit, read, reopen, workspace};
use dormouse_workspace::{
    BlobId, DiffQuery, Error, FileType, Handle, OpenOptions, Quotas, Tree, Usage, Workspace, check,
    diff,
};

#[derive(Clone, Debug)]
enum Step {
    Open { path: String, options: OpenOptions },
    Close(usize),
    Write { handle: usize, offset: u16, length: u8 },
    Append { handle: usize, length: u16 },
    Resize { handle: usize, size: u16 },
    Read { handle: usize, offset: u16 },
    StatHandle(usize),
    Stat { path: String, follow: bool },
    MakeDirectory(String),
    RemoveDirectory(String),
    Unlink(String),
    Rename(String, String),
    Link(String, String),
    Symlink { target: String, path: String },
    ReadLink(String),
    Names(String),
    Commit,
    Reopen,
    Rollback,
}

fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c"]),
        1 => prop::sample::select(vec![".", "..", "d", "ä"]),
    ];
    let slash = prop::sample::select(vec!["", "", "", "", "", "/"]);
    (prop::collection::vec(name, 1..4), slash).prop_map(|(names, slash)| names.join("/") + slash)
}

fn options() -> impl Strategy<Value = OpenOptions> {
    let options = |follow, create, exclusive, truncate, write| OpenOptions {
        follow,
        create,
        exclusive: create && exclusive,
        truncate: !exclusive && truncate,
        directory: false,
        write: write || create || truncate,
    };
    any::<(bool, bool, bool, bool, bool)>()
        .prop_map(move |it| options(it.0, it.1, it.2, it.3, it.4))
}

fn step() -> impl Strategy<Value = Step> {
    let handle = || 0..8_usize;
    prop_oneof![
        6 => (path(), options()).prop_map(|(path, options)| Step::Open { path, options }),
        3 => handle().prop_map(Step::Close),
        5 => (handle(), 0..9000_u16, any::<u8>())
            .prop_map(|(handle, offset, length)| Step::Write { handle, offset, length }),
        3 => (handle(), 0..3000_u16).prop_map(|(handle, length)| Step::Append { handle, length }),
        2 => (handle(), 0..9000_u16).prop_map(|(handle, size)| Step::Resize { handle, size }),
        3 => (handle(), 0..9000_u16).prop_map(|(handle, offset)| Step::Read { handle, offset }),
        2 => handle().prop_map(Step::StatHandle),
        3 => (path(), any::<bool>()).prop_map(|(path, follow)| Step::Stat { path, follow }),
        5 => path().prop_map(Step::MakeDirectory),
        2 => path().prop_map(Step::RemoveDirectory),
        3 => path().prop_map(Step::Unlink),
        5 => (path(), path()).prop_map(|(old, new)| Step::Rename(old, new)),
        3 => (path(), path()).prop_map(|(old, new)| Step::Link(old, new)),
        3 => (path(), path()).prop_map(|(target, path)| Step::Symlink { target, path }),
        1 => path().prop_map(Step::ReadLink),
        1 => path().prop_map(Step::Names),
        1 => Just(Step::Commit),
        1 => Just(Step::Reopen),
        1 => Just(Step::Rollback),
    ]
}

/// What comes of a step, in words.
type Outcome = Result<String, &'static str>;

fn ours<T>(result: Result<T, Error>, show: impl FnOnce(T) -> String) -> Outcome {
    result.map(show).map_err(|error| error.wasi_name())
}

fn theirs<T>(result: io::Result<T>, show: impl FnOnce(T) -> String) -> Outcome {
    result.map(show).map_err(|error| match error.raw_os_error().unwrap() {
        1 => "not-permitted",
        2 => "no-entry",
        9 => "bad-descriptor",
        16 => "busy",
        17 => "exist",
        20 => "not-directory",
        21 => "is-directory",
        22 => "invalid",
        36 => "name-too-long",
        39 => "not-empty",
        40 => "loop",
        other => panic!("the host says {other}"),
    })
}

fn word(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Regular => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "link",
    }
}

fn host_word(file_type: fs::FileType) -> &'static str {
    if file_type.is_dir() {
        "directory"
    } else if file_type.is_symlink() {
        "link"
    } else {
        "file"
    }
}

fn show_stat(stat: dormouse_workspace::Stat) -> String {
    let size = if stat.file_type == FileType::Directory { 0 } else { stat.size };
    let links = if stat.file_type == FileType::Directory { 0 } else { stat.links };
    format!("{} {size} {links}", word(stat.file_type))
}

fn show_metadata(metadata: fs::Metadata) -> String {
    let (size, links) = if metadata.is_dir() { (0, 0) } else { (metadata.len(), metadata.nlink()) };
    format!("{} {size} {links}", host_word(metadata.file_type()))
}

/// A file that is open on both sides.
struct Open {
    handle: Handle,
    file: File,
    file_type: FileType,
    is_written: bool,
}

struct Both {
    workspace: Workspace,
    root: Handle,
    host: PathBuf,
    open: Vec<Open>,
}

const O_NOFOLLOW: i32 = 0o400_000;

impl Both {
    /// The outcome of a step here and there. None: it leads out of the tree, or has nothing to do.
    fn step(&mut self, step: &Step) -> Option<(Outcome, Outcome)> {
        let host = self.host.clone();
        let at = |path: &str| host.join(path);
        let (it, root) = (&mut self.workspace, &self.root);
        let nothing = |()| String::new();
        let (here, there): (Outcome, Box<dyn FnOnce() -> Outcome>) = match step {
            Step::Open { path, options } => return self.open(path, *options),
            Step::Close(_)
            | Step::Write { .. }
            | Step::Append { .. }
            | Step::Resize { .. }
            | Step::Read { .. }
            | Step::StatHandle(_) => {
                return self.with_handle(step);
            }
            Step::Stat { path, follow } => {
                let path = path.clone();
                let follow = *follow;
                (
                    ours(it.stat_at(root, &path, follow), show_stat),
                    Box::new(move || {
                        let get = |path: &Path| {
                            if follow { fs::metadata(path) } else { fs::symlink_metadata(path) }
                        };
                        theirs(get(&at(&path)), show_metadata)
                    }),
                )
            }
            Step::MakeDirectory(path) => (
                ours(it.make_directory(root, path), nothing),
                Box::new(move || theirs(fs::create_dir(at(path)), nothing)),
            ),
            Step::RemoveDirectory(path) => (
                ours(it.remove_directory(root, path), nothing),
                Box::new(move || theirs(fs::remove_dir(at(path)), nothing)),
            ),
            Step::Unlink(path) => (
                ours(it.unlink(root, path), nothing),
                Box::new(move || theirs(fs::remove_file(at(path)), nothing)),
            ),
            Step::Rename(old, new) => (
                ours(it.rename(root, old, root, new), nothing),
                Box::new(move || theirs(fs::rename(at(old), at(new)), nothing)),
            ),
            Step::Link(old, new) => (
                ours(it.link(root, old, root, new), nothing),
                Box::new(move || theirs(fs::hard_link(at(old), at(new)), nothing)),
            ),
            Step::Symlink { target, path } => (
                ours(it.symlink(target, root, path), nothing),
                Box::new(move || theirs(symlink(target, at(path)), nothing)),
            ),
            Step::ReadLink(path) => (
                ours(it.read_link(root, path), |target| target.to_string()),
                Box::new(move || {
                    theirs(fs::read_link(at(path)), |target| target.to_str().unwrap().to_owned())
                }),
            ),
            Step::Names(path) => {
                let options =
                    OpenOptions { follow: true, directory: true, ..OpenOptions::default() };
                let here = it.open(root, path, options).map(|(directory, _)| {
                    let entries = it.read_directory(&directory, None, 99).unwrap();
                    it.close(directory);
                    entries
                        .iter()
                        .map(|it| format!("{} {};", it.name, word(it.file_type)))
                        .collect()
                });
                (
                    ours(here, |names: String| names),
                    Box::new(move || theirs(fs::read_dir(at(path)), names)),
                )
            }
            Step::Commit | Step::Reopen | Step::Rollback => return None,
        };
        // What leads out of the tree is refused here, and must not be done there.
        if here == Err("not-permitted") {
            return None;
        }
        Some((here, there()))
    }

    fn open(&mut self, path: &str, options: OpenOptions) -> Option<(Outcome, Outcome)> {
        if self.open.len() >= 8 {
            return None;
        }
        let here = self.workspace.open(&self.root, path, options);
        if here.as_ref().is_err_and(|error| *error == Error::NotPermitted) {
            return None;
        }
        let there = fs::OpenOptions::new()
            .read(true)
            .write(options.write)
            .create(options.create)
            .create_new(options.exclusive)
            .truncate(options.truncate)
            .custom_flags(if options.follow { 0 } else { O_NOFOLLOW })
            .open(self.host.join(path));
        let is_both = here.is_ok() && there.is_ok();
        let (mut handle, mut file) = (None, None);
        let here = ours(here, |(opened, file_type)| {
            handle = Some((opened, file_type));
            word(file_type).to_owned()
        });
        let there = theirs(there, |opened| {
            let word = host_word(opened.metadata().unwrap().file_type());
            file = Some(opened);
            word.to_owned()
        });
        if let (true, Some((handle, file_type)), Some(file)) = (is_both, handle, file) {
            self.open.push(Open { handle, file, file_type, is_written: options.write });
        }
        Some((here, there))
    }

    fn with_handle(&mut self, step: &Step) -> Option<(Outcome, Outcome)> {
        let nothing = |()| String::new();
        let number = match step {
            Step::Close(number) | Step::StatHandle(number) => *number,
            Step::Write { handle, .. }
            | Step::Append { handle, .. }
            | Step::Resize { handle, .. }
            | Step::Read { handle, .. } => *handle,
            _ => return None,
        };
        if number >= self.open.len() {
            return None;
        }
        if matches!(step, Step::Close(_)) {
            let open = self.open.remove(number);
            self.workspace.close(open.handle);
            return None;
        }
        let (it, open) = (&mut self.workspace, &self.open[number]);
        let is_written = open.is_written && open.file_type == FileType::Regular;
        let pair = match step {
            Step::Write { offset, length, .. } if is_written => {
                let bytes = vec![*length; usize::from(*length)];
                let offset = u64::from(*offset);
                (
                    ours(it.write(&open.handle, offset, &bytes), nothing),
                    theirs(open.file.write_all_at(&bytes, offset), nothing),
                )
            }
            Step::Append { length, .. } if is_written => {
                let bytes = vec![7; usize::from(*length)];
                let end = open.file.metadata().unwrap().len();
                (
                    ours(it.append(&open.handle, &bytes), nothing),
                    theirs(open.file.write_all_at(&bytes, end), nothing),
                )
            }
            Step::Resize { size, .. } if is_written => {
                let size = u64::from(*size);
                (
                    ours(it.set_size(&open.handle, size), nothing),
                    theirs(open.file.set_len(size), nothing),
                )
            }
            Step::Read { offset, .. } => {
                let mut bytes = vec![0; 300];
                let there = open.file.read_at(&mut bytes, u64::from(*offset));
                let show = |bytes: &[u8]| format!("{bytes:?}");
                (
                    ours(it.read(&open.handle, u64::from(*offset), 300), |bytes| show(&bytes)),
                    theirs(there, |count| show(&bytes[..count])),
                )
            }
            Step::StatHandle(_) => (
                ours(it.stat(&open.handle), show_stat),
                theirs(open.file.metadata(), show_metadata),
            ),
            _ => return None,
        };
        Some(pair)
    }

    fn close_all(&mut self) {
        for open in self.open.drain(..) {
            self.workspace.close(open.handle);
        }
    }

    /// What is held, counted by looking at everything.
    fn usage(&mut self) -> Usage {
        let mut seen = HashMap::new();
        let mut names = 0;
        let mut todo = vec![self.host.clone()];
        while let Some(path) = todo.pop() {
            for entry in fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                names += 1;
                if metadata.is_dir() {
                    todo.push(entry.path());
                } else {
                    seen.insert(metadata.ino(), metadata.len());
                }
            }
        }
        let mut orphans = HashMap::new();
        for open in &self.open {
            let metadata = open.file.metadata().unwrap();
            if metadata.nlink() == 0 {
                orphans.insert(metadata.ino(), if metadata.is_dir() { 0 } else { metadata.len() });
            }
        }
        let bytes = seen.values().sum::<u64>() + orphans.values().sum::<u64>();
        Usage { bytes, names: names + orphans.len() as u64 }
    }
}

fn names(entries: fs::ReadDir) -> String {
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, host_word(entry.file_type().unwrap()))
    };
    let mut entries: Vec<_> = entries.map(entry).collect();
    entries.sort();
    entries.into_iter().map(|(name, word)| format!("{name} {word};")).collect()
}

/// All of a tree, as text: on the host.
fn dump_host(root: &Path) -> String {
    let (mut text, mut seen) = (String::new(), HashMap::new());
    let mut todo = vec![String::new()];
    while let Some(path) = todo.pop() {
        let mut entries: Vec<_> =
            fs::read_dir(root.join(&path)).unwrap().map(|entry| entry.unwrap()).collect();
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries.iter().rev() {
            let path = format!("{path}./{}", entry.file_name().to_str().unwrap());
            let metadata = fs::symlink_metadata(root.join(&path)).unwrap();
            let next = seen.len();
            let number = *seen.entry(metadata.ino()).or_insert(next);
            let content = match host_word(metadata.file_type()) {
                "directory" => {
                    todo.push(format!("{path}/"));
                    Vec::new()
                }
                "link" => {
                    fs::read_link(root.join(&path)).unwrap().into_os_string().into_encoded_bytes()
                }
                _ => fs::read(root.join(&path)).unwrap(),
            };
            let content = BlobId::of(&content);
            text += &format!("{path} {number} {} {content}\n", show_metadata(metadata));
        }
    }
    text
}

/// The same here.
fn dump_ours(tree: &Tree) -> String {
    let (mut text, mut seen) = (String::new(), HashMap::new());
    let mut todo = vec![String::new()];
    while let Some(path) = todo.pop() {
        for entry in tree.read_directory(&format!("{path}."), None, 99).unwrap().iter().rev() {
            let path = format!("{path}./{}", entry.name);
            let next = seen.len();
            let number = *seen.entry(entry.ino).or_insert(next);
            let content = match entry.file_type {
                FileType::Directory => {
                    todo.push(format!("{path}/"));
                    Vec::new()
                }
                FileType::Symlink => tree.read_link(&path).unwrap().as_bytes().to_vec(),
                FileType::Regular => read(tree, &path),
            };
            let stat = show_stat(tree.stat(&path, false).unwrap());
            let content = BlobId::of(&content);
            text += &format!("{path} {number} {stat} {content}\n");
        }
    }
    text
}

/// A copy of a directory, with the names that are one file.
fn copy(from: &Path, to: &Path) {
    let mut seen: HashMap<u64, PathBuf> = HashMap::new();
    let mut todo = vec![PathBuf::new()];
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        done => done.unwrap(),
    }
    while let Some(path) = todo.pop() {
        fs::create_dir(to.join(&path)).unwrap();
        for entry in fs::read_dir(from.join(&path)).unwrap() {
            let entry = entry.unwrap();
            let (path, metadata) = (path.join(entry.file_name()), entry.metadata().unwrap());
            if metadata.is_dir() {
                todo.push(path);
            } else if let Some(first) = seen.get(&metadata.ino()) {
                fs::hard_link(to.join(first), to.join(path)).unwrap();
            } else {
                match host_word(metadata.file_type()) {
                    "link" => {
                        symlink(fs::read_link(entry.path()).unwrap(), to.join(&path)).unwrap()
                    }
                    _ => drop(fs::copy(entry.path(), to.join(&path)).unwrap()),
                }
                seen.insert(metadata.ino(), path);
            }
        }
    }
}

/// A folder in memory, where there is such a place: some disks write a file that is replaced at once.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_workspace_does_what_a_directory_of_the_host_does(
        steps in prop::collection::vec(step(), 1..150)
    ) {
        let folder = folder();
        // Deep enough for no path to get out of the folder.
        let host = folder.path().join("1/2/3/4/root");
        let kept = folder.path().join("kept");
        fs::create_dir_all(&host).unwrap();
        copy(&host, &kept);
        let shelf = Arc::new(Shelf::default());
        let mut workspace = workspace(&shelf);
        let root = workspace.root();
        let mut both = Both { workspace, root, host, open: Vec::new() };
        for (number, step) in steps.iter().enumerate() {
            if let Some((here, there)) = both.step(step) {
                prop_assert_eq!(here, there, "step {}: {:?}", number, step);
            }
            match step {
                Step::Commit | Step::Reopen => {
                    let before = both.workspace.head().clone();
                    if matches!(step, Step::Reopen) {
                        both.close_all();
                    }
                    let commit = commit(&mut both.workspace, &shelf);
                    let tree = reopen(&shelf, commit.root);
                    check(&tree).unwrap();
                    prop_assert_eq!(dump_ours(&tree), dump_host(&both.host));
                    let all = DiffQuery { limit: usize::MAX, after: None };
                    let found = diff(&before, &tree, &all).unwrap().list;
                    let found: Vec<_> = found.into_iter().map(|it| (it.kind, it.path)).collect();
                    prop_assert_eq!(found, crate::differences::by_hand(&before, &tree));
                    copy(&both.host, &kept);
                    if matches!(step, Step::Reopen) {
                        both.workspace = Workspace::new(tree, Quotas::default()).unwrap();
                        both.root = both.workspace.root();
                    }
                }
                Step::Rollback => {
                    both.open.clear();
                    both.workspace.rollback();
                    both.root = both.workspace.root();
                    copy(&kept, &both.host);
                }
                _ => {}
            }
            prop_assert_eq!(both.workspace.usage(), both.usage());
        }
        let commit = commit(&mut both.workspace, &shelf);
        prop_assert_eq!(dump_ours(&reopen(&shelf, commit.root)), dump_host(&both.host));
        check(&commit.tree).unwrap();
    }
}
