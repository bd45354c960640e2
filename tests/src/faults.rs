//! Faults that a test injects into a host.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dormouse::{CallFault, CommitAttempt, CommitFault, CommitKind, Faults};

/// Where a host is cut off, counted from the moment that this is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before the commit of this number of a turn and its effects, from 0: nothing is written from then on.
    BeforeCommit(usize),
    /// After that commit, before the host learns of it.
    AfterCommit(usize),
    /// In the call of this number, from 0: it never leaves.
    InCall(usize),
}

/// Cuts a host off, as its end would: what follows is not written.
#[derive(Debug, Default)]
pub struct CutOff(Mutex<Progress>);

#[derive(Debug, Default)]
struct Progress {
    /// Where it is cut off. `None`: nothing is counted.
    cut: Option<Cut>,
    commits: usize,
    calls: usize,
    is_reached: bool,
}

impl CutOff {
    /// Cut off there, and count from now on.
    pub fn arm(&self, cut: Cut) {
        *self.lock() = Progress { cut: Some(cut), ..Progress::default() };
    }

    /// Write nothing from now on.
    pub fn cut(&self) {
        self.lock().is_reached = true;
    }

    /// Whether the host is cut off.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.lock().is_reached
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults for CutOff {
    fn commit(&self, commit: CommitAttempt) -> Option<CommitFault> {
        let mut progress = self.lock();
        if progress.is_reached {
            return Some(CommitFault::Lost);
        }
        if commit.kind == CommitKind::Other {
            return None;
        }
        let number = progress.commits;
        progress.commits += 1;
        let fault = match progress.cut {
            Some(Cut::BeforeCommit(cut)) if cut == number => CommitFault::Lost,
            Some(Cut::AfterCommit(cut)) if cut == number => CommitFault::Untold,
            Some(_) | None => return None,
        };
        progress.is_reached = true;
        Some(fault)
    }

    fn model_call(&self, _: &str) -> Option<CallFault> {
        let mut progress = self.lock();
        let number = progress.calls;
        progress.calls += 1;
        progress.is_reached |= progress.cut == Some(Cut::InCall(number));
        progress.is_reached.then_some(CallFault::Stalled)
    }
}
