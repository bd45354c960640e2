//! What the machine says of this process, of the others, and of a directory.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use dormouse_tests::load::report::{Figure, float};

/// The time of processors that this process has used.
pub fn busy() -> Result<Duration> {
    times_of_this(11)
}

/// The time of processors that the children of this process have used that have ended.
pub fn busy_of_children() -> Result<Duration> {
    times_of_this(13)
}

/// Of the fields behind the name of the program, which may hold anything, this one and the next.
fn times_of_this(field: usize) -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(") ").context("the kernel tells another form")?.1;
    let ticks: u64 = fields.split(' ').skip(field).take(2).flat_map(str::parse::<u64>).sum();
    Ok(ticks_to_time(ticks))
}

/// Which part of all processors this is, used in so much time: in percent.
pub fn part(busy: Duration, time: Duration) -> f64 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    100.0 * busy.as_secs_f64() / time.as_secs_f64() / float(processors as u64)
}

/// The time of processors that all have used, this process among them.
pub fn busy_of_all() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("the kernel tells another form")?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    // user, nice, system, idle, waiting for the disk, interrupts (two kinds).
    let ticks = fields.iter().take(7).enumerate().filter(|(field, _)| ![3, 4].contains(field));
    Ok(ticks_to_time(ticks.map(|(_, ticks)| ticks).sum()))
}

fn ticks_to_time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// The memory of this process that is its own, in bytes: without the pages of files.
pub fn memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: u64 = kilobytes.context("the kernel does not tell the memory")?.parse()?;
    Ok(kilobytes << 10)
}

/// Blocks of the disk that a directory takes, in bytes, by the folders that hold files.
pub fn folders(directory: &Path) -> Result<BTreeMap<String, u64>> {
    let mut folders = BTreeMap::new();
    walk(directory, "", &mut folders)?;
    Ok(folders)
}

/// Blocks of the disk that a directory takes, in bytes.
pub fn disk(directory: &Path) -> Result<u64> {
    Ok(folders(directory)?.values().sum())
}

/// The folders of a directory in one line, the small ones left out.
pub fn by_folder(directory: &Path) -> Result<String> {
    let folders = folders(directory)?.into_iter().filter(|(_, bytes)| *bytes >= 1_000_000);
    let folders =
        folders.map(|(name, bytes)| format!("{name} {}", Figure::Bytes(float(bytes)).show()));
    Ok(folders.collect::<Vec<_>>().join(", "))
}

/// Folders below the second level count to the one that they lie in.
fn walk(directory: &Path, name: &str, folders: &mut BTreeMap<String, u64>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // What is gone meanwhile takes nothing.
        let Ok(metadata) = entry.metadata() else { continue };
        *folders.entry(name.to_owned()).or_default() += metadata.blocks() * 512;
        if metadata.is_dir() {
            let below = entry.file_name().to_string_lossy().into_owned();
            let name = match name.split_once('/') {
                Some(_) => name.to_owned(),
                None if name.is_empty() => below,
                None => format!("{name}/{below}"),
            };
            // It may be gone as well.
            let _ = walk(&entry.path(), &name, folders);
        }
    }
    Ok(())
}
