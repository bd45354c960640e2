//! The one thread that writes: it makes what waits durable, group by group.
//!
//! ```text
//!  take what waits ─▶ check against what is there ─▶ one batch of the engine: write, sync
//!                                                             │
//!                             answer ◀─ index, under one lock ┘
//! ```
//!
//! While one group is being synced the next one gathers, so that a busy store has large groups and
//! an idle one answers after a single sync. What deleted sessions have left behind is removed a
//! bounded number of keys at a time, in the same batches; and so are blobs released that nothing names
//! (`commit_group/release`).
//!
//! Once a write or a sync has failed, nobody knows what is durable, and nothing is written any more.
//! A full disk is no such failure: the group is refused, and the next one is tried.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;

use super::EmbeddedShared;
use super::commit::Commit;
use super::commit_group::{CommitGroup, LogEnds, Recount, Sealed, Stuck};
use super::disk::WriteError;
use super::recovery::Leftovers;
use super::tables::blobs::BlobId;
use crate::StoreError;
use dormouse_base::clock::Clock;
use dormouse_domain::id::SessionId;

/// How many commits can wait before callers have to.
const QUEUE: usize = 1024;
/// The most sessions that commits of one group change. One commit may go beyond it.
const SESSIONS: usize = 1024;
/// The most bytes that the commits of one group take. A larger commit has a group of its own.
const BYTES: usize = 4 << 20;
/// The most keys of deleted sessions that are removed with one group.
const PURGED: usize = 1024;
/// Where more blobs than this are listed to be released, what deleted sessions have left behind waits.
const UNUSED: usize = 4096;

/// What is sent to the thread.
#[derive(Debug)]
pub(super) enum Work {
    /// A commit.
    Commit(Box<Commit>),
    /// A blob that is to be released is not leased any more.
    Release,
}

/// Start the thread. It ends when all senders are gone and what they sent is durable. `left` is what an
/// earlier process has not cleaned up.
pub(super) fn start(
    shared: Arc<EmbeddedShared>,
    clock: Clock,
    left: Leftovers,
) -> std::io::Result<(Sender<Work>, JoinHandle<()>)> {
    let (sender, queue) = mpsc::channel(QUEUE);
    // Whoever returns a lease does not keep the store open.
    let wake = sender.downgrade();
    shared.leases.on_return(move || {
        // Where the queue is full, groups are written, and each looks for what it can release.
        if let Some(queue) = wake.upgrade() {
            let _ = queue.try_send(Work::Release);
        }
    });
    shared.unused.store(left.unused.len() as u64, Ordering::Relaxed);
    let thread = thread::Builder::new().name("store-committer".to_owned()).spawn(move || {
        let log = LogEnds::at(shared.index().cursor);
        let mut committer = Committer {
            shared,
            queue,
            clock,
            next: VecDeque::new(),
            gone: left.gone.into(),
            unused: left.unused,
            stuck: Stuck::default(),
            rests: false,
            log,
        };
        // Nothing here should panic. Callers must get their answers all the same.
        if catch_unwind(AssertUnwindSafe(|| committer.run())).is_err() {
            committer.shared.fail("the committer panicked".into());
        }
        committer.refuse_the_rest();
    })?;
    Ok((sender, thread))
}

struct Committer {
    shared: Arc<EmbeddedShared>,
    queue: Receiver<Work>,
    clock: Clock,
    /// Taken from the queue, and left for the next group.
    next: VecDeque<Commit>,
    gone: VecDeque<SessionId>,
    /// Blobs that are listed to be released.
    unused: BTreeSet<BlobId>,
    /// Those of them that could not be read.
    stuck: Stuck,
    /// The last group was not written: before there is more to clean up, another one has to be.
    rests: bool,
    log: LogEnds,
}

/// A commit that is in a group, and what became of it there.
struct Pending {
    answer: oneshot::Sender<Result<(), StoreError>>,
    since: std::time::Duration,
    done: Result<(), StoreError>,
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
        let first = match self.next.pop_front() {
            Some(commit) => commit,
            None => match self.receive()? {
                Work::Commit(commit) => *commit,
                Work::Release => return Some(Vec::new()),
            },
        };
        let mut bytes = first.encoded.size;
        let mut sessions = first.encoded.sessions();
        let alone = first.encoded.is_alone();
        let mut commits = vec![first];
        while sessions < SESSIONS && bytes < BYTES && !alone {
            let waiting = self.next.pop_front().or_else(|| self.waiting());
            let Some(commit) = waiting else { break };
            bytes += commit.encoded.size;
            if bytes > BYTES || commit.encoded.is_alone() {
                self.next.push_front(commit);
                break;
            }
            sessions += commit.encoded.sessions();
            commits.push(commit);
        }
        Some(commits)
    }

    /// Wait for something to do, unless there is something to clean up.
    fn receive(&mut self) -> Option<Work> {
        if self.rests || !self.can_clean_up() {
            return self.queue.blocking_recv();
        }
        match self.queue.try_recv() {
            Ok(work) => Some(work),
            Err(TryRecvError::Empty) => Some(Work::Release),
            // What is left is removed after the next start.
            Err(TryRecvError::Disconnected) => None,
        }
    }

    /// A commit that waits.
    fn waiting(&mut self) -> Option<Commit> {
        loop {
            match self.queue.try_recv().ok()? {
                Work::Commit(commit) => return Some(*commit),
                Work::Release => {}
            }
        }
    }

    /// Whether there is something to remove for which no commit has to come.
    fn can_clean_up(&self) -> bool {
        let now = self.clock.monotonic();
        let unused = self.unused.iter().filter(|id| !self.stuck.waits(id, now));
        self.may_purge() || self.shared.leases.any_is_free(unused)
    }

    /// Whether a deleted session is to be purged. Where very many blobs are to be released, these go first;
    /// those that cannot be released are not waited for.
    fn may_purge(&self) -> bool {
        !self.gone.is_empty() && self.unused.len().saturating_sub(self.stuck.len()) <= UNUSED
    }

    /// Make a group durable, and answer.
    fn write(&mut self, commits: Vec<Commit>) -> Result<(), Arc<str>> {
        let shared = Arc::clone(&self.shared);
        let bytes = commits.iter().map(|commit| commit.encoded.size).sum();
        let is_full = shared.is_full(bytes);
        let may_purge = self.may_purge();
        let unused = std::mem::take(&mut self.unused);
        let mut group = CommitGroup::new(&shared, self.log.clone(), &unused);
        let mut pending = Vec::with_capacity(commits.len());
        let mut commits = commits.into_iter();
        for commit in commits.by_ref() {
            let full = is_full && commit.encoded.needs_space();
            let Commit { encoded, since, answer } = commit;
            let done = if full { Err(StoreError::Full) } else { group.add(encoded) };
            pending.push(Pending { answer, since, done });
            if group.is_large() {
                break;
            }
        }
        commits.rev().for_each(|commit| self.next.push_front(commit));
        if may_purge {
            self.purge(&mut group);
        }
        group.release_unused(&mut self.stuck, self.clock.monotonic());
        let Sealed { batch, then } = group.seal();
        self.unused = unused;
        let written = if batch.is_empty() { Ok(()) } else { shared.disk.write(batch) };
        match written {
            Ok(()) => {
                self.rests = false;
                self.log = then.log.clone();
                then.purged.iter().for_each(|id| self.gone.retain(|gone| gone != id));
                self.recount(&then.blobs);
                let end = then.log.cursor;
                let gone = then.apply(&mut shared.index_mut());
                shared.end.send_if_modified(|now| std::mem::replace(now, end) != end);
                self.gone.extend(gone);
            }
            Err(WriteError::Full) => {
                self.rests = true;
                refuse(&mut pending, &StoreError::Full);
            }
            Err(WriteError::Refused(why)) => {
                // Cleaning up at once again would be refused again.
                self.rests = true;
                refuse(&mut pending, &why);
            }
            Err(WriteError::Failed(reason)) => {
                shared.fail(Arc::clone(&reason));
                refuse(&mut pending, &StoreError::Unknown(Arc::clone(&reason)));
                pending.into_iter().for_each(Pending::answer);
                return Err(reason);
            }
        }
        self.account(&pending);
        pending.into_iter().for_each(Pending::answer);
        Ok(())
    }

    /// Take in what has become of the blobs of a group.
    fn recount(&mut self, blobs: &Recount) {
        for id in &blobs.unlisted {
            self.unused.remove(id);
            self.stuck.remove(id);
        }
        self.unused.extend(&blobs.listed);
        self.shared.counts.fetch_add(blobs.changed, Ordering::Relaxed);
        self.shared.unused.store(self.unused.len() as u64, Ordering::Relaxed);
    }

    /// Remove something of a deleted session. Its removal has been durable since an earlier group.
    fn purge(&mut self, group: &mut CommitGroup<'_>) {
        let Some(&id) = self.gone.front() else { return };
        if let Err(error) = group.purge(id, PURGED) {
            tracing::error!(session = %id, %error, "what a deleted session left is not removed");
            self.gone.pop_front();
        }
    }

    fn account(&self, pending: &[Pending]) {
        let now = self.clock.monotonic();
        let committed = pending.iter().filter(|one| one.done.is_ok());
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
        self.next.drain(..).for_each(|commit| drop(commit.answer.send(Err(reason()))));
        while let Some(work) = self.queue.blocking_recv() {
            match work {
                // Whoever asked may have gone away.
                Work::Commit(commit) => drop(commit.answer.send(Err(reason()))),
                Work::Release => {}
            }
        }
    }
}

impl Pending {
    fn answer(self) {
        // Whoever asked may have gone away: what is committed stays committed.
        let _ = self.answer.send(self.done);
    }
}

/// None of these was written. What had been refused before keeps its reason.
fn refuse(pending: &mut [Pending], why: &StoreError) {
    for one in pending.iter_mut().filter(|one| one.done.is_ok()) {
        one.done = Err(why.clone());
    }
}
