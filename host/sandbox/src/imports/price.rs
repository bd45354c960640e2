//! What each import costs, in units of fuel, and what an export hands over.
//!
//! A unit of the host's work is a nanosecond of it, measured on a release build and rounded up: as
//! much as an instruction of the guest takes at most. So a loop around any import costs its session no
//! less, and keeps its neighbours waiting no longer, than a loop around nothing. The prices are part of
//! what a turn uses: with other prices the same turn uses other fuel.
//!
//! Every call costs [`CALL`]. What it carries is charged before it is read, where its size is known
//! before, and before it is handed over where it is not; then what is made at a time is bounded.

/// Any call of the host: the way there and back, and what takes no time to speak of.
pub(super) const CALL: u64 = 500;

/// A handle that is made or dropped, besides [`CALL`].
pub(super) const HANDLE: u64 = 200;

/// A byte that is checked and copied: of a string or a list, either way.
pub(crate) const BYTE: u64 = 1;

/// A byte of a JSON document that is checked, or written.
pub(super) const JSON_BYTE: u64 = 8;

/// A byte of a JSON document that is checked and becomes values, which are kept: of one that is full of small
/// objects, which take the most.
pub(super) const JSON_KEPT_BYTE: u64 = 100;

/// A random byte: `wasmtime-wasi` draws them one by one.
pub(super) const RANDOM_BYTE: u64 = 50;

/// A byte that is printed: it is searched for the end of a line.
pub(super) const PRINTED_BYTE: u64 = 8;

/// A field of a line of the log.
pub(super) const FIELD: u64 = 100;

/// A piece of a reply that is streamed, besides its bytes: it is kept, and readers are told.
pub(super) const PIECE: u64 = 1_000;

/// A pollable that is waited for.
pub(super) const POLLABLE: u64 = 1_000;

/// A timer that is set, cancelled or listed: all timers of the session are looked at.
pub(super) const TIMER: u64 = 5_000;

/// A sample that is noted, with its name.
pub(super) const SAMPLE: u64 = 1_000;

/// A mail that is sent, besides its bytes: what it takes to keep and to deliver it, before the turn of its recipient.
pub(super) const MAIL: u64 = 20_000;

/// A schedule that is read: until it is known that it ever comes.
pub(super) const SCHEDULE: u64 = 10_000_000;

/// A request of HTTP that is made or leaves, or a list of headers that is copied.
pub(super) const REQUEST: u64 = 20_000;

/// A stream that is read, skipped, passed on or flushed.
pub(super) const STREAM: u64 = 500;

/// An operation on a file: what is looked up of it, and copied where it changes.
pub(super) const FILE: u64 = 5_000;

/// A byte of a path: a name of one character is looked up in its directory.
pub(super) const PATH_BYTE: u64 = 200;

/// A byte of a file that is written: it is copied, hashed and compressed, and goes to the disk with the turn.
pub(super) const WRITTEN_BYTE: u64 = 8;

/// A name of a directory that is read.
pub(super) const NAME: u64 = 1_000;

/// A member of a simulated world that is looked up, or its neighbour: most often one that is in no cache.
pub(super) const LOOKED_UP: u64 = 20;

/// Members that one call of a view lists at most: as many bytes as a call carries.
pub(super) const MAX_LISTED: usize = crate::instance::MAX_TRANSFER / size_of::<u32>();

/// The price of so many of something.
pub(crate) fn of(count: usize, each: u64) -> u64 {
    (count as u64).saturating_mul(each)
}

/// A part of a reply.
#[derive(Clone, Copy)]
pub(crate) enum Carried {
    /// So many bytes.
    Bytes(usize),
    /// A JSON document of so many bytes.
    Json(usize),
}

/// The price of a reply: more than there may be of it has been read by then, and is paid for.
pub(crate) fn reply(parts: impl Iterator<Item = Carried>) -> u64 {
    let each = |part| {
        FIELD
            + match part {
                Carried::Bytes(bytes) => of(bytes, BYTE),
                Carried::Json(bytes) => of(bytes, JSON_BYTE),
            }
    };
    parts.map(each).sum()
}
