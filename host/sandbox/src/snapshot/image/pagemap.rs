//! Which pages of a memory have been written to, as the kernel knows it.
//!
//! A memory of a guest is a private mapping: of a file where the component has data, of nothing where
//! it has none. A page that was never written to is still the file's, or all zeros, and one that was
//! is the process's own. `PAGEMAP_SCAN` (Linux 6.7) tells the two apart without touching either.
//!
//! What it reports is a superset of what differs: a page may have been written to and be the same
//! again. Where the kernel cannot tell, every page counts as written.

use std::fs::File;
use std::ops::Range;
use std::sync::LazyLock;

use super::pages::PAGE;

/// Regions that one scan reports at most.
const REGIONS: usize = 128;

/// The page map of this process, where the kernel can scan it.
static PAGEMAP: LazyLock<Option<File>> = LazyLock::new(|| {
    let pagemap = File::open("/proc/self/pagemap").ok()?;
    let probe = [0_u8; 1];
    scan::regions(&pagemap, probe.as_ptr().addr() as u64 & !0xfff, 4096).ok()?;
    Some(pagemap)
});

/// The parts of these bytes that may have been written to, as ranges of whole pages within them, in
/// order. `None` where the kernel cannot tell.
fn written(bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    let pagemap = PAGEMAP.as_ref()?;
    let start = bytes.as_ptr().addr();
    let aligned = start.is_multiple_of(PAGE) && bytes.len().is_multiple_of(PAGE);
    if !aligned || rustix::param::page_size() != PAGE {
        return None;
    }
    let (mut ranges, mut offset) = (Vec::new(), 0);
    while offset < bytes.len() {
        let at = (start + offset) as u64;
        let found = scan::regions(pagemap, at, (bytes.len() - offset) as u64).ok()?;
        for (from, to) in found.regions {
            let from = usize::try_from(from).ok()?.checked_sub(start)?;
            let to = usize::try_from(to).ok()?.checked_sub(start)?;
            // The kernel keeps to what it was asked for; if it did not, nothing it says is believed.
            if from < offset || from >= to || to > bytes.len() {
                return None;
            }
            ranges.push(from..to);
        }
        let reached = usize::try_from(found.end).ok()?.checked_sub(start)?;
        if reached <= offset {
            return None;
        }
        offset = reached;
    }
    Some(ranges)
}

/// The same, where the kernel cannot tell: all of them.
pub(super) fn written_or_all(bytes: &[u8]) -> Vec<Range<usize>> {
    written(bytes).unwrap_or_else(|| std::iter::once(0..bytes.len()).collect())
}

/// The call of the kernel.
mod scan {
    use std::ffi::c_void;
    use std::fs::File;

    use rustix::io::Result;
    use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

    use super::REGIONS;

    // Categories of pages.
    const FILE: u64 = 1 << 2;
    const PRESENT: u64 = 1 << 3;
    const SWAPPED: u64 = 1 << 4;
    const ZERO: u64 = 1 << 5;

    /// `struct page_region`
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Region {
        start: u64,
        end: u64,
        categories: u64,
    }

    /// `struct pm_scan_arg`
    #[repr(C)]
    struct Arguments {
        size: u64,
        flags: u64,
        start: u64,
        end: u64,
        walk_end: u64,
        vec: u64,
        vec_len: u64,
        max_pages: u64,
        category_inverted: u64,
        category_mask: u64,
        category_anyof_mask: u64,
        return_mask: u64,
    }

    struct Scan {
        arguments: Arguments,
        regions: Box<[Region; REGIONS]>,
    }

    /// What a scan found.
    pub(super) struct Found {
        /// Starts and ends of regions, as addresses.
        pub(super) regions: Vec<(u64, u64)>,
        /// The address that it came to.
        pub(super) end: u64,
    }

    /// The regions of pages that are this process's own, from `start` on.
    #[expect(unsafe_code, reason = "a system call that no crate wraps")]
    pub(super) fn regions(pagemap: &File, start: u64, length: u64) -> Result<Found> {
        let mut regions = Box::new([Region::default(); REGIONS]);
        let arguments = Arguments {
            size: size_of::<Arguments>() as u64,
            flags: 0,
            start,
            end: start.saturating_add(length),
            walk_end: 0,
            vec: regions.as_mut_ptr().expose_provenance() as u64,
            vec_len: REGIONS as u64,
            max_pages: 0,
            // Neither a page of a file nor the page of zeros, and in memory or swapped out.
            category_inverted: FILE | ZERO,
            category_mask: FILE | ZERO,
            category_anyof_mask: PRESENT | SWAPPED,
            return_mask: 0,
        };
        let mut scan = Scan { arguments, regions };
        // SAFETY: the scan changes nothing (`flags` is 0) and reads no memory of ours but the page
        // tables, so any range of addresses is fine. It writes to `arguments` and to at most
        // `vec_len` regions at `vec`, both of which live until it returns.
        let count = unsafe { ioctl(pagemap, &mut scan) }?;
        let found = &scan.regions[..count.min(REGIONS)];
        let regions = found.iter().map(|region| (region.start, region.end)).collect();
        Ok(Found { regions, end: scan.arguments.walk_end })
    }

    #[expect(unsafe_code, reason = "a system call that no crate wraps")]
    // SAFETY: the number and the argument are those of `PAGEMAP_SCAN`, which returns a count.
    unsafe impl Ioctl for &mut Scan {
        type Output = usize;

        const IS_MUTATING: bool = true;

        fn opcode(&self) -> Opcode {
            opcode::read_write::<Arguments>(b'f', 16)
        }

        fn as_ptr(&mut self) -> *mut c_void {
            (&raw mut self.arguments).cast()
        }

        unsafe fn output_from_ptr(count: IoctlOutput, _: *mut c_void) -> Result<usize> {
            Ok(usize::try_from(count).unwrap_or(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_was_written_to_is_reported_and_one_that_was_read_is_not() {
        let mut bytes = vec![0_u8; 64 * 4096];
        let skip = bytes.as_ptr().align_offset(4096);
        let bytes = &mut bytes[skip..][..62 * 4096];
        bytes[10 * 4096] = 1;
        bytes[11 * 4096] = 1;
        bytes[40 * 4096 + 17] = 1;
        assert_eq!(std::hint::black_box(&*bytes)[20 * 4096], 0);
        // Memory that is given out for the first time, so nothing else has written to it.
        if let Some(written) = written(bytes) {
            let is_in = |page: usize| written.iter().any(|range| range.contains(&(page * 4096)));
            assert!(is_in(10) && is_in(11) && is_in(40));
        }
    }
}
