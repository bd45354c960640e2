//! The one thread that writes: it makes what waits durable, group by group.
//!
//! ```text
//!  take what waits ─▶ check ─▶ say what is in flight ─▶ sled batch, flush, sync
//!                                                             │
//!        answer ◀─ unlink what was replaced ◀─ index, under one lock
//! ```
//!
//! While one group is being synced the next one gathers, so that a busy store has large groups and
//! an idle one answers after a single sync. What deleted sessions have left behind is removed a
//! bounded number of keys at a time, in the same batches.
//!
//! Once a write or a sync has failed, nobody knows what is durable. Then nothing is written any
//! more; what is in flight stays in flight, so that readers go on with what is known.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;

use super::Shared;
use super::commit::Commit;
use super::disk::WriteFailed;
use super::files::FileName;
use super::group::{Group, Sealed};
use crate::clock::Clock;
use crate::session::id::SessionId;
use crate::store::StoreError;

/// How many commits can wait before callers have to.
const QUEUE: usize = 1024;
/// The most sessions that commits of one group change: sled holds a lock over all of itself while it
/// takes a batch. One commit may go beyond it.
const SESSIONS: usize = 256;
/// A group takes no more commits when it has become larger than this, in bytes.
const BYTES: usize = 8 << 20;
/// The most keys of deleted sessions that are removed with one group.
const PURGED: usize = 1024;

/// Start the thread. It ends when all senders are gone and what they sent is durable.
/// `gone` are the sessions that an earlier process has deleted and not cleaned up after.
pub(super) fn start(
    shared: Arc<Shared>,
    gone: Vec<SessionId>,
) -> std::io::Result<(Sender<Commit>, JoinHandle<()>)> {
    let (sender, queue) = mpsc::channel(QUEUE);
    let thread = thread::Builder::new().name("store-committer".to_owned()).spawn(move || {
        let clock = Clock::real();
        let mut committer = Committer { shared, queue, clock, next: None, gone: gone.into() };
        // Nothing here should panic but sled, which is caught where it is called. Callers must get
        // their answers all the same.
        if catch_unwind(AssertUnwindSafe(|| committer.run())).is_err() {
            committer.shared.fail("the committer panicked".into());
        }
        committer.refuse_the_rest();
    })?;
    Ok((sender, thread))
}

struct Committer {
    shared: Arc<Shared>,
    queue: Receiver<Commit>,
    clock: Clock,
    /// Taken from the queue, and left for the next group.
    next: Option<Commit>,
    gone: VecDeque<SessionId>,
}

/// A commit that is in a group, and what became of it there.
struct Pending {
    answer: oneshot::Sender<Result<bool, StoreError>>,
    since: std::time::Duration,
    done: Result<bool, StoreError>,
}

impl Committer {
    /// Until the queue is closed and empty, or the store has failed.
    fn run(&mut self) {
        while let Some(commits) = self.gather() {
            if self.write(commits).is_err() {
                return;
            }
        }
    }

    /// Wait for the first commit, unless there is something to clean up, and take what else waits.
    fn gather(&mut self) -> Option<Vec<Commit>> {
        let first = match self.next.take() {
            Some(commit) => Some(commit),
            None if self.gone.is_empty() => Some(self.queue.blocking_recv()?),
            None => match self.queue.try_recv() {
                Ok(commit) => Some(commit),
                Err(TryRecvError::Empty) => None,
                // What is left is removed after the next start.
                Err(TryRecvError::Disconnected) => return None,
            },
        };
        let Some(first) = first else { return Some(Vec::new()) };
        let mut bytes = first.size;
        let mut sessions = first.sessions();
        let mut alone = first.is_alone();
        let mut commits = vec![first];
        while sessions < SESSIONS && bytes < BYTES && !alone {
            let Ok(commit) = self.queue.try_recv() else { break };
            alone = commit.is_alone();
            if alone {
                self.next = Some(commit);
            } else {
                bytes += commit.size;
                sessions += commit.sessions();
                commits.push(commit);
            }
        }
        Some(commits)
    }

    /// Make a group durable, and answer.
    fn write(&mut self, commits: Vec<Commit>) -> Result<(), WriteFailed> {
        let shared = Arc::clone(&self.shared);
        let bytes = commits.iter().map(|commit| commit.size).sum();
        let is_full = shared.is_full(bytes);
        let mut group = Group::new(&shared);
        let mut pending = Vec::with_capacity(commits.len());
        let mut refused: Vec<FileName> = Vec::new();
        for commit in commits {
            let full = is_full && commit.needs_space();
            let Commit { change, events, files, shares, since, answer, size: _ } = commit;
            let done = if full {
                group.refuse(change)
            } else {
                group.add(change, &events, &files, &shares)
            };
            if !matches!(done, Ok(true)) {
                refused.extend(files.into_iter().chain(shares.file));
            }
            pending.push(Pending { answer, since, done });
        }
        self.purge(&mut group);
        let Sealed { batch, in_flight, before, then } = group.seal();
        if let Some(batch) = batch {
            shared.index_mut().set_in_flight(in_flight, before);
            if let Err(failed) = shared.disk.write(batch) {
                shared.fail(failed.0.clone());
                for one in pending {
                    one.answer(Err(StoreError::Unknown(failed.0.clone())));
                }
                return Err(failed);
            }
            let unlink = then.unlink.clone();
            let (gone, components) = then.apply(&mut shared.index_mut());
            self.gone.extend(gone);
            shared.files.remove(&unlink);
            components.into_iter().for_each(|digest| shared.files.remove_component(digest));
        }
        shared.files.remove(&refused);
        self.account(&pending);
        for one in pending {
            let done = one.done.clone();
            one.answer(done);
        }
        Ok(())
    }

    /// Remove something of a deleted session. Its removal has been durable since an earlier group.
    fn purge(&mut self, group: &mut Group<'_>) {
        let Some(&id) = self.gone.front() else { return };
        match group.purge(id, PURGED) {
            Ok(false) => {}
            Ok(true) => {
                self.gone.pop_front();
            }
            Err(error) => {
                tracing::error!(session = %id, %error, "what a deleted session left is not removed");
                self.gone.pop_front();
            }
        }
    }

    fn account(&self, pending: &[Pending]) {
        let now = self.clock.monotonic();
        let committed = pending.iter().filter(|one| matches!(one.done, Ok(true)));
        let mut count: u32 = 0;
        for one in committed {
            count += 1;
            metrics::histogram!("dormouse_store_commit_seconds")
                .record(now.saturating_sub(one.since));
        }
        if count > 0 {
            metrics::histogram!("dormouse_store_group_size").record(count);
            metrics::counter!("dormouse_store_commits_total").increment(count.into());
            self.shared.commits.fetch_add(count.into(), Ordering::Relaxed);
            self.shared.groups.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answer all that still comes, until nobody can send any more.
    fn refuse_the_rest(&mut self) {
        let reason = self.shared.failure();
        let reason = || reason.clone().unwrap_or(StoreError::Closed);
        while let Some(commit) = self.next.take().or_else(|| self.queue.blocking_recv()) {
            // Whoever asked may have gone away.
            let _ = commit.answer.send(Err(reason()));
        }
    }
}

impl Pending {
    fn answer(self, done: Result<bool, StoreError>) {
        // Whoever asked may have gone away: what is committed stays committed.
        let _ = self.answer.send(done);
    }
}
