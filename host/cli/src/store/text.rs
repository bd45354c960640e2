//! What people read.

use std::fmt::Write;
use std::path::Path;

use super::wire::{
    BackupOutput, CheckOutput, PacksOutput, RepairOutput, UpkeepAnswer, UsageOutput,
};

/// How many findings are printed. `--json` has a thousand of them.
const PRINTED: usize = 20;

/// This answer as text, which ends with a line feed.
pub(super) fn of(answer: &UpkeepAnswer, data_dir: &Path) -> String {
    let mut out = String::new();
    let written = match answer {
        UpkeepAnswer::Check(check) => write_check(&mut out, check),
        UpkeepAnswer::Stat(stat) => write_stat(&mut out, stat),
        UpkeepAnswer::Compact(stat) => {
            writeln!(out, "compacted: the store takes {} now", size(stat.disk_bytes))
        }
        UpkeepAnswer::Backup(copied) => write_backup(&mut out, copied),
        UpkeepAnswer::Repair(repair) => write_repair(&mut out, repair),
        UpkeepAnswer::Restore(copied) => write_restore(&mut out, copied, data_dir),
        UpkeepAnswer::Keys(answer) => answer.write(&mut out),
        UpkeepAnswer::Refused { error } => writeln!(out, "{error}"),
    };
    // Writing to a string does not fail.
    debug_assert!(written.is_ok());
    out
}

fn write_check(out: &mut String, check: &CheckOutput) -> std::fmt::Result {
    let read = &check.read;
    writeln!(
        out,
        "read {} sessions, {} turns, {} snapshots, {} blobs, {} templates, {} agents: {} keys, {}",
        read.sessions,
        read.turns,
        read.snapshots,
        read.blobs,
        read.templates,
        read.agents,
        read.keys,
        size(read.bytes)
    )?;
    if read.set_aside > 0 {
        writeln!(out, "set aside before: {}", counted(read.set_aside, "damaged record"))?;
    }
    if check.well {
        return writeln!(out, "all is well");
    }
    writeln!(out, "\n{}:", counted(check.problems, "problem"))?;
    for finding in check.findings.iter().take(PRINTED) {
        writeln!(out, "  {:10} {}", finding.problem, finding.what)?;
    }
    if check.problems > PRINTED as u64 {
        writeln!(
            out,
            "  … and {} more (--json lists up to 1000)",
            check.problems - PRINTED as u64
        )?;
    }
    if !check.sessions.is_empty() {
        writeln!(out, "\naffected: {}", counted(check.sessions.len() as u64, "session"))?;
        for session in check.sessions.iter().take(PRINTED) {
            writeln!(out, "  {session}")?;
        }
        if check.sessions.len() > PRINTED {
            writeln!(out, "  … and {} more (--json lists them)", check.sessions.len() - PRINTED)?;
        }
    }
    writeln!(
        out,
        "\nWhat to do: put lost files back where they were, or restore a backup with `dormouse \
         restore`,\nor stop the host and run `dormouse store repair --quarantine`: it removes what \
         cannot be read,\nand a host can start with the rest."
    )
}

fn write_stat(out: &mut String, stat: &UsageOutput) -> std::fmt::Result {
    let UsageOutput { log, overlay, .. } = stat;
    writeln!(out, "sessions  {}", stat.sessions)?;
    writeln!(
        out,
        "disk      {}; {} of the disk are free",
        size(stat.disk_bytes),
        size(stat.free_bytes)
    )?;
    for (name, packs) in [("heads", stat.heads), ("rows", stat.rows), ("large", stat.large)] {
        let PacksOutput { packs, bytes, live } = packs;
        writeln!(out, "  {name:8}{} in {packs} packs; {} live", size(bytes), size(live))?;
    }
    writeln!(out, "  index   {}", size(stat.index_bytes))?;
    writeln!(
        out,
        "  log     {} in {} slots; group {}, applied up to {}",
        size(log.bytes),
        log.slots,
        log.last,
        log.applied
    )?;
    writeln!(out, "overlay   {} keys, {} of memory", overlay.keys, size(overlay.bytes))?;
    if stat.set_aside > 0 {
        writeln!(out, "aside     {}", counted(stat.set_aside, "damaged record"))?;
    }
    if stat.waits_for_space {
        writeln!(out, "\nThe disk is full: free some space, the store goes on by itself.")?;
    }
    Ok(())
}

fn write_backup(out: &mut String, copied: &BackupOutput) -> std::fmt::Result {
    let BackupOutput { directory, keys, files, bytes, .. } = copied;
    let directory = directory.as_deref().unwrap_or(Path::new("")).display();
    let keys = keys.unwrap_or_default();
    writeln!(out, "copied {keys} keys, {} in {files} files, to {directory}", size(*bytes))?;
    writeln!(out, "read the copy back: every checksum is right")?;
    writeln!(out, "`dormouse restore {directory}` makes a data directory of it")
}

fn write_restore(out: &mut String, copied: &BackupOutput, data_dir: &Path) -> std::fmt::Result {
    let BackupOutput { sessions, files, bytes, .. } = copied;
    let (sessions, data_dir) = (sessions.unwrap_or_default(), data_dir.display());
    writeln!(out, "verified the backup: every checksum is right")?;
    writeln!(out, "copied {} in {files} files to {data_dir}", size(*bytes))?;
    writeln!(out, "opened it: {}", counted(sessions, "session"))
}

fn write_repair(out: &mut String, repair: &RepairOutput) -> std::fmt::Result {
    if repair.problems == 0 {
        return writeln!(out, "all is well: nothing was changed");
    }
    writeln!(out, "found {}; mended:", counted(repair.problems, "problem"))?;
    for done in repair.done.iter().take(PRINTED) {
        writeln!(out, "  {done}")?;
    }
    if repair.done.len() > PRINTED {
        writeln!(out, "  … and {} more (--json lists up to 1000)", repair.done.len() - PRINTED)?;
    }
    if !repair.sessions.is_empty() {
        writeln!(out, "\nsessions that were concerned:")?;
        for repaired in &repair.sessions {
            let became = match repaired.outcome.as_str() {
                "shortened" => "goes on; a part of its history is gone",
                "error" => "is in error; resume it, from an older snapshot if its state is gone",
                _ => "is lost: nothing can be done with it, and what is left of it is kept",
            };
            writeln!(out, "  {}  {became}", repaired.session)?;
        }
    }
    if !repair.left.is_empty() {
        let left = counted(repair.left.len() as u64, "problem");
        writeln!(out, "\nleft: {left}; upload missing agents again:")?;
        for left in repair.left.iter().take(PRINTED) {
            writeln!(out, "  {left}")?;
        }
    }
    if let Some(quarantine) = &repair.quarantine {
        writeln!(out, "\nwhat was taken out is kept in {}", quarantine.display())?;
    }
    Ok(())
}

/// `1 problem`, `2 problems`.
fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A size to the tenth of its unit.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_store::upkeep::{CheckReport, Problem, StoreUsage};

    #[test]
    fn sizes_have_one_digit_after_the_point() {
        let sizes = [0, 1023, 1024, 1536, 10 << 20, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10.0 MiB", "17179869183.9 GiB"]);
    }

    #[test]
    fn a_check_ends_with_what_to_do() {
        let data = Path::new("data");
        let mut report = CheckReport::default();
        assert!(of(&report.clone().into(), data).ends_with("all is well\n"));
        for number in 0..30 {
            report.add(Problem::Damaged, None, format!("pack {number}"));
        }
        let told = of(&report.into(), data);
        assert!(told.contains("30 problems") && told.contains("10 more"), "{told}");
        assert!(told.contains("dormouse store repair --quarantine"), "{told}");
        assert!(told.contains("pack 19") && !told.contains("pack 20"), "{told}");
    }

    #[test]
    fn a_full_disk_is_not_passed_over() {
        let usage = StoreUsage { waits_for_space: true, ..StoreUsage::default() };
        let told = of(&UpkeepAnswer::stat(usage), Path::new("data"));
        assert!(told.contains("free some space"), "{told}");
    }
}
