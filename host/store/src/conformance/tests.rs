//! The suite finds what is wrong with a store, and nothing with one that is right.

use super::*;
use crate::Retention;
use crate::memory::{Flaw, MemoryStore};

struct InMemory(MemoryStore);

impl InMemory {
    fn new() -> InMemory {
        InMemory(MemoryStore::new(Retention { snapshots: KEPT, ..Retention::default() }))
    }
}

impl Fixture for InMemory {
    fn store(&self) -> &dyn Store {
        &self.0
    }

    async fn reopen(&mut self, close: bool) -> Result<(), StoreError> {
        if close {
            self.0.close().await?;
        }
        self.0 = self.0.reopen();
        Ok(())
    }

    async fn copy(&self) -> Result<Option<InMemory>, StoreError> {
        Ok(None)
    }

    async fn audit(&mut self, snapshots: usize, templates: usize) {
        let counts = self.0.counts();
        assert_eq!((counts.0, counts.1), (snapshots, templates));
        if (snapshots, templates) == (0, 0) {
            assert_eq!(counts.2, 0, "chunks that nothing has");
        }
    }
}

#[test]
fn the_store_in_memory_answers_as_the_model_does() {
    assert_eq!(check(256, InMemory::new), Ok(()));
}

#[test]
fn a_store_with_a_flaw_is_found() {
    for flaw in [
        Flaw::DropsTheLastEvent,
        Flaw::IgnoresWhatIsExpected,
        Flaw::LosesTurns,
        Flaw::LosesIdempotencyKeys,
        Flaw::LosesChangesOfKeys,
        Flaw::LosesHeads,
        Flaw::TellsNoEnd,
        Flaw::ForgetsTagsOfWhatHasChanged,
        Flaw::SubtractsRemovedSessions,
        Flaw::ListsTheLastOfAPageAgain,
        Flaw::IgnoresTheEndOfActivity,
        Flaw::ForgetsAnEdge,
        Flaw::KeepsRemovedStates,
        Flaw::LosesSleeps,
        Flaw::LosesEntries,
        Flaw::LosesAttempts,
        Flaw::KeepsOpenTurns,
        Flaw::LosesSpending,
        Flaw::KeepsMembers,
        Flaw::LosesMail,
        Flaw::KeepsTakenMail,
        Flaw::KeepsDroppedMail,
        Flaw::LosesRunsOfSchedules,
        Flaw::LosesChangesOfWork,
        Flaw::KeepsRemovedWorlds,
        Flaw::KeepsRemovedCalls,
        Flaw::LosesRecordings,
        Flaw::LosesExperiments,
    ] {
        let found = check_the_same(2048, || InMemory(InMemory::new().0.with_flaw(flaw)));
        assert!(found.is_err(), "{flaw:?} is not found");
    }
}
