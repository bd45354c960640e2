//! How many files the process may have open, and how many of them connections may take.
//!
//! A connection takes a descriptor, and so does each file of the store, of which it opens and closes
//! some all the time. So some descriptors are never given to connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is kept for everything but the clients' connections: the packs that the store keeps open (256)
/// and those that it writes, its log and its index; the connections that are reserved for operators
/// (32); the pipes of compiling children; what a check or a backup opens.
const KEPT: u64 = 512;

/// With fewer connections a server is of no use.
const FEWEST: u64 = 64;

/// The limit of open files does not allow enough of them.
#[derive(Debug, thiserror::Error)]
#[error(
    "the limit of open files is {limit}, and {} are needed: raise it with `ulimit -n {}` before the \
     start, or with LimitNOFILE= in the unit of systemd",
    KEPT + FEWEST,
    16 << 10
)]
pub(super) struct TooFewFiles {
    limit: u64,
}

/// Raise the limit of open files as far as it goes. Returns the limit; `None` where there is none.
pub(super) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    match raised {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, ?current, "the limit of open files stays where it is");
            current
        }
    }
}

/// How many connections there may be: as many as are wanted, or fewer.
pub(super) fn connections(wanted: usize, limit: Option<u64>) -> Result<usize, TooFewFiles> {
    let Some(limit) = limit else { return Ok(wanted) };
    let room = limit.checked_sub(KEPT).filter(|room| *room >= FEWEST);
    let room = room.ok_or(TooFewFiles { limit })?;
    Ok(usize::try_from(room).map_or(wanted, |room| room.min(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_the_store() {
        let most = |limit| connections(10_000, limit).ok();
        assert_eq!(most(None), Some(10_000));
        assert_eq!(most(Some(1 << 20)), Some(10_000));
        assert_eq!(most(Some(1_024)), Some(512));
        assert_eq!(most(Some(576)), Some(64));
        assert_eq!(most(Some(575)), None);
        assert_eq!(connections(10, Some(1_024)).ok(), Some(10));
    }
}
