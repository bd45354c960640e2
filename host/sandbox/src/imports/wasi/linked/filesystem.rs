//! `wasi:filesystem`: the workspace of the session, as the directory `/workspace` and as the one that paths without a
//! slash begin at. What it does is for `dormouse-workspace`; here stands what it costs, and what a descriptor is for.

use wasmtime::StoreContextMut;
use wasmtime::component::{Resource, WasmList};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Advice, Datetime, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, IoError};

use super::super::super::interface::{HostWork, Interface};
use super::super::super::price;
use super::super::super::text::GuestText;
use crate::files::{Descriptor, DirectoryEntries, FileError, FileInput, FileOutput, Held, PIECE};
use crate::fuel::charge;
use crate::guest::Guest;
use dormouse_workspace::{
    FileType, Handle, Identity, MAX_PATH, NewTime, OpenOptions, Stat, Workspace,
};

type Store<'s> = StoreContextMut<'s, Guest>;
type File = Resource<Descriptor>;
type Answer<T> = (Result<T, ErrorCode>,);

/// What a guest finds when it starts: the name of each directory. All of them are the root.
const DIRECTORIES: [&str; 2] = ["/workspace", "."];

pub(super) fn preopens(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("get-directories", 2 * price::HANDLE, |guest, (): ()| {
        let mut directories = Vec::with_capacity(DIRECTORIES.len());
        for name in DIRECTORIES {
            let root = guest.resources().push(Descriptor::root())?;
            directories.push((root, name.to_owned()));
        }
        Ok((directories,))
    })
}

pub(super) fn types(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.resource::<Descriptor>("descriptor", |guest, file| {
        guest.resources().delete(file)?;
        Ok(())
    })?;
    interface.resource::<DirectoryEntries>("directory-entry-stream", |guest, entries| {
        guest.resources().delete(entries)?;
        Ok(())
    })?;
    interface.simple("filesystem-error-code", 0, |guest, (error,): (Resource<IoError>,)| {
        let error = guest.resources().get(&error)?;
        Ok((error.downcast_ref::<ErrorCode>().copied(),))
    })?;
    streams(interface)?;
    open_files(interface)?;
    paths(interface)?;
    directories(interface)
}

/// Files as streams.
fn streams(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    let besides = price::FILE + price::HANDLE;
    interface.simple(
        "[method]descriptor.read-via-stream",
        besides,
        |guest, (file, at): (File, u64)| {
            let held = hold(guest, &file, |it| match it.file_type {
                FileType::Directory => Err(ErrorCode::IsDirectory.into()),
                FileType::Regular | FileType::Symlink => it.file(DescriptorFlags::READ),
            });
            let stream = held.and_then(|held| {
                let stream: DynInputStream = Box::new(FileInput::new(held, at));
                Ok(guest.resources().push(stream)?)
            });
            answer(stream)
        },
    )?;
    interface.simple(
        "[method]descriptor.write-via-stream",
        besides,
        |guest, (file, at): (File, u64)| answer(writer(guest, &file, Some(at))),
    )?;
    interface.simple("[method]descriptor.append-via-stream", besides, |guest, (file,): (File,)| {
        answer(writer(guest, &file, None))
    })
}

fn writer(
    guest: &mut Guest,
    file: &File,
    at: Option<u64>,
) -> Result<Resource<DynOutputStream>, FileError> {
    let held = hold(guest, file, |it| it.file(DescriptorFlags::WRITE))?;
    guest.time_files()?;
    let stream: DynOutputStream = Box::new(FileOutput::new(held, at));
    Ok(guest.resources().push(stream)?)
}

/// What is done to a file that is open.
fn open_files(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple(
        "[method]descriptor.advise",
        0,
        |guest, (file, _, _, _): (File, u64, u64, Advice)| {
            answer(check(guest, &file, |it| it.file(DescriptorFlags::empty())))
        },
    )?;
    // A turn is synced when it ends.
    for name in ["[method]descriptor.sync-data", "[method]descriptor.sync"] {
        interface
            .simple(name, 0, |guest, (file,): (File,)| answer(check(guest, &file, |_| Ok(()))))?;
    }
    interface.simple("[method]descriptor.get-flags", 0, |guest, (file,): (File,)| {
        let flags = guest.resources().get(&file)?.flags;
        answer(Ok(flags))
    })?;
    interface.simple("[method]descriptor.get-type", 0, |guest, (file,): (File,)| {
        let file_type = guest.resources().get(&file)?.file_type;
        answer(Ok(descriptor_type(file_type)))
    })?;
    interface.simple(
        "[method]descriptor.set-size",
        price::FILE,
        |guest, (file, size): (File, u64)| {
            let is_allowed = |it: &Descriptor| match it.file(DescriptorFlags::WRITE) {
                // As `ftruncate` has it.
                Err(_) if it.file_type == FileType::Regular => Err(ErrorCode::Invalid.into()),
                checked => checked,
            };
            answer(change(guest, &file, is_allowed, |it, file| it.set_size(file, size)))
        },
    )?;
    interface.simple(
        "[method]descriptor.set-times",
        price::FILE,
        |guest, (file, accessed, modified): (File, NewTimestamp, NewTimestamp)| {
            let times = new_time(accessed).and_then(|one| Ok((one, new_time(modified)?)));
            answer(times.and_then(|(accessed, modified)| {
                change(guest, &file, |_| Ok(()), |it, file| it.set_times(file, accessed, modified))
            }))
        },
    )?;
    interface.metered(
        "[method]descriptor.read",
        |mut store: Store<'_>, (file, length, at): (File, u64, u64)| {
            Box::pin(async move {
                let length = usize::try_from(length).unwrap_or(usize::MAX).min(PIECE);
                charge(&mut store, price::FILE + price::of(length, price::BYTE)).await?;
                let is_allowed = |it: &Descriptor| it.file(DescriptorFlags::READ);
                let read =
                    look(store.data_mut(), &file, is_allowed, |it, file| it.read(file, at, length));
                answer(read.map(|bytes| {
                    let is_end = bytes.is_empty();
                    (bytes, is_end)
                }))
            })
        },
    )?;
    interface.metered(
        "[method]descriptor.write",
        |mut store: Store<'_>, (file, bytes, at): (File, WasmList<u8>, u64)| {
            Box::pin(async move {
                let length = bytes.len().min(PIECE);
                charge(&mut store, price::FILE + price::of(length, price::WRITTEN_BYTE)).await?;
                let bytes = bytes.as_le_slice(&store)[..length].to_vec();
                let is_allowed = |it: &Descriptor| it.file(DescriptorFlags::WRITE);
                let written = change(store.data_mut(), &file, is_allowed, |it, file| {
                    it.write(file, at, &bytes)
                });
                answer(written.map(|()| length as u64))
            })
        },
    )?;
    interface.simple("[method]descriptor.stat", price::FILE, |guest, (file,): (File,)| {
        answer(look(guest, &file, |_| Ok(()), |it, file| it.stat(file)).map(descriptor_stat))
    })?;
    interface.simple(
        "[method]descriptor.is-same-object",
        price::FILE,
        |guest, (one, two): (File, File)| {
            let one = look(guest, &one, |_| Ok(()), |it, file| it.stat(file));
            let two = look(guest, &two, |_| Ok(()), |it, file| it.stat(file));
            match (one, two) {
                (Ok(one), Ok(two)) => Ok((one.identity == two.identity,)),
                (Err(FileError::Fault(fault)), _) | (_, Err(FileError::Fault(fault))) => Err(fault),
                (Err(FileError::Code(_)), _) | (_, Err(FileError::Code(_))) => Ok((false,)),
            }
        },
    )?;
    interface.simple("[method]descriptor.metadata-hash", price::FILE, |guest, (file,): (File,)| {
        let stat = look(guest, &file, |_| Ok(()), |it, file| it.stat(file));
        answer(stat.map(|stat| hash(stat.identity)))
    })
}

/// What is done to a path.
fn paths(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.metered("[method]descriptor.open-at", open_at)?;
    interface.metered(
        "[method]descriptor.stat-at",
        |mut store: Store<'_>, (base, flags, path): (File, PathFlags, GuestText)| {
            Box::pin(async move {
                let path = read(&mut store, &path).await?;
                let guest = store.data_mut();
                let stat = path.and_then(|path| {
                    look(guest, &base, Descriptor::directory, |it, base| {
                        it.stat_at(base, &path, is_followed(flags))
                    })
                });
                answer(stat.map(descriptor_stat))
            })
        },
    )?;
    interface.metered(
        "[method]descriptor.metadata-hash-at",
        |mut store: Store<'_>, (base, flags, path): (File, PathFlags, GuestText)| {
            Box::pin(async move {
                let path = read(&mut store, &path).await?;
                let guest = store.data_mut();
                let stat = path.and_then(|path| {
                    look(guest, &base, Descriptor::directory, |it, base| {
                        it.stat_at(base, &path, is_followed(flags))
                    })
                });
                answer(stat.map(|stat| hash(stat.identity)))
            })
        },
    )?;
    interface.metered("[method]descriptor.set-times-at", set_times_at)?;
    interface.metered(
        "[method]descriptor.readlink-at",
        |mut store: Store<'_>, (base, path): (File, GuestText)| {
            Box::pin(async move {
                let path = read(&mut store, &path).await?;
                let guest = store.data_mut();
                let target = path.and_then(|path| {
                    look(guest, &base, Descriptor::directory, |it, base| it.read_link(base, &path))
                });
                let bytes = target.as_ref().map_or(0, |target| target.len());
                charge(&mut store, price::of(bytes, price::BYTE)).await?;
                answer(target.map(|target| target.as_ref().to_owned()))
            })
        },
    )?;
    at_path(interface, "[method]descriptor.create-directory-at", Workspace::make_directory)?;
    at_path(interface, "[method]descriptor.remove-directory-at", Workspace::remove_directory)?;
    at_path(interface, "[method]descriptor.unlink-file-at", Workspace::unlink)?;
    interface.metered(
        "[method]descriptor.symlink-at",
        |mut store: Store<'_>, (base, target, path): (File, GuestText, GuestText)| {
            Box::pin(async move {
                let target = read(&mut store, &target).await?;
                let path = read(&mut store, &path).await?;
                let guest = store.data_mut();
                answer(target.and_then(|target| {
                    let path = path?;
                    change(guest, &base, Descriptor::directory, |it, base| {
                        it.symlink(&target, base, &path)
                    })
                }))
            })
        },
    )?;
    interface.metered(
        "[method]descriptor.link-at",
        |mut store: Store<'_>,
         (base, flags, old, new_base, new): (File, PathFlags, GuestText, File, GuestText)| {
            Box::pin(async move {
                let old = read(&mut store, &old).await?;
                let new = read(&mut store, &new).await?;
                let guest = store.data_mut();
                answer(old.and_then(|old| {
                    let new = new?;
                    if is_followed(flags) {
                        return Err(ErrorCode::Invalid.into());
                    }
                    change_both(guest, (&base, &new_base), |it, base, new_base| {
                        it.link(base, &old, new_base, &new)
                    })
                }))
            })
        },
    )?;
    interface.metered(
        "[method]descriptor.rename-at",
        |mut store: Store<'_>, (base, old, new_base, new): (File, GuestText, File, GuestText)| {
            Box::pin(async move {
                let old = read(&mut store, &old).await?;
                let new = read(&mut store, &new).await?;
                let guest = store.data_mut();
                answer(old.and_then(|old| {
                    let new = new?;
                    change_both(guest, (&base, &new_base), |it, base, new_base| {
                        it.rename(base, &old, new_base, &new)
                    })
                }))
            })
        },
    )
}

/// Reading directories.
fn directories(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple(
        "[method]descriptor.read-directory",
        price::FILE + price::HANDLE,
        |guest, (file,): (File,)| {
            let held = hold(guest, &file, Descriptor::directory);
            let entries =
                held.and_then(|held| Ok(guest.resources().push(DirectoryEntries::new(held))?));
            answer(entries)
        },
    )?;
    interface.simple(
        "[method]directory-entry-stream.read-directory-entry",
        price::NAME,
        |guest, (entries,): (Resource<DirectoryEntries>,)| {
            let next = guest.resources().get_mut(&entries)?.next();
            answer(next.map(|entry| {
                entry.map(|entry| DirectoryEntry {
                    type_: descriptor_type(entry.file_type),
                    name: entry.name.as_ref().to_owned(),
                })
            }))
        },
    )
}

/// A function that does one thing to one path.
fn at_path(
    interface: &mut Interface<'_>,
    name: &str,
    make: fn(&mut Workspace, &Handle, &str) -> Result<(), dormouse_workspace::Error>,
) -> wasmtime::Result<()> {
    interface.metered(name, move |mut store: Store<'_>, (base, path): (File, GuestText)| {
        Box::pin(async move {
            let path = read(&mut store, &path).await?;
            let guest = store.data_mut();
            answer(path.and_then(|path| {
                change(guest, &base, Descriptor::directory, |it, base| make(it, base, &path))
            }))
        })
    })
}

fn open_at(
    mut store: Store<'_>,
    (base, path_flags, path, open, flags): (File, PathFlags, GuestText, OpenFlags, DescriptorFlags),
) -> HostWork<'_, Answer<File>> {
    Box::pin(async move {
        charge(&mut store, price::HANDLE).await?;
        let path = read(&mut store, &path).await?;
        let guest = store.data_mut();
        answer(path.and_then(|path| {
            let syncs = DescriptorFlags::FILE_INTEGRITY_SYNC
                | DescriptorFlags::DATA_INTEGRITY_SYNC
                | DescriptorFlags::REQUESTED_WRITE_SYNC;
            if flags.intersects(syncs) {
                return Err(ErrorCode::Unsupported.into());
            }
            let options = OpenOptions {
                follow: is_followed(path_flags),
                create: open.contains(OpenFlags::CREATE),
                exclusive: open.contains(OpenFlags::EXCLUSIVE),
                truncate: open.contains(OpenFlags::TRUNCATE),
                directory: open.contains(OpenFlags::DIRECTORY),
                write: flags.contains(DescriptorFlags::WRITE),
            };
            let opens = |it: &mut Workspace, base: &Handle| it.open(base, &path, options);
            let (handle, file_type) = if options.create || options.truncate {
                change(guest, &base, Descriptor::directory, opens)?
            } else {
                look(guest, &base, Descriptor::directory, opens)?
            };
            let held = Held::new(guest.files.open()?.clone(), handle);
            let flags = opened_flags(file_type, flags, options);
            Ok(guest.resources().push(Descriptor::new(held, file_type, flags))?)
        }))
    })
}

/// What a file is open for. As `wasmtime-wasi` has it: without `WRITE` a file is opened to be read; who creates or empties one
/// writes it.
fn opened_flags(
    file_type: FileType,
    flags: DescriptorFlags,
    options: OpenOptions,
) -> DescriptorFlags {
    if file_type == FileType::Directory {
        return DescriptorFlags::READ | (flags & DescriptorFlags::MUTATE_DIRECTORY);
    }
    let mut opened = flags & (DescriptorFlags::READ | DescriptorFlags::WRITE);
    if !options.write {
        opened |= DescriptorFlags::READ;
    }
    if options.create || options.truncate {
        opened |= DescriptorFlags::WRITE;
    }
    opened
}

fn set_times_at(
    mut store: Store<'_>,
    (base, flags, path, accessed, modified): (
        File,
        PathFlags,
        GuestText,
        NewTimestamp,
        NewTimestamp,
    ),
) -> HostWork<'_, Answer<()>> {
    Box::pin(async move {
        let path = read(&mut store, &path).await?;
        let guest = store.data_mut();
        answer(path.and_then(|path| {
            let (accessed, modified) = (new_time(accessed)?, new_time(modified)?);
            change(guest, &base, Descriptor::directory, |it, base| {
                it.set_times_at(base, &path, is_followed(flags), accessed, modified)
            })
        }))
    })
}

/// The path in this text, once it is paid for what it takes to go along it.
async fn read(
    store: &mut Store<'_>,
    text: &GuestText,
) -> wasmtime::Result<Result<String, FileError>> {
    if text.len() >= MAX_PATH {
        return Ok(Err(ErrorCode::NameTooLong.into()));
    }
    charge(store, price::FILE + price::of(text.len(), price::PATH_BYTE)).await?;
    Ok(Ok(text.read(&*store)?.into_owned()))
}

/// Whether a descriptor is for this.
fn check(
    guest: &mut Guest,
    file: &File,
    is_allowed: impl FnOnce(&Descriptor) -> Result<(), FileError>,
) -> Result<(), FileError> {
    is_allowed(guest.resources().get(file)?)
}

/// Do something with an open file that changes nothing of it.
fn look<T>(
    guest: &mut Guest,
    file: &File,
    is_allowed: impl FnOnce(&Descriptor) -> Result<(), FileError>,
    look: impl FnOnce(&mut Workspace, &Handle) -> Result<T, dormouse_workspace::Error>,
) -> Result<T, FileError> {
    check(guest, file, is_allowed)?;
    let shared = guest.files.open()?.clone();
    let open = &mut *shared.lock();
    let handle = guest.resources().get(file)?.handle(&open.root)?;
    Ok(look(&mut open.workspace, handle)?)
}

/// Change something by an open file.
fn change<T>(
    guest: &mut Guest,
    file: &File,
    is_allowed: impl FnOnce(&Descriptor) -> Result<(), FileError>,
    change: impl FnOnce(&mut Workspace, &Handle) -> Result<T, dormouse_workspace::Error>,
) -> Result<T, FileError> {
    guest.time_files()?;
    let changed = look(guest, file, is_allowed, change)?;
    guest.pay_for_files().map_err(FileError::Fault)?;
    Ok(changed)
}

/// Change something by two open directories.
fn change_both(
    guest: &mut Guest,
    (one, two): (&File, &File),
    change: impl FnOnce(&mut Workspace, &Handle, &Handle) -> Result<(), dormouse_workspace::Error>,
) -> Result<(), FileError> {
    check(guest, one, Descriptor::directory)?;
    check(guest, two, Descriptor::directory)?;
    guest.time_files()?;
    let shared = guest.files.open()?.clone();
    {
        let open = &mut *shared.lock();
        let resources = &*guest.resources();
        let one = resources.get(one)?.handle(&open.root)?;
        let two = resources.get(two)?.handle(&open.root)?;
        change(&mut open.workspace, one, two)?;
    }
    guest.pay_for_files().map_err(FileError::Fault)
}

/// Open once more what is open.
fn hold(
    guest: &mut Guest,
    file: &File,
    is_allowed: impl FnOnce(&Descriptor) -> Result<(), FileError>,
) -> Result<Held, FileError> {
    let handle = look(guest, file, is_allowed, Workspace::duplicate)?;
    Ok(Held::new(guest.files.open()?.clone(), handle))
}

fn answer<T>(result: Result<T, FileError>) -> wasmtime::Result<Answer<T>> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(FileError::Code(code)) => Ok((Err(code),)),
        Err(FileError::Fault(fault)) => Err(fault),
    }
}

fn is_followed(flags: PathFlags) -> bool {
    flags.contains(PathFlags::SYMLINK_FOLLOW)
}

fn descriptor_type(file_type: FileType) -> DescriptorType {
    match file_type {
        FileType::Regular => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
    }
}

const SECOND: u64 = 1_000_000_000;

fn descriptor_stat(stat: Stat) -> DescriptorStat {
    let time = |nanos: u64| {
        let nanoseconds = u32::try_from(nanos % SECOND).unwrap_or(0);
        Some(Datetime { seconds: nanos / SECOND, nanoseconds })
    };
    DescriptorStat {
        type_: descriptor_type(stat.file_type),
        link_count: stat.links,
        size: stat.size,
        data_access_timestamp: time(stat.accessed),
        data_modification_timestamp: time(stat.modified),
        status_change_timestamp: time(stat.changed),
    }
}

fn new_time(time: NewTimestamp) -> Result<NewTime, FileError> {
    Ok(match time {
        NewTimestamp::NoChange => NewTime::Keep,
        NewTimestamp::Now => NewTime::Now,
        NewTimestamp::Timestamp(Datetime { seconds, nanoseconds }) => {
            let nanos = seconds.checked_mul(SECOND);
            let nanos = nanos.and_then(|nanos| nanos.checked_add(u64::from(nanoseconds)));
            NewTime::At(nanos.ok_or(ErrorCode::Invalid)?)
        }
    })
}

/// Equal for two descriptors where they are of the same file, and for no other that there ever was.
fn hash(Identity { ino, born }: Identity) -> MetadataHashValue {
    MetadataHashValue { lower: ino, upper: born }
}
