//! A store without faults is the store behind it; and each fault does what it says.

use super::*;
use crate::Retention;
use crate::conformance::examples::{new, session, session_id};
use crate::conformance::{self, Fixture, KEPT};
use crate::memory::MemoryStore;
use crate::read::ReadSessions;

/// A store in memory, and the same without faults.
struct Faultless(Arc<MemoryStore>, FaultyStore);

impl Faultless {
    fn new(store: MemoryStore) -> Faultless {
        let store = Arc::new(store);
        Faultless(Arc::clone(&store), FaultyStore::new(store, Box::new(|_| None)))
    }
}

impl Fixture for Faultless {
    fn store(&self) -> &dyn Store {
        &self.1
    }

    async fn reopen(&mut self, close: bool) -> Result<(), StoreError> {
        if close {
            self.1.close().await?;
        }
        *self = Faultless::new(self.0.reopen());
        Ok(())
    }

    async fn copy(&self) -> Result<Option<Faultless>, StoreError> {
        Ok(None)
    }

    async fn audit(&mut self, snapshots: usize, templates: usize) {
        let counts = self.0.counts();
        assert_eq!((counts.0, counts.1), (snapshots, templates));
    }
}

fn memory() -> MemoryStore {
    MemoryStore::new(Retention { snapshots: KEPT, ..Retention::default() })
}

#[test]
fn a_store_without_faults_answers_as_the_model_does() {
    assert_eq!(conformance::check(64, || Faultless::new(memory())), Ok(()));
}

/// The error of the first commit, whether anything of it is there, and the error of the next.
async fn failing(fault: CommitFault) -> (&'static str, bool, Option<&'static str>) {
    let inner = Arc::new(memory());
    let faults = std::sync::Mutex::new(vec![fault]);
    let next = move |_| faults.lock().expect("nobody has died").pop();
    let store = FaultyStore::new(Arc::clone(&inner) as Arc<dyn Store>, Box::new(next));
    let create = |number| store.commit(Transaction::create(new(session(number)), Vec::new()));
    let error = create(1).await.expect_err("it fails").code();
    let is_there = inner.session(session_id(1)).await.expect("it reads").is_some();
    (error, is_there, create(2).await.err().map(|error| error.code()))
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    assert_eq!(failing(CommitFault::Full).await, ("disk_full", false, None));
    let unknown = "commit_unknown";
    assert_eq!(failing(CommitFault::Lost).await, (unknown, false, Some(unknown)));
    assert_eq!(failing(CommitFault::Untold).await, (unknown, true, Some(unknown)));
}
