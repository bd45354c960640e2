//! Faults that are injected into a host, for those who test what they build on it: commits that fail, providers that
//! do not answer, clocks that jump.

use std::fmt;
use std::sync::Arc;

use dormouse_domain::model::ModelError;
use dormouse_domain::time::Timestamp;
use dormouse_model::{CallFailure, Charge};
use dormouse_store::Store;
use dormouse_store::faults::{CommitAttempt, CommitFault, FaultyStore};

/// What goes wrong in a host. Each method is asked at each occasion, on the thread that it would go wrong on: it
/// must not block. Nothing goes wrong where a method is not implemented.
pub trait Faults: Send + Sync + 'static {
    /// Before a commit to the store of the host, also of those that the host makes for itself, such as for the
    /// agents that come with it. `None`: it is made.
    fn commit(&self, commit: CommitAttempt) -> Option<CommitFault> {
        let _ = commit;
        None
    }

    /// Before a request leaves for the provider of this name, once it is noted in the journal. `None`: it leaves.
    fn model_call(&self, provider: &str) -> Option<CallFault> {
        let _ = provider;
        None
    }

    /// What the wall clock of a guest says in a turn, where the clock of the host says `now`. A guest is told no
    /// earlier time than it was told before in its turn, and where its turn is run again, the same times again.
    fn wall_clock(&self, now: Timestamp) -> Timestamp {
        now
    }
}

/// How a call of a provider fails. Nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFault {
    /// The provider refuses it because it has too much to do, and bills nothing.
    Overloaded,
    /// The connection breaks, and nobody knows what becomes of the request.
    Broken,
    /// Nothing comes, until the time of the call is over.
    Stalled,
}

impl CallFault {
    /// What comes of the call.
    pub(crate) async fn failure(self) -> CallFailure {
        match self {
            CallFault::Overloaded => CallFailure {
                error: ModelError::Overloaded { retry_after: None },
                charge: Charge::Nothing,
            },
            CallFault::Broken => CallFailure {
                error: ModelError::Unavailable("a fault was injected".to_owned()),
                charge: Charge::Unknown,
            },
            CallFault::Stalled => std::future::pending().await,
        }
    }
}

/// The faults of a host: none, unless somebody injects some.
#[derive(Clone, Default)]
pub(crate) struct InjectedFaults(Option<Arc<dyn Faults>>);

impl InjectedFaults {
    pub(crate) fn new(faults: Arc<dyn Faults>) -> InjectedFaults {
        InjectedFaults(Some(faults))
    }

    /// The store of a host that has this one, with the faults of its commits.
    pub(crate) fn in_store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        match self.0.clone() {
            None => store,
            Some(faults) => {
                Arc::new(FaultyStore::new(store, Box::new(move |commit| faults.commit(commit))))
            }
        }
    }

    pub(crate) fn model_call(&self, provider: &str) -> Option<CallFault> {
        self.0.as_ref().and_then(|faults| faults.model_call(provider))
    }

    pub(crate) fn wall_clock(&self, now: Timestamp) -> Timestamp {
        self.0.as_ref().map_or(now, |faults| faults.wall_clock(now))
    }
}

impl fmt::Debug for InjectedFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "InjectedFaults" } else { "no faults" })
    }
}
